"""Selects the few root-cause changes out of all significant ones and drops changes that they explain.

Many segments move when one thing breaks: its parents, diluted; its children; its neighbours by overlap; and other
metrics downstream. The strongest one is refined to its cause, what that explains is folded into it, and the selection
goes on in what is left. A change that the mix alone carries is told as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from kpi.explain.aggregates.cube import MIN_ROWS, Cube
from kpi.explain.changes.mix_shift import standardised
from kpi.explain.changes.refinement import most_likely, refine
from kpi.explain.changes.region import Region
from kpi.explain.changes.root_cause import SelectedChange, lead_metric, root_cause
from kpi.explain.changes.scan import ScanResult, SegmentChange, scan
from kpi.explain.changes.variance import steadied

LEVEL = 0.04  # of the first change told: 3 to 4 in 100 quiet worlds then tell anything (simulated on tests/worlds)
SAME = 0.5  # overlap of two segments from which they are told as one
_TOGETHER = 2  # days within which two metrics of the same requests changed together
_ROUNDS = 8
_CANDIDATES = 400  # the strongest segments, of which a large change in many requests brings thousands


def select_changes(cube: Cube, start: int, *, level: float = LEVEL) -> list[SelectedChange]:
    """The changes that tell the story, strongest first; at most eight. start: day with which "now" begins."""
    return select(scan(steadied(cube, start), start), level=level)


def select(scanned: ScanResult, *, level: float = LEVEL) -> list[SelectedChange]:
    """`select_changes` on a scan already made.

    The first change needs a weighted Bonferroni q up to `level`, the k-th up to k times that: Benjamini-Hochberg over
    the changes that are told, of which each stands for many segments.
    """
    cube, start = scanned.cube, scanned.start
    left = scanned.clear(level * _ROUNDS)[:_CANDIDATES]
    changes: list[SelectedChange] = []
    while len(changes) < _ROUNDS:
        reached = [f for f in left if f.q <= level * (len(changes) + 1)]
        if not reached:
            break
        first = most_likely(reached)
        change = root_cause(cube, refine(scanned, first), start)
        after = {id(f): _after(cube, f, change, start) for f in left}
        explained = [f for f in left if f is first or after[id(f)].q > level * _ROUNDS]
        if change.mix is not None:
            change = lead_metric(cube, change, explained, start)
        others = (f for f in explained if f.metric != change.metric)
        also = {f.metric: None for f in others if Region.of(cube, f, start).overlap(change.region) >= SAME}
        changes.append(replace(change, also=tuple(also), q=change.q / (len(changes) + 1)))
        gone = {id(f) for f in explained}
        left = [after[id(f)] for f in left if id(f) not in gone]
    return _joined(changes)


def _after(cube: Cube, found: SegmentChange, change: SelectedChange, start: int) -> SegmentChange:
    """The finding as it stands once the cells of a change are taken out, or its mix is adjusted for.

    What is left must be as sure as a finding by itself: of thousands of segments some always seem to have a rest.
    """
    left = _z_left(cube, found, change, start)
    if left * found.z <= 0:
        return replace(found, q=1.0)
    if abs(left) >= abs(found.z):
        return found
    rarer = special.log_ndtr(-abs(left)) - special.log_ndtr(-abs(found.z))
    return replace(found, q=float(np.exp(min(np.log(max(found.q, 1e-300)) + rarer, 0.0))))


def _z_left(cube: Cube, found: SegmentChange, change: SelectedChange, start: int) -> float:
    """z of what is left of a finding; 0 where too little is left to say."""
    region = Region.of(cube, found, start)
    if change.mix is not None:
        if change.mix[0] in region.where:
            return found.z
        rate, error, _ = standardised(cube, found.metric, change.mix[0], region.now, region.before)
        return rate / error if np.isfinite(rate) and error > 0 else 0.0
    if not change.where and change.version is None:
        if found.metric != change.metric:
            return found.z if found.where else 0.0
        return (found.change - change.change) / found.error  # no other than what the whole did
    taken, x = change.region, cube.terms[found.metric].x
    if any(x[m].sum() < MIN_ROWS for m in (region.now & ~taken.served, region.before & ~taken.inside)):
        return 0.0
    rest = region.test_outside(found.metric, now=taken.served, before=taken.inside)
    return rest.z if np.isfinite(rest.z) else 0.0


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
