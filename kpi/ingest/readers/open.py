"""Inputs named by a user, opened: files, folders and archives of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from kpi.errors import IngestError
from kpi.ingest.files.archive import _SPLIT_HINT, _open, expand
from kpi.ingest.files.source import SQLITE, Opened
from kpi.ingest.limits import Limits


def open_inputs(paths: Sequence[Path], *, limits: Limits) -> Iterator[Opened]:
    """Every logical input of the given files, archives opened one level deep.

    Raises IngestError when a file is empty, too large, damaged, or holds an archive inside an archive.
    """
    files = expand(paths)
    if sum(f.stat().st_size for f in files) > limits.input_bytes:
        raise IngestError("ingest.too_large", "The files are too large for one load", hint=_SPLIT_HINT)
    for path in files:
        for source in _open(path, limits):
            if source.head.startswith(SQLITE):
                from kpi.ingest.databases import sqlite_file as databases

                yield from databases.inputs(source, limits)
            else:
                yield source
