"""Small pictures as HTML text: courses over time, the gauge of the index, bars of effects. No chart library draws them.

Numbers in, text out. A picture is an SVG image, which runs nothing; every word beside it is escaped. It says in words
what it shows, to those who hear the page (`alt`) and beside the pointer (a title for every bucket).
"""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from html import escape

import pandas as pd

from kpi.charts.series import BAND, LIGHT, Look, placed, spoken, state_colour
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


def spark(frame: pd.DataFrame, *, unit: str, target: float, state: str, alt: str, colours: Look = LIGHT,
          height: float = 44) -> str:  # fmt: skip
    """The course of a KPI with its target as a dashed rule; grey unless the state asks for attention."""
    tint = state_colour(state, colours) if state in ("watch", "off_target") else colours.grey
    told = placed(frame).assign(unit=unit)
    told["shown"] = text.values(told, "value")
    return _picture(_course(told, tint, colours, height, target=target), height, alt, _titles(told))


def panels(frame: pd.DataFrame, *, by: str, unit: str, colours: Look = LIGHT) -> str:
    """Small multiples on one value axis, the largest groups first, with names and the ends of the axis."""
    sizes = frame.groupby(by)["n"].sum().sort_values(ascending=False)
    drawn = frame[frame[by].isin(sizes.index[:MOST_PANELS])]
    ends = drawn["value"].min(), drawn["value"].max()
    low, high = (text.format_value(float(v), unit) for v in ends)
    made = []
    for name in sizes.index[:MOST_PANELS]:
        told = spoken(drawn[(drawn[by] == name) & drawn["value"].notna()])
        alt = f"{name} over time, on an axis from {low} to {high}"
        line = _course(told, colours.accent, colours, 90, ends=ends)
        made.append(f"<div><strong>{words(name, 60)}</strong>{_picture(line, 90, alt, _titles(told))}</div>")
    grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(240px,1fr));gap:1rem"
    more = f"The {len(made)} largest of {len(sizes)} groups. " if len(sizes) > len(made) else ""
    return f'<p>{more}Every axis from {words(low)} to {words(high)}.</p><div style="{grid}">{"".join(made)}</div>'


def gauge(value: float, low: float, high: float, *, state: str, alt: str, colours: Look = LIGHT) -> str:
    """The index on its scale from 0 to 100: track, interval and mark."""
    tint, scale = state_colour(state, colours), (WIDE - 2 * MARGIN) / 100
    bars = [(0.0, 100.0, 8, 8, colours.faint, 1.0), (low, high, 8, 8, tint, 0.4),
            (value - 1, value + 1, 2, 20, tint, 1.0)]  # fmt: skip
    drawn = "".join(
        f'<rect x="{MARGIN + scale * a:.1f}" y="{y}" width="{max(scale * (b - a), 1):.1f}" height="{tall}" rx="3" '
        f'fill="{fill}" fill-opacity="{opacity}"/>'
        for a, b, y, tall, fill, opacity in bars if math.isfinite(a) and math.isfinite(b)
    )  # fmt: skip
    return _picture(drawn, 24, alt)


def effect(found: Finding, *, colour: str, colours: Look = LIGHT) -> str:
    """The change of a finding with its interval, better to the right, in smallest differences that matter: one scale
    for all, on which each mark is ten times the one before. colour: the role of its colour."""
    step, side = _step(found), 1.0 if _better(found) == (found.change > 0) else -1.0
    at = {v: _place(side * v / step) for v in (found.change, found.low, found.high) if math.isfinite(v)}
    tint, zero, low, high = colours.states[colour], _place(0), min(at.values()), max(at.values())
    marks = "".join(f'<path d="M{_place(v):.1f} 4v20" stroke="{colours.faint}"/>' for v in (-100, -10, -1, 1, 10, 100))
    drawn = (
        f'{marks}<path d="M{zero:.1f} 2v24" stroke="{colours.grey}" stroke-width="2"/>'
        f'<path d="M{zero:.1f} 14H{at[found.change]:.1f}" stroke="{tint}" stroke-width="8" stroke-opacity="0.35"/>'
        f'<path d="M{low:.1f} 14H{high:.1f}" stroke="{tint}" stroke-width="3"/>'
        f'<circle cx="{at[found.change]:.1f}" cy="14" r="5" fill="{tint}"/>'
    )
    limits = text.format_change_interval(found.low, found.high, found.unit)
    times = text.format_value(abs(found.change) / step, "index")
    return _picture(drawn, 28, f"{found.labels[0]}: {limits}, {times} times the smallest difference that matters")


def _step(found: Finding) -> float:
    """The smallest difference that matters, in the unit of the change."""
    metric = METRICS.get(found.metric)
    share = found.unit == "share"
    size = metric.matters if metric and metric.unit == found.unit else 0.01 if share else 0.05
    return size * (1.0 if share or (metric and metric.signed) else abs(found.was)) or 1.0


def _better(found: Finding) -> bool:
    """Whether the change is for the better; of coverage, more is."""
    metric = METRICS.get(found.metric)
    if found.kind == "coverage" or metric is None:
        return found.change > 0 if found.kind == "coverage" else found.kind == "improvement"
    return metric.improves(found.change)


def _place(units: float) -> float:
    reach = math.log10(1 + min(abs(units), REACH)) / math.log10(1 + REACH)
    return WIDE / 2 + math.copysign(reach, units) * (WIDE / 2 - 2 * MARGIN)


def _course(
    told: pd.DataFrame, tint: str, colours: Look, height: float, *, target: float = math.nan,
    ends: Sequence[float] | None = None,
) -> str:  # fmt: skip
    """Line with gaps where nothing is known, band of limits, target, lone and unfinished points, and the words of each
    bucket. told: at, value, shown, when, note, n, complete; perhaps low, high, interval."""
    known = told[told["value"].notna()]
    if known.empty:
        return ""
    span = [v for v in (ends or (known["value"].min(), known["value"].max())) if math.isfinite(v)]
    low, high = (f([*span, target] if math.isfinite(target) else span) for f in (min, max))
    room = height - 2 * MARGIN - 4
    share_of = _shares(told)

    def x(at: pd.Timestamp) -> float:
        return MARGIN + (WIDE - 2 * MARGIN) * share_of(at)

    def y(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low) if high > low else 0.5
        return height - MARGIN - 2 - room * share

    runs = [r for _, r in told.groupby(told["value"].isna().cumsum()) if r["value"].notna().any()]
    runs = [r[r["value"].notna()] for r in runs]
    drawn = []
    if {"low", "high"} <= set(told):
        bounded = [r[r["low"].notna() & r["high"].notna()] for r in runs]
        sides = [[*zip(r["at"], r["low"], strict=True), *zip(r["at"][::-1], r["high"][::-1], strict=True)]
                 for r in bounded if len(r) > 1]  # fmt: skip
        drawn += [f'<polygon points="{_points(s, x, y)}" fill="{tint}" fill-opacity="{BAND}"/>' for s in sides]
    if math.isfinite(target):
        drawn.append(f'<path d="M0 {y(target):.1f}H{WIDE}" stroke="{colours.grey}" stroke-dasharray="5 4"/>')
    for run in runs:
        line = _points(zip(run["at"], run["value"], strict=True), x, y)
        drawn.append(f'<polyline points="{line}" fill="none" stroke="{tint}" stroke-width="1.8"/>')
        drawn += [
            f'<circle cx="{x(r.at):.1f}" cy="{y(r.value):.1f}" r="2.6" fill="{tint if r.complete else "none"}" '
            f'stroke="{tint}" stroke-width="1.4"/>'
            for r in run.itertuples() if len(run) == 1 or not r.complete
        ]  # fmt: skip
    return "".join(drawn)


def _shares(told: pd.DataFrame) -> Callable[[pd.Timestamp], float]:
    """Where a moment lies between the first bucket (0) and the last (1); a lone one in the middle."""
    first, last = told["at"].min(), told["at"].max()
    return lambda at: float((at - first) / (last - first)) if last > first else 0.5


def _points(
    places: Iterable[tuple[pd.Timestamp, float]], x: Callable[[pd.Timestamp], float], y: Callable[[float], float]
) -> str:
    return " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in places)


def _titles(told: pd.DataFrame) -> str:
    """What shows beside the pointer: a strip a bucket, with its value, limits and n in words."""
    known, share_of = told[told["value"].notna()], _shares(told)
    wide = 100 / max(len(told), 1)
    strips = []
    for r in known.itertuples() if len(known) <= MOST_TITLES else ():
        limits = f" ({r.interval})" if getattr(r, "interval", "") else ""
        said = f"{r.when}: {r.shown}{limits}, n = {text.format_count(r.n)}" + (f"; {r.note}" if r.note else "")
        place = f"position:absolute;top:0;bottom:0;left:{(100 - wide) * share_of(r.at):.2f}%;width:{wide:.2f}%"
        strips.append(f'<span title="{words(said)}" style="{place}"></span>')
    return f'<div aria-hidden="true">{"".join(strips)}</div>'


def _picture(drawn: str, height: float, alt: str, titles: str = "") -> str:
    image = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE:g} {height:g}">{drawn}</svg>'
    source = f"data:image/svg+xml;base64,{b64encode(image.encode()).decode()}"
    return (f'<div style="position:relative;max-width:340px"><img alt="{words(alt, 600)}" src="{source}" '
            f'style="display:block;width:100%">{titles}</div>')  # fmt: skip
