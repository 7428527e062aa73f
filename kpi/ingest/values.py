"""Parsers of hostile values, column by column: times, numbers, booleans, lists, words that mean "nothing here".

Each parser takes an Arrow column of any type and returns `Parsed`: the values, and which cells hold something that is
not one. A missing value is not a bad one. Parsers never guess per row what a column as a whole must decide (decimal
comma, day before month): that comes in as an argument.
"""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

NULL_WORDS = frozenset(
    ["", "-", "--", "nan", "none", "null", "n/a", "na", "#n/a", "nil", "nat", "undefined", "\\n", "<na>"]
)
TRUE_WORDS = frozenset(
    ["true", "t", "yes", "y", "1", "1.0", "ok", "success", "succeeded", "successful", "pass", "passed", "correct", "up",
     "👍", "thumbs_up", "thumbsup", "positive", "good", "resolved", "completed", "complete", "done", "c", "on"]
)  # fmt: skip
FALSE_WORDS = frozenset(
    ["false", "f", "no", "n", "0", "0.0", "error", "failed", "failure", "fail", "incorrect", "down", "👎",
     "thumbs_down", "thumbsdown", "negative", "bad", "unresolved", "timeout", "cancelled", "canceled", "wrong", "i",
     "off"]
)  # fmt: skip
_NULLS = pa.array(sorted(NULL_WORDS))
EXCEL_EPOCH = datetime(1899, 12, 30, tzinfo=UTC)
_EXCEL_DAYS = (20_000.0, 80_000.0)  # 1954 to 2119
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NUMBER_LENGTH = 100


@dataclass(frozen=True)
class Parsed:
    """values: an Arrow array, null where missing or bad. bad: boolean array, true where a cell could not be read."""

    values: pa.Array
    bad: np.ndarray

    @property
    def bad_count(self) -> int:
        return int(self.bad.sum())


def flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One contiguous array of a plain (not dictionary) type."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # combine_chunks keeps chunks where offsets would overflow
        array = pa.concat_arrays(array.chunks)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def is_text(type_: pa.DataType) -> bool:
    return pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)


def texts(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Any column as text, trimmed; words that mean "nothing" become null. Whole floats lose their `.0`."""
    if pa.types.is_dictionary(column.type):
        array = flat_dictionary(column)
        return flat(pa.DictionaryArray.from_arrays(array.indices, texts(array.dictionary)))
    array = contents(column)
    if pa.types.is_null(array.type):
        return array
    trimmed = pc.utf8_trim_whitespace(array)
    short = pc.less_equal(pc.binary_length(trimmed), 9)
    if not pc.any(short, min_count=0).as_py():  # long ids: no need to look at every word
        return trimmed
    nothing = pc.and_(short, pc.is_in(pc.utf8_lower(pc.utf8_slice_codeunits(trimmed, 0, 10)), _NULLS))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), trimmed)


def contents(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Any column as text, as it is; only the empty text becomes null. Nested values become JSON."""
    if pa.types.is_dictionary(column.type):
        encoded = flat_dictionary(column)
        return flat(pa.DictionaryArray.from_arrays(encoded.indices, contents(encoded.dictionary)))
    array = flat(column)
    type_ = array.type
    if pa.types.is_null(type_):
        return pa.nulls(len(array), pa.string())
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_):
        array = pa.array([None if v is None else v.decode("utf-8", "replace") for v in array.to_pylist()], pa.string())
    elif pa.types.is_floating(type_):
        array = pa.array([_float_text(v) for v in array.cast(pa.float64()).to_pylist()], pa.string())
    elif pa.types.is_nested(type_):
        array = pa.array([_json_text(v) for v in array.to_pylist()], pa.string())
    elif not pa.types.is_string(type_):
        array = array.cast(pa.string())
    return pc.if_else(pc.equal(pc.binary_length(array), 0), pa.scalar(None, pa.string()), array)


def flat_dictionary(column: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """One dictionary array, whatever the chunks."""
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()


def on_distinct(column: pa.Array | pa.ChunkedArray, convert: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Apply a conversion of arrays to the distinct values only."""
    encoded = flat_dictionary(column)
    return convert(encoded.dictionary).take(encoded.indices)


def _float_text(value: float | None) -> str | None:
    if value is None or math.isnan(value):
        return None
    return str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)


def _json_text(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _by_unique(column: pa.Array, convert: Callable[[str], Any], type_: pa.DataType) -> Parsed:
    """Apply a converter once per distinct text; a converter raises ValueError for what it cannot read."""
    encoded = flat_dictionary(texts(column))
    values, wrong = [], []
    for word in encoded.dictionary.to_pylist():
        try:
            values.append(None if word is None else convert(word))
            wrong.append(False)
        except (ValueError, OverflowError):
            values.append(None)
            wrong.append(True)
    taken = pa.array(values, type_).take(encoded.indices)
    bad = pa.array(wrong, pa.bool_()).take(encoded.indices).fill_null(False)
    return Parsed(values=taken, bad=bad.to_numpy(zero_copy_only=False))


# --- numbers ---------------------------------------------------------------------------------------------------------

_CURRENCY = re.compile(r"^(?:[$€£¥₹]|usd|eur|gbp|us\$)\s*|\s*(?:[$€£¥₹]|usd|eur|gbp)$", re.IGNORECASE)
_PLAIN = re.compile(r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?$")
_SPACES = re.compile("(?<=\\d)[\\s\u00a0\u202f'’_](?=\\d{3}(?:\\D|$))")
COMMA_DECIMAL = r"^[+-]?(?:\d*,(?:\d{1,2}|\d{4,})|0,\d+|\d{1,3}(?:\.\d{3})+,\d+)\s*%?$"


def number(text: str, *, decimal: str = ".") -> float:
    """One number as people write it: `1,234.5`, `1.234,5`, `1 234`, `0,5`, `45 %` (0.45), `$3`, `1e-6`.

    decimal "," reads `1,234` as 1.234; decimal "." reads it as 1234. Both read `1,5` as 1.5, for it cannot be anything
    else. Raises ValueError for what is not a number, inf and nan included.
    """
    if _PLAIN.match(text) and not (decimal == "," and _GROUPED_DOT.match(text)):
        return _finite(text)
    if len(text) > _NUMBER_LENGTH:
        raise ValueError("too long for a number")
    body, scale = _CURRENCY.sub("", text.strip()).replace("\u2212", "-"), 1.0
    if body.endswith("%"):
        body, scale = body[:-1].rstrip(), 100.0
    body = _SPACES.sub("", body)
    if "," in body and "." in body:
        last = max(body.rfind(","), body.rfind("."))
        thousands = "," if body[last] == "." else "."
        body = _ungroup(body, thousands).replace(",", ".")
    elif body.count(",") > 1 or (decimal == "." and _GROUPED_COMMA.match(body)):
        body = _ungroup(body, ",")
    elif "," in body:
        body = body.replace(",", ".")
    elif body.count(".") > 1 or (decimal == "," and _GROUPED_DOT.match(body)):
        body = _ungroup(body, ".")
    if not _PLAIN.match(body):
        raise ValueError("not a number")
    return _finite(body) / scale


_GROUPED_DOT = re.compile(r"^[+-]?[1-9]\d{0,2}(?:\.\d{3})+$")
_GROUPED_COMMA = re.compile(r"^[+-]?[1-9]\d{0,2}(?:,\d{3})+$")


def _ungroup(text: str, separator: str) -> str:
    """Take thousands separators out; every group after the first must have three digits."""
    parts = re.split(r"[.,]", text)
    groups = parts[1:-1] if "," in text and "." in text else parts[1:]
    if any(len(g) != 3 for g in groups):
        raise ValueError("digits are not grouped in threes")
    return text.replace(separator, "")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def numbers(column: pa.Array | pa.ChunkedArray, *, decimal: str = ".") -> Parsed:
    """float64 numbers. NaN in a typed column is "unknown" (frames write missing values so); infinity is bad."""
    type_ = column.type
    if pa.types.is_dictionary(type_) and not is_text(type_.value_type):
        return numbers(flat(column), decimal=decimal)
    if pa.types.is_floating(type_) or pa.types.is_integer(type_) or pa.types.is_decimal(type_):
        values = flat(column).cast(pa.float64(), safe=False)
        infinite = pc.is_inf(values).fill_null(False)
        values = pc.if_else(pc.or_kleene(infinite, pc.is_nan(values)), pa.scalar(None, pa.float64()), values)
        return Parsed(values=values, bad=infinite.to_numpy(zero_copy_only=False))
    if pa.types.is_boolean(type_):
        return Parsed(values=pa.nulls(len(column), pa.float64()), bad=flat(column).is_valid().to_numpy(False))
    if pa.types.is_duration(type_):
        seconds = pc.divide(flat(column).cast(pa.duration("ns")).cast(pa.int64()).cast(pa.float64()), 1e9)
        return Parsed(values=seconds, bad=np.zeros(len(column), bool))
    words = texts(column)
    if decimal == ".":
        try:
            values = words.cast(pa.float64())
            if not pc.any(pc.invert(pc.is_finite(values)), min_count=0).as_py():
                return Parsed(values=values, bad=np.zeros(len(words), bool))
        except pa.ArrowInvalid:
            pass
    return _by_unique(words, lambda text: number(text, decimal=decimal), pa.float64())


def counts(column: pa.Array | pa.ChunkedArray) -> Parsed:
    """Counts: numbers, or lists (JSON text, or values separated by `|`, `;` or newlines) that are counted."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return Parsed(values=pc.list_value_length(flat(column)).cast(pa.float64()), bad=np.zeros(len(column), bool))
    parsed = numbers(column)
    if not parsed.bad_count:
        return parsed
    return _by_unique(flat(column), _count, pa.float64())


def _count(text: str) -> float:
    if text[:1] in "[{(":
        try:
            found = orjson.loads(text)
            return float(len(found)) if isinstance(found, list) else 1.0
        except orjson.JSONDecodeError:
            inner = text.strip("[](){}").strip()
            return float(inner.count(",") + 1) if inner else 0.0
    try:
        return number(text)
    except ValueError:
        if re.match(r"^[+-]?[\d.,]+$", text) or text.lower() in TRUE_WORDS | FALSE_WORDS | {"inf", "-inf", "infinity"}:
            raise
        return float(len([part for part in re.split(r"[|;\n,]", text) if part.strip()]))


# --- booleans --------------------------------------------------------------------------------------------------------


def boolean(text: str) -> bool:
    """One boolean as people write it. Raises ValueError."""
    word = text.lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError("not a boolean")


def booleans(column: pa.Array | pa.ChunkedArray) -> Parsed:
    """Booleans from typed columns, words and 0/1. Other numbers are bad."""
    array = flat(column)
    if pa.types.is_boolean(array.type):
        return Parsed(values=array, bad=np.zeros(len(array), bool))
    return _by_unique(array, boolean, pa.bool_())


_FAILED = re.compile(r"[45]\d\d\b.*|.*(?:error|exception|fail|timeout|timed.out|cancel|abort|crash).*")
_FINE_WORDS = frozenset(["unset", "stop", "finished", "200 ok", "running", "pending", "end_turn", "length"])


def failed(text: str) -> bool:
    """Did a request fail technically? From words and HTTP codes. Raises ValueError."""
    word = text.lower().removeprefix("status_code_").removeprefix("status.")
    if re.fullmatch(r"\d{3}(\.0)?", word):
        return int(float(word)) >= 400
    if word in FALSE_WORDS or _FAILED.fullmatch(word):
        return True
    if word in TRUE_WORDS or word in _FINE_WORDS:
        return False
    raise ValueError("not a status")


def failures(column: pa.Array | pa.ChunkedArray) -> Parsed:
    """Technical failure from a column of status words or HTTP codes; a boolean column says "ok"."""
    array = flat(column)
    if pa.types.is_boolean(array.type):
        return Parsed(values=pc.invert(array), bad=np.zeros(len(array), bool))
    return _by_unique(array, failed, pa.bool_())


# --- times -----------------------------------------------------------------------------------------------------------

_CLOCK_SHAPES = (
    "%Y/%m/%d %H:%M:%S.%f", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%d %b %Y %H:%M:%S", "%d %b %Y %H:%M",
    "%d %b %Y", "%b %d, %Y %I:%M:%S %p", "%b %d, %Y %I:%M %p", "%b %d, %Y %H:%M:%S", "%b %d, %Y", "%d %B %Y %H:%M:%S",
    "%d %B %Y", "%B %d, %Y %I:%M %p", "%B %d, %Y", "%a %b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S %z",
    "%d.%m.%Y %H:%M:%S.%f", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y",
)  # fmt: skip
_NUMERIC_DATE = re.compile(r"^(\d{1,2})[/-](\d{1,2})[/-](\d{4})(?:[ T,]+(.*))?$")
_ZONE_NAME = re.compile(r"^(.*\d)\s*\[?([A-Z][A-Za-z_]+(?:/[A-Za-z_+\-0-9]+)+|UTC|GMT)\]?$")
_LEAP = re.compile(r"(:\d\d):60(?=\D|$)")
_LONG_FRACTION = re.compile(r"([.,]\d{6})\d+")
_INTEGER = re.compile(r"^[+-]?\d{1,25}$")


def epoch_us(value: int | float) -> int:
    """A number as a time, epoch microseconds: seconds, ms, us or ns by magnitude; 20,000-80,000 are Excel days.

    1e8-1e11 s, 1e11-1e14 ms, 1e14-1e17 us, above ns. Raises ValueError for anything else.
    """
    size = abs(value)
    if _EXCEL_DAYS[0] <= size <= _EXCEL_DAYS[1] and value > 0:
        return round((EXCEL_EPOCH - _EPOCH) / _MICROSECOND + value * 86_400e6)
    if not 1e8 <= size < 1e19 or value < 0:
        raise ValueError("not a time")
    if size < 1e11:
        return value * 1_000_000 if isinstance(value, int) else round(value * 1e6)
    if size < 1e14:
        return value * 1_000 if isinstance(value, int) else round(value * 1e3)
    if size < 1e17:
        return int(value)
    return int(value) // 1_000


def time_us(text: str, *, dayfirst: bool | None = None) -> tuple[int, bool]:
    """One time as epoch microseconds UTC, and whether it named its zone (no zone = UTC).

    ISO 8601, RFC 2822, epochs, Excel days, names of months, named zones, leap seconds. `03/04/2026` needs `dayfirst`
    unless one number is over 12. Raises ValueError.
    """
    if len(text) > _NUMBER_LENGTH:
        raise ValueError("too long for a time")
    if _INTEGER.match(text) and not (len(text) == 8 and text[:2] in ("19", "20")):
        return epoch_us(int(text)), True
    if re.match(r"^\d+\.\d+$", text) or re.match(r"^\d+(\.\d+)?[eE]\+?\d+$", text):
        return epoch_us(float(text)), True
    zone = None
    if named := _ZONE_NAME.match(text):
        try:
            text, zone = named[1].strip(), ZoneInfo(named[2])
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("unknown time zone") from error
    text, leap = _LEAP.subn(r"\1:59", text, count=1)
    moment = _moment(_LONG_FRACTION.sub(r"\1", text), dayfirst) + timedelta(seconds=leap)
    known = moment.tzinfo is not None or zone is not None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone or UTC)
    return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND, known


def _moment(text: str, dayfirst: bool | None) -> datetime:
    if numeric := _NUMERIC_DATE.match(text):
        first, second, year, clock = numeric.groups()
        if dayfirst is None and int(first) <= 12 and int(second) <= 12 and first != second:
            raise ValueError("day and month cannot be told apart")
        day_leads = int(first) > 12 or (dayfirst is True and int(second) <= 12)
        day, month = (first, second) if day_leads else (second, first)
        text = f"{year}-{int(month):02}-{int(day):02} {_clock(clock)}".strip()
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
        try:
            return email.utils.parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError) as error:
            raise ValueError("not a time") from error
    raise ValueError("not a time")


def _clock(text: str | None) -> str:
    if not text:
        return ""
    for shape in ("%I:%M:%S %p", "%I:%M %p", "%I:%M:%S%p", "%I:%M%p"):
        try:
            return datetime.strptime(text.strip(), shape).strftime("%H:%M:%S")
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
    """Times of any shape as epoch microseconds. unit: `s`, `ms`, `us` or `ns` reads numbers so, else by magnitude."""
    array = flat(column)
    type_ = array.type
    clean = np.zeros(len(array), bool)
    if pa.types.is_timestamp(type_):
        values = array.cast(pa.timestamp("us", tz=type_.tz), safe=False).cast(pa.int64())
        return Times(Parsed(values=values, bad=clean), 0 if type_.tz else len(array) - array.null_count)
    if pa.types.is_date(type_):
        values = array.cast(pa.date32()).cast(pa.timestamp("us")).cast(pa.int64())
        return Times(Parsed(values=values, bad=clean), len(array) - array.null_count)
    if pa.types.is_boolean(type_) or pa.types.is_nested(type_):
        return Times(Parsed(values=pa.nulls(len(array), pa.int64()), bad=array.is_valid().to_numpy(False)), 0)
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return Times(_epochs(array, unit), 0)
    words = texts(array)
    if unit in _FACTORS:
        return Times(_epochs(numbers(words).values, unit), 0)
    for target, naive in ((pa.timestamp("ns"), True), (pa.timestamp("ns", tz="UTC"), False)):
        try:
            values = words.cast(target).cast(pa.timestamp("us", tz=target.tz), safe=False).cast(pa.int64())
        except pa.ArrowInvalid:
            continue
        return Times(Parsed(values=values, bad=clean), len(words) - words.null_count if naive else 0)
    encoded = _by_unique(words, lambda t: "{}|{:d}".format(*time_us(t, dayfirst=dayfirst)), pa.string())
    parts = pc.split_pattern(encoded.values, "|")
    values = pc.list_element(parts, 0).cast(pa.int64())
    naive_count = pc.sum(pc.equal(pc.list_element(parts, 1), "0").cast(pa.int64())).as_py() or 0
    return Times(Parsed(values=values, bad=encoded.bad), naive_count)


_FACTORS = {"s": 1_000_000.0, "ms": 1_000.0, "us": 1.0, "ns": 0.001}


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
    rules = {
        "s": (size >= 1e8) & (size < 1e11), "ms": (size >= 1e11) & (size < 1e14),
        "us": (size >= 1e14) & (size < 1e17), "ns": (size >= 1e17) & (size < 9.3e18),
    }  # fmt: skip
    if unit in rules:
        rules = {unit: (size > 0) & (size * _FACTORS[unit] < 9e18) & (size < 9e18)}
    known = np.zeros(len(size), bool)
    for name, rows in rules.items():
        rows &= present
        out[rows] = _scaled(numeric[rows], name)
        known |= rows
    if unit not in _FACTORS:
        excel = present & (size >= _EXCEL_DAYS[0]) & (size <= _EXCEL_DAYS[1])
        start = (EXCEL_EPOCH - _EPOCH) / _MICROSECOND
        out[excel] = np.rint(start + size[excel] * 86_400e6).astype(np.int64)
        known |= excel
    return Parsed(values=pa.array(out, pa.int64(), mask=~known), bad=present & ~known)


def _scaled(values: np.ndarray, unit: str) -> np.ndarray:
    if values.dtype.kind == "i":
        factor = {"s": 1_000_000, "ms": 1_000, "us": 1}.get(unit)
        return values // 1_000 if factor is None else values * factor
    return np.rint(values * _FACTORS[unit]).astype(np.int64)
