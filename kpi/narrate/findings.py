"""Changes in words: one finding, what to do about it, and all findings of a slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kpi.narrate.comparisons import worst_words
from kpi.narrate.names import dimension_noun, listed
from kpi.narrate.wording import format_count, format_moved, format_value


def finding_sentence(finding: Any, label: str) -> str:
    """One sentence: what, where, since when, by how much and how sure. finding: the fields of `kpi.Finding`."""
    f = finding
    size = f"{format_value(f.was, f.unit)} to {format_value(f.value, f.unit)}"
    limits = format_moved(f.change, f.low, f.high, f.unit)
    moved = f"{label} {'rose' if f.change > 0 else 'fell'} {_place(f)}"
    told = f"{moved}: {size} ({limits}; {format_count(f.n, 'requests')})"
    if f.kind == "hidden_regression":
        told += ", not visible in the overall metric"
    if f.mix:
        told += f": no group changed, {_shift(f.mix)}"
    return told + "."


def _place(f: Any) -> str:
    """Where and since when: "for language es with prompt p7 since 28 Oct"."""
    words = [f"for {_segment(f.where)}"] if f.where else []
    words += [f"with {dimension_noun(f.version_of or '')} {f.version}"] if f.version else []
    words += [f"(without {listed([_segment(b) for b in f.beside])})"] if f.beside else []
    return " ".join([*words, f"since {f.since.day} {f.since:%b}"]) + (", already in the baseline" if f.standing else "")


def _segment(where: Mapping[str, str]) -> str:
    return " and ".join(f"{dimension_noun(d)} {v}" for d, v in where.items())


def _shift(mix: Mapping[str, Any]) -> str:
    frequent = "more frequent" if mix["change"] > 0 else "rarer"
    return f"{dimension_noun(mix['dimension'])} {mix['value']} became {frequent}"


def coverage_sentence(finding: Any) -> str:
    """For which share of the requests a metric is known, where and since when, and what that leaves open."""
    f = finding
    label, *also = f.labels
    names = f"{label} (with {listed(also)})" if also else label
    limits = format_moved(f.change, f.low, f.high, f.unit)
    told = f"{names} is known for {format_value(f.value, f.unit)} of the requests {_place(f)}, "
    told += f"{format_value(f.was, f.unit)} before ({limits}; {format_count(f.n, 'requests')})"
    told += f": {_shift(f.mix)}" if f.mix else ""
    if f.bounds is None:
        return f"{told}."
    worst = worst_words(f.bounds, f.metric_unit)
    return f"{told}. Whether it got better or worse cannot be told: the change may be {worst}."


def story_sentence(kinds: Sequence[str], *, days: float, metrics: int, dimensions: int) -> str:
    """What was found, or that nothing was. kinds: of the findings; days: of the window."""
    window = format_count(round(days), "days")
    looked = f"{format_count(metrics, 'metrics')} searched in every group of {dimensions} dimensions"
    if not kinds:
        return f"Nothing changed for certain in the last {window}: {looked}."
    worse = sum(kind in ("regression", "hidden_regression") for kind in kinds)
    better, unknown, mix = (sum(kind == k for kind in kinds) for k in ("improvement", "coverage", "mix"))
    counts = ((worse, "got worse"), (better, "got better"), (mix, "moved by the mix alone"),
              (unknown, "known for another share of requests"))  # fmt: skip
    return f"What changed in {window}: {', '.join(f'{n} {word}' for n, word in counts if n)}; {looked}."
