"""Records of an export as plain dicts, whatever they are packed in: JSON, JSON lines, CSV, workbooks or Parquet.

A broken record is counted and left out. Nothing here knows what a record means.
"""

import math
import re
from collections.abc import Collection, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kpi.ingest.files import python_repr
from kpi.ingest.files.json_decoding import decode
from kpi.ingest.files.json_documents import NO_NUMBERS, Drop, IsRecord, Note, lie_between, objects
from kpi.ingest.files.line_sniffing import is_json
from kpi.ingest.files.odd_rows import rows_of_columns
from kpi.ingest.files.source import Opened
from kpi.ingest.files.tabular import batches
from kpi.ingest.limits import Limits

_REPR_CHARS = 2_000_000
_INFINITE = frozenset(["inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"])
_LONGEST_NONE = max(map(len, _INFINITE))
_NOTHING = frozenset({"", "None", "nan", "NaN", "NaT", "null", "NULL", "<NA>"})
_CALL = re.compile(r"(?:array|Timestamp|datetime\.datetime|UUID|Decimal)\(")


def records(
    source: Opened, *, limits: Limits, drop: Drop, note: Note, is_record: IsRecord, texts: Collection[str] = (),
    delimiter: str = "", sheet: str = "",
) -> Iterator[tuple[int, dict[str, Any], int]]:  # fmt: skip
    """(1-based position, record, bytes consumed). is_record: whether an object is a record itself, not its envelope.
    texts: columns of CSV whose cells are taken as they are. delimiter, sheet: as a person says.

    Cells of CSV and workbooks that hold JSON or a Python repr are read as what they hold, empty cells are None, and
    members of Parquet structs that a row does not have are left out. Raises IngestError when nothing can be read.
    """
    is_text = not source.head.startswith(b"PAR1")
    if not is_text or not (is_json(source) or lie_between(source, limits)):
        nans = 0
        for batch in batches(source, limits=limits, drop=drop, note=note, delimiter=delimiter, sheet=sheet):
            rows = _nanoseconds(batch.table).to_pylist()
            for number, row in zip(batch.numbers.tolist(), rows, strict=True):
                record = {}
                for name, value in row.items():
                    if name in texts:
                        record[name] = value or None
                    elif is_text and isinstance(value, str):
                        record[name], none = opened(value)
                        nans += none
                    else:
                        record[name] = _plain(value)
                yield number, record, batch.consumed
        if nans:
            note(NO_NUMBERS.format(name=source.name, count=nans))
        return
    for position, record, consumed in objects(source, limits=limits, drop=drop, note=note, is_record=is_record):
        for i, row in enumerate(rows_of_columns(record) or [record]):
            yield position + i, row, consumed


def from_cell(value: Any) -> Any:
    """A cell of delimited text: JSON, or the repr of Python objects that `to_csv` writes, as what it holds.

    Empty cells are None; all other text stays text, digits too: ids must not lose any.
    """
    return opened(value)[0]


def opened(value: Any) -> tuple[Any, int]:
    """(what a cell holds, as `from_cell` reads it; how many numbers in it are none and therefore None)."""
    if not isinstance(value, str):
        return value, 0
    text = value.strip()
    if text in _NOTHING:
        return None, 0
    if text[:1] not in ("{", "[") and not _CALL.match(text):
        return (None, 1) if len(text) <= _LONGEST_NONE and text.lower() in _INFINITE else (value, 0)
    try:
        told = decode(text.encode("utf-8", "replace"))
    except ValueError:
        return _from_repr(text, value), 0
    return told.value, told.nans


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
        return f"{value.total_seconds():.6f}s"  # with its unit, which the name of the column may not say
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
