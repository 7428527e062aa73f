"""What killed processes leave is taken back by whoever loads next; what is not provably ours stays."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import kpi
from kpi.disk import owned_folders
from kpi.store import lake
from kpi.store.manifest import folder

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="kill -9 is a POSIX signal")
_MAKER = """
import os, signal, sys, tempfile
from pathlib import Path
from kpi.disk.owned_folders import OwnedFolder
{made}
print("ready", flush=True)
sys.stdin.readline()
"""
_LOADER = """
import os, signal, sys
import kpi
from kpi.store.transaction import Transaction

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

{patch}
kpi.load(sys.argv[1], dataset="d", progress=lambda share, text: die(None, None) if share > 0.3 and {early} else None)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of this test's own."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return place


def python(code: str, *arguments: str, stdin: int | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=stdin, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@contextlib.contextmanager
def maker(made: str):
    """A process that has made folders and lives until it is killed."""
    process = python(_MAKER.format(made=made), stdin=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def table(path: Path, name: str = "a", rows: int = 20) -> Path:
    lines = "\n".join(f"{name}{i},{100 + i},2026-01-0{i % 9 + 1}T00:00:00Z" for i in range(rows))
    path.write_text(f"id,latency_ms,time\n{lines}\n")
    return path


def names(place: Path) -> set[str]:
    return {p.name for p in place.iterdir()} if place.exists() else set()


def test_a_folder_goes_with_its_process_and_not_before(temporary: Path) -> None:
    with maker("kept = OwnedFolder('kpi-load-'); (kept.path / 'x').write_text('rows')") as process:
        assert owned_folders.take_back() == 0
        (left,) = temporary.iterdir()
        assert (left / "x").read_text() == "rows"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert owned_folders.take_back() == 1
    assert names(temporary) == set()


def test_what_is_not_provably_ours_stays(temporary: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / owned_folders.MARK).touch()
    (elsewhere / "photo").touch()
    (temporary / "kpi-load-link").symlink_to(elsewhere)
    (temporary / "other-folder").mkdir()
    (temporary / "other-folder" / owned_folders.MARK).touch()
    (temporary / "kpi-load-file").write_text("mine")
    for name, marked in (("kpi-load-unmarked", None), ("kpi-load-linked", "link"), ("kpi-load-folder", "folder")):
        (temporary / name).mkdir()
        (temporary / name / "mine").touch()
        if marked == "link":
            (temporary / name / owned_folders.MARK).symlink_to(elsewhere / "photo")
        elif marked == "folder":
            (temporary / name / owned_folders.MARK).mkdir()
    os.mkfifo(temporary / "kpi-load-fifo")
    before = sorted(p for p in tmp_path.rglob("*"))
    assert owned_folders.take_back() == 0
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_an_empty_folder_whose_maker_died_before_the_mark_goes_only_where_nobody_else_writes(temporary: Path) -> None:
    place = folder("d")
    for parent in (temporary, place):
        (parent / f"{owned_folders.STAGE}0").mkdir(parents=True)
    assert owned_folders.take_back() == 0
    assert owned_folders.take_back(place) == 1
    os.utime(temporary / f"{owned_folders.STAGE}0", (0, 0))
    assert owned_folders.take_back() == 1


def test_two_makers_and_a_sweeper_at_once(temporary: Path) -> None:
    """A folder that is swept between its making and its mark is made again."""
    code = "for _ in range(200):\n    with OwnedFolder('kpi-load-') as place: (place / 'x').write_text('x')"
    makers = [python(_MAKER.format(made=code), stdin=subprocess.DEVNULL) for _ in range(2)]
    while any(m.poll() is None for m in makers):
        owned_folders.take_back()
    assert [m.communicate()[0] for m in makers] == ["ready\n"] * 2
    assert names(temporary) == set()


@pytest.mark.parametrize("moment", ["reading", "storing"])
def test_the_next_load_takes_back_a_killed_one(moment: str, tmp_path: Path, temporary: Path) -> None:
    early = moment == "reading"
    given = table(tmp_path / "a.csv")
    killed = python(_LOADER.format(patch="" if early else "Transaction.run = die", early=early), str(given))
    assert killed.wait() == -signal.SIGKILL
    killed.communicate()
    assert any(n.startswith(owned_folders.STAGE) for n in names(folder("d")))
    if early:
        assert any(n.startswith(owned_folders.READING) for n in names(temporary))
    kpi.load(given, dataset="other")
    assert names(temporary) == set()
    kpi.load(given, dataset="d")
    assert not [n for n in names(folder("d")) if n.startswith(".")]
    assert {d.name: d.requests for d in kpi.datasets()} == {"d": 20, "other": 20}


def test_sweep_takes_back_too(tmp_path: Path, temporary: Path) -> None:
    kpi.load(table(tmp_path / "a.csv"), dataset="d")
    places = [temporary, folder("d"), folder("d") / "versions"]
    made = "; ".join(f"x{i} = OwnedFolder('.stage-', Path({str(p)!r}))" for i, p in enumerate(places))
    with maker(made):
        lake.sweep("d")
        assert [sum(n.startswith(".stage-") for n in names(p)) for p in places] == [1, 1, 1]
    lake.sweep("d")
    assert [sum(n.startswith(".stage-") for n in names(p)) for p in places] == [0, 0, 0]


def test_a_deletion_that_was_killed_is_ended(tmp_path: Path, home: Path) -> None:
    given = table(tmp_path / "a.csv")
    kpi.load(given, dataset="secret")
    code = (
        "import os, signal\nfrom kpi.disk import owned_folders\nfrom kpi.store import lake\n"
        "owned_folders._empty = lambda folder: os.kill(os.getpid(), signal.SIGKILL)\nlake.delete('secret')\n"
    )
    assert python(code).wait() == -signal.SIGKILL
    assert "secret" not in {d.name for d in kpi.datasets()}
    assert any(n.startswith(owned_folders.DELETED) for n in names(home / "datasets"))
    kpi.load(given, dataset="other")
    assert names(home / "datasets") == {"other"}


def test_uploads_go_with_their_session_and_with_its_process(tmp_path: Path, temporary: Path) -> None:
    kept = kpi.Uploads([("../../a b.csv", b"id,latency_ms\na,1\n"), ("", b"x")])
    assert [p.read_bytes() for p in kept.paths] == [b"id,latency_ms\na,1\n", b"x"]
    assert all(p.is_relative_to(temporary) for p in kept.paths)
    assert kept.paths[0].name.endswith("b.csv")
    kept.close()
    assert names(temporary) == set()
    with maker("import kpi; kept = kpi.Uploads([('a.csv', b'raw rows')])"):
        assert len(names(temporary)) == 1
    kpi.load(table(tmp_path / "a.csv"), dataset="d")
    assert names(temporary) == set()


def test_a_data_set_that_was_never_made_leaves_no_folder(tmp_path: Path, home: Path) -> None:
    (tmp_path / "bad.csv").write_text("just words\n")
    for _ in range(2):
        with pytest.raises(kpi.errors.IngestError):
            kpi.load(tmp_path / "bad.csv", dataset="d")
        folder("d").mkdir(exist_ok=True)  # as a killed first load leaves it
    with pytest.raises(kpi.errors.IngestError):
        kpi.load(tmp_path / "bad.csv", dataset="d")
    assert names(home / "datasets") == set()
