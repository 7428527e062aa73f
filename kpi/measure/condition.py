"""Conditions on requests as people write them: `cost > 0.05 and tool_errors > 0 and language in (es, de)`.

A text is read into tests that `and`, `or`, `not` and parentheses join, and turned into expressions with bound values:
nothing of it is ever run as code or SQL. A value that is not known meets no test, nor its opposite, but `is unknown`.
Names, units and errors are data: condition.toml.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from kpi.disk.tables import table_of
from kpi.errors import SliceError, choices
from kpi.mapping.column_names import slug
from kpi.mapping.parse_values import FALSE_WORDS, TRUE_WORDS
from kpi.measure.columns import Columns
from kpi.measure.metrics import METRICS
from kpi.measure.own_terms import MILLIONTH, OWN, SCORE, called
from kpi.measure.profile import MAX_VALUES, profile
from kpi.measure.slice import read_time
from kpi.schema import COSTS, LATENCIES, REQUESTS, SEVERITIES, dimension_name, is_extra
from kpi.store.engines import Source
from kpi.store.expressions import DOUBLE, INT, Expression, text_of

LONGEST, DEEPEST = 2_000, 40
_DATA = table_of(__file__)
_AFTER, _JOINS = _DATA["after"], _DATA["after"][:2]
_PLAIN = r"""[^\s=<>!(),"']+"""
_TOKEN = re.compile(rf"""(?s)\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
                    rf"|(?P<sign><=|>=|<>|!=|==|[=<>(),])|(?P<word>{_PLAIN}))")  # fmt: skip
_NAME, _VALUE = re.compile(r"[^\W\d][\w.:]*"), re.compile(rf"{_PLAIN}(?: {_PLAIN})*")
_NUMBER = re.compile(r"(?P<a>\$?)\s*(?P<number>[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,2})?)\s*(?P<b>[^\d\s.]*)")
_SIGNS = {"<>": "!=", "==": "="}
_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_JOINED: dict[str, Callable[..., Any]] = {"and": sa.and_, "or": sa.or_, "not": sa.not_}
_CALLED = {c.name.replace("_us", "_ms").replace("_nusd", "_cost"): c.name for c in (*LATENCIES, *COSTS)}


@dataclass(frozen=True)
class Test:
    """One test. test: a comparison, in, contains, known, unknown; "" for a column that is true. at: where it stands."""

    name: str
    test: str = ""
    values: tuple[str, ...] = ()
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        name = self.name if _NAME.fullmatch(self.name) and self.name.lower() not in _AFTER else _quoted(self.name)
        values = [v if _VALUE.fullmatch(v) and not {*v.lower().split()} & {*_JOINS} else _quoted(v)
                  for v in self.values]  # fmt: skip
        if self.test in ("known", "unknown"):
            return f"{name} is {self.test}"
        return f"{name} in ({', '.join(values)})" if self.test == "in" else " ".join([name, self.test, *values]).strip()


@dataclass(frozen=True)
class Joined:
    """Conditions. word: "and", "or"; "not" before a single one."""

    word: str
    parts: tuple[Test | Joined, ...]

    def __str__(self) -> str:
        told = [f"({p})" if isinstance(p, Joined) and p.word != "not" else str(p) for p in self.parts]
        return f"not {told[0]}" if self.word == "not" else f" {self.word} ".join(told)


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def parse(text: str) -> Test | Joined:
    """The condition that a text states. Raises SliceError, which says where it cannot be read and what to write."""
    if len(text) > LONGEST or re.search("[\x00\ud800-\udfff]", text):
        raise SliceError("condition.text", f"A condition has at most {LONGEST:,} plain characters",
                         hint="Write a shorter one.")  # fmt: skip
    reader = _Reader(text)
    found = reader.either()
    if reader.token.kind != "end":
        raise reader.unexpected("Join two tests with and, or.")
    return found


def expression(source: Source, text: str, tz: str = "UTC") -> Expression:
    """A condition over the requests of a source. Raises SliceError for names, values and units that it lacks."""
    return _Compiler(source, tz).of(parse(text))


def _error(key: str, at: int, **facts: str) -> SliceError:
    told, hint = (part.format(**{k: v[:60] if k in ("name", "value") else v for k, v in facts.items()})
                  for part in _DATA["errors"][key])  # fmt: skip
    return SliceError(f"condition.{key}", f"Condition, character {at + 1}: {told}", hint=hint)


class _Token(NamedTuple):
    """word: in small letters, "" for what stands in quotation marks."""

    kind: str
    text: str
    word: str
    at: int


class _Reader:
    """Recursive descent: or, and, not, test."""

    def __init__(self, text: str) -> None:
        self.tokens, self.next, at = list[_Token](), 0, 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                at += len(text[at:]) - len(text[at:].lstrip())
                hint = "Close every quotation mark, and write != for is not."
                raise _error("syntax", at, found=repr(text[at]), hint=hint)
            kind = str(found.lastgroup)
            told = found[kind] if kind != "quoted" else re.sub(r"(?s)\\(.)", r"\1", found[kind][1:-1])
            self.tokens.append(_Token(kind, told, told.lower() if kind != "quoted" else "", found.start(kind)))
            at = found.end()
        if deep := [t for t in self.tokens if t.word in ("not", "(")][DEEPEST:]:
            raise _error("deep", deep[0].at)
        self.tokens.append(_Token("end", "the end", "", len(text)))

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def took(self, *words: str) -> bool:
        """Whether one of these comes next, which is then read."""
        found = self.token.word in words
        self.next += found
        return found

    def either(self) -> Test | Joined:
        return self.chain("or", lambda: self.chain("and", self.one))

    def chain(self, word: str, part: Callable[[], Test | Joined]) -> Test | Joined:
        parts = [part()]
        while self.took(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def one(self) -> Test | Joined:
        if self.took("not"):
            return Joined("not", (self.one(),))
        if not self.took("("):
            return self.test()
        found = self.either()
        self.expect(")")
        return found

    def test(self) -> Test | Joined:
        at, name = self.token.at, self.text(_AFTER, "_", "A test begins with a name: cost > 0.05.")
        opposite = self.token.word == "not" and self.tokens[self.next + 1].word in ("in", "contains")
        self.next += opposite
        sign, values = self.token.word, list[str]()
        if self.took(*_COMPARED, *_SIGNS, "contains"):
            sign, values = _SIGNS.get(sign, sign), [self.value()]
        elif self.took("in"):
            self.expect("(")
            values = [self.value()]
            while self.took(","):
                values.append(self.value())
            self.expect(")")
        elif self.took("is"):
            told = self.value()
            no = told.lower().startswith("not ")
            sign = _DATA["is"].get(told.lower()) or ("!=" if no else "=")
            values = [] if told.lower() in _DATA["is"] else [told[4:] if no else told]
        else:
            sign = ""
        found = Test(name, sign, tuple(values), at)
        return Joined("not", (found,)) if opposite else found

    def value(self) -> str:
        return self.text(_JOINS, " ", "Write a value, in quotation marks where it holds and, or, commas, signs.")

    def text(self, ends: list[str], between: str, hint: str) -> str:
        """One text in quotation marks, or words up to one that ends them."""
        start = self.next
        while self.token.kind == "word" and self.token.word not in ends:
            self.next += 1
        if start == self.next:
            if self.token.kind != "quoted":
                raise self.unexpected(hint)
            self.next += 1
        return between.join(t.text for t in self.tokens[start : self.next])

    def expect(self, sign: str) -> None:
        if not self.took(sign):
            raise self.unexpected(f"Write {sign} here.")

    def unexpected(self, hint: str) -> SliceError:
        return _error("syntax", self.token.at, found=repr(self.token.text[:40]), hint=hint)


class _Compiler:
    """Expressions over the requests of one source."""

    def __init__(self, source: Source, tz: str) -> None:
        self.source, self.tz, self.known = source, tz, profile(source)
        table = source.table("requests")
        self.row = Columns(source, table)
        hidden = {"day", "attributes", *(["user_key"] if source.live else [])}
        held = {c.name for c in table.c if self.known.filled.get(c.name, 1)} - hidden
        own = [*self.known.scores, *sorted((c for c in held if is_extra(c)), reverse=True)]  # of one name, the last
        self.names = {word: c for word, c in (_DATA["called"] | _CALLED).items() if c in held}
        self.names |= {called(c).lower(): c for c in own} | {c: c for c in REQUESTS.names if c in held}

    def of(self, part: Test | Joined) -> Expression:
        if isinstance(part, Joined):
            found: Expression = _JOINED[part.word](*map(self.of, part.parts))
            return found
        column = self.column(part)
        cell = self.row[OWN + called(column)] if column.startswith(SCORE) else self.row[column]
        if part.test in ("known", "unknown"):
            return cell.is_not(None) if part.test == "known" else cell.is_(None)
        test = part.test if part.test != "in" else "="
        return sa.or_(*(self.compared(part, test, v, column, cell) for v in part.values or ("",)))

    def column(self, part: Test) -> str:
        told = part.name.lower()
        if found := self.names.get(told) or self.names.get(slug(told)):
            return str(found)
        if told in METRICS and told not in REQUESTS.names:
            raise _error("metric", part.at, name=told, needs=", ".join(METRICS[told].needs))
        raise _error("name", part.at, name=part.name, hint=choices(told, self.names, 20))

    def compared(self, part: Test, test: str, value: str, column: str, cell: Expression) -> Expression:
        """A cell and a value, in the way of its type."""
        compare = _COMPARED.get(test)
        if isinstance(cell.type, sa.Boolean):
            yes = value.lower() in TRUE_WORDS or not test
            if test not in ("", "=", "!=") or not (yes or value.lower() in FALSE_WORDS):
                raise _error("flag", part.at, name=part.name)
            return cell if yes == (test != "!=") else sa.not_(cell)
        if not test:
            raise _error("bare", part.at, name=part.name)
        if isinstance(cell.type, sa.Text):
            return self.words(part, test, value, column, cell)
        if compare is None:
            raise _error("numeric", part.at, name=part.name)
        limit = self.source.dialect.moment(read_time(value, self.tz)) if column == "started_at" else None
        found: Expression = compare(cell, limit) if limit is not None else self.number(part, compare, value, cell)
        return found

    def words(self, part: Test, test: str, value: str, column: str, cell: Expression) -> Expression:
        if test == "contains":
            return self.source.dialect.contains(cell, value)
        if test not in ("=", "!="):
            if column != "worst_severity" or value not in SEVERITIES:
                raise _error("text", part.at, name=part.name, value=value)
            rank = SEVERITIES.index(value)
            return cell.in_([s for i, s in enumerate(SEVERITIES) if _COMPARED[test](i, rank)])
        have = [v for v, _ in self.known.dimensions.get(dimension_name(column), ())]
        if have and value not in have and len(have) < MAX_VALUES and not self.source.live:
            raise _error("value", part.at, name=part.name, value=value, hint=choices(value, have))
        found: Expression = _COMPARED[test](cell, text_of(value))
        return found

    def number(self, part: Test, compare: Callable[[Any, Any], Any], value: str, cell: Expression) -> Expression:
        column = self.column(part)
        units = _DATA["units"].get(REQUESTS[column].unit if column in REQUESTS.names else "", {"": 1})
        read = _NUMBER.fullmatch(value)
        unit = (read["a"] or read["b"].lower()) if read else ""
        if read is None or unit not in units or (read["a"] and read["b"]):
            raise _error("number", part.at, name=part.name, value=value, units=" ".join(units).strip() or "none")
        limit = Decimal(read["number"]) * Decimal(str(units[unit]))
        if column.startswith(SCORE):  # which rows have in millionths
            limit /= Decimal(str(MILLIONTH))
        if abs(limit) >= 10**15:
            raise _error("large", part.at, value=value)
        exact = isinstance(cell.type, sa.BigInteger) and limit == int(limit)
        typed: Expression = sa.literal(int(limit), INT) if exact else sa.literal(float(limit), DOUBLE)
        found: Expression = compare(cell if exact else sa.cast(cell, DOUBLE), typed)
        return found
