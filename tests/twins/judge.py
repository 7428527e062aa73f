"""What a load gives, as the numbers that people read, and whether a twin's differences were told.

A twin is read by the same code as any load (the child's task, in this process); requests are assembled and priced as
the store does it. A difference is told where the receipt names what it concerns: an unread measure, a note, a column
left out, or rows that were dropped.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from kpi import clock, schema
from kpi.arrow_rows import to_table
from kpi.assembly.requests import assemble_all
from kpi.errors import KpiError
from kpi.ingest.limits import Limits
from kpi.ingest.sandbox import worker
from kpi.pricing.price_file import table_of

Row = dict[str, Any]
Files = Mapping[str, bytes]
KEY = b"k" * 32
EQUAL, REFUSED, SAID, SILENT, CRASHED = "equal", "refused", "said", "SILENT", "CRASHED"
_SIDES = ("documents", "tool_calls", "scores", "incidents")

# Column of a request -> how a load sums it up, and the words by which a receipt names it.
_TOKENS = r"token|usage|measure"
METRICS: dict[str, tuple[str, str]] = {
    **{c.name: ("sum", _TOKENS) for c in schema.TOKENS},
    "total_nusd": ("sum", r"cost|price|token|usd|cent|measure|model|amount|spend"),
    "total_us": ("median", r"latenc|duration|length|\bstart|\bend|elapsed"),
    "ttft_us": ("median", r"first|ttft|start time"),
    "started_at": ("distinct", r"\btime|timestamp|\bstart|date|column .ts"),
    "llm_calls": ("sum", r"call|span"),
    "tool_calls": ("sum", r"call|span|tool"),
    "tool_errors": ("sum", r"error|status|tool"),
    "error": ("true", r"error|status|fail|success"),
    "success": ("true", r"success|outcome|correct|score|status|resolved"),
    "user_key": ("distinct", r"user"),
    "session_id": ("distinct", r"session|conversation|thread"),
    "model": ("distinct", r"model"),
}
TIMES = frozenset({"total_us", "ttft_us", "started_at"})
_OF_ALL = re.compile(r"not.a.number|\bnan\b|infinit|cut off", re.IGNORECASE)  # whatever it concerns, it is less
_OTHER_READING = "under other names"  # said of a whole file
_COSTS = r"cost|price|cent|usd|spend"
_TOLD_OF_ROWS = rf"{_OTHER_READING}|left out|pending|spans"


@dataclass(frozen=True)
class Outcome:
    """What one load gave. error: code of the refusal, or what was raised.

    notes: sentences of the receipt. names: columns and measures that it lists as not read, or not as a measure.
    """

    requests: int = 0
    spans: int = 0
    rows: tuple[Row, ...] = ()
    dropped: int = 0
    notes: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    error: str = ""
    typed: bool = True


@dataclass(frozen=True)
class Difference:
    """A number that is not the clean one. word: what the receipt says of it, "" where it says nothing."""

    metric: str
    clean: Any
    twin: Any
    word: str = ""

    def __str__(self) -> str:
        return f"{self.metric} {self.clean} -> {self.twin}" + (f" ({self.word})" if self.word else "")


@dataclass(frozen=True)
class Verdict:
    """export, form: which twin. differences: all of them, told or not."""

    export: str
    form: str
    verdict: str
    differences: tuple[Difference, ...] = ()
    error: str = ""

    @property
    def silent(self) -> list[str]:
        """Metrics that differ without a word."""
        return [d.metric for d in self.differences if not d.word]

    def __str__(self) -> str:
        silent = [d for d in self.differences if not d.word] or self.differences
        return f"{self.verdict} {self.export} as {self.form}: {self.error}{'; '.join(map(str, silent))}"


@dataclass(frozen=True)
class Expected:
    """How a twin may differ by its making. gone: metrics it no longer states, which must be unknown and never 0.

    free: those that hang on what is gone. grain_us: how exactly it tells times.
    """

    gone: frozenset[str] = frozenset()
    free: frozenset[str] = frozenset()
    grain_us: int = 2


AS_IT_IS = Expected()


def load(files: Files) -> Outcome:
    """Read files as one load. Never raises: what was raised is the outcome."""
    with tempfile.TemporaryDirectory(prefix="kpi-twin-") as place:
        inputs, stage = Path(place) / "in", Path(place) / "stage"
        inputs.mkdir()
        stage.mkdir()
        for name, data in files.items():
            (inputs / name).write_bytes(data)
        job = {
            "paths": [str(inputs / name) for name in files], "directory": str(stage), "mapping": None, "allow": [],
            "key": KEY.hex(), "ids_key": KEY.hex(), "prices": "", "now_us": clock.now_us(),
            "limits": {name: getattr(Limits(), name) for name in Limits().__dataclass_fields__},
        }  # fmt: skip
        try:
            with patch.object(worker, "_send", lambda message: None):
                done = worker._TASKS["stage"](job)
            tables = {t.name: _rows(stage / t.name) for t in schema.TABLES.values()}
            return _outcome(tables, done["receipt"])
        except KpiError as error:
            return Outcome(error=error.code)
        except Exception as error:
            return Outcome(error=f"{type(error).__name__}: {error}"[:200], typed=False)


def _rows(place: Path) -> list[Row]:
    return [row for file in sorted(place.glob("*.parquet")) for row in _plain(pq.read_table(file))]


def _plain(table: pa.Table) -> list[Row]:
    """Rows with times as integer microseconds."""
    for i, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            table = table.set_column(i, column.name, table[column.name].cast(pa.int64()))
    return table.to_pylist()


def _outcome(tables: dict[str, list[Row]], receipt: Row) -> Outcome:
    spans = tables["spans"]
    rows = [*tables["requests"], *_assembled(tables)] if spans else tables["requests"]
    steps = {(s["trace_id"], s["span_id"]) for s in spans if s["kind"] not in (schema.WHOLE, None)}
    return Outcome(
        requests=len(rows), spans=len(steps), rows=tuple({m: row.get(m) for m in METRICS} for row in rows),
        dropped=receipt["dropped"], notes=frozenset(_notes(receipt)), names=frozenset(_names(receipt)),
    )  # fmt: skip


def _assembled(tables: dict[str, list[Row]]) -> list[Row]:
    owners = {s["span_id"]: s["trace_id"] for s in tables["spans"]}
    parts = {}
    for name in ("spans", *_SIDES):
        rows = tables[name]
        if name == "scores":
            for row in rows:
                row["trace_id"] = row["trace_id"] or owners.get(row["span_id"])
            rows = list({r["score_id"]: r for r in rows if r["trace_id"]}.values())
        rows = sorted(rows, key=lambda r: (str(r["trace_id"]), str(r.get("span_id"))))
        parts[name] = to_table(name, rows).to_batches() if rows else []
    return [row for table in assemble_all(**parts, prices=table_of("")) for row in _plain(table)]


def _notes(receipt: Row) -> list[str]:
    """Sentences, without their numbers: counts differ between twins that are told the same."""
    found = [*receipt["notes"], *receipt["drop_reasons"]]
    return [re.sub(r"\d+", "#", sentence) for sentence in found]


def _names(receipt: Row) -> list[str]:
    """What was left unread by name: `unread…` of the receipt, unmapped and kept out columns, cohorts."""
    unread = [item for name, held in receipt.items() if name.startswith("unread") for item in held]
    return [
        *(item if isinstance(item, str) else orjson.dumps(item).decode() for item in unread),
        *receipt["unmapped"],
        *(c["source"] for c in receipt["columns"] if c["kept_out"] or c["how"] in ("unmapped", "cohort")),
    ]


def judge(export: str, form: str, clean: Outcome, twin: Outcome, expected: Expected = AS_IT_IS) -> Verdict:
    """What became of a twin, beside what the clean export gives."""
    if twin.error:
        return Verdict(export, form, REFUSED if twin.typed else CRASHED, error=twin.error)
    found = tuple(_differences(clean, twin, expected))
    verdict = EQUAL if not found else SAID if all(d.word for d in found) else SILENT
    return Verdict(export, form, verdict, found)


def _differences(clean: Outcome, twin: Outcome, expected: Expected) -> Iterator[Difference]:
    told = _Told(clean, twin)
    for name, a, b in (("requests", clean.requests, twin.requests), ("spans", clean.spans, twin.spans)):
        if a != b and not (name == "spans" and not a):  # records of an export may be known as spans by their form alone
            yield Difference(name, a, b, told.of_rows(fewer=b < a))
    for metric, (how, _) in METRICS.items():
        if metric in expected.free:
            continue
        one, two = ([row[metric] for row in o.rows] for o in (clean, twin))
        grain = expected.grain_us if metric in TIMES else 2 if metric == "total_nusd" else 0
        if _same(one, two, grain) or (metric in expected.gone and not _known(two)):
            continue
        yield Difference(metric, _total(how, one), _total(how, two), told.of(metric, one, two, grain))


def _known(values: list[Any]) -> list[Any]:
    return [v for v in values if v is not None]


def _same(one: list[Any], two: list[Any], grain: int) -> bool:
    """Whether both have the same known values. How many are unknown is counted with the requests."""
    return len(_known(one)) == len(_known(two)) and _within(one, two, grain)


def _within(one: list[Any], two: list[Any], grain: int) -> bool:
    """Whether each value of the second is one of the first, to the grain or a millionth; none is used twice."""
    rest = sorted(_known(one))
    if not grain:
        return not Counter(_known(two)) - Counter(rest)
    at = 0
    for value in sorted(_known(two)):
        while at < len(rest) and rest[at] < value - max(grain, 1e-6 * value):
            at += 1
        if at == len(rest) or rest[at] > value + max(grain, 1e-6 * value):
            return False
        at += 1
    return True


def _total(how: str, values: list[Any]) -> Any:
    known = _known(values)
    if not known:
        return None
    if how == "distinct":
        return f"{len(set(known))} distinct of {len(known)}"
    if how == "true":
        return f"{sum(known)} of {len(known)}"
    return median(known) if how == "median" else sum(known)


class _Told:
    """What the receipt of a twin says, and that of the clean export does not."""

    def __init__(self, clean: Outcome, twin: Outcome) -> None:
        self.notes, self.names = sorted(twin.notes - clean.notes), sorted(twin.names - clean.names)
        self.dropped = max(0, twin.dropped - clean.dropped)

    @property
    def rows_dropped(self) -> str:
        return f"{self.dropped} dropped" if self.dropped else ""

    def of_rows(self, *, fewer: bool) -> str:
        return (self.rows_dropped if fewer else "") or _first(_TOLD_OF_ROWS, self.notes)

    def of(self, metric: str, one: list[Any], two: list[Any], grain: int) -> str:
        """What is said of a metric.

        A name alone, or a row left out, explains values that are missing, never others; save that a cost which was not
        read is computed, and that a request of which spans are left out may seem to fail.
        """
        how, words = METRICS[metric]
        if note := _first(_OTHER_READING, self.notes):
            return note
        within = _within(one, two, grain)
        less = within or _sum_of(two) <= _sum_of(one) + grain
        if note := _first(words, self.notes):
            return note
        if less and (note := next((n for n in self.notes if _OF_ALL.search(n)), "")):
            return note[:120]
        if self.dropped and (how == "true" or (less and (_known(two) or len(_known(one)) <= self.dropped))):
            return self.rows_dropped
        if metric == "total_nusd":
            return _first(words if within else _COSTS, self.names)
        return _first(words, self.names) if within else ""


def _sum_of(values: list[Any]) -> float:
    """Of numbers and of true values; text that differs is never less."""
    known = _known(values)
    return float("inf") if any(isinstance(v, str) for v in known) else float(sum(known))


def _first(words: str, sentences: list[str]) -> str:
    return next((s[:120] for s in sentences if re.search(words, s, re.IGNORECASE)), "")
