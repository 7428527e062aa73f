"""MLflow's exports: trace JSON, search_traces frames, the rows of its store, answers of its REST API, and version 2."""

from __future__ import annotations

import base64
import json
import random
import sqlite3
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kpi
from tests.unit.formats.helpers import Row, read_all, requests_of

FOLDER = "data/exports/mlflow"
ALLOW = ("metadata.language", "metadata.tenant")
TRACE = "tr-" + "ab" * 16


def traces(shared: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (shared / FOLDER / "traces_to_json.jsonl").read_text().splitlines()]


def attribute(span: dict[str, Any], name: str) -> Any:
    stated = span["attributes"].get(name)
    return None if stated is None else json.loads(stated)


def kpis(paths: list[Path]) -> dict[str, Row]:
    return requests_of(read_all(paths, allow=ALLOW)[0])


def written(path: Path, *records: Any) -> Path:
    path.write_text("\n".join(json.dumps(r) for r in records))
    return path


def trace(*spans: dict[str, Any], **info: Any) -> dict[str, Any]:
    """A small trace of version 3."""
    stated = {"trace_id": TRACE, "request_time": "2026-11-23T17:47:00.653Z", "state": "OK", "trace_metadata": {}}
    return {"info": {**stated, "tags": {}, "assessments": [], **info}, "data": {"spans": list(spans)}}


def span(number: int, kind: str, *, parent: int | None = None, **more: Any) -> dict[str, Any]:
    def id_of(n: int) -> str:
        return base64.b64encode(n.to_bytes(8, "big")).decode()

    attributes = {"mlflow.spanType": kind, **more.pop("attributes", {})}
    start = 1_795_456_020_000_000_000 + number * 1_000_000
    return {
        "trace_id": base64.b64encode(b"\xab" * 16).decode(), "span_id": id_of(number),
        "parent_span_id": id_of(parent) if parent else None, "name": f"step {number}",
        "start_time_unix_nano": start, "end_time_unix_nano": start + 500_000_000, "events": [],
        "status": {"code": "STATUS_CODE_OK", "message": ""},
        "attributes": {k: json.dumps(v) for k, v in attributes.items()}, **more,
    }  # fmt: skip


def the_request(path: Path) -> Row:
    (request,) = kpis([path]).values()
    return request


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


def from_store(shared: Path) -> list[dict[str, Any]]:
    """Traces as a reader of the store's tables builds them: session, tokens and cost are columns of their own."""
    db = sqlite3.connect(shared / FOLDER / "mlflow_subset.db")
    db.row_factory = sqlite3.Row
    found = []
    for row in db.execute("select * from trace_info"):
        about = (row["request_id"],)
        pairs = {
            name: dict(map(tuple, db.execute(f"select key, value from {table} where request_id = ?", about)))
            for name, table in (("tags", "trace_tags"), ("trace_metadata", "trace_request_metadata"))
        }
        assessments = [
            {"assessment_id": a["assessment_id"], "assessment_name": a["name"], "span_id": a["span_id"],
             "source": {"source_type": a["source_type"], "source_id": a["source_id"]}, "valid": bool(a["valid"]),
             "last_update_time": a["last_updated_timestamp"], "rationale": a["rationale"],
             a["assessment_type"]: {"value": json.loads(a["value"])}}
            for a in db.execute("select * from assessments where trace_id = ?", about)
        ]  # fmt: skip
        spans = [json.loads(s["content"]) for s in db.execute("select * from spans where trace_id = ?", about)]
        info = {**dict(row), **pairs, "assessments": assessments}  # the row's own columns, under their own names
        found.append({"info": info, "data": {"spans": spans}})
    return found


def rest_answer(shared: Path) -> dict[str, Any]:
    """The same traces as the REST API's protobuf JSON: durations with their unit, OTLP spans."""
    found = []
    for raw in traces(shared):
        info = dict(raw["info"])
        info["execution_duration"] = f"{info.pop('execution_duration_ms') / 1000}s"
        spans = []
        for s in raw["data"]["spans"]:
            union = [{"key": k, "value": {"string_value": v}} for k, v in s["attributes"].items()]
            events = [
                {**e, "attributes": [{"key": k, "value": {"string_value": v}} for k, v in e["attributes"].items()]}
                for e in s["events"]
            ]
            times = {n: str(s[n]) for n in ("start_time_unix_nano", "end_time_unix_nano")}
            spans.append({**s, **times, "attributes": union, "events": events})
        found.append({"trace_info": info, "spans": spans})
    return {"traces": found}


def frame(shared: Path) -> pd.DataFrame:
    return pd.DataFrame(json.loads((shared / FOLDER / "search_traces.json").read_text()))


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


# --- the traps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stated", [{"execution_duration_ms": 334}, {"execution_duration": "0.334s"}, {"execution_duration": 334}]
)
def test_trap_1_a_duration_is_in_milliseconds_or_names_its_unit(tmp_path, stated) -> None:
    assert the_request(written(tmp_path / "t.json", trace(**stated)))["total_us"] == 334_000


@pytest.mark.parametrize("time", [1795456020653, "2026-11-23T17:47:00.653Z", "1795456020653"])
def test_trap_2_the_time_of_a_request_is_iso_or_milliseconds(tmp_path, time) -> None:
    assert the_request(written(tmp_path / "t.json", trace(request_time=time)))["started_at"] is not None
    assert str(the_request(tmp_path / "t.json")["started_at"]) == "2026-11-23 17:47:00.653000+00:00"


def test_trap_2_times_of_events_are_rounded_floats(tmp_path) -> None:
    step = span(1, "LLM")
    at = float(step["start_time_unix_nano"] + 200_000_123)
    step["events"] = [{"name": "mlflow.chunk.item.0", "time_unix_nano": at, "attributes": {}}]
    assert abs(the_request(written(tmp_path / "t.json", trace(step)))["ttft_us"] - 200_000) <= 1


def test_trap_3_ids_are_base64_and_the_trace_has_a_prefix(tmp_path) -> None:
    tables, _ = read_all([written(tmp_path / "t.json", trace(span(1, "AGENT"), span(2, "LLM", parent=1)))])
    rows = {s["span_id"]: s for s in tables["spans"]}
    assert set(rows) == {"0000000000000001", "0000000000000002", "trace"}
    assert rows["0000000000000002"]["parent_id"] == "0000000000000001"
    assert {s["trace_id"] for s in tables["spans"]} == {"ab" * 16}


def test_trap_7_and_23_attributes_are_escaped_json_in_strings(tmp_path) -> None:
    step = span(1, "CHAT_MODEL", attributes={"mlflow.llm.model": "m-1", "mlflow.spanOutputs": 'Grüße "x"\n'})
    request = the_request(written(tmp_path / "t.json", trace(step)))
    assert (request["model"], request["llm_calls"]) == ("m-1", 1)
    assert request["output_text"] == 'Grüße "x"\n'


def test_trap_8_and_9_frames_without_the_trace_column(shared, tmp_path) -> None:
    expected = kpis([shared / FOLDER / "traces_to_json.jsonl"])
    bare = frame(shared).drop(columns="trace")
    bare.to_csv(tmp_path / "reprs.csv", index=False)
    assert "'mlflow.spanType'" in (tmp_path / "reprs.csv").read_text()
    assert kpis([tmp_path / "reprs.csv"]) == expected
    unscored = kpis([written(tmp_path / "u.json", [dict(r, assessments=[]) for r in bare.to_dict("records")])])
    rows = bare.drop(columns=["assessments", "request", "response"]).to_dict("records")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "frame.parquet")  # every span has the keys of all, as null
    assert kpis([tmp_path / "frame.parquet"]) == unscored


def test_trap_12_the_input_includes_the_cache(tmp_path) -> None:
    usage = {"input_tokens": 412, "output_tokens": 31, "cache_read_input_tokens": 256}
    step = span(1, "LLM", attributes={"mlflow.chat.tokenUsage": usage})
    request = the_request(written(tmp_path / "t.json", trace(step)))
    assert (request["input_tokens"], request["cached_read_tokens"]) == (412, 256)


def test_trap_12_unless_the_provider_counts_it_beside(tmp_path) -> None:
    usage = {"input_tokens": 300, "output_tokens": 31, "cache_read_input_tokens": 256}
    body = {"role": "assistant", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "usage": usage}
    step = span(1, "CHAT_MODEL", attributes={"mlflow.chat.tokenUsage": usage, "mlflow.spanOutputs": body})
    request = the_request(written(tmp_path / "t.json", trace(step)))
    assert (request["input_tokens"], request["cached_read_tokens"], request["output_text"]) == (556, 256, "Hi")


def test_trap_13_a_total_is_not_added_to_its_parts(tmp_path) -> None:
    cost = {"input_cost": 1e-6, "output_cost": 2e-6, "total_cost": 3e-6}
    step = span(1, "LLM", attributes={"mlflow.llm.cost": cost})
    assert the_request(written(tmp_path / "t.json", trace(step)))["total_nusd"] == 3_000


SUMS = {
    "mlflow.trace.tokenUsage": json.dumps({"input_tokens": 724, "output_tokens": 55, "cache_read_input_tokens": 512}),
    "mlflow.trace.cost": json.dumps({"input_cost": 7.02e-05, "output_cost": 3.3e-05, "total_cost": 1.032e-04}),
}


def test_trap_14_sums_of_the_trace_count_only_where_no_span_does(tmp_path) -> None:
    usage = {
        "mlflow.chat.tokenUsage": {"input_tokens": 700, "output_tokens": 50},
        "mlflow.llm.cost": {"total_cost": 1e-4},
    }
    told = the_request(
        written(tmp_path / "t.json", trace(span(1, "AGENT"), span(2, "LLM", parent=1, attributes=usage),
                                           trace_metadata=SUMS))
    )  # fmt: skip
    assert (told["input_tokens"], told["output_tokens"], told["total_nusd"]) == (700, 50, 100_000)
    alone = the_request(written(tmp_path / "t.json", trace(trace_metadata=SUMS)))
    assert (alone["input_tokens"], alone["cached_read_tokens"], alone["total_nusd"]) == (724, 512, 103_200)
    assert alone["llm_calls"] is None  # no step is known, which is not the same as none


def test_trap_17_a_failed_call_may_tell_of_it_in_an_event_only(tmp_path) -> None:
    failed = span(2, "LLM", parent=1, status={"code": "STATUS_CODE_UNSET", "message": ""})
    failed["events"] = [
        {
            "name": "exception",
            "time_unix_nano": 1,
            "attributes": {"exception.type": "RateLimitError", "exception.message": "429"},
        }
    ]
    root = span(1, "AGENT", status={"code": "STATUS_CODE_UNSET", "message": ""})
    tables, _ = read_all([written(tmp_path / "t.json", trace(root, failed))])
    rows = {s["span_id"]: s for s in tables["spans"]}
    assert rows["0000000000000002"]["status"] == "error"
    assert rows["0000000000000002"]["error_type"] == "RateLimitError"
    assert rows["0000000000000001"]["status"] == "ok"
    (request,) = requests_of(tables).values()
    assert request["error"] is False  # the trace as a whole succeeded


def test_trap_20_a_refusal_stands_beside_an_empty_content(tmp_path) -> None:
    body = {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": None, "refusal": "No."}}]}
    step = span(1, "CHAT_MODEL", attributes={"mlflow.spanOutputs": body})
    request = the_request(written(tmp_path / "t.json", trace(step)))
    assert (request["refused"], request["output_text"]) == (True, "No.")


def test_trap_22_a_cut_trace_says_how_many_spans_it_lacks(tmp_path) -> None:
    whole = trace(span(1, "AGENT"), trace_metadata={"mlflow.trace.sizeStats": json.dumps({"num_spans": 5})})
    _, receipt = read_all([written(tmp_path / "t.json", whole)])
    assert any("export lacks: 4." in note for note in receipt.notes)


# --- states and assessments ------------------------------------------------------------------------------------------


def test_a_running_trace_is_neither_ok_nor_failed(tmp_path) -> None:
    running = trace(
        span(1, "AGENT", end_time_unix_nano=None, status={"code": "STATUS_CODE_UNSET"}), state="IN_PROGRESS"
    )
    tables, receipt = read_all([written(tmp_path / "t.json", running)])
    assert any("in progress" in note and ": 1." in note for note in receipt.notes)
    (request,) = requests_of(tables).values()
    assert (request["total_us"], request["error_type"]) == (None, None)
    assert {s["status"] for s in tables["spans"] if s["kind"] == "agent"} == {"running"}


def assessment(**more: Any) -> dict[str, Any]:
    return {
        "assessment_id": "a-1", "assessment_name": "correctness", "source": {"source_type": "CODE", "source_id": "x"},
        "last_update_time": "2026-11-23T17:47:02.825Z", "feedback": {"value": True}, "valid": True, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"valid": False}, "marked invalid"),
        ({"feedback": None, "expectation": {"value": "x"}}, "Expectations left out: 1."),
        ({"feedback": {"error": {"error_code": "TIMEOUT"}}}, "judge failed"),
        ({"feedback": {"value": {"a": 1}}}, "list or an object"),
    ],
)
def test_what_is_no_score_is_left_out_and_said(tmp_path, more, sentence) -> None:
    tables, receipt = read_all([written(tmp_path / "t.json", trace(assessments=[assessment(**more)]))])
    assert "scores" not in tables
    assert any(sentence in note for note in receipt.notes)


@pytest.mark.parametrize(
    ("source", "ours"), [("HUMAN", "human"), ("LLM_JUDGE", "judge"), ("AI_JUDGE", "judge"), ("CODE", "code")]
)
def test_who_judged(tmp_path, source: str, ours: str) -> None:
    stated = assessment(source={"source_type": source}, span_id="00000000000000ff", rationale="because")
    tables, _ = read_all([written(tmp_path / "t.json", trace(assessments=[stated]))])
    (score,) = tables["scores"]
    assert (score["source"], score["value"], score["explanation"]) == (ours, 1.0, "because")
    assert score["span_id"] == "00000000000000ff"


def test_linked_prompts_are_the_prompt_version(tmp_path) -> None:
    linked = json.dumps([{"name": "support", "version": "7"}])
    stated = trace(span(1, "LLM"), tags={"mlflow.linkedPrompts": linked})
    assert the_request(written(tmp_path / "t.json", stated))["prompt_version"] == "7"


# --- version 2 -------------------------------------------------------------------------------------------------------


def version_2(**info: Any) -> dict[str, Any]:
    def step(number: int, kind: str, parent: str | None, **more: Any) -> dict[str, Any]:
        return {
            "name": f"step {number}", "context": {"span_id": f"0x{number:016x}", "trace_id": "0x" + "cd" * 16},
            "parent_id": parent, "start_time": 1_733_000_000_000_000_000, "end_time": 1_733_000_001_500_000_000,
            "status_code": "OK", "status_message": "", "events": [],
            "attributes": {"mlflow.spanType": json.dumps(kind), "mlflow.traceRequestId": json.dumps("tr-2"),
                           **{k: json.dumps(v) for k, v in more.items()}},
        }  # fmt: skip

    spans = [
        step(1, "CHAIN", None, **{"mlflow.spanInputs": {"question": "why?"}, "mlflow.spanOutputs": "because"}),
        step(2, "CHAT_MODEL", f"0x{1:016x}", **{
            "mlflow.spanOutputs": {"generations": [[{"text": "", "message": {
                "type": "ai", "content": "because", "response_metadata": {"model_name": "m-2", "finish_reason": "stop"},
                "usage_metadata": {"input_tokens": 9, "output_tokens": 4}}}]]}}),
    ]  # fmt: skip
    stated = {
        "request_id": "tr-2", "experiment_id": "0", "timestamp_ms": 1733000000000, "execution_time_ms": 1500,
        "status": "OK", "request_metadata": {"mlflow.trace.session": "s"}, "tags": {"mlflow.traceName": "qa"},
    }  # fmt: skip
    return {"info": {**stated, **info}, "data": {"spans": spans, "request": "{}", "response": "{}"}}


def test_version_2(tmp_path) -> None:
    request = the_request(written(tmp_path / "t.json", version_2()))
    assert (request["input_text"], request["output_text"]) == ("why?", "because")
    assert (request["total_us"], request["session_id"], request["model"]) == (1_500_000, "s", "m-2")
    assert (request["input_tokens"], request["output_tokens"], request["refused"]) == (9, 4, False)


def test_version_2_as_a_frame_and_as_an_answer_of_the_api(tmp_path) -> None:
    whole = version_2()
    expected = the_request(written(tmp_path / "t.json", whole))
    row = {**whole["info"], "trace": "Trace(request_id=tr-2)", "spans": whole["data"]["spans"]}
    pd.DataFrame([row]).to_csv(tmp_path / "frame.csv", index=False)
    assert the_request(tmp_path / "frame.csv") == expected
    pairs = {n: [{"key": k, "value": v} for k, v in whole["info"][n].items()] for n in ("tags", "request_metadata")}
    answer = {"traces": [{**whole["info"], **pairs}]}
    tables, receipt = read_all([written(tmp_path / "answer.json", answer)])
    assert requests_of(tables)["2"]["session_id"] == "s"
    assert any("Traces without their spans: 1." in note for note in receipt.notes)


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
