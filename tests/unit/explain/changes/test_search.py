"""The search over segments: its statistic, its q-values, the arithmetic of a change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kpi.explain.aggregates.cube import Codes, Terms
from kpi.explain.changes.mix_shift import standardised
from kpi.explain.changes.onset import onset
from kpi.explain.changes.region import spread
from kpi.explain.changes.scan import scan
from kpi.explain.changes.selection import select_changes
from kpi.stats.multiplicity import benjamini_hochberg, weighted_p
from tests.unit.explain.worlds import START, made


@given(st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=60))
def test_what_was_not_tested_does_not_count(p: list[float]) -> None:
    assert benjamini_hochberg([*p, np.nan])[:-1] == pytest.approx(benjamini_hochberg(p), abs=1e-12)


@given(st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=60))
def test_one_level_has_the_whole_error_budget(p: list[float]) -> None:
    assert weighted_p(np.array(p), np.ones(len(p), dtype=int)) == pytest.approx(np.array(p), rel=1e-12)


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
    (change,) = select_changes(cells, START)
    assert dict(change.where) == {"language": "es", "intent": "billing"}
    assert abs(change.day - 34) <= 1
    assert change.change == pytest.approx(-0.25, abs=0.06)
    assert change.low < change.change < change.high < 0
    assert change.q < 0.001


def test_nothing_is_told_of_noise() -> None:
    told = [select_changes(made(np.random.default_rng(seed), 12_000, users=700), START) for seed in range(12)]
    assert sum(map(bool, told)) <= 2


def test_a_segment_without_rows_before_is_not_searched() -> None:
    cells = made(np.random.default_rng(6), 3_000)
    late = cells.where((cells.day >= START) | ~cells.mask({"language": "es"}))
    found = scan(late, START)
    assert all(("language", "es") not in f.where for f in (found.found(i) for i in range(len(found.partition))))


def test_another_metric_explains_only_what_failed_with_it() -> None:
    """Incidents of Spanish billing are told beside a fall of success there; escalations of failures are its company."""
    rng = np.random.default_rng(12)
    cells = made(rng, 40_000, users=2_000)
    late = cells.day >= 34
    success = cells.terms["task_success"].y
    spanish = cells.mask({"language": "es"}) & late
    success[spanish] = rng.random(int(spanish.sum())) < 0.4
    escalated = (rng.random(len(cells)) < np.where(success > 0, 0.02, 0.3)).astype(float)
    billing = cells.mask({"intent": "billing"}) & late
    incidents = (rng.random(len(cells)) < np.where(billing, 0.06, 0.01)).astype(float)
    terms = {**cells.terms, "escalation_rate": Terms(escalated, np.ones(len(cells)), "rate"),
             "incident_rate": Terms(incidents, np.ones(len(cells)), "incidence")}  # fmt: skip
    told = {c.metric: c for c in select_changes(replace(cells, terms=terms), START)}
    assert {m: dict(c.where) for m, c in told.items()} == {
        "task_success": {"language": "es"}, "incident_rate": {"intent": "billing"}}  # fmt: skip
    assert told["task_success"].also == ("escalation_rate",)


@pytest.mark.parametrize("day", [12, 20, 34])
def test_what_began_before_the_window_is_told_from_its_day(day: int) -> None:
    rng = np.random.default_rng(13)
    cells = made(rng, 40_000, users=2_000)
    hit = cells.mask({"language": "es", "intent": "billing"}) & (cells.day >= day)
    cells.terms["task_success"].y[hit] = rng.random(int(hit.sum())) < 0.45
    (change,) = select_changes(cells, START)
    assert dict(change.where) == {"language": "es", "intent": "billing"}
    assert abs(change.day - day) <= 1
    assert change.change == pytest.approx(-0.25, abs=0.06)


def test_a_mean_of_few_dear_requests_is_found() -> None:
    """A tenth of the requests of a pair costs ten times as much: a large change of the mean, little of logarithms."""
    rng = np.random.default_rng(14)
    cells = made(rng, 40_000, users=2_000)
    pair = cells.mask({"language": "es", "intent": "billing"}) & (cells.day >= 34)
    cost = np.exp(rng.normal(0, 0.7, len(cells))) * np.where(pair & (rng.random(len(cells)) < 0.1), 10.0, 1.0)
    one = np.ones(len(cells))
    found = select_changes(replace(cells, terms={"cost_per_query": Terms(cost, one, "ratio", one)}), START)
    assert [dict(c.where) for c in found] == [{"language": "es", "intent": "billing"}]


@pytest.mark.slow
def test_what_a_change_leaves_must_be_a_finding_by_itself() -> None:
    """One cause in half of the requests: of the thousands of segments beside it some seem to have a rest by chance."""
    told = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        cells = made(rng, 20_000, users=1_000, segments=6)
        hit = cells.mask({"d0": "a"}) & (cells.day >= 34)
        cells.terms["task_success"].y[hit] = rng.random(int(hit.sum())) < 0.3
        changes = select_changes(cells, START)
        assert dict(changes[0].where) == {"d0": "a"}
        told += len(changes)
    assert told <= 13


def test_a_dimension_that_is_never_the_same_in_two_windows_carries_no_change() -> None:
    rng = np.random.default_rng(8)
    cells = made(rng, 12_000, users=900)
    dims = {**cells.dims, "week": Codes(tuple("abcdef"), cells.day // 7)}
    dated = replace(cells, dims=dims)
    hit = dated.mask({"language": "es"}) & (dated.day >= 34)
    dated.terms["task_success"].y[hit] = 0.0
    change = select_changes(dated, START)[0]
    assert (dict(change.where), change.mix) == ({"language": "es"}, None)
