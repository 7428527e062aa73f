"""From the strongest segment to the one that names the cause: narrower, wider, or an earlier step of the same requests.

Which of these it is, is a choice among explanations of one change and needs no test of its own.
"""

from __future__ import annotations

from dataclasses import replace

from kpi.explain.changes.region import Region
from kpi.explain.changes.scan import ScanResult, SegmentChange

OWN = 3.8  # |z| that must be left of a change, once another is taken out, for it to be one of its own
_NAMING = 4.0  # what another named value must add to z^2 before it is believed (two nats of likelihood)
_AS_MUCH = 0.5  # share of a part's change from which the rest of its whole changed about as much
_STEPS = ("retrieval_hit_rate", "groundedness", "correctness", "task_success")  # each is passed on to the next


def refine(scanned: ScanResult, best: SegmentChange) -> SegmentChange:
    """The part that explains more, the whole that a part was taken from, and the step before: in that order."""
    return _earliest_step(scanned, _generalise(scanned, _specialise(scanned, best)))


def most_likely(found: list[SegmentChange]) -> SegmentChange:
    """The one that explains most, less what naming values costs: twice its log-likelihood; ties by name."""
    return max(found, key=lambda f: (f.z**2 - _NAMING * f.literals, f.metric, *(f"{d}={v}" for d, v in f.where)))


def _specialise(scanned: ScanResult, best: SegmentChange) -> SegmentChange:
    """The part of the segment that explains more, if one does."""
    parts = [replace(p, q=best.q) for p in scanned.of_metrics(best.metric, literals=best.literals + 1)
             if best.entered in (None, p.entered) and set(best.where) <= set(p.where) and p.z * best.z > 0]  # fmt: skip
    return most_likely([best, *parts])


def _generalise(scanned: ScanResult, best: SegmentChange) -> SegmentChange:
    """The wider segment that it is a part of, or all versions of it, where the rest of that changed about as much.

    Of a strong change the part in which chance added most would else be told for the whole.
    """
    region = Region.of(scanned.cube, best, scanned.start)
    fewer = (tuple(p for p in best.where if p != dropped) for dropped in best.where)
    parts = [(replace(best, where=where), region.inside) for where in fewer]
    for wide, before in [*parts, *([(replace(best, entered=None), ~region.inside)] if best.entered else [])]:
        rest = Region.of(scanned.cube, wide, scanned.start).test_outside(best.metric, now=region.served, before=before)
        if not rest.beyond(OWN) or rest.change / best.change <= _AS_MUCH:
            continue
        for wider in scanned.of_metrics(best.metric, literals=best.literals - 1):
            if wider.entered == wide.entered and set(wider.where) == set(wide.where):
                return _generalise(scanned, replace(wider, q=best.q))
    return best


def _earliest_step(scanned: ScanResult, best: SegmentChange) -> SegmentChange:
    """The same of an earlier step where that is about as sure: a miss in retrieval is seen again in groundedness and in
    success, and the first step tells where to look."""
    if best.metric not in _STEPS:
        return best
    rivals = [replace(r, q=best.q) for r in scanned.of_metrics(*_STEPS, literals=best.literals)
              if (r.where, r.entered) == (best.where, best.entered) and r.z * best.z > 0
              and r.z**2 >= best.z**2 - 2 * _NAMING]  # fmt: skip
    return min([best, *rivals], key=lambda f: _STEPS.index(f.metric))
