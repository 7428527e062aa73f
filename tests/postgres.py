"""A private PostgreSQL for tests: initdb in a temporary folder, a Unix socket, gone afterwards.

PostgreSQL refuses to run as root, so there the server runs as user `postgres`. Where the binaries are absent, tests
that need it fail on CI with one line that says what to install, and are skipped elsewhere.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa

from kpi.store.databases import SqlSource
from kpi.store.engines import SQL_TYPES, arrow_kind

INSTALL = "PostgreSQL's initdb is missing: apt-get install postgresql"
_USER, _DATABASE = "tester", "postgres"


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl: beside what PATH finds, what pg_config says, or the Debian layout."""
    places = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    if config := shutil.which("pg_config"):
        told = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        places += [Path(told)] if told else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((p for p in places if (p / "initdb").exists() and (p / "pg_ctl").exists()), None)


def _account() -> dict[str, object]:
    """How the server's processes are started: as `postgres` (or nobody) when we are root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL does not run as root, and there is no user postgres or nobody")


@contextmanager
def server() -> Iterator[sa.Engine]:
    """An engine on a fresh private server; the server and its folder are gone when the block ends."""
    found = binaries()
    if found is None:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(INSTALL, pytrace=False)
        pytest.skip(INSTALL)
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    try:
        if account:
            os.chown(folder, account["user"], account["group"])
        environment = {**os.environ, "LC_ALL": "C", "HOME": str(folder), "TZ": "UTC"}
        run = lambda *words: subprocess.run(  # noqa: E731
            [str(w) for w in words], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, timeout=600, **account,
        )  # fmt: skip
        data = folder / "data"
        run(found / "initdb", "-D", data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        # no TCP at all: the socket stands in the private folder, so no port can be taken by somebody else
        options = f"-c listen_addresses='' -k {folder} -c fsync=off -c full_page_writes=off -c timezone=Asia/Kolkata"
        run(found / "pg_ctl", "-D", data, "-w", "-t", "60", "-l", folder / "log", "-o", options, "start")
        engine = sa.create_engine(
            sa.URL.create("postgresql+psycopg", username=_USER, database=_DATABASE, query={"host": str(folder)})
        )
        try:
            yield engine
        finally:
            engine.dispose()
            with suppress(subprocess.SubprocessError):
                run(found / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fill(engine: sa.Engine, name: str, rows: pa.Table) -> SqlSource:
    """A source over `rows`, copied into a fresh table `name` that stands for `requests`."""
    kinds = {f.name: SQL_TYPES[arrow_kind(f.type)] for f in rows.schema}
    table = sa.Table(name, sa.MetaData(), *(sa.Column(c, kind) for c, kind in kinds.items()))
    table.drop(engine, checkfirst=True)
    table.create(engine)
    connection = engine.raw_connection()
    try:
        driver: psycopg.Connection = connection.driver_connection
        columns = ", ".join(f'"{c}"' for c in rows.column_names)
        with driver.cursor() as cursor, cursor.copy(f'COPY "{name}" ({columns}) FROM STDIN') as copy:
            for row in zip(*(c.to_pylist() for c in rows.columns), strict=True):
                copy.write_row(row)
        driver.commit()
    finally:
        connection.close()
    return SqlSource(engine, name=name, tables={"requests": name})
