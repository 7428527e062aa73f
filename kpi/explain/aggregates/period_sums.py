"""Sums of a slice and of its baseline, a window or a version, out of one statement; by user where a user is a cluster.

A row may belong to both (a version against all versions), so each side is a query of its own in a UNION ALL.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import sqlalchemy as sa

from kpi.errors import SliceError
from kpi.explain.aggregates.grouped_sums import Arm, Labelled, grouped_sums, requests
from kpi.measure.columns import Columns, cluster
from kpi.measure.slice import Slice
from kpi.measure.summary import resolve
from kpi.store.engines import Source
from kpi.store.expressions import TEXT, Expression

NOW, BEFORE = 1, 0


def both_sides(
    source: Source, slice: Slice | None, *, keys: Callable[[Columns], Labelled], sums: Callable[[Columns], Labelled],
    by_user: bool = True, totals: bool = False, where: Callable[[Columns, int], list[Expression]] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """A frame with `side` (NOW or BEFORE), the keys, `user` (code of the cluster, where `by_user`) and the sums.

    keys, sums: labelled expressions of a row; `sums` are aggregates. totals: whether they are compared as such, so that
    the baseline of an unfinished window is cut. where: further conditions of a side. Raises SliceError where the slice
    has no baseline.
    """
    resolved = resolve(source, slice or Slice(dataset=source.name))
    if resolved.baseline_filters is None:
        raise SliceError(
            "slice.no_baseline", "There is nothing to compare with",
            hint="Choose a baseline: previous, weekdays, two dates or a version such as prompt_version:p6.",
        )  # fmt: skip
    row = requests(source)
    groups = dict(keys(row)) | ({"user": sa.cast(cluster(row), TEXT)} if by_user else {})
    before = (resolved.totals if totals else None) or resolved.baseline
    arms = ((NOW, Arm(filters=resolved.filters, window=resolved.window)),
            (BEFORE, Arm(filters=resolved.baseline_filters, window=before)))  # fmt: skip
    parts = [
        grouped_sums(source, arm, keys=groups, sums=sums(row), number=side, where=where(row, side) if where else ())
        for side, arm in arms
    ]
    found = source.run(sa.union_all(*parts)).to_pandas().rename(columns={"arm": "side"})
    if by_user:
        found["user"] = pd.factorize(found["user"])[0]
    return found
