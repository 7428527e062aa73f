"""Sums of the two arms of a comparison by user and stratum, from two queries.

The first query reads the histograms of quantile metrics, where the quantiles lie follows from them. The second sums
numerators and denominators by user, with the indicator "at or below that quantile" as one more numerator: so rates,
ratios and quantiles all know how much the two arms have in common. It sums the same by day and 16 groups of
users, for what days add (`kpi.measure.moments`). No row leaves the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from kpi.explain.aggregates.grouped_sums import Arm, distinct, encoded, grouped_sums, numbers, requests
from kpi.measure.clusters import naming
from kpi.measure.columns import (
    RATIO_KINDS,
    Columns,
    bucket,
    cluster,
    conditions,
    dimension,
    hashed,
    known_terms,
    log_bin,
)
from kpi.measure.estimate import Ranks
from kpi.measure.metrics import Metric
from kpi.measure.moments import GROUPS
from kpi.measure.slice import NONE_VALUE
from kpi.stats.types import Array
from kpi.store.engines import Query, Source
from kpi.store.expressions import DOUBLE, INT, Expression, null, only, whole, within

LEAST = 10  # requests of a stratum in each arm, to adjust for it
COVERED = 0.5  # share of requests in strata that both arms fill: with less, the rest is not the same question


@dataclass(frozen=True)
class TermSums:
    """One metric's sums per cell: numerator, denominator, rows in which both are known."""

    y: Array
    x: Array
    n: Array


@dataclass(frozen=True)
class Ranked:
    """Values of one column of one side by rank, the quantile, and the bin that holds it."""

    ranks: Ranks
    value: float
    bin: int


@dataclass(frozen=True, kw_only=True)
class ArmSums:
    """arm: 0 for A, 1 for B; user, stratum: numbers, per cell. Quantiles and their indicators: raw and weighted.

    sums: metric -> sums; of a quantile the indicator of its own side. weighted: the same for the quantiles of the
    mix-adjusted distributions. ranked, ranked_weighted: metric -> where the quantile of A and of B lies. named: per
    user, whether known by name, None where all or none are. by_day: the same sums by groups of users on a day, which
    stand in place of users there, and the day of each; None where days are no clusters.
    """

    arm: Array
    user: Array
    stratum: Array
    strata: tuple[tuple[str, ...], ...]
    rows: Array
    users: int
    sums: Mapping[str, TermSums]
    weighted: Mapping[str, TermSums]
    ranked: Mapping[str, tuple[Ranked | None, Ranked | None]]
    ranked_weighted: Mapping[str, tuple[Ranked | None, Ranked | None]]
    named: Array | None = None
    clustered_by: str = "user"
    by_day: tuple[ArmSums, Array] | None = None

    def partly(self, metric: Metric) -> bool:
        """Whether a metric is not known for all requests."""
        return bool(self.sums[metric.name].n.sum() < self.rows.sum())

    def cells(self, side: int, only: int | None = None) -> Array:
        """Places of the cells of one side, in all strata or in one only."""
        mine = self._sides[side]
        return mine if only is None else mine[self.stratum[mine] == only]

    @cached_property
    def _sides(self) -> tuple[Array, Array]:
        return np.flatnonzero(self.arm == 0), np.flatnonzero(self.arm == 1)

    @property
    def covered(self) -> float:
        """Share of the requests that lie in strata which both arms fill; NaN where there are none."""
        arms = (self.arm == 0, self.arm == 1)
        total = [np.bincount(self.stratum[s], self.rows[s], len(self.strata)) for s in arms]
        rows = float(self.rows.sum())
        filled = (total[0] >= LEAST) & (total[1] >= LEAST)
        return float(((total[0] + total[1]) * filled).sum()) / rows if rows else np.nan


_Term = tuple[str, Metric, tuple[Ranked | None, Ranked | None] | None]


def arm_sums(
    source: Source, metrics: Sequence[Metric], arms: Sequence[Arm],
    *, strata: Sequence[str] = (), clusters: Sequence[str] = (), tz: str = "UTC",
    days_within: bool = False,
) -> ArmSums:  # fmt: skip
    """The sums of two arms, or of one. strata: dimensions to keep apart; clusters: dimensions that name who or what
    repeats; tz: of the days; days_within: whether days are summed by stratum as well, to look at one stratum alone.

    Two queries, one without quantiles. Raises MetricError for an unknown dimension.
    """
    quantiles = [m for m in metrics if m.kind == "quantile"]
    row = requests(source)
    columns = {m.column: row[m.column] for m in quantiles if m.column}
    counts = histograms(source, columns, arms, strata) if columns else []
    raw = {m.name: _both(counts, m, weighted=False) for m in quantiles}
    weighted = {m.name: _both(counts, m, weighted=True) for m in quantiles} if strata else {}
    terms: list[_Term] = [(m.name, m, None) for m in metrics if m.kind in RATIO_KINDS]
    terms += [(m.name, m, raw[m.name]) for m in quantiles]
    terms += [(m.name, m, weighted[m.name]) for m in quantiles if strata]
    who = naming(source)
    people: dict[str, Expression] = {f"u{i}": dimension(source, n) for i, n in enumerate(clusters)}
    partly = who.partly and not clusters
    flag = {"u1": who.flag(row)} if partly else {}
    by_user = people or {"u0": cluster(row), **flag}
    by_day = {} if clusters or "started_at" not in row else {"d": bucket(row, "day", tz), "k": hashed(row, GROUPS)}
    rows = _run(source, terms, arms, strata, by_user, by_day, days_within=days_within)
    daily = numbers(rows["daily"]) > 0
    ranks = {"ranked": raw, "ranked_weighted": weighted}
    users = rows.filter(pa.array(~daily))
    user = _numbered(users, by_user)
    found = _table(users, user, terms, strata, len(quantiles) if strata else 0, ranks)
    found = replace(found, clustered_by="given" if clusters else who.by)
    if partly:
        flags = np.zeros(found.users)
        flags[user] = numbers(users["u1"])
        found = replace(found, named=flags > 0)
    if not by_day:
        return found
    days = rows.filter(pa.array(daily))
    cell = _numbered(days, by_day)
    cells = _table(days, cell, terms, strata if days_within else (), len(quantiles) if strata else 0, ranks)
    day = np.zeros(cells.users, dtype=int)
    day[cell] = _coded(days["d"])[0]
    return replace(found, by_day=(cells, day))


def _run(
    source: Source, terms: Sequence[_Term], arms: Sequence[Arm], strata: Sequence[str],
    by_user: Mapping[str, Expression], by_day: Mapping[str, Expression], *, days_within: bool,
) -> pa.Table:  # fmt: skip
    """The sums of the arms by user and strata (daily = 0), and by groups of users on a day (daily = 1). One query."""
    kept = _strata_keys(source, strata)
    sets = [[*by_user, *kept]] + ([[*by_day, *(kept if days_within else ())]] if by_day else [])
    parts: list[Query] = []
    for number, arm in enumerate(arms):  # both kinds in turn: each gives types to what the other lacks
        rows = _rows_of(source, terms, arm, number, {**by_user, **by_day, **kept})
        if len(sets) == 1 or not source.dialect.grouping_sets:
            parts += [_summed(rows, terms, number, keys, whole(daily)) for daily, keys in enumerate(sets)]
        else:
            daily = sa.func.grouping(rows.c[next(iter(by_user))])
            parts.append(_summed(rows, terms, number, sets[0], daily, other=sets[1]))
    return source.run(sa.union_all(*parts) if len(parts) > 1 else parts[0])


def _rows_of(
    source: Source, terms: Sequence[_Term], arm: Arm, number: int, keys: Mapping[str, Expression]
) -> sa.Subquery:
    """The requests of an arm: their keys and terms, y0, and x0 of a metric whose denominator is more than their
    number."""
    row = requests(source)
    columns = dict(keys)
    for i, (_, metric, ranked) in enumerate(terms):
        y, x = _indicator(metric, row, ranked[number]) if ranked else known_terms(metric, row)
        columns |= {f"y{i}": y} | ({} if metric.counted else {f"x{i}": x})
    chosen = sa.select(*(c.label(name) for name, c in columns.items())).select_from(source.table("requests"))
    return chosen.where(*conditions(source, arm.filters, arm.window)).subquery()


def _summed(
    rows: sa.Subquery, terms: Sequence[_Term], number: int, keys: Sequence[str], daily: Expression,
    other: Sequence[str] = (),
) -> Query:  # fmt: skip
    """The sums of the terms by keys. other: a second set of keys, by which the same statement sums as well."""
    sums: dict[str, Expression] = {"rows": sa.func.count()}
    for i, (_, metric, _) in enumerate(terms):
        y = rows.c[f"y{i}"]
        sums |= {f"y{i}": _sum(y), f"n{i}": sa.cast(sa.func.count(y), DOUBLE)}
        sums |= {} if metric.counted else {f"x{i}": _sum(rows.c[f"x{i}"])}
    used = {*keys, *other}
    named = [(rows.c[c.name] if c.name in used else sa.null()).label(c.name) for c in rows.c if c.name[0] not in "yx"]
    found = sa.select(sa.cast(daily, INT).label("daily"), whole(number).label("arm"), *named,
                      *(column.label(name) for name, column in sums.items()))  # fmt: skip
    sets = [[rows.c[k] for k in one] for one in (keys, other)]
    return found.group_by(*[sa.func.grouping_sets(*(sa.tuple_(*s) for s in sets))] if other else sets[0])


def _sum(value: Expression) -> Expression:
    return sa.cast(sa.func.sum(value), DOUBLE)  # here: sums of whole numbers come as decimals otherwise, which are slow


def _numbered(rows: pa.Table, keys: Mapping[str, Expression]) -> Array:
    """A number for each combination of the keys."""
    return _combined([_coded(rows[k]) for k in keys], rows.num_rows)[0]


def _table(
    rows: pa.Table, user: Array, terms: Sequence[_Term], strata: Sequence[str], weighted: int, ranks: Mapping[str, Any]
) -> ArmSums:
    stratum, names = _strata(rows, len(strata))
    sums = []
    for i, (_, metric, _) in enumerate(terms):
        y, n = numbers(rows[f"y{i}"]), numbers(rows[f"n{i}"])
        sums.append(TermSums(y, n if metric.counted else numbers(rows[f"x{i}"]), n))
    own = len(terms) - weighted
    return ArmSums(arm=numbers(rows["arm"]).astype(int), user=user, stratum=stratum, strata=names,
                   rows=numbers(rows["rows"]), users=int(user.max()) + 1 if len(user) else 0,
                   sums={terms[i][0]: sums[i] for i in range(own)},
                   weighted={terms[i][0]: sums[i] for i in range(own, len(terms))}, **ranks)  # fmt: skip


# --- where quantiles lie ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BinCounts:
    """Requests of one value by side, stratum and bin. name: of the value; strata: what the strata stand for; low, high:
    the smallest and the largest value there."""

    name: Any
    side: Array
    stratum: Array
    bins: Array
    count: Array
    strata: tuple[tuple[str, ...], ...]
    low: Array
    high: Array

    def of(
        self, side: int, stratum: tuple[str, ...] | None = None, weights: Array | None = None
    ) -> tuple[Array, Array]:
        """(bins ascending, requests) of one side, in one stratum or all. weights: of the rows; 0 leaves out."""
        bins, place, count, _ = self._rows(side, stratum, weights)
        return bins, np.bincount(place, count, minlength=len(bins))

    def ranks(self, side: int, weights: Array | None = None) -> tuple[Array, Ranks]:
        """(bins ascending, values by rank) of one side."""
        bins, place, count, mine = self._rows(side, None, weights)
        low, high = np.full(len(bins), np.inf), np.full(len(bins), -np.inf)
        np.minimum.at(low, place, self.low[mine])
        np.maximum.at(high, place, self.high[mine])
        return bins, Ranks(bins, np.bincount(place, count, minlength=len(bins)), low, high)

    def _rows(
        self, side: int, stratum: tuple[str, ...] | None, weights: Array | None
    ) -> tuple[Array, Array, Array, Array]:
        mine = self.side == side
        if stratum is not None:
            mine &= self.stratum == self.strata.index(stratum)
        count = self.count if weights is None else self.count * weights
        mine &= count > 0
        bins, place = np.unique(self.bins[mine], return_inverse=True)
        return bins, place, count[mine], mine


def histograms(
    source: Source, values: Mapping[Any, Expression], arms: Sequence[Arm], strata: Sequence[str]
) -> list[BinCounts]:
    """Log-binned histograms of values of a request, where they are known. One query."""
    parts = []
    for i, arm in enumerate(arms):
        for j, value in enumerate(values.values()):
            keys = {**_strata_keys(source, strata), "b": log_bin(value)}
            ends = {"l": sa.func.min(value), "h": sa.func.max(value)}
            counts = {"c": whole(j), "n": sa.func.count(), **{k: sa.cast(v, DOUBLE) for k, v in ends.items()}}
            parts.append(grouped_sums(source, arm, keys=keys, sums=counts, number=i, where=[value.is_not(None)]))
    rows = source.run(sa.union_all(*parts))
    stratum, names = _strata(rows, len(strata))
    number, of, bins, count, low, high = (numbers(rows[k]) for k in ("arm", "c", "b", "n", "l", "h"))
    return [BinCounts(name, number[of == j].astype(int), stratum[of == j], bins[of == j], count[of == j], names,
                      low[of == j], high[of == j]) for j, name in enumerate(values)]  # fmt: skip


def _both(found: Sequence[BinCounts], metric: Metric, *, weighted: bool) -> tuple[Ranked | None, Ranked | None]:
    counts = next(c for c in found if c.name == metric.column)
    weights = None
    if weighted:
        shares = standardisation_weights(counts.side, counts.stratum, counts.count, counts.count)
        weights = shares[counts.side, counts.stratum]
    assert metric.q is not None
    a, b = (_ranked(counts, i, weights, metric.q) for i in (0, 1))
    return a, b


def standardisation_weights(side: Array, stratum: Array, x: Array, n: Array) -> Array:
    """Weight of a row by side and stratum, so that both sides get the pooled shares of the strata that both fill.

    The weights of a side keep its total of x in those strata; strata with fewer than LEAST requests on a side get 0:
    their own value would be noise, and its error unknown.
    """
    size = int(stratum.max()) + 1 if len(stratum) else 0
    total, rows = (np.stack([np.bincount(stratum[side == i], v[side == i], minlength=size) for i in (0, 1)])
                   for v in (x, n))  # fmt: skip
    pooled = np.where((rows >= LEAST).all(axis=0) & (total > 0).all(axis=0), total.sum(axis=0), 0.0)
    shared = np.where(pooled > 0, total, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = pooled / pooled.sum() * shared.sum(axis=1, keepdims=True) / total
    return np.where(pooled > 0, weights, 0.0)


def _ranked(counts: BinCounts, side: int, weights: Array | None, q: float) -> Ranked | None:
    bins, ranks = counts.ranks(side, weights)
    if not len(bins):
        return None
    place = ranks.bin_of(np.floor((ranks.n - 1) * q) + 1)
    return Ranked(ranks, ranks.quantile(q), int(bins[place]))


# --- sums by user ----------------------------------------------------------------------------------------------------


def _strata_keys(source: Source, strata: Sequence[str]) -> dict[str, Expression]:
    return {f"s{i}": dimension(source, n) for i, n in enumerate(strata)}


def _indicator(metric: Metric, row: Columns, ranked: Ranked | None) -> tuple[Expression, Expression]:
    """1 where the value lies in or below the bin of the quantile."""
    assert metric.column is not None
    value = row[metric.column]
    if ranked is None:
        return null(), null()
    edge = sa.literal_column(str(ranked.bin), sa.Integer())
    return within(log_bin(value) <= edge, value), only(value.is_not(None), whole(1))


def _strata(rows: pa.Table, count: int) -> tuple[Array, tuple[tuple[str, ...], ...]]:
    """(number of the stratum per row, values of each stratum)."""
    columns = [_coded(pc.fill_null(pc.cast(rows[f"s{i}"], pa.string()), NONE_VALUE)) for i in range(count)]
    codes, first = _combined(columns, rows.num_rows)
    return codes, tuple(tuple(values[c[i]] for c, values in columns) for i in first)


def _combined(columns: Sequence[tuple[Array, list[Any]]], rows: int) -> tuple[Array, Array]:
    """(one number per row for the combination of several codes, a row of each combination)."""
    codes, size = np.zeros(rows, dtype=np.int64), min(rows, 1)
    for more, values in columns:
        found, codes = distinct(codes * (len(values) + 1) + more, size * (len(values) + 1))
        size = len(found)
    first = np.zeros(size, dtype=np.int64)
    first[codes] = np.arange(rows)
    return codes, first


def _coded(column: pa.ChunkedArray) -> tuple[Array, list[Any]]:
    """(code of each row, that of NULL behind all others; the values)."""
    codes, values = encoded(column)
    return np.where(codes < 0, len(values), codes), values.to_pylist()
