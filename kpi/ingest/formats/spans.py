"""Rows of spans, whoever wrote them: one record a span, with ids, times and attributes under any of the usual names.

The names are data (`kpi.ingest.spans.row_names`), and so are the units of columns that do not name theirs. A length
whose unit nothing tells waits until all are read: the spans of a trace then say which unit makes children fit.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from kpi.ingest.files.json_documents import NO_NUMBERS
from kpi.ingest.files.records import opened
from kpi.ingest.formats import OK, UNKNOWN, Attributes, Item, Say, Score, Span, identifier, names_of, resembles
from kpi.ingest.otlp.attributes import count_of, number, objects, parse, text_of, truth_of
from kpi.ingest.otlp.conventions import VOCABULARY
from kpi.ingest.otlp.values import unwrapped
from kpi.ingest.spans import length_units, row_names
from kpi.ingest.spans.builder import WHOLE_ID, as_text
from kpi.ingest.spans.row_names import Use, folded, is_score
from kpi.ingest.spans.row_values import NANOS, attribute_map, events_of, length_of, status_of, time_of
from kpi.mapping.units import MONEY_NUSD
from kpi.schema import WHOLE

_DATA = names_of(__file__)
_COSTS, _DELAYS, _NOTES = (_DATA.table[part] for part in ("costs", "delays", "notes"))
_XRAY = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})", re.IGNORECASE)
_SPREAD = 5  # levels of nested objects whose keys count as columns
_VALUES = frozenset(_DATA.table["values"].split())
_OF_A_VENDOR = 5  # columns that a vendor's table has in common with one whose names were rewritten
_WAITING = 200_000  # spans of one column whose lengths wait for a unit
_NAME = 40


def recognises(names: Collection[str]) -> bool:
    """Whether these keys or columns are those of spans, of a trace with its spans, or of a log store's messages."""
    if isinstance(names, Mapping):
        names = [*_spread_names(names)]
    return row_names.is_span(names) or row_names.is_trace(names) or row_names.is_message(names)


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """The spans of one record: itself, those inside it, or those that its message holds as JSON."""
    if say.file not in (files := say.kept.setdefault("files", set())):
        files.add(say.file)
        if vendor := resembles(record, least=_OF_A_VENDOR):
            say.note(_NOTES["renamed"].format(say.file, vendor.title))
    yield from _of(record, say, {})


def finish(say: Say) -> Iterator[Item]:
    """The spans whose lengths waited for a unit, and what to tell of it."""
    for file, count in say.kept.pop("nans", {}).items():
        say.note(NO_NUMBERS.format(name=file, count=count))
    for place in list(say.kept.get("waiting", ())):
        yield from _settled(place, say)


def _settled(place: tuple[str, str], say: Say) -> Iterator[Span]:
    """The spans that wait, of one column of one file, in the unit that they tell together."""
    waiting: list[tuple[Span, float]] = say.kept["waiting"].pop(place)
    unit = length_units.unit_of(waiting)
    say.kept.setdefault("units", {})[place] = unit
    say.note(_NOTES["told"].format(unit) if unit else _NOTES["untold"].format(len(waiting), place[1][:_NAME]))
    for span, length in waiting:
        yield _ended(span, length, unit)


def _of(record: Mapping[str, Any], say: Say, above: Mapping[str, Any]) -> Iterator[Item]:
    held = None if row_names.is_span(_spread_names(record)) else _held(record)
    if held is not None:
        yield from _of(held, say, above)
        return
    if record.get("object") == "trace" and "workflow_name" in record:  # OpenAI Agents tells of the trace apart
        yield from _row({**record, "trace_id": record.get("id")}, say, {}, whole=True)
        return
    inner = next((record[k] for k in ("spans", "Spans", "Segments", "segments") if k in record), None)
    if row_names.is_trace(record) and not row_names.is_span(record) and isinstance(inner, list | dict):
        yield from _of_trace(record, inner, say)
        return
    yield from _row(record, say, above)


def _held(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The span inside the message of a log store, or inside a document of X-Ray."""
    for name in row_names.WRAPPED:
        inner = parse(record.get(name))
        if isinstance(inner, dict) and (recognises(inner) or "start_time" in inner):
            return inner if record.get("trace_id") is None else {"trace_id": record["trace_id"], **inner}
    return None


def _of_trace(record: Mapping[str, Any], inner: Any, say: Say) -> Iterator[Item]:
    trace_id = next((record[k] for k in record if folded(k) in ("traceid", "id")), None)
    processes = record.get("processes")
    told = {k: v for k, v in record.items() if not isinstance(v, list) and folded(k) not in ("processes", "spans")}
    for span in _children(inner):
        process = processes.get(span.get("processID")) if isinstance(processes, dict) else None
        yield from _of(span, say, {"trace_id": trace_id, **({"process": process} if process else {})})
    if trace_id is not None and set(map(folded, told)) - {"traceid", "id", "duration", "comment", "limitexceeded"}:
        lean = {k: v for k, v in told.items() if folded(k) not in ("id", "duration")}
        yield from _row({**lean, "trace_id": trace_id}, say, {}, whole=True)


def _children(inner: Any) -> Iterator[dict[str, Any]]:
    inner = parse(inner)
    items: Iterable[Any] = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else ()
    for item in items:
        if isinstance(item, dict | list):
            yield from objects(item)


class _Cells:
    """The cells of one record, sorted by what they are for."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.fields: dict[str, tuple[int, Any, str]] = {}  # role -> (rank, value, column)
        self.facts: dict[str, tuple[int, Any, str]] = {}  # field of a table -> (rank, value, unit)
        self.attributes: Attributes = {}
        self.resource: Attributes = {}
        self.events: dict[str, Any] = {}
        self.unit = ""
        self.nans = 0
        self._spread(record, "", 0)
        for name, value in self.attributes.pop("resource.attributes", {}).items():
            self.resource.setdefault(name, value)

    def _spread(self, record: Mapping[str, Any], prefix: str, depth: int) -> None:
        for key, value in record.items():
            path, value = f"{prefix}{key}", unwrapped(value)
            if value is None or value == "":
                continue
            lowered = path.lower().replace("_", ".")
            if lowered.startswith(("events.", "spanevents.")):
                self.events[lowered.rpartition(".")[2]] = value
                continue
            use = row_names.use_of(path)
            if use.role in ("attributes", "metadata", "resource"):
                self._container(use.role, value, path)
            elif (
                isinstance(value, dict) and depth < _SPREAD and use.role not in _VALUES
                and row_names.KEPT_WHOLE.isdisjoint((path, use.name))
            ):  # fmt: skip
                self._spread(value, f"{path}.", depth + 1)
            else:
                self._keep(use, path, value)

    def _container(self, role: str, value: Any, path: str) -> None:
        value, nans = opened(value)
        self.nans += nans
        found = attribute_map(value)
        for name in [n for n in found if "." not in n]:  # `span_attributes` of Braintrust holds name and kind
            use = row_names.use_of(f"{path}.{name}")
            if use.role in ("name", "kind"):
                self._keep(use, f"{path}.{name}", found.pop(name))
        if role == "resource":
            for name, inner in found.items():
                self.resource.setdefault(name.removeprefix("attributes."), inner)
            return
        for name, inner in found.items():
            if role == "attributes":
                self.attributes.setdefault(name, inner)
            elif (plain := name.removeprefix("default.")).startswith(VOCABULARY):  # X-Ray keeps attributes so
                self.attributes.setdefault(plain, inner)
            else:
                self._keep(row_names.use_of(f"metadata.{name}"), f"metadata.{name}", inner)

    def _keep(self, use: Use, path: str, value: Any) -> None:
        if use.role in ("attribute", "fact") and isinstance(value, list) and len(value) == 1:
            value = value if isinstance(value[0], dict | list) else value[0]
        if use.role == "attribute":
            self.attributes.setdefault(use.name, value)
        elif use.role == "resource":
            self.resource.setdefault(use.name, value)
        elif use.role == "fact":
            if use.name not in self.facts or use.rank < self.facts[use.name][0]:
                self.facts[use.name] = (use.rank, value, use.unit)
        elif use.role not in self.fields or use.rank < self.fields[use.role][0]:
            self.fields[use.role] = (use.rank, value, path)
            if use.role == "duration":
                self.unit = use.unit

    def get(self, role: str) -> Any:
        return self.fields[role][1] if role in self.fields else None


def _row(record: Mapping[str, Any], say: Say, above: Mapping[str, Any], whole: bool = False) -> Iterator[Item]:
    cells = _Cells({**above, **record})
    if truth_of(cells.get("in_progress")):
        say.note("Spans that were still under way were left out.")
        return
    if cells.nans:
        say.kept.setdefault("nans", Counter())[say.file] += cells.nans
    trace_id = _trace_id(cells.get("trace_id"))
    own = cells.get("span_id")
    span_id = WHOLE_ID if whole else identifier(cells.get("id") if own is None else own, 8)
    if not trace_id or not span_id:
        say.drop("span without trace id or span id", "Rows that are no spans, such as log lines, have none.")
        return
    start = time_of(cells.get("start"))
    if start is None and cells.get("start") is not None:
        say.drop("the start of a span is no time that can be read", "Write times in ISO 8601, or as an epoch.")
        return
    end = time_of(cells.get("end"))
    unsure: float | None = None
    if end is None and start is not None and "duration" in cells.fields:
        unit = cells.unit or row_names.unit_beside([*record, *above])
        length, unsure = length_of(cells.get("duration"), unit)
        if length is None and unsure is None:
            say.note("Some lengths of spans are no numbers that can be read, and are unknown.")
        end = start + length if length is not None else None
    _add_facts(cells, say)
    _add_kind(cells, whole)
    status, message = status_of({role: value for role, (_, value, _) in cells.fields.items()}, cells.attributes)
    if not status and end is None and unsure is None and not {"status", "success", "error"} & cells.fields.keys():
        status = UNKNOWN
    if service := text_of(cells.get("service")):
        cells.resource.setdefault("service.name", service)
    span = Span(
        trace_id, span_id, _parent(cells, trace_id, span_id), _named(cells), start, end,
        cells.attributes, [*events_of(cells.get("events"), cells.events), *_annotations(cells)], status, message,
        cells.resource, None, *(text_of(cells.get(role)) or "" for role in ("scope", "scope_version")))  # fmt: skip
    yield from _scores(cells, span)
    if unsure is None:
        yield span
    else:
        yield from _later(span, unsure, (say.file, cells.fields["duration"][2]), say)
    for child in _children(cells.get("children")):
        yield from _of(child, say, {"trace_id": trace_id, "parent_id": span_id})


def _later(span: Span, length: float, place: tuple[str, str], say: Say) -> Iterator[Span]:
    """A span whose length has no unit yet: it waits with others of its column, until they are many."""
    units: dict[tuple[str, str], str] = say.kept.setdefault("units", {})
    if place in units:
        yield _ended(span, length, units[place])
        return
    waiting = say.kept.setdefault("waiting", {}).setdefault(place, [])
    waiting.append((span, length))
    if len(waiting) >= _WAITING:
        yield from _settled(place, say)


def _ended(span: Span, length: float, unit: str) -> Span:
    if not unit:
        return span._replace(status=span.status or OK)  # what has a length has ended, whatever its unit
    return span._replace(end=(span.start or 0) + round(length * NANOS[unit]))


def _trace_id(value: Any) -> str | None:
    xray = _XRAY.fullmatch(value) if isinstance(value, str) else None
    return xray[1].lower() + xray[2].lower() if xray else identifier(value, 16)


def _named(cells: _Cells) -> str:
    name = cells.get("name")
    return text_of(name.get("value") if isinstance(name, dict) else name) or ""


def _parent(cells: _Cells, trace_id: str, span_id: str) -> str | None:
    if (given := parse(cells.get("parent_id"))) is None:
        given = next(_referenced(cells.get("references")), None)
    if isinstance(given, list):
        given = given[0] if given else None
    if isinstance(given, dict):
        given = next((given[k] for k in given if folded(k) == "spanid"), None)
    found = identifier(given, 8)
    # Application Insights gives the roots of an operation the operation itself as their parent.
    return None if found in (trace_id, span_id) else found


def _referenced(references: Any) -> Iterator[Any]:
    listed = objects(references)
    listed.sort(key=lambda r: str(r.get("refType") or r.get("ref_type") or "").upper().endswith("FOLLOWS_FROM"))
    for reference in listed:
        yield next((reference[k] for k in reference if folded(k) == "spanid"), None)


def _annotations(cells: _Cells) -> list[Any]:
    """Zipkin's annotations are events; those of X-Ray are attributes."""
    given = parse(cells.get("annotations"))
    if isinstance(given, dict):
        for name, value in attribute_map(given).items():
            cells.attributes.setdefault(f"metadata.{name}", value)
        return []
    return list(events_of(given, {}))


def _add_facts(cells: _Cells, say: Say) -> None:
    attributes = cells.attributes
    for role in ("input", "output"):
        if (text := as_text(cells.get(role))) is not None:
            attributes.setdefault(f"{role}.value", text)
    for field, (_, value, unit) in cells.facts.items():
        if field in row_names.ATTRIBUTE_OF:
            attributes.setdefault(row_names.ATTRIBUTE_OF[field], as_text(value) if field.endswith("_text") else value)
        elif field in _COSTS:
            _add_cost(attributes, field, value, unit, say)
        elif field in _DELAYS:
            _add_delay(attributes, field, value, unit, say)
        elif not is_score(field) and not field.endswith(("_us", "_nusd")) and field not in ("trace_id", "status"):
            attributes.setdefault(f"metadata.{field}", value)


def _add_cost(attributes: Attributes, field: str, value: Any, unit: str, say: Say) -> None:
    if (amount := number(value)) is None:
        return
    if not unit:
        say.note("A cost of spans names no unit and was read as US dollars.")
    attributes.setdefault(_COSTS[field], amount * MONEY_NUSD[unit or "usd"] / MONEY_NUSD["usd"])


def _add_delay(attributes: Attributes, field: str, value: Any, unit: str, say: Say) -> None:
    length, unsure = length_of(value, unit)
    if unsure is not None:
        say.note(f"A time of spans that is read as {field} names no unit and was left out: name it, such as _ms.")
    elif length is not None:
        attributes.setdefault(_DELAYS[field], length / 1e9)


def _add_kind(cells: _Cells, whole: bool) -> None:
    attributes = cells.attributes
    if whole:
        attributes["openinference.span.kind"] = WHOLE
        return
    stated = [cells.get("kind"), *(attributes.pop(n, None) for n in row_names.KIND_ATTRIBUTES), cells.get("loose_kind")]
    for word in map(text_of, stated):
        kind = row_names.KINDS.get(folded(word.rpartition(".")[2])) if word else None
        if kind and not {"openinference.span.kind", "gen_ai.operation.name"} & attributes.keys():
            attributes["openinference.span.kind"] = kind
            if kind == "TOOL" and "gen_ai.tool.name" not in attributes and (name := _named(cells)):
                attributes["gen_ai.tool.name"] = name


def _scores(cells: _Cells, span: Span) -> Iterator[Score]:
    given = parse(cells.get("scores"))
    if isinstance(given, dict):
        for name, value in given.items():
            if value is not None:
                yield Score(span.trace_id, span.span_id, str(name), value=value, at=span.end or span.start)
    for field, (_, value, _unit) in cells.facts.items():
        if is_score(field):
            truth = truth_of(value)
            value = float(truth) if truth is not None and count_of(value) is None else value
            yield Score(span.trace_id, span.span_id, field, value=value, at=span.end or span.start)


def _spread_names(record: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[str]:
    for key, value in record.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict) and depth < 1:
            yield from _spread_names(value, f"{prefix}{key}.", depth + 1)
