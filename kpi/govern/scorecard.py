"""The scorecard: every governed KPI of a slice with its value, change, state, owner and next step.

A state is a claim. Red needs a breach that the interval supports; a breach that may be noise is Watch; too few or stale
data is grey, never green. A critical safety incident is red by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from kpi.errors import MetricError
from kpi.explain.comparison.worst_case import CANNOT_TELL, Coverage, TermCounts, left_open
from kpi.explain.monitoring.drift import INPUTS, input_drift
from kpi.explain.monitoring.homogeneity import Distance
from kpi.govern.card import Card, Change, judge, no_card, no_spark
from kpi.govern.fairness import fairness_card, gaps
from kpi.govern.register import COMPUTED, Entry, Register, load_register, register_of
from kpi.measure.metrics import METRICS, Metric, coverage
from kpi.measure.own_metrics import metric_of
from kpi.measure.own_terms import OWN
from kpi.measure.profile import Profile, profile
from kpi.measure.slice import Resolved, Slice
from kpi.measure.statistics import Grouping
from kpi.measure.summary import collect, frame, resolve, same_elapsed
from kpi.narrate import scorecards as said
from kpi.narrate.comparisons import worst_words
from kpi.stats.interval import difference, plain
from kpi.store.engines import Source

_SEVERE = "critical_incidents"
_RANK = {"off_target": 0, "watch": 1, "no_data": 2, "on_target": 3}


@dataclass(frozen=True, kw_only=True)
class Index:
    """Weighted share of the promises kept, 0 to 100. n: KPIs with enough data, of `total`."""

    value: float
    low: float
    high: float
    state: str
    n: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Scorecard:
    """All cards of a slice.

    breakdown: a `summarise` frame by the dimension asked for, with states; empty without `by`.
    """

    cards: tuple[Card, ...]
    index: Index
    sentence: str
    requests: int
    resolved: Resolved
    breakdown: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """One row a KPI, the keys of `kpi scorecard --json`."""
        return pd.DataFrame(self.to_json()["kpis"])

    def to_json(self) -> dict[str, Any]:
        """Plain data; unknown numbers are None."""
        kpis = [
            {"metric": c.metric, "value": plain(c.value), "low": plain(c.low), "high": plain(c.high), "n": c.n,
             "unit": c.unit, "state": c.state, "target": c.target,
             "change": plain(c.change.difference) if c.change else None,
             "change_low": plain(c.change.low) if c.change else None,
             "change_high": plain(c.change.high) if c.change else None,
             "reason": c.reason, "owner": c.owner, "action": c.action, **_partly(c)}
            for c in self.cards
        ]  # fmt: skip
        index = plain(self.index.value)
        return {"kpis": kpis, "index": index, "sentence": self.sentence, "requests": self.requests}

    @property
    def state(self) -> str:
        """The worst state of any card: what a gate acts on."""
        return min((c.state for c in self.cards), key=_RANK.__getitem__, default="no_data")


def scorecard(
    source: Source, slice: Slice | None = None, *, register: Register | None = None, by: str | None = None
) -> Scorecard:
    """The governed KPIs of a slice, out of one scan of the window, one of the baseline and one for the fairness gap.

    Args:
        source: Where the rows are.
        slice: The rows to look at; all of them when None.
        register: KPIs with targets and owners, the built-in one when None.
        by: A dimension to break the KPIs down by as well.

    Returns:
        A `Scorecard`: a card a KPI with value, limits, state and reason, the index of all, and a sentence.

    Raises:
        MetricError: For an unknown dimension.

    Example:
        >>> found = kpi.scorecard(source, kpi.Slice(last="28d"))
        >>> len(found.frame()) == len(found.cards)
        True
    """
    register = register or register_of(source)
    known = profile(source)
    resolved = resolve(source, slice)
    metrics, lacking = _asked(source, register)
    now = _window(source, resolved, known, metrics, by=by, current=True)
    before = _window(source, resolved, known, metrics, by=None, current=False) if resolved.compared else None
    apart = gaps(source, slice, known) if any(e.metric == "fairness_gap" for e in register.entries) else None
    covered = {m.name: (m, _coverage(m, now, before)) for m in metrics}
    counts = TermCounts.between(source, resolved)
    drifted = input_drift(source, resolved, [d for d in INPUTS if d in known.dimensions])
    cards = tuple(
        fairness_card(e, apart) if e.metric == "fairness_gap"
        else _drift_card(e, drifted, resolved) if e.metric == "drift_score"
        else _card(e, now, before, lacking, resolved, covered.get(e.metric), counts)
        for e in register.entries
    )  # fmt: skip
    requests = int(now.total[now.total["metric"] == "requests"]["value"].sum())
    breakdown = judge_frame(now.broken, register=register) if by else pd.DataFrame()
    return Scorecard(cards=cards, index=_index(cards), sentence=_sentence(cards, requests, resolved), requests=requests,
                     resolved=resolved, breakdown=breakdown)  # fmt: skip


def _asked(source: Source, register: Register) -> tuple[list[Metric], dict[str, str]]:
    """The metrics of the KPIs, and why some of them cannot be had."""
    known, metrics, lacking = profile(source), [], {}
    for name in (e.metric for e in register.entries if e.metric not in COMPUTED):
        chosen = register.metrics.get(name) or METRICS[name]
        if missing := [c.removeprefix(OWN) for c in chosen.needs if not known.holds(c)]:
            lacking[name] = said.missing_columns(missing)
        try:
            metrics.append(metric_of(source, chosen))
        except MetricError as error:
            lacking.setdefault(name, str(error))
    return metrics, lacking


@dataclass(frozen=True, kw_only=True)
class _Period:
    total: pd.DataFrame
    spark: pd.DataFrame
    broken: pd.DataFrame


def _window(
    source: Source, resolved: Resolved, known: Profile, metrics: list[Metric], *, by: str | None, current: bool
) -> _Period:
    names = tuple(m.name for m in metrics)
    timed = resolved.window is not None and current
    covered = [coverage(m) for m in metrics if any(known.filled.get(c, 0) < known.requests for c in m.needs)]
    groupings = [Grouping(metrics=(*names, "requests", _SEVERE, *(m.name for m in covered)))]
    groupings += [Grouping(every=resolved.slice.grain, intervals=False, metrics=names)] if timed else []
    groupings += [Grouping(by=(by,), metrics=names)] if by else []
    asked = {m.name: m for m in (*metrics, *covered, METRICS["requests"], METRICS[_SEVERE])}
    cells = iter(collect(source, list(asked.values()), tz=resolved.slice.tz, groupings=groupings,
                         filters=resolved.filters if current else resolved.baseline_filters or (),
                         window=resolved.window if current else resolved.baseline))  # fmt: skip
    empty = pd.DataFrame(columns=["metric", "bucket", "start", "complete", "value", "low", "high", "n"])
    total = frame(next(cells))
    total = total if current else same_elapsed(source, total, metrics, resolved, groupings[0])
    spark, broken = frame(next(cells)) if timed else empty, frame(next(cells)) if by else empty
    return _Period(total=total, spark=spark, broken=broken)


def _coverage(metric: Metric, now: _Period, before: _Period | None) -> Coverage:
    """For which share of the requests a metric is known, before and now."""
    totals = [p.total if p else pd.DataFrame({"metric": []}) for p in (before, now)]
    n, requests = ((_row(totals[0], m)[3], _row(totals[1], m)[3]) for m in (metric.name, "requests"))
    was, is_ = (_row(t, coverage(metric).name)[:3] if of != known else (1.0,) * 3
                for t, of, known in zip(totals, requests, n, strict=True))  # fmt: skip
    return Coverage(n=n, requests=requests, change=difference(is_, was))


def _card(
    entry: Entry, now: _Period, before: _Period | None, lacking: dict[str, str], resolved: Resolved,
    covered: tuple[Metric, Coverage] | None, counts: TermCounts,
) -> Card:  # fmt: skip
    value, low, high, n = _row(now.total, entry.metric)
    spark = now.spark[now.spark["metric"] == entry.metric]
    spark = spark[["bucket", "start", "complete", "value", "n"]].reset_index(drop=True)
    change = _change(entry, (value, low, high), before, covered, counts)
    state, reason = judge(entry, value, low, high, n)
    if entry.metric in lacking:
        state, reason = "no_data", lacking[entry.metric]
    elif (since := _silent_since(entry, spark, resolved)) is not None:
        state, reason = "no_data", said.silent(since)
    if entry.metric == "incident_rate" and state != "no_data":
        severe, _, _, checked = _row(now.total, _SEVERE)
        if severe > 0:
            state, reason = "off_target", said.critical_incidents(round(severe * checked / 1000))
    return Card(entry=entry, value=value, low=low, high=high, n=n, state=state, reason=reason, change=change,
                spark=spark, coverage=covered[1] if covered and entry.metric not in lacking else None)  # fmt: skip


def _row(total: pd.DataFrame, metric: str) -> tuple[float, float, float, int]:
    found = total[total["metric"] == metric]
    if found.empty:
        return math.nan, math.nan, math.nan, 0
    r = found.iloc[0]
    return float(r["value"]), float(r["low"]), float(r["high"]), int(r["n"])


def _change(
    entry: Entry, now: tuple[float, float, float], before: _Period | None,
    covered: tuple[Metric, Coverage] | None, counts: TermCounts,
) -> Change | None:  # fmt: skip
    if before is None or covered is None:
        return None
    value, low, high, n = _row(before.total, entry.metric)
    if n < entry.min_n or not math.isfinite(value) or not math.isfinite(now[0]):
        return None
    d, metric = difference(now, (value, low, high)), covered[0]
    better = d.value > 0 if entry.direction == "up" else d.value < 0
    worst = left_open(metric, (value, now[0]), d, covered[1], counts)
    words = said.change_words(d.value, d.low, d.high, entry.unit, clear=d.clear)
    return Change(difference=d.value, low=d.low, high=d.high,
                  clear=d.clear and worst is None, better=better, bounds=worst,
                  words=f"{CANNOT_TELL} ({worst_words(worst, entry.unit)})" if worst else words)  # fmt: skip


def _silent_since(entry: Entry, spark: pd.DataFrame, resolved: Resolved) -> pd.Timestamp | None:
    """Last day with data when that is too long before the window's end."""
    if resolved.window is None or spark.empty:
        return None
    filled = spark[spark["n"] > 0]["bucket"]
    if filled.empty:
        return None
    last = filled.max()
    end = pd.Timestamp(resolved.window.end).tz_convert(resolved.slice.tz).tz_localize(None)
    grain = {"hour": 1 / 24, "day": 1, "week": 7, "month": 31}[resolved.slice.grain]
    return last if end - last > timedelta(days=entry.max_age_days + grain) else None


def _drift_card(entry: Entry, found: dict[str, Distance], resolved: Resolved) -> Card:
    """The input that drifted most. Without a clear one it is never on watch, and green where no input can be off."""
    if not found:
        timed = resolved.window is not None
        return no_card(entry, said.NO_DRIFT_COLUMNS if resolved.compared else said.no_drift_baseline(timed=timed))
    clear = [d for d, m in found.items() if m.clear]
    telling = clear or [d for d, m in found.items() if m.high <= entry.off]
    worst = max(telling or found, key=lambda d: (found[d].low, found[d].value))
    m = found[worst]
    counted = m.value if clear else 0.0
    state, reason = judge(entry, counted, m.low, m.high, int(m.n))
    if not telling:
        return no_card(entry, reason if state == "no_data" else said.drift_unseen(worst, m.high, entry.off))
    told = said.strongest_drift(worst) if clear else said.no_drift([d for d in found if d not in telling])
    return Card(entry=entry, value=m.value, low=m.low, high=m.high, n=int(m.n), state=state,
                reason=f"{told}. {reason}", change=None, spark=no_spark(), counted=counted)  # fmt: skip


def attainment(entry: Entry, value: float) -> float:
    """How far a promise is kept: 1 at the target or better, 0 at the off limit or worse, linear between."""
    span = entry.target - entry.off
    if span == 0:
        side = 1 if entry.direction == "up" else -1
        return float(side * (value - entry.target) >= 0)
    return float(np.clip((value - entry.off) / span, 0, 1))


def _index(cards: Sequence[Card]) -> Index:
    told = [c for c in cards if c.state != "no_data"]
    weight = sum(c.entry.weight for c in told)
    if not told or not weight:
        return Index(value=math.nan, low=math.nan, high=math.nan, state="no_data", n=0, total=len(cards))
    value = down = up = 0.0
    for c in told:
        share = c.entry.weight / weight
        counted = c.value if c.counted is None else c.counted
        ends = [attainment(c.entry, v) if math.isfinite(v) else None for v in (c.low, c.high)]
        kept = 0.0 if c.state == "off_target" and c.metric == "incident_rate" else attainment(c.entry, counted)
        worse = min((e for e in ends if e is not None), default=0.0)
        better = max((e for e in ends if e is not None), default=1.0)
        value += share * kept
        down += (share * max(0.0, kept - worse)) ** 2
        up += (share * max(0.0, better - kept)) ** 2
    state = min((c.state for c in told), key=_RANK.__getitem__)
    return Index(value=100 * value, low=max(0.0, 100 * (value - math.sqrt(down))),
                 high=min(100.0, 100 * (value + math.sqrt(up))), state=state,
                 n=len(told), total=len(cards))  # fmt: skip


def _sentence(cards: Sequence[Card], requests: int, resolved: Resolved) -> str:
    """The one line that matters most."""
    if requests == 0:
        return said.NO_REQUESTS
    off = [c for c in cards if c.state == "off_target"]
    watch = [c for c in cards if c.state == "watch"]
    if not off and not watch:
        grey = sum(c.state == "no_data" for c in cards)
        changed = sum(bool(c.change and c.change.clear) for c in cards)
        return said.quiet_sentence(requests, judged=len(cards) - grey, grey=grey, changed=changed)
    first = max(off or watch, key=lambda c: (c.entry.weight, abs(attainment(c.entry, c.value) - 1)))
    words = said.worst_card(first.label, first.state, first.value, first.low, first.high, first.unit)
    if first.change and first.change.clear:
        words = said.with_change(words, first.change.words, resolved.slice.baseline)
    elif first.metric in COMPUTED or first.metric == "incident_rate":
        words += f". {first.gist.rstrip('.')}"
    return said.loud_sentence(
        words, owner=first.owner, off=len(off), watch=len(watch), total=len(cards), requests=requests
    )


def judge_frame(frame: pd.DataFrame, *, register: Register | None = None) -> pd.DataFrame:
    """A `summarise` frame with a column `state`; None for metrics that the register does not govern."""
    entries = {e.metric: e for e in (register or load_register()).entries}
    states = [judge(entries[r.metric], r.value, r.low, r.high, r.n)[0] if r.metric in entries else None
              for r in frame.itertuples()]  # fmt: skip
    return frame.assign(state=pd.Series(states, index=frame.index, dtype=object))


def _partly(card: Card) -> dict[str, Any]:
    """What `to_json` says beside where not every request knows the metric."""
    known, worst = card.coverage, card.change.bounds if card.change else None
    if known is None or known.n == known.requests:
        return {}
    return {"coverage": plain(known.shares[1]), "coverage_was": plain(known.shares[0]),
            "requests": known.requests[1], "bound_low": plain(worst.low) if worst else None,
            "bound_high": plain(worst.high) if worst else None}  # fmt: skip
