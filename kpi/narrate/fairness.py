"""Gaps between groups in words: what probably explains one, and the fairness card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from kpi.measure.metrics import METRICS
from kpi.narrate.names import WORDS
from kpi.narrate.wording import format_change, format_count, format_effect
from kpi.stats.range_test import LEVEL

NEXT = WORDS["cause"]
_TOLD = 3  # gaps in a sentence
NO_COHORT = "No cohort with two groups that are large enough."


def cause_sentence(cause: str, clues: Sequence[Any], others: Sequence[str]) -> str:
    """clues: of this cause, with metric, difference, low, high, unit; others: further causes that speak."""
    named = ((_label(c.metric), format_effect(c.difference, c.low, c.high, c.unit)) for c in clues)
    told = "; ".join(f"{label} {moved} against the whole" for label, moved in named)
    return f"Likely {cause}: {told}" + (f". Also seen: {', '.join(others)}." if others else ".")


def mix_sentence(row: pd.Series, strata: str) -> str:
    """row: of `kpi.Disparity.groups`; strata: the dimension adjusted for."""
    held = format_effect(row["adjusted"], row["adjusted_low"], row["adjusted_high"], row["unit"])
    raw, mix = format_change(row["difference"], row["unit"]), strata.replace("_", " ")
    return f"Likely the mix: on the same {mix} the difference is {held} instead of {raw}."


def unexplained_sentence(metrics: Sequence[str]) -> str:
    """metrics: names of the clues that were looked at."""
    if not len(metrics):
        return "This data has no refusals, retrieval, latency or tokens that could explain it."
    return f"None of these explains it: {', '.join(map(_label, metrics))}."


def gaps_sentence(gaps: pd.DataFrame) -> str:
    """The clear gaps, the surest first. gaps: of `kpi.Disparity`."""
    clear = gaps[gaps["q"] <= LEVEL].sort_values("q", kind="stable")
    told = []
    for g in clear.head(_TOLD).itertuples():
        size = format_change(g.gap, g.unit).lstrip("+")
        told.append(f"{_label(g.metric)} by {g.dimension} ({g.worst} {size} behind {g.best})")
    more = f" and {len(clear) - _TOLD} more" if len(clear) > _TOLD else ""
    looked = format_count(len(gaps), "gaps")
    none = f"No clear gap in {looked} looked at." if len(gaps) else NO_COHORT
    return f"Of {looked}, {len(clear)} clear: {', '.join(told)}{more}." if told else none


def _label(metric: str) -> str:
    label = METRICS[metric].label if metric in METRICS else metric
    return label[:1].lower() + label[1:]


def _size(share: float) -> str:
    return format_change(share, "share").lstrip("+")


def too_few_users(dimension: str, noise: float, limit: float) -> str:
    """noise: the gap that equal groups may show; limit: the gap from which the card is off target."""
    said = f"equal groups of {dimension} may lie {_size(noise)} apart, and the limit is {_size(limit)}"
    return f"Too few users: {said}."


def gap_words(gap: pd.Series, cohorts: int, *, clear: bool) -> tuple[str, str]:
    """(the gap, why it may be chance, where it is not clear). gap: of `kpi.Disparity.gaps`, one of so many cohorts."""
    told = f"{gap['dimension']}: {gap['worst']} is {_size(gap['gap'])} behind {gap['best']}"
    sure = "q < 0.001" if gap["q"] < 0.001 else f"q {gap['q']:.2g}"
    if clear:
        return f"{told}, {sure}", ""
    return f"No clear gap ({told})", f"Chance may explain it: {sure} over {cohorts} cohorts."
