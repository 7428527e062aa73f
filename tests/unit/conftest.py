"""Fixtures shared by the unit tests: the planted world, stored once a session in a state folder of its own."""

from __future__ import annotations

import functools
from pathlib import Path

import pyarrow as pa
import pytest

import kpi
from kpi.cli import exits
from kpi.store import lake
from kpi.store.engines import DuckSource
from kpi.store.opening import open_dataset
from sample_data.__main__ import receipt_of, stage
from sample_data.world import build

WORLD_REQUESTS = 12_000


@pytest.fixture(scope="session")
def world_tables() -> dict[str, pa.Table]:
    """Canonical tables of a small planted world."""
    return build(requests=WORLD_REQUESTS)


@pytest.fixture(scope="session")
def stored_home(tmp_path_factory: pytest.TempPathFactory, world_tables: dict[str, pa.Table]) -> Path:
    """A state folder that holds the small world as the data set "sample". Read only: tests that load use `home`."""
    place, staged = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("staged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPI_HOME", str(place))
        stage(world_tables, staged)
        lake.commit("sample", staged, receipt_of(world_tables))
    return place


@pytest.fixture
def sample_home(stored_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """KPI_HOME points at the stored world, which is opened once: opening reads every footer."""
    monkeypatch.setenv("KPI_HOME", str(stored_home))
    monkeypatch.setattr(kpi, "open", lambda dataset="default", version=None: _opened(stored_home, dataset, version))
    return stored_home


@functools.cache
def _opened(home: Path, dataset: str, version: int | None) -> DuckSource:
    return open_dataset(dataset, version)


@pytest.fixture(scope="session")
def sample(stored_home: Path) -> DuckSource:
    """The stored world, opened."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPI_HOME", str(stored_home))
        return _opened(stored_home, "sample", None)


@pytest.fixture(autouse=True)
def ageless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line takes the old days of test data for new, but in tests that say --stale-after."""
    monkeypatch.setattr(exits, "STALE_DAYS", 1e9)


@pytest.fixture
def users_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals without what days add: groups that stand side by side share their days, and are compared by users."""
    monkeypatch.setattr(kpi.Grouping, "days", property(lambda grouping: False))
