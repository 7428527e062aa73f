"""What each page asks of `kpi`, and the same numbers from plain pandas on a frame in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

import kpi
from kpi.measure import estimate

VIEW = kpi.Slice(last="28d")
QUARTER = kpi.Slice(last="90d")
GOVERNED = ("task_success", "cost_per_resolved", "cost_per_query", "incident_rate", "escalation_rate")
PAIRS = {
    "task_success": ("success", None),
    "cost_per_query": ("total_nusd", None),
    "incident_rate": ("incident_count", None),
    "escalation_rate": ("escalated", None),
    "cost_per_resolved": ("total_nusd", "resolved"),
    **{f"{p}_cost": (f"{p}_nusd", None) for p in ("inference", "retrieval", "orchestration", "tool", "review")},
}
PARTS = tuple(f"{p}_cost" for p in ("inference", "retrieval", "orchestration", "tool", "review"))
QUANTILES = {
    "latency_p95": ("total_us", 0.95),
    "latency_p50": ("total_us", 0.5),
    "cost_p50": ("total_nusd", 0.5),
    "cost_p95": ("total_nusd", 0.95),
}


@dataclass(frozen=True)
class Page:
    """One page: its name, what it asks of kpi, and the same from pandas."""

    name: str
    ours: Callable[[kpi.Source], object]
    plain: Callable[[pd.DataFrame], object]


def pages() -> list[Page]:
    cost = ("cost_per_query", "cost_per_resolved", "cost_p50", "cost_p95", *PARTS)
    return [
        Page("Overview", lambda s: kpi.scorecard(s, VIEW, by="prompt_version"), _plain_overview),
        Page(
            "Trends, task success",
            lambda s: kpi.summarise(s, ["task_success"], QUARTER, every="day"),
            lambda f: plain(_window(f, 90), ["task_success"], ["day"]),
        ),
        Page(
            "Trends, latency p50 and p95",
            lambda s: kpi.summarise(s, ["latency_p50", "latency_p95"], QUARTER, every="day"),
            lambda f: plain(_window(f, 90), ["latency_p50", "latency_p95"], ["day"]),
        ),
        Page(
            "Cost",
            lambda s: kpi.tally(
                s,
                cost,
                VIEW,
                groupings=[
                    kpi.Grouping(),
                    kpi.Grouping(every="day", intervals=False, metrics=PARTS),
                    kpi.Grouping(by=("intent",)),
                ],
            ),
            lambda f: [
                plain(_window(f, 28), cost, []),
                _window(f, 28).groupby("day")[[PAIRS[p][0] for p in PARTS]].sum(),
                plain(_window(f, 28), cost, ["intent"]),
            ],
        ),
        Page(
            "Segments, success by language",
            lambda s: kpi.tally(s, ["task_success"], VIEW, groupings=[kpi.Grouping(), kpi.Grouping(by=("language",))]),
            lambda f: [
                plain(_window(f, 28), ["task_success"], []),
                plain(_window(f, 28), ["task_success"], ["language"]),
            ],
        ),
        Page("Drift of intent", lambda s: kpi.drift(s, "intent", VIEW), _plain_drift),
        Page(
            "Traces, dearest 50",
            lambda s: kpi.find_traces(s, VIEW, sort="cost"),
            lambda f: _window(f, 28).nlargest(50, "total_nusd"),
        ),
    ]


def prepare(frame: pd.DataFrame) -> pd.DataFrame:
    """Once, outside the clock: days, and categories for texts, as a careful pandas user would."""
    frame = frame.assign(day=frame["started_at"].dt.floor("D"))
    for name in ("prompt_version", "language", "region", "device", "plan", "intent", "channel", "use_case", "user_key"):
        frame[name] = frame[name].astype("category")
    for name in ("success", "resolved", "escalated"):
        frame[name] = frame[name].astype("float64")
    return frame


def _window(frame: pd.DataFrame, days: int, back: int = 0) -> pd.DataFrame:
    end = frame["started_at"].max().floor("D") + pd.Timedelta(days=1) - pd.Timedelta(days=back)
    return frame[(frame["started_at"] >= end - pd.Timedelta(days=days)) & (frame["started_at"] < end)]


def plain(frame: pd.DataFrame, metrics: Sequence[str], by: Sequence[str]) -> dict[str, object]:
    """Values and user-clustered intervals per group with pandas groupby and numpy."""
    return {m: _plain_quantile(frame, m, by) if m in QUANTILES else _plain_ratio(frame, m, by) for m in metrics}


def _plain_ratio(frame: pd.DataFrame, metric: str, by: Sequence[str]) -> estimate.Estimates:
    top, bottom = PAIRS[metric]
    x = frame[bottom] if bottom else pd.Series(1.0, index=frame.index)
    known = frame[top].notna() & x.notna()
    part = frame.loc[known, [*by, "user_key"]].assign(
        y=frame.loc[known, top].astype(float), x=x[known].astype(float), n=1.0
    )
    users = part.groupby([*by, "user_key"], observed=True)[["y", "x", "n"]].sum()
    y, x_ = users["y"], users["x"]
    powers = users.assign(
        clusters=1.0, yy=y * y, yx=y * x_, xx=x_ * x_, yyy=y**3, yyx=y * y * x_, yxx=y * x_ * x_, xxx=x_**3
    )
    total = powers.groupby(list(by), observed=True).sum() if by else powers.sum().to_frame().T
    kind = {"ratio": estimate.ratio, "rate": estimate.rate, "incidence": estimate.incidence}[kpi.METRICS[metric].kind]
    return kind(estimate.Sums(**{c: total[c].to_numpy(dtype=float) for c in total.columns}))


def _plain_quantile(frame: pd.DataFrame, metric: str, by: Sequence[str]) -> list[tuple[float, float, float]]:
    column, q = QUANTILES[metric]
    groups = frame.groupby(list(by), observed=True) if by else [((), frame)]
    found = []
    for _, part in groups:
        known = part[part[column].notna()]
        x = known[column].to_numpy(dtype=float)
        value = float(np.quantile(x, q))
        below = pd.Series((x <= value).astype(float) - q, index=known.index)
        sums = below.groupby(known["user_key"], observed=True).sum().to_numpy()
        effect = max(1.0, float((sums**2).sum()) / (len(x) * q * (1 - q)))
        half = 1.96 * np.sqrt(q * (1 - q) * effect / len(x))
        found.append((value, *np.quantile(x, [max(0.0, q - half), min(1.0, q + half)])))
    return found


def _plain_overview(frame: pd.DataFrame) -> list[object]:
    now, before = _window(frame, 28), _window(frame, 28, back=28)
    governed = [*GOVERNED, "latency_p95"]
    found: list[object] = [
        plain(now, governed, []),
        plain(before, governed, []),
        plain(now, governed, ["prompt_version"]),
    ]
    days = now.groupby("day")
    found += [
        days[["success", "total_nusd", "resolved", "escalated", "incident_count"]].sum(),
        days["total_us"].quantile(0.95),
    ]
    found += [plain(now, ["task_success"], [d]) for d in ("language", "region", "device", "plan")]
    for d in ("intent", "language", "use_case", "region", "channel"):
        found += [
            w.groupby([d, "user_key"], observed=True).size().groupby(d, observed=True).agg(["sum", "count"])
            for w in (now, before)
        ]
    return found


def _plain_drift(frame: pd.DataFrame) -> list[object]:
    now, before = _window(frame, 28), _window(frame, 28, back=28)
    sizes = [
        w.groupby(["intent", "user_key"], observed=True).size().groupby("intent", observed=True).sum()
        for w in (now, before)
    ]
    return [
        *sizes,
        now.groupby(["day", "intent", "user_key"], observed=True)
        .size()
        .groupby(["day", "intent"], observed=True)
        .sum(),
    ]
