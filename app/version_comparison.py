"""What goes with a comparison of two versions: a test's split, differences that turn round. Draws; never counts."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
import streamlit as st

import kpi
from app import data, page, tables, text
from app.slicebar import PageContext

SPLITS = ("50:50", "60:40", "70:30", "80:20", "90:10", "95:5", "99:1", "40:60", "30:70", "20:80", "10:90", "5:95",
          "1:99")  # fmt: skip
PLACES = ("device", "channel", "language", "region")  # where arms lose users: the first that the data has
MIXED = "The mix decides"


def planned(a: str, b: str) -> str:
    """The planned split, which lives in the URL: one of the usual ones, or another that the link names."""
    asked = st.query_params.get("split", "")
    own = (asked,) if re.fullmatch(r"[1-9][0-9]{0,4}:[1-9][0-9]{0,4}", asked) and asked not in SPLITS else ()
    return page.selectbox(
        "Planned split", "split", [*SPLITS, *own], default=SPLITS[0], names=lambda s: s.replace(":", " : "), width=140,
        help=f"Users of {text.safe(a, longest=40)} to users of {text.safe(b, longest=40)}, as the test was set up.",
    )  # fmt: skip


def split(here: PageContext, a: str, b: str, view: kpi.Slice, *, by: str, plan: str) -> str:
    """Whether users are split as planned ("90:10"), and where they are not. Returns the Python behind it."""
    first, second = (float(v) for v in plan.split(":"))
    within = [d for d in PLACES if d in here.cohorts and d != by][:1]
    found = data.ask(kpi.sample_ratio, here.source, a, b, slice=view, by=by, within=within, expected=(first, second))
    word, icon, colour = text.WORDS["split"][found.verdict]
    with st.container(border=True, gap="xsmall"):
        st.markdown(f"{text.badge(word, icon, colour)} {text.safe(found.sentence, longest=1500)}")
        if not found.where.empty:
            parts = " and by ".join(text.dimension(d).lower() for d in dict.fromkeys(found.where["of"]))
            with st.expander(text.safe(f"Users by {parts} of their first request")):
                tables.split(found)
    arguments = f"by={by!r}, within={within!r}, expected=({first:g}, {second:g})"
    return f"split = kpi.sample_ratio(source, {a!r}, {b!r}, slice=view.where(**{{{by!r}: None}}), {arguments})"


def reversals(told: Sequence[str]) -> None:
    """Overall differences that another mix of groups makes, each named as what it is."""
    for sentence in told:
        st.markdown(f"{text.badge(MIXED, 'swap_vert', 'orange')} {text.safe(sentence, longest=900)}")


def turned(cells: pd.DataFrame, within: str) -> None:
    """Metrics whose direction depends on the group, then single groups against the whole. cells: `compare_within`."""
    told = cells["told"].notna()
    for row in cells[told].drop_duplicates("metric").to_dict("records"):
        name = MIXED if row["simpson"] else "Opposite directions"
        st.markdown(f"{text.badge(name, 'swap_vert', 'orange')} {text.safe(row['told'], longest=1500)}")
    for row in cells[cells["reversed"] & ~told].to_dict("records"):
        group = "(none)" if row[within] is None else row[within]
        st.markdown(text.safe(f"Against the whole, for {group}: {row['sentence']}.", longest=600))
