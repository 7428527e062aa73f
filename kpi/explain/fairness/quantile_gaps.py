"""Quantiles of groups beside the whole: differences, ratios and the gap, in the unit of the metric, with their limits.

What a user adds to the error of a quantile is (1{x > Q} - (1 - q)) / f(Q): but for the density f, which is hard to
estimate, that of the share of requests above Q (Deng, Knoblich and Lu 2018, section 4). So groups are compared by the
share of their requests above the quantile of the whole. Where no group differs, it is the same share in every group.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from kpi.explain.aggregates.quantile_sums import Tail
from kpi.explain.aggregates.user_sums import GroupContrast
from kpi.explain.fairness.mean_gaps import ENDS, extremes
from kpi.measure.estimate import Estimates
from kpi.measure.metrics import Metric
from kpi.stats.range_test import LEVEL, shrink_empirical_bayes, simultaneous
from kpi.stats.types import Array


def columns(
    tail: Tail, e: Estimates, raw: GroupContrast, *, held: GroupContrast | None,
    usual: Array | None, expected: Array, counted: Array,
) -> dict[str, Array]:  # fmt: skip
    """The columns of `kpi.disparity` for groups with quantiles e, in the stored unit.

    raw: contrast of the share above the whole's quantile; held: that within strata. usual: the quantiles that the whole
    would have with the strata of each group. A difference has the limits of the value, narrower or wider by the ratio
    of their errors in the share.
    """
    own = np.sqrt(np.diag(raw.own))
    below, beyond = e.value - e.low, e.high - e.value
    whole = tail.value
    by = np.nan_to_num(np.sqrt(np.maximum(np.diag(raw.spread), 0)) / own, nan=1.0, posinf=1.0)
    difference, ratio = e.value - whole, e.value / whole
    found: dict[str, Array] = {"value": e.value, "low": e.low, "high": e.high, "difference": difference,
                               "difference_low": difference - by * below, "difference_high": difference + by * beyond,
                               "ratio": ratio, "ratio_low": ratio * (e.low / e.value) ** by,
                               "ratio_high": ratio * (e.high / e.value) ** by, **_to_best(tail.metric, e, raw, counted),
                               **{f"adjusted{end}": np.full(len(own), np.nan) for end in ENDS}}  # fmt: skip
    if held is not None and usual is not None:
        by = np.nan_to_num(np.sqrt(np.maximum(np.diag(held.spread), 0)) / own, nan=1.0, posinf=1.0)
        adjusted = e.value - usual
        limits = {"adjusted_low": adjusted - by * below, "adjusted_high": adjusted + by * beyond}
        found |= {"adjusted": adjusted, **limits}
    variance = ((below + beyond) / (2 * special.ndtri(1 - LEVEL / 2))) ** 2
    return {**found, "expected": expected, "shrunk": shrink_empirical_bayes(e.value, variance, expected, counted)}


def _to_best(metric: Metric, e: Estimates, raw: GroupContrast, counted: Array) -> dict[str, Array]:
    if counted.sum() < 2:
        return {f"{n}{end}": np.full(len(e.value), np.nan) for n in ("to_best", "ratio_to_best") for end in ENDS}
    at = np.flatnonzero(counted)
    b = int(at[e.value[at].argmin() if metric.direction == "down" else e.value[at].argmax()])
    low, high = _apart(e, raw, b, int(counted.sum()))
    logs = Estimates(value=np.log(e.value), low=np.log(e.low), high=np.log(e.high), n=e.n, clusters=e.clusters)
    low_ratio, high_ratio = (np.exp(v) for v in _apart(logs, raw, b, int(counted.sum())))
    return {"to_best": e.value - e.value[b], "to_best_low": low, "to_best_high": high,
            "ratio_to_best": e.value / e.value[b], "ratio_to_best_low": low_ratio,
            "ratio_to_best_high": high_ratio}  # fmt: skip


def _apart(e: Estimates, raw: GroupContrast, other: int, groups: int) -> tuple[Array, Array]:
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

    def both(a: Array, b: Array) -> Array:
        length: Array = np.sqrt(np.maximum(a * a + b * b - 2 * tied * a * b, 0))
        return length

    itself = np.arange(len(own)) == other
    low, high = apart - both(below, theirs_beyond), apart + both(beyond, theirs_below)
    return np.where(itself, 0.0, low), np.where(itself, 0.0, high)


def gap(
    tail: Tail, e: Estimates, raw: GroupContrast, *, held: GroupContrast | None, usual: Array | None, counted: Array
) -> dict[str, Any]:
    """The gap between the largest and the smallest quantile, in the stored unit; low, high: positions of the groups.

    p says how often groups without a difference show such a range of the share above the whole's quantile; noise and
    square are that range as a distance of quantiles, of groups like the whole but slower or faster (`Tail.through`).
    """
    found = extremes(e.value, e.value, raw, counted=counted, held=held,
                     adjusted=None if usual is None else e.value - usual, seen=tail.through)  # fmt: skip
    low, high = (float(v[found["most"]]) for v in _apart(e, raw, found["least"], int(counted.sum())))
    return {**found, "low": low, "high": high}
