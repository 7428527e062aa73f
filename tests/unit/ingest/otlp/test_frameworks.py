"""One run of each framework as its instrumentation writes it, and the exports of the field: numbers worked out by hand.

Where a run rests on no genuine file, its attributes were read in the source or the documentation of the
instrumentation; ids, times and numbers are made up. A span is (name, parent, milliseconds, attributes).
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kpi.assembly.requests import assemble
from kpi.pricing.price_file import table_of
from kpi.receipts import Receipt
from tests.unit.span_loading import load, message, one, span

Row = dict[str, Any]
FIELD = "data/field"
CHAT = {"gen_ai.operation.name": "chat"}
AGENT = {"gen_ai.operation.name": "invoke_agent"}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}


class Run(NamedTuple):
    """spans: (attributes, parent by number from 1, start and end in milliseconds). expected: columns of the request."""

    spans: list[tuple[Row, int | None, int, int]]
    expected: Row
    scope: str = ""
    version: str = ""


VERCEL = {"ai.model.id": "m", "ai.model.provider": "anthropic.messages"}
HAYSTACK = {
    "replies": [{"content": "Hi", "meta": {"model": "gpt-4o-mini-2024", "usage": {
        "prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 8}}}}]
}  # fmt: skip
RUNS = {
    # AI SDK 5 hands through what Anthropic counts: the 400 cached lie beside the 1,000, its total leaves them out.
    "vercel 5": Run(
        [({**VERCEL, "ai.operationId": "ai.streamText", "ai.usage.inputTokens": 1000, "ai.usage.outputTokens": 200,
           "ai.usage.totalTokens": 1200, "ai.usage.cachedInputTokens": 400}, None, 0, 2000),
         ({**VERCEL, "ai.operationId": "ai.streamText.doStream", "ai.usage.inputTokens": 1000,
           "ai.usage.outputTokens": 200, "ai.usage.totalTokens": 1200, "ai.usage.cachedInputTokens": 400,
           "ai.response.msToFirstChunk": 250, "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 200},
          1, 100, 1900)],
        {"input_tokens": 1400, "output_tokens": 200, "cached_read_tokens": 400, "llm_calls": 1, "ttft_us": 350_000},
        scope="ai",
    ),
    # AI SDK 6: the input is a total of every part.
    "vercel 6": Run(
        [({**VERCEL, "ai.operationId": "ai.generateText", "ai.usage.inputTokens": 1000}, None, 0, 2000),
         ({**VERCEL, "ai.operationId": "ai.generateText.doGenerate", "ai.usage.inputTokens": 1000,
           "ai.usage.outputTokens": 100, "ai.usage.inputTokenDetails.cacheReadTokens": 400,
           "ai.usage.outputTokenDetails.textTokens": 60, "ai.usage.outputTokenDetails.reasoningTokens": 40},
          1, 100, 1900),
         ({"ai.operationId": "ai.toolCall", "ai.toolCall.name": "weather"}, 1, 1900, 1950)],
        {"input_tokens": 1000, "output_tokens": 100, "cached_read_tokens": 400, "reasoning_tokens": 40,
         "llm_calls": 1, "tool_calls": 1},
        scope="ai",
    ),
    # AI SDK 7: the names of the conventions, with a step between agent and call.
    "vercel 7": Run(
        [({**AGENT, "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 30}, None, 0, 2000),
         ({"gen_ai.operation.name": "agent_step", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 30,
           "gen_ai.usage.output_tokens": 5}, 1, 0, 2000),
         ({**CHAT, "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 30, "gen_ai.usage.output_tokens": 5,
           "gen_ai.client.operation.time_to_first_chunk": 0.4}, 2, 100, 1500),
         (TOOL, 2, 1500, 1900)],
        {"input_tokens": 30, "output_tokens": 5, "llm_calls": 1, "tool_calls": 1, "ttft_us": 500_000},
        scope="gen_ai",
    ),
    # Bedrock's total counts the cache: 4,299 + 35,574 + 17,787 + 631 = 58,291. First token in milliseconds.
    "strands": Run(
        [({**AGENT, "gen_ai.usage.input_tokens": 4299, "gen_ai.usage.output_tokens": 631}, None, 0, 2000),
         ({"event_loop.cycle_id": "1"}, 1, 0, 2000),
         ({**CHAT, "gen_ai.system": "strands-agents", "gen_ai.usage.prompt_tokens": 4299,
           "gen_ai.usage.input_tokens": 4299, "gen_ai.usage.completion_tokens": 631,
           "gen_ai.usage.output_tokens": 631, "gen_ai.usage.total_tokens": 58291,
           "gen_ai.usage.cache_read_input_tokens": 35574, "gen_ai.usage.cache_write_input_tokens": 17787,
           "gen_ai.server.time_to_first_token": 450}, 2, 0, 1800),
         ({**TOOL, "gen_ai.tool.call.id": "t"}, 2, 1800, 1900)],
        {"input_tokens": 57660, "output_tokens": 631, "cached_read_tokens": 35574, "cache_write_tokens": 17787,
         "llm_calls": 1, "tool_calls": 1, "ttft_us": 450_000},
        scope="strands.telemetry.tracer", version="1.15.0",
    ),
    # Before 2.0 the spans of agents and tools name no operation, and the agent states the sum under the call's names.
    "pydantic-ai 1": Run(
        [({"agent_name": "agent", "model_name": "gpt-4o", "gen_ai.usage.input_tokens": 300,
           "gen_ai.usage.output_tokens": 40, "final_result": "62 degrees"}, None, 0, 2000),
         ({**CHAT, "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 100,
           "gen_ai.usage.output_tokens": 30, "gen_ai.usage.details.reasoning_tokens": 20, "operation.cost": 0.25},
          1, 0, 900),
         ({"gen_ai.tool.name": "weather", "gen_ai.tool.call.id": "t", "tool_arguments": "{}"}, 1, 900, 1000),
         ({**CHAT, "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 200,
           "gen_ai.usage.output_tokens": 10, "gen_ai.usage.details.cached_tokens": 90, "operation.cost": 0.5},
          1, 1000, 1900)],
        {"input_tokens": 300, "output_tokens": 40, "cached_read_tokens": 90, "reasoning_tokens": 20, "llm_calls": 2,
         "tool_calls": 1, "total_nusd": 750_000_000, "output_text": "62 degrees"},
        scope="pydantic-ai", version="1.0.0",
    ),
    "pydantic-ai 2": Run(
        [({**AGENT, "gen_ai.aggregated_usage.input_tokens": 100, "gen_ai.aggregated_usage.output_tokens": 30},
          None, 0, 2000),
         ({**CHAT, "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 30}, 1, 0, 900)],
        {"input_tokens": 100, "output_tokens": 30, "llm_calls": 1}, scope="pydantic-ai", version="2.9.1",
    ),
    "semantic kernel before 1.20": Run(
        [({"gen_ai.operation.name": "chat.completions", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o",
           "gen_ai.response.prompt_tokens": 16, "gen_ai.response.completion_tokens": 28,
           "gen_ai.response.finish_reason": "Stop"}, None, 0, 2400)],
        {"input_tokens": 16, "output_tokens": 28, "llm_calls": 1, "provider": "openai"},
        scope="Microsoft.SemanticKernel.Diagnostics",
    ),
    "litellm": Run(
        [({"metadata.user_api_key_alias": "k"}, None, 0, 2000),
         ({"gen_ai.request.model": "gpt-4o", "llm.request.type": "acompletion", "gen_ai.system": "openai",
           "gen_ai.usage.prompt_tokens": 50, "gen_ai.usage.completion_tokens": 7, "gen_ai.usage.total_tokens": 57,
           "gen_ai.cost.input_cost": 0.2, "gen_ai.cost.output_cost": 0.05, "gen_ai.cost.total_cost": 0.25},
          1, 0, 1900),
         ({"llm.openai.model": "gpt-4o"}, 2, 0, 1900)],
        {"input_tokens": 50, "output_tokens": 7, "llm_calls": 1, "total_nusd": 250_000_000}, scope="litellm",
    ),
    "litellm 2": Run(
        [({**CHAT, "gen_ai.provider.name": "anthropic", "gen_ai.usage.input_tokens": 50,
           "gen_ai.usage.output_tokens": 7, "gen_ai.usage.cache_read.input_tokens": 40,
           "litellm.cost.total": 0.25}, None, 0, 1900)],
        {"input_tokens": 50, "output_tokens": 7, "llm_calls": 1, "total_nusd": 250_000_000}, scope="litellm",
    ),
    "openrouter": Run(
        [({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "Anthropic",
           "gen_ai.request.model": "anthropic/claude-sonnet-4.5", "gen_ai.usage.input_tokens": 150,
           "gen_ai.usage.output_tokens": 50, "gen_ai.usage.input_tokens.cached": 100,
           "gen_ai.usage.input_tokens.cache_write": 20, "gen_ai.usage.output_tokens.reasoning": 5,
           "gen_ai.usage.input_cost": 0.2, "gen_ai.usage.output_cost": 0.05, "gen_ai.usage.total_cost": 0.25},
          None, 0, 2500)],
        {"input_tokens": 150, "output_tokens": 50, "cached_read_tokens": 100, "cache_write_tokens": 20,
         "reasoning_tokens": 5, "llm_calls": 1, "total_nusd": 250_000_000, "provider": "anthropic"},
        scope="broadcast", version="1.0",
    ),
    # A failed tool of Claude Code is told by the span of its run alone, with `success`.
    "claude code, a failed tool": Run(
        [({"span.type": "interaction", "session.id": "s"}, None, 0, 2000),
         ({"span.type": "llm_request", "model": "claude-opus-5", "input_tokens": 5, "output_tokens": 20,
           "cache_read_tokens": 100, "cache_creation_tokens": 10, "ttft_ms": 300, "success": True}, 1, 0, 900),
         ({"span.type": "tool", "tool_name": "Bash", "tool_use_id": "t"}, 1, 900, 1900),
         ({"span.type": "tool.blocked_on_user", "decision": "accept"}, 3, 900, 1000),
         ({"span.type": "tool.execution", "success": False, "error": "exit 1"}, 3, 1000, 1900)],
        {"input_tokens": 115, "output_tokens": 20, "llm_calls": 1, "tool_calls": 1, "tool_errors": 1,
         "ttft_us": 300_000, "error": False, "model": "claude-opus-5"},
        scope="com.anthropic.claude_code.tracing", version="2.1.266",
    ),
    "openlit": Run(
        [({**CHAT, "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 50,
           "gen_ai.usage.output_tokens": 7, "gen_ai.client.token.usage": 57, "gen_ai.usage.cost": 0.25,
           "gen_ai.request.is_stream": True, "gen_ai.server.time_to_first_token": 0.3}, None, 0, 1900)],
        {"input_tokens": 50, "output_tokens": 7, "llm_calls": 1, "total_nusd": 250_000_000, "ttft_us": 300_000},
        scope="openlit.otel.tracing",
    ),
    "traceloop": Run(
        [({"traceloop.span.kind": "workflow", "traceloop.entity.name": "w"}, None, 0, 2000),
         ({"traceloop.span.kind": "task", "traceloop.entity.name": "t"}, 1, 0, 2000),
         ({"llm.request.type": "chat", "gen_ai.system": "Anthropic", "gen_ai.request.model": "claude-sonnet-4-5",
           "gen_ai.usage.prompt_tokens": 150, "gen_ai.usage.completion_tokens": 7, "llm.usage.total_tokens": 157,
           "gen_ai.usage.cache_read_input_tokens": 100}, 2, 0, 1900),
         ({"traceloop.span.kind": "tool", "traceloop.entity.name": "weather"}, 2, 1900, 1950)],
        {"input_tokens": 150, "output_tokens": 7, "cached_read_tokens": 100, "llm_calls": 1, "tool_calls": 1},
        scope="opentelemetry.instrumentation.anthropic", version="0.40.0",
    ),
    # AutoGen writes agents and tools in the conventions' names, the instrumentation of OpenAI the calls.
    "autogen": Run(
        [({"gen_ai.operation.name": "create_agent", "gen_ai.system": "autogen"}, None, 0, 10),
         ({**AGENT, "gen_ai.system": "autogen", "gen_ai.agent.name": "writer"}, None, 10, 2000),
         ({**CHAT, "gen_ai.system": "openai", "gen_ai.usage.input_tokens": 50, "gen_ai.usage.output_tokens": 7},
          2, 10, 900),
         ({**TOOL, "gen_ai.system": "autogen"}, 2, 900, 1000)],
        {"input_tokens": 50, "output_tokens": 7, "llm_calls": 1, "tool_calls": 1}, scope="autogen-core",
    ),
    "crewai": Run(
        [({"openinference.span.kind": "CHAIN", "crew_key": "c"}, None, 0, 2000),
         ({"openinference.span.kind": "AGENT", "task_key": "t"}, 1, 0, 2000),
         ({"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 50,
           "llm.token_count.completion": 7, "llm.token_count.total": 57,
           "llm.token_count.completion_details.reasoning": 5}, 2, 0, 900),
         ({"openinference.span.kind": "TOOL", "tool.name": "weather"}, 2, 900, 1000)],
        {"input_tokens": 50, "output_tokens": 7, "reasoning_tokens": 5, "llm_calls": 1, "tool_calls": 1},
        scope="openinference.instrumentation.crewai",
    ),
    "llama index": Run(
        [({"openinference.span.kind": "CHAIN"}, None, 0, 2000),
         ({"openinference.span.kind": "RETRIEVER", "retrieval.documents.0.document.id": "d"}, 1, 0, 500),
         ({"openinference.span.kind": "EMBEDDING", "embedding.model_name": "e", "llm.token_count.prompt": 4},
          2, 0, 100),
         ({"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 50,
           "llm.token_count.completion": 7, "llm.token_count.total": 57}, 1, 500, 1900)],
        {"input_tokens": 50, "output_tokens": 7, "llm_calls": 1, "retrieved_docs": 1, "model": "gpt-4o"},
        scope="openinference.instrumentation.llama_index",
    ),
    # Haystack keeps usage in the answer of the component, where the tracing of contents is on.
    "haystack": Run(
        [({"haystack.pipeline.input_data": "{}"}, None, 0, 2000),
         ({"haystack.component.type": "InMemoryBM25Retriever", "haystack.component.name": "r"}, 1, 0, 500),
         ({"haystack.component.type": "OpenAIChatGenerator", "haystack.component.name": "llm",
           "haystack.component.output": json.dumps(HAYSTACK)}, 1, 500, 1900)],
        {"input_tokens": 12, "output_tokens": 3, "cached_read_tokens": 8, "llm_calls": 1,
         "model": "gpt-4o-mini-2024"},
        scope="haystack",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_each_framework(name: str) -> None:
    run = RUNS[name]
    spans = []
    for number, (attributes, parent, start, end) in enumerate(run.spans, 1):
        above = run.spans[parent - 1][0].get("span.type", "span") if parent else ""
        title = f"claude_code.{attributes['span.type']}" if "span.type" in attributes else f"span {above}"
        spans.append(span(number, parent, start=start, end=end, attributes=attributes, name=title))
    receipt = Receipt()
    rows = load(message(spans, scope=run.scope, version=run.version), receipt=receipt)
    request = assembled(rows)
    assert {column: request.get(column) for column in run.expected} == run.expected
    assert receipt.unread == []


def assembled(rows: dict[str, list[Row]]) -> Row:
    """The one request of these rows, priced by the table of the package."""
    parts: dict[str, list[Row]] = defaultdict(list, rows)
    assert len({row["trace_id"] for row in parts["spans"]}) == 1
    return assemble(**{n: found for n, found in parts.items() if n != "requests"}, prices=table_of(""))


# The right answers of the files' own list.
FILES: dict[str, Row] = {
    "adk-thinking/adk-otlp.json": {
        "input_tokens": 379, "output_tokens": 84, "reasoning_tokens": 52, "llm_calls": 2, "tool_calls": 1,
        "total_nusd": 1_324_500},
    "adk-thinking/adk-1.26-otlp.json": {
        "input_tokens": 379, "output_tokens": 84, "reasoning_tokens": 52, "llm_calls": 2, "tool_calls": 1,
        "total_nusd": 1_324_500},
    "claude-agent-sdk/claude-adot-otlp.json": {
        "input_tokens": 32_312, "output_tokens": 767, "tool_calls": 4, "total_nusd": 71_265_300,
        "cost_source": "reported", "llm_calls": None},
    "claude-code-otel/traces.json": {
        "input_tokens": 184_533, "cached_read_tokens": 176_220, "cache_write_tokens": 8306, "output_tokens": 1500,
        "tool_calls": 1, "llm_calls": 2, "ttft_us": 23_100_000, "total_nusd": 177_557_500},
    "gemini-reasoning-additive/vertex.json": {"output_tokens": 339, "total_nusd": 3_515_000},
    "gemini-reasoning-additive/vertex-le.json": {"output_tokens": 200, "total_nusd": 2_125_000},
    "vercel-v6-cachewrite/ai-v6.json": {
        "input_tokens": 9191, "cached_read_tokens": 4429, "cache_write_tokens": 4761, "output_tokens": 93,
        "total_nusd": 20_580_450},
    "ttft-client-attr/ai-sdk-7.json": {"input_tokens": 20, "output_tokens": 32, "ttft_us": 2_550_000},
    "otel-js-long/long.json": {"input_tokens": 1251, "output_tokens": 78, "total_nusd": 5_415_300},
    "logfire-pending/with-pending.json": {
        "input_tokens": 1251, "output_tokens": 78, "llm_calls": 2, "tool_calls": 1, "total_nusd": 5_415_300},
    "logfire-pending/one-call-pending.json": {"ttft_us": 500_000, "model": "gpt-4o-2024-08-06", "llm_calls": 1},
    "pydantic-ai/pydantic-otlp.json": {"input_tokens": 1251, "output_tokens": 78, "total_nusd": 5_415_300},
    "pydantic-ai/smolagents_live_spans.otlp.json": {"input_tokens": 6256, "output_tokens": 163, "llm_calls": 2},
    "pydantic-ai/openai_agents_openinference_adot_spans.otlp.json": {
        "input_tokens": 692, "output_tokens": 107, "tool_calls": 2, "tool_errors": 1},
    "dup-spans-29x/dup.json": {"input_tokens": 1000, "output_tokens": 100, "llm_calls": 1, "total_nusd": 3_500_000},
    "maf-last-call/maf.json": {"input_tokens": 4808, "output_tokens": 291, "llm_calls": 2},
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_an_export_of_the_field_gives_its_right_answer(shared: Path, name: str) -> None:
    receipt = Receipt()
    request = assembled(load(shared / FIELD / name, receipt=receipt))
    assert {column: request[column] for column in FILES[name]} == FILES[name]
    assert (receipt.dropped, receipt.unread) == (0, [])


def test_an_agent_that_hides_its_calls_has_an_unknown_number_of_them() -> None:
    hidden = one(span(1, attributes={**AGENT, "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2}))
    assert (hidden["input_tokens"], hidden["llm_calls"]) == (10, None)
    assert one(span(1, attributes=AGENT))["llm_calls"] == 0
    assert one(span(1, attributes={"gen_ai.operation.name": "embeddings", "input_tokens": 4}))["llm_calls"] == 0


def test_a_wrapper_completes_its_one_call_and_no_other() -> None:
    """Of the call 19 out; of the wrapper 19 and 32 of thought beside: 51 out. Of two calls nothing is known of each."""
    call = {**CHAT, "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 19}
    wrapper = {**call, "gen_ai.usage.reasoning_tokens": 32, "gen_ai.usage.total_tokens": 151}
    found = one(span(1, attributes=wrapper), span(2, 1, attributes=call))
    assert (found["output_tokens"], found["reasoning_tokens"], found["llm_calls"]) == (51, 32, 1)
    two = one(span(1, attributes=wrapper), span(2, 1, attributes=call), span(3, 1, attributes=call))
    assert (two["output_tokens"], two["reasoning_tokens"]) == (38, None)
    other = one(span(1, attributes={**wrapper, "gen_ai.usage.output_tokens": 900}), span(2, 1, attributes=call))
    assert (other["output_tokens"], other["reasoning_tokens"]) == (19, None)


def test_a_wrapper_completes_the_cache_of_its_call() -> None:
    call = {**CHAT, "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 19}
    wrapper = {**call, "gen_ai.usage.cache_read_input_tokens": 60, "gen_ai.usage.total_tokens": 119}
    found = one(span(1, attributes=wrapper), span(2, 1, attributes=call))
    assert (found["input_tokens"], found["cached_read_tokens"]) == (100, 60)
