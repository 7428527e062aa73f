"""MLflow on MariaDB, and a SQLite file that an administrator named: the same copy as on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

import kpi
from kpi.ingest.databases import streams
from kpi.loading import copy as copying
from tests.engines import mariadb
from tests.unit.ingest.databases import stores
from tests.unit.ingest.databases.stores import at
from tests.unit.ingest.databases.test_copy import stored

pytestmark = pytest.mark.slow

COUNT = 80


@pytest.fixture(params=["mariadb", "sqlite"])
def engine(
    request: pytest.FixtureRequest, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[sa.Engine]:
    """May write; the connection "tracking" is to the same database."""
    if request.param == "mariadb":
        with mariadb() as found:
            monkeypatch.setattr(copying, "open_engine", lambda name: found)
            yield found
        return
    monkeypatch.setenv("KPI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("KPI_CONNECTION_TRACKING", "sqlite:///tracking.db")
    found = sa.create_engine(f"sqlite:///{tmp_path / 'tracking.db'}")
    yield found
    found.dispose()


def test_mlflow(engine: sa.Engine, monkeypatch) -> None:
    tables = stores.mlflow_tables()
    next(iter(tables.values())).metadata.create_all(engine)
    stores.insert(engine, tables, stores.mlflow_rows(0, 1, status="IN_PROGRESS"))
    stores.insert(engine, tables, stores.mlflow_rows(1, COUNT))
    receipt = kpi.copy("tracking", dataset="copied")
    assert (receipt.format, receipt.requests, receipt.dropped) == ("mlflow", COUNT, 0)
    assert stored("requests", "count(*), count(total_us), sum(total_nusd)") == [
        (COUNT, COUNT - 1, sum(1000 * (n + 1) for n in range(1, COUNT)))
    ]
    assert kpi.copy("tracking", dataset="copied").loaded == 0
    stores.insert(engine, tables, {"assessments": [stores.mlflow_assessment(1, 4, "down", at(COUNT))]})
    stores.insert(engine, tables, stores.mlflow_rows(COUNT, COUNT + 3))
    with engine.begin() as connection:
        table = tables["trace_info"]
        connection.execute(table.update().where(table.c.status == "IN_PROGRESS").values(status="ERROR"))
    kpi.copy("tracking", dataset="copied")
    assert stored("requests", "count(*), count(*) FILTER (NOT success), count(*) FILTER (error)") == [(COUNT + 3, 1, 1)]
    monkeypatch.setattr(streams, "ROWS", 70)
    for _ in range(2):
        kpi.copy("tracking", dataset="steps")
    assert stored("requests", "count(*)", "steps") == [(COUNT + 3,)]
