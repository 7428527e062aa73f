"""How a command ends: the table of exit codes that all share, and what is looked at before an answer is believed."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import kpi
from kpi.cli.output import SCHEMA_KEYS, printable
from kpi.errors import KpiError

if TYPE_CHECKING:
    from kpi import Resolved, Slice, Source

FINE, BREACHED, CANNOT_TELL, BAD = 0, 1, 2, 3
# Why a command ends other than with 0, unless --fail-on leaves it out: its exit code, and what it means.
REASONS: dict[str, tuple[int, str]] = {
    "breach": (BREACHED, "a limit is breached, or something is clearly worse"),
    "unknown": (CANNOT_TELL, "the data cannot tell: no value, no baseline, or an interval that leaves it open"),
    "empty": (CANNOT_TELL, "no request matches the window and the filters"),
    "few": (CANNOT_TELL, "fewer requests match than `--least`"),
    "stale": (CANNOT_TELL, "the newest request is more than `--stale-after` days old by the clock"),
    "times": (CANNOT_TELL, "a window, bucket or earlier window is asked for, and no request has a time"),
    "missing": (CANNOT_TELL, "a metric that was asked for needs a column that the data lacks"),
}
# Commands that judge, or compare: fewer requests than this leave a verdict open. All others only want one.
LEAST = dict.fromkeys(("scorecard", "findings", "segments", "compare", "decompose", "contrast", "frontier", "drift",
                       "fairness"), 100)  # fmt: skip
COMPARE = ("findings", "decompose", "drift")  # with an earlier window: they can say nothing without times
STALE_DAYS = 3.0  # as the register has it for most KPIs
_BAD = ("metric.unknown", "dimension.unknown", "register.unknown", "slice.value")  # a mistake, whatever the data holds


@dataclass
class Doubts:
    """What a command found out about its slice. told: reason -> sentence. window: of the slice, plain."""

    command: str
    json: bool
    told: dict[str, str] = field(default_factory=dict)
    window: dict[str, str | None] | None = None

    def add(self, reason: str, sentence: str) -> None:
        if reason not in self.told:
            self.told[reason] = sentence
            _say(sentence)

    def look(self, source: Source, view: Slice, *, timed: bool, least: int | None, stale: float | None) -> None:
        """Say the window, what it leaves out, and why its answer may be no answer. timed: a time is asked for."""
        resolved, known = kpi.resolve(source, view), kpi.profile(source)
        self.window = _plain(resolved)
        frames = kpi.compare_windows(source, "requests", view, groupings=[kpi.Grouping(intervals=False)])
        n, before = (None if f is None else int(f[0]["value"].sum()) for f in frames)
        if not self.json:
            _say(kpi.wording.slice_sentence(view, resolved, version=source.version, requests=n))
        for note in resolved.notes:
            _say(note)
        if known.first is None and (timed or (self.command in COMPARE and not resolved.compared)):
            self.add("times", "This data has no times: windows and buckets are off, every request counts.")
        self._count(n or 0, before, LEAST.get(self.command, 1) if least is None else least)
        backwards = view.end is None and view.last != "all"
        if resolved.data and (backwards or stale is not None):
            self._age(resolved, STALE_DAYS if stale is None else stale)

    def _count(self, n: int, before: int | None, least: int) -> None:
        count = kpi.wording.format_count
        if n == 0:
            self.add("empty", "No requests match this slice.")
        elif n < least:
            self.add("few", f"{count(n, 'request' if n == 1 else 'requests')}, of {least:,} that are needed.")
        elif self.command in COMPARE and before is not None and before < least:
            self.add("few", f"{count(before, 'requests')} to compare with, of {least:,} that are needed.")

    def _age(self, resolved: Resolved, days: float) -> None:
        from kpi import clock

        assert resolved.data is not None
        age = (clock.now() - resolved.data.end) / timedelta(days=1)
        if age > days:
            since = kpi.wording.day_words(resolved.data.end, resolved.slice.tz, year=True)
            self.add("stale", f"The newest request is of {since}, {age:,.0f} days ago.")

    def need(self, source: Source, metrics: Sequence[str]) -> None:
        """Say which of the metrics asked for this data cannot have."""
        holds, have = kpi.profile(source).holds, kpi.metrics_of(source)
        for m in (have[name] for name in metrics if name in have):
            if lacking := [c.removeprefix("own:") for c in m.needs if not holds(c)]:
                self.add("missing", f"{m.label} cannot be told: the data has no {', '.join(lacking)}.")

    def explain(self, error: KpiError) -> bool:
        """Whether an error only says again what the data lacks."""
        return bool(self.told.keys() - {"stale"}) and error.code not in _BAD

    def code(self, code: int, fail_on: Collection[str]) -> int:
        """The exit code, of what the command says itself and what is in doubt; a breach comes first."""
        if code == BAD:
            return BAD
        own = {BREACHED: {"breach"}, CANNOT_TELL: {"unknown"}}.get(code, set())
        return min((REASONS[r][0] for r in own | self.told.keys() if r in fail_on), default=FINE)


_DOUBTS: ContextVar[Doubts | None] = ContextVar("doubts", default=None)


@contextmanager
def doubting(command: str, *, json: bool) -> Iterator[Doubts]:
    """The doubts of one command, which every object that it prints holds as well."""
    found = Doubts(command=command, json=json)
    mark, keys = _DOUBTS.set(found), SCHEMA_KEYS.set(lambda: _keys(found))
    try:
        yield found
    finally:
        SCHEMA_KEYS.reset(keys)
        _DOUBTS.reset(mark)


def doubts() -> Doubts:
    """Those of the command that runs."""
    found = _DOUBTS.get()
    assert found is not None, "only commands with a slice have doubts"
    return found


def _keys(found: Doubts) -> dict[str, Any]:
    told = [{"reason": reason, "sentence": sentence} for reason, sentence in found.told.items()]
    return {"window": found.window, "doubts": told}


def _plain(resolved: Resolved) -> dict[str, str | None]:
    spans = {"": resolved.window, "baseline_": resolved.baseline}
    ends = {f"{k}{name}": getattr(span, part).isoformat() if span else None
            for k, span in spans.items() for name, part in (("from", "start"), ("to", "end"))}  # fmt: skip
    return {**ends, "tz": resolved.slice.tz}


def _say(sentence: str) -> None:
    print(f"kpi: {printable(sentence, longest=400)}", file=sys.stderr)
