"""What is not read, by kind: how it is recognised, what it is called, and what to export instead. Data, not logic.

A refusal that names the file for what it is saves the next try; none offers a mapping where no mapping can help.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_TRACES = "Export the traces as OTLP, or load a table with one row a request through a column mapping."
_METRICS = "Metrics are sums over many requests. " + _TRACES
_ROWS = "Its rows are sums over many requests, not requests. "
_TABLE = "Write the data as CSV, JSONL or Parquet, with one row a request."
_XLSX = "Save it as .xlsx without a password, or the sheet with one row a request as CSV."
_UNPACK = "Unpack it and load the files in it, or pack them as zip, gzip or zstd."
_CALLS = _ROWS + "Log the calls where they are made: a gateway, or OpenTelemetry."
_QUESTIONS = "It holds questions and answers to test with, and no requests that were served. "


@dataclass(frozen=True)
class Refusal:
    """keys: sets of names; an object or table that has all of one set is of this kind. among: if given, it also has no
    other names than these. path: keys that lead to the object, where it does not lie at the top."""

    title: str
    instead: str
    keys: tuple[str, ...]
    among: str = ""
    path: tuple[str, ...] = ()

    def matches(self, names: Collection[str]) -> bool:
        present = set(names)
        if self.among and present - set(self.among.split()):
            return False
        return any(set(keys.split()) <= present for keys in self.keys)


KINDS = (
    Refusal("OTLP metrics", _METRICS, ("resourceMetrics", "resource_metrics")),
    Refusal("an answer of Prometheus", _METRICS, ("resultType result",)),
    Refusal("a dashboard of Grafana", _METRICS, ("panels templating", "panels schemaVersion")),
    Refusal("a HAR file, the recording of a browser", "Export the traces or the request log of the application itself.",
         ("version creator entries", "entries pages", "creator entries"), path=("log",)),
    Refusal("a notebook", "Write the table that the notebook shows as CSV or Parquet, and load that.",
         ("cells nbformat",)),
    Refusal("usage by day of OpenRouter", _ROWS + "Export its activity with one row a generation.",
         ("date requests model_permaslug", "date requests model provider_name", "byok_usage_inference requests",
          "date requests byok_usage_inference", "byokUsageInference requests")),
    Refusal("usage of OpenAI by hour or day", _CALLS,
         ("num_model_requests", "object start_time end_time results", "n_requests n_context_tokens_total")),
    Refusal("costs of OpenAI by day", _CALLS,
         ("amount_value amount_currency",)),
    Refusal("usage of Anthropic by hour or day", _CALLS,
         ("starting_at ending_at results", "usage_input_tokens_no_cache", "usage_date_utc model_version",
          "usage_date_utc cost_usd", "usage_date_utc token_type", "uncached_input_tokens cache_creation")),
    Refusal("daily metrics of Langfuse", _ROWS + "Export its observations, or schedule its export to blob storage.",
         ("countTraces countObservations",)),
    Refusal("daily spend of LiteLLM", _ROWS + "Export the table LiteLLM_SpendLogs, which has one row a call.",
         ("date spend api_requests", "spend successful_requests failed_requests")),
    Refusal("a bill of a cloud provider", _ROWS + _TRACES,
         ("lineItem/UsageAmount", "line_item_usage_amount", "lineItem/UnblendedCost",
          "billing_account_id usage_start_time", "BillingAccountId ChargePeriodStart",
          "meterId costInBillingCurrency")),
    Refusal("a dataset of LangSmith", _QUESTIONS + "Export the runs of the project.",
         ("dataset_id inputs outputs", "dataset_id inputs")),
    Refusal("a dataset of LangSmith", _QUESTIONS + "Export the runs of the project.",
         ("inputs outputs",), "inputs outputs metadata attachments split id created_at modified_at name"),
    Refusal("items of a dataset of Langfuse", _QUESTIONS + "Export traces or observations.",
         ("datasetId expectedOutput", "datasetName expectedOutput", "dataset_id expected_output")),
    Refusal("examples for training a model", _QUESTIONS + _TRACES,
         ("messages",), "messages tools functions parallel_tool_calls weight"),
    Refusal("requests of a batch that were not sent yet", "Load its output together with times, as a table.",
         ("custom_id method url body",)),
    Refusal("a description of an API", _TRACES, ("openapi paths", "swagger paths")),
)  # fmt: skip

# What no text holds, by its first bytes; (offset, bytes, title, instead).
_MAGICS = (
    (0, b"%PDF", "a PDF", _TABLE), (0, b"\x89PNG", "an image", _TABLE), (0, b"\xff\xd8\xff", "an image", _TABLE),
    (0, b"GIF8", "an image", _TABLE), (8, b"WEBP", "an image", _TABLE), (0, b"BM", "an image", _TABLE),
    (0, b"\x80\x04\x95", "a Python pickle, which is never opened", _TABLE),
    (0, b"\x80\x05\x95", "a Python pickle, which is never opened", _TABLE),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document (.xls)", _XLSX), (0, b"ARROW1", "Arrow or Feather", _TABLE),
    (0, b"Obj\x01", "Avro", _TABLE), (0, b"ORC", "ORC", _TABLE), (0, b"\x89HDF", "HDF5", _TABLE),
    (257, b"ustar", "a tar archive", _UNPACK), (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK), (0, b"\x04\x22\x4d\x18", "LZ4", _UNPACK), (0, b"\x7fELF", "a program", ""),
    (0, b"MZ", "a program", ""),
)  # fmt: skip
_PRINTED = frozenset(b"\t\r\n" + bytes(range(32, 127)))
_PROMETHEUS = re.compile(r'#\s*(?:HELP|TYPE|UNIT)\s+\w|[a-zA-Z_:][\w:]*\{[^}\n]*="[^}\n]*\}\s+[-+\d.NaInfe]+')
# Text that is no table, by how it begins.
_TEXTS = (
    (_PROMETHEUS, "metrics as Prometheus writes them", _METRICS),
    (re.compile(r"\s*(?:<!doctype html|<html|<head|<body)", re.IGNORECASE), "a page of HTML",
     "Use the export of the tool that shows the page, not the page. " + _TRACES),
    (re.compile(r"\s*<\?xml|\s*<[A-Za-z][\w:.-]*[\s>]"), "XML", _TABLE),
    (re.compile(r"%PDF"), "a PDF", _TABLE),
    (re.compile(r"\s*openapi:\s"), "a description of an API", _TRACES),
)  # fmt: skip


def by_names(names: Collection[str]) -> Refusal | None:
    """The kind of an object or a table with these names, where it is one that is not read."""
    return next((k for k in KINDS if not k.path and k.matches(names)), None)


def by_paths(keys: Mapping[tuple[str, ...], Collection[str]]) -> Refusal | None:
    """The kind of a document by the names in its inner objects; keys as `detect.json_keys` gives them."""
    return next((k for k in KINDS if k.path and k.matches(keys.get(k.path, ()))), None)


def by_content(head: bytes, text: str | None) -> tuple[str, str] | None:
    """(title, what to do instead) of bytes or text that can be no table; None where nothing is known about it."""
    for offset, magic, title, instead in _MAGICS:
        if head[offset : offset + len(magic)] == magic and not (len(magic) < 3 and _is_printed(head)):
            return title, instead
    return next(((title, instead) for pattern, title, instead in _TEXTS if text and pattern.match(text)), None)


def is_metrics(text: str) -> bool:
    """Whether a text is metrics as Prometheus writes them, of which a line may look like the header of a table."""
    return _PROMETHEUS.match(text) is not None


def _is_printed(head: bytes) -> bool:
    """Whether these bytes are plain letters, which a text may begin with as well."""
    return set(head[:64]) <= _PRINTED
