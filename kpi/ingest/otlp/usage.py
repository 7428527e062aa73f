"""Token counts of a span, with every cached and reasoning token counted once, whatever the exporter does.

Input includes the cached tokens and output the reasoning tokens; which of them an exporter writes apart is the business
of `counting`. Counts without a namespace (`input_tokens`) are read of model calls alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kpi.ingest.otlp import conventions as names
from kpi.ingest.otlp.attribute_index import Shape, shape_of
from kpi.ingest.otlp.attributes import at_path, count_of, first_read, mapping, parse
from kpi.ingest.otlp.counting import Counts, Decision, settled
from kpi.ingest.otlp.decode import Attributes, Span

FIELDS = tuple(names.TOKENS)
Tokens = dict[str, int | None]


class TokenUsage(NamedTuple):
    """tokens: by canonical column. decisions: what had to be decided, for the receipt."""

    tokens: Tokens
    decisions: Sequence[Decision] = ()


_TOPICS = frozenset({"tokens", "bare_tokens", "usage_objects"})
_EMPTY: Tokens = dict.fromkeys(FIELDS)
NO_USAGE = TokenUsage(_EMPTY)


class _Plan(NamedTuple):
    """Which names of one set of attributes hold what; names without a namespace apart."""

    fields: Sequence[tuple[str, tuple[str, ...]]]
    bare: Sequence[tuple[str, tuple[str, ...]]]
    evidence: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # total, uncached, visible
    bare_total: tuple[str, ...]
    buckets: bool


def _plan(shape: Shape) -> _Plan | None:
    """The plan of a set of names, worked out once; None where nothing in it speaks of tokens."""
    if "usage" not in shape.kept:
        plan = _Plan(
            [(field, found) for field, keys in names.TOKENS.items() if (found := shape.present(keys))],
            [(field, found) for field, keys in names.BARE_TOKENS.items() if (found := shape.present(keys))],
            (shape.present(names.TOTAL), shape.present(names.UNCACHED), shape.present(names.VISIBLE)),
            shape.present(names.BARE_TOTAL),
            "langfuse.observation.usage_details" in shape.keys,
        )
        shape.kept["usage"] = None if shape.topics.isdisjoint(_TOPICS) else plan
    known: _Plan | None = shape.kept["usage"]
    return known


def usage_of(span: Span, *, calls: bool, provider: str | None, model: str | None) -> TokenUsage:
    """Usage of one span. calls: whether it is known to be a call of a model. provider, model: canonical, if known."""
    attributes = span.attributes
    shape = shape_of(attributes)
    if (plan := _plan(shape)) is None:
        return NO_USAGE
    if plan.buckets and isinstance(buckets := parse(attributes["langfuse.observation.usage_details"]), dict):
        return TokenUsage(_bucket_tokens(buckets))
    found = _EMPTY.copy()
    for field, keys in plan.fields:
        found[field] = first_read(attributes, keys, count_of)
    if calls:
        for field, keys in plan.bare:
            if found[field] is None:
                found[field] = first_read(attributes, keys, count_of)
    total: int | None = None
    if "usage_objects" in shape.topics:
        total = _fill_from_objects(found, attributes, shape)
    read, write, reasoning = found["cached_read_tokens"], found["cache_write_tokens"], found["reasoning_tokens"]
    if not (read or write or reasoning):
        return TokenUsage(found)
    stated, uncached, visible = (first_read(attributes, keys, count_of) for keys in plan.evidence)
    if stated is None and calls:
        stated = first_read(attributes, plan.bare_total, count_of)
    counts = Counts(
        found["input_tokens"], found["output_tokens"], read, write, reasoning,
        total if stated is None else stated, uncached, visible)  # fmt: skip
    whole = settled(counts, shape, span.scope, span.scope_version, provider, model)
    found["input_tokens"], found["output_tokens"], decisions = whole
    return TokenUsage(found, decisions)


def _fill(found: Tokens, more: Mapping[str, int | None]) -> None:
    for field, count in more.items():
        if found[field] is None:
            found[field] = count


def _fill_from_objects(found: Tokens, attributes: Attributes, shape: Shape) -> int | None:
    """Counts out of usage objects, where the attributes state none; returns the total that one states."""
    total: int | None = None
    for key, words in names.DETAIL_OBJECTS.items():
        details = mapping(attributes.get(key))
        _fill(found, {field: count_of(details.get(word)) for word, field in words.items()})
    for key, path in names.USAGE_OBJECTS:
        if key not in shape.keys:
            continue
        text = attributes[key]
        if isinstance(text, str) and path and path[-1] not in text:
            continue
        for usage in at_path(parse(text), path):
            flat = dict(_flat(usage)) if isinstance(usage, dict) else {}
            _fill(found, {field: first_read(flat, keys, count_of) for field, keys in names.BARE_TOKENS.items()})
            total = first_read(flat, names.BARE_TOTAL, count_of) if total is None else total
    return total


def _flat(usage: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in usage.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", member) for inner, member in value.items())
        else:
            yield key, value


def _bucket_tokens(usage: Mapping[str, Any]) -> Tokens:
    """Buckets of Langfuse are disjoint and added up."""
    buckets = {key: count for key, value in usage.items() if (count := count_of(value)) is not None}

    def total(part: str, whole: str) -> int | None:
        if whole in buckets:  # a provider's own usage object, passed through: it includes the cache
            return buckets[whole]
        parts = [count for key, count in buckets.items() if part in key]
        return sum(parts) if parts else None

    return {
        "input_tokens": total("input", "prompt_tokens"),
        "output_tokens": total("output", "completion_tokens"),
        "cached_read_tokens": first_read(buckets, names.LANGFUSE_CACHE_READ, count_of),
        "cache_write_tokens": first_read(buckets, names.LANGFUSE_CACHE_WRITE, count_of),
        "reasoning_tokens": first_read(buckets, names.LANGFUSE_REASONING, count_of),
    }
