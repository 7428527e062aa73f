"""Charts of series: unfinished buckets are hollow, and the hour that comes twice is told apart on the axis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

import kpi
from app import tables
from kpi.charts import series as charts, spans as trace_charts


def series(*, hours: int, every: str, tz: str = "Europe/Berlin") -> pd.DataFrame:
    start = datetime(2026, 10, 24, 22, tzinfo=UTC)  # midnight in Berlin, before the night of the clock change
    moments = [start + timedelta(minutes=10 * i) for i in range(6 * hours)]
    frame = pd.DataFrame(
        {"started_at": moments, "success": [i % 3 > 0 for i in range(len(moments))], "total_nusd": 10**9}
    )
    view = kpi.Slice(last="all", tz=tz, baseline="none")
    return kpi.summarise(kpi.from_frame(frame), ["task_success", "total_cost"], view, every=every)


def rows(chart: dict, place: int) -> list[dict]:
    layer = chart["layer"][place]
    return chart["datasets"][(layer.get("data") or chart["data"])["name"]]


def hollow_layers(chart: dict) -> list[dict]:
    return [one for one in chart["layer"] if "datum.complete" in str(one.get("transform"))]


def test_the_doubled_hour_has_two_places_and_its_offset_on_the_axis() -> None:
    frame = series(hours=8, every="hour").query("metric == 'task_success'")
    told = charts.placed(frame)
    assert told["at"].diff().dropna().unique().tolist() == [pd.Timedelta(hours=1)]
    assert told["when"].tolist()[2:4] == ["Sun 25 Oct 2026 02:00 +0200", "Sun 25 Oct 2026 02:00 +0100"]
    drawn = charts.trend(frame, unit="share", colours=charts.LIGHT).to_dict()
    label = next(one for one in drawn["layer"] if "x" in one["encoding"])["encoding"]["x"]["axis"]["labelExpr"]
    change = int(pd.Timestamp("2026-10-25 03:00").timestamp() * 1000)  # on the clock of the first hour
    assert label == (
        f"datum.value < {change} ? utcFormat(toNumber(datum.value) + 0, '%d %b %H:%M') + ' +0200' : "
        "utcFormat(toNumber(datum.value) + -3600000, '%d %b %H:%M') + ' +0100'"
    )
    plain = charts.time_axis(charts.placed(series(hours=3, every="hour"))).to_dict()
    assert plain["axis"]["format"] == "%d %b %H:%M"
    assert charts.time_axis(charts.placed(series(hours=60, every="day"))).to_dict()["axis"]["format"] == "%d %b"


def test_an_event_stands_beside_its_hour_after_the_clock_change() -> None:
    frame = charts.placed(series(hours=8, every="hour"))
    at = pd.Timestamp("2026-10-25T03:30Z")  # half past four by the new clock
    told = {"kind": ["deploy"], "name": ["p7"], "description": [""], "version": [""]}
    events = tables.timed(pd.DataFrame({"at": [at], **told}), "Europe/Berlin")
    (rule, _) = charts.event_marks(events, charts.LIGHT, frame)
    assert rule.data["at"].iloc[0] == pd.Timestamp("2026-10-25 05:30")
    nearest = frame.iloc[(frame["at"] - rule.data["at"].iloc[0]).abs().argsort()[:2]]
    assert set(nearest["start"].dt.hour) == {4, 5}


@pytest.mark.parametrize("make", ["trend", "percentiles", "stacked", "distance"])
def test_every_chart_draws_what_is_not_finished_hollow_with_its_words(make: str) -> None:
    frame = series(hours=24 * 6 + 9, every="day").query("metric == 'task_success'").reset_index(drop=True)
    assert frame["complete"].tolist() == [True] * 6 + [False]
    look = charts.LIGHT
    drawn = {
        "trend": lambda: charts.trend(frame, unit="share", colours=look),
        "percentiles": lambda: charts.percentiles(frame, unit="share", colours=look, target=None, events=None),
        "stacked": lambda: charts.stacked(frame.assign(part="Inference"), colours=look, over_time=True),
        "distance": lambda: trace_charts.distance(
            frame.assign(distance=0.1, noise=0.2), colours=look, events=None
        ),
    }[make]().to_dict()  # fmt: skip
    (layer,) = hollow_layers(drawn)
    assert layer["mark"]["filled"] is False
    notes = [r["note"] for r in rows(drawn, drawn["layer"].index(layer))]
    assert notes == [""] * 6 + [charts.UNFINISHED]
    tips = [t["field"] for one in drawn["layer"] for t in one["encoding"].get("tooltip", [])]
    assert "note" in tips
