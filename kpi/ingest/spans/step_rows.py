"""What retrievers, tools and guardrails add to the rows of their spans: documents, tool calls, incidents."""

import hashlib
from collections.abc import Iterator
from typing import Any

from kpi import schema
from kpi.ingest.otlp import conventions
from kpi.ingest.otlp.attributes import first, mapping, numbered, parse, text_of, truth_of
from kpi.ingest.otlp.decode import Span
from kpi.ingest.spans.builder import as_text

Row = dict[str, Any]
SHORT = 200  # longest dimension value kept; a longer one is no cohort
BLOCKED = frozenset({"deny", "block", "blocked", "guardrail_intervened", "true", "match_found", "intervened", "reject"})


def stable_id(*parts: object) -> str:
    """A content hash of 128 bit in hex: the same facts always make the same id."""
    return hashlib.blake2b("\x1f".join(map(str, parts)).encode("utf-8", "replace"), digest_size=16).hexdigest()


def documents(span: Span, kind: str) -> Iterator[Row]:
    """Documents of a retriever or reranker, ranked in the order given."""
    attributes = span.attributes
    listed = parse(first(attributes, ("gen_ai.retrieval.documents", "langfuse.observation.output")))
    listed = listed.get("documents") if isinstance(listed, dict) else listed
    if isinstance(listed, list):
        found = [d for d in listed if isinstance(d, dict)]
    else:
        prefix = "reranker.output_documents." if kind == "reranker" else "retrieval.documents."
        found = list(numbered(attributes, prefix, ("id", "score", "content"), ".document."))
    for rank, document in enumerate(found, start=1):
        content = next((document[n] for n in ("content", "text", "page_content") if document.get(n)), None)
        score = document.get("score")
        yield {
            "trace_id": span.trace_id, "span_id": span.span_id, "rank": rank,
            "document_id": text_of(document.get("id")),
            "score": float(score) if isinstance(score, (int, float)) and not isinstance(score, bool) else None,
            "content": content if isinstance(content, str) else None,
            "used": document.get("used") if isinstance(document.get("used"), bool) else None}  # fmt: skip


def tool_call(span: Span, row: Row) -> Row:
    """The executed call of a tool span; a span without a call id is its own id."""
    attributes = span.attributes
    arguments, result = first(attributes, conventions.TOOL_ARGUMENTS), first(attributes, conventions.TOOL_RESULT)
    return {
        "trace_id": span.trace_id, "span_id": span.span_id,
        "call_id": text_of(first(attributes, conventions.TOOL_CALL)) or span.span_id,
        "name": (text_of(first(attributes, conventions.TOOL_NAME)) or span.name)[:SHORT],
        "arguments": as_text(arguments) or row["input_text"], "result": as_text(result) or row["output_text"],
        "error_type": row["error_type"] or ("error" if row["status"] == "error" else None),
        "started_at": row["started_at"], "duration_us": row["duration_us"]}  # fmt: skip


def incidents(span: Span) -> Iterator[Row]:
    """At most one incident of a guardrail span: that it intervened or flagged. Severity only where it is stated."""
    attributes = span.attributes
    verdict = {
        str(value).lower(): name
        for name in ("verdict.type", "action.type", "result.value")
        if (value := attributes.get(f"gen_ai.guardrail.{name}")) is not None
    }
    output = mapping(first(attributes, ("output.value", "langfuse.observation.output", "gen_ai.output.messages")))
    flagged = any(truth_of(output.get(n)) is True for n in ("flagged", "violation", "detected"))
    blocked = bool(BLOCKED & verdict.keys()) or any(
        truth_of(output.get(name)) is bad
        for name, bad in (("blocked", True), ("passed", False), ("allowed", False), ("pass", False))
    )
    blocked = blocked or str(output.get("action", "")).lower() in BLOCKED
    if not (flagged or blocked):
        return
    names = ("gen_ai.guardrail.risk.category", "gen_ai.guardrail.security.risk.category")
    listed = output.get("categories")
    category = first(attributes, names) or (listed[0] if isinstance(listed, list) and listed else None)
    severity = str(attributes.get("gen_ai.guardrail.severity") or output.get("severity") or "").lower()
    detector = text_of(attributes.get("gen_ai.guardrail.component.name")) or span.name
    yield {
        "incident_id": stable_id("guardrail", span.trace_id, span.span_id), "trace_id": span.trace_id,
        "at": span.start // 1000 if span.start is not None else None,
        "category": text_of(category or output.get("category")) or "guardrail",
        "severity": severity if severity in schema.SEVERITIES else None, "detector": detector[:SHORT],
        "state": "blocked" if blocked else "flagged"}  # fmt: skip
