"""The canonical tables: every column with its type, unit and privacy class. Everything else derives from here.

Times are UTC with microseconds; stored durations are integer microseconds (`_us`), stored money integer
nano-dollars (`_nusd`), so that sums are the same on every run and engine. Unknown is null, never 0.
A `requests` table may carry further columns that an export brought along: cohorts `x_<key>`, strings of low
cardinality, and measures `m_<key>`, numbers for metrics of a team's own. People call them by `<key>`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Type = Literal["string", "bool", "int", "float", "time", "date"]
Privacy = Literal["id", "dimension", "measure", "content", "time"]

ARROW: dict[str, pa.DataType] = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "time": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
}

EXTRA_PREFIX, MEASURE_PREFIX = "x_", "m_"
LARGEST_MEASURE = 9e12  # in magnitude: measures are summed in millionths, as whole numbers of 64 bits
SEVERITIES = ("nit", "minor", "major", "critical")
SOURCES = ("human", "user", "code", "judge")  # in order of trust
SPAN_KINDS = (
    "llm", "embedding", "retriever", "reranker", "tool", "agent", "chain", "guardrail", "evaluator", "other",
)  # fmt: skip
WHOLE = "trace"  # kind of the `spans` row that holds what an export says of a trace as a whole; it is no span


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a canonical table."""

    name: str
    type: Type
    privacy: Privacy
    unit: str = ""
    doc: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One canonical table. key: the columns that identify a row, by which a repeated load is merged."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    def __getitem__(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)

    def arrow_schema(self, extra: Iterable[str] = ()) -> pa.Schema:
        """Arrow schema; `extra` names further columns (`x_…`, `m_…`), appended in sorted order."""
        fields = [pa.field(c.name, ARROW[c.type]) for c in self.columns]
        return pa.schema(fields + [pa.field(name, ARROW[extra_type(name)]) for name in sorted(extra)])


def _columns(type_: Type, privacy: Privacy, names: str, unit: str = "", doc: str = "") -> tuple[Column, ...]:
    return tuple(Column(name=n, type=type_, privacy=privacy, unit=unit, doc=doc) for n in names.split())


VERSIONS = _columns(
    "string", "dimension",
    "model provider prompt_version retrieval_version policy_version release environment experiment_arm deployment_ring",
    doc="version that served the request",
)  # fmt: skip
COHORTS = _columns(
    "string", "dimension", "language region device plan channel use_case intent tenant", doc="cohort of the request"
)
OUTCOMES = _columns(
    "bool", "measure",
    "success correct grounded retrieval_hit resolved escalated refused fallback overridden deflected converted error",
    doc="null when the export cannot tell",
)  # fmt: skip
SCORES = _columns("float", "measure", "groundedness retrieval_score correctness confidence", unit="0-1")
LATENCIES = _columns(
    "int", "measure", "queue_us ttft_us retrieval_us rerank_us tool_us model_us guardrail_us total_us", unit="us"
)
TOKENS = _columns(
    "int", "measure", "input_tokens output_tokens cached_read_tokens cache_write_tokens reasoning_tokens",
    unit="tokens", doc="input includes cached tokens",
)  # fmt: skip
COSTS = _columns(
    "int", "measure", "inference_nusd retrieval_nusd orchestration_nusd tool_nusd review_nusd total_nusd", unit="nusd"
)
COUNTS = _columns("int", "measure", "llm_calls tool_calls tool_errors retrieved_docs turns retries", unit="count")

REQUESTS = Table(
    name="requests",
    key=("trace_id",),
    columns=(
        *_columns("string", "id", "trace_id session_id"),
        Column(name="user_key", type="string", privacy="id", doc="HMAC pseudonym of the user, never the id itself"),
        Column(name="started_at", type="time", privacy="time"),
        Column(name="day", type="date", privacy="time", doc="UTC day of started_at; partition of the lake"),
        *VERSIONS,
        *COHORTS,
        Column(name="attributes", type="string", privacy="dimension", doc="JSON object of allow-listed keys"),
        *OUTCOMES,
        Column(name="outcome_source", type="string", privacy="dimension", doc="human, user, code or judge"),
        *SCORES,
        Column(name="user_rating", type="float", privacy="measure", unit="0-1"),
        *LATENCIES,
        *TOKENS,
        *COSTS,
        Column(name="priced", type="bool", privacy="measure", doc="false: used tokens but no price is known"),
        Column(name="computed_nusd", type="int", privacy="measure", unit="nusd",
               doc="inference by the price table, also where a reported cost won"),
        Column(name="cost_source", type="string", privacy="dimension",
               doc="total: reported, computed (price table, unit costs) or mixed"),
        Column(name="unpriced_model", type="string", privacy="dimension",
               doc="models without a price that used tokens, joined by a comma"),
        *COUNTS,
        Column(name="incident_count", type="int", privacy="measure", unit="count"),
        Column(name="worst_severity", type="string", privacy="dimension", doc="one of SEVERITIES, null if none"),
        Column(name="error_type", type="string", privacy="dimension"),
        *_columns("string", "content", "input_text output_text", doc="redacted"),
    ),
)  # fmt: skip

SPANS = Table(
    name="spans",
    key=("trace_id", "span_id"),
    columns=(
        *_columns("string", "id", "trace_id span_id parent_id"),
        *_columns("string", "dimension", "name kind", doc="kind: one of SPAN_KINDS, or WHOLE"),
        Column(name="started_at", type="time", privacy="time"),
        Column(name="duration_us", type="int", privacy="measure", unit="us"),
        Column(name="status", type="string", privacy="dimension", doc="ok, error or running"),
        Column(name="error_type", type="string", privacy="dimension"),
        Column(name="status_message", type="string", privacy="content"),
        *_columns("string", "dimension", "model provider"),
        *TOKENS,
        Column(name="cost_nusd", type="int", privacy="measure", unit="nusd", doc="as reported by the source"),
        *_columns("int", "measure", "ttft_us queue_us", unit="us"),
        *_columns("string", "content", "input_text output_text", doc="redacted"),
        Column(name="attributes", type="string", privacy="dimension", doc="JSON object of allow-listed keys"),
        Column(name="context", type="string", privacy="dimension",
               doc="JSON object of request-level facts this span carries: canonical request columns and x_ columns"),
    ),
)  # fmt: skip

DOCUMENTS = Table(
    name="documents",
    key=("trace_id", "span_id", "rank"),
    columns=(
        *_columns("string", "id", "trace_id span_id"),
        Column(name="rank", type="int", privacy="measure", doc="1-based"),
        Column(name="document_id", type="string", privacy="id"),
        Column(name="score", type="float", privacy="measure"),
        Column(name="content", type="string", privacy="content", doc="redacted"),
        Column(name="used", type="bool", privacy="measure"),
    ),
)

TOOL_CALLS = Table(
    name="tool_calls",
    key=("trace_id", "span_id", "call_id"),
    columns=(
        *_columns("string", "id", "trace_id span_id call_id"),
        Column(name="name", type="string", privacy="dimension"),
        *_columns("string", "content", "arguments result", doc="redacted"),
        Column(name="error_type", type="string", privacy="dimension"),
        Column(name="started_at", type="time", privacy="time"),
        Column(name="duration_us", type="int", privacy="measure", unit="us"),
    ),
)

SCORE_ROWS = Table(
    name="scores",
    key=("score_id",),
    columns=(
        *_columns("string", "id", "score_id trace_id span_id"),
        Column(name="name", type="string", privacy="dimension"),
        Column(name="value", type="float", privacy="measure"),
        Column(name="label", type="string", privacy="dimension"),
        Column(name="source", type="string", privacy="dimension", doc="human, user, code or judge"),
        Column(name="explanation", type="string", privacy="content"),
        Column(name="at", type="time", privacy="time"),
    ),
)

INCIDENTS = Table(
    name="incidents",
    key=("incident_id",),
    columns=(
        *_columns("string", "id", "incident_id trace_id"),
        Column(name="at", type="time", privacy="time"),
        *_columns("string", "dimension", "category severity detector state"),
    ),
)

EVENTS = Table(
    name="events",
    key=("event_id",),
    columns=(
        Column(name="event_id", type="string", privacy="id"),
        Column(name="at", type="time", privacy="time"),
        *_columns("string", "dimension", "kind name version description"),
    ),
)

GOLDEN_RESULTS = Table(
    name="golden_results",
    key=("run_id", "case_id"),
    columns=(
        *_columns("string", "id", "run_id case_id"),
        Column(name="at", type="time", privacy="time"),
        Column(name="version", type="string", privacy="dimension"),
        Column(name="passed", type="bool", privacy="measure"),
        Column(name="detail", type="string", privacy="content"),
    ),
)

TABLES: dict[str, Table] = {
    t.name: t
    for t in (REQUESTS, SPANS, DOCUMENTS, TOOL_CALLS, SCORE_ROWS, INCIDENTS, EVENTS, GOLDEN_RESULTS)
}  # fmt: skip


def is_extra(name: str) -> bool:
    """Whether a column of `requests` is one that an export brought along."""
    return name.startswith((EXTRA_PREFIX, MEASURE_PREFIX))


def extra_type(name: str) -> Type:
    """The type of such a column: a measure is a number, a cohort a text."""
    return "float" if name.startswith(MEASURE_PREFIX) else "string"


DIMENSIONS: tuple[str, ...] = tuple(c.name for c in (*VERSIONS, *COHORTS))


def dimension_column(name: str) -> str:
    """The physical column of a dimension as people call it: canonical names as they are, others with the prefix."""
    if name in REQUESTS.names or name.startswith(EXTRA_PREFIX):
        return name
    return EXTRA_PREFIX + name


def dimension_name(column: str) -> str:
    """Inverse of `dimension_column`: what people call a physical column.

    A cohort that an export calls like a canonical column (a table with its own `day`) or with the prefix keeps it.
    """
    name = column.removeprefix(EXTRA_PREFIX)
    return column if name in REQUESTS.names or name.startswith(EXTRA_PREFIX) else name
