"""Corrections for many tests: false discovery rate and family-wise error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kpi.stats.types import Array

SHARES = (0.04, 0.36, 0.45, 0.15)  # of the error budget: the whole, segments that name one value, two, three


def weighted_p(p: Array, level: Array, looked: Array | None = None) -> Array:
    """p-values over their weights, which average 1: segments that name as many values share a part of the budget.

    level: how many values the segment of each names. looked: tests made in all, by level; by default those of `p`.
    """
    counts = np.bincount(level, minlength=len(SHARES)) if looked is None else looked
    whole = sum(share for share, n in zip(SHARES, counts, strict=True) if n)
    weight = np.array([s / whole * counts.sum() / n if n else 1.0 for s, n in zip(SHARES, counts, strict=True)])
    return np.minimum(1.0, p / weight[level])


def q_values(p: Array, level: Array, looked: Array | None = None) -> Array:
    """Weighted Benjamini-Hochberg q-values; arguments as of `weighted_p`."""
    weighted = weighted_p(p, level, looked)
    tests = len(p) if looked is None else int(looked.sum())
    order = np.argsort(weighted, kind="stable")
    ranked = weighted[order] * tests / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(1.0, np.minimum.accumulate(ranked[::-1])[::-1])
    return q


def adjusted(p: Array) -> Array:
    """Benjamini-Hochberg q-values; NaN (no test) counts as 1."""
    known = np.where(np.isfinite(p), p, 1.0)
    order = np.argsort(-known, kind="stable")
    ranks = np.arange(len(known), 0, -1)
    q = np.empty(len(known))
    q[order] = np.minimum.accumulate(np.minimum(known[order] * len(known) / ranks, 1.0))
    return q


def adjusted_p(p: Sequence[float]) -> list[float]:
    """q-values of Benjamini and Hochberg (1995, J R Stat Soc B 57:289), section 3; NaN stays and does not count."""
    values_ = np.asarray(p, dtype=float)
    known = np.flatnonzero(np.isfinite(values_))
    q = np.full(len(values_), np.nan)
    order = known[np.argsort(-values_[known], kind="stable")]
    steps = values_[order] * len(order) / np.arange(len(order), 0, -1)
    q[order] = np.minimum.accumulate(steps) if len(order) else steps
    return [float(v) for v in np.minimum(q, 1.0)]
