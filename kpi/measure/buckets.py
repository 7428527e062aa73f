"""Time buckets: the instants that an hour, day, week or month of a zone holds, and whether all of it can be there.

Days, weeks and months follow the clock on the wall. Hours are instants: the hour that comes twice in autumn is two
buckets, the one that spring leaves out does not exist, and where clocks move by half an hour one bucket is that short.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import pandas as pd

from kpi import clock
from kpi.measure.ending import extent_of
from kpi.measure.profile import profile
from kpi.measure.slice import Window
from kpi.store.engines import Source

_HOUR = timedelta(hours=1)
_LENGTHS = {"day": timedelta(days=1), "week": timedelta(days=7)}


@lru_cache(maxsize=100_000)
def span(key: str, grain: str, tz: str) -> Window:
    """From the first instant of a bucket to that of the next. key: as `kpi.measure.columns.bucket` names it."""
    zone, start = ZoneInfo(tz), datetime.fromisoformat(key)
    if grain == "hour":
        return _hour(start.replace(tzinfo=UTC), zone)
    later = start + _LENGTHS[grain] if grain != "month" else (start + timedelta(days=31)).replace(day=1)
    return Window(start=_midnight(start, zone), end=_midnight(later, zone))


def _midnight(local: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which clocks show a local time or, where they leave it out, a later one."""
    found = local.replace(tzinfo=zone).astimezone(UTC)
    if _wall(found, zone) == local:
        return found
    return _first(lambda t: _wall(t, zone) >= local, found - timedelta(days=2), found)


def _hour(key: datetime, zone: ZoneInfo) -> Window:
    """The instants from whose local minutes this hour follows: less than an hour where clocks move within it."""

    def inside(moment: datetime) -> bool:
        local = _wall(moment, zone)
        return moment - (local - local.replace(minute=0, second=0, microsecond=0)) == key

    last = key + _HOUR - timedelta(microseconds=1)
    start = key if inside(key) else _first(inside, key, last)
    return Window(start=start, end=key + _HOUR if inside(last) else _first(lambda t: not inside(t), start, last))


def _first(holds: Callable[[datetime], bool], low: datetime, high: datetime) -> datetime:
    """The first instant after `low` from which on, up to `high`, something holds; to the second, as clocks move."""
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high.replace(microsecond=0)


def _wall(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


def bucket_columns(
    keys: pd.Series, grain: str, *, tz: str, source: Source, window: Window | None
) -> dict[str, pd.Series]:
    """The columns bucket, start and complete of a series, by the names of its buckets; None is NaT, and complete."""
    spans = {key: span(key, grain, tz) for key in keys.dropna().unique()}
    starts = pd.to_datetime(keys.map({k: s.start for k, s in spans.items()}), utc=True).astype("datetime64[us, UTC]")
    local = starts.dt.tz_convert(ZoneInfo(tz))
    named = local.dt.tz_localize(None)
    if grain != "hour":  # by its date, also where clocks leave its midnight out
        named = pd.to_datetime(keys.map({k: datetime.fromisoformat(k) for k in spans})).astype("datetime64[us]")
    extent, now = extent_of(source, profile(source).first) if spans else None, clock.now_us()
    whole = {
        k: s.end.timestamp() * 1e6 <= now and extent is not None and extent.holds(s)
        and (window is None or (window.start <= s.start and s.end <= window.end))
        for k, s in spans.items()
    }  # fmt: skip
    return {"bucket": named, "start": local, "complete": pd.Series([whole.get(k, True) for k in keys], dtype=bool)}
