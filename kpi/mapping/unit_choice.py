"""The unit of a length or an amount of money: told by its name or guessed, and checked against all else that is known.

A unit is taken where the numbers are possible under it and nothing in the same rows contradicts. Else another one is
taken only if it alone fits; where several fit or none, the column is asked about: it is left out, and the reason names
the mapping to set. What a person sets is never checked.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from kpi.mapping.profile import ColumnProfile
from kpi.mapping.units import DURATION_US, MONEY_NUSD

ASKED = "its unit is not sure"
_SECOND, _HOUR = 1e6, 3_600e6
# field -> medians in microseconds that can be, and those that are common. "" stands for the parts of a request.
_POSSIBLE = {"total_us": (20.0, 24 * _HOUR), "model_us": (20.0, 24 * _HOUR), "ttft_us": (1.0, _HOUR),
             "": (0.01, 24 * _HOUR)}  # fmt: skip
_COMMON = {"total_us": (51e3, 180 * _SECOND), "model_us": (51e3, 180 * _SECOND), "ttft_us": (51e3, 30 * _SECOND),
           "": (50.0, 180 * _SECOND)}  # fmt: skip
_WHOLE = ("total_us", "model_us")  # lengths in which the answer is written
_SPEED = (0.02, 3_000.0)  # output tokens a second, from agents that wait for tools to the fastest machines
_AGREES = 10.0  # a factor from which on two statements contradict each other
_MATCHES = 3.0  # a factor within which one confirms the other: batches cost half, caches a part
_SURE = 2.0  # the same for a length beside start and end
# How far the ratio to the time between start and end may spread: of one and the same length it hardly does, of an
# answer beside its session it does. Times in whole seconds spread a little by themselves.
_SPREAD = {"guessed": 2.0, "": 1.5}
_PRICED = frozenset({"total_nusd", "inference_nusd", "input_cost", "output_cost"})
_PARTS = frozenset({"retrieval_nusd", "orchestration_nusd", "tool_nusd", "review_nusd"})
# USD for each token: what the dearest models come to, with room below for the cheapest and above for what comes beside.
_USD_A_TOKEN = {"guessed": (1e-10, 2e-5), "named": (1e-12, 1e-2), "other": (1e-8, 1e-4)}
_USD_A_CALL = {"guessed": 100.0, "named": 10_000.0}
_CHEAP = 10.0  # USD a call that a name may state, whatever the tokens: few of them tell little


@dataclass(frozen=True)
class Choice:
    """unit: what is taken, or "" with `asks`. how: how it was found, as receipts say it; "" for told by the name."""

    unit: str
    why: str
    how: Literal["", "guessed"] = ""
    asks: bool = False


@dataclass(frozen=True)
class Beside:
    """What is known of the other columns. fields: what they may be. longest: the total length, microseconds. currency:
    what a column names besides USD."""

    fields: Collection[str] = ()
    longest: float | None = None
    currency: str = ""


def duration(profile: ColumnProfile, field: str, named: str, beside: Beside) -> Choice:
    """The unit of a column of lengths. named: the unit in its name, "" for none."""
    guess, why = (named, "unit in the name") if named else _by_size(profile)
    usual = profile.usual if profile.usual is not None else profile.median
    if not usual:
        return Choice(guess, why, "" if named else "guessed")
    lengths = {unit: usual * factor for unit, factor in DURATION_US.items()}
    kept = Choice(guess, why, "" if named else "guessed")
    if field == "total_us" and profile.by_clock and (profile.clock_spread or 1.0) <= _SPREAD["guessed"]:
        return _by_clock(profile, field, kept, lengths)
    fits = _fitting(profile, field, lengths, beside)
    if named and guess in fits:
        return kept
    if named and _within(lengths[guess], _POSSIBLE, field) and _is_shorter(lengths[guess], beside):
        return kept  # slow or fast, but possible: the name is believed
    if guess in fits and (_within(lengths[guess], _COMMON, field) or not _common(lengths, field, fits, guess)):
        return kept
    others = [unit for unit in fits if unit != guess]
    if guess not in fits and len(others) == 1:
        return Choice(others[0], f"guessed {others[0]}: {_length(lengths[guess])} in {guess} cannot be, "
                                 f"{_length(lengths[others[0]])} can", "guessed")  # fmt: skip
    return _ask(field, profile, fits, f"the median would be {_lengths(lengths, fits or (guess,))}")


def money(profile: ColumnProfile, field: str, named: str, beside: Beside) -> Choice:
    """The unit of a column of money. named: the unit in its name, "" for none."""
    unit = named or "usd"
    kept = Choice(unit, "unit in the name") if named else Choice(unit, "no unit in the name: guessed USD", "guessed")
    if beside.currency:
        return _other_money(field, f"amounts are in {beside.currency}")
    whole = field in _PRICED and not (field == "total_nusd" and _PARTS & set(beside.fields))
    if whole and profile.by_price:
        return _by_price(profile, field, kept, bool(named))
    usual = profile.usual
    if not usual:
        return kept
    about = "named" if named else "guessed"
    if whole and profile.by_token:
        low, high = _USD_A_TOKEN[about]
        dollars = {u: profile.by_token * f / 1e9 for u, f in MONEY_NUSD.items()}
        if low <= dollars[unit] <= high or (named and usual * MONEY_NUSD[unit] / 1e9 <= _CHEAP):
            return kept
        low, high = _USD_A_TOKEN["other"]
        fits = [u for u, a_token in dollars.items() if low <= a_token <= high]
        if len(fits) == 1:
            return Choice(fits[0], f"guessed {fits[0]}: in {unit} 1,000 tokens would cost {_usd(1e3 * dollars[unit])}, "
                                   f"so they cost {_usd(1e3 * dollars[fits[0]])}", "guessed")  # fmt: skip
        return _ask(field, profile, fits, f"in {unit} 1,000 tokens would cost {_usd(1e3 * dollars[unit])}")
    a_call = usual * MONEY_NUSD[unit] / 1e9
    if a_call <= _USD_A_CALL[about]:
        return kept
    return _ask(field, profile, [u for u in MONEY_NUSD if u != unit], f"in {unit} a request would cost {_usd(a_call)}")


def in_cells(profile: ColumnProfile, field: str, named: str) -> Choice:
    """The unit of a column of money whose cells carry signs: dollars or cents, all of them; else it is asked about."""
    signs = set(profile.currencies)
    unit = {"usd": "usd", "cents": "cents"}.get(next(iter(signs - {""}))) if len(signs - {""}) == 1 else None
    if unit and "" not in signs and named in ("", unit):
        return Choice(unit, "its cells carry their unit")
    if unit == "usd" and "" in signs and named in ("", "usd"):
        return Choice(unit, "some of its cells carry a sign of dollars")
    return _other_money(field, f"cells are in {', '.join(sorted(s or 'no sign' for s in signs))[:60]}")


def _other_money(field: str, seen: str) -> Choice:
    told = f"{ASKED}: {seen}, and only USD is read; convert them, or set"
    return Choice("", f'{told} field = "{field}" and unit = "usd" for it in a mapping if they are USD', asks=True)


def _by_size(profile: ColumnProfile) -> tuple[str, str]:
    median = profile.median
    if median is None:
        return "ms", "no values: guessed ms"
    if (median > 50 and profile.whole) or median >= 60:
        return "ms", f"guessed ms: the median is {median:.3g}"
    return "s", f"guessed s: the median is {median:.3g}"


def _by_clock(profile: ColumnProfile, field: str, kept: Choice, lengths: dict[str, float]) -> Choice:
    """What the time between start and end says, which is the surest."""
    ratios = {unit: (profile.by_clock or 0.0) * factor / _SECOND for unit, factor in DURATION_US.items()}
    alike = (profile.clock_spread or 1.0) <= _SPREAD[kept.how]
    sure = [unit for unit, ratio in ratios.items() if alike and 1 / _SURE <= ratio <= _SURE]
    if kept.unit in sure or 1 / _AGREES < ratios[kept.unit] < _AGREES:
        return kept
    if len(sure) == 1:
        return Choice(sure[0], f"guessed {sure[0]}: so it is as long as from start to end, in {kept.unit} "
                               f"{ratios[kept.unit]:.2g} times as long", "guessed")  # fmt: skip
    if kept.how == "" and _within(lengths[kept.unit], _POSSIBLE, field):
        return kept
    return _ask(
        field, profile, sure, f"in {kept.unit} it is {ratios[kept.unit]:.2g} times as long as from start to end"
    )


def _by_price(profile: ColumnProfile, field: str, kept: Choice, named: bool) -> Choice:
    """What the price of the tokens says."""
    ratios = {unit: (profile.by_price or 0.0) * factor / 1e9 for unit, factor in MONEY_NUSD.items()}
    ratio = ratios[kept.unit]
    if 1 / _AGREES < ratio < _AGREES:
        return kept
    fits = [unit for unit, r in ratios.items() if 1 / _MATCHES <= r <= _MATCHES]
    off = f"in {kept.unit} it is {ratio:.2g} times what the tokens cost by the price table"
    if named and 1 / _AGREES**2 < ratio <= 1 / _AGREES:
        return Choice(kept.unit, f"{off}: read from a cache or at a discount?", "guessed")
    if named and (profile.usual or 0.0) * MONEY_NUSD[kept.unit] / 1e9 <= _CHEAP:  # what it costs in all, perhaps
        return Choice(kept.unit, f"{off}, but its name says so", "guessed")
    if len(fits) == 1:
        return Choice(fits[0], f"guessed {fits[0]}: {off}, in {fits[0]} {ratios[fits[0]]:.2g} times", "guessed")
    return _ask(field, profile, fits, off)


def _fitting(profile: ColumnProfile, field: str, lengths: dict[str, float], beside: Beside) -> list[str]:
    """The units under which the lengths are possible, no longer than the whole, and answers are written at a speed."""
    found = []
    for unit in lengths:
        a_second = (profile.speed or 0.0) * _SECOND / DURATION_US[unit]
        fast = profile.speed and field in _WHOLE and not _SPEED[0] <= a_second <= _SPEED[1]
        if _within(lengths[unit], _POSSIBLE, field) and _is_shorter(lengths[unit], beside, field) and not fast:
            found.append(unit)
    return found


def _is_shorter(length: float, beside: Beside, field: str = "") -> bool:
    longest = beside.longest if field != "total_us" else None
    return longest is None or length <= 1.5 * longest


def _within(length: float, ranges: dict[str, tuple[float, float]], field: str) -> bool:
    low, high = ranges.get(field, ranges[""])
    return low <= length <= high


def _common(lengths: dict[str, float], field: str, units: Iterable[str], but: str) -> list[str]:
    return [unit for unit in units if unit != but and _within(lengths[unit], _COMMON, field)]


def _ask(field: str, profile: ColumnProfile, fits: Collection[str], reason: str) -> Choice:
    units = " or ".join(f'"{u}"' for u in fits) or "the right one"
    return Choice("", f'{ASKED}: {reason}; set field = "{field}" and unit = {units} for it in a mapping', asks=True)


def _lengths(lengths: dict[str, float], units: Iterable[str]) -> str:
    return ", ".join(f"{_length(lengths[unit])} in {unit}" for unit in units)


def _length(us: float) -> str:
    for name, size in (("days", 24 * _HOUR), ("h", _HOUR), ("min", 60 * _SECOND), ("s", _SECOND), ("ms", 1e3)):
        if us >= size:
            return f"{us / size:.3g} {name}"
    return f"{us:.3g} us"


def _usd(amount: float) -> str:
    return f"${amount:,.2f}" if amount >= 0.01 else f"${amount:.2g}"
