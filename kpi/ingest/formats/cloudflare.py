"""Cloudflare AI Gateway: logs of its API (`result` of a page, one log, rows), and events that Logpush delivers.

Durations are in milliseconds, costs in USD (types of Cloudflare's SDK; documentation of the Logpush data set
`ai_gateway_events`). Bodies of Logpush are encrypted and stay unread.
"""

from collections.abc import Iterator
from typing import Any

from kpi.ingest.formats import Item, Say, mapping, names_of, objects
from kpi.ingest.formats._gateways import Gateway, call, columns, flag, success

_DATA = names_of(__file__)
_GATEWAY = Gateway(**_DATA.table["gateway"])


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """The logs of a page of the API, or one log."""
    if isinstance(record.get("result"), list | dict) and "success" in record:
        for log in objects(record["result"]):
            if "provider" in log or "tokens_in" in log:
                yield from translate(log, say)
            else:
                say.drop("an answer of Cloudflare's API that is no log of its AI Gateway")
        return
    row = columns(record)
    row = {**columns(mapping(row.get("metrics"))), **{k: v for k, v in row.items() if v not in (None, "")}}
    say.left_out(row, _GATEWAY.read)
    more: dict[str, Any] = {"cached": flag(row.get("cached"))}
    limited = flag(row.get("rate_limited"))
    more |= {"status": "error", "error_type": "rate_limited"} if limited else success(row, "success", "status_code")
    if str(row.get("model_type") or "").lower() in ("embeddings", "embedding"):
        more["kind"] = "embedding"
    yield call(_GATEWAY, row, say, **more)
