"""The cheapest option that meets a target for certain is named, or none is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import kpi
from kpi.errors import MetricError
from kpi.store.engines import DuckSource

pytestmark = pytest.mark.slow


def source(*options: tuple[str, int, float, float]) -> kpi.Source:
    """Requests of options: name, number, share resolved, cost of a request in nano-dollars."""
    rows = []
    for name, n, share, cost in options:
        good = np.arange(n) < round(n * share)
        rows.append(pd.DataFrame({
            "user_key": [f"{name}{i}" for i in range(n)], "model": name, "success": good, "resolved": good,
            "total_nusd": np.full(n, int(cost)) + np.arange(n) % 7,
        }))  # fmt: skip
    return kpi.from_frame(pd.concat(rows))


OPTIONS = (
    ("dear", 2000, 0.95, 9000), ("fair", 2000, 0.90, 5000), ("cheap", 2000, 0.805, 1000), ("bad", 2000, 0.5, 900),
    ("wasteful", 2000, 0.85, 9900), ("rare", 20, 1.0, 10),
)  # fmt: skip


def test_the_cheapest_that_meets_is_named_and_what_may_meet_is_said() -> None:
    found = kpi.frontier(source(*OPTIONS), kpi.Slice(last="all"), by="model", target=0.8)
    table = found.options.set_index("option")
    assert found.choice == "fair"
    assert table["verdict"].to_dict() == {
        "rare": "not enough data", "bad": "misses", "cheap": "may meet", "fair": "meets", "dear": "meets",
        "wasteful": "meets",
    }  # fmt: skip
    assert {o for o, e in table["efficient"].items() if e} == {"cheap", "fair", "dear"}  # by cost of a resolved task
    assert table.loc["fair", "cost"] == pytest.approx(5003 / 0.9 * 1e-9, rel=1e-3)
    assert "Cheaper, and may meet it: cheap." in found.sentence
    assert found.options["cost"].is_monotonic_increasing


def test_none_meets() -> None:
    found = kpi.frontier(source(*OPTIONS), kpi.Slice(last="all"), target=0.99)
    assert found.choice is None
    assert found.sentence.startswith("No option is sure to meet")
    found = kpi.frontier(source(*OPTIONS), kpi.Slice(last="all"), target=0.95)
    assert found.choice is None
    assert "dear may" in found.sentence


def test_numbers_are_those_of_summarise(sample: DuckSource) -> None:
    found = kpi.frontier(sample, by=["model", "prompt_version"], target=0.5)
    rows = kpi.summarise(sample, "cost_per_resolved", by=["model", "prompt_version"])
    expected = {f"{r.model} · {r.prompt_version}": r.value for r in rows.itertuples()}
    assert found.options.set_index("option")["cost"].to_dict() == pytest.approx(expected, nan_ok=True)


def test_without_resolution_cost_is_per_query_and_without_cost_it_says_so() -> None:
    rows = pd.DataFrame({"model": ["a", "b"] * 50, "success": [True] * 100, "total_nusd": 5})
    assert kpi.frontier(kpi.from_frame(rows), kpi.Slice(last="all")).cost == "cost_per_query"
    with pytest.raises(MetricError, match="No cost is known"):
        kpi.frontier(kpi.from_frame(rows.drop(columns="total_nusd")), kpi.Slice(last="all"))
    with pytest.raises(MetricError, match="more is better"):
        kpi.frontier(kpi.from_frame(rows), quality="error_rate")
