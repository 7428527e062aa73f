"""A named database, through SQLAlchemy: a read-only session of its own, and errors that hold nothing of the driver's.

Two connections: one streams a table, the other looks up what belongs to its rows.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from kpi.clock import utc
from kpi.errors import StoreError
from kpi.ingest.databases import Vendor, recognise
from kpi.ingest.databases.database import BATCH, Database, Row, Values, plain
from kpi.receipts import Receipt

Answer = TypeVar("Answer")
PAGE = 5_000  # ClickHouse's driver holds a whole answer in memory
STATEMENT_S = 600  # the first rows of a large table come when all of them are sorted
_LONGER = {
    "postgresql": f"SET statement_timeout = {STATEMENT_S * 1000}",
    "mysql": f"SET SESSION max_execution_time = {STATEMENT_S * 1000}",
    "mariadb": f"SET SESSION max_statement_time = {STATEMENT_S}",
}
_CATALOGUE = (
    "SELECT table_schema AS place, table_name AS name, column_name AS col FROM information_schema.columns WHERE "
    "LOWER(table_schema) NOT IN ('information_schema', 'pg_catalog', 'mysql', 'performance_schema', 'sys', 'system')"
)
_SQLITE = ("SELECT '' AS place, t.name AS name, c.name AS col FROM sqlite_master AS t "
           "JOIN pragma_table_xinfo(t.name) AS c WHERE t.type = 'table'")  # fmt: skip


class ServerDatabase(Database):
    """Tables of one schema of a server, or of a SQLite file that the administrator named."""

    def __init__(self, name: str, main: sa.Connection, side: sa.Connection, receipt: Receipt) -> None:
        self._name, self._main, self._side = name, main, side
        self._dialect = main.dialect.name
        self.schema = ""
        self._replacing: set[str] = set()  # ClickHouse tables of which a row may have several states
        super().__init__({}, receipt)
        self._clickhouse = self._dialect.startswith("clickhouse")
        self.page = PAGE if self._clickhouse else self.page

    def choose(self, format: str | None) -> Vendor:
        """The vendor whose tables are here, and the schema they are in. Raises StoreError `copy.*`."""
        schemas = self._schemas()
        found = [
            (vendor, schema) for schema, tables in sorted(schemas.items()) for vendor in recognise(tables)
            if format in (None, vendor.name)]  # fmt: skip
        if not found:
            raise StoreError.told("copy.unknown_database", name=self._name, vendor=format or "a known vendor")
        if len(found) > 1:
            names = ", ".join(f"{vendor.name} in {schema}" for vendor, schema in found)
            raise StoreError.told(
                "copy.several", told=f"The database {self._name!r} has tables of several vendors: {names}"[:300]
            )
        vendor, self.schema = found[0]
        super().__init__(schemas[self.schema], self.receipt)
        if self._clickhouse:
            asked = "SELECT name AS name FROM system.tables WHERE database = :place AND engine LIKE '%Replacing%'"
            self._replacing = {row["name"] for row in self.look_up(asked, {"place": self.schema}, "the catalogue")}
        return vendor

    def _schemas(self) -> dict[str, dict[str, set[str]]]:
        """Columns of each table in each schema."""
        found: dict[str, dict[str, set[str]]] = {}
        for row in self.look_up(_SQLITE if self._dialect == "sqlite" else _CATALOGUE, {}, "the catalogue"):
            found.setdefault(row["place"], {}).setdefault(row["name"], set()).add(row["col"])
        return found

    def quoted(self, name: str) -> str:
        return self._main.dialect.identifier_preparer.quote_identifier(name)

    def source(self, table: str) -> str:
        place = f"{self.quoted(self.schema)}." if self.schema else ""
        final = " FINAL" if table in self._replacing else ""
        return f"{place}{self.quoted(table)}{final}"

    def condition(self, table: str) -> str:
        return f"{self.quoted('is_deleted')} = 0" if self._clickhouse and self.has(table, "is_deleted") else ""

    def moment(self, name: str) -> str:
        return f"toDateTime64(:{name}, 6, 'UTC')" if self._clickhouse else f":{name}"

    def moment_value(self, at: datetime) -> Any:
        naive = utc(at).replace(tzinfo=None)
        return naive.isoformat(" ", "microseconds") if self._clickhouse or self._dialect == "sqlite" else naive

    def stream(self, statement: str, values: Values, table: str) -> Iterator[list[Row]]:
        if self._clickhouse:
            statement += f" SETTINGS max_execution_time = {STATEMENT_S}"
        result = self._answer(table, lambda: self._main.execute(sa.text(statement), dict(values)).mappings())
        if self._dialect == "sqlite":  # the limit of a statement counts while its rows are worked on
            end = time.monotonic() + STATEMENT_S
            driver: Any = self._main.connection.driver_connection
            driver.set_progress_handler(lambda: time.monotonic() > end, 50_000)
        while rows := self._answer(table, lambda: result.fetchmany(BATCH)):
            yield [{k: plain(v) for k, v in row.items()} for row in rows]

    def look_up(self, statement: str, values: Values, table: str) -> list[Row]:
        rows = self._answer(table, lambda: self._side.execute(sa.text(statement), dict(values)).mappings().all())
        return [{k: plain(v) for k, v in row.items()} for row in rows]

    def _answer(self, table: str, ask: Callable[[], Answer]) -> Answer:
        return _answer(self._main.engine, self._name, f"stopped answering while {table} was read", ask)


@contextlib.contextmanager
def connected(engine: sa.Engine, name: str, receipt: Receipt) -> Iterator[ServerDatabase]:
    """The database behind an engine. Raises StoreError `copy.failed`, at any later step too, when it goes away."""
    with _session(engine, name) as main, _session(engine, name) as side:
        yield ServerDatabase(name, main.execution_options(stream_results=True, max_row_buffer=BATCH), side, receipt)


@contextlib.contextmanager
def _session(engine: sa.Engine, name: str) -> Iterator[sa.Connection]:
    def opened() -> sa.Connection:
        connection = engine.connect()
        dialect = connection.dialect
        if longer := _LONGER.get("mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name):
            connection.detach()  # its statements may run longer than those of a page: it does not go back to the pool
            connection.exec_driver_sql(longer)
            connection.commit()
        return connection

    connection = _answer(engine, name, "could not be reached", opened)
    try:
        yield connection
    finally:
        with contextlib.suppress(Exception):  # one that is lost cannot say good-bye
            connection.close()


def _answer(engine: sa.Engine, name: str, what: str, ask: Callable[[], Answer]) -> Answer:
    """What `ask` gives; errors of the driver as ours. Their texts may hold addresses and values: none is passed on."""
    driver = getattr(engine.dialect.dbapi, "Error", sa.exc.SQLAlchemyError)
    try:
        return ask()
    except (sa.exc.SQLAlchemyError, driver, OSError) as error:
        kind = type(getattr(error, "orig", None) or error).__name__
    # raised out here: the driver's error must not hang on ours as its context
    raise StoreError.told("copy.failed", name=name, what=what, kind=kind)
