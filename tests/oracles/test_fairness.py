"""Point values of disparity are Fairlearn's: by_group, difference and ratio of the example in its user guide."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, selection_rate

import kpi

METRICS = ("recall", "false_positive_rate", "selection_rate")


@pytest.fixture(scope="module")
def guide(shared) -> dict:
    rows = json.loads((shared / "oracles.json").read_text())
    rows = rows if isinstance(rows, list) else rows["oracles"]
    return next(r for r in rows if r["id"] == "fairlearn-guide")


def example(inputs: dict, metric: str) -> pd.DataFrame:
    """The rows on which a rate is taken; each forty times, by as many users, because small groups are hidden."""
    frame = pd.DataFrame(inputs)
    truth = {"recall": [1], "false_positive_rate": [0]}.get(metric, [0, 1])
    frame = frame[frame["y_true"].isin(truth)]
    many = pd.concat([frame] * 40, ignore_index=True)
    return pd.DataFrame(
        {"user_key": [f"u{i}" for i in range(len(many))], "plan": many["group"], "success": many["y_pred"] == 1}
    )


@pytest.mark.parametrize("position", range(3), ids=METRICS)
def test_example_of_the_user_guide(guide: dict, position: int) -> None:
    data = example(guide["inputs"], METRICS[position])
    found = kpi.disparity(kpi.from_frame(data), by="plan", metrics=["task_success"], adjust=None)
    expected, near = guide["expected"], {"abs": guide["tolerance"]}
    values = found.groups.set_index("group")["value"]
    for group in "abc":
        assert values[group] == pytest.approx(expected[group][position], **near)
    gap = found.gaps.iloc[0]
    assert found.whole["value"].iloc[0] == pytest.approx(expected["overall"][position], **near)
    assert gap["gap"] == pytest.approx(expected["difference"][position], **near)
    assert gap["four_fifths"] == pytest.approx(expected["ratio"][position], **near)
    to_whole = found.groups["difference"].abs().max()
    assert to_whole == pytest.approx(expected["difference_to_overall"][position], **near)


@pytest.mark.parametrize("position", range(3), ids=METRICS)
def test_fairlearn_itself(guide: dict, position: int) -> None:
    data = example(guide["inputs"], METRICS[position])
    theirs = MetricFrame(
        metrics=selection_rate, y_true=data["success"], y_pred=data["success"].astype(int),
        sensitive_features=data["plan"],
    )  # fmt: skip
    found = kpi.disparity(kpi.from_frame(data), by="plan", metrics=["task_success"], adjust=None)
    for group, value in theirs.by_group.items():
        assert found.groups.set_index("group")["value"][group] == pytest.approx(value)
    assert found.gaps["gap"].iloc[0] == pytest.approx(theirs.difference())
    assert found.gaps["four_fifths"].iloc[0] == pytest.approx(theirs.ratio())
