"""Rates, means, ratios and incidences of groups beside the whole: differences, ratios, the gap, and their limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from kpi.explain.aggregates.user_sums import GroupContrast
from kpi.measure.estimate import Estimates
from kpi.measure.metrics import Metric
from kpi.stats.range_test import range_test, shrink_empirical_bayes, simultaneous
from kpi.stats.types import Array

ENDS = ("", "_low", "_high")


def columns(
    metric: Metric, e: Estimates, raw: GroupContrast, *, held: GroupContrast | None, expected: Array, counted: Array
) -> dict[str, Array]:
    """The columns of `kpi.disparity` for groups with values e. held: the contrast within strata."""
    t = special.stdtrit(raw.df, 0.975)
    error = np.sqrt(np.diag(raw.spread))
    log_error = np.sqrt(np.maximum(_log_variance(raw), 0))
    ratio = raw.value / raw.whole
    return {"value": e.value, "low": e.low, "high": e.high, "difference": raw.difference,
            "difference_low": raw.difference - t * error, "difference_high": raw.difference + t * error,
            "ratio": ratio, "ratio_low": ratio * np.exp(-t * log_error), "ratio_high": ratio * np.exp(t * log_error),
            **_to_best(metric, raw, counted), **_adjusted(held, len(ratio)), "expected": expected,
            "shrunk": shrink_empirical_bayes(raw.value, np.diag(raw.own), expected, counted)}  # fmt: skip


def _log_variance(c: GroupContrast) -> Array:
    """Variance of log(value / whole), by the delta method; NaN where the value is zero."""
    own, shared = np.diag(c.own), np.diag(c.shared)
    of_whole = np.diag(c.spread) - own + 2 * shared
    found: Array = own / c.value**2 - 2 * shared / (c.value * c.whole) + of_whole / c.whole**2
    return found


def _to_best(metric: Metric, raw: GroupContrast, counted: Array) -> dict[str, Array]:
    """Difference and ratio to the best group (the highest where no way is better); limits for all pairs at once."""
    if counted.sum() < 2:
        return {f"{n}{end}": np.full(len(raw.value), np.nan) for n in ("to_best", "ratio_to_best") for end in ENDS}
    at = np.flatnonzero(counted)
    b = int(at[raw.value[at].argmin() if metric.direction == "down" else raw.value[at].argmax()])
    own = np.diag(raw.own)
    critical = simultaneous(len(at), np.minimum(raw.df, raw.df[b]))
    value = raw.value - raw.value[b]
    half = critical * np.sqrt(np.maximum(own + own[b] - 2 * raw.own[:, b], 0))
    ratio = raw.value / raw.value[b]
    variance = own / raw.value**2 + own[b] / raw.value[b] ** 2 - 2 * raw.own[:, b] / (raw.value * raw.value[b])
    log_half = critical * np.sqrt(np.maximum(variance, 0))
    half, log_half = (np.where(np.arange(len(own)) == b, 0.0, h) for h in (half, log_half))
    return {"to_best": value, "to_best_low": value - half, "to_best_high": value + half, "ratio_to_best": ratio,
            "ratio_to_best_low": ratio * np.exp(-log_half), "ratio_to_best_high": ratio * np.exp(log_half)}  # fmt: skip


def _adjusted(c: GroupContrast | None, count: int) -> dict[str, Array]:
    if c is None:
        return {f"adjusted{e}": np.full(count, np.nan) for e in ENDS}
    half = special.stdtrit(c.df, 0.975) * np.sqrt(np.maximum(np.diag(c.spread), 0))
    return {"adjusted": c.difference, "adjusted_low": c.difference - half, "adjusted_high": c.difference + half}


def extremes(
    value: Array, shown: Array, raw: GroupContrast, *, counted: Array,
    held: GroupContrast | None, adjusted: Array | None, seen: Callable[[Array], Array] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The gap between the largest and the smallest of the values `shown`, without limits. least, most: those groups.

    noise: what equal groups exceed in one of 20 cases; p: how often they show such a gap; square: their mean squared
    gap. adjusted, adjusted_p: the same of the differences within strata. seen: as of `range_test`.
    """
    at = np.flatnonzero(counted)
    found = range_test(raw.difference[at], raw.null[np.ix_(at, at)], raw.null_df[at], seen=seen)
    apart, apart_p = np.nan, np.nan
    if held is not None and adjusted is not None:
        apart = float(np.ptp(adjusted[at]))
        apart_p = range_test(held.difference[at], held.null[np.ix_(at, at)], held.df[at]).p
    return {"least": int(at[value[at].argmin()]), "most": int(at[value[at].argmax()]),
            "observed": float(np.ptp(shown[at])), "noise": found.noise, "p": found.p, "square": found.square,
            "adjusted": apart, "adjusted_p": apart_p}  # fmt: skip


def gap(raw: GroupContrast, *, held: GroupContrast | None, counted: Array) -> dict[str, Any]:
    """The gap between the largest and the smallest value, with Tukey-Kramer limits."""
    found = extremes(raw.value, raw.difference, raw, counted=counted, held=held,
                     adjusted=None if held is None else held.difference)  # fmt: skip
    least, most, own = found["least"], found["most"], raw.own
    critical = simultaneous(int(counted.sum()), min(raw.df[least], raw.df[most]))
    half = float(critical * np.sqrt(max(own[least, least] + own[most, most] - 2 * own[least, most], 0)))
    return {**found, "low": found["observed"] - half, "high": found["observed"] + half}
