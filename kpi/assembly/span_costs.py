"""What a request cost: reported where a source says so, else by the price table and unit costs; both are kept apart.

The rules, in short:

- cost comes from leaf model calls, as tokens do (`kpi.assembly.requests`). A call's reported cost wins; without one its
  tokens are priced. A wrapper's reported cost covers the calls below it.
- a request is priced when every call that used tokens has a reported cost or a price; if not, its total is unknown and
  the models are named. Embeddings are inference, rerankers retrieval, calls below an evaluator review.
- retrieval, orchestration, tools and review have a unit cost only where no span of that kind reports one.
- a stage that repeats the cost of the calls below it is no further cost.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from kpi import schema
from kpi.assembly.span_tree import SpanTree
from kpi.pricing.price_table import PriceTable, Usage

Row = dict[str, Any]
REPORTED, COMPUTED, MIXED = "reported", "computed", "mixed"
TOKENS = tuple(c.name for c in schema.TOKENS)
PARTS = tuple(c.name for c in schema.COSTS if c.name != "total_nusd")
_STAGES = {
    "retriever": "retrieval_nusd", "reranker": "retrieval_nusd", "tool": "tool_nusd", "guardrail": "orchestration_nusd",
}  # fmt: skip
_AGGREGATES = frozenset({"agent", "chain", "other"})
_NO_AGGREGATE = frozenset({"llm", "embedding", "evaluator", "reranker"})
_HUMAN = re.compile(r"human|manual", re.IGNORECASE)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_US, _MINUTE_US = 86_400_000_000, 60_000_000


def day_of(microseconds: int | None) -> date | None:
    """The UTC day of a moment in epoch microseconds."""
    return None if microseconds is None else date.fromordinal(_EPOCH_DAY + microseconds // _DAY_US)


def span_costs(trace: SpanTree, begin: int | None, prices: PriceTable, tools: Mapping[str, str | None]) -> Row:
    """Cost columns of a request in nano-dollars, out of its spans. tools: names of tools by the span that called them.

    begin: epoch microseconds of the request; the prices of that day count.
    """
    return _Bill(trace, prices, day_of(begin), tools).row()


@dataclass
class _Pool:
    """Calls of one purpose. reported: leaf spans with a cost; priced: those without, by the table; missing: neither.

    by_table: what all calls that used tokens cost by the table; None when one of them has no price.
    """

    reported: list[Row] = field(default_factory=list)
    priced: list[int] = field(default_factory=list)
    missing: list[Row] = field(default_factory=list)
    counted: list[Row] = field(default_factory=list)
    by_table: int | None = None

    @property
    def total(self) -> int:
        return sum(int(s["cost_nusd"]) for s in self.reported) + sum(self.priced)

    @property
    def known(self) -> bool:
        return bool(self.reported or self.priced)


class _Bill:
    """The bill of one trace."""

    def __init__(self, trace: SpanTree, prices: PriceTable, day: date | None, tools: Mapping[str, str | None]) -> None:
        self.trace, self.prices, self.tools = trace, prices, tools
        self.day = day if prices.dated else None
        self.costed = [s for s in trace.spans if s["cost_nusd"] is not None]
        self.sources: set[str] = set()
        self.covering: set[str] = set()  # aggregates whose cost counts: it includes all that is below them
        self.all_told = False  # so does what is said of the whole trace
        self.found: Row = {"inference_nusd": None, "priced": None}

    def row(self) -> Row:
        row = self.found
        missing = [*self._inference(), *self._stages(), *self._review()]
        if missing:
            row["priced"] = False
        if row["priced"] is False:
            row["inference_nusd"] = None
            models = {unpriced(s, self.prices, self.day) for s in missing}
            row["unpriced_model"] = ", ".join(sorted(filter(None, models))) or None
        known = [row[name] for name in PARTS if row.get(name) is not None]
        if known and row["priced"] is not False:  # a request stopped before any model call still cost what it used
            row["total_nusd"] = sum(known)
            row["cost_source"] = self.sources.pop() if len(self.sources) == 1 else MIXED
        return row

    def _inference(self) -> list[Row]:
        """Sets `inference_nusd`, `priced` and `computed_nusd`; returns the calls without a price."""
        row, trace = self.found, self.trace
        answering = self._pool(trace.calls)
        stages = {s["span_id"] for s in self.costed if s["kind"] in ("retriever", "reranker")}
        embeddings = self._pool([s for s in trace.spans if s["kind"] == "embedding"], covered=stages)
        aggregate: list[Row] = []
        alone = not answering.reported and not any(s["cost_nusd"] is not None for s in trace.judged)
        if alone and (answering.counted or not embeddings.reported):
            aggregate = trace.outermost([s for s in self.costed if s["kind"] in _AGGREGATES])
            self.covering = {s["span_id"] for s in aggregate}
            if not aggregate and trace.whole and trace.whole["cost_nusd"] is not None:
                aggregate, self.all_told = [trace.whole], True
        if not answering.counted:
            self._aggregate_usage(answering)
        pools = [p for p in (answering, embeddings) if p.counted]
        if pools and all(p.by_table is not None for p in pools):
            row["computed_nusd"] = sum(p.by_table or 0 for p in pools)
        if aggregate:
            row |= {"inference_nusd": sum(s["cost_nusd"] for s in aggregate), "priced": True}
            self.sources.add(REPORTED)
            return []
        missing = answering.missing + embeddings.missing
        if not missing and (answering.known or embeddings.known):
            row |= {"inference_nusd": answering.total + embeddings.total, "priced": True}
            self.sources |= {REPORTED} if answering.reported or embeddings.reported else set()
            self.sources |= {COMPUTED} if answering.priced or embeddings.priced else set()
        elif any(has_usage(s) for s in (*trace.spans, *([trace.whole] if trace.whole else []))):
            row["priced"] = False
        return missing

    def _aggregate_usage(self, pool: _Pool) -> None:
        """Where no model span states usage, that of the outermost spans that do: sums over calls, so without tiers."""
        trace = self.trace
        others = trace.outermost([s for s in trace.spans if used_tokens(s) and s["kind"] not in _NO_AGGREGATE])
        pool.counted = others or ([trace.whole] if trace.whole and used_tokens(trace.whole) else [])
        found = [self._by_table(s, one_call=False) for s in pool.counted]
        pool.by_table = _sum_known(found)
        if not pool.reported:
            pool.priced = [cost for cost in found if cost is not None]
            pool.missing = [s for s, cost in zip(pool.counted, found, strict=True) if cost is None]

    def _stages(self) -> list[Row]:
        """Retrieval, tools and guardrails: reported costs, rerankers by their price, else unit costs."""
        trace, units = self.trace, self.prices.units
        lowest = {s["span_id"] for s in trace.leaves(self.costed)}
        told = {kind: [s for s in self.costed if s["kind"] == kind] for kind in _STAGES}
        for kind, column in _STAGES.items():
            parts = [s for s in told[kind] if s["span_id"] in lowest]
            if parts:
                self._add(column, sum(s["cost_nusd"] for s in parts), REPORTED)
        rerankers = self._pool(
            [s for s in trace.spans if s["kind"] == "reranker"],
            covered={s["span_id"] for s in (*told["retriever"], *told["reranker"])},
        )
        if rerankers.priced:
            self._add("retrieval_nusd", sum(rerankers.priced), COMPUTED)
        retrievals = trace.leaves([s for s in trace.spans if s["kind"] == "retriever"])
        if retrievals and not told["retriever"] and units.retrieval is not None:
            self._add("retrieval_nusd", units.retrieval * len(retrievals), COMPUTED)
        if not told["tool"] and units.tool_call:
            tools = [s for s in trace.spans if s["kind"] == "tool"]
            names = (self.tools.get(s["span_id"]) or str(s["name"] or "").removeprefix("execute_tool ") for s in tools)
            known = [cost for name in names if (cost := units.tool(name)) is not None]
            if known:
                self._add("tool_nusd", sum(known), COMPUTED)
        if not told["guardrail"] and units.orchestration is not None:
            self._add("orchestration_nusd", units.orchestration, COMPUTED)
        return rerankers.missing

    def _review(self) -> list[Row]:
        """Evaluators: reported costs, judge models by their price, minutes of people by their unit cost."""
        trace, minute = self.trace, self.prices.units.review_minute
        evaluators = [s for s in trace.spans if s["kind"] == "evaluator"]
        told = [s for s in evaluators if s["cost_nusd"] is not None]
        judges = self._pool(trace.judged, covered={s["span_id"] for s in told})
        reported = trace.leaves([*told, *judges.reported])
        if reported:
            self._add("review_nusd", sum(s["cost_nusd"] for s in reported), REPORTED)
        if judges.priced:
            self._add("review_nusd", sum(judges.priced), COMPUTED)
        people = [s for s in trace.leaves(evaluators) if _HUMAN.search(s["name"] or "")]
        lengths = [s["duration_us"] for s in people if s["duration_us"] is not None]
        if lengths and not told and minute is not None:
            spent = minute * sum(lengths)
            self._add("review_nusd", (spent + _MINUTE_US // 2) // _MINUTE_US, COMPUTED)
        return judges.missing

    def _pool(self, spans: Sequence[Row], *, covered: Iterable[str] = ()) -> _Pool:
        """Leaf calls with what they cost. covered: spans whose reported cost includes the calls below them."""
        if not spans:
            return _Pool()
        trace = self.trace
        pool = _Pool(reported=trace.leaves([s for s in spans if s["cost_nusd"] is not None]))
        pool.counted = trace.leaves([s for s in spans if used_tokens(s) or self._is_billed_by_call(s)])
        told = {s["span_id"] for s in pool.reported}
        lowest = {s["span_id"] for s in trace.leaves([*pool.reported, *pool.counted])} if told else None
        above = told.union(covered, self.covering)
        found = []
        for span in pool.counted:
            cost = self._by_table(span)
            found.append(cost)
            mine = span["span_id"]
            is_told = self.all_told or mine in told or (lowest is not None and mine not in lowest)
            if is_told or (above and trace.is_below(span, above)):
                continue
            if cost is None:
                pool.missing.append(span)
            else:
                pool.priced.append(cost)
        counted = {s["span_id"] for s in pool.counted}
        silent = [s for s in pool.reported if s["cost_nusd"] and s["span_id"] not in counted]
        if not any(lowest is None or (s["span_id"] in lowest and not trace.is_below(s, counted)) for s in silent):
            pool.by_table = _sum_known(found)
        return pool

    def _is_billed_by_call(self, span: Row) -> bool:
        found = self.prices.find(span["provider"], span["model"], self.day) if span["kind"] == "reranker" else ()
        return any(p.call for p in found)

    def _by_table(self, span: Row, *, one_call: bool = True) -> int | None:
        return self.prices.cost(span["provider"], span["model"], usage_of(span), self.day, one_call=one_call)

    def _add(self, column: str, cost: int, source: str) -> None:
        self.found[column] = (self.found.get(column) or 0) + cost
        self.sources.add(source)


def usage_of(row: Row) -> Usage:
    """The token counts of a span or of a request."""
    return Usage(*(row[name] for name in TOKENS))


def unpriced(row: Row, prices: PriceTable, day: date | None) -> str | None:
    """The model that needs a row of its own; None where it is not known, or the token counts are what is missing."""
    return row["model"] if len(prices.find(row["provider"], row["model"], day)) != 1 else None


def used_tokens(row: Row) -> bool:
    """Whether a span or a request says that tokens were used."""
    return (row["input_tokens"] or 0) + (row["output_tokens"] or 0) > 0


def has_usage(row: Row) -> bool:
    """Whether a span or a request states a count of tokens, be it 0."""
    return row["input_tokens"] is not None or row["output_tokens"] is not None


def _sum_known(costs: Sequence[int | None]) -> int | None:
    """The sum, or None where there is nothing or not all is known."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known and len(known) == len(costs) else None
