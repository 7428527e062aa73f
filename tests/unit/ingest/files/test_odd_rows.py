"""Rows that are no data: a header again, totals; and tables that are written by their columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kpi.ingest.files.odd_rows import is_header, is_total, rows_of_columns
from tests.unit.ingest.formats.helpers import read_all

TABLE = "request_id,timestamp,latency_ms,input_tokens\nr1,2026-10-01 10:00,100,7\nr2,2026-10-01 11:00,300,5\n"


def load(tmp_path: Path, text: str, name: str = "table.csv") -> tuple[list[dict], object]:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    tables, receipt = read_all([path])
    return tables["requests"], receipt


def test_a_header_between_the_rows_is_skipped_and_told(tmp_path: Path) -> None:
    """`cat a.csv b.csv > both.csv`."""
    second = TABLE.replace("r1", "r3").replace("r2", "r4")
    rows, receipt = load(tmp_path, TABLE + second)
    assert [r["trace_id"] for r in rows] == ["r1", "r2", "r3", "r4"]
    assert receipt.dropped == 0
    assert any("header stands between the rows" in note for note in receipt.notes)


@pytest.mark.parametrize(
    "last", ["Total,,400,12", "TOTAL:,,400,12", "Grand total,,400,12", "Summe,,400,12", "合计,,400,12"]
)
def test_a_row_of_totals_is_no_request(tmp_path: Path, last: str) -> None:
    rows, receipt = load(tmp_path, f"{TABLE}{last}\n")
    assert sum(r["input_tokens"] for r in rows) == 12
    assert receipt.drop_reasons == {"the row holds totals of the others": 1}
    assert receipt.drops[0].row == 3


@pytest.mark.parametrize("cells", [
    ["total", "2026-10-01 10:00", "100"], ["total", "", ""], ["totality", "", "100"], ["r1", "", "100"], ["100", "7"],
    [],
])  # fmt: skip
def test_a_row_that_says_more_than_numbers_is_a_row(cells: list[str]) -> None:
    assert not is_total(cells)


def test_a_header_is_the_same_names_in_the_same_places() -> None:
    assert is_header([" id ", "at"], ["id", "at"])
    assert not is_header(["at", "id"], ["id", "at"])
    assert not is_header(["id"], ["id", "at"])


@pytest.mark.parametrize("by_column", [
    {"request_id": ["a", "b"], "latency_ms": [100, 300]},
    {"request_id": {"0": "a", "1": "b"}, "latency_ms": {"0": 100, "1": 300}},
])  # fmt: skip
def test_a_data_frame_by_columns_is_its_rows(tmp_path: Path, by_column: dict) -> None:
    """`DataFrame.to_dict("list")` and `DataFrame.to_json()` of pandas."""
    rows, _ = load(tmp_path, json.dumps(by_column), "frame.json")
    assert [(r["trace_id"], r["total_us"]) for r in rows] == [("a", 100_000), ("b", 300_000)]


@pytest.mark.parametrize("document", [
    {"id": "a", "tags": ["x", "y"]}, {"a": [1, 2], "b": [1]}, {"a": [1], "b": [2]}, {"a": [1, 2]},
    {"a": [{}, {}], "b": [1, 2]}, {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}}, {"a": {"0": 1, "1": 2}, "b": 3}, {},
])  # fmt: skip
def test_an_object_of_its_own_stays_one(document: dict) -> None:
    assert rows_of_columns(document) is None
