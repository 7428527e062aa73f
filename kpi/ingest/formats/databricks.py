"""Databricks: inference tables of serving endpoints and of its AI Gateway, and the system tables of their usage.

An inference table holds the bodies of request and response, from which the tokens come; a table of usage holds counts
and no texts. Rows of both about one call have the same id and complete each other. Times are in milliseconds; neither
table knows a cost. Where the response of an agent holds its MLflow trace, the request is that trace, with its steps.
What Databricks calls the requester is who may call: a person only where it is an address.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kpi.ingest.formats import Item, mlflow
from kpi.ingest.formats._gateways import Gateway, body_of, call, columns, first, number, spellings
from kpi.ingest.otlp.attributes import count_of
from kpi.ingest.spans.builder import mapping
from kpi.ingest.spans.record_report import Say

NAME = "databricks"
TITLE = "Databricks inference and usage tables"
KEYS = spellings(
    "databricks_request_id request", "databricks_request_id response", "databricks_request_id status_code",
    "databricks_request_id execution_time_ms", "databricks_request_id execution_duration_ms",
    "databricks_request_id input_token_count", "databricks_request_id served_entity_id",
    "destination_model latency_ms", "destination_model event_time", "destination_name latency_ms event_time",
    "served_entity_id input_token_count",
)  # fmt: skip
_GATEWAY = Gateway(
    title="Databricks",
    facts={
        "id": "databricks_request_id request_id event_id", "start": "request_time timestamp_ms event_time",
        "model": "destination_model model_name", "requested_model": "endpoint_name",
        "input_tokens": "input_token_count input_tokens", "output_tokens": "output_token_count output_tokens",
        "cached_read_tokens": "cache_read_input_tokens", "cache_write_tokens": "cache_creation_input_tokens",
        "streamed": "request_streaming",
    },
    seconds=(("execution_duration_ms", "ms"), ("execution_time_ms", "ms"), ("latency_ms", "ms")),
    ttft=(("time_to_first_byte_ms", "ms"),),
    path="url",
    metadata="endpoint_name served_entity_name entity_name api_type destination_name model_version workspace_id",
    own="client_request_id requester requester_type date request_date sampling_fraction request_metadata usage_context"
    " request_tags logging_error_codes served_entity_id account_id input_character_count output_character_count"
    " schema_version endpoint_id endpoint_tags endpoint_metadata destination_type destination_id ip_address"
    " user_agent total_tokens token_details response_content_type routing_information service_type",
)  # fmt: skip
_END_USERS = "end_user end_user_id user_id user"


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One call of an endpoint."""
    row = columns(record)
    named = columns(mapping(row.get("request_metadata")))
    details = columns(mapping(row.get("token_details")))
    row = {**details, **{n: named[n] for n in _NAMED if n in named}, **_held(row)}
    say.left_out(row, _GATEWAY.read | frozenset(details))
    sampled = number(row.get("sampling_fraction"))
    if sampled is not None and sampled < 1:
        say.note(f"The table holds a sample of the calls, {sampled.normalize():f} of all: counts and sums are of it.")
    if row.get("logging_error_codes") not in (None, "", []):
        say.note("Of some calls Databricks could not log the bodies: these have no texts, and no tokens from them.")
    result = mapping(body_of(row.get("response")))
    if trace := _trace(result, first(row, _GATEWAY.facts["id"])):
        yield from mlflow.translate(trace, say)
        return
    context = {**mapping(row.get("usage_context")), **mapping(row.get("request_tags"))}
    requester = str(row.get("requester") or "")
    yield call(
        _GATEWAY, row, say, kind=_kind(row),
        user=first(context, _END_USERS) or (requester if "@" in requester else None),
        model=first(row, _GATEWAY.facts["model"]) or result.get("model"),
        metadata={k: v for k, v in context.items() if k not in _END_USERS.split()},
    )  # fmt: skip


def finish(say: Say) -> Iterator[Item]:
    """What the traces inside the responses lack."""
    yield from mlflow.finish(say)


def _trace(result: dict[str, Any], request_id: Any) -> dict[str, Any]:
    """The MLflow trace in the response of an agent, under the id of the request where it has none; {} for none."""
    trace = mapping(mapping(result.get("databricks_output")).get("trace"))
    info = mapping(trace.get("info"))
    if not info or "data" not in trace:
        return {}
    named = info.get("trace_id") or info.get("request_id")
    return {"info": {**info, **({} if named else {"request_id": request_id})}, "data": trace["data"]}


_NAMED = ("endpoint_name", "model_name", "model_version")


def _held(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None and value != ""}


def _kind(row: dict[str, Any]) -> str | None:
    """An embedding where the body or the API says so; None leaves it to the path."""
    asked = mapping(body_of(row.get("request")))
    if "embedding" in str(row.get("api_type") or "").lower():
        return "embedding"
    embedded = "input" in asked and "messages" not in asked and not count_of(row.get("output_token_count"))
    return "embedding" if embedded and mapping(body_of(row.get("response"))).get("data") else None
