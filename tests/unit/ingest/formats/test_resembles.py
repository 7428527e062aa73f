"""A vendor's table under rewritten names is told to be one: Snowflake writes them in capitals, people with blanks."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.ingest.formats import recognise, resembles
from tests.unit.ingest.formats.helpers import read_all

COLUMNS = ["request_id", "call_type", "spend", "startTime", "endTime", "model", "prompt_tokens"]


@pytest.mark.parametrize(
    "spell", [str.upper, str.lower, lambda n: n.replace("_", " ").title(), lambda n: n.replace("_", "")]
)
def test_the_note_says_whose_columns_they_are(tmp_path: Path, spell: object) -> None:
    names = [spell(name) for name in COLUMNS]
    assert recognise(names) is None
    assert resembles(names).name == "litellm"
    path = tmp_path / "spend.csv"
    path.write_text(f"{','.join(names)}\na,completion,0.01,2026-10-01T10:00:00Z,2026-10-01T10:00:02Z,gpt-4o,7\n")
    tables, receipt = read_all([path])
    assert tables["requests"][0]["input_tokens"] == 7
    assert any("are those of LiteLLM" in note and "as it came" in note for note in receipt.notes)


@pytest.mark.parametrize("names", [[], ["id", "type"], ["Span id", "Trace id"], ["request", "latency_ms", "cost_usd"]])
def test_a_table_of_ones_own_is_nobodys(names: list[str]) -> None:
    assert resembles(names) is None
