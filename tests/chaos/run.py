"""One damaged state after the other: read, doctor, load, restore and repair it, and judge what became of it.

Three things must never happen: a file that is lost, an error that is none of ours, a number that differs from the last
good version without a word.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import kpi
from kpi import cli
from kpi.receipts import Receipt
from kpi.schema import TABLES
from kpi.store import lake
from tests.chaos import base
from tests.chaos.faults import FAULTS, whole_folders

KINDS = {
    "log": "datasets/d/*/_delta_log/*[0-9].json",
    "checkpoint": "datasets/d/*/_delta_log/*.checkpoint.parquet",
    "last checkpoint": "datasets/d/*/_delta_log/_last_checkpoint",
    "manifest": "datasets/d/versions/*.json",
    "list of files": "datasets/d/versions/files/*",
    "witness": "datasets/d/newest.json",
    "Parquet": "datasets/d/*/**/part-*.parquet",
    "cache": "datasets/d/cache/*",
    "mapping": "datasets/d/mapping.json",
    "allowed keys": "datasets/d/allow.json",
    "register": "datasets/d/register.toml",
    "prices": "prices.toml",
}
RECORD = "datasets/d/.transaction.json"
READ_BY_THE_LOADER = ("mapping", "allowed keys", "prices")  # a load of rows that are staged already never sees them
MAY_CHANGE = ("newest.json", "_last_checkpoint", "mapping.json", "allow.json", ".transaction.json")
METRICS = ["task_success", "latency_p95", "cost_per_query"]
MOST = 60  # problems that a report tells
Tree = dict[str, str]


@dataclass(frozen=True)
class State:
    """One damage. kind: of the file. origin: the state folder that is copied, `home` or `killed`."""

    kind: str
    fault: str
    origin: str
    file: str = ""
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.file.rpartition('/')[2]} {self.fault}, {self.origin}, seed {self.seed}"


@dataclass
class Verdict:
    """What became of one state. The three lists must stay empty; refused, told: answers that were errors of ours."""

    state: State
    lost: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    differ: list[str] = field(default_factory=list)
    refused: int = 0
    answered: int = 0
    healthy: bool = False

    @property
    def bad(self) -> list[str]:
        return [*self.lost, *self.tracebacks, *self.differ]


def states(place: Path, *, seeds: int) -> list[State]:
    """Every fault on files of every kind, `seeds` times with other files and offsets; damage to folders once."""
    found = []
    for origin in ("home", "killed"):
        kinds = (
            KINDS if origin == "home" else {k: KINDS[k] for k in ("log", "manifest", "Parquet")} | {"record": RECORD}
        )
        for kind, pattern in kinds.items():
            files = sorted(str(p.relative_to(place / origin)) for p in (place / origin).glob(pattern))
            for fault in FAULTS:
                for seed in range(seeds):
                    dice = random.Random(f"{origin} {kind} {fault} {seed}")
                    found.append(State(kind, fault, origin, dice.choice(files), seed))
        found += [State("folder", fault, origin) for fault in whole_folders(place / origin)]
    return found


class Harness:
    """The base state folders, and what undamaged ones answer."""

    def __init__(self, place: Path, patch: pytest.MonkeyPatch) -> None:
        self.place, self._patch = place, patch
        base.build(place, patch)
        self._trees = {origin: tree(place / origin) for origin in ("home", "killed")}
        with self._copy("home") as home:
            self.reference: dict[object, object] = {n: numbers(n) for n in (1, 2, 3)}
            self.receipts = {}
            for how in ("staged", "read"):
                with self._copy("home"):
                    self.receipts[how] = self._load(how)
                    self.reference[how] = numbers(None)
            assert len({repr(v) for v in self.reference.values()}) == 5, "the versions must differ to be told apart"
            assert not _changed(self._trees["home"], tree(home))

    @contextlib.contextmanager
    def _copy(self, origin: str) -> Iterator[Path]:
        home = self.place / "state"
        before = self.place / f"state-{random.random()}"
        if nested := home.exists():
            home.rename(before)
        shutil.copytree(self.place / origin, home, symlinks=True)
        self._patch.setenv("KPI_HOME", str(home))
        try:
            yield home
        finally:
            shutil.rmtree(home)
            if nested:
                before.rename(home)

    def _load(self, how: str) -> Receipt:
        if how == "read":
            return kpi.load(self.place / "more.jsonl", dataset="d")
        return lake.commit("d", self.place / "more", Receipt())

    def judge(self, state: State) -> Verdict:
        """Damage a copy, use it in every way, and say what became of it."""
        verdict = Verdict(state)
        with self._damaged(state) as home:
            damaged = tree(home)
            found = self._try(verdict, home, "doctor", lambda: kpi.doctor("d"))
            verdict.healthy = found is not None and found.healthy
            self._read(verdict, home, found)
            self._command_line(verdict, home)
            content: dict[int | None, object] = {n: self.reference[n] for n in (1, 2, 3)}
            self._load_and_restore(verdict, home, content)
            self._survivors(verdict, damaged, home)
        with self._damaged(state) as home:
            damaged = tree(home)
            self._repair(verdict, home)
            self._survivors(verdict, damaged, home)
        return verdict

    @contextlib.contextmanager
    def _damaged(self, state: State) -> Iterator[Path]:
        with self._copy(state.origin) as home:
            if state.kind == "folder":
                whole_folders(home)[state.fault]()
            else:
                FAULTS[state.fault](home / state.file, random.Random(str(state)))
            yield home

    def _try(self, verdict: Verdict, home: Path, what: str, call: Callable[[], object]) -> object:
        """Call; an error of ours is an answer, and then nothing may have changed. Any other is a traceback."""
        before = tree(home)
        try:
            answer = call()
        except kpi.KpiError as error:
            verdict.refused += 1
            if str(home) in str(error) or not error.hint:
                verdict.tracebacks.append(f"{what}: a path, or no remedy, in {error}")
            if changed := _changed(before, tree(home)):
                verdict.lost.append(f"{what} was refused ({error.code}) and changed {changed[:3]}")
            return None
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            verdict.tracebacks.append(f"{what}: {type(error).__name__}: {error}")
            return None
        verdict.answered += 1
        return answer

    def _read(self, verdict: Verdict, home: Path, found: object) -> None:
        told = {}
        for number in (None, 1, 2, 3):
            told[number] = self._try(verdict, home, f"read {number}", functools.partial(numbers, number))
            if told[number] not in (None, self.reference[number or 3]):
                verdict.differ.append(f"version {number or 'newest'} reads otherwise")
        for call in (kpi.datasets, functools.partial(kpi.versions, "d"), functools.partial(kpi.receipt, "d")):
            self._try(verdict, home, "list", call)
        if isinstance(found, kpi.Diagnosis):
            for v in found.versions:
                if v.readable and told.get(v.number) is None:
                    verdict.differ.append(f"the doctor says that version {v.number} can be read, and it cannot")
        if state_of(verdict) == "register":
            self._try(verdict, home, "scorecard", lambda: kpi.scorecard(kpi.open("d"), kpi.Slice(last=None)))

    def _command_line(self, verdict: Verdict, home: Path) -> None:
        said = io.StringIO()
        for words in (["doctor", "d"], ["summarise", *METRICS, "--dataset", "d"], ["versions", "--dataset", "d"]):
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = self._try(verdict, home, "command line", functools.partial(cli.main, words))
            if code not in (0, 1, 2, 3) or str(home) in said.getvalue():
                verdict.tracebacks.append(f"command line: ended with {code}, said {said.getvalue()[-300:]}")

    def _load_and_restore(self, verdict: Verdict, home: Path, content: dict[int | None, object]) -> None:
        how = "read" if state_of(verdict) in READ_BY_THE_LOADER else "staged"
        receipt = self._try(verdict, home, "load", functools.partial(self._load, how))
        if isinstance(receipt, Receipt):
            read = self._try(verdict, home, "read after load", lambda: numbers(None))
            if read not in (None, self.reference[how]) and not _said(receipt, self.receipts[how]):
                verdict.differ.append("the load gave other numbers")
        restored = self._try(verdict, home, "restore", lambda: kpi.restore("d", 1))
        if restored is not None:
            read = self._try(verdict, home, "read after restore", lambda: numbers(None))
            if read != self.reference[1]:
                verdict.differ.append("the restore said so and gave other numbers")

    def _repair(self, verdict: Verdict, home: Path) -> None:
        done = self._try(verdict, home, "repair", lambda: kpi.repair("d"))
        if not isinstance(done, kpi.Repair) or done.version is None:
            return
        read = self._try(verdict, home, "read after repair", lambda: numbers(None))
        if read is None or read not in ([self.reference[done.source]] if done.source else self.reference.values()):
            verdict.differ.append(f"the repair from {done.source} gave other numbers")
        if not kpi.doctor("d").healthy:
            verdict.differ.append("the rebuilt data set is not healthy")

    def _survivors(self, verdict: Verdict, damaged: Tree, home: Path) -> None:
        """Whatever lay in the state folder lies there still, wherever; unfinished work of a killed load may go."""
        now = tree(home)
        contents = set(now.values())
        for name, content in damaged.items():
            unfinished = verdict.state.origin == "killed" and name not in self._trees["home"]
            if "/cache/" in name or unfinished:
                continue
            if name.endswith(MAY_CHANGE):
                gone = not any(n.endswith(name.rpartition("/")[2]) for n in now) and not name.endswith(RECORD)
            else:
                gone = content not in contents
            if gone:
                verdict.lost.append(name)


def state_of(verdict: Verdict) -> str:
    return verdict.state.kind


def _said(receipt: Receipt, usual: Receipt) -> bool:
    """Whether a receipt tells that the load was read otherwise than usual."""
    return any(getattr(receipt, f) != getattr(usual, f) for f in ("prices", "columns", "kept_out", "notes", "unmapped"))


def numbers(version: int | None) -> object:
    """Everything a reader can learn of a version: rows of both tables and metrics."""
    source = kpi.open("d", version)
    found: list[object] = []
    for name in ("requests", "spans"):
        if source.columns_of(name):
            held = source.columns_of(name)
            wanted = [source.table(name).c[c] for c in TABLES[name].names if c in held and c != "day"]
            rows = source.run(source.table(name).select().with_only_columns(*wanted)).to_pylist()
            found.append(sorted(repr(row) for row in rows))
    told = kpi.summarise(source, METRICS, kpi.Slice(last=None))
    found.append([(r["metric"], r["value"], r["low"], r["high"], r["n"]) for r in told.to_dict("records")])
    return repr(found)


def tree(home: Path) -> Tree:
    """Every file, link and empty folder below a folder, with what is in it. Locks are left out."""
    found = {}
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        if name.startswith("locks/"):
            continue
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif not any(path.iterdir()):
            found[name] = "empty folder"
    return found


def _changed(before: Tree, after: Tree) -> list[str]:
    names = {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)}
    return sorted(n for n in names if "/cache/" not in n)  # a cache is thrown away freely


def report(verdicts: list[Verdict]) -> str:
    """The counts, and each state that went wrong."""
    total = [sum(len(getattr(v, part)) for v in verdicts) for part in ("lost", "tracebacks", "differ")]
    answered, refused = sum(v.answered for v in verdicts), sum(v.refused for v in verdicts)
    lines = [
        f"{len(verdicts)} damaged states: files lost {total[0]}, tracebacks {total[1]}, "
        f"numbers that differ without a word {total[2]} ({answered} calls answered, {refused} refused with a remedy)"
    ]
    kinds = sorted({v.state.kind for v in verdicts})
    unseen = {k: sum(v.healthy for v in verdicts if v.state.kind == k) for k in kinds}
    lines.append("Damage that the doctor passes, by kind: " + ", ".join(f"{k} {n}" for k, n in unseen.items()))
    lines += [f"  {v.state}: {' '.join(problem.split())[:300]}" for v in verdicts for problem in v.bad][:MOST]
    return "\n".join(lines)
