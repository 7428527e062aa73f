"""Cached and reasoning tokens inside or beside: every kind of evidence, its order, and what the receipt says of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from kpi.receipts import Receipt
from tests.unit.span_loading import load, message, span

Row = dict[str, Any]
IN, OUT, TOTAL = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.total_tokens"
READ, WRITE = "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_write.input_tokens"
THOUGHT, PROVIDER, MODEL = "gen_ai.usage.reasoning.output_tokens", "gen_ai.system", "gen_ai.request.model"
TOLD = "told by the totals in the span"


def counted(attributes: Row, *, scope: str = "app", version: str = "") -> tuple[int | None, int | None, list[str]]:
    """(input, output, notes) of one model call."""
    receipt = Receipt()
    call = span(1, attributes={"gen_ai.operation.name": "chat", **attributes})
    (row,) = load(message([call], scope=scope, version=version), receipt=receipt)["spans"]
    return row["input_tokens"], row["output_tokens"], receipt.notes


def cached(side: str, how: str) -> str:
    return f"Cached tokens of 1 span lie {side} the input: {how}."


def thought(side: str, how: str) -> str:
    return f"Reasoning tokens of 1 span lie {side} the output: {how}."


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        # 1,000 + 100 make up the total: the 400 cached are among the 1,000, whoever the provider is.
        ({IN: 1000, READ: 400, OUT: 100, TOTAL: 1100, PROVIDER: "anthropic"}, (1000, 100, [cached("inside", TOLD)])),
        # 1,000 + 400 + 100: beside, though the provider counts them inside.
        ({IN: 1000, READ: 400, OUT: 100, TOTAL: 1500, PROVIDER: "openai"}, (1400, 100, [cached("beside", TOLD)])),
        ({IN: 1000, READ: 300, WRITE: 100, OUT: 100, TOTAL: 1500}, (1400, 100, [cached("beside", TOLD)])),
        ({IN: 100, OUT: 140, THOUGHT: 60, TOTAL: 240, PROVIDER: "gcp.gemini"}, (100, 140, [thought("inside", TOLD)])),
        ({IN: 100, OUT: 140, THOUGHT: 60, TOTAL: 300, PROVIDER: "openai"}, (100, 200, [thought("beside", TOLD)])),
        ({IN: 100, OUT: 19, THOUGHT: 320, TOTAL: 439}, (100, 339, [thought("beside", TOLD)])),
        # Cache inside, reasoning beside: 100 + 140 + 60, of which 40 were cached.
        ({IN: 100, READ: 40, OUT: 140, THOUGHT: 60, TOTAL: 300},
         (100, 200, [cached("inside", TOLD), thought("beside", TOLD)])),
        # Both beside: 100 + 40 + 140 + 60.
        ({IN: 100, READ: 40, OUT: 140, THOUGHT: 60, TOTAL: 340},
         (140, 200, [cached("beside", TOLD), thought("beside", TOLD)])),
    ],
)  # fmt: skip
def test_a_total_tells_where_the_parts_lie(attributes: Row, expected: tuple[int, int, list[str]]) -> None:
    assert counted(attributes) == expected


def test_a_total_that_fits_both_ways_tells_nothing() -> None:
    """100 + 140 + 40: either the cached or the reasoning tokens lie beside, and both are 40. The provider decides."""
    parts = {IN: 100, READ: 40, OUT: 140, THOUGHT: 40, TOTAL: 280}
    assert counted({**parts, PROVIDER: "gcp.gemini"})[:2] == (100, 180)
    assert counted({**parts, PROVIDER: "anthropic"})[:2] == (140, 140)


def test_the_rest_without_a_part_is_a_total_as_well() -> None:
    """The Vercel AI SDK 6 states the input without the cache: 1 + 4,429 + 4,761 = 9,191."""
    details = "ai.usage.inputTokenDetails."
    parts = {f"{details}cacheReadTokens": 4429, f"{details}cacheWriteTokens": 4761, "ai.usage.outputTokens": 9}
    inside = {**parts, "ai.usage.inputTokens": 9191, f"{details}noCacheTokens": 1}
    assert counted(inside) == (9191, 9, [cached("inside", TOLD)])
    beside = {**parts, "ai.usage.inputTokens": 9191, f"{details}noCacheTokens": 9191}
    assert counted(beside) == (18381, 9, [cached("beside", TOLD)])


@pytest.mark.parametrize(
    ("scope", "version", "attributes", "expected"),
    [
        ("com.anthropic.claude_code.tracing", "2.1.266", {IN: 1000, READ: 400, OUT: 10}, 1400),
        ("openinference.instrumentation.anthropic", "0.1.18", {IN: 1000, READ: 400, OUT: 10}, 1000),
        ("opentelemetry.instrumentation.anthropic", "0.40.0", {IN: 1000, READ: 400, OUT: 10}, 1000),
        ("pydantic-ai", "1.42.0", {IN: 1000, READ: 400, OUT: 10}, 1000),
        ("litellm", "", {IN: 1000, READ: 400, OUT: 10}, 1000),
        # OpenLIT adds up input and output of Anthropic, which leave the cache out: its total is no evidence.
        ("openlit.otel.tracing", "1.36.0", {IN: 1000, READ: 400, OUT: 10, TOTAL: 1010}, 1400),
        # So does the Claude Agent SDK under OpenInference.
        ("openinference.instrumentation.claude_agent_sdk", "0.1.8", {IN: 1000, READ: 400, OUT: 10, TOTAL: 1010}, 1400),
    ],
)
def test_what_is_known_of_an_instrumentation_comes_before_the_provider(
    scope: str, version: str, attributes: Row, expected: int
) -> None:
    assert counted({**attributes, PROVIDER: "anthropic"}, scope=scope, version=version)[0] == expected


def test_a_version_decides_where_an_instrumentation_changed() -> None:
    """pydantic-ai counts Gemini's thoughts into the output since 1.0."""
    parts = {IN: 100, OUT: 140, "gen_ai.usage.details.thoughts_tokens": 60, PROVIDER: "google-gla"}
    assert counted(parts, scope="pydantic-ai", version="0.4.2")[1] == 200
    assert counted(parts, scope="pydantic-ai", version="1.0.0")[1] == 140


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({PROVIDER: "anthropic"}, (1400, 100)),
        ({PROVIDER: "aws.bedrock", MODEL: "amazon.nova-pro-v1:0"}, (1400, 100)),
        ({PROVIDER: "gcp.vertex_ai", MODEL: "claude-sonnet-4-5"}, (1400, 100)),
        ({PROVIDER: "gcp.vertex_ai", MODEL: "gemini-2.5-pro"}, (1000, 150)),
        ({PROVIDER: "gcp.gemini"}, (1000, 150)),
        ({PROVIDER: "x_ai"}, (1000, 150)),
        ({PROVIDER: "openai"}, (1000, 100)),
        ({PROVIDER: "openrouter", MODEL: "anthropic/claude-sonnet-4.5"}, (1000, 100)),
        ({MODEL: "claude-sonnet-4-5"}, (1400, 100)),
        ({}, (1000, 100)),
    ],
)
def test_without_other_evidence_the_provider_decides(attributes: Row, expected: tuple[int, int]) -> None:
    assert counted({IN: 1000, READ: 400, OUT: 100, THOUGHT: 50, **attributes})[:2] == expected


def test_the_receipt_says_how() -> None:
    parts = {IN: 1000, READ: 400, OUT: 100}
    assert counted({**parts, PROVIDER: "anthropic"})[2] == [cached("beside", "as Anthropic counts")]
    assert counted(parts, scope="litellm")[2] == [cached("inside", "known of LiteLLM")]
    assert counted(parts)[2] == [cached("inside", "nothing says otherwise")]
    larger = "a part larger than the whole cannot lie inside it"
    assert counted({**parts, READ: 4000, PROVIDER: "openai"})[2] == [cached("beside", larger)]
    assert counted({IN: 1000, OUT: 100})[2] == []


def test_spans_of_one_kind_share_a_note_over_all_files() -> None:
    receipt = Receipt()
    call = {"gen_ai.operation.name": "chat", IN: 1000, READ: 400, OUT: 100, PROVIDER: "anthropic"}
    files = [message([span(n, attributes=call), span(n + 1, attributes=call)]) for n in (1, 3)]
    load(*files, receipt=receipt)
    assert receipt.notes == ["Cached tokens of 4 spans lie beside the input: as Anthropic counts."]


counts = st.integers(0, 5000)


@settings(deadline=None, max_examples=60)
@given(counts, counts, counts, counts, st.booleans(), st.booleans())
def test_a_total_of_the_provider_is_never_contradicted(
    plain: int, read: int, visible: int, reasoning: int, cache_inside: bool, reasoning_inside: bool
) -> None:
    """Whatever way a call is written down, input and output add up to the total that its provider states."""
    total = plain + read + visible + reasoning
    attributes = {
        IN: plain + read * cache_inside, READ: read, OUT: visible + reasoning * reasoning_inside, THOUGHT: reasoning,
        TOTAL: total, PROVIDER: "someone",
    }  # fmt: skip
    given_in, given_out, _ = counted(attributes)
    if read != reasoning or cache_inside == reasoning_inside:  # else the total fits both ways
        assert (given_in, given_out) == (plain + read, visible + reasoning)


def test_who_follows_the_conventions_includes_the_cache() -> None:
    """`gen_ai.provider.name` and the cache's dotted name came together with the rule that the input includes it."""
    parts = {IN: 1000, READ: 400, OUT: 100, "gen_ai.provider.name": "anthropic"}
    assert counted(parts) == (1000, 100, [cached("inside", "known of the GenAI conventions")])
    assert counted({**parts, READ: 4000})[0] == 5000, "but never more than there is"
