"""Cloudflare AI Gateway: logs of its API (`result` of a page, one log, rows), and events that Logpush delivers.

Durations are in milliseconds, costs in USD (types of Cloudflare's SDK; documentation of the Logpush data set
`ai_gateway_events`). Bodies of Logpush are encrypted and stay unread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kpi.ingest.formats import Item
from kpi.ingest.formats._gateways import Gateway, call, columns, flag, spellings, success
from kpi.ingest.spans.builder import mapping, objects
from kpi.ingest.spans.record_report import Say

NAME = "cloudflare"
TITLE = "Cloudflare AI Gateway logs"
_PAGES = ("result result_info success", "result success errors messages")
_LOGS = tuple(f"cached tokens_in tokens_out {name}" for name in (
    "custom_cost", "request_type", "model_type", "step", "request_content_type", "response_content_type",
))  # fmt: skip
_EVENTS = ("Gateway RateLimited StatusCode", "Gateway Cached RateLimited", "Gateway RequestedModel Metrics",
           "Gateway Cached Endpoint Provider")  # fmt: skip
KEYS = (*_PAGES, *spellings(*_LOGS), *_EVENTS)
_GATEWAY = Gateway(
    title="Cloudflare",
    facts={
        "id": "id", "trace": "event_id", "start": "created_at timestamp", "model": "model",
        "requested_model": "requested_model", "provider": "provider", "input_tokens": "tokens_in",
        "output_tokens": "tokens_out", "metadata": "metadata",
    },
    seconds=(("duration", "ms"), ("duration_ms", "ms")),
    cost=(("cost", "usd"),),
    request="request request_body",
    response="response response_body",
    path="path endpoint",
    metadata="gateway routing_reason",
    own="success cached custom_cost request_type request_content_type response_content_type model_type step metrics"
    " rate_limited request_size response_size request_head response_head request_head_complete response_head_complete"
    " routing_decision_id wholesale feedback",
)  # fmt: skip


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """The logs of a page of the API, or one log."""
    if isinstance(record.get("result"), list | dict) and "success" in record:
        for log in objects(record["result"]):
            if "provider" in log or "tokens_in" in log:
                yield from translate(log, say)
            else:
                say.drop("an answer of Cloudflare's API that is no log of its AI Gateway")
        return
    row = columns(record)
    row = {**columns(mapping(row.get("metrics"))), **{k: v for k, v in row.items() if v not in (None, "")}}
    say.left_out(row, _GATEWAY.read)
    more: dict[str, Any] = {"cached": flag(row.get("cached"))}
    limited = flag(row.get("rate_limited"))
    more |= {"status": "error", "error_type": "rate_limited"} if limited else success(row, "success", "status_code")
    if str(row.get("model_type") or "").lower() in ("embeddings", "embedding"):
        more["kind"] = "embedding"
    yield call(_GATEWAY, row, say, **more)
