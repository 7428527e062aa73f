"""Databases of vendors, one module each: where their records lie, and how the rows that came in since are found.

A vendor's module has NAME (the format in `kpi.ingest.formats` that understands its records), TABLES (sets of tables by
which its database is known) and STREAMS (`kpi.ingest.databases.streams.Stream`). A database is another way to the
same records that the vendor's files hold: what they mean is said once, in the format.
"""

from collections.abc import Collection
from dataclasses import dataclass

from kpi.ingest.databases import langfuse, litellm, mlflow, phoenix
from kpi.ingest.databases.streams import Stream


@dataclass(frozen=True)
class Vendor:
    """One vendor's database. tables: sets of tables; a database that has all of one set is the vendor's."""

    name: str
    tables: tuple[frozenset[str], ...]
    streams: tuple[Stream, ...]


VENDORS: dict[str, Vendor] = {
    module.NAME: Vendor(module.NAME, tuple(frozenset(words.split()) for words in module.TABLES), module.STREAMS)
    for module in (phoenix, mlflow, litellm, langfuse)
}


def recognise(tables: Collection[str]) -> list[Vendor]:
    """The vendors whose tables are all among these."""
    present = set(tables)
    return [vendor for vendor in VENDORS.values() if any(names <= present for names in vendor.tables)]
