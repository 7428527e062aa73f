"""Inspect AI: the log as JSON and as an archive, counted naively from the raw file; grades, attachments, damage."""

from __future__ import annotations

import copy
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import kpi
from tests.unit.ingest.formats.helpers import read_all, requests_of

LOG = "data/exports/inspect_ai/2026-11-23T18-19-49-00-00_support_8ydAPcbTtvWR73iTsJPv6t.json"


@pytest.fixture(scope="module")
def raw(shared) -> dict[str, Any]:
    return json.loads((shared / LOG).read_text())


@pytest.fixture(scope="module")
def loaded(shared):
    tables, receipt = read_all([shared / LOG])
    return tables, receipt, requests_of(tables)


def archive(path: Path, log: dict[str, Any], *, header: bool = True, keep: slice = slice(None)) -> Path:
    """The `.eval` archive of a log, members as Inspect writes them."""
    head = {k: v for k, v in log.items() if k not in ("samples", "reductions")}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as members:
        start = {k: log[k] for k in ("version", "eval", "plan")}
        members.writestr("_journal/start.json", json.dumps(start, indent=2))
        for sample in log["samples"][keep]:
            name = f"samples/{sample['id']}_epoch_{sample['epoch']}.json"
            members.writestr(name, json.dumps(sample, indent=2))
        summaries = [{k: s[k] for k in ("id", "epoch", "input", "target", "model_usage")} for s in log["samples"]]
        members.writestr("_journal/summaries/1.json", json.dumps(summaries, indent=2))
        members.writestr("summaries.json", json.dumps(summaries, indent=2))
        members.writestr("reductions.json", json.dumps(log["reductions"], indent=2))
        if header:
            members.writestr("header.json", json.dumps(head, indent=2))
    return path


def test_counts_are_those_of_the_raw_events(raw, loaded) -> None:
    tables, receipt, requests = loaded
    events = Counter(e["event"] for s in raw["samples"] for e in s["events"])
    assert len(requests) == len(raw["samples"]) == 6
    assert sum(s["kind"] == "llm" for s in tables["spans"]) == events["model"] == 10
    assert len(tables["tool_calls"]) == events["tool"] == 4
    held = sum(e["event"] == "span_begin" and e["type"] == "tool" for s in raw["samples"] for e in s["events"])
    assert receipt.spans == events["span_begin"] - held + events["model"] + events["tool"] == 52
    assert len(tables["scores"]) == sum(len(s["scores"]) for s in raw["samples"]) == 4
    assert sum(r["error"] for r in requests.values()) == sum("error" in s for s in raw["samples"]) == 2
    assert sum(r["retries"] for r in requests.values()) == 4  # what the failed calls say of themselves
    assert receipt.dropped == 0
    assert [c.source for c in receipt.columns if c.field is None] == [
        "eval.model_generate_config", "eval.model_args", "eval.config", "sample.working_time",
    ]  # fmt: skip


def test_input_leaves_cached_tokens_out(raw, loaded) -> None:
    usage = raw["stats"]["model_usage"]["openai/gpt-4o-mini"]
    rows = loaded[2].values()
    cached = sum(r["cached_read_tokens"] or 0 for r in rows)
    assert cached == usage["input_tokens_cache_read"] == 2048
    assert sum(r["input_tokens"] or 0 for r in rows) == usage["input_tokens"] + cached == 2896
    assert sum(r["output_tokens"] or 0 for r in rows) == usage["output_tokens"] == 220
    calls = [e["call"]["response"] for s in raw["samples"] for e in s["events"] if e["event"] == "model"]
    assert sum(c["usage"]["prompt_tokens"] for c in calls if "usage" in c) == 2896  # what the provider itself counted


def test_grades_are_outcomes_and_metadata_are_cohorts(raw, loaded) -> None:
    rows = loaded[2].values()
    stated = {(s["id"], str(s["epoch"])): s["scores"].get("includes", {}).get("value", "") for s in raw["samples"]}
    told = {True: "C", False: "I", None: ""}
    assert {(r["x_sample"], r["x_epoch"]): told[r["success"]] for r in rows} == stated
    assert {(r["language"], r["tenant"], r["x_task"]) for r in rows} == {
        ("de", "acme", "support"),
        ("en", "acme", "support"),
    }
    assert {(r["model"], r["x_requested_model"], r["provider"]) for r in rows} == {
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini", "openai"), ("gpt-4o-mini", "gpt-4o-mini", "openai"),
    }  # fmt: skip
    assert {r["error_type"] for r in rows if r["error"]} == {"RetryError"}
    assert {r["turns"] for r in rows} == {1}


def test_texts_come_from_the_pool_of_messages(loaded) -> None:
    questions = {s["input_text"] for s in loaded[0]["spans"] if s["kind"] == "llm"}
    assert questions == {"Wo ist meine Bestellung?", "Where is my order?", "RATE please"}


def test_the_archive_is_the_same_log(shared, raw, loaded, tmp_path: Path) -> None:
    packed = archive(tmp_path / "log.eval", raw)
    tables, receipt = read_all([packed])
    assert requests_of(tables) == loaded[2]
    assert receipt.spans == loaded[1].spans
    for order in ([packed, shared / LOG], [shared / LOG, packed]):  # both shapes in one load: nothing twice
        assert requests_of(read_all(order)[0]) == loaded[2]


def test_an_unpacked_archive_in_any_order(raw, loaded, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive(tmp_path / "log.eval", raw)) as members:
        members.extractall(tmp_path / "open")
    files = sorted(p for p in (tmp_path / "open").rglob("*.json"))
    for order in (files, files[::-1]):
        assert requests_of(read_all(order)[0]) == loaded[2]


def test_a_killed_run_and_lost_samples_are_told(raw, loaded, tmp_path: Path) -> None:
    killed = archive(tmp_path / "killed.eval", raw, header=False)
    assert requests_of(read_all([killed])[0]) == loaded[2]
    few = archive(tmp_path / "few.eval", raw, keep=slice(2, 4))
    tables, receipt = read_all([few])
    assert len(requests_of(tables)) == 2
    assert "The log of support counts 6 samples, 4 are missing." in receipt.notes
    alone = tmp_path / "alone.json"
    alone.write_text(json.dumps(raw["samples"][0]))
    tables, receipt = read_all([alone])
    assert any("without the header" in n for n in receipt.notes)
    assert "x_task" not in next(iter(requests_of(tables).values()))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_cut_log_loads_its_whole_samples(shared, loaded, tmp_path: Path, share: float) -> None:
    text = (shared / LOG).read_bytes()
    (tmp_path / "cut.json").write_bytes(text[: int(len(text) * share)])
    tables, receipt = read_all([tmp_path / "cut.json"])
    found = requests_of(tables)
    assert 0 < len(found) < 6
    assert found.keys() <= loaded[2].keys()
    assert any("are missing" in n for n in receipt.notes)
    assert any("cut off" in n for n in receipt.notes)


def sample(**more: Any) -> dict[str, Any]:
    base = {
        "id": "q1", "epoch": 1, "input": "2+2?", "target": "4", "messages": [{"role": "user", "content": "2+2?"}],
        "output": {"model": "m", "completion": "4", "choices": []}, "scores": {}, "metadata": {}, "events": [],
        "uuid": "U1",
    }  # fmt: skip
    return {**base, **more}


def log(*samples: dict[str, Any], headline: str | None = None) -> dict[str, Any]:
    results = {"total_samples": len(samples), "headline": {"score": headline}} if headline else {}
    return {"version": 2, "status": "success", "eval": {"eval_id": "E", "task": "sums", "model": "p/m"}, "plan": {},
            "results": results, "samples": list(samples)}  # fmt: skip


def one(tmp_path: Path, *samples: dict[str, Any], headline: str | None = None):
    (tmp_path / "log.json").write_text(json.dumps(log(*samples, headline=headline)))
    tables, receipt = read_all([tmp_path / "log.json"])
    return tables, receipt, requests_of(tables)


@pytest.mark.parametrize(
    ("value", "correct", "stored", "label"),
    [
        ("C", True, 1.0, "C"), ("I", False, 0.0, "I"), ("P", False, 0.5, "partial"), ("N", False, 0.0, "no_answer"),
        (1.0, True, 1.0, None), (0.2, False, 0.2, None), (True, True, 1.0, None), (7, None, 7.0, None),
        ("whatever", None, None, "whatever"),
    ],
)  # fmt: skip
def test_grades(tmp_path: Path, value: Any, correct: bool | None, stored: float | None, label: str | None) -> None:
    tables, _, found = one(tmp_path, sample(scores={"match": {"value": value}}))
    (score,) = tables["scores"]
    assert (score["value"], score["label"], score["source"]) == (stored, label, "code")
    assert found["U1"]["correct"] is correct


def test_the_headline_decides_among_scorers_of_ones_own(tmp_path: Path) -> None:
    scores = {"fluency": {"value": 0.9}, "my_check": {"value": "I"}, "rubric": {"value": {"tone": 1, "facts": 0}}}
    tables, _, found = one(tmp_path, sample(scores=scores), headline="my_check")
    assert found["U1"]["correct"] is False
    assert Counter(s["name"] for s in tables["scores"]) == {
        "fluency": 1, "my_check": 1, "tone": 1, "facts": 1, "correct": 1,
    }  # fmt: skip
    undecided = one(tmp_path, sample(scores=scores))[2]
    assert undecided["U1"]["correct"] is None  # several, and nobody says which one counts
    judged = one(tmp_path, sample(scores={"model_graded_qa": {"value": "C"}}))[2]
    assert (judged["U1"]["success"], judged["U1"]["outcome_source"]) == (True, "judge")


def test_attachments_are_resolved(tmp_path: Path) -> None:
    ref = "attachment://" + "ab" * 16
    events = [
        {"event": "model", "uuid": "e1", "model": "p/m", "input": [{"role": "user", "content": ref}],
         "timestamp": "2026-01-01T00:00:00Z", "completed": "2026-01-01T00:00:01Z",
         "output": {"model": "m", "choices": [{"message": {"role": "assistant", "content": ref},
                                                  "stop_reason": "stop"}]}},
        {"event": "tool", "uuid": "e2", "function": "f", "arguments": {"x": ref}, "result": ref,
         "error": {"type": "timeout", "message": "too slow"}, "timestamp": "2026-01-01T00:00:01Z"},
    ]  # fmt: skip
    tables, _, found = one(tmp_path, sample(events=events, input=ref, attachments={"ab" * 16: "long text"}))
    assert (found["U1"]["input_text"], found["U1"]["tool_errors"]) == ("long text", 1)
    (llm,) = (s for s in tables["spans"] if s["kind"] == "llm")
    assert (llm["input_text"], llm["output_text"]) == ("long text", "long text")
    (call,) = tables["tool_calls"]
    assert (call["arguments"], call["result"], call["error_type"]) == ('{"x":"long text"}', "long text", "timeout")
    missing = one(tmp_path, sample(events=events, attachments={}))[1]
    assert any("attachments that the log does not hold" in n for n in missing.notes)


def test_a_judge_s_calls_are_no_calls_of_the_request(tmp_path: Path) -> None:
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    model = lambda uuid, above: {  # noqa: E731
        "event": "model", "uuid": uuid, "span_id": above, "model": "p/m", "input": [],
        "timestamp": "2026-01-01T00:00:00Z", "output": {"model": "m", "choices": [], "usage": usage},
    }  # fmt: skip
    begin = {"event": "span_begin", "id": "S", "type": "scorer", "name": "graded", "timestamp": "2026-01-01T00:00:00Z"}
    _, _, found = one(tmp_path, sample(events=[model("e1", None), begin, model("e2", "S")]))
    assert (found["U1"]["llm_calls"], found["U1"]["input_tokens"]) == (1, 10)


def test_a_log_without_events_counts_its_messages(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "function": "add", "arguments": {"a": 2}}]},
        {"role": "tool", "content": "4", "tool_call_id": "c", "function": "add"},
        {"role": "assistant", "content": [{"type": "text", "text": "4"}]},
    ]
    usage = {"p/m": {"input_tokens": 10, "output_tokens": 2, "input_tokens_cache_read": 90}}
    _, _, found = one(tmp_path, sample(messages=messages, model_usage=usage))
    row = found["U1"]
    assert (row["llm_calls"], row["tool_calls"], row["turns"], row["input_tokens"]) == (2, 1, 1, 100)
    assert row["started_at"] is None


def test_a_malformed_sample_loses_itself_only(tmp_path: Path) -> None:
    broken = sample(uuid="U0", events=[{"event": "model", "model": "p/m", "input_refs": [["a", "b"]]}])
    _, receipt, found = one(tmp_path, sample(), broken, sample(uuid="U2"))
    assert {"U1", "U2"} <= found.keys()
    assert sum(receipt.drop_reasons.values()) == 1


def test_a_sample_of_an_old_log_has_the_id_of_its_content(tmp_path: Path) -> None:
    old = copy.deepcopy(sample())
    del old["uuid"]
    first, again = (list(one(tmp_path, old)[2]) for _ in range(2))
    assert first == again
    assert len(one(tmp_path, old, {**old, "epoch": 2})[2]) == 2


def test_a_whole_load_of_an_archive(raw, home: Path, tmp_path: Path) -> None:
    receipt = kpi.load(archive(tmp_path / "log.eval", raw), dataset="evals")
    assert (receipt.requests, receipt.spans, receipt.format, receipt.files) == (6, 52, "inspect_ai", ["log.eval"])
    found = kpi.pass_hat_k(kpi.open("evals"), by="sample", k=2).frame()
    assert found["value"].tolist() == [0.5, 0.5]
    assert found["n_tasks"].tolist() == [2, 2]
