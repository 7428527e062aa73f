"""The short form of `python -m tests.chaos_kills`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.chaos_kills import run

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 is a POSIX signal")
def test_kills_among_writers_and_readers_leave_whole_versions_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("KPI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    counts = run(tmp_path, 6, writers=("a", "a"))
    print(counts)
    assert counts.kills >= 6
    assert counts.acknowledged
    assert counts.reads
    assert not counts.bad, (str(counts), counts.left, counts.errors)
