"""Mergeable statistics -> value and 95 % interval. Pure numpy, vectorised over groups; knows no engine.

Users repeat and days differ, so requests are not independent: `kpi.measure.moments` has the variance that textbook
formulas miss. With N users the t distribution has G* - 1 degrees of freedom, G* = (sum of user sizes)^2 / sum of
squared user sizes (Carter, Schnepel and Steigerwald 2017). Where a limit cannot be known, it is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # scipy.stats takes ten times as long to import, and the command line waits for it

from kpi.measure.metrics import Metric
from kpi.measure.moments import DaySums, Spread, Sums, design_effect, dispersion, spread
from kpi.stats.types import Array

LEVEL = 0.95
_Z = float(special.ndtri(0.5 + LEVEL / 2))
_TAIL = (1 - LEVEL) / 2

LOG_BASE = 1.01005  # DDSketch (Masson, Rim and Lee 2019): relative error (base - 1) / (base + 1) = 0.5 %
ZERO_BIN = -(2**15)  # the bin of values that are zero or negative


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """Values with limits for many groups. low/high NaN: the data cannot bound that side.

    effective: users who carry it, the heavy ones counted as what they are; heaviest: share of the largest user; None
    where that is not known. plain_high: the upper limit before it is stretched for the tail that few users show: in a
    difference both sides lack it alike.
    """

    value: Array
    low: Array
    high: Array
    n: Array
    clusters: Array
    effective: Array | None = None
    heaviest: Array | None = None
    plain_high: Array | None = None


@dataclass(frozen=True, kw_only=True)
class DayBins:
    """As square and cross of a `Histogram`, over days and over groups of users by day. days: with requests."""

    days: float
    square: Array
    cross: Array
    cells_square: Array
    cells_cross: Array


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Log-binned counts of one column in one group, bins ascending.

    count: rows per bin. square: increments of the sum over users of (rows of the user up to this bin)^2. cross:
    sum over rows of the size of their user. first: users whose smallest value lies in this bin. The running sums
    of these give the cluster variance of the indicator x <= q at every q at once, so one pass serves p50, p95 and
    p99. named: requests of the users that these are over, where others are not known by name, else None. low, high: the
    smallest and the largest value in each bin, None where only the bins are known.
    """

    bins: Array
    count: Array
    square: Array
    cross: Array
    first: Array
    named: Array | None = None
    by_day: DayBins | None = None
    low: Array | None = None
    high: Array | None = None

    @property
    def effective(self) -> float:
        """Users who carry it, heavy ones counted as what they are."""
        known, squares = (self.count if self.named is None else self.named).sum(), self.cross.sum()
        return float(known**2 / squares) if squares > 0 else np.nan


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


def rate(s: Sums) -> Estimates:
    """Share of rows with y = 1: Wilson on n / design effect; z where requests are independent, else t."""
    found = spread(s)
    with np.errstate(divide="ignore", invalid="ignore"):
        value, effective = s.y / s.x, s.x / design_effect(s)
    low, high = wilson(value * effective, effective, np.where(s.alone & ~(found.day > 0), _Z, _student(found)))
    return _bounded(s, value, low, high)


def of(metric: Metric, s: Sums) -> Estimates:
    """The value of a rate, ratio or incidence with its limits."""
    if metric.kind == "ratio":
        return ratio(s, signed=metric.signed)
    return incidence(s) if metric.kind == "incidence" else rate(s)


def ratio(s: Sums, *, signed: bool = False) -> Estimates:
    """Ratio of two sums, users as clusters.

    The delta method (Deng, Knoblich and Lu 2018, section 3) on the log scale and Hall's (1992) skewness-corrected
    interval each miss on one side for heavy-tailed cost; their envelope covers (simulated in tests), its upper limit
    stretched on the log scale while the tail that few users show is likely to go on. signed: the sums may be negative,
    so the plain delta interval takes the place of the one on the log scale.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        r, found = s.y / s.x, spread(s)
        second = found.second
        error = np.sqrt(found.total) / np.abs(s.x)
        third = s.yyy - 3 * r * s.yyx + 3 * r**2 * s.yxx - r**3 * s.xxx
        skew = np.where(second > 0, third / s.clusters / (second / s.clusters) ** 1.5, 0.0)
        skew = np.where(np.isfinite(skew), skew, 0.0)
        t = _student(found)
        root = np.sqrt(s.clusters)
        low = r - error * root * _hall(t / root, skew, s.clusters)
        high = r - error * root * _hall(-t / root, skew, s.clusters)
        wide = t * error / np.abs(r)
        below = r - t * error if signed else r * np.exp(np.where(r > 0, -wide, wide))
        above = r + t * error if signed else r * np.exp(np.abs(wide))
        far = above if signed else r * np.exp(np.abs(wide) * _tail(s, r, second, skew))
        low, high, far = np.fmin(low, below), np.fmax(high, above), np.fmax(high, far)
    degenerate = error == 0
    limited = _bounded(s, r, np.where(degenerate, r, low), np.where(degenerate, r, far))
    plain = np.where(np.isfinite(limited.high), steady(np.where(degenerate, r, high)), np.nan)
    return replace(limited, plain_high=plain)


def incidence(s: Sums) -> Estimates:
    """Events per unit of exposure: Garwood on counts scaled by the over-dispersion among users and days."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value, over = s.y / s.x, dispersion(s)
        low, high = garwood(s.y / over)
        low, high = low * over / s.x, high * over / s.x
    return _bounded(s, value, low, high)


def bin_value(bins: ArrayLike) -> Array:
    """The value that stands for a bin, within 0.5 % of everything in it."""
    b = np.asarray(bins, dtype=float)
    return np.where(b == ZERO_BIN, 0.0, 2 * LOG_BASE ** (b + 1) / (LOG_BASE + 1))


class Ranks:
    """Values by rank, from counts in bins: exact where a bin holds one value, and as if spread evenly where several."""

    def __init__(self, bins: Array, count: Array, low: Array | None = None, high: Array | None = None) -> None:
        """bins: ascending; count: requests in them, which weights may make fractional; low, high: as of `Histogram`."""
        self.low: Array = bin_value(bins) if low is None else low
        self.high: Array = bin_value(bins) if high is None else high
        self.count, self.upto = count, np.cumsum(count)

    def __len__(self) -> int:
        return len(self.upto)

    @property
    def n(self) -> float:
        return float(self.upto[-1])

    def bin_of(self, rank: float) -> int:
        """rank: from 1."""
        return min(int(np.searchsorted(self.upto, rank - 1e-9)), len(self.upto) - 1)

    def at(self, rank: float) -> float:
        """The value of a rank, from 1."""
        i = self.bin_of(rank)
        before, more = self.upto[i] - self.count[i], self.count[i] - 1
        share = min(max((rank - before - 1) / more, 0.0), 1.0) if more > 1e-9 else 0.5
        return float(self.low[i] + (self.high[i] - self.low[i]) * share)

    def quantile(self, q: float) -> float:
        """By numpy's linear rule."""
        position = (self.n - 1) * q
        below = math.floor(position)
        return self.at(below + 1) * (1 - position + below) + self.at(min(below + 2, self.n)) * (position - below)


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
    ranks = Ranks(h.bins, h.count, h.low, h.high)
    value = ranks.quantile(q)
    if not users >= 2:
        return value, np.nan, np.nan, n, users
    place = ranks.bin_of(math.floor((n - 1) * q) + 1)
    low, high = order_limits(ranks, q, effective_size(_indicator(h, users, place)))
    return value, low, high, n, users


def order_limits(ranks: Ranks, q: float, effective: float) -> tuple[float, float]:
    """Order statistics that bound the q-quantile; NaN where there is none that far out.

    effective: the requests that these are worth, users counted as clusters.
    """
    size = int(np.floor(effective + 1e-9))
    lower = _binomial_quantile(_TAIL, size, q)
    upper = _binomial_quantile(1 - _TAIL, size, q) + 1
    low = ranks.at(np.floor(ranks.n * (lower - 1) / size) + 1) if lower >= 1 else np.nan
    high = ranks.at(min(np.ceil(ranks.n * upper / size), ranks.n)) if upper <= size else np.nan
    return low, high


def _binomial_quantile(tail: float, size: int, q: float) -> int:
    """Smallest count whose binomial distribution function reaches the tail."""
    if q in (0.0, 1.0):
        return int(size * q)
    if size < 1 or special.bdtr(0, size, q) >= tail:  # bdtrik has no answer here
        return 0
    k = int(np.ceil(special.bdtrik(tail, size, q)))
    return k - 1 if k > 0 and special.bdtr(k - 1, size, q) >= tail else max(k, 0)


def _indicator(h: Histogram, users: float, index: int) -> Sums:
    """Sums of "x <= the upper edge of a bin", as arrays of one."""

    def sums(square: Array, cross: Array) -> tuple[Array, Array, Array]:
        upto = slice(index + 1)
        return square[upto].sum(keepdims=True), cross[upto].sum(keepdims=True), cross.sum(keepdims=True)

    n, unasked = h.count.sum(keepdims=True), np.full(1, np.nan)
    yy, yx, xx = sums(h.square, h.cross)
    by_day = None
    if h.by_day is not None:
        (day_yy, day_yx, day_xx), (cells_yy, cells_yx, cells_xx) = (
            sums(h.by_day.square, h.by_day.cross), sums(h.by_day.cells_square, h.by_day.cells_cross)
        )  # fmt: skip
        by_day = DaySums(days=np.array([h.by_day.days]), yy=day_yy, yx=day_yx, xx=day_xx,
                         cells_yy=cells_yy, cells_yx=cells_yx, cells_xx=cells_xx)  # fmt: skip
    return Sums(n=n, y=h.count[: index + 1].sum(keepdims=True), x=n, clusters=np.array([users]), yy=yy, yx=yx, xx=xx,
                yyy=unasked, yyx=unasked, yxx=unasked, xxx=unasked, by_day=by_day,
                named=None if h.named is None else h.named.sum(keepdims=True))  # fmt: skip


def effective_size(s: Sums) -> float:
    """How many independent requests the indicator of a quantile is worth, the t distribution counted in."""
    found, effect = spread(s), design_effect(s, cautious=False)
    if s.alone[0] and not found.day[0] > 0:
        return float(s.n[0])
    if not s.y[0] < s.x[0]:  # the last bin: it tells nothing of how users differ
        effect = np.maximum(1.0, s.xx / s.known) * s.x / s.known
    return float((s.x / effect * (_Z / _student(found)) ** 2)[0])


def _student(found: Spread) -> Array:
    """t quantile; NaN with fewer than two users."""
    result: Array = special.stdtrit(found.freedom, 1 - _TAIL)
    return result


def _tail(s: Sums, r: Array, second: Array, skew: Array) -> Array:
    """How far the upper limit of a skewed sum is stretched: a sample of few users seldom holds its own tail.

    By the skewness of a sum of so many users, the larger of what they show and of a lognormal law of their spread (Zhou
    and Gao 2000, Am Stat 54:100, for the question; the factors by simulation, tests/bench/coverage.py).
    """
    relative = np.sqrt(second * s.clusters) / s.known / np.abs(r)
    likely = np.fmax(skew, 3 * relative + relative**3) / np.sqrt(s.clusters)
    result: Array = np.clip(1 + 0.8 * (likely - 0.13), 1, 1.35)
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
    with np.errstate(divide="ignore", invalid="ignore"):
        heaviest = np.full(len(s.n), np.nan) if s.heaviest is None else s.heaviest / s.x
    return Estimates(value=np.where(known, value, np.nan), low=np.where(limits, steady(low), np.nan),
                     high=np.where(limits, steady(high), np.nan), n=s.n, clusters=s.clusters,
                     effective=s.effective, heaviest=heaviest)  # fmt: skip


def steady(limits: Array) -> Array:
    """Limits to nine significant digits: sums of squares are floats, whose last bits depend on the order of threads."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = 10 ** (8 - np.floor(np.log10(np.abs(limits))))
        return np.where(np.isfinite(scale) & (limits != 0), np.round(limits * scale) / scale, limits)
