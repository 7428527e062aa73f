"""LiteLLM proxy: the table LiteLLM_SpendLogs (CSV, JSON) and the standard logging payload of its callbacks.

One record is one call. Calls that share a session id (the payload calls it trace id) are one request, as in LiteLLM's
own log view. A call has the same span id in every layout, so the same calls loaded twice are stored once. The CSV of
the database cuts times to milliseconds; the other layouts have microseconds.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kpi.ingest.formats import Item, Say, as_text, facts_in, names_of, span
from kpi.ingest.formats._bodies import answer, moderation, question
from kpi.ingest.formats._gateways import kind_of_path
from kpi.ingest.formats._replies import counts
from kpi.ingest.otlp.attributes import count_of, mapping, nusd, objects, parse, truth_of

_DATA = names_of(__file__)
_KINDS = (("list_mcp", "other"), ("mcp", "tool"), ("vector_store", "retriever"))


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One call, with the guardrails that looked at it and the documents that were fetched for it."""
    metadata = mapping(record.get("metadata"))
    say.left_out(record, _DATA.sets["record"])
    others = {k: v for k, v in metadata.items() if not k.startswith("user_api_key")}
    say.left_out(others, _DATA.sets["metadata"], "metadata")
    stated = str(record.get("request_id") or record.get("id") or "")
    call = str(record.get("litellm_call_id") or metadata.get("litellm_call_id") or "")
    # The id of an answer out of the cache is made up anew in each layout.
    span_id = call if call and (not stated or "_cache_hit" in stated) else stated
    trace = record.get("trace_id") or record.get("session_id")
    if trace:
        say.note("Calls that share a session id (LiteLLM's trace id) are one request.")
    ids = {"trace_id": trace or span_id, "parent_id": span_id}
    yield _call(record, metadata, say, trace_id=trace or span_id, span_id=span_id, session=trace)
    guards = objects(record.get("guardrail_information")) or objects(metadata.get("guardrail_information"))
    for number, guard in enumerate(guards):
        if guard.get("guardrail_status") != "not_run":
            yield _guardrail(guard, span_id=f"{span_id}:guardrail:{number}", **ids)
    for number, search in enumerate(objects(metadata.get("vector_store_request_metadata"))):
        yield _search(search, span_id=f"{span_id}:search:{number}", **ids)


def _call(record: Mapping[str, Any], metadata: Mapping[str, Any], say: Say, **ids: Any) -> Item:
    kind = kind_of_path(record.get("call_type"), _KINDS)
    error = mapping(record.get("error_information")) or mapping(metadata.get("error_information"))
    failed = record.get("status") == "failure" or bool(record.get("error_str"))
    said = answer(record.get("response")) if kind == "llm" else None
    checked = moderation(mapping(record.get("response"))) if kind == "guardrail" else None
    own = {**mapping(metadata.get("requester_metadata")), **mapping(metadata.get("spend_logs_metadata"))}
    managed = mapping(metadata.get("prompt_management_metadata"))
    used = mapping(metadata.get("mcp_tool_call_metadata"))
    fallbacks = count_of(metadata.get("attempted_fallbacks"))
    return span(
        **ids, name=used.get("name") or record.get("call_type"), kind=kind,
        **facts_in(record, _DATA.facts["call"]),
        streamed=truth_of(record.get("stream")), status="error" if failed else "ok",
        error_type=(error.get("error_class") or error.get("error_code") or "failure") if failed else None,
        message=(error.get("error_message") or record.get("error_str")) if failed else None,
        user=record.get("end_user") or metadata.get("user_api_key_end_user_id"),  # `user` is who owns the key
        input=question({"messages": record.get("messages")}) or _text(record.get("messages"))
        or question(record.get("proxy_server_request")),
        output=(said.output or _text(record.get("response"))) if said else checked,
        finish_reason=said.finish if said else None,
        tool={"name": used.get("name") or record.get("mcp_namespaced_tool_name"), "arguments": used.get("arguments"),
              "result": used.get("result")} if kind == "tool" else None,
        metadata={
            "team": metadata.get("user_api_key_team_alias") or metadata.get("user_api_key_team_id"),
            "cache_hit": truth_of(record.get("cache_hit")),  # text, and "None" where nobody looked
            "fallback": None if fallbacks is None else fallbacks > 0, **own,
        },
        tags=tags if isinstance(tags := parse(record.get("request_tags")), list) else None,
        prompt_version=None if own.get("prompt_version") else managed.get("prompt_id"),
        retries=count_of(metadata.get("attempted_retries")), cost_usd=_cost(record, metadata, failed, say),
        **_tokens(record, metadata))  # fmt: skip


def _tokens(record: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A failed call, and one that counts nothing, is written with 0 tokens: unknown. The input includes the cache."""
    stated = {"input_tokens": record.get("prompt_tokens"), "output_tokens": record.get("completion_tokens")}
    if not any(count_of(v) for v in stated.values()):
        return {}
    extra = mapping(metadata.get("additional_usage_values"))
    usage = counts({**extra, **{k: v for k, v in mapping(metadata.get("usage_object")).items() if v is not None}})
    return {**usage, **stated}


def _cost(record: Mapping[str, Any], metadata: Mapping[str, Any], failed: bool, say: Say) -> Any:
    """USD of the call as a whole: parts of the breakdown contain each other. 0 without a breakdown is unknown."""
    stated = record.get("spend") if "spend" in record else record.get("response_cost")
    if nusd(stated) != 0:
        return stated
    breakdown = mapping(record.get("cost_breakdown")) or mapping(metadata.get("cost_breakdown"))
    if truth_of(record.get("cache_hit")) or (breakdown.get("total_cost") is not None and not failed):
        return stated
    if not failed:
        say.note("LiteLLM writes a cost of 0 for calls whose price it does not know: such a cost counts as unknown.")
    return None


def _text(value: Any) -> str | None:
    """Text that is no JSON body; the empty objects that stand where prompts are not stored are nothing."""
    return value if isinstance(value, str) and value[:1] not in ("{", "[") else None


def _guardrail(guard: Mapping[str, Any], **ids: Any) -> Item:
    status, categories = str(guard.get("guardrail_status") or ""), guard.get("violation_categories")
    failed = status in ("guardrail_failed_to_respond", "failure")
    return span(
        **ids, name=guard.get("guardrail_name") or "guardrail", kind="guardrail", status="error" if failed else "ok",
        start=guard.get("start_time"), end=guard.get("end_time"), seconds=guard.get("duration"),
        error_type="guardrail_failed_to_respond" if failed else None,
        output={
            "flagged": status == "guardrail_flagged", "blocked": status == "guardrail_intervened",
            "categories": [as_text(c) for c in categories] if isinstance(categories, list) else [],
        })  # fmt: skip


def _search(search: Mapping[str, Any], **ids: Any) -> Item:
    return span(
        **ids, name=search.get("vector_store_id") or "vector store", kind="retriever",
        start=search.get("start_time"), end=search.get("end_time"), status="ok", input=search.get("query"),
        documents=[
            {"id": d.get("file_id") or d.get("filename"), "score": d.get("score"),
             "content": "\n".join(str(part["text"]) for part in objects(d.get("content")) if part.get("text"))}
            for d in objects(mapping(search.get("vector_store_search_response")).get("data"))
        ])  # fmt: skip
