"""The engines that the statement must agree on, each filled with the same requests and opened as a source.

DuckDB, SQLite and PostgreSQL are always there; an engine that is not installed skips with what is missing.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kpi.mapping.mapping import Mapping
from kpi.store.databases import DuckFileSource, SqlSource
from kpi.store.engines import SQL_TYPES, Source, arrow_kind
from kpi.store.sessions import WIDE
from kpi.store.spark import SparkSource
from tests import postgres

Make = Callable[..., Source]
ENGINES = ("postgresql", "sqlite", "duckdb file", "clickhouse", "spark", "mariadb")


def _sql(engine: sa.Engine, mapping: Mapping | None = None) -> SqlSource:
    return SqlSource(engine, name=engine.dialect.name, mapping=mapping)


@contextmanager
def filled(name: str, rows: pa.Table, folder: Path) -> Iterator[Make]:
    """Rows as table `requests` of engine `name`; yields what opens it, with a mapping or as canonical. Skips when the
    engine is not there."""
    makers = {
        "postgresql": _postgresql, "sqlite": _sqlite, "duckdb file": _duckdb, "clickhouse": _clickhouse,
        "spark": _spark, "mariadb": _mariadb,
    }  # fmt: skip
    with makers[name](rows, folder) as opened:
        yield opened


@contextmanager
def _postgresql(rows: pa.Table, folder: Path) -> Iterator[Make]:
    with postgres.server() as engine:
        postgres.fill(engine, "requests", rows)
        yield partial(_sql, engine)


@contextmanager
def _sqlite(rows: pa.Table, folder: Path) -> Iterator[Make]:
    engine = sa.create_engine(f"sqlite:///{folder / 'requests.db'}")
    insert(engine, "requests", rows)
    yield partial(_sql, engine)
    engine.dispose()


@contextmanager
def _duckdb(rows: pa.Table, folder: Path) -> Iterator[Make]:
    path = folder / "requests.duckdb"
    with duckdb.connect(str(path)) as made:
        made.execute("SET TimeZone='Asia/Kolkata'")
        made.execute("CREATE TABLE requests AS SELECT * FROM rows")
    yield lambda mapping=None: DuckFileSource(path, name="file", mapping=mapping)


@contextmanager
def _clickhouse(rows: pa.Table, folder: Path) -> Iterator[Make]:
    """The engine of ClickHouse in this process, through ClickHouse's own SQLAlchemy dialect."""
    _need("chdb", "clickhouse_connect")
    import clickhouse_connect.dbapi as driver

    path = folder / "requests.parquet"
    pq.write_table(rows, path)
    engine = sa.create_engine(
        "clickhousedb://", creator=lambda: driver.connect(interface="chdb", **WIDE), poolclass=sa.StaticPool
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS requests")
        connection.exec_driver_sql(
            f"CREATE TABLE requests ENGINE = MergeTree ORDER BY tuple() AS SELECT * FROM file('{path}', Parquet)"
        )
    yield partial(_sql, engine)
    engine.dispose()


@contextmanager
def _spark(rows: pa.Table, folder: Path) -> Iterator[Make]:
    _need("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    from pyspark.sql import SparkSession

    path = folder / "spark.parquet"
    pq.write_table(rows, path)
    quiet = {
        "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC", "spark.sql.shuffle.partitions": "2",
        "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
    }  # fmt: skip
    builder = SparkSession.builder.master("local[2]").appName("parity")
    for key, value in quiet.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    session.read.parquet(str(path)).createOrReplaceTempView("requests")
    yield lambda mapping=None: SparkSource(session, name="spark", mapping=mapping)
    session.stop()


@contextmanager
def _mariadb(rows: pa.Table, folder: Path) -> Iterator[Make]:
    with mariadb() as engine:
        insert(engine, "requests", rows)
        yield partial(_sql, engine)


@contextmanager
def mariadb() -> Iterator[sa.Engine]:
    """A private MariaDB on a socket in a folder of its own, gone when the block ends."""
    _need("pymysql")
    server, install = shutil.which("mariadbd") or "/usr/sbin/mariadbd", shutil.which("mariadb-install-db")
    if not Path(server).exists() or install is None:
        pytest.skip("MariaDB's server is not installed: apt-get install mariadb-server")
    folder = Path(tempfile.mkdtemp(prefix="maria"))
    account: dict[str, object] = {}
    if os.geteuid() == 0:
        entry = pwd.getpwnam("mysql")
        account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    process = None
    try:
        places = [f"--datadir={folder / 'data'}", "--no-defaults"]
        subprocess.run(
            [install, *reversed(places), "--auth-root-authentication-method=normal", "--skip-test-db"], cwd=folder,
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600, **account,
        )  # fmt: skip
        socket = folder / "socket"
        process = subprocess.Popen(
            [server, *reversed(places), "--skip-networking", f"--socket={socket}", "--default-time-zone=+05:30",
             "--innodb-flush-log-at-trx-commit=0", f"--pid-file={folder / 'pid'}"],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **account,
        )  # fmt: skip
        url = sa.URL.create("mysql+pymysql", username="root", query={"unix_socket": str(socket), "charset": "utf8mb4"})
        _create_database(url)
        engine = sa.create_engine(url.set(database="test"))
        yield engine
        engine.dispose()
    finally:
        if process is not None:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _create_database(url: sa.URL) -> None:
    engine = sa.create_engine(url)
    for _ in range(300):
        with suppress(sa.exc.OperationalError), engine.connect() as connection:
            connection.exec_driver_sql("CREATE DATABASE test CHARACTER SET utf8mb4")
            break
        time.sleep(0.1)
    engine.dispose()


def insert(engine: sa.Engine, name: str, rows: pa.Table) -> None:
    """Copy rows into a fresh table of a database without time zones: times are written in UTC."""
    moment = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    kinds = {f.name: moment if arrow_kind(f.type) == "time" else SQL_TYPES[arrow_kind(f.type)] for f in rows.schema}
    table = sa.Table(name, sa.MetaData(), *(sa.Column(c, kind) for c, kind in kinds.items()))
    plain = [
        {k: v.astimezone(UTC).replace(tzinfo=None) if hasattr(v, "astimezone") else v for k, v in row.items()}
        for row in rows.to_pylist()
    ]
    with engine.begin() as connection:
        table.drop(connection, checkfirst=True)
        table.create(connection)
        if plain:
            connection.execute(table.insert(), plain)


def _need(*modules: str) -> None:
    missing = [m for m in modules if find_spec(m) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (pip install '.[engines]')")
