"""SQLite files of strangers: the database of a vendor, or plain tables that are read like the rows of a CSV file.

Such a file is code as much as data: it is opened without writing and without its own functions, views, triggers and
virtual tables are never touched, and an authoriser refuses everything but reading its tables. Runs in the child process
of `kpi.ingest.sandbox.supervisor`. What stands before a damaged place is read; the receipt says where that was.
"""

import csv
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kpi.clock import utc
from kpi.errors import IngestError
from kpi.ingest.context import Context
from kpi.ingest.databases import VENDORS, recognise
from kpi.ingest.databases.database import BATCH, Database, Row, Values, plain
from kpi.ingest.databases.streams import Marks, read
from kpi.ingest.files.source import HEAD_BYTES, Opened
from kpi.ingest.formats import recognise as recognise_columns
from kpi.ingest.limits import Limits
from kpi.receipts import Receipt

_STEPS = 50_000  # instructions between two looks at the clock
_NAMED = 12  # tables that a message lists
_ALLOWED = frozenset([sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION])
_FUNCTIONS = frozenset(["count", "max", "coalesce"])


class FileDatabase(Database):
    """The plain tables of a SQLite file."""

    def __init__(self, source: Opened, limits: Limits, receipt: Receipt) -> None:
        self._source = source
        self._damaged: set[str] = set()
        super().__init__({}, receipt)
        with _typed(source):
            self._connection = _opened(source, limits)
            names = self._connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' "
                "AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY rowid LIMIT 2000"
            ).fetchall()
            # hidden: 1 for columns of virtual tables, 2 and 3 for generated ones, which `table_info` leaves out
            self.all = {
                name: [c[1] for c in self._connection.execute(f"PRAGMA table_xinfo({self.quoted(name)})") if c[6] != 1]
                for (name,) in names
            }
        self._connection.set_authorizer(_authorise)
        super().__init__(self.all, receipt)

    def close(self) -> None:
        self._connection.close()

    def stream(self, statement: str, values: Values, table: str) -> Iterator[list[Row]]:
        rows: list[Row] = []
        for names, row in self._rows(statement, values, table):
            rows.append(dict(zip(names, row, strict=True)))
            if len(rows) == BATCH:
                yield rows
                rows = []
        if rows:
            yield rows

    def look_up(self, statement: str, values: Values, table: str) -> list[Row]:
        return [row for rows in self.stream(statement, values, table) for row in rows]

    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """All rows of a table, of whatever columns, in the order they are stored in."""
        listed = ", ".join(self.quoted(c) for c in self.all[table])
        return (row for _, row in self._rows(f"SELECT {listed} FROM {self.quoted(table)}", {}, table))

    def moment_value(self, at: datetime) -> Any:
        return utc(at).replace(tzinfo=None).isoformat(" ", "microseconds")

    def _rows(self, statement: str, values: Values, table: str) -> Iterator[tuple[list[str], tuple[Any, ...]]]:
        """Rows with the names of their columns, as far as a damaged place."""
        taken = 0
        try:
            cursor = self._connection.execute(statement, dict(values))
            names = [d[0] for d in cursor.description]
            for row in cursor:
                taken += 1
                yield names, row
        except sqlite3.DatabaseError as error:
            self._told(error, table, taken)

    def _told(self, error: sqlite3.DatabaseError, table: str, taken: int) -> None:
        """Damage is said once for each table; a statement that ran out of time ends the load."""
        if "interrupted" in str(error):
            raise IngestError.told("ingest.timeout:sqlite", name=self._source.name) from None
        if table not in self._damaged:
            self._damaged.add(table)
            self.receipt.drop(
                taken + 1, f"the table {table[:80]!r} cannot be read from here on",
                hint="The file is damaged or was copied while in use: copy it again.", file=self._source.name,
            )  # fmt: skip


def inputs(source: Opened, limits: Limits) -> Iterator[Opened]:
    """A vendor's database as it is; of another SQLite file its tables as CSV, each an input of its own.

    Of several tables those count whose columns a vendor's format knows. Raises IngestError `ingest.several_tables`
    where none does, and `ingest.empty` where there is none.
    """
    with closing(FileDatabase(source, limits, Receipt())) as database:
        if recognise(database.tables):
            yield source
            return
        tables = {name: columns for name, columns in database.all.items() if columns}
        chosen = [name for name, columns in tables.items() if recognise_columns(columns)] or list(tables)
        if not chosen:
            raise IngestError.told("ingest.empty:sqlite", name=source.name)
        if len(chosen) > 1 and not recognise_columns(tables[chosen[0]]):
            names = ", ".join(repr(name[:60]) for name in chosen[:_NAMED])
            raise IngestError.told("ingest.several_tables", name=source.name, names=names)
        for table in chosen:
            name = source.name if len(chosen) == 1 else f"{source.name}: {table[:80]}"
            yield _as_csv(name, database, table)


def format_of(source: Opened, limits: Limits) -> str:
    """The name of the vendor's format whose database a SQLite file is. Raises IngestError."""
    with closing(FileDatabase(source, limits, Receipt())) as database:
        found = recognise(database.tables)
    if not found:
        raise IngestError.told("ingest.unsupported_format:sqlite", name=source.name)
    return found[0].name


def records(source: Opened, name: str, context: Context) -> Iterator[Row]:
    """All records of a vendor's database, in the shape of the format `name`."""
    size = source.size or 1
    if source.path is not None and _has_content(source.path.with_name(f"{source.path.name}-wal")):
        context.receipt.note(
            f"{source.name} was in use when it was copied: its last rows are in the file beside it that ends in -wal, "
            "which is not read. Stop the server, or copy the database with SQLite's .backup."
        )
    with closing(FileDatabase(source, context.limits, context.receipt)) as database:
        tell = lambda done, total: context.tick(size * done // max(total, 1))  # noqa: E731
        yield from map(plain, read(database, VENDORS[name].streams, Marks(), tell=tell))


def _has_content(path: Path) -> bool:
    with suppress(OSError):
        return path.stat().st_size > 0
    return False


def _opened(source: Opened, limits: Limits) -> sqlite3.Connection:
    assert source.path is not None  # the archive puts SQLite files on disk
    # immutable: no lock, no journal, nothing written beside the file
    connection = sqlite3.connect(f"file:{quote(str(source.path))}?mode=ro&immutable=1", uri=True)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    for limit, most in (
        (sqlite3.SQLITE_LIMIT_LENGTH, limits.line_bytes), (sqlite3.SQLITE_LIMIT_COLUMN, limits.columns),
        (sqlite3.SQLITE_LIMIT_ATTACHED, 0), (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100),
        (sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 0), (sqlite3.SQLITE_LIMIT_FUNCTION_ARG, 8),
    ):  # fmt: skip
        connection.setlimit(limit, most)
    for pragma in ("trusted_schema = OFF", "query_only = ON", "cell_size_check = ON", "mmap_size = 0"):
        connection.execute(f"PRAGMA {pragma}")
    end = time.monotonic() + limits.cpu_seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    return connection


def _authorise(action: int, first: str | None, second: str | None, place: str | None, inside: str | None) -> int:
    """Read columns of tables and call the functions that our own statements use; nothing through a view."""
    allowed = action in _ALLOWED and inside is None
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = allowed and str(second).lower() in _FUNCTIONS
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


@contextmanager
def _typed(source: Opened) -> Iterator[None]:
    """Errors of opening as ours."""
    try:
        yield
    except sqlite3.Error:
        raise IngestError.told("ingest.bad_database", name=source.name) from None


def _as_csv(name: str, database: FileDatabase, table: str) -> Opened:
    """The rows of a table in a temporary file; lies in the child's own temporary folder, which its parent removes."""
    handle, temporary = tempfile.mkstemp(prefix="kpi-table-")
    path = Path(temporary)
    with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(database.all[table])
        for row in database.rows(table):
            writer.writerow([v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in row])
    if database.receipt.drops:  # the name is what stands on the receipt
        name = f"{name} (damaged: cut off before row {database.receipt.drops[-1].row})"
    opener: Callable[[], Any] = lambda: path.open("rb")  # noqa: E731
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    return Opened(name=name, head=head, path=path, opener=opener, size=path.stat().st_size)
