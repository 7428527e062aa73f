"""The same answers from plain pandas and numpy, one group at a time: what the engine's numbers are held against.

Nothing here uses the registry's terms or SQL: each metric's definition is written a second time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from kpi.measure import estimate
from kpi.measure.estimate import LOG_BASE, ZERO_BIN, DayBins, Histogram
from kpi.measure.moments import DaySums, Sums
from kpi.schema import REQUESTS

Pair = tuple[pd.Series, pd.Series]
RATES = {
    "task_success": "success", "correctness": "correct", "groundedness": "grounded",
    "retrieval_hit_rate": "retrieval_hit", "resolution": "resolved", "refusal_rate": "refused",
    "fallback_rate": "fallback", "escalation_rate": "escalated",
    "override_rate": "overridden", "error_rate": "error", "deflection": "deflected", "conversion": "converted",
    "priced_share": "priced",
}  # fmt: skip
PARTS = ("inference", "retrieval", "orchestration", "tool", "review")
MEANS = {
    "cost_per_query": ("total_nusd", 1e-9), **{f"{p}_cost": (f"{p}_nusd", 1e-9) for p in PARTS},
    **{c: (c, 1.0) for c in ("input_tokens", "output_tokens", "tool_calls", "llm_calls", "retrieved_docs")},
}  # fmt: skip
RATIOS = {
    **{f"{p}_cost_share": (f"{p}_nusd", "total_nusd", 1.0) for p in PARTS},
    "cost_per_resolved": ("total_nusd", "resolved", 1e-9),
    "cached_share": ("cached_read_tokens", "input_tokens", 1.0),
    "tool_error_rate": ("tool_errors", "tool_calls", 1.0),
}
QUANTILES = {
    **{f"cost_p{p}": ("total_nusd", p / 100, 1e-9) for p in (50, 95)},
    **{
        f"{stem}_p{p}": (column, p / 100, 1e-3)
        for p in (50, 95, 99)
        for stem, column in [
            ("latency", "total_us"), ("ttft", "ttft_us"),
            *((f"{s}_latency", f"{s}_us") for s in ("queue", "retrieval", "rerank", "tool", "model", "guardrail")),
        ]
    },
}  # fmt: skip
WORST = {"cost_worst": ("total_nusd", 1e-9), "latency_worst": ("total_us", 1e-3)}
DISTINCT = {"users": "user_key", "sessions": "session_id"}
TOTALS = {"total_cost": ("total_nusd", 1e-9), **{f"{p}_total": (f"{p}_nusd", 1e-9) for p in PARTS}}
SLO_US = 8_000_000


def coded(values: np.ndarray) -> np.ndarray:
    return np.unique(np.asarray(values, dtype=str), return_inverse=True)[1]


def group_of(user: np.ndarray) -> np.ndarray:
    """The group of 16 that a user falls into by the hash of the name."""
    return np.array([hashlib.md5(str(u).encode()).hexdigest()[0] for u in user])


def sums(
    y: np.ndarray,
    x: np.ndarray,
    user: np.ndarray,
    day: np.ndarray | None = None,
    named: np.ndarray | None = None,
    *,
    rate: bool = False,
) -> Sums:
    """`Sums` of one group, from rows. named: rows whose user is known, where others are not."""
    one = lambda v: np.array([float(v)])  # noqa: E731

    def products(code: np.ndarray, prefix: str = "") -> dict[str, np.ndarray]:
        a, b = np.bincount(code, y), np.bincount(code, x)
        return {prefix + "yy": one((a * a).sum()), prefix + "yx": one((a * b).sum()), prefix + "xx": one((b * b).sum())}

    by_day = None
    if day is not None:
        cell = coded(np.char.add(group_of(user), np.asarray(day, dtype=str))) if len(y) else coded(day)
        by_day = DaySums(
            days=one(len(set(day))), **products(coded(day)), **products(cell, "cells_"),
        )  # fmt: skip
    few = named is not None and not named.all()
    kept = named if few else np.ones(len(y), dtype=bool)
    code = coded(user[kept] if isinstance(user, np.ndarray) else np.asarray(user)[kept])
    a, b = np.bincount(code, y[kept]), np.bincount(code, x[kept])
    squares = {"yy": a * a, "yx": a * b, "xx": b * b, "yyy": a**3, "yyx": a * a * b, "yxx": a * b * b, "xxx": b**3}
    return Sums(
        n=one(len(y)), y=one(y.sum()), x=one(x.sum()), clusters=one(len(a)), by_day=by_day,
        named=one(x[kept].sum()) if few else None,
        shares=one((a * a / b).sum()) if rate else None, **{k: one(v.sum()) for k, v in squares.items()},
    )  # fmt: skip


def histogram(
    values: np.ndarray, user: np.ndarray, day: np.ndarray | None = None, named: np.ndarray | None = None
) -> Histogram:
    """`Histogram` of one group, from rows, by its definition: the whole table of users by bins."""
    bins = np.where(values > 0, np.floor(np.log(np.maximum(values, 1)) / np.log(LOG_BASE)), ZERO_BIN)
    edges, bin_ = np.unique(bins, return_inverse=True)

    def table(code: np.ndarray, kept: np.ndarray) -> np.ndarray:
        cells = np.zeros((int(code.max(initial=-1)) + 1, len(edges)))
        np.add.at(cells, (code, bin_[kept]), 1)
        return cells

    def running(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.diff((np.cumsum(cells, axis=1) ** 2).sum(axis=0), prepend=0), cells.sum(axis=1) @ cells

    every = np.ones(len(values), dtype=bool)
    few = named is not None and not named.all()
    kept = named if few else every
    cells = table(coded(np.asarray(user)[kept]), kept)
    smallest = (cells > 0).argmax(axis=1) if cells.size else np.array([], dtype=int)
    by_day = None
    if day is not None and len(values):
        square, cross = running(table(coded(day), every))
        of_cells = running(table(coded(np.char.add(group_of(user), np.asarray(day, dtype=str))), every))
        by_day = DayBins(days=float(len(set(day))), square=square, cross=cross,
                         cells_square=of_cells[0], cells_cross=of_cells[1])  # fmt: skip
    square, cross = running(cells)
    return Histogram(
        bins=edges,
        count=table(np.zeros(len(values), dtype=int), every).sum(axis=0) if len(values) else np.zeros(0),
        square=square,
        cross=cross,
        first=np.bincount(smallest, minlength=len(edges)).astype(float),
        named=cells.sum(axis=0) if few else None,
        by_day=by_day,
        low=np.array([values[bin_ == i].min() for i in range(len(edges))]),
        high=np.array([values[bin_ == i].max() for i in range(len(edges))]),
    )


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with every canonical column, those it lacks unknown in every row; measures as floats, and `cluster`."""
    nothing = np.full(len(frame), None, dtype=object)
    found = {c: frame[c].to_numpy(dtype=object) if c in frame else nothing for c in REQUESTS.names}
    found |= {c: frame[c].to_numpy(dtype=object) for c in frame if c not in found}
    for column in REQUESTS.columns:
        if column.type in ("bool", "int", "float"):
            values = pd.Series(found[column.name], dtype=object)
            found[f"number {column.name}"] = pd.to_numeric(values).astype(float).to_numpy()
    who = zip(found["user_key"], found["session_id"], found["trace_id"], strict=True)
    found["cluster"] = np.array([next(v for v in w if not pd.isna(v)) for w in who], dtype=object)
    level = next((c for c in ("user_key", "session_id") if not pd.isna(found[c]).all()), "trace_id")
    found["named"] = ~pd.isna(found[level])
    return pd.DataFrame(found, index=frame.index)


def pair(name: str, rows: pd.DataFrame) -> tuple[Pair, float] | None:
    """Numerator and denominator of a ratio-like metric per row (NaN: unknown) and its scale; None for other kinds."""
    number: Callable[[str], pd.Series] = lambda c: rows[f"number {c}"]  # noqa: E731
    one = pd.Series(1.0, index=rows.index)
    if name in RATES:
        return (number(RATES[name]), one), 1.0
    if name in MEANS:
        column, scale = MEANS[name]
        return (number(column), one), scale
    if name in RATIOS:
        top, bottom, scale = RATIOS[name]
        return (number(top), number(bottom)), scale
    if name == "slo_attainment":
        latency = number("total_us")
        return ((latency <= SLO_US).astype(float).where(latency.notna()), one), 1.0
    if name == "computed_share":
        return ((rows["cost_source"] != "reported").astype(float).where(rows["cost_source"].notna()), one), 1.0
    if name == "computed_deviation":
        reported = number("inference_nusd").where(rows["cost_source"] == "reported")
        return (number("computed_nusd") - reported, reported), 1.0
    if name == "cost_per_answered":
        refused, error = number("refused"), number("error")
        answered = 1 - ((refused == 1) | (error == 1)).astype(float)
        return (number("total_nusd"), answered.where(refused.notna() | error.notna())), 1e-9
    checked = number("incident_count")
    if name == "incident_rate":
        return (checked, one), 1000.0
    if name.endswith("_incidents"):
        hit = (rows["worst_severity"] == name.removesuffix("_incidents")).astype(float)
        return (hit.where(checked.notna()), one), 1000.0
    return None


def measure(name: str, rows: pd.DataFrame, tz: str = "UTC", *, days: bool = True) -> dict[str, float]:
    """value, low, high, n, clusters of one metric over the rows of one group (canonical columns, see `complete`)."""
    nothing = dict.fromkeys(("value", "low", "high"), np.nan)
    who, named = rows["cluster"].to_numpy(), rows["named"].to_numpy()
    named = named if named.any() else ~named  # where nobody is known by name, every request stands for itself
    day = local_start(rows["started_at"], "day", tz).astype(str).to_numpy() if days else None

    def days_of(chosen: np.ndarray) -> np.ndarray | None:
        return None if day is None else day[chosen]

    if (found := pair(name, rows)) is not None:
        (y, x), scale = found
        known = (y.notna() & x.notna()).to_numpy()
        rates = (*RATES, "slo_attainment", "computed_share")
        s = sums(y[known].to_numpy(), x[known].to_numpy(), who[known], days_of(known), named[known], rate=name in rates)
        kind = "incidence" if scale == 1000 else "rate" if name in rates else "ratio"
        e = getattr(estimate, kind)(s)
        total = x[known].sum()
        value = y[known].sum() / total * scale if total else np.nan
        return {
            "value": value,
            "low": e.low[0] * scale,
            "high": e.high[0] * scale,
            "n": s.n[0],
            "clusters": s.clusters[0],
        }
    if name == "requests":
        return {**nothing, "value": len(rows), "n": len(rows), "clusters": 0}
    if name in DISTINCT:
        ids = rows[DISTINCT[name]].dropna()
        return {**nothing, "value": ids.nunique() or np.nan, "n": len(ids), "clusters": 0}
    spec = QUANTILES.get(name) or WORST.get(name) or TOTALS[name]
    x = rows[f"number {spec[0]}"].to_numpy()
    known = ~np.isnan(x)
    who, x, named, day = who[known], x[known], named[known], days_of(known)
    if name in TOTALS:
        return {**nothing, "value": x.sum() * spec[1] if len(x) else np.nan, "n": len(x),
                "clusters": len(set(who[named]))}  # fmt: skip
    if name in WORST:
        return {**nothing, "value": x.max() * spec[1] if len(x) else np.nan, "n": len(x), "clusters": 0}
    q, scale = spec[1:]
    named = named if named.any() else ~named  # decided by the requests that know the value
    _, low, high, n, users = estimate.quantile(histogram(x, who, day, named), q)
    value = np.quantile(x, q) * scale if len(x) else np.nan
    return {"value": value, "low": low * scale, "high": high * scale, "n": n, "clusters": users}


def local_start(times: pd.Series, grain: str, tz: str) -> pd.Series:
    """Local start of the hour, day, ISO week or month."""
    local = pd.to_datetime(times, utc=True).dt.tz_convert(tz).dt.tz_localize(None)
    if grain == "hour":
        return local.dt.floor("h")
    day = local.dt.normalize()
    if grain == "week":
        return day - pd.to_timedelta(day.dt.day_of_week, unit="D")
    return day if grain == "day" else day - pd.to_timedelta(day.dt.day - 1, unit="D")


def summarise(
    frame: pd.DataFrame, metrics: Sequence[str], *, by: Sequence[str] = (), every: str | None = None, tz: str = "UTC"
) -> dict[tuple, dict[str, float]]:
    """(metric, *values of `by`, bucket) -> value, low, high, n, clusters; unknown values are None."""
    rows = complete(frame)
    keys = [rows[d].map(_text, na_action=None) for d in by]
    if every:
        keys.append(local_start(rows["started_at"], every, tz))
    if not len(rows):
        return {}
    whole = [((), rows)]
    groups = rows.groupby([k.rename(i) for i, k in enumerate(keys)], dropna=False) if keys else whole
    found = {}
    for key, part in groups:
        labels = tuple(None if pd.isna(k) else k for k in key)
        if every and labels[-1] is None:
            continue
        for name in metrics:
            found[(name, *labels)] = measure(name, part, tz, days=every not in ("hour", "day"))
    return found


def _text(value: object) -> object:
    if value is None or value is pd.NA or value != value:
        return None
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)
