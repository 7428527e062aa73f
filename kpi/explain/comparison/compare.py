"""Is B better than A? Two slices, windows or versions on every metric at once, in one of five plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from kpi.errors import MetricError
from kpi.explain.aggregates.arm_sums import COVERED, ArmSums, arm_sums
from kpi.explain.aggregates.grouped_sums import Arm
from kpi.explain.comparison import worst_case
from kpi.explain.comparison.effects import Effect, coverage, effect, values
from kpi.explain.comparison.inputs import adjustment_dimensions, metrics_of, resolve_arms
from kpi.explain.comparison.simpson import crossing_of
from kpi.explain.comparison.worst_case import BLIND, CANNOT_TELL, Bounds, Coverage, TermCounts
from kpi.measure.metrics import Metric
from kpi.measure.slice import NONE_VALUE, Slice
from kpi.narrate import comparisons as said
from kpi.narrate.wording import scope_words
from kpi.result import Result, plain
from kpi.stats.multiplicity import benjamini_hochberg
from kpi.store.engines import Source

VERDICTS = ("better", "worse", "higher", "lower", "equivalent", CANNOT_TELL, "no clear change", "not enough data")
_CLEAR = VERDICTS[:4]  # higher and lower where no direction is better
_LEVEL = 0.05
_COLUMNS = ("metric", "verdict", "a", "b", "difference", "low", "high", "q", "n_a", "n_b")  # shown


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Compared(Result):
    """One metric of a comparison, in its unit. Of verdicts see `VERDICTS`.

    effect: as it is; adjusted: with the pooled mix on both sides, None where nothing is adjusted for. q, adjusted_q: of
    the differences of the call that reach it, this share is false at most (Benjamini and Hochberg 1995). matters: the
    smallest difference that matters; relative: whether it is a share of A instead of an absolute size. coverage: for
    which share of the requests it is known; bounds: what the difference may be at worst where that changed, else None.
    """

    columns = _COLUMNS
    metric: Metric
    effect: Effect
    q: float
    verdict: str
    matters: float
    relative: bool
    coverage: Coverage
    bounds: Bounds | None = None
    adjusted: Effect | None = None
    adjusted_bounds: Bounds | None = None
    adjusted_q: float = math.nan
    adjusted_verdict: str | None = None

    def frame(self) -> pd.DataFrame:
        """One row, as in `Comparison.frame`."""
        return pd.DataFrame([_row(self)])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in the metrics of `Comparison.to_dict`."""
        return {k: plain(v) for k, v in _row(self).items()}

    @property
    def simpson(self) -> bool:
        """Whether the overall difference is clear one way and the adjusted one goes the other by more than the
        margin."""
        held = self.adjusted
        if held is None or self.verdict not in _CLEAR or not held.difference * self.effect.difference < 0:
            return False
        size = worst_case.smallest(self.metric, held.a.value, self.matters)
        nearly = self.adjusted_verdict == "no clear change" and abs(held.difference) >= size
        return self.adjusted_verdict in _CLEAR or nearly

    @property
    def sentence(self) -> str:
        """ "Task success: better, 79.1 % to 82.4 % (+3.3 pp, +1.2 to +5.4 pp)"."""
        e = self.effect
        return said.metric_sentence(self.metric, self.verdict, (e.a.value, e.b.value), e.moved,
                                    detectable=e.smallest, known=self.coverage.shares, bounds=self.bounds)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Comparison(Result):
    """A and B on several metrics. kind: "fixed" (95 % intervals of one look) or "always_valid" (of all looks together).

    a, b: names of the arms; by: the dimension they are values of, None for slices. adjust: dimensions
    adjusted for; covered: share of the requests in strata that both arms fill, below half of which nothing is.
    """

    columns = _COLUMNS
    a: str
    b: str
    by: str | None
    kind: str
    adjust: tuple[str, ...]
    covered: float
    rows: tuple[Compared, ...]
    scope: str = ""

    def __getitem__(self, name: str) -> Compared:
        """The row of a metric. Raises MetricError where it was not compared."""
        for row in self.rows:
            if row.metric.name == name:
                return row
        raise MetricError("compare.metric", f"{name[:60]!r} was not compared",
                          hint="Name it in `metrics`; the data must hold it.")  # fmt: skip

    @property
    def reversals(self) -> tuple[str, ...]:
        """A sentence for each metric whose overall difference turns round when adjusted for the mix: Simpson
        reversals."""
        return tuple(_simpson(r, self.b, self.adjust) for r in self.rows if r.simpson)

    @property
    def sentence(self) -> str:
        """Both sides, the verdicts counted, and what kind of interval is shown."""
        return said.comparison_sentence(self.a, self.b, [(v, sum(r.verdict == v for r in self.rows)) for v in VERDICTS],
                                        every_look=self.kind == "always_valid", adjust=self.adjust,
                                        covered=not self.covered < COVERED,
                                        reversed_=[r.metric.label for r in self.rows if r.simpson])  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """One row a metric; the columns are the keys of the metrics in `to_dict`."""
        return pd.DataFrame([_row(r) for r in self.rows])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `kpi compare --json` prints it; what is unknown is None."""
        rows = [r.to_dict() for r in self.rows]
        return {"a": self.a, "b": self.b, "by": self.by, "intervals": self.kind, "adjust": list(self.adjust),
                "covered": plain(self.covered), "reversals": list(self.reversals),
                "scope": self.scope, "sentence": self.sentence, "metrics": rows}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ComparisonWithin(Result):
    """A and B in each value of the dimension `within`; a, b, by: as of `Comparison`; rows: see `compare_within`."""

    main = "rows"
    a: str
    b: str
    by: str | None
    within: str
    rows: pd.DataFrame
    sentence: str
    scope: str = ""

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        return (_COLUMNS[0], self.within, *_COLUMNS[1:])


def compare(
    source: Source, a: Slice | str | None = None, b: Slice | str | None = None,
    metrics: Sequence[str | Metric] | None = None, slice: Slice | None = None, *,
    by: str | None = None, adjust: Sequence[str] | None = None, always_valid: bool = False,
    cluster: Sequence[str] = (), matters: Mapping[str, float] | None = None,
) -> Comparison:  # fmt: skip
    """B against A on every metric at once, users as clusters, also those on both sides.

    A verdict needs q <= 0.05 over the call and 30 requests a side. Two queries.

    Args:
        source: Where the rows are.
        a: A slice; or a value of the dimension `by` within `slice`; or None for the baseline of `slice`.
        b: In the same way; None for the window of `slice`.
        metrics: By default those of the list `compared` in metrics.toml that the data holds.
        slice: In which values of `by` are compared, or whose window and baseline are. When None the last 28 days of a
            data set, and all rows of a frame, as everywhere.
        by: The dimension of which a and b are values.
        adjust: Dimensions to adjust for (by default those of MIX that vary); an empty sequence for none.
        always_valid: Intervals that hold however often a running test is looked at.
        cluster: Dimensions that name together what repeats instead of the user, such as the task that both models were
            given.
        matters: Metric to smallest difference that matters, in the metric's own terms (see `Metric.matters`).

    Returns:
        A `Comparison`: one row a metric with effect, limits, q and verdict, and a sentence.

    Raises:
        MetricError: For a metric that has no interval, or an unknown dimension.
        SliceError: Where a and b do not say what to compare.

    Example:
        >>> found = kpi.compare(source, "de", "en", ["task_success"], by="language", slice=kpi.Slice(last="28d"))
        >>> found.a, found.b, len(found.frame())
        ('de', 'en', 1)
    """
    asked = metrics_of(source, metrics)
    names, sides, tz = resolve_arms(source, a, b, slice, by)
    strata = adjustment_dimensions(source, adjust, by, sides)
    found = arm_sums(source, asked, sides, strata=strata, clusters=cluster, tz=tz)
    covered = found.covered if strata else 1.0
    held = bool(strata) and covered >= COVERED
    counts = TermCounts(source, sides, of=[m for m in asked if found.partly(m)])
    rows = [_compared(found, m, held, always_valid, matters or {}, counts) for m in asked]
    return Comparison(a=names[0], b=names[1], by=by, kind="always_valid" if always_valid else "fixed",
                      adjust=tuple(strata), covered=covered, rows=tuple(_judged(rows)),
                      scope=_scope(rows, sides, tz))  # fmt: skip


def compare_within(
    source: Source, a: Slice | str | None = None, b: Slice | str | None = None,
    metrics: Sequence[str | Metric] | None = None, slice: Slice | None = None, *, within: str, by: str | None = None,
    always_valid: bool = False, cluster: Sequence[str] = (), matters: Mapping[str, float] | None = None,
) -> ComparisonWithin:  # fmt: skip
    """The same comparison in each value of a dimension: where is a better version worse?

    Without quantiles, whose place differs by value: the share within a limit (slo_attainment) says the same. One query.

    Args:
        source: Where the rows are.
        a: As of `compare`.
        b: As of `compare`.
        metrics: As of `compare`.
        slice: As of `compare`.
        within: The dimension in whose values is compared.
        by: As of `compare`.
        always_valid: As of `compare`, for a test that still runs; the tests of direction then rest on its p as well.
        cluster: As of `compare`.
        matters: As of `compare`.

    Returns:
        A `ComparisonWithin`: a row a metric and value of `within`; columns as `Comparison.frame`, q over all, and
        `reversed`: whether it is clear here and goes against what is clear in the whole. The same in every row of a
        metric: `simpson`, whether the whole turns round when adjusted for `within`; `crossing_p`, `crossing_q`, the
        test that values truly differ in direction, q over the metrics; `told`, in words where the whole turns round,
        the test says so or values are clear on both sides, else None.

    Raises:
        MetricError, SliceError: As `compare`.

    Source:
        Gail and Simon 1985, Biometrics 41:361.

    Example:
        >>> found = kpi.compare_within(
        ...     source, "de", "en", ["task_success"], by="language", within="channel", slice=kpi.Slice(last="28d")
        ... )
        >>> {"reversed", "simpson", "crossing_q"} <= set(found.frame().columns)
        True
    """
    asked = [m for m in metrics_of(source, metrics) if m.kind != "quantile"]
    names, sides, tz = resolve_arms(source, a, b, slice, by)
    found = arm_sums(source, asked, sides, strata=(within,), clusters=cluster, tz=tz, days_within=True)
    held = found.covered >= COVERED
    counts = TermCounts(source, sides, (within,), of=[m for m in asked if found.partly(m)])
    whole = _judged([_compared(found, m, held, always_valid, matters or {}, counts) for m in asked])
    values_ = sorted((value, i) for i, (value,) in enumerate(found.strata))
    cells = [(m, i) for m in asked for _, i in values_]
    rows = _judged([_compared(found, m, False, always_valid, matters or {}, counts, only=i) for m, i in cells])
    table = []
    for top, mine, turned in _turned(whole, rows, [v for v, _ in values_], names[1], within):
        for (key, _), row in zip(values_, mine, strict=True):
            against = row.verdict != top.verdict and {row.verdict, top.verdict} <= set(_CLEAR)
            table.append({within: None if key == NONE_VALUE else key, **_row(row), "reversed": against, **turned})
    counted = [(v, sum(r.verdict == v for r in rows)) for v in VERDICTS]
    sentence = said.comparison_sentence(f"{names[0]} in each {within}", names[1], counted, every_look=always_valid)
    told = [sentence, *dict.fromkeys(row["told"] for row in table if row["told"])]
    return ComparisonWithin(a=names[0], b=names[1], by=by, within=within, rows=pd.DataFrame(table),
                            sentence=" ".join(told), scope=_scope(whole, sides, tz))  # fmt: skip


def _scope(rows: Sequence[Compared], sides: tuple[Arm, Arm], tz: str) -> str:
    size = tuple(max((r.coverage.requests[i] for r in rows), default=0) for i in (1, 0))
    return scope_words([sides[1].window, sides[0].window], tz, *size)


def _turned(
    whole: Sequence[Compared], rows: Sequence[Compared], values_: Sequence[str], b: str, within: str
) -> Iterator[tuple[Compared, Sequence[Compared], dict[str, Any]]]:
    """Each metric with its rows by value, and what is said of their directions."""
    size = len(values_)
    of = [rows[i * size : (i + 1) * size] for i in range(len(whole))]
    tested = [[(v, r) for v, r in zip(values_, mine, strict=True) if _enough(r, r.effect)] for mine in of]
    crossings = [crossing_of([r.effect for _, r in one]) for one in tested]
    q = benjamini_hochberg([c.p for c in crossings]).tolist()
    for top, mine, one, crossing, share in zip(whole, of, tested, crossings, q, strict=True):
        told = [_simpson(top, b, (within,))] if top.simpson else []
        # many groups without any change weaken the test: a few that are clear on both sides, over all cells, do as well
        if share <= _LEVEL or len({r.verdict for _, r in one} & set(_CLEAR)) == 2:
            groups = [said.GroupChange(v, r.effect.difference, r.effect.p, r.verdict in _CLEAR) for v, r in one]
            told.append(said.crossing_sentence(top.metric, b, within, groups, p=crossing.p, sure=share <= _LEVEL))
        yield top, mine, {"simpson": top.simpson, "crossing_p": crossing.p, "crossing_q": share,
                          "told": " ".join(told) or None}  # fmt: skip


# --- the answer ------------------------------------------------------------------------------------------------------


def _compared(
    sides: ArmSums, m: Metric, adjusted: bool, always_valid: bool, matters: Mapping[str, float],
    counts: TermCounts, only: int | None = None,
) -> Compared:  # fmt: skip
    """A metric on both sides, in all strata or in one only."""
    stratum = None if only is None else sides.strata[only]
    known = coverage(sides, m, only=only)

    def worst(e: Effect) -> Bounds | None:
        return worst_case.bounds(m, (e.a.value, e.b.value), e.moved, known, counts, stratum)

    a, b = values(sides, m, only=only)
    size, relative = matters.get(m.name, m.matters), m.relative
    planned = worst_case.smallest(m, a.value, size) if always_valid else None
    e = effect(a, b, planned=planned)
    row = Compared(metric=m, effect=e, q=math.nan, verdict="", matters=size, relative=relative, coverage=known,
                   bounds=worst(e))  # fmt: skip
    if not adjusted:
        return row
    a, b = values(sides, m, adjusted=True)
    held = effect(a, b, planned=planned)
    return replace(row, adjusted=held, adjusted_bounds=worst(held))


def _judged(rows: Sequence[Compared]) -> list[Compared]:
    """The rows with q over all of them, raw and adjusted apart, and their verdicts."""
    raw = benjamini_hochberg([r.effect.p if _enough(r, r.effect) else math.nan for r in rows]).tolist()
    held_p = [r.adjusted.p if r.adjusted and _enough(r, r.adjusted) else math.nan for r in rows]
    held = benjamini_hochberg(held_p).tolist()
    return [
        replace(
            r, q=q, verdict=_verdict(r, r.effect, q, r.bounds), adjusted_q=other,
            adjusted_verdict=_verdict(r, r.adjusted, other, r.adjusted_bounds) if r.adjusted else None,
        )
        for r, q, other in zip(rows, raw, held, strict=True)
    ]  # fmt: skip


def _enough(row: Compared, e: Effect) -> bool:
    """Whether both sides hold enough to say anything; decided by counts alone, so that it does not bias the rest."""
    least = max(row.metric.min_n, 2)
    return min(e.a.n, e.b.n) >= least and min(e.a.users, e.b.users) >= 2 and math.isfinite(e.p)


def _verdict(row: Compared, e: Effect, q: float, bounds: Bounds | None) -> str:
    if not _enough(row, e):
        return "not enough data"
    size = worst_case.smallest(row.metric, e.a.value, row.matters)
    m = row.matters
    if (e.ratio_low >= 1 / (1 + m) and e.ratio_high <= 1 + m) if row.relative else (e.low >= -m and e.high <= m):
        found = "equivalent"
    elif q <= _LEVEL:
        found = row.metric.moved(e.difference)
    else:
        found = "no clear change" if e.smallest <= BLIND * size else "not enough data"
    return CANNOT_TELL if worst_case.cannot_tell(found, bounds, size) else found


def _simpson(row: Compared, b: str, dimensions: Sequence[str]) -> str:
    assert row.adjusted is not None
    levels, mix = (row.effect.a.value, row.effect.b.value), " and ".join(dimensions)
    clear = row.adjusted_verdict in _CLEAR
    return said.simpson_sentence(row.metric, b, mix, levels, row.adjusted.moved, clear=clear)


def _row(row: Compared) -> dict[str, Any]:
    e, m, held, known = row.effect, row.metric, row.adjusted, row.coverage
    return {"metric": m.name, "label": m.label, "unit": m.unit, "direction": m.direction, "verdict": row.verdict,
            "a": e.a.value, "a_low": e.a.low, "a_high": e.a.high, "b": e.b.value, "b_low": e.b.low, "b_high": e.b.high,
            "difference": e.difference, "low": e.low, "high": e.high,
            "ratio": e.ratio, "ratio_low": e.ratio_low, "ratio_high": e.ratio_high, "p": e.p, "q": row.q,
            "n_a": e.a.n, "n_b": e.b.n, "users_a": e.a.users, "users_b": e.b.users, "users_both": e.users_both,
            "clustered_by": e.clustered_by, "effective_a": e.a.effective,
            "effective_b": e.b.effective, "heaviest_a": e.a.heaviest, "heaviest_b": e.b.heaviest,
            "smallest": e.smallest, "matters": row.matters, "relative": row.relative,
            "adjusted": held.difference if held else math.nan, "adjusted_low": held.low if held else math.nan,
            "adjusted_high": held.high if held else math.nan, "adjusted_q": row.adjusted_q,
            "adjusted_verdict": row.adjusted_verdict, "simpson": row.simpson, "sentence": row.sentence,
            "requests_a": known.requests[0], "requests_b": known.requests[1], "coverage_a": known.shares[0],
            "coverage_b": known.shares[1], "coverage_low": known.change.low, "coverage_high": known.change.high,
            "bound_low": row.bounds.low if row.bounds else math.nan,
            "bound_high": row.bounds.high if row.bounds else math.nan}  # fmt: skip
