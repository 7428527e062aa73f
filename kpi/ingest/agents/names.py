"""What coding agents call things in their log events: the tables of `names.toml`, where an agent is an entry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kpi.disk.tables import by_word, lists, table_of

# What an event says. STREAM: a piece of an answer, of which the last states the usage. OPENED: an answer began.
PROMPT, CALL, FAILED, STREAM, OPENED, TOOL, ANSWER, REFUSAL, FIRST_TOKEN, DECISION, FEEDBACK = (
    "prompt", "call", "failed call", "stream", "opened", "tool", "answer", "refusal", "first token", "decision",
    "feedback")  # fmt: skip
MODEL_CALL = ".model_call"  # how the names of spans end that are made of an agent's own words
AGENT_COLUMN = "x_agent"  # where requests of agents say whose they are
DETAILS = "gen_ai.client.inference.operation.details"


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One agent. prefix: of its events' names. services: `service.name` of its resource, in lower case.

    events: the last part of an event's name -> what it says; others of its prefix say nothing of a request.
    cache_beside, reasoning_beside: whether its input leaves cached tokens out, and its output those of reasoning, where
    no total in the event tells. total: whether it states one. details: whether `DETAILS` is its model call (None: a
    twin of another event). silent: numbers that repeat others.
    """

    name: str
    title: str
    prefix: str
    services: frozenset[str] = frozenset()
    events: Mapping[str, str]
    provider: str | None = None
    cache_beside: bool = False
    reasoning_beside: bool = False
    details: bool | None = None
    silent: frozenset[str] = frozenset()


def _agent(stated: dict[str, Any]) -> Agent:
    sets: dict[str, Any] = {part: frozenset(stated.pop(part, "").split()) for part in ("services", "silent")}
    return Agent(events=by_word(stated.pop("events")), **sets, **stated)


_DATA = table_of(__file__)
_WORDS = {name: frozenset(text.split()) for name, text in _DATA["words"].items()}
AGENTS = tuple(map(_agent, _DATA["agents"]))
# Any application that writes the conventions' event of a model call without the context of a span.
CONVENTIONS = Agent(name="genai", title="GenAI conventions", prefix="gen_ai.", events={}, details=True)

FIELDS = lists(_DATA["fields"])  # facts of an event, and the attributes that state them, in order of preference
READ = frozenset(name for names in FIELDS.values() for name in names)
REDACTED, EDIT_TOOLS, ACCEPTED, REJECTED = (_WORDS[n] for n in ("redacted", "edit_tools", "accepted", "rejected"))
# How an answer that streams ends; others of its pieces fail without the call failing.
ENDS = _WORDS["ends"] | {""}
# A decision without one of these sources, or with one of these words, was none of a person.
BY_PEOPLE = ("user",)
AUTOMATIC = frozenset({"auto_accept"})
