"""Rolling values: each day is the merged statistics of the days up to it, never an average of averages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from kpi.errors import MetricError
from kpi.measure import estimate
from kpi.measure.cells import Cells, Grouping
from kpi.measure.columns import RATIO_KINDS
from kpi.measure.metrics import Metric
from kpi.measure.slice import Slice
from kpi.measure.summary import Metrics, buckets, collect, resolve
from kpi.store.engines import Source


def rolling(
    source: Source, metrics: Metrics | str, slice: Slice | None = None, *, days: int = 7, by: Sequence[str] = ()
) -> pd.DataFrame:
    """Metrics over a trailing window, one row a day.

    Days on which a group has no request are left out. The first days of the slice use the days there are. There is no
    interval: users return within the window, so their sums do not add up over days. No distinct counts and maxima.

    Args:
        source: Where the rows are.
        metrics: One name or `Metric`, or several.
        slice: The rows to look at; all of them when None.
        days: Width of the window.
        by: Dimensions to group by.

    Returns:
        A frame with columns metric, dimensions of `by`, bucket, value, n, unit, complete (as of `kpi.summarise`: of
        its last day).

    Raises:
        MetricError: For an unknown metric or dimension, a distinct count or a maximum.

    Example:
        >>> found = kpi.rolling(source, "task_success", kpi.Slice(last="14d"), days=7)
        >>> len(found), found["unit"].unique().tolist()
        (14, ['share'])
    """
    if days < 1:
        raise MetricError("rolling.days", f"A window of {days} days holds nothing", hint="Write days=7, or 1 at least.")
    resolved = resolve(source, slice)
    grouping = Grouping(by=tuple(by), every="day", intervals=False)
    (cells,) = collect(source, metrics, filters=resolved.filters, window=resolved.window, tz=resolved.slice.tz,
                       groupings=[grouping])  # fmt: skip
    if each := next((m for m in cells.query.metrics if m.per_unit), None):
        raise MetricError("rolling.each", f"{each.label} counts a unit once, so that days do not add up to it",
                          hint="Ask for it with kpi.summarise(…, every='week').")  # fmt: skip
    blocks = [_rolled(cells, m, days) for m in cells.query.metrics if m.kind in (*RATIO_KINDS, "quantile")]
    columns = ["metric", *by, "bucket", "value", "n", "unit", "complete"]
    return pd.concat(blocks, ignore_index=True)[columns] if blocks else pd.DataFrame(columns=columns)


def _rolled(cells: Cells, m: Metric, days: int) -> pd.DataFrame:
    groups: dict[tuple[Any, ...], list[tuple[pd.Timestamp, int]]] = {}
    for i, key in enumerate(cells.keys):
        if key[-1] is not None:
            groups.setdefault(key[:-1], []).append((pd.Timestamp(key[-1]), i))
    rows = [r for key, found in groups.items() for r in _group(cells, m, days, key, found)]
    names = [*cells.grouping.by, "bucket", "value", "n"]
    whole = buckets(cells).drop_duplicates("bucket").set_index("bucket")["complete"]
    found = pd.DataFrame(rows, columns=names)
    return found.assign(metric=m.name, unit=m.unit, complete=found["bucket"].map(whole))


def _group(
    cells: Cells, m: Metric, days: int, key: tuple[Any, ...], found: list[tuple[pd.Timestamp, int]]
) -> list[tuple[Any, ...]]:
    histograms = cells.histograms(m.column) if m.kind == "quantile" and m.column else []
    sums = None if histograms or m.kind == "quantile" else cells.ratio(m)
    rows = []
    for day, _ in sorted(found):
        inside = [i for d, i in found if day - pd.Timedelta(days=days) < d <= day]
        if sums is None:
            value, n = _merged_quantile([histograms[i] for i in inside], m.q or 0.5)
        else:
            n, y, x = (float(a[inside].sum()) for a in (sums.n, sums.y, sums.x))
            value = (y if m.kind == "total" else y / x) if n and (x or m.kind == "total") else np.nan
        rows.append((*key, day, value * m.scale, int(n)))
    return rows


def _merged_quantile(parts: list[estimate.Histogram], q: float) -> tuple[float, float]:
    bins = np.concatenate([h.bins for h in parts]) if parts else np.zeros(0)
    if not len(bins):
        return np.nan, 0.0
    values, owner = np.unique(bins, return_inverse=True)
    count = np.bincount(owner, np.concatenate([h.count for h in parts])).astype(float)
    unknown = np.full(len(values), np.nan)
    low, high = np.full(len(values), np.inf), np.full(len(values), -np.inf)
    for h in parts:
        place = np.searchsorted(values, h.bins)
        ranks = estimate.Ranks(h.bins, h.count, h.low, h.high)
        low[place], high[place] = np.fmin(low[place], ranks.low), np.fmax(high[place], ranks.high)
    merged = estimate.Histogram(bins=values, count=count, square=unknown, cross=unknown, first=unknown,
                                low=low, high=high)  # fmt: skip
    value, _, _, n, _ = estimate.quantile(merged, q)
    return value, n
