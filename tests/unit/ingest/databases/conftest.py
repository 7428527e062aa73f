"""Named connections for tests: a private PostgreSQL with a database for each vendor, and a folder of SQLite files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from kpi.store import connections
from tests.postgres import server
from tests.unit.ingest.databases import stores

VENDORS: dict[str, Callable[[], dict[str, sa.Table]]] = {
    "phoenix": stores.phoenix_tables, "mlflow": stores.mlflow_tables, "litellm": stores.litellm_tables,
    "langfuse": stores.langfuse_tables,
}  # fmt: skip
Store = tuple[str, sa.Engine, Mapping[str, sa.Table]]  # name of the connection, an engine that may write, its tables


@pytest.fixture(scope="session")
def postgres() -> Iterator[sa.Engine]:
    with server() as engine:
        yield engine


@pytest.fixture
def store(
    postgres: sa.Engine, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Store]]:
    """vendor -> an empty database of it on PostgreSQL, as a named connection of the vendor's name."""
    made: list[tuple[str, sa.Engine]] = []
    secrets = tmp_path / "secrets.toml"
    monkeypatch.setenv("KPI_SECRETS", str(secrets))
    folder = str(postgres.url.query["host"])

    def make(vendor: str) -> Store:
        with postgres.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text(f'DROP DATABASE IF EXISTS "{vendor}" WITH (FORCE)'))
            connection.execute(sa.text(f'CREATE DATABASE "{vendor}"'))
        engine = sa.create_engine(postgres.url.set(database=vendor))
        tables = VENDORS[vendor]()
        next(iter(tables.values())).metadata.create_all(engine)
        with secrets.open("a") as file:
            file.write(
                f'[connections.{vendor}]\ndialect = "postgresql"\nhost = "{folder}"\nusername = "tester"\n'
                f'password = "hunter2-canary"\ndatabase = "{vendor}"\n'
            )
        made.append((vendor, engine))
        return vendor, engine, tables

    yield make
    connections.forget()
    for _, engine in made:
        engine.dispose()
