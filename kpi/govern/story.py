"""What a page says first: the findings of a slice, what was looked at to find them, or why nothing can be said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from kpi.errors import SliceError
from kpi.explain.aggregates.search_space import SearchSpace, search_space
from kpi.govern.findings import Finding, findings, usual
from kpi.govern.register import Register
from kpi.measure.metrics import CHOSEN, METRICS, Metric
from kpi.measure.own_metrics import metric_of, supported
from kpi.measure.slice import Resolved, Slice
from kpi.measure.summary import resolve
from kpi.narrate.findings import story_sentence
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

    def about(self, metric: Metric, change: float = math.nan) -> list[Finding]:
        """Findings that concern a metric: those that explain most of its change, then those that moved it along, then
        those that went against it. change: of the metric, in its unit.
        """
        along = {"cost", "latency"} & {metric.group}  # whose statistics are one KPI in several forms

        def key(f: Finding) -> tuple[bool, bool, float]:
            own = f.metric == metric.name and f.kind != "coverage"
            explained = f.change * f.n * math.copysign(1.0, change) if own and math.isfinite(change) else 0.0
            return explained < 0, explained == 0, -abs(explained)

        kin = {name for name, m in METRICS.items() if m.group in along} | {metric.name}
        return sorted((f for f in self.findings if f.metric in kin or metric.name in f.also), key=key)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the keys of `kpi findings --json`."""
        left = {"not_searched": plain(self.space.left_out)} if self.space.sentence else {}
        return {
            "findings": [f.to_dict() for f in self.findings],
            "scope": self.scope,
            "sentence": self.sentence,
            **left,
        }


def story(
    source: Source, slice: Slice | None = None, *, register: Register | None = None,
    metrics: Sequence[str | Metric] | None = None,
) -> Story:  # fmt: skip
    """`findings` of a slice, and what to say where there is none.

    A slice that is compared with nothing, with a version or with days before the first request is searched over the
    last 14 days against the 28 before instead, under the same filters.

    Args:
        source: Where the rows are.
        slice: The rows to look at.
        register: KPIs with targets and owners, the built-in one when None.
        metrics: Names to search, by default those that the data supports.

    Returns:
        A `Story`: findings, the slice that was searched, and a sentence.

    Raises:
        MetricError, SliceError: As `findings`.

    Example:
        >>> bool(kpi.story(source, kpi.Slice(last="14d")).sentence)
        True
    """
    view = usual(source, slice)
    resolved = resolve(source, view)
    chosen = supported(source, CHOSEN["searched"]) if metrics is None else [metric_of(source, m) for m in metrics]
    names, space = tuple(m.name for m in chosen), search_space(source, chosen)
    searched: dict[str, Any] = {"metrics": names, "dimensions": space.dimensions, "space": space,
                                "scope": scope_of(resolved, compared=True)}  # fmt: skip
    try:
        found = findings(source, view, register=register, metrics=metrics)
    except SliceError as error:
        if not error.code.startswith("findings."):
            raise
        return Story(findings=(), view=view, compared=False, sentence=str(error), **searched)
    assert resolved.window is not None
    held, zone = resolved.held(resolved.window), ZoneInfo(view.tz)
    days = (held.end.astimezone(zone).date() - held.start.astimezone(zone).date()).days + 1
    said = story_sentence([f.kind for f in found], days=min(days, resolved.window.days), metrics=len(names),
                          dimensions=len(space.dimensions))  # fmt: skip
    said = with_search_space(said, space.sentence)
    return Story(findings=tuple(found), view=view, compared=True, sentence=said, **searched)


def rows_of(finding: Finding, view: Slice, resolved: Resolved) -> Slice:
    """The requests in which a finding shows: its segment and version in a slice, from its first day to the end."""
    start = datetime.combine(finding.since, time(), ZoneInfo(view.tz))
    version = {finding.version_of: finding.version} if finding.version_of and finding.version else {}
    assert resolved.window is not None
    since = replace(view, last=None, start=start, end=resolved.window.end, baseline="none")
    return since.where(**{**finding.where, **version})
