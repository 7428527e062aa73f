"""Which traces to read first: the planted cause comes first, others follow, the same each time, in two statements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import kpi
from kpi.errors import MetricError

N = 2_000
ALL = kpi.Slice(last="all")


def world() -> pd.DataFrame:
    """German requests to `search` fail; of the others every hundredth."""
    at = np.arange(N)
    german, search = at % 3 == 0, at % 4 == 0
    return pd.DataFrame({
        "id": [f"r{i:05d}" for i in at], "ts": pd.date_range("2026-10-01", "2026-11-20", periods=N, tz="UTC"),
        "user": [f"u{i % 201}" for i in at], "language": np.where(german, "de", "en"),
        "intent": np.where(search, "search", "billing"), "ok": ~((german & search) | (at % 100 == 1)),
        "latency_ms": 1_000 + at % 500, "turns_taken": at % 7 + 0.5,
    })  # fmt: skip


@pytest.fixture(scope="module")
def source() -> kpi.Source:
    return kpi.from_frame(world())


def test_failed_requests_of_a_slice_are_read_with_why(source: kpi.Source) -> None:
    found = kpi.read_first(source, ALL, 20)
    failed = set(world().loc[lambda f: ~f["ok"], "id"])
    wrong = found["why"].str.startswith("Went wrong")
    assert (wrong.sum(), (~wrong).sum()) == (18, 2)
    assert set(found.loc[wrong, "trace_id"]) <= failed
    assert not set(found.loc[~wrong, "trace_id"]) & failed
    assert found["trace_id"].is_unique
    first = found.iloc[0]
    assert (first["language"], first["intent"]) == ("de", "search")
    share = (world().loc[lambda f: ~f["ok"], "language"] == "de").mean()
    assert f"language de ({share:.0%} of those that went wrong)" in first["why"]
    assert {("en", "billing"), ("de", "search")} <= set(zip(found["language"], found["intent"], strict=True))
    pd.testing.assert_frame_equal(found, kpi.read_first(kpi.from_frame(world()), ALL, 20))


def test_a_finding_is_read_where_it_shows(source: kpi.Source) -> None:
    at = np.arange(N)
    frame = world().assign(ok=~((at % 3 == 0) & (at > 0.8 * N)) & (at % 10 != 1))
    changed = kpi.from_frame(frame)
    finding = next(f for f in kpi.findings(changed, metrics="task_success") if f.where == {"language": "de"})
    found = kpi.read_first(changed, finding, 10)
    assert set(found["language"]) == {"de"}
    assert set(found.loc[found["why"].str.startswith("Went wrong"), "success"]) == {False}
    assert found["started_at"].min() >= pd.Timestamp(finding.since, tz="UTC")


def test_two_statements_and_few_rows(source: kpi.Source, monkeypatch: pytest.MonkeyPatch) -> None:
    kpi.read_first(source, ALL)
    asked: list[Any] = []
    run = source.run
    monkeypatch.setattr(source, "run", lambda statement: asked.append(statement) or run(statement))
    assert len(kpi.read_first(source, ALL, 1)) == 1
    assert len(asked) <= 2


def test_where_nothing_went_wrong_that_is_said(source: kpi.Source) -> None:
    with pytest.raises(MetricError, match="went wrong"):
        kpi.read_first(kpi.from_frame(world().assign(ok=True)), ALL)
    with pytest.raises(MetricError, match="whether it worked"):
        kpi.read_first(kpi.from_frame(world().drop(columns="ok")), ALL)


def test_rows_have_every_filled_column_in_the_order_of_the_page(source: kpi.Source) -> None:
    found = source.rows(ALL, sort="latency")
    assert len(found) == N
    assert {"trace_id", "language", "success", "latency_ms", "turns_taken"} <= set(found)
    assert "region" not in found
    assert found["latency_ms"].is_monotonic_decreasing
    assert found["turns_taken"].sum() == pytest.approx(world()["turns_taken"].sum())
    listed = kpi.find_traces(source, ALL, sort="failed", limit=50)["trace_id"]
    assert kpi.rows(source, ALL, sort="failed", limit=50)["trace_id"].tolist() == listed.tolist()
    german = source.rows(ALL.where(language="de"))
    assert set(german["language"]) == {"de"}
    assert len(german) == (world()["language"] == "de").sum()
