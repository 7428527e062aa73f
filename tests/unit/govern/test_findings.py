"""Findings on planted worlds and on the sample data: the right metric, segment and day, in words, with an owner."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kpi
from kpi.errors import SliceError
from kpi.govern.findings import Finding, findings
from sample_data.stories import STORIES
from sample_data.world import build
from tests.worlds.generate import world
from tests.worlds.score import STRONG, each_told, of_world, ours, right, strength
from tests.worlds.stories import sample, stories_told

pytestmark = pytest.mark.slow


def test_one_cause_is_named() -> None:
    scores = []
    for seed in range(2_000, 2_024):
        made = world(seed, "one")
        found = of_world(made)
        if strength(found, made.causes[0]) >= STRONG:
            scores.append(right(ours(made, found), made.causes[0]))
    assert len(scores) >= 20
    assert sum(scores) >= 0.85 * len(scores)


def test_a_mix_is_called_a_mix() -> None:
    kinds = [
        [f.kind for f in findings(kpi.from_frame(world(seed, "mix").requests))][:1] for seed in range(2_000, 2_006)
    ]
    assert kinds.count(["mix"]) >= 5


def test_a_quiet_world_is_quiet() -> None:
    told = [findings(kpi.from_frame(world(seed, "quiet").requests)) for seed in range(2_000, 2_010)]
    assert sum(map(bool, told)) <= 1


@pytest.mark.parametrize("requests", [30_000, 200_000])
def test_three_and_four_causes_are_told_each_once(requests: int) -> None:
    scores, others = [], 0
    worlds = [world(seed, kind, requests) for seed in range(100, 103) for kind in ("three", "four")]
    for made in worlds:
        told, beside = each_told(made, of_world(made))
        scores += told
        others += beside
    assert len(scores) >= 15
    assert sum(scores) >= 0.85 * len(scores)
    assert others <= 1


def test_a_holiday_week_is_no_regression_of_a_part() -> None:
    """Few requests, of which many have one intent: the mix of the whole, if anything."""
    told = [f.kind for seed in range(300, 312) for f in findings(kpi.from_frame(world(seed, "holiday").requests))]
    assert told.count("mix") >= 6
    assert sum(kind in ("regression", "hidden_regression") for kind in told) <= 1


def test_nothing_is_told_whose_interval_includes_zero() -> None:
    """At a level at which noise is told as well."""
    told = [f for seed in range(2_000, 2_012)
            for f in findings(kpi.from_frame(world(seed, "quiet").requests), level=0.9, most=20)]  # fmt: skip
    assert len(told) >= 5
    assert [f.sentence for f in told if not (f.low > 0 or f.high < 0)] == []


def _fallen(n: int) -> pd.DataFrame:
    """German falls by 24 points two weeks before the end, Spanish with prompt B by 16 four weeks before it."""
    rng = np.random.default_rng(3)
    day, user = rng.integers(0, 56, n), rng.integers(0, n // 15, n)
    language, prompt = rng.choice(["en", "de", "es", "fr"], n, p=[0.5, 0.2, 0.2, 0.1]), rng.choice(["A", "B"], n)
    chance = 1 / (1 + np.exp(-1 - rng.normal(0, 0.5, n // 15)[user]))
    chance = chance - 0.24 * ((language == "de") & (day >= 42))
    chance = chance - 0.16 * ((language == "es") & (prompt == "B") & (day >= 28))
    at = pd.Timestamp("2026-10-05", tz="UTC") + pd.to_timedelta(1440 * day + rng.integers(0, 1440, n), "m")
    return pd.DataFrame({
        "trace_id": [f"r{i}" for i in range(n)], "user_key": [f"u{u}" for u in user],
        "started_at": at.as_unit("us"), "language": language, "prompt_version": prompt,
        "tenant": rng.choice([f"t{i}" for i in range(8)], n), "success": rng.random(n) < chance,
    })  # fmt: skip


@pytest.mark.parametrize("requests", [30_000, 200_000])
def test_a_cause_is_told_once_and_the_same_through_every_window(requests: int) -> None:
    """At 200,000 requests the whole would be told again after its segment, and the segment after itself."""
    source = kpi.from_frame(_fallen(requests))
    causes = {date(2026, 11, 16): {"language": "de"}, date(2026, 11, 2): {"language": "es", "prompt_version": "B"}}
    others = 0
    for view in (None, *(kpi.Slice(last=f"{days}d") for days in (7, 14, 28))):
        told = findings(source, view)
        window = 14 if view is None else int(str(view.last).removesuffix("d"))
        named = [(f.since, {**f.where, **({f.version_of: f.version} if f.version else {})}) for f in told]
        assert [named.count(cause) for cause in causes.items()] == [1, 1]
        others += len(told) - 2
        for f in told:
            before = f.since < date(2026, 11, 30) - timedelta(days=window)
            assert ("already in the baseline" in f.sentence) == before
    assert others <= 1


def test_no_story_of_the_sample_is_lost() -> None:
    """The fall of retrieval in billing was lost to two changes of other metrics, the tool fan-out to logarithms."""
    missed, others = [], 0
    for end in (date(2026, 11, 19), date(2026, 11, 22)):
        named, beside = stories_told(sample(end), end)
        assert len(named) == 6
        missed += [name for name, found in named.items() if not found]
        others += len(beside)
    assert {"corpus-v2-billing", "tool-fan-out", "prompt-p7-spanish"}.isdisjoint(missed)
    assert len(missed) <= 1
    assert others <= 2


def test_a_table_with_a_column_of_its_own_days_can_be_searched(home: Path, tmp_path: Path) -> None:
    """`day` is also a canonical column: the cohort keeps its prefix, and nothing stumbles over the name."""
    frame = world(5, "one").requests.to_pandas()
    frame.to_csv(tmp_path / "requests.csv", index=False)
    kpi.load(tmp_path / "requests.csv", dataset="own")
    first = findings(kpi.open("own"))[0]
    assert (first.metric, dict(first.where), first.version) == ("task_success", {"language": "ja"}, "p9")


def test_data_without_times_has_no_findings_and_says_so() -> None:
    rows = world(1, "quiet").requests.drop_columns(["started_at", "day"])
    with pytest.raises(SliceError, match="no times"):
        findings(kpi.from_frame(rows))


def test_a_hidden_regression_is_told_as_one() -> None:
    made = world(2_001, "quiet").requests.to_pandas()
    late = made["started_at"] >= made["started_at"].max() - timedelta(days=9)
    spanish = (made["language"] == "es") & late
    others = (made["language"] != "es") & late
    made["success"] = made["success"].astype(bool)
    made.loc[spanish & (made.index % 2 == 0), "success"] = False
    made.loc[others & (made.index % 3 == 0), "success"] = True
    first = findings(kpi.from_frame(made))[0]
    assert (first.kind, dict(first.where), first.metric) == ("hidden_regression", {"language": "es"}, "task_success")
    assert "not visible in the overall metric" in first.sentence


@pytest.mark.parametrize("others", [1.0, 0.7])
def test_nothing_hides_where_the_tail_of_the_whole_got_worse(others: float) -> None:
    """The search compares logarithms; what is named is the p95, and so it is the p95 of the whole that counts."""
    made = world(2_002, "quiet").requests.to_pandas()
    late = made["started_at"] >= made["started_at"].max() - timedelta(days=9)
    slow = (made["region"] == "us") & late & (made.index % 5 == 0)
    made["total_us"] = made["total_us"] * np.where(slow, 3.0, np.where(late & (made["region"] != "us"), others, 1.0))
    made["total_us"] = made["total_us"].astype("int64")
    told = findings(kpi.from_frame(made))
    found = next(f for f in told if f.metric == "latency_p95" and f.where.get("region") == "us")
    p95 = made["total_us"].groupby(late).quantile(0.95)
    assert p95[True] > 1.1 * p95[False]
    assert found.kind == "regression"
    assert "not visible" not in found.sentence


@pytest.fixture(scope="module")
def larger() -> kpi.Source:
    """The sample data's world with enough requests for its milder stories."""
    return kpi.from_frame(build(requests=45_000)["requests"])


def around(sample: kpi.Source, story: str) -> list[Finding]:
    """Findings of the two weeks from the day of a story on, against the four weeks before."""
    found = {s.id: s for s in STORIES}[story]
    start = datetime.combine(found.since(kpi.profile(sample).last.date(), 90), time(), UTC)
    before = start - timedelta(days=28)
    view = kpi.Slice(
        start=start, end=start + timedelta(days=14), baseline=f"{before:%Y-%m-%d}..{start:%Y-%m-%d}"
    )  # fmt: skip
    return findings(sample, view)


@pytest.mark.parametrize(
    ("story", "metric", "where"),
    [
        ("corpus-v2-billing", "retrieval_hit_rate", {"intent": "billing"}),
        ("reranker-ap", "latency_p95", {"region": "ap"}),
        ("overblocking-de", "refusal_rate", {"language": "de"}),
    ],
)
def test_the_stories_of_the_sample_data(larger: kpi.Source, story: str, metric: str, where: dict[str, str]) -> None:
    told = around(larger, story)
    match = [f for f in told if f.metric == metric and dict(f.where).items() >= where.items()]
    assert match, [f.sentence for f in told]


@pytest.fixture(scope="module")
def told(larger: kpi.Source) -> list[Finding]:
    return around(larger, "corpus-v2-billing")


def test_a_finding_is_a_sentence_with_an_owner(told: list[Finding]) -> None:
    for f in told:
        assert f.sentence.endswith(".")
        assert f.action
        assert f.low <= f.change <= f.high
        assert f.link.startswith("why?")
        plain = json.loads(json.dumps(f.to_dict()))
        assert {"kind", "metric", "where", "version", "since", "change", "low", "high", "q", "n", "state", "owner",
                "action", "link"} <= plain.keys()  # fmt: skip
    assert 1 <= len(told) <= 7


def test_numbers_are_those_of_the_rows_and_limits_hold_the_change() -> None:
    """Shares come from the cells of the search, latencies from the rows: both are what `summarise` says."""
    seen = set()
    for seed in range(2_000, 2_040):
        made = world(seed, "one")
        if made.causes[0].kind in seen or made.causes[0].kind not in ("latency", "escalation", "incidents"):
            continue
        source = kpi.from_frame(made.requests)
        told = [f for f in findings(source) if f.metric in made.causes[0].metrics]
        for f in told[:1]:
            seen.add(made.causes[0].kind)
            where = {**f.where, **({f.version_of: f.version} if f.version and f.version_of else {})}
            since = datetime.combine(f.since, time(), UTC)
            rows = kpi.Slice(start=since, end=kpi.resolve(source, kpi.Slice()).window.end, baseline="none").where(
                **where
            )
            numbers = kpi.summarise(source, f.metric, rows).iloc[0]
            assert (f.value, f.n) == (pytest.approx(numbers["value"], rel=1e-9), numbers["n"])
            assert f.change == pytest.approx(f.value - f.was)
            assert f.low < f.change < f.high
    assert seen == {"latency", "escalation", "incidents"}
