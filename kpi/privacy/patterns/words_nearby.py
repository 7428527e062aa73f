"""Words beside a number that say what it is, in the languages that people use, out of `patterns.toml`."""

import re

from kpi.privacy.patterns import DATA, shapes

_RE = shapes("words_nearby")
A_PHONE, AN_SSN, IDENTITY, A_PASSPORT, TECHNICAL = "phone", "ssn", "identity", "passport", "technical"

_DATA = DATA["words_nearby"]
_KIND: dict[str, str] = {word: kind for kind, words in reversed(_DATA["kinds"].items()) for word in words.split()}
_PAIRS: dict[tuple[str, ...], str] = {
    tuple(pair.split()): kind for kind, pairs in _DATA["pairs"].items() for pair in pairs
}
_PROSE = frozenset(["sin", "nie", "nip", "tin", "nik", "taj", "nir", "pan", "rfc"])  # identifiers only in capitals
_SECOND = frozenset(second for _, second in _PAIRS)
_UNSPACED = re.compile("|".join(f"(?P<{kind}>{'|'.join(found)})" for kind, found in _DATA["unspaced"].items()))
_BEFORE = 48
# A phone where nothing else is said: what stands before them decides.
_VAGUE = frozenset(["number", "numbers", "numero", "número", "numéro", "nummer", "номер", "line"])


def kind_before(text: str, lower: str, start: int) -> str | None:
    """What the words before a number say it is; the nearest word that says anything decides."""
    near = lower[max(0, start - _BEFORE) : start]
    if not near.isascii() and (found := list(_UNSPACED.finditer(near))):
        return found[-1].lastgroup
    words = _RE.word.findall(near)[-7:]
    for at in range(len(words) - 1, -1, -1):
        word = words[at]
        if at and word in _SECOND and (kind := _PAIRS.get((words[at - 1], word))):
            return kind
        kind = _KIND.get(word)
        if kind is not None:
            return _KIND.get(words[at - 1], kind) if at and word in _VAGUE else kind
        if word in _PROSE and word.upper() in text[max(0, start - _BEFORE) : start]:
            return IDENTITY
    return None


def phone_after(lower: str, end: int) -> bool:
    """Whether a label such as `(mobile)` or `office` follows."""
    return _RE.after.match(lower, end) is not None
