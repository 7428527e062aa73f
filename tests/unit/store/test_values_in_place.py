"""Tables of databases whose values are not what their columns declare, and types that only one engine has.

The right answers are those of `data/field/README.md`, or follow from how the rows are made: 4 of 5 succeed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import kpi
from kpi.errors import KpiError, MappingError
from kpi.mapping.mapping import ColumnMapping, Mapping
from kpi.store import live
from kpi.store.databases import SqlSource, held_as
from tests import postgres

ALL = kpi.Slice(last="all")
N = 300


def in_place(engine: sa.Engine, table: str, mapping: Mapping | None = None) -> SqlSource:
    """As `kpi.connect` reads a table of which nobody says what its columns mean."""
    raw = SqlSource(engine, name=table, tables={"requests": table})
    mapping = mapping or live._guessed(raw, raw.physical("requests"))
    source = SqlSource(engine, name=table, tables={"requests": table}, mapping=mapping)
    live._check_values(mapping, source, raw.sample(1_000))
    return source


def values(source: SqlSource, *metrics: str) -> list[tuple[float, int]]:
    found = kpi.summarise(source, list(metrics), ALL)
    return [(pytest.approx(v, nan_ok=True), n) for v, n in zip(found["value"], found["n"], strict=True)]


@pytest.fixture
def sqlite(tmp_path: Path) -> Any:
    def make(columns: str, *row: Any) -> sa.Engine:
        path = tmp_path / "x.db"
        database = sqlite3.connect(path)
        database.execute(f"CREATE TABLE t (id TEXT, {columns})")
        marks = ",".join("?" * (len(row) + 1))
        database.executemany(
            f"INSERT INTO t VALUES ({marks})",
            [[f"r{i}", *(cell(i) if callable(cell) else cell for cell in row)] for i in range(N)],
        )
        database.commit()
        database.close()
        return sa.create_engine(f"sqlite:///{path}")

    return make


EPOCH = 1_790_000_000


@pytest.mark.parametrize(
    "time",
    [lambda i: (EPOCH + i * 3600) * 1000, lambda i: EPOCH + i * 3600, lambda i: str(EPOCH + i * 3600),
     lambda i: f"2026-10-{i % 28 + 1:02}T10:00:00Z", lambda i: EPOCH + i if i % 2 else "2026-10-01 10:00"],
    ids=["epoch ms", "epoch s", "epoch as text", "ISO text", "both"],
)  # fmt: skip
@pytest.mark.parametrize("yes_no", ["tf", ("sí", "no"), (1, 0), ("yes", "no")], ids=str)
def test_sqlite_keeps_any_value_in_any_column(time: Any, yes_no: Any, sqlite: Any) -> None:
    engine = sqlite("created_at DATETIME, ok BOOLEAN, latency_ms INTEGER", time, lambda i: yes_no[not i % 5], 300)
    source = in_place(engine, "t")
    assert values(source, "task_success", "latency_worst") == [(0.8, N), (300.0, N)]
    assert kpi.summarise(source, "requests", ALL, every="week")["value"].sum() == N


def test_canonical_columns_of_sqlite_are_looked_at_as_well(sqlite: Any) -> None:
    engine = sqlite("trace_id TEXT, started_at DATETIME, success BOOLEAN", lambda i: i, lambda i: EPOCH * 1000 + i,
                    lambda i: "tf"[not i % 5])  # fmt: skip
    source = SqlSource(engine, name="t", tables={"requests": "t"})
    assert values(source, "task_success") == [(0.8, N)]
    assert kpi.profile(source).first.year == 2026


def test_what_cannot_be_read_is_left_out_by_name_or_refused(sqlite: Any) -> None:
    engine = sqlite("created_at DATETIME, ok BOOLEAN, latency_ms INTEGER", EPOCH, lambda i: ("blip", "no")[not i % 5],
                    "300 ms")  # fmt: skip
    raw = SqlSource(engine, name="t", tables={"requests": "t"})
    mapping = live._guessed(raw, raw.physical("requests"))
    assert {c.source: c.field for c in mapping.columns} == {
        "id": "trace_id", "created_at": "started_at", "ok": None, "latency_ms": None,
    }  # fmt: skip
    assert all(c.why for c in mapping.columns if c.field is None)
    for column in (ColumnMapping("ok", "success"), ColumnMapping("latency_ms", "total_us", "ms")):
        with pytest.raises(MappingError, match=column.source):
            in_place(engine, "t", Mapping((ColumnMapping("id", "trace_id"), column)))


def test_no_value_ends_in_a_traceback(sqlite: Any) -> None:
    odd = [b"\x00\xff", "x" * 5000, 2**62, -1e300, None, "", "infinity", "2026-99-99"]
    engine = sqlite("created_at DATETIME, ok BOOLEAN, cost REAL, day DATE", *[lambda i: odd[i % len(odd)]] * 4)
    remedy = "none was needed"
    try:
        values(in_place(engine, "t"), "task_success", "cost_per_query")
    except KpiError as error:
        remedy = error.hint
    assert remedy


@pytest.fixture(scope="module")
def database() -> Iterator[sa.Engine]:
    with postgres.server() as engine:
        yield engine


def test_the_tables_of_the_field(database: sa.Engine, shared: Path) -> None:
    """kind: an infinite time is a bad row, an interval a length, money a number."""
    text = (shared / "data/field/tables/postgres_infinity_interval_money.sql").read_text()
    with database.begin() as connection:
        for statement in filter(str.strip, text.split(";\n")):
            connection.execute(sa.text(statement.replace(":", "\\:")))
    assert values(in_place(database, "inf"), "task_success", "requests") == [(239 / 299, 299), (299.0, 299)]
    source = in_place(database, "itv")
    assert values(source, "task_success", "latency_worst") == [(0.8, 300), (300.0, 300)]
    assert values(in_place(database, "mon"), "cost_per_query") == [(0.01, 300)]


def test_types_of_postgresql(database: sa.Engine) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("CREATE TYPE mood AS ENUM ('good', 'bad')"))
        connection.execute(sa.text(
            "CREATE TABLE odd AS SELECT i AS id, now() - i * interval '2 hours' AS created_at, i % 5 <> 0 AS success, "
            "array['a', 'b'] AS docs, (CASE WHEN i % 2 = 0 THEN 'good' ELSE 'bad' END)\\:\\:mood AS plan, "
            "gen_random_uuid() AS session_id, '{}'\\:\\:jsonb AS extra, inet '10.0.0.1' AS ip, 0.012 AS cost, "
            "'infinity'\\:\\:timestamptz AS expires_at, tstzrange(now(), now()) AS span, "
            "i * interval '1 millisecond' AS latency FROM generate_series(1, 300) i"
        ))  # fmt: skip
    source = in_place(database, "odd")
    assert values(source, "task_success", "cost_per_query", "latency_worst") == [(0.8, 300), (0.012, 300), (300.0, 300)]
    assert kpi.summarise(source, "requests", ALL, by=["plan"])["value"].tolist() == [150, 150]
    told = Mapping((ColumnMapping("id", "trace_id"), ColumnMapping("docs", "success")))
    with pytest.raises(MappingError, match="docs"):
        in_place(database, "odd", told)


@pytest.mark.parametrize(
    ("kind", "held"),
    [("LowCardinality(Nullable(String))", "string"), ("Nullable(Decimal(18, 6))", "float"), ("Array(String)", "other"),
     ("Nullable(DateTime64(6, 'UTC'))", "time"), ("Enum8('a' = 1)", "named"), ("Nullable(UUID)", "named")],
)  # fmt: skip
def test_types_of_clickhouse(kind: str, held: str) -> None:
    assert held_as("clickhouse", kind) == held
    assert held_as("duckdb", "INTERVAL") == "interval"
