"""Conditions on requests as people write them: `cost > 0.05 and tool_errors > 0 and language in (es, de)`.

A text is read into tests that `and`, `or`, `not` and parentheses join, and turned into expressions with bound values:
nothing of it is ever run as code or SQL. A value that is not known meets no test, nor its opposite, but `is unknown`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from kpi.errors import SliceError, choices
from kpi.mapping.column_names import slug
from kpi.mapping.parse_values import FALSE_WORDS, TRUE_WORDS
from kpi.measure.columns import Columns
from kpi.measure.metrics import METRICS
from kpi.measure.own_terms import MILLIONTH, OWN, SCORE, called
from kpi.measure.profile import MAX_VALUES, profile
from kpi.measure.slice import read_time
from kpi.schema import COSTS, LATENCIES, REQUESTS, SEVERITIES, dimension_name, is_extra
from kpi.store.engines import SQL_TYPES, Source
from kpi.store.expressions import DOUBLE, INT, Expression, text_of

LONGEST, DEEPEST = 2_000, 40
_PLAIN = r"""[^\s=<>!(),"']+"""
_TOKEN = re.compile(rf"""(?s)\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
                    rf"|(?P<sign><=|>=|<>|!=|==|[=<>(),])|(?P<word>{_PLAIN}))")  # fmt: skip
_NAME, _VALUE = re.compile(r"[^\W\d][\w.:]*"), re.compile(rf"{_PLAIN}(?: {_PLAIN})*")
_SIGNS = {"<>": "!=", "==": "="}
_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_JOINED: dict[str, Callable[..., Any]] = {"and": sa.and_, "or": sa.or_, "not": sa.not_}
_JOINS, _AFTER = ("and", "or"), ("and", "or", "not", "in", "contains", "is")  # end a value, end a name
_IS = {"known": "known", "unknown": "unknown", "not known": "unknown", "not unknown": "known"}
_NUMBER = re.compile(r"(?P<a>\$?)\s*(?P<number>[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,2})?)\s*(?P<b>[^\d\s.]*)")
# Unit of a column -> what people write behind a number, in parts of which the column counts; "" is what they mean.
_UNITS: dict[str, dict[str, float]] = {
    "us": {"": 1_000, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000},
    "nusd": {"": 1_000_000_000, "$": 1_000_000_000, "usd": 1_000_000_000}, "0-1": {"": 1, "%": 0.01},
}  # fmt: skip
_CALLED = {"cost": "total_nusd", "cost_usd": "total_nusd", "latency": "total_us", "latency_ms": "total_us",
           "incidents": "incident_count", "severity": "worst_severity", "prompt": "prompt_version",
           "time": "started_at", "user": "user_key", "session": "session_id", "id": "trace_id",
           "question": "input_text", "answer": "output_text",
           **{c.name.replace("_us", "_ms"): c.name for c in LATENCIES},
           **{c.name.replace("_nusd", "_cost"): c.name for c in COSTS}}  # fmt: skip


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
    return _Reader(text).all()


def expression(source: Source, text: str, tz: str = "UTC") -> Expression:
    """A condition over the requests of a source. Raises SliceError for names, values and units that it lacks."""
    return _Compiler(source, tz).of(parse(text))


def _error(code: str, at: int, told: str, hint: str) -> SliceError:
    return SliceError(f"condition.{code}", f"Condition, character {at + 1}: {told}", hint=hint)


class _Token(NamedTuple):
    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        """In small letters, "" for what stands in quotes."""
        return self.text.lower() if self.kind != "quoted" else ""


class _Reader:
    """Recursive descent: or, and, not, test."""

    def __init__(self, text: str) -> None:
        self.tokens, self.next, self.depth, at = list[_Token](), 0, 0, 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                at += len(text[at:]) - len(text[at:].lstrip())
                raise _error("syntax", at, f"{text[at]!r} cannot stand here",
                             "Close every quotation mark, and write != for is not.")  # fmt: skip
            kind = str(found.lastgroup)
            told = found[kind] if kind != "quoted" else re.sub(r"(?s)\\(.)", r"\1", found[kind][1:-1])
            self.tokens.append(_Token(kind, told, found.start(kind)))
            at = found.end()
        self.tokens.append(_Token("end", "", len(text)))

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def took(self, *words: str) -> bool:
        """Whether one of these comes next, which is then read."""
        found = self.token.word in words and self.token.kind != "end"
        self.next += found
        return found

    def all(self) -> Test | Joined:
        found = self.joined("or")
        if self.token.kind != "end":
            raise self.unexpected("Join two tests with and, or.")
        return found

    def joined(self, word: str) -> Test | Joined:
        parts = [self.joined("and") if word == "or" else self.one()]
        while self.took(word):
            parts.append(self.joined("and") if word == "or" else self.one())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def one(self) -> Test | Joined:
        self.depth += 1
        if self.depth > DEEPEST:
            raise _error("deep", self.token.at, "too many parentheses or not", "Write it with fewer.")
        if self.took("not"):
            found: Test | Joined = Joined("not", (self.one(),))
        elif self.took("("):
            found = self.joined("or")
            self.expect(")")
        else:
            found = self.test()
        self.depth -= 1
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
            sign = _IS.get(told.lower()) or ("!=" if no else "=")
            values = [] if told.lower() in _IS else [told[4:] if no else told]
        else:
            sign = ""
        found = Test(name, sign, tuple(values), at)
        return Joined("not", (found,)) if opposite else found

    def value(self) -> str:
        return self.text(_JOINS, " ", "Write a value, in quotation marks where it holds and, or, commas, signs.")

    def text(self, ends: tuple[str, ...], between: str, hint: str) -> str:
        """One text in quotation marks, or words up to one that ends them."""
        if self.token.kind == "quoted":
            self.next += 1
            return self.tokens[self.next - 1].text
        start = self.next
        while self.token.kind == "word" and self.token.word not in ends:
            self.next += 1
        if start == self.next:
            raise self.unexpected(hint)
        return between.join(t.text for t in self.tokens[start : self.next])

    def expect(self, sign: str) -> None:
        if not self.took(sign):
            raise self.unexpected(f"Write {sign} here.")

    def unexpected(self, hint: str) -> SliceError:
        told = f"{self.token.text[:40]!r} cannot stand here" if self.token.kind != "end" else "something is missing"
        return _error("syntax", self.token.at, told, hint)


class _Compiler:
    """Expressions over the requests of one source."""

    def __init__(self, source: Source, tz: str) -> None:
        self.source, self.tz, self.known = source, tz, profile(source)
        table = source.table("requests")
        self.row = Columns(source, table)
        hidden = {"day", "attributes", *(["user_key"] if source.live else [])}
        held = {c.name for c in table.c if self.known.filled.get(c.name, 1)} - hidden
        own = [*self.known.scores, *sorted((c for c in held if is_extra(c)), reverse=True)]  # of one name, the last
        self.names = {word: c for word, c in _CALLED.items() if c in held} | {called(c).lower(): c for c in own}
        self.names |= {c: c for c in REQUESTS.names if c in held}

    def of(self, part: Test | Joined) -> Expression:
        if isinstance(part, Joined):
            found: Expression = _JOINED[part.word](*map(self.of, part.parts))
            return found
        column = self.column(part)
        cell = self.row[OWN + called(column)] if column.startswith(SCORE) else self.row[column]
        if part.test in ("known", "unknown"):
            return cell.is_not(None) if part.test == "known" else cell.is_(None)
        if part.test == "in":
            return sa.or_(*(self.compared(part, "=", v, column, cell) for v in part.values))
        return self.compared(part, part.test, part.values[0] if part.values else "", column, cell)

    def column(self, part: Test) -> str:
        told = part.name.lower()
        if found := self.names.get(told) or self.names.get(slug(told)):
            return str(found)
        if told in METRICS and told not in REQUESTS.names:
            needs = ", ".join(METRICS[told].needs)
            raise _error("name", part.at, f"{told!r} is a metric of many requests", f"Ask for its column: {needs}.")
        raise _error("name", part.at, f"this data has no {part.name[:60]!r}", choices(told, self.names, 20))

    def compared(self, part: Test, test: str, value: str, column: str, cell: Expression) -> Expression:
        """A cell and a value, in the way of its type."""
        compare = _COMPARED.get(test)
        if isinstance(cell.type, sa.Boolean):
            yes = value.lower() in TRUE_WORDS or not test
            if test not in ("", "=", "!=") or not (yes or value.lower() in FALSE_WORDS):
                raise _error("value", part.at, f"{part.name} is true or false", f"Write {part.name} = true.")
            return cell if yes == (test != "!=") else sa.not_(cell)
        if not test:
            raise _error("syntax", part.at, f"{part.name[:60]} is neither true nor false",
                         f"Compare it with something: {part.name[:60]} = value.")  # fmt: skip
        if isinstance(cell.type, sa.Text):
            return self.words(part, test, value, column, cell)
        if compare is None:
            raise _error("value", part.at, f"{part.name} holds no text", f"Write {part.name} > 0.")
        if isinstance(cell.type, SQL_TYPES["time"].__class__):
            found: Expression = compare(cell, self.source.dialect.moment(read_time(value, self.tz)))
            return found
        return self.number(part, compare, value, column, cell)

    def words(self, part: Test, test: str, value: str, column: str, cell: Expression) -> Expression:
        if test == "contains":
            return self.source.dialect.contains(cell, value)
        if test not in ("=", "!=") and column == "worst_severity" and value in SEVERITIES:
            rank = SEVERITIES.index(value)
            return cell.in_([s for i, s in enumerate(SEVERITIES) if _COMPARED[test](i, rank)])
        if test not in ("=", "!="):
            raise _error("value", part.at, f"{part.name} holds texts, which are not more or less", f"Write {part.name} "
                         f"= {value[:40]} or contains.")  # fmt: skip
        have = [v for v, _ in self.known.dimensions.get(dimension_name(column), ())]
        if have and value not in have and len(have) < MAX_VALUES and not self.source.live:
            raise _error("value", part.at, f"no request has {part.name} {value[:60]!r}", choices(value, have))
        found: Expression = _COMPARED[test](cell, text_of(value))
        return found

    def number(self, part: Test, compare: Any, value: str, column: str, cell: Expression) -> Expression:
        unit = REQUESTS[column].unit if column in REQUESTS.names else ""
        units, read = _UNITS.get(unit, {"": 1}), _NUMBER.fullmatch(value)
        written = (read["a"] or read["b"].lower()) if read else ""
        if read is None or written not in units or (read["a"] and read["b"]):
            told = " ".join(sorted(units)).strip()
            raise _error("value", part.at, f"{value[:40]!r} is no value of {part.name[:60]}",
                         f"Write a number{f' and, if you like, one of {told}' if told else ''}.")  # fmt: skip
        limit = Decimal(read["number"]) * Decimal(str(units[written]))
        if column.startswith(SCORE):  # which rows have in millionths
            limit /= Decimal(str(MILLIONTH))
        if abs(limit) >= 10**15:
            raise _error("value", part.at, f"{value[:40]} is too large", "Write a smaller number.")
        exact = isinstance(cell.type, sa.BigInteger | sa.Integer) and limit == int(limit)
        typed: Expression = sa.literal(int(limit), INT) if exact else sa.literal(float(limit), DOUBLE)
        found: Expression = compare(cell if exact else sa.cast(cell, DOUBLE), typed)
        return found
