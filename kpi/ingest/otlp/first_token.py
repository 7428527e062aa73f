"""When the first token came: out of attributes with a unit of their own, or of a timed event."""

from typing import NamedTuple

from kpi.ingest.otlp import conventions as names
from kpi.ingest.otlp.attribute_index import shape_of
from kpi.ingest.otlp.attributes import first, number, truth_of
from kpi.ingest.otlp.decode import Span, nanos


class FirstToken(NamedTuple):
    """us: microseconds from the start of the span, None where none is known. note: what the receipt must say of it."""

    us: int | None
    note: str = ""


IN_MS = "First-token times of {spans} were read as milliseconds: as seconds they would lie far behind the end."
TOO_LATE = "First-token times of {spans} lie behind their end and were left out."
NO_FIRST_TOKEN = FirstToken(None)
_TOPICS = frozenset({"first_token", "bare_first_token"})
_SECOND, _MS = 1_000_000_000, 1_000_000
_FAR = 50  # lengths of a span: what lies that far behind its end is in another unit


def first_token(span: Span, *, calls: bool = False) -> FirstToken:
    """Time to first token, trusted only when the call was streamed or the token came before the end.

    Exporters that do not stream write the end of the call as the first token; that is the latency, not a first token.
    calls: whether the span is known to be a call of a model.
    """
    if not span.events and shape_of(span.attributes).topics.isdisjoint(_TOPICS):
        return NO_FIRST_TOKEN
    delay, note = _stated(span, calls)
    if delay is None:
        delay = _of_moments(span)
    if delay is None or delay < 0:
        return NO_FIRST_TOKEN
    if span.start is not None and span.end is not None:
        length = span.end - span.start
        if delay > length:
            return FirstToken(None, TOO_LATE)
        if delay == length and not truth_of(first(span.attributes, names.STREAMED)):
            return NO_FIRST_TOKEN
    return FirstToken(delay // 1000, note)


def _stated(span: Span, calls: bool) -> tuple[int | None, str]:
    """(nanoseconds, note) that an attribute states."""
    attributes = span.attributes
    kept = shape_of(attributes).kept
    if ("first token", calls) not in kept:
        known = (*names.FIRST_TOKEN, *(names.BARE_FIRST_TOKEN if calls else ()))
        kept["first token", calls] = [(name, scale) for name, scale in known if name in attributes]
    for name, scale in kept["first token", calls]:
        if (value := number(attributes[name])) is not None:
            if scale == _SECOND:
                if span.scope.startswith(names.FIRST_TOKEN_IN_MS):
                    return round(value * _MS), ""
                if _means_ms(span, value):
                    return round(value * _MS), IN_MS
            return round(value * scale), ""
    return None, ""


def _means_ms(span: Span, value: float) -> bool:
    if span.start is None or span.end is None or not (length := span.end - span.start):
        return False
    return value * _SECOND > _FAR * length and value * _MS <= length


def _of_moments(span: Span) -> int | None:
    if span.start is None:
        return None
    moments = [nanos(span.attributes.get("langfuse.observation.completion_start_time"))]
    for event in span.events:
        if event.name in names.FIRST_TOKEN_EVENTS:
            for name in ("ai.response.msToFirstChunk", "ai.stream.msToFirstChunk"):
                if (delay := number(event.attributes.get(name))) is not None:
                    return round(delay * _MS)
            moments.append(event.at)
    known = [moment for moment in moments if moment is not None]
    return min(known) - span.start if known else None
