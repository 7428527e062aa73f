"""Copies from PostgreSQL: what comes over, what a second copy finds, late and changed rows, and failures."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa

import kpi
from kpi.cli import main
from kpi.errors import IngestError, StoreError
from kpi.ingest.databases import server, streams
from kpi.store import lake
from kpi.store.manifest import folder
from tests.unit.ingest.databases import stores
from tests.unit.ingest.databases.stores import at, insert

pytestmark = pytest.mark.slow

COUNT = 120
VENDOR_ROWS: dict[str, Callable[[int, int], dict[str, list[dict[str, Any]]]]] = {
    "phoenix": stores.phoenix_rows, "mlflow": stores.mlflow_rows, "litellm": stores.litellm_rows,
    "langfuse": stores.langfuse_rows,
}  # fmt: skip
every_vendor = pytest.mark.parametrize("vendor", VENDOR_ROWS)


def stored(table: str, what: str = "*", dataset: str = "copied") -> list[tuple[Any, ...]]:
    files = [str(p) for p in lake.read_version(dataset).files.get(table, [])]
    return duckdb.sql(
        f"SELECT {what} FROM read_parquet({files}, union_by_name=true, hive_partitioning=true)"
    ).fetchall()


def state(dataset: str = "copied") -> dict[str, bytes]:
    """Every file of a data set that a reader or the next copy looks at."""
    place = folder(dataset)
    return {str(p.relative_to(place)): p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}


@every_vendor
def test_what_comes_over(vendor: str, store) -> None:
    name, engine, tables = store(vendor)
    insert(engine, tables, VENDOR_ROWS[vendor](0, COUNT))
    receipt = kpi.copy(name, dataset="copied")
    assert (receipt.format, receipt.files, receipt.requests, receipt.dropped) == (vendor, [name], COUNT, 0)
    ((requests, tokens, money, sessions, texts),) = stored(
        "requests",
        "count(*), sum(input_tokens), sum(total_nusd), count(DISTINCT session_id), "
        "count(*) FILTER (input_text LIKE 'Question%' AND output_text LIKE 'Answer%')",
    )
    assert (requests, sessions, texts) == (COUNT, COUNT, COUNT)
    assert tokens == sum(100 + n for n in range(COUNT))
    assert money == sum((n + 1) * 1000 for n in range(COUNT))  # n + 1 millionths of a dollar each
    lengths = stored("requests", "epoch_us(started_at), total_us")
    extra = {"phoenix": lambda n: n, "mlflow": lambda n: -500_000}.get(vendor, lambda n: 1000 * n)
    assert sorted(lengths) == sorted((int(at(n).timestamp()) * 10**6, 2_000_000 + extra(n)) for n in range(COUNT))
    assert sorted(r[0] for r in stored("requests", "language")) == ["de"] * (COUNT // 2) + ["en"] * (COUNT // 2)
    if vendor != "mlflow":
        ((users,),) = stored("requests", "count(DISTINCT user_key)")
        assert users == 7
        assert "user-" not in "".join(str(row) for row in stored("requests"))


@every_vendor
def test_twice_is_once_and_rows_added_between_appear(vendor: str, store) -> None:
    name, engine, tables = store(vendor)
    insert(engine, tables, VENDOR_ROWS[vendor](0, COUNT))
    kpi.copy(name, dataset="copied")
    before = stored("requests")
    again = kpi.copy(name, dataset="copied", full=vendor == "mlflow")
    assert (again.version, again.loaded) == (1, 0)
    assert stored("requests") == before
    insert(engine, tables, VENDOR_ROWS[vendor](COUNT, COUNT + 5))
    receipt = kpi.copy(name, dataset="copied")
    assert receipt.version == 2
    assert stored("requests", "count(*)") == [(COUNT + 5,)]
    if vendor != "phoenix":  # whose overlap is counted in rows, more than there are here
        assert receipt.requests <= 5 + 7  # those of the hour before the last one


@every_vendor
def test_since_leaves_out_what_began_before(vendor: str, store) -> None:
    name, engine, tables = store(vendor)
    insert(engine, tables, VENDOR_ROWS[vendor](0, COUNT))
    kpi.copy(name, dataset="copied", since=at(COUNT - 10).isoformat())
    assert stored("requests", "count(*)") == [(10,)]


def test_annotations_that_come_later_belong_to_old_traces(store) -> None:
    name, engine, tables = store("phoenix")
    insert(engine, tables, stores.phoenix_rows(0, COUNT))
    given = stores.phoenix_annotation(1, 1, 1.0, at(3))
    insert(engine, tables, {"span_annotations": [given]})
    kpi.copy(name, dataset="copied")
    assert stored("requests", "count(*) FILTER (success)") == [(1,)]
    insert(engine, tables, {"span_annotations": [stores.phoenix_annotation(2, 3, 0.0, at(COUNT))]})
    with engine.begin() as connection:  # and one that its author corrected
        connection.execute(
            tables["span_annotations"].update().where(tables["span_annotations"].c.id == 1)
            .values(score=0.0, updated_at=at(COUNT))
        )  # fmt: skip
    kpi.copy(name, dataset="copied")
    assert stored("requests", "count(*) FILTER (success), count(*) FILTER (NOT success)") == [(0, 2)]
    assert stored("scores", "count(*)") == [(2,)]


def test_costs_that_phoenix_computes_later_arrive(store, monkeypatch) -> None:
    monkeypatch.setattr(streams, "OVERLAP_IDS", 0)
    name, engine, tables = store("phoenix")
    insert(engine, tables, stores.phoenix_rows(0, COUNT, costs=False))
    kpi.copy(name, dataset="copied")
    assert stored("requests", "sum(total_nusd)") == [(None,)]
    insert(engine, tables, {"span_costs": [stores.phoenix_cost(n) for n in range(COUNT)]})
    kpi.copy(name, dataset="copied")
    assert stored("requests", "sum(total_nusd)") == [(sum((n + 1) * 1000 for n in range(COUNT)),)]


def test_traces_in_progress_are_read_again_until_they_end(store) -> None:
    name, engine, tables = store("mlflow")
    insert(engine, tables, stores.mlflow_rows(0, 1, status="IN_PROGRESS"))
    insert(engine, tables, stores.mlflow_rows(1, COUNT))
    kpi.copy(name, dataset="copied")
    first = f"trace_id = '{stores.hexed(0, 16)}'"
    assert stored("requests", f"count(*) FILTER ({first} AND total_us IS NULL)") == [(1,)]
    kpi.copy(name, dataset="copied")  # still running
    with engine.begin() as connection:
        table = tables["trace_info"]
        ended = table.update().where(table.c.status == "IN_PROGRESS").values(status="OK", execution_time_ms=1500)
        connection.execute(ended)
    insert(engine, tables, {"spans": [stores.mlflow_span(0)]})
    kpi.copy(name, dataset="copied")
    assert stored("requests", f"count(*) FILTER ({first} AND total_us = 1500000)") == [(1,)]


def test_assessments_that_come_later_belong_to_old_traces(store) -> None:
    name, engine, tables = store("mlflow")
    insert(engine, tables, stores.mlflow_rows(0, COUNT))
    kpi.copy(name, dataset="copied")
    insert(engine, tables, {"assessments": [stores.mlflow_assessment(1, 4, "down", at(COUNT))]})
    kpi.copy(name, dataset="copied")
    assert stored("requests", "count(*) FILTER (NOT success)") == [(1,)]
    assert stored("requests", "count(*)") == [(COUNT,)]


def test_a_call_that_was_written_late_is_found_by_when_it_was_written(store) -> None:
    name, engine, tables = store("litellm")
    insert(engine, tables, stores.litellm_rows(10, COUNT))
    kpi.copy(name, dataset="copied")
    insert(engine, tables, stores.litellm_rows(0, 1, written=at(COUNT)))  # began a day before all that was read
    kpi.copy(name, dataset="copied")
    assert stored("requests", "count(*)") == [(COUNT - 9,)]


def test_scores_and_ends_that_langfuse_writes_later(store) -> None:
    name, engine, tables = store("langfuse")
    insert(engine, tables, stores.langfuse_rows(0, 1, ended=False))
    insert(engine, tables, stores.langfuse_rows(1, COUNT))
    kpi.copy(name, dataset="copied")
    assert stored("requests", "count(*) FILTER (total_us IS NULL)") == [(1,)]
    with engine.begin() as connection:
        table = tables["observations"]
        end = at(0).replace(tzinfo=None) + timedelta(seconds=2)
        done = {"end_time": end, "updated_at": at(COUNT).replace(tzinfo=None)}
        connection.execute(table.update().where(table.c.end_time.is_(None)).values(done))
    insert(engine, tables, {"scores": [stores.langfuse_score(5, 0.0, at(COUNT))]})
    kpi.copy(name, dataset="copied")
    ((unknown, failed),) = stored("requests", "count(*) FILTER (total_us IS NULL), count(*) FILTER (NOT success)")
    assert (unknown, failed) == (0, 1)


@pytest.mark.parametrize("after", [1, 6])
def test_a_connection_lost_while_reading_leaves_all_as_it_was(after: int, store, monkeypatch) -> None:
    name, engine, tables = store("phoenix")
    insert(engine, tables, stores.phoenix_rows(0, COUNT))
    kpi.copy(name, dataset="copied")
    insert(engine, tables, stores.phoenix_rows(COUNT, COUNT + 50))
    before = state()
    original = server.ServerDatabase.look_up
    calls = 0

    def cut(self, statement, values, table):
        nonlocal calls
        calls += 1
        if calls == after + 2:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = 'phoenix' AND pid <> pg_backend_pid()"
                ))  # fmt: skip
        return original(self, statement, values, table)

    with monkeypatch.context() as patch:
        patch.setattr(server.ServerDatabase, "look_up", cut)
        with pytest.raises(StoreError) as caught:
            kpi.copy(name, dataset="copied")
    assert caught.value.code == "copy.failed"
    text = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in text
    assert str(engine.url.query["host"]) not in text
    assert state() == before
    kpi.copy(name, dataset="copied")
    assert stored("requests", "count(*)") == [(COUNT + 50,)]


def test_what_fails_in_the_middle_leaves_all_as_it_was(store, monkeypatch) -> None:
    name, engine, tables = store("litellm")
    insert(engine, tables, stores.litellm_rows(0, COUNT))

    class Stopped(BaseException):
        pass

    def stop(fraction: float, text: str) -> None:
        if fraction > 0.5:
            raise Stopped

    with pytest.raises(Stopped):
        kpi.copy(name, dataset="copied", progress=stop)
    assert not folder("copied").exists() or not [p for p in state() if "versions" in p or p == "sources.json"]
    kpi.copy(name, dataset="copied")
    before = state()
    insert(engine, tables, stores.litellm_rows(COUNT, COUNT + 5))

    def refuse(*_: Any, **__: Any) -> None:
        raise StoreError("store.full", "The disk is full", hint="Free some space.")

    with monkeypatch.context() as patch:
        patch.setattr(lake, "commit", refuse)
        with pytest.raises(StoreError, match="disk is full"):
            kpi.copy(name, dataset="copied")
    assert state() == before
    kpi.copy(name, dataset="copied")
    assert stored("requests", "count(*)") == [(COUNT + 5,)]


def test_a_restored_version_is_completed_again(store) -> None:
    name, engine, tables = store("litellm")
    insert(engine, tables, stores.litellm_rows(0, 20))
    kpi.copy(name, dataset="copied")
    insert(engine, tables, stores.litellm_rows(20, COUNT))
    kpi.copy(name, dataset="copied")
    lake.restore("copied", 1)
    assert stored("requests", "count(*)") == [(20,)]
    kpi.copy(name, dataset="copied")
    assert stored("requests", "count(*)") == [(COUNT,)]


def test_a_name_that_moves_to_another_database_starts_anew(store, tmp_path: Path) -> None:
    name, engine, tables = store("litellm")
    insert(engine, tables, stores.litellm_rows(50, COUNT))
    kpi.copy(name, dataset="copied")
    _, other, others = store("phoenix")
    others = stores.litellm_tables()
    next(iter(others.values())).metadata.create_all(other)
    with other.begin() as connection:
        connection.execute(sa.text("DROP TABLE spans CASCADE"))
    insert(other, others, stores.litellm_rows(0, 10))
    secrets = tmp_path / "secrets.toml"
    secrets.write_text(secrets.read_text().replace('database = "litellm"', 'database = "phoenix"'))
    kpi.copy(name, dataset="copied")
    assert stored("requests", "count(*)") == [(COUNT - 40,)]


def test_a_large_table_is_read_in_steps(store, monkeypatch) -> None:
    monkeypatch.setattr(streams, "ROWS", 50)
    name, engine, tables = store("litellm")
    insert(engine, tables, stores.litellm_rows(0, COUNT))
    receipt = kpi.copy(name, dataset="copied")
    assert any("more wait" in note for note in receipt.notes)
    assert stored("requests", "count(*), max(epoch_us(started_at))") == [(50, int(at(49).timestamp()) * 10**6)]
    for _ in range(2):
        kpi.copy(name, dataset="copied")
    assert stored("requests", "count(*)") == [(COUNT,)]


def test_pages_give_what_one_statement_gives(store, monkeypatch) -> None:
    name, engine, tables = store("litellm")
    insert(engine, tables, stores.litellm_rows(0, COUNT, written=at(0)))  # all alike but their ids
    monkeypatch.setattr(server.ServerDatabase, "page", 7)
    kpi.copy(name, dataset="copied")
    assert stored("requests", "count(*)") == [(COUNT,)]


def test_nothing_there_and_nothing_known(store) -> None:
    name, engine, _ = store("mlflow")
    with pytest.raises(IngestError) as caught:
        kpi.copy(name, dataset="copied")
    assert caught.value.code == "ingest.no_rows"
    assert not folder("copied").exists()
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE trace_info CASCADE"))
    with pytest.raises(StoreError) as unknown:
        kpi.copy(name, dataset="copied")
    assert unknown.value.code == "copy.unknown_database"
    with pytest.raises(IngestError, match="no time"):
        kpi.copy(name, dataset="copied", since="last week")


def test_two_vendors_in_one_database_must_be_told_apart(store) -> None:
    name, engine, tables = store("mlflow")
    insert(engine, tables, stores.mlflow_rows(0, 3))
    others = stores.litellm_tables()
    next(iter(others.values())).metadata.create_all(engine)
    insert(engine, others, stores.litellm_rows(0, 2))
    with pytest.raises(StoreError) as caught:
        kpi.copy(name, dataset="copied")
    assert caught.value.code == "copy.several"
    assert kpi.copy(name, dataset="copied", format="litellm").requests == 2
    assert kpi.copy(name, dataset="copied", format="mlflow").requests == 3


def test_texts_are_redacted_and_only_allowed_keys_kept(store) -> None:
    name, engine, tables = store("litellm")
    rows = stores.litellm_rows(0, 3)
    for row in rows["LiteLLM_SpendLogs"]:
        row["messages"] = [{"role": "user", "content": "Write to jane.doe@example.com"}]
        row["metadata"] = {"spend_logs_metadata": {"secret_plan": "x", "language": "de"}}
    insert(engine, tables, rows)
    receipt = kpi.copy(name, dataset="copied")
    assert "jane.doe" not in str(stored("requests")) + str(stored("spans"))
    assert any("secret_plan" in key for key in receipt.kept_out)


def test_a_clock_that_was_wrong_hides_nothing_that_comes_after(store) -> None:
    name, engine, tables = store("litellm")
    insert(engine, tables, stores.litellm_rows(0, 5))
    insert(engine, tables, stores.litellm_rows(5, 6, written=at(0).replace(year=2099)))
    kpi.copy(name, dataset="copied")
    insert(engine, tables, stores.litellm_rows(6, 9, written=datetime.now(UTC)))
    kpi.copy(name, dataset="copied")
    assert stored("requests", "count(*)") == [(9,)]


def test_several_projects_in_one_database_are_said(store) -> None:
    name, engine, tables = store("langfuse")
    rows = stores.langfuse_rows(0, 4)
    insert(engine, tables, rows)
    assert not any("several" in note for note in kpi.copy(name, dataset="copied").notes)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE traces SET project_id = 'q', updated_at = now() WHERE name = 'agent'"))
    assert any("several projects" in note for note in kpi.copy(name, dataset="copied", full=True).notes)


def test_the_command(store, capsys) -> None:
    name, engine, tables = store("litellm")
    insert(engine, tables, stores.litellm_rows(0, 5))
    assert main(["copy", name, "--dataset", "copied", "--json", "--since", at(2).isoformat()]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["dataset"], told["version"], told["format"], told["requests"]) == ("copied", 1, "litellm", 3)
    assert main(["copy", name, "--dataset", "copied", "--full"]) == 0
    assert main(["copy", "nowhere", "--dataset", "copied"]) == 3
    assert "There is no connection" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.3, 0.75])  # while reading, while storing
def test_a_copy_that_is_killed_leaves_the_version_before(share: float, store) -> None:
    name, engine, tables = store("litellm")
    insert(engine, tables, stores.litellm_rows(0, 30))
    kpi.copy(name, dataset="copied")
    marks = (folder("copied") / "sources.json").read_bytes()
    insert(engine, tables, stores.litellm_rows(30, COUNT))
    code = (
        "import os, signal, kpi\n"
        f"def stop(share, text):\n    if share >= {share}: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"kpi.copy({name!r}, dataset='copied', progress=stop)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert stored("requests", "count(*)") == [(30,)]
    assert (folder("copied") / "sources.json").read_bytes() == marks
    assert kpi.copy(name, dataset="copied").version == 2
    assert stored("requests", "count(*)") == [(COUNT,)]
