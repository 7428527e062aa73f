"""The notebooks of docs/tasks, run as a notebook runs them: what is printed, and how the last value shows itself.

`python -m tests.notebooks` runs them all and stores their outputs; a test holds that they come out again.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from tests.team import FOLDER


def pages() -> list[Path]:
    return sorted(FOLDER.glob("*.ipynb"))


def sources(path: Path) -> list[str]:
    """The code cells of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]


def run(path: Path) -> list[list[dict[str, Any]]]:
    """The outputs of each code cell, by a session that knows nothing before the first."""
    space: dict[str, Any] = {"__name__": "__main__"}
    as_new = pd.option_context("display.max_colwidth", 50, "display.width", 80)  # what a cell sets ends with it
    with contextlib.chdir(path.parent), _sitting(), as_new, warnings.catch_warnings():
        warnings.simplefilter("error")
        return [_run(code, space, number + 1) for number, code in enumerate(sources(path))]


@contextlib.contextmanager
def _sitting() -> Any:
    """Somebody sits before the session, as in a notebook."""
    sys.ps1 = ">>> "
    try:
        yield
    finally:
        del sys.ps1


def _run(code: str, space: dict[str, Any], number: int) -> list[dict[str, Any]]:
    body = ast.parse(code).body
    last = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    said, shown = io.StringIO(), None
    with contextlib.redirect_stdout(said):
        exec(compile(ast.Module(body, []), "cell", "exec"), space)
        if last is not None:
            shown = eval(compile(last, "cell", "eval"), space)
    outputs: list[dict[str, Any]] = []
    if said.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": _lines(said.getvalue())})
    if shown is not None:
        data = {"text/plain": _lines(repr(shown))}
        if hasattr(shown, "_repr_html_"):
            data = {"text/html": _lines(shown._repr_html_()), **data}
        outputs.append({"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"})
    return outputs


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def stored(path: Path) -> list[list[dict[str, Any]]]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [c["outputs"] for c in cells if c["cell_type"] == "code"]


def store(path: Path) -> None:
    """Run a notebook and keep its outputs in it."""
    whole = json.loads(path.read_text(encoding="utf-8"))
    cells = [c for c in whole["cells"] if c["cell_type"] == "code"]
    for number, (cell, outputs) in enumerate(zip(cells, run(path), strict=True), 1):
        cell |= {"execution_count": number, "outputs": outputs}
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for page in pages():
        store(page)
