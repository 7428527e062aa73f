"""The spellings of the field, one case each: tokens, cost, first token, kinds, model, provider, session, user.

Names were read in the sources or the documentation of the instrumentations; the values are made up.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.span_loading import load, message, span

Row = dict[str, Any]
CALL = {"gen_ai.operation.name": "chat"}


def row(attributes: Row, *, scope: str = "", **more: Any) -> Row:
    """The row of one span of a second."""
    (found,) = load(message([span(1, attributes=attributes, **more)], scope=scope))["spans"]
    return found


COUNTS = {
    "input_tokens": """
        gen_ai.usage.input_tokens gen_ai.usage.prompt_tokens llm.token_count.prompt ai.usage.inputTokens
        ai.usage.promptTokens ai.usage.tokens llm.usage.prompt_tokens gen_ai.response.prompt_tokens
        gen_ai.aggregated_usage.input_tokens input_tokens prompt_tokens usage.input_tokens promptTokenCount""",
    "output_tokens": """
        gen_ai.usage.output_tokens gen_ai.usage.completion_tokens llm.token_count.completion ai.usage.outputTokens
        ai.usage.completionTokens llm.usage.completion_tokens gen_ai.response.completion_tokens
        gen_ai.aggregated_usage.output_tokens output_tokens completion_tokens usage.output_tokens
        candidatesTokenCount""",
    "cached_read_tokens": """
        gen_ai.usage.cache_read.input_tokens gen_ai.usage.cache_read_input_tokens
        llm.token_count.prompt_details.cache_read llm.token_count.prompt_details.cache_input
        ai.usage.cachedInputTokens ai.usage.inputTokenDetails.cacheReadTokens llm.usage.cache_read_input_tokens
        gen_ai.usage.input_tokens.cached gen_ai.usage.cached_tokens gen_ai.usage.cached_input_tokens
        gen_ai.usage.details.cache_read_tokens gen_ai.usage.details.cached_content_tokens
        gen_ai.usage.prompt_tokens_details.cached_tokens anthropic.cache_read_input_tokens
        gen_ai.aggregated_usage.cache_read.input_tokens cache_read_tokens cache_read_input_tokens cachedInputTokens
        prompt_tokens_details.cached_tokens cachedContentTokenCount""",
    "cache_write_tokens": """
        gen_ai.usage.cache_write.input_tokens gen_ai.usage.cache_creation.input_tokens
        gen_ai.usage.cache_creation_input_tokens gen_ai.usage.cache_write_input_tokens
        llm.token_count.prompt_details.cache_write ai.usage.inputTokenDetails.cacheWriteTokens
        llm.usage.cache_creation_input_tokens gen_ai.usage.input_tokens.cache_write
        gen_ai.usage.details.cache_write_tokens gen_ai.usage.cache_creation_tokens
        anthropic.cache_creation_input_tokens cache_creation_tokens cache_creation_input_tokens""",
    "reasoning_tokens": """
        gen_ai.usage.reasoning.output_tokens gen_ai.usage.reasoning_tokens
        llm.token_count.completion_details.reasoning ai.usage.reasoningTokens
        ai.usage.outputTokenDetails.reasoningTokens llm.usage.reasoning_tokens gen_ai.usage.output_tokens.reasoning
        gen_ai.usage.experimental.reasoning_tokens gen_ai.usage.reasoning_output_tokens
        gen_ai.usage.details.reasoning_tokens gen_ai.usage.details.thinking_tokens
        gen_ai.usage.details.thoughts_tokens gen_ai.usage.completion_tokens_details.reasoning_tokens
        openai.reasoning_tokens reasoning_tokens thoughtsTokenCount""",
}


@pytest.mark.parametrize(("field", "name"), [(f, n) for f, names in COUNTS.items() for n in names.split()])
def test_a_count_is_read_under_every_name(field: str, name: str) -> None:
    found = row({**CALL, name: 7})
    assert {f: found[f] for f in COUNTS} == {**dict.fromkeys(COUNTS), field: 7}


@pytest.mark.parametrize("name", ["input_tokens", "prompt_tokens", "usage.input_tokens"])
def test_a_name_without_a_namespace_counts_of_a_model_call_alone(name: str) -> None:
    assert row({name: 7})["input_tokens"] is None
    assert row({"openinference.span.kind": "TOOL", name: 7})["input_tokens"] is None


OBJECTS: list[tuple[Row, dict[str, int | None]]] = [
    ({"gen_ai.usage": '{"input_tokens": 10, "output_tokens": 4}'}, {"input_tokens": 10, "output_tokens": 4}),
    ({"mlflow.chat.tokenUsage": '{"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}'},
     {"input_tokens": 10, "output_tokens": 4}),
    ({"llm.usage": '{"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 6}}'},
     {"input_tokens": 10, "output_tokens": 4, "cached_read_tokens": 6}),
    ({"gen_ai.usage.input_tokens": 10, "gen_ai.usage.input_token_details": '{"cache_read": 6}'},
     {"input_tokens": 10, "cached_read_tokens": 6}),
    # Gemini's own usage, as Google ADK keeps it: 10 + 4 + 5 = 19, so the thoughts lie beside the candidates.
    ({"gcp.vertex.agent.llm_response": '{"content": {}, "usage_metadata": {"prompt_token_count": 10,'
      ' "candidates_token_count": 4, "thoughts_token_count": 5, "total_token_count": 19}}'},
     {"input_tokens": 10, "output_tokens": 9, "reasoning_tokens": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("attributes", "expected"), OBJECTS)
def test_a_usage_object_is_read(attributes: Row, expected: dict[str, int | None]) -> None:
    found = row({**CALL, **attributes})
    assert {f: found[f] for f in COUNTS} == {**dict.fromkeys(COUNTS), **expected}


COSTS = """
    llm.cost.total gen_ai.usage.cost gen_ai.usage.total_cost gen_ai.cost.total operation.cost gen_ai.cost.total_cost
    litellm.cost.total gen_ai.usage.cost.total gen_ai.usage.cost_usd gen_ai.cost.usd llm.usage.total_cost cost_usd
"""


@pytest.mark.parametrize("name", COSTS.split())
def test_a_cost_is_read_under_every_name(name: str) -> None:
    assert row({**CALL, name: 0.25})["cost_nusd"] == 250_000_000


@pytest.mark.parametrize(
    ("one", "two"),
    [("llm.cost.prompt", "llm.cost.completion"), ("gen_ai.usage.input_cost", "gen_ai.usage.output_cost"),
     ("gen_ai.cost.input_cost", "gen_ai.cost.output_cost"),
     ("gen_ai.usage.cost.prompt", "gen_ai.usage.cost.completion")],
)  # fmt: skip
def test_parts_of_a_cost_are_a_cost_where_there_is_no_total(one: str, two: str) -> None:
    assert row({**CALL, one: 0.25, two: 0.5})["cost_nusd"] == 750_000_000
    assert row({**CALL, one: 0.25})["cost_nusd"] is None
    assert row({**CALL, one: 0.25, two: 0.5, "llm.cost.total": 1})["cost_nusd"] == 1_000_000_000


FIRST_TOKENS: list[tuple[str, Any, str]] = [
    ("gen_ai.response.time_to_first_chunk", 0.25, ""),
    ("gen_ai.server.time_to_first_token", 0.25, ""),
    ("gen_ai.server.time_to_first_token", 250, "strands.telemetry.tracer"),
    ("gen_ai.latency.time_to_first_token", 0.25, ""),
    ("gen_ai.client.operation.time_to_first_chunk", 0.25, ""),
    ("gen_ai.server.ttft", 0.25, ""),
    ("ai.response.msToFirstChunk", 250.0, ""),
    ("ai.stream.msToFirstChunk", 250.0, ""),
    ("copilot_chat.time_to_first_token", 250, ""),
    ("gen_ai.server.ttft_ms", 250, ""),
    ("ttft_ms", 250, "com.anthropic.claude_code.tracing"),
    ("time_to_first_token", "0.25", ""),
]


@pytest.mark.parametrize(("name", "value", "scope"), FIRST_TOKENS)
def test_a_first_token_is_read_in_its_unit(name: str, value: Any, scope: str) -> None:
    assert row({**CALL, name: value}, scope=scope)["ttft_us"] == 250_000


def test_milliseconds_under_a_name_of_seconds_are_told_by_the_length_of_the_span() -> None:
    """250 s after the start of a span of one second is no first token; 250 ms is."""
    assert row({**CALL, "gen_ai.server.time_to_first_token": 250})["ttft_us"] == 250_000
    assert row({**CALL, "gen_ai.server.time_to_first_token": 1.1})["ttft_us"] is None


KINDS: list[tuple[Row, str]] = [
    ({"gen_ai.operation.name": "chat"}, "llm"),
    ({"gen_ai.operation.name": "Chat"}, "llm"),
    ({"gen_ai.operation.name": "chat.completions"}, "llm"),
    ({"gen_ai.operation.name": "text.completions"}, "llm"),
    ({"gen_ai.operation.name": "responses", "gen_ai.request.model": "m"}, "llm"),
    ({"gen_ai.operation.name": "embeddings"}, "embedding"),
    ({"gen_ai.operation.name": "execute_tool"}, "tool"),
    ({"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "m"}, "agent"),
    ({"gen_ai.operation.name": "create_agent"}, "agent"),
    ({"gen_ai.operation.name": "agent_step", "gen_ai.request.model": "m"}, "chain"),
    ({"gen_ai.operation.name": "retrieval"}, "retriever"),
    ({"gen_ai.span.kind": "LLM"}, "llm"),
    ({"gen_ai.span.kind": "TASK"}, "chain"),
    ({"aws.genai.span_kind": "TOOL"}, "tool"),
    ({"mlflow.spanType": '"CHAT_MODEL"'}, "llm"),
    ({"langsmith.span.kind": "retriever"}, "retriever"),
    ({"lmnr.span.type": "TOOL"}, "tool"),
    ({"span.type": "llm_request"}, "llm"),
    ({"span.type": "tool", "tool_name": "Bash"}, "tool"),
    ({"span.type": "tool.execution"}, "other"),
    ({"span.type": "tool.blocked_on_user"}, "other"),
    ({"span.type": "interaction"}, "agent"),
    ({"span.type": "web"}, "other"),
    ({"llm.request.type": "acompletion"}, "llm"),
    ({"llm.request.type": "aembedding"}, "embedding"),
    ({"ai.operationId": "ai.streamText.doStream"}, "llm"),
    ({"ai.operationId": "ai.streamText"}, "chain"),
    ({"ai.operationId": "ai.toolCall"}, "tool"),
    ({"ai.operationId": "ai.embedMany.doEmbed"}, "embedding"),
    ({"haystack.component.type": "OpenAIChatGenerator"}, "llm"),
    ({"haystack.component.type": "OpenAITextEmbedder"}, "embedding"),
    ({"haystack.component.type": "InMemoryBM25Retriever"}, "retriever"),
    ({"haystack.component.type": "PromptBuilder"}, "chain"),
    ({"gen_ai.tool.name": "search", "tool_arguments": "{}"}, "tool"),
    ({"agent_name": "agent", "model_name": "m"}, "agent"),
    ({"gen_ai.request.model": "m"}, "llm"),
    ({"gen_ai.operation.name": ["chat"]}, "other"),
    ({"http.method": "POST"}, "other"),
]


@pytest.mark.parametrize(("attributes", "kind"), KINDS)
def test_a_kind_is_told_under_every_name(attributes: Row, kind: str) -> None:
    assert row(attributes)["kind"] == kind


@pytest.mark.parametrize(
    ("attributes", "column", "value"),
    [
        ({"gen_ai.response.model": "m-1", "gen_ai.request.model": "m"}, "model", "m-1"),
        ({"ai.model.id": "m"}, "model", "m"),
        ({"llm.request.model": "m"}, "model", "m"),
        ({"model": "m"}, "model", "m"),
        ({"gen_ai.system": "google-gla"}, "provider", "gcp.gemini"),
        ({"ai.model.provider": "google.generative-ai"}, "provider", "gcp.gemini"),
        ({"ai.model.provider": "anthropic.messages"}, "provider", "anthropic"),
        ({"ai.model.provider": "amazon-bedrock"}, "provider", "aws.bedrock"),
        ({"llm.provider": "Azure"}, "provider", "azure.ai.openai"),
    ],
)
def test_model_and_provider(attributes: Row, column: str, value: str) -> None:
    assert row({**CALL, **attributes})[column] == value


def test_a_model_without_a_namespace_is_that_of_a_model_call_alone() -> None:
    assert row({"openinference.span.kind": "TOOL", "model": "a printer"})["model"] is None


@pytest.mark.parametrize(
    "name",
    ["gen_ai.conversation.id", "session.id", "langfuse.session.id", "ai.telemetry.metadata.sessionId",
     "traceloop.association.properties.session_id", "gcp.vertex.agent.session_id", "copilot_chat.session_id",
     "langsmith.trace.session_id", "mlflow.trace.session"],
)  # fmt: skip
def test_a_session_is_read_under_every_name(name: str) -> None:
    assert '"session_id":"s-1"' in row({**CALL, name: "s-1"})["context"]


@pytest.mark.parametrize("name", ["user.id", "enduser.id", "langfuse.user.id", "llm.user", "mlflow.trace.user"])
def test_a_user_is_read_under_every_name(name: str) -> None:
    assert '"user_key"' in row({**CALL, name: "anna"})["context"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"span.type": "tool", "tool_name": "Bash", "tool_use_id": "t1", "full_command": "ls"},
         ("Bash", "t1", "ls", None)),
        ({"gen_ai.tool.name": "w", "gen_ai.tool.call.id": "t1", "tool_arguments": "{}", "tool_response": "62"},
         ("w", "t1", "{}", "62")),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "w",
          "gcp.vertex.agent.tool_call_args": "{}", "gcp.vertex.agent.tool_response": "62"},
         ("w", "0000000000000001", "{}", "62")),
    ],
)  # fmt: skip
def test_a_tool_call_is_told_in_every_spelling(attributes: Row, expected: tuple[Any, ...]) -> None:
    """Claude Code, pydantic-ai before 2.0, Google ADK."""
    (found,) = load(message([span(1, attributes=attributes)]))["tool_calls"]
    assert (found["name"], found["call_id"], found["arguments"], found["result"]) == expected
