"""A native DuckDB file beside a data set: one version's requests, laid out for fast grouping. Thrown away freely.

The lake stays the truth. The file holds every column of `requests`, texts of few values as ENUM, and helpers that
spare each query work per row: `cluster_id`, a 64-bit hash of who repeats (user, else session, else request),
`cluster_hash`, the first digits of its MD5, and `started_utc`. It is written under a draft name and renamed, so that
readers in other processes see all of it or nothing.
"""

import contextlib
import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import duckdb

from kpi.disk.full import STORING, full, is_full
from kpi.disk.owned_folders import DRAFT, OwnedFolder
from kpi.disk.permissions import FILE, make_private
from kpi.schema import DIMENSIONS, EXTRA_PREFIX
from kpi.store.sql import literal, name, parquet

CLUSTER, HASHED, STARTED = "cluster_id", "cluster_hash", "started_utc"
HELPERS = (CLUSTER, HASHED, STARTED)
DIGITS = 3  # hexadecimal ones of the hash that are kept
KEPT = 2  # files per data set: the newest version and the one before, which an open page may still read
_FEW = 5_000
_LOG = logging.getLogger(__name__)
_MORE_DIMENSIONS = ("outcome_source", "worst_severity", "error_type", "cost_source", "unpriced_model")


def cache_path(folder: Path, fingerprint: str) -> Path:
    """Where the cache of one version of a data set lies, or would lie; a file never serves another engine version."""
    return folder / "cache" / f"{fingerprint}-duckdb{duckdb.__version__}.duckdb"


def build_cache(path: Path, files: Sequence[Path]) -> bool:
    """Build the cache of the requests in these Parquet files. False where it cannot be written; nothing is left."""
    place = path.parent
    try:
        make_private(place)
        with OwnedFolder(DRAFT, place) as drafts:
            _build(drafts / path.name, files)
            (drafts / path.name).chmod(FILE)
            os.replace(drafts / path.name, path)
    except (OSError, duckdb.Error) as error:
        if is_full(error):
            _LOG.warning("%s", full(STORING, "building a cache", after="pages are slower without it, and as right"))
        return False
    others = [p for p in place.glob("*.duckdb") if p != path]
    for old in sorted(others, key=lambda p: p.stat().st_mtime, reverse=True)[KEPT - 1 :]:
        old.unlink(missing_ok=True)
    return True


def _build(draft: Path, files: Sequence[Path]) -> None:
    rows = parquet(files)
    with contextlib.closing(duckdb.connect(str(draft))) as connection:
        connection.execute("SET TimeZone='UTC'")
        columns = [r[0] for r in connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()]
        dimensions = [c for c in columns if c in DIMENSIONS or c in _MORE_DIMENSIONS or c.startswith(EXTRA_PREFIX)]
        kinds = _enums(connection, rows, dimensions)
        chosen = [f"{name(c)}::{kinds[c]} AS {name(c)}" if c in kinds else name(c) for c in columns]
        chosen += helpers(columns)
        connection.execute(f"CREATE TABLE requests AS SELECT {', '.join(chosen)} FROM {rows}")
        connection.execute("CHECKPOINT")


def helpers(columns: Collection[str]) -> list[str]:
    """The helper columns as expressions of SQL over requests of these columns."""
    who = f"coalesce({', '.join([*(name(c) for c in ('user_key', 'session_id', 'trace_id') if c in columns), 'NULL'])})"
    made = [f"hash({who}) AS {CLUSTER}", f"substr(md5({who}), 1, {DIGITS}) AS {HASHED}"]
    return [*made, f"started_at::TIMESTAMP AS {STARTED}"] if "started_at" in columns else made


def _enums(connection: duckdb.DuckDBPyConnection, rows: str, columns: Sequence[str]) -> dict[str, str]:
    """An ENUM type for each column of few values: column -> type name."""
    if not columns:
        return {}
    lists = ", ".join(f"list(DISTINCT {name(c)}) FILTER ({name(c)} IS NOT NULL)" for c in columns)
    found = connection.execute(f"SELECT {lists} FROM {rows}").fetchone() or ()
    kinds = {}
    for i, (column, values) in enumerate(zip(columns, found, strict=True)):
        if values and len(values) <= _FEW:
            kinds[column] = f"values_{i}"
            connection.execute(f"CREATE TYPE values_{i} AS ENUM ({', '.join(literal(v) for v in sorted(values))})")
    return kinds
