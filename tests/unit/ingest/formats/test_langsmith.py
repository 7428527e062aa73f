"""LangSmith's exports: exact counts, equal KPIs in every layout, what is missing, damage."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime

import pytest

import kpi
from tests.unit.ingest.formats.helpers import read_all, requests_of
from tests.unit.ingest.formats.langsmith_runs import (
    ALLOW,
    CHILD,
    DUMP,
    PAYLOADS,
    ROOT,
    as_api_v2,
    as_bulk_export,
    as_frame,
    counted_by_the_server,
    kpis,
    run,
    runs,
    written,
)

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
    assert all(row["cost_nusd"] is None for row in tables["spans"])  # no run states a cost
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


def test_all_shapes_at_once_in_any_order_are_stored_once(shared, tmp_path) -> None:
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
