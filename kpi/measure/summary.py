"""summarise(): one query, any metrics, any grouping, every number with its interval.

Versions, cohorts, trends, scorecards and reports are this one function with other arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from kpi import clock
from kpi.errors import SliceError, choices
from kpi.measure import estimate
from kpi.measure.buckets import bucket_columns
from kpi.measure.cells import Cells, Grouping
from kpi.measure.columns import RATIO_KINDS
from kpi.measure.ending import DAYS, HOURS, Ending, ending_of, extent_of
from kpi.measure.metrics import Metric
from kpi.measure.own_metrics import metric_of
from kpi.measure.profile import MAX_VALUES, Profile, profile
from kpi.measure.slice import NONE_VALUE, Filters, Resolved, Slice, Window, check_grain
from kpi.measure.statistics import StatisticsQuery
from kpi.schema import dimension_column, dimension_name
from kpi.store.binding import unlinked
from kpi.store.engines import Source

Metrics = Sequence[str | Metric] | Metric
_FLAGS = ("true", "false")  # of a boolean cohort, whatever an engine calls them
_GROWING = ("count", "distinct", "total")  # kinds that grow with time, so that only equal times compare


def summarise(
    source: Source, metrics: Metrics | str, slice: Slice | None = None,
    *, by: Sequence[str] = (), every: str | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Metrics of a slice, one row per metric, group and bucket.

    Args:
        source: Where the rows are.
        metrics: One name or `Metric`, or several.
        slice: The rows to look at; all of them when None.
        by: Dimensions to group by.
        every: "hour", "day", "week" or "month" for a series, else None.

    Returns:
        A frame with columns metric, one per dimension in `by` (None where the value is unknown), bucket (local start of
        the hour, day, week or month; NaT without `every`), value, low, high (95 %; NaN where the data cannot bound it),
        n (requests that count), clusters (users among them), unit, clustered_by (what names who repeats: user, session,
        request or mixed; by request all requests are taken as strangers, and an interval may be too narrow),
        effective_users (heavy ones counted as what they are), heaviest (share of the largest user; NaN where that is
        not asked); with `every` also start (the moment at which the bucket begins, which tells apart the two hours that
        a clock shows twice) and complete (False where the data, the slice or the time up to now end or begin inside the
        bucket).

    Raises:
        MetricError: For an unknown metric or dimension.

    Example:
        >>> found = kpi.summarise(source, ["task_success", "latency_p95"], kpi.Slice(last="28d"))
        >>> found["metric"].tolist(), found["unit"].tolist()
        (['task_success', 'latency_p95'], ['share', 'ms'])
    """
    grouping = Grouping(by=tuple(by), every=every)
    return tally(source, metrics, slice, groupings=[grouping])[0]


def tally(
    source: Source, metrics: Metrics | str, slice: Slice | None = None, *, groupings: Sequence[Grouping]
) -> list[pd.DataFrame]:
    """The frames of `summarise` for several groupings at once, out of one statement and one scan of the rows."""
    resolved = resolve(source, slice)
    return measure(
        source, metrics, filters=resolved.filters, window=resolved.window, tz=resolved.slice.tz, groupings=groupings
    )


def compare_windows(
    source: Source, metrics: Metrics | str, slice: Slice | None = None, *,
    groupings: Sequence[Grouping], baseline_groupings: Sequence[Grouping] | None = None,
) -> tuple[list[pd.DataFrame], list[pd.DataFrame] | None]:  # fmt: skip
    """The same metrics in the window of a slice and in its baseline. Each window is scanned once.

    Args:
        source: Where the rows are.
        metrics: One name or `Metric`, or several.
        slice: With its baseline.
        groupings: Ways to group, one frame each.
        baseline_groupings: Of the baseline, where they differ.

    Returns:
        (frames now, frames of the baseline), columns as of `summarise`; None where the slice has no baseline. Counts
        and totals of a baseline are those of the time that the window has seen so far, `Resolved.totals`.

    Raises:
        MetricError: For an unknown metric or dimension.

    Example:
        >>> now, before = kpi.compare_windows(
        ...     source, "task_success", kpi.Slice(last="14d"), groupings=[kpi.Grouping(by=("language",))]
        ... )
        >>> len(now), len(before)
        (1, 1)
    """
    resolved = resolve(source, slice or Slice(dataset=source.name))
    tz = resolved.slice.tz
    now = measure(source, metrics, filters=resolved.filters, window=resolved.window, tz=tz, groupings=groupings)
    if resolved.baseline_filters is None:
        return now, None
    compared = baseline_groupings or groupings
    before = measure(source, metrics, filters=resolved.baseline_filters, window=resolved.baseline, tz=tz,
                     groupings=compared)  # fmt: skip
    asked = zip(before, compared, strict=True)
    return now, [b if g.every else same_elapsed(source, b, metrics, resolved, g) for b, g in asked]


def same_elapsed(
    source: Source, before: pd.DataFrame, metrics: Metrics | str, resolved: Resolved, grouping: Grouping
) -> pd.DataFrame:
    """The frame of a baseline with those metrics that add up over as much of it as the window has seen so far."""
    order = {name: i for i, name in enumerate(before["metric"].unique())}
    growing = [m for m in _chosen(source, metrics) if m.kind in _GROWING and m.name in order]
    if resolved.totals is None or not growing:
        return before
    (part,) = measure(source, growing, filters=resolved.baseline_filters or (), window=resolved.totals,
                      tz=resolved.slice.tz, groupings=[replace(grouping, metrics=())])  # fmt: skip
    both = pd.concat([before[~before["metric"].isin([m.name for m in growing])], part])
    return both.sort_values("metric", key=lambda m: m.map(order), kind="stable", ignore_index=True)


def resolve(source: Source, slice: Slice | None, *, strict: bool = True) -> Resolved:
    """Absolute windows of a slice on this source, counted back from where its data ends.

    Requests that lie in the future are in none of them. What is left out stands in `notes`.

    Args:
        source: Where the rows are.
        slice: With relative or absolute times. None means all rows of a frame, and of stored data the last 28 days. A
            question about a change has a slice always: the last 28 days against those before, where none is given.
        strict: Whether a filter on a value that no request has is an error.

    Returns:
        A `Resolved`: window and baseline as aware datetimes, half-open; None where there is none.

    Raises:
        SliceError: For a window or baseline that this data cannot give, and a value that no request has.

    Example:
        >>> found = kpi.resolve(source, kpi.Slice(last="7d"))
        >>> (found.window.end - found.window.start).days
        7
    """
    known = profile(source)
    view = slice or Slice(dataset=source.name, last="all" if source.whole else "28d")
    end = _ending(source, known, view)
    found = view.resolve(known.first, end.last)
    notes = [*source.notes, *([_strays(end, known)] if end.strays else [])]
    if known.ahead:
        found = replace(found, window=_until_now(found.window), baseline=_until_now(found.baseline))
        notes.append(clock.left_out(known.ahead))
    if source.rekeyed and (found.window is None or _begun(found) < source.rekeyed):
        notes.append(unlinked(source.rekeyed.isoformat()))
    found = _unfinished(source, known, found)
    if found.totals and found.baseline and found.data and _much(found.totals, found.baseline):
        ends = [m.astimezone(ZoneInfo(found.slice.tz)) for m in (found.data.end, found.totals.end)]
        told = [f"{m.day} {m:%b %H:%M}" for m in ends]
        notes.append(f"The data end on {told[0]}: totals are compared with the baseline up to {told[1]}.")
    if strict and not source.live:  # of rows that change under us the profile may not know all values
        _check_values(known, found)
    return replace(found, notes=tuple(notes))


def _check_values(known: Profile, found: Resolved) -> None:
    """Raises SliceError for a filter on a value that no request has, where the profile knows all values."""
    for name, values in (*found.filters, *(found.baseline_filters or ())):
        have = [v for v, _ in known.dimensions.get(dimension_name(name), ())]
        empty = known.filled.get(dimension_column(name)) == 0
        lost = next((v for v in values if v not in (*have, NONE_VALUE, *_FLAGS)), None)
        if lost is not None and (empty or 0 < len(have) < MAX_VALUES):
            raise SliceError("slice.value", f"No request has {name} {lost[:60]!r}",
                             hint=choices(lost, have) if have else f"Nothing is known of {name}.")  # fmt: skip


def _unfinished(source: Source, known: Profile, found: Resolved) -> Resolved:
    """With the part of the baseline that has the time of the window up to the end of the data, where that is inside."""
    window, baseline = found.window, found.baseline
    if window is None or baseline is None or baseline == window or not known.first:
        return found
    extent = extent_of(source, known.first)
    if extent is None or not window.start <= extent.last < window.end:
        return found
    if window.end.timestamp() * 1e6 <= clock.now_us() and not extent.ends_in(window):
        return found
    until = extent.last + timedelta(microseconds=1)
    part = found.slice.elapsed(window, baseline, until)
    return replace(found, totals=part) if part.end < baseline.end else found


def _much(part: Window, whole: Window) -> bool:
    """Whether what a part lacks of a window, a hundredth of it at least, is worth a word."""
    return whole.end - part.end >= (whole.end - whole.start) / 100


def _begun(found: Resolved) -> datetime:
    return min(w.start for w in (found.window, found.baseline) if w is not None)


def _ending(source: Source, known: Profile, view: Slice) -> Ending:
    """The end of the data for a window. One of all times, or between two given ones, holds the strays."""
    if known.last is None or view.last == "all" or (view.last is None and view.end is not None):
        return Ending(last=known.last)
    found = ending_of(source, HOURS if view.last and view.last.endswith("h") else DAYS)
    return found if found.last is not None else Ending(last=known.last)


def _strays(end: Ending, known: Profile) -> str:
    assert end.last is not None
    assert known.last is not None
    told = "1 request stands" if end.strays == 1 else f"{end.strays:,} requests stand"
    return (f"{told} far apart after the rest, the newest at {known.last:%d %b %Y %H:%M} UTC. The window ends before, "
            f"with {end.last:%d %b %Y}; all times show {'it' if end.strays == 1 else 'them'}.")  # fmt: skip


def _until_now(window: Window | None) -> Window | None:
    """The part of a window that is not in the future; one of no rows where there is no such part."""
    latest = clock.latest()
    if window is None or window.end <= latest:
        return window
    return replace(window, start=min(window.start, latest), end=latest + timedelta(microseconds=1))


def measure(
    source: Source, metrics: Metrics | str, *, filters: Filters = (),
    window: Window | None = None, tz: str = "UTC", groupings: Sequence[Grouping],
) -> list[pd.DataFrame]:  # fmt: skip
    """Frames for absolute windows; what `tally` does once the slice is resolved."""
    cells = collect(source, metrics, filters=filters, window=window, tz=tz, groupings=groupings)
    return [frame(c) for c in cells]


def collect(
    source: Source, metrics: Metrics | str, *, filters: Filters = (),
    window: Window | None = None, tz: str = "UTC", groupings: Sequence[Grouping],
) -> list[Cells]:  # fmt: skip
    """The raw statistics behind `measure`, one `Cells` a grouping: for comparisons that need more than intervals."""
    chosen = _chosen(source, metrics)
    for grouping in groupings:
        if grouping.every is not None:
            check_grain(grouping.every)
    query = StatisticsQuery(source, chosen, groupings)
    rows = source.run(query.statement(filters, window, tz)).to_pandas()
    return query.read(rows)


def _chosen(source: Source, metrics: Metrics | str) -> list[Metric]:
    return [metric_of(source, m) for m in ([metrics] if isinstance(metrics, str | Metric) else metrics)]


def frame(cells: Cells) -> pd.DataFrame:
    """The frame of `summarise` out of the statistics of one grouping."""
    metrics = cells.query.wanted(cells.grouping)
    by, every, k = cells.grouping.by, cells.grouping.every, len(cells.keys)
    found = [_estimates(cells, m) for m in metrics]
    scales = np.repeat([m.scale for m in metrics], k)
    columns: dict[str, Any] = {"metric": np.repeat(np.array([m.name for m in metrics], dtype=object), k)}
    for i, dimension in enumerate(by):
        values = np.array([key[i] for key in cells.keys], dtype=object)
        columns[dimension] = pd.Series(np.tile(values, len(metrics)), dtype=object)  # else pandas makes None a NaN
    times = buckets(cells)
    columns["bucket"] = np.tile(times["bucket"].to_numpy(dtype="datetime64[us]"), len(metrics))
    for name in ("value", "low", "high"):
        columns[name] = _joined([getattr(e, name) for e in found]) * scales
    columns["n"] = _joined([e.n for e in found]).astype("int64")
    columns["clusters"] = np.nan_to_num(_joined([e.clusters for e in found])).astype("int64")
    columns["unit"] = np.repeat(np.array([m.unit for m in metrics], dtype=object), k)
    columns["clustered_by"] = np.tile(np.array(cells.clustered_by(), dtype=object), len(metrics))
    columns["effective_users"] = _joined([_or_unknown(e.effective, k) for e in found])
    columns["heaviest"] = _joined([_or_unknown(e.heaviest, k) for e in found])
    built = pd.DataFrame(columns)
    if not every:
        return built
    more = pd.concat([times[["start", "complete"]]] * len(metrics), ignore_index=True)
    return pd.concat([built, more], axis=1).dropna(subset=["bucket"], ignore_index=True)


def buckets(cells: Cells) -> pd.DataFrame:
    """bucket, start and complete of each key, as of `summarise`; where there is no series only bucket, NaT."""
    every, query = cells.grouping.every, cells.query
    names = pd.Series([key[-1] if every else None for key in cells.keys], dtype=object)
    if every is None:
        return pd.DataFrame({"bucket": pd.to_datetime(names)})
    return pd.DataFrame(bucket_columns(names, every, tz=query.tz, source=query.source, window=query.window))


def _or_unknown(values: np.ndarray | None, k: int) -> np.ndarray:
    return np.full(k, np.nan) if values is None else values


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0)


def _estimates(cells: Cells, m: Metric) -> estimate.Estimates:
    rows = cells.rows()
    nothing = np.full(len(rows), np.nan)
    if m.kind in RATIO_KINDS and m.kind != "total":
        return estimate.of(m, cells.ratio(m))
    if m.kind == "total":
        s = cells.ratio(m)
        value = np.where(s.n > 0, s.y, np.nan)
        return estimate.Estimates(value=value, low=nothing, high=nothing, n=s.n, clusters=s.clusters)
    if m.kind == "count":
        return estimate.Estimates(value=rows, low=nothing, high=nothing, n=rows, clusters=nothing)
    assert m.column is not None
    if m.kind == "distinct":
        value, n = cells.distinct(m.column)
        return estimate.Estimates(value=value, low=nothing, high=nothing, n=n, clusters=nothing)
    if m.kind == "max":
        value, n = cells.maximum(m.column)
        return estimate.Estimates(value=value, low=nothing, high=nothing, n=n, clusters=nothing)
    assert m.q is not None
    shapes = cells.histograms(m.column)
    found = np.array([estimate.quantile(h, m.q) for h in shapes], dtype=float).reshape(-1, 5)
    value, low, high, n, users = found.T
    return estimate.Estimates(value=value, low=low, high=high, n=n, clusters=users,
                              effective=np.array([h.effective for h in shapes]))  # fmt: skip


def label(value: object) -> str:
    """A dimension value as people see it: unknown reads "(none)"."""
    return NONE_VALUE if value is None or value is pd.NA or value != value else str(value)
