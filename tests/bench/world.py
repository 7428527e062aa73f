"""One million requests to measure on.

The sample world repeated with new traces, users and sessions; and an OTLP export.
"""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from sample_data import world

_IDS = ("trace_id", "user_key", "session_id")


def requests(rows: int) -> pa.Table:
    """Canonical requests; users return about twenty times each, as in the sample."""
    base = world.build()["requests"]
    copies = [_renamed(base, i) for i in range(-(-rows // base.num_rows))]
    return pa.concat_tables(copies).slice(0, rows).combine_chunks()


def _renamed(table: pa.Table, copy: int) -> pa.Table:
    for name in _IDS:
        at = table.column_names.index(name)
        marked = pc.binary_join_element_wise(table[name].cast(pa.string()), pa.scalar(f"-{copy}"), "")
        table = table.set_column(at, name, marked)
    return table


def otlp_lines(traces: int, path: Path) -> int:
    """Write an OTLP JSONL export of `traces` traces with three spans each (agent, retrieval, model).

    Returns the spans.
    """
    with path.open("wb") as out:
        for i in range(1, traces + 1):
            out.write(orjson.dumps({"resourceSpans": [_resource(i)]}) + b"\n")
    return 3 * traces


def _resource(i: int) -> dict:
    trace, start = f"{i:032x}", 1_760_000_000_000_000_000 + i * 1_000_000_000
    root, second, third = (f"{3 * i + k + 1:016x}" for k in range(3))
    spans = [
        _span(
            trace,
            root,
            "",
            "invoke_agent",
            start,
            2_500_000_000,
            {
                "gen_ai.operation.name": "invoke_agent",
                "user.id": f"u{i % 50_000}",
                "gen_ai.conversation.id": f"c{i // 3}",
                "app.locale": ("en", "es", "de")[i % 3],
                "app.channel": ("web", "email")[i % 2],
            },
        ),
        _span(
            trace, second, root, "retrieval kb", start + 10_000_000, 180_000_000, {"gen_ai.operation.name": "retrieval"}
        ),
        _span(
            trace,
            third,
            root,
            "chat",
            start + 200_000_000,
            2_200_000_000,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-5-mini",
                "gen_ai.response.model": "gpt-5-mini-2026-01-15",
                "gen_ai.usage.input_tokens": 900 + i % 700,
                "gen_ai.usage.output_tokens": 80 + i % 90,
                "gen_ai.usage.cache_read.input_tokens": 512,
            },
        ),
    ]
    service = {"attributes": _attributes({"service.name": "bot", "service.version": f"2.{i % 4}.0"})}
    return {"resource": service, "scopeSpans": [{"scope": {"name": "bench"}, "spans": spans}]}


def _span(trace: str, span: str, parent: str, name: str, start: int, length: int, attributes: dict) -> dict:
    return {
        "traceId": trace,
        "spanId": span,
        "parentSpanId": parent,
        "name": name,
        "kind": 1,
        "status": {},
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + length),
        "attributes": _attributes(attributes),
    }


def _attributes(values: dict) -> list[dict]:
    return [
        {"key": k, "value": {"intValue": str(v)} if isinstance(v, int) else {"stringValue": v}}
        for k, v in values.items()
    ]
