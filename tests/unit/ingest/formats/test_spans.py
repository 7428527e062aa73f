"""Rows of spans: one truth as every exporter writes it, and the exports of the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.ingest.formats.exporters import EXPORTERS, TRUTH
from tests.unit.ingest.formats.helpers import read_all, requests_of


def told(paths: list[Path]) -> dict[str, Any]:
    """What `TRUTH` names, from some files."""
    tables, receipt = read_all(paths)
    found = list(requests_of(tables).values())
    assert found, receipt.notes
    sums = {name: found[0][name] for name in TRUTH if name not in ("requests", "spans")}
    return {"requests": len(found), "spans": receipt.spans, **sums}


@pytest.mark.parametrize("name", sorted(EXPORTERS))
def test_one_truth_whoever_wrote_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / "export.txt"
    path.write_bytes(EXPORTERS[name]())
    found = told([path])
    found["error"] = bool(found["error"])
    assert found == TRUTH


def test_each_file_has_its_own_unit(tmp_path: Path) -> None:
    """Two tables of one load, one in seconds and one in milliseconds, neither of which says so."""
    text = EXPORTERS["own_table"]().decode()
    head, *rows = text.splitlines()
    at = head.split(",").index("duration")
    seconds = []
    for row in rows:
        cells = row.split(",")
        cells[0], cells[at] = cells[0][::-1], str(float(cells[at]) / 1_000)
        seconds.append(",".join(cells))
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "b.csv").write_text("\n".join([head, *seconds]))
    tables, _ = read_all([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert [r["total_us"] for r in requests_of(tables).values()] == [4_500_000, 4_500_000]


def test_many_lengths_without_a_unit_are_settled_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after those that waited is read in the same unit, and nothing is lost."""
    monkeypatch.setattr("kpi.ingest.formats.spans._WAITING", 4)
    text = EXPORTERS["own_table"]().decode()
    head, *rows = text.splitlines()
    more = [row.replace(row.split(",")[0], row.split(",")[0][::-1]) for row in rows]
    (tmp_path / "a.csv").write_text("\n".join([head, *rows, *more]))
    tables, receipt = read_all([tmp_path / "a.csv"])
    assert receipt.spans == 8
    assert [r["total_us"] for r in requests_of(tables).values()] == [4_500_000, 4_500_000]


def test_a_span_with_a_message_of_its_own_is_itself(tmp_path: Path) -> None:
    """Only a record that is no span is opened for the span that it may hold."""
    path = tmp_path / "spans.jsonl"
    ids = '"trace_id": "25664b7144ee8f957a50b6ff74dfa337", "span_id": "1009ff1545ad6303", "parent_span_id": null'
    times = '"start_time": "2026-07-22T18:17:48Z", "end_time": "2026-07-22T18:17:50Z"'
    path.write_text(f'{{{ids}, "name": "chat", {times}, "body": {{"start_time": "soon"}}}}\n' * 2)
    tables, _ = read_all([path])
    assert next(iter(requests_of(tables).values()))["total_us"] == 2_000_000
