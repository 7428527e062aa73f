"""Expressions over a row of the requests that statements are made of: dimensions, conditions, clusters, terms, bins."""

from __future__ import annotations

import math

import sqlalchemy as sa

from kpi.errors import MetricError, choices
from kpi.measure.estimate import LOG_BASE, ZERO_BIN
from kpi.measure.metrics import Metric
from kpi.measure.own_terms import MILLIONTH, OWN, physical
from kpi.measure.profile import profile
from kpi.measure.slice import NONE_VALUE, Filters, Window
from kpi.schema import REQUESTS, dimension_column
from kpi.store.cache import CLUSTER, HASHED, STARTED
from kpi.store.engines import SQL_TYPES, Source
from kpi.store.expressions import DOUBLE, INT, TEXT, Expression, known, null, only, text_of, whole

_PRIVATE = ("id", "content", "time")  # kinds of columns that nobody groups by
RATIO_KINDS = ("rate", "ratio", "incidence", "total")


class Columns:
    """A requests table as `kpi.measure.metrics.Row`: columns that the data lacks are typed NULLs."""

    def __init__(self, source: Source, table: sa.FromClause) -> None:
        self.dialect, self._table, self._source = source.dialect, table, source

    def __contains__(self, column: str) -> bool:
        return column in self._table.c

    def __getitem__(self, column: str) -> Expression:
        if column in self._table.c:
            return self._table.c[column]
        if column.startswith(OWN):
            return self._own(column)
        kind = REQUESTS[column].type if column in REQUESTS.names else "string"
        return self.dialect.unknown(SQL_TYPES[kind])

    def _own(self, column: str) -> Expression:
        """A column of a team's metric: a boolean, a text, or a whole number of the smallest parts of its unit."""
        name = physical(column, self._source.columns_of("requests")) or column.removeprefix(OWN)
        if ":" in name or name not in self._table.c:
            return self._score(name)
        found = self._table.c[name]
        return _millionths(found) if isinstance(found.type, sa.Double) else found

    def _score(self, name: str) -> Expression:
        """The mean of the scores of that name that a request has."""
        if not self._source.columns_of("scores"):
            return self.dialect.unknown(INT)
        scores = self._source.table("scores").alias()
        judge, _, told = name.rpartition(":")
        chosen = sa.select(sa.func.avg(scores.c.value)).where(
            scores.c.trace_id == self._table.c.trace_id, scores.c.name == text_of(told),
            *([scores.c.source == text_of(judge)] if judge not in ("", "score") else []),
        )  # fmt: skip
        return _millionths(sa.cast(chosen.correlate(self._table).scalar_subquery(), DOUBLE))


def _millionths(value: Expression) -> Expression:
    return sa.cast(sa.func.round(value * sa.cast(sa.literal_column(repr(1 / MILLIONTH), DOUBLE), DOUBLE)), INT)


def dimension(source: Source, name: str) -> Expression:
    """A dimension as text. Raises MetricError when the data does not have it or it is no dimension."""
    table = source.table("requests")
    column = dimension_column(name)
    barred = column in REQUESTS.names and REQUESTS[column].privacy in _PRIVATE
    if column not in table.c or barred:
        have = sorted(d for d, values in profile(source).dimensions.items() if values)
        uses = source.receipt.columns if source.receipt else ()
        lost = next((u.note for u in uses if u.source == name and u.field is None), None)
        kept = f"Column {name!r} was left out ({lost}): kpi.from_frame(frame, cohorts=[{name!r}]) keeps it"
        raise MetricError("dimension.unknown", f"The data set {source.name!r} has no dimension {name[:60]!r}",
                          hint=choices(name, have, 20) if lost is None else f"{kept[:300]}.")  # fmt: skip
    found = table.c[column]
    if isinstance(found.type, sa.Boolean):
        return sa.case((found.is_(sa.true()), "true"), (found.is_(sa.false()), "false"), else_=null(TEXT))
    return found if isinstance(found.type, sa.Text) else sa.cast(found, TEXT)


def conditions(source: Source, filters: Filters, window: Window | None) -> list[Expression]:
    """WHERE clauses of a slice."""
    found: list[Expression] = []
    for name, values in filters:
        column = dimension(source, name)
        tests: list[Expression] = []
        plain = [v for v in values if v != NONE_VALUE]
        if plain:
            tests.append(column.in_(plain))
        if NONE_VALUE in values:
            tests.append(column.is_(None))
        found.append(sa.or_(*tests))
    if window is not None:
        started = Columns(source, source.table("requests"))["started_at"]
        found += [started >= source.dialect.moment(window.start), started < source.dialect.moment(window.end)]
    return found


def cluster(row: Columns) -> Expression:
    """Who repeats: the user, else the session, else the request itself; the cache has it as a number."""
    if CLUSTER in row:
        return row[CLUSTER]
    return who_repeats(row)


def who_repeats(row: Columns) -> Expression:
    return sa.func.coalesce(row["user_key"], row["session_id"], row["trace_id"])


def hashed(row: Columns, digits: int) -> Expression:
    """The first hexadecimal digits (3 at most) of the MD5 of who repeats: users in 16, 256 or 4,096 groups, the same on
    every engine."""
    found = row[HASHED] if HASHED in row else row.dialect.md5(sa.cast(who_repeats(row), TEXT))
    return sa.func.substr(found, whole(1), whole(digits), type_=TEXT)


def bucket(row: Columns, grain: str, tz: str) -> Expression:
    """Local start of the day, ISO week or month, of an hour its start in UTC, as a timestamp without zone or its text.
    `kpi.measure.buckets` reads it."""
    if tz == "UTC" and STARTED in row:  # the cache of the lake, in DuckDB
        return sa.cast(sa.func.date_trunc(text_of(grain), row[STARTED]), sa.DateTime())
    return row.dialect.bucket(row["started_at"], grain, tz)


def log_bin(value: Expression) -> Expression:
    """Bin of a positive number: floor(log base 1.01005); zero and below share one bin; NULL stays NULL."""
    factor = sa.literal_column(repr(1 / math.log(LOG_BASE)), DOUBLE)
    position = sa.func.floor(sa.func.ln(sa.cast(value, DOUBLE)) * sa.cast(factor, DOUBLE))
    return sa.case((value.is_(None), null(sa.Integer())),
                   (value <= whole(0), sa.literal_column(str(ZERO_BIN), sa.Integer())),
                   else_=sa.cast(position, sa.Integer()))  # fmt: skip


def known_terms(metric: Metric, row: Columns) -> tuple[Expression, Expression]:
    """Numerator and denominator of a row as whole numbers, both NULL unless both are known.

    Raises MetricError for a metric per user or session, which rows do not add up to.
    """
    if metric.per_unit:
        raise MetricError("metric.per_unit", f"{metric.label} counts a unit once in each group, so that no search or "
                          "comparison can add it up", hint="Ask for it with kpi.summarise.")  # fmt: skip
    return row_terms(metric, row)


def row_terms(metric: Metric, row: Columns) -> tuple[Expression, Expression]:
    """The same of any metric, of rows whose unit is known."""
    assert metric.y is not None
    assert metric.x is not None
    y, x = metric.y(row), metric.x(row)
    if metric.of_one_column and not metric.per_unit:
        return sa.cast(y, INT), x
    told = known(y, x, row[metric.per_unit]) if metric.per_unit else known(y, x)
    return only(told, sa.cast(y, INT)), only(told, sa.cast(x, INT))
