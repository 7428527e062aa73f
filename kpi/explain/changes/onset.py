"""When a segment changed and by how much: the most likely day, the size with its error, the coming of a version."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kpi.explain.aggregates.cube import Cells
from kpi.explain.changes.change_test import deviance, tested
from kpi.stats.types import Array

_VISIBLE = 0.05  # share of a segment's requests on a day from which a version is there


def onset(cells: Cells, metric: str, inside: Array, *, version: tuple[str, str] | None = None) -> int:
    """The day from which the metric of a segment differs most from the days before: the single most likely change.

    Of a version that entered, the days before are those of the segment without it.
    """
    terms, kept = cells.terms[metric], inside
    if version is not None:
        came = arrival(cells, version, inside)
        kept = inside & (cells.mask(dict([version])) | (cells.day < (came if came is not None else 0)))
    return _step(cells, kept, terms.y, terms.x, terms.kind)


def onset_of_share(cells: Cells, inside: Array, where: Mapping[str, str]) -> int:
    """The day from which the share of some values in a segment's requests differs most from the days before."""
    return _step(cells, inside, np.where(cells.mask(where), cells.rows, 0.0), cells.rows, "rate")


def _step(cells: Cells, kept: Array, y: Array, x: Array, kind: str) -> int:
    """The most likely day of one step in y / x, days weighted by what they hold (Hinkley 1970)."""
    by_day = [np.bincount(cells.day[kept], values[kept], minlength=cells.days) for values in (y, x)]
    after_y, after_x = (np.cumsum(values[::-1])[::-1] for values in by_day)
    gain = deviance(kind, (after_y, after_x), (after_y[0] - after_y, after_x[0] - after_x))
    return int(np.argmax(np.where(np.isfinite(gain), gain, -np.inf)))


def arrival(cells: Cells, version: tuple[str, str], inside: Array) -> int | None:
    """First day on which a version serves a visible share of a segment; None where it was there from the start."""
    served = inside & cells.mask(dict([version]))
    rows, of_version = (np.bincount(cells.day[m], cells.rows[m], minlength=cells.days) for m in (inside, served))
    days = np.flatnonzero(of_version >= np.maximum(_VISIBLE * rows, 1))
    return int(days[0]) if len(days) and days[0] > 0 else None


def z_from(cells: Cells, metric: str, inside: Array, day: int) -> float:
    """z of a segment's change on a day; 0 where there is none."""
    *_, z, _ = tested(cells, metric, now=inside & (cells.day >= day), before=inside & (cells.day < day))
    return z if np.isfinite(z) else 0.0


def spread(cells: Cells, metric: str, now: Array, before: Array) -> tuple[float, float]:
    """(change, its standard error) of y / x between two masks, users as clusters over both, each at its own value."""
    terms = cells.terms[metric]
    parts = []
    for mask, sign in ((now, 1.0), (before, -1.0)):
        x = np.bincount(cells.user[mask], terms.x[mask], minlength=cells.users)
        y = np.bincount(cells.user[mask], terms.y[mask], minlength=cells.users)
        if not x.sum():
            return np.nan, np.nan
        value = y.sum() / x.sum()
        parts.append((sign * value, sign * (y - value * x) / x.sum(), x > 0))
    residual = parts[0][1] + parts[1][1]
    users = int((parts[0][2] | parts[1][2]).sum())
    error = float(np.sqrt((residual**2).sum() * users / max(users - 1, 1)))
    return parts[0][0] + parts[1][0], error
