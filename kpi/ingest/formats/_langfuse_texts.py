"""What was asked and answered, in the shapes in which frameworks hand it to Langfuse.

Langfuse keeps whatever an instrumentation recorded: text, text quoted once or twice as JSON, a Python repr, messages
in the shape of a provider or framework, a function's arguments. What is understood becomes `[{role, content}]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kpi.ingest.attributes import parse
from kpi.ingest.records import from_cell

Messages = list[dict[str, Any]]
_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "tool"}  # LangChain types
_QUESTIONS = ("prompt", "contents", "new_message", "input", "question", "query", "user_input", "message", "text")
_CALL_KEYS = frozenset({"toolCallId", "tool_call_id", "call_id", "function", "functionCall"})


def decoded(value: Any) -> Any:
    """What a text holds that is JSON, or JSON in JSON, or a Python repr; the text itself for all other text.

    The cells of a CSV were read so already: after this, every layout of the export says the same.
    """
    for _ in range(3):
        if not isinstance(value, str):
            break
        inner = parse(value.strip()) if value.lstrip()[:1] == '"' else from_cell(value)
        if inner == value or (isinstance(inner, str) and inner == value.strip()):
            break
        value = inner
    return value


def asked(value: Any) -> Messages | None:
    """The messages in a decoded input; None where it has another shape."""
    if isinstance(value, list):
        return _messages(value)
    if not isinstance(value, dict):
        return None
    if (message := _message(value)) is not None:
        return [message]
    if isinstance(value.get("messages"), list):
        return _messages(value["messages"])
    for name in _QUESTIONS:
        inner = value.get(name)
        if inner and isinstance(inner, str):
            return [{"role": "user", "content": inner}]
        if inner and (found := asked(inner)):
            return found
    if "args" in value or "kwargs" in value:
        return _arguments(value)
    return None


def answered(value: Any) -> Messages | None:
    """The messages in a decoded output that answer; empty ones where tools were called; None for another shape."""
    if isinstance(value, list):
        if value and all(isinstance(item, dict) and item.keys() & _CALL_KEYS for item in value):
            return [{"role": "assistant", "content": None}]
        found = _messages(value)
        return _after_the_question(found) if found else None
    if not isinstance(value, dict):
        return None
    if (message := _message(value)) is not None:
        return [message]
    for name in ("choices", "candidates"):  # OpenAI, Gemini
        if isinstance(value.get(name), list):
            inner = [m for item in value[name] if isinstance(item, dict) and (m := _wrapped(item))]
            return inner or None
    if isinstance(value.get("messages"), list):
        return answered(value["messages"])
    if isinstance(value.get("output"), list) and value.get("object") == "response":  # OpenAI's Responses API
        return _messages(value["output"]) or [{"role": "assistant", "content": None}]
    return [message] if (message := _wrapped(value)) else None


def _messages(items: list[Any]) -> Messages | None:
    """Those of a list that are messages; calls of tools that stand between them are none."""
    found = [message for item in items if (message := _message(item)) is not None]
    return found or None


def _message(item: Any) -> dict[str, Any] | None:
    if not isinstance(item, dict):
        return None
    role = item.get("role")
    if item.get("type") == "constructor" and isinstance(item.get("kwargs"), dict):  # LangChain's own serialisation
        name = item["id"][-1] if isinstance(item.get("id"), list) and item["id"] else ""
        item, role = item["kwargs"], _ROLES.get(str(name).removesuffix("Chunk").removesuffix("Message").lower())
    elif not role and "content" in item:
        role = _ROLES.get(str(item.get("type")))
    if not isinstance(role, str) or not role:
        return None
    extra = item.get("additional_kwargs")
    kept = {name: item[name] for name in ("parts", "content", "text", "refusal", "finish_reason") if name in item}
    if isinstance(extra, Mapping) and isinstance(extra.get("refusal"), str):
        kept["refusal"] = extra["refusal"]
    return {**kept, "role": role.lower()}


def _wrapped(item: dict[str, Any]) -> dict[str, Any] | None:
    """The message in `{"message": …, "finish_reason": …}` or `{"content": …}`, with the reason why it ended."""
    inner = item.get("message", item.get("content"))
    if isinstance(inner, dict):
        message = _message(inner)
        if message is None and ("parts" in inner or "content" in inner):
            message = {**inner, "role": "assistant"}
    else:
        message = {"role": "assistant", "content": inner} if inner and isinstance(inner, (str, list)) else None
    reason = item.get("finish_reason", item.get("finishReason"))
    return {**message, "finish_reason": reason} if message and isinstance(reason, str) else message


def _after_the_question(messages: Messages) -> Messages:
    """An agent's output may be the whole conversation: what was said last is the answer."""
    asked_at = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=-1)
    return messages[asked_at + 1 :] if asked_at + 1 < len(messages) else messages


def _arguments(call: dict[str, Any]) -> Messages | None:
    """A decorated function's arguments, where they are text and nothing else."""
    positional, named = call.get("args") or [], call.get("kwargs") or {}
    if not isinstance(positional, list) or not isinstance(named, dict):
        return None
    values = [*positional, *named.values()]
    if len(values) == 1 and isinstance(values[0], str) and values[0]:
        return [{"role": "user", "content": values[0]}]
    return None
