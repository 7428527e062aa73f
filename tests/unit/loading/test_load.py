"""A whole load, through the guarded child and the real readers: however an export arrives, the store is the same."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pandas as pd
import pytest

import kpi
from kpi import schema
from kpi.errors import MappingError
from kpi.loading.load import load, saved_mapping
from kpi.mapping.mapping import ColumnMapping, Mapping
from kpi.store import lake, merge

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
EXPORTS = ROOT / "sample_data" / "exports"
TRACES, LOGS, TABLE = EXPORTS / "otlp.traces.jsonl", EXPORTS / "otlp.logs.jsonl", EXPORTS / "requests.csv"
COMPARED = ("requests", "spans", "documents", "tool_calls", "scores")


@pytest.fixture(autouse=True)
def _state(home: Path) -> None:
    """Every test has its own state folder, and so its own key of the pseudonyms."""


def frames(dataset: str) -> dict[str, pd.DataFrame]:
    """All stored rows per table, sorted by key."""
    found = lake.read_version(dataset)
    made = {}
    for name in COMPARED:
        if not found.files.get(name):
            continue
        shape = schema.TABLES[name]
        columns = ", ".join(f'"{c}"' for c in (*shape.names, *found.extra[name]))
        query = f"SELECT {columns} FROM {merge.scan(found.files[name], shape)} ORDER BY {', '.join(shape.key)}"
        made[name] = duckdb.connect().sql(query).df()
    return made


def numbers(dataset: str) -> pd.DataFrame:
    return kpi.summarise(kpi.open(dataset), list(kpi.METRICS))


def assert_same(dataset: str, other: str) -> None:
    """The same rows in every table, and the same value, interval and n of every metric."""
    mine, theirs = frames(dataset), frames(other)
    assert mine.keys() == theirs.keys()
    assert len(mine["requests"]) > 50
    for name in mine:
        pd.testing.assert_frame_equal(mine[name], theirs[name], obj=name)
    pd.testing.assert_frame_equal(numbers(dataset), numbers(other), rtol=1e-12)


def lines_of(path: Path) -> list[str]:
    """Lines of a table; of OTLP one line a span, so that traces are torn apart."""
    if path.suffix != ".jsonl":
        return path.read_text("utf-8").splitlines(keepends=True)
    return [
        json.dumps({"resourceSpans": [{**r, "scopeSpans": [{**s, "spans": [span]}]}]}) + "\n"
        for line in path.read_text("utf-8").splitlines()
        for r in json.loads(line)["resourceSpans"]
        for s in r["scopeSpans"]
        for span in s["spans"]
    ]


def shuffled(path: Path, target: Path, *, header: bool) -> Path:
    lines = lines_of(path)
    head, body = (lines[:1], lines[1:]) if header else ([], lines)
    random.Random(5).shuffle(body)
    target.write_text("".join(head + body), "utf-8")
    return target


def tenths(path: Path, folder: Path, *, header: bool) -> list[Path]:
    lines = lines_of(path)
    head, body = (lines[:1], lines[1:]) if header else ([], lines)
    parts = [folder / f"part{i}{path.suffix}" for i in range(10)]
    for i, part in enumerate(parts):
        part.write_text("".join(head + body[i::10]), "utf-8")
    return parts


@pytest.mark.parametrize(("export", "header"), [(TRACES, False), (TABLE, True)], ids=["otlp", "table"])
def test_twice_shuffled_and_split_give_the_same_store(tmp_path: Path, export: Path, header: bool) -> None:
    first = load(export, dataset="once")
    load(export, dataset="twice")
    again = load(export, dataset="twice")
    assert (again.version, again.loaded) == (1, 0)
    assert again.repeated == (first.loaded if header else first.spans)
    load(shuffled(export, tmp_path / f"shuffled{export.suffix}", header=header), dataset="shuffled")
    parts = tenths(export, tmp_path, header=header)
    load(parts, dataset="together")
    random.Random(6).shuffle(parts)
    for part in parts:
        load(part, dataset="one-by-one")
    for name in ("twice", "shuffled", "together", "one-by-one"):
        assert_same(name, "once")


def test_logs_before_or_after_their_traces(tmp_path: Path) -> None:
    load([TRACES, LOGS], dataset="together")
    for name, order in (("after", (TRACES, LOGS)), ("before", (LOGS, TRACES))):
        for path in order:
            load(path, dataset=name)
        assert_same(name, "together")


_LOADER = """
import sys
from kpi.loading.load import load
print("ready", flush=True)
load(sys.argv[1], dataset="killed")
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is a POSIX signal")
@pytest.mark.parametrize("export", [TRACES, TABLE], ids=["otlp", "table"])
def test_a_load_that_was_killed_and_run_again(export: Path) -> None:
    begin = time.monotonic()
    load(export, dataset="clean")
    span = time.monotonic() - begin
    dice = random.Random(9)
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", _LOADER, str(export)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(dice.uniform(0.3, 0.95) * span)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with contextlib.suppress(kpi.errors.StoreError):  # no version yet, or a whole one
            assert_same("killed", "clean")
    load(export, dataset="killed")
    assert_same("killed", "clean")


def test_the_export_equals_the_rows_of_the_world(tmp_path: Path) -> None:
    """What the export of the requests carries comes out as the world has it; people as pseudonyms."""
    load(TABLE, dataset="table")
    load([TRACES, LOGS], dataset="spans")
    with TABLE.open(encoding="utf-8", newline="") as file:
        given = pd.DataFrame(list(csv.DictReader(file)))
    of_table, of_spans = (frames(n)["requests"].set_index("trace_id") for n in ("table", "spans"))
    shared = of_table.index.intersection(of_spans.index)
    assert len(shared) == len(given) == len(of_table)
    for column in ("started_at", "model", "language", "input_tokens", "output_tokens", "error"):
        if of_table[column].notna().any():
            pd.testing.assert_series_equal(of_table.loc[shared, column], of_spans.loc[shared, column])


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_the_mapping_that_was_used_is_kept_and_never_in_the_way(tmp_path: Path) -> None:
    rows = "\n".join(f"r{i},{1.5 + i / 10},en,2026-01-0{i % 9 + 1}T00:00:00Z" for i in range(30))
    load(write(tmp_path / "a.csv", f"id,latency,language,time\n{rows}\n"), dataset="d")
    kept = saved_mapping("d")
    assert kept is not None
    assert (kept["latency"].field, kept["latency"].unit, kept["latency"].how) == ("total_us", "s", "guessed")
    other = "\n".join(f"q{i},{900 + i},{i % 2 == 0}" for i in range(30))
    receipt = load(write(tmp_path / "b.csv", f"request_id,latency_ms,success\n{other}\n"), dataset="d")
    assert receipt.loaded == 30
    kept = saved_mapping("d")
    assert kept is not None
    assert kept["success"].field == "success"
    assert kept["language"].field == "language"
    slow = "\n".join(f"s{i},{100 + i},de,2026-01-01T00:00:00Z" for i in range(30))
    load(write(tmp_path / "c.csv", f"id,latency,language,time\n{slow}\n"), dataset="d")
    stored = frames("d")["requests"].set_index("trace_id")["total_us"]
    assert stored["r0"] == 1_500_000
    assert stored["q0"] == 900_000


def test_a_given_mapping_is_strict(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,latency\na,1\nb,2\n")
    with pytest.raises(MappingError, match="not there"):
        load(path, dataset="d", mapping=Mapping((ColumnMapping("gone", "total_us", "ms"),)))
    assert saved_mapping("d") is None
    load(path, dataset="d", mapping=Mapping((ColumnMapping("latency", "total_us", "ms"),)))
    assert list(frames("d")["requests"]["total_us"]) == [1_000, 2_000]
    kept = saved_mapping("d")
    assert kept is not None
    assert kept["latency"].unit == "ms"


def test_spans_leave_no_mapping() -> None:
    load(TRACES, dataset="d")
    assert saved_mapping("d") is None
