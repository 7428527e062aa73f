"""Labels that go missing: at random, on the failed ones, in one segment, or on both sides alike; nothing else happens.

What a loss allows is worked out here by filling and sorting the rows themselves, without a line of the product.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

Array = np.ndarray
LOSSES = ("random", "failed", "segment", "alike")  # which answers of release b, or of both, have no label


def arms(seed: int, loss: str, *, users: int = 300, lift: float = 0.0, base: float = 0.1) -> pd.DataFrame:
    """Requests of two releases given at random to users who come back and differ; costs lose what labels lose.

    lift: by how much b is truly better, in log-odds; base: share without a label on both sides alike.
    """
    rng = np.random.default_rng([seed, 20261130])
    user = np.repeat(np.arange(users), rng.geometric(1 / 12, users))
    n = len(user)
    late = rng.random(n) < 0.5
    spanish = rng.random(n) < 0.25
    success = rng.random(n) < 1 / (1 + np.exp(-1.2 - rng.normal(0, 0.8, users)[user] + 0.8 * spanish - lift * late))
    cost = (np.exp(rng.normal(15, 0.9, n)) * np.where(success, 1.0, 1.5)).astype(np.int64)
    lost = rng.random(n) < base
    share = rng.uniform(0.3, 0.9)
    hit = {"random": late, "failed": late & ~success, "segment": late & spanish, "alike": np.ones(n, dtype=bool)}[loss]
    lost |= hit & (rng.random(n) < (share if loss != "random" else share / 2))
    frame = pd.DataFrame({
        "user_key": [f"u{u}" for u in user], "release": np.where(late, "b", "a"),
        "language": np.where(spanish, "es", "en"), "success": pd.array(success, dtype="boolean"),
        "total_nusd": pd.array(cost, dtype="Int64"),
    })  # fmt: skip
    frame.loc[lost, ["success", "total_nusd"]] = pd.NA
    return frame


def allowed(frame: pd.DataFrame, column: str) -> tuple[float, float]:
    """The least and the largest difference b - a that the extra loss of one side allows, by hand.

    Of a boolean the requests that the side with more labels would know are filled on the other with failures, then with
    successes; of a number the side with more is cut down to the other's share, from above and from below.
    """
    found = {}
    for name in ("a", "b"):
        values = frame.loc[frame["release"] == name, column]
        found[name] = (np.sort(values.dropna().to_numpy(dtype=float)), len(values))
    share = {name: len(v) / n for name, (v, n) in found.items()}
    short, full = ("b", "a") if share["b"] <= share["a"] else ("a", "b")
    few, many = found[short][0], found[full][0]
    sign = 1.0 if short == "b" else -1.0
    if frame[column].dtype == "boolean":
        extra = len(few) * (share[full] / share[short] - 1)
        ends = [((few.sum() + extra * fill) / (len(few) + extra) - many.mean()) * sign for fill in (0, 1)]
    else:
        kept = round(len(many) * share[short] / share[full])
        ends = [(few.mean() - m.mean()) * sign for m in (many[len(many) - kept :], many[:kept])]
    return min(ends), max(ends)


def unlabelled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A quiet world in which a part of the labels was never there: by request, by user and by day."""
    rng = np.random.default_rng([seed, 20261130])
    n = len(frame)
    user = pd.factorize(frame["user_key"])[0]
    day = pd.factorize(frame["day"])[0]
    share = rng.uniform(0.05, 0.5) + rng.normal(0, 0.1, user.max() + 1)[user] + rng.normal(0, 0.01, day.max() + 1)[day]
    lost = rng.random(n) < share
    found = frame.copy()
    for column in ("success", "grounded", "retrieval_hit"):
        found[column] = pd.array(frame[column], dtype="boolean")
        found.loc[lost, column] = pd.NA
    return found
