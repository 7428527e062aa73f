"""Rows of a table that share a trace id and differ in time are calls of one request: they become spans and add up.

A gateway's log or a table of one's own often has a row a model call. Keeping the last row of each id would lose the
others; a row that is stored again with a correction has the same time.
"""

import hashlib
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kpi import schema
from kpi.arrow_rows import to_table

Row = dict[str, Any]
_SAME = (
    "trace_id", "started_at", "error_type", "model", "provider", "ttft_us", "queue_us", "input_text", "output_text",
    *(c.name for c in schema.TOKENS))  # fmt: skip
_OUTCOMES = tuple(c.name for c in (*schema.OUTCOMES, *schema.SCORES) if c.name != "error")
_TOLD = frozenset(
    [*_SAME, "day", "error", "total_us", "total_nusd", "inference_nusd", "cost_source", "priced", "computed_nusd",
     "unpriced_model", "attributes", "model_us"])  # fmt: skip
_MEASURES = frozenset(c.name for c in (*schema.LATENCIES, *schema.COSTS, *schema.COUNTS))


def shared_ids(ids: pd.Series, times: pd.Series) -> frozenset[str]:
    """Ids that rows of different times have. times: epoch microseconds, NaN where there is none."""
    again = ids.duplicated(keep=False)
    if not again.any():
        return frozenset()
    different = times[again].groupby(ids[again]).nunique()
    return frozenset(different[different > 1].index)


def to_spans(requests: pa.Table) -> tuple[pa.Table, list[str]]:
    """(`spans` rows, one for each different row of `requests`; names of measures that calls cannot carry).

    What a row says of the whole request, such as its outcome, counts where the last row says it.
    """
    at = requests.column_names.index("started_at")
    times = pc.cast(pc.cast(requests["started_at"], pa.timestamp("us", tz="UTC")), pa.int64())
    rows = requests.set_column(at, "started_at", times).to_pylist()
    rows.sort(key=lambda r: (r["trace_id"], r["started_at"] or 0))
    found: dict[tuple[str, str], Row] = {}
    last: dict[str, Row] = {}
    lost: set[str] = set()
    for row in rows:
        stated = {name: row.get(name) for name in _OUTCOMES if row.get(name) is not None}
        last.setdefault(row["trace_id"], {}).update(stated)
        lost |= {name for name in _MEASURES - _TOLD if row.get(name)}
        span = _span(row)
        found[span["trace_id"], span["span_id"]] = span
    for span in found.values():
        facts = span["context"] | last[span["trace_id"]]
        span["context"] = orjson.dumps(facts, option=orjson.OPT_SORT_KEYS, default=str).decode() if facts else None
    return to_table("spans", list(found.values())), sorted(lost)


def _span(row: Row) -> Row:
    facts = {
        name: value
        for name, value in row.items()
        if value is not None and name not in _TOLD and name not in _MEASURES and name not in _OUTCOMES
    }
    reported = row.get("cost_source") in ("reported", "mixed")
    is_call = row.get("model") or row.get("input_tokens") is not None or row.get("output_tokens") is not None
    text = orjson.dumps(row, option=orjson.OPT_SORT_KEYS, default=str)
    return {
        **{name: row.get(name) for name in _SAME}, "span_id": hashlib.blake2b(text, digest_size=8).hexdigest(),
        "kind": "llm" if is_call else "other", "duration_us": row.get("total_us"),
        "status": None if row.get("error") is None else "error" if row["error"] else "ok",
        "cost_nusd": row.get("total_nusd") if reported else None, "context": facts}  # fmt: skip
