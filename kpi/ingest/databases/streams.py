"""How the rows of a vendor's table become records, and how those that are new since the last reading are found.

Each table has its own mark: how far it was read, by the column that grows when a row comes in or changes. The next
reading begins a little before the mark, for rows may become visible late; what is read twice is merged by its ids.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from kpi.clock import utc
from kpi.ingest.databases.database import MARK, ROWS, Database, Row
from kpi.ingest.spans.items import MALFORMED

OVERLAP = timedelta(hours=1)
OVERLAP_IDS = 2_000  # ids are given out in order and become visible within one short transaction
OPEN_KEPT = 10_000
_FIRST = {"time": "1970-01-02T00:00:00+00:00", "ms": 0, "id": 0}  # the mark of a table without rows
Unit = Literal["time", "ms", "id"]
Tell = Callable[[int, int], None]  # rows read, rows there are to read


@dataclass(frozen=True, kw_only=True)
class Stream:
    """The rows of one table, in the order in which they came in.

    grows: columns; of those that exist, the first that is not null says when a row came in or changed. unit: what they
    hold; ms is milliseconds since the epoch. length: a column of milliseconds that is added, where only the start of a
    row is known, and it comes in at its end. began: the column that `since` is compared with, and its unit. key: makes
    the order total. records: of one batch. follows: the rows say something about rows of another stream, which a
    reading from the start has met anyway. running: the row will change without a trace in `grows`: it is read again
    until it ends. without: columns that are not read. unless: a table that makes this one superfluous.
    """

    table: str
    grows: tuple[str, ...]
    key: str
    records: Callable[[Database, list[Row]], Iterable[Row]]
    unit: Unit = "time"
    length: str = ""
    began: str = ""
    began_unit: Unit = "time"
    follows: bool = False
    running: Callable[[Row], bool] | None = None
    without: tuple[str, ...] = ()
    unless: str = ""

    def mark(self, database: Database) -> str:
        """The expression that grows."""
        found = [database.quoted(c) for c in self.grows if database.has(self.table, c)]
        if not found:
            return ""
        grows = found[0] if len(found) == 1 else f"COALESCE({', '.join(found)})"
        if self.length and database.has(self.table, self.length):
            return f"({grows} + COALESCE({database.quoted(self.length)}, 0))"
        return grows


@dataclass
class Marks:
    """How far each table was read: a number, or a time as ISO 8601. open: keys of rows that were still running."""

    tables: dict[str, Any] = field(default_factory=dict)
    open: dict[str, list[Any]] = field(default_factory=dict)

    def start(self, stream: Stream) -> Any:
        """Where the next reading of a table begins; None for its start."""
        mark = self.tables.get(stream.table)
        if mark is None:
            return None
        if stream.unit == "time":
            return datetime.fromisoformat(str(mark)) - OVERLAP
        return int(mark) - (OVERLAP_IDS if stream.unit == "id" else OVERLAP // timedelta(milliseconds=1))

    def seen(self, stream: Stream, value: Any) -> None:
        """A row that came in then was read. A clock that was wrong must not hide what comes until that time."""
        found = _comparable(value, stream.unit)
        if found is not None and stream.unit != "id":
            now = datetime.now(UTC)
            found = min(found, now if stream.unit == "time" else int(now.timestamp() * 1000))
        before = _comparable(self.tables.get(stream.table), stream.unit)
        if found is not None and (before is None or found > before):
            self.tables[stream.table] = found.isoformat() if isinstance(found, datetime) else found


def read(
    database: Database, streams: Iterable[Stream], marks: Marks, *, since: datetime | None = None, tell: Tell
) -> Iterator[Row]:
    """Records of all rows that came in since `marks`, which move on as rows are given out.

    since: leave out what began before, UTC.
    """
    there = [s for s in streams if database.has(s.table) and not database.has(s.unless) and s.mark(database)]
    # A reading from the start meets what follows anyway: its mark is taken before, so that nothing falls between.
    for stream in there:
        if stream.follows and marks.start(stream) is None:
            newest = database.one(stream.table, f"MAX({stream.mark(database)})", [], {})
            marks.seen(stream, newest or _FIRST[stream.unit])
            there = [s for s in there if s is not stream]
    plans = [_Plan(database, stream, marks.start(stream), since) for stream in there]
    total, done = sum(plan.rows() for plan in plans), 0
    for plan in plans:
        stream = plan.stream
        before = marks.open.pop(stream.table, [])
        read_rows = 0
        for rows in plan.batches():
            last = rows[-1][MARK]
            for row in rows:
                row.pop(MARK)
            yield from _records(database, stream, rows, marks)
            marks.seen(stream, last)
            read_rows, done = read_rows + len(rows), done + len(rows)
            tell(done, total)
        if read_rows >= ROWS:
            database.receipt.note(f"{ROWS:,} rows of {stream.table} were read; more wait. Copy again to go on.")
        again = [r for found in database.related(stream.table, stream.key, before).values() for r in found]
        yield from _records(database, stream, again, marks)


def _records(database: Database, stream: Stream, rows: list[Row], marks: Marks) -> Iterator[Row]:
    """Records of a batch; a row that is not as the vendor writes it costs the rest of its batch."""
    try:
        yield from stream.records(database, rows)
    except MALFORMED as error:
        database.receipt.drop(
            0, f"rows of {stream.table} that are not as its vendor writes them ({type(error).__name__})",
            hint="The database may be of a version that is not known here.", file=stream.table)  # fmt: skip
    running = [row[stream.key] for row in rows if stream.running and stream.running(row)]
    if running:
        marks.open[stream.table] = list(dict.fromkeys([*marks.open.get(stream.table, []), *running]))[-OPEN_KEPT:]


@dataclass(frozen=True)
class _Plan:
    """One stream of one reading: from where, and what began when."""

    database: Database
    stream: Stream
    start: Any
    since: datetime | None

    def batches(self) -> Iterator[list[Row]]:
        """Rows in the order of their marks, a statement for each page."""
        database, stream = self.database, self.stream
        mark, key = stream.mark(database), database.quoted(stream.key)
        what = f"{database.columns(stream.table, stream.without)}, {mark} AS {database.quoted(MARK)}"
        conditions, values = self._conditions()
        place: tuple[Any, Any] | None = None
        left = ROWS
        while left > 0:
            after = ""
            if place is not None:
                given = self._bound("kpi_place")
                after = f"({mark} > {given} OR ({mark} = {given} AND {key} > :kpi_key))"
                values = {**values, "kpi_place": self._value(place[0]), "kpi_key": place[1]}
            size = min(database.page, left)
            rest = f" ORDER BY {mark}, {key} LIMIT {size}"
            got = 0
            for rows in database.stream(
                database.select(stream.table, what, [*conditions, after], rest), values, stream.table
            ):
                got += len(rows)
                place = (rows[-1][MARK], rows[-1][stream.key])
                yield rows
            left -= got
            if got < size:
                return

    def rows(self) -> int:
        """How many rows there are to read."""
        conditions, values = self._conditions()
        return int(self.database.one(self.stream.table, "COUNT(*)", conditions, values) or 0)

    def _conditions(self) -> tuple[list[str], dict[str, Any]]:
        conditions, values = [], {}
        if self.start is not None:
            conditions.append(f"{self.stream.mark(self.database)} >= {self._bound('kpi_start')}")
            values["kpi_start"] = self._value(self.start)
        began = self.stream.began
        if self.since is not None and self.database.has(self.stream.table, began):
            as_time = self.stream.began_unit == "time"
            given = self.database.moment("kpi_since") if as_time else ":kpi_since"
            conditions.append(f"{self.database.quoted(began)} >= {given}")
            values["kpi_since"] = (
                self.database.moment_value(self.since) if as_time else int(self.since.timestamp() * 1000)
            )
        return conditions, values

    def _bound(self, name: str) -> str:
        return self.database.moment(name) if self.stream.unit == "time" else f":{name}"

    def _value(self, value: Any) -> Any:
        found = _comparable(value, self.stream.unit)
        return self.database.moment_value(found) if isinstance(found, datetime) else found


def _comparable(value: Any, unit: Unit) -> Any:
    """A mark as a UTC time or an integer; None for what is none."""
    if value is None:
        return None
    try:
        if unit != "time":
            return int(value)
        return utc(value if isinstance(value, datetime) else datetime.fromisoformat(str(value)))
    except (ValueError, TypeError):
        return None
