"""A table of one row a call: rows that share a trace id and differ in time add up to requests."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import kpi
from kpi.store import lake

pytestmark = pytest.mark.slow

HEAD = "trace_id,timestamp,model,prompt_tokens,completion_tokens,latency_ms,cost_usd,error,user_id,resolved\n"
CALLS = [
    "a,2026-11-01T10:00:00Z,gpt-4o,100,10,1000,0.5,false,u1,",
    "a,2026-11-01T10:00:02Z,gpt-4o,200,20,3000,0.25,true,u1,",
    "a,2026-11-01T10:00:06Z,gpt-4o-mini,300,30,500,0.25,false,u1,true",
    "b,2026-11-01T11:00:00Z,gpt-4o,7,1,900,1,false,u2,false",
]


def load(folder: Path, rows: list[str], name: str = "d") -> tuple[kpi.Receipt, dict[str, dict[str, object]]]:
    path = folder / f"{name}.csv"
    path.write_text(HEAD + "\n".join(rows) + "\n")
    receipt = kpi.load(path, dataset=name)
    return receipt, stored(name)


def stored(name: str) -> dict[str, dict[str, object]]:
    version = lake.read_version(name)
    return {r["trace_id"]: r for r in pq.read_table(version.files["requests"]).to_pylist()}


@pytest.mark.parametrize("rows", [CALLS, CALLS[::-1], [*CALLS, *CALLS], CALLS[2:] + CALLS[:2]])
def test_calls_add_up(rows: list[str], tmp_path: Path, home: Path) -> None:
    receipt, found = load(tmp_path, rows)
    assert receipt.requests == len(found) == 2
    a, b = found["a"], found["b"]
    assert (a["input_tokens"], a["output_tokens"], a["total_nusd"]) == (600, 60, 1_000_000_000)
    assert (a["total_us"], a["llm_calls"], a["error"]) == (6_500_000, 3, False)  # 10:00:00 to 10:00:06.5
    assert a["resolved"] is True
    assert a["user_key"] != b["user_key"]
    assert (b["input_tokens"], b["total_us"], b["resolved"]) == (7, 900_000, False)
    assert any("3 rows share" in n or "6 rows share" in n for n in receipt.notes)


def test_the_same_time_is_a_correction(tmp_path: Path, home: Path) -> None:
    corrected = CALLS[3].replace(",7,", ",8,")
    receipt, found = load(tmp_path, [CALLS[3], corrected])
    assert (len(found), found["b"]["input_tokens"], receipt.repeated) == (1, 8, 1)


def test_the_order_of_files_is_no_matter(tmp_path: Path, home: Path) -> None:
    _, one = load(tmp_path, CALLS)
    for i, row in enumerate(CALLS):
        (tmp_path / f"part{i}.csv").write_text(HEAD + row + "\n")
    kpi.load([tmp_path / f"part{i}.csv" for i in (2, 0, 3, 1)], dataset="parts")
    assert stored("parts") == one


@pytest.mark.parametrize(
    ("first", "second"), [(CALLS[:1], CALLS[1:3]), (CALLS[:2], CALLS[2:3]), (CALLS[:1], CALLS[2:3])]
)
def test_calls_of_stored_requests_replace_nothing(
    first: list[str], second: list[str], tmp_path: Path, home: Path
) -> None:
    load(tmp_path, first)
    before = stored("d")
    with pytest.raises(kpi.KpiError) as caught:
        load(tmp_path, second)
    assert caught.value.code == "store.other_times"
    assert stored("d") == before
    assert load(tmp_path, first)[0].loaded == 0
