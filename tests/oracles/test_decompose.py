"""Published splits of a change: Kitagawa and Das Gupta, Berkeley, LMDI-I."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import kpi
from kpi.explain.decomposition.rate_mix import split
from kpi.stats.factor_attribution import lmdi


@pytest.fixture(scope="module")
def oracle(shared: Path) -> dict[str, Any]:
    return {o["id"]: o for o in json.loads((shared / "oracles.json").read_text())["oracles"]}


def test_das_gupta_1993_example_5_3(oracle: dict[str, Any]) -> None:
    given, expected = (oracle["kitagawa-das-gupta"][k] for k in ("inputs", "expected"))
    x1, x0, r1, r0 = (np.array(given[k], dtype=float) for k in ("size_1985", "size_1970", "rate_1985", "rate_1970"))
    rate, mix, entering, leaving = split(x1 * r1, x1, x0 * r0, x0)
    assert (x1 * r1).sum() / x1.sum() == pytest.approx(expected["crude_1985"], abs=1e-6)
    assert (x0 * r0).sum() / x0.sum() == pytest.approx(expected["crude_1970"], abs=1e-6)
    assert rate.sum() == pytest.approx(expected["rate_effect"], abs=1e-6)
    assert mix.sum() == pytest.approx(expected["mix_effect"], abs=1e-6)
    assert rate.sum() + mix.sum() == pytest.approx(expected["difference"], abs=1e-6)
    assert not entering.any()
    assert not leaving.any()


def test_berkeley_admissions_reverse_once_departments_are_held(oracle: dict[str, Any]) -> None:
    given, expected = (oracle["berkeley"][k] for k in ("inputs", "expected"))
    rows = [
        {"department": name, "gender": gender, "success": admitted}
        for name, counts in given["departments"].items()
        for (gender, admitted), n in zip(
            [("male", True), ("male", False), ("female", True), ("female", False)], counts, strict=True
        )
        for _ in range(n)
    ]  # fmt: skip
    source = kpi.from_frame(pd.DataFrame(rows))
    women = kpi.Slice(last="all", baseline="gender:male").where(gender="female")
    (found,) = kpi.decompose(source, "task_success", women, by="department")
    assert (found.before, found.now) == pytest.approx((expected["male_rate"], expected["female_rate"]), abs=6e-5)
    assert found.change.value == pytest.approx(expected["gap"], abs=6e-5)
    assert found.rate.value == pytest.approx(expected["rate_effect"], abs=6e-5)
    assert found.mix.value == pytest.approx(expected["mix_effect"], abs=6e-5)
    assert found.mix.high < 0 < found.rate.value  # the mix alone carries the gap


def test_lmdi_of_activity_structure_and_intensity(oracle: dict[str, Any]) -> None:
    given = oracle["lmdi"]["inputs"]
    total = np.array([[given["Q"][i]] * 2 for i in (0, 1)], dtype=float)
    factors = np.array([[total[i], given["S"][i], given["I"][i]] for i in (0, 1)])
    assert factors.prod(axis=1).tolist() == pytest.approx(np.array(given["E"]))
    effects = lmdi(factors[0], factors[1]).sum(axis=1)
    assert effects == pytest.approx(oracle["lmdi"]["expected"], abs=1e-4)
    assert effects.sum() == pytest.approx(46, abs=1e-9)
