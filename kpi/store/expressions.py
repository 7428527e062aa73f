"""The small expressions that statements are made of. Literals are typed, so that engines agree on what they are."""

from typing import Any

import sqlalchemy as sa

Expression = sa.ColumnElement[Any]
TEXT, INT = sa.Text(), sa.BigInteger()
DOUBLE: sa.Double[float] = sa.Double()


def text_of(value: str) -> Expression:
    return sa.literal(value, TEXT)


def whole(value: int) -> Expression:
    return sa.literal_column(str(int(value)), INT)


def null(kind: sa.types.TypeEngine[Any] = INT) -> Expression:
    return sa.cast(sa.null(), kind)


def known(*columns: Expression) -> Expression:
    """Whether all of them are known."""
    return sa.and_(*(c.is_not(None) for c in columns))


def only(condition: Expression, value: Expression, kind: sa.types.TypeEngine[Any] = INT) -> Expression:
    """The value where a condition holds, else NULL of its type."""
    return sa.case((condition, value), else_=null(kind))


def one_or_zero(condition: Expression) -> Expression:
    """1 where a condition holds, else 0, also where it is unknown."""
    return sa.case((condition, whole(1)), else_=whole(0))


def within(condition: Expression, *columns: Expression) -> Expression:
    """1 where a condition holds, 0 where it does not and these columns are known, else NULL."""
    return sa.case((condition, whole(1)), (known(*columns), whole(0)), else_=null())


def flag(condition: Expression) -> Expression:
    """1 where a boolean is true, 0 where false, NULL where unknown."""
    return sa.case((condition.is_(sa.true()), whole(1)), (condition.is_(sa.false()), whole(0)), else_=null())
