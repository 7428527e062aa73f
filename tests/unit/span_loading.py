"""Small helpers of the span tests: read bytes as an export, build OTLP messages, assemble what was read."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from kpi.assembly.requests import assemble, assemble_all
from kpi.ingest.context import Context
from kpi.ingest.files.source import HEAD_BYTES, Opened
from kpi.ingest.readers import otlp
from kpi.privacy.privacy import Privacy
from kpi.receipts import Receipt

Row = dict[str, Any]
KEY = b"k" * 32
T0 = 1_795_455_516_000_000_000  # nanoseconds
TRACE = "c563ba5ae349385906bc0d19a12b9d0d"


def load(*payloads: bytes | Path, receipt: Receipt | None = None) -> dict[str, list[Row]]:
    """Rows of all tables, times as integer microseconds; each payload is one file of the same load."""
    context = Context(privacy=Privacy(KEY), receipt=receipt or Receipt())
    rows: dict[str, list[Row]] = defaultdict(list)
    for payload in payloads:
        data = payload.read_bytes() if isinstance(payload, Path) else payload
        source = Opened("export", data[:HEAD_BYTES], None, lambda data=data: io.BytesIO(data), len(data))
        for name, table in otlp.read(source, context):
            rows[name] += plain(table)
    return rows


def plain(table: pa.Table) -> list[Row]:
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(i, field.name, table[i].cast(pa.int64()))
    return table.to_pylist()


def requests(rows: dict[str, list[Row]]) -> dict[str, Row]:
    """trace id -> request, assembled trace by trace."""
    traces: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for name, found in rows.items():
        for row in found:
            traces[row["trace_id"]][name].append(row)
    return {i: assemble(**parts) for i, parts in traces.items() if parts["spans"]}


def streamed(rows: dict[str, list[Row]], chunk: int = 7) -> list[Row]:
    """Requests by the streaming door, fed in small record batches ordered by trace."""
    from kpi.arrow_rows import to_table

    ordered = {
        name: to_table(name, sorted(found, key=lambda r: r["trace_id"])).to_batches(max_chunksize=chunk)
        for name, found in rows.items()
        if found
    }
    return [row for table in assemble_all(**ordered) for row in plain(table)]


def attribute(key: str, value: Any) -> Row:
    kinds = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}
    if isinstance(value, list):
        return {"key": key, "value": {"arrayValue": {"values": [attribute("", v)["value"] for v in value]}}}
    return {"key": key, "value": {kinds[type(value)]: str(value) if type(value) is int else value}}


def span(number: int, parent: int | None = None, *, start: int = 0, end: int | None = 1000, **more: Any) -> Row:
    """One JSON span: number makes its id, start and end are milliseconds after T0."""
    attributes = more.pop("attributes", {})
    row = {
        "traceId": more.pop("trace", TRACE),
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent is not None else "",
        "name": f"span {number}",
        "startTimeUnixNano": str(T0 + start * 1_000_000),
        "attributes": [attribute(k, v) for k, v in attributes.items()],
        **more,
    }
    return row if end is None else {**row, "endTimeUnixNano": str(T0 + end * 1_000_000)}


def message(spans: Iterable[Row], resource: Row | None = None, *, scope: str = "", version: str = "") -> bytes:
    attributes = [attribute(k, v) for k, v in (resource or {}).items()]
    group: Row = {"scope": {"name": scope, "version": version}} if scope else {}
    body = {"resource": {"attributes": attributes}, "scopeSpans": [{**group, "spans": list(spans)}]}
    return orjson.dumps({"resourceSpans": [body]}) + b"\n"


def logs(records: Iterable[Row]) -> bytes:
    return orjson.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}]}]}) + b"\n"


def one(*spans: Row, **resource: Any) -> Row:
    """The single request of these spans."""
    (request,) = requests(load(message(spans, resource))).values()
    return request


def canonical(rows: dict[str, list[Row]]) -> dict[str, list[str]]:
    """Rows in an order of their own, for comparing two readings."""
    return {
        n: sorted(orjson.dumps(r, option=orjson.OPT_SORT_KEYS).decode() for r in found) for n, found in rows.items()
    }
