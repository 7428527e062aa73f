"""The sample-ratio check: scipy's p, quiet where all is well, loud where users are lost, and it says where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

import kpi
from kpi import cli
from kpi.explain.comparison.sample_ratio import ALARM, VERDICTS, _p
from kpi.store.engines import DuckSource
from tests.engines import filled

pytestmark = pytest.mark.slow

START = pd.Timestamp("2026-10-01", tz="UTC")


def _test(
    seed: int, users: int = 1500, *, share: float = 0.5, lost: float = 0.0, drift: float = 0.0, days: int = 10
) -> pd.DataFrame:
    """Users of two arms who come back. share: of B; lost: of mobile users of B; drift: chance of the other arm."""
    rng = np.random.default_rng(seed)
    arm = rng.random(users) < share
    device = rng.choice(["web", "mobile"], users, p=[0.6, 0.4])
    size = rng.geometric(1 / 4, users) * ~(arm & (device == "mobile") & (rng.random(users) < lost))
    user = np.repeat(np.arange(users), size)
    shown = arm[user] ^ (rng.random(len(user)) < drift)
    return pd.DataFrame({
        "user_key": [f"u{u}" for u in user], "experiment_arm": np.where(shown, "b", "a"), "device": device[user],
        "started_at": START + pd.to_timedelta(rng.integers(0, days * 86_400, len(user)), "s"),
        "success": rng.random(len(user)) < 0.8,
    })  # fmt: skip


def _checked(frame: pd.DataFrame, **more: Any) -> kpi.SampleRatio:
    return kpi.sample_ratio(kpi.from_frame(frame), "a", "b", by="experiment_arm", **more)


@pytest.mark.parametrize("expected", [None, (1, 1), (9, 1), (0.3, 0.7)])
def test_counts_are_those_of_first_sight_and_p_is_scipys(expected: tuple[float, float] | None) -> None:
    frame = _test(1, drift=0.05)
    found = _checked(frame, expected=expected, within="device")
    first = frame.sort_values("started_at", kind="stable").groupby("user_key").first()
    counts = first["experiment_arm"].value_counts()
    assert (found.users_a, found.users_b) == (counts["a"], counts["b"])
    assert found.users_both == (frame.groupby("user_key")["experiment_arm"].nunique() == 2).sum() > 0
    assert (found.undecided, found.unnamed) == (0, 0)
    plan = np.array(expected or (1, 1)) / sum(expected or (1, 1))
    told = stats.chisquare([counts["a"], counts["b"]], plan * counts.sum()).pvalue
    assert found.p == pytest.approx(told, rel=1e-9)
    assert found.expected_b == pytest.approx(plan[1])
    assert found.low < found.share_b == counts["b"] / counts.sum() < found.high
    by_device = found.where[found.where["of"] == "device"].set_index("value")
    for value, rows in first.groupby("device"):
        each = rows["experiment_arm"].value_counts()
        assert (by_device.loc[value, "a"], by_device.loc[value, "b"]) == (each["a"], each["b"])
        told = stats.chisquare([each["a"], each["b"]], plan * each.sum()).pvalue
        assert by_device.loc[value, "p"] == pytest.approx(told, rel=1e-9)
    days = found.where[found.where["of"] == "day"]
    assert list(days["value"]) == sorted(days["value"])
    assert days[["a", "b"]].sum().tolist() == [found.users_a, found.users_b]


def test_false_alarms_are_one_in_a_thousand_and_few_however_often_one_looks() -> None:
    rng = np.random.default_rng(2)
    for planned, users in ((0.5, 2000), (0.1, 2000), (0.02, 600)):
        b = rng.binomial(users, planned, 200_000)
        assert 0.0005 < (_p(users - b, b, planned) < ALARM).mean() < 0.0018
        assert 0.04 < (_p(users - b, b, planned) < 0.05).mean() < 0.06
    b = rng.binomial(200, 0.5, (20_000, 30)).cumsum(axis=1)  # thirty days of 200 new users
    looked = (_p(200 * np.arange(1, 31) - b, b, 0.5) < ALARM).any(axis=1).mean()
    assert 0.003 < looked < 0.013  # some 1 in 110: an alarm is still news


def test_a_split_by_request_is_no_mismatch() -> None:
    """Everyone meets both arms, 9 to 1: counted where first seen the split is the planned one."""
    p = []
    for seed in range(40):
        rng, frame = np.random.default_rng(1000 + seed), _test(seed, users=600)
        frame["experiment_arm"] = rng.choice(["a", "b"], len(frame), p=[0.9, 0.1])
        found = _checked(frame, expected=(9, 1))
        p.append(found.p)
    assert "carries over" in found.sentence
    assert min(p) > ALARM
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_a_planted_loss_is_found_and_placed() -> None:
    quiet, lossy = (_checked(_test(3, users=4000, lost=v), within="device") for v in (0.0, 0.4))
    assert (quiet.verdict, quiet.alarm) == ("as planned", False)
    assert quiet.sentence.startswith("Split as planned: b has")
    assert not quiet.where["alarm"].any()
    assert (lossy.verdict, lossy.alarm) == ("mismatch", True)
    assert lossy.sentence.startswith("Sample-ratio mismatch: b has")
    assert "do not decide" in lossy.sentence
    assert "off in device mobile" in lossy.sentence
    assert list(lossy.where.loc[lossy.where["alarm"] & (lossy.where["of"] == "device"), "value"]) == ["mobile"]
    missed = [_checked(_test(s, lost=0.0), expected=(48.5, 51.5)).alarm for s in range(10)]
    assert not any(missed)  # 1.5 points of 1,500 users cannot be told from chance
    assert quiet.smallest == pytest.approx((stats.norm.isf(0.0005) + stats.norm.isf(0.2)) * 0.5 / 4000**0.5)


def test_one_bad_day_is_named() -> None:
    frame = _test(5, users=6000)
    first = frame.groupby("user_key")["started_at"].transform("min")
    third = (first >= START + pd.Timedelta(days=2)) & (first < START + pd.Timedelta(days=3))
    lost = third & (frame["experiment_arm"] == "b") & (frame["user_key"].str[-1] < "4")
    found = _checked(frame[~lost])
    assert list(found.where.loc[found.where["alarm"], "value"]) == ["2026-10-03"]
    assert "off on 3 Oct" in found.sentence


def test_the_smallest_share_noticed_is_noticed_in_8_of_10() -> None:
    planned, n = 0.5, 5000
    reach = (stats.norm.isf(ALARM / 2) + stats.norm.isf(0.2)) * np.sqrt(planned * (1 - planned) / n)
    b = np.random.default_rng(6).binomial(n, planned + reach, 20_000)
    assert (_p(n - b, b, planned) < ALARM).mean() == pytest.approx(0.8, abs=0.02)


def test_arms_that_ran_one_after_the_other_are_no_split() -> None:
    frame = _test(7, users=2000)
    late = frame["experiment_arm"] == "b"
    frame.loc[late, "started_at"] += pd.Timedelta(days=20)
    frame = frame[~late | (np.arange(len(frame)) % 3 == 0)]
    found = _checked(frame)
    assert found.alarm
    assert "b began 20 days later than the other" in found.sentence
    assert "a ended 20 days earlier than the other" in found.sentence


def test_without_times_or_users_it_says_what_it_counts() -> None:
    frame = _test(8, drift=0.03)
    undated = _checked(frame.drop(columns="started_at"))
    both = int((frame.groupby("user_key")["experiment_arm"].nunique() == 2).sum())
    assert undated.users_both == undated.undecided == both > 0
    assert undated.users_a + undated.users_b == frame["user_key"].nunique() - both
    assert "not known which came first" in undated.sentence
    assert undated.where.empty
    together = _checked(frame.assign(started_at=START))  # all at one moment
    assert together.undecided == both
    nobody = _checked(frame.drop(columns="user_key"))  # requests repeat: as many of them prove nothing
    assert (nobody.users_a, nobody.users_b, nobody.unnamed) == (0, 0, len(frame))
    assert (nobody.verdict, np.isnan(nobody.p)) == ("not enough users", True)
    assert f"{len(frame):,} requests without a user id are left out." in nobody.sentence
    some = frame.assign(user_key=frame["user_key"].where(frame["user_key"] >= "u3"))
    known = _checked(frame[frame["user_key"] >= "u3"])
    partly = _checked(some)
    assert (partly.users_a, partly.users_b, partly.p) == (known.users_a, known.users_b, known.p)
    assert partly.unnamed == some["user_key"].isna().sum()


def test_few_users_say_nothing() -> None:
    found = _checked(_test(9, users=8))
    assert (found.verdict, found.alarm) == ("not enough users", False)
    assert np.isnan(found.p)
    assert found.sentence.startswith("Too few users to check the split")
    nobody = kpi.sample_ratio(kpi.from_frame(_test(9)), *(kpi.Slice(last="all").where(device="(none)") for _ in "ab"))
    assert (nobody.verdict, nobody.users_a, nobody.to_dict()["share_b"]) == ("not enough users", 0, None)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [({"expected": (1, 0)}, "ratio.expected"), ({"expected": (1, 2, 3)}, "ratio.expected"),
     ({"expected": (1, float("nan"))}, "ratio.expected"), ({"a": None, "b": None}, "ratio.sides"),
     ({"by": None}, "compare.by"), ({"within": "shoe_size"}, "dimension.unknown")],
)  # fmt: skip
def test_errors_name_the_remedy(arguments: dict[str, Any], code: str) -> None:
    given = {"a": "a", "b": "b", "by": "experiment_arm", **arguments}
    with pytest.raises(kpi.KpiError) as caught:
        kpi.sample_ratio(kpi.from_frame(_test(1, users=50)), given.pop("a"), given.pop("b"), **given)
    assert caught.value.code == code
    assert caught.value.hint


def test_one_query(monkeypatch: pytest.MonkeyPatch) -> None:
    source = kpi.from_frame(_test(1, users=100))
    kpi.profile(source)
    asked: list[object] = []
    run = DuckSource.run
    monkeypatch.setattr(DuckSource, "run", lambda self, q, *a, **k: asked.append(q) or run(self, q, *a, **k))
    kpi.sample_ratio(source, "a", "b", by="experiment_arm", within=["device"])
    assert len(asked) == 1


@pytest.mark.parametrize("engine", ["sqlite", "clickhouse"])
def test_other_engines_answer_alike(
    engine: str, world_tables: dict[str, pa.Table], sample: DuckSource, tmp_path: Path
) -> None:
    ask: dict[str, Any] = {"by": "experiment_arm", "within": "language"}
    arms = [v for v, _ in kpi.profile(sample).dimensions["experiment_arm"][:2]]
    with filled(engine, world_tables["requests"], tmp_path) as opened:
        there = kpi.sample_ratio(opened(), *arms, **ask).to_dict()
    assert there == kpi.sample_ratio(sample, *arms, **ask).to_dict()


def test_the_command_prints_what_the_call_says(sample_home: object, capsys: pytest.CaptureFixture[str]) -> None:
    arms = [v for v, _ in kpi.profile(kpi.open("sample")).dimensions["experiment_arm"][:2]]
    line = ["compare", *arms, "--by", "experiment_arm", "--dataset", "sample", "--metrics", "task_success"]
    code = cli.main([*line, "--always-valid", "--expected", "3:1", "--json"])
    told = json.loads(capsys.readouterr().out)["sample_ratio"]
    direct = kpi.sample_ratio(kpi.open("sample"), *arms, by="experiment_arm", expected=(3, 1))
    assert told == json.loads(json.dumps(direct.to_dict()))
    assert told["verdict"] in VERDICTS
    assert (told["verdict"], code) == ("mismatch", 2)  # half and half is not three to one
    cli.main([*line, "--always-valid", "--within", "language"])
    assert "planned 50.0 %" in capsys.readouterr().out
    cli.main([*line, "--json"])
    assert "sample_ratio" not in json.loads(capsys.readouterr().out)
    assert cli.main([*line, "--always-valid", "--expected", "half"]) == cli.BAD
