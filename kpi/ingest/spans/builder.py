"""What a vendor's record states, said in the words of the index: the vocabulary in which readers of exports speak.

`span` and `whole` take the facts of one operation, or of a whole trace, under their canonical names, convert ids and
times of every spelling, and give a `Span` that goes the way of all spans: privacy, allow-list, redaction, rows.
Everything is optional but the ids. What an export does not say stays None; nothing is invented.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from kpi.ingest.otlp.attributes import cohort_column, count_of, mapping, number, text_of
from kpi.ingest.otlp.conventions import FACTS
from kpi.ingest.otlp.counting import NORMALISED
from kpi.ingest.otlp.decode import ERROR, OK, UNKNOWN, Attributes, Event, Span, identifier, nanos
from kpi.schema import WHOLE

_COUNTED = frozenset({"input_tokens", "output_tokens"})  # a format that states these has put them in order
WHOLE_ID = "trace"  # span id of the row about a whole trace: one for each trace
_STATUS = {"ok": OK, "error": ERROR, "unknown": UNKNOWN}
_TEXTS = {"name": "gen_ai.tool.name", "id": "gen_ai.tool.call.id", "arguments": "gen_ai.tool.call.arguments",
          "result": "gen_ai.tool.call.result"}  # fmt: skip


def span(
    trace_id: Any, span_id: Any, *, parent_id: Any = None, name: Any = None, kind: str = "other",
    start: Any = None, end: Any = None, seconds: Any = None, first_token: Any = None, ttft_seconds: Any = None,
    streamed: bool | None = None, queue_seconds: Any = None,
    status: str | None = None, error_type: Any = None, message: Any = None,
    input: Any = None, output: Any = None, documents: Sequence[Mapping[str, Any]] | None = None,
    tool: Mapping[str, Any] | None = None, finish_reason: Any = None,
    metadata: Mapping[str, Any] | None = None, tags: Iterable[Any] | None = None,
    cohorts: Mapping[str, Any] | None = None, turns: Any = None,
    attributes: Attributes | None = None, events: Sequence[Event] = (), cache_included: bool = True, **facts: Any,
) -> Span:  # fmt: skip
    """One operation of a trace.

    kind: one of `kpi.schema.SPAN_KINDS`. start, end, first_token: a time in any spelling (`wire.nanos`); seconds: the
    length where no end is known; ttft_seconds: time to first token. status: ok, error, unknown where the
    export cannot tell, None where an end means that all went well and none that it still runs.
    input, output: text, messages or objects as they came. documents: `{id, score, content}` in rank order. tool:
    `{name, id, arguments, result}` of an executed call. metadata: keys that may be cohorts; the allow-list decides.
    tags: of these, `key:value` pairs are metadata. cohorts: what the format itself names of a run (task, trial): kept
    without asking the allow-list, so never keys that people chose. turns: messages of the user. attributes: further
    ones in names that `vocabulary` knows.
    cache_included: False where `input_tokens` leaves cached tokens out. facts: model, requested_model, provider,
    input_tokens, output_tokens, cached_read_tokens, cache_write_tokens, reasoning_tokens, cost_usd, session, user,
    release, environment, prompt_version, severity, retries (attempts of a call that the export does not list). An
    unknown name is a programming error (TypeError).
    """
    if unknown := facts.keys() - FACTS.keys():
        raise TypeError(f"span() has no fact {sorted(unknown)[0]!r}")
    begun, ended = nanos(start), nanos(end)
    if ended is None and begun is not None and (length := number(seconds)) is not None:
        ended = begun + round(length * 1e9)
    found: Attributes = {**(attributes or {}), "openinference.span.kind": kind}
    if not cache_included and facts.get("input_tokens") is not None:
        cached = (count_of(facts.get("cached_read_tokens")) or 0) + (count_of(facts.get("cache_write_tokens")) or 0)
        facts["input_tokens"] = (count_of(facts["input_tokens"]) or 0) + cached
    for fact, value in facts.items():
        if value is not None and value != "":
            found[FACTS[fact]] = value
    if (delay := _delay(begun, first_token, ttft_seconds)) is not None:
        found["gen_ai.response.time_to_first_chunk"] = delay
    if streamed is not None:
        found["gen_ai.request.stream"] = streamed
    if (queued := number(queue_seconds)) is not None:
        found["gen_ai.latency.queue_time"] = queued
    for key, value in (("input.value", input), ("output.value", output), ("error.type", error_type),
                       ("gen_ai.response.finish_reasons", finish_reason)):  # fmt: skip
        if (text := as_text(value)) is not None:
            found[key] = text
    if documents is not None:
        found["gen_ai.retrieval.documents"] = list(documents)
    for part, key in _TEXTS.items():
        if tool and (text := as_text(tool.get(part))) is not None:
            found[key] = text
    found |= _metadata(metadata, tags)
    return Span(
        identifier(trace_id, 16) or "", identifier(span_id, 8) or "", identifier(parent_id, 8), str(name or ""),
        begun, ended, found, list(events), _STATUS.get(status or "", 0), as_text(message) or "", {},
        _own(cohorts, turns), NORMALISED if _COUNTED & facts.keys() else "")  # fmt: skip


def whole(trace_id: Any, **facts: Any) -> Span:
    """What an export says of a trace as a whole (user, session, release, tags, outcome, its own input and output).

    Takes what `span` takes, without span id and kind. Tokens and cost count only where no span states any.
    """
    return span(trace_id, WHOLE_ID, kind=WHOLE, **facts)


def fields(*words: str) -> frozenset[str]:
    """Names of fields, written as blank-separated words; for `Say.left_out`."""
    return frozenset(name for text in words for name in text.split())


def as_text(value: Any) -> str | None:
    """Text as it is, structures as JSON, nothing as None."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _delay(begun: int | None, first_token: Any, ttft_seconds: Any) -> float | None:
    if (delay := number(ttft_seconds)) is not None:
        return delay
    at = nanos(first_token)
    return (at - begun) / 1e9 if at is not None and begun is not None and at >= begun else None


def _own(cohorts: Mapping[str, Any] | None, turns: Any) -> Attributes | None:
    found: Attributes = {
        cohort_column(name): text for name, value in (cohorts or {}).items() if (text := text_of(value))
    }
    if (counted := count_of(turns)) is not None:
        found["turns"] = counted
    return found or None


def milliseconds(value: Any) -> float | None:
    """Milliseconds as seconds; what `number` takes for none is None."""
    found = number(value)
    return None if found is None else found / 1e3


def first_of(record: Mapping[str, Any], *names: str) -> Any:
    """What the first of these fields that holds something holds; None where none does."""
    return next((record[n] for n in names if record.get(n) is not None and record[n] != ""), None)


def renamed(record: Mapping[str, Any], name_of: Callable[[str], str]) -> dict[str, Any]:
    """A record under other names; of two spellings of a name, the one that holds something."""
    row: dict[str, Any] = {}
    for key, value in record.items():
        if row.get(name := name_of(key)) in (None, ""):
            row[name] = value
    return row


def nested(record: Mapping[str, Any], path_of: Callable[[str], Sequence[str]]) -> dict[str, Any]:
    """Columns that are paths, as the objects that they were: `{"a.b": 1}` -> `{"a": {"b": 1}}`; the rest stays."""
    found: dict[str, Any] = {k: v for k, v in record.items() if "." not in k}
    for column, value in record.items():
        if "." not in column or value is None:
            continue
        place = found
        *outer, last = path_of(column)
        for name in outer:
            if not isinstance(place.get(name), dict):
                place[name] = {}
            place = place[name]
        place.setdefault(last, value)
    return found


def facts_in(record: Mapping[str, Any], table: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What a record states: for each fact of a table, what the first of its fields that holds something holds."""
    return {fact: first_of(record, *names) for fact, names in table.items()}


def added(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Facts of several parts together: of each the sum of the numbers that are known, None where there are none."""
    listed = list(parts)
    names = dict.fromkeys(name for part in listed for name in part)
    known = {n: [v for part in listed if isinstance(v := part.get(n), int | float)] for n in names}
    return {name: sum(values) if values else None for name, values in known.items()}


def only(value: Any) -> Any:
    """`{"output": "text"}`, as tracers wrap what a function returns or takes, is that text."""
    inner = mapping(value)
    return next(iter(inner.values())) if set(inner) in ({"output"}, {"input"}) else value


def ended(failed: bool | None) -> dict[str, Any]:
    """`status` and `error_type` of `span` for a step of which no more is told; None where nobody says how it ended."""
    status = "unknown" if failed is None else "error" if failed else "ok"
    return {"status": status, "error_type": "error" if failed else None}


def verdict(value: Any) -> dict[str, Any]:
    """`value` and `label` of a `Score`: a number or boolean is the value, all else is its label."""
    counted = isinstance(value, (bool, int, float))
    return {"value": value if counted else None, "label": None if counted else as_text(value)}


def text_blocks(content: Any) -> str | None:
    """A message as text, of its blocks as well; pictures are none."""
    if isinstance(content, list):
        parts = [text for p in content if isinstance(p, dict) and isinstance(text := p.get("text"), str) and text]
        return "\n".join(parts) or None
    return content if isinstance(content, str) and content else None


def _metadata(metadata: Mapping[str, Any] | None, tags: Iterable[Any] | None) -> Attributes:
    found: Attributes = {}
    for tag in tags or ():
        key, colon, value = tag.partition(":") if isinstance(tag, str) else ("", "", "")
        if colon and key.strip() and value.strip() and not value.startswith("//"):
            found[f"metadata.{key.strip()}"] = value.strip()
    for key, value in (metadata or {}).items():
        if value is not None:
            found[f"metadata.{key}"] = value
    return found
