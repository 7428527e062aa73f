"""Segments: is it fair, and who is left behind? Gaps by cohort and metric, then one of them group by group."""

import streamlit as st

import kpi
from app import cards, cohorts, data, findings, once, page, slicebar, text, weak_segments
from kpi.charts import series as charts

MOST_DIMENSIONS = 8
SHOWN = 40
NO_CROSSING = "none"

here = slicebar.current()
slot = page.header("Segments: who is left behind?", here)
able = [d for d in here.cohorts if len(here.profile.dimensions[d]) <= 60]
splits = [*able, *here.versions]
if not splits:
    page.sentence(slot, here)
    page.end("This data has no cohort with more than one value.", "Map a column to a cohort on the Data page.")
first = st.container()  # hidden regressions go on top, but are searched last

metric, row = page.metric_choice(here, default="task_success", kinds=("rate", "ratio", "incidence", "quantile"))
with row:
    free = [d for d in splits if len(here.view.filter_on(d)) != 1]  # what the slice fixes has one group
    by = page.selectbox("Cohort", "by", splits, default=(free or splits)[0], width=220)
    others = [NO_CROSSING, *(d for d in able if d != by and d not in data.metrics()[metric].made_of)]
    usual = next((d for d in free if d in others), others[min(1, len(others) - 1)])
    crossed = page.selectbox("Crossed with", "with", others, default=usual, width=220, known=able)
chosen = data.metrics()[metric]
compared = [m for m in cohorts.compared() if here.profile.supports(data.metrics()[m])]
metrics = list(dict.fromkeys([*compared, metric]))
dimensions = list(dict.fromkeys([*able[:MOST_DIMENSIONS], by]))
pair = [] if crossed == NO_CROSSING else [(by, crossed)]
found = data.ask(kpi.disparity, here.source, here.view, by=[*dimensions, *pair], metrics=metrics)
page.counted(slot, here, data.requests(here.source, here.view))

st.subheader(text.safe(f"{chosen.label} by {text.dimension(by).lower()}"), anchor=False)
mine = found.groups[(found.groups["dimension"] == by) & (found.groups["metric"] == metric)]
mine = mine.sort_values("value", ascending=chosen.direction != "down")
whole = found.whole[found.whole["metric"] == metric].iloc[0]
strata = found.adjusted_for if found.adjusted_for != by else None
if mine.empty:
    page.empty("No group is large enough to show.",
               "Widen the window or pick another cohort." if here.timed else "Pick another cohort.")  # fmt: skip
else:
    gaps = found.gaps[(found.gaps["dimension"] == by) & (found.gaps["metric"] == metric)]
    worst = str(gaps["worst"].iloc[0] if len(gaps) else mine["group"].iloc[0])
    told = kpi.likely(found, by, worst, metric=metric)
    with st.container(border=True, gap="xsmall"):
        if len(gaps):
            gap = next(gaps.itertuples())
            clear = gap.q <= cohorts.CLEAR
            cards.badge("off_target" if clear else "on_target", word="Clear gap" if clear else "No clear gap")
            st.markdown(text.safe(cohorts.sentence(gap, strata), longest=600))
        else:
            st.markdown("Only one group is large enough to show: there is nothing to compare it with.")
        if told is not None:
            st.markdown(f":material/lightbulb: {text.safe(f'{worst}: {told.sentence}', longest=600)}")
            st.caption(f":material/arrow_forward: {text.safe(told.action)}")
        findings.traces(here.view.where(**{by: worst}), metric, f"Traces of {worst[:60]}")
    value = kpi.wording.format_value(whole["value"], whole["unit"])
    order = list(mine["group"])[:SHOWN]
    once.chart(
        charts.dots, cohorts.tinted(mine.head(SHOWN), cards.colours()), by="group", unit=chosen.unit,
        whole=whole["value"], order=order,
        alt=f"{chosen.label} of {len(order)} groups of {by} with intervals, against {value} in the whole slice",
    )  # fmt: skip
    sure = "Colour only where the difference is clear among all that this page compares (q at most 0.05)."
    st.caption(text.safe(f"Dashed: the whole slice, {value}. Bars: 95 %. {sure}"))
    cohorts.groups(mine, by, strata=strata)
hidden = [f"{text.dimension(d)}, {reason}" for d, reasons in found.hidden.items() for reason in reasons]
if hidden:
    with st.expander(f"{len(hidden)} small groups hidden", icon=":material/visibility_off:"):
        st.text("\n".join(hidden))

worst_of_all = st.container()  # searched once everything else is drawn

if pair:
    name = f"{by} × {crossed}"
    both = found.groups[(found.groups["dimension"] == name) & (found.groups["metric"] == metric)]
    st.subheader(text.safe(f"{chosen.label} by {text.dimension(by).lower()} and {crossed}"), anchor=False)
    if both.empty:
        st.caption("No pair is large enough to show.")
    else:
        once.chart(cohorts.heat, both, rows=by, columns=crossed,
                   alt=f"{chosen.label} of {len(both)} pairs of {by} and {crossed}")  # fmt: skip
        st.caption("Colour only where a pair differs clearly from the whole; empty: too few users to show.")
st.subheader("Gaps of every cohort", anchor=False)
single = found.gaps[found.gaps["dimension"].isin(dimensions)]
if len(single):
    cohorts.matrix(single, metrics)
else:
    st.caption("No cohort has two groups that are large enough to compare.")

page.as_python(here, f"found = kpi.disparity(source, view, by={[*dimensions, *pair]!r}, metrics={metrics!r})",
               "found.gaps, found.groups, found.hidden",
               *([f"kpi.likely(found, {by!r}, {worst!r}, metric={metric!r})"] if len(mine) else []),
               *weak_segments.python(metric),
               "hidden = [f for f in kpi.story(source, view).findings if f.kind == 'hidden_regression']")  # fmt: skip
with worst_of_all:
    weak_segments.draw(here, metric)
if here.timed:
    with first:
        with st.spinner("Looking for hidden regressions", show_time=False):
            story = data.story(here.source, here.view)
        behind = [f for f in story.findings if f.kind == "hidden_regression"]
        if behind:
            st.subheader("Hidden regressions", anchor=False)
            once.part(findings.block, story, behind, here)
        elif story.compared:
            st.caption(":material/check_circle: No group got worse behind a total that did not.")
