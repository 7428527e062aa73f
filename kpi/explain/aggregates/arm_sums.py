"""The small result that a comparison rests on: sums by side, user and stratum, out of two queries.

The first query reads the histograms of quantile metrics, where the quantiles lie follows from them. The second sums
numerators and denominators by user, with the indicator "at or below that quantile" as one more numerator: so rates,
ratios and quantiles all know how much the two sides have in common. No row leaves the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from kpi.measure.estimate import bin_value
from kpi.measure.metrics import Metric
from kpi.measure.slice import NONE_VALUE, Filters, Window
from kpi.measure.statistics import RATIO_KINDS, Columns, cluster, conditions, dimension, log_bin
from kpi.stats.types import Array
from kpi.store.engines import Source

LEAST = 10  # requests of a stratum on each side, to hold the mix over it
_DOUBLE: sa.Double = sa.Double()
_INT, _TEXT = sa.BigInteger(), sa.Text()


@dataclass(frozen=True, kw_only=True)
class Side:
    """Which rows a side holds."""

    filters: Filters = ()
    window: Window | None = None


@dataclass(frozen=True)
class Sums:
    """One metric's sums per cell: numerator, denominator, rows in which both are known."""

    y: Array
    x: Array
    n: Array


@dataclass(frozen=True)
class Ranked:
    """Counts of one column of one side: bins ascending, running counts, and the bin that holds the quantile."""

    bins: Array
    upto: Array
    value: float
    at: int


@dataclass(frozen=True, kw_only=True)
class Sides:
    """side: 0 for A, 1 for B; user, stratum: numbers, per cell. Quantiles and their indicators: raw and weighted.

    sums: metric -> sums; of a quantile the indicator of its own side. weighted: the same for the quantiles of the
    mix-adjusted distributions. ranked, ranked_weighted: metric -> where the quantile of A and of B lies.
    """

    side: Array
    user: Array
    stratum: Array
    strata: tuple[tuple[str, ...], ...]
    rows: Array
    users: int
    sums: Mapping[str, Sums]
    weighted: Mapping[str, Sums]
    ranked: Mapping[str, tuple[Ranked | None, Ranked | None]]
    ranked_weighted: Mapping[str, tuple[Ranked | None, Ranked | None]]


_Term = tuple[str, Metric, tuple[Ranked | None, Ranked | None] | None]


def read(
    source: Source,
    metrics: Sequence[Metric],
    sides: tuple[Side, Side],
    *,
    strata: Sequence[str] = (),
    clusters: Sequence[str] = (),
) -> Sides:
    """The sums of two sides. strata: dimensions to keep apart; clusters: dimensions that name who or what repeats.

    Two queries, one without quantiles. Raises MetricError for an unknown dimension.
    """
    quantiles = [m for m in metrics if m.kind == "quantile"]
    found = _histograms(source, quantiles, sides, strata) if quantiles else []
    raw = {m.name: _both(found, m, weighted=False) for m in quantiles}
    weighted = {m.name: _both(found, m, weighted=True) for m in quantiles} if strata else {}
    terms: list[_Term] = [(m.name, m, None) for m in metrics if m.kind in RATIO_KINDS]
    terms += [(m.name, m, raw[m.name]) for m in quantiles]
    terms += [(m.name, m, weighted[m.name]) for m in quantiles if strata]
    rows = source.run(
        sa.union_all(*(_cells(source, terms, sides[i], i, strata, clusters) for i in (0, 1))),
    )
    stratum, names = _strata(rows, len(strata))
    user = _users(rows, max(len(clusters), 1))
    sums = [Sums(*(_numbers(rows[f"{k}{i}"]) for k in "yxn")) for i in range(len(terms))]
    own = len(terms) - (len(quantiles) if strata else 0)
    return Sides(
        side=_numbers(rows["side"]).astype(int), user=user, stratum=stratum, strata=names, rows=_numbers(rows["rows"]),
        users=int(user.max()) + 1 if len(user) else 0,
        sums={terms[i][0]: sums[i] for i in range(own)},
        weighted={terms[i][0]: sums[i] for i in range(own, len(terms))},
        ranked=raw, ranked_weighted=weighted,
    )  # fmt: skip


# --- where quantiles lie ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Counts:
    """Counts of one column: per side, stratum and bin."""

    column: str
    side: Array
    stratum: Array
    bins: Array
    count: Array


def _histograms(
    source: Source, metrics: Sequence[Metric], sides: tuple[Side, Side], strata: Sequence[str]
) -> list[_Counts]:
    row = Columns(source, source.table("requests"))
    columns = list(dict.fromkeys(m.column for m in metrics if m.column))
    parts = []
    for i, side in enumerate(sides):
        for j, column in enumerate(columns):
            keys = [dimension(source, n).label(f"s{k}") for k, n in enumerate(strata)]
            keys.append(log_bin(row[column]).label("b"))
            parts.append(
                sa.select(
                    sa.literal_column(str(i), sa.Integer()).label("side"),
                    sa.literal_column(str(j), sa.Integer()).label("c"), *keys, sa.func.count().label("n"),
                )
                .select_from(source.table("requests"))
                .where(row[column].is_not(None), *conditions(source, side.filters, side.window))
                .group_by(*keys)
            )  # fmt: skip
    rows = source.run(sa.union_all(*parts))
    stratum, _ = _strata(rows, len(strata))
    number, of, bins, count = (_numbers(rows[k]) for k in ("side", "c", "b", "n"))
    return [
        _Counts(c, number[of == j].astype(int), stratum[of == j], bins[of == j], count[of == j])
        for j, c in enumerate(columns)
    ]


def _both(found: Sequence[_Counts], metric: Metric, *, weighted: bool) -> tuple[Ranked | None, Ranked | None]:
    counts = next(c for c in found if c.column == metric.column)
    weights = np.ones(len(counts.count))
    if weighted:
        shares = standard(counts.side, counts.stratum, counts.count, counts.count)
        weights = shares[counts.side, counts.stratum]
    assert metric.q is not None
    a, b = (_ranked(counts, i, weights, metric.q) for i in (0, 1))
    return a, b


def standard(side: Array, stratum: Array, x: Array, n: Array) -> Array:
    """Weight of a row by side and stratum, so that both sides get the pooled shares of the strata that both fill.

    The weights of a side keep its total of x in those strata; strata with fewer than LEAST requests on a side get 0:
    their own value would be noise, and its error unknown.
    """
    size = int(stratum.max()) + 1 if len(stratum) else 0
    total, rows = (
        np.stack([np.bincount(stratum[side == i], v[side == i], minlength=size) for i in (0, 1)]) for v in (x, n)
    )
    pooled = np.where((rows >= LEAST).all(axis=0) & (total > 0).all(axis=0), total.sum(axis=0), 0.0)
    shared = np.where(pooled > 0, total, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = pooled / pooled.sum() * shared.sum(axis=1, keepdims=True) / total
    return np.where(pooled > 0, weights, 0.0)


def _ranked(counts: _Counts, side: int, weights: Array, q: float) -> Ranked | None:
    """Where the quantile lies: numpy's linear rule on the bins' values, as `kpi.measure.estimate.quantile`."""
    mine = (counts.side == side) & (weights > 0)
    if not mine.any():
        return None
    bins, place = np.unique(counts.bins[mine], return_inverse=True)
    upto = np.cumsum(np.bincount(place, counts.count[mine] * weights[mine]))
    last = len(bins) - 1
    at = lambda rank: min(int(np.searchsorted(upto, rank - 1e-9)), last)  # noqa: E731
    position = (upto[-1] - 1) * q
    below = np.floor(position)
    share = position - below
    first, second = at(below + 1), at(min(below + 2, upto[-1]))
    value = float(bin_value(bins[first]) * (1 - share) + bin_value(bins[second]) * share)
    return Ranked(bins, upto, value, first)


# --- sums by user ----------------------------------------------------------------------------------------------------


def _cells(
    source: Source,
    terms: Sequence[_Term],
    side: Side,
    number: int,
    strata: Sequence[str],
    clusters: Sequence[str],
) -> sa.Select:
    table = source.table("requests")
    row = Columns(source, table)
    repeated = [dimension(source, n) for n in clusters] or [cluster(row)]
    keys = [c.label(f"u{i}") for i, c in enumerate(repeated)]
    keys += [dimension(source, n).label(f"s{i}") for i, n in enumerate(strata)]
    sums = [sa.func.count().label("rows")]
    for i, (_, metric, ranked) in enumerate(terms):
        y, x = _indicator(metric, row, ranked[number]) if ranked else _ratio(metric, row)
        sums += [sa.func.sum(y).label(f"y{i}"), sa.func.sum(x).label(f"x{i}"), sa.func.count(x).label(f"n{i}")]
    return (
        sa.select(sa.literal_column(str(number), sa.Integer()).label("side"), *keys, *sums)
        .select_from(table)
        .where(*conditions(source, side.filters, side.window))
        .group_by(*keys)
    )


def _ratio(metric: Metric, row: Columns) -> tuple[sa.ColumnElement, sa.ColumnElement]:
    """Numerator and denominator of a row, both NULL unless both are known."""
    assert metric.y is not None
    assert metric.x is not None
    y, x = metric.y(row), metric.x(row)
    both, nothing = sa.and_(y.is_not(None), x.is_not(None)), sa.cast(sa.null(), _INT)
    known = [sa.case((both, sa.cast(v, _INT)), else_=nothing) for v in (y, x)]
    return known[0], known[1]


def _indicator(metric: Metric, row: Columns, ranked: Ranked | None) -> tuple[sa.ColumnElement, sa.ColumnElement]:
    """1 where the value lies in or below the bin of the quantile."""
    assert metric.column is not None
    value, nothing = row[metric.column], sa.cast(sa.null(), _INT)
    zero, one = sa.literal_column("0", _INT), sa.literal_column("1", _INT)
    if ranked is None:
        return nothing, nothing
    edge = sa.literal_column(str(int(ranked.bins[ranked.at])), sa.Integer())
    return (
        sa.case((value.is_(None), nothing), (log_bin(value) <= edge, one), else_=zero),
        sa.case((value.is_(None), nothing), else_=one),
    )


def _users(rows: pa.Table, count: int) -> Array:
    """A number for each user; one that is named by several columns is their combination."""
    return _combined([_encoded(rows[f"u{i}"]) for i in range(count)], rows.num_rows)[0]


def _strata(rows: pa.Table, count: int) -> tuple[Array, tuple[tuple[str, ...], ...]]:
    """(number of the stratum per row, values of each stratum)."""
    columns = [_encoded(pc.fill_null(pc.cast(rows[f"s{i}"], pa.string()), NONE_VALUE)) for i in range(count)]
    codes, first = _combined(columns, rows.num_rows)
    return codes, tuple(tuple(values[c[i]] for c, values in columns) for i in first)


def _combined(columns: Sequence[tuple[Array, list]], rows: int) -> tuple[Array, Array]:
    """(one number per row for the combination of several codes, a row of each combination)."""
    codes, first = np.zeros(rows, dtype=np.int64), np.zeros(min(rows, 1), dtype=np.int64)
    for more, values in columns:
        _, first, codes = np.unique(codes * (len(values) + 1) + more, return_index=True, return_inverse=True)
    return codes, first


def _encoded(column: pa.ChunkedArray) -> tuple[Array, list]:
    encoded = pc.dictionary_encode(column).combine_chunks()
    whole = pa.concat_arrays(encoded.chunks) if isinstance(encoded, pa.ChunkedArray) else encoded
    values = whole.dictionary.to_pylist()
    return pc.fill_null(whole.indices, len(values)).to_numpy(zero_copy_only=False).astype(np.int64), values


def _numbers(column: pa.ChunkedArray) -> Array:
    return pc.fill_null(pc.cast(column, pa.float64(), safe=False), 0.0).to_numpy()
