"""Distributions of groups out of one query, and the shares that the query after it sums by user.

The first query counts requests by group and log bin, which gives every quantile. The second knows the quantiles: it
sums, by user, the requests above that of the whole and those up to that of their own group. From these follow the
limits that `kpi.summarise` has, without a window over every user and bin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import sqlalchemy as sa

from kpi.explain.aggregates.user_sums import GroupLayout, UserSums
from kpi.measure import estimate
from kpi.measure.cells import Cells, Grouping
from kpi.measure.columns import dimension
from kpi.measure.estimate import LOG_BASE, ZERO_BIN, Estimates, Histogram
from kpi.measure.metrics import Metric, Row, Term
from kpi.measure.slice import NONE_VALUE, Resolved
from kpi.measure.summary import collect, label
from kpi.stats.types import Array
from kpi.store.engines import Source
from kpi.store.expressions import Expression, null, only, whole, within

Key = tuple[str, ...]
_NOBODY = Histogram(bins=np.zeros(0), count=np.zeros(0), square=np.zeros(0), cross=np.zeros(0), first=np.zeros(0))


@dataclass(frozen=True, kw_only=True)
class Tail:
    """One quantile metric over a slice, in the stored unit.

    groups: counts by dimensions, then values; () is the whole. layers: counts by value of the dimension held fixed.
    above: the rate of requests above the quantile of the whole; below: by dimensions, that of requests up to the
    quantile of their own group.
    """

    metric: Metric
    groups: Mapping[Key, Mapping[Key, Histogram]]
    layers: Mapping[str, Histogram]
    above: Metric
    below: Mapping[Key, Metric]

    @property
    def rates(self) -> tuple[Metric, ...]:
        """What has to be summed by user."""
        return (self.above, *self.below.values())

    @property
    def total(self) -> Histogram:
        return self.groups[()].get((), _NOBODY)

    @property
    def q(self) -> float:
        assert self.metric.q is not None
        return self.metric.q

    @property
    def value(self) -> float:
        """The quantile of the whole; NaN where nothing is known."""
        return estimate.quantile(self.total, self.q)[0]

    def of(self, key: Key, values: Sequence[Key], layout: GroupLayout, sums: UserSums) -> Estimates:
        """The quantiles of groups, with limits, as `kpi.summarise` has them; NaN where one has no value."""
        terms = sums.terms[self.below[key].name]
        y, x = (layout.groups.sums(layout.entries.sums(v)) for v in (terms.y, terms.x))
        total = layout.groups.totals
        moments = np.stack([total(y * y), total(y * x), total(x * x), total((x > 0).astype(float))], axis=1)
        found = self.groups[key]
        return _estimates([_limited(found.get(v, _NOBODY), self.q, m) for v, m in zip(values, moments, strict=True)])

    def whole(self, sums: UserSums) -> Estimates:
        """The quantile of all requests, as arrays of one."""
        terms = sums.terms[self.above.name]
        above, x = (np.bincount(sums.user, v, minlength=sums.users) for v in (terms.y, terms.x))
        y = x - above
        moments = np.array([(y * y).sum(), (y * x).sum(), (x * x).sum(), (x > 0).sum()], dtype=float)
        return _estimates([_limited(self.total, self.q, moments)])

    def through(self, shares: Array) -> Array:
        """Quantiles of groups that are like the whole but slower by a factor, which puts so much more than its share
        above its quantile (negative: faster).

        The factor is read off below the quantile, where there are values enough; it is 10 at most.
        """
        h = self.total
        levels, points = np.cumsum(h.count) / h.count.sum(), estimate.bin_value(h.bins)
        at = _place(h, self.q)
        here = float(points[at])
        below = np.interp(levels[at] - np.abs(shares), levels, points)
        factor = here / np.maximum(below, here / 10) if here > 0 else np.ones(shares.shape)
        return here * np.where(shares > 0, factor, 1 / factor)

    def expected(self, key: Key, values: Sequence[Key]) -> Array:
        """The quantile of the whole; for an intersection the differences of both its sides, added up."""
        whole = self.value
        found = np.full(len(values), whole)
        if len(key) == 1:
            return found
        for i, name in enumerate(key):
            side = {v: estimate.quantile(h, self.q)[0] - whole for (v,), h in self.groups[(name,)].items()}
            found += np.nan_to_num([side.get(v[i], np.nan) for v in values])
        result: Array = np.maximum(found, 0)
        return result

    def usual(self, strata: Sequence[str], share: Array) -> Array:
        """Quantiles of the whole with the strata of each group: of its distributions by stratum, weighted by `share`.

        share: strata x groups; a last row beyond `strata` is that of all rarer values.
        """
        bins = np.unique(np.concatenate([h.bins for h in self.layers.values()])) if self.layers else np.zeros(0)
        mass = np.zeros((len(share), len(bins)))
        place = {v: i for i, v in enumerate(strata)}
        for value, h in self.layers.items():
            mass[place.get(value, len(strata)), np.searchsorted(bins, h.bins)] += h.count
        with np.errstate(divide="ignore", invalid="ignore"):
            mass = np.nan_to_num(mass / mass.sum(axis=1, keepdims=True))
        mixed = np.cumsum(np.einsum("sg,sb->gb", share, mass), axis=1)
        found = np.full(share.shape[1], np.nan)
        for g, upto in enumerate(mixed):
            if len(upto) and upto[-1] > 0:
                found[g] = estimate.bin_value(bins[np.searchsorted(upto, self.q * upto[-1] - 1e-12)])
        return found


def tails(
    source: Source, metrics: Sequence[Metric], keys: Sequence[Key], strata: str | None, *, resolved: Resolved
) -> dict[str, Tail]:
    """Every quantile metric over the whole, the groups of each key and of its sides, and the strata. One query."""
    if not metrics:
        return {}
    sides = [(d,) for key in keys for d in (*key, *([strata] if strata else []))]
    wanted: list[Key] = list(dict.fromkeys([(), *keys, *sides]))
    cells = collect(source, list(metrics), filters=resolved.filters, window=resolved.window, tz=resolved.slice.tz,
                    groupings=[Grouping(by=k, intervals=False) for k in wanted])  # fmt: skip
    return {m.name: _tail(source, m, dict(zip(wanted, cells, strict=True)), keys, strata) for m in metrics}


def _tail(source: Source, metric: Metric, cells: dict[Key, Cells], keys: Sequence[Key], strata: str | None) -> Tail:
    column, q = metric.column, metric.q
    assert column is not None
    assert q is not None
    groups = {key: _histograms(found, column) for key, found in cells.items()}
    total = groups[()].get((), _NOBODY)
    top = whole(_edge(total, q) if len(total.bins) else 0)
    below = {}
    for key in dict.fromkeys(keys):
        edges = {v: _edge(h, q) for v, h in groups[key].items() if h.count.sum() >= max(metric.min_n, 1)}
        below[key] = _rate(metric, f"{metric.name} of {key!r}", _Upto(source, column, key, edges))
    return Tail(metric=metric, groups=groups, layers={v: h for (v,), h in groups[(strata,)].items()} if strata else {},
                above=_rate(metric, metric.name, lambda row: within(row[column] > top, row[column])),
                below=below)  # fmt: skip


def _histograms(cells: Cells, column: str) -> dict[Key, Histogram]:
    """By values of the grouping, unknown ones as "(none)"."""
    keys = [tuple(label(v) for v in values) for values in cells.keys]
    return dict(zip(keys, cells.histograms(column), strict=True))


def _place(h: Histogram, q: float) -> int:
    """The bin in which the quantile lies, as `estimate.quantile` has it."""
    return int(np.searchsorted(np.cumsum(h.count), math.floor((h.count.sum() - 1) * q) + 1))


def _edge(h: Histogram, q: float) -> int:
    """The largest stored value in that bin."""
    found = float(h.bins[_place(h, q)])
    return 0 if found == ZERO_BIN else math.ceil(LOG_BASE ** (found + 1)) - 1


def _limited(h: Histogram, q: float, moments: Array) -> tuple[float, ...]:
    """`estimate.quantile` of counts and the sums over users that its limits need.

    moments: of y^2, y x and x^2, for y requests of a user up to the bin of the quantile among x; and the users.
    """
    if not len(h.bins):
        return estimate.quantile(h, q)
    place, end = _place(h, q), len(h.bins)
    square, cross, first = np.zeros(end), np.zeros(end), np.zeros(end)
    square[place], cross[place], first[0] = moments[0], moments[1], moments[3]
    cross[-1] += moments[2] - moments[1]
    return estimate.quantile(replace(h, square=square, cross=cross, first=first), q)


def _estimates(found: Sequence[tuple[float, ...]]) -> Estimates:
    value, low, high, n, users = np.array(found, dtype=float).reshape(-1, 5).T
    return Estimates(value=value, low=low, high=high, n=n, clusters=users)


def _rate(metric: Metric, name: str, y: Term) -> Metric:
    column = metric.column
    assert column is not None
    return replace(metric, name=name, kind="rate", column=None, q=None, y=y,
                   x=lambda row: only(row[column].is_not(None), whole(1)))  # fmt: skip


@dataclass(frozen=True)
class _Upto:
    """1 where a request is at or below the edge of its own group, NULL where that has none."""

    source: Source
    column: str
    key: Key
    edges: Mapping[Key, int]

    def __call__(self, row: Row) -> Expression:
        edge = self._edge(self.key, self.edges)
        return within(row[self.column] <= edge, row[self.column], edge)

    def _edge(self, key: Key, edges: Mapping[Key, int]) -> Expression:
        if not key:
            return whole(edges[()])
        column = dimension(self.source, key[0])
        inner: dict[str, dict[Key, int]] = {}
        for values, edge in edges.items():
            inner.setdefault(values[0], {})[values[1:]] = edge
        whens = [(column.is_(None) if value == NONE_VALUE else column == value, self._edge(key[1:], rest))
                 for value, rest in inner.items()]  # fmt: skip
        return sa.case(*whens, else_=null()) if whens else null()
