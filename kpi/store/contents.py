"""What a version of a table consists of: its data files with rows, size and checksum, sealed as they are written.

A list is a file of its own, named by the digest of its content: versions share it, and it proves itself. Readers go by
the list and never need the Delta log; a file that is not as it was sealed is refused instead of read.
"""

import hashlib
import os
import time
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import orjson

from kpi.disk import durable
from kpi.errors import StoreError

_BLOCK = 4 * 2**20
_SETTLED_NS = 2_000_000_000  # a file younger than this may change again without its times telling
_MOST_KNOWN = 200_000
_known: dict[tuple[str, int, int, int, int], int] = {}  # checksums of files as they stood


@dataclass(frozen=True)
class Sealed:
    """One data file. path: relative to the table's folder. size: bytes. crc: CRC-32 of the whole file; None where a
    release before checksums wrote it."""

    path: str
    rows: int
    size: int
    crc: int | None


def lists(path: Path) -> Path:
    """Where the lists of a data set lie."""
    return path / "versions" / "files"


def write(path: Path, files: Sequence[Sealed]) -> str:
    """Store a list durably; its digest. path: folder of the data set, whose writer's lock is held."""
    text = orjson.dumps([astuple(f) for f in sorted(files, key=lambda f: f.path)])
    digest = hashlib.sha256(text).hexdigest()[:32]
    hint = "Nothing that was stored before is lost. Check the free disk space and load again."
    with durable.told(f"The new version of {path.name!r} could not be written", hint):
        lists(path).mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.write(lists(path) / f"{digest}.json.z", zlib.compress(text))
    return digest


def keep_lists(path: Path, named: Collection[str]) -> None:
    """Remove the lists of no version: those that a load wrote which could not make its own. Raises OSError."""
    for found in lists(path).glob("*.json.z"):
        if found.name.removesuffix(".json.z") not in named:
            found.unlink()


def read(path: Path, digest: str) -> tuple[Sealed, ...]:
    """The list of that digest. Raises StoreError `store.damaged` where it is lost or not what it was."""
    try:
        text = zlib.decompress((lists(path) / f"{digest}.json.z").read_bytes())
        if hashlib.sha256(text).hexdigest()[:32] != digest:
            raise ValueError("the digest does not match")
        return tuple(Sealed(*row) for row in orjson.loads(text))
    except (OSError, ValueError, TypeError, zlib.error) as error:
        raise unsound("store.damaged", f"A list of the files of {path.name!r} is lost or damaged", path.name) from error


def checksum(path: Path) -> int:
    """CRC-32 of a file, read once as long as its size, times and place stay. Raises OSError."""
    told = os.stat(path)
    key = (str(path), told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino)
    if key in _known:
        return _known[key]
    crc = 0
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    if time.time_ns() - max(told.st_mtime_ns, told.st_ctime_ns) > _SETTLED_NS:
        if len(_known) > _MOST_KNOWN:
            _known.clear()
        _known[key] = crc
    return crc


def flaw(place: Path, file: Sealed, *, whole: bool = True) -> str | None:
    """What is wrong with a data file, in a few words, or None. whole: compare its checksum, not only its size."""
    path = place / file.path
    try:
        size = os.stat(path).st_size
        if not path.is_file():
            return "is no file"
        if size != file.size:
            return f"has {size:,} bytes instead of {file.size:,}"
        changed = whole and file.crc is not None and checksum(path) != file.crc
        return "has changed since it was written" if changed else None
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({type(error).__name__})"


def verify(place: Path, files: Iterable[Sealed], *, whole: bool = True) -> None:
    """Raise StoreError `store.files` unless every file is as it was sealed. place: the table's folder."""
    flawed = [found for f in files if (found := flaw(place, f, whole=whole))]
    if flawed:
        raise broken(place, flawed)


def broken(place: Path, flawed: Sequence[str]) -> StoreError:
    """The error for files of a table that are not as they were written. flawed: what is wrong with each."""
    missing = sum(f == "is missing" for f in flawed)
    what = "are missing" if missing == len(flawed) else "are damaged" if not missing else "are missing or damaged"
    dataset = place.parent.name
    return unsound("store.files", f"{len(flawed):,} files of {place.name} in {dataset!r} {what}", dataset)


def unsound(code: str, told: str, dataset: str) -> StoreError:
    """The error for what is lost or damaged in a data set: the doctor knows more."""
    hint = f"Nothing was changed. Run `kpi doctor {dataset}`: it says what can still be read."
    return StoreError(code, told, hint=hint)
