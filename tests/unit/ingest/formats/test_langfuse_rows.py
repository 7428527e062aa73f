"""Langfuse, row by row: the traps of its exports, older and newer layouts, and what is lost and said to be."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kpi
from kpi.ingest.context import Context
from kpi.ingest.formats import formats, recognise
from kpi.ingest.readers.vendor import Translation
from kpi.privacy.privacy import Privacy
from kpi.receipts import Receipt
from kpi.store.lake import read_version
from tests.unit.ingest.formats.helpers import KEY, Row, read_all, requests_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
START, END = "2026-03-09T10:00:00.000Z", "2026-03-09T10:00:02.000Z"


def observation(number: int = 1, **changes: Any) -> Row:
    """One generation as the API and the UI write it."""
    row = {
        "id": f"{number:016x}", "traceId": TRACE, "type": "GENERATION", "name": "answer", "parentObservationId": None,
        "startTime": START, "endTime": END, "level": "DEFAULT", "model": "gpt-4o-mini", "latency": 2.0,
        "usageDetails": {"input": 10, "output": 5, "total": 15}, "costDetails": {}, "totalCost": 0,
        "input": "Where is it?", "output": "On its way.", "metadata": {}, "environment": "default",
    }  # fmt: skip
    return {**row, **changes}


def blob(number: int = 1, **changes: Any) -> Row:
    """One observation as the export to blob storage and ClickHouse write it; enriched with `trace_name`."""
    row = {
        "id": f"{number:016x}", "trace_id": TRACE, "project_id": "p", "type": "GENERATION", "name": "answer",
        "parent_observation_id": None, "start_time": "2026-03-09 10:00:00.000", "end_time": "2026-03-09 10:00:02.000",
        "level": "DEFAULT", "provided_model_name": "gpt-4o-mini", "usage_details": {"input": "10", "output": "5"},
        "cost_details": {"input": "0.000001", "output": "0.000002", "total": "0.000003"}, "total_cost": "0.000003",
        "input": "Where is it?", "output": "On its way.", "metadata": {}, "latency": 2.0, "time_to_first_token": None,
    }  # fmt: skip
    return {**row, **changes}


def score(**changes: Any) -> Row:
    row = {
        "id": "s1", "traceId": TRACE, "observationId": None, "name": "helpful", "value": 1, "stringValue": None,
        "dataType": "NUMERIC", "source": "EVAL", "comment": None, "timestamp": END,
    }  # fmt: skip
    return {**row, **changes}


@pytest.fixture
def read(tmp_path: Path):
    """Rows as JSON lines -> (tables, receipt)."""

    def written(*rows: Row, allow: tuple[str, ...] = ()):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_all([path], allow=allow)

    return written


def request(tables: dict[str, list[Row]]) -> Row:
    (found,) = requests_of(tables).values()
    return found


@pytest.mark.parametrize(
    "row",
    [
        observation(latency=2.0),
        observation(latency=2000),
        blob(latency=2000, trace_name="support"),
        blob(latency=2.0, trace_name="support"),
        observation(endTime=None, latency=2.0),
        observation(endTime=None, latency=None, latencyMs=2000),
    ],
)
def test_a_latency_in_either_unit_is_two_seconds(read, row: Row) -> None:
    assert request(read(row)[0])["total_us"] == 2_000_000


def test_a_latency_of_unknown_unit_is_not_guessed(read) -> None:
    tables, receipt = read(blob(end_time=None, latency=2000, trace_name="support"))
    assert request(tables)["total_us"] is None
    assert any("1 observations have no end" in note for note in receipt.notes)


@pytest.mark.parametrize(
    "row",
    [
        observation(latency=2.0, timeToFirstToken=0.5),
        observation(latency=2000, timeToFirstToken=500),
        observation(latency=2000, timeToFirstToken=500, completionStartTime="2026-03-09T10:00:00.500Z"),
        observation(timeToFirstTokenMs=500),
        blob(latency=2000, time_to_first_token=500, trace_name="support"),
    ],
)
def test_time_to_first_token_is_in_the_unit_of_the_latency(read, row: Row) -> None:
    assert request(read(row)[0])["ttft_us"] == 500_000


def test_a_download_in_milliseconds_tells_by_the_observations_that_ended(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    open_ = observation(2, endTime=None, latency=1500, parentObservationId=f"{1:016x}")
    path.write_text(json.dumps({"trace": {"id": TRACE}, "observations": [open_, observation(1, latency=2000)]}))
    tables, _ = read_all([path])
    assert {s["duration_us"] for s in tables["spans"] if s["kind"] == "llm"} == {1_500_000, 2_000_000}


def test_times_of_clickhouse_without_a_zone_are_utc(read) -> None:
    tables, _ = read(blob(start_time="2026-03-09 10:00:00.123456", end_time="2026-03-09 10:00:02.123456"))
    assert request(tables)["started_at"].isoformat() == "2026-03-09T10:00:00.123456+00:00"


@pytest.mark.parametrize("root", [None, "", "0000000000000000", "undefined"])
def test_every_spelling_of_no_parent_is_a_root(read, root: Any) -> None:
    tables, _ = read(blob(1, parent_observation_id=root), blob(2, parent_observation_id=f"{1:016x}"))
    assert [s["parent_id"] for s in tables["spans"]] == [None, f"{1:016x}"]


def test_json_in_json_in_text_is_read(read) -> None:
    asked = json.dumps(json.dumps({"messages": [{"role": "user", "content": "Where is it?"}]}))
    row = observation(
        input=asked, usageDetails='{"input": 3, "output": 4}', costDetails='{"total": 0.000001}',
        metadata=json.dumps({"language": '"de"'}),
    )  # fmt: skip
    found = request(read(row)[0])
    assert (found["input_text"], found["language"]) == ("Where is it?", "de")
    assert (found["input_tokens"], found["output_tokens"], found["total_nusd"]) == (3, 4, 1_000)


def test_members_that_parquet_adds_to_every_row_are_absent(tmp_path: Path) -> None:
    path = tmp_path / "observations.parquet"
    rows = [blob(1, usage_details={"input": 10}), blob(2, usage_details={"output": 5, "input_cached_tokens": 3})]
    columns = {name: [row[name] for row in rows] for name in rows[0] if name != "metadata"}
    pq.write_table(pa.table(columns), path)
    tables, _ = read_all([path])
    assert [(s["input_tokens"], s["output_tokens"]) for s in tables["spans"]] == [(10, None), (3, 5)]


def trace_row(**changes: Any) -> Row:
    row = {
        "id": TRACE, "timestamp": START, "name": "support", "userId": "u1", "sessionId": "s1", "release": None,
        "version": None, "environment": "prod", "tags": ["plan:pro"], "bookmarked": False, "public": False,
        "input": "hi", "output": "hello", "metadata": {}, "comments": [],
    }  # fmt: skip
    return {**row, **changes}


def test_columns_of_lists_are_scores(read) -> None:
    tables, receipt = read(trace_row(user_feedback=[1], helpfulness=[0.8, 0.4], topic=["shipping costs"], unused=None))
    found = {(s["name"], s["value"], s["label"], s["source"]) for s in tables["scores"]}
    assert found == {
        ("user_feedback", 1.0, None, "user"), ("helpfulness", 0.8, None, "judge"),
        ("helpfulness", 0.4, None, "judge"), ("topic", None, "shipping costs", "judge"),
    }  # fmt: skip
    assert receipt.unmapped == []
    assert request(tables)["plan"] == "pro"
    assert request(tables)["success"] is True


def test_a_score_that_overwrote_a_field_is_a_score_and_the_loss_is_said(read) -> None:
    tables, receipt = read(trace_row(name=[0.5], input=[0.7, 0.9], tags=["a"], output=["x", "y"]))
    assert sorted((s["name"], s["value"]) for s in tables["scores"]) == [("input", 0.7), ("input", 0.9), ("name", 0.5)]
    assert tables["spans"][0]["name"] is None
    assert sum("stands in its place" in note for note in receipt.notes) == 2


def test_scores_that_also_came_as_rows_are_not_counted_twice(tmp_path: Path) -> None:
    traces, scores = tmp_path / "traces.csv", tmp_path / "scores.jsonl"
    row = {k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in trace_row(helpful=[1], other=[0]).items()}
    with traces.open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    scores.write_text(json.dumps(score(comment="fine")) + "\n")
    for order in ((traces, scores), (scores, traces)):
        tables, _ = read_all(order)
        assert sorted((s["name"], s["explanation"]) for s in tables["scores"]) == [("helpful", "fine"), ("other", None)]


@pytest.mark.parametrize(
    ("usage", "given", "cached"),
    [
        ({"input": 156, "input_cached_tokens": 256, "output": 31, "total": 443}, 412, 256),
        ({"input": 156, "input_cache_read": 256, "output": 31}, 412, 256),
        ({"input": 100, "cache_read_input_tokens": 256, "input_cache_creation": 56, "output": 31}, 412, 256),
        ({"input": 412, "prompt_details.cache_read": 256, "output": 31}, 412, 256),  # a part, not a bucket
        ({"prompt_tokens": 412, "completion_tokens": 31, "input_cached_tokens": 256}, 412, 256),
    ],
)
def test_buckets_of_tokens_are_disjoint(read, usage: Row, given: int, cached: int) -> None:
    found = request(read(observation(usageDetails=usage))[0])
    assert (found["input_tokens"], found["cached_read_tokens"], found["output_tokens"]) == (given, cached, 31)


@pytest.mark.parametrize(
    "cost",
    [
        {"costDetails": {"input": 0.001, "output": 0.002, "total": 0.003}},
        {"costDetails": {"input": "0.001", "output": "0.002"}},
        {"costDetails": {"input": 0.001, "output": 0.002}, "totalCost": 0.003},
        {"costDetails": {"total": -1}, "totalCost": "0.003"},
        {"costDetails": None, "totalCost": None, "calculatedTotalCost": 0.003},
    ],
)
def test_the_total_of_a_cost_is_not_added_to_its_parts(read, cost: Row) -> None:
    assert request(read(observation(**cost))[0])["total_nusd"] == 3_000_000


def test_wrappers_and_traces_repeat_what_their_calls_used(read) -> None:
    cost = {"costDetails": {"total": 0.001}, "totalCost": 0.001}
    tables, _ = read(
        trace_row(htmlPath="/x", totalCost=0.5, latency=9),
        observation(1, type="AGENT", **cost),
        observation(2, parentObservationId=f"{1:016x}", name="ai.streamText", **cost),
        observation(3, parentObservationId=f"{2:016x}", name="ai.streamText.doStream", **cost),
    )
    found = request(tables)
    assert (found["input_tokens"], found["total_nusd"], found["llm_calls"]) == (10, 1_000_000, 1)
    alone = request(read(trace_row(htmlPath="/x", totalCost=0.5, latency=9))[0])
    assert (alone["total_nusd"], alone["total_us"], alone["llm_calls"]) == (500_000_000, 9_000_000, None)


def test_sentinels_and_the_zeros_of_unpriced_rows_are_unknown(read) -> None:
    found = request(read(trace_row(htmlPath="/x", totalCost=-1, latency=-1))[0])
    assert (found["total_nusd"], found["total_us"]) == (None, None)
    unpriced = observation(model="in-house", costDetails={}, totalCost=0, latency=-1, timeToFirstToken=-1)
    found = request(read(unpriced)[0])
    assert (found["total_nusd"], found["ttft_us"], found["priced"]) == (None, None, False)
    zeros = {"usageDetails": {}, "inputUsage": 0, "outputUsage": 0, "totalUsage": 0}
    found = request(read(observation(**zeros))[0])
    assert (found["input_tokens"], found["output_tokens"]) == (None, None)
    free = observation(costDetails={"input": 0, "output": 0, "total": 0})
    assert request(read(free)[0])["total_nusd"] == 0  # stated in parts: a model that costs nothing


def test_a_first_token_at_the_end_is_the_end(read) -> None:
    assert request(read(observation(completionStartTime=END))[0])["ttft_us"] is None
    early = observation(completionStartTime="2026-03-09T10:00:00.250Z")
    assert request(read(early)[0])["ttft_us"] == 250_000


def test_the_level_says_what_failed(read) -> None:
    root = observation(1, type="SPAN", usageDetails={})
    warned = observation(2, parentObservationId=f"{1:016x}", level="WARNING", statusMessage="slow")
    failed = observation(3, type="TOOL", parentObservationId=f"{1:016x}", level="ERROR", statusMessage="timed out")
    tables, _ = read(root, warned, failed)
    found = request(tables)
    assert found["error"] is False  # the request survived the failure of its tool
    assert (found["tool_calls"], found["tool_errors"]) == (1, 1)
    assert {s["status_message"] for s in tables["spans"]} == {None, "timed out"}
    assert request(read({**root, "level": "ERROR"})[0])["error"] is True


@pytest.mark.parametrize(
    "output",
    [
        {"role": "assistant", "content": None, "refusal": "I cannot help with that."},
        {"choices": [{"message": {"role": "assistant", "content": None, "refusal": "I cannot help with that."}}]},
        {"type": "ai", "content": "", "additional_kwargs": {"refusal": "I cannot help with that."}},
        {"candidates": [{"content": {"parts": [{"text": "I cannot help with that."}]}, "finishReason": "SAFETY"}]},
    ],
)
def test_refusals_beside_an_empty_answer_are_seen(read, output: Row) -> None:
    found = request(read(observation(output=output))[0])
    assert found["refused"] is True
    assert found["output_text"] == "I cannot help with that."


def test_metadata_that_the_api_cut_is_said(read) -> None:
    _, receipt = read(observation(metadata={"attributes": '{"a": "' + "x" * 193, "topic": "t"}))
    assert any("200 characters" in note for note in receipt.notes)
    _, receipt = read(observation(metadata={"topic": "x" * 199}))
    assert receipt.notes == []


def test_ids_of_digits_and_line_breaks_in_cells_survive(tmp_path: Path) -> None:
    path = tmp_path / "observations.csv"
    row = observation(id="1748652919163558461", traceId="4944116822809979520", input='first\n"second"', metadata=None)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, row, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerow({k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()})
    tables, _ = read_all([path])
    (span,) = tables["spans"]
    assert (span["trace_id"], span["span_id"]) == ("4944116822809979520", "1748652919163558461")
    assert span["input_text"] == 'first\n"second"'


# --- layouts of which no genuine file is at hand ------------------------------------------------------------------


def test_rows_of_version_4_events(read) -> None:
    row = {
        "id": "1" * 16, "traceId": TRACE, "traceName": "support", "type": "GENERATION", "name": "answer",
        "startTime": "2026-03-09 10:00:00.000000", "endTime": "2026-03-09 10:00:02.000000", "userId": "u1",
        "completionStartTime": "2026-03-09 10:00:00.400000", "environment": "prod", "version": "v7", "sessionId": "s1",
        "level": "DEFAULT", "statusMessage": "", "promptName": "support", "promptVersion": 3, "modelId": "m",
        "providedModelName": "gpt-4o-mini", "modelParameters": "{}", "usageDetails": {"input": 7, "output": 2},
        "costDetails": {"total": 0.001}, "totalCost": 0.001, "input": "q", "output": "a", "metadata": {"plan": "pro"},
        "latencyMs": 2000, "timeToFirstTokenMs": 400, "tags": ["ring:canary"], "release": "2.0",
        "parentObservationId": "", "comments": [], "helpful": [0.5],
    }  # fmt: skip
    tables, receipt = read(row)
    found = request(tables)
    assert (found["total_us"], found["ttft_us"], found["total_nusd"]) == (2_000_000, 400_000, 1_000_000)
    assert (found["session_id"], found["release"], found["prompt_version"]) == ("s1", "2.0", "3")
    assert (found["plan"], found["deployment_ring"], found["model"]) == ("pro", "canary", "gpt-4o-mini")
    assert [s["span_id"] for s in tables["scores"]] == ["1" * 16]
    assert receipt.unmapped == []


def translated(*rows: Row) -> tuple[dict[str, list[Row]], Receipt]:
    """Rows as they come from a database."""
    receipt = Receipt()
    translation = Translation(formats()["langfuse"], Context(Privacy(KEY), receipt))
    tables: dict[str, list[Row]] = {}
    for source in (translation.records(iter(rows), "database"), translation.finish()):
        for name, table in source:
            tables.setdefault(name, []).extend(table.to_pylist())
    return tables, receipt


def test_rows_of_the_older_postgresql_tables() -> None:
    trace = {
        "id": "t-1", "timestamp": "2025-01-02T03:04:05+00:00", "name": "qa", "project_id": "p", "metadata": None,
        "external_id": None, "user_id": "u1", "release": "r1", "version": None, "public": False, "bookmarked": False,
        "tags": [], "input": {"question": "why?"}, "output": "because", "session_id": "s1",
    }  # fmt: skip
    call = {
        "id": "o-1", "name": "llm", "type": "GENERATION", "start_time": "2025-01-02T03:04:05+00:00",
        "end_time": "2025-01-02T03:04:06+00:00", "trace_id": "t-1", "parent_observation_id": None, "metadata": None,
        "model": "gpt-4", "modelParameters": {}, "input": "why?", "output": "because", "level": "DEFAULT",
        "status_message": None, "completion_start_time": None, "prompt_tokens": 11, "completion_tokens": 3,
        "total_tokens": 14, "unit": "TOKENS", "input_cost": None, "output_cost": None, "total_cost": None,
        "calculated_input_cost": "0.00033", "calculated_output_cost": "0.00018", "calculated_total_cost": "0.00051",
        "internal_model": "gpt-4", "prompt_id": None, "version": None,
    }  # fmt: skip
    opinion = {
        "id": "sc-1", "timestamp": "2025-01-02T04:00:00+00:00", "name": "thumbs", "value": 1.0, "observation_id": "o-1",
        "trace_id": "t-1", "comment": None, "source": "API", "author_user_id": None, "config_id": None,
        "data_type": "BOOLEAN", "string_value": "True",
    }  # fmt: skip
    tables, receipt = translated(trace, call, opinion)
    found = request(tables)
    assert receipt.dropped == 0
    assert (found["input_tokens"], found["output_tokens"], found["total_nusd"]) == (11, 3, 510_000)
    assert (found["input_text"], found["release"], found["success"]) == ("why?", "r1", True)
    characters, _ = translated({**call, "unit": "CHARACTERS"})
    assert request(characters)["input_tokens"] is None
    unknown, _ = translated({**call, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})
    assert request(unknown)["input_tokens"] is None


def test_rows_of_clickhouse() -> None:
    event = {
        "span_id": "2" * 16, "trace_id": TRACE, "parent_span_id": "", "start_time": "2026-03-09 10:00:00.000000",
        "end_time": "2026-03-09 10:00:02.000000", "name": "answer", "type": "GENERATION", "is_app_root": True,
        "provided_model_name": "gpt-4o", "usage_details": {"input": 4, "output": 1}, "cost_details": {},
        "trace_name": "support", "user_id": "u1", "session_id": "s1", "tags": [], "input": "q", "output": "a",
        "metadata_names": ["plan", "region"], "metadata_values": ["pro", "eu"], "is_deleted": 0, "event_ts": 1,
    }  # fmt: skip
    tables, receipt = translated(event, {**event, "span_id": "3" * 16, "is_deleted": 1}, blob(4, is_deleted=1))
    found = request(tables)
    assert (found["llm_calls"], found["input_tokens"], found["total_us"]) == (1, 4, 2_000_000)
    assert (found["plan"], found["region"], found["session_id"]) == ("pro", "eu", "s1")
    assert any("marks as deleted" in note for note in receipt.notes)


# --- scores, kinds and what is said of losses ------------------------------------------------------------------------


def test_scores_by_type_and_source(read) -> None:
    tables, receipt = read(
        score(id="1", name="user_feedback", dataType="BOOLEAN", value=1, stringValue="True", source="API"),
        score(id="2", name="has_citation", dataType="BOOLEAN", value=0, stringValue="False", source="API"),
        score(id="3", name="topic", dataType="CATEGORICAL", value=0, stringValue="billing", source="ANNOTATION"),
        score(id="4", name="note", dataType="TEXT", value=0, stringValue="mail ann@example.com", source="ANNOTATION"),
        score(id="5", name="output", dataType="CORRECTION", value=0, stringValue="better", source="ANNOTATION"),
        score(id="6", name="helpful", traceId=None, sessionId="s1"),
    )
    rows = {s["name"]: (s["value"], s["label"], s["source"]) for s in tables["scores"]}
    assert rows == {
        "user_feedback": (1.0, None, "user"), "has_citation": (0.0, None, "code"), "topic": (None, "billing", "human"),
        "note": (None, None, "human"),
    }  # fmt: skip
    (note,) = [s["explanation"] for s in tables["scores"] if s["name"] == "note"]
    assert note.startswith("mail ")
    assert "ann@example.com" not in note
    assert receipt.drop_reasons == {"a score of a session or a dataset run, not of a request": 1}
    assert any("Corrections" in text for text in receipt.notes)


def test_a_corrected_score_replaces_the_first_in_any_order(tmp_path: Path, home: Path) -> None:
    first = score(name="correct", source="ANNOTATION", value=0, updatedAt="2026-03-09T11:00:00Z")
    second = {**first, "value": 1, "comment": "on second thoughts", "updatedAt": "2026-03-10T11:00:00Z"}
    for name, rows in (("a", [first, second]), ("b", [second, first])):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, observation()]))
        kpi.load(path, dataset=name)
        files = [str(file) for file in read_version(name).files["scores"]]
        found = duckdb.sql(f"SELECT value, explanation FROM read_parquet({files})").fetchall()
        assert found == [(1.0, "on second thoughts")]


def test_words_in_score_columns_are_labels_only_where_they_can_be_no_free_text(read) -> None:
    tables, _ = read(trace_row(topic=["billing"], note=["call +49 170 1234567 or ann@example.com"]))
    assert {s["name"]: s["label"] for s in tables["scores"]} == {"topic": "billing", "note": None}
    assert "ann@example.com" not in str(tables["scores"])


def test_scores_of_the_third_version_of_the_api(read) -> None:
    common = {"id": "1", "source": "EVAL", "timestamp": END, "comment": None, "environment": "default"}
    tables, _ = read(
        {**common, "name": "tone", "dataType": "CATEGORICAL", "value": "polite",
         "subject": {"kind": "trace", "id": TRACE}},
        {**common, "name": "ok", "dataType": "BOOLEAN", "value": True,
         "subject": {"kind": "observation", "id": "2" * 16, "traceId": TRACE}},
    )  # fmt: skip
    rows = {s["name"]: (s["trace_id"], s["span_id"], s["value"], s["label"]) for s in tables["scores"]}
    assert rows == {"tone": (TRACE, None, None, "polite"), "ok": (TRACE, "2" * 16, 1.0, None)}


def test_kinds_are_those_stated_and_those_of_the_span_behind_an_untyped_one(read) -> None:
    stated = "SPAN EVENT GENERATION AGENT TOOL CHAIN RETRIEVER EVALUATOR EMBEDDING GUARDRAIL TRACE"
    rows = [observation(number, type=type_) for number, type_ in enumerate(stated.split(), 1)]
    behind = {"attributes": json.dumps({"openinference.span.kind": "RERANKER"})}
    tables, _ = read(*rows, observation(99, type="SPAN", metadata=behind), observation(98, metadata=behind))
    assert [s["kind"] for s in tables["spans"]] == [
        "chain", "other", "llm", "agent", "tool", "chain", "retriever", "evaluator", "embedding", "guardrail", "other",
        "reranker", "llm",
    ]  # fmt: skip


def test_documents_tools_and_guardrails(read) -> None:
    found_documents = [
        {"page_content": "Returns take 30 days.", "metadata": {"source": "returns.md", "score": 0.9}}, "Plain text.",
    ]  # fmt: skip
    call = {"attributes": {"gen_ai.tool.name": "get_weather", "gen_ai.tool.call.id": "call_1"}}
    tables, _ = read(
        observation(1, type="RETRIEVER", output=json.dumps(found_documents)),
        observation(2, type="TOOL", name="running tool", input={"city": "Kyiv"}, output="sunny", metadata=call),
        observation(3, type="GUARDRAIL", output={"passed": False, "category": "pii"}),
        observation(4, type="EVENT", endTime=None, latency=None),
    )
    assert [(d["document_id"], d["score"], d["content"]) for d in tables["documents"]] == [
        ("returns.md", 0.9, "Returns take 30 days."), (None, None, "Plain text."),
    ]  # fmt: skip
    (tool,) = tables["tool_calls"]
    assert (tool["name"], tool["call_id"]) == ("get_weather", "call_1")
    assert (tool["arguments"], tool["result"]) == ('{"city":"Kyiv"}', "sunny")
    assert [(i["category"], i["state"]) for i in tables["incidents"]] == [("pii", "blocked")]
    assert {s["status"] for s in tables["spans"]} == {"ok"}  # an event is a point in time, not a span still running


def test_every_field_that_is_not_read_is_named(read) -> None:
    comment = [{"id": "c", "content": "look at this"}]
    row = observation(toolDefinitions={"f": "{}"}, toolCalls=[{"id": 1}], novelty=7, comments=comment)
    _, receipt = read(row, trace_row(comments=comment), score(metadata={"a": 1}))
    assert sorted(receipt.unmapped) == [
        "observations.comments", "observations.novelty", "observations.toolCalls", "observations.toolDefinitions",
        "scores.metadata", "traces.comments",
    ]  # fmt: skip


def test_observations_without_a_trace_or_with_wrong_types_lose_themselves_only(read) -> None:
    tables, receipt = read(
        observation(1),
        observation(2, traceId=None),
        observation(3, usageDetails=[1], costDetails="x", metadata=7, startTime={}, tags="a", latency=[], level=3),
        observation(4, input={"messages": [3, {"role": 5}]}, output=[[]], modelParameters=3, type=None, name=["a", 1]),
    )
    assert {s["span_id"][-1] for s in tables["spans"]} == {"1", "3", "4"}
    assert receipt.drop_reasons == {"span without trace id or span id": 1}


def test_a_malformed_part_of_a_trace_loses_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    odd = observation(1, metadata_names=["plan"], metadata_values=5)
    parts = {"trace": {"id": TRACE, "scores": [score()]}, "observations": [odd, observation(2)]}
    path.write_text(json.dumps(parts))
    tables, receipt = read_all([path])
    assert [s["span_id"] for s in tables["spans"]] == ["trace", f"{2:016x}"]
    assert len(tables["scores"]) == 1
    assert receipt.drop_reasons == {"malformed observation or score of a trace": 1}


def test_other_tables_are_not_taken_for_langfuse() -> None:
    for columns in (
        "id timestamp user_id session_id model input output release environment tags",
        "id name source dataType description",
        "trace_id span_id parent_id name start_time",
        "id timestamp public tags",
    ):
        found = recognise(columns.split())
        assert found is None or found.name != "langfuse"
