"""MLflow: what a naive reading gets wrong, states, assessments, and version 2."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.ingest.formats.helpers import read_all, requests_of
from tests.unit.ingest.formats.mlflow_traces import (
    FOLDER,
    frame,
    kpis,
    span,
    the_request,
    trace,
    written,
)

# --- what the naive reading gets wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stated", [{"execution_duration_ms": 334}, {"execution_duration": "0.334s"}, {"execution_duration": 334}]
)
def test_a_duration_is_in_milliseconds_or_names_its_unit(tmp_path, stated) -> None:
    assert the_request(written(tmp_path / "t.json", trace(**stated)))["total_us"] == 334_000


@pytest.mark.parametrize("time", [1795456020653, "2026-11-23T17:47:00.653Z", "1795456020653"])
def test_the_time_of_a_request_is_iso_or_milliseconds(tmp_path, time) -> None:
    assert the_request(written(tmp_path / "t.json", trace(request_time=time)))["started_at"] is not None
    assert str(the_request(tmp_path / "t.json")["started_at"]) == "2026-11-23 17:47:00.653000+00:00"


def test_times_of_events_are_rounded_floats(tmp_path) -> None:
    step = span(1, "LLM")
    at = float(step["start_time_unix_nano"] + 200_000_123)
    step["events"] = [{"name": "mlflow.chunk.item.0", "time_unix_nano": at, "attributes": {}}]
    assert abs(the_request(written(tmp_path / "t.json", trace(step)))["ttft_us"] - 200_000) <= 1


def test_ids_are_base64_and_the_trace_has_a_prefix(tmp_path) -> None:
    tables, _ = read_all([written(tmp_path / "t.json", trace(span(1, "AGENT"), span(2, "LLM", parent=1)))])
    rows = {s["span_id"]: s for s in tables["spans"]}
    assert set(rows) == {"0000000000000001", "0000000000000002", "trace"}
    assert rows["0000000000000002"]["parent_id"] == "0000000000000001"
    assert {s["trace_id"] for s in tables["spans"]} == {"ab" * 16}


def test_attributes_are_escaped_json_in_strings(tmp_path) -> None:
    step = span(1, "CHAT_MODEL", attributes={"mlflow.llm.model": "m-1", "mlflow.spanOutputs": 'Grüße "x"\n'})
    request = the_request(written(tmp_path / "t.json", trace(step)))
    assert (request["model"], request["llm_calls"]) == ("m-1", 1)
    assert request["output_text"] == 'Grüße "x"\n'


def test_frames_without_the_trace_column(shared, tmp_path) -> None:
    expected = kpis([shared / FOLDER / "traces_to_json.jsonl"])
    bare = frame(shared).drop(columns="trace")
    bare.to_csv(tmp_path / "reprs.csv", index=False)
    assert "'mlflow.spanType'" in (tmp_path / "reprs.csv").read_text()
    assert kpis([tmp_path / "reprs.csv"]) == expected
    unscored = kpis([written(tmp_path / "u.json", [dict(r, assessments=[]) for r in bare.to_dict("records")])])
    rows = bare.drop(columns=["assessments", "request", "response"]).to_dict("records")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "frame.parquet")  # every span has the keys of all, as null
    assert kpis([tmp_path / "frame.parquet"]) == unscored


def test_the_input_includes_the_cache(tmp_path) -> None:
    usage = {"input_tokens": 412, "output_tokens": 31, "cache_read_input_tokens": 256}
    step = span(1, "LLM", attributes={"mlflow.chat.tokenUsage": usage})
    request = the_request(written(tmp_path / "t.json", trace(step)))
    assert (request["input_tokens"], request["cached_read_tokens"]) == (412, 256)


def test_unless_the_provider_counts_it_beside(tmp_path) -> None:
    usage = {"input_tokens": 300, "output_tokens": 31, "cache_read_input_tokens": 256}
    body = {"role": "assistant", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "usage": usage}
    step = span(1, "CHAT_MODEL", attributes={"mlflow.chat.tokenUsage": usage, "mlflow.spanOutputs": body})
    request = the_request(written(tmp_path / "t.json", trace(step)))
    assert (request["input_tokens"], request["cached_read_tokens"], request["output_text"]) == (556, 256, "Hi")


def test_a_total_is_not_added_to_its_parts(tmp_path) -> None:
    cost = {"input_cost": 1e-6, "output_cost": 2e-6, "total_cost": 3e-6}
    step = span(1, "LLM", attributes={"mlflow.llm.cost": cost})
    assert the_request(written(tmp_path / "t.json", trace(step)))["total_nusd"] == 3_000


SUMS = {
    "mlflow.trace.tokenUsage": json.dumps({"input_tokens": 724, "output_tokens": 55, "cache_read_input_tokens": 512}),
    "mlflow.trace.cost": json.dumps({"input_cost": 7.02e-05, "output_cost": 3.3e-05, "total_cost": 1.032e-04}),
}


def test_sums_of_the_trace_count_only_where_no_span_does(tmp_path) -> None:
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


def test_a_failed_call_may_tell_of_it_in_an_event_only(tmp_path) -> None:
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


@pytest.mark.parametrize(
    "stated",
    [{"status": {"code": "STATUS_CODE_ERROR", "message": "gone"}},
     {"status": None, "status_code": "ERROR", "status_message": "gone"}],  # version 3 and 2
)  # fmt: skip
def test_a_status_with_its_message(tmp_path, stated) -> None:
    tables, _ = read_all([written(tmp_path / "t.json", trace(span(1, "TOOL", **stated), state="ERROR"))])
    (call,) = (s for s in tables["spans"] if s["kind"] == "tool")
    assert (call["status"], call["status_message"]) == ("error", "gone")
    assert [t["error_type"] for t in tables["tool_calls"]] == ["error"]


def test_a_refusal_stands_beside_an_empty_content(tmp_path) -> None:
    body = {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": None, "refusal": "No."}}]}
    step = span(1, "CHAT_MODEL", attributes={"mlflow.spanOutputs": body})
    request = the_request(written(tmp_path / "t.json", trace(step)))
    assert (request["refused"], request["output_text"]) == (True, "No.")


def test_a_cut_trace_says_how_many_spans_it_lacks(tmp_path) -> None:
    whole = trace(span(1, "AGENT"), trace_metadata={"mlflow.trace.sizeStats": json.dumps({"num_spans": 5})})
    _, receipt = read_all([written(tmp_path / "t.json", whole)])
    assert any("export lacks: 4." in note for note in receipt.notes)


def test_a_guardrail_that_flags_is_an_incident(tmp_path) -> None:
    flagged = {
        "mlflow.spanInputs": {"text": "my number is"},
        "mlflow.spanOutputs": {"flagged": True, "categories": ["pii"]},
    }
    steps = span(1, "AGENT"), span(2, "GUARDRAIL", parent=1, attributes=flagged)
    tables, _ = read_all([written(tmp_path / "t.json", trace(*steps))])
    assert [(i["category"], i["state"], i["detector"]) for i in tables["incidents"]] == [("pii", "flagged", "step 2")]


@pytest.mark.parametrize("name", ["tr-" + "ab" * 16, "trace:/catalog.schema/" + "ab" * 16, "ab" * 16])
def test_names_of_a_trace(tmp_path, name: str) -> None:
    assert the_request(written(tmp_path / "t.json", trace(span(1, "LLM"), trace_id=name)))["trace_id"] == "ab" * 16


def test_attributes_of_the_application_may_be_cohorts_and_the_others_are_named(tmp_path) -> None:
    steps = (
        span(1, "AGENT", attributes={"shop": "north", "user.id": "u-1"}),
        span(2, "LLM", parent=1, attributes={"temperature": 0.2, "model": "m-1"}),
    )
    tables, receipt = read_all([written(tmp_path / "t.json", trace(*steps))], allow=["metadata.shop"])
    (request,) = requests_of(tables).values()
    assert (request["x_shop"], request["x_requested_model"]) == ("north", "m-1")
    assert request["user_key"] not in (None, "u-1")
    assert [c.source for c in receipt.columns] == ["span.attributes.temperature"]


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


ASKED, TOLD = json.dumps({"q": "why?"}), json.dumps("because")


@pytest.mark.parametrize(
    ("info", "data"),
    [
        ({"request_preview": ASKED, "response_preview": TOLD}, {}),
        ({"trace_metadata": {"mlflow.traceInputs": ASKED, "mlflow.traceOutputs": TOLD}}, {}),
        ({"request_preview": '{"q": "wh', "response_preview": "bec"}, {"request": ASKED, "response": TOLD}),
    ],
)
def test_a_trace_without_its_spans_still_says_what_was_asked(tmp_path, info, data) -> None:
    stated = trace(**info)
    stated["data"] |= data
    request = the_request(written(tmp_path / "t.json", stated))
    assert (request["input_text"], request["output_text"]) == ("why?", "because")


def test_previews_do_not_speak_over_spans(tmp_path) -> None:
    told = span(1, "AGENT", attributes={"mlflow.spanInputs": {"q": "why not?"}, "mlflow.spanOutputs": "because"})
    stated = trace(told, request_preview='{"q": "why', response_preview='"bec')
    request = the_request(written(tmp_path / "t.json", stated))
    assert (request["input_text"], request["output_text"]) == ("why not?", "because")


def test_several_linked_prompts_are_one_version(tmp_path) -> None:
    linked = json.dumps([{"name": "tone", "version": 2}, {"name": "facts", "version": 11}])
    stated = trace(span(1, "LLM"), trace_metadata={"mlflow.linkedPrompts": linked})
    assert the_request(written(tmp_path / "t.json", stated))["prompt_version"] == "facts/11, tone/2"


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
