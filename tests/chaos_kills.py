"""Loads killed with -9 at random moments, while others load and read the same data sets. `python -m tests.chaos_kills`.

Each load brings one batch of rows under ids of its own, so that a reader can tell a whole batch from a part of one.
A load is acknowledged when its process ended well. Counted are kills of living loads, batches that were ever seen in
part, acknowledged batches that a later reader did not find, reads that failed, and what is left after one more good
load of each data set: anything that no version names, in the state folder and among the temporary files, and processes.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kpi
from kpi.errors import StoreError
from kpi.store import delta, lake, manifest

ROOT = Path(__file__).resolve().parents[1]
ROWS = 300  # of a batch
PATIENCE_S = 120.0
_WRITER = """
import os, sys
import kpi
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        try:
            kpi.load(line.strip(), dataset=sys.argv[1])
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


@dataclass
class Counts:
    """What happened. partial, lost, failed_reads, failed_loads, left must all be 0."""

    kills: int = 0
    acknowledged: int = 0
    reads: int = 0
    partial: int = 0
    lost: int = 0
    failed_reads: int = 0
    failed_loads: int = 0
    left: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def bad(self) -> bool:
        return bool(self.partial or self.lost or self.failed_reads or self.failed_loads or self.left)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.acknowledged} acknowledged loads, {self.reads} reads: "
            f"{self.partial} partial versions, {self.lost} lost acknowledged loads, {self.failed_reads} failed reads, "
            f"{self.failed_loads} failed loads, {len(self.left)} leftovers"
        )


@dataclass
class _Shared:
    """What the threads have in common."""

    inputs: Path
    counts: Counts
    wanted: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    acknowledged: dict[str, set[int]] = field(default_factory=dict)
    batches: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def next_batch(self) -> tuple[int, Path]:
        with self.lock:
            self.batches += 1
            number = self.batches
        path = self.inputs / f"{number}.csv"
        start = 1_767_225_600 + number * 1_000
        rows = (f"b{number}-{i},{100 + i % 50},{start + i},m{i % 3}" for i in range(ROWS))
        path.write_text("\n".join(["id,latency_ms,time,model", *rows]) + "\n")
        return number, path


def batches(dataset: str, version: int | None = None) -> Counter[int]:
    """Rows of each batch that a reader finds."""
    source = kpi.open(dataset, version)
    rows = source.table("requests")
    import sqlalchemy as sa

    ids = source.run(sa.select(rows.c["trace_id"]).select_from(rows))["trace_id"].to_pylist()
    return Counter(int(i[1:].partition("-")[0]) for i in ids)


class _Writer(threading.Thread):
    """Loads one batch after another; most of them are killed on their way."""

    def __init__(self, dataset: str, shared: _Shared, seed: int) -> None:
        super().__init__(daemon=True)
        self._dataset, self._shared, self._dice = dataset, shared, random.Random(seed)
        self._mother = subprocess.Popen(
            [sys.executable, "-c", _WRITER, dataset], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._span = 0.0

    def run(self) -> None:
        shared = self._shared
        while not shared.stop.is_set():
            number, path = shared.next_batch()
            spare = not self._span or self._dice.random() < 0.1
            status, killed, took = self._load(path, None if spare else self._dice.uniform(0, 0.9 * self._span))
            with shared.lock:
                if status == 0:
                    self._span = took
                    shared.counts.acknowledged += 1
                    shared.acknowledged[self._dataset].add(number)
                elif not killed:
                    shared.counts.failed_loads += 1
                shared.counts.kills += killed and status != 0
                if shared.counts.kills >= shared.wanted:
                    shared.stop.set()
        assert self._mother.stdin is not None
        self._mother.stdin.close()
        assert self._mother.stderr is not None
        shared.counts.errors += self._mother.stderr.read().splitlines()
        self._mother.wait()

    def _load(self, path: Path, kill_after: float | None) -> tuple[int, bool, float]:
        """(exit status, whether it was killed, seconds)"""
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        self._mother.stdin.write(f"{path}\n")
        self._mother.stdin.flush()
        begin = time.monotonic()
        pid, killed = int(self._mother.stdout.readline()), False
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):  # ended before, and its mother has told so
                os.kill(pid, signal.SIGKILL)
                killed = True
        return int(self._mother.stdout.readline()), killed, time.monotonic() - begin


class _Reader(threading.Thread):
    """Opens the newest version again and again, as readers of other processes would."""

    def __init__(self, dataset: str, shared: _Shared) -> None:
        super().__init__(daemon=True)
        self._dataset, self._shared = dataset, shared

    def run(self) -> None:
        while not self._shared.stop.is_set():
            with self._shared.lock:
                known = set(self._shared.acknowledged[self._dataset])
            look(self._dataset, known, self._shared.counts)
            time.sleep(0.1)


def look(dataset: str, known: set[int], counts: Counts, version: int | None = None) -> None:
    """Read a version, and count what is wrong with it. known: batches that were acknowledged before."""
    try:
        found = batches(dataset, version)
    except StoreError as error:
        if error.code == "store.no_dataset" and not known:
            return
        counts.failed_reads += 1
        counts.errors.append(f"{error.code}: {error}")
        return
    counts.reads += 1
    counts.partial += any(rows != ROWS for rows in found.values())
    counts.lost += len(known - set(found))


def leftovers(home: Path, temporary: Path) -> list[str]:
    """Whatever no version names: files of tables, drafts and stages, temporary files, processes that work on them."""
    found = [str(p.relative_to(temporary)) for p in temporary.iterdir()]
    for dataset in manifest.names():
        place = manifest.folder(dataset)
        versions = [manifest.read(dataset, n) for n in manifest.numbers(dataset)]
        tables = [(place / t, v.version) for m in versions for t, v in m.tables.items()]
        named = {table / f.path for table, version in tables for f in delta.files(table, version)}
        for path in place.rglob("*"):
            hidden = path.name.startswith(".") and path.parent in (place, place / "versions", place / "cache")
            data = ".parquet" in path.name and "_delta_log" not in path.parts and path.is_file()
            if hidden or (data and path not in named):
                found.append(str(path.relative_to(home)))
    found += [str(p.relative_to(home)) for p in (home / "datasets").iterdir() if p.name not in manifest.names()]
    return found + [f"process {pid}" for pid in processes_in(temporary)]


def processes_in(folder: Path) -> list[int]:
    """Processes whose working folder lies in `folder`, where the system tells."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if Path(os.readlink(entry / "cwd").removesuffix(" (deleted)")).is_relative_to(folder):
                found.append(int(entry.name))
    return found


def run(place: Path, kills: int, *, writers: tuple[str, ...] = ("a", "a", "b"), seed: int = 5) -> Counts:
    """Kill that many loads below `place`, in a state folder and a folder for temporary files of its own.

    The caller has pointed KPI_HOME to `place/home` and TMPDIR to `place/tmp`.
    """
    for name in ("inputs", "tmp"):
        (place / name).mkdir(exist_ok=True)
    counts = Counts()
    datasets = sorted(set(writers))
    shared = _Shared(place / "inputs", counts, kills, acknowledged={name: set() for name in datasets})
    threads: list[Any] = [_Writer(name, shared, seed + i) for i, name in enumerate(writers)]
    threads += [_Reader(name, shared) for name in datasets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in datasets:
        number, path = shared.next_batch()
        kpi.load(path, dataset=name)
        shared.acknowledged[name].add(number)
        for version in manifest.numbers(name):
            look(name, shared.acknowledged[name] if version == manifest.numbers(name)[-1] else set(), counts, version)
    end = time.monotonic() + PATIENCE_S
    while processes_in(place / "tmp") and time.monotonic() < end:
        time.sleep(0.05)
    lake.datasets()
    counts.left = leftovers(place / "home", place / "tmp")
    return counts


def main() -> int:
    """Print the counts of as many kills as KPI_KILLS says, 200 by default. 1 where anything was wrong."""
    with tempfile.TemporaryDirectory(prefix="kpi-kills-") as folder:
        place = Path(folder).resolve()
        (place / "tmp").mkdir()
        os.environ.update(KPI_HOME=str(place / "home"), TMPDIR=str(place / "tmp"))
        tempfile.tempdir = None
        counts = run(place, int(os.environ.get("KPI_KILLS", "200")))
    print(counts)
    for line in (*counts.left, *counts.errors):
        print(f"  {line}")
    return int(counts.bad)


if __name__ == "__main__":
    raise SystemExit(main())
