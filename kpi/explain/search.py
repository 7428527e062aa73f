"""Search of every segment for a change between two windows: one statistic for all of them, users as clusters.

For a metric y / x and a segment, the change is D = R_now - R_before. Each user contributes the residual
(y1 - R x1) / X1 - (y0 - R x0) / X0 with the pooled R, over both windows at once, so that who comes back in the second
window is compared with themself and what is between users cancels. The sum of squared residuals is the variance under
"no change" (a clustered score test), (sum r^2)^2 / sum r^4 the number of users that really carry it: the t
distribution has as many degrees of freedom, so three loud users or five rare events never make a finding. Pairs of
values are searched as well as single ones, and values of a version that entered against everything before them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy import special

from kpi.explain.cells import Cells, Terms, is_version

Array = np.ndarray
MIN_ROWS, MIN_USERS = 30, 10  # of a segment in each window
ENTERED_BEFORE, ENTERED_NOW = 0.02, 0.03  # shares below and from which a value of a version has entered
SHARES = (0.04, 0.36, 0.45, 0.15)  # of the error budget: the whole, segments that name one value, two, three
_SPLITS_TESTED = 3.0  # what looking at up to 14 nested parts of the window costs; simulated in tests/worlds


@dataclass(frozen=True)
class Found:
    """The statistic of one metric in one segment.

    where: (dimension, value) pairs; entered: the version value that was not there before, if the segment has one.
    split: day from which "now" counts. change: D in the units of the term (natural logarithms where it is logged).
    level: the pooled value. rows: requests that count now and before. q: share of such findings that would be false.
    """

    metric: str
    kind: str
    where: tuple[tuple[str, str], ...]
    entered: tuple[str, str] | None
    split: int
    change: float
    error: float
    z: float
    p: float
    df: float
    level: float
    rows: tuple[float, float]
    q: float = 1.0

    @property
    def literals(self) -> int:
        return len(self.where) + (self.entered is not None)


@dataclass(frozen=True)
class _Layout:
    """One way to cut the cells into groups of the values of up to two dimensions.

    group: per cell, -1 where it is outside. entered: the version value that the cells of now were served by.
    """

    dims: tuple[str, ...]
    group: Array
    entered: tuple[str, str] | None = None

    @property
    def literals(self) -> int:
        return len(self.dims) + (self.entered is not None)

    def where(self, group: int, cells: Cells) -> tuple[tuple[str, str], ...]:
        """The values that a group stands for."""
        if len(self.dims) == 2:
            first, second = (cells.dims[d].values for d in self.dims)
            return ((self.dims[0], first[group // len(second)]), (self.dims[1], second[group % len(second)]))
        return tuple((d, cells.dims[d].values[group]) for d in self.dims)


@dataclass(frozen=True)
class Searched:
    """What was looked at closely, as arrays of one length; `found` makes one of them readable.

    looked: pairs of a segment and a metric in all, by the number of values that the segment names; those whose plain
    statistic already showed nothing were not tested further and count as p = 1. q: Benjamini-Hochberg over all of them,
    weighted so that the whole, single values and pairs share the budget (Genovese, Roeder and Wasserman 2006).
    """

    cells: Cells
    layouts: list[_Layout]
    metrics: list[str]
    layout: Array
    metric: Array
    group: Array
    split: Array
    numbers: Array  # columns as in _NUMBERS
    looked: Array
    q: Array

    def __len__(self) -> int:
        return int(self.looked.sum())

    def found(self, i: int) -> Found:
        layout = self.layouts[self.layout[i]]
        n = dict(zip(_NUMBERS, self.numbers[i].tolist(), strict=True))
        name = self.metrics[self.metric[i]]
        return Found(
            metric=name, kind=self.cells.terms[name].kind, where=layout.where(int(self.group[i]), self.cells),
            entered=layout.entered, split=int(self.split[i]), change=n["change"], error=n["error"], z=n["z"], p=n["p"],
            df=n["df"], level=n["level"], rows=(n["now"], n["before"]), q=float(self.q[i]),
        )  # fmt: skip

    def clear(self, level: float) -> list[Found]:
        """Those with q up to a level, strongest first; q here is for one claim alone, see `Found.q`."""
        literals = np.array([layout.literals for layout in self.layouts])[self.layout]
        alone = weighted_p(self.numbers[:, 3], literals, self.looked) * len(self)
        chosen = np.flatnonzero(alone <= level)
        found = [replace(self.found(int(i)), q=min(1.0, float(alone[i]))) for i in chosen]
        return sorted(found, key=lambda f: -abs(f.z))


_NUMBERS = ("change", "error", "z", "p", "df", "now", "before", "level")


def search(cells: Cells, start: int, *, metrics: Sequence[str] | None = None, least: int = 2) -> Searched:
    """Every segment with enough rows and users: its change of each metric, and its q-value.

    start: the day with which "now" begins; days before it are the window compared with. least: days of the shortest
    part at the end of "now" that is looked at as well, so that a change of the last days is not diluted.
    """
    names = list(metrics) if metrics is not None else list(cells.terms)
    splits = _splits(start, cells.days, least)
    layouts = list(_layouts(cells, start))
    looked = np.zeros(len(SHARES), dtype=np.int64)
    parts: list[tuple[Array, Array]] = []
    screen = _Screen(cells, names, start, splits)
    for i, layout in enumerate(layouts):
        split, tried = screen.split(layout)
        looked[layout.literals] += tried
        parts += _of_layout(cells, layout, i, names, split, start)
    index = np.concatenate([p[0] for p in parts]) if parts else np.zeros((0, 4), dtype=np.int64)
    numbers = np.concatenate([p[1] for p in parts]) if parts else np.zeros((0, len(_NUMBERS)))
    literals = np.array([layout.literals for layout in layouts])[index[:, 0]]
    q = q_values(numbers[:, 3], literals, looked)
    return Searched(cells, layouts, names, index[:, 0], index[:, 1], index[:, 2], index[:, 3], numbers, looked, q)


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


def _splits(start: int, end: int, least: int) -> list[int]:
    """First days of the parts at the end of "now" that are looked at: each day on which a change may have begun."""
    return list(range(start, max(start + 1, end - max(least, 1) + 1)))


def _layouts(cells: Cells, start: int) -> Iterator[_Layout]:
    yield _Layout((), np.zeros(len(cells), dtype=np.int64))
    for name, codes in cells.dims.items():
        yield _Layout((name,), codes.codes)
    for a, b in combinations(cells.dims, 2):
        yield _Layout((a, b), _paired(cells, a, b))
    before = cells.day < start
    for name, value in entering(cells, start):
        kept = before | (cells.dims[name].codes == cells.dims[name].values.index(value))
        yield _Layout((), np.where(kept, 0, -1), (name, value))
        cohorts = [d for d in cells.dims if not is_version(d)]
        for other in cohorts:
            yield _Layout((other,), np.where(kept, cells.dims[other].codes, -1), (name, value))
        for a, b in combinations(cohorts, 2):
            yield _Layout((a, b), np.where(kept, _paired(cells, a, b), -1), (name, value))


def _paired(cells: Cells, a: str, b: str) -> Array:
    first, second = cells.dims[a], cells.dims[b]
    return np.where((first.codes >= 0) & (second.codes >= 0), first.codes * len(second.values) + second.codes, -1)


def entering(cells: Cells, start: int) -> Iterator[tuple[str, str]]:
    """Versions that serve requests now and hardly did before."""
    before = cells.day < start
    for name, codes in cells.dims.items():
        if not is_version(name):
            continue
        size = len(codes.values)
        known = codes.codes >= 0
        now = np.bincount(codes.codes[known & ~before], cells.rows[known & ~before], minlength=size)
        then = np.bincount(codes.codes[known & before], cells.rows[known & before], minlength=size)
        shares = now / max(now.sum(), 1), then / max(then.sum(), 1)
        for i in np.flatnonzero((shares[0] >= ENTERED_NOW) & (shares[1] < ENTERED_BEFORE)):
            if then.sum():
                yield name, codes.values[int(i)]


class _Screen:
    """The plain statistic of every group, from sums over cells alone: who is worth the clustered test.

    Clustering nearly always widens; comparing users with themselves narrows by less than a half. What shows less than
    2.4 plain standard errors in every part of "now" cannot become a finding, which takes about 4. Groups without enough
    rows are not looked at.
    """

    def __init__(self, cells: Cells, metrics: Sequence[str], start: int, splits: Sequence[int]) -> None:
        self._cells, self._start = cells, start
        self._bounds = np.array(sorted(splits))
        self._bin = np.where(cells.day < start, 0, np.searchsorted(self._bounds, cells.day, side="right"))
        self._bins = len(self._bounds) + 1
        self._terms = [cells.terms[m] for m in metrics]
        self._spread = [_spread(t, cells.day < start) for t in self._terms]

    def split(self, layout: _Layout) -> tuple[Array, int]:
        """(metrics x groups: first day of the part that shows most, -1: nothing; metrics and groups looked at)."""
        inside = np.flatnonzero(layout.group >= 0)
        group = layout.group[inside]
        groups = int(group.max()) + 1 if len(group) else 0
        if not groups:
            return np.full((len(self._terms), 0), -1), 0
        key = group * self._bins + self._bin[inside]
        shape = (groups, self._bins)
        found, tried = np.full((len(self._terms), groups), -1), 0
        for i, terms in enumerate(self._terms):
            x = np.bincount(key, terms.x[inside], minlength=groups * self._bins).reshape(shape)
            large = (x[:, 0] >= MIN_ROWS) & (x[:, 1:].sum(axis=1) >= MIN_ROWS)
            if not large.any():
                continue
            y = np.bincount(key, terms.y[inside], minlength=groups * self._bins).reshape(shape)
            after_x, after_y = (np.cumsum(v[:, :0:-1], axis=1) for v in (x, y))  # from the last part backwards
            with np.errstate(divide="ignore", invalid="ignore"):
                change = after_y / after_x - (y[:, 0] / x[:, 0])[:, None]
                level = (after_y + y[:, :1]) / (after_x + x[:, :1])
                varies = {"rate": level * (1 - level), "incidence": level}.get(terms.kind, self._spread[i])
                z = np.abs(change) / np.sqrt(varies * (1 / after_x + 1 / x[:, :1]))
            z = np.where(after_x >= MIN_ROWS, np.nan_to_num(z, nan=0.0, posinf=np.inf), 0.0)
            shown = large & (z.max(axis=1) >= _WORTH)
            found[i, shown] = self._bounds[::-1][z[shown].argmax(axis=1)]
            tried += int(large.sum())
        return found, tried


_WORTH = 2.4


def _spread(terms: Terms, before: Array) -> float:
    """Variance of one unit of the denominator around the value of the whole, from the cells before."""
    y, x = terms.y[before], terms.x[before]
    total = x.sum()
    if not total:
        return 1.0
    residual = y - y.sum() / total * x
    return float((residual**2).sum() / total) or 1.0


_DENSE = 3  # pairs that may be numbered for each cell


class _Users:
    """The (group, user) pairs of a layout, numbered once for all metrics."""

    def __init__(self, cells: Cells, layout: _Layout, groups: Array | None = None) -> None:
        inside = layout.group >= 0
        if groups is not None:  # a mask of groups; cells of the others are left aside
            inside &= groups[layout.group]
        self.cells = np.flatnonzero(inside)
        span = max(cells.users, 1)
        group = layout.group[self.cells].astype(np.int64)
        self.groups = int(group.max()) + 1 if len(group) else 0
        pairs = group * span + cells.user[self.cells]
        if self.groups * span <= _DENSE * len(pairs):  # most pairs occur: numbering all of them spares the sorting
            self.number = pairs
            self.group = np.repeat(np.arange(self.groups), span)
        else:
            unique, self.number = np.unique(pairs, return_inverse=True)
            self.group = unique // span

    def sums(self, values: Array, chosen: Array) -> Array:
        """Sum of `values` per pair over the chosen cells."""
        return np.bincount(self.number[chosen], values[self.cells[chosen]], minlength=len(self.group))

    def total(self, values: Array) -> Array:
        """Sum per group of a value per pair."""
        return np.bincount(self.group, values, minlength=self.groups)


def _of_layout(
    cells: Cells, layout: _Layout, number: int, metrics: Sequence[str], split: Array, start: int
) -> Iterator[tuple[Array, Array]]:
    """(layout, metric, group, split) and the numbers of each group worth a test.

    split: metrics x groups, the day at which the plain statistic shows most; -1 where it shows nothing.
    """
    for position in np.flatnonzero((split >= 0).any(axis=1)).tolist():
        name, since = metrics[position], split[position]
        terms = cells.terms[name]
        users = _Users(cells, layout, since >= 0)
        day = cells.day[users.cells]
        before, now = day < start, day >= since[layout.group[users.cells]]
        found = _tested(
            users, (users.sums(terms.y, now), users.sums(terms.x, now)),
            (users.sums(terms.y, before), users.sums(terms.x, before)), terms.kind,
        )  # fmt: skip
        usable = np.flatnonzero(found.usable & (since[: users.groups] >= 0))
        if len(usable):
            numbers = found.numbers[usable]
            numbers[:, 3] = np.minimum(1.0, numbers[:, 3] * _SPLITS_TESTED)
            same = np.full(len(usable), number), np.full(len(usable), position)
            yield np.stack([*same, usable, since[usable]], axis=1), numbers


@dataclass(frozen=True)
class _Tested:
    """The statistic of every group of a layout; numbers has a row a group, columns as in _NUMBERS."""

    usable: Array
    p: Array
    numbers: Array


def _tested(users: _Users, now: tuple[Array, Array], before: tuple[Array, Array], kind: str) -> _Tested:
    """The clustered score test of every group.

    Where a side has no event at all its residuals hardly vary, which says nothing of how much they could: the variance
    of a share is at least the binomial one, that of a count at least the Poisson one, at the pooled value.
    """
    (y1, x1), (y0, x0) = now, before
    sums = [users.total(v) for v in (y1, x1, y0, x0)]
    sy1, sx1, sy0, sx0 = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = ((sy1 + sy0) / (sx1 + sx0))[users.group]
        residual = (y1 - pooled * x1) / sx1[users.group] - (y0 - pooled * x0) / sx0[users.group]
        residual = np.where(np.isfinite(residual), residual, 0.0)
        square = users.total(residual**2)
        fourth = users.total(residual**4)
        clusters = users.total(((x1 > 0) | (x0 > 0)).astype(float))
        level = (sy1 + sy0) / (sx1 + sx0)
        least = {"rate": level * (1 - level), "incidence": level}.get(kind, 0 * level) * (1 / sx1 + 1 / sx0)
        error = np.sqrt(np.maximum(square * clusters / (clusters - 1), least))
        change = sy1 / sx1 - sy0 / sx0
        z = change / error
        df = 2 * square**2 / fourth - 1  # Satterthwaite (1946), the variance of r^2 taken as r^4
        p = 2 * special.stdtr(np.maximum(df, 1.0), -np.abs(z))
    counted = users.total((x1 > 0).astype(float)), users.total((x0 > 0).astype(float))
    usable = (sx1 >= MIN_ROWS) & (sx0 >= MIN_ROWS) & (counted[0] >= MIN_USERS) & (counted[1] >= MIN_USERS)
    usable &= np.isfinite(z) & (error > 0) & (df > 1)
    return _Tested(usable, p, np.stack([change, error, z, p, df, sx1, sx0, level], axis=1))


def tested(cells: Cells, terms: Terms, *, now: Array, before: Array) -> tuple[float, float, float, float]:
    """(change, standard error, z, p) of one metric between two masks of cells, by the same test; NaN where none is."""
    users = _Users(cells, _Layout((), np.where(now | before, 0, -1)))
    if not users.groups:
        return np.nan, np.nan, np.nan, np.nan
    sides = [(users.sums(terms.y, m[users.cells]), users.sums(terms.x, m[users.cells])) for m in (now, before)]
    change, error, z, p, *_ = _tested(users, sides[0], sides[1], terms.kind).numbers[0].tolist()
    return change, error, z, p
