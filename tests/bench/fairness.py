"""One million requests, 50 groups, six metrics: gaps with their calibration, beside plain values without any.

Users come back twenty times and a tenth of their requests are in another group. Fairlearn gives the same values of the
same rows, or this fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import TypeVar

import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame

import kpi
from kpi.measure.metrics import LATENCY_SLO_MS

Answer = TypeVar("Answer")

METRICS = ("task_success", "refusal_rate", "escalation_rate", "slo_attainment", "incident_rate", "cost_per_query")
GROUPS = 50


def frame(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(50)
    users = max(rows // 20, GROUPS)
    user = rng.integers(0, users, rows)
    group = np.where(rng.random(rows) < 0.1, rng.integers(0, GROUPS, rows), user % GROUPS)
    mood = rng.normal(0, 0.1, users)[user]
    return pd.DataFrame(
        {
            "user_key": np.char.add("u", user.astype(str)), "tenant": np.char.add("t", group.astype(str)),
            "success": rng.random(rows) < 0.8 + mood, "refused": rng.random(rows) < 0.05,
            "escalated": rng.random(rows) < 0.1, "total_us": rng.integers(200_000, 9_000_000, rows),
            "incident_count": (rng.random(rows) < 0.005).astype(int),
            "total_nusd": rng.integers(1_000_000, 20_000_000, rows),
        }
    )  # fmt: skip


def main(rows: int) -> None:
    data = frame(rows)
    source = kpi.from_frame(data)
    kpi.profile(source)
    print(f"Fairness: {rows:,} requests, {GROUPS} groups, {len(METRICS)} metrics; seconds, medians: wall, processor")
    ask = lambda: kpi.disparity(source, by="tenant", metrics=METRICS, adjust=None, clues=())  # noqa: E731
    ours = _told("kpi.disparity, intervals and calibrated gaps", ask, 7)
    values = _values(data)
    _told("pandas groupby, values alone", lambda: values.groupby("tenant", observed=True).mean(), 3)
    theirs = _told("Fairlearn MetricFrame, values alone", lambda: _fairlearn(data, values), 1)
    mine = ours.groups.pivot(index="group", columns="metric", values="value")
    apart = float(np.abs(mine[list(METRICS)] / theirs[list(METRICS)] - 1).to_numpy().max())
    if not apart < 1e-9:  # a NaN is no agreement either
        raise AssertionError(f"Fairlearn has other values: {apart:g} apart")
    print(f"  values of the three agree to {apart:.0e}\n")


def _values(data: pd.DataFrame) -> pd.DataFrame:
    """What each metric is the mean of, with the group."""
    return pd.DataFrame(
        {
            "tenant": data["tenant"].astype("category"), "task_success": data["success"],
            "refusal_rate": data["refused"], "escalation_rate": data["escalated"],
            "slo_attainment": data["total_us"] <= LATENCY_SLO_MS * 1000,
            "incident_rate": data["incident_count"] * 1000.0, "cost_per_query": data["total_nusd"] / 1e9,
        }
    )  # fmt: skip


def _fairlearn(data: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    return MetricFrame(
        metrics={m: lambda y_true, y_pred, value: float(np.mean(value)) for m in METRICS},
        y_true=data["success"], y_pred=data["success"], sensitive_features=data["tenant"],
        sample_params={m: {"value": values[m]} for m in METRICS},
    ).by_group  # fmt: skip


def _told(what: str, ask: Callable[[], Answer], rounds: int) -> Answer:
    """Times a call, prints the medians of its seconds, and returns its answer."""
    wall, processor = [], []
    for _ in range(rounds):
        start, used = time.perf_counter(), time.process_time()
        answer = ask()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    print(f"  {what:46s} {median(wall):6.2f} {median(processor):6.2f}")
    return answer


if __name__ == "__main__":
    main(1_000_000)
