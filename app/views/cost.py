"""Cost: where does the money go? In all, per query, per resolved task; in parts, over time and by any dimension."""

import streamlit as st

import kpi
from app import cards, charts, data, page, slicebar, tables, text

PARTS = {"inference": "Inference", "retrieval": "Retrieval", "orchestration": "Orchestration", "tool": "Tools", "review": "Human review"}  # fmt: skip
HEAD = ("total_cost", "cost_per_query", "cost_per_answered", "cost_per_resolved", "cost_p50", "cost_p95", "cost_worst")

here = slicebar.current()
requests = page.header("Cost: where does the money go?", here)
if not requests:
    page.nothing(here)
    st.stop()
able = [m for m in HEAD if here.profile.supports(kpi.METRICS[m])]
if not able:
    page.cannot(here, "cost_per_query")
    st.stop()

numbers = data.judged(here.source, able, here.view, by=[])
with st.grid(4, min_column_width=200, gap="small"):
    for r in numbers.itertuples():
        m = kpi.METRICS[r.metric]
        cards.number(m.label, r.value, r.unit, low=r.low, high=r.high, n=r.n, help=f"{m.definition}. {m.formula}.", state=r.state)  # fmt: skip

parts = {f"{p}_total": label for p, label in PARTS.items() if here.profile.supports(kpi.METRICS[f"{p}_total"])}
if parts:
    look = cards.colours()
    grain, _ = page.grain(here, groups=len(parts))
    over = data.summarise(here.source, list(parts), here.view, every=grain)
    if len(over):
        st.subheader(f"Spend by {grain} and part", anchor=False)
        st.altair_chart(
            charts.stacked(over.assign(part=over["metric"].map(parts)), colours=look, over_time=True),
            alt=f"Total cost by {grain}, stacked by part",
        )  # fmt: skip
    splits = [*here.versions, *here.cohorts]
    if splits:
        with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
            st.subheader("Spend by group and part", anchor=False, width="content")
            by = page.selectbox("A bar for every", "by", splits, default="model" if "model" in splits else splits[0], width=220)
        split = data.summarise(here.source, list(parts), here.view, by=[by])
        split = split.assign(**{by: split[by].fillna("(none)")}, part=split["metric"].map(parts))
        split, hidden = kpi.hide_small(split, by=[by])
        if len(split):
            st.altair_chart(charts.stacked(split, colours=look, over_time=False, by=by), alt=f"Total cost by {by}, stacked by part")
        if hidden:
            st.caption(text.safe(f"Hidden: {'; '.join(hidden[:8])}."))
        tables.groups(data.judged(here.source, [m for m in able if m != "cost_worst"], here.view, by=[by]), by)
    unpriced = data.summarise(here.source, ["priced_share"], here.view).iloc[0]
    if unpriced["n"]:
        shown = kpi.wording.format_value(unpriced["value"], "share")
        st.caption(text.safe(f"{shown} of the requests that used tokens have a known price; the others are left out, not counted as zero."))

page.as_python(
    here,
    f"numbers = kpi.summarise(source, {able!r}, view)",
    f"over_time = kpi.summarise(source, {list(parts)!r}, view, every={grain!r})" if parts else "",
    f"split = kpi.summarise(source, {list(parts)!r}, view, by=[{by!r}])" if parts and splits else "",
)
