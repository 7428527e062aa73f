"""Small pictures as HTML text: courses over time, the gauge of the index, bars of effects. No chart library draws them.

Numbers in, text out. A picture is an SVG image, which runs nothing; every word beside it is escaped. It says in words
what it shows, to those who hear the page (`alt`) and beside the pointer (a title for every bucket).
"""

from __future__ import annotations

import math
import re
from base64 import b64encode
from html import escape

import pandas as pd

from kpi.charts.series import LIGHT, Look, placed, spoken, state_colour
from kpi.govern.findings import Finding
from kpi.measure.metrics import METRICS
from kpi.narrate import wording as text

WIDE, MARGIN = 240.0, 4.0
REACH = 100.0  # smallest differences that matter: where the scale of effects ends on either side
MOST_TITLES = 200  # buckets that have words of their own
MOST_PANELS = 12
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def words(value: object, longest: int = 300) -> str:
    """Any text as the content or attribute of an element: nothing of it is markup."""
    return escape(_CONTROL.sub(" ", str(value))[:longest])


def spark(
    frame: pd.DataFrame, *, unit: str, target: float, state: str, alt: str, height: float = 44, colours: Look = LIGHT
) -> str:
    """The course of a KPI with its target as a dashed rule; grey unless the state asks for attention."""
    tint = state_colour(state, colours) if state in ("watch", "off_target") else colours.grey
    told = placed(frame).assign(shown=text.values(frame, "value", unit))
    return _course(told, (frame["value"].min(), frame["value"].max()), tint, height, alt, colours, target=target)


def panels(frame: pd.DataFrame, *, by: str, unit: str, colours: Look = LIGHT) -> str:
    """Small multiples on one value axis, the largest groups first, with names and the ends of the axis."""
    sizes = frame.groupby(by)["n"].sum().sort_values(ascending=False)
    shown = sizes.index[:MOST_PANELS]
    values = frame.loc[frame[by].isin(shown), "value"]
    ends = values.min(), values.max()
    axis = f"from {text.format_value(ends[0], unit)} to {text.format_value(ends[1], unit)}"
    made = "".join(
        f"<div><strong>{words(name, 60)}</strong>"
        f"{_course(spoken(frame[frame[by] == name]), ends, colours.accent, 90, f'{name} over time, {axis}', colours)}"
        "</div>"
        for name in shown
    )
    more = f"The {len(shown)} largest of {len(sizes)} groups. " if len(sizes) > len(shown) else ""
    grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(240px,1fr));gap:1rem"
    return f'<p>{more}Every axis {words(axis)}.</p><div style="{grid}">{made}</div>'


def gauge(value: float, low: float, high: float, *, state: str, alt: str, colours: Look = LIGHT) -> str:
    """The index on its scale from 0 to 100: track, interval and mark."""
    tint, scale = state_colour(state, colours), (WIDE - 2 * MARGIN) / 100
    bars = ((0.0, 100.0, 8, colours.faint, 1.0), (low, high, 8, tint, 0.4), (value - 1, value + 1, 20, tint, 1.0))
    return _picture("".join(
        f'<rect x="{MARGIN + scale * a:.1f}" y="{12 - tall / 2:g}" width="{scale * (b - a):.1f}" height="{tall}" '
        f'rx="3" fill="{fill}" fill-opacity="{opacity}"/>'
        for a, b, tall, fill, opacity in bars
    ), 24, alt)  # fmt: skip


def effect(found: Finding, *, colour: str, colours: Look = LIGHT) -> str:
    """The change of a finding with its interval, better to the right, in smallest differences that matter: one scale
    for all, on which each mark is ten times the one before. colour: the role of its colour."""
    step, tint = _step(found), colours.states[colour]
    side = 1.0 if _better(found) == (found.change > 0) else -1.0
    at, low, high = (_place(side * v / step) for v in (found.change, found.low, found.high))
    marks = "".join(f"M{_place(v):.1f} 4v20" for v in (-100, -10, -1, 1, 10, 100))
    limits = text.format_change_interval(found.low, found.high, found.unit)
    times = text.format_value(abs(found.change) / step, "index")
    return _picture(
        f'<path d="{marks}" stroke="{colours.faint}"/><path d="M120 2v24" stroke="{colours.grey}" stroke-width="2"/>'
        f'<path d="M120 14H{at:.1f}" stroke="{tint}" stroke-width="8" stroke-opacity="0.35"/>'
        f'<path d="M{low:.1f} 14H{high:.1f}" stroke="{tint}" stroke-width="3"/>'
        f'<circle cx="{at:.1f}" cy="14" r="5" fill="{tint}"/>',
        28, f"{found.labels[0]}: {limits}, {times} times the smallest difference that matters",
    )  # fmt: skip


def _step(found: Finding) -> float:
    """The smallest difference that matters, in the unit of the change."""
    metric, share = METRICS.get(found.metric), found.unit == "share"
    size = metric.matters if metric and metric.unit == found.unit else 0.01 if share else 0.05
    return size * (1.0 if share or (metric and metric.signed) else abs(found.was)) or 1.0


def _better(found: Finding) -> bool:
    """Whether the change is for the better; of coverage, more is."""
    if found.kind == "mix" and found.metric in METRICS:
        return METRICS[found.metric].improves(found.change)
    return found.change > 0 if found.kind == "coverage" else found.kind == "improvement"


def _place(units: float) -> float:
    """Where a change lies; beyond the scale, and where nobody knows, at its end."""
    size = min(abs(units), REACH) if units == units else REACH
    return WIDE / 2 + math.copysign(math.log(1 + size, 1 + REACH), units) * (WIDE / 2 - 2 * MARGIN)


def _course(
    told: pd.DataFrame, ends: tuple[float, float], tint: str, height: float, alt: str, colours: Look, *,
    target: float = math.nan,
) -> str:  # fmt: skip
    """A line with gaps where nothing is known, limits, target, lone and unfinished points, the words of each bucket.

    told: at, value, shown, when, note, n, complete; perhaps low, high, interval. ends: of the value axis.
    """
    levels = [v for v in (*ends, target) if math.isfinite(v)] or [0.0]
    low, span = min(levels), max(levels) - min(levels)
    first, wide = told["at"].min(), told["at"].max() - told["at"].min()

    def y(value: float) -> float:
        share = min(max((value - low) / span, 0.0), 1.0) if span else 0.5
        return height - MARGIN - 2 - (height - 2 * MARGIN - 4) * share

    line, marks, titles, run = "", "", "", told["value"].isna().cumsum()
    known = told.assign(run=run, alone=told["value"].notna().groupby(run).transform("sum").eq(1))
    known, last = known[known["value"].notna()], -1
    for r in known.itertuples():
        share = (r.at - first) / wide if wide else 0.5
        x = MARGIN + (WIDE - 2 * MARGIN) * share
        line += f"{'L' if r.run == last else 'M'}{x:.1f} {y(r.value):.1f}"
        last = r.run
        if math.isfinite(getattr(r, "low", math.nan)) and math.isfinite(r.high):
            marks += f'<path d="M{x:.1f} {y(r.low):.1f}V{y(r.high):.1f}" stroke="{tint}" stroke-opacity="0.3"/>'
        if r.alone or not r.complete:
            fill = tint if r.complete else "none"
            marks += f'<circle cx="{x:.1f}" cy="{y(r.value):.1f}" r="2.6" fill="{fill}" stroke="{tint}"/>'
        if len(known) <= MOST_TITLES:
            more = f" ({r.interval})" if getattr(r, "interval", "") else ""
            said = f"{r.when}: {r.shown}{more}, n = {text.format_count(r.n)}" + (f"; {r.note}" if r.note else "")
            strip = f"left:{(100 - 100 / len(told)) * share:.2f}%;width:{100 / len(told):.2f}%"
            titles += f'<span title="{words(said)}" style="position:absolute;top:0;bottom:0;{strip}"></span>'
    rule = f'<path d="M0 {y(target):.1f}H{WIDE:g}" stroke="{colours.grey}" stroke-dasharray="5 4"/>'
    drawn = f'{rule if math.isfinite(target) else ""}<path d="{line}" fill="none" stroke="{tint}" stroke-width="1.8"/>'
    return _picture(drawn + marks, height, alt, f'<div aria-hidden="true">{titles}</div>')


def _picture(drawn: str, height: float, alt: str, titles: str = "") -> str:
    image = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE:g} {height:g}">{drawn}</svg>'
    source = f"data:image/svg+xml;base64,{b64encode(image.encode()).decode()}"
    return (f'<div style="position:relative;max-width:340px"><img alt="{words(alt, 600)}" src="{source}" '
            f'style="display:block;width:100%">{titles}</div>')  # fmt: skip
