"""Cards: one KPI, one headline, one event line, drawn from what `kpi` answered. Draws; never counts."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

import kpi
from app import data, once, page, text
from app.slicebar import PageContext
from kpi.charts import series as charts

words = kpi.wording
MOST_PANELS = 12


def colours() -> charts.Look:
    return charts.look(st.context.theme.type)


def badge(state: str, why: str = "", *, word: str = "") -> None:
    """Icon, word and colour of a state; the reason on hover. word: one of the page's own instead."""
    found = words.STATES[state]
    st.badge(text.safe(word or found.word), icon=f":material/{found.icon}:",
             color=found.colour, help=text.safe(why) if why else None)  # fmt: skip


def index(scorecard: Any) -> None:
    """The index from 0 to 100 with its interval and state, and the sentence that matters most."""
    found = scorecard.index
    number = words.format_value(found.value, "index")
    with st.container(border=True):
        left, right = st.columns([1, 3], gap="medium", vertical_alignment="center")
        with left, st.container(gap="xxsmall"):
            with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
                st.metric("AI index", text.safe(number), width="content",
                          help="Weighted share of the KPI promises that are kept, 0 to 100.")  # fmt: skip
                badge(found.state, f"The worst state of {found.n} KPIs with enough data, of {found.total}.")
            if found.state != "no_data":
                once.chart(charts.gauge, found.value, found.low, found.high, state=found.state,
                           alt=f"AI index {number} of 100, {words.STATES[found.state].word}")  # fmt: skip
            st.caption(text.safe(words.index_words(found)))
        with right:
            st.markdown(f"#### {text.safe(scorecard.sentence, longest=600)}")


def kpi_cards(scorecard: Any, here: PageContext) -> None:
    """A card a KPI, four in a row where there is room."""
    with st.grid(4, min_column_width=230, gap="small"):
        for card in scorecard.cards:
            kpi_card(card, here)


def kpi_card(card: Any, here: PageContext) -> None:
    """Label, value, change, sparkline with target, state, owner, next step, n and interval, and the way on."""
    with st.container(border=True, height="stretch", gap="xsmall"):
        interval = words.format_interval(card.low, card.high, card.unit)
        target = words.format_value(card.target, card.unit)
        st.metric(text.safe(card.label), text.safe(words.format_value(card.value, card.unit)),
                  **_delta(card.change, card.unit, here),
                  help=text.safe(f"{card.entry.definition}. Target {target}."))  # fmt: skip
        if len(card.spark):
            once.chart(charts.spark, card.spark, target=card.target, state=card.state,
                       alt=f"{card.label} over the window; target {target}")  # fmt: skip
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            badge(card.state, card.reason)
            st.caption(text.safe(card.owner), width="content")
        if card.state != "on_target":
            st.caption(text.safe(card.gist))
            st.caption(f":material/arrow_forward: {text.safe(card.action)}")
        if card.known:
            st.caption(f":material/label_off: {text.safe(card.known)}")
        if card.caution:
            st.caption(f":material/group: {text.safe(card.caution)}")
        st.space("stretch")
        if card.change and not card.change.clear:
            st.caption(text.safe(f"{card.change.words[:1].upper()}{card.change.words[1:]}."))
        counted = f"n = {words.format_count(card.n)}"
        st.caption(text.safe(f"{interval} · {counted}" if interval else counted))
        _open(card, here)


def _open(card: Any, here: PageContext) -> None:
    if card.metric in data.metrics():
        if card.state in ("off_target", "watch") and here.timed:
            page.way("why", f"Why {card.label.lower()}", here.view, metric=card.metric)
        page.way("trends", f"Open {card.label.lower()}", here.view, metric=card.metric)
    elif card.metric == "drift_score":
        page.way("drift", "Open drift", here.view)
    else:
        page.way("segments", "Open segments", here.view, metric="task_success")


def _delta(change: Any, unit: str, here: PageContext) -> dict[str, Any]:
    """The change chip: coloured only when the interval excludes zero."""
    if change is None:
        return {}
    compared = text.safe(text.versus(here.view))
    colour = "green" if change.better else "red"
    found = chip(change.difference, unit, clear=change.clear, unknown=bool(change.bounds), colour=colour)
    return {**found, "delta_description": compared}


def chip(change: float, unit: str, *, clear: bool, unknown: bool, colour: str) -> dict[str, Any]:
    """The change beside a number, as `st.metric` takes it. unknown: what is not known may be all of it."""
    if unknown or not clear:
        told = "cannot tell" if unknown else "no clear change"
        return {"delta": told, "delta_color": "gray", "delta_arrow": "off"}
    arrow = "up" if change > 0 else "down"
    return {"delta": text.safe(words.format_change(change, unit)), "delta_arrow": arrow, "delta_color": colour}


def metric(row: pd.Series, title: str = "{}") -> None:
    """A number of `kpi.summarise` with its interval, n and, where it is judged, its state. title: of its label."""
    m = data.metrics()[row["metric"]]
    with st.container(border=True, height="stretch", gap="xsmall"):
        label, value = title.format(m.label), words.format_value(row["value"], row["unit"])
        st.metric(text.safe(label), text.safe(value), help=text.safe(f"{m.definition}. {m.formula}."))
        interval = words.format_interval(row["low"], row["high"], row["unit"])
        if row.get("state"):
            badge(row["state"])
        counted = f"n = {words.format_count(row['n'])}"
        st.caption(text.safe(f"95 %: {interval} · {counted}" if interval else counted))
        told = words.caution_words(row["clustered_by"], row["effective_users"], row["heaviest"])
        if interval and told:
            st.caption(f":material/group: {text.safe(told)}")


def multiples(frame: Any, *, by: str, unit: str) -> None:
    """One small chart a group, largest first, on one value axis; at most twelve."""
    sizes = frame.groupby(by)["n"].sum().sort_values(ascending=False)
    names = list(sizes.index[:MOST_PANELS])
    drawn = frame[frame[by].isin(names)]
    domain = (float(drawn["value"].min()), float(drawn["value"].max()))
    with st.grid(3, min_column_width=250, gap="small"):
        for name in names:
            with st.container(gap="xxsmall"):
                st.caption(f"**{text.safe(name, longest=60)}**")
                once.chart(charts.panel, drawn[drawn[by] == name], unit=unit, domain=domain, alt=f"{name} over time")
    if len(sizes) > len(names):
        st.caption(text.safe(f"The {len(names)} largest of {len(sizes)} groups."))
