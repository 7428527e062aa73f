"""Portkey: the export of its logs, one call a row, with the columns that were asked for.

Costs are in cents of a USD, times in milliseconds (Portkey's documentation, "Logs Export"). Calls that share a trace
id are one request; of its attempts the last one says whether it failed.
"""

from collections.abc import Iterator
from typing import Any

from kpi.ingest.formats import Item, Say, mapping, names_of
from kpi.ingest.formats._gateways import Gateway, call, columns, success

_DATA = names_of(__file__)
_GATEWAY = Gateway(**_DATA.table["gateway"])
_OWN_METADATA = {"_organisation": "tenant", "_prompt": "prompt"}


def translate(record: dict[str, Any], say: Say) -> Iterator[Item]:
    """One call."""
    row = columns(record)
    say.left_out(row, _GATEWAY.read)
    told = mapping(row.get("metadata"))
    cache = str(row.get("cache_status") or "disabled").lower()
    more: dict[str, Any] = {"cached": None if cache == "disabled" else "hit" in cache}
    more |= success(row, "is_success", "response_status_code")
    if str(row.get("cost_currency") or "USD").strip().upper() != "USD":
        say.note("Costs in another currency than USD were left out.")
        more["cost_usd"] = None
    yield call(
        _GATEWAY, row, say, user=told.get("_user") or row.get("metadata_user"), environment=told.get("_environment"),
        metadata={new: told[old] for old, new in _OWN_METADATA.items() if told.get(old)}, **more)  # fmt: skip
