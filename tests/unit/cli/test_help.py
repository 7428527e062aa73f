"""Every command has a help with examples, and every example runs; what the help costs to start."""

from __future__ import annotations

import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
import sqlalchemy as sa
import typer

import kpi
from kpi import cli
from kpi.cli.program import program
from kpi.cli.traces import Sort
from kpi.measure.traces import SORTS
from kpi.store import connections
from tests.unit.cli.conftest import Run
from tests.unit.ingest.databases import stores

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
SHOWN_TRACE, SHOWN_KEY = "4bf92f3577b34da6a3ce929d0e0e4736", "5f0c3a9b"  # ids in the help, made up


def commands() -> dict[str, Any]:
    """Every command by what is typed, those below `kpi key` too."""
    root: Any = typer.main.get_command(program())
    found = dict(root.commands)
    found.update({f"key {name}": command for name, command in found.pop("key").commands.items()})
    return found


def examples() -> list[str]:
    return [line.strip() for c in commands().values() for line in c.epilog.splitlines() if line.startswith("  kpi ")]


CHANGES = ("load", "copy", "connect", "connections", "doctor", "prices", "reprice", "key")


@pytest.fixture(scope="module")
def place(stored_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the files that examples name, and a state folder of its own that they may change."""
    folder = tmp_path_factory.mktemp("examples")
    home = folder / "home"
    shutil.copytree(stored_home, home)
    exports = ROOT / "sample_data" / "exports"
    shutil.copy(next(exports.glob("*.jsonl")), folder / "traces.jsonl")
    rows = pd.DataFrame({"request_id": ["a", "b"], "when": ["2026-10-01T00:00:00Z"] * 2, "worked": [True, False]})
    rows.to_csv(folder / "table.csv", index=False)
    (folder / "mapping.toml").write_text(
        "".join(f'[columns.{c}]\nfield = "{f}"\n' for c, f in
                (("request_id", "trace_id"), ("when", "started_at"), ("worked", "success")))
    )  # fmt: skip
    (home / "databases").mkdir()
    with sqlite3.connect(home / "databases" / "shop.db") as made:
        rows.to_sql("calls", made, index=False)
    made.close()
    vendor = sa.create_engine(f"sqlite:///{home / 'databases' / 'phoenix.db'}")
    tables = stores.phoenix_tables()
    next(iter(tables.values())).metadata.create_all(vendor)
    stores.insert(vendor, tables, stores.phoenix_rows(0, 3))
    vendor.dispose()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPI_HOME", str(home))
        kpi.load(folder / "table.csv", dataset="own", mapping=kpi.Mapping.load(folder / "mapping.toml"))
        kpi.backup_key(folder / "ai-index.key")
    yield folder
    connections.forget()


@pytest.fixture
def ready(place: Path, stored_home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """What an example needs: the sample where it only reads (opened once for all), else the folder that may change."""
    words = request.node.callspec.params["example"].split()
    monkeypatch.chdir(place)
    if words[1] in CHANGES:
        monkeypatch.setenv("KPI_HOME", str(place / "home"))
        monkeypatch.setenv("KPI_SECRETS", str(place / "absent.toml"))
        monkeypatch.setenv("KPI_CONNECTION_SHOP", "sqlite:///shop.db")
        monkeypatch.setenv("KPI_CONNECTION_PHOENIX", "sqlite:///phoenix.db")
    else:
        request.getfixturevalue("sample_home")


@pytest.mark.parametrize("name", commands())
def test_every_command_has_a_help_with_an_example(name: str, run: Run) -> None:
    code, out, err = run(*name.split(), "--help")
    assert (code, err) == (cli.FINE, "")
    assert "Usage: kpi " + name in " ".join(out.split())
    assert f"kpi {name}" in commands()[name].epilog
    assert commands()[name].help.strip()
    assert run(*name.split(), "-h")[1] == out


@pytest.mark.parametrize("example", examples())
def test_every_example_of_the_help_runs(example: str, ready: None, place: Path, run: Run) -> None:
    words = shlex.split(example)[1:]
    if SHOWN_TRACE in words:
        words[words.index(SHOWN_TRACE)] = kpi.find_traces(kpi.open("sample"), limit=1)["trace_id"][0]
    if words[:2] == ["key", "backup"]:
        (place / words[2]).unlink()  # made for the example that restores it
    if SHOWN_KEY in words:
        kpi.rotate_key("all")
        words[words.index(SHOWN_KEY)] = next(k for k in kpi.key_state().keys if not _needed(k))
    code, out, err = run(*words)
    assert code in (cli.FINE, cli.BREACHED, cli.CANNOT_TELL), err
    assert out.strip()


def _needed(key: str) -> bool:
    state = kpi.key_state()
    return key in {state.current, *(d.key for d in state.datasets)}


def test_the_orders_of_traces_are_those_of_python() -> None:
    assert get_args(Sort) == SORTS


START = """
import sys, types
package = types.ModuleType("kpi")
package.__path__ = [sys.argv[1]]
sys.modules["kpi"] = package  # without the public face: what the command line itself imports
from kpi.cli.program import main
assert main(["compare", "--help"]) == 0 and main(["nonsense"]) == 3
print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", START, str(ROOT / "kpi")], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "typer" in loaded
    heavy = {
        "pandas",
        "numpy",
        "scipy",
        "sklearn",
        "streamlit",
        "altair",
        "duckdb",
        "deltalake",
        "pyarrow",
        "sqlalchemy",
    }
    assert not heavy & loaded


def test_the_package_runs_as_a_module(home: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "kpi.cli", "datasets"], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "kpi load" in done.stdout
