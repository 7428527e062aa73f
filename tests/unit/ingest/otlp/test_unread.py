"""No silent miss: numbers of model calls that nobody read are listed with name, count and example; nothing else is."""

from __future__ import annotations

import random
from typing import Any

import pytest

from kpi.receipts import Receipt, Unread
from tests.unit.span_loading import T0, attribute, load, message, span

Row = dict[str, Any]
CALL = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}


def missed(*attributes: Row, **more: Any) -> list[Unread]:
    """What the receipt lists for spans of one second with these attributes."""
    receipt = Receipt()
    load(message([span(n, attributes=a, **more) for n, a in enumerate(attributes, 1)]), receipt=receipt)
    return receipt.unread


@pytest.mark.parametrize(
    ("name", "value"),
    [("acme.prompt_tokens", 12), ("acme.tokensIn", 12), ("gen_ai.usage.audio_tokens_total", 12), ("llm.price_usd", 0.5),
     ("acme.request.cost", 0.5), ("acme.ttft", 0.5), ("acme.time_to_first_byte", 0.5), ("acme.msToFirstToken", 250),
     ("acme.server_duration_ms", 700), ("acme.latency", 0.7), ("acme.total_tokens", "12")],
)  # fmt: skip
def test_a_measure_under_an_unknown_name_is_listed(name: str, value: Any) -> None:
    assert missed({**CALL, name: value}) == [Unread(name, 1, float(value))]


@pytest.mark.parametrize(
    ("name", "value"),
    [("gen_ai.request.max_tokens", 800), ("copilot_chat.request.max_prompt_tokens", 9), ("thinking.budget_tokens", 9),
     ("ai.response.avgOutputTokensPerSecond", 9.5), ("acme.token", "a secret"), ("acme.cost_center", 4711),
     ("acme.tokens", 0), ("acme.tokens", True), ("acme.prompt", "count the tokens"), ("gen_ai.usage.total_tokens", 9),
     ("duration_ms", 1000), ("acme.latency", 1.0), ("acme.duration", 1_000_000_000), ("acme.cost_limit", 5)],
)  # fmt: skip
def test_what_is_no_measure_or_was_read_is_not_listed(name: str, value: Any) -> None:
    """Limits, rates, texts, zeros; a total is evidence; a duration that says the length of the span again."""
    assert missed({**CALL, name: value}) == []


def test_numbers_inside_an_object_are_listed_by_their_path() -> None:
    usage = '{"tokens": {"in": 3, "prompt_tokens": 12}, "note": "private words", "max_tokens": 5}'
    assert missed({**CALL, "acme.usage": usage}) == [Unread("acme.usage.tokens.prompt_tokens", 1, 12.0)]


def test_an_object_that_repeats_what_was_read_is_not_listed() -> None:
    read = {**CALL, "gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 3}
    assert missed({**read, "acme.usage": '{"prompt_tokens": 12, "completion_tokens": 3}'}) == []


def test_list_numbers_are_one_name_and_the_example_is_the_same_in_any_order() -> None:
    spans = [{**CALL, f"acme.steps.{n}.tokens": n} for n in range(1, 6)]
    expected = [Unread("acme.steps.N.tokens", 5, 5.0)]
    assert missed(*spans) == expected
    random.Random(3).shuffle(spans)
    assert missed(*spans) == expected


def test_events_of_a_model_call_are_looked_at() -> None:
    event = {"name": "acme.done", "timeUnixNano": str(T0),
             "attributes": [attribute("gen_ai.usage.input_tokens", 12), attribute("acme.cost_usd", 0.5)]}  # fmt: skip
    both = [Unread("acme.cost_usd", 1, 0.5), Unread("gen_ai.usage.input_tokens", 1, 12.0)]
    assert sorted(missed(CALL, events=[event]), key=lambda u: u.name) == both
    assert missed({**CALL, "gen_ai.usage.input_tokens": 12}, events=[event]) == both[:1]


def test_tokens_of_a_span_that_is_no_known_model_call_are_listed_its_other_numbers_are_not() -> None:
    assert missed({"acme.kind": "completion", "input_tokens": 12, "cost_usd": 3, "acme.duration_ms": 5}) == [
        Unread("input_tokens", 1, 12.0)
    ]
    assert missed({"http.method": "POST", "http.response.body.size": 5, "order.cost": 3}) == []
    used = {"gen_ai.usage.input_tokens": 12, "acme.cost": 3, "cost_usd": 4}
    assert sorted(u.name for u in missed(used)) == ["acme.cost", "cost_usd"]


def test_the_receipt_keeps_what_is_unread_and_reads_receipts_of_before() -> None:
    receipt = Receipt()
    receipt.miss("acme.tokens", 2, 7)
    receipt.miss("acme.tokens", 3, 5)
    assert receipt.unread == [Unread("acme.tokens", 5, 7)]
    assert Receipt.from_json(receipt.to_json()) == receipt
    assert Receipt.from_json('{"dataset": "d"}').unread == []


def test_no_more_than_two_hundred_names_are_kept() -> None:
    spans = [{**CALL, f"acme.x{chr(97 + n % 26)}{chr(97 + n // 26)}_tokens": 1} for n in range(300)]
    assert len(missed(*spans)) == 200
