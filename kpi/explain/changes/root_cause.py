"""A change with its cause: the mix, a version, or the segment itself; its day and its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from kpi.explain.aggregates.cube import Cube, is_version
from kpi.explain.changes.mix_shift import largest_shift, mix_dimension
from kpi.explain.changes.onset import onset, onset_of_share, z_from
from kpi.explain.changes.region import Region, spread
from kpi.explain.changes.scan import SegmentChange
from kpi.explain.changes.version_attribution import AS_LIKELY, CONTROL, UNCHANGED, entered, version_of

_MIX_Z = 3.0  # |z| of the whole from which a mix is told of the whole


@dataclass(frozen=True, kw_only=True)
class SelectedChange:
    """One change worth telling.

    where: cohort values; version: (dimension, value) that came with it, if one did. day: first day of the change, from
    the start of the cube. change, low, high: after that day against all days before, in units of the term (logarithms
    where the metric is logged). z, q: of the scan. also: other metrics that moved with it. mix: (dimension, value whose
    share moved most, change of its share) where the mix carries the change. total_z: the same statistic of the whole,
    for hidden regressions. beside: segments told before, whose requests are no more in it. region: what is compared,
    with cells that hold what was left of the metric.
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
    also: tuple[str, ...] = ()
    mix: tuple[str, str, float] | None = None
    total_z: float = 0.0
    beside: tuple[Mapping[str, str], ...] = ()
    region: Region = field(repr=False)


def root_cause(cube: Cube, found: SegmentChange, start: int) -> SelectedChange:
    """The change of a segment with its cause: mix or version, its day and its size."""
    mix = mix_dimension(Region.of(cube, found, start), found.metric)
    if mix is not None:  # told of the widest slice it holds for
        wider = mix_of_whole(cube, found, mix, start) if found.where else None
        return wider or _of_mix(cube, found, mix, start)
    where = {d: v for d, v in found.where if not is_version(d)}
    standing = {d: v for d, v in found.where if is_version(d)}  # served before as well: an arm, a ring, an old version
    inside = cube.mask(dict(found.where))
    day = onset(cube, found.metric, inside, version=found.entered)
    if found.entered is not None:
        return _sized(cube, found, where, *entered(cube, found, inside, day))
    if not standing:
        return _sized(cube, found, where, *version_of(cube, found.metric, inside, day))
    # An arm or a ring may only stand for the version that it was given, or for nothing.
    wide = cube.mask(where)
    version, since = version_of(cube, found.metric, wide, onset(cube, found.metric, wide), least=found.z**2)
    others, x = wide & ~cube.mask(standing), cube.terms[found.metric].x
    comparable = x[others & (cube.day >= since)].sum() >= CONTROL * x[wide & (cube.day >= since)].sum()
    unchanged = comparable and abs(z_from(cube, found.metric, others, since)) < UNCHANGED
    if version is None and unchanged and z_from(cube, found.metric, wide, since) ** 2 < found.z**2 - AS_LIKELY:
        where, (version, since) = {**where, **standing}, version_of(cube, found.metric, inside, day)
        if version is not None:
            where = {d: v for d, v in where.items() if d not in standing}
    return _sized(cube, found, where, version, since)


def lead_metric(cube: Cube, change: SelectedChange, same: Sequence[SegmentChange], start: int) -> SelectedChange:
    """A mix moves every metric that differs between its values: the one that stands first in the cube tells.

    same: segments that the change explains.
    """
    assert change.mix is not None
    order = list(cube.terms)
    rivals = [f for f in same if dict(f.where) == dict(change.where) and f.entered is None]
    first = min(rivals, key=lambda f: order.index(f.metric), default=None)
    if first is None or order.index(first.metric) >= order.index(change.metric):
        return change
    return _of_mix(cube, first, change.mix[0], start)


def _sized(
    cube: Cube, found: SegmentChange, where: Mapping[str, str], version: tuple[str, str] | None, day: int
) -> SelectedChange:
    region = Region.since(cube, where, day, version)
    change, error = spread(cube, found.metric, region.now, region.before)
    total = Region.since(cube, {}, day).test(found.metric)
    return SelectedChange(metric=found.metric, where=where, version=version, day=day, change=change,
                          low=change - 1.96 * error, high=change + 1.96 * error, z=found.z, q=found.q,
                          total_z=total.z if total.z == total.z else 0.0, region=region)  # fmt: skip


def mix_of_whole(cube: Cube, found: SegmentChange, name: str, start: int) -> SelectedChange | None:
    """The change of the whole that the mix carries which a part shows; None where it carries none."""
    whole = replace(found, where=(), entered=None)
    everywhere = Region.of(cube, whole, start)
    total = everywhere.test(found.metric)
    if not total.beyond(_MIX_Z) or mix_dimension(everywhere, found.metric) != name:
        return None
    return _of_mix(cube, replace(whole, z=total.z), name, start)


def _of_mix(cube: Cube, found: SegmentChange, name: str, start: int) -> SelectedChange:
    region = Region.of(cube, replace(found, entered=None), start)
    value, shift = largest_shift(cube, name, region.now, region.before)
    change = _sized(cube, found, region.where, None, onset_of_share(cube, region.inside, {name: value}))
    return replace(change, mix=(name, value, shift))
