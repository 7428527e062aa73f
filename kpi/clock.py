"""What time it is, and what cannot have happened yet: one rule for every reader, and for the end of a window.

Clocks differ, so a row may lie up to ten minutes ahead. What lies later is kept out and counted; it stops no other row.
Tests set the clock by replacing `now_us`; readers take it from `Context.now_us`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

GRACE_US = 600_000_000  # clocks differ
LONGEST_US = 30 * 86_400_000_000  # a longer request is one whose start or end is wrong
LATER = "lies in the future"  # with what the reasons end, by which such rows are left out
HINT = "Check the clock of what wrote it."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_us() -> int:
    """Epoch microseconds, UTC."""
    return time.time_ns() // 1_000


def now() -> datetime:
    """The time by the clock, UTC."""
    return _EPOCH + timedelta(microseconds=now_us())


def latest_us(now: int | None = None) -> int:
    """The latest believable time, epoch microseconds: `now` (the clock, when None) and ten minutes."""
    return (now_us() if now is None else now) + GRACE_US


def latest() -> datetime:
    """The latest believable time by the clock, UTC."""
    return _EPOCH + timedelta(microseconds=latest_us())


def utc(moment: datetime) -> datetime:
    """A time in UTC; one without a zone is in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def iso(moment: datetime) -> str:
    """A time as ISO 8601 in UTC, with a Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def is_ahead(moment: int | None, now: int) -> bool:
    """Whether a time lies in the future; epoch microseconds. An unknown one does not."""
    return moment is not None and moment > latest_us(now)


def ahead(moments: pa.Array | pa.ChunkedArray, now: int) -> pa.Array | pa.ChunkedArray:
    """`is_ahead` of a whole column, int64 epoch microseconds; unknown times are false."""
    return pc.greater(moments, latest_us(now)).fill_null(False)


def left_out(count: int) -> str:
    """The sentence about requests that are not counted because they lie in the future."""
    told = "1 request lies" if count == 1 else f"{count:,} requests lie"
    return f"{told} in the future and {'is' if count == 1 else 'are'} left out: check the clock of what wrote them."


def length_us(length: int | None) -> int | None:
    """A length that can be true, microseconds: none below zero or over 30 days, as of the rows of tables."""
    return length if length is not None and 0 <= length <= LONGEST_US else None
