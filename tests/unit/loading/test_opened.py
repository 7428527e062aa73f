"""`kpi.open` of a file or a folder: what a load of it gives, and nothing stored."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import kpi
from kpi.errors import KpiError

ASKED = ["requests", "task_success", "latency_worst"]


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    place = tmp_path / "exports"
    place.mkdir()
    rows = {"request_id": ["a", "b", "c"], "user": ["x", "y", "x"], "ok": [1, 0, 1], "latency_ms": [100, 200, 300]}
    pd.DataFrame(rows).to_csv(place / "one.csv", index=False)
    pd.DataFrame({**rows, "request_id": ["d", "e", "f"]}).to_parquet(place / "two.parquet")
    return place


def test_a_file_and_a_folder_are_read_and_nothing_is_stored(folder: Path, home: Path) -> None:
    one, all_of_it = kpi.open(folder / "one.csv"), kpi.open(str(folder))
    assert kpi.summarise(one, ASKED)["value"].tolist() == pytest.approx([3, 2 / 3, 300])
    assert kpi.summarise(all_of_it, ASKED)["value"].tolist() == pytest.approx([6, 2 / 3, 300])
    assert one.columns.set_index("column").loc["ok", "taken_as"] == "success"
    assert kpi.datasets() == []
    assert kpi.open(folder / "one.csv").fingerprint == one.fingerprint


def test_spans_become_requests(folder: Path) -> None:
    span = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "chat",
            "startTimeUnixNano": "1790000000000000000", "endTimeUnixNano": "1790000002000000000",
            "attributes": [{"key": "gen_ai.request.model", "value": {"stringValue": "m"}}]}  # fmt: skip
    path = folder / "spans.json"
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}))
    source = kpi.open(path)
    assert kpi.summarise(source, ["requests", "latency_worst"])["value"].tolist() == [1, 2_000]
    assert len(kpi.trace(source, span["traceId"]).spans) == 1


def test_a_name_comes_before_a_path_and_what_is_neither_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "mine").mkdir()
    kpi.load("one.csv", dataset="mine")
    assert kpi.open("mine").version == 1
    for wrong, code in {"nine": "store.no_dataset", "nine.csv": "ingest.not_found"}.items():
        with pytest.raises(KpiError) as caught:
            kpi.open(wrong)
        assert caught.value.code == code
    with pytest.raises(KpiError, match="no versions"):
        kpi.open("one.csv", version=1)
