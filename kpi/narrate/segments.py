"""Weak segments in words: each of them, and the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kpi.measure.metrics import Metric
from kpi.narrate.names import WORDS, segment_name
from kpi.narrate.wording import (
    format_change,
    format_change_interval,
    format_count,
    format_interval,
    format_value,
    without_unit,
)


def weak_segment_sentence(row: Mapping[str, Any], metric: Metric) -> str:
    """Where, how much, against the rest, and what lies in it. row: the columns of `kpi.Weak.segments`."""
    unit, name = metric.unit, row["name"]
    value, change = format_value(row["value"], unit), format_change(row["difference"], unit)
    limits = without_unit(format_interval(row["low"], row["high"], unit), value)
    apart = without_unit(format_change_interval(row["difference_low"], row["difference_high"], unit), change)
    size = format_count(row["n"], "requests")
    if row["also"]:
        name += f" (also {', '.join(segment_name(w) for w in row['also'])})"
    told = f"{name}: {value} ({limits}; {size}), {change} ({apart}) vs. the rest"
    if row["share_of_failures"] == row["share_of_failures"]:
        part, share = (format_value(row[c], "share") for c in ("share_of_failures", "share"))
        told += f"; {part} of {_noun(metric)} in {share} of the requests"
    return f"{told}."


def weak_segments_sentence(
    where: Sequence[Mapping[str, str]], metric: Metric, total: float, looked: int, dimensions: int
) -> str:
    """where: of the weak segments; total: of the slice; looked: segments; dimensions: that were searched."""
    if not looked:
        return "No segment is large enough to be compared with the rest."
    kinds = format_count(dimensions, "dimension" if dimensions == 1 else "dimensions")
    of = f"{format_count(looked, 'segments')} of {kinds} searched"
    names = [segment_name(w) for w in where]
    if not names:
        return f"{metric.label}: no segment is clearly worse than the rest; {of}."
    if len(names) > 3:
        names = [*names[:3], f"{len(names) - 3} more"]
    return f"{metric.label}: {format_value(total, metric.unit)} overall, clearly worse in {'; '.join(names)}. {of}."


def search_space_sentence(searched: int, left_out: Mapping[str, int], most: int) -> str:
    """ "Searched 40 of 3,000 columns: the most filled, of these those with the fewest values. Not searched: …".

    left_out: columns by the reason why they are not searched; most: that are searched at all."""
    total = format_count(searched + sum(left_out.values()), "columns")
    rule = ": the most filled, of these those with the fewest values" if searched == most else ""
    others = ", ".join(f"{format_count(n)} {why}" for why, n in left_out.items())
    return f"Searched {format_count(searched)} of {total}{rule}. Not searched: {others}."


def with_search_space(told: str, space: str) -> str:
    return f"{told} {space}" if space else told


def _noun(metric: Metric) -> str:
    if metric.name in WORDS["failures"]:
        return f"all {WORDS['failures'][metric.name]}"
    if metric.kind == "ratio":
        return "the cost" if metric.unit == "usd" else "the whole"
    if metric.kind == "incidence":
        return "all incidents"
    return "all failures" if metric.direction == "up" else "all cases"
