"""What a text is made of where its first line does not tell: JSON, JSON lines around a bad one, or delimited text.

A bad first line must cost itself alone. So a few hundred lines are looked at: those that hold a JSON object each make
the file JSON lines, whatever stands before, between or behind them.
"""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kpi.errors import IngestError
from kpi.ingest.files.json_decoding import loads
from kpi.ingest.files.source import Opened, lines
from kpi.ingest.limits import MIB, Limits
from kpi.mapping.column_names import known

LOOK_LINES = 200
_LOOK_BYTES = 4 * MIB
PREAMBLE = 20  # lines that may stand before the header of delimited text, comments aside
LOOK_AHEAD = 80
_TOLD = 2  # known names that make a later line the header
_HEADER_CHARS = 60_000
_NAME_CHARS = 300
_DELIMITERS = ",;\t|"
_SEPARATOR = re.compile(r'"?sep=(\\t|[^"\n])"?\s*[;,]*\s*$', re.IGNORECASE)
_NO_JSON = re.compile(r"(?!true\b|false\b|null\b)[A-Za-z_]")  # no line of a JSON document begins so
_NUMBER = re.compile(r'[\s"]*[-+]?[\d.,]*\d(?:[eE][-+]?\d+)?[\s"%]*')


def begins_as_json(source: Opened) -> bool:
    """Whether the first character opens an object or a list."""
    return source.head.lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n")[:1] in (b"{", b"[")


def is_json(source: Opened) -> bool:
    """Whether an input is JSON or JSON lines, and no delimited text behind a line that only looks so."""
    if not begins_as_json(source):
        return bool(objects(source))
    first = [line for line in source.head.decode("utf-8", "replace").splitlines() if line.strip()]
    at = header_at(first)
    return at is None or not _NO_JSON.match(first[at])


def objects(source: Opened, limits: Limits | None = None) -> list[bytes]:
    """The lines that hold a JSON object each, of the first few hundred; nothing where the file is not JSON lines.

    It is where at least half of the lines do, or where it begins as JSON and two such lines follow each other, which no
    single document has.
    """
    found: list[bytes] = []
    seen = size = last = 0
    together = False
    try:
        for _, line in lines(source, limits=limits or Limits()):
            seen += 1
            size += len(line or b"")
            if line is not None and _is_object(line):
                together = together or (bool(found) and last == seen - 1)
                last = seen
                found.append(line)
            if seen >= LOOK_LINES or size >= _LOOK_BYTES:
                break
    except (IngestError, OSError, UnicodeError):
        return []
    lined = 2 * len(found) >= seen or (together and begins_as_json(source))
    return found if lined else []


def _is_object(line: bytes) -> bool:
    if line[:1] != b"{" or line[-1:] != b"}" or len(line) <= 2:
        return False
    try:
        return bool(loads(line))
    except (ValueError, RecursionError):
        return False


@dataclass(frozen=True)
class Header:
    """at: which of the lines names the columns. above: lines before it that are no directive."""

    at: int
    names: list[str]
    delimiter: str
    above: int


def header(given: Sequence[str], delimiter: str = "") -> Header | None:
    """The header among the first lines of delimited text, and what parts its cells; None where there is none.

    delimiter: as a person says. Else what a line `sep=;` says, as spreadsheets write it, or the one of `, ; tab |` that
    parts the lines into most cells, as many in each as in the header.
    """
    directive = _SEPARATOR.match(given[0].lstrip("\ufeff")) if given else None
    lines = list(given[1:] if directive else given)
    known_delimiter = delimiter or (directive[1].replace("\\t", "\t") if directive else "")
    at = header_at(lines, known_delimiter)
    if at is None:
        return None
    found = known_delimiter or delimiter_of(lines[at], lines[at + 1 :])
    names = names_in(lines[at], found or "")
    if found is None or names is None:
        return None
    return Header(at + bool(directive), names, found, at)


def delimiter_of(line: str, below: Sequence[str] = ()) -> str | None:
    """The delimiter of a header line: the one of `, ; tab |` that splits most lines below into as many cells as the
    header, and then the one that splits it into most, outside quotes."""
    outside = re.sub(r'"[^"]*"', "", line)
    rest = [re.sub(r'"[^"]*"', "", text) for text in below]

    def agrees(mark: str) -> tuple[bool, int]:
        cells = outside.count(mark)
        return 2 * sum(text.count(mark) == cells for text in rest) >= len(rest), cells

    return max((mark for mark in _DELIMITERS if mark in outside), key=agrees, default=None)


def header_at(given: Sequence[str], delimiter: str = "") -> int | None:
    """Which of the first lines of delimited text names its columns; None where none can.

    The first that is no comment, unless it is odd (no delimiter, numbers, or nothing that is known and another count of
    cells) and a later one names at least two things that a request has: then that, and what stands before is no row.
    """
    start = next((i for i, line in enumerate(given) if not line.startswith("#")), 0)
    first = names_in(given[start], delimiter) if given else None
    if first is None or all(_NUMBER.fullmatch(n) for n in first if n):
        odd: Callable[[list[str]], bool] = lambda names: True  # noqa: E731
    elif not any(map(known, first)):
        odd = lambda names: len(names) != len(first)  # noqa: E731
    else:
        return start
    for i, line in enumerate(given[start + 1 : start + PREAMBLE + 1], start + 1):
        names = names_in(line, delimiter)
        if names is not None and odd(names) and sum(known(n) is not None for n in names) >= _TOLD:
            return i
    return None if first is None else start


def names_in(line: str, delimiter: str = "") -> list[str] | None:
    """The names of columns in a line, stripped; None where it can be no header."""
    if (
        line.lstrip("\ufeff\ufffd\x00")[:1] in ("<", "%", "#", "{", "[")
        or not line.strip()
        or len(line) > _HEADER_CHARS
    ):
        return None
    mark = delimiter or delimiter_of(line)
    if mark is None:
        return None
    try:
        names = next(csv.reader([line], delimiter=mark), [])
    except csv.Error:
        return None
    if sum(bool(n.strip()) for n in names) < 2 or any(len(n) > _NAME_CHARS for n in names):
        return None
    return [n.strip() for n in names]
