"""Cells in which Python printed its objects: what pandas and numpy write, and what must stay text."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kpi.ingest.files.python_repr import read
from kpi.ingest.files.records import from_cell

UTC = dt.UTC


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array(["prod", "lang:de"], dtype=object), ["prod", "lang:de"]),  # Python would read one text here
        (np.array([{"q": "it's (x)", "n": None}, {"q": 'a "b"\n'}], dtype=object),
         [{"q": "it's (x)", "n": None}, {"q": 'a "b"\n'}]),
        ({"v": np.array([0.25, -2.0, 1e-05]), "t": (1, True)}, {"v": [0.25, -2.0, 1e-05], "t": [1, True]}),
        ([{"a": np.array([{"b": np.array(["(]"], dtype=object)}], dtype=object)}], [{"a": [{"b": ["(]"]}]}]),
        ({"at": pd.Timestamp("2026-11-23 17:44:26.5", tz="UTC")}, {"at": "2026-11-23 17:44:26.500000+0000"}),
        ([dt.datetime(2026, 11, 23, 17, 44, tzinfo=UTC)], ["2026-11-23T17:44:00"]),
        ([float("nan"), 12345678901234567890, "\\n"], [None, 12345678901234567890, "\\n"]),
        ({"half": "\ud83d!"}, {"half": "\ufffd!"}),
        ([], []),
        ({}, {}),
    ],
)  # fmt: skip
def test_what_str_writes_is_read_back(value: Any, expected: Any) -> None:
    assert read(str(value)) == expected


@pytest.mark.parametrize(
    "text",
    [
        str(np.arange(2_000)),  # numpy leaves the middle out
        "[1, 2", "['a'", "{'a': }", "{'a' 'b': 1}x", "[hello]", "[see (2)]",
        "[__import__('os').system('true')]", "[" * 9_000,
        str([dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))]),  # its hour would be wrong as UTC
        "[datetime.datetime(2026, 13, 1)]", "[array()]", "[1 2] is my list",
    ],
)  # fmt: skip
def test_all_else_stays_text(text: str) -> None:
    assert from_cell(text) == text


def test_random_objects_come_back() -> None:
    draw = random.Random(7)

    def thing(depth: int) -> Any:
        sort = draw.randrange(7 if depth < 4 else 5)
        if sort == 5:
            return [thing(depth + 1) for _ in range(draw.randrange(4))]
        if sort == 6:
            return {"".join(draw.choices("ab.'\"\\", k=3)): thing(depth + 1) for _ in range(draw.randrange(4))}
        return (None, True, draw.randrange(-(10**12), 10**12), draw.uniform(-1e9, 1e9),
                "".join(draw.choices("ab\n'\"\\()[]{},: ü📦", k=draw.randrange(9))))[sort]  # fmt: skip

    for _ in range(500):
        value = [thing(0)]
        assert read(repr(value)) == value
