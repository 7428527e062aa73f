"""Pre-aggregated cube for change detection: metric sums by user, day and combination of dimension values.

From one query. A segment is a choice of cells, a window a choice of days, and whoever comes back is one cluster. No row
leaves the engine.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from kpi.explain.aggregates.grouped_sums import Arm, encoded, grouped_sums, numbers, requests, term_sums
from kpi.explain.aggregates.search_space import MIN_ROWS as MIN_ROWS, search_space
from kpi.measure.columns import RATIO_KINDS, Columns, bucket, cluster, dimension, known_terms
from kpi.measure.metrics import Metric
from kpi.measure.slice import Filters, Window
from kpi.schema import VERSIONS
from kpi.stats.types import Array
from kpi.store.engines import Source
from kpi.store.expressions import DOUBLE, Expression, only, whole

MIN_USERS = 10  # of a segment in each window
MAX_VALUES = 60  # of one dimension; the rarest beyond it are left out of the search
_VERSIONS = frozenset(c.name for c in VERSIONS) - {"environment"}


@dataclass(frozen=True)
class Codes:
    """A dimension of cells. codes: index into `values` per cell, -1 where unknown or too rare."""

    values: tuple[str, ...]
    codes: Array


@dataclass(frozen=True)
class Terms:
    """Numerator and denominator sums of one metric per cell; both 0 where the metric is unknown.

    kind: of the metric. The numerator of a quantile is a sum of natural logarithms: heavy tails are compared by them.
    n: requests in which it is known, where that is not the denominator.
    """

    y: Array
    x: Array
    kind: str = "ratio"
    n: Array | None = None

    @property
    def known(self) -> Array:
        """Requests in which the metric is known."""
        return self.x if self.n is None else self.n

    def where(self, keep: Array) -> Terms:
        """Those of the cells that a boolean mask or their positions keep."""
        return Terms(self.y[keep], self.x[keep], self.kind, None if self.n is None else self.n[keep])

    @property
    def logged(self) -> bool:
        return self.kind == "quantile"


@dataclass(frozen=True)
class Noise:
    """How a metric varies where nothing changes: by the request, between users, and from day to day for all at once.

    Of a share or count in units of its binomial or Poisson variance, else in its own. The residual of a user with x
    requests has variance single x + between x^2; daily is the variance of what the days of the whole have in common.
    """

    single: float = 1.0
    between: float = 0.0
    daily: float = 0.0

    def of(self, single: Array, paired: Array) -> Array:
        """Variance of a change by requests and users. single: sum of 1 / X over the windows; paired: of the users'
        (x1 / X1 - x0 / X0)^2. What days have in common adds daily times the sum of 1 / days."""
        return self.single * single + self.between * paired


@dataclass(frozen=True)
class Cube:
    """Cells of a window: one user on one day with one combination of dimension values.

    day: days since `first`; user: number of the cluster; rows: requests of the cell.
    share: of the users that are in it, 1 unless it is a sample. noise: of metrics, as far as it was looked at.
    """

    first: date
    days: int
    day: Array
    user: Array
    rows: Array
    dims: Mapping[str, Codes]
    terms: Mapping[str, Terms]
    users: int = field(default=0)
    share: float = 1.0
    noise: Mapping[str, Noise] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.day)

    @cached_property
    def by_user(self) -> Array:
        """Positions of the cells by user, of one user by day."""
        return np.argsort(self.user, kind="stable")

    def where(self, keep: Array) -> Cube:
        """The cells that a boolean mask keeps."""
        return replace(self, day=self.day[keep], user=self.user[keep], rows=self.rows[keep],
                       dims={d: Codes(c.values, c.codes[keep]) for d, c in self.dims.items()},
                       terms={m: t.where(keep) for m, t in self.terms.items()})  # fmt: skip

    def sampled(self, most: int, names: Sequence[object] | Array) -> Cube:
        """The cells of so many whole users that about `most` are left; who is among them depends on their name alone.

        names: of the users, by number.
        """
        if len(self) <= most:
            return self
        draw = np.array([zlib.crc32(str(name).encode("utf-8", "replace")) for name in names]) / 2**32
        keep = draw < most / len(self)
        number = np.cumsum(keep) - 1
        found = self.where(keep[self.user])
        return replace(found, user=number[found.user], users=int(keep.sum()), share=float(keep.mean()))

    def order(self) -> Array:
        """Positions of the cells by day, user and values: engines give groups in any order, and sums depend on it."""
        return np.lexsort((*(c.codes for c in self.dims.values()), self.user, self.day))

    def mask(self, where: Mapping[str, str]) -> Array:
        """Which cells lie in a segment."""
        found = np.ones(len(self), dtype=bool)
        for name, value in where.items():
            codes = self.dims[name]
            found &= codes.codes == codes.values.index(value)
        return found

    def date_of(self, day: int) -> date:
        return self.first + timedelta(days=int(day))


def build_cube(
    source: Source, metrics: Sequence[Metric], *, window: Window, filters: Filters = (), tz: str = "UTC",
    most: int | None = None,
) -> Cube:  # fmt: skip
    """The cells of a window, for rates, ratios and incidences as they are and for quantiles as sums of logarithms.

    Metrics of other kinds are left out. most: cells beyond which a sample of whole users is taken. One query.
    """
    row = requests(source)
    names = list(search_space(source, metrics).dimensions)
    keys = {"day": bucket(row, "day", tz), "user": cluster(row)}
    keys |= {f"d{i}": dimension(source, n) for i, n in enumerate(names)}
    chosen = [m for m in metrics if m.kind in RATIO_KINDS or m.kind == "quantile"]
    sums: dict[str, Expression] = {"rows": sa.func.count()}
    for i, metric in enumerate(chosen):
        terms = (_logarithm if metric.kind == "quantile" else known_terms)(metric, row)
        sums |= term_sums(i, terms, "yxn" if metric.kind == "ratio" else "yx")
        if metric.kind == "quantile" and metric.column:  # what is zero has no logarithm, but is known
            sums[f"n{i}"] = sa.func.count(row[metric.column])
    found = source.run(grouped_sums(source, Arm(filters=filters, window=window), keys=keys, sums=sums))
    return _read(found, names, chosen, window, tz, most)


def paired(first: Array, second: Array, width: int) -> Array:
    """The codes of two dimensions as one, -1 where either is. width: the number of values that the second has."""
    return np.where((first >= 0) & (second >= 0), first * width + second, -1)


def where_of(dims: Sequence[str], values: Sequence[Sequence[str]], group: int) -> tuple[tuple[str, str], ...]:
    """(dimension, value) pairs of a group of up to two dimensions, whose code is as of `paired`."""
    places = divmod(group, len(values[1])) if len(dims) == 2 else (group,)
    return tuple((d, v[i]) for d, v, i in zip(dims, values, places, strict=False))


def is_version(name: str) -> bool:
    """Whether a dimension says which version served the request: its values come and go."""
    return name in _VERSIONS or name.endswith("_version")


def _logarithm(metric: Metric, row: Columns) -> tuple[Expression, Expression]:
    """The natural logarithm of a value and 1, both NULL where it is not positive."""
    assert metric.column is not None
    value = row[metric.column]
    positive = value > whole(0)
    return only(positive, sa.func.ln(sa.cast(value, DOUBLE)), DOUBLE), only(positive, whole(1))


def _read(
    found: pa.Table, names: Sequence[str], chosen: Sequence[Metric], window: Window, tz: str, most: int | None
) -> Cube:
    zone = ZoneInfo(tz)
    first = window.start.astimezone(zone).date()
    last = (window.end - timedelta(microseconds=1)).astimezone(zone).date()
    days = pd.to_datetime(found["day"].to_pandas()).to_numpy(dtype="datetime64[D]")
    user, clusters = encoded(found["user"])
    names_of = np.array(clusters.to_pylist(), dtype=str)
    people, number = np.unique(names_of, return_inverse=True)  # in an order that no engine chose
    whole = Cube(first=first, days=(last - first).days + 1, day=(days - np.datetime64(first)).astype(int),
                 user=number[user], rows=numbers(found["rows"]),
                 dims={n: _codes(found[f"d{i}"]) for i, n in enumerate(names)},
                 terms={m.name: _sums(found, i, m.kind) for i, m in enumerate(chosen)}, users=len(people))  # fmt: skip
    kept = whole if most is None else whole.sampled(most, people)
    return kept.where(kept.order())


def _sums(rows: pa.Table, i: int, kind: str) -> Terms:
    """Logarithms are rounded far below what counts: their sum differs in its last digits from run to run."""
    known = numbers(rows[f"n{i}"]) if f"n{i}" in rows.column_names else None
    found = Terms(numbers(rows[f"y{i}"]), numbers(rows[f"x{i}"]), kind, known)
    return replace(found, y=np.round(found.y, 9)) if found.logged else found


def _codes(column: pa.ChunkedArray) -> Codes:
    codes, found = encoded(column)
    values = found.to_pylist()
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    most = sorted(range(len(values)), key=lambda i: (-counts[i], str(values[i])))[:MAX_VALUES]
    order = np.array(sorted(most, key=lambda i: str(values[i])), dtype=int)  # so that no later choice depends on order
    place = np.full(len(values) + 1, -1)
    place[order] = np.arange(len(order))
    return Codes(tuple(str(values[i]) for i in order), place[codes])
