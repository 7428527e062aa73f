"""ATIF trajectories: steps as calls, sums that count once, continuations and subagents (made up by the schema)."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ingest.formats.helpers import read_all, requests_of

AGENT = {"name": "harbor-agent", "version": "1.2", "model_name": "m-1"}
STEPS: list[dict[str, Any]] = [
    {"step_id": 1, "timestamp": "2026-05-01T10:00:00Z", "source": "user", "message": "Create hello.txt"},
    {"step_id": 2, "timestamp": "2026-05-01T10:00:05Z", "source": "agent", "model_name": "m-1", "message": "I will.",
     "tool_calls": [{"tool_call_id": "c1", "function_name": "write", "arguments": {"path": "hello.txt"}},
                    {"tool_call_id": "c2", "function_name": "read", "arguments": {"path": "hello.txt"}}],
     "observation": {"results": [{"source_call_id": "c2", "content": "hello"},
                                 {"source_call_id": "c1", "content": "ok"}]},
     "metrics": {"prompt_tokens": 500, "completion_tokens": 20, "cached_tokens": 400, "cost_usd": 0.001}},
    {"step_id": 3, "timestamp": "2026-05-01T10:00:09Z", "source": "agent", "model_name": "m-1", "message": "Done.",
     "metrics": {"prompt_tokens": 600, "completion_tokens": 10, "cached_tokens": 500, "cost_usd": 0.002}},
]  # fmt: skip
FINAL = {"total_prompt_tokens": 1100, "total_completion_tokens": 30, "total_cached_tokens": 900,
         "total_cost_usd": 0.003, "total_steps": 3}  # fmt: skip
DOCUMENT = {"schema_version": "ATIF-v1.6", "session_id": "s-1", "agent": AGENT, "steps": STEPS, "final_metrics": FINAL}


def load(tmp_path: Path, *documents: dict[str, Any]):
    files = []
    for i, document in enumerate(documents):
        files.append(tmp_path / f"trajectory-{i}.json")
        files[-1].write_text(json.dumps(document, indent=1))
    tables, receipt = read_all(files)
    return tables, receipt, requests_of(tables)


def test_steps_are_calls(tmp_path: Path) -> None:
    tables, receipt, found = load(tmp_path, DOCUMENT)
    row = found["s-1"]
    assert (row["llm_calls"], row["tool_calls"], row["turns"]) == (2, 2, 1)
    assert (row["input_text"], row["output_text"]) == ("Create hello.txt", "Done.")
    assert (row["model"], row["release"], row["x_agent"], row["session_id"]) == ("m-1", "1.2", "harbor-agent", "s-1")
    assert row["total_us"] == 9_000_000
    assert {c["name"]: c["result"] for c in tables["tool_calls"]} == {"write": "ok", "read": "hello"}
    assert row["tool_errors"] is None  # the format cannot say
    assert row["error"] is False
    assert receipt.dropped == 0
    assert any("first to its last step" in n for n in receipt.notes)


def test_final_metrics_are_no_further_tokens(tmp_path: Path) -> None:
    row = load(tmp_path, DOCUMENT)[2]["s-1"]
    assert (row["input_tokens"], row["cached_read_tokens"], row["output_tokens"]) == (1100, 900, 30)
    assert row["inference_nusd"] == 3_000_000


def test_final_metrics_count_where_no_step_has_any(tmp_path: Path) -> None:
    bare = copy.deepcopy(DOCUMENT)
    for step in bare["steps"]:
        step.pop("metrics", None)
    row = load(tmp_path, bare)[2]["s-1"]
    assert (row["input_tokens"], row["output_tokens"], row["inference_nusd"]) == (1100, 30, 3_000_000)


def test_prompt_tokens_include_the_cached(tmp_path: Path) -> None:
    assert load(tmp_path, DOCUMENT)[2]["s-1"]["input_tokens"] == 1100  # not 2000


def test_a_continuation_is_the_same_request_in_any_order(tmp_path: Path) -> None:
    first = {**DOCUMENT, "continued_trajectory_ref": "trajectory-1.json"}
    copied = [{**s, "is_copied_context": True} for s in STEPS]
    added = [
        {"step_id": 4, "timestamp": "2026-05-01T10:01:00Z", "source": "user", "message": "And again"},
        {"step_id": 5, "timestamp": "2026-05-01T10:01:04Z", "source": "agent", "message": "Again.",
         "metrics": {"prompt_tokens": 700, "completion_tokens": 5, "cost_usd": 0.004}},
    ]  # fmt: skip
    second = {**DOCUMENT, "steps": [*copied, *added]}
    orders = [load(tmp_path, *order)[2] for order in itertools.permutations([first, second])]
    assert orders[0] == orders[1]
    (row,) = orders[0].values()
    assert (row["llm_calls"], row["tool_calls"], row["turns"], row["input_tokens"]) == (3, 2, 2, 1800)
    assert (row["input_text"], row["output_text"], row["total_us"]) == ("Create hello.txt", "Again.", 64_000_000)
    alone = load(tmp_path, first)[1]
    assert any("another file that is not among" in n for n in alone.notes)


def test_embedded_subagents_belong_to_the_request(tmp_path: Path) -> None:
    inner = {"schema_version": "ATIF-v1.7", "trajectory_id": "sub-1", "agent": {"name": "helper", "version": "1"},
             "steps": STEPS[1:2]}  # fmt: skip
    tables, _, found = load(tmp_path, {**DOCUMENT, "subagent_trajectories": [inner]})
    assert list(found) == ["s-1"]
    assert found["s-1"]["llm_calls"] == 3
    parents = {s["parent_id"] for s in tables["spans"] if s["kind"] == "llm"}
    assert parents == {None, "sub-1"}


def test_steps_without_times_or_model_calls(tmp_path: Path) -> None:
    undated = copy.deepcopy(DOCUMENT)
    for step in undated["steps"]:
        del step["timestamp"]
    undated["steps"][1]["llm_call_count"] = 0
    row = load(tmp_path, undated)[2]["s-1"]
    assert (row["started_at"], row["total_us"], row["llm_calls"], row["tool_calls"]) == (None, None, 1, 2)
    assert row["output_text"] == "Done."


def test_other_schemas_are_not_ours(tmp_path: Path) -> None:
    tables, receipt, _ = load(tmp_path, {**DOCUMENT, "schema_version": "2.0"}, {**DOCUMENT, "session_id": "s-2"})
    assert receipt.drop_reasons == {"not an ATIF trajectory": 1}
    assert {s["trace_id"] for s in tables["spans"]} == {"s-2"}


@pytest.mark.parametrize("share", [0.3, 0.55, 0.8])
def test_a_cut_document_loads_its_whole_steps(tmp_path: Path, share: float) -> None:
    text = json.dumps(DOCUMENT)
    (tmp_path / "cut.json").write_text(text[: int(len(text) * share)])
    tables, receipt = read_all([tmp_path / "cut.json"])
    row = requests_of(tables)["s-1"]
    assert row["turns"] == 1
    assert (row["llm_calls"] or 0) == len([x for x in tables["spans"] if x["kind"] == "llm"]) < 3
    assert any("cut off" in n for n in receipt.notes)
