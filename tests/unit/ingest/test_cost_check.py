"""A reported cost that its tokens do not explain is told: `gen_ai.usage.cost` in cents, as a gateway writes it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from kpi.ingest.spans.cost_check import CostCheck
from kpi.pricing.price_file import table_of
from kpi.receipts import Receipt

FAIR = 2_500_000 + 2_000_000  # nano-dollars: 1,000 tokens at $2.50 and 200 at $10 a million, gpt-4o


def told(costs: Iterable[int | None], **changed: object) -> list[str]:
    check, receipt = CostCheck(lambda: table_of("")), Receipt()
    tokens = dict.fromkeys(("cached_read_tokens", "cache_write_tokens", "reasoning_tokens"))
    for cost in costs:
        span = {"model": "gpt-4o", "provider": "openai", "input_tokens": 1_000, "output_tokens": 200, **tokens}
        check.see({**span, "cost_nusd": cost, **changed})
    check.tell(receipt)
    return receipt.notes


def test_a_cost_in_cents_is_told() -> None:
    (note,) = told([100 * FAIR] * 3)
    assert "3 of 3 compared spans report is 100 times what their tokens cost" in note


def test_a_cost_in_thousands_of_dollars_is_told() -> None:
    (note,) = told([FAIR // 1_000] * 3)
    assert "is 1/1,000 of what their tokens cost" in note


@pytest.mark.parametrize("costs", [[FAIR], [FAIR // 2, 3 * FAIR], [0, None], [100 * FAIR, FAIR, FAIR], []])
def test_discounts_and_single_oddities_are_not(costs: list[int | None]) -> None:
    assert told(costs) == []


def test_without_a_price_or_tokens_nothing_is_compared() -> None:
    assert told([100 * FAIR], model="nobody-sells-this") == []
    assert told([100 * FAIR], model=None) == []
    assert told([100 * FAIR], input_tokens=None, output_tokens=None) == []


def test_prices_are_not_asked_for_where_no_span_reports_a_cost() -> None:
    asked: list[int] = []
    check = CostCheck(lambda: asked.append(1) or table_of(""))
    span = {"provider": "openai", "model": "gpt-4o", "input_tokens": 1, "output_tokens": 1, "cached_read_tokens": None,
            "cache_write_tokens": None, "reasoning_tokens": None}  # fmt: skip
    check.see({**span, "cost_nusd": None})
    assert asked == []
    check.see({**span, "cost_nusd": 5})
    assert asked == [1]
