"""Are the intervals honest? 95 % limits against known truth, in worlds where users repeat and where nobody does.

The clustered law: geometric(1/20) requests a user, log-normal latency and cost and logistic success, each with a user
effect (design effect about 3 for success, 5 for p95). The truths are closed forms, not estimates. Statistics are built
straight from numpy, thousands of repetitions at once; one test holds that against what the SQL returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from scipy import integrate, stats

from kpi.measure import estimate
from kpi.measure.cells import Grouping
from kpi.measure.estimate import LOG_BASE, Histogram
from kpi.measure.metrics import METRICS
from kpi.measure.moments import Sums
from kpi.measure.statistics import StatisticsQuery
from kpi.store.engines import from_frame

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
CASES = ("success", *QUANTILES, "cost_per_query", "cost_per_resolved")
# users or requests -> repetitions: the Monte Carlo error of a coverage of 95 % is then 0.3 to 0.6 points
CLUSTERED = {50: 5000, 200: 4000, 1000: 1600}
INDEPENDENT = {20: 6000, 50: 6000, 200: 5000}

LATENCY, COST, SUCCESS = (6.5, 0.5, 0.33), (-5.5, 0.9, 0.63), (1.65, 0.6)  # mean, within users, between users


def truths() -> dict[str, float]:
    """Exact values of the law, in microseconds, nano-dollars and shares."""
    spread = np.hypot(*LATENCY[1:])
    success = integrate.quad(lambda e: stats.norm.pdf(e) / (1 + np.exp(-SUCCESS[0] - SUCCESS[1] * e)), -12, 12)[0]
    # the user effects of cost and of success are independent, and so is the number of requests
    cost = np.exp(COST[0] + (COST[1] ** 2 + COST[2] ** 2) / 2) * 1e9
    latency = {k: float(np.exp(LATENCY[0] + spread * stats.norm.ppf(q)) * 1e3) for k, q in QUANTILES.items()}
    return {"success": success, **latency, "cost_per_query": cost, "cost_per_resolved": cost / success}


@dataclass(frozen=True, kw_only=True)
class World:
    """Requests of many repetitions: arrays of one length. user is unique over repetitions."""

    repetition: np.ndarray
    user: np.ndarray
    latency: np.ndarray
    cost: np.ndarray
    success: np.ndarray
    users: int
    repetitions: int


def draw(rng: np.random.Generator, *, users: int, repetitions: int, clustered: bool) -> World:
    """Requests of `repetitions` worlds with `users` users each; one request a user unless `clustered`."""
    total = users * repetitions
    size = rng.geometric(1 / 20, total) if clustered else np.ones(total, dtype=int)
    user = np.repeat(np.arange(total), size)
    n = len(user)

    def effect(scale: float) -> np.ndarray:
        return rng.normal(0, scale, total)[user]

    latency = np.exp(rng.normal(LATENCY[0], LATENCY[1], n) + effect(LATENCY[2])) * 1e3
    cost = np.exp(rng.normal(COST[0], COST[1], n) + effect(COST[2])) * 1e9
    success = rng.random(n) < 1 / (1 + np.exp(-SUCCESS[0] - effect(SUCCESS[1])))
    return World(
        repetition=user // users, user=user, latency=np.maximum(np.rint(latency), 1), cost=np.rint(cost),
        success=success.astype(float), users=users, repetitions=repetitions,
    )  # fmt: skip


def sums(world: World, y: np.ndarray, x: np.ndarray) -> Sums:
    """`Sums` of y / x for each repetition."""
    total = world.users * world.repetitions
    fold = lambda v: v.reshape(world.repetitions, world.users).sum(axis=1)  # noqa: E731
    a, b = np.bincount(world.user, y, total), np.bincount(world.user, x, total)
    n = np.bincount(world.repetition, minlength=world.repetitions).astype(float)
    return Sums(
        n=n, y=fold(a), x=fold(b), clusters=np.full(world.repetitions, float(world.users)),
        yy=fold(a * a), yx=fold(a * b), xx=fold(b * b),
        yyy=fold(a**3), yyx=fold(a * a * b), yxx=fold(a * b * b), xxx=fold(b**3),
    )  # fmt: skip


def histograms(world: World, values: np.ndarray) -> list[Histogram]:
    """`Histogram` of positive values for each repetition."""
    bins = np.floor(np.log(values) / np.log(LOG_BASE)).astype(np.int64)
    width = int(bins.max()) + 1
    cell, n = np.unique(world.user * width + bins, return_counts=True)
    user, b = cell // width, cell % width
    size = np.bincount(user, n)[user]
    before = np.cumsum(n) - n
    opens = np.r_[True, user[1:] != user[:-1]]
    upto = before + n - np.maximum.accumulate(np.where(opens, before, 0))
    key, where = np.unique((user // world.users) * width + b, return_inverse=True)
    columns = [np.bincount(where, w) for w in (n, n * (2 * upto - n), n * size, opens.astype(float))]
    cuts = np.searchsorted(key // width, np.arange(world.repetitions + 1))
    parts = [(key % width).astype(float), *columns]
    return [
        Histogram(**{f: p[lo:hi] for f, p in zip(("bins", "count", "square", "cross", "first"), parts, strict=True)})
        for lo, hi in pairwise(cuts)
    ]


@cache
def limits(users: int, clustered: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """95 % limits of every case over all repetitions of a world, NaN where the estimator knows none."""
    repetitions = (CLUSTERED if clustered else INDEPENDENT)[users]
    rng = np.random.default_rng([20260914, users, clustered])
    left, found = repetitions, []
    while left:
        batch = min(left, max(1, 2_000_000 // (users * (20 if clustered else 1))))
        left -= batch
        found.append(_limits(draw(rng, users=users, repetitions=batch, clustered=clustered)))
    return {c: tuple(np.concatenate([f[c][side] for f in found]) for side in (0, 1)) for c in CASES}


def _limits(world: World) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    one = np.ones(len(world.user))
    ratios = {
        "success": estimate.rate(sums(world, world.success, one)),
        "cost_per_query": estimate.ratio(sums(world, world.cost, one)),
        "cost_per_resolved": estimate.ratio(sums(world, world.cost, world.success)),
    }
    found = {name: (e.low, e.high) for name, e in ratios.items()}
    shapes = histograms(world, world.latency)
    for name, q in QUANTILES.items():
        table = np.array([estimate.quantile(h, q) for h in shapes])
        found[name] = (table[:, 1], table[:, 2])
    return found


def coverage(users: int, case: str, *, clustered: bool) -> float:
    """Share of repetitions whose interval holds the truth; an unknown limit bounds nothing."""
    low, high = limits(users, clustered)[case]
    truth = truths()[case]
    return float(np.mean(~(low > truth) & ~(high < truth)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("users", [200, 1000])
def test_many_users(users: int, case: str) -> None:
    assert 0.93 <= coverage(users, case, clustered=True) <= 0.97


@pytest.mark.parametrize("case", CASES)
def test_fifty_users(case: str) -> None:
    assert coverage(50, case, clustered=True) >= 0.90


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("requests", INDEPENDENT)
def test_independent_requests(requests: int, case: str) -> None:
    assert coverage(requests, case, clustered=False) >= 0.90


@pytest.mark.parametrize(("requests", "case"), [(20, "p95"), (50, "p95"), (20, "p99"), (50, "p99"), (200, "p99")])
def test_no_limit_is_invented(requests: int, case: str) -> None:
    assert np.isnan(limits(requests, False)[case][1]).all()


def test_bounds_are_known_where_data_suffices() -> None:
    for users in (200, 1000):
        for case in CASES:
            low, high = limits(users, True)[case]
            assert not np.isnan(low).any(), (users, case)
            assert np.isnan(high).mean() < (0.5 if (users, case) == (200, "p99") else 1e-3), (users, case)


@pytest.mark.parametrize("clustered", [True, False])
def test_numpy_statistics_equal_those_of_the_engine(clustered: bool) -> None:
    """The shortcut above and the SQL return the same sums and the same histograms, so their coverage is the same."""
    world = draw(np.random.default_rng(3), users=40, repetitions=3, clustered=clustered)
    source = from_frame(
        pa.table(
            {
                "user_key": [str(u) for u in world.user],
                "model": [str(r) for r in world.repetition],
                "success": world.success.astype(bool),
                "resolved": world.success.astype(bool),
                "total_nusd": world.cost.astype(np.int64),
                "total_us": world.latency.astype(np.int64),
            }
        )
    )
    metrics = [METRICS[m] for m in ("task_success", "cost_per_query", "cost_per_resolved", "latency_p95")]
    plan = StatisticsQuery(source, metrics, [Grouping(by=("model",))])
    cells = plan.read(source.run(plan.statement((), None, "UTC")).to_pandas())[0]
    assert cells.keys == [("0",), ("1",), ("2",)]
    one = np.ones(len(world.user))
    for m, y, x in zip(metrics, (world.success, world.cost, world.cost), (one, one, world.success), strict=False):
        ours, theirs = sums(world, y, x), cells.ratio(m)
        fields = (
            "n",
            "y",
            "x",
            "clusters",
            "yy",
            "yx",
            "xx",
            *(("yyy", "yyx", "yxx", "xxx") if m.kind == "ratio" else ()),
        )
        for f in fields:
            np.testing.assert_allclose(getattr(theirs, f), getattr(ours, f), rtol=1e-12, err_msg=f"{m.name} {f}")
    for ours, theirs in zip(histograms(world, world.latency), cells.histograms("total_us"), strict=True):
        for f in ("bins", "count", "square", "cross", "first"):
            np.testing.assert_array_equal(getattr(theirs, f), getattr(ours, f), err_msg=f)
