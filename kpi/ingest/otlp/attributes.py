"""Attributes of a span -> canonical facts: kind, model, tokens, cost, times, status, cohort names.

This room looks up the names of `vocabulary` and converts units; it writes no rows and judges no outcome.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import count
from typing import Any

import orjson

from kpi.ingest.otlp import conventions as names
from kpi.ingest.otlp.attribute_index import shape_of
from kpi.ingest.otlp.decode import ERROR, OK, UNKNOWN, Attributes, Span

_MODEL_STATED = (*names.MODEL_ANSWERED, *names.MODEL_NAMED)
_COSTS = frozenset({"cost", "bare_cost"})


def first(attributes: Attributes, keys: tuple[str, ...]) -> Any:
    """The value of the first name that is present and not empty."""
    for name in shape_of(attributes).present(keys):
        value = attributes[name]
        if value is not None and value != "":
            return value
    return None


def text_of(value: Any) -> str | None:
    """A dimension as text: booleans in lower case, whole floats without a fraction, JSON-quoted text unquoted once."""
    if isinstance(value, str):
        if value[:1] == '"' and len(value) > 1 and value[-1] == '"':
            parsed = parse(value)
            value = parsed if isinstance(parsed, str) else value
        return value.strip() or None
    if value is None or isinstance(value, (dict, list)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def count_of(value: Any) -> int | None:
    """A token count whatever its declared type; negative sentinels, booleans and fractions are unknown."""
    if isinstance(value, str):
        try:
            value = float(value) if not value.isdigit() else int(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**62:
        return None
    return int(value) if value == int(value) else None


def number(value: Any) -> float | None:
    """A number from 0 on that is no nonsense; sentinels below, booleans and everything else are None."""
    try:
        found = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    return found if 0 <= found < 1e15 else None


def exact(value: Any) -> Decimal | None:
    """A finite number that came as one or as text, to the last digit; None for all else, booleans included."""
    if value is None or isinstance(value, bool):
        return None
    try:
        found = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def nusd(value: Any) -> int | None:
    """US dollars (number or decimal text) -> integer nano-dollars; negative sentinels are unknown."""
    amount = exact(value)
    return round(amount * 1_000_000_000) if amount is not None and 0 <= amount < 10**9 else None


def truth_of(value: Any) -> bool | None:
    """A boolean in any of its spellings."""
    if isinstance(value, bool):
        return value
    folded = str(value).strip().strip('"').lower()
    if folded in ("true", "yes", "1", "y"):
        return True
    return False if folded in ("false", "no", "0", "n") else None


def parse(value: Any) -> Any:
    """JSON in a string, parsed once; anything else, and text that is no JSON, as it is."""
    if not isinstance(value, str) or value[:1] not in ("{", "[", '"'):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in a list that came as a list, as JSON text, or as one object; an empty list for all else."""
    value = parse(value)
    if isinstance(value, dict):
        return [value]
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def mapping(value: Any) -> dict[str, Any]:
    """An object that came as one or as JSON text; an empty one for all else."""
    value = parse(value)
    return value if isinstance(value, dict) else {}


def numbered(attributes: Attributes, prefix: str, parts: Iterable[str], middle: str = ".") -> Iterator[dict[str, Any]]:
    """Objects that exporters flatten, `{prefix}0{middle}{part}` and on, until one has none of the parts."""
    for index in count():
        found = {part: attributes.get(f"{prefix}{index}{middle}{part}") for part in parts}
        if all(value is None for value in found.values()):
            return
        yield found


def first_read(record: Mapping[str, Any], keys: Iterable[str], read: Callable[[Any], int | None]) -> int | None:
    """What the first of these names holds that can be read."""
    return next((found for key in keys if (found := read(record.get(key))) is not None), None)


def at_path(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """What lies at the end of a path of keys in objects that may be JSON text; "*" is every item of a list."""
    if not path:
        yield value
    elif path[0] == "*":
        for item in value if isinstance(value, list) else ():
            yield from at_path(parse(item), path[1:])
    elif isinstance(value, dict) and path[0] in value:
        yield from at_path(parse(value[path[0]]), path[1:])


def kind_of(attributes: Attributes) -> str:
    """Canonical kind of a span; `other` for spans that say nothing about generative AI (HTTP, database)."""
    operation = attributes.get("gen_ai.operation.name")
    if isinstance(operation, str) and (kind := names.OPERATION_KINDS.get(operation.lower())):
        return kind
    shape = shape_of(attributes)
    for key, kinds, settles in shape.kinds:
        stated = attributes[key]
        if isinstance(stated, str):
            kind = kinds.get(stated.lower()) or kinds.get((text_of(stated) or "").lower())
            if kind or settles:
                return kind or "other"
    identity = attributes.get("ai.operationId")
    if isinstance(identity, str):
        inner = "llm" if identity.endswith(("doGenerate", "doStream")) else "chain"
        return names.VERCEL_KINDS.get(identity, inner)
    request = attributes.get("llm.request.type")
    if isinstance(request, str):
        return names.REQUEST_KINDS.get(request.lower(), "other")
    component = attributes.get("haystack.component.type")
    if isinstance(component, str):
        return next((kind for end, kind in names.HAYSTACK_KINDS if component.endswith(end)), "chain")
    return shape.telling or "other"


def is_pending(attributes: Attributes) -> bool:
    """Whether this is a copy of a span that was sent when it began, beside the span itself."""
    pending = shape_of(attributes).pending
    return bool(pending) and any(word is None or attributes[key] == word for key, word in pending)


def model_of(attributes: Attributes, *, calls: bool = False) -> str | None:
    """The model that answered; the one asked for where the call failed or does not say. calls: whether the span is
    known to be a call of a model, of which `model` alone says enough."""
    topics = shape_of(attributes).topics
    found = None
    if "model" in topics:
        found = text_of(first(attributes, _MODEL_STATED) or requested_model(attributes))
    if found is None and calls and "bare_model" in topics:
        found = text_of(first(attributes, names.MODEL_BARE))
    if found is None and calls and "model_objects" in topics:
        stated = (n for key, path in names.MODEL_OBJECTS for n in at_path(parse(attributes.get(key)), path))
        found = next((text for name in stated if (text := text_of(name))), None)
    return found


def requested_model(attributes: Attributes) -> str | None:
    """The model the application asked for: known for failed calls as well, so versions keep their failures."""
    if "model" not in shape_of(attributes).topics:
        return None
    if (stated := first(attributes, names.MODEL_REQUESTED)) is None:
        stated = mapping(attributes.get("llm.invocation_parameters")).get("model")
    return text_of(stated)


def provider_of(attributes: Attributes) -> str | None:
    """Provider in the vocabulary of the current conventions (`OpenAI`, `openai.chat` -> `openai`)."""
    if "provider" not in shape_of(attributes).topics:
        return None
    stated = text_of(first(attributes, names.PROVIDER))
    return _provider(stated) if stated else None


@lru_cache(maxsize=1024)
def _provider(stated: str) -> str:
    folded = stated.lower()
    for suffix in (".chat", ".responses", ".messages", ".completion", ".embedding"):
        folded = folded.removesuffix(suffix)
    return names.PROVIDERS.get(folded, folded)


def cost_of(attributes: Attributes, *, calls: bool = False) -> int | None:
    """Reported cost in nano-dollars: the total where there is one, else its disjoint parts, never both."""
    shape = shape_of(attributes)
    if shape.topics.isdisjoint(_COSTS):
        return None
    if "cost" in shape.topics and (details := mapping(attributes.get("langfuse.observation.cost_details"))):
        if (total := nusd(details.get("total"))) is not None:
            return total
        parts = [cost for value in details.values() if (cost := nusd(value)) is not None]
        return sum(parts) if parts else None
    if (cost := first_read(attributes, shape.present(names.COST), nusd)) is not None:
        return cost
    if calls and (cost := first_read(attributes, shape.present(names.BARE_COST), nusd)) is not None:
        return cost
    if "cost" in shape.topics:
        for pair in names.COST_PARTS:
            known = [cost for name in shape.present(pair) if (cost := nusd(attributes[name])) is not None]
            if len(known) == len(pair):
                return sum(known)
    return None


def queue_us(attributes: Attributes) -> int | None:
    """Queue time in microseconds where an attribute says so; the unit is the name's suffix, seconds without one."""
    for key, scale in shape_of(attributes).queues:
        if (waited := number(attributes[key])) is not None:
            return round(waited * scale)
    return None


def status_of(span: Span) -> tuple[str | None, str | None]:
    """(ok | error | running | None for unknown, error type). Unset is a success unless an error is recorded.

    A span that its developer set to OK stays OK beside a recorded exception: it was handled. It is also over, though
    the export may not say when.
    """
    attributes = span.attributes
    kind = text_of(attributes.get("error.type"))
    thrown = [event.attributes for event in span.events if event.name == "exception"] if span.events else []
    failed = span.status == ERROR or kind is not None or attributes.get("langfuse.observation.level") == "ERROR"
    if (
        "success" in attributes
        and span.scope.startswith(names.SUCCESS_STATED)
        and truth_of(attributes["success"]) is False
    ):
        failed = True
    if failed or (thrown and span.status != OK):
        if kind is None and thrown:
            kind = text_of(thrown[-1].get("exception.type"))
        return "error", kind
    if span.status == UNKNOWN:
        return None, None
    return ("running" if span.end is None and span.status != OK else "ok"), None


@lru_cache(maxsize=16_384)
def cohort_column(name: str) -> str:
    """The `requests` column of an allow-listed attribute: a canonical dimension by alias, else `x_<last part>`."""
    last = name.rsplit(".", 1)[-1].strip().lower().replace("-", "_").replace(" ", "_")
    last = names.ALIASES.get(last, last)
    return last if last in names.CANONICAL else f"x_{last}"


@lru_cache(maxsize=16_384)
def stated_outcome(name: str) -> str | None:
    """The outcome that an application's own attribute states (`app.escalated`), if it is one."""
    last = name.rsplit(".", 1)[-1].lower()
    last = names.STATED_ALIASES.get(last, last)
    return last if last in names.STATED else None
