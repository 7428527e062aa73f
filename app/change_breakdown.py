"""The change of one KPI and what it is made of: asked of `kpi` in at most three queries, and drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import streamlit as st

import kpi
from app import cards, data, once, page, tables, text
from app.slicebar import PageContext
from kpi.charts import reasons

words = kpi.wording
NOTHING = ("decompose.empty", "stages.empty")
RATIOS = ("rate", "ratio", "incidence")
SHOWN = 3  # groups with a way to their traces
MOST_VALUES, MOST_SPLITS = 60, 40
WHISKERS = "Lines around the end of a bar: the 95 % interval of that part, users as clusters. Grey: may be chance."


@dataclass(frozen=True, kw_only=True)
class Split:
    """A change and its parts. low, high: of the change, NaN where no interval is known.

    groups: of `kpi.decompose`, the dimension that explains most first; cost, stages: where the KPI is one of these.
    """

    before: float
    n_before: int
    now: float
    change: float
    low: float = math.nan
    high: float = math.nan
    groups: Sequence[kpi.Decomposition] = ()
    cost: kpi.Waterfall | None = None
    stages: kpi.Stages | None = None
    series: pd.DataFrame | None = None
    bounds: kpi.Difference | None = None
    python: list[str] = field(default_factory=list)


def change(here: PageContext, metric: str, view: kpi.Slice) -> tuple[kpi.Slice, Split]:
    """What the KPI did between the baseline and the window, and the slice for which that could be said.

    A version that was not there before is compared with what it replaced: without the filters on versions. Raises
    KpiError where a side knows nothing.
    """
    held = {d: None for d in here.versions if view.filter_on(d)}
    resolved = kpi.resolve(here.source, view)
    try:
        return view, _split(here, metric, view)
    except kpi.KpiError as error:
        if error.code not in NOTHING or not held or resolved.baseline == resolved.window:
            raise
    wide = view.where(**held)
    named = " and ".join(held)
    st.caption(text.safe(f"{named} was not there before: shown for every version of the same segment."))
    return wide, _split(here, metric, wide)


def _split(here: PageContext, metric: str, view: kpi.Slice) -> Split:
    m = data.metrics()[metric]
    if m.kind in RATIOS:
        return _of_ratio(here, m, view)
    if m.column == "total_us" and m.q is not None:
        split = _of_quantile(here, m, view)
        return replace(split, stages=data.ask(kpi.latency_stages, here.source, view, q=m.q),
                       python=[*split.python, f"stages = kpi.latency_stages(source, view, q={m.q})"])  # fmt: skip
    return _of_quantile(here, m, view)


def _of_ratio(here: PageContext, m: kpi.Metric, view: kpi.Slice) -> Split:
    known = here.profile.dimensions
    by = [d for d in (*here.cohorts, *here.versions) if 2 <= len(known[d]) <= MOST_VALUES][:MOST_SPLITS]
    if not by:
        return _of_quantile(here, m, view)
    found = data.ask(kpi.decompose, here.source, m.name, view, by=by)
    whole = found[0].change
    costs = m.group == "cost" and m.unit == "usd"
    return Split(
        before=found[0].before, n_before=found[0].n_before, now=found[0].now, groups=found,
        change=whole.value, low=whole.low, high=whole.high, bounds=found[0].bounds,
        cost=data.ask(kpi.cost_waterfall, here.source, view) if costs else None, series=_series(here, m.name, view),
        python=[f"parts = kpi.decompose(source, {m.name!r}, view, by={by!r})",
                *(["money = kpi.cost_waterfall(source, view)"] if costs else [])],
    )  # fmt: skip


def _compared(here: PageContext, m: kpi.Metric, view: kpi.Slice) -> Any:
    """The difference between the window and its baseline, as of a comparison."""
    return data.ask(kpi.compare, here.source, metrics=[m.name], slice=view, adjust=()).rows[0].effect


def _of_quantile(here: PageContext, m: kpi.Metric, view: kpi.Slice) -> Split:
    moved = _compared(here, m, view)
    if not (moved.a.n and moved.b.n):
        raise kpi.errors.MetricError(NOTHING[0], f"Nothing is known of {m.label} on one side",
                                     hint="Choose a longer window or fewer filters.")  # fmt: skip
    costs = m.group == "cost"
    return Split(before=moved.a.value, n_before=int(moved.a.n), now=moved.b.value,
                 change=moved.difference, low=moved.low, high=moved.high,
                 series=_series(here, m.name, view),
                 cost=data.ask(kpi.cost_waterfall, here.source, view) if costs else None,
                 python=[f"moved = kpi.compare(source, metrics=[{m.name!r}], slice=view)"])  # fmt: skip


def _series(here: PageContext, metric: str, view: kpi.Slice) -> pd.DataFrame | None:
    """The KPI by day from the start of the baseline to the end of the window; None where these are no times."""
    r = kpi.resolve(here.source, view)
    if r.window is None or r.baseline is None or r.baseline == r.window:
        return None
    both = replace(view, last=None, start=min(r.baseline.start, r.window.start), end=r.window.end, baseline="none")
    return data.tally(here.source, [metric], both, [kpi.Grouping(every="day", metrics=(metric,))])[0]


def begins(resolved: kpi.Resolved, tz: str) -> pd.DataFrame:
    """The start of the window as an event of a chart."""
    if resolved.window is None:
        return pd.DataFrame()
    at = tables.local(resolved.window.start, tz)
    return pd.DataFrame([{"at": at, "when": f"{at:%a %d %b %Y}", "name": "this window", "description": "It begins here",
                          "kind": "window", "level": -3}])  # fmt: skip


def headline(split: Split, m: kpi.Metric, promise: Any) -> None:
    """Value, change, interval and whether that is sure; owner and target where the KPI is governed."""
    sure, better = split.low == split.low, split.change > 0 if m.direction == "up" else split.change < 0
    colour = "gray" if not sure or m.direction == "none" else "green" if better else "red"
    clear = not sure or split.low > 0 or split.high < 0
    few = split.n_before < (promise or m).min_n  # as the Overview has it
    delta = {} if few else cards.chip(split.change, m.unit, clear=clear, unknown=bool(split.bounds), colour=colour)
    st.metric(text.safe(m.label), text.safe(words.format_value(split.now, m.unit)), **delta,
              help=text.safe(f"{m.definition}."))  # fmt: skip
    parts = [f"before: {words.format_value(split.before, m.unit)}"]
    if few:
        parts.append(f"too few requests there to compare ({words.format_count(split.n_before)})")
    elif sure:
        parts.append(f"change, 95 %: {words.format_change_interval(split.low, split.high, m.unit)}")
    if split.bounds:
        worst = words.format_change_interval(split.bounds.low, split.bounds.high, m.unit)
        parts.append(f"with what is not known: {worst}")
    if promise is not None:
        parts += [f"target: {words.format_value(promise.target, m.unit)}", f"owner: {promise.owner}"]
    st.caption(text.safe(" · ".join(parts)))


def draw(split: Split, m: kpi.Metric, view: kpi.Slice) -> list[str]:
    """The parts of the change: of money, of time, by group. Returns the Python behind them."""
    if split.cost is not None:
        _money(split.cost)
    if split.stages is not None:
        _time(split.stages)
    if split.groups:
        _groups(split.groups, m, view)
    return split.python


def _money(found: kpi.Waterfall) -> None:
    st.subheader("What the spend is made of", anchor=False)
    st.markdown(text.safe(found.sentence, longest=600))
    once.chart(reasons.waterfall, found.steps, before=found.before, now=found.now, unit="usd", direction="down",
               alt="Total cost before and now, and the parts of its change with intervals")  # fmt: skip
    st.caption(text.safe(WHISKERS))


def _time(found: kpi.Stages) -> None:
    st.subheader("Which stage takes longer", anchor=False)
    st.markdown(text.safe(found.sentence, longest=600))
    once.chart(reasons.waterfall, found.parts.rename(columns={"change": "effect"}), before=found.before, now=found.now,
               unit="ms", direction="down",
               alt="Latency before and now, and the change of each stage with intervals")  # fmt: skip
    st.caption(text.safe(WHISKERS))
    if found.q is not None:
        st.caption(text.safe(
            f"Of the requests at or above the p{100 * found.q:g} of their own window: a percentile is no sum of stages,"
            " the mean of its tail is."
        ))  # fmt: skip


def _groups(found: Sequence[kpi.Decomposition], m: kpi.Metric, view: kpi.Slice) -> None:
    names = [d.by for d in found]
    st.subheader("Which groups it comes from", anchor=False)
    by = page.selectbox("Split by", "by", names, default=names[0], width=280, help="The one that explains most first.")
    one = next(d for d in found if d.by == by)
    st.markdown(text.safe(one.sentence, longest=600))
    parts = one.parts.assign(label=one.parts["value"])
    once.chart(
        reasons.waterfall, parts, before=one.before, now=one.now, unit=m.unit, direction=m.direction,
        alt=f"{m.label} before and now, and what each {text.dimension(by)} adds to the change, with intervals",
    )  # fmt: skip
    st.caption(f"{text.safe(WHISKERS)} The axis does not start at zero."
               " A group adds by its own change and by what its share of requests did.")  # fmt: skip
    with st.container(horizontal=True, gap="medium"):
        for value in list(one.parts[one.parts["kind"] != "left"]["value"])[:SHOWN]:
            page.way("traces", f"Traces of {value[:40]}", view.where(**{by: value}), sort="failed", trace="first")
    with st.expander("As a table: what changed inside each group, and what its share did"):
        tables.parts(one)
