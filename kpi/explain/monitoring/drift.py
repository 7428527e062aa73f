"""Drift of one column: how far its distribution now is from the baseline, beyond what no change would show.

All values count, unknown among them; of a number twelve classes of the baseline. The engine adds requests up by value
and group of users: 4,096 groups by hash, so that few users are groups of their own; 256 for the course over time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from scipy import sparse

from kpi.errors import MetricError, choices
from kpi.explain.aggregates.arm_sums import histograms
from kpi.explain.aggregates.grouped_sums import Arm, encoded, grouped_sums, numbers, requests
from kpi.explain.monitoring.homogeneity import LEVEL, Chance, Distance, Table, chance
from kpi.measure.buckets import bucket_columns
from kpi.measure.columns import bucket, dimension, hashed
from kpi.measure.estimate import LOG_BASE, ZERO_BIN, bin_value
from kpi.measure.profile import profile
from kpi.measure.slice import NONE_VALUE, Resolved, Slice
from kpi.measure.summary import label, resolve
from kpi.narrate.drift import bin_names, drift_sentence, drifts_sentence, turnover_sentence
from kpi.narrate.wording import format_value, scope_of
from kpi.result import Result, plain
from kpi.schema import COHORTS, OUTCOMES, REQUESTS, dimension_name
from kpi.stats.types import Array
from kpi.store.engines import Source, Statement
from kpi.store.expressions import TEXT, Expression, null, whole

NUMERIC = {
    "input_tokens": "tokens", "output_tokens": "tokens", "total_us": "ms", "total_nusd": "usd",
    "retrieved_docs": "count", "tool_calls": "count", "llm_calls": "count", "ttft_us": "ms",
}  # fmt: skip
INPUTS = ("intent", "language", "use_case", "region", "channel")
MAX_VALUES, NUMERIC_BINS = 12, 12
OTHER = "(other)"
_SCALE = {"ms": 1e-3, "usd": 1e-9}
_GROUPS, _COARSE = 16**3, 16**2  # of users, by three or two digits of their hash
_LARGE = 100_000  # requests from which several columns at once are told by coarse groups, which have users enough
_DENSE = 2**17  # cells of a table that is no sparse one
_MANY = 1000  # values for which fewer groups do, to save time and memory
_SIDES = 3  # of a column: baseline, window, and the window by bucket


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Drift(Result):
    """Drift of a column.

    distribution: value, now, baseline (shares), the rarest folded into one. distance: over all values. series: bucket,
    start, complete, distance, noise, n. appeared, vanished: values of one side only, the most frequent first: value,
    share, n there.
    """

    main = "distribution"
    columns = ("value", "now", "baseline")
    column: str
    distribution: pd.DataFrame
    distance: Distance
    series: pd.DataFrame
    appeared: pd.DataFrame
    vanished: pd.DataFrame
    sentence: str
    scope: str = ""

    @property
    def turnover(self) -> str:
        """New and vanished values with their shares, in words; "" where there are none."""
        return turnover_sentence(self.appeared, self.vanished)


def drift_columns(source: Source) -> list[str]:
    """Columns whose drift can be shown: cohorts and extra cohorts first, then outcomes, then numbers."""
    known = profile(source)
    cohorts = [c.name for c in COHORTS if c.name in known.dimensions]
    extras = [d for d in known.dimensions if d not in REQUESTS.names]
    outcomes = [c.name for c in OUTCOMES if known.filled.get(c.name)]
    return [*cohorts, *extras, *outcomes, *(c for c in NUMERIC if known.filled.get(c))]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Drifts(Result):
    """Drift of every column. table: column, state (changed, no clear change, not enough data), distance, low, high, q,
    n, sentence, the surest first; q is Holm's over all columns, and limits hold for all of them together."""

    main = "table"
    columns = ("column", "state", "distance", "low", "high", "q", "n")
    table: pd.DataFrame
    sentence: str
    scope: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the keys of `kpi drift --json`."""
        return {"sentence": self.sentence, "scope": self.scope, "columns": plain(self.table)}


@overload
def drift(source: Source, column: str, slice: Slice | None = None) -> Drift: ...
@overload
def drift(source: Source, column: None = None, slice: Slice | None = None) -> Drifts: ...
def drift(source: Source, column: str | None = None, slice: Slice | None = None) -> Drift | Drifts:
    """Drift of a dimension, outcome or number between the slice's window and its baseline, or of all of them.

    Args:
        source: Where the rows are.
        column: One of those that `kpi.drift_columns` gives; None for a table of all, in two statements.
        slice: With a baseline.

    Returns:
        A `Drift`: shares now and in the baseline, the distance with its limits, and the distance over time. Without a
        column `Drifts`: a row a column, the surest first, corrected for their number.

    Raises:
        MetricError: When the column is unknown or the slice has no baseline.

    Example:
        >>> found = kpi.drift(source, "intent", kpi.Slice(last="28d"))
        >>> found.distribution.columns.tolist()
        ['value', 'now', 'baseline']
    """
    columns = drift_columns(source)
    if not columns:
        raise MetricError("drift.column", "The data has no column whose drift could be shown",
                          hint="Map cohorts, outcomes or tokens.")  # fmt: skip
    if column is not None and (column := dimension_name(column)) not in columns:
        raise MetricError(
            "drift.column", f"Drift of {column[:60]!r} cannot be shown", hint=choices(column, columns, 20)
        )
    resolved = resolve(source, slice or Slice(dataset=source.name))
    if resolved.baseline_filters is None:
        timed = "Choose what to compare with, such as the window before."
        none = "This data has no times: compare with a version, such as model:NAME."
        raise MetricError("drift.no_baseline", "Drift needs something to compare with",
                          hint=timed if resolved.window else none)  # fmt: skip
    if column is None:
        return _all(source, resolved, columns)
    numeric = column in NUMERIC
    edges = _edges(source, [column], resolved)[column] if numeric else []
    value = _class(requests(source)[column], edges) if numeric else dimension(source, column)
    sums = _Sums(source, resolved, [value], resolved.slice.grain)
    before, now = sums.table(0, 0), sums.table(0, 1)
    classes = _class_names(edges, NUMERIC[column]) if numeric else []
    names = [label(v) if v is None or not numeric else classes[v] for v in sums.values]
    counts = pd.DataFrame({"now": now.sum(axis=0), "baseline": before.sum(axis=0)}, index=names).groupby(level=0).sum()
    counts = counts[counts.sum(axis=1) > 0].sort_index(key=lambda v: v == NONE_VALUE, kind="stable")
    sizes, found = counts.sum(), chance(now, before).distance()
    shares = (counts / sizes).rename_axis("value").reset_index()
    listed = counts if sizes.all() and not numeric else counts[:0]
    return Drift(column=column, distribution=shares if numeric else _folded(shares), distance=found,
                 series=_series(source, resolved, sums),
                 appeared=_alone(listed["now"], listed["baseline"], sizes["now"]),
                 vanished=_alone(listed["baseline"], listed["now"], sizes["baseline"]),
                 sentence=drift_sentence(column, found, shares, (sizes["now"], sizes["baseline"])),
                 scope=scope_of(resolved, sizes["now"], sizes["baseline"], compared=True))  # fmt: skip


def input_drift(source: Source, resolved: Resolved, columns: Sequence[str]) -> dict[str, Distance]:
    """The distance of each column that both sides have, with limits that hold for all of them together (Holm 1979).

    One query. columns: dimensions. Empty without a baseline.
    """
    if resolved.baseline_filters is None or not columns:
        return {}
    sums = _Sums(source, resolved, [dimension(source, c) for c in columns], None)
    laws = {c: chance(sums.table(j, 1), sums.table(j, 0)) for j, c in enumerate(columns)}
    return {c: found for c, (found, _) in _together(laws).items()}


def input_course(source: Source, resolved: Resolved, column: str) -> pd.DataFrame:
    """The distance of one column from the baseline over time, as the `spark` of a card. One query."""
    found = _series(source, resolved, _Sums(source, resolved, [dimension(source, column)], resolved.slice.grain))
    return found.rename(columns={"distance": "value"})[["bucket", "start", "complete", "value", "n"]]


def _together(laws: Mapping[str, Chance]) -> dict[str, tuple[Distance, float]]:
    """Distance and adjusted p (Holm 1979) of each column that can be told, the surest first."""
    told = {c: law for c, law in laws.items() if math.isfinite(law.statistic)}
    found: dict[str, tuple[Distance, float]] = {}
    level, q = LEVEL, 0.0
    for rank, column in enumerate(sorted(told, key=lambda c: told[c].p)):
        if all(d.clear for d, _ in found.values()):
            level = LEVEL / (len(told) - rank)
        q = max(q, min(1.0, told[column].p * (len(told) - rank)))
        found[column] = told[column].distance(level), q
    return found


def _all(source: Source, resolved: Resolved, columns: Sequence[str]) -> Drifts:
    """Every column, in a statement for the classes of numbers and one for all values."""
    numbers_of = [c for c in columns if c in NUMERIC]
    edges = _edges(source, numbers_of, resolved) if numbers_of else {}
    row = requests(source)
    values = [sa.cast(_class(row[c], edges[c]), TEXT) if c in edges else dimension(source, c) for c in columns]
    sums = _Sums(source, resolved, values, None)
    laws = {c: chance(sums.table(j, 1), sums.table(j, 0)) for j, c in enumerate(columns)}
    clear = _together(laws)
    rows = []
    for column in sorted(columns, key=lambda c: list(clear).index(c) if c in clear else len(clear)):
        found, q = clear.get(column) or (laws[column].distance(), math.nan)
        j, known = columns.index(column), column in edges
        names = _class_names(edges[column], NUMERIC[column]) if known else []
        labels = [names[int(v)] if known and v is not None and v.isdigit() and int(v) < len(names) else label(v)
                  for v in sums.values]  # fmt: skip
        counts = pd.DataFrame({side: sums.table(j, arm).sum(axis=0) for arm, side in ((1, "now"), (0, "baseline"))})
        sizes = counts.sum()
        shares = (counts / sizes).assign(value=labels)[counts.sum(axis=1) > 0].reset_index(drop=True)
        state = "changed" if found.clear else "no clear change" if math.isfinite(found.value) else "not enough data"
        told = drift_sentence(column, found, shares, (sizes["now"], sizes["baseline"]))
        rows.append((column, state, found.value, found.low, found.high, q, int(sizes["now"]), told))
    table = pd.DataFrame(rows, columns=["column", "state", "distance", "low", "high", "q", "n", "sentence"])
    return Drifts(table=table, sentence=drifts_sentence(table), scope=scope_of(resolved, compared=True))


class _Sums:
    """Requests by side, group of users and value, for one or more columns; of one by bucket as well. One statement.

    values: what the columns of the tables stand for, the last is unknown.
    """

    def __init__(self, source: Source, resolved: Resolved, values: Sequence[Expression], grain: str | None) -> None:
        timed = grain if resolved.window else None
        many = len(values) > 1 and profile(source).requests > _LARGE
        digits_kept, self._groups = (2, _COARSE) if many else (3, _GROUPS)
        rows = source.run(_statement(source, resolved, values, timed, digits_kept))
        codes, known = encoded(rows["v"])
        self.values: list[Any] = [*known.to_pylist(), None]
        self._value = np.where(codes < 0, len(known), codes)
        hashes, digits = encoded(rows["g"])
        self._group = np.array([int(d, 16) for d in digits.to_pylist()] or [0])[hashes]
        self._n, self._side = numbers(rows["n"]), numbers(rows["c"]) * _SIDES + numbers(rows["arm"])
        self._bucket, moments = encoded(rows["b"] if timed else pa.chunked_array([pa.nulls(len(codes), pa.string())]))
        self.buckets = [str(m) for m in moments.to_pylist()]

    def table(self, column: int, arm: int, *, coarse: bool = False) -> Table:
        """Requests by group and value. arm: 0 for the baseline, 1 for the window."""
        together = self._groups // _COARSE if coarse or len(self.values) > _MANY else 1
        return self._table(np.flatnonzero(self._side == column * _SIDES + arm), self._groups, together)

    def by_bucket(self) -> Iterator[tuple[str, Table]]:
        """The same of the window by bucket of time, for coarse groups."""
        for name, code in sorted(zip(self.buckets, range(len(self.buckets)), strict=True)):
            yield name, self._table(np.flatnonzero(self._bucket == code), _COARSE)

    def _table(self, rows: Array, groups: int, together: int = 1) -> Table:
        shape = groups // together, len(self.values)
        place = self._group[rows] // together, self._value[rows]
        found = sparse.csr_array((self._n[rows], place), shape=shape)
        return found.toarray() if shape[0] * shape[1] <= _DENSE else found


def _statement(
    source: Source, resolved: Resolved, values: Sequence[Expression], grain: str | None, digits: int
) -> Statement:
    """The parts of each value (c) and arm; before them, because it gives the bucket a type, the window by bucket."""
    row, arms, parts = requests(source), _arms(resolved), []
    if grain:
        keys = {"g": hashed(row, 2), "v": values[0], "b": bucket(row, grain, resolved.slice.tz)}
        parts.append(grouped_sums(source, arms[1], keys=keys, sums={"c": whole(0), "n": sa.func.count()}, number=2))
    for c, value in enumerate(values):
        sums = {**({"b": sa.null()} if grain else {}), "c": whole(c), "n": sa.func.count()}
        keys = {"g": hashed(row, digits), "v": value}
        parts += [grouped_sums(source, arm, keys=keys, sums=sums, number=i) for i, arm in enumerate(arms)]
    return sa.union_all(*parts)


def _arms(resolved: Resolved) -> tuple[Arm, Arm]:
    """Baseline and window."""
    return (Arm(filters=resolved.baseline_filters or (), window=resolved.baseline),
            Arm(filters=resolved.filters, window=resolved.window))  # fmt: skip


def _series(source: Source, resolved: Resolved, sums: _Sums) -> pd.DataFrame:
    """The distance of each bucket of the window from the whole baseline."""
    before = sums.table(0, 0, coarse=True)
    found = {name: chance(now, before).distance() for name, now in sums.by_bucket()}
    times = bucket_columns(pd.Series(list(found), dtype=object), resolved.slice.grain, tz=resolved.slice.tz,
                           source=source, window=resolved.window)  # fmt: skip
    steps = {"distance": [d.value for d in found.values()], "noise": [d.noise for d in found.values()],
             "n": [int(d.n) for d in found.values()]}  # fmt: skip
    return pd.DataFrame({**times, **steps})


# --- values ----------------------------------------------------------------------------------------------------------


def _folded(shares: pd.DataFrame) -> pd.DataFrame:
    """The most frequent values of both windows together, as many as a picture can show; the others fold into one."""
    ranked = shares.assign(total=shares[["now", "baseline"]].fillna(0.0).sum(axis=1))
    ranked = ranked.sort_values(["total", "value"], ascending=[False, True], ignore_index=True).drop(columns="total")
    if len(ranked) <= MAX_VALUES:
        return ranked
    rest = ranked[MAX_VALUES - 1 :].sum(numeric_only=True)
    return pd.concat([ranked[: MAX_VALUES - 1], pd.DataFrame([{"value": OTHER, **rest}])], ignore_index=True)


def _alone(here: pd.Series, there: pd.Series, size: float) -> pd.DataFrame:
    """Values that only one of two windows has, the most frequent first."""
    only = here[there == 0].astype(int)
    found = pd.DataFrame({"value": only.index, "share": only.to_numpy() / size, "n": only.to_numpy()})
    return found.sort_values(["n", "value"], ascending=[False, True], ignore_index=True)


def _edges(source: Source, columns: Sequence[str], resolved: Resolved) -> dict[str, list[float]]:
    """Upper bins of about twelve equally filled classes of each column, of the baseline or else the window."""
    edges: dict[str, list[float]] = {}
    for column, found in zip(
        columns, histograms(source, {c: requests(source)[c] for c in columns}, _arms(resolved), ()), strict=True
    ):
        bins, count = found.of(0 if 0 in found.side else 1)
        cuts = np.searchsorted(np.cumsum(count), count.sum() * np.arange(1, NUMERIC_BINS) / NUMERIC_BINS)
        edges[column] = sorted(set(bins[cuts].tolist())) if len(bins) else []
    return edges


def _class(value: Expression, edges: Sequence[float]) -> Expression:
    """The place of a whole number among the classes; NULL where it is unknown."""
    tops = [0 if e == ZERO_BIN else math.ceil(LOG_BASE ** (e + 1)) - 1 for e in edges]
    cases = [(value <= whole(top), whole(i)) for i, top in enumerate(tops)]
    return sa.case((value.is_(None), null()), *cases, else_=whole(len(tops)))


def _class_names(edges: Sequence[float], unit: str) -> list[str]:
    return bin_names([format_value(float(bin_value(e)) * _SCALE.get(unit, 1.0), unit) for e in edges])
