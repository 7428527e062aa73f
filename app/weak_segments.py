"""Who fails most: the segments of a slice that are clearly worse than its rest, one sentence each. Never counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

import kpi
from app import data, findings, slicebar, text
from app.slicebar import PageContext

words = kpi.wording
MOST = 5
KINDS = ("rate", "ratio", "incidence")  # of metrics of which a segment can hold a share


def _has(metric: str) -> bool:
    """Whether a metric has a worse side that can be searched; of some, more is neither good nor bad."""
    return data.metrics()[metric].direction != "none" and data.metrics()[metric].kind in KINDS


def python(metric: str) -> list[str]:
    """The Python behind it."""
    if not _has(metric):
        return []
    return [f"kpi.weak_segments(source, view, metric={metric!r}, most={MOST}).segments"]


def draw(here: PageContext, metric: str) -> None:
    """At most five segments of one and two values, worst first, with the ways on; a calm line where there is none."""
    chosen = data.metrics()[metric]
    if not _has(metric):
        return
    title = f"Where {chosen.label.lower()} is worst" if chosen.kind == "ratio" else "Who fails most"
    st.subheader(text.safe(title), anchor=False)
    with st.spinner("Searching every group and pair", show_time=False):
        found = data.ask(kpi.weak_segments, here.source, here.view, metric=metric, most=MOST)
    if found.segments.empty:
        mark = "check_circle" if found.looked else "help"
        st.markdown(f"{text.icon(mark)} {text.safe(found.sentence, longest=600)}")
        return
    with st.container(border=True, gap="small"):
        for row in found.segments.itertuples():
            _one(row, here, metric)
    searched = f"{words.format_count(found.looked)} groups and pairs of {len(found.dimensions)} dimensions searched"
    sure = "of those named at most one in 20 is there by chance. First what adds most beyond the rest."
    st.caption(text.safe(f"{searched}; {sure} {found.space.sentence if found.space else ''}", longest=900))


def _one(row: Any, here: PageContext, metric: str) -> None:
    rest = row.sentence.removeprefix(row.name)
    with st.container(gap="xxsmall"):
        st.markdown(f"**{text.safe(row.name, longest=160)}**{text.safe(rest, longest=400)}")
        with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
            findings.traces(here.view.where(**row.where), metric)
            st.button("Only these requests", icon=":material/filter_alt:", type="tertiary",
                      key=f"only_{row.Index}", on_click=_narrow, args=(row.where,))  # fmt: skip


def _narrow(where: Mapping[str, str]) -> None:
    """Callback: carry a segment into the slice; what it fixes can no longer be split by."""
    for key in ("by", "with"):
        if st.query_params.get(key) in where:
            st.query_params.pop(key)
    slicebar.go(slicebar.asked().where(**where))
