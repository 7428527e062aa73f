"""Databases read in place: mapped tables, wrong mappings, what stays hidden, engines that go away."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa

import kpi
from kpi.errors import KpiError, MappingError, StoreError
from kpi.mapping.mapping import ColumnMapping
from kpi.store import connections, databases, live, sessions
from kpi.store.databases import SqlSource
from tests import engines, postgres

pytestmark = pytest.mark.slow

N = 400
MAIL, USED = "someone@example.com", "postgres"
MAPPING = kpi.Mapping(
    (
        ColumnMapping("req", "trace_id"),
        ColumnMapping("customer", "user_key"),
        ColumnMapping("at_ms", "started_at", "ms"),
        ColumnMapping("llm", "model"),
        ColumnMapping("good", "success"),
        ColumnMapping("handed over", "escalated", "inverted"),
        ColumnMapping("took", "total_us", "s"),
        ColumnMapping("price", "total_nusd", "usd"),
        ColumnMapping("tin", "input_tokens", "tokens"),
        ColumnMapping("http", "status"),
        ColumnMapping("question", "input_text"),
        ColumnMapping("squad", "x_team"),
    )
)
METRICS = ["requests", "users", "task_success", "escalation_rate", "error_rate", "latency_p95", "latency_worst",
           "cost_per_query", "total_cost", "inference_cost", "priced_share", "input_tokens"]  # fmt: skip
ALL = kpi.Slice(last="all", tz="Europe/Berlin")


def foreign_rows() -> pa.Table:
    """A table as others keep it: own names and units, booleans in words, absurd values, holes."""
    rng = np.random.default_rng(5)
    hole = rng.random(N) < 0.1
    start = 1_772_400_000_000
    return pa.table(
        {
            "req": pa.array(range(N), pa.int64()),
            "customer": [f"user{i}@example.com" for i in rng.integers(0, 40, N)],
            "at_ms": pa.array(start + rng.integers(0, 9 * 86_400_000, N), pa.int64()),
            "llm": [["small", "Small", "large ", ""][i] for i in rng.integers(0, 4, N)],
            "good": pa.array([["yes", "no", "maybe"][i] for i in rng.integers(0, 3, N)], mask=hole),
            "handed over": pa.array(rng.integers(0, 2, N), pa.int64()),
            "took": pa.array(np.where(rng.random(N) < 0.05, -1.0, np.round(np.exp(rng.normal(0, 1, N)), 3)), mask=hole),
            "price": pa.array(np.round(np.exp(rng.normal(-5, 1, N)), 6), mask=hole),
            "tin": pa.array(rng.integers(0, 500, N), pa.int64()),
            "http": pa.array(rng.choice([200, 200, 200, 429, 500], N), pa.int64()),
            "question": [f"Where is order {i}? Mail {MAIL}" for i in range(N)],
            "squad": rng.choice(["a", "b"], N).tolist(),
            "unmapped secret": ["do not show"] * N,
        }
    )


def to_sqlite(path: Path, rows: pa.Table, name: str) -> None:
    engine = sa.create_engine(f"sqlite:///{path}")
    engines.insert(engine, name, rows)
    engine.dispose()


@pytest.fixture(scope="module")
def database() -> Iterator[sa.Engine]:
    with postgres.server() as engine:
        yield engine


@pytest.fixture
def files(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder of the administrator, and no connections but those of the test."""
    folder = home / "databases"
    folder.mkdir(parents=True)
    monkeypatch.setenv("KPI_SECRETS", str(home / "absent.toml"))
    yield folder
    connections.forget()


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def named(request: pytest.FixtureRequest, files: Path, monkeypatch) -> Callable[[pa.Table], str]:
    """Puts rows into the table `log` of an engine and returns the name of the connection to it."""

    def put(rows: pa.Table) -> str:
        if request.param == "sqlite":
            to_sqlite(files / "x.db", rows, "log")
            monkeypatch.setenv("KPI_CONNECTION_MINE", "sqlite:///x.db")
        elif request.param == "duckdb":
            with duckdb.connect(str(files / "x.duckdb")) as made:
                made.execute("CREATE TABLE log AS SELECT * FROM rows")
            monkeypatch.setenv("KPI_CONNECTION_MINE", "duckdb:///x.duckdb")
        else:
            engine = request.getfixturevalue("database")
            postgres.fill(engine, "log", rows)
            folder = engine.url.query["host"]
            monkeypatch.setattr(
                connections, "_configured",
                lambda: {"mine": {"dialect": "postgresql", "username": "tester", "host": folder, "database": USED}},
            )  # fmt: skip
        return "mine"

    return put


def test_a_mapped_table_gives_the_numbers_of_a_load(named, home: Path, tmp_path: Path, users_alone: None) -> None:
    """The same mapping over the same rows: in place and loaded. A load drops rows with absurd values whole, so the
    rows are those that it keeps. By users alone: what days add is told by groups of users, whose names differ."""
    rows = foreign_rows()
    rows = rows.filter(pa.compute.fill_null(pa.compute.greater_equal(rows["took"], 0), True))
    kpi.connect(named(rows), table="log", mapping=MAPPING)
    path = tmp_path / "log.parquet"
    pa.parquet.write_table(rows, path)
    kpi.load([path], dataset="loaded", mapping=MAPPING)
    groupings = [kpi.Grouping(), kpi.Grouping(by=("model", "team")), kpi.Grouping(every="day")]
    inside, loaded = (kpi.tally(kpi.open(d), METRICS, ALL, groupings=groupings) for d in ("db:mine", "loaded"))
    for found, expected in zip(inside, loaded, strict=True):
        if "model" in expected:  # a load trims texts, an engine compares them as they are
            found = found.assign(model=found["model"].str.strip())
        pd.testing.assert_frame_equal(found, expected, rtol=1e-9, check_dtype=False)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_mapping_means_the_same_on_every_engine(engine: str, tmp_path: Path) -> None:
    """Units, booleans in words, texts that differ by case or a blank, absurd values: as on a DuckDB file."""
    rows = foreign_rows()
    groupings = [kpi.Grouping(), kpi.Grouping(by=("model", "team")), kpi.Grouping(every="hour")]
    (tmp_path / "right").mkdir()
    answers = []
    for name, folder in (("duckdb file", tmp_path / "right"), (engine, tmp_path)):
        with engines.filled(name, rows, folder) as opened:
            source = opened(mapping=MAPPING)
            answers.append(
                (kpi.tally(source, METRICS, ALL, groupings=groupings), kpi.find_traces(source, ALL, limit=9))
            )
    (right, right_traces), (found, found_traces) = answers
    for one, other in zip(right, found, strict=True):
        columns = [c for c in ("metric", "model", "team", "bucket") if c in one]
        ordered = [f.sort_values(columns, ignore_index=True) for f in (one, other)]
        pd.testing.assert_frame_equal(*ordered, rtol=1e-9, check_dtype=False)
    pd.testing.assert_frame_equal(right_traces, found_traces, rtol=1e-9, check_dtype=False)


def test_absurd_values_are_unknown(named) -> None:
    rows = foreign_rows()
    kpi.connect(named(rows), table="log", mapping=MAPPING)
    found = kpi.summarise(kpi.open("db:mine"), ["latency_worst", "requests"], ALL).set_index("metric")
    good = pa.compute.sum(pa.compute.greater_equal(rows["took"], 0)).as_py()
    assert found.loc["latency_worst", "n"] == good < N - rows["took"].null_count
    assert found.loc["requests", "value"] == N


def test_users_and_unmapped_columns_are_never_shown_and_texts_are_masked(named) -> None:
    kpi.connect(named(foreign_rows()), table="log", mapping=MAPPING)
    source = kpi.open("db:mine")
    listed = kpi.find_traces(source, ALL, limit=500)
    one = kpi.trace(source, "7")
    assert listed["user_key"].isna().all()
    assert "user_key" not in one.request
    told = listed.to_csv() + str(one)
    for secret in ("example.com", "do not show", "unmapped"):
        assert secret not in told
    assert listed["input_text"].str.startswith("Where is order").all()
    assert kpi.find_traces(source, ALL, text="user7@").empty
    with pytest.raises(KpiError, match="has no dimension"):
        kpi.summarise(source, "requests", ALL, by=["user_key"])


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (ColumnMapping("nothing", "total_us", "ms"), "mapping.no_column", "names column 'nothing'"),
        (ColumnMapping("llm", "total_us", "ms"), "mapping.wrong_type", "'llm' holds text and is mapped to total_us"),
        (ColumnMapping("llm", "started_at"), "mapping", "'llm'"),
        (ColumnMapping("squad", "success"), "mapping.contradiction", "'squad' is mapped to success"),
        (ColumnMapping("at_ms", "total_us", "min"), "mapping.contradiction", "'at_ms' is mapped to total_us"),
        (ColumnMapping("at_ms", "started_at", "s"), "mapping", "'at_ms'"),
        (ColumnMapping("at_ms", "ended_at", "ms"), "mapping.not_in_place", "ended_at can only be read when"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_names_the_column(change: ColumnMapping, code: str, told: str, named) -> None:
    name = named(foreign_rows())
    kept = [c for c in MAPPING.columns if c.field not in (change.field, "total_us") and c.source != change.source]
    with pytest.raises(KpiError) as caught:
        kpi.connect(name, table="log", mapping=kpi.Mapping((*kept, change)))
    assert caught.value.code.startswith(code)
    assert told in str(caught.value)
    assert caught.value.hint
    assert live.placement(name) is None


def test_a_table_is_guessed_when_nothing_is_said(named) -> None:
    rows = foreign_rows().rename_columns(
        ["request_id", "user_id", "timestamp", "model", "success", "escalated", "latency_s", "cost_usd",
         "prompt_tokens", "status_code", "prompt", "squad", "notes"]
    )  # fmt: skip
    place = kpi.connect(named(rows), table="log")
    assert place.mapping is not None
    fields = {c.source: (c.field, c.unit) for c in place.mapping.columns if c.field}
    assert fields["timestamp"] == ("started_at", "ms")
    assert fields["latency_s"] == ("total_us", "s")
    assert fields["squad"] == ("x_squad", "")
    assert "prompt" not in fields
    found = kpi.summarise(kpi.open("db:mine"), ["latency_p50", "users"], kpi.Slice(last="all")).set_index("metric")
    assert found.loc["users", "value"] == 40
    assert found.loc["latency_p50", "value"] == pytest.approx(1000, rel=0.2)


def test_a_canonical_table_is_taken_as_it_is_and_its_types_are_checked(named) -> None:
    rows = pa.table(
        {
            "trace_id": ["a", "b", "c"], "success": pa.array([1, 0, None], pa.int64()), "total_us": [1.4, 2.6, 3.0],
            "started_at": pa.array([1, 2, 3], pa.timestamp("us")), "language": ["en", "", None],
            "notes": ["x", "y", "z"],
        }
    )  # fmt: skip
    place = kpi.connect(named(rows), table="log")
    assert place == kpi.Placement(table="log", mapping=None)
    source = kpi.open("db:mine")
    assert set(source.columns_of("requests")) == {"trace_id", "success", "total_us", "started_at", "language"}
    found = kpi.summarise(source, ["task_success", "latency_worst"], kpi.Slice(last="all")).set_index("metric")
    assert found["value"].tolist() == [0.5, 0.003]
    assert kpi.profile(source).dimensions == {"language": (("en", 1),)}


def test_a_canonical_table_with_a_wrong_column_says_which(named) -> None:
    rows = pa.table({"trace_id": ["a"], "started_at": pa.array([1], pa.timestamp("us", "UTC")), "total_us": ["slow"]})
    with pytest.raises(MappingError) as caught:
        kpi.connect(named(rows), table="log")
    assert caught.value.message == "Column 'total_us' holds text; expected were whole numbers"
    with pytest.raises(StoreError, match="has no table 'absent'") as missing:
        kpi.open_connection("mine", table="absent")
    assert "kpi connect" in missing.value.hint


def test_what_is_saved_serves_everybody_and_can_be_repaired(named, home: Path) -> None:
    name = named(foreign_rows())
    with pytest.raises(StoreError, match="has no table 'requests'"):
        kpi.open("db:mine")
    kpi.connect(name, table="log", mapping=MAPPING)
    saved = home / "connections" / "mine.json"
    assert saved.stat().st_mode & 0o777 == 0o600
    source = kpi.open("db:mine")
    assert (source.name, source.version, source.live) == ("db:mine", 0, True)
    assert source.fingerprint == kpi.open("db:mine").fingerprint
    saved.write_text("{")
    with pytest.raises(StoreError, match="cannot be read") as caught:
        kpi.open("db:mine")
    assert "kpi connect mine" in caught.value.hint
    with pytest.raises(StoreError, match="has no versions"):
        kpi.open("db:mine", 1)


def test_a_table_of_another_schema(database: sa.Engine, files: Path) -> None:
    postgres.fill(database, "log", foreign_rows())
    with database.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS lab")
        connection.exec_driver_sql("DROP TABLE IF EXISTS lab.calls")
        connection.exec_driver_sql("ALTER TABLE log RENAME TO calls")
        connection.exec_driver_sql("ALTER TABLE calls SET SCHEMA lab")
    source = SqlSource(database, name="lab", tables={"requests": "lab.calls"}, mapping=MAPPING)
    assert kpi.summarise(source, "requests", ALL)["value"].tolist() == [N]


def test_names_from_outside_are_values_never_sql(files: Path, monkeypatch) -> None:
    hostile = 'x"; DROP TABLE log; --'
    rows = foreign_rows().rename_columns([hostile if c == "llm" else c for c in foreign_rows().column_names])
    to_sqlite(files / "x.db", rows, "log")
    monkeypatch.setenv("KPI_CONNECTION_MINE", "sqlite:///x.db")
    columns = tuple(ColumnMapping(hostile, "model") if c.source == "llm" else c for c in MAPPING.columns)
    kpi.connect("mine", table="log", mapping=kpi.Mapping(columns))
    source = kpi.open("db:mine")
    assert set(kpi.summarise(source, "requests", ALL, by=["model"])["model"]) == {"small", "Small", "large ", None}
    assert kpi.summarise(source, "requests", ALL.where(model="x'); DROP TABLE log; --"))["value"].isna().all()
    with pytest.raises(StoreError, match="has no table"):
        kpi.open_connection("mine", table='log"; DROP TABLE log; --')
    assert kpi.summarise(source, "requests", ALL)["value"].tolist() == [N]


def test_times_of_sqlite_in_all_shapes(files: Path, monkeypatch) -> None:
    """ISO 8601 with T, zone or neither, and what is no time, in one column."""
    rows = pa.table(
        {
            "trace_id": list("abcdef"), "success": [True] * 6,
            "started_at": ["2026-03-01T10:00:00Z", "2026-03-01 12:00:00+02:00", "2026-03-01 10:00:00.000001",
                           "2026-03-01", "soon", None],
        }
    )  # fmt: skip
    to_sqlite(files / "x.db", rows, "requests")
    monkeypatch.setenv("KPI_CONNECTION_MINE", "sqlite:///x.db")
    found = kpi.summarise(kpi.open("db:mine"), "requests", kpi.Slice(last="all", tz="Asia/Kolkata"), every="hour")
    assert dict(zip(found["bucket"].dt.strftime("%H:%M"), found["value"], strict=True)) == {"05:00": 1, "15:00": 3}


def test_too_many_rows_are_refused(files: Path, monkeypatch) -> None:
    to_sqlite(files / "x.db", foreign_rows(), "log")
    monkeypatch.setenv("KPI_CONNECTION_MINE", "sqlite:///x.db")
    kpi.connect("mine", table="log", mapping=MAPPING)
    source = kpi.open("db:mine")
    monkeypatch.setattr(databases, "MOST_ROWS", 10)
    with pytest.raises(StoreError) as caught:
        kpi.find_traces(source, ALL, limit=11)
    assert caught.value.code == "store.too_many_rows"
    assert len(kpi.find_traces(source, ALL, limit=10)) == 10


class Proxy(socketserver.ThreadingTCPServer):
    """Forwards a local port to the socket of a private PostgreSQL, and can cut every connection at once."""

    daemon_threads = allow_reuse_address = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Forward)
        self.target, self.open = target, []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def cut(self) -> None:
        while self.open:
            for end in self.open.pop():
                with suppress(OSError):  # the other side may have closed it
                    end.shutdown(socket.SHUT_RDWR)


class Forward(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as far:
            far.connect(self.server.target)
            self.server.open.append((self.request, far))
            back = threading.Thread(target=_pump, args=(far, self.request), daemon=True)
            back.start()
            _pump(self.request, far)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture
def proxied(database: sa.Engine, files: Path, monkeypatch) -> Iterator[Proxy]:
    postgres.fill(database, "log", foreign_rows())
    with Proxy(f"{database.url.query['host']}/.s.PGSQL.5432") as proxy:
        monkeypatch.setenv(
            "KPI_CONNECTION_MINE", f"postgresql://tester:hunter2@127.0.0.1:{proxy.server_address[1]}/postgres"
        )
        kpi.connect("mine", table="log", mapping=MAPPING)
        yield proxy
        proxy.shutdown()


def sleepers(database: sa.Engine) -> set[int]:
    """Sessions of the server in which `pg_sleep` runs."""
    found = """SELECT pid FROM pg_stat_activity
        WHERE state = 'active' AND query LIKE '%%pg_sleep(%%' AND pid <> pg_backend_pid()"""
    with database.connect() as connection:
        return {pid for (pid,) in connection.exec_driver_sql(found)}


def test_a_database_that_goes_away_mid_query_is_said_and_works_again(proxied: Proxy, database: sa.Engine) -> None:
    source = kpi.open("db:mine")
    whole = kpi.summarise(source, METRICS, ALL)
    slow = sa.select(sa.func.pg_sleep(20).label("slept"))
    with ThreadPoolExecutor(1) as pool:
        for _ in range(20):
            before = sleepers(database)
            asked = pool.submit(source.run, slow)
            while not asked.done() and not sleepers(database) - before:
                time.sleep(0.01)
            proxied.cut()
            with pytest.raises(StoreError) as caught:
                asked.result()
            assert caught.value.code == "store.query_failed"
            assert "went away" in caught.value.message
            assert caught.value.hint
            assert "hunter2" not in "".join(traceback.format_exception(caught.value))
            pd.testing.assert_frame_equal(kpi.summarise(source, METRICS, ALL), whole)


def test_a_database_that_is_down_is_said(proxied: Proxy) -> None:
    source = kpi.open("db:mine")
    proxied.shutdown()
    proxied.socket.close()
    proxied.cut()
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            kpi.summarise(source, "requests", ALL)
        assert (caught.value.code, "cannot be reached" in caught.value.message) == ("store.query_failed", True)
        chain, error = "", caught.value
        while error is not None:
            chain, error = chain + str(error), error.__cause__ or error.__context__
        assert "hunter2" not in chain
        assert "127.0.0.1" not in chain


def test_a_session_reads_only_and_ends(proxied: Proxy, monkeypatch) -> None:
    with connections.open_engine("mine").connect() as connection:
        told = {s: connection.exec_driver_sql(f"SHOW {s}").scalar() for s in (
            "default_transaction_read_only", "statement_timeout", "timezone")}  # fmt: skip
        assert told == {"default_transaction_read_only": "on", "statement_timeout": "30s", "timezone": "UTC"}
        connection.rollback()
        for text in ("INSERT INTO log (req) VALUES (1)", "CREATE TABLE more (a int)", "DROP TABLE log",
                     "WITH gone AS (DELETE FROM log RETURNING 1) SELECT * FROM gone"):  # fmt: skip
            with pytest.raises(sa.exc.InternalError, match="read-only"):
                connection.exec_driver_sql(text)
            connection.rollback()


def test_a_statement_that_takes_too_long_is_said(proxied: Proxy, monkeypatch) -> None:
    source = kpi.open("db:mine")
    engine = connections.open_engine("mine")

    @sa.event.listens_for(engine, "begin")
    def hurry(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 50")

    with pytest.raises(StoreError, match="it took longer than allowed"):
        source.run(sa.select(sa.func.pg_sleep(20).label("slept")))


@pytest.mark.parametrize("spelled", ["mariadb", "mysql"])
def test_a_mariadb_session_reads_only_and_ends(spelled: str, monkeypatch) -> None:
    monkeypatch.setattr(sessions, "TIMEOUT_S", 1)
    with engines.mariadb() as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE log (a INT)")
        engine.dispose()
        sessions.prepare(sessions.kind_of(spelled), engine)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT @@session.time_zone").scalar() == "+00:00"
            for text in ("INSERT INTO log VALUES (1)", "UPDATE log SET a = 1", "CREATE TABLE more (a INT)"):
                with pytest.raises(sa.exc.DBAPIError, match="READ ONLY"):
                    connection.exec_driver_sql(text)
            with pytest.raises(sa.exc.OperationalError, match="max_statement_time"):
                connection.exec_driver_sql("SELECT count(*) FROM seq_1_to_1000000000 JOIN seq_1_to_100000")
