"""Every block of code and every command in README and docs is run: here, or by the test that is named here."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import sqlalchemy as sa
import typer

import kpi
from kpi import cli
from kpi.cli.program import program
from kpi.pricing import price_file
from tests import postgres, team

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
HERE = "tests/unit/test_blocks.py"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(kpi [a-z][^`]*)`")
# The blocks of a page by language, in their order: which test runs each.
RUN_BY: dict[str, dict[str, list[str]]] = {
    "README.md": {"sh": [HERE, HERE], "python": [HERE, "tests/unit/ingest/formats/test_readme.py"]},
    "CONTRIBUTING.md": {"sh": [HERE]},
    "databases.md": {"toml": [HERE, HERE], "sql": [HERE]},
    "nightly.md": {"bash": ["tests/unit/cli/test_nightly.py"], "yaml": ["tests/unit/cli/test_nightly.py"],
                   "python": ["tests/unit/cli/test_nightly.py"]},
    "notebook.md": {"python": ["tests/unit/test_docs.py"] * 8},
    "own-metrics.md": {"toml": ["tests/unit/test_docs.py"], "python": ["tests/unit/test_docs.py"] * 4},
    "own-tables.md": {"toml": [HERE]},
    "prices.md": {"toml": [HERE]},
    "serving.md": {"sh": [HERE]},
}  # fmt: skip
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"  # of the README


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page if page == "README.md" else ROOT / "docs" / page).read_text(encoding="utf-8")
    return [code for kind, code in _FENCE.findall(text) if kind == language]


def test_every_block_is_run_by_a_test() -> None:
    found: dict[str, dict[str, list[str]]] = {}
    for page in PAGES:
        for language, _ in _FENCE.findall(page.read_text(encoding="utf-8")):
            found.setdefault(page.name, {}).setdefault(language, []).append("")
    counted = {page: {kind: len(runs) for kind, runs in kinds.items()} for page, kinds in RUN_BY.items()}
    assert {page: {kind: len(runs) for kind, runs in kinds.items()} for page, kinds in found.items()} == counted
    for page, kinds in RUN_BY.items():
        for test in {test for runs in kinds.values() for test in runs}:
            text = (ROOT / test).read_text(encoding="utf-8")
            assert page in text, f"{test} does not read {page}"


def commands(text: str) -> list[list[str]]:
    """The words of each `kpi …` in running text, without placeholders, which are in capitals."""
    found = []
    for words in (shlex.split(command) for command in _INLINE.findall(text)):
        found.append([w for w in words[1:] if w != w.upper() or w.startswith("-")])
    return found


def options(name: str) -> set[str]:
    command = typer.main.get_command(program())
    for part in name.split():
        command = command.commands[part]  # type: ignore[attr-defined]
    return {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"-h", "--help"}


def test_commands_named_in_the_text_are_there_with_their_options() -> None:
    known = set(typer.main.get_command(program()).commands)  # type: ignore[attr-defined]
    for page in PAGES:
        if page.name == "CHANGELOG.md":  # of what was, too
            continue
        for first, *rest in commands(page.read_text(encoding="utf-8")):
            if first in ("COMMAND", ""):
                continue
            assert first in known, (page.name, first)
            name = f"key {rest[0]}" if first == "key" and rest and not rest[0].startswith("-") else first
            unknown = (
                {w.partition("=")[0] for w in rest if w.startswith("-")} - options(name) if name != "key" else set()
            )
            assert unknown == set(), (page.name, first)


# --- README ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "serving.md"])
def test_make_has_what_the_pages_call(page: str) -> None:
    called = re.findall(r"\bmake ([a-z]+)\b", blocks(page, "sh")[0])
    assert called
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [name for name in called if not re.search(rf"^{name}:", rules, re.MULTILINE)] == []


def test_the_server_knows_the_settings_of_the_page(tmp_path: Path) -> None:
    (line,) = blocks("serving.md", "sh")
    told = dict(word.split("=", 1) for word in shlex.split(line) if "=" in word)
    shown = subprocess.run([sys.executable, "-m", "streamlit", "config", "show"], cwd=tmp_path,
                           env={**os.environ, **told}, capture_output=True, text=True, check=True).stdout  # fmt: skip
    server = tomllib.loads(shown[shown.index("\n[") :])["server"]
    assert server["address"] == "0.0.0.0"
    assert server["allowedHosts"] == told["STREAMLIT_SERVER_ALLOWED_HOSTS"].split()


@pytest.mark.slow
def test_the_commands_and_the_notebook_of_the_readme(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shared: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KPI_DATA_DIR", str(shared / "data"))
    monkeypatch.setenv("KPI_SECRETS", str(tmp_path / "absent.toml"))
    (store,) = sorted((shared / "data/exports/mlflow").glob("*.db"))[:1]
    monkeypatch.setenv("KPI_CONNECTION_LANGFUSE", f"sqlite:///{store.relative_to(shared / 'data')}")
    rows = team.frame(rows=2500)
    rows.insert(0, "trace_id", [TRACE, *(f"t{i}" for i in range(1, len(rows)))])
    rows.to_json("traces.jsonl.gz", orient="records", lines=True)
    ended = {}
    for line in blocks("README.md", "sh")[1].splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "kpi"
        ended[words[1]] = cli.main(words[1:])
        assert ended[words[1]] != cli.BAD, (line, capsys.readouterr().err)
    assert ended["load"] == ended["trace"] == ended["summarise"] == cli.FINE
    assert ended["findings"] == cli.BREACHED  # German fell
    space: dict[str, object] = {}
    exec(blocks("README.md", "python")[0], space)


# --- pages of the docs -----------------------------------------------------------------------------------------------


def test_the_connections_of_the_page(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secrets.toml").write_text(blocks("databases.md", "toml")[0], encoding="utf-8")
    monkeypatch.setenv("KPI_SECRETS", str(tmp_path / "secrets.toml"))
    monkeypatch.setenv("KPI_DATA_DIR", str(tmp_path))
    duckdb.connect(str(tmp_path / "archive.duckdb")).close()
    found = {c.name: c for c in kpi.connections()}
    assert {name: c.dialect for name, c in found.items()} == {"shop": "postgresql", "archive": "duckdb"}


@pytest.mark.slow
def test_the_role_of_the_page_reads_and_writes_nothing() -> None:
    if postgres.binaries() is None:
        pytest.skip("needs PostgreSQL")
    statements = [s for s in blocks("databases.md", "sql")[0].split(";") if s.strip()]
    with postgres.server() as engine:
        with engine.begin() as run:
            run.execute(sa.text("CREATE SCHEMA analytics"))
            run.execute(sa.text("CREATE TABLE analytics.requests AS SELECT 1 AS trace_id"))
            for one in statements:
                run.execute(sa.text(one))
        url = engine.url.set(username="kpi_reader", password="...")
        reader = sa.create_engine(url)
        with reader.connect() as run:
            assert run.execute(sa.text("SELECT count(*) FROM analytics.requests")).scalar() == 1
            with pytest.raises(sa.exc.DBAPIError):
                run.execute(sa.text("INSERT INTO analytics.requests VALUES (2)"))
        reader.dispose()


def test_the_mapping_of_a_table_in_a_database(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(tmp_path / "calls.db") as made:
        made.execute("CREATE TABLE calls (id TEXT, created_at TIMESTAMP, latency REAL, thumbs BOOLEAN)")
        made.executemany("INSERT INTO calls VALUES (?, ?, ?, ?)",
                         [(f"r{i}", f"2026-11-0{i} 10:00:00", 0.5 * i, i != 2) for i in range(1, 5)])  # fmt: skip
    made.close()
    (tmp_path / "mapping.toml").write_text(blocks("databases.md", "toml")[1], encoding="utf-8")
    monkeypatch.setenv("KPI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("KPI_SECRETS", str(tmp_path / "absent.toml"))
    monkeypatch.setenv("KPI_CONNECTION_LAB", "sqlite:///calls.db")
    code = cli.main(["connect", "lab", "--table", "calls", "--mapping", str(tmp_path / "mapping.toml")])
    assert code == cli.FINE, capsys.readouterr().err
    told = kpi.summarise(kpi.open("db:lab"), ["task_success", "latency_p50"], kpi.Slice(last="all"))
    assert told["n"].tolist() == [4, 4]
    assert told["value"].tolist() == pytest.approx([0.75, 1250.0], rel=0.006)


def test_the_mapping_of_a_table_in_a_file(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {"id": ["a", "b", "c"], "timestamp": ["03/04/2026", "13/04/2026", "14/04/2026"],
            "Antwortzeit": ["1,5", "2,5", "1,234"], "success": ["ja", "nein", "ja"]}  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False, sep=";")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(blocks("own-tables.md", "toml")[0], encoding="utf-8")
    code = cli.main(["load", str(tmp_path / "rows.csv"), "--dataset", "mine", "--mapping", str(mapping)])
    assert code == cli.FINE, capsys.readouterr().err
    held = kpi.open("mine").rows(kpi.Slice(last="all"))  # as pages show them
    assert sorted(held["latency_ms"]) == [1234, 1500, 2500]
    assert held["started_at"].dt.month.eq(4).all()


def test_the_price_file_of_the_page(home: Path) -> None:
    home.mkdir()
    (home / "prices.toml").write_text(blocks("prices.md", "toml")[0], encoding="utf-8")
    table = price_file.table_of(price_file.user_text(home))
    assert "our-gpt4-deployment" in repr(table.__dict__)
