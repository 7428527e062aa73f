"""Changes in words: one finding, what to do about it, and all findings of a slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kpi.narrate.names import dimension_noun
from kpi.narrate.wording import format_change, format_change_interval, format_count, format_value

KEEP = "Keep it: find out what made it better."
PLAN_FOR_MIX = "No group got worse: plan for the new mix, and judge versions within each group."
READ_TRACES = "Read ten traces of the segment, failed ones first."


def finding_sentence(finding: Any, label: str) -> str:
    """One sentence: what, where, since when, by how much and how sure. finding: the fields of `kpi.Finding`."""
    f = finding
    words = [f"{label} {'rose' if f.change > 0 else 'fell'}"]
    if f.where:
        words.append("for " + " and ".join(f"{dimension_noun(d)} {v}" for d, v in f.where.items()))
    if f.version:
        words.append(f"with {dimension_noun(f.version_of or '')} {f.version}")
    words.append(f"since {f.since.day} {f.since:%b}")
    size = f"{format_value(f.was, f.unit)} to {format_value(f.value, f.unit)}"
    limits = f"{format_change(f.change, f.unit)}, {format_change_interval(f.low, f.high, f.unit)}"
    told = f"{' '.join(words)}: {size} ({limits}; {format_count(f.n, 'requests')})"
    if f.kind == "hidden_regression":
        told += ", not visible in the overall metric"
    if f.mix:
        told += f": no group changed, {dimension_noun(f.mix['dimension'])} {f.mix['value']} became " + (
            "more frequent" if f.mix["change"] > 0 else "rarer"
        )
    return told + "."


def roll_back(version: str) -> str:
    return f"Compare {version} with the version before it there; roll it back if the traces agree."


def story_sentence(kinds: Sequence[str], *, days: float, metrics: int, dimensions: int) -> str:
    """What was found, or that nothing was. kinds: of the findings; days: of the window."""
    window = format_count(round(days), "days")
    looked = f"{format_count(metrics, 'metrics')} searched in every group of {dimensions} dimensions"
    if not kinds:
        return f"Nothing changed for certain in the last {window}: {looked}."
    worse = sum(kind in ("regression", "hidden_regression") for kind in kinds)
    better = sum(kind == "improvement" for kind in kinds)
    counts = ((worse, "got worse"), (better, "got better"), (len(kinds) - worse - better, "moved by the mix alone"))
    return f"What changed in {window}: {', '.join(f'{n} {word}' for n, word in counts if n)}; {looked}."


def nothing_to_compare(*, timed: bool) -> str:
    """Why nothing can be said about what changed, and the remedy."""
    said = "The data has no days before this window" if timed else "The data has no times"
    hint = "load earlier requests" if timed else "load an export that says when requests began"
    return f"{said}, so nothing can be said about what changed: {hint}."
