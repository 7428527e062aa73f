"""Search of every segment for a change between two windows, with an error rate that holds over all that was looked at.

Pairs of values are searched as well as single ones, and values of a version that entered against everything before
them; each at the day from which it shows most. The statistic is that of `kpi.explain.changes.change_test`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from kpi.explain.aggregates.cube import MIN_ROWS, Cells, Terms, is_version
from kpi.explain.changes.change_test import NUMBERS, Users, compared, deviance
from kpi.explain.changes.variance import noise_of
from kpi.stats.multiplicity import SHARES, benjamini_hochberg, weighted_p
from kpi.stats.types import Array

ENTERED_BEFORE, ENTERED_NOW = 0.02, 0.03  # shares below and from which a value of a version has entered
_SPLITS_TESTED = (
    6.0  # what looking at up to 13 nested parts of the window costs at 4 to 4.5 standard errors (simulated)
)


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
    numbers: Array  # columns as in NUMBERS
    looked: Array
    q: Array

    def __len__(self) -> int:
        return int(self.looked.sum())

    def found(self, i: int) -> Found:
        layout = self.layouts[self.layout[i]]
        n = dict(zip(NUMBERS, self.numbers[i].tolist(), strict=True))
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
    numbers = np.concatenate([p[1] for p in parts]) if parts else np.zeros((0, len(NUMBERS)))
    literals = np.array([layout.literals for layout in layouts])[index[:, 0]]
    q = benjamini_hochberg(weighted_p(numbers[:, 3], literals, looked), tests=int(looked.sum()))
    return Searched(cells, layouts, names, index[:, 0], index[:, 1], index[:, 2], index[:, 3], numbers, looked, q)


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
            z = np.sqrt(deviance(terms.kind, (after_y, after_x), (y[:, :1], x[:, :1])) / self._spread[i])
            z = np.where(after_x >= MIN_ROWS, np.nan_to_num(z, nan=0.0, posinf=np.inf), 0.0)
            shown = large & (z.max(axis=1) >= _WORTH)
            found[i, shown] = self._bounds[::-1][z[shown].argmax(axis=1)]
            tried += int(large.sum())
        return found, tried


_WORTH = 2.4


def _spread(terms: Terms, before: Array) -> float:
    """Variance of one unit of the denominator around the value of the whole, from the cells before."""
    if terms.kind in ("rate", "incidence"):
        return 1.0  # the deviance knows it
    y, x = terms.y[before], terms.x[before]
    total = x.sum()
    if not total:
        return 1.0
    residual = y - y.sum() / total * x
    return float((residual**2).sum() / total) or 1.0


def _of_layout(
    cells: Cells, layout: _Layout, number: int, metrics: Sequence[str], split: Array, start: int
) -> Iterator[tuple[Array, Array]]:
    """(layout, metric, group, split) and the numbers of each group worth a test.

    split: metrics x groups, the day at which the plain statistic shows most; -1 where it shows nothing.
    """
    for position in np.flatnonzero((split >= 0).any(axis=1)).tolist():
        name, since = metrics[position], split[position]
        users = Users(cells, layout.group, since >= 0)
        day = cells.day[users.cells]
        found = compared(
            users, cells.terms[name], noise_of(cells, name),
            now=day >= since[layout.group[users.cells]], before=day < start,
            days=1 / (cells.days - since[: users.groups]) + 1 / max(start, 1),
        )  # fmt: skip
        usable = np.flatnonzero(found.usable & (since[: users.groups] >= 0))
        if len(usable):
            numbers = found.numbers[usable]
            numbers[:, 3] = np.minimum(1.0, numbers[:, 3] * _SPLITS_TESTED)
            same = np.full(len(usable), number), np.full(len(usable), position)
            yield np.stack([*same, usable, since[usable]], axis=1), numbers
