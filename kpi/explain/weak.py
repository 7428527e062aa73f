"""Weak segments: of all cohort values and pairs of them, those that fail most against the rest of the slice.

Level, not change: `kpi.findings` says what became worse, this says where it is worst. Every segment with enough rows
and users is tested (`kpi.explain.rest`), its false discoveries under control over the whole search. Of segments that
overlap the one that explains most is told, then what is left is searched again with that one held: a parent that is
bad through one child only, a child that is merely a part of an evenly bad parent, and a second name of the same
requests have nothing of their own left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from kpi.errors import MetricError
from kpi.explain.cells import Array, searchable
from kpi.explain.disparity import FLOOR
from kpi.explain.groups import Layout, UserSums, sums_of, user_sums
from kpi.explain.rest import Entries, Rest, Tested
from kpi.explain.search import MIN_ROWS, q_values, weighted_p
from kpi.measure import estimate
from kpi.measure.metrics import METRICS, Metric
from kpi.measure.profile import profile
from kpi.measure.slice import Slice
from kpi.measure.summary import resolve
from kpi.measure.wording import format_change, format_change_interval, format_count, format_interval, format_value
from kpi.store.engines import Source

LEVEL = 0.05
ALPHA = 0.95  # how SliceLine weighs the error of a segment against its size
USERS = FLOOR  # of a segment, and of what is left of everything around it
_WORTH = 2.0  # plain standard errors below which no clustered test can find anything
_NAMING = 4.0  # what another named value must add to the strength before it is believed (two nats of likelihood)
_CANDIDATES = 200  # the strongest segments, of which a large weakness brings thousands
_KINDS = {"rate": estimate.rate, "ratio": estimate.ratio, "incidence": estimate.incidence}
_COLUMNS = ("where", "value", "low", "high", "difference", "difference_low", "difference_high", "n", "users",
            "share", "share_of_failures", "excess", "excess_low", "excess_high", "sliceline", "z", "p", "q",
            "sentence")  # fmt: skip
# What goes wrong, by metric; else failures where more is better, cases where less is.
_NOUNS = {
    "correctness": "wrong answers", "groundedness": "ungrounded answers", "retrieval_hit_rate": "misses",
    "refusal_rate": "refusals", "fallback_rate": "fallbacks", "escalation_rate": "escalations",
    "override_rate": "overrides", "error_rate": "errors", "slo_attainment": "slow requests",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Weak:
    """Segments of a slice whose metric is worst against the rest, the most important first.

    frame: a row a segment: where (dimension -> value), value with low and high (as `kpi.summarise`), difference to the
    rest of the slice with limits (95 %, within `adjusted_for` where given), n and users; share of the requests and
    share_of_failures of what goes wrong (of cost: of the cost) that lie in it; excess: failures beyond what the rate of
    the rest would give, with limits, by whose lower one the rows are sorted; sliceline: score of Sagadeeva and Boehm
    (2021); z, p (one-sided) and q over the whole search; sentence. Values and differences are in `unit`.
    whole, n: of the slice. looked: segments with enough rows. dimensions: those searched. sentence: all in one.
    """

    metric: str
    unit: str
    whole: float
    n: int
    looked: int
    dimensions: tuple[str, ...]
    adjusted_for: str | None
    frame: pd.DataFrame
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Plain data, the keys of `kpi segments --json`."""
        plain = {k: v for k, v in vars(self).items() if k != "frame"}
        rows = self.frame.astype(object).where(self.frame.notna(), None).to_dict("records")
        return {**plain, "dimensions": list(self.dimensions), "segments": rows}


def weak_segments(
    source: Source,
    slice: Slice | None = None,
    *,
    metric: str | Metric = "task_success",
    dimensions: Sequence[str] | None = None,
    adjust: str | None = None,
    most: int = 10,
    level: float = LEVEL,
) -> Weak:
    """The segments of one and two values in which a rate, mean, ratio or incidence is worst. One query.

    dimensions: to search, by default all that `kpi.findings` searches. adjust: a dimension within whose values segments
    are compared, for segments that ask for different things. most: rows of the frame. level: of the false discovery
    rate. Raises MetricError for a metric that has no worse side, of another kind or unknown.
    """
    chosen = _metric(metric)
    resolved = resolve(source, slice)
    names = list(dict.fromkeys(dimensions)) if dimensions is not None else searchable(source)
    fixed = {d for d, values in resolved.filters if len(values) == 1}
    names = [n for n in names if n not in fixed]
    asked = list(dict.fromkeys([*names, *([adjust] if adjust else [])]))
    sums = user_sums(source, [chosen], asked, filters=resolved.filters, window=resolved.window)
    return weakest(sums, chosen, names, adjust=adjust, most=most, level=level)


def _metric(name: str | Metric) -> Metric:
    found = METRICS.get(name) if isinstance(name, str) else name
    if found is None or found.kind not in _KINDS:
        raise MetricError(
            "weak.metric", f"{str(name)[:60]!r} is no rate, mean, ratio or incidence",
            hint="For latency search slo_attainment or slo_attainment(milliseconds); for cost cost_per_query.",
        )  # fmt: skip
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


# --- the search, on arrays alone -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Segment:
    """A segment that was tested. where: (dimension, value) pairs; inside: positions of its entries."""

    where: tuple[tuple[str, str], ...]
    inside: Array
    found: Tested
    q: float = 1.0

    @property
    def strength(self) -> float:
        return self.found.strength - _NAMING * len(self.where)


def weakest(
    sums: UserSums,
    metric: Metric,
    dimensions: Sequence[str],
    *,
    adjust: str | None = None,
    most: int = 10,
    level: float = LEVEL,
) -> Weak:
    """`weak_segments` on sums by user that are already there."""
    entries, kept = _entries(sums, metric)
    codes = {d: (sums.dims[d].codes[kept], sums.dims[d].values) for d in dict.fromkeys([*dimensions, adjust]) if d}
    stratum, layers = _strata(codes[adjust]) if adjust else (np.zeros(len(entries), dtype=np.int64), 1)
    rest = Rest(entries, stratum, layers)
    searched = [d for d in dimensions if d != adjust]
    segments, looked = _search(rest, {d: codes[d] for d in searched})
    clear = [s for s in segments if s.q <= level]
    told = _told(rest, clear, _weights(looked), int(looked.sum()), most, level)
    rows = [_row(s, entries, sums, kept, metric) for s in told]
    rows.sort(key=lambda r: (-r["excess_low"], tuple(r["where"].items())))
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    size = float(entries.size.sum())
    whole = float(sums.terms[metric.name].y.sum()) / size * metric.scale if size else math.nan
    return Weak(
        metric=metric.name, unit=metric.unit, whole=whole, n=int(entries.rows.sum()), looked=int(looked.sum()),
        dimensions=tuple(searched), adjusted_for=adjust, frame=frame,
        sentence=_sentence(frame, metric, whole, int(looked.sum()), searched),
    )  # fmt: skip


def _entries(sums: UserSums, metric: Metric) -> tuple[Entries, Array]:
    """(entries in which the metric is known, their positions). What counts against: of a share where more is better,
    the others."""
    terms = sums.terms[metric.name]
    kept = np.flatnonzero(terms.x > 0)
    y, x = terms.y[kept], terms.x[kept]
    bad = y if metric.direction == "down" else x - y if metric.unit == "share" else -y
    user = np.unique(sums.user[kept], return_inverse=True)[1]
    users = int(user.max()) + 1 if len(user) else 0
    rows = sums.known[metric.name][kept]
    return Entries(user=user, users=users, rows=rows, bad=bad, size=x, kind=metric.kind), kept


def _strata(coded: tuple[Array, tuple[str, ...]]) -> tuple[Array, int]:
    codes, values = coded
    return np.where(codes < 0, len(values), codes), len(values) + 1


def _search(rest: Rest, dims: Mapping[str, tuple[Array, tuple[str, ...]]]) -> tuple[list[_Segment], Array]:
    """(segments that were tested, each with its q; segments looked at that name no value, one, two)."""
    p: list[Array] = []
    literals: list[int] = []
    segments: list[tuple[int, _Segment]] = []  # with the place of each among all p
    parents: dict[tuple[tuple[str, str], ...], Array] = {}
    for keys, group, count in _layouts(dims):
        large, worth = _worth(rest, group, count)
        place = len(literals) - 1
        literals += [len(keys)] * int(large.sum())
        p.append(np.ones(int(large.sum())))
        order = np.argsort(group, kind="stable") if worth.any() else group
        bounds = np.searchsorted(group[order], np.arange(count + 1)) if worth.any() else group
        rank = np.cumsum(large)
        for g in np.flatnonzero(worth):
            inside = order[bounds[g] : bounds[g + 1]]
            where = _where(keys, int(g), dims)
            found = rest.test(inside)
            if not _large_enough(found) or not _cannot_be_worked_out(rest, where, inside, dims, parents):
                continue
            p[-1][rank[g] - 1] = found.p
            segments.append((place + int(rank[g]), _Segment(where=where, inside=inside, found=found)))
    looked = np.bincount(np.array(literals, dtype=np.int64), minlength=3)
    if not segments:
        return [], looked
    q = q_values(np.concatenate(p), np.array(literals))
    return [_Segment(where=s.where, inside=s.inside, found=s.found, q=float(q[i])) for i, s in segments], looked


def _layouts(dims: Mapping[str, tuple[Array, tuple[str, ...]]]) -> Iterator[tuple[tuple[str, ...], Array, int]]:
    """(dimensions, group of each entry or -1, groups): every dimension, then every pair."""
    small = {d: (codes.astype(np.int32), len(values)) for d, (codes, values) in dims.items()}
    for name, (codes, count) in small.items():
        yield (name,), codes, count
    for a, b in combinations(small, 2):
        (first, _), (second, width) = small[a], small[b]
        yield (a, b), np.where((first >= 0) & (second >= 0), first * width + second, -1), small[a][1] * width


def _where(
    keys: tuple[str, ...], group: int, dims: Mapping[str, tuple[Array, tuple[str, ...]]]
) -> tuple[tuple[str, str], ...]:
    if len(keys) == 1:
        return ((keys[0], dims[keys[0]][1][group]),)
    first, second = (dims[k][1] for k in keys)
    return ((keys[0], first[group // len(second)]), (keys[1], second[group % len(second)]))


def _worth(rest: Rest, group: Array, count: int) -> tuple[Array, Array]:
    """Masks of the groups that are looked at and of those that are worth a test. Groups and rest have enough rows."""
    inside = np.flatnonzero(group >= 0)
    at, entries = group[inside], rest.entries
    rows = np.bincount(at, entries.rows[inside], minlength=count)
    large = (rows >= MIN_ROWS) & (entries.rows.sum() - rows >= MIN_ROWS)
    if not large.any():
        return large, large
    beyond = np.bincount(at, rest.residual[inside], minlength=count)
    key = at * rest.layers + rest.stratum[inside]
    size = np.bincount(key, entries.size[inside], minlength=count * rest.layers).reshape(count, rest.layers)
    weight = size.sum(axis=1) - (size**2) @ np.divide(1, rest.size, out=np.zeros(rest.layers), where=rest.size > 0)
    return large, large & (rest.worth(beyond, np.maximum(weight, 0)) >= _WORTH)


def _large_enough(found: Tested) -> bool:
    return found.users >= USERS and found.rest_users >= USERS


def _cannot_be_worked_out(
    rest: Rest,
    where: tuple[tuple[str, str], ...],
    inside: Array,
    dims: Mapping[str, tuple[Array, tuple[str, ...]]],
    parents: dict[tuple[tuple[str, str], ...], Array],
) -> bool:
    """Whether what is left of each wider segment, which another page may show, is nothing or has enough users."""
    if len(where) == 1:
        return True
    entered = np.bincount(rest.entries.user[inside], minlength=rest.entries.users)
    for name, value in where:
        key = ((name, value),)
        if key not in parents:
            codes, values = dims[name]
            parents[key] = np.bincount(
                rest.entries.user[codes == values.index(value)], minlength=rest.entries.users
            )  # fmt: skip
        left = int((parents[key] > entered).sum())
        if 0 < left < USERS:
            return False
    return True


# --- what is told ----------------------------------------------------------------------------------------------------


def _weights(looked: Array) -> Array:
    """p times this is weighted by how many values a segment names; by their number."""
    literals = np.repeat(np.arange(len(looked)), looked)
    tiny = np.full(len(literals), 1e-9)
    weighted = weighted_p(tiny, literals) / tiny if len(tiny) else tiny
    return np.array([weighted[literals == i][0] if looked[i] else 1.0 for i in range(len(looked))])


def _told(rest: Rest, clear: Sequence[_Segment], weights: Array, tests: int, most: int, level: float) -> list[_Segment]:
    """The segments that explain most, one after the other, each with those before it held.

    The k-th needs a weighted Bonferroni p up to k times the level, of what is its own: Benjamini and Hochberg (1995)
    over the segments that are told, each of which stands for many.
    """
    left = sorted(clear, key=lambda s: (-s.strength, s.where))[:_CANDIDATES]
    pattern, state = np.zeros(len(rest.entries), dtype=np.int64), rest
    told: list[_Segment] = []
    own = {s.where: s for s in left}
    while len(told) < most:
        allowed = level * (len(told) + 1) / max(tests, 1)
        left = [s for s in left if own[s.where].found.p * weights[len(s.where)] <= allowed]
        if not left:
            break
        best = max(left, key=lambda s: (own[s.where].strength, [(d, v) for d, v in s.where]))
        told.append(best)
        pattern[best.inside] += 1 << len(told)
        left = [s for s in left if s is not best]
        held = np.unique(rest.stratum + rest.layers * pattern, return_inverse=True)[1]
        state = Rest(rest.entries, held, int(held.max()) + 1)
        own = {s.where: _Segment(where=s.where, inside=s.inside, found=state.test(s.inside)) for s in left}
    return told


def _row(s: _Segment, entries: Entries, sums: UserSums, kept: Array, metric: Metric) -> dict[str, Any]:
    group = np.full(len(sums.user), -1, dtype=np.int64)
    group[kept[s.inside]] = 0
    known = sums.known[metric.name]
    of = _KINDS[metric.kind](sums_of(Layout.of(sums, group, 1), sums.terms[metric.name], known))
    f, size, rows = s.found, float(entries.size[s.inside].sum()), float(entries.rows[s.inside].sum())
    bad, all_bad, all_size = float(entries.bad[s.inside].sum()), float(entries.bad.sum()), float(entries.size.sum())
    counted = all_bad > 0
    scale = metric.scale
    up = metric.direction == "up"  # what counts against the segment is then what the metric lacks
    low, high = (-f.high, -f.low) if up else (f.low, f.high)
    unit = 1.0 if metric.kind in ("rate", "incidence") else scale
    row: dict[str, Any] = {
        "where": dict(s.where), "value": float(of.value[0]) * scale, "low": float(of.low[0]) * scale,
        "high": float(of.high[0]) * scale, "difference": (-f.difference if up else f.difference) * scale,
        "difference_low": low * scale, "difference_high": high * scale, "n": int(rows), "users": f.users,
        "share": rows / float(entries.rows.sum()), "share_of_failures": bad / all_bad if counted else math.nan,
        "excess": f.difference * size * unit, "excess_low": f.low * size * unit, "excess_high": f.high * size * unit,
        "sliceline": sliceline(bad, size, all_bad, all_size), "z": f.z, "p": f.p, "q": s.q,
    }  # fmt: skip
    return {**row, "sentence": _row_sentence(row, metric)}


# --- words -----------------------------------------------------------------------------------------------------------


def _name(where: Mapping[str, str]) -> str:
    return " and ".join(f"{d.replace('_', ' ')} {v}" for d, v in where.items())


def _noun(metric: Metric) -> str:
    if metric.kind == "incidence":
        return "incidents"
    if metric.kind == "ratio":
        return "cost" if metric.unit == "usd" else "total"
    return _NOUNS.get(metric.name, "failures" if metric.direction == "up" else "cases")


def _row_sentence(row: Mapping[str, Any], metric: Metric) -> str:
    """One sentence: where, how much, against the rest, and what lies in it."""
    unit, name = metric.unit, _name(row["where"])
    limits = format_interval(row["low"], row["high"], unit)
    change = format_change_interval(row["difference_low"], row["difference_high"], unit)
    told = (
        f"{name[:1].upper()}{name[1:]}: {format_value(row['value'], unit)} ({limits}; "
        f"{format_count(row['n'], 'requests')}), {format_change(row['difference'], unit)} ({change}) to the rest"
    )
    if row["share_of_failures"] == row["share_of_failures"]:
        told += (
            f"; {format_value(row['share_of_failures'], 'share')} of all {_noun(metric)} in "
            f"{format_value(row['share'], 'share')} of the requests"
        )
    return told + "."


def _sentence(frame: pd.DataFrame, metric: Metric, whole: float, looked: int, dimensions: Sequence[str]) -> str:
    of = f"{format_count(looked, 'segments')} of {format_count(len(dimensions), 'dimensions')} searched"
    if not looked:
        return f"No segment is large enough to compare its {metric.label.lower()} with the rest."
    if frame.empty:
        return f"{metric.label} is clearly worse in no segment than in the rest: {of}."
    names = [_name(w) for w in frame["where"]]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{metric.label} is {format_value(whole, metric.unit)}, and clearly worse in {shown}; {of}."
