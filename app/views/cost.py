"""Cost: where does the money go? In all, per query, per resolved task; in parts, over time and by any dimension."""

import pandas as pd
import streamlit as st

import kpi
from app import cards, data, once, page, slicebar, tables, text
from kpi.charts import series as charts

PARTS = {"inference_total": "Inference", "retrieval_total": "Retrieval", "orchestration_total": "Orchestration",
         "tool_total": "Tools", "review_total": "Human review"}  # fmt: skip
HEAD = ("total_cost", "cost_per_query", "cost_per_answered", "cost_per_resolved", "cost_p50", "cost_p95", "cost_worst")
ORIGIN = ("priced_share", "computed_share", "computed_deviation")
UNPRICED = kpi.Grouping(by=("unpriced_model",), intervals=False, metrics=("requests",))


def without_price(split: pd.DataFrame) -> None:
    """Models that have no price, and what to do about it."""
    models = kpi.unpriced_models(split)
    if len(models):
        st.markdown(text.safe("These models have no price, so that no cost counts their requests. Give each a row:"))
        tables.unpriced(models)
        st.code(f"kpi prices --init  # writes prices.toml\nkpi reprice {here.source.name}", language="bash")


here = slicebar.current()
slot = page.header("Cost: where does the money go?", here)
able = tuple(m for m in HEAD if here.profile.supports(data.metrics()[m]))
parts = {m: label for m, label in PARTS.items() if here.profile.supports(data.metrics()[m])}
shown = able or tuple(parts)  # where only parts are known, they are what there is to show
unpriced = here.profile.filled.get("unpriced_model", 0) > 0
if not shown:
    page.sentence(slot, here)
    page.cannot(here, "cost_per_query")
    if unpriced:
        without_price(data.tally(here.source, ["requests"], here.view, [UNPRICED])[0])
    st.stop()
splits = [*here.versions, *here.cohorts]
by = page.choose("by", splits, default="model" if "model" in splits else (splits or [""])[0])
grain, _ = page.grain(here, groups=len(parts))
split_metrics = tuple(dict.fromkeys([*parts, *(m for m in shown if m != "cost_worst")]))
groupings = [kpi.Grouping(metrics=("requests", *shown, *ORIGIN))]
groupings += [kpi.Grouping(every=grain, intervals=False, metrics=tuple(parts))] if parts and here.timed else []
groupings += [kpi.Grouping(by=(by,), metrics=split_metrics)] if by else []
groupings += [UNPRICED] if unpriced else []
frames = iter(data.tally(here.source, list(dict.fromkeys(["requests", *shown, *ORIGIN, *parts])), here.view, groupings))
whole = next(frames)
page.counted(slot, here, data.count(whole))

register = kpi.register_of(here.source)
with st.grid(4, min_column_width=200, gap="small"):
    for _, row in kpi.judge_frame(whole[whole["metric"].isin(shown)], register=register).iterrows():
        cards.metric(row)
if not able:
    st.caption("Only these parts of the cost are known: what a request cost in all is not.")
if parts and here.timed:
    over = next(frames)
    if len(over):
        st.subheader(text.safe(f"Spend by {grain} and part"), anchor=False)
        over = over.assign(part=over["metric"].map(parts))
        once.chart(charts.stacked, over, over_time=True, alt=f"Total cost by {grain}, stacked by part")
if by:
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.subheader("Spend by group and part", anchor=False, width="content")
        page.selectbox("A bar for every", "by", splits, default=by, width=220)
    split = next(frames)
    split, hidden = kpi.hide_small(split.assign(**{by: split[by].fillna("(none)")}), by=[by])
    stack = split[split["metric"].isin(parts)]
    if len(stack):
        stack = stack.assign(part=stack["metric"].map(parts))
        once.chart(charts.stacked, stack, over_time=False, by=by, alt=f"Total cost by {by}, stacked by part")
    tables.groups(kpi.judge_frame(split[split["metric"].isin(shown)], register=register), by)
    if hidden:
        st.caption(text.safe(f"Hidden: {'; '.join(hidden[:8])}."))
st.subheader("Where the prices come from", anchor=False)
st.markdown("\n".join(f"- {text.safe(sentence)}" for sentence in kpi.price_sentences(whole, kpi.price_state())))
if unpriced:
    without_price(next(frames))

page.as_python(
    here, f"numbers = kpi.summarise(source, {list(shown)!r}, view)",
    *([f"over_time = kpi.summarise(source, {list(parts)!r}, view, every={grain!r})"] if parts and here.timed else []),
    f"prices = kpi.price_sentences(kpi.summarise(source, {list(ORIGIN)!r}, view), kpi.price_state())",
    *([f"split = kpi.summarise(source, {list(split_metrics)!r}, view, by=[{by!r}])"] if by else []),
)  # fmt: skip
