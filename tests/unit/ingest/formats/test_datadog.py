"""Datadog LLM Observability, written by its documentation: exported spans and evaluations sent to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.unit.ingest.formats.helpers import Row, read_all, requests_of

TRACE = "6903738200000000af2d3775dfc70530"
ROOT, CHILD = "14624140233640368324", "9624140233640368325"
START = 1_761_833_858_897_000_123


def span(**changes: Any) -> dict[str, Any]:
    attributes = {
        "span_id": ROOT, "trace_id": TRACE, "parent_id": "undefined", "name": "chat", "span_kind": "llm",
        "status": "ok", "start_ns": START, "duration": 1_500_000_000, "ml_app": "support",
        "model_name": "gpt-4o-mini", "model_provider": "openai",
        "input": {"messages": [{"role": "user", "content": "hi"}], "value": "hi"},
        "output": {"messages": [{"role": "assistant", "content": "hello"}], "value": "hello"},
        "metrics": {
            "input_tokens": 412, "output_tokens": 31, "total_tokens": 443, "cache_read_input_tokens": 256,
            "non_cached_input_tokens": 156, "estimated_input_cost": 42_600, "estimated_output_cost": 18_600,
            "estimated_cache_read_input_cost": 19_200, "estimated_non_cached_input_cost": 23_400,
            "estimated_total_cost": 61_200, "time_to_first_token": 0.25,
        },
        "tags": ["service:bot", "env:prod", "version:2.1", "language:python", "user_id:u-1", "session_id:s-1",
                 "region:eu", "version:", "source:integration"],
        "metadata": {"tenant": "acme"}, **changes,
    }  # fmt: skip
    return {"id": attributes["span_id"], "type": "span", "attributes": attributes}


def read(tmp_path: Path, *documents: Any, **options: Any) -> tuple[dict[str, list[Row]], Any]:
    paths = []
    for number, document in enumerate(documents):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps(document))
    return read_all(paths, **options)


def one(tmp_path: Path, **changes: Any) -> Row:
    (request,) = requests_of(read(tmp_path, {"data": [span(**changes)]})[0]).values()
    return request


def tree() -> list[dict[str, Any]]:
    found = [{"id": "d1", "name": "faq", "score": 0.9, "text": "Orders take 3 days."}, {"id": "d2", "text": "More."}]
    return [
        span(span_id="1", span_kind="agent", model_name=None, metrics={}, duration=9_000_000_000),
        span(span_id="2", parent_id="1"),
        span(span_id="3", parent_id="1", span_kind="retrieval", metrics={}, output={"documents": found}),
        span(span_id="4", parent_id="1", span_kind="tool", name="get_order", metrics={}, status="error",
             input={"value": "{}"}, output={"value": ""}, error={"type": "KeyError", "message": "no id"}),
    ]  # fmt: skip


def test_one_span(tmp_path: Path) -> None:
    tables, receipt = read(tmp_path, {"data": [span()], "meta": {"page": None}})
    (request,) = requests_of(tables).values()
    assert (receipt.spans, receipt.dropped) == (1, 0)
    assert not [c for c in receipt.columns if c.how == "unmapped"]
    assert (request["trace_id"], request["total_us"], request["ttft_us"]) == (TRACE, 1_500_000, 250_000)
    assert [request[n] for n in ("input_tokens", "cached_read_tokens", "output_tokens")] == [412, 256, 31]
    assert (request["release"], request["environment"], request["session_id"]) == ("2.1", "prod", "s-1")
    assert (request["tenant"], request["region"], request["error"]) == ("acme", "eu", False)
    assert (request["input_text"], request["output_text"]) == ("hi", "hello")
    assert request["user_key"] is not None


def test_a_tree_in_any_order_and_envelope(tmp_path: Path) -> None:
    tables, _ = read(tmp_path, {"data": tree()})
    (request,) = expected = list(requests_of(tables).values())
    assert [request[n] for n in ("llm_calls", "tool_calls", "tool_errors", "retrieved_docs")] == [1, 1, 1, 2]
    assert (request["error"], request["total_us"], request["total_nusd"]) == (False, 9_000_000, 61_200)
    assert [(d["document_id"], d["score"], d["content"]) for d in tables["documents"]] == [
        ("d1", 0.9, "Orders take 3 days."), ("d2", None, "More."),
    ]  # fmt: skip
    bare = [s["attributes"] for s in tree()]
    for documents in ([{"data": tree()[::-1]}], [tree()], [bare], [{"data": [s]} for s in tree()]):
        assert list(requests_of(read(tmp_path, *documents)[0]).values()) == expected


def test_a_start_in_milliseconds_under_the_name_of_nanoseconds(tmp_path: Path) -> None:
    documented = one(tmp_path, start_ns=1761833858897, duration=83_000)
    assert str(documented["started_at"]) == "2025-10-30 14:17:38.897000+00:00"
    assert documented["total_us"] == 83
    assert one(tmp_path)["started_at"].microsecond == 897_000


def test_decimal_ids_and_undefined_parents(tmp_path: Path) -> None:
    tables, _ = read(tmp_path, {"data": [span(), span(span_id=CHILD, parent_id=ROOT)]})
    assert {(s["span_id"], s["parent_id"]) for s in tables["spans"]} == {(ROOT, None), (CHILD, ROOT)}


def test_costs_are_nano_dollars_and_parts_of_a_total(tmp_path: Path) -> None:
    assert one(tmp_path)["total_nusd"] == 61_200
    metrics = dict(span()["attributes"]["metrics"])
    del metrics["estimated_total_cost"]
    assert one(tmp_path, metrics=metrics)["total_nusd"] == 61_200
    assert one(tmp_path, metrics={"input_tokens": 5, "output_tokens": 1})["total_nusd"] is None


def test_the_language_of_the_code_is_no_cohort(tmp_path: Path) -> None:
    assert one(tmp_path)["language"] is None
    assert one(tmp_path, tags=["language:de"])["language"] == "de"


def test_failures(tmp_path: Path) -> None:
    failed = one(tmp_path, status="error", error={"type": "RateLimitError", "message": "slow down"})
    assert (failed["error"], failed["error_type"]) == (True, "RateLimitError")


def test_evaluations_are_joined_on_their_span_in_any_order(tmp_path: Path) -> None:
    sent = [
        {"join_on": {"span": {"span_id": ROOT, "trace_id": TRACE}}, "label": "correctness", "metric_type": "score",
         "score_value": 0.9, "ml_app": "support", "timestamp_ms": 1761833859000, "tags": []},
        {"join_on": {"span": {"span_id": ROOT, "trace_id": TRACE}}, "label": "resolved", "metric_type": "boolean",
         "boolean_value": False, "timestamp_ms": 1761833859000},
        {"join_on": {"span": {"span_id": ROOT}}, "label": "toxicity", "metric_type": "categorical",
         "categorical_value": "toxic", "timestamp_ms": 1761833859000},
        {"join_on": {"tag": {"key": "msg", "value": "1"}}, "label": "x", "metric_type": "score", "score_value": 1},
    ]  # fmt: skip
    for documents in ((sent, {"data": [span()]}), ({"data": [span()]}, sent)):
        tables, receipt = read(tmp_path, *documents)
        (request,) = requests_of(tables).values()
        assert (request["correct"], request["resolved"], request["incident_count"]) == (True, False, 1)
        assert receipt.drop_reasons == {"evaluation that names no span": 1}
    kept = {(s["name"], s["value"], s["label"]) for s in tables["scores"]}
    assert kept == {("correctness", 0.9, None), ("resolved", 0.0, None), ("toxicity", None, "toxic")}


def test_evaluations_that_the_export_repeats_on_its_spans(tmp_path: Path) -> None:
    found = {"failure_to_answer": {"eval_metric_type": "categorical", "value": "answered", "assessment": "pass"},
             "correctness": {"eval_metric_type": "score", "value": 0.2}}  # fmt: skip
    tables, _ = read(tmp_path, {"data": [span(evaluation=found)]})
    assert {(s["name"], s["value"], s["label"]) for s in tables["scores"]} == {
        ("failure_to_answer", None, "pass"), ("correctness", 0.2, None),
    }  # fmt: skip


def test_other_objects_of_the_api_are_dropped_aloud(tmp_path: Path) -> None:
    dashboard = {"id": "1", "type": "dashboard", "attributes": {"title": "x"}}
    _, receipt = read(tmp_path, {"data": [dashboard, span()]})
    assert (receipt.spans, receipt.dropped) == (1, 1)
