"""The slice: which rows, which window, compared with what. To and from a URL query, losslessly.

A `Slice` is what a person asked for ("last 28 days, Spanish, against the previous window"); `resolve` turns it into
absolute half-open UTC windows for one data set. Pages, links, the command line and notebooks share it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from kpi import clock
from kpi.arguments import guarded, guarded_class
from kpi.errors import SliceError

GRAINS = ("hour", "day", "week", "month")
LINK_VERSION = "1"
_LAST = re.compile(r"([1-9][0-9]{0,3})([hdw])")
_YEARS = range(1900, 2201)  # outside of these, arithmetic on dates overflows before anything useful comes out
_SINGLE = ("v", "data", "at", "fp", "last", "from", "to", "vs", "tz", "grain")  # keys that a link has once
_HOURS = {"h": 1, "d": 24, "w": 168}
Filters = tuple[tuple[str, tuple[str, ...]], ...]
NONE_VALUE = "(none)"  # how a missing dimension value is written in filters and tables


@dataclass(frozen=True, kw_only=True)
class Window:
    """Half-open interval [start, end) in UTC."""

    start: datetime
    end: datetime

    @property
    def days(self) -> float:
        return (self.end - self.start) / timedelta(days=1)

    def shifted(self, by: timedelta) -> Window:
        return Window(start=self.start + by, end=self.end + by)


@guarded_class("start", "end", "filters")
@dataclass(frozen=True, kw_only=True)
class Slice:
    """What a person looks at. Dates and texts such as "2026-11-01" are understood, filters also as a dict.

    Args:
        dataset: Name of the data set.
        version: Stored version, None for the newest.
        fingerprint: Of the rows a link was made on, "" when unknown.
        last: "28d", "24h", "2w" or "all", counted back from the end of the data; or start and end.
        start: Date, text or aware datetime at which the window begins; dates begin in `tz`.
        end: The same, before which it ends (half-open): 1 December for a window that ends with November.
        baseline: "previous" (the window before), "weekdays" (the nearest earlier window that starts on the same
            weekday), "none", "A..B" (dates), or "dimension:value" (a version in the same window).
        filters: Dimension to values, any of them; "(none)" means unknown.
        tz: IANA zone in which days begin.
        grain: Bucket of series: hour, day, week or month.

    Raises:
        SliceError: For what cannot be understood.

    Example:
        >>> view = kpi.Slice(last="14d").where(language="de")
        >>> view.last, view.baseline
        ('14d', 'previous')
    """

    dataset: str = "default"
    version: int | None = None
    fingerprint: str = ""
    last: str | None = "28d"
    start: datetime | None = None
    end: datetime | None = None
    baseline: str = "previous"
    filters: Filters = ()
    tz: str = "UTC"
    grain: str = "day"

    def __post_init__(self) -> None:
        _zone(self.tz)
        for name in ("start", "end"):
            object.__setattr__(self, name, _moment(getattr(self, name), self.tz))
        if self.start is not None or self.end is not None:
            object.__setattr__(self, "last", None)
        elif self.last is None:
            object.__setattr__(self, "last", "all")
        for moment in (self.start, self.end):
            if moment is not None and moment.tzinfo is None:
                raise SliceError("slice.naive_time", "A window needs times with a zone", hint="Add UTC or an offset.")
            if moment is not None:
                _check_year(moment.year)
        if self.start and self.end and self.start >= self.end:
            raise SliceError("slice.empty_window", "The window ends before it starts", hint="Swap from and to.")
        if self.last not in (None, "all") and not _LAST.fullmatch(self.last or ""):
            raise SliceError("slice.last", f"Cannot read the window {str(self.last)[:20]!r}",
                             hint="Write 28d, 24h, 2w or all.")  # fmt: skip
        check_grain(self.grain)
        _check_baseline(self.baseline, self.tz)
        object.__setattr__(self, "filters", _normal(_stated(self.filters)))

    def where(self, **values: str | Iterable[str] | None) -> Slice:
        """A new slice with these dimensions filtered; None removes a filter."""
        merged: dict[str, tuple[str, ...]] = dict(self.filters)
        for dimension, value in values.items():
            if value is None:
                merged.pop(dimension, None)
            else:
                merged[dimension] = _texts(dimension, value)
        return replace(self, filters=tuple(merged.items()))

    where = guarded(where, "Slice.where")

    def filter_on(self, dimension: str) -> tuple[str, ...]:
        """Values that the slice keeps of a dimension; empty means all."""
        return dict(self.filters).get(dimension, ())

    def resolve(self, first: datetime | None, last: datetime | None) -> Resolved:
        """Absolute windows on data whose requests lie in [first, last]; None where the data has no times."""
        if first is None or last is None:
            return Resolved(slice=self, window=None, baseline=None, baseline_filters=self._other_version())
        window = self._window(first, last)
        baseline, filters = self._baseline(window)
        if baseline and baseline != window and (baseline.end <= first or last < baseline.start):
            baseline, filters = None, None  # no request lies there: nothing is compared, and nobody may say so
        data = Window(start=first, end=last + timedelta(microseconds=1))
        return Resolved(slice=self, window=window, baseline=baseline, baseline_filters=filters, data=data)

    def _window(self, first: datetime, last: datetime) -> Window:
        zone = _zone(self.tz)
        stop = _next_day(last, zone)
        begin = _day(first, zone)
        if self.last is None:
            least = timedelta(microseconds=1)  # a window beside the data is empty of rows, never of time
            start = self.start or (begin if self.end is None else min(begin, self.end - least))
            return Window(start=start, end=self.end or max(stop, start + least))
        if self.last == "all":
            return Window(start=begin, end=stop)
        number, unit = _LAST.fullmatch(self.last).groups()  # type: ignore[union-attr]
        if unit == "h":
            local = last.astimezone(zone)  # hours end with the local clock's, also where that is half an hour off
            past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
            hour = last.astimezone(UTC) - past + timedelta(hours=1)
            return Window(start=hour - timedelta(hours=int(number)), end=hour)
        days = int(number) * _HOURS[unit] // 24
        local = stop.astimezone(zone)
        start = (local.replace(tzinfo=None) - timedelta(days=days)).replace(tzinfo=zone)
        return Window(start=start.astimezone(UTC), end=stop)

    def _baseline(self, window: Window) -> tuple[Window | None, Filters | None]:
        if self.baseline == "none":
            return None, None
        if self.baseline == "previous":
            return self._earlier(window, self._local_days(window) or window.end - window.start), self.filters
        if self.baseline == "weekdays":
            weeks = -(-(self._local_days(window) or window.end - window.start) // timedelta(days=7))
            return self._earlier(window, timedelta(days=7 * weeks)), self.filters
        if ".." in self.baseline:
            return _span(self.baseline, self.tz), self.filters
        return window, self._other_version()

    def _other_version(self) -> Filters | None:
        """Filters of the rows compared with, where the baseline is a version: it needs no times."""
        if self.baseline in ("previous", "weekdays", "none") or ".." in self.baseline:
            return None
        dimension, value = self.baseline.split(":", 1)
        return _normal((*(f for f in self.filters if f[0] != dimension), (dimension, (value,))))

    def _local_days(self, window: Window) -> timedelta | None:
        """The length of a window of whole local days, in days on the calendar; None for other windows."""
        if self.last is not None and self.last.endswith("h"):
            return None
        start, end = (m.astimezone(_zone(self.tz)).replace(tzinfo=None) for m in (window.start, window.end))
        return end - start if start < end and start.time() == end.time() else None

    def _earlier(self, window: Window, by: timedelta) -> Window:
        """The window `by` earlier: on the calendar for whole local days, so that it has them whole too."""
        if self._local_days(window) is None:
            return window.shifted(-by)
        zone = _zone(self.tz)
        start, end = ((m.astimezone(zone).replace(tzinfo=None) - by).replace(tzinfo=zone).astimezone(UTC)
                      for m in (window.start, window.end))  # fmt: skip
        return Window(start=start, end=end)

    def elapsed(self, window: Window, baseline: Window, until: datetime) -> Window:
        """The part of a baseline as long as the window up to a moment of it: on the calendar, for whole local days."""
        zone, end = _zone(self.tz), baseline.start + (until - window.start)
        if self._local_days(window) is not None and self._local_days(baseline) is not None:
            start, now, then = (m.astimezone(zone).replace(tzinfo=None) for m in (window.start, until, baseline.start))
            end = (then + (now - start)).replace(tzinfo=zone).astimezone(UTC)
        return Window(start=baseline.start, end=min(end, baseline.end))

    def to_query(self, *, full: bool = False) -> dict[str, list[str]]:
        """Query parameters of this slice.

        Every field when `full` (a link to send), else what differs from the default.
        """
        stated = {
            "v": LINK_VERSION, "data": self.dataset, "at": None if self.version is None else str(self.version),
            "fp": self.fingerprint or None, "last": self.last, "from": clock.iso(self.start) if self.start else None,
            "to": clock.iso(self.end) if self.end else None, "vs": self.baseline, "tz": self.tz, "grain": self.grain,
        }  # fmt: skip
        pairs = {key: [value] for key, value in stated.items() if value is not None}
        if self.filters:
            pairs["where"] = [f"{dimension}:{value}" for dimension, values in self.filters for value in values]
        if full:
            return pairs
        plain = Slice().to_query(full=True)
        return {k: v for k, v in pairs.items() if plain.get(k) != v}

    @classmethod
    def from_query(cls, query: Mapping[str, Sequence[str]]) -> Slice:
        """The slice of a link, exactly as `to_query` wrote it; keys of pages are left alone.

        Raises SliceError for a value that cannot be understood: nothing is dropped in silence.
        """
        one = {k: v[-1] for k, v in query.items() if v}
        twice = [k for k in _SINGLE if len(set(query.get(k, ()))) > 1]
        if twice:
            raise SliceError("slice.repeated", f"The link gives {twice[0]} several times, with different values",
                             hint="Keep one.")  # fmt: skip
        if one.get("v", LINK_VERSION) != LINK_VERSION:
            raise SliceError("slice.link_version", "The link was made by another version of the index",
                             hint="Ask for a new one.")  # fmt: skip
        plain = {"data": "dataset", "fp": "fingerprint", "vs": "baseline", "tz": "tz", "grain": "grain"}
        values: dict[str, Any] = {name: one[key] for key, name in plain.items() if key in one}
        if "at" in one:
            values["version"] = _number(one["at"])
        if "from" in one or "to" in one:
            ends = {"from": "start", "to": "end"}
            values |= {name: read_time(one[key], one.get("tz", "UTC")) for key, name in ends.items() if key in one}
        elif "last" in one:
            values["last"] = one["last"]
        values["filters"] = parse_filters(query.get("where", ()), separator=":")
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A slice with absolute windows. window None: the data has no times, every row counts.

    baseline_filters is None where there is nothing to compare with, also where no request lies in the baseline. notes:
    what the windows leave out, in sentences.
    data: from the first request to the end of the data. totals: where the window is not over yet, the part of the
    baseline with which what adds up is compared.
    """

    slice: Slice
    window: Window | None
    baseline: Window | None
    baseline_filters: Filters | None
    notes: tuple[str, ...] = ()
    data: Window | None = None
    totals: Window | None = None
    filters: Filters = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "filters", self.slice.filters)

    @property
    def compared(self) -> bool:
        """Whether there is a baseline: a window before, or a version, which needs no times."""
        return self.baseline_filters is not None

    def held(self, window: Window) -> Window:
        """The part of a window in which the data lie, which is what sentences name; all of it where there is none."""
        if self.data is None or not self.data.start < window.end or not window.start < self.data.end:
            return window
        return Window(start=max(window.start, self.data.start), end=min(window.end, self.data.end))


def parse_filters(items: Iterable[str], *, separator: str = "=") -> Filters:
    """Filters out of "dimension=value" texts; the same dimension may come several times.

    Raises SliceError for a text without the separator.
    """
    found: dict[str, list[str]] = {}
    for item in items:
        dimension, mark, value = item.partition(separator)
        if not mark or not dimension:
            raise SliceError("slice.filter", f"Cannot read the filter {item[:60]!r}",
                             hint=f"Write dimension{separator}value.")  # fmt: skip
        found.setdefault(dimension, []).append(value)
    return tuple((d, tuple(v)) for d, v in found.items())


def read_time(text: str, tz: str = "UTC") -> datetime:
    """An ISO 8601 date or time; a date or naive time is in zone `tz`. Raises SliceError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SliceError("slice.time", f"Cannot read the time {text[:40]!r}",
                         hint="Write 2026-11-01 or 2026-11-01T12:00Z.") from None  # fmt: skip
    _check_year(moment.year)
    return (moment if moment.tzinfo else moment.replace(tzinfo=_zone(tz))).astimezone(UTC)


def check_grain(grain: str) -> None:
    """Raises SliceError for what is no bucket of a series."""
    if grain not in GRAINS:
        raise SliceError("slice.grain", f"Unknown grain {grain[:20]!r}", hint=f"Use one of {', '.join(GRAINS)}.")


def _check_year(year: int) -> None:
    if year not in _YEARS:
        raise SliceError("slice.time", f"No data can be of the year {year}", hint="Check the dates of the window.")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise SliceError("slice.version", f"Cannot read the version {text[:20]!r}", hint="Versions are whole numbers.")
    return int(text)


def _moment(given: Any, tz: str) -> datetime | None:
    """A moment out of what a person may write for one: a text, a date, a moment of numpy."""
    if isinstance(given, datetime | None):
        return given
    if type(given).__name__ == "datetime64":
        given = str(given)[:26]
    if isinstance(given, str | date):
        return read_time(str(given), tz)
    raise SliceError("slice.time", f"Cannot read a time in a {type(given).__name__}", hint='Write "2026-11-01".')


def _stated(filters: Any) -> Filters:
    """Filters as they are kept, of those that a person may write: a dict, or pairs."""
    try:
        return tuple((d, _texts(d, v)) for d, v in (filters.items() if isinstance(filters, Mapping) else filters))
    except (TypeError, ValueError):
        raise SliceError("slice.filter", f"Cannot read filters in a {type(filters).__name__}",
                         hint='Write filters={"language": "de"}.') from None  # fmt: skip


def _texts(dimension: Any, value: Any) -> tuple[str, ...]:
    """The values of a filter as the texts that dimensions hold: 4 is "4", True is "true"."""
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    found = tuple(value) if several else (value,)
    if value == [] or not isinstance(dimension, str) or any(not isinstance(v, str | bool | int | float) for v in found):
        raise SliceError("slice.filter", f"Cannot filter {str(dimension)[:40]!r} by what was given ({str(value)[:40]})",
                         hint=f'Write "de" or ["de", "en"]; {NONE_VALUE!r} for unknown.')  # fmt: skip
    return tuple(str(v).lower() if isinstance(v, bool) else str(v) for v in found)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(name, available_timezones(), n=2) or ["Europe/Berlin"]
        raise SliceError("slice.zone", f"Unknown time zone {name[:40]!r}",
                         hint=f"Write an IANA name such as {near[0]}.") from None  # fmt: skip


def _normal(filters: Filters) -> Filters:
    return tuple(sorted((d, tuple(sorted(set(v)))) for d, v in filters if v))


def _day(moment: datetime, zone: ZoneInfo) -> datetime:
    local = moment.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return local.astimezone(UTC)


def _next_day(moment: datetime, zone: ZoneInfo) -> datetime:
    local = moment.astimezone(zone).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return local.replace(tzinfo=zone).astimezone(UTC)


def _span(text: str, tz: str) -> Window:
    start, end = (read_time(part, tz) for part in text.split("..", 1))
    if start >= end:
        raise SliceError("slice.baseline", "The baseline ends before it starts", hint="Write the earlier date first.")
    return Window(start=start, end=end)


def _check_baseline(text: str, tz: str) -> None:
    if text in ("previous", "weekdays", "none"):
        return
    if ".." in text:
        _span(text, tz)
    elif not re.match(r"^[^:]+:.+$", text, re.DOTALL):
        raise SliceError("slice.baseline", f"Cannot read the baseline {text[:40]!r}",
                         hint="Use previous, weekdays, none, 2026-09-01..2026-10-01 or prompt_version:p6.")  # fmt: skip
