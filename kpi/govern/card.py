"""One KPI of the scorecard, and the state that its limits give it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from kpi.explain.comparison.worst_case import Coverage
from kpi.govern.register import Entry
from kpi.narrate.names import say
from kpi.narrate.scorecards import change_words, known_words, place_reason
from kpi.narrate.wording import format_count, format_value
from kpi.result import Plain, Result, plain
from kpi.stats.interval import Interval


@dataclass(frozen=True, kw_only=True)
class Change(Plain):
    """Difference from the baseline, that of `kpi.compare`. words: for people, "+2.1 pp (1.2 to 3.0)"; clear: the
    interval excludes zero, and no change of what is known could have made it alone. bounds: what it may be at worst,
    where that is open, else None. smallest: the minimum detectable effect.
    """

    difference: float
    low: float
    high: float
    clear: bool
    better: bool
    words: str
    bounds: Interval | None = None
    smallest: float = math.nan


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Card(Result):
    """One KPI of the scorecard; limits and values in the unit of the metric. spark: bucket, start, complete, value, n.

    counted: what the index counts, where that is not the value: a gap without the part that chance has in it. coverage:
    for which share of the requests it is known, in the baseline and now; None of what is computed from other KPIs.
    rate: whether it is a share of requests, which what is not known can move no further than to all and none.
    clustered_by: what names who repeats ("user", "session", "request", "mixed"); effective_users: heavy ones counted as
    what they are; heaviest: share of the largest; caution: what these mean for the limits, in words, or "".
    """

    columns = ("metric", "state", "value", "low", "high", "target", "change", "n", "owner")
    entry: Entry
    value: float
    low: float
    high: float
    n: int
    state: str
    reason: str
    change: Change | None
    spark: pd.DataFrame
    counted: float | None = None
    coverage: Coverage | None = None
    rate: bool = False
    clustered_by: str | None = None
    effective_users: float = math.nan
    heaviest: float = math.nan
    caution: str = ""
    metric: str = field(init=False)
    label: str = field(init=False)
    unit: str = field(init=False)
    target: float = field(init=False)
    owner: str = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("metric", "label", "unit", "target", "owner"):
            object.__setattr__(self, name, getattr(self.entry, name))

    @property
    def sentence(self) -> str:
        """What it is and why."""
        return f"{self.label}: {format_value(self.value, self.unit)}. {self.reason}"

    def frame(self) -> pd.DataFrame:
        """One row, as in `Scorecard.frame`."""
        return pd.DataFrame([self.to_dict()])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in the KPIs of `Scorecard.to_dict`."""
        names = ("metric", "value", "low", "high", "n", "unit", "state", "target")
        moved = self.change
        return {**{name: plain(getattr(self, name)) for name in names},
                "change": plain(moved.difference) if moved else None,
                "change_low": plain(moved.low) if moved else None, "change_high": plain(moved.high) if moved else None,
                "reason": self.reason, "owner": self.owner, "action": self.action, "clustered_by": self.clustered_by,
                "effective_users": plain(self.effective_users), "caution": self.caution or None,
                **self._partly()}  # fmt: skip

    def _partly(self) -> dict[str, Any]:
        """What `to_dict` says beside where not every request knows the metric."""
        known, worst = self.coverage, self.change.bounds if self.change else None
        if known is None or known.n == known.requests:
            return {}
        return {"coverage": plain(known.shares[1]), "coverage_was": plain(known.shares[0]),
                "requests": known.requests[1], "bound_low": plain(worst.low) if worst else None,
                "bound_high": plain(worst.high) if worst else None}  # fmt: skip

    @property
    def known(self) -> str:
        """ "Known for 62 % of requests (was 97 %)", where that says something of the value; else empty."""
        if not self.coverage:
            return ""
        was, now = self.coverage.shares
        possible = (now * self.value, now * self.value + 1 - now) if self.rate else None
        return known_words(was, now, moved=self.coverage.beyond(), possible=possible)

    @property
    def gist(self) -> str:
        """The first sentence of the reason."""
        return self.reason.split(". ")[0].rstrip(".") + "."

    @property
    def action(self) -> str:
        return self.entry.action(self.state)

    @property
    def standing(self) -> str:
        """The key of `kpi.wording.STATES` in whose words it stands."""
        return standing(self.entry, self.state, self.value)


def standing(entry: Entry, state: str, value: float) -> str:
    """The state, or on which side of the target a value lies that is within its limits but not at the target."""
    up = entry.direction == "up"
    if state != "on_target" or (value >= entry.target if up else value <= entry.target):
        return state
    return "below_target" if up else "above_target"


def moved(entry: Entry, now: Sequence[float], before: Sequence[float]) -> Change | None:
    """How far a distance or gap moved, each given as value, low, high. The window of one is the baseline of the other,
    so their errors go together: the change is clear only where the two intervals do not overlap."""
    change, low, high = now[0] - before[0], now[1] - before[2], now[2] - before[1]
    if not math.isfinite(change):
        return None
    clear, better = low > 0 or high < 0, (change > 0) == (entry.direction == "up")
    words = change_words(change, low, high, entry.unit, clear=clear)
    return Change(difference=change, low=low, high=high, clear=clear, better=better, words=words)


def judge(entry: Entry, value: float, low: float, high: float, n: int) -> tuple[str, str]:
    """(state, reason) of a value against the limits of its entry.

    Off target only when the whole interval lies beyond the off limit, on target only when no part of it does: a limit
    that is not known cannot rule that out.
    """
    if n < entry.min_n or not math.isfinite(value):
        return "no_data", say("reason", "few", n=format_count(n, "requests"), needed=format_count(entry.min_n))
    side = 1 if entry.direction == "up" else -1
    best, worst = (high, low) if side > 0 else (low, high)
    state, place = "on_target", "within"
    if side * (value - entry.off) < 0:
        sure = math.isfinite(best) and side * (best - entry.off) < 0
        state, place = ("off_target", "beyond") if sure else ("watch", "perhaps beyond")
    elif side * (value - entry.watch) < 0:
        state, place = "watch", "between"
    elif not side * (worst - entry.off) >= 0:
        state, place = "watch", "not ruled out"
    return state, place_reason(place, watch=entry.watch, off=entry.off, unit=entry.unit, above=side < 0)


def no_card(entry: Entry, reason: str) -> Card:
    """A grey card: nothing can be said, and why."""
    return Card(entry=entry, value=math.nan, low=math.nan, high=math.nan, n=0, state="no_data", reason=reason,
                change=None, spark=no_spark())  # fmt: skip


def no_spark() -> pd.DataFrame:
    """Of a KPI that has no course over time."""
    nothing = pd.to_datetime([])
    return pd.DataFrame({"bucket": nothing, "start": nothing, "complete": [], "value": [], "n": []})
