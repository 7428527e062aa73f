"""Numbers in words: values with units, intervals, changes. Shared by pages, command line and reports.

Three significant digits, the unit attached, shares in per cent and their changes in percentage points (pp).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pandas as pd

from kpi.measure.metrics import METRICS
from kpi.measure.profile import Profile
from kpi.measure.slice import Resolved, Slice, Window
from kpi.narrate.names import WORDS, say
from kpi.privacy.policy import NOT_LISTED
from kpi.receipts import Receipt

UNKNOWN = "–"
_STORED = {"_us": (1e-3, "ms"), "_nusd": (1e-9, "usd"), "_tokens": (1.0, "tokens")}  # ending -> to unit
MINUS = "−"
CLEAR = 0.05  # q up to which a gap is more than chance
_MOSTLY = 0.5  # share of one user from which the rest hardly count
FEW_USERS = 20.0  # effective users below which one of them may decide a number


def format_value(value: float | None, unit: str) -> str:
    """A value with its unit: "82.1 %", "$0.0091", "1.84 s", "3.2 per 1,000"; "–" when unknown."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    sign, size = (MINUS if value < 0 else ""), abs(value)
    if unit == "share":
        return f"{sign}{_digits(100 * size)} %"
    if unit == "usd":
        return f"{sign}${_money(size)}"
    if unit == "ms":
        return sign + _duration(size)
    if unit == "per_1000":
        return f"{sign}{_digits(size)} per 1,000"
    if unit == "count" and float(size).is_integer():
        return f"{sign}{size:,.0f}"
    return f"{sign}{_digits(size)}" + (" tokens" if unit == "tokens" else "")


def format_interval(low: float | None, high: float | None, unit: str) -> str:
    """An interval: "81.2 to 83.0 %"; "at least 5.2 s" or "at most …" where one side is unbounded; "" where both are."""
    known_low = low is not None and math.isfinite(low)
    known_high = high is not None and math.isfinite(high)
    if known_low and known_high:
        first, second = format_value(low, unit), format_value(high, unit)
        return f"{_bare(first, second)} to {second}"
    if known_low:
        return f"at least {format_value(low, unit)}"
    if known_high:
        return f"at most {format_value(high, unit)}"
    return ""


def format_change(value: float | None, unit: str) -> str:
    """A difference with its sign: "+2.1 pp", "−$0.0012", "+120 ms"."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    sign = "+" if value > 0 else MINUS if value < 0 else "±"
    size = abs(value)
    return sign + (f"{_digits(100 * size)} pp" if unit == "share" else format_value(size, unit))


def format_column(column: str, value: object) -> str:
    """A stored value of a canonical column: durations and money with their unit, yes and no, else the number."""
    if value is None or value != value:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    scale, unit = next((s for ending, s in _STORED.items() if column.endswith(ending)), (1.0, "count"))
    return format_value(float(str(value)) * scale, unit)


def format_count(n: float, noun: str = "") -> str:
    """A count with thousands separators and its noun, which is given for many: "42,310 requests", "1 request"."""
    if noun and round(n) == 1:
        noun = f"{noun[:-3]}y" if noun.endswith("ies") else noun.removesuffix("s")
    return f"{n:,.0f} {noun}".strip()


def format_number(value: float) -> str:
    """A number as it stood in the data, whole where it is: "1,251", "0.0054153"."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.12g}"


def format_change_interval(low: float, high: float, unit: str) -> str:
    """Limits of a difference: "+1.2 to +3.0 pp"; the unit once."""
    first, second = format_change(low, unit), format_change(high, unit)
    return f"{_bare(first, second)} to {second}"


def format_moved(value: float, low: float, high: float, unit: str) -> str:
    """A difference and its limits: "+2.1 pp, +1.2 to +3.0 pp"."""
    return f"{format_change(value, unit)}, {format_change_interval(low, high, unit)}"


def format_effect(value: float, low: float, high: float, unit: str, unknown: str = "") -> str:
    """A part of a change with its limits: "+2.1 pp (+1.2 to +3.0 pp)". unknown: what is said where it has none."""
    limits = format_change_interval(low, high, unit) if low < high else unknown
    return format_change(value, unit) + (f" ({limits})" if limits else "")


def _told(say: Callable[..., str], frame: pd.DataFrame, columns: Sequence[str], unit: str | None) -> list[str]:
    units = frame["unit"] if unit is None else [unit] * len(frame)
    return [say(*row) for row in zip(*(frame[c] for c in columns), units, strict=True)]


def values(frame: pd.DataFrame, column: str, unit: str | None = None) -> list[str]:
    """A column in words; unit: of all rows, else of each by the column "unit"."""
    return _told(format_value, frame, [column], unit)


def changes(frame: pd.DataFrame, column: str, unit: str | None = None) -> list[str]:
    """A column of differences in words, as `values`."""
    return _told(format_change, frame, [column], unit)


def intervals(frame: pd.DataFrame, low: str, high: str, unit: str | None = None) -> list[str]:
    """Two columns as intervals in words, as `values`."""
    return _told(format_interval, frame, [low, high], unit)


def change_intervals(frame: pd.DataFrame, low: str, high: str, unit: str | None = None) -> list[str]:
    """Two columns as intervals of differences in words, as `values`."""
    return _told(format_change_interval, frame, [low, high], unit)


def without_unit(interval: str, value: str) -> str:
    """An interval that stands right behind its value, without the unit that the value already shows."""
    return _bare(interval, value)


@dataclass(frozen=True)
class State:
    """How a state looks: word, Material icon name and the role of its colour. The word carries the meaning alone."""

    name: str
    word: str
    icon: str
    colour: Literal["green", "orange", "red", "gray", "blue"]


STATES: dict[str, State] = {name: State(name, **look) for name, look in WORDS["state"].items()}


def _digits(size: float) -> str:
    """Three significant digits, no exponent: 82.1, 4.06, 0.045, 1,234."""
    if size == 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(size)))
    text = f"{round(size, places):,.{min(places, 6)}f}"
    return text.rstrip("0").rstrip(".") if places > 3 else text


def _money(size: float) -> str:
    if size >= 100 or size == 0:
        return f"{size:,.0f}"
    if size >= 1:
        return f"{size:,.2f}"
    places = 1 - math.floor(math.log10(size))
    return f"{size:.{min(max(places, 2) + 1, 9)}f}".rstrip("0").ljust(4, "0")


def _duration(milliseconds: float) -> str:
    if milliseconds < 999.5:
        return f"{_digits(milliseconds)} ms"
    seconds = milliseconds / 1000
    if seconds < 120:
        return f"{_digits(seconds)} s"
    if seconds < 7200:
        return f"{_digits(seconds / 60)} min"
    return f"{_digits(seconds / 3600)} h"


def _bare(first: str, second: str) -> str:
    """The first of two values without its unit where both share it."""
    for unit in (" pp", " %", " per 1,000", " tokens", " ms", " s", " min", " h"):
        if first.endswith(unit) and second.endswith(unit):
            return first.removesuffix(unit)
    return first


def day_words(moment: datetime, tz: str = "UTC", *, year: bool = False) -> str:
    """ "3 Nov", or "3 Nov 2026" with the year."""
    local = moment.astimezone(ZoneInfo(tz))
    return f"{local.day} {local:%b}" + (f" {local.year}" if year else "")


def window_words(span: Window, tz: str) -> str:
    """ "26 Oct to 22 Nov 2026": a half-open window by its first and last day."""
    last = span.end - timedelta(microseconds=1)
    first = span.start.astimezone(ZoneInfo(tz))
    same_year = first.year == last.astimezone(ZoneInfo(tz)).year
    if first.date() == last.astimezone(ZoneInfo(tz)).date():
        return day_words(last, tz, year=True)
    return f"{day_words(span.start, tz, year=not same_year)} to {day_words(last, tz, year=True)}"


def scope_words(windows: Sequence[Window | None], tz: str, *counts: float) -> str:
    """ "26 Oct to 22 Nov 2026 against 28 Sep to 25 Oct 2026 · 5,168 against 4,901 requests"; None: all times."""
    spans = [window_words(w, tz) if w else "all times" for w in dict.fromkeys(windows)]
    told = [" against ".join(spans), *([" against ".join(map(format_count, counts)) + " requests"] if counts else [])]
    return " · ".join(told)


def scope_of(resolved: Resolved, *counts: float, compared: bool = False) -> str:
    """The same of a slice, with its filters, and with its baseline where it is compared."""
    asked = [resolved.window, *([resolved.baseline] if compared else [])]
    held = scope_words([w and resolved.held(w) for w in asked], resolved.slice.tz, *counts)
    return " · ".join([held, *(f"{d} {' or '.join(v)}" for d, v in resolved.filters)])


def receipt_sentences(receipt: Receipt) -> list[str]:
    """A load in plain sentences, most important first: what came in, what did not, what it cannot tell."""
    told = [_loaded(receipt)]
    if receipt.first is not None and receipt.last is not None:
        first, last = (datetime.fromtimestamp(t / 1e6, UTC) for t in (receipt.first, receipt.last))
        told.append(say("receipt", "times", first=first, last=last))
    else:
        told.append(say("receipt", "no_times"))
    if receipt.repeated:
        told.append(say("receipt", "repeated", n=format_count(receipt.repeated)))
    for reason, count in sorted(receipt.drop_reasons.items(), key=lambda p: -p[1]):
        told.append(f"{format_count(count, 'rows')} left out: {reason}")
    if receipt.unpriced:
        told.append(say("receipt", "unpriced", n=format_count(receipt.unpriced)))
    if receipt.unpriced_models:
        named = [f"{name} ({format_count(n, 'requests')})" for name, n in list(receipt.unpriced_models.items())[:8]]
        told.append(say("receipt", "unpriced_models", models=", ".join(named)))
    if unused := [name for name in receipt.unmapped if name not in receipt.kept_out]:
        shown = ", ".join(unused[:8]) + (" …" if len(unused) > 8 else "")
        verb = "was" if len(unused) == 1 else "were"
        told.append(f"{format_count(len(unused), 'columns')} {verb} not used: {shown}.")
    if receipt.unread:
        told.append(say("receipt", "unread", measures=_unread(receipt)))
    if receipt.kept_out:
        told.append(say("receipt", "kept_out", names=_kept_out(receipt)))
    return [*told, *receipt.notes]


def support_sentences(known: Profile) -> list[str]:
    """What data can tell, what they cannot, and what to add, in a sentence each."""
    asked = {m.group: m for m in reversed(METRICS.values()) if m.group not in ("use", "volume")}  # the first of each
    able = [g for g in reversed(asked) if any(known.supports(m) for m in METRICS.values() if m.group == g)]
    lost = [m for g, m in reversed(asked.items()) if g not in able]
    told = [f"This data tells {_listed(able)}, of {format_count(known.requests, 'requests')}."]
    if lost:
        needs = [
            {"total_nusd": "cost", "total_us": "latency"}.get(c, c.replace("_", " ")) for m in lost for c in m.needs
        ]
        told += [f"It cannot tell {_listed(m.group for m in lost)}.", f"To see more, add {_listed(needs)}."]
    return told if known.first else [*told, "No request says when it began: add that for trends and changes."]


def _listed(names: Iterable[str]) -> str:
    *rest, last = [*names] or ["nothing"]
    return f"{', '.join(rest)} and {last}" if rest else last


def _unread(receipt: Receipt) -> str:
    """Which measures of model calls nobody read, the most frequent first."""
    order = sorted(receipt.unread, key=lambda u: (-u.count, u.name))
    told = [f"{u.name} ({format_count(u.count)} times, such as {format_number(u.example)})" for u in order[:8]]
    return ", ".join(told) + (f", … ({len(order)} in all)" if len(order) > 8 else "")


def _kept_out(receipt: Receipt) -> str:
    """Which columns and keys were kept out and why, those that could point at people first."""
    why = {name: receipt.why_kept_out(name) for name in receipt.kept_out}
    order = sorted(why, key=lambda n: (why[n] == NOT_LISTED, -receipt.kept_out[n]))
    return ", ".join(f"{n} ({why[n]})" for n in order[:8]) + (f", … ({len(why)} in all)" if len(why) > 8 else "")


def _loaded(receipt: Receipt) -> str:
    key = receipt.format if receipt.format in ("reprice", "rekey") else "loaded" if receipt.loaded else "nothing"
    return say(
        "receipt", key, files=format_count(len(receipt.files), "files"), dataset=receipt.dataset,
        spans=f" from {format_count(receipt.spans, 'spans')}" if receipt.spans else "", version=receipt.version,
        requests=format_count(receipt.requests, "requests"), users=format_count(receipt.loaded, "users"),
    )  # fmt: skip


def caution_words(clustered_by: str | None, effective: float, heaviest: float) -> str:
    """What the interval cannot promise: no user ids, or few users who decide. heaviest: NaN where that is not known."""
    said: str = WORDS["caution"].get(clustered_by, "")
    if said and clustered_by != "mixed":
        return said
    told = [said] if said else []
    if effective < FEW_USERS:
        largest = f"{format_value(heaviest, 'share')} of it is one user's"
        few = f"Few users decide: they count as {effective:.0f}{f', and {largest}' if heaviest > 0 else ''}."
        told.append(f"Mostly one customer: {largest}." if heaviest >= _MOSTLY else few)
    return " ".join(told)


def index_words(index: Any) -> str:
    """What stands below the index. index: a `kpi.govern.index.Index`."""
    interval = format_interval(index.low, index.high, "index")
    if not math.isfinite(index.value):
        return f"No number while so many KPIs are grey; it lies in {interval}" if interval else "Not enough data"
    told = f"of 100 · 95 %: {interval}"
    if math.isfinite(index.same_mix) and math.isfinite(index.same_mix_before):
        was, now = (format_value(v, "index") for v in (index.same_mix_before, index.same_mix))
        told += f" · with the same mix before and now: {was} → {now}"
    return told


def slice_sentence(
    view: Slice, resolved: Resolved, *, version: int,
    requests: float | None = None, read_at: datetime | None = None,
) -> str:  # fmt: skip
    """The sentence under every title: rows, data set and version, window, baseline. Plain text, not yet escaped.

    read_at: since when rows that are read in place are known, None for stored rows.
    """
    parts = []
    if requests is not None:
        parts.append(format_count(requests, "request" if requests == 1 else "requests"))
    if resolved.window:
        parts.append(window_words(resolved.held(resolved.window), view.tz))
    lacking = "no comparison" if view.baseline == "none" or not resolved.window else "no data to compare with"
    parts.append(f"compared with {baseline(view, resolved)}" if resolved.compared else lacking)
    if read_at is not None:
        name = view.dataset.removeprefix("db:")
        parts.append(f"live from {name}, read at {read_at.astimezone(ZoneInfo(view.tz)):%H:%M}")
    else:
        parts.append(f"{view.dataset}, version {version}" if version else view.dataset)
    return " · ".join(parts)


def baseline(view: Slice, resolved: Resolved) -> str:
    """What the slice is compared with, in words. Plain text."""
    if resolved.baseline is None or (view.baseline not in ("previous", "weekdays") and ".." not in view.baseline):
        name, _, value = view.baseline.partition(":")
        return f"{name.replace('_', ' ')} {value}"
    return window_words(resolved.held(resolved.baseline), view.tz)


def version_headline(a: str, b: str, overall: pd.DataFrame, cells: pd.DataFrame, within: str) -> str:
    """ "p7 against p6: mixed. Task success: language es −13.9 pp, language en +6.60 pp." What a comparison comes to.

    overall: rows of `kpi.Comparison.frame`. cells: of `kpi.compare_within`, the metrics that matter most first: of the
    first that has a clear group the groups are named.
    """
    clear = cells[cells["verdict"].isin(["better", "worse"])]
    shown = clear[clear["metric"].isin(clear["metric"].head(1))]
    found = {"better", "worse"} & {*overall["verdict"], *shown["verdict"]}
    verdict = "mixed" if len(found) == 2 else next(iter(found), "no clear difference")
    if shown.empty:
        return f"{b} against {a}: {verdict}."
    ranked = shown.reindex(shown["difference"].abs().sort_values(ascending=False).index).head(4)
    groups = ranked[within].astype(object).fillna("(none)")
    moved = [f"{within.replace('_', ' ')} {g} {m}" for g, m in zip(groups, changes(ranked, "difference"), strict=True)]
    return f"{b} against {a}: {verdict}. {ranked['label'].iloc[0]}: {', '.join(moved)}."


def gap_size(gap: Any) -> str:
    """How far the groups lie apart, without a sign."""
    return format_change(gap.gap, gap.unit).lstrip("+±")


def gap_sentence(gap: Any, strata: str | None) -> str:
    """The gap of one dimension and metric in words: size, sides, how sure, with the mix held. Plain text."""
    sides = f"{gap.worst} and {gap.best} lie {gap_size(gap)} apart"
    if gap.q <= CLEAR:
        low = max(gap.low, 0.0)
        limits = format_interval(low, gap.high, gap.unit).replace(" %", " pp")
        noise = format_change(gap.noise, gap.unit).lstrip("+±")
        told = f"{sides} ({limits}); groups without any difference stay within {noise} in 19 of 20 cases."
    else:
        told = f"{sides}: no more than groups of these sizes show by chance."
    if strata and gap.adjusted == gap.adjusted:
        held = format_change(gap.adjusted, gap.unit).lstrip("+±")
        told += f" On the same {strata.replace('_', ' ')}: {held}."
    if gap.four_fifths == gap.four_fifths:
        rule = "passes" if gap.four_fifths >= 0.8 else "fails"
        share = format_value(gap.four_fifths, "share")
        told += f" Four-fifths rule of thumb: {rule} (worst at {share} of the best)."
    return told
