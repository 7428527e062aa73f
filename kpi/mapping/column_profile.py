"""One pass over all rows of all tables of a load: what each column holds. No guess rests on the first rows alone.

Counts, extremes, medians and sets of distinct values are the same in any order of rows, and for any split of a load
into files. Loads made one after the other see their own rows only; close to a threshold they may decide differently.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpi.mapping import parse_times, parse_values
from kpi.mapping.column_names import known
from kpi.mapping.guess import COHORT_MOST
from kpi.mapping.mapping import Mapping, kind_of
from kpi.mapping.profile import ColumnProfile
from kpi.mapping.unit_evidence import UnitEvidence

SAMPLES = 20
_SAMPLE_LENGTH = 120
_MOST_BAD = 20  # a column of numbers may hold one cell in so many that is none
_BINS = 8  # per doubling: medians are good to 5 %, enough to tell ms from s
_NUMERIC = frozenset(["duration", "tokens", "money", "count", "score"])
_HTTP = re.compile(r"[1-5]\d\d")
_AMBIGUOUS = r"^\d{1,2}[/-]\d{1,2}[/-]\d{4}"


class ColumnProfiler:
    """Collects one column. kind: what its name promises, or ""."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind
        self._type = "text"
        self._rows = self._count = self._longest = self._bad = self._judged = 0
        self._distinct: set[str] | None = set()
        self._samples: dict[str, None] = {}
        self._low: float | None = None
        self._high: float | None = None
        self._whole, self._comma = True, False
        self._bins: Counter[int] = Counter()
        self._dayfirst: set[bool] = set()
        self.last: pa.Array | None = None  # numbers, or times in microseconds, of the rows that were added last

    def add(self, column: pa.ChunkedArray) -> None:
        self.last = None
        self._rows += len(column)
        self._type = _type_name(column.type)
        if self.kind == "content":
            self._sample(column.slice(0, SAMPLES))
            self._count += len(column) - column.null_count
            return
        present = self._add_distinct(column)
        self._count += present
        if self.kind in _NUMERIC or self._type in ("number", "float") or (not self.kind and self._seem_numbers()):
            self._add_numbers(column, present)
        elif self.kind:
            self._add_readable(column, present)

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
            if len(unique) > COHORT_MOST:
                self._distinct = None
            else:
                self._distinct.update(unique.to_pylist())
                if len(self._distinct) > COHORT_MOST:
                    self._distinct = None
        return len(words) - int(words.null_count)

    def _seem_numbers(self) -> bool:
        return 4 * sum(_is_number(v) for v in self._samples) >= 3 * max(len(self._samples), 1)

    def _sample(self, column: pa.Array | pa.ChunkedArray) -> None:
        for text in parse_values.contents(column).to_pylist():
            if text is not None and len(self._samples) < SAMPLES:
                self._samples.setdefault(text[:_SAMPLE_LENGTH])

    def _add_numbers(self, column: pa.ChunkedArray, present: int) -> None:
        parsed = parse_values.counts(column) if self.kind == "count" else parse_values.numbers(column)
        self.last = parsed.values
        bad = parsed.bad_count
        if bad and self.kind in ("count", "score"):
            bad = min(bad, parse_values.booleans(column).bad_count)
        self._bad, self._judged = self._bad + bad, self._judged + present
        if parse_values.is_text(parse_values.flat(column.slice(0, 1)).type):
            words = parse_values.texts(column)
            self._comma |= bool(
                pc.any(pc.match_substring_regex(words, parse_values.COMMA_DECIMAL), min_count=0).as_py()
            )
        found = pc.drop_null(parsed.values).to_numpy(zero_copy_only=False)
        if not len(found):
            return
        self._low = float(min(found.min(), np.inf if self._low is None else self._low))
        self._high = float(max(found.max(), -np.inf if self._high is None else self._high))
        self._whole = self._whole and bool((found == np.rint(found)).all())
        if self.kind == "duration":
            positive = np.maximum(np.abs(found), 1e-12)
            bins, counts = np.unique(np.rint(np.log2(positive) * _BINS).astype(int), return_counts=True)
            self._bins.update(dict(zip(bins.tolist(), counts.tolist(), strict=True)))

    def _add_readable(self, column: pa.ChunkedArray, present: int) -> None:
        bad = 0
        if self.kind == "bool":
            bad = parse_values.booleans(column).bad_count
        elif self.kind == "status":
            bad = parse_values.failures(column).bad_count
        elif self.kind == "time":
            times = parse_times.times(column, dayfirst=True).parsed
            bad, self.last = times.bad_count, times.values
            if parse_values.is_text(parse_values.flat(column.slice(0, 1)).type):
                self._see_days(parse_values.texts(column))
        self._bad, self._judged = self._bad + bad, self._judged + present

    def _see_days(self, words: pa.Array) -> None:
        """Does a date like 25/12/2026 say which of day and month comes first?"""
        dates = pc.drop_null(words.filter(pc.match_substring_regex(words, _AMBIGUOUS).fill_null(False)))
        for text in pc.unique(pc.utf8_slice_codeunits(dates, 0, 5)).to_pylist():
            first, second = (int(p) for p in text.replace("-", "/").split("/")[:2])
            if first > 12 or second > 12:
                self._dayfirst.add(first > 12)

    def result(self) -> ColumnProfile:
        few = None if self._distinct is None else tuple(sorted(self._distinct))
        type_ = self._type
        if type_ == "text" and few and all(_is_number(v) for v in few):
            type_ = "number" if all(float(parse_values.number(v)).is_integer() for v in few) else "float"
        elif type_ == "text" and few is None and not self.kind and self._count == self._judged > _MOST_BAD * self._bad:
            type_ = "float"
        return ColumnProfile(
            name=self.name,
            type=type_,
            count=self._count,
            rows=self._rows,
            distinct=None if few is None else len(few),
            values=few or (),
            longest=self._longest,
            samples=tuple(self._samples),
            readable=1 - self._bad / self._judged if self._judged else 1.0,
            low=self._low,
            high=self._high,
            median=self._median(),
            whole=self._whole,
            decimal="," if self._comma else ".",
            dayfirst=next(iter(self._dayfirst)) if len(self._dayfirst) == 1 else None,
        )

    def _median(self) -> float | None:
        half, seen = sum(self._bins.values()) / 2, 0
        for bin_, count in sorted(self._bins.items()):
            seen += count
            if seen >= half:
                return float(2.0 ** (bin_ / _BINS))
        return None


class Profiler:
    """Collects all columns, and which models report no tokens at all."""

    def __init__(self, given: Mapping | None) -> None:
        self._given = given or Mapping()
        self._columns: dict[str, ColumnProfiler] = {}
        self._evidence = UnitEvidence()
        self._beside_status: dict[str, Counter[str]] = {}
        self._zero: set[str] = set()
        self._counted: set[str] = set()
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        for name in table.column_names:
            profiler = self._columns.get(name)
            if profiler is None:
                profiler = self._columns[name] = ColumnProfiler(name, self._kind(name))
            profiler.add(table[name])
        self._add_together(table)

    def _field(self, name: str) -> str:
        given = self._given[name]
        if given is not None:
            return given.field or ""
        found = known(name)
        return found[0] if found else ""

    def _kind(self, name: str) -> str:
        return kind_of(self._field(name)) if self._field(name) else ""

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
            success, status = table[fields["success"]], table[fields["status"]]
            self._add_status(
                fields["success"], parse_values.booleans(success).values, parse_values.failures(status).values
            )
        of_kind = {name: self._columns[name].kind for name in last}
        money = {n: (self._field(n), _floats(last[n])) for n, kind in of_kind.items() if kind == "money"}
        lengths = {n: _floats(last[n]) for n, kind in of_kind.items() if kind == "duration"}
        if money or lengths:
            self._evidence.add(money, lengths, {f: _floats(values) for f, values in parsed.items()}, texts)

    def _add_status(self, column: str, success: pa.Array, failed: pa.Array) -> None:
        """How often a success is just that no code of HTTP says failure, and how often it is not."""
        found = self._beside_status.setdefault(column, Counter())
        both = pc.and_(success, failed)
        found["failed"] += pc.sum(failed.cast(pa.int64())).as_py() or 0
        found["other"] += (
            pc.sum(pc.or_(both, pc.and_(pc.invert(success), pc.invert(failed))).cast(pa.int64())).as_py() or 0
        )

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
            given, told = self._given[name], known(name)
            field, rank = (given.field or "", -1) if given is not None else (told[0], told[2]) if told else ("", 0)
            if field and (field not in found or rank < found[field][0]):
                found[field] = (rank, name)
        return {field: name for field, (_, name) in found.items()}

    def _add_tokens(self, counted: list[pa.Array], texts: pa.Array | None) -> None:
        total = counted[0] if len(counted) == 1 else pc.add(counted[0].fill_null(0), counted[1].fill_null(0))
        models = pa.nulls(len(total), pa.string()) if texts is None else texts
        models = models.fill_null("")
        self._counted.update(pc.unique(models.filter(pc.greater(total, 0).fill_null(False))).to_pylist())
        self._zero.update(pc.unique(models.filter(pc.equal(total, 0).fill_null(False))).to_pylist())

    @property
    def uncounted_models(self) -> frozenset[str]:
        """Models whose requests all report 0 tokens: unknown, not 0. "" stands for rows without a model."""
        return frozenset(self._zero - self._counted)

    def profiles(self) -> list[ColumnProfile]:
        return [
            dataclasses.replace(c.result(), technical=self._says_status(name), **self._evidence.of(name))
            for name, c in self._columns.items()
        ]


_BESIDE = ("input_tokens", "output_tokens", "cached_read_tokens", "cache_write_tokens", "started_at", "ended_at")


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
