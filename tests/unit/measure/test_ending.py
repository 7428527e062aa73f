"""Where a window ends: no single row decides, and what lies in the future is in no window."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kpi
from kpi import clock, schema
from kpi.measure.ending import DAYS, HOURS, Bucket, ending
from kpi.measure.profile import profile
from kpi.receipts import Receipt
from kpi.store import lake

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MONTH = [NOON - i * DAY * 0.7 for i in range(39)]  # 39 requests in 28 days


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the last of November."""
    moment = datetime(2026, 11, 30, 12, tzinfo=UTC)
    monkeypatch.setattr(clock, "now_us", lambda: int(moment.timestamp()) * 1_000_000)


def frame(times: list[datetime]) -> kpi.Source:
    return kpi.from_frame(pd.DataFrame({"trace_id": [str(i) for i in range(len(times))], "started_at": times}))


def stored(times: list[datetime], home: Path, tmp_path: Path) -> kpi.Source:
    """As an earlier release stored them: nothing was kept out."""
    shape = schema.REQUESTS.arrow_schema()
    rows = [{"trace_id": str(i), "started_at": at, "day": at.date()} for i, at in enumerate(times)]
    (tmp_path / "requests").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=shape), tmp_path / "requests" / "0.parquet")
    lake.commit("old", tmp_path, Receipt())
    return kpi.open("old")


def in_place(times: list[datetime], home: Path, monkeypatch: pytest.MonkeyPatch) -> kpi.Source:
    folder = home / "databases"
    folder.mkdir(parents=True)
    connection = sqlite3.connect(folder / "x.db")
    connection.execute("CREATE TABLE requests (trace_id TEXT, started_at TEXT, total_us INTEGER)")
    rows = [(str(i), at.strftime("%Y-%m-%d %H:%M:%S.%f"), 1) for i, at in enumerate(times)]
    connection.executemany("INSERT INTO requests VALUES (?, ?, ?)", rows)
    connection.commit()
    connection.close()
    monkeypatch.setenv("KPI_CONNECTION_MINE", "sqlite:///x.db")
    kpi.connect("mine", table="requests")
    return kpi.open("db:mine")


@pytest.fixture(params=["frame", "stored", "in place"])
def source(request: pytest.FixtureRequest, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def made(times: list[datetime]) -> kpi.Source:
        if request.param == "frame":
            return frame(times)
        if request.param == "stored":
            return stored(times, home, tmp_path / "staged")
        return in_place(times, home, monkeypatch)

    (tmp_path / "staged").mkdir()
    return made


def count(source: kpi.Source, **view: object) -> int:
    return int(kpi.summarise(source, "requests", kpi.Slice(**view))["value"].sum())  # type: ignore[arg-type]


def test_future_rows_are_in_no_window(source) -> None:
    found = source([*MONTH, NOON + 40 * DAY, NOON + 400 * DAY])
    resolved = kpi.resolve(found, kpi.Slice())
    assert resolved.window.end == datetime(2026, 11, 21, tzinfo=UTC)
    (note,) = resolved.notes
    assert note.startswith("2 requests lie in the future")
    windows = ({}, {"last": "all"}, {"start": NOON - 30 * DAY}, {"start": NOON - 30 * DAY, "end": NOON + 999 * DAY})
    assert [count(found, **w) for w in windows] == [39] * 4
    assert count(found, start=NOON + 39 * DAY, end=NOON + 41 * DAY) == 0
    assert count(found, start=NOON + 40 * DAY, end=NOON + 41 * DAY) == 0


def test_rows_within_ten_minutes_are_not_in_the_future(source) -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    found = source([now - HOUR, now, now + timedelta(minutes=9), now + timedelta(minutes=11)])
    assert count(found) == 3


def test_data_of_the_future_alone_has_no_requests(source) -> None:
    found = source([NOON + 100 * DAY] * 3)
    assert kpi.resolve(found, kpi.Slice()).notes[0].startswith("3 requests lie in the future")
    shown = kpi.summarise(found, "requests", kpi.Slice())["value"]
    assert shown.fillna(0).sum() == 0


@pytest.mark.parametrize("strays", [1, 3, 5])
def test_a_handful_moves_no_window(source, strays: int) -> None:
    found = source([*MONTH, *(NOON + 9 * DAY + i * HOUR for i in range(strays))])
    resolved = kpi.resolve(found, kpi.Slice())
    assert resolved.window.end == datetime(2026, 11, 21, tzinfo=UTC)
    assert count(found) == 39
    assert count(found, last="24h") == count(frame(MONTH), last="24h")
    assert "far apart after the rest" in resolved.notes[0]
    assert "29 Nov 2026" in resolved.notes[0]
    assert count(found, last="all") == count(found, start=NOON - 60 * DAY, end=NOON + 10 * DAY) == 39 + strays
    assert kpi.resolve(found, kpi.Slice(last="all")).notes == ()


def test_rows_without_strays_have_no_note() -> None:
    resolved = kpi.resolve(frame(MONTH), kpi.Slice())
    assert (resolved.notes, resolved.window.end) == ((), datetime(2026, 11, 21, tzinfo=UTC))


def hours(*days: tuple[int, int]) -> list[Bucket]:
    """(day, requests) as buckets at noon."""
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)
    found = []
    for day, requests in days:
        at = start + day * DAY
        found.append(Bucket(hour=int(at.timestamp()) // 3600, requests=requests, newest=at))
    return found


DAILY = [(day, 100) for day in range(60)]


@pytest.mark.parametrize(
    ("days", "end", "strays"),
    [
        ([*DAILY, (69, 1)], 59, 1),
        ([*DAILY, (69, 1), (99, 1), (300, 2)], 59, 4),  # all of them, also beyond each other
        ([*DAILY, (69, 50)], 69, 0),  # more than a handful is new data
        ([*DAILY, (62, 1)], 62, 0),  # a weekend is no gap
        ([(7 * w, 900) for w in range(10)] + [(70, 2)], 70, 0),  # one load a week
        ([(7 * w, 900) for w in range(10)] + [(95, 2)], 63, 2),
        ([(10 * i, 1) for i in range(9)], 80, 0),  # seldom anything at all
        ([(0, 3), (90, 1)], 90, 0),  # too little before it to be the rest
        ([(day, 40_000) for day in range(60)] + [(69, 900)], 59, 900),  # a thousandth of four weeks
        ([(day, 40_000) for day in range(60)] + [(69, 2_000)], 69, 0),
        ([(5, 7)], 5, 0),
    ],
)
def test_where_data_ends(days: list[tuple[int, int]], end: int, strays: int) -> None:
    found = ending(hours(*days), DAYS)
    assert found.last == datetime(2026, 1, 1, 12, tzinfo=UTC) + end * DAY
    assert found.strays == strays


def test_a_window_of_hours_looks_at_gaps_of_hours() -> None:
    busy = [NOON - i * HOUR / 4 for i in range(200)]
    found = frame([*busy, NOON + 30 * HOUR])
    assert count(found, last="24h") == count(frame(busy), last="24h") == 93
    assert count(found, last="7d") == 201  # of days, it is the next but one
    assert ending([], HOURS).last is None


def test_the_profile_tells_both(source) -> None:
    known = profile(source([*MONTH, NOON + 9 * DAY, NOON + 40 * DAY]))
    assert known.last == NOON + 9 * DAY


def test_the_command_line_says_what_a_window_leaves_out(home: Path, tmp_path: Path, capsys) -> None:
    from kpi.cli import main

    place = tmp_path / "staged"
    place.mkdir()
    stored([*MONTH, NOON + 9 * DAY, NOON + 40 * DAY], home, place)
    assert main(["summarise", "requests", "--dataset", "old"]) == 0
    told = capsys.readouterr()
    assert "39" in told.out
    assert "1 request stands far apart" in told.err
    assert "1 request lies in the future" in told.err
