"""The scorecard: every governed KPI of a slice with its value, change, state, owner and next step.

A state is a claim. Red needs a breach that the interval supports; a breach that may be noise is Watch; too few or stale
data is grey, never green. A critical safety incident is red by itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pandas as pd

from kpi import clock
from kpi.errors import MetricError
from kpi.explain.aggregates.arm_sums import COVERED, arm_sums
from kpi.explain.aggregates.grouped_sums import Arm
from kpi.explain.comparison.effects import Effect, Value, coverage, effect, value, values
from kpi.explain.comparison.inputs import adjustment_dimensions
from kpi.explain.comparison.worst_case import CANNOT_TELL, Coverage, TermCounts, left_open
from kpi.explain.monitoring.drift import INPUTS, input_course, input_drift
from kpi.explain.monitoring.homogeneity import Distance
from kpi.govern.card import Card, Change, judge, moved, no_card, no_spark, standing
from kpi.govern.fairness import clearest, fairness_card, gap_course, gaps
from kpi.govern.index import RANK, Index, attainment, index
from kpi.govern.register import COMPUTED, Entry, Register, load_register, register_of
from kpi.measure.cells import Grouping
from kpi.measure.clusters import MIXED, USER
from kpi.measure.metrics import METRICS, Metric
from kpi.measure.own_metrics import COMPARABLE, metric_of
from kpi.measure.own_terms import OWN
from kpi.measure.profile import profile
from kpi.measure.slice import Resolved, Slice
from kpi.measure.summary import collect, frame, measure, resolve, same_elapsed
from kpi.narrate import scorecards as said
from kpi.narrate.comparisons import worst_words
from kpi.narrate.names import WORDS, say
from kpi.narrate.wording import FEW_USERS, caution_words, format_count, scope_of
from kpi.result import Result, plain
from kpi.stats.interval import Interval
from kpi.store.engines import Source

_SEVERE = "critical_incidents"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Scorecard(Result):
    """All cards of a slice.

    breakdown: a `summarise` frame by the dimension asked for, with states; empty without `by`.
    """

    columns = Card.columns
    cards: tuple[Card, ...]
    index: Index
    sentence: str
    requests: int
    resolved: Resolved
    breakdown: pd.DataFrame

    @property
    def scope(self) -> str:  # type: ignore[override]
        """The window and the requests, in words."""
        return scope_of(self.resolved, self.requests)

    def frame(self) -> pd.DataFrame:
        """One row a KPI, the keys of `kpi scorecard --json`."""
        return pd.DataFrame([c.to_dict() for c in self.cards])

    def to_dict(self) -> dict[str, Any]:
        """Plain data; unknown numbers are None."""
        return {"kpis": [c.to_dict() for c in self.cards], "index": plain(self.index.value),
                "sentence": self.sentence, "requests": self.requests, "scope": self.scope}  # fmt: skip

    @property
    def verdict(self) -> str:
        """Whether it is fine, in a word or two: what stands before the sentence."""
        return str(WORDS["verdict"][self.index.state])

    @property
    def by_harm(self) -> list[Card]:
        """The cards as they need attention: by state, then by weight, then by how far beyond the target they are."""
        return sorted(self.cards, key=lambda c: (RANK[c.state], *_harm(c)))

    @property
    def state(self) -> str:
        """The worst state of any card: what a gate acts on."""
        return min((c.state for c in self.cards), key=RANK.__getitem__, default="no_data")


def scorecard(
    source: Source, slice: Slice | None = None, *, register: Register | None = None, by: str | None = None,
    metrics: Sequence[str] | None = None,
) -> Scorecard:  # fmt: skip
    """The governed KPIs of a slice, out of one scan of the window and one of the baseline, and few for drift and gaps.

    Args:
        source: Where the rows are.
        slice: The rows to look at; the last 28 days against those before when None.
        register: KPIs with targets and owners, the built-in one when None.
        by: A dimension to break the KPIs down by as well.
        metrics: Names of KPIs of the register, all of them when None.

    Returns:
        A `Scorecard`: a card a KPI with value, limits, state and reason, the index of all, and a sentence.

    Raises:
        MetricError: For an unknown dimension or KPI.

    Example:
        >>> found = kpi.scorecard(source, kpi.Slice(last="28d"))
        >>> len(found.frame()) == len(found.cards)
        True
    """
    register = register or register_of(source)
    if metrics is not None:
        register = register.only(metrics)
    known = profile(source)
    slice = slice or Slice(dataset=source.name)
    resolved = resolve(source, slice)
    governed, lacking = _asked(source, register)
    measured = _measured(source, resolved, [m for m in governed if m.kind in COMPARABLE])
    fair = next((e for e in register.entries if e.metric == "fairness_gap"), None)
    apart = gaps(source, slice, known) if fair else None
    shown = clearest(fair, apart) if fair else None
    now = _window(source, resolved, governed, by=by, groups="" if shown is None else str(shown["dimension"]))
    past = _earlier(source, resolved)
    apart_before = gaps(source, past.slice, known) if past and shown is not None else None
    moved = [m for m in governed if m.name in measured.covered and measured.covered[m.name].moved]
    counts = TermCounts.between(source, resolved, of=moved)
    drifted = input_drift(source, resolved, [d for d in INPUTS if d in known.dimensions])
    named = {m.name: m for m in governed}
    cards = tuple(
        fairness_card(e, apart, apart_before, gap_course(shown, now.groups) if len(now.groups) else None)
        if e.metric == "fairness_gap"
        else _drift_card(e, drifted, resolved, past, source) if e.metric == "drift_score"
        else _card(e, named.get(e.metric), measured, now, lacking, resolved, counts)
        for e in register.entries)  # fmt: skip
    requests = int(now.total[now.total["metric"] == "requests"]["value"].sum())
    breakdown = judge_frame(now.broken, register=register) if by else pd.DataFrame()
    summed = index(cards, measured.now, measured.before, measured.mixed)
    return Scorecard(cards=cards, index=summed, sentence=_sentence(cards, requests, resolved), requests=requests,
                     resolved=resolved, breakdown=breakdown)  # fmt: skip


def _harm(card: Card) -> tuple[float, float]:
    kept = attainment(card.entry, card.value) if math.isfinite(card.value) else 0.0
    return -card.entry.weight, kept


def _earlier(source: Source, resolved: Resolved) -> Resolved | None:
    """The baseline as a window, compared with the window before it; None where the baseline is no time of its own."""
    span = resolved.baseline
    if span is None or resolved.baseline_filters != resolved.filters:
        return None
    return resolve(source, replace(resolved.slice, start=span.start, end=span.end, baseline="previous"), strict=False)


def _asked(source: Source, register: Register) -> tuple[list[Metric], dict[str, str]]:
    """The metrics of the KPIs, and why some of them cannot be had."""
    known, metrics, lacking = profile(source), [], {}
    for name in (e.metric for e in register.entries if e.metric not in COMPUTED):
        chosen = register.metrics.get(name) or METRICS[name]
        if missing := [c.removeprefix(OWN) for c in chosen.needs if not known.holds(c)]:
            lacking[name] = say("reason", "columns", names=said.recorded(missing))
        try:
            metrics.append(metric_of(source, chosen))
        except MetricError as error:
            lacking.setdefault(name, str(error))
    return metrics, lacking


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Values of the metrics in the window and its baseline, by name, the effect and coverage of each where there is a
    baseline; mixed: baseline and window, both with the same mix."""

    now: dict[str, Value]
    before: dict[str, Value]
    effects: dict[str, Effect]
    covered: dict[str, Coverage]
    mixed: tuple[dict[str, Value], ...] = ()


def _measured(source: Source, resolved: Resolved, metrics: list[Metric]) -> _Measured:
    window = Arm(filters=resolved.filters, window=resolved.window)
    if not resolved.compared:
        sides = arm_sums(source, metrics, (window,), tz=resolved.slice.tz)
        found = {m.name: value(sides, m, 0) for m in metrics}
        rows = int(sides.rows.sum())
        unchanged = Interval(value=math.nan, low=math.nan, high=math.nan)
        covered = {n: Coverage(n=(0, v.n), requests=(0, rows), change=unchanged) for n, v in found.items()}
        return _Measured(now=found, before={}, effects={}, covered=covered)
    arms = (Arm(filters=resolved.baseline_filters or (), window=resolved.baseline), window)
    strata = adjustment_dimensions(source, None, None, arms)
    sides = arm_sums(source, metrics, arms, strata=strata, tz=resolved.slice.tz)
    pairs = {m.name: values(sides, m) for m in metrics}
    alike = bool(strata) and sides.covered >= COVERED
    mixed = [values(sides, m, adjusted=True) for m in metrics] if alike else []
    return _Measured(now={n: b for n, (_, b) in pairs.items()}, before={n: a for n, (a, _) in pairs.items()},
                     effects={n: effect(a, b) for n, (a, b) in pairs.items()},
                     covered={m.name: coverage(sides, m) for m in metrics},
                     mixed=tuple({m.name: v[i] for m, v in zip(metrics, mixed, strict=True)}
                                 for i in (0, 1)) if alike else ())  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Period:
    total: pd.DataFrame
    spark: pd.DataFrame
    broken: pd.DataFrame
    ongoing: bool
    before: pd.DataFrame  # metrics without an interval in the baseline, over the time that the window has seen
    groups: pd.DataFrame  # task success over time by the cohort with the clearest gap


def _window(source: Source, resolved: Resolved, metrics: list[Metric], *, by: str | None, groups: str) -> _Period:
    """What the values of the window stand beside: its course, its parts, and metrics that have no interval."""
    names, plain_ones = tuple(m.name for m in metrics), tuple(m.name for m in metrics if m.kind not in COMPARABLE)
    timed = resolved.window is not None
    groupings = [Grouping(metrics=(*plain_ones, "requests", _SEVERE), intervals=False)]
    groupings += [Grouping(every=resolved.slice.grain, intervals=False, metrics=names)] if timed else []
    groupings += [Grouping(by=(by,), metrics=names)] if by else []
    fair = [METRICS["task_success"]] if groups and timed else []
    groupings += [Grouping(by=(groups,), every=resolved.slice.grain, intervals=False, metrics=(m.name,)) for m in fair]
    asked = {m.name: m for m in (*fair, METRICS["requests"], METRICS[_SEVERE], *metrics)}
    cells = iter(collect(source, list(asked.values()), tz=resolved.slice.tz, groupings=groupings,
                         filters=resolved.filters, window=resolved.window))  # fmt: skip
    empty = pd.DataFrame(columns=["metric", "bucket", "start", "complete", "value", "low", "high", "n"])
    total, spark = frame(next(cells)), frame(next(cells)) if timed else empty
    broken, before = frame(next(cells)) if by else empty, empty
    if plain_ones and resolved.compared:
        facts = [m for m in metrics if m.name in plain_ones]
        (before,) = measure(source, facts, filters=resolved.baseline_filters or (), window=resolved.baseline,
                            tz=resolved.slice.tz, groupings=[Grouping(intervals=False)])  # fmt: skip
        before = same_elapsed(source, before, facts, resolved, Grouping(intervals=False))
    course = frame(next(cells)) if fair else empty
    return _Period(total=total, spark=spark, broken=broken, before=before, groups=course,
                   ongoing=source.live or source.version > 1)  # fmt: skip


def _card(
    entry: Entry, metric: Metric | None, measured: _Measured, now: _Period, lacking: dict[str, str],
    resolved: Resolved, counts: TermCounts,
) -> Card:  # fmt: skip
    found = measured.now.get(entry.metric)
    value, low, high, n = (found.value, found.low, found.high, found.n) if found else _row(now.total, entry.metric)
    spark = now.spark[now.spark["metric"] == entry.metric]
    spark = spark[["bucket", "start", "complete", "value", "n"]].reset_index(drop=True)
    ends = (low, high) if found else (value, value)  # a total or count is a fact of the window, no sample of it
    state, reason = judge(entry, value, *ends, n)
    caution = ""
    if found and state != "no_data":
        caution = caution_words(found.clustered_by, found.effective, found.heaviest)
        if state == "on_target" and found.clustered_by in (USER, MIXED) and found.effective < FEW_USERS:
            state, reason = "watch", caution
    if entry.metric in lacking:
        state, reason = "no_data", lacking[entry.metric]
    elif (silent := _silent(entry, spark, resolved, ongoing=now.ongoing)) is not None:
        ago = format_count(round(silent[1]), "days")
        state, reason = "no_data", say("reason", "silent", since=silent[0], ago=ago)
    if entry.metric == "incident_rate" and state != "no_data":
        severe, _, _, checked = _row(now.total, _SEVERE)
        if severe > 0:
            incidents = format_count(round(severe * checked / 1000), "critical incidents")
            state, reason = "off_target", say("reason", "incidents", incidents=incidents)
    change = _change(entry, metric, measured, counts) if metric else None
    if metric and not found:
        was, *_, seen = _row(now.before, entry.metric)  # nobody can say whether the change of a fact is chance
        change = moved(entry, (value, math.nan, math.nan), (was, math.nan, math.nan)) if seen >= entry.min_n else None
    card = Card(entry=entry, value=value, low=low, high=high, n=n, state=state, reason=reason, change=change,
                spark=spark)  # fmt: skip
    if entry.metric in lacking or not found:
        return card
    return replace(card, coverage=measured.covered[entry.metric], rate=bool(metric and metric.kind == "rate"),
                   clustered_by=found.clustered_by, effective_users=found.effective, heaviest=found.heaviest,
                   caution=caution)  # fmt: skip


def _row(total: pd.DataFrame, metric: str) -> tuple[float, float, float, int]:
    found = total[total["metric"] == metric]
    if found.empty:
        return math.nan, math.nan, math.nan, 0
    r = found.iloc[0]
    return float(r["value"]), float(r["low"]), float(r["high"]), int(r["n"])


def _change(entry: Entry, metric: Metric, measured: _Measured, counts: TermCounts) -> Change | None:
    e = measured.effects.get(entry.metric)
    if e is None or e.a.n < entry.min_n or not math.isfinite(e.difference):
        return None
    d = e.moved
    better = d.value > 0 if entry.direction == "up" else d.value < 0
    worst = left_open(metric, (e.a.value, e.b.value), d, measured.covered[entry.metric], counts)
    words = said.change_words(d.value, d.low, d.high, entry.unit, clear=d.clear, smallest=e.smallest)
    return Change(difference=d.value, low=d.low, high=d.high, smallest=e.smallest,
                  clear=d.clear and worst is None, better=better, bounds=worst,
                  words=f"{CANNOT_TELL} ({worst_words(worst, entry.unit)})" if worst else words)  # fmt: skip


def _silent(
    entry: Entry, spark: pd.DataFrame, resolved: Resolved, *, ongoing: bool
) -> tuple[pd.Timestamp, float] | None:
    """(last day with data, days since then), where that is too long: before the end of the window, or by the clock.

    ongoing: whether more data is due; an export that was loaded once is judged as of its own end.
    """
    if resolved.window is None or spark.empty:
        return None
    filled = spark[spark["n"] > 0]["bucket"]
    if filled.empty:
        return None
    end = max(resolved.window.end, clock.now()) if ongoing and not resolved.slice.end else resolved.window.end
    local = pd.Timestamp(end).tz_convert(resolved.slice.tz).tz_localize(None)
    grain = {"hour": 1 / 24, "day": 1, "week": 7, "month": 31}[resolved.slice.grain]
    days = (local - filled.max()) / timedelta(days=1) - grain
    return (filled.max(), days) if days > entry.max_age_days else None


def _drift_card(
    entry: Entry, found: dict[str, Distance], resolved: Resolved, past: Resolved | None, source: Source
) -> Card:
    """The input that drifted most. Without a clear one it is never on watch, and green where no input can be off."""
    if not found:
        lacking = "columns" if resolved.compared else "baseline" if resolved.window else "times"
        return no_card(entry, say("no_drift", lacking))
    clear = [d for d, m in found.items() if m.clear]
    telling = clear or [d for d, m in found.items() if m.high <= entry.off]
    worst = max(telling or found, key=lambda d: (found[d].low, found[d].value))
    m = found[worst]
    counted = m.value if clear else 0.0
    state, reason = judge(entry, counted, m.low, m.high, int(m.n))
    if not telling:
        unseen = say("reason", "drift_unseen", input=worst.replace("_", " "), high=m.high, limit=entry.off)
        return no_card(entry, reason if state == "no_data" else unseen)
    told = said.drift_words(worst, [d for d in found if d not in telling], clear=bool(clear))
    was = input_drift(source, past, [worst]).get(worst) if past else None
    change = moved(entry, (m.value, m.low, m.high), (was.value, was.low, was.high)) if was else None
    spark = input_course(source, resolved, worst) if resolved.window else no_spark()
    return Card(entry=entry, value=m.value, low=m.low, high=m.high, n=int(m.n), state=state,
                reason=f"{told}. {reason}", change=change, spark=spark, counted=counted)  # fmt: skip


def _sentence(cards: Sequence[Card], requests: int, resolved: Resolved) -> str:
    """The one line that matters most."""
    if requests == 0:
        return said.NO_REQUESTS
    off = [c for c in cards if c.state == "off_target"]
    watch = [c for c in cards if c.state == "watch"]
    if not off and not watch:
        grey = sum(c.state == "no_data" for c in cards)
        changed = sum(bool(c.change and c.change.clear) for c in cards)
        return said.quiet_sentence(requests, judged=len(cards) - grey, grey=grey, changed=changed,
                                   compared=resolved.compared)  # fmt: skip
    first = min(off or watch, key=_harm)
    made_of = first.metric in COMPUTED or first.metric == "incident_rate"
    return said.loud_sentence(first, resolved.slice.baseline, also=first.gist if made_of else "", off=len(off),
                              watch=len(watch), total=len(cards), requests=requests)  # fmt: skip


def judge_frame(frame: pd.DataFrame, *, register: Register | None = None) -> pd.DataFrame:
    """A `summarise` frame with a column `state`, and `standing`, the key of its words; None for metrics that the
    register does not govern."""
    chosen = register or load_register()
    entries = {e.metric: e for e in chosen.entries}
    facts = {m.name for m in (METRICS | dict(chosen.metrics)).values() if m.kind not in COMPARABLE}
    limits = [(r.value, r.value) if r.metric in facts else (r.low, r.high) for r in frame.itertuples()]
    states = [judge(entries[r.metric], r.value, *ends, r.n)[0] if r.metric in entries else None
              for r, ends in zip(frame.itertuples(), limits, strict=True)]  # fmt: skip
    stands = [s and standing(entries[r.metric], s, r.value) for r, s in zip(frame.itertuples(), states, strict=True)]
    return frame.assign(state=pd.Series(states, index=frame.index, dtype=object),
                        standing=pd.Series(stands, index=frame.index, dtype=object))  # fmt: skip
