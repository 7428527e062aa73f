"""`kpi load` ends with 0 where all is well, and refuses a load of nothing and a load that loses much."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kpi
from kpi import cli
from tests.unit.cli.test_cli import Run

pytestmark = pytest.mark.slow

GOOD = [{"trace_id": f"r{i}", "success": True, "latency_ms": 100 + i} for i in range(20)]


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def names() -> list[str]:
    return [d.name for d in kpi.datasets()]


def test_a_large_share_dropped_is_refused_and_may_be_accepted(run: Run, home: Path, tmp_path: Path) -> None:
    """6 of 26 lines are broken, 23 %."""
    path = lines(tmp_path / "rows.jsonl", *GOOD, *['{"id": "a'] * 6)
    code, out, err = run("load", path, "--dataset", "mine", "--json")
    told = json.loads(out)["error"]
    assert (code, told["code"]) == (cli.BAD, "ingest.loss")
    assert "23 % of 26 rows" in err
    assert "6 × the line is not valid JSON" in err
    assert "--allow-loss" in err
    assert names() == []
    code, out, _ = run("load", path, "--dataset", "mine", "--allow-loss", "--json")
    assert (code, json.loads(out)["requests"], json.loads(out)["dropped"]) == (cli.FINE, 20, 6)


def test_a_small_share_dropped_is_stored(run: Run, home: Path, tmp_path: Path) -> None:
    """2 of 22 lines, 9 %."""
    path = lines(tmp_path / "rows.jsonl", *GOOD, '{"id": "a', '{"id": "b')
    assert run("load", path, "--dataset", "mine")[0] == cli.FINE
    code, out, _ = run("load", path, "--dataset", "mine")
    assert code == cli.FINE
    assert "stored already" in out


def test_rows_that_overwrite_each_other_are_lost(run: Run, home: Path, tmp_path: Path) -> None:
    """Five times four rows of one id that say something else each: fifteen of twenty are lost."""
    path = lines(tmp_path / "rows.jsonl", *({**row, "trace_id": f"r{i % 5}"} for i, row in enumerate(GOOD)))
    code, _, err = run("load", path, "--dataset", "mine")
    assert code == cli.BAD
    assert "15 have the id of a later row that says something else" in err
    with pytest.raises(kpi.KpiError, match="75 % of 20 rows"):
        kpi.load(path, dataset="mine")
    receipt = kpi.load(path, dataset="mine", max_loss=1.0)
    assert (receipt.requests, receipt.repeated, receipt.overwritten) == (5, 15, 15)
    assert any("15 of the rows that were overwritten" in note for note in receipt.notes)


@pytest.mark.parametrize("twice", ["in one file", "as two files"])
def test_the_same_rows_twice_are_no_loss(run: Run, home: Path, tmp_path: Path, twice: str) -> None:
    if twice == "in one file":
        files = [lines(tmp_path / "rows.jsonl", *GOOD, *GOOD)]
    else:  # the columns of a file may stand in another order
        turned = [dict(reversed(row.items())) for row in GOOD]
        files = [lines(tmp_path / "a.jsonl", *GOOD), lines(tmp_path / "b.jsonl", *turned)]
    assert run("load", *files, "--dataset", "mine")[0] == cli.FINE
    assert kpi.datasets()[0].requests == 20


def test_a_load_of_nothing_is_no_success(run: Run, home: Path, tmp_path: Path) -> None:
    records = [{"timeUnixNano": "1767225600000000000", "body": {"stringValue": "started"}}] * 4
    path = lines(tmp_path / "app.jsonl", {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]})
    code, out, err = run("load", path, "--dataset", "mine", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (cli.BAD, "ingest.nothing_read")
    assert "4 log records, none of which is known" in err
    assert "stored already" not in out + err
    good = lines(tmp_path / "rows.jsonl", *GOOD)
    assert run("load", good, "--dataset", "mine")[0] == cli.FINE
    assert run("load", path, "--dataset", "mine")[0] == cli.BAD
    assert run("load", path, good, "--dataset", "both")[0] == cli.FINE


def test_a_page_without_records_is_no_success(run: Run, home: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.json"
    path.write_text(json.dumps({"data": [], "meta": {"page": 1, "totalItems": 0}}))
    assert run("load", path, "--dataset", "mine")[0] == cli.BAD
    assert names() == []
