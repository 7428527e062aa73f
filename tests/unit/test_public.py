"""The public face: what `import kpi` offers, what it costs, and that nothing it says of itself is out of date."""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.metadata
import inspect
import json
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import kpi
from kpi import results

ROOT = Path(kpi.__file__).resolve().parents[1]
HEAVY = ("numpy", "pandas", "pyarrow", "scipy", "sklearn", "duckdb", "deltalake", "sqlalchemy", "orjson")
PUBLIC = [name for names in kpi.GROUPS.values() for name in names]


def in_a_new_process(code: str) -> object:
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys; {code}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def typed() -> dict[str, str]:
    """The names that type checkers see, and where each comes from (`module:attribute`)."""
    block = next(
        node
        for node in ast.parse(Path(kpi.__file__).read_text("utf-8")).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    )
    imported: dict[str, str] = {}
    public: dict[str, str] = {}
    for node in block.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                imported[alias.name] = f"{node.module}:{alias.name}"
                if alias.asname:
                    public[alias.asname] = imported[alias.name]
        elif isinstance(node, ast.Assign):
            assert isinstance(node.targets[0], ast.Name)
            assert isinstance(node.value, ast.Name)
            public[node.targets[0].id] = imported[node.value.id]
    return public


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = in_a_new_process("import kpi; kpi.GROUPS, dir(kpi); print(json.dumps(sorted(sys.modules)))")
    assert isinstance(loaded, list)
    assert [name for name in HEAVY if name in loaded] == []
    assert [name for name in loaded if name.startswith("kpi")] == ["kpi"]


def test_a_name_loads_when_it_is_asked_for() -> None:
    loaded = in_a_new_process("import kpi; kpi.KpiError; print(json.dumps(sorted(sys.modules)))")
    assert isinstance(loaded, list)
    assert [name for name in loaded if name.startswith("kpi")] == ["kpi", "kpi.errors"]


def test_type_checkers_see_the_names_that_are_there_and_from_the_same_place() -> None:
    names = typed()
    assert set(names) == set(kpi._HOMES)
    for name, origin in names.items():
        module, _, attribute = origin.partition(":")
        found = getattr(importlib.import_module(module), attribute, None)
        if found is None:  # a module itself
            found = importlib.import_module(f"{module}.{attribute}")
        assert inspect.unwrap(kpi.__getattr__(name)) is found, name


def test_public_calls_can_be_sent_to_another_process() -> None:
    for name in set(PUBLIC) - {"METRICS"}:
        assert pickle.loads(pickle.dumps(getattr(kpi, name))) == getattr(kpi, name)


def test_groups_name_each_name_once_and_are_about_seventy() -> None:
    assert len(PUBLIC) == len(set(PUBLIC))
    assert 60 <= len(PUBLIC) <= 75
    assert set(PUBLIC) <= set(dir(kpi))
    assert not {name for name in PUBLIC if name.startswith("_")}


def test_a_star_import_brings_the_public_names_and_hides_no_builtin() -> None:
    space: dict[str, object] = {}
    exec("from kpi import *", space)
    assert set(space) - {"__builtins__"} == set(PUBLIC) - {"open"}
    assert not {name for name in kpi.__all__ if hasattr(builtins, name)}


def test_no_public_name_is_that_of_a_module() -> None:
    """Importing `kpi.<name>` would put the module in the place of the function."""
    modules = {found.name for found in pkgutil.iter_modules(kpi.__path__)}
    assert modules & set(kpi._HOMES) == {"charts", "errors"}
    assert kpi.errors is importlib.import_module("kpi.errors")


def test_a_name_that_is_not_there_is_said() -> None:
    with pytest.raises(AttributeError, match=r"module 'kpi' has no attribute 'sumarise'"):
        _ = kpi.sumarise  # type: ignore[attr-defined]


def test_classes_of_results_are_the_same_in_both_places() -> None:
    for name in results.__all__:
        other = {"Interval": "Difference", "LikelyCause": "Likely"}.get(name, name)
        assert getattr(results, name) is getattr(kpi, other)


def test_the_version_is_that_of_the_distribution() -> None:
    assert kpi.__version__ == importlib.metadata.version("ai-index")


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "kpi" / "py.typed").is_file()
    assert '"py.typed"' in (ROOT / "pyproject.toml").read_text("utf-8")
