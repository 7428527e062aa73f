"""Any value under any name that is read: no span is lost, no count is below 0, and the same bytes tell the same."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings, strategies as st

from kpi.ingest.otlp.conventions import (
    BARE_TOKENS,
    COST,
    DETAIL_OBJECTS,
    FIRST_TOKEN,
    OTHER_KINDS,
    TOKENS,
    USAGE_OBJECTS,
)
from kpi.receipts import Receipt
from tests.unit.span_loading import load, message, span

Row = dict[str, Any]
NAMES = sorted(
    {name for keys in (*TOKENS.values(), *BARE_TOKENS.values()) for name in keys}
    | {*COST, *DETAIL_OBJECTS, "gen_ai.operation.name", "gen_ai.usage.total_tokens", "acme.tokens", "acme.usage"}
    | {name for name, _ in (*FIRST_TOKEN, *USAGE_OBJECTS, *OTHER_KINDS)}
)
numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(), st.sampled_from(["7", "-1", "nan", "1e999", "", "x"])
)
plain = st.one_of(numbers, st.booleans(), st.none())
nested = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(["prompt_tokens", "usage_metadata", "replies", "meta", "usage", "x"]), inner, max_size=3
), max_leaves=8)  # fmt: skip
values = st.one_of(plain, nested, nested.map(lambda v: orjson.dumps(v).decode()))


def union(value: Any) -> Row:
    """An AnyValue of any JSON."""
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": k, "value": union(v)} for k, v in value.items()]}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [union(v) for v in value]}}
    kind = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}.get(type(value))
    return {} if kind is None else {kind: value}


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.sampled_from(NAMES), values, max_size=8), st.sampled_from(["", "ai", "strands", "litellm"]))
def test_no_value_loses_a_span(attributes: Row, scope: str) -> None:
    raw = span(1)
    raw["attributes"] = [{"key": k, "value": union(v)} for k, v in attributes.items()]
    event = {"name": "e", "timeUnixNano": raw["startTimeUnixNano"], "attributes": raw["attributes"]}
    payload = message([{**raw, "events": [event]}], scope=scope)
    receipts = [Receipt(), Receipt()]
    first, second = (load(payload, receipt=receipt) for receipt in receipts)
    assert first == second
    assert receipts[0] == receipts[1]
    assert (receipts[0].dropped, receipts[0].spans) == (0, 1)
    (row,) = first["spans"]
    measures = [row[name] for name in (*TOKENS, "cost_nusd", "ttft_us") if row[name] is not None]
    assert all(isinstance(measure, int) and measure >= 0 for measure in measures)
    assert Receipt.from_json(receipts[0].to_json()) == receipts[0]
