"""Entry point: page config, navigation that carries the slice, the slice bar, the page."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app import data, page, slicebar

st.set_page_config(page_title="AI Index", page_icon=str(Path(__file__).with_name("icon.png")), layout="wide")

DATA = st.Page("views/data.py", title="Data", icon=":material/database:", url_path="data")
GROUPS = {
    "Index": [
        st.Page("views/overview.py", title="Overview", icon=":material/dashboard:", default=True),
        st.Page("views/why.py", title="Why", icon=":material/troubleshoot:", url_path="why"),
        st.Page("views/trends.py", title="Trends", icon=":material/show_chart:", url_path="trends"),
    ],
    "Look closer": [
        st.Page("views/versions.py", title="Versions", icon=":material/compare_arrows:", url_path="versions"),
        st.Page("views/segments.py", title="Segments", icon=":material/groups:", url_path="segments"),
        st.Page("views/drift.py", title="Drift", icon=":material/waves:", url_path="drift"),
        st.Page("views/cost.py", title="Cost", icon=":material/payments:", url_path="cost"),
        st.Page("views/traces.py", title="Traces", icon=":material/account_tree:", url_path="traces"),
    ],
    "Run it": [DATA],
}
chosen = st.navigation([p for pages in GROUPS.values() for p in pages], position="hidden")
here = None
with page.problems():
    here = slicebar.current() if data.names() else None
with st.sidebar:
    page.navigation(GROUPS, here)
    with page.problems():
        if here:
            slicebar.draw(here)
        else:
            slicebar.draw_datasets()
with page.problems():
    if here or chosen is DATA:
        chosen.run()
    elif not data.names():
        page.welcome()
