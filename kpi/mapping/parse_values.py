"""Parsers of hostile values, column by column: numbers, booleans, lists, words that mean "nothing here".

Each parser takes an Arrow column of any type and returns `Parsed`: the values, and which cells hold something that is
not one. A missing value is not a bad one. Parsers never guess per row what a column as a whole must decide (decimal
comma, day before month): that comes in as an argument.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from kpi.disk.tables import Patterns, by_word, table_of
from kpi.mapping.column_names import DURATION_WORDS, MICRO
from kpi.mapping.units import DURATION_US

_DATA = table_of(__file__)
_RE = Patterns(_DATA["patterns"])
_PLAIN, _SPACES, _DOTS, _COMMAS = _RE.plain, _RE.spaces, _RE.grouped_dot, _RE.grouped_comma  # asked for every number
NULL_WORDS = frozenset(["", *_DATA["nulls"].split()])
# what people and tools write, in any language
TRUE_WORDS, FALSE_WORDS = frozenset(by_word(_DATA["yes"])), frozenset(by_word(_DATA["no"]))
MINUS = "-1/0"  # of a boolean column: -1 is true, as Access and Visual Basic write it
_NULLS = pa.array(sorted(NULL_WORDS))
NUMBER_LENGTH = 100
_USD, _CENTS = frozenset(["$", "usd", "us$", "dollar", "dollars"]), frozenset(["¢", "ct", "cts", "cent", "cents"])
_KNOWN_SIGNS = _USD | _CENTS | set(_DATA["currencies"].split())
_SIGN = "|".join(re.escape(sign) for sign in sorted(_KNOWN_SIGNS, key=len, reverse=True))
_CURRENCY = re.compile(rf"^(?P<a>{_SIGN})\s*(?=[-+\d.,])|(?<=[\d.,])\s*(?P<b>{_SIGN})$", re.IGNORECASE)
_EDGES = r"(?:^|[^\d.,])(?:{})(?:$|[^\d.,])"
EITHER = {mark: _EDGES.format(rf"[1-9]\d{{0,2}}{re.escape(mark)}\d{{3}}") for mark in ".,"}  # grouped, or decimal
_HOUR = 3_600e6
_LENGTH_US = {word: DURATION_US[unit] for word, unit in DURATION_WORDS.items()} | {
    word: {**DURATION_US, "h": _HOUR, "d": 24 * _HOUR}[unit] for word, unit in by_word(_DATA["lengths"]).items()
}
_FINE_WORDS = frozenset(_DATA["fine"])


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
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def texts(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Any column as text, trimmed; words that mean "nothing" become null. Whole floats lose their `.0`."""
    if pa.types.is_dictionary(column.type):
        return on_distinct(column, texts)
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
        return on_distinct(column, contents)
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


def by_unique(column: pa.Array, convert: Callable[[str], Any], type_: pa.DataType) -> Parsed:
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


def _proof(mark: str, groups: str) -> str:
    """A pattern of cells that can only be numbers where `mark` is the decimal mark and `groups` parts thousands."""
    d, t = re.escape(mark), rf"[1-9]\d{{0,2}}(?:{re.escape(groups)}\d{{3}})"
    shapes = rf"\d*{d}\d{{1,2}}|\d*{d}\d{{4,}}|0+{d}\d+|\d{{4,}}{d}\d+|{t}+{d}\d+|{t}{{2,}}"
    return _EDGES.format(shapes) + rf"|\d{d}\d+[eE][+-]?\d"


COMMA_DECIMAL, POINT_DECIMAL = _proof(",", "."), _proof(".", ",")


def number(text: str, *, decimal: str = ".") -> float:
    """One number as people write it: `1,234.5`, `1.234,5`, `1 234`, `0,5`, `45 %` (0.45), `$3`, `1e-6`.

    decimal "," reads `1,234` as 1.234; decimal "." reads it as 1234. Both read `1,5` as 1.5, for it cannot be anything
    else. Raises ValueError for what is not a number, inf and nan included.
    """
    if _PLAIN.match(text) and not (decimal == "," and _DOTS.match(text)):
        return _finite(text)
    if len(text) > NUMBER_LENGTH:
        raise ValueError("too long for a number")
    body, scale = _CURRENCY.sub("", text.strip()).replace("\u2212", "-"), 1.0
    if body.endswith("%"):
        body, scale = body[:-1].rstrip(), 100.0
    body = _SPACES.sub("", body)
    if "," in body and "." in body:
        last = max(body.rfind(","), body.rfind("."))
        thousands = "," if body[last] == "." else "."
        body = _ungroup(body, thousands).replace(",", ".")
    elif body.count(",") > 1 or (decimal == "." and _COMMAS.match(body)):
        body = _ungroup(body, ",")
    elif "," in body:
        body = body.replace(",", ".")
    elif body.count(".") > 1 or (decimal == "," and _DOTS.match(body)):
        body = _ungroup(body, ".")
    if not _PLAIN.match(body):
        raise ValueError("not a number")
    return _finite(body) / scale


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
    return by_unique(words, lambda text: number(text, decimal=decimal), pa.float64())


def counts(column: pa.Array | pa.ChunkedArray, *, decimal: str = ".") -> Parsed:
    """Counts: numbers, or lists (JSON text, or values separated by `|`, `;` or newlines) that are counted."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return Parsed(values=pc.list_value_length(flat(column)).cast(pa.float64()), bad=np.zeros(len(column), bool))
    parsed = numbers(column, decimal=decimal)
    if not parsed.bad_count:
        return parsed
    return by_unique(flat(column), lambda text: _count(text, decimal), pa.float64())


def _count(text: str, decimal: str) -> float:
    if text[:1] in "[{(":
        try:
            found = orjson.loads(text)
            return float(len(found)) if isinstance(found, list) else 1.0
        except orjson.JSONDecodeError:
            inner = text.strip("[](){}").strip()
            return float(inner.count(",") + 1) if inner else 0.0
    try:
        return number(text, decimal=decimal)
    except ValueError:
        if re.match(r"^[+-]?[\d.,]+$", text) or text.lower() in TRUE_WORDS | FALSE_WORDS | {"inf", "-inf", "infinity"}:
            raise
        return float(len([part for part in re.split(r"[|;\n,]", text) if part.strip()]))


def currencies(words: pa.Array) -> set[str]:
    """The signs of money that texts carry: "usd", "cents", a currency by its name, "" for none."""
    words = pc.drop_null(words)
    if not pc.any(pc.match_substring_regex(words, r"[^\d.,eE+\-\s]"), min_count=0).as_py():
        return {""} if len(words) else set()
    signs = map(_CURRENCY.search, pc.unique(words).to_pylist())
    found = {(sign["a"] or sign["b"]).lower() if sign else "" for sign in signs}
    return {"usd" if word in _USD else "cents" if word in _CENTS else word.upper() for word in found}


def length(text: str, *, decimal: str = ".") -> float:
    """One length of time that carries its unit, in microseconds: `1.58s`, `350 ms`, `1m 02s`, `PT1.5S`, `00:00:02.5`,
    `1 day 02:03:04`, `1.02:03:04`. Raises ValueError for all else, a bare number too."""
    if len(text) > NUMBER_LENGTH:
        raise ValueError("too long for a length")
    if (iso := _RE.iso.fullmatch(text)) and any(iso.groups()[1:]):
        parts = zip(iso.groups()[1:], (24 * _HOUR, _HOUR, DURATION_US["min"], DURATION_US["s"]), strict=True)
        return (-1 if iso[1] == "-" else 1) * sum(_finite(p.replace(",", ".")) * us for p, us in parts if p)
    total, at, seen = 0.0, 0, False
    while part := _RE.part.match(text, at):
        word = part[2].lower().translate(MICRO)
        if word not in _LENGTH_US:
            raise ValueError("no unit of time")
        total, at, seen = total + number(part[1], decimal=decimal) * _LENGTH_US[word], part.end(), True
    if clock := _RE.clock.match(text, at):
        sign, days, hours, minutes, seconds = clock.groups()
        us = (int(days or 0) * 24 + int(hours)) * _HOUR + int(minutes) * DURATION_US["min"]
        us += _finite(seconds.replace(",", ".")) * 1e6
        total, at, seen = total + (-us if sign == "-" else us), clock.end(), True
    if not seen or text[at:].strip():
        raise ValueError("no length of time")
    return total


def lengths(column: pa.Array | pa.ChunkedArray, *, decimal: str = ".") -> Parsed:
    """Lengths of time that carry their unit, in microseconds; typed ones too."""
    array = flat(column)
    clean = np.zeros(len(array), bool)
    if pa.types.is_duration(array.type):
        return Parsed(pc.divide(array.cast(pa.duration("ns")).cast(pa.int64()).cast(pa.float64()), 1e3), clean)
    if pa.types.is_time(array.type) or pa.types.is_interval(array.type):
        return Parsed(pa.array([None if v is None else _typed(v) for v in array.to_pylist()], pa.float64()), clean)
    return by_unique(array, lambda text: length(text, decimal=decimal), pa.float64())


def carries_unit(type_: pa.DataType) -> bool:
    """Whether a typed column holds lengths of time, whatever its name says."""
    return bool(pa.types.is_duration(type_) or pa.types.is_time(type_) or pa.types.is_interval(type_))


def _typed(value: Any) -> float:
    if hasattr(value, "hour"):
        return length(value.isoformat())
    return float(value.months * 30 * 24 * _HOUR + value.days * 24 * _HOUR + value.nanoseconds / 1e3)


def boolean(text: str, *, minus: bool = False) -> bool:
    """One boolean as people write it. Raises ValueError."""
    word = unicodedata.normalize("NFC", text).lower().strip(".\ufe0f")
    if word in TRUE_WORDS or (minus and word in ("-1", "-1.0")):
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError("not a boolean")


def booleans(column: pa.Array | pa.ChunkedArray, *, minus: bool = False) -> Parsed:
    """Booleans from typed columns, words and 0/1, with `minus` also -1 for true. Other numbers are bad."""
    array = flat(column)
    if pa.types.is_boolean(array.type):
        return Parsed(values=array, bad=np.zeros(len(array), bool))
    return by_unique(array, lambda text: boolean(text, minus=minus), pa.bool_())


def two_sided(words: Collection[str]) -> bool:
    """Whether words of a boolean column can be read: all of them are known, or some for either side."""
    found = by_unique(pa.array(list(words), pa.string()), boolean, pa.bool_())
    return not found.bad_count or len(pc.unique(pc.drop_null(found.values))) == 2


def failed(text: str) -> bool:
    """Did a request fail technically? From words and HTTP codes. Raises ValueError."""
    word = text.lower().removeprefix("status_code_").removeprefix("status.")
    if re.fullmatch(r"\d{3}(\.0)?", word):
        return int(float(word)) >= 400
    if word in FALSE_WORDS or _RE.failed.fullmatch(word):
        return True
    if word in TRUE_WORDS or word in _FINE_WORDS:
        return False
    raise ValueError("not a status")


def failures(column: pa.Array | pa.ChunkedArray) -> Parsed:
    """Technical failure from a column of status words or HTTP codes; a boolean column says "ok"."""
    array = flat(column)
    if pa.types.is_boolean(array.type):
        return Parsed(values=pc.invert(array), bad=np.zeros(len(array), bool))
    return by_unique(array, failed, pa.bool_())
