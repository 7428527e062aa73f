"""Request and response bodies of model providers, as gateways log them: what was asked, answered and counted.

Calls that an application or a framework traces itself hold more kinds of values: see `_replies`.
OpenAI (chat, responses, completions), Anthropic, Gemini, and those of Bedrock (Converse, Cohere, Titan, Llama,
Mistral), whole or as the list of chunks of a stream. Bodies are recognised by their members, not by a name beside them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from kpi.ingest.formats._replies import counts
from kpi.ingest.otlp.attributes import mapping, objects

Message = dict[str, Any]
_QUESTIONS = ("inputText", "message", "prompt", "query", "input")
_TEXTS = ("outputText", "generation", "completion", "text")
_LISTS = ("results", "outputs", "generations", "completions")
_STOPS = ("stop_reason", "stopReason", "finish_reason", "finishReason", "completionReason")


class Answer(NamedTuple):
    """output: `{"choices": [{"message": …}]}`, or None for what is no text. finish: why it ended.

    tokens: facts of `observed.span`; the input includes cached tokens, whoever counted.
    """

    output: dict[str, Any] | None
    finish: str | None
    tokens: dict[str, Any]


def question(body: Any) -> Any:
    """What a request body asks: messages as `[{role, content}]`, or a plain text; None where it holds neither."""
    body = mapping(body)
    for name in ("messages", "contents", "input"):
        if found := [m for m in objects(body.get(name)) if "role" in m or "parts" in m]:
            return [_lifted(m, "user") for m in found]
    for name in _QUESTIONS:
        value = body.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
            return "\n".join(value)
    return None


def answer(body: Any) -> Answer:
    """What a response body says: an object, its JSON text, or the list of chunks of a stream."""
    chunks = objects(body)
    whole = chunks[0] if len(chunks) == 1 and not isinstance(body, list) else _joined(chunks)
    messages = _messages(whole)
    output = {"choices": [{"message": m} for m in messages]} if messages else None
    usage = mapping(whole.get("usage")) or mapping(whole.get("usageMetadata"))
    return Answer(output, _finish(whole), counts(usage))


def moderation(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the results of a moderation endpoint come to, as the output of a guardrail: `{flagged, categories}`.

    Categories that hit come in the order of their scores, the highest first.
    """
    scores: dict[str, float] = {}
    results = objects(body.get("results"))
    for result in results:
        known = mapping(result.get("category_scores"))
        for name, hit in mapping(result.get("categories")).items():
            score = known.get(name)
            if hit is True:
                scores[name] = max(scores.get(name, 0.0), float(score) if isinstance(score, (int, float)) else 0.0)
    flagged = any(result.get("flagged") is True for result in results)
    return {"flagged": flagged, "categories": sorted(scores, key=lambda name: (-scores[name], name))}


def _messages(body: Mapping[str, Any]) -> list[Message]:
    """The answers in one response body, whichever provider wrote it."""
    for choice in (c for name in ("choices", "candidates") for c in objects(body.get(name))):
        # Several choices are several tries at one answer; the first is what the application takes.
        message = mapping(choice.get("message") or choice.get("content"))
        return [_lifted(message, "assistant")] if message else _plain(choice.get("text"))
    if isinstance(body.get("content"), (str, list)) and body.get("type") in (None, "message"):
        return [{"role": "assistant", "content": body["content"]}]
    output = body.get("output")
    if isinstance(output, Mapping) and "message" in output:  # Converse
        return [_lifted(mapping(output["message"]), "assistant")]
    if isinstance(output, list):  # the Responses API
        return [_lifted(m, "assistant") for m in objects(output) if m.get("type") == "message"]
    for name in _LISTS:
        for result in objects(body.get(name)):
            return _plain(next((result[n] for n in _TEXTS if isinstance(result.get(n), str)), None))
    return _plain(next((body[n] for n in _TEXTS if isinstance(body.get(n), str)), None))


def _plain(text: Any) -> list[Message]:
    return [{"role": "assistant", "content": text}] if isinstance(text, str) and text else []


def _lifted(message: Mapping[str, Any], role: str) -> Message:
    """A message with the refusal that some gateways tuck away beside the provider's own fields."""
    refusal = message.get("refusal") or mapping(message.get("provider_specific_fields")).get("refusal")
    stated = str(message.get("role") or role)
    found = {"role": "assistant" if stated == "model" else stated, "content": message.get("content")}
    if message.get("parts") is not None:
        found = {**found, "content": message["parts"]}
    return {**found, "refusal": refusal} if refusal else found


def _finish(body: Mapping[str, Any]) -> str | None:
    nested = (c for name in ("choices", "candidates", *_LISTS) for c in objects(body.get(name)))
    for place in (body, *nested):
        for name in _STOPS:
            if isinstance(place.get(name), str) and place[name]:
                return str(place[name]).lower()
    return None


def _joined(chunks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The chunks of a stream as one body: text put together, usage and reason of stopping as last stated."""
    texts: list[str] = []
    whole: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    for chunk in chunks:
        texts += [text for text in _pieces(chunk) if isinstance(text, str)]
        started = mapping(chunk.get("message"))
        for place in (chunk, started, mapping(chunk.get("delta")), mapping(chunk.get("messageStop")),
                      mapping(chunk.get("metadata"))):  # fmt: skip
            usage |= {k: v for k, v in mapping(place.get("usage")).items() if v is not None}
            whole |= {k: v for k, v in place.items() if k.startswith("amazon-bedrock-") or k in ("metrics", "trace")}
            if finish := _finish(place):
                whole["finish_reason"] = finish
    return {**whole, "usage": usage, **({"content": "".join(texts)} if texts else {})}


def _pieces(chunk: Mapping[str, Any]) -> Iterable[Any]:
    """The text that one chunk adds."""
    for choice in objects(chunk.get("choices")):
        yield mapping(choice.get("delta")).get("content") or choice.get("text")
    for candidate in objects(chunk.get("candidates")):
        yield from (part.get("text") for part in objects(mapping(candidate.get("content")).get("parts")))
    yield mapping(chunk.get("delta")).get("text")
    yield mapping(mapping(chunk.get("contentBlockDelta")).get("delta")).get("text")
    for result in objects(chunk.get("outputs")):
        yield result.get("text")
    if chunk.get("event_type") != "stream-end":  # Cohere's last chunk repeats the whole
        yield next((chunk[n] for n in _TEXTS if isinstance(chunk.get(n), str)), None)
