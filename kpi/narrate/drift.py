"""Drift of a column in words."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from kpi.narrate.wording import format_count, format_value


def drift_sentence(column: str, distance: Any, shown: pd.DataFrame, sizes: tuple[float, float]) -> str:
    """distance, shown: as of `kpi.Drift`; sizes: requests now and in the baseline."""
    subject = column.replace("_", " ").capitalize()
    size = f"{format_count(sizes[0], 'requests')} against {format_count(sizes[1])}"
    value, noise = f"{distance.value:.3f}", f"{distance.noise:.3f}"
    if not math.isfinite(distance.value):
        return f"{subject}: not enough data to compare ({size})."
    if not distance.clear:
        return f"{subject}: no clear change ({size}; distance {value}, noise reaches {noise})."
    most = shown.loc[(shown["now"] - shown["baseline"]).abs().idxmax()]
    return (
        f"{subject} has changed: distance {value} ({distance.low:.3f} to {distance.high:.3f}); "
        f"most in {most['value']}, from {format_value(most['baseline'], 'share')} "
        f"to {format_value(most['now'], 'share')} of requests ({size})."
    )


def bin_names(edges: list[str]) -> list[str]:
    """Names of classes by their upper edges, in order as text; the last is open."""
    shown = [*(f"up to {e}" for e in edges), f"over {edges[-1]}" if edges else "all"]
    return [f"{i:02d} {text}" for i, text in enumerate(shown)]
