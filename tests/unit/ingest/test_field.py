"""Exports as people have them: each with its right answer, by hand from the file, and the kind it stands for."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import pytest

from kpi.pricing.price_file import table_of
from tests.unit.ingest.formats.helpers import read_all, requests_of

PYDANTIC = {"requests": 1, "input_tokens": 1_251, "output_tokens": 78, "usd": 0.0054153}
SPANS4 = {**PYDANTIC, "spans": 4, "p50_s": 4.518945, "llm_calls": 2, "tool_calls": 1, "unstated": "success"}
ADK = {
    "requests": 1, "spans": 7, "input_tokens": 379, "output_tokens": 84, "reasoning_tokens": 52, "llm_calls": 2,
    "tool_calls": 1, "usd": 0.0013245,
}  # fmt: skip
CLAUDE = {
    "requests": 1, "spans": 8, "input_tokens": 32_312, "output_tokens": 767, "usd": 0.0712653, "tool_calls": 4,
    "cost_source": "reported",
}  # fmt: skip
CLAUDE_CODE = {
    "requests": 1, "input_tokens": 184_533, "cached_read_tokens": 176_220, "cache_write_tokens": 8_306,
    "output_tokens": 1_500,
}  # fmt: skip
GATEWAY = {"unstated": "success"}
RIGHT: dict[str, dict[str, Any]] = {
    # a total in the span tells whether reasoning lies beside the output
    "adk-thinking/adk-otlp.json": ADK,
    "adk-thinking/adk-1.26-otlp.json": ADK,
    # a list of span objects is spans, whatever tool wrote it, in whatever envelope
    "adk-thinking/adk-native.json": ADK,
    "span-dict-table/adk-native.json": ADK,
    "claude-agent-sdk/claude-adot-otlp.json": CLAUDE,
    "claude-agent-sdk/claude-adot-native.json": CLAUDE,
    "jaeger-genai/jaeger.json": {
        "requests": 1, "spans": 57, "input_tokens": 8_280, "output_tokens": 1_180, "cached_read_tokens": 4_140,
        "llm_calls": 5, "p50_s": 44.0,
    },
    # rows of a table are spans: units and times of their exporter, the status of a call is no task success
    "clickhouse-otel-traces/one-call-traces.jsonl": {"requests": 30, "spans": 30, "p50_s": 2.6, "usd": 0.084447},
    "clickhouse-otel-traces/otel_traces.jsonl": SPANS4,
    "appinsights/dependencies.csv": SPANS4,
    "appinsights/dependencies-iso.csv": SPANS4,
    # attributes without a prefix, and agents that report in log events
    "claude-code-otel/traces.json": {**CLAUDE_CODE, "tool_calls": 1, "ttft_s": 23.1, "usd": 0.1775575},
    "claude-code-otel/logs.json": {**CLAUDE_CODE, "llm_calls": 2, "cost_source": "reported"},
    # JSON documents after each other
    "gemini-cli/telemetry.log": {
        "requests": 1, "llm_calls": 1, "input_tokens": 12_000, "cached_read_tokens": 8_000, "output_tokens": 770,
        "reasoning_tokens": 420, "model_us": 2_900_000,
    },
    # money in cents; HTTP success is no task success
    "portkey-cents/portkey.jsonl": {
        "requests": 30, "input_tokens": 30_000, "output_tokens": 6_000, "usd": 0.135, "error": 3, **GATEWAY,
    },
    "portkey-cents/portkey-600.jsonl": {
        "requests": 600, "input_tokens": 600_000, "output_tokens": 120_000, "usd": 2.7, "error": 60, **GATEWAY,
    },
    # a pending copy of a span is no span
    "logfire-pending/with-pending.json": SPANS4,
    "logfire-pending/without.json": SPANS4,
    "logfire-pending/one-call.json": {"requests": 1, "spans": 1, "llm_calls": 1, "ttft_s": 0.5},
    "logfire-pending/one-call-pending.json": {"requests": 1, "spans": 1, "llm_calls": 1, "ttft_s": 0.5},
    # cache and reasoning inside or beside
    "vercel-v6-cachewrite/ai-v6.json": {
        "requests": 1, "input_tokens": 9_191, "cached_read_tokens": 4_429, "cache_write_tokens": 4_761,
        "output_tokens": 93, "usd": 0.02058,
    },
    "gemini-reasoning-additive/vertex.json": {"requests": 1, "output_tokens": 339, "usd": 0.003515},
    "gemini-reasoning-additive/vertex-le.json": {"requests": 1, "output_tokens": 200, "usd": 0.002125},
    # usage on parent and child counts once; first token where the SDK writes it
    "ttft-client-attr/ai-sdk-7.json": {"requests": 1, "input_tokens": 20, "output_tokens": 32, "ttft_s": 2.55},
    "dup-spans-29x/dup.json": {
        "requests": 1, "llm_calls": 1, "input_tokens": 1_000, "output_tokens": 100, "usd": 0.0035,
    },
    "maf-last-call/maf.json": {"requests": 1, "input_tokens": 4_808, "output_tokens": 291},
    # a gateway's own rows
    "openrouter-generation/generations.jsonl": {
        "requests": 30, "input_tokens": 30 * 4_804, "output_tokens": 30 * 188, "cached_read_tokens": 30 * 4_324,
        "reasoning_tokens": 30 * 20, "providers": {"anthropic"}, "users": 4, "usd": 30 * 0.0126, **GATEWAY,
    },
    # 64-bit numbers of JavaScript
    "otel-js-long/long.json": SPANS4,
    "pydantic-ai/pydantic-otlp.json": SPANS4,
    "pydantic-ai/smolagents_live_spans.otlp.json": {"requests": 1, "input_tokens": 6_256, "output_tokens": 163},
    "pydantic-ai/openai_agents_openinference_adot_spans.otlp.json": {
        "requests": 1, "input_tokens": 692, "output_tokens": 107, "tool_calls": 2, "tool_errors": 1,
    },
}  # fmt: skip


def told(path: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """What `wanted` names, as the file gives it."""
    tables, receipt = read_all([path])
    rows = list(requests_of(tables, prices=table_of("")).values())

    def known(name: str) -> list[Any]:
        return [r[name] for r in rows if r.get(name) is not None]

    ask = {
        "requests": lambda: len(rows),
        "spans": lambda: receipt.spans,
        "usd": lambda: sum(known("total_nusd")) / 1e9,
        "p50_s": lambda: median(known("total_us")) / 1e6,
        "ttft_s": lambda: median(known("ttft_us")) / 1e6,
        "cost_source": lambda: next(iter(known("cost_source"))),
        "providers": lambda: set(known("provider")),
        "users": lambda: len(set(known("user_key"))),
        "unstated": lambda: wanted["unstated"] if not known(wanted["unstated"]) else "stated",
    }
    return {name: ask[name]() if name in ask else sum(known(name)) for name in wanted}


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_the_right_answer(name: str, shared: Path) -> None:
    wanted = RIGHT[name]
    found = told(shared / "data/field" / name, wanted)
    assert found == {k: pytest.approx(v, rel=0.002) if isinstance(v, float) else v for k, v in wanted.items()}
