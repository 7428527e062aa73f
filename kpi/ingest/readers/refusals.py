"""What is not read, by kind: the tables of `refusals.toml`, and what bytes and texts are that hold no table.

A refusal that names the file for what it is saves the next try; none offers a mapping where no mapping can help.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from kpi.disk.tables import table_of

_TABLE = "Write the data as CSV, JSONL or Parquet, with one row a request."
_XLSX = "Save it as .xlsx without a password, or the sheet with one row a request as CSV."
_UNPACK = "Unpack it and load the files in it, or pack them as zip, gzip or zstd."


@dataclass(frozen=True)
class Refusal:
    """keys: sets of names; an object or table that has all of one set is of this kind. among: if given, it also has no
    other names than these. path: keys that lead to the object, where it does not lie at the top."""

    title: str
    instead: str
    keys: tuple[str, ...]
    among: str = ""
    path: tuple[str, ...] = ()

    def matches(self, names: Collection[str]) -> bool:
        present = set(names)
        if self.among and present - set(self.among.split()):
            return False
        return any(set(keys.split()) <= present for keys in self.keys)


_DATA = table_of(__file__)
_SENTENCES: dict[str, str] = _DATA["sentences"]


def _refusal(title: str, instead: list[str], keys: list[str], among: str = "", path: Sequence[str] = ()) -> Refusal:
    return Refusal(title, " ".join(_SENTENCES.get(part, part) for part in instead), tuple(keys), among, tuple(path))


KINDS = tuple(_refusal(**kind) for kind in _DATA["kinds"])

# What no text holds, by its first bytes; (offset, bytes, title, instead).
_MAGICS = (
    (0, b"%PDF", "a PDF", _TABLE), (0, b"\x89PNG", "an image", _TABLE), (0, b"\xff\xd8\xff", "an image", _TABLE),
    (0, b"GIF8", "an image", _TABLE), (8, b"WEBP", "an image", _TABLE), (0, b"BM", "an image", _TABLE),
    (0, b"\x80\x04\x95", "a Python pickle, which is never opened", _TABLE),
    (0, b"\x80\x05\x95", "a Python pickle, which is never opened", _TABLE),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document (.xls)", _XLSX), (0, b"ARROW1", "Arrow or Feather", _TABLE),
    (0, b"Obj\x01", "Avro", _TABLE), (0, b"ORC", "ORC", _TABLE), (0, b"\x89HDF", "HDF5", _TABLE),
    (257, b"ustar", "a tar archive", _UNPACK), (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK), (0, b"\x04\x22\x4d\x18", "LZ4", _UNPACK), (0, b"\x7fELF", "a program", ""),
    (0, b"MZ", "a program", ""),
)  # fmt: skip
_PRINTED = frozenset(b"\t\r\n" + bytes(range(32, 127)))
_PROMETHEUS = re.compile(r'#\s*(?:HELP|TYPE|UNIT)\s+\w|[a-zA-Z_:][\w:]*\{[^}\n]*="[^}\n]*\}\s+[-+\d.NaInfe]+')
# Text that is no table, by how it begins.
_TEXTS = (
    (_PROMETHEUS, "metrics as Prometheus writes them", f"{_SENTENCES['sums']} {_SENTENCES['traces']}"),
    (re.compile(r"\s*(?:<!doctype html|<html|<head|<body)", re.IGNORECASE), "a page of HTML",
     "Use the export of the tool that shows the page, not the page. " + _SENTENCES["traces"]),
    (re.compile(r"\s*<\?xml|\s*<[A-Za-z][\w:.-]*[\s>]"), "XML", _TABLE),
    (re.compile(r"%PDF"), "a PDF", _TABLE),
    (re.compile(r"\s*openapi:\s"), "a description of an API", _SENTENCES["traces"]),
)  # fmt: skip


def by_names(names: Collection[str]) -> Refusal | None:
    """The kind of an object or a table with these names, where it is one that is not read."""
    return next((k for k in KINDS if not k.path and k.matches(names)), None)


def by_paths(keys: Mapping[tuple[str, ...], Collection[str]]) -> Refusal | None:
    """The kind of a document by the names in its inner objects; keys as `detect.json_keys` gives them."""
    return next((k for k in KINDS if k.path and k.matches(keys.get(k.path, ()))), None)


def by_content(head: bytes, text: str | None) -> tuple[str, str] | None:
    """(title, what to do instead) of bytes or text that can be no table; None where nothing is known about it."""
    for offset, magic, title, instead in _MAGICS:
        if head[offset : offset + len(magic)] == magic and not (len(magic) < 3 and _is_printed(head)):
            return title, instead
    return next(((title, instead) for pattern, title, instead in _TEXTS if text and pattern.match(text)), None)


def is_metrics(text: str) -> bool:
    """Whether a text is metrics as Prometheus writes them, of which a line may look like the header of a table."""
    return _PROMETHEUS.match(text) is not None


def _is_printed(head: bytes) -> bool:
    """Whether these bytes are plain letters, which a text may begin with as well."""
    return set(head[:64]) <= _PRINTED
