"""Versions: is B better than A? Two of them on every metric, where they differ, and which is worth its money."""

import re

import streamlit as st

import kpi
from app import data, once, page, slicebar, tables, text, version_comparison
from kpi.charts import reasons

BELOW = {"where": "Where they differ", "frontier": "Cost and quality"}
VERDICTS = (("worse", "red", "trending_down"), ("better", "green", "trending_up"),
            ("higher", "gray", "arrow_upward"), ("lower", "gray", "arrow_downward"))  # fmt: skip
MOST = 5  # clear differences of a kind named above the chart
FIRST = ("prompt_version", "model", "release")
UNORDERED = ("model", "provider", "environment", "experiment_arm", "deployment_ring")  # names that do not count up
HEAT = ("task_success", "correctness", "escalation_rate", "refusal_rate", "error_rate", "slo_attainment",
        "cost_per_query")  # fmt: skip


def usual(counted: list[tuple[str, int]], named: bool) -> list[str]:
    """The two to begin with: of version numbers the latest two that serve many, else the two most frequent values."""
    served = [v for v, n in counted if 20 * n >= counted[0][1]]
    if not named or len(served) < 2:
        return sorted(v for v, _ in counted[:2])
    return sorted(served, key=lambda v: [int(p) if p.isdigit() else p for p in re.split(r"([0-9]+)", v)])[-2:]


here = slicebar.current()
slot = page.header("Versions: is B better than A?", here)
page.sentence(slot, here)
known = here.profile.dimensions
splits = [*here.versions, *here.cohorts]
if not splits:
    page.end("This data has no version with more than one value.", "Map a column to a version on the Data page.")
dimension = next((d for d in FIRST if d in here.versions), splits[0])
with st.container(horizontal=True, vertical_alignment="bottom"):
    by = page.selectbox("Of", "by", splits, default=dimension, width=200, drop=("a", "b"))
    values = [v for v, _ in known[by]]
    first, second = usual(list(known[by]), named=by in here.versions and by not in UNORDERED)
    a = page.selectbox("A", "a", values, default=first, names=str, width=170)
    b = page.selectbox("B", "b", values, default=second if second != a else first, names=str, width=170)
    running = page.switched("running")
    slicebar.keep("page_running", running)
    st.toggle("Test still running", key="page_running", on_change=page.remember, args=("running", "page_running"),
              help=text.safe(text.TOLD["running"]))  # fmt: skip
    plan = version_comparison.planned(a, b) if running else ""
if a == b:
    page.end("A and B are the same.", "Choose another value for one of them.")

view = here.view.where(**{by: None})
asked = f"source, {a!r}, {b!r}, slice=view.where(**{{{by!r}: None}}), by={by!r}"
checked = [version_comparison.split(here, a, b, view, by=by, plan=plan)] if running else []
found = data.ask(kpi.compare, here.source, a, b, slice=view, by=by, always_valid=running)
frame = found.frame()
told = frame[frame["verdict"] != "not enough data"]
if told.empty:
    remedy = "Widen the window, choose other values or take away a filter."
    page.empty(f"Too little is known of {a} and {b} in this slice.", remedy)
    page.as_python(here, *checked, f"found = kpi.compare({asked}, always_valid={running})")
    st.stop()
below = page.choose("show", list(BELOW), default="where")
cohorts = [d for d in here.cohorts if d != by and len(known[d]) <= 40]
begun = "language" if "language" in cohorts else (cohorts or [""])[0]
within = page.choose("within", cohorts, default=begun, known=here.cohorts)
cells = told.head(0)
if below == "where" and cohorts:
    inside = data.ask(kpi.compare_within, here.source, a, b, slice=view, by=by, within=within, always_valid=running)
    cells = inside.rows
first = cells[cells["metric"].isin(HEAT)].sort_values("metric", key=lambda m: m.map(HEAT.index), kind="stable")
with st.container(border=True, gap="xsmall"):
    st.markdown(f"**{text.safe(kpi.wording.version_headline(a, b, told, first, within), longest=600)}**")
    st.markdown(text.safe(found.sentence, longest=900))
    for verdict, colour, icon in VERDICTS:
        rows = told[told["verdict"] == verdict]
        for row in rows.head(MOST).to_dict("records"):
            st.markdown(f"{text.badge(verdict.capitalize(), icon, colour)} {text.safe(tables.moved(row))}")
        if len(rows) > MOST:
            st.caption(f"and {len(rows[MOST:])} more {text.safe(verdict)}, in the table below")
    for row in told[told["verdict"] == "cannot tell"].head(MOST).to_dict("records"):
        said = row["sentence"].replace(": cannot tell,", ":", 1)
        st.markdown(f"{text.badge('Cannot tell', 'label_off', 'orange')} {text.safe(said, longest=600)}")
    version_comparison.reversals(found.reversals)
st.subheader(text.safe(f"{b} against {a}, every metric"), anchor=False)
once.chart(reasons.forest, told,
           alt=f"Differences of {len(told)} metrics between {a} and {b} with intervals around zero")  # fmt: skip
intervals = "always-valid: they hold however often you look" if running else "95 %, for a single look"
notes = [text.TOLD["forest"], f"Intervals are {intervals}; a user who comes back counts as one."]
if found.adjust:
    held = " and ".join(text.dimension(d).lower() for d in found.adjust)
    notes.append(f"Adjusted: as if both had the same mix of {held}.")
st.caption(text.safe(" ".join(notes), longest=600))
with st.expander("Every number: values, raw and adjusted differences, q, what this volume could have shown"):
    tables.comparison(found)

st.subheader("Look closer", anchor=False)
page.pills("Show", "show", list(BELOW), default="where", names=BELOW.__getitem__)
if below == "where":
    if cohorts:
        page.selectbox("In each", "within", cohorts, default=begun, width=200, known=here.cohorts)
        shown = [m for m in HEAT if m in set(cells["metric"])]
        once.chart(reasons.heat, cells, within=within, metrics=shown,
                   alt=f"Difference between {a} and {b} in each {within}, by metric")  # fmt: skip
        version_comparison.turned(cells, within)
        st.caption(text.safe(text.TOLD["heat"], longest=600))
    else:
        page.empty("This data has no cohort to look into.", "Map a column such as language on the Data page.")

else:
    goal = page.promise("task_success", here)
    target = goal.target if goal else 0.8
    try:
        options = data.ask(kpi.frontier, here.source, view, by=by, target=target)
    except kpi.KpiError as error:
        page.empty(f"{error.message}.", error.hint)
    else:
        st.markdown(text.safe(options.sentence, longest=600))
        quality, cost = (data.metrics()[m].label for m in (options.quality, options.cost))
        once.chart(reasons.frontier, options.options, target=target, cost_unit="usd",
                   alt=f"{quality} against {cost} of each {by}")  # fmt: skip
        st.caption(f"Up: {text.safe(quality.lower())}. Right: {text.safe(cost.lower())}. "
                   "Dashed: the target. Up and to the left is better; lines are 95 % intervals.")  # fmt: skip

calls = [*checked, f"found = kpi.compare({asked}, always_valid={running})", "print(found.sentence)",
         "numbers = found.frame()"]  # fmt: skip
if below == "frontier":
    calls += [f"options = kpi.frontier(source, view.where(**{{{by!r}: None}}), by={by!r}, target={target})"]
elif below == "where" and cohorts:
    calls += [f"cells = kpi.compare_within({asked}, within={within!r}, always_valid={running})"]
page.as_python(here, *calls)
