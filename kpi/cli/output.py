"""Printing for people and for scripts.

At a terminal, text and tables fit its width; elsewhere a table is as wide as it needs to be and has no escape
sequences, as it has none with NO_COLOR. Text of an export is data: never markup, and its control characters are shown
as escapes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from kpi.receipts import Receipt

Progress = Callable[[float, str], None]
SCHEMA = 1  # of the objects that --json prints: another number where a key goes or changes its meaning
SCHEMA_KEYS: ContextVar[Callable[[], dict[str, Any]]] = ContextVar("keys", default=dict)  # what a command adds
_GAP = 2  # blanks between columns


def printable(text: str, *, longest: int = 120) -> str:
    """Text of an export as a terminal may get it: control and direction characters as escapes, cut."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text)[:longest])


def say(text: str = "", *, longest: int = 2000, indent: int = 0) -> None:
    """Print a sentence; at a terminal its lines break between words."""
    cleaned = printable(text, longest=longest)
    if not at_terminal():
        print(" " * indent + cleaned)
        return
    from rich.padding import Padding
    from rich.text import Text

    console().print(Padding(Text(cleaned), (0, 0, 0, indent), expand=False))


def say_receipt(receipt: Receipt) -> None:
    """Print what a load, a repricing or a rotation came to."""
    import kpi

    for sentence in kpi.wording.receipt_sentences(receipt):
        say(sentence, indent=2)


def print_json(data: dict[str, Any]) -> None:
    """Print one object: `schema`, its keys in their order, those of the slice; NaN becomes null."""
    data = {"schema": SCHEMA, **data, **SCHEMA_KEYS.get()()}
    option = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
    sys.stdout.write(orjson.dumps(data, option=option, default=str).decode() + "\n")


def show(
    json: bool, plain: dict[str, Any], head: Sequence[str], rows: Iterable[Sequence[Any]], sentence: str = ""
) -> int:
    """An answer: `plain` as JSON for scripts, or a sentence and a table for people. Returns the code for fine."""
    if json:
        print_json(plain)
        return 0
    if sentence:
        say(sentence)
    print_table(head, list(rows))
    return 0


def fields(item: Any, names: str) -> dict[str, Any]:
    """Some attributes of an object as plain data."""
    return {name: getattr(item, name) for name in names.split()}


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Left-aligned text, right-aligned numbers. Where the columns do not fit the terminal, words wrap; where words do
    not fit either, each row becomes a block of lines, so that none is squeezed."""
    names, cells = [printable(h) for h in head], [[printable(v) for v in row] for row in rows]
    if not at_terminal():
        _print_plain(names, cells)
        return
    screen = console()
    widths = fitting(names, cells, screen.width - 1)
    if widths is None:
        _print_blocks(screen, names, cells)
    else:
        _print_fitted(screen, names, cells, widths)


def fitting(head: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Column widths that fit: the natural ones, else the widest columns narrower; None where a word would break."""
    from rich.cells import cell_len

    columns = [[h, *(row[i] for row in cells)] for i, h in enumerate(head)]
    natural = [max(map(cell_len, column)) for column in columns]
    least = [_least(column) for column in columns]
    room = width - _GAP * (len(head) - 1)
    if sum(least) > room:
        return None
    for limit in range(max(natural, default=0), 0, -1):
        widths = [max(low, min(high, limit)) for low, high in zip(least, natural, strict=True)]
        if sum(widths) <= room:
            return widths
    return least


def _least(column: Sequence[str]) -> int:
    """The narrowest that breaks no word and no number with its unit."""
    from rich.cells import cell_len

    return max(cell_len(text) if _is_number(text) else max(map(cell_len, text.split()), default=0) for text in column)


def _is_number(text: str) -> bool:
    return text[:1].isdigit() and len(text) < 18


def _print_plain(head: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.cells import cell_len

    def padded(text: str, width: int, *, right: bool = False) -> str:
        blanks = " " * (width - cell_len(text))
        return blanks + text if right else text + blanks

    widths = [max(cell_len(h), *(cell_len(row[i]) for row in cells), 0) for i, h in enumerate(head)]
    print((" " * _GAP).join(padded(h, w) for h, w in zip(head, widths, strict=True)).rstrip())
    print((" " * _GAP).join("-" * w for w in widths))
    for row in cells:
        print((" " * _GAP).join(padded(v, w, right=_is_number(v)) for v, w in zip(row, widths, strict=True)).rstrip())


def _print_fitted(screen: Console, head: Sequence[str], cells: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, _GAP - 1, 0, 0), pad_edge=False)
    for name, width in zip(head, widths, strict=True):
        table.add_column(Text(name), width=width, overflow="fold")
    for row in cells:
        table.add_row(*(Text(v, justify="right" if _is_number(v) else "left") for v in row))
    screen.print(table)


def _print_blocks(screen: Console, head: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    beside = max(map(cell_len, head)) <= screen.width // 3
    for number, row in enumerate(cells):
        if number:
            screen.print()
        if not beside:  # names as long as values: one under the other
            for name, value in zip(head, row, strict=True):
                screen.print(Text.assemble((name, "bold"), ": ", value, overflow="fold"))
            continue
        block = Table.grid(padding=(0, _GAP, 0, 0))
        block.add_column(style="bold", no_wrap=True)
        block.add_column(overflow="fold")
        for name, value in zip(head, row, strict=True):
            block.add_row(Text(name), Text(value))
        screen.print(block)


def at_terminal() -> bool:
    """Whether a person sees standard output on a screen of some width."""
    return sys.stdout.isatty()


def console(*, error: bool = False) -> Console:
    """A console that takes text as it is: no markup, no emoji codes, no highlighting; no escapes with NO_COLOR."""
    from rich.console import Console

    colours: Any = None if os.environ.get("NO_COLOR") else "auto"
    return Console(stderr=error, color_system=colours, markup=False, emoji=False, highlight=False)


@contextlib.contextmanager
def progress() -> Iterator[Progress | None]:
    """What `progress=` of a load wants: a bar on standard error; None where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress as Bar, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(30), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    bar = Bar(
        *columns, console=console(error=True), redirect_stdout=False, redirect_stderr=False,
        auto_refresh=False,  # no thread: a load starts other processes
    )  # fmt: skip
    with bar:
        task = bar.add_task("", total=1.0)

        def show(fraction: float, text: str) -> None:
            done = min(max(fraction, 0.0), 1.0)
            bar.update(task, completed=done, description=printable(text, longest=40), refresh=True)

        yield show


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain data: unknown is None, times are ISO 8601."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{k: (v.isoformat() if hasattr(v, "isoformat") else v) for k, v in row.items()}
            for row in plain.to_dict("records")]  # fmt: skip


def cell(value: Any) -> str:
    """A value of an export in a table: "" where it is unknown."""
    import pandas as pd

    if value is None or value is pd.NA or value != value:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def moment(microseconds: int | None) -> str | None:
    """A time of the lake as ISO 8601 in UTC."""
    if microseconds is None:
        return None
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat().replace("+00:00", "Z")


def day(microseconds: int | None) -> str:
    """The day of a time of the lake."""
    return "–" if microseconds is None else f"{datetime.fromtimestamp(microseconds / 1e6, UTC):%Y-%m-%d}"
