"""Portkey, OpenRouter, Databricks, Cloudflare and Kong: rows of gateways, whatever file they are in.

The success of a call of HTTP is no task success: `success` is null throughout, `error` is the technical failure.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kpi.ingest.formats import recognise
from tests.unit.ingest.formats.helpers import Row, read_all, requests_of

PORTKEY: dict[str, Any] = {
    "id": "pk-1", "created_at": "2026-09-01T09:00:00.000Z", "trace_id": "tr-1", "is_success": 1, "ai_org": "openai",
    "ai_model": "gpt-4o", "req_units": 1000, "res_units": 200, "total_units": 1200, "cost": 0.45,
    "cost_currency": "USD", "request_url": "https://api.openai.com/v1/chat/completions", "request_method": "POST",
    "response_status_code": 200, "response_time": 900, "cache_status": "DISABLED", "stream_mode": "FALSE",
    "metadata": {"_user": "user0", "_environment": "production"},
}  # fmt: skip
OPENROUTER: dict[str, Any] = {
    "id": "gen-1", "model": "anthropic/claude-sonnet-4.5", "provider_name": "Anthropic",
    "created_at": "2026-09-01T09:00:00.000000+00:00", "streamed": True, "cancelled": False, "latency": 900,
    "generation_time": 4200, "total_cost": 0.0126, "usage": 0.0126, "upstream_inference_cost": 0,
    "tokens_prompt": 4100, "tokens_completion": 160, "native_tokens_prompt": 4804, "native_tokens_completion": 188,
    "native_tokens_reasoning": 20, "native_tokens_cached": 4324, "finish_reason": "stop", "is_byok": False,
    "external_user": "u0", "api_type": "completions",
}  # fmt: skip
ACTIVITY: dict[str, Any] = {
    "generation_id": "gen-1", "created_at": "2026-09-01 09:00:00.000", "cost_total": 0.0126, "cost_web_search": 0,
    "cost_cache": -0.0071, "byok_usage_inference": 0, "tokens_prompt": 4804, "tokens_completion": 188,
    "tokens_reasoning": 20, "tokens_cached": 4324, "model_permaslug": "anthropic/claude-4.5-sonnet-20250929",
    "provider_name": "Anthropic", "variant": "standard", "cancelled": False, "streamed": True, "user": "u0",
    "finish_reason_raw": "end_turn", "finish_reason_normalized": "stop", "generation_time_ms": 4200,
    "time_to_first_token_ms": 900, "api_key_name": "prod", "app_name": "desk",
}  # fmt: skip
CLOUDFLARE: dict[str, Any] = {
    "id": "01J", "created_at": "2026-09-01T09:00:00Z", "cached": False, "cost": 0.0045, "custom_cost": False,
    "duration": 2600, "metadata": '{"user": "u7", "tenant": "acme"}', "model": "gpt-4o", "model_type": "chat",
    "path": "chat/completions", "provider": "openai", "request_content_type": "application/json",
    "request_type": "chat", "response_content_type": "application/json", "status_code": 200, "step": 0,
    "success": True, "tokens_in": 1000, "tokens_out": 200,
}  # fmt: skip
KONG: dict[str, Any] = {
    "started_at": 1788253200000, "latencies": {"request": 2750, "kong": 30, "proxy": 2720},
    "request": {"id": "rq-1", "uri": "/v1/chat/completions", "method": "POST"}, "response": {"status": 200},
    "consumer": {"username": "team-a"},
    "ai": {"proxy": {
        "usage": {"time_per_token": 30.14, "time_to_first_token": 631, "prompt_tokens": 14, "completion_tokens": 21,
                  "prompt_tokens_details": {"cached_tokens": 4}, "total_tokens": 35, "cost": 0.00042,
                  "completion_tokens_details": {"reasoning_tokens": 5}},
        "meta": {"request_model": "command", "provider_name": "cohere", "response_model": "command-r",
                 "plugin_id": "p", "llm_latency": 2670, "request_mode": "stream"},
    }},
}  # fmt: skip
COMPLETION = {
    "model": "gpt-4o-2024-08-06", "choices": [{"message": {"role": "assistant", "content": "Hi"},
                                               "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "prompt_tokens_details": {"cached_tokens": 400}},
}  # fmt: skip
INFERENCE: dict[str, Any] = {
    "databricks_request_id": "db-1", "request_date": "2026-09-01", "request_time": "2026-09-01T09:00:00Z",
    "status_code": 200, "sampling_fraction": 1.0, "execution_duration_ms": 2600, "client_request_id": None,
    "request": json.dumps({"messages": [{"role": "user", "content": "Hello"}], "user": "u3"}),
    "response": json.dumps(COMPLETION), "served_entity_id": "e1", "logging_error_codes": [],
    "requester": "8f1c2d3e-0000-4000-8000-000000000001",
}  # fmt: skip
USAGE: dict[str, Any] = {
    "account_id": "a", "workspace_id": "w", "databricks_request_id": "db-1", "requester": "ann@example.org",
    "status_code": 200, "request_time": "2026-09-01T09:00:00Z", "input_token_count": 1000, "output_token_count": 200,
    "usage_context": {"end_user": "u3", "use_case": "support"}, "request_streaming": False, "served_entity_id": "e1",
}  # fmt: skip
ALL = {"portkey": PORTKEY, "openrouter": OPENROUTER, "cloudflare": CLOUDFLARE, "kong": KONG, "databricks": INFERENCE}


def as_json(records: list[Row], path: Path) -> Path:
    path.write_text(json.dumps({"data": records}))
    return path


def as_lines(records: list[Row], path: Path) -> Path:
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def as_csv(records: list[Row], path: Path) -> Path:
    names = list(dict.fromkeys(n for r in records for n in r))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for r in records:
            writer.writerow(json.dumps(v) if isinstance(v := r.get(n), (dict, list, bool)) else v for n in names)
    return path


def as_parquet(records: list[Row], path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(records), path)
    return path


FORMS = {"json": as_json, "jsonl": as_lines, "csv": as_csv, "parquet": as_parquet}


def one(tmp_path: Path, *records: Row, form: str = "jsonl") -> Row:
    tables, _ = read_all([FORMS[form](list(records), tmp_path / f"gateway.{form}")])
    (request,) = requests_of(tables).values()
    return request


def facts(request: Row, *names: str) -> tuple[Any, ...]:
    return tuple(request[n] for n in names)


TOKENS = ("input_tokens", "output_tokens", "cached_read_tokens", "reasoning_tokens")
MEASURES = ("total_us", "ttft_us", "total_nusd", "error", "success", "llm_calls")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ALL)
def test_every_file_says_the_same(tmp_path: Path, name: str, form: str) -> None:
    expected, found = one(tmp_path, ALL[name]), one(tmp_path, ALL[name], form=form)
    names = (*TOKENS, *MEASURES, "started_at", "model", "provider", "user_key", "success", "input_text", "output_text")
    assert facts(found, *names) == facts(expected, *names)
    assert found["success"] is None


@pytest.mark.parametrize("name", ALL)
def test_each_is_recognised_by_its_columns(name: str) -> None:
    found = recognise(ALL[name])
    assert found is not None
    assert found.name == name


def test_portkey_states_cents(shared, tmp_path: Path) -> None:
    """`portkey-cents` of the field: $0.0045 a request, 3 of 30 failed."""
    folder = shared / "data" / "field" / "portkey-cents"
    for file, rows, failed in (("portkey.jsonl", 30, 3), ("portkey-600.jsonl", 600, 60)):
        requests = requests_of(read_all([folder / file])[0])
        assert len(requests) == rows
        assert {facts(r, "total_nusd", "input_tokens", "output_tokens", "success") for r in requests.values()} == {
            (4_500_000, 1000, 200, None)
        }
        assert sum(r["error"] for r in requests.values()) == failed


def test_portkey_by_the_documented_columns(tmp_path: Path) -> None:
    """Columns and units of Portkey's documentation of its export: cost in cents, response_time in milliseconds."""
    request = one(tmp_path, PORTKEY)
    assert facts(request, *MEASURES) == (900_000, None, 4_500_000, False, None, 1)
    assert facts(request, "model", "provider", "environment") == ("gpt-4o", "openai", "production")
    other = one(tmp_path, {**PORTKEY, "metadata": {"_user": "user1"}})
    assert request["user_key"] != other["user_key"]
    failed = one(tmp_path, {**PORTKEY, "is_success": 0, "response_status_code": 500})
    assert facts(failed, "error", "error_type", "success") == (True, "500", None)
    assert one(tmp_path, {**PORTKEY, "cost_currency": "EUR"})["total_nusd"] is None
    unpriced = one(tmp_path, {**PORTKEY, "cost": 0})
    assert (unpriced["total_nusd"], unpriced["priced"]) == (None, False)
    assert one(tmp_path, {**PORTKEY, "cost": 0, "cache_status": "HIT"})["total_nusd"] == 0


@pytest.mark.parametrize("missing", ["id", "trace_id", "is_success", "cost_currency", "metadata", "total_units",
                                     "request_url", "stream_mode"])  # fmt: skip
def test_portkey_with_a_column_that_was_not_asked_for(tmp_path: Path, missing: str) -> None:
    request = one(tmp_path, {k: v for k, v in PORTKEY.items() if k != missing})
    assert facts(request, *MEASURES) == (900_000, None, 4_500_000, False, None, 1)


def test_calls_that_share_a_trace_are_one_request(tmp_path: Path) -> None:
    """The first attempt failed, the second, at a fallback, did not: one request of two calls that did not fail."""
    first = {**PORTKEY, "is_success": 0, "response_status_code": 429, "cost": 0, "res_units": 0, "req_units": 0}
    second = {**PORTKEY, "id": "pk-2", "created_at": "2026-09-01T09:00:01.000Z", "ai_org": "azure-openai"}
    request = one(tmp_path, first, second)
    assert facts(request, "llm_calls", "error", "total_us", "total_nusd") == (2, False, 1_900_000, 4_500_000)
    assert facts(request, "input_tokens", "output_tokens") == (1000, 200)


def test_openrouter_of_the_field(shared) -> None:
    requests = requests_of(read_all([shared / "data/field/openrouter-generation/generations.jsonl"])[0])
    assert len(requests) == 30
    assert {facts(r, *TOKENS, "total_nusd", "provider") for r in requests.values()} == {
        (4804, 188, 4324, 20, 12_600_000, "anthropic")
    }
    assert len({r["user_key"] for r in requests.values()}) == 4


def test_openrouter_by_its_documentation(tmp_path: Path) -> None:
    """Fields of `GET /generation` and of the activity export; native tokens are the provider's own."""
    for record in (OPENROUTER, ACTIVITY):
        request = one(tmp_path, record)
        assert facts(request, *TOKENS) == (4804, 188, 4324, 20)
        assert facts(request, *MEASURES) == (4_200_000, 900_000, 12_600_000, False, None, 1)
    camel = {"totalCost": 0.0015, "nativeTokensPrompt": 10, "nativeTokensCompletion": 25, "latency": 1250,
             "generationTime": 1200, "id": "gen-3", "createdAt": "2024-07-15T23:33:19Z", "streamed": True,
             "model": "sao10k/l3-stheno-8b", "providerName": "Infermatic"}  # fmt: skip
    request = one(tmp_path, camel)
    assert facts(request, "total_us", "ttft_us", "total_nusd", "input_tokens") == (1_250_000, None, 1_500_000, 10)


def test_openrouter_with_a_key_of_the_customer(tmp_path: Path) -> None:
    own = {**OPENROUTER, "is_byok": True, "total_cost": 0.0006, "upstream_inference_cost": 0.012}
    assert one(tmp_path, own)["total_nusd"] == 12_600_000
    assert one(tmp_path, {**ACTIVITY, "cost_total": 0.0006, "byok_usage_inference": 0.012})["total_nusd"] == 12_600_000


def test_openrouter_failures(tmp_path: Path) -> None:
    tried = {**OPENROUTER, "provider_responses": [{"status": 503}, {"status": 200}]}
    assert facts(one(tmp_path, tried), "error", "retries") == (False, 1)
    failed = {**OPENROUTER, "provider_responses": [{"status": 503}, {"status": 502}]}
    assert facts(one(tmp_path, failed), "error", "error_type") == (True, "502")
    assert one(tmp_path, {**OPENROUTER, "cancelled": True})["error_type"] == "cancelled"


def test_cloudflare_by_the_types_of_its_sdk(tmp_path: Path) -> None:
    """`AiGatewayLog` of Cloudflare's types for Workers, and the page that the API answers with."""
    request = one(tmp_path, CLOUDFLARE)
    assert facts(request, *MEASURES) == (2_600_000, None, 4_500_000, False, None, 1)
    assert facts(request, "input_tokens", "output_tokens", "provider") == (1000, 200, "openai")
    page = tmp_path / "page.json"
    page.write_text(json.dumps({"result": [CLOUDFLARE], "result_info": {"page": 1}, "success": True, "errors": []}))
    tables, receipt = read_all([page])
    assert receipt.dropped == 0
    (paged,) = requests_of(tables).values()
    assert facts(paged, *MEASURES, "user_key") == facts(request, *MEASURES, "user_key")
    failed = one(tmp_path, {**CLOUDFLARE, "success": False, "status_code": 429, "tokens_in": 0, "tokens_out": 0})
    assert facts(failed, "error", "error_type", "success") == (True, "429", None)
    cached = one(tmp_path, {**CLOUDFLARE, "cached": True, "cost": 0})
    assert facts(cached, "total_nusd", "error") == (0, False)


def test_cloudflare_events_of_logpush(tmp_path: Path) -> None:
    """Fields of the documented data set `ai_gateway_events`; its bodies are encrypted."""
    event = {
        "Cached": False, "Endpoint": "chat/completions", "Gateway": "g", "Metadata": {"user_id": "u1"},
        "Metrics": {"cost": 0.0042, "durationMs": 1234}, "Model": "gpt-4o", "Provider": "openai", "RateLimited": False,
        "RequestBody": {"type": "encrypted", "data": "AAAA"}, "RequestedModel": "cloudflare/auto", "StatusCode": 200,
        "Timestamp": "2026-09-01T09:00:00Z",
    }  # fmt: skip
    request = one(tmp_path, event)
    assert facts(request, *MEASURES) == (1_234_000, None, 4_200_000, False, None, 1)
    assert one(tmp_path, {**event, "RateLimited": True})["error_type"] == "rate_limited"


def test_kong_by_its_audit_log_reference(tmp_path: Path) -> None:
    """The documented entry of one call, in a whole log entry: the request took 2.75 s, the first token 0.631 s."""
    request = one(tmp_path, KONG)
    assert facts(request, *TOKENS) == (14, 21, 4, 5)
    assert facts(request, *MEASURES) == (2_750_000, 631_000, 420_000, False, None, 1)
    assert facts(request, "model", "provider") == ("command-r", "cohere")
    failed = one(tmp_path, {**KONG, "response": {"status": 502}})
    assert facts(failed, "error", "error_type", "success") == (True, "502", None)
    free = json.loads(json.dumps(KONG))
    free["ai"]["proxy"]["usage"]["cost"] = 0
    assert one(tmp_path, free)["total_nusd"] is None


def test_kong_flattened_and_of_old_versions(tmp_path: Path) -> None:
    flat = {"started_at": 1788253200000, "request.id": "rq-1", "response.status": 200, "latencies.request": 2750}
    flat |= {f"ai.proxy.{part}.{k}": v for part in ("usage", "meta") for k, v in KONG["ai"]["proxy"][part].items()}
    request = one(tmp_path, flat, form="csv")
    assert facts(request, *TOKENS, *MEASURES) == (14, 21, 4, 5, 2_750_000, 631_000, 420_000, False, None, 1)
    old = {**KONG, "ai": {"ai-proxy": {"usage": {"prompt_token": 14, "completion_token": 21, "total_tokens": 35},
                                       "meta": {"request_model": "command", "provider_name": "cohere"}}}}  # fmt: skip
    assert facts(one(tmp_path, old), "input_tokens", "output_tokens", "llm_calls") == (14, 21, 1)


def test_kong_with_several_plugins_is_one_request(tmp_path: Path) -> None:
    entry = {**KONG, "ai": {"ai-request-transformer": {"usage": {"prompt_tokens": 6, "completion_tokens": 4}},
                            "mcp": {"rpc": [{"method": "tools/call", "latency": 6, "id": "2",
                                             "tool_name": "list_orders"}]}, **KONG["ai"]}}  # fmt: skip
    request = one(tmp_path, entry)
    assert facts(request, "llm_calls", "tool_calls", "input_tokens", "output_tokens", "total_us") == (
        2, 1, 20, 25, 2_750_000
    )  # fmt: skip


def test_databricks_inference_tables(tmp_path: Path) -> None:
    """Schema of the AI Gateway's inference table, and of the older one, in Databricks' documentation."""
    request = one(tmp_path, INFERENCE)
    assert facts(request, *TOKENS) == (1000, 200, 400, None)
    assert facts(request, "total_us", "error", "success", "llm_calls") == (2_600_000, False, None, 1)
    assert facts(request, "model", "input_text", "output_text") == ("gpt-4o-2024-08-06", "Hello", "Hi")
    old = {
        "databricks_request_id": "db-1", "date": "2026-09-01", "timestamp_ms": 1788253200000, "status_code": 400,
        "execution_time_ms": 35, "request": INFERENCE["request"], "response": '{"error": {"message": "no"}}',
        "sampling_fraction": 0.25,
        "request_metadata": {"endpoint_name": "chat", "model_name": "claude", "model_version": "3"},
    }  # fmt: skip
    tables, receipt = read_all([as_lines([old], tmp_path / "old.jsonl")])
    (failed,) = requests_of(tables).values()
    assert facts(failed, "total_us", "error", "error_type", "model") == (35_000, True, "400", "claude")
    assert any("sample of the calls, 0.25 of all" in n for n in receipt.notes)
    assert failed["started_at"] == request["started_at"]


def test_databricks_streams_and_usage(tmp_path: Path) -> None:
    """A stream is logged as its chunks, or as the text of its events."""
    chunks = [{"choices": [{"delta": {"content": t}}]} for t in ("He", "llo")] + [{"usage": COMPLETION["usage"]}]
    events = "".join(f"data: {json.dumps(c)}\n\n" for c in chunks) + "data: [DONE]\n\n"
    for response in (json.dumps(chunks), events):
        request = one(tmp_path, {**INFERENCE, "response": response})
        assert facts(request, "input_tokens", "output_tokens", "output_text") == (1000, 200, "Hello")
    counted = one(tmp_path, USAGE)
    assert facts(counted, "input_tokens", "output_tokens", "error", "success") == (1000, 200, False, None)
    assert counted["user_key"] == request["user_key"]
    gateway = {"request_id": "g1", "event_time": "2026-09-01T09:00:00Z", "latency_ms": 2600, "status_code": 200,
               "time_to_first_byte_ms": 400, "destination_model": "claude-sonnet-4-5", "input_tokens": 10,
               "output_tokens": 5, "requester": "ann@example.org", "endpoint_name": "chat"}  # fmt: skip
    assert facts(one(tmp_path, gateway), "total_us", "ttft_us", "input_tokens") == (2_600_000, 400_000, 10)


def test_databricks_agents_are_the_trace_in_their_response(shared, tmp_path: Path) -> None:
    """A genuine MLflow trace, where the schema of agents' payloads has it: `databricks_output.trace`."""
    trace = json.loads((shared / "data" / "exports" / "mlflow" / "trace_single.json").read_text())
    response = {"messages": [{"role": "assistant", "content": "x"}], "databricks_output": {"trace": trace}}
    found = one(tmp_path, {**INFERENCE, "response": json.dumps(response)})
    (expected,) = requests_of(read_all([shared / "data" / "exports" / "mlflow" / "trace_single.json"])[0]).values()
    assert found == expected
    spans = trace["data"]["spans"]
    assert len(spans) > 1


def test_what_nobody_reads_is_named(tmp_path: Path) -> None:
    for name, record in ALL.items():
        _, receipt = read_all([as_lines([{**record, "shoe_size": 44}], tmp_path / f"{name}.jsonl")])
        assert "shoe_size" in receipt.unmapped, name
