"""The canonical tables, out of `schema.toml`: every column with its type, unit and privacy class. All derive from here.

Times are UTC with microseconds; stored durations are integer microseconds (`_us`), stored money integer
nano-dollars (`_nusd`), so that sums are the same on every run and engine. Unknown is null, never 0.
A `requests` table may carry further columns that an export brought along: cohorts `x_<key>`, strings of low
cardinality, and measures `m_<key>`, numbers for metrics of a team's own. People call them by `<key>`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

Type = Literal["string", "bool", "int", "float", "time", "date"]
Privacy = Literal["id", "dimension", "measure", "content", "time"]

ARROW: dict[str, pa.DataType] = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "time": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
}

EXTRA_PREFIX, MEASURE_PREFIX = "x_", "m_"
LARGEST_MEASURE = 9e12  # in magnitude: measures are summed in millionths, as whole numbers of 64 bits
SEVERITIES = ("nit", "minor", "major", "critical")
SOURCES = ("human", "user", "code", "judge")  # in order of trust
SPAN_KINDS = (
    "llm", "embedding", "retriever", "reranker", "tool", "agent", "chain", "guardrail", "evaluator", "other",
)  # fmt: skip
WHOLE = "trace"  # kind of the `spans` row that holds what an export says of a trace as a whole; it is no span


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a canonical table."""

    name: str
    type: Type
    privacy: Privacy
    unit: str = ""
    doc: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One canonical table. key: the columns that identify a row, by which a repeated load is merged."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    def __getitem__(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)

    def arrow_schema(self, extra: Iterable[str] = ()) -> pa.Schema:
        """Arrow schema; `extra` names further columns (`x_…`, `m_…`), appended in sorted order."""
        fields = [pa.field(c.name, ARROW[c.type]) for c in self.columns]
        return pa.schema(fields + [pa.field(name, ARROW[extra_type(name)]) for name in sorted(extra)])


def _columns(names: str, type_: Type, privacy: Privacy, unit: str = "", doc: str = "") -> tuple[Column, ...]:
    return tuple(Column(name=n, type=type_, privacy=privacy, unit=unit, doc=doc) for n in names.split())


_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
_GROUPS = {name: _columns(*stated) for name, stated in _DATA["groups"].items()}
VERSIONS, COHORTS, OUTCOMES, SCORES = (_GROUPS[n] for n in ("versions", "cohorts", "outcomes", "scores"))
LATENCIES, TOKENS, COSTS, COUNTS = (_GROUPS[n] for n in ("latencies", "tokens", "costs", "counts"))


def _table(name: str, key: str, columns: list[list[Any]]) -> Table:
    held = (_GROUPS[c[0][1:]] if c[0].startswith("@") else _columns(*c) for c in columns)
    return Table(name=name, key=tuple(key.split()), columns=tuple(chain.from_iterable(held)))


TABLES: dict[str, Table] = {name: _table(name, **stated) for name, stated in _DATA["tables"].items()}
REQUESTS, SPANS, SCORE_ROWS = (TABLES[n] for n in ("requests", "spans", "scores"))


def is_extra(name: str) -> bool:
    """Whether a column of `requests` is one that an export brought along."""
    return name.startswith((EXTRA_PREFIX, MEASURE_PREFIX))


def extra_type(name: str) -> Type:
    """The type of such a column: a measure is a number, a cohort a text."""
    return "float" if name.startswith(MEASURE_PREFIX) else "string"


DIMENSIONS: tuple[str, ...] = tuple(c.name for c in (*VERSIONS, *COHORTS))


def dimension_column(name: str) -> str:
    """The physical column of a dimension as people call it: canonical names as they are, others with the prefix."""
    if name in REQUESTS.names or name.startswith(EXTRA_PREFIX):
        return name
    return EXTRA_PREFIX + name


def dimension_name(column: str) -> str:
    """Inverse of `dimension_column`: what people call a physical column.

    A cohort that an export calls like a canonical column (a table with its own `day`) or with the prefix keeps it.
    """
    name = column.removeprefix(EXTRA_PREFIX)
    return column if name in REQUESTS.names or name.startswith(EXTRA_PREFIX) else name
