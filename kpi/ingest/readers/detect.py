"""Which format is this? Decided by content, never by name alone: OTLP, a vendor's format by its keys, else a table.

Vendors' formats say themselves how they are recognised (`kpi.ingest.formats`); nothing here lists them.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

import orjson

from kpi.errors import IngestError
from kpi.ingest.files import line_sniffing, workbook
from kpi.ingest.files.json_decoding import loads
from kpi.ingest.files.json_documents import ENVELOPES, heads, lie_between, read_whole
from kpi.ingest.files.source import HEAD_BYTES, SQLITE, Opened, encoding, lines, mostly_text
from kpi.ingest.formats import formats, recognise
from kpi.ingest.limits import Limits
from kpi.ingest.otlp.attributes import parse
from kpi.ingest.readers import refusals

TABLE, OTLP, SPANS = "table", "otlp", "spans"
_TOKEN = re.compile(r'\s+|[{}\[\]:,]|"(?:[^"\\]|\\.)*"|[^\s{}\[\]:,"]+', re.DOTALL)
_KEY_DEPTH = 6  # levels of JSON whose keys are looked at
# Any of these keys means OTLP: envelopes of traces and logs in both casings, and Tempo's.
_OTLP_KEYS = frozenset(["resourceSpans", "resource_spans", "batches", "resourceLogs", "resource_logs"])
_PATHS: tuple[tuple[str, ...], ...] = (
    (), ("[]",), ("result",), *(p for name in ENVELOPES for p in ((name,), (name, "[]"))), ("[]", "[]"))  # fmt: skip
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def detect(source: Opened, delimiter: str = "", sheet: str = "") -> str:
    """The name of the format of `source`: `otlp`, `table`, or one of `kpi.ingest.formats`.

    delimiter, sheet: as a person says.

    Raises IngestError `ingest.unsupported_format` for what holds no traces, `ingest.unknown_format` for all else.
    """
    head = source.head
    if head.startswith(b"PAR1"):
        return _by_names(_parquet_names(source), source) or TABLE
    if head.startswith(SQLITE):
        from kpi.ingest.databases import sqlite_file

        return sqlite_file.format_of(source, Limits())
    if workbook.is_one(source):
        return _by_names(_sheet_names(source, sheet), source) or TABLE
    text = (_text(head) or "").lstrip()
    if text[:1] in ("{", "[") and line_sniffing.is_json(source):
        return _by_json(text, source)
    if rows := line_sniffing.objects(source):
        return _by_lines(rows, source)
    if not text and is_protobuf(head):
        return OTLP
    if not text:
        raise _unknown(source)
    if lie_between(source, Limits()) and (found := _by_lines(_documents(source), source)) != TABLE:
        return found
    columns = header(text, delimiter)
    if columns is None or refusals.is_metrics(text):
        raise _unknown(source)
    return _by_names(columns, source) or TABLE


def header(text: str, delimiter: str = "") -> list[str] | None:
    """Names of the columns of delimited text, or None where it cannot be such a table."""
    first = [line for line in text.splitlines() if line.strip()]
    found = line_sniffing.header(first[: line_sniffing.LOOK_AHEAD], delimiter)
    return None if found is None else found.names


def is_protobuf(head: bytes) -> bool:
    """Bare OTLP protobuf (starts with field 1), or the collector's frames of 4-byte big-endian length + message."""
    return head[:1] == b"\x0a" or (len(head) > 5 and head[:1] == b"\x00" and head[4:5] == b"\x0a")


def json_keys(text: str) -> dict[tuple[str, ...], set[str]]:
    """Keys of the objects at the start of (possibly cut off) JSON text, by the path of keys that leads to them.

    Lists appear in a path as "[]"; only the first element of each list is looked at.
    """
    found: dict[tuple[str, ...], set[str]] = {}
    stack: list[tuple[str, str]] = []  # (kind of bracket, key that it stands under)
    skipping = 0  # depth at which a second list element began; its keys are not looked at
    key, position, expecting_key = "", 0, False
    for match in _TOKEN.finditer(text):
        if match.start() != position:
            break
        position, token = match.end(), match.group().strip()
        if not token:
            continue
        if token[0] in "{[":
            stack.append((token[0], key))
            expecting_key, key = token == "{", "[]" if token == "[" else ""
            if len(stack) > 64:
                break
        elif token[0] in "}]":
            if not (stack := stack[:-1]):
                break
            if skipping > len(stack):
                skipping = 0
        elif token == ",":
            expecting_key = bool(stack) and stack[-1][0] == "{"
            if stack and stack[-1][0] == "[":
                key = "[]"
                skipping = skipping or len(stack)
        elif token == ":":
            expecting_key = False
        elif token[0] == '"' and expecting_key:
            unquoted = parse(token)
            key = token[1:-1] if unquoted is token else str(unquoted)
            if not skipping and len(stack) <= _KEY_DEPTH:
                found.setdefault(tuple(k for _, k in stack if k), set()).add(key)
    return found


def _text(head: bytes) -> str | None:
    """The head as text, or None where it is binary."""
    name = encoding(head)
    if name.startswith("utf-16"):
        return head[: len(head) // 2 * 2].decode(name, "replace").lstrip("\ufeff")
    if head[:1] == b"\x80" or head[:2] == b"MZ" or head[257:262] == b"ustar":
        return None
    odd = b"\x00" in head[:16] or len(_BINARY.findall(head[:4096])) > 4
    if odd and not mostly_text(head):  # else a line of another encoding between good ones
        return None
    return head.decode("utf-8-sig", "replace")


def _by_json(text: str, source: Opened) -> str:
    try:
        if found := _by_keys(text, source):
            return found
        if len(source.head) >= HEAD_BYTES and (found := _by_names(_first_keys(source), source)):
            return found
    except IngestError:
        if len(rest := line_sniffing.objects(source) or _documents(source)) < 2:
            raise
        return _by_lines(rest, source)
    return _by_lines(line_sniffing.objects(source) or _documents(source), source)


def _documents(source: Opened) -> list[bytes]:
    """The objects at the beginning of a file, however they are laid out, each as a line."""
    return [orjson.dumps(told.value) for told in heads(source, Limits()) if told and isinstance(told.value, dict)]


def _by_keys(text: str, source: Opened) -> str | None:
    keys = json_keys(text)
    known = (_by_names(keys[path], source) for path in _PATHS if path in keys)
    if found := next((name for name in known if name), None):
        return found
    # Rows of spans, in whatever envelope.
    if any(formats()[SPANS].matches(_spread(keys, path)) for path in keys):
        return SPANS
    if (kind := refusals.by_paths(keys)) is not None:
        raise _unsupported(source, kind)
    return None


def _spread(keys: Mapping[tuple[str, ...], set[str]], path: tuple[str, ...]) -> set[str]:
    """Keys at a path, and those of the objects below them with a dot between."""
    inner = {
        ".".join((*deeper[len(path) :], key))
        for deeper, found in keys.items()
        if len(deeper) > len(path) and deeper[: len(path)] == path and "[]" not in deeper[len(path) :]
        for key in found
    }
    return keys[path] | inner


def _by_lines(rows: Collection[bytes], source: Opened) -> str:
    """What most lines are: a first one that is odd decides nothing. What can be read goes before what cannot."""
    found: Counter[str] = Counter()
    refused: IngestError | None = None
    for row in rows:
        try:
            found[_by_keys(row.decode("utf-8", "replace"), source) or TABLE] += 1
        except IngestError as error:
            refused = error
            found[""] += 1
    most = max(found, key=lambda name: found[name], default=TABLE)
    if most or refused is None:
        return most
    if not (known := {name: count for name, count in found.items() if name not in ("", TABLE)}):
        raise refused
    return max(known, key=lambda name: known[name])


def _first_keys(source: Opened) -> Collection[str]:
    """Keys of the first record, read whole: what identifies it may stand behind more text than the head holds."""
    limits = Limits()
    try:
        line = next((line for _, line in lines(source, limits=limits)), None)
        with contextlib.suppress(ValueError):
            return _keys_of(loads(line or b""))
        return _keys_of(loads(read_whole(source, limits)))
    except (ValueError, IngestError):
        return ()


def _keys_of(document: Any) -> Collection[str]:
    while isinstance(document, list) and document:
        document = document[0]
    return document if isinstance(document, dict) else ()


def _by_names(names: Collection[str], source: Opened) -> str | None:
    present = set(names)
    if not _OTLP_KEYS.isdisjoint(present):
        return OTLP
    if found := recognise(present):
        return found.name
    if (kind := refusals.by_names(present)) is not None:
        raise _unsupported(source, kind)
    return None


def _parquet_names(source: Opened) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(source.path).names)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise IngestError.told("ingest.bad_parquet", name=source.name) from error


def _sheet_names(source: Opened, sheet: str) -> list[str]:
    """Columns of the sheet that is to be read; none where it must be named first."""
    try:
        found = workbook.header(list(islice(workbook.rows(source, sheet), line_sniffing.LOOK_AHEAD)))
    except IngestError as error:
        if error.code != "ingest.sheet":
            raise
        return []
    return found.names if found else []


def _unsupported(source: Opened, kind: refusals.Refusal) -> IngestError:
    return IngestError.told("ingest.unsupported_format:kind", name=source.name, title=kind.title, instead=kind.instead)


def _unknown(source: Opened) -> IngestError:
    titles = ", ".join(sorted(f.title for f in formats().values()))
    supported = f"Supported: OTLP traces and logs, {titles}, and tables as CSV, TSV, Excel (.xlsx), Parquet or JSONL."
    if told := refusals.by_content(source.head, _text(source.head)):
        title, instead = told
        return IngestError("ingest.unknown_format", f"{source.name} is {title}", hint=instead or supported)
    return IngestError("ingest.unknown_format", f"{source.name} is in no format that is known here", hint=supported)
