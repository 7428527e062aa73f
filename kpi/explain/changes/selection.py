"""From everything that changed to the few changes that tell the story: which segment, since when, what follows.

Many segments move when one thing breaks: its parents, diluted; its children; its neighbours by overlap; and other
metrics downstream. The most telling one is kept, what it explains is folded into it, and the search goes on in what is
left. A change that the mix alone carries is told as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import special

from kpi.explain.aggregates.cube import MIN_ROWS, Cells, is_version
from kpi.explain.changes.change_test import tested
from kpi.explain.changes.mix_shift import carrier, moved, standardised
from kpi.explain.changes.onset import onset, onset_of_share, spread, z_from
from kpi.explain.changes.scan import Found, Searched, search
from kpi.explain.changes.variance import steadied
from kpi.explain.changes.version_attribution import AS_LIKELY, CONTROL, UNCHANGED, entered, version_of
from kpi.stats.types import Array

LEVEL = 0.04  # of the first change told: 3 to 4 in 100 quiet worlds then tell anything (simulated on tests/worlds)
_NAMING = 4.0  # what another named value must add to z^2 before it is believed (two nats of likelihood)
_OWN = 3.8  # |z| that must be left of a change, once another is taken out, for it to be one of its own
_AS_MUCH = 0.5  # share of a part's change from which the rest of its whole changed about as much
_SAME = 0.5  # overlap of two segments from which they are told as one
_TOGETHER = 2  # days within which two metrics of the same requests changed together
_ROUNDS = 8
_STEPS = ("retrieval_hit_rate", "groundedness", "correctness", "task_success")  # each is passed on to the next
_CANDIDATES = 400  # the strongest segments, of which a large change in many requests brings thousands


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change worth telling.

    where: cohort values; version: (dimension, value) that came with it, if one did. day: first day of the change, from
    the start of the cells. change, low, high: after that day against all days before, in units of the term
    (logarithms where the metric is logged). z, q: of the search. rows, before: requests that count. also: other
    metrics that moved with it. mix: (dimension, value whose share moved most, change of its share) where the mix
    carries the change. total_z: the same statistic of the whole, for hidden regressions.
    """

    metric: str
    where: Mapping[str, str]
    version: tuple[str, str] | None
    day: int
    change: float
    low: float
    high: float
    z: float
    q: float
    rows: int
    before: int
    also: tuple[str, ...] = ()
    mix: tuple[str, str, float] | None = None
    total_z: float = 0.0
    mask: Array = field(repr=False, default_factory=lambda: np.zeros(0, dtype=bool))


def tell(cells: Cells, start: int, *, metrics: Sequence[str] | None = None, level: float = LEVEL) -> list[Change]:
    """The changes that tell the story, strongest first; at most eight.

    start: day with which "now" begins, see `search`.
    """
    searched = search(steadied(cells, start), start, metrics=metrics)
    return told(searched, start, level=level)


def told(searched: Searched, start: int, *, level: float = LEVEL) -> list[Change]:
    """`tell` on a search already made.

    The first change needs a weighted Bonferroni q up to `level`, the k-th up to k times that: Benjamini-Hochberg over
    the changes that are told, of which each stands for many segments.
    """
    cells = searched.cells
    left = searched.clear(level * _ROUNDS)[:_CANDIDATES]
    changes: list[Change] = []
    while len(changes) < _ROUNDS:
        reached = [f for f in left if f.q <= level * (len(changes) + 1)]
        if not reached:
            break
        first = max(reached, key=lambda f: (_strength(f), _stable(f)))
        best = _upstream(searched, _widened(searched, _refined(searched, first), start))
        change = _described(cells, best, start)
        after = {id(f): _after(cells, f, change, start) for f in left}
        folded = [f for f in left if f is first or after[id(f)].q > level * _ROUNDS]
        if change.mix is not None:
            change = _headline(cells, change, folded, start)
        others = {f.metric: None for f in folded if f.metric != change.metric and _overlap(cells, f, change) >= _SAME}
        changes.append(replace(change, also=tuple(others), q=change.q / (len(changes) + 1)))
        gone = {id(f) for f in folded}
        left = [after[id(f)] for f in left if id(f) not in gone]
    return _joined(cells, changes)


def _refined(searched: Searched, best: Found) -> Found:
    """The finding, or the part of its segment that tells more: which part it is, is a choice and needs no test of its
    own."""
    position = searched.metrics.index(best.metric)
    parts = [best]
    for i in np.flatnonzero(searched.metric == position):
        layout = searched.layouts[searched.layout[i]]
        if layout.literals == best.literals + 1 and (layout.entered == best.entered or best.entered is None):
            part = searched.found(int(i))
            if set(best.where) <= set(part.where) and part.z * best.z > 0:
                parts.append(replace(part, q=best.q))
    return max(parts, key=lambda f: (_strength(f), _stable(f)))


def _widened(searched: Searched, best: Found, start: int) -> Found:
    """The finding, or the wider segment that it is a part of, where the rest of that changed about as much.

    Of a strong change the part in which chance added most would else be told for the whole.
    """
    cells = searched.cells
    inside = cells.mask(dict(best.where))
    for dropped in best.where:
        wider = tuple(p for p in best.where if p != dropped)
        rest = cells.mask(dict(wider)) & ~inside
        if best.entered is not None:
            rest = rest & ((cells.day < start) | cells.mask(dict([best.entered])))
        now, before = rest & (cells.day >= best.split), rest & (cells.day < start)
        change, *_, z, _ = tested(cells, best.metric, now=now, before=before)
        if np.isfinite(z) and abs(z) > _OWN and change / best.change > _AS_MUCH:
            position = searched.metrics.index(best.metric)
            for i in np.flatnonzero(searched.metric == position):
                layout = searched.layouts[searched.layout[i]]
                if layout.literals == best.literals - 1 and layout.entered == best.entered:
                    found = searched.found(int(i))
                    if set(found.where) == set(wider):
                        return _widened(searched, replace(found, q=best.q), start)
    return best


def _upstream(searched: Searched, best: Found) -> Found:
    """The finding, or that of an earlier step of the same requests where it is about as sure: a miss in retrieval is
    seen again in groundedness and in success, and the first step tells where to look."""
    rivals = [best]
    if best.metric in _STEPS:
        positions = [searched.metrics.index(m) for m in _STEPS if m in searched.metrics]
        for i in np.flatnonzero(np.isin(searched.metric, positions)):
            layout = searched.layouts[searched.layout[i]]
            if layout.dims != tuple(d for d, _ in best.where) or layout.entered != best.entered:
                continue
            rival = searched.found(int(i))
            same = (rival.where, rival.entered) == (best.where, best.entered) and rival.z * best.z > 0
            if same and rival.metric in _STEPS and rival.z**2 >= best.z**2 - 2 * _NAMING:
                rivals.append(replace(rival, q=best.q))
    return min(rivals, key=lambda f: _STEPS.index(f.metric) if f.metric in _STEPS else 0)


def _strength(found: Found) -> float:
    """Twice the log-likelihood that a change explains, less what naming values costs: the best is the most likely."""
    return found.z**2 - _NAMING * found.literals


def _stable(found: Found) -> tuple[str, ...]:
    return (found.metric, *(f"{d}={v}" for d, v in found.where))


# --- one change ------------------------------------------------------------------------------------------------------


def _described(cells: Cells, found: Found, start: int) -> Change:
    """The change with its cause: mix or version, its day and its size."""
    mix = carrier(cells, found, start)
    if mix is not None:
        return _of_mix(cells, found, mix, start)
    where = {d: v for d, v in found.where if not is_version(d)}
    standing = {d: v for d, v in found.where if is_version(d)}  # served before as well: an arm, a ring, an old version
    inside = cells.mask(dict(found.where))
    day = onset(cells, found.metric, inside, version=found.entered)
    if found.entered is not None:
        return _sized(cells, found, where, *entered(cells, found, inside, day))
    if not standing:
        return _sized(cells, found, where, *version_of(cells, found.metric, inside, day))
    # An arm or a ring may only stand for the version that it was given, or for nothing.
    wide = cells.mask(where)
    version, since = version_of(cells, found.metric, wide, onset(cells, found.metric, wide), least=found.z**2)
    others, x = wide & ~cells.mask(standing), cells.terms[found.metric].x
    compared = x[others & (cells.day >= since)].sum() >= CONTROL * x[wide & (cells.day >= since)].sum()
    unchanged = compared and abs(z_from(cells, found.metric, others, since)) < UNCHANGED
    if version is None and unchanged and z_from(cells, found.metric, wide, since) ** 2 < found.z**2 - AS_LIKELY:
        where, (version, since) = {**where, **standing}, version_of(cells, found.metric, inside, day)
        if version is not None:
            where = {d: v for d, v in where.items() if d not in standing}
    return _sized(cells, found, where, version, since)


def _sized(cells: Cells, found: Found, where: Mapping[str, str], version: tuple[str, str] | None, day: int) -> Change:
    inside = cells.mask(where)
    now, before = inside & (cells.day >= day), inside & (cells.day < day)
    if version is not None:
        now = now & cells.mask(dict([version]))
    terms = cells.terms[found.metric]
    change, error = spread(cells, found.metric, now, before)
    _, _, total_z, _ = tested(cells, found.metric, now=cells.day >= day, before=cells.day < day)
    return Change(
        metric=found.metric, where=where, version=version, day=day, change=change, low=change - 1.96 * error,
        high=change + 1.96 * error, z=found.z, q=found.q, rows=int(terms.x[now].sum()),
        before=int(terms.x[before].sum()), total_z=total_z if total_z == total_z else 0.0, mask=inside,
    )  # fmt: skip


def _of_mix(cells: Cells, found: Found, name: str, start: int) -> Change:
    """A change that the mix carries, told of the widest slice it holds for."""
    whole = replace(found, where=(), entered=None)
    if found.where and carrier(cells, whole, start) == name:
        now, before = cells.day >= found.split, cells.day < start
        *_, z, _ = tested(cells, found.metric, now=now, before=before)
        if np.isfinite(z) and abs(z) > 3:
            found = replace(whole, z=z)
    inside = cells.mask(dict(found.where))
    value, change_of_share = moved(cells, name, inside & (cells.day >= found.split), inside & (cells.day < start))
    change = _sized(cells, found, dict(found.where), None, onset_of_share(cells, inside, {name: value}))
    return replace(change, mix=(name, value, change_of_share))


def _headline(cells: Cells, change: Change, folded: Sequence[Found], start: int) -> Change:
    """A mix moves every metric that differs between its values: the one that stands first in the cells tells."""
    assert change.mix is not None
    order = list(cells.terms)
    rivals = [f for f in folded if dict(f.where) == dict(change.where) and f.entered is None]
    first = min(rivals, key=lambda f: order.index(f.metric), default=None)
    if first is None or order.index(first.metric) >= order.index(change.metric):
        return change
    return _of_mix(cells, first, change.mix[0], start)


# --- what a change explains ------------------------------------------------------------------------------------------


def _after(cells: Cells, found: Found, change: Change, start: int) -> Found:
    """The finding as it stands once the cells of a change are taken out, or its mix is held.

    What is left must be as sure as a finding by itself: of thousands of segments some always seem to have a rest.
    """
    left = _rest(cells, found, change, start)
    if left * found.z <= 0:
        return replace(found, q=1.0)
    if abs(left) >= abs(found.z):
        return found
    rarer = special.log_ndtr(-abs(left)) - special.log_ndtr(-abs(found.z))
    return replace(found, q=float(np.exp(min(np.log(max(found.q, 1e-300)) + rarer, 0.0))))


def _rest(cells: Cells, found: Found, change: Change, start: int) -> float:
    """z of what is left of a finding; 0 where too little is left to say."""
    inside = cells.mask(dict(found.where))
    if found.entered is not None:
        inside = inside & ((cells.day < start) | cells.mask(dict([found.entered])))
    now, before = inside & (cells.day >= found.split), inside & (cells.day < start)
    if change.mix is not None:
        if found.where and change.mix[0] in dict(found.where):
            return found.z
        rate, error, _ = standardised(cells, found.metric, change.mix[0], now, before)
        return rate / error if np.isfinite(rate) and error > 0 else 0.0
    if not change.where and change.version is None:
        if found.metric != change.metric:
            return found.z if found.where else 0.0
        return (found.change - change.change) / found.error  # no other than what the whole did
    taken = change.mask
    if change.version is not None:
        taken = taken & cells.mask(dict([change.version]))
    rest_now, rest_before = now & ~taken, before & ~change.mask
    terms = cells.terms[found.metric]
    if terms.x[rest_now].sum() < MIN_ROWS or terms.x[rest_before].sum() < MIN_ROWS:
        return 0.0
    *_, z, _ = tested(cells, found.metric, now=rest_now, before=rest_before)
    return z if np.isfinite(z) else 0.0


def _overlap(cells: Cells, found: Found, change: Change) -> float:
    """Requests in both segments over those in the larger one."""
    inside = cells.mask(dict(found.where))
    both = cells.rows[inside & change.mask].sum()
    return float(both / max(cells.rows[inside].sum(), cells.rows[change.mask].sum(), 1))


def _joined(cells: Cells, changes: Sequence[Change]) -> list[Change]:
    """Changes of several metrics in one segment at one time are one: the strongest tells, the others are named."""
    kept: list[Change] = []
    for change in sorted(changes, key=lambda c: -abs(c.z)):
        twin = next((k for k in kept if k.metric != change.metric and _together(cells, k, change)), None)
        if twin is None:
            kept.append(change)
        else:
            kept[kept.index(twin)] = replace(twin, also=(*twin.also, change.metric))
    return kept


def _together(cells: Cells, a: Change, b: Change) -> bool:
    if abs(a.day - b.day) > _TOGETHER or (a.mix is None) != (b.mix is None):
        return False
    if a.mix is not None and b.mix is not None:
        return a.mix[0] == b.mix[0]
    both = cells.rows[a.mask & b.mask].sum()
    return bool(both >= _SAME * max(cells.rows[a.mask].sum(), cells.rows[b.mask].sum()))
