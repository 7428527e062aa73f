"""Charts of reasons: waterfalls, differences around zero, where they differ. A small frame in, a chart out."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from kpi.charts.series import LIGHT, Look, axis, layered, names_axis, tints, tips
from kpi.govern.findings import Finding
from kpi.narrate import wording as text

MOST_STEPS = 7
REACH = 8.0  # how many smallest differences that matter a side of the forest shows


def waterfall(
    parts: pd.DataFrame, *, before: float, now: float, unit: str, direction: str, colours: Look = LIGHT
) -> alt.LayerChart:
    """From before to now in steps, the largest named and the rest as one. parts: label, effect; they sum to the change.

    low, high: limits of each effect where the parts have them, drawn as a whisker around the end of its bar; a step
    that is not known to differ from zero is then grey. direction: "up" where more is better, "down" where less is,
    "none" where neither.
    """
    steps = _steps(parts)
    bad, good = colours.states["red"], colours.states["green"]
    worse = {"up": lambda e: e < 0, "down": lambda e: e > 0}.get(direction)
    rows = [("Before", 0.0, before, colours.grey, text.format_value(before, unit), "", None, None)]
    level, known = before, any(low < high for _, _, low, high in steps)
    for label, size, low, high in steps:
        sure = not known or low > 0 or high < 0
        tint = colours.grey if not sure else colours.accent if worse is None else bad if worse(size) else good
        limits = text.format_change_interval(low, high, unit) if low < high else "not known"
        ends = (level + low, level + high) if low < high else (None, None)
        rows.append((str(label), level, level + size, tint, text.format_change(size, unit), limits, *ends))
        level += size
    rows.append(("Now", 0.0, now, colours.accent, text.format_value(now, unit), "", None, None))
    frame = pd.DataFrame(rows, columns=["label", "start", "end", "tint", "shown", "limits", "low", "high"])
    frame[["low", "high"]] = frame[["low", "high"]].astype(float)
    frame["edge"] = frame[["start", "end", "high"]].max(axis=1)
    levels = pd.concat([frame["end"], frame["start"].iloc[1:-1], frame["low"], frame["high"]]).dropna()
    low, high = float(levels.min()), float(levels.max())
    room = (high - low) * 0.25 or abs(high) * 0.1 or 1.0
    floor = 0.0 if low - room < 0 <= low else low - room  # the steps are small beside the level: zoomed in on them
    frame.loc[[0, len(frame) - 1], "start"] = floor
    scale = alt.Scale(domain=[floor, high + (high - low) * 0.35 + 1e-12], nice=False, zero=False)
    base = alt.Chart(frame).encode(y=names_axis("label", list(frame["label"])),
                                   tooltip=tips({"label": "Part", "shown": "Effect", "limits": "95 %"}))  # fmt: skip
    x = alt.X("start:Q", scale=scale, axis=axis(unit))
    bars = base.mark_bar(size=18, cornerRadius=2).encode(x=x, x2="end:Q", color=alt.Color("tint:N", scale=None))
    whiskers = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.5, color=colours.ink, opacity=0.75)
    edge = alt.X("edge:Q", scale=scale)
    texts = base.mark_text(align="left", dx=5, fontSize=12, color=colours.ink).encode(x=edge, text="shown:N")
    return layered(
        bars, whiskers.encode(x=alt.X("low:Q", scale=scale), x2="high:Q"), texts
    ).properties(height=alt.Step(28))  # fmt: skip


def _steps(parts: pd.DataFrame) -> list[tuple[str, float, float, float]]:
    """(label, effect, low, high), the largest first; what is beyond MOST_STEPS as one without limits."""
    ranked = parts.reindex(parts["effect"].abs().sort_values(ascending=False, kind="stable").index)
    cut = MOST_STEPS if len(ranked) > MOST_STEPS + 1 else len(ranked)
    named, rest = ranked.iloc[:cut], ranked.iloc[cut:]
    nan = float("nan")
    limits = [named[c] if c in named else [nan] * cut for c in ("low", "high")]
    steps = list(zip(named["label"], named["effect"], *limits, strict=True))
    return steps + ([(f"{len(rest)} others", float(rest["effect"].sum()), nan, nan)] if len(rest) else [])


def forest(frame: pd.DataFrame, *, colours: Look = LIGHT) -> alt.LayerChart:
    """Differences with intervals around zero, each in its own smallest difference that matters; better to the right.

    frame: of `kpi.Comparison.frame`. What reaches beyond the sides is cut there.
    """
    shown = frame[frame["difference"].notna() & frame["low"].notna() & frame["high"].notna()].copy()
    size = shown["matters"].where(~shown["relative"], shown["matters"] * shown["a"].abs())
    size = size.where(size > 0, 1.0)
    side = shown["direction"].map({"up": 1.0}).fillna(-1.0).astype(float)
    unsure = shown["verdict"] == "cannot tell"  # what it may be at worst, instead of what sampling leaves open
    for name in ("low", "high"):
        shown[name] = shown[name].mask(unsure, shown[f"bound_{name}"])
    for name in ("difference", "low", "high"):
        shown[f"x_{name}"] = (shown[name] / size * side).clip(-REACH, REACH)
    shown["tint"] = tints(shown["verdict"], colours)
    shown["moved"] = text.changes(shown, "difference")
    shown["interval"] = text.change_intervals(shown, "low", "high")
    scale = alt.Scale(domain=[-REACH, REACH], nice=False)
    marks = alt.Axis(title=None, values=[-REACH, 0, REACH], tickSize=0, labelFlush=True,
                     labelExpr="datum.value < 0 ? '← worse' : datum.value > 0 ? 'better →' : 'same'")  # fmt: skip
    tip = tips({"label": "Metric", "verdict": "Verdict", "moved": "Difference", "interval": "Interval"})
    band = alt.Chart(pd.DataFrame({"from": [-1.0], "to": [1.0]})).mark_rect(color=colours.faint, opacity=0.7)
    zero = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(color=colours.grey)
    base = alt.Chart(shown).encode(y=names_axis("label", list(shown["label"])), tooltip=tip)
    tint = alt.Color("tint:N", scale=None)
    return layered(
        band.encode(x=alt.X("from:Q", scale=scale, axis=marks), x2="to:Q"),
        zero.encode(x=alt.X("at:Q", scale=scale)),
        base.mark_rule(strokeWidth=3, opacity=0.5).encode(x=alt.X("x_low:Q", scale=scale), x2="x_high:Q", color=tint),
        base.mark_point(size=90, filled=True, opacity=1).encode(x=alt.X("x_difference:Q", scale=scale), color=tint),
    ).properties(height=alt.Step(26))


def heat(frame: pd.DataFrame, *, within: str, metrics: Sequence[str], colours: Look = LIGHT) -> alt.LayerChart:
    """Differences by group and metric; only what is clear carries colour and a number. frame: of `compare_within`."""
    shown = frame[frame["metric"].isin(metrics) & frame["difference"].notna()].copy()
    shown["group"] = shown[within].fillna("(none)").astype(str)
    labels = dict(zip(shown["metric"], shown["label"], strict=True))
    shown["moved"] = text.changes(shown, "difference")
    shown["clear"] = shown["verdict"].isin(["better", "worse", "higher", "lower"])
    shown["tint"] = pd.Series(tints(shown["verdict"], colours), shown.index).where(shown["clear"], colours.faint)
    order = list(shown.groupby("group")["n_a"].sum().sort_values(ascending=False).index)
    base = alt.Chart(shown).encode(
        x=alt.X("label:N", sort=[labels[m] for m in metrics if m in labels], title=None,
                axis=alt.Axis(orient="top", labelAngle=-35, labelLimit=140, ticks=False, domain=False)),
        y=names_axis("group", order), tooltip=tips({"group": "Group", "sentence": "Finding"}),
    )  # fmt: skip
    faint = alt.condition("datum.clear", alt.value(0.35), alt.value(0.5))
    cells = base.mark_rect(cornerRadius=3).encode(color=alt.Color("tint:N", scale=None), opacity=faint)
    texts = base.transform_filter("datum.clear").mark_text(fontSize=11, color=colours.ink).encode(text="moved:N")
    return layered(cells, texts).properties(height=alt.Step(32))


def lifts(frame: pd.DataFrame, *, colours: Look = LIGHT) -> alt.LayerChart:
    """How many times as often failed requests have a trait, on a log scale around 1. frame: of `Contrast.lifts`."""
    bad, good = colours.states["red"], colours.states["green"]
    shown = frame[["trait", "lift", "low", "high", "failed_share", "success_share", "n"]].copy()
    shown["tint"] = [bad if v > 1 else good for v in shown["lift"]]
    shown["failed"] = text.values(shown, "failed_share", "share")
    shown["succeeded"] = text.values(shown, "success_share", "share")
    names = {"trait": "Trait", "failed": "Of failed", "succeeded": "Of successful", "n": "Requests"}
    scale = alt.Scale(type="log")
    traits, tint = names_axis("trait", list(shown["trait"]), 220), alt.Color("tint:N", scale=None)
    base = alt.Chart(shown).encode(y=traits, color=tint, tooltip=tips(names))
    ticks = alt.Axis(title=None, values=[0.1, 0.25, 0.5, 1, 2, 4, 10, 25], labelExpr="datum.value + '×'")
    one = alt.Chart(pd.DataFrame({"lift": [1.0]})).mark_rule(strokeDash=[6, 4], color=colours.grey)
    return layered(
        one.encode(x=alt.X("lift:Q", scale=scale, axis=ticks)),
        base.mark_rule(strokeWidth=3, opacity=0.45).encode(x=alt.X("low:Q", scale=scale, axis=ticks), x2="high:Q"),
        base.mark_point(size=100, filled=True, opacity=1).encode(x=alt.X("lift:Q", scale=scale, axis=ticks)),
    ).properties(height=alt.Step(28))


def marks(found: Sequence[Finding]) -> pd.DataFrame:
    """The first days of findings as events of a chart."""
    return pd.DataFrame({"at": [pd.Timestamp(f.since) for f in found],
                         "when": [f"{f.since:%a %d %b %Y}" for f in found],
                         "name": [f"changed {f.since.day} {f.since:%b}" for f in found],
                         "description": [f.sentence for f in found], "kind": "finding",
                         "level": [-15 - 12 * i for i in range(len(found))]})  # fmt: skip


def frontier(options: pd.DataFrame, *, target: float, cost_unit: str, colours: Look = LIGHT) -> alt.LayerChart:
    """Quality against cost, both with intervals, the target as a line. options: of `kpi.Frontier`."""
    shown = options[options["cost"].notna() & options["quality"].notna()].copy()
    shown["tint"] = tints(shown["verdict"], colours)
    shown["q"] = text.values(shown, "quality", "share")
    shown["c"] = text.values(shown, "cost", cost_unit)
    scale = alt.Scale(zero=False)
    names = {"option": "Option", "q": "Quality", "c": "Cost", "verdict": "Target", "n": "Requests"}
    base = alt.Chart(shown).encode(color=alt.Color("tint:N", scale=None), tooltip=tips(names))
    at_x = alt.X("cost:Q", scale=scale, axis=axis(cost_unit))
    at_y = alt.Y("quality:Q", scale=scale, axis=axis("share"))
    width = alt.X("cost_low:Q", scale=scale, axis=axis(cost_unit))
    height = alt.Y("quality_low:Q", scale=scale, axis=axis("share"))
    whiskers = base.mark_rule(strokeWidth=2.5, opacity=0.45)
    goal = alt.Chart(pd.DataFrame({"quality": [target]})).mark_rule(strokeDash=[6, 4], color=colours.grey)
    return layered(
        goal.encode(y=at_y),
        whiskers.encode(x=width, x2="cost_high:Q", y=at_y),
        whiskers.encode(x=at_x, y=height, y2="quality_high:Q"),
        base.mark_point(size=120, filled=True, opacity=1).encode(x=at_x, y=at_y),
        base.mark_text(align="left", dx=9, dy=-9, fontSize=12).encode(x=at_x, y=at_y, text="option:N"),
    ).properties(height=320)
