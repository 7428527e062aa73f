"""What a metric of a team's own says of a row: columns and conditions, read from text and turned into expressions.

A number is counted as a whole number of its smallest part (millionths, or as the canonical column is stored), so that
sums are the same on every run and engine.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from kpi.errors import MetricError
from kpi.mapping.column_names import slug
from kpi.mapping.parse_values import FALSE_WORDS, TRUE_WORDS
from kpi.measure.metrics import Row, Term, one
from kpi.schema import EXTRA_PREFIX, MEASURE_PREFIX, REQUESTS, SOURCES
from kpi.store.expressions import DOUBLE, Expression, flag, null, text_of, whole

OWN, SCORE = "own:", "score:"  # prefixes of a column as a metric names it, and of a score
MILLIONTH = 1e-6
_STATED = re.compile(r"\s*(?P<column>[\w.]+(?::[^<>=!:]*\w)?)\s*(?:(?P<test>>=|<=|==|!=|=|<|>)\s*(?P<value>.*\S))?\s*")
_TESTS = {
    ">=": ("at least", operator.ge), "<=": ("at most", operator.le), "==": ("is", operator.eq),
    "!=": ("is not", operator.ne), ">": ("above", operator.gt), "<": ("below", operator.lt),
}  # fmt: skip
_FINE = {"nusd": 1e-9, "us": 1e-3}  # in usd and ms


@dataclass(frozen=True)
class Condition:
    """A column, and what its value is compared with: test is "" where the column alone is meant."""

    name: str
    test: str = ""
    value: str = ""

    @property
    def column(self) -> str:
        """As `Columns` and `Profile.holds` know it."""
        return OWN + self.name

    @property
    def scale(self) -> float:
        """What one whole number of the column is worth, in its unit."""
        if self.test:
            return 1.0
        if self.name not in REQUESTS.names:
            return MILLIONTH
        kind = REQUESTS[self.name].type
        return _FINE.get(REQUESTS[self.name].unit, 1.0) if kind in ("int", "bool") else MILLIONTH

    @property
    def words(self) -> str:
        return f"{self.name} {_TESTS[self.test][0]} {self.value}" if self.test else self.name


def parsed(text: str) -> Condition | None:
    """The condition that a text states; None where it is none.

    >>> parsed("judge:tone >= 4")
    Condition(name='judge:tone', test='>=', value='4')
    """
    found = _STATED.fullmatch(text)
    if found is None:
        return None
    test = found["test"] or ""
    value = (found["value"] or "").strip("\"'")
    if test in (">=", "<=", "<", ">") and _number(value) is None:
        return None
    return Condition(found["column"], "==" if test == "=" else test, value)


def physical(name: str, present: Collection[str]) -> str | None:
    """The stored column that a metric's `own:` column, or its bare name, stands for; None where the data lack it."""
    name = name.removeprefix(OWN)
    if ":" in name:
        first, rest = name.split(":", 1)
        wanted = f"{SCORE}{'' if first == 'score' else first}:{rest}"
        return wanted if wanted in present else None
    told = slug(name)
    places = (name, MEASURE_PREFIX + told, EXTRA_PREFIX + told, f"{SCORE}:{name}")
    return next((c for c in places if c in present), None)


def called(column: str) -> str:
    """What people call a stored column."""
    if column.startswith(SCORE):
        source, name = column.removeprefix(SCORE).split(":", 1)
        return f"{source or 'score'}:{name}"
    return column.removeprefix(MEASURE_PREFIX).removeprefix(EXTRA_PREFIX)


def is_score(name: str) -> bool:
    """Whether a name with a colon is that of a score: its first part is a source, or `score`."""
    return name.split(":", 1)[0] in (*SOURCES, "score")


def name_of(kind: str, of: Condition, per: Condition | None, q: float | None) -> str:
    """The name of a metric that was given none."""
    words = re.sub(r"\W+", "_", " ".join((of.words, *(("per", per.words) if per else ())))).strip("_").lower()
    return f"{words}_p{q * 100:g}".replace(".", "_") if q else words if kind in ("rate", "ratio") else f"{words}_{kind}"


def formula(kind: str, of: Condition, per: Condition | None, q: float | None) -> str:
    """How a metric is made, in words."""
    where = f"requests where {of.name} is known"
    if kind == "rate":
        return f"requests with {of.words} / {where}"
    if kind == "ratio" and per is not None:
        above, below = (f"requests with {c.words}" if c.test else f"sum of {c.name}" for c in (of, per))
        return f"{above} / {below}"
    named = {"mean": f"sum of {of.name} / {where}", "sum": f"sum of {of.name}", "count": f"requests with {of.words}"}
    return named.get(kind) or f"quantile {q:g} of {of.name}, log-binned to 0.5 % of itself"


def known(of: Condition) -> Term:
    """1 where the column is known, else NULL."""
    return partial(one, of.column)


def term(of: Condition, numeric: bool) -> Term:
    """The value of a row: that of the column where a number is meant, else 1 where the condition holds, 0 where not."""
    return partial(_value, of, numeric)


def _value(of: Condition, numeric: bool, row: Row) -> Expression:
    cell = row[of.column]
    if of.test:
        return flag(_tested(of, cell))
    if isinstance(cell.type, sa.Boolean):
        return flag(cell)
    if isinstance(cell.type, sa.Text):
        return _words(of, cell, numeric)
    if numeric:
        return cell
    one = round(1 / of.scale)
    return sa.case((cell == whole(one), whole(1)), (cell == whole(0), whole(0)), else_=null())


def _words(of: Condition, cell: Expression, numeric: bool) -> Expression:
    """1 for a word that means true, 0 for one that means false; worth as much as the numbers of other columns."""
    one = round(1 / of.scale) if numeric else 1
    word = sa.func.lower(cell)
    return sa.case((word.in_(sorted(TRUE_WORDS)), whole(one)), (word.in_(sorted(FALSE_WORDS)), whole(0)), else_=null())


def _tested(of: Condition, cell: Expression) -> Expression:
    if isinstance(cell.type, sa.Boolean):
        return cell if (of.value.lower() in TRUE_WORDS) == (of.test == "==") else sa.not_(cell)
    if isinstance(cell.type, sa.Text):
        if of.test not in ("==", "!="):
            raise MetricError("metric.text", f"{of.name!r} holds text, which cannot be {_TESTS[of.test][0]} {of.value}",
                              hint="Compare it with == or !=.")  # fmt: skip
        found: Expression = _TESTS[of.test][1](cell, text_of(of.value))
        return found
    number = _number(of.value)
    if number is None:
        raise MetricError("metric.number", f"{of.name!r} holds numbers, and {of.value[:40]!r} is none",
                          hint="Compare it with a number.")  # fmt: skip
    limit: Expression = sa.literal_column(repr(number / Condition(of.name).scale), DOUBLE)
    compared: Expression = _TESTS[of.test][1](sa.cast(cell, DOUBLE), limit)
    return compared


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if abs(found) < 1e15 else None
