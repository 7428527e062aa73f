"""Untrusted text: the escape, and a rule over the source that no Markdown sink is reached without it."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

from app import once, text

APP = Path(text.__file__).parent
SINKS = {
    "markdown", "caption", "write", "title", "header", "subheader", "error", "warning", "info", "success", "toast",
    "metric", "badge", "button", "expander", "popover", "tabs", "page_link", "checkbox", "radio", "toggle",
    "selectbox", "multiselect", "pills", "segmented_control", "text_input", "date_input", "file_uploader", "progress",
    "spinner", "status", "link_button", "download_button",
}  # fmt: skip
MARKED = {"label", "body", "value", "delta", "help", "delta_description", "text", "placeholder"}
FORBIDDEN = {"html", "iframe", "components", "image", "logo", "table", "latex", "chat_message"}
HOSTILE = (
    "![x](http://127.0.0.1:9/x.png)",
    "[a](javascript:alert(1))",
    "<img src=http://127.0.0.1:9/x.png onerror=alert(1)>",
    "$\\href{http://127.0.0.1:9}{x}$",
    ":material/home: :red[x] :smile:",
    "https://example.invalid/x www.example.invalid a@example.invalid",
    "`code` **bold** ~~gone~~ | a | b |\n| - | - |",
    "# heading\n- list\n> quote",
)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_safe_leaves_no_mark(hostile):
    out = text.safe(hostile)
    assert "\n" not in out
    bare = re.sub(r"\\([!-/:-@\[-`{-~])", "", out)
    assert not set(bare) & set(string.punctuation), bare


def test_safe_keeps_the_words():
    assert text.safe("cost: $0.01 (p95)").replace("\\", "") == "cost: $0.01 (p95)"


def test_safe_cuts_long_text():
    assert len(text.safe("a" * 10_000)) <= text.LONGEST


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_badge_takes_no_marks_from_its_parts(hostile):
    assert text.icon(hostile) == ""
    assert text.badge(hostile, "error", "red") == f":red-badge[:material/error: {text.safe(hostile)}]"
    assert text.badge("Worse", hostile, hostile) == "Worse"


def _files() -> list[Path]:
    return sorted(APP.rglob("*.py"))


def test_there_are_files():
    assert len(_files()) > 12


@pytest.mark.parametrize("path", _files(), ids=lambda p: p.stem)
def test_markdown_sinks_get_literals_or_safe_text(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = [
        f"{path.name}:{node.lineno} {ast.unparse(argument)[:90]}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _sink(node) in SINKS
        for argument in _marked(node)
        if not _harmless(argument)
    ]
    assert not wrong, wrong


def test_markup_has_one_door_for_our_own_style_and_pictures():
    """Pictures escape their words, which `tests/unit/charts/test_inline.py` holds."""
    doors = [p.name for p in _files() if re.search(r"import .*\bhtml\b", p.read_text(encoding="utf-8"))]
    assert doors == ["once.py"]
    with pytest.raises(AssertionError):
        once._picture(str, (HOSTILE[2],), {})


@pytest.mark.parametrize("path", _files(), ids=lambda p: p.stem)
def test_no_raw_html(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert not any(k.arg == "unsafe_allow_html" for k in node.keywords), f"{path.name}:{node.lineno}"
            assert _sink(node) not in FORBIDDEN, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize(
    ("source", "fine"),
    [
        ("st.caption('x')", True),
        ("st.caption(name)", False),
        ("st.caption(f'{name}')", False),
        ("st.caption(text.safe(name))", True),
        ("st.caption(f'a {text.safe(name)}')", True),
        ("st.metric('a', value)", False),
        ("st.button('a', help=name)", False),
        ("st.text(name)", True),
    ],
)
def test_the_rule_itself(source, fine):
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    assert (_sink(call) not in SINKS or all(_harmless(a) for a in _marked(call))) is fine


def _sink(node: ast.Call) -> str:
    """The name of a call on `st` or on a slot of it."""
    f = node.func
    if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name) and f.value.id in ("st", "slot", "bar"):
        return f.attr
    return ""


def _marked(node: ast.Call) -> list[ast.expr]:
    first, last = {"metric": (0, 2), "progress": (1, 2), "page_link": (0, 0)}.get(_sink(node), (0, 1))
    return [*node.args[first:last], *(k.value for k in node.keywords if k.arg in MARKED)]


def _harmless(node: ast.expr) -> bool:
    """A literal, safe(...), a number formatted by this project, or a mixture of these."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.JoinedStr):
        return all(_harmless(v.value) if isinstance(v, ast.FormattedValue) else True for v in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _harmless(node.left) and _harmless(node.right)
    if isinstance(node, ast.IfExp):
        return _harmless(node.body) and _harmless(node.orelse)
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "join" and len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp):
            return _harmless(node.args[0].elt)
        return name in ("safe", "icon", "badge", "len", "format_count")
    return isinstance(node, ast.List) and all(_harmless(e) for e in node.elts)
