"""LangSmith's runs for tests: the genuine ones, small ones, and the same runs in every layout of an export."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.unit.ingest.formats.helpers import Row, read_all, requests_of

FOLDER = "data/exports/langsmith"
DUMP, PAYLOADS = f"{FOLDER}/list_runs_model_dump.jsonl", f"{FOLDER}/ingest_runs_merged.jsonl"
ALLOW = ("metadata.language", "metadata.tenant")
ROOT, CHILD, LEAF = (f"0000000{n}-0000-7000-8000-00000000000a" for n in (1, 2, 3))


def runs(shared: Path, name: str = DUMP) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (shared / name).read_text().splitlines()]


def kpis(*paths: Path) -> dict[str, Row]:
    return requests_of(read_all(paths, allow=ALLOW)[0])


def written(path: Path, *records: Any) -> Path:
    path.write_text("\n".join(json.dumps(r) for r in records))
    return path


def run(run_id: str = ROOT, kind: str = "chain", *, parent: str | None = None, **more: Any) -> dict[str, Any]:
    order = ".".join(f"20261123T180215{n}91870Z{i}" for n, i in enumerate([ROOT, *([run_id] if parent else [])]))
    return {
        "id": run_id, "trace_id": ROOT, "parent_run_id": parent, "dotted_order": order, "name": "step",
        "run_type": kind, "start_time": "2026-11-23T18:02:15.000000", "end_time": "2026-11-23T18:02:17.000000",
        "session_id": "11111111-0000-7000-8000-00000000000b", "inputs": {}, "outputs": {}, "extra": {}, **more,
    }  # fmt: skip


def the_request(path: Path, *records: Any) -> Row:
    (request,) = kpis(written(path / "runs.jsonl", *records)).values()
    return request


def counted_by_the_server(raw: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs as the platform returns them: tokens and costs counted, and summed up on every parent."""
    found = copy.deepcopy(raw)
    by_id = {r["id"]: r for r in found}
    for r in found:
        r |= {"session_id": "p-1", "prompt_tokens": 0, "completion_tokens": 0, "total_cost": None}
    for r in found:
        usage = (r["outputs"] or {}).get("usage_metadata")
        above = r
        while usage and above:
            above["prompt_tokens"] += usage["input_tokens"]
            above["completion_tokens"] += usage["output_tokens"]
            cost = Decimal(usage["input_tokens"]) * Decimal("1.5e-7") + Decimal(usage["output_tokens"]) * Decimal(
                "6e-7"
            )
            above["total_cost"] = str(Decimal(above["total_cost"] or 0) + cost)
            above = by_id.get(above["parent_run_id"])
    for r in found:
        if r["events"] and not r["parent_run_id"]:
            r["first_token_time"] = r["events"][0]["time"]
    return found


def as_api_v2(raw: list[dict[str, Any]]) -> dict[str, Any]:
    items = []
    for r in raw:
        item = {k: v for k, v in r.items() if k not in ("session_id", "extra")}
        metadata = dict(r["extra"]["metadata"])
        thread = metadata.pop("session_id")
        items.append({
            **item, "run_type": r["run_type"].upper(), "status": r["status"].upper(), "project_id": "p-1",
            "metadata": metadata, "thread_id": thread, "is_root": not r["parent_run_id"], "ls_user_id": "key-owner",
            "total_cost": float(r["total_cost"]) if r["total_cost"] else None,
            "extra": {"invocation_params": r["extra"].get("invocation_params")},
        })  # fmt: skip
    return {"items": items, "next_cursor": None}


BULK = pa.schema(
    [(n, pa.string()) for n in ("id", "tenant_id", "session_id", "trace_id", "parent_run_id")]
    + [("parent_run_ids", pa.list_(pa.string()))]
    + [(n, pa.string()) for n in ("reference_example_id", "name", "run_type")]
    + [
        ("start_time", pa.timestamp("us", tz="UTC")),
        ("end_time", pa.timestamp("us", tz="UTC")),
        ("status", pa.string()),
    ]
    + [("is_root", pa.bool_()), ("dotted_order", pa.string()), ("trace_tier", pa.string())]
    + [(n, pa.string()) for n in ("inputs", "outputs", "error", "extra", "events")]
    + [("tags", pa.list_(pa.string())), ("feedback_stats", pa.string())]
    + [(n, pa.int64()) for n in ("total_tokens", "prompt_tokens", "completion_tokens")]
    + [(n, pa.float64()) for n in ("total_cost", "prompt_cost", "completion_cost")]
    + [("first_token_time", pa.timestamp("us", tz="UTC"))]
)


def as_bulk_export(raw: list[dict[str, Any]], folder: Path) -> Path:
    """By the documented columns and path: objects are JSON text, the project is in the path as well."""
    path = folder / "export_id=e/tenant_id=t/session_id=p-1/runs/year=2026/month=11/day=23/data.parquet"
    path.parent.mkdir(parents=True)
    rows = []
    for r in raw:
        row = {name: r.get(name) for name in BULK.names} | {"tenant_id": "t", "is_root": not r["parent_run_id"]}
        for name in ("inputs", "outputs", "extra", "events"):
            row[name] = json.dumps(r[name])
        for name in ("start_time", "end_time", "first_token_time"):
            row[name] = datetime.fromisoformat(r[name]).astimezone(UTC) if r.get(name) else None
        row["total_cost"] = float(r["total_cost"]) if r["total_cost"] else None
        rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows, schema=BULK), path, compression="zstd")
    return path


def as_frame(raw: list[dict[str, Any]]) -> pd.DataFrame:
    """What `pd.DataFrame([run.dict() …])` holds: uuid, datetime and Decimal objects, dicts as they are."""
    rows = copy.deepcopy(raw)
    for r in rows:
        for name in ("id", "trace_id", "parent_run_id"):
            r[name] = UUID(r[name]) if r[name] else None
        for name in ("start_time", "end_time"):
            r[name] = datetime.fromisoformat(r[name])
        r["events"] = [{**e, "time": datetime.fromisoformat(e["time"])} for e in r["events"]]
        r["total_cost"] = Decimal(r["total_cost"]) if r["total_cost"] else None
    return pd.DataFrame(rows)
