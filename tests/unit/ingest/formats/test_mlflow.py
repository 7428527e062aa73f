"""MLflow's exports: exact counts, equal KPIs in every layout, damage."""

from __future__ import annotations

import json
import random
from collections import Counter
from decimal import Decimal

import pytest

import kpi
from tests.unit.ingest.formats.helpers import read_all, requests_of
from tests.unit.ingest.formats.mlflow_traces import (
    ALLOW,
    FOLDER,
    attribute,
    frame,
    from_store,
    kpis,
    rest_answer,
    span,
    the_request,
    trace,
    traces,
    written,
)

# --- the genuine exports ---------------------------------------------------------------------------------------------


def test_exact_counts(shared) -> None:
    raw = traces(shared)
    spans = [s for t in raw for s in t["data"]["spans"]]
    tables, receipt = read_all([shared / FOLDER / "traces_to_json.jsonl"], allow=ALLOW)
    requests = requests_of(tables)
    assert len(requests) == len(raw) == 6
    assert receipt.spans == len(spans) == 27
    assert receipt.dropped == 0
    kinds = Counter(attribute(s, "mlflow.spanType") for s in spans)
    assert len(tables["tool_calls"]) == kinds["TOOL"] == 5
    found = [len(attribute(s, "mlflow.spanOutputs")) for s in spans if attribute(s, "mlflow.spanType") == "RETRIEVER"]
    assert len(tables["documents"]) == sum(found) == 18
    assessments = [a for t in raw for a in t["info"]["assessments"]]
    assert len(tables["scores"]) == sum("feedback" in a for a in assessments) == 18
    assert "incidents" not in tables
    usage = [u for s in spans if (u := attribute(s, "mlflow.chat.tokenUsage"))]
    for ours, theirs in (
        ("input_tokens", "input_tokens"), ("output_tokens", "output_tokens"),
        ("cached_read_tokens", "cache_read_input_tokens"),
    ):  # fmt: skip
        assert sum(r[ours] or 0 for r in requests.values()) == sum(u[theirs] for u in usage) > 0
    costs = [Decimal(str(c["total_cost"])) for s in spans if (c := attribute(s, "mlflow.llm.cost"))]
    assert sum(r["inference_nusd"] or 0 for r in requests.values()) == int(sum(costs) * 10**9) == 454_800
    assert sum(r["llm_calls"] for r in requests.values()) == kinds["CHAT_MODEL"] == 10
    assert Counter(r["error_type"] for r in requests.values() if r["error"]) == {"RateLimitError": 1, "TimeoutError": 1}
    assert sum(r["tool_errors"] for r in requests.values()) == 1
    told = {t["info"]["trace_id"].removeprefix("tr-"): t["info"]["trace_metadata"] for t in raw}
    assert {t: r["session_id"] for t, r in requests.items()} == {t: m["mlflow.trace.session"] for t, m in told.items()}
    assert len({r["user_key"] for r in requests.values()}) == len({m["mlflow.trace.user"] for m in told.values()}) == 5
    assert {r["release"] for r in requests.values()} == {"2.14.0"}


def test_what_a_request_says(shared) -> None:
    request = the_request(shared / FOLDER / "trace_single.json")
    spans = json.loads((shared / FOLDER / "trace_single.json").read_text())["data"]["spans"]
    answer = spans[-1]
    first_chunk = min(e["time_unix_nano"] for e in answer["events"])
    assert request["input_text"] == "Wo ist meine Bestellung?"
    assert request["output_text"].startswith("Ihre Bestellung wurde versandt")
    assert request["total_us"] == (spans[0]["end_time_unix_nano"] - spans[0]["start_time_unix_nano"]) // 1000
    assert abs(request["ttft_us"] - (first_chunk - spans[0]["start_time_unix_nano"]) // 1000) <= 1
    assert request["model"] == "gpt-4o-mini-2024-07-18"
    assert request["x_requested_model"] == "gpt-4o-mini"
    assert (request["language"], request["tenant"]) == ("de", "acme")
    assert (request["correct"], request["success"], request["outcome_source"]) == (True, False, "human")


def test_equal_kpis_whatever_the_shape(shared, tmp_path) -> None:
    expected = kpis([shared / FOLDER / "traces_to_json.jsonl"])
    assert kpis([shared / FOLDER / "search_traces.json"]) == expected
    assert kpis([written(tmp_path / "store.jsonl", *from_store(shared))]) == expected
    assert kpis([written(tmp_path / "rest.json", rest_answer(shared))]) == expected
    frame(shared).to_csv(tmp_path / "frame.csv", index=False)
    assert kpis([tmp_path / "frame.csv"]) == expected
    (tmp_path / "indented.json").write_text(json.dumps(traces(shared), indent=2))
    assert kpis([tmp_path / "indented.json"]) == expected


def test_several_shapes_in_any_order_are_stored_once(shared, tmp_path) -> None:
    written(tmp_path / "store.jsonl", *from_store(shared))
    paths = [
        shared / FOLDER / "search_traces.json", tmp_path / "store.jsonl", shared / FOLDER / "traces_to_json.jsonl",
        shared / FOLDER / "trace_single.json",
    ]  # fmt: skip
    expected = kpis(paths[2:3])
    scores = {s["score_id"] for s in read_all(paths[2:3])[0]["scores"]}
    for order in (paths, paths[::-1]):
        tables, _ = read_all(order, allow=ALLOW)
        assert requests_of(tables) == expected
        assert {s["score_id"] for s in tables["scores"]} == scores
        assert len({(s["trace_id"], s["span_id"]) for s in tables["spans"]}) == 27 + 6  # and a row on each trace


def test_a_folder_loads_into_the_store(shared, tmp_path, home) -> None:
    for name in ("search_traces.json", "trace_single.json", "traces_to_json.jsonl"):
        (tmp_path / name).write_bytes((shared / FOLDER / name).read_bytes())
    receipt = kpi.load(sorted(tmp_path.glob("*.json*")))
    assert receipt.requests == 6
    assert receipt.spans == 27
    assert "info.client_request_id" in receipt.unmapped
    assert any("Expectations left out: 1." in note for note in receipt.notes)


def test_columns_that_somebody_added_to_a_frame_are_named(shared, tmp_path) -> None:
    frame(shared).assign(**{"correctness/value": 1.0}).to_csv(tmp_path / "frame.csv", index=False)
    _, receipt = read_all([tmp_path / "frame.csv"])
    assert {"correctness/value", "info.client_request_id"} <= {c.source for c in receipt.columns}


def test_nobody_who_judged_is_stored_by_name(shared) -> None:
    tables, _ = read_all([shared / FOLDER / "traces_to_json.jsonl"])
    assert "alice@example.com" in (shared / FOLDER / "traces_to_json.jsonl").read_text()
    assert "alice" not in str(tables)


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_document_that_is_cut_off_loads_its_good_part(shared, tmp_path, seed: int) -> None:
    whole = (shared / FOLDER / "search_traces.json").read_bytes()
    cut = tmp_path / "cut.json"
    cut.write_bytes(whole[: random.Random(seed).randrange(len(whole) // 3, len(whole) - 10)])
    expected = kpis([shared / FOLDER / "search_traces.json"])
    tables, receipt = read_all([cut], allow=ALLOW)
    found = requests_of(tables)
    assert 0 < len(found) < 6
    assert all(expected[t] == r for t, r in found.items())
    assert receipt.drop_reasons == {"the document is cut off or broken inside": 1}


def test_one_broken_line_costs_one_trace(shared, tmp_path) -> None:
    lines = (shared / FOLDER / "traces_to_json.jsonl").read_text().splitlines()
    lines[2] = lines[2][: len(lines[2]) // 2]
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(lines))
    tables, receipt = read_all([path])
    assert len(requests_of(tables)) == 5
    assert receipt.dropped == 1
    assert receipt.drops[0].row == 3


@pytest.mark.parametrize(
    "info", [{"trace_metadata": []}, {"tags": "x"}, {"assessments": [1, "a", None]}, {"request_time": {}}, {"state": 5}]
)
def test_fields_of_a_wrong_type_cost_themselves_only(tmp_path, info) -> None:
    tables, receipt = read_all([written(tmp_path / "t.json", trace(span(1, "LLM"), **info))])
    assert receipt.spans == 1
    assert len(requests_of(tables)) == 1


def test_a_trace_without_an_id_is_dropped_with_its_reason(tmp_path) -> None:
    _, receipt = read_all([written(tmp_path / "t.jsonl", trace(trace_id=None), trace())])
    assert receipt.drop_reasons == {"trace without an id": 1}
    assert receipt.rows_read == 2
