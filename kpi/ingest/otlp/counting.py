"""Whether cached tokens lie inside the input or beside it, and reasoning tokens inside the output or beside it.

Decided for each span by evidence, the strongest first: the totals in the span, what is known of the instrumentation,
the convention of the provider, and last that a part cannot be larger than its whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from typing import Literal, NamedTuple

from kpi.ingest.otlp.attribute_index import Shape

Side = Literal["input", "output"]
INSIDE, BESIDE = True, False


class Instrumentation(NamedTuple):
    """What is known of who wrote a span.

    scope: how the name of its instrumentation scope begins; keys: beginnings of attribute names, one of which must be
    there. since: version of the scope from which on this holds. cached, reasoning: INSIDE, BESIDE, or None for "as the
    provider counts". total: False where its total is made of input and output without the cached tokens. beside: a name
    that must be there as well.
    """

    name: str
    scope: str = ""
    keys: tuple[str, ...] = ()
    since: tuple[int, ...] = ()
    cached: bool | None = INSIDE
    reasoning: bool | None = INSIDE
    total: bool = True
    beside: str = ""


NORMALISED = "kpi.normalised"  # the scope of spans whose format has put the counts in order itself

# The first that fits counts. Each rests on the source of the instrumentation, or on a genuine export.
INSTRUMENTATIONS = (
    Instrumentation("", scope=NORMALISED),
    Instrumentation("Claude Code", scope="com.anthropic.claude_code", cached=BESIDE),
    Instrumentation("OpenInference for the Claude Agent SDK", scope="openinference.instrumentation.claude_agent_sdk",
                    cached=BESIDE, total=False),
    Instrumentation("the Claude SDK", scope="com.anthropic."),
    Instrumentation("Google ADK", keys=("gen_ai.usage.experimental.reasoning_tokens",), reasoning=BESIDE),
    Instrumentation("Google ADK", scope="gcp.vertex.agent"),
    Instrumentation("Google ADK", keys=("gcp.vertex.agent.",)),
    Instrumentation("the Vercel AI SDK 6", keys=("ai.usage.inputTokenDetails.", "ai.usage.outputTokenDetails.")),
    Instrumentation("the Vercel AI SDK 5", keys=("ai.usage.",), cached=None, reasoning=None, total=False),
    Instrumentation("pydantic-ai", scope="pydantic-ai", since=(1,)),
    Instrumentation("pydantic-ai", scope="pydantic-ai", reasoning=None),
    Instrumentation("LiteLLM", scope="litellm"),
    Instrumentation("OpenRouter or Sentry", keys=("gen_ai.usage.input_tokens.", "gen_ai.usage.output_tokens.")),
    Instrumentation("OpenLLMetry", scope="opentelemetry.instrumentation.anthropic"),
    Instrumentation("OpenInference", scope="openinference."),
    Instrumentation("OpenInference", keys=("llm.token_count.prompt_details.", "llm.token_count.completion_details.")),
    Instrumentation("OpenLIT", scope="openlit", cached=None, reasoning=None, total=False),
    # The conventions that brought these names with `gen_ai.provider.name` include the cache in the input.
    Instrumentation("the GenAI conventions", reasoning=None, beside="gen_ai.provider.name",
                    keys=("gen_ai.usage.cache_read.input", "gen_ai.usage.cache_creation.input")),
)  # fmt: skip


class Provider(NamedTuple):
    """How the API of a provider counts."""

    name: str
    cached: bool
    reasoning: bool


_ANTHROPIC = Provider("Anthropic", BESIDE, INSIDE)
_BEDROCK = Provider("Bedrock", BESIDE, INSIDE)
_GEMINI = Provider("Gemini", INSIDE, BESIDE)
_OPENAI = Provider("OpenAI", INSIDE, INSIDE)
PROVIDERS = {
    "anthropic": _ANTHROPIC, "aws.bedrock": _BEDROCK, "gcp.gemini": _GEMINI, "gcp.vertex_ai": _GEMINI,
    "gcp.gen_ai": _GEMINI, "gcp.vertex.agent": _GEMINI, "google": _GEMINI, "x_ai": Provider("xAI", INSIDE, BESIDE),
    "openai": _OPENAI, "azure.ai.openai": _OPENAI, "azure.ai.inference": _OPENAI, "deepseek": _OPENAI,
    "groq": _OPENAI, "openrouter": Provider("OpenRouter", INSIDE, INSIDE),
}  # fmt: skip
FAMILIES = (("claude", _ANTHROPIC), ("gemini", _GEMINI))  # by a word in the model's name
_HOSTS = frozenset({None, "gcp.vertex_ai", "gcp.gen_ai", "google"})  # where the model decides


class Counts(NamedTuple):
    """Counts of one span as they stand there. uncached, visible: input and output without their parts."""

    input: int | None
    output: int | None
    read: int | None
    write: int | None
    reasoning: int | None
    total: int | None = None
    uncached: int | None = None
    visible: int | None = None


class Decision(NamedTuple):
    """inside: whether the part lies inside. how: in words, for the receipt; "" where a format knows it."""

    side: Side
    inside: bool
    how: str


TOTALS = "told by the totals in the span"
LARGER = "a part larger than the whole cannot lie inside it"
ASSUMED = "nothing says otherwise"


class Settled(NamedTuple):
    """Input with every cached token, and output with every reasoning token, counted once; and how that was decided."""

    input: int | None
    output: int | None
    decisions: Sequence[Decision]


def settled(counts: Counts, shape: Shape, scope: str, version: str, provider: str | None, model: str | None) -> Settled:
    """The totals of a span that states parts."""
    cached, thought = (counts.read or 0) + (counts.write or 0), counts.reasoning or 0
    given, answered = counts.input, counts.output
    decisions = []
    if cached and given is not None:
        decision = _decide("input", counts, shape, scope, version, provider, model)
        decisions.append(decision)
        given += 0 if decision.inside else cached
    if thought and answered is not None:
        decision = _decide("output", counts, shape, scope, version, provider, model)
        decisions.append(decision)
        answered += 0 if decision.inside else thought
    return Settled(given, answered, decisions)


def _decide(
    side: Side, counts: Counts, shape: Shape, scope: str, version: str, provider: str | None, model: str | None
) -> Decision:
    convention = _convention(provider, model)
    key = (side, scope, version, convention)
    if key not in shape.kept:  # what is known of who wrote spans of these names
        known = _instrumentation(shape, scope, version)
        shape.kept[key] = _by_convention(side, known, convention), known is None or known.total
    decision: Decision
    decision, total_counts_cached = shape.kept[key]
    whole, part = _parts(side, counts)
    told = _by_parts(side, counts)
    if told is None:
        told = _by_total(side, counts, total_counts_cached)
    if told is not None:
        return Decision(side, told, TOTALS)
    return Decision(side, BESIDE, LARGER) if decision.inside and part > whole else decision


def _by_convention(side: Side, known: Instrumentation | None, convention: Provider | None) -> Decision:
    if known is not None and (inside := known.cached if side == "input" else known.reasoning) is not None:
        return Decision(side, inside, f"known of {known.name}" if known.name else "")
    if convention is not None:
        return Decision(
            side, convention.cached if side == "input" else convention.reasoning, f"as {convention.name} counts"
        )
    return Decision(side, INSIDE, ASSUMED)


def _parts(side: Side, counts: Counts) -> tuple[int, int]:
    if side == "input":
        return counts.input or 0, (counts.read or 0) + (counts.write or 0)
    return counts.output or 0, counts.reasoning or 0


def _by_parts(side: Side, counts: Counts) -> bool | None:
    """What the count without the part says, where the span states it."""
    whole, part = _parts(side, counts)
    rest = counts.uncached if side == "input" else counts.visible
    if rest is None:
        return None
    return INSIDE if rest + part == whole else BESIDE if rest == whole else None


def _by_total(side: Side, counts: Counts, total_counts_cached: bool) -> bool | None:
    """What a total of the whole span says: the only way in which input, output and parts beside them make it up.

    Each of the parts is tried inside and beside; a way that puts a larger part inside a smaller whole is none. None
    where no way fits, or where ways that fit disagree.
    """
    total, given, answered = counts.total, counts.input, counts.output
    if total is None or given is None or answered is None:
        return None
    read, write, thought = counts.read or 0, counts.write or 0, counts.reasoning or 0
    found = set()
    for cached_inside, thought_inside in product((True, False), repeat=2):
        if (cached_inside and read + write > given) or (thought_inside and thought > answered):
            continue
        made = given + answered + (0 if cached_inside else read + write) + (0 if thought_inside else thought)
        if made == total:
            found.add(cached_inside if side == "input" else thought_inside)
    told = found.pop() if len(found) == 1 else None
    return None if side == "input" and told and not total_counts_cached else told


def _instrumentation(shape: Shape, scope: str, version: str) -> Instrumentation | None:
    """Who wrote spans of these names and this scope."""
    return next((known for known in INSTRUMENTATIONS if _fits(known, shape, scope, version)), None)


def _fits(known: Instrumentation, shape: Shape, scope: str, version: str) -> bool:
    if not scope.startswith(known.scope) or (known.since and _numbers(version) < known.since):
        return False
    if known.beside and known.beside not in shape.keys:
        return False
    return not known.keys or any(key.startswith(known.keys) for key in shape.keys)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _convention(provider: str | None, model: str | None) -> Provider | None:
    """A host serves models of several makers: there the model's name decides, where it tells."""
    if provider in _HOSTS and model:
        folded = model.lower()
        family = next((found for word, found in FAMILIES if word in folded), None)
        if family is not None:
            return family
    return PROVIDERS.get(provider or "")
