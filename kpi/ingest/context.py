"""What a reader is given, and the buffer that turns its rows into canonical Arrow tables.

A reader is one module with `NAME` and `read(source, context)`, which yields `(table name, pa.Table)`. It must pass
every text, user and attribute through `context.privacy` before it yields: nothing unredacted leaves a reader.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kpi import clock
from kpi.ingest.limits import Limits
from kpi.mapping.mapping import Mapping, MappingPlan
from kpi.pricing.price_table import NO_PRICES, PriceTable
from kpi.privacy.privacy import Privacy
from kpi.receipts import Receipt


@dataclass
class Context:
    """What a reader may use.

    mapping: given by a person; it must fit the data. saved: kept from an earlier load; it counts where it fits.
    tick: called now and then with the bytes of this input consumed so far (decompressed); cheap, drives the progress
    bar. now_us: the clock against which times in the future are judged. plan: what a first pass over all tables of the
    load decided (`MappingPlan`); readers of spans leave it alone. prices: for rows of tables; requests that
    come as spans are priced when they are assembled. find_prices: what costs that spans report are compared with. kept:
    what readers keep over the inputs of a load. watch: told of every span that is read. more: whether other inputs of
    the same load follow, so that a reader that must see all of them before it speaks waits for the end.
    """

    privacy: Privacy
    receipt: Receipt
    mapping: Mapping | None = None
    saved: Mapping | None = None
    tick: Callable[[int], None] = lambda _: None
    limits: Limits = field(default_factory=Limits)
    now_us: int = field(default_factory=lambda: clock.now_us())
    plan: MappingPlan | None = None
    prices: PriceTable = NO_PRICES
    find_prices: Callable[[], PriceTable] = lambda: NO_PRICES
    kept: dict[str, Any] = field(default_factory=dict)
    watch: Callable[[Any], None] = lambda _: None
    more: bool = False
