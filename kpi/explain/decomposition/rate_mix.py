"""A change of a rate, mean or ratio, split exactly: did the groups change (rate), or how many came from each (mix)?

For values g of a dimension with shares w of the denominator and rates r, the change is a sum over g of (w1 + w0) / 2 *
(r1 - r0), the rate effect, and (w1 - w0) * ((r1 + r0) / 2 - R), the mix effect (Kitagawa 1955; Das Gupta 1993, the
symmetric form, which is also the Shapley value of the two factors). R, the mean of the two totals, drops out of the
sum, because shares add up to one, and makes a part readable: growth of a group that is better than the whole helps. A
value that is there on one side only has no rate to compare: its part is the effect of entering or leaving. Intervals
take the user as cluster over both sides at once (delta method, t with as many degrees as users really carry the part).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from kpi.errors import MetricError
from kpi.explain.aggregates.arm_sums import ArmSums, arm_sums
from kpi.explain.aggregates.grouped_sums import distinct
from kpi.explain.aggregates.period_sums import BEFORE, NOW
from kpi.explain.comparison.effects import coverage, effect, values
from kpi.explain.comparison.inputs import resolve_arms
from kpi.explain.comparison.worst_case import TermCounts, left_open
from kpi.measure.metrics import Metric
from kpi.measure.own_metrics import Unfit, metric_of_kind
from kpi.measure.profile import profile
from kpi.measure.slice import Slice
from kpi.narrate.comparisons import worst_words
from kpi.narrate.decompositions import rate_mix_sentence
from kpi.narrate.wording import scope_words
from kpi.result import Result, Results
from kpi.stats.interval import Interval, cluster_interval
from kpi.stats.types import Array
from kpi.store.engines import Source

EFFECTS = ("rate", "mix", "entering", "leaving")
USUAL = ("intent", "language", "use_case", "channel", "plan", "model", "prompt_version")
OTHER, MAX_VALUES = "(other)", 60
_KINDS = ("rate", "ratio", "incidence")
_NO_SPLIT = Unfit(
    "decompose.metric", "{0.label} has no exact split into mix and rate",
    "Choose a rate, mean or ratio; `kpi decompose total_cost` and `latency_p95` have splits of their own.",
)  # fmt: skip
_STEP = 1e-30  # of the complex-step derivative, which has no cancellation


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Decomposition(Result):
    """A change of a metric by the values of one dimension, in the metric's unit.

    change = rate + mix + entering + leaving, to rounding. parts: one row a value, the largest effect first, with value,
    before, now (its own metric; NaN where it is not known), share_before, share_now (of the denominator), kind (stayed,
    entered, left), rate, rate_low, rate_high, mix, mix_low, mix_high, effect, low, high; the effects sum to the change.
    differs: how surely the values differ in their change or the mix moved, as a z score: which dimension explains most.
    n_before, n_now: requests that count. bounds: what the change may be at worst where a change of what is known could
    have made it alone, else None.
    """

    columns = ("by", "value", "before", "now", "rate", "mix", "effect", "low", "high")
    metric: str
    by: str
    unit: str
    before: float
    now: float
    change: Interval
    rate: Interval
    mix: Interval
    entering: Interval
    leaving: Interval
    parts: pd.DataFrame
    differs: float
    sentence: str
    bounds: Interval | None = None
    scope: str = ""
    n_before: int = 0
    n_now: int = 0

    def frame(self) -> pd.DataFrame:
        """The parts, a row a value, behind the metric and the dimension."""
        return pd.concat(
            [pd.DataFrame({"metric": self.metric, "by": self.by}, index=self.parts.index), self.parts], axis=1
        )


def decompose(
    source: Source, metric: str | Metric, slice: Slice | None = None, *, by: str | Sequence[str] | None = None
) -> Results[Decomposition]:
    """The change of a metric between the slice and its baseline (a window or a version), by each dimension in `by`.

    The dimension that explains most comes first. One statement. Values beyond the 60 most frequent count together as
    "(other)".

    Args:
        source: Where the rows are.
        metric: Name or `Metric` that is a ratio of sums.
        slice: With a baseline.
        by: One dimension or several; without it those of USUAL that the data has.

    Returns:
        One `Decomposition` a dimension: change, and its parts by rate, mix, entering and leaving values.

    Raises:
        MetricError: For totals, counts and quantiles, which are no ratio of sums, and where one side knows nothing of
            the metric.
        SliceError: Where the slice has no baseline.

    Example:
        >>> found = kpi.decompose(source, "task_success", kpi.Slice(last="28d"), by="language")
        >>> [d.by for d in found]
        ['language']
    """
    asked = metric_of_kind(source, metric, _KINDS, _NO_SPLIT)
    names = _usual(source) if by is None else [by] if isinstance(by, str) else list(dict.fromkeys(by))
    _, arms, tz = resolve_arms(source, None, None, slice, None)
    sides = arm_sums(source, [asked], arms, strata=names, tz=tz)
    sums = sides.sums[asked.name]
    for side, word in ((NOW, "in the window"), (BEFORE, "in the baseline")):
        if not sums.x[sides.arm == side].sum() > 0:
            raise MetricError("decompose.empty", f"Nothing is known of {asked.label} {word}",
                              hint="Choose a longer window, fewer filters or another baseline.")  # fmt: skip
    e = effect(*values(sides, asked))  # the limits that `kpi.compare` has
    change = e.moved
    worst = left_open(asked, (e.a.value, e.b.value), change, coverage(sides, asked), TermCounts(source, arms))
    told = f" What is not known may make it {worst_words(worst, asked.unit)}." if worst else ""
    split = [_of_dimension(sides, asked, name, i) for i, name in enumerate(names)]
    limited = [replace(d, bounds=worst, change=replace(change, value=d.now - d.before)) for d in split]
    scope = scope_words([arms[NOW].window, arms[BEFORE].window], tz, e.b.n, e.a.n)
    said = [replace(d, sentence=_sentence(asked, d) + told, scope=scope, n_before=int(e.a.n), n_now=int(e.b.n))
            for d in limited]  # fmt: skip
    return Results(sorted(said, key=lambda d: (-d.differs, d.by)), scope=scope)


def _sentence(metric: Metric, found: Decomposition) -> str:
    parts = {e: getattr(found, e) for e in EFFECTS}
    return rate_mix_sentence(metric.label, metric.unit, found.by, found.change, parts)


def _usual(source: Source) -> list[str]:
    found = [d for d in USUAL if len(profile(source).dimensions.get(d, ())) > 1]
    if not found:
        raise MetricError("decompose.by", "The data has none of the usual dimensions with two values",
                          hint=f"Name one; the usual ones are {', '.join(USUAL)}.")  # fmt: skip
    return found


# --- the split itself ------------------------------------------------------------------------------------------------


def split(y1: Array, x1: Array, y0: Array, x0: Array) -> tuple[Array, Array, Array, Array]:
    """(rate, mix, entering, leaving) effects per value, from numerators and denominators now and before.

    Arrays of one length; the four sum, over values and effects, to sum(y1)/sum(x1) - sum(y0)/sum(x0). A value that is
    on both sides but has no denominator on one (cost without any resolved task) has no rate: its part is a rate effect.
    """
    return _effects(y1, x1, y0, x0, y1.sum(), x1.sum(), y0.sum(), x0.sum())


def _effects(
    y1: Array, x1: Array, y0: Array, x0: Array, ty1: Any, tx1: Any, ty0: Any, tx0: Any
) -> tuple[Array, Array, Array, Array]:
    """`split` with the totals as arguments of their own, so that each can be derived by."""
    rates = (x1.real != 0) & (x0.real != 0)
    here1, here0 = (x1.real != 0) | (y1.real != 0), (x0.real != 0) | (y0.real != 0)
    w1, w0 = x1 / tx1, x0 / tx0
    middle = (ty1 / tx1 + ty0 / tx0) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        r1, r0 = (np.where(rates, y / np.where(rates, x, 1), 0) for y, x in ((y1, x1), (y0, x0)))
    whole = (y1 / tx1 - y0 / tx0) - (w1 - w0) * middle
    rate = np.where(rates, (w1 + w0) / 2 * (r1 - r0), np.where(here1 & here0, whole, 0))
    mix = np.where(rates, (w1 - w0) * ((r1 + r0) / 2 - middle), 0)
    return rate, mix, np.where(here1 & ~here0, whole, 0), np.where(here0 & ~here1, whole, 0)


@dataclass(frozen=True)
class _ValueSums:
    """Sums by value, side and user, each once and in that order: parallel arrays.

    sums: y1, x1, y0, x0 per value. heads: users per side and value.
    """

    user: Array
    side: Array
    group: Array
    y: Array
    x: Array
    sums: tuple[Array, Array, Array, Array]
    heads: Array

    @property
    def users(self) -> int:
        return int(self.user.max()) + 1 if len(self.user) else 0


def _collected(user: Array, side: Array, group: Array, y: Array, x: Array, size: int) -> _ValueSums:
    """_ValueSums out of sums that may name a user, side and value more than once."""
    users = int(user.max()) + 1 if len(user) else 0
    cells, place = distinct((group * 2 + side) * users + user, 2 * size * users)
    y, x = (np.bincount(place, v, minlength=len(cells)) for v in (y, x))
    user, side, group = cells % users, cells // users % 2, cells // users // 2
    of = {s: side == s for s in (NOW, BEFORE)}
    sums = [np.bincount(group[of[s]], v[of[s]], minlength=size) for s in (NOW, BEFORE) for v in (y, x)]
    heads = np.array([np.bincount(group[of[s]], minlength=size) for s in (NOW, BEFORE)])
    return _ValueSums(user, side, group, y, x, (sums[0], sums[1], sums[2], sums[3]), heads)


def _gradients(sums: tuple[Array, Array, Array, Array]) -> list[Array]:
    """Derivatives of the four effects per value by its own y1, x1, y0, x0 and by the four totals: 8 x 4 x values."""
    arguments = [*sums, *(np.full_like(s, s.sum()) for s in sums)]
    found = []
    for i in range(8):
        moved = [a + 1j * _STEP * (i == k) for k, a in enumerate(arguments)]
        found.append(np.imag(np.array(_effects(*moved))) / _STEP)
    return found


class _Spread:
    """Standard errors of effects: residuals of users over both sides, which sum to zero for every effect."""

    def __init__(self, data: _ValueSums) -> None:
        self.data = data
        self.gradients = _gradients(data.sums)
        now = data.side == NOW
        self.heads = np.array([np.count_nonzero(np.bincount(data.user[m])) for m in (now, ~now)])
        total = [np.bincount(data.user[m], v[m], minlength=data.users) for m in (now, ~now) for v in (data.y, data.x)]
        self.totals = np.array(total)  # y1, x1, y0, x0 of each user
        y_part = np.where(now, self.gradients[0][:, data.group], self.gradients[2][:, data.group])
        x_part = np.where(now, self.gradients[1][:, data.group], self.gradients[3][:, data.group])
        self.own = y_part * data.y + x_part * data.x  # effects x rows

    def part(self, value: float, weights: Array, group: int | None = None) -> Interval:
        """Interval of the weighted sum of effects (4 weights) of one value, or of all values.

        What a single user carries on a side has no spread that could be seen, and so no interval.
        """
        alone = group is not None and (self.data.heads[:, group] == 1).any()
        if alone or (self.heads < 2).any():
            return Interval(value=value, low=np.nan, high=np.nan)
        whole = (0, len(self.data.group))
        first, last = whole if group is None else np.searchsorted(self.data.group, [group, group + 1])
        mine = np.bincount(self.data.user[first:last], weights @ self.own[:, first:last], minlength=self.data.users)
        shared = np.array([weights @ g for g in self.gradients[4:]])  # 4 x values
        shared = shared.sum(axis=1) if group is None else shared[:, group]
        return cluster_interval(value, mine + shared @ self.totals)


def _of_dimension(sides: ArmSums, metric: Metric, name: str, index: int) -> Decomposition:
    sums = sides.sums[metric.name]
    known = sums.n > 0
    stratum, size = sides.stratum[known], len(sides.strata)
    filled = np.bincount(stratum, minlength=size) > 0
    named = np.array([one[index] for one in sides.strata], dtype=object)[filled]
    weight = pd.Series(np.bincount(stratum, sums.x[known], size)[filled]).groupby(named).sum()
    weight = weight.sort_values(ascending=False, kind="stable")
    if len(weight) > MAX_VALUES:
        named = np.where(pd.Series(named).isin(weight.index[: MAX_VALUES - 1]), named, OTHER)
    values, place = np.unique(named.astype(str), return_inverse=True)
    of_stratum = np.full(size, -1)
    of_stratum[filled] = place
    codes = of_stratum[stratum]
    data = _collected(sides.user[known], sides.arm[known], codes, sums.y[known], sums.x[known], len(values))
    return _described(data, list(values), metric, name)


def _described(data: _ValueSums, values: Sequence[str], metric: Metric, name: str) -> Decomposition:
    y1, x1, y0, x0 = data.sums
    effects = np.array(split(y1, x1, y0, x0)) * metric.scale
    spread = _Spread(data)

    def weigh(*names: str) -> Array:
        return np.array([float(e in names) for e in EFFECTS]) * metric.scale

    rows = []
    for g, value in enumerate(values):
        rate = spread.part(effects[0, g], weigh("rate"), g)
        mix = spread.part(effects[1, g], weigh("mix"), g)
        both = spread.part(float(effects[:, g].sum()), weigh(*EFFECTS), g)
        entered, left = not (x0[g] or y0[g]), not (x1[g] or y1[g])
        rows.append({"value": value, "kind": "entered" if entered else "left" if left else "stayed",
                     "before": _divided(y0[g], x0[g]) * metric.scale, "now": _divided(y1[g], x1[g]) * metric.scale,
                     "share_before": x0[g] / x0.sum(), "share_now": x1[g] / x1.sum(),
                     "rate": rate.value, "rate_low": rate.low, "rate_high": rate.high,
                     "mix": mix.value, "mix_low": mix.low, "mix_high": mix.high,
                     "effect": both.value, "low": both.low, "high": both.high})  # fmt: skip
    parts = pd.DataFrame(rows).sort_values(["effect", "value"], key=_by_size, kind="stable", ignore_index=True)
    before, now = (float(y.sum() / x.sum()) * metric.scale for y, x in ((y0, x0), (y1, x1)))
    change = Interval(value=now - before, low=math.nan, high=math.nan)  # `kpi.compare` has its limits
    sums: dict[str, Any] = {e: spread.part(float(effects[i].sum()), weigh(e)) for i, e in enumerate(EFFECTS)}
    return Decomposition(metric=metric.name, by=name, unit=metric.unit, before=before, now=now,
                         change=change, **sums, parts=parts, differs=_differs(parts, sums["mix"]),
                         sentence="", scope="")  # fmt: skip


def _by_size(column: pd.Series) -> pd.Series:
    return -column.abs() if column.name == "effect" else column


def _divided(y: float, x: float) -> float:
    return y / x if x else math.nan


def _differs(parts: pd.DataFrame, mix: Interval) -> float:
    """Cochran's Q of the changes of the values, plus the mix effect in its standard errors, as a normal score."""
    stayed = parts[(parts["kind"] == "stayed") & (parts["rate_high"] > parts["rate_low"])]
    weight = (stayed["share_before"] + stayed["share_now"]).to_numpy() / 2
    error = (stayed["rate_high"] - stayed["rate_low"]).to_numpy() / 3.92
    with np.errstate(divide="ignore", invalid="ignore"):
        change, precision = stayed["rate"].to_numpy() / weight, (weight / error) ** 2
    usable = np.isfinite(change) & np.isfinite(precision)
    change, precision = change[usable], precision[usable]
    q = float((precision * (change - np.average(change, weights=precision)) ** 2).sum()) if len(change) > 1 else 0.0
    freedom = max(len(change) - 1, 0)
    if mix.high > mix.low:
        q, freedom = q + (mix.value / ((mix.high - mix.low) / 3.92)) ** 2, freedom + 1
    if not freedom:
        return 0.0
    spread = 2 / (9 * freedom)
    return float(((q / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread))  # Wilson and Hilferty 1931
