"""The names by which span exporters call the same thing, in order of preference: the tables of `conventions.toml`."""

from kpi.disk.tables import by_word, lists, sets, table_of
from kpi.schema import COHORTS, VERSIONS

_DATA = table_of(__file__)
_NAMES, _NANOS = lists(_DATA["names"]), {"s": 1_000_000_000, "ms": 1_000_000}
_KINDS = {who: by_word(words) for who, words in _DATA["kinds"].items()}

OPERATION_KINDS, OPENINFERENCE_KINDS, TRACELOOP_KINDS = (_KINDS[w] for w in ("operation", "openinference", "traceloop"))
REQUEST_KINDS, VERCEL_KINDS = _KINDS["request"], _KINDS["vercel"]
LANGFUSE_KINDS = {**OPENINFERENCE_KINDS, "generation": "llm", "span": "chain", "event": "other"}
_STATED_KINDS = {**OPENINFERENCE_KINDS, **TRACELOOP_KINDS, **_KINDS["stated"]}
del _STATED_KINDS["trace"]
OTHER_KINDS = (
    *((name, _STATED_KINDS) for name in _NAMES["kinds"]), ("span.type", {**_STATED_KINDS, **_KINDS["claude_code"]}),
)  # fmt: skip
HAYSTACK_KINDS = tuple(_KINDS["haystack"].items())
TELLING = tuple((name, kind) for name, kind in _DATA["telling"])
# Instrumentations, by how the name of their scope begins, that tell a failure by `success` alone.
SUCCESS_STATED = ("com.anthropic.claude_code",)
# A copy of a span that is sent when it begins, under an id of its own: no span. (name, value), None for any.
PENDING = (("logfire.span_type", "pending_span"), ("logfire.pending_parent_id", None))
PROVIDERS = by_word(_DATA["providers"])

SESSION, USER = _NAMES["session"], _NAMES["user"]
MODEL_ANSWERED, MODEL_REQUESTED = _NAMES["model_answered"], _NAMES["model_requested"]
MODEL_NAMED, MODEL_BARE = _NAMES["model_named"], _NAMES["model_bare"]
PROVIDER, PROMPT_VERSION = _NAMES["provider"], _NAMES["prompt_version"]
RELEASE, ENVIRONMENT = _NAMES["release"], _NAMES["environment"]
TOKENS, BARE_TOKENS = lists(_DATA["tokens"]), lists(_DATA["bare_tokens"])
TOTAL, BARE_TOTAL = _NAMES["total"], _NAMES["bare_total"]
UNCACHED, VISIBLE = _NAMES["uncached"], _NAMES["visible"]
USAGE_OBJECTS = tuple((name, tuple(way.split())) for name, way in _DATA["usage_objects"])
MODEL_OBJECTS = tuple((name, tuple(way.split())) for name, way in _DATA["model_objects"])
DETAIL_OBJECTS: dict[str, dict[str, str]] = _DATA["detail_objects"]
LANGFUSE_CACHE_READ, LANGFUSE_CACHE_WRITE = _NAMES["langfuse_cache_read"], _NAMES["langfuse_cache_write"]
LANGFUSE_REASONING = _NAMES["langfuse_reasoning"]
COST, BARE_COST = _NAMES["cost"], _NAMES["bare_cost"]
COST_PARTS = tuple((asked, answered) for asked, answered in _DATA["cost_parts"])
STREAMED = _NAMES["streamed"]
# Time to first token, with the nanoseconds of its unit.
FIRST_TOKEN, BARE_FIRST_TOKEN = (
    tuple((name, _NANOS[unit]) for unit, names in lists(_DATA[table]).items() for name in names)
    for table in ("first_token", "bare_first_token")
)
# Instrumentations, by how the name of their scope begins, that write milliseconds under a name of seconds.
FIRST_TOKEN_IN_MS = ("strands",)
FIRST_TOKEN_EVENTS = frozenset(_DATA["first_token_events"])
ANNOTATIONS = tuple((prefix, noun) for prefix, noun in _DATA["annotations"])

INPUT_VALUES, OUTPUT_VALUES, FINISH = _NAMES["input_values"], _NAMES["output_values"], _NAMES["finish"]
TOOL_NAME, TOOL_CALL = _NAMES["tool_name"], _NAMES["tool_call"]
TOOL_ARGUMENTS, TOOL_RESULT = _NAMES["tool_arguments"], _NAMES["tool_result"]
STRUCTURED = {"input": "gen_ai.input.messages", "output": "gen_ai.output.messages"}

ALIASES = by_word(_DATA["aliases"])
CANONICAL = frozenset(c.name for c in (*VERSIONS, *COHORTS)) - {"model", "provider"}
# Outcomes that an application states itself, under any of its own prefixes.
STATED = frozenset({"escalated", "resolved", "fallback", "overridden", "deflected", "converted", "refused"})
STATED_ALIASES = {"is_fallback": "fallback", "handoff": "escalated", "human_handoff": "escalated"}
FACTS: dict[str, str] = _DATA["facts"]  # that readers of exports state -> the attribute that each becomes
METADATA_PREFIXES, VOCABULARY = _NAMES["metadata_prefixes"], _NAMES["vocabulary"]

# The names of each table, and those that a question about a span may be answered by.
TABLES = {
    **_NAMES, "detail_objects": tuple(DETAIL_OBJECTS), "cost_parts": tuple(key for pair in COST_PARTS for key in pair),
    **{table: tuple(name for name, _ in _DATA[table]) for table in ("usage_objects", "model_objects")},
    **{table: tuple(" ".join(_DATA[table].values()).split())
       for table in ("tokens", "bare_tokens", "first_token", "bare_first_token")}}  # fmt: skip
TOPICS, MEASURES = sets(_DATA["topics"], TABLES), sets(_DATA["measures"], TABLES)
PATTERNS = {what: "|".join(parts) for what, parts in _DATA["patterns"].items()}  # of names that are no measure
WORDS = sets(_DATA["words"])  # in names of attributes that look like a measure
