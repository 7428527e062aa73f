"""The values of a span row in every encoding met: attributes, times, lengths, how a span ended, its events."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from kpi.ingest.otlp.attributes import count_of, parse, text_of, truth_of
from kpi.ingest.otlp.decode import ERROR, OK, Attributes, Event, moment, value_of
from kpi.ingest.spans.row_names import KEPT_WHOLE, RENAMED
from kpi.mapping.parse_times import time_us
from kpi.mapping.parse_values import length

NANOS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_DEEPEST = 8
_MAPS = ("attributeMap", "attribute_map")
_NO_ERROR = frozenset(["", "0", "false", "null", "none", "[]", "{}"])
_UNIONS = re.compile(
    r"(string|int|double|bool|bytes|array|kvlist)_?[vV]alue|v_?(str|int64|bool|float64|binary|type)|low|high|unsigned"
)
_DECIMAL_COMMA = re.compile(r"0,\d+|\d+,(?:\d{1,2}|\d{4,})")
_FINE = frozenset(
    ["ok", "success", "succeeded", "completed", "complete", "finished", "done", "unset", "true", "passed", "0", "1"]
)
_FAILED = frozenset(["error", "failed", "failure", "exception", "fault", "errored", "aborted", "timeout", "2"])
_HTTP = 100


def attribute_map(value: Any) -> Attributes:
    """Attributes in any encoding, by dotted name.

    An object of plain or typed values, nested or not; a list of keys and values as OTLP, Jaeger and Arrow maps have
    them; and JSON text of either.
    """
    found: Attributes = {}
    opened = parse(value)
    if isinstance(opened, dict) and isinstance(inner := next((opened[k] for k in _MAPS if k in opened), None), dict):
        opened = inner
    _gather(found, "", opened, 0)
    for name in [n for n in found if n in RENAMED]:
        found.setdefault(RENAMED[name], found.pop(name))
    return found


def _gather(found: Attributes, prefix: str, value: Any, depth: int) -> None:
    for key, inner in _pairs(value):
        name = f"{prefix}{key}"
        if isinstance(inner, dict) and _is_union(inner):
            inner = _of_union(inner)
        if isinstance(inner, dict) and depth < _DEEPEST and name not in KEPT_WHOLE:
            _gather(found, f"{name}.", inner, depth + 1)
        elif inner is not None:
            found.setdefault(name, inner)


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((str(k), v) for k, v in value.items())
    elif isinstance(value, list):
        for pair in value:
            if isinstance(pair, dict) and (name := next((pair[k] for k in ("key", "Key", "name") if k in pair), None)):
                yield str(name), pair["value"] if "value" in pair else {k: v for k, v in pair.items() if k != "key"}
            elif isinstance(pair, list | tuple) and len(pair) == 2:
                yield str(pair[0]), pair[1]


def _is_union(value: Mapping[str, Any]) -> bool:
    return bool(value) and all(_UNIONS.fullmatch(k) for k in value)


def _of_union(value: Mapping[str, Any]) -> Any:
    if (typed := value_of(value)) is None:
        typed = next((v for k, v in value.items() if v is not None and not k.lower().endswith("type")), None)
    if isinstance(typed, dict) and set(typed) <= {"value", "truncatedByteCount"}:
        return typed.get("value")
    return typed


def time_of(value: Any) -> int | None:
    """A moment of a row -> nanoseconds since the epoch; None where it cannot be read.

    Beside all that traces write: `7/22/2026, 6:17:48.114 PM` of portals, and Go's `… +0000 UTC`. A date with slashes
    is read where it says which of its numbers is the month: by AM or PM, or by a number above 12.
    """
    found = moment(value)
    if found is not None or not isinstance(value, str):
        return found
    text = value.strip()
    if ":" in text:  # a bare number is no day of Excel here
        with suppress(ValueError, OverflowError):
            return time_us(text, dayfirst=False if text[-1] in "Mm" else None)[0] * 1_000
    return None


def length_of(value: Any, unit: str) -> tuple[int | None, float | None]:
    """(nanoseconds, number whose unit is not known); at most one of them is told.

    Text may say its unit itself: `1.25s`, `2m3.5s`, `00:00:02.4954305`. A comma is the decimal one where it cannot part
    thousands.
    """
    if isinstance(value, str):
        value = value.strip()
        if "," not in value:
            with suppress(ValueError):
                us = length(value)
                return (round(us * 1e3) if us >= 0 else None), None
        value = value.replace(",", ".") if _DECIMAL_COMMA.fullmatch(value) else value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None, None
    if not 0 <= number < 1e21:
        return None, None
    return (round(number * NANOS[unit]), None) if unit else (None, number)


def status_of(fields: Mapping[str, Any], attributes: Attributes) -> tuple[int, str]:
    """(0 for unset, OK or ERROR; message) from whatever says how a span ended."""
    status, message = fields.get("status"), text_of(fields.get("message")) or ""
    if isinstance(status, dict):
        parts = {str(k).lower().replace("_", ""): v for k, v in status.items()}
        message = message or text_of(parts.get("message") or parts.get("description")) or ""
        status = parts.get("code", parts.get("statuscode"))
    error = fields.get("error")
    for name in ("error", "otel.status_code"):
        if name == "error" and error is None:
            error = attributes.get(name)
        elif name in attributes and status is None:
            status = attributes[name]
    message = message or text_of(attributes.get("otel.status_description")) or ""
    if isinstance(error, dict):
        told = text_of(error.get("message") or error.get("type"))
        return ERROR, message or told or ""
    if error is not None and error != [] and str(error).strip().lower() not in _NO_ERROR:
        return ERROR, message or (text_of(error) if truth_of(error) is not True else "") or ""
    if fields.get("success") is not None and truth_of(fields["success"]) is False:
        return ERROR, message
    return _code(status), message


def _code(status: Any) -> int:
    number = count_of(status)
    if number is not None and number >= _HTTP:
        return ERROR if number >= 4 * _HTTP else 0
    word = str(status if number is None else number).lower().rpartition("status_code_")[2].rpartition(".")[2]
    if word in _FAILED:
        return ERROR
    return OK if word in _FINE - {"unset", "0"} else 0


def events_of(value: Any, columns: Mapping[str, Any]) -> list[Event]:
    """Events as a list of objects, as Jaeger's logs, or as columns beside each other (`Events.Name`, …)."""
    found = []
    for item in parse(value) if isinstance(parse(value), list) else []:
        if isinstance(item, dict):
            low = {str(k).lower().replace("_", ""): v for k, v in item.items()}
            attributes = attribute_map(low.get("attributes") or low.get("fields") or {})
            name = low.get("name") or low.get("eventname") or attributes.get("event") or low.get("value")
            at = next((low[k] for k in ("timeunixnano", "timestamp", "time", "at") if k in low), None)
            found.append(Event(str(name or ""), time_of(at), attributes))
    names = parse(columns.get("name"))
    if isinstance(names, list):
        times, inner = parse(columns.get("timestamp")), parse(columns.get("attributes"))
        for i, name in enumerate(names):
            attributes = attribute_map(_at(inner, i) or {})
            found.append(Event(str(name), time_of(_at(times, i)), attributes))
    return found


def _at(values: Any, index: int) -> Any:
    return values[index] if isinstance(values, Sequence) and index < len(values) else None
