"""One small trace as each exporter of spans writes it. What the shapes rest on stands beside each.

The trace: an agent of 4.5 s calls a model (588 tokens in of which 100 read from a cache, 53 out, 2 s), a tool that
fails (0.25 s) and the model again (663 in, 25 out, 1.5 s).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

TRACE = "25664b7144ee8f957a50b6ff74dfa337"
START = 1_784_744_268_000_000_000
MODEL = "gpt-4o"


class Step(NamedTuple):
    """id, parent, name, nanoseconds after the start, length in nanoseconds, attributes, failed."""

    id: str
    parent: str
    name: str
    after: int
    length: int
    attributes: dict[str, Any]
    failed: bool = False

    @property
    def start(self) -> int:
        return START + self.after

    @property
    def end(self) -> int:
        return self.start + self.length


def chat(input_tokens: int, output_tokens: int, read: int = 0) -> dict[str, Any]:
    found = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": MODEL,
        "gen_ai.usage.input_tokens": input_tokens, "gen_ai.usage.output_tokens": output_tokens,
    }  # fmt: skip
    return found | ({"gen_ai.usage.cache_read.input_tokens": read} if read else {})


AGENT = {"gen_ai.operation.name": "invoke_agent", "session.id": "s-1", "user.id": "ann"}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather"}
STEPS = [
    Step("1009ff1545ad6303", "", "invoke_agent helper", 0, 4_500_000_000, AGENT),
    Step("c3fd6f840203e945", "1009ff1545ad6303", "chat gpt-4o", 100_000_000, 2_000_000_000, chat(588, 53, 100)),
    Step("ea4518243ec1a032", "1009ff1545ad6303", "execute_tool get_weather", 2_200_000_000, 250_000_000, TOOL, True),
    Step("0b1e3377ef8e4e87", "1009ff1545ad6303", "chat gpt-4o", 2_600_000_000, 1_500_000_000, chat(663, 25)),
]  # fmt: skip
TRUTH = {
    "requests": 1, "spans": 4, "input_tokens": 1_251, "output_tokens": 78, "cached_read_tokens": 100,
    "total_us": 4_500_000, "model_us": 3_500_000, "tool_us": 250_000, "llm_calls": 2, "tool_calls": 1,
    "tool_errors": 1, "error": False,
}  # fmt: skip
KINDS = {"chat": "llm", "invoke_agent": "agent", "execute_tool": "tool"}


def iso(nanos: int) -> str:
    return datetime.fromtimestamp(nanos / 1e9, UTC).isoformat(timespec="microseconds")


def b64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()


def dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def lines(rows: list[Any]) -> bytes:
    return b"\n".join(dump(r) for r in rows) + b"\n"


def console() -> bytes:
    """`ConsoleSpanExporter` of OpenTelemetry for Python: `ReadableSpan.to_json`, documents after each other."""
    found = []
    for s in STEPS:
        context = {"trace_id": f"0x{TRACE}", "span_id": f"0x{s.id}", "trace_state": "[]"}
        found.append({
            "name": s.name, "context": context, "kind": "SpanKind.INTERNAL",
            "parent_id": f"0x{s.parent}" if s.parent else None, "start_time": iso(s.start), "end_time": iso(s.end),
            "status": {"status_code": "ERROR", "description": "no"} if s.failed else {"status_code": "UNSET"},
            "attributes": s.attributes, "events": [], "links": [],
            "resource": {"attributes": {"service.name": "helper"}, "schema_url": ""},
        })  # fmt: skip
    return dump(found)


def console_lines() -> bytes:
    """The same with `formatter=lambda span: span.to_json(indent=None) + linesep`."""
    return lines(json.loads(console()))


def clickhouse() -> bytes:
    """Rows of `otel_traces` (clickhouseexporter of the collector) in JSONEachRow; lengths in nanoseconds."""
    return lines([{
        "Timestamp": iso(s.start)[:-6].replace("T", " "), "TraceId": TRACE, "SpanId": s.id, "ParentSpanId": s.parent,
        "TraceState": "", "SpanName": s.name, "SpanKind": "Internal", "ServiceName": "helper",
        "ResourceAttributes": {"service.name": "helper"}, "ScopeName": "x", "ScopeVersion": "1",
        "SpanAttributes": {k: str(v) for k, v in s.attributes.items()}, "Duration": str(s.length),
        "StatusCode": "Error" if s.failed else "Unset", "StatusMessage": "",
        "Events.Timestamp": [], "Events.Name": [], "Events.Attributes": [],
    } for s in STEPS])  # fmt: skip


def log_analytics() -> bytes:
    """Rows of `AppDependencies` (Log Analytics) as JSON; the root's parent is the operation."""
    return dump([{
        "TimeGenerated": iso(s.start), "Id": s.id, "OperationId": TRACE, "ParentId": s.parent or TRACE, "Name": s.name,
        "DurationMs": s.length / 1e6, "Success": not s.failed, "ResultCode": "0", "AppRoleName": "helper",
        "Properties": json.dumps({k: str(v) for k, v in s.attributes.items()}), "DependencyType": "InProc",
    } for s in STEPS])  # fmt: skip


def cloudwatch() -> bytes:
    """Span records of the `aws/spans` log group (CloudWatch Transaction Search): plain maps, integer nanoseconds."""
    return lines([_cloudwatch(s) for s in STEPS])


def _cloudwatch(s: Step) -> dict[str, Any]:
    return {
        "resource": {"attributes": {"service.name": "helper"}}, "scope": {"name": "strands.telemetry.tracer"},
        "traceId": TRACE, "spanId": s.id, **({"parentSpanId": s.parent} if s.parent else {}), "flags": 256,
        "name": s.name, "kind": "INTERNAL", "startTimeUnixNano": s.start, "endTimeUnixNano": s.end,
        "durationNano": s.length, "attributes": s.attributes, "status": {"code": "ERROR" if s.failed else "UNSET"},
    }  # fmt: skip


def logs_insights() -> bytes:
    """The same as a CSV of CloudWatch Logs Insights: the span is JSON in `@message`."""
    rows = [(iso(s.start)[:-6].replace("T", " "), json.dumps(_cloudwatch(s)).replace('"', '""')) for s in STEPS]
    return ("@timestamp,@message\n" + "".join(f'{at},"{text}"\n' for at, text in rows)).encode()


def xray() -> bytes:
    """Answer of `BatchGetTraces`: segments as JSON text, subsegments inside, epoch seconds."""
    root, *rest = STEPS
    xray_id = f"1-{TRACE[:8]}-{TRACE[8:]}"

    def segment(s: Step) -> dict[str, Any]:
        return {
            "id": s.id, "name": s.name, "start_time": s.start / 1e9, "end_time": s.end / 1e9, "fault": s.failed,
            "metadata": {"default": s.attributes},
        }  # fmt: skip

    document = {**segment(root), "trace_id": xray_id, "subsegments": [segment(s) for s in rest]}
    return dump({"Traces": [{"Id": xray_id, "Duration": 4.5, "Segments": [
        {"Id": root.id, "Document": json.dumps(document)}]}], "UnprocessedTraceIds": []})  # fmt: skip


def jaeger() -> bytes:
    """JSON of the Jaeger UI and its `/api/traces`: microseconds, tags as typed pairs."""
    spans = [{
        "traceID": TRACE, "spanID": s.id, "operationName": s.name, "startTime": s.start // 1000,
        "references": [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": s.parent}] if s.parent else [],
        "duration": s.length // 1000, "processID": "p1", "logs": [], "warnings": None,
        "tags": [*({"key": k, "type": "string", "value": v} for k, v in s.attributes.items()),
                 *([{"key": "error", "type": "bool", "value": True}] if s.failed else [])],
    } for s in STEPS]  # fmt: skip
    processes = {"p1": {"serviceName": "helper", "tags": []}}
    return dump({"data": [{"traceID": TRACE, "spans": spans, "processes": processes, "warnings": None}],
                 "total": 0, "limit": 0, "offset": 0, "errors": None})  # fmt: skip


def jaeger_v2() -> bytes:
    """`api_v2` model of Jaeger (model.proto) as JSON: ids in base64, lengths as protobuf text."""
    return dump({"spans": [{
        "trace_id": b64(TRACE), "span_id": b64(s.id), "operation_name": s.name, "start_time": iso(s.start),
        "duration": f"{s.length / 1e9}s",
        "references": [{"trace_id": b64(TRACE), "span_id": b64(s.parent), "ref_type": "CHILD_OF"}] if s.parent else [],
        "tags": [*({"key": k, "v_type": "INT64", "v_int64": v} if isinstance(v, int) else {"key": k, "v_str": v}
                   for k, v in s.attributes.items()),
                 *([{"key": "error", "v_type": "BOOL", "v_bool": True}] if s.failed else [])],
        "process": {"service_name": "helper", "tags": []},
    } for s in STEPS]})  # fmt: skip


def jaeger_v3() -> bytes:
    """`/api/v3/traces` of Jaeger: OTLP inside `result`."""
    return dump({"result": json.loads(otlp())})


def otlp() -> bytes:
    """OTLP JSON."""
    spans = [{
        "traceId": TRACE, "spanId": s.id, "parentSpanId": s.parent, "name": s.name, "startTimeUnixNano": str(s.start),
        "endTimeUnixNano": str(s.end), "status": {"code": 2} if s.failed else {},
        "attributes": [{"key": k, "value": {"intValue": str(v)} if isinstance(v, int) else {"stringValue": v}}
                       for k, v in s.attributes.items()],
    } for s in STEPS]  # fmt: skip
    return dump({"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": spans}]}]})


def zipkin() -> bytes:
    """Zipkin v2: a list of traces, each a list of spans; microseconds, tags as text."""
    return dump([[{
        "traceId": TRACE, "id": s.id, **({"parentId": s.parent} if s.parent else {}), "name": s.name,
        "timestamp": s.start // 1000, "duration": s.length // 1000, "localEndpoint": {"serviceName": "helper"},
        "tags": {**{k: str(v) for k, v in s.attributes.items()}, **({"error": "no"} if s.failed else {})},
        "annotations": [{"timestamp": s.start // 1000, "value": "began"}],
    } for s in STEPS]])  # fmt: skip


def openai_agents() -> bytes:
    """What the OpenAI Agents SDK sends to its trace ingest: the trace, then spans (`Span.export`)."""

    def data(s: Step) -> dict[str, Any]:
        kind = KINDS[s.attributes["gen_ai.operation.name"]]
        if kind == "llm":
            read = s.attributes.get("gen_ai.usage.cache_read.input_tokens")
            usage = {"input_tokens": s.attributes["gen_ai.usage.input_tokens"],
                     "output_tokens": s.attributes["gen_ai.usage.output_tokens"],
                     **({"input_tokens_details": {"cached_tokens": read}} if read else {})}  # fmt: skip
            return {
                "type": "generation",
                "model": MODEL,
                "model_config": {},
                "usage": usage,
                "input": [{"role": "user", "content": "hi"}],
                "output": [{"role": "assistant", "content": "x"}],
            }
        if kind == "tool":
            return {"type": "function", "name": "get_weather", "input": "{}", "output": "x", "mcp_data": None}
        return {"type": "agent", "name": "helper", "handoffs": [], "tools": ["get_weather"], "output_type": "str"}

    trace = {"object": "trace", "id": f"trace_{TRACE}", "workflow_name": "w", "group_id": "s-1", "metadata": {}}
    return dump({"data": [trace, *({
        "object": "trace.span", "id": f"span_{s.id}", "trace_id": f"trace_{TRACE}",
        "parent_id": f"span_{s.parent}" if s.parent else None, "started_at": iso(s.start), "ended_at": iso(s.end),
        "span_data": data(s), "error": {"message": "no", "data": None} if s.failed else None,
    } for s in STEPS)]})  # fmt: skip


def braintrust() -> bytes:
    """Rows of Braintrust's logs (`fetch`, exports of a project): usage and epoch seconds under `metrics`."""
    rows = []
    for s in STEPS:
        a = s.attributes
        usage = {
            "prompt_tokens": a.get("gen_ai.usage.input_tokens"),
            "completion_tokens": a.get("gen_ai.usage.output_tokens"),
            "prompt_cached_tokens": a.get("gen_ai.usage.cache_read.input_tokens"),
        }  # fmt: skip
        metrics = {"start": s.start / 1e9, "end": s.end / 1e9, **{k: v for k, v in usage.items() if v is not None}}
        kind = {"llm": "llm", "agent": "task", "tool": "tool"}[KINDS[a["gen_ai.operation.name"]]]
        rows.append({
            "id": f"row-{s.id}", "span_id": s.id, "root_span_id": TRACE, "span_parents": [s.parent] if s.parent else [],
            "is_root": not s.parent, "created": iso(s.start), "span_attributes": {"name": s.name, "type": kind},
            "metrics": metrics, "metadata": {"model": MODEL} if kind == "llm" else {"user_id": "ann"},
            "input": "hi", "output": "x", "error": "no" if s.failed else None, "scores": {}, "project_id": "p",
        })  # fmt: skip
    return lines(rows)


def agenta() -> bytes:
    """Answer of Agenta's tracing query: a tree of spans by name below each trace, everything under `ag`."""

    def node(s: Step) -> dict[str, Any]:
        a = s.attributes
        metrics: dict[str, Any] = {"duration": {"cumulative": s.length / 1e6}}
        if "gen_ai.usage.input_tokens" in a:
            metrics["tokens"] = {"incremental": {
                "prompt": a["gen_ai.usage.input_tokens"], "completion": a["gen_ai.usage.output_tokens"],
                "cached": a.get("gen_ai.usage.cache_read.input_tokens", 0)}}  # fmt: skip
        kind = {"llm": "chat", "agent": "agent", "tool": "tool"}[KINDS[a["gen_ai.operation.name"]]]
        meta = {"request": {"model": MODEL}} if kind == "chat" else {}
        return {
            "trace_id": f"{TRACE[:8]}-{TRACE[8:12]}-{TRACE[12:16]}-{TRACE[16:20]}-{TRACE[20:]}", "span_id": s.id,
            "parent_id": s.parent or None, "span_name": s.name, "span_kind": "SPAN_KIND_INTERNAL",
            "start_time": iso(s.start), "end_time": iso(s.end),
            "status_code": "STATUS_CODE_ERROR" if s.failed else "STATUS_CODE_UNSET",
            "attributes": {"ag": {"type": {"trace": "invocation", "span": kind}, "metrics": metrics, "meta": meta}},
        }  # fmt: skip

    root, *rest = STEPS
    tree = {**node(root), "spans": {f"step-{i}": node(s) for i, s in enumerate(rest)}}
    return dump({"count": 1, "traces": {TRACE: {"spans": {"root": tree}}}})


def google() -> bytes:
    """Spans of Google Cloud Trace v2 (`projects.traces.spans`): typed attributes, truncatable strings."""

    def typed(value: Any) -> dict[str, Any]:
        return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": {"value": value}}

    return dump({"spans": [{
        "name": f"projects/p/traces/{TRACE}/spans/{s.id}", "traceId": TRACE, "spanId": s.id, "parentSpanId": s.parent,
        "displayName": {"value": s.name}, "startTime": iso(s.start), "endTime": iso(s.end),
        "attributes": {"attributeMap": {k: typed(v) for k, v in s.attributes.items()}, "droppedAttributesCount": 0},
        "status": {"code": 2, "message": "no"} if s.failed else {},
    } for s in STEPS]})  # fmt: skip


def elastic() -> bytes:
    """Documents of Elastic APM (`traces-apm*`): ids under `trace.id`, lengths in microseconds."""
    rows = []
    for s in STEPS:
        kind = "span" if s.parent else "transaction"
        rows.append({
            "@timestamp": iso(s.start), "timestamp.us": s.start // 1000, "trace.id": TRACE, f"{kind}.id": s.id,
            **({"parent.id": s.parent} if s.parent else {}), f"{kind}.name": s.name,
            f"{kind}.duration.us": s.length // 1000, "event.outcome": "failure" if s.failed else "success",
            "attributes": s.attributes, "service.name": "helper",
        })  # fmt: skip
    return lines(rows)


def honeycomb() -> bytes:
    """Query results of Honeycomb: attributes as columns, `trace.*` ids, `duration_ms`."""
    return dump([{
        "Timestamp": iso(s.start), "trace.trace_id": TRACE, "trace.span_id": s.id, "trace.parent_id": s.parent,
        "name": s.name, "duration_ms": s.length / 1e6, "service.name": "helper", "error": s.failed, **s.attributes,
    } for s in STEPS])  # fmt: skip


def signoz() -> bytes:
    """Rows of SigNoz's `distributed_signoz_index_v3`: attributes in a map a type, `duration_nano`."""
    return lines([{
        "timestamp": iso(s.start)[:-6].replace("T", " "), "trace_id": TRACE, "span_id": s.id,
        "parent_span_id": s.parent, "name": s.name, "kind_string": "Internal", "duration_nano": s.length,
        "status_code": 2 if s.failed else 0, "status_code_string": "Error" if s.failed else "Unset",
        "attributes_string": {k: v for k, v in s.attributes.items() if isinstance(v, str)},
        "attributes_number": {k: v for k, v in s.attributes.items() if isinstance(v, int)}, "attributes_bool": {},
        "resources_string": {"service.name": "helper"},
    } for s in STEPS])  # fmt: skip


def own_table() -> bytes:
    """A table that a team made itself: one row a span, facts as columns, no unit on the length."""
    rows = ["trace_id,span_id,parent_span_id,step,name,start_time,duration,status,model,prompt_tokens,"
            "completion_tokens,cached_tokens,span_type"]  # fmt: skip
    for s in STEPS:
        a, kind = s.attributes, KINDS[s.attributes["gen_ai.operation.name"]]
        usage = [a.get(f"gen_ai.usage.{n}", "") for n in ("input_tokens", "output_tokens", "cache_read.input_tokens")]
        cells = [TRACE, s.id, s.parent, "1", s.name, iso(s.start), s.length / 1e6, "error" if s.failed else "ok",
                 MODEL if kind == "llm" else "", *usage, kind]  # fmt: skip
        rows.append(",".join(map(str, cells)))
    return "\n".join(rows).encode()


def nested() -> bytes:
    """A list of one's own: attributes as nested objects, in an envelope nobody knows."""

    def tree(attributes: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in attributes.items():
            *path, last = name.split(".")
            inner = found
            for part in path:
                inner = inner.setdefault(part, {})
            inner[last] = value
        return found

    return dump({"export": {"made": "today", "content": [{
        "TraceID": TRACE, "SpanID": s.id, "ParentSpanID": s.parent or None, "Name": s.name,
        "StartTime": iso(s.start), "EndTime": iso(s.end), "Attributes": tree(s.attributes),
        "Status": {"Code": "Error" if s.failed else "Unset", "Description": ""},
    } for s in STEPS]}})  # fmt: skip


EXPORTERS: dict[str, Callable[[], bytes]] = {f.__name__: f for f in (
    console, console_lines, clickhouse, log_analytics, cloudwatch, logs_insights, xray, jaeger, jaeger_v2, jaeger_v3,
    otlp, zipkin, openai_agents, braintrust, agenta, google, elastic, honeycomb, signoz, own_table, nested,
)}  # fmt: skip
