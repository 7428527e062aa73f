"""The prices behind the costs of a data set: the row that counts for each model, and the models that have none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pandas as pd
import sqlalchemy as sa

from kpi.measure.columns import Columns
from kpi.pricing import price_file
from kpi.pricing.price_table import SCALE
from kpi.store.engines import Source
from kpi.store.manifest import home

_COLUMNS = ("model", "provider", "requests", "unpriced", "input_usd", "cached_usd", "output_usd", "source")


@dataclass(frozen=True, kw_only=True)
class PriceState:
    """The price table in force. version: its hash; day: of the facts that ship; own: rows of the user's file.

    units: unit cost -> USD, only what is known (`retrieval`, `orchestration`, `review minute`, `tool call NAME`).
    """

    version: str
    day: str
    rows: int
    own: int
    units: dict[str, float]


def price_state() -> PriceState:
    """What costs are computed with now.

    Returns:
        A `PriceState`: version and day of the table, rows, own rows, unit costs in USD.

    Raises:
        PriceError: For a malformed price file.

    Example:
        >>> kpi.price_state().rows > 0
        True
    """
    table = price_file.current(home())
    named = {"retrieval": table.units.retrieval, "orchestration": table.units.orchestration,
             "review minute": table.units.review_minute,
             **{f"tool call {name}": cost for name, cost in table.units.tool_call.items()}}  # fmt: skip
    units = {name: cost / SCALE for name, cost in named.items() if cost is not None}
    own = sum(p.own for p in table.prices)
    return PriceState(version=table.version, day=table.day, rows=len(table.prices), own=own, units=units)


def unpriced_models(split: pd.DataFrame) -> pd.DataFrame:
    """Models without a price, most requests first.

    Args:
        split: A frame of `summarise("requests", by=["unpriced_model"])`.

    Returns:
        A frame with columns model, requests.

    Example:
        >>> split = kpi.summarise(source, "requests", by=["unpriced_model"])
        >>> kpi.unpriced_models(split).columns.tolist()
        ['model', 'requests']
    """
    counted: Counter[str] = Counter()
    for row in split[split["unpriced_model"].notna()].itertuples():
        counted.update(dict.fromkeys(str(row.unpriced_model).split(", "), int(row.value)))
    return pd.DataFrame(counted.most_common(), columns=["model", "requests"])


def init_prices() -> str:
    """Write a commented `prices.toml` into the state folder.

    Returns:
        Its path.

    Raises:
        PriceError: Where there is one.

    Example:
        >>> kpi.init_prices().endswith("prices.toml")
        True
    """
    return str(price_file.init(home()))


def model_prices(source: Source) -> pd.DataFrame:
    """Models of the requests with the price that counts for them now, most requests first.

    Args:
        source: Where the rows are.

    Returns:
        A frame with columns model, provider, requests, unpriced (requests without a cost), input_usd, cached_usd,
        output_usd (per million tokens, NaN where there is no price or providers differ), source.

    Raises:
        PriceError: For a malformed price file.

    Example:
        >>> {"model", "requests", "input_usd"} <= set(kpi.model_prices(source).columns)
        True
    """
    table = price_file.current(home())
    known = Columns(source, source.table("requests"))
    rows = sa.select(*(known[c].label(c) for c in ("model", "provider", "priced"))).subquery()
    unpriced = sa.func.sum(sa.case((rows.c["priced"].is_(sa.false()), 1), else_=0))
    counted = source.run(
        sa.select(rows.c["model"], rows.c["provider"], sa.func.count().label("requests"), unpriced.label("unpriced"))
        .where(rows.c["model"].is_not(None))
        .group_by(rows.c["model"], rows.c["provider"])
    ).to_pandas()
    found = []
    for row in counted.itertuples():
        provider = None if pd.isna(row.provider) else row.provider
        prices = table.find(provider, row.model)
        one = prices[0] if len(prices) == 1 or len({p.rates for p in prices}) == 1 else None
        rates = [one.rates.input, one.rates.cached_read, one.rates.output] if one else [None] * 3
        source_of = one.source if one else "providers differ" if prices else ""
        usd = [float("nan") if rate is None else rate / SCALE for rate in rates]
        found.append((row.model, provider, int(row.requests), int(row.unpriced), *usd, source_of))
    frame = pd.DataFrame(found, columns=list(_COLUMNS))
    return frame.sort_values(["requests", "model"], ascending=[False, True], ignore_index=True)
