"""Why: what moved it? One KPI: what changed and for whom, since when, and the parts that the change is made of."""

import math
from dataclasses import replace

import pandas as pd
import streamlit as st

import kpi
from app import change_breakdown, data, failure_contrast, findings, once, page, slicebar, text
from kpi.charts import reasons, series as charts

SHOWN = {"parts": "Groups and time", "traits": "Failed against successful"}
KINDS = ("rate", "ratio", "incidence", "quantile")

here = slicebar.current()
slot = page.header("Why: what moved it?", here)
metric, row = page.metric_choice(here, default="task_success", kinds=KINDS)
with row:
    look_at = page.pills("Look at", "show", list(SHOWN), default="parts", names=SHOWN.__getitem__)
chosen = data.metrics()[metric]
parts = look_at == "parts"
page.sentence(slot, here)
looked = page.compared(here) if parts else here
view, resolved = looked.view, looked.resolved
split = None
if parts:
    try:
        view, split = change_breakdown.change(here, metric, view)
    except kpi.KpiError as error:
        page.sentence(slot, replace(here, view=view, resolved=resolved))
        page.problem(error)
        page.as_python(replace(here, view=view), "changed = kpi.story(source, view)")
        st.stop()
    resolved = kpi.resolve(here.source, view)
page.sentence(slot, replace(here, view=view, resolved=resolved))

if split:
    with st.container(border=True):
        change_breakdown.headline(split, chosen, page.promise(metric, here))
st.subheader("What changed, for whom, since when", anchor=False)
room = st.container()
with room:
    waiting = st.skeleton(height=120)
over_time = st.container()
python = change_breakdown.draw(split, chosen, view) if split else failure_contrast.draw(here, view, metric)
page.as_python(replace(here, view=view), *python, "changed = kpi.story(source, view)",
               f"about = [f for f in changed.findings if {metric!r} in (f.metric, *f.also)]")  # fmt: skip

told = data.story(here.source, view)  # last: it takes longest, and nothing above has to wait for it
waiting.empty()
mine = told.about(chosen, split.change if split else math.nan)
own = [f for f in mine if f.metric == metric]
with room:
    if mine:
        once.part(findings.block, told, mine, here, why=False)
    else:
        calm = f"No group's {chosen.label.lower()} changed for certain."
        more = "What changed in other KPIs stands below." if told.findings else told.sentence
        st.markdown(f":material/check_circle: {text.safe(calm)} {text.safe(more, longest=600)}")
        findings.traces(view, metric)
with over_time:
    if split and split.series is not None and split.series["value"].notna().any():
        st.subheader(text.safe(f"{chosen.label} by day, before and now"), anchor=False)
        governed = page.promise(metric, here)
        once.chart(charts.trend, split.series, unit=chosen.unit, min_n=chosen.min_n,
                   target=governed.target if governed else None,
                   events=pd.concat([change_breakdown.begins(resolved, view.tz), reasons.marks(own)]),
                   alt=f"{chosen.label} by day over the window and the one before; changes marked")  # fmt: skip
others = [f for f in told.findings if f not in mine]
if others:
    with st.expander(f"{len(others)} findings about other KPIs", icon=":material/list:"):
        once.part(findings.block, told, others, here)
