"""Langfuse on ClickHouse, tables of version 3 and 4, through ClickHouse's engine inside the process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

import kpi
from kpi.ingest.databases import server
from kpi.loading import copy as copying
from tests.unit.ingest.databases.stores import at, hexed
from tests.unit.ingest.databases.test_copy import stored

pytestmark = pytest.mark.slow

pytest.importorskip("chdb", reason="needs ClickHouse's engine: pip install chdb clickhouse-connect")
pytest.importorskip("clickhouse_connect")

COUNT = 60
MERGED = "ENGINE = ReplacingMergeTree(event_ts, is_deleted) ORDER BY (project_id, id)"
TABLES = {
    "traces": """
        id String, timestamp DateTime64(3), name String, user_id Nullable(String), metadata Map(String, String),
        release Nullable(String), version Nullable(String), project_id String, environment String, public Bool,
        bookmarked Bool, tags Array(String), input Nullable(String), output Nullable(String), session_id
        Nullable(String), created_at DateTime64(3), updated_at DateTime64(3), event_ts DateTime64(3), is_deleted UInt8
    """,
    "observations": """
        id String, trace_id String, project_id String, environment String, type String, parent_observation_id
        Nullable(String), start_time DateTime64(3), end_time Nullable(DateTime64(3)), name String, metadata
        Map(String, String), level String, status_message Nullable(String), version Nullable(String), input
        Nullable(String), output Nullable(String), provided_model_name Nullable(String), model_parameters
        Nullable(String), usage_details Map(String, UInt64), cost_details Map(String, Decimal64(12)), total_cost
        Nullable(Decimal64(12)), completion_start_time Nullable(DateTime64(3)), created_at DateTime64(3), updated_at
        DateTime64(3), event_ts DateTime64(3), is_deleted UInt8
    """,
    "scores": """
        id String, timestamp DateTime64(3), project_id String, environment String, trace_id Nullable(String),
        session_id Nullable(String), observation_id Nullable(String), name String, value Nullable(Float64), source
        String, comment Nullable(String), metadata Map(String, String), author_user_id Nullable(String), data_type
        String, string_value Nullable(String), created_at DateTime64(3), updated_at DateTime64(3), event_ts
        DateTime64(3), is_deleted UInt8
    """,
}
EVENTS = """
    span_id String, trace_id String, parent_span_id String, start_time DateTime64(6), end_time
    Nullable(DateTime64(6)), name String, type String, environment String, version String, release String, trace_name
    String, user_id String, session_id String, tags Array(String), level String, status_message String,
    completion_start_time Nullable(DateTime64(6)), is_app_root Bool, provided_model_name String, model_parameters
    String, usage_details Map(String, UInt64), cost_details Map(String, Decimal(18, 12)), input String, output String,
    metadata_names Array(String), metadata_values Array(String), project_id String, event_ts DateTime64(6), is_deleted
    UInt8
"""


@pytest.fixture
def clickhouse(home, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    engine = sa.create_engine("clickhousedb+connect://localhost/default?interface=chdb")
    monkeypatch.setattr(copying, "open_engine", lambda name: engine)
    with engine.connect():  # the engine in the process forgets its tables with its last connection
        drop(engine)
        yield engine
        drop(engine)
    engine.dispose()


def drop(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        for table in (*TABLES, "events_full"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")


def insert(engine: sa.Engine, table: str, rows: list[Mapping[str, Any]]) -> None:
    """Rows as ClickHouse takes them in JSON; times as text."""
    lines = "\n".join(json.dumps(row, default=str) for row in rows)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"INSERT INTO {table} FORMAT JSONEachRow {lines}".replace("%", "%%"))


def moment(value: Any) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def rows(n: int, *, ended: bool = True, deleted: int = 0, version: int = 0) -> dict[str, dict[str, Any]]:
    start, end = at(n), at(n) + timedelta(seconds=2, milliseconds=n)
    stamps = {"created_at": moment(start), "updated_at": moment(end), "project_id": "p", "environment": "production",
              "event_ts": moment(end + timedelta(minutes=version)), "is_deleted": deleted}  # fmt: skip
    trace = {"id": hexed(n, 16), "timestamp": moment(start), "name": "agent", "user_id": f"user-{n % 7}",
             "metadata": {"language": "de" if n % 2 else "en"}, "session_id": f"session-{n}", "tags": ["a"],
             "public": False, "bookmarked": False, "input": f"Question {n}?", "output": f"Answer {n}."}  # fmt: skip
    observation = {
        "id": hexed(n, 8), "trace_id": hexed(n, 16), "type": "GENERATION", "start_time": moment(start),
        "end_time": moment(end) if ended else None, "name": "chat", "level": "DEFAULT", "provided_model_name": "m-1",
        "usage_details": {"input": 100 + n, "output": 10, "total": 110 + n}, "input": f"Question {n}?",
        "cost_details": {"total": f"{(n + 1) / 1e6:.12f}"}, "total_cost": f"{(n + 1) / 1e6:.12f}",
        "output": f"Answer {n}.",
    }  # fmt: skip
    return {"traces": {**trace, **stamps}, "observations": {**observation, **stamps}}


def fill(engine: sa.Engine, some: list[dict[str, dict[str, Any]]]) -> None:
    for table in ("traces", "observations"):
        insert(engine, table, [row[table] for row in some])


@pytest.fixture
def langfuse(clickhouse: sa.Engine) -> sa.Engine:
    with clickhouse.connect() as connection:
        for table, columns in TABLES.items():
            connection.exec_driver_sql(f"CREATE TABLE {table} ({columns}) {MERGED}")
    fill(clickhouse, [rows(n) for n in range(COUNT)])
    return clickhouse


def test_version_3(langfuse: sa.Engine, monkeypatch) -> None:
    monkeypatch.setattr(server, "PAGE", 13)
    receipt = kpi.copy("langfuse", dataset="copied")
    assert (receipt.format, receipt.requests, receipt.spans, receipt.dropped) == ("langfuse", COUNT, COUNT, 0)
    told = "count(*), sum(input_tokens), sum(total_nusd), count(DISTINCT session_id), count(DISTINCT user_key)"
    assert stored("requests", told) == [
        (COUNT, sum(100 + n for n in range(COUNT)), sum(1000 * (n + 1) for n in range(COUNT)), COUNT, 7)
    ]
    assert sorted(stored("requests", "epoch_us(started_at), total_us")) == [
        (int(at(n).timestamp()) * 10**6, 2_000_000 + 1000 * n) for n in range(COUNT)
    ]


def test_the_last_state_of_a_row_counts_and_deleted_rows_do_not(langfuse: sa.Engine) -> None:
    changed = rows(3, version=1)
    changed["observations"]["total_cost"] = changed["observations"]["cost_details"]["total"] = "0.5"
    fill(langfuse, [changed, rows(4, deleted=1, version=1)])
    kpi.copy("langfuse", dataset="copied")
    assert stored("requests", "count(*)") == [(COUNT - 1,)]
    ((cost,),) = [r for r in stored("requests", "total_nusd") if r[0] > 10**6]
    assert cost == 500_000_000


def test_what_is_new_is_found_by_when_it_was_written(langfuse: sa.Engine) -> None:
    fill(langfuse, [rows(COUNT, ended=False)])
    first = kpi.copy("langfuse", dataset="copied")
    again = kpi.copy("langfuse", dataset="copied")
    assert (again.version, again.loaded) == (first.version, 0)
    assert again.requests <= 8
    fill(langfuse, [rows(0, version=60 * 24), rows(COUNT, version=60 * 24)])  # rewritten a day later
    score = {"id": "s", "timestamp": moment(at(2)), "name": "user_feedback", "value": 0, "source": "ANNOTATION",
             "data_type": "BOOLEAN", "string_value": "False", "trace_id": hexed(2, 16), "project_id": "p",
             "event_ts": moment(at(COUNT)), "is_deleted": 0}  # fmt: skip
    insert(langfuse, "scores", [score])
    kpi.copy("langfuse", dataset="copied")
    assert stored("requests", "count(*), count(total_us), count(*) FILTER (NOT success)") == [(COUNT + 1, COUNT + 1, 1)]
    kpi.copy("langfuse", dataset="since", since=at(COUNT - 5))
    assert stored("requests", "count(*)", "since") == [(6,)]


@pytest.mark.parametrize("engine", ["ReplacingMergeTree(event_ts, is_deleted)", "MergeTree"])
def test_version_4_events(clickhouse: sa.Engine, engine: str) -> None:
    order = f"ENGINE = {engine} ORDER BY (project_id, start_time, span_id)"
    with clickhouse.connect() as connection:
        connection.exec_driver_sql(f"CREATE TABLE events_full ({EVENTS}) {order}")
    found = []
    for n in range(COUNT):
        row = rows(n)["observations"]
        kept = {k: v for k, v in row.items() if k not in ("id", "total_cost", "created_at", "updated_at")}
        found.append({**kept, "span_id": row["id"], "parent_span_id": "", "is_app_root": True, "trace_name": "agent",
                      "user_id": f"user-{n % 7}", "session_id": f"session-{n}", "metadata_names": ["language"],
                      "metadata_values": ["de" if n % 2 else "en"]})  # fmt: skip
    insert(clickhouse, "events_full", found)
    receipt = kpi.copy("langfuse", dataset="copied")
    assert (receipt.requests, receipt.dropped) == (COUNT, 0)
    told = "count(*), sum(input_tokens), sum(total_nusd), count(DISTINCT session_id), count(DISTINCT language)"
    assert stored("requests", told) == [
        (COUNT, sum(100 + n for n in range(COUNT)), sum(1000 * (n + 1) for n in range(COUNT)), COUNT, 2)
    ]
    assert kpi.copy("langfuse", dataset="copied").loaded == 0
