"""One pass over all rows of all tables of a load: what each column holds. No guess rests on the first rows alone.

Counts, extremes, medians and sets of distinct values are the same in any order of rows, and for any split of a load
into files. Loads made one after the other see their own rows only; close to a threshold they may decide differently.
"""

import dataclasses
import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpi.mapping import parse_times, parse_values
from kpi.mapping.column_names import named
from kpi.mapping.conventions import ORDERS, UNSURE, DateOrders, DecimalMarks, Written, settle
from kpi.mapping.guess import COHORT_MOST
from kpi.mapping.mapping import Mapping, kind_of
from kpi.mapping.profile import ColumnProfile
from kpi.mapping.unit_evidence import Medians, UnitEvidence

SAMPLES = 20
_SAMPLE_LENGTH, _EXAMPLE = 120, 40
_MOST_BAD = 20  # a column of numbers may hold one cell in so many that is none
_NUMERIC = frozenset(["duration", "tokens", "money", "count", "score"])
_WRITTEN = _NUMERIC - {"count"}  # a list of numbers may be counted
_NO_ROWS = np.zeros(0, np.int64)
_HTTP = re.compile(r"[1-5]\d\d")
_BESIDE = ("input_tokens", "output_tokens", "cached_read_tokens", "cache_write_tokens", "started_at", "ended_at")


class ColumnProfiler:
    """Collects one column. kind: what its name promises, or "". decimal, order: how it is written, as far as known."""

    def __init__(self, name: str, kind: str, decimal: str = "", order: str = "") -> None:
        self.name, self.kind, self._decimal, self._order = name, kind, decimal, order
        self.marks, self.orders = DecimalMarks(), DateOrders()
        self._type = "text"
        self._rows = self.count = self._longest = self._bad = self._bad_spelled = self._judged = 0
        self._distinct: set[str] | None = set()
        self._samples: dict[str, None] = {}
        self._low: float | None = None
        self._high: float | None = None
        self._whole, self._unread = True, ""
        self._currencies: set[str] = set()
        self._lengths = Medians()
        self.last: pa.Array | None = None  # numbers, or times in microseconds, of the rows that were added last

    def add(self, column: pa.ChunkedArray, rows: np.ndarray = _NO_ROWS) -> None:
        """rows: the number of each row, as a person counts them."""
        self.last = None
        self._rows += len(column)
        self._type = _type_name(column.type)
        if self.kind == "content":
            self._sample(column.slice(0, SAMPLES))
            self.count += len(column) - column.null_count
            return
        present = self._add_distinct(column)
        self.count += present
        if self.kind in _NUMERIC or self._type in ("number", "float") or (not self.kind and self._seem_numbers()):
            self._add_numbers(column, present, rows)
        elif self.kind:
            self._add_readable(column, present, rows)

    def _add_distinct(self, column: pa.ChunkedArray) -> int:
        """Count cells that hold something, and keep the distinct values while there are few."""
        if self._type == "float" and self.kind != "bool":  # never a cohort
            self._distinct = None
            self._sample(column.slice(0, SAMPLES))
        if self._distinct is None and self.kind != "id":
            return len(column) - int(column.null_count)
        words = parse_values.texts(column)
        if self._distinct is not None:
            unique = pc.drop_null(pc.unique(words))
            self._longest = max(self._longest, pc.max(pc.utf8_length(unique)).as_py() or 0)
            if len(self._samples) < SAMPLES:
                self._sample(unique.slice(0, SAMPLES))
            self._distinct.update(unique.slice(0, COHORT_MOST + 1).to_pylist())
            if len(self._distinct) > COHORT_MOST:
                self._distinct = None
        return len(words) - int(words.null_count)

    def _seem_numbers(self) -> bool:
        return 4 * sum(map(_is_number, self._samples)) >= 3 * max(len(self._samples), 1)

    def _sample(self, column: pa.Array | pa.ChunkedArray) -> None:
        for text in parse_values.contents(column).to_pylist():
            if text is not None and len(self._samples) < SAMPLES:
                self._samples.setdefault(text[:_SAMPLE_LENGTH])

    def _add_numbers(self, column: pa.ChunkedArray, present: int, rows: np.ndarray) -> None:
        read = parse_values.counts if self.kind == "count" else parse_values.numbers
        parsed = read(column, decimal=self._decimal.replace(UNSURE, "") or ".")
        self.last = parsed.values
        bad = parsed.bad
        if bad.any() and self.kind in ("count", "score"):
            bad = bad & parse_values.booleans(column).bad
        self._bad, self._judged = self._bad + int(bad.sum()), self._judged + present
        typed = parse_values.carries_unit(column.type)
        if self.kind == "duration":
            spelled = parse_values.lengths(column, decimal=self._decimal or ".") if typed or bad.any() else None
            self._bad_spelled += present if spelled is None else spelled.bad_count
            if spelled is not None and spelled.bad_count < present:
                self.last = None
            bad = bad if spelled is None else bad & spelled.bad
            self._bad += present if typed else 0
        self._remember_unread(column, bad)
        if self.kind in _WRITTEN and parse_values.is_text(parse_values.flat(column.slice(0, 1)).type):
            words = parse_values.texts(column)
            self.marks.add(words, rows, whole=self.kind == "tokens")
            if self.kind == "money":
                self._currencies |= parse_values.currencies(words)
        found = pc.drop_null(parsed.values).to_numpy(zero_copy_only=False)
        if not len(found):
            return
        self._low = float(min(found.min(), np.inf if self._low is None else self._low))
        self._high = float(max(found.max(), -np.inf if self._high is None else self._high))
        self._whole = self._whole and bool((found == np.rint(found)).all())
        if self.kind == "duration":
            self._lengths.add(np.maximum(np.abs(found), 1e-12))

    def _add_readable(self, column: pa.ChunkedArray, present: int, rows: np.ndarray) -> None:
        bad = np.zeros(len(column), bool)
        if self.kind == "bool":
            bad = parse_values.booleans(column, minus=True).bad
        elif self.kind == "status":
            bad = parse_values.failures(column).bad
        elif self.kind == "time":
            times = parse_times.times(column, dayfirst=True, unit=self._order).parsed
            bad, self.last = times.bad, times.values
            if parse_values.is_text(parse_values.flat(column.slice(0, 1)).type):
                self.orders.add(parse_values.texts(column), rows)
        self._bad, self._judged = self._bad + int(bad.sum()), self._judged + present
        self._remember_unread(column, bad)

    def _remember_unread(self, column: pa.ChunkedArray, bad: np.ndarray) -> None:
        if bad.any() and not self._unread:
            self._unread = (parse_values.contents(column.slice(int(bad.argmax()), 1))[0].as_py() or "")[:_EXAMPLE]

    def result(self) -> ColumnProfile:
        few = None if self._distinct is None else tuple(sorted(self._distinct))
        type_ = self._type
        if type_ == "text" and few and all(_is_number(v) for v in few):
            type_ = "number" if all(float(parse_values.number(v)).is_integer() for v in few) else "float"
        elif type_ == "text" and few is None and not self.kind and self.count == self._judged > _MOST_BAD * self._bad:
            type_ = "float"
        spelled = self._judged > 0 and self._bad_spelled < self._bad and self.kind == "duration"
        bad = self._bad_spelled if spelled else self._bad
        return ColumnProfile(
            name=self.name, type=type_, count=self.count, rows=self._rows,
            distinct=None if few is None else len(few), values=few or (), longest=self._longest,
            samples=tuple(self._samples), readable=1 - bad / self._judged if self._judged else 1.0,
            low=self._low, high=self._high, median=self._lengths.median(), whole=self._whole, spelled=spelled,
            currencies=tuple(sorted(self._currencies)), unread=self._unread)  # fmt: skip


class Profiler:
    """Collects all columns, and which models report no tokens at all."""

    def __init__(self, given: Mapping | None, written: Written | None = None) -> None:
        """written: how the columns are written, where an earlier pass found it."""
        self._given, self._written = given or Mapping(), written or Written()
        self._columns: dict[str, ColumnProfiler] = {}
        self._evidence = UnitEvidence()
        self._beside_status: dict[str, Counter[str]] = {}
        self._zero: set[str] = set()
        self.counted: set[str] = set()
        self.rows, self.semicolons = 0, False

    def add(self, table: pa.Table, rows: np.ndarray | None = None) -> None:
        """rows: the number of each row, as a person counts them."""
        numbers = np.arange(self.rows + 1, self.rows + table.num_rows + 1) if rows is None else rows
        self.rows += table.num_rows
        for name in table.column_names:
            profiler = self._columns.get(name)
            if profiler is None:
                mark = self._written.decimal.get(name, self._written.mark)
                dates = self._written.dates.get(name, "")
                profiler = self._columns[name] = ColumnProfiler(name, kind_of(self._told(name)[0]), mark, dates)
            profiler.add(table[name], numbers)
        self._add_together(table)

    def written(self, options: Mapping, before: Mapping) -> Written:
        """How all columns are written. options: what a person says now, before: what one said of an earlier load."""
        columns = self._columns.items()
        found = settle(
            {n: c.marks for n, c in columns if c.kind in _WRITTEN}, {n: (c.orders, c.count) for n, c in columns},
            decimal=options.decimal, dates=options.dates, before=(before.decimal, before.dates),
            semicolons=self.semicolons)  # fmt: skip
        fixed = {c.source: c.decimal for c in self._given.columns if c.decimal}
        ordered = {c.source: c.unit for c in self._given.columns if c.unit in ORDERS}
        return dataclasses.replace(found, decimal={**found.decimal, **fixed}, dates={**found.dates, **ordered})

    def _told(self, name: str) -> tuple[str, int]:
        """The field that a column is, by a person or by its name, and how well the name tells; "" for none."""
        given = self._given[name]
        found = named(name) if given is None else (given.field or "", "", -1)
        return (found[0], found[2]) if found else ("", 0)

    def _add_together(self, table: pa.Table) -> None:
        """What the columns say of each other: models without tokens, and the units of lengths and costs."""
        fields = self._fields(table.column_names)
        last = {n: values for n in table.column_names if (values := self._columns[n].last) is not None}
        parsed = {f: last[fields[f]] for f in _BESIDE if fields.get(f) in last}
        texts: dict[str, pa.Array] = {
            f: parse_values.texts(table[fields[f]]) for f in ("model", "provider") if f in fields
        }
        if counted := [parsed[f] for f in ("input_tokens", "output_tokens") if f in parsed]:
            self._add_tokens(counted, texts.get("model"))
        if "status" in fields and "success" in fields:
            failed = parse_values.failures(table[fields["status"]]).values
            self._add_status(fields["success"], parse_values.booleans(table[fields["success"]]).values, failed)
        of_kind = {name: self._columns[name].kind for name in last}
        money = {n: (self._told(n)[0], _floats(last[n])) for n, kind in of_kind.items() if kind == "money"}
        lengths = {n: _floats(last[n]) for n, kind in of_kind.items() if kind == "duration"}
        if money or lengths:
            self._evidence.add(money, lengths, {f: _floats(values) for f, values in parsed.items()}, texts)

    def _add_status(self, column: str, success: pa.Array, failed: pa.Array) -> None:
        """How often a success is just that no code of HTTP says failure, and how often it is not."""
        found = self._beside_status.setdefault(column, Counter())
        found["failed"] += pc.sum(failed).as_py() or 0
        found["other"] += pc.sum(pc.equal(success, failed)).as_py() or 0

    def _says_status(self, name: str) -> bool:
        """Whether a success never says anything else than a status in codes of HTTP, of which some say failure."""
        counts = self._beside_status.get(name)
        if counts is None or not counts["failed"] or counts["other"]:
            return False
        codes = [v for c in self._columns.values() if c.kind == "status" for v in c.result().values]
        return bool(codes) and all(_HTTP.fullmatch(v) for v in codes)

    def _fields(self, names: list[str]) -> dict[str, str]:
        """field -> the column whose name says it best, of those that are here."""
        found: dict[str, tuple[int, str]] = {}
        for name in names:
            field, rank = self._told(name)
            if field and (field not in found or rank < found[field][0]):
                found[field] = (rank, name)
        return {field: name for field, (_, name) in found.items()}

    def _add_tokens(self, counted: list[pa.Array], texts: pa.Array | None) -> None:
        total = counted[0] if len(counted) == 1 else pc.add(counted[0].fill_null(0), counted[1].fill_null(0))
        models = (pa.nulls(len(total), pa.string()) if texts is None else texts).fill_null("")
        self.counted.update(pc.unique(models.filter(pc.greater(total, 0).fill_null(False))).to_pylist())
        self._zero.update(pc.unique(models.filter(pc.equal(total, 0).fill_null(False))).to_pylist())

    @property
    def uncounted_models(self) -> frozenset[str]:
        """Models whose requests all report 0 tokens: unknown, not 0. "" stands for rows without a model."""
        return frozenset(self._zero - self.counted)

    def profiles(self, written: Written | None = None) -> list[ColumnProfile]:
        """written: how all columns together are written."""
        told = written or Written()
        found = []
        for name, c in self._columns.items():
            mark, dates = told.decimal.get(name, told.mark) or ".", told.dates.get(name, "")
            facts = {"technical": self._says_status(name), "decimal": mark, "dates": dates, **self._evidence.of(name)}
            found.append(dataclasses.replace(c.result(), **facts))
        return found


def _floats(values: pa.Array) -> np.ndarray:
    found: np.ndarray = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return found


def _type_name(type_: pa.DataType) -> str:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if pa.types.is_boolean(type_):
        return "bool"
    if pa.types.is_integer(type_):
        return "number"
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_) or pa.types.is_duration(type_):
        return "float"
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        return "time"
    return "text"


def _is_number(text: str) -> bool:
    try:
        parse_values.number(text)
    except ValueError:
        return False
    return True
