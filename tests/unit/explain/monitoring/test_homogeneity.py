"""The law of an unchanged column: worked out by loops, right about quiet worlds of returning users, awake on a move."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import sparse, stats
from scipy.spatial.distance import jensenshannon

from kpi.explain.monitoring.homogeneity import LEVEL, Distance, Table, _divergence, chance

MIX = np.array([0.30, 0.22, 0.16, 0.12, 0.09, 0.06, 0.03, 0.02])


def test_divergence_is_scipys() -> None:
    rng = np.random.default_rng(1)
    for k in (2, 3, 8, 40):
        a, b = rng.integers(0, 50, k) + 1, rng.integers(0, 50, k)
        p, q = a / a.sum(), b / b.sum()
        assert math.sqrt(_divergence(p, q)) == pytest.approx(jensenshannon(p, q, base=2), abs=1e-9)
    assert _divergence(np.array([1.0, 0]), np.array([0, 1.0])) == pytest.approx(1)
    assert _divergence(MIX, MIX) == 0


@pytest.mark.parametrize("shape", [(30, 3), (5, 12)])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_the_law_is_that_of_the_formula(shape: tuple[int, int], kind: Callable[[np.ndarray], Table]) -> None:
    """User by user and value by value, as the paper writes it; rare values are kept apart in this comparison."""
    rng = np.random.default_rng(shape)
    now, before = (rng.integers(5, 60, shape).astype(float) for _ in range(2))
    total, n1, n0 = now.sum() + before.sum(), now.sum(), before.sum()
    users, values = range(shape[0]), range(shape[1])
    p = [(now[:, v].sum() + before[:, v].sum()) / total for v in values]
    r = np.array([[(now[u, v] - p[v] * now[u].sum()) / n1 - (before[u, v] - p[v] * before[u].sum()) / n0
                   for v in values] for u in users])  # fmt: skip
    statistic = sum(r[:, v].sum() ** 2 / p[v] for v in values)
    robust = [r[u] / (1 - (now[u].sum() + before[u].sum()) / total) for u in users]
    k = [[sum(robust[u][v] * robust[w][v] / p[v] for v in values) for w in users] for u in users]
    mean = sum(k[u][u] for u in users)
    variance = 2 * sum(k[u][w] ** 2 for u in users for w in users if u != w)
    found = chance(kind(now), kind(before))
    assert found.looks == 1  # no value is rare, or all are
    assert found.freedom == pytest.approx(2 * mean**2 / variance)
    assert found.statistic == pytest.approx(statistic / mean * found.freedom)
    assert found.p == pytest.approx(stats.gamma.sf(statistic, found.freedom / 2, scale=2 * mean / found.freedom))


def test_distance_of_much_data_is_scipys() -> None:
    """With the part of chance vanishing, the distance without it is the plain one."""
    rng = np.random.default_rng(2)
    mixes = ([0.5, 0.4, 0.1], [0.4, 0.4, 0.2])
    now, before = (rng.multinomial(np.full(1000, 5000), m).astype(float) for m in mixes)
    found = chance(now, before).distance()
    plain = jensenshannon(now.sum(axis=0), before.sum(axis=0), base=2)
    assert found.value == pytest.approx(plain, rel=1e-3)
    assert found.low < plain < found.high
    assert found.clear


Sides = tuple[np.ndarray, np.ndarray]


def world(
    rng: np.random.Generator, users: int, mix: np.ndarray, *, law: str, sides: str, sticky: float,
    moved: np.ndarray | None = None,
) -> Sides:  # fmt: skip
    """Requests by user and value on two sides; a user's own value in a part `sticky` of the requests.

    law: "geometric", 20 requests on average, or "pareto", 3 to 5,000 with a tail of 1.3. sides: "other" users on each,
    the "same", or a half of them.
    """
    count = {"other": 2 * users, "same": users, "half": users + users // 2}[sides]
    sizes = rng.geometric(0.05, count) if law == "geometric" else 3 * (1 - rng.random(count)) ** (-1 / 1.3)
    sizes = np.minimum(sizes, 5000).astype(int)
    place, at = np.arange(count), {"other": (users, users), "same": (0, users), "half": (users // 2, users)}[sides]
    first = np.where(place < at[0], sizes, np.where(place < at[1], rng.binomial(2 * sizes, 0.5), 0))
    second = np.where(place >= at[1], sizes, np.where(place >= at[0], 2 * sizes - first, 0))
    own = rng.choice(len(mix), count, p=mix)
    found = []
    for size, shares in ((second, mix if moved is None else moved), (first, mix)):
        kept = rng.binomial(size, sticky)
        table = rng.multinomial(size - kept, shares).astype(float)
        np.add.at(table, (place, own), kept)
        found.append(table)
    return found[0], found[1]


@pytest.mark.parametrize("law", ["geometric", "pareto"])
@pytest.mark.parametrize("sides", ["other", "same", "half"])
@pytest.mark.parametrize("sticky", [0.0, 0.5, 1.0])
def test_unchanged_sides_are_called_changed_as_often_as_said(law: str, sides: str, sticky: float) -> None:
    rng = np.random.default_rng([len(law), len(sides), int(10 * sticky)])
    found = [chance(*world(rng, 100, MIX, law=law, sides=sides, sticky=sticky)).distance() for _ in range(300)]
    assert np.mean([d.clear for d in found]) <= 0.05  # P(more | 2.5 %) = 0.4 %
    assert [d.clear for d in found] == [d.value > d.noise for d in found]


def test_requests_as_independent_would_alarm_all_the_time() -> None:
    """The reason for it all: Pearson's law of the same tables."""
    rng = np.random.default_rng(3)
    tables = [world(rng, 100, MIX, law="geometric", sides="other", sticky=0.5) for _ in range(40)]
    p = [stats.chi2_contingency([now.sum(axis=0), before.sum(axis=0)]).pvalue for now, before in tables]
    assert np.mean(np.array(p) < LEVEL) > 0.5


def test_five_points_of_mix_are_seen() -> None:
    rng = np.random.default_rng(4)
    moved = MIX + np.array([-0.05, 0, 0, 0, 0.05, 0, 0, 0])
    found = [chance(*world(rng, 500, MIX, law="geometric", sides="other", sticky=0.0, moved=moved)).distance()
             for _ in range(100)]  # fmt: skip
    true = jensenshannon(moved, MIX, base=2)
    assert np.mean([d.clear for d in found]) >= 0.9
    assert np.mean([d.low <= true <= d.high for d in found]) >= 0.9


def zipf(k: int) -> np.ndarray:
    weight = 1 / np.arange(1, k + 1)
    return weight / weight.sum()


@pytest.mark.parametrize("values", [40, 300, 3000])
@pytest.mark.parametrize("sticky", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("users", [(300, 300), (100, 600)])
def test_many_rare_values_alarm_no_more_than_few(values: int, sticky: float, users: tuple[int, int]) -> None:
    rng = np.random.default_rng([values, int(10 * sticky), users[0]])
    found = [crowd(rng, users, zipf(values), zipf(values), sticky=sticky) for _ in range(50)]
    assert np.mean([d.clear for d in found]) <= 0.08  # P(more | 2.5 %) = 0.8 %
    assert np.median([d.value for d in found]) <= 0.07  # of up to 3,000 values on 2,000 rows: the part of chance is off


def crowd(
    rng: np.random.Generator, users: tuple[int, int], now: np.ndarray, before: np.ndarray, *, sticky: float
) -> Distance:
    """Two sides of other users with many values, most of them rare."""
    sides, first = [], 0
    for count, mix in zip(users, (now, before), strict=True):
        sizes = rng.geometric(0.05, count)
        user = np.repeat(np.arange(count), sizes)
        own = rng.choice(len(mix), count, p=mix)
        value = np.where(rng.random(len(user)) < sticky, own[user], rng.choice(len(mix), len(user), p=mix))
        place = (first + user, value)
        sides.append(sparse.csr_array((np.ones(len(user)), place), shape=(sum(users), len(mix))))
        first += count
    return chance(sides[0], sides[1]).distance()


def test_a_replaced_tail_is_seen_although_its_share_is_the_same() -> None:
    rng = np.random.default_rng(9)
    before, now = np.r_[zipf(300), np.zeros(150)], np.r_[zipf(300), np.zeros(150)]
    now[300:], now[150:300] = zipf(300)[150:], 0  # 11 % of the requests have values that were not there
    found = [crowd(rng, (300, 300), now, before, sticky=0.2) for _ in range(30)]
    assert np.mean([d.clear for d in found]) >= 0.95
    quiet = [crowd(rng, (300, 300), before, before, sticky=0.2) for _ in range(30)]
    assert np.mean([d.value for d in found]) > 3 * np.mean([d.value for d in quiet])


def test_three_points_are_seen_among_thousands_of_values() -> None:
    rng, moved = np.random.default_rng(10), zipf(3000)
    moved[[0, 4]] += [-0.03, 0.03]
    found = [crowd(rng, (300, 300), moved, zipf(3000), sticky=0.0) for _ in range(30)]
    assert np.mean([d.clear for d in found]) >= 0.9


@pytest.mark.parametrize(("now", "before"), [([[0, 0], [0, 0]], [[5, 1], [2, 2]]), ([[5, 1], [2, 2]], [[0, 0], [0, 0]]),
                                             ([[9, 1], [0, 0]], [[1, 9], [0, 0]])])  # fmt: skip
def test_an_empty_side_or_a_single_user_cannot_tell(now: list[list[float]], before: list[list[float]]) -> None:
    found = chance(np.array(now, dtype=float), np.array(before, dtype=float)).distance()
    assert math.isnan(found.value)
    assert math.isnan(found.noise)
    assert math.isnan(found.high)
    assert not found.clear


def test_what_all_users_have_alike_is_no_distance() -> None:
    for table in ([[9.0], [4.0]], [[6.0, 3.0], [4.0, 2.0]]):
        found = chance(np.array(table), 2 * np.array(table)).distance()
        assert found == Distance(value=0.0, low=0.0, high=0.0, noise=0.0, n=np.sum(table))
