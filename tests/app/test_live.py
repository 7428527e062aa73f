"""A named database in the app: chosen like a data set, read in place on every page, honest when it goes away."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

import kpi
from kpi.store import connections
from sample_data.world import build
from tests.engines import insert

PAGES = ("overview", "trends", "traces", "cost", "segments", "drift", "data")


@pytest.fixture(scope="session")
def rows() -> pa.Table:
    return build(requests=2_000)["requests"]


@pytest.fixture
def shop(rows: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The connection "shop": a SQLite file of the sample's requests."""
    path = tmp_path / "shop.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    insert(engine, "requests", rows)
    engine.dispose()
    monkeypatch.setenv("KPI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("KPI_SECRETS", str(tmp_path / "absent.toml"))
    monkeypatch.setenv("KPI_CONNECTION_SHOP", "sqlite:///shop.db")
    yield path
    connections.forget()


def texts(at) -> str:
    found = [e.value for kind in (at.markdown, at.caption, at.error, at.warning) for e in kind]
    return "\n".join(found).replace("\\", "")


@pytest.mark.parametrize("name", PAGES)
def test_every_page_reads_in_place(shop, app, name):
    at = app(name, data="db:shop")
    assert not at.error
    assert "live from shop, read at " in texts(at)
    assert "version 1" not in texts(at)


def test_it_is_chosen_like_a_data_set_and_shows_its_own_numbers(shop, app, rows):
    at = app()
    picker = at.selectbox(key="bar_dataset")
    assert picker.options == ["sample", "db:shop"]
    picker.select("db:shop").run()
    at.pills(key="bar_last").set_value("all").run()
    assert not at.error
    assert at.query_params["data"] in ("db:shop", ["db:shop"])
    assert f"{rows.num_rows:,} requests" in texts(at)


def test_a_link_to_it_says_nothing_of_moved_data(shop, app):
    at = app(data="db:shop", fp=kpi.open("db:shop").fingerprint)
    assert "moved on" not in texts(at)
    assert "rows read in place may have changed" in texts(at)


def test_a_trace_is_shown_without_the_user(shop, app, rows):
    one = kpi.find_traces(kpi.open("db:shop"), kpi.Slice(last="7d"), limit=1)["trace_id"][0]
    user = dict(zip(rows["trace_id"].to_pylist(), rows["user_key"].to_pylist(), strict=True))[one]
    at = app("traces", data="db:shop", trace=one)
    assert not at.error
    assert one in str(at)
    assert user not in str(at)


def test_a_database_that_is_gone_is_said_and_works_again_on_the_next_click(shop: Path, app):
    away = shop.with_name("away.db")
    shop.rename(away)
    connections.forget()
    at = app(data="db:shop")
    assert "This connection cannot be used" in at.error[0].value.replace("\\", "")
    away.rename(shop)
    at.run()
    assert not at.error
    assert "live from shop" in texts(at)
