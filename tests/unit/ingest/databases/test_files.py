"""SQLite files given to a load: vendors' databases, plain tables, hostile and damaged ones."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

import kpi
from kpi.errors import IngestError, KpiError
from kpi.ingest.databases import sqlite_file
from kpi.ingest.limits import Limits
from kpi.ingest.readers.detect import detect
from kpi.ingest.readers.open import open_inputs
from tests.unit.ingest.databases import stores
from tests.unit.ingest.formats.helpers import Row, read_all, requests_of

pytestmark = pytest.mark.slow

PHOENIX, MLFLOW = "data/exports/phoenix", "data/exports/mlflow"
MONEY = {"inference_nusd", "total_nusd", "priced", "unpriced_model", "computed_nusd", "cost_source"}


def asked(path: Path, statement: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def made(path: Path, *statements: str) -> Path:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def tried(call: Callable[[], Any]) -> tuple[Any, str]:
    """(what it gave, "") or (None, code of the typed error)."""
    try:
        return call(), ""
    except KpiError as error:
        return None, error.code


def kpis(tables: dict[str, list[Row]]) -> dict[str, Row]:
    return {trace: {k: v for k, v in row.items() if k not in MONEY} for trace, row in requests_of(tables).items()}


# --- genuine databases -----------------------------------------------------------------------------------------------


def test_phoenix_has_the_counts_of_the_file(shared: Path) -> None:
    path = shared / PHOENIX / "phoenix_subset.db"
    tables, receipt = read_all([path])
    assert len(tables["spans"]) == receipt.spans == asked(path, "SELECT count(*) FROM spans")[0][0] == 51
    assert len({s["trace_id"] for s in tables["spans"]}) == asked(path, "SELECT count(*) FROM traces")[0][0] == 6
    annotations = sum(
        asked(path, f"SELECT count(*) FROM {t}")[0][0] for t in ("span_annotations", "document_annotations")
    )
    assert len(tables["scores"]) == annotations == 30
    attributes = [json.loads(a) for (a,) in asked(path, "SELECT attributes FROM spans")]
    prompts = [a["llm"]["token_count"]["prompt"] for a in attributes if "token_count" in a.get("llm", {})]
    assert sum(s["input_tokens"] or 0 for s in tables["spans"]) == sum(prompts)
    found = [d for a in attributes for d in (*a.get("retrieval", {}).get("documents", ()),
                                             *a.get("reranker", {}).get("output_documents", ()))]  # fmt: skip
    assert len(tables["documents"]) == len(found)
    ((tools, errors),) = asked(path, "SELECT sum(span_kind = 'TOOL'), sum(status_code = 'ERROR') FROM spans")
    assert len(tables["tool_calls"]) == tools
    assert sum(s["status"] == "error" for s in tables["spans"]) == errors
    costs = {span: round(cost * 10**9) for span, cost in asked(
        path, "SELECT span_id, total_cost FROM span_costs JOIN spans ON spans.id = span_rowid"
    )}  # fmt: skip
    assert {s["span_id"]: s["cost_nusd"] for s in tables["spans"] if s["cost_nusd"] is not None} == costs
    assert receipt.dropped == 0


def test_phoenix_makes_the_requests_of_its_other_exports(shared: Path, tmp_path: Path) -> None:
    root = shared / PHOENIX
    tables, _ = read_all([root / "phoenix_subset.db"])
    user_interface, _ = read_all([root / "ui_export_spans_with_annotations.jsonl"])
    frames, _ = read_all([root / f"{n}.parquet" for n in ("spans_dataframe", "span_annotations_dataframe")])
    assert kpis(tables) == kpis(user_interface) == kpis(frames)
    free = tmp_path / "without_costs.db"  # the only thing that no other export has
    shutil.copy(root / "phoenix_subset.db", free)
    made(free, "DELETE FROM span_costs")
    assert requests_of(read_all([free])[0]) == requests_of(user_interface)


def test_mlflow_has_the_counts_of_the_file_and_the_requests_of_its_exports(shared: Path) -> None:
    path = shared / MLFLOW / "mlflow_subset.db"
    tables, receipt = read_all([path])
    kinds = Counter(kind for (kind,) in asked(path, "SELECT type FROM spans"))
    assert receipt.spans == sum(kinds.values()) == 27
    assert len(tables["tool_calls"]) == kinds["TOOL"]
    wanted = "assessment_type = 'feedback' AND valid AND value NOT IN ('null') AND error IS NULL"
    scored = [v for (v,) in asked(path, f"SELECT value FROM assessments WHERE {wanted}")]
    assert len(tables["scores"]) == len([v for v in scored if not isinstance(json.loads(v), (list, dict))]) == 18
    requests = requests_of(tables)
    told = dict(asked(path, "SELECT substr(request_id, 4), total_cost FROM trace_info"))
    assert {t: r["total_nusd"] for t, r in requests.items()} == {
        t: None if cost is None else round(cost * 10**9) for t, cost in told.items()
    }
    tokens = dict(asked(path, "SELECT substr(request_id, 4), input_tokens FROM trace_info"))
    assert {t: r["input_tokens"] for t, r in requests.items()} == tokens
    for other in ("traces_to_json.jsonl", "search_traces.json"):
        assert requests == requests_of(read_all([shared / MLFLOW / other])[0])


def test_a_database_beside_the_other_exports_doubles_nothing(shared: Path, home: Path) -> None:
    root = shared / MLFLOW
    both = [root / "traces_to_json.jsonl", root / "mlflow_subset.db"]
    alone = kpi.load(both[1:], dataset="alone")
    for name, paths in (("one", both), ("other", both[::-1])):
        kpi.load(paths, dataset=name)
    assert kpi.load(both[1], dataset="one").loaded == 0
    metrics = ["task_success", "total_cost", "latency_p95", "tokens_per_request"]
    names = [m for m in metrics if m in kpi.METRICS]
    found = [kpi.summarise(kpi.open(d), names, kpi.Slice(last="all")) for d in ("alone", "one", "other")]
    for frame in found[1:]:
        pd.testing.assert_frame_equal(frame, found[0])
    assert (alone.requests, alone.format) == (6, "mlflow")


def test_a_phoenix_database_loads_by_itself(shared: Path, home: Path) -> None:
    receipt = kpi.load(shared / PHOENIX / "phoenix_subset.db")
    assert (receipt.format, receipt.requests, receipt.spans) == ("phoenix", 6, 51)


# --- made-up stores --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tables", "rows"),
    [
        ("phoenix", stores.phoenix_tables, stores.phoenix_rows),
        ("mlflow", stores.mlflow_tables, stores.mlflow_rows),
        ("litellm", stores.litellm_tables, stores.litellm_rows),
        ("langfuse", stores.langfuse_tables, stores.langfuse_rows),
    ],
)
def test_every_vendor_as_a_file(name: str, tables: Callable, rows: Callable, tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    found = tables()
    next(iter(found.values())).metadata.create_all(engine)
    stores.insert(engine, found, rows(0, 40))
    engine.dispose()
    (source,) = open_inputs([tmp_path / "store.db"], limits=Limits())
    assert detect(source) == name
    requests = requests_of(read_all([tmp_path / "store.db"])[0])
    assert sum(r["input_tokens"] for r in requests.values()) == sum(100 + n for n in range(40))
    assert sum(r["total_nusd"] for r in requests.values()) == sum(1000 * (n + 1) for n in range(40))
    assert {r["input_text"] for r in requests.values()} == {f"Question {n}?" for n in range(40)}


def test_a_copy_without_its_log_says_so(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    found = stores.litellm_tables()
    next(iter(found.values())).metadata.create_all(engine)
    stores.insert(engine, found, stores.litellm_rows(0, 3))
    engine.dispose()
    assert not any("-wal" in n for n in read_all([path])[1].notes)
    path.with_name("store.db-wal").write_bytes(b"frames")
    assert any("-wal" in n for n in read_all([path])[1].notes)


# --- plain tables ----------------------------------------------------------------------------------------------------


def test_a_spans_frame_written_with_to_sql(shared: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(shared / PHOENIX / "spans_dataframe.parquet")
    frame.to_csv(tmp_path / "spans.csv")
    texts = pd.read_csv(tmp_path / "spans.csv", dtype=str, keep_default_na=False).drop(columns="context.span_id.1")
    connection = sqlite3.connect(tmp_path / "spans.db")
    texts.to_sql("spans", connection, index=False)
    connection.close()
    tables, receipt = read_all([tmp_path / "spans.db"])
    assert receipt.spans == len(frame) == 51
    assert requests_of(tables) == requests_of(read_all([tmp_path / "spans.csv"])[0])


def test_one_table_with_a_row_for_each_request(tmp_path: Path, home: Path) -> None:
    rows = [f"('r{n}', '2026-11-01 08:{n:02d}:00', {n + 0.5}, 'm-1', 'Où? {n}', {100 + n}, {n % 2})" for n in range(40)]
    path = made(
        tmp_path / "mine.sqlite",
        'CREATE TABLE "my, ""calls""" (request_id TEXT, created_at TEXT, latency_s REAL, model, question, '
        "input_tokens INTEGER, success BOOLEAN)",
        f'INSERT INTO "my, ""calls""" VALUES {", ".join(rows)}',
    )
    preview = kpi.preview(path)
    assert (preview.format, preview.rows) == ("table", 40)
    receipt = kpi.load(path)
    assert (receipt.requests, receipt.files) == (40, ["mine.sqlite"])
    found = kpi.summarise(kpi.open(), ["task_success"], kpi.Slice(last="all"))
    assert found["value"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("statements", "code", "said"),
    [
        (["CREATE TABLE orders (a, b)", "CREATE TABLE people (a, b)"], "ingest.several_tables", "'orders', 'people'"),
        (["CREATE VIEW v AS SELECT 1 AS a, 2 AS b"], "ingest.empty", "without tables"),
    ],
)
def test_what_holds_no_requests_is_named(statements: list[str], code: str, said: str, tmp_path: Path, home) -> None:
    path = made(tmp_path / "other.db", *statements)
    with pytest.raises(IngestError) as caught:
        kpi.load(path)
    assert caught.value.code == code
    assert said in str(caught.value)
    assert caught.value.hint


# --- hostile ---------------------------------------------------------------------------------------------------------

FRAME = "CREATE TABLE t (request_id TEXT, created_at TEXT, model TEXT, n AS ({}))"
HOSTILE = {
    "a view in the place of a table": [
        "CREATE TABLE traces (id)", "CREATE TABLE span_annotations (id)",
        "CREATE VIEW spans AS WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x) SELECT i AS id FROM x",
    ],
    "a view without end": [
        "CREATE TABLE one (request_id, created_at)", "INSERT INTO one VALUES ('a', '2026-01-01')",
        "CREATE VIEW two AS WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x) SELECT * FROM x",
    ],
    "triggers": [
        "CREATE TABLE one (request_id, created_at)", "INSERT INTO one VALUES ('a', '2026-01-01')",
        "CREATE TRIGGER x AFTER INSERT ON one BEGIN DELETE FROM one; END",
    ],
    "virtual tables": ["CREATE VIRTUAL TABLE spans USING fts5(a)", "CREATE VIRTUAL TABLE t USING rtree(a, b, c)"],
    "a column that makes memory": [FRAME.format("zeroblob(900000000)"), "INSERT INTO t VALUES ('a', '2026', 'm')"],
    "a column that calls functions": [FRAME.format("hex(zeroblob(400000000))"), "INSERT INTO t VALUES ('a', 'b', 'm')"],
    "quotes and commands in names": [
        'CREATE TABLE "x"";ATTACH \'evil.db\' AS e;--" (request_id, created_at)',
        'INSERT INTO "x"";ATTACH \'evil.db\' AS e;--" VALUES (1, 2)',
    ],
    "text that is no UTF-8": [
        "CREATE TABLE t (request_id, created_at)", "INSERT INTO t VALUES (CAST(x'ff00fe' AS TEXT), '2026-01-01')",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_code_inside_a_file_is_never_run(
    name: str, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # what such code would write without a path is written here
    path = made(tmp_path / "hostile.db", *HOSTILE[name])
    before = {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    limited = name.startswith("a column")  # the child process bounds memory
    receipt, code = tried(lambda: kpi.load(path) if limited else read_all([path])[1])
    assert code in (
        "", "ingest.unsupported_format", "ingest.bad_database", "ingest.several_tables", "ingest.no_rows",
        "ingest.empty", "ingest.no_columns", "ingest.unknown_format",
    )  # fmt: skip
    assert receipt is None or receipt.requests <= 1
    assert {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before
    assert not (tmp_path / "evil.db").exists()


def test_only_reading_is_allowed(tmp_path: Path) -> None:
    path = made(tmp_path / "a.db", "CREATE TABLE t (request_id, b)", "CREATE VIEW v AS SELECT * FROM t")
    opened = Path(path)
    digest = hashlib.sha256(opened.read_bytes()).hexdigest()
    (source,) = _raw(path)
    database = sqlite_file.FileDatabase(source, Limits(), kpi.Receipt())
    for statement in (
        "INSERT INTO t VALUES (1, 2)", "DELETE FROM t", "CREATE TABLE x (a)", "PRAGMA query_only = OFF",
        "ATTACH ':memory:' AS m", "SELECT * FROM v", "SELECT load_extension('x')", "SELECT writefile('x', 'y')",
        "SELECT randomblob(9)", "WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x) SELECT i FROM x",
    ):  # fmt: skip
        with pytest.raises(sqlite3.DatabaseError):
            database._connection.execute(statement)
    database.close()
    assert hashlib.sha256(opened.read_bytes()).hexdigest() == digest


def test_reading_ends_when_its_time_is_up(tmp_path: Path, monkeypatch) -> None:
    rows = ", ".join(f"({n})" for n in range(2_000))
    path = made(tmp_path / "a.db", "CREATE TABLE t (a)", f"INSERT INTO t VALUES {rows}")
    (source,) = _raw(path)
    database = sqlite_file.FileDatabase(source, Limits(), kpi.Receipt())
    database._connection.set_progress_handler(lambda: True, 10)
    with pytest.raises(IngestError) as caught:
        list(database.stream("SELECT a FROM t", {}, "t"))
    assert caught.value.code == "ingest.timeout"
    database.close()


def _raw(path: Path) -> list[Any]:
    from kpi.ingest.files.archive import _open

    return list(_open(path, Limits()))


@pytest.mark.parametrize("seed", range(6))
def test_values_of_any_type_cost_themselves(shared: Path, tmp_path: Path, seed: int) -> None:
    """SQLite keeps any type in any column: texts for ids, numbers for JSON, nothing at all."""
    path, chance = tmp_path / "odd.db", random.Random(seed)
    shutil.copy(shared / (f"{PHOENIX}/phoenix_subset.db" if seed % 2 else f"{MLFLOW}/mlflow_subset.db"), path)
    tables = [name for (name,) in asked(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    connection = sqlite3.connect(path)
    for _ in range(30):
        table = chance.choice(tables)
        column = chance.choice([c[1] for c in connection.execute(f'PRAGMA table_xinfo("{table}")') if c[6] == 0])
        value = chance.choice(["x", -1, 1.5, "", b"\xff\x00", "[1]", "{}", 10**15])
        with contextlib.suppress(sqlite3.IntegrityError):
            connection.execute(
                f'UPDATE OR IGNORE "{table}" SET "{column}" = ? WHERE rowid IN '
                f'(SELECT rowid FROM "{table}" ORDER BY random() LIMIT 3)', [value],
            )  # fmt: skip
    connection.commit()
    connection.close()
    tables_read, receipt = read_all([path])
    assert len(tables_read["spans"]) > 5
    assert receipt.spans == len([s for s in tables_read["spans"] if s["kind"] != "trace"])


# --- damaged ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_gives_its_good_part(shared: Path, tmp_path: Path, seed: int) -> None:
    """Cut off or overwritten anywhere: a typed error, or rows of the whole file and a word on what is missing."""
    whole = shared / (f"{PHOENIX}/phoenix_subset.db" if seed % 2 else f"{MLFLOW}/mlflow_subset.db")
    chance = random.Random(seed)
    content = bytearray(whole.read_bytes())
    if seed % 3:
        at = chance.randrange(8_192, len(content))
        content[at : at + 8_192] = chance.randbytes(min(8_192, len(content) - at))
    else:
        del content[chance.randrange(30_000, len(content)) :]
    path = tmp_path / "damaged.db"
    path.write_bytes(content)
    expected = {(s["trace_id"], s["span_id"]) for s in read_all([whole])[0]["spans"]}
    read, code = tried(lambda: read_all([path]))
    assert code in ("", "ingest.bad_database", "ingest.several_tables", "ingest.unsupported_format")
    if read is None:
        return
    tables, receipt = read
    found = {(s["trace_id"], s["span_id"]) for s in tables.get("spans", [])}
    assert len(found - expected) <= 2  # a byte of an id may be what was overwritten
    assert found >= expected or receipt.dropped


def test_garbage_behind_the_magic_bytes(tmp_path: Path, home: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"SQLite format 3\x00" + random.Random(1).randbytes(5000))
    with pytest.raises(IngestError) as caught:
        kpi.load(tmp_path / "a.json")
    assert caught.value.code == "ingest.bad_database"
