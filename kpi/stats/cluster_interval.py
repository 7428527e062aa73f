"""Intervals of sums over users, the user as the cluster."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from kpi.stats.types import Array


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a change with its 95 % interval, NaN where fewer than two users carry it."""

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        return self.low > 0 or self.high < 0


def interval(value: float, residual: Array) -> Part:
    """A value with the interval that residuals by user give: t on as many degrees as users carry it, CR1."""
    carrying = int((residual != 0).sum())
    squares = residual * residual
    square = float(squares.sum())
    if carrying < 2 or square == 0:
        return Part(value=value, low=np.nan, high=np.nan)
    carried = square**2 / float((squares * squares).sum())
    error = math.sqrt(square * carrying / (carrying - 1))
    reach = float(special.stdtrit(max(carried - 1, 1), 0.975)) * error
    return Part(value=value, low=value - reach, high=value + reach)
