"""Changes of what is known: the share of the requests that know a metric is searched like any other share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kpi.explain.aggregates.cube import Cube, Terms
from kpi.explain.changes.region import Region, spread
from kpi.explain.changes.root_cause import SelectedChange
from kpi.explain.changes.selection import select_changes
from kpi.explain.comparison.worst_case import Coverage
from kpi.measure.metrics import METRICS
from kpi.stats.interval import Interval

_OF = "known:"  # before the name of a metric: an outcome of its own, no step on the way to another


def coverage_changes(cube: Cube, start: int, *, level: float) -> list[SelectedChange]:
    """Changes of coverage worth telling: beyond noise, and by 2 points or more.

    Metrics that lost their labels together are named by one change, the first of them in the order of the cube; costs
    and times come from elsewhere, and have changes of their own.
    """
    terms: dict[str, Terms] = {}
    same: dict[str, list[str]] = {}  # metrics that are known for the same requests are searched once
    for name, found in cube.terms.items():
        if np.array_equal(found.known, cube.rows) or not found.known.any():
            continue
        twin = next((k for k, t in terms.items() if np.array_equal(t.y, found.known)), _OF + name)
        terms.setdefault(twin, Terms(found.known, cube.rows, "rate"))
        same.setdefault(twin, []).append(name)
    changes = select_changes(replace(cube, terms=terms), start, level=level) if terms else []
    told: list[SelectedChange] = []
    for i, change in enumerate(changes):
        names = {n for k in (change.metric, *change.also) for n in same[k]}
        wider = [c.region for c in changes[:i] if c.where.items() <= change.where.items()]
        moved = [n for n in cube.terms if n in names and _own(cube, n, change.region, wider)]
        for origin in dict.fromkeys(map(_origin, moved)):
            first, *others = (n for n in moved if _origin(n) == origin)
            told.append(replace(change, metric=first, also=tuple(others)))
    return told


def _own(cube: Cube, metric: str, region: Region, wider: Sequence[Region]) -> bool:
    """Whether a segment lost or gained enough beside what the wider ones did, of which it is a part."""
    usual = (coverage_of(w, metric, cube).change.value for w in wider)
    return all(coverage_of(region, metric, cube).beyond(u) for u in (0.0, *usual))


def _origin(metric: str) -> str:
    """Whence a metric is known: what measures costs and times is not what labels outcomes."""
    if metric not in METRICS:  # one of a team's own: from a column of its own
        return metric
    group = METRICS[metric].group
    return group if group in ("cost", "latency") else "labels"


def coverage_of(region: Region, metric: str, cube: Cube) -> Coverage:
    """For which share of its requests a segment knew a metric before and knows it now. cube: with that metric."""
    terms, now, before = cube.terms[metric], region.now, region.before
    n, rows = ((int(v[before].sum()), int(v[now].sum())) for v in (terms.known, cube.rows))
    change, error = spread(replace(cube, terms={metric: Terms(terms.known, cube.rows, "rate")}), metric, now, before)
    limits = Interval(value=change, low=change - 1.96 * error, high=change + 1.96 * error)
    return Coverage(n=n, requests=rows, change=limits)
