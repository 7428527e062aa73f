"""Mergeable statistics -> value and 95 % interval. Pure numpy, vectorised over groups; knows no engine.

Users repeat, so requests are not independent: the sums of squares and products of user sums give the variance that
textbook formulas miss. With N users the t distribution has G* - 1 degrees of freedom, G* = (sum of user sizes)^2 /
sum of squared user sizes (Kish 1965; Carter, Schnepel and Steigerwald 2017). Where a limit cannot be known, it is
NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # scipy.stats takes ten times as long to import, and the command line waits for it

from kpi.measure.metrics import Metric
from kpi.stats.types import Array

LEVEL = 0.95
_Z = float(special.ndtri(0.5 + LEVEL / 2))
_TAIL = (1 - LEVEL) / 2

LOG_BASE = 1.01005  # DDSketch (Masson, Rim and Lee 2019): relative error (base - 1) / (base + 1) = 0.5 %
ZERO_BIN = -(2**15)  # the bin of values that are zero or negative


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Statistics of a ratio y / x for many groups; every field is an array of one length.

    n: rows where both are known; y, x: their sums; clusters: users among them; the others: sums over users of products
    of the user sums. Cubes may be NaN where they were not asked for.
    """

    n: Array
    y: Array
    x: Array
    clusters: Array
    yy: Array
    yx: Array
    xx: Array
    yyy: Array
    yyx: Array
    yxx: Array
    xxx: Array


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """Values with limits for many groups. low/high NaN: the data cannot bound that side."""

    value: Array
    low: Array
    high: Array
    n: Array
    clusters: Array


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Log-binned counts of one column in one group, bins ascending.

    count: rows per bin. square: increments of the sum over users of (rows of the user up to this bin)^2. cross:
    sum over rows of the size of their user. first: users whose smallest value lies in this bin. The running sums
    of these give the cluster variance of the indicator x <= q at every q at once, so one pass serves p50, p95 and
    p99.
    """

    bins: Array
    count: Array
    square: Array
    cross: Array
    first: Array


def wilson(successes: ArrayLike, n: ArrayLike, z: ArrayLike = _Z) -> tuple[Array, Array]:
    """Wilson score interval of a proportion (Wilson 1927.

    Newcombe 1998, Stat Med 17:857). n may be an effective size.
    """
    k, size, z = (np.asarray(v, dtype=float) for v in (successes, n, z))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = k / size
        centre = (p + z**2 / (2 * size)) / (1 + z**2 / size)
        half = z / (1 + z**2 / size) * np.sqrt(p * (1 - p) / size + z**2 / (4 * size**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def garwood(events: ArrayLike) -> tuple[Array, Array]:
    """Exact Poisson interval of a count (Garwood 1936); the count may be fractional (scaled for over-dispersion)."""
    k = np.asarray(events, dtype=float)
    with np.errstate(invalid="ignore"):
        low = np.where(k > 0, special.gammaincinv(np.where(k > 0, k, 1.0), _TAIL), 0.0)
    return low, special.gammaincinv(k + 1, 1 - _TAIL)


def cluster_variance(s: Sums) -> Array:
    """Variance of sum(y) - R sum(x) at R = y/x, from user sums (CR1). Shape as the groups."""
    with np.errstate(divide="ignore", invalid="ignore"):
        r = s.y / s.x
        residual = np.maximum(s.yy - 2 * r * s.yx + r**2 * s.xx, 0)
        result: Array = residual * s.clusters / (s.clusters - 1)
        return result


def design_effect(s: Sums) -> Array:
    """Variance of a rate over its binomial variance, at least 1; 1 where every request is its own user."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p = s.y / s.x
        effect = cluster_variance(s) / (p * (1 - p) * s.x)
    effect = np.where(np.isfinite(effect), np.maximum(effect, 1), 1.0)
    return np.where(_independent(s), 1.0, effect)


def rate(s: Sums) -> Estimates:
    """Share of rows with y = 1: Wilson on n / design effect; z where requests are independent, else t."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = s.y / s.x
    effective = s.x / design_effect(s)
    low, high = wilson(value * effective, effective, np.where(_independent(s), _Z, _student(s)))
    return _bounded(s, value, low, high)


def of(metric: Metric, s: Sums) -> Estimates:
    """The value of a rate, ratio or incidence with its limits."""
    if metric.kind == "ratio":
        return ratio(s, signed=metric.signed)
    return incidence(s) if metric.kind == "incidence" else rate(s)


def ratio(s: Sums, *, signed: bool = False) -> Estimates:
    """Ratio of two sums, users as clusters.

    The delta method (Deng, Knoblich and Lu 2018, section 3) on the log scale and Hall's (1992) skewness-corrected
    interval each miss on one side for heavy-tailed cost; their envelope covers (simulated in tests). Users with
    much weight enter the variance with 1 + 2 leverage, the first-order jackknife (CR3). signed: the sums may be
    negative, so the plain delta interval takes the place of the one on the log scale.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        r = s.y / s.x
        weighted = s.yyx - 2 * r * s.yxx + r**2 * s.xxx  # sum of squared residuals times user size
        second = np.maximum(s.yy - 2 * r * s.yx + r**2 * s.xx, 0)
        corrected = np.where(np.isfinite(weighted), second + 2 * np.maximum(weighted, 0) / s.x, second)
        error = np.sqrt(corrected) / np.abs(s.x)
        third = s.yyy - 3 * r * s.yyx + 3 * r**2 * s.yxx - r**3 * s.xxx
        skew = np.where(second > 0, third / s.clusters / (second / s.clusters) ** 1.5, 0.0)
        skew = np.where(np.isfinite(skew), skew, 0.0)
        t = _student(s)
        root = np.sqrt(s.clusters)
        low = r - error * root * _hall(t / root, skew, s.clusters)
        high = r - error * root * _hall(-t / root, skew, s.clusters)
        spread = t * error / np.abs(r)
        below = r - t * error if signed else r * np.exp(np.where(r > 0, -spread, spread))
        above = r + t * error if signed else r * np.exp(np.where(r > 0, spread, -spread))
        low, high = np.fmin(low, below), np.fmax(high, above)
    degenerate = error == 0
    return _bounded(s, r, np.where(degenerate, r, low), np.where(degenerate, r, high))


def incidence(s: Sums) -> Estimates:
    """Events per unit of exposure: Garwood on counts scaled by the over-dispersion among users."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = s.y / s.x
        dispersion = cluster_variance(s) / s.y
        dispersion = np.where(np.isfinite(dispersion), np.maximum(dispersion, 1), 1.0)
        low, high = garwood(s.y / dispersion)
        low, high = low * dispersion / s.x, high * dispersion / s.x
    return _bounded(s, value, low, high)


def bin_value(bins: ArrayLike) -> Array:
    """The value that stands for a bin, within 0.5 % of everything in it."""
    b = np.asarray(bins, dtype=float)
    return np.where(b == ZERO_BIN, 0.0, 2 * LOG_BASE ** (b + 1) / (LOG_BASE + 1))


def quantile(h: Histogram, q: float) -> tuple[float, float, float, float, float]:
    """(value, low, high, n, users) of the q-quantile of one histogram; NaN where unknown.

    The value follows numpy's linear rule. Limits are order statistics of a binomial on n / design effect of the
    indicator (Woodruff 1952; Deng, Knoblich and Lu 2018, section 4). No upper limit below 72 effective requests
    at q = 0.95.
    """
    n = float(h.count.sum())
    users = float(h.first.sum()) if np.isfinite(h.first).all() else np.nan
    if n == 0:
        return np.nan, np.nan, np.nan, 0.0, 0.0
    upto = np.cumsum(h.count)

    def at(rank: float) -> float:  # 1-based rank
        return float(bin_value(h.bins[np.searchsorted(upto, rank)]))

    position = (n - 1) * q
    below, share = int(np.floor(position)), position - np.floor(position)
    value = at(below + 1) * (1 - share) + at(min(below + 2, n)) * share
    if not users >= 2:
        return value, np.nan, np.nan, n, users
    effective = n / _indicator_effect(h, upto, users, int(np.searchsorted(upto, below + 1)))
    low, high = order_limits(h.bins, upto, q, effective)
    return value, low, high, n, users


def order_limits(bins: Array, upto: Array, q: float, effective: float) -> tuple[float, float]:
    """Order statistics that bound the q-quantile; NaN where there is none that far out.

    bins: ascending; upto: running counts of the requests in them, which weights may make fractional; effective: the
    requests that these are worth, users counted as clusters.
    """
    n = float(upto[-1])

    def at(rank: float) -> float:  # 1-based
        return float(bin_value(bins[min(int(np.searchsorted(upto, rank)), len(bins) - 1)]))

    size = int(np.floor(effective + 1e-9))
    lower = _binomial_quantile(_TAIL, size, q)
    upper = _binomial_quantile(1 - _TAIL, size, q) + 1
    low = at(np.floor(n * (lower - 1) / size) + 1) if lower >= 1 else np.nan
    high = at(min(np.ceil(n * upper / size), n)) if upper <= size else np.nan
    return low, high


def _binomial_quantile(tail: float, size: int, q: float) -> int:
    """Smallest count whose binomial distribution function reaches the tail."""
    if q in (0.0, 1.0):
        return int(size * q)
    if size < 1 or special.bdtr(0, size, q) >= tail:  # bdtrik has no answer here
        return 0
    k = int(np.ceil(special.bdtrik(tail, size, q)))
    return k - 1 if k > 0 and special.bdtr(k - 1, size, q) >= tail else max(k, 0)


def _indicator_effect(h: Histogram, upto: Array, users: float, index: int) -> float:
    """Design effect of the indicator x <= upper edge of a bin, with the t correction folded in."""
    n, sizes = upto[-1], h.cross.sum()
    if users == n:
        return 1.0
    kept = n * n / sizes  # effective number of users
    factor = (float(special.stdtrit(max(kept - 1, 1), 1 - _TAIL)) / _Z) ** 2
    p = upto[index] / n
    if p >= 1:
        return max(1.0, float(sizes / n)) * factor
    residual = h.square[: index + 1].sum() - 2 * p * h.cross[: index + 1].sum() + p * p * sizes
    effect = residual * users / (users - 1) / (n * p * (1 - p))
    return max(1.0, float(effect)) * factor


def _independent(s: Sums) -> Array:
    result: Array = s.clusters == s.n
    return result


def _student(s: Sums) -> Array:
    """t quantile with G* - 1 degrees of freedom; NaN with fewer than two users."""
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.where(_independent(s) | ~(s.xx > 0), s.clusters, s.x**2 / s.xx)
        freedom = np.where(s.clusters >= 2, np.maximum(kept - 1, 1), np.nan)
        result: Array = special.stdtrit(freedom, 1 - _TAIL)
        return result


def _hall(x: Array, skew: Array, clusters: Array) -> Array:
    """Inverse of Hall's cubic transformation of a studentised mean (Hall 1992, J R Stat Soc B 54:221)."""
    z = x - skew / (6 * clusters)
    safe = np.where(np.abs(skew) < 1e-9, 1.0, skew)
    result: Array = np.where(np.abs(skew) < 1e-9, z, 3 * (np.cbrt(1 + safe * z) - 1) / safe)
    return result


def _bounded(s: Sums, value: Array, low: Array, high: Array) -> Estimates:
    known = (s.n > 0) & np.isfinite(value)
    limits = known & (s.clusters >= 2)
    return Estimates(value=np.where(known, value, np.nan), low=np.where(limits, steady(low), np.nan),
                     high=np.where(limits, steady(high), np.nan), n=s.n, clusters=s.clusters)  # fmt: skip


def steady(limits: Array) -> Array:
    """Limits to nine significant digits: sums of squares are floats, whose last bits depend on the order of threads."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = 10 ** (8 - np.floor(np.log10(np.abs(limits))))
        return np.where(np.isfinite(scale) & (limits != 0), np.round(limits * scale) / scale, limits)
