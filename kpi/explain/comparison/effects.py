"""Two arms of a metric to an effect: difference and ratio with intervals, p, and the minimum detectable effect.

Both sides are estimated as everywhere (`kpi.measure.estimate`), then put together by MOVER (Zou and Donner 2008, Stat
Med 27:1693; for ratios Donner and Zou 2012, Stat Methods Med Res 21:347), with the correlation that users on both sides
bring: that of the users' linearised residuals (Deng, Knoblich and Lu 2018), and of the luck of days that both sides
share, with the terms of `kpi.measure.moments`. Of two shares without users on both sides this is Newcombe's method 10,
of pairs his method for paired proportions (1998, Stat Med 17:873 and 2635).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import special

from kpi.explain.aggregates.arm_sums import ArmSums, TermSums, standardisation_weights
from kpi.explain.comparison.worst_case import Coverage
from kpi.measure import estimate
from kpi.measure.clusters import MIXED, REQUEST
from kpi.measure.metrics import Metric
from kpi.measure.moments import DaySums, Sums, spread
from kpi.result import Plain
from kpi.stats.interval import Interval
from kpi.stats.sequential import always_valid_p, always_valid_width
from kpi.stats.types import Array

_Z = float(special.ndtri(0.975))
_POWER = float(special.ndtri(0.8))


@dataclass(frozen=True, kw_only=True)
class Value(Plain):
    """A metric on one side, in its unit. low, high: 95 %, NaN where unbounded. n: requests that count; users of them.

    freedom: of the t distribution of users and days, user_freedom: of users alone. residual, present: by user, what
    they add to the error of the value, and whether they count at all. days, cells: the same by day and by users of a
    group on a day, as their squares and products enter the variance; active: days with requests. effective: users, the
    heavy ones counted as what they are; heaviest: share of the largest; clustered_by: what names them. upper: as high,
    not stretched for a tail that few users show, for differences.
    """

    value: float
    low: float
    high: float
    n: int
    users: int
    freedom: float
    residual: Array = field(repr=False, compare=False)
    present: Array = field(repr=False, compare=False)
    user_freedom: float = 1.0
    days: Array = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    cells: Array = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    active: Array = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    effective: float = math.nan
    heaviest: float = math.nan
    clustered_by: str = "user"
    upper: float = math.nan

    def __getstate__(self) -> dict[str, Any]:
        """What another process gets: the numbers without the influence of each user."""
        return {k: v for k, v in vars(self).items() if not isinstance(v, np.ndarray)}


@dataclass(frozen=True, kw_only=True)
class Effect(Plain):
    """B against A. low, high: of the difference; ratio: B / A. smallest: the minimum detectable effect, at 80 %
    power."""

    a: Value
    b: Value
    difference: float
    low: float
    high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    p: float
    smallest: float
    users_both: int

    @property
    def moved(self) -> Interval:
        """The difference with its limits."""
        return Interval(value=self.difference, low=self.low, high=self.high)

    @property
    def clustered_by(self) -> str:
        """What names who repeats: user, session, request, mixed, or given."""
        return self.a.clustered_by if self.a.clustered_by == self.b.clustered_by else MIXED


def effect(a: Value, b: Value, *, planned: float | None = None) -> Effect:
    """Difference and ratio of two values that may share users.

    planned: the standard error at which always-valid intervals should be tightest; None for intervals of one look.
    p is that of the interval: below 0.05 exactly where the interval excludes zero (and the one of the ratio 1).
    """
    rho, wider = _shared(a, b)
    moved = b.value - a.value
    down = np.array([b.value - b.low, a.upper - a.value]) * wider
    up = np.array([b.upper - b.value, a.value - a.low]) * wider
    below, above = _length(down, rho), _length(up, rho)
    half = (below + above) / 2
    toward = below if moved > 0 else above
    freedom = _welch(down if moved > 0 else up, (b.freedom, a.freedom))
    t = _t(freedom) * wider
    if planned is None or not half > 0:
        stretch = 1.0
        p = _p(moved, toward, t, freedom)
    else:
        stretch = always_valid_width(half / _Z, planned) / _Z
        p = always_valid_p(_Z * moved / toward, half / _Z, planned) if toward > 0 else _p(moved, toward, t, freedom)
    limits = _ratio_limits(a, b, rho, stretch * wider)
    low, high = moved - stretch * below, moved + stretch * above
    smallest = half * (stretch + _POWER / t)
    ratio = b.value / a.value if a.value else math.nan
    shown = estimate.steady(np.array([moved, low, high, ratio, *limits, p, smallest]))
    moved, low, high, ratio, ratio_low, ratio_high, p, smallest = (float(v) for v in shown)
    return Effect(a=a, b=b, difference=moved, low=low, high=high,
                  ratio=ratio, ratio_low=ratio_low, ratio_high=ratio_high, p=p,
                  smallest=smallest, users_both=int((a.present & b.present).sum()))  # fmt: skip


def _p(moved: float, toward: float, t: float, freedom: float) -> float:
    if not math.isfinite(toward) or not math.isfinite(moved):
        return math.nan
    if toward == 0:
        return 1.0 if moved == 0 else 0.0
    z = t * abs(moved) / toward
    return float(2 * (special.stdtr(freedom, -z) if math.isfinite(freedom) else special.ndtr(-z)))


def _t(freedom: float) -> float:
    return float(special.stdtrit(freedom, 0.975)) if math.isfinite(freedom) else _Z


def _shared(a: Value, b: Value) -> tuple[float, float]:
    """(correlation of both values, from users and days on both sides; factor of the offsets of their limits).

    What days add to the difference is measured on the difference: luck that both sides share on a day falls away. It
    has days enough where two windows are put together, and then the offsets need not be as long as each alone.
    """
    sides = [float((v.residual**2).sum()) for v in (a, b)]
    moved = float(((b.residual - a.residual) ** 2).sum())
    alike = len(a.days) == len(b.days)  # a side without requests has no days
    daily = _days(b.days - a.days, b.cells - a.cells) if alike else 0.0
    added = [_days(v.days, v.cells) for v in (a, b)]
    squares = [side + more for side, more in zip(sides, added, strict=True)]
    size = math.sqrt(squares[0] * squares[1])
    rho = min(max((sum(squares) - moved - daily) / (2 * size), -1.0), 1.0) if size > 0 else 0.0
    if not alike or not any(added):
        return rho, 1.0
    users = _welch(np.sqrt(sides), (a.user_freedom, b.user_freedom))
    both = (a.active * b.active > 0).any()
    days = [_effective(v.active) - 1 for v in (a, b)]
    freedom = max(min(days) if both else sum(days), 1.0)
    total = (moved + daily) ** 2 / (moved**2 / users + daily**2 / freedom) if moved + daily > 0 else users
    return rho, _t(total) / _t(_welch(np.sqrt(squares), (a.freedom, b.freedom)))


def _days(days: Array, cells: Array) -> float:
    """What days add to a variance, at least 0."""
    return max(float((days**2).sum()) - float((cells**2).sum()), 0.0)


def _effective(sizes: Array) -> float:
    squares = float((sizes**2).sum())
    return float(sizes.sum()) ** 2 / squares if squares > 0 else 1.0


def _length(offsets: Array, rho: float) -> float:
    """Length of the difference of two limits' offsets that correlate."""
    first, second = offsets
    return math.sqrt(max(float(first**2 + second**2 - 2 * rho * first * second), 0.0))


def _welch(offsets: Array, freedoms: tuple[float, float]) -> float:
    """Degrees of freedom of a difference (Welch 1947)."""
    squares = offsets**2
    spread = float((squares**2 / np.maximum(freedoms, 1.0)).sum())
    return float(squares.sum() ** 2 / spread) if spread > 0 else math.inf


def _ratio_limits(a: Value, b: Value, rho: float, stretch: float) -> tuple[float, float]:
    """Limits of B / A: where the interval of B - R A just reaches zero. NaN where there is none."""
    if not a.value > 0 or b.value < 0:
        return math.nan, math.nan
    limits = []
    for of_b, of_a, sign in ((b.value - b.low, a.upper - a.value, -1.0), (b.upper - b.value, a.value - a.low, 1.0)):
        of_b, of_a = stretch * of_b, stretch * of_a
        middle = a.value * b.value - rho * of_a * of_b
        first, last = a.value**2 - of_a**2, b.value**2 - of_b**2
        inside = middle**2 - first * last
        if not inside >= 0:
            limits.append(math.nan)
        elif sign < 0:
            root = middle + math.sqrt(inside)
            limits.append(max(last / root, 0.0) if root > 0 else 0.0)
        else:
            limits.append((middle + math.sqrt(inside)) / first if first > 0 else math.nan)
    return limits[0], limits[1]


def coverage(sides: ArmSums, metric: Metric, *, only: int | None = None) -> Coverage:
    """For which share of the requests the metric is known on each side, and whether that changed.

    By users alone: what makes labels fail lasts for days, and to take that for the luck of days would hide it.
    """
    known = sides.sums[metric.name].n
    a, b = (sides.cells(i, only) for i in (0, 1))
    n, rows = ((int(v[a].sum()), int(v[b].sum())) for v in (known, sides.rows))
    if n == rows:  # all of it is known, as in most data
        return Coverage(n=n, requests=rows, change=Interval(value=0.0, low=0.0, high=0.0))
    counted = replace(sides, sums={metric.name: TermSums(known, sides.rows, sides.rows)}, by_day=None)
    e = effect(*values(counted, replace(metric, kind="rate", scale=1.0), only=only))
    return Coverage(n=n, requests=rows, change=e.moved)


# --- the values of both sides ----------------------------------------------------------------------------------------


def values(sides: ArmSums, metric: Metric, *, adjusted: bool = False, only: int | None = None) -> tuple[Value, Value]:
    """The metric on side A and B. only: in one stratum.

    adjusted: with the pooled mix of the strata that both sides have (direct standardisation): a stratum's value times
    its share of the pooled denominator, the shares taken as given; users as clusters over all strata.
    """
    a, b = (value(sides, metric, i, adjusted=adjusted, only=only) for i in (0, 1))
    return a, b


def _of_clusters(
    sides: ArmSums, metric: Metric, side: int, *, adjusted: bool, only: int | None
) -> tuple[Array, Array, Array]:
    """Numerator, denominator and rows by cluster, of one side."""
    cells = sides.weighted[metric.name] if adjusted and metric.kind == "quantile" else sides.sums[metric.name]
    mine = sides.cells(side, only)
    if adjusted:
        weights = standardisation_weights(sides.arm, sides.stratum, cells.x, cells.n)
        return _standardised(sides, cells, mine, weights[side])
    user = sides.user[mine]
    y, n = (np.bincount(user, v[mine], sides.users) for v in (cells.y, cells.n))
    return y, n if cells.x is cells.n else np.bincount(user, cells.x[mine], sides.users), n


def _standardised(sides: ArmSums, cells: TermSums, mine: Array, weights: Array) -> tuple[Array, Array, Array]:
    """User sums whose ratio is the standardised value and whose residuals are those within the strata."""
    stratum, user = sides.stratum[mine], sides.user[mine]
    y, x, each = cells.y[mine], cells.x[mine], weights[sides.stratum[mine]]
    size = len(weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.bincount(stratum, y, minlength=size) / np.bincount(stratum, x, minlength=size)
        rows = np.bincount(stratum, cells.n[mine], minlength=size)
        lost = np.sqrt(rows / (rows - 1))  # each stratum's own value fits its rows better than the truth does
        residual = np.where(each > 0, each * lost[stratum] * (y - value[stratum] * x), 0.0)
    exposure = np.bincount(user, each * x, minlength=sides.users)
    total = float(exposure.sum())
    whole = float((each * y).sum()) / total if total else np.nan
    n = np.bincount(user, np.where(each > 0, cells.n[mine], 0.0), minlength=sides.users)
    return np.bincount(user, residual, minlength=sides.users) + whole * exposure, exposure, n


def value(sides: ArmSums, metric: Metric, side: int, *, adjusted: bool = False, only: int | None = None) -> Value:
    """The metric on one side."""
    y, x, n = _of_clusters(sides, metric, side, adjusted=adjusted, only=only)
    ranked = (sides.ranked_weighted if adjusted else sides.ranked).get(metric.name, (None, None))[side]
    present, total, rows = n > 0, float(x.sum()), float(n.sum())
    if not total or (metric.kind == "quantile" and ranked is None):
        return Value(value=np.nan, low=np.nan, high=np.nan, n=round(rows), users=int(present.sum()),
                     freedom=1.0, residual=np.zeros(len(x)), present=present)  # fmt: skip
    named, by = _named(sides, present, x)
    r = float(y.sum()) / total
    residual = (y - r * x) * named / float((x * named).sum())
    days, active, by_day = _by_day(sides, metric, side, r, total, adjusted=adjusted, only=only)
    sums = _sums(y, x, n, named, rate=metric.kind == "rate", weighted=adjusted, by_day=by_day)
    if metric.kind == "quantile":  # as of a histogram, which has no cubes
        sums = replace(sums, yyx=np.full(1, np.nan))
    found = spread(sums)
    if metric.kind == "quantile":
        assert ranked is not None
        assert metric.q is not None
        value, limits = ranked.value, (np.nan, np.nan)
        if sums.clusters[0] >= 2:
            limits = estimate.order_limits(ranked.ranks, metric.q, estimate.effective_size(sums))
        upper = limits[1]
    else:
        told = estimate.of(metric, sums)
        value, limits = float(told.value[0]), (float(told.low[0]), float(told.high[0]))
        upper = limits[1] if told.plain_high is None else float(told.plain_high[0])
    value, low, high, upper = (v * metric.scale for v in (value, *limits, upper))
    return Value(value=value, low=low, high=high, n=round(rows), users=int((present & (named > 0)).sum()),
                 freedom=float(found.freedom[0]) if sums.clusters[0] >= 2 else 1.0, residual=residual, present=present,
                 user_freedom=max(float(sums.effective[0]) - 1, 1.0), days=days[0], cells=days[1], active=active,
                 upper=upper, effective=float(sums.effective[0]), heaviest=float(x.max()) / total,
                 clustered_by=by)  # fmt: skip


def _named(sides: ArmSums, present: Array, x: Array) -> tuple[Array, str]:
    """(1 for each user that tells the variance, what names who repeats): those known by name, where a side has such."""
    if sides.named is None:
        return np.ones(len(x)), sides.clustered_by
    mine = sides.named[present]
    if not mine.any():
        return np.ones(len(x)), REQUEST
    return sides.named.astype(float), sides.clustered_by if mine.all() else MIXED


_Days = tuple[tuple[Array, Array], Array, DaySums | None]


def _by_day(
    sides: ArmSums, metric: Metric, side: int, r: float, total: float, *, adjusted: bool, only: int | None
) -> _Days:
    """((residuals by day, by group of users on a day), x by day, sums of squares): scaled so that the difference of
    their squares is what days add to the variance of the value. Where days are not summed by stratum, an adjusted value
    has the days of the raw one."""
    nothing = np.zeros(0)
    if sides.by_day is None:
        return (nothing, nothing), nothing, None
    cells, day = sides.by_day
    there = None if only is None else cells.strata.index(sides.strata[only])
    y, x, n = _of_clusters(cells, metric, side, adjusted=adjusted and len(cells.strata) > 1, only=there)
    own, size = float(y.sum()) / float(x.sum()), total / float(x.sum())
    y, x = (y + (r - own) * x) * size, x * size  # to the value and the size that are looked at
    day_y, day_x, day_n = (np.bincount(day, v) for v in (y, x, n))
    found = DaySums(days=_one((day_n > 0).sum()), yy=_one((day_y**2).sum()), yx=_one((day_y * day_x).sum()),
                    xx=_one((day_x**2).sum()), cells_yy=_one((y * y).sum()), cells_yx=_one((y * x).sum()),
                    cells_xx=_one((x * x).sum()))  # fmt: skip
    few, share = found.factors()
    scale = math.sqrt(float(share[0])) / total
    return ((day_y - r * day_x) * scale * math.sqrt(float(few[0])), (y - r * x) * scale), day_x, found


def _one(v: Any) -> Array:
    return np.array([float(v)])


def _sums(y: Array, x: Array, n: Array, named: Array, *, rate: bool, weighted: bool, by_day: DaySums | None) -> Sums:
    """As the estimators take them. Weighted rows are never independent: n beyond the users says so."""
    rows, users = float(n.sum()), int(((n > 0) & (named > 0)).sum())
    some = None if named.all() else _one((x * named).sum())
    shares = _one((y * y * named / np.where(x > 0, x, 1)).sum()) if rate and not weighted else None
    totals = {"y": _one(y.sum()), "x": _one(x.sum()), "heaviest": _one(x.max())}
    y, x = y * named, x * named
    squares = {"yy": y * y, "yx": y * x, "xx": x * x, "yyy": y**3, "yyx": y * y * x, "yxx": y * x * x, "xxx": x**3}
    return Sums(n=_one(rows + 1 if weighted else rows), clusters=_one(users), **totals, named=some, shares=shares,
                by_day=by_day, **{k: _one(v.sum()) for k, v in squares.items()})  # fmt: skip
