"""A disk that is full, wherever a load writes: the message says so, nothing is lost, and its space comes back."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError

import kpi
from kpi.disk import durable, full, owned_folders
from kpi.errors import IngestError, KpiError, StoreError
from kpi.ingest.sandbox import supervisor
from kpi.mapping.mapping import Mapping
from kpi.pricing import price_file
from kpi.receipts import Receipt
from kpi.store import cache, delta, lake, live, manifest, merge
from kpi.store.manifest import folder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of this test's own."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return place


def table(path: Path, name: str = "a", rows: int = 50, slower: int = 0, words: str = "") -> Path:
    lines = "\n".join(
        f"{name}{i},{100 + i + slower},2026-01-0{i % 9 + 1}T00:00:00Z,{words}{i % 5}" for i in range(rows)
    )
    path.write_text(f"id,latency_ms,time,model\n{lines}\n")
    return path


def spans(path: Path, name: str, count: int = 20, slower: int = 0) -> Path:
    """An OTLP export: its load writes spans, work files and requests."""

    def span(trace: int, sid: str, parent: str) -> dict:
        start = 1_767_225_600_000_000_000 + trace * 10**9
        return {
            "traceId": f"{name}{trace:030x}"[:32].ljust(32, "0"), "spanId": sid * 16, "parentSpanId": parent * 16,
            "name": "chat", "startTimeUnixNano": str(start), "endTimeUnixNano": str(start + (1 + slower) * 10**9),
            "attributes": [{"key": "gen_ai.request.model", "value": {"stringValue": "m"}}],
        }  # fmt: skip

    given = [s for i in range(count) for s in (span(i, "a", ""), span(i, "b", "a"))]
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": given}]}]}))
    return path


def state(dataset: str = "d") -> dict[str, object]:
    """What a reader sees, and what lies in the folder besides the Delta log, whose versions no manifest names."""
    source = kpi.open(dataset)
    found = kpi.summarise(source, ["requests", "latency_p50"]).to_dict()
    return {"numbers": str(found), "version": source.version, "files": files(folder(dataset))}


def files(place: Path) -> list[str]:
    return sorted(
        str(p.relative_to(place)) for p in place.rglob("*") if p.is_file() and "_delta_log" not in p.parts
    )  # fmt: skip


def unnamed(dataset: str) -> list[str]:
    """Data files in the tables of a data set that no version names."""
    place = folder(dataset)
    told = [manifest.read(dataset, n) for n in manifest.numbers(dataset)]
    named = {place / t / f.path for m in told for t, v in m.tables.items() for f in delta.files(place / t, v.version)}
    return [p for p in files(place) if ".parquet" in p and place / p not in named]


def assert_says_full(error: KpiError) -> None:
    assert error.code in ("store.full", "ingest.full")
    assert "disk is full" in str(error)
    assert "Free some space" in error.hint
    assert "damaged" not in str(error)
    assert "export it again" not in str(error).lower()


# --- which errors mean it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EDQUOT, "Kein Platz"),
        OSError(errno.EFBIG, "File too large"),
        OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"),
        DeltaError("Generic LocalFileSystem error: Unable to copy data to file: Plus de place (os error 28)"),
        DeltaError("Unable to write: Disk quota exceeded (os error 122)"),
        duckdb.IOException('IO Error: Could not write file "/x/work.duckdb": No space left on device'),
        duckdb.IOException('IO Error: Async write failed: {"exception_type":"IO","errno":"28"}'),
        duckdb.OutOfMemoryException("failed to offload data block (1.6 MiB/1.7 MiB used).\nThis limit was set by the "
                                    "'max_temp_directory_size' setting."),
        duckdb.FatalException("FATAL Error: Failed: database has been invalidated: No space left on device"),
    ],
    ids=lambda e: f"{type(e).__name__}-{str(e)[:25]}",
)  # fmt: skip
def test_it_is_told_from_every_library(error: Exception) -> None:
    assert full.is_full(error)
    outer = StoreError("store.write", "The table could not be written")
    outer.__cause__ = error
    assert full.is_full(outer)
    with pytest.raises(StoreError) as caught, full.told(full.STORING, "storing"):
        raise error
    assert_says_full(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"), OSError(errno.EACCES, "Permission denied"),
        ValueError("could not convert 'No space left on device' to a number"),
        pa.ArrowInvalid("CSV parse error: no space left on device"),
        duckdb.ConversionException("Could not convert string 'File too large' to INT64"),
        duckdb.OutOfMemoryException("could not allocate block of size 256.0 KiB"),
        StoreError("store.files", "files are missing"), KeyError(28),
    ],
    ids=lambda e: f"{type(e).__name__}-{str(e)[:25]}",
)  # fmt: skip
def test_other_errors_are_left_as_they_are(error: Exception) -> None:
    assert not full.is_full(error)
    with pytest.raises(type(error)) as caught, full.told(full.STORING, "storing"):
        raise error
    assert caught.value is error


# --- each write in turn -----------------------------------------------------------------------------------------------


_MKDIR = os.mkdir


class Writes:
    """Counts the writes of this process, and lets one of them meet a full disk."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count, self.fails = 0, 0
        for module, name, kind in (
            (os, "fsync", "os"), (os, "mkdir", "os"), (os, "link", "os"), (os, "replace", "os"),
            (pq, "write_table", "os"), (delta, "write_deltalake", "delta"),
            (delta.DeltaTable, "create_write_transaction", "delta"),
        ):  # fmt: skip
            patch.setattr(module, name, self._failing(getattr(module, name), kind))
        connect = duckdb.connect
        patch.setattr(merge.duckdb, "connect", lambda *a, **k: _Connection(connect(*a, **k), self))

    def step(self, kind: str) -> None:
        self.count += 1
        if self.count == self.fails:
            raise {
                "os": OSError(errno.ENOSPC, "No space left on device"),
                "delta": DeltaError("Generic LocalFileSystem error: No space left on device (os error 28)"),
                "duckdb": duckdb.IOException("IO Error: Could not write file: No space left on device"),
            }[kind]

    def _failing(self, function, kind: str):
        def call(*arguments, **named):
            if function is not _MKDIR or not os.path.exists(arguments[0]):  # one that is there takes no room
                self.step(kind)
            return function(*arguments, **named)

        return call


class _Connection:
    """A DuckDB connection whose statements that make tables are writes."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, writes: Writes) -> None:
        self._connection, self._writes = connection, writes

    def execute(self, query: str, *arguments):
        if query.startswith(("CREATE OR REPLACE TABLE", "COPY")):
            self._writes.step("duckdb")
        return self._connection.execute(query, *arguments)

    def __getattr__(self, name: str):
        return getattr(self._connection, name)


def staged(given: list[Path], place: Path) -> tuple[Path, Receipt]:
    """What reading files comes to, once: the reader is a process of its own, with tests of its own."""
    receipt = supervisor.read(given, directory=place, key=b"0123456789abcdef0123456789abcdef").receipt
    return place, receipt


@pytest.mark.parametrize("kind", ["table", "spans"])
def test_a_full_disk_at_each_write_of_a_load(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = {"table": table, "spans": spans}[kind]
    first, receipt = staged([make(tmp_path / "1.x", "a")], tmp_path / "s1")
    lake.commit("d", first, receipt)
    given = [make(tmp_path / "2.x", "b"), make(tmp_path / "3.x", "a", 5, 7)]  # new rows, and some that change
    second, told = staged(given, tmp_path / "s2")
    before, met = state(), 0
    for k in range(1, 200):
        with pytest.MonkeyPatch.context() as patch:
            writes = Writes(patch)
            writes.fails = k
            try:
                done = lake.commit("d", second, told)
            except KpiError as error:
                assert_says_full(error)
                met += 1
            else:
                assert writes.count < k or kpi.open("d").version == 2, "a write failed and nobody said so"
                break
        assert state() == before, f"after write {k}"
    assert met >= {"table": 6, "spans": 10}[kind], f"the load wrote {met} times only"
    assert done.version == 2
    assert unnamed("d") == []
    assert [p for p in files(folder("d")) if "/." in f"/{p}"] == []


@pytest.mark.parametrize("write", ["mapping", "placement", "prices", "key", "saved"])
def test_small_files_say_so_and_stay_whole(write: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kpi.load(table(tmp_path / "a.csv"), dataset="d", allow=["one"])
    before = files(folder("d").parents[1])
    mapping = Mapping.load(folder("d") / "mapping.json")
    (tmp_path / "m.toml").write_text("# as it was\n")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if write == "saved":  # after the commit, which stands: the receipt says what could not be kept
        monkeypatch.setattr("kpi.loading.load.durable", SimpleNamespace(write=fail, check=durable.check))
        receipt = kpi.load(table(tmp_path / "b.csv", "b"), dataset="d", allow=["two"])
        assert receipt.version == 2
        assert any("disk is full" in note for note in receipt.notes)
        return
    if write == "key":
        (manifest.home() / "keys" / "user.key").unlink()
        before.remove("keys/user.key")
    monkeypatch.setattr(owned_folders.os, "fsync", fail)
    monkeypatch.setattr("kpi.store.live.checked", lambda name: None)
    act: dict[str, Callable[[], object]] = {
        "mapping": lambda: mapping.save(tmp_path / "m.toml"),
        "placement": lambda: live._save("mine", live.Placement(table="log")),
        "prices": lambda: price_file.init(manifest.home()),
        "key": lambda: kpi.load(tmp_path / "a.csv", dataset="d"),
    }
    with pytest.raises(StoreError) as caught:
        act[write]()
    assert_says_full(caught.value)
    assert files(manifest.home()) == before
    assert (tmp_path / "m.toml").read_text() == "# as it was\n"
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_a_cache_that_does_not_fit_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kpi.load(table(tmp_path / "a.csv"), dataset="d")
    found = lake.read_version("d")
    path = cache.cache_path(folder("d"), found.fingerprint)

    def fail(draft: Path, files: object) -> None:
        draft.write_bytes(b"half of it")
        raise duckdb.IOException("IO Error: Could not write file: No space left on device")

    monkeypatch.setattr(cache, "_build", fail)
    with caplog.at_level(logging.WARNING):
        assert cache.build_cache(path, found.files["requests"]) is False
    assert "disk is full" in caplog.text
    assert files(folder("d") / "cache") == []
    assert kpi.open("d").version == 1


def test_an_upload_that_does_not_fit_leaves_nothing(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(IngestError) as caught:
        kpi.Uploads([("a.csv", b"x")])
    assert_says_full(caught.value)
    assert list(temporary.iterdir()) == []


# --- real limits ------------------------------------------------------------------------------------------------------

_LIMITED = """
import resource, sys
import kpi
from kpi.errors import KpiError
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    receipt = kpi.load(sys.argv[1], dataset=sys.argv[2])
    print("loaded", receipt.version)
except KpiError as error:
    print(error.code, "|", error)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of resources are of POSIX")
@pytest.mark.parametrize("limit", [10, 3_000, 20_000, 60_000])
def test_a_limit_on_the_size_of_files(limit: int, tmp_path: Path, temporary: Path) -> None:
    kpi.load(table(tmp_path / "a.csv"), dataset="d")
    before = state()
    given = table(tmp_path / "b.csv", "b", rows=20_000, words="w")
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(given), "d", str(limit)], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True,
    ).stdout  # fmt: skip
    code, _, text = done.partition(" | ")
    assert code in ("ingest.full", "store.full"), done
    assert "disk is full" in text
    assert "damaged" not in text
    assert state() == before
    assert list(temporary.iterdir()) == []
    assert kpi.load(given, dataset="d").version == 2
    assert unnamed("d") == []


def test_our_own_limit_on_staged_files_is_no_full_disk(tmp_path: Path) -> None:
    given = table(tmp_path / "b.csv", "b", rows=20_000)
    with pytest.raises(IngestError) as caught:
        supervisor.read([given], directory=tmp_path / "s", key=b"k" * 32, limits=supervisor.Limits(file_bytes=20_000))
    assert caught.value.code == "ingest.too_large"
    assert "Split the export" in caught.value.hint


@contextlib.contextmanager
def small_disk(place: Path, kib: int) -> Iterator[Path]:
    """A file system of that size at `place`; skips where this process may not mount one."""
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a tmpfs")
def test_a_small_disk_of_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    with small_disk(tmp_path / "disk", 3_000) as disk:
        monkeypatch.setenv("KPI_HOME", str(disk / "home"))
        kpi.load(table(tmp_path / "a.csv"), dataset="d")
        before = state()
        free = os.statvfs(disk).f_bavail
        given = table(tmp_path / "b.csv", "b", rows=2_000, words="w")
        refused = 0
        for room in range(0, 2_000, 60):  # KiB that are left: each run stops at a later write
            with open(disk / "ballast", "wb") as ballast, contextlib.suppress(OSError):
                ballast.write(bytes(max(0, os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize - room * 1024)))
            try:
                kpi.load(given, dataset="d")
            except KpiError as error:
                assert_says_full(error)
                refused += 1
            else:
                break
            finally:
                (disk / "ballast").unlink()
            assert state() == before, f"with {room} KiB"
        assert refused >= 3
        assert os.statvfs(disk).f_bavail <= free
        if kpi.open("d").version == 1:
            kpi.load(given, dataset="d")
        assert kpi.open("d").version == 2
        assert unnamed("d") == []
        assert list(temporary.iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a tmpfs")
def test_a_small_disk_of_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip
    import sqlite3

    kpi.load(table(tmp_path / "a.csv"), dataset="d")
    before = state()
    base = sqlite3.connect(tmp_path / "x.db")
    base.execute("CREATE TABLE log (id TEXT, latency_ms INT, note TEXT)")
    base.executemany("INSERT INTO log VALUES (?, ?, ?)", [(f"r{i}", i, os.urandom(40).hex()) for i in range(9_000)])
    base.commit()
    (tmp_path / "x.db.gz").write_bytes(gzip.compress((tmp_path / "x.db").read_bytes(), 1))
    pq.write_table(pa.table({"id": ["p"], "latency_ms": [1], "note": [os.urandom(600_000).hex()]}), tmp_path / "x.pq")
    (tmp_path / "x.pq.gz").write_bytes(gzip.compress((tmp_path / "x.pq").read_bytes(), 1))
    with small_disk(tmp_path / "disk", 400) as disk:
        monkeypatch.setenv("TMPDIR", str(disk))
        monkeypatch.setattr(tempfile, "tempdir", None)
        for name in ("x.db.gz", "x.pq.gz"):
            with pytest.raises(IngestError) as caught:
                kpi.load(tmp_path / name, dataset="d")
            assert_says_full(caught.value)
            assert state() == before
            assert list(disk.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert kpi.load(tmp_path / "x.db.gz", dataset="d").version == 2


def test_writers_of_rows_report_what_this_test_believes(tmp_path: Path) -> None:
    """The texts above are those of the libraries that are installed."""
    rows = pa.table({"a": [os.urandom(100).hex() for _ in range(5_000)]})
    with small_disk(tmp_path / "disk", 200) as disk:
        for write in (
            lambda: pq.write_table(rows, disk / "a"),
            lambda: write_deltalake(str(disk / "t"), rows),
            lambda: duckdb.sql("SELECT md5(i::VARCHAR) m, random() r FROM range(200_000) t(i)").write_parquet(
                str(disk / "x")
            ),
            lambda: (disk / "b").write_bytes(orjson.dumps(rows["a"].to_pylist())),
        ):
            with pytest.raises(Exception) as caught:  # noqa: PT011
                write()
            assert full.is_full(caught.value), repr(caught.value)
            (disk / "b").unlink(missing_ok=True)
            (disk / "x").unlink(missing_ok=True)
