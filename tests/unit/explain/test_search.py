"""The search over segments: its statistic, its q-values, the arithmetic of a change."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kpi.explain.cells import Cells, Codes, Terms
from kpi.explain.mix import standardised
from kpi.explain.onset import onset, spread
from kpi.explain.search import q_values, search
from kpi.explain.search import tested as score_test  # pytest takes a name that begins with test for one
from kpi.explain.tell import tell

DAYS, START = 42, 28


def made(rng: np.random.Generator, n: int, *, users: int | None = None, rate: float = 0.7) -> Cells:
    """n requests, each its own cell; as many users unless told."""
    user = np.arange(n) if users is None else rng.integers(0, users, n)
    values = {"language": ("de", "en", "es"), "intent": ("billing", "returns", "shipping")}
    return Cells(
        first=date(2026, 10, 1), days=DAYS, day=rng.integers(0, DAYS, n), user=user, rows=np.ones(n),
        dims={d: Codes(v, rng.integers(0, len(v), n)) for d, v in values.items()},
        terms={"task_success": Terms((rng.random(n) < rate).astype(float), np.ones(n), "rate")},
        users=int(user.max()) + 1,
    )  # fmt: skip


def test_where_every_user_comes_once_it_is_the_pooled_two_sample_test() -> None:
    cells = made(np.random.default_rng(1), 8_000)
    now, before = cells.day >= START, cells.day < START
    y = cells.terms["task_success"].y
    p = y.mean()
    error = np.sqrt(p * (1 - p) * (1 / now.sum() + 1 / before.sum()))
    change, found, z, _ = score_test(cells, cells.terms["task_success"], now=now, before=before)
    assert change == pytest.approx(y[now].mean() - y[before].mean(), abs=1e-12)
    assert found == pytest.approx(error, rel=0.02)
    assert z == pytest.approx(change / found)


def test_rows_that_are_repeated_under_one_user_change_nothing() -> None:
    once = made(np.random.default_rng(2), 3_000)
    twice = once.where(np.repeat(np.arange(len(once)), 2))
    masks = [(c.day >= START, c.day < START) for c in (once, twice)]
    found = [
        score_test(c, Terms(c.terms["task_success"].y, c.terms["task_success"].x), now=m[0], before=m[1])
        for c, m in zip((once, twice), masks, strict=True)
    ]
    assert found[0][:3] == pytest.approx(found[1][:3])


def test_no_event_on_one_side_is_no_certainty() -> None:
    """Eight rare events before and none after, in a short window: the plain variance would call it certain."""
    cells = made(np.random.default_rng(3), 4_000, rate=0.004)
    now = cells.day >= DAYS - 2
    y = cells.terms["task_success"].y
    y[now] = 0.0
    _, error, z, _ = score_test(cells, cells.terms["task_success"], now=now, before=cells.day < START)
    assert error >= np.sqrt(y.mean() * (1 - y.mean()) / now.sum()) * 0.9
    assert abs(z) < 2


@given(st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=60))
def test_q_values_of_one_level_are_benjamini_hochberg(p: list[float]) -> None:
    found = q_values(np.array(p), np.ones(len(p), dtype=int))
    assert found == pytest.approx(stats.false_discovery_control(p), abs=1e-12)


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_rate_and_mix_effects_add_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = made(rng, int(rng.integers(50, 400)), users=20)
    now, before = cells.day >= START, cells.day < START
    if not now.any() or not before.any():
        return
    rate, _, mix = standardised(cells, "task_success", "language", now, before)
    change, _ = spread(cells, "task_success", now, before)
    assert rate + mix == pytest.approx(change, abs=1e-9)


def test_the_day_of_a_step_is_found() -> None:
    rng = np.random.default_rng(4)
    cells = made(rng, 20_000)
    cells.terms["task_success"].y[cells.day >= 33] = rng.random(int((cells.day >= 33).sum())) < 0.5
    assert onset(cells, "task_success", np.ones(len(cells), dtype=bool)) == 33


def test_a_planted_segment_is_told_and_its_parents_are_not() -> None:
    rng = np.random.default_rng(5)
    cells = made(rng, 40_000, users=2_000)
    hit = cells.mask({"language": "es", "intent": "billing"}) & (cells.day >= 34)
    cells.terms["task_success"].y[hit] = rng.random(int(hit.sum())) < 0.45
    (change,) = tell(cells, START)
    assert dict(change.where) == {"language": "es", "intent": "billing"}
    assert abs(change.day - 34) <= 1
    assert change.change == pytest.approx(-0.25, abs=0.06)
    assert change.low < change.change < change.high < 0
    assert change.q < 0.001


def test_nothing_is_told_of_noise() -> None:
    told = [tell(made(np.random.default_rng(seed), 12_000, users=700), START) for seed in range(12)]
    assert sum(map(bool, told)) <= 2


def test_a_segment_without_rows_before_is_not_searched() -> None:
    cells = made(np.random.default_rng(6), 3_000)
    late = cells.where((cells.day >= START) | ~cells.mask({"language": "es"}))
    found = search(late, START)
    assert all(("language", "es") not in f.where for f in (found.found(i) for i in range(len(found.layout))))
