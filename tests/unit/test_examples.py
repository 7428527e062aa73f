"""Docstrings of the public face: every parameter is explained, and every example runs on the sample data."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import kpi

PUBLIC = [name for names in kpi.GROUPS.values() for name in names]
TABLE = "request_id,success,latency_ms\nr1,true,900\nr2,false,1400\nr3,true,700\n"
USERS = "request_id,user_id,success\nr1,ann,true\nr2,bob,false\nr3,ann,true\n"
# These need a server; their calls are shown and not run.
NOT_RUN = {"copy", "SparkSource"}


def docstring(name: str) -> str:
    value = getattr(kpi, name)
    if callable(value):
        return inspect.getdoc(value) or ""
    module = importlib.import_module(f"kpi.{kpi._HOMES[name][0]}")  # the text under a constant
    body = ast.parse(inspect.getsource(module)).body
    at = next(i for i, node in enumerate(body) if isinstance(node, ast.AnnAssign) and node.target.id == name)  # type: ignore[union-attr]
    return inspect.cleandoc(ast.literal_eval(body[at + 1].value))  # type: ignore[attr-defined]


def section(text: str, title: str) -> str:
    found = re.search(rf"^{title}:\n((?:(?:    .*)?\n?)+)", text, re.MULTILINE)
    return found[1] if found else ""


@pytest.fixture(scope="module")
def place(stored_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with small files and a state folder of its own with the sample, for examples that write."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "requests.csv").write_text(TABLE)
    (folder / "users.csv").write_text(USERS)
    with sqlite3.connect(folder / "calls.db") as made:
        made.execute("CREATE TABLE requests (request_id TEXT, success BOOLEAN, started_at TIMESTAMP)")
        rows = [(f"r{i}", i % 2, f"2026-01-0{i} 10:00:00") for i in (1, 2, 3)]
        made.executemany("INSERT INTO requests VALUES (?, ?, ?)", rows)
    made.close()
    shutil.copytree(stored_home, folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPI_HOME", str(folder / "home"))
        patch.setenv("KPI_DATA_DIR", str(folder))
        patch.setenv("KPI_SECRETS", str(folder / "absent.toml"))
        patch.setenv("KPI_CONNECTION_LAB", "sqlite:///calls.db")
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def opened(place: Path) -> kpi.Source:
    return kpi.open("sample")


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_docstring_explains_each_parameter_and_has_an_example(name: str) -> None:
    text, value = docstring(name), getattr(kpi, name)
    assert ">>> " in section(text, "Example")
    assert ("doctest: +SKIP" in text) == (name in NOT_RUN)
    if not callable(value) or name == "Source":  # an abstract class: made by `open` and `from_frame`
        return
    signature = inspect.signature(value)
    told = re.findall(r"^    (\w+): ", section(text, "Args"), re.MULTILINE)
    assert told == list(signature.parameters)
    if not isinstance(value, type) and signature.return_annotation not in ("None", None):
        assert section(text, "Returns")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in NOT_RUN])
def test_the_example_runs(name: str, opened: kpi.Source) -> None:
    space = {"kpi": kpi, "source": opened}
    test = doctest.DocTestParser().get_doctest(docstring(name), space, f"kpi.{name}", None, None)
    report: list[str] = []
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    result = doctest.DocTestRunner(optionflags=options).run(test, out=report.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(report)
