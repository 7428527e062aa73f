"""The cached doors into `kpi`: one canonical key string in, a small result out.

Sources live once a process, by data set and version; rows read in place are opened anew each minute. Results are kept
by (fingerprint of the rows, since when they are read, call, arguments);
frames never go in as arguments, because Streamlit hashes big frames from a sample and would serve old numbers.

What is not kept yet is computed once for all who ask for it at the same time, and at most HEAVY computations run side
by side; who waits is told so on the page (`app.inflight`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
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


def forget() -> None:
    """Look again at what is stored: after a load, a restore or a deletion."""
    datasets.clear()
    names.clear()


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
    source = kpi.open(dataset, version)
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


def _ask(
    source: kpi.Source,
    call: str,
    view: kpi.Slice | None,
    arguments: dict[str, Any],
    make: Callable[[], Answer],
    gates: Sequence[Queue] = (READS,),
) -> Answer:
    query = view.to_query(full=True) if view else None
    rows = [source.name, source.version, source.fingerprint, source.read_at and source.read_at.isoformat()]
    key = json.dumps([*rows, _stamp(source), call, query, arguments])
    answer: Answer
    with suppress(_Absent):
        answer = _kept(key, _absent)
        return answer
    found = _share(_kept, key, make, gates)
    answer = _kept(key, lambda: copy.deepcopy(found))  # each session its own copy, also of what is too large to keep
    return answer


def _stamp(source: kpi.Source) -> str:
    """Which limits and metrics of a team's own the answers rest on."""
    try:
        return register(source).stamp
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


def profile(source: kpi.Source) -> kpi.Profile:
    return kpi.profile(source)  # kept by kpi as long as the source lives


def resolve(source: kpi.Source, view: kpi.Slice) -> kpi.Resolved:
    return kpi.resolve(source, view)


def receipt(source: kpi.Source) -> kpi.Receipt:
    """The receipt of the load that made this version."""
    return kpi.receipt(source.name, source.version)


def register(source: kpi.Source) -> kpi.Register:
    """The KPIs that govern this data: the register beside it, else the built-in one."""
    return kpi.register_of(source)


def scorecard(source: kpi.Source, view: kpi.Slice, *, by: str | None = None) -> Any:
    return _ask(source, "scorecard", view, {"by": by}, lambda: kpi.scorecard(source, view, by=by))


def story(source: kpi.Source, view: kpi.Slice) -> kpi.Story:
    """What changed in a slice; takes seconds on large data, so that pages draw the rest before they ask."""
    return _ask(source, "story", view, {}, lambda: kpi.story(source, view), (SEARCHES, READS))


def decompose(source: kpi.Source, metric: str, view: kpi.Slice, *, by: Sequence[str]) -> list[kpi.Decomposition]:
    arguments = {"metric": metric, "by": list(by)}
    return _ask(source, "decompose", view, arguments, lambda: kpi.decompose(source, metric, view, by=by))


def disparity(source: kpi.Source, view: kpi.Slice, *, by: Sequence[Any], metrics: Sequence[str]) -> kpi.Disparity:
    arguments = {"by": [list(b) if isinstance(b, tuple) else b for b in by], "metrics": list(metrics)}
    return _ask(source, "disparity", view, arguments, lambda: kpi.disparity(source, view, by=by, metrics=metrics))


def weak_segments(source: kpi.Source, view: kpi.Slice, *, metric: str, most: int) -> kpi.Weak:
    arguments: dict[str, Any] = {"metric": metric, "most": most}
    return _ask(source, "weak_segments", view, arguments, lambda: kpi.weak_segments(source, view, **arguments))


def contrast(source: kpi.Source, view: kpi.Slice, *, outcome: str | None) -> kpi.Contrast:
    return _ask(
        source, "contrast", view, {"outcome": outcome}, lambda: kpi.contrast(source, view, outcome=outcome)
    )  # fmt: skip


def frontier(source: kpi.Source, view: kpi.Slice, *, by: str, target: float) -> kpi.Frontier:
    arguments = {"by": by, "target": target}
    return _ask(source, "frontier", view, arguments, lambda: kpi.frontier(source, view, by=by, target=target))


def cost_waterfall(source: kpi.Source, view: kpi.Slice) -> kpi.Waterfall:
    return _ask(source, "cost_waterfall", view, {}, lambda: kpi.cost_waterfall(source, view))


def latency_stages(source: kpi.Source, view: kpi.Slice, *, q: float) -> kpi.Stages:
    return _ask(source, "latency_stages", view, {"q": q}, lambda: kpi.latency_stages(source, view, q=q))


@dataclass(frozen=True)
class ComparisonView:
    """What a page shows of a `kpi.Comparison`; that itself holds metrics, which no cache can keep."""

    a: str
    b: str
    sentence: str
    reversals: tuple[str, ...]
    adjust: tuple[str, ...]
    frame: pd.DataFrame


def compare(
    source: kpi.Source, a: str, b: str, view: kpi.Slice, *, by: str, always_valid: bool = False
) -> ComparisonView:
    arguments = {"a": a, "b": b, "by": by, "always_valid": always_valid}

    def make() -> ComparisonView:
        found = kpi.compare(source, a, b, slice=view, by=by, always_valid=always_valid)
        return ComparisonView(found.a, found.b, found.sentence, found.reversals, found.adjust, found.frame())

    return _ask(source, "compare", view, arguments, make)


def sample_ratio(
    source: kpi.Source,
    a: str,
    b: str,
    view: kpi.Slice,
    *,
    by: str,
    within: Sequence[str],
    expected: tuple[float, float],
) -> kpi.SampleRatio:
    arguments = {"a": a, "b": b, "by": by, "within": list(within), "expected": list(expected)}
    return _ask(
        source, "sample_ratio", view, arguments,
        lambda: kpi.sample_ratio(source, a, b, slice=view, by=by, within=within, expected=expected),
    )  # fmt: skip


def compare_within(
    source: kpi.Source, a: str, b: str, view: kpi.Slice, *, by: str, within: str, always_valid: bool = False
) -> pd.DataFrame:
    arguments = {"a": a, "b": b, "by": by, "within": within, "always_valid": always_valid}
    return _ask(
        source, "compare_within", view, arguments,
        lambda: kpi.compare_within(source, a, b, slice=view, by=by, within=within, always_valid=always_valid),
    )  # fmt: skip


def compare_windows(
    source: kpi.Source, metrics: Sequence[str], view: kpi.Slice, groupings: Sequence[kpi.Grouping]
) -> tuple[list[pd.DataFrame], list[pd.DataFrame] | None]:
    """Frames of the window and of the baseline, each out of one scan."""
    arguments = {"metrics": list(metrics), "groupings": [asdict(g) for g in groupings]}
    return _ask(
        source, "compare_windows", view, arguments,
        lambda: kpi.compare_windows(source, metrics, view, groupings=groupings),
    )  # fmt: skip


def tally(
    source: kpi.Source, metrics: Sequence[str], view: kpi.Slice, groupings: Sequence[kpi.Grouping]
) -> list[pd.DataFrame]:
    """Frames of several groupings out of one pass over the rows: what every page asks once."""
    arguments = {"metrics": list(metrics), "groupings": [asdict(g) for g in groupings]}
    return _ask(source, "tally", view, arguments, lambda: kpi.tally(source, metrics, view, groupings=groupings))


def requests(source: kpi.Source, view: kpi.Slice) -> int:
    """Requests in the slice, for pages that count nothing else."""
    return count(tally(source, ["requests"], view, [kpi.Grouping()])[0])


def count(frame: pd.DataFrame) -> int:
    """The metric "requests" out of a frame of the whole slice."""
    found = frame[frame["metric"] == "requests"]["value"]
    return int(found.iloc[0]) if len(found) and found.notna().all() else 0


def rolling(
    source: kpi.Source, metrics: Sequence[str], view: kpi.Slice, *, days: int, by: Sequence[str] = ()
) -> pd.DataFrame:
    arguments = {"metrics": list(metrics), "days": days, "by": list(by)}
    return _ask(source, "rolling", view, arguments, lambda: kpi.rolling(source, metrics, view, days=days, by=by))


def events(source: kpi.Source, view: kpi.Slice) -> pd.DataFrame:
    return _ask(source, "events", view, {}, lambda: kpi.events(source, view), ())


def find_traces(source: kpi.Source, view: kpi.Slice, *, text: str, sort: str, limit: int, offset: int) -> pd.DataFrame:
    arguments: dict[str, Any] = {"text": text, "sort": sort, "limit": limit, "offset": offset}
    return _ask(source, "find_traces", view, arguments, lambda: kpi.find_traces(source, view, **arguments))


def trace(source: kpi.Source, trace_id: str) -> Any:
    return _ask(source, "trace", None, {"trace_id": trace_id}, lambda: kpi.trace(source, trace_id), ())


def drift(source: kpi.Source, column: str, view: kpi.Slice) -> Any:
    return _ask(source, "drift", view, {"column": column}, lambda: kpi.drift(source, column, view))


def drift_columns(source: kpi.Source) -> list[str]:
    return _ask(source, "drift_columns", None, {}, lambda: list(kpi.drift_columns(source)), ())
