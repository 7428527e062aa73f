"""Groups that must not be shown or worked out."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from hypothesis import given, strategies as st

import kpi
from kpi.measure.small_cells import FLOOR, hide_small


def sizes(users: list[int]) -> pd.DataFrame:
    n = np.array(users)
    return pd.DataFrame(
        {"metric": "task_success", "group": [f"g{i:02}" for i in range(len(n))], "n": n * 3, "clusters": n}
    )


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
