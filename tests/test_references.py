"""What the repository says about itself: each link, path and document that it names is there."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("kpi", "app", "sample_data", "tests")
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
MADE = {"docs/api.md", "build/docs", "kpi/ingest/formats/acme.py"}  # by `make docs`; by the reader of the README
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")
_PATH = re.compile(r"(?<![\w/.~-])(?:kpi|app|docs|tests|sample_data)/[\w./-]*\w")
_DOCUMENT = re.compile(r"(?<![\w/.*{}-])[\w-]+\.(?:md|rst|ipynb)\b")
# A numbered item, or a lettered section, of a list that lies elsewhere: "Trap 14", "FORMATS c.5", 'DESIGN "…"'.
_NUMBERED = re.compile(r"\b(?:[Tt]raps? \d+|[A-Z]{5,} [a-z](?:\.\d|[);:,]| \d)|DESIGN\b)")


def exists(name: str) -> bool:
    """Whether a path of the repository, a package among them by its name without .py, is there."""
    path = ROOT / name
    return name in MADE or path.exists() or path.with_suffix(".py").exists()


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def prose(path: Path) -> Iterator[str]:
    """Docstrings and comments of a source file."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def absent(text: str) -> set[str]:
    """Paths and documents that a text names and that are not in the repository."""
    known = {path.name for path in PAGES} | {path.name for path in (ROOT / "docs").rglob("*.ipynb")} | {"api.md"}
    paths = {name for name in _PATH.findall(text) if not exists(name)}
    return paths | {name for name in _DOCUMENT.findall(text) if name not in known} | set(_NUMBERED.findall(text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_paths_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in _LINK.findall(text) if not link.startswith(("http://", "https://", "mailto:"))]
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert absent(text) == set()


def test_no_docstring_and_no_comment_names_what_is_not_here() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources()
        if path != Path(__file__).resolve()  # it shows what must not be
        for text in prose(path)
        for name in absent(text)
    }
    assert found == set()


def test_absent_documents_are_seen() -> None:
    for text in ("see docs/absent.md", "as TRAPS.md says", "(FORMATS c.5)", "Trap 14: sums", 'DESIGN "outcome"'):
        assert absent(text), text
    assert absent("kpi/schema.py, docs/metrics.md, the FORMATS of a load; README.md") == set()


def test_every_command_of_the_pages_is_one_of_make() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    said = {
        name for page in PAGES for name in re.findall(r"(?:^|`)make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE)
    }
    assert said <= targets, said - targets
