"""Which source column is which canonical field, in which unit: editable, kept as TOML.

A mapping is plain data. Nothing here reads a file of rows; `kpi.mapping.column_profile` looks at columns,
`kpi.mapping.guess` maps what nobody has mapped, and `kpi.ingest.readers.table` applies a mapping.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from kpi import schema
from kpi.disk import durable, full
from kpi.errors import MappingError
from kpi.mapping import conventions, unit_choice
from kpi.mapping.column_names import FIELDS, KIND_UNITS, SCORE_PREFIX, slug
from kpi.mapping.profile import ColumnProfile as ColumnProfile
from kpi.receipts import How

TECHNICAL = "it repeats the status of HTTP"
UNREAD, TIMES = "it is named as", "it holds times"
CALLED = "called so by hand"  # of a column with that name: what it holds and in which unit, its values tell
OPTIONS = ("decimal", "dates", "delimiter", "sheet")  # how a file is written, where a person says so


@dataclass(frozen=True)
class MappingPlan:
    """What the first pass settled. uncounted: models whose 0 tokens mean unknown ("" = rows without a model). notes:
    how numbers and dates are read, and what shows it."""

    mapping: Mapping
    profiles: tuple[ColumnProfile, ...]
    rows: int
    uncounted: frozenset[str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ColumnMapping:
    """One source column. field: canonical request column, `x_<cohort>`, `m_<number>`, `score:<name>`; None: left out.

    unit: see `column_names.KIND_UNITS`. decimal: "," where the column writes 1,5 for one and a half, "" where the file
    tells. kept_out: no field, to protect people; `why` says what it seems to hold.
    """

    source: str
    field: str | None
    unit: str = ""
    decimal: str = ""
    how: How = "exact"
    why: str = ""
    kept_out: bool = False

    @property
    def kind(self) -> str:
        return kind_of(self.field) if self.field else ""

    @property
    def asks(self) -> bool:
        """Whether the column is left out because it is not sure what it says; `why` names what to set."""
        return self.field is None and self.why.startswith(
            (unit_choice.ASKED, TECHNICAL, conventions.NOT_SURE, UNREAD, TIMES)
        )


@dataclass(frozen=True)
class Mapping:
    """Mappings of columns, in the order of the source. Columns it does not name are guessed.

    Args:
        columns: One `ColumnMapping` a column: source, field, unit, decimal sign.
        decimal: The decimal mark of the file, "." or ","; like the rest, "" lets the file tell.
        dates: `day/month`, `month/day` or `year/month`: which comes first in dates such as 01/02/26.
        delimiter: What parts the cells of a CSV.
        sheet: The sheet of a workbook that is read.

    Raises:
        MappingError: Where two columns map to one field, or a field is not known.

    Example:
        >>> seen = kpi.preview("requests.csv")
        >>> changed = seen.mapping.replace("latency_ms", field="total_us", unit="ms")
        >>> changed.source_of("total_us").source
        'latency_ms'
    """

    columns: tuple[ColumnMapping, ...] = ()
    decimal: str = ""
    dates: str = ""
    delimiter: str = ""
    sheet: str = ""

    def __post_init__(self) -> None:
        _check_options(self)
        seen: dict[str, str] = {}
        for column in self.columns:
            if column.field is None:
                continue
            _check(column)
            if column.field in seen and seen[column.field] != column.source:
                first, second = _show(seen[column.field]), _show(column.source)
                raise MappingError.told("mapping.duplicate", first=first, second=second, field=column.field)
            seen[column.field] = column.source

    def __getitem__(self, source: str) -> ColumnMapping | None:
        return next((c for c in self.columns if c.source == source), None)

    def source_of(self, name: str) -> ColumnMapping | None:
        """The column that is mapped to a field, or None."""
        return next((c for c in self.columns if c.field == name), None)

    def replace(self, source: str, *, field: str | None, unit: str = "", decimal: str = "") -> Mapping:
        """The mapping with one column changed by a person. Raises MappingError."""
        changed = ColumnMapping(source, field, unit, decimal, "exact", "set by hand")
        columns = {c.source: c for c in self.columns} | {source: changed}
        return dataclasses.replace(self, columns=tuple(columns.values()))

    def said(self, options: dict[str, str]) -> Mapping:
        """The mapping with what a person says of how the file is written; what is empty changes nothing."""
        return Mapping(self.columns, **{**self.options, **{name: value for name, value in options.items() if value}})

    def check_columns(self, names: Iterable[str]) -> None:
        """Raises MappingError when a mapped column is not in the data."""
        present = list(names)
        for column in self.columns:
            if column.field is not None and column.source not in present:
                shown = ", ".join(_show(n) for n in present[:8]) + (", …" if len(present) > 8 else "")
                raise MappingError.told("mapping.no_column", column=_show(column.source), present=shown)

    def to_dict(self) -> dict[str, Any]:
        return {"columns": [dataclasses.asdict(c) for c in self.columns], **self.options}

    @property
    def options(self) -> dict[str, str]:
        """How the file is written, as far as somebody said so."""
        return {name: value for name in OPTIONS if (value := getattr(self, name))}

    @property
    def tells(self) -> bool:
        """Whether any column is a time, an outcome, a cost or another number that KPIs are made of."""
        return any(c.field and c.kind not in ("id", "user", "dimension", "content", "measure") for c in self.columns)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Mapping:
        """Inverse of `to_dict`. Raises MappingError for what is not a mapping."""
        is_one = isinstance(data, dict) and ("columns" in data or set(data) <= {*OPTIONS, "check"})
        rows = data.get("columns", []) if is_one else None
        if isinstance(rows, dict):  # as people write it in TOML: a table per source column
            rows = [{"source": k, **(v if isinstance(v, dict) else {"field": v})} for k, v in rows.items()]
        if not isinstance(rows, list) or not all(isinstance(r, dict) and "source" in r for r in rows):
            raise MappingError.told("mapping.malformed:columns")
        allowed = {f.name for f in dataclasses.fields(ColumnMapping)}
        for row in rows:
            if unknown := set(row) - allowed:
                column, known = _show(str(row["source"])), ", ".join(sorted(allowed - {"source"}))
                raise MappingError.told(
                    "mapping.malformed:entry", column=column, entry=_show(min(unknown)), known=known
                )
        columns = tuple(ColumnMapping(**{**row, "field": row.get("field") or None}) for row in rows)
        return cls(columns, **{name: str(data[name]) for name in OPTIONS if name in data})

    def to_toml(self) -> str:
        lines = ['# source column -> canonical field and unit; field = "" leaves a column out']
        lines += [f"{name} = {_quote(value)}" for name, value in self.options.items()]
        for c in self.columns:
            lines += ["", f"[columns.{_quote(c.source)}]", f"field = {_quote(c.field or '')}"]
            told = {"unit": c.unit, "how": c.how, "why": c.why, "decimal": c.decimal}
            lines += [f"{name} = {_quote(value)}" for name, value in told.items() if value]
        return "\n".join(lines) + "\n"

    @classmethod
    def load(cls, path: Path) -> Mapping:
        """Read a mapping from TOML or JSON (by its ending). Raises MappingError."""
        try:
            text = Path(path).read_text(encoding="utf-8")
            return cls.from_dict(orjson.loads(text) if Path(path).suffix == ".json" else tomllib.loads(text))
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise MappingError.told("mapping.malformed:file", name=_show(Path(path).name)) from error

    def save(self, path: Path) -> None:
        """Write as TOML, or JSON where the name ends in .json."""
        as_json = Path(path).suffix == ".json"
        text = orjson.dumps(self.to_dict(), option=orjson.OPT_INDENT_2).decode() if as_json else self.to_toml()
        with full.told(full.STORING, "saving the mapping"):
            durable.write(Path(path).absolute(), text.encode())


@dataclass(frozen=True, kw_only=True)
class PreviewColumn(ColumnMapping):
    """One row of the mapping table that people edit: a column, samples of it (redacted), and what it is taken for."""

    type: str
    samples: tuple[str, ...]
    count: int
    distinct: int | None


@dataclass(frozen=True)
class Preview:
    """format: slug. rows: rows seen. columns: empty for formats that need no mapping. sheets: of a workbook, of which
    one must be named first."""

    format: str
    rows: int
    columns: tuple[PreviewColumn, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    sheets: tuple[str, ...] = field(default=())

    @property
    def mapping(self) -> Mapping:
        return Mapping(
            tuple(ColumnMapping(c.source, c.field, c.unit, c.decimal, c.how, c.why, c.kept_out) for c in self.columns)
        )

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Preview:
        columns = tuple(PreviewColumn(**{**c, "samples": tuple(c["samples"])}) for c in data["columns"])
        return cls(**{**data, "columns": columns, "notes": tuple(data.get("notes", ())),
                      "sheets": tuple(data.get("sheets", ()))})  # fmt: skip


def mapping_fields(preview: Preview) -> dict[str, tuple[str, ...]]:
    """What a column of a previewed file may be mapped to: field -> its units, none where it has no choice."""
    prefixes = (schema.EXTRA_PREFIX, schema.MEASURE_PREFIX)
    own = {prefix + slug(c.source): () for c in preview.columns for prefix in prefixes}
    own |= {c.field: () for c in preview.columns if c.how in ("cohort", "measure") and c.field}
    return {name: tuple(KIND_UNITS[kind]) for name, kind in FIELDS.items()} | own


def kind_of(name: str) -> str:
    """The kind of a field: a key of KIND_UNITS, or "" for an unknown field."""
    if name.startswith(SCORE_PREFIX):
        return "score"
    if name.startswith(schema.MEASURE_PREFIX):
        return "measure"
    return FIELDS.get(name, "dimension" if name.startswith(schema.EXTRA_PREFIX) else "")


def _check(column: ColumnMapping) -> None:
    kind, shown = column.kind, _show(column.source)
    if not kind:
        raise MappingError.told(
            "mapping.unknown_field", column=shown, field=_show(str(column.field)), fields=", ".join(sorted(FIELDS))
        )
    units = KIND_UNITS[kind]
    if column.unit and column.unit not in units:
        told = ", ".join(filter(None, units)) or "no unit"
        raise MappingError.told(
            "mapping.unknown_unit", column=shown, unit=_show(column.unit), field=column.field, units=told
        )
    if column.decimal not in ("", ".", ","):
        raise MappingError("mapping.malformed", f"Column {shown}: decimal must be a dot or a comma")


def _check_options(mapping: Mapping) -> None:
    allowed = {"decimal": (".", ","), "dates": tuple(conventions.ORDERS)}
    for name, value in mapping.options.items():
        if (name in allowed and value not in allowed[name]) or (name == "delimiter" and len(value) != 1):
            expected = " or ".join(map(repr, allowed.get(name, ("one character",))))
            raise MappingError.told("mapping.malformed:option", name=name, value=_show(value), expected=expected)


def _quote(text: str) -> str:
    return orjson.dumps(text.encode("utf-8", "replace").decode()).decode().replace("\x7f", "\\u007f")


def _show(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
