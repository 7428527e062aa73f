"""Forms of a table with one row a request: delimiters, quoting, decimals, units, times, words, order, containers."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

from tests.twins.damage import csv_bytes, csv_rows
from tests.twins.forms import Form
from tests.twins.judge import Expected

Header, Rows = list[str], list[list[str]]
Sheet = tuple[Header, Rows]
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_BOOL = {"true": True, "false": False}
# Ending of a name -> what the same measure may be called, and how many of the one are one of the other.
UNITS: dict[str, tuple[tuple[str, float], ...]] = {
    "_ms": (("_s", 0.001), ("_us", 1_000), ("_seconds", 0.001), ("_ns", 1_000_000)),
    "_s": (("_ms", 1_000), ("_us", 1_000_000), ("_seconds", 1)),
    "_usd": (("_cents", 100), ("_micros", 1_000_000)),
}


def _numeric(rows: Rows, column: int) -> bool:
    cells = [row[column] for row in rows if row[column]]
    return bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


def _boolean(rows: Rows, column: int) -> bool:
    cells = {row[column].lower() for row in rows if row[column]}
    return bool(cells) and cells <= set(_BOOL)


def _of_columns(sheet: Sheet, wanted: Callable[[str, Rows, int], bool], change: Callable[[str], str]) -> Sheet | None:
    header, rows = sheet
    at = [i for i, name in enumerate(header) if wanted(name, rows, i)]
    if not at:
        return None
    return header, [[change(c) if i in at and c else c for i, c in enumerate(row)] for row in rows]


def _units(ending: str, new: str, factor: float) -> Callable[[Sheet], Sheet | None]:
    def change(sheet: Sheet) -> Sheet | None:
        header, rows = sheet
        at = [i for i, name in enumerate(header) if name.endswith(ending) and _numeric(rows, i)]
        if not at:
            return None
        names = [name.removesuffix(ending) + new if i in at else name for i, name in enumerate(header)]
        return names, [[_scaled(c, factor) if i in at and c else c for i, c in enumerate(row)] for row in rows]

    return change


def _scaled(cell: str, factor: float) -> str:
    return f"{float(cell) * factor:.9f}".rstrip("0").rstrip(".")


def _shuffled_columns(sheet: Sheet) -> Sheet:
    header, rows = sheet
    order = random.Random(2).sample(range(len(header)), len(header))
    return [header[i] for i in order], [[row[i] for i in order] for row in rows]


def _words(yes: str, no: str) -> Callable[[Sheet], Sheet | None]:
    return lambda sheet: _of_columns(
        sheet, lambda _, rows, i: _boolean(rows, i), lambda cell: yes if _BOOL[cell.lower()] else no
    )


def _times(spell: Callable[[datetime], str]) -> Callable[[Sheet], Sheet | None]:
    def is_iso(name: str, rows: Rows, i: int) -> bool:
        return all(re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", row[i]) for row in rows if row[i])

    def change(cell: str) -> str:
        moment = datetime.fromisoformat(cell)
        return spell(moment if moment.tzinfo else moment.replace(tzinfo=UTC))

    return lambda sheet: _of_columns(sheet, is_iso, change)


def _renamed(spell: Callable[[str], str]) -> Callable[[Sheet], Sheet | None]:
    return lambda sheet: None if (names := [spell(n) for n in sheet[0]]) == sheet[0] else (names, sheet[1])


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _strange(word: str) -> Callable[[Sheet], Sheet | None]:
    """Every third number of the measures is no number."""

    def change(sheet: Sheet) -> Sheet | None:
        header, rows = sheet
        at = [i for i, _ in enumerate(header) if _numeric(rows, i)]
        return (header, [[word if i in at and not n % 3 else c for i, c in enumerate(row)]
                         for n, row in enumerate(rows)]) if at else None  # fmt: skip

    return change


def _total_row(sheet: Sheet) -> Sheet | None:
    """A last row with the sums of the columns, as reports have it."""
    header, rows = sheet
    sums = [
        _scaled(str(sum(float(r[i] or 0) for r in rows)), 1) if _numeric(rows, i) else "" for i, _ in enumerate(header)
    ]
    if not any(sums[1:]):
        return None
    sums[0] = "Total"
    return header, [*rows, sums]


def _named_without_unit(sheet: Sheet, ending: str, spell: Callable[[str], str]) -> Sheet | None:
    """Measures of one unit with the unit in their cells and not in their names."""
    header, rows = sheet
    at = [i for i, name in enumerate(header) if name.endswith(ending) and _numeric(rows, i)]
    if not at:
        return None
    names = [n.removesuffix(ending) if i in at else n for i, n in enumerate(header)]
    return (names, [[spell(c) if i in at and c else c for i, c in enumerate(row)] for row in rows]) if (
        len(set(names)) == len(names)) else None  # fmt: skip


def _in_cells(ending: str, spell: Callable[[str], str]) -> Callable[[Sheet], Sheet | None]:
    return lambda sheet: _named_without_unit(sheet, ending, spell)


def _iso_length(cell: str) -> str:
    return f"PT{_scaled(cell, 0.001)}S"


def _clock_length(cell: str) -> str:
    us = round(float(cell) * 1_000)
    return f"{us // 3_600_000_000:02}:{us // 60_000_000 % 60:02}:{us // 1_000_000 % 60:02}.{us % 1_000_000:06}"


def _nested(sheet: Sheet) -> Sheet:
    """One more column, of objects and lists."""
    header, rows = sheet
    return [*header, "payload"], [[*row, '{"a": [1, 2]}' if i % 2 else "[1, 2]"] for i, row in enumerate(rows)]


def _excel_day(moment: datetime) -> str:
    return f"{(moment - datetime(1899, 12, 30, tzinfo=UTC)).total_seconds() / 86_400:.10f}"


LANGUAGES = {
    "es": ("sí", "no"), "fr": ("oui", "non"), "pt": ("sim", "não"), "it": ("vero", "falso"), "nl": ("ja", "nee"),
    "pl": ("tak", "nie"), "ru": ("да", "нет"), "uk": ("так", "ні"), "tr": ("evet", "hayır"), "cs": ("ano", "ne"),
    "fi": ("kyllä", "ei"), "sv": ("ja", "nej"), "ar": ("نعم", "لا"), "hi": ("हाँ", "नहीं"), "ja": ("はい", "いいえ"),
    "zh": ("是", "否"), "ko": ("예", "아니요"),
}  # fmt: skip
SHEETS: dict[str, Callable[[Sheet], Sheet | None]] = {
    "columns shuffled": _shuffled_columns,
    "rows shuffled": lambda sheet: (sheet[0], random.Random(3).sample(sheet[1], len(sheet[1]))),
    "duplicate rows": lambda sheet: (sheet[0], [r for row in sheet[1] for r in (row, row)]),
    "rows with a total": _total_row,
    "rows with an index": lambda sheet: (["", *sheet[0]], [[str(i), *row] for i, row in enumerate(sheet[1])]),
    "camelCase": _renamed(_camel),
    "Words with blanks": _renamed(lambda n: n.replace("_", " ").capitalize()),
    "UPPER CASE": _renamed(str.upper),
    "yes and no": _words("yes", "no"),
    "1 and 0": _words("1", "0"),
    "t and f": _words("t", "f"),
    "ja und nein": _words("ja", "nein"),
    **{f"yes and no in {code}": _words(*pair) for code, pair in LANGUAGES.items()},
    "-1 and 0": _words("-1", "0"),
    "ticks and crosses": _words("✓", "✗"),
    "a word that nobody knows": _words("blip", "no"),
    "two words that nobody knows": _words("blip", "blop"),
    "lengths as 350 ms": _in_cells("_ms", lambda c: f"{c} ms"),
    "lengths as 0.35s": _in_cells("_ms", lambda c: f"{_scaled(c, 0.001)}s"),
    "lengths as PT0.35S": _in_cells("_ms", _iso_length),
    "lengths as 00:00:00.35": _in_cells("_ms", _clock_length),
    "money as $0.01": _in_cells("_usd", lambda c: f"${c}"),
    "money as 0.01 USD": _in_cells("_usd", lambda c: f"{c} USD"),
    "money as 1 ct": _in_cells("_usd", lambda c: f"{_scaled(c, 100)} ct"),
    "money as 0,01 €": _in_cells("_usd", lambda c: f"{c.replace('.', ',')} €"),
    "nested cells": _nested,
    "American dates": _times(lambda t: f"{t.astimezone(UTC):%m/%d/%Y %H:%M:%S}"),
    "American dates, short": _times(lambda t: f"{t.astimezone(UTC):%m/%d/%y %H:%M:%S}"),
    "British dates": _times(lambda t: f"{t.astimezone(UTC):%d/%m/%Y %H:%M:%S}"),
    "dates with the year first, short": _times(lambda t: f"{t.astimezone(UTC):%y/%m/%d %H:%M:%S}"),
    "the clock first": _times(lambda t: f"{t.astimezone(UTC):%H:%M:%S %m/%d/%y}"),
    "half days": _times(lambda t: f"{t.astimezone(UTC):%m/%d/%Y %I:%M:%S %p}"),
    "times in CET": _times(lambda t: f"{t.astimezone(timezone(timedelta(hours=1))):%Y-%m-%d %H:%M:%S} CET"),
    "times in CST": _times(lambda t: f"{t.astimezone(timezone(timedelta(hours=-6))):%Y-%m-%d %H:%M:%S} CST"),
    "times of zone B": _times(lambda t: f"{t.astimezone(timezone(timedelta(hours=2))):%Y-%m-%dT%H:%M:%S}B"),
    "Excel days": _times(_excel_day),
    "times as epoch ns": _times(lambda t: f"{round(t.timestamp() * 1e6)}000"),
    "times as epoch seconds": _times(lambda t: f"{t.timestamp():.6f}"),
    "times as epoch ms": _times(lambda t: f"{t.timestamp() * 1000:.3f}"),
    "times as epoch us": _times(lambda t: f"{t.timestamp() * 1_000_000:.0f}"),
    "German dates": _times(lambda t: f"{t.astimezone(UTC):%d.%m.%Y %H:%M:%S}"),
    "other zone": _times(lambda t: f"{t.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"),
    "inf in numbers": _strange("inf"),
    **{f"{a} as {b}": _units(a, b, f) for a, others in UNITS.items() for b, f in others},
}  # fmt: skip

# Words for a cell that holds nothing: as if it were empty.
NOTHING = ("NaN", "nan", "n/a", "N/A", "#N/A", "NULL", "None", "-", "<NA>")


def _decimal_comma(sheet: Sheet) -> bytes | None:
    comma = _of_columns(sheet, lambda name, rows, i: _numeric(rows, i) and any("." in r[i] for r in rows),
                        lambda cell: cell.replace(".", ","))  # fmt: skip
    return csv_bytes(*comma, ";") if comma else None


def _thousands(sheet: Sheet, mark: str, delimiter: str, decimal: str) -> bytes | None:
    """Whole numbers of four digits and more in groups."""
    header, rows = sheet
    at = [i for i, _ in enumerate(header) if _numeric(rows, i) and any(len(r[i].partition(".")[0]) > 3 for r in rows)]
    if not at:
        return None

    def grouped(cell: str) -> str:
        whole, point, rest = cell.partition(".")
        return f"{int(whole):,}".replace(",", mark) + (decimal + rest if point else "")

    numeric = [i for i, _ in enumerate(header) if _numeric(rows, i)]
    return csv_bytes(
        header, [[grouped(c) if i in numeric and c else c for i, c in enumerate(r)] for r in rows], delimiter
    )


def _workbook(sheet: Sheet, *above: str, typed: bool = True) -> bytes:
    book = openpyxl.Workbook()
    for text in above:
        book.active.append([text])
    header, rows = sheet
    book.active.append(header)
    for record in _records((header, rows), typed):
        book.active.append([record[n] for n in header])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _records(sheet: Sheet, typed: bool) -> list[dict[str, Any]]:
    header, rows = sheet
    numeric = [_numeric(rows, i) for i, _ in enumerate(header)]
    words = [_boolean(rows, i) for i, _ in enumerate(header)]

    def plain(i: int, cell: str) -> Any:
        if not cell:
            return None
        if not typed:
            return cell
        return (
            float(cell)
            if numeric[i] and "." in cell
            else int(cell)
            if numeric[i]
            else _BOOL[cell.lower()]
            if words[i]
            else cell
        )

    return [{n: plain(i, c) for i, (n, c) in enumerate(zip(header, row, strict=True))} for row in rows]


def _parquet(sheet: Sheet) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(_records(sheet, True)), out)
    return out.getvalue()


def _lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


CONTAINERS: dict[str, tuple[str, Callable[[Sheet], bytes | None]]] = {
    "commas": ("csv", lambda s: csv_bytes(*s)),
    "semicolons": ("csv", lambda s: csv_bytes(*s, ";")),
    "tabs": ("tsv", lambda s: csv_bytes(*s, "\t")),
    "bars": ("csv", lambda s: csv_bytes(*s, "|")),
    "all quoted": ("csv", lambda s: csv_bytes(*s, quoting=csv.QUOTE_ALL)),
    "decimal commas": ("csv", _decimal_comma),
    "comment lines above": ("csv", lambda s: b"# made by a report\n# 2026\n" + csv_bytes(*s)),
    "blank lines": ("csv", lambda s: csv_bytes(*s).replace(b"\n", b"\n\n", 3)),
    "JSON lines": ("jsonl", lambda s: _lines(_records(s, True))),
    "JSON lines of text": ("jsonl", lambda s: _lines(_records(s, False))),
    "JSON list": ("json", lambda s: json.dumps(_records(s, True)).encode()),
    "JSON in data": ("json", lambda s: json.dumps({"data": _records(s, True)}).encode()),
    "columns of JSON": ("json", lambda s: json.dumps({n: [r[i] for r in s[1]] for i, n in enumerate(s[0])}).encode()),
    "Parquet": ("parquet", _parquet),
    "sep=;": ("csv", lambda s: b"sep=;\n" + csv_bytes(*s, ";")),
    "titles above": ("csv", lambda s: b"Report of the week\nTeam A\n\n" + csv_bytes(*s)),
    "thousands with commas": ("csv", lambda s: _thousands(s, ",", ",", ".")),
    "thousands with dots": ("csv", lambda s: _thousands(s, ".", ";", ",")),
    "workbook": ("xlsx", _workbook),
    "workbook of text": ("xlsx", lambda s: _workbook(s, typed=False)),
    "workbook with titles": ("xlsx", lambda s: _workbook(s, "Report", "Team A")),
}
_GRAIN = Expected(grain_us=1_000)


def table_forms(data: bytes) -> list[Form]:
    """Every form of a table; none where the bytes are no delimited text."""
    found = csv_rows(data)
    if found is None:
        return []
    header, rows, delimiter = found
    if any(len(row) != len(header) for row in rows):
        return []
    forms = []
    for name, change in SHEETS.items():
        if (sheet := change((header, rows))) is not None:
            forms.append(Form(name, {"twin.csv": csv_bytes(*sheet, delimiter)}))
    empty = _strange("")((header, rows))
    if empty is not None:
        beside = {"twin.csv": csv_bytes(*empty, delimiter)}
        for word in NOTHING:
            twin = csv_bytes(*(_strange(word)((header, rows)) or empty), delimiter)
            forms.append(Form(f"{word} for nothing", {"twin.csv": twin}, beside=beside))
    for name, (suffix, render) in CONTAINERS.items():
        if (rendered := render((header, rows))) is not None:
            forms.append(Form(name, {f"twin.{suffix}": rendered}, _GRAIN))
    return forms
