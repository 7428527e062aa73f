"""Rows of delimited text that are no data, and one object that holds a whole table by its columns."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kpi.disk.tables import table_of

_TOTALS = frozenset(table_of(__file__)["totals"].split())
_PLAIN_NUMBER = re.compile(r"[\s(+-]*[$€£¥]?\s*\d[\d.,'\s\u00a0%)]*[$€£¥]?")
_LONGEST = 2 * max(map(len, _TOTALS))  # with what may stand between the letters
_BEGINNINGS = frozenset(word[0] for word in _TOTALS)


def is_header(cells: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a row is the header again, as files that were put one after the other have it."""
    if not names or len(cells) != len(names) or cells[0].strip() != names[0]:
        return False  # nearly every row
    return all(a.strip() == b for a, b in zip(cells, names, strict=True))


def is_total(cells: Sequence[str]) -> bool:
    """Whether a row is named a total, and else holds only numbers and nothing."""
    first = next((cell for cell in cells if cell), "").strip()
    if first and (first[0].lower() not in _BEGINNINGS or len(first) > _LONGEST or first[-1].isdigit()):
        return False  # nearly every row
    held = [c for c in (cell.strip() for cell in cells) if c]
    if len(held) < 2 or re.sub(r"[\s:_-]", "", held[0].lower()) not in _TOTALS:
        return False
    return all(_PLAIN_NUMBER.fullmatch(cell) for cell in held[1:])


def rows_of_columns(document: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of `{"column": [values]}` or `{"column": {"0": value}}`, as data frames are written; None for all else.

    Several columns, all as long, of more than one plain value each: a row may hold a list, but not nothing else.
    """
    if len(document) < 2:
        return None
    columns = list(document.values())
    if not all(isinstance(c, list) for c in columns):
        keys = [list(c) if isinstance(c, dict) else None for c in columns]
        if keys[0] is None or keys[0] != [str(i) for i in range(len(keys[0]))] or any(k != keys[0] for k in keys):
            return None
        columns = [list(c.values()) for c in columns]
    length = len(columns[0])
    if length < 2 or any(len(c) != length or any(isinstance(v, list | dict) for v in c) for c in columns):
        return None
    return [dict(zip(document, row, strict=True)) for row in zip(*columns, strict=True)]
