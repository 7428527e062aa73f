"""Changes by their parts in words: of a rate, of cost, of latency."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from kpi.narrate.names import say
from kpi.narrate.wording import format_change, format_count, format_effect, format_value
from kpi.stats.interval import Interval


def rate_mix_sentence(label: str, unit: str, by: str, change: Interval, effects: Mapping[str, Interval]) -> str:
    """effects: rate, mix, entering and leaving, in that order; of the last two only what is not zero is told."""
    whole, *parts = (format_effect(p.value, p.low, p.high, unit, "no interval") for p in (change, *effects.values()))
    told = [f"{part} {say('part', e, by=by)}" for part, (e, p) in zip(parts, effects.items(), strict=True)
            if e in ("rate", "mix") or p.value]  # fmt: skip
    return f"{label} changed by {whole}: {', '.join(told)}."


def cost_sentence(before: float, now: float, steps: pd.DataFrame, unknown: int) -> str:
    """steps: as of `kpi.Waterfall`; unknown: requests without a known cost."""
    largest = steps.reindex(steps["effect"].abs().sort_values(ascending=False, kind="stable").index)[:3]
    told = ", ".join(f"{r.label.lower()} {format_effect(r.effect, r.low, r.high, 'usd')}" for r in largest.itertuples())
    said = f"Cost went from {format_value(before, 'usd')} to {format_value(now, 'usd')}"
    left = f" {format_count(unknown, 'requests')} without a known cost are left out." if unknown else ""
    return f"{said}: {told}.{left}" if told else f"{said}: nothing changed.{left}"


def latency_sentence(q: float | None, before: float, now: float, parts: pd.DataFrame) -> str:
    """q: quantile from which the tail is meant, None for all requests; parts: as of `kpi.Stages`."""
    what = "Mean latency" if q is None else f"The mean of the slowest requests (at or above p{100 * q:g})"
    said = f"{what} went from {format_value(before, 'ms')} to {format_value(now, 'ms')}"
    if parts.empty:
        return f"{said}."
    most = parts.loc[parts["change"].abs().idxmax()]
    return f"{said}; the largest part is {most['label'].lower()} with {format_change(float(most['change']), 'ms')}."
