"""What one load read, dropped, repeated, could not map or price, and why: the receipt people keep.

A receipt holds counts, column names, row numbers and reasons. It never holds the content of a row.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from kpi.privacy.identifying_names import reason_of
from kpi.privacy.policy import NOT_LISTED

How = Literal["exact", "alias", "guessed", "cohort", "measure", "unmapped"]
DROPS_KEPT = 1_000
NOTES_KEPT = 200
UNREAD_KEPT = 200
NAMED_MODELS = 200  # without a price, most requests first
NOT_NAMED = "(model or token counts not stated)"
_NAME_LENGTH = 200


@dataclass(frozen=True)
class Drop:
    """One quarantined row. row: 1-based, as a person counts the data rows (or lines, or records) of the file."""

    row: int
    reason: str
    hint: str = ""
    file: str = ""


@dataclass(frozen=True)
class ColumnUse:
    """What became of one source column: canonical field (or `x_…` cohort, `m_…` measure), how that was decided, unit.

    kept_out: left out to protect people; the note says why.
    """

    source: str
    field: str | None
    how: How
    unit: str = ""
    note: str = ""
    kept_out: bool = False


@dataclass(frozen=True)
class Unread:
    """A measure of model calls that no reader knows: its name, how often it held a number, and one such number."""

    name: str
    count: int
    example: float


@dataclass
class Receipt:
    """The account of one load.

    rows_read: rows, spans or records seen, good or bad. loaded: new or completed rows. repeated: rows stored already,
    or twice in the input. overwritten: those of the latter that say something else than the row that counts. first,
    last: epoch microseconds of the earliest and latest request. missing: canonical request columns that this load left
    empty. All drops are counted in `drop_reasons`; the first 1,000 are kept. kept_out: metadata keys and columns that
    the policy of privacy kept out, with how often they held something.
    unread: numbers under names that look like tokens, cost, first token or duration, and that nobody read.
    unpriced_models: requests without a price, by the model that lacks it. prices: version and day of the price table.
    """

    dataset: str = ""
    version: int = 0
    format: str = ""
    files: list[str] = field(default_factory=list)
    rows_read: int = 0
    requests: int = 0
    spans: int = 0
    loaded: int = 0
    repeated: int = 0
    dropped: int = 0
    overwritten: int = 0
    drops: list[Drop] = field(default_factory=list)
    drop_reasons: dict[str, int] = field(default_factory=dict)
    columns: list[ColumnUse] = field(default_factory=list)
    unmapped: list[str] = field(default_factory=list)
    kept_out: dict[str, int] = field(default_factory=dict)
    unpriced: int = 0
    unpriced_models: dict[str, int] = field(default_factory=dict)
    prices: str = ""
    first: int | None = None
    last: int | None = None
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._counted: dict[str, tuple[int, str]] = {}  # by sentence: its count so far, and the note that says so

    def drop(self, row: int, reason: str, *, hint: str = "", file: str = "") -> None:
        """Quarantine one row: counted under its reason, remembered while fewer than 1,000 are."""
        self.dropped += 1
        self.drop_reasons[reason] = self.drop_reasons.get(reason, 0) + 1
        if len(self.drops) < DROPS_KEPT:
            self.drops.append(Drop(row=int(row), reason=reason, hint=hint, file=file[:_NAME_LENGTH]))

    @property
    def lost(self) -> float:
        """The share of the rows read that was dropped, or overwritten by another row of the same load; 0 to 1."""
        gone = self.dropped + self.overwritten
        return min(1.0, gone / max(self.rows_read, gone)) if gone else 0.0

    def note(self, sentence: str) -> None:
        """Add a plain sentence once; at most 200 are kept."""
        if sentence not in self.notes and len(self.notes) < NOTES_KEPT:
            self.notes.append(sentence)

    def count(self, sentence: str, number: int) -> None:
        """Add to the number of a note, for which its `{spans}` stands: one note, however often it is counted."""
        before, note = self._counted.get(sentence, (0, ""))
        number += before
        told = sentence.replace("{spans}", f"{number:,} span{'s' if number != 1 else ''}")
        self._counted[sentence] = (number, told)
        if note in self.notes:
            self.notes[self.notes.index(note)] = told
        else:
            self.note(told)

    def miss(self, name: str, count: int, example: float) -> None:
        """Add to how often a measure was there that nobody read; at most 200 names are kept."""
        name = name[:_NAME_LENGTH]
        for place, known in enumerate(self.unread):
            if known.name == name:
                self.unread[place] = Unread(name, known.count + count, max(known.example, example))
                return
        if len(self.unread) < UNREAD_KEPT:
            self.unread.append(Unread(name, count, example))

    def use(self, column: ColumnUse) -> None:
        """Record what became of a source column; the same use is recorded once."""
        if column in self.columns:
            return
        self.columns.append(column)
        if column.how == "unmapped" and column.source not in self.unmapped:
            self.unmapped.append(column.source)

    def seen(self, first: int | None, last: int | None) -> None:
        """Widen the span of time that the load covers; epoch microseconds."""
        self.first = min((t for t in (self.first, first) if t is not None), default=None)
        self.last = max((t for t in (self.last, last) if t is not None), default=None)

    def keep_out(self, counts: Mapping[str, int]) -> None:
        """Add counts of metadata keys that the policy kept out."""
        self.kept_out = dict(Counter(self.kept_out) + Counter(counts))

    def why_kept_out(self, name: str) -> str:
        """Why a key or column was kept out, in a few words."""
        told = next((c.note for c in self.columns if c.kept_out and c.source == name), "")
        return told or reason_of(name) or NOT_LISTED

    def to_json(self) -> str:
        return orjson.dumps(dataclasses.asdict(self), default=str).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Receipt:
        """Inverse of `to_json`. Keys that this version does not know are ignored, so old manifests stay readable."""
        data: dict[str, Any] = orjson.loads(text)
        known = {f.name for f in dataclasses.fields(cls)}
        data = {k: v for k, v in data.items() if k in known}
        data["drops"] = [Drop(**d) for d in data.get("drops", [])]
        data["unread"] = [Unread(**u) for u in data.get("unread", [])]
        data["columns"] = [ColumnUse(**c) for c in data.get("columns", [])]
        return cls(**data)
