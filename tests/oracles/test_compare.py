"""Published numbers of the methods behind comparisons, confidence sequences, agreement and change points."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kpi
from kpi.explain.aggregates.arm_sums import ArmSums, TermSums
from kpi.explain.comparison.effects import values
from kpi.explain.monitoring.changepoint import average_run_length, change_points, cusum_limit
from kpi.measure.metrics import METRICS
from kpi.stats import sequential
from kpi.stats.multiplicity import benjamini_hochberg

# Newcombe 1998, Stat Med 17:873, table II, method 10: a of m against b of n
NEWCOMBE = {
    (56, 70, 48, 80): (0.0524, 0.3339), (9, 10, 3, 10): (0.1705, 0.8090), (6, 7, 2, 7): (0.0582, 0.8062),
    (5, 56, 0, 29): (-0.0381, 0.1926), (0, 10, 0, 20): (-0.1611, 0.2775), (0, 10, 0, 10): (-0.2775, 0.2775),
    (10, 10, 0, 20): (0.6791, 1.0), (10, 10, 0, 10): (0.6075, 1.0),
}  # fmt: skip


@pytest.mark.parametrize("counts", NEWCOMBE)
def test_a_difference_of_independent_shares_is_newcombes_method_10(counts: tuple[int, int, int, int]) -> None:
    a, m, b, n = counts
    rows = {"release": ["new"] * m + ["old"] * n, "success": [i < a for i in range(m)] + [i < b for i in range(n)]}
    found = kpi.compare(kpi.from_frame(pd.DataFrame(rows)), "old", "new", ["task_success"], by="release")
    effect = found["task_success"].effect
    assert (effect.low, effect.high) == pytest.approx(NEWCOMBE[counts], abs=6e-5)


def test_q_values_are_those_of_benjamini_and_hochberg() -> None:
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1]
    told = [0.0015, 0.003, 0.0095, 0.035625, 0.0603, 0.06385714, 0.06385714, 0.0645, 0.0765]
    told += [0.486, 0.58118182, 0.714875, 0.75323077, 0.81321429, 1]
    assert benjamini_hochberg(p) == pytest.approx(told, abs=1e-6)
    shuffled = np.random.default_rng(0).permutation(len(p))
    assert benjamini_hochberg([p[i] for i in shuffled]) == pytest.approx([told[i] for i in shuffled], abs=1e-6)
    with_gap = benjamini_hochberg([*p, math.nan])  # what is unknown is no test
    assert math.isnan(with_gap[-1])
    assert sum(q <= 0.05 for q in with_gap) == 4


def test_a_difference_of_ratios_has_the_cluster_robust_error_of_weighted_least_squares() -> None:
    """y / x on 1 and side, weighted by x, users as clusters also where they are on both sides (Deng et al. 2018)."""
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(2)
    user, late = rng.integers(0, 90, 1500), rng.random(1500) < 0.4
    x = rng.integers(1, 9, 1500).astype(float)
    y = x * rng.gamma(3, 1.0 + 0.02 * user) * (1 + 0.1 * late)
    flat = TermSums(y, x, np.ones(1500))
    metric = METRICS["cost_per_query"]
    sides = ArmSums(
        arm=late.astype(int), user=user, stratum=np.zeros(1500, dtype=int), strata=((),), rows=np.ones(1500), users=90,
        sums={metric.name: flat}, weighted={}, ranked={}, ranked_weighted={},
    )  # fmt: skip
    a, b = values(sides, metric)
    fit = sm.WLS(y / x, np.column_stack([np.ones(1500), late]), weights=x).fit(
        cov_type="cluster", cov_kwds={"groups": user, "use_correction": False}
    )
    assert (b.value - a.value) / metric.scale == pytest.approx(fit.params[1], rel=1e-9)
    assert np.sqrt(((b.residual - a.residual) ** 2).sum()) == pytest.approx(fit.bse[1], rel=1e-6)


def test_every_published_value_of_a_comparison_is_the_one_on_file(shared: Path) -> None:
    """What the tests above state literally is what the file of reference values says, id by id."""
    told = {o["id"]: o for o in json.loads((shared / "oracles.json").read_text())["oracles"]}
    known = {i: o for i, o in told.items() if i.startswith("newcombe10-")}
    assert {tuple(o["inputs"][k] for k in "ambn"): tuple(o["expected"]) for o in known.values()} == NEWCOMBE
    p, level = np.array(told["bh-1995"]["inputs"]["p"]), 0.05
    holm = np.maximum.accumulate(np.sort(p) * np.arange(len(p), 0, -1))
    counted = [
        sum(q <= level for q in benjamini_hochberg(list(p))),
        int((p * len(p) <= level).sum()),
        int((holm <= level).sum()),
    ]
    assert counted == told["bh-1995"]["expected"]
    adjusted = told["bh-1995-adjusted"]
    assert benjamini_hochberg(adjusted["inputs"]["p"]) == pytest.approx(adjusted["expected"], abs=adjusted["tolerance"])
    mixture = told["cs-normal-mixture"]
    v, alpha, planned = (mixture["inputs"][k] for k in ("v", "alpha", "v_opt"))
    bound = sequential.normal_mixture_bound(v, sequential.mixture_rho(planned, alpha), alpha)
    assert bound == pytest.approx(mixture["expected"], abs=mixture["tolerance"])
    for one in (o for i, o in told.items() if i.startswith("cs-bernoulli-")):
        given = one["inputs"]
        limits = kpi.running_rate(given["successes"], given["n"], planned=given["t_opt"], alpha=given["alpha"])
        assert limits == pytest.approx(one["expected"], abs=one["tolerance"])


def test_the_normal_mixture_is_the_published_one() -> None:
    rho = sequential.mixture_rho(100, 0.05)
    assert rho == pytest.approx(12.60056, abs=1e-5)
    assert sequential.normal_mixture_bound(100, rho, 0.05) == pytest.approx(30.35209, abs=1e-4)


@pytest.mark.parametrize(
    ("successes", "n", "planned", "limits"),
    [(700, 1000, 100, (0.651629, 0.745949)), (15, 50, 50, (0.129556, 0.511896)), (5, 50, 50, (0.013021, 0.269264)),
     (1, 50, 50, (0.0, 0.13489))],
)  # fmt: skip
def test_a_running_rate_is_the_published_confidence_sequence(
    successes: int, n: int, planned: int, limits: tuple[float, float]
) -> None:
    assert kpi.running_rate(successes, n, planned=planned) == pytest.approx(limits, abs=1e-5)


def test_peeking_costs_what_armitage_says() -> None:
    """Armitage, McPherson and Rowe 1969, table 2, and the same looks with the mixture instead."""
    published = {1: 0.05, 2: 0.083, 3: 0.107, 4: 0.126, 5: 0.142, 10: 0.193, 20: 0.248, 50: 0.320, 100: 0.374}
    rng, runs, crossed, always = np.random.default_rng(1), 200_000, np.zeros(100), 0.0
    looks = np.arange(1, 101)
    rho = sequential.mixture_rho(50)
    bound = np.array([sequential.normal_mixture_bound(k, rho) for k in looks], dtype=np.float32)
    fixed = (1.959964 * np.sqrt(looks)).astype(np.float32)
    for _ in range(10):
        steps = np.abs(rng.standard_normal((runs // 10, 100), dtype=np.float32).cumsum(axis=1))
        crossed += np.logical_or.accumulate(steps > fixed, axis=1).sum(axis=0)
        always += (steps > bound).any(axis=1).sum()
    assert {k: crossed[k - 1] / runs for k in published} == pytest.approx(published, abs=0.0035)
    assert always / runs < 0.05


def test_cusum_run_lengths_are_montgomerys() -> None:
    shifts = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3)
    four, five = ([average_run_length(h, 0.5, s) for s in shifts] for h in (4, 5))
    assert four == pytest.approx([168, 74.2, 26.6, 13.3, 8.38, 4.75, 3.34, 2.19], abs=0.5)
    assert five == pytest.approx([465, 139, 38.0, 17.0, 10.4, 5.75, 4.01, 2.57], abs=0.8)
    assert cusum_limit(0.5, 370) == pytest.approx(4.77, abs=0.01)


def _series(folder: Path, name: str) -> list[float]:
    told = json.loads((folder / f"{name}.json").read_text())["series"][0]["raw"]
    return [math.nan if v is None else float(v) for v in told]


def _matched(truth: set[int], found: set[int], margin: int = 5) -> int:
    left, hits = set(found), 0
    for t in sorted(truth):
        near = min(((abs(t - x), x) for x in left if abs(t - x) <= margin), default=None)
        if near is not None:
            hits += 1
            left.remove(near[1])
    return hits


def _f1(annotated: Mapping[str, list[int]], found: list[int]) -> float:
    """F1 of van den Burg and Williams (2020), margin 5: precision over the union, recall over each person."""
    predicted = {0, *found}
    people = [{0, *points} for points in annotated.values()]
    precision = _matched(set().union(*people), predicted) / len(predicted)
    recall = float(np.mean([_matched(p, predicted) / len(p) for p in people]))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_the_nile_changed_in_1898(shared: Path) -> None:
    flow = _series(shared / "data/datasets/tcpd", "nile")
    points = change_points(flow)
    assert points == [28]
    assert [np.mean(level) for level in np.split(np.array(flow), points)] == pytest.approx(
        [1097.75, 849.9722], abs=1e-4
    )


def test_change_points_equal_the_published_pelt_on_tcpd(shared: Path) -> None:
    """Optimal partitioning is what PELT prunes; the published pruning is inexact with this penalty on one series."""
    folder = shared / "data/datasets/tcpd"
    annotated = json.loads((folder / "annotations.json").read_text())
    with (folder / "published_default.csv").open() as file:
        published = {row["dataset"]: float(row["f1_pelt"]) for row in csv.DictReader(file)}
    # R reports the last position of the old level, and so do the annotated runs
    mine = {n: _f1(annotated[n], [p - 1 for p in change_points(_series(folder, n))]) for n in published}
    same = [n for n in published if mine[n] == pytest.approx(published[n], abs=6e-4)]
    assert set(published) - set(same) <= {"us_population"}
    control = [mine[n] for n in mine if n.startswith("quality_control")]
    assert np.mean(control) >= 0.97
    assert np.mean([mine[n] for n in mine if not n.startswith("quality_control")]) >= 0.66


def test_kappa_equals_statsmodels() -> None:
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    rng = np.random.default_rng(3)
    first = rng.integers(0, 3, 400)
    second = np.where(rng.random(400) < 0.6, first, rng.integers(0, 3, 400))
    told = kpi.kappa([str(v) for v in first], [str(v) for v in second])
    table = np.zeros((3, 3))
    np.add.at(table, (first, second), 1)
    known = inter_rater.cohens_kappa(table)
    assert told.kappa == pytest.approx(known.kappa, abs=1e-12)
    assert (told.high - told.low) / 2 == pytest.approx(known.std_kappa * 1.966, rel=2e-3)  # t with 399 degrees
