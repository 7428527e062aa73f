"""Lines of a text -> the JSON documents in it, one after the other, however they are laid out.

A document may fill a line, several lines (pretty-printed), or share a line with others; between documents other text
may stand, as in a log. Each document has the line on which it begins as its place. Nothing here looks into a document.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kpi.ingest.files.json_decoding import Decoded, decode

NO_JSON, CUT, LONG = "the line is not valid JSON", "the document is cut off or broken inside", "too long"
# A string, or one bracket. What stands in a string is no bracket, and no string of JSON goes over a line.
_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\]]')
_BLANK = b" \t\r\n,"


class Part(NamedTuple):
    """One document, or what could not be read. line: 1-based, where it begins. size: bytes. reason: of `told` None."""

    line: int
    told: Decoded | None
    size: int
    reason: str = ""


def split(lines: Iterable[tuple[int, bytes | None]], *, depth: int, longest: int) -> Iterator[Part]:
    """The documents in numbered lines whose indentation was kept; None is a line that was too long to be read.

    longest: bytes that one document may fill. A broken one costs itself alone: an object that begins at the start of a
    line, while another is open, is a new one, since what is inside a document that fills lines is indented.
    """
    open_ = _Open(depth)
    for number, line in lines:
        if line is None:
            yield from open_.given_up()
            yield Part(number, None, 0, LONG)
            continue
        if open_.parts and (open_.size > longest or (line[:1] == b"{" and open_.parts[0][:1] == b"{")):
            yield from open_.given_up()
        if open_.parts:
            yield from open_.take(number, line)
            continue
        text = line.strip(b" \t\r\n")
        if not text:
            continue
        try:
            yield Part(number, decode(text, depth=depth), len(line))
        except ValueError:
            found = list(open_.take(number, line)) if text[:1] in (b"{", b"[") else []
            if open_.parts or sum(map(_holds_objects, found)) > 1:
                yield from found
            else:
                yield Part(number, None, len(line), NO_JSON)
    yield from open_.given_up()


def _holds_objects(part: Part) -> bool:
    value = part.told.value if part.told else None
    return any(isinstance(v, dict) for v in (value if isinstance(value, list) else [value]))


class _Open:
    """What has begun and has not ended yet: its lines, where it began, and how many brackets are open."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self.parts: list[bytes] = []
        self._numbers: list[int] = []
        self.size = self._level = 0

    def take(self, number: int, line: bytes) -> Iterator[Part]:
        """The documents that end on this line; what begins on it stays open."""
        start = 0
        for found in _BRACKET.finditer(line):
            bracket = found[0]
            if bracket in (b"{", b"["):
                if not self._level:
                    if line[start : found.start()].strip(_BLANK):
                        yield Part(number, None, found.start() - start, NO_JSON)
                    start = found.start()
                self._level += 1
            elif self._level and bracket in (b"}", b"]"):
                self._level -= 1
                if not self._level:
                    yield self._ended(number, line[start : found.end()])
                    start = found.end()
        rest = line[start:]
        if self._level:
            self.parts.append(rest)
            self._numbers.append(number)
            self.size += len(rest)
        elif rest.strip(_BLANK):
            yield Part(number, None, len(rest), NO_JSON)

    def given_up(self) -> Iterator[Part]:
        """What never ended, as one thing that is broken; lines after its first that are documents are read."""
        if not self.parts:
            return
        numbers, parts = self._numbers, self.parts
        self._forget()
        yield Part(numbers[0], None, len(parts[0]), NO_JSON if len(parts) == 1 else CUT)
        for number, line in zip(numbers[1:], parts[1:], strict=True):
            if line[:1] in (b"{", b"["):
                try:
                    yield Part(number, decode(line, depth=self._depth), len(line))
                except ValueError:
                    continue

    def _ended(self, number: int, end: bytes) -> Part:
        line = self._numbers[0] if self._numbers else number
        text = b"\n".join([*self.parts, end])
        lined = not self.parts
        self._forget()
        try:
            return Part(line, decode(text, depth=self._depth), len(text))
        except ValueError:
            return Part(line, None, len(text), NO_JSON if lined else CUT)

    def _forget(self) -> None:
        self.parts, self._numbers, self.size, self._level = [], [], 0, 0
