"""A damaged data set on the page: a message with the remedy, no traceback, no path, and never the numbers before it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kpi
from kpi.store.manifest import folder
from tests.app.conftest import _forget, _opener


@pytest.fixture
def place(home: Path, tmp_path: Path) -> Iterator[Path]:
    """The folder of a data set `d` of two versions."""
    for number, rows in ((1, 30), (2, 60)):
        table = tmp_path / f"{number}.csv"
        lines = [f"r{i},m,{i % 2},{100 + i}" for i in range(rows)]
        table.write_text("\n".join(["request_id,model,success,latency_ms", *lines]))
        kpi.load(table, dataset="d")
    _forget()
    yield folder("d")
    _forget()


def cut(place: Path) -> None:
    path = sorted((place / "requests").rglob("*.parquet"))[0]
    path.write_bytes(path.read_bytes()[:-100])


def flip(place: Path) -> None:
    for path in (place / "requests").rglob("*.parquet"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))


def forget(place: Path) -> None:
    (place / "versions/00000002.json").unlink()
    (place / "newest.json").unlink()


@pytest.mark.parametrize("damage", [cut, flip, forget, lambda p: shutil.rmtree(p / "versions")])
def test_damage_is_said_with_its_remedy(place: Path, damage: Callable[[Path], None]) -> None:
    damage(place)
    at = _opener(data="d")
    said = " ".join(box.value for box in at.error)
    assert "kpi doctor d" in said
    assert str(place) not in said
    assert not at.metric
