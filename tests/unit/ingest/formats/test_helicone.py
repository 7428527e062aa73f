"""Helicone: calls through the gateway, their sessions, feedback and scores."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from tests.unit.ingest.formats.helpers import Row, read_all, requests_of

SHAPE = "data/exports/shapes/helicone/requests_shape.jsonl"
CALL: dict[str, Any] = {
    "request_id": "r1", "request_created_at": "2026-03-01T10:00:00.000Z", "response_status": 200, "delay_ms": 812,
    "request_path": "https://gateway.test/v1/chat/completions", "provider": "OPENAI", "prompt_tokens": 12,
    "completion_tokens": 2, "response_model": "gpt-4o-mini-2024-07-18", "request_model": "gpt-4o-mini",
    "costUSD": 0.000003, "request_body": {"messages": [{"role": "user", "content": "Hello"}]},
    "response_body": {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]},
}  # fmt: skip


def read(tmp_path: Path, *records: dict[str, Any], **options: Any) -> tuple[dict[str, list[Row]], Any]:
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    return read_all([path], **options)


def one(tmp_path: Path, **changes: Any) -> Row:
    tables, _ = read(tmp_path, {**CALL, **changes})
    (request,) = requests_of(tables).values()
    return request


def in_session(path: str, number: int, second: int, **changes: Any) -> dict[str, Any]:
    return {
        **CALL, "request_id": f"r{number}", "request_created_at": f"2026-03-01T10:00:{second:02d}.000Z",
        "request_properties": {"Helicone-Session-Id": "s1", "Helicone-Session-Path": path, "tenant": "acme"}, **changes,
    }  # fmt: skip


def test_the_shape(shared) -> None:
    raw = [json.loads(line) for line in (shared / SHAPE).read_text().splitlines()]
    tables, receipt = read_all([shared / SHAPE])
    requests = requests_of(tables)
    assert len(requests) == len(raw) == 2
    assert receipt.dropped == 0
    fine, failed = requests["sess-1"], requests[raw[1]["request_id"]]
    assert (fine["total_us"], fine["ttft_us"], fine["total_nusd"]) == (raw[0]["delay_ms"] * 1000, None, 3_000)
    assert (fine["input_tokens"], fine["output_tokens"], fine["error"]) == (12, 2, False)
    assert (fine["environment"], fine["tenant"], fine["prompt_version"]) == ("production", "acme", "support-v12")
    assert (fine["success"], fine["outcome_source"], fine["user_rating"]) == (True, "user", 1.0)
    assert (fine["input_text"], fine["output_text"]) == ("Hello", "Hi")
    assert (failed["error"], failed["error_type"], failed["total_us"]) == (True, "rate_limit_exceeded", 35_000)
    assert failed["model"] == "gpt-4o-mini"
    assert {(s["name"], s["value"]) for s in tables["scores"]} == {("user_feedback", 1.0), ("helpfulness", 4.0)}
    assert len([s for s in tables["spans"] if s["kind"] == "llm"]) == 2


def test_csv_and_json_lines_are_the_same_requests(shared, tmp_path: Path) -> None:
    raw = [json.loads(line) for line in (shared / SHAPE).read_text().splitlines()]
    names = list(dict.fromkeys(name for record in raw for name in record))
    with (tmp_path / "requests.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for record in raw:
            cells = [record.get(n) for n in names]
            writer.writerow(json.dumps(c) if isinstance(c, (dict, list, bool)) else c for c in cells)
    (tmp_path / "envelope.json").write_text(json.dumps({"data": raw}))
    expected = requests_of(read_all([shared / SHAPE])[0])
    for name in ("requests.csv", "envelope.json"):
        assert requests_of(read_all([tmp_path / name])[0]) == expected, name
    together, receipt = read_all([tmp_path / "envelope.json", tmp_path / "requests.csv", shared / SHAPE])
    assert requests_of(together) == expected
    assert receipt.repeated >= 4


def test_session_paths_are_the_tree_and_calls_count_once(tmp_path: Path) -> None:
    records = [
        in_session("/plan", 1, 0), in_session("/plan/search", 2, 2), in_session("/plan/search/rank", 3, 4),
        in_session("/answer", 4, 6),
    ]  # fmt: skip
    tables, _ = read(tmp_path, *records)
    parents = {s["span_id"]: s["parent_id"] for s in tables["spans"]}
    assert parents == {
        "r1": "path:/plan", "r2": "path:/plan/search", "r3": "path:/plan/search/rank", "r4": "path:/answer",
        "path:/plan": None, "path:/plan/search": "path:/plan", "path:/plan/search/rank": "path:/plan/search",
        "path:/answer": None,
    }  # fmt: skip
    (request,) = requests_of(tables).values()
    assert (request["llm_calls"], request["input_tokens"], request["total_nusd"]) == (4, 48, 12_000)
    assert request["total_us"] == 6_812_000
    assert request["tenant"] == "acme"
    shuffled, _ = read(tmp_path, *records[::-1])
    assert requests_of(shuffled) == requests_of(tables)


def test_a_session_ends_as_its_last_call_does(tmp_path: Path) -> None:
    for statuses, failed in (((429, 200), False), ((200, 500), True)):
        calls = [in_session("/plan", n, n, response_status=status) for n, status in enumerate(statuses)]
        (request,) = requests_of(read(tmp_path, *calls)[0]).values()
        assert request["error"] is failed
        (backwards,) = requests_of(read(tmp_path, *calls[::-1])[0]).values()
        assert backwards["error"] is failed


def test_codes_of_the_gateway_itself(tmp_path: Path) -> None:
    assert [one(tmp_path, response_status=c)["error_type"] for c in (-1, -3, 503)] == ["timeout", "cancelled", "503"]
    pending = one(tmp_path, response_status=-2, delay_ms=None)
    assert (pending["error"], pending["total_us"]) == (False, None)
    tables, _ = read(tmp_path, {**CALL, "response_status": -4})
    assert [(i["category"], i["state"]) for i in tables["incidents"]] == [("threat", "blocked")]


def test_delays_are_milliseconds_and_sentinels_nothing(tmp_path: Path) -> None:
    assert one(tmp_path, delay_ms="812")["total_us"] == 812_000
    late = one(tmp_path, delay_ms=-1, response_created_at="2026-03-01T10:00:01.000Z")
    assert late["total_us"] == 1_000_000


def test_the_input_includes_cached_tokens(tmp_path: Path) -> None:
    request = one(tmp_path, prompt_tokens=412, prompt_cache_read_tokens=256)
    assert (request["input_tokens"], request["cached_read_tokens"]) == (412, 256)


def test_first_tokens_are_those_of_streams(tmp_path: Path) -> None:
    streamed = {**CALL["request_body"], "stream": True}
    assert one(tmp_path, time_to_first_token=300, request_body=streamed)["ttft_us"] == 300_000
    assert one(tmp_path, time_to_first_token=812)["ttft_us"] is None


def test_the_owner_of_the_key_is_no_user(tmp_path: Path) -> None:
    assert one(tmp_path, helicone_user="owner")["user_key"] is None
    assert one(tmp_path, request_user_id="u-1")["user_key"] is not None


def test_a_cost_of_0_is_unknown_unless_out_of_the_cache(tmp_path: Path) -> None:
    assert one(tmp_path, costUSD=0)["total_nusd"] is None
    assert one(tmp_path, costUSD=0, cache_reference_id="5f0c")["total_nusd"] == 0


def test_scores_are_numbers_booleans_or_objects(tmp_path: Path) -> None:
    stated = {"correctness": {"value": 1, "valueType": "boolean"}, "tone": {"value": 73, "valueType": "number"},
              "safe-hcone-bool": 0, "empty": None}  # fmt: skip
    tables, _ = read(tmp_path, {**CALL, "scores": stated})
    assert {(s["name"], s["value"]) for s in tables["scores"]} == {("correctness", 1.0), ("tone", 73.0), ("safe", 0.0)}
    (request,) = requests_of(tables).values()
    assert (request["correct"], request["incident_count"]) == (True, 1)


def test_logged_tools_and_moderations(tmp_path: Path) -> None:
    tool = {**CALL, "request_id": "t", "request_body": {"_type": "tool", "toolName": "get_order", "input": {"id": 7}},
            "response_body": {"_type": "tool", "status": "sent"}}  # fmt: skip
    verdict = {"results": [{"flagged": True, "categories": {"hate": False, "illicit/violent": True}}]}
    moderation = {**CALL, "request_id": "m", "request_path": "/v1/moderations", "response_body": verdict}
    tables, _ = read(tmp_path, tool, moderation)
    assert [(c["name"], c["arguments"]) for c in tables["tool_calls"]] == [("get_order", '{"id":7}')]
    assert [(i["category"], i["trace_id"]) for i in tables["incidents"]] == [("illicit/violent", "m")]


def test_bodies_outside_the_export_are_missed_aloud(tmp_path: Path) -> None:
    elsewhere = {"request_body": None, "response_body": None, "signed_body_url": "https://storage.test/x?sig=secret"}
    tables, receipt = read(tmp_path, {**CALL, **elsewhere})
    assert any("not in the export" in note for note in receipt.notes)
    assert "secret" not in repr((tables, receipt))
