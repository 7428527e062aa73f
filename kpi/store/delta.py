"""One Delta table on disk: its files at a version, appending, replacing, going back. Knows nothing of data sets.

Delta's own clean-up is switched off: old versions are named by manifests, and only the lake knows which are needed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from kpi.errors import StoreError
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
_WRITER = WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=GROUP_ROWS)


@dataclass(frozen=True)
class File:
    """One active data file. path: absolute. partition: its folder, empty for an unpartitioned table."""

    path: Path
    rows: int
    size: int
    partition: str


def exists(path: Path) -> bool:
    return (path / "_delta_log").is_dir()


def _open(path: Path, version: int | None = None) -> DeltaTable:
    try:
        return DeltaTable(str(path), version=version)
    except (DeltaError, TableNotFoundError, OSError, ValueError) as error:
        raise StoreError(
            "store.table", f"The stored table {path.name!r} cannot be opened ({type(error).__name__})",
            hint="Restore an older version of the data set, or load its exports again.",
        ) from error  # fmt: skip


def latest(path: Path) -> int | None:
    """Newest Delta version, or None where there is no table yet (a first write that was cut off leaves none)."""
    if not exists(path):
        return None
    try:
        return DeltaTable(str(path)).version()
    except (TableNotFoundError, DeltaError):
        return None


def files(path: Path, version: int) -> list[File]:
    """Active files of a version, sorted by path."""
    actions = pa.table(_open(path, version).get_add_actions(flatten=True))
    listed = zip(*(actions[c].to_pylist() for c in ("path", "num_records", "size_bytes")), strict=True)
    found = (File(path / unquote(p), int(rows or 0), int(size), os.path.dirname(p)) for p, rows, size in listed)
    return sorted(found, key=lambda f: f.path)


def describe(path: Path, extra: Sequence[str]) -> TableVersion:
    """The newest version as a manifest records it."""
    table = _open(path)
    version = table.version()
    rows = sum(f.rows for f in files(path, version))
    return TableVersion(version=version, id=str(table.metadata().id), rows=rows, extra=tuple(sorted(extra)))


def append(path: Path, table: str, rows: pa.RecordBatchReader) -> None:
    """Append a stream of rows; columns that are new are null in older rows. A long one takes several Delta versions."""
    partition = [PARTITION[table]] if table in PARTITION else None
    try:
        for part in _parts(rows) if partition else (rows,):
            write_deltalake(
                str(path), part, mode="append", schema_mode="merge", partition_by=partition,
                configuration=None if exists(path) else _KEEP_HISTORY, target_file_size=FILE_BYTES,
                writer_properties=_WRITER,
            )  # fmt: skip
    except (DeltaError, OSError) as error:
        raise StoreError(
            "store.write", f"The table {table!r} could not be written ({type(error).__name__})",
            hint="Nothing that was stored before is lost. Check the free disk space and load again.",
        ) from error  # fmt: skip


def _parts(rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatchReader]:
    held: list[pa.RecordBatch] = []
    for batch in rows:
        held.append(batch)
        if sum(b.num_rows for b in held) >= APPEND_ROWS:
            yield pa.RecordBatchReader.from_batches(rows.schema, held)
            held = []
    if held:
        yield pa.RecordBatchReader.from_batches(rows.schema, held)


def filled(paths: Iterable[Path]) -> set[str]:
    """Columns that the statistics of Parquet files prove to hold at least one value."""
    found: set[str] = set()
    for path in paths:
        metadata = pq.read_metadata(path)
        for g in range(metadata.num_row_groups):
            group = metadata.row_group(g)
            for c in range(group.num_columns):
                column = group.column(c)
                told = column.statistics
                if told is not None and told.has_null_count and told.null_count < group.num_rows:
                    found.add(column.path_in_schema)
    return found


def remove(path: Path, gone: Iterable[Path]) -> None:
    """Take files out of the newest version. They stay on disk for the versions that name them."""
    table = _open(path)
    sizes = {f.path: f for f in files(path, table.version())}
    now = int(time.time() * 1000)
    actions: list[AddAction | RemoveAction] = [
        RemoveAction(
            path=file.relative_to(path).as_posix(), data_change=True, deletion_timestamp=now, size=sizes[file].size,
            partition_values=_partition_values(path.name, sizes[file].partition),
        )
        for file in gone
    ]  # fmt: skip
    if actions:
        partition = [PARTITION[path.name]] if path.name in PARTITION else None
        table.create_write_transaction(actions, mode="append", schema=table.schema(), partition_by=partition)


def _partition_values(table: str, folder: str) -> dict[str, str | None]:
    if table not in PARTITION:
        return {}
    value = unquote(folder.rpartition("=")[2])
    return {PARTITION[table]: None if value == NO_PARTITION else value}


def go_back(path: Path, version: int) -> bool:
    """Make the newest version hold the files of an older one. False when it does already."""
    newest = latest(path)
    if newest is None or newest == version:
        return False
    if {f.path for f in files(path, newest)} == {f.path for f in files(path, version)}:
        return False
    _open(path).restore(version)
    return True


def clear(path: Path) -> bool:
    """Make the newest version hold no rows; older versions keep theirs. False when it is empty already."""
    active = [f.path for f in files(path, latest(path) or 0)]
    remove(path, active)
    return bool(active)
