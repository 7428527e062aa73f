"""Which statistics a set of metrics needs, as one SQL statement, and the statement's rows back as arrays.

One scan of `requests` feeds every grouping: user sums (and then the sums of their squares and products), log-binned
histograms with the cluster terms of `estimate.Histogram`, distinct counts and maxima, all in one UNION ALL. No division
happens in SQL and every literal is typed, so engines agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from kpi.measure.columns import RATIO_KINDS, Columns, bucket, cluster, conditions, dimension, known_terms, log_bin
from kpi.measure.estimate import Histogram, Sums
from kpi.measure.metrics import Metric
from kpi.measure.slice import Filters, Window
from kpi.store.engines import Query, Source, Statement
from kpi.store.expressions import DOUBLE, INT, TEXT, Expression, null, one_or_zero, whole

_SUMS, _SKETCH, _DISTINCT = 0, 1, 2
_FIELDS = ("n", "y", "x", "clusters", "yy", "yx", "xx", "yyy", "yyx", "yxx", "xxx")


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """One way to group: by dimensions, by time bucket, or both.

    intervals: whether user sums are needed. metrics: names of those wanted here; empty means all of the call.
    """

    by: tuple[str, ...] = ()
    every: str | None = None
    intervals: bool = True
    metrics: tuple[str, ...] = ()

    @property
    def axes(self) -> tuple[str, ...]:
        return (*self.by, *((_time_axis(self.every),) if self.every else ()))


def _time_axis(grain: str) -> str:
    return f"every:{grain}"


def _merged(groupings: Sequence[Grouping]) -> list[Grouping]:
    """One grouping a set of axes, wanting what all that share it want: a set asked for twice would count twice."""
    found: dict[frozenset[str], Grouping] = {}
    for g in groupings:
        same = found.setdefault(frozenset(g.axes), g)
        every_metric = not (same.metrics and g.metrics)
        names = () if every_metric else tuple(dict.fromkeys((*same.metrics, *g.metrics)))
        found[frozenset(g.axes)] = replace(same, intervals=same.intervals or g.intervals, metrics=names)
    return list(found.values())


class StatisticsQuery:
    """The statement for some metrics over some groupings, and the way back from its rows.

    Axes are the union of the groupings' dimensions and grains; GROUPING() tells totals from unknown values.
    """

    def __init__(self, source: Source, metrics: Sequence[Metric], groupings: Sequence[Grouping]) -> None:
        self.source, self.metrics, self.groupings = source, metrics, groupings
        self.sets = _merged(groupings)
        self.axes = list(dict.fromkeys(a for g in groupings for a in g.axes))
        self.ratios = [m for m in metrics if m.kind in RATIO_KINDS]
        self.sketches = list(dict.fromkeys(m.column for m in metrics if m.kind == "quantile" and m.column))
        self.maxima = list(dict.fromkeys(m.column for m in metrics if m.kind == "max" and m.column))
        self.distinct = list(dict.fromkeys(m.column for m in metrics if m.kind == "distinct" and m.column))
        self.window: Window | None = None
        self.tz = "UTC"
        self._width = max(1 + 2 * len(self.maxima) + len(_FIELDS) * len(self.ratios), 5, 2 * len(self.distinct))

    def wanted(self, grouping: Grouping) -> list[Metric]:
        """Metrics of one grouping, in the order of the call."""
        return [m for m in self.metrics if not grouping.metrics or m.name in grouping.metrics]

    # -- the statement ------------------------------------------------------------------------------------------

    def statement(self, filters: Filters, window: Window | None, tz: str) -> Statement:
        base = self._base(filters, window, tz)
        self.window, self.tz = window, tz
        self._typed = False
        parts = []
        alike: dict[tuple[bool, tuple[str, ...]], list[Grouping]] = {}
        for g in self.sets:
            alike.setdefault((g.intervals, g.metrics), []).append(g)
        for (with_users, _), chosen in alike.items():
            parts += [self._sums(base, sets, with_users) for sets in self._together(chosen)]
        for i, column in enumerate(self.sketches):
            for with_users in (True, False):
                chosen = [g for g in self.sets if g.intervals is with_users
                          and any(m.kind == "quantile" and m.column == column for m in self.wanted(g))]  # fmt: skip
                parts += [self._sketch(base, sets, i, with_users) for sets in self._together(chosen)]
        if self.distinct:
            parts += [self._distinct(base, sets) for sets in self._together(self.sets)]
        return parts[0] if len(parts) == 1 else sa.union_all(*parts)

    def _together(self, groupings: Sequence[Grouping]) -> list[Sequence[Grouping]]:
        """Groupings that one GROUP BY makes: all of them, or each alone where the engine lacks GROUPING SETS."""
        if self.source.dialect.grouping_sets:
            return [groupings] if groupings else []
        return [[g] for g in groupings]

    def _name(self, stem: str, groupings: Sequence[Grouping], with_users: bool) -> str:
        return f"{stem}_{self.sets.index(groupings[0])}_{'user' if with_users else 'all'}"

    def _base(self, filters: Filters, window: Window | None, tz: str) -> sa.CTE:
        table = self.source.table("requests")
        row = Columns(self.source, table)
        columns = [self._axis(row, axis, tz).label(f"a{i}") for i, axis in enumerate(self.axes)]
        columns.append(cluster(row).label("c"))
        for i, m in enumerate(self.ratios):
            y, x = known_terms(m, row)
            columns += [y.label(f"y{i}"), x.label(f"x{i}")]
        columns += [log_bin(row[c]).label(f"b{i}") for i, c in enumerate(self.sketches)]
        columns += [row[c].label(f"m{i}") for i, c in enumerate(self.maxima)]
        columns += [row[c].label(f"d{i}") for i, c in enumerate(self.distinct)]
        return sa.select(*columns).select_from(table).where(*conditions(self.source, filters, window)).cte("base")

    def _axis(self, row: Columns, axis: str, tz: str) -> Expression:
        if axis.startswith("every:"):
            return bucket(row, axis.removeprefix("every:"), tz)
        return dimension(self.source, axis)

    def _group(self, base: sa.FromClause, groupings: Sequence[Grouping], *more: str) -> tuple[list[Any], Expression]:
        """The GROUPING SETS clause over the axes of each grouping plus `more`, and the set's number."""
        axis = {a: base.c[f"a{i}"] for i, a in enumerate(self.axes)}
        extra = [base.c[name] for name in more]
        sets = [[*(axis[a] for a in g.axes), *extra] for g in groupings]
        if not self.axes:
            return extra, whole(0)
        if len(sets) == 1:
            return sets[0], whole(self.set_number(groupings[0]))
        number: Expression = whole(0)
        used = {a for g in groupings for a in g.axes}
        for a, column in axis.items():
            absent = sa.func.grouping(column) if a in used else whole(1)
            number = number + sa.cast(absent, INT) * whole(self._bit(a))
        return [sa.func.grouping_sets(*(sa.tuple_(*s) if s else sa.text("()") for s in sets))], number

    def set_number(self, grouping: Grouping) -> int:
        """A grouping's number: one bit per absent axis."""
        return sum(self._bit(a) for a in self.axes if a not in grouping.axes)

    def _bit(self, axis: str) -> int:
        return 1 << self.axes.index(axis)

    def _axes_of(self, base: sa.FromClause, groupings: Sequence[Grouping]) -> list[Expression]:
        """The axis columns to select: those that some grouping uses, NULL for the others."""
        used = {a for g in groupings for a in g.axes}
        return [(base.c[f"a{i}"] if a in used else null(TEXT)).label(f"a{i}") for i, a in enumerate(self.axes)]

    def _sums(self, base: sa.CTE, groupings: Sequence[Grouping], with_users: bool) -> Query:
        group, number = self._group(base, groupings, *(("c",) if with_users else ()))
        wanted = [i for i, m in enumerate(self.ratios) if m in self.wanted(groupings[0])]
        columns: list[Expression] = [*self._axes_of(base, groupings), number.label("g"),
                                                sa.func.count().label("r")]  # fmt: skip
        for i in wanted:
            y, x = base.c[f"y{i}"], base.c[f"x{i}"]
            columns += [sa.func.count(y).label(f"n{i}"), sa.func.sum(y).label(f"y{i}"), sa.func.sum(x).label(f"x{i}")]
        for i in range(len(self.maxima)):
            m = base.c[f"m{i}"]
            columns += [sa.func.max(m).label(f"m{i}"), sa.func.count(m).label(f"k{i}")]
        inner = sa.select(*columns).select_from(base)
        inner = inner.group_by(*group) if group else inner
        return self._outer_sums(inner.cte(self._name("sums", groupings, with_users)), with_users, wanted)

    def _outer_sums(self, users: sa.CTE, with_users: bool, wanted: Sequence[int]) -> Query:

        def total(e: Expression) -> Expression:
            return sa.func.sum(sa.cast(e, DOUBLE))

        values: list[Expression] = [sa.cast(sa.func.sum(users.c.r), DOUBLE)]
        for i in range(len(self.maxima)):
            values += [sa.cast(v, DOUBLE) for v in (sa.func.max(users.c[f"m{i}"]), sa.func.sum(users.c[f"k{i}"]))]
        nothing = null(DOUBLE)
        for i, m in enumerate(self.ratios):
            if i not in wanted:
                values += [nothing] * len(_FIELDS)
                continue
            n, y, x = users.c[f"n{i}"], users.c[f"y{i}"], users.c[f"x{i}"]
            values += [sa.cast(sa.func.sum(v), DOUBLE) for v in (n, y, x)]
            if not with_users:
                values += [nothing] * 8
                continue
            values.append(total(one_or_zero(n > whole(0))))
            fy, fx = sa.cast(y, DOUBLE), sa.cast(x, DOUBLE)
            values += [total(fy * fy), total(fy * fx), total(fx * fx)]
            cubes = [total(fy * fy * fy), total(fy * fy * fx), total(fy * fx * fx), total(fx * fx * fx)]
            values += cubes if m.kind == "ratio" else [nothing] * 4
        return self._select(users, _SUMS, values)

    def _sketch(self, base: sa.CTE, groupings: Sequence[Grouping], index: int, with_users: bool) -> Query:
        name = f"b{index}"
        group, number = self._group(base, groupings, *(("c",) if with_users else ()), name)
        user = [base.c.c] if with_users else []
        columns = [*self._axes_of(base, groupings), number.label("g"), *user, base.c[name].label("b")]
        cells = (
            sa.select(*columns, sa.func.count().label("n"))
            .where(base.c[name].is_not(None))
            .group_by(*group)
            .cte(self._name(f"cells_{name}", groupings, with_users))
        )
        nothing = null(DOUBLE)
        column = sa.literal_column(str(index), DOUBLE)
        if not with_users:
            values = [column, cells.c.b, sa.func.sum(cells.c.n), nothing, nothing, nothing]
            return self._select(cells, _SKETCH, values, cells.c.b)
        keys = [cells.c.g, *(cells.c[f"a{i}"] for i in range(len(self.axes))), cells.c.c]
        upto = sa.func.sum(cells.c.n).over(partition_by=keys, order_by=cells.c.b, rows=(None, 0))
        size = sa.func.sum(cells.c.n).over(partition_by=keys)
        axes = [cells.c[f"a{i}"] for i in range(len(self.axes))]
        chosen = sa.select(*axes, cells.c.g, cells.c.b, cells.c.n, upto.label("u"), size.label("s"))
        steps = chosen.cte(self._name(f"steps_{name}", groupings, with_users))
        first = one_or_zero(steps.c.u == steps.c.n)
        n = steps.c.n
        values = [column, steps.c.b, sa.func.sum(n), sa.func.sum(n * (whole(2) * steps.c.u - n)),
                  sa.func.sum(n * steps.c.s), sa.func.sum(first)]  # fmt: skip
        return self._select(steps, _SKETCH, values, steps.c.b)

    def _distinct(self, base: sa.CTE, groupings: Sequence[Grouping]) -> Query:
        group, number = self._group(base, groupings)
        seen = [base.c[f"d{i}"] for i in range(len(self.distinct))]
        values = [v for c in seen for v in (sa.func.count(sa.distinct(c)), sa.func.count(c))]
        columns = [*self._axes_of(base, groupings), number.label("g")]
        chosen = sa.select(*columns, *(v.label(f"v{i}") for i, v in enumerate(values))).select_from(base)
        chosen = chosen.group_by(*group) if group else chosen
        return self._select(chosen.subquery("seen"), _DISTINCT, None)

    def _select(self, rows: sa.FromClause, part: int, values: list[Expression] | None, *group: Expression) -> Query:
        """One branch of the union: axes as text, set, part, and the values padded to the common width."""
        axes = [rows.c[f"a{i}"] for i in range(len(self.axes))]
        texts = [sa.cast(a, TEXT).label(f"a{i}") for i, a in enumerate(axes)]
        aggregated = values is not None
        if values is None:
            values = [rows.c[f"v{i}"] for i in range(2 * len(self.distinct))]
        padded: list[Expression] = [v if isinstance(v, sa.Cast) else sa.cast(v, DOUBLE) for v in values]
        padded += [null(DOUBLE)] * (self._width + 1 - len(values))
        if self._typed:  # the first branch gives the union its types, the others may then leave NULLs untyped
            padded = [sa.null() if isinstance(v, sa.Cast) and isinstance(v.clause, sa.sql.elements.Null) else v
                      for v in padded]  # fmt: skip
        self._typed = True
        named = [v.label(f"v{i}") for i, v in enumerate(padded)]
        head = [*texts, rows.c.g.label("g"), sa.literal_column(str(part), sa.Integer()).label("part")]
        chosen = sa.select(*head, *named).select_from(rows)
        return chosen.group_by(*axes, rows.c.g, *group) if aggregated else chosen

    # -- and back -----------------------------------------------------------------------------------------------

    def read(self, rows: pd.DataFrame) -> list[Cells]:
        """The statement's rows, one `Cells` for each grouping in order."""
        return [self._cells(rows, grouping) for grouping in self.groupings]

    def _cells(self, rows: pd.DataFrame, grouping: Grouping) -> Cells:
        mine = rows[rows["g"] == self.set_number(grouping)] if self.axes else rows
        names = [f"a{self.axes.index(a)}" for a in grouping.axes]
        sums = mine[mine["part"] == _SUMS]
        if names:
            sums = sums.sort_values(names)
        values = sums[[f"v{i}" for i in range(self._width + 1)]].to_numpy(dtype=float)
        if not names and np.isnan(values[:, 0]).all():  # a total over no rows
            values, sums = values[:0], sums.iloc[:0]
        return Cells(query=self, grouping=grouping, keys=_keys(sums, names), values=values, mine=mine, names=names)


def _keys(rows: pd.DataFrame, names: list[str]) -> list[tuple[Any, ...]]:
    """Group keys of rows; unknown values are None."""
    if not names:
        return [()] * len(rows)
    plain = [rows[n].astype(object).where(rows[n].notna(), None) for n in names]
    return list(zip(*plain, strict=True))


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Statistics of one grouping: one key a group, in sorted order, unknown values (None) last."""

    query: StatisticsQuery
    grouping: Grouping
    keys: list[tuple[Any, ...]]
    values: np.ndarray
    mine: pd.DataFrame
    names: list[str]

    def rows(self) -> np.ndarray:
        """Requests per group."""
        return self.values[:, 0]

    def maximum(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Largest value of a column, and the rows in which it is known, per group."""
        start = 1 + 2 * self.query.maxima.index(column)
        return self.values[:, start], np.nan_to_num(self.values[:, start + 1])

    def ratio(self, metric: Metric) -> Sums:
        """Sums of a ratio-like metric per group."""
        start = 1 + 2 * len(self.query.maxima) + len(_FIELDS) * self.query.ratios.index(metric)
        values = {name: self.values[:, start + i] for i, name in enumerate(_FIELDS)}
        for name in ("n", "y", "x"):
            values[name] = np.nan_to_num(values[name])
        return Sums(**values)

    def distinct(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Distinct values of a column (NaN where it is known nowhere), and the rows in which it is known, per group."""
        part = self.mine[self.mine["part"] == _DISTINCT]
        start = 2 * self.query.distinct.index(column)
        found = dict(zip(_keys(part, self.names), part[[f"v{start}", f"v{start + 1}"]].to_numpy(float), strict=True))
        table = np.array([found.get(k, (0.0, 0.0)) for k in self.keys], dtype=float).reshape(-1, 2)
        return np.where(table[:, 1] > 0, table[:, 0], np.nan), table[:, 1]

    def histograms(self, column: str) -> list[Histogram]:
        """Log-binned histogram of a column per group."""
        part = self.mine[(self.mine["part"] == _SKETCH) & (self.mine["v0"] == self.query.sketches.index(column))]
        block = part[["v1", "v2", "v3", "v4", "v5"]].to_numpy(dtype=float)
        order = {key: i for i, key in enumerate(self.keys)}
        owner = np.array([order[k] for k in _keys(part, self.names)], dtype=int)
        block = block[np.lexsort((block[:, 0], owner))]
        cuts = np.searchsorted(np.sort(owner), np.arange(len(self.keys) + 1))
        return [Histogram(bins=b[:, 0], count=b[:, 1], square=b[:, 2], cross=b[:, 3], first=b[:, 4])
                for b in (block[cuts[i] : cuts[i + 1]] for i in range(len(self.keys)))]  # fmt: skip
