"""Tables whose rows are sums over many requests: successes and attempts, or what a day came to. They are refused.

Reading them as requests would count a day as one; reading them with weights would need every interval and every search
to know of weights.
"""

from collections.abc import Sequence

from kpi.disk.tables import sets, table_of
from kpi.errors import IngestError
from kpi.mapping import parse_times, parse_values
from kpi.mapping.column_names import named, words
from kpi.mapping.mapping import kind_of
from kpi.mapping.profile import ColumnProfile

_WORDS = sets(table_of(__file__))
_VOLUMES, _OUTCOMES, _BESIDE, _OF_ONE = (_WORDS[n] for n in ("volumes", "outcomes", "beside", "of_one"))
_HOUR_US = 3_600_000_000
_LEAST = 5  # what a period comes to at the most, where only its name says that it counts requests


def refuse_totals(profiles: Sequence[ColumnProfile]) -> None:
    """Raise IngestError `ingest.totals` for a table of totals.

    It has no id and no moments, and beside whole numbers of attempts either outcomes that count more than one, or times
    that are whole hours or days.
    """
    held = [p for p in profiles if p.count]
    fields = {p.name: told[0] for p in held if (told := named(p.name))}
    moments = [
        _full_hours(p) for p in held if kind_of(fields.get(p.name, "")) == "time" or words(p.name)[-1:] == ["day"]
    ]
    if False in moments or any(fields.get(p.name) == "trace_id" and _differs(p) for p in held):
        return
    volumes = {p.name: most for p in held if (most := _counts(p, _VOLUMES)) > 1}
    outcomes = {p.name: most for p in held if (most := _counts(p, _OUTCOMES)) > 1}
    pair = next((f"{o[:40]!r} of {v[:40]!r}" for o, part in outcomes.items() for v, most in volumes.items()
                 if o != v and part <= most), "")  # fmt: skip
    if not pair and any(moments):
        pair = next((f"{v[:40]!r} a period" for v, most in volumes.items()
                     if most >= _LEAST and _OF_ONE.isdisjoint(words(v))), "")  # fmt: skip
    if pair:
        raise IngestError.told("ingest.totals", pair=pair)


def _counts(profile: ColumnProfile, names: frozenset[str]) -> float:
    """The largest number of a column that is named as one of these and holds whole numbers; 0 for all else."""
    parts = words(profile.name)
    rest = [w for w in parts if w not in _BESIDE] or parts
    if len(rest) != 1 or rest[0] not in names or profile.type == "bool":
        return 0.0
    try:
        numbers = [parse_values.number(s) for s in profile.samples]
    except ValueError:
        return 0.0
    return max(numbers) if all(n >= 0 and n.is_integer() for n in numbers) else 0.0


def _differs(profile: ColumnProfile) -> bool:
    return profile.distinct is None or profile.distinct > 0.9 * profile.count


def _full_hours(profile: ColumnProfile) -> bool | None:
    """Whether the times of a column are full hours or days; None where it holds none."""
    try:
        return all(parse_times.time_us(s, dayfirst=True)[0] % _HOUR_US == 0 for s in profile.samples)
    except ValueError:
        return None
