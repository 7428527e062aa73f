"""A product's change shared out among its factors, exactly and whatever their order. Arrays of products side by side.

LMDI-I (Ang 2004, Energy Policy 32:1131), or, where a factor is zero on a side and has no logarithm, Shapley's value.
Every function takes complex numbers as well and is analytic in them, so that a step of 1e-30 i gives its derivative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from kpi.stats.types import Array

Factor = tuple[str, Array | float, Array | float]  # name, before, now; NaN where a side cannot know it


def share_out(factors: Sequence[Factor]) -> dict[str, Array]:
    """The change of a product among its factors (name, before, now), which are arrays of one shape or numbers.

    The parts sum to the change exactly, in any order. A factor that one side cannot know (the tokens of a model that
    was not used) counts as unchanged. LMDI-I where all factors are positive, else Shapley.
    """
    given = [np.broadcast_arrays(np.asarray(b), np.asarray(a)) for _, b, a in factors]
    before = np.stack([_known(b, a) for b, a in given])
    now = np.stack([_known(a, b) for b, a in given])
    positive = (before.real > 0).all(axis=0) & (now.real > 0).all(axis=0)
    effects = lmdi(np.where(positive, before, 1.0), np.where(positive, now, 1.0))
    if not positive.all():
        effects = np.where(positive, effects, shapley(before, now))
    return {name: effect for (name, _, _), effect in zip(factors, effects, strict=True)}


def _known(first: Array, second: Array) -> Array:
    return np.where(np.isnan(first), np.where(np.isnan(second), 0.0, second), first)


def lmdi(before: Array, now: Array) -> Array:
    """Additive LMDI-I: L(v1, v0) ln(f1 / f0) for the factors f of v, L the logarithmic mean (Ang 2004).

    before, now: positive, factors first; further axes are products side by side. Returns effects of the same shape.
    """
    v0, v1 = np.prod(before, axis=0), np.prod(now, axis=0)
    ratio = np.log(now / before)
    whole = ratio.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(np.abs(whole) > 1e-9, v0 * np.expm1(whole) / whole, (v0 + v1) / 2)
    found: Array = mean * ratio
    return found


def shapley(before: Array, now: Array) -> Array:
    """Shapley's value of each factor in the change of their product: its mean step over all orders.

    before, now: factors first; further axes are products side by side. Returns effects of the same shape.
    """
    count = len(before)
    effects = np.zeros_like(before * now, dtype=np.result_type(before, now, float))
    for i in range(count):
        others = [k for k in range(count) if k != i]
        for size in range(count):
            weight = 1 / (count * math.comb(count - 1, size))
            for moved in combinations(others, size):
                rest = math.prod(now[k] if k in moved else before[k] for k in others)
                effects[i] += weight * rest * (now[i] - before[i])
    return effects
