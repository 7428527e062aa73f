"""Named connections: what is refused before anything is opened, what stays secret, what a session may do."""

from __future__ import annotations

import sqlite3
import traceback
from pathlib import Path

import pytest
import sqlalchemy as sa

from kpi.errors import StoreError
from kpi.store import connections, sessions
from kpi.store.connections import open_engine
from kpi.store.sessions import redact_url

CANARY = "hunter2-canary"
SECRETS = f"""
[connections.shop]
dialect = "postgresql"
host = "localhost"
database = "shop"
username = "reader"
password = "{CANARY}"
table = "traces"

[connections.files]
url = "sqlite:///inside.db"
"""
REFUSED = [
    "sqlite:////etc/passwd", "sqlite+pysqlite:////etc/passwd", "sqlite:///../outside.db", "sqlite:///absent.db",
    "sqlite:///link.db", "sqlite://", "sqlite:///:memory:", "sqlite:///file:inside.db?uri=true",
    "sqlite:///inside.db?mode=rwc", "sqlite+aiosqlite:///inside.db", "SQLite:///inside.db", "sqlite:///%2e%2e/outside.db",
    "sqlite:///inside.db%00", "duckdb:///../outside.db", "duckdb:////etc/passwd", "duckdb:///:memory:",
    "duckdb:///inside.db?access_mode=read_write", "duckdb:///md:cloud",
    "postgresql://u:p@h/d?service=x", "postgresql://u:p@h/d?passfile=/etc/passwd", "postgresql://u:p@h/d?host=/tmp",
    "postgresql://u:p@h/d?sslrootcert=/etc/passwd", "postgresql://u:p@h/d?options=-c%20a%3Db",
    "postgresql://u:p@h/d?sslmode=a&sslmode=b", "postgresql+psycopg2://u:p@h/d", "postgresql:///d",
    "mysql+pymysql://u:p@h/d?local_infile=1", "mysql+mysqldb://u:p@h/d", "mysql+pymysql://u:p@h/d?read_default_file=/x",
    "postgresql://u:p@169.254.169.254/d", "postgresql://u:p@2852039166/d", "postgresql://u:p@0xa9fea9fe/d",
    "postgresql://u:p@[fe80::1]/d", "postgresql://u:p@[::ffff:169.254.169.254]/d", "postgresql://u:p@[fd00:ec2::254]/d",
    "postgresql://u:p@100.100.100.200/d", "postgresql://u:p@169%2e254%2e169%2e254/d", "postgresql://u:p@a,b/d",
    "postgresql://u:p@0.0.0.0/d", "oracle://u:p@h/d", "mssql+pyodbc://u:p@h/d", "file:///etc/passwd", "nonsense", "",
    "snowflake://u:p@h/d",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The administrator's data folder, with one SQLite file in it, one outside and a link to that one."""
    place = tmp_path / "databases"
    place.mkdir()
    for path in (place / "inside.db", tmp_path / "outside.db"):
        with sqlite3.connect(path) as made:
            made.execute("CREATE TABLE requests (trace_id TEXT)")
            made.execute("INSERT INTO requests VALUES ('one')")
        made.close()
    (place / "link.db").symlink_to(tmp_path / "outside.db")
    secrets = tmp_path / "secrets.toml"
    secrets.write_text(SECRETS)
    monkeypatch.setenv("KPI_DATA_DIR", str(place))
    monkeypatch.setenv("KPI_SECRETS", str(secrets))
    monkeypatch.setenv("KPI_HOME", str(tmp_path / "home"))
    return place


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every connection that a driver would have made."""
    tried: list[object] = []
    monkeypatch.setattr(sa.pool.Pool, "connect", lambda self: tried.append(self))
    return tried


@pytest.mark.parametrize("url", REFUSED)
def test_refused_before_anything_is_opened(url: str, folder: Path, no_network: list, monkeypatch) -> None:
    monkeypatch.setenv("KPI_CONNECTION_BAD", url)
    before = sorted(p for p in folder.parent.rglob("*"))
    with pytest.raises(StoreError) as caught:
        open_engine("bad")
    assert (caught.value.code, str(caught.value)) == (
        "connection.refused",
        "This connection cannot be used. Ask the administrator: `kpi connections` on the server says why.",
    )
    assert no_network == []
    assert sorted(p for p in folder.parent.rglob("*")) == before
    (told,) = (c for c in connections.connections() if c.name == "bad")
    assert told.problem
    assert "p@" not in told.problem


def test_names_come_from_the_file_and_the_environment(folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("KPI_CONNECTION_FILES", "sqlite+pysqlite:///inside.db")
    monkeypatch.setenv("KPI_CONNECTION_MORE", "mariadb://u@localhost/d")
    found = {c.name: (c.dialect, c.description, c.table) for c in connections.connections()}
    assert found == {
        "files": ("sqlite", "SQLite file", "requests"),
        "more": ("mariadb", "MariaDB", "requests"),
        "shop": ("postgresql", "PostgreSQL", "traces"),
    }
    with pytest.raises(StoreError, match="There is no connection 'none'") as caught:
        open_engine("none")
    assert "files, more, shop" in caught.value.hint


def test_without_a_file_there_are_no_names(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("KPI_SECRETS", str(tmp_path / "absent.toml"))
    assert connections.connections() == []


def test_a_broken_file_is_said_without_quoting_it(folder: Path, monkeypatch) -> None:
    Path(folder.parent / "secrets.toml").write_text(f'[connections.shop]\npassword = "{CANARY}\n')
    with pytest.raises(StoreError) as caught:
        connections.connections()
    assert caught.value.code == "connection.secrets"
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_file_is_opened_read_only(folder: Path) -> None:
    engine = open_engine("files")
    assert engine is open_engine("files")
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM requests")).scalar() == 1
        for statement in ("INSERT INTO requests VALUES ('two')", "CREATE TABLE more (a)", "DELETE FROM requests"):
            with pytest.raises(sa.exc.OperationalError):
                connection.execute(sa.text(statement))


def test_a_long_statement_ends(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(sessions, "TIMEOUT_S", 0.2)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with open_engine("files").connect() as connection, pytest.raises(sa.exc.OperationalError, match="interrupted"):
        connection.execute(sa.text(endless))


def test_a_changed_password_takes_effect(folder: Path, monkeypatch) -> None:
    before = open_engine("shop")
    path = folder.parent / "secrets.toml"
    path.write_text(path.read_text().replace(CANARY, "another"))
    after = open_engine("shop")
    assert (before.url.password, after.url.password) == (CANARY, "another")


def test_a_name_that_moves_to_a_metadata_address_is_refused_when_connecting(folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("KPI_CONNECTION_MOVED", f"postgresql://reader:{CANARY}@moving.example/d")
    answers = iter(["10.0.0.1", "169.254.169.254"])
    monkeypatch.setattr(sessions.socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (next(answers), 0))])
    engine = open_engine("moved")
    with pytest.raises(StoreError) as caught:
        engine.connect()
    assert caught.value.code == "connection.refused"
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_missing_driver_says_what_to_install(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(sessions, "installed", lambda kind: False)
    with pytest.raises(StoreError) as caught:
        open_engine("shop")
    assert caught.value.code == "connection.no_driver"
    assert "ai-index[databases]" in caught.value.hint


def test_urls_for_people_hold_no_secret() -> None:
    for url in (
        f"postgresql://reader:{CANARY}@h/d", f"postgresql://h/d?password={CANARY}", f"snowflake://u@a/d?token={CANARY}",
        f"mysql+pymysql://{CANARY}@h/d", f"{CANARY}", f"postgresql://u:{CANARY}@h:port/d",
    ):  # fmt: skip
        shown = redact_url(url)
        assert CANARY not in shown
        assert "***" in shown
    assert redact_url("postgresql://u:p@h/d?sslmode=require") == "postgresql://***:***@h/d?sslmode=***"


def test_clickhouse_reads_only(folder: Path) -> None:
    """On ClickHouse's engine in this process, with the settings that a server is asked for."""
    pytest.importorskip("chdb", reason="ClickHouse's engine is not installed: pip install '.[engines]'")
    driver = pytest.importorskip("clickhouse_connect.dbapi")
    url = sa.make_url("clickhousedb+connect://reader@localhost/d")
    settings = sessions.connect_arguments(sessions.kind_of(url.drivername), url)["connect_args"]
    asked = {k: v for k, v in settings.items() if k.startswith("ch_")}
    made = driver.connect(interface="chdb", **asked)
    try:
        with pytest.raises(driver.DatabaseError, match="readonly"):
            made.command("CREATE TABLE more (a Int64) ENGINE = Memory")
        with pytest.raises(driver.DatabaseError, match="readonly"):
            made.command("SET readonly = 0")
        assert int(made.command("SELECT value FROM system.settings WHERE name = 'max_execution_time'")) == 30
    finally:
        made.close()


def test_the_file_stands_beside_the_app(folder: Path, tmp_path: Path, monkeypatch) -> None:
    place = tmp_path / "project" / ".streamlit"
    place.mkdir(parents=True)
    (place / "secrets.toml").write_text('[connections.here]\nurl = "sqlite:///inside.db"\n[other]\nkey = 1\n')
    monkeypatch.delenv("KPI_SECRETS")
    monkeypatch.chdir(place.parent)
    assert [c.name for c in connections.connections()] == ["here"]
    assert open_engine("here").connect().closed is False
