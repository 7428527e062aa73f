"""Tables of names: where they lie, and how their texts are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpi.disk.tables import by_word, lists, sets, table_of

TABLES = sorted(Path(__file__).parents[3].glob("kpi/**/*.toml"))


def test_the_table_beside_a_module(tmp_path: Path) -> None:
    (tmp_path / "names.toml").write_text("[a]\nb = 'c d'\n", encoding="utf-8")
    (tmp_path / "other.toml").write_text("e = 1\n", encoding="utf-8")
    module = str(tmp_path / "names.py")
    assert table_of(module) == {"a": {"b": "c d"}}
    assert table_of(module, "other") == {"e": 1}


def test_texts_as_lists_words_and_sets() -> None:
    table = {"one": "b a", "two": "c"}
    assert lists(table) == {"one": ("b", "a"), "two": ("c",)}
    assert by_word(table) == {"b": "one", "a": "one", "c": "two"}
    assert sets({"one": "b a", "two": "@one @more c", "three": ["with blank"]}, {"more": ("x", "y")}) == {
        "one": {"a", "b"}, "two": {"a", "b", "c", "x", "y"}, "three": {"with blank"},
    }  # fmt: skip
    with pytest.raises(KeyError):
        sets({"one": "@below", "below": "a"})


def test_no_table_names_a_word_twice_in_one_entry() -> None:
    """Of a list of names the first that is there counts: one that stands twice is a slip."""
    for path in (p for p in TABLES if "ingest" in p.parts or "mapping" in p.parts):
        for table, entries in table_of(str(path)).items():
            for entry, stated in entries.items() if isinstance(entries, dict) else ():
                words = stated.split() if isinstance(stated, str) else ()
                if table not in ("notes", "sentences", "hints", "patterns"):
                    assert len(words) == len(set(words)), f"{path.name}: {table}.{entry}"
