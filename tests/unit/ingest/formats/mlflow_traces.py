"""MLflow's traces for tests: the genuine ones, small ones, and the same traces in every layout of an export."""

from __future__ import annotations

import base64
import json
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd

from tests.unit.ingest.formats.helpers import Row, read_all, requests_of

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
