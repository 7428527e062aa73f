"""Reader of OpenTelemetry exports: traces and logs, as JSON, JSONL or protobuf (bare or length-framed).

Reads one message after another and yields canonical tables; a broken line or span is counted and left out, the good
ones are kept. It never assembles requests: spans of a trace may be scattered over lines, batches and files.

Logs of coding agents are gathered and become spans (`kpi.ingest.agents`). Logs of the conventions may come before,
after or without the spans they belong to. Their texts become partial `spans` rows (only the key and what the log
states, all else null): whoever merges spans must let null never overwrite a value.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from kpi.errors import IngestError
from kpi.ingest.agents.events import events_of
from kpi.ingest.agents.spans import spans_of
from kpi.ingest.context import Context
from kpi.ingest.files.json_decoding import UNLIMITED, without_deep
from kpi.ingest.files.json_documents import NO_NUMBERS, documents, lie_between
from kpi.ingest.files.line_sniffing import is_json
from kpi.ingest.files.source import Opened
from kpi.ingest.otlp.conventions import FINISH
from kpi.ingest.otlp.decode import LogRecord, Origin, Span, json_log, json_records, json_span, proto_records
from kpi.ingest.otlp.messages import REFUSAL_REASONS, last_user_text, message_of, said
from kpi.ingest.otlp.values import RECORD_LEVEL, TooDeep
from kpi.ingest.spans.collector import Intake
from kpi.ingest.spans.items import MALFORMED
from kpi.ingest.spans.span_rows import evaluation, score_row

NAME = "otlp"
_CONTENT_EVENTS = frozenset(
    {"gen_ai.client.inference.operation.details", "gen_ai.user.message", "gen_ai.choice", "gen_ai.assistant.message"}
)
_HELD = 20_000  # spans whose log messages are gathered before their rows are written
_FRAME = 4
_METRICS = frozenset({"resourceMetrics", "resource_metrics"})
_SIGNALS = frozenset({"resourceSpans", "resource_spans", "resourceLogs", "resource_logs", "batches"})


def read(source: Opened, context: Context) -> Iterator[tuple[str, pa.Table]]:
    """(table, rows) of one export; every text redacted. IngestError when nothing in the file can be read."""
    loading = _Loading(context)
    loading.file = source.name
    text = is_json(source) or lie_between(source, context.limits)
    records = _json(source, loading) if text else _protobuf(source, loading)
    for record in records:
        loading.receipt.rows_read += 1
        if isinstance(record, LogRecord):
            try:
                loading.take_log(record)
            except MALFORMED:
                loading.drop("malformed log", "An attribute has a type that no exporter writes.")
        else:
            loading.kept += 1
            loading.take(record)
        yield from loading.full()
    loading.write_held()
    if not context.more:
        loading.take_events()
    yield from loading.rest()
    if not loading.kept:
        loading.tell_nothing()


def finish(context: Context) -> Iterator[tuple[str, pa.Table]]:
    """What could be said only after the last input of a load: the events of agents, whose spans may lie in any."""
    loading = _Loading(context)
    loading.take_events()
    yield from loading.rest()


class _Loading(Intake):
    """Reading one file: beside the spans, log texts that wait for their siblings."""

    once_a_record = False  # a line holds many spans

    def bad_line(self, line: int, reason: str, hint: str) -> None:
        """Count a line, or a document that begins on it, that is no JSON."""
        if hint == "":  # it was too long to be read
            raise IngestError.told("ingest.too_large:message", most=self.context.limits.json_bytes // 2**20)
        self.position = line
        self.receipt.rows_read += 1
        self.drop(reason, hint)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._held: dict[tuple[str, str], dict[str, tuple[int, Any]]] = {}
        self._events = events_of(context)
        self.kept = 0  # records that said something
        self._counted: Counter[str] = Counter()

    def take_events(self) -> None:
        """Spans of all events of agents that were gathered."""
        for item in spans_of(self._events, self.receipt):
            self.take(item)

    def take_log(self, record: LogRecord) -> None:
        self._counted["log records"] += 1
        if self._lies_ahead("log", record.trace_id, record.at):
            return
        if record.event == "gen_ai.evaluation.result":
            if record.trace_id is None:
                self.drop("evaluation without a trace id", "It cannot be joined to a request.")
                return
            for row in evaluation(record.attributes, record.trace_id, record.span_id, record.at):
                self.kept += 1
                self.add("scores", row)
        elif self._events.take(record):
            self.kept += 1
        elif record.event in _CONTENT_EVENTS and record.trace_id and record.span_id:
            self.kept += 1
            self._hold(record)
        else:
            self.receipt.note("Log records that are neither evaluations nor messages of a span were left out.")

    def take_metrics(self) -> None:
        """A message of metrics holds no request."""
        self._counted["messages of metrics"] += 1
        self.receipt.rows_read += 1
        self.receipt.note("Messages of metrics were left out: they hold sums over requests, and no request.")

    def tell_nothing(self) -> None:
        """Say what an input held that gave nothing."""
        if self._counted:
            held = " and ".join(f"{count:,} {what}" for what, count in self._counted.items())
            self.receipt.note(f"{self.file} holds {held}, none of which is known to say anything of a request.")

    def _hold(self, record: LogRecord) -> None:
        held = self._held.setdefault((record.trace_id or "", record.span_id or ""), {})
        for field, value in _texts(record).items():
            at = record.at or 0
            # The latest statement wins; at one instant the greater text does, so that the order of lines is no matter.
            if value is not None and (field not in held or (at, str(value)) > (held[field][0], str(held[field][1]))):
                held[field] = (at, value)
        if len(self._held) >= _HELD:
            self.write_held()

    def write_held(self) -> None:
        """Partial span rows from the logs gathered so far."""
        for (trace_id, span_id), fields in self._held.items():
            if texts := {name: value for name, (_, value) in fields.items() if name != "refused"}:
                self.buffer.add("spans", {"trace_id": trace_id, "span_id": span_id, **texts})
            at, refused = fields.get("refused", (0, False))
            if refused:  # its own row: a second context for the span would take the place of the first
                told = "refusal or content filter in the span's messages"
                row = score_row(trace_id, span_id, "refused", "code", at or None, score=1.0, explanation=told)
                self.buffer.add("scores", row)
        self._held.clear()


def _texts(record: LogRecord) -> dict[str, Any]:
    """input_text, output_text and refused, as far as one log record states them."""
    body = record.body
    if record.event == "gen_ai.client.inference.operation.details":
        words = said({**(body if isinstance(body, dict) else {}), **record.attributes})
        return {"input_text": words.input, "output_text": words.output, "refused": words.refused}
    if record.event == "gen_ai.user.message":
        return {"input_text": last_user_text([message_of(body, "user")])}
    if record.event == "gen_ai.assistant.message" or not isinstance(body, dict):
        return {}  # an earlier answer given back to the model as history
    message = message_of(body.get("message"), "assistant")
    reason = body.get("finish_reason") or record.attributes.get(FINISH[0])
    refused = message.refusal or str(reason).lower() in REFUSAL_REASONS
    return {"output_text": message.text or None, "refused": refused if reason or refused else None}


def _json(source: Opened, loading: _Loading) -> Iterator[Span | LogRecord]:
    """Message after message, however they are laid out. A line may be as long as a document may be.

    How deep it is nested is looked at where attributes are decoded: the rest of a message is flat.
    """
    given = loading.context.limits
    limits = replace(given, line_bytes=given.json_bytes, json_depth=max(given.json_depth, UNLIMITED))
    good, nans = False, 0
    for line, told, consumed in documents(source, limits=limits, drop=loading.bad_line, note=loading.receipt.note):
        loading.position = line or 1
        nans += told.nans
        before = loading.receipt.dropped
        for record in _of_message(told.value, loading):
            good = True
            yield record
        del told  # before the next document is decoded, see `documents`
        good = good or loading.receipt.dropped == before
        loading.context.tick(consumed)
    if nans:
        loading.receipt.note(NO_NUMBERS.format(name=source.name, count=nans))
    if not good:
        raise IngestError.told("ingest.not_json")


def _of_message(message: Any, loading: _Loading) -> Iterator[Span | LogRecord]:
    if isinstance(message, dict) and message.keys() & _METRICS and not message.keys() & _SIGNALS:
        loading.take_metrics()
        return
    try:
        for sort, raw, resource in json_records(message):
            try:
                record = _record(sort, raw, resource, loading)
            except MALFORMED as error:
                loading.receipt.rows_read += 1
                loading.drop(str(error) if type(error) is ValueError else f"malformed {sort}")
                continue
            yield record
    except MALFORMED as error:
        loading.receipt.rows_read += 1
        loading.drop(f"not OTLP: {error}" if type(error) is ValueError else "malformed OTLP message")


def _record(sort: str, raw: Any, origin: Origin, loading: _Loading) -> Span | LogRecord:
    decoded: Callable[[Any, Origin], Span | LogRecord] = json_span if sort == "span" else json_log
    try:
        return decoded(raw, origin)
    except TooDeep as error:
        loading.receipt.note(f"What is {error} was left out of its span.")
        return decoded(without_deep(raw, loading.context.limits.json_depth - RECORD_LEVEL), origin)


def _protobuf(source: Opened, loading: _Loading) -> Iterator[Span | LogRecord]:
    """Bare message, or 4-byte big-endian length and message repeated, as the collector's file exporter writes."""
    with source.stream() as stream:
        start = stream.read(_FRAME)
        if start[:1] != b"\x00":
            loading.position = 1
            try:
                yield from proto_records(start + stream.read())
            except ValueError as error:
                raise IngestError("ingest.not_otlp", "The file is not OTLP protobuf") from error
            return
        consumed = 0
        while len(start) == _FRAME:
            loading.position += 1
            length = int.from_bytes(start, "big")
            payload = stream.read(length)
            consumed += _FRAME + len(payload)
            if len(payload) < length:
                loading.receipt.rows_read += 1
                loading.drop("last message is cut off", "The export was truncated; load it again when complete.")
                return
            try:
                yield from proto_records(payload)
            except ValueError as error:
                loading.receipt.rows_read += 1
                loading.drop(str(error))
            loading.context.tick(consumed)
            start = stream.read(_FRAME)
