"""Lines that are read at once give what the csv module makes of each, or are left to it."""

from __future__ import annotations

import csv
import io

import pytest

from kpi.ingest.files import tabular
from kpi.ingest.files.plain_rows import plain_rows
from kpi.ingest.files.source import Opened
from kpi.ingest.limits import Limits

NAMES = ["request id (#)", "model", "cost"]


@pytest.mark.parametrize("text", [
    "r1,gpt-4o,0.5\nr2,,1\n", "r1,é,0.5\n\n r2 ,合计,\n", "r1,a,1", '"r1","a ""b"", c","1"\n', 'r1,"two\nlines",1\n',
    "Total cost,a,1\ntea,b,2\n", ",a,1\n", "\n\n",
])  # fmt: skip
def test_as_the_csv_module(text: str) -> None:
    found = plain_rows(list(io.StringIO(text)), NAMES, ",")
    assert found is not None
    expected = [row for row in csv.reader(io.StringIO(text), strict=True) if row]
    assert [list(row.values()) for row in found.to_pylist()] == expected


@pytest.mark.parametrize("text", [
    "r1,a\n", "r1,a,1,2\n", 'r1,"a"b,1\n', 'r1,"a,1\n', "r1,a\rb,1\n", "Total,,5\n", "\u00a0Summe: ,3,5\n",
    ",Total,5\n", " request id (#) ,model,cost\n",
])  # fmt: skip
def test_odd_lines_are_left_to_a_closer_look(text: str) -> None:
    assert plain_rows(list(io.StringIO("r0,a,1\n" + text)), NAMES, ",") is None


@pytest.mark.parametrize("stretch", [1, 40, 1_000_000])
def test_rows_and_their_numbers_do_not_depend_on_how_much_is_read_at_once(
    stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f'r{i},"line\nof {i}",{i}\n' for i in range(1, 31)]
    lines[4], lines[9], lines[29] = "r5,short\n", 'r10,"never closed,1\n', "Total,,435\n"
    data = ("id,note,cost\n" + "".join(lines)).encode()
    monkeypatch.setattr(tabular, "_BLOCK_BYTES", stretch)
    source = Opened("t.csv", data, None, lambda: io.BufferedReader(io.BytesIO(data)), len(data))
    dropped: list[int] = []
    parts = list(tabular.batches(
        source, limits=Limits(), drop=lambda row, reason, hint: dropped.append(row), note=lambda _: None
    ))  # fmt: skip
    ids = [i for part in parts for i in part.table["id"].to_pylist()]
    numbers = [n for part in parts for n in part.numbers.tolist()]
    assert ids[:8] == ["r1", "r2", "r3", "r4", "r6", "r7", "r8", "r9"]
    assert ids[-1] == "r29"
    assert "r10" not in ids
    assert numbers[:8] == [1, 2, 3, 4, 6, 7, 8, 9]
    assert dropped[:2] == [5, 10]
    assert dropped[-1] == numbers[-1] + 1
