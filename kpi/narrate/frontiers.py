"""Quality against cost in words."""

from __future__ import annotations

from collections.abc import Sequence

from kpi.measure.metrics import Metric
from kpi.narrate.names import listed
from kpi.narrate.wording import format_interval, format_value
from kpi.stats.interval import Interval


def no_option_sentence(quality: Metric, target: float, maybe: Sequence[str]) -> str:
    """maybe: options that may meet the target."""
    open_ = f"; {listed(maybe)} may" if len(maybe) else ""
    return f"No option is sure to meet a {_aim(quality, target)}{open_}."


def frontier_sentence(
    choice: str, quality: tuple[Metric, Interval], cost: tuple[Metric, Interval], target: float, cheaper: Sequence[str]
) -> str:
    """cheaper: options that cost less and may meet the target."""
    price = cost[0].label.lower().removeprefix("cost ")
    said = f"{choice} is the cheapest that meets a {_aim(quality[0], target)}: {_level(*quality)} at {_level(*cost)}"
    return f"{said} {price}." + (f" Cheaper, and may meet it: {listed(cheaper)}." if len(cheaper) else "")


def _aim(quality: Metric, target: float) -> str:
    return f"{quality.label.lower()} of {format_value(target, quality.unit)}"


def _level(metric: Metric, level: Interval) -> str:
    return f"{format_value(level.value, metric.unit)} ({format_interval(level.low, level.high, metric.unit)})"
