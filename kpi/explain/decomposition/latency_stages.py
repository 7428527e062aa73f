"""A change of latency by stage: queue, retrieval, rerank, tools, model, guardrail, and what no stage accounts for.

Means add up: the mean of the whole is the sum of the means of its stages, so their changes sum to its change exactly. A
percentile does not add up; its tail does. For q = 0.95 each stage is taken as its mean among the requests at or above
the p95 of their own side: these sum to the mean of the tail, which moves with the p95 but is not it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import sqlalchemy as sa

from kpi.errors import MetricError
from kpi.explain.aggregates.grouped_sums import Labelled
from kpi.explain.aggregates.period_sums import BEFORE, NOW, both_sides
from kpi.measure.columns import Columns, log_bin
from kpi.measure.estimate import Histogram, quantile
from kpi.measure.slice import Slice
from kpi.measure.summary import resolve
from kpi.narrate.decompositions import latency_sentence
from kpi.narrate.names import WORDS
from kpi.narrate.wording import scope_of
from kpi.result import Result
from kpi.stats.interval import Interval, cluster_interval
from kpi.store.engines import Source
from kpi.store.expressions import DOUBLE, INT, Expression, whole

STAGES = WORDS["stage"]
_MS = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Stages(Result):
    """A change of latency by stage, in ms.

    q: None for the mean of all requests, else the tail at or above that quantile. before, now, change: the mean of
    those requests. quantile_before, quantile_now: where the tail begins, NaN without q. parts: stage, label, before,
    now, change, low, high (95 %, users as clusters, the tail taken as given); the changes sum to that of the whole.
    "rest" is below zero where stages ran side by side. A stage that a request did not have took it no time.
    """

    main = "parts"
    columns = ("label", "before", "now", "change", "low", "high")
    q: float | None
    before: float
    now: float
    change: Interval
    quantile_before: float
    quantile_now: float
    parts: pd.DataFrame
    n_before: int
    n_now: int
    sentence: str
    unit: str = "ms"
    scope: str = ""


def latency_stages(source: Source, slice: Slice | None = None, *, q: float | None = None) -> Stages:
    """The change of latency between a slice and its baseline by stage. One statement, two with q.

    Args:
        source: Where the rows are.
        slice: With a baseline.
        q: Quantile (in 0-1) from which on the tail is meant; None for all requests.

    Returns:
        A `Stages`: means before and now in milliseconds, and the part of each stage.

    Raises:
        MetricError: Where a side has no latency or q is not between 0 and 1.
        SliceError: Where the slice has no baseline.

    Example:
        >>> found = kpi.latency_stages(source, kpi.Slice(last="28d"))
        >>> found.now > 0 and len(found.parts) > 0
        True
    """
    if q is not None and not 0 < q < 1:
        raise MetricError("stages.quantile", f"There is no quantile {q:g}", hint="Ask for one such as 0.95.")
    starts = _quantiles(source, slice, q) if q is not None else {NOW: np.nan, BEFORE: np.nan}
    found = both_sides(source, slice, keys=lambda row: {}, sums=_sums, where=lambda row, side: _tail(row, starts[side]))
    for side, word in ((NOW, "in the window"), (BEFORE, "in the baseline")):
        if not found.loc[found["side"] == side, "n"].sum():
            raise MetricError("stages.empty", f"No request {word} has a known latency",
                              hint="Choose a longer window, fewer filters or another baseline.")  # fmt: skip
    told = _described(found.fillna(0.0), q, starts)
    return replace(told, scope=scope_of(resolve(source, slice), told.n_now, told.n_before, compared=True))


def _tail(row: Columns, start: float) -> list[Expression]:
    known: list[Expression] = [row["total_us"].is_not(None)]
    if start == start:
        known.append(row["total_us"] >= whole(int(start)))
    return known


def _sums(row: Columns) -> Labelled:
    def of(column: str) -> Expression:
        return sa.cast(sa.func.sum(sa.cast(row[column], INT)), DOUBLE)

    stages = {s: of(f"{s}_us") for s in STAGES if s != "rest"}
    return {"n": sa.func.count(), "total": of("total_us"), **stages}


def _quantiles(source: Source, slice: Slice | None, q: float) -> dict[int, float]:
    """The quantile of the latency of each side, read off log-binned counts."""
    counts = both_sides(
        source, slice, keys=lambda row: {"bin": log_bin(row["total_us"])},
        sums=lambda row: {"n": sa.func.count()}, where=lambda row, side: _tail(row, np.nan), by_user=False,
    )  # fmt: skip
    starts = {}
    for side in (NOW, BEFORE):
        mine = counts[counts["side"] == side].sort_values("bin")
        bins, n = (mine[c].to_numpy(dtype=float) for c in ("bin", "n"))
        nothing = np.zeros(len(bins))
        starts[side] = quantile(Histogram(bins=bins, count=n, square=nothing, cross=nothing, first=nothing), q)[0]
    return starts


def _described(found: pd.DataFrame, q: float | None, starts: dict[int, float]) -> Stages:
    found = found.assign(rest=found["total"] - found[[s for s in STAGES if s != "rest"]].sum(axis=1))
    users = int(found["user"].max()) + 1
    side = found["side"].to_numpy()
    alone = min(len(np.unique(found.loc[side == s, "user"])) for s in (NOW, BEFORE)) < 2  # no spread could be seen
    size = {s: float(found.loc[side == s, "n"].sum()) for s in (NOW, BEFORE)}

    def means(name: str) -> tuple[float, float, Interval]:
        values, residual = {}, np.zeros(users)
        for s, sign in ((NOW, 1.0), (BEFORE, -1.0)):
            mine = found[side == s]
            values[s] = float(mine[name].sum()) / size[s] * _MS
            each = mine[name].to_numpy() * _MS - values[s] * mine["n"].to_numpy()
            residual += sign * np.bincount(mine["user"], each / size[s], minlength=users)
        change = values[NOW] - values[BEFORE]
        known = Interval(value=change, low=np.nan, high=np.nan) if alone else cluster_interval(change, residual)
        return values[BEFORE], values[NOW], known

    rows = []
    for name, label in STAGES.items():
        before, now, part = means(name)
        rows.append({"stage": name, "label": label, "before": before, "now": now, "change": part.value,
                     "low": part.low, "high": part.high})  # fmt: skip
    before, now, change = means("total")
    parts = pd.DataFrame(rows)
    parts = parts[(parts["before"] != 0) | (parts["now"] != 0)].reset_index(drop=True)
    return Stages(q=q, before=before, now=now, change=change, quantile_before=starts[BEFORE] * _MS,
                  quantile_now=starts[NOW] * _MS, parts=parts, n_before=int(size[BEFORE]), n_now=int(size[NOW]),
                  sentence=latency_sentence(q, before, now, parts))  # fmt: skip
