"""Tables of one database as plain dicts: the few statements that reading needs, the same on every engine.

Only tables and columns that the database's own catalogue lists are named, all quoted; all values are bound. Rows come
in batches, ordered by when they came in. Values are what JSON knows: times are ISO 8601 in UTC, decimals text.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from kpi.clock import utc
from kpi.receipts import Receipt

Row = dict[str, Any]
Values = Mapping[str, Any]
BATCH = 200  # rows at a time; what belongs to them is looked up together
MARK = "kpi_mark"  # the column of a batch that says when the row came in
ROWS = 5_000_000  # of one table in one reading
_PLAIN = re.compile(r"\w+")


class Database(ABC):
    """What databases have in common. tables: name -> names of its columns. receipt: takes what could not be read.

    page: rows that one statement may give; engines whose drivers hold a whole answer in memory read in pages.
    """

    page = ROWS

    def __init__(self, tables: Mapping[str, Iterable[str]], receipt: Receipt) -> None:
        self.tables = {name: frozenset(c for c in columns if _PLAIN.fullmatch(c)) for name, columns in tables.items()}
        self.receipt = receipt
        self._owners: set[str] = set()

    @abstractmethod
    def stream(self, statement: str, values: Values, table: str) -> Iterator[list[Row]]:
        """Batches of at most `BATCH` rows, while `look_up` may run."""

    @abstractmethod
    def look_up(self, statement: str, values: Values, table: str) -> list[Row]:
        """All rows of a small answer."""

    def quoted(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def source(self, table: str) -> str:
        """The table as it stands behind FROM."""
        return self.quoted(table)

    def condition(self, table: str) -> str:
        """What holds for every row that counts; "" for nothing."""
        return ""

    def moment(self, name: str) -> str:
        """The bound time `name`, as it compares with a column of times."""
        return f":{name}"

    def moment_value(self, at: datetime) -> Any:
        """A UTC time as it is bound."""
        return at.replace(tzinfo=None)

    def has(self, table: str, column: str = "") -> bool:
        return table in self.tables and (not column or column in self.tables[table])

    def select(self, table: str, what: str, conditions: Iterable[str], rest: str = "") -> str:
        """A SELECT statement; `conditions` that are empty are left out."""
        found = [c for c in (*conditions, self.condition(table)) if c]
        where = f" WHERE {' AND '.join(found)}" if found else ""
        return f"SELECT {what} FROM {self.source(table)}{where}{rest}"

    def columns(self, table: str, without: Iterable[str] = ()) -> str:
        """The columns of a table, listed: a column that is added meanwhile changes nothing."""
        return ", ".join(self.quoted(c) for c in sorted(self.tables[table] - frozenset(without)))

    def one(self, table: str, what: str, conditions: Iterable[str], values: Values) -> Any:
        """The one value of an aggregate."""
        rows = self.look_up(self.select(table, f"{what} AS kpi_value", conditions), values, table)
        return rows[0]["kpi_value"] if rows else None

    def related(self, table: str, column: str, keys: Iterable[Any], order: str = "") -> dict[Any, list[Row]]:
        """key -> rows whose `column` is that key; none where the database has no such table or column."""
        found: dict[Any, list[Row]] = {}
        if not self.has(table, column):
            return found
        wanted = [k for k in dict.fromkeys(keys) if k is not None]
        ordered = f" ORDER BY {self.quoted(order)}" if order and self.has(table, order) else ""
        for start in range(0, len(wanted), BATCH):
            values = {f"k{i}": key for i, key in enumerate(wanted[start : start + BATCH])}
            among = f"{self.quoted(column)} IN ({', '.join(f':{k}' for k in values)})"
            statement = self.select(table, self.columns(table), [among], ordered)
            for row in self.look_up(statement, values, table):
                found.setdefault(row[column], []).append(row)
        return found

    def owned(self, what: str, owners: Iterable[Any]) -> None:
        """Rows of these projects were met. Several of them make one data set only if that is what people want."""
        self._owners.update(str(o) for o in owners if o is not None)
        if len(self._owners) > 1:
            self.receipt.note(f"The database holds several {what}; all of them are in this data set.")


def plain(value: Any) -> Any:
    """A value of a driver as JSON would hold it."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, datetime):
        return utc(value).isoformat()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(v) for v in value]
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8", "replace")
    return str(value) if isinstance(value, Decimal | UUID | date) else repr(value)
