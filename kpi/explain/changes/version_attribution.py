"""Which version brought a change: the one that came with it, where what it did not serve stayed as it was."""

from __future__ import annotations

import numpy as np

from kpi.explain.aggregates.cube import Cube, is_version
from kpi.explain.changes.change_test import test_change
from kpi.explain.changes.onset import arrival, onset, z_from
from kpi.explain.changes.scan import SegmentChange
from kpi.stats.types import Array

SAME_DAYS = 1  # a version that came within so many days of a change may be its cause
AS_LIKELY = 4.0  # in z^2: two explanations of which the data prefer neither
UNCHANGED = 2.5  # |z| up to which a control did not change
CONTROL = 0.1  # share of a segment from which what a version did not serve can be its control
_ARMS = frozenset({"experiment_arm", "deployment_ring"})  # who is given a version, not what serves


def version_of(
    cube: Cube, metric: str, inside: Array, day: int, *, least: float = 0.0
) -> tuple[tuple[str, str] | None, int]:
    """The version that brought a change, and the day of its coming; None and the day of the change where none did.

    Where it serves a part of the requests, the others are its control: they must not have changed. Where it serves
    all, it must have come when the metric moved. least: z^2 that it must tell, beside that of the change by itself.
    """
    terms = cube.terms[metric]
    least = max(least, z_from(cube, metric, inside, day) ** 2)
    candidates = []
    names = [name for name in cube.dims if is_version(name) and name not in _ARMS]
    for version in ((name, value) for name in names for value in cube.dims[name].values):
        came = arrival(cube, version, inside)
        if came is None:
            continue
        before = inside & (cube.day < came)
        served = inside & cube.mask(dict([version]))
        rest = inside & (cube.day >= came) & ~served
        z, z_rest = (test_change(cube, metric, now=now, before=before).z for now in (served, rest))
        alone = terms.x[rest].sum() < CONTROL * max(terms.x[served].sum(), 1)
        as_likely = np.isfinite(z) and z**2 >= least - AS_LIKELY
        controlled = np.isfinite(z_rest) and abs(z_rest) < UNCHANGED and abs(z_rest) < abs(z) / 2
        if as_likely and (controlled or (alone and abs(came - day) <= SAME_DAYS)):
            candidates.append((not alone, abs(z), version, came))
    if not candidates:
        return None, day
    _, _, version, came = max(candidates)
    return version, came


def entered(cube: Cube, found: SegmentChange, inside: Array, day: int) -> tuple[tuple[str, str] | None, int]:
    """The version that entered, if its coming tells more than the day alone does; and the day of the change."""
    assert found.entered is not None
    came = arrival(cube, found.entered, inside)
    if came is not None and abs(came - day) <= SAME_DAYS:
        return found.entered, came
    served, before = inside & cube.mask(dict([found.entered])), inside & (cube.day < day)
    plain = onset(cube, found.metric, inside)
    z = test_change(cube, found.metric, now=served & (cube.day >= day), before=before & ~served).z
    if not np.isfinite(z) or z_from(cube, found.metric, inside, plain) ** 2 >= z**2 - AS_LIKELY:
        return None, plain
    return found.entered, day
