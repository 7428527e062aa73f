"""Buckets of time: hours are instants, days follow the clock on the wall, and what is not finished says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

import kpi
from kpi import clock
from kpi.measure.slice import GRAINS
from tests.engines import ENGINES, filled

# A moment at which each zone's clock was moved, and one at which most were not.
ZONES = {
    "UTC": "2026-03-01T00:00", "Europe/Berlin": "2026-10-25T01:00", "America/New_York": "2026-03-08T07:00",
    "Australia/Lord_Howe": "2026-04-04T15:00", "Asia/Kolkata": "2026-02-28T18:30", "Asia/Kathmandu": "1985-12-31T18:30",
    "Pacific/Apia": "2011-12-30T10:00", "America/St_Johns": "2011-03-13T03:31", "Africa/Cairo": "2026-04-23T22:00",
    "America/Havana": "2026-11-01T05:00", "Antarctica/Troll": "2026-10-25T01:00",
    "America/Sao_Paulo": "2018-11-04T03:00",
}  # fmt: skip
ALL = {"last": "all", "baseline": "none"}


def frame(moments: list[datetime], **more: object) -> kpi.Source:
    return kpi.from_frame(pd.DataFrame({"started_at": pd.Series(moments, dtype="datetime64[us, UTC]"), **more}))


def hours_apart(*hours: float, start: str = "2026-11-01", days: int = 1) -> list[datetime]:
    """Moments at those hours of so many days."""
    begin = datetime.fromisoformat(start).replace(tzinfo=UTC)
    return [begin + timedelta(days=d, hours=h) for d in range(days) for h in hours]


def series(source: kpi.Source, every: str, **view: object) -> pd.DataFrame:
    return kpi.summarise(source, "requests", kpi.Slice(**{**ALL, **view}), every=every)  # type: ignore[arg-type]


def local_start(moment: pd.Timestamp, every: str) -> object:
    """The day, week or month that a local time lies in, by its first date."""
    date = moment.date()
    return {
        "day": date, "week": date - timedelta(days=date.weekday()), "month": date.replace(day=1)
    }[every]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(ZONES)), st.sampled_from(GRAINS),
    st.lists(st.integers(-3 * 86_400, 3 * 86_400) | st.integers(-7_200, 7_200), min_size=1, max_size=60),
)  # fmt: skip
def test_buckets_hold_every_request_once(zone: str, every: str, seconds: list[int]) -> None:
    middle = datetime.fromisoformat(ZONES[zone]).replace(tzinfo=UTC)
    moments = [middle + timedelta(seconds=s) for s in seconds]
    found = series(frame(moments), every, tz=zone)
    starts, values = list(found["start"]), found["value"].tolist()
    assert sum(values) == len(moments)
    assert starts == sorted(set(starts))
    local = [pd.Timestamp(m).tz_convert(ZoneInfo(zone)) for m in moments]
    if every == "hour":
        owner = [max(s for s in starts if s <= m) for m in local]
        assert all(m - s < timedelta(hours=1) for m, s in zip(local, owner, strict=True))
        assert [owner.count(s) for s in starts] == values
        # the clock shows the start, a full hour unless it was moved to where it is
        moved = [(s - timedelta(microseconds=1)).utcoffset() != s.utcoffset() for s in starts]
        assert all(s.minute == 0 or m for s, m in zip(starts, moved, strict=True))
        assert found["bucket"].tolist() == [s.tz_localize(None) for s in starts]
        return
    names = [local_start(m, every) for m in local]
    assert [names.count(b.date()) for b in found["bucket"]] == values
    assert [local_start(s, every) for s in starts] == [b.date() for b in found["bucket"]]
    assert all(min(m for m, n in zip(local, names, strict=True) if n == b.date()) >= s
               for b, s in zip(found["bucket"], starts, strict=True))  # fmt: skip


def test_the_hour_that_comes_twice_is_two_and_the_missing_one_is_none() -> None:
    quarters = [datetime(2026, 10, 24, 22, tzinfo=UTC) + timedelta(minutes=15 * i) for i in range(100)]
    found = series(frame(quarters), "hour", tz="Europe/Berlin")
    assert found["value"].tolist() == [4.0] * 25  # a day of 25 hours
    twice = found[found["bucket"] == pd.Timestamp("2026-10-25 02:00")]
    assert [f"{s:%H:%M %z}" for s in twice["start"]] == ["02:00 +0200", "02:00 +0100"]
    spring = [datetime(2026, 3, 28, 23, tzinfo=UTC) + timedelta(minutes=15 * i) for i in range(92)]
    found = series(frame(spring), "hour", tz="Europe/Berlin")
    assert [b.hour for b in found["bucket"]] == [0, 1, *range(3, 24)]
    assert series(frame(spring), "day", tz="Europe/Berlin")["value"].tolist() == [92.0]


def test_half_an_hour_of_clock_change_makes_a_short_bucket() -> None:
    """Lord Howe: at 02:00 +11:00 the clock went back to 01:30 +10:30; in spring 02:00 became 02:30."""
    back = [datetime(2026, 4, 4, 14, tzinfo=UTC) + timedelta(minutes=10 * i) for i in range(15)]
    found = series(frame(back), "hour", tz="Australia/Lord_Howe")
    assert [f"{s:%H:%M}" for s in found["start"]] == ["01:00", "01:30", "02:00"]
    assert found["value"].tolist() == [6.0, 3.0, 6.0]
    ahead = [datetime(2025, 10, 4, 14, 30, tzinfo=UTC) + timedelta(minutes=10 * i) for i in range(9)]
    found = series(frame(ahead), "hour", tz="Australia/Lord_Howe")
    assert [f"{s:%H:%M}" for s in found["start"]] == ["01:00", "02:30"]
    assert found["value"].tolist() == [6.0, 3.0]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_makes_the_same_buckets(engine: str, tmp_path: Path) -> None:
    recent = [datetime.fromisoformat(m).replace(tzinfo=UTC) for m in ZONES.values() if m > "2000"]
    moments = sorted(m + timedelta(minutes=7 * i) for m in recent for i in range(-30, 30))
    rows = pa.table({"trace_id": [str(i) for i in range(len(moments))],
                     "started_at": pa.array(moments, pa.timestamp("us", "UTC"))})  # fmt: skip
    with filled(engine, rows, tmp_path) as opened:
        source, right = opened(), kpi.from_frame(rows)
        for zone in ZONES:
            for every in GRAINS:
                pd.testing.assert_frame_equal(
                    series(source, every, tz=zone), series(right, every, tz=zone), check_dtype=False
                )


@pytest.mark.parametrize(
    ("hours", "last", "finished"),
    [
        (range(24), [*range(24)], True),  # round the clock, to the end
        (range(24), [*range(9)], False),  # cut at nine
        (range(9, 18), [*range(9, 18)], True),  # nobody asks at night
        (range(9, 18), [*range(9, 13)], False),  # cut at noon
        ([0], [0], True),  # dates alone, all of them at midnight
    ],
)
def test_a_last_day_is_finished_where_silence_is_usual(hours: range, last: list[int], finished: bool) -> None:
    several = [h + m / 60 for h in hours for m in (0, 20, 40)]
    moments = hours_apart(*several, days=10) + hours_apart(*(h + m / 60 for h in last for m in (0, 20, 40)),
                                                           start="2026-11-11")  # fmt: skip
    if hours == [0]:
        moments = [m.replace(minute=0) for m in moments]
    days = series(frame(moments), "day")
    assert days["complete"].tolist() == [True] * 10 + [finished]
    assert days["start"].iloc[-1] == pd.Timestamp("2026-11-11", tz="UTC")
    assert series(frame(moments), "month")["complete"].tolist() == [False]


def test_a_first_day_that_begins_late_is_unfinished_and_so_is_what_the_slice_cuts() -> None:
    full = hours_apart(*range(24), start="2026-11-02", days=9)
    late = hours_apart(*range(15, 24), start="2026-11-01")
    assert series(frame(late + full), "day")["complete"].tolist() == [False] + [True] * 9
    cut = {"start": datetime(2026, 11, 3, 6, tzinfo=UTC), "end": datetime(2026, 11, 6, 12, tzinfo=UTC), "last": None}
    assert series(frame(full), "day", **cut)["complete"].tolist() == [False, True, True, False]
    assert series(frame(full), "hour", **cut)["complete"].all()


def test_now_lies_in_a_bucket_that_is_not_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 11, 8, 23, 30, tzinfo=UTC)
    monkeypatch.setattr(clock, "now_us", lambda: int(now.timestamp()) * 1_000_000)
    source = frame(hours_apart(*range(24), days=8))
    assert series(source, "day")["complete"].tolist() == [True] * 7 + [False]
    assert series(source, "hour")["complete"].tolist() == [True] * 191 + [False]
    rolled = kpi.rolling(source, "task_success", kpi.Slice(**ALL), days=2)
    assert rolled.empty or "complete" in rolled


def spent(days: int, hours: int) -> kpi.Source:
    """A dollar each half hour, to nine in the morning of the last day."""
    moments = hours_apart(*(h / 2 for h in range(48)), days=days)
    moments += hours_apart(*(h / 2 for h in range(2 * hours)), start=f"2026-11-{days + 1:02d}")
    users = [f"u{i % 7}" for i in range(len(moments))]
    return frame(moments, total_nusd=10**9, user_key=users, success=True)


def test_totals_are_compared_with_the_same_time_of_the_baseline() -> None:
    source, view = spent(14, 9), kpi.Slice(last="1d")
    resolved = kpi.resolve(source, view)
    (now,), (before,) = kpi.compare_windows(  # type: ignore[misc]
        source, ["requests", "task_success", "total_cost", "users"], view, groupings=[kpi.Grouping()]
    )
    assert now["metric"].tolist() == before["metric"].tolist()
    found = {r.metric: (r.value, r.n) for r in before.itertuples()}
    assert found["requests"] == (18.0, 18)  # nine hours of yesterday, not 24
    assert found["total_cost"] == (18.0, 18)
    assert found["task_success"] == (1.0, 48)  # a rate is that of the whole day
    assert resolved.notes == (
        "The data end on 15 Nov 08:30: totals are compared with the baseline up to 14 Nov 08:30.",
    )
    assert kpi.cost_waterfall(source, view).before == pytest.approx(18.0)
    (spark,) = {tuple(c.spark["complete"]) for c in kpi.scorecard(source, view).cards if len(c.spark)}
    assert spark == (False,)


def test_a_finished_window_is_compared_with_all_of_its_baseline() -> None:
    source = spent(14, 24)
    resolved = kpi.resolve(source, kpi.Slice(last="7d"))
    assert (resolved.totals, resolved.notes) == (None, ())
    assert kpi.cost_waterfall(source, kpi.Slice(last="7d")).before == pytest.approx(7 * 48)


def test_the_same_time_is_that_of_the_clock_on_the_wall() -> None:
    """Berlin's 25 October has 25 hours: noon of the next Sunday is compared with noon, not with eleven."""
    begin = datetime(2026, 10, 17, 22, tzinfo=UTC)
    until = datetime(2026, 11, 1, 11, tzinfo=UTC)  # noon in Berlin
    moments = [begin + timedelta(minutes=30 * i) for i in range(int((until - begin) / timedelta(minutes=30)))]
    resolved = kpi.resolve(frame(moments), kpi.Slice(last="1d", baseline="weekdays", tz="Europe/Berlin"))
    assert resolved.totals is not None
    assert resolved.totals.end.astimezone(ZoneInfo("Europe/Berlin")).strftime("%d %H:%M") == "25 11:30"


def test_sentences_name_the_days_that_the_data_hold() -> None:

    source = spent(14, 24)  # 1 to 15 November
    view = kpi.Slice(start=datetime(2026, 11, 12, tzinfo=UTC), end=datetime(2026, 12, 1, tzinfo=UTC))
    said = kpi.wording.slice_sentence(view, kpi.resolve(source, view), version=1)
    assert said.startswith("12 Nov to 15 Nov 2026 · compared with 1 Nov to 11 Nov 2026")
    assert "the last 4 days" in kpi.story(source, view).sentence
