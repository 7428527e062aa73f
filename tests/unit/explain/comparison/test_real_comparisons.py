"""Comparisons and agreement on real data, against exact tests and direct computation."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import kpi
from kpi.store.engines import DuckSource

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def items(shared: Path) -> pd.DataFrame:
    """29 models x the same 1,700 tasks; 0 tokens means unknown."""
    rows = pd.read_csv(shared / "data/datasets/bfcl/bfcl_2024-08-11_requests.csv")
    rows["task"] = rows["test_category"] + ":" + rows["item"].astype(str)
    rows["total_us"] = (rows["latency_s"] * 1e6).round().astype("int64")
    for name in ("input_tokens", "output_tokens"):
        rows[name] = rows[name].where(rows[name] > 0).astype("Int64")
    return rows[["model", "test_category", "task", "success", "total_us", "input_tokens", "output_tokens"]]


@pytest.fixture(scope="module")
def models(items: pd.DataFrame) -> DuckSource:
    return kpi.from_frame(items)


def test_success_of_any_two_models_agrees_with_mcnemars_exact_test(items: pd.DataFrame, models: DuckSource) -> None:
    """Over every third of the 406 pairs (of all of them 404 agree); what differs lies at the edge of the exact test."""
    solved = items.pivot(index="task", columns="model", values="success").astype(bool)
    pairs = list(itertools.combinations(solved.columns, 2))[::3]
    same = 0
    for a, b in pairs:
        only_b, only_a = int((solved[b] & ~solved[a]).sum()), int((solved[a] & ~solved[b]).sum())
        exact = stats.binomtest(only_b, only_a + only_b).pvalue if only_a + only_b else 1.0
        found = kpi.compare(models, a, b, ["task_success"], by="model", cluster=["task"])["task_success"].effect
        assert found.difference == pytest.approx((only_b - only_a) / len(solved), abs=1e-9)
        agreed = (found.p < 0.05) == (exact < 0.05)
        assert agreed or 0.03 < exact < 0.07, (a, b, found.p, exact)
        same += agreed
    assert same / len(pairs) >= 0.98


def test_tokens_and_latency_agree_with_permutation_tests(items: pd.DataFrame, models: DuckSource) -> None:
    """Signs of paired differences flipped; of the tail, the models of a task swapped."""
    rng = np.random.default_rng(6)
    names = sorted(items["model"].unique())
    known = items.groupby("model")["output_tokens"].count()
    with_tokens = [m for m in names if known[m] == 1700]
    chosen = [tuple(rng.choice(with_tokens, 2, replace=False)) for _ in range(12)]
    tokens, slow = (items.pivot(index="task", columns="model", values=v) for v in ("output_tokens", "total_us"))
    for a, b in chosen:
        found = kpi.compare(models, a, b, ["output_tokens", "latency_p50"], by="model", cluster=["task"])
        change = (tokens[b] - tokens[a]).to_numpy(dtype=float)
        signs = rng.choice([-1.0, 1.0], (2000, len(change)))
        p = (1 + (np.abs(signs @ change) >= abs(change.sum()) - 1e-9).sum()) / 2001
        assert (found["output_tokens"].effect.p < 0.05) == (p < 0.05) or 0.03 < p < 0.07, (a, b)
        pair = slow[[a, b]].to_numpy(dtype=float)
        moved = abs(np.median(pair[:, 1]) - np.median(pair[:, 0]))
        swap = rng.random((400, len(pair))) < 0.5
        null = [
            abs(np.median(np.where(s, pair[:, 0], pair[:, 1])) - np.median(np.where(s, pair[:, 1], pair[:, 0])))
            for s in swap
        ]
        q = (1 + (np.array(null) >= moved).sum()) / 401
        assert (found["latency_p50"].effect.p < 0.05) == (q < 0.05) or 0.02 < q < 0.1, (a, b, q)


def test_categories_in_which_the_better_model_is_worse(items: pd.DataFrame, models: DuckSource) -> None:
    solved = items.groupby("model")["success"].mean().sort_values()
    rates = items.groupby(["model", "test_category"])["success"].mean().unstack()
    found_some = 0
    for a, b in [(solved.index[i], solved.index[i + 8]) for i in range(0, 20, 4)]:
        whole = kpi.compare(models, a, b, ["task_success"], by="model", cluster=["task"])["task_success"]
        assert whole.verdict == "better"
        told = kpi.compare_within(
            models, a, b, ["task_success"], by="model", within="test_category", cluster=["task"]
        ).frame()
        told = told.set_index("test_category")
        assert told["difference"].to_numpy() == pytest.approx((rates.loc[b] - rates.loc[a])[told.index].to_numpy())
        for category in told.index[told["reversed"]]:
            mine = items[items["test_category"] == category].pivot(index="task", columns="model", values="success")
            lost, won = int((mine[a] & ~mine[b]).sum()), int((mine[b] & ~mine[a]).sum())
            assert stats.binomtest(won, won + lost).pvalue < 0.05
            assert won < lost
            found_some += 1
    assert found_some >= 3


@pytest.fixture(scope="module")
def labels(shared: Path) -> pd.DataFrame:
    return pd.read_csv(shared / "data/datasets/xstest/xstest_labels.csv")


def _direct_kappa(a: pd.Series, b: pd.Series) -> float:
    table = pd.crosstab(a, b, normalize=True)
    names = sorted(set(table.index) | set(table.columns))
    table = table.reindex(index=names, columns=names, fill_value=0.0)
    chance = float((table.sum(axis=1) * table.sum(axis=0)).sum())
    return float((np.trace(table.to_numpy()) - chance) / (1 - chance))


def test_refusals_by_prompt_type_equal_a_direct_computation(labels: pd.DataFrame) -> None:
    rows = labels[labels["judge"] == "gpt4"].assign(refused=lambda r: r["final_label"] == "2_full_refusal")
    source = kpi.from_frame(rows[["model", "type", "refused"]])
    found = kpi.summarise(source, "refusal_rate", by=["type"]).set_index("type")
    direct = rows.groupby("type")["refused"].agg(["mean", "size"])
    for name, (share, size) in direct.iterrows():
        assert found.loc[name, "value"] == pytest.approx(share, abs=1e-12)
        interval = stats.binomtest(round(share * size), int(size)).proportion_ci(method="wilson")
        assert (found.loc[name, "low"], found.loc[name, "high"]) == pytest.approx(
            (interval.low, interval.high), abs=1e-8
        )


def test_judge_and_human_agree_as_computed_directly(labels: pd.DataFrame) -> None:
    rows = labels.rename(columns={"id": "prompt"})[["model", "prompt", "judge", "final_label", "judge_label"]]
    source = kpi.from_frame(rows, allow=["judge_label"])  # some of its labels are sentences
    found = kpi.agreement(source, "final_label", "judge_label", by=["judge"]).frame().set_index("judge")
    known = set(labels["final_label"])
    for judge, mine in labels.groupby("judge"):
        valid = mine[mine["judge_label"].isin(known)]
        told = found.loc[judge]
        assert (told["n"], told["invalid"], told["unknown"]) == (len(valid), len(mine) - len(valid), 0)
        assert told["kappa"] == pytest.approx(_direct_kappa(valid["final_label"], valid["judge_label"]), abs=1e-12)
        assert told["agreed"] == pytest.approx((valid["final_label"] == valid["judge_label"]).mean(), abs=1e-12)
        assert told["low"] < told["kappa"] < told["high"]
    assert found.loc["gpt4", "invalid"] == 11  # free text where a label should be
    people = kpi.agreement(
        kpi.from_frame(labels[labels["judge"] == "gpt4"].drop(columns="id")), "annotation_1", "annotation_2"
    ).frame()
    mine = labels[labels["judge"] == "gpt4"]
    assert people["kappa"][0] == pytest.approx(_direct_kappa(mine["annotation_1"], mine["annotation_2"]), abs=1e-12)


def test_prompts_that_repeat_are_one_cluster(labels: pd.DataFrame) -> None:
    """Five models answered each prompt: with the prompt as the user the interval is that of a bootstrap of prompts."""
    mine = labels[labels["judge"] == "gpt4"].rename(columns={"id": "user_key"})
    valid = mine[mine["judge_label"].isin(set(mine["final_label"]))]
    source = kpi.from_frame(mine[["user_key", "final_label", "judge_label"]], allow=["judge_label"])
    told = kpi.agreement(source, "final_label", "judge_label").frame().iloc[0]
    assert told["clusters"] == valid["user_key"].nunique()
    rng = np.random.default_rng(8)
    pairs = {u: Counter(zip(g["final_label"], g["judge_label"], strict=True)) for u, g in valid.groupby("user_key")}
    users = list(pairs)
    drawn = []
    for _ in range(300):
        rows: Counter[tuple[str, str]] = Counter()
        for i in rng.integers(0, len(users), len(users)):
            rows.update(pairs[users[i]])
        a, b = zip(*rows.keys(), strict=True)
        drawn.append(kpi.kappa(a, b, weights=list(rows.values())).kappa)
    assert told["high"] - told["low"] == pytest.approx(2 * 1.96 * float(np.std(drawn)), rel=0.15)


def test_kappa_at_its_edges() -> None:
    assert kpi.kappa(["a", "b"] * 20, ["a", "b"] * 20).kappa == 1.0
    assert kpi.kappa(["a", "b"] * 20, ["b", "a"] * 20).kappa == -1.0
    one = kpi.kappa(["a"] * 10, ["a"] * 10)
    assert np.isnan(one.kappa)
    assert one.agreed == 1.0
    odd = kpi.kappa(["a", "b", None, "a"], ["a", "I would rather not say", "b", "b"])
    assert (odd.n, odd.invalid, odd.unknown) == (2, 1, 1)
    assert kpi.kappa([], []).n == 0
