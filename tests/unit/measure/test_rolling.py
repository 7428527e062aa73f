"""Rolling values are merged statistics: equal to summarise over the same days, never an average of daily averages."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import pytest

import kpi
from kpi.store.engines import DuckSource
from sample_data import world


@pytest.fixture(scope="module")
def source() -> DuckSource:
    return DuckSource(name="world", fingerprint="w", tables={"requests": world.build(requests=4_000)["requests"]})


@pytest.mark.parametrize("by", [[], ["language"]])
def test_each_day_is_the_value_of_its_window(source: DuckSource, by: list[str]) -> None:
    names = ["task_success", "cost_per_resolved", "total_cost", "latency_p95"]
    rolled = kpi.rolling(source, names, kpi.Slice(last="28d"), days=7, by=by)
    for day in sorted(rolled["bucket"].unique())[10:20:4]:
        end = pd.Timestamp(day, tz="UTC") + timedelta(days=1)
        window = kpi.Slice(start=(end - timedelta(days=7)).to_pydatetime(), end=end.to_pydatetime())
        whole = kpi.summarise(source, names, window, by=by)
        today = rolled[rolled["bucket"] == day]  # groups with a request on that day
        mine = today.merge(whole, on=["metric", *by], suffixes=("", "_whole"))
        assert len(mine) == len(today) > 0
        pd.testing.assert_series_equal(mine["value"], mine["value_whole"], check_names=False, rtol=1e-12)
        assert (mine["n"] == mine["n_whole"]).all()


def test_the_first_day_uses_what_there_is(source: DuckSource) -> None:
    view = kpi.Slice(last="28d")
    rolled = kpi.rolling(source, ["task_success"], view, days=7)
    daily = kpi.summarise(source, ["task_success"], view, every="day")
    assert rolled["value"].iloc[0] == pytest.approx(daily["value"].iloc[0])
    assert len(rolled) == len(daily)
