"""From what a reader decoded to canonical tables: the last step that all readers of traces share.

A reader hands over spans (`decode.Span`), scores and incidents, one after the other and in any order. They
become rows, are counted on the receipt, and leave as redacted Arrow tables.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from kpi import clock, schema
from kpi.arrow_rows import RowBuffer
from kpi.ingest.context import Context
from kpi.ingest.otlp.attributes import is_pending, text_of
from kpi.ingest.otlp.decode import Span
from kpi.ingest.spans.cost_check import CostCheck
from kpi.ingest.spans.items import MALFORMED, Incident, Score
from kpi.ingest.spans.span_rows import SHORT, SpanRows, redacted, score_row, stable_id

_ONE = {"scores": "score", "incidents": "incident"}
_REMEMBERED = 1_000_000  # spans of one load in which repeats are recognised; beyond it the store's merge does it alone


class Intake:
    """The state of reading inputs of one format: rows waiting to be written, and what was seen.

    file, position: the input at hand and the 1-based line or record, for the receipt.
    """

    once_a_record = True  # whether rows are counted by the record that they come from, or each for itself

    def __init__(self, context: Context) -> None:
        self.context = context
        self.receipt = context.receipt
        self.file = ""
        self.position = 0
        self.buffer = RowBuffer()
        self.rows = SpanRows(context)
        self.costs = CostCheck(context.find_prices)
        self._latest_us = clock.latest_us(context.now_us)
        self._seen: set[int] = set()
        self._ahead: set[tuple[Any, ...]] = set()  # what of the record at hand was kept out already

    def full(self) -> Iterator[tuple[str, pa.Table]]:
        """Tables that have reached the flush size, redacted."""
        return self._redacted(self.buffer.full())

    def rest(self) -> Iterator[tuple[str, pa.Table]]:
        """Everything left, redacted; what is true of many spans goes on the receipt."""
        self.rows.seen.tell(self.receipt)
        self.costs.tell(self.receipt)
        return self._redacted(self.buffer.rest())

    def _redacted(self, found: Iterator[tuple[str, pa.Table]]) -> Iterator[tuple[str, pa.Table]]:
        for name, table in found:
            yield name, redacted(name, table, self.context)

    def drop(self, reason: str, hint: str = "") -> None:
        """Quarantine the record at hand."""
        self.receipt.drop(self.position, reason, hint=hint, file=self.file)

    def add(self, table: str, row: dict[str, Any]) -> None:
        """Keep a row, unless it says that it will happen only later."""
        at = row.get("at")  # of a span's own row the start and the end were looked at
        if at is None or not self._lies_ahead(_ONE.get(table, table), row["trace_id"], 1_000 * at):
            self.buffer.add(table, row)

    def _lies_ahead(self, what: str, trace_id: str | None, *moments: int | None) -> bool:
        """Whether one of these times (nanoseconds) lies in the future. What does is counted."""
        if not any(moment is not None and moment // 1_000 > self._latest_us for moment in moments):
            return False
        place = (self.file, self.position, what, trace_id)
        if not self.once_a_record or place not in self._ahead:
            named = self.context.privacy.text(self.context.privacy.identity(trace_id)) or ""
            self.drop(f"{what} {clock.LATER}", f"{f'Trace {named[:SHORT]}. ' if named else ''}{clock.HINT}")
        self._ahead = {p for p in self._ahead if p[:2] == place[:2]} | {place}
        return True

    def take(self, item: Span | Score | Incident) -> None:
        """Rows of one decoded item. A malformed one is counted and left out."""
        try:
            if isinstance(item, Span):
                self.context.watch(item)
                self._take_span(item)
            elif isinstance(item, Score):
                self._take_score(item)
            else:
                self._take_incident(item)
        except MALFORMED:
            self.drop(f"malformed {type(item).__name__.lower()}", "An attribute has a type that no exporter writes.")

    def _take_span(self, span: Span) -> None:
        if not span.trace_id or not span.span_id:
            self.drop("span without trace id or span id")
            return
        if self._lies_ahead("span", span.trace_id, span.start, span.end):
            return
        if is_pending(span.attributes):
            self.rows.seen.pending()
            return
        found = list(self.rows.rows(span))
        whole = found[0][1]["kind"] == schema.WHOLE
        if found[0][1]["cost_nusd"]:
            self.costs.see(found[0][1])
        self.receipt.spans += not whole
        self.receipt.repeated += self._is_repeat(span)
        for table, row in found:
            self.add(table, row)
        if span.start is not None and span.end is not None and span.end - span.start > 1_000 * clock.LONGEST_US:
            self.receipt.note("Some spans last longer than 30 days: their length is unknown.")
        if span.start is None and not whole:
            self.receipt.note(
                "Some spans have no start time: their length is unknown, and requests of such spans alone have no time."
            )

    def _is_repeat(self, span: Span) -> bool:
        """Whether a span of these ids came before in this load. It is passed on: the merge keeps the fuller one."""
        before = len(self._seen)
        if before < _REMEMBERED:
            self._seen.add(hash((span.trace_id, span.span_id)))
        return before < _REMEMBERED and len(self._seen) == before

    def _take_score(self, score: Score) -> None:
        if not score.name or not (score.trace_id or score.span_id):
            self.drop("score without a name, or without a trace or span to belong to", "It cannot be joined.")
            return
        row = score_row(
            score.trace_id, score.span_id, str(score.name), score.annotator, score.at, score=score.value,
            label=score.label, explanation=score.explanation, identifier=score.identifier, once=score.once)  # fmt: skip
        self.add("scores", row)

    def _take_incident(self, incident: Incident) -> None:
        if not incident.trace_id:
            self.drop("incident without a trace id")
            return
        category = (text_of(incident.category) or "unspecified")[:SHORT]
        detector = text_of(incident.detector)
        severity = str(incident.severity or "").lower()
        row = {
            "incident_id": stable_id("incident", incident.trace_id, incident.span_id, category, detector, incident.at),
            "trace_id": incident.trace_id, "at": incident.at // 1000 if incident.at is not None else None,
            "category": category, "severity": severity if severity in schema.SEVERITIES else None,
            "detector": detector[:SHORT] if detector else None, "state": incident.state}  # fmt: skip
        self.add("incidents", row)
