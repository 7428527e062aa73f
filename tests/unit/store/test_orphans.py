"""Scores that name only their span find its trace, whichever file comes first."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.arrow_rows import to_table
from kpi.ingest.staging import Stage
from kpi.receipts import Receipt
from kpi.store import lake
from kpi.store.merge import literal

SPAN = {"trace_id": "t1", "span_id": "s1", "kind": "llm", "started_at": 1_795_455_516_000_000, "duration_us": 5}
SCORE = {"score_id": "a", "span_id": "s1", "name": "correctness", "value": 1.0, "source": "human"}


@pytest.fixture(autouse=True)
def _state(home: Path) -> None:
    """Every test has its own state folder."""


def commit(tmp_path: Path, **tables: list[dict]) -> Receipt:
    receipt = Receipt()
    folder = tmp_path / f"stage{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    stage = Stage(folder, receipt)
    for name, rows in tables.items():
        stage.write(name, to_table(name, rows))
    stage.finish()
    return lake.commit("scored", folder, receipt)


def scores() -> list[tuple]:
    import duckdb

    files = ", ".join(literal(str(p)) for p in lake.read_version("scored").files["scores"])
    return duckdb.sql(f"SELECT score_id, trace_id FROM read_parquet([{files}]) ORDER BY 1, 2").fetchall()


def success(tmp_path: Path) -> bool | None:
    import kpi

    found = kpi.summarise(kpi.open("scored"), ["correctness"])
    return None if not found["n"].iloc[0] else bool(found["value"].iloc[0])


def test_scores_first_then_spans(tmp_path: Path) -> None:
    receipt = commit(tmp_path, scores=[SCORE])
    assert scores() == [("a", None)]
    assert any("1 scores name a span that is not loaded" in n for n in receipt.notes)
    commit(tmp_path, spans=[SPAN])
    assert scores() == [("a", "t1")]
    assert success(tmp_path) is True


def test_spans_first_then_scores_and_again(tmp_path: Path) -> None:
    commit(tmp_path, spans=[SPAN])
    commit(tmp_path, scores=[SCORE])
    assert scores() == [("a", "t1")]
    before = lake.read_version("scored").number
    again = commit(tmp_path, scores=[SCORE])
    assert again.loaded == 0
    assert lake.read_version("scored").number == before
    assert success(tmp_path) is True


def test_a_later_copy_without_the_trace_loses_nothing(tmp_path: Path) -> None:
    commit(tmp_path, scores=[{**SCORE, "trace_id": "t1"}])
    commit(tmp_path, scores=[SCORE])
    assert scores() == [("a", "t1")]


def test_a_span_id_of_two_traces_takes_no_score(tmp_path: Path) -> None:
    commit(tmp_path, spans=[SPAN, {**SPAN, "trace_id": "t2"}], scores=[SCORE])
    assert scores() == [("a", None)]
