"""What is not read, by kind: the tables of `refusals.toml`, and what bytes and texts are that hold no table.

A refusal that names the file for what it is saves the next try; none offers a mapping where no mapping can help.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from kpi.disk.tables import table_of


@dataclass(frozen=True)
class Refusal:
    """keys: sets of names; an object or table that has all of one set is of this kind. among: if given, it also has no
    other names than these. path: keys that lead to the object, where it does not lie at the top."""

    title: str
    instead: str
    keys: Sequence[str]
    among: str = ""
    path: Sequence[str] = ()

    def matches(self, names: Collection[str]) -> bool:
        present = set(names)
        if self.among and present - set(self.among.split()):
            return False
        return any(set(keys.split()) <= present for keys in self.keys)


_DATA = table_of(__file__)
_SENTENCES: dict[str, str] = _DATA["sentences"]


def _told(sentences: list[str]) -> str:
    """Sentences, or names of those that several kinds share, as one text."""
    return " ".join(_SENTENCES.get(part, part) for part in sentences)


KINDS = tuple(Refusal(**{**kind, "instead": _told(kind["instead"])}) for kind in _DATA["kinds"])
_MAGICS = [(at, magic.encode("latin-1"), title, told.split()) for at, magic, title, told in _DATA["magics"]]
_PRINTED = frozenset(b"\t\r\n" + bytes(range(32, 127)))
_PROMETHEUS = re.compile(r'#\s*(?:HELP|TYPE|UNIT)\s+\w|[a-zA-Z_:][\w:]*\{[^}\n]*="[^}\n]*\}\s+[-+\d.NaInfe]+')
_TEXTS = [
    (_PROMETHEUS, "metrics as Prometheus writes them", ["sums", "traces"]),
    *((re.compile(start), title, told) for start, title, told in _DATA["texts"]),
]


def by_names(names: Collection[str]) -> Refusal | None:
    """The kind of an object or a table with these names, where it is one that is not read."""
    return next((k for k in KINDS if not k.path and k.matches(names)), None)


def by_paths(keys: Mapping[tuple[str, ...], Collection[str]]) -> Refusal | None:
    """The kind of a document by the names in its inner objects; keys as `detect.json_keys` gives them."""
    return next((k for k in KINDS if k.path and k.matches(keys.get(tuple(k.path), ()))), None)


def by_content(head: bytes, text: str | None) -> tuple[str, str] | None:
    """(title, what to do instead) of bytes or text that can be no table; None where nothing is known about it."""
    for offset, magic, title, instead in _MAGICS:
        printed = len(magic) < 3 and set(head[:64]) <= _PRINTED  # plain letters, which a text may begin with as well
        if head[offset : offset + len(magic)] == magic and not printed:
            return title, _told(instead)
    return next(((title, _told(told)) for pattern, title, told in _TEXTS if text and pattern.match(text)), None)


def is_metrics(text: str) -> bool:
    """Whether a text is metrics as Prometheus writes them, of which a line may look like the header of a table."""
    return _PROMETHEUS.match(text) is not None
