"""The Data page's second way in: what is new in a named database of a vendor. People pick names, never addresses."""

from __future__ import annotations

import streamlit as st

import kpi
from app import data, loading, page, text


def draw(default: str) -> None:
    """Connection, data set and button; the receipt is shown where that of a load is. Nothing without a connection."""
    with page.problems():
        names = [c.name for c in kpi.connections() if not c.problem]
        if not names:
            return
        st.subheader("Copy from a database", anchor=False)
        st.caption("What is new in a database of Phoenix, MLflow, LiteLLM or Langfuse since it was last copied.")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            connection = st.selectbox(
                "Connection", names, key="copy_connection", width=260, help="Named by your administrator."
            )
            st.session_state.setdefault("copy_dataset", default)
            name = st.text_input(
                "Copy into data set", key="copy_dataset", help="Small letters, digits, - and _.", width=260
            ).strip()
            full = st.checkbox("Read everything again", key="copy_full", help="Also what was copied before.")
            go = st.button("Copy", type="primary", icon=":material/database:", key="copy_go")
        if not go:
            return
        if not loading.NAME.match(name):
            st.warning("Name the data set with small letters, digits, - and _.", icon=":material/edit:")
            return
        bar = st.progress(0.0, "Starting")

        def tell(share: float, told: str) -> None:
            bar.progress(min(max(share, 0.0), 1.0), text.safe(told))

        try:
            found = kpi.copy(
                connection,
                dataset=name,
                full=full,
                progress=tell,
            )
        finally:
            bar.empty()
        st.session_state["_receipt"] = found.to_json()
        data.forget()
        st.rerun()
