"""Selects the few root-cause changes out of all significant ones and drops changes that they explain.

Many segments move when one thing breaks: its parents, diluted; its children; its neighbours by overlap; and other
metrics downstream. The strongest one is refined to its cause and told, and the search goes on in what is left: without
its requests for the same metric, without what failed together with it for the others. A change that the mix alone
carries is told as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from kpi.explain.aggregates.cube import Cube, Terms, is_version
from kpi.explain.changes.mix_shift import added_by_mix
from kpi.explain.changes.refinement import most_likely, refine
from kpi.explain.changes.region import Region
from kpi.explain.changes.root_cause import SelectedChange, lead_metric, mix_of_whole, root_cause
from kpi.explain.changes.scan import SegmentChange, scan
from kpi.explain.changes.variance import steadied
from kpi.measure.metrics import METRICS
from kpi.stats.types import Array

LEVEL = 0.04  # of the first change told: 3 to 4 in 100 quiet worlds then tell anything (simulated on tests/worlds)
SAME = 0.5  # overlap of two segments from which they are told as one
_TOGETHER = 2  # days within which two metrics of the same requests changed together
_ROUNDS = 8
_CANDIDATES = 400  # the strongest segments, of which a large change in many requests brings thousands
_NONE = 1e-9  # what stands for a sum of nothing
_REST = 0.4  # of a segment's change that must be left once others are told
_NOTED = 0.5  # standard errors from which what the mix predicts for a part is taken into account


def select_changes(cube: Cube, start: int, *, level: float = LEVEL) -> list[SelectedChange]:
    """The changes that tell the story, strongest first; at most eight. start: day with which "now" begins.

    The first change needs a weighted Bonferroni q up to `level`, the k-th up to k times that: Benjamini-Hochberg over
    the changes that are told, of which each stands for many segments. What is left of a change must be as sure as a
    finding by itself: of thousands of segments some always seem to have a rest.
    """
    scanned, most = scan(steadied(cube, start), start), level * _ROUNDS
    changes: list[SelectedChange] = []
    by_mix: set[tuple[object, ...]] = set()  # parts that changed as the mix predicts, of a whole that did not
    clear = scanned.clear(most)
    shown = {f.key: f.change for f in clear}
    while len(changes) < _ROUNDS:
        limit = level * (len(changes) + 1)
        reached = [f for f in clear[:_CANDIDATES] if f.q <= limit and f.key not in by_mix]
        if not reached:
            break
        first, cells = refine(scanned, most_likely(reached)), scanned.cube
        mix = _predicting(cells, first, start, limit)
        change = root_cause(cells, first, start) if mix is None else mix_of_whole(cells, first, mix, start)
        if change is None:
            by_mix |= {most_likely(reached).key, first.key}
            continue
        touched = dict.fromkeys([change.metric, *(f.metric for f in clear)])
        scanned = scanned.again({m: _left(cells, m, change) for m in touched}, most)
        left = [f for f in scanned.clear(most) if f.key in shown and f.change / shown[f.key] >= _REST]
        still = {f.key for f in left}
        explained = [f for f in clear if f.key not in still]
        if change.mix is not None:
            change = lead_metric(cells, change, explained, start)
        also = [change.metric]
        for f in explained:
            known = f.q > limit or any(_same(f.metric, name) for name in also)
            if not known and Region.of(cube, f, start).overlap(change.region) >= SAME:
                also.append(f.metric)
        beside = tuple(c.where for c in changes if c.where and c.mix is None and _same(c.metric, change.metric)
                       and (c.region.inside & change.region.inside).any())  # fmt: skip
        changes.append(replace(change, also=tuple(also[1:]), q=change.q / (len(changes) + 1), beside=beside))
        clear = left
    return _joined(changes)


def _predicting(cube: Cube, found: SegmentChange, start: int, limit: float) -> str | None:
    """The dimension whose mix, at the levels of the whole, predicts what makes a part's change a finding."""
    region = Region.of(cube, found, start)
    for name in cube.dims if found.where else ():
        if name in region.where or is_version(name):
            continue
        expected = replace(cube.terms[found.metric], y=added_by_mix(cube, found.metric, name, region.start))
        predicted = _level(expected, region.now) - _level(expected, region.before)
        left = found.z * (1 - predicted / found.change)
        rarer = special.log_ndtr(-max(left * np.sign(found.z), 0)) - special.log_ndtr(-abs(found.z))
        if predicted / found.change * abs(found.z) >= _NOTED and np.log(max(found.q, 1e-300)) + rarer > np.log(limit):
            return name
    return None


def _left(cube: Cube, metric: str, change: SelectedChange) -> Terms:
    """What a metric is without a change.

    Of the same metric the requests of the change are taken out, and of those before as many; of the whole, its size. Of
    other metrics it takes what moved with it, request by request: retrieval that misses takes success along.
    """
    terms, told, region = cube.terms[metric], cube.terms[change.metric], change.region
    if change.mix is not None:
        added = added_by_mix(cube, metric, change.mix[0], region.start)
        return replace(terms, y=terms.y - np.where(region.inside, added, 0.0))
    now, mine = region.inside & (cube.day >= region.split), _same(metric, change.metric)
    if mine and (change.where or change.version):
        share = round(terms.x[now & region.served].sum() / max(terms.x[now].sum(), _NONE), 9)
        weight = np.where(now & region.served, 0.0, np.where(region.before, 1 - share, 1.0))
        return replace(terms, y=terms.y * weight, x=terms.x * weight)
    moved = _level(terms, region.now) - _level(terms, region.before)
    if mine:
        return replace(terms, y=terms.y - np.where(now, moved * terms.x, 0.0))
    its, usual = (told.y - _level(told, region.now) * told.x)[region.now], _level(told, region.before)
    passed = (terms.y[region.now] * its).sum() / max((its**2).sum(), _NONE) * (_level(told, region.now) - usual)
    if not passed * moved > 0:  # they do not fail together
        return terms
    each = min(passed, moved, key=abs) / (_level(told, region.now) - usual)
    return replace(terms, y=terms.y - np.where(region.now & (terms.x > 0), each * (told.y - usual * told.x), 0.0))


def _level(terms: Terms, mask: Array) -> float:
    return float(terms.y[mask].sum() / max(terms.x[mask].sum(), _NONE))


def _same(a: str, b: str) -> bool:
    """Whether two metrics are of the same column: a mean and a median, say."""
    return a == b or (a in METRICS and b in METRICS and METRICS[a].needs == METRICS[b].needs)


def _joined(changes: Sequence[SelectedChange]) -> list[SelectedChange]:
    """Changes of several metrics in one segment at one time are one: the strongest tells, the others are named."""
    kept: list[SelectedChange] = []
    for change in sorted(changes, key=lambda c: -abs(c.z)):
        twin = next((i for i, k in enumerate(kept) if k.metric != change.metric and _together(k, change)), None)
        if twin is None:
            kept.append(change)
        else:
            kept[twin] = replace(kept[twin], also=(*kept[twin].also, change.metric))
    return kept


def _together(a: SelectedChange, b: SelectedChange) -> bool:
    if abs(a.day - b.day) > _TOGETHER or (a.mix is None) != (b.mix is None):
        return False
    if a.mix is not None and b.mix is not None:
        return a.mix[0] == b.mix[0]
    return a.region.overlap(b.region) >= SAME
