"""Recognisers of structured identifiers, one file a kind; their words and written forms lie in `patterns.toml`."""

from __future__ import annotations

from typing import Any

from kpi.disk.tables import table_of

DATA: dict[str, dict[str, Any]] = table_of(__file__, "patterns")


def words(module: str, name: str) -> frozenset[str]:
    """A list of words of `patterns.toml`."""
    return frozenset(DATA[module][name].split())
