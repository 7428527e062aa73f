"""Traces: show me. Find requests of the slice, then one of them as a span waterfall with all that is stored of it."""

from typing import Any

import streamlit as st

import kpi
from app import data, page, slicebar, tables, text, trace_detail

SIZE = 50
FIRST = "first"  # trace= of links that open whichever comes first
SORTS = {"recent": "Newest", "failed": "Failed first", "incident": "Worst incident first", "cost": "Most expensive",
         "latency": "Slowest"}  # fmt: skip

here = slicebar.current()
page.back()
slot = page.header("Traces: show me", here)
page.sentence(slot, here, data.requests(here.source, here.view))
with st.container(horizontal=True, vertical_alignment="bottom"):
    slicebar.keep("page_q", st.query_params.get("q", ""))
    st.text_input("Find", key="page_q", placeholder="Words, or an id of a trace, session or user",
                  icon=":material/search:", on_change=page.remember, args=("q", "page_q"),
                  kwargs={"drop": ("p",)}, width=330)  # fmt: skip
    slicebar.keep("page_if", st.query_params.get("if", ""))
    st.text_input("Condition", key="page_if", placeholder="cost > 0.05 and tool_errors > 0 and language = es",
                  icon=":material/filter_alt:", on_change=page.remember, args=("if", "page_if"),
                  kwargs={"drop": ("p", "trace")}, width=430, help=text.safe(text.TOLD["condition"]))  # fmt: skip
    sort = page.pills("Sort", "sort", list(SORTS), default="recent", names=SORTS.__getitem__)

offset = page.number("p") * SIZE
query = st.query_params.get("q", "")
condition = st.query_params.get("if", "")
asked: dict[str, Any] = {"text": query, "condition": condition, "sort": sort, "limit": SIZE, "offset": offset}
found = data.ask(kpi.find_traces, here.source, here.view, **asked)  # what cannot be read ends the page with its remedy
ids = list(found["trace_id"])
chosen = st.query_params.get("trace", "")
if chosen == FIRST:
    chosen = ids[0] if ids else ""
if ids:
    size = kpi.wording.format_count(found.attrs["matching"], "traces")
    st.caption(text.safe(f"{size} match; shown from {offset + 1:,} to {offset + len(ids):,}."))
    tables.traces(found, chosen, view=here.view)
    trace_detail.steps(ids, chosen, offset=offset, size=SIZE)
else:
    page.nothing(here, "No trace matches." if query or condition or offset else "No requests match this slice.")

if chosen:
    trace_detail.draw(data.ask(kpi.trace, here.source, chosen, gates=()), here.view.tz)
elif ids:
    st.caption("Pick a row, or an id in the list, to see the whole trace.")

listing = ", ".join(f"{k}={v!r}" for k, v in asked.items() if v != "")
one = [f"one = kpi.trace(source, {chosen!r})"] if chosen else []
page.as_python(here, f"found = kpi.find_traces(source, view, {listing})", *one)
