"""Kong AI Gateway: entries of its log plugins, whole (file-log, http-log) or flattened to columns with dots.

Under `ai` each plugin that called a model has its `usage` and `meta`; latencies and times to first token are in
milliseconds, `started_at` is in milliseconds since the epoch, costs follow the prices in the plugin's settings, in USD
(Kong's audit log reference). A plugin without prices writes a cost of 0, which is no cost.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from kpi.ingest.formats import Incident, Item, Say, exact, facts_in, mapping, names_of, nanos, nested, objects, span
from kpi.ingest.formats._bodies import answer, question
from kpi.ingest.formats._gateways import SHARED, amount, body_of, endpoint, first, kind_of_path, own_id, status
from kpi.ingest.formats._replies import counts

_DATA = names_of(__file__)
_NAMES = {"consumer": "username", "route": "name", "service": "name"}
_OLD = {"prompt_token": "prompt_tokens", "completion_token": "completion_tokens"}  # before version 3.8


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One entry: a call of a model, or a request with the calls that its plugins made."""
    entry = nested(record, lambda column: column.split("."))
    say.left_out(entry, _DATA.sets["entry"])
    ai, asked, given = mapping(entry.get("ai")), mapping(entry.get("request")), mapping(entry.get("response"))
    calls = {n: c for n, c in ai.items() if isinstance(c, dict) and ("usage" in c or "meta" in c)}
    tools = objects(mapping(ai.get("mcp")).get("rpc"))
    if not calls and not tools:
        say.drop("an entry without a call of a model", "Only requests through an AI plugin are read.")
        return
    entry_id = str(asked.get("id") or own_id(entry))
    if shared := _trace(entry.get("trace_id")):
        say.note(SHARED)
    trace = shared or entry_id
    took = amount(mapping(entry.get("latencies")), (("request", "ms"),))
    path, start = asked.get("uri") or asked.get("url"), entry.get("started_at")
    people = {n: mapping(entry.get(n)).get(key) for n, key in _NAMES.items()}
    whole = {"start": start, "name": endpoint(path) or "request", "metadata": people, **status(given, "status", {})}
    alone = len(calls) == 1 and not tools
    if not alone:
        yield span(trace, entry_id, kind="chain", seconds=took, **whole)
    for name, found in calls.items():
        ids = {"span_id": entry_id} if alone else {"span_id": f"{entry_id}:{name}", "parent_id": entry_id}
        say.left_out(found, _DATA.sets["call"], f"ai.{name}")
        say.left_out(mapping(found.get("usage")), _DATA.sets["usage"], f"ai.{name}.usage")
        facts = {**ids, **(whole if alone else {"start": start, "name": name}), "trace_id": trace}
        outer, length = mapping(ai.get("payload")), took if alone else None
        yield _call(found, outer, say, kind=kind_of_path(path), took=length, **facts)
        yield from _blocked(found, trace, str(ids["span_id"]), start)
    for position, tool in enumerate(tools):
        called, payload = tool.get("tool_name"), mapping(tool.get("payload"))
        yield span(
            trace, f"{entry_id}:tool:{position}", parent_id=entry_id, kind="tool", name=called,
            start=start, seconds=amount(tool, (("latency", "ms"),)),
            status="error" if tool.get("error") else "ok", error_type=tool.get("error"),
            tool={"name": called, "id": tool.get("id"), "arguments": payload.get("request"),
                  "result": payload.get("response")})  # fmt: skip


def _call(
    found: Mapping[str, Any], outer: Mapping[str, Any], say: Say, *, kind: str, took: Decimal | None, **facts: Any
) -> Item:
    """outer: payload that the entry states once for all. took: length of the request as the client saw it."""
    usage = {_OLD.get(name, name): value for name, value in mapping(found.get("usage")).items()}
    meta, payload = mapping(found.get("meta")), {**outer, **mapping(found.get("payload"))}
    body = body_of(first(payload, "request request_body"))
    said = answer(body_of(first(payload, "response response_body")))
    used: dict[str, Any] = {**counts(usage)}
    if used.get("input_tokens") is None and used.get("output_tokens") is None:
        used = said.tokens
    hit = str(mapping(found.get("cache")).get("cache_status") or "").lower() == "hit"
    cost = exact(usage.get("cost"))
    if cost == 0 and not hit and any(used.values()):
        say.note("Kong writes a cost of 0 where its settings name no price: such a cost counts as unknown.")
        cost = None
    mode = str(meta.get("request_mode") or "").lower()
    length = amount(meta, (("llm_latency", "ms"),)) if took is None else took
    ttft = amount(usage, (("time_to_first_token", "ms"),))
    if mode == "oneshot" or (ttft is not None and length is not None and ttft > length):
        ttft = None  # the whole answer came at once
    facts["metadata"] = {**(facts.get("metadata") or {}), "cache_hit": hit or None}
    return span(
        kind=kind, seconds=length, ttft_seconds=ttft, streamed=True if mode in ("stream", "streaming") else None,
        cost_usd=cost, **facts_in(meta, _DATA.facts["meta"]),
        input=question(body), output=said.output if kind == "llm" else None, finish_reason=said.finish,
        user=body.get("user") if isinstance(body, dict) else None, **{"status": None, **facts}, **used)  # fmt: skip


def _blocked(found: Mapping[str, Any], trace: str, span_id: str, at: Any) -> Iterator[Incident]:
    """What a guard among the plugins stopped, on its way in or out."""
    for name, guard in found.items():
        for side in ("input", "output"):
            if reason := mapping(guard).get(f"{side}_block_reason"):
                yield Incident(trace, span_id, str(reason), detector=name, state="blocked", at=nanos(at))


def _trace(stated: Any) -> str | None:
    """The id of the trace, of whichever standard; as text or by the name of the standard."""
    found = mapping(stated)
    text = next((str(v) for v in found.values() if v), None) if found else stated
    return str(text) if text else None
