"""Who names the cause: the findings of the index, and the obvious ways without it, on worlds whose cause is known.

The others are given our dating of a change, so that what is compared is the metric and the segment alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import combinations

import numpy as np

import kpi
from kpi.explain.aggregates.cube import Cube, build_cube
from kpi.explain.changes.onset import onset
from kpi.explain.changes.region import spread
from kpi.govern.findings import DAYS, DAYS_BEFORE, findings
from kpi.measure.metrics import CHOSEN, METRICS
from kpi.measure.summary import resolve
from tests.worlds.generate import Cause, World

DAYS_OFF = 2
STRONG = 3.0  # standard errors of the segment's own change from which a cause must be found


@dataclass(frozen=True)
class Named:
    """What somebody names first in a world, and how many things they name in all."""

    metric: str = ""
    where: Mapping[str, str] | None = None
    since: date | None = None
    kind: str = ""
    count: int = 0


def of_world(world: World) -> Cube:
    """The cells of the last 42 days of a world."""
    source = kpi.from_frame(world.requests)
    window = resolve(source, kpi.Slice(last=f"{DAYS + DAYS_BEFORE}d", baseline="none")).window
    assert window is not None
    known = [METRICS[m] for m in CHOSEN["searched"] if kpi.profile(source).supports(METRICS[m])]
    return build_cube(source, known, window=window)


def ours(world: World, found: Cube) -> Named:
    """The first finding."""
    told = findings(kpi.from_frame(world.requests))
    if not told:
        return Named()
    first = told[0]
    return Named(first.metric, dict(first.where), first.since, first.kind, len(told))


def each_told(world: World, found: Cube) -> tuple[list[float], int]:
    """(for every cause of at least STRONG errors how well a finding names it, findings that name none or one again)."""
    told = [Named(f.metric, dict(f.where), f.since, f.kind) for f in findings(kpi.from_frame(world.requests), most=20)]
    hits = {id(c): [right(named, c) for named in told] for c in world.causes}
    once = sum(any(scores) for scores in hits.values())
    strong = [c for c in world.causes if strength(found, c) >= STRONG]
    return [max(hits[id(c)], default=0.0) for c in strong], len(told) - once


def largest_change(world: World, found: Cube) -> Named:
    """The metric and segment of at least 100 requests whose value moved most, in points or in per cent."""
    best: tuple[float, str, dict[str, str], np.ndarray] = (0.0, "", {}, np.zeros(0, dtype=bool))
    for where, inside in _segments(found):
        now, before = inside & (found.day >= DAYS_BEFORE), inside & (found.day < DAYS_BEFORE)
        for metric, terms in found.terms.items():
            x1, x0 = terms.x[now].sum(), terms.x[before].sum()
            if min(x1, x0) < 100:
                continue
            moved = abs(terms.y[now].sum() / x1 - terms.y[before].sum() / x0)
            if moved > best[0]:
                best = (moved, metric, where, inside)
    return _named(found, best[1], best[2], best[3], 1) if best[1] else Named()


def each_tested(world: World, found: Cube) -> Named:
    """A two-sample z test in each segment, requests taken as independent, p < .05, nothing corrected."""
    best: tuple[float, str, dict[str, str], np.ndarray] = (1.96, "", {}, np.zeros(0, dtype=bool))
    count = 0
    for where, inside in _segments(found):
        now, before = inside & (found.day >= DAYS_BEFORE), inside & (found.day < DAYS_BEFORE)
        for metric, terms in found.terms.items():
            x1, x0 = terms.x[now].sum(), terms.x[before].sum()
            if min(x1, x0) < 30:
                continue
            change = terms.y[now].sum() / x1 - terms.y[before].sum() / x0
            pooled = (terms.y[now].sum() + terms.y[before].sum()) / (x1 + x0)
            residual = (terms.y - pooled * terms.x)[now | before]
            error = np.sqrt((residual**2).sum() / (x1 + x0) * (1 / x1 + 1 / x0))
            z = abs(change) / error if error > 0 else 0.0
            count += z > 1.96
            if z > best[0]:
                best = (z, metric, where, inside)
    return _named(found, best[1], best[2], best[3], count) if best[1] else Named()


def column_drift(world: World, found: Cube) -> Named:
    """Jensen-Shannon distance of each column between the two windows, from 0.1 on, as Evidently does by default above
    1,000 rows; without segments."""
    before = found.day < DAYS_BEFORE
    distances = {}
    for metric, terms in found.terms.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(terms.x > 0, terms.y / terms.x, np.nan)
        edges = np.unique(np.nanquantile(value[before], np.linspace(0, 1, 11)))
        edges = edges if len(edges) > 2 else np.array([-0.5, 0.5, 1e9])
        hist = [np.histogram(value[m & ~np.isnan(value)], bins=edges)[0].astype(float) for m in (~before, before)]
        p, q = (h / max(h.sum(), 1) for h in hist)
        middle = (p + q) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = [np.nansum(np.where(a > 0, a * np.log2(a / middle), 0)) for a in (p, q)]
        distances[metric] = float(np.sqrt(max(sum(parts) / 2, 0)))
    shown = {m: d for m, d in distances.items() if d >= 0.1}
    if not shown:
        return Named()
    return _named(found, max(shown, key=lambda m: shown[m]), {}, np.ones(len(found), dtype=bool), len(shown))


BASELINES: Mapping[str, Callable[[World, Cube], Named]] = {
    "findings": ours, "largest change": largest_change, "a test each": each_tested, "column drift": column_drift,
}  # fmt: skip


def right(named: Named, cause: Cause) -> float:
    """1 where metric, segment and day are right; half where the segment names one value too many."""
    wanted = {} if cause.kind == "mix" else dict(cause.where)
    if named.where is None or named.metric not in (*cause.metrics, *_LOGGED.get(cause.kind, ())):
        return 0.0
    if named.since is None or abs((named.since - cause.since).days) > DAYS_OFF:
        return 0.0
    if cause.kind == "mix" and named.kind and named.kind != "mix":
        return 0.0
    extra = set(named.where.items()) - set(wanted.items())
    if set(wanted.items()) - set(named.where.items()) or len(extra) > 1:
        return 0.0
    return 0.5 if extra else 1.0


_LOGGED = {"mix": ("cost_p50", "latency_p50")}  # the same metrics as the baselines know them


def strength(found: Cube, cause: Cause) -> float:
    """The cause's own change in its segment from its day on, in its standard errors, users as clusters."""
    day = cause.day - (45 - found.days)
    inside = found.mask({} if cause.kind == "mix" else dict(cause.where))
    now = inside & (found.day >= day)
    if cause.version:
        now = now & found.mask({"prompt_version": cause.version})
    metric = next(m for m in cause.metrics if m in found.terms)
    change, error = spread(found, metric, now, inside & (found.day < day))
    return abs(change) / error if error > 0 else 0.0


def _segments(found: Cube):
    yield {}, np.ones(len(found), dtype=bool)
    names = [d for d in found.dims if not d.endswith("_version") and d != "release"]
    for name in names:
        for value in found.dims[name].values:
            yield {name: value}, found.mask({name: value})
    for a, b in combinations(names, 2):
        for first in found.dims[a].values:
            inside = found.mask({a: first})
            for second in found.dims[b].values:
                yield {a: first, b: second}, inside & found.mask({b: second})


def _named(found: Cube, metric: str, where: dict[str, str], inside: np.ndarray, count: int) -> Named:
    return Named(metric, where, found.date_of(onset(found, metric, inside)), "", count)
