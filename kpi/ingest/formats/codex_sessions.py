"""Codex's own session files, `~/.codex/sessions/**/rollout-*.jsonl`: one line an item, `{timestamp, type, payload}`.

A request is one message of the user. A `token_count` states what the last call used (`last_token_usage`) beside the sum
of the session (`total_token_usage`): a call counts where the sum has moved, with its own use, or with the difference of
the sums where only those are told. A session that was forked repeats the items of the one that it came from; where both
are loaded, what they share counts once. A call began when what it answers was written, and ended with its count. Rests
on the sources of Codex (`protocol`, `rollout`) and on fixtures of tools that read such files.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kpi.ingest.agents.names import MODEL_CALL
from kpi.ingest.formats import Item, Say, ended, facts_in, names_of, nanos, span, stable_id, whole
from kpi.ingest.otlp.attributes import count_of, mapping, parse, text_of

_DATA = names_of(__file__)
_BY_MODEL = _DATA.sets["uses"] | {"reasoning", "message", "web_search_call", "tool_search_call"}


class _Session:
    """The items of one session, in the order in which they stand in its file."""

    def __init__(self, file: str) -> None:
        self.id: str | None = None
        self.file = file
        self.origin: str | None = None
        self.release: Any = None
        self.provider: Any = None
        self.items: list[tuple[int, int, str, str, Mapping[str, Any]]] = []  # time, place, type, kind, payload


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One item. A second `session_meta` of a file whose first named it belongs to the history that a fork copied."""
    kind, payload = record.get("type"), mapping(record.get("payload"))
    at, known = nanos(record.get("timestamp")), kind in _DATA.sets["types"]
    if not known or at is None:
        say.drop("item of a session without a time" if known else "not an item of a Codex session")
        return
    session = say.kept.setdefault("sessions", {}).setdefault(say.file, [_Session(say.file)])
    if kind == "session_meta":
        own = text_of(payload.get("id")) or text_of(payload.get("session_id"))
        if session[-1].id is not None and own != session[-1].id and own != session[-1].origin:
            session.append(_Session(say.file))  # files that were joined
        if session[-1].id is None:
            session[-1].id, session[-1].release = own, payload.get("cli_version")
            session[-1].origin = text_of(payload.get("forked_from_id"))
            session[-1].provider = payload.get("model_provider")
        return
    items = session[-1].items
    items.append((at, len(items), str(kind), str(payload.get("type") or ""), payload))
    yield from ()


def finish(say: Say) -> Iterator[Item]:
    """The requests of all sessions."""
    found = [s for listed in say.kept.get("sessions", {}).values() for s in listed]
    known: dict[str, set[tuple[Any, ...]]] = {}
    for session in sorted(found, key=lambda s: s.origin is not None):
        copied = known.get(session.origin or "", set())
        reading = _Reading(session, copied, say)
        yield from reading.spans()
        known.setdefault(session.id or session.file, set()).update(reading.sums)
    if found:
        say.note("The session files of Codex state no lengths: calls are timed from what they answer to their count.")


class _Reading:
    """One session on its way to spans: the prompt at hand, the model, and what waits for its end."""

    def __init__(self, session: _Session, copied: set[tuple[Any, ...]], say: Say) -> None:
        self._session, self._copied, self._say = session, copied, say
        self.sums: set[tuple[Any, ...]] = set()
        self._name = session.id or session.file
        self._who: dict[str, Any] = {"session": session.id, "release": session.release, "cohorts": {"agent": "codex"}}
        self._last_sum: Mapping[str, Any] | None = None
        self._model: Any = None
        self._given: int | None = None  # when the model last got something to answer
        self._began: int | None = None  # the same for the answer that is being written
        self._counted = {"input_tokens": 0, "output_tokens": 0}
        self._reset(None, None)

    def _reset(self, at: int | None, text: Any) -> None:
        self._at, self._text, self._output = at, text, None
        self._steps: list[Item] = []
        self._end: int | None = None
        self._failed: bool | None = None
        self._uses: dict[str, tuple[int, Any, Any]] = {}
        self._trace = stable_id("agent", "codex", self._name, "message", at)

    def spans(self) -> Iterator[Item]:
        for at, _, kind, what, payload in sorted(self._session.items, key=lambda item: item[:2]):
            if kind == "event_msg" and what == "user_message":
                yield from self._request()
                self._reset(at, payload.get("message"))
                self._given, self._began = at, None
            elif kind == "turn_context":
                self._model = payload.get("model") or self._model
                self._given = self._given or at
            elif kind == "event_msg":
                self._event(at, what, payload)
            elif kind == "response_item":
                self._item(at, what, payload)
        yield from self._request()
        told = {n: count_of((self._last_sum or {}).get(n)) for n in ("input_tokens", "output_tokens")}
        if not self._copied and any(told[n] is not None and told[n] != self._counted[n] for n in told):
            self._say.note(f"{self._session.file}: its calls do not add up to the sum that the session states.")

    def _event(self, at: int, what: str, payload: Mapping[str, Any]) -> None:
        if what == "token_count":
            self._count(at, mapping(payload.get("info")))
        elif what in ("agent_message", "task_complete", "turn_complete"):
            self._output = payload.get("message") or payload.get("last_agent_message") or self._output
        elif what in ("error", "stream_error"):
            self._failed, self._end = True, at
        elif what in ("task_started", "turn_started"):
            self._given = at

    def _item(self, at: int, what: str, payload: Mapping[str, Any]) -> None:
        use = text_of(payload.get("call_id")) or text_of(payload.get("id"))
        if what in _DATA.sets["results"]:
            self._given = at
            if use in self._uses:
                self._tool(use, at, payload.get("output"))
        elif what in _BY_MODEL and payload.get("role") in (None, "assistant"):
            self._began = self._began or self._given
            if what in _DATA.sets["uses"] and use:
                arguments = payload.get("arguments") or payload.get("input") or payload.get("action")
                self._uses[use] = (at, payload.get("name") or "local_shell", arguments)

    def _count(self, at: int, info: Mapping[str, Any]) -> None:
        total, last = mapping(info.get("total_token_usage")), mapping(info.get("last_token_usage"))
        if not (total or last):
            return  # limits alone
        mark = tuple(count_of(total.get(n)) for n in sorted(total)) if total else (at,)
        if self._last_sum is not None and total and dict(total) == dict(self._last_sum):
            return  # told again
        used = last if count_of(last.get("input_tokens")) is not None else _less(total, self._last_sum)
        self._last_sum = total or self._last_sum
        start, self._began = self._began or self._given, None
        self.sums.add(mark)
        if mark in self._copied:
            self._say.context.receipt.repeated += 1
            return
        tokens = facts_in(used, _DATA.facts["usage"])
        for name in self._counted:
            self._counted[name] += count_of(tokens[name]) or 0
        self._failed, self._end = False, at
        self._steps.append(span(
            self._trace, stable_id(self._trace, "call", at, *mark)[:16], kind="llm", name=f"codex{MODEL_CALL}",
            start=start, end=at, status="ok", model=self._model, provider=self._session.provider,
            **tokens, **self._who))  # fmt: skip

    def _tool(self, use: str, at: int | None, output: Any) -> None:
        began, name, arguments = self._uses.pop(use)
        self.sums.add(("tool", use))
        if ("tool", use) in self._copied:
            return
        failed = _failed(output)
        self._end = max(at or began, self._end or began)
        self._steps.append(span(
            self._trace, stable_id(self._trace, "tool", use)[:16], kind="tool", name=name, start=began, end=at,
            tool={"name": name, "id": use, "arguments": arguments, "result": output}, **ended(failed), **self._who,
        ))  # fmt: skip

    def _request(self) -> Iterator[Item]:
        """The request at hand, once its last item was read."""
        for use in list(self._uses):
            self._tool(use, None, None)  # its result never came
        if not self._steps:
            return
        yield whole(
            self._trace, name="Codex prompt", start=self._at, end=self._end if self._at is not None else None,
            input=self._text, output=self._output, turns=1 if self._at is not None else None,
            status=None if self._failed is None else "error" if self._failed else "ok", **self._who)  # fmt: skip
        yield from self._steps
        self._steps = []


def _less(total: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was used between two sums of a session; all of the new one where it began again from nothing."""
    now = {name: count for name, value in total.items() if (count := count_of(value)) is not None}
    was = {name: count_of((before or {}).get(name)) or 0 for name in now}
    return now if any(was[name] > count for name, count in now.items()) else {n: c - was[n] for n, c in now.items()}


def _failed(output: Any) -> bool | None:
    """Whether a tool failed, as far as its result says so: an exit code, or a word on its success."""
    told = parse(output)
    if isinstance(told, dict):
        if isinstance(told.get("success"), bool):
            return not told["success"]
        code = count_of(mapping(told.get("metadata")).get("exit_code"))
        return None if code is None else code != 0
    if isinstance(told, str) and told.startswith("Exit code: "):
        return told.removeprefix("Exit code: ").split("\n", 1)[0].strip() != "0"
    return None
