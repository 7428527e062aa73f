"""JSON and JSON lines as the objects that they hold, each with its place. Nothing here knows what an object means.

Documents may follow each other, a line each or laid out over lines (`json_splitting`). A broken one is reported and
left out. Of a lone document that is cut off or broken inside, everything before that place is read, and the receipt
says what is missing.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, takewhile
from typing import Any

from kpi.errors import IngestError
from kpi.ingest.files.json_decoding import Decoded, decode, is_cut, loads
from kpi.ingest.files.json_splitting import CUT, LONG, NO_JSON, Part, split
from kpi.ingest.files.line_sniffing import begins_as_json, objects as object_lines
from kpi.ingest.files.source import Opened, encoding, lines, utf8_stream
from kpi.ingest.limits import MIB, Limits

Drop = Callable[[int, str, str], None]  # place, reason, hint
Note = Callable[[str], None]
IsRecord = Callable[[dict[str, Any]], bool]
ENVELOPES = (
    "data", "rows", "records", "requests", "items", "results", "traces", "trace", "spans", "sessions", "runs",
)  # fmt: skip
NO_NUMBERS = "{name}: {count:,} numbers that are none (NaN, Infinity) are taken as missing."
_CUT_HINT = "The export was cut off or damaged; load it again when complete."
_DEEP_HINT = "Keep what is nested so deeply out of the export, or write it as text."
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_SALVAGED_DEPTH = 12
_LOOK = 20  # elements of a list by which an envelope is told


def objects(
    source: Opened, *, limits: Limits, drop: Drop, note: Note, is_record: IsRecord
) -> Iterator[tuple[int, dict[str, Any], int]]:
    """(1-based line, or position in a document; object; bytes consumed so far).

    is_record: whether an object is a record itself, not its envelope. Raises IngestError when nothing can be read.
    """
    position = nans = 0
    for at, told, consumed in documents(source, limits=limits, drop=drop, note=note):
        nans += told.nans
        if told.garbled:
            note(f"{source.name} holds characters that are not valid Unicode; they are shown as \ufffd.")
        item = told.value
        if isinstance(item, dict) and item.get("next_cursor") and not is_record(item):
            note(f"{source.name} is one page of an answer and names a next one: load all pages.")
        found_records = unwrapped(item, is_record)
        if at and isinstance(item, list) and not any(isinstance(i, dict | list) for i in item):
            found_records = iter([item])  # a line without any object is one thing left out
        for record in found_records:
            position = at or position + 1
            if not isinstance(record, dict):
                drop(position, "the record is no JSON object", "")
            elif told.cut and is_cut(record):
                drop(position, f"the record is nested deeper than {limits.json_depth} levels", _DEEP_HINT)
            else:
                yield position, record, consumed
    if nans:
        note(NO_NUMBERS.format(name=source.name, count=nans))


def unwrapped(item: Any, is_record: IsRecord) -> Iterator[Any]:
    """The records inside lists and envelopes such as `{"data": […]}`."""
    if isinstance(item, list):
        for inner in item:
            yield from unwrapped(inner, is_record) if isinstance(inner, list) else [inner]
        return
    if isinstance(item, dict) and not is_record(item):
        for name in ENVELOPES:
            inner = item.get(name)
            if isinstance(inner, list):
                yield from unwrapped(inner, is_record)
                return
            if isinstance(inner, dict) and is_record(inner):
                yield inner
                return
        if (found := _deeper(item, is_record)) is not None:
            yield from unwrapped(found, is_record)
            return
    yield item


def _deeper(item: dict[str, Any], is_record: IsRecord, depth: int = 0) -> list[Any] | None:
    """The records somewhere inside an envelope that is not known; None where there are none.

    Elements of a list may be envelopes themselves: hits of a search index, edges of GraphQL, traces with their spans.
    """
    for inner in item.values():
        if isinstance(inner, list) and any(isinstance(i, dict) and is_record(i) for i in inner[:_LOOK]):
            return inner
        if depth >= _SALVAGED_DEPTH:
            continue
        if isinstance(inner, dict):
            if is_record(inner):
                return [value for value in item.values() if isinstance(value, dict)]
            if (found := _deeper(inner, is_record, depth + 1)) is not None:
                return found
        elif isinstance(inner, list):
            opened = [_opened(i, is_record, depth) for i in inner[:_LOOK]]
            if any(opened):
                opened += [_opened(i, is_record, depth) for i in inner[_LOOK:]]
                return [record for i, found in zip(inner, opened, strict=True) for record in (found or [i])]
    return None


def _opened(element: Any, is_record: IsRecord, depth: int) -> list[Any] | None:
    return _deeper(element, is_record, depth + 1) if isinstance(element, dict) else None


def documents(source: Opened, *, limits: Limits, drop: Drop, note: Note) -> Iterator[tuple[int, Decoded, int]]:
    """(1-based line on which a document begins, 0 for a lone one; document; bytes consumed so far).

    Raises IngestError when nothing can be read.
    """
    if is_lined(source, limits):
        return _told(split(lines(source, limits=limits, indented=True), **_bounds(limits)), limits, drop)
    return _of_document(source, limits, drop, note)


def is_lined(source: Opened, limits: Limits) -> bool:
    """Whether there are several documents, so that each has a line: the first line is one, and there are more or it is
    no list; or two follow each other at the beginning, however they are laid out."""
    found = lines(source, limits=limits)
    first = next(found, (0, b""))[1]
    second = next(found, None)
    found.close()  # type: ignore[attr-defined]
    if second is None:
        return False
    try:
        loads(first or b"")
    except ValueError:
        # A broken first line does not make a document of lines that each hold an object.
        cut = (first or b"")[:1] == b"{" and len(first or b"") > 2 and (second[1] or b"")[:2] in (b'{"', b"{}")
        if begin_together(source, limits) or lie_between(source, limits):
            return True
        return (cut or bool(object_lines(source, limits))) and not _is_document(source, limits)
    return True


def begin_together(source: Opened, limits: Limits) -> bool:
    """Whether a file begins with a whole document and another one behind it."""
    return sum(1 for _ in islice(takewhile(lambda told: told is not None, heads(source, limits)), 2)) == 2


def lie_between(source: Opened, limits: Limits) -> bool:
    """Whether objects stand between the lines of a file that is text, as in a log."""
    if begins_as_json(source) or b"\n{" not in source.head:
        return False
    return any(told is not None and isinstance(told.value, dict) for told in heads(source, limits))


def heads(source: Opened, limits: Limits) -> Iterator[Decoded | None]:
    """The documents at the beginning of a file, as far as 64 KiB hold them whole; None for what is none."""
    head = source.head.decode(encoding(source.head), "replace").lstrip("\ufeff").encode()
    numbered = ((number, line.rstrip(b" \t\r")) for number, line in enumerate(head.split(b"\n"), 1))
    for part in split(numbered, **_bounds(limits)):
        yield part.told


def _bounds(limits: Limits) -> dict[str, int]:
    return {"depth": limits.json_depth, "longest": limits.json_bytes}


def _is_document(source: Opened, limits: Limits) -> bool:
    try:
        loads(read_whole(source, limits), depth=limits.json_depth)
    except (ValueError, IngestError):
        return False
    return True


def _told(parts: Iterable[Part], limits: Limits, drop: Drop) -> Iterator[tuple[int, Decoded, int]]:
    consumed = 0
    for part in parts:
        consumed += part.size
        if part.told is not None:
            yield part.line, part.told, consumed
        elif part.reason == LONG:
            drop(part.line, f"the line is longer than {limits.line_bytes // MIB} MiB", "")
        else:
            drop(part.line, part.reason, "The line may be cut off." if part.reason == NO_JSON else _CUT_HINT)
        del part  # one document at a time is in memory: the next takes the place of the last


def _of_document(source: Opened, limits: Limits, drop: Drop, note: Note) -> Iterator[tuple[int, Decoded, int]]:
    text = read_whole(source, limits)
    try:
        yield 0, decode(text, depth=limits.json_depth), len(text)
        return
    except ValueError:
        pass
    parts = list(split(enumerate(text.split(b"\n"), 1), **_bounds(limits)))
    whole = [part.told is not None for part in parts]
    if sum(whole) > 1 or (whole[:1] == [True] and len(parts) > 1):
        yield from _told(parts, limits, drop)
        return
    document = salvaged(text.decode("utf-8", "replace"))
    if not document:
        raise IngestError("ingest.bad_json", f"{source.name} is not valid JSON", hint=_CUT_HINT)
    drop(1, CUT, _CUT_HINT)
    note(f"{source.name} is cut off or broken inside: what comes after that place is missing.")
    yield 0, decode(json.dumps(document).encode(), depth=limits.json_depth), len(text)  # its numbers and Unicode again


def read_whole(source: Opened, limits: Limits) -> bytes:
    """All bytes of one JSON document as UTF-8. Raises IngestError `ingest.too_large`."""
    with source.stream() as raw:
        text = utf8_stream(raw, source.head).read(limits.json_bytes + 1)
    if len(text) > limits.json_bytes:
        raise IngestError.told("ingest.too_large:json", name=source.name, most=limits.json_bytes // MIB)
    return text


def salvaged(text: str, at: int = 0, depth: int = 0) -> Any:
    """What stands before the first fault of a broken document; None where that is nothing.

    An element of a list is taken whole or left out, unless it is the first: then what is in it is taken.
    """
    at = _blank(text, at)
    opening = text[at : at + 1]
    if opening not in ("{", "[") or depth > _SALVAGED_DEPTH:
        return None
    members: dict[str, Any] = {}
    elements: list[Any] = []
    try:
        while True:
            at = _blank(text, at + 1)
            if opening == "{":
                key, at = _DECODER.raw_decode(text, at)
                at = _blank(text, at) + 1  # the colon
            try:
                value, at = _DECODER.raw_decode(text, _blank(text, at))
            except (ValueError, RecursionError):
                value, at = None if elements else salvaged(text, at, depth + 1), len(text)
            if value is not None and opening == "{":
                members[str(key)] = value
            elif value is not None:
                elements.append(value)
            at = _blank(text, at)
            if text[at : at + 1] != ",":
                break
    except (ValueError, RecursionError):
        pass
    return (members if opening == "{" else elements) or None


def _blank(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
