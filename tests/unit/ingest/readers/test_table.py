"""Tables with one row a request: exact counts on genuine data, hostile rows, and results that no order can change."""

from __future__ import annotations

import csv
import gzip
import io
import random
import runpy
import sys
from pathlib import Path

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kpi import schema
from kpi.errors import IngestError, MappingError
from kpi.ingest.context import Context
from kpi.ingest.limits import Limits
from kpi.ingest.readers import table
from kpi.ingest.readers.open import open_inputs
from kpi.mapping.mapping import ColumnMapping, Mapping
from kpi.privacy.privacy import Privacy
from kpi.receipts import Receipt

KEY = b"k" * 32
NOW = 1_795_000_000_000_000  # 2026-11-18


def load(*paths: Path, mapping: Mapping | None = None, limits: Limits | None = None) -> tuple[pd.DataFrame, Receipt]:
    """Read in this process, as the guarded child does: one plan over all files, then each file."""
    receipt = Receipt()
    limits = limits or Limits()
    context = Context(privacy=Privacy(KEY), receipt=receipt, mapping=mapping, limits=limits, now_us=NOW)
    sources = list(open_inputs(list(paths), limits=limits))
    context.plan = table.plan(sources, context)
    tables = [t for source in sources for name, t in table.read(source, context) if name == "requests"]
    frame = pa.concat_tables(tables, promote_options="default").to_pandas() if tables else pd.DataFrame()
    return frame, receipt


def write(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture(scope="session")
def hostile(shared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    before = sys.argv
    sys.argv = ["make_hostile.py", str(folder)]
    try:
        runpy.run_path(str(shared / "data/corpora/make_hostile.py"))
    finally:
        sys.argv = before
    return folder


@pytest.mark.slow
def test_bfcl_equals_the_file_itself(shared):
    path = next((shared / "data/datasets/bfcl").glob("*.csv"))
    expected = pd.read_csv(path, keep_default_na=False, dtype={"success": str})
    frame, receipt = load(path)
    assert len(frame) == receipt.rows_read == 49_300 == frame["trace_id"].nunique()
    assert receipt.dropped == 0
    assert frame["started_at"].isna().all()
    assert any("No column holds the time" in n for n in receipt.notes)
    truth = (expected["success"] == "True").groupby(expected["model"]).mean()
    pd.testing.assert_series_equal(
        frame["success"].astype(float).groupby(frame["model"]).mean(), truth, check_names=False
    )
    assert (frame["total_us"] == (expected["latency_s"] * 1e6).round()).all()
    assert int(frame["error"].sum()) == int((expected["error_type"] != "").sum())
    assert int(frame["tool_calls"].sum()) == int(expected["n_tool_calls"].sum())
    silent = expected.groupby("model")[["input_tokens", "output_tokens"]].sum().sum(axis=1)
    silent = set(silent[silent == 0].index)
    unknown = frame["input_tokens"].isna()
    assert set(frame.loc[unknown, "model"]) == silent
    assert int(frame["input_tokens"].sum()) == int(expected["input_tokens"].sum())
    assert {"x_test_category", "x_result_kind"} <= set(frame.columns)
    assert "tool_names" in receipt.unmapped


@pytest.mark.slow
def test_azure_equals_the_file_itself(shared):
    path = next((shared / "data/datasets/azure_llm_inference").glob("*.csv"))
    expected = pd.read_csv(path)
    frame, receipt = load(path)
    assert len(frame) == 19_366
    truth = pd.to_datetime(expected["TIMESTAMP"], utc=True)
    assert (frame["started_at"].astype("int64") == truth.astype("datetime64[ns, UTC]").astype("int64") // 1000).all()
    assert (frame["input_tokens"] == expected["ContextTokens"]).all()
    assert (frame["output_tokens"] == expected["GeneratedTokens"]).all()
    assert frame["success"].isna().all()
    assert (frame["day"] == truth.dt.date).all()
    assert any("no zone" in n for n in receipt.notes)


def test_eighteen_shapes_of_time(hostile):
    frame, receipt = load(hostile / "times.jsonl")
    kept = frame.set_index("trace_id")["started_at"]
    assert {d.row for d in receipt.drops} == {10, 11, 12, 15, 18}  # 2999, 1970, 0000-00-00, 01/02/2026, now
    at = pd.Timestamp("2026-11-01T10:00:00Z")
    for name in ("t0", "t1", "t4", "t5", "t6", "t7", "t8"):
        assert kept[name] == at, name
    assert kept["t2"] == pd.Timestamp("2026-11-01T04:30:00Z")
    assert kept["t3"] == pd.Timestamp("2026-11-01T18:00:00Z")
    assert kept["t12"] == pd.Timestamp("2026-07-01T00:00:00Z")
    assert kept["t13"] == pd.Timestamp("2026-10-25T00:30:00Z")
    assert kept[["t15", "t16"]].isna().all()
    assert len(kept) == 13


def test_hostile_numbers_never_reach_a_sum(hostile):
    frame, receipt = load(hostile / "numbers.jsonl")
    assert any("3 numbers that are none" in n for n in receipt.notes)
    assert frame.set_index("trace_id")["total_nusd"].fillna(-1).to_dict() == {
        "n0": -1, "n1": -1, "n2": -1,
        "n5": 0, "n6": 100_000_000, "n7": 1_500_000_000, "n8": 3_000_000_000, "n9": -1, "n12": 0
    }  # fmt: skip
    assert {d.row for d in receipt.drops} == {4, 5, 11, 12}
    frame, receipt = load(hostile / "tokens.jsonl")
    assert frame["input_tokens"].fillna(-1).tolist() == [12, -1]
    assert {d.row for d in receipt.drops} == {1, 2, 3, 6}


@pytest.mark.parametrize("name", ["lone_surrogate", "mixed_bad_utf8", "latin1", "nul_ctrl", "bom_utf16", "inject"])
def test_strange_text_loads_and_its_neighbours_too(hostile, name):
    frame, receipt = load(hostile / f"{name}.jsonl")
    assert len(frame) == receipt.rows_read > 0
    assert receipt.dropped == 0


def test_broken_lines_are_dropped_with_their_number(hostile, tmp_path):
    frame, receipt = load(hostile / "half_written.jsonl")
    assert (len(frame), [d.row for d in receipt.drops]) == (9, [10])
    rows = 'id,latency_ms,note\n1,5,"open\n2,6,fine\n3,7,a,b\n4\n\n5,8,"two\nlines"\n6,9,ü\n'
    frame, receipt = load(write(tmp_path, rows.encode("latin-1")))
    assert frame["trace_id"].tolist() == ["2", "5", "6"]
    assert [d.row for d in receipt.drops] == [1, 3, 4]
    assert any("Latin-1" in n for n in receipt.notes)


@pytest.mark.slow
def test_json_test_suite_as_the_second_line(shared, tmp_path):
    good = b'{"trace_id": "a", "latency_ms": 5}'
    for path in sorted((shared / "data/corpora/jsontestsuite/test_parsing").glob("*.json")):
        text = path.read_bytes()
        if b"\n" in text or len(text) > 10_000 or not text.strip(b" \t\r\n"):
            continue
        frame, receipt = load(write(tmp_path, good + b"\n" + text + b"\n" + good.replace(b'"a"', b'"z"'), "t.jsonl"))
        assert {"a", "z"} <= set(frame["trace_id"]), path.name
        if path.name.startswith("n_") and b"\\u" not in text and text.decode("utf-8", "replace").encode() == text:
            assert receipt.dropped == 1, path.name
        if path.name.startswith("y_"):
            assert "the line is not valid JSON" not in receipt.drop_reasons, path.name


def rows_without_ids(count: int = 400) -> list[dict]:
    rng = random.Random(7)
    return [
        {"created": 1_790_000_000 + i, "latency": rng.random() * 5, "model": rng.choice("ab"),
         "plan": rng.choice("xyz"), "user": f"u{rng.randrange(50)}", "prompt": f"question {i}",
         "cost": rng.random() / 100, "thumbs": rng.choice(["up", "down", None])}
        for i in range(count)
    ]  # fmt: skip


def as_csv(rows: list[dict]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def canonical(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values("trace_id").reset_index(drop=True)


def test_order_and_split_and_compression_change_nothing(tmp_path):
    rows = rows_without_ids()
    whole, _ = load(write(tmp_path, as_csv(rows)))
    shuffled = random.Random(1).sample(rows, len(rows))
    other, _ = load(write(tmp_path, gzip.compress(as_csv(shuffled)), "s.csv.gz"))
    pd.testing.assert_frame_equal(canonical(whole), canonical(other))
    parts = [write(tmp_path, as_csv(rows[i::10]), f"part{i}.csv") for i in range(10)]
    split, _ = load(*parts)
    pd.testing.assert_frame_equal(canonical(whole), canonical(split))


def test_formats_agree(tmp_path):
    rows = [{**r, "request_id": f"r{i}"} for i, r in enumerate(rows_without_ids())]
    frames = [load(write(tmp_path, as_csv(rows)))[0]]
    frames.append(load(write(tmp_path, b"\n".join(map(orjson.dumps, rows)), "t.jsonl"))[0])
    frames.append(load(write(tmp_path, orjson.dumps({"data": rows}), "t.json"))[0])
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    frames.append(load(tmp_path / "t.parquet")[0])
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(canonical(frames[0]), canonical(frame))


def test_outcomes_costs_and_people(tmp_path):
    text = (
        "id,timestamp,end_time,status_code,resolved,rating,input_cost_usd,output_cost_usd,user_id,prompt,relevance,segment\n"
        "1,2026-11-01T10:00:00Z,2026-11-01T10:00:02Z,200,yes,5,0.001,0.002,ann@example.com,mail bob@example.com,0.5,a\n"
        "2,2026-11-01T10:00:00Z,2026-11-01T09:00:00Z,503,no,1,,,,,7,a\n"
    )
    frame, receipt = load(write(tmp_path, text))
    one, two = (row for _, row in frame.iterrows())
    assert (one["total_us"], bool(one["error"]), bool(one["resolved"]), one["user_rating"]) == (
        2_000_000,
        False,
        True,
        1.0,
    )
    assert (one["inference_nusd"], one["total_nusd"], bool(one["priced"])) == (3_000_000, 3_000_000, True)
    assert len(one["user_key"]) == 32
    assert "bob@example.com" not in one["input_text"]
    assert bool(two["error"])
    assert pd.isna(two["total_us"])
    assert pd.isna(two["total_nusd"])
    assert two["user_rating"] == 0.0
    assert any("end before they start" in n for n in receipt.notes)
    assert any("scaled from 1-5" in n for n in receipt.notes)


def test_decimal_commas_and_dates_are_decided_by_the_whole_column(tmp_path):
    text = "id;date;cost\n1;03/04/2026;0,5\n2;25/12/2025;1,234\n"
    frame, _ = load(write(tmp_path, text))
    assert frame["total_nusd"].tolist() == [500_000_000, 1_234_000_000]
    assert [str(d) for d in frame["day"]] == ["2026-04-03", "2025-12-25"]


def test_a_given_mapping_is_obeyed_and_checked(tmp_path):
    path = write(tmp_path, "a,b,c\n1,2.5,p\n2,3.5,q\n")
    mapping = Mapping(
        (ColumnMapping("a", "trace_id"), ColumnMapping("b", "total_us", "s"), ColumnMapping("c", "score:x"))
    )
    with pytest.raises(MappingError, match="'c'"):
        load(path, mapping=mapping)
    frame, receipt = load(path, mapping=mapping.replace("c", field="intent"))
    assert frame["total_us"].tolist() == [2_500_000, 3_500_000]
    assert frame["intent"].tolist() == ["p", "q"]
    assert {c.source: c.field for c in receipt.columns} == {"a": "trace_id", "b": "total_us", "c": "intent"}
    with pytest.raises(IngestError) as caught:
        load(path)
    assert caught.value.code == "ingest.no_columns"


def test_limits_end_in_typed_errors(tmp_path):
    path = write(tmp_path, "id,latency_ms\n" + "".join(f"{i},5\n" for i in range(100)))
    with pytest.raises(IngestError, match="rows"):
        load(path, limits=Limits(rows=50))
    with pytest.raises(IngestError, match="columns"):
        load(path, limits=Limits(columns=1))


@pytest.mark.slow
def test_mutated_files_load_or_fail_with_a_typed_error(tmp_path):
    rng = random.Random(20261123)
    rows = rows_without_ids(20)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "good.parquet")
    good = {
        "csv": as_csv(rows),
        "jsonl": b"\n".join(map(orjson.dumps, rows)),
        "parquet": (tmp_path / "good.parquet").read_bytes(),
    }
    outcomes = {"loaded": 0, "refused": 0}
    for ending, content in good.items():
        for _ in range(30 if ending == "parquet" else 80):
            mutated = bytearray(content)
            for _ in range(rng.randrange(1, 6)):
                mutated[rng.randrange(len(mutated))] = rng.randrange(256)
            try:
                load(write(tmp_path, bytes(mutated), f"m.{ending}"))
                outcomes["loaded"] += 1
            except IngestError:
                outcomes["refused"] += 1
    assert sum(outcomes.values()) == 190
    assert outcomes["loaded"] > 100


def test_requests_have_the_canonical_schema(tmp_path):
    frame, _ = load(write(tmp_path, "id,latency_ms,tier2\n1,5,a\n2,6,a\n"))
    assert list(frame.columns) == [*schema.REQUESTS.names, "x_tier2"]
