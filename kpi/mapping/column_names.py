"""Names that columns go by in the wild, and what a field accepts. Data, not logic: add a name here to have it known."""

from __future__ import annotations

import difflib
import re
import unicodedata

from kpi import schema

# kind of a field -> units a mapping may name for it ("" = found out from the values)
KIND_UNITS: dict[str, tuple[str, ...]] = {
    "id": (),
    "user": (),
    "time": ("auto", "s", "ms", "us", "ns", "day/month", "month/day", "year/month"),
    "dimension": (),
    "bool": ("", "inverted", "-1/0"),
    "status": (),
    "score": ("0-1", "1-5", "0-10", "0-100", "-1-1", "words"),
    "duration": ("ns", "us", "ms", "s", "min", "in cells"),
    "tokens": ("tokens",),
    "money": ("usd", "cents", "milli_usd", "micro_usd", "nano_usd"),
    "count": ("count",),
    "severity": (),
    "measure": (),
    "content": (),
}

_KIND_OF_COLUMN = {
    "trace_id": "id", "session_id": "id", "user_key": "user", "started_at": "time", "outcome_source": "dimension",
    "error_type": "dimension", "worst_severity": "severity", "incident_count": "count", "user_rating": "score",
    "input_text": "content", "output_text": "content",
    # fields that are no columns: what they say goes into others
    "ended_at": "time", "input_cost": "money", "output_cost": "money", "status": "status", "error_message": "content",
}  # fmt: skip
FIELDS: dict[str, str] = {
    **_KIND_OF_COLUMN,
    **{c.name: "dimension" for c in (*schema.VERSIONS, *schema.COHORTS)},
    **{c.name: "bool" for c in schema.OUTCOMES},
    **{c.name: "score" for c in schema.SCORES},
    **{c.name: "duration" for c in schema.LATENCIES},
    **{c.name: "tokens" for c in schema.TOKENS},
    **{c.name: "money" for c in schema.COSTS},
    **{c.name: "count" for c in schema.COUNTS},
}
SCORE_PREFIX = "score:"

# field -> names, most telling first; compared without case, `_`, `-`, `.`, blanks and unit suffixes
_ALIASES: dict[str, str] = {
    "trace_id": "trace_id request_id run_id message_id completion_id interaction_id call_id log_id record_id uuid id",
    "session_id": "session_id conversation_id thread_id chat_id dialog_id session",
    "user_key": "user_id user_key user end_user end_user_id enduser_id customer_id customer account_id"
    " account username user_email",
    "started_at": "started_at start_time start request_time request_timestamp timestamp created_at created event_time"
    " datetime ts time date",
    "ended_at": "ended_at end_time end completed_at finished_at response_timestamp",
    "model": "model model_name llm engine deployment deployment_name model_id llm_model",
    "provider": "provider vendor model_provider",
    "prompt_version": "prompt_version template_version prompt_template_version prompt_id prompt_template",
    "retrieval_version": "retrieval_version index_version corpus_version retriever_version",
    "policy_version": "policy_version guardrail_version safety_policy_version",
    "release": "release app_version version build service_version",
    "environment": "environment env deployment_environment",
    "experiment_arm": "experiment_arm experiment arm variant ab_arm ab_group experiment_variant",
    "deployment_ring": "deployment_ring ring rollout_ring",
    "language": "language lang locale user_language",
    "region": "region country market geo",
    "device": "device device_type platform",
    "plan": "plan tier subscription customer_tier plan_type",
    "channel": "channel source_channel",
    "use_case": "use_case usecase task_type",
    "intent": "intent topic",
    "tenant": "tenant tenant_id organization organisation org org_id workspace",
    "success": "success task_success is_success succeeded is_successful ok passed pass task_completed goal_completed",
    "correct": "correct is_correct",
    "grounded": "grounded is_grounded",
    "retrieval_hit": "retrieval_hit hit context_hit",
    "resolved": "resolved is_resolved resolution solved",
    "escalated": "escalated is_escalated escalation handoff handed_off transferred",
    "refused": "refused is_refused refusal is_refusal blocked is_blocked",
    "fallback": "fallback is_fallback used_fallback fallback_used",
    "overridden": "overridden override human_override is_overridden",
    "deflected": "deflected is_deflected deflection",
    "converted": "converted conversion is_converted",
    "error": "is_error has_error error_flag failed is_failed error",
    "error_type": "error_type error_code exception_type exception error_class error_name",
    "error_message": "error_message exception_message status_message",
    "status": "status status_code http_status http_code response_status state",
    "outcome_source": "outcome_source",
    "groundedness": "groundedness faithfulness groundedness_score faithfulness_score",
    "retrieval_score": "retrieval_score relevance context_relevance context_precision relevance_score",
    "correctness": "correctness answer_correctness accuracy correctness_score",
    "confidence": "confidence confidence_score",
    "user_rating": "user_rating rating thumbs feedback csat stars user_feedback thumb feedback_score score user_score",
    "queue_us": "queue queue_time queue_latency queued wait_time queue_duration",
    "ttft_us": "ttft time_to_first_token first_token first_token_latency first_token_time first_byte_latency",
    "retrieval_us": "retrieval_time retrieval_latency retrieval_duration",
    "rerank_us": "rerank_time rerank_latency rerank_duration reranker_latency",
    "tool_us": "tool_time tool_latency tool_duration",
    "model_us": "model_time model_latency llm_latency llm_time inference_time generation_time llm_duration",
    "guardrail_us": "guardrail_time guardrail_latency guardrail_duration moderation_latency",
    "total_us": "total_latency e2e_latency end_to_end_latency latency total_time duration response_time elapsed"
    " elapsed_time delay total_duration execution_time processing_time latency_total",
    "input_tokens": "input_tokens prompt_tokens tokens_in context_tokens request_tokens input_length prompt_token_count"
    " input_token_count",
    "output_tokens": "output_tokens completion_tokens tokens_out generated_tokens response_tokens output_length"
    " completion_token_count output_token_count",
    "cached_read_tokens": "cached_read_tokens cached_tokens cache_read_tokens cached_input_tokens"
    " cache_read_input_tokens",
    "cache_write_tokens": "cache_write_tokens cache_creation_tokens cache_creation_input_tokens",
    "reasoning_tokens": "reasoning_tokens thinking_tokens",
    "inference_nusd": "inference_cost model_cost llm_cost generation_cost",
    "retrieval_nusd": "retrieval_cost search_cost",
    "orchestration_nusd": "orchestration_cost infra_cost platform_cost",
    "tool_nusd": "tool_cost tools_cost",
    "review_nusd": "review_cost human_review_cost",
    "total_nusd": "total_cost cost spend price amount response_cost cost_total",
    "input_cost": "input_cost prompt_cost",
    "output_cost": "output_cost completion_cost",
    "llm_calls": "llm_calls model_calls llm_call_count",
    "tool_calls": "tool_calls tool_call_count tools_used tools_called function_calls",
    "tool_errors": "tool_errors tool_error_count failed_tool_calls",
    "retrieved_docs": "retrieved_docs docs retrieved_documents retrieved_contexts contexts documents"
    " sources retrieved_ids",
    "turns": "turns turn_count messages_count",
    "retries": "retries retry_count attempts",
    "incident_count": "incident_count incidents flagged is_flagged safety_flag jailbreak violation",
    "worst_severity": "worst_severity severity incident_severity",
    "input_text": "input_text input prompt question query user_message user_input request request_text messages",
    "output_text": "output_text output response answer completion generation assistant_message reply response_text",
}

_UNIT_WORDS = {
    "ns": "ns nsec nano nanos nanosec nanosecs nanosecond nanoseconds",
    "us": "us usec micro micros microsec microsecs microsecond microseconds",
    "ms": "ms msec msecs milli millis millisec millisecs millisecond milliseconds",
    "s": "s sec secs second seconds",
    "min": "min mins minute minutes",
}
DURATION_WORDS = {word: unit for unit, text in _UNIT_WORDS.items() for word in text.split()}
_MONEY_WORDS = {
    "usd": "usd dollars dollar usdollars usdollar",
    "cents": "cents cent uscents uscent usdcents usdcent centsusd centusd",
    "milli_usd": "milliusd millidollars millidollar usdmilli usdmillis millisusd mills",
    "micro_usd": "microusd microdollars microdollar micros micro usdmicro usdmicros microsusd microsdollars uusd",
    "nano_usd": "nanousd nusd nanodollars nanodollar nano nanos usdnano usdnanos nanosusd nanosdollars",
}
_MONEY_SUFFIX = {word: unit for unit, text in _MONEY_WORDS.items() for word in text.split()}
MICRO = str.maketrans("\u00b5\u03bc", "uu")  # both signs of micro: without them `latency_µs` would read as seconds
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def words(name: str) -> list[str]:
    """`latencyMs`, `Elapsed time`, `usage.prompt-tokens` -> lower-case words, letters of any script."""
    plain = unicodedata.normalize("NFKC", _CAMEL.sub("_", name.translate(MICRO)))
    kept = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in plain)
    return kept.casefold().split()


def slug(name: str) -> str:
    """A name as a stable slug of at most 60 characters: `Test Category` -> `test_category`."""
    return "_".join(words(name))[:60].strip("_") or "column"


_LOOKUP = {
    "".join(words(alias)): (name, rank) for name, text in _ALIASES.items() for rank, alias in enumerate(text.split())
}


def known(name: str) -> tuple[str, str, int] | None:
    """(field, unit told by the name or "", rank: 0 is the most telling name) for a column name, or None."""
    parts = words(name)
    for start in (0, len(parts) - 1, len(parts) - 2) if "." in name else (0,):  # `metadata.language`
        if 0 <= start < len(parts) and (found := _known(parts[start:])):
            return found[0], found[1], found[2] + (1 if start else 0)
    return None


def _known(parts: list[str]) -> tuple[str, str, int] | None:
    if found := _LOOKUP.get("".join(parts)):
        return found[0], "", found[1]
    for cut in (1, 2):
        suffix, rest = "".join(parts[-cut:]), parts[:-cut]
        field, rank = _LOOKUP.get("".join(rest), ("", 0))
        if not field and rest[-1:] == ["in"]:  # `cost_in_micros`
            field, rank = _LOOKUP.get("".join(rest[:-1]), ("", 0))
        kind = FIELDS.get(field)
        if kind == "duration" and suffix in DURATION_WORDS:
            return field, DURATION_WORDS[suffix], rank
        if kind == "money" and suffix in _MONEY_SUFFIX:
            return field, _MONEY_SUFFIX[suffix], rank
        if kind == "time" and suffix == "utc":
            return field, "", rank
        if kind == "time" and (unit := DURATION_WORDS.get(suffix, "min")) != "min":
            return field, unit, rank
    if len(parts) > 1 and parts[0] in ("n", "num", "number"):
        field, rank = _LOOKUP.get("".join(parts[1:]).removeprefix("of"), ("", 0))
        if FIELDS.get(field) in ("count", "tokens"):
            return field, "", rank
    return None


def named(name: str) -> tuple[str, str, int] | None:
    """The same, also for the names of fields themselves, which tell most."""
    return (name, "", -1) if name in FIELDS else known(name)


def close_name(name: str) -> str:
    """The known name that another may be a slip of, "" where it is known itself or none is close."""
    if named(name) is not None:
        return ""
    wanted = "_".join(words(name))
    names = [alias for text in _ALIASES.values() for alias in text.split() if abs(len(alias) - len(wanted)) <= 1]
    return next(iter(difflib.get_close_matches(wanted, names, 1, 0.88)), "")
