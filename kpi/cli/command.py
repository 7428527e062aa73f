"""What makes a function a command: its help with examples, its exit codes, and how it ends when something is wrong."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

from kpi.cli.exits import BAD, BREACHED, CANNOT_TELL, FINE
from kpi.cli.output import print_json, printable
from kpi.errors import KpiError

__all__ = ["BAD", "BREACHED", "CANNOT_TELL", "FINE", "Command", "Function", "add", "fail"]
Function = Callable[..., int]


class Command(TyperCommand):
    """A command whose typed errors become one line, with `--json` an object as well, and exit code 3."""

    def invoke(self, ctx: Any) -> int:
        try:
            code: int = super().invoke(ctx)
            sys.stdout.flush()
        except KpiError as error:
            return fail(error, json=bool(ctx.params.get("json")))
        except BrokenPipeError:  # whoever read the output has enough; what is still buffered must not raise at exit
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FINE
        return code


def fail(error: KpiError, *, json: bool) -> int:
    """Say a problem: one line on standard error, with `json` the documented object on standard output as well."""
    if json:
        print_json({"error": {"code": error.code, "message": error.message, "hint": error.hint, "row": error.row}})
    print(f"kpi: {printable(str(error), longest=2000)}", file=sys.stderr)
    return BAD


def add(app: typer.Typer, name: str, function: Function, *examples: str, panel: str | None = None) -> None:
    """Add a command. Its help is the function's docstring, then the examples, each a line that can be typed."""
    listed = "\n".join(f"  {example}" for example in examples)
    app.command(
        name, cls=Command, help=function.__doc__, rich_help_panel=panel,
        epilog=f"{'Examples' if len(examples) > 1 else 'Example'}:\n{listed}",
    )(function)  # fmt: skip
