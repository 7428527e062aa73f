"""Segments: who is left behind? Any metric by any cohort against the whole; small groups hidden, with the reason."""

import streamlit as st

import kpi
from app import cards, charts, data, page, slicebar, tables, text

SHOWN = 40

here = slicebar.current()
requests = page.header("Segments: who is left behind?", here)
if not requests:
    page.nothing(here)
    st.stop()
splits = [*here.cohorts, *here.versions]
if not splits:
    page.empty("This data has no cohort with more than one value.", "Map a column to a cohort on the Data page.")
    st.stop()

kinds = ("rate", "ratio", "quantile", "incidence")
metric = page.metric_choice(here, default="task_success", kinds=kinds)
by = page.selectbox("Cohort", "by", splits, default=splits[0], width=280)
chosen = kpi.METRICS[metric]

whole = data.summarise(here.source, [metric], here.view).iloc[0]
frame = data.judged(here.source, [metric], here.view, by=[by])
frame = frame.assign(**{by: frame[by].fillna("(none)")})
shown, hidden = kpi.hide_small(frame, by=[by])
thin = shown[shown["n"] < chosen.min_n]
shown = shown[(shown["n"] >= chosen.min_n) & shown["value"].notna()]
shown = shown.sort_values("value", ascending=chosen.direction != "down")

value = kpi.wording.format_value(whole["value"], whole["unit"])
st.subheader(text.safe(f"{chosen.label} by {text.dimension(by).lower()}"), anchor=False)
st.caption(text.safe(f"Worst first. The dashed line is the whole slice: {value}. Bars are 95 % intervals, with users as clusters."))
if shown.empty:
    page.empty("No group is large enough to show.", "Widen the window or pick another cohort.")
else:
    look = cards.colours()
    ordered = list(shown[by])[:SHOWN]
    drawn = tables.apart(shown.head(SHOWN), whole, chosen, look)
    st.altair_chart(
        charts.dots(drawn, by=by, unit=chosen.unit, whole=whole["value"], colours=look, order=ordered),
        alt=f"{chosen.label} of {len(ordered)} groups of {by} with intervals, against {value} in the whole slice",
    )  # fmt: skip
    if chosen.kind == "rate":
        found = kpi.gap(shown, dimension=by)
        if found is not None:
            size = kpi.wording.format_change(found.observed, "share")
            sure = "more than equal groups of these sizes would show" if found.low > 0 else "no more than equal groups of these sizes could show"
            st.markdown(text.safe(f"{found.worst} and {found.best} lie {size.lstrip('+')} apart: {sure}."))
left = [*hidden, *(f"{g}: {n} requests, fewer than {chosen.min_n}" for g, n in zip(thin[by], thin["n"], strict=True))]
if left:
    with st.expander(f"{len(left)} groups hidden", icon=":material/visibility_off:"):
        st.text("\n".join(left))
if len(shown):
    with st.expander("As a table"):
        tables.groups(shown, by)

page.as_python(
    here,
    f"whole = kpi.summarise(source, [{metric!r}], view)",
    f"groups = kpi.judge_frame(kpi.summarise(source, [{metric!r}], view, by=[{by!r}]))",
    f"shown, hidden = kpi.hide_small(groups, by=[{by!r}])",
)
