"""Recognisers of structured identifiers, one file a kind; `patterns.toml` has the words, `shapes.toml` the shapes."""

from typing import Any

from kpi.disk.tables import Patterns, table_of

DATA: dict[str, dict[str, Any]] = table_of(__file__, "patterns")
_SHAPES = table_of(__file__, "shapes")


def words(module: str, name: str) -> frozenset[str]:
    """A list of words of `patterns.toml`."""
    return frozenset(DATA[module][name].split())


def shapes(module: str) -> Patterns:
    """The regular expressions of a module of this room."""
    return Patterns(_SHAPES[module])
