"""Which unit lengths are written in, told by the spans of a trace: children fit into their parents in one only."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from kpi.ingest.otlp.decode import Span
from kpi.ingest.spans.row_values import NANOS

_SLACK = 2_000_000  # nanoseconds by which clocks and rounded starts may be off
_AGREE = 0.9  # share of the pairs that must fit
_PLAUSIBLE = (1_000_000, 3_600_000_000_000)  # the median length of a span that somebody measures: 1 ms to 1 h


def unit_of(spans: Sequence[tuple[Span, float]]) -> str:
    """The unit of the lengths of spans, given without one; "" where nothing tells.

    A child starts before its parent ends, so the unit is not smaller than where most of them do; one after the other,
    siblings seldom overlap, so it is not much larger. What is left must make the median length plausible, alone.
    """
    scores = {unit: _fit(spans, nanos) for unit, nanos in NANOS.items()}
    known = {unit: fit for unit, fit in scores.items() if fit is not None}
    typical = median([n for _, n in spans]) if spans else 0.0
    plausible = [u for u, n in NANOS.items() if _PLAUSIBLE[0] <= typical * n <= _PLAUSIBLE[1]]
    if known:
        best = max(known.values())
        fitting = [u for u in NANOS if best >= _AGREE and known[u] >= best - 1e-9]
        chosen = [u for u in fitting if u in plausible] or fitting
        return chosen[0] if len(chosen) == 1 else ""
    return plausible[0] if len(plausible) == 1 else ""


def _fit(spans: Sequence[tuple[Span, float]], nanos: int) -> float | None:
    """Share of parents and siblings that go together in a unit; None where there are no such pairs."""
    ends = {(s.trace_id, s.span_id): (s.start or 0) + number * nanos for s, number in spans}
    below: dict[tuple[str, str | None], list[tuple[int, float]]] = defaultdict(list)
    for span, number in spans:
        if span.parent_id is not None and span.start is not None:
            below[span.trace_id, span.parent_id].append((span.start, span.start + number * nanos))
    above = [(children, ends.get((trace_id, parent or ""))) for (trace_id, parent), children in below.items()]
    inside = [start <= end + _SLACK for children, end in above if end is not None for start, _ in children if start]
    pairs = itertools.chain.from_iterable(itertools.pairwise(sorted(children)) for children in below.values())
    found = [*inside, *(one[1] <= later[0] + _SLACK for one, later in pairs)]
    return sum(found) / len(found) if found else None
