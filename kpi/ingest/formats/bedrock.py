"""Amazon Bedrock model invocation logs: JSON lines as delivered to S3 or CloudWatch.

One record is one call and one request: the log knows no traces. Bodies are the providers' own, streams are lists of
chunks. Counts of input tokens leave cached ones out. How long a call took is known only where its body says so.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kpi.ingest.formats import Item, Say, facts_in, mapping, milliseconds, names_of, objects, span
from kpi.ingest.formats._bodies import answer, question

_DATA = names_of(__file__)
_POLICIES = _DATA.table["policies"]


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One call, and the guardrail that looked at it."""
    if record.get("schemaType") != "ModelInvocationLog":
        say.drop("not a model invocation", "Only records of the type ModelInvocationLog are read.")
        return
    say.left_out(record, _DATA.sets["record"])
    asked, got = mapping(record.get("input")), mapping(record.get("output"))
    say.left_out(asked, _DATA.sets["side"], "input")
    say.left_out(got, _DATA.sets["side"], "output")
    if asked.get("inputBodyS3Path") or got.get("outputBodyS3Path"):
        say.note("Bodies that are too large for the log lie in files of their own in S3: these texts are missing.")
    request_id, body = record.get("requestId"), got.get("outputBodyJson")
    yield _call(record, asked, got, say)
    if marks := _marks(body):
        yield _guardrail(marks, trace_id=request_id, span_id=f"{request_id}:guardrail", parent_id=request_id,
                         start=record.get("timestamp"))  # fmt: skip


def _call(record: Mapping[str, Any], asked: Mapping[str, Any], got: Mapping[str, Any], say: Say) -> Item:
    body = got.get("outputBodyJson")
    said = answer(body)
    model = str(record.get("modelId") or "").rpartition("/")[2]
    kind = "embedding" if "embed" in model else "reranker" if "rerank" in model else "llm"
    own = mapping(record.get("requestMetadata"))
    length, first = _latency(body)
    if length is None:
        say.note("These logs state a latency only where the body of the answer does: elsewhere it is unknown.")
    failed = record.get("errorCode")
    return span(
        record.get("requestId"), record.get("requestId"), name=record.get("operation"), kind=kind,
        start=record.get("timestamp"), seconds=length, ttft_seconds=first,
        streamed="Stream" in str(record.get("operation") or ""),
        status="error" if failed else "ok", error_type=failed, message=record.get("errorMessage"),
        model=model, requested_model=model, provider="aws.bedrock",
        input=question(asked.get("inputBodyJson")), output=said.output if kind == "llm" else None,
        finish_reason=said.finish if kind == "llm" else None,
        **facts_in(own, _DATA.facts["own"]),
        metadata={"cloud_region": record.get("inferenceRegion") or record.get("region"), **own},
        **_tokens(asked, got, said.tokens))  # fmt: skip


def _tokens(asked: Mapping[str, Any], got: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of the log, which leave cached tokens out; those of the body where the log has none."""
    found = {**facts_in(asked, _DATA.facts["input"]), "output_tokens": got.get("outputTokenCount")}
    return {
        **{name: body.get(name) if value is None else value for name, value in found.items()},
        "reasoning_tokens": body.get("reasoning_tokens"),
        "cache_included": found["input_tokens"] is None,
    }


def _latency(body: Any) -> tuple[float | None, float | None]:
    """(seconds of the call, seconds to its first token), where the body or its last chunk states them in ms."""
    for chunk in reversed(objects(body)):
        marks = mapping(chunk.get("amazon-bedrock-invocationMetrics"))
        metrics = mapping(chunk.get("metrics")) or mapping(mapping(chunk.get("metadata")).get("metrics"))
        length = milliseconds(marks.get("invocationLatency", metrics.get("latencyMs")))
        if length is not None:
            return length, milliseconds(marks.get("firstByteLatency", metrics.get("timeToFirstByteMs")))
    return None, None


def _marks(body: Any) -> list[dict[str, Any]]:
    """Chunks in which a guardrail says what it did."""
    names = ("amazon-bedrock-guardrailAction", "amazon-bedrock-trace", "trace")
    chunks = [chunk for outer in objects(body) for chunk in (outer, mapping(outer.get("metadata")))]
    return [c for c in chunks if any(c.get(n) for n in names) or c.get("stopReason") == "guardrail_intervened"]


def _guardrail(marks: list[dict[str, Any]], **ids: Any) -> Item:
    acted = any(str(m.get("amazon-bedrock-guardrailAction")).upper() == "INTERVENED"
                or m.get("stopReason") == "guardrail_intervened" for m in marks)  # fmt: skip
    traces = [mapping(mark.get(name)) for mark in marks for name in ("amazon-bedrock-trace", "trace")]
    found = [category for trace in traces for category in _blocked(mapping(trace.get("guardrail")))]
    verdict = {"action": "intervened" if acted or found else "none", "categories": found}
    return span(**ids, name="guardrail", kind="guardrail", status="ok", output=verdict)


def _blocked(assessment: Any, policy: str = "") -> list[str]:
    """Names of what was blocked or masked anywhere in an assessment, in its order."""
    if isinstance(assessment, list):
        return [name for item in assessment for name in _blocked(item, policy)]
    if not isinstance(assessment, dict):
        return []
    if str(assessment.get("action")).upper() in ("BLOCKED", "ANONYMIZED") and policy in _POLICIES:
        return [str(assessment.get(_POLICIES[policy]) or "word")]
    return [name for key, value in assessment.items() for name in _blocked(value, key)]
