"""A verdict that lost labels alone could make is none; the bounds are those of filling and cutting rows by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

import kpi
from kpi import cli
from kpi.explain.comparison.compare import compare, compare_within
from kpi.explain.comparison.worst_case import Bounds, Coverage, _critical, _possible, cannot_tell
from kpi.stats.interval import Interval
from tests.bench.unknowns import COLUMNS, verdicts
from tests.worlds.losses import allowed, arms

pytestmark = pytest.mark.slow

NOTHING = Interval(value=0.0, low=0.0, high=0.0)


def _of(frame: pd.DataFrame, *metrics: str, **more):
    return compare(kpi.from_frame(frame), "a", "b", metrics or ["task_success"], by="release", adjust=(), **more)


@pytest.mark.parametrize("loss", ["random", "failed", "segment"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_bounds_are_those_of_rows_filled_and_cut_by_hand(seed: int, loss: str) -> None:
    frame = arms(seed, loss)
    for swapped in (False, True):
        if swapped:
            frame = frame.assign(release=frame["release"].map({"a": "b", "b": "a"}))
        for row in _of(frame, *COLUMNS).rows:
            if row.bounds is None:
                continue
            low, high = allowed(frame, COLUMNS[row.metric.name])
            scale = row.metric.scale
            assert row.bounds.width == pytest.approx((high - low) * scale, rel=0.02)
            assert row.bounds.low < low * scale
            assert row.bounds.high > high * scale


def test_the_bounds_of_a_quantile_cut_the_side_that_knows_more() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.lognormal(14, 0.5, 4000), rng.lognormal(14, 0.5, 4000)
    known = pd.array(np.concatenate([a, np.sort(b)]).astype("int64"), dtype="Int64")
    known[-1000:] = pd.NA  # the slowest of b
    frame = pd.DataFrame({"release": np.repeat(["a", "b"], 4000), "total_us": known})
    for metric, q in (("latency_p50", 0.5), ("latency_p95", 0.95)):
        row = _of(frame, metric)[metric]
        ends = [np.quantile(v, q) for v in (np.sort(a)[:3000], np.sort(a)[1000:])]
        assert row.bounds.width == pytest.approx((ends[1] - ends[0]) / 1000, rel=0.03)
        assert row.effect.high < 0  # what is known is faster by far
        assert row.verdict == "cannot tell"


def test_no_version_is_better_or_worse_where_the_loss_allows_no_change() -> None:
    for loss in ("random", "failed", "segment"):
        told = [v for seed in range(40, 46) for v in verdicts(seed, loss)]
        assert not [v for v, free in told if free and v in ("better", "worse", "equivalent")], loss
        assert "cannot tell" in {v for v, _ in told}


def test_as_much_lost_on_both_sides_changes_no_verdict() -> None:
    told = [r.verdict for seed in range(60, 70) for r in _of(arms(seed, "alike", lift=1.0), *COLUMNS).rows]
    assert "cannot tell" not in told
    assert told.count("better") >= 5


def test_what_even_the_worst_loss_leaves_is_told() -> None:
    rng = np.random.default_rng(5)
    late = np.arange(6000) >= 3000
    frame = pd.DataFrame({"release": np.where(late, "b", "a")})
    frame["success"] = pd.array(rng.random(6000) < np.where(late, 0.95, 0.7), dtype="boolean")
    frame.loc[late & (rng.random(6000) < 0.05), "success"] = pd.NA
    row = _of(frame)["task_success"]
    assert (row.verdict, row.bounds is not None) == ("better", True)
    assert 0 < row.bounds.low < row.effect.low


def test_a_judge_that_crashes_makes_no_version_better() -> None:
    rng = np.random.default_rng(7)
    n = 4000
    frame = pd.DataFrame({"release": np.repeat(["a", "b"], n // 2), "user_key": rng.integers(0, 300, n).astype(str)})
    success = rng.random(n) < 0.8
    frame["success"] = pd.array(success, dtype="boolean")
    assert _of(frame)["task_success"].verdict == "no clear change"
    frame.loc[(frame["release"] == "b").to_numpy() & ~success & (rng.random(n) < 0.6), "success"] = pd.NA
    row = _of(frame)["task_success"]
    assert row.effect.low > 0.03  # what is known looks better by far
    assert row.verdict == "cannot tell"
    assert row.bounds.low < 0 < row.bounds.high
    known = frame["success"].notna().groupby(frame["release"]).agg(["sum", "size"])
    assert row.coverage.n == tuple(known["sum"])
    assert row.coverage.requests == tuple(known["size"])
    assert row.coverage.shares == pytest.approx(tuple(known["sum"] / known["size"]))
    assert "instead of 100 %" in row.sentence
    cells = compare_within(kpi.from_frame(frame.assign(language="de")), "a", "b", ["task_success"], within="language",
                           by="release").frame()  # fmt: skip
    assert set(cells["verdict"]) == {"cannot tell"}


def test_the_command_line_says_so_and_ends_with_2(capsys, tmp_path, home) -> None:
    frame = arms(2, "failed", users=500)
    frame["trace_id"] = [f"t{i}" for i in range(len(frame))]
    frame[["trace_id", "user_key", "release", "language", "success"]].to_csv(tmp_path / "t.csv", index=False)
    assert cli.main(["load", str(tmp_path / "t.csv"), "--dataset", "lost"]) == 0
    capsys.readouterr()
    asked = ["compare", "a", "b", "--by", "release", "--dataset", "lost", "--metrics", "task_success", "--json"]
    assert cli.main(asked) == 2
    told = json.loads(capsys.readouterr().out)["metrics"][0]
    assert told["verdict"] == "cannot tell"
    assert told["bound_low"] < 0 < told["bound_high"]
    assert told["coverage_a"] - told["coverage_b"] > 0.05
    assert told["n_b"] == pytest.approx(told["coverage_b"] * told["requests_b"])


def test_verdicts_give_way_only_to_bounds() -> None:
    near = Bounds(value=0.0, low=-0.004, high=0.02, width=0.01)
    assert [cannot_tell(v, near, 0.01) for v in ("better", "worse", "equivalent")] == [True, True, True]
    assert not cannot_tell("no clear change", near, 0.01)
    assert cannot_tell("no clear change", Bounds(value=0.0, low=-0.2, high=0.2, width=0.3), 0.01)
    assert not any(cannot_tell(v, None, 0.01) for v in ("better", "worse", "equivalent", "no clear change"))
    assert not cannot_tell("better", Bounds(value=0.1, low=0.01, high=0.2, width=0.1), 0.01)


def test_shares_are_decided_by_known_successes_and_failures_of_all_requests() -> None:
    """970 of 1,000 known, 776 successes; 610 known, 549 successes: 194 failures became 61, 776 successes became 549."""
    covered = Coverage(n=(970, 610), requests=(1000, 1000), change=Interval(value=-0.36, low=-0.4, high=-0.32))
    low, high = _possible(kpi.METRICS["task_success"], (0.8, 0.9), covered, None, None)
    assert (low, high) == pytest.approx(((0.549 - 0.776) / 0.97, (0.194 - 0.061) / 0.97))


def test_the_level_of_the_ends_is_that_of_imbens_and_manski() -> None:
    """One point takes 1.96, ends far apart 1.645; between them the true value is covered with 95 %."""
    assert _critical(0.0, 1.0) == pytest.approx(1.95996, abs=1e-4)
    assert _critical(50.0, 1.0) == pytest.approx(1.64485, abs=1e-4)
    c = _critical(1.0, 1.0)
    normal = lambda x: 0.5 * math.erfc(-x / math.sqrt(2))  # noqa: E731
    assert normal(c + 1.0) - normal(-c) == pytest.approx(0.95, abs=1e-6)
    assert not Coverage(n=(5, 0), requests=(5, 5), change=NOTHING).moved
