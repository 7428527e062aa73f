"""The state folder is its owner's alone, whoever wrote a file and under whatever umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import kpi
from kpi.disk import permissions
from kpi.store import cache, lake
from kpi.store.manifest import folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")


@pytest.fixture(autouse=True)
def _open_umask(home: Path) -> Iterator[None]:
    """What every process starts with on a careless machine."""
    before = os.umask(0)
    yield
    os.umask(before)


def wide(place: Path) -> list[str]:
    """What others than the owner may do anything with."""
    return [
        f"{stat.filemode(p.lstat().st_mode)} {p.relative_to(place)}"
        for p in sorted(place.rglob("*"))
        if p.lstat().st_mode & 0o077 and not p.is_symlink()
    ]


def table(path: Path, name: str) -> Path:
    lines = "\n".join(f"{name}{i},{100 + i},2026-01-0{i % 9 + 1}T00:00:00Z" for i in range(30))
    path.write_text(f"id,latency_ms,time\n{lines}\n")
    return path


def fill(tmp_path: Path) -> None:
    """Every kind of file that a state folder gets."""
    kpi.load(table(tmp_path / "a.csv", "a"), dataset="d", allow=["one"])
    kpi.load(table(tmp_path / "b.csv", "b"), dataset="d")
    kpi.restore("d", 1)
    kpi.init_prices()
    kpi.reprice("d")
    found = lake.read_version("d")
    assert cache.build_cache(cache.cache_path(folder("d"), found.fingerprint), found.files["requests"])


@pytest.mark.slow
def test_everything_is_the_owners_alone(tmp_path: Path, home: Path) -> None:
    fill(tmp_path)
    kinds = {p.suffix for p in home.rglob("*") if p.is_file()}
    assert {".json", ".parquet", ".duckdb", ".key", ".lock", ".toml"} <= kinds
    assert wide(home) == []
    assert not home.stat().st_mode & 0o077


@pytest.mark.slow
def test_what_an_earlier_release_left_open_is_closed_by_the_next_load(tmp_path: Path, home: Path) -> None:
    fill(tmp_path)
    outside = tmp_path / "outside"
    outside.write_text("another's")
    (folder("d") / "link").symlink_to(outside)
    (home / "prices.toml").chmod(0o644)  # a file that people edit: theirs to share
    for path in [p for name in ("datasets", "keys", "locks") for p in (home / name, *(home / name).rglob("*"))]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert len(wide(home)) > 20
    kpi.load(table(tmp_path / "c.csv", "c"), dataset="d")
    assert wide(home) == ["-rw-r--r-- prices.toml"]
    assert outside.stat().st_mode & 0o777 == 0o666
    for path in folder("d").rglob("*.parquet"):
        path.chmod(0o444)
    kpi.load(table(tmp_path / "c.csv", "c"), dataset="d")  # nothing is new: no version, and closed all the same
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder("d").rglob("*.parquet")} == {0o400}


def test_a_file_that_cannot_be_changed_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").touch()

    def refuse(*_: object) -> None:
        raise PermissionError(1, "not yours")

    monkeypatch.setattr(Path, "chmod", refuse)
    before = (tmp_path / "x").stat().st_mode
    permissions.tighten(tmp_path)
    permissions.tighten(tmp_path / "absent")
    assert (tmp_path / "x").stat().st_mode == before
