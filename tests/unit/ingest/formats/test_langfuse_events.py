"""Langfuse 4: one row a span with the fields of its trace on each row, in the four layouts in which people have it.

Columns are those of the documented fields of the second version of the observations API, of the "events" table of the
UI, of `observations_v2` in blob storage and of ClickHouse's `events_full`. The truth is one request of 4 s: an agent, a
call of a model (1,000 tokens in, of which 400 read from a cache; 200 out; $0.0045; first token after 0.5 s), a tool.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.ingest.formats.helpers import Row, read_all, requests_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
USAGE = {"input": 600, "input_cached_tokens": 400, "output": 200, "total": 1200}
COST = {"input": 0.0025, "output": 0.002, "total": 0.0045}
# id, parent, type, name, start, end, first token, usage
SPANS = (
    ("a1", None, "AGENT", "desk", "00.000", "04.000", None, False),
    ("b2", "a1", "GENERATION", "chat", "00.500", "03.100", "01.000", True),
    ("c3", "a1", "TOOL", "search", "03.100", "03.900", None, False),
)


def api(n: int, told: bool) -> Row:
    """`GET /api/public/v2/observations` with the field groups core, basic, time, usage, model and trace_context."""
    id_, parent, type_, name, start, end, first, usage = SPANS[n]
    row: Row = {
        "id": id_, "traceId": TRACE, "projectId": "p", "type": type_, "name": name, "parentObservationId": parent or "",
        "startTime": f"2026-09-01T09:00:{start}Z", "endTime": f"2026-09-01T09:00:{end}Z", "level": "DEFAULT",
        "statusMessage": "", "version": "", "environment": "production", "latency": 9.9, "totalCost": 0,
        "completionStartTime": f"2026-09-01T09:00:{first}Z" if first else None, "usageDetails": {}, "costDetails": {},
        "traceName": "desk", "userId": "u1" if told else "", "sessionId": "s1" if told else "",
        "release": "v7" if told else "", "tags": ["plan:pro"] if told else [], "metadata": {},
    }  # fmt: skip
    if usage:
        row |= {"usageDetails": USAGE, "costDetails": COST, "totalCost": 0.0045, "model": "gpt-4o"}
    return row


def ui(n: int, told: bool) -> Row:
    """The export of the UI's table of events: latencies in milliseconds, raw times of ClickHouse."""
    row = api(n, told)
    for key in ("startTime", "endTime", "completionStartTime"):
        row[key] = row[key] and row[key].replace("T", " ").removesuffix("Z")
    row.pop("latency")
    row.pop("projectId")
    row["providedModelName"] = row.pop("model", None)
    return {**row, "latencyMs": 99_000, "timeToFirstTokenMs": None, "comments": [], "promptName": None, "modelId": None}


SNAKE = {
    "traceId": "trace_id", "projectId": "project_id", "parentObservationId": "parent_observation_id",
    "startTime": "start_time", "endTime": "end_time", "statusMessage": "status_message", "totalCost": "total_cost",
    "completionStartTime": "completion_start_time", "usageDetails": "usage_details", "costDetails": "cost_details",
    "traceName": "trace_name", "userId": "user_id", "sessionId": "session_id", "model": "provided_model_name",
    "providedModelName": "provided_model_name",
}  # fmt: skip


def blob(n: int, told: bool) -> Row:
    """`observations_v2` of blob storage: latency in milliseconds where the integration is old, empty text for null."""
    row = {SNAKE.get(k, k): v for k, v in ui(n, told).items() if k not in ("latencyMs", "timeToFirstTokenMs")}
    return {**row, "latency": 2600, "time_to_first_token": None, "is_root_observation": n == 0, "bookmarked": False,
            "public": False, "usage_pricing_tier_id": None}  # fmt: skip


def clickhouse(n: int, told: bool) -> Row:
    """Rows of `events_full`: metadata as two lists, experiments beside them."""
    row = blob(n, told)
    row |= {"span_id": row.pop("id"), "parent_span_id": row.pop("parent_observation_id")}
    for name in ("latency", "time_to_first_token", "is_root_observation", "metadata", "usage_pricing_tier_id"):
        row.pop(name, None)
    return {**row, "is_app_root": n == 0, "metadata_names": ["region"], "metadata_values": ["eu"],
            "service_name": "web",
            "experiment_item_metadata_names": ["k"], "experiment_item_metadata_values": ["v"], "source": "otel",
            "scope_name": "langfuse-sdk", "event_ts": "2026-09-01 09:00:05.000", "is_deleted": 0}  # fmt: skip


LAYOUTS = {"api": api, "ui": ui, "blob": blob, "clickhouse": clickhouse}


def rows_of(layout: str, told: int = 1) -> list[Row]:
    """told: the one row that holds the fields of the trace."""
    return [LAYOUTS[layout](n, n == told) for n in range(3)]


def write(tmp_path: Path, rows: list[Row], form: str, layout: str = "") -> Path:
    path = tmp_path / f"export.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist([{k: v for k, v in r.items() if k != "metadata"} for r in rows]), path)
    elif form == "csv":
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            names = list(dict.fromkeys(name for row in rows for name in row))
            writer.writerow(names)
            for row in rows:
                cells = [row.get(name) for name in names]
                writer.writerow(json.dumps(c) if isinstance(c, (dict, list, bool)) else c for c in cells)
    elif form == "json":
        path.write_text(json.dumps({"data": rows, "meta": {"cursor": None}} if layout == "api" else rows))
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    return path


def assert_truth(path: Path) -> None:
    tables, receipt = read_all([path])
    assert receipt.dropped == 0
    (request,) = requests_of(tables).values()
    names = ("input_tokens", "output_tokens", "cached_read_tokens", "total_nusd", "total_us", "ttft_us", "model_us")
    assert tuple(request[n] for n in names) == (1000, 200, 400, 4_500_000, 4_000_000, 1_000_000, 2_600_000)
    assert (request["llm_calls"], request["tool_calls"], request["error"]) == (1, 1, False)
    assert (request["session_id"], request["release"], request["environment"]) == ("s1", "v7", "production")
    assert request["user_key"]
    assert request["plan"] == "pro"
    assert len([s for s in tables["spans"] if s["kind"] != "trace"]) == 3
    assert not tables.get("scores")


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "parquet"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_the_same_request(tmp_path: Path, layout: str, form: str) -> None:
    assert_truth(write(tmp_path, rows_of(layout), form, layout))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_fields_of_a_trace_count_from_whichever_row(tmp_path: Path, layout: str) -> None:
    for told in range(3):
        assert_truth(write(tmp_path, rows_of(layout, told), "jsonl"))
    assert_truth(write(tmp_path, rows_of(layout)[::-1], "jsonl"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_roots_whose_parent_is_left_out_are_spans(tmp_path: Path, layout: str) -> None:
    """Exports that leave out what is empty: the root has no key for its parent, and is no trace of its own."""
    rows = [{k: v for k, v in row.items() if v not in (None, "", [], {})} for row in rows_of(layout)]
    assert_truth(write(tmp_path, rows, "jsonl"))


def test_all_layouts_loaded_together_count_once(tmp_path: Path) -> None:
    paths = []
    for layout in LAYOUTS:
        (tmp_path / layout).mkdir()
        paths.append(write(tmp_path / layout, rows_of(layout), "jsonl"))
    tables, receipt = read_all(paths)
    assert len({(s["trace_id"], s["span_id"]) for s in tables["spans"]}) == 3
    assert receipt.repeated == 9


def test_the_row_that_stands_for_the_trace_is_no_step(tmp_path: Path) -> None:
    """Traces of older SDKs are kept as a row `t-<trace>` above their spans, with no end of its own."""
    rows = rows_of("clickhouse", told=9)
    for row in rows:
        row["parent_span_id"] = row["parent_span_id"] or f"t-{TRACE}"
    above = {**clickhouse(0, True), "span_id": f"t-{TRACE}", "parent_span_id": "", "end_time": None, "type": "SPAN"}
    assert_truth(write(tmp_path, [above, *rows], "jsonl"))


def test_scores_alone_are_named_as_such(tmp_path: Path) -> None:
    score = {"id": "s", "name": "helpful", "value": 1, "source": "ANNOTATION", "timestamp": "2026-09-01T09:00:00Z",
             "dataType": "NUMERIC", "traceId": TRACE, "observationId": None}  # fmt: skip
    path = tmp_path / "scores.jsonl"
    path.write_text(json.dumps(score))
    tables, receipt = read_all([path])
    assert len(tables["scores"]) == 1
    assert any("scores alone" in n and "observations" in n for n in receipt.notes)
    both = write(tmp_path, rows_of("api"), "json", "api")
    assert not any("scores alone" in n for n in read_all([path, both])[1].notes)


def test_a_page_that_is_not_the_last_says_so(tmp_path: Path) -> None:
    path = tmp_path / "page.json"
    path.write_text(json.dumps({"data": rows_of("api"), "meta": {"cursor": "eyJ"}}))
    assert_truth(path)


def test_values_of_columns_are_any(tmp_path: Path) -> None:
    """Numbers as text, as ClickHouse writes 64-bit integers and decimals in JSON."""
    rows: list[dict[str, Any]] = rows_of("clickhouse")
    for name, values in (("usage_details", USAGE), ("cost_details", COST)):
        rows[1][name] = {k: str(v) for k, v in values.items()}
    rows[1]["total_cost"] = "0.0045"
    assert_truth(write(tmp_path, rows, "jsonl"))
