"""Sources: where the rows of a data set stand, and how a statement reaches them.

One statement, written in SQLAlchemy Core, runs on the embedded DuckDB (the stock PostgreSQL dialect compiles it,
a native cursor runs it: one cursor per query, because a connection shared by threads gives wrong answers); databases
are in `kpi.store.databases`. A source knows tables and columns, never metrics.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import html
import math
import textwrap
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import Select
from sqlalchemy.sql.selectable import CompoundSelect

from kpi import clock
from kpi.errors import MetricError, StoreError
from kpi.mapping.column_names import close_name
from kpi.mapping.column_profile import ColumnProfiler
from kpi.privacy.policy import DEFAULT_ALLOW, Policy
from kpi.receipts import ColumnUse, Receipt
from kpi.result import printable
from kpi.schema import EXTRA_PREFIX, MEASURE_PREFIX, TABLES, Type
from kpi.store.cache import HELPERS, helpers
from kpi.store.contents import unsound
from kpi.store.dialects import Dialect
from kpi.store.sql import literal, parquet

Query = Select[*tuple[Any, ...]]
Statement = Query | CompoundSelect[*tuple[Any, ...]]

SQL_TYPES: dict[Type, sa.types.TypeEngine[Any]] = {
    "string": sa.Text(), "bool": sa.Boolean(), "int": sa.BigInteger(), "float": sa.Double(),
    "time": sa.DateTime(timezone=True), "date": sa.Date(),
}  # fmt: skip

_TOLD = ("notes", "receipt", "outcomes", "shares")  # what a source in memory knows beside its rows
# errors of a statement or of the machine; any other that a cache gives means that its file is damaged
_NOT_OF_A_FILE = (duckdb.ProgrammingError, duckdb.DataError, duckdb.OutOfMemoryException, duckdb.InterruptException)


_ARROW_KINDS: list[tuple[Callable[[pa.DataType], bool], Type]] = [
    (pa.types.is_boolean, "bool"), (pa.types.is_integer, "int"), (pa.types.is_floating, "float"),
    (pa.types.is_decimal, "float"), (pa.types.is_timestamp, "time"), (pa.types.is_date, "date"),
]  # fmt: skip


def arrow_kind(kind: pa.DataType) -> Type:
    """The canonical type that holds an Arrow type: every integer is `int`, every text `string`."""
    if pa.types.is_dictionary(kind):
        return arrow_kind(kind.value_type)
    return next((found for is_one, found in _ARROW_KINDS if is_one(kind)), "string")


class Source(ABC):
    """The rows of one data set at one version. Immutable: the same fingerprint means the same numbers, unless `live`.

    Attributes:
        name: Data set, as people call it.
        version: Number of the stored version, 0 where there is none.
        fingerprint: 16 hexadecimal digits that identify the rows; cache keys and links are built on it.
        dialect: What its engine says differently.
        read_at: When a live source was opened, None for rows that are stored.
        notes: What its readers must know, in sentences.
        rekeyed: When the key of its users was last changed.
        receipt: What was read how, of a frame or file.
        whole: Whether a question without a slice means all rows, as of a frame.
        outcomes: Dimensions that are results, so that no search takes them for reasons.
        shares: Of the columns of a frame, the share of its rows that are filled.

    Example:
        >>> isinstance(source, kpi.Source), len(source.fingerprint), source.live
        (True, 16, False)
    """

    name: str
    version: int
    fingerprint: str
    dialect: Dialect = Dialect()
    read_at: datetime | None = None
    notes: tuple[str, ...] = ()
    rekeyed: datetime | None = None
    receipt: Receipt | None = None
    whole: bool = False
    outcomes: frozenset[str] = frozenset()
    shares: Mapping[str, float] = MappingProxyType({})

    @property
    def columns(self) -> pd.DataFrame:
        """What each column of the data was taken as: column, taken_as (None: left out), unit, why, filled (share of the
        rows; NaN where nothing was counted), nearest (the known name that its name may be a slip of)."""
        counts, rows = self._counts, self._counts.get("(all)", 0)
        held = [ColumnUse(name, name, "exact") for name in self.columns_of("requests")]
        told = []
        for u in self.receipt.columns if self.receipt and self.receipt.columns else held:
            filled = self.shares.get(u.source, counts.get(u.field or "", 0) / rows if rows else math.nan)
            near = "" if u.how in ("exact", "alias", "guessed") else close_name(u.source)
            told.append((u.source, u.field, u.unit, u.note, filled, near))
        return pd.DataFrame(told, columns=["column", "taken_as", "unit", "why", "filled", "nearest"])

    def rows(self, slice: Any = None, **options: Any) -> pd.DataFrame:
        """Requests of a slice with every column that holds something: `kpi.rows`."""
        found: pd.DataFrame = import_module("kpi").rows(self, slice, **options)  # which knows what a slice is
        return found

    @property
    def live(self) -> bool:
        """Whether the rows may change under the source: answers are then not to be kept for longer than a minute."""
        return self.read_at is not None

    @abstractmethod
    def columns_of(self, table: str) -> Mapping[str, Type]:
        """Columns that the table really has, with their canonical types; empty when there is no such table."""

    @abstractmethod
    def run(self, statement: Statement) -> pa.Table:
        """Execute one statement and return its rows as an Arrow table."""

    @abstractmethod
    def table(self, name: str) -> sa.FromClause:
        """Table of the columns that exist; the same object each time, so that statements can join it.

        Raises MetricError or StoreError when the source has no such table.
        """

    def __reduce__(self) -> tuple[Any, ...]:
        raise StoreError("source.stays", f"{self.name!r} is read in place and cannot be sent to another process",
                         hint="Open it there, with kpi.open.")  # fmt: skip

    def __repr__(self) -> str:
        return "\n".join(line for told in self._told for line in textwrap.wrap(told, 100))

    def _repr_html_(self) -> str:
        return "".join(f"<p>{html.escape(line)}</p>" for line in self._told)

    @functools.cached_property
    def _told(self) -> list[str]:
        """Name, version, requests, period and filled columns. Of rows in a database nothing is counted."""
        names, counts = [c for c in self.columns_of("requests") if c not in HELPERS], self._counts
        if not counts:
            return [f"{self.name}, read in place", _listed(names)]
        period = f", {counts['(first)']:%Y-%m-%d} to {counts['(last)']:%Y-%m-%d}" if counts.get("(first)") else ""
        version = f", version {self.version}" if self.version else ""
        return [f"{self.name}{version}: {counts['(all)']:,} requests{period}", _listed([c for c in names if counts[c]])]

    @functools.cached_property
    def _counts(self) -> dict[str, Any]:
        """Known values by column; (all), (first), (last) of the requests. Of rows in a database nothing is counted."""
        if self.live:
            return {}
        table = self.table("requests")
        asked: dict[str, sa.ColumnElement[Any]] = {
            "(all)": sa.func.count(),
            **{c.name: sa.func.count(c) for c in table.c},
        }
        if "started_at" in table.c:
            asked |= {"(first)": sa.func.min(table.c.started_at), "(last)": sa.func.max(table.c.started_at)}
        found = self.run(sa.select(*(value.label(name) for name, value in asked.items())).select_from(table))
        counts: dict[str, Any] = found.to_pylist()[0]
        return counts


def _listed(columns: Sequence[str]) -> str:
    """Columns by what people call them."""
    named = sorted(c.removeprefix(EXTRA_PREFIX).removeprefix(MEASURE_PREFIX) for c in columns)
    return printable(f"{len(named)} columns: {', '.join(named)}")


class DuckSource(Source):
    """Rows in Parquet files (one version of the lake) or in an Arrow table in memory, read by the embedded DuckDB."""

    def __init__(
        self, *, name: str, version: int = 0, fingerprint: str,
        files: Mapping[str, Sequence[Path]] | None = None, tables: Mapping[str, pa.Table] | None = None,
        cache: Path | None = None, verify: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        """files: Parquet files by table. tables: rows in memory. cache: see `kpi.store.cache`, serves `requests`.

        verify: called with the name of a table before its files are opened for the first time; raises StoreError where
        they are not as they were written. `requests` is opened here, the other tables when they are first asked for.
        """
        self.name, self.version, self.fingerprint, self.whole = name, version, fingerprint, tables is not None
        self._made: dict[str, sa.FromClause] = {}
        self._connection = duckdb.connect(":memory:")
        self._lock, self._mending = threading.Lock(), threading.Lock()
        self._columns: dict[str, dict[str, Type]] = {}
        self._connection.execute("SET TimeZone='UTC'")
        self._files = {table: paths for table, paths in (files or {}).items() if paths}
        self._verify = verify or (lambda table: None)
        self._cache: Path | None = None
        if (cache is None or not self.adopt(cache)) and "requests" in self._files:
            self._attach_files("requests")
        for table, rows in (tables or {}).items():
            self._attach_rows(table, rows)

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process: a stored version is opened again, rows in memory go along."""
        if not self.whole:
            return _reopened, (self.name, self.version, self.fingerprint)
        tables = {name: self.run(sa.select(self.table(name))) for name in self._columns}
        told = {name: value for name, value in vars(self).items() if name in _TOLD}
        return _rebuilt, (self.name, self.fingerprint, tables, told)

    def adopt(self, cache: Path) -> bool:
        """Serve `requests` from a cache file from now on. False where it cannot be read: Parquet goes on serving."""
        try:
            with self._lock:
                self._connection.execute(f"ATTACH {literal(cache)} AS cached (READ_ONLY)")
                self._connection.execute("CREATE OR REPLACE VIEW requests AS SELECT * FROM cached.requests")
                self._describe("requests")
                self._cache = cache
        except duckdb.Error:
            _discard(cache)
            return False
        return True

    def _fall_back(self, cache: Path | None) -> bool:
        """Serve `requests` from its Parquet files, for the cache cannot be read any more. Whether to ask again."""
        if cache is None or "requests" not in self._files:
            return False
        with self._mending:
            if self._cache is cache:
                self._attach_files("requests", helpers(self._columns["requests"].keys() - set(HELPERS)))
                self._cache = None
                with self._lock, contextlib.suppress(duckdb.Error):
                    self._connection.execute("DETACH cached")
                _discard(cache)
        return True

    def _attach_files(self, table: str, more: Sequence[str] = ()) -> None:
        """Raises StoreError `store.files` for files that are damaged. more: computed columns, which the cache has."""
        self._verify(table)
        try:
            with self._lock:
                self._connection.execute(f'CREATE OR REPLACE VIEW "{table}" AS SELECT {", ".join(["*", *more])} '
                                         f"FROM {parquet(self._files[table])}")  # fmt: skip
                self._describe(table)
        except (duckdb.Error, pa.ArrowException, OSError, ValueError) as error:
            told = f"Files of {table} in {self.name!r} cannot be read ({type(error).__name__})"
            raise unsound("store.files", told, self.name) from error

    def _attach_rows(self, table: str, rows: pa.Table) -> None:
        self._connection.register("_incoming", rows)  # visible on this connection alone, cursors need a table
        self._connection.execute(f'CREATE TABLE "{table}" AS SELECT * FROM _incoming')
        self._connection.unregister("_incoming")
        self._describe(table)

    def _describe(self, table: str) -> None:
        schema = self._connection.sql(f'SELECT * FROM "{table}" LIMIT 0').to_arrow_table().schema
        self._columns[table] = {f.name: arrow_kind(f.type) for f in schema}
        self._made.pop(table, None)

    def columns_of(self, table: str) -> Mapping[str, Type]:
        if table not in self._columns and table in self._files:
            self._attach_files(table)
        return self._columns.get(table, {})

    def table(self, name: str) -> sa.FromClause:
        columns = self.columns_of(name)
        if not columns:
            raise MetricError("source.no_table", f"The data set {self.name!r} has no {name}", hint="Load traces first.")
        if name not in self._made:
            self._made[name] = sa.table(name, *(sa.column(c, SQL_TYPES[t]) for c, t in columns.items()))
        return self._made[name]

    def run(self, statement: Statement) -> pa.Table:
        text, values = compile_duckdb(statement)
        with self._lock:  # making a cursor touches the shared connection
            cursor, cache = self._connection.cursor(), self._cache
        try:
            return plain_texts(cursor.sql(text, params=values).to_arrow_table())
        except (duckdb.Error, pa.ArrowException, OSError, UnicodeError) as error:
            if not isinstance(error, _NOT_OF_A_FILE) and self._fall_back(cache):
                return self.run(statement)
            raise StoreError(
                "store.query_failed", f"The engine could not answer for data set {self.name!r}: {type(error).__name__}",
                hint="Load the data set again if this stays; the log has the statement.",
            ) from error  # fmt: skip
        finally:
            cursor.close()


def _reopened(name: str, version: int, fingerprint: str) -> Source:
    found: Source = import_module("kpi").open_dataset(name, version)
    if found.fingerprint != fingerprint:
        raise StoreError("source.other", f"Version {version} of {name!r} has other rows here than where it comes from",
                         hint="Set KPI_HOME to the same state folder in both processes.")  # fmt: skip
    return found


def _rebuilt(name: str, fingerprint: str, tables: Mapping[str, pa.Table], told: Mapping[str, Any]) -> DuckSource:
    source = DuckSource(name=name, fingerprint=fingerprint, tables=tables)
    vars(source).update(told)
    return source


def _discard(cache: Path) -> None:
    with contextlib.suppress(OSError):  # a folder in its place, for one: it is ignored, not removed
        cache.unlink(missing_ok=True)


def plain_texts(rows: pa.Table) -> pa.Table:
    """Dictionary columns (ENUM in the cache) as plain text, so that a cache changes nothing that callers see."""
    for i, column in enumerate(rows.schema):
        if pa.types.is_dictionary(column.type):
            rows = rows.set_column(i, column.name, rows.column(i).cast(column.type.value_type))
    return rows


def compile_duckdb(statement: Statement) -> tuple[str, list[Any]]:
    """Text and positional parameters of a statement for a native DuckDB cursor."""
    dialect = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    return str(compiled), [compiled.params[name] for name in compiled.positiontup or ()]


def from_frame(frame: Any, *, name: str = "frame", allow: Collection[str] = (), stacklevel: int = 2) -> DuckSource:
    """A source over a frame in memory with canonical columns; `kpi.from_frame` reads all others.

    Columns that are not canonical become cohorts when they hold text or booleans and neither their name nor their
    values point at people; a warning names those left out, and `allow` keeps them. Rows that lie in the future are left
    out, which `notes` says. Raises MetricError for a column that does not hold its canonical type.
    """
    rows: pa.Table = frame if isinstance(frame, pa.Table) else pa.table(frame)
    policy, left_out = Policy(DEFAULT_ALLOW | set(allow), masks=False), []
    known = TABLES["requests"].arrow_schema()
    if not set(known.names) & set(rows.column_names):
        raise MetricError("frame.no_columns", "The frame has none of the canonical columns",
                          hint="Rename columns to those of kpi.schema.REQUESTS.")  # fmt: skip
    columns: dict[str, pa.ChunkedArray | pa.Array] = {}
    for column in rows.column_names:
        values, kind = rows[column], arrow_kind(rows[column].type)
        if column in known.names:
            columns[column] = _fit(values, known.field(column).type, column)
        elif kind not in ("time", "date"):
            profiler = ColumnProfiler(column, "")
            profiler.add(values)
            told = policy.column(profiler.result())
            prefix, target = ("x_", pa.string()) if kind in ("string", "bool") else ("m_", pa.float64())
            if not told:
                columns[column if column.startswith(prefix) else f"{prefix}{column}"] = values.cast(target)
            elif prefix == "x_":
                left_out.append(f"{column} ({told})")
    if left_out:
        shown = ", ".join(left_out)
        warnings.warn(f"Left out to protect people: {shown}. Name one in `allow` to keep it.", stacklevel=stacklevel)
    if "trace_id" not in columns:
        columns["trace_id"] = pa.array([str(i) for i in range(rows.num_rows)])
    table = pa.table(columns)
    notes: tuple[str, ...] = ()
    if "started_at" in columns:
        later = clock.ahead(table["started_at"].cast(pa.int64()), clock.now_us())
        if count := pc.sum(later.cast(pa.int64())).as_py():
            table = table.filter(pc.invert(later))
            notes = (clock.left_out(count),)
    source = DuckSource(name=name, fingerprint=content_hash(table), tables={"requests": table})
    source.notes = notes
    return source


def _fit(values: pa.ChunkedArray, target: pa.DataType, column: str) -> pa.ChunkedArray:
    try:
        if pa.types.is_timestamp(target) and pa.types.is_timestamp(values.type) and values.type.tz is None:
            values = values.cast(pa.timestamp("us")).cast(target)  # naive times are UTC
        elif pa.types.is_boolean(target) and not pa.types.is_boolean(values.type):
            values = values.cast(pa.int64(), safe=True)
        if pa.types.is_floating(values.type) and not pa.types.is_floating(target):
            values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
        return values.cast(target, safe=not pa.types.is_timestamp(target))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise MetricError("frame.wrong_type", f"Column {column!r} holds {values.type}, expected {target}",
                          hint="Convert the column before handing the frame over.") from error  # fmt: skip


def content_hash(table: pa.Table) -> str:
    """Hash of names, types and values; how they lie in memory (chunks, offsets, bytes under nulls) is left out."""
    digest = hashlib.sha256(str(table.schema.remove_metadata()).encode())
    for column in table.columns:
        for part in (column.is_valid(), column.drop_null()):
            # writing IPC rebases offsets: a part of a table shares its buffers with the whole
            sink = pa.BufferOutputStream()
            whole = pa.table({"c": part}).combine_chunks()
            with pa.ipc.new_stream(sink, whole.schema) as stream:
                stream.write_table(whole)
            digest.update(sink.getvalue())
    return digest.hexdigest()[:16]
