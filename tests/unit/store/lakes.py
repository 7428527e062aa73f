"""Small data sets of three versions for the tests of the store, and fingerprints of everything that lies in one."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import kpi
from kpi import schema
from kpi.receipts import Receipt
from kpi.store import lake
from kpi.store.manifest import folder

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def stage(place: Path, **tables: list[dict]) -> Path:
    for name, rows in tables.items():
        (place / name).mkdir(parents=True)
        shape = schema.TABLES[name].arrow_schema()
        pq.write_table(pa.Table.from_pylist(rows, schema=shape), place / name / "0.parquet")
    return place


def requests(*numbers: int) -> list[dict]:
    found = []
    for i in numbers:
        at = START + dt.timedelta(hours=i)
        found.append({"trace_id": f"t{i:03}", "started_at": at, "day": at.date(), "model": "m", "success": bool(i % 2)})
    return found


def spans(*numbers: int) -> list[dict]:
    return [
        {"trace_id": f"s{i:03}", "span_id": "0", "kind": "llm", "started_at": START + dt.timedelta(hours=i),
         "duration_us": 1_000 + i, "status": "ok"}
        for i in numbers
    ]  # fmt: skip


def load(tmp_path: Path, *, dataset: str = "d", **tables: list[dict]) -> Receipt:
    number = len(list(tmp_path.glob("stage-*")))
    return lake.commit(dataset, stage(tmp_path / f"stage-{number}", **tables), Receipt())


def three_versions(tmp_path: Path) -> Path:
    """A data set `d` of three versions; its folder."""
    load(tmp_path, requests=requests(*range(40)))
    load(tmp_path, spans=spans(*range(6)))
    load(tmp_path, requests=requests(*range(40, 60)), spans=spans(6, 7))
    return folder("d")


def tree(path: Path) -> dict[str, str]:
    """Every entry below a folder with what is in it."""
    return {
        p.relative_to(path).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "other"
        for p in sorted(path.rglob("*"))
    }


def ids(version: int | None = None, table: str = "requests", dataset: str = "d") -> list[str]:
    source = kpi.open(dataset, version)
    return sorted(source.run(source.table(table).select())["trace_id"].to_pylist()) if source.columns_of(table) else []


def flip(path: Path, *places: int) -> None:
    content = bytearray(path.read_bytes())
    for place in places or (len(content) // 2,):
        content[place] ^= 4
    path.write_bytes(bytes(content))
