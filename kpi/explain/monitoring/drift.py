"""Drift of one column: how far its distribution now is from the baseline, beyond what no change would show.

The distance is Jensen-Shannon (base 2, 0 = same, 1 = disjoint) over all values, unknown among them. Under no change,
8 ln 2 * divergence / (1/n + 1/m) follows a chi-square law with k - 1 degrees of freedom for k values (second-order
expansion; the same law as Yurdakul and Naranjo 2020 give for PSI), n and m divided by the design effect because users
repeat (Rao and Scott 1981). From it follow the noise level, the value with the bias taken off, and its interval.

The law needs counts: a value seen once always adds 2 ln 2 times what it should. So values of which fewer than ten
clumps of one user's requests are expected on a side, by both windows together, are one class for it (Cochran 1954).
What these rare values add within their class is tested beside, given how often each is seen in all: a binomial splits
it between the windows, which gives mean and variance of the sum (as Zelterman 1987 for sparse tables), and a gamma law
with both its limits. Each of the two parts has half of the error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy import special

from kpi.errors import MetricError
from kpi.measure.cells import Cells, Grouping
from kpi.measure.estimate import Histogram, bin_value
from kpi.measure.metrics import Metric
from kpi.measure.moments import design_effect
from kpi.measure.profile import profile
from kpi.measure.slice import NONE_VALUE, Slice
from kpi.measure.summary import buckets, collect, label, resolve
from kpi.narrate.drift import bin_names, drift_sentence, turnover_sentence
from kpi.narrate.wording import format_value
from kpi.schema import COHORTS, OUTCOMES, REQUESTS, dimension_name
from kpi.stats.types import Array
from kpi.store.engines import Source
from kpi.store.expressions import flag

NUMERIC = {
    "input_tokens": "tokens", "output_tokens": "tokens", "total_us": "ms", "total_nusd": "usd",
    "retrieved_docs": "count", "tool_calls": "count", "llm_calls": "count", "ttft_us": "ms",
}  # fmt: skip
INPUTS = ("intent", "language", "use_case", "region", "channel")
MAX_VALUES, NUMERIC_BINS = 12, 12
OTHER = "(other)"
_SCALE = {"ms": 1e-3, "usd": 1e-9}

EVERY_REQUEST = Metric(
    name="_every", label="Requests", kind="rate", unit="share", direction="none", definition="every request",
    formula="1", null_rule="every request counts", interval="none", needs=("trace_id",), group="volume",
    y=lambda r: flag(r["trace_id"].is_not(None)), x=lambda r: flag(r["trace_id"].is_not(None)),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Shares:
    """One column in one window: counts per value and the design effect of its shares, by value where it is known."""

    counts: dict[str, float]
    effect: float
    effects: Mapping[str, float] = field(default_factory=dict)

    @property
    def n(self) -> float:
        return sum(self.counts.values())


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Jensen-Shannon distance, its bias taken off, with 95 % limits; noise: what 95 % of unchanged data stay under."""

    value: float
    low: float
    high: float
    noise: float
    n: float

    @property
    def clear(self) -> bool:
        return self.low > 0


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Drift of a column.

    distribution: value, now, baseline (shares), the rarest folded into one. distance: over all values. series: bucket,
    start, complete, distance, noise, n. appeared, vanished: values of one side only, the most frequent first: value,
    share, n there.
    """

    column: str
    distribution: pd.DataFrame
    distance: Distance
    series: pd.DataFrame
    appeared: pd.DataFrame
    vanished: pd.DataFrame
    sentence: str

    @property
    def turnover(self) -> str:
        """New and vanished values with their shares, in words; "" where there are none."""
        return turnover_sentence(self.appeared, self.vanished)


def drift_columns(source: Source) -> list[str]:
    """Columns whose drift can be shown: cohorts and extra cohorts first, then outcomes, then numbers."""
    known = profile(source)
    cohorts = [c.name for c in COHORTS if c.name in known.dimensions]
    extras = [d for d in known.dimensions if d not in REQUESTS.names]
    outcomes = [c.name for c in OUTCOMES if known.filled.get(c.name)]
    return [*cohorts, *extras, *outcomes, *(c for c in NUMERIC if known.filled.get(c))]


def drift(source: Source, column: str, slice: Slice | None = None) -> Drift:
    """Drift of a dimension, outcome or number between the slice's window and its baseline.

    Args:
        source: Where the rows are.
        column: One of those that `kpi.drift_columns` gives.
        slice: With a baseline.

    Returns:
        A `Drift`: shares now and in the baseline, the distance with its limits, and the distance over time.

    Raises:
        MetricError: When the column is unknown or the slice has no baseline.

    Example:
        >>> found = kpi.drift(source, "intent", kpi.Slice(last="28d"))
        >>> found.distribution.columns.tolist()
        ['value', 'now', 'baseline']
    """
    column = dimension_name(column)
    if column not in drift_columns(source):
        raise MetricError("drift.column", f"Drift of {column[:60]!r} cannot be shown",
                          hint=f"Choose one of {', '.join(drift_columns(source)[:20])}.")  # fmt: skip
    resolved = resolve(source, slice)
    if resolved.baseline_filters is None:
        timed = "Choose what to compare with, such as the window before."
        none = "This data has no times: compare with a version, such as model:NAME."
        raise MetricError("drift.no_baseline", "Drift needs something to compare with",
                          hint=timed if resolved.window else none)  # fmt: skip
    tz, grain = resolved.slice.tz, resolved.slice.grain
    ask = _question(column)
    whole = Grouping(by=() if column in NUMERIC else (column,))
    series = Grouping(by=whole.by, every=grain)
    filters, window, baseline = resolved.filters, resolved.window, resolved.baseline
    now, by_bucket = collect(source, ask, filters=filters, window=window, tz=tz, groupings=[whole, series])
    (before,) = collect(source, ask, filters=resolved.baseline_filters, window=baseline, tz=tz, groupings=[whole])
    if column in NUMERIC:
        edges = _edges(before.histograms(column)) or _edges(now.histograms(column))
        names = [*_bin_names(edges, NUMERIC[column]), NONE_VALUE]
        (later,), (earlier,) = (_binned(c, column, edges, names) or [_NOBODY] for c in (now, before))
        every = _binned(by_bucket, column, edges, names)
    else:
        later, earlier = shares(now), shares(before)
        names = list(_frequent((later, earlier)))
        every = _shares_by_bucket(by_bucket)
    times = buckets(by_bucket).drop_duplicates("start").dropna().sort_values("start", ignore_index=True)
    steps = [distance(s, earlier) for s in every]
    numbers = {"distance": [d.value for d in steps], "noise": [d.noise for d in steps], "n": [int(d.n) for d in steps]}
    found, shown = distance(later, earlier), _side_by_side(_fold(later, names), _fold(earlier, names), names)
    moved = _side_by_side(later, earlier, sorted({**later.counts, **earlier.counts}))
    return Drift(column=column, distribution=shown, distance=found, series=times.assign(**numbers),
                 appeared=_alone(later, earlier, column), vanished=_alone(earlier, later, column),
                 sentence=drift_sentence(column, found, moved, (later.n, earlier.n)))  # fmt: skip


def distance(now: Shares, before: Shares) -> Distance:
    """Distance of two sets of shares; NaN when one is empty."""
    values = sorted(v for v in {**now.counts, **before.counts} if now.counts.get(v) or before.counts.get(v))
    if not now.n or not before.n or len(values) < 2:
        empty = math.nan if not (now.n and before.n) else 0.0
        return Distance(value=empty, low=empty, high=empty, noise=empty, n=now.n)
    sides = [np.array([s.counts.get(v, 0) for v in values]) / s.n for s in (now, before)]
    effects = [np.array([s.effects.get(v, s.effect) for v in values]) for s in (now, before)]
    clump = _clumps(sides, effects, (now.n, before.n))
    kept = _kept((sides[0] * now.n + sides[1] * before.n) / clump * min(now.n, before.n) / (now.n + before.n))
    many = len(values) - kept.sum() > 1  # rare values, of which one class is made
    usual = [_mean_effect(e[kept], p[kept]) if s.effects else s.effect
             for e, p, s in zip(effects, sides, (now, before), strict=True)]  # fmt: skip
    unit = (usual[0] / now.n + usual[1] / before.n) / (8 * math.log(2))
    p, q = ([*side[kept], *([side[~kept].sum()] if not kept.all() else [])] for side in sides)
    freedom = max(len(p) - 1, 0)
    divergence, tail = _divergence(np.array(p), np.array(q)), 0.0125 if many else 0.025
    low, high = (unit * _noncentrality(divergence / unit, freedom, t) if freedom else 0.0 for t in (1 - tail, tail))
    mean, variance = unit * freedom, 2 * unit**2 * freedom
    if many:
        rest = _divergence(*sides) - divergence
        of_rest = _of_rare(sides[0][~kept], sides[1][~kept], now.n, before.n, clump[~kept])
        low += max(0.0, rest - _gamma_limit(of_rest, 1 - tail))
        high += max(0.0, rest - _gamma_limit(of_rest, tail))
        divergence, mean, variance = divergence + rest, mean + of_rest[0], variance + of_rest[1]
    return Distance(value=math.sqrt(max(0.0, divergence - mean)), low=math.sqrt(low), high=math.sqrt(high),
                    noise=math.sqrt(max(0.0, _gamma_limit((mean, variance), 0.95) - mean)), n=now.n)  # fmt: skip


EXPECTED = 10.0  # clumps of a value on a side, for the chi-square law: at five 9 % of quiet worlds alarm (simulated)


def _clumps(sides: Sequence[Array], effects: Sequence[Array], sizes: tuple[float, float]) -> Array:
    """How many requests of a value come together, because a user repeats them: its design effect on both sides."""
    a, b = (side * n for side, n in zip(sides, sizes, strict=True))
    repeated = a * np.nan_to_num(effects[0], nan=1.0) + b * np.nan_to_num(effects[1], nan=1.0)
    found: Array = np.fmax(repeated / (a + b), 1.0)
    return found


def _kept(expected: Array) -> Array:
    """Which values are frequent enough for the chi-square law; the others together are at least one that is."""
    order = np.argsort(expected, kind="stable")
    rare = int((expected < EXPECTED).sum())
    if rare:
        rare = max(rare, int(np.searchsorted(np.cumsum(expected[order]), EXPECTED)) + 1)
    found = np.ones(len(expected), dtype=bool)
    found[order[:rare]] = False
    return found


def _of_rare(p: Array, q: Array, n: float, m: float, clump: Array) -> tuple[float, float]:
    """Mean and variance, under no change, of the divergence that rare values add within their class.

    Each is seen so often in all, in clumps; between the counts of a table by interpolation. On each side the class has
    as many as it has: what is linear in the split of a value does not vary.
    """
    if n > m:
        p, q, n, m = q, p, m, n
    seen, w = (p * n + q * m) / clump, float(p.sum() * n / (p.sum() * n + q.sum() * m))
    count = np.unique(np.r_[0:65, np.geomspace(64, max(65, math.ceil(seen.max())), 30).astype(int)])[:, None]
    here = np.arange(65)[None, :]
    there = np.maximum(count - here, 0)
    chance = np.exp(special.xlogy(here, w) + special.xlog1py(there, -w)) * special.binom(count, here)
    chance /= chance.sum(axis=1, keepdims=True)
    added = _added(here / n + 0.0 * there, there / m)
    first = (chance * added).sum(axis=1)
    moments = first - _added(count[:, 0] * w / n, count[:, 0] * (1 - w) / m), (chance * added**2).sum(axis=1) - first**2
    along = (chance * (here - count * w) * added).sum(axis=1), count[:, 0] * w * (1 - w)
    mean, variance, shared, split = (np.interp(seen, count[:, 0], v) for v in (*moments, *along))
    left, square = 1 - seen * clump / (seen * clump).sum(), clump**2
    straight = (shared * square).sum() ** 2 / (split * square).sum() if split.sum() > 0 else 0.0
    return float((mean * clump * left).sum()), max(0.0, float((variance * square).sum() - straight))


def _gamma_limit(moments: tuple[float, float], level: float) -> float:
    """Quantile of a gamma law with this mean and variance."""
    mean, variance = moments
    if not mean > 0 or not variance > 1e-9 * mean**2:
        return mean
    return float(special.gammaincinv(mean**2 / variance, level) * variance / mean)


def shares(cells: Cells) -> Shares:
    """Shares of the values of one dimension, out of `EVERY_REQUEST` grouped by it; unknown is a value of its own."""
    s = cells.ratio(EVERY_REQUEST)
    return _of_values([label(k[0]) for k in cells.keys], s.n, s.yy)


def _of_values(names: Sequence[str], n: Array, squares: Array) -> Shares:
    effects = dict(zip(names, _effects(n, squares).tolist(), strict=True))
    return Shares(counts=dict(zip(names, n.tolist(), strict=True)), effect=_effect(n, squares), effects=effects)


def _question(column: str) -> list[Metric]:
    if column not in NUMERIC:
        return [EVERY_REQUEST]
    quantile = replace(EVERY_REQUEST, name=column, kind="quantile", unit=NUMERIC[column], column=column, q=0.5)
    return [quantile, replace(EVERY_REQUEST, y=lambda r: flag(r[column].is_(None)))]


def _effect(n: Array, squares: Array) -> float:
    """Mean design effect of the shares (Rao and Scott 1981), user size taken as unrelated to the value."""
    total = n.sum()
    return _mean_effect(_effects(n, squares), n / total, len(n) - 1) if total else 1.0


def _effects(n: Array, squares: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        p = n / n.sum()
        found: Array = (squares - p**2 * squares.sum()) / (n * (1 - p))
    return found


def _mean_effect(each: Array, p: Array, freedom: float | None = None) -> float:
    """Mean of design effects by the degrees of freedom 1 - p that they stand for, at least 1."""
    known = np.isfinite(each)
    weight = 1 - p[known]
    divisor = weight.sum() if freedom is None else max(freedom, 1)
    return max(1.0, float((weight * each[known]).sum() / divisor)) if divisor > 0 else 1.0


def _divergence(p: Array, q: Array) -> float:
    return max(0.0, float(_added(p, q).sum()))


def _added(p: Array, q: Array) -> Array:
    """What each value adds to the Jensen-Shannon divergence."""
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(p > 0, p * np.log2(p / middle), 0) + np.where(q > 0, q * np.log2(q / middle), 0)
    found: Array = parts / 2
    return found


def _noncentrality(statistic: float, freedom: int, tail: float) -> float:
    """The noncentrality at which the statistic sits at this tail of the noncentral chi-square; 0 when none does."""
    if float(special.chdtr(freedom, statistic)) <= tail:
        return 0.0
    return float(special.chndtrinc(statistic, freedom, tail))


def _shares_by_bucket(cells: Cells) -> list[Shares]:
    """The shares in each bucket, in their order."""
    s = cells.ratio(EVERY_REQUEST)
    found: dict[str, list[int]] = {}
    for i, key in enumerate(cells.keys):
        if key[-1] is not None:
            found.setdefault(key[-1], []).append(i)
    names = [label(k[0]) for k in cells.keys]
    return [_of_values([names[i] for i in rows], s.n[rows], s.yy[rows]) for _, rows in sorted(found.items())]


def _frequent(pair: Sequence[Shares]) -> tuple[str, ...]:
    """The most frequent values of both windows together, as many as a picture can show; the others fold into one."""
    total: dict[str, float] = {}
    for s in pair:
        for value, count in s.counts.items():
            total[value] = total.get(value, 0) + count / max(s.n, 1)
    ranked = sorted(total, key=lambda v: (-total[v], v))
    return tuple(ranked) if len(ranked) <= MAX_VALUES else (*ranked[: MAX_VALUES - 1], OTHER)


def _fold(s: Shares, keep: Sequence[str]) -> Shares:
    counts = dict.fromkeys(keep, 0.0)
    for value, count in s.counts.items():
        counts[value if value in counts else OTHER] = counts.get(value if value in counts else OTHER, 0.0) + count
    return Shares(counts=counts, effect=s.effect)


_NOBODY = Shares(counts={}, effect=1.0)


def _side_by_side(now: Shares, before: Shares, names: Sequence[str]) -> pd.DataFrame:
    parts = {"now": now, "baseline": before}
    names = [v for v in names if now.counts.get(v) or before.counts.get(v)]
    told = {k: [s.counts.get(v, 0) / s.n if s.n else math.nan for v in names] for k, s in parts.items()}
    return pd.DataFrame({"value": list(names), **told})


def _alone(here: Shares, there: Shares, column: str) -> pd.DataFrame:
    """Values that only one of two windows has, the most frequent first; none of numbers, and beside an empty one."""
    named = here.counts.items() if there.n and column not in NUMERIC else ()
    only = [(v, n / here.n, int(n)) for v, n in named if n and not there.counts.get(v)]
    return pd.DataFrame(sorted(only, key=lambda r: (-r[2], r[0])), columns=["value", "share", "n"])


def _only(found: list[Histogram]) -> Histogram:
    empty = np.zeros(0)
    return found[0] if found else Histogram(bins=empty, count=empty, square=empty, cross=empty, first=empty)


def _edges(found: list[Histogram]) -> list[float]:
    """Upper bins of about twelve equally filled classes."""
    h = _only(found)
    if not h.count.sum():
        return []
    upto = np.cumsum(h.count) / h.count.sum()
    cuts = [h.bins[np.searchsorted(upto, i / NUMERIC_BINS)] for i in range(1, NUMERIC_BINS)]
    return sorted(set(cuts))


def _bin_names(edges: list[float], unit: str) -> list[str]:
    return bin_names([format_value(float(bin_value(e)) * _SCALE.get(unit, 1.0), unit) for e in edges])


def _binned(cells: Cells, column: str, edges: list[float], names: list[str]) -> list[Shares]:
    """The shares of the classes of a number, and of unknown as the last one, for each key that has a bucket."""
    unknown = cells.ratio(cells.query.ratios[0])
    effects, parts = design_effect(unknown), zip(cells.keys, cells.histograms(column), strict=True)
    return [_classes(h, edges, names, float(unknown.y[i]), float(effects[i]))
            for i, (key, h) in enumerate(parts) if not cells.grouping.every or key[-1] is not None]  # fmt: skip


def _classes(h: Histogram, edges: list[float], names: list[str], unknown: float, effect: float) -> Shares:
    counts = dict.fromkeys(names, 0.0) | {NONE_VALUE: unknown}
    n, users, sizes = h.count.sum(), h.first.sum(), h.cross.sum()
    for i, count in zip(np.searchsorted(edges, h.bins), h.count, strict=True):
        counts[names[i]] += float(count)
    effects = [effect] if unknown else []
    for edge in edges:
        upto = int(np.searchsorted(h.bins, edge, side="right"))
        p = h.count[:upto].sum() / n if n else 0.0
        if 0 < p < 1 and users > 1:
            residual = h.square[:upto].sum() - 2 * p * h.cross[:upto].sum() + p * p * sizes
            effects.append(residual * users / (users - 1) / (n * p * (1 - p)))
    return Shares(counts=counts, effect=max(1.0, float(np.mean(effects))) if effects else 1.0)
