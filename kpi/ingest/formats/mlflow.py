"""MLflow traces of version 3 and 2: `Trace.to_json`, `search_traces`, answers of the REST API (3.17, 2.22).

Attributes of spans are JSON in strings. Ids are base64 or hex, and the trace's is `tr-` + hex. What the trace states of
itself (tokens, cost) is a sum over its spans, so it stands on the row of the whole. Chunks of streams, most of such a
file, are dropped; the first one's time is the time to first token.

The store's database is read into the same trace dicts, `{info, data: {spans}}`, and comes here as well.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from kpi.ingest.formats import Event, Item, Say, Score, attributes_of, identifier, names_of, nanos
from kpi.ingest.formats._replies import counts, documents, question, reply
from kpi.ingest.otlp.attributes import count_of, mapping, number, objects, parse
from kpi.ingest.spans.builder import facts_in, first_of, milliseconds, span, whole

_DATA = names_of(__file__)
_NOTES = _DATA.table["notes"]

_STATES = {"OK": "ok", "ERROR": "error", "STATUS_CODE_OK": "ok", "STATUS_CODE_ERROR": "error", "1": "ok", "2": "error"}
_COMPLETE = (False, 0)


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One trace: what is said of it, its spans, its assessments."""
    info, spans = _parts(record)
    # Traces that live in a table of a catalog are called `trace:/catalog.schema/<hex>`.
    stated = str(info.get("trace_id") or info.get("request_id") or "").rsplit("/", 1)[-1]
    if not (trace_id := identifier(stated, 16)):
        say.drop("trace without an id", "An MLflow trace has `trace_id` (version 2: `request_id`) in its info.")
        return
    say.left_out(record, _DATA.sets["outer"])
    if info is not record:
        say.left_out(info, _DATA.sets["info"], "info")
    metadata = dict(_pairs(info.get("trace_metadata") or info.get("request_metadata")))
    yield _whole(trace_id, info, metadata, alone=not spans)
    for raw in spans:
        say.left_out(raw, _DATA.sets["span"], "span")
        yield _span(trace_id, raw, say)
    for assessment in objects(info.get("assessments")):
        yield from _assessment(trace_id, assessment, say)
    _remember(trace_id, info, metadata, len(spans), say)


def finish(say: Say) -> Iterator[Item]:
    """Say what the traces lack and what was left out on purpose."""
    seen = [state for key, state in say.kept.items() if key[0] == "trace"]
    counted = {name: len(say.kept.get(("aside", name), ())) for name in _NOTES}
    counted["running"] = sum(running for running, _ in seen)
    counted["bare"] = sum(missing < 0 for _, missing in seen)
    counted["cut"] = sum(missing for _, missing in seen if missing > 0)
    for about, count in counted.items():
        if count:
            say.note(_NOTES[about].format(count))
    yield from ()


def _parts(record: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(info, spans) of a trace in any layout."""
    inner = mapping(record.get("trace"))  # a frame holds the whole trace as JSON; version 2 only its repr
    if "info" in inner:
        record = inner
    if "info" in record:
        data = mapping(record.get("data"))
        asked = {name: data.get(name) for name in ("request", "response")}  # version 2
        return {**asked, **mapping(record["info"])}, objects(data.get("spans"))
    if "trace_info" in record:
        return mapping(record["trace_info"]), objects(record.get("spans"))
    return record, objects(record.get("spans"))


def _whole(trace_id: str, info: dict[str, Any], metadata: dict[str, Any], *, alone: bool) -> Item:
    tags = dict(_pairs(info.get("tags")))
    # The store has columns for what traces elsewhere keep in their metadata.
    usage = mapping(metadata.get("mlflow.trace.tokenUsage")) or info
    cost = mapping(metadata.get("mlflow.trace.cost")) or info
    free = {k: v for k, v in {**metadata, **tags}.items() if not str(k).startswith("mlflow.")}
    # Previews are cut short: they speak only where no span does.
    asked = first_of(info, "request", "request_preview") or metadata.get("mlflow.traceInputs")
    told = first_of(info, "response", "response_preview") or metadata.get("mlflow.traceOutputs")
    return whole(
        trace_id, name=tags.get("mlflow.traceName") or info.get("trace_name"),
        start=first_of(info, "request_time", "timestamp_ms"), seconds=_seconds(info),
        status=_STATES.get(str(first_of(info, "state", "status")).upper()),
        input=question(_decoded(asked)) if alone else None, output=reply(_decoded(told)).output if alone else None,
        session=metadata.get("mlflow.trace.session") or info.get("session_id"), user=metadata.get("mlflow.trace.user"),
        release=free.get("release") or metadata.get("mlflow.source.git.commit") or metadata.get("mlflow.modelId"),
        prompt_version=_prompt(tags.get("mlflow.linkedPrompts") or metadata.get("mlflow.linkedPrompts")),
        metadata={k: v for k, v in free.items() if k != "release"}, **_stated(usage), cost_usd=_cost(cost))  # fmt: skip


def _span(trace_id: str, raw: dict[str, Any], say: Say) -> Item:
    attributes = _attributes(raw)
    kind = _DATA.kinds.get(str(_decoded(attributes.get("mlflow.spanType")) or "").upper(), "other")
    is_model = kind in ("llm", "embedding")
    asked, told = (_decoded(attributes.get(f"mlflow.span{side}")) for side in ("Inputs", "Outputs"))
    body = reply(told)
    usage = mapping(_decoded(attributes.get("mlflow.chat.tokenUsage")))
    name, named = raw.get("name"), mapping(asked).get("model")
    requested = _decoded(attributes.get("model")) or (named if isinstance(named, str) else None)
    return span(
        trace_id, raw.get("span_id") or mapping(raw.get("context")).get("span_id"),
        parent_id=raw.get("parent_span_id") or raw.get("parent_id"),
        name=name, kind=kind, start=first_of(raw, "start_time_unix_nano", "start_time"),
        end=first_of(raw, "end_time_unix_nano", "end_time"),
        **_ended(raw), input=question(asked), output=told if kind in ("guardrail", "evaluator") else body.output,
        finish_reason=body.finish, documents=documents(told) if kind in ("retriever", "reranker") else None,
        tool={"name": name, "arguments": asked, "result": told} if kind == "tool" else None,
        model=_decoded(attributes.get("mlflow.llm.model")) or body.model,
        requested_model=requested if is_model else None,
        provider=_decoded(attributes.get("mlflow.llm.provider")),
        **_tokens(usage, body.usage if is_model else None), attributes=_further(attributes, is_model, say),
        cost_usd=_cost(mapping(_decoded(attributes.get("mlflow.llm.cost")))))  # fmt: skip


def _further(attributes: Mapping[str, Any], is_model: bool, say: Say) -> dict[str, Any]:
    """Attributes that the application or another instrumentation set. Bare names on model spans are call parameters."""
    further = {key: value for key, value in attributes.items() if key not in _DATA.sets["attributes"]}
    found = {k: v for k, v in further.items() if not k.startswith("mlflow.") and ("." in k or not is_model)}
    say.left_out(further, found, "span.attributes")
    return {key if "." in key else f"metadata.{key}": _decoded(value) for key, value in found.items()}


def _ended(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Status, message, chunks of a stream and all other events: a failed model call may tell of it in one only."""
    status = mapping(raw.get("status"))
    code = str(status.get("code") or raw.get("status_code") or "").upper()
    events = [
        Event(str(e.get("name") or ""), nanos(first_of(e, "time_unix_nano", "timestamp")), _attributes(e))
        for e in objects(raw.get("events"))
    ]
    chunks = [e.at for e in events if e.name.startswith("mlflow.chunk.")]
    return {
        "status": _STATES.get(code), "message": status.get("message") or raw.get("status_message"),
        "events": [e for e in events if not e.name.startswith("mlflow.chunk.")], "streamed": True if chunks else None,
        "first_token": min((at for at in chunks if at is not None), default=None)}  # fmt: skip


def _attributes(record: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a span or an event: an object, or pairs as OTLP has them."""
    stated = record.get("attributes")
    return attributes_of(stated) if isinstance(stated, list) else mapping(stated)


def _stated(usage: Mapping[str, Any]) -> dict[str, Any]:
    """MLflow's own counts, of a span or of a trace. The input includes what was read from a cache."""
    return {fact: count_of(value) for fact, value in facts_in(usage, _DATA.facts["usage"]).items()}


def _tokens(usage: Mapping[str, Any], body: Mapping[str, Any] | None) -> dict[str, Any]:
    """The span's own counts, and what only the provider's body tells (reasoning)."""
    inside = counts(body)
    if not usage:
        return inside
    found = _stated(usage)
    # Where the provider's own count stands unchanged, and leaves the cache out (Anthropic), so does the span's.
    if body and found["input_tokens"] is not None and found["input_tokens"] == count_of(body.get("input_tokens")):
        found["input_tokens"] = inside["input_tokens"]
    return {**inside, **{name: value for name, value in found.items() if value is not None}}


def _cost(cost: Mapping[str, Any]) -> Any:
    if cost.get("total_cost") is not None:
        return cost["total_cost"]
    parts = [p for p in (cost.get("input_cost"), cost.get("output_cost")) if isinstance(p, (int, float))]
    return sum(parts) if len(parts) == 2 else None


def _assessment(trace_id: str, raw: dict[str, Any], say: Say) -> Iterator[Item]:
    value = mapping(raw.get("feedback")).get("value")
    why = (
        "superseded" if raw.get("valid") is False
        else "expected" if raw.get("expectation") is not None
        else "failed" if value is None
        else "structured" if isinstance(value, (list, dict))
        else None)  # fmt: skip
    if why:
        say.kept.setdefault(("aside", why), set()).add(str(raw.get("assessment_id") or (trace_id, raw)))
        return
    say.left_out(raw, _DATA.sets["assessment"], "assessment")
    is_text = isinstance(value, str)
    yield Score(
        trace_id, identifier(raw.get("span_id"), 8), str(raw.get("assessment_name") or raw.get("name") or ""),
        annotator=mapping(raw.get("source")).get("source_type"), value=None if is_text else value,
        label=value if is_text else None, explanation=raw.get("rationale"), identifier=raw.get("assessment_id"),
        at=nanos(first_of(raw, "last_update_time", "create_time")))  # fmt: skip


def _remember(trace_id: str, info: dict[str, Any], metadata: dict[str, Any], spans: int, say: Say) -> None:
    """Whether the trace is still running and how many spans it lacks (-1: all); the best of several exports counts."""
    told = count_of(mapping(metadata.get("mlflow.trace.sizeStats")).get("num_spans"))
    running = str(first_of(info, "state", "status")).upper() == "IN_PROGRESS"
    missing = -1 if not spans else max(0, (told or 0) - spans)
    key = ("trace", hash(trace_id))
    if (before := say.kept.get(key)) is not None:
        running = running and before[0]
        missing = max(missing, before[1]) if missing < 0 or before[1] < 0 else min(missing, before[1])
    say.kept[key] = (running, missing) if running or missing else _COMPLETE


def _prompt(linked: Any) -> str | None:
    """`[{name, version}]`: the version of the one prompt, or all of them by name."""
    found = [p for p in objects(linked) if p.get("version") is not None]
    if len(found) == 1:
        return str(found[0]["version"])
    return ", ".join(sorted(f"{p.get('name')}/{p['version']}" for p in found)) or None


def _seconds(info: Mapping[str, Any]) -> float | None:
    """Length of the trace: milliseconds, but the REST API writes `0.334s`."""
    stated = first_of(info, "execution_duration_ms", "execution_time_ms", "execution_duration")
    return number(stated[:-1]) if isinstance(stated, str) and stated.endswith("s") else milliseconds(stated)


def _decoded(value: Any) -> Any:
    """An attribute's value: JSON in a string, of numbers and plain text too."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Entries of a map that came as one, as JSON text, or as a list of `{key, value}` (REST API of version 2)."""
    value = parse(value)
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from ((str(v["key"]), v.get("value")) for v in value if isinstance(v, dict) and "key" in v)
