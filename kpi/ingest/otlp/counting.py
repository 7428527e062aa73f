"""Whether cached tokens lie inside the input or beside it, and reasoning tokens inside the output or beside it.

Decided for each span by evidence, the strongest first: the totals in the span, what is known of the instrumentation,
the convention of the provider, and last that a part cannot be larger than its whole.
"""

import re
from itertools import product
from typing import Any, Literal, NamedTuple

from kpi.disk.tables import by_word, table_of
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

_DATA = table_of(__file__)
_SIDES: dict[str, Any] = {"inside": INSIDE, "beside": BESIDE, "as the provider": None}


def _instrumentation_of(stated: dict[str, Any]) -> Instrumentation:
    sides: dict[str, Any] = {part: _SIDES[stated.pop(part)] for part in ("cached", "reasoning") if part in stated}
    lists: dict[str, Any] = {part: tuple(stated.pop(part, ())) for part in ("keys", "since")}
    return Instrumentation(**stated, **sides, **lists)


INSTRUMENTATIONS = (Instrumentation("", scope=NORMALISED), *map(_instrumentation_of, _DATA["instrumentations"]))


class Provider(NamedTuple):
    """How the API of a provider counts."""

    name: str
    cached: bool
    reasoning: bool


_BY_NAME = {
    name: Provider(name, _SIDES[cached], _SIDES[reasoning]) for name, (cached, reasoning) in _DATA["counted_by"].items()
}
PROVIDERS = {provider: _BY_NAME[name] for provider, name in by_word(_DATA["providers"]).items()}
FAMILIES = (("claude", _BY_NAME["Anthropic"]), ("gemini", _BY_NAME["Gemini"]))  # by a word in the model's name
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


def settled(
    counts: Counts, shape: Shape, scope: str, version: str, provider: str | None, model: str | None
) -> tuple[int | None, int | None, list[Decision]]:
    """Of a span that states parts: input with every cached token, and output with every reasoning token, counted once;
    and how that was decided."""
    convention, decisions, totals = _convention(provider, model), list[Decision](), [counts.input, counts.output]
    sides: tuple[Side, Side] = ("input", "output")
    for place, side in enumerate(sides):
        whole, part = totals[place], _part(side, counts)
        if part and whole is not None:
            decisions.append(decision := _decide(side, counts, shape, scope, version, convention))
            totals[place] = whole if decision.inside else whole + part
    return totals[0], totals[1], decisions


def _decide(
    side: Side, counts: Counts, shape: Shape, scope: str, version: str, convention: Provider | None
) -> Decision:
    key = (side, scope, version, convention)
    if key not in shape.kept:  # what is known of who wrote spans of these names
        known = next((known for known in INSTRUMENTATIONS if _fits(known, shape, scope, version)), None)
        shape.kept[key] = _by_convention(side, known, convention), known is None or known.total
    decision: Decision
    decision, total_counts_cached = shape.kept[key]
    if (told := _by_parts(side, counts)) is None:
        told = _by_total(side, counts, total_counts_cached)
    if told is not None:
        return Decision(side, told, TOTALS)
    larger = _part(side, counts) > ((counts.input if side == "input" else counts.output) or 0)
    return Decision(side, BESIDE, LARGER) if decision.inside and larger else decision


def _by_convention(side: Side, known: Instrumentation | None, convention: Provider | None) -> Decision:
    if known is not None and (inside := known.cached if side == "input" else known.reasoning) is not None:
        return Decision(side, inside, f"known of {known.name}" if known.name else "")
    if convention is not None:
        inside = convention.cached if side == "input" else convention.reasoning
        return Decision(side, inside, f"as {convention.name} counts")
    return Decision(side, INSIDE, ASSUMED)


def _part(side: Side, counts: Counts) -> int:
    return (counts.read or 0) + (counts.write or 0) if side == "input" else counts.reasoning or 0


def _by_parts(side: Side, counts: Counts) -> bool | None:
    """What the count without the part says, where the span states it."""
    whole, rest = (counts.input, counts.uncached) if side == "input" else (counts.output, counts.visible)
    if rest is None:
        return None
    return INSIDE if rest + _part(side, counts) == whole else BESIDE if rest == whole else None


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


def _fits(known: Instrumentation, shape: Shape, scope: str, version: str) -> bool:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3]) if known.since else ()
    if not scope.startswith(known.scope) or numbers < known.since:
        return False
    if known.beside and known.beside not in shape.keys:
        return False
    return not known.keys or any(key.startswith(known.keys) for key in shape.keys)


def _convention(provider: str | None, model: str | None) -> Provider | None:
    """A host serves models of several makers: there the model's name decides, where it tells."""
    if provider in _HOSTS and model:
        folded = model.lower()
        if (family := next((found for word, found in FAMILIES if word in folded), None)) is not None:
            return family
    return PROVIDERS.get(provider or "")
