"""Failed against successful requests of a slice: what sets them apart, with examples of both. Draws; never counts."""

from __future__ import annotations

import pandas as pd
import streamlit as st

import kpi
from app import data, export, once, page, text
from app.slicebar import PageContext
from kpi.charts import reasons

words = kpi.wording
DRAWN, LED = 15, 5  # traits in the chart; those of failed requests with a way to their examples


def draw(here: PageContext, view: kpi.Slice, metric: str) -> list[str]:
    """Sentence, lifts with intervals, examples of both sides, the tree. Returns the Python behind it."""
    outcome = text.WORDS["outcome"].get(metric)
    asked = outcome if outcome and here.profile.filled.get(outcome) else None
    st.subheader("What failed ones share", anchor=False)
    units = ["request", *(["session"] if here.profile.filled.get("session_id") else [])]
    unit = page.pills("What failed", "unit", units, default="request", names=text.WORDS["unit"].__getitem__)
    python = [f"apart = kpi.contrast(source, view, outcome={asked!r}, unit={unit!r})", "print(apart.sentence)",
              "traits = apart.lifts"]  # fmt: skip
    try:
        found = data.ask(kpi.contrast, here.source, view, outcome=asked, unit=unit)
    except kpi.KpiError as error:
        page.empty(f"{error.message}.", error.hint)
        return python
    st.markdown(text.safe(found.sentence, longest=600))
    clear = found.lifts[(found.lifts["low"] > 1) | (found.lifts["high"] < 1)].head(DRAWN)
    if clear.empty:
        st.markdown(f":material/check_circle: No trait differs significantly, of {text.safe(found.looked)}.")
        return python
    once.chart(reasons.lifts, clear,
               alt=f"How much more often failed {unit}s have each of {len(clear)} traits, with intervals")  # fmt: skip
    size = words.format_count(found.sampled, f"{unit}s")
    st.caption(text.safe(
        f"Failure is defined by the column {found.outcome}. Right of 1: more frequent where it failed; lines are 95 % "
        f"intervals. {found.looked} traits of {size}; what may follow from failing stands last."
    ))  # fmt: skip
    for trait in clear[clear["lift"] > 1].head(LED).to_dict("records"):
        with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
            st.markdown(f"**{text.safe(trait['trait'], longest=80)}**", width="content")
            _examples(view, "Failed", trait["failed_examples"])
            _examples(view, "Successful", trait["success_examples"])
    with st.expander("Every trait as a table"):
        _table(found.lifts)
    if found.tree is not None:
        with st.expander("A second opinion: a small decision tree"):
            accuracy = words.format_value(found.tree.accuracy.value, "share")
            st.markdown(text.safe(
                f"On users it had not seen it told {accuracy} of failed and successful requests apart "
                "(50 % = random guessing). Where it sees most failures:"
            ))  # fmt: skip
            _leaves(found.tree.leaves)
    return python


def _examples(view: kpi.Slice, label: str, ids: tuple[str, ...]) -> None:
    for number, trace in enumerate(ids, 1):
        page.way("traces", f"{label} {number}", view, q=trace, trace=trace)


def _table(lifts: pd.DataFrame) -> None:
    shown = pd.DataFrame({"Trait": lifts["trait"],
                          "Of failed": text.values(lifts, "failed_share", "share"),
                          "Of successful": text.values(lifts, "success_share", "share"),
                          "Times as often": [f"{v:.2f}" for v in lifts["lift"]],
                          "95 %": text.intervals(lifts, "low", "high", "count"),
                          "q": [f"{q:.3f}" for q in lifts["q"]],
                          "Requests": lifts["n"]})  # fmt: skip
    export.table(shown, hide_index=True, height="content", alt="Traits of failed and successful requests")


def _leaves(leaves: pd.DataFrame) -> None:
    failed = text.values(leaves, "failed_share", "share")
    shown = pd.DataFrame({"Where": leaves["rule"], "Failed": failed, "Requests": leaves["n"]})
    export.table(shown, hide_index=True, height="content", alt="Leaves of the decision tree, worst first")
