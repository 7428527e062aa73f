"""A small planted world in a state folder of its own, and the app on it, in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from sample_data.__main__ import main as sample

MAIN = Path(__file__).resolve().parents[2] / "app" / "main.py"
NAMES = sorted(path.stem for path in (MAIN.parent / "views").glob("*.py"))
PAGES = {name: f"views/{name}.py" for name in NAMES}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State folder that holds the data set "sample": 3,000 requests over 90 days."""
    folder = tmp_path_factory.mktemp("world")
    before = os.environ.get("KPI_HOME")
    os.environ["KPI_HOME"] = str(folder)
    try:
        assert sample(["--requests", "3000", "--end", "2026-11-22"]) == 0
    finally:
        if before is None:
            del os.environ["KPI_HOME"]
        else:
            os.environ["KPI_HOME"] = before
    return folder


@pytest.fixture
def app(world: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    """Open a page with query parameters; fails on any exception."""
    monkeypatch.setenv("KPI_HOME", str(world))
    yield _opener
    _forget()


@pytest.fixture
def empty_app(home: Path) -> Iterator[Callable[..., AppTest]]:
    """The app on a state folder with nothing in it."""
    home.mkdir(exist_ok=True)
    _forget()
    yield _opener
    _forget()


def _opener(name: str = "overview", **query: str | list[str]) -> AppTest:
    at = AppTest.from_file(str(MAIN), default_timeout=600)
    for key, value in query.items():
        at.query_params[key.rstrip("_")] = value
    at.run()
    if name != "overview":
        at.switch_page(PAGES[name]).run()
    assert not at.exception, at.exception[0].message
    return at


def _forget() -> None:
    """Other tests use other state folders under the same names of data sets."""
    import streamlit as st

    st.cache_data.clear()
    st.cache_resource.clear()
