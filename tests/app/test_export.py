"""Downloads of tables: nothing in them runs in a spreadsheet, numbers stay numbers, and no table goes another way."""

from __future__ import annotations

import ast
import csv
import io
import re
import sys
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from hypothesis import given, settings, strategies as some

import kpi
from app import export
from tests.app.conftest import NAMES, _forget, _opener

APP = Path(export.__file__).parent
PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?", re.ASCII)
STARTS = ("=1+1", "@SUM(1)", "\t=1", "+cmd|' /C calc'!A0", "-2+3", "＝1+1", "＋1", "－1", "＠a", "\rx", "\x00x", " =1",
          "\u200b=1", "\ufeff-1", "\n@x", "⁼1", "⩵1", "\u00a0+1", " \x00=1",
          "=HYPERLINK(\"http://evil.example\")")  # fmt: skip


def read(raw: bytes) -> list[list[str]]:
    assert raw.startswith("\ufeff".encode())
    return list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")))


def runs(cell: str) -> bool:
    """Whether a spreadsheet could take a cell for a formula: by its first sign that is more than a blank."""
    bare = cell.lstrip(" \t\r\n\x00\u00a0\u200b\u2060\ufeff")
    return (cell[:1] in "\t\r\x00" and cell != "") or unicodedata.normalize("NFKC", bare)[:1] in tuple("=+-@")


@pytest.mark.parametrize("text", STARTS)
def test_a_text_that_would_run_is_made_inert(text):
    assert runs(text)
    assert export.inert(text) == f"'{text}" or not runs(export.inert(text))
    assert not runs(export.inert(text))
    assert export.inert(export.inert(text)) == export.inert(text)


@pytest.mark.parametrize(
    "text", ["", "plain", "a=b", "5 - 3", "x@example.org", "'=1", "−1.2 pp", "¿Qué?", "1,000", "a; b"]
)
def test_other_texts_stay_as_they_are(text):
    assert export.inert(text) == text


@pytest.mark.parametrize("text", ["x;=1+1", "x\n=1+1", "x\t@a", 'x;"=1', "x; \u200b-1", "x\r+1"])
def test_where_a_semicolon_cuts_cells_nothing_runs_either(text):
    cut = [part for line in re.split(r"[\r\n]", export.inert(text)) for part in re.split(r"[;\t]", line)]
    assert not any(runs(part.strip('"')) for part in cut), cut


def test_every_sign_that_becomes_one_is_known():
    every = (chr(i) for i in range(sys.maxunicode + 1) if not 0xD800 <= i < 0xE000)
    found = {c for c in every if unicodedata.normalize("NFKC", c)[0] in "=+-@"}
    assert found <= set(export.STARTS)


@given(some.text(alphabet=some.sampled_from("=+-@\t\r\n\x00;' \"＝a1"), max_size=12))
@settings(max_examples=300)
def test_no_text_runs(text):
    assert not runs(export.inert(text))


def test_numbers_stay_numbers_and_headers_are_inert():
    frame = pd.DataFrame(
        {"=a": [-1, 2], "b": [-0.5, float("nan")], "@c": ["-5", None], ("d", "e"): [Decimal("-1.5"), True]},
        index=pd.Index(["=x", "y"], name="+i"),
    )
    rows = read(export.to_csv(frame, index=True))
    assert rows == [
        ["'+i", "'=a", "b", "'@c", "d e"], ["'=x", "-1", "-0.5", "'-5", "-1.5"], ["y", "2", "", "", "True"],
    ]  # fmt: skip
    raw = export.to_csv(frame, index=True).decode("utf-8-sig")
    assert '"\'=x",-1,-0.5,"\'-5",-1.5' in raw  # texts in quotes, numbers bare
    back = pd.read_csv(io.BytesIO(export.to_csv(frame)))
    np.testing.assert_array_equal(back["'=a"], frame["=a"])
    np.testing.assert_array_equal(back["b"], frame["b"])


def test_texts_come_back_whole():
    texts = ['a "quoted" one', "two\nlines", "a,b", "naïve ¿ü? 中文 🙂", "\ud83d"]
    frame = pd.DataFrame({"t": pd.Series(texts, dtype=object)})
    assert [r[0] for r in read(export.to_csv(frame))[1:]] == [*texts[:4], "?"]


@pytest.mark.parametrize("path", sorted(APP.rglob("*.py")), ids=lambda p: p.stem)
def test_every_table_has_its_own_download(path):
    calls = {
        n.func.attr
        for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
    }
    drawn = calls & {"dataframe", "download_button", "table"} - ({"table"} if path.stem != "export" else set())
    assert drawn <= ({"dataframe", "download_button"} if path.stem == "export" else set()), drawn


def test_the_downloads_of_the_framework_are_off():
    assert st.get_option("client.disableDataExport") is True


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder with a data set in which every text, name and id would run."""
    folder = tmp_path_factory.mktemp("formulas")
    n = 600
    start = pd.Timestamp("2026-09-01", tz="UTC")
    pick = lambda k: [STARTS[(i * 7 + k) % len(STARTS)] for i in range(n)]  # noqa: E731
    pd.DataFrame({
        "request_id": [f"={i}" for i in range(n)], "timestamp": [start + pd.Timedelta(hours=2 * i) for i in range(n)],
        "user_id": [f"@u{i % 90}" for i in range(n)], "model": [["=m1", "+m2"][i % 2] for i in range(n)],
        "prompt_version": [["-p1", "@p2"][i // 400] for i in range(n)],
        "language": [["=en", "\tes", "＝de"][i % 3] for i in range(n)], "success": [i % 4 > 0 for i in range(n)],
        "latency_ms": [300 + i for i in range(n)], "cost_usd": [0.01 + i / 1e5 for i in range(n)],
        "prompt": pick(0), "response": pick(1), "error_type": pick(2),
        "=segment": [["-a", "+b"][i % 2] for i in range(n)],
    }).to_parquet(folder / "in.parquet")  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPI_HOME", str(folder / "home"))
        kpi.load([folder / "in.parquet"], dataset="formulas")
    return folder / "home"


def test_no_download_of_any_page_runs(hostile: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KPI_HOME", str(hostile))
    made: dict[str, bytes] = {}
    drawn = st.download_button

    def keep(label, data, **more):
        if more["mime"] == "text/csv":  # the notebook of the page is no table
            made[more["file_name"]] = data()
        return drawn(label, data, **more)

    monkeypatch.setattr(st, "download_button", keep)
    _forget()
    for name in NAMES:
        more = {"trace": "first"} if name == "traces" else {}
        at = _opener(name, data="formulas", last="all", **more)
        assert len(at.get("download_button")) >= len(at.get("arrow_data_frame")), name
    _forget()
    cells = [c for raw in made.values() for row in read(raw) for c in row]
    assert len(made) > 10
    assert any("'=m1" in c for c in cells)
    assert [c for c in cells if runs(c) and not PLAIN.fullmatch(c)] == []
