"""Folders of work under way that a killed process leaves behind, and their return.

Such a folder holds a mark, a file on which its maker keeps a lock for as long as it lives: the system frees the lock
however the process ends. A folder is removed only when it has one of our names, belongs to this user, holds the mark,
and the lock on it can be taken. A folder without a mark is somebody else's, whatever its name, and stays.
"""

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path

MARK = ".ai-index-owner"
STAGE = ".stage-"  # rows of a load on their way into a data set
DRAFT = ".draft-"  # a file that is put in its place once it is whole
DELETED = ".deleted-"  # a data set on its way out
READING, UPLOAD = "kpi-load-", "ai-index-upload-"  # in the folder for temporary files
_PREFIXES = (STAGE, DRAFT, DELETED, READING, UPLOAD)
_TRIES = 20
_OLD_S = 3_600  # its maker marks a folder within moments


class OwnedFolder:
    """A new folder, mode 0700, until `close`, the end of a `with` block, its collection or the end of the process.

    parent: the folder for temporary files when None. Its first file is the mark: when the process dies before it can
    remove the folder, `take_back` does so later.
    """

    def __init__(self, prefix: str, parent: Path | None = None) -> None:
        self.path, lock = _made(prefix, parent)
        self.close: Callable[[], object] = weakref.finalize(self, _remove, self.path, lock)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def take_back(parent: Path | None = None) -> int:
    """Remove the folders of dead processes right inside `parent` (the temporary files when None). Returns how many."""
    place = Path(tempfile.gettempdir()) if parent is None else parent
    gone = 0
    try:
        with os.scandir(place) as found:
            names = [e.name for e in found if e.name.startswith(_PREFIXES) and e.is_dir(follow_symlinks=False)]
    except OSError:
        return 0
    for name in names:
        gone += _take_back(place / name, alone=parent is not None)
    return gone


def take_back_all(home: Path, dataset: str | None = None) -> int:
    """Everything that dead processes left in the folder for temporary files, in the state folder and in a data set."""
    places: list[Path | None] = [None, home, *(home / name for name in ("datasets", "keys", "connections"))]
    if dataset is not None:
        place = home / "datasets" / dataset
        places += [place, place / "versions", place / "cache"]
    return sum(take_back(place) for place in places)


def _made(prefix: str, parent: Path | None) -> tuple[Path, int]:
    """A folder with a mark that this process holds. Another process may take it back before the mark is held."""
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            lock = os.open(folder / MARK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileNotFoundError:
            continue
        except OSError:
            folder.rmdir()
            raise
        if _locked(lock) is not False and _is_still(folder / MARK, lock):
            return folder, lock
        os.close(lock)
    raise OSError(errno.EBUSY, "no folder could be kept", str(parent))


def _remove(folder: Path, lock: int) -> None:
    """Remove a folder that this process made. The mark goes last: what cannot be removed now can be later."""
    _empty(folder)
    if os.name != "posix":
        os.close(lock)  # an open file cannot be removed there
    with contextlib.suppress(OSError):
        (folder / MARK).unlink()
        folder.rmdir()
    if os.name == "posix":
        os.close(lock)


def _empty(folder: Path) -> None:
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for entry in list(found):
            if entry.name == MARK:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _take_back(folder: Path, *, alone: bool) -> bool:
    """Remove one folder if its maker is certainly dead. alone: whether nobody else makes folders beside it."""
    try:
        if os.name == "posix" and folder.lstat().st_uid != os.geteuid():
            return False
        flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        lock = os.open(folder / MARK, flags)
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            if alone or time.time() - folder.lstat().st_mtime > _OLD_S:
                folder.rmdir()  # only where empty: its maker died before the first mark or after the last
                return True
        return False
    except OSError:
        return False
    if not stat.S_ISREG(os.fstat(lock).st_mode) or _locked(lock) is not True or not _is_still(folder / MARK, lock):
        os.close(lock)
        return False
    _remove(folder, lock)
    return not folder.exists()


def _is_still(path: Path, handle: int) -> bool:
    """Whether the file that is open under `handle` is still the one at `path`."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(handle))
    except OSError:
        return False


if os.name == "posix":
    import fcntl

    def _locked(handle: int) -> bool | None:
        """Lock a mark: True; False where another process has it; None where the file system knows no locks."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return False if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES) else None
        return True

else:
    import msvcrt

    def _locked(handle: int) -> bool | None:
        """Lock a mark: True; False where another process has it."""
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        except OSError:
            return False
        return True
