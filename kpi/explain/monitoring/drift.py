"""Drift of one column: how far its distribution now is from the baseline, beyond what no change would show.

The distance is Jensen-Shannon (base 2, 0 = same, 1 = disjoint). Under no change, 8 ln 2 * divergence / (1/n + 1/m)
follows a chi-square law with k - 1 degrees of freedom for k values (second-order expansion; the same law as Yurdakul
and Naranjo 2020 give for PSI), n and m divided by the design effect because users repeat (Rao and Scott 1981). From
it follow the noise level, the value with the bias taken off, and its interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from kpi.errors import MetricError
from kpi.measure.estimate import Histogram, bin_value
from kpi.measure.metrics import Metric, flag
from kpi.measure.profile import profile
from kpi.measure.slice import Slice
from kpi.measure.statistics import Cells, Grouping
from kpi.measure.summary import collect, label, resolve
from kpi.narrate.drift import bin_names, drift_sentence
from kpi.narrate.wording import format_value
from kpi.schema import COHORTS, OUTCOMES, REQUESTS, dimension_name
from kpi.store.engines import Source

NUMERIC = {
    "input_tokens": "tokens",
    "output_tokens": "tokens",
    "total_us": "ms",
    "total_nusd": "usd",
    "retrieved_docs": "count",
    "tool_calls": "count",
    "llm_calls": "count",
    "ttft_us": "ms",
}
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
    """One column in one window: counts per value and the design effect of its shares."""

    counts: dict[str, float]
    effect: float

    @property
    def n(self) -> float:
        return sum(self.counts.values())


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Jensen-Shannon distance with its bias taken off, 95 % limits, and the noise level.

    What 95 % of unchanged data stay under.
    """

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

    distribution: value, now, baseline (shares). series: bucket, distance, noise, n. change: value that moved
    most.
    """

    column: str
    distribution: pd.DataFrame
    distance: Distance
    series: pd.DataFrame
    sentence: str


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
        raise MetricError(
            "drift.column",
            f"Drift of {column[:60]!r} cannot be shown",
            hint=f"Choose one of {', '.join(drift_columns(source)[:20])}.",
        )
    resolved = resolve(source, slice)
    if resolved.baseline_filters is None:
        timed = "Choose what to compare with, such as the window before."
        raise MetricError(
            "drift.no_baseline",
            "Drift needs something to compare with",
            hint=timed if resolved.window else "This data has no times: compare with a version, such as model:NAME.",
        )
    tz, grain = resolved.slice.tz, resolved.slice.grain
    ask = _question(column)
    whole = Grouping(by=() if column in NUMERIC else (column,))
    series = Grouping(by=whole.by, every=grain)
    now, by_bucket = collect(
        source, ask, filters=resolved.filters, window=resolved.window, tz=tz, groupings=[whole, series]
    )
    (before,) = collect(
        source, ask, filters=resolved.baseline_filters, window=resolved.baseline, tz=tz, groupings=[whole]
    )
    if column in NUMERIC:
        edges = _edges(before.histograms(column)) or _edges(now.histograms(column))
        names = _bin_names(edges, NUMERIC[column])
        pair = [_binned(_only(c.histograms(column)), edges, names) for c in (now, before)]
        buckets = {
            k[-1]: _binned(h, edges, names) for k, h in zip(by_bucket.keys, by_bucket.histograms(column), strict=True)
        }
    else:
        pair = [shares(now), shares(before)]
        keep = _frequent(pair)
        pair = [_fold(s, keep) for s in pair]
        names = list(keep)
        buckets = {b: _fold(s, keep) for b, s in _shares_by_bucket(by_bucket).items()}
    return _result(column, pair[0], pair[1], names, buckets)


def distance(now: Shares, before: Shares) -> Distance:
    """Distance of two sets of shares; NaN when one is empty."""
    values = sorted(set(now.counts) | set(before.counts))
    if not now.n or not before.n or len(values) < 2:
        empty = math.nan if not (now.n and before.n) else 0.0
        return Distance(value=empty, low=empty, high=empty, noise=empty, n=now.n)
    p = np.array([now.counts.get(v, 0) for v in values]) / now.n
    q = np.array([before.counts.get(v, 0) for v in values]) / before.n
    divergence = _divergence(p, q)
    unit = (now.effect / now.n + before.effect / before.n) / (8 * math.log(2))
    freedom = len(values) - 1
    statistic = divergence / unit
    low, high = (unit * _noncentrality(statistic, freedom, tail) for tail in (0.975, 0.025))
    return Distance(
        value=math.sqrt(max(0.0, divergence - unit * freedom)), low=math.sqrt(low), high=math.sqrt(high),
        noise=math.sqrt(max(0.0, unit * (float(special.chdtri(freedom, 0.05)) - freedom))), n=now.n,
    )  # fmt: skip


def shares(cells: Cells) -> Shares:
    """Shares of the values of one dimension, out of `EVERY_REQUEST` grouped by it; unknown is a value of its own."""
    s = cells.ratio(EVERY_REQUEST)
    counts = {label(k[0]): float(n) for k, n in zip(cells.keys, s.n, strict=True)}
    return Shares(counts=counts, effect=_effect(s.n, s.yy))


def _question(column: str) -> list[Metric]:
    if column not in NUMERIC:
        return [EVERY_REQUEST]
    return [
        Metric(
            name=column,
            label=column,
            kind="quantile",
            unit=NUMERIC[column],
            direction="none",
            definition=column,
            formula=column,
            null_rule="unknown left out",
            interval="none",
            needs=(column,),
            group="drift",
            column=column,
            q=0.5,
        )
    ]


def _effect(n: np.ndarray, squares: np.ndarray) -> float:
    """Mean design effect of the shares (Rao and Scott 1981), user size taken as unrelated to the value."""
    total = n.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        p = n / total
        each = (squares - p**2 * squares.sum()) / (n * (1 - p))
        mean = np.nansum((1 - p) * each) / max(len(n) - 1, 1)
    return max(1.0, float(mean)) if np.isfinite(mean) else 1.0


def _divergence(p: np.ndarray, q: np.ndarray) -> float:
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(p > 0, p * np.log2(p / middle), 0) + np.where(q > 0, q * np.log2(q / middle), 0)
    return max(0.0, float(parts.sum() / 2))


def _noncentrality(statistic: float, freedom: int, tail: float) -> float:
    """The noncentrality at which the statistic sits at this tail of the noncentral chi-square; 0 when none does."""
    if float(special.chdtr(freedom, statistic)) <= tail:
        return 0.0
    return float(special.chndtrinc(statistic, freedom, tail))


def _shares_by_bucket(cells: Cells) -> dict[str, Shares]:
    s = cells.ratio(EVERY_REQUEST)
    found: dict[str, list[int]] = {}
    for i, key in enumerate(cells.keys):
        if key[-1] is not None:
            found.setdefault(key[-1], []).append(i)
    return {
        b: Shares(counts={label(cells.keys[i][0]): float(s.n[i]) for i in rows}, effect=_effect(s.n[rows], s.yy[rows]))
        for b, rows in found.items()
    }


def _frequent(pair: Sequence[Shares]) -> tuple[str, ...]:
    """The most frequent values of both windows together; the others fold into one."""
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


def _binned(h: Histogram, edges: list[float], names: list[str]) -> Shares:
    counts = dict.fromkeys(names, 0.0)
    if not len(h.count):
        return Shares(counts=counts, effect=1.0)
    for i, count in zip(np.searchsorted(edges, h.bins), h.count, strict=True):
        counts[names[i]] += float(count)
    n, users, sizes = h.count.sum(), h.first.sum(), h.cross.sum()
    effects = []
    for edge in edges:
        upto = int(np.searchsorted(h.bins, edge, side="right"))
        p = h.count[:upto].sum() / n
        if 0 < p < 1 and users > 1:
            residual = h.square[:upto].sum() - 2 * p * h.cross[:upto].sum() + p * p * sizes
            effects.append(residual * users / (users - 1) / (n * p * (1 - p)))
    return Shares(counts=counts, effect=max(1.0, float(np.mean(effects))) if effects else 1.0)


def _result(column: str, now: Shares, before: Shares, names: list[str], buckets: dict[str, Shares]) -> Drift:
    found = distance(now, before)
    distribution = pd.DataFrame(
        {
            "value": names,
            "now": [now.counts.get(v, 0) / now.n if now.n else math.nan for v in names],
            "baseline": [before.counts.get(v, 0) / before.n if before.n else math.nan for v in names],
        }
    )
    steps = [(b, distance(s, before)) for b, s in sorted(buckets.items())]
    series = pd.DataFrame(
        {
            "bucket": pd.to_datetime([b for b, _ in steps]), "distance": [d.value for _, d in steps],
            "noise": [d.noise for _, d in steps], "n": [int(d.n) for _, d in steps],
        }
    )  # fmt: skip
    return Drift(
        column=column,
        distribution=distribution,
        distance=found,
        series=series,
        sentence=drift_sentence(column, found, distribution, (now.n, before.n)),
    )
