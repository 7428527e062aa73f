"""Two arms of a metric to an effect: difference and ratio with intervals, p, and the minimum detectable effect.

Both sides are estimated as everywhere (`kpi.measure.estimate`), then put together by MOVER (Zou and Donner 2008, Stat
Med 27:1693; for ratios Donner and Zou 2012, Stat Methods Med Res 21:347), with the correlation that users on both sides
bring: that of the users' linearised residuals (Deng, Knoblich and Lu 2018). Of two shares without users on both sides
this is Newcombe's method 10, of pairs his method for paired proportions (1998, Stat Med 17:873 and 2635).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import special

from kpi.explain.aggregates.arm_sums import ArmSums, Ranked, TermSums, standardisation_weights
from kpi.explain.comparison.worst_case import Coverage
from kpi.measure import estimate
from kpi.measure.metrics import Metric
from kpi.stats.interval import Interval
from kpi.stats.sequential import always_valid_p, always_valid_width
from kpi.stats.types import Array

_Z = float(special.ndtri(0.975))
_POWER = float(special.ndtri(0.8))


@dataclass(frozen=True, kw_only=True)
class Value:
    """A metric on one side, in its unit. low, high: 95 %, NaN where unbounded. n: requests that count; users of them.

    freedom: of the t distribution. residual, present: by user, what they add to the error of the value, and whether
    they count at all.
    """

    value: float
    low: float
    high: float
    n: int
    users: int
    freedom: float
    residual: Array = field(repr=False)
    present: Array = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Effect:
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


def effect(a: Value, b: Value, *, planned: float | None = None) -> Effect:
    """Difference and ratio of two values that may share users.

    planned: the standard error at which always-valid intervals should be tightest; None for intervals of one look.
    p is that of the interval: below 0.05 exactly where the interval excludes zero (and the one of the ratio 1).
    """
    rho = _correlation(a.residual, b.residual)
    moved = b.value - a.value
    down = np.array([b.value - b.low, a.high - a.value])
    up = np.array([b.high - b.value, a.value - a.low])
    below, above = _length(down, rho), _length(up, rho)
    half = (below + above) / 2
    toward = below if moved > 0 else above
    freedom = _welch(down if moved > 0 else up, (b.freedom, a.freedom))
    t = float(special.stdtrit(freedom, 0.975)) if math.isfinite(freedom) else _Z
    if planned is None or not half > 0:
        stretch = 1.0
        p = _p(moved, toward, t, freedom)
    else:
        stretch = always_valid_width(half / _Z, planned) / _Z
        p = always_valid_p(_Z * moved / toward, half / _Z, planned) if toward > 0 else _p(moved, toward, t, freedom)
    limits = _ratio_limits(a, b, rho, stretch)
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


def _correlation(a: Array, b: Array) -> float:
    size = math.sqrt(float((a**2).sum()) * float((b**2).sum()))
    return min(max(float((a * b).sum()) / size, -1.0), 1.0) if size > 0 else 0.0


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
    for of_b, of_a, sign in ((b.value - b.low, a.high - a.value, -1.0), (b.high - b.value, a.value - a.low, 1.0)):
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


def coverage(sides: ArmSums, metric: Metric, *, keep: Array | None = None) -> Coverage:
    """For which share of the requests the metric is known on each side, and whether that changed."""
    known = sides.sums[metric.name].n
    a, b = (sides.arm == i if keep is None else (sides.arm == i) & keep for i in (0, 1))
    n, rows = ((int(v[a].sum()), int(v[b].sum())) for v in (known, sides.rows))
    if n == rows:  # all of it is known, as in most data
        return Coverage(n=n, requests=rows, change=Interval(value=0.0, low=0.0, high=0.0))
    counted = replace(sides, sums={metric.name: TermSums(known, sides.rows, sides.rows)})
    e = effect(*values(counted, replace(metric, kind="rate", scale=1.0), keep=keep))
    return Coverage(n=n, requests=rows, change=Interval(value=e.difference, low=e.low, high=e.high))


# --- the values of both sides ----------------------------------------------------------------------------------------


def values(sides: ArmSums, metric: Metric, *, adjusted: bool = False, keep: Array | None = None) -> tuple[Value, Value]:
    """The metric on side A and B, from the cells that `keep` chooses.

    adjusted: with the pooled mix of the strata that both sides have (direct standardisation): a stratum's value times
    its share of the pooled denominator, the shares taken as given; users as clusters over all strata.
    """
    quantile = metric.kind == "quantile"
    cells = sides.weighted[metric.name] if quantile and adjusted else sides.sums[metric.name]
    ranked = (sides.ranked_weighted if adjusted else sides.ranked).get(metric.name, (None, None))
    weights = standardisation_weights(sides.arm, sides.stratum, cells.x, cells.n) if adjusted else None
    found = []
    for i in (0, 1):
        mine = sides.arm == i if keep is None else (sides.arm == i) & keep
        if weights is None:
            y, x, n = (np.bincount(sides.user[mine], v[mine], sides.users) for v in (cells.y, cells.x, cells.n))
        else:
            y, x, n = _standardised(sides, cells, mine, weights[i])
        found.append(_value(metric, y, x, n, ranked[i], weighted=adjusted))
    return found[0], found[1]


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


def _value(metric: Metric, y: Array, x: Array, n: Array, ranked: Ranked | None, *, weighted: bool) -> Value:
    present = n > 0
    users, total, rows = int(present.sum()), float(x.sum()), float(n.sum())
    if not total or (metric.kind == "quantile" and ranked is None):
        return Value(value=np.nan, low=np.nan, high=np.nan, n=round(rows), users=users,
                     freedom=1.0, residual=np.zeros(len(x)), present=present)  # fmt: skip
    r = float(y.sum()) / total
    residual = (y - r * x) / total
    kept = float(users) if users == rows and not weighted else total**2 / float((x**2).sum())
    if metric.kind == "quantile":
        assert ranked is not None
        assert metric.q is not None
        alone = users == rows and not weighted
        low, high = _quantile_limits(ranked, metric.q, r, residual, users, kept, independent=alone)
        value = ranked.value
    else:
        found = estimate.of(metric, _sums(y, x, users, rows, weighted=weighted))
        value, low, high = (float(v[0]) for v in (found.value, found.low, found.high))
    value, low, high = (v * metric.scale for v in (value, low, high))
    return Value(value=value, low=low, high=high, n=round(rows), users=users,
                 freedom=max(kept - 1, 1.0), residual=residual, present=present)  # fmt: skip


def _sums(y: Array, x: Array, users: int, rows: float, *, weighted: bool) -> estimate.Sums:
    """As the estimators take them. Weighted rows are never independent: n beyond the users says so."""

    def one(v: float) -> Array:
        return np.array([float(v)])

    return estimate.Sums(n=one(rows + 1 if weighted else rows), y=one(y.sum()), x=one(x.sum()), clusters=one(users),
                         yy=one((y * y).sum()), yx=one((y * x).sum()), xx=one((x * x).sum()), yyy=one((y**3).sum()),
                         yyx=one((y * y * x).sum()), yxx=one((y * x * x).sum()), xxx=one((x**3).sum()))  # fmt: skip


def _quantile_limits(
    ranked: Ranked, q: float, share: float, residual: Array, users: int, kept: float, *, independent: bool
) -> tuple[float, float]:
    """Order statistics on n / design effect of the indicator, as `kpi.measure.estimate.quantile`."""
    n = float(ranked.upto[-1])
    if users < 2:
        return np.nan, np.nan
    deff = 1.0
    if not independent:
        factor = (float(special.stdtrit(max(kept - 1, 1), 0.975)) / _Z) ** 2
        variance = float((residual**2).sum()) * users / (users - 1)
        deff = factor * max(1.0, variance * n / (share * (1 - share)) if 0 < share < 1 else n / kept)
    return estimate.order_limits(ranked.bins, ranked.upto, q, n / deff)
