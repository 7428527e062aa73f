"""Traces: show me. Find requests of the slice, then one of them as a span waterfall with all that is stored of it."""

import streamlit as st

from app import data, page, slicebar, tables, text
from app.views_parts import trace as parts

SIZE = 50
SORTS = {"recent": "Newest", "failed": "Failed first", "cost": "Dearest", "latency": "Slowest"}

here = slicebar.current()
page.header("Traces: show me", here)
with st.container(horizontal=True, vertical_alignment="bottom"):
    slicebar.keep("page_q", st.query_params.get("q", ""))
    st.text_input(
        "Find", key="page_q", placeholder="Words, or a trace, session or user id", icon=":material/search:",
        on_change=page.remember, args=("q", "page_q", ("p", "trace")), width=340,
    )  # fmt: skip
    sort = page.pills("Sort", "sort", list(SORTS), default="recent", names=SORTS.__getitem__)
