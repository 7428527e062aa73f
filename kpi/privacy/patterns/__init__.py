"""Recognisers of structured identifiers, one file a kind; their words and written forms lie in `patterns.toml`."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

DATA: dict[str, dict[str, Any]] = tomllib.loads(files(__name__).joinpath("patterns.toml").read_text("utf-8"))


def words(module: str, name: str) -> frozenset[str]:
    """A list of words of `patterns.toml`."""
    return frozenset(DATA[module][name].split())
