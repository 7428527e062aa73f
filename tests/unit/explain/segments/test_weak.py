"""Weak segments: numbers of `kpi.summarise`, planted worlds, quiet worlds, loud users, invariances, real data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kpi
from kpi.errors import MetricError
from kpi.explain.aggregates.cube import Codes, Terms
from kpi.explain.aggregates.user_sums import UserSums
from kpi.explain.segments.segment_test import Entries, SegmentTest
from kpi.explain.segments.weak_segments import Weak, weakest_of
from kpi.store.engines import DuckSource
from tests.worlds.generate import REQUEST_DIMS, USER_DIMS

pytestmark = pytest.mark.slow

SUCCESS = kpi.METRICS["task_success"]
DIMS = {**USER_DIMS, **REQUEST_DIMS}
Where = Mapping[str, str]


# --- worlds as arrays ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """codes: of each request, by dimension; success: 0 or 1."""

    user: np.ndarray
    codes: Mapping[str, np.ndarray]
    success: np.ndarray

    def inside(self, where: Where) -> np.ndarray:
        found = np.ones(len(self.user), dtype=bool)
        for name, value in where.items():
            found &= self.codes[name] == DIMS[name][0].index(value)
        return found

    def sums(self) -> UserSums:
        one = np.ones(len(self.user))
        return UserSums(
            user=self.user, users=int(self.user.max()) + 1, rows=one,
            dims={d: Codes(tuple(DIMS[d][0]), c) for d, c in self.codes.items()},
            terms={SUCCESS.name: Terms(self.success, one, "rate")}, known={SUCCESS.name: one},
        )  # fmt: skip

    def weak(self, **more) -> Weak:
        return weakest_of(self.sums(), SUCCESS, list(DIMS), **more)

    def frame(self) -> pd.DataFrame:
        named = {d: np.array(DIMS[d][0])[c] for d, c in self.codes.items()}
        return pd.DataFrame({"user_key": [f"u{u}" for u in self.user], "success": self.success == 1, **named})


def world(
    seed: int, *, n: int = 6_000, users: int = 600, base: float = 0.82, taste: float = 0.8, always: float = 0.0,
    bad: Sequence[Where] = (), size: float = 0.0,
) -> World:  # fmt: skip
    """Users of very different activity who come back, differ by `taste` (log-odds) and keep to a favourite intent.

    always: share of the users who never succeed. bad: segments in which the log-odds of success are `size` lower.
    """
    rng = np.random.default_rng([seed, 20261128])
    activity = rng.gamma(0.8, 1.0, users) + 0.05
    user = rng.choice(users, n, p=activity / activity.sum())
    codes = {}
    for name, (_, shares) in USER_DIMS.items():
        codes[name] = rng.choice(len(shares), users, p=shares)[user]
    for name, (_, shares) in REQUEST_DIMS.items():
        codes[name] = rng.choice(len(shares), n, p=shares)
    codes["intent"] = np.where(rng.random(n) < 0.3, rng.integers(0, 5, users)[user], codes["intent"])
    odds = np.log(base / (1 - base)) + rng.normal(0, taste, users)[user]
    made = World(user, codes, np.zeros(n))
    for where in bad:
        odds = odds - size * made.inside(where)
    success = (rng.random(n) < 1 / (1 + np.exp(-odds))) & ~(rng.random(users) < always)[user]
    return replace(made, success=success.astype(float))


def planted(kind: str, worlds: int, **more) -> Iterator[tuple[World, list[Where]]]:
    """Worlds with a bad pair, a bad single value or both, each at least five standard errors off the rest."""
    for seed in range(worlds):
        rng = np.random.default_rng([seed, 5])
        bad = [_segment(rng, literals) for literals in {"pair": [2], "single": [1], "both": [2, 1]}[kind]]
        made = world(seed, bad=bad, size=rng.uniform(0.3, 1.8), **more)
        if all(_errors(made, where) >= 5 for where in bad):
            yield made, bad


def _segment(rng: np.random.Generator, literals: int) -> Where:
    names = rng.choice(sorted(DIMS), literals, replace=False)
    return {str(d): str(rng.choice(DIMS[str(d)][0])) for d in sorted(names)}


def _errors(made: World, where: Where) -> float:
    one = np.ones(len(made.user))
    users = int(made.user.max()) + 1
    rest = SegmentTest(Entries(user=made.user, users=users, rows=one, bad=1 - made.success, size=one, kind="rate"))
    return rest.test(np.flatnonzero(made.inside(where))).z


@pytest.mark.parametrize("kind", ["pair", "single", "both"])
@pytest.mark.parametrize("more", [{}, {"base": 0.95, "n": 8_000}], ids=["usual", "few failures"])
def test_what_was_planted_is_named_first(kind: str, more: dict) -> None:
    first, false = [], []
    for made, bad in planted(kind, 160, **more):
        named = list(made.weak().segments["where"])
        first.append(bool(named) and named[0] in bad)
        false.append(sum(w not in bad for w in named) / max(len(named), 1))
    assert len(first) >= 25
    assert np.mean(first) >= 0.9
    assert np.mean(false) <= 0.05


@pytest.mark.parametrize(
    "more",
    [{}, {"base": 0.98}, {"taste": 2.0, "users": 100, "base": 0.7}, {"always": 0.03}, {"users": 6_000, "taste": 0.0}],
    ids=["usual", "few failures", "few users who differ", "users who always fail", "nobody repeats"],
)
def test_quiet_worlds_name_nothing(more: dict) -> None:
    named = [len(world(seed, **more).weak().segments) > 0 for seed in range(1_000, 1_200)]
    assert np.mean(named) <= 0.05


@pytest.mark.parametrize("name", ["cost_per_query", "incident_rate"])
def test_quiet_costs_and_incidents_name_nothing(name: str) -> None:
    """Costs with heavy tails, of users who spend differently; few incidents, of users who provoke them differently."""
    metric, named = kpi.METRICS[name], []
    for seed in range(3_000, 3_200):
        made, rng = world(seed), np.random.default_rng([seed, 4])
        one, habit = np.ones(len(made.user)), rng.normal(0, 1, 600)[made.user]
        cost = 1e6 * np.exp(rng.normal(0, 1.2, len(one)) + 0.5 * habit).round(6)
        y = cost if name == "cost_per_query" else (rng.random(len(one)) < 0.005 * np.exp(habit)).astype(float)
        sums = replace(made.sums(), terms={name: Terms(y, one, metric.kind)}, known={name: one})
        named.append(len(weakest_of(sums, metric, list(DIMS)).segments) > 0)
    assert np.mean(named) <= 0.05


def test_differences_have_intervals_that_cover() -> None:
    """Of a segment that is 12 points worse; its users come back in it and outside."""
    where, covered, mean = {"intent": "returns"}, [], _mean_success()
    for seed in range(400):
        made = world(seed, n=3_000, users=150)
        inside = made.inside(where)
        fails = np.random.default_rng([seed, 8]).random(len(inside)) < 0.15
        made = replace(made, success=np.where(inside & fails, 0.0, made.success))
        one = np.ones(len(inside))
        rest = SegmentTest(Entries(user=made.user, users=150, rows=one, bad=1 - made.success, size=one, kind="rate"))
        found = rest.test(np.flatnonzero(inside))
        truth = 0.15 * mean
        covered.append(found.low <= truth <= found.high)
    assert 0.92 <= np.mean(covered) <= 0.985


def _mean_success() -> float:
    odds = np.log(0.82 / 0.18) + 0.8 * np.random.default_rng(1).standard_normal(1_000_000)
    return float((1 / (1 + np.exp(-odds))).mean())


# --- one user, one name ----------------------------------------------------------------------------------------------


def test_one_loud_user_makes_no_segment() -> None:
    """A tenth of all requests fail, all in one segment: of one user they say nothing, of forty they do."""
    named = {1: 0, 40: 0}
    for seed in range(40):
        made = world(seed, n=3_000, users=200)
        loud = np.arange(len(made.user)) < 300
        codes = {d: np.where(loud, 0, c) for d, c in made.codes.items()}
        for people in named:
            user = np.where(loud, 200 + np.arange(len(loud)) % people, made.user)
            found = World(user, codes, np.where(loud, 0.0, made.success)).weak()
            named[people] += any(v == DIMS[d][0][0] for w in found.segments["where"] for d, v in w.items())
    assert named[1] <= 2
    assert named[40] == 40


def test_two_names_of_the_same_requests_are_told_once() -> None:
    made = world(3, bad=[{"language": "es"}], size=1.2)
    sums = made.sums()
    twin = Codes(("x-de", "x-en", "x-es", "x-fr", "x-ja"), made.codes["language"])
    found = weakest_of(replace(sums, dims={**sums.dims, "market": twin}), SUCCESS, [*DIMS, "market"])
    assert list(found.segments["where"]) == [{"language": "es"}]
    assert found.segments["also"].iloc[0] == ({"market": "x-es"},)
    assert "Language es (also market x-es): " in found.segments["sentence"].iloc[0]


def test_a_parent_with_one_bad_child_is_told_as_the_child_and_an_even_one_as_the_parent() -> None:
    child = world(4, n=12_000, users=1_500, bad=[{"language": "es", "device": "mobile"}], size=1.5).weak()
    assert list(child.segments["where"]) == [{"language": "es", "device": "mobile"}]
    even = world(4, n=12_000, users=1_500, bad=[{"language": "es"}], size=1.5).weak()
    assert list(even.segments["where"]) == [{"language": "es"}]


def test_a_child_that_is_worse_than_its_bad_parent_is_told_beside_it() -> None:
    bad = [{"language": "es"}, {"language": "es", "intent": "billing"}]
    named = list(world(5, n=20_000, users=2_000, bad=bad, size=1.0).weak().segments["where"])
    assert sorted(named, key=len) == bad


def test_nobody_small_is_named_or_can_be_worked_out() -> None:
    rng = np.random.default_rng(6)
    sizes = {"a": 60, "b": 30, "c": 4}  # users: c is hidden, and b with it, or the whole less a and b gives c away
    rows = [(v, f"{v}{u}") for v, users in sizes.items() for u in range(users) for _ in range(20)]
    frame = pd.DataFrame(rows, columns=["language", "user_key"])
    frame["success"] = rng.random(len(frame)) < frame["language"].map({"a": 0.9, "b": 0.4, "c": 0.0})
    found = kpi.weak_segments(kpi.from_frame(frame), dimensions=["language"])
    assert found.segments.empty
    more = pd.concat([frame, frame[frame["language"] == "c"].assign(user_key=lambda f: f["user_key"] + "x")] * 2)
    many = more.assign(user_key=more["user_key"] + (np.arange(len(more)) % 2).astype(str))
    named = list(kpi.weak_segments(kpi.from_frame(many), dimensions=["language"]).segments["where"])
    assert {"language": "b"} in named


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metric", ["task_success", "escalation_rate", "incident_rate", "cost_per_query", "cost_per_resolved"]
)
def test_values_are_those_of_summarise_and_parts_of_the_slice(
    sample: DuckSource, users_alone: None, metric: str
) -> None:
    view = kpi.Slice(last="90d")
    found = kpi.weak_segments(sample, view, metric=metric)
    whole = kpi.summarise(sample, [metric], view).iloc[0]
    assert (found.whole, found.n) == (pytest.approx(whole["value"]), whole["n"])
    assert len(found.segments) >= 1
    for row in found.segments.itertuples():
        one = kpi.summarise(sample, [metric], view.where(**row.where)).iloc[0]
        assert (row.value, row.low, row.high) == pytest.approx((one["value"], one["low"], one["high"]))
        assert (row.n, row.users) == (one["n"], one["clusters"])
        assert row.share == pytest.approx(row.n / whole["n"])
        assert row.difference_low <= row.difference <= row.difference_high
        assert (row.difference < 0) == (kpi.METRICS[metric].direction == "up")
        assert row.q <= 0.05
    assert found.segments["excess_low"].is_monotonic_decreasing


def test_difference_and_failures_are_those_of_the_frame() -> None:
    made = world(7, bad=[{"intent": "returns"}], size=1.0)
    found = made.weak().segments.iloc[0]
    inside, fails = made.inside({"intent": "returns"}), 1 - made.success
    rest = fails[~inside].mean()
    assert found["difference"] == pytest.approx(rest - fails[inside].mean())
    assert found["share_of_failures"] == pytest.approx(fails[inside].sum() / fails.sum())
    assert found["excess"] == pytest.approx((fails[inside] - rest).sum())
    assert found["excess_low"] == pytest.approx(-found["difference_high"] * inside.sum())


def test_an_adjusted_difference_is_that_of_mantel_and_haenszel() -> None:
    made = world(8, n=20_000, bad=[{"channel": "web"}], size=0.8)
    found = made.weak(adjust="intent")
    assert list(found.segments["where"]) == [{"channel": "web"}]
    inside, fails = made.inside({"channel": "web"}), 1 - made.success
    top = bottom = 0.0
    for intent in range(5):
        here = made.codes["intent"] == intent
        n1, n0 = (here & inside).sum(), (here & ~inside).sum()
        weight = n1 * n0 / (n1 + n0)
        top += weight * (fails[here & inside].mean() - fails[here & ~inside].mean())
        bottom += weight
    assert found.segments["difference"].iloc[0] == pytest.approx(-top / bottom)
    assert found.adjusted_for == "intent"


def test_what_only_the_mix_carries_goes_once_it_is_held() -> None:
    """Technical requests fail more and come by the web: the web is told alone, but neither beside them nor on the same
    intents."""
    alone, held, beside = [], [], []
    for seed in range(30):
        made = world(seed, n=10_000, users=2_000, bad=[{"intent": "technical"}], size=1.5)
        asks = made.inside({"intent": "technical"}) & (np.random.default_rng(seed).random(10_000) < 0.7)
        sums = replace(made, codes={**made.codes, "channel": np.where(asks, 2, made.codes["channel"])}).sums()
        alone += [list(weakest_of(sums, SUCCESS, ["channel"]).segments["where"])]
        held += [len(weakest_of(sums, SUCCESS, ["channel"], adjust="intent").segments)]
        beside += [list(weakest_of(sums, SUCCESS, list(DIMS)).segments["where"])]
    assert alone == [[{"channel": "web"}]] * 30
    assert sum(h > 0 for h in held) <= 4
    assert sum(b == [{"intent": "technical"}] for b in beside) >= 27


def test_neither_the_order_of_rows_nor_their_doubling_changes_what_is_told() -> None:
    made = world(11, bad=[{"language": "ja"}, {"intent": "returns", "device": "mobile"}], size=1.0)
    frame = made.frame()
    tell = lambda rows: kpi.weak_segments(kpi.from_frame(rows)).segments  # noqa: E731
    first, mixed = tell(frame), tell(frame.sample(frac=1, random_state=3))
    assert len(first) == 2
    pd.testing.assert_frame_equal(first, mixed, rtol=1e-9)
    double = tell(pd.concat([frame, frame]))
    assert list(double["where"]) == list(first["where"])
    assert list(double["n"]) == [2 * n for n in first["n"]]
    same = ["value", "low", "high", "difference", "share", "share_of_failures", "users"]
    pd.testing.assert_frame_equal(double[same], first[same], rtol=0.02)
    limits = ["difference_low", "difference_high"]
    pd.testing.assert_frame_equal(double[limits], first[limits], rtol=0.02)


def test_a_slice_that_fixes_a_dimension_does_not_search_it(sample: DuckSource) -> None:
    found = kpi.weak_segments(sample, kpi.Slice(last="90d").where(language="es"), metric="escalation_rate")
    assert "language" not in found.dimensions
    assert [w.get("prompt_version") for w in found.segments["where"]] == ["p7"]


def test_what_cannot_be_searched_is_said(sample: DuckSource) -> None:
    for metric, code in (
        ("latency_p95", "weak.metric"),
        ("nothing", "metric.unknown"),
        ("tool_calls", "weak.direction"),
    ):
        with pytest.raises(MetricError) as told:
            kpi.weak_segments(sample, metric=metric)
        assert told.value.code == code
    empty = kpi.weak_segments(sample, kpi.Slice(last="90d").where(language="(none)"))
    assert (empty.looked, empty.n, len(empty.segments)) == (0, 0, 0)
    assert empty.sentence == "No segment is large enough to be compared with the rest."
    quiet = kpi.weak_segments(kpi.from_frame(world(1_000).frame()))
    assert quiet.sentence.startswith("Task success: no segment is clearly worse than the rest; ")
    assert quiet.sentence.endswith(f" {quiet.looked} segments of 6 dimensions searched.")


# --- real data -------------------------------------------------------------------------------------------------------


def test_the_weakest_categories_of_a_model_agree_with_direct_computation(shared: Path) -> None:
    rows = pd.read_csv(shared / "data/datasets/bfcl/bfcl_2024-08-11_requests.csv")
    source = kpi.from_frame(rows[["model", "test_category", "success"]])
    for model in sorted(rows["model"].unique())[::7]:
        mine = rows[rows["model"] == model]
        view = kpi.Slice(last="all").where(model=model)
        found = kpi.weak_segments(source, view, dimensions=["test_category"], most=12).segments
        by = mine.groupby("test_category")["success"].agg(["sum", "size"])
        all_good, all_n = by["sum"].sum(), by["size"].sum()
        by["rest"] = (all_good - by["sum"]) / (all_n - by["size"])
        by["difference"] = by["sum"] / by["size"] - by["rest"]
        named = {w["test_category"]: r for w, r in zip(found["where"], found.itertuples(), strict=True)}
        assert by["difference"].idxmin() in named
        for category, row in named.items():
            assert row.value == pytest.approx(by.loc[category, "sum"] / by.loc[category, "size"])
            assert row.difference == pytest.approx(by.loc[category, "difference"])
            assert row.share_of_failures == pytest.approx(
                (by["size"] - by["sum"])[category] / (by["size"] - by["sum"]).sum()
            )
        error = np.sqrt(by["rest"] * (1 - by["rest"]) / by["size"])
        sure = by.index[(by["size"] >= 30) & (by["difference"] / error < -8)]
        assert set(sure) <= set(named)
