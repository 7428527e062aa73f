"""The fairness card: the clearest gap of task success between groups, the same number as on the page Segments."""

import pandas as pd

from kpi.explain.aggregates.user_sums import MAX_GROUPS
from kpi.explain.fairness.disparity import disparity
from kpi.govern.card import Card, judge, moved, no_card, no_spark
from kpi.govern.register import Entry
from kpi.measure.metrics import METRICS
from kpi.measure.profile import Profile
from kpi.measure.slice import NONE_VALUE, Slice
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


def clearest(entry: Entry, gaps: pd.DataFrame | None) -> pd.Series | None:
    """The gap that the card is about: of those that chance does not explain (q at most 0.05) that with the largest
    lower limit; None without a cohort."""
    if gaps is None or gaps.empty:
        return None
    clear = gaps[gaps["q"] <= LEVEL]
    telling = clear if len(clear) else gaps[gaps["noise"] <= entry.off]
    ranked = (telling if len(telling) else gaps).sort_values(["low", "p"], ascending=[False, True], kind="stable")
    return ranked.iloc[0]


def gap_course(shown: pd.Series, groups: pd.DataFrame) -> pd.DataFrame:
    """How far the worst group lay behind the best one over time. groups: a series of `measure` by the dimension."""
    named = groups[shown["dimension"]].fillna(NONE_VALUE)
    best, worst = (groups[named == shown[side]].set_index("bucket") for side in ("best", "worst"))
    both = worst.join(best[["value", "n"]].add_suffix("_best"), how="inner").reset_index()
    both = both.assign(value=both["value_best"] - both["value"], n=both["n"] + both["n_best"])
    return both[["bucket", "start", "complete", "value", "n"]]


def fairness_card(
    entry: Entry, gaps: pd.DataFrame | None, before: pd.DataFrame | None = None, spark: pd.DataFrame | None = None
) -> Card:
    """The clearest gap, its course, and how far that of the same cohort moved since the baseline (before: its gaps).

    Where there is none the card is never red: what is left without the part of chance decides between on target and
    watch, and a cohort whose equal groups may lie apart by more than the off limit tells nothing.
    """
    g = clearest(entry, gaps)
    if g is None or gaps is None:
        return no_card(entry, NO_COHORT)
    clear = bool(g["q"] <= LEVEL)
    if not clear and g["noise"] > entry.off:
        return no_card(entry, too_few_users(g["dimension"], g["noise"], entry.off))
    low = float(g["low"]) if clear else 0.0
    value, high, beyond, n = float(g["gap"]), float(g["high"]), float(g["beyond"]), int(g["n"])
    told, chance = gap_words(g, len(gaps), clear=clear)
    counted = (value, low, high) if clear else (beyond, low, beyond)  # `noise` says already that off is not missed
    state, reason = judge(entry, *counted, n)
    reason = reason if state == "no_data" else chance or reason
    was = before[before["dimension"] == g["dimension"]] if before is not None and len(before) else gaps[:0]
    sides = [tuple(float(row[c]) for c in ("gap", "low", "high")) for _, row in was.iterrows()]
    return Card(entry=entry, value=value, low=low, high=high, n=n, state=state, reason=f"{told}. {reason}",
                change=moved(entry, (value, low, high), sides[0]) if sides else None,
                spark=no_spark() if spark is None else spark, counted=beyond)  # fmt: skip
