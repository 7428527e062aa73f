"""Work in flight: one computation a key for all sessions, and few heavy ones at a time. No Streamlit, no clock.

Streamlit's own caches hold a lock a key as well, but say nothing while they wait, compute a failure once more for each
who waits, and let any number of different keys run side by side.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 0.25  # s between two looks whether the session of who waits has ended


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How a session waits.

    notice: a sentence on its page for as long as the block runs; go_on: called now and then, raises to give up.
    """

    notice: Callable[[str], AbstractContextManager[Any]] = lambda _: nullcontext()
    go_on: Callable[[], None] = lambda: None


SILENT = Manners()


@dataclass(eq=False)
class _Flight:
    """What the leader left: a value, an error, or nothing where its session ended before it had either."""

    landed: threading.Event = field(default_factory=threading.Event)
    value: Any = None
    error: Exception | None = None
    given_up: bool = False


class Flights:
    """Shares one computation among all who ask for the same key while it runs."""

    SAID = "Someone else is already computing this view: waiting for the same result"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[str, _Flight] = {}

    def share(self, key: str, compute: Callable[[], Any], manners: Manners = SILENT) -> Any:
        """The value of `compute`, called by one of all who ask at the same time. The value is one object for all.

        An error of the one reaches each of the others as a copy of its own, and is not kept: who asks later computes
        anew. When the session of the one ends (anything that is no `Exception`), another takes over.
        """
        while True:
            with self._lock:
                flight = self._flying.get(key)
                if leads := flight is None:
                    flight = self._flying[key] = _Flight()
            if leads:
                return self._lead(key, flight, compute)
            with manners.notice(self.SAID):
                _wait(flight.landed, manners)
            if flight.error is not None:
                raise _own(flight.error) from flight.error
            if not flight.given_up:
                return flight.value

    def _lead(self, key: str, flight: _Flight, compute: Callable[[], Any]) -> Any:
        try:
            flight.value = compute()
        except Exception as error:
            flight.error = error
            raise
        except BaseException:
            flight.given_up = True
            raise
        finally:
            with self._lock:
                del self._flying[key]
            flight.landed.set()
        return flight.value


class Queue:
    """Lets `places` computations run at a time; the rest queue in the order in which they came."""

    SAID = "Other views are being computed: this one waits for its turn"

    def __init__(self, places: int) -> None:
        self._lock = threading.Lock()
        self._free = places
        self._queue: deque[threading.Event] = deque()

    @contextmanager
    def place(self, manners: Manners = SILENT) -> Iterator[None]:
        """A place for as long as the block runs."""
        with self._lock:
            turn = None if self._free else threading.Event()
            if turn is None:
                self._free -= 1
            else:
                self._queue.append(turn)
        if turn is not None:
            try:
                with manners.notice(self.SAID):
                    _wait(turn, manners)
            except BaseException:
                self._leave(turn)
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _leave(self, turn: threading.Event) -> None:
        """Out of the queue; whoever was given a place meanwhile passes it on."""
        with self._lock:
            queued = turn in self._queue
            if queued:
                self._queue.remove(turn)
        if not queued:
            self._pass_on()

    def _pass_on(self) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1


def _wait(event: threading.Event, manners: Manners) -> None:
    while not event.wait(PATIENCE):
        manners.go_on()


def _own(error: Exception) -> Exception:
    """A copy to raise in another thread: a traceback belongs to one."""
    try:
        return copy.copy(error)
    except Exception:  # an error that cannot be built again is better shared than lost
        return error
