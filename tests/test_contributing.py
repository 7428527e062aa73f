"""The steps of docs/CONTRIBUTING.md, each tried literally in a copy of the project.

Adding a format is tried with the README's own code, among the tests of formats.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENTRY = """
[metrics.use.pages_seen]
like = "mean"
label = "Documents seen"
unit = "count"
direction = "none"
definition = "Documents seen"
of = "retrieved_docs"
"""
PAGE = '''"""Hello: a page that says which data set it shows."""

import streamlit as st

from app import slicebar, text

here = slicebar.current()
st.markdown(text.safe(f"Hello {here.view.dataset}"))
'''
LINE = '            st.Page("views/hello.py", title="Hello", url_path="hello"),\n'
FRAME = """
import pandas as pd
import kpi
at = pd.date_range("2026-03-01", periods=400, freq="h", tz="UTC")
source = kpi.from_frame(pd.DataFrame({
    "trace_id": [f"t{i}" for i in range(400)], "started_at": at, "user_key": [f"u{i % 40}" for i in range(400)],
    "language": ["de", "en"] * 200, "retrieved_docs": [1, 3] * 200,
}))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the recipes change."""
    folder = tmp_path / "project"
    for name in ("kpi", "app", "docs", "tests", "sample_data"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "screenshots"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def python(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy, which hides the project itself."""
    environment = {**os.environ, "PYTHONPATH": str(project), "KPI_HOME": str(project / "home")}
    return subprocess.run(
        [sys.executable, *words], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def answer(project: Path, code: str) -> str:
    done = python(project, "-c", code)
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout.strip()


def insert_before(path: Path, mark: str, text: str) -> None:
    before, found, after = path.read_text("utf-8").rpartition(mark)
    assert found, f"{path.name} has no {mark!r}"
    path.write_text(before + text + found + after, "utf-8")


@pytest.mark.slow
def test_a_metric_is_one_entry_and_one_line(project: Path) -> None:
    table = project / "kpi" / "measure" / "metrics.toml"
    table.write_text(table.read_text("utf-8") + ENTRY, "utf-8")
    asked = FRAME + 'print(kpi.summarise(source, "pages_seen", kpi.Slice(last="all"))["value"].iloc[0])'
    assert answer(project, asked) == "2.0"

    documented = [
        "-m", "pytest", "-q", "-p", "no:cacheprovider", next(p.as_posix() for p in project.rglob("test_docs.py")),
        "-k", "every_metric_is_documented and pages_seen",
    ]  # fmt: skip
    missing = python(project, *documented)
    assert missing.returncode == 1, missing.stdout + missing.stderr
    assert "pages_seen" in missing.stdout
    told = answer(project, "import kpi; m = kpi.METRICS['pages_seen']; print('|', ' | '.join(map(str, ("
                  "'`pages_seen`', m.unit, m.direction, m.definition, m.formula, m.null_rule, m.interval, m.min_n"
                  "))), '|')")  # fmt: skip
    page = project / "docs" / "metrics.md"
    page.write_text(f"{page.read_text('utf-8').rstrip()}\n{told}\n", "utf-8")
    written = python(project, *documented)
    assert written.returncode == 0, written.stdout


@pytest.mark.slow
def test_a_page_is_one_file_and_one_line(project: Path) -> None:
    (project / "app" / "views" / "hello.py").write_text(PAGE, "utf-8")
    insert_before(project / "app" / "main.py", '        ],\n        "Run it"', LINE)
    home = project / "home"
    made = python(project, "-m", "sample_data", "--requests", "300")
    assert made.returncode == 0, made.stderr[-2_000:]
    shown = answer(project, (
        "from streamlit.testing.v1 import AppTest\n"
        f"at = AppTest.from_file({str(project / 'app' / 'main.py')!r}, default_timeout=600).run()\n"
        "at.switch_page('views/hello.py').run()\n"
        "assert not at.exception, at.exception\n"
        "print([m.value for m in at.markdown])"
    ))  # fmt: skip
    assert home.is_dir()
    assert "Hello sample" in shown


@pytest.mark.slow
def test_the_wording_of_a_finding_is_changed_in_narrate_alone(project: Path) -> None:
    path = project / "kpi" / "narrate" / "drift.py"
    text = path.read_text("utf-8")
    assert text.count("no clear change") == 1
    path.write_text(text.replace("no clear change", "nothing to see"), "utf-8")
    asked = FRAME + (
        'found = kpi.drift(source, "language", kpi.Slice(last="7d", baseline="previous"))\n'
        "print(found.sentence, found.distance.value, found.distance.noise)"
    )
    changed, before = answer(project, asked), answer(ROOT, asked)
    assert "nothing to see" in changed
    assert changed.replace("nothing to see", "no clear change") == before, "no number has changed"


def test_statistics_know_no_metric_and_each_module_is_tried() -> None:
    """What the recipe for a statistic asks of those that are there."""
    tried = "".join(
        path.read_text("utf-8") for folder in ("oracles", "unit") for path in (ROOT / "tests" / folder).rglob("*.py")
    )
    for path in (ROOT / "kpi" / "stats").glob("[!_]*.py"):
        known = re.findall(r"^from (kpi[\w.]*) import", path.read_text("utf-8"), re.MULTILINE)
        assert all(name in ("kpi.errors", "kpi.result") or name.startswith("kpi.stats.") for name in known), path.name
        imported = re.search(rf"from kpi\.stats(\.{path.stem} import| import {path.stem}\b)", tried)
        assert path.stem == "types" or imported, f"no test imports {path.name}"
