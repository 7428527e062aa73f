"""Events of agents -> spans, one trace for each request. A request is one prompt of a user in a session.

Which prompt an event belongs to: the one that it names (`prompt.id`); else the prompt that came last before it in its
session; else, where nobody said what was asked, the trace that it names; else it is a request of its own. A request
failed when its last model call did: what was retried, and tools that failed on the way, were survived. A rejected edit
is a score of the user (`edit_accepted`), no override: what was asked may still be answered by the next edit.

Nothing counts twice where an agent exports spans as well, which state the same calls. An event of a trace whose spans
are in the same load hangs below the span that it names, where only leaves are counted. A model call that a span of the
same session or trace states, with the same output and at the same time, is that span: the event is left out, and so are
the tools of its prompt. Where the span tells no usage, the event hangs below it.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from kpi.ingest.agents import names
from kpi.ingest.agents.events import AgentEvent, AgentEvents, Traced
from kpi.ingest.otlp.attributes import count_of, number, text_of, truth_of
from kpi.ingest.otlp.conventions import TOKENS
from kpi.ingest.spans.builder import milliseconds, span, whole
from kpi.ingest.spans.items import Item, Score
from kpi.ingest.spans.span_rows import stable_id
from kpi.receipts import Receipt

_SLACK = 1_000_000_000  # nanoseconds by which an event and the span of the same call may differ
_ROUNDED = 10_000_000  # by which a call may seem to begin before its prompt, since lengths are whole milliseconds
_STEPS = (names.CALL, names.FAILED, names.TOOL)


def spans_of(gathered: AgentEvents, receipt: Receipt) -> Iterator[Item]:
    """Spans and scores of all that was gathered, which is then forgotten; what was left out is on the receipt."""
    events, gathered.events = list(gathered.events.values()), {}
    receipt.repeated, gathered.repeated = receipt.repeated + gathered.repeated, 0
    sessions: dict[tuple[str, str], list[AgentEvent]] = {}
    for event in events:
        sessions.setdefault((event.agent.name, text_of(event.facts.get("session")) or ""), []).append(event)
    left: Counter[str] = Counter()
    gathered.speaking = True
    for (_, session), found in sorted(sessions.items()):
        for key, group in _requests(session, found, gathered.traces).items():
            yield from _Request(key, session, group, gathered, left).items()
    gathered.speaking = False
    _tell(left, gathered, receipt)


def _requests(session: str, events: list[AgentEvent], traces: set[str]) -> dict[tuple[str, str], list[AgentEvent]]:
    """The events of one session by the request that they belong to, each in the order of time."""
    events.sort(key=lambda e: (e.at or 0, count_of(e.facts.get("sequence")) or 0, _STEPS.count(e.says)))
    _pair(events)
    prompts: list[tuple[int, tuple[str, str]]] = []
    for event in events:
        if event.says == names.PROMPT and event.at is not None:
            named = text_of(event.facts.get("prompt"))
            prompts.append((event.at, ("prompt", named or f"at {event.at}")))
    found: dict[tuple[str, str], list[AgentEvent]] = {}
    for event in events:
        named = text_of(event.facts.get("prompt"))
        began = event.start
        before = [key for at, key in prompts if session and began is not None and at <= began + _ROUNDED]
        if event.trace_id in traces:
            key = ("trace", str(event.trace_id))
        elif named:
            key = ("prompt", named)
        elif before:
            key = before[-1]
        elif event.trace_id:
            key = ("trace", event.trace_id)
        else:
            key = ("alone", _identity(event))
        found.setdefault(key, []).append(event)
    return found


def _pair(events: list[AgentEvent]) -> None:
    """An answer that tells no length began with the attempt before it that succeeded (Codex); in place."""
    opened: int | None = None
    for place, event in enumerate(events):
        if event.says == names.OPENED:
            opened = event.start
        elif event.says == names.CALL and opened is not None and event.at is not None:
            if "milliseconds" not in event.facts:
                events[place] = event._replace(facts={**event.facts, "milliseconds": (event.at - opened) / 1e6})
            opened = None


def _identity(event: AgentEvent) -> str:
    told = [event.facts.get(part) for part in ("id", "name", "model", *TOKENS, "milliseconds")]
    return stable_id(event.agent.name, event.facts.get("session"), event.says, event.at, *told)


class _Request:
    """One request: what is left of its events once those that spans state are left out."""

    def __init__(
        self, key: tuple[str, str], session: str, events: list[AgentEvent], gathered: AgentEvents, left: Counter[str]
    ) -> None:
        self._events, self._session, self._left, self._gathered = events, session, left, gathered
        agent = events[0].agent
        self._given = key[0] == "trace"
        self._traced: Traced | None = None
        self._above: dict[str, str] = {}  # spans without usage that calls hang below, by the identity of the call
        self._trace = key[1] if self._given else stable_id("agent", agent.name, session, *key)

    def items(self) -> Iterator[Item]:
        kept = [e for e in self._events if not self._is_stated(e)]
        if self._traced is not None:  # what no span states joins that trace
            self._trace = self._traced.trace_id
            if self._trace in self._gathered.with_tools:
                self._left["stated"] += sum(e.says == names.TOOL for e in kept)
                kept = [e for e in kept if e.says != names.TOOL]
        steps = [e for e in kept if e.says in _STEPS]
        if steps and not self._given and self._traced is None:
            yield self._whole(steps)
        elif not steps and self._traced is None and not self._given:
            self._left["prompts"] += any(e.says == names.PROMPT for e in kept)
        for event in steps:
            yield self._tool(event) if event.says == names.TOOL else self._call(event)
        for event in kept:
            yield from self._scores(event)

    def _is_stated(self, event: AgentEvent) -> bool:
        """Whether a span of the same load states the same step. One that tells no usage has the event below it."""
        keys = [key for key in (self._session, event.trace_id) if key]
        stated = False
        if event.says == names.TOOL:
            stated = any(text_of(event.facts.get("id")) in self._gathered.tools.get(key, ()) for key in keys)
        elif event.says == names.CALL and (match := self._match(event, keys)) is not None:
            self._traced = self._traced or match
            for key in {self._session, event.trace_id, match.trace_id}:  # a span states one call
                if key in self._gathered.calls and match in self._gathered.calls[key]:
                    self._gathered.calls[key].remove(match)
            # A span that leaves out what lies beside its output knows less than the event, which goes below it.
            stated = match.output_tokens is not None and not event.agent.reasoning_beside
            if not stated:
                self._above[_identity(event)] = match.span_id
        self._left["stated"] += stated
        return stated

    def _match(self, event: AgentEvent, keys: list[str]) -> Traced | None:
        """The span of the same call: at the same time, with the same output, or without one."""
        if event.at is None or event.start is None:
            return None
        output = count_of(event.facts.get("output_tokens"))
        same = {output, _tokens(event)["output_tokens"], None}
        near = [
            traced
            for key in keys
            for traced in self._gathered.calls.get(key, ())
            if traced.output_tokens in same and traced.start <= event.at + _SLACK and event.start <= traced.end + _SLACK
        ]
        return min(near, key=lambda t: (t.output_tokens is None, abs(t.end - (event.at or 0))), default=None)

    def _who(self, event: AgentEvent) -> dict[str, Any]:
        facts = event.facts
        return {
            "session": facts.get("session"), "user": facts.get("user"), "release": facts.get("release"),
            "environment": event.environment, "cohorts": {"agent": event.agent.name}}  # fmt: skip

    def _whole(self, steps: list[AgentEvent]) -> Item:
        """What is said of the request itself: who asked what, when, and what came of it."""
        prompt = next((e for e in self._events if e.says == names.PROMPT), None)
        answers = [e.facts["output"] for e in self._events if e.says == names.ANSWER and e.facts.get("output")]
        calls = [e for e in steps if e.says in (names.CALL, names.FAILED)]
        ends = [e.at for e in steps if e.at is not None]
        told = (milliseconds(e.facts.get("milliseconds")) for e in self._events if e.says == names.FIRST_TOKEN)
        return whole(
            self._trace, name=f"{steps[0].agent.title} prompt", start=prompt.at if prompt else None,
            end=max(ends, default=None) if prompt else None, input=prompt.facts.get("input") if prompt else None,
            output=answers[-1] if answers else None, turns=sum(e.says == names.PROMPT for e in self._events) or None,
            status=None if not calls else "error" if calls[-1].says == names.FAILED else "ok",
            ttft_seconds=next(filter(None, told), None) if prompt else None, **self._who(prompt or steps[0]),
        )  # fmt: skip

    def _step(self, event: AgentEvent, *, failed: bool) -> dict[str, Any]:
        above = event.span_id if event.trace_id == self._trace else None
        if self._traced is not None:
            above = self._above.get(_identity(event)) or above or self._traced.parent_id
        known = "milliseconds" in event.facts
        facts = event.facts
        return {
            "parent_id": above, "start": event.start if known else event.at, "end": event.at if known else None,
            "status": "error" if failed else "ok", "error_type": facts.get("error_type") if failed else None,
            "message": facts.get("error") if failed else None, **self._who(event)}  # fmt: skip

    def _call(self, event: AgentEvent) -> Item:
        facts, agent = event.facts, event.agent
        attempts = count_of(facts.get("attempts"))
        cost = facts.get("cost_usd")
        if cost is None and (micros := number(facts.get("cost_micros"))) is not None:
            cost = micros / 1e6
        return span(
            self._trace, _identity(event)[:16], kind="llm", name=agent.prefix.rstrip(".") + names.MODEL_CALL,
            cost_usd=cost, model=facts.get("model"), requested_model=facts.get("requested_model"),
            provider=agent.provider, input=facts.get("input"), output=facts.get("output"),
            retries=attempts - 1 if event.says == names.FAILED and attempts and agent.cache_beside else None,
            ttft_seconds=milliseconds(facts.get("first_token")),
            attributes={k: v for k, v in event.unread.items() if k not in agent.silent},
            **_tokens(event), **self._step(event, failed=event.says == names.FAILED))  # fmt: skip

    def _tool(self, event: AgentEvent) -> Item:
        facts = event.facts
        tool = {part: facts.get(part) for part in ("name", "id", "arguments", "result")}
        failed = truth_of(facts.get("success")) is False or (facts.get("success") is None and "error" in facts)
        return span(
            self._trace, _identity(event)[:16], kind="tool", name=facts.get("name") or "tool", tool=tool,
            **{**self._step(event, failed=failed), "error_type": facts.get("error_type", "error") if failed else None},
        )  # fmt: skip

    def _scores(self, event: AgentEvent) -> Iterator[Item]:
        """What a person decided or thought of it, and that the model refused."""
        facts = event.facts
        about = text_of(facts.get("id"))
        if event.says == names.REFUSAL and truth_of(facts.get("hop")) is not True:
            yield Score(self._trace, None, "refused", "code", 1.0, at=event.at, identifier=about)
        if event.says == names.FEEDBACK and (rating := text_of(facts.get("rating"))):
            yield Score(self._trace, None, "user_feedback", "user", _opinion(rating), rating, at=event.at)
        decided = text_of(facts.get("decision"))
        source = text_of(facts.get("decided_by"))
        if event.says not in (names.DECISION, names.TOOL) or not decided or decided in names.AUTOMATIC:
            return
        if event.says == names.TOOL and event.agent.cache_beside:
            return  # Claude Code repeats with the result of a tool what it told as a decision
        if source is None or source.lower().startswith(names.BY_PEOPLE):
            name = "edit_accepted" if facts.get("name") in names.EDIT_TOOLS or "name" not in facts else "tool_accepted"
            yield Score(self._trace, None, name, "user", _opinion(decided), decided, at=event.at, identifier=about)


def _opinion(word: str) -> float | None:
    folded = word.lower()
    return 1.0 if folded in names.ACCEPTED else 0.0 if folded in names.REJECTED else None


def _tokens(event: AgentEvent) -> dict[str, Any]:
    """Token counts with every input token in the input and every output token in the output.

    What lies beside is told by the total of the event where it has one that fits, else by what the agent does.
    """
    found = {name: count_of(event.facts.get(name)) for name in TOKENS}
    given, output = found["input_tokens"], found["output_tokens"]
    thought = found["reasoning_tokens"] or 0
    used = (count_of(event.facts.get("tool_tokens")) or 0) if event.agent.reasoning_beside else 0
    total = count_of(event.facts.get("total_tokens"))
    beside_output, beside_input = event.agent.reasoning_beside, used
    if total and given is not None and output is not None:
        for extra_in, extra_out in ((used, thought), (0, thought), (used, 0), (0, 0)):
            if given + extra_in + output + extra_out == total:
                beside_input, beside_output = extra_in, bool(extra_out)
                break
    if given is not None:
        found["input_tokens"] = given + beside_input
    if output is not None and beside_output:
        found["output_tokens"] = output + thought
    return {**found, "cache_included": not event.agent.cache_beside}


def _tell(left: Counter[str], gathered: AgentEvents, receipt: Receipt) -> None:
    if left["stated"]:
        receipt.note(f"{left['stated']:,} log events repeat what spans of the same load state: the spans count.")
    if left["prompts"]:
        receipt.note(f"{left['prompts']:,} prompts to agents have no model call and no tool: they are no requests.")
    if gathered.silent:
        named = ", ".join(f"{name} ({count:,})" for name, count in gathered.silent.most_common(8))
        more = "" if len(gathered.silent) <= 8 else f", and {len(gathered.silent) - 8} more kinds"
        receipt.note(f"Log events that say nothing of a request were left out: {named}{more}.")
        gathered.silent.clear()
