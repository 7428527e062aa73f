"""How sure a change between two windows is: one statistic for every metric and segment, users as clusters.

For a metric y / x and a segment, the change is D = R_now - R_before. Each user contributes the residual
(y1 - R1 x1) / X1 - (y0 - R0 x0) / X0 over both windows at once, so that who comes back in the second window is compared
with themself and what is between users cancels. The sum of squared residuals over what independent requests would show
is the design effect of the change (Kish 1965); it is taken as no smaller than what users of these sizes have in the
whole of the data, because a few users tell their own spread badly.

A share or count is then tested as it would be without any change: given the events of both windows, those of now
binomial (Przyborowski and Wilenski 1940), with counts divided by the design effect. The variance that a change brings
with it does not hide the change, and three heavy users or five rare events never make a finding. Logarithms and ratios
of sums have no such law: they are tested by t, with a variance and degrees of freedom borrowed in part from the whole
(Smyth 2004, Stat Appl Genet Mol Biol 3:3).
"""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

import numpy as np
from scipy import special

from kpi.explain.aggregates.cube import MIN_ROWS, MIN_USERS, Cube, Noise, Terms
from kpi.explain.changes.variance import noise_of
from kpi.stats.types import Array

NUMBERS = ("change", "error", "z", "p")
_BORROWED = 10.0  # degrees of freedom that the whole lends to the variance of a segment
_FEW = 8.0  # users up to whom their events count as one clump each, whatever their residuals say
_SURE = 1e-290  # below it a p-value is no longer told from 0


class UserGroups:
    """The (group, user) pairs of a way to cut the cells into groups: cells sorted by pair, so that a sum is one walk.

    group: per cell, -1 where it is outside. Sorted once for all metrics; `kept` leaves groups aside.
    """

    def __init__(self, cube: Cube, group: Array) -> None:
        order = cube.by_user
        place = group[order]
        inside = place >= 0
        order, place = order[inside], place[inside]
        self.groups = int(place.max()) + 1 if len(place) else 0
        small = place.astype(np.int16) if self.groups < 2**15 else place  # numpy sorts small numbers by their digits
        order = order[np.argsort(small, kind="stable")]
        self._numbered(order, group[order], cube.user[order])

    def _numbered(self, cells: Array, group: Array, user: Array) -> None:
        new = np.ones(len(cells), dtype=bool)
        new[1:] = (group[1:] != group[:-1]) | (user[1:] != user[:-1])
        self.cells, self.of_cell, self._user, self._starts = cells, group, user, np.flatnonzero(new)
        self.group = group[self._starts]
        first = np.ones(len(self.group), dtype=bool)
        first[1:] = self.group[1:] != self.group[:-1]
        self._firsts = np.flatnonzero(first)

    def kept(self, groups: Array) -> UserGroups:
        """Those of a mask of groups."""
        inside = groups[self.of_cell]
        if inside.all():
            return self
        found = copy(self)
        found._numbered(self.cells[inside], self.of_cell[inside], self._user[inside])
        return found

    def sums(self, values: Array, chosen: Array) -> Array:
        """Sum per pair of `values`, parallel to `cells`, over the chosen ones."""
        return np.add.reduceat(np.where(chosen, values, 0.0), self._starts)

    def total(self, values: Array) -> Array:
        """Sum per group of a value per pair; 0 of a group without any."""
        found = np.zeros(self.groups)
        found[self.group[self._firsts]] = np.add.reduceat(values, self._firsts, dtype=float)
        return found


def test_groups(
    users: UserGroups, terms: Terms, noise: Noise, *, now: Array, before: Array, days: Array | float
) -> tuple[Array, Array]:
    """The test of every group: whether it can be told, and a row a group with columns as in NUMBERS, z the normal of p.

    now, before: masks parallel to `users.cells`; days: sum of 1 / days of the two windows, for each group or for all.
    """
    y, x = terms.y[users.cells], terms.x[users.cells]
    y1, x1, y0, x0 = (users.sums(v, m) for m in (now, before) for v in (y, x))
    sums = np.stack([users.total(v) for v in (y1, x1, y0, x0)])
    sy1, sx1, sy0, sx0 = sums
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        weight1, weight0 = (1 / sx1)[users.group], (1 / sx0)[users.group]
        rate1, rate0 = sy1 / sx1, sy0 / sx0
        residual = (y1 - rate1[users.group] * x1) * weight1 - (y0 - rate0[users.group] * x0) * weight0
        squares = np.where(np.isfinite(residual), residual, 0.0) ** 2
        square = users.total(squares)
        clusters = users.total((x1 > 0) | (x0 > 0))
        own = square * clusters / (clusters - 1)
        paired = users.total(np.nan_to_num(x1 * weight1 - x0 * weight0) ** 2)
        usual, shared = noise.of(1 / sx1 + 1 / sx0, paired), noise.daily * days
        level = (sy1 + sy0) / (sx1 + sx0)
        exact = terms.kind in ("rate", "incidence")
        if exact:
            clumps = _clumps(users, (y1, x1), (y0, x0), often=(terms.kind == "rate") & (level > 0.5))
            error, z, p = _binomial_test(sums, own, usual, shared, clumps, kind=terms.kind)
        else:
            if not terms.logged and not (terms.y < 0).any():  # of the same spread for their size as the whole
                usual = usual * (level * terms.x.sum() / terms.y.sum()) ** 2
                own = np.maximum(own, usual)  # a few dear requests that are not in it yet would widen it
            df = 2 * square**2 / users.total(squares**2) - 1  # Satterthwaite (1946), the variance of r^2 taken as r^4
            error, z, p = _t_test(sums, own, df, usual, shared, kind=terms.kind)
    counted = users.total(x1 > 0), users.total(x0 > 0)
    usable = (sx1 >= MIN_ROWS) & (sx0 >= MIN_ROWS) & (counted[0] >= MIN_USERS) & (counted[1] >= MIN_USERS)
    usable &= np.isfinite(z) & (error > 0)
    if not exact:
        usable &= df > 1
    return usable, np.stack([rate1 - rate0, error, z, p], axis=1)


def _clumps(users: UserGroups, now: tuple[Array, Array], before: tuple[Array, Array], *, often: Array) -> Array:
    """Events that come as one, at least, where they are those of few users; of the window with more than its part.

    Who carries a segment's level hides in its residuals. often: of these groups the events are what did not happen.
    """
    sums, effective = [], []
    for y, x in (now, before):
        events = np.where(often[users.group], x - y, y)
        total, square = users.total(events), users.total(events**2)
        sums.append((total, users.total(x)))
        effective.append(np.divide(total**2, square, out=np.ones(len(total)), where=square > 0))
    more = sums[0][0] * sums[1][1] > sums[1][0] * sums[0][1]
    total, carriers = (np.where(more, a, b) for a, b in ((sums[0][0], sums[1][0]), tuple(effective)))
    result: Array = total / carriers / (1 + (carriers / _FEW) ** 2)
    return result


def _binomial_test(
    sums: Array, own: Array, usual: Array, shared: Array | float, clumps: Array, *, kind: str
) -> tuple[Array, Array, Array]:
    """(error, z, p) of shares or counts, by the conditional binomial with counts over the design effect."""
    y1, x1, y0, x0 = sums
    y1, y0 = (np.clip(y, 0.0, x if kind == "rate" else None) for y, x in ((y1, x1), (y0, x0)))
    rate = (y1 + y0) / (x1 + x0)
    single = 1 / x1 + 1 / x0
    if kind == "rate":
        rare = rate <= 0.5
        events1, events0 = np.where(rare, y1, x1 - y1), np.where(rare, y0, x0 - y0)
        left = np.maximum(rate, 1 - rate)  # what drawing from few requests takes off the variance
        plain = y1 * (1 - y1 / x1) / x1**2 + y0 * (1 - y0 / x0) / x0**2
        varies = rate * (1 - rate)
    else:
        rare, events1, events0, left = np.ones(len(rate), dtype=bool), y1, y0, 1.0
        plain, varies = y1 / x1**2 + y0 / x0**2, rate
    design = np.maximum(np.nan_to_num(own / plain, nan=0.0), usual / single)
    design = np.maximum(design, clumps) + shared / single
    error = np.sqrt(varies * single * design)
    a, b, share = events1 / (design * left), events0 / (design * left), x1 / (x1 + x0)
    z = _binomial(a, b, share) * np.where(rare, 1.0, -1.0)
    return error, z, 2 * special.ndtr(-np.abs(z))


def _binomial(a: Array, b: Array, share: Array) -> Array:
    """Normal score of `a` events against `b`, if each were one of the first with probability `share` (mid-p)."""
    more = (special.betainc(np.maximum(a, 1e-9), b + 1, share) + special.betainc(a + 1, np.maximum(b, 1e-9), share)) / 2
    less = (
        special.betainc(np.maximum(b, 1e-9), a + 1, 1 - share) + special.betainc(b + 1, np.maximum(a, 1e-9), 1 - share)
    ) / 2
    tail, total = np.minimum(more, less), a + b
    deviance = special.xlogy(a, a / (total * share)) + special.xlogy(b, b / (total * (1 - share)))
    beyond = np.sqrt(2 * np.maximum(deviance, 0))  # the same where the tail can no longer be told from 0
    size = np.where(tail > _SURE, -special.ndtri(np.minimum(tail, 0.5)), beyond)
    result: Array = np.where(a > total * share, size, -size)
    return result


def _t_test(
    sums: Array, own: Array, df: Array, usual: Array, shared: Array | float, *, kind: str
) -> tuple[Array, Array, Array]:
    """(error, z, p) of means of logarithms or ratios of sums, by t."""
    y1, x1, y0, x0 = sums
    df = np.maximum(np.nan_to_num(df), 1.0)
    lent = _BORROWED if kind == "quantile" else 0.0
    error = np.sqrt((lent * usual + df * own) / (lent + df) + shared)
    t = (y1 / x1 - y0 / x0) / error
    tail = special.stdtr(lent + df, -np.abs(t))
    size = np.where(tail > _SURE, -special.ndtri(np.minimum(tail, 0.5)), np.abs(t))
    return error, np.copysign(size, t), 2 * tail


def deviance(kind: str, now: tuple[Array, Array], before: tuple[Array, Array]) -> Array:
    """Twice the log-likelihood ratio of two levels against one, requests taken as independent; arrays broadcast.

    now, before: (numerator, denominator). Binomial of a rate, Poisson of an incidence; else of a normal law with
    variance 1 for each unit of the denominator, to be divided by the real one.
    """
    (y1, x1), (y0, x0) = now, before
    if kind in ("rate", "incidence"):
        y1, y0 = (np.clip(y, 0.0, x if kind == "rate" else None) for y, x in (now, before))
    with np.errstate(divide="ignore", invalid="ignore"):
        level = (y1 + y0) / (x1 + x0)
        if kind not in ("rate", "incidence"):
            return (y1 / x1 - y0 / x0) ** 2 / (1 / x1 + 1 / x0)
        found = special.xlogy(y1, y1 / (x1 * level)) + special.xlogy(y0, y0 / (x0 * level))
        if kind == "rate":
            left = 1 - level
            found += special.xlogy(x1 - y1, (x1 - y1) / (x1 * left)) + special.xlogy(x0 - y0, (x0 - y0) / (x0 * left))
        result: Array = 2 * np.maximum(found, 0.0)
        return result


class ChangeTest(NamedTuple):
    """A change with its standard error, z and p; NaN where it cannot be tested."""

    change: float
    error: float
    z: float
    p: float

    def beyond(self, z: float) -> bool:
        """Whether it could be tested and |z| is larger."""
        return bool(np.isfinite(self.z)) and abs(self.z) > z


def test_change(cube: Cube, metric: str, *, now: Array, before: Array) -> ChangeTest:
    """The same test of one metric between two masks of cells."""
    users = UserGroups(cube, np.where(now | before, 0, -1))
    if not users.groups:
        return ChangeTest(np.nan, np.nan, np.nan, np.nan)
    days = sum(1 / max(len(np.unique(cube.day[mask])), 1) for mask in (now, before))
    noise, inside = noise_of(cube, metric), users.cells
    _, found = test_groups(users, cube.terms[metric], noise, now=now[inside], before=before[inside], days=days)
    return ChangeTest(*found[0].tolist())
