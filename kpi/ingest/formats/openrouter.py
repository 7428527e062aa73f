"""OpenRouter: answers of its generation API, and the export of its activity with one row a generation.

Tokens are the provider's own (`native_…`), by which it bills; the others are counted by one tokenizer for all models.
Costs are in USD. Where a key of the customer's own is used, the provider's charge comes on top of OpenRouter's. Of
`latency` the documentation says that it is the total; where it is less than the time of generation, it cannot be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kpi.ingest.formats import Item
from kpi.ingest.formats._gateways import Gateway, Row, call, columns, flag, number, seconds, spellings, usd
from kpi.ingest.otlp.attributes import count_of
from kpi.ingest.spans.builder import objects
from kpi.ingest.spans.record_report import Say

NAME = "openrouter"
TITLE = "OpenRouter generations"
KEYS = spellings(
    "native_tokens_prompt native_tokens_completion", "generation_time native_tokens_prompt",
    "tokens_prompt tokens_completion provider_name", "generation_id tokens_prompt", "generation_id cost_total",
    "generation_time provider_name is_byok",
)  # fmt: skip
_GATEWAY = Gateway(
    title="OpenRouter",
    facts={
        "id": "id generation_id", "start": "created_at", "model": "model model_permaslug", "provider": "provider_name",
        "input_tokens": "native_tokens_prompt tokens_prompt",
        "output_tokens": "native_tokens_completion tokens_completion",
        "cached_read_tokens": "native_tokens_cached tokens_cached",
        "reasoning_tokens": "native_tokens_reasoning tokens_reasoning", "streamed": "streamed",
        "user": "external_user user", "session": "session_id",
        "finish_reason": "finish_reason finish_reason_normalized native_finish_reason finish_reason_raw",
    },
    cost=(("total_cost", "usd"), ("cost_total", "usd"), ("usage", "usd")),
    metadata="app_name api_key_name variant router origin data_region service_tier",
    own="latency generation_time generation_time_ms time_to_first_token_ms upstream_inference_cost"
    " byok_usage_inference is_byok cancelled provider_responses upstream_id app_id api_type api_key_disabled"
    " cost_cache cost_web_search cost_file_processing cache_discount preset_id request_id http_referer user_agent"
    " native_tokens_prompt native_tokens_completion tokens_prompt tokens_completion usage",
)  # fmt: skip
_EMBEDDINGS = "embeddings"


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One generation."""
    row = columns(record)
    say.left_out(row, _GATEWAY.read)
    attempts = [c for a in objects(row.get("provider_responses")) if (c := count_of(a.get("status"))) is not None]
    failed = [code for code in attempts if code >= 400]
    more: dict[str, Any] = {"cost_usd": _cost(row), "retries": len(failed) or None, **_lengths(row, say)}
    ending = str(row.get("finish_reason") or row.get("finish_reason_normalized") or "").lower()
    if flag(row.get("cancelled")):
        more |= {"status": "error", "error_type": "cancelled"}
    elif ending == "error" or (failed and len(failed) == len(attempts)):
        more |= {"status": "error", "error_type": str(failed[-1]) if failed else "error"}
    else:
        more["status"] = "ok"
    kind = "embedding" if str(row.get("api_type") or "").lower() == _EMBEDDINGS else "llm"
    yield call(_GATEWAY, row, say, kind=kind, name=row.get("api_type") or kind, **more)


def _cost(row: Row) -> Any:
    """What the generation cost in all."""
    charged = usd(row, _GATEWAY.cost)
    beside = usd(row, (("upstream_inference_cost", "usd"), ("byok_usage_inference", "usd")))
    own_key = flag(row.get("is_byok"))
    if beside and (own_key or (own_key is None and number(row.get("byok_usage_inference")))):
        return (charged or 0) + beside
    return charged


def _lengths(row: Row, say: Say) -> dict[str, Any]:
    """seconds and ttft_seconds, by what the two times of a row can be."""
    took = seconds(row, (("generation_time_ms", "ms"), ("generation_time", "ms")))
    told = seconds(row, (("time_to_first_token_ms", "ms"),))
    if told is not None:
        return {"seconds": took, "ttft_seconds": told}
    latency = seconds(row, (("latency", "ms"),))
    if latency is None or took is None:
        return {"seconds": latency if took is None else took}
    if latency >= took:
        return {"seconds": latency}
    say.note(
        "OpenRouter states a latency below its time of generation: it was read as the time to the first token, and the"
        " time of generation as the length of the call."
    )
    return {"seconds": took, "ttft_seconds": latency}
