"""OpenRouter: answers of its generation API, and the export of its activity with one row a generation.

Tokens are the provider's own (`native_…`), by which it bills; the others are counted by one tokenizer for all models.
Costs are in USD. Where a key of the customer's own is used, the provider's charge comes on top of OpenRouter's. Of
`latency` the documentation says that it is the total; where it is less than the time of generation, it cannot be.
"""

from collections.abc import Iterator
from typing import Any

from kpi.ingest.formats import Item, Say, count_of, exact, names_of, objects
from kpi.ingest.formats._gateways import Gateway, Row, amount, call, columns, flag

_DATA = names_of(__file__)
_GATEWAY = Gateway(**_DATA.table["gateway"])


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One generation."""
    row = columns(record)
    say.left_out(row, _GATEWAY.read)
    attempts = [c for a in objects(row.get("provider_responses")) if (c := count_of(a.get("status"))) is not None]
    failed = [code for code in attempts if code >= 400]
    more: dict[str, Any] = {"cost_usd": _cost(row), "retries": len(failed) or None, **_lengths(row, say)}
    ending = str(row.get("finish_reason") or row.get("finish_reason_normalized") or "").lower()
    if flag(row.get("cancelled")):
        more |= {"status": "error", "error_type": "cancelled"}
    elif ending == "error" or (failed and len(failed) == len(attempts)):
        more |= {"status": "error", "error_type": str(failed[-1]) if failed else "error"}
    else:
        more["status"] = "ok"
    kind = "embedding" if str(row.get("api_type") or "").lower() == "embeddings" else "llm"
    yield call(_GATEWAY, row, say, kind=kind, name=row.get("api_type") or kind, **more)


def _cost(row: Row) -> Any:
    """What the generation cost in all."""
    charged = amount(row, _GATEWAY.cost)
    beside = amount(row, (("upstream_inference_cost", "usd"), ("byok_usage_inference", "usd")))
    own_key = flag(row.get("is_byok"))
    if beside and (own_key or (own_key is None and exact(row.get("byok_usage_inference")))):
        return (charged or 0) + beside
    return charged


def _lengths(row: Row, say: Say) -> dict[str, Any]:
    """seconds and ttft_seconds, by what the two times of a row can be."""
    took = amount(row, (("generation_time_ms", "ms"), ("generation_time", "ms")))
    if (told := amount(row, (("time_to_first_token_ms", "ms"),))) is not None:
        return {"seconds": took, "ttft_seconds": told}
    latency = amount(row, (("latency", "ms"),))
    if latency is None or took is None:
        return {"seconds": latency if took is None else took}
    if latency >= took:
        return {"seconds": latency}
    say.note(_DATA.table["notes"]["first_token"])
    return {"seconds": took, "ttft_seconds": latency}
