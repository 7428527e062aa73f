"""All stored rows of one trace -> one request. Pure, deterministic, and blind to the order of the rows.

The rules, in short:

- tokens and cost come from leaf model spans only: wrappers and agents repeat the sums of their children. An aggregate
  is used only where no model span knows anything. Model calls below an evaluator are review, not the request. What
  they cost is the business of `kpi.assembly.span_costs`.
- total latency is the root span's; without one root, from the earliest start to the latest end. A stage's latency is
  the wall-clock union of its spans, so nothing parallel or nested counts twice.
- time to first token runs from the start of the trace to the first token of the answering (last) model span: what
  the user waited, not what the provider took.
- a request failed when its root failed. A failed tool, or a retried call, under a root that succeeded is no error.
- versions of prompt and model come from model spans, cohorts from any span, the root's first.
- unknown stays null; nothing is invented from the absence of a span, except counts: spans are known, so none is 0.

Spans stored twice (exported again, or completed by a log) are merged first: null never overwrites a value.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import orjson
import pyarrow as pa

from kpi import schema
from kpi.arrow_rows import dicts, to_table
from kpi.assembly.outcomes import DEFAULT, OutcomeRules, resolve
from kpi.assembly.span_costs import TOKENS, day_of, has_usage, span_costs
from kpi.assembly.span_tree import SpanTree, merge_spans, parsed
from kpi.pricing.price_table import NO_PRICES, PriceTable

__all__ = ["assemble", "assemble_all", "merge_spans"]

Row = dict[str, Any]
_STAGES = {
    "retriever": "retrieval_us", "reranker": "rerank_us", "tool": "tool_us", "llm": "model_us",
    "guardrail": "guardrail_us"}  # fmt: skip
_OUTCOMES = frozenset(c.name for c in schema.OUTCOMES) - {"error"}
_FROM_MODEL_SPANS = ("prompt_version", "x_requested_model", "refused")
_SIDE = frozenset({"guardrail", "evaluator", "retriever", "reranker"})  # model calls below these do not answer the user


def assemble(
    spans: Sequence[Row],
    *,
    documents: Sequence[Row] = (),
    tool_calls: Sequence[Row] = (),
    scores: Sequence[Row] = (),
    incidents: Sequence[Row] = (),
    rules: OutcomeRules = DEFAULT,
    prices: PriceTable = NO_PRICES,
) -> Row:
    """All canonical rows of one trace, in any order -> its canonical `requests` row (times in epoch microseconds).

    `tool_calls` names tools and adds no number: every executed call is a tool span. prices: for calls without a
    reported cost. Raises ValueError without any span.
    """
    if not spans:
        raise ValueError("a request needs at least one span")
    trace = SpanTree(spans)
    begin = _begin(trace)
    calls = trace.leaves(trace.calls)
    answering = [s for s in calls if not trace.above[s["span_id"]] & _SIDE] or calls
    row: Row = {
        "trace_id": spans[0]["trace_id"],
        "started_at": begin,
        "day": day_of(begin),
        **_facts(trace, answering),
        **_failure(trace),
        **_latencies(trace, begin, answering),
        **_tokens(trace),
        **span_costs(trace, begin, prices, {t["span_id"]: t.get("name") for t in tool_calls}),
        **_counts(trace, calls, documents),
        **_texts(trace, answering),
    }
    if row["priced"] is None and any(s["status"] == "ok" for s in calls):
        # Calls that answered, of which neither tokens nor cost are told: what the request cost in all is unknown.
        row |= {"total_nusd": None, "cost_source": None}
    stated = {name: row.pop(name) for name in [n for n in row if n in _OUTCOMES]}
    row.update(resolve(rules.verdicts(scores), {k: v for k, v in stated.items() if isinstance(v, bool)}))
    row.update(_safety(trace, scores, incidents, rules))
    return row


def _begin(trace: SpanTree) -> int | None:
    """When the request started: its root, else its first span, else what is said of the whole."""
    if trace.root and trace.root["started_at"] is not None:
        return int(trace.root["started_at"])
    started = [s["started_at"] for s in trace.spans if s["started_at"] is not None]
    return min(started, default=trace.whole["started_at"] if trace.whole else None)


def _facts(trace: SpanTree, answering: list[Row]) -> Row:
    """Request-level facts: the root's first, then by time; prompt and model from model spans, the last answer first."""
    found: Row = {}
    attributes: Row = {}
    ranked = [*trace.speaking, *trace.spans]
    for span in ranked:
        for column, known in (("context", found), ("attributes", attributes)):
            for name, value in parsed(span[column]).items() if span[column] else ():
                known.setdefault(name, value)
    answers = answering[::-1]
    for name in _FROM_MODEL_SPANS:
        stated = [v for s in answers if s["context"] and (v := parsed(s["context"]).get(name)) is not None]
        if stated:
            found[name] = stated[0]
    if attributes:
        found["attributes"] = orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS).decode()
    for name in ("model", "provider"):
        stated = [s[name] for s in (*answers, *ranked) if s[name] and s["kind"] in _MODEL_KINDS]
        if stated:
            found[name] = stated[0]
    return found


_MODEL_KINDS = frozenset({"llm", "agent", "chain", "other", schema.WHOLE})


def _failure(trace: SpanTree) -> Row:
    # What the export says of the whole settles it: a request may survive the failure of its root, and fail after it.
    stated = [trace.whole] if trace.whole and trace.whole["status"] in ("ok", "error") else trace.first
    if len(stated) > 1 and all(s["kind"] == "llm" for s in stated):
        stated = stated[-1:]  # calls side by side, as gateways log them: earlier failures were retried or fell back
    failed = [s for s in stated if s["status"] == "error"]
    row: Row = {"error": bool(failed) if any(s["status"] for s in stated) else None}
    if failed:
        named = [s["error_type"] for s in failed if s["error_type"]]
        # The failure that took the root down is the last one below it: earlier ones were survived.
        below = [s for s in trace.spans if s["status"] == "error" and s["error_type"]]
        row["error_type"] = named[0] if named else below[-1]["error_type"] if below else None
    return row


def _latencies(trace: SpanTree, begin: int | None, answering: list[Row]) -> Row:
    if trace.root:
        row: Row = {"total_us": trace.root["duration_us"]}
    else:
        ends = [s["started_at"] + s["duration_us"] for s in trace.spans if _timed(s)]
        row = {"total_us": max(ends) - begin if ends and begin is not None else None}
    if trace.whole and trace.whole["duration_us"] is not None and (not trace.root or row["total_us"] is None):
        row["total_us"] = trace.whole["duration_us"]
    if trace.whole and trace.whole["ttft_us"] is not None:
        row["ttft_us"] = trace.whole["ttft_us"]
    for kind, column in _STAGES.items():
        row[column] = _union([s for s in trace.spans if s["kind"] == kind and _timed(s)])
    last = answering[-1] if answering else None
    if last and last["ttft_us"] is not None and last["started_at"] is not None and begin is not None:
        row["ttft_us"] = max(0, last["started_at"] - begin) + last["ttft_us"]
    queued = trace.leaves([s for s in trace.spans if s["queue_us"] is not None])
    row["queue_us"] = sum(s["queue_us"] for s in queued) if queued else None
    return row


def _timed(span: Row) -> bool:
    return span["duration_us"] is not None and span["started_at"] is not None


def _union(spans: list[Row]) -> int | None:
    """Microseconds in which at least one of the spans, sorted by start, was open."""
    if not spans:
        return None
    total, reached = 0, spans[0]["started_at"]
    for span in spans:
        end = span["started_at"] + span["duration_us"]
        if end > reached:
            total += end - max(reached, span["started_at"])
            reached = end
    return total


def _tokens(trace: SpanTree) -> Row:
    """Sums over leaf model spans that state usage; the outermost aggregate only where no model span states any."""
    counted = trace.leaves([s for s in trace.calls if has_usage(s)])
    if not counted:
        others = [s for s in trace.spans if has_usage(s) and s["kind"] not in _NO_AGGREGATE]
        counted = trace.outermost(others) or ([trace.whole] if trace.whole else [])
    return {name: _sum([s[name] for s in counted]) for name in TOKENS}


_NO_AGGREGATE = frozenset({"llm", "embedding", "evaluator"})  # their usage is their own, no sum over calls


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _counts(trace: SpanTree, calls: list[Row], documents: Sequence[Row]) -> Row:
    kinds = {s["span_id"]: s["kind"] for s in trace.spans}
    tools = [s for s in trace.spans if s["kind"] == "tool"]
    told = not tools or any(s["status"] for s in tools)  # some exports never say whether a tool failed
    retrieved = {(d["span_id"], d["rank"]) for d in documents if kinds.get(d["span_id"]) == "retriever"}
    known = any(s["kind"] is not None for s in trace.spans)  # an export of traces alone says nothing of their steps
    # A failed call that a sibling repeated on the same model was retried.
    retries = sum(
        any(b["parent_id"] == a["parent_id"] and b["model"] == a["model"] for b in calls[i + 1 :])
        for i, a in enumerate(calls)
        if a["status"] == "error"
    )
    # An agent that tells what all its calls used, and none of them: they are there, and how many is unknown.
    hidden = not calls and any(has_usage(s) and s["kind"] not in _NO_AGGREGATE for s in trace.spans)
    stated = (parsed(s["context"]).get("retries") for s in calls if s["context"])  # of calls that hide their attempts
    retries = max(retries, sum(n for n in stated if isinstance(n, int)))
    return {
        "llm_calls": len(calls) if known and not hidden else None,
        "tool_calls": len(tools) if known else None,
        "tool_errors": _failed(trace, tools) if known and told else None,
        "retrieved_docs": len(retrieved) if retrieved else None,
        "retries": retries if calls else None,
    }


def _failed(trace: SpanTree, tools: list[Row]) -> int:
    """Tools that failed: of some exporters the run of a tool is a span below it, named after it, and that one fails."""
    runs = set()
    for span in trace.spans:
        tool = trace.by_id.get(span["parent_id"] or "") if span["status"] == "error" else None
        if tool and span["kind"] == "other" and tool["name"] and (span["name"] or "").startswith(f"{tool['name']}."):
            runs.add(tool["span_id"])
    return sum(s["status"] == "error" or s["span_id"] in runs for s in tools)


def _texts(trace: SpanTree, answering: list[Row]) -> Row:
    """What the user asked and got: the root's texts, else those of the first and the last answering model span."""
    asked = [s["input_text"] for s in (*trace.speaking, *answering) if s["input_text"]]
    got = [s["output_text"] for s in (*trace.speaking, *answering[::-1]) if s["output_text"]]
    return {"input_text": asked[0] if asked else None, "output_text": got[0] if got else None}


def _safety(trace: SpanTree, scores: Sequence[Row], incidents: Sequence[Row], rules: OutcomeRules) -> Row:
    """Incidents as rows and failed safety evaluations; null when nothing looked for them."""
    evaluated, failed = rules.unsafe(scores)
    guarded = any(s["kind"] == "guardrail" for s in trace.spans)
    if not (evaluated or guarded or incidents):
        return {"incident_count": None, "worst_severity": None}
    ids = {i["incident_id"] for i in incidents}
    severities = [i["severity"] for i in incidents if i["severity"] in schema.SEVERITIES]
    worst = max(severities, key=schema.SEVERITIES.index) if severities else None
    return {"incident_count": len(ids) + failed, "worst_severity": worst}


def assemble_all(
    *,
    spans: Iterable[pa.RecordBatch],
    documents: Iterable[pa.RecordBatch] = (),
    tool_calls: Iterable[pa.RecordBatch] = (),
    scores: Iterable[pa.RecordBatch] = (),
    incidents: Iterable[pa.RecordBatch] = (),
    rules: OutcomeRules = DEFAULT,
    prices: PriceTable = NO_PRICES,
) -> Iterator[pa.Table]:
    """Requests of many traces, merge-joined: canonical record batches ordered by trace_id -> `requests` tables.

    Order within a trace is no matter. Tables have at most 20,000 rows and each its own `x_` columns. Traces of which
    only logs have arrived (rows without a kind) yield no request yet; rows without spans are skipped.
    """
    sides = {
        "documents": _Side(documents, ("trace_id", "span_id", "rank")),
        "tool_calls": _Side(tool_calls, ("trace_id", "span_id", "call_id", "name")),
        "scores": _Side(scores, ("score_id", "trace_id", "name", "value", "label", "source", "at")),
        "incidents": _Side(incidents, ("incident_id", "trace_id", "severity")),
    }
    rows: list[Row] = []
    for trace_id, found in groupby(_rows(spans, schema.SPANS.names), key=itemgetter("trace_id")):
        of_trace = list(found)
        beside = {name: side.of(trace_id) for name, side in sides.items()}
        if all(span["kind"] is None for span in of_trace):
            continue
        rows.append(assemble(of_trace, rules=rules, prices=prices, **beside))
        if len(rows) >= _TABLE_ROWS:
            yield to_table("requests", rows)
            rows = []
    if rows:
        yield to_table("requests", rows)


_TABLE_ROWS = 20_000


class _Side:
    """Rows beside the spans, read forward once as the traces go by."""

    def __init__(self, batches: Iterable[pa.RecordBatch], columns: Sequence[str]) -> None:
        groups = groupby(_rows(batches, columns), key=itemgetter("trace_id"))
        self._groups = ((trace_id, list(rows)) for trace_id, rows in groups if trace_id is not None)
        self._next = next(self._groups, None)

    def of(self, trace_id: str) -> list[Row]:
        """Rows of this trace; those of earlier traces are passed over."""
        while self._next is not None and self._next[0] < trace_id:
            self._next = next(self._groups, None)
        return self._next[1] if self._next is not None and self._next[0] == trace_id else []


def _rows(batches: Iterable[pa.RecordBatch], columns: Sequence[str]) -> Iterator[Row]:
    return (row for batch in batches for row in dicts(batch, columns))
