"""Drift: has the world changed? One column, now and in the baseline, and its distance over time."""

import streamlit as st

import kpi
from app import cards, data, once, page, slicebar, tables, text
from kpi.charts import spans as trace_charts

here = slicebar.current()
slot = page.header("Drift: has the world changed?", here)
page.sentence(slot, here)
columns = data.ask(kpi.drift_columns, here.source, gates=())
if not columns:
    page.end("This data has no column whose drift could be shown.", "Map cohorts, outcomes or tokens on the Data page.")
here = page.compared(here)
page.sentence(slot, here)

column = page.selectbox("Column", "col", columns, default="intent" if "intent" in columns else columns[0], width=280)
found = data.ask(kpi.drift, here.source, column, here.view)
state = "watch" if found.distance.clear else "on_target" if found.distance.value == found.distance.value else "no_data"
word = {"watch": "Changed", "on_target": "No clear change", "no_data": "Not enough data"}[state]
with st.container(border=True, horizontal=True, vertical_alignment="center"):
    cards.badge(state, word=word)
    st.markdown(text.safe(found.sentence), width="content")

st.subheader(text.safe(f"{text.dimension(column)} now and in the baseline"), anchor=False)
once.chart(trace_charts.distributions, found.distribution,
           alt=f"Share of requests by {column}, now and in the baseline")  # fmt: skip
if found.turnover:
    st.caption(text.safe(found.turnover, longest=900))
if len(found.series):
    st.subheader("Distance from the baseline over time", anchor=False)
    happened = tables.timed(data.events(here.source, here.view), here.view.tz)
    once.chart(
        trace_charts.distance, found.series, events=happened,
        alt=f"Jensen-Shannon distance of {column} from the baseline by {here.view.grain}, and the noise level",
    )  # fmt: skip
    st.caption(text.safe(text.TOLD["distance"]))
page.as_python(here, f"found = kpi.drift(source, {column!r}, view)", "print(found.sentence)",
               "distribution, series = found.distribution, found.series",
               "new, gone = found.appeared, found.vanished")  # fmt: skip
