"""Tables: frames as people read them, in a grid that shows untrusted text as text. Never a Markdown table."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st
from pandas.io.formats.style import Styler

import kpi
from app import data, export, text
from kpi.charts import series as charts

words = kpi.wording
# Where a value stands, without its colour.
MARKS = {"off_target": "✕ ", "watch": "! ", "no_data": "? ", "above_target": "↗ ", "below_target": "↘ "}
_TINT = "26"  # alpha of a state's colour behind a cell


def local(moment: datetime, tz: str) -> pd.Timestamp:
    """An aware moment as a naive local time, the form charts and tables use."""
    return pd.Timestamp(moment).tz_convert(ZoneInfo(tz)).tz_localize(None)


def timed(events: pd.DataFrame, tz: str) -> pd.DataFrame:
    """Events with local naive times, the moments, words for them, and a level so that labels do not overlap."""
    moment = pd.to_datetime(events["at"], utc=True)
    at = moment.dt.tz_convert(ZoneInfo(tz)).dt.tz_localize(None)
    shown = events.assign(moment=moment, at=at, when=at.dt.strftime("%a %d %b %Y, %H:%M"),
                          level=[-3 - 12 * (i % 3) for i in range(len(events))])  # fmt: skip
    for name in ("kind", "name", "description"):
        shown[name] = shown[name].fillna("").astype(str)
    return shown.sort_values("at")


def events(shown: pd.DataFrame) -> None:
    """When, what kind, what, which version and in words."""
    columns = ["when", "kind", "name", "version", "description"]
    export.table(shown[columns], hide_index=True, alt="Events in the window",
                 column_config={c: st.column_config.TextColumn(c.capitalize()) for c in columns})  # fmt: skip


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
    named = frame.assign(group=frame[by].fillna("(none)"))
    cells = named.pivot(index="group", columns="metric")
    values = cells["value"].loc[groups, order].rename(columns=labels)
    states = cells["standing"].loc[groups, order].rename(columns=labels)
    counts = cells["n"].loc[groups].max(axis=1).rename("Requests").astype("int64")
    table = pd.concat([counts, values], axis=1)
    table.index.name = text.dimension(by)
    css = _paint(states, charts.look(st.context.theme.type)).reindex(columns=table.columns, fill_value="")
    styled = table.style.apply(lambda _: css, axis=None)
    for metric in order:
        label, unit = labels[metric], units[metric]
        marks = [MARKS.get(s, "") for s in states[label]]
        for mark in set(marks):  # one format for all cells of a column with the same mark: a call a cell is slow
            same = [g for g, m in zip(groups, marks, strict=True) if m == mark]
            shown = pd.IndexSlice[same, [label]]
            styled = styled.format(lambda v, u=unit, m=mark: m + words.format_value(v, u), subset=shown)
    export.table(styled, alt=f"KPIs by {by}", height="content",
                 column_config={"Requests": st.column_config.NumberColumn(format="localized")})  # fmt: skip
    st.caption("✕ off target, ! watch, ? too little data, ↗ above or ↘ below target within the limit; no mark: on "
               "target. Rows with most to do first.")  # fmt: skip


def _by_harm(frame: pd.DataFrame, by: str) -> list[str]:
    """Groups with most KPIs off target first, then on watch, then by size."""
    rank: dict[str, list[float]] = {}
    for group, state, n in zip(frame[by].fillna("(none)"), frame["state"], frame["n"], strict=True):
        counted = rank.setdefault(group, [0, 0, 0])
        counted[0] += state == "off_target"
        counted[1] += state == "watch"
        counted[2] = max(counted[2], n)
    return sorted(rank, key=lambda g: (*(-c for c in rank[g]), g))


def _paint(states: pd.DataFrame, look: charts.Look) -> pd.DataFrame:
    css = {"no_data": f"color: {look.grey}; font-style: italic"}
    for state in ("off_target", "watch"):
        colour = charts.state_colour(state, look)
        css[state] = f"background-color: {colour}{_TINT}; color: {colour}; font-weight: 600"
    return states.apply(lambda column: [css.get(s, "") for s in column])


def unpriced(models: pd.DataFrame) -> None:
    """Models without a price, with their requests."""
    export.table(models.rename(columns={"model": "Model", "requests": "Requests"}),
                 hide_index=True, alt="Models without a price",
                 column_config={"Requests": st.column_config.NumberColumn(format="localized")})  # fmt: skip


def traces(found: pd.DataFrame, chosen: str, *, view: kpi.Slice) -> None:
    """The list of traces; picking a row writes trace= into the URL, and the URL alone says which one is open."""
    ids = list(found["trace_id"])
    began = pd.to_datetime(found["started_at"], utc=True).dt.tz_convert(ZoneInfo(view.tz))
    asked = {"Latency": ("latency_ms", "ms"), "Cost": ("cost_usd", "usd"), "Tokens in": ("input_tokens", "count"),
             "Tokens out": ("output_tokens", "count")}  # fmt: skip
    numbers = {name: text.values(found, *of) for name, of in asked.items() if found[of[0]].notna().any()}
    shown = pd.DataFrame({"When": began.dt.strftime("%d %b %Y %H:%M"),
                          "Outcome": [_outcome(r) for r in found[["success", "error"]].itertuples(index=False)],
                          "Incident": found["worst_severity"],
                          **numbers, "Intent": found["intent"], "Language": found["language"], "Model": found["model"],
                          "Prompt": found["prompt_version"], "Error": found["error_type"],
                          "Asked": found["input_text"], "Id": ids})  # fmt: skip
    shown = shown[[c for c in shown if shown[c].notna().any()]].fillna("")
    key = f"found_{zlib.crc32(' '.join(ids).encode())}"
    default = {"selection": {"rows": [ids.index(chosen)]}} if chosen in ids else None
    right = st.column_config.TextColumn(alignment="right")
    export.table(shown, hide_index=True, key=key, height=320, row_height=32, alt="Traces of the slice",
                 selection_mode="single-row", selection_default=default, on_select=lambda: _pick(key, ids),
                 column_config={**dict.fromkeys(numbers, right),
                                "Asked": st.column_config.TextColumn(width="large")})  # fmt: skip


def _pick(key: str, ids: list[str]) -> None:
    rows = st.session_state[key].selection.rows
    if rows:
        st.query_params["trace"] = ids[rows[0]]
    else:
        st.query_params.pop("trace", None)


def _outcome(row: Any) -> str:
    if row.error is True or row.error == 1:
        return "✕ error"
    if row.success is None or row.success != row.success:
        return "? unknown"
    return "✓ success" if row.success else "✕ failed"


def groups(frame: pd.DataFrame, by: str) -> None:
    """A row a group and metric: value, interval, n and users, in words."""
    shown = pd.DataFrame({text.dimension(by): frame[by].fillna("(none)"),
                          "Metric": [data.metrics()[m].label for m in frame["metric"]],
                          "Value": text.values(frame, "value"), "95 %": text.intervals(frame, "low", "high"),
                          "State": [words.STATES[s].word if s else "" for s in frame["standing"]],
                          "Requests": frame["n"], "Users": frame["clusters"]})  # fmt: skip
    if frame["metric"].nunique() > 1:
        wide = shown.pivot(index=text.dimension(by), columns="Metric", values="Value")[shown["Metric"].unique()]
        export.table(wide, alt=f"Values by {by}", height="content")
        return
    export.table(shown.drop(columns="Metric"), hide_index=True, alt=f"Values by {by}", height="content")


def parts(split: kpi.Decomposition) -> None:
    """A row a group: its value and share before and now, and what its own change and its share did to the whole."""
    unit = split.unit
    f = split.parts
    shown = pd.DataFrame({text.dimension(split.by): f["value"], "Before": text.values(f, "before", unit),
                          "Now": text.values(f, "now", unit), "Share before": text.values(f, "share_before", "share"),
                          "Share now": text.values(f, "share_now", "share"),
                          "Its own change": text.changes(f, "rate", unit), "Its share": text.changes(f, "mix", unit),
                          "Together": text.changes(f, "effect", unit),
                          "95 %": text.change_intervals(f, "low", "high", unit)})  # fmt: skip
    export.table(shown, hide_index=True, height="content", alt=f"Parts of the change by {split.by}")


def coloured(shown: pd.DataFrame, columns: Sequence[str], roles: Mapping[str, str]) -> Styler:
    """Words of these columns in the colour of their role, as far as the columns are there; other words in grey."""
    look = charts.look(st.context.theme.type)
    css = {word: f"color: {look.states[role]}; font-weight: 600" for word, role in roles.items()}
    return shown.style.map(lambda v: css.get(v, f"color: {look.grey}"), subset=[c for c in columns if c in shown])


def moved(row: dict[str, Any]) -> str:
    """A difference in words: "Escalation rate 11.3 % to 13.8 % (+2.49 pp, +1.34 to +3.66 pp)". Plain text."""
    unit = row["unit"]
    values = f"{words.format_value(row['a'], unit)} to {words.format_value(row['b'], unit)}"
    return f"{row['label']}: {values} ({words.format_moved(row['difference'], row['low'], row['high'], unit)})"


def comparison(found: kpi.Comparison) -> None:
    """A row a metric: the verdict in a word, both values, the difference raw and with the mix held, q, requests."""
    f = found.frame()
    shown = pd.DataFrame({"Metric": f["label"], "Verdict": f["verdict"], f"A: {found.a}": text.values(f, "a"),
                          f"B: {found.b}": text.values(f, "b"), "Difference": text.changes(f, "difference"),
                          "Interval": text.change_intervals(f, "low", "high"),
                          "q": [f"{q:.3f}" if q == q else words.UNKNOWN for q in f["q"]]})  # fmt: skip
    if found.adjust:
        shown["Adjusted"] = text.changes(f, "adjusted")
        shown["Adjusted verdict"] = f["adjusted_verdict"]
    shown["Could show"] = [told.removeprefix("+") for told in text.changes(f, "smallest")]
    shown["Requests A"], shown["Requests B"] = f["n_a"], f["n_b"]
    for side in ("A", "B"):
        shown[f"Known {side}"] = text.values(f, f"coverage_{side.lower()}", "share")
    styled = coloured(shown, ["Verdict", "Adjusted verdict"], text.VERDICTS)
    export.table(
        styled, hide_index=True, height="content", alt=f"{found.b} against {found.a} on every metric",
        column_config={c: st.column_config.TextColumn(help=told) for c, told in text.WORDS["column"].items()},
    )  # fmt: skip


def split(found: kpi.SampleRatio) -> None:
    """Users of both arms by day and by value, those off the plan first: counts, the share of B, q."""
    f = found.where.sort_values("alarm", ascending=False, kind="stable")
    shown = pd.DataFrame({
        "By": [text.dimension(v) for v in f["of"]], "Value": f["value"],
        f"Users A: {found.a}": f["a"], f"Users B: {found.b}": f["b"],
        "Share of B": text.values(f, "share_b", "share"),
        "q": [words.UNKNOWN if q != q else f"{q:.3f}" if q >= 0.001 else "< 0.001" for q in f["q"]],
        "Split": ["off" if off else "too few" if q != q else "as planned"
                  for off, q in zip(f["alarm"], f["q"], strict=True)],
    })  # fmt: skip
    export.table(coloured(shown, ["Split"], {"off": "red"}), hide_index=True, height=320,
                 alt=f"Users of {found.a} and {found.b} by day and by value")  # fmt: skip


def support(known: kpi.Profile) -> None:
    """Which metrics this data supports, and what to add for the others."""
    missing = known.missing()
    able = [m for m in data.metrics().values() if m.name not in missing]
    size = words.format_count(known.requests, "requests")
    told = f"{len(able)} of {len(data.metrics())} metrics can be computed on these {size}."
    st.markdown(text.safe(told))
    if missing:
        rows = ((data.metrics()[n], ", ".join(columns)) for n, columns in missing.items())
        lacking = pd.DataFrame([{"Metric": m.label, "Group": m.group, "Add": columns} for m, columns in rows])
        with st.expander(f"Without data: {words.format_count(len(missing), 'metrics')}", icon=":material/help:"):
            export.table(lacking, hide_index=True, alt="Metrics that lack data, and the columns to add")
    dimensions = pd.DataFrame([
        {"Dimension": text.dimension(d), "Values": len(v), "Most frequent": ", ".join(str(k) for k, _ in v[:5])}
        for d, v in known.dimensions.items()
    ])  # fmt: skip
    with st.expander(f"{len(dimensions)} dimensions to slice by", icon=":material/filter_alt:"):
        export.table(dimensions, hide_index=True, alt="Dimensions with their values")
