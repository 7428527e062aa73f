"""Simpson reversals and opposite directions: named where they are, quiet where they are not, also with shared users."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import kpi
from kpi.explain.aggregates.arm_sums import ArmSums, TermSums
from kpi.explain.comparison.compare import compare, compare_within
from kpi.explain.comparison.effects import effect, values
from kpi.explain.comparison.simpson import _drawn_p, crossing_of, crossing_p, gail_simon
from kpi.measure.metrics import METRICS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("groups", [2, 3, 6, 12])
def test_the_level_is_kept_at_every_corner_of_the_null(groups: int) -> None:
    """5 % at most, and 5 % where one group is far to a side: the least favourable case of Gail and Simon's theorem."""
    rng = np.random.default_rng(groups)
    nothing = rng.standard_normal((40_000, groups))
    one = nothing + 9 * (np.arange(groups) == 0)
    half = nothing + 1.0 * (np.arange(groups) < groups / 2)
    limit = _critical(lambda q: crossing_p(q, groups))
    fired = [_fired(z, limit) for z in (nothing, one, half)]
    assert fired[1] == pytest.approx(0.05, abs=0.004)
    assert max(fired) < 0.054


@pytest.mark.parametrize("rho", [-0.24, -0.9, 0.5, 0.95])
def test_the_level_is_kept_where_groups_share_users(rho: float) -> None:
    groups = 2 if rho < -0.25 else 5
    known = np.full((groups, groups), rho) + (1 - rho) * np.eye(groups)
    drawn = np.random.default_rng(3).multivariate_normal(np.zeros(groups), known, 40_000)
    limit = _critical(lambda q: _drawn_p(q, known))
    shifted = [drawn + shift * (np.arange(groups) == 0) for shift in (0.0, 0.3, 1.0, 9.0)]
    assert 0.04 < max(_fired(z, limit) for z in shifted) < 0.056
    if rho > 0:  # what the draws are for: groups that move together oppose one that is far off together
        assert _fired(shifted[-1], _critical(lambda q: crossing_p(q, groups))) > 0.07


def _critical(p_of: Callable[[float], float]) -> float:
    low, high = 0.0, 60.0
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if p_of(middle) > 0.05 else (low, middle)
    return low


def _fired(z: np.ndarray, limit: float) -> float:
    plus, minus = (np.square(np.maximum(s * z, 0)).sum(axis=1) for s in (1, -1))
    return float((np.minimum(plus, minus) > limit).mean())


def test_draws_agree_with_the_closed_form() -> None:
    almost = np.eye(6) + 1e-9 * (1 - np.eye(6))
    for z in ([2, -1, 1, 0.5, -2, 3], [2.5, -2.5, 0, 0, 0, 0], [3, 3, 3, -0.1, -0.2, 1]):
        exact, drawn = gail_simon(z), gail_simon(z, correlation=almost)
        assert exact.p == crossing_p(exact.q, 6)
        assert drawn.p == pytest.approx(exact.p, abs=0.008)
        turned = gail_simon(-np.array(z))
        assert (turned.plus, turned.minus, turned.p) == (exact.minus, exact.plus, exact.p)


def test_one_group_or_one_direction_is_no_crossing() -> None:
    assert math.isnan(gail_simon([5.0]).p)
    assert gail_simon([5.0, 4.0, 0.1]).p == 1.0  # very different, and all up
    assert gail_simon([5.0, -5.0]).p < 1e-5


def _users(rng: np.random.Generator, users: int, rates: Callable[[np.ndarray], np.ndarray], groups: int) -> ArmSums:
    """Users of one side who ask in every group and succeed more or less often in all: the differences correlate."""
    side = rng.integers(0, 2, users)
    own = rng.normal(0, 1.0, users)
    n = rng.poisson(3.0, (users, groups)).astype(float)
    p = 1 / (1 + np.exp(-(1.0 + own[:, None] + rates(side))))
    y = rng.binomial(n.astype(int), p).astype(float)
    flat = TermSums(y.ravel(), n.ravel(), n.ravel())
    return ArmSums(
        arm=np.repeat(side, groups), user=np.repeat(np.arange(users), groups), users=users, rows=flat.n,
        stratum=np.tile(np.arange(groups), users), strata=tuple((f"g{i}",) for i in range(groups)),
        sums={"task_success": flat}, weighted={}, ranked={}, ranked_weighted={},
    )  # fmt: skip


def _p(sides: ArmSums) -> float:
    effects = [effect(*values(sides, METRICS["task_success"], only=i)) for i in range(len(sides.strata))]
    return crossing_of(effects).p


def test_users_in_several_groups_fire_no_false_crossings_and_real_ones_are_found() -> None:
    rng, groups = np.random.default_rng(5), 4
    one = np.array([1.5, 0.0, 0.0, 0.0])
    quiet = [_p(_users(rng, 160, lambda side: side[:, None] * one, groups)) < 0.05 for _ in range(400)]
    assert np.mean(quiet) < 0.075
    opposed = np.array([0.9, 0.0, 0.0, -0.9])
    found = [_p(_users(rng, 400, lambda side: side[:, None] * opposed, groups)) < 0.05 for _ in range(40)]
    assert np.mean(found) > 0.9


# --- in comparisons --------------------------------------------------------------------------------------------------


def _blocks(blocks: dict[tuple[str, str], tuple[int, float]]) -> kpi.Source:
    return kpi.from_frame(pd.DataFrame([
        {"release": r, "intent": i, "success": k < n * p}
        for (r, i), (n, p) in blocks.items() for k in range(n)
    ]))  # fmt: skip


def test_a_simpson_reversal_is_named() -> None:
    """Each intent gets better, the whole looks worse: the harder intent became more frequent."""
    source = _blocks({("a", "easy"): (2700, 0.90), ("a", "hard"): (300, 0.40), ("b", "easy"): (900, 0.94),
                      ("b", "hard"): (2100, 0.50)})  # fmt: skip
    found = compare(source, "a", "b", ["task_success"], by="release")
    assert found["task_success"].simpson
    assert "Simpson reversal in Task success" in found.sentence
    (told,) = found.reversals
    assert "over all requests b is worse (85.0 % to 63.2 %)" in told
    assert "with the same mix of intent on both sides it is better" in told
    assert "Decide by the second figure" in told
    assert found.to_dict()["reversals"] == [told]
    inside = compare_within(source, "a", "b", ["task_success"], by="release", within="intent").frame()
    assert inside["simpson"].all()
    assert inside["told"].str.startswith(told).all()
    assert (inside["crossing_p"] == 1.0).all()  # both intents go up: no opposite directions
    back = compare(source, "b", "a", ["task_success"], by="release")
    assert "over all requests a is better" in back.reversals[0]


def test_a_mix_that_explains_all_is_said_with_its_doubt_and_a_smaller_change_is_no_reversal() -> None:
    maybe = _blocks({("a", "easy"): (270, 0.90), ("a", "hard"): (30, 0.40), ("b", "easy"): (90, 0.92),
                     ("b", "hard"): (210, 0.44)})  # fmt: skip
    found = compare(maybe, "a", "b", ["task_success"], by="release")
    assert found["task_success"].adjusted_verdict not in ("better", "worse")
    assert ("may be chance" in found.reversals[0]) if found["task_success"].simpson else not found.reversals
    smaller = _blocks({("a", "easy"): (2700, 0.90), ("a", "hard"): (300, 0.60), ("b", "easy"): (900, 0.80),
                       ("b", "hard"): (2100, 0.50)})  # fmt: skip
    found = compare(smaller, "a", "b", ["task_success"], by="release")
    assert found["task_success"].verdict == found["task_success"].adjusted_verdict == "worse"
    assert not found.reversals
    assert "Simpson" not in found.sentence


def test_a_held_difference_too_small_to_matter_is_no_reversal() -> None:
    source = _blocks({("a", "easy"): (27_000, 0.900), ("a", "hard"): (3000, 0.500), ("b", "easy"): (9000, 0.902),
                      ("b", "hard"): (21_000, 0.502)})  # fmt: skip
    row = compare(source, "a", "b", ["task_success"], by="release")["task_success"]
    assert row.adjusted is not None
    assert (row.verdict, row.adjusted.difference > 0) == ("worse", True)
    assert not row.simpson


def test_opposite_directions_are_named_with_the_groups() -> None:
    sizes, rates = {"english": 2000, "spanish": 900, "german": 500}, {"english": 0.86, "spanish": 0.68, "german": 0.80}
    source = _blocks({(r, i): (n, 0.80 if r == "a" else rates[i]) for i, n in sizes.items() for r in "ab"})
    found = compare_within(source, "a", "b", ["task_success"], by="release", within="intent").frame()
    told = found["told"].iloc[0]
    assert (
        "Task success turns around by intent: b is better for english (+6.00 pp), worse for spanish (−12.0 pp)" in told
    )
    assert "Gail-Simon p < 0.0001" in told
    assert (found["crossing_q"] < 0.001).all()
    z = [_z(0.80, 0.86, 2000), _z(0.80, 0.68, 900), 0.0]
    assert found["crossing_p"].iloc[0] == pytest.approx(gail_simon(z).p, rel=0.7)
    same = _blocks({("a", "english"): (2000, 0.80), ("b", "english"): (2000, 0.86), ("a", "spanish"): (900, 0.80),
                    ("b", "spanish"): (900, 0.81)})  # fmt: skip
    assert compare_within(same, "a", "b", ["task_success"], by="release", within="intent").frame()["told"].isna().all()


def test_two_clear_groups_are_named_though_many_unchanged_ones_weaken_the_test() -> None:
    sizes = {"english": (2000, 0.837), "spanish": (1000, 0.64), **{f"x{i}": (1000, 0.80) for i in range(12)}}
    source = _blocks({(r, i): (n, 0.80 if r == "a" else rate) for i, (n, rate) in sizes.items() for r in "ab"})
    found = (
        compare_within(source, "a", "b", ["task_success"], by="release", within="intent").frame().set_index("intent")
    )
    assert (found.loc["english", "verdict"], found.loc["spanish", "verdict"]) == ("better", "worse")
    assert found["crossing_q"].iloc[0] > 0.05
    assert (
        "better for english (+3.70 pp), worse for spanish (−16.0 pp); each is clear by itself" in found["told"].iloc[0]
    )


def _z(p: float, q: float, n: int) -> float:
    return (q - p) / math.sqrt((p * (1 - p) + q * (1 - q)) / n)


def test_many_metrics_share_their_false_crossings() -> None:
    """Of unchanged pairs with users who come back in every group hardly any is said to turn around."""
    named = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        user = rng.integers(0, 150, 3000)
        own = rng.normal(0, 1, 150)[user]
        source = kpi.from_frame(pd.DataFrame({
            "user_key": [f"u{u}" for u in user], "release": rng.choice(["a", "b"], 3000),
            "intent": rng.choice(["x", "y", "z", "w"], 3000), "success": rng.random(3000) < 1 / (1 + np.exp(-1 - own)),
            "escalated": rng.random(3000) < 0.2, "refused": rng.random(3000) < 0.1,
        }))  # fmt: skip
        found = compare_within(source, "a", "b", by="release", within="intent").frame()
        named += found["told"].notna().any()
    assert named <= 4  # 1.5 are to be expected
    assert stats.binom.sf(4, 30, 0.05) < 0.02
