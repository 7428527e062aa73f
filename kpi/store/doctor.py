"""What is wrong with a data set, and what of it can still be read. Looks at every file and changes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kpi.errors import StoreError
from kpi.store import contents, delta, manifest, ours, record, recovery, trash
from kpi.store.manifest import TableVersion, folder

KEPT = ".before-repair-"  # what a repair puts between the name of a data set and a time, for the folder that it keeps


@dataclass(frozen=True, kw_only=True)
class TableHealth:
    """A table in one version. flaws: what is wrong with it, in sentences. unproven: files without a checksum."""

    name: str
    rows: int
    files: int
    flaws: tuple[str, ...] = ()
    unproven: int = 0


@dataclass(frozen=True, kw_only=True)
class VersionHealth:
    """One version. problem: why its manifest cannot be used, empty where it can."""

    number: int
    created_at: str = ""
    requests: int = 0
    problem: str = ""
    tables: tuple[TableHealth, ...] = ()

    @property
    def readable(self) -> bool:
        """Whether every row of it can be read as it was written."""
        return not self.problem and not any(t.flaws for t in self.tables)


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A data set as it lies on the disk. versions: newest first. problems: beside those of the versions.

    notes: what is in order and worth knowing. No sentence names a path outside the data set's folder.
    """

    dataset: str
    versions: tuple[VersionHealth, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    readable: int | None = field(init=False)
    """The newest version of which every row can be read; None where there is none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "readable", next((v.number for v in self.versions if v.readable), None))

    @property
    def healthy(self) -> bool:
        return not self.problems and all(v.readable for v in self.versions)

    @property
    def sentence(self) -> str:
        """The whole in one sentence, with what to do."""
        if self.healthy:
            return f"{self.dataset}: every version can be read."
        newest = self.versions[0].number if self.versions else 0
        if self.readable is None:
            what = "no version can be read whole"
        elif self.readable == newest:
            what = "the newest version can be read"
        else:
            what = f"version {self.readable} is the newest that can be read"
        return (
            f"{self.dataset}: something is wrong; {what}. Nothing was changed. "
            f"`kpi doctor {self.dataset} --repair` rebuilds what can be read and keeps the old folder aside."
        )


def doctor(dataset: str = "default") -> Diagnosis:
    """Look at every file of a data set: manifests, lists, logs, data files with their checksums, foreign files.

    Reads all of it and changes nothing.

    Args:
        dataset: Its name.

    Returns:
        A `Diagnosis`; `problems` is empty where all is well.

    Raises:
        StoreError: `store.no_dataset`, `store.name`.

    Example:
        >>> kpi.doctor("sample").problems
        ()
    """
    path = folder(dataset)
    if not path.is_dir() and (aside := sorted(path.parent.glob(f"{dataset}{KEPT}*"))):
        raise StoreError.told("store.lost:repair", dataset=dataset, kept=aside[-1].name)
    if not path.is_dir() or not (manifest.numbers(dataset) or manifest.lost(dataset) or record.exists(path)):
        raise manifest.no_dataset(dataset)
    seen: dict[Path, str | None] = {}
    numbers = sorted({*manifest.numbers(dataset), *manifest.lost(dataset)} - {0}, reverse=True)
    return Diagnosis(dataset=dataset, versions=tuple(_version(dataset, number, seen) for number in numbers),
                     problems=tuple(_problems(dataset, path)), notes=tuple(_notes(dataset, path)))  # fmt: skip


def _version(dataset: str, number: int, seen: dict[Path, str | None]) -> VersionHealth:
    try:
        m = manifest.read(dataset, number)
    except StoreError as error:
        return VersionHealth(number=number, problem=f"{error.message}.")
    path = folder(dataset)
    tables = tuple(_table(path, name, known, seen) for name, known in m.tables.items())
    return VersionHealth(number=number, created_at=m.created_at, requests=m.requests, tables=tables)


def _table(path: Path, name: str, known: TableVersion, seen: dict[Path, str | None]) -> TableHealth:
    place = path / name
    try:
        found = delta.stored(path, name, known)
    except StoreError as error:
        return TableHealth(name=name, rows=known.rows, files=0, flaws=(f"{error.message}.",))
    for f in found:
        if place / f.path not in seen:  # versions share files: each is looked at once
            seen[place / f.path] = decoded(place, f) if f.crc is None else contents.flaw(place, f)
    rows, unproven = sum(f.rows for f in found), sum(f.crc is None for f in found)
    flaws = [f"{name}/{f.path} {flaw}." for f in found if (flaw := seen[place / f.path])]
    if rows != known.rows:
        flaws.append(f"{name} has {rows:,} rows instead of {known.rows:,}.")
    return TableHealth(name=name, rows=known.rows, files=len(found), flaws=tuple(flaws), unproven=unproven)


def decoded(place: Path, file: contents.Sealed) -> str | None:
    """What is wrong with a data file that has no checksum: it is decoded whole and its rows are counted."""
    if flaw := contents.flaw(place, file, whole=False):
        return flaw
    try:
        with pq.ParquetFile(place / file.path) as parquet:
            rows = sum(batch.num_rows for batch in parquet.iter_batches())
        return None if rows == file.rows else f"has {rows:,} rows instead of {file.rows:,}"
    except (pa.ArrowException, OSError, ValueError) as error:
        return f"cannot be read ({type(error).__name__})"


def _problems(dataset: str, path: Path) -> Iterator[str]:
    if manifest.lost(dataset):
        yield f"{manifest.gone(dataset).message}."
    yield from (f"{name} is no file of the index." for name in ours.foreign(path))
    try:
        if record.read(path) is not None:
            return
    except StoreError as error:
        yield f"{error.message}."
        return
    newest = next(manifest.readable(dataset), None)
    for table in [t for t in ours.tables(path) if (path / t).is_dir()]:
        try:  # the log of a table, which loads need and readers do not
            if recovery.stands_ahead(dataset, path, table, newest) and not manifest.lost(dataset):
                yield f"{table} holds rows of a load that had not ended."
        except StoreError as error:
            yield f"{error.message}."


def _notes(dataset: str, path: Path) -> Iterator[str]:
    if record.exists(path):
        yield "A load is under way, or did not end: the next one takes back what it left."
    if (path / manifest.NEWEST).exists() and not manifest.witness(dataset):
        yield f"{manifest.NEWEST} cannot be read; the next load writes it anew."
    if waiting := trash.count(path):
        yield f"{waiting:,} files that a load left wait in the trash; they go after the next good load."
