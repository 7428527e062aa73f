"""Whether a change of what is known could by itself make a difference: worst-case bounds, derived in docs/reasons.md.

Of a share what one side lost is all 0 at worst or all 1 (Manski 2003, Partial Identification of Probability
Distributions, ch. 1; Horowitz and Manski 2000, JASA 95:77). A mean or quantile has no such ends: the side that knows
more is trimmed by as much, of its largest or its smallest values (Lee 2009, Review of Economic Studies 76:1071).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sqlalchemy as sa
from scipy import special
from sqlalchemy.sql import visitors

from kpi.explain.aggregates.arm_sums import BinCounts, histograms
from kpi.explain.aggregates.grouped_sums import Arm, requests
from kpi.measure.columns import Columns, known_terms
from kpi.measure.estimate import bin_value
from kpi.measure.metrics import Metric
from kpi.measure.slice import Resolved
from kpi.stats.interval import Interval
from kpi.stats.types import Array
from kpi.store.engines import Source
from kpi.store.expressions import Expression

CANNOT_TELL = "cannot tell"
MATTERS = 0.02  # of coverage: what is lost can move a share by no more than about as much
BLIND = 10.0  # times the smallest difference that matters: who could not have seen that says nothing of "no change"
_Z = float(special.ndtri(0.975))
_ONE_SIDED = float(special.ndtri(0.95))


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Share of the requests for which a metric is known, on two sides. n, requests: known ones, and all, of A and B.

    change: B - A with its limits, users as clusters.
    """

    n: tuple[int, int]
    requests: tuple[int, int]
    change: Interval

    @property
    def shares(self) -> tuple[float, float]:
        """Of A and of B; NaN where there are no requests."""
        a, b = (n / of if of else math.nan for n, of in zip(self.n, self.requests, strict=True))
        return a, b

    @property
    def moved(self) -> bool:
        """Whether it changed beyond noise."""
        return self.change.clear and 0 not in self.n

    def beyond(self, usual: float = 0.0) -> bool:
        """Whether it changed by enough more than another did, and surely by half: luck makes small parts look large."""
        c = self.change
        least = max(c.low - usual, usual - c.high)
        return abs(c.value - usual) >= MATTERS and least >= MATTERS / 2 and 0 not in self.requests


@dataclass(frozen=True, kw_only=True, eq=False)
class Bounds(Interval):
    """What a difference may be at worst, with the error of both ends. width: between the ends themselves."""

    width: float


class TermCounts:
    """Histograms of what metrics are made of, on both sides and by dimension: one query for all, when one is needed.

    of: metrics that may be asked for; shares are not, their worst cases need no histogram.
    """

    def __init__(
        self, source: Source, arms: tuple[Arm, Arm], by: Sequence[str] = (), *, of: Sequence[Metric] = ()
    ) -> None:
        self._source, self._arms, self._by = source, arms, by
        self._wanted = [m for m in of if m.kind != "rate"]
        self._known: dict[str, list[BinCounts]] = {}

    @classmethod
    def between(cls, source: Source, resolved: Resolved, *, of: Sequence[Metric] = ()) -> TermCounts:
        """Of the baseline of a slice and its window."""
        before = Arm(filters=resolved.baseline_filters or (), window=resolved.baseline)
        return cls(source, (before, Arm(filters=resolved.filters, window=resolved.window)), of=of)

    def of(self, metric: Metric) -> list[BinCounts]:
        """Of a quantile its column; of a mean, ratio or incidence numerator and denominator."""
        if metric.name not in self._known:
            self._ask([m for m in dict.fromkeys([metric, *self._wanted]) if m.name not in self._known])
        return self._known[metric.name]

    def _ask(self, metrics: Sequence[Metric]) -> None:
        row = requests(self._source)
        values: dict[Any, Expression] = {}
        for m in metrics:
            if m.column:
                values[m.column] = row[m.column]
            else:
                y, x = known_terms(m, row)
                values |= {(m.name, "y"): y} | ({} if _constant(m, row) else {(m.name, "x"): x})
        found: dict[Any, BinCounts] = {c.name: c for c in histograms(self._source, values, self._arms, self._by)}
        for m in metrics:
            if m.column:
                self._known[m.name] = [found[m.column]]
            else:  # a denominator of 1 is known where the numerator is
                top = found[m.name, "y"]
                self._known[m.name] = [top, found.get((m.name, "x")) or replace(top, bins=np.zeros_like(top.bins))]


def _constant(metric: Metric, row: Columns) -> bool:
    """Whether the denominator is the same for every request."""
    assert metric.x is not None
    return not any(isinstance(part, sa.ColumnClause) for part in visitors.iterate(metric.x(row)))


def bounds(
    metric: Metric, values: tuple[float, float], moved: Interval, coverage: Coverage, counts: TermCounts,
    stratum: tuple[str, ...] | None = None,
) -> Bounds | None:  # fmt: skip
    """What a difference may be at worst; None where coverage did not move. values: of A and B."""
    if not coverage.moved or not (math.isfinite(moved.low) or math.isfinite(moved.high)):
        return None
    low, high = _possible(metric, values, coverage, counts, stratum)
    change = coverage.change
    doubt = max(change.high - change.value, change.value - change.low) / abs(change.value)
    below = math.hypot(moved.value - moved.low, (moved.value - low) * doubt)
    above = math.hypot(moved.high - moved.value, (high - moved.value) * doubt)
    shrink = _critical(high - low, max(below, above) / _Z) / _Z
    return Bounds(value=moved.value, low=low - shrink * below, high=high + shrink * above, width=high - low)


def left_open(
    metric: Metric, values: tuple[float, float], moved: Interval, coverage: Coverage, counts: TermCounts
) -> Bounds | None:
    """The bounds of a change that cannot be told because of them; None of one that can."""
    worst = bounds(metric, values, moved, coverage, counts)
    verdict = "better" if moved.clear else "no clear change"
    return worst if cannot_tell(verdict, worst, smallest(metric, values[0])) else None


def cannot_tell(verdict: str, bounds: Bounds | None, size: float) -> bool:
    """Whether a verdict must give way, because a change of coverage alone could have made it. The one place of this.

    bounds: of the difference, None where coverage did not move; size: the smallest difference that matters, absolute.
    """
    if bounds is None:
        return False
    if verdict in ("better", "worse", "higher", "lower"):
        return not bounds.clear
    if verdict == "equivalent":
        return not (bounds.low >= -size and bounds.high <= size)
    return not bounds.width <= BLIND * size


def smallest(metric: Metric, value: float, size: float | None = None) -> float:
    """The smallest difference that matters in the unit of the metric, at a value. size: another than the metric's."""
    size = metric.matters if size is None else size
    return size * abs(value) if metric.relative and math.isfinite(value) and value else size


def _possible(
    metric: Metric, values: tuple[float, float], coverage: Coverage, counts: TermCounts, stratum: tuple[str, ...] | None
) -> tuple[float, float]:
    """The smallest and the largest difference that what was lost can make, as far as the data know the rest."""
    (a, b), (of_a, of_b) = values, coverage.shares
    best = max(of_a, of_b)
    if metric.kind == "rate":
        ends = (of_b * b - of_a * a) / best, (of_a * (1 - a) - of_b * (1 - b)) / best
        return min(ends), max(ends)
    known = int(of_b > of_a)  # the side that is trimmed
    found = [c.of(known, stratum) for c in counts.of(metric)]
    low, high = (values[known] * f for f in _trimmed(metric, found, min(of_a, of_b) / best))
    return (low - a, high - a) if known else (b - high, b - low)


def _trimmed(metric: Metric, found: Sequence[tuple[Array, Array]], kept: float) -> tuple[float, float]:
    """Factors between which a value lies when only a share of its requests is kept, whichever they are."""
    values = [(bin_value(bins), count) for bins, count in found]
    if metric.kind == "quantile":
        assert metric.q is not None
        usual, *ends = (_quantile(*values[0], q) for q in (metric.q, metric.q * kept, 1 - kept + metric.q * kept))
        return (ends[0] / usual, ends[1] / usual) if usual else (1.0, 1.0)
    (y_low, y_high), (x_low, x_high) = (_without(v, n, (1 - kept) * float(n.sum())) for v, n in values)
    return y_low / x_high if x_high else 1.0, y_high / x_low if x_low > 0 else math.inf


def _without(values: Array, count: Array, drop: float) -> tuple[float, float]:
    """(smallest, largest) share of a sum that is left without so many of its requests."""
    total, left = float((values * count).sum()), []
    for way in (slice(None, None, -1), slice(None)):  # the largest values first, then the smallest
        v, n = values[way], count[way]
        gone = np.clip(drop - (np.cumsum(n) - n), 0, n)
        left.append(1 - float((gone * v).sum()) / total if total else 1.0)
    return left[0], left[1]


def _quantile(values: Array, count: Array, q: float) -> float:
    upto = np.cumsum(count)
    return float(values[min(int(np.searchsorted(upto, q * upto[-1] - 1e-9)), len(values) - 1)])


def _critical(width: float, error: float) -> float:
    """Standard errors at each end that cover the true value with 95 %: one-sided where the bounds lie far apart."""
    if not 0 < width < 10 * error:
        return _Z if width == 0 else _ONE_SIDED
    found = _ONE_SIDED
    for _ in range(60):
        found = -float(special.ndtri(special.ndtr(found + width / error) - 0.95))
    return found
