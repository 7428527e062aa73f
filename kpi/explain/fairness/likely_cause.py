"""Why a group may be behind: which of refusals, knowledge, speed and language differs enough to account for it.

A rule on clustered differences, not a proof: it names where to look first, with the numbers that say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from kpi.explain.fairness.disparity import Disparity
from kpi.measure.metrics import METRICS
from kpi.narrate.fairness import NEXT, cause_sentence, mix_sentence, unexplained_sentence
from kpi.result import Result
from kpi.stats.range_test import LEVEL

# Metric -> (explanation, the sign of a difference that speaks for it; 0: either).
_SIGNS = {
    "refusal_rate": ("overblocking", 1), "retrieval_hit_rate": ("missing knowledge", -1),
    "groundedness": ("missing knowledge", -1), "slo_attainment": ("slowness", -1),
    "input_tokens": ("language", 0), "output_tokens": ("language", 0),
}  # fmt: skip
_SHARE_OF_GAP, _SHARE = 0.2, 0.01  # a share must differ by a fifth of the gap and by one point at least
_EVIDENCE = ("metric", "cause", "difference", "low", "high", "unit", "p", "weight", "speaks")
_LENGTH = 0.10  # a length by a tenth


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LikelyCause(Result):
    """The likely explanation of a group's difference to the whole.

    cause: overblocking, missing knowledge, slowness, language, mix (the group asks for other things) or unknown.
    evidence: a row for each clue that was looked at: metric, cause, difference with low and high, p, speaks. action:
    next step.
    """

    main = "evidence"
    columns = ("metric", "cause", "difference", "low", "high", "unit", "p", "speaks")
    dimension: str
    group: str
    metric: str
    cause: str
    sentence: str
    action: str
    evidence: pd.DataFrame


def likely(found: Disparity, dimension: str, group: str, *, metric: str = "task_success") -> LikelyCause | None:
    """What probably explains that a group is worse on a metric.

    The mix speaks where the difference within the same strata is no longer clear and less than half. A clue speaks
    where it differs clearly (Bonferroni over the clues) in the harmful way, by a fifth of the gap and a point at least
    for a share, by a tenth for a length. Of those that speak the largest against the gap is named; lengths come last,
    because they differ between languages anyway.

    Args:
        found: Of `disparity`, with clues.
        dimension: As in the column of its groups.
        group: A value of the dimension.
        metric: On which it is worse.

    Returns:
        A `LikelyCause`; None where it is not measured or not clearly worse.

    Example:
        >>> found = kpi.disparity(source, kpi.Slice(last="28d"), by=["language"], metrics=["task_success"])
        >>> why = kpi.likely(found, "language", "de")
        >>> why is None or why.group == "de"
        True
    """
    known = pd.concat([found.groups, found.clues])
    mine = known[(known["dimension"] == dimension) & (known["group"] == group)]
    outcome = mine[mine["metric"] == metric]
    if outcome.empty or outcome["verdict"].iloc[0] not in ("worse", "higher", "lower"):
        return None
    row = outcome.iloc[0]
    slow = metric in METRICS and METRICS[metric].group == "latency"  # slowness does not explain slowness
    clues = mine[mine["metric"].isin(_SIGNS) & ~mine["metric"].isin([metric, *(["slo_attainment"] if slow else [])])]
    judged = [_weighed(c, row, len(clues)) for c in clues.itertuples()]
    evidence = pd.DataFrame(judged, columns=list(_EVIDENCE))
    speaking = evidence[evidence["speaks"].astype(bool)].sort_values("weight", ascending=False, kind="stable")
    if _is_mix(row):
        cause, told = "mix", mix_sentence(row, found.adjusted_for or "")
    elif len(speaking):
        cause = str(speaking["cause"].iloc[0])
        others = list(dict.fromkeys(speaking[speaking["cause"] != cause]["cause"]))
        told = cause_sentence(cause, list(speaking[speaking["cause"] == cause].itertuples()), others)
    else:
        cause, told = "unknown", unexplained_sentence(list(evidence["metric"]))
    return LikelyCause(dimension=dimension, group=group, metric=metric, cause=cause, sentence=told, action=NEXT[cause],
                       evidence=evidence.reset_index(drop=True))  # fmt: skip


def _weighed(clue: Any, outcome: pd.Series, clues: int) -> tuple[Any, ...]:
    cause, sign = _SIGNS[clue.metric]
    sure = bool(clue.p <= LEVEL / clues) and (sign == 0 or clue.difference * sign > 0)
    if sign == 0:
        weight, enough = 0.0, abs(clue.ratio - 1) >= _LENGTH
    else:
        gap = abs(outcome["difference"]) if outcome["unit"] == "share" else 0.0
        weight = abs(clue.difference) / gap if gap else abs(clue.difference)
        enough = abs(clue.difference) >= max(_SHARE, _SHARE_OF_GAP * gap)
    limits = clue.difference, clue.difference_low, clue.difference_high
    return clue.metric, cause, *limits, clue.unit, clue.p, weight, bool(sure and enough)


def _is_mix(row: pd.Series) -> bool:
    """Whether hardly anything is left of a difference within the same strata."""
    if pd.isna(row["adjusted"]):
        return False
    unclear = row["adjusted_low"] <= 0 <= row["adjusted_high"]
    return bool(unclear and abs(row["adjusted"]) < abs(row["difference"]) / 2)
