"""What is searched of a wide table: chosen by what columns hold, never by the outcome, and said."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import kpi
from kpi import cli
from kpi.explain.aggregates.search_space import BEYOND, CONSTANT, MANY, SAME, SMALL, search_space

ROWS = 1_200


def wide(columns: dict[str, np.ndarray], *, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2026-10-01", tz="UTC")
    return pd.DataFrame({
        "user_key": [f"u{i}" for i in rng.integers(0, 300, ROWS)],
        "started_at": start + pd.to_timedelta(rng.integers(0, 42 * 1440, ROWS), "m"),
        "success": rng.random(ROWS) < 0.8, **columns,
    })  # fmt: skip


def texts(values: np.ndarray, prefix: str = "v") -> np.ndarray:
    return np.char.add(prefix, values.astype(str)).astype(object)


def test_up_to_forty_columns_are_all_searched_and_nothing_is_said() -> None:
    rng = np.random.default_rng(1)
    columns = {f"c{i:02d}": texts(rng.integers(0, 3, ROWS)) for i in range(38)} | {
        "language": texts(rng.integers(0, 2, ROWS))
    }
    columns |= {"flat": np.full(ROWS, "x", dtype=object)}
    space = search_space(kpi.from_frame(wide(columns)))
    assert space.dimensions == ("language", *(f"c{i:02d}" for i in range(38)))
    assert (dict(space.left_out), space.sentence) == ({CONSTANT: ("flat",)}, "")


def test_of_more_columns_each_that_is_left_out_has_its_reason() -> None:
    rng = np.random.default_rng(2)
    base = rng.integers(0, 3, ROWS)
    sparse = texts(rng.integers(0, 2, ROWS))
    sparse[rng.random(ROWS) < 0.5] = None
    columns = {
        **{f"a{i:02d}": texts(rng.integers(0, 2, ROWS)) for i in range(30)},
        **{f"b{i:02d}": texts(rng.integers(0, 4, ROWS)) for i in range(30)},
        "language": texts(rng.integers(0, 9, ROWS)),  # a cohort that the index knows comes first
        "flat": np.full(ROWS, "x", dtype=object), "each": texts(np.arange(ROWS)),
        "odd": texts((np.arange(ROWS) < 29).astype(int)), "half": sparse,
        "again": texts(columns_of := rng.integers(0, 2, ROWS)), "again_too": texts(1 - columns_of, "other"),
        "base": texts(base),
    }  # fmt: skip
    space = search_space(kpi.from_frame(wide(columns)))
    taken = {"language", "again", "base", *(f"a{i:02d}" for i in range(30)), *(f"b{i:02d}" for i in range(7))}
    assert set(space.dimensions) == taken
    assert {k: set(v) for k, v in space.left_out.items()} == {
        CONSTANT: {"flat"}, MANY: {"each"}, SMALL: {"odd"}, SAME: {"again_too"},
        BEYOND: {"half", *(f"b{i:02d}" for i in range(7, 30))},
    }  # fmt: skip
    assert space.sentence == (
        "Searched 40 of 68 columns: the most filled, of these those with the fewest values. Not searched: 1 with one "
        "value, 1 with 500 values or more, 1 with fewer than 30 requests in or beside each value, 1 that split the "
        "requests as another does, 24 beyond the first 40."
    )


def test_the_outcome_has_no_part_in_the_choice() -> None:
    rng = np.random.default_rng(3)
    columns = {f"c{i:02d}": texts(rng.integers(0, 2 + i % 5, ROWS)) for i in range(60)}
    frame = wide(columns)
    turned = frame.assign(success=frame["c59"] == "v0")
    assert search_space(kpi.from_frame(frame)).dimensions == search_space(kpi.from_frame(turned)).dimensions


@pytest.mark.slow
def test_three_thousand_columns_are_searched_and_what_was_not_is_said(home, tmp_path, capsys) -> None:
    rng = np.random.default_rng(4)
    kinds = [lambda: rng.integers(0, 2, 400), lambda: np.arange(400), lambda: np.zeros(400, int)]
    columns = {f"x_c{i:04d}": texts(kinds[i % 3]()) for i in range(3000)}
    frame = wide({}).head(400).assign(**columns)
    frame["success"] &= ~((frame["x_c0000"] == "v1") & (rng.random(400) < 0.9))
    source = kpi.from_frame(frame)
    space = search_space(source)
    assert {k: len(v) for k, v in space.left_out.items()} == {CONSTANT: 1000, SMALL: 1000, BEYOND: 960}
    found = kpi.weak_segments(source, kpi.Slice(last="all"))
    assert found.segments["where"].iloc[0] == {"c0000": "v1"}
    for told in (found.sentence, kpi.story(source).sentence, kpi.contrast(source, kpi.Slice(last="all")).sentence):
        assert "Searched 40 of 3,000 columns" in told
        assert "960 beyond the first 40" in told
    assert set(found.to_dict()["not_searched"]) == {CONSTANT, SMALL, BEYOND}
    names = {"user_key": "user_id", "started_at": "timestamp", **{c: c.removeprefix("x_") for c in columns}}
    frame.iloc[:, : 3 + 150].rename(columns=names).to_csv(tmp_path / "w.csv", index=False)
    kpi.load([tmp_path / "w.csv"], dataset="w")  # which keeps columns out that have another value in each row
    capsys.readouterr()
    cli.main(["segments", "--dataset", "w", "--last", "all"])
    assert "Searched 40 of 100 columns" in capsys.readouterr().out
    cli.main(["findings", "--dataset", "w", "--json"])
    assert {k: len(v) for k, v in json.loads(capsys.readouterr().out)["not_searched"].items()} == {
        CONSTANT: 50, BEYOND: 10
    }  # fmt: skip


def test_a_column_that_is_called_with_the_prefix_can_be_searched() -> None:
    rng = np.random.default_rng(5)
    source = kpi.from_frame(wide({"x_x_part": texts(rng.integers(0, 2, ROWS))}))
    assert search_space(source).dimensions == ("x_x_part",)
    assert kpi.summarise(source, "requests", by=["x_x_part"])["value"].sum() > 0
