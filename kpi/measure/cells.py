"""What a statement of statistics gives back: ways to group, and the statistics of each group as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from kpi.measure.clusters import naming
from kpi.measure.columns import RATIO_KINDS
from kpi.measure.estimate import DayBins, Histogram
from kpi.measure.metrics import Metric
from kpi.measure.moments import DaySums, Sums
from kpi.measure.slice import Window
from kpi.store.engines import Source

# The parts of a statement: what each branch of its union tells.
SUMS, SKETCH, DISTINCT, DAYS, CELLS, SKETCH_DAYS, SKETCH_CELLS = range(7)
FIELDS = ("n", "y", "x", "clusters", "yy", "yx", "xx", "yyy", "yyx", "yxx", "xxx", "named", "heaviest", "shares")
DAY_FIELDS = ("days", "yy", "yx", "xx")
HEAD = 2  # values of a group before those of its metrics: requests, and those of users who are known by name


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

    @property
    def days(self) -> bool:
        """Whether a group has several days, whose luck its intervals count in."""
        return self.intervals and self.every not in ("hour", "day")


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


class Layout:
    """What a statement asks, and so where its answers stand.

    Axes are the union of the groupings' dimensions and grains.
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
        self.width = max(HEAD + 2 * len(self.maxima) + len(FIELDS) * len(self.ratios), 9, 2 * len(self.distinct))
        self.naming = naming(source)
        self.timed = "started_at" in source.columns_of("requests")

    def wanted(self, grouping: Grouping) -> list[Metric]:
        """Metrics of one grouping, in the order of the call."""
        return [m for m in self.metrics if not grouping.metrics or m.name in grouping.metrics]


def group_keys(rows: pd.DataFrame, names: list[str]) -> list[tuple[Any, ...]]:
    """Group keys of rows; unknown values are None."""
    if not names:
        return [()] * len(rows)
    plain = [rows[n].astype(object).where(rows[n].notna(), None) for n in names]
    return list(zip(*plain, strict=True))


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Statistics of one grouping: one key a group, in sorted order, unknown values (None) last."""

    query: Layout
    grouping: Grouping
    keys: list[tuple[Any, ...]]
    values: np.ndarray
    mine: pd.DataFrame
    names: list[str]

    @property
    def _days(self) -> bool:
        """Whether the statement summed by day, be it for another grouping with the same axes."""
        return self.query.timed and any(set(g.axes) == set(self.grouping.axes) and g.days for g in self.query.sets)

    def rows(self) -> np.ndarray:
        """Requests per group."""
        return self.values[:, 0]

    def clustered_by(self) -> list[str]:
        """What names who repeats, per group: user, session, request or mixed."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return [self.query.naming.of(share) for share in self.values[:, 1] / self.values[:, 0]]

    def maximum(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Largest value of a column, and the rows in which it is known, per group."""
        start = HEAD + 2 * self.query.maxima.index(column)
        return self.values[:, start], np.nan_to_num(self.values[:, start + 1])

    def ratio(self, metric: Metric) -> Sums:
        """Sums of a ratio-like metric per group."""
        number = self.query.ratios.index(metric)
        start = HEAD + 2 * len(self.query.maxima) + len(FIELDS) * number
        values = {name: self.values[:, start + i] for i, name in enumerate(FIELDS)}
        for name in ("n", "y", "x"):
            values[name] = np.nan_to_num(values[name])
        named = values.pop("named")
        shares = values.pop("shares")
        return Sums(
            **values,
            named=None if np.isnan(named).all() else named,
            shares=shares if metric.kind == "rate" else None,
            by_day=None if metric.per_unit else self._by_day(number),  # a unit has several days
        )

    def _by_day(self, number: int) -> DaySums | None:
        """The sums over days of one ratio-like metric, None where days are no clusters."""
        if not self._days:
            return None
        order, found = {key: i for i, key in enumerate(self.keys)}, {}
        for part, prefix in ((DAYS, ""), (CELLS, "cells_")):
            rows = self.mine[self.mine["part"] == part]
            place = [order[k] for k in group_keys(rows, self.names)]
            for i, name in enumerate(DAY_FIELDS):
                values = np.full(len(self.keys), np.nan)
                values[place] = rows[f"v{len(DAY_FIELDS) * number + i}"].to_numpy(dtype=float)
                found[prefix + name] = values
        del found["cells_days"]
        return DaySums(**found)

    def distinct(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Distinct values of a column (NaN where it is known nowhere), and the rows in which it is known, per group."""
        part = self.mine[self.mine["part"] == DISTINCT]
        start = 2 * self.query.distinct.index(column)
        found = dict(
            zip(group_keys(part, self.names), part[[f"v{start}", f"v{start + 1}"]].to_numpy(float), strict=True)
        )
        table = np.array([found.get(k, (0.0, 0.0)) for k in self.keys], dtype=float).reshape(-1, 2)
        return np.where(table[:, 1] > 0, table[:, 0], np.nan), table[:, 1]

    def histograms(self, column: str) -> list[Histogram]:
        """Log-binned histogram of a column per group."""
        users = self._bins(SKETCH, column)
        if not self._days:
            return [_histogram(b) for b in users]
        more = zip(users, self._bins(SKETCH_DAYS, column), self._bins(SKETCH_CELLS, column), strict=True)
        return [replace(_histogram(b), by_day=DayBins(days=float(d[:, 4].sum()), square=d[:, 2], cross=d[:, 3],
                                                      cells_square=c[:, 2], cells_cross=c[:, 3]) if len(d) else None)
                for b, d, c in more]  # fmt: skip

    def _bins(self, part: int, column: str) -> list[np.ndarray]:
        """The rows of a histogram per group, bins ascending: bin, requests, square, cross, first, named, low, high."""
        mine = self.mine[(self.mine["part"] == part) & (self.mine["v0"] == self.query.sketches.index(column))]
        block = mine[[f"v{i}" for i in range(1, 9)]].to_numpy(dtype=float)
        order = {key: i for i, key in enumerate(self.keys)}
        owner = np.array([order[k] for k in group_keys(mine, self.names)], dtype=int)
        block = block[np.lexsort((block[:, 0], owner))]
        cuts = np.searchsorted(np.sort(owner), np.arange(len(self.keys) + 1))
        return [block[cuts[i] : cuts[i + 1]] for i in range(len(self.keys))]


def _histogram(rows: np.ndarray) -> Histogram:
    named = None if np.isnan(rows[:, 5]).all() else rows[:, 5]
    return Histogram(bins=rows[:, 0], count=rows[:, 1], square=rows[:, 2], cross=rows[:, 3], first=rows[:, 4],
                     named=named, low=rows[:, 6], high=rows[:, 7])  # fmt: skip
