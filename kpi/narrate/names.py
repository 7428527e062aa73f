"""Names of dimensions and segments in words, and the words that depend on a name alone (words.toml)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kpi.disk.tables import table_of

WORDS = table_of(__file__, "words")


def say(kind: str, key: str, **values: object) -> str:
    """The words of a kind for a key (words.toml), with these values in them."""
    return str(WORDS[kind][key].format(**values))


def dimension_noun(dimension: str) -> str:
    """ "prompt" of prompt_version, "use case" of use_case."""
    return str(WORDS["short"].get(dimension, dimension.replace("_", " ")))


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
