"""Claude Code's own session files, `~/.claude/projects/*/*.jsonl`: one line an entry of the conversation.

A request is one prompt of the user in a session: a user's entry that is neither the result of a tool nor written by
the program. What follows until the next prompt belongs to it, subagents included, which are entries of the same
session. One answer of the model is several lines with the same message id, whose usage is repeated on each: it counts
once, as the fullest of them has it, also where a resumed session copied it. A call began when what it answers was
written, and ended with its last line: the format states no lengths. Rests on recorded transcripts and on descriptions
of the format, which its makers call internal.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kpi.ingest.agents.names import EDIT_TOOLS, MODEL_CALL
from kpi.ingest.formats import Item, Say, Score, ended, facts_in, names_of, nanos, span, stable_id, text_blocks, whole
from kpi.ingest.otlp.attributes import count_of, mapping, objects, text_of

_DATA = names_of(__file__)
_SYNTHETIC = "<synthetic>"  # the model of what the program itself says in the model's place
_BY_THE_PROGRAM = ("<command-", "<local-command-", "<bash-", "[Request interrupted", "Caveat: The messages below")
_REJECTED = ("User rejected", "The user doesn't want to")


class _Prompt(NamedTuple):
    at: int
    uuid: str
    text: str


class _Call:
    """One answer of a model, gathered from its lines."""

    def __init__(self, at: int, session: str) -> None:
        self.first = self.last = at
        self.session = session
        self.parent: str | None = None
        self.model: Any = None
        self.usage: Mapping[str, Any] = {}
        self.cost: Any = None
        self.texts: dict[str, None] = {}
        self.failed = False


class _Tool:
    """One use of a tool: what was asked for, and what came back."""

    def __init__(self) -> None:
        self.name: Any = None
        self.arguments: Any = None
        self.session = ""
        self.began: int | None = None
        self.ended: int | None = None
        self.result: Any = None
        self.failed: bool | None = None
        self.rejected = False


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One entry; it is kept until all are read, for lines and files may come in any order."""
    kind, session, at = record.get("type"), text_of(record.get("sessionId")), nanos(record.get("timestamp"))
    if kind not in ("user", "assistant") or session is None:
        return
    if at is None:
        say.drop("entry of a session without a time")
        return
    say.left_out(record, _DATA.sets["read"])
    moments = say.kept.setdefault("moments", {})
    moments[text_of(record.get("uuid"))] = at
    say.kept.setdefault("versions", {})[session] = record.get("version")
    message = record.get("message")
    if kind == "assistant":
        _answer(record, mapping(message), session, at, say)
    else:
        _asked(record, message, session, at, say)
    yield from ()


def _answer(record: Mapping[str, Any], message: dict[str, Any], session: str, at: int, say: Say) -> None:
    failed = bool(record.get("isApiErrorMessage"))
    for block in objects(message.get("content")):
        if block.get("type") == "tool_use" and (use := text_of(block.get("id"))):
            tool = say.kept.setdefault("tools", {}).setdefault(use, _Tool())
            tool.name, tool.arguments, tool.session = block.get("name"), block.get("input"), session
            tool.began = at if tool.began is None else min(at, tool.began)
    if message.get("model") == _SYNTHETIC and not failed:
        return
    key = text_of(message.get("id")) or text_of(record.get("uuid")) or f"{session} {at}"
    calls = say.kept.setdefault("calls", {})
    if (call := calls.get(key)) is None:
        call = calls[key] = _Call(at, session)
    if at <= call.first:
        call.session, call.parent = session, text_of(record.get("parentUuid")) or call.parent
    call.first, call.last = min(at, call.first), max(at, call.last)
    call.failed = call.failed or failed
    if message.get("model") != _SYNTHETIC:
        call.model = message.get("model")
    usage = mapping(message.get("usage"))
    if (count_of(usage.get("output_tokens")) or 0) >= (count_of(call.usage.get("output_tokens")) or 0) and usage:
        call.usage = usage
    call.cost = record.get("costUSD") if record.get("costUSD") is not None else call.cost
    if text := text_blocks(message.get("content")):
        call.texts[text] = None


def _asked(record: Mapping[str, Any], message: Any, session: str, at: int, say: Say) -> None:
    content = mapping(message).get("content", message)
    results = [b for b in objects(content) if b.get("type") == "tool_result"] if isinstance(content, list) else []
    for block in results:
        if use := text_of(block.get("tool_use_id")):
            tool = say.kept.setdefault("tools", {}).setdefault(use, _Tool())
            tool.ended, tool.result = at, text_blocks(block.get("content"))
            tool.failed = block.get("is_error") is True
            told = record.get("toolUseResult")
            tool.rejected = any(isinstance(t, str) and t.startswith(_REJECTED) for t in (told, tool.result))
    text = text_blocks(content)
    own = record.get("isMeta") or record.get("isSidechain") or record.get("isCompactSummary")
    if text and not results and not own and not text.lstrip().startswith(_BY_THE_PROGRAM):
        uuid = text_of(record.get("uuid")) or str(at)
        say.kept.setdefault("prompts", {}).setdefault(session, {})[uuid] = _Prompt(at, uuid, text)


def finish(say: Say) -> Iterator[Item]:
    """The requests of all sessions."""
    kept = say.kept
    asked = {s: sorted(found.values()) for s, found in kept.get("prompts", {}).items()}
    requests: dict[tuple[str, str], tuple[_Prompt | None, list[tuple[str, _Call]], list[tuple[str, _Tool]]]] = {}

    def of(session: str, at: int) -> tuple[_Prompt | None, list[tuple[str, _Call]], list[tuple[str, _Tool]]]:
        prompt = next((p for p in reversed(asked.get(session, ())) if p.at <= at), None)
        return requests.setdefault((session, prompt.uuid if prompt else ""), (prompt, [], []))

    for key, call in kept.get("calls", {}).items():
        of(call.session, call.first)[1].append((key, call))
    for key, tool in kept.get("tools", {}).items():
        if tool.began is not None:
            of(tool.session, tool.began)[2].append((key, tool))
    for (session, uuid), (prompt, calls, tools) in sorted(requests.items()):
        yield from _request(session, uuid, prompt, calls, tools, say)
    if calls_of := kept.get("calls"):
        say.note(_DATA.table["notes"]["timed"].format(len(calls_of)))


def _request(
    session: str, uuid: str, prompt: _Prompt | None, calls: list[tuple[str, _Call]], tools: list[tuple[str, _Tool]],
    say: Say,
) -> Iterator[Item]:  # fmt: skip
    trace = stable_id("agent", "claude-code", session, "entry", uuid)
    who = {"session": session, "release": say.kept["versions"].get(session), "cohorts": {"agent": "claude-code"}}
    calls.sort(key=lambda pair: (pair[1].first, pair[0]))
    ends = [call.last for _, call in calls] + [t.ended for _, t in tools if t.ended is not None]
    texts = [text for _, call in calls for text in call.texts]
    yield whole(
        trace, name="Claude Code prompt", start=prompt.at if prompt else None,
        end=max(ends) if prompt and ends else None,
        input=prompt.text if prompt else None, output=texts[-1] if texts else None, turns=1 if prompt else None,
        status=None if not calls else "error" if calls[-1][1].failed else "ok", **who)  # fmt: skip
    moments: Mapping[str | None, int] = say.kept["moments"]
    for key, call in calls:
        began = moments.get(call.parent)
        yield span(
            trace, stable_id(trace, key)[:16], kind="llm", name=f"claude_code{MODEL_CALL}", provider="anthropic",
            start=began if began is not None and began <= call.first else call.first, end=call.last,
            status="error" if call.failed else "ok", model=call.model, cost_usd=call.cost,
            output="\n".join(call.texts) or None, cache_included=False,
            **facts_in(call.usage, _DATA.facts["usage"]), **who)  # fmt: skip
    for key, tool in tools:
        if tool.rejected:
            name = "edit_accepted" if tool.name in EDIT_TOOLS else "tool_accepted"
            yield Score(trace, None, name, "user", 0.0, "reject", at=tool.ended, identifier=key)
            continue
        yield span(
            trace, stable_id(trace, key)[:16], kind="tool", name=tool.name, start=tool.began, end=tool.ended,
            tool={"name": tool.name, "id": key, "arguments": tool.arguments, "result": tool.result},
            **ended(tool.failed), **who)  # fmt: skip
