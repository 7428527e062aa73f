"""Open a named connection as a data set, `db:NAME`, and settle which table and mapping it stands for.

`connect` looks at the table once: types, then a sample of rows against the mapping. What it finds right is saved in the
state folder and used by everybody who opens the name. What it finds wrong names the column, what it holds and what was
expected.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from kpi import schema
from kpi.disk import durable, full
from kpi.disk.permissions import make_private
from kpi.errors import MappingError, StoreError
from kpi.mapping.column_profile import Profiler
from kpi.mapping.guess import guess
from kpi.mapping.mapping import ColumnMapping, Mapping as ColumnMappings, kind_of
from kpi.mapping.parse_values import texts
from kpi.mapping.units import EARLIEST_US
from kpi.privacy.policy import Policy
from kpi.store.connections import checked, open_engine, table_of
from kpi.store.databases import DuckFileSource, LiveSource, SqlSource, blaming
from kpi.store.inplace import convert
from kpi.store.manifest import home

PREFIX = "db:"
SAMPLE_ROWS = 1_000
_LATEST_US = 4_102_444_800_000_000  # the year 2100
_TIME_UNITS = ((1e11, "s"), (1e14, "ms"), (1e17, "us"))


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the requests of a connection are. table: table, view or `schema.table`. mapping: None when canonical."""

    table: str
    mapping: ColumnMappings | None = None


def open_connection(name: str, *, table: str | None = None, mapping: ColumnMappings | None = None) -> LiveSource:
    """The rows of a named connection, read in place. Without `table` and `mapping`: as `connect` saved them, else the
    canonical table that secrets.toml names, else `requests`.

    Raises StoreError for a connection that cannot be used, MappingError for a table that does not fit.
    """
    kept = placement(name) if table is None and mapping is None else None
    source = _source(name, kept or Placement(table=table or table_of(name), mapping=mapping))
    source.table("requests")  # what does not fit is said now, not on a page
    return source


def connect(name: str, *, table: str, mapping: ColumnMappings | None = None) -> Placement:
    """Check a table of a connection and save it as the data set `db:NAME`.

    Without a mapping, a table with canonical columns is taken as it is, any other is guessed at from names, types and
    1,000 rows.

    Args:
        name: Of the connection, as the administrator gave it.
        table: Name of the table or view with one row a request, with its schema where it has one.
        mapping: Of its columns.

    Returns:
        The table with the mapping it is read through.

    Raises:
        StoreError: Where the connection or the table cannot be used.
        MappingError: Names the column, what it holds and what was expected.

    Example:
        >>> kpi.connect("lab", table="requests").table
        'requests'
        >>> kpi.open("db:lab").live
        True
    """
    raw = _source(name, Placement(table=table))
    held = raw.physical("requests")
    if not held:
        raise raw.no_table("requests")
    if mapping is None and not _is_canonical(held):
        mapping = _guessed(raw, held)
    elif mapping is not None:
        mapping = _settled(mapping, raw.sample(SAMPLE_ROWS))
    place = Placement(table=table, mapping=mapping)
    source = _source(name, place)
    source.table("requests")
    if mapping is not None:
        _check_values(mapping, source, raw.sample(SAMPLE_ROWS))
    _save(name, place)
    return place


def placement(name: str) -> Placement | None:
    """What `connect` saved for a connection; None when it saved nothing."""
    path = _path(name)
    try:
        if not path.exists():
            return None
        data = orjson.loads(path.read_bytes())
        mapping = ColumnMappings.from_dict(data["mapping"]) if data["mapping"] is not None else None
        return Placement(table=str(data["table"]), mapping=mapping)
    except (OSError, ValueError, KeyError, TypeError, MappingError) as error:
        raise StoreError.told("connection.placement", name=name) from error


def _source(name: str, place: Placement) -> LiveSource:
    kind, url = checked(name)
    told = f"{PREFIX}{name}"
    prefix = place.table.rpartition(".")[0]
    others = [] if place.mapping else [t for t in schema.TABLES if t != "requests"]
    tables = {"requests": place.table, **{t: f"{prefix}.{t}" if prefix else t for t in others}}
    if kind.name == "duckdb":
        return DuckFileSource(Path(str(url.database)), name=told, tables=tables, mapping=place.mapping)
    return SqlSource(open_engine(name), name=told, tables=tables, mapping=place.mapping)


def _path(name: str) -> Path:
    checked(name)  # a name that is configured is safe in a path
    return home() / "connections" / f"{name}.json"


def _save(name: str, place: Placement) -> None:
    path = _path(name)
    data = {"table": place.table, "mapping": place.mapping.to_dict() if place.mapping else None}
    with full.told(full.STORING, f"saving the connection {name!r}"):
        make_private(path.parent)
        durable.write(path, orjson.dumps(data, option=orjson.OPT_INDENT_2))


# -- what a table holds ---------------------------------------------------------------------------------------------


def _is_canonical(held: Mapping[str, Any]) -> bool:
    """An id and a time by their canonical names, and one fact at least."""
    facts = {c.name for c in schema.REQUESTS.columns if c.privacy == "measure"}
    return {"trace_id", "started_at"} <= set(held) and bool(facts & set(held))


def _guessed(raw: LiveSource, held: Mapping[str, Any]) -> ColumnMappings:
    """A mapping from the names and a sample, without texts, which only a person may open to readers, and without what
    cannot be read in place as the field that it seems to be."""
    sample = raw.sample(SAMPLE_ROWS)
    profiler = Profiler(None)
    profiler.add(sample)
    written = profiler.written(ColumnMappings(), ColumnMappings())
    found = _settled(guess(profiler.profiles(written), policy=Policy(masks=False)), sample)

    def fitting(column: ColumnMapping) -> ColumnMapping:
        with contextlib.suppress(MappingError):
            if column.field:
                convert(column, sa.column(column.source), held[column.source], raw.dialect)
            if not column.field or column.kind != "content":
                return column
        return ColumnMapping(column.source, None, how="unmapped", why=_ONLY)

    return ColumnMappings(tuple(map(fitting, found.columns)))


def _settled(mapping: ColumnMappings, sample: pa.Table) -> ColumnMappings:
    """The mapping with the unit of every epoch written out, by the size of its numbers."""
    mapping.check_columns(sample.column_names)
    settled = []
    for column in mapping.columns:
        values = sample[column.source]
        numbers = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
        if numbers and column.field and kind_of(column.field) == "time" and column.unit in ("", "auto"):
            largest = pc.max(pc.abs(values)).as_py() or 0
            unit = next((u for limit, u in _TIME_UNITS if largest < limit), "ns")
            column = replace(column, unit=unit)
        settled.append(column)
    return ColumnMappings(tuple(settled))


_ONLY = "it cannot be read in place as what it seems to be; load an export of the table"
_LOST = 0.2  # share of the values of a sample that may be none


def _check_values(mapping: ColumnMappings, source: LiveSource, sample: pa.Table) -> None:
    """Every mapped column must say something where the table does, and times must be times of our days."""
    view = source.table("requests")
    shown = [c for c in mapping.columns if c.field and c.field in view.c]
    rows = _read(shown, source, view)
    for column in shown:
        field = str(column.field)
        filled = len(sample) - texts(sample[column.source]).null_count
        lost = rows[field].null_count - (len(rows) - filled)
        one_sided = column.kind == "time" or (column.kind == "bool" and len(rows[field].drop_null().unique()) < 2)
        if filled and (lost >= filled or (one_sided and lost > _LOST * filled)):
            read = f"only {filled - lost:,}" if lost < filled else "none"
            unit = f" in {column.unit}" if column.unit else ""
            raise _contradicts(column, f"{read} of {filled:,} values is one{unit}")
        latest = pc.max(rows[field].cast(pa.int64())).as_py() if column.kind == "time" and filled else None
        if latest is not None and not EARLIEST_US <= latest <= _LATEST_US:
            hint = "Give the right unit: s, ms, us or ns."
            raise _contradicts(column, "its times lie far from our days", hint)


def _read(shown: Sequence[ColumnMapping], source: LiveSource, view: sa.FromClause) -> pa.Table:
    """A sample of the mapped columns; where that fails, the column that it fails on is named."""

    def ask(columns: Sequence[ColumnMapping]) -> pa.Table:
        return source.run(sa.select(*(view.c[str(c.field)] for c in columns)).select_from(view).limit(SAMPLE_ROWS))

    return blaming(ask, shown, lambda column, _: _contradicts(column, "its values cannot be read as one"))


def _contradicts(column: ColumnMapping, what: str, hint: str = "") -> MappingError:
    return MappingError(
        "mapping.contradiction", f"Column {column.source[:60]!r} is mapped to {column.field}, but {what}",
        hint=hint or f"Expected were values of the kind {column.kind}: map another column, or give the right unit.",
    )  # fmt: skip
