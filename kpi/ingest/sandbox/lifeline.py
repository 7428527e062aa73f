"""A child process that ends with its parent, however that ends.

Linux sends the child a signal when the thread that started it dies; the supervisor waits for its child in that
thread. Everywhere, a thread of the child also waits at a pipe whose other end its parent holds: when the parent is
gone, the system closes that end.
"""

import contextlib
import os
import signal
import sys
import threading
from typing import IO

_PR_SET_PDEATHSIG = 1
ORPHANED = 70  # exit status of a child whose parent is gone


def hold(parent: int) -> None:
    """Ask the system to end this process with its parent, and end it now where the parent is gone already.

    parent: its process id, as the parent itself knows it. What dies between the start of this process and the request
    is seen by the comparison after it.
    """
    _ask_for_signal()
    if os.name == "posix" and os.getppid() != parent:
        os._exit(ORPHANED)


def watch(pipe: IO[bytes]) -> None:
    """End this process when the other end of a pipe is closed. Nothing may be sent through it any more."""
    threading.Thread(target=_wait, args=(pipe.fileno(),), daemon=True, name="kpi-lifeline").start()


def _wait(handle: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(handle, 1024):
            pass
    os._exit(ORPHANED)


def _ask_for_signal() -> None:
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # a C library without it: the pipe remains
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
