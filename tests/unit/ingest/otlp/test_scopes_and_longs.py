"""What the wire says beside attributes: the scope of a span, 64-bit numbers in halves, pending copies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from kpi.ingest.otlp.decode import Span, json_records, json_span, nanos, proto_records, value_of
from kpi.receipts import Receipt
from tests.unit.span_loading import T0, TRACE, load, message, one, requests, span

Row = dict[str, Any]
FIELD = "data/field"
NUMBERS = ("intValue", "startTimeUnixNano", "endTimeUnixNano", "timeUnixNano")


@pytest.mark.parametrize(
    ("levels", "name"),
    [(("resourceSpans", "scopeSpans"), "scope"), (("resource_spans", "scope_spans"), "scope"),
     (("resourceSpans", "instrumentationLibrarySpans"), "instrumentationLibrary")],
)  # fmt: skip
def test_the_scope_of_a_span_is_read_in_every_dialect(levels: tuple[str, str], name: str) -> None:
    group = {name: {"name": "acme.tracing", "version": "2.1"}, "spans": [span(1)]}
    ((_, raw, origin),) = json_records({levels[0]: [{levels[1]: [group]}]})
    found = json_span(raw, origin)
    assert (found.scope, found.scope_version) == ("acme.tracing", "2.1")


def test_the_scope_of_a_span_is_read_from_protobuf() -> None:
    data = TracesData()
    group = data.resource_spans.add().scope_spans.add()
    group.scope.name, group.scope.version = "acme.tracing", "2.1"
    group.spans.add(trace_id=bytes.fromhex(TRACE), span_id=b"12345678", name="s")
    (found,) = proto_records(data.SerializeToString())
    assert isinstance(found, Span)
    assert (found.scope, found.scope_version, found.own) == ("acme.tracing", "2.1", None)


def test_a_span_without_a_scope_has_none() -> None:
    ((_, raw, origin),) = json_records({"resourceSpans": [{"scopeSpans": [{"spans": [span(1)]}]}]})
    assert json_span(raw, origin)[-2:] == ("", "")


def halves(number: int) -> Row:
    """As Long.js keeps it: two signed 32-bit halves."""
    low, high = number & 0xFFFFFFFF, number >> 32 & 0xFFFFFFFF
    signed = [half - 2**32 if half >= 2**31 else half for half in (low, high)]
    return {"low": signed[0], "high": signed[1], "unsigned": False}


@pytest.mark.parametrize("number", [0, 1, 588, 2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, -1, -588])
def test_halves_are_one_number(number: int) -> None:
    assert value_of({"intValue": halves(number)}) == number
    assert value_of(halves(number)) == number
    assert value_of({"intValue": {"low": -1, "high": -1, "unsigned": True}}) == 2**64 - 1


def test_halves_may_be_a_time_or_a_list_item() -> None:
    assert nanos(halves(T0)) == T0
    assert value_of({"arrayValue": {"values": [{"intValue": halves(3)}]}}) == [3]
    assert value_of({"intValue": {"low": 5}}) is None
    assert value_of({"intValue": {}}) is None


def test_a_whole_export_in_halves_is_the_same(shared: Path) -> None:
    """1,251 in and 78 out, counted by hand in the file without halves."""
    document = json.loads((shared / FIELD / "pydantic-ai/pydantic-otlp.json").read_text())

    def in_halves(value: Any) -> Any:
        if isinstance(value, list):
            return [in_halves(v) for v in value]
        if not isinstance(value, dict):
            return value
        return {k: halves(int(v)) if k in NUMBERS else in_halves(v) for k, v in value.items()}

    plain = load(json.dumps(document).encode())
    assert load(json.dumps(in_halves(document)).encode()) == plain
    (request,) = requests(load(shared / FIELD / "otel-js-long/long.json")).values()
    assert (request["input_tokens"], request["output_tokens"]) == (1251, 78)


PENDING = {"logfire.span_type": "pending_span", "logfire.pending_parent_id": "0000000000000000"}


@pytest.mark.parametrize(("left", "right"), [("with-pending", "without"), ("one-call-pending", "one-call")])
def test_a_pending_copy_is_no_span(shared: Path, left: str, right: str) -> None:
    found, clean = (load(shared / FIELD / f"logfire-pending/{name}.json") for name in (left, right))
    assert requests(found) == requests(clean)
    assert found == clean


def test_pending_copies_are_counted_and_change_no_model_call() -> None:
    call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.response.model": "m-1"}
    spans = [
        span(1, attributes={**call, "gen_ai.response.time_to_first_chunk": 0.5, "logfire.span_type": "span"}),
        span(2, 1, end=0, attributes={"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", **PENDING}),
    ]
    receipt = Receipt()
    (row,) = load(message(spans), receipt=receipt)["spans"]
    assert (receipt.spans, receipt.dropped) == (1, 0)
    assert receipt.notes == ["Pending copies of 1 span were left out: they say only that a span had begun."]
    request = one(*spans)
    assert (request["model"], request["ttft_us"], request["llm_calls"]) == ("m-1", 500_000, 1)
    assert row["span_id"] == f"{1:016x}"


@pytest.mark.parametrize("key", PENDING)
def test_either_name_tells_a_pending_copy(key: str) -> None:
    assert load(message([span(1), span(2, 1, attributes={key: PENDING[key]})]))["spans"][1:] == []
