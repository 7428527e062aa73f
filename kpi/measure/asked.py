"""What a public call asks of the data, looked at before it runs: metrics and dimensions that they cannot know."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from kpi.errors import MetricError
from kpi.mapping.column_names import close_name, named
from kpi.measure import own_terms
from kpi.measure.columns import dimension
from kpi.measure.metrics import Metric
from kpi.measure.own_metrics import metric_of
from kpi.measure.profile import profile
from kpi.measure.slice import Slice
from kpi.store.engines import Source

_NAMES = ("metrics", "metric", "metric_")  # arguments that name metrics
_SERIES = "rolling"  # drawn beside others: what it lacks is a warning
_TOLD: WeakKeyDictionary[Source, set[str]] = WeakKeyDictionary()


def check(call: str, arguments: Mapping[str, Any]) -> None:
    """Raise MetricError where all the metrics that are asked for lack a column, and for a filter on what is no
    dimension; warn once of a metric among several."""
    source = arguments.get("source")
    if not isinstance(source, Source) or not source.columns_of("requests") or not profile(source).requests:
        return
    for name in _NAMES:
        given = arguments.get(name)
        asked = [given] if isinstance(given, str | Metric) else list(given or ())
        lacking = {told: column for m in asked for told, column in _lacking(source, m)}
        if lacking and len(lacking) == len(asked) and call != _SERIES:
            told, column = next(iter(lacking.items()))
            raise MetricError("metric.no_data", told, hint=f"Map a column to {column} when the data is loaded, or say "
                              f"which it is: kpi.from_frame(frame, {column}='column').")  # fmt: skip
        _warn(source, lacking)
    for view in arguments.values():
        for name, _ in view.filters if isinstance(view, Slice) else ():
            dimension(source, name)  # also in a call that filters no requests


def _lacking(source: Source, asked: str | Metric) -> Iterator[tuple[str, str]]:
    """Which columns a metric needs and the data lack, with the name that comes closest, and the first of them."""
    try:
        metric = metric_of(source, asked)
    except MetricError:  # the call itself says so
        return
    missing = [c.removeprefix(own_terms.OWN) for c in metric.needs if not profile(source).holds(c)]
    if missing:
        near = next(filter(None, (_closest(source, c) for c in missing)), "")
        told = f"{metric.label} cannot be known: no column says {' and '.join(missing)}"
        yield f"{told}{f' (closest: {near})' if near else ''}", missing[0]


def _closest(source: Source, column: str) -> str:
    have = {own_terms.called(c): None for c, n in profile(source).filled.items() if n} | {
        u.source: None for u in (source.receipt.columns if source.receipt else ())
    }
    slips = (n for n in have if (close := close_name(n)) and (named(close) or ("",))[0] == column)
    return next(slips, "") or next(iter(difflib.get_close_matches(column, have, n=1, cutoff=0.6)), "")


def _warn(source: Source, sentences: Iterable[str]) -> None:
    told = _TOLD.setdefault(source, set())
    for sentence in sentences:
        if sentence not in told:
            told.add(sentence)
            warnings.warn(f"{sentence}.", stacklevel=5)
