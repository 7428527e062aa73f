"""Rows that lie in the future: kept out and counted in every format, and in nobody's way."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import kpi
from kpi import clock, schema
from kpi.receipts import Receipt
from tests.unit import span_loading as spans
from tests.unit.ingest.formats.helpers import Row, read_all
from tests.unit.ingest.formats.test_mutations import seeds

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[4]
OWN = sorted((ROOT / "sample_data" / "exports").glob("*.*"))
DATABASES = ("data/exports/phoenix/phoenix_subset.db", "data/exports/mlflow/mlflow_subset.db")
US = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=40)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "export" in metafunc.fixturenames:
        root = ROOT.parent / "shared"
        found = [*seeds(root), *(root / d for d in DATABASES)] if root.exists() else []
        metafunc.parametrize("export", [*OWN, *found], ids=lambda p: p.name)


def moments(tables: dict[str, list[Row]]) -> Iterator[int]:
    """Every time that a row states, and every end, epoch microseconds."""
    for rows in tables.values():
        for row in rows:
            for at in (row.get("started_at"), row.get("at")):
                if at is not None:
                    yield (at - EPOCH) // US
            if row.get("started_at") and row.get("duration_us") is not None:
                yield (row["started_at"] - EPOCH) // US + row["duration_us"]


def past(tables: dict[str, list[Row]], latest: int) -> set[tuple[str, ...]]:
    """Keys of the requests and spans that say when they were, and no later than then."""
    return {
        (name, *(row[k] for k in schema.TABLES[name].key))
        for name in ("requests", "spans")
        for row in tables.get(name, [])
        # How long a whole trace lasts may hang on its later spans.
        if row["started_at"] and row.get("kind") != schema.WHOLE and all(m < latest for m in moments({name: [row]}))
    }


def test_every_export_read_in_the_middle_of_its_time(export: Path) -> None:
    """With the clock at the middle of what an export tells, the later half is kept out and nothing else."""
    whole, before = read_all([export])
    times = sorted(moments(whole))
    if not times or times[0] == times[-1]:
        pytest.skip("all of it happens at one moment, or at none that it tells")
    latest = times[(len(times) - 1) // 2]
    latest = latest if latest < times[-1] else max(t for t in times if t < times[-1])
    half, receipt = read_all([export], now_us=latest - clock.GRACE_US)
    assert max(moments(half), default=0) <= latest
    assert past(half, latest) == past(whole, latest)
    future = sum(n for reason, n in receipt.drop_reasons.items() if "lies in the future" in reason)
    assert future == receipt.dropped - before.dropped > 0


def test_ten_minutes_are_forgiven() -> None:
    now = spans.T0 // 1_000
    for late, kept in ((clock.GRACE_US, True), (clock.GRACE_US + 1, False)):
        assert clock.is_ahead(now + late, now) is not kept
    assert not clock.is_ahead(None, now)


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands an hour after the spans of `span_loading`."""
    monkeypatch.setattr(clock, "now_us", lambda: spans.T0 // 1_000 + 3_600_000_000)


LATER = int(AHEAD.total_seconds() * 1_000)


def otlp(*rows: Row) -> tuple[dict[str, list[Row]], Receipt]:
    receipt = Receipt()
    return spans.load(spans.message(rows), receipt=receipt), receipt


@pytest.mark.usefixtures("today")
def test_a_span_ahead_costs_itself_alone() -> None:
    found, receipt = otlp(spans.span(1), spans.span(2, 1, start=LATER, end=LATER + 5), spans.span(3, 1))
    assert [s["span_id"][-1] for s in found["spans"]] == ["1", "3"]
    assert (receipt.dropped, receipt.spans, receipt.drop_reasons) == (1, 2, {"span lies in the future": 1})
    assert spans.TRACE in receipt.drops[0].hint
    assert receipt.drops[0].row == 1


@pytest.mark.usefixtures("today")
def test_a_span_that_ends_ahead_is_none_and_one_that_lasts_for_months_has_no_length() -> None:
    found, receipt = otlp(spans.span(1, end=LATER), spans.span(2, start=-2 * LATER, end=10), spans.span(3))
    assert [(s["span_id"][-1], s["duration_us"]) for s in found["spans"]] == [("2", None), ("3", 1_000_000)]
    assert receipt.dropped == 1
    assert any("30 days" in note for note in receipt.notes)


@pytest.mark.usefixtures("today")
def test_what_a_span_tells_of_later_is_kept_out_without_it() -> None:
    """Documents and calls of a span ahead go with it; an evaluation that came later than now goes alone."""
    score = {"gen_ai.evaluation.name": "good", "gen_ai.evaluation.score.value": 1.0}
    event = {"name": "gen_ai.evaluation.result", "attributes": [spans.attribute(k, v) for k, v in score.items()]}
    early, late = ({**event, "timeUnixNano": str(spans.T0 + at * 1_000_000)} for at in (1, LATER))
    tool = {"openinference.span.kind": "TOOL", "tool.name": "search"}
    found, receipt = otlp(
        spans.span(1, events=[early, late]), spans.span(2, 1, start=LATER, end=LATER, attributes=tool)
    )
    assert len(found["spans"]) == len(found["scores"]) == 1
    assert "tool_calls" not in found
    assert receipt.drop_reasons == {"score lies in the future": 1, "span lies in the future": 1}


@pytest.mark.usefixtures("today")
def test_logs_ahead_are_kept_out() -> None:
    receipt = Receipt()
    one = {
        "traceId": spans.TRACE, "spanId": f"{1:016x}", "eventName": "gen_ai.evaluation.result",
        "attributes": [spans.attribute("gen_ai.evaluation.name", "good")],
    }  # fmt: skip
    text = {**one, "eventName": "gen_ai.user.message", "body": {"stringValue": "hello"}}
    records = [{**r, "timeUnixNano": str(spans.T0 + at * 1_000_000)} for r in (one, text) for at in (0, LATER)]
    found = spans.load(spans.logs(records), receipt=receipt)
    assert len(found["scores"]) == 1
    assert receipt.drop_reasons == {"log lies in the future": 2}


def langsmith(number: int, at: datetime) -> dict[str, Any]:
    name = f"00000000-0000-4000-8000-{number:012}"
    return {
        "id": name, "trace_id": name, "name": "call", "run_type": "llm", "session_id": name, "dotted_order": name,
        "start_time": at.isoformat(), "end_time": (at + timedelta(seconds=2)).isoformat(), "inputs": {}, "outputs": {},
        "parent_run_id": None, "extra": {}, "serialized": None,
    }  # fmt: skip


def test_one_run_of_a_vendor_moves_no_window(tmp_path: Path, home: Path) -> None:
    """The case of the review: 39 requests and one far ahead, in a format of spans, a table and a database file."""
    now = datetime.now(UTC).replace(microsecond=0)
    times = [now - timedelta(hours=6 * i) for i in range(39)] + [now + AHEAD]
    runs = tmp_path / "runs.jsonl"
    runs.write_text("".join(json.dumps(langsmith(i, at)) + "\n" for i, at in enumerate(times)), "utf-8")
    table = tmp_path / "table.csv"
    rows = [f"r{i},{at.isoformat()},{100 + i}\n" for i, at in enumerate(times)]
    table.write_text("request_id,started_at,latency_ms\n" + "".join(rows[-1:] + rows[:-1]), "utf-8")
    place = tmp_path / "requests.db"
    connection = sqlite3.connect(place)
    connection.execute("CREATE TABLE requests (request_id TEXT, started_at TEXT, latency_ms INTEGER)")
    given = [(f"r{i}", at.isoformat(), 100 + i) for i, at in enumerate(times)]
    connection.executemany("INSERT INTO requests VALUES (?, ?, ?)", given)
    connection.commit()
    connection.close()
    for path in (runs, table, place):
        receipt = kpi.load(path, dataset=path.suffix[1:])
        assert (receipt.requests, receipt.dropped) == (39, 1), path.name
        assert any("future" in reason for reason in receipt.drop_reasons)
        source = kpi.open(path.suffix[1:])
        assert kpi.summarise(source, "requests", kpi.Slice(last="28d"))["value"].item() == 39
        assert kpi.resolve(source, kpi.Slice()).notes == ()


def test_a_file_of_the_future_alone_says_so(tmp_path: Path, home: Path) -> None:
    runs = tmp_path / "runs.jsonl"
    runs.write_text(json.dumps(langsmith(1, datetime.now(UTC) + AHEAD)) + "\n", "utf-8")
    with pytest.raises(kpi.errors.IngestError, match="lies in the future"):
        kpi.load(runs, dataset="later")
    assert not kpi.datasets()
