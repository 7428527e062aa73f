"""Rows of spans: one truth as every exporter writes it, and the exports of the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.ingest.formats.exporters import EXPORTERS, TRUTH
from tests.unit.ingest.formats.helpers import read_all, requests_of


def told(paths: list[Path]) -> dict[str, Any]:
    """What `TRUTH` names, from some files."""
    tables, receipt = read_all(paths)
    found = list(requests_of(tables).values())
    assert found, receipt.notes
    sums = {name: found[0][name] for name in TRUTH if name not in ("requests", "spans")}
    return {"requests": len(found), "spans": receipt.spans, **sums}


@pytest.mark.parametrize("name", sorted(EXPORTERS))
def test_one_truth_whoever_wrote_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / "export.txt"
    path.write_bytes(EXPORTERS[name]())
    found = told([path])
    found["error"] = bool(found["error"])
    assert found == TRUTH
