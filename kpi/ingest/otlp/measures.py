"""Names of attributes that look like a measure (tokens, cost, first token, duration) and that no vocabulary reads.

Decided by the words of a name alone, once per set of names; the values are looked at in `unread`.
"""

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from kpi.ingest.otlp import conventions as names

Sort = Literal["tokens", "cost", "first token", "duration", "object"]


class Measure(NamedTuple):
    """key: the attribute. name: as the receipt names it, list numbers as N. bare: read, but of model calls alone.

    sort: `object` where the value may be an object or JSON that holds measures.
    """

    key: str
    name: str
    sort: Sort
    bare: bool = False


_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_TOKENS, _COST, _FIRST = (names.WORDS[part] for part in ("tokens", "cost", "first"))
_DURATION, _OBJECT, _NO_MEASURE = (names.WORDS[part] for part in ("duration", "object", "no_measure"))
_KNOWN, _PART_OF_COST = (re.compile(names.PATTERNS[part]) for part in ("known", "part_of_cost"))
_WHOLE_COST = frozenset(names.COST)
READ, BARE = names.MEASURES["any_span"], names.MEASURES["model_calls"]  # of any span, of model calls


def measures_in(keys: tuple[str, ...]) -> tuple[Measure, ...]:
    """What among these names looks like a measure that no vocabulary reads, or reads of model calls alone."""
    found = [measure for key in keys if key not in READ and (measure := measure_of(key)) is not None]
    if found and not _WHOLE_COST.isdisjoint(keys):
        found = [measure for measure in found if not _PART_OF_COST.fullmatch(measure.key)]
    return tuple(found)


@lru_cache(maxsize=16_384)
def measure_of(key: str) -> Measure | None:
    """What one name looks like, whether it is read or not; None for what is no measure."""
    if _KNOWN.fullmatch(key):
        return None
    words = [word.lower() for word in _WORDS.findall(key)]
    if (sort := _sort(words)) is None:
        return None
    name = ".".join("N" if part.isdigit() else part for part in key.split("."))
    return Measure(key, name, sort, key in BARE)


def _sort(words: list[str]) -> Sort | None:
    given = frozenset(words)
    if given & _NO_MEASURE:
        return None
    if "ttft" in given or ("first" in given and given & _FIRST):
        return "first token"
    if given & _TOKENS:
        return "tokens"
    if given & _COST:
        return "cost"
    if given & _DURATION:
        return "duration"
    return "object" if words and words[-1] in _OBJECT else None
