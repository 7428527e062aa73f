"""What was asked and answered, in the wrappings in which frameworks hand it to Langfuse.

Langfuse keeps whatever an instrumentation recorded: text, text quoted once or twice as JSON, a Python repr, a
function's arguments, a body of a provider. What is inside the wrapping, `_replies` understands.
"""

from typing import Any

from kpi.ingest.files.records import from_cell
from kpi.ingest.formats import _replies, parse

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


def asked(value: Any) -> Any:
    """What a decoded input asks: messages, a text, or the input as it is."""
    if isinstance(value, list):  # the Responses API puts calls of tools between the messages
        return _replies.question([v for v in value if not _is_call(v)] or value)
    if not isinstance(value, dict):
        return value
    if message := _replies.messages([value]):
        return message
    for name in ("new_message", "contents", "messages", "prompt"):
        inner = value.get(name)
        if isinstance(inner, str) or (isinstance(inner, (dict, list)) and inner):
            return asked(inner)
    if value.keys() <= {"args", "kwargs"}:
        return _argument(value)
    return _replies.question(value)


def answered(value: Any) -> tuple[Any, str | None]:
    """(what a decoded output answers, why the model stopped). Mere calls of tools answer nothing."""
    listed = value.get("output") if isinstance(value, dict) else value
    if isinstance(listed, list) and listed and all(map(_is_call, listed)):
        return None, None
    inner = value.get("message", value.get("content")) if isinstance(value, dict) else None
    if isinstance(inner, dict):
        return _reply({"choices": [{"message": {"role": "assistant", **inner}}]}, value)
    if isinstance(inner, list) and "role" not in value:
        return _reply({**value, "role": "assistant"}, value)
    return _reply(value, value[-1] if isinstance(value, list) and value else value)


def _reply(value: Any, ended: Any) -> tuple[Any, str | None]:
    """ended: the object that may say why the model stopped."""
    found = _replies.reply(value)
    reason = ended.get("finish_reason", ended.get("finishReason")) if isinstance(ended, dict) else None
    return found.output, found.finish or (reason if isinstance(reason, str) else None)


def _is_call(item: Any) -> bool:
    if not isinstance(item, dict) or "role" in item:
        return False
    return bool(item.keys() & _CALL_KEYS) or item.get("type") == "reasoning"  # thinking that led to the calls


def _argument(call: dict[str, Any]) -> Any:
    """The one argument of a decorated function; all of them where there are more."""
    positional, named = call.get("args") or [], call.get("kwargs") or {}
    if not isinstance(positional, list) or not isinstance(named, dict):
        return call
    values = [*positional, *named.values()]
    return asked(values[0]) if len(values) == 1 else call
