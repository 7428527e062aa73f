"""What a pass over all rows told about one column."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ColumnProfile:
    """What a pass over all rows told about one column.

    count: cells that hold something. distinct: number of different values, None when over 200; values: they, sorted.
    readable: share of the cells that are what the alias of the column promises; unread: one that is not. low, high,
    median, whole: of numbers. decimal, dates: its decimal mark and order of day and month, see `conventions`. spelled:
    whether its lengths carry their units. currencies: signs of money in its cells, "" for a cell without one.

    What other columns of the same rows say of its unit, each a median over rows with positive numbers, None where no
    row tells: usual: the value itself. by_price: the value for each USD that the tokens cost by the price table.
    by_token: the value for each token. by_clock: the value for each second between start and end; clock_spread: how
    many times the first decile of that its ninth is. speed: output tokens for each unit of the value. technical:
    whether a success only repeats what the code of HTTP says.
    """

    name: str
    type: str = "text"
    count: int = 0
    rows: int = 0
    distinct: int | None = None
    values: tuple[str, ...] = ()
    longest: int = 0
    samples: tuple[str, ...] = ()
    readable: float = 1.0
    low: float | None = None
    high: float | None = None
    median: float | None = None
    whole: bool = True
    decimal: str = "."
    dates: str = ""
    spelled: bool = False
    currencies: tuple[str, ...] = ()
    unread: str = ""
    usual: float | None = None
    by_price: float | None = None
    by_token: float | None = None
    by_clock: float | None = None
    clock_spread: float | None = None
    speed: float | None = None
    technical: bool = False
