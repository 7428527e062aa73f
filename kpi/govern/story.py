"""What a page says first: the findings of a slice, what was looked at to find them, or why nothing can be said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from kpi import clock
from kpi.explain.aggregates.search_space import SearchSpace, search_space
from kpi.govern.findings import DAYS, DAYS_BEFORE, Finding, findings
from kpi.govern.register import Register
from kpi.measure.metrics import CHOSEN
from kpi.measure.own_metrics import supported
from kpi.measure.profile import profile
from kpi.measure.slice import Resolved, Slice
from kpi.measure.summary import resolve
from kpi.narrate.findings import story_sentence
from kpi.narrate.names import say
from kpi.narrate.segments import with_search_space
from kpi.narrate.wording import scope_of
from kpi.result import Result, Results, plain
from kpi.store.engines import Source


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Story(Result):
    """The findings of a slice, the most important first.

    view: the slice that was searched; another than the one asked for where that has nothing earlier to compare with.
    compared: False where the data cannot say what changed. sentence: what was found, in words; or why nothing can be
    said, with the remedy. metrics, dimensions: names of what was searched.
    """

    columns = Finding.columns
    findings: tuple[Finding, ...]
    view: Slice
    compared: bool
    sentence: str
    metrics: tuple[str, ...]
    dimensions: tuple[str, ...]
    space: SearchSpace
    scope: str = ""

    def frame(self) -> pd.DataFrame:
        """One row a finding."""
        return Results(self.findings).frame()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the keys of `kpi findings --json`."""
        left = {"not_searched": plain(self.space.left_out)} if self.space.sentence else {}
        return {
            "findings": [f.to_dict() for f in self.findings],
            "scope": self.scope,
            "sentence": self.sentence,
            **left,
        }


def story(source: Source, slice: Slice | None = None, *, register: Register | None = None) -> Story:
    """`findings` of a slice, and what to say where there is none.

    A slice that is compared with nothing, with a version or with days before the first request is searched over the
    last 14 days against the 28 before instead, under the same filters.

    Args:
        source: Where the rows are.
        slice: The rows to look at.
        register: KPIs with targets and owners, the built-in one when None.

    Returns:
        A `Story`: findings, the slice that was searched, and a sentence.

    Raises:
        MetricError, SliceError: As `findings`.

    Example:
        >>> bool(kpi.story(source, kpi.Slice(last="14d")).sentence)
        True
    """
    view = slice if slice is not None and _earlier(source, resolve(source, slice)) else recent(source, slice)
    resolved = resolve(source, view)
    chosen = supported(source, CHOSEN["searched"])
    metrics, space = tuple(m.name for m in chosen), search_space(source, chosen)
    searched: dict[str, Any] = {"metrics": metrics, "dimensions": space.dimensions, "space": space,
                                "scope": scope_of(resolved, compared=True)}  # fmt: skip
    if not _earlier(source, resolved):
        return Story(findings=(), view=view, compared=False, **searched,
                     sentence=say("nothing", "times" if profile(source).first is None else "earlier"))  # fmt: skip
    found = findings(source, view, register=register)
    assert resolved.window is not None
    held, zone = resolved.held(resolved.window), ZoneInfo(view.tz)
    days = (held.end.astimezone(zone).date() - held.start.astimezone(zone).date()).days + 1
    said = story_sentence([f.kind for f in found], days=min(days, resolved.window.days), metrics=len(metrics),
                          dimensions=len(space.dimensions))  # fmt: skip
    said = with_search_space(said, space.sentence)
    return Story(findings=tuple(found), view=view, compared=True, sentence=said, **searched)


def recent(source: Source, slice: Slice | None = None) -> Slice:
    """A slice over the last 14 days against the 28 before: what `findings` looks at where no window is given."""
    base = replace(slice or Slice(dataset=source.name), last=f"{DAYS}d", start=None, end=None, baseline="none")
    window = resolve(source, base).window
    if window is None:
        return base
    start = window.start - timedelta(days=DAYS_BEFORE)
    return replace(base, baseline=f"{clock.iso(start)}..{clock.iso(window.start)}")


def rows_of(finding: Finding, view: Slice, resolved: Resolved) -> Slice:
    """The requests in which a finding shows: its segment and version in a slice, from its first day to the end."""
    start = datetime.combine(finding.since, time(), ZoneInfo(view.tz))
    version = {finding.version_of: finding.version} if finding.version_of and finding.version else {}
    assert resolved.window is not None
    since = replace(view, last=None, start=start, end=resolved.window.end, baseline="none")
    return since.where(**{**finding.where, **version})


def _earlier(source: Source, resolved: Resolved) -> bool:
    """Whether the slice is compared with an earlier window in which there can be requests."""
    first, window, before = profile(source).first, resolved.window, resolved.baseline
    return bool(first and window and before and before.end <= window.start and first < before.end)
