"""The prices behind costs in words."""

from __future__ import annotations

import pandas as pd

from kpi.measure.priced import PriceState
from kpi.narrate.names import say
from kpi.narrate.wording import format_change, format_count, format_value


def price_sentences(numbers: pd.DataFrame, state: PriceState) -> list[str]:
    """How far costs were reported or computed, with what, in plain sentences.

    numbers: a frame of `summarise` with `priced_share`, `computed_share` and `computed_deviation`, one row each.
    """
    found = {r.metric: r for r in numbers.itertuples() if r.n}
    told = []
    if "priced_share" in found:
        told.append(say("prices", "priced_share", share=format_value(found["priced_share"].value, "share")))
    if "computed_share" in found:
        computed = found["computed_share"].value
        share, rest = (format_value(v, "share") for v in (computed, 1 - computed))
        told.append(say("prices", "computed_share", share=share, rest=rest))
    if "computed_deviation" in found:
        gap = format_change(found["computed_deviation"].value, "share").replace("pp", "%")
        told.append(say("prices", "computed_deviation", gap=gap))
    own = f" and {format_count(state.own, 'rows')} of your own" if state.own else ""
    told.append(say("prices", "table", version=state.version, day=state.day, own=own))
    units = ", ".join(f"{name} {format_value(usd, 'usd')}" for name, usd in state.units.items())
    told.append(say("prices", "units" if units else "no_units", units=units))
    return told
