"""Lifts: right by hand, blind to one loud user, few false alarms where users repeat, intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from kpi.explain.failures.lift import PRIOR, lifts


def test_shares_and_log_odds_by_hand() -> None:
    failed = np.repeat([True, False], [200, 800])
    there = np.concatenate([np.arange(200) < 50, np.arange(800) < 80]).astype(float)
    found = lifts(sparse.csr_array(there[:, None]), failed, np.arange(1000)).iloc[0]
    assert (found["failed_share"], found["success_share"]) == pytest.approx((0.25, 0.10))
    prior = PRIOR * 0.13
    a, b = (50 + prior) / (200 + PRIOR), (80 + prior) / (800 + PRIOR)
    assert found["lift"] == pytest.approx(a / b)
    assert found["log_odds"] == pytest.approx(np.log(a / (1 - a)) - np.log(b / (1 - b)))  # Monroe et al., equation 15
    # nobody repeats: the interval is near Katz's, and for a small difference the score test near Pearson's
    katz = 1.96 * np.sqrt(1 / 50 + 1 / 80 - 1 / 200 - 1 / 800)
    assert np.log(found["high"] / found["lift"]) == pytest.approx(katz, rel=0.1)
    mild = np.concatenate([np.arange(200) < 30, np.arange(800) < 100]).astype(float)
    pearson = stats.chi2_contingency([[30, 170], [100, 700]], correction=False)[0]
    z = lifts(sparse.csr_array(mild[:, None]), failed, np.arange(1000))["z"].iloc[0]
    assert z == pytest.approx(np.sqrt(pearson), rel=0.1)


def test_strata_hold_what_differs_between_them() -> None:
    rng = np.random.default_rng(2)
    spanish = rng.random(8000) < 0.5
    failed = rng.random(8000) < np.where(spanish, 0.4, 0.1)  # Spanish fails more, the word has nothing to do with it
    word = spanish & (rng.random(8000) < 0.3)
    x, user = sparse.csr_array(word[:, None].astype(float)), np.arange(8000) // 4
    raw = lifts(x, failed, user).iloc[0]
    held = lifts(x, failed, user, spanish.astype(int)).iloc[0]
    assert raw["low"] > 1.5
    assert held["low"] < 1 < held["high"]


def test_one_loud_user_makes_no_finding() -> None:
    rng = np.random.default_rng(3)
    user = np.concatenate([np.arange(3000) // 3 + 1, np.zeros(150, dtype=int)])
    failed = np.concatenate([rng.random(3000) < 0.2, np.ones(150, dtype=bool)])
    there = np.concatenate([rng.random(3000) < 0.02, np.ones(150, dtype=bool)])
    found = lifts(sparse.csr_array(there[:, None].astype(float)), failed, user).iloc[0]
    assert found["failed_share"] > 5 * found["success_share"]
    assert found["p"] > 0.05


def world(rng: np.random.Generator, features: int, strength: float = 0.0) -> tuple:
    """Users with their own habits and their own luck; the first feature follows the luck by `strength`."""
    users = 250
    size = rng.geometric(1 / 12, users)
    user = np.repeat(np.arange(users), size)
    luck = rng.normal(0, 1, users)
    habit = rng.normal(-2, 1.2, (users, features))
    failed = rng.random(len(user)) < 1 / (1 + np.exp(1.3 - luck[user]))
    logit = habit[user]
    logit[:, 0] += strength * failed
    there = rng.random((len(user), features)) < 1 / (1 + np.exp(-logit))
    return sparse.csr_array(there.astype(float)), failed, user


def test_few_false_alarms_and_true_effects_found() -> None:
    rng = np.random.default_rng(5)
    small, any_found, power = [], 0, 0
    for _ in range(60):
        features, failed, user = world(rng, 40)
        found = lifts(features, failed, user)
        small += (found["p"] < 0.05).tolist()
        any_found += bool((found["q"] < 0.05).any())
        features, failed, user = world(rng, 40, strength=1.2)
        power += lifts(features, failed, user)["q"].iloc[0] < 0.05
    assert 0.03 <= np.mean(small) <= 0.065
    assert any_found <= 8  # 5 % of 60 are 3; more than 8 would be chance in one of 100
    assert power >= 54


def test_intervals_hold_when_users_repeat() -> None:
    rng = np.random.default_rng(6)
    kept = []
    draws = [lifts(*world(rng, 12, strength=0.0)) for _ in range(60)]
    for found in draws:
        kept += ((found["low"] <= 1) & (found["high"] >= 1)).tolist()
    assert 0.92 <= np.mean(kept) <= 0.98


def test_one_side_only_is_unknown() -> None:
    found = lifts(sparse.csr_array(np.ones((4, 2))), np.ones(4, dtype=bool), np.arange(4))
    assert found["lift"].isna().all()
    assert (found["q"] == 1).all()
