"""Rows of CSV, TSV, workbooks, JSONL, JSON and Parquet as Arrow batches with their row numbers, before any mapping.

Bad rows are reported and left out, good rows still load. Nothing here decides what a column means.
"""

import contextlib
import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import chain, islice
from typing import Any, Self

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kpi.errors import IngestError
from kpi.ingest.files import line_sniffing, workbook
from kpi.ingest.files.json_documents import ENVELOPES, Drop, Note, is_lined, objects
from kpi.ingest.files.odd_rows import is_header, is_total, rows_of_columns
from kpi.ingest.files.source import Opened, utf8_stream
from kpi.ingest.limits import MIB, Limits
from kpi.mapping.column_names import known

BATCH_ROWS = 100_000
TEXT_BATCH_ROWS = 50_000
TEXT_BATCH_BYTES = 32 * MIB
_AT_ONCE = 500  # rows of delimited text
_RECOVERED_LINES = 100_000


@dataclass(frozen=True)
class Batch:
    """table: source columns under their own names. numbers: of each row, 1-based, as a person counts data rows.
    delimiter: what parts the cells of delimited text."""

    table: pa.Table
    numbers: np.ndarray
    consumed: int = 0
    delimiter: str = ""


def batches(
    source: Opened, *, limits: Limits, drop: Drop, note: Note, columns: Collection[str] | None = None,
    delimiter: str = "", sheet: str = "",
) -> Iterator[Batch]:  # fmt: skip
    """All rows of a table. columns: read only these (a hint: formats that cannot skip columns yield all).

    delimiter, sheet: as a person says, of delimited text and of a workbook.

    Raises IngestError when the file as a whole cannot be read, has too many columns or rows.
    """
    if source.rows is not None:
        found = _in_memory(source.rows)
    elif source.head.startswith(b"PAR1"):
        found = _parquet(source, limits, columns)
    elif workbook.is_one(source):
        found = _workbook(source, limits, drop, note, sheet)
    elif line_sniffing.is_json(source):
        found = _json(source, limits, drop, note)
    else:
        found = _delimited(source, limits, drop, note, delimiter)
    for batch in found:
        if batch.table.num_columns > limits.columns:
            raise IngestError.told("ingest.too_many_columns", name=source.name, most=limits.columns)
        if len(batch.numbers) and batch.numbers[-1] > limits.rows:
            raise IngestError.told("ingest.too_many_rows", name=source.name, most=limits.rows)
        yield batch


def _in_memory(rows: pa.Table) -> Iterator[Batch]:
    for start in range(0, rows.num_rows, BATCH_ROWS):
        part = rows.slice(start, BATCH_ROWS)
        yield Batch(part, np.arange(start + 1, start + part.num_rows + 1))


# --- delimited text --------------------------------------------------------------------------------------------------


class _Feed:
    """Lines for the csv module; remembers the record in progress, so that a broken quote loses one line only."""

    def __init__(self, source: Iterator[str], limit: int) -> None:
        self._source = source
        self.backlog: list[str] = []  # what was handed back, the next line last
        self.record: list[str] = []
        self.size, self._limit, self._recovered = 0, limit, 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self.backlog.pop() if self.backlog else next(self._source)
        self.size += len(line)
        self.record.append(line)
        if self.size > self._limit:
            raise csv.Error("record too long")
        return line

    def start(self) -> None:
        self.record, self.size = [], 0

    def recover(self) -> None:
        """Hand out again every line after the first of the broken record. Bounded, else broken files take n²."""
        self._recovered += len(self.record)
        if self._recovered > _RECOVERED_LINES:
            raise IngestError.told("ingest.bad_csv")
        self.give_back(self.record[1:])

    def give_back(self, lines: list[str]) -> None:
        """Hand out these lines again, before all others."""
        self.backlog += reversed(lines)


def _decoded(source: Opened, limits: Limits, note: Note) -> Iterator[str]:
    with source.stream() as raw:
        stream = utf8_stream(raw, source.head)
        while line := stream.readline(limits.line_bytes):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                note(f"{source.name} is not UTF-8 throughout: such lines were read as Latin-1.")
                text = line.decode("latin-1")
            yield text[:-2] + "\n" if text.endswith("\r\n") else text


def _delimited(source: Opened, limits: Limits, drop: Drop, note: Note, given: str) -> Iterator[Batch]:
    csv.field_size_limit(limits.string_chars)
    feed = _Feed(_decoded(source, limits, note), limits.line_bytes)
    names, delimiter = _header(feed, source, drop, note, given)
    kept = [i for i, n in enumerate(names) if n not in names[:i]]
    if len(kept) < len(names):
        note(f"{source.name} has columns of the same name: the first of each counts.")
    number, consumed, size = 0, 0, 0
    rows: list[list[str]] = []
    numbers: list[int] = []

    def batch() -> Batch:
        cells = list(zip(*rows, strict=True))
        arrays = {names[i]: pa.array(cells[i], pa.string()) for i in kept}
        return Batch(pa.table(arrays), np.array(numbers), consumed, delimiter)

    for records, problem in _records(feed, names, delimiter):
        consumed, size = consumed + feed.size, size + feed.size
        if problem is not None:
            (record,) = records
            if not record and not problem:
                continue
            if is_header(record, names):
                note(f"{source.name}: the header stands between the rows again; such lines were skipped.")
                continue
            while len(record) > len(names) and not record[-1]:
                record.pop()
            if not problem and len(record) != len(names):
                problem = f"the row has {len(record)} cells, the header has {len(names)}"
            hint = "Export it again with every text in double quotes."
            if not problem and is_total(record):
                problem, hint = "the row holds totals of the others", "Leave rows of totals out of the export."
            if problem:
                number += 1
                drop(number, problem, hint)
                continue
        rows += records
        numbers += range(number + 1, number + 1 + len(records))
        number += len(records)
        if len(rows) >= TEXT_BATCH_ROWS or size >= TEXT_BATCH_BYTES:
            yield batch()
            rows, numbers, size = [], [], 0
    if rows:
        yield batch()
    if not number:
        raise IngestError("ingest.no_rows", f"{source.name} has a header but no rows", hint="Export it again.")


def _header(feed: _Feed, source: Opened, drop: Drop, note: Note, given: str) -> tuple[list[str], str]:
    first: list[str] = []
    for line in feed:
        if line.strip():
            first.append(line)
        if len(first) > line_sniffing.LOOK_AHEAD:
            break
    if not first:
        raise IngestError("ingest.empty", f"{source.name} is empty")
    found = line_sniffing.header([line.rstrip("\n") for line in first], given)
    if found is None:
        raise IngestError("ingest.unknown_format", f"{source.name} is in no format that is known here")
    if found.above > 1:
        note(f"{found.above} lines above the header of {source.name} were skipped.")
    elif found.above:
        drop(1, "the line stands before the header", "The first line should name the columns.")
    feed.give_back(first[found.at + 1 :])
    feed.start()
    return [c or f"column_{i}" for i, c in enumerate(found.names, 1)], found.delimiter


def _records(feed: _Feed, names: list[str], delimiter: str) -> Iterator[tuple[list[list[str]], str | None]]:
    """(rows, None) for hundreds at once; where one of them is odd, ([cells], "") or ([[]], problem) for each record."""
    while True:
        feed.start()
        rows = _at_once(feed, names, delimiter)
        if not feed.record:
            return
        if rows is not None:
            yield rows, None
            continue
        feed.give_back(feed.record)
        while feed.backlog:
            feed.start()
            try:
                yield [next(csv.reader(feed, delimiter=delimiter, strict=True))], ""
            except csv.Error as error:
                too_long = "too long" in str(error) or "field larger" in str(error)
                what = "the row is too long" if too_long else "a quote in this row is never closed, or closed too early"
                yield [[]], what
                feed.recover()


def _at_once(feed: _Feed, names: list[str], delimiter: str) -> list[list[str]] | None:
    """The next rows; None where any is odd. One whose first cell ends in a figure is no total."""
    try:
        rows = list(filter(None, islice(csv.reader(feed, delimiter=delimiter, strict=True), _AT_ONCE)))
    except csv.Error:
        return None
    last = names[0][-1:]
    suspects = (row for row in rows if not row[0][-1:].isdigit() or row[0][-1] == last)
    odd = any(len(row) != len(names) for row in rows) or any(is_header(r, names) or is_total(r) for r in suspects)
    return None if odd else rows


# --- JSON ------------------------------------------------------------------------------------------------------------


def _json(source: Opened, limits: Limits, drop: Drop, note: Note) -> Iterator[Batch]:
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    size = seen = last = 0

    def left_out(number: int, reason: str, hint: str) -> None:
        nonlocal seen
        seen += 1
        drop(number, reason, hint or "Each line must be one JSON object.")

    is_row = _is_row if not is_lined(source, limits) else _is_row_of_lines
    for number, row, consumed in objects(source, limits=limits, drop=left_out, note=note, is_record=is_row):
        held = rows_of_columns(row) or [row]
        seen, size, last = seen + len(held), size + consumed - last, consumed
        rows += map(_flatten, held)
        numbers += range(number, number + len(held))
        if len(rows) >= TEXT_BATCH_ROWS or size >= TEXT_BATCH_BYTES:
            yield Batch(_columns(rows, limits), np.array(numbers), consumed)
            rows, numbers, size = [], [], 0
    if rows:
        yield Batch(_columns(rows, limits), np.array(numbers), last)
    elif not seen:
        raise IngestError("ingest.no_rows", f"{source.name} holds no rows")


def _is_row(document: dict[str, Any]) -> bool:
    """Whether a document is one row, and no envelope around a list of them."""
    return not any(isinstance(rows := document.get(n), list) and rows and isinstance(rows[0], dict) for n in ENVELOPES)


def _is_row_of_lines(document: dict[str, Any]) -> bool:
    """The same of documents that follow each other: pages of an answer hold nothing beside their rows that is known."""
    return _is_row(document) or any(known(name) for name, value in document.items() if not isinstance(value, list))


def _flatten(row: dict[str, Any]) -> dict[str, Any]:
    """One level: {"metadata": {"plan": "pro"}} -> {"metadata.plan": "pro"}."""
    if not any(type(v) is dict for v in row.values()):
        return row
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            for inner, item in value.items():
                flat.setdefault(f"{key}.{inner}", item)
        else:
            flat[key] = value
    return flat


def _columns(rows: list[dict[str, Any]], limits: Limits) -> pa.Table:
    names = list(dict.fromkeys(k for row in rows for k in row))[: limits.columns + 1]
    if not names:
        return pa.table({"": pa.nulls(len(rows))}).select([])
    return pa.table({n: _column([row.get(n) for row in rows]) for n in names})


def _column(values: list[Any]) -> pa.Array:
    """A typed column where all values agree, else text: numbers keep every digit that way."""
    kinds = {type(v) for v in values} - {type(None)} or {str}
    if len(kinds) == 1 and kinds <= {str, bool, int, float, datetime, timedelta}:
        with contextlib.suppress(OverflowError, pa.ArrowInvalid):
            return pa.array(values, pa.string() if kinds == {str} else None)
    return pa.array([_as_text(v) for v in values], pa.string())


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime | time | timedelta):
        return str(value)
    return repr(value) if type(value) in (int, float) else orjson.dumps(value).decode()


# --- workbooks -------------------------------------------------------------------------------------------------------


def _workbook(source: Opened, limits: Limits, drop: Drop, note: Note, sheet: str) -> Iterator[Batch]:
    rows = workbook.rows(source, sheet)
    first = list(islice(rows, line_sniffing.LOOK_AHEAD))
    found = workbook.header(first)
    if found is None:
        raise IngestError.told("ingest.no_header", name=source.name)
    if found.at:
        note(f"{found.at} rows above the header of {source.name} were skipped.")
    names = [n or f"column_{i}" for i, n in enumerate(found.names, 1)]
    kept = {n: i for i, n in reversed(list(enumerate(names)))}
    if len(kept) < len(names):
        note(f"{source.name} has columns of the same name: the first of each counts.")
    top = first[found.at][0]
    held: list[list[Any]] = []
    numbers: list[int] = []

    def batch() -> Batch:
        return Batch(pa.table({n: _column([row[kept[n]] for row in held]) for n in sorted(kept, key=kept.__getitem__)}),
                     np.array(numbers))  # fmt: skip

    for place, cells in chain(first[found.at + 1 :], rows):
        texts = ["" if c is None else str(c) for c in cells]
        if any(len(text) >= workbook.LONGEST for text in texts):
            note(f"Cells of {source.name} are as long as a cell can be: a spreadsheet cut the texts in them.")
        if is_header(texts, names):
            note(f"{source.name}: the header stands between the rows again; such lines were skipped.")
        elif len(cells) > len(names):
            drop(place - top, f"the row has {len(cells)} cells, the header has {len(names)}", "Mend the sheet.")
        elif is_total(texts):
            drop(place - top, "the row holds totals of the others", "Leave rows of totals out of the export.")
        else:
            held.append([*cells, *[None] * (len(names) - len(cells))])
            numbers.append(place - top)
        if len(held) >= TEXT_BATCH_ROWS:
            yield batch()
            held, numbers = [], []
    if held:
        yield batch()


# --- Parquet ---------------------------------------------------------------------------------------------------------


def _parquet(source: Opened, limits: Limits, columns: Collection[str] | None) -> Iterator[Batch]:
    try:
        yield from _parquet_batches(source, limits, columns)
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
        raise IngestError.told("ingest.bad_parquet", name=source.name) from error


def _parquet_batches(source: Opened, limits: Limits, columns: Collection[str] | None) -> Iterator[Batch]:
    schema = pq.read_schema(source.path)
    # a dictionary keeps a repeated value once: a file of 293 bytes can spell out 2 GB
    dictionaries = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
    with pq.ParquetFile(source.path, read_dictionary=dictionaries, pre_buffer=False) as file:
        total = file.metadata.num_rows
        if total > limits.rows:
            raise IngestError.told("ingest.too_many_rows", name=source.name, most=limits.rows)
        names = [n for n in dict.fromkeys(schema.names) if not n.startswith("__index_level_")]
        chosen = [n for n in names if columns is None or n in columns] or names[:1]
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        rows = max(64, min(BATCH_ROWS, TEXT_BATCH_BYTES * 2 // max(1, size // max(1, total))))
        start, decoded = 0, 0
        for batch in file.iter_batches(batch_size=rows, columns=chosen, use_threads=False):
            weight = sum(_weight(c) for c in batch.columns)
            decoded += weight
            if weight > limits.batch_bytes or decoded > limits.expanded_bytes:
                raise IngestError.told("ingest.bomb:parquet", name=source.name)
            numbers = np.arange(start + 1, start + batch.num_rows + 1)
            start += batch.num_rows
            yield Batch(pa.Table.from_batches([batch]), numbers, int((source.size or 0) * start / max(total, 1)))


def _weight(array: pa.Array) -> int:
    """Bytes of a column once its dictionary is spelled out."""
    if not pa.types.is_dictionary(array.type):
        return int(array.nbytes)
    lengths = pc.binary_length(array.dictionary)
    return int(pc.sum(lengths.take(array.indices).cast(pa.int64())).as_py() or 0)
