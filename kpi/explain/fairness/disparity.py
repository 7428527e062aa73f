"""Disparity: every cohort against the whole and against the best, and whether the gap is more than chance would show.

The largest minus the smallest of several values is never zero, even when nothing differs. Here it is compared with
what groups of these sizes, users and overlaps show when none differs; users are the clusters throughout. Small groups
are hidden, together with those that would give them away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from kpi.explain.aggregates import user_sums as by_user
from kpi.explain.aggregates.quantile_sums import Tail, tails
from kpi.explain.aggregates.user_sums import GroupContrast, GroupLayout, UserSums, group_contrast
from kpi.explain.fairness import mean_gaps, quantile_gaps
from kpi.measure import estimate
from kpi.measure.metrics import METRICS, Metric
from kpi.measure.own_metrics import COMPARABLE, Unfit, metric_of_kind, supported
from kpi.measure.profile import profile
from kpi.measure.slice import Slice
from kpi.measure.small_cells import FLOOR, shown_groups
from kpi.measure.summary import resolve
from kpi.narrate.fairness import gaps_sentence
from kpi.narrate.wording import scope_of
from kpi.result import Result
from kpi.schema import COHORTS
from kpi.stats.multiplicity import benjamini_hochberg
from kpi.stats.range_test import LEVEL
from kpi.stats.types import Array
from kpi.store.engines import Source

# What fairness asks, and what may explain a gap; by default those that the data supports.
COMPARED = ("task_success", "refusal_rate", "escalation_rate", "slo_attainment", "incident_rate", "cost_per_query")
CLUES = ("groundedness", "retrieval_hit_rate", "input_tokens", "output_tokens")
_NO_RATE = Unfit(
    "disparity.metric", "{0.name!r} is no rate, mean, ratio, incidence or quantile",
    "For a total compare the mean, such as cost_per_query; for a maximum a quantile, such as latency_p95.",
)  # fmt: skip
_GAP = ("dimension", "metric", "unit", "gap", "low", "high", "beyond", "noise", "p", "adjusted", "adjusted_p", "worst",
        "best", "groups", "n", "four_fifths")  # fmt: skip
By = str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Disparity(Result):
    """Groups against the whole of a slice.

    groups: a row for each dimension, group and metric: where (dimension -> value), value with low and high, n, users,
    coverage (share of its requests that know the metric);
    difference and ratio to the whole, to_best and ratio_to_best, each with limits (95 %; those to the best hold for all
    pairs at once, because the best was picked by looking); adjusted: the difference within the same strata; expected:
    the whole, for two dimensions what both together would give; shrunk: the value drawn towards it by empirical
    Bayes; p and q of the difference; verdict. gaps: a row for each dimension and metric, see `_gap`. whole: the
    metrics of the slice. clues: rows as in `groups` of the metrics that may explain a gap. hidden: dimension ->
    reasons, one a group. adjusted_for: dimension, None where there is none.
    """

    main = "gaps"
    columns = ("dimension", "metric", "gap", "low", "high", "q", "worst", "best", "groups", "n")
    groups: pd.DataFrame
    gaps: pd.DataFrame
    whole: pd.DataFrame
    clues: pd.DataFrame
    hidden: dict[str, list[str]]
    adjusted_for: str | None
    scope: str = ""

    @property
    def sentence(self) -> str:
        """The gaps that are clear, the surest first."""
        return gaps_sentence(self.gaps)


def disparity(
    source: Source, slice: Slice | None = None, *, by: Sequence[By] | By | None = None,
    metrics: Sequence[str | Metric] | None = None, adjust: str | None = "intent", clues: Sequence[str] = CLUES,
) -> Disparity:  # fmt: skip
    """Gaps between cohorts in a slice, for rates, means, ratios, incidences and quantiles.

    One query, with quantiles two.

    A quantile (latency_p95, cost_p50) has the value and limits that `kpi.summarise` gives it; its differences and gaps
    are in its unit. What is tested is the share of a group's requests above the quantile of the whole: p, q and
    adjusted_p are of that share, and p is 1 where it and the quantile do not point to the same side. Groups whose
    quantile the data cannot bound on both sides are left out.

    Args:
        source: Where the rows are.
        slice: The rows to look at; all of them when None.
        by: Dimensions, or tuples of two for their intersections; by default every cohort with 2 to 60 values.
        metrics: By default those of COMPARED that the data supports.
        adjust: The dimension within whose values groups are compared as well, for groups that ask for different things.
        clues: Metrics that may explain a gap, looked at beside the others (`likely`); () for none.

    Returns:
        A `Disparity`: `groups`, `gaps` and `whole` of the metrics as frames, `clues` apart, and why groups are hidden.

    Raises:
        MetricError: For a metric or dimension that cannot be compared.

    Example:
        >>> found = kpi.disparity(source, kpi.Slice(last="28d"), by=["language"], metrics=["task_success"])
        >>> {"group", "value", "difference", "q"} <= set(found.groups.columns)
        True
    """
    known = profile(source)
    named = None if metrics is None else [metric_of_kind(source, m, COMPARABLE, _NO_RATE) for m in metrics]
    chosen = supported(source, COMPARED) if named is None else named
    extra = [METRICS[n] for n in clues if known.supports(METRICS[n])]
    extra = [m for m in extra if m.name not in {c.name for c in chosen}]
    wanted: list[By] = [by] if isinstance(by, str | tuple) else list(by) if by is not None else list(_cohorts(source))
    keys = [(k,) if isinstance(k, str) else tuple(k) for k in wanted]
    strata = adjust if adjust in known.dimensions and any(adjust not in k for k in keys) else None
    resolved = resolve(source, slice)
    dims = list(dict.fromkeys([*(d for k in keys for d in k), *([strata] if strata else [])]))
    measured = [*chosen, *extra]
    far = tails(source, [m for m in chosen if m.kind == "quantile"], keys, strata, resolved=resolved)
    summed = [s for m in measured for s in (far[m.name].rates if m.name in far else (m,))]
    sums = by_user.user_sums(source, summed, dims, filters=resolved.filters, window=resolved.window)
    found = [_dimension(sums, key, measured, strata if strata not in key else None, far) for key in keys]
    of_name = {m.name: m for m in measured}
    every = _stacked([f[0] for f in found])
    groups, beside = (_with_q(every, [m.name for m in some]) for some in (chosen, extra))
    groups["verdict"] = [_verdict(r, of_name[r.metric]) for r in groups.itertuples()] if len(groups) else []
    return Disparity(groups=groups, gaps=_with_q(_stacked([f[1] for f in found]), [m.name for m in chosen]),
                     whole=_whole(sums, chosen, far), clues=beside,
                     hidden={name_of(k): f[2] for k, f in zip(keys, found, strict=True)},
                     adjusted_for=strata, scope=scope_of(resolved, int(sums.rows.sum())))  # fmt: skip


def name_of(key: Sequence[str]) -> str:
    """How the frames call a dimension or two: "language", "language × device"."""
    return " × ".join(key)


def _cohorts(source: Source) -> list[str]:
    """Dimensions that say who asks and how, not which version answered."""
    known = profile(source).dimensions
    return [c.name for c in COHORTS if 2 <= len(known.get(c.name, ())) <= by_user.MAX_GROUPS]


# --- one dimension ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Groups:
    """Groups of a dimension or of two: values that each stands for, whether it is shown, requests; values of strata."""

    key: tuple[str, ...]
    values: list[tuple[str, ...]]
    visible: Array
    requests: Array
    strata: tuple[str, ...]


def _dimension(
    sums: UserSums, key: tuple[str, ...], metrics: Sequence[Metric],
    strata: str | None, tails: Mapping[str, Tail] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:  # fmt: skip
    """(groups, gaps, reasons of hidden groups) of one dimension or the intersection of two."""
    group, values = _grouped(sums, key)
    layout = GroupLayout.of(sums, group, len(values))
    users = layout.groups.totals(np.ones(len(layout.groups.row)))
    kept, hidden = shown_groups(key, values, users)
    rarer = int(sums.rows[group < 0].sum())
    if rarer:
        hidden = [*hidden, f"rarer values: {rarer:,} requests of groups beyond the 60 largest count in the whole only"]
    within = None
    if strata is not None:
        codes = sums.dims[strata]
        stratum = np.where(codes.codes < 0, len(codes.values), codes.codes)
        within = GroupLayout.of(sums, group, len(values), stratum, len(codes.values) + 1)
    groups = _Groups(key, values, np.array([v in kept for v in values], dtype=bool),
                     np.bincount(group + 1, sums.rows, minlength=len(values) + 1)[1:],
                     sums.dims[strata].values if strata else ())  # fmt: skip
    found = []
    for metric in metrics:
        tail = (tails or {}).get(metric.name)
        found.append(_table(_measured(sums, (layout, within), metric, tail, groups=groups), groups))
    gaps = [gap for _, gap in found if gap is not None]
    return _stacked([table for table, _ in found]), pd.DataFrame(gaps, columns=list(_GAP)), hidden


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
    """One metric of the groups of a layout. tail: of a quantile. counted: groups that are large enough and shown."""

    metric: Metric
    tail: Tail | None
    raw: GroupContrast
    held: GroupContrast | None
    estimates: estimate.Estimates
    expected: Array
    usual: Array | None
    counted: Array


def _measured(
    sums: UserSums, layouts: tuple[GroupLayout, GroupLayout | None],
    metric: Metric, tail: Tail | None, *, groups: _Groups,
) -> _Measured:  # fmt: skip
    layout, within = layouts
    terms = sums.terms[metric.name]
    raw, held = group_contrast(layout, terms), group_contrast(within, terms) if within is not None else None
    if tail is None:
        e = estimate.of(metric, by_user.sums_of(layout, terms, sums.known[metric.name]))
        sure = np.isfinite(e.value)
        expected, usual = _expected(sums, groups, metric, raw.whole), None
    else:
        e = tail.of(groups.key, groups.values, layout, sums)
        sure = np.isfinite(e.low) & np.isfinite(e.high)
        expected = tail.expected(groups.key, groups.values)
        usual = tail.usual(groups.strata, held.share) if held is not None else None
    counted = groups.visible & (e.n >= metric.min_n) & (e.clusters >= FLOOR) & sure
    return _Measured(metric, tail, raw, held, e, expected, usual, counted)


def _table(m: _Measured, groups: _Groups) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """(rows of the shown groups, the row of the gap) of one metric."""
    raw, metric, keep, e = m.raw, m.metric, m.counted, m.estimates
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        p = 2 * special.stdtr(raw.df, -np.abs(raw.difference / np.sqrt(raw.alone)))
        if m.tail is None:
            columns = mean_gaps.columns(metric, e, raw, held=m.held, expected=m.expected, counted=keep)
        else:
            columns = quantile_gaps.columns(m.tail, e, raw, held=m.held, usual=m.usual, expected=m.expected,
                                            counted=keep)  # fmt: skip
            p = np.where(np.sign(columns["difference"]) == np.sign(raw.difference), p, 1.0)
    plain = {"ratio", "ratio_low", "ratio_high", "ratio_to_best", "ratio_to_best_low", "ratio_to_best_high"}
    columns = {c: np.where(keep, v, np.nan) * (1.0 if c in plain else metric.scale) for c, v in columns.items()}
    names = [name_of(v) for v in groups.values]
    table = pd.DataFrame({"dimension": name_of(groups.key), "group": names,
                          "where": [dict(zip(groups.key, v, strict=True)) for v in groups.values],
                          "metric": metric.name, "unit": metric.unit, "n": e.n.astype(int),
                          "users": e.clusters.astype(int), "coverage": e.n / groups.requests,
                          **columns, "p": np.where(keep, p, np.nan)})  # fmt: skip
    if keep.sum() < 2:
        return table[keep], None
    named = {"dimension": name_of(groups.key), "metric": metric.name, "unit": metric.unit}
    return table[keep], {**named, **_gap(m, names)}


def _expected(sums: UserSums, groups: _Groups, metric: Metric, whole: float) -> Array:
    """What a group is drawn towards: the whole; for an intersection the differences of both its sides, added up."""
    expected = np.full(len(groups.values), whole)
    if len(groups.key) == 1:
        return expected
    terms = sums.terms[metric.name]
    for i, name in enumerate(groups.key):
        codes = sums.dims[name]
        inside = codes.codes >= 0
        y, x = (np.bincount(codes.codes[inside], v[inside], minlength=len(codes.values)) for v in (terms.y, terms.x))
        with np.errstate(divide="ignore", invalid="ignore"):
            side = dict(zip(codes.values, np.nan_to_num(y / x - whole), strict=True))
        expected += np.array([side[v[i]] for v in groups.values])
    return np.clip(expected, 0, 1) if metric.kind == "rate" else expected


def _gap(m: _Measured, names: list[str]) -> dict[str, Any]:
    """Largest minus smallest value over the groups, and whether equal groups would show as much.

    gap: as observed, with limits that hold for all pairs of groups, low 0 unless p <= 0.05. noise: what equal groups
    exceed in one of 20 cases; p: how often they show such a gap (of a quantile: such a range of the shares above that
    of the whole). beyond: the gap with the part of chance taken off, sqrt(gap^2 - E0 gap^2). adjusted, adjusted_p: the
    same of the differences within strata. worst, best: groups. four_fifths: smallest over largest rate of the good
    outcome (shares only), which a rule of thumb wants at 0.8 or more (EEOC Uniform Guidelines 1978).
    """
    metric, counted, scale = m.metric, m.counted, m.metric.scale
    if m.tail is None:
        g = mean_gaps.gap(m.raw, held=m.held, counted=counted)
    else:
        g = quantile_gaps.gap(m.tail, m.estimates, m.raw, held=m.held, usual=m.usual, counted=counted)
    worst, best = (g["most"], g["least"]) if metric.direction == "down" else (g["least"], g["most"])
    value = m.estimates.value[counted]
    good = 1 - value if metric.direction == "down" else value
    fifths = float(good.min() / good.max()) if metric.kind == "rate" and good.max() > 0 else np.nan
    return {"gap": g["observed"] * scale, "low": max(g["low"], 0.0) * scale if g["p"] <= LEVEL else 0.0,
            "high": g["high"] * scale, "beyond": np.sqrt(max(g["observed"] ** 2 - g["square"], 0.0)) * scale,
            "noise": g["noise"] * scale, "p": g["p"], "adjusted": g["adjusted"] * scale, "adjusted_p": g["adjusted_p"],
            "worst": names[worst], "best": names[best], "groups": int(counted.sum()),
            "n": int(m.estimates.n[counted].sum()), "four_fifths": fifths}  # fmt: skip


# --- the page --------------------------------------------------------------------------------------------------------


def _with_q(frame: pd.DataFrame, of: Sequence[str]) -> pd.DataFrame:
    """The rows of some metrics, with q of Benjamini and Hochberg over them."""
    if frame.empty:
        return frame.assign(q=np.zeros(0))
    mine = frame[frame["metric"].isin(of)].reset_index(drop=True)
    return mine.assign(q=benjamini_hochberg(mine["p"].to_numpy(dtype=float)))


def _verdict(row: Any, metric: Metric) -> str:
    """better, worse (higher, lower where no way is better), or no clear difference."""
    return metric.moved(row.difference) if row.q <= LEVEL else "no clear difference"


def _whole(sums: UserSums, metrics: Sequence[Metric], far: Mapping[str, Tail]) -> pd.DataFrame:
    """The metrics of the slice, as `kpi.summarise` gives them."""
    rows = []
    for m in metrics:
        e = far[m.name].whole(sums) if m.name in far else estimate.of(m, by_user.sums_of_all(sums, m.name))
        rows.append({"metric": m.name, "value": e.value[0] * m.scale,
                     "low": e.low[0] * m.scale, "high": e.high[0] * m.scale, "n": int(e.n[0]),
                     "users": int(e.clusters[0]), "unit": m.unit})  # fmt: skip
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n", "users", "unit"])


def _stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [f for f in frames if len(f)]
    return pd.concat(filled, ignore_index=True) if filled else (frames[0] if frames else pd.DataFrame())
