"""The forms in which spans are written anew, by name: layouts, wire shapes of trace stores, and poison."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.twins.judge import AS_IT_IS, Expected
from tests.twins.layouts import Layout, as_text, dumps, iso
from tests.twins.spans import Json, Span, otlp

Files = dict[str, bytes]
_MEASURE = re.compile(r"usage|token|cost|price", re.IGNORECASE)
_COST = re.compile(r"cost", re.IGNORECASE)
_FIRST = re.compile(r"time_to_first|msToFirst", re.IGNORECASE)
TOKENS = ("input_tokens", "output_tokens", "cached_read_tokens", "cache_write_tokens", "reasoning_tokens")

LAYOUTS: dict[str, Layout] = {
    "CSV, attributes as JSON": Layout("csv", attributes="JSON", status="flat"),
    "CSV, attributes as columns": Layout("csv", flat="attributes.", status="flat"),
    "CSV, bare attribute columns": Layout("csv", flat="", moments="sql text", status="flat"),
    "CSV of ClickHouse": Layout("csv", "pascal", "clickhouse", "Duration", "JSON", "pascal"),
    "TSV, epoch ms": Layout("tsv", "camel", "ms", attributes="JSON", status="flat camel"),
    "Parquet, map": Layout("parquet map", moments="ns", status="flat"),
    "Parquet, struct": Layout("parquet struct", moments="us", status="flat"),
    "Parquet, JSON": Layout("parquet JSON", "camel", "iso camel", status="flat camel"),
    "Parquet, columns": Layout("parquet flat", flat="attributes.", status="flat"),
    "Parquet of Phoenix": Layout("parquet flat", "parent_id", flat="attributes.", status="flat", context="dotted"),
    "list of span objects": Layout("list", moments="ns"),
    "list, camelCase": Layout("list", "camel", "iso camel", status="enum"),
    "list, PascalCase": Layout("list", "pascal", "clickhouse", "Duration", "map of text", "pascal"),
    "lines, id and parent_id": Layout("lines", "id", "iso", status="flat"),
    "lines, dotted keys": Layout("lines", "dotted", "timestamp", "duration_us", status="flat"),
    "lines, attributes in the record": Layout("lines", flat="", status="flat"),
    "console documents": Layout("documents", "parent_id", "iso", status="console", context="object"),
    "CSV of console documents": Layout("csv", "parent_id", "iso", attributes="JSON", status="flat", context="object"),
    "in data": Layout("data", moments="ns"),
    "in spans": Layout("spans", moments="us"),
    "in traces": Layout("traces", moments="ms"),
    "in traces of data": Layout("traces of data", moments="ms"),
    "a trace a line": Layout("lines of traces", moments="iso nine digits"),
    "search hits": Layout("hits", moments="iso", attributes="nested"),
    "list of lists": Layout("list of lists", moments="ns"),
    "pairs of plain values": Layout("list", "camel", "ns text", attributes="pairs"),
    "pairs of unions": Layout("list", "camel", "ns text", attributes="pairs of unions"),
    "map of unions": Layout("list", attributes="map of unions"),
    "map of text": Layout("lines", attributes="map of text"),
    "JSON text in JSON": Layout("lines", attributes="JSON"),
    "nested attributes": Layout("lines", attributes="nested"),
    "epoch seconds": Layout("list", moments="s"),
    "epoch seconds as text": Layout("list", moments="s text"),
    "epoch ms": Layout("list", moments="ms"),
    "epoch ms as text": Layout("list", moments="ms text"),
    "epoch us": Layout("list", moments="us"),
    "epoch us as text": Layout("list", moments="us text"),
    "epoch ns": Layout("list", moments="ns named"),
    "start and duration_ms": Layout("lines", moments="timestamp", length="duration_ms"),
    "start and duration_ms as text": Layout("csv", moments="timestamp", length="duration_ms text", attributes="JSON"),
    "start and duration_s": Layout("lines", moments="timestamp", length="duration_s"),
    "start and duration_ns": Layout("lines", moments="timestamp", length="duration_ns"),
    "start and durationNano": Layout("lines", "camel", "timestamp", "durationNano"),
    "CSV, attributes as repr": Layout("csv", attributes="repr", status="flat"),
    "list, times of another zone": Layout("list", moments="other zone"),
    "start and latency_ms": Layout("lines", moments="timestamp", length="latency_ms"),
}  # fmt: skip

# Lengths that name no unit: it must be found by the spans themselves, or asked for.
BARE = {f"start and bare duration in {u}": Layout("lines", moments="timestamp", length=f"bare {u}") for u in
        ("ns", "us", "ms", "s")}  # fmt: skip


def _map(spans: list[Span], change: Callable[[str, Any], tuple[str, Any] | None]) -> list[Span] | None:
    """Spans with changed attributes; None where nothing changed."""
    after = []
    for span in spans:
        told = [change(name, plain) for name, plain in span.attributes.items()]
        after.append(replace(span, attributes=dict(pair for pair in told if pair is not None)))
    return None if after == spans else after


def _number(plain: Any) -> bool:
    return isinstance(plain, int | float) and not isinstance(plain, bool)


def _without_usage(spans: list[Span]) -> list[Span] | None:
    return _map(spans, lambda n, v: None if _MEASURE.search(n) else (n, v))


def _unheard_of(spans: list[Span]) -> list[Span] | None:
    """Usage under names of no vocabulary that still say what they are."""

    def change(name: str, plain: Any) -> tuple[str, Any]:
        if not _MEASURE.search(name) or not _number(plain):
            return name, plain
        sort = "cost_of_call" if _COST.search(name) else "tokens_of_" + re.sub(r"\W", "_", name)[::-1]
        return f"acme.spent.{sort}", plain

    return _map(spans, change)


def _rescaled(names: re.Pattern[str], suffix: str, factor: float) -> Callable[[list[Span]], list[Span] | None]:
    return lambda spans: _map(
        spans, lambda n, v: (n + suffix, v * factor) if names.search(n) and _number(v) else (n, v)
    )


def _strange(value: Any) -> Callable[[list[Span]], list[Span] | None]:
    """Every second count of tokens or cost is no number."""

    def change(spans: list[Span]) -> list[Span] | None:
        at = iter(range(10**9))
        return _map(spans, lambda n, v: (n, value) if _MEASURE.search(n) and _number(v) and next(at) % 2 else (n, v))

    return change


def _pending(spans: list[Span]) -> list[Span] | None:
    """Beside each span the copy that Logfire sends when it begins: a child of its own, without an end of its own."""
    found = []
    for i, span in enumerate(spans):
        early = {n: v for n, v in span.attributes.items() if not _MEASURE.search(n) and ".response" not in n}
        told = {"logfire.span_type": "pending_span", "logfire.pending_parent_id": span.parent or "0" * 16}
        begun = replace(span, end=span.start, events=(), status=0, message="", attributes=early | told)
        found += [replace(begun, span=f"{0xABC0000000000000 + i:016x}", parent=span.span), span]
    return found


def _with_unfinished(spans: list[Json]) -> list[Json]:
    """Each OTLP span and itself as it began, with neither end nor usage, before or after it."""
    found = []
    for i, span in enumerate(spans):
        kept = [a for a in span["attributes"] if not _MEASURE.search(a["key"]) and ".response" not in a["key"]]
        begun = span | {"endTimeUnixNano": "0", "events": [], "status": {}, "attributes": kept}
        found += [begun, span] if i % 2 else [span, begun]
    return found


def _snake(value: Any) -> Any:
    """Keys of an OTLP message as protobuf's own JSON printer may write them."""
    if isinstance(value, dict):
        return {re.sub(r"(?<=[a-z])([A-Z])", lambda m: f"_{m[1].lower()}", k): _snake(v) for k, v in value.items()}
    return [_snake(v) for v in value] if isinstance(value, list) else value


def _bytes_ids(value: Any) -> Any:
    """An OTLP message with its ids in base64, which the JSON of protobuf asks for."""
    if isinstance(value, dict):
        return {
            k: base64.b64encode(bytes.fromhex(v)).decode() if k in _IDS else _bytes_ids(v) for k, v in value.items()
        }
    return [_bytes_ids(v) for v in value] if isinstance(value, list) else value


_IDS = ("traceId", "spanId", "parentSpanId")


def _protobuf(spans: list[Span]) -> bytes:
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    return bytes(ParseDict(_bytes_ids(otlp(spans)), TracesData()).SerializeToString())


def _framed(spans: list[Span]) -> bytes:
    """One message a trace behind its length, as the file exporter of the collector writes protobuf."""
    found = [_protobuf([s for s in spans if s.trace == t]) for t in dict.fromkeys(s.trace for s in spans)]
    return b"".join(len(message).to_bytes(4, "big") + message for message in found)


def _in_two_files(spans: list[Span]) -> Files:
    """Rows dealt to two tables, so that every trace lies in both."""
    layout = Layout("csv", attributes="JSON", status="flat")
    return {f"twin-{i}.csv": layout.render(spans[i::2]) for i in (0, 1) if spans[i::2]}


def _both(spans: list[Span]) -> Files:
    """The same spans as OTLP and as rows in one load: every id comes twice."""
    return {"twin.json": dumps(otlp(spans)).encode(), "twin.csv": Layout("csv", attributes="JSON").render(spans)}


def _running(spans: list[Span]) -> Files:
    """Rows of each span as it began, without an end and without usage, before or after the whole one."""
    layout, rows = Layout("lines", moments="iso"), []
    for i, span in enumerate(spans):
        early = {n: v for n, v in span.attributes.items() if not _MEASURE.search(n) and ".response" not in n}
        begun = layout.row(replace(span, attributes=early, events=(), status=0)) | {"end_time": None}
        rows += [begun, layout.row(span)] if i % 2 else [layout.row(span), begun]
    return {"twin.jsonl": "".join(dumps(row) + "\n" for row in rows).encode()}


def zipkin(spans: list[Span]) -> Any:
    """Zipkin v2: times in microseconds, every tag is text."""
    return [
        {
            "traceId": s.trace, "id": s.span, "name": s.name, "timestamp": s.start // 1000,
            "duration": (s.end - s.start) // 1000, "localEndpoint": {"serviceName": "app"},
            "tags": {k: as_text(v) for k, v in s.attributes.items()}
            | ({"error": s.message or "true"} if s.status == 2 else {}),
            **({"parentId": s.parent} if s.parent else {}),
            "annotations": [{"timestamp": e.at // 1000, "value": e.name} for e in s.events],
        }
        for s in spans
    ]  # fmt: skip


def jaeger(spans: list[Span]) -> Any:
    """Answer of Jaeger's query API, as its UI saves it: microseconds, typed tags, references."""
    traces: dict[str, list[Span]] = {}
    for s in spans:
        traces.setdefault(s.trace, []).append(s)
    return {"data": [
        {
            "traceID": trace, "processes": {"p1": {"serviceName": "app", "tags": []}},
            "spans": [
                {
                    "traceID": trace, "spanID": s.span, "operationName": s.name, "startTime": s.start // 1000,
                    "duration": (s.end - s.start) // 1000, "processID": "p1",
                    "references": [{"refType": "CHILD_OF", "traceID": trace, "spanID": s.parent}] if s.parent else [],
                    "tags": [_tag(k, v) for k, v in s.attributes.items()]
                    + ([_tag("error", True)] if s.status == 2 else []) + [_tag("otel.scope.name", s.scope[0])],
                    "logs": [{"timestamp": e.at // 1000, "fields": [_tag("event", e.name)]
                              + [_tag(k, v) for k, v in e.attributes.items()]} for e in s.events],
                }
                for s in held
            ],
        }
        for trace, held in traces.items()
    ], "total": 0, "limit": 0, "offset": 0, "errors": None}  # fmt: skip


def _tag(key: str, plain: Any) -> Json:
    types = {bool: "bool", int: "int64", float: "float64"}
    sort = types.get(type(plain), "string")
    return {"key": key, "type": sort, "value": plain if sort != "string" else as_text(plain)}


def appinsights(spans: list[Span]) -> Any:
    """Dependencies of Application Insights as its query API gives them: milliseconds, dimensions as text."""
    return [
        {
            "timestamp": iso(s.start, zone="Z"), "id": s.span, "name": s.name, "type": "InProc",
            "success": s.status != 2, "duration": (s.end - s.start) / 1e6, "itemType": "dependency",
            "customDimensions": as_text({k: as_text(v) for k, v in s.attributes.items()}),
            "operation_Id": s.trace, "operation_ParentId": s.parent or s.trace,
        }
        for s in spans
    ]  # fmt: skip


WIRES: dict[str, Callable[[list[Span]], Any]] = {
    "OTLP again": otlp,
    "OTLP of Tempo": lambda spans: {"batches": otlp(spans)["resourceSpans"]},
    "OTLP, snake_case": lambda spans: _snake(otlp(spans)),
    "OTLP in a trace": lambda spans: {"trace": otlp(spans)},
    "OTLP of Jaeger v3": lambda spans: {"result": otlp(spans)},
    "Zipkin": zipkin,
    "Jaeger": jaeger,
    "Application Insights": appinsights,
}
SEVERAL: dict[str, Callable[[list[Span]], Files]] = {
    "OTLP, protobuf": lambda spans: {"twin.binpb": _protobuf(spans)},
    "OTLP, framed protobuf": lambda spans: {"twin.binpb": _framed(spans)},
    "rows in two files": _in_two_files,
    "OTLP and rows": _both,
    "unfinished copies, rows": _running,
}
# Without events, the first token that an event tells is not told.
_LOSSY = {"Application Insights": Expected(gone=frozenset({"ttft_us"}))}
_NO_USAGE = Expected(gone=frozenset({*TOKENS, "total_nusd"}), free=frozenset({"llm_calls"}))
POISON: dict[str, tuple[Callable[[list[Span]], list[Span] | None], Expected]] = {
    "usage removed": (_without_usage, _NO_USAGE),
    "usage under unheard-of names": (_unheard_of, Expected(free=frozenset({"llm_calls"}))),
    "cost in cents, named": (_rescaled(_COST, "_cents", 100), AS_IT_IS),
    "cost in cents, not named": (_rescaled(_COST, "", 100), AS_IT_IS),
    "first token in ms, named": (_rescaled(re.compile("time_to_first", re.I), "_ms", 1_000), AS_IT_IS),
    "NaN for numbers": (_strange(float("nan")), AS_IT_IS),
    "Infinity for numbers": (_strange(float("inf")), AS_IT_IS),
    "NaN as text for numbers": (_strange("NaN"), AS_IT_IS),
    "pending copies": (_pending, AS_IT_IS),
}  # fmt: skip
# Poison is put into OTLP and into two generic renderings.
BASES: dict[str, Callable[[list[Span]], Files]] = {
    "OTLP": lambda spans: {"twin.json": dumps(otlp(spans)).encode()},
    "span objects": lambda spans: {"twin.jsonl": Layout("lines").render(spans)},
    "CSV": lambda spans: {"twin.csv": Layout("csv", attributes="JSON", status="flat").render(spans)},
    "Parquet": lambda spans: {"twin.parquet": Layout("parquet JSON", attributes="map", status="flat").render(spans)},
}


@dataclass(frozen=True)
class Form:
    """One twin of an export: its files, and what may differ. beside: what it must equal, where not the export."""

    name: str
    files: Files
    expected: Expected = dataclasses.field(default_factory=Expected)
    beside: Files | None = None


def span_forms(spans: list[Span]) -> list[Form]:
    """Every form of some spans."""
    found = [Form(name, {f"twin.{lay.suffix}": lay.render(spans)}) for name, lay in LAYOUTS.items()]
    for name, wire in WIRES.items():
        found.append(Form(name, {"twin.json": dumps(wire(spans)).encode()}, _LOSSY.get(name, AS_IT_IS)))
    found += [Form(name, {f"twin.{lay.suffix}": lay.render(spans)}) for name, lay in BARE.items()]
    found += [Form(name, files(spans)) for name, files in SEVERAL.items()]
    for name, (change, expected) in POISON.items():
        poisoned = change(spans)
        if poisoned is not None:
            found += [Form(f"{name}, {base}", render(poisoned), expected) for base, render in BASES.items()]
    unfinished = otlp(spans)
    for group in (g for outer in unfinished["resourceSpans"] for g in outer["scopeSpans"]):
        group["spans"] = _with_unfinished(group["spans"])
    found.append(Form("unfinished copies, OTLP", {"twin.json": dumps(unfinished).encode()}))
    return found
