"""The fairness card: the clearest gap of task success between groups, the same number as on the page Segments."""

import pandas as pd

from kpi.explain.aggregates.user_sums import MAX_GROUPS
from kpi.explain.fairness.disparity import disparity
from kpi.govern.card import Card, judge, no_card, no_spark
from kpi.govern.register import Entry
from kpi.measure.metrics import METRICS
from kpi.measure.profile import Profile
from kpi.measure.slice import Slice
from kpi.narrate.fairness import NO_COHORT, gap_words, too_few_users
from kpi.stats.range_test import LEVEL
from kpi.store.engines import Source

DIMENSIONS = ("language", "region", "device", "plan")


def gaps(source: Source, slice: Slice | None, known: Profile) -> pd.DataFrame:
    """Gaps of task success by cohort, the rows that `kpi.disparity` has for them whatever else it is asked."""
    cohorts = [d for d in DIMENSIONS if 2 <= len(known.dimensions.get(d, ())) <= MAX_GROUPS]
    if not cohorts or not known.supports(METRICS["task_success"]):
        return pd.DataFrame()
    return disparity(source, slice, by=cohorts, metrics=["task_success"], adjust=None, clues=()).gaps


def fairness_card(entry: Entry, gaps: pd.DataFrame | None) -> Card:
    """The clearest gap: of those that chance does not explain (q at most 0.05) that with the largest lower limit.

    Where there is none the card is never red: what is left without the part of chance decides between on target and
    watch, and a cohort whose equal groups may lie apart by more than the off limit tells nothing.
    """
    if gaps is None or gaps.empty:
        return no_card(entry, NO_COHORT)
    clear = gaps[gaps["q"] <= LEVEL]
    telling = clear if len(clear) else gaps[gaps["noise"] <= entry.off]
    g = (telling if len(telling) else gaps).sort_values(["low", "p"], ascending=[False, True], kind="stable").iloc[0]
    if telling.empty:
        return no_card(entry, too_few_users(g["dimension"], g["noise"], entry.off))
    low = float(g["low"]) if len(clear) else 0.0
    value, high, beyond, n = float(g["gap"]), float(g["high"]), float(g["beyond"]), int(g["n"])
    told, chance = gap_words(g, len(gaps), clear=bool(len(clear)))
    counted = (value, low, high) if len(clear) else (beyond, low, beyond)  # `noise` says already that off is not missed
    state, reason = judge(entry, *counted, n)
    reason = reason if state == "no_data" else chance or reason
    return Card(entry=entry, value=value, low=low, high=high, n=n, state=state, reason=f"{told}. {reason}",
                change=None, spark=no_spark(), counted=beyond)  # fmt: skip
