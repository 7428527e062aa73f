"""What the columns and keys of a span row are called, whoever wrote it: how the tables of `row_names.toml` are read."""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import NamedTuple

from kpi.disk.tables import by_word, lists, table_of
from kpi.ingest.otlp.conventions import INPUT_VALUES, METADATA_PREFIXES, OUTPUT_VALUES, STRUCTURED, VOCABULARY
from kpi.mapping.column_names import known, words
from kpi.mapping.mapping import kind_of

_DATA = table_of(__file__)
# The units of columns that do not name theirs, by what stands beside them.
UNITS_BESIDE = tuple((frozenset(names.split()), unit) for names, unit in _DATA["units_beside"])
RENAMED, KINDS, ATTRIBUTE_OF = _DATA["renamed"], by_word(_DATA["kinds"]), _DATA["attribute_of"]
KIND_ATTRIBUTES, WRAPPED = tuple(_DATA["kind_attributes"].split()), tuple(_DATA["wrapped"].split())
# Attributes whose value may be an object, which is one value and no group of attributes.
KEPT_WHOLE = frozenset({*INPUT_VALUES, *OUTPUT_VALUES, *STRUCTURED.values(), *_DATA["kept_whole"].split()})
_STRONG = frozenset(["traceid", "contexttraceid", "operationid", "rootspanid"])


class Use(NamedTuple):
    """What a column is for. role: a field under `names`, `duration`, `fact`, `attribute`, `resource` or `metadata`.

    name: of the attribute or of the field of a table. unit: as far as the column says it. rank: 0 is the surest name.
    """

    role: str
    name: str = ""
    unit: str = ""
    rank: int = 0


@lru_cache(maxsize=16_384)
def folded(path: str) -> str:
    """A name without case, blanks and signs; what stands in brackets behind it is left off."""
    return "".join(words(path.partition(" [")[0].partition(" (")[0]))


_ROLES = {
    name: Use(role, rank=rank) for role, names in lists(_DATA["names"]).items() for rank, name in enumerate(names)
}
_ROLES |= {
    base + suffix: Use("duration", unit=unit, rank=rank)
    for rank, base in enumerate(_DATA["lengths"].split())
    for unit, suffixes in {"": ("",), **lists(_DATA["units"])}.items()
    for suffix in suffixes
}
_CONTAINERS = {"attributes": "attribute", "metadata": "metadata", "resource": "resource"}


@lru_cache(maxsize=16_384)
def use_of(path: str) -> Use:
    """What a column, or a key of a nested object with dots between, says of a span."""
    if found := _ROLES.get(folded(path)):
        return found
    if path.startswith(VOCABULARY) and not path.startswith(("message.", "event.", "trace.", "annotations.")):
        return Use("attribute", path)
    head, dot, rest = path.partition(".")
    while dot:  # `attributes.gen_ai.system`, `resource.attributes.service.name`
        container = _ROLES.get(folded(head))
        if container and container.role in _CONTAINERS and rest:
            deeper = _ROLES.get(folded(f"{head}.{rest.partition('.')[0]}"))
            if not (deeper and deeper.role in _CONTAINERS):
                return _inside(container.role, path, rest)
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    if found_fact := _DATA["facts"].get(folded(path)):
        return Use("fact", *found_fact)
    if fact := known(path):
        return Use("duration", unit=fact[1], rank=9) if fact[0] == "total_us" else Use("fact", *fact)
    return Use("attribute", path)


def _inside(container: str, path: str, rest: str) -> Use:
    if container != "metadata":
        return Use(_CONTAINERS[container], rest)
    fact = known(rest)
    if fact and fact[0] in ("model", "provider", "session_id", "user_key"):
        return Use("fact", fact[0], rank=fact[2] + 5)
    return Use("attribute", path if path.startswith(METADATA_PREFIXES) else f"metadata.{rest}")


def is_score(field: str) -> bool:
    """Whether a column of a table is a judgement: it becomes a score of the trace, not a fact of the span."""
    return kind_of(field) in ("bool", "score") and field not in ("error", "success")


def unit_beside(names: Collection[str]) -> str:
    """The unit of a length that names none, told by the columns beside it; "" where they do not say."""
    present = {folded(name) for name in names}
    return next((unit for keys, unit in UNITS_BESIDE if keys <= present), "")


def is_span(names: Iterable[str]) -> bool:
    """Whether the keys of a record, or the columns of a table, are those of one span.

    It has a span id of its own, and a parent or what else only spans have. Rows that merely share a trace id are calls
    of a table. Nested keys count with dots between.
    """
    present = {folded(name) for name in names}
    roles = {_ROLES[name].role for name in present if name in _ROLES}
    timed = bool(roles & {"start", "duration"})
    if "context" in present and timed and {"parent_id", "attributes"} <= roles:
        return True  # a table of what the console exporter writes: the ids are in the cells of one column
    if "trace_id" not in roles or not timed:
        return False
    told = {"parent_id", "references", "attributes", "events", "resource", "scope"}
    if "span_id" in roles:
        return bool(roles & told) or {"start", "end", "name"} <= roles
    if "id" not in roles or not present & _STRONG:
        return False
    beside = {"localendpoint", "remoteendpoint", "subsegments", "inprogress", "annotations"}
    return "parent_id" in roles or bool(present & beside)


def is_trace(names: Iterable[str]) -> bool:
    """Whether a record is a trace that holds its spans: Jaeger, X-Ray, a list of one's own."""
    present = {folded(name) for name in names}
    return ("spans" in present and bool(present & {"traceid", "processes"})) or {"id", "segments"} <= present


def is_message(names: Collection[str]) -> bool:
    """Whether a record is a line of a log store that may hold a span as JSON."""
    present = set(names)
    return "@message" in present or ("message" in present and bool({"ingestionTime", "eventId"} & present))
