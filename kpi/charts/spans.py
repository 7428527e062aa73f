"""Charts of one trace and of one column's drift. As `kpi.charts.series`: a small frame in, an Altair chart out."""

from __future__ import annotations

import altair as alt
import pandas as pd

from kpi.charts import series as charts
from kpi.narrate import wording as text

STAGES = ("llm", "retriever", "reranker", "tool", "guardrail", "agent", "chain", "embedding", "evaluator", "other")


def steps(spans: pd.DataFrame) -> pd.DataFrame:
    """The spans of a `kpi.Trace` as `waterfall` draws them: in their order, with words for the tooltips."""
    named = enumerate(zip(spans["depth"], spans["name"], strict=True))
    rows = [f"{i:04d}\x01{'  ' * int(depth)}{str(name)[:80]}" for i, (depth, name) in named]
    told = spans.assign(row=rows, took=text.values(spans, "duration_ms", "ms"))
    told["began"] = text.values(spans, "offset_ms", "ms")
    return told[["row", "name", "kind", "status", "offset_ms", "duration_ms", "critical", "took", "began"]]


def waterfall(spans: pd.DataFrame, *, colours: charts.Look = charts.LIGHT) -> alt.LayerChart:
    """Spans of one trace, as of `steps`, on its time axis: by kind, indented by depth, critical path bold."""
    kinds = [k for k in STAGES if k in set(spans["kind"])]
    palette = [*colours.colours, colours.grey, colours.grey, colours.grey, colours.grey]
    scale = alt.Scale(domain=kinds, range=[palette[STAGES.index(k)] for k in kinds])
    order = list(spans["row"])
    ms = charts.axis("ms")
    ended = alt.Chart(spans).transform_calculate(end_ms="datum.offset_ms + datum.duration_ms")
    names = alt.Axis(labelExpr="split(datum.label, '\\u0001')[1]", labelLimit=170, ticks=False, domain=False,
                     labelAlign="left", labelPadding=170)  # fmt: skip
    tips = charts.tips({"name": "Span", "kind": "Kind", "took": "Took", "began": "Began after", "status": "Status"})
    base = ended.encode(y=alt.Y("row:N", sort=order, title=None, axis=names), tooltip=tips)
    bars = base.mark_bar(cornerRadius=2).encode(
        x=alt.X("offset_ms:Q", axis=ms, scale=alt.Scale(zero=True)), x2="end_ms:Q",
        color=alt.Color("kind:N", scale=scale, legend=charts.legend(columns=2)),
        opacity=alt.condition("datum.critical", alt.value(1.0), alt.value(0.45)),
        size=alt.condition("datum.critical", alt.value(16), alt.value(9)),
    )  # fmt: skip
    red = colours.states["red"]
    wrong = base.transform_filter("datum.status == 'error'")
    rings = wrong.mark_bar(filled=False, stroke=red, strokeWidth=2, size=18).encode(x="offset_ms:Q", x2="end_ms:Q")
    words = wrong.mark_text(align="left", dx=6, color=red, fontSize=11, fontWeight="bold")
    words = words.encode(x="end_ms:Q", text=alt.value("error"))
    return charts.layered(bars, rings, words).properties(height=alt.Step(24))


def distributions(frame: pd.DataFrame, *, colours: charts.Look = charts.LIGHT) -> alt.Chart:
    """Shares now and in the baseline side by side. frame: value, now, baseline; classes of numbers carry a number."""
    frame = frame.assign(value=frame["value"].str.replace(r"^\d\d (?=up to |over )", "", regex=True))
    long = frame.melt(id_vars="value", value_vars=["now", "baseline"], var_name="window", value_name="share")
    windows = ["Now", "Baseline"]
    long = long.assign(shown=text.values(long, "share", "share"), window=long["window"].str.capitalize())
    scale = alt.Scale(domain=windows, range=[colours.accent, colours.grey])
    bars: alt.Chart = alt.Chart(long).mark_bar(cornerRadiusEnd=2).encode(
        y=charts.names_axis("value", list(frame["value"]), 170), yOffset=alt.YOffset("window:N", sort=windows),
        x=alt.X("share:Q", axis=charts.axis("share")), color=alt.Color("window:N", scale=scale, legend=charts.legend()),
        tooltip=charts.tips({"value": "Value", "window": "Window", "shown": "Share"}),
    ).properties(height=alt.Step(15))  # fmt: skip
    return bars


def distance(
    series: pd.DataFrame, *, colours: charts.Look = charts.LIGHT, events: pd.DataFrame | None = None
) -> alt.LayerChart:
    """Distance from the baseline over time above a band of what no change would show."""
    zero = charts.placed(series.assign(floor=0.0))
    y = alt.Y("distance:Q", axis=charts.axis("distance"), scale=alt.Scale(zero=True))
    base = alt.Chart(zero).encode(x=charts.time_axis(zero))
    zero = zero.assign(**{f"{c}_shown": text.values(zero, c, "distance") for c in ("distance", "noise")})
    tip = {"when": "When", "distance_shown": "Distance", "noise_shown": "Noise reaches", "n": "Requests",
           "note": "Note"}  # fmt: skip
    floor = alt.Y("floor:Q", axis=charts.axis("distance"))
    band = base.mark_area(color=colours.grey, opacity=0.18).encode(y=floor, y2="noise:Q")
    line = base.mark_line(strokeWidth=2, color=colours.accent).encode(y=y)
    points = charts.lone(zero, None, x=charts.time_axis(zero), y=y, color=alt.value(colours.accent))
    unfinished = charts.hollow(base, color=colours.accent).encode(y=y)
    marks = charts.event_marks(events, colours, zero)
    near = charts.pointer(zero, tip, colours)
    return charts.layered(band, line, unfinished, *points, near, *marks).properties(height=260)
