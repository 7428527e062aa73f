"""How a load writes its numbers and dates: decimal mark, order of day and month, judged over all columns and rows.

One cell may be read in two ways, a file seldom: `0,012` in one column shows that `2,125` in the next is two and a
bit, and `10/13/26` that the month comes first. What proves nothing is never guessed: the column is asked about.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpi.mapping.parse_values import COMMA_DECIMAL, EITHER, POINT_DECIMAL

ORDERS = ("day/month", "month/day", "year/month")
UNSURE = "?"
NOT_SURE = "how it is written is not sure"
_SAID = {",": "a decimal comma", ".": "a decimal point",
         "day/month": "day first", "month/day": "month first", "year/month": "year first"}  # fmt: skip
_PROOFS = {".": POINT_DECIMAL, ",": COMMA_DECIMAL}
_OTHER = {",": ".", ".": ","}
_DIGITS = re.compile(r"[\d.,]*\d[\d.,]*")
_DATE = r"(?:^|[ T,])(?P<a>\d{1,2})(?P<s>[/.-])(?P<b>\d{1,2})(?P<z>[/.-])(?P<y>\d{4}|\d{2})(?:$|[^\d:])"
_BEGUN = r"(?:^|[ T,])\d{1,2}[/.-]"  # cheaper to look for
_EARLIEST = 2010  # a year of two digits is one of our days
_SOME, _MIXED = 5, 0.05  # whole numbers below 1,000 beside grouped ones, and their share, that say what groups


@dataclass
class DecimalMarks:
    """What the cells of one column say about the decimal mark. proofs: mark -> (cell, row). open: mark -> cells that
    would be numbers either way, `1,234`. plain: cells without any mark."""

    proofs: dict[str, tuple[str, int]] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=lambda: {".": 0, ",": 0})
    plain: int = 0
    large: bool = False

    def add(self, words: pa.Array, rows: np.ndarray, *, whole: bool) -> None:
        """Look at some cells. whole: whether the column counts, so that what looks like decimals groups thousands."""
        held = {mark: pc.any(pc.match_substring(words, mark), min_count=0).as_py() for mark in _PROOFS}
        if not self.proofs and any(held.values()):
            self.plain += _count(words, r"^\d{1,3}$")
            self.large = self.large or _count(words, r"\d{4}") > 0
        for mark, proof in _PROOFS.items():
            if not held[mark] or (mark in self.proofs and not held[_OTHER[mark]]):
                continue
            if mark not in self.proofs:
                self._prove(mark, pc.match_substring_regex(words, proof), words, rows)
            self.open[mark] += _count(words, EITHER[mark])
            if whole:
                self._prove(_OTHER[mark], pc.match_substring_regex(words, EITHER[mark]), words, rows)

    def _prove(self, mark: str, found: pa.Array, words: pa.Array, rows: np.ndarray) -> None:
        at = pc.index(found, pa.scalar(True)).as_py()
        if at >= 0 and (shown := _DIGITS.search(words[at].as_py())):
            self.proofs.setdefault(mark, (shown[0][:30], int(rows[at])))

    def settled(self) -> frozenset[str]:
        """The marks that this column proves; whole numbers below 1,000 among grouped ones show what groups."""
        count = self.open[","]
        mixed = count >= _SOME and not self.large and self.plain >= max(_SOME, _MIXED * (self.plain + count))
        return frozenset(self.proofs or ({"."} if mixed else ()))


def _count(words: pa.Array, pattern: str) -> int:
    return pc.sum(pc.match_substring_regex(words, pattern).cast(pa.int64())).as_py() or 0


@dataclass
class DateOrders:
    """Which orders of day, month and year the dates of one column allow. cells: dates of such a shape. against: order
    -> (date, row) that it cannot be."""

    left: set[str] = field(default_factory=lambda: set(ORDERS))
    against: dict[str, tuple[str, int]] = field(default_factory=dict)
    cells: int = 0
    slashes: bool = False  # with dots nobody writes the month first
    alike: bool = True  # every date is the same in each order that is left

    def add(self, words: pa.Array, rows: np.ndarray) -> None:
        """Look at some cells."""
        if not pc.any(pc.match_substring_regex(words, _BEGUN), min_count=0).as_py():
            return
        parts = pc.extract_regex(words, _DATE)
        self.cells += len(parts) - parts.null_count
        joined = pc.binary_join_element_wise(*(pc.struct_field(parts, n) for n in "asbzy"), "")
        seen = joined.dictionary_encode()
        first = dict(zip(*(a.tolist() for a in np.unique(seen.indices.fill_null(-1), return_index=True)), strict=True))
        for code, text in enumerate(seen.dictionary.to_pylist()):
            a, b, year = re.split(r"[/.-]", text)
            read = {o: d for o in ORDERS if (d := day_of(a, b, year, o))}
            self.slashes = self.slashes or "." not in text
            if "day/month" in read and "." in text:
                read = {"day/month": read["day/month"]}
            for order in self.left - set(read) if read else ():
                self.against.setdefault(order, (text, int(rows[first[code]])))
            if read and self.left & set(read):
                self.left &= set(read)
            elif read:
                self.left = set()
            self.alike = self.alike and len({read[o] for o in self.left if o in read}) <= 1


def day_of(a: str, b: str, year: str, order: str) -> date | None:
    """The day of three numbers in an order; None where they cannot be one."""
    first = order == "year/month"
    if first and len(year) == 4:
        return None
    told, month, day = (a, b, year) if first else (year, b, a) if order == "day/month" else (year, a, b)
    number = int(told) + (2000 if len(told) <= 2 else 0)
    if len(told) <= 2 and not _EARLIEST <= number <= datetime.now(UTC).year + 1:
        return None
    try:
        return date(number, int(month), int(day))
    except ValueError:
        return None


@dataclass(frozen=True)
class Written:
    """How a load is written. mark: of all its columns, "" where they do not agree. decimal, dates: column -> mark or
    order, `UNSURE` where it must be asked. notes: what was decided, and what shows it."""

    mark: str = ""
    decimal: Mapping[str, str] = field(default_factory=dict)
    dates: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it is how columns are looked at before anything is known."""
        return self.mark != "," and "," not in self.decimal.values() and set(self.dates.values()) <= {ORDERS[0], UNSURE}


def settle(
    marks: Mapping[str, DecimalMarks], orders: Mapping[str, tuple[DateOrders, int]], *, decimal: str, dates: str,
    before: tuple[str, str], semicolons: bool,
) -> Written:  # fmt: skip
    """What all columns say together; orders: with the number of cells that hold something.

    decimal, dates: as a person says. before: the same of an earlier load, which counts where nothing is shown.
    semicolons: whether they part the cells, which is where a comma may be the decimal mark.
    """
    notes = []
    proven = {n: m.settled() for n, m in marks.items()}
    shown = frozenset().union(*proven.values()) if proven else frozenset()
    mark = decimal or (next(iter(shown)) if len(shown) == 1 else "" if shown else before[0])
    of_numbers = {n: _mark(m, proven[n], mark, semicolons) for n, m in marks.items()}
    if any(m.open[","] or "," in proven[n] for n, m in marks.items()) and mark:
        where = next((f"{c!r} in row {r} of column {n!r}" for n, m in marks.items() for c, r in
                      [m.proofs.get(mark, ("", 0))] if c), "")  # fmt: skip
        notes.append(f"Numbers have {_SAID[mark]}" + _because(where, bool(decimal), bool(shown)))
    dated = {n: o for n, (o, _) in orders.items() if o.cells}
    common = set(ORDERS).intersection(*(o.left for o in dated.values()))
    of_dates = {}
    for name, order in dated.items():
        left = common or order.left
        known = dates or (next(iter(left)) if len(left) == 1 else before[1] if before[1] in left else "")
        if not known and left and order.alike:
            known = "day/month" if "day/month" in left else min(left)
        many = 2 * order.cells >= orders[name][1]
        of_dates[name] = known or (UNSURE if left and many else "")
        if known and order.slashes:
            best = next((f"{c!r} in row {r} of column {n!r}" for n, o in dated.items()
                         for k, (c, r) in sorted(o.against.items()) if k not in (known, "year/month")), "")  # fmt: skip
            notes.append(f"Dates of column {name!r} are read {_SAID[known]}" + _because(best, bool(dates), bool(best)))
    return Written(mark, of_numbers, of_dates, tuple(notes))


def _mark(marks: DecimalMarks, proven: Collection[str], mark: str, semicolons: bool) -> str:
    if not mark:
        mark = next(iter(proven)) if len(proven) == 1 else ""
    if not mark and (marks.open[","] or (marks.open["."] and semicolons)):
        return UNSURE
    return mark or "."


def _because(where: str, said: bool, shown: bool) -> str:
    if said:
        return ", as was said."
    return f": {where} shows it." if where else ": whole numbers beside them show it." if shown else ", as before."
