"""One trace: header with the outcome and why, waterfall, and everything stored of it. Texts only in safe sinks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

import kpi
from app import cards, export, once, page, slicebar, text
from kpi.charts import series as charts, spans as trace_charts

words = kpi.wording
_SHOWN = text.WORDS["trace"]
_HIDDEN = frozenset(["input_text", "output_text", "attributes", "day"])


def steps(ids: Sequence[str], chosen: str, *, offset: int, size: int) -> None:
    """Previous and next, the keyboard's way to pick a trace, and pages of the list."""
    at = ids.index(chosen) if chosen in ids else None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        before = ids[at - 1] if at else None
        after = ids[at + 1] if at is not None and at + 1 < len(ids) else ids[0] if at is None else None
        st.button("Previous trace", icon=":material/chevron_left:", on_click=_pick, args=(before,), disabled=not before)
        st.button("Next trace", icon=":material/chevron_right:", on_click=_pick, args=(after,), disabled=not after)
        options = [*ids, *([chosen] if chosen and chosen not in ids else [])]
        slicebar.keep("page_trace", chosen or None)
        st.selectbox("Trace", options, key="page_trace", index=None, on_change=page.remember,
                     args=("trace", "page_trace"), width=330)  # fmt: skip
        number = offset // size
        st.button("Page before", on_click=_turn, args=(number - 1,), disabled=not number, type="tertiary")
        st.button("Page after", on_click=_turn, args=(number + 1,), disabled=len(ids) < size, type="tertiary")


def _pick(trace_id: str | None) -> None:
    if trace_id:
        st.query_params["trace"] = trace_id


def _turn(number: int) -> None:
    st.query_params["p"] = str(number)
    st.query_params.pop("trace", None)


def draw(found: Any, tz: str) -> None:
    """The whole page of one trace."""
    with st.container(border=True):
        _header(found, tz)
        if len(found.spans):
            _waterfall(found.spans)
        else:
            st.caption("This request came from a table: there are no spans to draw.")
        _tabs(found)


def _header(found: Any, tz: str) -> None:
    request = found.request
    state, word = _outcome(request)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader("One trace", anchor=False, width="content")
        cards.badge(state, word=word)
        if request.get("incident_count"):
            st.badge("Incident", icon=":material/shield:", color="red")
    st.markdown(text.safe(found.why))
    began = request.get("started_at")
    known = [request.get(k) for k in ("intent", "language", "channel", "model", "prompt_version") if request.get(k)]
    moment = [text.moment(began.to_pydatetime() if hasattr(began, "to_pydatetime") else began, tz)] if began else []
    st.caption(text.safe(" · ".join([*moment, *map(str, known)])))
    with st.grid(4, min_column_width=130, gap="small"):
        for column, name in _SHOWN["facts"].items():
            st.metric(text.safe(name), text.safe(kpi.wording.format_column(column, request.get(column))))
    st.code(str(request["trace_id"]), language=None)


def _outcome(request: dict[str, Any]) -> tuple[str, str]:
    if request.get("error"):
        return "off_target", "Error"
    success = request.get("success")
    if success is None:
        return "no_data", "Outcome unknown"
    return ("on_target", "Success") if success else ("off_target", "Failed")


def _waterfall(spans: pd.DataFrame) -> None:
    shown = spans.head(charts.MOST_POINTS)
    if shown["offset_ms"].isna().all():
        st.caption("The steps have no times: here they are in their order.")
        named = ["  " * int(d) + str(n)[:80] for d, n in zip(shown["depth"], shown["name"], strict=True)]
        steps = shown.assign(name=named, status=shown["status"].fillna("unknown"))
        export.table(steps[["name", "kind", "status"]], hide_index=True, alt="Steps of this trace")
        return
    drawn = trace_charts.steps(shown)
    once.chart(
        trace_charts.waterfall, drawn,
        alt=f"Waterfall of {len(shown)} spans; bold bars are on the critical path, red rings are errors",
    )  # fmt: skip
    more = f" The first {len(shown)} of {len(spans)} spans." if len(shown) < len(spans) else ""
    st.caption(text.safe(f"Bold: on the path that decides how long the request takes. Red: failed.{more}"))


def _tabs(found: Any) -> None:
    request = found.request
    talk, documents, tools, scores, verdicts, parts, everything = st.tabs(
        ["Conversation", "Documents", "Tool calls", "Scores", "Verdicts", "Cost and time", "Everything"]
    )
    with talk:
        for label, column in (("Asked", "input_text"), ("Answered", "output_text")):
            st.caption(text.safe(label))
            st.text(str(request.get(column) or "No text was stored."))
    for tab, what in ((documents, "Documents"), (tools, "Tool calls"), (scores, "Scores")):
        with tab:
            _frame(what, found)
    with verdicts:
        _facts("Verdicts", request, _SHOWN["flags"])
        _frame("Incidents", found)
    with parts:
        _facts("Cost", request, _SHOWN["cost"])
        _facts("Times", request, _SHOWN["times"])
    with everything:
        rest = {k: str(v) for k, v in request.items() if k not in _HIDDEN and v is not None}
        st.json(rest, expanded=True)


def _frame(what: str, found: Any) -> None:
    frame: pd.DataFrame = getattr(found, what.lower().replace(" ", "_"))
    columns, nothing = _SHOWN["lists"][what]
    if frame.empty:
        st.caption(text.safe(nothing))
        return
    shown = frame[[c for c in columns.split() if c in frame]]
    export.table(shown, hide_index=True, alt=f"{what} of this trace", height="content")


def _facts(what: str, request: dict[str, Any], stated: str) -> None:
    columns = stated.split()
    names = [text.dimension(c.removesuffix("_us").removesuffix("_nusd")) for c in columns]
    shown = pd.DataFrame({"": names, "Value": [words.format_column(c, request.get(c)) for c in columns]})
    export.table(shown, hide_index=True, alt=f"{what} of this trace", height="content", width=420)
