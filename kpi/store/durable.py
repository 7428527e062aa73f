"""Small files that are whole or not there, also after a power cut. The writer's lock is held by whoever calls."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import orjson


def replace(path: Path, content: bytes) -> None:
    """Write a file under a draft name and put it in place of what is there. Raises OSError."""
    draft = path.with_name(f".{path.name}.draft")  # one writer at a time: what a killed one left is written over
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file for good; one that is not there is fine."""
    path.unlink(missing_ok=True)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Make what happened to the entries of a folder last."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check(data: dict[str, Any]) -> str:
    """A digest over everything in a JSON object except its own `check`."""
    rest = {key: value for key, value in data.items() if key != "check"}
    return hashlib.sha256(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
