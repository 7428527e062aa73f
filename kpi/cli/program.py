"""The program `kpi`: all commands put together, and what is answered to words that it does not know.

Every command prints a table a person likes to read, or with --json stable keys for scripts. Exit codes: 0 fine, 1 a
limit is breached, 2 cannot tell, 3 bad usage or bad data.
"""

import sys
from collections.abc import Sequence
from types import ModuleType

import typer
from typer.exceptions import TyperException

from kpi.cli import breakdown, data, key, loading, numbers, pages, prices, reasons, traces
from kpi.cli.command import add, fail
from kpi.cli.output import printable
from kpi.errors import KpiError

_GROUPS: Sequence[ModuleType]  # in the order of the help
_GROUPS = (loading, data, prices, key, numbers, pages, reasons, breakdown, traces)


def program() -> typer.Typer:
    """The application, every command added."""
    app = typer.Typer(
        name="kpi",
        help="The AI index on the command line.\n\nExit codes: 0 fine, 1 a limit is breached, 2 cannot tell, 3 "
        "bad usage or bad data.", epilog="Example:\n  kpi load traces.jsonl.gz --dataset prod",
        context_settings={"help_option_names": ["-h", "--help"]}, pretty_exceptions_enable=False,
    )  # fmt: skip
    app.callback()(lambda: None)
    for group in _GROUPS:
        place, panel = (_below_key(app), None) if group is key else (app, group.PANEL)
        for name, examples in group.COMMANDS.items():
            add(place, name, getattr(group, name), *examples, panel=panel)
    return app


def _below_key(app: typer.Typer) -> typer.Typer:
    """What holds the commands `kpi key …`."""
    below = typer.Typer()
    below.callback()(lambda: None)
    app.add_typer(below, name="key", help=key.HELP, epilog="Example:\n  kpi key show", rich_help_panel=key.PANEL)
    return below


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return typer.main.get_command(program()).main(given, prog_name="kpi", standalone_mode=False) or 0
    except TyperException as error:
        ctx = getattr(error, "ctx", None)
        path = ctx.command_path if ctx else "kpi"
        if ctx:
            print(printable(ctx.get_usage().strip(), longest=2000), file=sys.stderr)
        message = error.format_message().replace("Value error, ", "").rstrip("?")
        told = KpiError("cli.usage", message, hint=f"{path} --help says how.")
        return fail(told, json="--json" in given)
