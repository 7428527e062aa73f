"""The score of SliceLine (Sagadeeva and Boehm 2021) on the Berkeley admissions, as sliceline 0.3.0 gives it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import kpi
from kpi.explain.segments.weak_segments import sliceline


def test_scores_of_the_berkeley_admissions(shared: Path) -> None:
    oracles = json.loads((shared / "oracles.json").read_text())["oracles"]
    (oracle,) = (o for o in oracles if o["id"] == "sliceline")
    departments, expected = oracle["inputs"]["departments"], oracle["expected"]
    rejected = sum(c[1] + c[3] for c in departments.values())
    everyone = sum(map(sum, departments.values()))
    male_in, male_out, female_in, female_out = departments["F"]
    f = sliceline(male_out + female_out, male_in + male_out + female_in + female_out, rejected, everyone)
    assert f == pytest.approx(expected["Dept=F"], abs=oracle["tolerance"])
    women, refused = (sum(sum(c[i] for i in which) for c in departments.values()) for which in ((2, 3), (3,)))
    female = sliceline(refused, women, rejected, everyone)
    assert female == pytest.approx(expected["Gender=Female"], abs=oracle["tolerance"])

    rows = [
        {"department": name, "gender": gender, "success": admitted}
        for name, counts in departments.items()
        for (gender, admitted), n in zip(
            [("male", True), ("male", False), ("female", True), ("female", False)], counts, strict=True
        )
        for _ in range(n)
    ]  # fmt: skip
    source = kpi.from_frame(pd.DataFrame(rows))
    found = kpi.weak_segments(source, dimensions=["department", "gender"], most=20).segments
    scores = {tuple(w.items()): s for w, s in zip(found["where"], found["sliceline"], strict=True)}
    assert scores[(("department", "F"),)] == pytest.approx(f)

    plain, held = (kpi.weak_segments(source, dimensions=["gender"], adjust=d).segments for d in (None, "department"))
    assert list(plain["where"]) == [{"gender": "female"}]
    assert plain["sliceline"].iloc[0] == pytest.approx(female)
    assert held.empty  # women asked for the departments that reject most
