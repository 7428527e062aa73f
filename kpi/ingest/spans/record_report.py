"""What a format says of the records that it reads: left-out fields, problems, notes."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from kpi.ingest.context import Context
from kpi.ingest.spans.collector import Intake
from kpi.ingest.spans.items import MALFORMED, Item
from kpi.receipts import ColumnUse

_FIELDS_NAMED, _NAME = 500, 200  # fields that are named, and characters of a name


class Say:
    """What a format may say while it translates, besides what it yields.

    kept: the format's own memory for the length of a load. file: the input at hand.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.kept: dict[Any, Any] = {}
        self._left_out: set[str] = set()

    @property
    def file(self) -> str:
        return self._intake.file

    @property
    def context(self) -> Context:
        """That of the load, for what formats and readers gather together."""
        return self._intake.context

    def drop(self, reason: str, hint: str = "") -> None:
        """Count the record at hand, or a part of it, as one that could not be read."""
        self._intake.drop(reason, hint)

    def whole_parts(self, parts: Iterable[Iterator[Item]]) -> Iterator[Item]:
        """What each part of a record states; one that is malformed is counted and loses itself only."""
        for part in parts:
            try:
                yield from part
            except MALFORMED as error:
                self.drop(f"malformed part of a record ({type(error).__name__})", "A field has an unexpected type.")

    def note(self, sentence: str) -> None:
        """A plain sentence for the receipt; repeated ones appear once."""
        self._intake.receipt.note(sentence)

    def left_out(self, record: Mapping[str, Any], read: Collection[str], inside: str = "") -> None:
        """Name on the receipt the fields of a record that hold something and are not among those that are read."""
        for key, value in record.items():
            if key in read or value is None or value == "" or value == [] or value == {}:
                continue
            name = f"{inside}.{key}" if inside else str(key)
            if name not in self._left_out and len(self._left_out) < _FIELDS_NAMED:
                self._left_out.add(name)
                self._intake.receipt.use(ColumnUse(source=name[:_NAME], field=None, how="unmapped"))
