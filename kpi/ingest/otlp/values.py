"""Single values as trace exports write them: times, ids, and the value unions of OTLP JSON -> plain Python.

Every function takes whatever stood in the file; what cannot be read is None, never a guess.
"""

import base64
import binascii
import math
from datetime import UTC, datetime
from typing import Any

Attributes = dict[str, Any]

# What exporters write where a span has no parent; an id of one of these is no id.
NO_ID = frozenset({"", "0", "0" * 16, "0" * 32, "undefined", "null", "none"})
_HEX = frozenset("0123456789abcdefABCDEF")
_MAX_ID = 128
_NANO_DIGITS = 19  # nanoseconds since the epoch, from 2001 to 2262
_FLOAT_STEP = 256  # of floats around nanoseconds of today
_HALF = 0xFFFFFFFF
_LONG = frozenset({"low", "high"})
_NUMBERS = {"intValue", "int_value", "doubleValue", "double_value"}


def nanos(value: Any) -> int | None:
    """Any time a trace export writes -> nanoseconds since the epoch; None for absent, zero or unreadable.

    Integers are seconds, milliseconds, microseconds or nanoseconds by magnitude; text may be digits, ISO 8601 or
    JSON-quoted ISO 8601. Text without a zone is UTC. Halves of a 64-bit number are put together.
    """
    if type(value) is dict:
        value = unwrapped(value)
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        if len(value) == _NANO_DIGITS and value.isdecimal() and 10**17 <= (at := int(value)) < 2**63:
            return at  # nearly every time
        if not (text := value.strip().strip('"')):
            return None
        try:
            value = int(text)
        except ValueError:
            return _nanos_of_text(text)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        # A float holds no more than microseconds of today; what it adds below them is noise.
        value = round(value * 1e6) if abs(value) < 1e11 else round(value * 1e3) if abs(value) < 1e14 else int(value)
    if not isinstance(value, int) or value <= 0:
        return None
    if value >= 10**17:
        return value if value < 2**63 else None
    if value >= 10**15:
        return value * 1_000
    if value >= 10**12:
        return value * 1_000_000
    return value * 1_000_000_000 if 10**9 <= value < 10**11 else None


def moment(value: Any) -> int | None:
    """A time of OTLP. One written as a bare number may have been a float, of seconds and then of nanoseconds, each of
    which holds every 256th nanosecond or so: it is the microsecond that it was, where it is near enough to one."""
    at = nanos(value)
    if at is None or isinstance(value, (str, dict)) or at % _FLOAT_STEP:
        return at
    nearest = round(at, -3)
    return nearest if abs(nearest - at) <= _FLOAT_STEP else at


def _nanos_of_text(text: str) -> int | None:
    try:
        return nanos(float(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1_000


def identifier(value: Any, size: int) -> str | None:
    """An id of `size` bytes, written as hex or base64, -> lower-case hex; None for the spellings of "no id".

    Ids of another length (decimal, UUID) are kept as they are, so that a trace still joins.
    """
    if not isinstance(value, str):
        if isinstance(value, bytes):
            return value.hex() if any(value) else None
        return None if value in (None, 0) else str(value)[:_MAX_ID]
    if len(value) == 2 * size:
        try:
            if len(bytes.fromhex(value)) == size:  # shorter where it skipped blanks
                text = value.lower()
                return None if text in NO_ID else text
        except ValueError:
            pass
    text = value.strip().removeprefix("tr-").removeprefix("0x").removeprefix("0X")
    if text.lower() in NO_ID:
        return None
    if len(text) == 4 * ((size + 2) // 3):
        try:
            raw = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) == size:
            return raw.hex() if any(raw) else None
    return (text.lower() if _HEX.issuperset(text) else text)[:_MAX_ID]


def unwrapped(value: Any) -> Any:
    """The 64-bit number that JavaScript exporters write as `{low, high, unsigned}`; anything else as it is."""
    if type(value) is not dict or not isinstance(low := value.get("low"), int) or "high" not in value:
        return value
    high = value["high"] if isinstance(value["high"], int) else 0
    whole = (high & _HALF) << 32 | low & _HALF
    return whole if value.get("unsigned") or whole < 2**63 else whole - 2**64


class TooDeep(ValueError):
    """An attribute holds values in values beyond what is read."""


NESTED = frozenset({"arrayValue", "array_value", "kvlistValue", "kvlist_value"})
_DEEPEST = 100  # levels of JSON
RECORD_LEVEL = 6  # levels of a message above a record
_ATTRIBUTE = RECORD_LEVEL + 4  # that of the value of one of its attributes


def value_of(union: Any, level: int = _ATTRIBUTE) -> Any:
    """The member that is set in a JSON AnyValue; `{}` and an all-null union are None, not-a-number is None."""
    if not isinstance(union, dict):
        return union
    for key, value in union.items():
        if value is None:
            continue
        if key in ("stringValue", "string_value", "boolValue", "bool_value", "bytesValue", "bytes_value"):
            return value
        if key in _NUMBERS:
            return number(value)
        if level > _DEEPEST and key in NESTED:
            raise TooDeep(f"nested deeper than {_DEEPEST} levels")
        if key in ("arrayValue", "array_value"):
            return [value_of(item, level + 3) for item in value.get("values") or ()]
        if key in ("kvlistValue", "kvlist_value"):
            return attributes_of(value.get("values"), level + 4)
        if key in _LONG:
            whole = unwrapped(union)
            return None if isinstance(whole, dict) else whole
    return None


def number(value: Any) -> int | float | None:
    """Numbers arrive as numbers, text or halves, and an integer may be declared a double or the reverse."""
    if type(value) is dict and isinstance(value := unwrapped(value), dict):
        return None
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                return None
    return None if isinstance(value, float) and not math.isfinite(value) else value


def attributes_of(pairs: Any, level: int = _ATTRIBUTE) -> Attributes:
    """`[{key, value}]` -> dict; the first of a repeated key stays."""
    found: Attributes = {}
    for pair in pairs or ():
        union, key = pair.get("value"), pair["key"]
        if key not in found:
            short = type(union) is dict and len(union) == 1  # nearly every attribute
            found[key] = union["stringValue"] if short and "stringValue" in union else value_of(union, level)
    return found
