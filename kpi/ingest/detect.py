"""Which format is this? Decided by content, never by name alone. A new format is one line in READERS and one probe.

Formats that are recognised but cannot be read yet end in an error that names them and says what to do instead.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection

import orjson

from kpi.errors import IngestError
from kpi.ingest.archive import Opened, encoding

READERS: dict[str, str] = {
    "otlp": "kpi.ingest.otlp",
    "table": "kpi.ingest.table",
}

_KEY_DEPTH = 4
_ALTERNATIVE = "Export the traces as OTLP, or load a table with one row a request through a column mapping."

# (keys that must all be there, format, name for people); first match wins. "" = a table row.
_JSON_PROBES: tuple[tuple[frozenset[str], str, str], ...] = tuple(
    (frozenset(keys.split()), slug, title)
    for keys, slug, title in (
        ("resourceSpans", "otlp", ""),
        ("resource_spans", "otlp", ""),
        ("batches", "otlp", ""),
        ("resourceLogs", "otlp", ""),
        ("resource_logs", "otlp", ""),
        ("resourceMetrics", "otlp_metrics", "OTLP metrics"),
        ("trace observations", "langfuse", "Langfuse trace"),
        ("trace spans downloaded_at", "opik", "Opik"),
        ("info data", "mlflow", "MLflow trace"),
        ("trace_id spans assessments", "mlflow", "MLflow search result"),
        ("trace_id trace spans", "mlflow", "MLflow search result"),
        ("info spans", "mlflow", "MLflow trace"),
        ("context span_kind attributes", "phoenix", "Phoenix span"),
        ("run_type dotted_order", "langsmith", "LangSmith run"),
        ("run_type trace_id inputs", "langsmith", "LangSmith run"),
        ("request_id spend startTime", "litellm", "LiteLLM spend log"),
        ("litellm_call_id response_cost", "litellm", "LiteLLM payload"),
        ("parent_observation_id trace_id", "langfuse", "Langfuse observation"),
        ("parentObservationId traceId", "langfuse", "Langfuse observation"),
        ("data_type string_value", "langfuse", "Langfuse score"),
        ("dataType stringValue", "langfuse", "Langfuse score"),
        ("bookmarked public tags", "langfuse", "Langfuse trace"),
        ("op_name started_at", "weave", "W&B Weave call"),
        ("request_created_at response_status", "helicone", "Helicone request"),
        ("schemaType modelId requestId", "bedrock", "Bedrock invocation log"),
        ("eval samples", "inspect", "Inspect AI evaluation log"),
        ("schema_version steps", "atif", "ATIF trajectory"),
        ("object choices", "openai", "OpenAI stored completion"),
        ("annotation_name result.label", "phoenix", "Phoenix annotation"),
        ("annotator_kind result", "phoenix", "Phoenix annotation"),
        ("start_time span_id trace_id parent_id name", "phoenix", "Phoenix span"),
        ("context.span_id", "phoenix", "Phoenix span frame"),
        ("request_id trace timestamp_ms", "mlflow", "MLflow 2 trace frame"),
        ("project_id traces", "phoenix", "Phoenix session"),
        ("spans start_time end_time project_id", "phoenix", "Phoenix trace"),
        ("traceId spanId attributes", "otlp_flat", "list of bare OTLP spans"),
        ("trace_id span_id attributes", "otlp_flat", "list of bare OTLP spans"),
    )
)
_DELIMITERS = ",;\t|"
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def detect(source: Opened) -> str:
    """The slug of the format of `source`, a key of READERS.

    Raises IngestError `ingest.unsupported_format` for a format that is recognised but not supported yet, and
    `ingest.unknown_format` for everything else.
    """
    head = source.head
    if head.startswith(b"PAR1"):
        return _supported(_by_names(_parquet_names(source)), source)
    if head.startswith(b"SQLite format 3"):
        return _supported(("sqlite", "SQLite database"), source)
    text = _text(head)
    if text is None:
        return _binary(source)
    text = text.lstrip()
    if text[:1] in "{[" and text:
        return _supported(_by_json(text), source)
    columns = header(text)
    if columns is None:
        raise _unknown(source)
    return _supported(_by_names(columns), source)


def header(text: str) -> list[str] | None:
    """Column names in the first line of delimited text, or None where it cannot be such a table."""
    if text[:1] in ("<", "%", "#") or not text.strip():
        return None
    first = text.splitlines()[0]
    delimiter = delimiter_of(first)
    if delimiter is None or len(first) > 60_000:
        return None
    names = next(csv.reader(io.StringIO(first), delimiter=delimiter), [])
    if sum(bool(n.strip()) for n in names) < 2 or any(len(n) > 300 for n in names):
        return None
    return [n.strip() for n in names]


def delimiter_of(line: str) -> str | None:
    """The delimiter of a header line: the one of `, ; tab |` that splits it into most parts outside quotes."""
    outside = re.sub(r'"[^"]*"', "", line)
    best = max(_DELIMITERS, key=outside.count)
    return best if outside.count(best) else None


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
            if not stack:
                break
            stack.pop()
            if not stack:
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
            key = _unquote(token)
            if not skipping and len(stack) <= _KEY_DEPTH:
                found.setdefault(tuple(k for _, k in stack if k), set()).add(key)
    return found


_TOKEN = re.compile(r'\s+|[{}\[\]:,]|"(?:[^"\\]|\\.)*"|[^\s{}\[\]:,"]+', re.DOTALL)


def _unquote(token: str) -> str:
    try:
        return str(orjson.loads(token))
    except orjson.JSONDecodeError:
        return token[1:-1]


def _text(head: bytes) -> str | None:
    """The head as text, or None where it is binary."""
    name = encoding(head)
    if name.startswith("utf-16"):
        return head[: len(head) // 2 * 2].decode(name, "replace").lstrip("\ufeff")
    if head[:1] == b"\x80" or len(_BINARY.findall(head[:4096])) > 4 or b"\x00" in head[:16] or head[:2] == b"MZ":
        return None
    return head.decode("utf-8-sig", "replace")


def _binary(source: Opened) -> str:
    if is_protobuf(source.head):
        return "otlp"
    raise _unknown(source)


def _by_json(text: str) -> tuple[str, str]:
    keys = json_keys(text)
    for path in ((), ("[]",), ("data",), ("data", "[]"), ("[]", "[]"), ("spans", "[]"), ("traces", "[]")):
        if path in keys:
            slug, title = _by_names(keys[path])
            nested = slug == "table" and bool({"data", "spans", "traces"} & keys[path])
            if not nested:
                return slug, title
    return "table", ""


def _by_names(names: Collection[str]) -> tuple[str, str]:
    present = set(names)
    for wanted, slug, title in _JSON_PROBES:
        if wanted <= present:
            return slug, title
    if sum(n.startswith("trace_") for n in present) > 3 and sum(n.startswith("span_") for n in present) > 3:
        return "opik", "Opik table"
    return "table", ""


def _parquet_names(source: Opened) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(source.path).names)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise IngestError(
            "ingest.bad_parquet", f"{source.name} is a damaged Parquet file", hint="Export it again."
        ) from error


def _supported(found: tuple[str, str], source: Opened) -> str:
    slug, title = found
    if slug in READERS:
        return slug
    raise IngestError(
        "ingest.unsupported_format", f"{source.name} is a {title} export, which is not supported yet", hint=_ALTERNATIVE
    )


def _unknown(source: Opened) -> IngestError:
    return IngestError(
        "ingest.unknown_format", f"{source.name} is in no format that is known here",
        hint="Supported: OTLP traces and logs (JSON, JSONL, protobuf), and tables as CSV, TSV, Parquet or JSONL.",
    )  # fmt: skip
