"""What a load says of many spans at once: how their counts were put together, and which measures nobody read."""

from collections import Counter

from kpi.ingest.otlp.attribute_index import shape_of
from kpi.ingest.otlp.counting import Decision
from kpi.ingest.otlp.decode import Span
from kpi.ingest.otlp.first_token import FirstToken
from kpi.ingest.otlp.measures import Sort
from kpi.ingest.otlp.unread import MODEL_CALLS, states_no_number, unread
from kpi.ingest.otlp.usage import TokenUsage
from kpi.receipts import UNREAD_KEPT, Receipt

_PENDING = "Pending copies of {spans} were left out: they say only that a span had begun."
_NO_NUMBER = "{spans} state a count or a cost that is no number (NaN, Infinity, text): it is unknown."


class Observations:
    """Counts that wait for the receipt: by sentence, and by the name of a measure with an example."""

    def __init__(self) -> None:
        self._told: Counter[str] = Counter()
        self._decided: Counter[Decision] = Counter()
        self._missed: dict[str, tuple[int, float]] = {}

    def pending(self) -> None:
        """A copy of a span that was left out."""
        self._told[_PENDING] += 1

    def read(self, span: Span, kind: str, usage: TokenUsage, cost: int | None, first: FirstToken) -> None:
        """What was read of one span: notes on how, and the measures that were not."""
        shape, calls = shape_of(span.attributes), kind in MODEL_CALLS
        if shape.stated[calls] and states_no_number(span.attributes, calls=calls):
            self._told[_NO_NUMBER] += 1
        if first.note:
            self._told[first.note] += 1
        for decision in usage.decisions:
            self._decided[decision] += 1
        if shape.measures or (calls and span.events):
            self._miss(span, kind, usage, cost, first)

    def _miss(self, span: Span, kind: str, usage: TokenUsage, cost: int | None, first: FirstToken) -> None:
        tokens = usage.tokens
        known: tuple[tuple[Sort, bool], ...] = (
            ("tokens", tokens["input_tokens"] is not None or tokens["output_tokens"] is not None),
            ("cost", cost is not None), ("first token", first.us is not None))  # fmt: skip
        for name, value in unread(span, kind, frozenset(sort for sort, there in known if there)):
            count, example = self._missed.get(name, (0, value))
            if count or len(self._missed) < UNREAD_KEPT:
                self._missed[name] = (count + 1, max(example, value))

    def tell(self, receipt: Receipt) -> None:
        """Put everything on the receipt, once."""
        for decision, number in self._decided.items():
            if decision.how:
                self._told[_sentence(decision)] += number
        for sentence, number in self._told.items():
            receipt.count(sentence, number)
        for name, (number, example) in self._missed.items():
            receipt.miss(name, number, example)
        self._told.clear()
        self._decided.clear()
        self._missed.clear()


def _sentence(decision: Decision) -> str:
    part = "Cached" if decision.side == "input" else "Reasoning"
    side = "inside" if decision.inside else "beside"
    return f"{part} tokens of {{spans}} lie {side} the {decision.side}: {decision.how}."
