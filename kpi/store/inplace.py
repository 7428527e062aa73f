"""A table of a database as the canonical table: which expression of its columns each canonical column is.

Either the table is canonical itself (columns by their names, checked), or a mapping says what its columns mean (the
grammar of files, `kpi.mapping.mapping`). Nothing is copied: what comes out are expressions of one SELECT. Numbers that
cannot be true (negative, over the limits of a load) are unknown. Columns that are neither canonical nor mapped stay
unseen, and so do cohorts whose name points at people. User ids cannot be replaced by keyed pseudonyms in an engine:
they group, and are never shown.
"""

from collections.abc import Mapping
from typing import Any, Literal

import sqlalchemy as sa

from kpi import schema
from kpi.assembly.span_costs import PARTS
from kpi.clock import LONGEST_US
from kpi.disk.tables import table_of
from kpi.errors import MappingError
from kpi.mapping.column_names import SCORE_PREFIX
from kpi.mapping.conventions import ORDERS
from kpi.mapping.mapping import ColumnMapping, Mapping as ColumnMappings
from kpi.mapping.parse_values import FALSE_WORDS, MINUS, TRUE_WORDS
from kpi.mapping.units import DEAREST_NUSD, DURATION_US, MONEY_NUSD, MOST_TOKENS, SCALES
from kpi.privacy import identifying_names
from kpi.store.dialects import Dialect, times
from kpi.store.expressions import DOUBLE, INT, TEXT, Expression, null, only, text_of, whole

Held = Literal["string", "bool", "int", "float", "time", "naive", "date", "named", "interval", "money", "other"]
SQL_TYPES: dict[Held, sa.types.TypeEngine[Any]] = {
    "string": TEXT, "bool": sa.Boolean(), "int": INT, "float": DOUBLE, "time": sa.DateTime(timezone=True),
    "naive": sa.DateTime(), "date": sa.Date(), "named": sa.types.NULLTYPE,
    "interval": sa.types.NULLTYPE, "money": sa.types.NULLTYPE, "other": sa.types.NULLTYPE}  # fmt: skip
_WORDS = table_of(__file__)
_NUMBERS = ("int", "float")


def canonical(
    table: schema.Table, held: Mapping[str, Held], place: sa.FromClause, dialect: Dialect
) -> dict[str, Expression]:
    """Canonical column -> expression, for a table that is canonical by its names. Raises `mapping.wrong_type`."""
    found: dict[str, Expression] = {}
    for name, declared in held.items():
        cell, kind = plain(place.c[name], declared)
        extra = table.name == "requests" and schema.is_extra(name)
        if (name not in table.names and not extra) or name == "day":  # the partition of the lake, not a fact
            continue
        if extra and identifying_names.reason_of(name):  # who wants it as a cohort says so in a mapping
            continue
        wanted = schema.extra_type(name) if extra else table[name].type
        made = _fit(cell, kind, wanted, dialect, plain=name in table.key)
        if made is None:
            raise _wrong_type(name, kind, name, _WORDS["wanted"][wanted])
        found[name] = made
    return found


def plain(cell: Expression, held: Held) -> tuple[Expression, Held]:
    """A column of a type of its own as one that compares and adds up, and what that holds."""
    if held == "named":
        return sa.cast(cell, TEXT), "string"
    if held == "interval":
        return sa.cast(sa.extract("epoch", cell), DOUBLE), "float"
    return (sa.cast(sa.cast(cell, sa.Numeric()), DOUBLE), "float") if held == "money" else (cell, held)


def is_time(held: Held, dialect: Dialect) -> bool:
    """Whether a column holds times of which some may be infinite, which no driver can read."""
    return dialect.has_infinity and held in ("time", "naive", "date")


def finite(cell: Expression, held: Held, dialect: Dialect) -> Expression:
    """The column, with infinite times as unknown."""
    return sa.case((sa.func.isfinite(cell), cell)) if is_time(held, dialect) else cell


def _fit(column: Expression, held: Held, wanted: str, dialect: Dialect, *, plain: bool) -> Expression | None:
    """The column as its canonical type; None when it cannot be. plain: keep an index on a text usable."""
    if wanted == "string":
        return column if held == "string" and plain else _text(column, held, dialect)
    if wanted == "time":
        return _time(column, held, "auto", dialect)
    if wanted == "bool":
        return _boolean(column, held, "")
    if held == "bool":
        return _flag(column)
    if held not in _NUMBERS:
        return None
    if wanted == "float":
        return column if held == "float" else sa.cast(column, DOUBLE)
    return column if held == "int" else sa.cast(sa.func.round(column), INT)


def mapped(
    mapping: ColumnMappings, held: Mapping[str, Held], place: sa.FromClause, dialect: Dialect
) -> dict[str, Expression]:
    """Canonical column -> expression, for `requests` whose columns a mapping explains. Raises MappingError."""
    mapping.check_columns(held)
    given: dict[str, Expression] = {}
    for column in mapping.columns:
        if column.field is not None:
            given[column.field] = convert(column, place.c[column.source], held[column.source], dialect)
    if "trace_id" not in given:
        raise MappingError.told("mapping.no_id")
    _derive(given)
    return given


def supported(column: ColumnMapping) -> bool:
    """Whether a mapped column can be read in place; the others need the rows to be loaded."""
    name = str(column.field)
    worded = column.unit in ORDERS or column.decimal == ","
    return not (name.startswith(SCORE_PREFIX) or name in ("ended_at", "error_message") or worded)


def convert(column: ColumnMapping, cell: Expression, held: Held, dialect: Dialect) -> Expression:
    """A column as the field it is mapped to. Raises MappingError that names it where it cannot be."""
    kind, name = column.kind, str(column.field)
    length = held == "interval"
    cell, held = plain(cell, held)
    if not supported(column) or (column.unit == "in cells" and not length):
        raise MappingError.told("mapping.not_in_place", source=column.source, name=name)
    made: Expression | None
    if kind in ("id", "dimension", "content", "user"):
        return _text(cell, held, dialect)
    if kind == "severity":
        words = sa.func.lower(_text(cell, held, dialect))
        return only(words.in_(schema.SEVERITIES), words, TEXT)
    if kind == "time":
        made = _time(cell, held, column.unit or "auto", dialect)
        wanted = "times, or epochs with their unit s, ms, us or ns"
    elif kind == "bool":
        made, wanted = _boolean(cell, held, column.unit), "booleans, 0 and 1, or words such as yes and no"
    elif kind == "status":
        made = (cell >= whole(400)) if held in _NUMBERS else _boolean(cell, held, "inverted")
        wanted = "HTTP codes, booleans that say ok, or words such as ok and error"
    elif kind == "score" and column.unit == "words":
        told = _boolean(cell, held, "")
        made, wanted = None if told is None else sa.cast(_flag(told), DOUBLE), "words such as up and down"
    else:
        made, wanted = _number(column, cell, held, length), f"numbers in {column.unit or 'the unit of the field'}"
    if made is None:
        raise _wrong_type(column.source, held, name, wanted)
    return made


def _text(cell: Expression, held: Held, dialect: Dialect) -> Expression:
    """Any scalar as text; the empty text is unknown."""
    if held == "bool":
        return sa.case((cell, text_of("true")), (sa.not_(cell), text_of("false")), else_=null(TEXT))
    words = dialect.text(cell if held == "string" else sa.cast(cell, TEXT))
    return sa.func.nullif(words, text_of(""), type_=TEXT)


def _time(cell: Expression, held: Held, unit: str, dialect: Dialect) -> Expression | None:
    if held == "time":
        return cell if dialect.keeps_moments else dialect.utc(cell)
    if held in ("naive", "date"):
        return dialect.utc(cell if held == "naive" else sa.cast(cell, sa.DateTime()))
    if held in _NUMBERS and unit not in ("s", "ms", "us", "ns"):
        return None if dialect.keeps_moments else dialect.utc(cell)
    if held in _NUMBERS:
        return dialect.epoch(cell, unit)
    return dialect.parsed(cell) if held == "string" and unit == "auto" else None


def _boolean(cell: Expression, held: Held, unit: str) -> Expression | None:
    if held == "bool":
        found = cell
    elif held in _NUMBERS:
        found = cell != whole(0)
    elif held == "string":
        words = sa.func.lower(sa.func.trim(cell))
        yes, no = (text_of(w) for w in ("yes", "no"))
        told = sa.case(
            (words.in_([text_of(w) for w in sorted(TRUE_WORDS | ({"-1"} if unit == MINUS else set()))]), yes),
            (words.in_([text_of(w) for w in sorted(FALSE_WORDS)]), no),
        )
        found = told == yes
    else:
        return None
    return sa.not_(found) if unit == "inverted" else found


def _flag(condition: Expression) -> Expression:
    return sa.case((condition, whole(1)), (sa.not_(condition), whole(0)), else_=null())


def _number(column: ColumnMapping, cell: Expression, held: Held, length: bool) -> Expression | None:
    kind = column.kind
    if held == "bool" and kind == "count":
        return _flag(cell)
    if held not in _NUMBERS:
        return None
    if kind == "measure":
        most = schema.LARGEST_MEASURE
        return _within(cell, -most, most, sa.cast(cell, DOUBLE), DOUBLE)
    if kind == "score":
        low, high = SCALES.get(column.unit, (0.0, 1.0))
        share = times(cell, 1 / (high - low)) - sa.cast(sa.literal_column(repr(low / (high - low)), DOUBLE), DOUBLE)
        return _within(cell, low, high, share, DOUBLE)
    if kind == "duration":
        factor, most = DURATION_US["s" if length else column.unit or "us"], float(LONGEST_US)
    elif kind == "money":
        factor, most = MONEY_NUSD[column.unit or "usd"], DEAREST_NUSD
    else:
        factor, most = 1.0, MOST_TOKENS
    if held == "int" and factor >= 1:  # whole numbers stay whole: no digit of a nano-dollar is lost
        return _within(cell, 0, most / factor, cell * whole(int(factor)) if factor > 1 else cell, INT)
    return _within(cell, 0, most / factor, sa.cast(sa.func.round(times(cell, factor)), INT), INT)


def _within(cell: Expression, low: float, high: float, value: Expression, kind: sa.types.TypeEngine[Any]) -> Expression:
    """The value where the cell lies in [low, high], else unknown: no sum is poisoned by one absurd row."""
    limits = [sa.cast(sa.literal_column(repr(float(v)), DOUBLE), DOUBLE) for v in (low, high)]
    inside = sa.and_(cell >= limits[0], cell <= limits[1])
    return only(inside, value, kind)


def _derive(given: dict[str, Expression]) -> None:
    """What follows from the fields, as when rows are loaded: errors, sums of costs, whether a price is known."""
    told = [given.pop(f) for f in ("status",) if f in given]
    known = [*([given["error"]] if "error" in given else []), *told]
    if "error_type" in given:
        known.append(given["error_type"].is_not(None))
    if known:
        given["error"] = sa.func.coalesce(*known, type_=sa.Boolean()) if len(known) > 1 else known[0]
    halves = [given.pop(f) for f in ("input_cost", "output_cost") if f in given]
    if halves and "inference_nusd" not in given:
        given["inference_nusd"] = _sum(halves)
    parts = [given[p] for p in PARTS if p in given]
    if parts:
        both = [*([given["total_nusd"]] if "total_nusd" in given else []), _sum(parts)]
        given["total_nusd"] = sa.func.coalesce(*both, type_=INT) if len(both) > 1 else both[0]
    elif "total_nusd" in given:
        given["inference_nusd"] = given["total_nusd"]
    tokens = [given[t] for t in ("input_tokens", "output_tokens") if t in given]
    priced: list[Any] = [(given["total_nusd"].is_not(None), sa.true())] if "total_nusd" in given else []
    if tokens:
        priced.append((_sum(tokens) > whole(0), sa.false()))
    if priced:
        given["priced"] = sa.case(*priced, else_=sa.null())


def _sum(columns: list[Expression]) -> Expression:
    """Sum of what is known, unknown where nothing is."""
    if len(columns) == 1:
        return columns[0]
    total = sum((sa.func.coalesce(c, whole(0), type_=INT) for c in columns[1:]), sa.func.coalesce(columns[0], whole(0)))
    known = sa.or_(*(c.is_not(None) for c in columns))
    return only(known, total)


def _wrong_type(column: str, held: Held, field: str, wanted: str) -> MappingError:
    told = "" if column == field else f" and is mapped to {field}"
    return MappingError.told(
        "mapping.wrong_type", column=column[:60], holds=_WORDS["holds"][held], told=told, wanted=wanted
    )
