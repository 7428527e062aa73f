"""The events of one Inspect sample as spans: model and tool calls, below the solvers, agents and scorers."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kpi.disk.tables import lists, table_of
from kpi.ingest.formats import Item, facts_in, mapping, objects, span, text_blocks

_ATTACHMENT = re.compile(r"attachment://([0-9a-f]{8,64})")
_KINDS = {"agent": "agent", "scorer": "evaluator", "scorers": "evaluator"}
_NAMED = re.compile(r"^([A-Za-z_][\w.]*)(?::|\(|\[|$)")
USAGE = lists(table_of(__file__, "inspect_ai")["usage"])
Row = dict[str, Any]


def text(value: Any) -> Any:
    """Nothing for a text of blanks: a model that calls tools says an empty one."""
    return None if isinstance(value, str) and not value.strip() else value


def failure(error: Mapping[str, Any]) -> str | None:
    """Class of the exception: the last line of the traceback says it, else the message may."""
    lines = [line for line in str(error.get("traceback") or "").splitlines() if line.strip()]
    for line in (lines[-1] if lines else "", str(error.get("message") or "")):
        if (named := _NAMED.match(line)) and named[1] != "Error":
            return named[1].rsplit(".", 1)[-1]
    return "error" if error else None


class Events:
    """What happened in one sample. Spans that hold a tool call are that call: events name both."""

    def __init__(self, trace_id: str, sample: Mapping[str, Any], say: Any) -> None:
        self._trace_id, self._say = trace_id, say
        self._events = objects(sample.get("events"))
        self._messages = objects(sample.get("messages"))
        self._attachments = mapping(sample.get("attachments"))
        data = mapping(sample.get("events_data"))
        pool = data.get("messages") or sample.get("message_pool")
        self._pool: list[Any] = pool if isinstance(pool, list) else []

    def turns(self) -> int | None:
        """Messages of the user, as the sample ended."""
        return sum(m.get("role") == "user" for m in self._messages) if self._messages else None

    def resolved(self, value: Any, depth: int = 0) -> Any:
        """The value with references to attachments replaced by what they stand for."""
        if isinstance(value, str):
            return _ATTACHMENT.sub(self._attached, value) if "attachment://" in value else value
        if depth > 20:
            return value
        if isinstance(value, list):
            return [self.resolved(item, depth + 1) for item in value]
        return {k: self.resolved(v, depth + 1) for k, v in value.items()} if isinstance(value, dict) else value

    def _attached(self, reference: re.Match[str]) -> str:
        found = self._attachments.get(reference[1])
        if not isinstance(found, str):
            self._say.note("Some texts are attachments that the log does not hold.")
            return ""
        return found

    def spans(self) -> Iterator[Item]:
        """Every span, with what the log says of its calls."""
        if not any(e.get("event") in ("model", "tool") for e in self._events):
            yield from self._from_messages()
            return
        ends = {e.get("id"): e.get("timestamp") for e in self._events if e.get("event") == "span_end"}
        holders = self._holders()
        held = set(holders.values())
        for index, event in enumerate(self._events):
            kind = event.get("event")
            if kind == "span_begin" and event.get("id") not in held:
                yield span(
                    self._trace_id, event.get("id"), parent_id=event.get("parent_id"), name=event.get("name"),
                    kind=_KINDS.get(str(event.get("type")), "chain"), start=event.get("timestamp"),
                    end=ends.get(event.get("id")), status="ok" if event.get("id") in ends else None)  # fmt: skip
            elif kind == "model":
                yield self._model(event, index)
            elif kind == "tool":
                yield self._tool(event, holders.get(index) or event.get("uuid") or f"{index:05}")

    def _holders(self) -> dict[int, str]:
        """Place of a tool event -> the span opened for it: the first before it in the same span and of its name."""
        found: dict[int, str] = {}
        waiting: dict[tuple[Any, Any], list[str]] = {}
        for index, event in enumerate(self._events):
            if event.get("event") == "span_begin" and event.get("type") == "tool" and event.get("id"):
                waiting.setdefault((event.get("parent_id"), event.get("name")), []).append(str(event["id"]))
            elif event.get("event") == "tool" and (ids := waiting.get((event.get("span_id"), event.get("function")))):
                found[index] = ids.pop(0)
        return found

    def _model(self, event: Row, index: int) -> Item:
        output, failed = mapping(event.get("output")), event.get("error")
        choices = objects(output.get("choices"))
        answer = mapping(choices[0].get("message")) if choices else {}
        provider, _, requested = str(event.get("model") or "").partition("/")
        return span(
            self._trace_id, event.get("uuid") or f"{index:05}", parent_id=event.get("span_id"), kind="llm",
            name=event.get("model"), start=event.get("timestamp"), end=event.get("completed"),
            seconds=event.get("working_time"), status="error" if failed else "ok",
            error_type=failure({"message": failed, "traceback": event.get("traceback")}) if failed else None,
            message=failed, model=output.get("model") if not failed else None, requested_model=requested or provider,
            provider=provider if requested else None, retries=event.get("retries"),
            input=self._asked(event), output=text(self.resolved(_text(answer.get("content")))),
            finish_reason=choices[0].get("stop_reason") if choices and not failed else None, cache_included=False,
            **facts_in(mapping(output.get("usage")), USAGE))  # fmt: skip

    def _asked(self, event: Row) -> Any:
        """The last words of the user before this call."""
        given, refs = event.get("input"), event.get("input_refs")
        messages: list[Any] = list(given) if isinstance(given, list) else []
        for reference in refs if isinstance(refs, list) else []:
            if isinstance(reference, list) and len(reference) == 2:
                messages += self._pool[reference[0] : reference[1]]
        users = [m for m in messages if isinstance(m, dict) and m.get("role") == "user"]
        return text(self.resolved(_text(users[-1].get("content")))) if users else None

    def _tool(self, event: Row, span_id: str) -> Item:
        error = mapping(event.get("error"))
        failed = bool(error) or event.get("failed") is True
        name = event.get("function")
        return span(
            self._trace_id, span_id, parent_id=event.get("span_id"), kind="tool", name=name,
            start=event.get("timestamp"), end=event.get("completed"), seconds=event.get("working_time"),
            status="error" if failed else "ok", message=error.get("message"),
            error_type=error.get("type") or ("error" if failed else None),
            tool={"name": name, "id": event.get("id"), "arguments": self.resolved(event.get("arguments")),
                  "result": self.resolved(_text(event.get("result")))})  # fmt: skip

    def _from_messages(self) -> Iterator[Item]:
        """Calls of a log without events: one a generated message, and one a tool's answer; their times are unknown."""
        asked = None
        calls: dict[Any, Row] = {}
        for index, message in enumerate(self._messages):
            said = text(self.resolved(_text(message.get("content"))))
            if message.get("role") == "user":
                asked = said or asked
            elif message.get("role") == "assistant" and message.get("source") != "input":
                calls |= {call.get("id"): call for call in objects(message.get("tool_calls"))}
                yield span(
                    self._trace_id, f"{index:05}", kind="llm", name="generate", status="ok", input=asked, output=said,
                    model=message.get("model"))  # fmt: skip
            elif message.get("role") == "tool":
                call, error = calls.get(message.get("tool_call_id"), {}), mapping(message.get("error"))
                name = message.get("function") or call.get("function")
                yield span(
                    self._trace_id, f"{index:05}", kind="tool", name=name, status="error" if error else "ok",
                    error_type=error.get("type"), message=error.get("message"),
                    tool={"name": name, "id": message.get("tool_call_id"), "arguments": call.get("arguments"),
                          "result": said})  # fmt: skip


def _text(content: Any) -> Any:
    """Text of a message whose content may be a list of parts."""
    return text_blocks(content) if isinstance(content, list) else content
