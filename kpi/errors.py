"""Typed errors: a stable code, the row where there is one, and a remedy.

Every error that a person may meet is a `KpiError`. The text never holds the content of a request: only
positions, names of columns and what to do next.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Self

_TEXTS: dict[str, list[str]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


class KpiError(Exception):
    """Base of all errors of the index.

    Args:
        code: Stable, dotted, machine-readable (`ingest.unknown_format`).
        message: What is wrong, without the content of a request.
        hint: The remedy, one sentence.
        row: 1-based row, line or record number in the source, where there is one.

    Example:
        >>> try:
        ...     kpi.open("nowhere")
        ... except kpi.KpiError as error:
        ...     print(error.code)
        store.no_dataset
    """

    def __init__(self, code: str, message: str, *, hint: str = "", row: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.row = row

    def __str__(self) -> str:
        where = f" (row {self.row})" if self.row is not None else ""
        hint = f" {self.hint}" if self.hint else ""
        return f"{self.message}{where}.{hint}" if not self.message.endswith(".") else f"{self.message}{where}{hint}"

    @classmethod
    def told(cls, key: str, row: int | None = None, **facts: object) -> Self:
        """An error by its key in `errors.toml`, with the facts that stand in its text and its remedy."""
        message, hint = (text.format(**facts) for text in _TEXTS[key])
        return cls(key.partition(":")[0], message, hint=hint, row=row)

    # Keyword-only arguments do not survive the default pickling between processes.
    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.code, self.message, self.hint, self.row))


def choices(wanted: str, have: Iterable[str], most: int = 12) -> str:
    """The remedy for a name that is not there: the nearest ones, then what there is."""
    import difflib

    names = list(have)
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
    others = [n for n in names if n not in near][: most - len(near)]
    meant = f"Did you mean {' or '.join(n[:60] for n in near)}? " if near else ""
    more = " and more" if len(names) > len(near) + len(others) else ""
    return f"{meant}It has {', '.join(n[:60] for n in [*near, *others])}{more}."


def _rebuild(cls: type[KpiError], code: str, message: str, hint: str, row: int | None) -> KpiError:
    return cls(code, message, hint=hint, row=row)


class IngestError(KpiError):
    """A file, archive or table could not be read at all. Bad rows in a good file are receipt entries, not errors."""


class MappingError(KpiError):
    """A column mapping names a column or a field that does not exist, or contradicts the data."""


class StoreError(KpiError):
    """The lake could not be read or written; nothing that was stored before is lost."""


class SliceError(KpiError):
    """A slice, filter or link asks for something that cannot be understood."""


class MetricError(KpiError):
    """A metric or dimension is not known, or cannot be computed on this data."""


class RegisterError(KpiError):
    """The KPI register is malformed: names the entry and the field."""


class PriceError(KpiError):
    """The user's price file is malformed: names the line or the key."""


class CallError(MetricError, SliceError):
    """A public call was given an argument that it does not have or cannot take; says what to write instead.

    Whoever catches what a call says it raises catches it too.
    """
