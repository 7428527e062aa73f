"""Entry point, twice: the server imports `served` and puts the gate before it; every run of a session draws the app.

A page is config, navigation that carries the slice, the slice bar and the view.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.starlette import App

from app import gate


def draw() -> None:
    """One run of a session."""
    # not in the server's import: their caches want a server that runs
    from app import data, loading, once, page, slicebar

    st.set_page_config(page_title="AI Index", page_icon=str(Path(__file__).with_name("icon.png")), layout="wide")
    once.style()
    loaded = st.Page("views/data.py", title="Data", icon=":material/database:", url_path="data")
    groups = {
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
        "Run it": [loaded],
    }
    chosen = st.navigation([p for pages in groups.values() for p in pages], position="hidden")
    here, room = None, st.container()
    with page.problems():
        here = slicebar.current() if data.names() else None
    page.name(chosen, here, room)
    with st.sidebar:
        page.navigation(groups, here)
        with page.problems():
            if here:
                slicebar.draw(here)
            else:
                slicebar.draw_datasets()
    with page.problems():
        if here or chosen is loaded:
            chosen.run()
        elif not data.names():
            page.welcome()
            loading.draw("default")


@asynccontextmanager
async def warmed(_app: Any) -> AsyncIterator[None]:
    """Imports of the pages and what they ask for, made before the door opens: the first visitor waits for none."""
    views = ("page", "slicebar", "cards", "findings", "tables", "change_breakdown", "cohorts", "loading")
    for name in (*(f"app.{v}" for v in views), "kpi.govern.story", "kpi.govern.scorecard", "kpi.results"):
        import_module(name)
    yield


if __name__ == "__main__":
    draw()
else:  # `streamlit run app/main.py` finds this App in the source and serves it, as any ASGI server can
    served = App(__file__, middleware=gate.MIDDLEWARE, exception_handlers={500: gate.broken}, lifespan=warmed)
