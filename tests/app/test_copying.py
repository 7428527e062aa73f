"""Copying a vendor's database on the Data page: names only, a receipt, and errors in words."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

import kpi
from tests.unit.ingest.databases import stores


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


def test_another_key_is_refused_in_words(calls: Path, empty_app, monkeypatch: pytest.MonkeyPatch) -> None:
    at = empty_app("data")
    at.text_input(key="copy_dataset").set_value("gateway").run()
    at.button(key="copy_go").click().run()
    before = [(d.version, d.requests) for d in kpi.datasets()]
    monkeypatch.setenv("KPI_USER_KEY", "0123456789abcdef" * 4)
    at.button(key="copy_go").click().run()
    assert not at.exception
    shown = " ".join(e.value for kind in (at.error, at.markdown, at.caption) for e in kind).replace("\\", "")
    assert "the key at hand is" in shown
    assert "kpi key rotate --dataset gateway" in shown
    assert [(d.version, d.requests) for d in kpi.datasets()] == before


def test_a_row_of_the_future_is_counted_and_blocks_no_other(calls: Path, home: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{calls}")
    later = "2999-01-01 00:00:00.000000"
    with engine.begin() as connection:
        changed = connection.execute(
            sa.text(
                'UPDATE "LiteLLM_SpendLogs" SET "startTime" = :at, "endTime" = :at, updated_at = :at '
                'WHERE request_id = (SELECT min(request_id) FROM "LiteLLM_SpendLogs")'
            ),
            {"at": later},
        )
    assert changed.rowcount == 1
    receipt = kpi.copy("calls", dataset="gateway")
    assert (receipt.requests, receipt.dropped) == (29, 1)
    quiet = kpi.copy("calls", dataset="gateway")  # nothing but that row is met again
    assert (quiet.version, quiet.dropped) == (1, 1)
    assert any("Nothing is new" in note for note in quiet.notes)
    stores.insert(engine, stores.litellm_tables(), stores.litellm_rows(30, 35, written=datetime.now(UTC)))
    engine.dispose()
    again = kpi.copy("calls", dataset="gateway")
    assert kpi.datasets()[0].requests == 34
    assert sum(n for reason, n in again.drop_reasons.items() if "future" in reason) == 1
