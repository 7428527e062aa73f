"""What readers hand over: spans, scores and incidents."""

from typing import Any, NamedTuple

from kpi.ingest.otlp.decode import Span

# What broken input makes Python raise inside a reader; anything else is a fault of the reader and must be seen.
MALFORMED = (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError, OverflowError)


class Score(NamedTuple):
    """One evaluation, annotation or piece of feedback.

    trace_id may be None where only the span is known: it is joined when the spans are stored. annotator: who judged, in
    the exporter's own word (HUMAN, LLM, api, …). value: a number or boolean. at: nanoseconds since the epoch. once: the
    exporter keeps one score of this name, annotator and identifier for each span or trace, and a later one replaces it.
    """

    trace_id: str | None
    span_id: str | None
    name: str
    annotator: str | None = None
    value: Any = None
    label: Any = None
    explanation: Any = None
    at: int | None = None
    identifier: str | None = None
    once: bool = False


class Incident(NamedTuple):
    """A safety event that an exporter reports beside its spans. at: nanoseconds since the epoch.

    severity: one of `kpi.schema.SEVERITIES`, only where the export states it. state: blocked or flagged.
    """

    trace_id: str
    span_id: str | None
    category: str
    detector: str | None = None
    severity: str | None = None
    state: str = "flagged"
    at: int | None = None


Item = Span | Score | Incident
