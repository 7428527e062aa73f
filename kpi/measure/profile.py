"""What a data set holds: time range, dimensions with their values, which columns are filled.

Asked once for each version and kept: the slice bar, the validity of links and "not enough data" rest on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import array

from kpi import clock
from kpi.measure.metrics import METRICS, Metric
from kpi.measure.own_terms import OWN, SCORE, physical
from kpi.schema import DIMENSIONS, EXTRA_PREFIX, MEASURE_PREFIX, dimension_name
from kpi.store.engines import Source, Statement
from kpi.store.expressions import DOUBLE, TEXT, Expression, whole

MAX_VALUES = 500
_EXTRA_DIMENSIONS = ("error_type", "worst_severity", "outcome_source", "cost_source", "unpriced_model")


@dataclass(frozen=True)
class MeasureRange:
    """A measure of an export: its smallest value, the mean of its magnitude, and whether 0 and 1 are all it holds."""

    low: float
    size: float
    flags: bool


@dataclass(frozen=True, kw_only=True)
class Profile:
    """first, last: times of the first and last request, None where the data has none. requests: how many there are.

    ahead: requests that lie in the future by the clock of the moment; they are in no window, and not at `last`.
    dimensions: name -> ((value, requests), …) by falling frequency, unknown values left out, at most 500 values.
    filled: column -> rows in which it is known, ranges: of measures. scores: `score:judge:tone` -> numbers given.
    """

    first: datetime | None
    last: datetime | None
    requests: int
    dimensions: dict[str, tuple[tuple[str, int], ...]]
    filled: dict[str, int] = field(repr=False)
    ahead: int = 0
    ranges: dict[str, MeasureRange] = field(default_factory=dict, repr=False)
    scores: dict[str, int] = field(default_factory=dict, repr=False)

    def holds(self, column: str) -> int:
        """Rows in which a column is known, be it of a metric of a team's own or a score."""
        known = self.filled | self.scores
        return known.get((physical(column, known) if OWN in column else column) or "", 0)

    def supports(self, metric: Metric) -> bool:
        """Whether the data holds what the metric needs at all."""
        return all(self.holds(column) > 0 for column in metric.needs)

    def missing(self) -> dict[str, tuple[str, ...]]:
        """Metrics that this data cannot support -> the columns that would be needed."""
        return {m.name: tuple(c for c in m.needs if not self.filled.get(c, 0))
                for m in METRICS.values() if not self.supports(m)}  # fmt: skip


_KNOWN: WeakKeyDictionary[Source, Profile] = WeakKeyDictionary()


def profile(source: Source) -> Profile:
    """What a source holds; computed once and kept as long as the source lives.

    Args:
        source: Where the rows are.

    Returns:
        A `Profile`: first and last start, requests, values of each dimension, how often each column is known.

    Example:
        >>> found = kpi.profile(source)
        >>> found.requests > 0, "language" in found.dimensions
        (True, True)
    """
    if source not in _KNOWN:
        _KNOWN[source] = _profile(source)
    return _KNOWN[source]


def _profile(source: Source) -> Profile:
    table = source.table("requests")
    columns = [c for c in (column.name for column in table.c) if c not in ("input_text", "output_text", "attributes")]
    counts = [sa.func.count(table.c[c]).label(f"n{i}") for i, c in enumerate(columns)]
    started = table.c.get("started_at")
    bounds = [] if started is None else _bounds(source, started)
    measures = [c for c in columns if c.startswith(MEASURE_PREFIX)]
    counts += [v for i, c in enumerate(measures) for v in _range(table.c[c], i)]
    row = source.run(sa.select(sa.func.count().label("requests"), *bounds, *counts).select_from(table)).to_pylist()[0]
    filled = {c: int(row[f"n{i}"]) for i, c in enumerate(columns)}
    ranges = {c: MeasureRange(float(row[f"low{i}"]), float(row[f"size{i}"]), not row[f"odd{i}"])
              for i, c in enumerate(measures) if filled[c]}  # fmt: skip
    first, last = _utc(row.get("first")), _utc(row.get("last"))
    if first is not None and last is None:  # all of it lies in the future: windows end now, and are empty
        first = last = clock.latest()
    return Profile(
        first=first, last=last, ahead=int(row.get("ahead") or 0), requests=int(row["requests"]), filled=filled,
        ranges=ranges, scores=_scores(source),
        dimensions=_values(source, table, [
            c for c in columns
            if filled[c] and (c in DIMENSIONS or c in _EXTRA_DIMENSIONS or c.startswith(EXTRA_PREFIX))
        ]),
    )  # fmt: skip


def _range(measure: Expression, number: int) -> list[sa.Label[Any]]:
    odd = sa.and_(measure != sa.literal_column("0", DOUBLE), measure != sa.literal_column("1", DOUBLE))
    values = {"low": sa.func.min(measure), "size": sa.func.avg(sa.func.abs(measure)),
              "odd": sa.func.count(sa.case((odd, whole(1))))}  # fmt: skip
    return [v.label(f"{name}{number}") for name, v in values.items()]


def _scores(source: Source) -> dict[str, int]:
    """Scores with a number, by the judge that gave them and whoever it was: how many there are."""
    if not {"trace_id", "name", "value", "source"} <= source.columns_of("scores").keys():
        return {}
    scores = source.table("scores").c
    rows = source.run(
        sa.select(scores.name, scores.source, sa.func.count().label("n"))
        .where(scores.value.is_not(None), scores.trace_id.is_not(None)).group_by(scores.name, scores.source)
    ).to_pylist()  # fmt: skip
    found: dict[str, int] = {}
    for row in rows:
        for column in {f"{SCORE}:{row['name']}", f"{SCORE}{row['source'] or ''}:{row['name']}"}:
            found[column] = found.get(column, 0) + int(row["n"])
    return found


def _bounds(source: Source, started: Expression) -> list[sa.Label[Any]]:
    latest = source.dialect.moment(clock.latest())
    return [sa.func.min(started).label("first"), sa.func.max(sa.case((started <= latest, started))).label("last"),
            sa.func.count(sa.case((started > latest, whole(1)))).label("ahead")]  # fmt: skip


_WIDE = 100  # columns of a statement: an engine binds the whole table anew for each branch of a union


def _values(source: Source, table: sa.FromClause, columns: list[str]) -> dict[str, tuple[tuple[str, int], ...]]:
    found: dict[str, list[tuple[str, int]]] = {c: [] for c in columns}
    unnested = len(columns) > _WIDE and source.dialect.unnests
    for start in range(0, len(columns), _WIDE):
        part = columns[start : start + _WIDE]
        for r in source.run((_unnested if unnested else _united)(table, part)).to_pylist():
            found[part[r["d"]]].append((r["v"], int(r["n"])))
    return {dimension_name(c): tuple(sorted(v, key=lambda p: (-p[1], p[0]))[:MAX_VALUES])
            for c, v in found.items()}  # fmt: skip


def _united(table: sa.FromClause, columns: list[str]) -> Statement:
    """Number of the column, value and requests, a branch a column."""
    number = sa.Integer()
    parts = [
        sa.select(sa.literal_column(str(i), number).label("d"), sa.cast(table.c[c], TEXT).label("v"),
                  sa.func.count().label("n")).where(table.c[c].is_not(None)).group_by(table.c[c])
        for i, c in enumerate(columns)
    ]  # fmt: skip
    return sa.union_all(*parts) if len(parts) > 1 else parts[0]


def _unnested(table: sa.FromClause, columns: list[str]) -> Statement:
    """The same in one branch: a row a column of each request."""
    ids = array([sa.literal_column(str(i), sa.Integer()) for i in range(len(columns))])
    values = array([sa.cast(table.c[c], TEXT) for c in columns])
    rows = sa.select(sa.func.unnest(ids).label("d"), sa.func.unnest(values).label("v")).select_from(table).subquery()
    return sa.select(rows.c.d, rows.c.v, sa.func.count().label("n")).where(rows.c.v.is_not(None)).group_by(*rows.c)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else clock.utc(moment)
