"""Log records of OpenTelemetry as SDKs and databases write them, one object each: what coding agents leave in files.

Read are: the objects of the JavaScript SDK (Gemini CLI's `telemetry.log`, Copilot's file exporter), its console
exporter, that of the Python SDK, and rows of an `otel_logs` table of ClickHouse. They are decoded to the log records
that OTLP has, and go their way: see `kpi.ingest.agents`. Beside them such a file may hold spans, which are read, and
metrics, which are left out.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kpi.ingest.agents.events import events_of
from kpi.ingest.agents.names import AGENTS
from kpi.ingest.agents.spans import spans_of
from kpi.ingest.formats import Item, Say, mapping, names_of, objects, parse, span
from kpi.ingest.otlp.decode import Attributes, Event, LogRecord, Span, attributes_of, identifier, nanos

_DATA = names_of(__file__)
_STATUS = {0: "ok", 1: "ok", 2: "error"}


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One object: an event is gathered, a span is one at once, and metrics hold no request."""
    if "scopeMetrics" in record:
        say.note("Messages of metrics were left out: they hold sums over requests, and no request.")
    elif "_spanContext" in record:
        yield _span(record)
    elif not events_of(say.context).take(_log(record)):
        known = ", ".join(agent.title for agent in AGENTS)
        say.note(f"{say.file} holds log records that are no event of {known}: they say nothing of a request.")


def finish(say: Say) -> Iterator[Item]:
    """The events, once all inputs have been read."""
    yield from spans_of(events_of(say.context), say.context.receipt)


def _log(record: Mapping[str, Any]) -> LogRecord:
    attributes = _attributes(record.get("attributes", record.get("LogAttributes")))
    resource = _resource(record.get("resource", record.get("ResourceAttributes")))
    if record.get("ServiceName"):
        resource.setdefault("service.name", record["ServiceName"])
    context = mapping(record.get("spanContext"))
    event = record.get("eventName") or record.get("event_name") or record.get("EventName")
    return LogRecord(
        _id(record, context, ("traceId", "trace_id", "TraceId"), 16),
        _id(record, context, ("spanId", "span_id", "SpanId"), 8),
        _moment(record), str(event or attributes.get("event.name") or ""),
        parse(record.get("_body", record.get("body", record.get("Body")))), attributes, resource)  # fmt: skip


def _attributes(value: Any) -> Attributes:
    """A map, in any of the spellings of one: an object, pairs, OTLP's pairs, or JSON text of these."""
    value = parse(value)
    if isinstance(value, list):
        if all(isinstance(pair, dict) for pair in value):
            return attributes_of(value)
        value = {pair[0]: pair[1] for pair in value if isinstance(pair, list | tuple) and len(pair) == 2}
    return dict(value) if isinstance(value, dict) else {}


def _resource(value: Any) -> Attributes:
    """Attributes of a resource; the JavaScript SDK has them one level deeper."""
    found = _attributes(value)
    return _attributes(found.get("attributes", found.get("_rawAttributes", found)))


def _id(record: Mapping[str, Any], context: Mapping[str, Any], names: tuple[str, ...], size: int) -> str | None:
    stated = next((v for name in names for v in (record.get(name), context.get(name)) if v), None)
    return identifier(stated, size) if isinstance(stated, str) else None


def _moment(record: Mapping[str, Any]) -> int | None:
    names = ("hrTime", "timestamp", "Timestamp", "hrTimeObserved", "observed_timestamp", "observedTimestamp")
    return next((at for name in names if (at := _nanos(record.get(name))) is not None), None)


def _nanos(value: Any) -> int | None:
    """A time of any spelling; the JavaScript SDK writes [seconds, nanoseconds]."""
    if isinstance(value, list):
        seconds, rest = value
        return int(seconds) * 1_000_000_000 + int(rest) if seconds else None
    return nanos(value)


def _span(record: Mapping[str, Any]) -> Span:
    """A span of the JavaScript SDK as it lies in memory."""
    own, above, status = (mapping(record.get(name)) for name in ("_spanContext", "parentSpanContext", "status"))
    parent = above.get("spanId") if above else record.get("parentSpanId")
    found = span(
        own.get("traceId"), own.get("spanId"), parent_id=parent, name=record.get("name"),
        start=_nanos(record.get("startTime")), end=_nanos(record.get("endTime")),
        status=_STATUS.get(status.get("code") or 0), message=status.get("message"),
        events=[
            Event(str(event.get("name") or ""), _nanos(event.get("time")), _attributes(event.get("attributes")))
            for event in objects(record.get("events"))
        ])  # fmt: skip
    return found._replace(attributes=_attributes(record.get("attributes")), resource=_resource(record.get("resource")))
