"""What killed loads leave behind: taken back before the next write, never at the cost of anything else.

Only what a transaction record proves to be unfinished work is taken back, and it goes into the trash first. Whatever is
not understood (a log that cannot be read, a manifest that is gone, a foreign file) ends in a typed error, and nothing
is changed.
"""

import contextlib
import re
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from kpi.disk import durable
from kpi.errors import KpiError, StoreError
from kpi.store import contents, delta, manifest, ours, record, trash
from kpi.store.manifest import Manifest, numbers
from kpi.store.record import TransactionRecord

WORK = ".work-"  # folders of loads under way begin so
_WORK = re.compile(r"\.work-[a-z0-9_]{8}")


def recover(dataset: str, path: Path, base: Manifest | None) -> int:
    """Take back what a load that did not end has done, as its record proves. Returns how many data files that were.

    path: the folder of the data set, whose writer's lock is held. base: its newest version, where that can be read; all
    of it is looked at first. Raises StoreError where anything is not understood; nothing is changed then.
    """
    left = record.read(path)
    if left is None:
        return 0
    refuse_foreign(path)
    last = manifest.newest(dataset)
    if last < left.base or last > max(numbers(dataset), default=0) or manifest.lost(dataset):
        raise manifest.gone(dataset)
    if base is not None:
        whole(path, base)
    doomed = _replaced(dataset, path, left) if last > left.base else _unfinished(path, left)
    with _changing(path):
        trash.put(path, doomed)
        _end(path, left)
    return sum(1 for name in doomed if f"/{ours.LOG}/" not in name)


def clear_work(path: Path) -> None:
    """Move the work folders of loads that were killed into the trash; the caller holds the writer's lock."""
    work = [p.name for p in path.iterdir() if _WORK.fullmatch(p.name) and p.is_dir() and not p.is_symlink()]
    with _changing(path):
        trash.put(path, work)


def check(dataset: str, path: Path, base: Manifest | None) -> list[str]:
    """Whether a load may build on `base`: everything in the data set is understood. Changes nothing.

    Returns the tables that stand ahead of every version because a load of a release before transaction records was
    killed: their newest rows are no part of any version. Raises StoreError, with the remedy.
    """
    refuse_foreign(path)
    if manifest.lost(dataset):
        raise manifest.gone(dataset)
    known = base.tables if base else {}
    return [t for t in {**dict.fromkeys(ours.tables(path)), **known} if stands_ahead(dataset, path, t, base)]


def stands_ahead(dataset: str, path: Path, table: str, base: Manifest | None) -> bool:
    """Whether a table has newer Delta versions than any version of the data set tells of. Raises as `check`."""
    place = path / table
    newest = delta.latest(place)
    known = base.tables.get(table) if base else None
    if newest is None:
        if known is not None or ours.data_files(place):
            raise _no_log(place)
        return False
    if known is not None:
        _agree(path, table, known)
    return newest > (known.version if known else -1) and _unexplained(dataset, table, newest)


def undo(dataset: str, path: Path) -> None:
    """Take back what a load of this process wrote and could not finish.

    It does not wait in the trash: on a full disk its space is needed at once, and the trash needs room itself. A
    process that is alive knows that these files are its own.
    """
    with contextlib.suppress(KpiError, OSError):  # what stays is taken back by the next load
        left = record.read(path)
        if left is not None and manifest.newest(dataset) == left.base:
            refuse_foreign(path)
            for name in _unfinished(path, left):
                (path / name).unlink()
            _end(path, left)
        known = (manifest.read(dataset, number) for number in numbers(dataset))  # raises: then all lists stay
        contents.keep_lists(path, {t.files for m in known for t in m.tables.values()})


def _end(path: Path, left: TransactionRecord) -> None:
    for table in set(ours.tables(path)) - set(left.tables):
        ours.remove_empty(path / table)
    record.end(path)


def sweep(dataset: str, path: Path) -> int:
    """Move data files that the log of their table proves to be ours, and that no version names, into the trash.

    Returns how many. Raises StoreError as `check`, and where a manifest is damaged: its files would look unneeded.
    """
    base = manifest.read(dataset)
    gone = recover(dataset, path, base)
    check(dataset, path, base)
    named = {table: {f for number in numbers(dataset) for f in listed(path, table, manifest.read(dataset, number))}
             for table in ours.tables(path)}  # fmt: skip
    doomed = []
    for table in named:
        proven = delta.committed(path / table, [name for name, _ in ours.log_files(path / table)])
        doomed += [f"{table}/{name}" for name in sorted(proven & set(ours.data_files(path / table)) - named[table])]
    with _changing(path):
        return gone + trash.put(path, doomed)


def refuse_foreign(path: Path) -> None:
    """Raise StoreError `store.foreign` where something in the tables of a data set is not ours."""
    if found := ours.foreign(path):
        raise StoreError.told("store.foreign", count=len(found), name=path.name, first=found[0][:120])


def whole(path: Path, m: Manifest) -> None:
    """Raise StoreError unless a version is all there: logs, files, their checksums, footers and row counts."""
    for table, known in m.tables.items():
        place = path / table
        if not delta.exists(place):
            raise _no_log(place)
        _agree(path, table, known)
        listed = delta.stored(path, table, known)
        contents.verify(place, listed)
        try:
            rows = sum(pq.read_metadata(place / f.path).num_rows for f in listed)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise contents.broken(place, [f"cannot be read ({type(error).__name__})"]) from error
        if rows != known.rows:
            raise contents.broken(place, ["holds other rows"])


def _agree(path: Path, table: str, known: manifest.TableVersion) -> None:
    """The log of a table knows the version of a manifest, with the files that the manifest names."""
    place = path / table
    for name, number in ours.log_files(place):
        if number is not None and (not (place / name).is_file() or (place / name).is_symlink()):
            raise _no_log(place)  # a checkpoint may hide it from readers, and the next commit would fail
    found = {f.path for f in delta.files(place, known.version)}
    listed = {f.path for f in delta.stored(path, table, known)}
    if delta.identity(place, known.version) != known.id or found != listed:
        told = f"The log of the stored table {table!r} does not agree with the version of {path.name!r}"
        raise contents.unsound("store.table", told, path.name)


def refuse_lost(dataset: str, path: Path, m: Manifest) -> None:
    """Raise StoreError `store.lost` where a record or the logs prove a version after `m`, the newest with a manifest.

    For readers: needs no log that can be read, and takes no foreign entry of a log for a proof.
    """
    proven = False
    if record.exists(path):
        with contextlib.suppress(StoreError):
            left = record.read(path)
            proven = left is not None and left.base > m.number
    else:
        proven = any(_went_on(dataset, path, table, m) for table in ours.tables(path))
    if proven and manifest.newest(dataset) == m.number:  # or it was made meanwhile
        raise manifest.gone(dataset)


def _went_on(dataset: str, path: Path, table: str, m: Manifest) -> bool:
    """Whether the log of a table adds files, after every version, that are there and that no version names."""
    place, known = path / table, m.tables.get(table)
    if known is not None and not known.files:
        return False  # a release before records may have left them
    newer = [name for name, n in ours.log_files(place) if n is not None and n > (known.version if known else -1)]
    added = {name for name in delta.committed(place, newer) if (place / name).exists()}
    with contextlib.suppress(StoreError):  # of a version whose manifest is damaged, for all we know
        for number in reversed(numbers(dataset)) if added else ():
            added -= set(listed(path, table, manifest.read(dataset, number)))
        return bool(added)
    return False


def _unexplained(dataset: str, table: str, newest: int) -> bool:
    """Does no version explain the newest Delta version, which no record does? Raises where only a lost one can."""
    try:
        told = [manifest.read(dataset, number) for number in numbers(dataset)]
    except StoreError:
        return False  # they may be of this version, whose manifest is damaged
    if newest <= max((m.tables[table].version for m in told if table in m.tables), default=-1):
        return False  # of a version that a restore went back from
    if any(t.files for m in told for t in m.tables.values()):
        raise manifest.gone(dataset)  # a load of this release would have left its record
    return True


def _unfinished(path: Path, left: TransactionRecord) -> list[str]:
    """What came into the tables after the record: data files, and newer Delta versions."""
    doomed = []
    for table in ours.tables(path):
        place, before = path / table, left.tables.get(table, -1)
        if before >= 0:
            delta.files(place, before)  # what stays can be read, or nothing is touched
        newer = [name for name, number in ours.log_files(place) if _came_later(place, name, number, before)]
        delta.refuse_newer(place, newer)
        known = left.present.get(table, frozenset())
        doomed += [f"{table}/{name}" for name in reversed(newer)]  # newest first: a kill on the way leaves no hole
        doomed += [f"{table}/{name}" for name in ours.data_files(place) if name not in known]
    for table in set(left.tables) - set(ours.tables(path)):
        raise _no_log(path / table)
    return doomed


def _came_later(place: Path, name: str, number: int | None, before: int) -> bool:
    if number is not None:
        return number > before
    if not name.endswith(ours.LAST_CHECKPOINT):
        return True  # a draft of an entry
    try:
        return int(orjson.loads((place / name).read_bytes())["version"]) > before
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _replaced(dataset: str, path: Path, left: TransactionRecord) -> list[str]:
    """Files that a load which had ended wrote and replaced itself: no version ever named them."""
    m = manifest.read(dataset)
    doomed = []
    for table in ours.tables(path):
        kept = left.present.get(table, frozenset()) | set(listed(path, table, m))
        doomed += [f"{table}/{name}" for name in ours.data_files(path / table) if name not in kept]
    return doomed


def listed(path: Path, table: str, m: Manifest) -> list[str]:
    """Data files of a table in a version, relative to the table's folder."""
    known = m.tables.get(table)
    return [f.path for f in delta.stored(path, table, known)] if known else []


def _no_log(place: Path) -> StoreError:
    told = f"The log of the stored table {place.name!r} is gone, or lacks entries"
    return contents.unsound("store.table", told, place.parent.name)


def _changing(path: Path) -> contextlib.AbstractContextManager[None]:
    hint = "No version was changed. Check the disk and the rights on the folder, then load again."
    return durable.told(f"What a load into {path.name!r} left could not be taken back", hint)
