"""The difference of two estimates with its interval and test."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Difference:
    """now - before. low/high: 95 %, NaN where a side is unknown. clear: the interval excludes zero."""

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        return (math.isfinite(self.low) and self.low > 0) or (math.isfinite(self.high) and self.high < 0)


def difference(now: tuple[float, float, float], before: tuple[float, float, float]) -> Difference:
    """Difference of two (value, low, high) by MOVER (Zou and Donner 2008, Stat Med 27:1693).

    For two proportions with Wilson intervals this is Newcombe's method 10 (1998, Stat Med 17:873).
    """
    (a, a_low, a_high), (b, b_low, b_high) = now, before
    value = a - b
    low = value - math.hypot(a - a_low, b_high - b)
    high = value + math.hypot(a_high - a, b - b_low)
    return Difference(value=value, low=low, high=high)
