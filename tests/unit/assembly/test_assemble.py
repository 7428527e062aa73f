"""Assembling requests: each rule with a case on which the naive reading fails, and properties over any trace."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from kpi import schema
from kpi.assembly.requests import assemble, merge_spans
from tests.unit.span_loading import TRACE, attribute, load, logs, message, one, requests, span, streamed

Row = dict[str, Any]
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
SEARCH = {"gen_ai.operation.name": "retrieval"}
AGENT = {"gen_ai.operation.name": "invoke_agent"}


def usage(tokens: int, **more: Any) -> Row:
    return {**CHAT, "gen_ai.usage.input_tokens": tokens, "gen_ai.usage.output_tokens": 1, **more}


def test_wrappers_and_agents_that_repeat_usage_are_not_counted_again() -> None:
    """Agent 300 = 100 + 200; the wrapping model span repeats its inner call."""
    request = one(
        span(1, attributes={**AGENT, "gen_ai.usage.input_tokens": 300, "gen_ai.usage.cost": 0.3}),
        span(2, 1, attributes=usage(100, **{"gen_ai.usage.cost": 0.1})),
        span(3, 2, attributes=usage(100, **{"gen_ai.usage.cost": 0.1})),
        span(4, 1, attributes=usage(200, **{"gen_ai.usage.cost": 0.2})),
    )
    assert (request["input_tokens"], request["llm_calls"]) == (300, 2)
    assert request["inference_nusd"] == request["total_nusd"] == 300_000_000


def test_an_aggregate_counts_where_no_model_span_knows_and_only_the_outermost() -> None:
    request = one(
        span(1, attributes={**AGENT, "gen_ai.usage.input_tokens": 300}),
        span(2, 1, attributes={**AGENT, "gen_ai.usage.input_tokens": 200}),
    )
    assert request["input_tokens"] == 300


def test_a_model_span_without_usage_below_one_with_usage() -> None:
    """Streaming calls of some instrumentations state no usage at all; their wrapper does."""
    request = one(span(1, attributes=usage(50)), span(2, 1, attributes=CHAT))
    assert (request["input_tokens"], request["llm_calls"]) == (50, 1)


def test_calls_of_a_judge_are_review_and_not_the_request() -> None:
    judge = {"openinference.span.kind": "EVALUATOR"}
    request = one(
        span(1, attributes=AGENT), span(2, 1, end=400, attributes=usage(10, **{"gen_ai.usage.cost": 0.01})),
        span(3, 1, start=500, attributes=judge),
        span(4, 3, start=600, attributes=usage(999, **{"gen_ai.usage.cost": 0.5})),
    )  # fmt: skip
    assert (request["input_tokens"], request["llm_calls"]) == (10, 1)
    assert (request["inference_nusd"], request["review_nusd"]) == (10_000_000, 500_000_000)


def test_unpriced_usage_is_null_and_said_so_never_zero() -> None:
    request = one(span(1, attributes=AGENT), span(2, 1, attributes=usage(10)))
    assert (request["inference_nusd"], request.get("total_nusd"), request["priced"]) == (None, None, False)
    half = one(span(1, attributes=AGENT), span(2, 1, attributes=usage(10, **{"gen_ai.usage.cost": 1})),
               span(3, 1, attributes=usage(10)))  # fmt: skip
    assert (half["inference_nusd"], half["priced"]) == (None, False)
    assert one(span(1, attributes=TOOL))["priced"] is None


def test_cost_parts_sum_to_the_total() -> None:
    cost = "gen_ai.usage.cost"
    request = one(
        span(1, attributes=AGENT), span(2, 1, attributes=usage(10, **{cost: 0.003})),
        span(3, 1, attributes={**TOOL, cost: 0.002}), span(4, 1, attributes={**SEARCH, cost: 0.001}),
    )  # fmt: skip
    parts = (request["inference_nusd"], request["tool_nusd"], request["retrieval_nusd"])
    assert parts == (3_000_000, 2_000_000, 1_000_000)
    assert request["total_nusd"] == sum(parts)


def test_a_stage_that_repeats_the_cost_of_its_calls_counts_once() -> None:
    cost = "gen_ai.usage.cost"
    request = one(
        span(1, attributes=AGENT), span(2, 1, attributes={**SEARCH, cost: 0.001}),
        span(3, 2, attributes={"gen_ai.operation.name": "embeddings", cost: 0.001}),
        span(4, 1, attributes={"openinference.span.kind": "GUARDRAIL", cost: 0.004}),
        span(5, 4, attributes=usage(3, **{cost: 0.004})),
    )  # fmt: skip
    assert (request["inference_nusd"], request["total_nusd"]) == (5_000_000, 5_000_000)


def test_a_request_stopped_before_any_model_call_costs_what_it_used() -> None:
    guard = {"openinference.span.kind": "GUARDRAIL", "gen_ai.usage.cost": 0.002}
    request = one(span(1, attributes=AGENT), span(2, 1, attributes=guard))
    assert (request["inference_nusd"], request["total_nusd"], request["priced"]) == (None, 2_000_000, None)


@pytest.mark.parametrize("cost", [-1, -1.0, "-1", "", "n/a", float("nan")])
def test_cost_sentinels_are_unknown(cost: Any) -> None:
    attributes = usage(10, **{"gen_ai.usage.cost": cost}) if cost == cost else usage(10)
    assert one(span(1, attributes=attributes))["inference_nusd"] is None


def test_stage_latency_is_a_union_of_wall_clock() -> None:
    """Parallel (100-300, 200-400), nested (250-260) and apart (600-700): 400 ms, not 510."""
    request = one(
        span(1, end=1000, attributes=AGENT),
        span(2, 1, start=100, end=300, attributes=TOOL), span(3, 1, start=200, end=400, attributes=TOOL),
        span(4, 3, start=250, end=260, attributes=TOOL), span(5, 1, start=600, end=700, attributes=TOOL),
    )  # fmt: skip
    assert (request["tool_us"], request["total_us"], request["tool_calls"]) == (400_000, 1_000_000, 4)
    assert request["retrieval_us"] is None


def test_total_latency_without_one_root_is_from_first_start_to_last_end() -> None:
    orphans = one(span(2, 1, start=100, end=300, attributes=TOOL), span(3, 1, start=200, end=450, attributes=CHAT))
    several = one(span(1, start=0, end=100), span(2, start=300, end=400))
    assert (orphans["total_us"], several["total_us"]) == (350_000, 400_000)


def test_a_running_root_has_no_latency_yet() -> None:
    request = one(span(1, end=None), span(2, 1, end=500, attributes=TOOL))
    assert (request["total_us"], request["tool_us"], request["error"]) == (None, 500_000, False)


@pytest.mark.parametrize(
    ("seconds", "streamed_", "expected"),
    [(0.2, None, 300_000), (0.9, False, None), (0.9, True, 1_000_000), (2.0, True, None)],
)
def test_a_first_token_at_the_end_of_a_call_is_its_latency(
    seconds: float, streamed_: bool | None, expected: int | None
) -> None:
    """The call runs from 100 ms to 1000 ms; the user's wait starts with the trace."""
    stated = {} if streamed_ is None else {"gen_ai.request.stream": streamed_}
    model = {**CHAT, "gen_ai.response.time_to_first_chunk": seconds, **stated}
    assert one(span(1, attributes=AGENT), span(2, 1, start=100, attributes=model)).get("ttft_us") == expected


def test_failed_tool_in_a_trace_that_succeeded_is_a_tool_error_only() -> None:
    request = one(span(1, status={}, attributes=AGENT), span(2, 1, attributes=TOOL, status={"code": 2}))
    assert (request["error"], request["tool_errors"], request.get("error_type")) == (False, 1, None)


@pytest.mark.parametrize(
    ("more", "failed"),
    [
        ({"status": {}}, False), ({}, False), ({"status": {"code": 1}}, False), ({"status": {"code": 2}}, True),
        ({"status": {"code": "STATUS_CODE_ERROR"}}, True), ({"attributes": {"error.type": "timeout"}}, True),
        ({"attributes": {"langfuse.observation.level": "ERROR"}}, True),
        ({"events": [{"name": "exception", "attributes": []}]}, True),
        ({"status": {"code": 1}, "events": [{"name": "exception", "attributes": []}]}, False),
    ],
)  # fmt: skip
def test_status_rules(more: Row, failed: bool) -> None:
    """Unset is success unless an error or an exception is recorded; a handled exception is none."""
    assert one(span(1, **more))["error"] is failed


def test_error_type_of_a_root_that_does_not_say_comes_from_what_took_it_down() -> None:
    request = one(
        span(1, attributes=AGENT, status={"code": 2}),
        span(2, 1, start=10, end=20, attributes={**TOOL, "error.type": "survived"}),
        span(3, 1, start=30, end=40, attributes={**CHAT, "error.type": "rate_limit"}),
    )
    assert (request["error"], request["error_type"]) == (True, "rate_limit")


def test_a_retried_call_is_a_retry() -> None:
    request = one(
        span(1, attributes=AGENT), span(2, 1, start=0, end=10, attributes=CHAT, status={"code": 2}),
        span(3, 1, start=20, end=30, attributes=CHAT),
    )  # fmt: skip
    assert (request["retries"], request["error"], request["llm_calls"]) == (1, False, 2)


def test_statements_of_the_application_and_unknown_outcomes() -> None:
    request = one(span(1, attributes={**AGENT, "app.escalated": True, "app.resolved": "false", "app.locale": "de"}))
    assert (request["escalated"], request["resolved"], request["success"]) == (True, False, False)
    assert (request["outcome_source"], request["language"]) == ("user", "de")
    silent = one(span(1, attributes=AGENT))
    assert all(silent.get(c.name) is None for c in schema.OUTCOMES if c.name != "error")
    assert (silent["incident_count"], silent["outcome_source"]) == (None, None)


def test_release_may_differ_between_services_and_the_root_decides() -> None:
    """A trace's resource can differ per span."""
    child, root = message([span(2, 1)], {"service.version": "9"}), message([span(1)], {"service.version": "2.14"})
    (request,) = requests(load(child + root)).values()
    assert request["release"] == "2.14"


def test_circles_holes_and_times_out_of_order_end() -> None:
    request = one(span(1, 2), span(2, 1), span(3, 99, start=500, end=100, attributes=CHAT))
    assert request["total_us"] == 1_000_000
    assert request["llm_calls"] == 1


def test_merging_prefers_the_finished_version_and_never_loses_a_value() -> None:
    blank = dict.fromkeys(schema.SPANS.names)
    running = {**blank, "trace_id": "t", "span_id": "s", "started_at": 5, "status": "running", "model": "m"}
    done = {
        **blank,
        "trace_id": "t",
        "span_id": "s",
        "started_at": 5,
        "duration_us": 3,
        "status": "ok",
        "context": '{"a":"1"}',
    }
    text = {**blank, "trace_id": "t", "span_id": "s", "output_text": "hi", "context": '{"refused":false}'}
    for rows in ((running, done, text), (text, done, running), (done, text, running)):
        merged = merge_spans(rows)
        assert (merged["status"], merged["model"], merged["output_text"]) == ("ok", "m", "hi")
        assert merged["context"] == '{"a":"1","refused":false}'


def test_no_span_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one span"):
        assemble([])


@st.composite
def traces(draw: st.DrawFn) -> list[Row]:
    """Any tree of spans with kinds, times, usage, failures, missing ends and repeats."""
    number = draw(st.integers(1, 9))
    kinds = [
        CHAT,
        TOOL,
        SEARCH,
        AGENT,
        {"openinference.span.kind": "GUARDRAIL"},
        {"openinference.span.kind": "EVALUATOR"},
        {},
    ]
    found = []
    for i in range(1, number + 1):
        parent = draw(st.none() | st.integers(1, number + 1))
        start = draw(st.integers(0, 50))
        end = draw(st.none() | st.integers(0, 50).map(lambda n, start=start: start + n))
        attributes = dict(draw(st.sampled_from(kinds)))
        if draw(st.booleans()):
            attributes["gen_ai.usage.input_tokens"] = draw(st.integers(0, 9))
        if draw(st.booleans()):
            attributes["app.locale"] = draw(st.sampled_from(["de", "en"]))
        status = {"code": draw(st.sampled_from([0, 1, 2]))}
        found.append(span(i, parent, start=start, end=end, attributes=attributes, status=status))
    return found + draw(st.lists(st.sampled_from(found), max_size=2))


@pytest.mark.slow
@settings(max_examples=150)
@given(spans=traces(), seed=st.integers(0, 99))
def test_any_trace_in_any_order_is_one_and_the_same_request(spans: list[Row], seed: int) -> None:
    expected = one(*spans)
    shuffled = list(spans)
    random.Random(seed).shuffle(shuffled)
    assert one(*shuffled) == expected
    assert set(expected) <= {*schema.REQUESTS.names, *(n for n in expected if n.startswith("x_"))}


@pytest.mark.slow
@settings(max_examples=100)
@given(spans=traces())
def test_identities_that_hold_for_any_trace(spans: list[Row]) -> None:
    rows = load(message(spans))
    request = requests(rows)[TRACE]
    starts = [r["started_at"] for r in rows["spans"]]
    ends = [r["started_at"] + r["duration_us"] for r in rows["spans"] if r["duration_us"] is not None]
    for name in ("tool_us", "model_us", "retrieval_us", "guardrail_us"):
        if request[name] is not None:
            assert 0 <= request[name] <= max(ends) - min(starts)
    everything = sum(r["input_tokens"] or 0 for r in {r["span_id"]: r for r in rows["spans"]}.values())
    assert (request["input_tokens"] or 0) <= everything
    assert request["tool_errors"] <= request["tool_calls"]
    (by_stream,) = streamed(rows)
    assert {k: v for k, v in by_stream.items() if v is not None} == {k: v for k, v in request.items() if v is not None}


def test_a_span_that_ended_is_not_running_whatever_a_merge_by_column_kept() -> None:
    """Stores merge versions column by column: a running export that comes late must not hide the end."""
    (row,) = load(message([span(1, attributes=AGENT)]))["spans"]
    assert assemble([{**row, "status": "running"}])["error"] is False
    assert assemble([{**row, "status": "running", "error_type": "timeout"}])["error"] is True


def test_a_context_of_logs_never_takes_the_place_of_the_spans_own() -> None:
    """Partial rows of logs hold texts only; a refusal seen in a log travels as a score of its own."""
    record = {
        "traceId": TRACE,
        "spanId": f"{2:016x}",
        "eventName": "gen_ai.client.inference.operation.details",
        "attributes": [attribute("gen_ai.output.messages", '[{"role":"assistant","refusal":"I cannot."}]')],
    }
    found = load(logs([record]))
    assert [{k for k, v in r.items() if v is not None} for r in found["spans"]] == [
        {"trace_id", "span_id", "output_text"}
    ]
    (request,) = requests(load(logs([record]), message([span(1), span(2, 1, attributes=CHAT)]))).values()
    assert (request["refused"], request["output_text"], request["outcome_source"]) == (True, "I cannot.", None)
