"""Datadog LLM Observability: spans of the export API, spans and evaluations as SDKs send them.

Times and durations are nanoseconds by the documentation, whose own example starts in milliseconds: starts are read by
their magnitude. Estimated costs are nano-dollars. Span ids are decimal, and the parent of a root is "undefined".
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kpi.ingest.formats import Item, Say, Score, as_text, facts_in, first_of, identifier, names_of, nanos, span, verdict
from kpi.ingest.otlp.attributes import count_of, mapping, objects

_DATA = names_of(__file__)


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """A span, bare or wrapped by the API, or an evaluation."""
    attributes = mapping(record.get("attributes"))
    if "metric_type" in record:
        yield from _evaluation(record, say)
    elif "start_ns" in record:
        yield from _span(record, say)
    elif "start_ns" in attributes:
        yield from _span(attributes, say)
    else:
        say.drop("neither a span nor an evaluation of LLM Observability", "Export spans of LLM Observability.")


def _span(record: Mapping[str, Any], say: Say) -> Iterator[Item]:
    meta, metrics = mapping(record.get("meta")), mapping(record.get("metrics"))
    say.left_out(record, _DATA.sets["span"])
    say.left_out(meta, _DATA.sets["meta"], "meta")
    say.left_out(metrics, _DATA.sets["metrics"], "metrics")
    tags = _tags(record.get("tags"))
    kind = _DATA.kinds.get(str(record.get("span_kind") or meta.get("kind") or meta.get("span.kind")
                          or mapping(meta.get("span")).get("kind") or "").lower(), "other")  # fmt: skip
    error = mapping(record.get("error")) or mapping(meta.get("error"))
    asked, got = mapping(record.get("input") or meta.get("input")), mapping(record.get("output") or meta.get("output"))
    failed, length = record.get("status") == "error", count_of(record.get("duration"))
    yield span(
        record.get("trace_id"), record.get("span_id"), parent_id=record.get("parent_id"), name=record.get("name"),
        kind=kind, start=record.get("start_ns"), seconds=None if length is None else length / 1e9,
        status="error" if failed else "ok",
        error_type=error.get("type") or meta.get("error.type") or tags.get("error_type") if failed else None,
        message=error.get("message") or meta.get("error.message") if failed else None,
        model=record.get("model_name") or meta.get("model_name"),
        provider=record.get("model_provider") or meta.get("model_provider"),
        input=_said(asked), output=_said(got, "assistant"),
        documents=[{"id": d.get("id") or d.get("name"), "score": d.get("score"), "content": d.get("text")}
                   for d in objects(got.get("documents"))] if kind == "retriever" else None,
        tool={"name": record.get("name"), "arguments": asked.get("value"), "result": got.get("value")}
        if kind == "tool" else None,
        session=record.get("session_id") or tags.get("session_id"), user=tags.get("user_id"),
        release=tags.get("version"), environment=tags.get("env"),
        metadata={**_cohorts(tags), **mapping(record.get("metadata") or meta.get("metadata"))},
        **facts_in(metrics, _DATA.facts["metrics"]), cost_usd=_cost(metrics))  # fmt: skip
    # Evaluations that the export repeats on their span.
    for label, result in mapping(record.get("evaluation")).items():
        told = mapping(result)
        yield Score(
            identifier(record.get("trace_id"), 16), identifier(record.get("span_id"), 8), str(label),
            **_judged(told.get("value"), told.get("assessment")), explanation=as_text(told.get("reasoning")),
        )  # fmt: skip


def _said(side: Mapping[str, Any], role: str = "") -> Any:
    """Messages where there are any, else the plain value."""
    messages = objects(side.get("messages"))
    if messages and role:
        return {"choices": [{"message": {"role": role, **m}} for m in messages]}
    return messages or side.get("value")


def _cost(metrics: Mapping[str, Any]) -> float | None:
    """USD. The total where it is stated; input and output hold their own parts (cached, reasoning)."""
    stated = [metrics.get("estimated_total_cost")]
    if stated[0] is None:
        stated = [metrics.get("estimated_input_cost"), metrics.get("estimated_output_cost")]
    known = [float(cost) for cost in stated if isinstance(cost, (int, float)) and cost >= 0]
    return sum(known) / 1e9 if len(known) == len(stated) else None


def _tags(value: Any) -> dict[str, str]:
    """`key:value` tags; of a key that is repeated, the first."""
    found: dict[str, str] = {}
    for tag in value if isinstance(value, list) else ():
        key, _, text = tag.partition(":") if isinstance(tag, str) else ("", "", "")
        if key and text:
            found.setdefault(key.strip(), text.strip())
    return found


def _cohorts(tags: Mapping[str, str]) -> dict[str, str]:
    consumed = _DATA.sets["technical"] | {"env", "version", "session_id", "user_id"}
    return {
        key: value for key, value in tags.items()
        if key not in consumed and not (key == "language" and value.lower() in _DATA.sets["code"])}  # fmt: skip


def _judged(value: Any, assessment: Any) -> dict[str, Any]:
    """assessment: what Datadog makes of the value."""
    found = verdict(value)
    return found if found["value"] is not None or not assessment else {**found, "label": assessment}


def _evaluation(record: Mapping[str, Any], say: Say) -> Iterator[Item]:
    say.left_out(record, _DATA.sets["evaluation"], "evaluation")
    joined = mapping(mapping(record.get("join_on")).get("span")) or record
    if (span_id := identifier(joined.get("span_id"), 8)) is None:
        say.drop("evaluation that names no span", "Join evaluations on span ids: tags are not looked up.")
        return
    value = first_of(record, "score_value", "categorical_value", "boolean_value")
    yield Score(
        identifier(joined.get("trace_id"), 16), span_id, str(record.get("label") or ""),
        annotator=_tags(record.get("tags")).get("annotator_kind"), **_judged(value, record.get("assessment")),
        explanation=record.get("reasoning"), at=nanos(record.get("timestamp_ms")))  # fmt: skip
