"""LangSmith's exports: dumps and payloads of runs, REST and API v2, bulk Parquet, frames as CSV, feedback."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kpi
from tests.unit.formats.helpers import Row, read_all, requests_of

FOLDER = "data/exports/langsmith"
DUMP, PAYLOADS = f"{FOLDER}/list_runs_model_dump.jsonl", f"{FOLDER}/ingest_runs_merged.jsonl"
ALLOW = ("metadata.language", "metadata.tenant")
ROOT, CHILD, LEAF = (f"0000000{n}-0000-7000-8000-00000000000a" for n in (1, 2, 3))


def runs(shared: Path, name: str = DUMP) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (shared / name).read_text().splitlines()]


def kpis(*paths: Path) -> dict[str, Row]:
    return requests_of(read_all(paths, allow=ALLOW)[0])


def written(path: Path, *records: Any) -> Path:
    path.write_text("\n".join(json.dumps(r) for r in records))
    return path


def run(run_id: str = ROOT, kind: str = "chain", *, parent: str | None = None, **more: Any) -> dict[str, Any]:
    order = ".".join(f"20261123T180215{n}91870Z{i}" for n, i in enumerate([ROOT, *([run_id] if parent else [])]))
    return {
        "id": run_id, "trace_id": ROOT, "parent_run_id": parent, "dotted_order": order, "name": "step",
        "run_type": kind, "start_time": "2026-11-23T18:02:15.000000", "end_time": "2026-11-23T18:02:17.000000",
        "session_id": "11111111-0000-7000-8000-00000000000b", "inputs": {}, "outputs": {}, "extra": {}, **more,
    }  # fmt: skip


def the_request(path: Path, *records: Any) -> Row:
    (request,) = kpis(written(path / "runs.jsonl", *records)).values()
    return request


# --- the genuine exports ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [DUMP, PAYLOADS])
def test_exact_counts(shared, name: str) -> None:
    raw = runs(shared, name)
    tables, receipt = read_all([shared / name], allow=ALLOW)
    requests = requests_of(tables)
    kinds = Counter(r["run_type"] for r in raw)
    assert len(requests) == len({r["trace_id"] for r in raw}) == 5
    assert receipt.spans == len(raw) == 23
    assert receipt.dropped == 0
    assert len(tables["tool_calls"]) == kinds["tool"] == 4
    assert (
        len(tables["documents"]) == sum(len(r["outputs"]["output"]) for r in raw if r["run_type"] == "retriever") == 15
    )
    assert sum(r["llm_calls"] for r in requests.values()) == kinds["llm"] == 9
    usage = [u for r in raw if r["run_type"] == "llm" and (u := (r["outputs"] or {}).get("usage_metadata"))]
    assert sum(r["input_tokens"] or 0 for r in requests.values()) == sum(u["input_tokens"] for u in usage) == 2896
    assert sum(r["output_tokens"] or 0 for r in requests.values()) == sum(u["output_tokens"] for u in usage) == 220
    cached = sum(u["input_token_details"]["cache_read"] for u in usage)
    assert sum(r["cached_read_tokens"] or 0 for r in requests.values()) == cached == 2048
    assert all(r["total_nusd"] is None for r in requests.values())  # no run states a cost
    failed = [r for r in requests.values() if r["error"]]
    assert len(failed) == sum(r.get("error") is not None and r.get("parent_run_id") is None for r in raw) == 1
    assert failed[0]["error_type"] == "RateLimitError"
    assert "scores" not in tables
    sessions = {r["trace_id"]: r["extra"]["metadata"]["session_id"] for r in raw}
    assert {t: r["session_id"] for t, r in requests.items()} == sessions
    assert len({r["user_key"] for r in requests.values()}) == 5
    assert {(r["prompt_version"], r["release"], r["provider"]) for r in requests.values()} == {
        ("v12", "v2.14.0", "openai")
    }


def test_what_a_request_says(shared) -> None:
    raw = [r for r in runs(shared) if r["trace_id"] == runs(shared)[0]["trace_id"]]
    times = {
        name: datetime.fromisoformat(value)
        for name, value in (
            ("start", raw[0]["start_time"]),
            ("end", raw[0]["end_time"]),
            ("token", raw[-1]["events"][0]["time"]),
        )
    }
    request = kpis(shared / DUMP)[raw[0]["trace_id"]]
    assert request["input_text"] == "Wo ist meine Bestellung?"
    assert request["output_text"].startswith("Ihre Bestellung wurde versandt")
    assert request["total_us"] == round((times["end"] - times["start"]).total_seconds() * 1e6)
    assert request["ttft_us"] == round((times["token"] - times["start"]).total_seconds() * 1e6)
    assert (request["model"], request["x_requested_model"]) == ("gpt-4o-mini-2024-07-18", "gpt-4o-mini")
    assert (request["language"], request["tenant"], request["refused"]) == ("de", "acme", False)


def counted_by_the_server(raw: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs as the platform returns them: tokens and costs counted, and summed up on every parent."""
    found = copy.deepcopy(raw)
    by_id = {r["id"]: r for r in found}
    for r in found:
        r |= {"session_id": "p-1", "prompt_tokens": 0, "completion_tokens": 0, "total_cost": None}
    for r in found:
        usage = (r["outputs"] or {}).get("usage_metadata")
        above = r
        while usage and above:
            above["prompt_tokens"] += usage["input_tokens"]
            above["completion_tokens"] += usage["output_tokens"]
            cost = Decimal(usage["input_tokens"]) * Decimal("1.5e-7") + Decimal(usage["output_tokens"]) * Decimal(
                "6e-7"
            )
            above["total_cost"] = str(Decimal(above["total_cost"] or 0) + cost)
            above = by_id.get(above["parent_run_id"])
    for r in found:
        if r["events"] and not r["parent_run_id"]:
            r["first_token_time"] = r["events"][0]["time"]
    return found


def as_api_v2(raw: list[dict[str, Any]]) -> dict[str, Any]:
    items = []
    for r in raw:
        item = {k: v for k, v in r.items() if k not in ("session_id", "extra")}
        metadata = dict(r["extra"]["metadata"])
        thread = metadata.pop("session_id")
        items.append({
            **item, "run_type": r["run_type"].upper(), "status": r["status"].upper(), "project_id": "p-1",
            "metadata": metadata, "thread_id": thread, "is_root": not r["parent_run_id"], "ls_user_id": "key-owner",
            "total_cost": float(r["total_cost"]) if r["total_cost"] else None,
            "extra": {"invocation_params": r["extra"].get("invocation_params")},
        })  # fmt: skip
    return {"items": items, "next_cursor": None}


BULK = pa.schema(
    [(n, pa.string()) for n in ("id", "tenant_id", "session_id", "trace_id", "parent_run_id")]
    + [("parent_run_ids", pa.list_(pa.string()))]
    + [(n, pa.string()) for n in ("reference_example_id", "name", "run_type")]
    + [
        ("start_time", pa.timestamp("us", tz="UTC")),
        ("end_time", pa.timestamp("us", tz="UTC")),
        ("status", pa.string()),
    ]
    + [("is_root", pa.bool_()), ("dotted_order", pa.string()), ("trace_tier", pa.string())]
    + [(n, pa.string()) for n in ("inputs", "outputs", "error", "extra", "events")]
    + [("tags", pa.list_(pa.string())), ("feedback_stats", pa.string())]
    + [(n, pa.int64()) for n in ("total_tokens", "prompt_tokens", "completion_tokens")]
    + [(n, pa.float64()) for n in ("total_cost", "prompt_cost", "completion_cost")]
    + [("first_token_time", pa.timestamp("us", tz="UTC"))]
)


def as_bulk_export(raw: list[dict[str, Any]], folder: Path) -> Path:
    """By the documented columns and path: objects are JSON text, the project is in the path as well."""
    path = folder / "export_id=e/tenant_id=t/session_id=p-1/runs/year=2026/month=11/day=23/data.parquet"
    path.parent.mkdir(parents=True)
    rows = []
    for r in raw:
        row = {name: r.get(name) for name in BULK.names} | {"tenant_id": "t", "is_root": not r["parent_run_id"]}
        for name in ("inputs", "outputs", "extra", "events"):
            row[name] = json.dumps(r[name])
        for name in ("start_time", "end_time", "first_token_time"):
            row[name] = datetime.fromisoformat(r[name]).astimezone(UTC) if r.get(name) else None
        row["total_cost"] = float(r["total_cost"]) if r["total_cost"] else None
        rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows, schema=BULK), path, compression="zstd")
    return path


def as_frame(raw: list[dict[str, Any]]) -> pd.DataFrame:
    """What `pd.DataFrame([run.dict() …])` holds: uuid, datetime and Decimal objects, dicts as they are."""
    rows = copy.deepcopy(raw)
    for r in rows:
        for name in ("id", "trace_id", "parent_run_id"):
            r[name] = UUID(r[name]) if r[name] else None
        for name in ("start_time", "end_time"):
            r[name] = datetime.fromisoformat(r[name])
        r["events"] = [{**e, "time": datetime.fromisoformat(e["time"])} for e in r["events"]]
        r["total_cost"] = Decimal(r["total_cost"]) if r["total_cost"] else None
    return pd.DataFrame(rows)


def test_equal_kpis_of_the_two_genuine_files(shared) -> None:
    assert kpis(shared / DUMP) == kpis(shared / PAYLOADS) == kpis(shared / DUMP, shared / PAYLOADS)


def test_equal_kpis_whatever_the_shape(shared, tmp_path) -> None:
    raw = counted_by_the_server(runs(shared))
    expected = kpis(written(tmp_path / "runs.jsonl", *raw))
    plain = kpis(shared / DUMP)
    costs = ("inference_nusd", "total_nusd", "priced", "cost_source", "unpriced_model")
    for trace_id, request in expected.items():
        assert {k: v for k, v in request.items() if k not in costs} == {
            k: v for k, v in plain[trace_id].items() if k not in costs
        }
    assert sum(r["total_nusd"] or 0 for r in expected.values()) == 2896 * 150 + 220 * 600
    assert kpis(written(tmp_path / "query.json", {"runs": raw, "cursors": {"next": None}})) == expected
    assert kpis(written(tmp_path / "v2.json", as_api_v2(raw))) == expected
    assert kpis(as_bulk_export(raw, tmp_path)) == expected
    as_frame(raw).to_csv(tmp_path / "frame.csv", index=False)
    assert "datetime.datetime(" in (tmp_path / "frame.csv").read_text()
    assert kpis(tmp_path / "frame.csv") == expected
    nested = [
        {**r, "child_runs": [c for c in raw if c["parent_run_id"] == r["id"]]} for r in raw if not r["parent_run_id"]
    ]
    assert kpis(written(tmp_path / "nested.jsonl", *nested)) == expected


def test_trap_6_all_shapes_at_once_in_any_order_are_stored_once(shared, tmp_path) -> None:
    raw = counted_by_the_server(runs(shared))
    v2 = written(tmp_path / "v2.json", as_api_v2(raw))
    shuffled = random.Random(7).sample(raw, len(raw))
    paths = [as_bulk_export(raw, tmp_path), v2, written(tmp_path / "runs.jsonl", *shuffled), shared / DUMP]
    expected = kpis(v2)
    assert kpis(*paths) == kpis(*paths[::-1]) == expected


def test_a_folder_loads_into_the_store(shared, tmp_path, home) -> None:
    as_bulk_export(counted_by_the_server(runs(shared)), tmp_path)
    receipt = kpi.load([tmp_path, shared / DUMP])
    assert (receipt.format, receipt.requests, receipt.spans) == ("langsmith", 5, 23)
    assert "run.tags" in receipt.unmapped  # "prod" and "de" are no `key:value`


# --- the traps -------------------------------------------------------------------------------------------------------


def test_trap_2_times_without_a_zone_are_utc(tmp_path) -> None:
    request = the_request(tmp_path, run())
    assert (str(request["started_at"]), request["total_us"]) == ("2026-11-23 18:02:15+00:00", 2_000_000)


@pytest.mark.parametrize("absent", [None, ""])
def test_trap_3_a_root_has_no_parent_in_any_spelling(tmp_path, absent) -> None:
    request = the_request(tmp_path, run(parent_run_id=absent), run(CHILD, "llm", parent=ROOT))
    assert (request["trace_id"], request["llm_calls"]) == (ROOT, 1)


def test_the_dotted_order_alone_tells_the_tree(shared, tmp_path) -> None:
    raw = runs(shared)
    bare = [{k: v for k, v in r.items() if k not in ("id", "trace_id", "parent_run_id", "parent_run_ids")} for r in raw]
    assert kpis(written(tmp_path / "bare.jsonl", *bare)) == kpis(shared / DUMP)
    assert str(the_request(tmp_path, run(start_time=None))["started_at"]) == "2026-11-23 18:02:15.091870+00:00"


def test_trap_8_empty_cells_of_a_frame_are_nothing(tmp_path) -> None:
    rows = [run(), run(CHILD, "llm", parent=ROOT, prompt_tokens=412, total_cost=Decimal("0.0001"))]
    pd.DataFrame(rows).to_csv(tmp_path / "frame.csv", index=False)
    assert "412.0" in (tmp_path / "frame.csv").read_text()
    (request,) = kpis(tmp_path / "frame.csv").values()
    assert (request["error"], request["input_tokens"], request["total_nusd"]) == (False, 412, 100_000)


def test_trap_9_members_that_a_row_does_not_have_are_null_in_parquet(tmp_path) -> None:
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


def test_trap_12_the_input_includes_the_cache(tmp_path) -> None:
    usage = {"input_tokens": 412, "output_tokens": 31, "input_token_details": {"cache_read": 256}}
    request = the_request(tmp_path, run(kind="llm", outputs={"usage_metadata": usage}))
    assert (request["input_tokens"], request["cached_read_tokens"]) == (412, 256)
    stated = {"prompt_tokens": 412, "completion_tokens": 31, "prompt_token_details": {"cache_read": 256}}
    assert the_request(tmp_path, run(kind="llm", **stated))["cached_read_tokens"] == 256


@pytest.mark.parametrize(
    "costs", [{"total_cost": "0.00010320"}, {"prompt_cost": "0.0000702", "completion_cost": 3.3e-05}]
)
def test_trap_13_costs_are_decimal_text(tmp_path, costs) -> None:
    stated = {"prompt_tokens": 412, "completion_tokens": 31, **costs}
    assert the_request(tmp_path, run(kind="llm", **stated))["total_nusd"] == 103_200


def test_trap_14_sums_on_parents_count_once(tmp_path) -> None:
    sums = {"prompt_tokens": 100, "completion_tokens": 10, "total_cost": "0.001"}
    chain, leaf = run(CHILD, parent=ROOT, **sums), run(LEAF, "llm", parent=CHILD, **sums)
    request = the_request(tmp_path, run(**sums), chain, leaf)
    assert (request["input_tokens"], request["output_tokens"], request["total_nusd"]) == (100, 10, 1_000_000)


def test_trap_14_the_root_speaks_where_only_roots_were_exported(tmp_path) -> None:
    sums = {"prompt_tokens": 100, "completion_tokens": 10, "total_cost": "0.001"}
    tables, receipt = read_all([written(tmp_path / "runs.jsonl", run(**sums))])
    (request,) = requests_of(tables).values()
    assert (request["input_tokens"], request["total_nusd"]) == (100, 1_000_000)
    assert any("only the root run is here: 1." in note for note in receipt.notes)


def test_trap_15_zero_tokens_are_unknown(tmp_path) -> None:
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
def test_trap_16_time_to_first_token(tmp_path, more, ttft) -> None:
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
def test_trap_17_an_error_is_text_with_a_traceback(tmp_path, error, kind, message) -> None:
    tables, _ = read_all([written(tmp_path / "runs.jsonl", run(error=error, status="error"))])
    (row,) = tables["spans"]
    assert (row["status"], row["error_type"], row["status_message"]) == ("error", kind, message)


def test_trap_20_a_refusal_stands_beside_an_empty_content(tmp_path) -> None:
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": None, "refusal": "No."}}
    request = the_request(tmp_path, run(kind="llm", outputs={"choices": [choice]}))
    assert (request["refused"], request["output_text"]) == (True, "No.")


def test_trap_22_offloaded_and_previewed_texts_are_said(tmp_path) -> None:
    stated = run(inputs={}, inputs_s3_urls={"ROOT": {"presigned_url": "secret-link"}}, outputs_preview="becau…")
    tables, receipt = read_all([written(tmp_path / "runs.jsonl", stated)])
    assert any("outside the export (`s3_urls`): 1." in note for note in receipt.notes)
    assert any("previews" in note for note in receipt.notes)
    assert tables["spans"][0]["output_text"] == "becau…"
    assert "secret-link" not in str(tables) + str(receipt)


@pytest.mark.parametrize("key", ["session_id", "thread_id", "conversation_id"])
def test_trap_24_session_id_is_the_project(tmp_path, key: str) -> None:
    assert the_request(tmp_path, run())["session_id"] is None
    assert the_request(tmp_path, run(extra={"metadata": {key: "chat-1"}}))["session_id"] == "chat-1"
    assert the_request(tmp_path, run(thread_id="chat-2"))["session_id"] == "chat-2"


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
        ({"type": "api", "user_id": "r"}, "human"), ({"type": "api"}, "user"),
    ],
)  # fmt: skip
def test_feedback_records(tmp_path, source, ours: str) -> None:
    for name, value in (("a", feedback(feedback_source=source)), ("b", run())):
        written(tmp_path / f"{name}.json", value)
    for order in (["a", "b"], ["b", "a"]):
        tables, _ = read_all([tmp_path / f"{name}.json" for name in order])
        (score,) = tables["scores"]
        assert (score["source"], score["value"], score["explanation"], score["span_id"]) == (ours, 1.0, "good", ROOT)
        (request,) = requests_of(tables).values()
        assert (request["correct"], request["outcome_source"]) == (True, ours)


@pytest.mark.parametrize(
    ("stated", "value", "label"),
    [
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


# --- what is missing, and damage -------------------------------------------------------------------------------------


def test_pending_runs_and_lost_roots_are_said(tmp_path) -> None:
    pending = run(CHILD, "llm", parent=ROOT, status="pending", end_time=None)
    tables, receipt = read_all([written(tmp_path / "runs.jsonl", pending)])
    assert [s["status"] for s in tables["spans"]] == ["running"]
    assert any("pending" in note and ": 1." in note for note in receipt.notes)
    assert any("without their root run: 1." in note for note in receipt.notes)


def test_every_field_that_is_not_read_is_named(tmp_path) -> None:
    stated = run(attachments={"a": 1}, reference_example_id="e", extra={"metadata": {}, "odd": 1}, share_token=None)
    _, receipt = read_all([written(tmp_path / "runs.jsonl", stated)])
    assert {c.source for c in receipt.columns} == {"run.attachments", "run.reference_example_id", "run.extra.odd"}


@pytest.mark.parametrize("seed", range(6))
def test_a_file_that_is_cut_off_loads_its_good_part(shared, tmp_path, seed: int) -> None:
    whole = (shared / DUMP).read_bytes()
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(whole[: random.Random(seed).randrange(4_000, len(whole) - 10)])
    complete = cut.read_bytes().count(b"\n")
    tables, receipt = read_all([cut])
    assert receipt.spans == complete > 0
    assert receipt.drop_reasons == {"the line is not valid JSON": 1}
    assert {s["span_id"] for s in tables["spans"]} == {r["id"] for r in runs(shared)[:complete]}


@pytest.mark.parametrize(
    "wrong",
    [{"extra": "x"}, {"events": {}}, {"inputs": 5}, {"outputs": [1]}, {"tags": "prod"}, {"feedback_stats": [1]},
     {"start_time": {}}, {"dotted_order": 7}, {"error": {"a": 1}}, {"child_runs": 3}, {"total_cost": "free"}],
)  # fmt: skip
def test_fields_of_a_wrong_type_cost_themselves_only(tmp_path, wrong) -> None:
    tables, receipt = read_all([written(tmp_path / "runs.jsonl", run(kind="llm", **wrong))])
    assert receipt.spans == 1
    assert len(requests_of(tables)) == 1
