"""Comparisons in words: one metric, all of them, Simpson reversals and groups that move in opposite directions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kpi.measure.metrics import Metric
from kpi.narrate.names import p_words
from kpi.narrate.wording import format_change, format_change_interval, format_count, format_moved, format_value
from kpi.stats.interval import Interval

_NAMED = 3  # groups of a direction in a sentence


class GroupChange(NamedTuple):
    """The difference in one group, its p, and whether it is clear by itself."""

    name: str
    difference: float
    p: float
    clear: bool


def metric_sentence(
    metric: Metric, verdict: str, levels: tuple[float, float], difference: Interval, *, detectable: float,
    known: tuple[float, float], bounds: Interval | None,
) -> str:  # fmt: skip
    """ "Task success: better, 79.1 % to 82.4 % (+3.3 pp, +1.2 to +5.4 pp)". levels: of A and of B; detectable: the
    minimum detectable effect; known: the share of the requests for which it is known, where that made `bounds`."""
    unit = metric.unit
    if not all(map(math.isfinite, levels)):
        return f"{metric.label}: not enough data"
    told = f"{metric.label}: {verdict}, {_moved(levels, unit)} ({_limits(difference, unit)})"
    if verdict in ("no clear change", "not enough data") and math.isfinite(detectable):
        told += f"; minimum detectable effect {format_change(detectable, unit).removeprefix('+')}"
    if bounds is not None:
        a, b = (format_value(v, "share") for v in known)
        told += f"; known for {b} of requests instead of {a}: what is not known may make it {worst_words(bounds, unit)}"
    return told


def worst_words(bounds: Interval, unit: str) -> str:
    """What a difference may be at worst: "−26 to +14 pp", or "anything"."""
    known = math.isfinite(bounds.low) and math.isfinite(bounds.high)
    return format_change_interval(bounds.low, bounds.high, unit) if known else "anything"


def comparison_sentence(
    a: str, b: str, counted: Sequence[tuple[str, int]], *, every_look: bool, adjust: Sequence[str] = (),
    covered: bool = True, reversed_: Sequence[str] = (),
) -> str:  # fmt: skip
    """Both arms, the verdicts counted, and what kind of interval is shown.

    adjust: dimensions adjusted for; covered: whether enough requests lie in strata of both arms; reversed_: labels of
    metrics with a Simpson reversal.
    """
    told = ", ".join(f"{n} {verdict}" for verdict, n in counted if n) or "no metric that the data holds"
    looks = "intervals hold at every look" if every_look else "95 % intervals of a single look"
    mix = " and ".join(adjust)
    held = f"; mix of {mix} held beside it" if adjust else ""
    if adjust and not covered:
        held = f"; too few requests to hold the mix of {mix}"
    held += f"; Simpson reversal in {', '.join(reversed_)}" if reversed_ else ""
    return f"{b} against {a}: {told} ({looks}{held})."


def simpson_sentence(
    metric: Metric, b: str, mix: str, levels: tuple[float, float], adjusted: Interval, *, clear: bool
) -> str:
    """A Simpson reversal for people who never heard of one. mix: the dimensions adjusted for; levels: of A and of B;
    clear: whether the adjusted difference is."""
    told = (f"Simpson reversal in {metric.label}: over all requests {b} is {metric.moved(levels[1] - levels[0])}"
            f" ({_moved(levels, metric.unit)}), but with the same mix of {mix} on both sides it is"
            f" {metric.moved(adjusted.value)} ({_limits(adjusted, metric.unit)}")  # fmt: skip
    if clear:
        return f"{told}). Decide by the second figure, unless {b} itself is what changed the mix."
    return f"{told}), which may be chance. The mix makes the overall figure, not {b}."


def crossing_sentence(
    metric: Metric, b: str, within: str, groups: Sequence[GroupChange], *, p: float, sure: bool
) -> str:
    """Groups that move in opposite directions. p: of Gail and Simon's test; sure: whether it is clear."""
    ways = ("higher", "lower") if metric.direction == "none" else ("better", "worse")
    directions = {w: [g for g in groups if metric.moved(g.difference) == w] for w in ways}
    told = [f"{w} for {_named(metric, found)}" for w, found in directions.items()]
    held = "this is no chance" if sure else "each is clear by itself"
    return f"{metric.label} turns around by {within}: {b} is {told[0]}, {told[1]}; {held} (Gail-Simon {p_words(p)})."


def agreement_sentence(found: Any) -> str:
    """found: the fields of `kpi.Agreement`."""
    of = "".join(f"{value}: " for value in found.where.values())
    if not math.isfinite(found.kappa):
        return f"{of}Not enough labels to tell whether both agree ({format_count(found.n, 'pairs')})."
    limits = f" ({found.low:.2f} to {found.high:.2f})" if math.isfinite(found.low) else ""
    left = f"; {format_count(found.invalid)} with what is no label left out" if found.invalid else ""
    agreed, expected = (format_value(v, "share") for v in (found.agreed, found.expected))
    pairs = format_count(found.n, "pairs")
    return f"{of}Kappa {found.kappa:.2f}{limits}: {agreed} of {pairs} agree, {expected} by chance{left}."


def reliability_sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """rows: of `kpi.Reliability`, for 1 to k tries."""
    once, last = ({**r, "value": format_value(r["value"], "share")} for r in (rows[0], rows[-1]))
    if not last["n_tasks"]:
        return f"No task was tried {last['k']} times."
    low, high = (format_value(last[limit], "share") for limit in ("low", "high"))
    tasks = format_count(last["n_tasks"], "tasks")
    told = f"Solved in each of {last['k']} tries: {last['value']} of {tasks} ({low} to {high})"
    return f"{told}; in a single one {once['value']}." if last["k"] > 1 else f"{told}."


def _moved(levels: tuple[float, float], unit: str) -> str:
    return f"{format_value(levels[0], unit)} to {format_value(levels[1], unit)}"


def _limits(difference: Interval, unit: str) -> str:
    return format_moved(difference.value, difference.low, difference.high, unit)


def _named(metric: Metric, groups: Sequence[GroupChange]) -> str:
    """The groups that are clear, else the surest one, by size."""
    ordered = sorted(groups, key=lambda g: (not g.clear, g.p))
    chosen = [g for g in ordered if g.clear][:_NAMED] or ordered[:1]
    more = sum(g.clear for g in ordered) - len(chosen)
    named = ", ".join(f"{g.name} ({format_change(g.difference, metric.unit)})" for g in chosen)
    return f"{named} and {more} more" if more > 0 else named
