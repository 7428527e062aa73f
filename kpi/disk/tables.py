"""Tables of names that ship with the package: TOML beside the module that reads it, names parted by blanks."""

import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any


def table_of(module: str, name: str = "") -> dict[str, Any]:
    """The TOML file beside a module, of its own name where no other is given. module: its `__file__`."""
    path = Path(module)
    return tomllib.loads(path.with_name(f"{name or path.stem}.toml").read_text("utf-8"))


def lists(table: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """`{fact: "name other_name"}` -> `{fact: ("name", "other_name")}`, in the order of the table."""
    return {key: tuple(text.split()) for key, text in table.items()}


def by_word(table: Mapping[str, str]) -> dict[str, str]:
    """`{kind: "word other"}` -> `{"word": kind, "other": kind}`."""
    return {word: key for key, text in table.items() for word in text.split()}


def sets(table: Mapping[str, Any], known: Mapping[str, Collection[str]] | None = None) -> dict[str, frozenset[str]]:
    """`{name: "word @other"}` -> sets of words. `@other` stands for all of another set, which is known or above.

    A list instead of a text has words that hold blanks.
    """
    found = {name: frozenset(words) for name, words in (known or {}).items()}
    for name, stated in table.items():
        words = stated.split() if isinstance(stated, str) else stated
        found[name] = frozenset[str]().union(*(found[w[1:]] if w.startswith("@") else {w} for w in words))
    return {name: found[name] for name in table}


class Patterns:
    """The regular expressions of a table, each an attribute. A list is the parts of one."""

    def __init__(self, table: Mapping[str, str | list[str]]) -> None:
        vars(self).update({name: re.compile("".join(shape)) for name, shape in table.items()})

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> re.Pattern[str]: ...
