"""A segment in two windows: what a change compares, with its masks of cells worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from kpi.explain.aggregates.cube import Cube
from kpi.explain.changes.change_test import ChangeTest, test_change
from kpi.explain.changes.scan import SegmentChange
from kpi.stats.types import Array


@dataclass(frozen=True)
class Region:
    """A segment from a day on, beside the days before.

    where: dimension -> value. version: (dimension, value) that "now" is limited to. split: day from which "now"
    counts; start: day up to which "before" does.
    """

    cube: Cube = field(repr=False)
    where: Mapping[str, str]
    version: tuple[str, str] | None
    split: int
    start: int

    @classmethod
    def of(cls, cube: Cube, found: SegmentChange, start: int) -> Region:
        """What the scan compared."""
        return cls(cube, dict(found.where), found.entered, found.split, min(found.split, start))

    @classmethod
    def since(cls, cube: Cube, where: Mapping[str, str], day: int, version: tuple[str, str] | None = None) -> Region:
        """A segment from a day on against all days before."""
        return cls(cube, where, version, day, day)

    @cached_property
    def inside(self) -> Array:
        """Cells of the segment, at any time and of any version."""
        return self.cube.mask(self.where)

    @cached_property
    def served(self) -> Array:
        """Those of the version, at any time; all where there is none."""
        return self.inside if self.version is None else self.inside & self.cube.mask(dict([self.version]))

    @cached_property
    def now(self) -> Array:
        return self.served & (self.cube.day >= self.split)

    @cached_property
    def before(self) -> Array:
        return self.inside & (self.cube.day < self.start)

    def test(self, metric: str) -> ChangeTest:
        """The change of a metric."""
        return test_change(self.cube, metric, now=self.now, before=self.before)

    def test_outside(self, metric: str, *, now: Array, before: Array) -> ChangeTest:
        """The change of what is in neither of two masks of cells."""
        return test_change(self.cube, metric, now=self.now & ~now, before=self.before & ~before)

    def overlap(self, other: Region) -> float:
        """Requests in both segments over those in the larger one."""
        rows = self.cube.rows
        both = rows[self.inside & other.inside].sum()
        return float(both / max(rows[self.inside].sum(), rows[other.inside].sum(), 1))


def spread(cube: Cube, metric: str, now: Array, before: Array) -> tuple[float, float]:
    """(change, its standard error) of y / x between two masks, users as clusters over both, each at its own value."""
    terms = cube.terms[metric]
    parts = []
    for mask, sign in ((now, 1.0), (before, -1.0)):
        x = np.bincount(cube.user[mask], terms.x[mask], minlength=cube.users)
        y = np.bincount(cube.user[mask], terms.y[mask], minlength=cube.users)
        if not x.sum():
            return np.nan, np.nan
        value = y.sum() / x.sum()
        parts.append((sign * value, sign * (y - value * x) / x.sum(), x > 0))
    residual = parts[0][1] + parts[1][1]
    users = int((parts[0][2] | parts[1][2]).sum())
    error = float(np.sqrt((residual**2).sum() * users / max(users - 1, 1)))
    return parts[0][0] + parts[1][0], error
