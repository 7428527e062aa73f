"""Copying a vendor's database on the Data page: names only, a receipt, and errors in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

import kpi
from tests.unit.databases import stores


@pytest.fixture
def calls(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A LiteLLM database in a SQLite file that an administrator named."""
    path = tmp_path / "databases" / "calls.db"
    path.parent.mkdir()
    engine, tables = sa.create_engine(f"sqlite:///{path}"), stores.litellm_tables()
    next(iter(tables.values())).metadata.create_all(engine)
    stores.insert(engine, tables, stores.litellm_rows(0, 30))
    engine.dispose()
    monkeypatch.setenv("KPI_DATA_DIR", str(path.parent))
    monkeypatch.setenv("KPI_CONNECTION_CALLS", "sqlite:///calls.db")
    monkeypatch.setenv("KPI_CONNECTION_BROKEN", "sqlite:////etc/passwd")
    return path


def test_copy_by_name(calls: Path, empty_app) -> None:
    at = empty_app("data")
    assert at.selectbox(key="copy_connection").options == ["calls"]
    shown = " ".join(e.value for kind in (at.markdown, at.caption, at.error) for e in kind)
    assert "sqlite:" not in shown
    assert str(calls.parent) not in shown
    at.text_input(key="copy_dataset").set_value("gateway").run()
    at.button(key="copy_go").click().run()
    assert not at.exception
    assert "Loaded into gateway, version 1" in at.success[0].value.replace("\\", "")
    assert [(d.name, d.requests) for d in kpi.datasets()] == [("gateway", 30)]
    at.button(key="copy_go").click().run()
    assert any("Nothing is new" in m.value or "30" in m.value for m in at.markdown)
    assert [d.version for d in kpi.datasets()] == [1]


def test_a_database_of_nobody_known_is_said(calls: Path, empty_app) -> None:
    engine = sa.create_engine(f"sqlite:///{calls}")
    with engine.begin() as connection:
        connection.execute(sa.text('ALTER TABLE "LiteLLM_SpendLogs" RENAME TO other'))
    engine.dispose()
    at = empty_app("data")
    at.button(key="copy_go").click().run()
    assert not at.exception
    assert any("no tables of a known vendor" in error.value.replace("\\", "") for error in at.error)
    assert kpi.datasets() == []


def test_without_connections_nothing_is_offered(empty_app) -> None:
    assert not [b for b in empty_app("data").button if b.key == "copy_go"]
