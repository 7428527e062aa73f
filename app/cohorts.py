"""Cohorts side by side: where gaps are, one dimension's groups in a table, two dimensions as a heat table."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

import kpi
from app import cards, data, export, tables, text
from kpi.charts import series as charts

words = kpi.wording
CLEAR, size, sentence = words.CLEAR, words.gap_size, words.gap_sentence
COMPARED = ("task_success", "refusal_rate", "escalation_rate", "slo_attainment", "incident_rate", "cost_per_query")
_TINT = "26"  # alpha of a colour behind a cell


def compared() -> list[str]:
    """The metrics that cohorts are compared on, a team's own among them."""
    return [*COMPARED, *(m.name for m in data.metrics().values() if m.own and m.kind in ("rate", "ratio"))]


def matrix(gaps: pd.DataFrame, metrics: list[str]) -> None:
    """A row a dimension, a column a metric; a cell is the gap, marked and coloured where chance does not explain it."""
    shown = gaps[gaps["metric"].isin(metrics)]
    order = [m for m in metrics if m in set(shown["metric"])]
    rows = list(dict.fromkeys(shown["dimension"]))
    look = cards.colours()
    texts = pd.DataFrame(words.UNKNOWN, index=rows, columns=order)
    css = pd.DataFrame(f"color: {look.grey}", index=rows, columns=order)
    for g in shown.itertuples():
        clear = g.q <= CLEAR
        texts.loc[g.dimension, g.metric] = ("✕ " if clear else "") + size(g)
        if clear:
            red = look.states["red"]
            css.loc[g.dimension, g.metric] = f"background-color: {red}{_TINT}; color: {red}; font-weight: 600"
    labels = {m: data.metrics()[m].label for m in order}
    texts = texts.rename(columns=labels).rename(index=text.dimension).rename_axis("Cohort")
    css = css.rename(columns=labels).rename(index=text.dimension).rename_axis("Cohort")
    export.table(texts.style.apply(lambda _: css, axis=None), alt="Gaps by cohort and metric", height="content")
    st.caption("Best minus worst group. ✕: more than groups without any difference would show (q at most 0.05). "
               "Grey: chance alone could explain it.")  # fmt: skip


def groups(frame: pd.DataFrame, by: str, *, strata: str | None) -> None:
    """A row a group, worst first: verdict, value, differences to the whole and the best, with the mix held."""

    def limits(low: str, high: str) -> list[str]:
        known = frame[low].notna() & frame[high].notna()
        told = text.change_intervals(frame, low, high)
        return [words.UNKNOWN if not sure else interval for sure, interval in zip(known, told, strict=True)]

    shown = pd.DataFrame({text.dimension(by): frame["group"], "Verdict": frame["verdict"],
                          "Value": text.values(frame, "value"), "95 %": text.intervals(frame, "low", "high"),
                          "Known": text.values(frame, "coverage", "share"),
                          "To the whole": text.changes(frame, "difference"),
                          "Its 95 %": limits("difference_low", "difference_high")})  # fmt: skip
    if strata and frame["adjusted"].notna().any():
        shown[f"On the same {text.dimension(strata).lower()}"] = text.changes(frame, "adjusted")
        shown["Adjusted 95 %"] = limits("adjusted_low", "adjusted_high")
    shown["To the best"] = text.changes(frame, "to_best")
    shown["Ratio to the best"] = [words.format_value(v, "count") if v == v else words.UNKNOWN
                                  for v in frame["ratio_to_best"].round(3)]  # fmt: skip
    shown["q"] = [f"{q:.3f}" if q == q else words.UNKNOWN for q in frame["q"]]
    shown["Requests"], shown["Users"] = frame["n"].to_numpy(), frame["users"].to_numpy()
    styled = tables.coloured(shown, ["Verdict"], text.VERDICTS)
    export.table(
        styled, hide_index=True, height="content", alt=f"Groups of {by}, worst first",
        column_config={"q": st.column_config.TextColumn(help="Of groups with this q or less, this share is false.")},
    )  # fmt: skip


def heat(frame: pd.DataFrame, *, rows: str, columns: str, colours: charts.Look) -> alt.LayerChart:
    """Two dimensions as a heat table: the value of each pair, coloured only where it differs clearly from the whole."""
    shown = frame.assign(
        row=[w[rows] for w in frame["where"]], column=[w[columns] for w in frame["where"]],
        clear=frame["verdict"] != "no clear difference",
        tint=charts.tints(frame["verdict"], colours),
        shown=text.values(frame, "value"), interval=text.intervals(frame, "low", "high"),
        both=text.values(frame, "expected"), steady=text.values(frame, "shrunk"),
    ).drop(columns="where")  # fmt: skip
    tips = {"row": text.dimension(rows), "column": text.dimension(columns), "verdict": "Verdict", "shown": "Value",
            "interval": "95 %", "both": "Both sides alone would give", "steady": "Steadied", "n": "Requests",
            "users": "Users"}  # fmt: skip
    base = alt.Chart(shown).encode(
        x=alt.X("column:N", title=None, axis=alt.Axis(orient="top", labelAngle=0, labelLimit=90, ticks=False,
                                                      domain=False)),
        y=alt.Y("row:N", title=None, axis=alt.Axis(labelLimit=120, ticks=False, domain=False)),
        tooltip=charts.tips(tips),
    )  # fmt: skip
    cells = base.mark_rect(cornerRadius=3).encode(
        color=alt.condition("datum.clear", alt.Color("tint:N", scale=None), alt.value(colours.faint)),
        opacity=alt.condition("datum.clear", alt.value(0.35), alt.value(0.6)),
    )
    tint = alt.condition("datum.clear", alt.value(colours.ink), alt.value(colours.grey))
    numbers = base.mark_text(fontSize=12).encode(text="shown:N", color=tint)
    return charts.layered(cells, numbers).properties(height=alt.Step(34))


def tinted(frame: pd.DataFrame, look: charts.Look) -> pd.DataFrame:
    """Groups as `charts.dots` draws them: the colour of the verdict."""
    return frame.assign(tint=charts.tints(frame["verdict"], look), clusters=frame["users"])
