"""What identifiers are replaced with, and the sheet on which the finders of this room mark them.

The finders lie in `blobs`, `credentials`, `addresses`, `accounts`, `identities` and `phones`; `redact` runs them.
"""

import re
from collections.abc import Iterable, Iterator

EMAIL, CARD, IBAN, SSN, IP, PHONE, SECRET = "[EMAIL]", "[CARD]", "[IBAN]", "[SSN]", "[IP]", "[PHONE]", "[SECRET]"
NATIONAL_ID, PASSPORT, MAC = "[NATIONAL_ID]", "[PASSPORT]", "[MAC]"
TOKENS = (EMAIL, CARD, IBAN, SSN, IP, PHONE, SECRET, NATIONAL_ID, PASSPORT, MAC)

BLANK = "\x00"  # stands where something was found: no letter, no digit, no separator
JOINED = frozenset(".+-/:")
_ESCAPES = frozenset("nrtbf")
_MASKED = re.compile("|".join(map(re.escape, TOKENS)) + r"|\[BASE64 [^\[\]\n]{1,60}\]")
# Scripts that set no space between a word and a number: kana, hanzi, hangul, Thai, Lao, Khmer, Burmese.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\ud7ff\uf900-\ufaff]")

Match = re.Match[str]
Span = tuple[int, int, str]  # first character, one past the last, token; no token where it is only to be blanked
_TOKEN_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.~+/=:%|@$-"
_AS_TOKEN = bytes(120 if chr(code) in _TOKEN_CHARS else 32 for code in range(256))  # x for a character of a token


class Sheet:
    """A text in which what was found is blanked in place, so that no later finder sees it or its neighbours shift."""

    __slots__ = ("lower", "spans", "text")

    def __init__(self, text: str) -> None:
        self.text = _MASKED.sub(lambda match: BLANK * len(match.group()), text) if "[" in text else text
        self.lower = same_length_lower(self.text)
        self.spans: list[Span] = []

    def take(self, found: Iterable[Span]) -> None:
        """Notes spans, in rising order, and blanks them; one that overlaps another is left out."""
        parts: list[str] = []
        done = 0
        for span in found:
            start, end, token = span
            if start < done or start >= end or self.text[start] == BLANK:
                continue
            if token:
                self.spans.append(span)
            parts += (self.text[done:start], BLANK * (end - start))
            done = end
        if parts:
            self.text = "".join(parts) + self.text[done:]
            self.lower = same_length_lower(self.text)


class Words:
    """Words to be found anywhere in a text in lower case, of any script. Where one begins another, the shorter."""

    def __init__(self, words: Iterable[str]) -> None:
        wanted = list(words)
        self._ascii = re.compile(_tree([word for word in wanted if word.isascii()]))
        self._all = re.compile(_tree(wanted))

    def places(self, lower: str) -> Iterator[Match]:
        """A match for each place."""
        return (self._ascii if lower.isascii() else self._all).finditer(lower)

    def stand_in(self, lower: str) -> bool:
        """Whether any of the words is there."""
        return (self._ascii if lower.isascii() else self._all).search(lower) is not None


def _tree(words: list[str]) -> str:
    """A pattern of alternatives that share their beginnings: tried several times faster than a list of words."""
    rests: dict[str, list[str]] = {}
    for word in words:
        if not word:
            return ""
        rests.setdefault(word[0], []).append(word[1:])
    branches = [re.escape(first) + _tree(rest) for first, rest in rests.items()]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def same_length_lower(text: str) -> str:
    """Lower case without a change of length (the Turkish capital I with a dot grows)."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(small if len(small := c.lower()) == 1 else c for c in text)


def token_runs(text: str, least: int) -> list[tuple[int, int]]:
    """Where runs of at least so many characters of keys, tokens, paths and packed data lie.

    A search for a row of equal bytes skips most of the text, which a pattern cannot.
    """
    row = text.encode("latin-1", "replace").translate(_AS_TOKEN)
    wanted = b"x" * least
    at = row.find(wanted)
    if at < 0:
        return []
    found = []
    while at >= 0:
        start = row.rfind(b" ", 0, at) + 1
        end = row.find(b" ", at)
        end = len(row) if end < 0 else end
        found.append((start, end))
        at = row.find(wanted, end)
    return found


def is_word(char: str) -> bool:
    """Whether a character would belong to the same word as a digit beside it."""
    return char == "_" or (char.isalnum() and (char < "\u0e00" or _UNSPACED.match(char) is None))


def starts(text: str, start: int, joined: frozenset[str] = JOINED) -> bool:
    """Whether a word begins here: no letter, digit or joining character stands before it.

    Text cut out of JSON carries `\\n` as two characters, and its `n` is no letter of a word. Finders ask this after
    a match, for a pattern that begins with a look-behind is searched five times slower.
    """
    if not start:
        return True
    before = text[start - 1]
    if before in _ESCAPES and start > 1 and text[start - 2] == "\\":
        return True
    return not (before in joined or is_word(before))


def ends(text: str, end: int, joined: str = "-./:") -> bool:
    """Whether a word ends here: no letter, digit or `@` follows, nor a joining character and a digit."""
    after = text[end : end + 2]
    if not after:
        return True
    if after[0] in "xX" and after[1:].isdigit():
        return True  # an extension
    return not (is_word(after[0]) or after[0] == "@" or (after[0] in joined and after[1:].isdigit()))
