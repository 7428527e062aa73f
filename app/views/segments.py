"""Segments: who is left behind? Any metric by any cohort against the whole; small groups hidden, with the reason."""

import streamlit as st

import kpi
from app import cards, charts, data, page, slicebar, tables, text

SHOWN = 40

here = slicebar.current()
slot = page.header("Segments: who is left behind?", here)
splits = [*here.cohorts, *here.versions]
if not splits:
    page.sentence(slot, here)
    page.empty("This data has no cohort with more than one value.", "Map a column to a cohort on the Data page.")
    st.stop()
metric, row = page.metric_choice(here, default="task_success", kinds=("rate", "ratio", "quantile", "incidence"))
with row:
    by = page.selectbox("Cohort", "by", splits, default=splits[0], width=280)
chosen = kpi.METRICS[metric]

groupings = [kpi.Grouping(metrics=("requests", metric)), kpi.Grouping(by=(by,), metrics=(metric,))]
total, frame = data.tally(here.source, ["requests", metric], here.view, groupings)
page.sentence(slot, here, data.count(total))
if not data.count(total):
    page.nothing(here)
    st.stop()
whole = total[total["metric"] == metric].iloc[0]
frame = frame.assign(**{by: frame[by].fillna("(none)")})
frame = kpi.judge_frame(frame, register=data.register(here.source))
shown, hidden = kpi.hide_small(frame, by=[by])
thin = shown[(shown["n"] < chosen.min_n) | shown["value"].isna()]
shown = shown.drop(thin.index).sort_values("value", ascending=chosen.direction != "down")

value = kpi.wording.format_value(whole["value"], whole["unit"])
st.subheader(text.safe(f"{chosen.label} by {text.dimension(by).lower()}"), anchor=False)
order = "Worst first. " if chosen.direction != "none" else ""
st.caption(text.safe(f"{order}The dashed line is the whole slice: {value}. Bars are 95 % intervals."))
if shown.empty:
    page.empty(
        "No group is large enough to show.",
        "Widen the window or pick another cohort." if here.timed else "Pick another cohort.",
    )
else:
    look = cards.colours()
    ordered = list(shown[by])[:SHOWN]
    drawn = tables.apart(shown.head(SHOWN), whole, chosen, look)
    st.altair_chart(
        charts.dots(drawn, by=by, unit=chosen.unit, whole=whole["value"], colours=look, order=ordered),
        alt=f"{chosen.label} of {len(ordered)} groups of {by} with intervals, against {value} in the whole slice",
    )
    gap = kpi.gap(shown, dimension=by) if chosen.kind == "rate" else None
    if gap is not None:
        size = kpi.wording.format_change(gap.observed, "share").lstrip("+")
        sure = "more than equal groups of these sizes would show"
        noise = "no more than equal groups of these sizes could show"
        st.markdown(text.safe(f"{gap.worst} and {gap.best} lie {size} apart: {sure if gap.low > 0 else noise}."))
few = [f"{g}: {n} requests, fewer than {chosen.min_n}" for g, n in zip(thin[by], thin["n"], strict=True)]
if hidden or few:
    with st.expander(f"{len(hidden) + len(few)} groups hidden", icon=":material/visibility_off:"):
        st.text("\n".join([*hidden, *few]))
if len(shown):
    with st.expander("As a table"):
        tables.groups(shown, by)

page.as_python(
    here,
    f"whole = kpi.summarise(source, [{metric!r}], view)",
    f"groups = kpi.judge_frame(kpi.summarise(source, [{metric!r}], view, by=[{by!r}]))",
    f"shown, hidden = kpi.hide_small(groups, by=[{by!r}])",
)
