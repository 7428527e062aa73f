"""Helicone: requests as JSON, JSON lines or CSV, as its exporter and its API give them.

One record is one call through the gateway. The calls of a session are one request; their paths (`/plan/search`) become
the steps of its tree. Delays are in milliseconds, costs in USD. Bodies may lie outside the export.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kpi.ingest.formats import Incident, Item, Say, Score, Span, facts_in, first_of, milliseconds, names_of, nanos, span
from kpi.ingest.formats._bodies import answer, moderation, question
from kpi.ingest.formats._gateways import UNPRICED, endpoint, kind_of_path
from kpi.ingest.otlp.attributes import count_of, mapping, nusd, truth_of

_DATA = names_of(__file__)

# Codes that the gateway makes up where no provider answered.
_OWN_STATUS = {-1: "timeout", -3: "cancelled", -4: "threat"}
_PENDING, _THREAT = -2, -4
_NO_CACHE = "00000000-0000-0000-0000-000000000000"


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One call, with its feedback and scores."""
    say.left_out(record, _DATA.sets["fields"])
    properties = mapping(record.get("request_properties")) or mapping(record.get("properties"))
    session = properties.get("Helicone-Session-Id")
    trace_id, span_id = session or record.get("request_id"), record.get("request_id")
    path = str(properties.get("Helicone-Session-Path") or "").strip("/") if session else ""
    ids = {"trace_id": trace_id, "span_id": span_id, "parent_id": _step_id(path) if path else None}
    call = _call(record, properties, say, session=session, **ids)
    yield call
    if path:
        _remember(say, call, path)
    yield from _scores(record, call.trace_id, call.span_id)


def finish(say: Say) -> Iterator[Item]:
    """The steps that session paths name: each lasts from its first call to its last and ends as that one did."""
    for (trace_id, path), (begun, ended, status) in say.kept.items():
        parent, _, name = path.rpartition("/")
        yield span(
            trace_id, _step_id(path), parent_id=_step_id(parent) if parent else None, name=name, kind="chain",
            start=begun, end=ended, status={1: "ok", 2: "error"}.get(status))  # fmt: skip


def _step_id(path: str) -> str:
    return f"path:/{path}"


def _remember(say: Say, call: Span, path: str) -> None:
    if call.start is None:
        return
    last = (call.end or call.start, call.status)
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        key = (call.trace_id, "/".join(parts[:depth]))
        begun, ended, status = say.kept.get(key, (call.start, *last))
        say.kept[key] = (min(begun, call.start), *max((ended, status), last))


def _call(record: Mapping[str, Any], properties: Mapping[str, Any], say: Say, **ids: Any) -> Span:
    body, said = mapping(record.get("request_body")), answer(record.get("response_body"))
    if record.get("signed_body_url") and not body:
        say.note("Bodies of requests lie in Helicone's storage, not in the export: these have no texts.")
    kind = _kind(record, body)
    code = _code(record.get("response_status"))
    pending = code == _PENDING
    delay = milliseconds(record.get("delay_ms"))
    used = _tokens(record, said.tokens)
    own = {k: v for k, v in properties.items() if not k.lower().startswith("helicone-")}
    result = mapping(record.get("response_body"))
    tool = {"name": body.get("toolName"), "arguments": body.get("input"), "result": result} if kind == "tool" else None
    return span(
        **ids, name=body.get("toolName") or endpoint(record.get("request_path")) or kind, kind=kind,
        seconds=delay, end=record.get("response_created_at") if delay is None and not pending else None,
        ttft_seconds=milliseconds(record.get("time_to_first_token")), streamed=truth_of(body.get("stream")),
        **_status(code, result), **facts_in(record, _DATA.facts["call"]),
        input=question(body) or body.get("text"), tool=tool,
        output=said.output if kind == "llm" else moderation(result) if kind == "guardrail" else None,
        finish_reason=said.finish if kind == "llm" else None,
        metadata={"country_code": record.get("country_code"), **own},
        **(used if kind != "tool" else {}), cost_usd=_cost(record, used, say))  # fmt: skip


def _kind(record: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    logged = {"tool": "tool", "vector_db": "retriever"}.get(str(body.get("_type") or ""))
    return logged or kind_of_path(record.get("request_path"))


def _code(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _status(code: int | None, result: Mapping[str, Any]) -> dict[str, Any]:
    if code is None or code == _PENDING:
        return {}
    if code in _OWN_STATUS:
        return {"status": "error", "error_type": _OWN_STATUS[code]}
    if code < 400:
        return {"status": "ok"}
    error = mapping(result.get("error"))
    named = error.get("code") or error.get("type")
    return {"status": "error", "error_type": str(named or code), "message": error.get("message")}


def _tokens(record: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Columns first; the details that they lack are in the provider's body. The input includes cached tokens."""
    stated = facts_in(record, _DATA.facts["tokens"])
    if stated["input_tokens"] is None and stated["output_tokens"] is None:
        return {}
    return {name: body.get(name) if value is None else value for name, value in stated.items()}


def _cost(record: Mapping[str, Any], used: Mapping[str, Any], say: Say) -> Any:
    stated = first_of(record, "costUSD", "cost", "cost_usd")
    cached = record.get("cache_reference_id") not in (None, "", _NO_CACHE)
    if nusd(stated) == 0 and not cached and any(count_of(v) for v in used.values()):
        say.note(UNPRICED.format(_DATA.title))
        return None
    return stated


def _scores(record: Mapping[str, Any], trace_id: str, span_id: str) -> Iterator[Item]:
    if (rating := truth_of(record.get("feedback_rating"))) is not None:
        yield Score(
            trace_id, span_id, "user_feedback", annotator="user", value=rating,
            at=nanos(record.get("feedback_created_at")))  # fmt: skip
    for name, stated in mapping(record.get("scores")).items():
        detail = mapping(stated)
        value = detail.get("value") if detail else stated
        kind = str(detail.get("valueType") or "")
        boolean = kind == "boolean" or str(name).endswith("-hcone-bool")
        if value is not None:
            yield Score(
                trace_id, span_id, str(name).removesuffix("-hcone-bool"),
                value=truth_of(value) if boolean else value,
                label=value if isinstance(value, str) and _code(value) is None else None)  # fmt: skip
    if _code(record.get("response_status")) == _THREAT:
        yield Incident(trace_id, span_id, "threat", detector="helicone", state="blocked",
                       at=nanos(record.get("request_created_at")))  # fmt: skip
