"""Who repeats: by what the requests of one person are known, and what is said where they are not."""

from __future__ import annotations

from dataclasses import dataclass

from kpi.measure.columns import Columns
from kpi.measure.profile import profile
from kpi.store.engines import Source
from kpi.store.expressions import Expression, one_or_zero

USER, SESSION, REQUEST, MIXED = "user", "session", "request", "mixed"
_COLUMNS = {USER: "user_key", SESSION: "session_id"}


@dataclass(frozen=True)
class Naming:
    """by: what names who repeats in this data, at best. partly: whether some requests lack it."""

    by: str
    partly: bool = False

    def flag(self, row: Columns) -> Expression:
        """1 where a request has the name, else 0."""
        return one_or_zero(row[_COLUMNS[self.by]].is_not(None))

    def of(self, share: float) -> str:
        """What names who repeats among requests of which this share has the name: user, session, request or mixed."""
        if not self.partly:
            return self.by
        return self.by if share >= 1 else MIXED if share > 0 else REQUEST


def naming(source: Source) -> Naming:
    """By what the requests of one person are known in a data set."""
    known = profile(source)
    for name, column in _COLUMNS.items():
        if filled := known.filled.get(column, 0):
            return Naming(name, filled < known.requests)
    return Naming(REQUEST)
