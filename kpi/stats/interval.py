"""Values with their 95 % interval: of sums over users, the user as the cluster, and of the difference of two values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from kpi.result import Result
from kpi.stats.types import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Interval(Result):
    """A value with its 95 % limits, NaN where they are unknown. clear: the interval excludes zero."""

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        return self.low > 0 or self.high < 0

    @property
    def sentence(self) -> str:
        """The value and its limits as numbers."""
        return f"{self.value:.4g} (95 %: {self.low:.4g} to {self.high:.4g})"


def cluster_interval(value: float, residual: Array) -> Interval:
    """A value with the interval that residuals by user give: t on as many degrees as users carry it, CR1.

    Limits are NaN where fewer than two users carry it.
    """
    carrying = int((residual != 0).sum())
    squares = residual * residual
    square = float(squares.sum())
    if carrying < 2 or square == 0:
        return Interval(value=value, low=np.nan, high=np.nan)
    carried = square**2 / float((squares * squares).sum())
    error = math.sqrt(square * carrying / (carrying - 1))
    reach = float(special.stdtrit(max(carried - 1, 1), 0.975)) * error
    return Interval(value=value, low=value - reach, high=value + reach)


def difference(now: tuple[float, float, float], before: tuple[float, float, float]) -> Interval:
    """Difference of two estimates by MOVER.

    For two proportions with Wilson intervals this is Newcombe's method 10.

    Args:
        now: (value, low, high).
        before: (value, low, high), in the same unit.

    Returns:
        An interval: value, low, high of now minus before.

    Source:
        Zou and Donner 2008, Stat Med 27:1693; Newcombe 1998, Stat Med 17:873.

    Example:
        >>> found = kpi.difference((0.80, 0.76, 0.84), (0.70, 0.65, 0.75))
        >>> round(found.value, 2), round(found.low, 3), round(found.high, 3)
        (0.1, 0.036, 0.164)
    """
    (a, a_low, a_high), (b, b_low, b_high) = now, before
    value = a - b
    low = value - math.hypot(a - a_low, b_high - b)
    high = value + math.hypot(a_high - a, b - b_low)
    return Interval(value=value, low=low, high=high)
