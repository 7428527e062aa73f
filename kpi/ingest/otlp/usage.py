"""Token counts of a span, with every cached and reasoning token counted once, whatever the exporter does.

Input includes the cached tokens and output the reasoning tokens; which of them an exporter writes apart is the business
of `counting`. Counts without a namespace (`input_tokens`) are read of model calls alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kpi.ingest.otlp import conventions as names
from kpi.ingest.otlp.attribute_index import Shape, shape_of
from kpi.ingest.otlp.attributes import at_path, count_of, parse
from kpi.ingest.otlp.counting import Counts, Decision, settled
from kpi.ingest.otlp.decode import Attributes, Span

FIELDS = tuple(names.TOKENS)
Tokens = dict[str, int | None]


class Usage(NamedTuple):
    """tokens: by canonical column. decisions: what had to be decided, for the receipt."""

    tokens: Tokens
    decisions: Sequence[Decision] = ()


_NOTHING = frozenset({"tokens", "bare_tokens", "usage_objects"})


def usage_of(span: Span, *, calls: bool, provider: str | None, model: str | None) -> Usage:
    """Usage of one span. calls: whether it is known to be a call of a model. provider, model: canonical, if known."""
    attributes = span.attributes
    shape = shape_of(attributes)
    if shape.topics.isdisjoint(_NOTHING):
        return Usage(dict.fromkeys(FIELDS))
    buckets = parse(attributes.get("langfuse.observation.usage_details"))
    if isinstance(buckets, dict):
        return Usage(_bucket_tokens(buckets))
    found: Tokens = {field: _first(attributes, shape, keys) for field, keys in names.TOKENS.items()}
    bare = calls and "bare_tokens" in shape.topics
    if bare:
        _fill(found, {field: _first(attributes, shape, keys) for field, keys in names.BARE_TOKENS.items()})
    total = _first(attributes, shape, names.TOTAL)
    if total is None and bare:
        total = _first(attributes, shape, names.BARE_TOTAL)
    if "usage_objects" in shape.topics:
        total = _fill_from_objects(found, attributes, shape, total)
    read, write, reasoning = found["cached_read_tokens"], found["cache_write_tokens"], found["reasoning_tokens"]
    if not (read or write or reasoning):
        return Usage(found)
    counts = Counts(
        found["input_tokens"], found["output_tokens"], read, write, reasoning, total,
        _first(attributes, shape, names.UNCACHED), _first(attributes, shape, names.VISIBLE),
    )  # fmt: skip
    whole = settled(counts, shape, span.scope, span.scope_version, provider, model)
    found["input_tokens"], found["output_tokens"] = whole.input, whole.output
    return Usage(found, whole.decisions)


def _first(attributes: Attributes, shape: Shape, keys: tuple[str, ...]) -> int | None:
    for name in shape.present(keys):
        count = count_of(attributes[name])
        if count is not None:
            return count
    return None


def _fill(found: Tokens, more: Mapping[str, int | None]) -> None:
    for field, count in more.items():
        if found[field] is None:
            found[field] = count


def _fill_from_objects(found: Tokens, attributes: Attributes, shape: Shape, total: int | None) -> int | None:
    """Counts out of usage objects, where the attributes state none; the total, theirs where there is no other."""
    for key, words in names.DETAIL_OBJECTS.items():
        details = parse(attributes[key]) if key in shape.keys else None
        if isinstance(details, dict):
            _fill(found, {field: count_of(details.get(word)) for word, field in words.items()})
    for key, path in names.USAGE_OBJECTS:
        if key not in shape.keys:
            continue
        text = attributes[key]
        if isinstance(text, str) and path and path[-1] not in text:
            continue
        for usage in at_path(parse(text), path):
            flat = dict(_flat(usage)) if isinstance(usage, dict) else {}
            counts = {field: _named(flat, keys) for field, keys in names.BARE_TOKENS.items()}
            _fill(found, counts)
            stated = _named(flat, names.BARE_TOTAL)
            total = stated if total is None else total
    return total


def _flat(usage: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in usage.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", member) for inner, member in value.items())
        else:
            yield key, value


def _named(flat: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    return next((count for key in keys if (count := count_of(flat.get(key))) is not None), None)


def _bucket_tokens(usage: Mapping[str, Any]) -> Tokens:
    """Buckets of Langfuse are disjoint and added up."""
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
