"""Drives a vendor's format: its records one after the other, what they mean as rows, what is wrong on the receipt."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from kpi.ingest.context import Context
from kpi.ingest.files.records import records
from kpi.ingest.files.source import SQLITE, Opened
from kpi.ingest.formats import Format, Item
from kpi.ingest.spans.collector import Intake
from kpi.ingest.spans.items import MALFORMED
from kpi.ingest.spans.record_report import Say
from kpi.mapping.mapping import Mapping


class Translation:
    """One load's reading of one format. Read every input, then finish."""

    def __init__(self, format: Format, context: Context) -> None:
        self._format, self._context = format, context
        self._intake = Intake(context)
        self._say = Say(self._intake)

    def read(self, source: Opened) -> Iterator[tuple[str, pa.Table]]:
        """(table, rows) of one input; every text redacted. IngestError when nothing in it can be read."""
        intake, context = self._intake, self._context
        if source.head.startswith(SQLITE):
            from kpi.ingest.databases import sqlite_file

            yield from self.records(sqlite_file.records(source, self._format.name, context), source.name)
            return
        intake.file = source.name
        written = context.mapping or Mapping()
        found = records(
            source, limits=context.limits, drop=self._drop, note=intake.receipt.note,
            is_record=lambda r: bool(self._format.matches(r)), texts=self._format.texts,
            delimiter=written.delimiter, sheet=written.sheet)  # fmt: skip
        yield from self._taken(found)

    def finish(self) -> Iterator[tuple[str, pa.Table]]:
        """What could be said only after the last input, and all rows that still wait."""
        intake = self._intake
        if self._format.finish is not None:
            for item in self._guarded(self._format.finish(self._say)):
                intake.take(item)
                yield from intake.full()
        yield from intake.rest()

    def records(self, found: Iterator[dict[str, Any]], name: str) -> Iterator[tuple[str, pa.Table]]:
        """(table, rows) of records that come from elsewhere than a file, such as a database."""
        self._intake.file = name
        yield from self._taken((position, record, 0) for position, record in enumerate(found, 1))

    def _taken(self, found: Iterator[tuple[int, dict[str, Any], int]]) -> Iterator[tuple[str, pa.Table]]:
        """(table, rows) of records, given with their position and the bytes consumed."""
        intake = self._intake
        for intake.position, record, consumed in found:
            intake.receipt.rows_read += 1
            if self._format.matches(record):
                for item in self._guarded(self._format.translate(record, self._say)):
                    intake.take(item)
            else:
                intake.drop(f"not a record of {self._format.title}", "It lacks the keys that identify one.")
            yield from intake.full()
            self._context.tick(consumed)

    def _guarded(self, items: Iterator[Item]) -> Iterator[Item]:
        """A record that breaks off its translation is counted; what it stated before stays."""
        try:
            yield from items
        except MALFORMED as error:
            self._intake.drop(f"malformed record ({type(error).__name__})", "A field has an unexpected type.")

    def _drop(self, position: int, reason: str, hint: str) -> None:
        self._intake.receipt.rows_read += 1
        self._intake.receipt.drop(position, reason, hint=hint, file=self._intake.file)
