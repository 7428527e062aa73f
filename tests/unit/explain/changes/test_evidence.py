"""The statistic of a change: exact where users come once, honest where they repeat, sharp for what a change brings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from kpi.explain.aggregates.cube import Cube, Terms
from kpi.explain.changes.change_test import deviance, test_change as change_of
from kpi.explain.changes.variance import noise_of, steadied
from tests.unit.explain.worlds import DAYS, METRIC, START, made, of


def _test(cells: Cube, split: int = START) -> tuple[float, float, float, float]:
    return change_of(cells, METRIC, now=cells.day >= split, before=cells.day < START)


def test_where_every_user_comes_once_it_is_the_pooled_two_sample_test() -> None:
    cells = made(np.random.default_rng(1), 8_000)
    now, before = cells.day >= START, cells.day < START
    y = cells.terms[METRIC].y
    p = y.mean()
    error = np.sqrt(p * (1 - p) * (1 / now.sum() + 1 / before.sum()))
    change, found, z, _ = _test(cells)
    assert change == pytest.approx(y[now].mean() - y[before].mean(), abs=1e-12)
    assert found == pytest.approx(error, rel=0.02)
    assert z == pytest.approx(change / found, rel=0.02)


@pytest.mark.parametrize("events", [(9, 3), (0, 40), (26, 2)])
def test_rare_events_are_tested_by_the_conditional_binomial(events: tuple[int, int]) -> None:
    """Of single users the mid-p value of the exact test of two Poisson rates (Przyborowski and Wilenski 1940)."""
    day = np.repeat([START, 0], [10_000, 20_000])
    y = np.zeros(len(day))
    y[: events[0]] = 1
    y[10_000 : 10_000 + events[1]] = 1
    *_, z, p = _test(of(day, np.arange(len(day)), y))
    law, total = stats.binom(sum(events), 1 / 3), sum(events)
    more = 1 - law.cdf(events[0]) + law.pmf(events[0]) / 2
    less = law.cdf(events[0]) - law.pmf(events[0]) / 2
    assert p == pytest.approx(min(1, 2 * min(more, less)), rel=0.06)
    assert np.sign(z) == np.sign(events[0] - total / 3)


def test_rows_that_are_repeated_under_one_user_change_nothing() -> None:
    once = made(np.random.default_rng(2), 3_000)
    twice = once.where(np.repeat(np.arange(len(once)), 2))
    assert _test(once)[:3] == pytest.approx(_test(twice)[:3], rel=0.02)


def test_rows_in_another_order_change_nothing() -> None:
    cells = made(np.random.default_rng(2), 3_000, users=200)
    turned = cells.where(np.random.default_rng(0).permutation(len(cells)))
    assert _test(cells) == pytest.approx(_test(turned))


def test_no_event_on_one_side_is_no_certainty() -> None:
    """Eight rare events before and none after, in a short window: the plain variance would call it certain."""
    cells = made(np.random.default_rng(3), 4_000, rate=0.004)
    now = cells.day >= DAYS - 2
    y = cells.terms[METRIC].y
    y[now] = 0.0
    _, error, z, _ = _test(cells, DAYS - 2)
    assert error >= np.sqrt(y.mean() * (1 - y.mean()) / now.sum()) * 0.9
    assert abs(z) < 2


@pytest.mark.parametrize("loud", [1, 2, 3])
def test_a_few_loud_users_are_no_change(loud: int) -> None:
    """Thirty failures in ninety requests; before there were none in a thousand: but they are one to three people's."""
    day = np.repeat([START, 0], [90, 1_000])
    user = np.concatenate([np.arange(90) % 60 + 3, np.arange(1_000) % 400 + 3])
    user[:30] = np.arange(30) % loud
    y = np.zeros(len(day))
    y[:30] = 1
    assert abs(_test(of(day, user, y))[2]) < 4  # no finding of any segment begins below 4.2
    user[:30] = 1_000 + np.arange(30)
    assert _test(of(day, user, y))[2] > 7


def _walk(rng: np.random.Generator, n: int, kind: str, spread: float) -> Cube:
    users = n // 15
    user = rng.choice(users, n, p=rng.dirichlet(np.full(users, 0.8)))
    own = rng.normal(0, spread, users)[user]
    if kind == "quantile":
        y = rng.normal(0, 0.5, n) + own / 3
    else:
        y = (rng.random(n) < 1 / (1 + np.exp(-(own - {"rate": -0.9, "incidence": 3.5}[kind])))).astype(float)
    return of(rng.integers(0, DAYS, n), user, y, kind=kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rate", "incidence", "quantile"])
@pytest.mark.parametrize("size", [400, 4_000])
def test_unchanged_worlds_with_users_who_repeat_keep_the_level(kind: str, size: int) -> None:
    """Sizes of test at two levels over 1,500 worlds, a quarter of each for a short window."""
    rng = np.random.default_rng(size)
    found = np.array([_test(_walk(rng, size, kind, 1.0), int(rng.choice([START, DAYS - 6])))[3] for _ in range(1_500)])
    known = found[np.isfinite(found)]
    assert len(known) > 1_400
    assert (known <= 0.05).mean() <= 0.065
    assert (known <= 0.01).mean() <= 0.019


def test_a_change_does_not_hide_behind_the_spread_that_it_brings() -> None:
    """Incidents from 4 to 130 in 1,000 in a small segment: at once as sure as the likelihood says."""
    rng = np.random.default_rng(6)
    day = np.repeat([START, 0], [200, 600])
    y = (rng.random(800) < np.where(day >= START, 0.13, 0.004)).astype(float)
    *_, z, _ = _test(of(day, rng.integers(0, 500, 800), y))
    sums = [(float(y[m].sum()), float(m.sum())) for m in (day >= START, day < START)]
    assert z > 0.85 * np.sqrt(deviance("rate", *sums))


def test_the_deviance_is_the_likelihood_ratio() -> None:
    table = np.array([[30.0, 70.0], [55.0, 145.0]])
    g2 = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").statistic
    assert deviance("rate", (30.0, 100.0), (55.0, 200.0)) == pytest.approx(g2)


def test_noise_between_users_is_the_intraclass_correlation() -> None:
    rng = np.random.default_rng(7)
    user = rng.integers(0, 3_000, 60_000)
    chance = rng.beta(4, 2, 3_000)  # correlation 1 / (4 + 2 + 1)
    cells = of(rng.integers(0, DAYS, 60_000), user, rng.random(60_000) < chance[user])
    assert noise_of(cells, METRIC).between == pytest.approx(1 / 7, abs=0.015)
    logs = of(cells.day, user, rng.normal(0, 0.6, 60_000) + rng.normal(0, 0.3, 3_000)[user], kind="quantile")
    assert noise_of(logs, METRIC).between == pytest.approx(0.09, abs=0.015)
    assert noise_of(logs, METRIC).single == pytest.approx(0.36, abs=0.02)


def test_quiet_mondays_are_no_change() -> None:
    """Weekends are worse; four days that hold one are compared with four weeks."""
    rng = np.random.default_rng(9)
    day, user = rng.integers(0, DAYS, 40_000), rng.integers(0, 4_000, 40_000)
    weekend = day % 7 >= 5
    cells = of(day, user, rng.random(40_000) < np.where(weekend, 0.6, 0.75))
    now, before = cells.day >= DAYS - 2, cells.day < START
    assert change_of(cells, METRIC, now=now, before=before)[2] < -5
    assert abs(change_of(steadied(cells, START), METRIC, now=now, before=before)[2]) < 2.5


def test_days_that_are_slow_for_all_are_no_change() -> None:
    """Each day has a luck of its own: what many requests of few days say is as sure as the days, not the requests."""
    rng, seen = np.random.default_rng(10), []
    for _ in range(200):
        day, user = rng.integers(0, DAYS, 12_000), rng.integers(0, 2_000, 12_000)
        luck = rng.normal(0, 0.05, DAYS)
        cells = steadied(of(day, user, rng.normal(0, 0.5, 12_000) + luck[day], kind="quantile"), START)
        seen.append(change_of(cells, METRIC, now=cells.day >= DAYS - 7, before=cells.day < START)[3])
    assert (np.array(seen) <= 0.05).mean() <= 0.1
    quiet = steadied(of(day, user, rng.normal(0, 0.5, 12_000), kind="quantile"), START)
    assert noise_of(quiet, METRIC).daily < 0.05**2 / 4


def test_noise_of_the_whole_is_asked_once() -> None:
    cells = made(np.random.default_rng(11), 500)
    assert noise_of(replace(cells, noise={METRIC: noise_of(cells, METRIC)}, terms={METRIC: Terms(*[np.ones(500)] * 2)}),
                    METRIC) == noise_of(cells, METRIC)  # fmt: skip


@pytest.mark.parametrize("kind", ["rate", "incidence", "ratio", "quantile"])
def test_a_metric_that_never_varies_is_no_error(kind: str) -> None:
    day = np.repeat(np.arange(DAYS), 50)
    cells = steadied(of(day, np.arange(len(day)) % 300, np.ones(len(day)), kind=kind), START)
    assert cells.noise[METRIC].daily == 0
    assert abs(change_of(cells, METRIC, now=cells.day >= START, before=cells.day < START)[0]) < 1e-12
