"""The notebooks of docs/tasks: each gives again what is stored in it; their files are those of `tests.team`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from tests import notebooks, team

TASKS = {"your-first-frame", "is-b-better", "why-did-it-fall", "your-own-metric", "nightly-job", "judge-and-human",
         "paired-evaluations"}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("page", notebooks.pages(), ids=lambda page: page.stem)
def test_what_a_notebook_stores_is_what_it_prints(page: Path, home: Path) -> None:
    assert notebooks.run(page) == notebooks.stored(page)


def test_every_task_has_its_notebook_and_is_linked() -> None:
    assert {page.stem for page in notebooks.pages()} == TASKS
    readme = (team.FOLDER.parents[1] / "README.md").read_text(encoding="utf-8")
    index = (team.FOLDER.parent / "index.md").read_text(encoding="utf-8")
    assert {name for name in TASKS if f"docs/tasks/{name}.ipynb" not in readme} == set()
    assert {name for name in TASKS if f"tasks/{name}" not in index} == set()


@pytest.mark.parametrize(("name", "rows"), [("requests", team.frame()), ("evaluation", team.evaluation())])
def test_the_files_are_the_planted_ones(name: str, rows: pd.DataFrame) -> None:
    stored = gzip.decompress((team.FOLDER / f"{name}.csv.gz").read_bytes()).decode()
    assert stored == rows.to_csv(index=False)


def test_outputs_are_taken_as_a_notebook_takes_them(tmp_path: Path) -> None:
    cells = ["import sys\nprint(1, hasattr(sys, 'ps1'))\n2 + 1", "x = 1", "assert x == 1"]
    told = [{"cell_type": "code", "source": [cell], "outputs": []} for cell in cells]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": told}), encoding="utf-8")
    first, *others = notebooks.run(tmp_path / "a.ipynb")
    assert [o.get("text") or o["data"] for o in first] == [["1 True\n"], {"text/plain": ["3"]}]
    assert others == [[], []]
