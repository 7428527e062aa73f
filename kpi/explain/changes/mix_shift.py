"""Whether the mix alone carries a change: no group changed, their shares did."""

from __future__ import annotations

import numpy as np

from kpi.explain.aggregates.cube import MIN_ROWS, Cube, is_version
from kpi.explain.changes.region import Region
from kpi.stats.types import Array

_LITTLE = 3.0  # |z| of what is left within the groups, up to which it is nothing: it was picked among many
_CARRIED = 0.6  # share of a change from which the mix may carry it, if nothing is left within the groups
_COVERED = 0.5  # share of both windows in values that both have: with less there is nothing to adjust with
_REST = 0.25  # share of a change that may be left within the groups where the mix carries it


def mix_dimension(region: Region, metric: str) -> str | None:
    """The dimension whose mix carries the change of a metric: within its values nothing is left of it."""
    cube, now, before = region.cube, region.now, region.before
    shares = []
    for name in cube.dims:
        if name in region.where or is_version(name) or _shared(cube, metric, name, now, before) < _COVERED:
            continue
        rate, error, mix = standardised(cube, metric, name, now, before)
        total = rate + mix
        if not total or not np.isfinite(total):
            continue
        nothing_else = abs(rate) < _LITTLE * error and mix / total >= _CARRIED
        if nothing_else or abs(rate) < _REST * abs(total):
            shares.append((mix / total, name))
    return max(shares)[1] if shares else None


def _sums(cube: Cube, metric: str, name: str, mask: Array) -> tuple[Array, Array]:
    """(numerator, denominator) by value of a dimension, the last of them unknown."""
    codes, terms = cube.dims[name].codes[mask], cube.terms[metric].where(mask)
    size = len(cube.dims[name].values) + 1
    y, x = (np.bincount(np.where(codes < 0, size - 1, codes), v, minlength=size) for v in (terms.y, terms.x))
    return y, x


def _shared(cube: Cube, metric: str, name: str, now: Array, before: Array) -> float:
    """Smaller share of a window's denominator that lies in values which both windows have."""
    sums = [_sums(cube, metric, name, mask)[1] for mask in (now, before)]
    both = (sums[0] > 0) & (sums[1] > 0)
    return min(float(x[both].sum() / max(x.sum(), 1e-9)) for x in sums)


def standardised(cube: Cube, metric: str, name: str, now: Array, before: Array) -> tuple[float, float, float]:
    """(rate effect, its standard error, mix effect) of a change over the values of a dimension.

    Kitagawa (1955) in its symmetric form, weights the shares of the denominator; the standard error takes the
    weights as given and the user as cluster over both windows.
    """
    terms, codes = cube.terms[metric], cube.dims[name].codes
    (y1, x1), (y0, x0) = (_sums(cube, metric, name, mask) for mask in (now, before))
    if not x1.sum() or not x0.sum():
        return np.nan, np.nan, np.nan
    w1, w0 = x1 / x1.sum(), x0 / x0.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        r1 = np.nan_to_num(np.where(x1 > 0, y1 / x1, y0 / x0))
        r0 = np.nan_to_num(np.where(x0 > 0, y0 / x0, y1 / x1))
    weight = np.where((x1 > 0) & (x0 > 0), (w1 + w0) / 2, 0.0)
    residual = np.zeros(cube.users)
    for mask, value, x, sign in ((now, r1, x1, 1.0), (before, r0, x0, -1.0)):
        group = codes[mask]  # -1, where unknown, is the last
        scale = np.divide(weight * sign, x, out=np.zeros(len(x)), where=x > 0)
        each = (terms.y[mask] - value[group] * terms.x[mask]) * scale[group]
        residual += np.bincount(cube.user[mask], each, minlength=cube.users)
    rate, mix = float((weight * (r1 - r0)).sum()), float(((r1 + r0) / 2 * (w1 - w0)).sum())
    return rate, float(np.sqrt((residual**2).sum())), mix


def added_by_mix(cube: Cube, metric: str, name: str, start: int) -> Array:
    """What the value of a dimension adds to each cell's numerator, by the levels of the whole before a day.

    Levels of few requests are drawn to that of all.
    """
    y, x = _sums(cube, metric, name, cube.day < start)
    beyond = (y - y.sum() / max(x.sum(), 1e-9) * x) / (x + MIN_ROWS)
    added: Array = beyond[cube.dims[name].codes] * cube.terms[metric].x
    return added


def largest_shift(cube: Cube, name: str, now: Array, before: Array) -> tuple[str, float]:
    """(value of a dimension whose share of the requests moved most, the change of that share)."""
    codes = cube.dims[name]
    known = codes.codes >= 0
    size = len(codes.values)
    rows = (np.bincount(codes.codes[m & known], cube.rows[m & known], minlength=size) for m in (now, before))
    share = [r / max(cube.rows[m].sum(), 1) for r, m in zip(rows, (now, before), strict=True)]
    change = share[0] - share[1]
    most = int(np.argmax(np.abs(change)))
    return codes.values[most], float(change[most])
