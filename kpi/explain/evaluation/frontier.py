"""Which model or version is worth its money: quality against fully loaded cost per resolved task, both with intervals.

An option meets a target when the whole 95 % interval of its quality lies above it, may meet it when only a part does.
The cheapest that meets it is named, or that none does. Users choose which requests an option gets (routing, plans), so
a frontier describes what ran; `kpi.compare` with an adjustment says what a switch would do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kpi.errors import MetricError
from kpi.measure.metrics import METRICS, Metric
from kpi.measure.own_metrics import metric_of
from kpi.measure.profile import profile
from kpi.measure.slice import Slice
from kpi.measure.summary import label, resolve, summarise
from kpi.narrate.frontiers import frontier_sentence, no_option_sentence
from kpi.narrate.wording import scope_of
from kpi.result import Result
from kpi.stats.interval import Interval
from kpi.store.engines import Source

MEETS, MAY_MEET, MISSES, TOO_FEW = "meets", "may meet", "misses", "not enough data"
_COSTS = ("cost_per_resolved", "cost_per_query")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Frontier(Result):
    """Options by quality and cost, the cheapest first.

    options: one row each with option, quality, quality_low, quality_high, cost, cost_low, cost_high (in their metrics'
    units), n, users, verdict (meets, may meet, misses, not enough data) and efficient: no other option is at least as
    good and at least as cheap. choice: the cheapest that meets the target, None where none does.
    """

    main = "options"
    columns = ("option", "quality", "quality_low", "quality_high", "cost", "cost_low", "cost_high", "n", "verdict")
    by: tuple[str, ...]
    quality: str
    cost: str
    target: float
    options: pd.DataFrame
    choice: str | None
    sentence: str
    scope: str = ""


def frontier(
    source: Source, slice: Slice | None = None, *, by: str | Sequence[str] = "model",
    target: float = 0.8, quality: str = "task_success", cost: str | None = None,
) -> Frontier:  # fmt: skip
    """Options of a slice by quality and cost. One statement.

    Args:
        source: Where the rows are.
        slice: The rows to look at; all of them when None.
        by: Dimension, or several whose combinations are the options.
        target: Of the quality, in its unit.
        quality: A metric of which more is better.
        cost: A metric of cost, by default that per resolved task, per query where resolution is not known.

    Returns:
        A `Frontier`: one row an option with both values and their limits, and the cheapest that surely meets the
        target.

    Raises:
        MetricError: For unknown metrics or dimensions and where the data has no cost.

    Example:
        >>> found = kpi.frontier(source, kpi.Slice(last="28d"), by="model", target=0.7)
        >>> {"option", "quality", "cost"} <= set(found.options.columns)
        True
    """
    names = (by,) if isinstance(by, str) else tuple(by)
    known = profile(source)
    costs = (METRICS[c] for c in _COSTS if known.supports(METRICS[c]))
    chosen = metric_of(source, cost) if cost else next(costs, None)
    good = metric_of(source, quality)
    if good.direction != "up":
        raise MetricError("frontier.quality", f"{good.label} is not a quality of which more is better",
                          hint="Choose one such as task_success or correctness.")  # fmt: skip
    for asked in (good, chosen):
        if asked is None or not known.supports(asked):
            said = "No cost" if asked is None else f"No {asked.label.lower()}"
            raise MetricError(
                "frontier.unknown", f"{said} is known in this data",
                hint="`kpi metrics` lists what each metric needs; prices and unit costs can be added later.",
            )  # fmt: skip
    assert chosen is not None
    options = _options(summarise(source, [good, chosen], slice, by=names), names, good, chosen, target)
    meeting = options[(options["verdict"] == MEETS) & options["cost"].notna()]
    choice = None if meeting.empty else str(meeting["option"].iloc[0])
    return Frontier(by=names, quality=good.name, cost=chosen.name, target=target, options=options, choice=choice,
                    sentence=_sentence(options, choice, good, chosen, target),
                    scope=scope_of(resolve(source, slice), int(options["n"].sum())))  # fmt: skip


def _options(found: pd.DataFrame, names: Sequence[str], quality: Metric, cost: Metric, target: float) -> pd.DataFrame:
    found = found.assign(option=[" · ".join(map(label, key)) for key in zip(*(found[d] for d in names), strict=True)])
    sides = {m.name: found[found["metric"] == m.name].set_index("option") for m in (quality, cost)}
    q, c = sides[quality.name], sides[cost.name].reindex(sides[quality.name].index)
    table = pd.DataFrame({"quality": q["value"], "quality_low": q["low"], "quality_high": q["high"],
                          "cost": c["value"], "cost_low": c["low"], "cost_high": c["high"],
                          "n": q["n"], "users": q["clusters"]})  # fmt: skip
    enough = (table["n"] >= quality.min_n) & table["quality_low"].notna() & table["quality_high"].notna()
    sure, possible = (table[c] >= target for c in ("quality_low", "quality_high"))
    table["verdict"] = np.select([~enough, sure, possible], [TOO_FEW, MEETS, MAY_MEET], MISSES)
    table["efficient"] = _efficient(table[enough & table["cost"].notna()]).reindex(table.index, fill_value=False)
    return table[table["n"] > 0].rename_axis("option").reset_index().sort_values(
        ["cost", "option"], ignore_index=True, kind="stable"
    )  # fmt: skip


def _efficient(table: pd.DataFrame) -> pd.Series:
    """Which options no other beats in one and equals in the other."""
    q, c = table["quality"].to_numpy(), table["cost"].to_numpy()
    beaten = (q[None, :] >= q[:, None]) & (c[None, :] <= c[:, None])
    beaten &= (q[None, :] > q[:, None]) | (c[None, :] < c[:, None])
    return pd.Series(~beaten.any(axis=1), index=table.index)


def _sentence(options: pd.DataFrame, choice: str | None, quality: Metric, cost: Metric, target: float) -> str:
    maybe = options[options["verdict"] == MAY_MEET]
    if choice is None:
        return no_option_sentence(quality, target, list(maybe["option"]))
    row = options.set_index("option").loc[choice]
    levels = [Interval(value=row[s], low=row[f"{s}_low"], high=row[f"{s}_high"]) for s in ("quality", "cost")]
    cheaper = list(maybe[maybe["cost"] < row["cost"]]["option"])
    return frontier_sentence(choice, (quality, levels[0]), (cost, levels[1]), target, cheaper)
