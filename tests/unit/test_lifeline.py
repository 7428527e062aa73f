"""The reader ends with its parent, however that ends and by whichever of its two ways."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kpi.ingest.sandbox import lifeline

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
pytestmark = pytest.mark.skipif(os.name != "posix", reason="kill -9 is a POSIX signal")
# The child is told where to write its own number, and then works without end and without giving way.
_CHILD = """
import os, sys
from kpi.ingest.sandbox import lifeline
{patch}
lifeline.hold(int(sys.argv[1]))
lifeline.watch(sys.stdin.buffer)
print(os.getpid(), flush=True)
while True:
    sum(range(100_000))
"""
_PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip(), flush=True)
{after}
"""
_READER = """
import sys, threading, time
import kpi
from kpi.ingest.sandbox import supervisor
popen = supervisor.subprocess.Popen
def told(*arguments, **named):
    child = popen(*arguments, **named)
    print(child.pid, flush=True)
    return child
supervisor.subprocess.Popen = told
kpi.preview(sys.argv[1])
"""


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that waits for nobody to ask for its status has ended."""
    status = Path(f"/proc/{pid}/stat")
    if status.parent.parent.joinpath("self").exists():
        try:
            return status.read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def assert_ends(pid: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while is_alive(pid):
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            pytest.fail("the child outlived its parent")
        time.sleep(0.01)


WAYS = {"both": "", "pipe": "lifeline._ask_for_signal = lambda: None", "signal": "lifeline.watch = lambda pipe: None"}


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_child_ends_when_its_parent_is_killed(way: str) -> None:
    if way == "signal" and not sys.platform.startswith("linux"):
        pytest.skip("only Linux sends a signal")
    parent = python(_PARENT.format(after="import time\nwhile True: time.sleep(1)"), _CHILD.format(patch=WAYS[way]))
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    parent.wait()
    assert_ends(child)
    parent.stdout.close()


def test_a_child_whose_parent_died_before_it_could_ask_ends_at_once() -> None:
    code = "import sys\nfrom kpi.ingest.sandbox import lifeline\nlifeline.hold(int(sys.argv[1]))\nprint('works on')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(os.getpid() + 1)], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (lifeline.ORPHANED, "")


def test_the_reader_of_a_load_ends_with_it(tmp_path: Path) -> None:
    given = tmp_path / "a.csv"
    with given.open("w") as file:
        file.write("id,latency_ms,note\n")
        for i in range(400_000):
            file.write(f"r{i},{i},text {i}\n")
    parent = python(_READER, str(given))
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    assert_ends(child)
    parent.stdout.close()


def test_a_job_that_is_cut_off_is_not_begun(tmp_path: Path) -> None:
    code = "from kpi.ingest.sandbox import supervisor; exec(supervisor._START)"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(os.getpid())], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    out, _ = child.communicate(b'{"task": "stage"')
    assert (child.returncode, out) == (lifeline.ORPHANED, b"")
