"""Charts: a small frame in, an Altair chart out. No arithmetic on values, no Streamlit, at most 500 points.

Times in frames are local and naive; the scale is "utc" so that a browser elsewhere shows the same days. A bucket that
is not finished is a hollow point, and its tooltip says so. Colours come from `Look`, one for light and one for dark,
because no grey reads on both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from kpi.disk.tables import table_of
from kpi.measure.metrics import METRICS
from kpi.narrate import wording as text

_TABLE = table_of(__file__, "looks")
VERDICTS: dict[str, str] = _TABLE["verdict"]  # the role of a verdict's colour
MOST_POINTS = 500
MOST_LINES = 6
BAND = 0.14
EVENT = {"when": "When", "name": "Event", "description": "What"}
POINT = {"when": "When", "shown": "Value", "interval": "95 %", "n": "Requests"}


@dataclass(frozen=True, kw_only=True)
class Look:
    """Colours of a theme. colours: of series, in a fixed order; states: by the role that `kpi.wording.STATES` names."""

    accent: str
    ink: str
    grey: str
    faint: str
    colours: tuple[str, ...]
    states: dict[str, str]


LIGHT, DARK = (Look(**(t | {"colours": tuple(t["colours"])})) for t in _TABLE["look"].values())


def look(theme: str | None) -> Look:
    return DARK if theme == "dark" else LIGHT


def tips(titles: Mapping[str, str]) -> list[alt.Tooltip]:
    """What shows on hover: columns and their titles."""
    return [alt.Tooltip(column, title=title) for column, title in titles.items()]


def names_axis(column: str, order: Sequence[str] | str, limit: int = 150) -> alt.Y:
    """Names down the side, in an order of their own."""
    return alt.Y(f"{column}:N", sort=order, title=None, axis=alt.Axis(labelLimit=limit, ticks=False, domain=False))


def layered(*parts: alt.Chart | alt.LayerChart) -> alt.LayerChart:
    """Charts over each other; `alt.layer` would give a facet where one of them is a facet, which none is."""
    found = alt.layer(*parts)
    assert isinstance(found, alt.LayerChart)
    return found


def tints(verdicts: Iterable[str], colours: Look) -> list[str]:
    """The colours of verdicts."""
    return [colours.states[VERDICTS.get(v, "gray")] for v in verdicts]


def state_colour(state: str, colours: Look) -> str:
    return colours.states[text.STATES[state].colour]


def axis(unit: str) -> alt.Axis:
    """A value axis in the unit that people read."""
    if unit == "share":
        return alt.Axis(format=".3~p", tickCount=5, title=None)
    if unit == "usd":
        return alt.Axis(format="$,.3~r", tickCount=5, title=None)
    if unit == "ms":
        label = "datum.value >= 1000 ? format(datum.value / 1000, '.3~r') + ' s' : format(datum.value, '.3~r') + ' ms'"
        return alt.Axis(labelExpr=label, tickCount=5, title=None)
    return alt.Axis(format=",.3~r", tickCount=5, title=None)


def spoken(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its numbers in words for tooltips: shown, interval, and when for the bucket."""
    told = frame.assign(shown=text.values(frame, "value"))
    if "low" in frame:
        told["interval"] = [interval or UNSURE for interval in text.intervals(frame, "low", "high")]
    if "bucket" not in frame or frame["bucket"].isna().all():
        return told
    return placed(told)


def placed(frame: pd.DataFrame) -> pd.DataFrame:
    """A series with `at`, its place on the axis, `when` and `note` for tooltips. Hours are as far apart as they are,
    also where the clock changes: they lie where the clock of the first one would show them."""
    told = frame.assign(complete=frame.get("complete", True))
    told["note"] = told["complete"].map({True: "", False: UNFINISHED})
    if not _hourly(frame):
        return told.assign(at=frame["bucket"], when=frame["bucket"].dt.strftime("%a %d %b %Y"))
    changes = len(_clocks(frame)) > 1
    told["when"] = frame["start"].dt.strftime("%a %d %b %Y %H:%M" + (" %z" if changes else ""))
    return told.assign(at=_on_axis(frame["start"], frame))


def _hourly(frame: pd.DataFrame) -> bool:
    return "start" in frame and bool((frame["bucket"].dt.hour != 0).any())


def _on_axis(moments: pd.Series, frame: pd.DataFrame) -> pd.Series:
    return moments.dt.tz_convert("UTC").dt.tz_localize(None) + frame["start"].min().utcoffset()


def _clocks(frame: pd.DataFrame) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """The first hour of each offset from UTC in a series of hours: its place on the axis, and what the clock shows."""
    found = frame.drop_duplicates("start").sort_values("start").assign(at=lambda f: _on_axis(f["start"], f))
    step = (found["at"] - found["bucket"]).diff().ne(pd.Timedelta(0))
    return list(found[step][["at", "start"]].itertuples(index=False, name=None))


UNSURE = "not known"
UNFINISHED = "not finished: the data or the window begin or end in it"


def hollow(base: alt.Chart, when: str = "!datum.complete", **more: Any) -> alt.Chart:
    """Hollow points where a bucket is not finished, which the tooltip says."""
    found: alt.Chart = base.transform_filter(when).mark_point(size=34, filled=False, strokeWidth=1.4, **more)
    return found.encode(tooltip=tips({"when": "When", "note": "Note"}))


def lone(told: pd.DataFrame, by: str | None, **channels: Any) -> list[alt.Chart]:
    """A mark for every series of one point, which makes no line; no layer where there is none."""
    alone = told[told.groupby(by)["at"].transform("size").eq(1)] if by else told.iloc[: int(len(told) == 1)]
    return [alt.Chart(alone).mark_point(size=70, filled=True, opacity=1).encode(**channels)] if len(alone) else []


def toggled(lines: alt.Chart, by: str, opacity: float = 1.0) -> alt.Chart:
    """Lines of which a click on the legend shows one alone."""
    chosen = alt.selection_point(name="chosen", fields=[by], bind="legend")
    found: alt.Chart = lines.encode(opacity=alt.condition(chosen, alt.value(opacity), alt.value(0.12)))
    return found.add_params(chosen)


def pointer(told: pd.DataFrame, columns: Mapping[str, str], colours: Look, *, by: str | None = None) -> alt.Chart:
    """A rule at the bucket nearest to the pointer with one tooltip: columns by title, or a line of every series."""
    shown, wide = tips(columns), told
    if by:
        limits = [f" ({i})" if i != UNSURE else "" for i in told["interval"]]
        said = told["shown"] + limits + ", n = " + told["n"].map(text.format_count)
        names = _order(told, by)
        wide = told.assign(said=said).pivot(index=["at", "when"], columns=by, values="said")[names]
        wide = wide.set_axis([f"s{i}" for i in range(len(names))], axis=1).fillna(text.UNKNOWN).reset_index()
        shown = [*tips({"when": "When"}), *(alt.Tooltip(f"s{i}", title=str(v)[:60]) for i, v in enumerate(names))]
    near = alt.selection_point(name="near", nearest=True, on="pointerover", clear="pointerout", encodings=["x"],
                               empty=False)  # fmt: skip
    rule = alt.Chart(wide).mark_rule(color=colours.grey, strokeWidth=1)
    seen = alt.condition(near, alt.value(0.7), alt.value(0))
    found: alt.Chart = rule.encode(x=time_axis(told), tooltip=shown, opacity=seen)
    return found.add_params(near)


def trend(
    frame: pd.DataFrame, *, unit: str, colours: Look = LIGHT, by: str | None = None, min_n: int = 30,
    target: float | None = None, events: pd.DataFrame | None = None, smooth: pd.DataFrame | None = None,
) -> alt.LayerChart:  # fmt: skip
    """One metric over time: interval band, hollow points where n is small, target dashed, events as labelled rules.

    frame: of `kpi.summarise(every=…)`. by: column that splits it into lines. smooth: of `kpi.rolling`, drawn on top.
    """
    told = spoken(frame[frame["value"].notna()]).assign(small=lambda f: f["n"] < min_n)
    colour, x = _series(told, by, colours), time_axis(told)
    base = alt.Chart(told).encode(x=x)
    y = alt.Y("value:Q", scale=alt.Scale(zero=False), axis=axis(unit))
    layers: list[alt.Chart] = []
    if by is None and told["low"].notna().any():
        bounded = alt.Chart(told[told["low"].notna() & told["high"].notna()]).encode(x=x)
        band = bounded.mark_area(opacity=BAND, color=colours.accent, clip=True)
        layers.append(band.encode(y=alt.Y("low:Q", axis=axis(unit), scale=alt.Scale(zero=False)), y2="high:Q"))
    if target is not None:
        goal = alt.Chart(pd.DataFrame({"value": [target], "label": ["target"]})).encode(y=y)
        layers.append(goal.mark_rule(strokeDash=[6, 4], color=colours.grey, strokeWidth=1.2))
        label = goal.mark_text(align="left", dx=4, dy=-7, color=colours.grey, fontSize=11)
        layers.append(label.encode(x=alt.value(0), text="label:N"))
    faded = 0.35 if smooth is not None else 1.0
    line = base.mark_line(strokeWidth=2, opacity=faded).encode(y=y, color=colour, strokeDash=_dashes(told, by))
    layers.append(toggled(line, by, faded) if by else line)
    layers.append(hollow(base, "datum.small || !datum.complete", opacity=faded).encode(y=y, color=colour))
    layers += lone(told, by, x=x, y=y, color=colour)
    if smooth is not None:
        drawn = placed(smooth[smooth["value"].notna()])
        line = alt.Chart(drawn).mark_line(strokeWidth=2.6)
        layers.append(line.encode(x=x, y=y, color=_series(drawn, by, colours)))
    layers += [pointer(told, _point(told), colours, by=by), *event_marks(events, colours, told)]
    return layered(*layers).properties(height=340)


def percentiles(
    frame: pd.DataFrame, *, unit: str, colours: Look = LIGHT, target: float | None = None,
    events: pd.DataFrame | None = None,
) -> alt.LayerChart:  # fmt: skip
    """Percentile lines of one quantity over time, the widest first. frame: rows of several quantile metrics."""
    names = {m: METRICS[m].label if m in METRICS else m for m in frame["metric"].unique()}
    told = spoken(frame[frame["value"].notna()]).assign(metric=lambda f: f["metric"].map(names))
    order = list(names.values())
    scale = alt.Scale(domain=order, range=[colours.accent, colours.colours[1], colours.colours[2]][: len(order)])
    base = alt.Chart(told).encode(x=time_axis(told), y=alt.Y("value:Q", axis=axis(unit), scale=alt.Scale(zero=True)))
    colour = alt.Color("metric:N", scale=scale, legend=legend(line=True))
    layers: list[alt.Chart] = [
        base.mark_area(opacity=BAND).encode(y=alt.Y("low:Q", axis=axis(unit)), y2="high:Q", color=colour),
        toggled(base.mark_line(strokeWidth=2).encode(color=colour), "metric"),
        hollow(base).encode(color=colour),
        *lone(told, "metric", x=time_axis(told), y=alt.Y("value:Q", axis=axis(unit)), color=colour),
        pointer(told, {}, colours, by="metric"),
    ]
    if target is not None:
        rule = alt.Chart(pd.DataFrame({"value": [target]})).mark_rule(strokeDash=[6, 4], color=colours.grey)
        layers.append(rule.encode(y="value:Q"))
    return layered(*layers, *event_marks(events, colours, told)).properties(height=340)


def dots(
    frame: pd.DataFrame, *, by: str, unit: str, whole: float, colours: Look = LIGHT, order: Sequence[str]
) -> alt.LayerChart:
    """A dot and its interval for every group, the whole as a rule. order: groups from the top."""
    told = spoken(frame[frame["value"].notna()])
    tip = tips({by: "Group", "shown": "Value", "interval": "95 %", "n": "Requests", "clusters": "Users"})
    base = alt.Chart(told).encode(y=names_axis(by, list(order), 170))
    tint = alt.Color("tint:N", scale=None)
    x = alt.X("value:Q", axis=axis(unit), scale=alt.Scale(zero=False))
    rule = alt.Chart(pd.DataFrame({"value": [whole]})).mark_rule(color=colours.grey, strokeDash=[6, 4])
    return layered(
        rule.encode(x=x),
        base.transform_filter("isValid(datum.low) && isValid(datum.high)")
        .mark_rule(strokeWidth=3, opacity=0.45)
        .encode(x=alt.X("low:Q", axis=axis(unit), scale=alt.Scale(zero=False)), x2="high:Q", color=tint, tooltip=tip),
        base.mark_point(size=110, filled=True, opacity=1).encode(x=x, color=tint, tooltip=tip),
    ).properties(height=alt.Step(34))


def stacked(frame: pd.DataFrame, *, colours: Look = LIGHT, over_time: bool, by: str = "") -> alt.LayerChart:
    """Parts of a cost as stacked bars, over time or by group. frame: part, value, unit, and bucket or the group."""
    told = spoken(frame[frame["value"].notna()])
    parts = list(dict.fromkeys(told["part"]))
    scale = alt.Scale(domain=parts, range=list(colours.colours[: len(parts)]))
    colour = alt.Color("part:N", scale=scale, legend=legend())
    order = alt.Order("rank:Q")
    told = told.assign(rank=told["part"].map({p: i for i, p in enumerate(parts)}))
    tip = {"part": "Part", "shown": "Value", **({"when": "When", "note": "Note"} if over_time else {by: "Group"})}
    bars = alt.Chart(told).encode(color=colour, order=order, tooltip=tips(tip))
    size: dict[str, Any] = {"stack": "zero", "axis": axis("usd")}
    if not over_time:
        bars = bars.mark_bar(size=18).encode(y=names_axis(by, "-x", 170), x=alt.X("value:Q", **size))
        return layered(bars).properties(height=alt.Step(32))
    base = alt.Chart(told).encode(x=time_axis(told))
    areas = bars.mark_area(opacity=0.85, interpolate="step-after", strokeWidth=0)
    areas = areas.encode(x=time_axis(told), y=alt.Y("value:Q", **size))
    tops = hollow(base, color=colours.ink).encode(y=alt.Y("sum(value):Q", axis=axis("usd")))
    return layered(areas, tops).properties(height=280)


def timeline(events: pd.DataFrame, *, span: tuple[pd.Timestamp, pd.Timestamp], colours: Look = LIGHT) -> alt.LayerChart:
    """Events by kind on the time axis of the window; the table below it has their names in full."""
    scale = alt.Scale(type="utc", domain=[_stamp(t) for t in span])
    days = alt.Axis(format="%d %b", grid=False, tickCount=6, labelOverlap=True)
    kinds = alt.Y("kind:N", title=None, axis=alt.Axis(grid=True, ticks=False, domain=False))
    base = alt.Chart(events).encode(x=alt.X("at:T", title=None, scale=scale, axis=days), y=kinds, tooltip=tips(EVENT))
    marks = base.mark_point(shape="diamond", size=110, filled=True, opacity=1, color=colours.accent)
    names = base.mark_text(align="left", dx=9, fontSize=11, color=colours.grey, limit=150).encode(text="name:N")
    return layered(marks, names).properties(height=alt.Step(34))


def time_axis(frame: pd.DataFrame, ticks: int = 7) -> alt.X:
    """The time axis of a series, with hours where it has them and with their offset where the clock changes."""
    labels: dict[str, Any] = {"format": "%d %b %H:%M" if _hourly(frame) else "%d %b"}
    clocks = _clocks(frame) if _hourly(frame) else []
    if len(clocks) > 1:
        labels = {"labelExpr": "".join(
            f"{'' if later is None else f'datum.value < {_millis(later[0])} ? '}"
            f"utcFormat(toNumber(datum.value) + {_millis(shown.tz_localize(None)) - _millis(at)}, '%d %b %H:%M') + "
            f"' {shown:%z}'{'' if later is None else ' : '}"
            for (at, shown), later in zip(clocks, [*clocks[1:], None], strict=True)
        )}  # fmt: skip
    axis = alt.Axis(grid=False, tickCount=ticks, labelOverlap=True, **labels)
    return alt.X("at:T", title=None, scale=alt.Scale(type="utc"), axis=axis)


def _millis(at: pd.Timestamp) -> int:
    return int(at.timestamp() * 1000)


def _order(frame: pd.DataFrame, by: str) -> list[str]:
    return list(frame.groupby(by)["n"].sum().sort_values(ascending=False).index)


def _series(frame: pd.DataFrame, by: str | None, colours: Look) -> alt.Color | alt.ColorValue:
    if by is None:
        return alt.value(colours.accent)  # type: ignore[return-value]
    domain = _order(frame, by)
    scale = alt.Scale(domain=domain, range=list(colours.colours[: len(domain)]))
    return alt.Color(f"{by}:N", scale=scale, legend=legend(line=True))


def _dashes(frame: pd.DataFrame, by: str | None) -> alt.StrokeDash | alt.StrokeDashValue:
    """A second cue beside colour."""
    if by is None:
        return alt.value([1, 0])  # type: ignore[return-value]
    domain = _order(frame, by)
    patterns = [[1, 0], [6, 2], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3]]
    return alt.StrokeDash(f"{by}:N", scale=alt.Scale(domain=domain, range=patterns[: len(domain)]), legend=None)


def legend(*, line: bool = False, columns: int = 3) -> alt.Legend:
    shape = "stroke" if line else "square"
    return alt.Legend(title=None, orient="bottom", columns=columns, labelLimit=160, symbolType=shape, symbolOpacity=1)


def _point(told: pd.DataFrame) -> dict[str, str]:
    return POINT if told["complete"].all() else {**POINT, "note": "Note"}


def event_marks(events: pd.DataFrame | None, colours: Look, series: pd.DataFrame) -> list[alt.Chart]:
    """Events as labelled rules on the time axis of a series."""
    if events is None or events.empty:
        return []
    if _hourly(series) and "moment" in events:
        events = events.assign(at=_on_axis(events["moment"], series)).drop(columns="moment")
    base = alt.Chart(events).encode(x=alt.X("at:T", scale=alt.Scale(type="utc")))
    rule = base.mark_rule(color=colours.grey, strokeWidth=1, opacity=0.6).encode(tooltip=tips(EVENT))
    label = base.mark_text(align="left", baseline="bottom", dx=3, fontSize=10.5, color=colours.grey, limit=130)
    return [rule, label.encode(y=alt.Y("level:Q", scale=None, axis=None), text="name:N")]


def _stamp(moment: pd.Timestamp) -> alt.DateTime:
    return alt.DateTime(year=moment.year, month=moment.month, date=moment.day, hours=moment.hour,
                        minutes=moment.minute, utc=True)  # fmt: skip
