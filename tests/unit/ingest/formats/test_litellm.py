"""LiteLLM: the same five calls as the CSV and JSON of its table and as the payload of its callbacks."""

from __future__ import annotations

import csv
import itertools
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import kpi
from tests.unit.ingest.formats.helpers import Row, read_all, requests_of

FOLDER = "data/exports/litellm"
CSV, ROWS, PAYLOAD = "LiteLLM_SpendLogs.csv", "spend_logs_payload.json", "standard_logging_payload.json"
CALL = {
    "request_id": "chatcmpl-1", "call_type": "acompletion", "spend": 6.12e-05, "model": "gpt-4o-mini",
    "startTime": "2026-03-01T10:00:00Z", "endTime": "2026-03-01T10:00:01Z", "status": "success",
    "prompt_tokens": 412, "completion_tokens": 31, "cache_hit": "None", "custom_llm_provider": "openai",
}  # fmt: skip


def naive(path: Path) -> list[dict[str, Any]]:
    """The records of a file, read without the reader under test."""
    if path.suffix == ".json":
        return list(json.loads(path.read_text()))
    csv.field_size_limit(10**9)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read(tmp_path: Path, *records: dict[str, Any], **options: Any) -> tuple[dict[str, list[Row]], Any]:
    path = tmp_path / "calls.json"
    path.write_text(json.dumps(list(records)))
    return read_all([path], **options)


def one(tmp_path: Path, **changes: Any) -> Row:
    tables, _ = read(tmp_path, {**CALL, **changes})
    (request,) = requests_of(tables).values()
    return request


@pytest.mark.parametrize("name", [CSV, ROWS, PAYLOAD])
def test_counts_of_a_genuine_export(shared, name: str) -> None:
    raw = naive(shared / FOLDER / name)
    tables, receipt = read_all([shared / FOLDER / name])
    requests = requests_of(tables)
    assert (receipt.rows_read, receipt.spans, receipt.dropped) == (len(raw), 5, 0)
    assert set(requests) == {r["trace_id" if name == PAYLOAD else "session_id"] for r in raw}
    assert len(requests) == 4
    chats = [r for r in raw if r["call_type"] == "acompletion"]
    for field, column in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")):
        assert sum(r[column] for r in requests.values()) == sum(int(r[field]) for r in chats)
    cost = "response_cost" if name == PAYLOAD else "spend"
    total = sum(int(Decimal(str(r[cost])) * 10**9) for r in raw)
    assert sum(r["total_nusd"] for r in requests.values()) == total == 175_940
    assert sum(r["cached_read_tokens"] for r in requests.values()) == 3 * 256
    assert {r["error"] for r in requests.values()} == {False}
    assert {s["kind"] for s in tables["spans"]} == {"llm", "embedding"}
    assert {(r["prompt_version"], r["release"], r["tenant"]) for r in requests.values()} == {("v12", "2.14.0", "acme")}
    assert not tables.get("scores")
    assert not tables.get("incidents")


def test_kpis_are_equal_in_every_layout(shared) -> None:
    """To the microsecond in JSON and payload; the CSV cuts times to milliseconds and keeps all else."""
    table, rows, payload = (requests_of(read_all([shared / FOLDER / n])[0]) for n in (CSV, ROWS, PAYLOAD))
    only_in_payload = {"input_text", "output_text", "refused"}
    times = {"started_at", "total_us", "model_us", "ttft_us"}
    for trace, request in payload.items():
        same = {k: v for k, v in request.items() if k not in only_in_payload}
        assert same == {k: v for k, v in rows[trace].items() if k not in only_in_payload}
        cut = {k: v for k, v in table[trace].items() if k not in only_in_payload | times}
        assert cut == {k: v for k, v in same.items() if k not in times}
        assert abs(table[trace]["total_us"] - request["total_us"]) < 1_000


def test_layouts_loaded_together_double_nothing_in_any_order(shared, home: Path) -> None:
    alone = requests_of(read_all([shared / FOLDER / PAYLOAD])[0])
    loaded = []
    for number, names in enumerate(itertools.permutations([CSV, ROWS, PAYLOAD])):
        tables, receipt = read_all([shared / FOLDER / name for name in names])
        assert receipt.repeated == 10
        loaded.append(requests_of(tables))
        if number == 0:
            told = kpi.load([shared / FOLDER / name for name in names])
            assert (told.requests, told.spans, told.dropped) == (4, 5, 0)
    assert all(requests == alone for requests in loaded)


def test_the_receipt_names_every_field_that_is_lost(shared, tmp_path: Path) -> None:
    _, receipt = read(
        tmp_path, {**CALL, "autorouter_savings": 0.5, "agent_id": "", "metadata": {"eval_information": 1}}
    )
    lost = [c.source for c in receipt.columns if c.how == "unmapped"]
    assert lost == ["autorouter_savings", "metadata.eval_information"]


def test_float_seconds_keep_their_microseconds(shared) -> None:
    tables, _ = read_all([shared / FOLDER / PAYLOAD])
    started = {str(s["started_at"])[:26] for s in tables["spans"]}
    assert started == {r["startTime"][:26].replace("T", " ") for r in naive(shared / FOLDER / ROWS)}


def test_the_input_includes_cached_tokens(tmp_path: Path) -> None:
    usage = {"usage_object": {"prompt_tokens": 412, "prompt_tokens_details": {"cached_tokens": 256}}}
    request = one(tmp_path, metadata=usage)
    assert (request["input_tokens"], request["cached_read_tokens"]) == (412, 256)


def test_parts_of_the_cost_contain_each_other(tmp_path: Path) -> None:
    parts = {"input_cost": 4.26e-05, "output_cost": 1.86e-05, "cache_read_cost": 1.92e-05, "total_cost": 6.12e-05}
    assert one(tmp_path, metadata={"cost_breakdown": parts})["total_nusd"] == 61_200 != round(sum(parts.values()) * 1e9)


def test_cache_hit_is_text_and_failures_count_no_tokens(tmp_path: Path) -> None:
    for text, truth in (("None", None), ("False", "false"), ("True", "true")):
        tables, _ = read(tmp_path, {**CALL, "cache_hit": text}, allow=["metadata.cache_hit"])
        assert requests_of(tables)["chatcmpl-1"].get("x_cache_hit") == truth
    failure = one(tmp_path, status="failure", spend=0.0, prompt_tokens=0, completion_tokens=0)
    assert failure["error"] is True
    assert [failure[n] for n in ("input_tokens", "output_tokens", "total_nusd", "priced")] == [None] * 4


def test_the_end_is_no_first_token(tmp_path: Path) -> None:
    assert one(tmp_path, completionStartTime=CALL["endTime"])["ttft_us"] is None
    assert one(tmp_path, completionStartTime="2026-03-01T10:00:00.250Z")["ttft_us"] == 250_000


def test_refusals_are_tucked_away(shared) -> None:
    (refused,) = [r for r in requests_of(read_all([shared / FOLDER / PAYLOAD])[0]).values() if r["refused"]]
    assert refused["output_text"] == "I can't help with that."


def test_the_customer_is_the_end_user(tmp_path: Path) -> None:
    theirs, ours = one(tmp_path, user="svc-bot", end_user="u-1"), one(tmp_path, user="svc-other", end_user="u-1")
    assert theirs["user_key"] == ours["user_key"] is not None
    assert one(tmp_path, user="svc-bot", end_user="")["user_key"] is None


def test_a_cost_of_0_is_known_only_with_a_breakdown(tmp_path: Path) -> None:
    assert one(tmp_path, spend=0.0)["total_nusd"] is None
    assert one(tmp_path, spend=0.0, metadata={"cost_breakdown": {"total_cost": 0.0}})["total_nusd"] == 0
    assert one(tmp_path, spend=0.0, cache_hit="True")["total_nusd"] == 0


def test_failures_that_a_fallback_survived(tmp_path: Path) -> None:
    failed = {
        **CALL, "request_id": "call-1", "session_id": "s", "status": "failure", "spend": 0, "prompt_tokens": 0,
        "completion_tokens": 0, "metadata": {"error_information": {
            "error_class": "RateLimitError", "error_message": "slow down", "traceback": "File secret.py"}},
    }  # fmt: skip
    saved = {
        **CALL, "session_id": "s", "model": "gpt-4o", "startTime": "2026-03-01T10:00:02Z",
        "endTime": "2026-03-01T10:00:03Z", "metadata": {"attempted_fallbacks": 1, "attempted_retries": 2},
    }  # fmt: skip
    for records in ((failed, saved), (saved, failed)):
        tables, _ = read(tmp_path, *records)
        (request,) = requests_of(tables).values()
        assert (request["error"], request["model"], request["llm_calls"]) == (False, "gpt-4o", 2)
        assert (request["fallback"], request["retries"]) == (True, 2)
        assert request["total_us"] == 3_000_000
        (span,) = [s for s in tables["spans"] if s["status"] == "error"]
        assert (span["error_type"], span["status_message"]) == ("RateLimitError", "slow down")
    (alone,) = requests_of(read(tmp_path, failed)[0]).values()
    assert (alone["error"], alone["error_type"]) == (True, "RateLimitError")


def test_answers_from_the_cache_are_calls_of_their_own(tmp_path: Path) -> None:
    """Their id is made up anew in each layout; the id of the call is not."""
    hit = {**CALL, "litellm_call_id": "call-2", "cache_hit": "True", "spend": 0.0}
    row = {**hit, "request_id": "chatcmpl-1_cache_hit1772359200.5"}
    payload = {k: v for k, v in hit.items() if k not in ("request_id", "spend")}
    payload = {**payload, "id": "chatcmpl-1_cache_hit1772359200.9", "response_cost": 0.0}
    tables, receipt = read(tmp_path, {**CALL, "litellm_call_id": "call-1"}, row, payload)
    assert {s["span_id"] for s in tables["spans"]} == {"chatcmpl-1", "call-2"}
    assert receipt.repeated == 1


def test_guardrails_are_spans_and_what_they_did_are_incidents(tmp_path: Path) -> None:
    guards = [
        {"guardrail_name": "pii", "guardrail_status": status, "start_time": 1772359200.0, "end_time": 1772359200.1,
         "violation_categories": categories}
        for status, categories in (("success", []), ("guardrail_flagged", ["tone"]), ("not_run", None),
                                   ("guardrail_intervened", ["credit_card"]), ("guardrail_failed_to_respond", None))
    ]  # fmt: skip
    for place in ({"guardrail_information": guards}, {"metadata": {"guardrail_information": guards}}):
        tables, _ = read(tmp_path, {**CALL, **place})
        assert [s["kind"] for s in tables["spans"]].count("guardrail") == 4
        assert {(i["category"], i["state"], i["severity"]) for i in tables["incidents"]} == {
            ("tone", "flagged", None), ("credit_card", "blocked", None),
        }  # fmt: skip
        (request,) = requests_of(tables).values()
        assert (request["incident_count"], request["guardrail_us"], request["error"]) == (2, 100_000, False)


def test_what_was_fetched_from_a_vector_store(tmp_path: Path) -> None:
    found = [{"file_id": f"f{n}", "score": n / 10, "content": [{"type": "text", "text": f"part {n}"}]} for n in (3, 2)]
    search = {"query": "order?", "start_time": 1772359200.0, "end_time": 1772359200.5,
              "vector_store_search_response": {"data": found}}  # fmt: skip
    tables, _ = read(tmp_path, {**CALL, "metadata": {"vector_store_request_metadata": [search]}})
    assert [(d["document_id"], d["score"], d["content"], d["rank"]) for d in tables["documents"]] == [
        ("f3", 0.3, "part 3", 1), ("f2", 0.2, "part 2", 2),
    ]  # fmt: skip
    (request,) = requests_of(tables).values()
    assert (request["retrieved_docs"], request["retrieval_us"]) == (2, 500_000)


def test_tools_called_through_the_gateway(tmp_path: Path) -> None:
    used = {"name": "get_order", "arguments": {"id": 7}, "result": "sent"}
    tables, _ = read(tmp_path, {**CALL, "call_type": "call_mcp_tool", "metadata": {"mcp_tool_call_metadata": used}})
    (call,) = tables["tool_calls"]
    assert (call["name"], call["arguments"], call["result"]) == ("get_order", '{"id":7}', "sent")


def test_what_was_asked_may_stand_in_the_request_to_the_proxy(tmp_path: Path) -> None:
    body = {"model": "support-mini", "messages": [{"role": "user", "content": "Hello"}]}
    stored = one(tmp_path, messages="{}", response="{}", proxy_server_request=json.dumps(body))
    assert (stored["input_text"], stored["output_text"]) == ("Hello", None)


def test_json_in_text_and_ids_of_digits(tmp_path: Path) -> None:
    path = tmp_path / "spend.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        record = {**CALL, "request_id": "1748652919163558461", "messages": "{}", "response": "{}",
                  "metadata": json.dumps({"spend_logs_metadata": {"tenant": "acme\nGmbH"}})}  # fmt: skip
        writer.writerows([record, record.values()])
    (request,) = requests_of(read_all([path])[0]).values()
    assert (request["trace_id"], request["tenant"]) == ("1748652919163558461", "acme\nGmbH")
    assert (request["input_text"], request["output_text"]) == (None, None)


def test_moderations_called_through_the_gateway(tmp_path: Path) -> None:
    verdict = {"results": [{"flagged": True, "categories": {"hate": True}, "category_scores": {"hate": 0.9}}]}
    tables, receipt = read(tmp_path, {**CALL, "call_type": "amoderation", "response": json.dumps(verdict)})
    assert receipt.dropped == 0
    assert [(i["category"], i["state"]) for i in tables["incidents"]] == [("hate", "flagged")]
