"""Tables that an earlier release wrote: columns that came later are null, and a load over them works."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kpi
from kpi.schema import REQUESTS
from kpi.store import delta, merge

LATER = ["computed_nusd", "cost_source", "unpriced_model"]


def test_columns_no_file_has_are_null_and_typed(tmp_path: Path) -> None:
    old = REQUESTS.arrow_schema().empty_table().drop_columns([*LATER, "day"])
    row = pa.Table.from_pylist([{"trace_id": "t"}], schema=old.schema)
    (tmp_path / "day=2026-01-01").mkdir()
    path = tmp_path / "day=2026-01-01" / "0.parquet"
    pq.write_table(row, path)
    found = duckdb.sql(f"SELECT {', '.join(LATER)}, trace_id FROM {merge.scan([path], REQUESTS)} r").to_arrow_table()
    assert found.to_pylist() == [{**dict.fromkeys(LATER), "trace_id": "t"}]
    assert found.schema.types[:2] == [pa.int64(), pa.string()]


def test_a_load_over_an_older_data_set_and_its_costs(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(number: int) -> kpi.Receipt:
        path = tmp_path / f"{number}.jsonl"
        row = {"id": f"r{number}", "timestamp": "2026-11-01T10:00:00Z", "model": "gpt-4o-mini", "provider": "openai",
               "prompt_tokens": 412, "completion_tokens": 31}  # fmt: skip
        path.write_text(json.dumps(row), encoding="utf-8")
        return kpi.load(path, dataset="old")

    append = delta.append

    def without(path: Path, table: str, rows: pa.RecordBatchReader) -> None:
        read = rows.read_all()
        append(path, table, read.drop_columns([c for c in LATER if c in read.column_names]).to_reader())

    with monkeypatch.context() as patch:
        patch.setattr(delta, "append", without)
        load(1)
    assert load(2).version == 2
    kpi.reprice("old")
    source = kpi.open("old")
    costs = source.run(source.table("requests").select())["computed_nusd"].to_pylist()
    assert costs == [412 * 150 + 31 * 600] * 2
