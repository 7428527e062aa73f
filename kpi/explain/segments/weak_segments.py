"""Weak segments: of all cohort values and pairs of them, those that fail most against the rest of the slice.

Level, not change: `kpi.findings` says what became worse, this says where it is worst. Every segment with enough rows
and users is tested (`segment_test`), the false discovery rate controlled over the whole search. Of segments that
overlap, the most informative one is reported (`scan`): never a parent that is bad through one child only, nor a child
that is merely a part of an evenly bad parent, nor a second name of the same requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from kpi.errors import MetricError
from kpi.explain.aggregates.search_space import SearchSpace, search_space
from kpi.explain.aggregates.user_sums import GroupLayout, UserSums, sums_of, user_sums
from kpi.explain.segments.scan import Segment, weakest
from kpi.explain.segments.segment_test import Entries, SegmentTest
from kpi.measure import estimate
from kpi.measure.metrics import Metric
from kpi.measure.own_metrics import Unfit, metric_of_kind
from kpi.measure.slice import Slice
from kpi.measure.summary import resolve
from kpi.narrate.names import segment_name, sentence_case
from kpi.narrate.segments import weak_segment_sentence, weak_segments_sentence, with_search_space
from kpi.narrate.wording import scope_of
from kpi.result import Result
from kpi.stats.types import Array
from kpi.store.engines import Source

LEVEL = 0.05
ALPHA = 0.95  # how SliceLine weighs the error of a segment against its size
_KINDS = ("rate", "ratio", "incidence")
_NO_RATE = Unfit(
    "weak.metric", "{0.name!r} is no rate, mean, ratio or incidence",
    "For latency search slo_attainment or slo_attainment(milliseconds); for cost cost_per_query.",
)  # fmt: skip
_COLUMNS = ("where", "name", "also", "value", "low", "high", "difference", "difference_low", "difference_high", "n",
            "users", "share", "share_of_failures", "excess", "excess_low", "excess_high", "sliceline", "z", "p", "q",
            "sentence")  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Weak(Result):
    """Segments of a slice whose metric is worst against the rest, the most important first.

    segments: a row each: where (dimension -> value), its name in words; also, other names of the same requests; value
    with low and high (as `kpi.summarise`), difference to the rest of the slice with limits (95 %, within `adjusted_for`
    where given), n and users; share of the requests and share_of_failures of what goes wrong (of cost: of the cost)
    that lie in it; excess: failures beyond what the rate of the rest would give, with limits, by whose lower one the
    rows are sorted; sliceline: score of Sagadeeva and Boehm (2021); z, p (one-sided) and q over the whole search;
    sentence. Values and differences are in `unit`, excess in `excess_unit` (count, or that of a ratio's numerator).
    whole, n: of the slice. looked: segments with enough rows. dimensions: those searched; space: how
    they were chosen and what was left out, where none were named. sentence: all in one.
    """

    main = "segments"
    columns = ("name", "value", "low", "high", "difference", "n", "users", "share_of_failures", "q")
    metric: str
    unit: str
    excess_unit: str
    whole: float
    n: int
    looked: int
    dimensions: tuple[str, ...]
    adjusted_for: str | None
    segments: pd.DataFrame
    sentence: str
    space: SearchSpace | None = None
    scope: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the keys of `kpi segments --json`."""
        told = super().to_dict()
        space = told.pop("space")
        return {**told, "not_searched": space["left_out"]} if self.space and self.space.sentence else told


def weak_segments(
    source: Source, slice: Slice | None = None, *, metric: str | Metric = "task_success",
    dimensions: Sequence[str] | None = None, adjust: str | None = None, most: int = 10, level: float = LEVEL,
) -> Weak:  # fmt: skip
    """The segments of one and two values in which a rate, mean, ratio or incidence is worst. One query.

    Args:
        source: Where the rows are.
        slice: The rows to look at; all of them when None.
        metric: Name or `Metric` with a worse side.
        dimensions: To search, by default all that `kpi.findings` searches.
        adjust: A dimension within whose values segments are compared, for segments that ask for different things.
        most: Segments to give.
        level: Of the false discovery rate.

    Returns:
        A `Weak`: `segments` with a row a segment, worst first, and a sentence.

    Raises:
        MetricError: For a metric that has no worse side, of another kind or unknown.

    Example:
        >>> found = kpi.weak_segments(source, kpi.Slice(last="28d"), dimensions=["language", "channel"], most=3)
        >>> found.metric, len(found.segments) <= 3
        ('task_success', True)
    """
    chosen = _metric(source, metric)
    resolved = resolve(source, slice)
    given = SearchSpace(dimensions=tuple(dimensions or ()), left_out={})
    space = search_space(source, [chosen]) if dimensions is None else given
    names = list(dict.fromkeys(space.dimensions))
    fixed = {d for d, values in resolved.filters if len(values) == 1}
    names = [n for n in names if n not in fixed]
    asked = list(dict.fromkeys([*names, *([adjust] if adjust else [])]))
    sums = user_sums(source, [chosen], asked, filters=resolved.filters, window=resolved.window)
    found = weakest_of(sums, chosen, names, adjust=adjust, most=most, level=level)
    return replace(
        found,
        sentence=with_search_space(found.sentence, space.sentence),
        space=space,
        scope=scope_of(resolved, found.n),
    )


def _metric(source: Source, name: str | Metric) -> Metric:
    found = metric_of_kind(source, name, _KINDS, _NO_RATE)
    if found.direction == "none":
        raise MetricError("weak.direction", f"{found.label} has no worse side",
                          hint="Choose a metric of which more or less is better.")  # fmt: skip
    return found


def sliceline(bad: float, size: float, all_bad: float, all_size: float, *, alpha: float = ALPHA) -> float:
    """Score of a segment: alpha (its mean error / the mean - 1) - (1 - alpha) (requests in all / its requests - 1).

    Sagadeeva and Boehm 2021 (SIGMOD, section 2.2). Above 0: worse than the mean by more than its smallness costs.
    NaN where nothing fails.
    """
    if not (size > 0 and all_bad > 0):
        return math.nan
    return alpha * (bad / size / (all_bad / all_size) - 1) - (1 - alpha) * (all_size / size - 1)


def weakest_of(
    sums: UserSums, metric: Metric, dimensions: Sequence[str], *,
    adjust: str | None = None, most: int = 10, level: float = LEVEL,
) -> Weak:  # fmt: skip
    """`weak_segments` on sums by user that are already there."""
    entries, kept = _entries(sums, metric)
    codes = {d: (sums.dims[d].codes[kept], sums.dims[d].values) for d in dict.fromkeys([*dimensions, adjust]) if d}
    within, strata = codes[adjust] if adjust else (np.zeros(len(entries), dtype=np.int64), ())
    rest = SegmentTest(entries, np.where(within < 0, len(strata), within), len(strata) + 1)
    searched = [d for d in dimensions if d != adjust]
    told, looked = weakest(rest, {d: codes[d] for d in searched}, level=level, most=most)
    rows = [_row(s, entries, sums, kept, metric) for s in told]
    rows.sort(key=lambda r: (-r["excess_low"], tuple(r["where"].items())))
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    size = float(entries.size.sum())
    whole = float(sums.terms[metric.name].y.sum()) / size * metric.scale if size else math.nan
    spent = metric.kind == "ratio" and metric.unit != "share"
    return Weak(
        metric=metric.name, unit=metric.unit, excess_unit=metric.unit if spent else "count", whole=whole,
        n=int(entries.rows.sum()), looked=looked, dimensions=tuple(searched), adjusted_for=adjust, segments=frame,
        sentence=weak_segments_sentence(list(frame["where"]), metric, whole, looked, len(searched)),
    )  # fmt: skip


def _entries(sums: UserSums, metric: Metric) -> tuple[Entries, Array]:
    """(entries in which the metric is known, their positions); what counts against: of a share of which more is better,
    its complement."""
    terms, known = sums.terms[metric.name], sums.known[metric.name]
    kept = np.flatnonzero(known > 0)
    y, x = terms.y[kept], terms.x[kept]
    bad = y if metric.direction == "down" else x - y if metric.unit == "share" else -y
    people, user = np.unique(sums.user[kept], return_inverse=True)
    return Entries(user=user, users=len(people), rows=known[kept], bad=bad, size=x, kind=metric.kind), kept


def _row(s: Segment, entries: Entries, sums: UserSums, kept: Array, metric: Metric) -> dict[str, Any]:
    """A row of the frame, in the unit of the metric."""
    inside, scale = s.inside, metric.scale
    group = np.full(len(sums.user), -1, dtype=np.int64)
    group[kept[inside]] = 0
    of = estimate.of(metric, sums_of(GroupLayout.of(sums, group, 1), sums.terms[metric.name], sums.known[metric.name]))
    size, rows, bad = (float(v[inside].sum()) for v in (entries.size, entries.rows, entries.bad))
    all_size, all_rows, all_bad = (float(v.sum()) for v in (entries.size, entries.rows, entries.bad))
    apart = np.array([s.found.difference, s.found.low, s.found.high])  # of what counts against the segment
    excess = apart * size * (scale if metric.kind == "ratio" else 1.0)
    shown = (-apart[[0, 2, 1]] if metric.direction == "up" else apart) * scale
    row: dict[str, Any] = {
        "where": dict(s.where), "name": sentence_case(segment_name(dict(s.where))),
        "also": tuple(dict(w) for w in s.also),
        **_named("{}", ("value", "low", "high"), np.array([of.value[0], of.low[0], of.high[0]]) * scale),
        **_named("difference{}", ("", "_low", "_high"), shown), "n": int(rows), "users": s.found.users,
        "share": rows / all_rows, "share_of_failures": bad / all_bad if all_bad > 0 else math.nan,
        **_named("excess{}", ("", "_low", "_high"), excess),
        "sliceline": sliceline(bad, size, all_bad, all_size), "z": s.found.z, "p": s.found.p, "q": s.q,
    }  # fmt: skip
    return {**row, "sentence": weak_segment_sentence(row, metric)}


def _named(pattern: str, parts: Sequence[str], values: Array) -> dict[str, float]:
    return {pattern.format(part): float(v) for part, v in zip(parts, values, strict=True)}
