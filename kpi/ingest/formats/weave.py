"""W&B Weave calls: JSON, JSON lines, and CSV whose columns are paths (`summary.weave.latency_ms`).

A call's `summary.usage` counts every call below it as well. So tokens and cost are taken from model calls, and of the
root they say something of the whole trace only. `wb_user_id` is who ran the program, not who used it.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from kpi.ingest.formats import Item, Say, Score, identifier, mapping, names_of, nanos, nusd, objects
from kpi.ingest.formats._bodies import moderation
from kpi.ingest.formats._replies import counts, documents, question, reply
from kpi.ingest.spans.builder import added, as_text, milliseconds, nested, span, verdict, whole

_DATA = names_of(__file__)

_MODEL_CALL = re.compile("".join(_DATA.table["model_call"]), re.IGNORECASE)
_THUMBS = {"👍": 1.0, "👎": 0.0, ":+1:": 1.0, ":-1:": 0.0, ":thumbs_up:": 1.0, ":thumbs_down:": 0.0}
_REASONS = ("reason", "rationale", "explanation", "comment")
_ERROR = re.compile(r"([A-Za-z_][\w.]*)(?::|\(|$)")
_REFERENCE = "weave:///"
_COUNT = re.compile(r"(.+?)\.(?:(\w+_details)\.)?(\w+)")  # a model's name may hold dots, a count does not


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One call, with its feedback; of a root also what its summary says of the whole."""
    call = nested(record, _path)
    say.left_out(call, _DATA.sets["fields"])
    if call.get("deleted_at"):
        say.note("Calls that were deleted in Weave are left out.")
        return
    summary = mapping(call.get("summary"))
    inner = mapping(summary.get("weave"))
    say.left_out(summary, _DATA.sets["summary"], "summary")
    say.left_out(inner, _DATA.sets["inner"], "summary.weave")
    yield from _call(call, summary, inner, say)
    for item in objects(inner.get("feedback")):
        yield from _feedback(item, call)


def _call(call: Mapping[str, Any], summary: Mapping[str, Any], inner: Mapping[str, Any], say: Say) -> Iterator[Item]:
    path, _, digest = str(call.get("op_name") or "").rpartition("/")[2].partition(":")
    inputs, attributes = mapping(call.get("inputs")), mapping(call.get("attributes"))
    usage = {name: mapping(u) for name, u in mapping(summary.get("usage")).items()}
    kind = _kind(path, mapping(attributes.get("weave")), inputs, usage)
    root, running = not call.get("parent_id"), inner.get("status") == "running"
    exception = call.get("exception")
    named = _ERROR.match(str(exception or ""))
    said, checked = reply(_held(call.get("output"))), mapping(call.get("output"))
    if _holds_references(call.get("output")) or _holds_references(inputs):
        say.note("Some inputs and outputs are references to objects that Weave keeps elsewhere: they are missing.")
    is_model = kind in ("llm", "embedding")
    yield span(
        call.get("trace_id"), call.get("id"), parent_id=call.get("parent_id"),
        name=call.get("display_name") or path, kind=kind, start=call.get("started_at"), end=call.get("ended_at"),
        seconds=None if running else milliseconds(inner.get("latency_ms")), status=_status(call, inner),
        error_type=named[1] if named else None, message=exception, model=next(iter(usage), None) if is_model else None,
        requested_model=inputs.get("model") if isinstance(inputs.get("model"), str) else None,
        input=question(_held(inputs)),
        output=moderation(checked) if kind == "guardrail" and "results" in checked else said.output,
        finish_reason=said.finish if kind == "llm" else None,
        documents=documents(call.get("output")) if kind == "retriever" else None,
        tool={"name": path, "arguments": inputs, "result": call.get("output")} if kind == "tool" else None,
        metadata={k: v for k, v in attributes.items() if k != "weave"},
        user=attributes.get("user_id"), session=call.get("thread_id") or attributes.get("session_id"),
        release=digest or None if root else None,
        **(_used(usage, inner) if is_model else {}))  # fmt: skip
    if root and usage and not is_model:
        yield whole(call.get("trace_id"), **_used(usage, inner), model=next(iter(usage)) if len(usage) == 1 else None)


def _status(call: Mapping[str, Any], inner: Mapping[str, Any]) -> str | None:
    """A call whose descendant failed has itself succeeded."""
    if call.get("exception") or inner.get("status") == "error":
        return "error"
    return "ok" if call.get("ended_at") and inner.get("status") != "running" else None


def _kind(path: str, stated: Mapping[str, Any], inputs: Mapping[str, Any], usage: Mapping[str, Any]) -> str:
    """As the code says; else a model call is one that Weave's integrations trace, or that names a model and used it."""
    if known := _DATA.kinds.get(str(stated.get("kind") or "").lower()):
        return known
    if "embedding" in path.lower() and "model" in inputs:
        return "embedding"
    if path.startswith("openai.moderations"):
        return "guardrail"
    if _MODEL_CALL.search(path):
        return "llm"
    alone = len(usage) == 1 and all(u.get("requests") in (1, "1", None) for u in usage.values())
    if alone and isinstance(inputs.get("model"), str) and ("messages" in inputs or "prompt" in inputs):
        return "llm"
    return "evaluator" if path.endswith(".score") or path == "score" else "chain"


def _used(usage: Mapping[str, Mapping[str, Any]], inner: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens and cost of all models of one summary."""
    found = added(counts(used) for used in usage.values())
    costs = [mapping(c) for c in mapping(inner.get("costs")).values()]
    totals = [c.get(f"{side}_tokens_total_cost") for c in costs for side in ("prompt", "completion")]
    priced = [Decimal(str(t)) for t in totals if nusd(t) is not None]
    return {**found, "cost_usd": sum(priced) if priced and len(priced) == len(totals) else None}


def _feedback(item: Mapping[str, Any], call: Mapping[str, Any]) -> Iterator[Item]:
    """Reactions, notes and annotations are of people; a runnable is a scorer, which may be code or a model."""
    kind, payload = str(item.get("feedback_type") or ""), mapping(item.get("payload"))
    ids: dict[str, Any] = {"trace_id": identifier(call.get("trace_id"), 16), "span_id": identifier(call.get("id"), 8)}
    rest: dict[str, Any] = {"at": nanos(item.get("created_at")), "identifier": as_text(item.get("id"))}
    if kind.startswith("wandb.reaction"):
        emoji = str(payload.get("emoji") or payload.get("alias") or "")
        plain = emoji.rstrip("\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff\ufe0f")  # shades of skin
        name = "thumbs" if plain in _THUMBS else "reaction"
        label = None if plain in _THUMBS else emoji
        yield Score(**ids, name=name, annotator="human", value=_THUMBS.get(plain), label=label, **rest)
    elif kind.startswith("wandb.note"):
        yield Score(**ids, name="note", annotator="human", explanation=payload.get("note"), **rest)
    elif kind.startswith("wandb.annotation."):
        yield _score(kind.removeprefix("wandb.annotation."), payload.get("value"), "human", ids | rest)
    elif kind.startswith("wandb.runnable."):
        name, output = kind.removeprefix("wandb.runnable."), payload.get("output")
        verdicts = {k: v for k, v in mapping(output).items() if isinstance(v, (bool, int, float))}
        if not verdicts:
            yield _score(name, output, None, ids | rest)
        reason = next((mapping(output)[r] for r in _REASONS if isinstance(mapping(output).get(r), str)), None)
        for key, value in verdicts.items():
            yield _score(name if len(verdicts) == 1 else f"{name}.{key}", value, None, ids | rest, reason)


def _score(name: str, value: Any, annotator: str | None, facts: dict[str, Any], reason: str | None = None) -> Score:
    return Score(name=name, annotator=annotator, explanation=reason, **verdict(value), **facts)


def _path(column: str) -> list[str]:
    """Only the first name and the few known ones below it are split off: names of models and scores hold dots."""
    first, _, rest = column.partition(".")
    if first != "summary":
        return [first, rest] if first != "attributes" or not rest.startswith("weave.") else [first, *rest.split(".", 1)]
    found = [first]
    while rest:
        name, _, after = rest.partition(".")
        if name in ("usage", "costs"):  # then a model, which may hold dots, then a count
            parts = _COUNT.fullmatch(after)
            return [*found, name, *(p for p in parts.groups() if p)] if parts else [*found, name, after]
        found.append(name)
        rest = after
    return found


def _held(value: Any) -> Any:
    """What an input or output holds itself, without references to objects that are kept elsewhere."""
    if inner := mapping(value):
        return {k: v for k, v in inner.items() if not _is_reference(v)}
    return None if _is_reference(value) else value


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_REFERENCE)


def _holds_references(value: Any) -> bool:
    return any(map(_is_reference, value.values() if isinstance(value, dict) else [value]))
