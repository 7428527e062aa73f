"""Findings on a page: one sentence each with its effect, owner, next step and the ways on. Draws; never counts."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

import kpi
from app import data, once, page, text
from app.slicebar import PageContext
from kpi.charts import inline


def block(told: kpi.Story, found: Sequence[kpi.Finding], here: PageContext, *, why: bool = True) -> None:
    """The findings one below the other; a calm line where there is none. why: as for `one`."""
    if not found:
        mark = "check_circle" if told.compared else "help"
        st.markdown(f"{text.icon(mark)} {text.safe(told.sentence, longest=600)}")
        return
    with st.container(border=True, gap="small"):
        for finding in found:
            one(finding, told, here, why=why)


def one(finding: kpi.Finding, told: kpi.Story, here: PageContext, *, why: bool = True) -> None:
    """Kind, sentence, effect around zero, owner, next step; the ways to Why and to a trace.

    why: False on the page Why itself, which shows the path to the cause instead.
    """
    word, icon, colour = text.WORDS["finding"][finding.kind]
    left, right = st.columns([5, 1], gap="small", vertical_alignment="center")
    with left, st.container(gap="xxsmall"):
        if not why:
            st.markdown(f"#### {text.safe(path(finding))}")
        st.markdown(f"{text.badge(word, icon, colour)} {text.safe(finding.sentence, longest=600)}")
        owner = f"{finding.owner}: " if finding.owner else ""
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.caption(f":material/arrow_forward: {text.safe(owner + finding.action)}", width="content")
            if why:
                page.way("why", "Why", told.view, metric=finding.metric)
            rows = kpi.rows_of(finding, told.view, kpi.resolve(here.source, told.view))
            traces(rows, finding.metric)
    with right:
        once.picture(inline.effect, finding, colour=colour)


def traces(view: kpi.Slice, metric: str, label: str = "Traces") -> None:
    """The way to the requests of a slice in which a metric shows at its worst, with the first of them open."""
    condition, sort = kpi.evidence(data.metrics()[metric])
    page.way("traces", label, view, **{"if": condition, "sort": sort}, trace="first")


def path(finding: kpi.Finding) -> str:
    """Where and since when: "Language es › Prompt version p7 › since 28 Oct". Plain text."""
    where = [f"{text.dimension(d)} {v}" for d, v in finding.where.items()]
    version = [f"{text.dimension(finding.version_of)} {finding.version}"] if finding.version_of else []
    since = f"since {finding.since.day} {finding.since:%b}"
    return " › ".join([*(where or ["Everyone"]), *version, since])
