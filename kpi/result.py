"""What every public call answers with: it shows itself in a few lines, and is a frame, plain data and a chart.

A result is a frozen dataclass. It holds Python's own numbers, can be sent to another process and equals the result of
an equal call, frames and unknown numbers included.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import pandas as pd

WIDTH, ROWS, CELL = 100, 12, 28  # of a table in text: characters, rows, and characters of a text in it
_HIDDEN = "tex2jax_ignore mathjax_ignore"  # a notebook would take dollars for formulas
T = TypeVar("T", bound="Result")


def plain(value: Any) -> Any:
    """A value as plain data for JSON: None where it is unknown, frames as a list of rows, times in ISO 8601."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Result | Results):
        return value.to_dict()
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.to_dict("records")]
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, Iterable) else str(value)


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, unknown numbers among them.

    Numbers may differ by rounding, because an engine adds up in any order; of functions both are enough.
    """
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) or (a != a and b != b)
    if a is b or type(a) is not type(b):
        return a is b
    if isinstance(a, pd.DataFrame):
        return same(a.reset_index().to_dict("list"), b.reset_index().to_dict("list"))
    if is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a) if f.compare)
    if isinstance(a, Mapping):
        return list(a) == list(b) and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return callable(a) or bool(a == b)


class Plain:
    """A frozen dataclass whose numbers are Python's own."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.generic):
                object.__setattr__(self, name, value.item())


class _Shown:
    """How a result shows itself: a sentence, its main table, and what it is about."""

    columns: ClassVar[tuple[str, ...]] = ()  # of the frame that are shown
    scope: str = ""

    if TYPE_CHECKING:

        @property
        def sentence(self) -> str: ...

        def frame(self) -> pd.DataFrame: ...

    def plot(self, **options: Any) -> Any:
        """The result as an Altair chart, the one that the app draws. options: of the functions in `kpi.charts`."""
        return import_module("kpi.charts").of(self, **options)

    def __repr__(self) -> str:
        rows, more = self._rows()
        told = textwrap.wrap(printable(self.sentence), WIDTH)
        return "\n".join([*told, *_lines(rows), *([more] if more else []), *self._about()])

    def _repr_html_(self) -> str:
        rows, more = self._rows()
        made = ["".join(f"<{'td' if i else 'th'}>{html.escape(c)}</{'td' if i else 'th'}>" for c in row)
                for i, row in enumerate(rows)]  # fmt: skip
        body = "".join(f"<tr>{row}</tr>" for row in made[1:])
        table = f"<table><thead><tr>{made[0]}</tr></thead><tbody>{body}</tbody></table>" if made else ""
        foot = "".join(f"<p><small>{html.escape(t)}</small></p>" for t in ([more] if more else []) + self._about())
        return f'<div class="{_HIDDEN}"><p>{html.escape(printable(self.sentence))}</p>{table}{foot}</div>'

    def _rows(self) -> tuple[list[list[str]], str]:
        """(head and rows of the table, what says that there are more)."""
        if not self.columns:
            return [], ""
        whole = self.frame()
        shown = [c for c in self.columns if c in whole]
        if whole.empty or not shown:
            return [], ""
        rows = [[_cell(v) for v in row] for row in whole[shown].head(ROWS).itertuples(index=False, name=None)]
        return [shown, *rows], f"… {len(whole) - ROWS:,} more" if len(whole) > ROWS else ""

    def _about(self) -> list[str]:
        return textwrap.wrap(printable(self.scope), WIDTH)


class Result(Plain, _Shown):
    """An answer: a dataclass with `eq=False, repr=False`. scope: the window and the requests it is about, in words."""

    main: ClassVar[str] = ""  # the field that is the main table

    def frame(self) -> pd.DataFrame:
        """The main table, a copy of it; of an answer that has none its numbers in one row."""
        if self.main:
            found: pd.DataFrame = getattr(self, self.main)
            return found.copy()
        return pd.DataFrame([{f.name: getattr(self, f.name) for f in fields(self) if f.name != "scope"}])  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the keys of the command line's `--json`; what is unknown is None."""
        held = [(f.name, getattr(self, f.name)) for f in fields(self)]  # type: ignore[arg-type]
        held.sort(key=lambda h: isinstance(h[1], pd.DataFrame) or is_dataclass(h[1]))  # tables last
        return {name: plain(value) for name, value in held}

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    __hash__ = None  # type: ignore[assignment]  # frames have none


class Results(_Shown, list[T]):
    """A list of answers that is one itself."""

    def __init__(self, found: Iterable[T] = (), *, sentence: str = "", scope: str = "") -> None:
        super().__init__(found)
        self._sentence, self.scope = sentence, scope

    @property
    def sentence(self) -> str:
        """The first answer in words, and how many there are."""
        told = f"{self[0].sentence} And {len(self) - 1} more." if len(self) > 1 else self[0].sentence if self else ""
        return self._sentence or told

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        return self[0].columns if self else ()

    def frame(self) -> pd.DataFrame:
        """The tables of all answers below each other."""
        return pd.concat([one.frame() for one in self], ignore_index=True) if self else pd.DataFrame()

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the sentence, what it is about, and each answer."""
        return {"sentence": self.sentence, "scope": self.scope, "results": [one.to_dict() for one in self]}


# --- tables in text --------------------------------------------------------------------------------------------------


def printable(text: str) -> str:
    """Text of an export as a terminal may get it: control and direction characters as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _number(value: float) -> str:
    return "–" if not math.isfinite(value) else f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


# The first type that a value is of decides how it is written.
_WRITTEN: list[tuple[Any, Callable[[Any], str]]] = [
    (bool, lambda v: "yes" if v else "no"), (int, lambda v: f"{v:,}"), (float, _number),
    (datetime, lambda v: f"{v:%Y-%m-%d %H:%M}".removesuffix(" 00:00")),
    (Mapping, lambda v: ", ".join(f"{k}={x}" for k, x in v.items()) or "all"),
    (list | tuple, lambda v: ", ".join(map(_cell, v))),
]  # fmt: skip


def _cell(value: Any) -> str:
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value is pd.NaT or value is pd.NA:
        return "–"
    written = next((write for kind, write in _WRITTEN if isinstance(value, kind)), str)
    text = printable(written(value))
    return text if len(text) <= CELL else text[: CELL - 1] + "…"


def _lines(rows: list[list[str]]) -> Iterator[str]:
    """A table whose columns are as wide as they need to be; those that do not fit the line are left out."""
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    ends = np.cumsum([w + 2 for w in widths]) - 2
    fitting = int((ends <= WIDTH).sum())
    for row in rows:
        yield "  ".join(c.ljust(w) for c, w in zip(row[:fitting], widths, strict=False)).rstrip()
