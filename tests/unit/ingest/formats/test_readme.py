"""The README's section "Add a format", followed literally: its code in a copy of the package, its example loaded."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[4]
RECORDS = [
    {"acme_id": "c1", "began": "2026-11-01T10:00:00Z", "customer": "ann@example.org", "team": "north", "stars": 5,
     "shoe_size": 44,
     "acme_turns": [
         {"at": "2026-11-01T10:00:01Z", "ask": "Where is it?", "answer": "On its way.", "ms": 840, "model": "m-1",
          "tokens_in": 100, "tokens_out": 20},
         {"at": "2026-11-01T10:01:00Z", "ask": "When?", "answer": "Tomorrow.", "ms": 160, "model": "m-1",
          "tokens_in": 130, "tokens_out": 10}]},
    {"acme_id": "c2", "began": "2026-11-01T11:00:00Z", "customer": "bob@example.org", "team": "south", "stars": 1,
     "acme_turns": [{"at": "2026-11-01T11:00:00Z", "ask": "Refund?", "answer": "No.", "ms": 500, "model": "m-1"}]},
]  # fmt: skip


def test_a_newcomer_adds_a_format(tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text().split("### Add a format")[1]
    code = re.search(r"```python\n# (\S+)\n(.*?)```", section, re.DOTALL)
    assert code, "the section shows the file, with its path in the first line"
    package = tmp_path / "project" / "kpi"
    shutil.copytree(ROOT / "kpi", package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "project" / code[1]).write_text(code[2])
    export = tmp_path / "export.jsonl"
    export.write_text("".join(json.dumps(r) + "\n" for r in RECORDS) + '{"acme_id": "c3", "acme_tur')
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "project"), "KPI_HOME": str(tmp_path / "home")}

    def kpi(*words: str) -> dict:
        command = [sys.executable, "-m", "kpi.cli", *words, "--dataset", "acme", "--json"]
        done = subprocess.run(
            command, cwd=tmp_path / "project", env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    receipt = kpi("load", str(export))
    assert receipt["format"] == "acme"
    assert receipt["requests"] == 2
    assert receipt["spans"] == 3
    assert receipt["dropped"] == 1  # the line that is cut off
    assert receipt["unmapped"] == ["shoe_size"]
    trace = kpi("trace", "c1")
    assert trace["request"]["llm_calls"] == 2
    assert trace["request"]["input_tokens"] == 230
    assert trace["request"]["model_us"] == 1_000_000
    assert trace["request"]["user_rating"] == 1.0
    assert trace["request"]["tenant"] == "north"
    assert "ann@" not in json.dumps(trace)
