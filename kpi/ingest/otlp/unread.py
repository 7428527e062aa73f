"""Numbers of a model call that look like a measure and that nobody read.

The receipt lists them, so that nothing is missed in silence. Only names and numbers leave this room, never a text.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from kpi.ingest.otlp.attribute_index import shape_of
from kpi.ingest.otlp.attributes import parse
from kpi.ingest.otlp.conventions import FIRST_TOKEN_EVENTS
from kpi.ingest.otlp.decode import Attributes, Span
from kpi.ingest.otlp.measures import BARE, READ, Measure, Sort, measure_of

MODEL_CALLS = frozenset({"llm", "embedding"})
_ELSEWHERE = frozenset({"tokens", "first token"})  # what is looked for on spans that use no model as far as is known
_LONGEST_JSON = 20_000
_DEEPEST = 4
_NUMBER_LENGTH = 32
_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)  # nanoseconds in a nanosecond, microsecond, millisecond, second
_SAME = 0.05  # of a length that a span states again


def unread(span: Span, kind: str, read: frozenset[Sort]) -> Iterator[tuple[str, float]]:
    """(name, value) of each number that nobody read. read: sorts of measures that the span's row has a value of."""
    calls = kind in MODEL_CALLS
    used = calls or "tokens" in read  # whatever it is called, it used a model
    attributes = span.attributes
    for measure in shape_of(attributes).measures:
        if not (calls and measure.bare) and (used or measure.sort in _ELSEWHERE):
            yield from _numbers(measure, attributes[measure.key], span, read)
    if span.events and calls:
        yield from _of_events(span, read)


def states_no_number(attributes: Attributes, *, calls: bool) -> bool:
    """Whether a measure that is read has no number: null, as decoding leaves of NaN, or a text such as a dash.

    calls: whether the span is a model call, of which bare names such as `input_tokens` are read.
    """
    for name in shape_of(attributes).stated[calls]:
        value = attributes[name]
        if value is None or (isinstance(value, str) and value[:1] not in ("", "{", "[") and _number(value) is None):
            return True
    return False


def _of_events(span: Span, read: frozenset[Sort]) -> Iterator[tuple[str, float]]:
    """Measures in events. One of a name that is known is missed only where the span itself states none."""
    for event in span.events:
        if not event.attributes or event.name in FIRST_TOKEN_EVENTS:
            continue
        for key, value in event.attributes.items():
            measure = measure_of(key)
            if measure is not None and not _again(measure, read):
                yield from _numbers(measure, value, span, read)


def _again(measure: Measure, read: frozenset[Sort]) -> bool:
    return measure.sort in read and (measure.key in READ or measure.key in BARE)


def _numbers(measure: Measure, value: Any, span: Span, read: frozenset[Sort]) -> Iterator[tuple[str, float]]:
    if isinstance(value, str) and value[:1] in ("{", "[") and len(value) <= _LONGEST_JSON:
        value = parse(value)
    if isinstance(value, (dict, list)):
        yield from _inside(measure.name, value, read, _DEEPEST)
        return
    found = None if measure.sort == "object" else _number(value)
    if found and not (measure.sort == "duration" and _is_length(found, span)):
        yield measure.name, found


def _inside(name: str, value: Any, read: frozenset[Sort], deep: int) -> Iterator[tuple[str, float]]:
    """Measures in an object, by their path; items of a list share one. What says again what was read is left out."""
    members: Iterable[tuple[str, Any]]
    members = ((str(k), v) for k, v in value.items()) if isinstance(value, dict) else (("N", item) for item in value)
    for key, member in members:
        if isinstance(member, (dict, list)):
            if deep:
                yield from _inside(f"{name}.{key}", member, read, deep - 1)
        elif (
            (measure := measure_of(key)) and measure.sort != "object" and not _again(measure, read)
            and (found := _number(member))
        ):  # fmt: skip
            yield f"{name}.{measure.name}", found


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or (isinstance(value, str) and len(value) > _NUMBER_LENGTH):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _is_length(value: float, span: Span) -> bool:
    """Whether a duration says in some unit what start and end of the span say."""
    if span.start is None or span.end is None:
        return False
    length = span.end - span.start
    return any(abs(value * unit - length) <= _SAME * length for unit in _UNITS)
