"""Any table with one row a request (CSV, TSV, `;`, JSONL, JSON, Parquet) -> canonical requests, through a mapping.

Two passes: `plan` looks at every row of every table of the load and settles the mapping; `read` applies it. So the
result does not depend on the order of rows, nor on how one load is split into files. Files loaded by separate commands
are planned separately: near a threshold (50 distinct values of a cohort, 0 tokens of a whole model) they may differ.

Rows without an id get one from their content, so loading them again, shuffled or split gives the same ids; rows that
are equal in every column then count once.
"""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from kpi.errors import IngestError, MappingError
from kpi.ingest.context import Context
from kpi.ingest.files.json_documents import Drop, Note
from kpi.ingest.files.source import Opened
from kpi.ingest.files.tabular import Batch, batches
from kpi.ingest.formats import resembles
from kpi.ingest.readers.table_converter import Converter
from kpi.mapping.column_names import close_name
from kpi.mapping.column_profile import Profiler
from kpi.mapping.conventions import NOT_SURE, ORDERS, Written
from kpi.mapping.guess import guess
from kpi.mapping.mapping import UNREAD, ColumnProfile, Mapping, MappingPlan, Preview, PreviewColumn, kind_of
from kpi.mapping.totals import refuse_totals
from kpi.receipts import ColumnUse

NAME = "table"
_NESTED = "All that it holds is nested, so that no mapping can help: export spans, or one flat row a request."
_MEASURES = frozenset(["time", "bool", "status", "score", "duration", "tokens", "money", "count", "severity"])


def plan(sources: Iterable[Opened], context: Context) -> MappingPlan:
    """Look at all rows of all tables and settle the mapping; `context.mapping` overrules guesses.

    Raises IngestError when no column can be recognised, MappingError when the given mapping contradicts the data.
    """
    inputs = list(sources)
    options, saved = context.mapping or Mapping(), _decided(context.saved)
    strict = context.mapping if options.columns else None
    profiler = _looked(inputs, context, Written(), strict or saved)
    written = profiler.written(options, saved)
    if not written.is_plain:
        profiler = _looked(inputs, context, written, strict or saved)
    profiles = profiler.profiles(written)
    if strict is not None:
        strict.check_columns(p.name for p in profiles)
        _check_values(strict, profiles)
    refuse_totals(profiles)
    mapping = guess(profiles, strict or _fitting(saved, profiles), context.privacy.policy)
    kept = {name: getattr(options, name) or getattr(saved, name) for name in ("decimal", "dates")}
    return MappingPlan(mapping.said(kept), tuple(profiles), profiler.rows, profiler.uncounted_models, written.notes)


def _looked(inputs: Sequence[Opened], context: Context, written: Written, given: Mapping) -> Profiler:
    """All rows of all tables, looked at once."""
    profiler = Profiler(given, written)
    problems: list[tuple[int, str, str]] = []

    def remember_first(row: int, reason: str, hint: str) -> None:
        if not problems:
            problems.append((row, reason, hint))

    for source in inputs:
        for batch in _batches(source, context, remember_first, lambda _: None):
            profiler.semicolons |= batch.delimiter == ";"
            profiler.add(batch.table, batch.numbers)
            context.tick(batch.consumed)
    if not profiler.rows:
        row, reason, hint = problems[0] if problems else (None, "there are none", "Give one row at least.")
        raise IngestError("ingest.no_rows", f"No row could be read: {reason}", hint=hint, row=row)
    return profiler


def _batches(
    source: Opened, context: Context, drop: Drop, note: Note, columns: Collection[str] | None = None
) -> Iterator[Batch]:
    options = context.mapping or Mapping()
    return batches(
        source, limits=context.limits, drop=drop, note=note, columns=columns, delimiter=options.delimiter,
        sheet=options.sheet)  # fmt: skip


def read(source: Opened, context: Context) -> Iterator[tuple[str, pa.Table]]:
    """Yield `requests` (and `scores` where the mapping names some). Bad rows go to the receipt with their number.

    Raises IngestError `ingest.no_columns` when nothing about requests can be recognised.
    """
    settled, name = context.plan or plan([source], context), source.name
    if not _is_about_requests(settled.mapping):
        raise _no_columns(name, settled)
    _record(settled, context)
    receipt = context.receipt
    if vendor := resembles([p.name for p in settled.profiles]):
        receipt.note(
            f"The columns of {name} are those of {vendor.title} under other names: it was read as a table of "
            "one's own, a request a row. Load the export as it came."
        )
    converter = Converter(settled.mapping, settled.profiles, settled.uncounted, context, name)

    def drop(row: int, reason: str, hint: str) -> None:
        receipt.rows_read += 1
        receipt.drop(row, reason, hint=hint, file=name)

    needed = None if converter.hashes else {c.source for c in settled.mapping.columns if c.field}
    for batch in _batches(source, context, drop, receipt.note, needed):
        receipt.rows_read += batch.table.num_rows
        for canonical, table in converter.convert(batch):
            if table.num_rows:
                yield canonical, table
        context.tick(batch.consumed)
    converter.report()


def describe(sources: Sequence[Opened], context: Context, *, samples: int = 20) -> Preview:
    """The mapping as it would be used, with redacted samples of every column."""
    settled = plan(sources, context)
    by_name = {p.name: p for p in settled.profiles}
    columns = []
    for column in settled.mapping.columns:
        profile = by_name.get(column.source, ColumnProfile(column.source))
        shown = [context.privacy.text(s) or "" for s in profile.samples[:samples]]
        if column.kind == "user":
            shown = ["(replaced by a pseudonym)"]
        elif column.kept_out:
            shown = ["(not shown)"]
        held: dict[str, Any] = {"type": profile.type, "count": profile.count, "distinct": profile.distinct}
        columns.append(PreviewColumn(samples=tuple(shown), **held, **dataclasses.asdict(column)))
    notes = (*settled.notes, *context.receipt.notes)
    return Preview(format=NAME, rows=settled.rows, columns=tuple(columns), notes=notes)


def _is_about_requests(mapping: Mapping) -> bool:
    """A measure, or an id together with anything else that is known; cohorts alone could be any table."""
    known = [c for c in mapping.columns if c.field and c.how not in ("cohort", "measure")]
    return any(c.kind in _MEASURES for c in known) or (len(known) > 1 and mapping.source_of("trace_id") is not None)


def _record(settled: MappingPlan, context: Context) -> None:
    receipt = context.receipt
    filled = {p.name: p.count for p in settled.profiles}
    unread = {p.name: context.privacy.text(p.unread) for p in settled.profiles if p.unread}
    for note in settled.notes:
        receipt.note(note)
    for c in settled.mapping.columns:
        how = c.how if c.field else "unmapped"
        if c.kept_out:
            receipt.kept_out[c.source] = filled.get(c.source, 0)
        receipt.use(ColumnUse(c.source, c.field, how, unit=c.unit, note=c.why, kept_out=c.kept_out))
        if c.how == "guessed":
            receipt.note(f"Column {c.source!r} was read as {c.field} in {c.unit or 'its own unit'}: {c.why}.")
        elif not c.kept_out and how in ("cohort", "unmapped") and (meant := close_name(c.source)):
            receipt.note(f"Column {c.source!r} is not known; did you mean {meant!r}?")
        elif c.asks:
            shown = c.source in unread and c.why.startswith((UNREAD, NOT_SURE))
            example = f", such as {unread[c.source]!r}" if shown else ""
            receipt.note(f"Column {c.source!r} was left out: {c.why}{example}.")
    if settled.mapping.source_of("started_at") is None:
        receipt.note("No column holds the time of a request: nothing can be shown over time or by window.")
    if settled.mapping.source_of("trace_id") is None:
        receipt.note("No column holds an id: ids were made from the content, so rows equal in every column count once.")


def _decided(saved: Mapping | None) -> Mapping:
    """The mapping of an earlier load without what is looked at anew: the columns that it could make nothing of, and how
    numbers and dates are written, which the next file may do otherwise."""
    columns = (c for c in (saved.columns if saved else ()) if c.how != "unmapped")
    anew = (dataclasses.replace(c, decimal="", unit="auto" if c.unit in ORDERS else c.unit) for c in columns)
    return dataclasses.replace(saved or Mapping(), columns=tuple(anew))


def _fitting(saved: Mapping, profiles: Sequence[ColumnProfile]) -> Mapping:
    """What a mapping kept from an earlier load says of the columns that are here and hold what it expects."""
    present = {p.name: p for p in profiles}
    fits = [c for c in saved.columns if (p := present.get(c.source)) and (not c.field or not p.count or p.readable > 0)]
    return Mapping(tuple(fits))


def _check_values(mapping: Mapping, profiles: Sequence[ColumnProfile]) -> None:
    """A mapping set by hand must fit what the column holds."""
    for profile in profiles:
        column = mapping[profile.name]
        if column is None or column.field is None or not profile.count or profile.readable > 0:
            continue
        kind = kind_of(column.field)
        raise MappingError.told("mapping.contradiction", name=profile.name, field=column.field, kind=kind)


def _no_columns(name: str, settled: MappingPlan) -> IngestError:
    names = ", ".join(repr(p.name[:40]) for p in settled.profiles[:8])
    if asked := next((c for c in settled.mapping.columns if c.asks), None):
        reason, _, remedy = asked.why.partition("; ")
        told = f"Nothing of {name} can be read for certain: column {asked.source!r} was left out, {reason}"
        return IngestError("ingest.no_columns", told, hint=f"{remedy[:1].upper()}{remedy[1:]}.")
    flat = any(sample[:1] not in ("{", "[") for p in settled.profiles for sample in p.samples)
    remedy = f"Give a mapping for its columns: {names or 'it has none'}." if flat else _NESTED
    return IngestError.told("ingest.no_columns", name=name, remedy=remedy)
