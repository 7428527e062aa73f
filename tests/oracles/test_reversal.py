"""Published numbers of the test for opposite directions, and the most famous reversal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

import kpi
from kpi.explain.comparison.simpson import crossing_p, gail_simon


@pytest.fixture(scope="module")
def oracle(shared: Path) -> dict[str, Any]:
    return {o["id"]: o for o in json.loads((shared / "oracles.json").read_text())["oracles"]}


def test_critical_values_are_gail_and_simons(oracle: dict[str, Any]) -> None:
    known = oracle["gail-simon-critical"]
    found = [optimize.brentq(lambda q, i=i: crossing_p(q, i) - 0.05, 0.1, 50) for i in known["inputs"]["groups"]]
    assert found == pytest.approx(known["expected"], abs=known["tolerance"])


def test_the_breast_cancer_trial_of_the_paper(oracle: dict[str, Any]) -> None:
    known = oracle["gail-simon-nsabp"]
    one, two, error_one, error_two = (np.array(known["inputs"][k]) for k in ("p_1", "p_2", "se_1", "se_2"))
    found = gail_simon((one - two) / np.hypot(error_one, error_two))
    assert found.groups == 4
    assert (found.q, found.p) == pytest.approx((known["expected"]["Q"], known["expected"]["p"]), abs=known["tolerance"])


def test_berkeley_is_called_a_simpson_reversal(oracle: dict[str, Any]) -> None:
    """Women look worse, and are better with the mix of departments held; no department is truly against another."""
    given, expected = (oracle["berkeley"][k] for k in ("inputs", "expected"))
    kinds = [("male", True), ("male", False), ("female", True), ("female", False)]
    rows = [
        {"department": name, "gender": gender, "success": admitted}
        for name, counts in given["departments"].items()
        for (gender, admitted), n in zip(kinds, counts, strict=True) for _ in range(n)
    ]  # fmt: skip
    source = kpi.from_frame(pd.DataFrame(rows))
    found = kpi.compare(source, "male", "female", ["task_success"], by="gender", adjust=["department"])
    row = found["task_success"]
    assert row.effect.difference == pytest.approx(expected["gap"], abs=6e-5)
    assert row.adjusted is not None
    assert row.adjusted.difference > 0
    assert row.simpson
    assert found.reversals[0].startswith("Simpson reversal in Task success: over all requests female is worse")
    inside = kpi.compare_within(source, "male", "female", ["task_success"], by="gender", within="department").frame()
    assert inside["simpson"].all()
    assert inside["told"].iloc[0] == found.reversals[0]
    assert (inside["crossing_p"] > 0.05).all()
    assert inside.set_index("department")["verdict"]["A"] == "better"
