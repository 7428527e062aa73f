"""Disparity: every cohort against the whole and against the best, and whether the gap is more than chance would show.

The largest minus the smallest of several values is never zero, even when nothing differs. Here it is compared with
what groups of these sizes, users and overlaps show when none differs; users are the clusters throughout. Small groups
are hidden, together with those that would give them away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from kpi.errors import MetricError
from kpi.explain.cells import Array
from kpi.explain.disparity import FLOOR, hide_small
from kpi.explain.groups import MAX_GROUPS, Contrast, Layout, UserSums, contrast, sums_of, sums_of_all, user_sums
from kpi.explain.search import q_values
from kpi.measure import estimate
from kpi.measure.metrics import METRICS, Metric
from kpi.measure.profile import profile
from kpi.measure.slice import Slice
from kpi.measure.summary import resolve
from kpi.schema import COHORTS
from kpi.store.engines import Source

# What fairness asks, and what may explain a gap; by default those that the data supports.
COMPARED = ("task_success", "refusal_rate", "escalation_rate", "slo_attainment", "incident_rate", "cost_per_query")
CLUES = ("groundedness", "retrieval_hit_rate", "input_tokens", "output_tokens")
LEVEL = 0.05
FOUR_FIFTHS = 0.8  # EEOC Uniform Guidelines 1978, 29 CFR 1607.4 D: a rule of thumb, never the verdict
_KINDS = {"rate": estimate.rate, "ratio": estimate.ratio, "incidence": estimate.incidence}
_GAP = ("dimension", "metric", "unit", "gap", "low", "high", "beyond", "noise", "p", "adjusted", "adjusted_p", "worst",
        "best", "groups", "n", "four_fifths")  # fmt: skip
_DRAWS, _SEED = 4000, 20261124
By = str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Disparity:
    """Groups against the whole of a slice.

    groups: a row for each dimension, group and metric: where (dimension -> value), value with low and high, n, users;
    difference and ratio to the whole, to_best and ratio_to_best, each with limits (95 %; those to the best hold for all
    pairs at once, because the best was picked by looking); adjusted: the difference within the same strata; expected:
    the whole, for two dimensions what both together would give; shrunk: the value drawn towards it by empirical
    Bayes; p and q of the difference; verdict. gaps: a row for each dimension and metric, see `_gap`. whole: the
    metrics of the slice. hidden: dimension -> reasons, one a group. adjusted_for: dimension, None where there is none.
    """

    groups: pd.DataFrame
    gaps: pd.DataFrame
    whole: pd.DataFrame
    hidden: dict[str, list[str]]
    adjusted_for: str | None


def disparity(
    source: Source,
    slice: Slice | None = None,
    *,
    by: Sequence[By] | By | None = None,
    metrics: Sequence[str | Metric] | None = None,
    adjust: str | None = "intent",
    clues: Sequence[str] = CLUES,
) -> Disparity:
    """Gaps between cohorts in a slice, for rates, means, ratios and incidences. One query.

    by: dimensions, or tuples of two for their intersections; by default every cohort with 2 to 60 values. metrics: by
    default those of COMPARED that the data supports. adjust: the dimension within whose values groups are compared as
    well, for groups that ask for different things. clues: metrics that may explain a gap, looked at beside the others
    (`likely`); () for none. Raises MetricError for a metric or dimension that cannot be compared.
    """
    known = profile(source)
    chosen = [_metric(m) for m in metrics] if metrics is not None else _supported(source, COMPARED)
    extra = [m for m in _supported(source, clues) if m.name not in {c.name for c in chosen}]
    wanted: list[By] = [by] if isinstance(by, str | tuple) else list(by) if by is not None else list(_cohorts(source))
    keys = [(k,) if isinstance(k, str) else tuple(k) for k in wanted]
    strata = adjust if adjust in known.dimensions and any(adjust not in k for k in keys) else None
    resolved = resolve(source, slice)
    dims = list(dict.fromkeys([*(d for k in keys for d in k), *([strata] if strata else [])]))
    sums = user_sums(source, [*chosen, *extra], dims, filters=resolved.filters, window=resolved.window)
    found = [_dimension(sums, key, [*chosen, *extra], strata if strata not in key else None) for key in keys]
    asked = [m.name for m in chosen]
    groups = _with_q(_stacked([f[0] for f in found]), asked)
    groups["verdict"] = [_verdict(r) for r in groups.itertuples()] if len(groups) else []
    return Disparity(
        groups=groups,
        gaps=_with_q(_stacked([f[1] for f in found]), asked),
        whole=_whole(sums, [*chosen, *extra]),
        hidden={name_of(k): f[2] for k, f in zip(keys, found, strict=True)},
        adjusted_for=strata,
    )


def name_of(key: Sequence[str]) -> str:
    """How the frames call a dimension or two: "language", "language × device"."""
    return " × ".join(key)


def _metric(name: str | Metric) -> Metric:
    found = METRICS.get(name) if isinstance(name, str) else name
    if found is None or found.kind not in _KINDS:
        raise MetricError(
            "disparity.metric", f"{str(name)[:60]!r} is no rate, mean, ratio or incidence",
            hint="For latency compare slo_attainment or slo_attainment(milliseconds); for cost cost_per_query.",
        )  # fmt: skip
    return found


def _supported(source: Source, names: Sequence[str]) -> list[Metric]:
    return [METRICS[n] for n in names if profile(source).supports(METRICS[n])]


def _cohorts(source: Source) -> list[str]:
    """Dimensions that say who asks and how, not which version answered."""
    known = profile(source).dimensions
    return [c.name for c in COHORTS if 2 <= len(known.get(c.name, ())) <= MAX_GROUPS]


# --- one dimension ---------------------------------------------------------------------------------------------------


def _dimension(
    sums: UserSums, key: tuple[str, ...], metrics: Sequence[Metric], strata: str | None
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """(groups, gaps, reasons of hidden groups) of one dimension or the intersection of two."""
    group, values = _grouped(sums, key)
    layout = Layout.of(sums, group, len(values))
    users = layout.groups.totals(np.ones(len(layout.groups.row)))
    sizes = pd.DataFrame([dict(zip(key, v, strict=True)) for v in values], columns=list(key)).assign(clusters=users)
    shown, hidden = hide_small(sizes, by=list(key))
    kept = set(shown[list(key)].itertuples(index=False, name=None))
    visible = np.array([v in kept for v in values], dtype=bool)
    rarer = int(sums.rows[group < 0].sum())
    if rarer:
        hidden = [*hidden, f"rarer values: {rarer:,} requests of groups beyond the 60 largest count in the whole only"]
    within = None
    if strata is not None:
        codes = sums.dims[strata]
        stratum = np.where(codes.codes < 0, len(codes.values), codes.codes)
        within = Layout.of(sums, group, len(values), stratum, len(codes.values) + 1)
    tables, gaps = [], []
    for metric in metrics:
        measured = _measured(sums, layout, within, metric, visible)
        table, gap = _table(measured, metric, key, values, sums)
        tables.append(table)
        gaps += [gap] if gap is not None else []
    return _stacked(tables), pd.DataFrame(gaps, columns=list(_GAP)), hidden


def _grouped(sums: UserSums, key: tuple[str, ...]) -> tuple[Array, list[tuple[str, ...]]]:
    """(number of the group of each entry, values that a group stands for)."""
    if len(key) == 1:
        return sums.dims[key[0]].codes, [(v,) for v in sums.dims[key[0]].values]
    first, second = (sums.dims[d] for d in key)
    both = (first.codes >= 0) & (second.codes >= 0)
    pair = np.where(both, first.codes * len(second.values) + second.codes, -1)
    there = np.flatnonzero(np.bincount(pair[both], minlength=1))
    place = np.full(len(first.values) * len(second.values) + 1, -1)  # the last place is that of -1
    place[there] = np.arange(len(there))
    return place[pair], [(first.values[i // len(second.values)], second.values[i % len(second.values)]) for i in there]


@dataclass(frozen=True)
class _Measured:
    """One metric of the groups of a layout. counted: groups that are large enough and shown."""

    raw: Contrast
    adjusted: Contrast | None
    estimates: estimate.Estimates
    counted: Array


def _measured(sums: UserSums, layout: Layout, within: Layout | None, metric: Metric, visible: Array) -> _Measured:
    terms = sums.terms[metric.name]
    estimates = _KINDS[metric.kind](sums_of(layout, terms, sums.known[metric.name]))
    counted = visible & (estimates.n >= metric.min_n) & (estimates.clusters >= FLOOR) & np.isfinite(estimates.value)
    return _Measured(
        contrast(layout, terms), contrast(within, terms) if within is not None else None, estimates, counted
    )


def _table(
    m: _Measured, metric: Metric, key: tuple[str, ...], values: list[tuple[str, ...]], sums: UserSums
) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """(rows of the shown groups, the row of the gap) of one metric."""
    raw, scale, keep = m.raw, metric.scale, m.counted
    t = special.stdtrit(raw.df, 0.975)
    error = np.sqrt(np.diag(raw.spread))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        z = raw.difference / np.sqrt(raw.alone)
        p = 2 * special.stdtr(raw.df, -np.abs(z))
        log_error = np.sqrt(np.maximum(_log_variance(raw), 0))
        ratio = raw.value / raw.whole
        columns: dict[str, Any] = {
            "value": m.estimates.value, "low": m.estimates.low, "high": m.estimates.high,
            "difference": raw.difference, "difference_low": raw.difference - t * error,
            "difference_high": raw.difference + t * error,
            "ratio": ratio, "ratio_low": ratio * np.exp(-t * log_error), "ratio_high": ratio * np.exp(t * log_error),
            **_to_best(m, metric), **_adjusted(m.adjusted, len(values)),
            **_drawn(m, _expected(sums, key, values, metric, raw.whole)),
        }  # fmt: skip
    plain = {"ratio", "ratio_low", "ratio_high", "ratio_to_best", "ratio_to_best_low", "ratio_to_best_high"}
    columns = {c: np.where(keep, v, np.nan) * (1.0 if c in plain else scale) for c, v in columns.items()}
    names = [name_of(v) for v in values]
    table = pd.DataFrame(
        {
            "dimension": name_of(key), "group": names, "where": [dict(zip(key, v, strict=True)) for v in values],
            "metric": metric.name, "unit": metric.unit, "n": m.estimates.n.astype(int),
            "users": m.estimates.clusters.astype(int), **columns, "p": np.where(keep, p, np.nan),
        }
    )  # fmt: skip
    gap = _gap(m, metric, names) if keep.sum() >= 2 else None
    return table[keep], {"dimension": name_of(key), "metric": metric.name, "unit": metric.unit, **gap} if gap else None


def _log_variance(c: Contrast) -> Array:
    """Variance of log(value / whole), by the delta method; NaN where the value is zero."""
    own, shared = np.diag(c.own), np.diag(c.shared)
    of_whole = np.diag(c.spread) - own + 2 * shared
    return own / c.value**2 - 2 * shared / (c.value * c.whole) + of_whole / c.whole**2


def _best(m: _Measured, metric: Metric) -> int:
    """The best of the counted groups; the highest where no way is better."""
    at = np.flatnonzero(m.counted)
    value = m.raw.value[at]
    return int(at[value.argmin() if metric.direction == "down" else value.argmax()])


def _to_best(m: _Measured, metric: Metric) -> dict[str, Array]:
    """Difference and ratio to the best group; limits by Tukey-Kramer, which hold for all pairs at once."""
    raw = m.raw
    names = ("to_best", "ratio_to_best")
    if m.counted.sum() < 2:
        return {f"{n}{e}": np.full(len(raw.value), np.nan) for n in names for e in ("", "_low", "_high")}
    b = _best(m, metric)
    own = np.diag(raw.own)
    critical = special.stdtrit(np.minimum(raw.df, raw.df[b]), special.ndtr(_tukey(int(m.counted.sum()))))
    value = raw.value - raw.value[b]
    half = critical * np.sqrt(np.maximum(own + own[b] - 2 * raw.own[:, b], 0))
    ratio = raw.value / raw.value[b]
    variance = own / raw.value**2 + own[b] / raw.value[b] ** 2 - 2 * raw.own[:, b] / (raw.value * raw.value[b])
    log_half = critical * np.sqrt(np.maximum(variance, 0))
    half, log_half = (np.where(np.arange(len(own)) == b, 0.0, h) for h in (half, log_half))
    return {
        "to_best": value, "to_best_low": value - half, "to_best_high": value + half, "ratio_to_best": ratio,
        "ratio_to_best_low": ratio * np.exp(-log_half), "ratio_to_best_high": ratio * np.exp(log_half),
    }  # fmt: skip


@lru_cache(maxsize=128)
def _tukey(groups: int) -> float:
    """95 % quantile of the range of so many standard normal values, over sqrt(2) (Tukey 1953; Kramer 1956)."""
    draws = np.random.default_rng(_SEED).standard_normal((20_000, groups))
    return float(np.quantile(np.ptp(draws, axis=1), 0.95) / np.sqrt(2))


def _adjusted(c: Contrast | None, count: int) -> dict[str, Array]:
    if c is None:
        return {f"adjusted{e}": np.full(count, np.nan) for e in ("", "_low", "_high")}
    half = special.stdtrit(c.df, 0.975) * np.sqrt(np.maximum(np.diag(c.spread), 0))
    return {"adjusted": c.difference, "adjusted_low": c.difference - half, "adjusted_high": c.difference + half}


def _expected(
    sums: UserSums, key: tuple[str, ...], values: list[tuple[str, ...]], metric: Metric, whole: float
) -> Array:
    """What a group is drawn towards: the whole; for an intersection the differences of both its sides, added up."""
    if len(key) == 1:
        return np.full(len(values), whole)
    terms = sums.terms[metric.name]
    expected = np.full(len(values), whole)
    for i, name in enumerate(key):
        codes = sums.dims[name]
        inside = codes.codes >= 0
        y, x = (np.bincount(codes.codes[inside], v[inside], minlength=len(codes.values)) for v in (terms.y, terms.x))
        with np.errstate(divide="ignore", invalid="ignore"):
            side = dict(zip(codes.values, np.nan_to_num(y / x - whole), strict=True))
        expected += np.array([side[v[i]] for v in values])
    return np.clip(expected, 0, 1) if metric.kind == "rate" else expected


def _drawn(m: _Measured, expected: Array) -> dict[str, Array]:
    """Empirical Bayes: values drawn to what is expected as far as their errors allow (Morris 1983, JASA 78:47).

    The variance between groups is that of DerSimonian and Laird (1986) around known means.
    """
    variance, apart = np.diag(m.raw.own), m.raw.value - expected
    usable = m.counted & (variance > 0)
    weight = 1 / variance[usable]
    between = 0.0
    if usable.sum() > 1:
        between = max(0.0, float(((weight * apart[usable] ** 2).sum() - usable.sum()) / weight.sum()))
    kept = between / (between + variance) if between else np.zeros(len(variance))
    return {"expected": expected, "shrunk": expected + kept * np.where(usable, apart, 0.0)}


# --- the gap ---------------------------------------------------------------------------------------------------------


def _gap(m: _Measured, metric: Metric, names: list[str]) -> dict[str, Any]:
    """Largest minus smallest value over the groups, and whether equal groups would show as much.

    gap: as observed, with Tukey-Kramer limits, low 0 unless p <= 0.05. noise: what equal groups exceed in one of 20
    cases; p: how often they show such a gap. beyond: the gap with the part of chance taken off, sqrt(gap^2 - E0 gap^2).
    adjusted, adjusted_p: the same of the differences within strata. worst, best: groups. four_fifths: smallest over
    largest rate of the good outcome (shares only).
    """
    at = np.flatnonzero(m.counted)
    value = m.raw.value[at]
    low, high = int(at[value.argmin()]), int(at[value.argmax()])
    worst, best = (high, low) if metric.direction == "down" else (low, high)
    observed, noise, p, chance = _range(m.raw.difference[at], m.raw.null[np.ix_(at, at)], m.raw.null_df[at])
    own = m.raw.own
    critical = special.stdtrit(min(m.raw.df[low], m.raw.df[high]), special.ndtr(_tukey(len(at))))
    half = float(critical * np.sqrt(max(own[low, low] + own[high, high] - 2 * own[low, high], 0)))
    adjusted, adjusted_p = np.nan, np.nan
    if m.adjusted is not None:
        adjusted, _, adjusted_p, _ = _range(
            m.adjusted.difference[at], m.adjusted.null[np.ix_(at, at)], m.adjusted.df[at]
        )
    good = (1 - value if metric.direction == "down" else value) if metric.kind == "rate" else np.full(len(at), np.nan)
    scale = metric.scale
    return {
        "gap": observed * scale, "low": max(observed - half, 0.0) * scale if p <= LEVEL else 0.0,
        "high": (observed + half) * scale, "beyond": np.sqrt(max(observed**2 - chance, 0.0)) * scale,
        "noise": noise * scale, "p": p, "adjusted": adjusted * scale, "adjusted_p": adjusted_p,
        "worst": names[worst], "best": names[best], "groups": len(at), "n": int(m.estimates.n[at].sum()),
        "four_fifths": float(good.min() / good.max()) if good.max() > 0 else np.nan,
    }  # fmt: skip


def _range(values: Array, null: Array, df: Array) -> tuple[float, float, float, float]:
    """(range, its 95 % quantile, chance of such a range, mean square) where `values` differ by chance alone.

    Drawn from the normal distribution of all groups together, each stretched to the t distribution of the users who
    carry it.
    """
    singular = 1e-9 * max(float(np.trace(null)) / len(values), 1e-300)  # the differences to the whole cancel in sum
    root = np.linalg.cholesky(null + singular * np.eye(len(values)))
    normal, state = _normal(len(values))
    draws = (normal @ root.T).reshape(_DRAWS, len(values))
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    few = np.flatnonzero(df < 300)
    draws[:, few] *= np.sqrt(df[few] / rng.chisquare(df[few], (_DRAWS, len(few))))
    ranges = np.ptp(draws, axis=1)
    observed = float(np.ptp(values))
    p = float((1 + (ranges >= observed * (1 - 1e-9)).sum()) / (_DRAWS + 1))
    return observed, float(np.quantile(ranges, 1 - LEVEL)), p, float((ranges**2).mean())


@lru_cache(maxsize=16)
def _normal(groups: int) -> tuple[Array, dict[str, Any]]:
    """(standard normal draws in stacks of 50 rows, the state in which they leave the generator).

    A product of 50 rows is too small for a BLAS to start its threads, whose waiting costs more than the product.
    """
    rng = np.random.default_rng(_SEED)
    draws = rng.standard_normal((_DRAWS, groups)).reshape(-1, 50, groups)
    draws.setflags(write=False)
    return draws, dict(rng.bit_generator.state)


# --- the page --------------------------------------------------------------------------------------------------------


def _with_q(frame: pd.DataFrame, asked: Sequence[str]) -> pd.DataFrame:
    """Benjamini-Hochberg over all that was asked, and apart from it over the clues."""
    q = np.full(len(frame), np.nan)
    if len(frame):
        for part in (frame["metric"].isin(asked).to_numpy(), ~frame["metric"].isin(asked).to_numpy()):
            tested = np.flatnonzero(part & frame["p"].notna().to_numpy())
            if len(tested):
                q[tested] = q_values(frame["p"].to_numpy(dtype=float)[tested], np.ones(len(tested), dtype=int))
    return frame.assign(q=q)


def _verdict(row: Any) -> str:
    """better, worse (higher, lower where no way is better), or no clear difference."""
    if not row.q <= LEVEL:
        return "no clear difference"
    direction = METRICS[row.metric].direction if row.metric in METRICS else "none"
    if direction == "none":
        return "higher" if row.difference > 0 else "lower"
    return "better" if (row.difference > 0) == (direction == "up") else "worse"


def _whole(sums: UserSums, metrics: Sequence[Metric]) -> pd.DataFrame:
    """The metrics of the slice, as `kpi.summarise` gives them."""
    rows = []
    for m in metrics:
        e = _KINDS[m.kind](sums_of_all(sums, m.name))
        rows.append(
            {
                "metric": m.name, "value": e.value[0] * m.scale, "low": e.low[0] * m.scale, "high": e.high[0] * m.scale,
                "n": int(e.n[0]), "users": int(e.clusters[0]), "unit": m.unit,
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n", "users", "unit"])


def _stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [f for f in frames if len(f)]
    return pd.concat(filled, ignore_index=True) if filled else (frames[0] if frames else pd.DataFrame())
