"""Arize Phoenix, SQLite or PostgreSQL: spans, their costs and annotations as its REST API gives them.

Spans are written once, when they end, so their row id tells what is new. Costs follow a little later, annotations at
any time. Of what Phoenix exports, only the database has the costs it computed.
"""

from collections.abc import Iterator
from typing import Any

from kpi.ingest.databases.database import Database, Row
from kpi.ingest.databases.streams import Stream
from kpi.ingest.otlp.attributes import mapping, objects

NAME = "phoenix"
TABLES = ("spans traces span_annotations", "spans traces project_sessions")

_COSTS = {"total_cost": "llm.cost.total", "prompt_cost": "llm.cost.prompt", "completion_cost": "llm.cost.completion"}


def _spans(database: Database, rows: list[Row]) -> Iterator[Row]:
    traces = _by_id(database, "traces", (row["trace_rowid"] for row in rows))
    database.owned("projects", (trace.get("project_rowid") for trace in traces.values()))
    sessions = _by_id(database, "project_sessions", (t.get("project_session_rowid") for t in traces.values()))
    costs = database.related("span_costs", "span_rowid", (row["id"] for row in rows))
    for row in rows:
        trace = traces.get(row["trace_rowid"])
        if trace is None:
            database.receipt.drop(row["id"], "span whose trace is not in the database", file="spans")
            continue
        beside: dict[str, Any] = {}  # what the span states itself comes after it, and counts
        session = sessions.get(trace.get("project_session_rowid"), {}).get("session_id")
        if session and not row.get("parent_id"):
            beside["session.id"] = session
        for cost in costs.get(row["id"], ()):
            beside |= {name: cost[column] for column, name in _COSTS.items() if cost.get(column) is not None}
        yield {
            "name": row["name"], "context": {"trace_id": trace["trace_id"], "span_id": row["span_id"]},
            "span_kind": row["span_kind"], "parent_id": row.get("parent_id"), "start_time": row["start_time"],
            "end_time": row.get("end_time"), "status_code": row.get("status_code"),
            "status_message": row.get("status_message"), "attributes": {**beside, **mapping(row["attributes"])},
            "events": objects(row.get("events"))}  # fmt: skip


def _spans_of_costs(database: Database, rows: list[Row]) -> Iterator[Row]:
    found = database.related("spans", "id", (row["span_rowid"] for row in rows))
    yield from _spans(database, [row for same in found.values() for row in same])


def _span_annotations(database: Database, rows: list[Row]) -> Iterator[Row]:
    spans = _by_id(database, "spans", (row["span_rowid"] for row in rows))
    traces = _by_id(database, "traces", (span["trace_rowid"] for span in spans.values()))
    for row in rows:
        span = spans.get(row["span_rowid"])
        if span is None:
            database.receipt.drop(row["id"], "annotation whose span is not in the database", file="annotations")
            continue
        trace = traces.get(span["trace_rowid"], {})
        yield {**_annotation(row), "span_id": span["span_id"], "trace_id": trace.get("trace_id")}


def _trace_annotations(database: Database, rows: list[Row]) -> Iterator[Row]:
    traces = _by_id(database, "traces", (row["trace_rowid"] for row in rows))
    for row in rows:
        if row["trace_rowid"] in traces:
            yield {**_annotation(row), "trace_id": traces[row["trace_rowid"]]["trace_id"]}
        else:
            database.receipt.drop(row["id"], "annotation whose trace is not in the database", file="annotations")


def _session_annotations(database: Database, rows: list[Row]) -> Iterator[Row]:
    for row in rows:
        yield {**_annotation(row), "session_id": str(row["project_session_id"])}


def _annotation(row: Row) -> Row:
    found = {
        "id": str(row["id"]), "created_at": row.get("created_at"), "updated_at": row.get("updated_at"),
        "source": row.get("source"), "user_id": None, "name": row["name"], "annotator_kind": row.get("annotator_kind"),
        "result": {k: row.get(k) for k in ("label", "score", "explanation")},
        "metadata": mapping(row.get("metadata")), "identifier": row.get("identifier")}  # fmt: skip
    return {**found, "document_position": row["document_position"]} if "document_position" in row else found


def _by_id(database: Database, table: str, ids: Any) -> dict[Any, Row]:
    return {key: rows[0] for key, rows in database.related(table, "id", ids).items()}


STREAMS = (
    Stream(table="spans", grows=("id",), unit="id", key="id", began="start_time", records=_spans),
    Stream(table="span_costs", grows=("id",), unit="id", key="id", began="span_start_time", follows=True,
           records=_spans_of_costs),
    *(
        Stream(table=table, grows=("updated_at", "created_at"), key="id", began="created_at", records=records)
        for table, records in (
            ("span_annotations", _span_annotations), ("document_annotations", _span_annotations),
            ("trace_annotations", _trace_annotations), ("project_session_annotations", _session_annotations),
        )
    ))  # fmt: skip
