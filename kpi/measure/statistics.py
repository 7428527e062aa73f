"""Which statistics a set of metrics needs, as one SQL statement, and the statement's rows back as arrays.

One scan of `requests` feeds every grouping: sums by user, by day and by groups of users on a day (and then the sums of
their squares and products), log-binned histograms with the cluster terms of `estimate.Histogram`, distinct counts and
maxima, all in one UNION ALL. No division happens in SQL and every literal is typed, so engines agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from kpi.measure.cells import (
    CELLS,
    DAY_FIELDS,
    DAYS,
    DISTINCT,
    FIELDS,
    SKETCH,
    SKETCH_CELLS,
    SKETCH_DAYS,
    SUMS,
    Cells,
    Grouping,
    Layout,
    group_keys,
)
from kpi.measure.columns import (
    Columns,
    bucket,
    cluster,
    conditions,
    dimension,
    hashed,
    log_bin,
    row_terms,
)
from kpi.measure.moments import GROUPS
from kpi.measure.slice import Filters, Window
from kpi.store.engines import Query, Statement
from kpi.store.expressions import DOUBLE, INT, TEXT, Expression, null, one_or_zero, only, whole


class StatisticsQuery(Layout):
    """The statement for some metrics over some groupings, and the way back from its rows.

    Axes are the union of the groupings' dimensions and grains; GROUPING() tells totals from unknown values.
    """

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
            of_days = [g for g in chosen if g.days and self.timed]
            parts += [p for sets in self._together(of_days) for p in self._day_sums(base, sets)]
        for i, column in enumerate(self.sketches):
            for with_users in (True, False):
                chosen = [g for g in self.sets if g.intervals is with_users and self._draws(g, column)]
                parts += [self._sketch(base, sets, i, with_users) for sets in self._together(chosen)]
            of_days = [g for g in self.sets if g.days and self.timed and self._draws(g, column)]
            parts += [p for sets in self._together(of_days) for p in self._day_sketches(base, sets, i)]
        if self.distinct:
            parts += [self._distinct(base, sets) for sets in self._together(self.sets)]
        return parts[0] if len(parts) == 1 else sa.union_all(*parts)

    def _draws(self, grouping: Grouping, column: str) -> bool:
        return any(m.kind == "quantile" and m.column == column for m in self.wanted(grouping))

    def _together(self, groupings: Sequence[Grouping]) -> list[Sequence[Grouping]]:
        """Groupings that one GROUP BY makes: all of them, or each alone where the engine lacks GROUPING SETS."""
        if self.source.dialect.grouping_sets:
            return [groupings] if groupings else []
        return [[g] for g in groupings]

    def _name(self, stem: str, groupings: Sequence[Grouping], of: str) -> str:
        return f"{stem}_{self.sets.index(groupings[0])}_{of}"

    def _base(self, filters: Filters, window: Window | None, tz: str) -> sa.CTE:
        table = self.source.table("requests")
        row = Columns(self.source, table)
        columns = [self._axis(row, axis, tz).label(f"a{i}") for i, axis in enumerate(self.axes)]
        columns.append(cluster(row).label("c"))
        if self.naming.partly:
            columns.append(self.naming.flag(row).label("u"))
        if self.timed and any(g.days for g in self.sets):
            columns += [bucket(row, "day", tz).label("d"), hashed(row, GROUPS).label("k")]
        for i, m in enumerate(self.ratios):
            y, x = row_terms(m, row)
            columns += [y.label(f"y{i}"), x.label(f"x{i}")]
            columns += [only(y.is_not(None), row[m.per_unit], TEXT).label(f"p{i}")] if m.per_unit else []
        columns += [log_bin(row[c]).label(f"b{i}") for i, c in enumerate(self.sketches)]
        columns += [row[c].label(f"q{i}") for i, c in enumerate(self.sketches)]
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
        wanted = self._ratios_of(groupings)
        maxima: dict[str, Expression] = {}
        for i in range(len(self.maxima)):
            m = base.c[f"m{i}"]
            maxima |= {f"m{i}": sa.func.max(m), f"k{i}": sa.func.count(m)}
        named = {"u": sa.func.max(base.c.u)} if with_users and self.naming.partly else {}
        by, keys = ("user", ("c",)) if with_users else ("all", ())
        users = self._grouped(base, groupings, keys, wanted, by, {"r": sa.func.count(), **named, **maxima})
        if named:
            users = self._weighed(users, self._name("weighed", groupings, by))
        return self._outer_sums(users, with_users, wanted)

    def _ratios_of(self, groupings: Sequence[Grouping]) -> list[int]:
        return [i for i, m in enumerate(self.ratios) if m in self.wanted(groupings[0])]

    def _grouped(
        self, base: sa.FromClause, groupings: Sequence[Grouping], keys: Sequence[str], wanted: Sequence[int], of: str,
        more: Mapping[str, Expression],
    ) -> sa.CTE:  # fmt: skip
        """The terms of the ratios summed by the axes and further keys."""
        group, number = self._group(base, groupings, *keys)
        columns: list[Expression] = [*self._axes_of(base, groupings), number.label("g"), *(base.c[k] for k in keys)]
        columns += [column.label(name) for name, column in more.items()]
        for i in wanted:
            y, n = base.c[f"y{i}"], sa.func.count(base.c[f"y{i}"])
            plain = n, sa.func.sum(y), n if self.ratios[i].counted else sa.func.sum(base.c[f"x{i}"])
            sums = self._of_units(base, i) if self.ratios[i].per_unit else plain
            columns += [v.label(f"{name}{i}") for name, v in zip("nyx", sums, strict=True)]
        inner = sa.select(*columns).select_from(base)
        return (inner.group_by(*group) if group else inner).cte(self._name("sums", groupings, of))

    def _of_units(self, base: sa.FromClause, i: int) -> tuple[Expression, Expression, Expression]:
        """Units instead of rows: each counts once; a rate counts those for which it holds at least once."""
        y, unit = base.c[f"y{i}"], base.c[f"p{i}"]
        units = sa.func.count(sa.distinct(unit))
        hit = sa.func.count(sa.distinct(only(y > whole(0), unit, TEXT)))
        return units, hit if self.ratios[i].kind == "rate" else sa.func.sum(y), units

    def _weighed(self, rows: sa.CTE, name: str) -> sa.CTE:
        """With `w`: 1 for the clusters that tell the variance, those known by name where a group has such, else all."""
        best = sa.func.max(rows.c.u).over(partition_by=[rows.c.g, *self._axes_in(rows)])
        return sa.select(*rows.c, one_or_zero(rows.c.u == best).label("w")).cte(name)

    def _axes_in(self, rows: sa.FromClause) -> list[Expression]:
        return [rows.c[f"a{i}"] for i in range(len(self.axes))]

    def _outer_sums(self, users: sa.CTE, with_users: bool, wanted: Sequence[int]) -> Query:
        weighed = "w" in users.c

        def total(e: Expression) -> Expression:
            value = sa.cast(e, DOUBLE)
            return sa.func.sum(value * sa.cast(users.c.w, DOUBLE) if weighed else value)

        nothing = null(DOUBLE)
        values: list[Expression] = [sa.cast(sa.func.sum(users.c.r), DOUBLE)]
        values.append(total(users.c.r * users.c.u) if weighed else nothing)
        for i in range(len(self.maxima)):
            values += [sa.cast(v, DOUBLE) for v in (sa.func.max(users.c[f"m{i}"]), sa.func.sum(users.c[f"k{i}"]))]
        for i, m in enumerate(self.ratios):
            if i not in wanted:
                values += [nothing] * len(FIELDS)
                continue
            n, y, x = users.c[f"n{i}"], users.c[f"y{i}"], users.c[f"x{i}"]
            values += [sa.cast(sa.func.sum(v), DOUBLE) for v in (n, y, x)]
            if not with_users:
                values += [nothing] * (len(FIELDS) - 3)
                continue
            values.append(total(one_or_zero(n > whole(0))))
            fy, fx = sa.cast(y, DOUBLE), sa.cast(x, DOUBLE)
            values += [total(fy * fy), total(fy * fx), total(fx * fx)]
            values += [total(fy * fy * fy) if m.kind == "ratio" else nothing]
            values += [total(fy * fy * fx), total(fy * fx * fx), total(fx * fx * fx)]
            values += [total(x) if weighed else nothing, sa.cast(sa.func.max(x), DOUBLE)]
            values += [total(fy * fy / sa.func.nullif(fx, sa.cast(whole(0), DOUBLE))) if m.kind == "rate" else nothing]
        return self._select(users, SUMS, values)

    def _day_sums(self, base: sa.CTE, groupings: Sequence[Grouping]) -> list[Query]:
        """Sums of squares over days, and over groups of users by day."""
        wanted = self._ratios_of(groupings)
        if not wanted:
            return []
        cells = self._grouped(base, groupings, ("d", "k"), wanted, "cell", {})
        found = []
        for part, rows in ((DAYS, self._of_days(cells)), (CELLS, cells)):
            values: list[Expression] = []
            for i in range(len(self.ratios)):
                if i not in wanted:
                    values += [null(DOUBLE)] * len(DAY_FIELDS)
                    continue
                y, x = (sa.cast(rows.c[f"{v}{i}"], DOUBLE) for v in "yx")
                values += [sa.cast(sa.func.sum(one_or_zero(rows.c[f"n{i}"] > whole(0))), DOUBLE)]
                values += [sa.func.sum(y * y), sa.func.sum(y * x), sa.func.sum(x * x)]
            found.append(self._select(rows, part, values))
        return found

    def _sketch(self, base: sa.CTE, groupings: Sequence[Grouping], index: int, with_users: bool) -> Query:
        if with_users:
            named = {"u": sa.func.max(base.c.u)} if self.naming.partly else {}
            cells = self._binned(base, groupings, ("c",), index, "user", named)
            return self._steps(cells, groupings, ("c",), index, "user", SKETCH)
        cells = self._binned(base, groupings, (), index, "all", {})
        nothing, b = null(DOUBLE), cells.c.b
        values = [sa.literal_column(str(index), DOUBLE), b, sa.func.sum(cells.c.n), *[nothing] * 4,
                  sa.func.min(cells.c.low), sa.func.max(cells.c.high)]  # fmt: skip
        return self._select(cells, SKETCH, values, b)

    def _day_sketches(self, base: sa.CTE, groupings: Sequence[Grouping], index: int) -> list[Query]:
        cells = self._binned(base, groupings, ("d", "k"), index, "cell", {})
        return [self._steps(self._of_days(cells, "b"), groupings, ("d",), index, "day", SKETCH_DAYS),
                self._steps(cells, groupings, ("d", "k"), index, "cell", SKETCH_CELLS)]  # fmt: skip

    def _of_days(self, cells: sa.CTE, *more: str) -> sa.CTE:
        """What was summed by group of users on a day, by day."""
        keys = [*self._axes_in(cells), cells.c.g, *(cells.c[k] for k in ("d", *more))]
        ends: dict[str, Any] = {"low": sa.func.min, "high": sa.func.max}
        rest = [c for c in cells.c if c not in set(keys) and c.name != "k"]
        summed = (ends.get(c.name, sa.func.sum)(c).label(c.name) for c in rest)
        return sa.select(*keys, *summed).group_by(*keys).cte(f"{cells.name}_days")

    def _binned(
        self, base: sa.FromClause, groupings: Sequence[Grouping], keys: Sequence[str], index: int, of: str,
        more: Mapping[str, Expression],
    ) -> sa.CTE:  # fmt: skip
        """Requests by the axes, further keys and bin."""
        name = f"b{index}"
        group, number = self._group(base, groupings, *keys, name)
        columns = [*self._axes_of(base, groupings), number.label("g"), *(base.c[k] for k in keys)]
        value = base.c[f"q{index}"]
        columns += [base.c[name].label("b"), sa.func.count().label("n"), *(v.label(k) for k, v in more.items())]
        columns += [sa.func.min(value).label("low"), sa.func.max(value).label("high")]
        chosen = sa.select(*columns).where(base.c[name].is_not(None)).group_by(*group)
        return chosen.cte(self._name(f"cells_{name}", groupings, of))

    def _steps(
        self, cells: sa.CTE, groupings: Sequence[Grouping], keys: Sequence[str], index: int, of: str, part: int
    ) -> Query:
        """By bin: requests, and what each adds to squares and products of the running counts of clusters."""
        weighed = "u" in cells.c
        if weighed:
            cells = self._weighed(cells, self._name(f"weighed_b{index}", groupings, of))
        whole_of = [cells.c.g, *self._axes_in(cells), *(cells.c[k] for k in keys)]
        upto = sa.func.sum(cells.c.n).over(partition_by=whole_of, order_by=cells.c.b, rows=(None, 0))
        size = sa.func.sum(cells.c.n).over(partition_by=whole_of)
        counted = [cells.c.w] if weighed else []
        chosen = sa.select(*self._axes_in(cells), cells.c.g, cells.c.b, cells.c.n, *counted, cells.c.low, cells.c.high,
                           upto.label("u"), size.label("s"))  # fmt: skip
        steps = chosen.cte(self._name(f"steps_b{index}", groupings, of))
        n = steps.c.n

        def total(e: Expression) -> Expression:
            return sa.func.sum(e * steps.c.w if weighed else e)

        values = [sa.literal_column(str(index), DOUBLE), steps.c.b, sa.func.sum(n),
                  total(n * (whole(2) * steps.c.u - n)), total(n * steps.c.s), total(one_or_zero(steps.c.u == n)),
                  total(n) if weighed else null(DOUBLE),
                  sa.func.min(steps.c.low), sa.func.max(steps.c.high)]  # fmt: skip
        return self._select(steps, part, values, steps.c.b)

    def _distinct(self, base: sa.CTE, groupings: Sequence[Grouping]) -> Query:
        group, number = self._group(base, groupings)
        seen = [base.c[f"d{i}"] for i in range(len(self.distinct))]
        values = [v for c in seen for v in (sa.func.count(sa.distinct(c)), sa.func.count(c))]
        columns = [*self._axes_of(base, groupings), number.label("g")]
        chosen = sa.select(*columns, *(v.label(f"v{i}") for i, v in enumerate(values))).select_from(base)
        chosen = chosen.group_by(*group) if group else chosen
        return self._select(chosen.subquery("seen"), DISTINCT, None)

    def _select(self, rows: sa.FromClause, part: int, values: list[Expression] | None, *group: Expression) -> Query:
        """One branch of the union: axes as text, set, part, and the values padded to the common width."""
        axes = [rows.c[f"a{i}"] for i in range(len(self.axes))]
        texts = [sa.cast(a, TEXT).label(f"a{i}") for i, a in enumerate(axes)]
        aggregated = values is not None
        if values is None:
            values = [rows.c[f"v{i}"] for i in range(2 * len(self.distinct))]
        padded: list[Expression] = [v if isinstance(v, sa.Cast) else sa.cast(v, DOUBLE) for v in values]
        padded += [null(DOUBLE)] * (self.width + 1 - len(values))
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
        sums = mine[mine["part"] == SUMS]
        if names:
            sums = sums.sort_values(names)
        values = sums[[f"v{i}" for i in range(self.width + 1)]].to_numpy(dtype=float)
        if not names and np.isnan(values[:, 0]).all():  # a total over no rows
            values, sums = values[:0], sums.iloc[:0]
        return Cells(query=self, grouping=grouping, keys=group_keys(sums, names), values=values, mine=mine, names=names)
