"""A session on a SQLite file reads tables and views, and does nothing else."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from kpi.store.databases import SqlSource
from kpi.store.sessions import connect_arguments, kind_of, prepare

SQLITE = kind_of("sqlite")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "x.db"
    made = sqlite3.connect(path)
    made.executescript(
        "CREATE TABLE log (trace_id TEXT PRIMARY KEY, started_at TEXT, total_us INT, x_tags TEXT);"
        "INSERT INTO log VALUES ('a', '2026-01-01', 5, '[1, 2]'), ('b', '2026-01-02', 7, NULL);"
        "CREATE INDEX by_time ON log (started_at);"
        "CREATE VIEW requests AS SELECT trace_id, started_at, total_us, upper(x_tags) AS x_tags FROM log;"
    )
    made.close()
    return path


@pytest.fixture
def session(database: Path):
    engine = sa.create_engine("sqlite://", **connect_arguments(SQLITE, sa.make_url(f"sqlite:///{database}")))
    prepare(SQLITE, engine)
    with engine.connect() as connection:
        yield connection.connection.driver_connection
    engine.dispose()


REFUSED = (
    "ATTACH DATABASE '{other}' AS other", "ATTACH ':memory:' AS other", "DETACH main",
    "INSERT INTO log VALUES ('c', '', 1, '')", "UPDATE log SET total_us = 1", "DELETE FROM log", "DROP TABLE log",
    "UPDATE sqlite_master SET sql = ''", "UPDATE sqlite_schema SET name = 'x'", "DELETE FROM sqlite_master",
    "REPLACE INTO log VALUES ('a', '', 1, '')", "CREATE TABLE t (a)", "CREATE TEMP TABLE t (a)",
    "CREATE VIEW v AS SELECT 1", "CREATE TEMP VIEW v AS SELECT 1", "CREATE INDEX i ON log (total_us)",
    "CREATE TRIGGER t AFTER INSERT ON log BEGIN SELECT 1; END", "ALTER TABLE log RENAME TO gone", "REINDEX", "ANALYZE",
    "VACUUM", "VACUUM INTO '{other}'", "CREATE VIRTUAL TABLE v USING fts5(a)", "SAVEPOINT s",
    "PRAGMA query_only=OFF", "PRAGMA query_only(0)", "PRAGMA trusted_schema=ON", "PRAGMA writable_schema=ON",
    "PRAGMA journal_mode=DELETE", "PRAGMA journal_mode", "PRAGMA user_version=7", "PRAGMA main.user_version=7",
    "PRAGMA temp_store_directory='{folder}'", "PRAGMA optimize", "PRAGMA wal_checkpoint", "PRAGMA incremental_vacuum",
    "PRAGMA mmap_size=1000000", "PRAGMA cache_spill=ON", "PRAGMA hard_heap_limit=1", "PRAGMA key='x'",
    "SELECT * FROM pragma_query_only(0)", "SELECT load_extension('x')", "EXPLAIN DELETE FROM log",
    "WITH x AS (SELECT 1) INSERT INTO log SELECT 1, 2, 3, 4",
)  # fmt: skip


@pytest.mark.parametrize("statement", REFUSED)
def test_everything_but_reading_is_refused(statement: str, session: sqlite3.Connection, database: Path) -> None:
    before = database.read_bytes()
    other = database.with_name("other.db")
    with pytest.raises(sqlite3.OperationalError):
        session.cursor().execute(statement.format(other=other, folder=database.parent)).fetchall()
    assert not other.exists()
    assert database.read_bytes() == before
    assert sorted(p.name for p in database.parent.iterdir()) == ["x.db"]
    assert session.execute("PRAGMA query_only").fetchone() == (1,)
    assert session.execute("PRAGMA trusted_schema").fetchone() == (0,)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT trace_id FROM log", "SELECT x_tags FROM requests",
        "SELECT count(*), avg(total_us) FROM log GROUP BY 1 % 2",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n",
        "SELECT value FROM log, json_each(log.x_tags)", "SELECT rank() OVER (ORDER BY total_us) FROM log",
        "SELECT name FROM sqlite_master", "PRAGMA table_info(log)", "PRAGMA main.table_xinfo('log')",
        "PRAGMA index_list(log)", "PRAGMA foreign_key_list(log)", "SELECT name FROM pragma_table_info('log')",
        "PRAGMA read_uncommitted", "SELECT sqlite_version()",
    ],
)  # fmt: skip
def test_reading_works(statement: str, session: sqlite3.Connection) -> None:
    assert isinstance(session.execute(statement).fetchall(), list)
    session.execute("BEGIN")
    assert session.in_transaction
    session.execute("ROLLBACK")
    assert not session.in_transaction


def test_a_source_reads_tables_and_views(database: Path) -> None:
    engine = sa.create_engine("sqlite://", **connect_arguments(SQLITE, sa.make_url(f"sqlite:///{database}")))
    prepare(SQLITE, engine)
    for name in ("log", "requests"):
        source = SqlSource(engine, name="db:x", tables={"requests": name})
        rows = source.table("requests")
        found = source.run(sa.select(rows.c["trace_id"], rows.c["total_us"]).order_by(rows.c["trace_id"]))
        assert found.to_pylist() == [{"trace_id": "a", "total_us": 5}, {"trace_id": "b", "total_us": 7}]
    engine.dispose()
