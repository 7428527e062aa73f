"""Coding agents that report in log events: what becomes a request, and that nothing counts twice.

Claude Code and Gemini CLI rest on files of the field and on Anthropic's page on monitoring and Gemini's telemetry
sources; Codex on the events of `codex-rs/otel`; Copilot on `genAiEvents` of its extension. Numbers are added up by
hand.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import kpi
from kpi.errors import IngestError
from tests.unit.ingest.formats.helpers import read_all, requests_of

Row = dict[str, Any]
START = 1_788_253_200  # 1 September 2026, 09:00
FIELD = "data/field"


def value(of: Any) -> Row:
    kind = "boolValue" if isinstance(of, bool) else "intValue" if isinstance(of, int) else "stringValue"
    return {kind: of if isinstance(of, bool) else str(of)}


def log(
    second: float, name: str, body: str | None = None, trace: tuple[str, str] | None = None, **attributes: Any
) -> Row:
    told = {"event.name": name, **{k.replace("__", "."): v for k, v in attributes.items()}}
    row: Row = {
        "timeUnixNano": str(round((START + second) * 1e9)),
        "body": {"stringValue": body or name},
        "attributes": [{"key": k, "value": value(v)} for k, v in told.items()],
    }
    return {**row, **({"traceId": trace[0], "spanId": trace[1]} if trace else {})}


def logs(service: str, rows: list[Row], **resource: str) -> Row:
    told = {"service.name": service, **{k.replace("__", "."): v for k, v in resource.items()}}
    held = {"attributes": [{"key": k, "value": value(v)} for k, v in told.items()]}
    return {"resourceLogs": [{"resource": held, "scopeLogs": [{"logRecords": rows}]}]}


def file(path: Path, *messages: Row) -> Path:
    path.write_text("".join(json.dumps(m) + "\n" for m in messages))
    return path


def made_of(path: Path) -> list[Row]:
    return sorted(requests_of(read_all([path])[0]).values(), key=lambda r: (r["started_at"], r["trace_id"]))


def loaded(paths: list[Path], dataset: str) -> tuple[list[Row], kpi.Receipt]:
    receipt = kpi.load(paths, dataset=dataset)
    source = kpi.open(dataset)
    return source.run(source.table("requests").select()).to_pylist(), receipt


# --- Claude Code -----------------------------------------------------------------------------------------------------


def test_claude_code_of_the_field(shared: Path) -> None:
    """(2+84,562+7,096) + (5+91,658+1,210) in, 1,200 + 300 out, $0.116641 + $0.060917; 40.9 s from the prompt on."""
    (found,) = made_of(shared / FIELD / "claude-code-otel/logs.json")
    assert (found["input_tokens"], found["output_tokens"]) == (184_533, 1_500)
    assert (found["cached_read_tokens"], found["cache_write_tokens"]) == (176_220, 8_306)
    assert (found["llm_calls"], found["tool_calls"], found["tool_errors"], found["turns"]) == (2, 1, 0, 1)
    assert (found["total_nusd"], found["cost_source"], found["total_us"]) == (177_558_000, "reported", 40_900_000)
    assert found["session_id"] == "11111111-2222-4333-8444-555555555555"
    assert (found["x_agent"], found["release"], found["error"]) == ("claude-code", "2.1.266", False)
    assert found["user_key"] is not None
    assert "u-hash" not in str(found)


@pytest.mark.parametrize("names", [("logs.json", "traces.json"), ("traces.json", "logs.json")])
def test_logs_and_traces_of_one_load_count_once(home: Path, shared: Path, names: tuple[str, str]) -> None:
    (found,), receipt = loaded([shared / FIELD / "claude-code-otel" / name for name in names], "both")
    assert (found["input_tokens"], found["output_tokens"], found["llm_calls"]) == (184_533, 1_500, 2)
    assert (found["cached_read_tokens"], found["tool_calls"]) == (176_220, 1)
    assert abs(found["total_nusd"] - 177_558_000) < 1_000  # reported, or by the price of the model
    assert found["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert receipt.requests == 1


SPAN = {
    "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "chat claude-opus-5",
    "startTimeUnixNano": str((START + 1) * 10**9), "endTimeUnixNano": str((START + 3) * 10**9),
}  # fmt: skip


def traced(tokens: tuple[int, int] | None) -> Row:
    usage = {} if tokens is None else {"gen_ai.usage.input_tokens": tokens[0], "gen_ai.usage.output_tokens": tokens[1]}
    told = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-opus-5", "session.id": "s", **usage}
    span = {**SPAN, "attributes": [{"key": k, "value": value(v)} for k, v in told.items()]}
    held = {"attributes": [{"key": "service.name", "value": {"stringValue": "claude-code"}}]}
    return {"resourceSpans": [{"resource": held, "scopeSpans": [{"spans": [span]}]}]}


def asked(second: float, out: int, **more: Any) -> Row:
    return log(
        second, "api_request", "claude_code.api_request", session__id="s", model="claude-opus-5", input_tokens=10,
        output_tokens=out, duration_ms=2000, prompt__id="p", **more,
    )  # fmt: skip


@pytest.mark.parametrize("usage", [(10, 7), None])
def test_a_call_that_no_span_states_joins_the_trace(home: Path, tmp_path: Path, usage: tuple[int, int] | None) -> None:
    """One call with a span (with its usage or without), one without: 20 in and 12 out, and two calls, either way."""
    told = logs("claude-code", [asked(3, 7), asked(9, 5)])
    (found,), _ = loaded([file(tmp_path / "x.jsonl", told, traced(usage))], "part")
    assert (found["input_tokens"], found["output_tokens"], found["llm_calls"]) == (20, 12, 2)


def test_a_span_of_another_time_or_output_is_another_call(home: Path, tmp_path: Path) -> None:
    told = logs("claude-code", [asked(103, 7), asked(3, 8)])
    found, _ = loaded([file(tmp_path / "x.jsonl", told, traced((10, 7)))], "other")
    assert sum(r["output_tokens"] for r in found) == 7 + 7 + 8


def test_without_a_prompt_id_the_prompt_before_counts_and_decisions_are_scores(tmp_path: Path) -> None:
    rows = [
        log(0, "user_prompt", "claude_code.user_prompt", session__id="s", prompt="Fix it"),
        log(5, "api_request", "claude_code.api_request", session__id="s", model="m", input_tokens=1, output_tokens=2,
            cost_usd="0.5", duration_ms=4000),
        log(6, "tool_decision", "claude_code.tool_decision", session__id="s", tool_name="Edit", decision="reject",
            source="user_reject", tool_use_id="t1"),
        log(7, "tool_decision", "claude_code.tool_decision", session__id="s", tool_name="Bash", decision="accept",
            source="config"),
        log(9, "tool_result", "claude_code.tool_result", session__id="s", tool_name="Bash", success="false",
            duration_ms=500, error_type="ShellError"),
        log(20, "user_prompt", "claude_code.user_prompt", session__id="s"),
        log(25, "api_error", "claude_code.api_error", session__id="s", model="m", status_code=529, attempt=3,
            error="overloaded", duration_ms=4000),
        log(40, "user_prompt", "claude_code.user_prompt", session__id="s", command_name="help"),
        log(50, "hook_execution_start", "claude_code.hook_execution_start", session__id="s"),
    ]  # fmt: skip
    path = file(tmp_path / "logs.jsonl", *(logs("claude-code", [row]) for row in rows))
    tables, receipt = read_all([path])
    first, second = sorted(requests_of(tables).values(), key=lambda r: r["started_at"])
    assert (first["input_text"], first["total_nusd"], first["total_us"]) == ("Fix it", 500_000_000, 9_000_000)
    assert (first["tool_calls"], first["tool_errors"], first["error"]) == (1, 1, False)
    assert (second["error"], second["error_type"], second["retries"]) == (True, "529", 2)
    assert [(s["name"], s["value"], s["label"]) for s in tables["scores"]] == [("edit_accepted", 0.0, "reject")]
    assert any("1 prompts" in note for note in receipt.notes)
    assert any("hook_execution_start (1)" in note for note in receipt.notes)
    mixed = rows[:]
    random.Random(5).shuffle(mixed)
    assert made_of(file(tmp_path / "mixed.jsonl", logs("claude-code", mixed))) == made_of(path)
    twice = file(tmp_path / "twice.jsonl", logs("claude-code", rows), logs("claude-code", rows))
    assert made_of(twice) == made_of(path)
    assert read_all([twice])[1].repeated == 8


# --- Codex -----------------------------------------------------------------------------------------------------------

STAMP = "2026-09-01T09:00:{:06.3f}Z"


def codex(second: float, name: str, twin: bool = False, **attributes: Any) -> Row:
    """twin: the same event as its other target writes it, a moment later and without the user."""
    own: Row = {} if twin else {"user__account_id": "acct"}
    return log(
        second + 0.0001 * twin, f"codex.{name}", "event", conversation__id="c", model="gpt-5.5",
        event__timestamp=STAMP.format(second), app__version="0.137.0", **own, **attributes,
    )  # fmt: skip


def done(second: float, given: int, out: int, cached: int, reasoning: int, twin: bool = False) -> Row:
    return codex(
        second, "sse_event", twin, event__kind="response.completed", input_token_count=given, output_token_count=out,
        cached_token_count=cached, reasoning_token_count=reasoning, tool_token_count=given + out,
    )  # fmt: skip


CODEX = [
    codex(0, "conversation_starts", provider_name="OpenAI"),
    codex(0.5, "api_request", endpoint="/models", duration_ms=80, http__response__status_code=200),
    codex(1, "user_prompt", prompt="[REDACTED]", prompt_length=5),
    codex(1, "user_prompt", True, prompt_length=5),
    codex(2, "api_request", attempt=0, duration_ms=500, http__response__status_code=503, error__message="busy"),
    codex(4, "api_request", attempt=1, duration_ms=1000, http__response__status_code=200),
    codex(5, "sse_event", event__kind="response.output_text.delta", duration_ms=3),
    codex(6, "sse_event", event__kind="response.completed", duration_ms=2),
    done(6, 1_000, 100, 600, 40),
    done(6, 1_000, 100, 600, 40, twin=True),
    codex(7, "tool_decision", tool_name="apply_patch", call_id="k1", decision="approved", source="User"),
    codex(8, "tool_result", tool_name="apply_patch", call_id="k1", duration_ms=900, success="true", output="ok"),
    codex(8, "tool_result", True, tool_name="apply_patch", call_id="k1", duration_ms=900, success="true"),
    codex(9, "api_request", attempt=0, duration_ms=200, http__response__status_code=200),
    done(12, 1_500, 50, 1_000, 0),
]


def test_codex(tmp_path: Path) -> None:
    """2,500 in of which 1,600 read, 150 out of which 40 reasoning; a failed attempt was retried; 11 s from the prompt.

    The first call ran from 3 s (its attempt began a second before 4 s) to 6 s, the second from 8.8 s to 12 s.
    """
    tables, receipt = read_all([file(tmp_path / "codex.jsonl", logs("codex_cli_rs", CODEX))])
    (found,) = requests_of(tables).values()
    assert (found["input_tokens"], found["output_tokens"]) == (2_500, 150)
    assert (found["cached_read_tokens"], found["reasoning_tokens"]) == (1_600, 40)
    assert (found["llm_calls"], found["retries"], found["error"]) == (3, 1, False)
    assert (found["tool_calls"], found["tool_errors"], found["total_us"]) == (1, 0, 11_000_000)
    assert (found["session_id"], found["model"], found["provider"]) == ("c", "gpt-5.5", "openai")
    assert found["release"] == "0.137.0"
    assert found["user_key"] is not None
    assert found["input_text"] is None
    lengths = sorted(s["duration_us"] for s in tables["spans"] if s["kind"] == "llm")
    assert lengths == [500_000, 3_000_000, 3_200_000]
    assert [(s["name"], s["value"]) for s in tables["scores"]] == [("edit_accepted", 1.0)]
    assert receipt.repeated == 3


# --- Gemini CLI ------------------------------------------------------------------------------------------------------


def test_gemini_cli_of_the_field(shared: Path) -> None:
    """Thinking lies beside the output: 12,000 + 350 + 420 are the total of 12,770."""
    tables, receipt = read_all([shared / FIELD / "gemini-cli/telemetry.log"])
    (found,) = requests_of(tables).values()
    assert (found["input_tokens"], found["cached_read_tokens"]) == (12_000, 8_000)
    assert (found["output_tokens"], found["reasoning_tokens"]) == (770, 420)
    assert (found["llm_calls"], found["tool_calls"], found["tool_errors"]) == (1, 1, 0)
    assert (found["model_us"], found["total_us"], found["session_id"]) == (2_900_000, 5_000_000, "s-1")
    assert receipt.dropped == 0


@pytest.mark.parametrize(
    ("total", "given", "out"),
    [(170, 110, 60), (160, 100, 60), (150, 110, 40), (140, 100, 40), (999, 110, 60), (0, 110, 60)],
)
def test_the_total_tells_what_lies_beside(tmp_path: Path, total: int, given: int, out: int) -> None:
    """100 in, 40 out, 20 of thinking and 10 of tools; a total of 170 holds all of them, one of 140 neither."""
    row = log(
        9, "gemini_cli.api_response", prompt_id="p", session__id="s", model="gemini-2.5-pro", duration_ms=2000,
        input_token_count=100, output_token_count=40, thoughts_token_count=20, tool_token_count=10,
        total_token_count=total,
    )  # fmt: skip
    (found,) = made_of(file(tmp_path / "x.jsonl", logs("gemini-cli", [row])))
    assert (found["input_tokens"], found["output_tokens"]) == (given, out)


def test_the_semantic_twin_of_a_gemini_event_counts_once(tmp_path: Path) -> None:
    twin = log(9, "gen_ai.client.inference.operation.details", gen_ai__usage__input_tokens=100,
               gen_ai__usage__output_tokens=40, session__id="s")  # fmt: skip
    row = log(9, "gemini_cli.api_response", session__id="s", model="g", input_token_count=100, output_token_count=40)
    (found,) = made_of(file(tmp_path / "x.jsonl", logs("gemini-cli", [row, twin])))
    assert (found["input_tokens"], found["llm_calls"]) == (100, 1)


# --- Copilot, and the conventions ------------------------------------------------------------------------------------

TRACE = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


def test_copilot(tmp_path: Path) -> None:
    rows = [
        log(1, "copilot_chat.session.start", session__id="s", trace=TRACE),
        log(3, "gen_ai.client.inference.operation.details", "GenAI inference: gpt-5", TRACE, gen_ai__response__id="r1",
            gen_ai__request__model="gpt-5", gen_ai__response__model="gpt-5-2026", gen_ai__usage__input_tokens=900,
            gen_ai__usage__output_tokens=60),
        log(4, "copilot_chat.tool.call", "copilot_chat.tool.call: readFile", TRACE, gen_ai__tool__name="readFile",
            duration_ms=50, success=False, error__type="ENOENT"),
        log(9, "copilot_chat.edit.feedback", None, TRACE, outcome="rejected", request_id="q"),
        log(10, "copilot_chat.user.feedback", None, TRACE, rating="unhelpful", request_id="q"),
    ]  # fmt: skip
    tables, _ = read_all([file(tmp_path / "x.jsonl", logs("copilot-chat", rows, session__id="window"))])
    (found,) = requests_of(tables).values()
    assert (found["input_tokens"], found["output_tokens"], found["model"]) == (900, 60, "gpt-5-2026")
    assert (found["llm_calls"], found["tool_calls"], found["tool_errors"]) == (1, 1, 1)
    assert (found["session_id"], found["x_agent"], found["success"]) == ("window", "copilot", False)
    assert {(s["name"], s["value"]) for s in tables["scores"]} == {("edit_accepted", 0.0), ("user_feedback", 0.0)}


def test_an_event_of_the_conventions_without_a_span_is_a_call_of_its_own(tmp_path: Path) -> None:
    rows = [
        log(3 + i, "gen_ai.client.inference.operation.details", gen_ai__request__model="gpt-5",
            gen_ai__usage__input_tokens=9, gen_ai__usage__output_tokens=6)
        for i in range(2)
    ]  # fmt: skip
    found = made_of(file(tmp_path / "x.jsonl", logs("my-app", rows)))
    assert [(r["input_tokens"], r["output_tokens"], r["llm_calls"]) for r in found] == [(9, 6, 1)] * 2


# --- the same records in other clothes -------------------------------------------------------------------------------


def as_javascript(row: Row, told: Row) -> Row:
    nanos = int(row["timeUnixNano"])
    return {"hrTime": divmod(nanos, 10**9), "attributes": told, "_body": row["body"]["stringValue"],
            "resource": {"_rawAttributes": [["service.name", "claude-code"]]}, "severityNumber": 9}  # fmt: skip


def as_python(row: Row, told: Row) -> Row:
    at = round(int(row["timeUnixNano"]) / 1e6)
    stamp = f"2026-09-01T09:00:{(at - START * 1000) / 1000:06.3f}Z"
    return {"body": row["body"]["stringValue"], "severity_number": 9, "attributes": told, "timestamp": stamp,
            "trace_id": "0x" + "0" * 32, "span_id": "0x" + "0" * 16, "trace_flags": 0,
            "resource": {"attributes": {"service.name": "claude-code"}}}  # fmt: skip


def as_clickhouse(row: Row, told: Row) -> Row:
    return {"Timestamp": as_python(row, told)["timestamp"], "TraceId": "", "SpanId": "", "ServiceName": "claude-code",
            "Body": row["body"]["stringValue"], "ResourceAttributes": {},
            "LogAttributes": {k: str(v) for k, v in told.items()}}  # fmt: skip


@pytest.mark.parametrize("worn", [as_javascript, as_python, as_clickhouse])
@pytest.mark.parametrize("laid", ["lines", "pretty", "joined", "a log"])
def test_log_records_of_sdks_and_tables(tmp_path: Path, worn: Any, laid: str) -> None:
    rows = [
        log(0, "user_prompt", "claude_code.user_prompt", session__id="s", prompt__id="p"),
        asked(3, 7),
        log(4, "tool_result", "claude_code.tool_result", session__id="s", tool_name="Bash", success="true",
            duration_ms=500, prompt__id="p"),
        asked(9, 5),
    ]  # fmt: skip
    (clean,) = made_of(file(tmp_path / "otlp.jsonl", logs("claude-code", rows)))
    told = [worn(row, {a["key"]: next(iter(a["value"].values())) for a in row["attributes"]}) for row in rows]
    indent = 2 if laid in ("pretty", "a log") else None
    between = {"lines": "\n", "pretty": "\n", "joined": "", "a log": "\n[info] a line of {another} kind\n"}[laid]
    path = tmp_path / "telemetry.log"
    path.write_text(("Logging to a file\n" if laid == "a log" else "") + between.join(
        json.dumps(row, indent=indent) for row in told
    ))  # fmt: skip
    tables, receipt = read_all([path])
    (found,) = requests_of(tables).values()
    assert found == clean
    assert (found["input_tokens"], found["output_tokens"]) == (20, 12)
    assert receipt.dropped == (4 if laid == "a log" else 0)


# --- nothing to read -------------------------------------------------------------------------------------------------


def test_logs_of_which_none_is_known_are_an_error(home: Path, tmp_path: Path) -> None:
    path = file(tmp_path / "app.jsonl", logs("app", [log(i, "started") for i in range(4)]))
    with pytest.raises(IngestError, match=r"app\.jsonl holds 4 log records, none of which is known") as caught:
        kpi.load(path, dataset="none")
    assert caught.value.code == "ingest.nothing_read"
    assert caught.value.hint
    assert "none" not in [d.name for d in kpi.datasets()]


def test_metrics_between_traces_are_no_loss(home: Path, tmp_path: Path) -> None:
    """A collector writes all signals into one file; its metrics hold no request and are not dropped rows."""
    metrics = {"resourceMetrics": [{"resource": {}, "scopeMetrics": []}]}
    path = file(tmp_path / "all.jsonl", metrics, metrics, traced((10, 7)), metrics)
    (found,), receipt = loaded([path], "signals")
    assert (found["input_tokens"], receipt.dropped) == (10, 0)
    assert any("metrics" in note for note in receipt.notes)


# --- what was loaded before ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("first", ["logs", "traces", "session files"])
def test_what_another_export_of_the_session_tells_is_refused(home: Path, tmp_path: Path, first: str) -> None:
    """The same call as a span, as a log event and in a session file: 10 in and 7 out, whichever comes first."""
    usage = {"input_tokens": 10, "output_tokens": 7}
    entry = {
        "parentUuid": None, "sessionId": "s", "uuid": "a", "type": "assistant", "timestamp": "2026-09-01T09:00:03.2Z",
        "message": {"id": "m", "model": "claude-opus-5", "content": [], "usage": usage},
    }  # fmt: skip
    exports = {
        "logs": file(tmp_path / "logs.jsonl", logs("claude-code", [asked(3, 7)])),
        "traces": file(tmp_path / "traces.jsonl", traced((10, 7))),
        "session files": file(tmp_path / "s.jsonl", entry),
    }
    assert kpi.load(exports[first], dataset="twice").requests == 1
    for name in exports.keys() - {first}:
        with pytest.raises(IngestError) as caught:
            kpi.load(exports[name], dataset="twice")
        assert caught.value.code == "ingest.told_twice"
    assert kpi.load(exports[first], dataset="twice").loaded == 0
    later = file(tmp_path / "later.jsonl", logs("claude-code", [asked(60, 7)]))
    assert kpi.load(later, dataset="twice").requests == 1
