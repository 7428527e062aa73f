"""Drift: scipy's distance on plain counts, silent on unchanged data whose users repeat, awake on a real shift."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon

import kpi
from kpi.explain.monitoring.drift import EVERY_REQUEST, Distance, Shares, _divergence, _effect, distance, shares
from kpi.measure.statistics import Grouping
from kpi.measure.summary import collect
from kpi.store.engines import from_frame

pytestmark = pytest.mark.slow

MIX = np.array([0.30, 0.22, 0.16, 0.12, 0.09, 0.06, 0.03, 0.02])
NAMES = [f"intent{i}" for i in range(len(MIX))]
MONTH = 28


def window(
    rng: np.random.Generator, rows: int, mix: np.ndarray = MIX, *, per_user: int = 20, sticky: float = 0.5
) -> Shares:
    """Requests of users who come back about 20 times; half of a user's requests have that user's own intent."""
    users = rows // per_user
    sizes = 1 + rng.poisson(per_user - 1, users)
    user = np.repeat(np.arange(users), sizes)
    own = rng.choice(len(mix), users, p=mix)
    intent = np.where(rng.random(len(user)) < sticky, own[user], rng.choice(len(mix), len(user), p=mix))
    counts = np.zeros((users, len(mix)))
    np.add.at(counts, (user, intent), 1)
    n, squares = counts.sum(axis=0), (counts**2).sum(axis=0)
    return Shares(counts=dict(zip(NAMES, n, strict=True)), effect=_effect(n, squares))


def test_divergence_is_scipys() -> None:
    rng = np.random.default_rng(1)
    for k in (2, 3, 8, 40):
        a, b = rng.integers(0, 50, k) + 1, rng.integers(0, 50, k)
        p, q = a / a.sum(), b / b.sum()
        assert math.sqrt(_divergence(p, q)) == pytest.approx(jensenshannon(p, q, base=2), abs=1e-9)
    assert _divergence(np.array([1.0, 0]), np.array([0, 1.0])) == pytest.approx(1)
    assert _divergence(MIX, MIX) == 0


def test_distance_of_much_data_is_scipys() -> None:
    """With bias a vanishing part, the corrected distance is the plain one."""
    now, before = {"a": 5_000_000.0, "b": 4e6, "c": 1e6}, {"a": 4e6, "b": 4e6, "c": 2e6}
    found = distance(Shares(counts=now, effect=1.0), Shares(counts=before, effect=1.0))
    plain = jensenshannon(list(now.values()), list(before.values()), base=2)
    assert found.value == pytest.approx(plain, rel=1e-4)
    assert found.low < plain < found.high
    assert found.clear


def test_unchanged_data_of_returning_users_rarely_alarm() -> None:
    rng = np.random.default_rng(20261122)
    found = [distance(window(rng, 6000), window(rng, 6000)) for _ in range(600)]
    assert np.mean([d.clear for d in found]) <= 0.07
    assert np.mean([d.value > d.noise for d in found]) <= 0.07
    assert np.mean([d.effect > 2 for d in (window(rng, 6000) for _ in range(20))]) == 1


def test_ignoring_users_would_alarm_all_the_time() -> None:
    """The reason for the design effect: the same data, counted as independent."""
    rng = np.random.default_rng(3)
    naive = [
        distance(
            Shares(counts=window(rng, 6000).counts, effect=1.0), Shares(counts=window(rng, 6000).counts, effect=1.0)
        )
        for _ in range(60)
    ]
    assert np.mean([d.clear for d in naive]) > 0.5


def test_five_points_of_mix_are_seen() -> None:
    rng = np.random.default_rng(4)
    moved = MIX.copy()
    moved[0] -= 0.05
    moved[4] += 0.05
    found = [distance(window(rng, 10_000, moved, sticky=0.2), window(rng, 10_000, sticky=0.2)) for _ in range(100)]
    assert np.mean([d.clear for d in found]) >= 0.9
    true = jensenshannon(moved, MIX, base=2)
    assert np.mean([d.low <= true <= d.high for d in found]) >= 0.9


@pytest.mark.parametrize(
    ("now", "before"), [({}, {"a": 5.0}), ({"a": 5.0}, {}), ({}, {})]
)  # fmt: skip
def test_an_empty_side_cannot_tell(now: dict[str, float], before: dict[str, float]) -> None:
    found = distance(Shares(counts=now, effect=1.0), Shares(counts=before, effect=1.0))
    assert math.isnan(found.value)
    assert not found.clear


def test_one_value_on_both_sides_is_no_distance() -> None:
    found = distance(Shares(counts={"a": 9.0}, effect=1.0), Shares(counts={"a": 4.0}, effect=1.0))
    assert found == Distance(value=0.0, low=0.0, high=0.0, noise=0.0, n=9.0)


def rows(seed: int, *, n: int = 8000, shift: bool = False) -> pd.DataFrame:
    """Two months; in the second, intents and token counts change when `shift`."""
    rng = np.random.default_rng(seed)
    second = np.arange(n) >= n // 2
    mix = np.array([0.5, 0.3, 0.2])
    moved = np.array([0.4, 0.3, 0.3]) if shift else mix
    intent = np.where(second, rng.choice(3, n, p=moved), rng.choice(3, n, p=mix))
    tokens = rng.lognormal(6, 0.6, n) * np.where(second & shift, 1.2, 1.0)
    start = pd.Timestamp("2026-08-01", tz="UTC")
    return pd.DataFrame(
        {
            "trace_id": [f"t{i}" for i in range(n)], "user_key": [f"u{v}" for v in rng.integers(0, n // 20, n)],
            "started_at": [start + pd.Timedelta(seconds=i * 2 * MONTH * 86_400 // n) for i in range(n)],
            "intent": np.array(["a", "b", "c"])[intent], "input_tokens": tokens.astype("int64"),
            "success": rng.random(n) < 0.8,
        }
    )  # fmt: skip


@pytest.mark.parametrize("column", ["intent", "input_tokens", "success"])
def test_columns_without_change_read_so(column: str) -> None:
    clear = [kpi.drift(from_frame(rows(seed)), column).distance.clear for seed in range(12)]
    assert sum(clear) <= 3  # P(more | 5 %) = 0.2 %


@pytest.mark.parametrize("column", ["intent", "input_tokens"])
def test_columns_that_changed_read_so(column: str) -> None:
    found = kpi.drift(from_frame(rows(1, shift=True)), column)
    assert found.distance.clear
    assert "has changed" in found.sentence
    assert found.distribution["now"].sum() == pytest.approx(1)
    assert found.distribution["baseline"].sum() == pytest.approx(1)
    assert len(found.series) == MONTH


def test_shares_of_a_source_are_those_of_pandas() -> None:
    frame = rows(2, shift=True)
    (cells,) = collect(from_frame(frame), [EVERY_REQUEST], groupings=[Grouping(by=("intent",))])
    found = shares(cells)
    assert found.counts == frame["intent"].value_counts().to_dict()
    by_user = frame.groupby(["intent", "user_key"]).size().pow(2).groupby("intent").sum().sort_index()
    counts = frame["intent"].value_counts().sort_index()
    assert found.effect == pytest.approx(_effect(counts.to_numpy(float), by_user.to_numpy(float)))


def test_unknown_column_and_no_baseline_are_typed_errors() -> None:
    source = from_frame(rows(0, n=400))
    for column, view, code in (
        ("nothing", None, "drift.column"),
        ("intent", kpi.Slice(baseline="none"), "drift.no_baseline"),
    ):
        with pytest.raises(kpi.errors.MetricError) as caught:
            kpi.drift(source, column, view)
        assert caught.value.code == code
        assert caught.value.hint
