"""Rows to Arrow tables of a canonical schema, in batches, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kpi import schema

FLUSH_ROWS = 20_000
_DATE = schema.REQUESTS["day"].name
_INT64 = range(-(2**63), 2**63)


class RowBuffer:
    """Rows as dicts of canonical column names, collected into Arrow tables of at most 20,000 rows each.

    Times are integer microseconds since the epoch, absent keys are null, `x_…` keys are extra string columns of
    `requests`; `day` is filled from `started_at`. Unknown keys are a programming error (KeyError).
    """

    def __init__(self, flush_rows: int = FLUSH_ROWS) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._flush_rows = flush_rows

    def add(self, table: str, row: dict[str, Any]) -> None:
        self._rows.setdefault(table, []).append(row)

    def full(self, least: int | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Tables that have reached the flush size, or so many rows."""
        for name, rows in self._rows.items():
            if len(rows) >= (least or self._flush_rows):
                self._rows[name] = []
                yield name, to_table(name, rows)

    def rest(self) -> Iterator[tuple[str, pa.Table]]:
        """Everything left."""
        return self.full(1)


def dicts(table: pa.Table | pa.RecordBatch, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows as dicts; times as integer microseconds, which costs a tenth of making datetime objects."""
    values = []
    for name in names:
        column = table.column(name)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
        values.append(column.to_pylist())
    for row in zip(*values, strict=True):
        yield dict(zip(names, row, strict=True))


def to_table(table: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of canonical column names -> Arrow table in the canonical schema of `table`, extras in sorted order.

    Raises KeyError for a key that is neither canonical nor, in `requests`, an `x_…` cohort or `m_…` measure.
    """
    canonical = schema.TABLES[table]
    names = set().union(*rows)
    extra = {n for n in names - set(canonical.names) if table == "requests" and schema.is_extra(n)}
    unknown = names - set(canonical.names) - extra
    if unknown:
        raise KeyError(f"{table} has no column {sorted(unknown)[0]!r}")
    target = canonical.arrow_schema(extra)
    arrays = [_array(_cells(rows, f.name), f.type) if f.name in names else pa.nulls(len(rows), f.type) for f in target]
    return with_day(pa.table(arrays, schema=target))


def _cells(rows: list[dict[str, Any]], name: str) -> list[Any]:
    try:
        return list(map(itemgetter(name), rows))  # nearly always all rows have it
    except KeyError:
        return [row.get(name) for row in rows]


def with_day(table: pa.Table) -> pa.Table:
    """Fill `day`, the UTC day of `started_at`, where a table has both columns."""
    if not {_DATE, "started_at"} <= set(table.column_names):
        return table
    days = pc.cast(table["started_at"], pa.timestamp("us")).cast(pa.date32(), safe=False)
    return table.set_column(table.column_names.index(_DATE), table.schema.field(_DATE), days)


def _array(values: list[Any], type_: pa.DataType) -> pa.Array:
    """A column of the wanted type; a value that cannot be one (lone surrogates, integers over 64 bit) is made safe."""
    try:
        return pa.array(values, type=type_)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError):
        return pa.array([_safe(v, type_) for v in values], type=type_)


def _safe(value: Any, type_: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_string(type_):
        return str(value).encode("utf-8", "replace").decode("utf-8")
    if pa.types.is_boolean(type_):
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    if pa.types.is_floating(type_):
        return float(value)
    if isinstance(value, float) and not value.is_integer():
        return None
    return int(value) if abs(value) != float("inf") and int(value) in _INT64 else None
