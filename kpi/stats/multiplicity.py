"""Corrections for many tests: the false discovery rate, with an error budget shared between families."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kpi.stats.types import Array

SHARES = (0.04, 0.36, 0.45, 0.15)  # of the error budget: the whole, segments that name one value, two, three


def benjamini_hochberg(p: Sequence[float] | Array) -> Array:
    """q-values of Benjamini and Hochberg (1995, J R Stat Soc B 57:289), section 3; one for each p.

    NaN (no test) stays NaN and does not count.
    """
    from scipy import stats  # takes half a second to import, and most commands do without

    values = np.asarray(p, dtype=float)
    known = np.isfinite(values)
    q = np.full(len(values), np.nan)
    q[known] = stats.false_discovery_control(values[known])
    return q


def weighted_p(p: Array, level: Array, looked: Array | None = None) -> Array:
    """p-values over their weights, which average 1 (Genovese, Roeder and Wasserman 2006, Biometrika 93:509).

    Segments that name as many values share a part of the error budget. level: how many values the segment of each
    names. looked: tests made in all, by level; by default those of `p`.
    """
    counts = np.bincount(level, minlength=len(SHARES)) if looked is None else looked
    total = sum(share for share, n in zip(SHARES, counts, strict=True) if n)
    weight = np.array([s / total * counts.sum() / n if n else 1.0 for s, n in zip(SHARES, counts, strict=True)])
    found: Array = np.minimum(1.0, p / weight[level])
    return found
