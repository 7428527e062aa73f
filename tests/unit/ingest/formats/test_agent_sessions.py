"""Session files of coding agents, handmade in the shape that their makers and readers of such files describe.

Claude Code: entries as in transcripts of version 2.1 (user, assistant, the same message id on several lines, usage
repeated). Codex: items of `rollout-*.jsonl` as its `protocol` and `rollout` crates write them. Tokens are added up here
by hand, in the comments.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from kpi.ingest.limits import Limits
from kpi.ingest.readers.detect import detect
from kpi.ingest.readers.open import open_inputs
from tests.unit.ingest.formats.helpers import read_all, requests_of

Row = dict[str, Any]
SESSION = "5f0c1a9e-0000-4000-8000-000000000001"


def jsonl(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def entry(second: float, kind: str, uuid: str, parent: str | None, message: Row, **more: Any) -> Row:
    return {
        "parentUuid": parent, "isSidechain": False, "userType": "external", "cwd": "/w", "sessionId": SESSION,
        "version": "2.1.200", "gitBranch": "main", "type": kind, "uuid": uuid, "message": message,
        "timestamp": f"2026-09-01T09:00:{second:06.3f}Z", **more,
    }  # fmt: skip


def answer(id_: str, content: list[Row], usage: tuple[int, int, int, int]) -> Row:
    plain, read, write, out = usage
    return {
        "id": id_, "model": "claude-opus-5", "type": "message", "role": "assistant", "content": content,
        "usage": {"input_tokens": plain, "cache_read_input_tokens": read, "cache_creation_input_tokens": write,
                  "output_tokens": out},
    }  # fmt: skip


TEXT, USE = (
    {"type": "text", "text": "I look."},
    {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"a": 1}},
)
CLAUDE = [
    {"type": "summary", "summary": "About a file", "leafUuid": "x"},
    entry(0, "user", "u1", None, {"role": "user", "content": "What is in the file?"}),
    entry(2, "assistant", "a1", "u1", answer("msg_1", [TEXT], (2, 100, 50, 1)), requestId="req_1"),
    entry(3, "assistant", "a2", "a1", answer("msg_1", [USE], (2, 100, 50, 30)), requestId="req_1"),
    entry(4, "user", "u2", "a2", {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "text", "is_error": False}]}),
    entry(6, "assistant", "a3", "u2", answer("msg_2", [{"type": "text", "text": "A text."}], (5, 150, 10, 40))),
    entry(20, "user", "u3", "a3", {"role": "user", "content": "Change it."}),
    entry(22, "assistant", "a4", "u3", answer("msg_3", [
        {"type": "tool_use", "id": "toolu_2", "name": "Edit", "input": {}}], (1, 160, 0, 20))),
    entry(25, "user", "u4", "a4", {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": True,
         "content": "The user doesn't want to proceed with this tool use."}]}, toolUseResult="User rejected tool use"),
    entry(26, "user", "u5", "u4", {"role": "user", "content": "[Request interrupted by user for tool use]"}),
]  # fmt: skip


def test_claude_code_counts_each_message_once(tmp_path: Path) -> None:
    """Prompt 1: calls 2+100+50 and 5+150+10 in, 30 and 40 out (1 began the 30), a tool. Prompt 2: 161, 20."""
    path = jsonl(tmp_path / f"{SESSION}.jsonl", CLAUDE)
    tables, receipt = read_all([path])
    first, second = sorted(requests_of(tables).values(), key=lambda r: r["started_at"])
    assert (first["input_tokens"], first["output_tokens"], first["llm_calls"]) == (317, 70, 2)
    assert (first["cached_read_tokens"], first["cache_write_tokens"]) == (250, 60)
    assert (first["tool_calls"], first["tool_errors"], first["error"], first["total_us"]) == (1, 0, False, 6_000_000)
    assert (first["input_text"], first["output_text"]) == ("What is in the file?", "A text.")
    assert first["session_id"] == SESSION
    assert (second["input_tokens"], second["output_tokens"]) == (161, 20)
    assert (second["llm_calls"], second["tool_calls"]) == (1, 0)
    assert [(s["name"], s["value"], s["source"]) for s in tables["scores"]] == [("edit_accepted", 0.0, "user")]
    assert first["overridden"] is second["overridden"] is None
    assert receipt.dropped == 0
    durations = {s["name"]: s["duration_us"] for s in tables["spans"] if s["kind"] == "tool"}
    assert durations == {"Read": 1_000_000}


def test_claude_code_in_any_order_and_copied_by_a_resumed_session(tmp_path: Path) -> None:
    clean = requests_of(read_all([jsonl(tmp_path / "clean.jsonl", CLAUDE)])[0])
    shuffled = CLAUDE[:]
    random.Random(3).shuffle(shuffled)
    assert requests_of(read_all([jsonl(tmp_path / "mixed.jsonl", shuffled)])[0]) == clean
    resumed = [{**row, "sessionId": "another"} for row in CLAUDE if "sessionId" in row]
    both = [jsonl(tmp_path / "a.jsonl", CLAUDE), jsonl(tmp_path / "b.jsonl", resumed)]
    for files in (both, both[::-1]):
        found = requests_of(read_all(files)[0]).values()
        assert sum(r["input_tokens"] or 0 for r in found) == 317 + 161


def test_a_failed_answer_of_claude_code_is_a_failed_request(tmp_path: Path) -> None:
    failed = {
        "id": "x",
        "model": "<synthetic>",
        "role": "assistant",
        "content": [{"type": "text", "text": "API Error"}],
    }
    rows = [CLAUDE[1], entry(5, "assistant", "e1", "u1", failed, isApiErrorMessage=True)]
    (found,) = requests_of(read_all([jsonl(tmp_path / "s.jsonl", rows)])[0]).values()
    assert (found["error"], found["llm_calls"], found["input_tokens"]) == (True, 1, None)


def item(second: float, kind: str, payload: Row) -> Row:
    return {"timestamp": f"2026-09-01T09:00:{second:06.3f}Z", "type": kind, "payload": payload}


def count(second: float, last: tuple[int, int, int, int] | None, total: tuple[int, int, int, int]) -> Row:
    def usage(of: tuple[int, int, int, int]) -> Row:
        given, cached, out, reasoning = of
        return {"input_tokens": given, "cached_input_tokens": cached, "output_tokens": out,
                "reasoning_output_tokens": reasoning, "total_tokens": given + out}  # fmt: skip

    info = {"total_token_usage": usage(total), "model_context_window": 272_000}
    if last is not None:
        info["last_token_usage"] = usage(last)
    return item(second, "event_msg", {"type": "token_count", "info": info, "rate_limits": {}})


CODEX = [
    item(0, "session_meta", {"id": "s-1", "cli_version": "0.137.0", "model_provider": "openai", "cwd": "/w"}),
    item(0.1, "turn_context", {"model": "gpt-5.5", "cwd": "/w"}),
    item(1, "event_msg", {"type": "user_message", "message": "List the files"}),
    item(1.1, "event_msg", {"type": "token_count", "info": None, "rate_limits": {}}),
    item(2, "response_item", {"type": "function_call", "name": "shell", "arguments": "{}", "call_id": "c1"}),
    count(3, (1_000, 0, 100, 40), (1_000, 0, 100, 40)),
    count(3.2, (1_000, 0, 100, 40), (1_000, 0, 100, 40)),  # told again
    item(4, "response_item", {"type": "function_call_output", "call_id": "c1",
                              "output": '{"output":"no","metadata":{"exit_code":1}}'}),
    item(6, "response_item", {"type": "message", "role": "assistant", "content": []}),
    item(6.1, "event_msg", {"type": "agent_message", "message": "There are none."}),
    count(7, (1_200, 900, 50, 10), (2_200, 900, 150, 50)),
    item(30, "event_msg", {"type": "user_message", "message": "Make one"}),
    count(33, None, (3_700, 2_000, 200, 60)),  # the sum alone: 1,500 in of which 1,100 cached, 50 out of which 10
]  # fmt: skip


def test_codex_counts_calls_and_not_the_sums_of_the_session(tmp_path: Path) -> None:
    tables, receipt = read_all([jsonl(tmp_path / "rollout-1.jsonl", CODEX)])
    first, second = sorted(requests_of(tables).values(), key=lambda r: r["started_at"])
    assert (first["input_tokens"], first["output_tokens"], first["cached_read_tokens"]) == (2_200, 150, 900)
    assert (first["reasoning_tokens"], first["llm_calls"]) == (50, 2)
    assert (first["tool_calls"], first["tool_errors"], first["error"]) == (1, 1, False)
    assert first["total_us"] == 6_000_000  # from the message at 1 s to the count at 7 s
    assert (first["session_id"], first["release"], first["model"]) == ("s-1", "0.137.0", "gpt-5.5")
    assert (first["input_text"], first["output_text"]) == ("List the files", "There are none.")
    assert (second["input_tokens"], second["output_tokens"], second["cached_read_tokens"]) == (1_500, 50, 1_100)
    assert receipt.dropped == 0
    assert not any("add up" in note for note in receipt.notes)
    calls = sorted((s["started_at"].second, s["duration_us"]) for s in tables["spans"] if s["kind"] == "llm")
    assert calls == [(1, 2_000_000), (4, 3_000_000), (30, 3_000_000)]


def test_a_fork_of_a_codex_session_repeats_what_it_came_from(tmp_path: Path) -> None:
    own = item(50, "session_meta", {"id": "s-2", "forked_from_id": "s-1", "cli_version": "0.137.0"})
    copied = [{**row, "timestamp": "2026-09-01T09:00:50.100Z"} for row in CODEX]
    fork = [own, *copied, item(52, "event_msg", {"type": "user_message", "message": "And now?"}),
            count(54, (10, 0, 5, 0), (3_710, 2_000, 205, 60))]  # fmt: skip
    files = [jsonl(tmp_path / "rollout-2.jsonl", fork), jsonl(tmp_path / "rollout-1.jsonl", CODEX)]
    for order in (files, files[::-1]):
        tables, receipt = read_all(order)
        found = requests_of(tables).values()
        assert sum(r["input_tokens"] for r in found) == 2_200 + 1_500 + 10
        assert sum(r["tool_calls"] for r in found) == 1
        assert receipt.repeated == 3


def test_a_codex_session_with_a_count_missing_says_so(tmp_path: Path) -> None:
    rows = [row for row in CODEX if row is not CODEX[5] and row is not CODEX[6]]
    _, receipt = read_all([jsonl(tmp_path / "rollout-1.jsonl", rows)])
    assert any("do not add up" in note for note in receipt.notes)


@pytest.mark.parametrize(("rows", "name"), [(CLAUDE, "claude_code_sessions"), (CODEX, "codex_sessions")])
def test_sessions_are_recognised(tmp_path: Path, rows: list[Row], name: str) -> None:
    (source,) = open_inputs([jsonl(tmp_path / "s.jsonl", rows)], limits=Limits())
    assert detect(source) == name


def test_a_table_with_the_same_common_words_stays_a_table(tmp_path: Path) -> None:
    rows = [{"timestamp": i, "type": "x", "payload": "y", "latency_ms": 5, "success": True} for i in range(3)]
    (source,) = open_inputs([jsonl(tmp_path / "s.jsonl", rows)], limits=Limits())
    assert detect(source) == "table"
