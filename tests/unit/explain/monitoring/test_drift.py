"""Drift: scipy's distance on plain counts, silent on unchanged data whose users repeat, awake on a real shift."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon

import kpi
from kpi.explain.monitoring.drift import (
    EVERY_REQUEST,
    Distance,
    Shares,
    _divergence,
    _effect,
    _of_values,
    distance,
    shares,
)
from kpi.measure.cells import Grouping
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


def zipf(k: int) -> np.ndarray:
    weight = 1 / np.arange(1, k + 1)
    return weight / weight.sum()


def crowd(rng: np.random.Generator, rows: int, mix: np.ndarray, *, sticky: float) -> Shares:
    """A window of many values, most of them rare, with the design effect of each."""
    sizes = rng.geometric(1 / 20, rows // 20)
    user = np.repeat(np.arange(len(sizes)), sizes)
    own = rng.choice(len(mix), len(sizes), p=mix)
    value = np.where(rng.random(len(user)) < sticky, own[user], rng.choice(len(mix), len(user), p=mix))
    cell, count = np.unique(user * len(mix) + value, return_counts=True)
    n, squares = (np.bincount(cell % len(mix), w, len(mix)).astype(float) for w in (count, count**2))
    seen = np.flatnonzero(n)
    return _of_values([f"v{i}" for i in seen], n[seen], squares[seen])


@pytest.mark.parametrize("values", [40, 300, 3000])
@pytest.mark.parametrize("sticky", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("sizes", [(6000, 6000), (2000, 12_000)])
def test_many_rare_values_alarm_no_more_than_few(values: int, sticky: float, sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng([values, int(10 * sticky), sizes[0]])
    found = [distance(*(crowd(rng, n, zipf(values), sticky=sticky) for n in sizes)) for _ in range(150)]
    assert np.mean([d.clear for d in found]) <= 0.07
    assert np.median([d.value for d in found]) <= 0.07  # of up to 3,000 values on 2,000 rows: the bias is off


def test_a_replaced_tail_is_seen_although_its_share_is_the_same() -> None:
    rng = np.random.default_rng(9)
    before, now = np.r_[zipf(300), np.zeros(150)], np.r_[zipf(300), np.zeros(150)]
    now[300:], now[150:300] = zipf(300)[150:], 0  # 11 % of the requests have values that were not there
    found = [distance(crowd(rng, 6000, now, sticky=0.2), crowd(rng, 6000, before, sticky=0.2)) for _ in range(40)]
    assert np.mean([d.clear for d in found]) >= 0.95
    folded = [
        distance(crowd(rng, 6000, zipf(300), sticky=0.2), crowd(rng, 6000, before, sticky=0.2)) for _ in range(40)
    ]
    assert np.mean([d.value for d in found]) > 3 * np.mean([d.value for d in folded])


def test_what_only_one_side_has_is_listed_with_its_share() -> None:
    frame = rows(3)
    second = np.arange(len(frame)) >= len(frame) // 2
    tail = np.array([f"tenant{i % 40:02d}" for i in range(len(frame))])
    frame["use_case"] = np.where(second & (tail == "tenant07"), "newcomer", tail)
    frame.loc[second & (tail == "tenant08"), "use_case"] = "tenant09"
    found = kpi.drift(from_frame(frame), "use_case")
    assert found.appeared[["value", "n"]].to_numpy().tolist() == [["newcomer", 100]]
    assert found.appeared["share"].tolist() == [100 / 4000]
    assert found.vanished["value"].tolist() == ["tenant07", "tenant08"]
    assert found.turnover == "New: newcomer 2.50 %. Gone: tenant07 2.50 %, tenant08 2.50 %."
    assert len(found.distribution) == 12  # the picture folds, the distance does not
    assert found.distance.clear
    assert found.series["complete"].tolist() == [True] * MONTH


@pytest.mark.parametrize("column", ["input_tokens", "intent", "success"])
def test_a_column_that_goes_missing_is_told_in_words(column: str) -> None:
    frame = rows(4).astype({"input_tokens": "Int64", "success": "boolean"})
    rng, second = np.random.default_rng(5), np.arange(len(frame)) >= len(frame) // 2
    gone = rng.random(len(frame)) < np.where(second, 0.61, 0.02)
    frame[column] = frame[column].mask(gone, None)
    found = kpi.drift(from_frame(frame), column)
    share = [f"{100 * gone[part].mean():#.3g}" for part in (~second, second)]
    assert found.distance.clear
    assert f"unknown {share[0]} % → {share[1]} % of requests" in found.sentence
    unknown = found.distribution.set_index("value").loc["(none)"]
    assert unknown["now"] == pytest.approx(gone[second].mean())
    assert found.distribution["now"].sum() == pytest.approx(1)


def test_drift_asks_two_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    source, asked = from_frame(rows(5)), []
    kpi.resolve(source, kpi.Slice())
    kpi.drift(source, "intent")
    run = source.run
    monkeypatch.setattr(source, "run", lambda statement: (asked.append(statement), run(statement))[1])
    for column in ("intent", "input_tokens"):
        asked.clear()
        kpi.drift(source, column)
        assert len(asked) == 2
