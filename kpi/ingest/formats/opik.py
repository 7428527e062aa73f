"""Opik: `opik export` writes one JSON document a trace, or a CSV of flattened spans (opik 2.2).

Durations and time to first token are in milliseconds, costs in USD. The CSV's writer stops at the first span whose keys
differ from the first one's, so such a file is often cut: the spans that the trace counts and that are not there are
missed by name.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kpi.ingest.files.records import from_cell
from kpi.ingest.formats import Incident, Item, Say, Score, count_of, mapping, names_of, nanos, objects
from kpi.ingest.spans.builder import as_text, facts_in, milliseconds, only, span, whole

_DATA = names_of(__file__)


_OBJECTS = ("input", "output", "metadata", "usage", "error_info")


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One trace with its spans, or one CSV row: a span beside the columns of its trace."""
    if "trace" in record:
        trace, spans = mapping(record["trace"]), objects(record.get("spans"))
    else:
        trace, spans = _unflattened(record, "trace_"), [_unflattened(record, "span_")]
    say.left_out(trace, _DATA.sets["trace"], "trace")
    seen = say.kept.setdefault(trace.get("id"), {"told": count_of(trace.get("span_count")), "spans": set()})
    if not seen["spans"]:
        yield from _trace(trace)
    for row in spans:
        say.left_out(row, _DATA.sets["span"], "span")
        seen["spans"].add(row.get("id"))
        yield from _span(row)


def finish(say: Say) -> Iterator[Item]:
    """Say how many spans the traces have and the export does not."""
    if missing := sum(max(0, (seen["told"] or 0) - len(seen["spans"])) for seen in say.kept.values()):
        say.note(f"The export lacks {missing} spans that its traces count: its writer stopped early. Export as JSON.")
    yield from ()


def _trace(trace: dict[str, Any]) -> Iterator[Item]:
    yield whole(trace.get("id"), **_common(trace), session=trace.get("thread_id"))
    yield from _scores(trace, trace.get("id"), None)
    for score in objects(trace.get("span_feedback_scores")):
        yield from _scores({"feedback_scores": [score]}, trace.get("id"), None)
    for validation in objects(trace.get("guardrails_validations")):
        for check in objects(validation.get("checks")):
            if check.get("result") == "failed":
                at, category = nanos(trace.get("start_time")), str(check.get("name") or "guardrail").lower()
                yield Incident(str(trace.get("id")), validation.get("span_id"), category, detector="opik", at=at)


def _span(row: dict[str, Any]) -> Iterator[Item]:
    kind = _DATA.kinds.get(str(row.get("type") or "").lower(), "other")
    output = mapping(row.get("output"))
    documents = objects(output["documents"]) if kind == "chain" and "documents" in output else None
    name = row.get("name")
    yield span(
        row.get("trace_id"), row.get("id"), parent_id=row.get("parent_span_id"),
        kind="retriever" if documents is not None else kind, documents=documents,
        model=row.get("model"), provider=_provider(row.get("provider")), **_common(row),
        tool={"name": name, "arguments": row.get("input"), "result": row.get("output")} if kind == "tool" else None,
    )  # fmt: skip
    yield from _scores(row, row.get("trace_id"), row.get("id"))


def _common(row: Mapping[str, Any]) -> dict[str, Any]:
    """What traces and spans state alike."""
    error = mapping(row.get("error_info"))
    metadata = mapping(row.get("metadata"))
    return {
        **facts_in(row, _DATA.facts["row"]), **facts_in(mapping(row.get("usage")), _DATA.facts["usage"]),
        "seconds": milliseconds(row.get("duration")), "ttft_seconds": milliseconds(row.get("ttft")),
        "input": only(row.get("input")), "output": only(row.get("output")),
        "status": "error" if error else "ok" if row.get("end_time") else None,
        "error_type": error.get("exception_type"), "message": error.get("message"),
        "metadata": metadata, "tags": row.get("tags") if isinstance(row.get("tags"), list) else None,
        "user": metadata.get("user_id"), "release": metadata.get("release")}  # fmt: skip


def _provider(stated: Any) -> str | None:
    """A custom base URL appears as its host: that is no provider."""
    name = as_text(stated)
    return None if name and (":" in name or name.replace(".", "").isdigit() or name == "localhost") else name


def _scores(row: Mapping[str, Any], trace_id: Any, span_id: Any) -> Iterator[Item]:
    for score in objects(row.get("feedback_scores")):
        yield Score(
            str(trace_id), str(span_id) if span_id else None, str(score.get("name") or ""),
            annotator={"ui": "human", "online_scoring": "judge"}.get(str(score.get("source")), score.get("source")),
            value=score.get("value"), label=score.get("category_name"), explanation=score.get("reason"),
            at=nanos(score.get("last_updated_at") or score.get("created_at")))  # fmt: skip


def _unflattened(record: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """`trace_input_q` -> `{"input": {"q": …}}`: the CSV flattens objects by their keys."""
    found: dict[str, Any] = {}
    for column, value in record.items():
        value = from_cell(value)  # the table may have become JSON, with the text of its cells
        if value is None or not column.startswith(prefix):
            continue
        name = column.removeprefix(prefix)
        outer = next((o for o in _OBJECTS if name.startswith(f"{o}_")), None)
        if outer is None:
            found[name] = value
        elif isinstance(inside := found.setdefault(outer, {}), dict):
            inside[name.removeprefix(f"{outer}_")] = value
    return found
