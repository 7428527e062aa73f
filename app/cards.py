"""Cards: one KPI, one headline, one event line, drawn from what `kpi` answered. Draws; never counts."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

import kpi
from app import data, once, page, text
from app.slicebar import PageContext
from kpi.charts import inline, series as charts

words = kpi.wording
LOUD = ("off_target", "watch")


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
        said, number_side = st.columns([3, 1], gap="medium", vertical_alignment="center")
        with said, st.container(gap="xxsmall"):
            st.markdown(f"**{text.safe(scorecard.verdict)}** {text.safe(scorecard.sentence, longest=900)}")
            st.caption(f"Index {text.safe(words.index_words(found))}")
        with number_side, st.container(gap="xxsmall"):
            with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
                st.metric("AI index", text.safe(number), width="content",
                          help="Weighted share of the KPI promises that are kept, 0 to 100.")  # fmt: skip
                badge(found.state, f"The worst state of {found.n} KPIs with enough data, of {found.total}.")
            if found.state != "no_data":
                once.picture(inline.gauge, found.value, found.low, found.high, state=found.state,
                             alt=f"AI index {number} of 100, {words.STATES[found.state].word}")  # fmt: skip


def kpi_cards(scorecard: Any, here: PageContext) -> None:
    """A card a KPI, the worst first: large what needs attention, compact what does not."""
    with st.grid(4, min_column_width=165, gap="small"):
        for card in scorecard.by_harm:
            kpi_card(card, here)


def kpi_card(card: Any, here: PageContext) -> None:
    """Value, change, course with target, interval and n, state, owner and the way on. What takes more words is one
    hover away, on the badge: reason, limits of the change and next step."""
    target = words.format_value(card.target, card.unit)
    interval = words.format_interval(card.low, card.high, card.unit)
    numbers = (f"Target {target}", interval, _counted(card.n))
    size = "loud" if card.state in LOUD else "calm"  # style.css
    with st.container(border=True, height="stretch", gap="xxsmall", key=f"{size}_{card.metric}"):
        with st.container(horizontal=True, gap="xsmall", vertical_alignment="bottom"):
            st.metric(
                text.safe(card.label),
                text.safe(words.format_value(card.value, card.unit)),
                width="content",
                help=text.safe(f"{card.entry.definition}."),
                **_delta(card.change, card.unit, here),
            )
            if len(card.spark):
                once.picture(inline.spark, card.spark, unit=card.unit, target=card.target, state=card.state,
                             height=32, alt=f"{card.label} over the window; target {target}")  # fmt: skip
        st.caption(text.safe(" · ".join(part for part in numbers if part)))
        for told, mark in ((card.known, "label_off"), (card.caution, "group")):
            if told:
                st.caption(f"{text.icon(mark)} {text.safe(told)}")
        if card.state == "no_data":
            st.caption(text.safe(card.gist))
        st.space("stretch")
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            moved = f"Change: {card.change.words}." if card.change else ""
            badge(card.standing, " ".join(t for t in (card.reason, moved, f"Next: {card.action}") if t))
            st.caption(text.safe(card.owner), width="content")
        _open(card, here)


def _counted(n: float) -> str:
    return f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{words.format_count(n)}"


def _open(card: Any, here: PageContext) -> None:
    if card.metric in data.metrics():
        if card.state in LOUD and here.timed:
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
        if row.get("standing"):
            badge(row["standing"])
        counted = _counted(row["n"])
        st.caption(text.safe(f"95 %: {interval} · {counted}" if interval else counted))
        told = words.caution_words(row["clustered_by"], row["effective_users"], row["heaviest"])
        if interval and told:
            st.caption(f":material/group: {text.safe(told)}")
