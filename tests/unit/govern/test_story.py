"""`kpi.story` and `kpi findings`: what is searched, what is said, exit codes, keys; and the notebook that shows it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import kpi
from kpi import cli
from tests.unit.cli import test_cli as keys

pytestmark = pytest.mark.slow

DAYS = 42


def world(*, drop: float, n: int = 10_000) -> pd.DataFrame:
    """Requests of 800 users over 42 days; with `drop`, success falls in Spanish from day 34."""
    rng = np.random.default_rng(11)
    day, language = rng.integers(0, DAYS, n), rng.choice(["en", "es"], n)
    hit = (day >= 34) & (language == "es")
    start = pd.Timestamp("2026-10-01", tz="UTC")
    return pd.DataFrame({
        "request_id": [f"r{i}" for i in range(n)],
        "timestamp": start + pd.to_timedelta(1440 * day + rng.integers(0, 1440, n), "m"),
        "user_id": [f"u{i}" for i in rng.integers(0, 800, n)], "language": language, "plan": rng.choice(["a", "b"], n),
        "success": rng.random(n) < 0.85 - drop * hit,
    })  # fmt: skip


@pytest.fixture(scope="module")
def fallen() -> kpi.Source:
    names = {"request_id": "trace_id", "timestamp": "started_at", "user_id": "user_key"}
    return kpi.from_frame(world(drop=0.3).rename(columns=names))


@pytest.fixture
def run(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Load a frame, run `kpi findings` on it: (exit code, stdout)."""

    def call(frame: pd.DataFrame, *arguments: str) -> tuple[int, str]:
        frame.to_csv(tmp_path / "rows.csv", index=False)
        kpi.load(tmp_path / "rows.csv", dataset="d")
        code = cli.main(["findings", "--dataset", "d", *arguments])
        return code, capsys.readouterr().out

    return call


def test_a_fall_is_one_finding_with_its_keys_and_exit_code_one(run) -> None:
    code, out = run(world(drop=0.3), "--json")
    (found, *_) = json.loads(out)["findings"]
    assert code == cli.BREACHED
    assert tuple(found) == keys.FINDING
    assert (found["kind"], found["metric"], found["where"]) == ("regression", "task_success", {"language": "es"})
    assert abs(pd.Timestamp(found["since"]) - pd.Timestamp("2026-11-04")) <= timedelta(days=2)
    assert found["low"] < found["change"] < found["high"] < 0
    assert found["link"].startswith("why?")


def test_nothing_changed_is_calm_and_exit_code_zero(run) -> None:
    code, out = run(world(drop=0.0))
    assert code == cli.FINE
    assert "Nothing changed for certain in the last 28 days" in out


def test_without_times_it_cannot_tell(run) -> None:
    code, out = run(world(drop=0.3).drop(columns="timestamp"))
    assert code == cli.CANNOT_TELL
    assert "The data has no times" in out


def test_recent_is_fourteen_days_against_twenty_eight_under_the_same_filters(fallen: kpi.Source) -> None:
    resolved = kpi.resolve(fallen, kpi.recent(fallen, kpi.Slice(last="90d").where(plan="a")))
    assert resolved.window is not None
    assert resolved.baseline is not None
    assert (resolved.window.days, resolved.baseline.days) == (14, 28)
    assert resolved.baseline.end == resolved.window.start
    assert resolved.filters == (("plan", ("a",)),)


@pytest.mark.parametrize(
    "view",
    [
        kpi.Slice(last="14d", baseline="none"),
        kpi.Slice(last="14d", baseline="language:en"),
        kpi.Slice(last="all"),  # nothing lies before it
    ],
)
def test_a_slice_without_an_earlier_window_gets_the_usual_one(fallen: kpi.Source, view: kpi.Slice) -> None:
    told = kpi.story(fallen, view)
    assert told.view == kpi.recent(fallen, view)
    assert told.compared
    assert told.findings[0].where == {"language": "es"}


def test_an_earlier_window_that_is_asked_for_is_searched_as_it_is(fallen: kpi.Source) -> None:
    view = kpi.Slice(last="10d", baseline="previous")
    told = kpi.story(fallen, view)
    assert told.view == view
    assert list(told.findings) == kpi.findings(fallen, view)
    assert f"{len(told.findings)} got worse" in told.sentence


def test_rows_of_a_finding_are_those_that_it_counts(fallen: kpi.Source) -> None:
    told = kpi.story(fallen)
    found = told.findings[0]
    rows = kpi.rows_of(found, told.view, kpi.resolve(fallen, told.view))
    numbers = kpi.summarise(fallen, found.metric, rows).iloc[0]
    assert numbers["n"] == found.n
    assert numbers["value"] == pytest.approx(found.value)


def test_findings_of_a_metric_stand_in_the_order_of_what_they_explain(fallen: kpi.Source) -> None:
    told = kpi.story(fallen, kpi.Slice(last="14d"))
    (one, *_) = told.findings
    assert one.metric == "task_success"
    made = {
        "against": replace(one, change=0.2, n=5000), "small": replace(one, change=-0.3, n=100),
        "large": replace(one, change=-0.1, n=4000),
        "beside": replace(one, metric="escalation_rate", also=("task_success",)),
        "foreign": replace(one, metric="escalation_rate", also=()), "unknown": replace(one, kind="coverage", n=90_000),
    }  # fmt: skip
    story = replace(told, findings=tuple(made.values()))

    def named(change: float) -> list[str]:
        return [next(n for n, f in made.items() if f is g) for g in story.about(kpi.METRICS["task_success"], change)]

    assert named(-0.02) == ["large", "small", "beside", "unknown", "against"]  # -400, -30, none, none, +1,000 requests
    assert named(+0.02) == ["against", "beside", "unknown", "large", "small"]
    assert set(named(float("nan"))) == {"large", "small", "beside", "unknown", "against"}
