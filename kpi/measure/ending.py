"""Where the data ends: at the newest row that stands with others, so that no single row moves a window.

Windows are counted back from the end of the data. One row with a wrong clock, or a handful of strays days after the
rest, would pull a window of 28 days away from nearly all requests. So a tail of the data does not count as its end
where all of this holds:

- it is a handful: at most five requests, or a thousandth of those in the 28 days before it;
- it is small beside them: at most a fifth;
- it stands apart: the gap before it is longer than three days, and than twice the longest gap of the weeks before it,
  so that data which comes in at weekends or once a week ends where it ends.

The strays are never lost: they are counted in windows that hold them, and `All` does.

Data that ends at 18:00 may hold the whole day, where nobody asks in the evening, or three quarters of it: what came in
the same hours of other days tells which (`Extent`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from weakref import WeakKeyDictionary

import numpy as np
import sqlalchemy as sa

from kpi import clock
from kpi.measure.columns import Columns, bucket
from kpi.measure.slice import Window
from kpi.stats.types import Array
from kpi.store.engines import Source

HANDFUL = 5
HANDFUL_SHARE = 0.001
BESIDE = 5  # so many times the strays must stand before them
MISSED = 3.0  # requests that usually come: silence where so many are due is rarer than 5 % (Poisson)
_DAY, _TICK = 86_400.0, timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Scale:
    """What apart means, in hours. step: of one bucket. volume: over which the typical volume is counted. usual: over
    which the usual gaps are looked for. gap: never apart when nearer than this."""

    step: int
    volume: int
    usual: int
    gap: int


DAYS = Scale(step=24, volume=28 * 24, usual=56 * 24, gap=3 * 24)
HOURS = Scale(step=1, volume=14 * 24, usual=14 * 24, gap=12)  # for windows of hours


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """One hour of the data. hour: since the epoch. newest: time of its last request."""

    hour: int
    requests: int
    newest: datetime


@dataclass(frozen=True, kw_only=True)
class Ending:
    """last: the newest request that counts as the end of the data. strays: requests after it."""

    last: datetime | None
    strays: int = 0


@dataclass(frozen=True, kw_only=True)
class Extent:
    """From the first request to the last that counts as the end. at, upto: seconds, and requests until then."""

    first: datetime
    last: datetime
    at: Array
    upto: Array

    def holds(self, span: Window) -> bool:
        """Whether the data neither begin nor end inside a span, as far as silence can tell."""
        late = span.start < self.first < span.end and self._due(span.start, self.first, 1) >= MISSED
        return span.start <= self.last and not late and not self.ends_in(span)

    def ends_in(self, span: Window) -> bool:
        """Whether more requests are due after the last one, before the end of a span that holds it."""
        last = self.last + _TICK
        return span.start < last < span.end and self._due(last, span.end, -1) >= MISSED

    def _due(self, start: datetime, end: datetime, sign: int) -> float:
        """Mean number of requests in this part of the seven days (of more than a day: weeks) before or after; where
        there are none, what the mean rate gives."""
        a, b, first, last = (m.timestamp() for m in (start, end, self.first, self.last))
        step = _DAY if b - a <= _DAY else 7 * _DAY * math.ceil((b - a) / (7 * _DAY))
        away = sign * step * np.arange(1, 8)
        away = away[(a + away >= first) & (b + away <= last)]
        if not len(away):
            return float(self.upto[-1]) * (b - a) / (last - first) if last > first else 0.0
        return float(np.mean(np.interp(b + away, self.at, self.upto) - np.interp(a + away, self.at, self.upto)))


_KNOWN: WeakKeyDictionary[Source, tuple[Bucket, ...]] = WeakKeyDictionary()


def extent_of(source: Source, first: datetime | None) -> Extent | None:
    """Where the requests of a source lie, the first of which is given; None where it has no times."""
    last = ending_of(source).last
    if first is None or last is None:
        return None
    hours = _KNOWN[source]
    upto = np.cumsum([b.requests for b in hours], dtype=float)
    at = np.array([(b.hour * 3600.0, (b.newest + _TICK).timestamp()) for b in hours])
    return Extent(first=first, last=last, at=at.ravel(), upto=np.column_stack([np.r_[0, upto[:-1]], upto]).ravel())


def ending_of(source: Source, scale: Scale = DAYS) -> Ending:
    """Where the data of a source ends; its hours are counted once and kept as long as it lives."""
    if source not in _KNOWN:
        _KNOWN[source] = buckets(source)
    hours = _KNOWN[source]
    found = ending(hours)
    if scale is DAYS or found.last is None:
        return found
    finer = ending([b for b in hours if b.newest <= found.last], scale)
    return Ending(last=finer.last, strays=finer.strays + found.strays)


def buckets(source: Source) -> tuple[Bucket, ...]:
    """The hours that hold requests, ascending; those in the future are left out."""
    table = source.table("requests")
    if "started_at" not in table.c:
        return ()
    row = Columns(source, table)
    started = row["started_at"]
    each = sa.select(bucket(row, "hour", "UTC").label("began"), started.label("at")).select_from(table)
    known = each.where(started <= source.dialect.moment(clock.latest())).subquery("known")
    counted = sa.select(sa.func.count().label("n"), sa.func.max(known.c.at).label("newest")).group_by(known.c.began)
    rows = source.run(counted).to_pylist()
    found = [(clock.utc(r["newest"]), int(r["n"])) for r in rows]
    hours = [Bucket(hour=(newest - _EPOCH) // timedelta(hours=1), requests=n, newest=newest) for newest, n in found]
    return tuple(sorted(hours, key=lambda b: b.hour))


def ending(hours: Sequence[Bucket], scale: Scale = DAYS) -> Ending:
    """Where data with these hours ends."""
    if not hours:
        return Ending(last=None)
    steps: dict[int, int] = {}
    newest: dict[int, datetime] = {}
    for b in hours:
        steps[b.hour // scale.step] = steps.get(b.hour // scale.step, 0) + b.requests
        newest[b.hour // scale.step] = b.newest
    places = sorted(steps)
    at, later, found = len(places) - 1, 0, 0
    for i in range(len(places) - 1, 0, -1):
        later += steps[places[i]]
        if later > max(HANDFUL, HANDFUL_SHARE * sum(steps.values())):
            break
        if _apart(places[: i + 1], steps, later, scale):
            at, found = i - 1, later
    return Ending(last=newest[places[at]], strays=found)


def _apart(places: Sequence[int], steps: dict[int, int], later: int, scale: Scale) -> bool:
    """Whether the last of these places, and all `later` requests from it on, are strays."""
    before = places[-2]
    volume = sum(steps[p] for p in places[:-1] if p > before - scale.volume // scale.step)
    if later > max(HANDFUL, HANDFUL_SHARE * volume) or BESIDE * later > volume:
        return False
    known = [p for p in places[:-1] if p > before - scale.usual // scale.step]
    usual = max((b - a for a, b in pairwise(known)), default=1)
    return places[-1] - before > max(scale.gap // scale.step, 2 * usual)
