"""The documentation site: built with warnings as errors, it has every public name and asks no other host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sphinx.util.inventory import InventoryFile

import kpi

ROOT = Path(kpi.__file__).resolve().parents[1]
# What a browser fetches by itself; a link that a reader may follow is none.
_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*?\bsrc\s*=\s*["'](?:https?:)?//|<link\b[^>]*?\bhref\s*=\s*["'](?:https?:)?//"""
    r"""|@import\s+["']?(?:url\()?["']?(?:https?:)?//|\burl\(\s*["']?(?:https?:)?//"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    arguments = ["-W", "--keep-going", "-q", "-d", str(place / "trees"), "docs", str(place / "html")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *arguments],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return place / "html"


@pytest.mark.slow
def test_the_site_has_every_public_name_and_page(site: Path) -> None:
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    found = {name for kind in inventory.data if kind.startswith("py:") for name in inventory.data[kind]}
    assert {f"kpi.{name}" for names in kpi.GROUPS.values() for name in names} <= found
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} <= {page.stem for page in site.glob("*.html")}
    tasks = {page.stem for page in (ROOT / "docs" / "tasks").glob("*.ipynb")}
    assert tasks == {page.stem for page in site.glob("tasks/*.html")}
    assert "<table" in (site / "tasks" / "is-b-better.html").read_text("utf-8")


@pytest.mark.slow
def test_the_site_fetches_nothing_from_another_host(site: Path) -> None:
    files = [path for kind in ("*.html", "*.css") for path in site.rglob(kind)]
    assert len(files) > 10
    assert [path.name for path in files if _FETCHED.search(path.read_text("utf-8"))] == []


def test_a_foreign_address_is_seen() -> None:
    for text in ('<script defer src="https://a.example/x.js">', "<link rel='stylesheet' href='//a.example/x.css'>",
                 "@import url(https://a.example/x)", "src: url('//a.example/font.woff')"):  # fmt: skip
        assert _FETCHED.search(text), text
    assert not _FETCHED.search('<a href="https://a.example">')
