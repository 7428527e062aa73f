"""Databricks: inference tables of serving endpoints and of its AI Gateway, and the system tables of their usage.

An inference table holds the bodies of request and response, from which the tokens come; a table of usage holds counts
and no texts. Rows of both about one call have the same id and complete each other. Times are in milliseconds; neither
table knows a cost. Where the response of an agent holds its MLflow trace, the request is that trace, with its steps.
What Databricks calls the requester is who may call: a person only where it is an address.
"""

from collections.abc import Iterator
from typing import Any

from kpi.ingest.formats import Item, Say, count_of, exact, mapping, mlflow, names_of
from kpi.ingest.formats._gateways import Gateway, body_of, call, columns, first

_DATA = names_of(__file__)
_GATEWAY = Gateway(**_DATA.table["gateway"])
_NAMED = ("endpoint_name", "model_name", "model_version")
_END_USERS = "end_user end_user_id user_id user"


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One call of an endpoint."""
    row = columns(record)
    named = columns(mapping(row.get("request_metadata")))
    details = columns(mapping(row.get("token_details")))
    held = {name: value for name, value in row.items() if value is not None and value != ""}
    row = {**details, **{n: named[n] for n in _NAMED if n in named}, **held}
    say.left_out(row, _GATEWAY.read | frozenset(details))
    sampled = exact(row.get("sampling_fraction"))
    if sampled is not None and sampled < 1:
        say.note(f"The table holds a sample of the calls, {sampled.normalize():f} of all: counts and sums are of it.")
    if row.get("logging_error_codes") not in (None, "", []):
        say.note("Of some calls Databricks could not log the bodies: these have no texts, and no tokens from them.")
    result = mapping(body_of(row.get("response")))
    if trace := _trace(result, first(row, _GATEWAY.facts["id"])):
        yield from mlflow.translate(trace, say)
        return
    context = {**mapping(row.get("usage_context")), **mapping(row.get("request_tags"))}
    requester = str(row.get("requester") or "")
    yield call(
        _GATEWAY, row, say, kind=_kind(row),
        user=first(context, _END_USERS) or (requester if "@" in requester else None),
        model=first(row, _GATEWAY.facts["model"]) or result.get("model"),
        metadata={k: v for k, v in context.items() if k not in _END_USERS.split()})  # fmt: skip


def finish(say: Say) -> Iterator[Item]:
    """What the traces inside the responses lack."""
    yield from mlflow.finish(say)


def _trace(result: dict[str, Any], request_id: Any) -> dict[str, Any]:
    """The MLflow trace in the response of an agent, under the id of the request where it has none; {} for none."""
    trace = mapping(mapping(result.get("databricks_output")).get("trace"))
    info = mapping(trace.get("info"))
    if not info or "data" not in trace:
        return {}
    named = info.get("trace_id") or info.get("request_id")
    return {"info": {**info, **({} if named else {"request_id": request_id})}, "data": trace["data"]}


def _kind(row: dict[str, Any]) -> str | None:
    """An embedding where the body or the API says so; None leaves it to the path."""
    asked = mapping(body_of(row.get("request")))
    if "embedding" in str(row.get("api_type") or "").lower():
        return "embedding"
    embedded = "input" in asked and "messages" not in asked and not count_of(row.get("output_token_count"))
    return "embedding" if embedded and mapping(body_of(row.get("response"))).get("data") else None
