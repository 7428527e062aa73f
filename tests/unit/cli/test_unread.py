"""`kpi load` shows the measures that nobody reads, in words, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kpi import cli
from tests.unit.cli.conftest import Run
from tests.unit.span_loading import message, span

pytestmark = pytest.mark.slow


def test_load_shows_the_measures_that_nobody_reads(run: Run, home: Path, tmp_path: Path) -> None:
    call = {"gen_ai.operation.name": "chat", "acme.prompt_tokens": 1251, "acme.words": "private"}
    path = tmp_path / "traces.jsonl"
    path.write_bytes(message([span(1, attributes=call), span(2, attributes=call)]))
    code, out, _ = run("load", path, "--dataset", "one", "--json")
    assert code == cli.FINE
    assert json.loads(out)["unread"] == [{"name": "acme.prompt_tokens", "count": 2, "example": 1251.0}]
    assert list(json.loads(out))[-1] == "unread"
    code, out, _ = run("load", path, "--dataset", "two")
    assert "Measures that nobody reads: acme.prompt_tokens (2 times, such as 1,251)." in out
    assert "private" not in out
