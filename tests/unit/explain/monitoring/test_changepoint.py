"""The running watch finds a real fall in time and stays quiet otherwise; change points of complete series."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import optimize, special

import kpi
from kpi.explain.monitoring.changepoint import LEARNED, change_points, cusum_limit, outliers, self_starting, sums

pytestmark = pytest.mark.slow

SPREAD = 0.6  # of users on the log-odds scale: with 20 requests a user the design effect is 2.9
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


def _log_odds(share: float) -> float:
    mean = lambda a: float((_WEIGHTS * special.expit(a + SPREAD * _NODES)).sum() / _WEIGHTS.sum()) - share  # noqa: E731
    return optimize.brentq(mean, -9, 9)


BEFORE, AFTER = _log_odds(0.82), _log_odds(0.79)


def _days(rng: np.random.Generator, days: int, requests: int, fall: int | None) -> tuple[np.ndarray, ...]:
    """(share, user-robust standard error, requests, design effect) by day, 20 requests a user."""
    found = []
    for day in range(days):
        size, own = rng.geometric(1 / 20, requests // 20), rng.normal(0, SPREAD, requests // 20)
        level = AFTER if fall is not None and day >= fall else BEFORE
        y = rng.binomial(size, special.expit(level + own))
        n, share = size.sum(), y.sum() / size.sum()
        variance = ((y - share * size) ** 2).sum() * len(size) / (len(size) - 1) / n**2
        found.append((share, np.sqrt(variance), n, variance * n / (share * (1 - share))))
    return tuple(np.array(column) for column in zip(*found, strict=True))


def _noticed(share: np.ndarray, error: np.ndarray, n: np.ndarray) -> int | None:
    k = round(0.03 / float(np.median(error[:LEARNED])) / 2, 2)
    up, down = sums(self_starting(share, error, n), k)
    over = np.flatnonzero(np.fmax(up, down) > cusum_limit(k, 1800.0))
    return int(over[0]) if len(over) else None


@pytest.mark.parametrize("requests", [500, 1000, 2000])
def test_three_points_are_noticed_within_8000_requests(requests: int) -> None:
    """82 to 79 % after eight weeks, design effect 2.9, tuned to one false alarm a quarter over 20 KPIs."""
    rng = np.random.default_rng(requests)
    delays, effects, early = [], [], 0
    for _ in range(300):
        share, error, n, effect = _days(rng, 100, requests, fall=56)
        at = _noticed(share, error, n)
        effects.append(effect.mean())
        if at is not None and at < 56:
            early += 1
        else:
            delays.append(n[56 : 100 if at is None else at + 1].sum())
    assert 2.5 < np.mean(effects) < 3.2
    assert np.mean(delays) <= 8_000
    assert early <= 36  # of 300 worlds of six watched weeks: 7 expected if the level were known


def test_an_unchanged_level_stays_quiet() -> None:
    rng = np.random.default_rng(3)
    alarms = sum(_noticed(*_days(rng, 90 + LEARNED, 2000, fall=None)[:3]) is not None for _ in range(300))
    assert alarms / 300 * 20 <= 3.0  # a quarter of 20 KPIs


def test_what_is_watched_is_standard_normal_while_nothing_changes() -> None:
    rng = np.random.default_rng(4)
    z = np.concatenate([self_starting(*_days(rng, 60, 1000, fall=None)[:3])[LEARNED:] for _ in range(150)])
    assert abs(z.mean()) < 0.05
    assert z.std() == pytest.approx(1.0, abs=0.06)


def _source(fall: bool) -> kpi.Source:
    return kpi.from_frame(_rows(fall))


def _rows(fall: bool) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    start, rows = datetime(2026, 7, 1, tzinfo=UTC), []
    for day in range(60):
        level = AFTER - 0.6 if fall and day >= 40 else BEFORE
        for user in range(15):
            own = rng.normal(0, SPREAD)
            rows += [
                {"user_key": f"u{day}-{user}", "started_at": start + timedelta(days=day, minutes=int(m)),
                 "success": bool(rng.random() < special.expit(level + own))}
                for m in rng.integers(0, 1440, rng.geometric(1 / 20))
            ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_watch_over_the_data_says_when_how_much_and_since() -> None:
    (alarm,) = kpi.detect(_source(fall=True), "task_success").alarms
    assert alarm.direction == "down"
    assert abs((alarm.since - datetime(2026, 8, 10)).days) <= 3
    assert alarm.since <= alarm.at
    assert alarm.value < 0.72 < 0.79 < alarm.was
    quiet = kpi.detect(_source(fall=False), "task_success")
    assert quiet.alarms == ()
    assert len(quiet.series) == 60
    assert quiet.series["z"].notna().sum() == 60 - LEARNED


def test_a_watch_needs_a_metric_with_an_interval_and_says_so() -> None:
    with pytest.raises(kpi.KpiError, match="no interval"):
        kpi.detect(_source(fall=False), "requests")


def test_too_little_data_raises_no_alarm() -> None:
    frame = pd.DataFrame({"user_key": ["a", "b"], "success": [True, False],
                          "started_at": [datetime(2026, 7, 1, tzinfo=UTC)] * 2})  # fmt: skip
    found = kpi.detect(kpi.from_frame(frame), "task_success")
    assert found.alarms == ()


@given(
    st.lists(st.integers(20, 60), min_size=2, max_size=5), st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 1, 1e6])
)
@settings(max_examples=60)
def test_clear_levels_are_found_exactly_in_any_unit(lengths: list[int], seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    levels = np.repeat(np.arange(len(lengths)) % 2, lengths)
    values = (levels + rng.normal(0, 0.02, len(levels))) * unit + 3 * unit
    assert change_points(values) == list(np.cumsum(lengths)[:-1])


def test_gaps_are_skipped_and_constants_never_change() -> None:
    series = np.repeat([0.0, 5.0], 30) + np.random.default_rng(1).normal(0, 0.3, 60)
    series[10:20] = np.nan
    assert change_points(series) == [30]
    assert change_points([4.0] * 50) == change_points([]) == change_points([1.0, 2.0]) == []


@given(st.integers(8, 60), st.integers(8, 60), st.integers(0, 2**32 - 1), st.data())
@settings(max_examples=80)
def test_one_odd_value_neither_makes_nor_hides_a_change(
    before: int, after: int, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    values = np.repeat([0.80, 0.72], [before, after]) + rng.normal(0, 0.01, before + after)
    at = data.draw(st.integers(2, len(values) - 3).filter(lambda i: abs(i - before) > 3))
    clean = change_points(values)
    odd = values.copy()
    odd[at] += data.draw(st.sampled_from([-1.0, -0.4, 0.4, 5.0]))
    assert outliers(odd) == [at]
    assert change_points(odd) == clean == [before]
    level = rng.normal(0, 1, before + after + 20)
    without = np.where(np.arange(len(level)) == at, np.nan, level)
    level[at] += data.draw(st.sampled_from([-60.0, 25.0]))
    assert change_points(level) == change_points(without)


def test_what_recurs_is_no_outlier_and_neither_are_levels_and_slopes() -> None:
    rng = np.random.default_rng(6)
    week = np.where(np.arange(84) % 7 == 6, 2.0, 5.0) + rng.normal(0, 0.1, 84)
    assert outliers(week) == []
    assert outliers(np.arange(50.0) + rng.normal(0, 0.1, 50)) == []
    assert outliers(np.repeat([0.0, 9.0, 3.0], 20) + rng.normal(0, 0.1, 60)) == []
    assert outliers([4.0] * 30) == outliers([1.0, 9.0, 1.0, 1.0]) == []
    quiet = sum(len(outliers(rng.normal(0, 1, 90))) for _ in range(300))
    assert quiet <= 9  # of 27,000 days
    assert outliers([np.nan, 1.0, 1.1, np.nan, 0.9, 7.0, 1.0, np.nan, 1.1, 0.9, 1.0, 1.1]) == [5]


def _with_odd_day(odd: int, *, fall: bool) -> kpi.Source:
    """60 days, on one of which every request fails."""
    frame = _rows(fall)
    bad = frame["started_at"].dt.date == (datetime(2026, 7, 1) + timedelta(days=odd)).date()
    return kpi.from_frame(frame.assign(success=frame["success"] & ~bad))


@pytest.mark.parametrize("odd", [5, 25, 50])
def test_an_odd_day_is_named_and_raises_no_alarm(odd: int) -> None:
    quiet = kpi.detect(_with_odd_day(odd, fall=False), "task_success")
    (named,) = quiet.outliers
    assert (named.at, named.value) == (datetime(2026, 7, 1) + timedelta(days=odd), 0.0)
    assert 0.7 < named.usual < 0.95
    assert quiet.alarms == ()
    fallen = kpi.detect(_with_odd_day(odd, fall=True), "task_success")
    assert [o.at for o in fallen.outliers] == [named.at]
    (alarm,) = fallen.alarms
    assert abs((alarm.since - datetime(2026, 8, 10)).days) <= 3
