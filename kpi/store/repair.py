"""A damaged data set rebuilt from what can still be read: a new folder in place of the old one, which is kept."""

import contextlib
import itertools
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kpi import schema
from kpi.disk import durable
from kpi.errors import StoreError
from kpi.receipts import Receipt
from kpi.store import contents, delta, manifest, merge, ours, record, recovery
from kpi.store.doctor import KEPT, Diagnosis, decoded, doctor
from kpi.store.manifest import Manifest, TableVersion, writer
from kpi.store.transaction import Progress

_NEW = ".repair-"


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What a repair came to. version: the number of the rebuilt version; None where nothing was wrong.

    source: the version whose rows it holds; None where no manifest could be read and the tables were taken as they
    stood. kept: name of the folder, beside the data set's own, in which the old one is kept. notes: what to know.
    """

    dataset: str
    version: int | None = None
    source: int | None = None
    kept: str = ""
    requests: int = 0
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        if self.version is None:
            return f"{self.dataset}: nothing is wrong, nothing was done."
        of = f"version {self.source}" if self.source else "the tables as they stood"
        return (
            f"{self.dataset}: rebuilt from {of} as version {self.version}, {self.requests:,} requests. The old folder "
            f"is kept beside it as {self.kept!r}; delete it yourself once you do not need it."
        )


def repair(dataset: str = "default", *, progress: Progress | None = None) -> Repair:
    """Rebuild a data set from its newest version of which every row can be read.

    Never in place: tables are written anew in another folder, opened and compared, and put in place by renaming; the
    old folder is kept beside it and never deleted. Older versions stay in the old folder. A healthy data set is left
    alone.

    Args:
        dataset: Its name.
        progress: Called with a fraction in 0-1 and a short text.

    Returns:
        A `Repair`: what was rebuilt from which version; `version` is None where there was nothing to do.

    Raises:
        StoreError: `store.no_dataset`; `store.beyond_repair` where no version can be read; nothing is changed.

    Example:
        >>> _ = kpi.load("requests.csv", dataset="healthy")
        >>> print(kpi.repair("healthy").version)
        None
    """
    tell = progress or (lambda fraction, text: None)
    doctor(dataset)  # raises for what is not there
    with writer(dataset) as path:
        tell(0.0, "Looking at every file")
        found = doctor(dataset)
        if found.healthy and not record.exists(path):
            return Repair(dataset=dataset)
        old = _best(dataset, path, found)
        number = manifest.newest(dataset) + 1
        new = Path(tempfile.mkdtemp(prefix=f"{_NEW}{dataset}-", dir=path.parent))
        try:
            tell(0.3, "Rebuilding")
            wanted = replace(old, number=number, created_at=manifest.now(), origin=old.number or None)
            made = _rebuilt(path, new, wanted)
            tell(0.9, "Comparing")
            recovery.whole(new, made)
            kept = _swap(path, new)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)  # made here, and nothing of it is in place
            raise
    return Repair(dataset=dataset, version=number, source=found.readable, kept=kept, requests=made.requests,
                  notes=tuple(_notes(dataset, found.readable, number)))  # fmt: skip


def _best(dataset: str, path: Path, found: Diagnosis) -> Manifest:
    """The newest version that can be read; where no manifest can, the tables as they stand."""
    if found.readable:
        return manifest.read(dataset, found.readable)
    if next(manifest.readable(dataset), None) is not None:
        raise _beyond(dataset, "each lacks files, or has damaged ones")
    return _as_they_stand(dataset, path)


def _notes(dataset: str, source: int | None, number: int) -> list[str]:
    if source is None:
        return [
            "No manifest could be read: nobody can tell whether the last load had ended. Compare the counts with "
            "those you know, and load its exports again where they differ."
        ]
    lost = [str(n) for n in range(source + 1, number)]
    again = f"What came with version {', '.join(lost)} is not in it: load those exports again." if lost else ""
    return [note for note in (again, "Older versions are in the old folder only.") if note]


def _rebuilt(path: Path, new: Path, m: Manifest) -> Manifest:
    """Write the rows of a version into a new folder, as its only version."""
    tables = {}
    work = new / f"{recovery.WORK}repair00"
    with merge.workspace(work) as connection:
        for name, known in m.tables.items():
            files = [path / name / file for file in recovery.listed(path, name, m)]
            place = new / name
            if files:
                query = merge.ordered(files, schema.TABLES[name], known.extra)
                delta.append(place, name, merge.batches(connection, query))
                made = delta.describe(place, known.extra)
                if made.rows != known.rows:
                    raise contents.broken(path / name, ["holds other rows"])
                digest = contents.write(new, delta.seal(place, made.version, ()))
                tables[name] = replace(made, files=digest)
    shutil.rmtree(work)
    for file in path.iterdir():  # the mapping, the allowed keys, the register
        ours_made = file.name.startswith(".") or file.name in (manifest.NEWEST, *schema.TABLES)
        if file.is_file() and not file.is_symlink() and not ours_made:
            shutil.copy2(file, new / file.name)
    size = sum(f.stat().st_size for name in tables for f in (new / name).rglob("*.parquet"))
    made_of = replace(m, tables=tables, size=size)
    manifest.write(made_of, new)
    return made_of


def _swap(path: Path, new: Path) -> str:
    """Put the new folder in place of the old one, which is kept under a name that no data set can have."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (f"{path.name}{KEPT}{stamp}{f'-{n}' if n else ''}" for n in itertools.count())
    kept = next(name for name in names if not (path.parent / name).exists())
    try:
        os.rename(path, path.parent / kept)
        os.rename(new, path)
    except OSError as error:
        if not path.exists() and (path.parent / kept).exists():
            os.rename(path.parent / kept, path)
        raise StoreError.told("store.write:repair", name=path.name, kind=type(error).__name__) from error
    with contextlib.suppress(OSError):
        durable.sync(path.parent)
    return kept


# -- without a manifest ---------------------------------------------------------------------------------------------


def _as_they_stand(dataset: str, path: Path) -> Manifest:
    """A version out of the tables alone, or of what they were before a load that did not end."""
    try:
        before = left.tables if (left := record.read(path)) else None
        tables = {name: _table(path / name, before[name] if before else None) for name in ours.tables(path)
                  if delta.exists(path / name) and (before is None or name in before)}  # fmt: skip
    except StoreError as error:
        raise _beyond(dataset, error.message) from error
    tables = {name: t for name, t in tables.items() if t.rows}
    requests, spans = (tables[name].rows if name in tables else 0 for name in ("requests", "spans"))
    if not requests and not spans:
        raise _beyond(dataset, "No table holds requests")
    first, last = _ends(path / "requests", tables["requests"].version) if requests else (None, None)
    receipt = Receipt(dataset=dataset, format="repair", requests=requests, spans=spans, first=first, last=last)
    receipt.note("Rebuilt from the tables as they stood: no manifest could be read.")
    return Manifest(dataset=dataset, number=0, created_at=manifest.now(), tables=tables, first=first, last=last,
                    requests=requests, spans=spans, receipt=orjson.loads(receipt.to_json()))  # fmt: skip


def _table(place: Path, version: int | None) -> TableVersion:
    made = delta.describe(place, (), version)
    found = delta.files(place, made.version)
    for f in found:
        if flaw := decoded(place, f):
            raise contents.broken(place, [flaw])
    names = {name for f in found for name in pq.read_schema(place / f.path).names}
    return replace(made, extra=tuple(sorted(filter(schema.is_extra, names))))


def _ends(place: Path, version: int) -> tuple[int | None, int | None]:
    """First and last start of the requests, epoch microseconds."""
    files = [str(place / f.path) for f in delta.files(place, version)]
    starts = pq.read_table(files, columns=["started_at"], partitioning=None)["started_at"]
    ends = pc.min_max(starts.cast(pa.int64()))
    return ends["min"].as_py(), ends["max"].as_py()


def _beyond(dataset: str, why: str) -> StoreError:
    return StoreError.told("store.beyond_repair", dataset=dataset, why=why)
