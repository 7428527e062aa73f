"""Sums by user and group out of one query, and what they say of groups against the whole, users as clusters.

A group is compared with the slice that it is part of, and users may sit in several groups, so nothing here is
independent. Each user's share in an estimate (its influence) carries all of it: the product of two columns of
influences is the covariance of two estimates (Deng, Knoblich and Lu 2018, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from scipy import sparse, special

from kpi.explain.aggregates.cube import Codes, Terms
from kpi.explain.aggregates.grouped_sums import Arm, distinct, encoded, grouped_sums, numbers, requests, term_sums
from kpi.measure.columns import cluster, dimension, known_terms
from kpi.measure.metrics import Metric
from kpi.measure.moments import Sums
from kpi.measure.slice import NONE_VALUE, Filters, Window
from kpi.stats.types import Array
from kpi.store.engines import Source
from kpi.store.expressions import Expression

MAX_GROUPS = 60  # of one dimension; the rarest beyond it count in the whole only


@dataclass(frozen=True)
class UserSums:
    """One entry for each user and combination of values. user: number of the cluster, below `users`; rows: requests.

    dims: groups by dimension, unknown values as "(none)", -1 where too rare. terms: sums of each metric, 0 where
    unknown; known: requests in which it is known.
    """

    user: Array
    users: int
    rows: Array
    dims: Mapping[str, Codes]
    terms: Mapping[str, Terms]
    known: Mapping[str, Array]


def user_sums(
    source: Source, metrics: Sequence[Metric], dims: Sequence[str],
    *, filters: Filters = (), window: Window | None = None,
) -> UserSums:  # fmt: skip
    """The sums of rates, ratios and incidences by user and value of every dimension. One query."""
    row = requests(source)
    keys = {"user": cluster(row), **{f"d{i}": dimension(source, d) for i, d in enumerate(dims)}}
    sums: dict[str, Expression] = {"rows": sa.func.count()}
    for i, m in enumerate(metrics):
        sums |= term_sums(i, known_terms(m, row), "yn" if m.counted else "yxn")
    found = source.run(grouped_sums(source, Arm(filters=filters, window=window), keys=keys, sums=sums))
    user, people = encoded(found["user"])
    terms, known = {}, {}
    for i, m in enumerate(metrics):
        count = numbers(found[f"n{i}"])
        terms[m.name] = Terms(numbers(found[f"y{i}"]), count if m.counted else numbers(found[f"x{i}"]), m.kind)
        known[m.name] = count
    return UserSums(user=user, users=len(people), rows=numbers(found["rows"]),
                    dims={d: _codes(found[f"d{i}"]) for i, d in enumerate(dims)}, terms=terms, known=known)  # fmt: skip


def _codes(column: pa.ChunkedArray) -> Codes:
    codes, found = encoded(column)
    values = found.to_pylist()
    names = [*map(str, values), NONE_VALUE]
    codes = np.where(codes < 0, len(values), codes)
    counts = np.bincount(codes, minlength=len(names))
    order = [i for i in np.argsort(-counts, kind="stable")[:MAX_GROUPS] if counts[i]]
    order = sorted(order, key=lambda i: names[i])
    place = np.full(len(names), -1)
    place[order] = np.arange(len(order))
    return Codes(tuple(names[i] for i in order), place[codes])


class Pattern:
    """A users x columns matrix that is filled again for each metric: entries of a user in a column add up."""

    def __init__(self, user: Array, column: Array, users: int, columns: int) -> None:
        self.inside = np.flatnonzero(column >= 0)
        found, self._place = distinct(user[self.inside] * columns + column[self.inside], users * columns)
        self.row, self.column = np.divmod(found, max(columns, 1))
        self._narrow = self.column.astype(np.int32)  # scipy would look for the largest index each time
        self._start = np.searchsorted(self.row, np.arange(users + 1)).astype(np.int32)
        self._shape = (users, columns)
        self._all = len(self.inside) == len(column)
        self._once = len(found) == len(self.inside)  # every entry is a cell of its own: nothing to add up
        self._same = self._all and self._once and bool((np.diff(self._place) > 0).all())

    def sums(self, values: Array) -> Array:
        """Sum per user and column of one value an entry."""
        if self._same:
            return values
        within = values if self._all else values[self.inside]
        if not self._once:
            return np.bincount(self._place, within, minlength=len(self.row))
        placed = np.empty(len(within))
        placed[self._place] = within
        return placed

    def filled(self, sums: Array) -> sparse.csr_matrix | Array:
        """The matrix; one column of it is no sparse one."""
        if self._shape[1] == 1:
            column = np.zeros(self._shape)
            column[self.row, 0] = sums
            return column
        return sparse.csr_matrix((sums, self._narrow, self._start), shape=self._shape)

    def totals(self, sums: Array) -> Array:
        return np.bincount(self.column, sums, minlength=self._shape[1])


@dataclass(frozen=True)
class GroupLayout:
    """Entries of one way to group: a user's sums in a group and a stratum, within which groups are compared.

    group: -1 where it is none of the `count` groups. stratum: below `layers`; all 0 without adjustment.
    """

    group: Array
    stratum: Array
    count: int
    layers: int
    entries: Pattern
    groups: Pattern
    strata: Pattern

    @classmethod
    def of(cls, sums: UserSums, group: Array, count: int, stratum: Array | None = None, layers: int = 1) -> GroupLayout:
        within = np.zeros(len(group), dtype=np.int64) if stratum is None else stratum
        entries = Pattern(sums.user, (group + 1) * layers + within, sums.users, (count + 1) * layers)
        above, within = np.divmod(entries.column, layers)
        return cls(above - 1, within, count, layers, entries, Pattern(entries.row, above - 1, sums.users, count),
                   Pattern(entries.row, within, sums.users, layers))  # fmt: skip


def sums_of(layout: GroupLayout, terms: Terms, known: Array) -> Sums:
    """The statistics of `kpi.measure.estimate` for every group. known: requests in which the metric is known."""

    def within(v: Array) -> Array:
        return layout.groups.sums(layout.entries.sums(v))

    y, x = within(terms.y), within(terms.x)
    return _moments(y, x, x if known is terms.x else within(known), terms.kind, total=layout.groups.totals)


def sums_of_all(sums: UserSums, metric: str) -> Sums:
    """The statistics of `kpi.measure.estimate` for all requests, as arrays of one."""
    terms, known = sums.terms[metric], sums.known[metric]
    y, x, n = (np.bincount(sums.user, v, minlength=sums.users) for v in (terms.y, terms.x, known))
    return _moments(y, x, n, terms.kind, total=lambda v: np.array([v.sum()]))


def _moments(y: Array, x: Array, n: Array, kind: str, *, total: Callable[[Array], Array]) -> Sums:
    """Sums over users of products of user sums; the cube of y, which only a ratio asks for, else NaN."""
    y2, yx, x2 = y * y, y * x, x * x
    sum_y, sum_x, yy, yx, xx, yyx, yxx, xxx = (total(v) for v in (y, x, y2, yx, x2, y2 * x, yx * x, x2 * x))
    yyy = total(y2 * y) if kind == "ratio" else np.full(len(sum_y), np.nan)
    return Sums(n=sum_x if n is x else total(n), y=sum_y, x=sum_x, clusters=total((n > 0).astype(float)),
                shares=total(y2 / np.where(x > 0, x, 1)) if kind == "rate" else None,
                yy=yy, yx=yx, xx=xx, yyy=yyy, yyx=yyx, yxx=yxx, xxx=xxx)  # fmt: skip


@dataclass(frozen=True)
class GroupContrast:
    """Every group against the whole, as arrays over groups.

    value: y / x of the group; expected: of the whole with the group's strata; difference: value - expected; whole: of
    all. own: covariance of the values; shared: of values and expectations; spread: of the differences. null: of the
    differences if no group differed, variances steadied over all groups; alone: those variances as each group's own
    users tell them. df, null_df: degrees of freedom of the t distributions that go with spread and null. share:
    strata x groups, of each stratum in the denominator of a group.
    """

    value: Array
    expected: Array
    difference: Array
    whole: float
    own: Array
    shared: Array
    spread: Array
    null: Array
    alone: Array
    df: Array
    null_df: Array
    share: Array


def group_contrast(layout: GroupLayout, terms: Terms) -> GroupContrast:
    """Groups against the whole within strata: d_g = sum over strata of share_gs (R_gs - R_s), with its covariance.

    With one stratum it is R_g - R. Shares are those of the group's own denominator (the rate effect of Kitagawa 1955;
    indirect standardisation), so that a stratum in which nobody else asks says nothing. Where a group has hardly any
    event its users hardly vary, which says nothing of how much they could: the variance of a share is at least the
    binomial one, that of a count at least the Poisson one.
    """
    y, x, s = layout.entries.sums(terms.y), layout.entries.sums(terms.x), layout.stratum
    inside = layout.groups.inside
    column = layout.groups.column
    y_ug, x_ug = layout.groups.sums(y), layout.groups.sums(x)
    big_y, big_x = layout.groups.totals(y_ug), layout.groups.totals(x_ug)
    clusters = layout.groups.totals((x_ug > 0).astype(float))
    y_s, x_s = (np.bincount(s, v, minlength=layout.layers) for v in (y, x))
    with np.errstate(divide="ignore", invalid="ignore"):
        rate_s = np.nan_to_num(y_s / x_s)
        value = big_y / big_x
        place = s[inside] * layout.count + layout.group[inside]
        cross = np.bincount(place, x[inside], minlength=layout.layers * layout.count)
        share = np.nan_to_num(cross.reshape(layout.layers, layout.count) / big_x)
        expected = rate_s @ share
        difference = value - expected
        residual = y - rate_s[s] * x
        small = np.sqrt(clusters / (clusters - 1))
        unit = np.nan_to_num(small / big_x, posinf=0.0)
        residual_ug = layout.groups.sums(residual)
        own_residual = residual_ug - np.nan_to_num(difference)[column] * x_ug
        null_ug, own_ug = residual_ug * unit[column], own_residual * unit[column]
        of_whole = layout.strata.filled(layout.strata.sums(residual * np.nan_to_num(1 / x_s, posinf=0.0)[s]))
        df = 2 * layout.groups.totals(own_ug**2) ** 2 / layout.groups.totals((own_ug * own_ug) ** 2) - 1
    expectation = share.T @ _product(_turned(of_whole), of_whole) @ share
    own, shared, spread = _covariances(layout.groups.filled(own_ug), of_whole, share, expectation)
    own_null, _, null = _covariances(layout.groups.filled(null_ug), of_whole, share, expectation)
    least = _least(terms.kind, big_y, big_x)
    more = np.maximum(least - np.diag(own), 0)
    usual, borrowed = _moderated(layout.groups, own_residual, x_ug, np.diag(own_null), df)
    alone = np.diag(null) + np.maximum(_least(terms.kind, expected * big_x, big_x, exact=True) - np.diag(own_null), 0)
    least_null = np.maximum(usual, _least(terms.kind, expected * big_x, big_x, exact=True))
    varies = np.diag(own_null) > 0
    stretch = np.sqrt(np.divide(least_null, np.diag(own_null), out=np.ones(layout.count), where=varies))
    null = null * np.outer(stretch, stretch) + np.diag(np.where(varies, 0.0, least_null))
    return GroupContrast(
        value=value, expected=expected, difference=difference, whole=float(y.sum() / x.sum()) if x.sum() else np.nan,
        own=own + np.diag(more), shared=shared, spread=spread + np.diag(more), null=null, alone=alone,
        df=np.nan_to_num(np.maximum(df, 1.0), nan=1.0), null_df=np.maximum(borrowed, 1.0), share=share,
    )  # fmt: skip


def _covariances(
    group: sparse.csr_matrix | Array, whole: sparse.csr_matrix | Array, share: Array, expectation: Array
) -> tuple[Array, Array, Array]:
    """(of the groups, of groups with what is expected of them, of the differences)."""
    turned = _turned(group)
    own = _product(turned, group)
    shared = _product(turned, whole) @ share
    return own, shared, own - shared - shared.T + expectation


def _turned(a: sparse.csr_matrix | Array) -> sparse.csr_matrix | Array:
    return a.T if isinstance(a, np.ndarray) else a.T.tocsr()


def _product(turned: sparse.csr_matrix | Array, b: sparse.csr_matrix | Array) -> Array:
    """A product over users, dense.

    Sparse or summed by numpy itself: the threads of a BLAS wait spinning for the next product, and cost twice the
    processor time that these small ones need.
    """
    if isinstance(turned, np.ndarray) and isinstance(b, np.ndarray):
        result: Array = np.einsum("iu,uj->ij", turned, b)
        return result
    if isinstance(turned, np.ndarray):
        return (b.T @ turned.T).T
    found = turned @ b
    return found if isinstance(found, np.ndarray) else found.toarray()


def _moderated(groups: Pattern, residual: Array, x: Array, variance: Array, df: Array) -> tuple[Array, Array]:
    """(variance, degrees of freedom) of each group, steadied by all groups: a few users tell a mean, not its error.

    A user with x requests has residual variance a x + b x^2, estimated over all groups by moments. How far groups
    really stray from that gives its weight against their own variance (Smyth 2004, Stat Appl Genet Mol Biol 3:3).
    """
    counted = x > 0
    total = groups.totals(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        lever = np.nan_to_num(x / total[groups.column])  # a user draws the group's value to their own
        left = 1 - 2 * lever + (groups.totals(x**2) / total**2)[groups.column]
    e2, size = residual[counted] ** 2 / np.maximum(left[counted], 0.5), x[counted]
    system = np.array([[size.sum(), (size**2).sum()], [counted.sum(), size.sum()]])
    right = np.array([e2.sum(), (e2 / size).sum()])
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = np.linalg.lstsq(system, right, rcond=None)[0] if counted.any() else (0.0, 0.0)
        if a < 0 or b < 0:
            a, b = (e2.sum() / size.sum(), 0.0) if b < 0 else (0.0, e2.sum() / (size**2).sum())
        usual = groups.totals(a * x + b * x**2) / total**2
        usable = (usual > 0) & (variance > 0) & (df > 2)
        if usable.sum() < 3:
            return variance, np.nan_to_num(df, nan=1.0)
        half = df[usable] / 2
        stray = np.log(variance[usable] / usual[usable]) - special.digamma(half) + np.log(half)
        excess = float(stray.var(ddof=1) - special.polygamma(1, half).mean())
        weight = 2 * _inverse_trigamma(excess) if excess > 1e-6 else 1e6
        own = np.where(usable, df, 0.0)
        return np.nan_to_num((weight * usual + own * np.where(usable, variance, 0.0)) / (weight + own)), weight + own


def _inverse_trigamma(value: float) -> float:
    """x with trigamma(x) = value, by Newton's method on 1 / trigamma, which is nearly a line."""
    x = 0.5 + 1 / value
    for _ in range(20):
        trigamma = float(special.polygamma(1, x))
        x += trigamma * (1 - trigamma / value) / float(special.polygamma(2, x))
    return x


def _least(kind: str, y: Array, x: Array, *, exact: bool = False) -> Array:
    """Smallest credible variance of y / x; unless exact, at the value moved towards 1/2 (Agresti and Coull 1998)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "rate":
            p = y / x if exact else (y + 2) / (x + 4)
            return np.nan_to_num(p * (1 - p) / x)
        if kind == "incidence":
            result: Array = np.nan_to_num((y if exact else y + 0.5) / x**2)
            return result
    return np.zeros(len(x))
