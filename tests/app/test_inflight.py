"""Work in flight: one computation for all who ask at once, errors and stops handed on, few heavy ones at a time.

No clock decides: a computation goes on only when everyone whom the test needs is waiting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from streamlit.runtime.scriptrunner import StopException

import kpi
from app import data, inflight
from app.inflight import Flights, Manners, Queue

PEOPLE = 30
LONG = 600.0  # s: a test that hangs fails; none waits for it


class Crowd:
    """Counts who waits, and what they are told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._changed = threading.Condition()

    @contextmanager
    def notice(self, sentence: str) -> Iterator[None]:
        with self._changed:
            self.said.append(sentence)
            self._changed.notify_all()
        yield

    def gather(self, size: int) -> None:
        """Until `size` notices were shown in all."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.said) >= size, LONG)

    @property
    def manners(self) -> Manners:
        return Manners(notice=self.notice)


def together(size: int, ask: Callable[[], object]) -> list[Future]:
    with ThreadPoolExecutor(size) as pool:
        return [pool.submit(ask) for _ in range(size)]


def test_thirty_who_ask_at_once_share_one_computation():
    flights, crowd, calls = Flights(), Crowd(), []

    def compute() -> object:
        calls.append(1)
        crowd.gather(PEOPLE - 1)
        return object()

    found = together(PEOPLE, lambda: flights.share("slice", compute, crowd.manners))
    assert len(calls) == 1
    assert len({id(f.result()) for f in found}) == 1
    assert crowd.said == [Flights.SAID] * (PEOPLE - 1)


def test_an_error_reaches_everyone_as_it_is_and_is_not_kept():
    flights, crowd, calls = Flights(), Crowd(), []

    def fail() -> object:
        calls.append(1)
        crowd.gather(PEOPLE - 1)
        raise kpi.errors.StoreError("store.table", "A table cannot be read", hint="Load it again.", row=3)

    errors = [f.exception() for f in together(PEOPLE, lambda: flights.share("slice", fail, crowd.manners))]
    assert len(calls) == 1
    assert {type(e) for e in errors} == {kpi.errors.StoreError}
    assert {(e.code, e.message, e.hint, e.row) for e in errors} == {
        ("store.table", "A table cannot be read", "Load it again.", 3)
    }
    assert len({id(e) for e in errors}) == PEOPLE  # each with a traceback of its own
    assert flights.share("slice", lambda: "well again") == "well again"


def test_an_error_that_cannot_be_copied_still_reaches_everyone():
    class Odd(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__("odd")

    flights, crowd = Flights(), Crowd()

    def fail() -> object:
        crowd.gather(2)
        raise Odd(1, 2)

    errors = [f.exception() for f in together(3, lambda: flights.share("slice", fail, crowd.manners))]
    assert [type(e) for e in errors] == [Odd] * 3


@pytest.mark.parametrize("end", [StopException, KeyboardInterrupt, SystemExit])
def test_another_takes_over_when_the_session_of_the_first_ends(end):
    flights, crowd, calls = Flights(), Crowd(), []

    def compute() -> str:
        calls.append(1)
        if len(calls) == 1:
            crowd.gather(PEOPLE - 1)
            raise end
        return "answer"

    found = together(PEOPLE, lambda: flights.share("slice", compute, crowd.manners))
    ended = [f for f in found if f.exception() is not None]
    assert len(calls) >= 2
    assert [type(f.exception()) for f in ended] == [end]
    assert {f.result() for f in found if f not in ended} == {"answer"}


def test_who_leaves_while_waiting_takes_nobody_along():
    flights, crowd, left = Flights(), Crowd(), threading.Event()

    def leave() -> None:
        left.set()
        raise StopException

    def compute() -> str:
        crowd.gather(2)
        assert left.wait(LONG)
        return "answer"

    with ThreadPoolExecutor(3) as pool:
        leader = pool.submit(flights.share, "slice", compute)
        while not flights._flying:
            pass
        leaver = pool.submit(flights.share, "slice", compute, Manners(notice=crowd.notice, go_on=leave))
        stayer = pool.submit(flights.share, "slice", compute, crowd.manners)
    assert isinstance(leaver.exception(), StopException)
    assert leader.result() == stayer.result() == "answer"


def test_different_keys_are_computed_side_by_side():
    flights, both = Flights(), threading.Barrier(2)

    def compute() -> int:
        return both.wait(LONG)  # breaks unless the other is here as well

    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(flights.share, key, compute) for key in ("one slice", "another")]
    assert sorted(f.result() for f in found) == [0, 1]


def test_a_gate_lets_in_so_many_and_tells_the_rest_that_they_queue():
    gate, crowd, inside, most = Queue(2), Crowd(), [], []
    both = threading.Barrier(2)

    def compute() -> None:
        with gate.place(crowd.manners):
            inside.append(1)
            most.append(len(inside))
            if len(most) <= 2:
                both.wait(LONG)
                crowd.gather(4)
            inside.pop()

    for done in together(6, compute):
        done.result()
    assert max(most) == 2
    assert crowd.said == [Queue.SAID] * 4


def test_a_gate_serves_in_the_order_of_coming():
    gate, order = Queue(1), []
    with ThreadPoolExecutor(3) as pool, gate.place():
        for number in range(3):
            crowd = Crowd()

            def enter(number: int = number, crowd: Crowd = crowd) -> None:
                with gate.place(crowd.manners):
                    order.append(number)

            pool.submit(enter)
            crowd.gather(1)
    assert order == [0, 1, 2]


def test_who_leaves_the_queue_leaves_no_place_behind():
    gate, crowd = Queue(1), Crowd()

    def leave() -> None:
        raise StopException

    def enter(manners: Manners) -> str:
        with gate.place(manners):
            return "in"

    with ThreadPoolExecutor(2) as pool:
        with gate.place():
            leaver = pool.submit(enter, Manners(notice=crowd.notice, go_on=leave))
            stayer = pool.submit(enter, crowd.manners)
            crowd.gather(2)
            assert isinstance(leaver.exception(), StopException)
        assert stayer.result() == "in"
    assert (gate._free, len(gate._queue)) == (1, 0)


def test_a_place_that_comes_to_one_who_is_leaving_is_passed_on():
    gate = Queue(1)

    @contextmanager
    def notice(_: str) -> Iterator[None]:
        yield
        raise StopException  # the session ends just as its turn comes

    def enter() -> None:
        with gate.place(Manners(notice=notice)):
            raise AssertionError

    with ThreadPoolExecutor(1) as pool:
        with gate.place():
            leaver = pool.submit(enter)
            while not gate._queue:
                pass
        assert isinstance(leaver.exception(), StopException)
    assert gate._free == 1


@pytest.fixture
def sample(world, monkeypatch) -> Iterator[kpi.Source]:
    """The rows of the planted world, as the app opens them; nothing is kept before or after."""
    import streamlit as st

    def forget() -> None:
        st.cache_data.clear()
        st.cache_resource.clear()

    monkeypatch.setenv("KPI_HOME", str(world))
    forget()
    yield data.open_source("sample", None)
    forget()


def test_thirty_sessions_open_and_profile_the_rows_once(sample, monkeypatch):
    import streamlit as st

    st.cache_resource.clear()
    crowd, opened, real = Crowd(), [], kpi.open_dataset

    def slow(*args):
        opened.append(args)
        crowd.gather(PEOPLE - 1)
        return real(*args)

    monkeypatch.setattr(kpi, "open_dataset", slow)
    monkeypatch.setattr(data, "_manners", lambda: crowd.manners)
    found = together(PEOPLE, lambda: data.open_source("sample", None))
    assert len(opened) == 1
    assert len({id(f.result()) for f in found}) == 1


def test_thirty_sessions_share_a_story_and_none_can_change_that_of_another(sample, monkeypatch):
    crowd, calls, real = Crowd(), [], kpi.events

    def slow(*args):
        calls.append(args)
        crowd.gather(PEOPLE - 1)
        return real(*args)

    monkeypatch.setattr(kpi, "events", slow)
    monkeypatch.setattr(data, "_manners", lambda: crowd.manners)
    view = kpi.Slice(dataset="sample")
    found = [f.result() for f in together(PEOPLE, lambda: data.events(sample, view))]
    assert len(calls) == 1
    assert len({id(f) for f in found}) == PEOPLE
    assert all(f.equals(real(sample, view)) for f in found)
    data.events(sample, view)
    assert len(calls) == 1


def test_a_story_leaves_a_place_for_the_first_numbers_of_other_pages(sample, monkeypatch):
    searching, answered = threading.Event(), threading.Event()

    def endless(*_):
        searching.set()
        assert answered.wait(LONG)
        return "found"

    monkeypatch.setattr(kpi, "story", endless)
    views = [kpi.Slice(dataset="sample", last=f"{d}d") for d in (7, 14, 21)]
    with ThreadPoolExecutor(3) as pool:
        told = [pool.submit(data.story, sample, v) for v in views]
        assert searching.wait(LONG)
        assert data.requests(sample, views[0]) > 0  # would hang if searches held every place
        answered.set()
    assert [t.result() for t in told] == ["found"] * 3


def test_the_page_of_who_waits_says_so(sample, app, monkeypatch):
    said, waiting, real, calls = [], threading.Event(), kpi.scorecard, []
    spinner = data.st.spinner

    @contextmanager
    def recorded(sentence: str) -> Iterator[None]:
        said.append(sentence)
        waiting.set()
        with spinner(sentence):
            yield

    def slow(*args, **kwargs):
        calls.append(args)
        started.set()
        assert waiting.wait(LONG)
        return real(*args, **kwargs)

    started = threading.Event()
    monkeypatch.setattr(kpi, "scorecard", slow)
    monkeypatch.setattr(data.st, "spinner", recorded)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(data.scorecard, sample, kpi.Slice(dataset="sample"), by="prompt_version")
        assert started.wait(LONG)
        at = app()
        card = first.result().cards[0]
    assert len(calls) == 1
    assert said[0] == inflight.Flights.SAID
    shown = {m.label.replace("\\", ""): m.value.replace("\\", "") for m in at.metric}
    assert shown[card.label] == kpi.wording.format_value(card.value, card.unit)


def test_an_error_in_flight_is_said_on_the_page_of_who_waits(sample, app, monkeypatch):
    waiting, started = threading.Event(), threading.Event()
    spinner = data.st.spinner

    @contextmanager
    def recorded(sentence: str) -> Iterator[None]:
        waiting.set()
        with spinner(sentence):
            yield

    def broken(*_, **__):
        started.set()
        assert waiting.wait(LONG)
        raise kpi.errors.StoreError("store.table", "A table cannot be read", hint="Load it again.")

    monkeypatch.setattr(kpi, "scorecard", broken)
    monkeypatch.setattr(data.st, "spinner", recorded)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(data.scorecard, sample, kpi.Slice(dataset="sample"), by="prompt_version")
        assert started.wait(LONG)
        at = app()
        assert isinstance(first.exception(), kpi.errors.StoreError)
    assert "A table cannot be read" in at.error[0].value
    assert "Load it again" in at.error[0].value
