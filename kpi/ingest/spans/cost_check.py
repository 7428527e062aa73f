"""Whether the costs that spans report go with their tokens: one in cents, or in micro-dollars, does not."""

from collections.abc import Callable
from typing import Any

from kpi.ingest.otlp.conventions import TOKENS
from kpi.pricing.price_table import PriceTable, Usage
from kpi.receipts import Receipt

_COMPARED = 200  # spans of an input that are compared; a unit is the same throughout
_FAR = 10  # times the cost of the tokens, or a part of it, which no discount and no tier of a price explains
_MOST = 0.5  # share of the spans that must be so far off


class CostCheck:
    """Compares reported costs with the price of the tokens. prices: asked for once a span reports both."""

    def __init__(self, prices: Callable[[], PriceTable]) -> None:
        self._prices = prices
        self._compared, self._times = 0, list[float]()

    def see(self, span: dict[str, Any]) -> None:
        """Look at one row of `spans`."""
        reported, model = span["cost_nusd"], span["model"]
        if not reported or not model or self._compared >= _COMPARED:
            return
        if span["input_tokens"] is None and span["output_tokens"] is None:
            return
        priced = self._prices().cost(span["provider"], model, Usage(*(span[name] for name in TOKENS)))
        if not priced:
            return
        self._compared += 1
        times = reported / priced
        if not 1 / _FAR < times < _FAR:
            self._times.append(times)

    def tell(self, receipt: Receipt) -> None:
        """Say on the receipt that the costs are not to be believed, where they are not."""
        if self._times and len(self._times) >= _MOST * self._compared:
            typical = sorted(self._times)[len(self._times) // 2]
            how = f"{typical:,.0f} times" if typical > 1 else f"1/{1 / typical:,.0f} of"
            receipt.note(
                f"The cost that {len(self._times):,} of {self._compared:,} compared spans report is {how} what their "
                "tokens cost by the price table: it may be in another unit than US dollars. It was taken as it is."
            )
        self._compared, self._times = 0, []
