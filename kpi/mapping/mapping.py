"""Which source column is which canonical field, in which unit: guessed from names and values, editable, kept as TOML.

A mapping is plain data. Nothing here reads a file of rows; `kpi.mapping.column_profile` looks at columns and
`kpi.ingest.readers.table` applies a mapping to them.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from kpi import schema
from kpi.disk import durable, full
from kpi.errors import MappingError
from kpi.mapping import unit_choice
from kpi.mapping.column_names import FIELDS, KIND_UNITS, SCORE_PREFIX, known, slug, words
from kpi.mapping.profile import ColumnProfile as ColumnProfile
from kpi.mapping.units import DURATION_US
from kpi.privacy.policy import Policy
from kpi.receipts import How


@dataclass(frozen=True)
class MappingPlan:
    """What the first pass settled. uncounted: models whose 0 tokens mean unknown ("" = rows without a model)."""

    mapping: Mapping
    profiles: tuple[ColumnProfile, ...]
    rows: int
    uncounted: frozenset[str]


COHORT_DISTINCT = 50
COHORT_SHARE, COHORT_MOST = 0.05, 200
COHORT_LENGTH = 64
_GUESSES = ("alias", "guessed", "cohort")
_TECHNICAL = "it repeats the status of HTTP"


@dataclass(frozen=True)
class ColumnMapping:
    """One source column. field: canonical request column, `x_<cohort>`, `score:<name>`, or None to leave it out.

    unit: see `column_names.KIND_UNITS`. decimal: "," where the column writes 1,5 for one and a half. kept_out: no
    field, to protect people; `why` says what it seems to hold.
    """

    source: str
    field: str | None
    unit: str = ""
    decimal: str = "."
    how: How = "exact"
    why: str = ""
    kept_out: bool = False

    @property
    def kind(self) -> str:
        return kind_of(self.field) if self.field else ""

    @property
    def asks(self) -> bool:
        """Whether the column is left out because it is not sure what it says; `why` names what to set."""
        return self.field is None and self.why.startswith((unit_choice.ASKED, _TECHNICAL))


@dataclass(frozen=True)
class Mapping:
    """Mappings of columns, in the order of the source. Columns it does not name are guessed.

    Args:
        columns: One `ColumnMapping` a column: source, field, unit, decimal sign.

    Raises:
        MappingError: Where two columns map to one field, or a field is not known.

    Example:
        >>> seen = kpi.preview("requests.csv")
        >>> changed = seen.mapping.replace("latency_ms", field="total_us", unit="ms")
        >>> changed.source_of("total_us").source
        'latency_ms'
    """

    columns: tuple[ColumnMapping, ...] = ()

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for column in self.columns:
            if column.field is None:
                continue
            _check(column)
            if column.field in seen and seen[column.field] != column.source:
                raise MappingError(
                    "mapping.duplicate",
                    f"Columns {_show(seen[column.field])} and {_show(column.source)} both map to {column.field}",
                    hint="Map one of them, and give the other another field or none.",
                )  # fmt: skip
            seen[column.field] = column.source

    def __getitem__(self, source: str) -> ColumnMapping | None:
        return next((c for c in self.columns if c.source == source), None)

    def source_of(self, name: str) -> ColumnMapping | None:
        """The column that is mapped to a field, or None."""
        return next((c for c in self.columns if c.field == name), None)

    def replace(self, source: str, *, field: str | None, unit: str = "", decimal: str = ".") -> Mapping:
        """The mapping with one column changed by a person. Raises MappingError."""
        changed = ColumnMapping(source, field, unit, decimal, "exact", "set by hand")
        rest = [c for c in self.columns if c.source != source]
        at = next((i for i, c in enumerate(self.columns) if c.source == source), len(rest))
        return Mapping((*rest[:at], changed, *rest[at:]))

    def check_columns(self, names: Iterable[str]) -> None:
        """Raises MappingError when a mapped column is not in the data."""
        present = list(names)
        for column in self.columns:
            if column.field is not None and column.source not in present:
                shown = ", ".join(_show(n) for n in present[:8])
                raise MappingError(
                    "mapping.no_column", f"The mapping names column {_show(column.source)}, which is not there",
                    hint=f"Columns of the file: {shown}{', …' if len(present) > 8 else ''}.",
                )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        return {"columns": [dataclasses.asdict(c) for c in self.columns]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Mapping:
        """Inverse of `to_dict`. Raises MappingError for what is not a mapping."""
        rows = data.get("columns", None if data else []) if isinstance(data, dict) else None
        if isinstance(rows, dict):  # as people write it in TOML: a table per source column
            rows = [{"source": k, **(v if isinstance(v, dict) else {"field": v})} for k, v in rows.items()]
        if not isinstance(rows, list) or not all(isinstance(r, dict) and "source" in r for r in rows):
            raise MappingError(
                "mapping.malformed", "The mapping has no table `columns`",
                hint='Write [columns."your column"] and below it field = "total_us" and unit = "ms".',
            )  # fmt: skip
        allowed = {f.name for f in dataclasses.fields(ColumnMapping)}
        for row in rows:
            if unknown := set(row) - allowed:
                raise MappingError(
                    "mapping.malformed", f"Column {_show(str(row['source']))} has the entry {_show(min(unknown))}",
                    hint=f"Known entries: {', '.join(sorted(allowed - {'source'}))}.",
                )  # fmt: skip
        return cls(tuple(ColumnMapping(**{"field": None, **row, **_no_field(row)}) for row in rows))

    def to_toml(self) -> str:
        lines = ['# source column -> canonical field and unit; field = "" leaves a column out']
        for c in self.columns:
            lines += ["", f"[columns.{_quote(c.source)}]", f"field = {_quote(c.field or '')}"]
            lines += [f"{k} = {_quote(v)}" for k, v in (("unit", c.unit), ("how", c.how), ("why", c.why)) if v]
            lines += [f"decimal = {_quote(c.decimal)}"] if c.decimal != "." else []
        return "\n".join(lines) + "\n"

    @classmethod
    def load(cls, path: Path) -> Mapping:
        """Read a mapping from TOML or JSON (by its ending). Raises MappingError."""
        try:
            text = Path(path).read_text(encoding="utf-8")
            return cls.from_dict(orjson.loads(text) if Path(path).suffix == ".json" else tomllib.loads(text))
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise MappingError(
                "mapping.malformed", f"The mapping file {_show(Path(path).name)} could not be read",
                hint="It must be TOML, or JSON with the ending .json.",
            ) from error  # fmt: skip

    def save(self, path: Path) -> None:
        """Write as TOML, or JSON where the name ends in .json."""
        as_json = Path(path).suffix == ".json"
        text = orjson.dumps(self.to_dict(), option=orjson.OPT_INDENT_2).decode() if as_json else self.to_toml()
        with full.told(full.STORING, "saving the mapping"):
            durable.write(Path(path).absolute(), text.encode())


@dataclass(frozen=True)
class PreviewColumn:
    """One row of the mapping table that people edit: a column, samples of it (redacted), and what it is taken for."""

    source: str
    type: str
    samples: tuple[str, ...]
    count: int
    distinct: int | None
    field: str | None
    unit: str
    decimal: str
    how: How
    why: str
    kept_out: bool = False


@dataclass(frozen=True)
class Preview:
    """format: slug. rows: rows seen. columns: empty for formats that need no mapping."""

    format: str
    rows: int
    columns: tuple[PreviewColumn, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

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
        return cls(**{**data, "columns": columns, "notes": tuple(data.get("notes", ()))})


def guess(columns: Sequence[ColumnProfile], given: Mapping | None = None, policy: Policy | None = None) -> Mapping:
    """Map columns by the names they go by and by what their values allow; columns that `given` names stay as given.

    Where several columns could be one field, the most telling name wins. Unmapped columns of low cardinality become
    cohorts `x_<slug>` where the policy of privacy lets them; the rest is left out. Guesses of an earlier load, which
    `given` may hold, are asked about anew.
    """
    policy = policy or Policy()
    given = _still_sure(_still_allowed(given or Mapping(), {p.name: p for p in columns}, policy), columns)
    taken = {c.field for c in given.columns if c.field}
    found: dict[str, ColumnMapping] = {c.source: c for c in given.columns}
    named = [(c, i, p) for i, p in enumerate(columns) if (c := candidate(p, policy)) is not None]
    candidates = sorted(named, key=lambda c: (c[0][2], c[1]))
    beside = dataclasses.replace(_beside(candidates, given), currency=_currency(columns))
    for (name, unit, _), _, profile in candidates:
        if profile.name in found or name in taken or not profile.count:
            continue
        choice = _unit(profile, name, unit, beside)
        if choice.asks:
            found[profile.name] = ColumnMapping(profile.name, None, "", profile.decimal, "unmapped", choice.why)
            continue
        how: How = "exact" if slug(profile.name) == name else "guessed" if "guess" in choice.why else "alias"
        how = "guessed" if choice.how else how
        found[profile.name] = ColumnMapping(profile.name, name, choice.unit, profile.decimal, how, choice.why)
        taken.add(name)
    for profile in columns:
        if profile.name not in found:
            found[profile.name] = _leftover(profile, taken, policy)
    return Mapping(tuple(found[p.name] for p in columns if p.name in found))


def _still_allowed(given: Mapping, present: dict[str, ColumnProfile], policy: Policy) -> Mapping:
    """What was given, without guesses that the policy refuses for the values of today, and without what it refused."""
    kept = []
    for column in given.columns:
        profile = present.get(column.source)
        refused = column.kept_out or (
            column.field is None and column.how != "exact" and policy.asked_for(column.source)
        )
        if profile is not None and column.how in _GUESSES:
            told = policy.column(profile) if column.how == "cohort" else policy.known(profile, column.kind)
            refused = refused or bool(told)
        if not refused:
            kept.append(column)
    return Mapping(tuple(kept))


def mapping_fields(preview: Preview) -> dict[str, tuple[str, ...]]:
    """What a column of a previewed file may be mapped to: field -> its units, none where it has no choice."""
    cohorts = {schema.EXTRA_PREFIX + slug(c.source): () for c in preview.columns}
    return {name: tuple(KIND_UNITS[kind]) for name, kind in FIELDS.items()} | cohorts


def candidate(profile: ColumnProfile, policy: Policy | None = None) -> tuple[str, str, int] | None:
    """(field, unit from the name, rank) that a column may be, or None; its values must be readable as that field, and
    the policy must not know better."""
    named = (profile.name, "", -1) if profile.name in FIELDS else known(profile.name)
    if named is None:
        return None
    name, unit, rank = named
    if policy is not None and policy.known(profile, kind_of(name)):
        return None
    if name == "error" and profile.readable < 0.5:  # a text: its kind, or its message
        name = "error_type" if _is_short(profile) else "error_message"
    elif profile.readable < 0.5 or (name == "trace_id" and rank > 1 and _repeats(profile)):
        return None
    return name, unit, rank


Candidates = Sequence[tuple[tuple[str, str, int], int, ColumnProfile]]


def _beside(candidates: Candidates, given: Mapping) -> unit_choice.Beside:
    """What the columns may be, and how long the requests are in all where that is sure."""
    fields = frozenset({c[0][0] for c in candidates} | {c.field for c in given.columns if c.field})
    profiles = {p.name: (name, unit, p) for (name, unit, _), _, p in candidates}
    stated = given.source_of("total_us")
    total = (
        stated.source if stated else next((n for n, (f, _, p) in profiles.items() if f == "total_us" and p.count), "")
    )
    if total not in profiles:
        return unit_choice.Beside(fields)
    _, named, profile = profiles[total]
    choice = _unit(profile, "total_us", named, unit_choice.Beside(fields))
    unit = stated.unit if stated else choice.unit
    return unit_choice.Beside(
        fields, profile.usual * DURATION_US[unit] if profile.usual and unit in DURATION_US else None
    )


def _currency(columns: Sequence[ColumnProfile]) -> str:
    """The currencies other than USD that a column of that name holds, by their codes alone; "" for none."""
    stated = next((p.values for p in columns if words(p.name)[-1:] == ["currency"]), ())
    others = [v.upper() for v in stated if v.lower() not in ("usd", "us$", "$", "dollar", "dollars")]
    codes = sorted({v for v in others if len(v) == 3 and v.isalpha()})
    return ", ".join(codes[:3]) or ("another currency" if others else "")


def _still_sure(given: Mapping, columns: Sequence[ColumnProfile]) -> Mapping:
    """What was given, without the units that were guessed or told by a name once and that these rows contradict."""
    profiles = {p.name: p for p in columns}
    kept = []
    for column in given.columns:
        profile = profiles.get(column.source)
        if profile and column.how in ("alias", "guessed") and column.field and column.kind in ("duration", "money"):
            choice = _unit(profile, column.field, column.unit, unit_choice.Beside())
            if choice.unit != column.unit:
                continue
        kept.append(column)
    return Mapping(tuple(kept))


def _unit(profile: ColumnProfile, name: str, unit: str, beside: unit_choice.Beside) -> unit_choice.Choice:
    kind = kind_of(name)
    if kind in ("duration", "money") and profile.name == name:
        return unit_choice.Choice("us" if kind == "duration" else "nano_usd" if name.endswith("_nusd") else "usd",
                                  "named as in the canonical table")  # fmt: skip
    if kind == "duration":
        return unit_choice.duration(profile, name, unit, beside)
    if kind == "money":
        return unit_choice.money(profile, name, unit, beside)
    if name == "success" and profile.technical:
        told = f'{_TECHNICAL}, which is no success of a task; set field = "success" for it in a mapping if it is one'
        return unit_choice.Choice("", told, asks=True)
    if kind == "score":
        return unit_choice.Choice(*_scale(profile))
    if kind == "time":
        if profile.dayfirst is not None:
            return unit_choice.Choice("day/month" if profile.dayfirst else "month/day", "guessed from a value over 12")
        return unit_choice.Choice(unit or "auto", "name")
    return unit_choice.Choice(kind if kind in ("tokens", "count") else "", "name")


def _scale(profile: ColumnProfile) -> tuple[str, str]:
    if profile.high is None or profile.low is None:
        return "words", "words such as up and down, or true and false"
    for low, high, name in ((0, 1, "0-1"), (-1, 1, "-1-1"), (1, 5, "1-5"), (0, 10, "0-10"), (0, 100, "0-100")):
        if low <= profile.low and profile.high <= high:
            return name, "" if name == "0-1" else f"guessed {name}: values lie in {profile.low:g} to {profile.high:g}"
    return "0-100", f"guessed 0-100: values lie in {profile.low:g} to {profile.high:g}"


def _leftover(profile: ColumnProfile, taken: set[str], policy: Policy) -> ColumnMapping:
    name = schema.EXTRA_PREFIX + slug(profile.name)
    if profile.count and policy.asked_for(profile.name) and name not in taken:
        taken.add(name)
        return ColumnMapping(profile.name, name, "", ".", "cohort", "kept because it was asked for")
    if profile.count and (told := policy.column(profile) or policy.known(profile, "dimension")):
        return ColumnMapping(profile.name, None, "", ".", "unmapped", told, True)
    if is_cohort(profile) and name not in taken:
        taken.add(name)
        return ColumnMapping(profile.name, name, "", ".", "cohort", f"{profile.distinct} different values")
    if not profile.count:
        return ColumnMapping(profile.name, None, "", ".", "unmapped", "no values")
    many = "more than 200" if profile.distinct is None else str(profile.distinct)
    return ColumnMapping(profile.name, None, "", ".", "unmapped", f"unknown name, {many} different values")


def is_cohort(profile: ColumnProfile) -> bool:
    """Few, short values that are no identifiers, measures or free text."""
    if not profile.distinct or profile.longest > COHORT_LENGTH:
        return False
    if profile.type == "float" or (profile.type == "number" and not profile.whole):
        return False
    if profile.count > 20 and profile.distinct > 0.5 * profile.count:
        return False
    if any(v.count(" ") > 5 or v[:1] in "[{" for v in profile.values):
        return False
    return profile.distinct <= COHORT_DISTINCT or (
        profile.distinct <= COHORT_SHARE * profile.count
        and profile.type != "number"
        and profile.distinct <= COHORT_MOST
    )


def _repeats(profile: ColumnProfile) -> bool:
    """A column called `id` that repeats its values is the id of something else."""
    return profile.distinct is not None and profile.distinct < 0.5 * profile.count


def _is_short(profile: ColumnProfile) -> bool:
    return profile.distinct is not None and profile.longest <= 2 * COHORT_LENGTH


def kind_of(name: str) -> str:
    """The kind of a field: a key of KIND_UNITS, or "" for an unknown field."""
    if name.startswith(SCORE_PREFIX):
        return "score"
    return FIELDS.get(name, "dimension" if name.startswith(schema.EXTRA_PREFIX) else "")


def _check(column: ColumnMapping) -> None:
    kind = column.kind
    if not kind:
        raise MappingError(
            "mapping.unknown_field", f"Column {_show(column.source)} is mapped to {_show(str(column.field))}, no field",
            hint=f"Expected x_<cohort>, score:<name> or one of {', '.join(sorted(FIELDS))}.",
        )  # fmt: skip
    units = KIND_UNITS[kind]
    if column.unit and column.unit not in units:
        raise MappingError(
            "mapping.unknown_unit", f"Column {_show(column.source)} has the unit {_show(column.unit)}",
            hint=f"Expected for {column.field}: {', '.join(u for u in units if u) or 'no unit'}.",
        )  # fmt: skip
    if column.decimal not in (".", ","):
        raise MappingError("mapping.malformed", f"Column {_show(column.source)}: decimal must be a dot or a comma")


def _no_field(row: dict[str, Any]) -> dict[str, Any]:
    return {"field": row.get("field") or None}


def _quote(text: str) -> str:
    return orjson.dumps(text.encode("utf-8", "replace").decode()).decode().replace("\x7f", "\\u007f")


def _show(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
