"""What the columns and keys of a span row are called, whoever wrote it. Tables, and the one function that reads them.

OpenTelemetry console and file exporters, `otel_traces` of ClickHouse, Application Insights, CloudWatch, X-Ray, Jaeger,
Zipkin, Elastic APM, Honeycomb, SigNoz, Google Cloud Trace, OpenAI Agents, Braintrust, Agenta, and tables of one's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import NamedTuple

from kpi.ingest.otlp.conventions import INPUT_VALUES, METADATA_PREFIXES, OUTPUT_VALUES, STRUCTURED, VOCABULARY
from kpi.mapping.column_names import known, words
from kpi.mapping.mapping import kind_of

# Field of a span -> its names without case, dots and underscores, the surest first.
_NAMES = {
    "trace_id": "traceid contexttraceid spancontexttraceid rootspanid operationid tracetraceid ddtraceid tracecontext"
    " traceidhex",
    "span_id": "spanid contextspanid spancontextspanid tracespanid transactionid ddspanid spanidhex",
    "id": "id",
    "parent_id": "parentspanid parentid operationparentid traceparentid ddparentid parentspancontextspanid spanparents"
    " parent parentspanidhex parentspan parentrunid",
    "references": "references",
    "name": "spanname displayname name operationname spandisplayname spanattributesname spandataname transactionname",
    "start": "starttimeunixnano starttime startedat timestamp start begintime starttimestamp spanstarttime begin"
    " startat timegenerated starttimemillis starttimems starttimeus starttimens starttimes startns startms startus"
    " metricsstart timestampus timestampms timestampns createdat time datetime timestamputc",
    "end": "endtimeunixnano endtime endedat endtimestamp end finishedat spanendtime stoptime endat finishtime"
    " endtimemillis endtimems endtimeus endtimens endns endms endus metricsend completedat",
    "status": "statuscode status statusstatuscode spanstatus statuscodestring resultcode otelstatuscode eventoutcome",
    "success": "success issuccess succeeded",
    "error": "error haserror iserror exception fault throttle errormessage",
    "message": "statusmessage statusdescription statuscodemessage otelstatusdescription",
    "kind": "spantype observationtype runtype spandatatype spanattributestype openinferencespankind",
    "loose_kind": "kind spankind type",
    "events": "events spanevents logs",
    "annotations": "annotations",
    "scope": "scopename instrumentationscopename instrumentationlibraryname instrumentationscope otelscopename",
    "scope_version": "scopeversion instrumentationscopeversion instrumentationlibraryversion otelscopeversion",
    "service": "servicename clouderolename cloudrolename approlename processservicename localendpointservicename",
    "scores": "scores",
    "children": "children childspans subsegments spans nodes",
    "in_progress": "inprogress",
    "input": "spandatainput",
    "output": "spandataoutput",
    "attributes": "attributes spanattributes tags tag customdimensions custommeasurements properties measurements"
    " labels spantags attributesstring attributesnumber attributesbool stringtagmap numbertagmap booltagmap"
    " attributesattributemap attributemap numericattributes stringattributes",
    "metadata": "metadata meta spandatadata",
    "resource": "resourceattributes resource resourcesstring processtags resourceattributesmap resourcetagsmap",
}  # fmt: skip
_LENGTHS = (
    "duration", "spanduration", "transactionduration", "elapsed", "elapsedtime", "latency", "responsetime", "took",
    "executiontime", "spanlatency",
)  # fmt: skip
_UNITS = {
    "ns": "ns nano nanos nanoseconds", "us": "us micro micros microseconds", "ms": "ms milli millis milliseconds msec",
    "s": "s sec secs seconds",
}  # fmt: skip
# The units of columns that do not name theirs, by what stands beside them.
UNITS_BESIDE = (
    ({"spanattributes", "spanname", "duration"}, "ns"),  # ClickHouse exporter of the collector
    ({"operationid", "duration"}, "ms"),  # Application Insights
    ({"references", "operationname", "duration"}, "us"),  # Jaeger
    ({"processid", "operationname", "duration"}, "us"),
    ({"localendpoint", "duration"}, "us"),  # Zipkin
    ({"traceid", "id", "timestamp", "duration", "tags"}, "us"),
)
# Other words for facts of a call: path without case and signs -> (field of a table, unit).
_FACTS = {
    "metricspromptcachecreationtokens": ("cache_write_tokens", ""),
    "metricstimetofirsttoken": ("ttft_us", "s"),
    "metricsestimatedcost": ("total_nusd", "usd"),
    "spandatausageinputtokensdetailscachedtokens": ("cached_read_tokens", ""),
    "spandatausageoutputtokensdetailsreasoningtokens": ("reasoning_tokens", ""),
    "groupid": ("session_id", ""),
}
# Attributes of one tool that say what the conventions have another name for.
RENAMED = {
    "ag.metrics.tokens.incremental.prompt": "gen_ai.usage.input_tokens",
    "ag.metrics.tokens.incremental.completion": "gen_ai.usage.output_tokens",
    "ag.metrics.tokens.incremental.cached": "gen_ai.usage.cache_read.input_tokens",
    "ag.metrics.costs.incremental.total": "gen_ai.usage.cost",
    "ag.meta.request.model": "gen_ai.request.model", "ag.meta.configuration.model": "gen_ai.request.model",
    "ag.data.inputs": "input.value", "ag.data.outputs": "output.value",
    "ag.session.id": "session.id", "ag.user.id": "user.id",
}  # fmt: skip
KIND_ATTRIBUTES = ("ag.type.span", "ag.type.node", "ag.node.type")
# Attributes whose value may be an object, which is one value and no group of attributes.
KEPT_WHOLE = frozenset(
    {*INPUT_VALUES, *OUTPUT_VALUES, *STRUCTURED.values(), "metadata", "gen_ai.retrieval.documents", "tool.parameters",
     "langfuse.observation.usage_details", "langfuse.observation.cost_details", "llm.invocation_parameters",
     "gcp.vertex.agent.llm_request", "gcp.vertex.agent.llm_response", "gcp.vertex.agent.tool_call_args",
     "gcp.vertex.agent.tool_response", "gen_ai.system_instructions", "gen_ai.tool.definitions"}
)  # fmt: skip
# Words of exporters for what a span does -> the kinds of OpenInference.
KINDS = {
    "llm": "LLM", "generation": "LLM", "response": "LLM", "chat": "LLM", "completion": "LLM", "model": "LLM",
    "llmcall": "LLM", "chatmodel": "LLM", "chatcompletion": "LLM", "modelgeneration": "LLM", "query": "RETRIEVER",
    "tool": "TOOL", "function": "TOOL", "toolcall": "TOOL", "mcptool": "TOOL", "functioncall": "TOOL",
    "agent": "AGENT", "agentrun": "AGENT", "handoff": "CHAIN", "chain": "CHAIN", "task": "CHAIN", "workflow": "CHAIN",
    "retriever": "RETRIEVER", "retrieval": "RETRIEVER", "embedding": "EMBEDDING", "embeddings": "EMBEDDING",
    "rerank": "RERANKER", "reranker": "RERANKER", "guardrail": "GUARDRAIL", "evaluator": "EVALUATOR",
    "eval": "CHAIN", "score": "EVALUATOR", "scorer": "EVALUATOR",
}  # fmt: skip
# Columns of a table, as `kpi.mapping` knows them -> the attribute that says the same.
ATTRIBUTE_OF = {
    "model": "gen_ai.request.model", "provider": "gen_ai.provider.name", "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens", "cached_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_write.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens", "session_id": "gen_ai.conversation.id",
    "user_key": "user.id", "release": "service.version", "environment": "deployment.environment.name",
    "prompt_version": "gen_ai.prompt.version", "input_text": "input.value", "output_text": "output.value",
    "error_type": "error.type",
}  # fmt: skip
# The message column of a log store holds the span as JSON.
WRAPPED = ("@message", "_raw", "message", "body", "Document", "document", "json")
_STRONG = frozenset(["traceid", "contexttraceid", "operationid", "rootspanid"])


class Use(NamedTuple):
    """What a column is for. role: a field of `_NAMES`, `duration`, `fact`, `attribute`, `resource` or `metadata`.

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


_ROLES = {name: Use(role, rank=rank) for role, text in _NAMES.items() for rank, name in enumerate(text.split())}
_ROLES |= {
    base + suffix: Use("duration", unit=unit, rank=rank)
    for rank, base in enumerate(_LENGTHS)
    for unit, text in {"": "", **_UNITS}.items()
    for suffix in text.split() or [""]
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
    if found_fact := _FACTS.get(folded(path)):
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
