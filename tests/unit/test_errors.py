"""Texts of errors: each that a module raises is in the table with the facts that it needs, and none there is unused."""

from __future__ import annotations

import ast
import string
import tomllib
from pathlib import Path

import pytest

from kpi.errors import IngestError

ROOT = Path(__file__).resolve().parents[2]
TEXTS: dict[str, list[str]] = tomllib.loads((ROOT / "kpi" / "errors.toml").read_text("utf-8"))


def raised() -> dict[str, set[str]]:
    """Keys of the table that the source names, and the facts that every call gives."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "kpi").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error.told"):
                key = ast.literal_eval(node.args[0])
                facts = {str(word.arg) for word in node.keywords} - {"row"}
                assert found.setdefault(key, facts) == facts, f"{path.name}:{node.lineno}"
    return found


def test_every_text_has_its_facts_and_is_used() -> None:
    wanted = {
        key: {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}
        for key, texts in TEXTS.items()
    }
    assert raised() == wanted


def test_a_text_becomes_an_error_with_its_code_its_remedy_and_its_row() -> None:
    error = IngestError.told("ingest.bomb:ratio", row=3, name="a {odd} name.gz", ratio=250)
    assert (error.code, error.row) == ("ingest.bomb", 3)
    assert error.message == "a {odd} name.gz expands more than 250-fold"
    assert str(error).endswith("(row 3). If you trust the file, unpack it yourself and load what is inside.")


def test_a_text_that_is_not_there_is_a_fault_of_the_program() -> None:
    with pytest.raises(KeyError):
        IngestError.told("ingest.no_such_text")
