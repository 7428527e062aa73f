"""A change splits into parts that sum to it, whatever the numbers; and their intervals hold when users repeat."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as npst

import kpi
from kpi.errors import MetricError, SliceError
from kpi.explain.decomposition.rate_mix import _collected, _described, split
from kpi.measure.metrics import METRICS
from kpi.store.engines import DuckSource

pytestmark = pytest.mark.slow

counts = npst.arrays(float, 5, elements=st.integers(0, 1000).map(float))
filled = npst.arrays(float, 5, elements=st.integers(0, 1000).map(float)).filter(lambda x: x.sum() > 0)


@settings(max_examples=100)
@given(y1=counts, x1=filled, y0=counts, x0=filled)
def test_effects_sum_to_the_change_in_any_order_and_unit(
    y1: np.ndarray, x1: np.ndarray, y0: np.ndarray, x0: np.ndarray
) -> None:
    effects = np.array(split(y1, x1, y0, x0))
    size = max(1.0, np.abs(effects).max())
    assert effects.sum() == pytest.approx(y1.sum() / x1.sum() - y0.sum() / x0.sum(), abs=1e-9 * size)
    order = [3, 0, 4, 1, 2]
    assert np.array(split(*(v[order] for v in (y1, x1, y0, x0)))) == pytest.approx(effects[:, order], abs=1e-9 * size)
    assert np.array(split(y1 * 1e3, x1, y0 * 1e3, x0)) == pytest.approx(effects * 1e3, abs=1e-6 * size)
    back = np.array(split(y0, x0, y1, x1))[[0, 1, 3, 2]]  # what entered leaves on the way back
    assert back == pytest.approx(-effects, abs=1e-9 * size)


def test_effects_by_hand() -> None:
    # a: 80 of 100 -> 60 of 100; b: 100 of 100 both times; c enters with 50 of 100, d leaves with 0 of 100
    y1, x1 = np.array([60.0, 100, 50, 0]), np.array([100.0, 100, 100, 0])
    y0, x0 = np.array([80.0, 100, 0, 0]), np.array([100.0, 100, 0, 100])
    rate, mix, entering, leaving = split(y1, x1, y0, np.where(x0 > 0, x0, 0))
    assert rate == pytest.approx([-0.2 / 3, 0, 0, 0])
    assert mix == pytest.approx([0, 0, 0, 0])
    middle = (0.7 + 0.6) / 2
    assert entering == pytest.approx([0, 0, (0.5 - middle) / 3, 0])
    assert leaving == pytest.approx([0, 0, 0, (middle - 0) / 3])


def test_intervals_hold_when_users_repeat() -> None:
    rng = np.random.default_rng(4)
    users, size, values = 120, 8, ("en", "es", "fr")
    base, now_rate = np.array([0.8, 0.7, 0.6]), np.array([0.8, 0.55, 0.6])
    w0, w1 = np.array([0.6, 0.3, 0.1]), np.array([0.45, 0.35, 0.2])
    middle = ((w1 * now_rate).sum() + (w0 * base).sum()) / 2
    truth = {
        "rate": ((w1 + w0) / 2 * (now_rate - base)).sum(), "mix": ((w1 - w0) * (now_rate + base) / 2).sum(),
        "es": (w1 + w0)[1] / 2 * (now_rate - base)[1] + (w1 - w0)[1] * ((now_rate + base)[1] / 2 - middle),
    }  # fmt: skip
    kept = dict.fromkeys(truth, 0)
    runs = 300
    for _ in range(runs):
        user, side, group, y, x = [], [], [], [], []
        for s, rates, shares in ((0, base, w0), (1, now_rate, w1)):
            of = rng.choice(3, users, p=shares)  # a user has one language in a window
            p = rng.beta(rates[of] * 3, (1 - rates[of]) * 3)
            n = rng.integers(1, 2 * size, users)
            user.append(np.arange(users) + s * users // 2)  # half of them come back
            side.append(np.full(users, s))
            group.append(of)
            y.append(rng.binomial(n, p).astype(float))
            x.append(n.astype(float))
        data = _collected(*(np.concatenate(v) for v in (user, side, group, y, x)), 3)
        found = _described(data, values, METRICS["task_success"], "language")
        es = found.parts.set_index("value").loc["es"]
        for name, low, high in (
            ("rate", found.rate.low, found.rate.high), ("mix", found.mix.low, found.mix.high), ("es", es.low, es.high),
        ):  # fmt: skip
            kept[name] += low <= truth[name] <= high
    assert all(0.92 <= k / runs <= 0.98 for k in kept.values()), kept


@pytest.mark.parametrize("metric", ["task_success", "cost_per_resolved", "cached_share", "incident_rate"])
def test_whole_and_parts_are_those_of_summarise(sample: DuckSource, metric: str) -> None:
    here = kpi.Slice(last="28d")
    found = kpi.decompose(sample, metric, here, by=["language", "intent", "model"])
    assert [d.differs for d in found] == sorted((d.differs for d in found), reverse=True)
    now = kpi.summarise(sample, metric, here)["value"].iloc[0]
    for d in found:
        assert d.now == pytest.approx(now, rel=1e-12)
        assert d.change.value == pytest.approx(d.now - d.before, abs=1e-9)
        assert d.parts["effect"].sum() == pytest.approx(d.change.value, abs=1e-9)
        sums = d.rate.value + d.mix.value + d.entering.value + d.leaving.value
        assert sums == pytest.approx(d.change.value, abs=1e-9)
        assert d.change.low < d.change.value < d.change.high
    by_value = kpi.summarise(sample, metric, here, by=["language"]).dropna(subset=["language"]).set_index("language")
    parts = next(d for d in found if d.by == "language").parts.set_index("value")
    assert parts["now"].to_dict() == pytest.approx(by_value["value"].to_dict(), rel=1e-12)


def test_versions_without_times_and_rare_values(sample: DuckSource) -> None:
    rng = np.random.default_rng(1)
    n = 4000
    frame = pd.DataFrame({
        "user_key": rng.integers(0, 300, n).astype(str), "model": rng.choice(["a", "b"], n),
        "task": rng.integers(0, 200, n).astype(str), "success": rng.random(n) < 0.7,
    })  # fmt: skip
    slice = kpi.Slice(last="all", baseline="model:a").where(model="b")
    (found,) = kpi.decompose(kpi.from_frame(frame), "task_success", slice, by="task")
    assert len(found.parts) == 60
    assert "(other)" in set(found.parts["value"])
    assert found.parts["effect"].sum() == pytest.approx(found.change.value, abs=1e-9)
    rate = frame.groupby("model")["success"].mean()
    assert found.change.value == pytest.approx(rate["b"] - rate["a"])


def test_what_one_user_carries_has_no_interval() -> None:
    def source(users: list[str], sides: list[str]) -> kpi.Source:
        return kpi.from_frame(pd.DataFrame({
            "user_key": users, "model": sides, "language": ["en", "en", "es"] * 4, "total_us": 1000,
            "success": [True, False, True, True, False, True, False, False, True, True, False, True],
        }))  # fmt: skip

    slice = kpi.Slice(last="all", baseline="model:a").where(model="b")
    alone = source(["one"] * 6 + ["two"] * 6, ["a"] * 6 + ["b"] * 6)
    (found,) = kpi.decompose(alone, "task_success", slice, by="language")
    assert np.isnan([found.change.low, found.change.high, found.rate.low]).all()
    assert np.isnan(kpi.latency_stages(alone, slice).change.low)
    (found,) = kpi.decompose(
        source(["p", "q", "r", "p", "q", "r"] * 2, ["a"] * 6 + ["b"] * 6), "task_success", slice, by="language"
    )
    parts = found.parts.set_index("value")
    assert found.change.low < found.change.high
    assert np.isnan(parts.loc["es", "low"])  # one user
    assert parts.loc["en", "low"] <= parts.loc["en", "high"]


def test_what_cannot_be_split_says_what_to_do(sample: DuckSource) -> None:
    with pytest.raises(MetricError, match="no exact split"):
        kpi.decompose(sample, "latency_p95", by="language")
    with pytest.raises(MetricError, match="no dimension"):
        kpi.decompose(sample, "task_success", by="nowhere")
    with pytest.raises(SliceError, match="nothing to compare"):
        kpi.decompose(sample, "task_success", kpi.Slice(baseline="none"), by="language")
    with pytest.raises(MetricError, match="in the window"):
        kpi.decompose(sample, "task_success", kpi.Slice().where(language="(none)"), by="intent")
