"""Seeded worlds of 10,000 to 60,000 requests or as many as asked: nothing happens, one to four causes, or the mix alone
moves, for good or in a holiday week.

Users come back, differ from each other, and each has one language, region, device and plan; groups differ from the
start; weekdays and growth move the volume; prompts and releases are rolled out that change nothing. A cause is one of
those of the sample data's stories, with a random metric, segment, size and day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

Array = np.ndarray
END = date(2026, 11, 20)  # the last day of every world
DAYS = 45
WINDOW = 14  # days of "now"
USER_DIMS: Mapping[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "language": (("de", "en", "es", "fr", "ja"), (0.16, 0.42, 0.2, 0.12, 0.10)),
    "region": (("ap", "eu", "us"), (0.22, 0.38, 0.40)),
    "device": (("desktop", "mobile", "tablet"), (0.5, 0.4, 0.1)),
    "plan": (("enterprise", "free", "pro"), (0.15, 0.5, 0.35)),
}
REQUEST_DIMS: Mapping[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "intent": (("account", "billing", "returns", "shipping", "technical"), (0.15, 0.2, 0.2, 0.25, 0.2)),
    "channel": (("api", "app", "web"), (0.2, 0.35, 0.45)),
}
_SUCCESS = {"account": 0.4, "billing": 0.2, "returns": 0.1, "shipping": 0.5, "technical": -0.7}  # log-odds by intent
_LANGUAGE = {"de": 0.0, "en": 0.25, "es": -0.1, "fr": 0.0, "ja": -0.25}
_COST = {"account": 0.9, "billing": 1.0, "returns": 1.1, "shipping": 0.8, "technical": 1.7}  # factors by intent


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One planted change. metrics: names that count as right, the intended one first. day: days from the start.

    size: in units of the kind (log-odds, added probability, factor). version: the prompt that brought it, if one did.
    """

    kind: str
    metrics: tuple[str, ...]
    where: Mapping[str, str]
    day: int
    size: float
    down: bool
    version: str | None = None

    @property
    def since(self) -> date:
        return END - timedelta(days=DAYS - 1 - self.day)


@dataclass(frozen=True, kw_only=True)
class World:
    """requests: canonical rows. causes: what was planted; mix: whether the mix of intents moved."""

    seed: int
    kind: str
    requests: pa.Table
    causes: tuple[Cause, ...] = ()
    mix: Cause | None = None
    columns: dict[str, Array] = field(default_factory=dict, repr=False)


KINDS = {  # what a cause does -> the metrics that name it, and its size, from half to a bit above the stories'
    "success": (("task_success",), (0.6, 1.6)),
    "escalation": (("escalation_rate",), (0.08, 0.2)),
    "retrieval": (("retrieval_hit_rate",), (0.18, 0.45)),
    "fan-out": (("cost_per_query", "cost_p95", "cost_p50"), (0.2, 0.6)),
    "latency": (("latency_p95", "latency_p50", "rerank_latency_p95"), (1.3, 2.5)),
    "refusal": (("refusal_rate",), (0.05, 0.13)),
    "incidents": (("incident_rate",), (0.03, 0.3)),
}


CAUSES = {"one": 1, "two": 2, "three": 3, "four": 4}
HOLIDAY = 0.4  # of the usual requests come in a holiday week


def world(seed: int, kind: str = "one", requests: int | None = None) -> World:
    """A world. kind: quiet, one to four, mix, or holiday; requests: how many, of users in proportion."""
    rng = np.random.default_rng([seed, 20261124])
    n, users = int(rng.integers(10_000, 60_001)), int(rng.integers(500, 3_001))
    if requests is not None:
        n, users = requests, max(users * requests // n, 500)
    rows = _people(rng, n, users)
    causes: list[Cause] = []
    while len(causes) < CAUSES.get(kind, 0):
        causes += [c for c in [_cause(rng)] if not any(_alike(c, other) for other in causes)]
    if len(causes) > 2:  # one prompt at a time
        first = next((c for c in causes if c.version), None)
        causes = [c if c is first else replace(c, version=None) for c in causes]
    mix = _mix(rng, rows) if kind == "mix" else None
    if kind == "holiday":
        mix = _holiday(rng, rows)
    _versions(rng, rows, causes)
    _outcomes(rng, rows, causes)
    return World(seed=seed, kind=kind, requests=_table(rng, rows), causes=tuple(causes), mix=mix, columns=rows)


def _alike(a: Cause, b: Cause) -> bool:
    return a.kind == b.kind or bool(set(a.where.items()) & set(b.where.items()))


def reaches(cause: Cause, rows: Mapping[str, Array]) -> Array:
    """Which requests a cause changes."""
    hit = rows["day"] >= cause.day
    for name, value in cause.where.items():
        hit = hit & (rows[name] == value)
    return hit & (rows["prompt_version"] == cause.version) if cause.version else hit


def _people(rng: np.random.Generator, n: int, users: int) -> dict[str, Array]:
    activity = rng.gamma(0.8, 1.0, users) + 0.05
    growth = np.linspace(1.0, rng.uniform(0.9, 1.2), DAYS)
    weekday = np.where((np.arange(DAYS) % 7) >= 5, rng.uniform(0.5, 0.9), 1.0)
    share = growth * weekday
    rows: dict[str, Array] = {
        "user": rng.choice(users, n, p=activity / activity.sum()),
        "day": np.sort(rng.choice(DAYS, n, p=share / share.sum())),
    }
    for name, (values, shares) in USER_DIMS.items():
        rows[name] = rng.choice(np.array(values), users, p=_jittered(rng, shares))[rows["user"]]
    favourite = rng.integers(0, len(REQUEST_DIMS["intent"][0]), users)[rows["user"]]
    for name, (values, shares) in REQUEST_DIMS.items():
        rows[name] = rng.choice(np.array(values), n, p=_jittered(rng, shares))
    habit = rng.random(n) < 0.3  # users repeat themselves
    rows["intent"] = np.where(habit, np.array(REQUEST_DIMS["intent"][0])[favourite], rows["intent"])
    rows["taste"] = rng.normal(0, 0.8, users)[rows["user"]]
    rows["tempo"] = rng.normal(0, 0.25, users)[rows["user"]]
    return rows


def _jittered(rng: np.random.Generator, shares: tuple[float, ...]) -> Array:
    found = np.array(shares) * rng.uniform(0.7, 1.3, len(shares))
    return found / found.sum()


def _cause(rng: np.random.Generator) -> Cause:
    kind = str(rng.choice(list(KINDS)))
    metrics, (low, high) = KINDS[kind]
    size = float(rng.uniform(low, high))
    dims = {**USER_DIMS, **REQUEST_DIMS}
    names = rng.choice(sorted(dims), size=int(rng.choice([1, 2], p=[0.5, 0.5])), replace=False)
    where = {str(name): str(rng.choice(np.array(dims[str(name)][0]))) for name in sorted(names)}
    day = DAYS - WINDOW + int(rng.integers(0, 11))
    down = kind in ("success", "retrieval")
    by_prompt = kind in ("success", "escalation", "refusal") and rng.random() < 0.4
    return Cause(
        kind=kind, metrics=metrics, where=where, day=day, size=size, down=down, version="p9" if by_prompt else None
    )


def _mix(rng: np.random.Generator, rows: dict[str, Array]) -> Cause:
    """From a day on many requests of other intents become technical ones (or the reverse)."""
    day = DAYS - WINDOW + int(rng.integers(0, 8))
    size = float(rng.uniform(0.15, 0.4))
    moved = (rows["day"] >= day) & (rng.random(len(rows["day"])) < size)
    target = str(rng.choice(["technical", "shipping"]))
    rows["intent"] = np.where(moved, target, rows["intent"])
    metrics = ("task_success", "cost_per_query", "latency_p95", "cost_p95", "latency_p50")
    return Cause(kind="mix", metrics=metrics, where={"intent": target}, day=day, size=size, down=target == "technical")


def _holiday(rng: np.random.Generator, rows: dict[str, Array]) -> Cause:
    """A week of few requests, among them many of one intent; then all is as it was."""
    day = DAYS - WINDOW + int(rng.integers(0, 8))
    target, size = str(rng.choice(["technical", "shipping"])), float(rng.uniform(0.15, 0.4))
    week = (rows["day"] >= day) & (rows["day"] < day + 7)
    moved = week & (rng.random(len(week)) < size)
    rows["intent"] = np.where(moved, target, rows["intent"])
    kept = ~week | (rng.random(len(week)) < HOLIDAY)
    rows |= {name: values[kept] for name, values in rows.items()}
    return Cause(kind="mix", metrics=(), where={"intent": target}, day=day, size=size, down=target == "technical")


def _versions(rng: np.random.Generator, rows: dict[str, Array], causes: list[Cause]) -> None:
    n, day = len(rows["day"]), rows["day"]
    prompt = np.where(day >= int(rng.integers(8, 25)), "p8", "p7")
    for cause in causes:
        if cause.version:
            prompt = np.where((day >= cause.day) & (rng.random(n) < rng.choice([0.5, 1.0])), cause.version, prompt)
    if not any(c.version for c in causes) and rng.random() < 0.5:  # a rollout that changes nothing
        prompt = np.where((day >= int(rng.integers(DAYS - WINDOW, DAYS - 3))) & (rng.random(n) < 0.5), "p9", prompt)
    rows["prompt_version"] = prompt
    rows["release"] = np.where(day >= int(rng.integers(10, DAYS - 2)), "2.1.0", "2.0.0")


def _outcomes(rng: np.random.Generator, rows: dict[str, Array], causes: list[Cause]) -> None:
    n = len(rows["day"])
    change = {kind: np.zeros(n) for kind in KINDS}
    for cause in causes:
        change[cause.kind] = np.where(reaches(cause, rows), cause.size, change[cause.kind])
    hit = rng.random(n) < np.clip(0.86 + 0.02 * rows["taste"] - change["retrieval"], 0.02, 0.98)
    refused = rng.random(n) < np.clip(0.02 + change["refusal"], 0, 1)
    grounded = rng.random(n) < np.where(hit, 0.93, 0.45)
    odds = 1.1 + rows["taste"] + _of(rows["intent"], _SUCCESS) + _of(rows["language"], _LANGUAGE) - change["success"]
    odds = odds - np.where(hit, 0, 1.2) - np.where(refused, 3.0, 0)
    success = rng.random(n) < 1 / (1 + np.exp(-odds))
    escalated = rng.random(n) < np.clip(np.where(success, 0.03, 0.18) + change["escalation"], 0, 1)
    success &= ~(escalated & (rng.random(n) < 0.5))
    calls = 1 + rng.poisson(0.4, n)
    fanned = rng.random(n) < change["fan-out"]
    calls = np.where(fanned, calls + rng.integers(4, 12, n), calls)
    slow = np.where(change["latency"] > 0, change["latency"], 1.0)
    base = np.exp(rng.normal(0, 0.45, n) + rows["tempo"]) * 1.8e6 * np.sqrt(_of(rows["intent"], _COST))
    rows |= {
        "hit": hit, "refused": refused, "grounded": grounded, "success": success, "escalated": escalated,
        "tool_calls": calls, "total_us": (base * slow + calls * 40_000).astype(np.int64),
        "total_nusd": (
            np.exp(rng.normal(0, 0.5, n) + 0.5 * rows["tempo"]) * 2.5e6 * _of(rows["intent"], _COST) + calls * 4e5
        ).astype(np.int64),
        "error": rng.random(n) < 0.01,
        "incidents": (rng.random(n) < np.clip(0.004 + change["incidents"], 0, 1)).astype(np.int64),
    }  # fmt: skip


def _of(values: Array, table: Mapping[str, float]) -> Array:
    found = np.zeros(len(values))
    for name, number in table.items():
        found[values == name] = number
    return found


def _table(rng: np.random.Generator, rows: Mapping[str, Array]) -> pa.Table:
    n = len(rows["day"])
    first = datetime.combine(END, datetime.min.time(), UTC) - timedelta(days=DAYS - 1)
    started = np.datetime64(first.replace(tzinfo=None), "us") + (rows["day"] * 86_400_000_000).astype("timedelta64[us]")
    started = started + rng.integers(0, 86_400_000_000, n).astype("timedelta64[us]")
    columns: dict[str, Any] = {
        "trace_id": pa.array([f"t{i}" for i in range(n)]),
        "user_key": pa.array([f"u{u}" for u in rows["user"]]),
        "started_at": pa.array(started, pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC")),
        "day": pa.array(started.astype("datetime64[D]")),
        "success": rows["success"], "escalated": rows["escalated"], "refused": rows["refused"],
        "retrieval_hit": rows["hit"], "grounded": rows["grounded"], "error": rows["error"],
        "total_us": rows["total_us"], "total_nusd": rows["total_nusd"], "tool_calls": rows["tool_calls"],
        "incident_count": rows["incidents"],
    }  # fmt: skip
    for name in (*USER_DIMS, *REQUEST_DIMS, "prompt_version", "release"):
        columns[name] = pa.array(rows[name].tolist())
    return pa.table(columns)
