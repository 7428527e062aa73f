"""Costs of requests that come as rows of a table: reported columns, else the price table and unit costs, row by row.

The same rules as for spans (`span_costs`), on less: a table knows counts and no steps. A request that retrieved
counts as one retrieval, its tool calls cost the default, and tokens of several calls are priced without tiers.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa

from kpi.arrow_rows import dicts
from kpi.assembly.span_costs import COMPUTED, MIXED, PARTS, REPORTED, TOKENS, day_of, unpriced, usage_of, used_tokens
from kpi.pricing.price_table import PriceTable

Row = dict[str, Any]
_REPORTED: Row = {"priced": True, "cost_source": REPORTED, "unpriced_model": None}
WRITTEN = (*PARTS, "total_nusd", "priced", "computed_nusd", "cost_source", "unpriced_model")
_CALLED = (*TOKENS, "model", "provider", "started_at", "llm_calls")
READ = (*WRITTEN, *_CALLED, "tool_calls", "retrieved_docs", "retrieval_us")


def price_requests(table: pa.Table, prices: PriceTable, *, totals: pa.Array) -> pa.Table:
    """Canonical requests with the columns of their costs filled in. totals: where the total itself was reported."""
    whole = totals.to_pylist()
    if all(whole):  # what was reported stays
        table = _with(table, [_REPORTED] * len(whole), tuple(_REPORTED))
        computed = ({"computed_nusd": _by_table(row, prices)} for row in dicts(table, _CALLED))
        return _with(table, list(computed), ("computed_nusd",))
    return _with(table, [_costs(row, prices, whole=w) for row, w in zip(dicts(table, READ), whole, strict=True)])


def reprice_requests(table: pa.Table, prices: PriceTable) -> pa.Table:
    """Stored requests of tables under other prices. What was reported stays, and so do rows that mix both kinds.

    Of those the stored row does not say which part was reported; their table has to be loaded again.
    """
    found = []
    for row in dicts(table, READ):
        blank = all(row[name] is None for name in (*PARTS, "total_nusd"))
        if row["cost_source"] == COMPUTED or (row["cost_source"] is None and blank):
            found.append(_costs(row | dict.fromkeys(WRITTEN), prices, whole=False))
        else:
            found.append({**{c: row[c] for c in WRITTEN}, "computed_nusd": _by_table(row, prices)})
    return _with(table, found)


def _with(table: pa.Table, found: list[Row], names: Sequence[str] = WRITTEN) -> pa.Table:
    for name in names:
        at = table.column_names.index(name)
        kind = table.schema.field(name)
        table = table.set_column(at, kind, pa.array([row[name] for row in found], type=kind.type))
    return table


def _costs(row: Row, prices: PriceTable, *, whole: bool) -> Row:
    """The cost columns of one request. whole: its total was reported, so that nothing is added to it."""
    by_table = _by_table(row, prices)
    found: Row = {**row, "computed_nusd": by_table, "unpriced_model": None}
    if whole:
        return found | _REPORTED
    told = [name for name in PARTS if row[name] is not None]
    if row["inference_nusd"] is None and used_tokens(row):
        if by_table is None:
            found |= {"priced": False, "total_nusd": None, "cost_source": None}
            return found | {"unpriced_model": unpriced(row, prices, _day(row, prices))}
        found["inference_nusd"] = by_table
    added = _unit_costs(row, prices) if told or found["inference_nusd"] is not None else {}
    found |= added
    known = [found[name] for name in PARTS if found[name] is not None]
    if known:
        computed = bool(added) or (row["inference_nusd"] is None and found["inference_nusd"] is not None)
        source = (MIXED if told else COMPUTED) if computed else REPORTED
        found |= {"priced": True, "total_nusd": sum(known), "cost_source": source}
    return found


def _by_table(row: Row, prices: PriceTable) -> int | None:
    if not row["model"] or not used_tokens(row):
        return None
    one_call = (row["llm_calls"] or 1) <= 1
    return prices.cost(row["provider"], row["model"], usage_of(row), _day(row, prices), one_call=one_call)


def _day(row: Row, prices: PriceTable) -> date | None:
    return day_of(row["started_at"]) if prices.dated else None


def _unit_costs(row: Row, prices: PriceTable) -> Row:
    """Unit costs of the parts that the row does not report."""
    units, found = prices.units, {}
    if row["retrieval_nusd"] is None and units.retrieval is not None and (row["retrieved_docs"] or row["retrieval_us"]):
        found["retrieval_nusd"] = units.retrieval
    if row["orchestration_nusd"] is None and units.orchestration is not None:
        found["orchestration_nusd"] = units.orchestration
    each = units.tool(None)
    if row["tool_nusd"] is None and each is not None and row["tool_calls"]:
        found["tool_nusd"] = each * row["tool_calls"]
    return found
