"""One request at a time: find traces in a slice, and put one together again for a person to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import sqlalchemy as sa

from kpi.errors import MetricError
from kpi.measure.columns import Columns, conditions
from kpi.measure.condition import expression
from kpi.measure.metrics import Metric
from kpi.measure.own_terms import called
from kpi.measure.profile import profile
from kpi.measure.slice import Slice
from kpi.measure.summary import resolve
from kpi.privacy.redact import redact
from kpi.result import Result
from kpi.schema import EXTRA_PREFIX, MEASURE_PREFIX, REQUESTS, SEVERITIES, TABLES, WHOLE, dimension_name
from kpi.store.cache import HELPERS
from kpi.store.engines import SQL_TYPES, Source
from kpi.store.expressions import Expression, text_of, whole

Sort = Literal["recent", "cost", "latency", "failed", "incident"]
SORTS: tuple[Sort, ...] = ("recent", "cost", "latency", "failed", "incident")
_LISTED = ("trace_id", "started_at", "intent", "language", "channel", "model", "prompt_version", "success", "resolved",
           "escalated", "refused", "error", "error_type", "total_us", "total_nusd", "input_tokens", "output_tokens",
           "tool_calls", "incident_count", "worst_severity", "user_key", "session_id", "input_text")  # fmt: skip
_SEARCHED = ("trace_id", "session_id", "user_key", "input_text", "output_text")
_MAX_ROWS = 500
_READABLE = {"total_us": ("latency_ms", 1e-3), "total_nusd": ("cost_usd", 1e-9)}
HIDDEN = frozenset(["user_key"])  # of rows read in place: there it may be the user's own id
_MASKED = {c.name for t in TABLES.values() for c in t.columns if c.privacy == "content"} | {"attributes", "context"}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trace(Result):
    """One request. request: canonical columns plus cohorts. spans: depth first, with depth, offset_ms,
    duration_ms and critical (on the path that decides when the trace ends). The other frames hold the trace's
    rows. why: why the outcome counts as it does.
    """

    main = "spans"
    columns = ("name", "kind", "depth", "offset_ms", "duration_ms", "status", "critical")
    request: dict[str, Any]
    spans: pd.DataFrame
    documents: pd.DataFrame
    tool_calls: pd.DataFrame
    scores: pd.DataFrame
    incidents: pd.DataFrame
    why: str

    @property
    def sentence(self) -> str:
        """Which trace it is, and why its outcome counts as it does."""
        return f"Trace {self.request.get('trace_id')}: {self.why}"


def find_traces(
    source: Source, slice: Slice | None = None, *, text: str = "", condition: str = "",
    sort: Sort = "recent", limit: int = 50, offset: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Requests of a slice: the newest, most expensive, slowest, failed or worst incidents first; at most 500.

    Args:
        source: Where the rows are.
        slice: The rows to look at; all of them when None.
        text: Part of an id or of the (redacted) input or output, in any case.
        condition: Any condition, such as "cost > 0.05 and tool_errors > 0 and language in (es, de)": names of columns
            as people call them; = != < <= > >= in contains, is known; and, or, not; units $, ms, s, min, h, %.
        sort: "recent", "cost", "latency", "failed" or "incident".
        limit: Rows to give.
        offset: Rows to pass over.

    Returns:
        A frame with columns as canonical, with latency_ms and cost_usd; its `attrs["matching"]` counts all that match.

    Raises:
        MetricError: For an unknown order or a limit below one.
        SliceError: For a condition that cannot be read, or that these data cannot meet.

    Example:
        >>> len(kpi.find_traces(source, kpi.Slice(last="7d"), condition="not success and latency > 2 s", limit=5))
        5
    """
    _check_sort(sort, limit)
    if limit > _MAX_ROWS:
        raise MetricError("traces.limit", f"Cannot list {limit:,} traces, {_MAX_ROWS} at most",
                          hint="kpi.rows(source, slice) gives all of them.")  # fmt: skip
    if offset < 0:
        raise MetricError("traces.limit", f"Cannot list traces from {offset}", hint="Start at 0.")
    table = source.table("requests")
    row = Columns(source, table)
    resolved = resolve(source, slice)
    where = [*conditions(source, resolved.filters, resolved.window), *_met(source, condition, resolved.slice)]
    hidden = HIDDEN if source.live else frozenset()
    if text.strip():
        asked = (c for c in _SEARCHED if c in table.c and c not in hidden)
        where.append(sa.or_(*(source.dialect.contains(row[c], text.strip()) for c in asked)))
    columns = [(sa.cast(sa.null(), SQL_TYPES["string"]) if c in hidden else row[c]).label(c) for c in _LISTED]
    listed = sa.select(*columns).where(*where).order_by(*_order(row, sort))
    statement = listed.limit(min(limit, _MAX_ROWS)).offset(offset)
    found = _masked(source, source.run(statement.select_from(table)).to_pandas())
    found.insert(2, "latency_ms", found.pop("total_us") * 1e-3)
    found.insert(3, "cost_usd", found.pop("total_nusd") * 1e-9)
    counted = source.run(sa.select(sa.func.count().label("n")).where(*where).select_from(table))
    found.attrs["matching"] = int(counted.to_pylist()[0]["n"])
    return found


def _met(source: Source, condition: str, slice: Slice) -> list[Expression]:
    return [expression(source, condition, slice.tz)] if condition.strip() else []


def evidence(metric: Metric) -> tuple[str, Sort]:
    """The condition that requests meet in which a metric shows at its worst ("" for any), and the order to read in."""
    column, level = metric.needs[0] if len(metric.needs) == 1 else "", metric.name.partition("_")[0]
    if metric.kind == "incidence":
        return f"severity = {level}" if level in SEVERITIES else "incidents > 0", "incident"
    if metric.kind == "rate" and column in REQUESTS.names and REQUESTS[column].type == "bool":
        return f"not {column}" if metric.direction == "up" else column, "recent"
    return "", "cost" if metric.group == "cost" else "latency" if metric.group == "latency" else "failed"


def rows(
    source: Source, slice: Slice | None = None, *,
    condition: str = "", sort: Sort = "recent", limit: int | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Requests of a slice with every column that holds something, in an order of the Traces page.

    Args:
        source: Where the rows are.
        slice: The rows to give; those of its default window when None.
        condition: As of `kpi.find_traces`.
        sort: The same.
        limit: Rows to give at most; all when None.

    Returns:
        A frame: canonical columns, with latency_ms and cost_usd, then those of a team's own under their names.

    Raises:
        MetricError: For an unknown order or dimension, or a limit below one.
        SliceError: As of `kpi.find_traces`.

    Example:
        >>> found = kpi.rows(source, kpi.Slice(last="7d"), sort="cost", limit=3)
        >>> len(found), found["cost_usd"].is_monotonic_decreasing
        (3, True)
    """
    _check_sort(sort, 1 if limit is None else limit)
    resolved = resolve(source, slice)
    where = [*conditions(source, resolved.filters, resolved.window), *_met(source, condition, resolved.slice)]
    return every_column(source, where, sort, limit)


def every_column(source: Source, where: list[Expression], sort: Sort, limit: int | None) -> pd.DataFrame:
    """Requests that meet conditions, with all columns that hold something."""
    table, filled = source.table("requests"), profile(source).filled
    hidden = HIDDEN if source.live else frozenset()
    shown = [c for c in table.c if c.name not in {*HELPERS, *hidden} and filled.get(c.name, 1)]
    statement = sa.select(*shown).where(*where).order_by(*_order(Columns(source, table), sort)).limit(limit)
    found = _masked(source, source.run(statement).to_pandas())
    for stored, (name, scale) in _READABLE.items():
        if stored in found:
            found.insert(found.columns.get_loc(stored), name, found.pop(stored) * scale)
    measures = {c.removeprefix(MEASURE_PREFIX) for c in found if c.startswith(MEASURE_PREFIX)}
    found = found.drop(columns=[c for c in found if c.startswith(EXTRA_PREFIX) and dimension_name(c) in measures])
    return found.rename(columns=lambda c: called(c) if called(c) not in found else c)


def _check_sort(sort: str, limit: int) -> None:
    if sort not in SORTS:
        raise MetricError("traces.sort", f"Cannot sort by {sort[:20]!r}", hint=f"Use one of {', '.join(SORTS)}.")
    if limit < 1:
        raise MetricError("traces.limit", f"Cannot list {limit} traces", hint="Ask for at least one.")


def _order(row: Columns, sort: Sort) -> list[sa.ColumnElement[Any]]:
    falling = row.dialect.falling
    failed = sa.case((row["error"].is_(sa.true()), 0), (row["success"].is_(sa.false()), 1), else_=2)
    worst = sa.case(*((row["worst_severity"] == text_of(s), whole(-i)) for i, s in enumerate(SEVERITIES)),
                    (row["incident_count"] > whole(0), whole(1)), else_=whole(2))  # fmt: skip
    recent = falling(row["started_at"])
    by = {"recent": [recent], "cost": [falling(row["total_nusd"])], "latency": [falling(row["total_us"])],
          "failed": [failed, recent], "incident": [worst, recent]}  # fmt: skip
    return [*by[sort], row["trace_id"]]


def trace(source: Source, trace_id: str) -> Trace:
    """Everything stored of one request.

    Args:
        source: Where the rows are.
        trace_id: As in a column of `find_traces`.

    Returns:
        A `Trace`: the request, and frames of its spans, documents, tool calls, scores and incidents.

    Raises:
        MetricError: When there is no such trace.

    Example:
        >>> one = kpi.trace(source, kpi.find_traces(source, limit=1)["trace_id"].iloc[0])
        >>> len(one.spans) > 0
        True
    """
    rows = _rows(source, "requests", trace_id)
    if rows.empty:
        raise MetricError("trace.unknown", f"There is no trace {trace_id[:64]!r} in {source.name!r}",
                          hint="Check the id, or the version of the data set.")  # fmt: skip
    request = {k.removeprefix(EXTRA_PREFIX): _none(v) for k, v in rows.iloc[0].items() if k not in HELPERS}
    parts = {n: _rows(source, n, trace_id) for n in ("spans", "documents", "tool_calls", "scores", "incidents")}
    return Trace(
        request=request,
        spans=_tree(parts["spans"][parts["spans"]["kind"] != WHOLE] if len(parts["spans"]) else parts["spans"]),
        documents=parts["documents"].sort_values(["span_id", "rank"]),
        tool_calls=parts["tool_calls"].sort_values(["started_at", "span_id"]),
        scores=parts["scores"].sort_values(["name", "source"]), incidents=parts["incidents"], why=_why(request),
    )  # fmt: skip


def _rows(source: Source, table: str, trace_id: str) -> pd.DataFrame:
    columns = source.columns_of(table)
    if "trace_id" not in columns:
        return pd.DataFrame(columns=list(TABLES[table].names))
    found = source.table(table)
    shown = [c for c in found.c if not (source.live and c.name in HIDDEN)]
    statement = sa.select(*shown).where(found.c.trace_id == sa.literal(trace_id, SQL_TYPES["string"]))
    return _masked(source, source.run(statement).to_pandas())


def _masked(source: Source, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows read in place were never loaded, so their texts are masked before they are shown."""
    if source.live:
        for name in _MASKED & set(rows.columns):
            rows[name] = rows[name].map(redact, na_action="ignore")
    return rows


def _tree(spans: pd.DataFrame) -> pd.DataFrame:
    """Spans depth first, siblings by start, with depth, offset from the first start and the critical path."""
    if spans.empty:
        return spans.assign(depth=[], offset_ms=[], duration_ms=[], critical=[])
    ordered = spans.sort_values(["started_at", "span_id"], na_position="first")
    known = set(ordered["span_id"])
    children: dict[str | None, list[str]] = {}
    for r in ordered.itertuples():
        parent = r.parent_id if r.parent_id in known and r.parent_id != r.span_id else None
        children.setdefault(parent, []).append(r.span_id)
    walk: list[tuple[str, int]] = []
    stack = [(s, 0) for s in reversed(children.get(None, []))]
    seen: set[str] = set()
    while stack:
        span, depth = stack.pop()
        if span in seen:
            continue
        seen.add(span)
        walk.append((span, depth))
        stack += [(s, depth + 1) for s in reversed(children.get(span, []))]
    walk += [(s, 0) for s in ordered["span_id"] if s not in seen]  # spans in a cycle of parents
    found = ordered.drop_duplicates("span_id").set_index("span_id", drop=False).loc[[s for s, _ in walk]]
    start = found["started_at"].min()
    found = found.assign(depth=[d for _, d in walk],
                         offset_ms=(found["started_at"] - start) / pd.Timedelta(milliseconds=1),
                         duration_ms=found["duration_us"] * 1e-3)  # fmt: skip
    found["critical"] = found["span_id"].isin(_critical(found, children))
    return found.reset_index(drop=True)


def _critical(spans: pd.DataFrame, children: Mapping[str | None, list[str]]) -> set[str]:
    """From the end backwards: the span that ends last, then the one before its start, and so into its children."""
    begin = spans["offset_ms"].fillna(0.0).to_dict()
    end = (spans["offset_ms"].fillna(0.0) + spans["duration_ms"].fillna(0.0)).to_dict()
    found: set[str] = set()
    todo: list[tuple[str | None, float]] = [(None, max(end.values(), default=0.0))]
    while todo:
        parent, until = todo.pop()
        for child in sorted((c for c in children.get(parent, []) if c in end), key=lambda c: -end[c]):
            if child not in found and begin[child] < until and end[child] <= until + 1.0:
                found.add(child)
                todo.append((child, end[child]))
                until = begin[child]
    return found


def _why(request: Mapping[str, Any]) -> str:
    """One sentence: which truth decided the outcome."""
    judged = {"human": "human review", "user": "what the user did", "code": "a code check", "judge": "a judge model"}
    source = judged.get(str(request.get("outcome_source")), "the export")
    if request.get("error") is True:
        return f"Failed technically ({request.get('error_type') or 'no type given'})."
    if request.get("success") is None:
        return "Outcome unknown: no review, feedback, check or judge says whether it worked."
    if request["success"]:
        return f"Counts as a success, according to {source}."
    if request.get("refused"):
        return "Counts as failed: the assistant refused."
    if request.get("correct") and request.get("resolved") is False:
        return f"Counts as failed: the answer was correct but did not solve the issue, according to {source}."
    return f"Counts as failed, according to {source}."


def events(source: Source, slice: Slice | None = None) -> pd.DataFrame:
    """Releases, launches, corpus refreshes and policy changes in the slice's window.

    Args:
        source: Where the rows are.
        slice: Whose window counts; all times when None.

    Returns:
        A frame with columns at, kind, name, version, description.

    Example:
        >>> found = kpi.events(source, kpi.Slice(last="all"))
        >>> {"at", "kind", "name"} <= set(found.columns)
        True
    """
    columns = ["at", "kind", "name", "version", "description"]
    if "at" not in source.columns_of("events"):
        return pd.DataFrame(columns=columns)
    table = source.table("events")
    window = resolve(source, slice).window
    asked = sa.select(*(table.c[c] for c in columns)).order_by(table.c.at)
    if window is not None:
        moment = source.dialect.moment
        asked = asked.where(table.c.at >= moment(window.start), table.c.at < moment(window.end))
    return source.run(asked).to_pandas()


def _none(value: Any) -> Any:
    if isinstance(value, float) and value != value:
        return None
    if value is pd.NaT or value is pd.NA:
        return None
    return value.item() if hasattr(value, "item") else value
