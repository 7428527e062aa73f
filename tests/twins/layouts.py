"""How a table or a list of spans may be written: keys, times, attributes, status, envelope. One entry a spelling.

Each part is what some exporter does: console and file exporters of OpenTelemetry SDKs, `otel_traces` of ClickHouse,
Jaeger and Zipkin, search indexes, evaluation tools, notebooks. A `Layout` composes one spelling of each part.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.twins.spans import Event, Json, Span, pairs, union

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PARTS = ("trace", "span", "parent", "name", "kind", "attributes", "events", "resource", "scope", "version")

KEYS: dict[str, tuple[str, ...]] = {
    "snake": ("trace_id", "span_id", "parent_span_id", "name", "kind", "attributes", "events", "resource_attributes",
              "scope_name", "scope_version"),
    "camel": ("traceId", "spanId", "parentSpanId", "name", "kind", "attributes", "events", "resourceAttributes",
              "scopeName", "scopeVersion"),
    "pascal": ("TraceId", "SpanId", "ParentSpanId", "SpanName", "SpanKind", "SpanAttributes", "Events",
               "ResourceAttributes", "ScopeName", "ScopeVersion"),
    "parent_id": ("trace_id", "span_id", "parent_id", "name", "kind", "attributes", "events", "resource",
                  "scope_name", "scope_version"),
    "id": ("trace_id", "id", "parent_id", "name", "kind", "attributes", "events", "resource", "scope_name",
           "scope_version"),
    "dotted": ("trace.id", "span.id", "parent.id", "span.name", "span.kind", "attributes", "events", "resource",
               "scope.name", "scope.version"),
}  # fmt: skip


def iso(ns: int, *, zone: str = "+00:00", separator: str = "T", digits: int = 6) -> str:
    moment = datetime.fromtimestamp(ns // 1_000_000_000, UTC)
    fraction = f"{ns % 1_000_000_000:09}"[:digits]
    return f"{moment:%Y-%m-%d{separator}%H:%M:%S}.{fraction}{zone}"


# Name -> (start key, end key, how a moment is written).
MOMENTS: dict[str, tuple[str, str, Callable[[int], Any]]] = {
    "iso": ("start_time", "end_time", lambda ns: iso(ns, zone="Z")),
    "iso nine digits": ("start_time", "end_time", lambda ns: iso(ns, zone="Z", digits=9)),
    "sql text": ("started_at", "ended_at", lambda ns: iso(ns, zone="", separator=" ")),
    "iso camel": ("startTime", "endTime", lambda ns: iso(ns)),
    "ns": ("start_time", "end_time", lambda ns: ns),
    "ns named": ("start_time_unix_nano", "end_time_unix_nano", lambda ns: ns),
    "ns text": ("startTimeUnixNano", "endTimeUnixNano", str),
    "us": ("start_time", "end_time", lambda ns: ns // 1_000),
    "us text": ("start_time", "end_time", lambda ns: str(ns // 1_000)),
    "ms": ("startTime", "endTime", lambda ns: ns / 1e6),
    "ms text": ("start_time_ms", "end_time_ms", lambda ns: f"{ns // 1_000 / 1e3:.3f}"),
    "s": ("start_time", "end_time", lambda ns: ns / 1e9),
    "s text": ("start_time", "end_time", lambda ns: f"{ns // 1_000 / 1e6:.6f}"),
    "clickhouse": ("Timestamp", "", lambda ns: iso(ns, zone="", separator=" ", digits=9)),
    "timestamp": ("timestamp", "", lambda ns: iso(ns, zone="Z")),
    "other zone": ("start_time", "end_time", lambda ns: iso(ns + 19_800_000_000_000, zone="+05:30")),
}
# Name -> (key, how a length in nanoseconds is written).
LENGTHS: dict[str, tuple[str, Callable[[int], Any]]] = {
    "": ("", lambda ns: None),
    "Duration": ("Duration", lambda ns: ns),  # ClickHouse: nanoseconds
    "duration_ns": ("duration_ns", lambda ns: ns),
    "durationNano": ("durationNano", lambda ns: ns),
    "duration_us": ("duration_us", lambda ns: ns // 1_000),
    "duration_ms": ("duration_ms", lambda ns: ns / 1e6),
    "duration_s": ("duration_s", lambda ns: ns / 1e9),
    "latency_ms": ("latency_ms", lambda ns: round(ns / 1e6, 3)),
    "bare ns": ("duration", lambda ns: ns),
    "bare us": ("duration", lambda ns: ns // 1_000),
    "bare ms": ("duration", lambda ns: ns / 1e6),
    "bare s": ("duration", lambda ns: ns / 1e9),
    "duration_ms text": ("duration_ms", lambda ns: f"{ns / 1e6:.3f}"),
}


def dumps(plain: Any, indent: int | None = None) -> str:
    """JSON as Python writes it, NaN and Infinity included."""
    return json.dumps(plain, indent=indent, ensure_ascii=False)


def _lines(texts: Iterable[str]) -> bytes:
    return "".join(text + "\n" for text in texts).encode()


def as_text(plain: Any) -> str:
    return plain if isinstance(plain, str) else dumps(plain)


def _nested(attributes: Json) -> Json:
    """{"a.b": 1} as {"a": {"b": 1}}; a name that is another's beginning stays as it is."""
    found: Json = {}
    for name, plain in sorted(attributes.items()):
        at, parts = found, name.split(".")
        for i, part in enumerate(parts[:-1]):
            inner = at.setdefault(part, {})
            if not isinstance(inner, dict):
                at[".".join(parts[i:])] = plain
                break
            at = inner
        else:
            at[parts[-1]] = plain
    return found


ATTRIBUTES: dict[str, Callable[[Json], Any]] = {
    "map": dict,
    "map of text": lambda a: {k: as_text(v) for k, v in a.items()},
    "map of unions": lambda a: {k: union(v) for k, v in a.items()},
    "pairs": lambda a: [{"key": k, "value": v} for k, v in a.items()],
    "pairs of unions": pairs,
    "JSON": lambda a: dumps(a),
    "repr": repr,  # as pandas writes objects into CSV
    "nested": _nested,
}
_WORDS = {0: "UNSET", 1: "OK", 2: "ERROR"}
STATUSES: dict[str, Callable[[Span], Json]] = {
    "object": lambda s: {"status": {"code": s.status, "message": s.message}},
    "object of words": lambda s: {"status": {"code": _WORDS[s.status]}},
    "enum": lambda s: {"status": {"code": f"STATUS_CODE_{_WORDS[s.status]}"}},
    "console": lambda s: {"status": {"status_code": _WORDS[s.status]}},
    "flat": lambda s: {"status_code": _WORDS[s.status], "status_message": s.message},
    "flat camel": lambda s: {"statusCode": s.status},
    "pascal": lambda s: {"StatusCode": _WORDS[s.status].capitalize(), "StatusMessage": s.message},
}
ENVELOPES: dict[str, Callable[[list[Json]], bytes]] = {
    "list": lambda rows: dumps(rows).encode(),
    "lines": lambda rows: _lines(dumps(row) for row in rows),
    "documents": lambda rows: _lines(dumps(row, indent=2) for row in rows),
    "data": lambda rows: dumps({"data": rows, "meta": {"page": 1}}).encode(),
    "spans": lambda rows: dumps({"session_id": "s1", "spans": rows}).encode(),
    "traces": lambda rows: dumps({"traces": [{"trace_id": t, "spans": held} for t, held in _by_trace(rows)]}).encode(),
    "traces of data": lambda rows: dumps(
        {"data": {"traces": [{"spans": held} for _, held in _by_trace(rows)]}}
    ).encode(),
    "lines of traces": lambda rows: _lines(dumps({"spans": held}) for _, held in _by_trace(rows)),
    "hits": lambda rows: dumps(
        {"hits": {"total": {"value": len(rows)}, "hits": [{"_source": r} for r in rows]}}
    ).encode(),
    "list of lists": lambda rows: dumps([held for _, held in _by_trace(rows)]).encode(),
}
_FLAT = {"csv": ",", "tsv": "\t"}
TABLES = ("csv", "tsv", "parquet map", "parquet struct", "parquet JSON", "parquet flat")


def _by_trace(rows: list[Json]) -> Iterable[tuple[str, list[Json]]]:
    found: dict[str, list[Json]] = {}
    for row in rows:
        found.setdefault(next(str(row[k[0]]) for k in KEYS.values() if k[0] in row), []).append(row)
    return found.items()


@dataclass(frozen=True)
class Layout:
    """One spelling of each part. envelope: of `ENVELOPES` or `TABLES`. flat: attributes as columns "<prefix>a.b".

    context: the ids of trace and span in an object ("object") or in columns ("dotted") of that name.
    """

    envelope: str = "list"
    keys: str = "snake"
    moments: str = "iso"
    length: str = ""
    attributes: str = "map"
    status: str = "object"
    flat: str | None = None
    context: str = ""

    def render(self, spans: Iterable[Span]) -> bytes:
        rows = [self.row(span) for span in spans]
        if self.envelope in _FLAT:
            return _csv(rows, _FLAT[self.envelope])
        if self.envelope.startswith("parquet"):
            return _parquet(rows, self.envelope.partition(" ")[2], KEYS[self.keys])
        return ENVELOPES[self.envelope](rows)

    @property
    def suffix(self) -> str:
        ends = {"csv": "csv", "tsv": "tsv", "lines": "jsonl", "lines of traces": "jsonl"}
        return "parquet" if self.envelope.startswith("parquet") else ends.get(self.envelope, "json")

    def row(self, span: Span) -> Json:
        """One span as a record."""
        k = dict(zip(_PARTS, KEYS[self.keys], strict=True))
        start, end, moment = MOMENTS[self.moments]
        length, spell = LENGTHS[self.length]
        encode = ATTRIBUTES[self.attributes]
        row: Json = {
            k["trace"]: span.trace, k["span"]: span.span, k["parent"]: span.parent, k["name"]: span.name,
            k["kind"]: "INTERNAL", start: moment(span.start), k["scope"]: span.scope[0], k["version"]: span.scope[1],
        }  # fmt: skip
        if self.context:
            ids = {n: row.pop(k[part]) for part, n in (("trace", "trace_id"), ("span", "span_id"))}
            row |= {"context": ids} if self.context == "object" else {f"context.{n}": v for n, v in ids.items()}
        if end:
            row[end] = moment(span.end)
        if length:
            row[length] = spell(span.end - span.start)
        row |= STATUSES[self.status](span)
        if self.flat is None:
            row[k["attributes"]] = encode(span.attributes)
        else:
            row |= {self.flat + name: plain for name, plain in span.attributes.items()}
        row[k["resource"]] = encode(span.resource)
        row[k["events"]] = [_event(e, moment, encode) for e in span.events]
        return row


def _event(event: Event, moment: Callable[[int], Any], encode: Callable[[Json], Any]) -> Json:
    return {"name": event.name, "timestamp": moment(event.at), "attributes": encode(event.attributes)}


def _columns(rows: list[Json]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _csv(rows: list[Json], delimiter: str) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    names = _columns(rows)
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if (v := row.get(n)) is None else as_text(v) for n in names])
    return out.getvalue().encode()


def _structs(maps: list[Json]) -> pa.Array:
    """A struct with a field a key; one that holds several types is text."""
    types: dict[str, set[type]] = {}
    for held in maps:
        for name, plain in held.items():
            types.setdefault(name, set()).add(type(plain))
    simple = {name for name, found in types.items() if len(found - {type(None)}) == 1 and found <= {int, float, bool}}
    return pa.array([{k: v if k in simple else None if v is None else as_text(v) for k, v in m.items()} for m in maps])


def _parquet(rows: list[Json], how: str, keys: tuple[str, ...]) -> bytes:
    """map, struct: of the attributes; JSON: text; flat: columns. Everything else that is nested is JSON text."""
    of_map = pa.map_(pa.string(), pa.string())
    kept = (keys[_PARTS.index("attributes")], keys[_PARTS.index("resource")])
    columns = {}
    for name in _columns(rows):
        values = [row.get(name) for row in rows]
        nested = any(isinstance(v, dict | list) for v in values)
        if name in kept and how == "map":
            columns[name] = pa.array([[(k, as_text(x)) for k, x in (v or {}).items()] for v in values], of_map)
        elif name in kept and how == "struct" and any(values):
            columns[name] = _structs([v or {} for v in values])
        elif nested or len({type(v) for v in values if v is not None}) > 1:
            columns[name] = pa.array([None if v is None else as_text(v) for v in values], pa.string())
        else:
            columns[name] = pa.array(values)
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()
