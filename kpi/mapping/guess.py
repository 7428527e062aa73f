"""Columns that nobody has mapped: what their names and values say they are, and in which unit."""

import dataclasses
from collections.abc import Collection, Mapping as Mapping_, Sequence
from types import MappingProxyType

from kpi import schema
from kpi.errors import MappingError
from kpi.mapping import parse_values, unit_choice
from kpi.mapping.column_names import named, slug, words
from kpi.mapping.conventions import NOT_SURE, ORDERS, UNSURE
from kpi.mapping.mapping import CALLED, TECHNICAL, TIMES, UNREAD, ColumnMapping, Mapping, kind_of
from kpi.mapping.profile import ColumnProfile
from kpi.mapping.units import DURATION_US, SCALES
from kpi.privacy.policy import Policy
from kpi.receipts import How

COHORT_DISTINCT = 50
COHORT_SHARE, COHORT_MOST = 0.05, 200
COHORT_LENGTH = 64
MEASURES_MOST = 500  # fields of a table beyond which numbers that nobody asked for are left out
_GUESSES = ("alias", "guessed", "cohort", "measure")
_NUMBERS = ("duration", "tokens", "money", "count", "score", "measure")
_MINUS_ONE = frozenset(["-1", "-1.0"])
_MINUS = _MINUS_ONE | {"0", "0.0"}
Candidates = Sequence[tuple[tuple[str, str, int], int, ColumnProfile]]


def guess(columns: Sequence[ColumnProfile], given: Mapping | None = None, policy: Policy | None = None) -> Mapping:
    """Map columns by the names they go by and by what their values allow; columns that `given` names stay as given.

    Where several columns could be one field, the most telling name wins. Unmapped columns of low cardinality become
    cohorts `x_<slug>`, other numbers measures `m_<slug>`, where the policy of privacy lets them; the rest is left out.
    Guesses of an earlier load, which `given` may hold, are asked about anew.
    """
    policy, given = policy or Policy(), given or Mapping()
    called = {c.source: c.field for c in given.columns if c.field and c.why == CALLED}
    given = dataclasses.replace(given, columns=tuple(c for c in given.columns if c.source not in called))
    given = _still_sure(_still_allowed(given, {p.name: p for p in columns}, policy), columns)
    _check_sure(given, columns)
    taken = {c.field for c in given.columns if c.field}
    found: dict[str, ColumnMapping] = {c.source: c for c in given.columns}
    likely = [(c, i, p) for i, p in enumerate(columns) if (c := candidate(p, policy, called)) is not None]
    candidates = sorted(likely, key=lambda c: (c[0][2], c[1]))
    beside = dataclasses.replace(_beside(candidates, given), currency=_currency(columns))
    for (name, unit, _), _, profile in candidates:
        if profile.name in found or name in taken or not profile.count:
            continue
        choice = _unit(profile, name, unit, beside)
        if choice.asks:
            found[profile.name] = ColumnMapping(profile.name, None, "", "", "unmapped", choice.why)
            continue
        how: How = "exact" if slug(profile.name) == name else "guessed" if "guess" in choice.why else "alias"
        how = "guessed" if choice.how else how
        found[profile.name] = ColumnMapping(profile.name, name, choice.unit, "", how, choice.why)
        taken.add(name)
    for profile in columns:
        if profile.name not in found:
            found[profile.name] = _leftover(profile, taken, policy)
    return Mapping(tuple(_written(found[p.name], p) for p in columns if p.name in found))


def _written(column: ColumnMapping, profile: ColumnProfile) -> ColumnMapping:
    """The column with its decimal mark and its order of day and month written out."""
    if column.kind in _NUMBERS and not column.decimal:
        return dataclasses.replace(column, decimal=profile.decimal.replace(UNSURE, "."))
    if column.kind == "time" and column.unit in ("", "auto") and profile.dates in ORDERS:
        return dataclasses.replace(column, unit=profile.dates)
    return column


def _check_sure(given: Mapping, columns: Sequence[ColumnProfile]) -> None:
    """Raise MappingError for a column that a person maps and that may be read in two ways."""
    for profile in columns:
        column = given[profile.name]
        if column and column.field and _by_hand(column) and (told := _unsure(profile, column.kind, column.field)):
            if (column.kind == "time" and column.unit not in ("", "auto")) or column.decimal:
                continue
            raise MappingError("mapping.not_sure", f"Column {profile.name[:60]!r}: {told.partition(';')[0]}",
                               hint=f"{told.partition('; ')[2].capitalize()}.")  # fmt: skip


def _unsure(profile: ColumnProfile, kind: str, field: str) -> str:
    """What must be asked about how a column is written; "" where nothing must."""
    if kind in _NUMBERS and profile.decimal == UNSURE:
        return (f'{NOT_SURE}: a cell such as 1,234 may be a thousand or one and a bit; set decimal = "," or "." in a '
                "mapping (--decimal)")  # fmt: skip
    if kind == "time" and profile.dates == UNSURE:
        return (f'{NOT_SURE}: a date such as 01/02/26 has its day first, or its month; set dates = "day/month" or '
                '"month/day" in a mapping (--dates)')  # fmt: skip
    values = set(profile.values)
    if kind == "bool" and not values <= _MINUS and (values & _MINUS_ONE or not parse_values.two_sided(values)):
        return (f"{NOT_SURE}: some of its words are not known, so that no share can be told; write true and false, "
                f'or set field = "{schema.EXTRA_PREFIX}{slug(profile.name)}" to keep it as a cohort')  # fmt: skip
    return ""


def _by_hand(column: ColumnMapping) -> bool:
    return column.how == "exact" and column.why in ("", "set by hand")


def _still_allowed(given: Mapping, present: dict[str, ColumnProfile], policy: Policy) -> Mapping:
    """What was given, without guesses that the policy refuses for the values of today, and without what it refused."""
    kept = []
    for column in given.columns:
        profile = present.get(column.source)
        refused = column.kept_out or (
            column.field is None and column.how != "exact" and policy.asked_for(column.source)
        )
        if profile is not None and column.how in _GUESSES:
            told = policy.column(profile) if column.how in ("cohort", "measure") else policy.known(profile, column.kind)
            refused = refused or bool(told)
        if not refused:
            kept.append(column)
    return Mapping(tuple(kept))


def candidate(
    profile: ColumnProfile, policy: Policy, called: Mapping_[str, str] = MappingProxyType({})
) -> tuple[str, str, int] | None:
    """(field, unit from the name, rank) that a column may be, or None; its values must be readable as that field, and
    the policy must not know better. called: what a person calls columns, before any name."""
    told = (called[profile.name], "", -2) if profile.name in called else named(profile.name)
    if told is None:
        return None
    name, unit, rank = told
    if policy.known(profile, kind_of(name)):
        return None
    few = profile.distinct is not None
    if name == "error" and profile.readable < 0.5:  # a text: its kind, or its message
        name = "error_type" if few and profile.longest <= 2 * COHORT_LENGTH else "error_message"
    elif profile.readable < 0.5:
        return None
    elif name == "trace_id" and rank > 1 and profile.distinct is not None and profile.distinct < 0.5 * profile.count:
        return None  # an `id` that repeats its values is the id of something else
    return name, unit, rank


def _beside(candidates: Candidates, given: Mapping) -> unit_choice.Beside:
    """What the columns may be, and how long the requests are in all where that is sure."""
    fields = frozenset({c[0][0] for c in candidates} | {c.field for c in given.columns if c.field})
    stated = given.source_of("total_us")
    for (field, told, _), _, profile in candidates:
        if (profile.name == stated.source) if stated else (field == "total_us" and profile.count):
            unit = stated.unit if stated else _unit(profile, "total_us", told, unit_choice.Beside(fields)).unit
            longest = profile.usual * DURATION_US[unit] if profile.usual and unit in DURATION_US else None
            return unit_choice.Beside(fields, longest)
    return unit_choice.Beside(fields)


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
        if profile and column.field and not _by_hand(column) and _unsure(profile, column.kind, column.field):
            continue
        if profile and column.how in ("alias", "guessed") and column.field and column.kind in ("duration", "money"):
            choice = _unit(profile, column.field, column.unit, unit_choice.Beside())
            if choice.unit != column.unit:
                continue
        kept.append(column)
    return Mapping(tuple(kept))


def _unit(profile: ColumnProfile, name: str, unit: str, beside: unit_choice.Beside) -> unit_choice.Choice:
    kind = kind_of(name)
    if unsure := _unsure(profile, kind, name):
        return unit_choice.Choice("", unsure, asks=True)
    if kind == "duration" and profile.spelled:
        return unit_choice.Choice("in cells", "its cells carry their units")
    if kind == "money" and set(profile.currencies) - {""}:
        return unit_choice.in_cells(profile, name, unit)
    if kind in ("duration", "money") and profile.name == name:
        unit = "us" if kind == "duration" else "nano_usd" if name.endswith("_nusd") else "usd"
        if profile.whole or unit == "usd":
            return unit_choice.Choice(unit, "named as in the canonical table")
        told = (
            f'{unit_choice.ASKED}: it is named as whole {unit} and holds fractions; set field = "{name}" and its unit'
        )
        return unit_choice.Choice("", f"{told} for it in a mapping", asks=True)
    if kind == "duration":
        return unit_choice.duration(profile, name, unit, beside)
    if kind == "money":
        return unit_choice.money(profile, name, unit, beside)
    if name == "success" and profile.technical:
        told = f'{TECHNICAL}, which is no success of a task; set field = "success" for it in a mapping if it is one'
        return unit_choice.Choice("", told, asks=True)
    if kind == "score":
        return unit_choice.Choice(*_scale(profile))
    if kind == "time":
        return unit_choice.Choice(unit or "auto", "name")
    if kind == "bool" and _MINUS_ONE & set(profile.values):
        return unit_choice.Choice(parse_values.MINUS, "-1 is true beside 0")
    return unit_choice.Choice(kind if kind in ("tokens", "count") else "", "name")


def _scale(profile: ColumnProfile) -> tuple[str, str]:
    if profile.high is None or profile.low is None:
        return "words", "words such as up and down, or true and false"
    for name, (low, high) in SCALES.items():
        if low <= profile.low and profile.high <= high:
            return name, "" if name == "0-1" else f"guessed {name}: values lie in {profile.low:g} to {profile.high:g}"
    return "0-100", f"guessed 0-100: values lie in {profile.low:g} to {profile.high:g}"


def _leftover(profile: ColumnProfile, taken: set[str], policy: Policy) -> ColumnMapping:
    name = _free(schema.EXTRA_PREFIX + slug(profile.name), taken)

    def cohort(why: str) -> ColumnMapping:
        taken.add(name)
        return ColumnMapping(profile.name, name, "", "", "cohort", why)

    def left_out(why: str, kept_out: bool = False) -> ColumnMapping:
        return ColumnMapping(profile.name, None, "", "", "unmapped", why, kept_out)

    if profile.count and policy.asked_for(profile.name):
        return cohort("kept because it was asked for")
    if profile.count and (told := policy.column(profile) or policy.known(profile, "dimension")):
        return left_out(told, True)
    if told := _unread(profile, taken):
        return left_out(told)
    if profile.type == "time" and profile.count and "started_at" not in taken:
        return left_out(f'{TIMES}; set field = "started_at" for it in a mapping if requests began then')
    if is_cohort(profile):
        return cohort(f"{profile.distinct} different values")
    if profile.type in ("number", "float") and len(taken) < MEASURES_MOST:
        measure = _free(schema.MEASURE_PREFIX + slug(profile.name), taken)
        taken.add(measure)
        return ColumnMapping(profile.name, measure, "", "", "measure", "kept for metrics of your own")
    many = "more than 200" if profile.distinct is None else str(profile.distinct)
    return left_out(f"unknown name, {many} different values" if profile.count else "no values")


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or with a number behind it where another column has it: no column is lost for its name."""
    return next(n for n in (name, *(f"{name}_{i}" for i in range(2, 3_000))) if n not in taken)


def _unread(profile: ColumnProfile, taken: Collection[str]) -> str:
    """Why a column is not what its name says, where a KPI lacks it for that; "" else. It is no cohort then."""
    told = named(profile.name.rsplit(".", 1)[-1])  # `metadata.cache_status` is no status
    if told is None or not profile.count or profile.readable >= 0.5 or told[0] in taken:
        return ""
    kind = kind_of(told[0])
    digits = any(c.isdigit() for v in profile.values for c in v)
    wordy = (kind == "time" and profile.values and not digits) or words(profile.name)[-1:] == ["state"]
    if kind not in (*_NUMBERS, "time", "bool", "status") or told[0] == "error" or wordy:
        return ""
    bad = round((1 - profile.readable) * profile.count)
    return (f"{UNREAD} {told[0]}, but {bad:,} of {profile.count:,} cells cannot be read so; write them otherwise, or "
            f'set field = "{schema.EXTRA_PREFIX}{slug(profile.name)}" to keep it as a cohort')  # fmt: skip


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
