"""Trends: how has it been? One metric over time, whole or split by one dimension."""

import streamlit as st

import kpi
from app import cards, charts, data, page, slicebar, tables, text

here = slicebar.current()
requests = page.header("Trends: how has it been?", here)
if not requests:
    page.nothing(here)
    st.stop()

metric = page.metric_choice(here, default="task_success")
chosen = kpi.METRICS[metric]
family = page.percentiles_of(metric, here)
with st.container(horizontal=True, vertical_alignment="bottom"):
    by = page.selectbox("Split by", "by", ["", *here.versions, *here.cohorts], default="", names=lambda d: text.dimension(d) or "Nothing", width=200)  # fmt: skip
    options = ["value", "rolling", *(["percentiles"] if len(family) > 1 else [])]
    shape = page.pills("Show", "show", options, default="value", names={"value": "As it is", "rolling": "7-day rolling", "percentiles": "Percentiles"}.get)  # fmt: skip

grain, coarser = page.grain(here, groups=len(here.profile.dimensions.get(by, ())[: charts.MOST_LINES]) if by else 1)
frame = data.summarise(here.source, [metric], here.view, by=[by] if by else [], every=grain)
if frame.empty or frame["value"].isna().all():
    page.nothing(here, f"{chosen.label} cannot be shown over time: no value or no times in this slice.")
    st.stop()

entry = page.promise(metric)
happened = tables.timed(data.events(here.source, here.view), here.view.tz)
title = f"{chosen.label} by {grain}" + (f", for every {text.dimension(by).lower()}" if by else "")
st.subheader(text.safe(title), anchor=False)
groups: list[str] = []
if by:
    frame, hidden = kpi.hide_small(frame.assign(**{by: frame[by].fillna("(none)")}), by=[by])
    groups = list(dict.fromkeys(frame[by]))
described = f"{title}; {kpi.wording.format_count(len(happened))} events marked"
look = cards.colours()
if shape == "percentiles" and not by:
    several = data.summarise(here.source, family, here.view, every=grain)
    drawn = charts.percentiles(several, unit=chosen.unit, colours=look, target=entry.target if entry else None, events=happened)  # fmt: skip
elif len(groups) > charts.MOST_LINES:
    drawn = charts.multiples(frame, unit=chosen.unit, by=by, colours=look)
else:
    smooth = None
    if shape == "rolling":
        smooth = data.rolling(here.source, [metric], here.view, days=7, by=[by] if by else [])
        smooth = smooth[smooth[by].isin(groups)] if by else smooth
    drawn = charts.trend(
        frame, unit=chosen.unit, colours=look, by=by or None, min_n=chosen.min_n, events=happened,
        target=entry.target if entry else None, smooth=smooth,
    )  # fmt: skip
st.altair_chart(drawn, alt=described)
told = ["The band is the 95 % interval." if not by else "", f"Hollow points rest on fewer than {chosen.min_n} requests.",
        "The axis does not start at zero.", f"Shown by {grain} to stay readable." if coarser else ""]  # fmt: skip
st.caption(text.safe(" ".join(t for t in told if t)))
if by and hidden:
    st.caption(text.safe(f"Hidden: {'; '.join(hidden[:8])}."))

whole = data.summarise(here.source, [metric], here.view)
with st.grid(4, min_column_width=210):
    r = whole.iloc[0]
    cards.number(f"{chosen.label}, whole window", r["value"], r["unit"], low=r["low"], high=r["high"], n=r["n"], help=f"{chosen.definition}. {chosen.formula}.")  # fmt: skip
with st.expander("How it is counted"):
    st.text(f"{chosen.definition}.\nFormula: {chosen.formula}.\nUnknown values: {chosen.null_rule}.\nInterval: {chosen.interval}.")

call = f"kpi.summarise(source, [{metric!r}], view, by={[by] if by else []!r}, every={grain!r})"
page.as_python(here, f"frame = {call}", f"whole = kpi.summarise(source, [{metric!r}], view)", "events = kpi.events(source, view)")
