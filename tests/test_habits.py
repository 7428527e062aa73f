"""Habits of the tests themselves: each shows what it asserts, and none asks how fast the machine is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, settings

TESTS = Path(__file__).resolve().parent
_SHOWN = re.compile(r"\bassert\b|\bassert_\w+\(|pytest\.(?:raises|fail|warns)\(|\bexpect\(|\.wait_for|\bfails?_\w+\(")
_CLOCK = re.compile(r"\btime\.(?:monotonic|perf_counter|process_time|time)\(")
# Files in which a clock decides when to kill, or when to give up; and redaction, which is held to its own time.
CLOCKS = {"chaos_kills.py", "driving.py", "test_lake.py", "test_lifeline.py", "test_load.py", "test_redact.py"}


def every() -> Iterator[tuple[Path, ast.FunctionDef]]:
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield path, node


def test_every_test_shows_an_assertion() -> None:
    """A helper that asserts is called assert_…, so that a reader sees it."""
    assert [f"{path.name}: {test.name}" for path, test in every() if not _SHOWN.search(ast.unparse(test))] == []


def test_only_known_files_look_at_a_clock() -> None:
    found = {
        path.name
        for path in TESTS.rglob("*.py")
        if path.parent.name != "bench" and _CLOCK.search(path.read_text(encoding="utf-8"))
    }
    assert found - CLOCKS == set()


def test_a_busy_machine_fails_no_example_of_hypothesis() -> None:
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check
