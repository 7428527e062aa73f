"""Exports of vendors, one module each. A module in this package is a format; nothing else lists it.

A format says how it is recognised and what its records mean:

    NAME = "acme"                              # short, lower case; stands on receipts
    TITLE = "Acme traces"                      # as people call it
    KEYS = ("acme_trace_id acme_span_id",)     # sets of keys or columns that only its records have

    def translate(record: dict, say: Say) -> Iterator[Span | Score | Incident]:
        ...

Optional: ALONE = ("type payload",), sets of keys that are no more than common words: they tell only where a record has
at most one key beside them. TEXTS = ("name answer",), columns of its tables whose cells stay the text they are, also
where that is JSON. `recognises(names) -> bool`, where no fixed set of keys tells; nested keys count with a dot
(`context.trace_id`), and it is asked only where the keys of no other format are there.

Where these names are many, they lie in a TOML file beside the module, in small letters, which `names_of(__file__)`
reads: `name` (else that of the module), `title`, `keys`, `alone`, `texts`.

`record` is one JSON object, CSV row or Parquet row (`kpi.ingest.files.records`). `translate` yields what it states with
`observed.span`, `observed.whole`, `Score` and `Incident`; `say` takes what could not be read. Where records need each
other (a score that comes before its trace), they are kept in `say.kept`, and a function `finish(say)` yields what
they come to when all inputs of the load have been read.
"""

import importlib
import pkgutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kpi.disk.tables import by_word, lists, sets, table_of
from kpi.ingest.otlp.attributes import count_of, exact, first_read, mapping, nusd, objects, parse, truth_of
from kpi.ingest.otlp.decode import OK, UNKNOWN, Attributes, Event, Span, attributes_of, identifier, nanos
from kpi.ingest.spans.items import MALFORMED, Incident, Item, Score
from kpi.ingest.spans.record_report import Say
from kpi.ingest.spans.span_rows import stable_id

# isort: off
from kpi.ingest.spans.builder import added, as_text, ended, facts_in, fields, first_of, milliseconds, nested, only
from kpi.ingest.spans.builder import renamed, span, text_blocks, verdict, whole
# isort: on

# The vocabulary of formats, which they import from here.
__all__ = [
    "MALFORMED", "OK", "UNKNOWN", "Attributes", "Event", "Format", "Incident", "Item", "Names", "Say", "Score", "Span",
    "added", "as_text", "attributes_of", "count_of", "ended", "exact", "facts_in", "fields", "first_of", "first_read",
    "formats", "identifier", "mapping", "milliseconds", "names_of", "nanos", "nested", "nusd", "objects", "only",
    "parse", "recognise", "renamed", "resembles", "span", "stable_id", "text_blocks", "truth_of", "verdict", "whole",
]  # fmt: skip


@dataclass(frozen=True)
class Format:
    """One vendor's export. keys: sets of keys; a record is of this format when it has all of one set.

    texts: columns of delimited text that are not read as JSON or repr. alone: keys that tell with one other at most.
    """

    name: str
    title: str
    keys: tuple[frozenset[str], ...]
    translate: Callable[[dict[str, Any], Any], Iterator[Item]]
    finish: Callable[[Any], Iterator[Item]] | None
    texts: frozenset[str] = frozenset()
    recognises: Callable[[Collection[str]], bool] | None = None
    alone: tuple[frozenset[str], ...] = ()

    def matches(self, names: Collection[str]) -> int:
        """Size of the largest set of keys that `names` holds whole; 0 for none."""
        own = set(names)
        alone = [keys for keys in self.alone if keys <= own and len(own) <= len(keys) + 1]
        most = max((len(keys) for keys in (*self.keys, *alone) if keys <= own), default=0)
        return most or int(self.recognises is not None and self.recognises(names))


@dataclass(frozen=True)
class Names:
    """What the TOML file beside the module of a format says; name to texts as a module itself has them in capitals.

    kinds: word of the vendor -> one of `kpi.schema.SPAN_KINDS`. sets: names of fields, by what they are for; in the
    file `@other` stands for all of another set, which is above. facts: of `builder.span`, with the fields of one object
    that state them, the most telling first. table: the file.
    """

    name: str
    title: str
    keys: tuple[str, ...]
    alone: tuple[str, ...]
    texts: tuple[str, ...]
    kinds: dict[str, str]
    sets: dict[str, frozenset[str]]
    facts: dict[str, dict[str, tuple[str, ...]]]
    table: dict[str, Any]


@cache
def names_of(module: str) -> Names:
    """The names of a format from the TOML file beside its module. module: its `__file__`."""
    table = table_of(module)
    keys = (*table.get("keys", ()), *_spellings(*table.get("spelled", ())))
    return Names(
        table.get("name", Path(module).stem), table["title"], keys, tuple(table.get("alone", ())),
        tuple(table.get("texts", "").split()), by_word(table.get("kinds", {})), sets(table.get("sets", {})),
        {about: lists(facts) for about, facts in table.get("facts", {}).items()}, table)  # fmt: skip


def _spellings(*keys: str) -> tuple[str, ...]:
    """Sets of keys as the gateway writes them, in capitals as warehouses do, and in camel case as SDKs do."""
    found: dict[str, None] = {}
    for text in keys:
        parts = [name.split("_") for name in text.split()]
        camel = " ".join(p[0] + "".join(w.capitalize() for w in p[1:]) for p in parts)
        found |= dict.fromkeys((text, text.upper(), camel))
    return tuple(found)


@cache
def formats() -> dict[str, Format]:
    """Every format by name, found by looking into this package."""
    names = (info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))
    found = (_format(importlib.import_module(f"{__name__}.{name}")) for name in names)
    return {format.name: format for format in found}


def _format(module: Any) -> Format:
    """A format, as its module says or the TOML file beside that."""
    beside = names_of(module.__file__) if Path(module.__file__).with_suffix(".toml").exists() else None

    def told(part: str) -> Any:
        return getattr(module, part.upper(), getattr(beside, part, ()))

    keys, alone = (tuple(frozenset(text.split()) for text in told(part)) for part in ("keys", "alone"))
    return Format(told("name"), told("title"), keys, module.translate, getattr(module, "finish", None),
                  fields(*told("texts")), getattr(module, "recognises", None), alone)  # fmt: skip


def recognise(names: Collection[str]) -> Format | None:
    """The format whose records have these keys, the one that names most of them; None for none."""
    best = max(formats().values(), key=lambda f: (f.matches(names), f.recognises is None), default=None)
    return best if best and best.matches(names) else None


def resembles(names: Collection[str], *, least: int = 3) -> Format | None:
    """The format whose keys these are but for case, blanks and signs, as spreadsheets and databases rewrite them.

    Few keys may be anybody's; None where no format has as many as `least`.
    """
    present = {_bare(name) for name in names}
    of_each = ((len(keys), f) for f in formats().values() for keys in f.keys if {_bare(k) for k in keys} <= present)
    size, found = max(of_each, key=lambda pair: pair[0], default=(0, None))
    return found if size >= least else None


def _bare(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
