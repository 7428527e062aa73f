"""The state folder that is damaged: three loads with every kind of file, and a copy in which a fourth was cut off."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

import kpi
from kpi import schema
from kpi.receipts import Receipt
from kpi.store import delta, lake, recovery
from kpi.store.cache import build_cache, cache_path
from kpi.store.manifest import folder

START = dt.datetime(2026, 10, 1, tzinfo=dt.UTC)
PRICES = '[[price]]\nmodel = "gpt-4o-mini"\ninput = 0.15\noutput = 0.6\n'
REGISTER = """
[[kpi]]
metric = "task_success"
owner = "Ada"
target = 0.8
[[kpi]]
metric = "latency_p95"
owner = "Ada"
target = 3000.0
"""


def rows(numbers: range) -> list[dict]:
    return [
        {
            "request": f"r{i:04}", "when": (START + dt.timedelta(hours=i)).isoformat(), "llm": "gpt-4o-mini",
            "secs": 1 + i % 7 / 4, "was it right": bool(i % 3), "prompt_tokens": 100 + i, "completion_tokens": 20 + i,
            "metadata": {"team": "blue" if i % 2 else "green"},
        }
        for i in numbers
    ]  # fmt: skip


MAPPING = kpi.Mapping.from_dict({
    "columns": {
        "request": {"field": "trace_id"}, "when": {"field": "started_at"}, "llm": {"field": "model"},
        "secs": {"field": "total_us", "unit": "s"}, "was it right": {"field": "success"},
        "prompt_tokens": {"field": "input_tokens"}, "completion_tokens": {"field": "output_tokens"},
    }
})  # fmt: skip


def spans(numbers: range) -> list[dict]:
    found = []
    for i in numbers:
        at = START + dt.timedelta(hours=i)
        root = {"trace_id": f"s{i:03}", "span_id": "0", "name": "chat", "kind": "chain", "started_at": at,
                "duration_us": 2_000_000 + i, "status": "ok"}  # fmt: skip
        found += [root, {**root, "span_id": "1", "parent_id": "0", "kind": "llm", "model": "m", "input_tokens": 10 + i}]
    return found


def stage(place: Path, table: str, given: list[dict]) -> Path:
    """Rows as a stage of one canonical table."""
    shape = schema.TABLES[table].arrow_schema()
    (place / table).mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(given, schema=shape), place / table / "0.parquet")
    return place


def export(path: Path, numbers: range) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows(numbers)))
    return path


def build(place: Path, patch: pytest.MonkeyPatch) -> None:
    """Make `home` and `killed`, state folders, and what loads on top of them read."""
    home = place / "home"
    patch.setenv("KPI_HOME", str(home))
    home.mkdir()
    (home / "prices.toml").write_text(PRICES)
    stage(place / "more", "spans", spans(range(20, 40)))
    stage(place / "other", "spans", spans(range(5, 45)))
    export(place / "more.jsonl", range(50, 70))
    kpi.load(export(place / "first.jsonl", range(40)), dataset="d", mapping=MAPPING, allow=["team"])
    lake.commit("d", stage(place / "spans", "spans", spans(range(12))), Receipt())
    kpi.load(export(place / "second.jsonl", range(30, 50)), dataset="d")
    (folder("d") / "register.toml").write_text(REGISTER)
    DeltaTable(str(folder("d") / "requests")).create_checkpoint()
    found = lake.read_version("d")
    assert build_cache(cache_path(folder("d"), found.fingerprint), found.files["requests"])
    shutil.copytree(home, place / "killed")
    patch.setenv("KPI_HOME", str(place / "killed"))
    with patch.context() as cut:
        cut.setattr(recovery, "undo", lambda *_: None)  # who is killed takes nothing back
        cut.setattr(delta, "describe", _stop)  # every table is written by then, and no manifest
        with pytest.raises(KeyboardInterrupt):
            lake.commit("d", place / "other", Receipt())


def _stop(*_: object) -> None:
    raise KeyboardInterrupt
