"""Spans as an export states them, read by hand: what the forms render anew. Knows OTLP JSON and plain span objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

Json = dict[str, Any]
_UNIONS = ("stringValue", "boolValue", "intValue", "doubleValue", "bytesValue", "arrayValue", "kvlistValue")
_LEVELS = ("resourceSpans", "resource_spans", "batches")
_SCOPES = ("scopeSpans", "scope_spans", "instrumentationLibrarySpans")
STATUS = {"STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2, "OK": 1, "ERROR": 2, 1: 1, 2: 2}


@dataclass(frozen=True)
class Event:
    """A timed event. at: nanoseconds since the epoch."""

    name: str
    at: int
    attributes: Json


@dataclass(frozen=True)
class Span:
    """One span. start, end: nanoseconds since the epoch. status: 0 unset, 1 ok, 2 error, as on the wire."""

    trace: str
    span: str
    parent: str | None
    name: str
    start: int
    end: int
    status: int = 0
    message: str = ""
    attributes: Json = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    resource: Json = field(default_factory=dict)
    scope: tuple[str, str] = ("", "")
    kind: Any = 1


def documents(data: bytes) -> list[Any]:
    """The JSON documents of a file: one, or one a line. Raises ValueError for anything else."""
    try:
        return [orjson.loads(data)]
    except ValueError:
        return [orjson.loads(line) for line in data.splitlines() if line.strip()]


def spans_of(data: bytes) -> list[Span]:
    """Every span of an OTLP JSON or protobuf export, or of a list of span objects; empty where it is none of these."""
    if data[:1] == b"\x0a":
        return _protobuf(data)
    try:
        found = [span for document in documents(data) for span in _walk(document)]
    except (ValueError, KeyError, TypeError):
        return []
    return found if all(s.trace and s.span for s in found) else []


def _protobuf(data: bytes) -> list[Span]:
    import base64

    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    try:
        message = MessageToDict(TracesData.FromString(data))
    except DecodeError:  # logs look alike
        return []
    found = list(_walk(message))

    def hexed(text: str | None) -> str:
        return base64.b64decode(text or "").hex()

    return [Span(**{**s.__dict__, "trace": hexed(s.trace), "span": hexed(s.span), "parent": hexed(s.parent) or None})
            for s in found]  # fmt: skip


def _walk(document: Any) -> Iterator[Span]:
    if isinstance(document, list):
        for item in document:
            yield from _walk(item)
        return
    levels = [document[key] for key in _LEVELS if key in document]
    for outer in (o for level in levels for o in level):
        resource = _attributes((outer.get("resource") or {}).get("attributes"))
        for group in (g for key in _SCOPES for g in outer.get(key) or ()):
            scope = group.get("scope") or group.get("instrumentationLibrary") or {}
            for raw in group.get("spans") or ():
                yield _span(raw, resource, (str(scope.get("name") or ""), str(scope.get("version") or "")))
    if levels:
        return
    for key in ("data", "spans"):
        if isinstance(document.get(key), list):
            yield from _walk(document[key])
            return
    if "span_id" in document and "start_time" in document:
        scope = document.get("scope") or {}
        resource = (document.get("resource") or {}).get("attributes") or {}
        yield _span(document, resource, (str(scope.get("name") or ""), str(scope.get("version") or "")))
    elif "span_id" in document or "spanId" in document:
        yield _span(document, {}, ("", ""))


def _span(raw: Json, resource: Json, scope: tuple[str, str]) -> Span:
    def get(*names: str) -> Any:
        return next((raw[n] for n in names if raw.get(n) is not None), None)

    status = raw.get("status") or {}
    return Span(
        trace=get("traceId", "trace_id"),
        span=get("spanId", "span_id"),
        parent=get("parentSpanId", "parent_span_id") or None,
        name=str(raw.get("name") or ""),
        start=int(get("startTimeUnixNano", "start_time_unix_nano", "start_time")),
        end=int(get("endTimeUnixNano", "end_time_unix_nano", "end_time")),
        status=STATUS.get(status.get("code") or 0, 0),
        message=status.get("message") or "",
        attributes=_attributes(raw.get("attributes")),
        events=tuple(
            Event(
                e["name"], int(e.get("timeUnixNano") or e.get("time_unix_nano") or 0), _attributes(e.get("attributes"))
            )
            for e in raw.get("events") or ()
        ),
        resource=resource,
        scope=scope,
        kind=raw.get("kind", 1),
    )


def _attributes(pairs: Any) -> Json:
    if isinstance(pairs, dict):
        return dict(pairs)
    return {p["key"]: value(p.get("value")) for p in pairs or ()}


def value(union: Any) -> Any:
    """A value union as plain JSON."""
    if not isinstance(union, dict):
        return union
    for key, inner in union.items():
        camel = key.replace("_v", "V")
        if camel not in _UNIONS or inner is None:
            continue
        if camel == "intValue":
            return int(inner)
        if camel == "doubleValue":
            return float(inner)
        if camel == "arrayValue":
            return [value(item) for item in inner.get("values") or ()]
        return _attributes(inner.get("values")) if camel == "kvlistValue" else inner
    return None


def union(plain: Any) -> Json:
    """Plain JSON as the value union of OTLP."""
    if isinstance(plain, bool):
        return {"boolValue": plain}
    if isinstance(plain, int):
        return {"intValue": str(plain)}
    if isinstance(plain, float):
        return {"doubleValue": plain}
    if isinstance(plain, list | tuple):
        return {"arrayValue": {"values": [union(item) for item in plain]}}
    if isinstance(plain, dict):
        return {"kvlistValue": {"values": [{"key": k, "value": union(v)} for k, v in plain.items()]}}
    return {} if plain is None else {"stringValue": plain}


def otlp(spans: list[Span]) -> Json:
    """Spans as one OTLP JSON message, one group a resource and scope."""
    groups: dict[bytes, list[Span]] = {}
    for span in spans:
        groups.setdefault(orjson.dumps([span.resource, span.scope]), []).append(span)
    return {"resourceSpans": [
        {
            "resource": {"attributes": pairs(held[0].resource)},
            "scopeSpans": [{
                "scope": {"name": held[0].scope[0], "version": held[0].scope[1]},
                "spans": [otlp_span(span) for span in held],
            }],
        }
        for held in groups.values()
    ]}  # fmt: skip


def otlp_span(span: Span) -> Json:
    return {
        "traceId": span.trace, "spanId": span.span, "parentSpanId": span.parent or "", "name": span.name,
        "kind": span.kind, "startTimeUnixNano": str(span.start), "endTimeUnixNano": str(span.end),
        "attributes": pairs(span.attributes),
        "events": [{"name": e.name, "timeUnixNano": str(e.at), "attributes": pairs(e.attributes)} for e in span.events],
        "status": {"code": span.status, "message": span.message},
    }  # fmt: skip


def pairs(attributes: Json) -> list[Json]:
    return [{"key": key, "value": union(plain)} for key, plain in attributes.items()]
