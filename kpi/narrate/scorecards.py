"""What a scorecard says: why a card has its state, how it changed, and the one line that matters most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kpi.narrate.names import WORDS, listed, say
from kpi.narrate.wording import (
    STATES,
    format_change,
    format_change_interval,
    format_count,
    format_interval,
    format_value,
    without_unit,
)

NO_REQUESTS = "No requests match this slice."
_FEW_KNOWN = 0.8  # share of the requests below which a value speaks of a part of them


def place_reason(place: str, *, watch: float, off: float, unit: str, above: bool) -> str:
    """Why a card has its state. place: one of words.toml; above: whether too much of it is bad."""
    side = "Above" if above else "Below"
    return say("place", place, watch=format_value(watch, unit), off=format_value(off, unit), side=side)


def recorded(columns: Sequence[str]) -> str:
    """What columns hold, in words."""
    return ", ".join(dict.fromkeys(WORDS["recorded"].get(c, c) for c in columns))


def drift_words(dimension: str, unseen: Sequence[str], *, clear: bool) -> str:
    """The input that drifted most. unseen: inputs that may be off target, for all that their few users tell."""
    if clear:
        return f"Strongest in {dimension.replace('_', ' ')}"
    few = f", too few users to tell for {listed([d.replace('_', ' ') for d in unseen])}" if unseen else ""
    return f"No clear change in any input{few}"


def change_words(value: float, low: float, high: float, unit: str, *, clear: bool, smallest: float = math.nan) -> str:
    """`+2.1 pp (+1.0 to +3.2 pp)`, or `no clear change` with the interval and what would have been seen."""
    interval = ""
    if math.isfinite(low) and math.isfinite(high):
        limits = format_change_interval(low, high, unit)
        interval = f" ({without_unit(limits, format_change(value, unit)) if clear else limits})"
    if clear:
        return f"{format_change(value, unit)}{interval}"
    shown = format_change(smallest, unit).removeprefix("+")
    return f"no clear change{interval}" + (f"; a change of {shown} would show" if math.isfinite(smallest) else "")


def known_words(was: float, now: float, *, moved: bool, possible: tuple[float, float] | None = None) -> str:
    """ "Known for 62 % of requests (was 97 %)"; empty where most are known and that did not change.

    possible: the value if what is not known all failed, and if it all went well.
    """
    if not moved and not now < _FEW_KNOWN:
        return ""
    told = f"Known for {format_value(now, 'share')} of requests"
    told = f"{told} (was {format_value(was, 'share')})" if moved else told
    if not now < _FEW_KNOWN:
        return told
    worst = f" (at worst {format_interval(*possible, 'share')})" if possible else ""
    return f"{told}, and taken to hold for the rest{worst}"


def quiet_sentence(requests: int, *, judged: int, grey: int, changed: int, compared: bool) -> str:
    """Of a scorecard on which nothing is off target or on watch. compared: whether there is a baseline."""
    size = format_count(requests, "requests")
    if not judged:
        return f"Not enough data to judge any KPI: {size}."
    clear = f"{changed} clear change{'s' if changed > 1 else ''}, nothing beyond its limit"
    lead = clear if changed else "No clear change" if compared else "Nothing to compare with, nothing beyond its limit"
    lacking = f" {format_count(grey, 'KPIs')} {'lacks' if grey == 1 else 'lack'} data." if grey else ""
    return f"{lead} in {judged} KPIs over {size}.{lacking}"


def loud_sentence(card: Any, baseline: str, *, also: str, off: int, watch: int, total: int, requests: int) -> str:
    """Of a scorecard with cards off target or on watch. card: the worst, a `kpi.govern.card.Card`; also: more of it."""
    unit = "count" if card.unit == "distance" else card.unit
    shown = format_value(card.value, unit)
    interval = without_unit(format_interval(card.low, card.high, unit), shown)
    word = "on watch" if card.state == "watch" else STATES[card.state].word.lower()
    told = f"{card.label} {word}: {shown}" + (f" ({interval})" if interval else "")
    told += f", target {format_value(card.target, unit)}"
    if card.change and card.change.clear:
        told += f", {card.change.words} on {WORDS['baseline'].get(baseline, baseline.replace(':', ' '))}"
    elif also:
        told += f". {also.rstrip('.')}"
    counts = ([f"{off} of {total} KPIs off target"] if off else []) + ([f"{watch} on watch"] if watch else [])
    size = f"{', '.join(counts)} over {format_count(requests, 'requests')}"
    return f"{told}. Owner: {card.owner}. Next: {card.action} {size}."
