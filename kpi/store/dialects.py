"""What engines say differently: local time, moments, text that keeps its case, groupings they lack.

A statement is written once; where engines differ it asks its source's `Dialect`. Methods return ordinary SQLAlchemy
expressions, so that whatever varies is part of the statement's cache key.
"""

import math
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from hashlib import md5
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import IdentifierPreparer, SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from kpi import clock
from kpi.mapping.parse_times import time_us
from kpi.store.expressions import DOUBLE, INT, TEXT, Expression, text_of, whole

MOMENT, WALL = sa.DateTime(timezone=True), sa.DateTime()
_MICROS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}


def times(column: Expression, factor: float) -> Expression:
    """A number times a constant, in double precision: an untyped literal is a decimal without digits on ClickHouse."""
    return sa.cast(column, DOUBLE) * sa.cast(sa.literal_column(repr(factor), DOUBLE), DOUBLE)


def micros(column: Expression, unit: str) -> Expression:
    """An epoch in s, ms, us or ns as whole microseconds."""
    if unit == "us":
        return sa.cast(column, INT)
    return sa.cast(sa.func.round(times(column, _MICROS[unit])), INT)


class Dialect:
    """PostgreSQL and the lake's DuckDB, for which the statement is written; the others say where they differ."""

    grouping_sets = True
    keeps_moments = True  # a column of times is read as it is
    unnests = True  # an array becomes rows beside those of another
    has_infinity = True  # times may be infinite

    def bucket(self, moment: Expression, grain: str, tz: str) -> Expression:
        """Local start of the day, ISO week or month of a moment, as a time without zone or its text. An hour is an
        instant, since the local one may come twice: it is named by its start in UTC."""
        local = self.wall(moment, tz)
        start = sa.func.date_trunc(text_of(grain), local)
        return sa.cast(start if grain != "hour" else self.wall(moment, "UTC") - (local - start), WALL)

    def wall(self, moment: Expression, tz: str) -> Expression:
        """A moment as the clock on the wall shows it in a zone."""
        return sa.func.timezone(text_of(tz), moment)

    def moment(self, value: datetime) -> Expression:
        """An aware datetime to compare moments with."""
        return sa.literal(value.astimezone(UTC), MOMENT)

    def utc(self, column: Expression) -> Expression:
        """A time without zone as the moment it is in UTC."""
        return sa.func.timezone(text_of("UTC"), column, type_=MOMENT)

    def parsed(self, column: Expression) -> Expression | None:
        """A text as the moment it names; None where the engine cannot read ISO 8601."""
        return sa.cast(column, MOMENT)

    def epoch(self, column: Expression, unit: str) -> Expression:
        """A number of s, ms, us or ns since 1970 as a moment, good to the microsecond."""
        return sa.func.to_timestamp(times(column, _MICROS[unit] * 1e-6), type_=MOMENT)

    def unknown(self, kind: sa.types.TypeEngine[Any]) -> Expression:
        """NULL of a type, for a column that the data lacks."""
        return sa.cast(sa.null(), kind)

    def text(self, column: Expression) -> Expression:
        """A text column that compares by its characters, case and all."""
        return column

    def falling(self, column: Expression) -> Expression:
        """Order from the largest to the smallest, unknown last."""
        return column.desc().nulls_last()

    def md5(self, column: Expression) -> Expression:
        """The MD5 of a text in lower hexadecimal digits."""
        return sa.func.md5(column, type_=TEXT)

    def contains(self, column: Expression, part: str) -> Expression:
        """Whether a text holds a part, in any case."""
        return sa.func.lower(column).contains(part.lower(), autoescape=True)


class _Tried(FunctionElement[Any]):
    """A text as the moment it names, unknown where it names none."""

    inherit_cache = True
    type = MOMENT


@compiles(_Tried)
def _try_cast(element: _Tried, compiler: SQLCompiler, **options: Any) -> str:
    return f"TRY_CAST({compiler.process(element.clauses, **options)} AS TIMESTAMPTZ)"


class DuckDialect(Dialect):
    """DuckDB, where a text that is no time can be left unknown."""

    def parsed(self, column: Expression) -> Expression | None:
        return _Tried(column)


class _Plainer(Dialect):
    unnests = has_infinity = False


class SqliteDialect(_Plainer):
    """Times are texts or numbers there: functions of ours, made known to each session, read them."""

    grouping_sets = keeps_moments = False

    def bucket(self, moment: Expression, grain: str, tz: str) -> Expression:
        return sa.func.kpi_bucket(moment, text_of(grain), text_of(tz), type_=TEXT)

    def moment(self, value: datetime) -> Expression:
        return text_of(value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"))

    def utc(self, column: Expression) -> Expression:
        return sa.func.kpi_utc(column, text_of("auto"), type_=MOMENT)

    parsed = utc

    def epoch(self, column: Expression, unit: str) -> Expression:
        return sa.func.kpi_utc(column, text_of(unit), type_=MOMENT)


class MysqlDialect(_Plainer):
    """MySQL and MariaDB. Named zones need tables that many servers lack, so offsets are written out; by default text
    compares without case there."""

    grouping_sets = False

    def bucket(self, moment: Expression, grain: str, tz: str) -> Expression:
        local = self.wall(moment, tz)
        if grain == "hour":
            since = sa.func.minute(local) * whole(-60) - sa.func.second(local)
            local = sa.func.timestampadd(sa.text("SECOND"), since, moment)
        if grain == "week":
            back = sa.func.weekday(local) * sa.literal_column("-1", INT)
            local = sa.func.timestampadd(sa.text("DAY"), back, local)
        form = {"hour": "%Y-%m-%d %H:%i:00", "month": "%Y-%m-01 00:00:00"}.get(grain, "%Y-%m-%d 00:00:00")
        return self.text(sa.func.date_format(local, text_of(form), type_=TEXT))

    def wall(self, moment: Expression, tz: str) -> Expression:
        steps = _offsets(tz)
        if len(steps) == 1 and not steps[0][1]:
            return moment
        *early, (_, last) = steps
        branches = [(moment < self.moment(until), whole(seconds)) for until, seconds in early if until]
        shift = sa.case(*branches, else_=whole(last)) if branches else whole(last)
        return sa.func.timestampadd(sa.text("SECOND"), shift, moment)

    def moment(self, value: datetime) -> Expression:
        return sa.literal(value.astimezone(UTC).replace(tzinfo=None), WALL)

    def utc(self, column: Expression) -> Expression:
        return sa.type_coerce(column, MOMENT)

    def parsed(self, column: Expression) -> Expression | None:
        return None

    def epoch(self, column: Expression, unit: str) -> Expression:
        start = sa.literal_column("TIMESTAMP'1970-01-01 00:00:00.000000'", WALL)
        return sa.func.timestampadd(sa.text("MICROSECOND"), micros(column, unit), start, type_=MOMENT)

    def unknown(self, kind: sa.types.TypeEngine[Any]) -> Expression:
        return sa.type_coerce(sa.null(), kind) if isinstance(kind, sa.Boolean) else sa.cast(sa.null(), kind)

    def falling(self, column: Expression) -> Expression:
        return column.desc()  # unknown is the smallest there

    def text(self, column: Expression) -> Expression:
        return sa.collate(sa.cast(column, TEXT), "utf8mb4_bin")


class ClickHouseDialect(_Plainer):
    def contains(self, column: Expression, part: str) -> Expression:
        return sa.func.positionCaseInsensitiveUTF8(column, text_of(part)) > whole(0)

    def md5(self, column: Expression) -> Expression:
        return sa.func.lower(sa.func.hex(sa.func.MD5(column)), type_=TEXT)

    def bucket(self, moment: Expression, grain: str, tz: str) -> Expression:
        start = sa.func.dateTrunc(text_of(grain), self.wall(moment, tz), text_of("UTC"))
        return sa.cast(start if grain != "hour" else sa.func.addSeconds(start, -self._ahead(moment, tz)), TEXT)

    def wall(self, moment: Expression, tz: str) -> Expression:
        return sa.func.addSeconds(sa.func.toTimeZone(moment, text_of("UTC")), self._ahead(moment, tz))

    def _ahead(self, moment: Expression, tz: str) -> Expression:
        return sa.func.timeZoneOffset(sa.func.toTimeZone(moment, text_of(tz)), type_=INT)

    def moment(self, value: datetime) -> Expression:
        since = (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        return sa.func.fromUnixTimestamp64Micro(sa.cast(sa.literal(since, INT), INT), text_of("UTC"), type_=MOMENT)

    def utc(self, column: Expression) -> Expression:
        return sa.func.toDateTime64(column, sa.literal_column("6"), text_of("UTC"), type_=MOMENT)

    def parsed(self, column: Expression) -> Expression | None:
        return sa.func.parseDateTime64BestEffortOrNull(column, sa.literal_column("6"), text_of("UTC"), type_=MOMENT)

    def epoch(self, column: Expression, unit: str) -> Expression:
        return sa.func.fromUnixTimestamp64Micro(micros(column, unit), text_of("UTC"), type_=MOMENT)


@compiles(sa.Cast, "clickhousedb")
def _nullable(element: sa.Cast[Any], compiler: SQLCompiler, **options: Any) -> str:
    """A cast keeps what is unknown; ClickHouse's own refuses it."""
    target = compiler.process(element.typeclause, **options)
    return f"CAST({compiler.process(element.clause, **options)} AS Nullable({target}))"


class SparkDialect(_Plainer):
    """Spark and Databricks; the session is in UTC."""

    def utc(self, column: Expression) -> Expression:
        return sa.cast(column, MOMENT)

    def wall(self, moment: Expression, tz: str) -> Expression:
        return sa.func.from_utc_timestamp(moment, text_of(tz))

    def epoch(self, column: Expression, unit: str) -> Expression:
        return sa.func.timestamp_micros(micros(column, unit), type_=MOMENT)


class SparkCompiler(DefaultDialect):
    """Only compiles: Spark takes the text, with named parameters. Backticks quote, and types have Spark's names."""

    name = "spark"
    supports_native_boolean = True
    supports_statement_cache = False

    class preparer(IdentifierPreparer):
        def __init__(self, dialect: Any) -> None:
            super().__init__(dialect, initial_quote="`", escape_quote="`")

    def __init__(self) -> None:
        super().__init__(paramstyle="named")


for _type, _name in ((sa.Text, "STRING"), (sa.BigInteger, "BIGINT"), (sa.Double, "DOUBLE"), (sa.DateTime, "TIMESTAMP")):
    compiles(_type, "spark")(lambda element, compiler, _name=_name, **options: _name)

_BY_NAME: dict[str, type[Dialect]] = {
    "sqlite": SqliteDialect, "mysql": MysqlDialect, "mariadb": MysqlDialect, "clickhousedb": ClickHouseDialect,
    "databricks": SparkDialect, "spark": SparkDialect}  # fmt: skip


def dialect_of(name: str) -> Dialect:
    """The dialect of an engine by SQLAlchemy's name for it."""
    return _BY_NAME.get(name, Dialect)()


# -- SQLite's functions ---------------------------------------------------------------------------------------------


def teach_sqlite(connection: sqlite3.Connection) -> None:
    """Make the functions that the statement needs known to a session."""
    add: Callable[..., None] = partial(connection.create_function, deterministic=True)
    add("kpi_bucket", 3, _bucket)
    add("kpi_utc", 2, _utc)
    add("md5", 1, lambda v: None if v is None else md5(v.encode(), usedforsecurity=False).hexdigest())
    try:
        connection.execute("SELECT ln(2.0), floor(2.5)")
    except sqlite3.OperationalError:  # a build without mathematical functions
        add("ln", 1, lambda v: None if v is None or v <= 0 else math.log(v))
        add("floor", 1, lambda v: None if v is None else float(math.floor(v)))


def _bucket(moment: str | None, grain: str, tz: str) -> str | None:
    return None if moment is None else _start(moment[:16], grain, tz)  # no zone is off by a part of a minute


@lru_cache(maxsize=200_000)
def _start(minute: str, grain: str, tz: str) -> str:
    moment = datetime.fromisoformat(minute)
    local = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(tz)).replace(tzinfo=None)
    local = moment - timedelta(minutes=local.minute) if grain == "hour" else local.replace(hour=0, minute=0)
    if grain == "week":
        local -= timedelta(days=local.weekday())
    elif grain == "month":
        local = local.replace(day=1)
    return local.strftime("%Y-%m-%d %H:%M:%S")


def _utc(value: str | float | None, unit: str) -> str | None:
    """A text of any shape (without zone: UTC) or an epoch as `2026-11-01 10:00:00.000000`; None for what is no time."""
    try:
        if value is None:
            return None
        if isinstance(value, str):
            try:
                moment = clock.utc(datetime.fromisoformat(value))
            except ValueError:
                moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us(value)[0])
        else:
            size = abs(value)
            guess = "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"
            since = round(value * _MICROS[guess if unit == "auto" else unit])
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=since)
        return moment.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=64)
def _offsets(tz: str) -> tuple[tuple[datetime | None, int], ...]:
    """(until, seconds ahead of UTC) for a zone from 2000 to 2040, the last one without an end."""
    zone = ZoneInfo(tz)

    def ahead(moment: datetime) -> int:
        return int((moment.astimezone(zone).utcoffset() or timedelta()).total_seconds())

    found: list[tuple[datetime | None, int]] = []
    at, end = datetime(2000, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
    while at < end:
        later = at + timedelta(days=7)
        if ahead(at) != ahead(later):
            low, high = at, later
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) / 2
                low, high = (middle, high) if ahead(middle) == ahead(at) else (low, middle)
            found.append((high.replace(second=0, microsecond=0), ahead(at)))
        at = later
    return (*found, (None, ahead(end)))
