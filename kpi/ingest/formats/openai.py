"""OpenAI stored completions: the answer of the list endpoint, its completions one a line, and their messages.

Such a list says when a completion began, in whole seconds, but neither how long it took nor what it cost, and it holds
no failures. What was asked is in another endpoint (`/{id}/messages`): its answers may be loaded beside the list.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kpi.ingest.formats import Item, Say, first_of, mapping, names_of, objects, span, whole
from kpi.ingest.formats._bodies import answer, moderation

_DATA = names_of(__file__)
_SESSIONS = ("session_id", "conversation_id", "thread_id")


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One completion, one message of a completion, or a page of either."""
    if "choices" in record:
        yield from _completion(record, say)
    elif "role" in record:
        _message(record, say)
    else:
        if record.get("has_more") is True:
            say.note(f"{say.file} is one page of a longer list: load the following pages as well.")
        for item in objects(record.get("data")):
            if "choices" in item or "role" in item:
                yield from translate(item, say)
            else:
                say.drop("not a stored completion", "Only completions and their messages are read.")


def finish(say: Say) -> Iterator[Item]:
    """What was asked: of each completion the last message of the user, once all messages are there."""
    for trace_id, (_, message) in say.kept.items():
        yield whole(trace_id, input=[message])


def _message(record: Mapping[str, Any], say: Say) -> None:
    """Messages are numbered: `<id of the completion>-<number>`."""
    say.left_out(record, _DATA.sets["message"], "messages")
    trace_id, _, number = str(record.get("id") or "").rpartition("-")
    if not trace_id or not number.isdigit():
        say.drop("message without the id of its completion", "Its id should be that of the completion and a number.")
    elif record.get("role") == "user":
        content = record.get("content") or record.get("content_parts")
        told = say.kept.get(trace_id)
        if content and (told is None or told[0] < int(number)):
            say.kept[trace_id] = (int(number), {"role": "user", "content": content})


def _completion(record: Mapping[str, Any], say: Say) -> Iterator[Item]:
    say.left_out(record, _DATA.sets["fields"])
    say.note("Stored completions state no latency, no cost and no failures: such figures are unknown.")
    trace_id, start = record.get("id"), record.get("created")
    own, said = mapping(record.get("metadata")), answer(dict(record))
    settings = {name: record.get(name) for name in ("temperature", "top_p", "service_tier")}
    yield span(
        trace_id, trace_id, name="chat.completion", kind="llm", start=start, status="ok", model=record.get("model"),
        provider="openai", output=said.output, finish_reason=said.finish, metadata={**settings, **own},
        user=record.get("input_user") or own.get("user_id"), session=first_of(own, *_SESSIONS), **said.tokens,
    )  # fmt: skip
    verdicts = mapping(record.get("moderation"))
    for side in ("input", "output"):
        if verdict := mapping(verdicts.get(side)):
            yield _moderation(verdict, trace_id=trace_id, span_id=f"{trace_id}:moderation:{side}", start=start)


def _moderation(verdict: Mapping[str, Any], **ids: Any) -> Item:
    """The inline safety verdict of one side. Of several categories that hit, the one of the highest score names it."""
    failed = verdict.get("type") == "error"
    return span(
        **ids, parent_id=ids["trace_id"], name="moderation", kind="guardrail", status="error" if failed else "ok",
        error_type=verdict.get("code") or "error" if failed else None, message=verdict.get("message"),
        output=moderation(verdict),
        attributes={"gen_ai.guardrail.component.name": verdict.get("model") or "moderation"})  # fmt: skip
