"""Which chart draws which result: what `plot` gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import altair as alt
import pandas as pd

from kpi.charts import reasons, series, spans
from kpi.charts.series import LIGHT, MOST_POINTS, Look
from kpi.explain.comparison.compare import Comparison, ComparisonWithin
from kpi.explain.decomposition.cost_waterfall import Waterfall
from kpi.explain.decomposition.latency_stages import Stages
from kpi.explain.decomposition.rate_mix import Decomposition
from kpi.explain.evaluation.frontier import Frontier
from kpi.explain.evaluation.reliability import Reliability
from kpi.explain.failures.contrast import Contrast
from kpi.explain.fairness.disparity import Disparity
from kpi.explain.monitoring.changepoint import Watch
from kpi.explain.monitoring.drift import Drift
from kpi.explain.segments.weak_segments import Weak
from kpi.govern.card import Card
from kpi.govern.scorecard import Scorecard
from kpi.measure.metrics import METRICS
from kpi.measure.traces import Trace

Chart = alt.Chart | alt.LayerChart | alt.VConcatChart
# Columns that may hold what a table is about, the first that is there, and its limits.
_SIZES = ("difference", "change", "effect", "gap", "kappa", "share_b", "distance", "value")
_LEVELS = ["name", "value", "low", "high", "n", "users"]
_NAMES = ("name", "label", "column", "group", "value", "metric", "dimension", "of")


def of(found: Any, colours: Look = LIGHT) -> Chart:
    """A result as the app draws it; of a result without a chart of its own, dots with their intervals."""
    draw = next((made for kind, made in _DRAWN if isinstance(found, kind)), None)
    if draw is None or found.frame().empty:
        return _by_unit(found.frame(), colours)
    return draw(found, colours)


def _by_unit(frame: pd.DataFrame, colours: Look) -> Chart:
    """Dots of a table, a chart for each unit: shares and milliseconds have no axis in common."""
    units = list(frame.groupby("unit", sort=False)) if "unit" in frame and len(frame) else []
    drawn = [dots(rows, colours, unit=str(unit)) for unit, rows in units]
    return alt.vconcat(*drawn) if len(drawn) > 1 else drawn[0] if drawn else dots(frame, colours)


def dots(frame: pd.DataFrame, colours: Look = LIGHT, *, whole: float = float("nan"), unit: str = "count") -> Chart:
    """A dot and its limits for each row of a table: its first column of names and its first of sizes."""
    size = next((c for c in _SIZES if c in frame and pd.api.types.is_numeric_dtype(frame[c])), None)
    named = next((c for c in _NAMES if c in frame and c != size), None)
    named = named or next(iter(frame.select_dtypes(["object", "str"])), None)
    rows = frame.head(MOST_POINTS) if size else frame.head(0)
    names = rows[named].astype(object).fillna("all") if named else [str(i + 1) for i in range(len(rows))]
    drawn = pd.DataFrame({"name": names, "value": rows[size] if size else [], "unit": unit, "tint": colours.accent},
                         index=rows.index)  # fmt: skip
    for column, place in {"low": "low", "high": "high", "n": "n", "clusters": "users"}.items():
        drawn[column] = rows[place] if place in rows else float("nan")
    drawn = drawn.drop_duplicates("name").astype({"name": str, "value": float})
    return series.dots(drawn, by="name", unit=unit, whole=whole, order=list(drawn["name"]), colours=colours)


def _steps(found: Any, colours: Look, parts: pd.DataFrame, direction: str = "down") -> Chart:
    return reasons.waterfall(parts, before=found.before, now=found.now, unit=found.unit, direction=direction,
                             colours=colours)  # fmt: skip


def _parts(found: Decomposition, colours: Look) -> Chart:
    direction = METRICS[found.metric].direction if found.metric in METRICS else "none"
    return _steps(found, colours, found.parts.rename(columns={"value": "label"}), direction)


def _gaps(found: Disparity, colours: Look) -> Chart:
    """The groups of the surest gap, against the whole."""
    gap = found.gaps.sort_values("p", kind="stable").iloc[0]
    groups, whole = found.groups, found.whole.set_index("metric")["value"]
    mine = groups[(groups["metric"] == gap["metric"]) & (groups["dimension"] == gap["dimension"])]
    return dots(mine.rename(columns={"group": "name"})[_LEVELS], colours, whole=float(whole[gap["metric"]]),
                unit=gap["unit"])  # fmt: skip


def _watch(found: Watch, colours: Look) -> Chart:
    return series.trend(found.series.assign(low=float("nan"), high=float("nan"), unit=found.unit), unit=found.unit,
                        colours=colours)  # fmt: skip


def _frontier(found: Frontier, colours: Look) -> Chart:
    unit = METRICS[found.cost].unit if found.cost in METRICS else "count"
    return reasons.frontier(found.options, target=found.target, cost_unit=unit, colours=colours)


def _card(found: Card, colours: Look) -> Chart:
    if found.spark.empty:
        return dots(found.frame(), colours)
    limits = {"low": float("nan"), "high": float("nan"), "unit": found.unit}
    return series.trend(found.spark.assign(**limits), unit=found.unit, target=found.target, colours=colours)


_DRAWN: list[tuple[type, Callable[[Any, Look], Chart]]] = [
    (Comparison, lambda r, c: reasons.forest(r.frame(), colours=c)),
    (ComparisonWithin, lambda r, c: reasons.heat(r.rows, within=r.within, metrics=list(r.rows["metric"]), colours=c)),
    (Reliability, lambda r, c: dots(r.rows.assign(name=r.rows["k"].astype(str)), c, unit="share")),
    (Waterfall, lambda r, c: _steps(r, c, r.steps)),
    (Stages, lambda r, c: _steps(r, c, r.parts.rename(columns={"change": "effect"}))),
    (Decomposition, _parts), (Disparity, _gaps), (Watch, _watch), (Frontier, _frontier), (Card, _card),
    (Contrast, lambda r, c: reasons.lifts(r.lifts, colours=c)),
    (Scorecard, lambda r, c: _by_unit(r.frame()[["metric", "value", "low", "high", "n", "unit"]], c)),
    (Drift, lambda r, c: spans.distributions(r.distribution, colours=c)),
    (Weak, lambda r, c: dots(r.segments[_LEVELS], c, whole=r.whole, unit=r.unit)),
    (Trace, lambda r, c: spans.waterfall(spans.steps(r.spans.head(MOST_POINTS)), colours=c)),
]  # fmt: skip
