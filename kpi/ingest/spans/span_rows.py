"""A decoded span -> rows of the canonical tables: spans, documents, tool calls, scores, incidents.

Everything a request will need later is put into the rows here, because requests are assembled from what is stored.
Users become pseudonyms and metadata passes the allow-list at once; texts are redacted column by column before a
table leaves (`redacted`). This room never looks at more than one span at a time.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson
import pyarrow as pa

from kpi import schema
from kpi.assembly.outcomes import source_of
from kpi.clock import length_us
from kpi.ingest.context import Context
from kpi.ingest.otlp import attributes as facts_of, conventions
from kpi.ingest.otlp.attribute_index import shape_of
from kpi.ingest.otlp.attributes import first, numbered, parse, text_of
from kpi.ingest.otlp.decode import Attributes, Span
from kpi.ingest.otlp.first_token import NO_FIRST_TOKEN, first_token
from kpi.ingest.otlp.messages import said
from kpi.ingest.otlp.unread import MODEL_CALLS
from kpi.ingest.otlp.usage import NO_USAGE, usage_of
from kpi.ingest.otlp.values import number
from kpi.ingest.spans.observations import Observations
from kpi.ingest.spans.step_rows import SHORT as SHORT, Row, documents, incidents, stable_id as stable_id, tool_call

_CACHE = 50_000
_ANNOTATED = ("name", "annotator_kind", "score", "label", "explanation", "identifier")
# Our words, or masked before.
_OWN = frozenset({"kind", "status", "source", "severity", "state", "attributes", "context"})
_MASKED = {
    name: [c.name for c in table.columns if c.type == "string" and c.privacy in ("content", "dimension")
           and c.name not in _OWN]
    for name, table in schema.TABLES.items()}  # fmt: skip
_IDS = {name: [c.name for c in table.columns if c.privacy == "id" and c.name != "user_key"]
        for name, table in schema.TABLES.items()}  # fmt: skip


def redacted(name: str, table: pa.Table, context: Context) -> pa.Table:
    """The table with every text and name passed through redaction; an id that holds an address is a pseudonym."""
    for columns, made in ((_MASKED[name], context.privacy.texts), (_IDS[name], context.privacy.identities)):
        for column in columns:
            if table[column].null_count < table.num_rows:
                at, field = table.column_names.index(column), table.schema.field(column)
                table = table.set_column(at, field, made(table[column]).cast(field.type))
    return table


class SpanRows:
    """Turns spans of one source into rows; keeps small caches of pseudonyms and resources, no rows.

    seen: what the receipt will say of many spans at once.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        privacy = context.privacy  # spans repeat few users, sessions and names
        self._user, self._session = lru_cache(_CACHE)(privacy.user), lru_cache(_CACHE)(privacy.identity)
        self._masked = lru_cache(_CACHE)(lambda name: privacy.text(name[:SHORT]))
        self.seen = Observations()
        self._known_metadata: dict[tuple[str, str], Any] = {}
        self._resource: Attributes | None = None
        self._resource_metadata: dict[str, Any] = {}
        self._resource_facts: dict[str, Any] = {}

    def rows(self, span: Span) -> Iterator[tuple[str, Row]]:
        """(table, row) for everything one span states; the span's own row comes first."""
        attributes = span.attributes
        kind = facts_of.kind_of(attributes)
        row = self._span_row(span, kind)
        yield "spans", row
        if kind in ("retriever", "reranker"):
            yield from (("documents", doc) for doc in documents(span, kind))
        elif kind == "tool":
            yield "tool_calls", tool_call(span, row)
        elif kind == "guardrail":
            yield from ((("incidents"), incident) for incident in incidents(span))
        if span.events or "scores" in shape_of(span.attributes).topics:
            yield from (("scores", score) for score in scores(span))

    def _span_row(self, span: Span, kind: str) -> Row:
        attributes = span.attributes
        status: str | None
        status, error_type = facts_of.status_of(span)
        if kind == schema.WHOLE and status != "error" and not span.status:
            status = None  # most exports say of the whole only when it began
        words = said(attributes, span.events)
        calls = kind in MODEL_CALLS
        model, provider = facts_of.model_of(attributes, calls=calls), facts_of.provider_of(attributes)
        usage, cost, first = NO_USAGE, None, NO_FIRST_TOKEN
        if span.events or shape_of(attributes).measured:
            usage = usage_of(span, calls=calls, provider=provider, model=model)
            cost, first = facts_of.cost_of(attributes, calls=calls), first_token(span, calls=calls)
            self.seen.read(span, kind, usage, cost, first)
        allowed, facts = self.facts(span, kind)
        if words.refused is not None:
            facts.setdefault("refused", words.refused)
        started = span.start // 1000 if span.start is not None else None
        ended = span.end is not None and span.start is not None and span.end >= span.start
        return {
            "trace_id": span.trace_id, "span_id": span.span_id, "parent_id": span.parent_id, "name": span.name or None,
            "kind": kind, "started_at": started,
            "duration_us": length_us((span.end - span.start) // 1000) if ended and span.end and span.start else None,
            "status": status, "error_type": error_type[:SHORT] if error_type else None,
            "status_message": _failure_message(span) if status == "error" else None, "model": model,
            "provider": provider, **usage.tokens, "cost_nusd": cost, "ttft_us": length_us(first.us),
            "queue_us": length_us(facts_of.queue_us(attributes)), "input_text": words.input,
            "output_text": words.output, "attributes": _json(allowed) if allowed else None,
            "context": _json(facts) if facts else None}  # fmt: skip

    def facts(self, span: Span, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """(allow-listed attributes, request-level facts as canonical columns) that one span carries."""
        if span.resource is not self._resource:  # spans of one batch share the object
            self._resource, self._resource_metadata = span.resource, _metadata(span.resource)
            self._resource_facts = self._place(span.resource)
        metadata = {**self._resource_metadata, **_metadata(span.attributes)}
        facts: dict[str, Any] = {}
        for name in [n for n in metadata if facts_of.stated_outcome(n)]:
            truth = facts_of.truth_of(metadata.pop(name))
            if truth is not None and (outcome := facts_of.stated_outcome(name)):
                facts[outcome] = truth
        allowed = self._allowed(metadata)
        for name, value in allowed.items():
            text = text_of(value)
            if text and len(text) <= SHORT:
                facts.setdefault(facts_of.cohort_column(name), text)
        self._named_facts(span, kind, facts)
        return allowed, facts

    def _allowed(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """The allow-listed part, masked. Spans repeat few values; where a key is kept out, each time is counted."""
        allowed: dict[str, Any] = {}
        for name, value in metadata.items():
            # Text alone: 1, 1.0 and True are one key of a dict but three values of an attribute.
            short = type(value) is str and len(value) <= SHORT
            if short and (known := self._known_metadata.get((name, value))) is not None:
                allowed[name] = known
            elif kept := self._context.privacy.attributes({name: value}):
                allowed |= kept
                if short:
                    if len(self._known_metadata) >= _CACHE:
                        self._known_metadata.clear()
                    self._known_metadata[name, value] = kept[name]
        return allowed

    def _named_facts(self, span: Span, kind: str, facts: dict[str, Any]) -> None:
        attributes = span.attributes
        topics = shape_of(attributes).topics
        if "who" in topics:
            if session := text_of(first(attributes, conventions.SESSION)):
                facts["session_id"] = self._session(session[:SHORT])
            if user := text_of(first(attributes, conventions.USER)):
                facts["user_key"] = self._user(user)
        facts |= self._resource_facts
        if "place" in topics:
            facts |= self._place(attributes)
        if "prompt" in topics and (value := text_of(first(attributes, conventions.PROMPT_VERSION))):
            facts["prompt_version"] = self._masked(value)
        for column, value in (span.own or {}).items():
            facts[column] = self._masked(value) if isinstance(value, str) else value
        if kind == "llm":
            if requested := facts_of.requested_model(attributes):
                facts["x_requested_model"] = self._masked(requested)
            if retries := facts_of.count_of(attributes.get("gen_ai.request.retries")):
                facts["retries"] = retries

    def _place(self, attributes: Attributes) -> dict[str, Any]:
        stated = (("release", conventions.RELEASE), ("environment", conventions.ENVIRONMENT))
        found = ((column, text_of(first(attributes, keys))) for column, keys in stated)
        return {column: self._masked(text) for column, text in found if text}


def _metadata(attributes: Attributes) -> dict[str, Any]:
    """Attributes outside every known vocabulary, scalars only, under the names the allow-list knows."""
    found: dict[str, Any] = {}
    for key, name in shape_of(attributes).metadata:
        value = attributes[key]
        if name is not None:
            if isinstance(value, str) and value[:1] == '"':
                value = text_of(value)
            if value is not None and not isinstance(value, (dict, list)):
                found[name] = value
        elif isinstance(parsed := parse(value), dict):
            for inner, member in parsed.items():
                if member is not None and not isinstance(member, (dict, list)):
                    found[f"metadata.{inner}"] = member
    return found


def _json(value: dict[str, Any]) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str).decode()


def _failure_message(span: Span) -> str | None:
    if span.message:
        return span.message
    stated = span.attributes.get("langfuse.observation.status_message")
    thrown = [e.attributes.get("exception.message") for e in span.events if e.name == "exception"]
    return text_of(stated or (thrown[-1] if thrown else None))


def scores(span: Span) -> Iterator[Row]:
    """Evaluations carried by a span: events, indexed annotations, or its own evaluation attributes."""
    for event in span.events:
        if event.name == "gen_ai.evaluation.result":
            yield from evaluation(event.attributes, span.trace_id, span.span_id, event.at)
    attributes = span.attributes
    if "gen_ai.evaluation.name" in attributes:
        yield from evaluation(attributes, span.trace_id, span.span_id, span.end or span.start)
    given: set[str] = set()
    for prefix, noun in conventions.ANNOTATIONS:
        if f"{prefix}.0.{noun}.name" not in attributes:
            continue
        for parts in numbered(attributes, f"{prefix}.", _ANNOTATED, f".{noun}."):
            if (name := parts.pop("name")) is None:
                break
            kind = parts.pop("annotator_kind")
            owner = None if prefix.startswith("trace.") else span.span_id
            # When it was given is not said. Two of one name and annotator stand beside each other, told apart by value.
            row = score_row(span.trace_id, owner, str(name), kind, None, once=True, **parts)
            if row["score_id"] in given:
                row = score_row(span.trace_id, owner, str(name), kind, None, **parts)
            given.add(row["score_id"])
            yield row


def evaluation(attributes: Attributes, trace_id: str, span_id: str | None, at: int | None) -> Iterator[Row]:
    """The score of one `gen_ai.evaluation.result`; nothing when it has no name."""
    if name := text_of(attributes.get("gen_ai.evaluation.name")):
        stated = first(attributes, ("gen_ai.evaluation.source", "gen_ai.evaluation.annotator_kind"))
        parts: Row = {
            "score": attributes.get("gen_ai.evaluation.score.value"),
            "label": attributes.get("gen_ai.evaluation.score.label"),
            "explanation": attributes.get("gen_ai.evaluation.explanation"),
        }
        yield score_row(trace_id, span_id, name, stated, at, **parts)


def score_row(
    trace_id: str | None, span_id: str | None, name: str, annotator: Any, at: int | None,
    *, score: Any = None, label: Any = None, explanation: Any = None, identifier: Any = None, once: bool = False,
) -> Row:  # fmt: skip
    """One canonical score. `at` is in nanoseconds; the id is a hash of the content, so a repeat is the same row.

    The trace is no part of it where the span is known: some exports of the same score leave the trace out. once: the id
    is of what the exporter knows the score by, so that a corrected one replaces the first.
    """
    told = number(score)  # a boolean is 0 or 1
    value = float(told) if isinstance(told, (int, float)) else None
    source = source_of(name, annotator)
    owner = (span_id,) if span_id else (trace_id, None)
    content = ("once", source, identifier or "") if once else (value, label, source, explanation, identifier, at)
    return {
        "score_id": stable_id(*owner, name, *content), "trace_id": trace_id, "span_id": span_id, "name": name[:SHORT],
        "value": value, "label": text_of(label), "source": source, "explanation": text_of(explanation),
        "at": at // 1000 if at is not None else None}  # fmt: skip
