"""The reading of a text that the finders look at: full-width, coded and invisible characters undone, with a way back.

Folding keeps the length (one character for one: NFKC of full-width, mathematical and enclosed forms, the digits of all
scripts, spaces, dashes). Percent, HTML and `\\uXXXX` codes and invisible characters shorten it; `Reading` maps back.
"""

import html
import re
import unicodedata
from bisect import bisect_right

_INVISIBLE = "\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff"
_FOLDED_BEYOND = re.compile("[\U0001d400-\U0001d7ff]")
_CODED = re.compile(  # one class first: searched several times faster than alternatives
    r"[%&\\" + _INVISIBLE + r"](?:(?<=%)[0-7][0-9A-Fa-f]|(?<=\\)u[0-9A-Fa-f]{4}|"
    r"(?<=&)(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8});|(?<=[" + _INVISIBLE + "]))"
)
_UNSEEN = re.compile(f"[{_INVISIBLE}]")


def _fold(char: str) -> str:
    """One ASCII character that a reader would take this one for, or the character itself."""
    if unicodedata.category(char) == "Zs":
        return " "
    if unicodedata.category(char) == "Pd" or char == "\u2212":
        return "-"
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return str(digit)
    plain = unicodedata.normalize("NFKC", char)
    return plain if len(plain) == 1 and plain.isascii() else char


def _folds() -> dict[str, str]:
    blocks = [(0xA0, 0xA1), (0x660, 0x1D00), (0x2000, 0x2070), (0x2212, 0x2213), (0x2460, 0x2500), (0x3000, 0x3003),
              (0xA620, 0xAC00), (0xFE50, 0xFE70), (0xFF00, 0xFFF0), (0x1D400, 0x1D800)]  # fmt: skip
    chars = (chr(code) for low, high in blocks for code in range(low, high))
    folds = {c: plain for c in chars if (plain := _fold(c)) != c and plain.isprintable()}
    return folds | {"\u3002": ".", "\u2024": ".", "\u2028": "\n", "\u2029": "\n"}


_FOLDS = _folds()
# A class of the basic plane alone is compiled to a table; one with characters beyond it is a slow list of ranges.
_FOLDED = re.compile(f"[{''.join(c for c in _FOLDS if c <= chr(0xFFFF))}]")
_ODD = re.compile(f"[{''.join(c for c in _FOLDS if c <= chr(0xFFFF))}{_INVISIBLE}]|[\U0001d400-\U0001d7ff]")


def is_plain(text: str) -> bool:
    """Whether a text reads as it is written."""
    return text.isascii() and not ("%" in text or "&" in text or "\\u" in text)


class Reading:
    """A text as the finders read it. `text` may be shorter than the original; `place` maps a span back to it."""

    __slots__ = ("_from", "_to", "text")

    def __init__(self, original: str) -> None:
        self._from: list[int] = []
        self._to: list[int] = []
        self.text = original
        if not original.isascii() and _ODD.search(original) is not None:
            for folded in (_FOLDED, _FOLDED_BEYOND):
                self.text = folded.sub(lambda match: _FOLDS.get(match.group(), match.group()), self.text)
            if _UNSEEN.search(self.text) is not None:
                self._decode()
                return
        if "%" in original or "&" in original or "\\u" in original:
            self._decode()

    def _decode(self) -> None:
        parts: list[str] = []
        done = length = 0
        for match in _CODED.finditer(self.text):
            plain = _decoded(match.group())
            if plain is None:
                continue
            start = match.start()
            parts += (self.text[done:start], plain)
            length += start - done + len(plain)
            done = match.end()
            self._from.append(length)
            self._to.append(done)
        if parts:
            self.text = "".join(parts) + self.text[done:]

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Where a span of `text` lies in the original: the codes of its first and last character included."""
        if not self._from:
            return start, end
        return self._original(start), self._original(end - 1) + self._width(end - 1)

    def _original(self, at: int) -> int:
        segment = bisect_right(self._from, at) - 1
        return at if segment < 0 else self._to[segment] + at - self._from[segment]

    def _width(self, at: int) -> int:
        """Characters of the original that the character at this place took."""
        segment = bisect_right(self._from, at)
        if segment < len(self._from) and self._from[segment] == at + 1:
            return self._to[segment] - self._original(at)
        return 1


def _decoded(code: str) -> str | None:
    """One printable character, nothing for an invisible one, or None where the code is to stay as it is."""
    if len(code) == 1:
        return ""
    plain = html.unescape(code) if code[0] == "&" else chr(int(code.lstrip("%\\u"), 16))
    if len(plain) != 1:
        return None
    plain = _FOLDS.get(plain, plain)
    return plain if plain.isprintable() or plain in "\n\t" else None
