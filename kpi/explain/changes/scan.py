"""Search of every segment for a change between two windows, with an error rate that holds over all that was looked at.

Pairs of values are searched as well as single ones, and values of a version that entered against everything before
them; each at the day from which it shows most, be it of the window or of those before. The statistic is that of
`kpi.explain.changes.change_test`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from kpi.explain.aggregates.cube import MIN_ROWS, Cube, Terms, is_version, paired, where_of
from kpi.explain.changes.change_test import NUMBERS, UserGroups, deviance, test_groups
from kpi.explain.changes.variance import noise_of
from kpi.stats.multiplicity import SHARES, weighted_p
from kpi.stats.types import Array

ENTERED_BEFORE, ENTERED_NOW = 0.02, 0.03  # shares below and from which a value of a version has entered
# What looking at up to 13 nested parts of the window costs at 4 to 4.5 standard errors (simulated), and at those that
# begin before it, which have a fifth of the error budget.
_SPLITS_TESTED, _EARLIER_TESTED = 6.0, 20.0
_SHORTEST = 2  # days of the shortest part at the end of the window
_COMPARED = 7  # days that what began before the window is compared with, at least
_LASTING = 0.5  # of what began before the window, share of its size that the window must still show


@dataclass(frozen=True)
class SegmentChange:
    """The statistic of one metric in one segment.

    where: (dimension, value) pairs; entered: the version value that was not there before, if the segment has one.
    split: day from which "now" counts. change: D in the units of the term (natural logarithms where it is logged).
    q: chance of such a finding in the whole search.
    """

    metric: str
    where: tuple[tuple[str, str], ...]
    entered: tuple[str, str] | None
    split: int
    change: float
    z: float
    q: float = 1.0

    @property
    def literals(self) -> int:
        return len(self.where) + (self.entered is not None)

    @property
    def key(self) -> tuple[object, ...]:
        """The metric and the segment."""
        return self.metric, self.where, self.entered


@dataclass(frozen=True)
class _Partition:
    """One way to cut the cells into groups of the values of up to two dimensions.

    group: per cell, -1 where it is outside. entered: the version value that the cells of now were served by; came: the
    day of its coming where that lies before the window, the only one that is looked at.
    """

    dims: tuple[str, ...]
    group: Array
    entered: tuple[str, str] | None = None
    came: int | None = None

    @property
    def literals(self) -> int:
        return len(self.dims) + (self.entered is not None)

    def of(self, groups: Sequence[Array]) -> _Partition:
        """The same of some groups only."""
        inside = np.zeros(int(self.group.max()) + 2, dtype=bool)  # the last place is that of -1
        inside[np.concatenate(groups)] = True
        return replace(self, group=np.where(inside[self.group], self.group, -1))

    def where(self, group: int, cube: Cube) -> tuple[tuple[str, str], ...]:
        """The values that a group stands for."""
        return where_of(self.dims, [cube.dims[d].values for d in self.dims], group)


@dataclass(frozen=True)
class ScanResult:
    """What was looked at closely, as arrays of one length; `found` makes one of them readable. start: as of `scan`.

    looked: pairs of a segment and a metric in all, by the number of values that the segment names; those whose plain
    statistic already showed nothing were not tested further and count as p = 1.
    """

    cube: Cube
    start: int
    partitions: list[_Partition]
    metrics: list[str]
    partition: Array
    metric: Array
    group: Array
    split: Array
    numbers: Array  # columns as in NUMBERS
    looked: Array

    def found(self, i: int) -> SegmentChange:
        """One of them, readable."""
        partition, n = self.partitions[self.partition[i]], self.numbers[i]
        return SegmentChange(self.metrics[self.metric[i]], partition.where(int(self.group[i]), self.cube),
                             partition.entered, int(self.split[i]), change=float(n[0]), z=float(n[2]))  # fmt: skip

    def of_metrics(self, *names: str, literals: int) -> Iterator[SegmentChange]:
        """What was found of some metrics in segments that name so many values."""
        positions = [self.metrics.index(n) for n in names if n in self.metrics]
        named = self._literals == literals
        return (self.found(int(i)) for i in np.flatnonzero(named & np.isin(self.metric, positions)))

    def again(self, terms: Mapping[str, Terms], level: float) -> ScanResult:
        """The same with other terms of some metrics, of groups that were clear, with as many tests to answer for."""
        cube = replace(self.cube, terms={**self.cube.terms, **terms})
        positions = [self.metrics.index(name) for name in terms if terms[name] is not self.cube.terms[name]]
        kept = ~np.isin(self.metric, positions)
        clear = (self._alone <= level) & ~kept
        only: dict[int, dict[str, Array]] = {}
        for i, position in sorted(set(zip(self.partition[clear].tolist(), self.metric[clear].tolist(), strict=True))):
            mine = clear & (self.partition == i) & (self.metric == position)
            only.setdefault(i, {})[self.metrics[position]] = self.group[mine]
        new = _scanned(cube, self.start, self.partitions, only)
        return replace(new, looked=self.looked, partition=np.append(self.partition[kept], new.partition),
                       metric=np.append(self.metric[kept], new.metric), group=np.append(self.group[kept], new.group),
                       split=np.append(self.split[kept], new.split),
                       numbers=np.append(self.numbers[kept], new.numbers, axis=0))  # fmt: skip

    @property
    def _alone(self) -> Array:
        """q of each for one claim alone."""
        found: Array = weighted_p(self.numbers[:, 3], self._literals, self.looked) * self.looked.sum()
        return found

    @property
    def _literals(self) -> Array:
        return np.array([p.literals for p in self.partitions])[self.partition]

    def clear(self, level: float) -> list[SegmentChange]:
        """Those with q up to a level, strongest first; q here is for one claim alone, see `SegmentChange.q`."""
        alone = self._alone
        found = [replace(self.found(int(i)), q=float(alone[i])) for i in np.flatnonzero(alone <= min(level, 1.0))]
        return sorted(found, key=lambda f: -abs(f.z))


def scan(cube: Cube, start: int) -> ScanResult:
    """Every segment with enough rows and users: its change of each metric.

    start: the day with which "now" begins; days before it are the window compared with. Parts at the end of "now" are
    looked at as well, so that a change of the last days is not diluted, and what began before it.
    """
    partitions = list(_partitions(cube, start))
    return _scanned(cube, start, partitions, dict.fromkeys(range(len(partitions)), dict.fromkeys(cube.terms)))


def _scanned(
    cube: Cube, start: int, partitions: list[_Partition], wanted: Mapping[int, Mapping[str, Array | None]]
) -> ScanResult:
    """The changes of the cells. wanted: by the number of a partition metrics, of each the groups or None for all."""
    looked = np.zeros(len(SHARES), dtype=np.int64)
    parts: list[tuple[Array, Array]] = []
    screen = _Screen(cube, {name for names in wanted.values() for name in names}, start)
    for i, groups in wanted.items():
        names, few = list(groups), [g for g in groups.values() if g is not None]
        partition = partitions[i].of(few) if few else partitions[i]
        split, tried = screen.split(partition, names)
        for row, chosen in zip(split, groups.values(), strict=True):
            if chosen is not None:
                row[~np.isin(np.arange(len(row)), chosen)] = -1
        looked[partition.literals] += tried
        parts += _of_partition(cube, partition, i, names, split, start)
    index = np.concatenate([p[0] for p in parts]) if parts else np.zeros((0, 4), dtype=np.int64)
    numbers = np.concatenate([p[1] for p in parts]) if parts else np.zeros((0, len(NUMBERS)))
    partition, metric, group, day = index.T
    return ScanResult(cube, start, partitions, list(cube.terms), partition, metric, group, day, numbers, looked)


def _partitions(cube: Cube, start: int) -> Iterator[_Partition]:
    yield _Partition((), np.zeros(len(cube), dtype=np.int64))
    for name, codes in cube.dims.items():
        yield _Partition((name,), codes.codes)
    for a, b in combinations(cube.dims, 2):
        yield _Partition((a, b), _paired(cube, a, b))
    cohorts = [d for d in cube.dims if not is_version(d)]
    for name, value, day in entering(cube, start):
        kept = (cube.day < day) | (cube.dims[name].codes == cube.dims[name].values.index(value))
        came = day if day < start else None
        yield _Partition((), np.where(kept, 0, -1), (name, value), came)
        for other in cohorts:
            yield _Partition((other,), np.where(kept, cube.dims[other].codes, -1), (name, value), came)
        for a, b in combinations(cohorts, 2) if came is None else ():
            yield _Partition((a, b), np.where(kept, _paired(cube, a, b), -1), (name, value))


def _paired(cube: Cube, a: str, b: str) -> Array:
    return paired(cube.dims[a].codes, cube.dims[b].codes, len(cube.dims[b].values))


def entering(cube: Cube, start: int) -> Iterator[tuple[str, str, int]]:
    """Versions that serve requests now and hardly did before a day, which is that of "now" or lies before it."""
    for name, codes in cube.dims.items():
        if not is_version(name):
            continue
        size, known = len(codes.values), codes.codes >= 0
        by_day = np.bincount(cube.day[known] * size + codes.codes[known], cube.rows[known], minlength=cube.days * size)
        by_day = by_day.reshape(cube.days, size)
        all_days = np.maximum(by_day.sum(axis=1), 1)
        now = by_day[start:].sum(axis=0) / all_days[start:].sum()
        for i in np.flatnonzero(now >= ENTERED_NOW).tolist():
            came = min(int(np.argmax(by_day[:, i] >= ENTERED_NOW * all_days)), start)
            for day in dict.fromkeys((start, came) if came >= _COMPARED else (start,)):
                if by_day[:day].any() and by_day[:day, i].sum() < ENTERED_BEFORE * all_days[:day].sum():
                    yield name, codes.values[i], day
                    break


class _Screen:
    """The plain statistic of every group, from sums over cells alone: who is worth the clustered test.

    Clustering nearly always widens; comparing users with themselves narrows by less than a quarter. What shows less
    than 3 plain standard errors from every day cannot become a finding, which takes more than 4. Groups without enough
    rows are not looked at.
    """

    def __init__(self, cube: Cube, metrics: Collection[str], start: int) -> None:
        # The first days of the parts that are looked at: each day on which a change may have begun.
        self._bounds = np.arange(min(start, _COMPARED), max(start + 1, cube.days - _SHORTEST + 1))
        self._bin = np.searchsorted(self._bounds, cube.day, side="right")
        self._start, self._first = start, int(np.searchsorted(self._bounds, start))  # of the days of "now"
        self._terms = {m: cube.terms[m] for m in metrics}
        self._spread = {m: _spread(t, cube.day < start) for m, t in self._terms.items()}
        self._costs = np.where(self._bounds < start, 2 * np.log(_EARLIER_TESTED / _SPLITS_TESTED), 0.0)

    def split(self, partition: _Partition, names: Sequence[str]) -> tuple[Array, int]:
        """(metrics x groups: the day from which most shows, -1: nothing; metrics and groups looked at)."""
        inside = np.flatnonzero(partition.group >= 0)
        group = partition.group[inside]
        groups = int(group.max()) + 1 if len(group) else 0
        found, tried = np.full((len(names), groups), -1), 0
        bins, first = len(self._bounds) + 1, self._first
        key = group * bins + self._bin[inside]
        until, costs = np.minimum(np.arange(bins - 1), first), self._costs
        if partition.entered is not None:  # before its coming there is nothing of it
            costs = np.where(self._bounds < self._start, np.inf, 0.0)
        if partition.came is not None:
            costs = np.where(self._bounds == partition.came, -2 * np.log(_SPLITS_TESTED), np.inf)
        for i, name in enumerate(names):
            terms = self._terms[name]
            x = np.bincount(key, terms.x[inside], minlength=groups * bins).reshape(groups, bins)
            sizes = x[:, : first + 1].sum(axis=1), x[:, first + 1 :].sum(axis=1)
            large = np.flatnonzero(np.minimum(*sizes) >= MIN_ROWS)
            if not len(large):
                continue
            y = np.bincount(key, terms.y[inside], minlength=groups * bins).reshape(groups, bins)[large]
            (x1, x0), (y1, y0) = ((np.cumsum(v[:, :0:-1], axis=1)[:, ::-1], np.cumsum(v, axis=1)[:, until])
                                  for v in (x[large], y))  # fmt: skip
            with np.errstate(divide="ignore", invalid="ignore"):
                before, after = y0 / x0, y1 / x1
                lasting = (after[:, [first]] - before) / (after - before) >= _LASTING
            gain = deviance(terms.kind, (y1, x1), (y0, x0)) / self._spread[name] - costs
            gain = np.where((x1 >= MIN_ROWS) & (x0 >= MIN_ROWS) & (lasting | (costs == 0)), gain, 0.0)
            gain = np.nan_to_num(gain, nan=0.0, posinf=np.inf)
            shown = gain.max(axis=1) >= _WORTH**2
            found[i, large[shown]] = self._bounds[gain[shown].argmax(axis=1)]
            tried += len(large)
        return found, tried


_WORTH = 3.0


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


def _of_partition(
    cube: Cube, partition: _Partition, number: int, metrics: Sequence[str], split: Array, start: int
) -> Iterator[tuple[Array, Array]]:
    """(partition, metric, group, split) and the numbers of each group worth a test.

    split: metrics x groups, the day at which the plain statistic shows most; -1 where it shows nothing.
    """
    every, whole = list(cube.terms), None
    for position in np.flatnonzero((split >= 0).any(axis=1)).tolist():
        name, since = metrics[position], split[position]
        whole = whole or UserGroups(cube, partition.group)
        users, until = whole.kept(since >= 0), np.minimum(since, start)
        day, group = cube.day[users.cells], users.of_cell
        since, until = since[: users.groups], until[: users.groups]
        days = 1 / (cube.days - since) + 1 / np.maximum(until, 1)
        usable, found = test_groups(users, cube.terms[name], noise_of(cube, name),
                                    now=day >= since[group], before=day < until[group], days=days)  # fmt: skip
        usable = np.flatnonzero(usable & (since >= 0))
        if len(usable):
            numbers = found[usable]
            tested = np.where(since[usable] < start, _EARLIER_TESTED, _SPLITS_TESTED) if partition.came is None else 1.0
            numbers[:, 3] = np.minimum(1.0, numbers[:, 3] * tested)
            same = np.full(len(usable), number), np.full(len(usable), every.index(name))
            yield np.stack([*same, usable, since[usable]], axis=1), numbers
