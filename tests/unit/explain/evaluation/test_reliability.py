"""pass^k: the formula of the paper, intervals that hold, what counts as a task, the command line."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kpi
from kpi import cli
from kpi.explain.evaluation.reliability import _mean

pytestmark = pytest.mark.slow

TRIES = {"a": [True] * 4, "b": [True, True, False, False], "c": [False] * 4, "d": [True], "e": [True, None, False]}


def source(tries: dict[str | None, list[bool | None]]) -> kpi.Source:
    rows = [(task, won) for task, wins in tries.items() for won in wins]
    return kpi.from_frame(
        pd.DataFrame(
            {
                "trace_id": [f"t{i}" for i in range(len(rows))],
                "x_task": pd.Series([t for t, _ in rows], dtype=object),
                "success": pd.Series([w for _, w in rows], dtype="boolean"),
            }
        )
    )


def test_the_formula_of_the_paper() -> None:
    found = kpi.pass_hat_k(source(TRIES), k=4).frame().set_index("k")
    # Tasks tried at least k times; "e" has two tries whose success is known, one of them good.
    assert found["n_tasks"].to_dict() == {1: 5, 2: 4, 3: 3, 4: 3}
    assert found["trials"].to_dict() == {1: 15, 2: 14, 3: 12, 4: 12}
    assert found["value"].to_dict() == pytest.approx(
        {1: (1 + 0.5 + 0 + 1 + 0.5) / 5, 2: (1 + 1 / 6 + 0 + 0) / 4, 3: 1 / 3, 4: 1 / 3}
    )
    assert (found["low"] < found["value"]).all()
    assert (found["value"] < found["high"]).all()


def test_requests_without_a_task_are_no_task() -> None:
    found = kpi.pass_hat_k(source({**TRIES, None: [True] * 6}), k=1).frame()
    assert found["n_tasks"].tolist() == [5]


def test_one_task_has_no_interval_and_none_has_no_value() -> None:
    one = kpi.pass_hat_k(source({"a": [True, False]}), k=3).frame()
    assert one["value"].tolist()[:2] == [0.5, 0.0]
    assert one[["low", "high"]].isna().all(axis=None)
    assert math.isnan(one["value"][2])
    assert one["n_tasks"].tolist() == [1, 1, 0]


def test_all_tasks_alike_still_leave_room_for_doubt() -> None:
    sure = kpi.pass_hat_k(source({t: [True, True] for t in "abcdefgh"}), k=2).frame().iloc[-1]
    assert sure["value"] == sure["high"] == 1
    assert 0.5 < sure["low"] < 0.7  # exact: 0.025 ** (1 / 8) = 0.63


@pytest.mark.parametrize(("by", "k", "code"), [("task", 0, "reliability.k"), ([], 2, "reliability.by")])
def test_what_cannot_be_asked(by, k, code) -> None:
    with pytest.raises(kpi.KpiError) as error:
        kpi.pass_hat_k(source(TRIES), by=by, k=k).frame()
    assert error.value.code == code
    assert error.value.hint


@pytest.mark.parametrize("tasks", [15, 50])
def test_intervals_cover(tasks: int) -> None:
    """Tasks of different difficulty, four tries each: pass^2 of the population is E[p^2]."""
    rng = np.random.default_rng(5)
    a, b = 1.2, 1.5
    truth = a * (a + 1) / ((a + b) * (a + b + 1))
    wins = rng.binomial(4, rng.beta(a, b, size=(2_000, tasks)))
    shares = wins * (wins - 1) / 12
    limits = np.array([_mean(row)[1:] for row in shares])
    covered = ((limits[:, 0] <= truth) & (truth <= limits[:, 1])).mean()
    assert 0.935 <= covered <= 0.97


def test_tau_bench_as_the_benchmark_counts(shared: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole load, against the benchmark's own arithmetic on the raw file."""
    path = shared / "data/datasets/tau_bench/gpt-4o-airline.json"
    raw = json.loads(path.read_text())
    tried = Counter(r["task_id"] for r in raw)
    won = Counter(r["task_id"] for r in raw if r["reward"] == 1)
    assert cli.main(["load", str(path), "--dataset", "tau", "--json"]) == cli.FINE
    assert json.loads(capsys.readouterr().out)["requests"] == 200
    assert cli.main(["reliability", "--by", "task", "--dataset", "tau", "--json"]) == cli.FINE
    rows = json.loads(capsys.readouterr().out)["rows"]
    for row in rows:
        k = row["k"]
        mean = sum(math.comb(won[t], k) / math.comb(n, k) for t, n in tried.items()) / len(tried)
        assert row["value"] == pytest.approx(mean, abs=1e-12)
    assert [row["n_tasks"] for row in rows] == [50] * 4
    assert rows[0]["value"] == pytest.approx(np.mean([r["reward"] for r in raw]))
    by_run = kpi.pass_hat_k(kpi.open("tau"), by=["run", "task"]).frame()
    assert by_run["value"].tolist() == [row["value"] for row in rows]
    assert cli.main(["reliability", "--dataset", "tau"]) == cli.FINE
    assert "42.0 %" in capsys.readouterr().out


def test_a_result_that_says_itself_what_it_is_about() -> None:
    found = kpi.pass_hat_k(source(TRIES), k=4)
    # t interval on the logit of 1/3: 4.303 * (0.577 / sqrt(3)) / (1/3 * 2/3) = 6.45 on either side of -0.69
    assert found.sentence.startswith("Solved in each of 4 tries: 33.3 % of 3 tasks (0.07")
    assert found.sentence.endswith("to 99.7 %); in a single one 60.0 %.")
    assert found.scope == "all times · 16 requests"
    assert "tried 3 times" in kpi.pass_hat_k(source({"a": [True]}), k=3).sentence
    assert found.to_dict()["rows"][0] == {"k": 1, **found.frame().iloc[0, 1:].to_dict()}


def test_a_column_of_tasks_that_was_left_out_is_told_with_how_to_keep_it() -> None:
    rows = pd.DataFrame({"task": [f"item-{i // 2}" for i in range(120)], "passed": [True, False] * 60})
    with pytest.raises(kpi.KpiError, match=r"'task' was left out \(unknown name, 60 different values\)") as error:
        kpi.pass_hat_k(kpi.from_frame(rows), k=2)
    assert "cohorts=['task']" in error.value.hint
    assert kpi.pass_hat_k(kpi.from_frame(rows, cohorts=["task"]), k=2).frame()["value"].tolist() == [0.5, 0.0]
