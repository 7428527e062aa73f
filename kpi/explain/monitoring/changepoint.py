"""Since when? A running watch with a known rate of false alarms, and the change points of a series that is complete.

The watch is Page's (1954) CUSUM on standardised daily values, users as clusters: it adds up what a mean of a week would
dilute. Looking back, optimal partitioning finds all change points of a series at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from kpi.errors import MetricError
from kpi.measure.metrics import Metric
from kpi.measure.own_metrics import COMPARABLE, metric_of
from kpi.measure.slice import Slice
from kpi.measure.summary import resolve, summarise
from kpi.narrate.drift import watch_sentence
from kpi.narrate.wording import scope_of
from kpi.result import Plain, Result
from kpi.stats.types import Array
from kpi.store.engines import Source

# Days between false alarms of one KPI in theory, so that 20 KPIs raise one a quarter; with a level that must be learned
# and users who repeat, it is 1.4 to 2.6 a quarter (simulated, 500 to 2,000 requests a day).
QUIET_DAYS = 1800.0
LEARNED = 14  # days of a level before the watch begins
LAG = 7  # days before a value that do not count to what it is compared with
_STEPS = 3.0  # times the smallest difference that matters is what the watch is tuned to find soonest
_Z = 1.959964
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


@dataclass(frozen=True, kw_only=True)
class Alarm(Plain):
    """A change that the watch noticed. at: bucket in which it was noticed; since: first bucket of the change.

    value, was: the metric from `since` to `at` and before, in its unit. requests: that were needed to notice it.
    """

    at: datetime
    since: datetime
    direction: str
    value: float
    was: float
    requests: int


@dataclass(frozen=True, kw_only=True)
class Outlier(Plain):
    """A bucket that is far from those before and after it, which agree. usual: the median of its neighbours."""

    at: datetime
    value: float
    usual: float
    requests: int


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Watch(Result):
    """What the watch saw. series: one row a bucket: bucket, value, n, z, up, down (the two sums); limit: of the sums.

    outliers: single odd buckets, which neither raise an alarm nor hide a change: they are not in the series. smallest:
    the change it is tuned to, in the unit of the metric; quiet: mean buckets between false alarms.
    """

    main = "series"
    columns = ("bucket", "value", "n", "z", "up", "down")
    metric: str
    alarms: tuple[Alarm, ...]
    outliers: tuple[Outlier, ...]
    series: pd.DataFrame
    smallest: float
    limit: float
    quiet: float
    unit: str = ""
    scope: str = ""

    @property
    def sentence(self) -> str:
        """When the level changed, and by how much."""
        return watch_sentence(self)


def detect(
    source: Source, metric_: str | Metric, slice: Slice | None = None, *,
    every: str = "day", smallest: float | None = None, quiet: float = QUIET_DAYS,
) -> Watch:  # fmt: skip
    """Watch a metric over the buckets of a slice and tell when its level changed. One query.

    Args:
        source: Where the rows are.
        metric_: Name or `Metric` that has an interval.
        slice: The rows to look at; all of them when None.
        every: "hour", "day", "week" or "month".
        smallest: Change in the unit of the metric to find soonest, by default three times what matters.
        quiet: Buckets between two false alarms on average.

    Returns:
        A `Watch`: alarms, and a frame with the statistic in each bucket.

    Raises:
        MetricError: For a metric without an interval.

    Example:
        >>> found = kpi.detect(source, "task_success", kpi.Slice(last="all"))
        >>> found.metric, len(found.series) > 0
        ('task_success', True)
    """
    chosen = metric_of(source, metric_)
    if chosen.kind not in COMPARABLE:
        raise MetricError("watch.kind", f"{chosen.name!r} has no interval",
                          hint="Watch a share, mean, ratio or quantile.")  # fmt: skip
    looked = slice or Slice(last="all")
    days = summarise(source, [chosen], looked, every=every)
    days = days[days["value"].notna() & (days["high"] > days["low"])].sort_values("start", ignore_index=True)
    values, n = days["value"].to_numpy(float), days["n"].to_numpy(float)
    errors = (days["high"] - days["low"]).to_numpy(float) / (2 * _Z)
    usual = float(np.median(values)) if len(values) else math.nan
    step = smallest or _STEPS * chosen.matters * (abs(usual) if chosen.relative else 1.0)
    odd = [(i, _usual(values, i)) for i in outliers(values) if i + 1 < len(values)]  # the last may begin a change
    odd = [(i, usual) for i, usual in odd if abs(values[i] - usual) > _FAR * errors[i]]
    named = [Outlier(at=days["bucket"][i].to_pydatetime(), value=float(values[i]), usual=usual, requests=int(n[i]))
             for i, usual in odd]  # fmt: skip
    kept = np.setdiff1d(np.arange(len(values)), [i for i, _ in odd])
    buckets = days["bucket"][kept].reset_index(drop=True)
    found = _watched(chosen.name, buckets, values[kept], errors[kept], n[kept], step, quiet, tuple(named))
    return replace(found, unit=chosen.unit, scope=scope_of(resolve(source, looked), int(n.sum())))


def _watched(
    name: str, buckets: pd.Series, values: Array, errors: Array, n: Array, step: float, quiet: float,
    odd: tuple[Outlier, ...],
) -> Watch:  # fmt: skip
    alarms: list[Alarm] = []
    z, up, down = (np.full(len(values), np.nan) for _ in range(3))
    start, limit = 0, math.nan
    while len(values) - start > LEARNED:
        found = self_starting(values[start:], errors[start:], n[start:])
        unit = step / float(np.median(errors[start:][:LEARNED]))
        limit = cusum_limit(unit / 2, quiet)
        high, low = sums(found, unit / 2)
        z[start:], up[start:], down[start:] = found, high, low
        over = np.flatnonzero(np.fmax(high, low) > limit)
        if not len(over):
            break
        at = int(over[0])
        rising = bool(high[at] > limit)
        since = _since((high if rising else low)[: at + 1])
        first, last = start + since, start + at
        z[last + 1 :] = up[last + 1 :] = down[last + 1 :] = np.nan
        alarms.append(Alarm(at=buckets[last].to_pydatetime(), since=buckets[first].to_pydatetime(),
                            direction="up" if rising else "down", requests=int(n[first : last + 1].sum()),
                            value=float(np.average(values[first : last + 1], weights=n[first : last + 1])),
                            was=float(np.average(values[start:first], weights=n[start:first]))))  # fmt: skip
        start = first  # the new level is learned from where it began
        if last + 1 - start > LEARNED:
            start = last + 1 - LEARNED  # a slow slide is not looked at twice
    series = pd.DataFrame({"bucket": buckets, "value": values, "n": n.astype(int), "z": z, "up": up, "down": down})
    return Watch(
        metric=name, alarms=tuple(alarms), outliers=odd, series=series, smallest=step, limit=limit, quiet=quiet
    )


def self_starting(values: ArrayLike, errors: ArrayLike, n: ArrayLike) -> Array:
    """Each value against the mean of those up to a week before it, in standard errors; NaN for the first LEARNED.

    No baseline must be known (Hawkins 1987), and a change does not hide itself in the mean before it is noticed.
    errors: user-robust standard errors, pooled to one variance a request because each alone is noisy; n: requests.
    """
    x, s, size = (np.asarray(v, dtype=float) for v in (values, errors, n))
    z = np.full(len(x), np.nan)
    now = np.arange(LEARNED, len(x))
    known = np.maximum(now - LAG, LEARNED) - 1
    total = np.cumsum(size)
    mean = (np.cumsum(x * size) / total)[known]
    variance = (np.cumsum(s**2 * size**2) / total)[now - 1]
    z[now] = (x[now] - mean) / np.sqrt(variance * (1 / size[now] + 1 / total[known]))
    return z


def sums(z: ArrayLike, k: float) -> tuple[Array, Array]:
    """The two CUSUMs max(0, S + z - k) and max(0, S - z - k); unknown values leave them as they are."""
    steps = np.nan_to_num(np.asarray(z, dtype=float), nan=0.0)
    known = np.isfinite(np.asarray(z, dtype=float))
    up, down = np.zeros(len(steps)), np.zeros(len(steps))
    high = low = 0.0
    for i, (step, counts) in enumerate(zip(steps, known, strict=True)):
        if counts:
            high, low = max(0.0, high + step - k), max(0.0, low - step - k)
        up[i], down[i] = high, low
    return up, down


def _since(sum_: Array) -> int:
    """First position of the run above zero that led to the last one: Page's estimate of when the change began."""
    zero = np.flatnonzero(sum_ <= 0)
    return int(zero[-1]) + 1 if len(zero) else 0


def average_run_length(h: float, k: float, shift: float = 0.0) -> float:
    """Mean number of values until one of two CUSUMs of standard normal values exceeds h, their mean being `shift`.

    From Page's integral equation by Gauss-Legendre quadrature; both sides as in van Dobben de Bruyn (1968).
    """
    sides = [_one_sided(h, k, mean) for mean in (shift, -shift)]
    return 1 / (1 / sides[0] + 1 / sides[1])


def _one_sided(h: float, k: float, mean: float) -> float:
    points, weights = h * (_NODES + 1) / 2, h * _WEIGHTS / 2
    starts = np.concatenate([[0.0], points])
    density = np.exp(-((points[None, :] - starts[:, None] + k - mean) ** 2) / 2) / math.sqrt(2 * math.pi)
    kernel = np.concatenate([special.ndtr(k - mean - starts)[:, None], density * weights[None, :]], axis=1)
    lengths = np.linalg.solve(np.eye(len(starts)) - kernel, np.ones(len(starts)))
    return float(lengths[0])


@lru_cache(maxsize=256)
def cusum_limit(k: float, quiet: float) -> float:
    """The limit h at which two CUSUMs with reference value k run `quiet` values on average without a change."""
    low, high = 0.01, 60.0
    for _ in range(50):
        middle = (low + high) / 2
        length = average_run_length(middle, k)
        low, high = (middle, high) if 0 < length < quiet else (low, middle)
    return high


def change_points(values: ArrayLike, *, penalty: float | None = None) -> list[int]:
    """Positions at which the mean of a complete series changes: first index of each new level.

    Exact optimal partitioning by squares on the series in units of its standard deviation, with the modified BIC:
    3 log n a change plus log of each length. O(n^2); NaNs are skipped, and so are `outliers` that could be a level of
    their own or widen the standard deviation: a single odd value neither makes a change nor hides one.

    Args:
        values: The series, one-dimensional.
        penalty: Of one change, by default 3 log n.

    Returns:
        Positions, ascending; empty where nothing changes.

    Source:
        Jackson et al. 2005; Zhang and Siegmund 2007.

    Example:
        >>> kpi.change_points([1.0, 1.1, 0.9, 1.0, 1.1, 5.0, 5.1, 4.9, 5.0, 5.1])
        [5]
    """
    given = np.array(values, dtype=float)
    for i in _counting(given, outliers(given)):
        given[i] = np.nan
    kept = np.flatnonzero(np.isfinite(given))
    x = given[kept]
    n = len(x)
    if n < 3 or not np.ptp(x) > 0:
        return []
    x = (x - x.mean()) / x.std(ddof=1)
    cost = 3 * math.log(n) if penalty is None else penalty
    one, two = np.concatenate([[0.0], np.cumsum(x)]), np.concatenate([[0.0], np.cumsum(x * x)])
    best, last = np.full(n + 1, -cost), np.zeros(n + 1, dtype=int)
    for end in range(1, n + 1):
        start = np.arange(end)
        size = end - start
        total = best[:end] + two[end] - two[:end] - (one[end] - one[:end]) ** 2 / size + np.log(size) + cost
        last[end] = int(np.argmin(total))
        best[end] = total[last[end]]
    found: list[int] = []
    end = n
    while end > 0:
        end = int(last[end])
        if end:
            found.append(int(kept[end]))
    return found[::-1]


def _counting(given: Array, odd: list[int]) -> list[int]:
    """Of odd values those whose square outweighs two changes, or adds a twentieth to the variance of the others."""
    others = np.delete(given, odd)
    n, variance = np.isfinite(given).sum(), np.nanvar(others) if len(others) else 0.0
    return [i for i in odd if (given[i] - _usual(given, i)) ** 2 > min(6 * math.log(n), n / 20) * variance]


_FAR, _BESIDE, _NEAR = 6.0, 3.0, 3  # robust standard deviations; times the usual swing; values on a side


def outliers(values: ArrayLike) -> list[int]:
    """Positions of single values that are far from those before and after them, which agree.

    Far is more than six robust standard deviations (1.4826 times the median absolute swing; Hampel 1974) from the
    neighbours and from the medians of three values on each side, all in one direction, and three times what the series
    swings usually: what recurs, such as Sundays, is a pattern. NaNs are skipped.

    Args:
        values: The series, one-dimensional.

    Returns:
        Positions, ascending.

    Example:
        >>> kpi.outliers([1.0, 1.1, 0.9, 1.0, 9.0, 1.1, 1.0, 0.9, 1.1, 1.0])
        [4]
    """
    given = np.asarray(values, dtype=float)
    kept = np.flatnonzero(np.isfinite(given))
    x = given[kept]
    if len(x) < 5:
        return []
    swing = np.array([_swing(x, i) for i in range(len(x))])
    size = np.sort(np.abs(swing))
    steps = np.abs(np.diff(x))
    scale = 1.4826 * float(np.median(steps)) / math.sqrt(2)
    far = np.abs(swing) > max(_FAR * scale, _BESIDE * float(size[int(0.95 * (len(x) - 1))]), 1e-9 * np.ptp(x))
    return [int(i) for i in kept[far]]


def _swing(x: Array, i: int) -> float:
    """How far a value is beyond all of its neighbours and their medians; 0 where it lies among them."""
    sides = [s for s in (x[max(i - _NEAR, 0) : i][::-1], x[i + 1 : i + 1 + _NEAR]) if len(s)]
    away = x[i] - np.array([v for s in sides for v in (s[0], np.median(s))])
    return float(away[np.abs(away).argmin()]) if (away > 0).all() or (away < 0).all() else 0.0


def _usual(x: Array, i: int) -> float:
    return float(np.nanmedian(np.r_[x[max(i - _NEAR, 0) : i], x[i + 1 : i + 1 + _NEAR]]))
