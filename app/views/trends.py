"""Trends: how has it been? One metric over time, whole or split by one dimension."""

import streamlit as st

import kpi
from app import cards, data, once, page, slicebar, tables, text
from kpi.charts import inline, series as charts

SHAPES = {"value": "As it is", "rolling": "7-day rolling", "percentiles": "Percentiles"}

here = slicebar.current()
slot = page.header("Trends: how has it been?", here)
if not here.timed:
    page.sentence(slot, here, data.requests(here.source, here.view))
    page.end("There is no trend to show: this data has no times.", text.TOLD["no_trend"])
metric, row = page.metric_choice(here, default="task_success")
chosen = data.metrics()[metric]
family = page.percentiles_of(metric, here)
with row:
    splits = ["", *here.versions, *here.cohorts]
    by = page.selectbox("Split by", "by", splits, default="", names=lambda d: text.dimension(d) or "Nothing", width=200)
    shapes = [s for s in SHAPES if s != "percentiles" or len(family) > 1]
    shape = page.pills("Show", "show", shapes, default="value", names=SHAPES.__getitem__, known=list(SHAPES))

values = len(here.profile.dimensions[by]) if by else 1
many = values > charts.MOST_LINES
drawn_groups = len(family) if shape == "percentiles" else min(values, inline.MOST_PANELS)
grain, coarser = page.grain(here, groups=drawn_groups)
drawn_metrics = tuple(family) if shape == "percentiles" and not by else (metric,)
groupings = [kpi.Grouping(metrics=("requests", metric)),
             kpi.Grouping(by=(by,) if by else (), every=grain, intervals=many or not by, metrics=drawn_metrics),
             *([kpi.Grouping(by=(by,), metrics=(metric,))] if by else [])]  # fmt: skip
asked = list(dict.fromkeys(["requests", metric, *drawn_metrics]))
whole, frame, *wide = data.tally(here.source, asked, here.view, groupings)
page.counted(slot, here, data.count(whole))
if frame.empty or frame["value"].isna().all():
    page.nothing(here, f"{chosen.label} cannot be shown over time: no value or no times in this slice.")
    st.stop()

hidden: list[str] = []
if by:
    shown, hidden = kpi.hide_small(wide[0].assign(**{by: wide[0][by].fillna("(none)")}), by=[by])
    frame = frame.assign(**{by: frame[by].fillna("(none)")})
    frame = frame[frame[by].isin(shown[by])]
entry = page.promise(metric, here)
target = entry.target if entry else None
happened = tables.timed(data.events(here.source, here.view), here.view.tz)
subject = "Percentiles" if len(drawn_metrics) > 1 else chosen.label
title = f"{subject} by {grain}" + (f", for every {text.dimension(by).lower()}" if by else "")
st.subheader(text.safe(title), anchor=False)
if frame.empty:
    page.end("No group is large enough to show.", "Widen the window or split by something else.")
alt = f"{title}; {kpi.wording.format_count(len(happened))} events marked"
multiples = len(drawn_metrics) == 1 and by and frame[by].nunique() > charts.MOST_LINES
if len(drawn_metrics) > 1:
    once.chart(charts.percentiles, frame, unit=chosen.unit, target=target, events=happened, alt=alt)
elif multiples:
    once.picture(inline.panels, frame, by=by, unit=chosen.unit)
else:
    smooth = None
    if shape == "rolling":
        smooth = data.ask(kpi.rolling, here.source, [metric], here.view, days=7, by=[by] if by else [])
        smooth = smooth[smooth[by].isin(frame[by])] if by else smooth
    once.chart(charts.trend, frame, unit=chosen.unit, by=by or None, min_n=chosen.min_n, events=happened,
               target=target, smooth=smooth, alt=alt)  # fmt: skip
pointed = bool((frame["n"] < chosen.min_n).any()) and not multiples and shape != "percentiles"
raised = len(drawn_metrics) == 1 and not multiples and frame["value"].min() > 0
told = [
    "The band is the 95 % interval." if not by and frame["low"].notna().any() else "",
    f"Hollow points rest on fewer than {chosen.min_n} requests." if pointed else "",
    "" if frame["complete"].all() else f"{'Hollow, too' if pointed else 'Hollow'}: the {grain} that is not finished.",
    "The axis does not start at zero." if raised else "",
    f"Shown by {grain} to stay readable." if coarser else "",
    f"{kpi.wording.format_count(len(hidden), 'groups')} hidden, among them: {'; '.join(hidden[:8])}." if hidden else "",
]
st.caption(text.safe(" ".join(t for t in told if t), longest=900))

with st.grid(4, min_column_width=210):
    cards.metric(whole[whole["metric"] == metric].iloc[0], "{}, whole window")
with st.expander("How it is counted"):
    st.text(f"{chosen.definition}.\nFormula: {chosen.formula}.\nUnknown values: {chosen.null_rule}.\n"
            f"Interval: {chosen.interval}.")  # fmt: skip

page.as_python(
    here, f"frame = kpi.summarise(source, {list(drawn_metrics)!r}, view, by={[by] if by else []!r}, every={grain!r})",
    f"whole = kpi.summarise(source, [{metric!r}], view)", "events = kpi.events(source, view)",
    *([f"smooth = kpi.rolling(source, [{metric!r}], view, days=7)"] if shape == "rolling" else []),
)  # fmt: skip
