"""Quantiles of groups beside the whole: their values as `kpi.summarise` has them, their tests by a share.

What a user adds to the error of a quantile is (1{x > Q} - (1 - q)) / f(Q): but for the density f, which is hard to
estimate, that of the share of requests above Q (Deng, Knoblich and Lu 2018, section 4). So groups are compared by the
share of their requests above the quantile of the whole. Where no group differs, it is the same share in every group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sqlalchemy as sa
from scipy import special

from kpi.explain.cells import Array
from kpi.explain.groups import Contrast
from kpi.explain.ranges import LEVEL, chance, drawn, simultaneous
from kpi.explain.ratios import ENDS
from kpi.measure import estimate
from kpi.measure.estimate import LOG_BASE, ZERO_BIN, Estimates, Histogram
from kpi.measure.metrics import Metric, Row
from kpi.measure.slice import Resolved
from kpi.measure.statistics import Cells, Grouping
from kpi.measure.summary import collect, label
from kpi.store.engines import Source

_INT = sa.BigInteger()
Key = tuple[str, ...]
Five = tuple[float, float, float, float, float]
_UNKNOWN: Five = (np.nan, np.nan, np.nan, 0.0, 0.0)
_NOBODY = Histogram(**{f: np.zeros(0) for f in ("bins", "count", "square", "cross", "first")})


@dataclass(frozen=True, kw_only=True)
class Tail:
    """One quantile metric over a slice, in the stored unit.

    above: the rate of requests above the quantile of the whole. whole: arrays of one. levels, points: distribution of
    the whole, the share up to each bin and its value; at: the share up to the quantile. groups: by dimensions, then
    values, the five numbers of `estimate.quantile`. layers: histogram by value of the dimension held fixed.
    """

    metric: Metric
    above: Metric
    whole: Estimates
    levels: Array
    points: Array
    at: float
    groups: dict[Key, dict[Key, Five]]
    layers: dict[str, Histogram]

    def of(self, key: Key, values: Sequence[Key]) -> Estimates:
        """The quantiles of these groups, NaN where one has no value."""
        found = np.array([self.groups[key].get(v, _UNKNOWN) for v in values], dtype=float).reshape(-1, 5)
        value, low, high, n, users = found.T
        return Estimates(value=value, low=low, high=high, n=n, clusters=np.nan_to_num(users))

    def through(self, shares: Array) -> Array:
        """Quantiles of groups that are like the whole but slower by a factor, which puts so much more than its share
        above its quantile (negative: faster).

        The factor is read off below the quantile, where there are values enough; it is 10 at most.
        """
        here = float(np.interp(self.at, self.levels, self.points))
        below = np.interp(self.at - np.abs(shares), self.levels, self.points)
        factor = here / np.maximum(below, here / 10) if here > 0 else np.ones(shares.shape)
        return here * np.where(shares > 0, factor, 1 / factor)

    def expected(self, key: Key, values: Sequence[Key]) -> Array:
        """The quantile of the whole; for an intersection the differences of both its sides, added up."""
        whole = float(self.whole.value[0])
        found = np.full(len(values), whole)
        if len(key) == 1:
            return found
        for i, name in enumerate(key):
            side = self.of((name,), [(v[i],) for v in values]).value
            found += np.nan_to_num(side - whole)
        return np.maximum(found, 0)

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
        assert self.metric.q is not None
        found = np.full(share.shape[1], np.nan)
        for g, upto in enumerate(mixed):
            if len(upto) and upto[-1] > 0:
                found[g] = estimate.bin_value(bins[np.searchsorted(upto, self.metric.q * upto[-1] - 1e-12)])
        return found


def tails(
    source: Source, metrics: Sequence[Metric], keys: Sequence[Key], strata: str | None, *, resolved: Resolved
) -> dict[str, Tail]:
    """Every quantile metric over the whole, the groups of each key and of its sides, and the strata. One query."""
    if not metrics:
        return {}
    sides = [(d,) for key in keys for d in key]
    wanted: list[Key] = list(dict.fromkeys([(), *keys, *sides]))
    groupings = [Grouping(by=k) for k in wanted]
    groupings += [Grouping(by=(strata,), intervals=(strata,) in wanted)] if strata is not None else []
    cells = collect(
        source, list(metrics), filters=resolved.filters, window=resolved.window, tz=resolved.slice.tz,
        groupings=groupings,
    )  # fmt: skip
    return {m.name: _tail(m, dict(zip(wanted, cells, strict=False)), cells[-1] if strata else None) for m in metrics}


def _tail(metric: Metric, cells: dict[Key, Cells], layers: Cells | None) -> Tail:
    assert metric.column is not None
    assert metric.q is not None
    groups: dict[Key, dict[Key, Five]] = {}
    for key, found in cells.items():
        histograms = _histograms(found, metric.column)
        groups[key] = {values: estimate.quantile(h, metric.q) for values, h in histograms.items()}
    total = _histograms(cells[()], metric.column).get((), _NOBODY)
    upto = np.cumsum(total.count)
    n = float(total.count.sum())
    place = int(np.searchsorted(upto, math.floor((n - 1) * metric.q) + 1)) if n else 0  # as `estimate.quantile` has it
    value, low, high, known, users = (np.array([v]) for v in groups[()].get((), _UNKNOWN))
    return Tail(
        metric=metric, above=_above(metric, float(total.bins[place]) if n else ZERO_BIN),
        whole=Estimates(value=value, low=low, high=high, n=known, clusters=np.nan_to_num(users)),
        levels=upto / n if n else np.ones(1), points=estimate.bin_value(total.bins) if n else np.full(1, np.nan),
        at=float(upto[place] / n) if n else 1.0, groups=groups,
        layers={v: h for (v,), h in _histograms(layers, metric.column).items()} if layers is not None else {},
    )  # fmt: skip


def _histograms(cells: Cells, column: str) -> dict[Key, Histogram]:
    """By values of the grouping, unknown ones as "(none)"."""
    keys = [tuple(label(v) for v in values) for values in cells.keys]
    return dict(zip(keys, cells.histograms(column), strict=True))


def _above(metric: Metric, bin_: float) -> Metric:
    """The share of requests beyond the bin in which the quantile of the whole lies; the name stays."""
    column = metric.column
    assert column is not None
    edge = 0 if bin_ == ZERO_BIN else math.ceil(LOG_BASE ** (bin_ + 1)) - 1

    def one(row: Row) -> sa.ColumnElement:
        nothing = sa.cast(sa.null(), _INT)
        return sa.case((row[column].is_not(None), sa.literal_column("1", _INT)), else_=nothing)

    def beyond(row: Row) -> sa.ColumnElement:
        value, nothing = row[column], sa.cast(sa.null(), _INT)
        return sa.case(
            (value > sa.literal_column(str(edge), _INT), sa.literal_column("1", _INT)),
            (value.is_not(None), sa.literal_column("0", _INT)), else_=nothing,
        )  # fmt: skip

    return replace(metric, kind="rate", column=None, q=None, y=beyond, x=one)


# --- what the page shows of them -------------------------------------------------------------------------------------


def columns(
    tail: Tail,
    e: Estimates,
    raw: Contrast,
    *,
    held: Contrast | None,
    usual: Array | None,
    expected: Array,
    counted: Array,
) -> dict[str, Array]:
    """The columns of `kpi.disparity` for groups with quantiles e, in the stored unit.

    raw: contrast of the share above the whole's quantile; held: that within strata. usual: the quantiles that the whole
    would have with the strata of each group. A difference has the limits of the value, narrower or wider by the ratio
    of their errors in the share.
    """
    own = np.sqrt(np.diag(raw.own))
    below, beyond = e.value - e.low, e.high - e.value
    whole = float(tail.whole.value[0])
    by = np.nan_to_num(np.sqrt(np.maximum(np.diag(raw.spread), 0)) / own, nan=1.0, posinf=1.0)
    difference, ratio = e.value - whole, e.value / whole
    found: dict[str, Array] = {
        "value": e.value, "low": e.low, "high": e.high, "difference": difference,
        "difference_low": difference - by * below, "difference_high": difference + by * beyond, "ratio": ratio,
        "ratio_low": ratio * (e.low / e.value) ** by, "ratio_high": ratio * (e.high / e.value) ** by,
        **_to_best(tail.metric, e, raw, counted), **{f"adjusted{end}": np.full(len(own), np.nan) for end in ENDS},
    }  # fmt: skip
    if held is not None and usual is not None:
        by = np.nan_to_num(np.sqrt(np.maximum(np.diag(held.spread), 0)) / own, nan=1.0, posinf=1.0)
        adjusted = e.value - usual
        limits = {"adjusted_low": adjusted - by * below, "adjusted_high": adjusted + by * beyond}
        found |= {"adjusted": adjusted, **limits}
    variance = ((below + beyond) / (2 * special.ndtri(1 - LEVEL / 2))) ** 2
    return {**found, "expected": expected, "shrunk": drawn(e.value, variance, expected, counted)}


def _to_best(metric: Metric, e: Estimates, raw: Contrast, counted: Array) -> dict[str, Array]:
    if counted.sum() < 2:
        return {f"{n}{end}": np.full(len(e.value), np.nan) for n in ("to_best", "ratio_to_best") for end in ENDS}
    at = np.flatnonzero(counted)
    b = int(at[e.value[at].argmin() if metric.direction == "down" else e.value[at].argmax()])
    low, high = _apart(e, raw, b, int(counted.sum()))
    logs = Estimates(value=np.log(e.value), low=np.log(e.low), high=np.log(e.high), n=e.n, clusters=e.clusters)
    low_ratio, high_ratio = (np.exp(v) for v in _apart(logs, raw, b, int(counted.sum())))
    return {
        "to_best": e.value - e.value[b], "to_best_low": low, "to_best_high": high,
        "ratio_to_best": e.value / e.value[b], "ratio_to_best_low": low_ratio, "ratio_to_best_high": high_ratio,
    }  # fmt: skip


def _apart(e: Estimates, raw: Contrast, other: int, groups: int) -> tuple[Array, Array]:
    """Limits of value - value[other] that hold for all pairs at once, out of both limits (Zou and Donner 2008).

    Their correlation is that of the shares above the whole's quantile.
    """
    own = np.diag(raw.own)
    with np.errstate(divide="ignore", invalid="ignore"):
        tied = np.nan_to_num(raw.own[:, other] / np.sqrt(own * own[other])).clip(-1, 1)
        df = np.minimum(raw.df, raw.df[other])
        wider = simultaneous(groups, df) / special.stdtrit(df, 1 - LEVEL / 2)
    below, beyond = wider * (e.value - e.low), wider * (e.high - e.value)
    theirs_below, theirs_beyond = wider * (e.value - e.low)[other], wider * (e.high - e.value)[other]
    apart = e.value - e.value[other]
    both = lambda a, b: np.sqrt(np.maximum(a * a + b * b - 2 * tied * a * b, 0))  # noqa: E731
    itself = np.arange(len(own)) == other
    low, high = apart - both(below, theirs_beyond), apart + both(beyond, theirs_below)
    return np.where(itself, 0.0, low), np.where(itself, 0.0, high)


def gap(
    tail: Tail, e: Estimates, raw: Contrast, *, held: Contrast | None, usual: Array | None, counted: Array
) -> dict[str, Any]:
    """The gap between the largest and the smallest quantile, in the stored unit; low, high: positions of the groups.

    p says how often groups without a difference show such a range of the share above the whole's quantile; noise and
    square are that range as a distance of quantiles, of groups like the whole but slower or faster (`Tail.through`).
    """
    at = np.flatnonzero(counted)
    value = e.value[at]
    least, most = int(at[value.argmin()]), int(at[value.argmax()])
    found = chance(raw.difference[at], raw.null[np.ix_(at, at)], raw.null_df[at], told=tail.through)
    low, high = (float(v[most]) for v in _apart(e, raw, least, len(at)))
    adjusted = adjusted_p = np.nan
    if held is not None and usual is not None:
        adjusted = float(np.ptp(value - usual[at]))
        adjusted_p = chance(held.difference[at], held.null[np.ix_(at, at)], held.df[at]).p
    return {
        "least": least, "most": most, "observed": float(np.ptp(value)), "low": low, "high": high, "noise": found.noise,
        "p": found.p, "square": found.square, "adjusted": adjusted, "adjusted_p": adjusted_p,
    }  # fmt: skip
