"""Phoenix: spans as data frame, REST answer or download, annotations, sessions and traces (Phoenix 20.26).

Its "OTLP JSON" is OTLP and read as such. All others hold the same OpenInference attributes in other nestings; the
attributes of a span are given through as OTLP would carry them, so that every export of a trace makes one request. The
costs that Phoenix computes are in none of its exports.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kpi.ingest.formats import Attributes, Event, Item, Say, Score, facts_in, identifier, names_of, nanos, span, whole
from kpi.ingest.formats._phoenix_attributes import attributes_of, unread
from kpi.ingest.otlp.attributes import count_of, kind_of, mapping, objects
from kpi.ingest.otlp.conventions import OPENINFERENCE_KINDS
from kpi.schema import WHOLE

_DATA = names_of(__file__)
_NOTES, _COLUMN = _DATA.table["notes"], "attributes."
_DEFAULT_LIMIT = 1000  # spans that the client asks for where nobody says otherwise
_STATUS = {"OK": "ok", "ERROR": "error"}


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One span, annotation, trace or session."""
    if "annotator_kind" in record and ("result" in record or "annotation_name" in record):
        yield from _annotation(record, say)
    elif "traces" in record:
        yield from _session(record, say)
    elif "spans" in record:
        yield from _trace(record, say)
    elif "context.span_id" in record:
        counts = say.kept.setdefault("frames", {})
        counts[say.file] = counts.get(say.file, 0) + 1
        yield from _frame_row(record, say)
    else:
        context = mapping(record["context"])
        given = mapping(record["attributes"])
        yield from _span(record, context.get("trace_id"), context.get("span_id"), given, say)
        say.left_out(record, _DATA.sets["span"], "span")


def finish(say: Say) -> Iterator[Item]:
    """Say which frames may have been cut off by the client."""
    for file, count in say.kept.get("frames", {}).items():
        if count == _DEFAULT_LIMIT:
            say.note(_NOTES["cut"].format(file, count))
    yield from ()


def _frame_row(row: Mapping[str, Any], say: Say) -> Iterator[Item]:
    given = {name.removeprefix(_COLUMN): value for name, value in row.items() if name.startswith(_COLUMN)}
    yield from _span(row, row.get("context.trace_id"), row["context.span_id"], given, say)
    say.left_out({k: v for k, v in row.items() if not k.startswith(_COLUMN)}, _DATA.sets["span"])


def _span(row: Mapping[str, Any], trace_id: Any, span_id: Any, given: Mapping[str, Any], say: Say) -> Iterator[Item]:
    attributes = attributes_of(given)
    events = [
        Event(str(event.get("name") or ""), nanos(event.get("timestamp")), mapping(event.get("attributes")))
        for event in objects(row.get("events"))
    ]
    kind = _kind(row, attributes)
    yield span(trace_id, span_id, kind=kind, attributes=attributes, events=events, **_facts(row))
    say.left_out(unread(attributes), (), "attributes")


def _kind(row: Mapping[str, Any], attributes: Attributes) -> str:
    """The kind as stated, in any case; else what the attributes of other instrumentations tell."""
    for stated in (row.get("span_kind"), attributes.get("openinference.span.kind")):
        kind = OPENINFERENCE_KINDS.get(str(stated or "").lower())
        if kind and kind != WHOLE:
            return kind
    return kind_of({k: v for k, v in attributes.items() if k != "openinference.span.kind"})


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """What every span states, whichever export it is in."""
    status = _STATUS.get(str(row.get("status_code") or "").upper())
    return {**facts_in(row, _DATA.facts["span"]), "status": status}


def _trace(record: Mapping[str, Any], say: Say) -> Iterator[Item]:
    """Sums of a trace, and its spans without attributes; they complete the fuller spans of other exports.

    Guardrails without their verdict are left out: that one ran, and nothing is told of an incident, reads as "safe".
    """
    trace_id = record["trace_id"]
    yield whole(
        trace_id, start=record.get("start_time"), end=record.get("end_time"),
        # Phoenix sums what its spans state: 0 where none of them states any.
        input_tokens=count_of(record.get("token_count_prompt")) or None,
        output_tokens=count_of(record.get("token_count_completion")) or None)  # fmt: skip
    spans = objects(record.get("spans"))
    for row in spans:
        if (kind := _kind(row, {})) == "guardrail":
            continue
        yield span(trace_id, row.get("span_id"), kind=kind, **_facts(row))
        say.left_out(row, _DATA.sets["bare"], "span")
    say.left_out(record, _DATA.sets["trace"], "trace")
    if spans:
        say.note(_NOTES["bare"])


def _session(record: Mapping[str, Any], say: Say) -> Iterator[Item]:
    for trace in objects(record["traces"]):
        times = {"start": trace.get("start_time"), "end": trace.get("end_time")}
        yield whole(trace.get("trace_id"), session=record.get("session_id"), **times)
        say.left_out(trace, _DATA.sets["trace"], "trace")
    say.left_out(record, _DATA.sets["session"], "session")


def _annotation(record: Mapping[str, Any], say: Say) -> Iterator[Item]:
    """Of a span, of one of its documents, or of a trace."""
    result = mapping(record.get("result"))
    label, value, explanation = (
        result[part] if part in result else record.get(f"result.{part}") for part in ("label", "score", "explanation")
    )
    say.left_out(record, _DATA.sets["score"], "annotation")
    span_id, trace_id = identifier(record.get("span_id"), 8), identifier(record.get("trace_id"), 16)
    if not span_id and not trace_id and record.get("session_id"):
        say.drop("an annotation of a session", "It judges no single request: annotate the trace or a span of it.")
        return
    name, named = str(record.get("annotation_name") or record.get("name") or ""), record.get("identifier")
    place = count_of(record.get("document_position"))
    if name and place is not None:
        # Under a name of its own: the verdict on one document is none on the request.
        name, named = f"document_{name}", f"{place}:{named or ''}"
        explanation = f"document {place + 1}" + (f": {explanation}" if explanation else "")
    yield Score(
        trace_id, span_id, name, annotator=record.get("annotator_kind"), value=value, label=label,
        explanation=explanation, at=nanos(record.get("updated_at") or record.get("created_at")),
        identifier=named or None, once=True)  # fmt: skip
