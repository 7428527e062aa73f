"""Langfuse: downloads of a trace, batch exports of the UI, scheduled exports to blob storage, API pages, its tables.

One record is a trace with all that belongs to it, or one row: a trace, an observation (`events` in v4) or a score.
Rows join by id, in any order. Names are camelCase (API, UI) or snake_case (blob, databases): the latter are renamed.
A latency may be in seconds or milliseconds, so it is worked out from the times; a cost or usage of 0 beside empty
details is Langfuse's way to say that none is known. Of `usageDetails` the buckets are disjoint.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kpi.assembly.outcomes import source_of
from kpi.disk.tables import by_word
from kpi.ingest.files.records import from_cell
from kpi.ingest.formats import MALFORMED, Item, Say, Score, _langfuse_texts as texts, identifier, names_of, nanos
from kpi.ingest.formats._replies import documents
from kpi.ingest.otlp.attribute_index import metadata_name
from kpi.ingest.otlp.attributes import count_of, kind_of, mapping, number, nusd, objects, parse, truth_of
from kpi.ingest.otlp.conventions import LANGFUSE_KINDS
from kpi.ingest.spans.builder import renamed, span, whole
from kpi.schema import WHOLE

_DATA = names_of(__file__)
_SETS, _KIND_ATTRIBUTES = _DATA.sets, _DATA.table["kind_attributes"].split()
_SPELLINGS = by_word(_DATA.table["spellings"])  # of each layout -> the API's
Row = dict[str, Any]
_MS_RATIO = 30  # a latency so many times the length in seconds is in milliseconds
_CUT_AT = 200  # characters to which the API cuts values of metadata
_REMEMBERED = 1_000_000  # scores of one load of which the time of the last version is known
_CATEGORY_LENGTH = 40
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_PAYLOAD_KINDS = frozenset({"tool", "retriever", "guardrail", "embedding"})  # what they take and give is no speech
_CORRECTIONS = "Corrections (better answers that people wrote) are not read."
_CATEGORY = re.compile(r"[^\W\d_]+(?:[ _/-][^\W\d_]+){0,3}")


def translate(record: Row, say: Say) -> Iterator[Item]:
    """A trace with all its parts, a row of one table, or the manifest that counts the rows of an export."""
    if "window" in record and "files" in record:
        _manifest(record, say)
    elif isinstance(record.get("trace"), (dict, str)) and "observations" in record:
        yield from _with_parts(mapping(record["trace"]), objects(record["observations"]), say)
    elif record.get("observations") or record.get("scores"):
        yield from _with_parts(record, [], say)
    else:
        yield from _row(record, say)


def finish(say: Say) -> Iterator[Item]:
    """Scores known from columns alone, and what the export should hold and does not."""
    told = say.kept.get("scored", set())
    columns: dict[tuple[str, str | None, str], set[Any]] = say.kept.get("columns", {})
    finer = {(trace, name) for trace, observation, name in columns if observation}
    for (trace, observation, name), values in sorted(columns.items(), key=str):
        if (trace, name) in told or (not observation and (trace, name) in finer):
            continue  # the same scores came as rows, or once more by observation
        for place, value in enumerate(sorted(values, key=str)):
            yield _column_score(trace, observation, name, value, place)
    if open_ := say.kept.get("open"):
        say.note(f"{open_} observations have no end: they still ran when they were exported, or their end is left out.")
    read, manifest = say.kept.get("read", {}), say.kept.get("manifest", {})
    if read and all(table == "scores" for table, _ in read):
        say.note("These are scores alone: they join traces that are loaded already; export traces or observations too.")
    if manifest and not read:
        say.note("A manifest counts the rows of an export and holds none: load it with the files that it names.")
    for file, rows in sorted(manifest.items()):
        if file in read and read[file] != rows:
            say.note(f"{'/'.join(file)}: {read[file]} rows were read, its manifest counts {rows}.")
        elif file not in read and rows:
            say.note(f"{'/'.join(file)} is missing: a manifest names it with {rows} rows.")


def _manifest(record: Row, say: Say) -> None:
    for file in objects(record.get("files")):
        if (rows := count_of(file.get("rowCount"))) is not None:
            say.kept.setdefault("manifest", {})[(str(file.get("table")), _file_name(str(file.get("key"))))] = rows


def _file_name(key: str) -> str:
    return key.rsplit("/", 1)[-1].rsplit(": ", 1)[-1].removesuffix(".gz")  # members are named `archive: file`


def _with_parts(trace: Row, observations: list[Row], say: Say) -> Iterator[Item]:
    """One trace with its observations and scores inside. What stands there twice is taken once."""
    yield from _row(trace, say)
    known = {row.get("id") for row in observations}
    observations = [*observations, *(r for r in objects(trace.get("observations")) if r.get("id") not in known)]
    rows, scores = [_named(row) for row in observations], objects(trace.get("scores"))
    # One download is in one unit; those of its observations that have a length tell which.
    unit = next((found for row in rows if (found := _measured_unit(row))), None)
    for part in (*(_observation(row, say, unit) for row in rows), *(_score(_named(s), say) for s in scores)):
        try:
            yield from part
        except MALFORMED:
            say.drop("malformed observation or score of a trace", "A field has an unexpected type.")
    if objects(trace.get("corrections")):
        say.note(_CORRECTIONS)


def _row(record: Row, say: Say) -> Iterator[Item]:
    row = _named(record)
    if truth_of(row.get("is_deleted")):
        say.note("Rows that the database marks as deleted were left out.")
        return
    if "data_type" in record or ("dataType" in record and "source" in record):
        table, items = "scores", _score(row, say)
    elif "traceId" in row and row.get("id") == f"t-{row['traceId']}":
        table, items = "observations_v2", _trace(_of_trace(row), say)
    elif "parentObservationId" in row or ("traceId" in row and "startTime" in row):
        enriched = "trace_name" in record and "trace_id" in record
        table = "observations_v2" if enriched else "observations"
        # Milliseconds or seconds, by the age of the integration: only the times themselves can tell.
        items = _observation(row, say, None if enriched else 1.0)
    else:
        table, items = "traces", _trace(row, say)
    read = say.kept.setdefault("read", {})
    file = (table, _file_name(say.file))
    read[file] = read.get(file, 0) + 1
    yield from items


def _named(record: Mapping[str, Any]) -> Row:
    """The row under the API's names; of two spellings of a name the one that holds something."""
    return renamed(record, lambda key: _SPELLINGS.get(key, key))


def _trace(row: Row, say: Say) -> Iterator[Item]:
    _read_columns(row, row.get("id"), None, _SETS["trace"], say)
    facts = _facts(row, say)
    _kind("", facts["attributes"])
    yield whole(
        row.get("id"), start=row.get("timestamp"), cost_usd=_positive(row.get("totalCost")),
        # In seconds from the API; elsewhere in either unit, and the observations' own times say more.
        seconds=_positive(row.get("latency")) if "htmlPath" in row else None,
        **facts, **_texts(row))  # fmt: skip


def _of_trace(row: Row) -> Row:
    """The row `t-<trace>` in which version 4 keeps a trace of older SDKs, above its spans, as the trace that it is."""
    known = {k: v for k, v in row.items() if k in _SETS["trace"]}
    return {**known, "id": row["traceId"], "timestamp": row.get("startTime")}


def _observation(row: Row, say: Say, unit: float | None) -> Iterator[Item]:
    """unit: seconds in one of the row's own latency where its times cannot tell; None for not known."""
    _read_columns(row, row.get("traceId"), row.get("id"), _SETS["observation"], say)
    stated = str(row.get("type") or "").lower()
    facts = _facts(row, say)
    attributes = facts.pop("attributes")
    kind = _kind(stated, attributes)
    start, end, first_token = (nanos(row.get(n)) for n in ("startTime", "endTime", "completionStartTime"))
    seconds = _seconds(row, "latency", unit) if end is None else None
    if stated == "event":
        end = end or start  # a point in time
    elif end is None and seconds is None:
        say.kept["open"] = say.kept.get("open", 0) + 1
    parent = row.get("parentObservationId")
    usage, cost = _usage(row, say), _cost(row)
    attributes |= {"langfuse.observation.usage_details": usage} if usage else {}
    attributes |= {"langfuse.observation.cost_details": cost} if cost else {}
    failed = str(row.get("level") or "").upper() == "ERROR"
    plain = {side: texts.decoded(row.get(side)) for side in ("input", "output")}
    shown = plain if kind in _PAYLOAD_KINDS else _texts(row)
    yield span(
        row.get("traceId"), row.get("id"), kind=kind,
        parent_id=None if parent == f"t-{row.get('traceId')}" else parent,
        start=start, end=end, seconds=seconds, first_token=first_token,
        ttft_seconds=None if first_token else _seconds(row, "timeToFirstToken", unit),
        streamed=truth_of(mapping(row.get("modelParameters")).get("stream")) or None,
        status="error" if failed else "ok" if end else None, message=row.get("statusMessage") if failed else None,
        documents=documents(shown["output"]) if kind == "retriever" else None,
        tool={"arguments": shown["input"], "result": shown["output"]} if kind == "tool" else None,
        model=row.get("model"), requested_model=attributes.pop("gen_ai.request.model", row.get("model")),
        prompt_version=row.get("promptVersion"), attributes=attributes, **shown, **facts)  # fmt: skip


def _facts(row: Row, say: Say) -> Row:
    """What traces and observations state alike; `attributes`: what the span behind the row adds to its fields."""
    metadata = mapping(texts.decoded(row.get("metadata")))
    if isinstance(listed := row.get("metadata_names"), list):
        metadata = dict(zip(map(str, listed), row.get("metadata_values") or (), strict=False))
    if any(isinstance(value, str) and len(value) == _CUT_AT for value in metadata.values()):
        say.note(f"Some values of metadata have {_CUT_AT} characters, to which the API cuts longer ones.")
    behind, tags = mapping(metadata.get("attributes")), parse(row.get("tags"))
    attributes = {
        key: value for key, value in behind.items()
        if key in _SETS["attributes"] or key in _KIND_ATTRIBUTES or metadata_name(key) is not None}  # fmt: skip
    return {
        "name": row.get("name"), "user": row.get("userId"), "session": row.get("sessionId"),
        "release": row.get("release") or row.get("version") or row.get("service_version"),
        "environment": row.get("environment"),
        "tags": tags if isinstance(tags, list) else None,
        "metadata": {k: v for k, v in metadata.items() if k not in _SETS["sdk_metadata"]}, "attributes": attributes,
    }  # fmt: skip


def _texts(row: Row) -> Row:
    """input, output and the reason why a model stopped."""
    output, finish = texts.answered(texts.decoded(row.get("output")))
    return {"input": texts.asked(texts.decoded(row.get("input"))), "output": output, "finish_reason": finish}


def _kind(stated: str, attributes: Row) -> str:
    """The kind; an observation that is stated to be a mere span may say more in the attributes it came with."""
    told = {key: attributes.pop(key) for key in _KIND_ATTRIBUTES if key in attributes}
    if stated == "span" and told and (kind := kind_of(told)) not in ("other", WHOLE):
        return kind
    return LANGFUSE_KINDS.get(stated, "other") if stated != "trace" else "other"


def _measured_unit(row: Row) -> float | None:
    """1.0 or 0.001 seconds, from a latency beside both times; None where they cannot tell."""
    latency = _positive(row.get("latency"))
    start, end = (nanos(row.get("startTime")), nanos(row.get("endTime"))) if latency is not None else (None, None)
    if latency is None or start is None or end is None or end <= start:
        return None
    return 0.001 if latency > _MS_RATIO * (end - start) / 1e9 else 1.0


def _seconds(row: Row, name: str, unit: float | None) -> float | None:
    """`latency` or `timeToFirstToken` in seconds, from the field whose unit is known."""
    if (milliseconds := _positive(row.get(f"{name}Ms"))) is not None:
        return milliseconds / 1e3
    value = _positive(row.get(name))
    unit = _measured_unit(row) or unit if value is not None else None
    return value * unit if value is not None and unit is not None else None


def _positive(value: Any) -> float | None:
    """A number above 0. Sentinels (-1) and the 0 of what was never measured or priced are None."""
    return number(value) or None


def _usage(row: Row, say: Say) -> Row | None:
    """Buckets of tokens; sums of old rows only where they are tokens and more than the zeros of an empty usage."""
    if details := mapping(row.get("usageDetails")):
        if details.keys() == {"total"}:
            say.note("Some observations state only the total of their tokens: input and output are not known.")
        return details
    usage = mapping(row.get("usage"))
    if str(usage.get("unit") or row.get("unit") or "TOKENS").upper() != "TOKENS":
        say.note("Usage in other units than tokens (characters, images, seconds) is not read.")
        return None
    for source, given, returned in (
        (usage, "input", "output"), (row, "inputUsage", "outputUsage"), (row, "promptTokens", "completionTokens"),
    ):  # fmt: skip
        counts = {"input": count_of(source.get(given)), "output": count_of(source.get(returned))}
        if any(counts.values()):
            return counts
    return None


def _cost(row: Row) -> Row | None:
    """Parts of the cost with their total. A total of 0 beside no parts says that no price was known."""
    details = mapping(row.get("costDetails"))
    total = next((row[n] for n in ("totalCost", "calculatedTotalCost") if nusd(row.get(n))), None)
    if details:
        return details if total is None or nusd(details.get("total")) is not None else {**details, "total": total}
    return {"total": total} if total is not None else None


def _score(row: Row, say: Say) -> Iterator[Item]:
    subject = mapping(row.get("subject"))  # third version of the API
    about = str(subject.get("kind") or "")
    trace = subject.get("traceId") if about == "observation" else subject.get("id") if about == "trace" else None
    trace = identifier(row.get("traceId") or trace, 16)
    observation = identifier(row.get("observationId") or (subject.get("id") if about == "observation" else None), 8)
    say.left_out(row, _SETS["score"], "scores")
    name, type_ = str(row.get("name") or ""), str(row.get("dataType") or "").upper()
    if not (trace or observation):
        say.drop("a score of a session or a dataset run, not of a request", "Score traces or observations.")
        return
    if type_ == "CORRECTION":
        say.note(_CORRECTIONS)
        return
    value, words = row.get("value"), row.get("longStringValue") or row.get("stringValue")
    if type_ in ("CATEGORICAL", "TEXT"):  # their number is the place of a category, or nothing
        value, words = None, words or value
    comment = row.get("comment")
    # Free text is kept where it is redacted.
    explanation = "\n".join(str(part) for part in (words, comment) if part) if type_ == "TEXT" else comment
    say.kept.setdefault("scored", set()).add((trace, name))
    if _is_outdated(row, say):
        return
    yield Score(
        trace, observation, name, annotator=_annotator(row.get("source"), name), value=value,
        label=words if type_ == "CATEGORICAL" else None, explanation=explanation or None,
        at=nanos(row.get("timestamp")), identifier=row.get("id"), once=bool(row.get("id")))  # fmt: skip


def _is_outdated(row: Row, say: Say) -> bool:
    """Whether a later version of this score was read before: of a corrected one the correction counts, in any order."""
    versions = say.kept.setdefault("versions", {})
    at = nanos(row.get("updatedAt") or row.get("updated_at") or row.get("timestamp")) or 0
    known = hash(row.get("id"))
    if versions.get(known, 0) > at:
        return True
    if len(versions) < _REMEMBERED:
        versions[known] = at
    return False


def _annotator(source: Any, name: str) -> str | None:
    """`API` is whatever the application sent: what its users said, or what its code found."""
    stated = str(source or "").upper()
    if stated == "API":
        return "user" if source_of(name) == "user" else "code"
    return {"ANNOTATION": "human", "EVAL": "judge"}.get(stated, stated or None)


def _read_columns(row: Row, trace: Any, observation: Any, read: frozenset[str], say: Say) -> None:
    """Keep the score columns of a UI export, and name what is not read.

    Such an export has a column for each score name, with lists of its values, and a score named like a field stands
    in that field's place.
    """
    if "userId" in row or "traceId" in row:
        listed = {key: from_cell(value) for key, value in row.items() if value and _may_be_list(key, value)}
        for key in [key for key, value in listed.items() if isinstance(value, list) and _is_scores(key, value)]:
            kept = say.kept.setdefault("columns", {})
            place = (identifier(trace, 16), identifier(observation, 8) if observation else None, key)
            kept.setdefault(place, set()).update(listed[key])
            del row[key]
            if key in read:
                say.note(f"The values of the field {key} are lost: a score of that name stands in its place.")
    say.left_out(row, read, "observations" if observation else "traces")


def _may_be_list(key: str, value: Any) -> bool:
    """A list, or its text, as tables write it that became JSON; a payload may be such text itself."""
    return isinstance(value, list) or (isinstance(value, str) and value[:1] == "[" and key not in _SETS["payloads"])


def _is_scores(key: str, values: list[Any]) -> bool:
    plain = values and all(isinstance(v, (str, int, float)) for v in values)
    if not plain or key in _SETS["lists"] or key.endswith(("_names", "_values")):
        return False
    return key not in _SETS["payloads"] or not any(isinstance(v, str) for v in values)


def _column_score(trace: str | None, observation: str | None, name: str, value: Any, place: int) -> Score:
    """A score of which an export kept the value only. Words that may be free text are kept where they are redacted."""
    value = float(value) if isinstance(value, str) and _NUMBER.fullmatch(value.strip()) else value
    is_label = isinstance(value, str) and bool(_CATEGORY.fullmatch(value)) and len(value) <= _CATEGORY_LENGTH
    return Score(
        trace, observation, name, value=value if not isinstance(value, str) else None,
        label=value if is_label else None, explanation=None if is_label or not isinstance(value, str) else value,
        identifier=str(place))  # fmt: skip
