"""Numbers where data is unfriendly: short forms of the lines that `make bench` prints, with seeds of their own.

Floors lie below what is asked of a world (`tests.bench.coverage`) by about two Monte Carlo errors.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import special

import kpi
from tests.bench import claims
from tests.bench.coverage import limits
from tests.worlds.unfriendly import COLUMNS, WORLDS, Rate, Sizes, World, at_the_end, geometric, pareto

SEED = 31_000


# --- the truths themselves -------------------------------------------------------------------------------------------


def apart(value: np.ndarray, of: np.ndarray, rep: np.ndarray, truth: float) -> float:
    """Standard errors between sum(value) / sum(of) and the truth, replications as clusters."""
    y, x = np.bincount(rep, value), np.bincount(rep, of)
    residual = y - truth * x
    return float(residual.sum() / np.sqrt((residual**2).sum()))


SLOPED = ["heavy users fail", "heavy users fail, cap 500"]  # a draw of rows would lack the heaviest users


@pytest.mark.parametrize("name", SLOPED)
def test_the_truth_where_heavy_users_fail(name: str) -> None:
    """Two million users, each with the expected successes of all its requests."""
    world, rng = WORLDS[name], np.random.default_rng(SEED)
    law = world.outcomes["success"]
    size = world.sizes.draw(rng, 2_000_000).astype(float)
    logit = law.logit + law.slope * np.log(size / 3) + rng.normal(0, 1, len(size))
    z = apart(size * special.expit(logit), size, np.arange(len(size)), world.truth("task_success"))
    assert abs(z) < 4
    assert special.expit(law.logit + rng.normal(0, 1, 400_000)).mean() == pytest.approx(0.82, abs=0.002)


@pytest.mark.parametrize("name", [name for name in WORLDS if name not in SLOPED])
def test_the_truth_is_that_of_a_large_draw(name: str) -> None:
    world = WORLDS[name]
    made = world.rows(SEED, 25, reps=400)
    one = np.ones(len(made.person))
    found = {}
    for metric, column in COLUMNS.items():
        if column in world.outcomes and world.labels is None:
            values = made.columns[column]
            values = values if isinstance(values, np.ndarray) else np.array(values.to_pylist(), dtype=object)
            known = np.array([v is not None for v in values]) if values.dtype == object else one > 0
            filled = np.where(known, values, False).astype(float)
            found[metric] = apart(filled, known.astype(float), made.rep, world.truth(metric))
    if world.cost:
        cost = made.columns["total_nusd"] / 1e9
        found["cost_per_query"] = apart(cost, one, made.rep, world.truth("cost_per_query"))
        if "resolved" in world.outcomes:
            resolved = made.columns["resolved"].astype(float)
            found["cost_per_resolved"] = apart(cost, resolved, made.rep, world.truth("cost_per_resolved"))
    if world.incidents:
        count = made.columns["incident_count"].astype(float)
        found["incident_rate"] = apart(1000 * count, one, made.rep, world.truth("incident_rate"))
    if world.latency:
        for q in (0.5, 0.95):
            truth = world.truth(f"latency_p{100 * q:.0f}") * 1000
            at, below = ((made.columns["total_us"] <= truth + 1e-6), (made.columns["total_us"] < truth - 1e-6))
            found[f"p{q} reached"] = min(0.0, apart(at.astype(float), one, made.rep, q))
            found[f"p{q} not before"] = max(0.0, apart(below.astype(float), one, made.rep, q))
    assert found or world.labels
    assert all(abs(z) < 4.5 for z in found.values()), found


def test_shares_of_labels_are_what_the_world_says() -> None:
    made = WORLDS["lost labels"].rows(SEED, 2000)
    success = made.columns["success"]
    known = 1 - success.null_count / len(success)
    assert known == pytest.approx(0.814 * 0.1 + 0.186 * 0.5, abs=0.02)
    told = np.array([v for v in success.to_pylist() if v is not None])
    assert told.mean() == pytest.approx(0.0814 / (0.0814 + 0.093), abs=0.04)  # 47 %, of a truth of 81.4 %


@pytest.mark.parametrize(("sizes", "median"), [(pareto(), 560), (geometric(), 1200)])
def test_sizes_of_users_are_those_of_their_law(sizes: Sizes, median: float) -> None:
    """60 Pareto users send 560 requests in the median sample: simulated elsewhere, with floats."""
    drawn = sizes.draw(np.random.default_rng(1), 60 * 2000).reshape(2000, 60).sum(axis=1)
    assert np.median(drawn) == pytest.approx(median, rel=0.06)
    assert drawn.sum() / (60 * 2000) == pytest.approx(sizes.mean, rel=0.03)


# --- coverage of one number ------------------------------------------------------------------------------------------


def coverage(name: str, metric: str, users: int, reps: int) -> tuple[float, float]:
    """(share of the intervals that hold the truth, share that lie below it); an unknown limit bounds nothing."""
    world = WORLDS[name]
    found = limits(world, [metric], users, reps, seed=SEED)
    assert len(found) == reps
    truth = world.truth(metric)
    under, over = found["high"] < truth * (1 - 1e-9), found["low"] > truth * (1 + 1e-9)
    return float((~under & ~over).mean()), float(under.mean())


@pytest.mark.parametrize(
    ("name", "metric", "users", "reps", "least"),
    [
        ("2 % of users fail", "task_success", 30, 400, 0.90),
        ("2 % of users fail", "task_success", 60, 400, 0.90),
        ("2 % of users fail", "task_success", 200, 300, 0.90),
        ("Pareto, 2 % fail", "task_success", 60, 400, 0.90),
        ("Pareto, 2 % fail", "task_success", 200, 300, 0.90),
        ("5 % fail 1 in 5", "task_success", 30, 400, 0.90),
        ("1 % bring incidents", "incident_rate", 200, 300, 0.90),
        ("heavy users fail, cap 500", "task_success", 60, 600, 0.88),
        ("7 days with shocks", "task_success", 200, 300, 0.89),
        ("7 days with shocks", "task_success", 600, 150, 0.87),
        ("28 days with shocks", "task_success", 600, 150, 0.89),
        ("id on half", "task_success", 60, 300, 0.89),
        ("id on half", "cost_per_query", 60, 300, 0.88),
        ("ticks of 100 ms", "latency_p50", 60, 200, 0.92),
        ("ticks of 100 ms", "latency_p50", 200, 200, 0.92),
        ("ticks of 1 s", "latency_p50", 60, 200, 0.92),
        ("ticks of 1 s", "latency_p95", 200, 200, 0.92),
        ("bots", "task_success", 200, 200, 0.80),
        ("two time zones", "task_success", 600, 150, 0.89),
        ("late labels", "task_success", 60, 300, 0.90),
        ("a new judge", "task_success", 60, 300, 0.91),
        ("weekday by user", "task_success", 60, 300, 0.91),
        ("a tenant leaves", "task_success", 60, 300, 0.91),
        ("batch day", "task_success", 60, 300, 0.91),
        ("several ids", "task_success", 60, 300, 0.89),
    ],
)
def test_intervals_hold(name: str, metric: str, users: int, reps: int, least: float) -> None:
    assert coverage(name, metric, users, reps)[0] >= least


@pytest.mark.parametrize(("name", "users"), [("Pareto", 60), ("Pareto", 200), ("Pareto 1.2", 60)])
def test_rates_of_skewed_users(name: str, users: int) -> None:
    assert coverage(name, "task_success", users, 1000)[0] >= 0.925


@pytest.mark.parametrize("name", ["Pareto", "dear", "very dear, Pareto"])
def test_dear_requests(name: str) -> None:
    held, under = coverage(name, "cost_per_query", 60, 1000)
    assert held >= 0.922
    assert under <= 0.062


@pytest.mark.parametrize("name", ["friendly", "7 days"])
def test_friendly_worlds_stay_as_narrow(name: str) -> None:
    """Neither short, nor wider than needed: 0.0552 is the median width of users as clusters alone, 400 replications."""
    found = limits(WORLDS[name], ["task_success"], 200, 400, seed=SEED)
    held = (found["low"] <= 0.82) & (found["high"] >= 0.82)
    assert 0.925 <= held.mean() <= 0.98
    assert (found["high"] - found["low"]).median() <= 0.0552 * 1.05


# --- claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "users"), [(7, 200), (28, 400)])
def test_a_window_against_a_window_with_day_shocks(days: int, users: int) -> None:
    found = claims.windows(World(name="", days=days, shock=0.3), users, 150, seed=SEED)
    assert claims.false_alarms(found)["task_success"] <= 0.10


@pytest.mark.parametrize("shared", [True, False])
def test_two_arms_of_which_few_users_fail(shared: bool) -> None:
    source = kpi.from_frame(claims.arms(WORLDS["2 % of users fail"], 60, 200, shared=shared, seed=SEED))
    found = kpi.compare_within(source, "a", "b", ["task_success"], within="release", by="experiment_arm").frame()
    assert claims.false_alarms(found)["task_success"] <= 0.09


@pytest.mark.parametrize("metric", ["task_success", "escalation_rate", "cost_per_query", "incident_rate"])
def test_at_the_off_limit_nothing_is_green(metric: str) -> None:
    found = claims.states(claims.at_off()[metric], metric, 60, 300, seed=SEED)
    assert (found == "on_target").mean() <= 0.05


def test_far_better_than_the_target_is_green() -> None:
    found = claims.states(World(name="", outcomes={"success": Rate(0.92)}), "task_success", 60, 100, seed=SEED)
    assert (found == "on_target").mean() >= 0.9


@pytest.mark.slow
def test_no_lower_limit_of_the_index_rises_in_silence() -> None:
    world = replace(claims.INDEXED, outcomes={**claims.INDEXED.outcomes, "success": Rate(0.74)})
    found = claims.silenced(world, 100, SEED)
    assert set(found) == set(claims.LOST)
    assert {name: low for name, (_, low) in found.items() if low > 1e-6} == {}


def clear(count: int, column: str, sizes: Sizes, users: int, *, shared: bool, move: float) -> list[bool]:
    view, found = kpi.Slice(last="28d"), []
    for i in range(count):
        source = claims.two_windows(sizes, users, SEED + i, shared=shared, move={column: move})
        with at_the_end():
            found.append(kpi.drift(source, column, view).distance.clear)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "sizes", "users", "shared"),
    [("intent", geometric(), 60, False), ("language", geometric(40), 400, True)],
)
def test_drift_of_ten_points_is_seen(column: str, sizes: Sizes, users: int, shared: bool) -> None:
    assert sum(clear(10, column, sizes, users, shared=shared, move=0.1)) >= 7


@pytest.mark.slow
def test_quiet_months_of_skewed_users_do_not_drift() -> None:
    assert sum(clear(20, "language", pareto(), 60, shared=False, move=0.0)) <= 3


@pytest.mark.parametrize(
    ("name", "users", "words", "places", "what"), claims.SAID, ids=[f"{s[0]}: {s[4]}" for s in claims.SAID]
)
def test_what_is_not_known_is_said(
    name: str, users: int, words: tuple[str, ...], places: tuple[str, ...], what: str
) -> None:
    few, seeds = what == "few users decide", range(SEED, SEED + 40)
    seed = next(s for s in seeds if not few or claims.weighed(WORLDS[name], users, s) < 15)
    told = claims.said(WORLDS[name], users, seed)
    for place in places:
        assert any(w in told[place].lower() for w in words), (place, told[place])
        assert "_" not in what or what in told[place], (place, told[place])
