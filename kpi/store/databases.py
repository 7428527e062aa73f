"""Data sets read where they stand: in a database or a DuckDB file. Only statistics cross the wire.

A `LiveSource` knows which tables stand for the canonical ones and how to run a statement. Its rows may change under it,
so answers are kept for a minute at most (`read_at` says since when), and its users' ids and its texts are hidden or
masked by those who show them. An engine that goes away is one clear error; the next statement connects anew.
"""

import contextlib
import hashlib
import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from kpi import clock
from kpi.disk.tables import by_word, table_of
from kpi.errors import MappingError, StoreError
from kpi.mapping.mapping import Mapping as ColumnMappings
from kpi.schema import TABLES, Type
from kpi.store.dialects import DuckDialect, dialect_of, teach_sqlite
from kpi.store.engines import Source, Statement, compile_duckdb, plain_texts
from kpi.store.expressions import Expression
from kpi.store.inplace import SQL_TYPES, Held, canonical, finite, is_time, mapped, plain
from kpi.store.sessions import redact_url
from kpi.store.sql import literal

Answer = TypeVar("Answer")
Column = TypeVar("Column")
_SQL_ERRORS = (sa.exc.SQLAlchemyError, OSError)
_WRONG_TYPE = (ValueError, TypeError, ArithmeticError)  # of a driver that reads a value as its column is declared
_TABLE = table_of(__file__)
_HELD: dict[str, dict[str, Any]] = {engine: by_word(_TABLE[engine]) for engine in _TABLE if engine != "reasons"}
MOST_ROWS = 1_000_000  # that one statement may bring over the wire
_KINDS: list[tuple[type, Held]] = [(sa.Boolean, "bool"), (sa.Integer, "int"), (sa.Numeric, "float"),
                                   (sa.Float, "float"), (sa.DateTime, "naive"), (sa.Date, "date"),
                                   (sa.String, "string")]  # fmt: skip


class LiveSource(Source):
    """Rows that stay in their engine. tables: canonical table -> table, view or `schema.table` in the engine.

    mapping: what the columns of `requests` mean; without one the tables are canonical themselves. Other tables are
    read where they are canonical and there.
    """

    def __init__(
        self, *, name: str, place: str, tables: Mapping[str, str] | None, mapping: ColumnMappings | None
    ) -> None:
        """place: what identifies the engine, without secrets; goes into the fingerprint."""
        self.name, self.version, self.read_at = name, 0, datetime.now(UTC)
        self._tables = dict(tables or {t: t for t in TABLES})
        self._mapping = mapping
        self._views: dict[str, sa.FromClause | None] = {}
        self._lock = threading.Lock()
        told = mapping.to_dict() if mapping else None
        self.fingerprint = hashlib.sha256(f"{place}:{sorted(self._tables.items())}:{told}".encode()).hexdigest()[:16]

    @abstractmethod
    def held(self, place: str, schema: str | None) -> Mapping[str, Held]:
        """The columns of a table as the engine has them and what they hold; empty when there is no such table."""

    def columns_of(self, table: str) -> Mapping[str, Type]:
        view = self._view(table)
        if view is None:
            return {}
        known = TABLES[table]
        return {c.name: known[c.name].type if c.name in known.names else "string" for c in view.c}

    def table(self, name: str) -> sa.FromClause:
        view = self._view(name)
        if view is None:
            raise self.no_table(name)
        return view

    def physical(self, name: str) -> Mapping[str, Held]:
        """The columns of the table that stands for a canonical one, as the engine has them."""
        schema, _, place = self._tables.get(name, "").rpartition(".")
        return self.held(place, schema or None) if place else {}

    def sample(self, rows: int) -> pa.Table:
        """Some rows of the table that stands for `requests`, with its own columns."""
        held = self.physical("requests")
        there = self._there("requests", held)

        def ask(names: Sequence[str]) -> pa.Table:
            cells = [plain(finite(there.c[n], held[n], self.dialect), held[n])[0].label(n) for n in names]
            return self.run(sa.select(*cells).limit(rows))

        def unreadable(name: str, error: StoreError) -> MappingError:
            return MappingError.told("mapping.unreadable", name=name[:60], message=error.message)

        found = blaming(ask, list(held), unreadable)
        for name in (n for n, kind in held.items() if kind == "interval"):
            lengths = pc.round(pc.multiply(found[name], 1e6)).cast(pa.int64()).cast(pa.duration("us"))
            found = found.set_column(found.column_names.index(name), name, lengths)
        return found

    def no_table(self, name: str) -> StoreError:
        """The error for a table that is not there."""
        return StoreError.told("source.no_table", name=self.name, table=self._tables.get(name, name)[:60])

    def _there(self, name: str, held: Mapping[str, Held]) -> sa.TableClause:
        schema, _, place = self._tables[name].rpartition(".")
        return sa.table(place, *(sa.column(c, SQL_TYPES[h]) for c, h in held.items()), schema=schema or None)

    def _view(self, name: str) -> sa.FromClause | None:
        with self._lock:
            if name not in self._views:
                self._views[name] = self._made_view(name)
            return self._views[name]

    def _expressions(self, name: str, held: Mapping[str, Held], there: sa.TableClause) -> dict[str, Expression]:
        """What each canonical column is; empty where a table of that name is somebody else's (`events`, `scores`)."""
        if name != "requests":
            with contextlib.suppress(MappingError):
                if set(TABLES[name].key) <= set(held):
                    return canonical(TABLES[name], held, there, self.dialect)
            return {}
        if self._mapping is not None:
            return mapped(self._mapping, held, there, self.dialect)
        found = canonical(TABLES[name], held, there, self.dialect)
        if not found:
            columns = ", ".join(repr(c[:40]) for c in list(held)[:8])
            raise MappingError.told("mapping.no_columns", name=there.name[:60], columns=columns)
        return found

    def _made_view(self, name: str) -> sa.FromClause | None:
        """The canonical table: the table itself where nothing differs, else a SELECT over its rows of finite times."""
        held = self.physical(name)
        there = self._there(name, held) if held else None
        found = self._expressions(name, held, there) if there is not None else {}
        if there is None or not found:
            return None
        mapping = self._mapping if name == "requests" else None
        used = {c.source for c in mapping.columns if c.field} if mapping else set(found)
        times = [there.c[n] for n, kind in held.items() if n in used and is_time(kind, self.dialect)]
        kept = [sa.func.isfinite(cell, type_=sa.Boolean()).is_not(sa.false()) for cell in times]
        same = name == there.name and not there.schema and all(e is there.c.get(c) for c, e in found.items())
        if same and not kept:
            return sa.table(name, *(sa.column(c, e.type) for c, e in found.items()))
        return sa.select(*(e.label(c) for c, e in found.items())).select_from(there).where(*kept).subquery(name)

    def _tried(
        self, ask: Callable[[], Answer], errors: tuple[type[Exception], ...], reason: Callable[[Exception], str]
    ) -> Answer:
        """What `ask` answers; an error is raised anew outside of the first: a driver's text may hold the address."""
        told = ""
        try:
            return ask()
        except errors as error:
            told = reason(error)
        raise self._failed(told)

    def _failed(self, reason: str) -> StoreError:
        return StoreError.told("store.query_failed", name=self.name, reason=reason)

    def _arrow(self, names: Sequence[str], rows: Sequence[Sequence[Any]], statement: Statement) -> pa.Table:
        """Rows of a driver in the types of the statement. Raises StoreError `store.too_many_rows`."""
        if len(rows) > MOST_ROWS:
            raise StoreError.told("store.too_many_rows", name=self.name, most=MOST_ROWS)
        kinds = [c.type for c in statement.selected_columns]
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
        found = {}
        for name, values, kind in zip(names, columns, kinds, strict=True):
            try:
                found[name] = arrow_column(values, kind)
            except _WRONG_TYPE as error:
                told = f"column {name[:60]!r} holds a value that is not of its type ({type(error).__name__})"
                raise self._failed(told) from None
        return pa.table(found)


class SqlSource(LiveSource):
    """Rows in a database behind SQLAlchemy.

    Args:
        engine: Of the database; its user should be able to read only.
        name: Of the source, as people call it.
        tables: Canonical table to its name in the database, with its schema where it has one.
        mapping: Column mappings of the requests table; without it the columns are canonical.

    Raises:
        StoreError: Where the table is not there or the dialect is not known.

    Example:
        >>> import sqlalchemy as sa
        >>> rows = kpi.SqlSource(sa.create_engine("sqlite:///calls.db"), name="lab", tables={"requests": "requests"})
        >>> kpi.summarise(rows, "task_success")["n"].tolist()
        [3]
    """

    def __init__(
        self, engine: sa.Engine, *, name: str, tables: Mapping[str, str] | None = None,
        mapping: ColumnMappings | None = None,
    ) -> None:  # fmt: skip
        self._engine, self.dialect = engine, dialect_of(engine.dialect.name)
        super().__init__(name=name, place=redact_url(engine.url), tables=tables, mapping=mapping)
        if engine.dialect.name == "sqlite" and not sa.event.contains(engine, "checkout", _teach):
            sa.event.listen(engine, "checkout", _teach)

    def held(self, place: str, schema: str | None) -> Mapping[str, Held]:
        def look() -> Mapping[str, Held]:
            with contextlib.suppress(sa.exc.NoSuchTableError):
                columns = sa.inspect(self._engine).get_columns(place, schema=schema)
                return {c["name"]: _held(c["type"]) for c in columns}
            return {}

        held = dict(self._tried(look, _SQL_ERRORS, _reason))
        return self._by_values(place, held) if self._engine.dialect.name == "sqlite" else held

    def _by_values(self, place: str, held: dict[str, Held]) -> dict[str, Held]:
        """What columns of SQLite hold by their values, for it keeps any value in a column of any type."""
        kinds = [sa.func.typeof(sa.column(n), type_=sa.Text()).label(n) for n in held]
        rows = self.run(sa.select(*kinds).select_from(sa.table(place)).distinct()) if held else pa.table({})
        for name in [n for n, kind in held.items() if kind != "string"]:
            seen = set(rows[name].to_pylist())
            found = next((kind for stored, kind in _HELD["sqlite"].items() if stored in seen), held[name])
            held[name] = "float" if (found, held[name]) == ("int", "float") else found
        return held

    def run(self, statement: Statement) -> pa.Table:
        def fetch() -> tuple[list[str], Sequence[Sequence[Any]]]:
            with self._engine.connect() as connection:
                result = connection.execute(statement)
                return list(result.keys()), result.fetchmany(MOST_ROWS + 1)

        names, rows = self._tried(fetch, (*_SQL_ERRORS, *_WRONG_TYPE), _reason)
        return self._arrow(names, rows, statement)


def _teach(connection: Any, record: Any, proxy: Any) -> None:
    if not record.info.get("kpi"):
        teach_sqlite(connection)
        record.info["kpi"] = True


def _held(kind: sa.types.TypeEngine[Any]) -> Held:
    """What a reflected type holds; types that are no scalar (JSON, arrays) are "other"."""
    if isinstance(kind, sa.TypeDecorator):
        kind = kind.impl_instance
    if type(kind).__module__.startswith("clickhouse_connect"):
        return held_as("clickhouse", str(getattr(kind, "name", "")))
    if isinstance(kind, sa.DateTime):
        return "time" if kind.timezone else "naive"
    if (own := type(kind).__name__) in ("INTERVAL", "MONEY"):
        return "interval" if own == "INTERVAL" else "money"
    if isinstance(kind, sa.Enum | sa.Uuid):
        return "named"
    if type(kind).__name__ == "TINYINT" and getattr(kind, "display_width", None) == 1:
        return "bool"
    return next((held for base, held in _KINDS if isinstance(kind, base)), "other")


def held_as(engine: str, name: str) -> Held:
    """What a type of an engine holds, by the name that the engine gives it: `Nullable(DateTime64(6, 'UTC'))`."""
    for wrapper in ("LowCardinality(", "Nullable("):
        name = name.removeprefix(wrapper)
    found: Held = _HELD[engine].get(name.split("(")[0].rstrip(")").replace(" ", "_"), "other")
    return found


def _reason(error: BaseException) -> str:
    """Why a statement failed, in words of ours: a driver's text may hold addresses, values and secrets."""
    if isinstance(error, _WRONG_TYPE):
        return f"a value is not of the type that its column declares ({type(error).__name__})"
    driver = getattr(error, "orig", None)
    state = str(getattr(driver, "sqlstate", None) or "")
    number = driver.args[0] if driver is not None and driver.args and isinstance(driver.args[0], int) else None
    if told := _TABLE["reasons"].get(state) or _TABLE["reasons"].get(str(number)):
        return str(told)
    if "interrupted" in str(driver) or "TIMEOUT_EXCEEDED" in str(driver):
        return "it took longer than allowed"
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | OSError | sa.exc.TimeoutError):
        return "it cannot be reached, or went away"
    return f"{type(driver or error).__name__}{f' {state}' if state else ''}"


def blaming(
    ask: Callable[[Sequence[Column]], Answer], columns: Sequence[Column],
    blame: Callable[[Column, StoreError], MappingError],
) -> Answer:  # fmt: skip
    """What `ask` answers for the columns; where it fails, each is asked for alone and the one it fails on is named."""
    try:
        return ask(columns)
    except StoreError:
        for column in columns:
            try:
                ask([column])
            except StoreError as error:
                raise blame(column, error) from None
        raise


def arrow_column(values: Sequence[Any], kind: sa.types.TypeEngine[Any]) -> pa.Array:
    """Values of a driver as an Arrow column of the type that the statement gives the column."""
    target, convert = next((to for base, to in _TARGETS.items() if isinstance(kind, base)), _TARGETS[sa.String])
    if isinstance(kind, sa.DateTime) and not kind.timezone:
        target = pa.timestamp("us")
    try:
        return pa.array(values, target)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # exact decimals, 0 for false, texts for times
        return pa.array([None if v is None else convert(v) for v in values], target)


_TARGETS: dict[type, tuple[pa.DataType, Callable[[Any], Any]]] = {
    sa.Boolean: (pa.bool_(), bool),
    sa.Integer: (pa.int64(), int),
    sa.Numeric: (pa.float64(), float),
    sa.Float: (pa.float64(), float),
    sa.DateTime: (
        pa.timestamp("us", "UTC"), lambda v: clock.utc(datetime.fromisoformat(v) if isinstance(v, str) else v),
    ),
    sa.Date: (pa.date32(), lambda v: v if isinstance(v, date) else date.fromisoformat(v)),
    sa.String: (pa.string(), str)}  # fmt: skip


_LOCKED = ("SET TimeZone = 'UTC'", "SET enable_external_access = false", "SET lock_configuration = true")


class DuckFileSource(LiveSource):
    """Tables or views of a DuckDB file, attached read-only; nothing but this file can be reached from its views."""

    dialect = DuckDialect()

    def __init__(
        self, path: Path, *, name: str, tables: Mapping[str, str] | None = None, mapping: ColumnMappings | None = None
    ) -> None:
        super().__init__(name=name, place=f"duckdb:{path}", tables=tables, mapping=mapping)
        self._connection, self._cursors = duckdb.connect(":memory:"), threading.Lock()
        attached = f"ATTACH {literal(path)} AS placed (READ_ONLY)"

        def open_file() -> None:
            for text in (attached, *_LOCKED):
                self._connection.execute(text)

        self._tried(open_file, (duckdb.Error,), lambda error: f"the file cannot be opened ({type(error).__name__})")

    def held(self, place: str, schema: str | None) -> Mapping[str, Held]:
        rows = self._ask(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = $1 AND table_schema = $2"
            " AND table_catalog = 'placed' ORDER BY ordinal_position",
            [place, schema or "main"],
        ).to_pylist()
        return {r["column_name"]: held_as("duckdb", r["data_type"]) for r in rows}

    def run(self, statement: Statement) -> pa.Table:
        return plain_texts(self._ask(*compile_duckdb(statement)))

    def _ask(self, text: str, values: list[Any]) -> pa.Table:
        with self._cursors:  # making a cursor touches the shared connection
            cursor = self._connection.cursor()

        def fetch() -> pa.Table:
            with contextlib.closing(cursor):
                cursor.execute("USE placed")
                return cursor.sql(text, params=values).to_arrow_table()

        return self._tried(fetch, (duckdb.Error,), lambda error: type(error).__name__)
