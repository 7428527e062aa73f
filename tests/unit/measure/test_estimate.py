"""Intervals against published tables and independent libraries.

A handful of the published numbers stand here, so that the test says something without the folder of reference data too.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings, strategies as st
from scipy import stats

from kpi.measure import estimate
from kpi.measure.estimate import LOG_BASE, Histogram
from kpi.measure.moments import Sums, design_effect, spread
from tests.plain import histogram, sums

NEWCOMBE = [  # Newcombe 1998, Stat Med 17:857, table I
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0, 0.1611),
    (1, 29, 0.0061, 0.1718),
]
LEAST = [(0.95, 72), (0.99, 368)]  # requests from which a two-sided 95 % upper limit of p95, p99 exists


def distinct_bins(n: int) -> np.ndarray:
    """n values in n different bins, so that a rank can be read off a limit."""
    return LOG_BASE ** (np.arange(n) + 500.5)


def ranks(n: int, q: float) -> tuple[float, float]:
    """1-based ranks of the order statistics that bound a quantile of n independent values; NaN where there is none."""
    h = histogram(distinct_bins(n), np.arange(n))
    _, low, high, _, _ = estimate.quantile(h, q)
    found = [np.nan if np.isnan(v) else 1 + float(np.argmin(np.abs(h.low - v))) for v in (low, high)]
    return found[0], found[1]


@pytest.mark.parametrize(("successes", "n", "low", "high"), NEWCOMBE)
def test_wilson_published(successes: int, n: int, low: float, high: float) -> None:
    np.testing.assert_allclose(estimate.wilson(successes, n), (low, high), atol=6e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(case: tuple[int, int]) -> None:
    theirs = stats.binomtest(*case).proportion_ci(method="wilson")
    np.testing.assert_allclose(estimate.wilson(*case), (theirs.low, theirs.high), atol=1e-12)


def test_wilson_reference(shared: Path) -> None:
    oracles = [o for o in json.loads((shared / "oracles.json").read_text())["oracles"] if o["id"].startswith("wilson-")]
    assert len(oracles) >= 4
    for o in oracles:
        np.testing.assert_allclose(estimate.wilson(**o["inputs"]), o["expected"], atol=o["tolerance"], err_msg=o["id"])


def test_rate_of_independent_requests_is_plain_wilson() -> None:
    y = np.r_[np.ones(81), np.zeros(182)]
    e = estimate.rate(sums(y, np.ones(263), np.arange(263)))
    np.testing.assert_allclose((e.low[0], e.high[0]), (0.2553, 0.3662), atol=6e-5)
    assert (e.value[0], e.n[0], e.clusters[0]) == (pytest.approx(81 / 263), 263, 263)


@pytest.mark.parametrize("events", [0, 1, 3, 10, 137])
def test_garwood_inverts_the_poisson_law(events: int) -> None:
    low, high = estimate.garwood(events)
    assert stats.poisson.cdf(events, high) == pytest.approx(0.025, abs=1e-9)
    if events:
        assert stats.poisson.sf(events - 1, low) == pytest.approx(0.025, abs=1e-9)
    else:
        assert low == 0
        assert high == pytest.approx(3.688879, abs=1e-6)  # -ln 0.025


def test_garwood_published() -> None:
    np.testing.assert_allclose(
        estimate.garwood(10), (4.795, 18.390), atol=1e-3
    )  # Garwood 1936; Pearson and Hartley table 40


@pytest.mark.parametrize("seed", range(5))
def test_ratio_variance_is_the_cluster_robust_wls(seed: int) -> None:
    """Cluster delta of a ratio of sums equals WLS of y/x on 1 with weights x and cluster-robust covariance."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, 40, 500)
    x = rng.integers(1, 9, 500).astype(float)
    y = rng.gamma(2, 1, 500) * x * np.exp(rng.normal(0, 0.4, 40)[user])
    s = sums(y, x, user)
    fit = sm.WLS(y / x, np.ones(500), weights=x).fit(
        cov_type="cluster", cov_kwds={"groups": user, "df_correction": False, "use_correction": False}
    )
    assert float(s.y[0] / s.x[0]) == pytest.approx(fit.params[0], rel=1e-12)
    ours = np.sqrt(spread(s).second[0]) / s.x[0]
    assert ours == pytest.approx(fit.bse[0], rel=1e-6)


def test_ratio_interval_holds_the_linear_one_loosely() -> None:
    """With many light users the envelope closes in on the textbook cluster-delta interval."""
    rng = np.random.default_rng(7)
    user = np.repeat(np.arange(2000), 5)
    y = rng.normal(10, 2, 10_000) + rng.normal(0, 1, 2000)[user]
    s = sums(y, np.ones(10_000), user)
    e = estimate.ratio(s)
    half = stats.t.ppf(0.975, 1999) * np.sqrt(spread(s).user[0]) / s.x[0]
    assert 0.99 <= (e.high[0] - e.low[0]) / (2 * half) <= 1.03
    assert e.low[0] < e.value[0] < e.high[0]


def test_design_effect_of_whole_users() -> None:
    """Users who always do the same: m requests each are worth one, so the effect is m times the 1 + 2 / G of CR3."""
    user = np.repeat(np.arange(100), 8)
    y = np.repeat(np.arange(100) % 4 == 0, 8).astype(float)
    s = sums(y, np.ones(800), user)
    assert design_effect(s, cautious=False)[0] == pytest.approx(8 * 1.02)
    assert design_effect(s)[0] == pytest.approx(8 * 1.02)  # 25 carriers, but what they show is more than the caution
    e = estimate.rate(s)
    n = 100 / 1.02
    np.testing.assert_allclose((e.low[0], e.high[0]), estimate.wilson(n / 4, n, stats.t.ppf(0.975, 99)), atol=1e-8)


def test_incidence_of_independent_requests_is_garwood() -> None:
    y = np.r_[np.ones(10), np.zeros(990)]
    e = estimate.incidence(sums(y, np.ones(1000), np.arange(1000)))
    np.testing.assert_allclose((e.low[0] * 1000, e.high[0] * 1000), (4.795, 18.390), atol=0.02)


def test_median_of_25_is_bounded_by_8_and_18() -> None:
    assert ranks(25, 0.5) == (8, 18)


@pytest.mark.parametrize(("q", "least"), LEAST)
def test_least_n_with_an_upper_limit(q: float, least: int) -> None:
    assert np.isnan(ranks(least - 1, q)[1])
    assert ranks(least, q)[1] == least


def test_order_statistics_reference(shared: Path) -> None:
    oracles = {o["id"]: o for o in json.loads((shared / "oracles.json").read_text())["oracles"]}
    median = oracles["median-order"]
    assert list(ranks(median["inputs"]["n"], median["inputs"]["p"])) == median["expected"]
    for q, least in zip((0.95, 0.99), oracles["quantile-min-n"]["expected"], strict=True):
        assert np.isnan(ranks(least - 1, q)[1])
        assert np.isfinite(ranks(least, q)[1])


def test_conover_quantile() -> None:
    """Conover 1999, p. 139: the test of upper quartile = 193 gives p = .0346, so 193 lies outside the 95 % interval."""
    x = np.array([189, 233, 195, 160, 212, 176, 231, 185, 199, 213, 202, 193, 174, 166, 248], dtype=float)
    assert stats.quantile_test(x, q=193, p=0.75).pvalue == pytest.approx(0.0346, abs=5e-5)
    value, low, high, n, users = estimate.quantile(histogram(x, np.arange(15)), 0.75)
    theirs = stats.quantile_test(x, q=193, p=0.75).confidence_interval(0.95)
    assert (n, users) == (15, 15)
    assert value == pytest.approx(np.quantile(x, 0.75), rel=0.005)
    assert low > 193 * 1.005
    assert low == pytest.approx(theirs.low, rel=0.005)
    assert high == pytest.approx(theirs.high, rel=0.005)


@settings(max_examples=60)
@given(st.integers(2, 900), st.sampled_from([0.5, 0.75, 0.95, 0.99]))
def test_quantile_limits_cover_like_the_exact_binomial(n: int, q: float) -> None:
    """The ranks we choose leave at most 2.5 % on each side, exactly, under independence."""
    low, high = ranks(n, q)
    if not np.isnan(low):
        assert stats.binom.cdf(low - 1, n, q) <= 0.025 + 1e-9  # P(the low-th value exceeds the quantile)
    if not np.isnan(high):
        assert stats.binom.sf(high - 1, n, q) <= 0.025 + 1e-9


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=60), st.sampled_from([0.0, 0.01, 0.5, 0.95, 0.99, 1.0]))
def test_quantile_is_numpys_within_the_bound(values: list[int], q: float) -> None:
    x = np.array(values, dtype=float)
    value = estimate.quantile(histogram(x, np.arange(len(x))), q)[0]
    expected = np.quantile(x, q)
    assert abs(value - expected) <= 0.00501 * expected + 1e-9


def test_quantile_with_repeating_users_is_wider() -> None:
    rng = np.random.default_rng(5)
    user = np.repeat(np.arange(60), 10)
    x = np.exp(rng.normal(8, 0.3, 600) + rng.normal(0, 0.6, 60)[user])
    _, low, high, _, users = estimate.quantile(histogram(x, user), 0.5)
    _, alone_low, alone_high, _, _ = estimate.quantile(histogram(x, np.arange(600)), 0.5)
    assert users == 60
    assert low < alone_low < alone_high < high


def test_nothing_is_bounded_by_one_user() -> None:
    s = sums(np.array([1.0, 0.0, 1.0]), np.ones(3), np.zeros(3))
    for e in (estimate.rate(s), estimate.ratio(s), estimate.incidence(s)):
        assert e.value[0] == pytest.approx(2 / 3)
        assert np.isnan([e.low[0], e.high[0]]).all()
    value, low, high, n, users = estimate.quantile(histogram(np.array([5.0, 6.0, 7.0]), np.zeros(3)), 0.5)
    assert value == pytest.approx(6, rel=0.005)
    assert (n, users) == (3, 1)
    assert np.isnan([low, high]).all()


def test_no_rows_no_numbers() -> None:
    none = np.array([0.0])
    s = Sums(**dict.fromkeys(("n", "y", "x", "clusters", "yy", "yx", "xx", "yyy", "yyx", "yxx", "xxx"), none))
    for e in (estimate.rate(s), estimate.ratio(s), estimate.incidence(s)):
        assert np.isnan([e.value[0], e.low[0], e.high[0]]).all()
    empty = np.array([])
    h = Histogram(bins=empty, count=empty, square=empty, cross=empty, first=empty)
    assert np.isnan(estimate.quantile(h, 0.5)[:3]).all()


def test_constant_values_have_a_point_interval() -> None:
    e = estimate.ratio(sums(np.full(30, 4.0), np.ones(30), np.repeat(np.arange(10), 3)))
    assert (e.value[0], e.low[0], e.high[0]) == (4, 4, 4)


def test_steady_drops_the_digits_that_thread_order_decides() -> None:
    v = np.array([0.1 + 0.2, 123456.789012345, -3e-12, 0.0, np.nan])
    nudged = v * (1 + 3e-16)
    np.testing.assert_array_equal(estimate.steady(v), estimate.steady(nudged))
    np.testing.assert_allclose(estimate.steady(v)[:4], v[:4], rtol=1e-8)
