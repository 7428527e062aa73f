"""Traps of OTLP files, and of labels, that belong to no single vendor; each fails on the naive reading."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import kpi
from tests.unit.ingest.formats.helpers import read_all, requests_of

TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
START = 1_795_455_516_000_000_000


def span(attributes: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE, "spanId": SPAN, "name": "chat", "startTimeUnixNano": str(START),
        "endTimeUnixNano": str(START + 10**9), "attributes": attributes, **more,
    }  # fmt: skip


def traces(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def attribute(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


LLM = attribute("gen_ai.operation.name", stringValue="chat")


def test_a_number_is_a_number_under_any_declared_kind(tmp_path: Path) -> None:
    """Python and the collector write integers as text, the JS SDK as numbers, whole floats as integers, NaN as null."""
    path = tmp_path / "traces.json"
    usage = [
        LLM,
        attribute("gen_ai.usage.input_tokens", intValue="412"),
        attribute("gen_ai.usage.output_tokens", doubleValue=20.0),
        attribute("gen_ai.usage.cache_read.input_tokens", intValue=256),
        attribute("gen_ai.response.time_to_first_chunk", doubleValue=None),
        attribute("gen_ai.request.model", stringValue=None),
    ]
    path.write_text(json.dumps(traces(span(usage))))
    (row,) = read_all([path])[0]["spans"]
    assert (row["input_tokens"], row["output_tokens"], row["cached_read_tokens"]) == (412, 20, 256)
    assert (row["ttft_us"], row["model"]) == (None, None)


def test_messages_and_evaluations_may_lie_in_logs_of_another_file(tmp_path: Path) -> None:
    spans, logs = tmp_path / "b_traces.jsonl", tmp_path / "a_logs.jsonl"
    spans.write_text(json.dumps(traces(span([LLM]))))
    said = [{"role": "assistant", "parts": [{"type": "text", "content": "On its way."}], "finish_reason": "stop"}]
    common = {"traceId": TRACE, "spanId": SPAN, "observedTimeUnixNano": str(START)}  # no timeUnixNano
    records = [
        {**common, "eventName": "gen_ai.client.inference.operation.details",
         "attributes": [attribute("gen_ai.output.messages", stringValue=json.dumps(said))]},
        {**common, "eventName": "gen_ai.evaluation.result",
         "attributes": [attribute("gen_ai.evaluation.name", stringValue="correctness"),
                        attribute("gen_ai.evaluation.score.value", doubleValue=1.0)]},
    ]  # fmt: skip
    logs.write_text(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}))
    (request,) = requests_of(read_all([logs, spans])[0]).values()
    assert request["output_text"] == "On its way."
    assert request["correct"] is True


def test_protobuf_of_traces_and_logs_looks_alike_and_may_be_framed(shared: Path, tmp_path: Path) -> None:
    root = shared / "data/exports/otlp"
    bare = (root / "genai_semconv_2026.traces.binpb").read_bytes()
    logs = (root / "genai_semconv_2026.logs.binpb").read_bytes()
    assert bare[:1] == logs[:1] == b"\x0a"
    framed = tmp_path / "framed.bin"
    framed.write_bytes(struct.pack(">I", len(bare)) + bare + struct.pack(">I", len(logs)) + logs)
    expected, _ = read_all([root / "genai_semconv_2026.traces.json"])
    found, receipt = read_all([framed])
    ids = {(s["trace_id"], s["span_id"]) for s in expected["spans"]}
    assert {(s["trace_id"], s["span_id"]) for s in found["spans"]} >= ids
    assert receipt.dropped == 0
    assert len(found["scores"]) > len(expected.get("scores", []))  # evaluations come from the logs


def test_free_text_in_a_column_of_labels_is_counted_as_invalid() -> None:
    human = ["refuse", "comply", "comply", "refuse"]
    judge = ["refuse", "comply", "The model says that it cannot", None]
    found = kpi.kappa(human, judge, labels=["refuse", "comply"])
    assert (found.n, found.invalid, found.unknown) == (2, 1, 1)


def test_a_log_whose_attribute_has_no_name_costs_that_log_alone(tmp_path: Path) -> None:
    """Found by mutation: the key of an attribute was a number, and the whole file went."""
    good = {
        "traceId": TRACE, "spanId": SPAN, "timeUnixNano": str(START), "eventName": "gen_ai.evaluation.result",
        "attributes": [attribute("gen_ai.evaluation.name", stringValue="correctness"),
                       attribute("gen_ai.evaluation.score.value", doubleValue=1.0)],
    }  # fmt: skip
    bad = {**good, "attributes": [{"key": 7, "value": {"stringValue": "x"}}, *good["attributes"]]}
    path = tmp_path / "logs.jsonl"
    path.write_text(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [bad, good]}]}]}))
    tables, receipt = read_all([path])
    assert len(tables["scores"]) == 1
    assert receipt.dropped == 1
