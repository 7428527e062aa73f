"""Which version brought a change: the one that came with it, where what it did not serve stayed as it was."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kpi.explain.aggregates.cube import Cells, is_version
from kpi.explain.changes.change_test import tested
from kpi.explain.changes.onset import arrival, onset, z_from
from kpi.explain.changes.scan import Found
from kpi.stats.types import Array

SAME_DAYS = 1  # a version that came within so many days of a change may be its cause
AS_LIKELY = 4.0  # in z^2: two explanations of which the data prefer neither
UNCHANGED = 2.5  # |z| up to which a control did not change
CONTROL = 0.1  # share of a segment from which what a version did not serve can be its control
_ARMS = frozenset({"experiment_arm", "deployment_ring"})  # who is given a version, not what serves


def _versions(cells: Cells) -> Iterator[tuple[str, str]]:
    for name, codes in cells.dims.items():
        if is_version(name) and name not in _ARMS:
            yield from ((name, value) for value in codes.values)


def version_of(
    cells: Cells, metric: str, inside: Array, day: int, *, least: float = 0.0
) -> tuple[tuple[str, str] | None, int]:
    """The version that brought a change, and the day of its coming; None and the day of the change where none did.

    Where it serves a part of the requests, the others are its control: they must not have changed. Where it serves
    all, it must have come when the metric moved. least: z^2 that it must tell, beside that of the change by itself.
    """
    terms = cells.terms[metric]
    least = max(least, z_from(cells, metric, inside, day) ** 2)
    candidates = []
    for version in _versions(cells):
        came = arrival(cells, version, inside)
        if came is None:
            continue
        before = inside & (cells.day < came)
        served = inside & cells.mask(dict([version]))
        rest = inside & (cells.day >= came) & ~served
        *_, z, _ = tested(cells, metric, now=served, before=before)
        *_, z_rest, _ = tested(cells, metric, now=rest, before=before)
        alone = terms.x[rest].sum() < CONTROL * max(terms.x[served].sum(), 1)
        as_likely = np.isfinite(z) and z**2 >= least - AS_LIKELY
        controlled = np.isfinite(z_rest) and abs(z_rest) < UNCHANGED and abs(z_rest) < abs(z) / 2
        if as_likely and (controlled or (alone and abs(came - day) <= SAME_DAYS)):
            candidates.append((not alone, abs(z), version, came))
    if not candidates:
        return None, day
    _, _, version, came = max(candidates)
    return version, came


def entered(cells: Cells, found: Found, inside: Array, day: int) -> tuple[tuple[str, str] | None, int]:
    """The version that entered, if its coming tells more than the day alone does; and the day of the change."""
    assert found.entered is not None
    came = arrival(cells, found.entered, inside)
    if came is not None and abs(came - day) <= SAME_DAYS:
        return found.entered, came
    served, before = inside & cells.mask(dict([found.entered])), inside & (cells.day < day)
    plain = onset(cells, found.metric, inside)
    *_, z, _ = tested(cells, found.metric, now=served & (cells.day >= day), before=before & ~served)
    if not np.isfinite(z) or z_from(cells, found.metric, inside, plain) ** 2 >= z**2 - AS_LIKELY:
        return None, plain
    return found.entered, day
