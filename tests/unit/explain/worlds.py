"""Small cells made by hand: what the search and its statistic are tested on."""

from __future__ import annotations

from datetime import date

import numpy as np

from kpi.explain.aggregates.cube import Codes, Cube, Terms

DAYS, START = 42, 28
METRIC = "task_success"
Array = np.ndarray


def made(rng: np.random.Generator, n: int, *, users: int | None = None, rate: float = 0.7, segments: int = 0) -> Cube:
    """n requests, each its own cell; as many users by default; segments: further dimensions d0, d1, … of two values."""
    user = np.arange(n) if users is None else rng.integers(0, users, n)
    values = {"language": ("de", "en", "es"), "intent": ("billing", "returns", "shipping")}
    values |= {f"d{i}": ("a", "b") for i in range(segments)}
    return Cube(
        first=date(2026, 10, 1), days=DAYS, day=rng.integers(0, DAYS, n), user=user, rows=np.ones(n),
        dims={d: Codes(v, rng.integers(0, len(v), n)) for d, v in values.items()},
        terms={METRIC: Terms((rng.random(n) < rate).astype(float), np.ones(n), "rate")},
        users=int(user.max()) + 1,
    )  # fmt: skip


def of(day: Array, user: Array, y: Array, *, kind: str = "rate") -> Cube:
    """The cells of requests without dimensions, one metric."""
    return Cube(
        first=date(2026, 10, 1), days=DAYS, day=day, user=user, rows=np.ones(len(day)), dims={},
        terms={METRIC: Terms(np.asarray(y, dtype=float), np.ones(len(day)), kind)}, users=int(user.max()) + 1,
    )  # fmt: skip
