"""The trash of a data set: what recovery takes back waits there and is gone after a later good commit."""

import os
import secrets
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from kpi.disk import durable

NAME = ".trash"


def put(path: Path, names: Iterable[str]) -> int:
    """Move entries of a data set, named relative to its folder, into its trash. Returns how many; raises OSError."""
    place = path / NAME / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
    moved = 0
    for name in names:
        target = place / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.rename(path / name, target)
        moved += 1
    if moved:
        durable.sync(path)
    return moved


def count(path: Path) -> int:
    """How many files wait in the trash."""
    return sum(len(files) for _, _, files in os.walk(path / NAME))


def empty(path: Path) -> None:
    """Let go of what waits there. Called when a version was made after it was put in."""
    shutil.rmtree(path / NAME, ignore_errors=True)
