"""Attributes of a span -> canonical facts: kind, model, tokens, cost, times, status, cohort names.

This room looks up the names of `vocabulary` and converts units; it writes no rows and judges no outcome.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import orjson

from kpi.ingest.otlp import conventions as names
from kpi.ingest.otlp.attribute_index import shape_of
from kpi.ingest.otlp.decode import ERROR, OK, UNKNOWN, Attributes, Span, nanos


def first(attributes: Attributes, keys: tuple[str, ...]) -> Any:
    """The value of the first name that is present and not empty."""
    for name in shape_of(attributes).present(keys):
        value = attributes[name]
        if value is not None and value != "":
            return value
    return None


def text_of(value: Any) -> str | None:
    """A dimension as text: booleans in lower case, whole floats without a fraction, JSON-quoted text unquoted once."""
    if value is None or value == "" or isinstance(value, (dict, list)):
        return None
    if isinstance(value, str):
        if len(value) > 1 and value[0] == value[-1] == '"':
            parsed = parse(value)
            value = parsed if isinstance(parsed, str) else value
        return value.strip() or None
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


def nusd(value: Any) -> int | None:
    """US dollars (number or decimal text) -> integer nano-dollars; negative sentinels are unknown."""
    if value is None or isinstance(value, (bool, dict, list)):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return round(amount * 1_000_000_000) if amount.is_finite() and 0 <= amount < 10**9 else None


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


def kind_of(attributes: Attributes) -> str:
    """Canonical kind of a span; `other` for spans that say nothing about generative AI (HTTP, database)."""
    operation = attributes.get("gen_ai.operation.name")
    if operation is not None and operation in names.OPERATION_KINDS:
        return names.OPERATION_KINDS[operation]
    for name, kinds in _KIND_NAMES:
        stated = attributes.get(name)
        if isinstance(stated, str):
            return kinds.get(stated.lower(), "other")
    identity = attributes.get("ai.operationId")
    if isinstance(identity, str):
        inner = "llm" if identity.endswith(("doGenerate", "doStream")) else "chain"
        return names.VERCEL_KINDS.get(identity, inner)
    request = attributes.get("llm.request.type")
    if isinstance(request, str):
        return names.REQUEST_KINDS.get(request.lower(), "other")
    if any(key.startswith("gen_ai.guardrail.") for key in attributes):
        return "guardrail"
    if "gen_ai.request.model" in attributes or "llm.model_name" in attributes:
        return "llm"
    return "chain" if "langfuse.observation.input" in attributes else "other"


_KIND_NAMES = (
    ("openinference.span.kind", names.OPENINFERENCE_KINDS),
    ("langfuse.observation.type", names.LANGFUSE_KINDS),
    ("traceloop.span.kind", names.TRACELOOP_KINDS),
)


def model_of(attributes: Attributes) -> str | None:
    """The model that answered; the one asked for where the call failed or does not say."""
    if "model" not in shape_of(attributes).topics:
        return None
    return text_of(first(attributes, _MODEL_STATED) or requested_model(attributes))


_MODEL_STATED = (*names.MODEL_ANSWERED, *names.MODEL_NAMED)


def requested_model(attributes: Attributes) -> str | None:
    """The model the application asked for: known for failed calls as well, so versions keep their failures."""
    if "model" not in shape_of(attributes).topics:
        return None
    stated = first(attributes, names.MODEL_REQUESTED)
    if stated is None:
        invocation = parse(attributes.get("llm.invocation_parameters"))
        stated = invocation.get("model") if isinstance(invocation, dict) else None
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


def tokens_of(attributes: Attributes) -> dict[str, int | None]:
    """Token counts, with `input_tokens` including the cached ones whatever the source does.

    Buckets of Langfuse are disjoint and added up. Elsewhere the input includes the cache, unless the numbers say
    otherwise: a cache larger than the input can only stand beside it.
    """
    if "tokens" not in shape_of(attributes).topics:
        return dict.fromkeys(names.TOKENS)
    usage = parse(attributes.get("langfuse.observation.usage_details"))
    if isinstance(usage, dict):
        return _bucket_tokens(usage)
    found = {field: _first_count(attributes, keys) for field, keys in names.TOKENS.items()}
    cached = (found["cached_read_tokens"] or 0) + (found["cache_write_tokens"] or 0)
    given = found["input_tokens"]
    if given is not None and cached > given:
        found["input_tokens"] = given + cached
    return found


def _first_count(attributes: Attributes, keys: tuple[str, ...]) -> int | None:
    for name in shape_of(attributes).present(keys):
        count = count_of(attributes[name])
        if count is not None:
            return count
    return None


def _bucket_tokens(usage: dict[str, Any]) -> dict[str, int | None]:
    buckets = {key: count for key, value in usage.items() if (count := count_of(value)) is not None}

    def total(part: str, whole: str) -> int | None:
        if whole in buckets:  # a provider's own usage object, passed through: it includes the cache
            return buckets[whole]
        parts = [count for key, count in buckets.items() if part in key]
        return sum(parts) if parts else None

    def one(keys: tuple[str, ...]) -> int | None:
        return next((buckets[name] for name in keys if name in buckets), None)

    return {
        "input_tokens": total("input", "prompt_tokens"),
        "output_tokens": total("output", "completion_tokens"),
        "cached_read_tokens": one(names.LANGFUSE_CACHE_READ),
        "cache_write_tokens": one(names.LANGFUSE_CACHE_WRITE),
        "reasoning_tokens": one(names.LANGFUSE_REASONING),
    }


def cost_of(attributes: Attributes) -> int | None:
    """Reported cost in nano-dollars: the total where there is one, else its disjoint parts, never both."""
    if "cost" not in shape_of(attributes).topics:
        return None
    details = parse(attributes.get("langfuse.observation.cost_details"))
    if isinstance(details, dict) and details:
        if (total := nusd(details.get("total"))) is not None:
            return total
        parts = [cost for value in details.values() if (cost := nusd(value)) is not None]
        return sum(parts) if parts else None
    for name in names.COST:
        if name in attributes and (cost := nusd(attributes[name])) is not None:
            return cost
    known = [cost for name in names.COST_PARTS if name in attributes and (cost := nusd(attributes[name])) is not None]
    return sum(known) if len(known) == len(names.COST_PARTS) else None


def ttft_us(span: Span) -> int | None:
    """Time to first token in microseconds, trusted only when the call was streamed or the token came before the end.

    Exporters that do not stream write the end of the call as the first token; that is the latency, not a TTFT.
    """
    nanoseconds = _first_token(span)
    if nanoseconds is None or nanoseconds < 0:
        return None
    if span.start is not None and span.end is not None:
        length = span.end - span.start
        streamed = truth_of(first(span.attributes, names.STREAMED))
        if nanoseconds > length or (nanoseconds == length and not streamed):
            return None
    return nanoseconds // 1000


def _first_token(span: Span) -> int | None:
    attributes = span.attributes
    if not span.events and "first_token" not in shape_of(attributes).topics:
        return None
    for name, scale in names.FIRST_TOKEN:
        if name in attributes and (value := _seconds(attributes[name])) is not None:
            return round(value * scale)
    if span.start is None:
        return None
    moments = [nanos(attributes.get("langfuse.observation.completion_start_time"))]
    for event in span.events:
        if event.name in _FIRST_TOKEN_EVENTS:
            delay = _seconds(event.attributes.get("ai.response.msToFirstChunk"))
            if delay is not None:
                return round(delay * 1_000_000)
            moments.append(event.at)
    known = [moment for moment in moments if moment is not None]
    return min(known) - span.start if known else None


_FIRST_TOKEN_EVENTS = frozenset(
    {"First Token Stream Event", "ai.stream.firstChunk", "llm.content.completion.chunk", "gen_ai.content.chunk"}
)


def _seconds(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number < 1e9 else None


def queue_us(attributes: Attributes) -> int | None:
    """Queue time in microseconds where an attribute says so; the unit is the name's suffix, seconds without one."""
    for key, scale in shape_of(attributes).queues:
        if (number := _seconds(attributes[key])) is not None:
            return round(number * scale)
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
