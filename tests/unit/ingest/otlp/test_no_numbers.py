"""Counts and costs that are no number: NaN as Python, as protobuf's JSON and as protobuf itself write it, and text."""

from __future__ import annotations

import math

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from kpi.receipts import Receipt
from tests.unit.span_loading import load, message, span

CALL = {"gen_ai.operation.name": "chat", "gen_ai.usage.output_tokens": 9}
UNREAD = "1 span state a count or a cost that is no number (NaN, Infinity, text): it is unknown."
SAID = "export: 1 numbers that are none (NaN, Infinity) are taken as missing."


def notes_of(payload: bytes) -> tuple[list, Receipt]:
    receipt = Receipt()
    rows = load(payload, receipt=receipt)["spans"]
    return [(r["input_tokens"], r["output_tokens"]) for r in rows], receipt


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_what_no_json_allows_is_null_and_counted(text: str) -> None:
    """`json.dumps` of Python writes these."""
    whole = message([span(1, attributes={**CALL, "gen_ai.usage.input_tokens": 0.5})])
    tokens, receipt = notes_of(whole.replace(b"0.5", text.encode()))
    assert tokens == [(None, 9)]
    assert SAID in receipt.notes


@pytest.mark.parametrize("value", ["NaN", "-", "n/a", "twelve"])
def test_text_that_is_no_number_is_told(value: str) -> None:
    tokens, receipt = notes_of(message([span(1, attributes={**CALL, "gen_ai.usage.input_tokens": value})]))
    assert tokens == [(None, 9)]
    assert UNREAD in receipt.notes


def test_a_double_of_protobuf_may_be_none() -> None:
    data = TracesData()
    one = data.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="chat")
    for key, value in (("gen_ai.operation.name", "chat"), ("gen_ai.usage.input_tokens", math.nan)):
        told = one.attributes.add(key=key).value
        setattr(told, "string_value" if isinstance(value, str) else "double_value", value)
    tokens, receipt = notes_of(data.SerializeToString())
    assert tokens == [(None, None)]
    assert UNREAD in receipt.notes


@pytest.mark.parametrize("value", [12, "12", "1e3", 0])
def test_numbers_are_not_told(value: object) -> None:
    _, receipt = notes_of(message([span(1, attributes={**CALL, "gen_ai.usage.input_tokens": value})]))
    assert UNREAD not in receipt.notes
