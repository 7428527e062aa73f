"""What the logs of gateways have in common: a row is one call over HTTP, its columns are facts in a stated unit.

A gateway is data: columns for each fact, the most telling first, and the unit of its lengths and costs. That the call
of HTTP succeeded says that nothing failed technically; whether the task succeeded, no gateway knows.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import orjson

from kpi.ingest.formats import Say, Span, count_of, exact, fields, first_of, mapping, renamed, span, truth_of
from kpi.ingest.formats._bodies import Answer, answer, question
from kpi.ingest.otlp.conventions import TOKENS
from kpi.mapping.column_names import words

Row = Mapping[str, Any]
_UNITS = {
    "s": Decimal(1), "ms": Decimal("1e-3"), "us": Decimal("1e-6"), "ns": Decimal("1e-9"), "usd": Decimal(1),
    "cents": Decimal("1e-2"), "micro_usd": Decimal("1e-6"), "nano_usd": Decimal("1e-9")}  # fmt: skip
_KINDS = (("embedding", "embedding"), ("rerank", "reranker"), ("moderation", "guardrail"))
_USERS = ("_user", "user", "user_id", "userId", "end_user", "end_user_id")
SHARED = "Calls that share a trace id are one request."
UNPRICED = "{} writes a cost of 0 for models whose price it does not know: such a cost counts as unknown."


@dataclass(frozen=True)
class Gateway:
    """One gateway's columns, in lower case with underscores.

    facts: fact of `builder.span` -> columns. seconds, ttft, cost: (column, unit). request, response: columns of the
    bodies. metadata: columns that may be cohorts. own: what is read besides, said twice, or the gateway's own affair.
    """

    title: str
    facts: Mapping[str, str]
    seconds: tuple[tuple[str, str], ...] = ()
    ttft: tuple[tuple[str, str], ...] = ()
    cost: tuple[tuple[str, str], ...] = ()
    status: str = "status_code"
    request: str = "request"
    response: str = "response"
    path: str = "path"
    metadata: str = ""
    own: str = ""

    @cached_property
    def read(self) -> frozenset[str]:
        """All columns that have a meaning."""
        measured = (name for name, _ in (*self.seconds, *self.ttft, *self.cost))
        told = (self.status, self.request, self.response, self.path, self.metadata, self.own, *measured)
        return fields(*self.facts.values(), *told)


def columns(record: Row) -> dict[str, Any]:
    """A record under names in lower case with underscores; of two spellings of a name, the one that holds something."""
    return renamed(record, lambda key: "_".join(words(key)) or key)


def first(row: Row, names: str) -> Any:
    """What the first of these columns that holds something holds; None where none does."""
    return first_of(row, *names.split())


def call(gateway: Gateway, row: Row, say: Say, **more: Any) -> Span:
    """One call as a span. more: facts of `builder.span` that the gateway's own module knows better."""
    body, said = body_of(first(row, gateway.request)), answer(_stream(body_of(first(row, gateway.response))))
    facts = {name: first(row, names) for name, names in gateway.facts.items()}
    span_id = facts.pop("id", None) or own_id(row)
    trace_id = facts.pop("trace", None)
    if trace_id and trace_id != span_id:
        say.note(SHARED)
    kind = more.pop("kind", None) or kind_of_path(first(row, gateway.path))
    used = tokens(facts, said)
    cost = more.pop("cost_usd") if "cost_usd" in more else amount(row, gateway.cost)
    if cost == 0 and any(used.values()) and not more.get("cached"):
        say.note(UNPRICED.format(gateway.title))
        cost = None
    told = mapping(facts.pop("metadata", None))
    told = {**{n: row.get(n) for n in gateway.metadata.split()}, **told, **(more.pop("metadata", None) or {})}
    told["cache_hit"] = more.pop("cached", None)
    user = more.pop("user", None) or facts.pop("user", None) or first(told, " ".join(_USERS)) or body.get("user")
    facts.pop("user", None)
    stated = {
        "kind": kind, "seconds": amount(row, gateway.seconds), "ttft_seconds": amount(row, gateway.ttft),
        "name": endpoint(first(row, gateway.path)) or kind, "input": question(body),
        "output": said.output if kind == "llm" else None, "finish_reason": said.finish if kind == "llm" else None,
        **status(row, gateway.status, mapping(body_of(first(row, gateway.response)))),
        **{name: value for name, value in facts.items() if value is not None}, **used, **more}  # fmt: skip
    if "streamed" in stated:
        stated["streamed"] = flag(stated["streamed"])
    hidden = {k: v for k, v in told.items() if k not in _USERS}
    return span(trace_id or span_id, span_id, user=user, metadata=hidden, cost_usd=cost, **stated)


def own_id(row: Row) -> str:
    """An id for a row that has none, from all that it holds: the same row has the same id in every load."""
    text = orjson.dumps({k: v for k, v in row.items() if v not in (None, "")}, default=str,
                        option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)  # fmt: skip
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def flag(value: Any) -> bool | None:
    """A boolean, also as the number that a table makes of it: 1, "0.0"."""
    told = exact(value)
    return truth_of(value) if told is None else bool(told)


def amount(row: Row, measured: tuple[tuple[str, str], ...]) -> Decimal | None:
    """The first of these (column, unit) that holds a length or cost, in seconds or USD; sentinels below 0 hold none."""
    for name, unit in measured:
        if (found := exact(row.get(name))) is not None and found >= 0:
            return found * _UNITS[unit]
    return None


def tokens(facts: dict[str, Any], said: Answer) -> dict[str, Any]:
    """Columns first, the provider's body for what they lack. Takes its facts out of `facts`.

    Where the columns leave out the cached tokens that the body counts, the body's input is the one that has them all.
    """
    found = {name: count_of(facts.pop(name, None)) for name in TOKENS}
    body = said.tokens
    if found["input_tokens"] is None and found["output_tokens"] is None:
        return {name: body.get(name) for name in TOKENS}
    cached = sum(body.get(n) or 0 for n in ("cached_read_tokens", "cache_write_tokens"))
    if cached and body.get("input_tokens") and body["input_tokens"] - cached == found["input_tokens"]:
        found["input_tokens"] = body["input_tokens"]
    return {name: body.get(name) if value is None else value for name, value in found.items()}


def status(row: Row, names: str, result: Row) -> dict[str, Any]:
    """status, error_type and message of `builder.span` from a code of HTTP; nothing where none is told."""
    if (code := count_of(first(row, names))) is None:
        return {}
    if code < 400:
        return {"status": "ok"}
    error = result.get("error")
    told = mapping(error)
    message = told.get("message") or (error if isinstance(error, str) else None) or result.get("message")
    return {"status": "error", "error_type": str(told.get("type") or told.get("code") or code), "message": message}


def success(row: Row, name: str, code: str) -> dict[str, Any]:
    """The status that a column of truth tells, where no code of HTTP tells more."""
    told = flag(row.get(name))
    if told is False and (count_of(row.get(code)) or 0) < 400:
        return {"status": "error", "error_type": "failure"}
    return {"status": "ok"} if told and row.get(code) in (None, "") else {}


def kind_of_path(path: Any, more: tuple[tuple[str, str], ...] = ()) -> str:
    """The kind of a call from where it went: `/v1/embeddings` is an embedding, most are calls of a model.

    more: (part of the path, kind) beside those of all gateways.
    """
    lower = str(path or "").lower()
    return next((kind for word, kind in (*_KINDS, *more) if word in lower), "llm")


def endpoint(path: Any) -> str:
    """`https://host/v1/chat/completions?x` -> `chat/completions`: the host is the provider's or a proxy's."""
    return re.sub(r"^(?:\w+://[^/]*)?/?(?:v\d\w*/)?", "", str(path or "").partition("?")[0])


def body_of(value: Any) -> Any:
    """A body: an object or list, its JSON text, or what stands under `body` beside headers; {} for none."""
    found = value
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except ValueError:
            return value if value.lstrip().startswith(("data:", "event:")) else {}
    if isinstance(found, dict) and "body" in found:
        return body_of(found["body"])
    return found if isinstance(found, dict | list) else {}


def _stream(body: Any) -> Any:
    """The chunks in a text of server-sent events; every other body as it is."""
    if not isinstance(body, str):
        return body
    chunks = []
    for line in body.splitlines():
        if line.startswith("data:"):
            with suppress(ValueError):  # `[DONE]`
                chunks.append(json.loads(line[5:]))
    return chunks
