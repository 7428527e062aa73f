"""Log events of coding agents, gathered over a load, so that they can become spans: which agent, what it says, when.

The order of files and lines is no matter: nothing is decided before the last event is read (`kpi.ingest.agents.spans`).
"""

from collections import Counter
from typing import Any, NamedTuple

from kpi.ingest.agents import names
from kpi.ingest.agents.names import Agent
from kpi.ingest.context import Context
from kpi.ingest.otlp.attributes import count_of, first, kind_of, model_of, number, provider_of, text_of, truth_of
from kpi.ingest.otlp.decode import Attributes, LogRecord, Span, nanos
from kpi.ingest.otlp.usage import usage_of

_KEPT = "events of agents"
_PREFIXES = tuple(agent.prefix for agent in names.AGENTS)
_SERVICES = {service: agent for agent in names.AGENTS for service in agent.services}
_MEASURE = ("token", "cost", "ttft", "first_token", "duration")
_SAME = ("id", "name", "model", "requested_model", "input_tokens", "output_tokens", "milliseconds", "prompt",
         "decision", "rating")  # fmt: skip


class AgentEvent(NamedTuple):
    """One event that says something of a request. at: nanoseconds since the epoch. facts: by the names of `FIELDS`.

    unread: numbers that look like a measure and have no name here.
    """

    agent: Agent
    says: str
    at: int | None
    trace_id: str | None
    span_id: str | None
    facts: dict[str, Any]
    environment: Any
    unread: Attributes

    @property
    def start(self) -> int | None:
        """When what it tells of began."""
        length = number(self.facts.get("milliseconds"))
        return None if self.at is None else self.at - round((length or 0) * 1e6)


class Traced(NamedTuple):
    """A model call that an agent exported as a span: what an event may repeat, or complete where it tells no usage."""

    trace_id: str
    span_id: str
    parent_id: str | None
    start: int
    end: int
    output_tokens: int | None


class AgentEvents:
    """What the inputs of one load state of agents: their events, and spans of theirs that may say the same.

    silent: names of events that say nothing of a request, with how often each came. repeated: events that came twice.
    """

    def __init__(self) -> None:
        self.events: dict[tuple[Any, ...], AgentEvent] = {}
        self.calls: dict[str, list[Traced]] = {}  # by session, and by trace id
        self.tools: dict[str, set[str]] = {}  # ids of calls, likewise
        self.traces: set[str] = set()
        self.with_tools: set[str] = set()  # traces of which some span is that of a tool
        self.silent: Counter[str] = Counter()
        self.repeated = 0
        self.speaking = False  # whether the spans that are taken now are made of events

    def take(self, record: LogRecord) -> bool:
        """Whether a log record is an event of an agent. Raises MALFORMED errors for attributes of a wrong type."""
        agent, name = _agent_of(record)
        if agent is None:
            return False
        if (event := _event(record, agent, name)) is None:
            self.silent[f"{agent.title}: {name}"] += 1
            return True
        same = (agent.name, event.says, event.at, *(text_of(event.facts.get(part)) for part in ("session", *_SAME)))
        if (known := self.events.get(same)) is not None:
            self.repeated += 1  # a resent batch, or the twin that Codex writes of each event, with other attributes
            event = known._replace(facts={**event.facts, **known.facts}, trace_id=known.trace_id or event.trace_id)
        self.events[same] = event
        return True

    def saw(self, span: Span) -> None:
        """Remember a span of an agent that states a model call or a tool."""
        if self.speaking:
            return
        if not span.name.startswith(_PREFIXES) and _service(span.resource) not in _SERVICES:
            return
        self.traces.add(span.trace_id)
        session = text_of(first({**span.resource, **span.attributes}, names.FIELDS["session"]))
        keys = [key for key in (session, span.trace_id) if key]
        kind = kind_of(span.attributes)
        if kind == "tool":
            self.with_tools.add(span.trace_id)
        if span.start is not None and span.end is not None and kind == "llm":
            usage = usage_of(span, calls=True, provider=provider_of(span.attributes), model=model_of(span.attributes))
            output = usage.tokens["output_tokens"]
            found = Traced(span.trace_id, span.span_id, span.parent_id, span.start, span.end, output)
            for key in keys:
                self.calls.setdefault(key, []).append(found)
        elif call_id := text_of(first(span.attributes, names.FIELDS["id"])):
            for key in keys:
                self.tools.setdefault(key, set()).add(call_id)


def events_of(context: Context) -> AgentEvents:
    """Those of the load at hand; from now on every span that is read is looked at as well."""
    if (found := context.kept.get(_KEPT)) is None:
        found = context.kept[_KEPT] = AgentEvents()
        context.watch = found.saw
    return found


def _agent_of(record: LogRecord) -> tuple[Agent | None, str]:
    """Which agent wrote a record, and the last part of its event's name. Some write the whole name in the body only."""
    service = _SERVICES.get(_service(record.resource))
    if record.event == names.DETAILS:
        if service is not None:
            return (service, names.DETAILS)
        return (None, "") if record.trace_id and record.span_id else (names.CONVENTIONS, names.DETAILS)
    for name in (record.event, record.body):
        if isinstance(name, str):
            for agent in names.AGENTS:
                if name.startswith(agent.prefix):
                    return agent, name.removeprefix(agent.prefix)
    return (service, record.event) if service is not None else (None, "")


def _service(resource: Attributes) -> str:
    return str(resource.get("service.name") or "").lower()


def _event(record: LogRecord, agent: Agent, name: str) -> AgentEvent | None:
    """What an event says; None where that is nothing of a request."""
    says = (names.CALL if agent.details else None) if name == names.DETAILS else agent.events.get(name)
    if says is None:
        return None
    stated = {**record.resource, **record.attributes}
    facts = {fact: value for fact, keys in names.FIELDS.items() if (value := first(stated, keys)) is not None}
    facts = {fact: value for fact, value in facts.items() if not (isinstance(value, str) and value in names.REDACTED)}
    for side in ("input", "output"):
        if (messages := stated.get(f"gen_ai.{side}.messages")) is not None:
            facts[side] = messages
    if (says := _precise(says, facts)) is None:
        return None
    unread = {
        key: value
        for key, value in record.attributes.items()
        if key not in names.READ and any(word in key.lower() for word in _MEASURE) and number(value) is not None
    }
    at = nanos(record.attributes.get("event.timestamp")) or record.at
    environment = stated.get("deployment.environment.name") or stated.get("deployment.environment") or stated.get("env")
    return AgentEvent(agent, says, at, record.trace_id, record.span_id, facts, environment, unread)


def _precise(says: str, facts: dict[str, Any]) -> str | None:
    """Of a stream only its end counts; an attempt to open one may fail; what lists models is no model call."""
    failed = facts.get("error") is not None or truth_of(facts.get("success")) is False
    status = count_of(facts.get("error_type"))
    failed = failed or (status is not None and status >= 400)
    if says == names.STREAM:
        if facts.get("input_tokens") is not None or facts.get("output_tokens") is not None:
            return names.CALL
        return names.FAILED if failed and str(facts.get("kind") or "") in names.ENDS else None
    if says == names.OPENED:
        if "endpoint" in facts and not any(w in str(facts["endpoint"]) for w in ("responses", "chat", "compact")):
            return None
        return names.FAILED if failed else names.OPENED
    if says == names.CALL and failed and facts.get("output_tokens") is None:
        return names.FAILED
    return says
