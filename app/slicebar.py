"""The slice bar: widgets <-> `kpi.Slice` <-> URL. The URL is the only place where the slice lives.

Every run reads the slice from the query string and sets the widgets to it; a callback, and nothing else, writes the
query string. So links, the back button and a second tab agree, and keys of pages (metric=, trace=) are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import streamlit as st

import kpi
from app import data, text

SLICE_KEYS = frozenset(["v", "data", "at", "fp", "last", "from", "to", "vs", "tz", "grain", "where"])
WINDOWS, COMPARED = text.WORDS["window"], text.WORDS["compared"]
EARLIER = ("previous", "weekdays", "custom")  # of COMPARED, what needs times
GRAINS = ("hour", "day", "week")
VERSIONS = ("model", "provider", "prompt_version", "retrieval_version", "policy_version", "release", "environment",
            "experiment_arm", "deployment_ring")  # fmt: skip
NO_COHORTS = frozenset(["error_type", "worst_severity", "outcome_source"])


@dataclass(frozen=True, kw_only=True)
class PageContext:
    """What a page looks at. view: the slice, reduced to dimensions that the data has; source: its rows."""

    view: kpi.Slice
    source: kpi.Source
    profile: kpi.Profile
    resolved: kpi.Resolved

    @property
    def timed(self) -> bool:
        """Whether any request says when it began: else there is no window, trend or earlier time to compare with."""
        return self.profile.first is not None

    @property
    def versions(self) -> list[str]:
        """Version dimensions with a choice to make."""
        return [d for d in VERSIONS if len(self.profile.dimensions.get(d, ())) > 1]

    @property
    def cohorts(self) -> list[str]:
        """Cohort dimensions with a choice to make, the export's own last."""
        known = self.profile.dimensions
        return [d for d in known if d not in VERSIONS and d not in NO_COHORTS and len(known[d]) > 1]


def asked() -> kpi.Slice:
    """The slice of the URL as it stands, with a data set chosen where the link names none. Raises SliceError."""
    query = {k: st.query_params.get_all(k) for k in st.query_params}
    view = kpi.Slice.from_query(query)
    return view if "data" in query else replace(view, dataset=data.default())


def current() -> PageContext:
    """The slice of the URL on the rows it names; filters on dimensions that the data lacks are left to `report`."""
    view = asked()
    source = data.open_source(view.dataset, view.version)
    data.look_at(source)
    known = kpi.profile(source)
    filters = tuple(f for f in view.filters if f[0] in known.dimensions)
    if _baseline_dimension(view.baseline) not in (None, *known.dimensions):
        view = replace(view, baseline="none")
    view = replace(view, filters=filters)
    return PageContext(view=view, source=source, profile=known, resolved=kpi.resolve(source, view, strict=False))


def query(view: kpi.Slice, **page: str) -> dict[str, list[str]]:
    """Query parameters of a slice, as short as they can be, and keys of a page."""
    return {**view.to_query(), "data": [view.dataset], **{k: [v] for k, v in page.items() if v}}


def go(view: kpi.Slice) -> None:
    """Write a slice into the URL; for callbacks. Keys of the page stay."""
    kept = {k: st.query_params.get_all(k) for k in st.query_params if k not in SLICE_KEYS}
    st.query_params.from_dict({**query(view), **kept})


def reset() -> None:
    go(kpi.Slice(dataset=st.query_params.get("data", data.default())))


def without(dimension: str, value: str) -> None:
    """Take one filter value out of the URL; for callbacks."""
    view = asked()
    left = [v for v in view.filter_on(dimension) if v != value]
    go(view.where(**{dimension: left or None}))


def tidy() -> None:
    """Take everything out of the link that this data cannot give; for callbacks."""
    here = current()
    known = here.profile.dimensions
    kept = {d: [v for v in values if v in {*(k for k, _ in known[d]), "(none)"}] for d, values in here.view.filters}
    view = replace(here.view, fingerprint="", filters=())
    go(view.where(**{d: v or None for d, v in kept.items()}))


def draw(here: PageContext) -> None:
    """The controls, set to the slice of the URL."""
    _draw_dataset(here)
    if here.timed:
        _draw_window(here)
    _draw_baseline(here)
    if here.timed:
        keep("bar_grain", here.view.grain if here.view.grain in GRAINS else "day")
        st.segmented_control("Grain", GRAINS, key="bar_grain", required=True, on_change=_write, width="stretch")
    _draw_filters("Versions", here.versions, here)
    _draw_filters("Cohorts", here.cohorts, here)
    st.button("Reset", icon=":material/restart_alt:", on_click=reset, key="bar_reset", width="stretch")


def draw_datasets() -> None:
    """Only the choice of a data set and the way back, for a link that cannot be obeyed."""
    names = data.names()
    if names:
        st.button("Use the default window", icon=":material/restart_alt:", on_click=reset, key="bar_reset",
                  width="stretch")  # fmt: skip
        asked_for = st.query_params.get("data", "")
        keep("bar_dataset", asked_for if asked_for in names else None)
        st.selectbox("Data set", names, key="bar_dataset", index=None, on_change=_change_dataset)


def report() -> list[str]:
    """What the link asks for and the data cannot give, one sentence each. Plain text, not escaped."""
    view = asked()
    source = data.open_source(view.dataset, view.version)
    known = kpi.profile(source).dimensions
    found = []
    for dimension, values in view.filters:
        if dimension not in known:
            found.append(f"This link filters on {dimension}, which {view.dataset} does not have: shown without it.")
            continue
        listed = {v for v, _ in known[dimension]} | {"(none)"}
        lost = [v for v in values if v not in listed]
        if lost and len(known[dimension]) < 500:
            found.append(f"This link asks for {dimension} {', '.join(lost)}, which {view.dataset} does not have.")
    compared = _baseline_dimension(view.baseline)
    if compared is not None and compared not in known:
        found.append(f"This link compares with a {compared}, which {view.dataset} does not have: shown without.")
    if view.fingerprint and view.fingerprint != source.fingerprint:
        found.append("The data has moved on since this link was made: numbers may differ from those it was made for.")
    return found


def _draw_dataset(here: PageContext) -> None:
    names = data.names()
    names = names if here.view.dataset in names else [here.view.dataset, *names]
    keep("bar_dataset", here.view.dataset)
    st.selectbox("Data set", names, key="bar_dataset", on_change=_change_dataset)


def _draw_window(here: PageContext) -> None:
    view, span = here.view, here.resolved.window
    keep("bar_last", "custom" if view.last is None else view.last)
    shown = list(WINDOWS) if st.session_state["bar_last"] in WINDOWS else [st.session_state["bar_last"], *WINDOWS]
    st.pills("Window", shown, key="bar_last", required=True, on_change=_write, format_func=lambda w: WINDOWS.get(w, w))
    st.session_state["_window"] = span
    if view.last is None and span:
        keep("bar_dates", _dates(span, view.tz))
        st.date_input("From and to", key="bar_dates", on_change=_write, format="YYYY-MM-DD")
    keep("bar_tz", view.tz)
    zones = dict.fromkeys([view.tz, "UTC", st.context.timezone or "UTC", *sorted(available_timezones())])
    st.selectbox("Time zone", list(zones), key="bar_tz", on_change=_write, help="In which days and hours begin.")


def _draw_baseline(here: PageContext) -> None:
    view = here.view
    mode = _baseline_mode(view.baseline)
    able = {"none", *(["version"] if here.versions else []), *(EARLIER if here.timed else [])}
    options = [m for m in COMPARED if m in able]
    keep("bar_vs", mode if mode in options else "none")
    st.selectbox("Compared with", options, key="bar_vs", on_change=_write, format_func=COMPARED.__getitem__)
    st.session_state["_versions"] = {d: [v for v, _ in here.profile.dimensions[d]] for d in here.versions}
    if mode == "version" and here.versions:
        name, _, value = view.baseline.partition(":")
        names = here.versions if name in here.versions else [name, *here.versions]
        values = [v for v, _ in here.profile.dimensions.get(name, ())]
        keep("bar_vs_dimension", name)
        st.selectbox("Version of", names, key="bar_vs_dimension", on_change=_write, format_func=text.dimension)
        keep("bar_vs_value", value)
        st.selectbox("Baseline version", values if value in values else [value, *values],
                     key="bar_vs_value", on_change=_write)  # fmt: skip
    elif mode == "custom" and here.resolved.baseline:
        keep("bar_vs_dates", _dates(here.resolved.baseline, view.tz))
        st.date_input("Baseline dates", key="bar_vs_dates", on_change=_write, format="YYYY-MM-DD")
    st.session_state["_baseline"] = here.resolved.baseline


def _draw_filters(title: str, dimensions: Sequence[str], here: PageContext) -> None:
    if not dimensions:
        return
    chosen = any(here.view.filter_on(d) for d in dimensions)
    with st.expander(text.safe(title), expanded=chosen):
        for name in dimensions:
            counts = dict(here.profile.dimensions[name])
            picked = list(here.view.filter_on(name))
            options = [*counts, *(v for v in picked if v not in counts)]
            keep(f"bar_where_{name}", picked)
            st.multiselect(text.safe(text.dimension(name)), options, key=f"bar_where_{name}",
                           on_change=_write, placeholder="All")  # fmt: skip


def keep(key: str, value: Any) -> None:
    """Set a widget to what the URL says, before it is drawn."""
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value


def _change_dataset() -> None:
    if st.session_state.get("bar_dataset"):
        go(replace(_base(), dataset=st.session_state["bar_dataset"], version=None, fingerprint="", filters=()))


def _write() -> None:
    """The whole slice from the widgets into the URL: from all of them, so that two quick changes both count."""
    state = st.session_state
    view = replace(_base(), tz=state.get("bar_tz") or "UTC")
    mode = state.get("bar_last", "28d")
    if mode == "custom":
        start, end = _custom("bar_dates", "_window", view)
        view = replace(view, last=None, start=start, end=end)
    else:
        view = replace(view, last=mode, start=None, end=None)
    view = replace(view, baseline=_baseline(view), grain=state.get("bar_grain") or "day")
    for key in [k for k in state if str(k).startswith("bar_where_")]:
        view = view.where(**{str(key).removeprefix("bar_where_"): list(state[key]) or None})
    go(view)


def _base() -> kpi.Slice:
    try:
        return asked()
    except kpi.KpiError:
        return kpi.Slice(dataset=data.default())


def _baseline_mode(baseline: str) -> str:
    if baseline in COMPARED:
        return baseline
    return "custom" if ".." in baseline else "version"


def _baseline_dimension(baseline: str) -> str | None:
    return baseline.partition(":")[0] if _baseline_mode(baseline) == "version" else None


def _baseline(view: kpi.Slice) -> str:
    state = st.session_state
    mode = state.get("bar_vs", "previous")
    if mode == "version":
        versions: dict[str, list[str]] = state.get("_versions", {})
        if not versions:
            return "none"
        name = state.get("bar_vs_dimension")
        name = name if name in versions else next(iter(versions))
        value = state.get("bar_vs_value")
        return f"{name}:{value if value in versions[name] else versions[name][0]}"
    if mode == "custom":
        start, end = _custom("bar_vs_dates", "_baseline", view)
        return f"{_iso(start)}..{_iso(end)}"
    return str(mode)


def _custom(key: str, fallback: str, view: kpi.Slice) -> tuple[datetime, datetime]:
    """Half-open limits out of a date range; of what was last shown while only one date is picked."""
    picked = st.session_state.get(key)
    if isinstance(picked, tuple | list) and len(picked) == 2:
        first, last = picked
        zone = ZoneInfo(view.tz)
        return datetime.combine(first, time(), zone), datetime.combine(last + timedelta(days=1), time(), zone)
    span = st.session_state.get(fallback) or st.session_state.get("_window")
    if span is None:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return today - timedelta(days=28), today
    return span.start, span.end


def _dates(span: kpi.Window, tz: str) -> tuple[date, date]:
    zone = ZoneInfo(tz)
    return span.start.astimezone(zone).date(), (span.end - timedelta(microseconds=1)).astimezone(zone).date()


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
