"""Sums of a slice and of its baseline, a window or a version, out of one statement; by user where a user is a cluster.

A row may belong to both (a version against all versions), so each side is a query of its own in a UNION ALL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import sqlalchemy as sa

from kpi.errors import SliceError
from kpi.measure.slice import Slice
from kpi.measure.statistics import Columns, cluster, conditions
from kpi.measure.summary import resolve
from kpi.store.engines import Source

NOW, BEFORE = 1, 0
_TEXT, _INT = sa.Text(), sa.BigInteger()
Labelled = Sequence[tuple[str, sa.ColumnElement]]


def both_sides(
    source: Source,
    slice: Slice | None,
    *,
    keys: Callable[[Columns], Labelled],
    sums: Callable[[Columns], Labelled],
    by_user: bool = True,
    where: Callable[[Columns, int], list[sa.ColumnElement]] | None = None,
) -> pd.DataFrame:
    """A frame with `side` (NOW or BEFORE), the keys, `user` (code of the cluster, where `by_user`) and the sums.

    keys, sums: labelled expressions of a row; `sums` are aggregates. where: further conditions of a side. Raises
    SliceError where the slice has no baseline.
    """
    resolved = resolve(source, slice)
    if resolved.baseline_filters is None:
        raise SliceError(
            "slice.no_baseline", "There is nothing to compare with",
            hint="Choose a baseline: previous, weekdays, two dates or a version such as prompt_version:p6.",
        )  # fmt: skip
    table = source.table("requests")
    row = Columns(source, table)
    groups = list(keys(row))
    if by_user:
        groups.append(("user", sa.cast(cluster(row), _TEXT)))
    parts = [
        sa.select(
            sa.literal_column(str(side), _INT).label("side"),
            *(column.label(name) for name, column in groups),
            *(column.label(name) for name, column in sums(row)),
        )
        .select_from(table)
        .where(*conditions(source, filters, window), *(where(row, side) if where else []))
        .group_by(*(column for _, column in groups))
        for side, filters, window in (
            (NOW, resolved.filters, resolved.window),
            (BEFORE, resolved.baseline_filters, resolved.baseline),
        )
    ]
    found = source.run(sa.union_all(*parts)).to_pandas()
    if by_user:
        found["user"] = pd.factorize(found["user"])[0]
    return found
