"""What happens to an export on its way: copied, cut, packed, shuffled, encoded otherwise. Knows records, no words."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import orjson
import zstandard

Json = dict[str, Any]
Files = Mapping[str, bytes]
Rows = list[Any]
_OTLP = ("resourceSpans", "resource_spans", "batches", "scopeSpans", "scope_spans", "spans",
         "resourceLogs", "resource_logs", "scopeLogs", "scope_logs", "logRecords", "log_records")  # fmt: skip
_WRAPPERS = ("data", "traces", "results", "spans", "response")


def documents_of(data: bytes) -> tuple[str, list[Any]] | None:
    """("one" or "lines", the JSON documents) of a file; None where it is no JSON."""
    if data[:1] not in b"{[":
        return None
    try:
        return "one", [orjson.loads(data)]
    except ValueError:
        pass
    try:
        return "lines", [orjson.loads(line) for line in data.splitlines() if line.strip()]
    except ValueError:
        return None


def dumped(documents: list[Any], kind: str, indent: int | None = None) -> bytes:
    text = "\n".join(json.dumps(d, indent=indent, ensure_ascii=False) for d in documents)
    return (text + "\n" * (kind == "lines")).encode("utf-8", "surrogatepass")


def _lists(document: Any) -> list[tuple[Rows, bool]]:
    """The lists of records in a document, outermost first, with whether each is of the innermost level."""
    if isinstance(document, list):
        inner = [found for item in document if _is_otlp(item) for found in _lists(item)]
        return [(document, not inner), *inner]
    if not isinstance(document, dict):
        return []
    names = _OTLP if _is_otlp(document) else _WRAPPERS
    found: list[tuple[Rows, bool]] = []
    for name in names:
        held = document.get(name)
        if isinstance(held, list) and held and isinstance(held[0], dict):
            inner = [f for item in held if _is_otlp(item) for f in _lists(item)]
            found += [(held, not inner), *inner]
    return found


def _is_otlp(item: Any) -> bool:
    return isinstance(item, dict) and any(
        isinstance(item.get(k), list) for k in _OTLP if k != "spans" or "scope" in item
    )


def _on_rows(
    change: Callable[[Rows, random.Random], Rows], *, inner_only: bool = True
) -> Callable[[bytes], bytes | None]:
    """A change to the lists of records of JSON, to the lines of JSONL, to the rows of CSV."""

    def changed(data: bytes) -> bytes | None:
        dice = random.Random(1)
        found = documents_of(data)
        if found is None:
            head = csv_rows(data)
            return csv_bytes(head[0], change(head[1], dice), head[2]) if head else None
        kind, documents = found
        if kind == "lines":
            return dumped(change(documents, dice), kind)
        lists = _lists(documents[0])
        if not lists:
            return None
        for rows, innermost in lists:
            if innermost or not inner_only:
                rows[:] = change(list(rows), dice)
        return dumped(documents, kind)

    return changed


def csv_rows(data: bytes) -> tuple[list[str], list[list[str]], str] | None:
    """(header, rows, delimiter) of delimited text, None where it is none."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    first = text.partition("\n")[0]
    delimiter = max(",;\t|", key=first.count)
    if not first.count(delimiter) or first[:1] in "{[" or "\x00" in first or first.startswith("#"):
        return None
    csv.field_size_limit(2**30)
    header, *rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    return header, [row for row in rows if row], delimiter


def csv_bytes(
    header: list[str], rows: list[list[str]], delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL
) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerows([header, *rows])  # type: ignore[arg-type]
    return out.getvalue().encode()


def _shuffled(rows: Rows, dice: random.Random) -> Rows:
    dice.shuffle(rows)
    return rows


def _split(data: bytes, stem: str, suffix: str) -> Files | None:
    halves = []
    for part in (0, 1):
        half = _on_rows(lambda rows, _, part=part: rows[: len(rows) // 2] if part == 0 else rows[len(rows) // 2 :])(
            data
        )
        if half is None:
            return None
        halves.append(half)
    if halves[0] == halves[1]:
        return None
    return {f"{stem}-{i}.{suffix}": half for i, half in enumerate(halves, 1)}


def _truncated(data: bytes) -> bytes | None:
    """The last line cut in its middle; of a document that fills the file, its last tenth."""
    found = documents_of(data)
    if found is None and csv_rows(data) is None:
        return None
    body = data.rstrip()
    if found and found[0] == "one":
        return body[: len(body) * 9 // 10]
    last = body.rfind(b"\n") + 1
    return body[: last + (len(body) - last) // 2]


def _texts(value: Any) -> Any:
    """Every number as text; one that is told in two halves is none."""
    if isinstance(value, dict) and {"low", "high"} <= value.keys():
        return value
    if isinstance(value, dict):
        return {k: _texts(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_texts(v) for v in value]
    return json.dumps(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _nan_for_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _nan_for_null(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_nan_for_null(v) for v in value]
    return float("nan") if value is None else value


def _on_documents(change: Callable[[Any], Any]) -> Callable[[bytes], bytes | None]:
    def changed(data: bytes) -> bytes | None:
        found = documents_of(data)
        if found is None:
            return None
        after = [change(deepcopy(d)) for d in found[1]]
        return None if after == found[1] else dumped(after, found[0])

    return changed


def _pretty(data: bytes) -> bytes | None:
    found = documents_of(data)
    return dumped(found[1], "lines", indent=2) if found else None


def _minified(data: bytes) -> bytes | None:
    found = documents_of(data)
    return b"\n".join(orjson.dumps(d) for d in found[1]) if found else None


def _other_envelope(data: bytes) -> bytes | None:
    """Lines as a list, a list as lines."""
    found = documents_of(data)
    if found is None:
        return None
    kind, documents = found
    if kind == "lines":
        return dumped([documents], "one")
    return dumped(documents[0], "lines") if isinstance(documents[0], list) else None


def _text_only(change: Callable[[str], bytes]) -> Callable[[bytes], bytes | None]:
    def changed(data: bytes) -> bytes | None:
        try:
            return change(data.decode("utf-8")) if documents_of(data) or csv_rows(data) else None
        except UnicodeDecodeError:
            return None

    return changed


def zipped(name: str, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, data)
    return out.getvalue()


def _tarred(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _twice(data: bytes) -> bytes | None:
    """A file appended to itself, as a shell does it; a table's header then stands between its rows."""
    if documents_of(data) is None and csv_rows(data) is None:
        return None
    return data + (b"" if data.endswith(b"\n") else b"\n") + data


# Name -> (suffix that is added to the file's, what becomes of its bytes; None where it does not apply).
BYTES: dict[str, tuple[str, Callable[[bytes], bytes | None]]] = {
    "pretty-printed": ("", _pretty),
    "minified": ("", _minified),
    "list or lines": ("", _other_envelope),
    "byte order mark": ("", _text_only(lambda text: text.encode("utf-8-sig"))),
    "UTF-16": ("", _text_only(lambda text: text.encode("utf-16"))),
    "CRLF": ("", _text_only(lambda text: text.replace("\r\n", "\n").replace("\n", "\r\n").encode())),
    "gzip": (".gz", gzip.compress),
    "zstd": (".zst", zstandard.compress),
    "truncated": ("", _truncated),
    "concatenated with itself": ("", _twice),
    "duplicate records": ("", _on_rows(lambda rows, _: [r for row in rows for r in (row, deepcopy(row))])),
    "shuffled": ("", _on_rows(_shuffled, inner_only=False)),
    "numbers as text": ("", _on_documents(_texts)),
    "NaN for null": ("", _on_documents(_nan_for_null)),
}
FILES: dict[str, Callable[[bytes, str, str], Files | None]] = {
    "split in two": _split,
    "loaded twice": lambda data, stem, suffix: {f"{stem}-1.{suffix}": data, f"{stem}-2.{suffix}": data},
    "zip": lambda data, stem, suffix: {f"{stem}.zip": zipped(f"{stem}.{suffix}", data)},
    "zip of LZMA": lambda data, stem, suffix: {f"{stem}.zip": zipped(f"{stem}.{suffix}", data, zipfile.ZIP_LZMA)},
    "tar": lambda data, stem, suffix: {f"{stem}.tar.gz": _tarred(f"{stem}.{suffix}", data)},
    "no suffix": lambda data, stem, suffix: {stem: data},
}
