"""Which rows of a load are new, changed or known: set comparisons in DuckDB over Parquet files, out of core.

Nothing here writes to the lake: the result is a plan, one query of the rows to write and the files they replace.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kpi import schema
from kpi.errors import StoreError
from kpi.schema import Table
from kpi.store.sql import UNPARTITIONED, literal, name, names, parquet

MEMORY = "512MB"
_TYPES = {
    "string": "VARCHAR", "bool": "BOOLEAN", "int": "BIGINT", "float": "DOUBLE", "time": "TIMESTAMPTZ", "date": "DATE",
}  # fmt: skip
_ORDER = "_order"
COALESCED = frozenset(["spans", "tool_calls"])  # partial rows of these complete each other: null overwrites nothing
_JSON = frozenset(["attributes", "context"])  # objects whose keys complete each other
_VAGUE = {"status": "running", "error_type": "error"}  # every other value says more than this one
_PARTIAL = frozenset(["trace_id", "at"])  # what some exports of a score leave out, and others of the same do not
_ENDED, _SETTLED = 2**60, 2**61  # what an end, and a value that is not vague, count for beside the order of arrival
_UNITED = """
CREATE OR REPLACE MACRO united(older, newer) AS CASE
    WHEN newer IS NULL THEN older
    WHEN older IS NULL OR older = newer THEN newer
    ELSE coalesce(TRY(CAST(to_json(map_from_entries(list_sort(map_entries(
        from_json(json_merge_patch(older, newer), '"MAP(VARCHAR, JSON)"'))))) AS VARCHAR)), newer)
END"""  # keys sorted, so that the text does not depend on who came first
BATCH_ROWS = 16_384


@dataclass(frozen=True, kw_only=True)
class MergePlan:
    """What merging one table comes to. new, changed: rows by key; known: rows of the input that add nothing.

    query: rows to append (None: nothing to do); replaced: files of the table that those rows stand in for. moved: rows
    of requests that are stored with another time.
    """

    table: Table
    extra: tuple[str, ...]
    query: str | None
    replaced: tuple[Path, ...]
    new: int
    changed: int
    known: int
    moved: int = 0


@contextmanager
def workspace(directory: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection whose tables and sorts spill into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(str(directory / "work.duckdb"))
    try:
        connection.execute("SET TimeZone='UTC'")
        connection.execute(f"SET memory_limit='{MEMORY}'")
        connection.execute(f"SET temp_directory={literal(directory / 'spill')}")
        connection.execute("SET preserve_insertion_order=false")
        connection.execute(_UNITED)
        yield connection
    except duckdb.Error as error:
        raise StoreError("store.merge", f"The rows could not be merged ({type(error).__name__})",
                         hint="Nothing was changed. Check the free disk space and load again.") from error  # fmt: skip
    finally:
        connection.close()


def scan(files: Sequence[Path], table: Table, *, filename: bool = False) -> str:
    """A table function over Parquet files of one table. The day of a request stands in the path, not in the file."""
    by_day = "hive_partitioning=true, hive_types={'day': 'DATE'}"
    options = by_day if table.name == "requests" else UNPARTITIONED
    rows = parquet(files, f"{options}, filename='_file'" if filename else options)
    new = _newer_columns(files, table)
    return f"(SELECT *, {', '.join(new)} FROM {rows})" if new else rows


def ordered(files: Sequence[Path], table: Table, extra: Sequence[str]) -> str:
    """A query of all rows of some files, in the order in which a table is written."""
    return f"SELECT {names((*table.names, *extra))} FROM {scan(files, table)} ORDER BY {names(_order(table))}"


def _order(table: Table) -> tuple[str, ...]:
    return ("day", *table.key) if table.name == "requests" else tuple(table.key)


def _newer_columns(files: Sequence[Path], table: Table) -> list[str]:
    """Columns of the table that no file has, because a release before them wrote it: null."""
    lacking = {c.name: c for c in table.columns if c.name != "day"}
    for path in reversed(files):
        for column in _stored_names(path):
            lacking.pop(column, None)
        if not lacking:
            break
    return [f"NULL::{_TYPES[c.type]} AS {name(c.name)}" for c in lacking.values()]


@lru_cache(maxsize=4096)
def _stored_names(path: Path) -> tuple[str, ...]:
    return tuple(pq.read_schema(path).names)


def extra_columns(files: Sequence[Path], table: Table) -> tuple[str, ...]:
    """The `x_` and `m_` columns in staged files, sorted."""
    found = {c for f in files for c in pq.read_schema(f).names if schema.is_extra(c)}
    return tuple(sorted(found)) if table.name == "requests" else ()


def staged_files(directory: Path, table: str) -> list[Path]:
    """Staged files of a table in the order in which they were written."""
    folder = directory / table
    if not folder.is_dir():
        return []
    return sorted(folder.glob("*.parquet"), key=lambda p: (int(p.stem) if p.stem.isdigit() else -1, p.name))


def same(keys: Sequence[str], left: str, right: str) -> str:
    return " AND ".join(f"{left}.{name(k)} IS NOT DISTINCT FROM {right}.{name(k)}" for k in keys)


class Merge:
    """Merges staged rows of one table into the files of its current version. Views and tables carry `prefix`."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, table: Table, *, staged: Sequence[Path],
        stored: Sequence[Path], stored_extra: Sequence[str] = (), prefix: str = "",
    ) -> None:  # fmt: skip
        self._run = connection.execute
        self.table = table
        self._staged, self._stored = staged, stored
        self._extra = extra_columns(staged, table)
        self._held = {*table.names, *stored_extra}  # columns that the stored rows have
        self.extra = tuple(sorted({*self._extra, *stored_extra}))
        self._prefix = f"{prefix}{table.name}"
        self._columns = [*table.names, *self._extra]  # what the input speaks about
        self._all = [*table.names, *self.extra]
        self.distinct = 0  # keys of the input

    def plan(self) -> MergePlan:
        """Compare and decide. Reads keys first; whole rows only where a key is known already."""
        rows, distinct = self._fresh()
        self.distinct = distinct
        hits = self._hits()
        if not hits:
            return self._plan(self._select("fresh"), (), new=distinct, changed=0, known=rows - distinct)
        changed = self._changed()
        new = distinct - hits
        known = rows - new - changed
        known_keys = f"FROM {self._t('hits')} h WHERE {same(self.table.key, 'h', 's')}"
        added = f"{self._select('fresh')} WHERE NOT EXISTS ({known_keys})"
        if not changed:
            return self._plan(added if new else None, (), new=new, changed=0, known=known)
        key = self.table.key
        join = f"{self._t('hits')} h JOIN {self._t('changed')} c ON {same(key, 'h', 'c')}"
        files = [Path(r[0]) for r in self._fetch(f"SELECT DISTINCT h._file FROM {join} ORDER BY 1")]
        kept = (f"SELECT {self._every('o', self._held)} FROM {scan(files, self.table)} o "
                f"WHERE NOT EXISTS (FROM {self._t('changed')} c WHERE {same(key, 'o', 'c')})")  # fmt: skip
        query = f"{kept} UNION ALL {self._select('changed')} UNION ALL {added}"
        return self._plan(query, tuple(files), new=new, changed=changed, known=known, moved=self._moved(files))

    def _moved(self, files: Sequence[Path]) -> int:
        """Requests that the store has under the same id at another time: a corrected request keeps its time."""
        if self.table.name != "requests":
            return 0
        join = f"{self._t('changed')} c JOIN {scan(files, self.table)} o ON {same(self.table.key, 'c', 'o')}"
        return int(self._fetch(f"SELECT count(*) FROM {join} WHERE c.started_at <> o.started_at")[0][0])

    def touched_traces(self) -> str:
        """A query of the trace ids that new or changed rows belong to. After `plan`."""
        if not self._exists("hits"):
            return f"SELECT DISTINCT trace_id FROM {self._t('fresh')} WHERE trace_id IS NOT NULL"
        new = (f"SELECT s.trace_id FROM {self._t('fresh')} s "
               f"WHERE NOT EXISTS (FROM {self._t('hits')} h WHERE {same(self.table.key, 'h', 's')})")  # fmt: skip
        both = f"{new} UNION ALL SELECT trace_id FROM {self._t('changed')}"
        return f"SELECT DISTINCT trace_id FROM ({both}) WHERE trace_id IS NOT NULL"

    def given_traces(self) -> str:
        """A query of all trace ids of the input."""
        return f"SELECT DISTINCT trace_id FROM {self._t('fresh')} WHERE trace_id IS NOT NULL"

    def count(self, condition: str) -> int:
        """Keys of the input whose row meets a condition of SQL."""
        return int(self._fetch(f"SELECT count(*) FROM {self._t('fresh')} WHERE {condition}")[0][0])

    def _plan(
        self, query: str | None, files: tuple[Path, ...], *, new: int, changed: int, known: int, moved: int = 0
    ) -> MergePlan:
        if query is not None:
            query = f"SELECT * FROM ({query}) ORDER BY {names(_order(self.table))}"
        return MergePlan(table=self.table, extra=self.extra, query=query if new or changed else None,
                         replaced=files, new=new, changed=changed, known=known, moved=moved)  # fmt: skip

    def _t(self, what: str) -> str:
        return name(f"{self._prefix}_{what}")

    def _fetch(self, query: str) -> list[tuple[Any, ...]]:
        return self._run(query).fetchall()

    def _exists(self, what: str) -> bool:
        found = self._fetch(f"SELECT 1 FROM duckdb_tables() WHERE table_name = {literal(f'{self._prefix}_{what}')}")
        return bool(found)

    def _typed(self, column: str) -> str:
        return f"CAST({name(column)} AS {self._kind(column)}) AS {name(column)}"

    def _kind(self, column: str) -> str:
        return _TYPES[schema.extra_type(column) if schema.is_extra(column) else self.table[column].type]

    def _null(self, column: str) -> str:
        return f"NULL::{self._kind(column)} AS {name(column)}"

    def _select(self, what: str) -> str:
        """Rows of a work table, all columns of the merged table; those that it lacks are null."""
        return f"SELECT {self._every('s', self._columns if what == 'fresh' else self._all)} FROM {self._t(what)} s"

    def _every(self, alias: str, given: Collection[str]) -> str:
        return ", ".join(f"{alias}.{name(c)}" if c in given else self._null(c) for c in self._all)

    def _fresh(self) -> tuple[int, int]:
        """The input with every key once: the last row counts, or where rows complete each other the best of each."""
        places = ", ".join(f"{literal(p)}: {i}" for i, p in enumerate(self._staged))
        keys = names(self.table.key)
        staged = parquet(self._staged, f"{UNPARTITIONED}, filename='_file', file_row_number=true")
        columns = ", ".join(map(self._typed, self._columns))
        order = f"(MAP {{{places}}}[_file]::BIGINT * 4294967296 + file_row_number) AS {_ORDER}"
        self._run(f"CREATE OR REPLACE VIEW {self._t('raw')} AS SELECT {columns}, {order} FROM {staged}")
        counts = f"SELECT count(*) AS n FROM {self._t('raw')} GROUP BY {keys}"
        rows, distinct = self._fetch(f"SELECT coalesce(sum(n), 0)::BIGINT, count(*) FROM ({counts})")[0]
        raw, plain = self._t("raw"), names(self._columns)
        if rows == distinct:
            self._run(f"CREATE OR REPLACE VIEW {self._t('fresh')} AS SELECT {plain} FROM {raw}")
            return rows, distinct
        self._run(f"CREATE OR REPLACE TABLE {self._t('twice')} AS "
                  f"SELECT {keys} FROM {raw} GROUP BY {keys} HAVING count(*) > 1")  # fmt: skip
        match, twice = same(self.table.key, "t", "r"), self._t("twice")
        if self.table.name in COALESCED or _joined(self.table):
            made = _best if self.table.name in COALESCED else _latest
            best = ", ".join(name(c) if c in self.table.key else f"{made(c)} AS {name(c)}" for c in self._columns)
            merged = f"SELECT {best} FROM {raw} r SEMI JOIN {twice} t ON {match} GROUP BY {keys}"
        else:
            latest = f"row_number() OVER (PARTITION BY {keys} ORDER BY {_ORDER} DESC) = 1"
            merged = f"SELECT {plain} FROM {raw} r SEMI JOIN {twice} t ON {match} QUALIFY {latest}"
        self._run(
            f"CREATE OR REPLACE TABLE {self._t('fresh')} AS "
            f"SELECT {plain} FROM {raw} r ANTI JOIN {self._t('twice')} t ON {match} UNION ALL {merged}"
        )
        return rows, distinct

    def _hits(self) -> int:
        """Keys that are stored already, and in which file."""
        if not self._stored:
            return 0
        keys = ", ".join(f"o.{name(k)}" for k in self.table.key)
        self._run(f"CREATE OR REPLACE TABLE {self._t('hits')} AS SELECT {keys}, o._file FROM "
                  f"{scan(self._stored, self.table, filename=True)} o "
                  f"SEMI JOIN {self._t('fresh')} s ON {same(self.table.key, 'o', 's')}")  # fmt: skip
        count = self._fetch(f"SELECT count(*) FROM {self._t('hits')}")[0][0]
        if not count:
            self._run(f"DROP TABLE {self._t('hits')}")
        return int(count)

    def _changed(self) -> int:
        """Known keys whose stored row would become another one, as merged rows."""
        files = [Path(r[0]) for r in self._fetch(f"SELECT DISTINCT _file FROM {self._t('hits')} ORDER BY 1")]
        columns, differs = [], []
        for c in self._all:
            old = f"o.{name(c)}" if c in self._held else f"NULL::{self._kind(c)}"
            if c in self.table.key or c not in self._columns:
                columns.append(f"{old} AS {name(c)}")
                continue
            new = _completed(c) if self.table.name in COALESCED else f"s.{name(c)}"
            if c in _PARTIAL and _joined(self.table):
                new = f"coalesce({new}, {old})"
            columns.append(f"{new} AS {name(c)}")
            differs.append(f"{new} IS DISTINCT FROM {old}")
        self._run(
            f"CREATE OR REPLACE TABLE {self._t('changed')} AS SELECT {', '.join(columns)} FROM {self._t('fresh')} s "
            f"JOIN {scan(files, self.table)} o ON {same(self.table.key, 's', 'o')} WHERE {' OR '.join(differs)}"
        )
        return int(self._fetch(f"SELECT count(*) FROM {self._t('changed')}")[0][0])


def _joined(table: Table) -> bool:
    """Whether rows of the table may come without the trace that they belong to."""
    return "trace_id" in table.names and "trace_id" not in table.key


def _latest(column: str) -> str:
    """Of several rows of one score in the input (an aggregate): as the last has it, also null, but for `_PARTIAL`."""
    return f"{'arg_max' if column in _PARTIAL else 'arg_max_null'}({name(column)}, {_ORDER})"


def _best(column: str) -> str:
    """Of several rows of one key in the input (an aggregate). What has ended is better than what has not, and later
    is better than earlier."""
    rank = f"{_ORDER} + CASE WHEN duration_us IS NULL THEN 0 ELSE {_ENDED} END"
    if column in _JSON:
        kept = f"list({name(column)} ORDER BY {rank}) FILTER ({name(column)} IS NOT NULL)"
        return f"list_reduce({kept}, lambda older, newer: united(older, newer))"
    if column in _VAGUE:
        rank = f"{rank} + CASE WHEN {name(column)} = {literal(_VAGUE[column])} THEN 0 ELSE {_SETTLED} END"
    return f"arg_max({name(column)}, {rank})"


def _completed(column: str) -> str:
    """Of the row in store `o` and the row of the input `s`, by the same order: no fact is lost, whoever came first."""
    old, new = f"o.{name(column)}", f"s.{name(column)}"
    poorer = "s.duration_us IS NULL AND o.duration_us IS NOT NULL"
    if column in _JSON:
        return f"CASE WHEN {poorer} THEN united({new}, {old}) ELSE united({old}, {new}) END"
    if column in _VAGUE:
        vague = literal(_VAGUE[column])
        poorer = f"({poorer} AND {old} <> {vague}) OR {new} = {vague}"
    return f"CASE WHEN {poorer} THEN coalesce({old}, {new}) ELSE coalesce({new}, {old}) END"


def batches(connection: duckdb.DuckDBPyConnection, query: str) -> pa.RecordBatchReader:
    """The rows of a query as a stream, on a cursor of its own."""
    cursor = connection.cursor()
    cursor.execute("SET TimeZone='UTC'")  # a setting of each session
    return cursor.sql(query).to_arrow_reader(BATCH_ROWS)
