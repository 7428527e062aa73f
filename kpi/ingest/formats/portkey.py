"""Portkey: the export of its logs, one call a row, with the columns that were asked for.

Costs are in cents of a USD, times in milliseconds (Portkey's documentation, "Logs Export"). Calls that share a trace
id are one request; of its attempts the last one says whether it failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kpi.ingest.formats import Item
from kpi.ingest.formats._gateways import Gateway, call, columns, spellings, success
from kpi.ingest.spans.builder import mapping
from kpi.ingest.spans.record_report import Say

NAME = "portkey"
TITLE = "Portkey logs"
KEYS = spellings(
    "ai_org ai_model", "ai_model req_units", "ai_org req_units", "req_units res_units", "ai_model res_units",
    "ai_org is_success", "ai_model is_success", "ai_model cost_currency", "req_units cost_currency",
)  # fmt: skip
_GATEWAY = Gateway(
    title="Portkey",
    facts={
        "id": "id", "trace": "trace_id", "start": "created_at time_of_generation", "model": "ai_model",
        "provider": "ai_org", "input_tokens": "req_units", "output_tokens": "res_units", "streamed": "stream_mode",
        "prompt_version": "prompt_version_id prompt_slug prompt_id", "metadata": "metadata",
        "retries": "retry_success_count",
    },
    seconds=(("response_time", "ms"),),
    cost=(("cost", "cents"),),
    status="response_status_code",
    request="request request_body",
    response="response response_body",
    path="request_url",
    metadata="mode config",
    own="is_success total_units cost_currency request_method cache_status cache_type virtual_key api_key_id"
    " workspace_slug organisation_id last_used_option_index metadata_user",
)  # fmt: skip
_OWN_METADATA = {"_organisation": "tenant", "_prompt": "prompt"}


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One call."""
    row = columns(record)
    say.left_out(row, _GATEWAY.read)
    told = mapping(row.get("metadata"))
    cache = str(row.get("cache_status") or "disabled").lower()
    more: dict[str, Any] = {"cached": None if cache == "disabled" else "hit" in cache}
    more |= success(row, "is_success", "response_status_code")
    if str(row.get("cost_currency") or "USD").strip().upper() != "USD":
        say.note("Costs in another currency than USD were left out.")
        more["cost_usd"] = None
    yield call(
        _GATEWAY, row, say, user=told.get("_user") or row.get("metadata_user"), environment=told.get("_environment"),
        metadata={new: told[old] for old, new in _OWN_METADATA.items() if told.get(old)}, **more,
    )  # fmt: skip
