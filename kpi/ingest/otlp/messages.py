"""What was said: the text, refusals and finish reasons in the message shapes of every exporter.

A model span's input is the last thing the user said, its output the answer. System prompts, tool results and
requested tool calls are not text of the request. This room returns raw text; whoever writes it redacts it.
"""

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any, NamedTuple

from kpi.ingest.otlp.attribute_index import shape_of
from kpi.ingest.otlp.attributes import first, mapping, numbered, parse
from kpi.ingest.otlp.conventions import FINISH, INPUT_VALUES, OUTPUT_VALUES, STRUCTURED, WORDS
from kpi.ingest.otlp.decode import Attributes, Event

REFUSAL_REASONS = WORDS["refusals"]


class Message(NamedTuple):
    """One message: who, the text, and whether the text is a refusal."""

    role: str
    text: str
    refusal: bool
    finish: str | None = None


class Said(NamedTuple):
    """input and output as plain text; refused: None where nothing in the span could tell."""

    input: str | None
    output: str | None
    refused: bool | None


def said(attributes: Attributes, events: Iterable[Event] = ()) -> Said:
    """Text and refusal of one span (or of one log record that carries a span's attributes)."""
    if not events and "words" not in shape_of(attributes).topics:
        return Said(None, None, None)
    asked = _messages(attributes, events, "input")
    question = last_user_text(asked) if asked else _plain(first(attributes, INPUT_VALUES))
    answers = [m for m in _messages(attributes, events, "output") if m.role in ("assistant", "model", "ai", "")]
    answer = _join(m.text for m in answers)
    refusal = any(m.refusal for m in answers)
    if answer is None:
        raw = first(attributes, OUTPUT_VALUES)
        if replies := _choices(parse(raw)):
            answer, refusal = _join(m.text for m in replies), refusal or any(m.refusal for m in replies)
        elif not answers:
            answer = _plain(raw)
    return Said(question, answer, _refused(attributes, answers, refusal))


def _refused(attributes: Attributes, answers: list[Message], refusal: bool) -> bool | None:
    reasons = parse(first(attributes, FINISH))
    reasons = reasons if isinstance(reasons, list) else [reasons]
    folded = {str(r).lower().replace("-", "_") for r in [*reasons, *(m.finish for m in answers)] if r}
    if refusal or folded & REFUSAL_REASONS:
        return True
    return False if folded else None


def last_user_text(messages: list[Message]) -> str | None:
    """The last thing the user said; without a user, whatever was not a system prompt."""
    for message in reversed(messages):
        if message.role in ("user", "human") and message.text:
            return message.text
    return _join(m.text for m in messages if m.role not in ("system", "developer", "tool"))


def message_of(raw: Any, role: str = "") -> Message:
    """One message in any shape: parts, content as text or list, `refusal` beside an empty content."""
    if not isinstance(raw, dict):
        return Message(role, raw if isinstance(raw, str) else "", False)
    role = str(raw.get("role") or role).lower()
    texts: list[str] = []
    refusal = False
    content = raw.get("parts") if raw.get("parts") is not None else raw.get("content", raw.get("text"))
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            refusal = refusal or part.get("type") == "refusal"
            if part.get("type") in (None, "text", "output_text", "input_text", "refusal"):
                text = next((part[name] for name in ("content", "text", "refusal") if part.get(name)), "")
                texts.append(text if isinstance(text, str) else "")
    if isinstance(raw.get("refusal"), str) and raw["refusal"]:
        refusal = True
        texts.append(raw["refusal"])
    finish = raw.get("finish_reason")
    return Message(role, "\n".join(t for t in texts if t), refusal, finish if isinstance(finish, str) else None)


def _messages(attributes: Attributes, events: Iterable[Event], side: str) -> list[Message]:
    structured = parse(attributes.get(STRUCTURED[side]))
    if isinstance(structured, list):
        return [message_of(m) for m in structured]
    if isinstance(structured, dict):
        return [message_of(structured)]
    prefix = "gen_ai.prompt." if side == "input" else "gen_ai.completion."
    found: list[Message] = []
    if side in shape_of(attributes).topics:
        found = list(_traceloop(attributes, prefix)) or list(_openinference(attributes, f"llm.{side}_messages."))
    if events and not found:
        found = [m for m in map(event_message, events) if m and (m.role == "assistant") == (side == "output")]
    if not found and side == "input":
        raw = parse(first(attributes, INPUT_VALUES))
        raw = raw.get("messages", raw) if isinstance(raw, dict) else raw
        if isinstance(raw, list) and raw and all(isinstance(m, dict) and "role" in m for m in raw):
            found = [message_of(m) for m in raw]
    return found


def event_message(event: Event) -> Message | None:
    """A message kept in a span event of the 2024 conventions (`gen_ai.user.message`, `gen_ai.choice`)."""
    if not event.name.startswith("gen_ai."):
        return None
    if event.name == "gen_ai.choice":
        raw = mapping(event.attributes.get("message")) or event.attributes
        return message_of({**raw, "finish_reason": event.attributes.get("finish_reason")}, "assistant")
    if event.name in ("gen_ai.user.message", "gen_ai.system.message", "gen_ai.tool.message"):
        return message_of({"content": parse(event.attributes.get("content"))}, event.name.split(".")[1])
    return None


def _traceloop(attributes: Attributes, prefix: str) -> Iterator[Message]:
    for raw in numbered(attributes, prefix, ("role", "content", "finish_reason", "refusal")):
        content = parse(raw["content"])
        if not isinstance(content, dict):  # an answer that is a JSON object is text, not a message
            raw["content"] = content
        yield message_of(raw)


def _openinference(attributes: Attributes, prefix: str) -> Iterator[Message]:
    for index in count():
        base = f"{prefix}{index}.message."
        raw = {part: attributes.get(base + part) for part in ("role", "content", "refusal")}
        if raw["content"] is None:
            raw["content"] = list(numbered(attributes, f"{base}contents.", ("type", "text"), ".message_content."))
            if raw["role"] is None and not raw["content"]:
                return
        yield message_of(raw)


def _choices(raw: Any) -> list[Message]:
    """Answers in a provider's own response body: `choices[].message`, or one bare message."""
    if isinstance(raw, dict) and isinstance(raw.get("role"), str):
        return [message_of(raw)]
    choices = raw.get("choices") if isinstance(raw, dict) else None
    if not isinstance(choices, list):
        return []
    return [message_of(c["message"], "assistant") for c in choices if isinstance(c, dict) and "message" in c]


def _plain(raw: Any) -> str | None:
    """Text of a free-form input or output; structures are left as the JSON text they came as."""
    if isinstance(raw, str):
        parsed = parse(raw) if raw[:1] == '"' else raw
        return (parsed if isinstance(parsed, str) else raw) or None
    if raw is None:
        return None
    message = message_of(raw)
    return message.text or str(raw)


def _join(texts: Iterable[str]) -> str | None:
    return "\n".join(t for t in texts if t) or None
