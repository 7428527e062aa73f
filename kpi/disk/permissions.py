"""Who may read the state folder: its owner alone. Folders 0700, files 0600, whoever wrote them and when."""

import contextlib
import os
from pathlib import Path

FOLDER, FILE = 0o700, 0o600
_OTHERS = 0o077
_BESIDE = ("locks", "keys", "connections")  # in the state folder, beside the data sets


def make_private(path: Path) -> None:
    """Create a folder, and those above it that are missing, for its owner alone. One that is there stays as it is."""
    if not path.parent.exists():
        make_private(path.parent)
    path.mkdir(mode=FOLDER, exist_ok=True)


def tighten(place: Path) -> None:
    """Take the rights of others from a folder and all in it. What is a link or another user's stays as it is.

    The writers of tables know no modes: their files are made as the process makes any, inside a folder that is 0700.
    """
    if os.name != "posix":
        return
    _tighten(place)
    for folder, inside, files in os.walk(place):
        for name in (*inside, *files):
            _tighten(Path(folder, name))


def tighten_home(home: Path) -> None:
    """The same for what lies in the state folder beside the data sets, and for the folder that holds those."""
    for name in _BESIDE:
        tighten(home / name)
    _tighten(home / "datasets")


def _tighten(path: Path) -> None:
    with contextlib.suppress(OSError):  # gone meanwhile, or another user's
        found = path.lstat()
        if found.st_mode & _OTHERS and not path.is_symlink():
            path.chmod(found.st_mode & 0o7777 & ~_OTHERS)
