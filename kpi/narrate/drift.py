"""Drift of a column, and changes of a level, in words."""

from __future__ import annotations

import math
from datetime import UTC
from typing import Any

import pandas as pd

from kpi.measure.metrics import METRICS
from kpi.measure.slice import NONE_VALUE
from kpi.narrate.names import listed
from kpi.narrate.wording import day_words, format_count, format_value


def drift_sentence(column: str, distance: Any, shown: pd.DataFrame, sizes: tuple[float, float]) -> str:
    """distance: as of `kpi.Drift`; shown: all values on both sides; sizes: requests now and in the baseline."""
    subject = column.replace("_", " ").capitalize()
    size = f"{format_count(sizes[0], 'requests')} against {format_count(sizes[1])}"
    value, noise = f"{distance.value:.3f}", f"{distance.noise:.3f}"
    if not math.isfinite(distance.value):
        return f"{subject}: not enough data to compare ({size})."
    if not distance.clear:
        return f"{subject}: no clear change ({size}; distance {value}, noise reaches {noise})."
    most = shown.loc[(shown["now"] - shown["baseline"]).abs().idxmax()]
    unknown = shown[(shown["value"] == NONE_VALUE) & ((shown["now"] - shown["baseline"]).abs() >= _TOLD)]
    told = [f"most in {most['value']}, {_moved(most)}"] if most["value"] != NONE_VALUE else []
    told += [f"unknown {_moved(row)}" for _, row in unknown.iterrows()]
    return (f"{subject} has changed: distance {value} ({distance.low:.3f} to {distance.high:.3f}); "
            f"{'; '.join(told)} of requests ({size}).")  # fmt: skip


def drifts_sentence(table: pd.DataFrame) -> str:
    """table: as of `kpi.results.Drifts`, the surest first."""
    changed = [c.replace("_", " ") for c in table.loc[table["state"] == "changed", "column"]]
    if not changed:
        return f"No clear change in {format_count(len(table), 'columns')}."
    verb = "has" if len(changed) == 1 else "have"
    return f"{len(changed)} of {format_count(len(table), 'columns')} {verb} changed: {listed(changed, most=6)}."


_TOLD = 0.01  # change of the share of unknown values that is told beside


def _moved(row: pd.Series) -> str:
    return f"{format_value(row['baseline'], 'share')} → {format_value(row['now'], 'share')}"


def turnover_sentence(appeared: pd.DataFrame, vanished: pd.DataFrame) -> str:
    """ "New: fr 3.1 %, it 0.2 %. Gone: es 12 %." appeared, vanished: as of `kpi.Drift`."""
    told = []
    for word, frame in (("New", appeared), ("Gone", vanished)):
        each = [f"{r.value} {format_value(r.share, 'share')}" for r in frame.itertuples()]
        told += [f"{word}: {listed(each, most=8)}."] if each else []
    return " ".join(told)


def watch_sentence(found: Any) -> str:
    """found: the fields of `kpi.Watch`."""
    label = METRICS[found.metric].label if found.metric in METRICS else found.metric
    told = []
    for a in found.alarms:
        size = f"{format_value(a.was, found.unit)} to {format_value(a.value, found.unit)}"
        told.append(f"{'rose' if a.value > a.was else 'fell'} on {day_words(a.since.replace(tzinfo=UTC))} from {size}")
    odd = f"; {format_count(len(found.outliers), 'buckets')} stand out alone" if found.outliers else ""
    seen = format_count(len(found.series), "buckets")
    return f"{label} {', '.join(told) or 'kept its level'} ({seen} watched{odd})."


def bin_names(edges: list[str]) -> list[str]:
    """Names of classes by their upper edges, in order as text; the last is open."""
    shown = [*(f"up to {e}" for e in edges), f"over {edges[-1]}" if edges else "all"]
    return [f"{i:02d} {text}" for i, text in enumerate(shown)]
