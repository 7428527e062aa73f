"""Sphinx configuration: the Markdown pages of this folder, and an API reference built from the docstrings of `kpi`."""

from __future__ import annotations

import json
from pathlib import Path

import kpi
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.pycode import ModuleAnalyzer

HERE = Path(__file__).parent
REFERENCE = HERE / "api.md"

project = "AI Index"
author = copyright = "the AI Index authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "AI Index"
html_copy_source = False
exclude_patterns = ["screenshots"]
myst_heading_anchors = 3
# Links into the source are for readers of the repository; the site has no copy of it.
suppress_warnings = ["myst.xref_missing"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Source"]


def reference() -> str:
    """One page: every public name, in the groups of the package."""
    lines = ["# API reference", "", "Everything is imported from `kpi`.", ""]
    for group, names in kpi.GROUPS.items():
        lines += [f"## {group}", ""]
        for name in names:
            lines += ["```{eval-rst}", *entry(name), "```", ""]
    return "\n".join(lines)


def entry(name: str) -> list[str]:
    """The directive of one name. The text under a constant is in the module that defines it, where autodoc does not look."""
    value = getattr(kpi, name)
    if isinstance(value, type):
        return [f".. autoclass:: kpi.{name}"]
    if callable(value):
        return [f".. autofunction:: kpi.{name}"]
    module, inside = kpi._HOMES[name]
    text = ModuleAnalyzer.for_module(f"kpi.{module}")
    text.analyze()
    written = GoogleDocstring(text.attr_docs["", inside], Config(napoleon_numpy_docstring=False))
    return [f".. py:data:: kpi.{name}", "", *(f"   {line}" for line in written.lines())]


def notebook(path: Path) -> str:
    """A notebook as a page: its texts, its code, and what is stored under it, tables as a notebook shows them."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", ()):
            shown = output.get("data", {})
            if html := shown.get("text/html"):
                parts.append(f"```{{raw}} html\n{''.join(html)}\n```")
            else:
                parts.append(f"```text\n{''.join(output.get('text') or shown['text/plain'])}\n```")
    return "\n\n".join(parts) + "\n"


def setup(app: object) -> None:
    """Written anew at every build; these files themselves are not under version control."""
    REFERENCE.write_text(reference(), encoding="utf-8")
    for path in (HERE / "tasks").glob("*.ipynb"):
        path.with_suffix(".md").write_text(notebook(path), encoding="utf-8")
