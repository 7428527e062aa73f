"""Times of any shape, column by column, as epoch microseconds UTC: ISO 8601, mail, epochs by magnitude, Excel days.

Nothing is coerced: a cell that is no time is marked bad, and whether day or month comes first is the caller's word.
"""

import contextlib
import email.utils
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpi.disk.tables import Patterns, lists, table_of
from kpi.mapping.conventions import ORDERS, day_of
from kpi.mapping.parse_values import NUMBER_LENGTH, Parsed, by_unique, flat, numbers, texts

_EXCEL_DAYS = (20_000.0, 80_000.0)  # 1954 to 2119
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EXCEL_US = (datetime(1899, 12, 30, tzinfo=UTC) - _EPOCH) / _MICROSECOND
# unit -> its microseconds, and the numbers that are times in it where nobody says otherwise
_FACTORS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001}
_MAGNITUDES = {"s": (1e8, 1e11), "ms": (1e11, 1e14), "us": (1e14, 1e17), "ns": (1e17, 1e19)}

_DATA = table_of(__file__)
_RE = Patterns(_DATA["patterns"])
_CLOCK_SHAPES: list[str] = _DATA["clock_shapes"]
_HOURS = {zone: float(hours) for hours, zones in lists(_DATA["hours"]).items() for zone in zones}  # ahead of UTC


def epoch_us(value: int | float) -> int:
    """A number as a time, epoch microseconds: seconds, ms, us or ns by magnitude; 20,000-80,000 are Excel days.

    1e8-1e11 s, 1e11-1e14 ms, 1e14-1e17 us, above ns. Raises ValueError for anything else.
    """
    if _EXCEL_DAYS[0] <= value <= _EXCEL_DAYS[1]:
        return round(_EXCEL_US + value * 86_400e6)
    for unit, (low, high) in _MAGNITUDES.items():
        if low <= value < high:
            return int(value) // 1_000 if unit == "ns" else round(value * _FACTORS[unit])
    raise ValueError("not a time")


def time_us(text: str, *, dayfirst: bool | None = None, order: str = "") -> tuple[int, bool]:
    """One time as epoch microseconds UTC, and whether it named its zone (no zone = UTC).

    ISO 8601, RFC 2822, epochs, Excel days, names of months, named zones, leap seconds, a clock before its date.
    `03/04/2026` needs `dayfirst`, or an `order` of conventions.ORDERS, unless one number is over 12. Raises ValueError.
    """
    if len(text) > NUMBER_LENGTH:
        raise ValueError("too long for a time")
    if _RE.integer.match(text) and not (len(text) == 8 and text[:2] in ("19", "20")):
        return epoch_us(int(text)), True
    if re.match(r"^\d+\.\d+$|^\d{5},\d+$|^\d+(\.\d+)?[eE]\+?\d+$", text):
        return epoch_us(float(text.replace(",", "."))), True
    text = _RE.half_day.sub(lambda half: f" {half[1].upper()}M", text)
    if early := _RE.clock_first.match(text):
        text = f"{early[2]} {early[1]} {early[3] or ''}".rstrip()
    text, zone = _zoned(_RE.named_offset.sub(r"\1", text))
    text, leap = _RE.leap.subn(r"\1:59", _RE.month_named.sub(r"\1 \2 \3", text), count=1)
    moment = _moment(_RE.long_fraction.sub(r"\1", text), dayfirst, order) + timedelta(seconds=leap)
    known = moment.tzinfo is not None or zone is not None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone or UTC)
    return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND, known


def _zoned(text: str) -> tuple[str, tzinfo | None]:
    """The text without the name of its zone, and the zone."""
    if named := _RE.zone_name.match(text):
        try:
            return named[1].strip(), ZoneInfo(named[2])
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("unknown time zone") from error
    if ":" in text and (offset := _RE.offset.search(text)):
        sign, hours, minutes = offset.groups()
        return f"{text[: offset.start()]}{sign}{int(hours):02}:{minutes or '00'}", None
    if (short := _RE.abbreviation.match(text)) and short[2] not in ("AM", "PM"):
        if short[2] not in _HOURS:
            raise ValueError("unknown time zone")
        return short[1], timezone(timedelta(hours=_HOURS[short[2]]))
    return text, None


def _moment(text: str, dayfirst: bool | None, order: str) -> datetime:
    if numeric := _RE.numeric_date.match(text):
        wanted = order or ("day/month" if dayfirst or (dayfirst is None and "." in text[:3]) else "")
        day = _day(numeric[1], numeric[2], numeric[3], wanted or ("month/day" if dayfirst is False else ""))
        text = f"{day.isoformat()} {_clock(numeric[4])}".strip()
    elif re.match(r"\d{4}-\d\d-\d\d[ T].*M$", text):
        text = f"{text[:10]} {_clock(text[11:])}"
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    for shape in _CLOCK_SHAPES:
        try:
            return datetime.strptime(text, shape)
        except ValueError:
            continue
    if re.match(r"^(?:[A-Za-z]{3},\s*)?\d{1,2} [A-Za-z]{3} \d{4} \d", text):
        with contextlib.suppress(ValueError, TypeError, IndexError):
            return email.utils.parsedate_to_datetime(text)
    raise ValueError("not a time")


def _day(a: str, b: str, year: str, wanted: str) -> date:
    """The day of three numbers: in the order that is wanted, else in the only one that they can be in."""
    read = {o: found for o in ORDERS if (found := day_of(a, b, year, o))}
    if wanted in read:
        return read[wanted]
    if len(set(read.values())) != 1:
        raise ValueError("day and month cannot be told apart" if read else "not a time")
    return next(iter(read.values()))


def _clock(text: str | None) -> str:
    if not text:
        return ""
    for shape in ("%I:%M:%S %p", "%I:%M:%S.%f %p", "%I:%M %p", "%I:%M:%S%p", "%I:%M%p"):
        try:
            return datetime.strptime(text.strip(), shape).strftime("%H:%M:%S.%f")
        except ValueError:
            continue
    head, _, rest = text.partition(":")
    return f"{int(head):02}:{rest}" if head.isdigit() and rest else text


@dataclass(frozen=True)
class Times:
    """parsed.values: int64 epoch microseconds. naive: how many named no zone and were read as UTC."""

    parsed: Parsed
    naive: int


def times(column: pa.Array | pa.ChunkedArray, *, dayfirst: bool | None = None, unit: str = "") -> Times:
    """Times of any shape as epoch microseconds. unit: `s`, `ms`, `us` or `ns` reads numbers so, else by magnitude; an
    order of day and month reads dates so."""
    array = flat(column)
    if pa.types.is_date(array.type):
        array = array.cast(pa.date32()).cast(pa.timestamp("us"))
    type_ = array.type
    if pa.types.is_timestamp(type_):
        values = array.cast(pa.timestamp("us", tz=type_.tz), safe=False).cast(pa.int64())
        naive = 0 if type_.tz else len(array) - array.null_count
        return Times(Parsed(values=values, bad=np.zeros(len(array), bool)), naive)
    if pa.types.is_boolean(type_) or pa.types.is_nested(type_):
        return Times(Parsed(values=pa.nulls(len(array), pa.int64()), bad=array.is_valid().to_numpy(False)), 0)
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return Times(_epochs(array, unit), 0)
    words = texts(array)
    if unit in _FACTORS:
        return Times(_epochs(numbers(words).values, unit), 0)
    for zone in (None, "UTC"):
        with contextlib.suppress(pa.ArrowInvalid):
            return times(words.cast(pa.timestamp("ns", tz=zone)))
    order = unit if unit in ORDERS else ""
    encoded = by_unique(words, lambda t: "{}|{:d}".format(*time_us(t, dayfirst=dayfirst, order=order)), pa.string())
    parts = pc.split_pattern(encoded.values, "|")
    values = pc.list_element(parts, 0).cast(pa.int64())
    naive_count = pc.sum(pc.equal(pc.list_element(parts, 1), "0").cast(pa.int64())).as_py() or 0
    return Times(Parsed(values=values, bad=encoded.bad), naive_count)


def _epochs(array: pa.Array, unit: str) -> Parsed:
    """Numbers as epoch microseconds, exactly where they are integers."""
    present = array.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_integer(array.type):
        numeric = array.fill_null(0).cast(pa.int64(), safe=False).to_numpy(zero_copy_only=False)
        size = numeric.astype(np.float64)
    else:
        size = array.cast(pa.float64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)
        present &= ~np.isnan(size)
        numeric = size
    out = np.zeros(len(size), np.int64)
    rules = {name: (size >= low) & (size < high) for name, (low, high) in _MAGNITUDES.items()}
    if unit in rules:
        rules = {unit: (size > 0) & (size * _FACTORS[unit] < 9e18) & (size < 9e18)}
    known = np.zeros(len(size), bool)
    for name, rows in rules.items():
        rows &= present
        out[rows] = _scaled(numeric[rows], name)
        known |= rows
    if unit not in _FACTORS:
        excel = present & (size >= _EXCEL_DAYS[0]) & (size <= _EXCEL_DAYS[1])
        out[excel] = np.rint(_EXCEL_US + size[excel] * 86_400e6).astype(np.int64)
        known |= excel
    return Parsed(values=pa.array(out, pa.int64(), mask=~known), bad=present & ~known)


def _scaled(values: np.ndarray, unit: str) -> np.ndarray:
    if values.dtype.kind == "i":
        return values // 1_000 if unit == "ns" else values * _FACTORS[unit]
    return np.rint(values * _FACTORS[unit]).astype(np.int64)
