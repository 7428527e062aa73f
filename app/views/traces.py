"""Traces: show me. Find requests of the slice, then one of them as a span waterfall with all that is stored of it."""

import streamlit as st

import kpi
from app import data, page, slicebar, tables, trace_detail

SIZE = 50
FIRST = "first"  # trace= of links that open whichever comes first
SORTS = {"recent": "Newest", "failed": "Failed first", "cost": "Dearest", "latency": "Slowest"}

here = slicebar.current()
slot = page.header("Traces: show me", here)
page.sentence(slot, here, data.requests(here.source, here.view))
with st.container(horizontal=True, vertical_alignment="bottom"):
    slicebar.keep("page_q", st.query_params.get("q", ""))
    st.text_input("Find", key="page_q", placeholder="Words, or an id of a trace, session or user",
                  icon=":material/search:", on_change=page.remember, args=("q", "page_q"),
                  kwargs={"drop": ("p",)}, width=330)  # fmt: skip
    sort = page.pills("Sort", "sort", list(SORTS), default="recent", names=SORTS.__getitem__)

offset = page.number("p") * SIZE
query = st.query_params.get("q", "")
found = data.ask(kpi.find_traces, here.source, here.view, text=query, sort=sort, limit=SIZE, offset=offset)
ids = list(found["trace_id"])
chosen = st.query_params.get("trace", "")
if chosen == FIRST:
    chosen = ids[0] if ids else ""
if ids:
    tables.traces(found, chosen, view=here.view)
    trace_detail.steps(ids, chosen, offset=offset, size=SIZE)
else:
    page.nothing(here, "No trace matches." if query or offset else "No requests match this slice.")

if chosen:
    trace_detail.draw(data.ask(kpi.trace, here.source, chosen, gates=()), here.view.tz)
elif ids:
    st.caption("Pick a row, or an id in the list, to see the whole trace.")

listing = f"found = kpi.find_traces(source, view, text={query!r}, sort={sort!r}, limit={SIZE}, offset={offset})"
page.as_python(here, listing, *([f"one = kpi.trace(source, {chosen!r})"] if chosen else []))
