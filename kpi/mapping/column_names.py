"""Names that columns go by in the wild, and what a field accepts: how the tables of `column_names.toml` are read."""

import difflib
import re
import unicodedata

from kpi import schema
from kpi.disk.tables import by_word, lists, table_of

_DATA = table_of(__file__)
# kind of a field -> units a mapping may name for it ("" = found out from the values)
KIND_UNITS: dict[str, tuple[str, ...]] = {kind: tuple(units) for kind, units in _DATA["units"].items()}
FIELDS: dict[str, str] = {
    **_DATA["kinds"],
    **{c.name: "dimension" for c in (*schema.VERSIONS, *schema.COHORTS)},
    **{c.name: "bool" for c in schema.OUTCOMES},
    **{c.name: "score" for c in schema.SCORES},
    **{c.name: "duration" for c in schema.LATENCIES},
    **{c.name: "tokens" for c in schema.TOKENS},
    **{c.name: "money" for c in schema.COSTS},
    **{c.name: "count" for c in schema.COUNTS},
}
SCORE_PREFIX = "score:"

_ALIASES = lists(_DATA["aliases"])  # field -> names, most telling first
DURATION_WORDS, _MONEY_SUFFIX = by_word(_DATA["duration_words"]), by_word(_DATA["money_words"])
MICRO = str.maketrans("\u00b5\u03bc", "uu")  # both signs of micro: without them `latency_µs` would read as seconds
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def words(name: str) -> list[str]:
    """`latencyMs`, `Elapsed time`, `usage.prompt-tokens` -> lower-case words, letters of any script."""
    plain = unicodedata.normalize("NFKC", _CAMEL.sub("_", name.translate(MICRO)))
    kept = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in plain)
    return kept.casefold().split()


def slug(name: str) -> str:
    """A name as a stable slug of at most 60 characters: `Test Category` -> `test_category`."""
    return "_".join(words(name))[:60].strip("_") or "column"


_LOOKUP = {
    "".join(words(alias)): (name, rank) for name, aliases in _ALIASES.items() for rank, alias in enumerate(aliases)
}

ALIASES = tuple(alias for aliases in _ALIASES.values() for alias in aliases)


def known(name: str) -> tuple[str, str, int] | None:
    """(field, unit told by the name or "", rank: 0 is the most telling name) for a column name, or None."""
    parts = words(name)
    for start in (0, len(parts) - 1, len(parts) - 2) if "." in name else (0,):  # `metadata.language`
        if 0 <= start < len(parts) and (found := _known(parts[start:])):
            return found[0], found[1], found[2] + (1 if start else 0)
    return None


def _known(parts: list[str]) -> tuple[str, str, int] | None:
    if found := _LOOKUP.get("".join(parts)):
        return found[0], "", found[1]
    for cut in (1, 2):
        suffix, rest = "".join(parts[-cut:]), parts[:-cut]
        field, rank = _LOOKUP.get("".join(rest), ("", 0))
        if not field and rest[-1:] == ["in"]:  # `cost_in_micros`
            field, rank = _LOOKUP.get("".join(rest[:-1]), ("", 0))
        kind = FIELDS.get(field)
        if kind == "duration" and suffix in DURATION_WORDS:
            return field, DURATION_WORDS[suffix], rank
        if kind == "money" and suffix in _MONEY_SUFFIX:
            return field, _MONEY_SUFFIX[suffix], rank
        if kind == "time" and suffix == "utc":
            return field, "", rank
        if kind == "time" and (unit := DURATION_WORDS.get(suffix, "min")) != "min":
            return field, unit, rank
    if len(parts) > 1 and parts[0] in ("n", "num", "number"):
        field, rank = _LOOKUP.get("".join(parts[1:]).removeprefix("of"), ("", 0))
        if FIELDS.get(field) in ("count", "tokens"):
            return field, "", rank
    return None


def named(name: str) -> tuple[str, str, int] | None:
    """The same, also for the names of fields themselves, which tell most."""
    return (name, "", -1) if name in FIELDS else known(name)


def close_name(name: str) -> str:
    """The known name that another may be a slip of, "" where it is known itself or none is close."""
    if named(name) is not None:
        return ""
    wanted = "_".join(words(name))
    names = [alias for alias in ALIASES if abs(len(alias) - len(wanted)) <= 1]
    return next(iter(difflib.get_close_matches(wanted, names, 1, 0.88)), "")
