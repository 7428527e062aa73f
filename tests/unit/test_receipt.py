"""The receipt: counts everything, keeps a bounded number of examples, survives JSON."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest

from kpi import schema
from kpi.arrow_rows import RowBuffer
from kpi.receipts import ColumnUse, Receipt


def filled() -> Receipt:
    receipt = Receipt(dataset="d", files=["a.csv"], rows_read=3)
    receipt.drop(2, "bad time", hint="write ISO", file="a.csv")
    receipt.use(ColumnUse("foo", None, "unmapped", note="?"))
    receipt.use(ColumnUse("latency_ms", "total_us", "alias", "ms"))
    receipt.note("one")
    receipt.note("one")
    receipt.keep_out({"email": 2})
    receipt.keep_out({"email": 1, "ssn": 1})
    receipt.seen(5, 9)
    receipt.seen(None, None)
    receipt.seen(3, 4)
    return receipt


def test_json_and_pickle_round_trip():
    receipt = filled()
    assert Receipt.from_json(receipt.to_json()) == receipt
    assert pickle.loads(pickle.dumps(receipt)) == receipt
    assert receipt.unmapped == ["foo"]
    assert receipt.notes == ["one"]
    assert receipt.kept_out == {"email": 3, "ssn": 1}
    assert (receipt.first, receipt.last) == (3, 9)


def test_keys_of_a_later_version_are_ignored():
    assert Receipt.from_json('{"dataset": "d", "new_key": 1}') == Receipt(dataset="d")


def test_every_drop_is_counted_but_only_a_thousand_are_kept():
    receipt = Receipt()
    for row in range(5_000):
        receipt.drop(row, "a" if row % 2 else "b")
    assert (receipt.dropped, len(receipt.drops)) == (5_000, 1_000)
    assert receipt.drop_reasons == {"a": 2_500, "b": 2_500}


def test_row_buffer_makes_canonical_tables_of_bounded_size():
    buffer = RowBuffer(flush_rows=3)
    for i in range(4):
        buffer.add("requests", {"trace_id": str(i), "started_at": 1_700_000_000_000_000, "x_plan": "pro"})
    [(name, table)] = buffer.full()
    assert (name, table.num_rows) == ("requests", 4)
    assert table.schema.equals(schema.REQUESTS.arrow_schema(["x_plan"]))
    assert str(table["day"][0]) == "2023-11-14"
    assert list(buffer.rest()) == []


def test_row_buffer_makes_hostile_values_safe_and_refuses_unknown_columns():
    buffer = RowBuffer()
    buffer.add("requests", {"trace_id": "a\ud800", "total_us": 2**70, "groundedness": float("inf"), "success": "x"})
    [(_, table)] = buffer.rest()
    assert table["trace_id"].to_pylist() == ["a?"]
    assert table["total_us"].null_count == table["success"].null_count == 1
    buffer.add("spans", {"trace_id": "a", "x_plan": "pro"})
    with pytest.raises(KeyError, match="x_plan"):
        list(buffer.rest())
    assert isinstance(table, pa.Table)


def test_a_counted_note_is_one_note_however_often_it_is_counted():
    receipt = Receipt()
    receipt.count("Of {spans} something is true.", 1)
    assert receipt.notes == ["Of 1 span something is true."]
    receipt.note("two")
    receipt.count("Of {spans} something is true.", 1_200)
    assert receipt.notes == ["Of 1,201 spans something is true.", "two"]
    assert Receipt.from_json(receipt.to_json()) == receipt
