"""The prices behind costs in words."""

from __future__ import annotations

import pandas as pd

from kpi.measure.priced import PriceState
from kpi.narrate.wording import format_change, format_count, format_value


def price_sentences(numbers: pd.DataFrame, state: PriceState) -> list[str]:
    """How far costs were reported or computed, with what, in plain sentences.

    numbers: a frame of `summarise` with `priced_share`, `computed_share` and `computed_deviation`, one row each.
    """
    found = {r.metric: r for r in numbers.itertuples() if r.n}
    told = []
    if "priced_share" in found:
        share = format_value(found["priced_share"].value, "share")
        told.append(f"{share} of the requests that used tokens have a known cost; the others are left out, not zero.")
    if "computed_share" in found:
        share = found["computed_share"].value
        told.append(
            f"Of the known costs {format_value(1 - share, 'share')} were reported by the source alone and "
            f"{format_value(share, 'share')} computed, at least in part. A reported cost always wins."
        )
    if "computed_deviation" in found:
        gap = format_change(found["computed_deviation"].value, "share").replace("pp", "%")
        told.append(f"Where both are known, the price table differs from the reported inference cost by {gap}.")
    own = f" and {format_count(state.own, 'rows')} of your own" if state.own else ""
    told.append(f"Price table {state.version}: list prices of {state.day}{own}.")
    units = ", ".join(f"{name} {format_value(usd, 'usd')}" for name, usd in state.units.items())
    told.append(
        f"Unit costs in force: {units}." if units else "No unit costs are set: what no span reports is unknown."
    )
    return told
