"""Findings: what changed, for whom, since when, by how much, who acts. The few sentences that a person should read.

The search and its arithmetic are in `kpi.explain`; here a change gets its words, its owner and its next step.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from kpi import clock
from kpi.errors import SliceError
from kpi.explain.aggregates.cube import Cube, build_cube
from kpi.explain.aggregates.grouped_sums import Arm
from kpi.explain.changes.coverage import coverage_changes, coverage_of
from kpi.explain.changes.region import spread
from kpi.explain.changes.root_cause import SelectedChange
from kpi.explain.changes.selection import LEVEL, SAME, select_changes
from kpi.explain.comparison.worst_case import TermCounts, bounds, cannot_tell
from kpi.govern.card import judge
from kpi.govern.register import Entry, Register, register_of
from kpi.measure.cells import Grouping
from kpi.measure.metrics import CHOSEN, METRICS, Metric
from kpi.measure.own_metrics import metric_of, supported
from kpi.measure.profile import profile
from kpi.measure.slice import Resolved, Slice, Window
from kpi.measure.summary import measure, resolve
from kpi.narrate import findings as said
from kpi.narrate.names import WORDS, say
from kpi.narrate.wording import scope_words
from kpi.result import Result, Results, plain
from kpi.stats.interval import Interval, difference
from kpi.store.engines import Source

SHOWN = 7
CELLS = 90_000  # searched at most: more find no cause that these miss, and take longer than a reader waits
DAYS, DAYS_BEFORE = 14, 28  # looked at, and compared with, where no window is given
_COSTS = ("cost_per_query", "cost_p95")
_TAILS = {"cost_per_query": _COSTS, "cost_p50": _COSTS, "latency_p50": ("latency_p95", "latency_p50")}
_PREFERRED = 1.5  # times as large must the change of another statistic be to be named instead of the usual one
_HIDDEN_Z = 1.96  # a fall of the whole that is less clear than this is none
_NEARLY_CERTAIN = 0.001  # q up to which a finding comes before those that are less sure
_LABELS = 0.5  # of the level, for coverage: labels come and go by user and day more than outcomes do (simulated)
_TOTAL = Grouping()
_NOTHING = "Nothing changed for certain."
_COUNTED = ("rate", "incidence")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Finding(Result):
    """One change in plain words.

    kind: regression, improvement, hidden_regression (the whole is flat or better), mix (no group changed, their shares
    did) or coverage (the metric is known for another share of the requests: value, was and change are that share, and
    bounds what the metric's own change may be at worst, where it seems to have one). where: segment; version: the
    version that brought it, and its dimension. since: first day. value, was: the metric from then on and before, in its
    unit; change: value - was with its 95 % interval. n: requests that count since then. q: of such findings this share
    is false at most. state: of the segment by the register, None where it does not govern the metric. also: metrics
    that moved with it. link: to its evidence, relative to the app's address.
    """

    columns = ("kind", "metric", "where", "since", "change", "low", "high", "was", "value", "n")
    kind: str
    metric: str
    where: Mapping[str, str]
    version: str | None
    version_of: str | None
    since: date
    value: float
    was: float
    change: float
    low: float
    high: float
    unit: str
    n: int
    q: float
    state: str | None
    owner: str
    action: str
    link: str
    also: tuple[str, ...] = ()
    mix: Mapping[str, Any] | None = None
    bounds: Interval | None = None
    labels: tuple[str, ...] = ()
    metric_unit: str = ""
    standing: bool = False
    beside: tuple[Mapping[str, str], ...] = ()

    @property
    def sentence(self) -> str:
        """What, where, since when, by how much and how sure."""
        return said.coverage_sentence(self) if self.kind == "coverage" else said.finding_sentence(self, self.labels[0])

    def frame(self) -> pd.DataFrame:
        """One row, the keys of `to_dict`."""
        return pd.DataFrame([self.to_dict()])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the keys of `kpi findings --json`."""
        names = ("kind", "metric", "where", "version", "version_of", "since", "change", "low", "high", "q", "n",
                 "state", "owner", "action", "link", "sentence", "unit", "value", "was", "also", "mix")  # fmt: skip
        worst = self.bounds
        return {**{name: plain(getattr(self, name)) for name in names},
                "bound_low": plain(worst.low) if worst else None,
                "bound_high": plain(worst.high) if worst else None}  # fmt: skip


def findings(
    source: Source, slice: Slice | None = None, *, register: Register | None = None,
    metrics: Sequence[str | Metric] | None = None, most: int = SHOWN, level: float = LEVEL,
) -> Results[Finding]:  # fmt: skip
    """The changes worth telling in a slice, the most important first; an empty list when nothing changed for certain.

    Args:
        source: Where the rows are.
        slice: Its window is compared with its baseline of time, of which the window before is taken as 28 days at
            least. Without one the window is that of every question (`kpi.resolve`), or the last 14 days against the 28
            before where nothing lies before that.
        register: KPIs with targets and owners, the built-in one when None.
        metrics: Names to search, by default those of `CHOSEN` that the data supports.
        most: Findings to give.
        level: Of the first change told.

    Returns:
        At most `most` findings, each with value, change, limits, owner and a link to its slice.

    Raises:
        MetricError: For an unknown metric.
        SliceError: Where nothing can be told: no times, nothing earlier to compare with, no request that matches.

    Example:
        >>> found = kpi.findings(source, metrics=["task_success"], most=3)
        >>> len(found) <= 3
        True
    """
    asked, searched = slice or usual(source), _searched(source, metrics)
    looked, before = _windows(source, asked)
    if not searched:
        raise SliceError.told("findings.metrics")
    whole = Window(start=before.start, end=looked.end)
    cube = build_cube(source, list(searched.values()), window=whole, filters=asked.filters, tz=asked.tz, most=CELLS)
    start = _day(looked.start, asked.tz, cube.first)
    entries = {e.metric: e for e in (register or register_of(source)).entries}
    scope = scope_words([looked, before], asked.tz)
    if not len(cube):
        raise SliceError.told("findings.empty")
    search = _Search(source, asked, whole, cube, start, searched, entries)
    changes = select_changes(cube, start, level=level)
    told = [(c, f) for c in changes if (f := _finding(search, c)) is not None]
    unknown = [(c, _coverage(search, c)) for c in coverage_changes(cube, start, level=level * _LABELS)]
    found = sorted(_told_once(told, unknown), key=_order)[:most]
    return Results(found, sentence="" if found else _NOTHING, scope=scope)


@dataclass(frozen=True)
class _Search:
    """What a finding is worded from. whole: both windows; start: day of the cube on which that looked at begins."""

    source: Source
    slice: Slice
    whole: Window
    cube: Cube
    start: int
    metrics: Mapping[str, Metric]
    entries: Mapping[str, Entry]


_Told = Sequence[tuple[SelectedChange, Finding]]


def _told_once(told: _Told, unknown: _Told) -> list[Finding]:
    """All findings; what seemed to change because less is known stands with the change of what is known."""
    found = [f for _, f in unknown]
    for change, finding in told:
        alike = [i for i, (c, f) in enumerate(unknown)
                 if change.metric in (f.metric, *f.also) and change.region.overlap(c.region) >= SAME]  # fmt: skip
        if finding.kind != "coverage" or not alike:
            found.append(finding)
        elif change.metric == unknown[alike[0]][0].metric:
            found[alike[0]] = replace(found[alike[0]], metric=finding.metric, labels=finding.labels,
                                      metric_unit=finding.metric_unit, bounds=finding.bounds)  # fmt: skip
    return found


def _searched(source: Source, names: Sequence[str | Metric] | None) -> dict[str, Metric]:
    if names is None:
        return {m.name: m for m in supported(source, CHOSEN["searched"])}
    chosen = [metric_of(source, n) for n in names]
    return {m.name: m for m in chosen if profile(source).supports(m)}


def usual(source: Source, slice: Slice | None = None) -> Slice:
    """The slice, or that of a question without one, where something lies before it; else `recent`."""
    resolved = resolve(source, slice)
    return resolved.slice if earlier(resolved) else recent(source, slice)


def recent(source: Source, slice: Slice | None = None) -> Slice:
    """A slice over the last 14 days against the 28 before: what is searched where nothing lies before a window."""
    base = replace(slice or Slice(dataset=source.name), last=f"{DAYS}d", start=None, end=None, baseline="none")
    window = resolve(source, base).window
    if window is None:
        return base
    start = window.start - timedelta(days=DAYS_BEFORE)
    return replace(base, baseline=f"{clock.iso(start)}..{clock.iso(window.start)}")


def earlier(resolved: Resolved) -> bool:
    """Whether the slice is compared with an earlier window."""
    window, before = resolved.window, resolved.baseline
    return bool(window and before and before.end <= window.start)


def _windows(source: Source, slice: Slice) -> tuple[Window, Window]:
    """(window, window before) to compare. Raises SliceError where there are no two windows of time."""
    resolved = resolve(source, slice)
    looked, before = resolved.window, resolved.baseline
    if looked is None:
        raise SliceError.told("findings.times")
    if before is None or not earlier(resolved):
        raise SliceError.told("findings.earlier")
    if slice.baseline == "previous":  # a cause is the same through every window
        before = Window(start=min(before.start, looked.start - timedelta(days=DAYS_BEFORE)), end=before.end)
    return looked, before


def _day(moment: datetime, tz: str, first: date) -> int:
    return (moment.astimezone(ZoneInfo(tz)).date() - first).days


def _order(finding: Finding) -> tuple[bool, int, float]:
    """Hidden regressions on top, then what got worse, then the rest; each by how sure it is.

    What could be one of the few false findings stands behind all that can hardly be.
    """
    rank = {"hidden_regression": 0, "regression": 1, "coverage": 2, "mix": 3, "improvement": 4}[finding.kind]
    size = abs(finding.change) / max((finding.high - finding.low) / 2, 1e-12)
    return finding.q > _NEARLY_CERTAIN, rank, -size


def _finding(search: _Search, change: SelectedChange) -> Finding | None:
    cube, since = search.cube, search.cube.date_of(change.day)
    arms = _arms(search, since, change.where, change.version)
    metric = search.metrics[change.metric]
    counted = metric.kind in _COUNTED and cube.share == 1  # the cells of all users hold them: no query is needed
    numbers = None if counted or change.beside else _measured(search, change, metric, arms)
    metric, value, was, low, high, n = numbers or _tested(cube, change, metric)
    moved = Interval(value=value - was, low=low, high=high)
    if not (math.isfinite(was) and moved.clear):
        return None
    known = coverage_of(change.region, change.metric, cube)
    worst = bounds(metric, (was, value), moved, known, TermCounts(search.source, arms))
    kind = _kind(change, metric, moved.value)
    if cannot_tell("better" if kind == "improvement" else "worse", worst, 0.0):
        unknown = _coverage(search, change)
        labels = (metric.label, *unknown.labels[1:])
        return replace(unknown, metric=metric.name, labels=labels, metric_unit=metric.unit, bounds=worst)
    if kind == "hidden_regression" and metric.name != change.metric:  # the search saw another statistic of the whole
        kind = "regression" if _whole_worse(search, metric, since) else kind
    entry = search.entries.get(metric.name)
    state = judge(entry, value, value, value, n)[0] if entry and n else None
    return _told(search, change, metric, moved, kind=kind, value=value, was=was, unit=metric.unit, n=n, state=state,
                 action=_action(entry, kind, change))  # fmt: skip


def _coverage(search: _Search, change: SelectedChange) -> Finding:
    """A change of what is known, in the segment of a change."""
    known, metric = coverage_of(change.region, change.metric, search.cube), search.metrics[change.metric]
    was, value = known.shares
    place = metric.group if metric.group in WORDS["look"] else "other"
    return _told(search, change, metric, known.change, kind="coverage", value=value, was=was, unit="share",
                 n=round(known.requests[1] / search.cube.share), state=None,
                 action=say("look", place) if value < was else say("act", "compare_like"))  # fmt: skip


def _told(search: _Search, told: SelectedChange, metric: Metric, moved: Interval, **numbers: Any) -> Finding:
    """A finding: its numbers, and what a change tells of place, time and company."""
    since, (version_of, version) = search.cube.date_of(told.day), told.version or (None, None)
    mix = dict(zip(("dimension", "value", "change"), told.mix, strict=True)) if told.mix else None
    entry = search.entries.get(metric.name)
    return Finding(metric=metric.name, where=dict(told.where), version=version, version_of=version_of, since=since,
                   q=told.q, owner=entry.owner if entry else "", link=_link(search.slice, told, metric),
                   also=told.also, beside=told.beside, mix=mix, standing=told.day < search.start,
                   labels=(metric.label, *(search.metrics[m].label for m in told.also)), metric_unit=metric.unit,
                   change=moved.value, low=moved.low, high=moved.high, **numbers)  # fmt: skip


def _kind(change: SelectedChange, metric: Metric, moved: float) -> str:
    if change.mix is not None:
        return "mix"
    if metric.direction == "none":
        return "regression" if moved > 0 else "improvement"
    better = moved > 0 if metric.direction == "up" else moved < 0
    if better:
        return "improvement"
    worse = -1.0 if metric.direction == "up" else 1.0
    hidden = bool(change.where) and worse * change.total_z < _HIDDEN_Z
    return "hidden_regression" if hidden else "regression"


_Numbers = tuple[Metric, float, float, float, float, int]  # value, value before, the change's limits, n


def _measured(search: _Search, change: SelectedChange, asked: Metric, arms: tuple[Arm, Arm]) -> _Numbers | None:
    """The numbers from the rows of the segment, in the unit of the metric: of a statistic whose own interval is clear
    and moved as the tested one did, if there is one."""
    best: tuple[float, _Numbers | None] = (0.0, None)
    metrics = [METRICS[n] for n in _TAILS.get(asked.name, ())] or [asked]
    frames, found = _sides(search, metrics, arms), search.cube
    for metric in metrics:
        before, now = (f[f["metric"] == metric.name].iloc[0] for f in frames)
        moved = difference((now["value"], now["low"], now["high"]), (before["value"], before["low"], before["high"]))
        if metric.name == change.metric and found.share == 1 and metric.kind != "quantile":
            # users of both windows are compared with themselves, which is sharper
            _, error = spread(found, metric.name, change.region.now, change.region.before)
            low, high = (moved.value + side * 1.96 * error * metric.scale for side in (-1, 1))
            moved = replace(moved, low=low, high=high)
        if not moved.clear or moved.value * change.change < 0:
            continue
        ratio = abs(math.log(now["value"] / before["value"])) if now["value"] > 0 and before["value"] > 0 else 0.0
        if best[1] is None or ratio > _PREFERRED * best[0]:
            limits = float(moved.low), float(moved.high)
            best = ratio, (metric, float(now["value"]), float(before["value"]), *limits, int(now["n"]))
    return best[1]


def _tested(found: Cube, change: SelectedChange, metric: Metric) -> _Numbers:
    """The statistic that the search tested, without what was told before, by the limits of the search: shares and
    counts as they are, weekdays and all; the geometric mean where it compared logarithms."""
    region, label = change.region, metric.label
    terms, raw = region.cube.terms[change.metric], found.terms[change.metric]
    if metric.kind in _COUNTED:
        terms = replace(terms, y=raw.y * np.divide(terms.x, raw.x, out=np.zeros(len(raw.x)), where=raw.x > 0))
    n = terms.x[region.now].sum()
    value, was = (float(terms.y[m].sum() / terms.x[m].sum()) for m in (region.now, region.before))
    ends = [value + limit - change.change for limit in (change.low, change.high)]
    if terms.logged:
        value, was, *ends = (math.exp(v) for v in (value, was, *ends))
        label = f"Typical {label[0].lower()}{label[1:].removesuffix(' p50')} (geometric mean)"
    low, high = ((end - was) * metric.scale for end in ends)
    return replace(metric, label=label), value * metric.scale, was * metric.scale, low, high, int(n)


def _arms(
    search: _Search, since: date, where: Mapping[str, str], version: tuple[str, str] | None = None
) -> tuple[Arm, Arm]:
    """The rows of a segment before the day of a change, and from it on with the version that brought it."""
    slice, whole = search.slice, search.whole
    cut = datetime.combine(since, time(), ZoneInfo(slice.tz))
    segment = dict(slice.filters) | {d: (v,) for d, v in where.items()}
    served = segment | ({version[0]: (version[1],)} if version else {})
    return (Arm(filters=tuple(segment.items()), window=Window(start=whole.start, end=cut)),
            Arm(filters=tuple(served.items()), window=Window(start=cut, end=whole.end)))  # fmt: skip


def _sides(search: _Search, metrics: Sequence[Metric], arms: tuple[Arm, Arm]) -> list[pd.DataFrame]:
    asked: dict[str, Any] = {"tz": search.slice.tz, "groupings": [_TOTAL]}
    return [measure(search.source, metrics, filters=a.filters, window=a.window, **asked)[0] for a in arms]


def _whole_worse(search: _Search, metric: Metric, since: date) -> bool:
    """Whether the metric of the whole clearly got worse as well: then nothing hides the segment."""
    before, now = (f.iloc[0] for f in _sides(search, [metric], _arms(search, since, {})))
    moved = difference(*((f["value"], f["low"], f["high"]) for f in (now, before)))
    return moved.clear and (moved.value > 0) == (metric.direction != "up")


def _action(entry: Entry | None, kind: str, change: SelectedChange) -> str:
    if kind == "improvement":
        return say("act", "keep")
    if kind == "mix":
        return say("act", "plan_for_mix")
    if change.version is not None:
        return say("act", "roll_back", version=change.version[1])
    return entry.action("off_target") if entry else say("act", "read_traces")


def _link(slice: Slice, change: SelectedChange, metric: Metric) -> str:
    where = {**change.where, **(dict([change.version]) if change.version else {})}
    return "why?" + urlencode({**slice.where(**where).to_query(), "metric": [metric.name]}, doseq=True)
