"""Traces of the world as OTLP documents, in two vocabularies: GenAI semantic conventions (2026) and OpenInference.

Works on canonical rows (dicts) of a few hundred traces; writes nothing. Texts get synthetic identifiers back in place
of the redaction marks, so that a load shows redaction at work.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

Row = dict[str, Any]
COHORT_FACTS = (
    "prompt_version", "retrieval_version", "policy_version", "experiment_arm", "deployment_ring", "language", "region",
    "device", "plan", "channel", "use_case", "intent", "tenant",
)  # fmt: skip
STATED_FACTS = ("refused", "fallback", "escalated", "resolved", "deflected", "overridden", "converted")
OPERATIONS = {
    "agent": "invoke_agent", "llm": "chat", "retriever": "retrieval", "embedding": "embeddings", "tool": "execute_tool",
    "guardrail": "apply_guardrail",
}  # fmt: skip
TRACES_PER_BATCH = 25


def spoken(text: str | None, number: int) -> str | None:
    """The text with a synthetic phone number and e-mail address in place of the marks of redaction."""
    if text is None:
        return None
    phone, mail = f"+1 202-555-01{number % 100:02d}", f"customer{number % 1000}@example.com"
    return text.replace("[PHONE]", phone).replace("[EMAIL]", mail)


def user_id(user_key: str) -> str:
    """The customer's id as the application knows it, before it becomes a pseudonym."""
    return f"customer-{user_key[:12]}"


class Trace:
    """One request with everything that belongs to it; rows are canonical."""

    def __init__(self, request: Row, spans: list[Row], related: dict[str, list[Row]], number: int) -> None:
        self.request, self.spans, self.number = request, spans, number
        self.scores, self.incidents = related["scores"], related["incidents"]
        self.documents: dict[str, list[Row]] = defaultdict(list)
        for row in related["documents"]:
            self.documents[row["span_id"]].append(row)
        self.calls = {row["span_id"]: row for row in related["tool_calls"]}
        guards = [s["span_id"] for s in spans if s["kind"] == "guardrail"]
        self.alarm = guards[-1] if guards and self.incidents else None

    def text(self, value: str | None) -> str | None:
        return spoken(value, self.number)


def genai(trace: Trace, span: Row) -> Row:
    """Attributes of one span by the GenAI semantic conventions."""
    kind = span["kind"]
    found: Row = {"gen_ai.operation.name": OPERATIONS.get(kind), "error.type": span["error_type"]}
    if kind in ("reranker", "evaluator"):  # the conventions have no operation for these yet
        found["openinference.span.kind"] = kind.upper()
    if kind == "agent":
        found |= {
            "gen_ai.agent.name": "support-agent", "gen_ai.request.model": trace.request["model"],
            "gen_ai.provider.name": trace.request["provider"],
        } | _facts(trace, "gen_ai.conversation.id")  # fmt: skip
        found |= _vllm_queue(span)
    if kind in ("llm", "embedding"):
        found |= {
            "gen_ai.provider.name": span["provider"], "gen_ai.request.model": span["model"],
            "gen_ai.response.model": span["model"] if span["status"] == "ok" else None,
            "gen_ai.usage.input_tokens": span["input_tokens"], "gen_ai.usage.output_tokens": span["output_tokens"],
            "gen_ai.usage.cache_read.input_tokens": span["cached_read_tokens"],
            "gen_ai.usage.cache_write.input_tokens": span["cache_write_tokens"],
            "gen_ai.usage.reasoning.output_tokens": span["reasoning_tokens"],
            "gen_ai.response.time_to_first_chunk": _seconds(span["ttft_us"]),
        }  # fmt: skip
    found["gen_ai.usage.cost"] = _usd(span["cost_nusd"])
    if kind in ("llm", "agent"):
        found["gen_ai.input.messages"] = _messages("user", trace.text(span["input_text"]))
        found["gen_ai.output.messages"] = _messages("assistant", trace.text(span["output_text"]))
    if kind == "retriever":
        listed = [{"id": d["document_id"], "score": d["score"], "content": d["content"], "used": d["used"]}
                  for d in trace.documents[span["span_id"]]]  # fmt: skip
        found["gen_ai.retrieval.documents"] = orjson.dumps(listed).decode()
        found["gen_ai.retrieval.query.text"] = trace.text(span["input_text"])
    if kind == "tool":
        call = trace.calls[span["span_id"]]
        found |= {
            "gen_ai.tool.name": call["name"], "gen_ai.tool.call.id": call["call_id"], "gen_ai.tool.type": "function",
            "gen_ai.tool.call.arguments": call["arguments"], "gen_ai.tool.call.result": call["result"],
        }  # fmt: skip
    return found | _alarm(trace, span)


def openinference(trace: Trace, span: Row) -> Row:
    """Attributes of one span by OpenInference; verdicts ride on the root as trace annotations."""
    kind = span["kind"]
    found: Row = {"openinference.span.kind": kind.upper(), "error.type": span["error_type"]}
    if kind == "agent":
        found |= {"llm.model_name": trace.request["model"], "llm.provider": trace.request["provider"]}
        found |= _facts(trace, "session.id") | _annotations(trace.scores) | _vllm_queue(span)
    if kind == "llm":
        found |= {
            "llm.model_name": span["model"], "llm.provider": span["provider"],
            "llm.token_count.prompt": span["input_tokens"], "llm.token_count.completion": span["output_tokens"],
            "llm.token_count.prompt_details.cache_read": span["cached_read_tokens"],
            "llm.token_count.prompt_details.cache_write": span["cache_write_tokens"],
            "llm.token_count.completion_details.reasoning": span["reasoning_tokens"],
        }  # fmt: skip
    if kind == "embedding":
        found |= {"embedding.model_name": span["model"], "llm.token_count.prompt": span["input_tokens"]}
    found["llm.cost.total"] = _usd(span["cost_nusd"])
    found |= {"input.value": trace.text(span["input_text"]), "output.value": trace.text(span["output_text"])}
    for index, row in enumerate(trace.documents[span["span_id"]] if kind == "retriever" else ()):
        base = f"retrieval.documents.{index}.document."
        found |= {base + "id": row["document_id"], base + "score": row["score"], base + "content": row["content"]}
    if kind == "tool":
        call = trace.calls[span["span_id"]]
        found |= {"tool.name": call["name"], "tool.id": call["call_id"], "tool.parameters": call["arguments"],
                  "output.value": call["result"]}  # fmt: skip
    return found | _alarm(trace, span)


def traces_data(traces: Iterable[Trace], vocabulary: Callable[[Trace, Row], Row]) -> Iterator[Row]:
    """`TracesData` documents (OTLP JSON mapping) of at most 25 traces, children before parents as exporters write."""
    by_release: dict[str, list[Trace]] = defaultdict(list)
    for trace in traces:
        by_release[trace.request["release"]].append(trace)
    for release, listed in by_release.items():
        for first in range(0, len(listed), TRACES_PER_BATCH):
            rows = [(t, s) for t in listed[first : first + TRACES_PER_BATCH] for s in t.spans]
            rows.sort(key=lambda pair: pair[1]["started_at"] + pair[1]["duration_us"])
            spans = [_span(t, s, vocabulary) for t, s in rows]
            scope = {"scope": {"name": "support-assistant", "version": release}, "spans": spans}
            yield {"resourceSpans": [{"resource": _resource(release), "scopeSpans": [scope]}]}


def logs_data(traces: Iterable[Trace]) -> Row:
    """One `LogsData` document with every evaluation result as a `gen_ai.evaluation.result` record."""
    records = [
        {
            "timeUnixNano": str(score["at"] * 1000), "traceId": score["trace_id"], "spanId": score["span_id"],
            "eventName": "gen_ai.evaluation.result",
            "attributes": _attributes({
                "gen_ai.evaluation.name": score["name"], "gen_ai.evaluation.score.value": score["value"],
                "gen_ai.evaluation.score.label": score["label"], "gen_ai.evaluation.source": score["source"],
            }),
        }
        for trace in traces
        for score in trace.scores
    ]  # fmt: skip
    scope = {"scope": {"name": "support-assistant"}, "logRecords": records}
    return {"resourceLogs": [{"resource": _resource(None), "scopeLogs": [scope]}]}


def with_base64_ids(document: Row) -> Row:
    """The same `TracesData` with ids as the protobuf JSON mapping of bytes wants them."""
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    return document


def _span(trace: Trace, span: Row, vocabulary: Callable[[Trace, Row], Row]) -> Row:
    start = span["started_at"] * 1000
    row: Row = {
        "traceId": span["trace_id"], "spanId": span["span_id"], "name": span["name"],
        "kind": 3 if span["kind"] in ("llm", "embedding") else 1, "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + span["duration_us"] * 1000), "attributes": _attributes(vocabulary(trace, span)),
        "status": {"code": 2, "message": span["status_message"] or ""} if span["status"] == "error" else {},
    }  # fmt: skip
    if span["parent_id"]:
        row["parentSpanId"] = span["parent_id"]
    if vocabulary is openinference and span["ttft_us"]:
        row["events"] = [{"name": "First Token Stream Event", "timeUnixNano": str(start + span["ttft_us"] * 1000)}]
    return row


def _facts(trace: Trace, session: str) -> Row:
    request = trace.request
    found: Row = {session: request["session_id"], "user.id": user_id(request["user_key"])}
    return found | {f"app.{name}": request[name] for name in (*COHORT_FACTS, *STATED_FACTS)}


def _vllm_queue(span: Row) -> Row:
    return {"gen_ai.latency.time_in_queue": _seconds(span["queue_us"])}


def _alarm(trace: Trace, span: Row) -> Row:
    if span["span_id"] != trace.alarm:
        return {}
    incident = trace.incidents[0]
    return {
        "gen_ai.guardrail.verdict.type": "deny", "gen_ai.guardrail.risk.category": incident["category"],
        "gen_ai.guardrail.severity": incident["severity"], "gen_ai.guardrail.component.name": incident["detector"],
    }  # fmt: skip


def _annotations(scores: list[Row]) -> Row:
    kinds = {"judge": "LLM", "human": "HUMAN", "code": "CODE", "user": "user"}
    found: Row = {}
    for index, score in enumerate(scores):
        base = f"trace.annotations.{index}.annotation."
        found |= {base + "name": score["name"], base + "score": score["value"], base + "label": score["label"],
                  base + "annotator_kind": kinds[score["source"]]}  # fmt: skip
    return found


def _messages(role: str, text: str | None) -> str | None:
    if text is None:
        return None
    return orjson.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}]).decode()


def _resource(release: str | None) -> Row:
    return {"attributes": _attributes({
        "service.name": "support-assistant", "service.version": release, "deployment.environment.name": "production",
    })}  # fmt: skip


def _attributes(values: Row) -> list[Row]:
    """OTLP attribute list; what is unknown is left out."""
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value is not None]


def _value(value: Any) -> Row:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / 1e6


def _usd(nusd: int | None) -> float | None:
    return None if nusd is None else nusd / 1e9
