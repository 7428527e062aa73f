"""What sets failed requests apart, in words."""

from __future__ import annotations

from collections.abc import Sequence

from kpi.narrate.names import say
from kpi.narrate.wording import format_count, format_value


def feature_name(kind: str, name: str, value: str) -> str:
    """A feature of a request: "tool search failed", "no retrieved docs", "the words “refund”"."""
    stem = name.removesuffix("_us").replace("_", " ")
    kind = "none" if (kind, value) == ("size", "none") else kind
    return say("feature", kind, name=name, value=value, stem=stem)


def contrast_sentence(failed: int, succeeded: int, clear: Sequence[tuple[str, float, float]], unit: str) -> str:
    """clear: features that failed ones surely have more often, with the shares of failed and of successful ones."""
    said = f"{format_count(failed)} of {format_count(failed + succeeded, f'{unit}s')} failed"
    if not clear:
        return f"{said}; nothing that was looked at sets them apart for certain."
    told = [f"{name} ({format_value(a, 'share')} against {format_value(b, 'share')})" for name, a, b in clear]
    return f"{said}. What they more often have: {', '.join(told)}."
