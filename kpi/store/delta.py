"""One Delta table on disk: its files at a version, appending, replacing, going back. Knows nothing of data sets.

Delta's own clean-up is switched off: old versions are named by manifests, and only the lake knows which are needed.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson
import pyarrow as pa
from deltalake import DeltaTable, WriterProperties, write_deltalake
from deltalake.transaction import AddAction, RemoveAction

from kpi.errors import StoreError
from kpi.store import contents, ours
from kpi.store.contents import Sealed, checksum
from kpi.store.manifest import TableVersion

PARTITION = {"requests": "day"}
FILE_BYTES = 128 * 2**20
GROUP_ROWS = 65_536
APPEND_ROWS = 131_072  # of a partitioned table at a time: its writer holds every partition it has met in memory
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_KEEP_HISTORY: dict[str, str | None] = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.enableExpiredLogCleanup": "false",
}
_READS, _WRITES = 1, 2  # the protocol of the tables that this release makes; what is above is a newer one's
_WRITER = WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=GROUP_ROWS)


def exists(path: Path) -> bool:
    return any(number is not None for _, number in ours.log_files(path))


@contextlib.contextmanager
def _typed(meant: StoreError, path: Path) -> Iterator[None]:
    """Whatever the Delta library throws, as an error of ours: it has many kinds, and panics are none of Exception."""
    try:
        yield
    except StoreError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if "nsupported" in str(error):
            raise _newer(path) from error
        told = f"{meant.message} ({type(error).__name__})"
        raise StoreError(meant.code, told, hint=meant.hint) from error


def _reading(path: Path) -> contextlib.AbstractContextManager[None]:
    told = f"The log of the stored table {path.name!r} cannot be read"
    return _typed(contents.unsound("store.table", told, path.parent.name), path)


def _newer(path: Path) -> StoreError:
    return StoreError.told("store.newer", name=path.name, dataset=path.parent.name)


def _open(path: Path, version: int | None = None) -> DeltaTable:
    """Raises StoreError: `store.table` for a log that cannot be read, `store.newer` for one of a newer protocol."""
    with _reading(path):
        table = DeltaTable(str(path), version=version)
        protocol = table.protocol()
    if protocol.min_reader_version > _READS or protocol.min_writer_version > _WRITES:
        raise _newer(path)
    return table


def latest(path: Path) -> int | None:
    """Newest Delta version, None where there is no table yet. Raises StoreError for a log that cannot be read."""
    return _open(path).version() if exists(path) else None


def files(path: Path, version: int) -> tuple[Sealed, ...]:
    """Active files of a version as its log has them, without checksums, sorted by path."""
    table = _open(path, version)
    with _reading(path):
        actions = pa.table(table.get_add_actions(flatten=True))
        listed = zip(*(actions[c].to_pylist() for c in ("path", "num_records", "size_bytes")), strict=True)
        found = (Sealed(unquote(p), int(rows or 0), int(size), None) for p, rows, size in listed)
        return tuple(sorted(found, key=lambda f: f.path))


def stored(path: Path, name: str, known: TableVersion) -> tuple[Sealed, ...]:
    """What a version of a table consists of: as it was sealed, else as the log has it. path: of the data set."""
    return contents.read(path, known.files) if known.files else files(path / name, known.version)


def committed(path: Path, names: Iterable[str]) -> set[str]:
    """Data files that entries of the log added, relative to the table's folder. names: as in `log_files`."""
    adds = (action.get("add") for action in _actions(path, names))
    return {unquote(add["path"]) for add in adds if isinstance(add, dict) and isinstance(add.get("path"), str)}


def refuse_newer(path: Path, names: Iterable[str]) -> None:
    """Raise StoreError `store.newer` where an entry of the log asks for a newer protocol. names: as in `log_files`."""
    for action in _actions(path, names):
        told = action.get("protocol")
        if isinstance(told, dict) and (
            told.get("minReaderVersion", 0) > _READS or told.get("minWriterVersion", 0) > _WRITES
        ):
            raise _newer(path)


def _actions(path: Path, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Actions in the entries of a log, as far as they can be read."""
    for name in names:
        if not name.endswith(".json"):
            continue
        with contextlib.suppress(OSError):
            for line in (path / name).read_bytes().splitlines():
                with contextlib.suppress(orjson.JSONDecodeError):
                    found = orjson.loads(line)
                    if isinstance(found, dict):
                        yield found


def identity(path: Path, version: int) -> str:
    """The id that a table keeps for life, as its log tells at a version."""
    return str(_open(path, version).metadata().id)


def describe(path: Path, extra: Sequence[str], version: int | None = None) -> TableVersion:
    """A version, the newest by default, as a manifest records it."""
    table = _open(path, version)
    at = table.version()
    rows = sum(f.rows for f in files(path, at))
    return TableVersion(version=at, id=str(table.metadata().id), rows=rows, extra=tuple(sorted(extra)))


def seal(path: Path, version: int, known: Iterable[Sealed]) -> list[Sealed]:
    """Active files of a version with their checksums. known: files that were sealed before and never change."""
    before = {f.path: f for f in known if f.crc is not None}
    with _writing(path):
        return [before.get(f.path) or replace(f, crc=checksum(path / f.path)) for f in files(path, version)]


def append(path: Path, table: str, rows: pa.RecordBatchReader) -> None:
    """Append a stream of rows; columns that are new are null in older rows. A long one takes several Delta versions."""
    partition = [PARTITION[table]] if table in PARTITION else None
    with _writing(path):
        for part in _parts(rows) if partition else (rows,):
            write_deltalake(str(path), part, mode="append", schema_mode="merge", partition_by=partition,
                            configuration=None if exists(path) else _KEEP_HISTORY, target_file_size=FILE_BYTES,
                            writer_properties=_WRITER)  # fmt: skip


def _writing(path: Path) -> contextlib.AbstractContextManager[None]:
    hint = "Nothing that was stored before is lost. Check the free disk space and load again."
    return _typed(StoreError("store.write", f"The table {path.name!r} could not be written", hint=hint), path)


def _parts(rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatchReader]:
    held: list[pa.RecordBatch] = []
    for batch in rows:
        held.append(batch)
        if sum(b.num_rows for b in held) >= APPEND_ROWS:
            yield pa.RecordBatchReader.from_batches(rows.schema, held)
            held = []
    if held:
        yield pa.RecordBatchReader.from_batches(rows.schema, held)


def remove(path: Path, gone: Iterable[Path]) -> None:
    """Take files out of the newest version. They stay on disk for the versions that name them."""
    table = _open(path)
    sizes = {f.path: f.size for f in files(path, table.version())}
    now = int(time.time() * 1000)
    partition = PARTITION.get(path.name)
    actions: list[AddAction | RemoveAction] = []
    for name in (file.relative_to(path).as_posix() for file in gone):
        value = os.path.dirname(name).rpartition("=")[2]
        values = {partition: None if value == NO_PARTITION else value} if partition else {}
        actions.append(RemoveAction(path=name, data_change=True, deletion_timestamp=now, size=sizes[name],
                                    partition_values=values))  # fmt: skip
    if actions:
        with _writing(path):
            table.create_write_transaction(actions, mode="append", schema=table.schema(),
                                           partition_by=[partition] if partition else None)  # fmt: skip


def go_back(path: Path, version: int) -> None:
    """Make the newest version hold the files of an older one, where it does not already."""
    newest = latest(path)
    if newest is not None and {f.path for f in files(path, newest)} != {f.path for f in files(path, version)}:
        table = _open(path)
        with _writing(path):
            table.restore(version)


def clear(path: Path) -> None:
    """Make the newest version hold no rows; older versions keep theirs."""
    remove(path, [path / f.path for f in files(path, latest(path) or 0)])
