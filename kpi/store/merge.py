"""Which rows of a load are new, changed or known: set comparisons in DuckDB over Parquet files, out of core.

Nothing here writes to the lake: the result is a plan, one query of the rows to write and the files they replace.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
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
        raise StoreError.told("store.merge", kind=type(error).__name__) from error
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
    """Merges staged rows of one table into the files of its current version. Views and tables carry `prefix`.

    new, changed: rows by key; known: rows of the input that add nothing. moved: rows of requests that are stored with
    another time. query: rows to append, None where nothing is to do; replaced: files that those rows stand in for.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, table: Table, *, staged: Sequence[Path],
        stored: Sequence[Path], stored_extra: Sequence[str] = (), prefix: str = "",
    ) -> None:  # fmt: skip
        self._connection, self._run = connection, connection.execute
        self.table = table
        self._staged, self._stored = staged, stored
        self._extra = extra_columns(staged, table)
        self._held = {*table.names, *stored_extra}  # columns that the stored rows have
        self.extra = tuple(sorted({*self._extra, *stored_extra}))
        self._prefix = f"{prefix}{table.name}"
        self._columns = [*table.names, *self._extra]  # what the input speaks about
        self._all = [*table.names, *self.extra]
        rows, distinct = self._fresh()
        self._hits = self._stored_keys()
        self.changed = self._changed() if self._hits else 0
        self.new = distinct - self._hits
        self.known = rows - self.new - self.changed
        self.replaced: list[Path] = []
        self.moved = 0
        parts = [self._changing()] if self.changed else []
        if self.new:
            parts.append(f"{self._select('fresh')}{self._unknown()}")
        united = " UNION ALL ".join(parts)
        self.query = f"SELECT * FROM ({united}) ORDER BY {names(_order(table))}" if parts else None

    def _changing(self) -> str:
        """A query of the files in which a row changes, whole, with the rows as they will be."""
        key = self.table.key
        join = f"{self._t('hits')} h JOIN {self._t('changed')} c ON {same(key, 'h', 'c')}"
        self.replaced = [Path(r[0]) for r in self._fetch(f"SELECT DISTINCT h._file FROM {join} ORDER BY 1")]
        if self.table.name == "requests":  # a corrected request keeps its time
            join = f"{self._t('changed')} c JOIN {scan(self.replaced, self.table)} o ON {same(key, 'c', 'o')}"
            times = f"SELECT count(*) FROM {join} WHERE c.started_at <> o.started_at"
            self.moved = number(self._connection, times)
        kept = f"SELECT {self._every('o', self._held)} FROM {scan(self.replaced, self.table)} o"
        left = f"WHERE NOT EXISTS (FROM {self._t('changed')} c WHERE {same(key, 'o', 'c')})"
        return f"{kept} {left} UNION ALL {self._select('changed')}"

    def _unknown(self) -> str:
        """A condition on rows `s` of the input: their key is not stored yet."""
        stored = f"FROM {self._t('hits')} h WHERE {same(self.table.key, 'h', 's')}"
        return f" WHERE NOT EXISTS ({stored})" if self._hits else ""

    def touched_traces(self) -> str:
        """A query of the trace ids that new or changed rows belong to."""
        new = f"SELECT s.trace_id FROM {self._t('fresh')} s{self._unknown()}"
        both = f"{new} UNION ALL SELECT trace_id FROM {self._t('changed')}" if self._hits else new
        return f"SELECT DISTINCT trace_id FROM ({both}) WHERE trace_id IS NOT NULL"

    def given_traces(self) -> str:
        """A query of all trace ids of the input."""
        return f"SELECT DISTINCT trace_id FROM {self._t('fresh')} WHERE trace_id IS NOT NULL"

    def count(self, condition: str) -> int:
        """Keys of the input whose row meets a condition of SQL."""
        return number(self._connection, f"SELECT count(*) FROM {self._t('fresh')} WHERE {condition}")

    def _t(self, what: str) -> str:
        return name(f"{self._prefix}_{what}")

    def _fetch(self, query: str) -> list[tuple[Any, ...]]:
        return self._run(query).fetchall()

    def _kind(self, column: str) -> str:
        return _TYPES[schema.extra_type(column) if schema.is_extra(column) else self.table[column].type]

    def _select(self, what: str) -> str:
        """Rows of a work table, all columns of the merged table; those that it lacks are null."""
        return f"SELECT {self._every('s', self._columns if what == 'fresh' else self._all)} FROM {self._t(what)} s"

    def _every(self, alias: str, given: Collection[str]) -> str:
        lacking = {c: f"NULL::{self._kind(c)} AS {name(c)}" for c in self._all if c not in given}
        return ", ".join(lacking.get(c, f"{alias}.{name(c)}") for c in self._all)

    def _fresh(self) -> tuple[int, int]:
        """The input with every key once: the last row counts, or where rows complete each other the best of each."""
        places = ", ".join(f"{literal(p)}: {i}" for i, p in enumerate(self._staged))
        keys = names(self.table.key)
        staged = parquet(self._staged, f"{UNPARTITIONED}, filename='_file', file_row_number=true")
        columns = ", ".join(f"CAST({name(c)} AS {self._kind(c)}) AS {name(c)}" for c in self._columns)
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

    def _stored_keys(self) -> int:
        """Make the table `hits` of keys that are stored already, and in which file. Returns how many."""
        if not self._stored:
            return 0
        keys = ", ".join(f"o.{name(k)}" for k in self.table.key)
        self._run(f"CREATE OR REPLACE TABLE {self._t('hits')} AS SELECT {keys}, o._file FROM "
                  f"{scan(self._stored, self.table, filename=True)} o "
                  f"SEMI JOIN {self._t('fresh')} s ON {same(self.table.key, 'o', 's')}")  # fmt: skip
        return number(self._connection, f"SELECT count(*) FROM {self._t('hits')}")

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
        return number(self._connection, f"SELECT count(*) FROM {self._t('changed')}")


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


def number(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    """The one number that a query gives."""
    found = connection.execute(query).fetchone()
    return int(found[0]) if found else 0


def filled(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> set[str]:
    """Columns that the statistics of Parquet files prove to hold at least one value."""
    listed = ", ".join(map(literal, files))
    query = (f"SELECT DISTINCT path_in_schema FROM parquet_metadata([{listed}]) "
             "WHERE stats_null_count < row_group_num_rows")  # fmt: skip
    return {row[0] for row in connection.execute(query).fetchall()}


def batches(connection: duckdb.DuckDBPyConnection, query: str) -> pa.RecordBatchReader:
    """The rows of a query as a stream, on a cursor of its own."""
    cursor = connection.cursor()
    cursor.execute("SET TimeZone='UTC'")  # a setting of each session
    return cursor.sql(query).to_arrow_reader(BATCH_ROWS)
