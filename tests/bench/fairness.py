"""One million requests, 50 groups, six metrics: gaps with their calibration, beside plain rates without any.

Users come back twenty times and a tenth of their requests are in another group. Fairlearn is timed where installed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median

import numpy as np
import pandas as pd

import kpi

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
    print(f"Fairness: {rows:,} requests, {GROUPS} groups, {len(METRICS)} metrics; seconds, medians")
    ask = lambda: kpi.disparity(source, by="tenant", metrics=METRICS, adjust=None, clues=())  # noqa: E731
    print(f"  kpi.disparity, intervals and calibrated gaps   {_median(ask, 5):6.2f}")
    columns = ["success", "refused", "escalated", "total_us", "incident_count", "total_nusd"]
    plain = data.astype({"tenant": "category"})
    print(f"  pandas groupby, values alone                   {_median(lambda: _plain(plain, columns), 3):6.2f}")
    if find_spec("fairlearn") is None:
        print("  Fairlearn                                      not installed")
    else:
        print(f"  Fairlearn MetricFrame, values alone            {_median(lambda: _fairlearn(data, columns), 1):6.2f}")
    print()


def _plain(data: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return data.groupby("tenant", observed=True)[columns].mean()


def _fairlearn(data: pd.DataFrame, columns: list[str]) -> object:
    from fairlearn.metrics import MetricFrame

    means = {c: lambda y_true, y_pred, value: float(np.mean(value)) for c in columns}
    return MetricFrame(
        metrics=means, y_true=data["success"], y_pred=data["success"], sensitive_features=data["tenant"],
        sample_params={c: {"value": data[c]} for c in columns},
    ).by_group  # fmt: skip


def _median(ask: Callable[[], object], rounds: int) -> float:
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        ask()
        found.append(time.perf_counter() - start)
    return median(found)


if __name__ == "__main__":
    main(1_000_000)
