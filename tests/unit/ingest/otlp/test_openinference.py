"""OpenInference, Traceloop, Vercel and Langfuse attributes: what each vocabulary means, on genuine and small spans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.span_loading import load, message, one, requests, span

Row = dict[str, Any]
EXPORT = "data/exports/openinference/openinference_otlp.json"


@pytest.fixture(scope="module")
def export(shared: Path) -> dict[str, list[Row]]:
    return load(shared / EXPORT)


@pytest.fixture(scope="module")
def raw(shared: Path) -> list[Row]:
    """Attributes of each span of the export, walked without the reader."""
    document = json.loads((shared / EXPORT).read_text())
    spans = [s for r in document["resourceSpans"] for sc in r["scopeSpans"] for s in sc["spans"]]
    for item in spans:
        item["a"] = {a["key"]: next(iter(a["value"].values())) for a in item["attributes"]}
    return spans


def test_kinds_are_those_of_the_file(export: dict[str, list[Row]], raw: list[Row]) -> None:
    kinds = {s["spanId"]: s["a"]["openinference.span.kind"].lower() for s in raw}
    assert {r["span_id"]: r["kind"] for r in export["spans"]} == kinds


def test_indexed_documents_keep_rank_and_score(export: dict[str, list[Row]], raw: list[Row]) -> None:
    expected = {
        (s["spanId"], int(key.split(".")[2]) + 1): (value, s["a"][key.replace(".id", ".score")])
        for s in raw
        for key, value in s["a"].items()
        if key.startswith(("retrieval.documents", "reranker.output_documents")) and key.endswith(".id")
    }
    found = {(d["span_id"], d["rank"]): (d["document_id"], d["score"]) for d in export["documents"]}
    assert found == expected
    assert {r["retrieved_docs"] for r in requests(export).values()} == {4}  # of the retriever, not the reranker too


def test_time_to_first_token_is_the_event_after_the_start_of_the_trace(
    export: dict[str, list[Row]], raw: list[Row]
) -> None:
    expected = {}
    for item in raw:
        for event in item.get("events", []):
            if event["name"] == "First Token Stream Event":
                root = next(s for s in raw if s["traceId"] == item["traceId"] and not s.get("parentSpanId"))
                expected[item["traceId"]] = int(event["timeUnixNano"]) - int(root["startTimeUnixNano"])
    found = {i: r["ttft_us"] for i, r in requests(export).items() if r.get("ttft_us") is not None}
    assert len(expected) == 4
    assert found.keys() == expected.keys()
    assert all(abs(found[i] * 1000 - expected[i]) < 3_000 for i in found)


def test_a_flagging_guardrail_is_one_incident_and_a_silent_one_is_none(
    export: dict[str, list[Row]], raw: list[Row]
) -> None:
    flagged = {
        s["traceId"] for s in raw if s["name"] == "input_guard" and json.loads(s["a"]["output.value"])["flagged"]
    }
    counts = {i: r["incident_count"] for i, r in requests(export).items()}
    assert len(flagged) == 1
    assert counts == {i: int(i in flagged) for i in counts}
    (incident,) = export["incidents"]
    assert (incident["category"], incident["severity"], incident["detector"]) == ("illicit", None, "input_guard")


def test_cohorts_come_from_metadata_and_the_model_from_the_answer_not_the_moderation(
    export: dict[str, list[Row]],
) -> None:
    assembled = requests(export).values()
    assert {r["prompt_version"] for r in assembled} == {"v12"}
    assert sorted(r["language"] for r in assembled) == ["de", "de", "en", "en", "fr", "ja"]
    assert {r["plan"] for r in assembled} == {"free", "pro"}
    assert {r["model"] for r in assembled} == {"gpt-4o-mini-2024-07-18", "gpt-4o-mini"}
    assert {r["x_requested_model"] for r in assembled} == {"gpt-4o-mini"}


def test_prompt_version_of_the_answering_model_span_wins_over_stamps_on_other_spans() -> None:
    """`using_attributes` stamps every span of its block."""
    stamped = {
        "llm.prompt_template.version": "tool-prompt",
        "openinference.span.kind": "TOOL",
        "metadata": '{"tier":"pro"}',
    }
    model = {"openinference.span.kind": "LLM", "llm.prompt_template.version": "v3"}
    root = {"openinference.span.kind": "AGENT", "llm.prompt_template.version": "router"}
    request = one(
        span(1, attributes=root), span(2, 1, start=1, end=5, attributes=stamped),
        span(3, 1, start=6, end=9, attributes=model),
    )  # fmt: skip
    assert (request["prompt_version"], request["plan"]) == ("v3", "pro")


@pytest.mark.parametrize(
    "attributes",
    [
        {"llm.output_messages.0.message.role": "assistant",
         "output.value": '{"choices":[{"message":{"content":null,"refusal":"I cannot."}}]}'},
        {"gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"refusal","content":"I cannot."}]}]'},
        {"gen_ai.output.messages": '[{"role":"assistant","content":null,"refusal":"I cannot."}]'},
        {"langfuse.observation.output": '{"role":"assistant","content":null,"refusal":"I cannot."}'},
        {"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.refusal": "I cannot."},
    ],
)  # fmt: skip
def test_refusals_are_read_where_the_content_is_null(attributes: Row) -> None:
    request = one(span(1), span(2, 1, attributes={"gen_ai.operation.name": "chat", **attributes}))
    assert (request["output_text"], request["refused"]) == ("I cannot.", True)


@pytest.mark.parametrize(
    ("reasons", "refused"), [(["content_filter"], True), (["content-filter"], True), (["stop"], False), (None, None)]
)
def test_finish_reasons_decide_refusal_and_silence_does_not(reasons: list[str] | None, refused: bool | None) -> None:
    stated = {"gen_ai.response.finish_reasons": reasons} if reasons else {}
    assert one(span(1, attributes={"gen_ai.operation.name": "chat", **stated})).get("refused") is refused


def test_vercel_wrapper_repeats_the_usage_of_the_inner_call() -> None:
    outer = {"ai.operationId": "ai.streamText", "ai.usage.inputTokens": 100, "ai.usage.outputTokens": 20}
    inner = {
        **outer,
        "ai.operationId": "ai.streamText.doStream",
        "ai.response.msToFirstChunk": 250.0,
        "ai.model.id": "m",
    }
    request = one(span(1, attributes=outer), span(2, 1, start=100, end=900, attributes=inner))
    assert (request["input_tokens"], request["output_tokens"], request["llm_calls"]) == (100, 20, 1)
    assert (request["ttft_us"], request["model"]) == (350_000, "m")


def test_langfuse_buckets_are_disjoint_and_its_cost_total_is_not_added_to_its_parts() -> None:
    attributes = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.usage_details": '{"input": 156, "input_cached_tokens": 256, "output": 31, "total": 443}',
        "langfuse.observation.cost_details": '{"input": 2.34e-05, "output": 1.86e-05, "total": 4.2e-05}',
    }
    request = one(span(1, attributes=attributes))
    assert (request["input_tokens"], request["cached_read_tokens"], request["output_tokens"]) == (412, 256, 31)
    assert (request["inference_nusd"], request["total_nusd"], request["priced"]) == (42_000, 42_000, True)


def test_input_that_cannot_contain_its_cache_is_completed() -> None:
    """Anthropic's own counts leave the cache out; the common ones include it."""
    base = {"gen_ai.operation.name": "chat", "gen_ai.usage.cache_read.input_tokens": 256}
    inside = one(span(1, attributes={**base, "gen_ai.usage.input_tokens": 412}))
    beside = one(
        span(1, attributes={**base, "gen_ai.usage.input_tokens": 20, "gen_ai.usage.cache_write.input_tokens": 10})
    )
    assert (inside["input_tokens"], beside["input_tokens"]) == (412, 286)


def test_traceloop_messages_and_provider() -> None:
    attributes = {
        "llm.request.type": "chat", "gen_ai.system": "OpenAI", "gen_ai.request.model": "gpt-4o",
        "gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "Be brief.", "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": "Hi", "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": "Hello", "gen_ai.completion.0.finish_reason": "stop",
    }  # fmt: skip
    request = one(span(1, attributes=attributes))
    assert (request["input_text"], request["output_text"], request["provider"]) == ("Hi", "Hello", "openai")


def test_indexed_annotations_become_scores_with_their_source() -> None:
    attributes = {
        "openinference.span.kind": "LLM",
        "annotations.0.annotation.name": "correctness", "annotations.0.annotation.score": 1.0,
        "annotations.0.annotation.annotator_kind": "HUMAN",
        "annotations.1.annotation.name": "Hallucination", "annotations.1.annotation.label": "factual",
        "annotations.1.annotation.annotator_kind": "LLM",
    }  # fmt: skip
    found = load(message([span(1, attributes=attributes)]))
    assert [(s["name"], s["source"]) for s in found["scores"]] == [("correctness", "human"), ("Hallucination", "judge")]
    (request,) = requests(found).values()
    assert (request["correct"], request["grounded"], request["outcome_source"]) == (True, True, "human")


@pytest.mark.parametrize(
    ("attributes", "state"),
    [
        ({"gen_ai.guardrail.verdict.type": "deny", "gen_ai.guardrail.security.risk.category": "pii"}, "blocked"),
        ({"gen_ai.guardrail.result.value": "GUARDRAIL_INTERVENED", "gen_ai.guardrail.risk.category": "pii"}, "blocked"),
        ({"gen_ai.guardrail.action.type": "block", "gen_ai.guardrail.risk.category": "pii"}, "blocked"),
        ({"gen_ai.guardrail.verdict.type": "allow"}, None),
    ],
)
def test_both_guardrail_drafts(attributes: Row, state: str | None) -> None:
    found = load(message([span(1), span(2, 1, attributes=attributes)]))
    assert [i["state"] for i in found["incidents"]] == ([state] if state else [])
    (request,) = requests(found).values()
    assert request["incident_count"] == (1 if state else 0)
    if state:
        assert found["incidents"][0]["category"] == "pii"
