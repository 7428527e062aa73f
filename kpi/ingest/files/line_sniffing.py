"""What a text is made of where its first line does not tell: JSON, JSON lines around a bad one, or delimited text.

A bad first line must cost itself alone. So a few hundred lines are looked at: those that hold a JSON object each make
the file JSON lines, whatever stands before, between or behind them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence

from kpi.errors import IngestError
from kpi.ingest.files.json_decoding import loads
from kpi.ingest.files.source import Opened, lines
from kpi.ingest.limits import MIB, Limits
from kpi.mapping.column_names import known

LOOK_LINES = 200
_LOOK_BYTES = 4 * MIB
PREAMBLE = 10  # lines that may stand before the header of delimited text
_TOLD = 2  # known names that make a later line the header
_HEADER_CHARS = 60_000
_NAME_CHARS = 300
_DELIMITERS = ",;\t|"
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


def delimiter_of(line: str) -> str | None:
    """The delimiter of a header line: the one of `, ; tab |` that splits it into most parts outside quotes."""
    outside = re.sub(r'"[^"]*"', "", line)
    best = max(_DELIMITERS, key=outside.count)
    return best if outside.count(best) else None


def header_at(given: Sequence[str]) -> int | None:
    """Which of the first lines of delimited text names its columns; None where none can.

    The first one, unless it is odd (no delimiter, numbers, or nothing that is known and another count of cells) and a
    later one names at least two things that a request has: then that, and what stands before it is no row.
    """
    first = names_in(given[0]) if given else None
    if first is None or all(_NUMBER.fullmatch(n) for n in first if n):
        odd: Callable[[list[str]], bool] = lambda names: True  # noqa: E731
    elif not any(map(known, first)):
        odd = lambda names: len(names) != len(first)  # noqa: E731
    else:
        return 0
    for i, line in enumerate(given[1 : PREAMBLE + 1], 1):
        names = names_in(line)
        if names is not None and odd(names) and sum(known(n) is not None for n in names) >= _TOLD:
            return i
    return None if first is None else 0


def names_in(line: str) -> list[str] | None:
    """The names of columns in a line, stripped; None where it can be no header."""
    if (
        line.lstrip("\ufeff\ufffd\x00")[:1] in ("<", "%", "#", "{", "[")
        or not line.strip()
        or len(line) > _HEADER_CHARS
    ):
        return None
    delimiter = delimiter_of(line)
    if delimiter is None:
        return None
    try:
        names = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return None
    if sum(bool(n.strip()) for n in names) < 2 or any(len(n) > _NAME_CHARS for n in names):
        return None
    return [n.strip() for n in names]
