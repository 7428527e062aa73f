"""The transaction record: what a data set's tables were before a load began to change them.

Written durably before the first change and removed once the manifest of the new version exists. What is there and was
not there by the record is the load's own unfinished work; without a record nothing of a table is ever taken back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from kpi.disk import durable
from kpi.errors import StoreError
from kpi.store import delta, ours

NAME = ".transaction.json"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class TransactionRecord:
    """base: the version the load builds on, 0 for none. tables: the Delta version of each table that existed.

    present: data files of each table then, relative to its folder.
    """

    base: int
    tables: Mapping[str, int]
    present: Mapping[str, frozenset[str]]


def begin(path: Path, base: int) -> None:
    """Write down how the tables of a data set stand. path: its folder. Raises StoreError."""
    found = {name: delta.latest(path / name) for name in ours.tables(path)}
    tables = {name: version for name, version in found.items() if version is not None}
    present = {name: ours.data_files(path / name) for name in found}
    data = {"format": _FORMAT, "base": base, "tables": tables, "present": present}
    hint = "Nothing was changed. Check the free disk space and load again."
    with durable.told(f"The load of {path.name!r} could not begin", hint):
        durable.write(path / NAME, orjson.dumps(data | {"check": durable.check(data)}))


def read(path: Path) -> TransactionRecord | None:
    """The record of a load that has not ended; None where there is none. Raises StoreError `store.record`."""
    if not exists(path):
        return None
    try:
        data = orjson.loads((path / NAME).read_bytes())
        if data["format"] != _FORMAT or data["check"] != durable.check(data):
            raise ValueError("the record is not what was written")
        present = {name: frozenset(files) for name, files in data["present"].items()}
        tables = {n: int(v) for n, v in data["tables"].items()}
        return TransactionRecord(base=int(data["base"]), tables=tables, present=present)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError.told("store.record", name=path.name) from error


def exists(path: Path) -> bool:
    return (path / NAME).is_symlink() or (path / NAME).exists()


def end(path: Path) -> None:
    """The load has ended, or was taken back: there is nothing unfinished any more."""
    durable.remove(path / NAME)
