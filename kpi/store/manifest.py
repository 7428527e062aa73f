"""Versions of a data set: where its folder lies, and the manifests that make a version exist.

A version exists when its manifest does. Manifests are written whole, put only where none is, and never changed. This
module reads and writes manifests and knows nothing about rows.
"""

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout

from kpi.disk import durable, full
from kpi.disk.owned_folders import take_back_all
from kpi.disk.permissions import make_private, tighten
from kpi.errors import StoreError
from kpi.store import ours

LOCK_SECONDS = 600.0
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_NAME = re.compile(r"(\d{8})\.json")
NEWEST = "newest.json"  # a second witness of the newest version, beside `versions`
_FORMAT = 1
_ELSEWHERE: ContextVar[Path | None] = ContextVar("elsewhere", default=None)


@contextlib.contextmanager
def elsewhere(place: Path) -> Iterator[None]:
    """Another state folder, for what this thread does meanwhile."""
    token = _ELSEWHERE.set(place)
    try:
        yield
    finally:
        _ELSEWHERE.reset(token)


def home() -> Path:
    """The state folder: `KPI_HOME`, else the user's data folder; created with mode 0700."""
    given = _ELSEWHERE.get() or os.environ.get("KPI_HOME")
    if given:
        path = Path(given).expanduser()
    elif sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        path = Path(os.environ["LOCALAPPDATA"]) / "ai-index"
    else:
        path = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "ai-index"
    try:
        with full.told(full.STORING, "making the state folder"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError.told("store.home", kind=type(error).__name__) from error
    return path.resolve()


def folder(dataset: str) -> Path:
    """Folder of a data set, which need not exist. Raises StoreError `store.name` for what is no plain slug."""
    if not isinstance(dataset, str) or not _SLUG.fullmatch(dataset):
        raise StoreError.told("store.name", dataset=str(dataset)[:40])
    return home() / "datasets" / dataset


def names() -> list[str]:
    """Slugs of the folders that hold at least one version, or have lost them all, sorted."""
    root = home() / "datasets"
    if not root.is_dir():
        return []
    return sorted(p.name for p in root.iterdir() if _SLUG.fullmatch(p.name) and (numbers(p.name) or lost(p.name)))


def lock(name: str, *, seconds: float = LOCK_SECONDS) -> FileLock:
    """A lock among all processes that use the state folder; Timeout after so many seconds."""
    place = home() / "locks"
    make_private(place)
    return FileLock(place / f"{name}.lock", timeout=seconds, mode=0o600)


@contextlib.contextmanager
def writer(dataset: str, *, seconds: float = LOCK_SECONDS) -> Iterator[Path]:
    """Hold the right to write a data set, among all processes. Yields its folder, created.

    Raises StoreError `store.busy` when another writer keeps it for longer than `seconds`.
    """
    path = folder(dataset)
    try:
        with full.told(full.STORING, f"writing the data set {dataset!r}"), lock(dataset, seconds=seconds):
            make_private(path)
            take_back_all(home(), dataset)
            try:
                yield path
            finally:
                tighten(path)
    except Timeout as error:
        raise StoreError.told("store.busy", dataset=dataset, seconds=seconds) from error


@dataclass(frozen=True, kw_only=True)
class TableVersion:
    """One Delta table inside a version. rows: stored rows. extra: its `x_` columns.

    files: digest of the list of its files (`kpi.store.contents`); empty where a release before such lists wrote it.
    """

    version: int
    id: str
    rows: int
    extra: tuple[str, ...] = ()
    files: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One version of a data set. created_at: ISO 8601, UTC. origin: version that a restore took its tables from.

    user_key: id of the key of its users' pseudonyms; None where it has none, or an earlier release wrote it. rekeyed:
    each time that key was changed, as (ISO 8601, id of the key before); users before and after cannot be linked.
    """

    dataset: str
    number: int
    created_at: str
    tables: Mapping[str, TableVersion]
    receipt: Mapping[str, Any] = field(default_factory=dict)
    origin: int | None = None
    spans: int = 0
    requests: int = 0
    first: int | None = None
    last: int | None = None
    size: int = 0
    user_key: str | None = None
    rekeyed: tuple[tuple[str, str], ...] = ()

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change whenever a table does."""
        tables = {name: [t.version, t.id] for name, t in self.tables.items()}
        text = orjson.dumps([self.dataset, self.number, tables], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).hexdigest()[:16]


def numbers(dataset: str) -> list[int]:
    """Numbers of the versions whose manifest exists, readable or not, ascending."""
    path = folder(dataset) / "versions"
    if not path.is_dir():
        return []
    return sorted(int(match.group(1)) for p in path.iterdir() if (match := _NAME.fullmatch(p.name)))


def newest(dataset: str) -> int:
    """The number of the newest version that was ever made, as far as anything tells; 0 for none."""
    return max([witness(dataset), *numbers(dataset)])


def witness(dataset: str) -> int:
    """The newest version as told beside the manifests; 0 where that cannot be read, for then they alone count."""
    try:
        data = orjson.loads((folder(dataset) / NEWEST).read_bytes())
        return int(data["number"]) if data["check"] == durable.check(data) else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def lost(dataset: str) -> list[int]:
    """Numbers of versions whose manifest is gone, although later ones or the witness know of them.

    The first of a data set that was rebuilt need not be 1. `[0]` where there are tables, no version at all and no load
    under way, so that nobody can tell which there were.
    """
    known, last, path = numbers(dataset), newest(dataset), folder(dataset)
    if known:
        return sorted(set(range(known[0], last + 1)) - set(known))
    under_way = (path / ".transaction.json").exists()
    return [last] if last or (not under_way and ours.stored(path)) else []


def gone(dataset: str) -> StoreError:
    """The error for a data set of which manifests are gone."""
    named = ", ".join(str(n) for n in lost(dataset)[:5])
    what = "folder `versions`" if named == "0" else f"manifest of version {named}" if named else "newest manifest"
    return StoreError.told("store.lost", what=what, dataset=dataset)


def no_dataset(dataset: str) -> StoreError:
    """The error for a data set that does not exist."""
    have = ", ".join(names()) or "none yet"
    return StoreError.told("store.no_dataset", dataset=dataset[:64], have=have)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def read(dataset: str, number: int | None = None) -> Manifest:
    """The manifest of a version, the newest by default.

    Raises StoreError: `store.no_dataset`, `store.no_version`, `store.damaged` (with the remedy), `store.newer`,
    `store.lost` where the newest one, or the one asked for, was there once.
    """
    last = newest(dataset)  # before the manifests: one that is written meanwhile is not missed
    known = numbers(dataset)
    if not known and not lost(dataset):
        raise no_dataset(dataset)
    if not known or (last > known[-1] if number is None else number in lost(dataset)):
        raise gone(dataset)
    wanted = known[-1] if number is None else number
    if wanted not in known:
        raise StoreError.told("store.no_version", dataset=dataset, wanted=wanted, first=known[0], last=known[-1])
    try:
        data = orjson.loads(_path(dataset, wanted).read_bytes())
        if data["format"] > _FORMAT:
            raise StoreError.told("store.newer:version", wanted=wanted, dataset=dataset)
        return _parse(data, dataset, wanted)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        if older := [n for n in known if n < wanted]:
            raise StoreError.told("store.damaged:older", wanted=wanted, dataset=dataset, older=older[-1]) from error
        raise StoreError.told("store.damaged", wanted=wanted, dataset=dataset) from error


def readable(dataset: str) -> Iterator[Manifest]:
    """The manifests that can be read, newest first."""
    for number in reversed(numbers(dataset)):
        with contextlib.suppress(StoreError):
            yield read(dataset, number)


def _parse(data: dict[str, Any], dataset: str, number: int) -> Manifest:
    tables = {
        name: TableVersion(
            version=int(t["version"]), id=str(t["id"]), rows=int(t["rows"]), extra=tuple(t["extra"]),
            files=str(t.get("files", "")),
        )
        for name, t in data["tables"].items()}  # fmt: skip
    if ("check" in data or any(t.files for t in tables.values())) and data["check"] != durable.check(data):
        raise ValueError("the check does not match")
    kept = ("created_at", "receipt", "origin", "spans", "requests", "first", "last", "size")
    manifest = Manifest(dataset=dataset, number=number, tables=tables, user_key=data.get("user_key"),
                        rekeyed=tuple((str(at), str(key)) for at, key in data.get("rekeyed", ())),
                        **{k: data[k] for k in kept})  # fmt: skip
    if data["number"] != number or data["fingerprint"] != manifest.fingerprint:
        raise ValueError("the fingerprint does not match")
    return manifest


def _path(dataset: str, number: int) -> Path:
    return folder(dataset) / "versions" / f"{number:08d}.json"


def write(manifest: Manifest, place: Path | None = None) -> None:
    """Make a version exist, whole and never over another (`store.conflict`). place: instead of its own folder."""
    place = place or folder(manifest.dataset)
    facts = {name: value for name, value in vars(manifest).items() if name != "dataset"}  # its folder says that
    tables = {name: vars(table) for name, table in manifest.tables.items()}
    data = {"format": _FORMAT, "fingerprint": manifest.fingerprint, **facts, "tables": tables}
    data["check"] = durable.check(orjson.loads(orjson.dumps(data)))
    path = place / "versions" / f"{manifest.number:08d}.json"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        durable.write(path, orjson.dumps(data, option=orjson.OPT_INDENT_2), once=True)
    except FileExistsError as error:
        raise StoreError.told("store.conflict", number=manifest.number, dataset=manifest.dataset) from error
    told = {"number": manifest.number}
    with contextlib.suppress(OSError):  # the version exists by now
        durable.write(place / NEWEST, orjson.dumps(told | {"check": durable.check(told)}))
