"""Small-cell suppression with complementary suppression: groups too small to show, and those that would reveal them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kpi.measure.slice import NONE_VALUE
from kpi.measure.summary import label

FLOOR = 11  # users below which a group is hidden (CMS cell-size policy)


def hide_small(frame: pd.DataFrame, *, by: Sequence[str], floor: int = FLOOR) -> tuple[pd.DataFrame, list[str]]:
    """The frame without groups that are too small to show, and a reason for each hidden group.

    A group is hidden with fewer than `floor` users. More go, smallest first, until what is hidden in all, and in each
    row and column of a cross table, is two groups and `floor` users at least: else the total minus the groups shown
    would give the small one away (complementary hiding). Groups without users are shown: nobody repeats in them.

    Args:
        frame: Of `summarise`, with a column clusters.
        by: The dimensions it is grouped by.
        floor: Smallest number of users that may be shown.

    Returns:
        (the frame without hidden groups, one sentence a hidden group).

    Example:
        >>> shown, hidden = kpi.hide_small(kpi.summarise(source, "requests", by=["language"]), by=["language"])
        >>> len(shown) > 0
        True
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


def shown_groups(
    by: Sequence[str], values: Sequence[tuple[str, ...]], users: np.ndarray
) -> tuple[set[tuple[str, ...]], list[str]]:
    """(values of the groups that may be shown, a sentence for each hidden one). users: of each group."""
    shown, hidden = hide_small(pd.DataFrame(list(values), columns=list(by)).assign(clusters=users), by=by)
    return set(shown[list(by)].itertuples(index=False, name=None)), hidden


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
