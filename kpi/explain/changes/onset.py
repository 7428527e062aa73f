"""When a segment changed and by how much: the most likely day, the size with its error, the coming of a version."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kpi.explain.aggregates.cube import Cube
from kpi.explain.changes.change_test import deviance, test_change
from kpi.stats.types import Array

_VISIBLE = 0.05  # share of a segment's requests on a day from which a version is there


def onset(cube: Cube, metric: str, inside: Array, *, version: tuple[str, str] | None = None) -> int:
    """The day from which the metric of a segment differs most from the days before: the single most likely change.

    Of a version that entered, the days before are those of the segment without it.
    """
    terms, kept = cube.terms[metric], inside
    if version is not None:
        came = arrival(cube, version, inside)
        kept = inside & (cube.mask(dict([version])) | (cube.day < (came if came is not None else 0)))
    return _step(cube, kept, terms.y, terms.x, terms.kind)


def onset_of_share(cube: Cube, inside: Array, where: Mapping[str, str]) -> int:
    """The day from which the share of some values in a segment's requests differs most from the days before."""
    return _step(cube, inside, np.where(cube.mask(where), cube.rows, 0.0), cube.rows, "rate")


def _step(cube: Cube, kept: Array, y: Array, x: Array, kind: str) -> int:
    """The most likely day of one step in y / x, days weighted by what they hold (Hinkley 1970)."""
    by_day = [np.bincount(cube.day[kept], values[kept], minlength=cube.days) for values in (y, x)]
    after_y, after_x = (np.cumsum(values[::-1])[::-1] for values in by_day)
    gain = deviance(kind, (after_y, after_x), (after_y[0] - after_y, after_x[0] - after_x))
    return int(np.argmax(np.where(np.isfinite(gain), gain, -np.inf)))


def arrival(cube: Cube, version: tuple[str, str], inside: Array) -> int | None:
    """First day on which a version serves a visible share of a segment; None where it was there from the start."""
    served = inside & cube.mask(dict([version]))
    rows, of_version = (np.bincount(cube.day[m], cube.rows[m], minlength=cube.days) for m in (inside, served))
    days = np.flatnonzero(of_version >= np.maximum(_VISIBLE * rows, 1))
    return int(days[0]) if len(days) and days[0] > 0 else None


def z_from(cube: Cube, metric: str, inside: Array, day: int) -> float:
    """z of a segment's change on a day; 0 where there is none."""
    z = test_change(cube, metric, now=inside & (cube.day >= day), before=inside & (cube.day < day)).z
    return z if np.isfinite(z) else 0.0
