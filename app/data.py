"""The cached doors into `kpi`: one canonical key string in, a small result out.

Sources live once a process, by data set and version; rows read in place are opened anew each minute. Results are kept
by function and arguments, rows as their fingerprint and since when they are read;
frames never go in as arguments, because Streamlit hashes big frames from a sample and would serve old numbers.

What is not kept yet is computed once for all who ask for it at the same time, and at most HEAVY computations run side
by side; who waits is told so on the page (`app.inflight`).
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import Any, TypeVar

import pandas as pd
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

import kpi
from app.inflight import Flights, Manners, Queue

Answer = TypeVar("Answer")
HEAVY = 2
FLIGHTS = Flights()
READS = Queue(HEAVY)
SEARCHES = Queue(HEAVY - 1)  # they take seconds: one place stays free for the first numbers of every page


@st.cache_data(ttl="3s", max_entries=1, show_spinner=False)
def datasets() -> list[Any]:
    """Data sets of the state folder; looked up again after three seconds, so that a load elsewhere shows up."""
    return list(kpi.datasets())


@st.cache_data(ttl="3s", max_entries=1, show_spinner=False)
def names() -> list[str]:
    """What can be chosen as data: stored data sets, then the databases that an administrator has named."""
    stored = [d.name for d in datasets()]
    try:
        named = [f"db:{c.name}" for c in kpi.connections() if not c.problem]
    except kpi.KpiError:  # a broken list of connections must not hide what is stored
        named = []
    return [*stored, *named]


@st.cache_data(ttl="3s", max_entries=1, show_spinner=False)
def default() -> str:
    """The data set of a link that names none: KPI_DATASET, else that which was loaded first, whatever comes later."""
    known = names()
    if os.environ.get("KPI_DATASET") in known:
        return os.environ["KPI_DATASET"]
    whole = [d.name for d in datasets() if not d.damaged]
    return min(whole, key=lambda name: str(kpi.versions(name)[-1].created_at), default=(*known, "default")[0])


def forget() -> None:
    """Look again at what is stored: after a load, a restore or a deletion."""
    datasets.clear()
    names.clear()
    default.clear()


def open_source(dataset: str, version: int | None) -> kpi.Source:
    """The rows of one stored version (None: the newest). Raises StoreError for what is not there."""
    live = dataset.startswith("db:")
    if version is None and not live:
        version = next((d.version for d in datasets() if d.name == dataset and not d.damaged), None)
    kept, key = _live_source if live else _source, json.dumps([dataset, version])
    opened: kpi.Source
    with suppress(_Absent):
        opened = kept(key, _absent)
        return opened
    opened = _share(kept, key, lambda: _opened(dataset, version, warm=not live))
    return opened


def _opened(dataset: str, version: int | None, *, warm: bool) -> kpi.Source:
    source = kpi.open_dataset(dataset, version)  # what a link names is never the path of a file
    kpi.profile(source)  # every page needs it; kept by kpi as long as the source lives
    if warm:
        kpi.warm(source)
    return source


@st.cache_resource(ttl="12h", max_entries=8, show_spinner=False)
def _source(key: str, _make: Callable[[], kpi.Source]) -> kpi.Source:
    return _make()


@st.cache_resource(ttl="60s", max_entries=8, show_spinner=False)
def _live_source(key: str, _make: Callable[[], kpi.Source]) -> kpi.Source:
    """Rows read in place change under us: what is known of them, and every answer, is a minute old at most."""
    return _make()


def ask(call: Callable[..., Answer], *arguments: Any, gates: Sequence[Queue] = (READS,), **named: Any) -> Answer:
    """What a function of `kpi` answers, kept under its name and arguments."""
    key = json.dumps([call.__name__, arguments, named], default=_as_key)
    answer: Answer
    with suppress(_Absent):
        answer = _kept(key, _absent)
        return answer
    found = _share(_kept, key, lambda: call(*arguments, **named), gates)
    answer = _kept(key, lambda: copy.deepcopy(found))  # each session its own copy, also of what is too large to keep
    return answer


def _as_key(value: Any) -> Any:
    if isinstance(value, kpi.Source):
        read_at = value.read_at and value.read_at.isoformat()
        return [value.name, value.version, value.fingerprint, read_at, _stamp(value)]
    return value.to_query(full=True) if isinstance(value, kpi.Slice) else asdict(value)


def _stamp(source: kpi.Source) -> str:
    """Which limits and metrics of a team's own the answers rest on."""
    try:
        return kpi.register_of(source).stamp
    except kpi.KpiError:  # what needs the register says so itself
        return ""


@st.cache_data(ttl="1h", max_entries=600, max_size="300MiB", show_spinner=False)
def _kept(key: str, _make: Callable[[], Any]) -> Any:
    return _make()


class _Absent(Exception):
    """Nothing is kept under a key."""


def _absent() -> Any:
    raise _Absent


def _share(kept: Callable[[str, Any], Any], key: str, make: Callable[[], Any], gates: Sequence[Queue] = ()) -> Any:
    """What is not kept under a key: made once for all who ask meanwhile, with a place at each of the gates, and kept.

    Nothing is made while a lock of `kept` is held: who comes meanwhile would wait there, without a notice.
    """
    manners = _manners()

    def lead() -> Any:
        with suppress(_Absent):
            return kept(key, _absent)  # made between our look and our turn
        with ExitStack() as places:
            for gate in gates:
                places.enter_context(gate.place(manners))
            made = make()
        return kept(key, lambda: made)

    return FLIGHTS.share(f"{kept.__name__} {key}", lead, manners)


def _manners() -> Manners:
    """A spinner while the session waits; it stops to wait when its person leaves or asks for something else."""
    session = get_script_run_ctx(suppress_warning=True)
    if session is None:
        return Manners()
    return Manners(notice=st.spinner, go_on=session.yield_check)


def metrics() -> Mapping[str, kpi.Metric]:
    """The metrics of the data that this session looks at, those that its team declared among them."""
    found: Mapping[str, kpi.Metric] = st.session_state.get("_metrics") or kpi.METRICS
    return found


def look_at(source: kpi.Source) -> None:
    """Take the metrics of a source for those of this session."""
    st.session_state["_metrics"] = kpi.metrics_of(source)


def scorecard(source: kpi.Source, view: kpi.Slice, *, by: str | None = None) -> kpi.Scorecard:
    return ask(kpi.scorecard, source, view, by=by)


def story(source: kpi.Source, view: kpi.Slice) -> kpi.Story:
    """What changed in a slice; takes seconds on large data, so that pages draw the rest before they ask."""
    return ask(kpi.story, source, view, gates=(SEARCHES, READS))


def tally(
    source: kpi.Source, metrics: Sequence[str], view: kpi.Slice, groupings: Sequence[kpi.Grouping]
) -> list[pd.DataFrame]:
    """Frames of several groupings out of one pass over the rows: what every page asks once."""
    return ask(kpi.tally, source, metrics, view, groupings=groupings)


def requests(source: kpi.Source, view: kpi.Slice) -> int:
    """Requests in the slice, for pages that count nothing else."""
    return count(tally(source, ["requests"], view, [kpi.Grouping()])[0])


def count(frame: pd.DataFrame) -> int:
    """The metric "requests" out of a frame of the whole slice."""
    found = frame[frame["metric"] == "requests"]["value"]
    return int(found.iloc[0]) if len(found) and found.notna().all() else 0


def events(source: kpi.Source, view: kpi.Slice) -> pd.DataFrame:
    return ask(kpi.events, source, view, gates=())
