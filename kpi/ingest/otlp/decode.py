"""OTLP on the wire -> plain spans and log records: JSON in every dialect met, and protobuf.

This room only decodes: key casings, value unions, id and time encodings. It knows no attribute vocabulary and
writes no rows. A span or record that cannot be decoded raises ValueError with a short reason; the caller counts it.
"""

import base64
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from kpi.ingest.otlp import values
from kpi.ingest.otlp.values import Attributes, attributes_of, identifier, moment, nanos, number, unwrapped, value_of

__all__ = [
    "ERROR", "OK", "UNKNOWN", "Attributes", "Event", "LogRecord", "Origin", "Span", "attributes_of", "groups",
    "identifier", "json_log", "json_records", "json_span", "moment", "nanos", "proto_records", "value_of"]  # fmt: skip

OK, ERROR = 1, 2
UNKNOWN = 3  # never on the wire: an export whose spans say nothing of how they ended, not even by an end
_STATUS = {
    "STATUS_CODE_OK": OK, "OK": OK, "STATUS_CODE_ERROR": ERROR, "ERROR": ERROR, 1: OK, 2: ERROR, "1": OK, "2": ERROR,
}  # fmt: skip
_WRAPS = ("trace", "result")  # Tempo's v2 query answer, Jaeger's v3 one
_SHAPES = (("resourceSpans", "resource_spans", "span"), ("batches", "batches", "span"),
           ("resourceLogs", "resource_logs", "log"))  # fmt: skip
_SCOPES = ("scope", "instrumentationLibrary", "instrumentation_library")
_SPANS = (("scopeSpans", "scope_spans", "instrumentationLibrarySpans", "instrumentation_library_spans"), ("spans",))
_LOGS = (("scopeLogs", "scope_logs", "instrumentationLibraryLogs", "instrumentation_library_logs"),
         ("logRecords", "log_records"))  # fmt: skip
_LEVELS = {"resourceSpans": _SPANS, "batches": _SPANS, "resourceLogs": _LOGS}


class Event(NamedTuple):
    """A timed event of a span. at: nanoseconds since the epoch, or None."""

    name: str
    at: int | None
    attributes: Attributes


class Span(NamedTuple):
    """One span as the exporter meant it: ids in hex, times in nanoseconds since the epoch, native values.

    own: facts of the request that a format of vendors names itself, by column. It never comes off the wire, so no
    allow-list is asked. scope, scope_version: the instrumentation that made the span, "" where the export does not say.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start: int | None
    end: int | None
    attributes: Attributes
    events: list[Event]
    status: int
    message: str
    resource: Attributes
    own: Attributes | None = None
    scope: str = ""
    scope_version: str = ""


class Origin(NamedTuple):
    """Where the records of one group come from: the attributes of the resource, and the instrumentation scope."""

    resource: Attributes
    scope: str = ""
    version: str = ""


class LogRecord(NamedTuple):
    """One log record that names an event. trace_id and span_id are None where the record stands alone."""

    trace_id: str | None
    span_id: str | None
    at: int | None
    event: str
    body: Any
    attributes: Attributes
    resource: Attributes


def _get(record: dict[str, Any], camel: str, snake: str) -> Any:
    value = record.get(camel)
    return record.get(snake) if value is None else value


def groups(message: Any, camel: str, snake: str) -> Iterator[tuple[Any, Origin]]:
    """Every raw record under the resource and scope levels of one JSON message, with where it comes from."""
    for outer in _get(message, camel, snake) or ():
        if not isinstance(outer, dict):
            continue
        resource = _of_resource((outer.get("resource") or {}).get("attributes"))
        keys, leaves = _LEVELS[camel]
        for key in keys:
            for group in outer.get(key) or ():
                scope: Attributes = next((group[name] for name in _SCOPES if isinstance(group.get(name), dict)), {})
                origin = Origin(resource, str(scope.get("name") or ""), str(scope.get("version") or ""))
                for record in next((group[leaf] for leaf in leaves if group.get(leaf)), ()):
                    yield record, origin


def _of_resource(pairs: Any) -> Attributes:
    try:
        return attributes_of(pairs)
    except values.TooDeep:  # nothing reads the nested values of a resource
        return attributes_of(pair for pair in pairs if not pair["value"].keys() & values.NESTED)


def json_records(message: Any) -> Iterator[tuple[str, Any, Origin]]:
    """("span" | "log", raw record, origin) for one JSON message: TracesData, LogsData, Tempo, Phoenix or a list."""
    if isinstance(message, list):
        for item in message:
            yield from json_records(item)
        return
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    found = False
    for camel, snake, sort in _SHAPES:
        if camel in message or snake in message:
            found = True
            for record, origin in groups(message, camel, snake):
                yield sort, record, origin
    if not found and isinstance(message.get("data"), list):
        for record in message["data"]:
            yield "span", record, Origin({})
    elif not found and (inner := next((message[k] for k in _WRAPS if isinstance(message.get(k), dict)), None)):
        yield from json_records(inner)
    elif not found:
        raise ValueError("neither resourceSpans nor resourceLogs")


def json_span(raw: dict[str, Any], origin: Origin) -> Span:
    """One JSON span, camel or snake case."""
    get = raw.get
    trace_id = identifier(get("traceId") or get("trace_id"), 16)
    span_id = identifier(get("spanId") or get("span_id"), 8)
    if trace_id is None or span_id is None:
        raise ValueError("span without trace id or span id")
    status = get("status") or {}
    return Span(
        trace_id, span_id, identifier(get("parentSpanId") or get("parent_span_id"), 8), str(get("name") or ""),
        moment(get("startTimeUnixNano") or get("start_time_unix_nano")),
        moment(get("endTimeUnixNano") or get("end_time_unix_nano")), attributes_of(get("attributes")),
        [
            Event(str(e.get("name") or ""), moment(_get(e, "timeUnixNano", "time_unix_nano")),
                  attributes_of(e.get("attributes")))
            for e in get("events") or ()
        ],
        _STATUS.get(unwrapped(status.get("code")) or 0, 0) if status else 0, status.get("message") or "",
        origin.resource, None, origin.scope, origin.version)  # fmt: skip


def json_log(raw: dict[str, Any], origin: Origin) -> LogRecord:
    """One JSON log record; its event name may be a field or the attribute `event.name`."""
    attributes = attributes_of(raw.get("attributes"))
    at = nanos(_get(raw, "timeUnixNano", "time_unix_nano"))
    return LogRecord(
        identifier(_get(raw, "traceId", "trace_id"), 16), identifier(_get(raw, "spanId", "span_id"), 8),
        at or nanos(_get(raw, "observedTimeUnixNano", "observed_time_unix_nano")),
        str(_get(raw, "eventName", "event_name") or attributes.get("event.name") or ""), value_of(raw.get("body")),
        attributes, origin.resource)  # fmt: skip


def _proto_value(value: Any) -> Any:
    if (which := value.WhichOneof("value")) is None:
        return None
    found = getattr(value, which)
    if which == "array_value":
        return [_proto_value(item) for item in found.values]
    if which == "kvlist_value":
        return _proto_attributes(found.values)
    if which == "bytes_value":
        return base64.b64encode(found).decode()
    return number(found) if which == "double_value" else found


def _proto_attributes(pairs: Iterable[Any]) -> Attributes:
    found: Attributes = {}
    for pair in pairs:
        found.setdefault(pair.key, _proto_value(pair.value))
    return found


def proto_records(payload: bytes) -> Iterator[Span | LogRecord]:
    """Spans or log records of one protobuf message. The signals look alike on the wire: the id widths decide."""
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    traces = TracesData()
    try:
        traces.ParseFromString(payload)
        is_trace = _are_spans(traces)
    except (DecodeError, UnicodeDecodeError):
        is_trace = False
    if is_trace:
        for outer in traces.resource_spans:
            resource = _proto_attributes(outer.resource.attributes)
            for group in outer.scope_spans:
                origin = Origin(resource, group.scope.name, group.scope.version)
                for span in group.spans:
                    yield _proto_span(span, origin)
        return
    logs = LogsData()
    try:
        logs.ParseFromString(payload)
    except (DecodeError, UnicodeDecodeError) as error:
        raise ValueError("neither traces nor logs in protobuf") from error
    for outer in logs.resource_logs:
        resource = _proto_attributes(outer.resource.attributes)
        for scope in outer.scope_logs:
            for record in scope.log_records:
                yield _proto_log(record, resource)


def _are_spans(traces: Any) -> bool:
    spans = [span for outer in traces.resource_spans for scope in outer.scope_spans for span in scope.spans[:3]]
    return any(len(span.trace_id) == 16 and len(span.span_id) == 8 for span in spans)


def _proto_span(span: Any, origin: Origin) -> Span:
    return Span(
        span.trace_id.hex(), span.span_id.hex(), identifier(span.parent_span_id, 8), span.name,
        nanos(span.start_time_unix_nano), nanos(span.end_time_unix_nano), _proto_attributes(span.attributes),
        [Event(e.name, nanos(e.time_unix_nano), _proto_attributes(e.attributes)) for e in span.events],
        span.status.code, span.status.message, origin.resource, None, origin.scope, origin.version)  # fmt: skip


def _proto_log(record: Any, resource: Attributes) -> LogRecord:
    attributes = _proto_attributes(record.attributes)
    return LogRecord(
        identifier(record.trace_id, 16), identifier(record.span_id, 8),
        nanos(record.time_unix_nano) or nanos(record.observed_time_unix_nano),
        getattr(record, "event_name", "") or str(attributes.get("event.name") or ""), _proto_value(record.body),
        attributes, resource)  # fmt: skip
