"""What is known is watched like a KPI: told once, for the segment that lost it, never as an improvement."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

import kpi
from kpi import cli
from tests.bench.unknowns import quiet
from tests.worlds.generate import world

pytestmark = pytest.mark.slow

EVER = kpi.Slice(last="all")
LABELS = ("success", "grounded", "retrieval_hit")


def _quiet(seed: int) -> tuple[pd.DataFrame, np.ndarray, np.random.Generator]:
    """A world in which nothing happens, its last nine days, and luck."""
    frame = world(seed, "quiet").requests.to_pandas()
    late = frame["started_at"] >= frame["started_at"].max() - timedelta(days=9)
    return frame, late.to_numpy(), np.random.default_rng(seed)


def _without(frame: pd.DataFrame, lost: np.ndarray, columns: tuple[str, ...] = LABELS) -> pd.DataFrame:
    found = frame.copy()
    for column in columns:
        found[column] = found[column].astype("boolean" if column in LABELS else "Int64")
        found.loc[lost, column] = pd.NA
    return found


@pytest.mark.parametrize("seed", [2_001, 2_003])
def test_labels_lost_in_one_segment_are_told_once_and_for_it(seed: int) -> None:
    frame, late, rng = _quiet(seed)
    spanish = (frame["language"] == "es").to_numpy()
    frame = _without(frame, (rng.random(len(frame)) < 0.1) | (spanish & late & (rng.random(len(frame)) < 0.6)))
    told = kpi.findings(kpi.from_frame(frame))
    assert [(f.kind, f.metric, dict(f.where)) for f in told] == [("coverage", "task_success", {"language": "es"})]
    first = told[0]
    assert set(first.also) == {"groundedness", "retrieval_hit_rate"}
    days = frame["started_at"].dt.date
    mine = frame[spanish & (days > days.max() - timedelta(days=42))]
    now, before = (
        mine[m] for m in (mine["started_at"].dt.date >= first.since, mine["started_at"].dt.date < first.since)
    )
    assert first.value == pytest.approx(now["success"].notna().mean())
    assert first.was == pytest.approx(before["success"].notna().mean())
    assert first.n == len(now)
    assert first.low < first.value - first.was < first.high < 0
    assert "is known for" in first.sentence
    assert "language es" in first.sentence
    assert "judge" in first.action


@pytest.mark.parametrize("seed", [2_001, 2_003])
def test_a_judge_that_crashes_on_failures_is_no_improvement(seed: int, capsys, home, tmp_path) -> None:
    frame, late, rng = _quiet(seed)
    failed = late & ~frame["success"].astype(bool).to_numpy()
    lost = _without(frame, failed & (rng.random(len(frame)) < 0.6), ("success",))
    source = kpi.from_frame(lost)
    told = kpi.findings(source, metrics=["task_success"])
    assert {f.kind for f in told} == {"coverage"}
    whole = next(f for f in told if not f.where)
    assert whole.bounds is not None
    assert whole.bounds.low < 0 < whole.bounds.high
    assert "better or worse cannot be told" in whole.sentence
    assert whole.to_dict()["bound_low"] == pytest.approx(whole.bounds.low)

    parts = kpi.decompose(source, "task_success", kpi.Slice(last="7d"), by="language")[0]
    assert parts.change.low > 0
    assert parts.bounds is not None
    assert parts.bounds.low < 0 < parts.bounds.high
    assert "What is not known may make it" in parts.sentence

    card = next(c for c in kpi.scorecard(source, kpi.Slice(last="7d")).cards if c.metric == "task_success")
    assert card.change is not None
    assert card.change.difference > 0.05
    assert not card.change.clear
    assert card.change.words.startswith("cannot tell")
    week = lost["started_at"] > lost["started_at"].max().normalize() - timedelta(days=6, microseconds=1)
    known = lost.loc[week, "success"].notna()
    assert card.coverage is not None
    assert card.coverage.n[1] == known.sum()
    assert card.coverage.requests[1] == len(known)
    assert card.known.startswith(f"Known for {100 * known.mean():.1f} % of requests (was ")

    lost.to_csv(tmp_path / "lost.csv", index=False)
    kpi.load(tmp_path / "lost.csv", dataset="lost")
    assert cli.main(["findings", "--dataset", "lost"]) == 2
    assert "known for another share of requests" in capsys.readouterr().out


def test_prices_lost_for_dear_requests_are_no_saving() -> None:
    frame, late, _ = _quiet(2_003)
    dear = late & (frame["total_nusd"] > frame["total_nusd"].quantile(0.7)).to_numpy()
    told = kpi.findings(kpi.from_frame(_without(frame, dear, ("total_nusd",))))
    assert {f.kind for f in told} == {"coverage"}
    assert all(kpi.METRICS[f.metric].group == "cost" for f in told)
    assert "prices" in told[0].action


def test_less_than_two_points_are_not_told_however_sure() -> None:
    frame, late, rng = _quiet(2_001)
    assert not kpi.findings(kpi.from_frame(_without(frame, late & (rng.random(len(frame)) < 0.012))))
    assert kpi.findings(kpi.from_frame(_without(frame, late & (rng.random(len(frame)) < 0.035))))


def test_quiet_worlds_with_missing_labels_are_quiet() -> None:
    assert sum(bool(quiet(seed)) for seed in range(100, 108)) <= 1


def test_coverage_is_a_metric_like_any_other() -> None:
    frame, _, rng = _quiet(2_003)
    frame = _without(frame, rng.random(len(frame)) < 0.3)
    source = kpi.from_frame(frame)
    told = kpi.summarise(source, ["task_success_coverage", "latency_p95_coverage"], EVER, by=["language"])
    wanted = frame["success"].notna().groupby(frame["language"]).mean()
    mine = told[told["metric"] == "task_success_coverage"].set_index("language")
    assert mine["value"].to_dict() == pytest.approx(wanted.to_dict())
    assert (mine["n"] == frame["language"].value_counts().reindex(mine.index)).all()
    assert (told[told["metric"] == "latency_p95_coverage"]["value"] == 1.0).all()
    known = kpi.summarise(kpi.from_frame(frame.assign(success=frame["success"].notna())), "task_success", EVER)
    whole = kpi.summarise(source, "task_success_coverage", EVER)
    assert whole[["value", "low", "high"]].to_numpy() == pytest.approx(known[["value", "low", "high"]].to_numpy())
    groups = kpi.disparity(source, EVER, by=["language"], metrics=["task_success"]).groups
    own = groups[groups["metric"] == "task_success"].set_index("group")["coverage"]
    assert own.to_dict() == pytest.approx(wanted.to_dict())
    with pytest.raises(kpi.errors.MetricError):
        kpi.metric("nothing_coverage")
