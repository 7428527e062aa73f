"""What was asked and what was answered, in the bodies of providers and the messages of LangChain.

Exports that keep inputs and outputs of a call as they came share these shapes: OpenAI (chat, completions, responses),
Anthropic, Gemini, LangChain (serialised messages, generations, documents), and plain functions.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kpi.disk.tables import by_word, lists, table_of
from kpi.ingest.formats import count_of, first_of, first_read, mapping, objects, parse

_DATA = table_of(__file__)
_ROLES = by_word(_DATA["roles"])
_ASKED, _ANSWERED, _USAGES = (tuple(_DATA[table].split()) for table in ("asked", "answered", "usages"))
_DETAILS = lists(_DATA["details"])
_COUNTS = {place: lists(facts) for place, facts in _DATA["counts"].items()}  # where a count stands -> fact -> its names
_BESIDE = lists(_DATA["beside"])
_DEPTH = 4


class Reply(NamedTuple):
    """What a call answered. output: text, or `{choices}` for `kpi.ingest.otlp.messages`; usage: as the body has it."""

    output: Any
    finish: str | None = None
    model: str | None = None
    usage: Mapping[str, Any] | None = None
    tool_call_id: str | None = None


def messages(value: Any) -> list[dict[str, Any]]:
    """Messages of LangChain or a provider as `{role, content, …}`; empty where `value` is no list of them."""
    value = parse(value)
    if not isinstance(value, list) or not value:
        return []
    if all(isinstance(v, list) and not _is_pair(v) for v in value):  # LangChain keeps a list for each prompt
        value = [message for inner in value for message in inner]
    found = [_message(v) for v in value]
    return [m for m in found if m] if all(found) else []


def question(value: Any) -> Any:
    """What was asked, from the inputs of a call: messages, or a plain function's text; else the inputs themselves."""
    value = parse(value)
    if not isinstance(value, dict):
        return messages(value) or value
    for name in ("messages", "input", "contents", "chat_history"):
        if found := messages(value.get(name)):
            return found
    return _named(value, _ASKED)


def reply(value: Any, depth: int = 0) -> Reply:
    """What was answered, from the outputs of a call."""
    value = parse(value)
    if isinstance(value, list) and (found := _last_answer(value)):
        return found
    if not isinstance(value, dict) or depth > _DEPTH:
        return Reply(value)
    if isinstance(value.get("generations"), list):
        return _generated(value)
    model = _text(value.get("model") or value.get("model_name"))
    usage = _usage_of(value)
    if isinstance(value.get("choices"), list):
        choices = objects(value["choices"])
        told = [c if "message" in c else {"message": _assistant(c.get("text"))} for c in choices]
        return Reply({"choices": told}, _finish(choices), model, usage)
    if isinstance(value.get("candidates"), list):
        candidates = objects(value["candidates"])
        told = [{"message": c["content"]} for c in candidates if isinstance(c.get("content"), dict)]
        return Reply({"choices": told}, _finish(candidates), _text(value.get("modelVersion")) or model, usage)
    items = value.get("output")
    if isinstance(items, list) and any(isinstance(i, dict) and i.get("type") == "message" for i in items):
        told = [{"message": i} for i in objects(items) if i.get("type") == "message"]
        return Reply({"choices": told}, None, model, usage)
    if (said := _message(value)) and ("content" in said or "refusal" in said):
        return _of_message(value, said, model, usage)
    if isinstance(value.get("messages"), list) and (found := _last_answer(value["messages"])):
        return found
    rest = {k: v for k, v in value.items() if k not in _USAGES}
    if len(rest) == 1 and isinstance(inner := next(iter(rest.values())), (dict, list)):
        found = reply(inner, depth + 1)
        return found._replace(output=rest if found.output is inner else found.output, usage=usage or found.usage)
    return Reply(_named(rest, _ANSWERED), None, model, usage)


def counts(usage: Mapping[str, Any] | None) -> dict[str, int | None]:
    """Token facts for `observed.span`, from a usage object of OpenAI, Anthropic, Gemini, Bedrock or LangChain.

    Anthropic and Bedrock leave cached tokens out of the input: they are added, so that it includes them as elsewhere.
    """
    if not usage:
        return {}
    places = {"usage": usage, **{side: mapping(first_of(usage, *names)) for side, names in _DETAILS.items()}}
    found: dict[str, int | None] = {}
    for where, facts in _COUNTS.items():
        for fact, names in facts.items():
            if found.get(fact) is None:
                found[fact] = first_read(places[where], names, count_of)
    beside = {fact: first_read(usage, names, count_of) for fact, names in _BESIDE.items()}
    # A gateway that says `prompt_tokens`, as OpenAI does, has added the cache already and repeats Anthropic's counts.
    if any(beside.values()) and found["input_tokens"] is not None and usage.get("prompt_tokens") is None:
        found["input_tokens"] += sum(count or 0 for count in beside.values())
    return found | {fact: count for fact, count in beside.items() if count is not None}


def documents(value: Any) -> list[dict[str, Any]] | None:
    """Retrieved chunks as `{id, score, content}`, from LangChain's documents or dicts like them; None for no list."""
    value = parse(value)
    if isinstance(value, dict):
        lists = [value[n] for n in ("documents", "output", "results", "docs", "context", "chunks") if n in value]
        value = next((found for v in lists if isinstance(found := parse(v), list)), None)
    if not isinstance(value, list):
        return None
    return [_document(v) for v in value if isinstance(v, (dict, str))]


def _document(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"content": value}
    value = value["kwargs"] if isinstance(value.get("kwargs"), dict) else value
    if isinstance(value.get("document"), dict):  # a pair of document and score
        value = {**value["document"], "score": value.get("score")}
    both = (value, mapping(value.get("metadata")))
    return {
        "id": _first(both, "id", "document_id", "doc_id", "doc_uri", "source", "url", "uri", "chunk_id"),
        "score": _first(both, "score", "relevance_score", "similarity", "similarity_score"),
        "content": _first((value,), "page_content", "content", "text"),
    }


def _first(places: tuple[Mapping[str, Any], ...], *names: str) -> Any:
    return next((p[n] for n in names for p in places if p.get(n) is not None and p[n] != ""), None)


def _is_pair(value: list[Any]) -> bool:
    return len(value) == 2 and isinstance(value[0], str) and value[0].lower() in _ROLES


def _body(value: Any) -> dict[str, Any]:
    """The inside of a serialised message: `kwargs` of a constructor, or `data` beside a type."""
    for name in ("kwargs", "data"):
        if isinstance(value, dict) and isinstance(value.get(name), dict) and ("type" in value or "lc" in value):
            path = value.get("id")
            named = path[-1] if isinstance(path, list) and path else value.get("type")
            return {**value[name], "type": value[name].get("type") or named}
    return value if isinstance(value, dict) else {}


def _message(value: Any) -> dict[str, Any] | None:
    if isinstance(value, list) and _is_pair(value):
        return {"role": _ROLES[value[0].lower()], "content": value[1]}
    body = _body(value)
    stated = body.get("role") or body.get("type")
    role = _ROLES.get(stated.lower()) if isinstance(stated, str) else None
    if role is None or not body.keys() & {"content", "parts", "tool_calls", "refusal"}:
        return None
    found = {name: body[name] for name in ("content", "parts", "refusal") if body.get(name) is not None}
    if refusal := mapping(body.get("additional_kwargs")).get("refusal"):
        found["refusal"] = refusal
    return {"role": role, **found}


def _of_message(value: Any, said: dict[str, Any], model: str | None, usage: Mapping[str, Any] | None) -> Reply:
    body = _body(value)
    told = mapping(body.get("response_metadata"))
    finish = _text(body.get("stop_reason") or told.get("finish_reason") or told.get("stop_reason"))
    answered = said if said["role"] == "assistant" else {"role": "assistant", "content": said.get("content")}
    return Reply(
        {"choices": [{"message": answered}]}, finish,
        _text(told.get("model_name") or told.get("model")) or model, usage or _usage_of(body) or _usage_of(told),
        _text(body.get("tool_call_id")))  # fmt: skip


def _generated(value: dict[str, Any]) -> Reply:
    """LangChain's result of a model call: `generations`, one list for each prompt, and `llm_output`."""
    flat = [g for inner in value["generations"] for g in (inner if isinstance(inner, list) else [inner])]
    told = mapping(value.get("llm_output"))
    choices, finish, model, usage = [], None, _text(told.get("model_name") or told.get("model")), _usage_of(told)
    for generation in objects(flat):
        said = _message(generation.get("message"))
        choices.append({"message": said or _assistant(generation.get("text"))})
        finish = finish or _text(mapping(generation.get("generation_info")).get("finish_reason"))
        if said:
            inner = _of_message(generation["message"], said, None, None)
            finish, model, usage = finish or inner.finish, model or inner.model, inner.usage or usage
    return Reply({"choices": choices}, finish, model, usage)


def _last_answer(listed: list[Any]) -> Reply | None:
    """The last thing said in a list of messages, when it is no one's question."""
    found = messages(listed)
    if not found or found[-1]["role"] in ("user", "system"):
        return None
    last = listed[-1]
    while isinstance(last, list) and last and not _is_pair(last):
        last = last[-1]
    return _of_message(last, found[-1], None, None)


def _assistant(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _usage_of(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((body[n] for n in _USAGES if isinstance(body.get(n), dict) and body[n]), None)


def _finish(choices: list[dict[str, Any]]) -> str | None:
    return next((_text(c.get("finish_reason") or c.get("finishReason")) for c in choices), None)


def _named(value: dict[str, Any], names: tuple[str, ...]) -> Any:
    """The text under the most telling name of a function's arguments or results; None where all are empty."""
    texts = [value[n] for n in names if isinstance(value.get(n), str) and value[n]]
    held = [v for v in value.values() if v is not None]
    if not texts and len(held) == 1 and isinstance(held[0], str):
        return held[0] or None
    return texts[0] if texts else value if held else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
