"""MLflow's tracking store (SQLite, PostgreSQL, MySQL): traces with tags, metadata, assessments and spans.

A trace has no column that says when it was written: it comes in at its end, which is its start and its length. One that
is in progress is read again until it ends.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from kpi.ingest.databases.database import Database, Row
from kpi.ingest.databases.streams import Stream
from kpi.ingest.otlp.attributes import parse

NAME = "mlflow"
TABLES = ("trace_info spans", "trace_info trace_request_metadata", "trace_info trace_tags")


def _traces(database: Database, rows: list[Row]) -> Iterator[Row]:
    database.owned("experiments", (row.get("experiment_id") for row in rows))
    ids = [row["request_id"] for row in rows]
    tags, metadata, metrics = (
        database.related(table, "request_id", ids)
        for table in ("trace_tags", "trace_request_metadata", "trace_metrics")
    )
    spans = database.related("spans", "trace_id", ids, order="start_time_unix_nano")
    assessments = database.related("assessments", "trace_id", ids)
    for row in rows:
        trace = row["request_id"]
        info = {
            **{m["key"]: m["value"] for m in metrics.get(trace, ())},
            **{name: value for name, value in row.items() if value is not None}, "trace_id": trace,
            "tags": _pairs(tags.get(trace, ())), "trace_metadata": _pairs(metadata.get(trace, ())),
            "assessments": [_assessment(a) for a in assessments.get(trace, ())]}  # fmt: skip
        found = [parse(span["content"]) for span in spans.get(trace, ())]
        for content in found:
            if not isinstance(content, dict):
                database.receipt.drop(0, "span whose content is no JSON object", file="spans")
        yield {"info": info, "data": {"spans": [content for content in found if isinstance(content, dict)]}}


def _traces_of_assessments(database: Database, rows: list[Row]) -> Iterator[Row]:
    found = database.related("trace_info", "request_id", (row["trace_id"] for row in rows))
    yield from _traces(database, [row for same in found.values() for row in same])


def _pairs(rows: Any) -> dict[str, Any]:
    return {row["key"]: row["value"] for row in rows}


def _assessment(row: Row) -> Row:
    """As the API gives it; `value` is JSON text in the store."""
    try:
        value = orjson.loads(row["value"])
    except (orjson.JSONDecodeError, TypeError):
        value = row["value"]
    told = {"value": value, "error": row["error"]} if row.get("error") else {"value": value}
    return {
        "assessment_id": row["assessment_id"], "assessment_name": row["name"], "trace_id": row["trace_id"],
        "span_id": row.get("span_id"), "source": {k: row.get(k) for k in ("source_type", "source_id")},
        "create_time": row.get("created_timestamp"), "last_update_time": row.get("last_updated_timestamp"),
        ("expectation" if row.get("assessment_type") == "expectation" else "feedback"): told,
        "rationale": row.get("rationale"), "metadata": parse(row.get("assessment_metadata")),
        "overrides": row.get("overrides"), "valid": bool(row.get("valid", True))}  # fmt: skip


STREAMS = (
    Stream(
        table="trace_info", grows=("timestamp_ms",), unit="ms", length="execution_time_ms", key="request_id",
        began="timestamp_ms", began_unit="ms", records=_traces, running=lambda row: row.get("status") == "IN_PROGRESS",
    ),
    Stream(
        table="assessments", grows=("last_updated_timestamp", "created_timestamp"), unit="ms", key="assessment_id",
        began="created_timestamp", began_unit="ms", follows=True, records=_traces_of_assessments,
    ))  # fmt: skip
