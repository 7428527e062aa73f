"""The Data page's second way in: what is new in a named database of a vendor. People pick names, never addresses."""

from __future__ import annotations

import streamlit as st

import kpi
from app import loading, page


def draw(default: str) -> None:
    """Connection, data set and button; the receipt is shown where that of a load is. Nothing without a connection."""
    with page.problems():
        names = [c.name for c in kpi.connections() if not c.problem]
        if not names:
            return
        st.subheader("Copy from a database", anchor=False)
        st.caption("What is new in a database of Phoenix, MLflow, LiteLLM or Langfuse since it was last copied.")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            connection = st.selectbox("Connection", names, key="copy_connection", width=260,
                                      help="Named by your administrator.")  # fmt: skip
            st.session_state.setdefault("copy_dataset", default)
            name = loading.dataset_name("Copy into data set", "copy_dataset")
            full = st.checkbox("Read everything again", key="copy_full", help="Also what was copied before.")
            go = st.button("Copy", type="primary", icon=":material/database:", key="copy_go")
        if not go or not loading.is_name(name):
            return
        with page.progress() as tell:
            found = kpi.copy(connection, dataset=name, full=full, progress=tell)
        loading.loaded(found)
