"""Bedrock invocation logs: bodies of every provider, streams, guardrails, cached tokens."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ingest.formats.helpers import Row, read_all, requests_of

SHAPE = "data/exports/shapes/bedrock/model_invocation_log_shape.jsonl"
ASSESSMENT = {
    "gr1": {
        "topicPolicy": {"topics": [{"name": "Investment", "type": "DENY", "action": "BLOCKED"}]},
        "contentPolicy": {"filters": [{"type": "HATE", "confidence": "LOW", "action": "NONE"}]},
        "sensitiveInformationPolicy": {"piiEntities": [{"type": "EMAIL", "match": "a@b.c", "action": "ANONYMIZED"}]},
    }
}


def record(body: Any = None, asked: Any = None, **changes: Any) -> dict[str, Any]:
    return {
        "schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "timestamp": "2026-04-17T14:21:50Z",
        "accountId": "123456789012", "region": "eu-central-1", "requestId": "req-1", "operation": "InvokeModel",
        "modelId": "anthropic.claude-sonnet-4-20250514-v1:0",
        "input": {"inputContentType": "application/json", "inputTokenCount": 156, "inputBodyJson": asked},
        "output": {"outputContentType": "application/json", "outputTokenCount": 31, "outputBodyJson": body},
        **changes,
    }  # fmt: skip


def read(tmp_path: Path, *records: dict[str, Any], **options: Any) -> tuple[dict[str, list[Row]], Any]:
    path = tmp_path / "log.json"
    path.write_text("\n".join(map(json.dumps, records)) + "\n")
    return read_all([path], **options)


def one(tmp_path: Path, *args: Any, **changes: Any) -> Row:
    (request,) = requests_of(read(tmp_path, record(*args, **changes))[0]).values()
    return request


def test_the_shape(shared, tmp_path: Path) -> None:
    raw = [json.loads(line) for line in (shared / SHAPE).read_text().splitlines()]
    tables, receipt = read_all([shared / SHAPE])
    requests = requests_of(tables)
    assert (len(requests), receipt.spans, receipt.dropped) == (len(raw), 3, 0)
    for line in raw:
        request = requests[line["requestId"]]
        assert request["input_tokens"] == line["input"]["inputTokenCount"]
        assert request["output_tokens"] == line["output"]["outputTokenCount"]
        assert (request["error"], request["provider"]) == (False, "aws.bedrock")
    command, converse, stream = (requests[line["requestId"]] for line in raw)
    assert (command["total_us"], command["x_team"]) == (None, "support")
    assert (converse["total_us"], converse["output_text"]) == (812_000, "Hello")
    assert converse["model"] == "us.anthropic.claude-sonnet-4-20250514-v1:0"
    assert (stream["total_us"], stream["ttft_us"]) == (900_000, 410_000)
    assert stream["output_text"] == " Hello! How can I assist you today?"
    packed = tmp_path / "log.json.gz"
    packed.write_bytes(gzip.compress((shared / SHAPE).read_bytes()))
    assert requests_of(read_all([packed])[0]) == requests


def test_the_log_counts_cached_tokens_beside_the_input(tmp_path: Path) -> None:
    counted = {"inputTokenCount": 156, "cacheReadInputTokenCount": 256, "cacheWriteInputTokenCount": 8}
    request = one(tmp_path, input=counted)
    assert [request[n] for n in ("input_tokens", "cached_read_tokens", "cache_write_tokens")] == [420, 256, 8]
    body = {"type": "message", "content": [], "usage": {"input_tokens": 156, "cache_read_input_tokens": 256}}
    assert one(tmp_path, body)["input_tokens"] == 412
    assert one(tmp_path, body, input={})["input_tokens"] == 412
    openai = {"choices": [], "usage": {"prompt_tokens": 412, "prompt_tokens_details": {"cached_tokens": 256}}}
    assert one(tmp_path, openai, input={})["input_tokens"] == 412


BODIES = {
    "anthropic": {"type": "message", "content": [{"type": "text", "text": "Sent."}, {"type": "tool_use", "name": "x"}]},
    "converse": {"output": {"message": {"role": "assistant", "content": [{"text": "Sent."}]}}},
    "titan": {"results": [{"outputText": "Sent.", "completionReason": "FINISH"}], "inputTextTokenCount": 2},
    "llama": {"generation": "Sent.", "stop_reason": "stop"},
    "mistral": {"outputs": [{"text": "Sent.", "stop_reason": "stop"}]},
    "command": {"generations": [{"text": "Sent.", "finish_reason": "COMPLETE"}]},
    "command-r": {"text": "Sent.", "finish_reason": "COMPLETE"},
    "openai": {"choices": [{"message": {"role": "assistant", "content": "Sent."}, "finish_reason": "stop"}]},
    "anthropic stream": [
        {"type": "message_start", "message": {"role": "assistant", "content": [], "usage": {"input_tokens": 156}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Se"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "nt."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 31}},
    ],
    "converse stream": [
        {"messageStart": {"role": "assistant"}}, {"contentBlockDelta": {"delta": {"text": "Se"}}},
        {"contentBlockDelta": {"delta": {"text": "nt."}}}, {"messageStop": {"stopReason": "end_turn"}},
    ],
    "command-r stream": [
        {"event_type": "text-generation", "text": "Se"}, {"event_type": "text-generation", "text": "nt."},
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "text": "Sent."},
    ],
    "openai stream": [{"choices": [{"delta": {"content": "Se"}}]}, {"choices": [{"delta": {"content": "nt."}}]}],
}  # fmt: skip
ASKED: dict[str, Any] = {
    "messages": {"messages": [{"role": "user", "content": "Hello"}]},
    "converse": {"messages": [{"role": "user", "content": [{"text": "Hello"}]}], "system": [{"text": "Be kind."}]},
    "prompt": {"prompt": "Hello"}, "titan": {"inputText": "Hello"}, "command-r": {"message": "Hello"},
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_answers_of_every_provider(tmp_path: Path, name: str) -> None:
    assert one(tmp_path, BODIES[name])["output_text"] == "Sent."
    assert one(tmp_path, json.dumps(BODIES[name]))["output_text"] == "Sent."


@pytest.mark.parametrize("name", ASKED)
def test_questions_of_every_provider(tmp_path: Path, name: str) -> None:
    assert one(tmp_path, asked=ASKED[name])["input_text"] == "Hello"


def test_vectors_are_no_answer(tmp_path: Path) -> None:
    request = one(tmp_path, {"embedding": [0.1, 0.2]}, modelId="amazon.titan-embed-text-v2:0")
    assert (request["output_text"], request["llm_calls"]) == (None, 0)


@pytest.mark.parametrize(
    "body",
    [
        {"amazon-bedrock-guardrailAction": "INTERVENED", "amazon-bedrock-trace": {"guardrail": {"input": ASSESSMENT}}},
        {"stopReason": "guardrail_intervened", "trace": {"guardrail": {"inputAssessment": ASSESSMENT}}},
        [{"metadata": {"trace": {"guardrail": {"outputAssessments": {"o": [ASSESSMENT["gr1"]]}}}}}],
    ],
)  # fmt: skip
def test_a_guardrail_that_intervened_is_an_incident(tmp_path: Path, body: Any) -> None:
    tables, _ = read(tmp_path, record(body))
    (incident,) = tables["incidents"]
    assert (incident["category"], incident["state"], incident["severity"]) == ("Investment", "blocked", None)
    (request,) = requests_of(tables).values()
    assert (request["incident_count"], request["error"], request["llm_calls"]) == (1, False, 1)


def test_a_guardrail_that_let_pass_is_no_incident(tmp_path: Path) -> None:
    assert one(tmp_path, {"amazon-bedrock-guardrailAction": "NONE"})["incident_count"] == 0
    assert one(tmp_path, {"text": "Sent."})["incident_count"] is None


def test_cohorts_sessions_and_users_of_the_metadata(tmp_path: Path) -> None:
    own = {"tenant": "acme", "sessionId": "s-1", "userId": "u-1"}
    request = one(tmp_path, requestMetadata=own, identity={"arn": "arn:aws:iam::123456789012:user/bot"})
    assert (request["tenant"], request["session_id"]) == ("acme", "s-1")
    assert request["user_key"] is not None
    assert one(tmp_path, identity={"arn": "arn:aws:iam::1:user/bot"})["user_key"] is None
    assert request["region"] is None  # where the data centre is, not the user


def test_failures_and_other_records(tmp_path: Path) -> None:
    failed = one(tmp_path, errorCode="ThrottlingException", output={})
    assert (failed["error"], failed["error_type"]) == (True, "ThrottlingException")
    _, receipt = read(tmp_path, record(), record(schemaType="SomethingElse"))
    assert receipt.drop_reasons == {"not a model invocation": 1}


def test_bodies_in_files_of_their_own_are_missed_aloud(tmp_path: Path) -> None:
    _, receipt = read(tmp_path, record(output={"outputBodyS3Path": "s3://bucket/key"}))
    assert any("S3" in note for note in receipt.notes)
