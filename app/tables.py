"""Tables: frames as people read them, in `st.dataframe`, which shows untrusted text as text. Never a Markdown table."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

import kpi
from app import charts, text

words = kpi.wording
MARKS = {"off_target": "✕ ", "watch": "! ", "no_data": "? "}  # the state without its colour
_TINT = "26"  # alpha of a state's colour behind a cell


def local(moment: datetime, tz: str) -> pd.Timestamp:
    """An aware moment as a naive local time, the form charts and tables use."""
    return pd.Timestamp(moment).tz_convert(ZoneInfo(tz)).tz_localize(None)


def timed(events: pd.DataFrame, tz: str) -> pd.DataFrame:
    """Events with local naive times, words for them, and a level so that labels of neighbours do not overlap."""
    at = pd.to_datetime(events["at"], utc=True).dt.tz_convert(ZoneInfo(tz)).dt.tz_localize(None)
    shown = events.assign(at=at, when=at.dt.strftime("%a %d %b %Y, %H:%M"), level=[4 + 14 * (i % 3) for i in range(len(events))])
    for name in ("kind", "name", "description"):
        shown[name] = shown[name].fillna("").astype(str)
    return shown.sort_values("at")


def events(shown: pd.DataFrame) -> None:
    """When, what kind, what, which version and in words."""
    columns = ["when", "kind", "name", "version", "description"]
    st.dataframe(
        shown[columns], hide_index=True, alt="Events in the window",
        column_config={c: st.column_config.TextColumn(c.capitalize()) for c in columns},
    )  # fmt: skip


def breakdown(scorecard: Any, by: str) -> None:
    """A row a group, a column a KPI; a cell carries value and state, and colour only where attention is due."""
    frame = scorecard.breakdown
    if frame.empty:
        st.caption("Nothing to break down.")
        return
    labels = {c.metric: c.label for c in scorecard.cards}
    units = {c.metric: c.unit for c in scorecard.cards}
    order = [m for m in labels if m in set(frame["metric"])]
    groups = _by_harm(frame, by)
    cells = frame.assign(group=frame[by].fillna("(none)")).pivot(index="group", columns="metric")
    values = cells["value"].loc[groups, order].rename(columns=labels)
    states = cells["state"].loc[groups, order].rename(columns=labels)
    counts = cells["n"].loc[groups].max(axis=1).rename("Requests").astype("int64")
    table = pd.concat([counts, values], axis=1)
    table.index.name = text.dimension(by)
    look = charts.look(st.context.theme.type)
    styled = table.style.apply(lambda _: _paint(table, states, look), axis=None)
    for metric in order:
        label, unit = labels[metric], units[metric]
        for group in groups:
            mark = MARKS.get(states.loc[group, label], "")
            styled = styled.format(lambda v, u=unit, m=mark: m + words.format_value(v, u), subset=pd.IndexSlice[[group], [label]])
    st.dataframe(styled, alt=f"KPIs by {by}", height="content", column_config={"Requests": st.column_config.NumberColumn(format="localized")})
    st.caption("✕ off target, ! watch, ? too little data; no mark: on target. Rows with most to do first.")


def _by_harm(frame: pd.DataFrame, by: str) -> list[str]:
    """Groups with most KPIs off target first, then on watch, then by size."""
    told = frame.assign(group=frame[by].fillna("(none)"))
    rank = told.groupby("group").agg(
        off=("state", lambda s: int((s == "off_target").sum())), watch=("state", lambda s: int((s == "watch").sum())), n=("n", "max")
    )  # fmt: skip
    return list(rank.sort_values(["off", "watch", "n"], ascending=False).index)


def _paint(table: pd.DataFrame, states: pd.DataFrame, look: charts.Look) -> pd.DataFrame:
    css = pd.DataFrame("", index=table.index, columns=table.columns)
    for label in states.columns:
        for group, state in states[label].items():
            if state in ("off_target", "watch"):
                colour = charts.state_colour(state, look)
                css.loc[group, label] = f"background-color: {colour}{_TINT}; color: {colour}; font-weight: 600"
            elif state == "no_data":
                css.loc[group, label] = f"color: {look.grey}; font-style: italic"
    return css
