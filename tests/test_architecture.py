"""The import graph of the package, built from the source itself: no circle of files or of packages, no arrow upwards.

Imports inside functions and under TYPE_CHECKING count as well: a reader who follows names meets them all the same.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Top floor first. Rooms of one floor do not know each other.
FLOORS = (
    ("cli",),
    ("results", "charts"),
    ("govern",),
    ("explain",),
    ("narrate",),
    ("measure", "loading"),
    ("ingest", "store"),
    ("assembly",),
    ("mapping",),
    ("receipts",),
    ("pricing", "privacy", "stats", "arrow_rows"),
    ("disk", "clock", "result", "arguments"),
    ("schema", "errors"),
)
Graph = dict[str, set[str]]


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.AST, known: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                child = f"{node.module}.{alias.name}"
                if child in known:
                    yield child
                elif node.module in known:
                    yield node.module


def graph(package: str) -> Graph:
    """Every file of a package and the files of it that it imports."""
    files = {_name(path): path for path in (ROOT / package).rglob("*.py")}
    return {
        name: set(_imports(ast.parse(path.read_text("utf-8")), set(files))) - {name} for name, path in files.items()
    }


def circles(edges: Graph) -> list[list[str]]:
    """Strongly connected components of more than one node (Tarjan 1972), each sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = [stack.pop()]
            while component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def folders(edges: Graph) -> Graph:
    """The same graph between folders; a file at the top of the package is a room of its own."""
    files = set(edges)
    packages = {name for name in files if any(other.startswith(f"{name}.") for other in files)}

    def home(name: str) -> str:
        return name if name in packages or name.count(".") == 1 else name.rpartition(".")[0]

    found: Graph = {}
    for name, others in edges.items():
        for other in others:
            if home(name) != home(other):
                found.setdefault(home(name), set()).add(home(other))
    return found


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def upward(edges: Graph, floors: Iterable[tuple[str, ...]] = FLOORS) -> list[str]:
    """Imports of a higher floor, or of another room of the same one."""
    level = {name: number for number, names in enumerate(floors) for name in names}
    return sorted(
        f"{name} -> {other}"
        for name, others in edges.items()
        for other in others
        if room(name) and room(other) and room(name) != room(other) and level[room(other)] <= level[room(name)]
    )


@pytest.mark.parametrize("package", ["kpi", "app", "sample_data"])
def test_files_of_a_package_import_each_other_in_no_circle(package: str) -> None:
    edges = graph(package)
    edges.pop(package)  # the public face names every room
    assert circles(edges) == []


def test_packages_import_each_other_in_no_circle() -> None:
    edges = graph("kpi")
    edges.pop("kpi")
    assert circles(folders(edges)) == []


def test_every_room_stands_on_a_floor_and_imports_only_from_those_below() -> None:
    edges = graph("kpi")
    assert {room(name) for name in edges} - {""} == {name for names in FLOORS for name in names}
    assert upward(edges) == []


def test_unit_tests_lie_where_the_package_has_what_they_test() -> None:
    tests = ROOT / "tests" / "unit"
    folders = {path.parent.relative_to(tests) for path in tests.rglob("*.py")}
    assert (
        sorted(
            folder.as_posix()
            for folder in folders
            if not (ROOT / "kpi" / folder).is_dir() and not (ROOT / "kpi" / folder).with_suffix(".py").is_file()
        )
        == []
    )


def test_a_circle_and_an_arrow_upwards_are_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert upward({"kpi.schema": {"kpi.cli.main"}, "kpi.cli.main": {"kpi.schema"}}) == ["kpi.schema -> kpi.cli.main"]


def test_no_class_name_means_two_things() -> None:
    found: dict[str, list[str]] = {}
    for path in [*(ROOT / "kpi").rglob("*.py"), *(ROOT / "app").rglob("*.py")]:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: places for name, places in found.items() if len(places) > 1} == {}
