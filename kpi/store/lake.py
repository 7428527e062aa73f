"""The lake: data sets of canonical tables, in numbered versions that never change.

A data set is a folder with one Delta table for each canonical table, and manifests (`kpi.store.manifest`) that name the
Delta version and the files of every table. Readers look at manifests alone, so a load that is killed anywhere leaves
the version before it intact; the next writer first takes back what its record proves to be unfinished. One writer at a
time, any number of readers, in any number of processes.
"""

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from kpi.disk import owned_folders
from kpi.errors import StoreError
from kpi.pricing import price_file
from kpi.pricing.price_table import PriceTable
from kpi.privacy.user_key import UserKey
from kpi.receipts import Receipt
from kpi.store import binding, contents, delta, manifest, merge, recovery, rekeying, trash
from kpi.store.manifest import folder, home, numbers, writer
from kpi.store.transaction import Progress, Transaction


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a data set, as readers see it.

    place: its folder when it was read; a source outlives a change of the state folder. fingerprint: 16 hexadecimal
    digits. stored: files per table with size and checksum. extra: `x_` columns per table. rekeyed: when the key of its
    users was last changed, ISO 8601; "" where it never was.
    """

    place: Path
    number: int
    fingerprint: str
    stored: dict[str, tuple[contents.Sealed, ...]]
    extra: dict[str, tuple[str, ...]]
    receipt: Receipt
    rekeyed: str

    @property
    def files(self) -> dict[str, list[Path]]:
        """Parquet files per table; `day` stands in their paths."""
        return {name: [self.place / name / f.path for f in listed] for name, listed in self.stored.items()}

    def verify(self, table: str) -> None:
        """Raise StoreError `store.files` unless the files of a table are as they were written. Reads them once."""
        contents.verify(self.place / table, self.stored.get(table, ()))


@dataclass(frozen=True, kw_only=True)
class VersionInfo:
    """One line of the history. damaged: its manifest is lost or cannot be read. origin: the version it restored."""

    number: int
    created_at: str = ""
    fingerprint: str = ""
    requests: int = 0
    spans: int = 0
    loaded: int = 0
    origin: int | None = None
    damaged: bool = False


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """A data set at its newest version. first, last: epoch microseconds of its requests. bytes: size on disk."""

    name: str
    version: int
    requests: int = 0
    spans: int = 0
    first: int | None = None
    last: int | None = None
    loaded_at: str = ""
    bytes: int = 0
    damaged: bool = False


def datasets() -> list[DatasetInfo]:
    """All data sets, by name. One whose newest manifest is damaged or lost is listed as such.

    Returns:
        One `DatasetInfo` each: name, version, requests, spans, first and last start (microseconds, UTC), bytes.

    Example:
        >>> "sample" in [d.name for d in kpi.datasets()]
        True
    """
    found = []
    for name in manifest.names():
        try:
            m = manifest.read(name)
            recovery.refuse_lost(name, folder(name), m)
        except StoreError:
            found.append(DatasetInfo(name=name, version=manifest.newest(name), damaged=True))
        else:
            found.append(DatasetInfo(name=name, version=m.number, requests=m.requests, spans=m.spans, first=m.first,
                                     last=m.last, loaded_at=m.created_at, bytes=m.size))  # fmt: skip
    return found


def versions(dataset: str) -> list[VersionInfo]:
    """The history of a data set, newest first.

    Args:
        dataset: Its name.

    Returns:
        One `VersionInfo` each: number, when it was made, fingerprint, requests, spans, damaged.

    Raises:
        StoreError: `store.no_dataset`.

    Example:
        >>> [v.number for v in kpi.versions("sample")]
        [1]
    """
    known = numbers(dataset)
    if not known:
        manifest.read(dataset)  # raises
    found = []
    for number in sorted({*known, *manifest.lost(dataset)}, reverse=True):
        try:
            m = manifest.read(dataset, number)
        except StoreError:
            found.append(VersionInfo(number=number, damaged=True))
        else:
            loaded = int(m.receipt.get("loaded", 0))
            found.append(VersionInfo(number=number, created_at=m.created_at, fingerprint=m.fingerprint,
                                     requests=m.requests, spans=m.spans, loaded=loaded, origin=m.origin))  # fmt: skip
    return found


def read_version(dataset: str, version: int | None = None) -> Version:
    """A version of a data set, the newest by default. Raises as `manifest.read`, and where files are gone or short."""
    m, place = manifest.read(dataset, version), folder(dataset)
    if version is None:
        recovery.refuse_lost(dataset, place, m)
    stored = {name: delta.stored(place, name, t) for name, t in m.tables.items()}
    for name, listed in stored.items():
        contents.verify(place / name, listed, whole=False)
    return Version(place=place, number=m.number, fingerprint=m.fingerprint, stored=stored,
                   extra={name: t.extra for name, t in m.tables.items()}, rekeyed=m.rekeyed[-1][0] if m.rekeyed else "",
                   receipt=Receipt.from_json(orjson.dumps(dict(m.receipt))))  # fmt: skip


def restore(dataset: str, version: int) -> VersionInfo:
    """Make an older version the newest one. History only grows: the restored state gets a new number.

    Everything of it is opened and compared first.

    Args:
        dataset: Name of the data set.
        version: Number of the version to go back to.

    Returns:
        The new version.

    Raises:
        StoreError: With nothing changed, where the log of a table cannot be read or is of a newer release, or where
            files are missing, damaged or hold other rows than they did.

    Example:
        >>> first = kpi.load("requests.csv", dataset="again").version
        >>> kpi.restore("again", first).origin
        1
    """
    manifest.read(dataset, version)  # raises for what is not there
    with writer(dataset) as path:
        old = manifest.read(dataset, version)
        if manifest.newest(dataset) > numbers(dataset)[-1]:
            raise manifest.gone(dataset)
        current = next(manifest.readable(dataset))
        if current.number == numbers(dataset)[-1]:
            recovery.refuse_lost(dataset, path, current)
        recovery.whole(path, old)
        recovery.recover(dataset, path, None)
        for table in old.tables:
            delta.latest(path / table)
        number = numbers(dataset)[-1] + 1
        manifest.write(dataclasses.replace(old, number=number, created_at=manifest.now(), origin=version))
        trash.empty(path)
    return versions(dataset)[0]


def delete(dataset: str) -> None:
    """Remove a data set with all its versions. Raises StoreError `store.no_dataset`."""
    if not numbers(dataset) and not manifest.lost(dataset):
        manifest.read(dataset)  # raises
    with writer(dataset) as path, owned_folders.OwnedFolder(owned_folders.DELETED, path.parent) as doomed:
        path.rename(doomed / path.name)


def sweep(dataset: str) -> int:
    """Move data files that no version names, left by killed loads, into the trash. Returns how many.

    Keeps every version. Folders that dead processes left, here and among the temporary files, go as well. Raises
    StoreError where something is lost or damaged, so that files would only look unneeded.
    """
    manifest.read(dataset)  # raises for what is not there
    with writer(dataset) as path:
        return recovery.sweep(dataset, path)


def commit(
    dataset: str, staged: Path, receipt: Receipt, *, prices: PriceTable | None = None,
    user_key: UserKey | None = None, moving: bool = True, progress: Progress | None = None,
) -> Receipt:  # fmt: skip
    """Merge staged canonical tables into a data set and make that its next version.

    staged: `<table>/<n>.parquet`, as written by the readers. Rows are merged by the table's key: a row
    that is stored already is repeated; partial spans complete each other; otherwise the last row counts. The requests
    of all traces that were touched and have spans are assembled anew. A load that changes nothing makes no version.
    prices: for requests assembled from spans; by default those of the state folder. user_key: the key of the pseudonyms
    in the staged rows, None where there are none; it must be the one of the data set. moving: whether rows of tables
    may replace requests of the same id at another time. Returns the receipt with counts. Raises StoreError
    (`store.other_times`), PriceError; nothing that was stored before is then lost.
    """
    with _transaction(dataset, Path(staged), prices=prices, progress=progress, user_key=user_key) as load:
        load.moving = moving
        return load.run(dataclasses.replace(receipt, dataset=dataset), binding.bind)


def reprice(dataset: str, *, progress: Progress | None = None) -> Receipt:
    """Cost every request of a data set again, by the prices of the state folder, as its next version.

    Requests are assembled anew from their spans; of those from tables, the ones whose cost was computed or unknown are
    computed again. Where no cost changes there is no new version.

    Args:
        dataset: Name of the data set.
        progress: Called with a fraction in 0-1 and a short text.

    Returns:
        The receipt.

    Raises:
        StoreError: When there is no such data set.
        PriceError: For a malformed price file.

    Example:
        >>> _ = kpi.load("requests.csv", dataset="priced")
        >>> kpi.reprice("priced").version
        1
    """
    with _transaction(dataset, progress=progress) as load:
        return load.reprice(Receipt(dataset=dataset, format="reprice"))


def rekey(dataset: str, key: UserKey, *, progress: Progress | None = None) -> Receipt:
    """Give every user of a data set another pseudonym, as its next version: see `kpi.store.rekeying`."""
    with _transaction(dataset, progress=progress) as load:
        return rekeying.rekey(load, Receipt(dataset=dataset, format="rekey"), key)


def adopt(dataset: str, key: UserKey) -> Receipt:
    """Bind a data set of an earlier release to the key of its users, as its next version. Raises StoreError."""
    with _transaction(dataset) as load:
        return binding.adopt(load, Receipt(dataset=dataset, format="adopt"), key)


@contextlib.contextmanager
def _transaction(
    dataset: str, staged: Path | None = None, *, prices: PriceTable | None = None, progress: Progress | None = None,
    user_key: UserKey | None = None,
) -> Iterator[Transaction]:  # fmt: skip
    """staged: rows to store; without any the data set must be there."""
    if staged is None:
        manifest.read(dataset)  # raises
    tell = progress or (lambda fraction, text: None)
    table = prices or price_file.current(home())
    with writer(dataset) as path:
        base = manifest.read(dataset) if manifest.newest(dataset) else None
        recovery.recover(dataset, path, base)
        ahead = recovery.check(dataset, path, base)
        recovery.clear_work(path)
        work = Path(tempfile.mkdtemp(prefix=recovery.WORK, dir=path))
        try:
            with merge.workspace(work) as connection:
                yield Transaction(dataset, path, base, connection, staged or work, work, tell, table, ahead, user_key)
        except BaseException:
            recovery.undo(dataset, path)
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
