"""OpenAI stored completions: pages of completions, completions one a line, and their messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.unit.ingest.formats.helpers import Row, read_all, requests_of

SHAPE = "data/exports/shapes/openai/stored_completions_list_shape.json"
COMPLETION: dict[str, Any] = {
    "object": "chat.completion", "id": "chatcmpl-A", "model": "gpt-4o-2024-08-06", "created": 1738960610,
    "usage": {"prompt_tokens": 412, "completion_tokens": 31, "total_tokens": 443,
              "prompt_tokens_details": {"cached_tokens": 256}, "completion_tokens_details": {"reasoning_tokens": 7}},
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Sent."}, "finish_reason": "stop"}],
    "metadata": {"tenant": "acme"}, "input_user": "u-1",
}  # fmt: skip


def read(tmp_path: Path, *documents: Any, **options: Any) -> tuple[dict[str, list[Row]], Any]:
    paths = []
    for number, document in enumerate(documents):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps(document))
    return read_all(paths, **options)


def one(tmp_path: Path, **changes: Any) -> Row:
    (request,) = requests_of(read(tmp_path, [{**COMPLETION, **changes}])[0]).values()
    return request


def page(*items: dict[str, Any], more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": list(items), "first_id": "a", "last_id": "b", "has_more": more}


def test_the_shape(shared) -> None:
    (raw,) = json.loads((shared / SHAPE).read_text())["data"]
    tables, receipt = read_all([shared / SHAPE])
    (request,) = requests_of(tables).values()
    assert request["trace_id"] == raw["id"]
    assert (request["input_tokens"], request["output_tokens"]) == (13, 18)
    assert (request["tenant"], request["prompt_version"]) == ("acme", "v12")
    assert (request["error"], request["total_us"], request["total_nusd"]) == (False, None, None)
    assert request["output_text"] == "Mind of circuits hum"
    assert {c.source for c in receipt.columns if c.how == "unmapped"} == {
        "seed", "presence_penalty", "frequency_penalty", "system_fingerprint",
    }  # fmt: skip
    assert any("no latency" in note for note in receipt.notes)


def test_pages_lines_and_lists_are_the_same_requests(tmp_path: Path) -> None:
    other = {**COMPLETION, "id": "chatcmpl-B"}
    lines = tmp_path / "lines.jsonl"
    lines.write_text("\n".join(map(json.dumps, (COMPLETION, other))))
    expected = requests_of(read_all([lines])[0])
    assert len(expected) == 2
    for documents in ([page(COMPLETION, other)], [[COMPLETION, other]], [page(other), page(COMPLETION)]):
        assert requests_of(read(tmp_path, *documents)[0]) == expected


def test_a_page_of_a_longer_list_says_so(tmp_path: Path) -> None:
    _, whole = read(tmp_path, page(COMPLETION))
    _, cut = read(tmp_path, page(COMPLETION, more=True))
    assert not any("longer list" in note for note in whole.notes)
    assert any("longer list" in note for note in cut.notes)


def test_details_are_parts_of_the_counts(tmp_path: Path) -> None:
    request = one(tmp_path)
    assert [request[n] for n in ("input_tokens", "cached_read_tokens", "output_tokens", "reasoning_tokens")] == [
        412, 256, 31, 7,
    ]  # fmt: skip


def test_a_refusal_stands_beside_an_empty_content(tmp_path: Path) -> None:
    message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    request = one(tmp_path, choices=[{"message": message, "finish_reason": "stop"}])
    assert (request["refused"], request["output_text"]) == (True, "I cannot help with that.")
    assert one(tmp_path)["refused"] is False
    filtered = [{"message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"}]
    assert one(tmp_path, choices=filtered)["refused"] is True


def test_long_numbers_lose_no_digit(tmp_path: Path) -> None:
    """Beyond 2**53, where a float would end in zeros."""
    settings = {"seed": 4944116822809979520, "metadata": {"session_id": "1748652919163558461"}}
    assert one(tmp_path, **settings)["session_id"] == "1748652919163558461"


def test_moderation_is_a_guardrail_and_its_verdicts_incidents(tmp_path: Path) -> None:
    hit = {
        "type": "moderation_results", "model": "omni-moderation",
        "results": [{"flagged": True, "categories": {"hate": True, "illicit/violent": True, "sexual": False},
                     "category_scores": {"hate": 0.4, "illicit/violent": 0.9, "sexual": 0.99}}],
    }  # fmt: skip
    clean = {"type": "moderation_results", "results": [{"flagged": False, "categories": {"hate": False}}]}
    broken = {"type": "error", "code": "server_error", "message": "try later"}
    tables, _ = read(tmp_path, [{**COMPLETION, "moderation": {"input": hit, "output": clean}}])
    (incident,) = tables["incidents"]
    assert (incident["category"], incident["detector"], incident["severity"]) == (
        "illicit/violent", "omni-moderation", None,
    )  # fmt: skip
    (request,) = requests_of(tables).values()
    assert (request["incident_count"], request["error"]) == (1, False)
    checked = one(tmp_path, moderation={"input": clean, "output": clean})
    assert checked["incident_count"] == 0
    tables, _ = read(tmp_path, [{**COMPLETION, "moderation": {"input": broken}}])
    assert not tables.get("incidents")
    assert [s["error_type"] for s in tables["spans"] if s["kind"] == "guardrail"] == ["server_error"]
    assert one(tmp_path)["incident_count"] is None


def test_messages_are_what_was_asked(tmp_path: Path) -> None:
    texts = ("You are a bot.", "Hello", "Hi!", "Where is my order?")
    roles = ("system", "user", "assistant", "user")
    messages = [
        {"id": f"chatcmpl-A-{n}", "role": role, "content": text, "name": None, "content_parts": None}
        for n, (role, text) in enumerate(zip(roles, texts, strict=True))
    ]
    for documents in ((page(*messages), page(COMPLETION)), (page(COMPLETION), page(*messages[::-1]))):
        (request,) = requests_of(read(tmp_path, *documents)[0]).values()
        assert (request["input_text"], request["output_text"]) == ("Where is my order?", "Sent.")


def test_other_lists_of_the_api_are_dropped_aloud(tmp_path: Path) -> None:
    _, receipt = read(tmp_path, page({"object": "file", "id": "f1"}, COMPLETION))
    assert receipt.drop_reasons == {"not a stored completion": 1}
    assert receipt.spans == 1
