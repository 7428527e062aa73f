"""What a person sees: tables that fit the terminal, plain elsewhere, and text of an export that is only ever text."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from rich.cells import cell_len

from kpi import cli
from kpi.cli import output
from kpi.cli.output import fitting, print_table, printable, say
from tests.unit.cli.conftest import Run, Screen

ROOT = Path(__file__).resolve().parents[3]
HEAD = ("segment", "value", "95 % interval", "n")
ROWS = [
    ("language=es, prompt_version=p7", "61.2 %", "58.0 to 64.3 %", "1,204"),
    ("intent=a very long intent with many words in it", "5 %", "4 to 6 %", "12"),
    ("trace=4bf92f3577b34da6a3ce929d0e0e4736", "–", "", "3"),
]
HOSTILE = "[red]x[/red][link=http://evil.test]y[/link] :smile: [/] [bold"
Make = Callable[..., Screen]


def widest(text: str) -> int:
    return max(cell_len(line) for line in text.splitlines())


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 200])
def test_a_table_fits_the_terminal_and_loses_nothing(screen: Make, width: int) -> None:
    found = screen(width)
    print_table(HEAD, ROWS)
    text = found.getvalue()
    assert widest(text) <= width
    assert "\x1b" not in text
    packed = re.sub(r"\s", "", text)
    for row in ROWS:
        for value in row:
            for word in value.split():
                assert word in (packed if width < 60 else text), (width, word)


@pytest.mark.parametrize("width", [60, 200])
def test_no_word_breaks_where_there_is_room(screen: Make, width: int) -> None:
    found = screen(width)
    print_table(HEAD[1:], [row[1:] for row in ROWS])
    assert "58.0 to 64.3 %" in found.getvalue()
    assert found.getvalue().splitlines()[0].split() == ["value", "95", "%", "interval", "n"]


def test_numbers_stand_to_the_right_at_a_terminal_too(screen: Make) -> None:
    found = screen(80)
    print_table(("n",), [("1,204",), ("12",)])
    assert [line.rstrip() for line in found.getvalue().splitlines()[2:]] == ["1,204", "   12"]


@pytest.mark.parametrize("width", [30, 100])
def test_colour_only_at_a_terminal_that_wants_it(screen: Make, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(HEAD, ROWS)
    assert "\x1b" not in capsys.readouterr().out
    coloured = screen(width, colour=True)
    print_table(HEAD, ROWS)
    assert "\x1b[1m" in coloured.getvalue()
    plain = screen(width)
    print_table(HEAD, ROWS)
    assert "\x1b" not in plain.getvalue()


def test_elsewhere_a_table_has_one_line_a_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    print_table(HEAD, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert lines[2] == f"{ROWS[0][0]:47}  61.2 %  58.0 to 64.3 %  1,204"
    assert set(lines[1]) == {"-", " "}


@pytest.mark.parametrize("width", [12, 40, 120])
def test_text_of_an_export_is_no_markup(screen: Make, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    def show() -> None:
        say(HOSTILE)
        print_table((HOSTILE, "n"), [(HOSTILE, "1"), ("\x1b]8;;http://evil.test\x07z\u202e\r\n", "2")])

    show()
    elsewhere = capsys.readouterr().out
    found = screen(width, colour=True)
    show()
    shown = re.sub(r"\x1b\[[\d;]*m", "", found.getvalue())
    for text in (elsewhere, shown):
        packed = re.sub(r"\s", "", text)
        assert packed.count(re.sub(r"\s", "", HOSTILE)) >= 1
        assert not {c for c in text if not c.isprintable() and c != "\n"}
        assert "\\x1b]8;;http" in packed


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.text(max_size=30), st.text(max_size=12), st.just("12.5 %")), max_size=4),
    st.integers(10, 120),
)
def test_any_text_in_any_width(rows: list[tuple[str, str, str]], width: int) -> None:
    cells = [[printable(v) for v in row] for row in rows]
    widths = fitting(("a", "b b", "value"), cells, width)
    if widths is not None:
        assert sum(widths) + 4 <= width
        assert all(w >= cell_len("12.5 %") for w in widths[2:] if rows)
    with pytest.MonkeyPatch.context() as patch:
        found = Screen()
        patch.setattr(sys, "stdout", found)
        patch.setenv("COLUMNS", str(width))
        patch.setenv("TERM", "xterm")
        patch.setenv("NO_COLOR", "1")
        print_table(("a", "b b", "value"), rows)
    assert widest(found.getvalue() or "\n") <= width


@pytest.mark.parametrize(
    "arguments",
    [("scorecard",), ("findings",), ("compare", "p6", "p7", "--by", "prompt_version"), ("segments", "--last", "90d"),
     ("traces", "--limit", "3")],
    ids=lambda a: a[0],
)  # fmt: skip
@pytest.mark.parametrize("width", [40, 100])
def test_commands_fit_a_terminal(sample_home: Path, screen: Make, arguments: tuple[str, ...], width: int) -> None:
    found = screen(width)
    assert cli.main([*arguments, "--dataset", "sample"]) in (0, 1, 2)
    assert len(found.getvalue().splitlines()) > 3
    assert widest(found.getvalue()) <= width


def test_json_is_json_at_a_terminal_too(screen: Make) -> None:
    found = screen(40, colour=True)
    assert cli.main(["metrics", "--json"]) == 0
    assert len(json.loads(found.getvalue())["metrics"]) > 10


def test_a_load_shows_its_progress_at_a_terminal_only(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("request_id,timestamp,success\na,2026-10-01T00:00:00Z,true\n")
    assert run("load", path, "--dataset", "one")[2] == ""
    error = Screen()
    monkeypatch.setattr(sys, "stderr", error)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert run("load", path, "--dataset", "two", "--json")[0] == 0
    assert "100%" in error.getvalue()
    assert "Stored" in error.getvalue()


def test_progress_shows_text_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    error = Screen()
    monkeypatch.setattr(sys, "stderr", error)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    with output.progress() as shown:
        assert shown is not None
        shown(0.5, "[red]a[/red]\x1b]0;b\x07")
        shown(7.0, "done")
    assert "[red]a[/red]\\x1b]0;b\\x07" in error.getvalue()
    assert "\x1b]0" not in error.getvalue()
    assert "100%" in error.getvalue()


def test_a_reader_that_leaves_early_is_no_problem(home: Path) -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "kpi.cli", "metrics"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert command.stdout is not None
    command.stdout.close()
    _, said = command.communicate()
    assert (command.returncode, said) == (0, b"")


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_real_terminal_of_forty_columns(home: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    main, second = pty.openpty()
    fcntl.ioctl(second, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR")}
    command = subprocess.Popen([sys.executable, "-m", "kpi.cli", "metrics"], stdout=second, stdin=second,
                               stderr=subprocess.PIPE, cwd=ROOT, env=environment | {"TERM": "xterm"})  # fmt: skip
    os.close(second)
    parts = []
    while True:
        try:
            part = os.read(main, 65_536)
        except OSError:  # Linux: the other side is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(main)
    assert command.wait() == 0
    text = b"".join(parts).decode()
    assert "\x1b[1m" in text
    assert widest(re.sub(r"\x1b\[[\d;]*m", "", text)) <= 40
