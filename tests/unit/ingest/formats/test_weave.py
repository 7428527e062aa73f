"""Weave calls as JSON lines and as CSV whose columns are paths."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from tests.unit.ingest.formats.helpers import Row, read_all, requests_of

SHAPE = "data/exports/shapes/weave/calls_shape.jsonl"
MODEL = "gpt-4o-mini-2024-07-18"
USED = {"requests": 1, "prompt_tokens": 412, "completion_tokens": 31, "total_tokens": 443}
COST = {"prompt_tokens_total_cost": 4.26e-05, "completion_tokens_total_cost": 1.86e-05, "prompt_token_cost": 1.5e-07}


def call(id: str, parent: str | None, op: str, second: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": id, "project_id": "e/p", "op_name": f"weave:///e/p/op/{op}:D1g3st", "trace_id": "t1", "parent_id": parent,
        "started_at": f"2026-03-01T10:00:{second:02d}.000000Z",
        "ended_at": f"2026-03-01T10:00:{second + 1:02d}.500000Z",
        "attributes": {"weave": {"source": "python-sdk"}, "env": "production"}, "inputs": {"q": "Where is it?"},
        "output": "Sent.", "exception": None, "summary": {"weave": {"status": "success", "latency_ms": 1500}},
        "wb_user_id": "owner", **changes,
    }  # fmt: skip


def summary(times: int = 1, **weave: Any) -> dict[str, Any]:
    """What a call and all below it used: `times` model calls."""
    used = {name: count * times for name, count in USED.items()}
    costs = {name: cost * times for name, cost in COST.items()}
    return {"usage": {MODEL: used}, "weave": {"status": "success", "costs": {MODEL: costs}, **weave}}


def tree() -> list[dict[str, Any]]:
    inputs = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Where is it?"}]}
    reply = {"choices": [{"message": {"role": "assistant", "content": "Sent."}, "finish_reason": "stop"}]}
    model = {"inputs": inputs, "output": reply, "summary": summary()}
    return [
        call("c1", None, "support_agent", 0, ended_at="2026-03-01T10:00:06.000000Z", summary=summary(2)),
        call("c2", "c1", "openai.chat.completions.create", 1, **model),
        call("c3", "c1", "get_order", 3, attributes={"weave": {"kind": "tool"}}),
        call("c4", "c1", "openai.chat.completions.create", 4, **model),
    ]


def read(tmp_path: Path, *records: dict[str, Any], **options: Any) -> tuple[dict[str, list[Row]], Any]:
    path = tmp_path / "calls.jsonl"
    path.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in records))
    return read_all([path], **options)


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """An object as columns, as the platform's CSV has it; lists stay JSON."""
    if isinstance(value, dict) and value and path != "inputs":
        return {
            k: v for name, inner in value.items() for k, v in flat(inner, f"{path}.{name}" if path else name).items()
        }
    return {path: json.dumps(value) if isinstance(value, (list, dict)) else value}


def test_the_shape(shared) -> None:
    raw = [json.loads(line) for line in (shared / SHAPE).read_text().splitlines()]
    tables, receipt = read_all([shared / SHAPE])
    (request,) = requests_of(tables).values()
    assert (receipt.spans, receipt.dropped) == (len(raw), 0)
    assert (request["input_tokens"], request["output_tokens"], request["total_nusd"]) == (724, 55, 141_600)
    assert (request["total_us"], request["error"], request["llm_calls"]) == (1_400_000, False, 1)
    assert (request["release"], request["environment"]) == ("AbC123", "production")
    assert (request["input_text"], request["success"], request["outcome_source"]) == (
        "Wo ist meine Bestellung?", True, "human",
    )  # fmt: skip
    (failed,) = [s for s in tables["spans"] if s["status"] == "error"]
    assert (failed["error_type"], failed["kind"], failed["model"]) == ("RateLimitError", "llm", "gpt-4o-mini")


def test_csv_and_json_lines_are_the_same_requests(tmp_path: Path) -> None:
    records = tree()
    expected = requests_of(read(tmp_path, *records)[0])
    rows = [flat(r) for r in records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    assert f"summary.usage.{MODEL}.prompt_tokens" in names
    with (tmp_path / "calls.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    tables, receipt = read_all([tmp_path / "calls.csv"])
    assert receipt.dropped == 0
    assert requests_of(tables) == expected
    together, receipt = read_all([tmp_path / "calls.csv", tmp_path / "calls.jsonl"])
    assert requests_of(together) == expected
    backwards, _ = read(tmp_path, *records[::-1])
    assert requests_of(backwards) == expected


def test_sums_of_parents_count_once(tmp_path: Path) -> None:
    tables, _ = read(tmp_path, *tree())
    (request,) = requests_of(tables).values()
    naive = sum(r["summary"]["usage"][MODEL]["prompt_tokens"] for r in tree() if "usage" in r["summary"])
    assert request["input_tokens"] == naive / 2 == 824
    assert (request["output_tokens"], request["total_nusd"], request["llm_calls"]) == (62, 122_400, 2)
    (root_alone,) = requests_of(read(tmp_path, tree()[0])[0]).values()
    assert (root_alone["input_tokens"], root_alone["total_nusd"], root_alone["llm_calls"]) == (824, 122_400, 0)


def test_length_is_the_end_minus_the_start(tmp_path: Path) -> None:
    wrong = {"weave": {"status": "success", "latency_ms": 9}}
    (request,) = requests_of(read(tmp_path, call("c", None, "agent", 0, summary=wrong))[0]).values()
    assert request["total_us"] == 1_500_000
    (unended,) = requests_of(read(tmp_path, call("c", None, "agent", 0, ended_at=None))[0]).values()
    assert unended["total_us"] == 1_500_000
    running = call("c", None, "agent", 0, ended_at=None, summary={"weave": {"status": "running"}})
    tables, _ = read(tmp_path, running)
    assert [(s["status"], s["duration_us"]) for s in tables["spans"]] == [("running", None)]


def test_a_failed_descendant_is_no_failure_of_its_parent(tmp_path: Path) -> None:
    root = call("c1", None, "agent", 0, summary={"weave": {"status": "descendant_error"}})
    child = call("c2", "c1", "get_order", 0, exception="KeyError('id')", summary={"weave": {"status": "error"}})
    tables, _ = read(tmp_path, child, root)
    (request,) = requests_of(tables).values()
    assert request["error"] is False
    assert [s["error_type"] for s in tables["spans"] if s["status"] == "error"] == ["KeyError"]


def test_anthropic_counts_the_cache_beside_the_input(tmp_path: Path) -> None:
    usage = {
        "claude-sonnet-4": {"requests": 1, "input_tokens": 156, "cache_read_input_tokens": 256, "output_tokens": 9}
    }
    tables, _ = read(tmp_path, call("c", None, "anthropic.Messages.create", 0, summary={"usage": usage}))
    (request,) = requests_of(tables).values()
    assert (request["input_tokens"], request["cached_read_tokens"]) == (412, 256)
    within = {"prompt_tokens": 412, "cache_read_input_tokens": 256, "completion_tokens": 9}
    tables, _ = read(tmp_path, call("c", None, "litellm.completion", 0, summary={"usage": {"claude-sonnet-4": within}}))
    (request,) = requests_of(tables).values()
    assert (request["input_tokens"], request["cached_read_tokens"]) == (412, 256)


def test_feedback_of_every_kind(tmp_path: Path) -> None:
    said = [
        ("wandb.reaction.1", {"emoji": "👍🏽"}), ("wandb.reaction.1", {"emoji": "🎉"}),
        ("wandb.note.1", {"note": "hm"}),
        ("wandb.annotation.resolved", {"value": True}), ("wandb.annotation.tone", {"value": "friendly"}),
        ("wandb.runnable.correctness", {"output": {"passed": False, "reason": "wrong order"}}),
        ("wandb.runnable.rubric", {"output": {"a": 0.5, "b": 1}}), ("wandb.runnable.plain", {"output": 0.25}),
    ]  # fmt: skip
    feedback = [
        {"id": f"f{n}", "feedback_type": kind, "payload": payload, "created_at": "2026-03-01T11:00:00Z"}
        for n, (kind, payload) in enumerate(said)
    ]
    tables, receipt = read(tmp_path, call("c", None, "agent", 0, summary={"weave": {"feedback": feedback}}))
    assert receipt.dropped == 0
    assert {(s["name"], s["value"], s["label"], s["explanation"], s["source"]) for s in tables["scores"]} == {
        ("thumbs", 1.0, None, None, "human"), ("reaction", None, "🎉", None, "human"),
        ("note", None, None, "hm", "human"), ("resolved", 1.0, None, None, "human"),
        ("tone", None, "friendly", None, "human"), ("correctness", 0.0, None, "wrong order", "judge"),
        ("rubric.a", 0.5, None, None, "judge"), ("rubric.b", 1.0, None, None, "judge"),
        ("plain", 0.25, None, None, "judge"),
    }  # fmt: skip
    (request,) = requests_of(tables).values()
    assert (request["resolved"], request["correct"]) == (True, False)


def test_references_and_owners_are_not_content_or_users(tmp_path: Path) -> None:
    reference = "weave:///e/p/object/Dataset:abc"
    tables, receipt = read(
        tmp_path, call("c", None, "agent", 0, inputs={"self": reference, "q": "Hi"}, output=reference)
    )
    (request,) = requests_of(tables).values()
    assert (request["input_text"], request["output_text"], request["user_key"]) == ("Hi", None, None)
    assert any("references" in note for note in receipt.notes)
    stated = call("c", None, "agent", 0, attributes={"user_id": "u-1"}, thread_id="th-1")
    (request,) = requests_of(read(tmp_path, stated)[0]).values()
    assert request["user_key"] is not None
    assert request["session_id"] == "th-1"


def test_deleted_calls_are_left_out(tmp_path: Path) -> None:
    tables, receipt = read(tmp_path, call("c", None, "agent", 0, deleted_at="2026-03-02T00:00:00Z"))
    assert not tables
    assert any("deleted" in note for note in receipt.notes)


def test_columns_of_models_whose_names_hold_dots(tmp_path: Path) -> None:
    used = {"prompt_tokens": 412, "completion_tokens": 31, "prompt_tokens_details": {"cached_tokens": 256}}
    model_call = call("c", None, "openai.chat.completions.create", 0, summary={"usage": {"gpt-4.1": used}})
    row = flat(model_call)
    assert "summary.usage.gpt-4.1.prompt_tokens_details.cached_tokens" in row
    with (tmp_path / "calls.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    (request,) = requests_of(read_all([tmp_path / "calls.csv"])[0]).values()
    assert (request["model"], request["input_tokens"], request["cached_read_tokens"]) == ("gpt-4.1", 412, 256)


def test_traced_moderations_are_guardrails(tmp_path: Path) -> None:
    verdict = {"results": [{"flagged": True, "categories": {"hate": True, "sexual": False}}]}
    tables, _ = read(tmp_path, call("c", None, "openai.moderations.create", 0, output=verdict))
    assert [(i["category"], i["state"]) for i in tables["incidents"]] == [("hate", "flagged")]
