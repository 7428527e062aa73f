"""OTLP on the wire -> plain spans and log records: JSON in every dialect met, and protobuf.

This room only decodes: key casings, value unions, id and time encodings. It knows no attribute vocabulary and
writes no rows. A span or record that cannot be decoded raises ValueError with a short reason; the caller counts it.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

Attributes = dict[str, Any]

# What exporters write where a span has no parent; an id of one of these is no id.
NO_ID = frozenset({"", "0", "0" * 16, "0" * 32, "undefined", "null", "none"})
OK, ERROR = 1, 2
UNKNOWN = 3  # never on the wire: an export whose spans say nothing of how they ended, not even by an end
_STATUS = {
    "STATUS_CODE_OK": OK, "OK": OK, "STATUS_CODE_ERROR": ERROR, "ERROR": ERROR, 1: OK, 2: ERROR, "1": OK, "2": ERROR,
}  # fmt: skip
_HEX = frozenset("0123456789abcdefABCDEF")
_MAX_ID = 128
_NANO_DIGITS = 19  # nanoseconds since the epoch, from 2001 to 2262
_NUMBERS = {"intValue", "int_value", "doubleValue", "double_value"}


class Event(NamedTuple):
    """A timed event of a span. at: nanoseconds since the epoch, or None."""

    name: str
    at: int | None
    attributes: Attributes


class Span(NamedTuple):
    """One span as the exporter meant it: ids in hex, times in nanoseconds since the epoch, native values.

    own: facts of the request that a format of vendors names itself, by column. It never comes off the wire, so no
    allow-list is asked.
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


class LogRecord(NamedTuple):
    """One log record that names an event. trace_id and span_id are None where the record stands alone."""

    trace_id: str | None
    span_id: str | None
    at: int | None
    event: str
    body: Any
    attributes: Attributes
    resource: Attributes


def nanos(value: Any) -> int | None:
    """Any time a trace export writes -> nanoseconds since the epoch; None for absent, zero or unreadable.

    Integers are seconds, milliseconds, microseconds or nanoseconds by magnitude; text may be digits, ISO 8601 or
    JSON-quoted ISO 8601. Text without a zone is UTC.
    """
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        if len(value) == _NANO_DIGITS and value.isdecimal() and 10**17 <= (at := int(value)) < 2**63:
            return at  # nearly every time
        text = value.strip().strip('"')
        if not text:
            return None
        try:
            value = int(text)
        except ValueError:
            return _nanos_of_text(text)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        # A float holds no more than microseconds of today; what it adds below them is noise.
        value = round(value * 1e6) if abs(value) < 1e11 else round(value * 1e3) if abs(value) < 1e14 else int(value)
    if not isinstance(value, int) or value <= 0:
        return None
    if value >= 10**17:
        return value if value < 2**63 else None
    if value >= 10**15:
        return value * 1_000
    if value >= 10**12:
        return value * 1_000_000
    return value * 1_000_000_000 if 10**9 <= value < 10**11 else None


def moment(value: Any) -> int | None:
    """A time of OTLP. One written as a bare number may have been a float, of seconds and then of nanoseconds, each of
    which holds every 256th nanosecond or so: it is the microsecond that it was, where it is near enough to one."""
    at = nanos(value)
    if at is None or isinstance(value, str) or at % _FLOAT_STEP:
        return at
    nearest = round(at, -3)
    return nearest if abs(nearest - at) <= _FLOAT_STEP else at


_FLOAT_STEP = 256  # of floats around nanoseconds of today


def _nanos_of_text(text: str) -> int | None:
    try:
        return nanos(float(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1_000


def identifier(value: Any, size: int) -> str | None:
    """An id of `size` bytes, written as hex or base64, -> lower-case hex; None for the spellings of "no id".

    Ids of another length (decimal, UUID) are kept as they are, so that a trace still joins.
    """
    if isinstance(value, bytes):
        return value.hex() if any(value) else None
    if not isinstance(value, str):
        return None if value in (None, 0) else str(value)[:_MAX_ID]
    if len(value) == 2 * size and _is_hex(value, size):
        text = value.lower()
        return None if text in NO_ID else text
    text = value.strip().removeprefix("tr-")
    if text.lower() in NO_ID:
        return None
    if len(text) == 4 * ((size + 2) // 3):
        try:
            raw = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) == size:
            return raw.hex() if any(raw) else None
    return (text.lower() if _HEX.issuperset(text) else text)[:_MAX_ID]


def _is_hex(text: str, size: int) -> bool:
    try:
        return len(bytes.fromhex(text)) == size  # shorter where it skipped blanks
    except ValueError:
        return False


def value_of(union: Any) -> Any:
    """The member that is set in a JSON AnyValue; `{}` and an all-null union are None, not-a-number is None."""
    if not isinstance(union, dict):
        return union
    for key, value in union.items():
        if value is None:
            continue
        if key in ("stringValue", "string_value", "boolValue", "bool_value", "bytesValue", "bytes_value"):
            return value
        if key in _NUMBERS:
            return _number(value)
        if key in ("arrayValue", "array_value"):
            return [value_of(item) for item in value.get("values") or ()]
        if key in ("kvlistValue", "kvlist_value"):
            return attributes_of(value.get("values"))
    return None


def _number(value: Any) -> int | float | None:
    """Numbers arrive as numbers or text, and an integer may be declared a double or the reverse."""
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                return None
    return None if isinstance(value, float) and not math.isfinite(value) else value


def attributes_of(pairs: Any) -> Attributes:
    """`[{key, value}]` -> dict; the first of a repeated key stays."""
    found: Attributes = {}
    for pair in pairs or ():
        union, key = pair.get("value"), pair["key"]
        if key not in found:
            short = type(union) is dict and len(union) == 1  # nearly every attribute
            found[key] = union["stringValue"] if short and "stringValue" in union else value_of(union)
    return found


def _get(record: dict[str, Any], camel: str, snake: str) -> Any:
    value = record.get(camel)
    return record.get(snake) if value is None else value


def groups(message: Any, camel: str, snake: str) -> Iterator[tuple[Any, Attributes]]:
    """Every raw record under the resource and scope levels of one JSON message, with its resource attributes."""
    for outer in _get(message, camel, snake) or ():
        if not isinstance(outer, dict):
            continue
        resource = attributes_of((outer.get("resource") or {}).get("attributes"))
        for keys, leaf in _LEVELS[camel]:
            for key in keys:
                for scope in outer.get(key) or ():
                    for record in scope.get(leaf) or scope.get(_SNAKE.get(leaf, leaf)) or ():
                        yield record, resource


_SNAKE = {"logRecords": "log_records"}
_LEVELS = {
    "resourceSpans": [(("scopeSpans", "scope_spans", "instrumentationLibrarySpans"), "spans")],
    "batches": [(("scopeSpans", "scope_spans", "instrumentationLibrarySpans"), "spans")],
    "resourceLogs": [(("scopeLogs", "scope_logs", "instrumentationLibraryLogs"), "logRecords")],
}


def json_records(message: Any) -> Iterator[tuple[str, Any, Attributes]]:
    """("span" | "log", raw record, resource) for one JSON message: TracesData, LogsData, Tempo, Phoenix or a list."""
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
            for record, resource in groups(message, camel, snake):
                yield sort, record, resource
    if not found and isinstance(message.get("data"), list):
        for record in message["data"]:
            yield "span", record, {}
    elif not found and (inner := next((message[k] for k in _WRAPS if isinstance(message.get(k), dict)), None)):
        yield from json_records(inner)
    elif not found:
        raise ValueError("neither resourceSpans nor resourceLogs")


_WRAPS = ("trace", "result")  # Tempo's v2 query answer, Jaeger's v3 one
_SHAPES = (
    ("resourceSpans", "resource_spans", "span"),
    ("batches", "batches", "span"),
    ("resourceLogs", "resource_logs", "log"),
)


def json_span(raw: dict[str, Any], resource: Attributes) -> Span:
    """One JSON span, camel or snake case."""
    trace_id = identifier(_get(raw, "traceId", "trace_id"), 16)
    span_id = identifier(_get(raw, "spanId", "span_id"), 8)
    if trace_id is None or span_id is None:
        raise ValueError("span without trace id or span id")
    status = raw.get("status") or {}
    return Span(
        trace_id,
        span_id,
        identifier(_get(raw, "parentSpanId", "parent_span_id"), 8),
        str(raw.get("name") or ""),
        moment(_get(raw, "startTimeUnixNano", "start_time_unix_nano")),
        moment(_get(raw, "endTimeUnixNano", "end_time_unix_nano")),
        attributes_of(raw.get("attributes")),
        [_json_event(event) for event in raw.get("events") or ()],
        _STATUS.get(status.get("code") or 0, 0),
        status.get("message") or "",
        resource,
    )


def _json_event(raw: dict[str, Any]) -> Event:
    at = moment(_get(raw, "timeUnixNano", "time_unix_nano"))
    return Event(str(raw.get("name") or ""), at, attributes_of(raw.get("attributes")))


def json_log(raw: dict[str, Any], resource: Attributes) -> LogRecord:
    """One JSON log record; its event name may be a field or the attribute `event.name`."""
    attributes = attributes_of(raw.get("attributes"))
    at = nanos(_get(raw, "timeUnixNano", "time_unix_nano"))
    return LogRecord(
        identifier(_get(raw, "traceId", "trace_id"), 16),
        identifier(_get(raw, "spanId", "span_id"), 8),
        at or nanos(_get(raw, "observedTimeUnixNano", "observed_time_unix_nano")),
        str(_get(raw, "eventName", "event_name") or attributes.get("event.name") or ""),
        value_of(raw.get("body")),
        attributes,
        resource,
    )


def _proto_value(value: Any) -> Any:
    which = value.WhichOneof("value")
    if which is None:
        return None
    found = getattr(value, which)
    if which == "array_value":
        return [_proto_value(item) for item in found.values]
    if which == "kvlist_value":
        return _proto_attributes(found.values)
    if which == "bytes_value":
        return base64.b64encode(found).decode()
    return _number(found) if which == "double_value" else found


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
            for scope in outer.scope_spans:
                for span in scope.spans:
                    yield _proto_span(span, resource)
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


def _proto_span(span: Any, resource: Attributes) -> Span:
    return Span(
        span.trace_id.hex(),
        span.span_id.hex(),
        identifier(span.parent_span_id, 8),
        span.name,
        nanos(span.start_time_unix_nano),
        nanos(span.end_time_unix_nano),
        _proto_attributes(span.attributes),
        [Event(e.name, nanos(e.time_unix_nano), _proto_attributes(e.attributes)) for e in span.events],
        span.status.code,
        span.status.message,
        resource,
    )


def _proto_log(record: Any, resource: Attributes) -> LogRecord:
    attributes = _proto_attributes(record.attributes)
    return LogRecord(
        identifier(record.trace_id, 16),
        identifier(record.span_id, 8),
        nanos(record.time_unix_nano) or nanos(record.observed_time_unix_nano),
        getattr(record, "event_name", "") or str(attributes.get("event.name") or ""),
        _proto_value(record.body),
        attributes,
        resource,
    )
