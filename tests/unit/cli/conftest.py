"""The command line in this process, and a screen of a given width."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kpi import cli

Run = Callable[..., tuple[int, str, str]]


def plain(out: str) -> dict[str, Any]:
    """The object that a command printed, without the keys that every one has."""
    found = json.loads(out)
    assert found["schema"] == 1
    return {k: v for k, v in found.items() if k not in ("schema", "window", "doubts")}


class Screen(io.StringIO):
    """Standard output that says it is a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`kpi …` in this process: (exit code, stdout, stderr)."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = cli.main([str(a) for a in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Screen]:
    """Standard output becomes a terminal of that width."""

    def make(width: int, *, colour: bool = False) -> Screen:
        found = Screen()
        monkeypatch.setattr(sys, "stdout", found)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm-256color")
        for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        if colour:
            monkeypatch.delenv("NO_COLOR", raising=False)
        else:
            monkeypatch.setenv("NO_COLOR", "1")
        return found

    return make
