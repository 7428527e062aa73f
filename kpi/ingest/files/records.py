"""Records of an export as plain dicts, whatever they are packed in: JSON, JSON lines, CSV or Parquet.

A broken record is counted and left out. Of a document that is cut off or broken inside, everything before that place is
read, and the receipt says what is missing. Nothing here knows what a record means.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kpi.errors import IngestError
from kpi.ingest.files import python_repr
from kpi.ingest.files.json_decoding import loads
from kpi.ingest.files.line_sniffing import is_json, objects
from kpi.ingest.files.source import Opened, lines, utf8_stream
from kpi.ingest.files.tabular import batches
from kpi.ingest.limits import MIB, Limits

Drop = Callable[[int, str, str], None]  # record, reason, hint
Note = Callable[[str], None]
ENVELOPES = (
    "data", "rows", "records", "requests", "items", "results", "traces", "trace", "spans", "sessions", "runs",
)  # fmt: skip
_CUT_HINT = "The export was cut off or damaged; load it again when complete."
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_DEEP = 12
_REPR_CHARS = 2_000_000


def records(
    source: Opened,
    *,
    limits: Limits,
    drop: Drop,
    note: Note,
    is_record: Callable[[dict[str, Any]], bool],
    texts: Collection[str] = (),
) -> Iterator[tuple[int, dict[str, Any], int]]:
    """(1-based position, record, bytes consumed). is_record: whether an object is a record itself, not its envelope.
    texts: columns of CSV whose cells are taken as they are.

    Cells of CSV that hold JSON or a Python repr are read as what they hold, empty cells are None, and members of
    Parquet structs that a row does not have are left out. Raises IngestError when nothing at all can be read.
    """
    if source.head.startswith(b"PAR1") or not is_json(source):
        cell = _plain if source.head.startswith(b"PAR1") else from_cell
        for batch in batches(source, limits=limits, drop=drop, note=note):
            rows = _nanoseconds(batch.table).to_pylist()
            for number, row in zip(batch.numbers.tolist(), rows, strict=True):
                yield number, {k: (v or None) if k in texts else cell(v) for k, v in row.items()}, batch.consumed
        return
    by_line = _lined(source, limits)
    found = _of_lines(source, limits, drop) if by_line else _of_document(source, limits, drop, note)
    position = 0
    for at, item, consumed in found:
        if isinstance(item, dict) and item.get("next_cursor") and not is_record(item):
            note(f"{source.name} is one page of an answer and names a next one: load all pages.")
        for record in _unwrapped(item, is_record):
            position = at if by_line else position + 1
            if isinstance(record, dict):
                yield position, record, consumed
            else:
                drop(position, "the record is no JSON object", "")


# --- JSON ------------------------------------------------------------------------------------------------------------


def _unwrapped(item: Any, is_record: Callable[[dict[str, Any]], bool]) -> Iterator[Any]:
    """The records inside lists and envelopes such as `{"data": […]}`."""
    if isinstance(item, list):
        for inner in item:
            yield from _unwrapped(inner, is_record) if isinstance(inner, list) else [inner]
        return
    if isinstance(item, dict) and not is_record(item):
        for name in ENVELOPES:
            inner = item.get(name)
            if isinstance(inner, list):
                yield from _unwrapped(inner, is_record)
                return
            if isinstance(inner, dict) and is_record(inner):
                yield inner
                return
    yield item


def _lined(source: Opened, limits: Limits) -> bool:
    """Whether each line is a document: the first is one, and there are more or it is no list."""
    found = lines(source, limits=limits)
    first = next(found, (0, b""))[1]
    second = next(found, None)
    found.close()  # type: ignore[attr-defined]
    if second is None:
        return False
    try:
        loads(first or b"")
    except ValueError:
        # A broken first line does not make a document of lines that each hold an object.
        cut = (first or b"")[:1] == b"{" and len(first or b"") > 2 and (second[1] or b"")[:2] in (b'{"', b"{}")
        return cut or bool(objects(source, limits))
    return True


def _of_lines(source: Opened, limits: Limits, drop: Drop) -> Iterator[tuple[int, Any, int]]:
    consumed = 0
    for number, line in lines(source, limits=limits):
        if line is None:
            drop(number, f"the line is longer than {limits.line_bytes // MIB} MiB", "")
            continue
        consumed += len(line)
        try:
            yield number, loads(line), consumed
        except ValueError:
            drop(number, "the line is not valid JSON", "The line may be cut off.")


def _of_document(source: Opened, limits: Limits, drop: Drop, note: Note) -> Iterator[tuple[int, Any, int]]:
    text = read_whole(source, limits)
    try:
        yield 1, loads(text), len(text)
        return
    except ValueError:
        pass
    document = salvaged(text.decode("utf-8", "replace"))
    if not document:
        raise IngestError("ingest.bad_json", f"{source.name} is not valid JSON", hint=_CUT_HINT)
    drop(1, "the document is cut off or broken inside", _CUT_HINT)
    note(f"{source.name} is cut off or broken inside: what comes after that place is missing.")
    yield 1, document, len(text)


def read_whole(source: Opened, limits: Limits) -> bytes:
    """All bytes of one JSON document as UTF-8. Raises IngestError `ingest.too_large`."""
    with source.stream() as raw:
        text = utf8_stream(raw, source.head).read(limits.json_bytes + 1)
    if len(text) > limits.json_bytes:
        raise IngestError(
            "ingest.too_large", f"{source.name} is one JSON document of over {limits.json_bytes // MIB} MiB",
            hint="Export it as JSONL, one object a line.",
        )  # fmt: skip
    return text


def salvaged(text: str, at: int = 0, depth: int = 0) -> Any:
    """What stands before the first fault of a broken document; None where that is nothing.

    An element of a list is taken whole or left out, unless it is the first: then what is in it is taken.
    """
    at = _blank(text, at)
    opening = text[at : at + 1]
    if opening not in ("{", "[") or depth > _DEEP:
        return None
    members: dict[str, Any] = {}
    elements: list[Any] = []
    try:
        while True:
            at = _blank(text, at + 1)
            if opening == "{":
                key, at = _DECODER.raw_decode(text, at)
                at = _blank(text, at) + 1  # the colon
            try:
                value, at = _DECODER.raw_decode(text, _blank(text, at))
            except (ValueError, RecursionError):
                value, at = None if elements else salvaged(text, at, depth + 1), len(text)
            if value is not None and opening == "{":
                members[str(key)] = value
            elif value is not None:
                elements.append(value)
            at = _blank(text, at)
            if text[at : at + 1] != ",":
                break
    except (ValueError, RecursionError):
        pass
    return (members if opening == "{" else elements) or None


def _blank(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


# --- cells -----------------------------------------------------------------------------------------------------------


def from_cell(value: Any) -> Any:
    """A cell of delimited text: JSON, or the repr of Python objects that `to_csv` writes, as what it holds.

    Empty cells are None; all other text stays text, digits too: ids must not lose any.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text in _NOTHING:
        return None
    if text[:1] not in ("{", "[") and not _CALL.match(text):
        return value
    try:
        return loads(text.encode("utf-8", "replace"))
    except ValueError:
        return _from_repr(text, value)


_NOTHING = frozenset({"", "None", "nan", "NaN", "NaT", "null", "NULL", "<NA>"})
_CALL = re.compile(r"(?:array|Timestamp|datetime\.datetime|UUID|Decimal)\(")


def _from_repr(text: str, otherwise: str) -> Any:
    if len(text) > _REPR_CHARS:
        return otherwise
    try:
        return _plain(python_repr.read(text))
    except (ValueError, SyntaxError, RecursionError, TypeError, OverflowError):
        return otherwise


def _plain(value: Any) -> Any:
    """Values of Arrow and Python as JSON would hold them; members of a struct that are null were absent."""
    if isinstance(value, dict):
        return {str(k): p for k, v in value.items() if (p := _plain(v)) is not None}
    if isinstance(value, list | tuple | set):
        if value and all(isinstance(v, tuple) and len(v) == 2 and isinstance(v[0], str) for v in value):
            return {k: p for k, v in value if (p := _plain(v)) is not None}  # an Arrow map
        return [_plain(v) for v in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _nanoseconds(table: pa.Table) -> pa.Table:
    """Times as integer nanoseconds, which keeps their digits and costs no datetime objects."""
    for i, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            cast = pc.cast(table.column(i), pa.timestamp("ns", tz=column.type.tz), safe=False)
            table = table.set_column(i, column.name, cast.cast(pa.int64()))
    return table
