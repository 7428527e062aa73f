"""Names of dimensions and segments in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_SHORT = {"prompt_version": "prompt", "retrieval_version": "index", "policy_version": "policy"}


def dimension_noun(dimension: str) -> str:
    """ "prompt" of prompt_version, "use case" of use_case."""
    return _SHORT.get(dimension, dimension.replace("_", " "))


def segment_name(where: Mapping[str, str]) -> str:
    """ "intent billing and language es"."""
    return " and ".join(f"{d.replace('_', ' ')} {v}" for d, v in where.items())


def sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def listed(names: Sequence[str], most: int = 3) -> str:
    """ "a, b, c and 2 more"."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def p_words(p: float) -> str:
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"
