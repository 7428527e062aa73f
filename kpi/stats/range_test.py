"""The largest minus the smallest of several values: what chance makes of it, and limits that hold for all pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special

from kpi.stats.types import Array

LEVEL = 0.05
_DRAWS, _SEED = 4000, 20261124


@dataclass(frozen=True)
class Range:
    """Of values that differ by chance alone: the observed range, its 95 % quantile, the chance of such a range, and
    the mean square of a range."""

    observed: float
    noise: float
    p: float
    square: float


def range_test(values: Array, null: Array, df: Array, *, seen: Callable[[Array], Array] | None = None) -> Range:
    """The range of `values`, whose covariance is `null` where only chance sets them apart.

    Drawn from the normal distribution of all groups together, each stretched to the t distribution of the users who
    carry it. seen: turns drawn values into those that people see, in which noise and square are then given.
    """
    singular = 1e-9 * max(float(np.trace(null)) / len(values), 1e-300)  # the differences to the whole cancel in sum
    root = np.linalg.cholesky(null + singular * np.eye(len(values)))
    normal, state = _normal(len(values))
    draws = (normal @ root.T).reshape(_DRAWS, len(values))
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    few = np.flatnonzero(df < 300)
    draws[:, few] *= np.sqrt(df[few] / rng.chisquare(df[few], (_DRAWS, len(few))))
    ranges = np.ptp(draws, axis=1)
    observed = float(np.ptp(values))
    p = float((1 + (ranges >= observed * (1 - 1e-9)).sum()) / (_DRAWS + 1))
    shown = ranges if seen is None else np.ptp(seen(draws), axis=1)
    return Range(observed, float(np.quantile(shown, 1 - LEVEL)), p, float((shown**2).mean()))


@lru_cache(maxsize=16)
def _normal(groups: int) -> tuple[Array, dict[str, Any]]:
    """(standard normal draws in stacks of 50 rows, the state in which they leave the generator).

    A product of 50 rows is too small for a BLAS to start its threads, whose waiting costs more than the product.
    """
    rng = np.random.default_rng(_SEED)
    draws = rng.standard_normal((_DRAWS, groups)).reshape(-1, 50, groups)
    draws.setflags(write=False)
    return draws, dict(rng.bit_generator.state)


def simultaneous(groups: int, df: Array | float) -> Array:
    """How many standard errors a difference may be off, for all pairs of so many groups at once (Tukey-Kramer).

    The exact quantile for known variances, stretched to the t distribution of each difference; a quantile of the
    studentised range for each pair's own df would take a second for 60 groups, and be smaller for few df.
    """
    found: Array = special.stdtrit(df, special.ndtr(_tukey(groups)))
    return found


@lru_cache(maxsize=128)
def _tukey(groups: int) -> float:
    """95 % quantile of the range of so many standard normal values, over sqrt(2) (Tukey 1953; Kramer 1956)."""
    from scipy import stats  # takes half a second to import, and most commands do without

    return float(stats.studentized_range.ppf(1 - LEVEL, groups, np.inf) / np.sqrt(2))


def shrink_empirical_bayes(value: Array, variance: Array, expected: Array, usable: Array) -> Array:
    """Empirical Bayes: values drawn to what is expected as far as their errors allow (Morris 1983, JASA 78:47).

    The variance between groups is that of DerSimonian and Laird (1986) around known means. usable: groups that count;
    those without a variance stay where they are expected.
    """
    apart = value - expected
    usable = usable & (variance > 0) & np.isfinite(apart)
    weight = 1 / variance[usable]
    between = 0.0
    if usable.sum() > 1:
        between = max(0.0, float(((weight * apart[usable] ** 2).sum() - usable.sum()) / weight.sum()))
    kept = between / (between + variance) if between else np.zeros(len(variance))
    return expected + np.where(usable, kept * apart, 0.0)
