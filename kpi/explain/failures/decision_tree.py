"""A small decision tree as a second opinion on what sets failed requests apart, checked on users it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kpi.stats.interval import Interval, cluster_interval
from kpi.stats.types import Array

DEPTH, SHARE_HELD, MIN_SIDE, MIN_USERS = 3, 0.3, 50, 40
_SEED = 20261124


@dataclass(frozen=True, kw_only=True)
class Tree:
    """leaves: rule (in words), failed_share (of all requests, not of the sample), n (in the sample), failed_examples,
    success_examples; the most failing first. accuracy: balanced (0.5 is a coin), on the held-out users, with its 95 %
    interval by user. held: their requests.
    """

    leaves: pd.DataFrame
    accuracy: Interval
    held: int


def grow(features: Array, names: Sequence[str], failed: Array, user: Array, weight: Array, ids: Array) -> Tree | None:
    """A tree of at most three questions; None with too few users or requests on a side to check it.

    features: requests x features, 0 or 1. names: of the features, in words. weight: requests that a sampled one stands
    for. ids: trace ids.
    """
    from sklearn.tree import DecisionTreeClassifier  # takes a second to import, and most commands do without

    users = int(user.max()) + 1
    held = np.random.default_rng(_SEED).random(users)[user] < SHARE_HELD
    sides = [int((side & part).sum()) for side in (failed, ~failed) for part in (held, ~held)]
    if users < MIN_USERS or min(sides) < MIN_SIDE // 2 or not features.shape[1]:
        return None
    least = max(MIN_SIDE // 2, int(0.01 * (~held).sum()))
    model = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=least, class_weight="balanced", random_state=0)
    model.fit(features[~held], failed[~held])
    right = model.predict(features[held]) == failed[held]
    return Tree(leaves=_leaves(model, features, names, failed, weight, ids), held=int(held.sum()),
                accuracy=_balanced(right, failed[held], user[held], users))  # fmt: skip


def _balanced(right: Array, failed: Array, user: Array, users: int) -> Interval:
    value, residual = 0.0, np.zeros(users)
    for side in (True, False):
        mine = failed == side
        share = float(right[mine].mean())
        value += share / 2
        residual += np.bincount(user[mine], (right[mine] - share) / mine.sum() / 2, minlength=users)
    return cluster_interval(value, residual)


def _leaves(
    model: Any, features: Array, names: Sequence[str], failed: Array, weight: Array, ids: Array
) -> pd.DataFrame:
    leaf = model.apply(features)
    rows = []
    for node, rule in _rules(model.tree_, names).items():
        mine = leaf == node
        rows.append({"rule": rule, "failed_share": float(weight[mine & failed].sum() / weight[mine].sum()),
                     "n": int(mine.sum()), "failed_examples": tuple(ids[mine & failed][:3]),
                     "success_examples": tuple(ids[mine & ~failed][:3])})  # fmt: skip
    return pd.DataFrame(rows).sort_values(["failed_share", "rule"], ascending=[False, True], ignore_index=True)


def _rules(tree: Any, names: Sequence[str]) -> dict[int, str]:
    """Leaf -> the answers that lead to it, in words."""
    found: dict[int, str] = {}
    stack: list[tuple[int, tuple[str, ...]]] = [(0, ())]
    while stack:
        node, said = stack.pop()
        if tree.children_left[node] < 0:
            found[node] = " and ".join(said) or "every request"
            continue
        name = names[tree.feature[node]]
        stack.append((int(tree.children_right[node]), (*said, name)))
        stack.append((int(tree.children_left[node]), (*said, f"not {name}")))
    return found
