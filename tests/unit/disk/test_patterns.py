"""Regular expressions of tables: a module asks for none that its table lacks, and none there is unused."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ASKED = re.compile(r"\b_RE\.(\w+)")
MODULES = [path for path in sorted((ROOT / "kpi").rglob("*.py")) if "\n_RE = " in path.read_text("utf-8")]


def test_there_are_such_modules() -> None:
    assert len(MODULES) >= 8


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_names_of_shapes_are_those_that_the_module_asks_for(path: Path) -> None:
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert set(ASKED.findall(path.read_text("utf-8"))) == set(vars(module._RE))
