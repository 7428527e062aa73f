"""Delimited text: what is found does not depend on how many rows are read at once."""

from __future__ import annotations

import io

import pytest

from kpi.ingest.files import tabular
from kpi.ingest.files.source import Opened
from kpi.ingest.limits import Limits


@pytest.mark.parametrize("at_once", [1, 4, 500])
def test_odd_rows_cost_themselves_alone(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f'r{i},"line\nof {i}",{i}\n' for i in range(1, 31)]
    lines[4], lines[9], lines[14], lines[29] = "r5,short\n", 'r10,a "b" c,1\n', "id,note,cost\n", "Total,,435\n"
    lines[19], lines[24] = 'r20,"a" b,1\n', "r25,x,1,,\n\n"
    data = ("id,note,cost\n" + "".join(lines)).encode()
    monkeypatch.setattr(tabular, "_AT_ONCE", at_once)
    source = Opened("t.csv", data, None, lambda: io.BufferedReader(io.BytesIO(data)), len(data))
    dropped: list[int] = []
    notes: list[str] = []
    (part,) = tabular.batches(
        source, limits=Limits(), drop=lambda row, reason, hint: dropped.append(row), note=notes.append
    )
    # The header between the rows is no row, so that what follows it is counted one lower.
    assert part.table["id"].to_pylist() == [f"r{i}" for i in range(1, 30) if i not in (5, 15, 20)]
    assert part.numbers.tolist() == [i - (i > 15) for i in range(1, 30) if i not in (5, 15, 20)]
    assert part.table["note"].to_pylist()[8] == 'a "b" c'
    assert (dropped, len(notes)) == ([5, 19, 29], 1)
