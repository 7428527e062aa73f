"""What killed loads leave behind: taken back before the next write, and never at the cost of a version."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from kpi import schema
from kpi.errors import KpiError, StoreError
from kpi.store import delta, manifest
from kpi.store.manifest import Manifest, numbers

WORK = ".work-"  # folders of loads under way begin so


def recover(dataset: str, path: Path, base: Manifest | None) -> None:
    """Take back what a killed load left: tables ahead of the newest manifest, work folders, files without a name."""
    left = [p for p in path.glob(f"{WORK}*") if p.is_dir()]
    for work in left:
        shutil.rmtree(work, ignore_errors=True)
    ahead = False
    for name in schema.TABLES:
        place = path / name
        if not place.exists():
            continue
        if base is None or delta.latest(place) is None:
            shutil.rmtree(place)
        elif name not in base.tables:  # older versions may name its files
            ahead = delta.clear(place) or ahead
        else:
            ahead = delta.go_back(place, base.tables[name].version) or ahead
    if left or ahead:
        with contextlib.suppress(StoreError):  # a damaged old manifest: sweep nothing rather than too much
            sweep(dataset, path)


def undo(dataset: str, path: Path) -> None:
    """Take back what a load wrote that failed in this process, at once: on a full disk its space is needed."""
    with contextlib.suppress(KpiError, OSError):  # what stays is taken back by the next load
        sweep(dataset, path)
    with contextlib.suppress(KpiError, OSError):  # its last step writes, for which there may be no room
        recover(dataset, path, manifest.read(dataset) if numbers(dataset) else None)


def sweep(dataset: str, path: Path) -> int:
    named: set[Path] = set()
    for number in numbers(dataset):
        m = manifest.read(dataset, number)
        named |= {f.path for name in m.tables for f in delta.files(path / name, m.tables[name].version)}
    gone = 0
    for name in schema.TABLES:
        for file in (path / name).rglob("*.parquet"):
            if "_delta_log" not in file.parts and file not in named:
                file.unlink()
                gone += 1
    return gone
