"""LangSmith: what a naive reading gets wrong, the shapes of LangChain, and feedback."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.ingest.formats.helpers import read_all, requests_of
from tests.unit.ingest.formats.langsmith_runs import (
    CHILD,
    DUMP,
    LEAF,
    ROOT,
    kpis,
    run,
    runs,
    the_request,
    written,
)

# --- what the naive reading gets wrong --------------------------------------------------------------------------------


def test_times_without_a_zone_are_utc(tmp_path) -> None:
    request = the_request(tmp_path, run())
    assert (str(request["started_at"]), request["total_us"]) == ("2026-11-23 18:02:15+00:00", 2_000_000)


@pytest.mark.parametrize("absent", [None, ""])
def test_a_root_has_no_parent_in_any_spelling(tmp_path, absent) -> None:
    request = the_request(tmp_path, run(parent_run_id=absent), run(CHILD, "llm", parent=ROOT))
    assert (request["trace_id"], request["llm_calls"]) == (ROOT, 1)


def test_the_dotted_order_alone_tells_the_tree(shared, tmp_path) -> None:
    raw = runs(shared)
    bare = [{k: v for k, v in r.items() if k not in ("id", "trace_id", "parent_run_id", "parent_run_ids")} for r in raw]
    assert kpis(written(tmp_path / "bare.jsonl", *bare)) == kpis(shared / DUMP)
    assert str(the_request(tmp_path, run(start_time=None))["started_at"]) == "2026-11-23 18:02:15.091870+00:00"
    milliseconds = run(start_time=None, dotted_order=f"20261123T180215091Z{ROOT}")
    assert str(the_request(tmp_path, milliseconds)["started_at"]) == "2026-11-23 18:02:15.091000+00:00"


def test_empty_cells_of_a_frame_are_nothing(tmp_path) -> None:
    rows = [run(), run(CHILD, "llm", parent=ROOT, prompt_tokens=412, total_cost=Decimal("0.0001"))]
    pd.DataFrame(rows).to_csv(tmp_path / "frame.csv", index=False)
    assert "412.0" in (tmp_path / "frame.csv").read_text()
    (request,) = kpis(tmp_path / "frame.csv").values()
    assert (request["error"], request["input_tokens"], request["total_nusd"]) == (False, 412, 100_000)


def test_members_that_a_row_does_not_have_are_null_in_parquet(tmp_path) -> None:
    rows = [
        run(inputs={"q": "why?", "answer_length": None}, outputs={"answer": "because", "documents": None}),
        run(
            CHILD,
            "retriever",
            parent=ROOT,
            outputs={"answer": None, "documents": [{"page_content": "x", "metadata": {"n": 1}}]},
        ),
    ]
    flat = [{k: v for k, v in r.items() if k != "extra"} | {"inputs": r["inputs"] or None} for r in rows]
    pq.write_table(pa.Table.from_pylist(flat), tmp_path / "runs.parquet")
    (request,) = kpis(tmp_path / "runs.parquet").values()
    assert (request["input_text"], request["output_text"], request["retrieved_docs"]) == ("why?", "because", 1)


def test_the_input_includes_the_cache(tmp_path) -> None:
    usage = {"input_tokens": 412, "output_tokens": 31, "input_token_details": {"cache_read": 256}}
    request = the_request(tmp_path, run(kind="llm", outputs={"usage_metadata": usage}))
    assert (request["input_tokens"], request["cached_read_tokens"]) == (412, 256)
    assert the_request(tmp_path, run(kind="llm", extra={"metadata": {"usage_metadata": usage}}))["output_tokens"] == 31
    stated = {"prompt_tokens": 412, "completion_tokens": 31, "prompt_token_details": {"cache_read": 256}}
    assert the_request(tmp_path, run(kind="llm", **stated))["cached_read_tokens"] == 256


@pytest.mark.parametrize(
    "costs", [{"total_cost": "0.00010320"}, {"prompt_cost": "0.0000702", "completion_cost": 3.3e-05}]
)
def test_costs_are_decimal_text(tmp_path, costs) -> None:
    stated = {"prompt_tokens": 412, "completion_tokens": 31, **costs}
    assert the_request(tmp_path, run(kind="llm", **stated))["total_nusd"] == 103_200


def test_a_cost_that_the_application_states_itself(tmp_path) -> None:
    usage = {"input_tokens": 412, "output_tokens": 31, "total_cost": 0.5}
    assert the_request(tmp_path, run(kind="llm", outputs={"usage_metadata": usage}))["total_nusd"] == 500_000_000


def test_sums_on_parents_count_once(tmp_path) -> None:
    sums = {"prompt_tokens": 100, "completion_tokens": 10, "total_cost": "0.001"}
    chain, leaf = run(CHILD, parent=ROOT, **sums), run(LEAF, "llm", parent=CHILD, **sums)
    request = the_request(tmp_path, run(**sums), chain, leaf)
    assert (request["input_tokens"], request["output_tokens"], request["total_nusd"]) == (100, 10, 1_000_000)


def test_the_root_speaks_where_only_roots_were_exported(tmp_path) -> None:
    sums = {"prompt_tokens": 100, "completion_tokens": 10, "total_cost": "0.001"}
    tables, receipt = read_all([written(tmp_path / "runs.jsonl", run(**sums))])
    (request,) = requests_of(tables).values()
    assert (request["input_tokens"], request["total_nusd"]) == (100, 1_000_000)
    assert any("only the root run is here: 1." in note for note in receipt.notes)


def test_tokens_of_embeddings_are_their_own(tmp_path) -> None:
    stated = {"prompt_tokens": 8, "completion_tokens": 0, "total_cost": "0.0001"}
    told = run(CHILD, "embedding", parent=ROOT, extra={"metadata": {"ls_model_name": "e-1"}}, **stated)
    tables, _ = read_all([written(tmp_path / "runs.jsonl", run(), told)])
    (row,) = (s for s in tables["spans"] if s["kind"] == "embedding")
    assert (row["model"], row["input_tokens"], row["cost_nusd"]) == ("e-1", 8, 100_000)


def test_zero_tokens_are_unknown(tmp_path) -> None:
    stated = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "total_cost": "0"}
    request = the_request(tmp_path, run(kind="llm", **stated))
    assert (request["input_tokens"], request["output_tokens"], request["total_nusd"]) == (None, None, None)
    usage = {"usage_metadata": {"input_tokens": 7, "output_tokens": 1}}
    assert the_request(tmp_path, run(kind="llm", **stated, outputs=usage))["input_tokens"] == 7


@pytest.mark.parametrize(
    ("more", "ttft"),
    [
        ({"first_token_time": "2026-11-23T18:02:15.250000"}, 250_000),
        ({"events": [{"name": "new_token", "time": "2026-11-23T18:02:15.250000+00:00"},
                     {"name": "new_token", "time": "2026-11-23T18:02:15.900000+00:00"}]}, 250_000),
        ({"first_token_time": "2026-11-23T18:02:17.000000"}, None),  # the end of a call that was not streamed
        ({"last_queued_at": "2026-11-23T18:02:15.250000"}, None),
    ],
)  # fmt: skip
def test_time_to_first_token(tmp_path, more, ttft) -> None:
    request = the_request(tmp_path, run(kind="llm", **more))
    assert (request["ttft_us"], request["queue_us"]) == (ttft, None)


TRACEBACK = "\n\nTraceback (most recent call last):\n  File x\n"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (f"RateLimitError('429'){TRACEBACK}openai.RateLimitError: 429", "RateLimitError", "RateLimitError('429')"),
        (f"{TRACEBACK}openai.APIError: gone\n", "APIError", "openai.APIError: gone"),
        ("ValueError: bad", "ValueError", "ValueError: bad"),
        ("it broke: badly", None, "it broke: badly"),
    ],
)  # fmt: skip
def test_an_error_is_text_with_a_traceback(tmp_path, error, kind, message) -> None:
    tables, _ = read_all([written(tmp_path / "runs.jsonl", run(error=error, status="error"))])
    (row,) = tables["spans"]
    assert (row["status"], row["error_type"], row["status_message"]) == ("error", kind, message)


def test_a_refusal_stands_beside_an_empty_content(tmp_path) -> None:
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": None, "refusal": "No."}}
    request = the_request(tmp_path, run(kind="llm", outputs={"choices": [choice]}))
    assert (request["refused"], request["output_text"]) == (True, "No.")


def test_offloaded_and_previewed_texts_are_said(tmp_path) -> None:
    links = {"ROOT": {"presigned_url": "secret-link"}}
    stated = run(inputs={}, inputs_s3_urls=links, inputs_preview="wh…", outputs_preview="becau…")
    tables, receipt = read_all([written(tmp_path / "runs.jsonl", stated)])
    assert any("outside the export (`s3_urls`): 1." in note for note in receipt.notes)
    assert any("previews" in note for note in receipt.notes)
    assert (tables["spans"][0]["input_text"], tables["spans"][0]["output_text"]) == ("wh…", "becau…")
    assert "secret-link" not in str(tables) + str(receipt)


@pytest.mark.parametrize("key", ["session_id", "thread_id", "conversation_id"])
def test_session_id_is_the_project(tmp_path, key: str) -> None:
    assert the_request(tmp_path, run())["session_id"] is None
    assert the_request(tmp_path, run(extra={"metadata": {key: "chat-1"}}))["session_id"] == "chat-1"
    assert the_request(tmp_path, run(thread_id="chat-2"))["session_id"] == "chat-2"


def test_prompts_of_the_hub_are_versions(tmp_path) -> None:
    told = run(kind="llm", extra={"metadata": {"lc_hub_commit_hash": "c0ffee", "lc_hub_repo": "support"}})
    assert the_request(tmp_path, told)["prompt_version"] == "c0ffee"


@pytest.mark.parametrize(
    "more",
    [{"extra": {"metadata": {"ls_model_name": "m-1"}}}, {"inputs": {"model": "m-1"}},
     {"extra": {"invocation_params": {"model": "m-1"}}}, {"extra": {"invocation_params": {"model_name": "m-1"}}}],
)  # fmt: skip
def test_a_failed_call_keeps_the_model_it_asked_for(tmp_path, more) -> None:
    request = the_request(tmp_path, run(kind="llm", error="TimeoutError()", **more))
    assert (request["model"], request["x_requested_model"], request["error"]) == ("m-1", "m-1", True)


def test_what_the_tracer_writes_into_the_metadata_is_no_cohort(tmp_path) -> None:
    told = {"ls_type": "a", "lc_hub_repo": "b", "langgraph_node": "c", "thread_id": "d", "shop": "e"}
    path = written(tmp_path / "runs.jsonl", run(extra={"metadata": told}))
    tables, _ = read_all([path], allow=[f"metadata.{name}" for name in told])
    assert json.loads(tables["spans"][0]["attributes"]) == {"metadata.shop": "e"}


def test_whose_key_traced_the_run_is_no_user(tmp_path) -> None:
    assert the_request(tmp_path, run(ls_user_id="u-1"))["user_key"] is None
    assert the_request(tmp_path, run(extra={"metadata": {"user_id": "u-1"}}))["user_key"] is not None


# --- shapes of LangChain ---------------------------------------------------------------------------------------------

AI = {
    "lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "AIMessage"],
    "kwargs": {
        "content": "Tomorrow.", "type": "ai", "tool_calls": [],
        "response_metadata": {"model_name": "m-2025", "finish_reason": "stop"},
        "usage_metadata": {"input_tokens": 9, "output_tokens": 4, "input_token_details": {"cache_read": 2}},
    },
}  # fmt: skip
HUMAN = {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "HumanMessage"],
         "kwargs": {"content": [{"type": "text", "text": "When?"}], "type": "human"}}  # fmt: skip
SYSTEM = {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "SystemMessage"],
          "kwargs": {"content": "Be brief.", "type": "system"}}  # fmt: skip


def test_generations_of_a_chat_model(tmp_path) -> None:
    outputs = {"generations": [[{"text": "Tomorrow.", "message": AI}]], "llm_output": None}
    stated = run(kind="llm", inputs={"messages": [[SYSTEM, HUMAN]]}, outputs=outputs)
    request = the_request(tmp_path, stated)
    assert (request["input_text"], request["output_text"]) == ("When?", "Tomorrow.")
    assert (request["input_tokens"], request["output_tokens"], request["cached_read_tokens"]) == (9, 4, 2)
    assert (request["model"], request["refused"]) == ("m-2025", False)


def test_generations_of_a_completion_model(tmp_path) -> None:
    outputs = {
        "generations": [[{"text": "Tomorrow.", "generation_info": {"finish_reason": "content_filter"}}]],
        "llm_output": {"model_name": "m-1", "token_usage": {"prompt_tokens": 9, "completion_tokens": 4}},
    }
    request = the_request(tmp_path, run(kind="llm", inputs={"prompts": ["When?"]}, outputs=outputs))
    assert (request["output_text"], request["refused"]) == ("Tomorrow.", True)
    assert (request["input_tokens"], request["output_tokens"], request["model"]) == (9, 4, "m-1")


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"messages": [HUMAN]}, {"messages": [HUMAN, AI]}),
        ({"messages": [["human", "When?"]]}, {"output": AI}),
        ({"input": "When?"}, {"output": "Tomorrow."}),
        ({"question": "When?", "user": "u-1"}, {"answer": "Tomorrow.", "context": ["x"]}),
        ({"messages": [{"role": "user", "content": "When?"}]}, {"role": "assistant", "content": "Tomorrow."}),
        ({"input": [{"role": "user", "content": "When?"}]},
         {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Tomorrow."}]}]}),
        ({"contents": [{"role": "user", "parts": [{"text": "When?"}]}]},
         {"candidates": [{"content": {"role": "model", "parts": [{"text": "Tomorrow."}]}, "finishReason": "STOP"}]}),
    ],
)  # fmt: skip
def test_question_and_answer_in_any_shape(tmp_path, inputs, outputs) -> None:
    request = the_request(tmp_path, run(inputs=inputs, outputs=outputs))
    assert (request["input_text"], request["output_text"]) == ("When?", "Tomorrow.")


def test_documents_of_a_retriever(tmp_path) -> None:
    found = [
        {"page_content": "A", "metadata": {"source": "kb://a", "score": 0.9}, "type": "Document"},
        {"page_content": "B", "metadata": {}, "id": "b"},
    ]
    stated = run(CHILD, "retriever", parent=ROOT, outputs={"documents": found})
    tables, _ = read_all([written(tmp_path / "runs.jsonl", run(), stated)])
    assert [(d["rank"], d["document_id"], d["score"], d["content"]) for d in tables["documents"]] == [
        (1, "kb://a", 0.9, "A"), (2, "b", None, "B"),
    ]  # fmt: skip


def test_a_tool_call_keeps_its_id_arguments_and_result(tmp_path) -> None:
    answer = {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "ToolMessage"],
              "kwargs": {"content": '{"n": 1}', "type": "tool", "tool_call_id": "call-1"}}  # fmt: skip
    stated = run(CHILD, "tool", parent=ROOT, name="count", inputs={"input": "{'of': 'x'}"}, outputs={"output": answer})
    tables, _ = read_all([written(tmp_path / "runs.jsonl", run(), stated)])
    (call,) = tables["tool_calls"]
    assert (call["name"], call["call_id"], call["arguments"], call["result"]) == (
        "count", "call-1", "{'of': 'x'}", '{"n": 1}',
    )  # fmt: skip


# --- feedback --------------------------------------------------------------------------------------------------------


def feedback(**more: Any) -> dict[str, Any]:
    return {
        "id": "f-1", "created_at": "2026-11-23T18:03:00", "modified_at": "2026-11-23T18:03:00", "run_id": ROOT,
        "trace_id": ROOT, "session_id": "p-1", "key": "correctness", "score": 1.0, "value": None, "comment": "good",
        "correction": None, "feedback_source": {"type": "model", "metadata": {}}, "feedback_group_id": None, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "ours"),
    [
        ({"type": "model"}, "judge"), ({"type": "auto_eval"}, "judge"), ({"type": "app", "user_id": "r"}, "human"),
        ({"type": "app"}, "human"), ({"type": "api", "user_id": "r"}, "human"), ({"type": "api"}, "user"),
    ],
)  # fmt: skip
def test_feedback_records(tmp_path, source, ours: str) -> None:
    for name, value in (("a", feedback(feedback_source=source)), ("b", run())):
        written(tmp_path / f"{name}.json", value)
    for order in (["a", "b"], ["b", "a"]):
        tables, _ = read_all([tmp_path / f"{name}.json" for name in order])
        (score,) = tables["scores"]
        assert (score["source"], score["value"], score["explanation"], score["span_id"]) == (ours, 1.0, "good", ROOT)
        assert str(score["at"]) == "2026-11-23 18:03:00+00:00"
        (request,) = requests_of(tables).values()
        assert (request["correct"], request["outcome_source"]) == (True, ours)


def test_an_automatic_evaluator_is_no_user_whatever_its_key_is_called(tmp_path) -> None:
    told = feedback(key="user_feedback", feedback_source={"type": "auto_eval"})
    assert [s["source"] for s in read_all([written(tmp_path / "f.json", told)])[0]["scores"]] == ["judge"]


@pytest.mark.parametrize(
    ("stated", "value", "label"),
    [
        ({"modified_at": None}, 1.0, None),
        ({"score": True}, 1.0, None),
        ({"score": None, "value": "bad"}, None, "bad"),
        ({"score": None, "value": 0.5}, 0.5, None),
    ],
)
def test_feedback_is_a_number_a_boolean_or_a_category(tmp_path, stated, value, label) -> None:
    tables, _ = read_all([written(tmp_path / "f.json", feedback(**stated))])
    assert [(s["value"], s["label"]) for s in tables["scores"]] == [(value, label)]
    pd.DataFrame([feedback(**stated)]).to_csv(tmp_path / "f.csv", index=False)
    assert read_all([tmp_path / "f.csv"])[0]["scores"] == tables["scores"]


def stats(**more: Any) -> dict[str, Any]:
    return {"n": 1, "avg": 1.0, "stdev": 0.0, "values": {}, "comments": ["good"], "errors": 0, **more}


def test_feedback_stats_count_where_no_record_tells_more(tmp_path) -> None:
    about = run(feedback_stats={"correctness": stats(), "tone": stats(avg=None, values={"warm": 1})})
    alone, _ = read_all([written(tmp_path / "r.json", about)])
    assert {(s["name"], s["value"], s["label"]) for s in alone["scores"]} == {
        ("correctness", 1.0, None),
        ("tone", None, "warm"),
    }
    written(tmp_path / "f.json", feedback())
    for order in (["r", "f"], ["f", "r"]):
        tables, _ = read_all([tmp_path / f"{name}.json" for name in order])
        assert Counter(s["name"] for s in tables["scores"]) == {"correctness": 1, "tone": 1}
        assert {s["at"] is not None for s in tables["scores"] if s["name"] == "correctness"} == {True}


def test_feedback_stats_of_several_pieces_are_said_to_be_means(tmp_path) -> None:
    about = run(feedback_stats={"correctness": stats(n=4, avg=0.75, comments=["a", "b"])})
    tables, receipt = read_all([written(tmp_path / "r.json", about)])
    assert [(s["value"], s["explanation"]) for s in tables["scores"]] == [(0.75, None)]
    assert any("averages" in note for note in receipt.notes)
