"""One batch of source columns -> canonical columns, by a mapping. Rows that would poison a sum are dropped.

Times, latencies, money and tokens that cannot be read or believed drop their row. Other cells that cannot be read (an
outcome in unknown words, a rating outside its scale) become unknown and are counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpi import schema
from kpi.arrow_rows import with_day
from kpi.assembly.row_costs import price_requests
from kpi.assembly.span_costs import PARTS
from kpi.clock import LATER, LONGEST_US, ahead
from kpi.disk.tables import table_of
from kpi.ingest.context import Context
from kpi.ingest.files.tabular import Batch
from kpi.mapping import parse_times, parse_values
from kpi.mapping.column_names import SCORE_PREFIX
from kpi.mapping.mapping import ColumnMapping, ColumnProfile, Mapping, kind_of
from kpi.mapping.parse_values import Parsed
from kpi.mapping.units import DEAREST_NUSD, DURATION_US, EARLIEST_US, MONEY_NUSD, MOST_TOKENS, SCALES

_DIMENSION_LENGTH = 200
_USERS_REMEMBERED = 1_000_000
_HINTS: dict[str, str] = table_of(__file__)["hints"]


class Converter:
    """Converts the batches of one file. hashes: some row may lack an id, so that all columns are needed."""

    def __init__(
        self,
        mapping: Mapping,
        profiles: Sequence[ColumnProfile],
        uncounted: frozenset[str],
        context: Context,
        file: str,
    ) -> None:
        self._mapping, self._context, self._file = mapping, context, file
        self._profiles = {p.name: p for p in profiles}
        self._uncounted = uncounted
        self._unread: Counter[str] = Counter()
        self._users: dict[str, str | None] = {}
        ids = mapping.source_of("trace_id")
        profile = self._profiles.get(ids.source) if ids else None
        self.hashes = profile is None or profile.count < profile.rows

    def convert(self, batch: Batch) -> Iterator[tuple[str, pa.Table]]:
        """(table name, canonical table) for one batch, without the dropped rows."""
        work = _Work(batch, self._context, self._file)
        found: dict[str, pa.Array] = {}
        for column in self._mapping.columns:
            if column.field and column.source in batch.table.column_names:
                found[column.field] = self._field(column, work)
                found |= self._counted(column, work)
        raw = dict(found)
        self._tokens(found)
        self._duration(found, work)
        _errors(found)
        totals = _reported_costs(found, work.rows)
        if work.users_in_ids is not None:
            raw["user_key"] = work.users_in_ids
        ids = found.get("trace_id", pa.nulls(work.rows, pa.string()))
        found["trace_id"] = pc.coalesce(ids, self._hashes(raw, batch)) if ids.null_count else ids
        keep = pa.array(~work.bad)
        yield "requests", self._priced(_requests(found, work.rows).filter(keep), totals.filter(keep))
        for name in [n for n in found if n.startswith(SCORE_PREFIX)]:
            yield "scores", _scores(name, found, work.rows).filter(pc.and_(keep, found[name].is_valid()))

    def report(self) -> None:
        """Say in the receipt what was repaired or left unknown."""
        for sentence, count in sorted(self._unread.items()):
            self._context.receipt.note(sentence.replace("{count}", f"{count:,}"))

    def _field(self, column: ColumnMapping, work: _Work) -> pa.Array:
        cells, kind, privacy = work.column(column.source), column.kind, self._context.privacy
        if kind == "time":
            return self._time(column, cells, work)
        if kind in ("duration", "money", "tokens", "count"):
            return self._number(column, cells, kind, work)
        if kind in ("bool", "status"):
            return self._outcome(column, cells)
        if kind == "score":
            return self._score(column, cells)
        if kind == "measure":
            return self._measure(column, cells)
        if kind == "content":
            return privacy.texts(parse_values.contents(cells))
        if kind == "user":
            users = parse_values.on_distinct(cells, self._pseudonyms)
            work.users_in_ids = privacy.users_in_ids(parse_values.texts(cells), users) if self.hashes else None
            return users
        if kind == "id":
            return privacy.identities(parse_values.texts(cells))
        if column.field == "worst_severity":
            return self._severity(column, parse_values.texts(cells))
        return parse_values.on_distinct(cells, lambda distinct: self._words(column, distinct))

    def _counted(self, column: ColumnMapping, work: _Work) -> dict[str, pa.Array]:
        """A cohort whose values are all numbers (rounds played) can be averaged as well: it is also a measure."""
        profile = self._profiles.get(column.source, ColumnProfile(""))
        name = schema.MEASURE_PREFIX + str(column.field).removeprefix(schema.EXTRA_PREFIX)
        if column.how != "cohort" or profile.type != "number" or self._mapping.source_of(name):
            return {}
        return {name: self._measure(column, work.column(column.source))}

    def _words(self, column: ColumnMapping, distinct: pa.Array) -> pa.Array:
        words = pc.utf8_slice_codeunits(parse_values.texts(distinct), 0, _DIMENSION_LENGTH)
        if {v.lower() for v in self._profiles.get(column.source, ColumnProfile("")).values} <= {"true", "false"}:
            words = pc.utf8_lower(words)
        return self._context.privacy.texts(words)

    def _pseudonyms(self, distinct: pa.Array) -> pa.Array:
        """Pseudonyms, remembered over batches: users come back."""
        words = parse_values.texts(distinct)
        names = words.to_pylist()
        new = [n for n in names if n is not None and n not in self._users]
        if len(self._users) + len(new) > _USERS_REMEMBERED:
            return self._context.privacy.users(words)
        if new:
            found = self._context.privacy.users(pa.array(new, pa.string())).to_pylist()
            self._users.update(zip(new, found, strict=True))
        return pa.array([None if n is None else self._users[n] for n in names], pa.string())

    def _time(self, column: ColumnMapping, cells: pa.ChunkedArray, work: _Work) -> pa.Array:
        found = parse_times.times(cells, unit=column.unit)
        moments = found.parsed.values
        where = f"column {column.source!r}"
        work.reject(found.parsed.bad, f"{where} holds no time", _HINTS["time"])
        work.reject(_where(ahead(moments, self._context.now_us)), f"{where} {LATER}",
                    "Check the unit and the clock.")  # fmt: skip
        work.reject(_where(pc.less(moments, EARLIEST_US)), f"{where} lies before the year 2000",
                    "Often a missing time written as 0.")  # fmt: skip
        if found.naive:
            self._unread[f"{{count}} times in {where} name no zone and were read as UTC."] += found.naive
        if moments.null_count and column.field == "started_at":
            missing = moments.null_count - int(found.parsed.bad.sum())
            self._unread[f"{{count}} rows have no time in {where}; they are in no window."] += missing
        return moments

    def _number(self, column: ColumnMapping, cells: pa.ChunkedArray, kind: str, work: _Work) -> pa.Array:
        spelled = column.unit == "in cells"
        read = parse_values.counts if kind == "count" else parse_values.lengths if spelled else parse_values.numbers
        parsed = read(cells, decimal=column.decimal or ".")
        if parsed.bad_count and kind == "count":
            parsed = _flags(cells, parsed)
        factor = {"duration": DURATION_US, "money": MONEY_NUSD}.get(kind, {}).get(column.unit, 1.0)
        most = {"duration": LONGEST_US, "money": DEAREST_NUSD}.get(kind, MOST_TOKENS)
        scaled = parsed.values if factor == 1.0 else pc.multiply(parsed.values, factor)
        where, hint = f"column {column.source!r}", _HINTS[kind]
        work.reject(parsed.bad, f"{where} holds no number", hint)
        work.reject(_where(pc.less(scaled, 0)), f"{where} is negative", hint)
        work.reject(_where(pc.greater(scaled, most)), f"{where} is too large to be true", hint)
        rounded = pc.round(scaled)
        if kind in ("tokens", "count"):
            work.reject(_where(pc.not_equal(scaled, rounded)), f"{where} is no whole number", hint)
        safe = pc.if_else(pc.less_equal(pc.abs(rounded), max(most, 1e15)), rounded, pa.scalar(None, pa.float64()))
        return safe.cast(pa.int64())

    def _outcome(self, column: ColumnMapping, cells: pa.ChunkedArray) -> pa.Array:
        minus = column.unit == parse_values.MINUS
        parsed = parse_values.failures(cells) if column.kind == "status" else parse_values.booleans(cells, minus=minus)
        self._count_unread(column, parsed)
        return pc.invert(parsed.values) if column.unit == "inverted" else parsed.values

    def _score(self, column: ColumnMapping, cells: pa.ChunkedArray) -> pa.Array:
        if column.unit == "words":
            parsed = parse_values.booleans(cells)
            self._count_unread(column, parsed)
            return parsed.values.cast(pa.float64())
        low, high = SCALES.get(column.unit, (0.0, 1.0))
        if column.unit not in ("", "0-1"):
            self._context.receipt.note(f"Column {column.source!r} was scaled from {column.unit} to 0-1.")
        return pc.divide(pc.subtract(self._within(column, cells, low, high), low), high - low)

    def _measure(self, column: ColumnMapping, cells: pa.ChunkedArray) -> pa.Array:
        return self._within(column, cells, -schema.LARGEST_MEASURE, schema.LARGEST_MEASURE)

    def _within(self, column: ColumnMapping, cells: pa.ChunkedArray, low: float, high: float) -> pa.Array:
        """Numbers; those outside are unknown."""
        parsed = parse_values.numbers(cells, decimal=column.decimal or ".")
        outside = _where(pc.or_(pc.less(parsed.values, low), pc.greater(parsed.values, high)))
        self._count_unread(column, Parsed(parsed.values, parsed.bad | outside))
        return pc.if_else(pa.array(outside), pa.scalar(None, pa.float64()), parsed.values)

    def _severity(self, column: ColumnMapping, words: pa.Array) -> pa.Array:
        lower = pc.utf8_lower(words)
        known = pc.is_in(lower, pa.array(schema.SEVERITIES))
        unread = pc.and_(pc.invert(known), words.is_valid()).to_numpy(zero_copy_only=False)
        self._count_unread(column, Parsed(words, unread))
        return pc.if_else(known, lower, pa.scalar(None, pa.string()))

    def _count_unread(self, column: ColumnMapping, parsed: Parsed) -> None:
        if parsed.bad_count:
            sentence = f"Column {column.source!r}: {{count}} cells could not be read as {column.field} and are unknown."
            self._unread[sentence] += parsed.bad_count

    def _priced(self, table: pa.Table, totals: pa.Array) -> pa.Table:
        table = price_requests(table, self._context.prices, totals=totals)
        self._context.receipt.unpriced += pc.sum(pc.equal(table["priced"], False).cast(pa.int64())).as_py() or 0
        return table

    def _tokens(self, found: dict[str, pa.Array]) -> None:
        """Where a whole model reports 0 tokens everywhere, the count is unknown."""
        counted = [f for f in ("input_tokens", "output_tokens") if f in found]
        if not counted or not self._uncounted:
            return
        model = self._mapping.source_of("model")
        names = found["model"].fill_null("") if model else pa.array([""] * len(found[counted[0]]))
        unknown = pc.is_in(names, pa.array(sorted(self._uncounted), pa.string()))
        if rows := int(_where(unknown).sum()):
            for name in counted:
                found[name] = pc.if_else(unknown, pa.scalar(None, pa.int64()), found[name])
            models = ", ".join(sorted(self._uncounted)[:30]) or "all rows"
            self._unread[f"{{count}} rows report 0 tokens for a whole model, read as unknown: {models}."] += rows

    def _duration(self, found: dict[str, pa.Array], work: _Work) -> None:
        ended = found.pop("ended_at", None)
        if ended is None or "started_at" not in found:
            return
        took = pc.subtract(ended, found["started_at"])
        reported = found.get("total_us", pa.nulls(work.rows, pa.int64()))
        backwards = pc.and_(pc.less(took, 0), reported.is_null()).fill_null(False)
        if count := int(_where(backwards).sum()):
            self._unread["{count} rows end before they start; their latency is unknown."] += count
        believable = pc.and_(pc.greater_equal(took, 0), pc.less_equal(took, LONGEST_US)).fill_null(False)
        found["total_us"] = pc.coalesce(reported, pc.if_else(believable, took, pa.scalar(None, pa.int64())))

    def _hashes(self, raw: dict[str, pa.Array], batch: Batch) -> pa.Array:
        """128-bit ids from all a row holds: canonical values where mapped, else its text. Names keep columns apart."""
        parts: dict[str, pa.Array] = {}
        for name in batch.table.column_names:
            column = self._mapping[name]
            if column and column.field in raw and kind_of(column.field) not in ("dimension", "measure"):
                cells = raw[column.field]
                parts[column.field] = cells if pa.types.is_string(cells.type) else cells.cast(pa.string())
            elif column and column.field in raw and not schema.is_extra(column.field):
                parts[column.field] = raw[column.field]
            else:
                parts[f"~{name}"] = parse_values.texts(batch.table[name])
        named = [
            pc.if_else(v.is_valid(), pc.binary_join_element_wise(f"{k}=", v.fill_null(""), ""), "")
            for k, v in sorted(parts.items())
        ]
        joined = pc.binary_join_element_wise(*named, "\x1f").to_pylist()
        digest = hashlib.blake2b
        return pa.array([digest(t.encode(), digest_size=16).hexdigest() for t in joined], pa.string())


class _Work:
    """One batch under way: which rows are bad, each reported once, under its first reason."""

    def __init__(self, batch: Batch, context: Context, file: str) -> None:
        self._batch, self._context, self._file = batch, context, file
        self.rows = batch.table.num_rows
        self.bad = np.zeros(self.rows, bool)
        self.users_in_ids: pa.Array | None = None

    def column(self, name: str) -> pa.ChunkedArray:
        return self._batch.table[name]

    def reject(self, rows: np.ndarray, reason: str, hint: str) -> None:
        new = rows & ~self.bad
        for index in np.flatnonzero(new):
            number = int(self._batch.numbers[index])
            self._context.receipt.drop(number, reason, hint=hint, file=self._file)
        self.bad |= new


def _where(mask: pa.Array) -> np.ndarray:
    found: np.ndarray = mask.fill_null(False).to_numpy(zero_copy_only=False)
    return found


def _flags(cells: pa.ChunkedArray, parsed: Parsed) -> Parsed:
    """Counts from a column that flags: true is 1, false is 0."""
    flags = parse_values.booleans(cells)
    both = pc.coalesce(parsed.values, flags.values.cast(pa.int64()).cast(pa.float64()))
    return Parsed(both, parsed.bad & flags.bad)


def _errors(found: dict[str, pa.Array]) -> None:
    """error: from its own column, else from the status, else true where a kind of error or a message is given."""
    status, message = found.pop("status", None), found.pop("error_message", None)
    given = [c.is_valid() for c in (found.get("error_type"), message) if c is not None]
    told = pc.or_(given[0], given[-1]) if given else None
    if known := [c for c in (found.get("error"), status, told) if c is not None]:
        found["error"] = pc.coalesce(*known)


def _reported_costs(found: dict[str, pa.Array], rows: int) -> pa.Array:
    """Prompt and answer add up to inference, and a total alone counts as inference. Returns where a total is known."""
    halves = [c for c in (found.pop("input_cost", None), found.pop("output_cost", None)) if c is not None]
    if halves and "inference_nusd" not in found:
        both = pc.add(halves[0], halves[1]) if len(halves) > 1 else halves[0]
        found["inference_nusd"] = pc.coalesce(both, *halves)  # unknown where neither is known
    if "total_nusd" not in found:
        return pa.array(np.zeros(rows, bool))
    if not any(part in found for part in PARTS):
        found["inference_nusd"] = found["total_nusd"]
    return found["total_nusd"].is_valid()


def _requests(found: dict[str, pa.Array], rows: int) -> pa.Table:
    extra = [n for n in found if schema.is_extra(n)]
    target = schema.REQUESTS.arrow_schema(extra)
    arrays = [found[f.name].cast(f.type) if f.name in found else pa.nulls(rows, f.type) for f in target]
    return with_day(pa.table(arrays, schema=target))


def _scores(name: str, found: dict[str, pa.Array], rows: int) -> pa.Table:
    """Rows of the scores table for one `score:<name>` field."""
    target, label = schema.SCORE_ROWS.arrow_schema(), name.removeprefix(SCORE_PREFIX)
    columns = {
        "score_id": pc.binary_join_element_wise(found["trace_id"], label, ":"),
        "trace_id": found["trace_id"],
        "name": pa.array([label] * rows, pa.string()),
        "value": found[name],
    }
    if "started_at" in found:
        columns["at"] = found["started_at"].cast(target.field("at").type)
    arrays = [columns.get(f.name, pa.nulls(rows, f.type)) for f in target]
    return pa.table(arrays, schema=target)
