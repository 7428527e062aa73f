"""Damaged logs and session files of agents for which there is no genuine file: see `formats/test_mutations.py`."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from kpi.errors import KpiError
from tests.unit.ingest.agents.test_events import CODEX as CODEX_EVENTS, as_clickhouse, logs
from tests.unit.ingest.formats.helpers import read_all
from tests.unit.ingest.formats.test_agent_sessions import CLAUDE, CODEX
from tests.unit.ingest.formats.test_mutations import CPU_SECONDS, MUTANTS, assert_clean, cpu_limit, mutated

pytestmark = pytest.mark.slow
TOLD = [
    as_clickhouse(row, {a["key"]: next(iter(a["value"].values())) for a in row["attributes"]}) for row in CODEX_EVENTS
]
SEEDS = {
    "codex events": [logs("codex_cli_rs", [row]) for row in CODEX_EVENTS],
    "otel_logs": [{**row, "ServiceName": "codex_cli_rs"} for row in TOLD],
    "claude code sessions": CLAUDE,
    "codex sessions": CODEX,
}


@pytest.mark.parametrize("name", SEEDS)
@pytest.mark.parametrize("indent", [None, 1])
def test_mutants(tmp_path: Path, name: str, indent: int | None) -> None:
    data = "\n".join(json.dumps(row, indent=indent) for row in SEEDS[name]).encode()
    path, read = tmp_path / "mutant.jsonl", 0
    for number in range(MUTANTS):
        path.write_bytes(mutated(data, random.Random(f"{name}:{indent}:{number}")))
        try:
            with cpu_limit(CPU_SECONDS):
                tables, _ = read_all([path])
        except KpiError:
            continue
        assert_clean(tables)
        read += bool(tables)
    assert read > MUTANTS // 2
