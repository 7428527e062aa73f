"""What a public call asks of the data, looked at before it runs: metrics that they cannot know, values they lack."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from kpi.errors import MetricError
from kpi.mapping.column_names import close_name, named
from kpi.measure import own_terms
from kpi.measure.columns import dimension
from kpi.measure.metrics import Metric
from kpi.measure.own_metrics import metric_of
from kpi.measure.profile import MAX_VALUES, profile
from kpi.measure.slice import NONE_VALUE, Slice
from kpi.store.engines import Source

_NAMES = ("metrics", "metric", "metric_")  # arguments that name metrics
_SERIES = "rolling"  # drawn beside others: what it lacks is a warning
_TOLD: WeakKeyDictionary[Source, set[str]] = WeakKeyDictionary()


def check(call: str, arguments: Mapping[str, Any]) -> None:
    """Raise MetricError where all the metrics that are asked for lack a column; warn once of one among several, and of
    a filter whose value no request has."""
    source = arguments.get("source")
    if not isinstance(source, Source) or not source.columns_of("requests") or not profile(source).requests:
        return
    for name in _NAMES:
        given = arguments.get(name)
        asked = [given] if isinstance(given, str | Metric) else list(given or ())
        lacking = {str(getattr(m, "name", m)): told for m in asked if (told := _lacking(source, m))}
        if lacking and len(lacking) == len(asked) and call != _SERIES:
            raise MetricError("metric.no_data", next(iter(lacking.values())),
                              hint="Say which it is: kpi.from_frame(frame, success='column').")  # fmt: skip
        _warn(source, lacking.values())
    for view in arguments.values():
        if isinstance(view, Slice) and not source.live:
            _warn(source, _absent(source, view))


def _lacking(source: Source, asked: str | Metric) -> str:
    """Which columns a metric needs and the data lack, with the name that comes closest; "" where none."""
    try:
        metric = metric_of(source, asked)
    except MetricError:  # the call itself says so
        return ""
    missing = [c for c in metric.needs if not profile(source).holds(c)]
    if not missing:
        return ""
    near = next(filter(None, (_closest(source, c) for c in missing)), "")
    columns = " and ".join(c.removeprefix(own_terms.OWN) for c in missing)
    return f"{metric.label} cannot be known: no column says {columns}{f' (closest: {near})' if near else ''}"


def _closest(source: Source, column: str) -> str:
    have = {own_terms.called(c): None for c, n in profile(source).filled.items() if n} | {
        u.source: None for u in (source.receipt.columns if source.receipt else ())
    }
    slips = (n for n in have if (close := close_name(n)) and (named(close) or ("",))[0] == column)
    return next(slips, "") or next(iter(difflib.get_close_matches(column, have, n=1, cutoff=0.6)), "")


def _absent(source: Source, view: Slice) -> Iterator[str]:
    held = profile(source).dimensions
    for name, values in view.filters:
        dimension(source, name)  # raises where there is none, also in a call that filters no requests
        known = [v for v, _ in held.get(name, ())]
        if 0 < len(known) < MAX_VALUES:
            for value in set(values) - {*known, NONE_VALUE}:
                near = difflib.get_close_matches(value, known, n=3) or known[:8]
                yield f"No request has {name} {value[:60]!r}. It has {', '.join(v[:60] for v in near)}"


def _warn(source: Source, sentences: Any) -> None:
    told = _TOLD.setdefault(source, set())
    for sentence in sentences:
        if sentence not in told:
            told.add(sentence)
            warnings.warn(f"{sentence}.", stacklevel=5)
