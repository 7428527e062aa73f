"""Which files in a data set's tables the store writes itself, told by name: data files, and entries of the Delta log.

A name alone proves nothing; it only tells what may be ours from what certainly is somebody else's.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from kpi import schema

LOG = "_delta_log"
LAST_CHECKPOINT = "_last_checkpoint"
_STAGED = r"(?:#\d+)?"  # what the writer calls a file that is not whole yet
_DATA = re.compile(r"part-\d{5}-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-c\d{3}(?:\.\w+)?\.parquet" + _STAGED)
_ENTRY = re.compile(r"(\d{20})\.(?:json|(?:[\w-]+\.)*checkpoint(?:\.[\w-]+)*\.parquet)" + _STAGED)
_UNNUMBERED = re.compile(rf"_commit_[\w-]+\.json(?:\.tmp)?{_STAGED}|{LAST_CHECKPOINT}{_STAGED}")


def tables(path: Path) -> list[str]:
    """Names of the canonical tables that have a place in the folder of a data set, whatever stands there."""
    return [name for name in schema.TABLES if os.path.lexists(path / name)]


def data_files(place: Path) -> list[str]:
    """Files of a table's folder, outside its log, that are named as our writer names data; relative, sorted."""
    if place.is_symlink() or not place.is_dir():
        return []
    return sorted(name for name in _walk(place) if not name.startswith(f"{LOG}/") and _is_data(name))


def log_files(place: Path) -> list[tuple[str, int | None]]:
    """Entries of a table's log: (relative name, number of the Delta version, None where its name tells none)."""
    if not (place / LOG).is_dir():
        return []
    found = ((name, _ENTRY.fullmatch(name)) for name in sorted(os.listdir(place / LOG)))
    return [(f"{LOG}/{name}", int(match.group(1)) if match else None)
            for name, match in found if match or _UNNUMBERED.fullmatch(name)]  # fmt: skip


def stored(path: Path) -> bool:
    """Whether the tables of a data set hold anything: a Delta version or data."""
    places = [path / name for name in tables(path)]
    return any(any(number is not None for _, number in log_files(p)) or data_files(p) for p in places)


def remove_empty(place: Path) -> None:
    """Remove a table's folder as far as it is empty."""
    for folder, _, _ in os.walk(place, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def foreign(path: Path) -> list[str]:
    """What lies in the tables of a data set and is no file of ours, relative to its folder."""
    found = []
    for table in tables(path):
        place = path / table
        if place.is_symlink() or not place.is_dir():
            found.append(table)
            continue
        entries = {name for name, _ in log_files(place)}
        found += [f"{table}/{name}" for name in _walk(place) if name not in entries and not _is_data(name)]
    return found


def _is_data(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return bool(_DATA.fullmatch(file)) and (not folder or (folder.count("/") == 0 and "=" in folder))


def _walk(place: Path, below: str = "") -> Iterator[str]:
    """Everything that is no folder, and empty folders that we would not make; links are not followed."""
    with os.scandir(place / below) as entries:
        inside = sorted(entries, key=lambda e: e.name)
    for entry in inside:
        name = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir(follow_symlinks=False) and not _ENTRY.fullmatch(entry.name) and not _DATA.fullmatch(entry.name):
            yield from _walk(place, name)
        else:
            yield name
