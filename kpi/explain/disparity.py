"""Gaps between groups, beyond what groups without any difference would show; and which groups are too small to show.

The largest minus the smallest of several rates is never zero, even when nothing differs. So the gap is compared with
the range that equal groups of these sizes would show (normal rates with the groups' own standard errors, users as
clusters).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kpi.measure.slice import NONE_VALUE
from kpi.measure.summary import label

FLOOR = 11  # users below which a group is hidden (CMS cell-size policy)
MIN_REQUESTS_WITHOUT_USERS = 30
_DRAWS, _SEED, _Z = 4000, 20261122, 1.959964


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Gap of a rate over the groups of one dimension.

    observed: best minus worst. value: with the part taken off that equal groups would show, sqrt(gap^2 - E0
    gap^2). low: 0 unless the gap exceeds the 95 % noise level. p: chance of such a gap when no group differs.
    worst, best: groups; n: rows.
    """

    dimension: str
    observed: float
    value: float
    low: float
    high: float
    noise: float
    p: float
    worst: str
    best: str
    groups: int
    n: int


def gap(frame: pd.DataFrame, *, dimension: str, tests: int = 1) -> Gap | None:
    """Gap over the groups of a `summarise` frame of one rate; None with fewer than two groups that are large enough.

    tests: number of dimensions looked at together (Bonferroni on the noise level).
    """
    known = frame[frame[dimension].notna() & frame["low"].notna() & frame["high"].notna()]
    known = known[(known["clusters"] >= FLOOR) & (known["n"] >= MIN_REQUESTS_WITHOUT_USERS)]
    if len(known) < 2:
        return None
    values = known["value"].to_numpy(dtype=float)
    errors = ((known["high"] - known["low"]) / (2 * _Z)).to_numpy(dtype=float)
    ranges = np.ptp(np.random.default_rng(_SEED).standard_normal((_DRAWS, len(values))) * errors, axis=1)
    observed = float(np.ptp(values))
    noise = float(np.quantile(ranges, 1 - 0.05 / tests))
    worst, best = int(values.argmin()), int(values.argmax())
    spread = _Z * math.hypot(errors[worst], errors[best])
    return Gap(
        dimension=dimension, observed=observed, noise=noise,
        value=math.sqrt(max(0.0, observed**2 - float((ranges**2).mean()))),
        low=max(0.0, observed - spread) if observed > noise else 0.0, high=observed + spread,
        p=min(1.0, float((1 + (ranges >= observed).sum()) / (_DRAWS + 1)) * tests),
        worst=label(known[dimension].iloc[worst]), best=label(known[dimension].iloc[best]),
        groups=len(known), n=int(known["n"].sum()),
    )  # fmt: skip


def hide_small(frame: pd.DataFrame, *, by: Sequence[str], floor: int = FLOOR) -> tuple[pd.DataFrame, list[str]]:
    """The frame without groups that are too small to show, and a reason for each hidden group.

    A group is hidden with fewer than `floor` users. More go, smallest first, until what is hidden in all, and in each
    row and column of a cross table, is two groups and `floor` users at least: else the total minus the groups shown
    would give the small one away (complementary hiding). Groups without users are shown: nobody repeats in them.
    """
    if frame.empty or not by:
        return frame, []
    sized = frame[frame["clusters"] > 0]
    users = sized.groupby(list(by), dropna=False, observed=True)["clusters"].max()
    small = {users.index[i] for i in _hidden(list(users.index), users.to_numpy(), len(by), floor)}
    reasons = [
        f"{_name(key)}: {int(users[key])} users, fewer than {floor}" if users[key] < floor
        else f"{_name(key)}: hidden so that the smaller group cannot be worked out"
        for key in sorted(small, key=str)
    ]  # fmt: skip
    keys = pd.MultiIndex.from_frame(frame[list(by)]) if len(by) > 1 else pd.Index(frame[by[0]])
    return frame[~keys.isin(list(small))].reset_index(drop=True), reasons


def _hidden(keys: Sequence[object], users: np.ndarray, dimensions: int, floor: int) -> set[int]:
    """Positions of the groups to hide, complementary ones included."""
    hidden = set(np.flatnonzero(users < floor).tolist())
    lines: dict[object, list[int]] = {"all": list(range(len(keys)))}
    if dimensions > 1:
        for i, key in enumerate(keys):
            for d, value in enumerate(key if isinstance(key, tuple) else (key,)):
                lines.setdefault((d, label(value)), []).append(i)
    grown = True
    while grown:
        grown = False
        for line in lines.values():
            inside = [i for i in line if i in hidden]
            rest = [i for i in line if i not in hidden]
            if rest and inside and (len(inside) < 2 or users[inside].sum() < floor):
                hidden.add(min(rest, key=lambda i: users[i]))
                grown = True
    return hidden


def _name(key: object) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    return " × ".join(label(p) for p in parts) or NONE_VALUE
