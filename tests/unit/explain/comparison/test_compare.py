"""compare: both sides as everywhere else, users as clusters, words that follow from the interval, the mix held."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import kpi
from kpi import cli
from kpi.explain.aggregates.arm_sums import ArmSums, TermSums
from kpi.explain.comparison.compare import VERDICTS, compare, compare_within
from kpi.explain.comparison.effects import effect, values
from kpi.measure.metrics import METRICS
from kpi.store.engines import DuckSource
from tests.engines import filled
from tests.unit.cli.conftest import plain

pytestmark = pytest.mark.slow

KINDS = ("task_success", "cost_per_query", "cost_per_resolved", "latency_p95", "latency_p50", "incident_rate")


def _world(seed: int = 0, users: int = 300, **more: Any) -> pd.DataFrame:
    """Users who come back and differ, served by two releases at random, request by request."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rng.geometric(1 / 12, users))
    n = len(user)
    own, slow = rng.normal(0, 0.8, users)[user], rng.normal(0, 0.5, users)[user]
    success = rng.random(n) < 1 / (1 + np.exp(-1.4 - own))
    return pd.DataFrame({
        "user_key": [f"u{u}" for u in user], "release": rng.choice(["r1", "r2"], n), "success": success,
        "resolved": success & (rng.random(n) < 0.9), "total_us": np.exp(rng.normal(14, 0.5, n) + slow).astype(int),
        "total_nusd": np.exp(rng.normal(15, 0.9, n) + slow).astype(int), "incident_count": rng.poisson(0.02, n),
        "intent": rng.choice(["billing", "returns", "other"], n), **more,
    })  # fmt: skip


@pytest.fixture(scope="module")
def source() -> DuckSource:
    return kpi.from_frame(_world())


def test_each_side_is_what_summarise_says(source: DuckSource) -> None:
    found = compare(source, "r1", "r2", KINDS, by="release")
    told = kpi.summarise(source, list(KINDS), by=["release"]).set_index(["metric", "release"])
    for row in found.rows:
        for name, side in (("r1", row.effect.a), ("r2", row.effect.b)):
            other = told.loc[(row.metric.name, name)]
            assert (side.value, side.low, side.high) == pytest.approx((other.value, other.low, other.high), rel=1e-9)
            assert (side.n, side.users) == (other.n, other.clusters)
        assert row.effect.difference == pytest.approx(row.effect.b.value - row.effect.a.value)


@pytest.mark.parametrize("always_valid", [False, True])
def test_p_interval_and_ratio_never_contradict_each_other(always_valid: bool) -> None:
    for seed in range(8):
        frame = _world(seed, users=60)
        late = frame["release"] == "r2"
        frame.loc[late, "total_us"] = (frame.loc[late, "total_us"] * (1 + 0.04 * seed)).astype(int)
        frame.loc[late & (np.arange(len(frame)) % 20 < seed), "success"] = False
        for row in compare(kpi.from_frame(frame), "r1", "r2", KINDS, by="release", always_valid=always_valid).rows:
            e = row.effect
            if not math.isfinite(e.low + e.high + e.p):
                continue
            clear = e.low > 0 or e.high < 0
            assert clear == (e.p < 0.05), row.sentence
            if math.isfinite(e.ratio_low) and math.isfinite(e.ratio_high):
                assert clear == (e.ratio_low > 1 or e.ratio_high < 1), row.sentence
                assert e.ratio_low <= e.ratio <= e.ratio_high


def test_swapping_the_sides_turns_the_answer_round(source: DuckSource) -> None:
    there, back = (compare(source, *names, KINDS, by="release") for names in (("r1", "r2"), ("r2", "r1")))
    for one, two in zip(there.rows, back.rows, strict=True):
        a, b = one.effect, two.effect
        assert (a.difference, a.low, a.high) == pytest.approx((-b.difference, -b.high, -b.low), rel=1e-9, nan_ok=True)
        assert a.p == pytest.approx(b.p, nan_ok=True)
        if a.ratio_low > 0:
            assert (a.ratio_low, a.ratio_high) == pytest.approx((1 / b.ratio_high, 1 / b.ratio_low), rel=1e-6)


def test_a_slice_against_itself_differs_by_nothing(source: DuckSource) -> None:
    whole = kpi.Slice(last="all")
    for row in compare(source, whole, whole, KINDS).rows:
        e = row.effect
        assert (e.difference, e.p, row.verdict) == (0.0, 1.0, "equivalent")
        assert e.high - e.low < 0.3 * (e.a.high - e.a.low)  # what is left comes from limits that are not symmetric


def test_repeated_rows_of_the_same_users_prove_nothing_new(source: DuckSource) -> None:
    frame = _world()
    once = compare(source, "r1", "r2", ["task_success", "cost_per_query"], by="release")
    twice = compare(
        kpi.from_frame(pd.concat([frame, frame])), "r1", "r2", ["task_success", "cost_per_query"], by="release"
    )
    for a, b in zip(once.rows, twice.rows, strict=True):
        assert b.effect.high - b.effect.low == pytest.approx(a.effect.high - a.effect.low, rel=0.02)


def test_pairs_are_compared_as_pairs() -> None:
    """Two models on the same tasks: the width is that of Newcombe's paired method, far from the unpaired one."""
    rng = np.random.default_rng(4)
    hard = rng.random(600)
    rows = [
        {"model": m, "task": f"t{i}", "success": bool(rng.random() < 0.1 if h < 0.3 else rng.random() < 0.95 - extra)}
        for m, extra in (("x", 0.0), ("y", 0.04)) for i, h in enumerate(hard)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    paired = compare(kpi.from_frame(frame), "x", "y", ["task_success"], by="model", cluster=["task"])
    loose = compare(kpi.from_frame(frame), "x", "y", ["task_success"], by="model")
    width = lambda c: c["task_success"].effect.high - c["task_success"].effect.low  # noqa: E731
    table = frame.pivot(index="task", columns="model", values="success").astype(float)
    error = (table["y"] - table["x"]).std() / math.sqrt(len(table))
    assert width(paired) == pytest.approx(2 * 1.96 * error, rel=0.03)
    assert width(loose) > 1.3 * width(paired)
    assert paired["task_success"].effect.users_both == 600


def test_the_five_words() -> None:
    rng = np.random.default_rng(5)

    def frame(n: int, p: float, q: float, slower: float = 1.0) -> DuckSource:
        return kpi.from_frame(pd.DataFrame({
            "release": np.repeat(["a", "b"], n),
            "success": np.concatenate([np.arange(n) < p * n, np.arange(n) < q * n]),
            "total_us": np.concatenate([x := rng.lognormal(14, 0.4, n), slower * x]).astype(int),
        }))  # fmt: skip

    def word(source: DuckSource, metric: str) -> str:
        return compare(source, "a", "b", [metric], by="release")[metric].verdict

    assert word(frame(2000, 0.7, 0.8), "task_success") == "better"
    assert word(frame(2000, 0.8, 0.7), "task_success") == "worse"
    assert word(frame(2000, 0.8, 0.8, slower=1.3), "latency_p95") == "worse"  # of latency, more is worse
    assert word(frame(2000, 0.8, 0.8, slower=0.8), "latency_p95") == "better"
    assert word(frame(30_000, 0.8, 0.8), "task_success") == "equivalent"
    assert word(frame(1000, 0.8, 0.81), "task_success") == "no clear change"
    assert word(frame(60, 0.8, 0.75), "task_success") == "not enough data"  # 20 points would have been missed
    assert word(frame(20, 1.0, 0.0), "task_success") == "not enough data"  # clear, but fewer than 30 requests
    told = compare(frame(60, 0.8, 0.75), "a", "b", ["task_success"], by="release")["task_success"]
    assert "minimum detectable effect" in told.sentence
    assert told.effect.smallest == pytest.approx(2.8 * math.sqrt(0.16 / 60 + 0.1875 / 60), rel=0.05)


def test_many_metrics_are_corrected_for_together() -> None:
    """One in twenty metrics of an unchanged pair is clear by itself; of the call, hardly any pair names one."""
    named = clear = 0
    for seed in range(40):
        found = compare(kpi.from_frame(_world(100 + seed, users=80)), "r1", "r2", KINDS, by="release", adjust=())
        clear += any(r.effect.p < 0.05 for r in found.rows)
        named += any(r.verdict in ("better", "worse") for r in found.rows)
    assert named <= 5
    assert named < clear


def test_held_mix_equals_standardisation_by_hand_and_undoes_simpson() -> None:
    """Each intent gets better, the whole looks worse: the harder intent became more frequent."""
    blocks = {("a", "easy"): (2700, 0.90), ("a", "hard"): (300, 0.40), ("b", "easy"): (900, 0.94),
              ("b", "hard"): (2100, 0.50)}  # fmt: skip
    rows = [
        {"release": r, "intent": i, "success": k < n * p, "total_us": 1000 + k, "total_nusd": 10 * k,
         "resolved": k % 2 == 0}
        for (r, i), (n, p) in blocks.items() for k in range(n)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    found = compare(kpi.from_frame(frame), "a", "b", ["task_success", "cost_per_resolved", "latency_p50"], by="release")
    assert (found.adjust, found.covered) == (("intent",), 1.0)
    row = found["task_success"]
    assert row.adjusted is not None
    pooled = frame["intent"].value_counts(normalize=True)
    rates = frame.groupby(["release", "intent"])["success"].mean()
    sizes = frame.groupby(["release", "intent"]).size()
    by_hand = sum(pooled[i] * (rates["b", i] - rates["a", i]) for i in pooled.index)
    assert row.adjusted.difference == pytest.approx(by_hand, abs=1e-12)
    assert (row.verdict, row.adjusted_verdict) == ("worse", "better")
    variance = sum(
        pooled[i] ** 2 * rates[r, i] * (1 - rates[r, i]) / sizes[r, i] for r in ("a", "b") for i in pooled.index
    )
    assert row.adjusted.high - row.adjusted.low >= 2 * 1.96 * math.sqrt(variance) * 0.98
    assert row.adjusted.high - row.adjusted.low <= 2 * 1.96 * math.sqrt(variance) * 1.15
    ratio = found["cost_per_resolved"].adjusted
    frame["weight"] = frame["resolved"].astype(int)
    known = frame.groupby(["release", "intent"])[["total_nusd", "weight"]].sum()
    share = frame.groupby("intent")["weight"].sum() / frame["weight"].sum()
    each = known["total_nusd"] / known["weight"] * 1e-9
    assert ratio is not None
    assert ratio.b.value == pytest.approx(sum(share[i] * each["b", i] for i in share.index), rel=1e-9)
    slow = found["latency_p50"].adjusted
    assert slow is not None
    mine = frame[frame["release"] == "a"].copy()
    mine["w"] = mine["intent"].map(pooled / mine["intent"].value_counts(normalize=True))
    mine = mine.sort_values("total_us")
    median = mine["total_us"].to_numpy()[np.searchsorted(mine["w"].cumsum().to_numpy() / mine["w"].sum(), 0.5)]
    assert slow.a.value == pytest.approx(median / 1000, rel=0.011)


def test_a_mix_that_cannot_be_held_is_not_held() -> None:
    frame = _world(7)
    frame.loc[frame["release"] == "r2", "intent"] = "new"
    found = compare(kpi.from_frame(frame), "r1", "r2", KINDS, by="release")
    assert found.covered == 0
    assert all(r.adjusted is None for r in found.rows)
    assert "too few requests to hold the mix" in found.sentence


def test_within_names_where_the_better_one_is_worse() -> None:
    rows = [
        {"model": m, "category": c, "success": k < n * p}
        for (m, c), (n, p) in {("x", "main"): (2000, 0.6), ("y", "main"): (2000, 0.9), ("x", "java"): (200, 0.9),
                               ("y", "java"): (200, 0.5)}.items() for k in range(n)
    ]  # fmt: skip
    source = kpi.from_frame(pd.DataFrame(rows))
    assert compare(source, "x", "y", ["task_success"], by="model")["task_success"].verdict == "better"
    found = compare_within(source, "x", "y", ["task_success", "latency_p95"], by="model", within="category").frame()
    assert found.set_index("category")["reversed"].to_dict() == {"java": True, "main": False}
    assert set(found["verdict"]) == {"better", "worse"}


def test_two_windows_and_the_baseline_of_a_slice() -> None:
    frame = _world(8)
    start = datetime(2026, 10, 1, tzinfo=UTC)
    hours = np.random.default_rng(8).uniform(0, 1300, len(frame))
    frame["started_at"] = [start + timedelta(hours=float(h)) for h in hours]
    source = kpi.from_frame(frame)
    slice_ = kpi.Slice(last="14d")
    one = compare(source, slice=slice_, metrics=["task_success"])
    known = kpi.resolve(source, slice_)
    assert known.window is not None
    assert known.baseline is not None
    two = compare(
        source, kpi.Slice(start=known.baseline.start, end=known.baseline.end),
        kpi.Slice(start=known.window.start, end=known.window.end), ["task_success"],
    )  # fmt: skip
    assert one["task_success"].effect.low == two["task_success"].effect.low
    assert one["task_success"].effect.users_both > 0


def test_at_most_two_queries_and_one_within(source: DuckSource, monkeypatch: pytest.MonkeyPatch) -> None:
    kpi.profile(source)
    asked: list[object] = []
    run = DuckSource.run
    monkeypatch.setattr(DuckSource, "run", lambda self, q, *a, **k: asked.append(q) or run(self, q, *a, **k))
    compare(source, "r1", "r2", by="release")
    assert len(asked) == 2
    compare_within(source, "r1", "r2", by="release", within="intent").frame()
    assert len(asked) == 3


@pytest.mark.parametrize("engine", ["sqlite", "clickhouse"])
def test_other_engines_answer_alike(
    engine: str, world_tables: dict[str, pa.Table], sample: DuckSource, tmp_path: Path
) -> None:
    with filled(engine, world_tables["requests"], tmp_path) as opened:
        there = compare(opened(), "p6", "p7", by="prompt_version").frame()
    here = compare(sample, "p6", "p7", by="prompt_version").frame()
    pd.testing.assert_frame_equal(there, here, rtol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [({"a": "r1", "b": "r2"}, "compare.by"), ({"a": "r1", "b": "r9", "by": "release"}, "slice.value"),
     ({"a": "r1"}, "compare.sides"), ({}, "compare.baseline"),
     ({"a": "r1", "b": "r2", "by": "release", "metrics": ["requests"]}, "compare.kind"),
     ({"a": "r1", "b": "r2", "by": "release", "metrics": ["nonsense"]}, "metric.unknown"),
     ({"a": "r1", "b": "r2", "by": "shoe_size"}, "dimension.unknown")],
)  # fmt: skip
def test_errors_name_the_remedy(source: DuckSource, arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(kpi.KpiError) as caught:
        compare(source, **arguments)
    assert caught.value.code == code
    assert caught.value.hint


def test_an_empty_side_is_not_enough_data(source: DuckSource) -> None:
    nobody = kpi.Slice(last="all").where(intent="(none)")
    found = compare(source, kpi.Slice(last="all"), nobody, KINDS)
    assert {r.verdict for r in found.rows} == {"not enough data"}
    assert json.dumps(found.to_dict())
    assert len(found.frame()) == len(KINDS)


# --- looking every day -----------------------------------------------------------------------------------------------


def _sides(y: np.ndarray, n: np.ndarray) -> ArmSums:
    """Successes and requests by side and user, as the second query returns them."""
    users = y.shape[1]
    cells = TermSums(y.ravel().astype(float), n.ravel().astype(float), n.ravel().astype(float))
    return ArmSums(
        arm=np.repeat([0, 1], users), user=np.tile(np.arange(users), 2), stratum=np.zeros(2 * users, dtype=int),
        strata=((),), rows=cells.n, users=users, sums={"task_success": cells}, weighted={}, ranked={},
        ranked_weighted={},
    )  # fmt: skip


def _looked(rng: np.random.Generator, looks: int, users: int, gain: float = 0.0) -> np.ndarray:
    """p of the fixed and of the always-valid interval at each daily look; users come back on both sides."""
    active, own = rng.gamma(1.0, 0.7, users), rng.normal(0, 1.1, users)
    rates = [1 / (1 + np.exp(-1.65 - own - g)) for g in (0.0, gain)]
    y, n = np.zeros((2, users)), np.zeros((2, users))
    found = []
    for _ in range(looks):
        today = rng.poisson(active)
        first = rng.binomial(today, 0.5)
        for i, part in enumerate((first, today - first)):
            n[i] += part
            y[i] += rng.binomial(part, rates[i])
        a, b = values(_sides(y, n), METRICS["task_success"])
        found.append((effect(a, b).p, effect(a, b, planned=0.01).p))
    return np.array(found)


def test_thirty_looks_at_an_unchanged_test_keep_their_promise() -> None:
    """Fixed intervals claim a change in more than one of five unchanged tests, always-valid ones in 5 % at most."""
    rng = np.random.default_rng(11)
    clear = np.array([(_looked(rng, 30, users=400) < 0.05).any(axis=0) for _ in range(150)])
    fixed, always = clear.mean(axis=0)
    assert fixed > 0.2
    assert always <= 0.05


def test_an_always_valid_test_still_finds_a_real_change() -> None:
    rng = np.random.default_rng(12)
    found = [(_looked(rng, 30, users=800, gain=0.35)[:, 1] < 0.05).any() for _ in range(15)]
    assert np.mean(found) >= 0.8


def test_the_always_valid_kind_is_said_and_wider(source: DuckSource) -> None:
    fixed, always = (compare(source, "r1", "r2", KINDS, by="release", always_valid=v) for v in (False, True))
    assert (fixed.kind, always.kind) == ("fixed", "always_valid")
    assert "hold at every look" in always.sentence
    for one, two in zip(fixed.rows, always.rows, strict=True):
        assert two.effect.low < one.effect.low
        assert two.effect.high > one.effect.high


def test_groups_of_a_running_test_are_looked_at_as_often(source: DuckSource) -> None:
    """Each group's limits are those of the comparison of that group alone, and wider than for a single look."""
    asked = {"metrics": ["task_success"], "by": "release"}
    fixed, always = (
        compare_within(source, "r1", "r2", within="intent", always_valid=v, **asked).frame() for v in (False, True)
    )
    known = fixed["low"].notna()
    assert known.any()
    assert (always["low"] < fixed["low"])[known].all()
    assert (always["high"] > fixed["high"])[known].all()
    for row in always[known].itertuples():
        alone = compare(
            source, "r1", "r2", slice=kpi.Slice().where(intent=row.intent), always_valid=True, adjust=(), **asked
        )
        assert (row.low, row.high) == pytest.approx((alone.rows[0].effect.low, alone.rows[0].effect.high))


# --- honest intervals ------------------------------------------------------------------------------------------------


def test_differences_cover_the_truth_with_users_on_both_sides() -> None:
    """95 % intervals of a rate's difference, 1 in 3 requests on side B, true difference known by construction."""
    rng = np.random.default_rng(13)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    mean = lambda shift: float((weights / (1 + np.exp(-1.4 - shift - 0.9 * nodes))).sum() / weights.sum())  # noqa: E731
    truth = mean(0.3) - mean(0.0)
    inside = widths = 0.0
    for _ in range(600):
        size, own = rng.geometric(1 / 15, 250), rng.normal(0, 0.9, 250)
        later = rng.binomial(size, 1 / 3)
        n = np.stack([size - later, later])
        y = np.stack([rng.binomial(n[i], 1 / (1 + np.exp(-1.4 - s - own))) for i, s in ((0, 0.0), (1, 0.3))])
        e = effect(*values(_sides(y, n), METRICS["task_success"]))
        inside += e.low <= truth <= e.high
        widths += e.high - e.low
    assert 0.925 <= inside / 600 <= 0.985
    assert widths / 600 < 0.13


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_what_the_call_says(sample_home: object, capsys: pytest.CaptureFixture[str]) -> None:
    told = cli.main(["compare", "p6", "p7", "--by", "prompt_version", "--dataset", "sample", "--json"])
    data = plain(capsys.readouterr().out)
    assert (data["a"], data["b"], data["by"], data["intervals"]) == ("p6", "p7", "prompt_version", "fixed")
    assert data["adjust"] == ["intent", "language"]
    direct = compare(kpi.open("sample"), "p6", "p7", by="prompt_version").to_dict()
    assert data == json.loads(json.dumps(direct))
    assert {r["verdict"] for r in data["metrics"]} <= set(VERDICTS)
    worse = any(r["verdict"] == "worse" for r in data["metrics"])
    assert told == (1 if worse else 0)
    assert cli.main(["compare", "p6", "p7", "--by", "prompt_version", "--dataset", "sample", "--always-valid",
                     "--metrics", "task_success", "--adjust", ""]) in (0, 1, 2)  # fmt: skip
    assert "every look" in capsys.readouterr().out
    assert cli.main(["compare", "p6", "p7", "--by", "prompt_version", "--dataset", "sample", "--within", "language",
                     "--metrics", "task_success"]) in (0, 1, 2)  # fmt: skip
    assert "Task success" in capsys.readouterr().out
    assert cli.main(["compare", "p6", "--by", "prompt_version", "--dataset", "sample"]) == cli.BAD


def test_without_a_slice_it_looks_where_everything_else_does(sample: DuckSource) -> None:
    asked = {"metrics": ["task_success"], "by": "language"}
    usual = compare(sample, "de", "en", **asked)
    assert usual == compare(sample, "de", "en", slice=kpi.Slice(last="28d"), **asked)
    assert usual != compare(sample, "de", "en", slice=kpi.Slice(last="all"), **asked)
    n = kpi.summarise(sample, "task_success", by="language").set_index("language")["n"]
    assert (usual["task_success"].effect.a.n, usual["task_success"].effect.b.n) == (n["de"], n["en"])
    within = compare_within(sample, "de", "en", within="channel", **asked)
    assert within.scope == usual.scope
    old = pd.DataFrame({"success": [True, False] * 60, "model": ["a"] * 60 + ["b"] * 60,
                        "started_at": pd.date_range("2026-06-01", periods=120, freq="D", tz="UTC")})  # fmt: skip
    assert "60 against 60 requests" in compare(kpi.from_frame(old), "a", "b", by="model").scope  # a frame: all of it
