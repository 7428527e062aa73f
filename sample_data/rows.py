"""Columns to canonical Arrow tables, and the request rows that follow from spans, scores and incidents."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from kpi.schema import ARROW, COSTS, SEVERITIES, SOURCES, TABLES
from sample_data.traces import Traces

STAGE_OF = {  # request latency column: span kinds whose durations it sums
    "retrieval_us": ("retriever",),
    "rerank_us": ("reranker",),
    "tool_us": ("tool",),
    "model_us": ("llm",),
    "guardrail_us": ("guardrail",),
}
COST_OF = {
    "retrieval_nusd": ("retriever", "reranker"),
    "orchestration_nusd": ("guardrail",),
    "tool_nusd": ("tool",),
    "review_nusd": ("evaluator",),
}
TOKENS = ("input_tokens", "output_tokens", "cached_read_tokens", "cache_write_tokens", "reasoning_tokens")


def column(values: np.ndarray, type_: str) -> pa.Array:
    """Arrow array of a canonical type: objects as they are, floats with NaN for unknown."""
    if values.dtype == object:
        return pa.array(values.tolist(), type=ARROW[type_]) if type_ != "string" else pa.array(values, pa.string())
    if type_ == "float":
        return pa.array(values, pa.float64(), from_pandas=True)
    if type_ == "bool":
        return pa.array(values, pa.bool_())
    if values.dtype.kind == "f":
        gone = np.isnan(values)
        return pa.array(np.where(gone, 0, np.round(values)).astype(np.int64), mask=gone).cast(ARROW[type_])
    if type_ == "date":
        return pa.array(values.astype(np.int32)).cast(ARROW[type_])
    return pa.array(values.astype(np.int64)).cast(ARROW[type_])


def table(name: str, columns: dict[str, np.ndarray]) -> pa.Table:
    """Canonical table `name`; columns not given are null, keys that the table does not know are ignored."""
    schema = TABLES[name].arrow_schema()
    size = len(next(iter(columns.values())))
    arrays = [
        column(columns[c.name], c.type) if c.name in columns else pa.nulls(size, ARROW[c.type])
        for c in TABLES[name].columns
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def root_durations(drawn: Traces, count: int) -> np.ndarray:
    """Duration of each request's root span, us."""
    result = np.zeros(count, dtype=np.int64)
    root = drawn.spans["kind"] == "agent"
    result[drawn.spans["row"][root]] = drawn.spans["duration_us"][root].astype(np.int64)
    return result


def trace_tables(drawn: Traces, trace_id: np.ndarray) -> dict[str, pa.Table]:
    """spans, documents and tool_calls as canonical tables."""
    spans, documents, calls = drawn.spans, drawn.documents, drawn.tool_calls
    return {
        "spans": table("spans", spans | {"trace_id": trace_id[spans["row"]], "started_at": spans["start"]}),
        "documents": table("documents", documents | {"trace_id": trace_id[documents["row"]]}),
        "tool_calls": table("tool_calls", calls | {"trace_id": trace_id[calls["row"]], "started_at": calls["start"]}),
    }


def _sums(row: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sum by request, ignoring unknowns; NaN where a request has no known value at all."""
    there = ~np.isnan(values)
    total = np.bincount(row[there], weights=values[there], minlength=count)
    seen = np.bincount(row[there], minlength=count)
    return np.where(seen > 0, total, np.nan)


def _last(row: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Last value of each request in the order given; NaN where there is none."""
    result = np.full(count, np.nan)
    result[row] = values
    return result


def request_table(
    facts: dict[str, np.ndarray], known: dict[str, np.ndarray], drawn: Traces, *, trace_id: np.ndarray,
    scores: dict[str, np.ndarray], incidents: dict[str, np.ndarray],
) -> pa.Table:  # fmt: skip
    """The request rows: facts and context as given, everything else summed from the trace."""
    n = len(trace_id)
    columns: dict[str, np.ndarray] = {**facts, **known, "trace_id": trace_id, "started_at": facts["at"]}
    columns["day"] = facts["at"] // 86_400_000_000
    columns["input_text"], columns["output_text"] = facts["question"], facts["answer"].copy()
    columns |= _from_spans(drawn, facts, n)
    columns |= _from_scores(scores, known, n)
    rank = np.full(n, -1)
    np.maximum.at(rank, incidents["row"], np.array([SEVERITIES.index(s) for s in incidents["severity"]], dtype=int))
    columns["incident_count"] = np.bincount(incidents["row"], minlength=n)
    columns["worst_severity"] = np.array([*SEVERITIES, None], dtype=object)[rank]
    columns["output_text"][columns["error"].astype(bool)] = None
    columns["total_nusd"] = total_cost(columns)
    columns["cost_source"] = np.where(np.isnan(columns["total_nusd"]), None, "reported")
    columns["unpriced_model"] = np.where([p is False for p in columns["priced"]], columns["model"], None)
    return table("requests", columns)


def _from_spans(drawn: Traces, facts: dict[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
    spans = drawn.spans
    row, kind, duration = spans["row"], spans["kind"], spans["duration_us"]
    columns: dict[str, np.ndarray] = {}
    for name, kinds in STAGE_OF.items():
        mine = np.isin(kind, kinds)
        columns[name] = _sums(row[mine], duration[mine], n)
    root, llm, tool = kind == "agent", kind == "llm", kind == "tool"
    columns["queue_us"] = _sums(row[root], spans["queue_us"][root], n)
    columns["total_us"] = _sums(row[root], duration[root], n)
    since_start = spans["start"][llm] - facts["at"][row[llm]] + spans["ttft_us"][llm]
    columns["ttft_us"] = _last(row[llm], since_start, n)
    for name in TOKENS:
        columns[name] = _sums(row[llm], spans[name][llm], n)
    for name, kinds in COST_OF.items():
        mine = np.isin(kind, kinds)
        columns[name] = _sums(row[mine], spans["cost_nusd"][mine], n)
    columns |= _inference(spans, n)
    failed = np.zeros(n, dtype=bool)
    failed[row[root & (spans["status"] == "error")]] = True
    columns["error"] = failed
    error_type = np.full(n, None, dtype=object)
    error_type[row[root]] = spans["error_type"][root]
    columns["error_type"] = error_type
    columns["llm_calls"] = np.bincount(row[llm], minlength=n)
    columns["tool_calls"] = np.bincount(row[tool], minlength=n)
    columns["tool_errors"] = np.bincount(row[tool & (spans["status"] == "error")], minlength=n)
    found = np.bincount(drawn.documents["row"], minlength=n).astype(float)
    columns["retrieved_docs"] = np.where(found > 0, found, np.nan)
    final = np.full(n, -1)
    final[row[llm]] = np.flatnonzero(llm)
    survived = llm & (spans["status"] == "error") & (np.arange(len(row)) != final[row])
    columns["retries"] = np.where(final < 0, np.nan, np.bincount(row[survived], minlength=n))
    return columns


def _inference(spans: dict[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
    """Inference cost and whether it is known: all model calls that used tokens must be priced; embeddings count."""
    row, cost, llm = spans["row"], spans["cost_nusd"], spans["kind"] == "llm"
    used = llm & (np.nan_to_num(spans["input_tokens"]) + np.nan_to_num(spans["output_tokens"]) > 0)
    unpriced = np.bincount(row[used & np.isnan(cost)], minlength=n) > 0
    part = llm | (spans["kind"] == "embedding")
    known = _sums(row[part], cost[part], n)
    known[unpriced] = np.nan
    priced = np.where(np.isnan(known), np.where(unpriced, False, None), True)
    return {"inference_nusd": known, "priced": priced}


def _unless(values: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    return np.where(unknown, None, values.astype(object))


def _from_scores(scores: dict[str, np.ndarray], known: dict[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
    """Outcome columns by the rules of `kpi.assembly.outcomes`, for all requests at once."""

    def values(name: str) -> np.ndarray:
        mine = scores["name"] == name
        result = np.full(n, np.nan)
        result[scores["row"][mine]] = scores["value"][mine]
        return result

    names = ("success", "user_rating", "correctness", "groundedness", "retrieval_hit", "retrieval_score")
    review, thumb, right, close, hit, relevance = (values(name) for name in names)
    resolved = np.array([np.nan if v is None else float(v) for v in known["resolved"]])
    verdict = (right >= 0.5).astype(float)
    # What the user did and what the judge says must both be good; a reviewer overrules both.
    success = np.fmin(np.where(np.isnan(right), np.nan, verdict), resolved)
    source = np.where(np.isnan(resolved) & ~np.isnan(right), SOURCES[3], SOURCES[1]).astype(object)
    success = np.where(np.isnan(review), success, (review >= 0.5).astype(float))
    source[~np.isnan(review)] = SOURCES[0]
    return {
        "success": _unless(success == 1.0, np.isnan(success)),
        "outcome_source": source,
        "correct": _unless(right >= 0.5, np.isnan(right)),
        "grounded": _unless(close >= 0.5, np.isnan(close)),
        "retrieval_hit": _unless(hit >= 0.5, np.isnan(hit)),
        "correctness": right,
        "retrieval_score": relevance,
        "groundedness": close,
        "user_rating": thumb,
    }


def total_cost(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Sum of the known cost parts, nano-dollars; NaN where no part is known, or a model call lacks its price."""
    parts = np.array([columns[c.name] for c in COSTS if c.name != "total_nusd" and c.name in columns], dtype=float)
    unknown = np.isnan(parts).all(axis=0) | np.array([p is False for p in columns["priced"]])
    return np.where(unknown, np.nan, np.nansum(parts, axis=0))
