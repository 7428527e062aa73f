"""The lake: data sets of canonical tables, in numbered versions that never change.

A data set is a folder with one Delta table for each canonical table, and manifests (`kpi.store.manifest`) that name the
Delta version of every table. Readers look at manifests alone, so a load that is killed anywhere leaves the version
before it intact; the next writer first takes back what stands ahead of the newest manifest. One writer at a time,
any number of readers, in any number of processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from kpi import schema
from kpi.errors import StoreError
from kpi.ingest.assemble import assemble_all
from kpi.ingest.receipt import Receipt
from kpi.store import delta, manifest, merge
from kpi.store.manifest import Manifest, folder, home, numbers, writer

__all__ = [
    "DatasetInfo", "Version", "VersionInfo", "commit", "datasets", "delete", "home", "read_version", "restore", "sweep",
    "versions",
]  # fmt: skip

Progress = Callable[[float, str], None]
_PARTS = ("documents", "tool_calls", "scores", "incidents")  # what is told of a trace beside its spans
_SMALL_BYTES = 16 * 2**20
_SMALL_FILES = 12  # so many small files in one partition are rewritten as one
_WORK = ".work-"
_ASSEMBLED = "assembled_"
_DERIVED = frozenset(["day", "attributes"])


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a data set, as readers see it. files: Parquet files per table; `day` stands in their paths.

    fingerprint: 16 hexadecimal digits. extra: `x_` columns per table. created_at: ISO 8601, UTC.
    """

    dataset: str
    number: int
    fingerprint: str
    created_at: str
    files: dict[str, list[Path]]
    extra: dict[str, tuple[str, ...]]
    receipt: Receipt


@dataclass(frozen=True, kw_only=True)
class VersionInfo:
    """One line of the history. damaged: its manifest cannot be read. origin: the version it restored."""

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
    requests: int
    spans: int
    first: int | None
    last: int | None
    loaded_at: str
    bytes: int
    damaged: bool = False


def datasets() -> list[DatasetInfo]:
    """All data sets, by name. One whose newest manifest is damaged is listed as such."""
    found = []
    for name in manifest.names():
        try:
            m = manifest.read(name)
        except StoreError:
            found.append(
                DatasetInfo(
                    name=name, version=numbers(name)[-1], requests=0, spans=0, first=None, last=None, loaded_at="",
                    bytes=0, damaged=True,
                )
            )  # fmt: skip
            continue
        found.append(
            DatasetInfo(
                name=name, version=m.number, requests=m.requests, spans=m.spans, first=m.first, last=m.last,
                loaded_at=m.created_at, bytes=m.size,
            )
        )  # fmt: skip
    return found


def versions(dataset: str) -> list[VersionInfo]:
    """The history of a data set, newest first. Raises StoreError `store.no_dataset`."""
    known = numbers(dataset)
    if not known:
        manifest.read(dataset)  # raises
    found = []
    for number in reversed(known):
        try:
            m = manifest.read(dataset, number)
        except StoreError:
            found.append(VersionInfo(number=number, damaged=True))
            continue
        found.append(
            VersionInfo(
                number=number, created_at=m.created_at, fingerprint=m.fingerprint, requests=m.requests, spans=m.spans,
                loaded=int(m.receipt.get("loaded", 0)), origin=m.origin,
            )
        )  # fmt: skip
    return found


def read_version(dataset: str, version: int | None = None) -> Version:
    """A version of a data set, the newest by default: which Parquet files hold it.

    Raises StoreError: `store.no_dataset`, `store.no_version`, `store.damaged`, `store.files` when files are gone.
    """
    m = manifest.read(dataset, version)
    files = {name: [f.path for f in _files(m, name)] for name in m.tables}
    gone = sum(not path.exists() for paths in files.values() for path in paths)
    if gone:
        raise StoreError(
            "store.files", f"{gone} files of version {m.number} of {dataset!r} are missing",
            hint="Restore another version, or load the exports again.",
        )  # fmt: skip
    return Version(
        dataset=dataset, number=m.number, fingerprint=m.fingerprint, created_at=m.created_at, files=files,
        extra={name: t.extra for name, t in m.tables.items()}, receipt=_receipt(m),
    )  # fmt: skip


def restore(dataset: str, version: int) -> VersionInfo:
    """Make an older version the newest one. History only grows: the restored state gets a new number."""
    with writer(dataset):
        old = manifest.read(dataset, version)
        number = numbers(dataset)[-1] + 1
        new = dataclasses.replace(old, number=number, created_at=manifest.now(), origin=version)
        manifest.write(new)
    return versions(dataset)[0]


def delete(dataset: str) -> None:
    """Remove a data set with all its versions. Raises StoreError `store.no_dataset`."""
    if not numbers(dataset):
        manifest.read(dataset)  # raises
    with writer(dataset) as path:
        doomed = path.with_name(f".deleted-{path.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)
        shutil.rmtree(doomed)


def sweep(dataset: str) -> int:
    """Delete data files that no manifest names, left by killed loads. Returns how many. Keeps every version."""
    with writer(dataset) as path:
        return _sweep(dataset, path)


def commit(dataset: str, staged: Path, receipt: Receipt, *, progress: Progress | None = None) -> Receipt:
    """Merge staged canonical tables into a data set and make that its next version.

    staged: `<table>/<n>.parquet`, as written by `kpi.ingest.guard.stage`. Rows are merged by the table's key: a row
    that is stored already is repeated; partial spans complete each other; otherwise the last row counts. The requests
    of all traces that were touched and have spans are assembled anew. A load that changes nothing makes no version.
    Returns the receipt with counts. Raises StoreError; nothing that was stored before is then lost.
    """
    tell = progress or (lambda fraction, text: None)
    with writer(dataset) as path:
        base = manifest.read(dataset) if numbers(dataset) else None
        _recover(dataset, path, base)
        work = Path(tempfile.mkdtemp(prefix=_WORK, dir=path))
        try:
            with merge.workspace(work) as connection:
                load = _Load(dataset, path, base, connection, Path(staged), work, tell)
                return load.run(dataclasses.replace(receipt, dataset=dataset))
        finally:
            shutil.rmtree(work, ignore_errors=True)


@dataclass
class _Load:
    """One commit, while the writer's lock is held."""

    dataset: str
    path: Path
    base: Manifest | None
    connection: duckdb.DuckDBPyConnection
    staged: Path
    work: Path
    tell: Progress
    files: dict[str, list[Path]] = field(default_factory=dict)
    extra: dict[str, tuple[str, ...]] = field(default_factory=dict)
    plans: dict[str, merge.Plan] = field(default_factory=dict)
    merges: dict[str, merge.Merge] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    passing: list[Path] = field(default_factory=list)  # files that were written and replaced within this load

    def run(self, receipt: Receipt) -> Receipt:
        for name in self.base.tables if self.base else ():
            self.files[name] = [f.path for f in _files(self.base, name)]  # type: ignore[arg-type]
            self.extra[name] = self.base.tables[name].extra  # type: ignore[union-attr]
        given = [name for name in schema.TABLES if merge.staged_files(self.staged, name)]
        for i, name in enumerate(given):
            self.tell(i / (len(given) + 1), f"Storing {name.replace('_', ' ')}")
            self._merge(name, merge.staged_files(self.staged, name))
        self.tell(len(given) / (len(given) + 1), "Assembling requests")
        self._assemble(receipt)
        self._count(receipt)
        if not self.written:
            receipt.version = self.base.number if self.base else 0
            return receipt
        for name in sorted(self.written):
            self._compact(name)
        self._publish(receipt)
        for path in self.passing:
            path.unlink(missing_ok=True)
        self.tell(1.0, "Stored")
        return receipt

    def _merge(self, name: str, staged: Sequence[Path], prefix: str = "") -> merge.Plan:
        table = schema.TABLES[name]
        merged = merge.Merge(
            self.connection, table, staged=staged, stored=self.files.get(name, []),
            stored_extra=self.extra.get(name, ()), prefix=prefix,
        )  # fmt: skip
        plan = merged.plan()
        self.merges[prefix + name], self.plans[prefix + name] = merged, plan
        if plan.query is not None:
            self.extra[name] = plan.extra
            self._write(name, plan.query, plan.replaced)
        return plan

    def _write(self, name: str, query: str, replaced: Sequence[Path]) -> None:
        place = self.path / name
        named = {f.path for f in _files(self.base, name)} if self.base and name in self.base.tables else set()
        self.passing += [path for path in replaced if path not in named]
        delta.append(place, name, merge.batches(self.connection, query))
        delta.remove(place, replaced)
        self.written.add(name)
        self.files[name] = [f.path for f in delta.files(place, delta.latest(place) or 0)]

    def _assemble(self, receipt: Receipt) -> None:
        """Requests of the touched traces that have spans, from everything that is stored of them."""
        touched = [m.touched_traces() for n in ("spans", *_PARTS) if (m := self.merges.get(n)) and self._changes(n)]
        if not touched or not self.files.get("spans"):
            return
        run = self.connection.execute
        run(f"CREATE OR REPLACE TABLE touched AS SELECT DISTINCT trace_id FROM ({' UNION ALL '.join(touched)})")
        place = self.work / "assembled"
        place.mkdir()
        made_of = assemble_all(
            spans=self._stream("spans"), documents=self._stream("documents"), tool_calls=self._stream("tool_calls"),
            scores=self._stream("scores"), incidents=self._stream("incidents"),
        )  # fmt: skip
        for i, table in enumerate(made_of):
            pq.write_table(table, place / f"{i}.parquet", compression="zstd")
        if made := sorted(place.glob("*.parquet"), key=lambda p: int(p.stem)):
            self._merge("requests", made, prefix=_ASSEMBLED)

    def _changes(self, name: str) -> bool:
        return bool(self.plans[name].new or self.plans[name].changed)

    def _stream(self, name: str) -> Iterator[pa.RecordBatch]:
        if not self.files.get(name):
            return iter(())
        table = schema.TABLES[name]
        columns = ", ".join(f"r.{merge.name(c)}" for c in table.names)
        order = ["trace_id"] + [c for c in ("started_at", "span_id") if c in table.names]
        scan = merge.scan(self.files[name], table)
        query = (
            f"SELECT {columns} FROM {scan} r SEMI JOIN touched t ON r.trace_id = t.trace_id ORDER BY {', '.join(order)}"
        )
        return iter(merge.batches(self.connection, query))

    def _count(self, receipt: Receipt) -> None:
        """Exact counts of the load: what was new or completed, what was known, and what its requests look like."""
        told = [p for n, p in self.plans.items() if not n.startswith(_ASSEMBLED)]
        main = [self.plans[n] for n in ("spans", "requests") if n in self.plans][:1] or told
        receipt.loaded = sum(p.new + p.changed for p in main) or sum(p.new + p.changed for p in told)
        if not receipt.loaded:  # the rules of assembly may have changed since the spans were stored
            receipt.loaded = sum(p.new + p.changed for p in self.plans.values())
        receipt.repeated = (receipt.repeated if "requests" in self.plans else 0) + sum(p.known for p in main)
        if "spans" in self.plans:
            receipt.spans = self.merges["spans"].distinct
        parts = [self.merges[n].given_traces() for n in ("requests", "spans") if n in self.merges]
        if parts and self.files.get("requests"):
            self._look(receipt, " UNION ALL ".join(parts))
        self._unmatched(receipt)

    def _look(self, receipt: Receipt, traces: str) -> None:
        columns = [c for c in schema.REQUESTS.names if c not in _DERIVED]
        filled = ", ".join(f"count(r.{merge.name(c)})" for c in columns)
        times = "min(epoch_us(r.started_at)), max(epoch_us(r.started_at))"
        row = self.connection.execute(
            f"SELECT count(*), count(*) FILTER (r.priced = false), {times}, {filled} "
            f"FROM {merge.scan(self.files['requests'], schema.REQUESTS)} r "
            f"SEMI JOIN (SELECT DISTINCT trace_id FROM ({traces})) t ON r.trace_id = t.trace_id"
        ).fetchone()
        assert row is not None
        receipt.requests, receipt.unpriced, receipt.first, receipt.last = row[:4]
        receipt.missing = [c for c, n in zip(columns, row[4:], strict=True) if not n]

    def _unmatched(self, receipt: Receipt) -> None:
        """Scores and incidents of requests that came from a table change no outcome: say so."""
        told = [self.merges[n].given_traces() for n in ("scores", "incidents") if n in self.merges]
        if not told or "requests" in self.merges or not self.files.get("requests"):
            return
        spans = self.files.get("spans")
        known = f"ANTI JOIN {merge.scan(spans, schema.SPANS)} s ON t.trace_id = s.trace_id" if spans else ""
        requests = merge.scan(self.files["requests"], schema.REQUESTS)
        found = self.connection.execute(
            f"SELECT count(*) FROM (SELECT DISTINCT trace_id FROM ({' UNION ALL '.join(told)})) t {known} "
            f"SEMI JOIN {requests} r ON t.trace_id = r.trace_id"
        ).fetchone()
        if found and found[0]:
            receipt.note(
                f"{found[0]} requests came from a table without spans: their scores and incidents are stored, "
                "their outcomes stay as the table gave them."
            )

    def _compact(self, name: str) -> None:
        """Rewrite the small files of a partition as one when many have piled up."""
        place = self.path / name
        small: dict[str, list[Path]] = {}
        for f in delta.files(place, delta.latest(place) or 0):
            if f.size < _SMALL_BYTES:
                small.setdefault(f.partition, []).append(f.path)
        doomed = [path for paths in small.values() if len(paths) >= _SMALL_FILES for path in paths]
        if not doomed:
            return
        table = schema.TABLES[name]
        order = ", ".join(merge.name(k) for k in (("day", *table.key) if name == "requests" else table.key))
        columns = ", ".join(merge.name(c) for c in (*table.names, *self.extra.get(name, ())))
        self._write(name, f"SELECT {columns} FROM {merge.scan(doomed, table)} ORDER BY {order}", doomed)

    def _publish(self, receipt: Receipt) -> None:
        kept = dict(self.base.tables) if self.base else {}
        for name in self.written:
            kept[name] = delta.describe(self.path / name, self.extra.get(name, ()))
        first = last = None
        if self.files.get("requests"):
            scan = merge.scan(self.files["requests"], schema.REQUESTS)
            times = f"SELECT min(epoch_us(started_at)), max(epoch_us(started_at)) FROM {scan}"
            first, last = self.connection.execute(times).fetchone()  # type: ignore[misc]
        receipt.version = (self.base.number if self.base else 0) + 1
        manifest.write(
            Manifest(
                dataset=self.dataset, number=receipt.version, created_at=manifest.now(), tables=kept,
                receipt=orjson.loads(receipt.to_json()), first=first, last=last,
                requests=kept["requests"].rows if "requests" in kept else 0,
                spans=kept["spans"].rows if "spans" in kept else 0,
                size=sum(f.stat().st_size for paths in self.files.values() for f in paths),
            )
        )  # fmt: skip


def _files(m: Manifest, name: str) -> list[delta.File]:
    return delta.files(folder(m.dataset) / name, m.tables[name].version)


def _receipt(m: Manifest) -> Receipt:
    return Receipt.from_json(orjson.dumps(dict(m.receipt)))


def _recover(dataset: str, path: Path, base: Manifest | None) -> None:
    """Take back what a killed load left: tables ahead of the newest manifest, work folders, files without a name."""
    left = [p for p in path.glob(f"{_WORK}*") if p.is_dir()]
    for work in left:
        shutil.rmtree(work, ignore_errors=True)
    ahead = False
    for name in schema.TABLES:
        place = path / name
        if not place.exists():
            continue
        if base is None or delta.latest(place) is None:
            shutil.rmtree(place)
        elif name not in base.tables:  # older versions may name its files
            ahead = delta.clear(place) or ahead
        else:
            ahead = delta.go_back(place, base.tables[name].version) or ahead
    if left or ahead:
        with contextlib.suppress(StoreError):  # a damaged old manifest: sweep nothing rather than too much
            _sweep(dataset, path)


def _sweep(dataset: str, path: Path) -> int:
    named: set[Path] = set()
    for number in numbers(dataset):
        m = manifest.read(dataset, number)
        named |= {f.path for name in m.tables for f in _files(m, name)}
    gone = 0
    for name in schema.TABLES:
        for file in (path / name).rglob("*.parquet"):
            if "_delta_log" not in file.parts and file not in named:
                file.unlink()
                gone += 1
    return gone
