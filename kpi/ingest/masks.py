"""What identifiers are replaced with, and the sheet on which the finders of this room mark them.

The finders lie in `blobs`, `credentials`, `addresses`, `accounts`, `identities` and `phones`; `redact` runs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

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
Span = tuple[int, int, str]  # first character, one past the last, token


class Sheet:
    """A text in which what was found is blanked in place, so that no later finder sees it or its neighbours shift."""

    __slots__ = ("_lower", "spans", "text")

    def __init__(self, text: str) -> None:
        self.text = _blank_masked(text) if "[" in text else text
        self.spans: list[Span] = []
        self._lower: str | None = None

    @property
    def lower(self) -> str:
        """The text in lower case, of the same length."""
        if self._lower is None:
            self._lower = same_length_lower(self.text)
        return self._lower

    def take(self, found: Iterable[Span]) -> None:
        """Notes spans, in rising order, and blanks them; one that overlaps its forerunner is left out."""
        parts: list[str] = []
        done = 0
        for span in found:
            start, end, _ = span
            if start < done or start >= end:
                continue
            self.spans.append(span)
            parts += (self.text[done:start], BLANK * (end - start))
            done = end
        if parts:
            self.text = "".join(parts) + self.text[done:]
            self._lower = None


def _blank_masked(text: str) -> str:
    return _MASKED.sub(lambda match: BLANK * len(match.group()), text)


def same_length_lower(text: str) -> str:
    """Lower case without a change of length (the Turkish capital I with a dot grows)."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(small if len(small := c.lower()) == 1 else c for c in text)


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
