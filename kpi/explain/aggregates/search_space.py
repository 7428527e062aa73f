"""Which dimensions a search looks at: at most forty, chosen by what columns hold and never by the outcome.

Pairs are searched as well, so that the work grows with the square of their number. Up to forty dimensions of 2 to 499
values are all taken. Of more, those that no search could tell apart are left out: where no value has 30 requests that
30 others lack, and a second name of the same split. Of the rest the canonical ones come first, then the most filled, of
these those with the fewest values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import pandas as pd
import sqlalchemy as sa

from kpi.measure.columns import dimension
from kpi.measure.metrics import Metric
from kpi.measure.profile import MAX_VALUES, Profile, profile
from kpi.narrate.segments import search_space_sentence
from kpi.schema import DIMENSIONS
from kpi.store.engines import Source

MOST = 40
MIN_ROWS = 30  # of a segment in each window
CONSTANT, MANY = "with one value", f"with {MAX_VALUES} values or more"
SMALL = f"with fewer than {MIN_ROWS} requests in or beside each value"
SAME, BEYOND = "that split the requests as another does", f"beyond the first {MOST}"
_NO_REASON = frozenset({"error_type", "worst_severity", "outcome_source", "cost_source"})  # outcomes themselves
_LOOKED = 1_000  # rows by which two columns with the same counts are compared
_AT_ONCE = 200  # columns
_KNOWN: WeakKeyDictionary[Source, SearchSpace] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """dimensions: that are searched, in order. left_out: the names of the others by the reason why they are not."""

    dimensions: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]

    @property
    def sentence(self) -> str:
        """What was not searched and why; "" where that is only what has one value."""
        if not set(self.left_out) - {CONSTANT}:
            return ""
        return search_space_sentence(len(self.dimensions), {w: len(n) for w, n in self.left_out.items()}, MOST)


def search_space(source: Source, metrics: Sequence[Metric] = ()) -> SearchSpace:
    """The dimensions that can carry a reason: versions and cohorts. Kept as long as the source lives.

    One that a metric of a team's own is made of explains nothing: retention is lower where nobody was retained.
    """
    if source not in _KNOWN:
        _KNOWN[source] = _space(source)
    found, made_of = _KNOWN[source], frozenset[str]().union(*(m.made_of for m in metrics))
    return replace(found, dimensions=tuple(d for d in found.dimensions if d not in made_of))


def _space(source: Source) -> SearchSpace:
    known = profile(source)
    names = [d for d in known.dimensions if d not in _NO_REASON | source.outcomes]
    sizes = {d: len(known.dimensions[d]) for d in names}
    why = {d: CONSTANT if sizes[d] < 2 else MANY for d in names if not 2 <= sizes[d] < MAX_VALUES}
    usable = sorted((d for d in names if d not in why), key=lambda d: (d not in DIMENSIONS, d))
    if len(usable) > MOST:
        some = range(MIN_ROWS, known.requests - MIN_ROWS + 1)
        why |= {d: SMALL for d in usable if not any(n in some for _, n in known.dimensions[d])}
        usable = _ranked(source, known, [d for d in usable if d not in why], why)
    left = {r: tuple(d for d in names if why.get(d) == r) for r in (CONSTANT, MANY, SMALL, SAME, BEYOND)}
    return SearchSpace(dimensions=tuple(usable), left_out={r: n for r, n in left.items() if n})


def _ranked(source: Source, known: Profile, names: Sequence[str], why: dict[str, str]) -> list[str]:
    """The first forty different ones; why the others are not among them is added to `why`."""
    counts = {d: tuple(n for _, n in known.dimensions[d]) for d in names}
    order = sorted(names, key=lambda d: (d not in DIMENSIONS, -round(sum(counts[d]) / known.requests, 2),
                                         len(counts[d]), d))  # fmt: skip
    taken: dict[tuple[tuple[int, ...], bytes], str] = {}
    for start in range(0, len(order), _AT_ONCE):
        part = order[start : start + _AT_ONCE]
        alike = _alike(source, part) if len(taken) < MOST else {}
        for d in part:
            if len(taken) >= MOST:
                why[d] = BEYOND
            elif taken.setdefault((counts[d], alike[d]), d) != d:
                why[d] = SAME
    return sorted(taken.values(), key=lambda d: (d not in DIMENSIONS, d))


def _alike(source: Source, names: Sequence[str]) -> dict[str, bytes]:
    """How each column splits some rows, whatever it calls the parts."""
    columns = [dimension(source, d).label(f"d{i}") for i, d in enumerate(names)]
    rows = source.run(sa.select(*columns).select_from(source.table("requests")).limit(_LOOKED)).to_pandas()
    return {d: pd.factorize(rows[f"d{i}"])[0].tobytes() for i, d in enumerate(names)}
