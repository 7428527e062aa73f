"""The search for weak segments on arrays alone: which of all values and pairs are clearly bad, and which are told.

Segments overlap: a parent with its children, neighbours, two names of the same requests. The one that explains most
is told, and what is left is looked at again with it held; what then has nothing of its own left is folded into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from kpi.explain.aggregates.cube import MIN_ROWS, paired, where_of
from kpi.explain.aggregates.user_sums import Pattern
from kpi.explain.segments.segment_test import Entries, SegmentResult, SegmentTest
from kpi.measure.small_cells import FLOOR, shown_groups
from kpi.stats.multiplicity import benjamini_hochberg, weighted_p
from kpi.stats.types import Array

Where = tuple[tuple[str, str], ...]
Dims = Mapping[str, tuple[Array, tuple[str, ...]]]  # code of each entry, -1 where too rare, and the values
_WORTH = 2.0  # plain standard errors below which no clustered test can find anything
_NAMING = 4.0  # what another named value must add to the strength before it is believed (two nats of likelihood)
_CANDIDATES = 200  # the strongest segments, of which a large weakness brings thousands


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A segment that was tested. inside: positions of its entries; also: other names of the same ones."""

    where: Where
    inside: Array
    found: SegmentResult
    q: float = 1.0
    also: tuple[Where, ...] = ()

    @property
    def strength(self) -> float:
        return self.found.strength - _NAMING * len(self.where)


def weakest(rest: SegmentTest, dims: Dims, *, level: float, most: int) -> tuple[list[Segment], int]:
    """(segments to tell, the one that explains most first; segments looked at). level: of the false discovery rate."""
    segments, looked, weights = _search(rest, dims)
    clear = [s for s in segments if s.q <= level]
    tests = int(looked.sum())
    return _told(rest, clear, weights, level / max(tests, 1), most, _Shown(rest.entries, dims)), tests


def _search(rest: SegmentTest, dims: Dims) -> tuple[list[Segment], Array, Array]:
    """(segments that were tested, each with its q; by the number of values that a segment names: how many were looked
    at, and what p is multiplied by for its share of the error budget)."""
    p: list[float] = []
    literals: list[int] = []
    segments: list[tuple[int, Segment]] = []  # with the place of each among all p
    for keys, group, count in _layouts(dims):
        large, worth = _worth(rest, group, count)
        place = len(p) + np.cumsum(large) - 1
        literals += [len(keys)] * int(large.sum())
        p += [1.0] * int(large.sum())
        if not worth.any():
            continue
        order = np.argsort(group, kind="stable")
        bounds = np.searchsorted(group[order], np.arange(count + 1))
        for g in np.flatnonzero(worth).tolist():
            inside = order[bounds[g] : bounds[g + 1]]
            found = rest.test(inside)
            if min(found.users, found.rest_users) >= FLOOR:
                p[place[g]] = found.p
                segments.append((int(place[g]), Segment(where=_where(keys, g, dims), inside=inside, found=found)))
    named = np.array(literals, dtype=np.int64)
    looked = np.bincount(named, minlength=3)
    if not segments:
        return [], looked, np.ones(len(looked))
    q = benjamini_hochberg(weighted_p(np.array(p), named))
    tiny = weighted_p(np.full(len(named), _TINY), named) / _TINY
    weights = np.array([tiny[named == i][0] if looked[i] else 1.0 for i in range(len(looked))])
    return [replace(s, q=float(q[i])) for i, s in segments], looked, weights


_TINY = 1e-9  # a p that stays below 1 whatever its weight


def _layouts(dims: Dims, *, pairs: bool | None = None) -> Iterator[tuple[tuple[str, ...], Array, int]]:
    """(dimensions, group of each entry or -1, groups): every dimension, then every pair; or only one of both."""
    # Groups fit in 16 bits (at most 61 x 61), which are sorted by radix.
    small = {d: (codes.astype(np.int16), len(values)) for d, (codes, values) in dims.items()}
    for name, (codes, count) in small.items() if not pairs else ():
        yield (name,), codes, count
    for a, b in combinations(small, 2) if pairs is not False else ():
        (first, _), (second, width) = small[a], small[b]
        yield (a, b), paired(first, second, width), small[a][1] * width


def _where(keys: tuple[str, ...], group: int, dims: Dims) -> Where:
    return where_of(keys, [dims[k][1] for k in keys], group)


def _worth(rest: SegmentTest, group: Array, count: int) -> tuple[Array, Array]:
    """Masks of the groups that are looked at and of those that are worth a test. Groups and rest have enough rows."""
    entries, shifted = rest.entries, group.astype(np.int64) + 1  # what is in no group comes first, and is left out
    rows = np.bincount(shifted, entries.rows, minlength=count + 1)[1:]
    large = (rows >= MIN_ROWS) & (entries.rows.sum() - rows >= MIN_ROWS)
    if not large.any():
        return large, large
    beyond = np.bincount(shifted, rest.residual, minlength=count + 1)[1:]
    key = shifted if rest.layers == 1 else shifted * rest.layers + rest.stratum
    size = np.bincount(key, entries.size, minlength=(count + 1) * rest.layers).reshape(count + 1, rest.layers)[1:]
    return large, large & (rest.screening_z(beyond, size) >= _WORTH)


class _Shown:
    """Which segments may be shown: by the rules of the page Segments, nobody small can be worked out from them."""

    def __init__(self, entries: Entries, dims: Dims) -> None:
        self._entries, self._dims = entries, dims
        self._known: dict[tuple[str, ...], set[tuple[str, ...]]] = {}

    def __call__(self, where: tuple[tuple[str, str], ...]) -> bool:
        keys = tuple(d for d, _ in where)
        if keys not in self._known:
            self._known[keys] = self._of(keys)
        return tuple(v for _, v in where) in self._known[keys]

    def _of(self, keys: tuple[str, ...]) -> set[tuple[str, ...]]:
        _, group, count = next(_layouts({k: self._dims[k] for k in keys}, pairs=len(keys) == 2))
        found = Pattern(self._entries.user, group.astype(np.int64), self._entries.users, count)
        users = found.totals(np.ones(len(found.row)))
        filled = np.flatnonzero(users)
        values = [tuple(v for _, v in _where(keys, g, self._dims)) for g in filled.tolist()]
        return shown_groups(keys, values, users[filled])[0]


def _told(
    rest: SegmentTest, clear: Sequence[Segment], weights: Array,
    allowed: float, most: int, shown: Callable[[Where], bool],
) -> list[Segment]:  # fmt: skip
    """The segments that explain most, one after the other, each with those before it held.

    The k-th needs a weighted p up to k times `allowed` of what is its own: Benjamini and Hochberg (1995) over the
    segments that are told, each of which stands for many.
    """
    left = sorted(clear, key=lambda s: (-s.strength, s.where))[:_CANDIDATES]
    state, own = rest, left  # own: the same segments, as they stand once those told are held
    told: list[Segment] = []
    while True:
        kept = [i for i, s in enumerate(own) if s.found.p * weights[len(s.where)] <= allowed * (len(told) + 1)]
        kept.sort(key=lambda i: (-own[i].strength, own[i].where))
        first = next((i for i in kept if shown(own[i].where)), None)
        if first is None or len(told) == most:
            return _needed(rest, told, weights, allowed)
        one = left[first]
        same = (s.where for s in left if s is not one and len(s.where) == len(one.where)
                and np.array_equal(s.inside, one.inside))  # fmt: skip
        told.append(replace(one, also=tuple(same)))
        state = state.conditioned_on(one.inside)
        left = [left[i] for i in kept if i != first and state.screening_z_of(left[i].inside) >= _WORTH]
        own = [replace(s, found=state.test(s.inside)) for s in left]


def _needed(rest: SegmentTest, told: Sequence[Segment], weights: Array, allowed: float) -> list[Segment]:
    """Those that have something of their own when all others are held: what came early may be made of what came later,
    as women at Berkeley were of the departments that they applied to."""
    kept = list(told)
    while len(kept) > 1:
        own = []
        for s in kept:
            state = rest.conditioned_on(*(other.inside for other in kept if other is not s))
            own.append(state.test(s.inside).p * weights[len(s.where)])
        worst = int(np.argmax(own))
        if own[worst] <= allowed * len(kept):
            break
        kept.pop(worst)
    return kept
