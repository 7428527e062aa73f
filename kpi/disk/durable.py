"""Small files that are whole or not there, also after a power cut."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from kpi.disk.owned_folders import DRAFT, OwnedFolder
from kpi.errors import StoreError


@contextlib.contextmanager
def told(what: str, hint: str) -> Iterator[None]:
    """Errors of the disk as StoreError `store.write`. what: which thing could not be done, in a sentence."""
    try:
        yield
    except OSError as error:
        raise StoreError("store.write", f"{what} ({type(error).__name__})", hint=hint) from error


def write(path: Path, content: bytes, *, once: bool = False) -> None:
    """Write a file whole and durably or not at all, mode 0600. once: raise FileExistsError where it exists."""
    with OwnedFolder(DRAFT, path.parent) as place:
        draft = place / path.name
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if not once:
            os.replace(draft, path)
            sync(path.parent)
            return
        os.link(draft, path)
        with contextlib.suppress(OSError):  # it exists and readers see it: too late to say that it does not
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
