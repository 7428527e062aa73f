"""Gaps that equal groups would not show, and groups that must not be shown or worked out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kpi
from kpi.explain.disparity import FLOOR, gap, hide_small


def wilson(successes: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z, p = 1.959964, successes / n
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def frame(successes: np.ndarray, n: np.ndarray) -> pd.DataFrame:
    low, high = wilson(successes, n)
    return pd.DataFrame(
        {
            "metric": "task_success", "group": [f"g{i}" for i in range(len(n))], "value": successes / n, "low": low,
            "high": high, "n": n, "clusters": n,
        }
    )  # fmt: skip


@pytest.mark.parametrize("groups", [5, 20, 50])
def test_equal_groups_rarely_show_a_gap(groups: int) -> None:
    rng = np.random.default_rng(groups)
    fired = 0
    for _ in range(400):
        n = rng.integers(150, 1500, groups)
        found = gap(frame(rng.binomial(n, 0.8), n), dimension="group")
        assert found is not None
        fired += found.low > 0
    assert fired / 400 <= 0.07


@pytest.mark.parametrize("groups", [5, 20])
def test_a_real_gap_is_found_and_named(groups: int) -> None:
    rng = np.random.default_rng(7)
    found = []
    for _ in range(40):
        n = np.full(groups, 1500)
        rate = np.full(groups, 0.8)
        rate[3] = 0.68
        found.append(gap(frame(rng.binomial(n, rate), n), dimension="group"))
    assert np.mean([g is not None and g.low > 0 and g.worst == "g3" for g in found]) >= 0.9
    assert np.mean([g.value for g in found if g]) == pytest.approx(0.12, abs=0.03)


def test_small_and_unbounded_groups_do_not_count() -> None:
    n = np.array([1000, 1000, 20])
    three = frame(np.array([800, 790, 1]), n)
    found = gap(three, dimension="group")
    assert found is not None
    assert found.groups == 2
    assert "g2" not in (found.worst, found.best)
    three.loc[0, "low"] = math.nan
    assert gap(three, dimension="group") is None
    assert gap(three.iloc[:0], dimension="group") is None


def sizes(users: list[int]) -> pd.DataFrame:
    n = np.array(users)
    return pd.DataFrame(
        {"metric": "task_success", "group": [f"g{i:02}" for i in range(len(n))], "n": n * 3, "clusters": n}
    )


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_no_small_group_is_shown_or_left_alone_in_the_rest(users: list[int]) -> None:
    """Who knows the total and the shown groups learns the sum of the hidden ones: never that of one small group."""
    table = sizes(users)
    shown, reasons = hide_small(table, by=["group"])
    hidden = table[~table["group"].isin(shown["group"])]
    assert (shown["clusters"] >= FLOOR).all()
    assert len(reasons) == len(hidden)
    assert len(hidden) != 1 or len(table) == 1
    assert hidden.empty or shown.empty or hidden["clusters"].sum() >= FLOOR
    small = [u for u in users if u < FLOOR]
    if small:
        assert set(table[table["clusters"] < FLOOR]["group"]) <= set(hidden["group"])
    else:
        assert hidden.empty


def test_two_dimensions_cannot_be_subtracted_either() -> None:
    """Row and column totals of a shown cross table, minus what is shown, never leave one hidden cell."""
    rng = np.random.default_rng(5)
    for _ in range(30):
        cells = list(itertools.product([f"a{i}" for i in range(4)], [f"b{i}" for i in range(4)]))
        users = rng.integers(8, 60, len(cells))
        table = pd.DataFrame(cells, columns=["a", "b"]).assign(metric="task_success", n=users * 3, clusters=users)
        shown, _ = hide_small(table, by=["a", "b"])
        hidden = table.merge(shown[["a", "b"]], how="left", indicator=True).query("_merge == 'left_only'")
        assert (shown["clusters"] >= FLOOR).all()
        for side in ("a", "b"):
            alone = hidden.groupby(side).size()
            assert (alone != 1).all(), hidden


def test_every_metric_and_bucket_of_a_group_is_hidden_with_it() -> None:
    table = pd.concat([sizes([5, 20, 40]).assign(metric=m, bucket=b) for m in ("x", "y") for b in (1, 2)])
    shown, reasons = hide_small(table, by=["group"])
    assert set(shown["group"]) == {"g02"}
    assert len(shown) == 4
    assert reasons == ["g00: 5 users, fewer than 11", "g01: hidden so that the smaller group cannot be worked out"]


def test_rates_of_a_source_hide_by_users() -> None:
    users = [f"s{i % 5}" for i in range(200)] + [f"m{i % 15}" for i in range(200)] + [f"l{i}" for i in range(200)]
    data = pd.DataFrame({"user_key": users, "plan": ["s"] * 200 + ["m"] * 200 + ["l"] * 200, "success": True})
    table = kpi.summarise(kpi.from_frame(data), "task_success", by=["plan"])
    shown, reasons = kpi.hide_small(table, by=["plan"])
    assert shown["plan"].tolist() == ["l"]
    assert len(reasons) == 2
