"""A segment against the rest of its slice: one test for every segment, users as clusters, within strata if asked.

With e = b - R_s x what an entry has beyond the rate R_s of its stratum s, the sum of e over a segment F is

    U = sum over s of X_Fs X_Rs / X_s (R_Fs - R_Rs),        D = U / W,  W = sum over s of X_Fs X_Rs / X_s

so that D is the difference to the rest within strata in the weights of Mantel and Haenszel (1959), and without strata
the plain difference. A user adds the sum of h e to U, h = 1[in F] - X_Fs / X_s; who is in and out of the segment is
compared with themself, and what such a user is like cancels.

Two errors are taken. The first is what all users show where no segment differs, s x + t x^2 for a user with x requests,
in an exact tail (binomial, Poisson), because failures are few and skewed; it gives p. The second is what the users of
this segment show around its own rate, each as if left out (CR3; Bell and McCaffrey 2002), on as many degrees of freedom
as users carry it (Satterthwaite 1946). It gives the interval, and its veto: one heavy user cannot make a segment
significant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse, special

from kpi.stats.types import Array


@dataclass(frozen=True, kw_only=True)
class Entries:
    """Sums of one user and combination of values each. bad: what counts against, of `size`: failures of requests.

    user: number of the cluster, below `users`. rows: requests. kind: rate, ratio or incidence.
    """

    user: Array
    users: int
    rows: Array
    bad: Array
    size: Array
    kind: str

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, kw_only=True)
class SegmentResult:
    """A segment against the rest. difference, low, high: D with 95 % limits, bad per size. error: its standard error.

    p: one-sided, of a segment at least as bad where none differs; 1 where it cannot be told. strength: twice the
    log likelihood that a difference adds, comparable between segments that overlap. users, rest_users: those inside
    and outside.
    """

    difference: float
    low: float
    high: float
    error: float
    z: float
    p: float
    strength: float
    users: int
    rest_users: int


def _both(usual: float, own: float) -> float:
    """p of both errors. The second is wary of few users: it may be so many times larger, within its interval.

    With the larger of the two 0.5 % of the quiet worlds in the tests tell anything at level 0.05, with the first alone
    up to 10 % of those in which some users always fail, with this 0.5 to 4 %.
    """
    return max(usual, own / _VETO if own <= _TAIL else own)


_VETO, _TAIL = 20.0, 0.025


class SegmentTest:
    """Everything that the tests of one slice share. stratum: per entry, below `layers`."""

    def __init__(self, entries: Entries, stratum: Array | None = None, layers: int = 1) -> None:
        self.entries = entries
        self.stratum = np.zeros(len(entries), dtype=np.int64) if stratum is None else stratum
        self.layers = layers
        self.size = np.bincount(self.stratum, entries.size, minlength=layers)
        bad = np.bincount(self.stratum, entries.bad, minlength=layers)
        self.rate = np.divide(bad, self.size, out=np.zeros(layers), where=self.size > 0)
        self.residual = entries.bad - self.rate[self.stratum] * entries.size
        self._residuals, self._sizes = (self._by_user(v) for v in (self.residual, entries.size))
        self._entered = np.bincount(entries.user, minlength=entries.users)
        self.own, self.shared = self._components()

    def _by_user(self, values: Array) -> sparse.csr_matrix:
        """Sums of users in strata, users x strata; not dense, so that no product wakes the threads of a BLAS."""
        shape = (self.entries.users, self.layers)
        if self.layers == 1:
            return sparse.csr_matrix(np.bincount(self.entries.user, values, minlength=shape[0])[:, None])
        return sparse.csr_matrix((values, (self.entries.user, self.stratum)), shape=shape)

    def _components(self) -> tuple[float, float]:
        """(s, t): variance of a user's residual is s x + t x^2, by moments over all users; neither below zero."""
        e, x = self.residual, self.entries.size
        total = x.sum()
        if not total:
            return 0.0, 0.0
        e_u, x_u = (np.asarray(v.sum(axis=1)).ravel() for v in (self._residuals, self._sizes))
        if self.entries.kind == "rate":  # of a single request the variance is known
            one = float((self.size * self.rate * (1 - self.rate)).sum() / total)
            repeated = float((x_u**2).sum() - total)
            shared = (float((e_u**2).sum()) - one * total) / repeated if repeated > 0 else 0.0
            shared = min(max(shared, 0.0), one)
            return one - shared, shared
        repeated = float((x_u**2).sum() - (x**2).sum())
        shared = float((e_u**2).sum() - (e**2).sum()) / repeated if repeated > 0 else 0.0
        shared = max(shared, 0.0)
        least = float((self.size * self.rate).sum() / total) if self.entries.kind == "incidence" else 0.0
        return max(float((e**2).sum() - shared * (x**2).sum()) / total, least, 0.0), shared

    def screening_z(self, beyond: Array, size: Array) -> Array:
        """z of segments if no user came back, from sums alone: what is small here is small in the test.

        beyond: sums of residuals, by segment; size: of sizes, segments x strata.
        """
        share = np.divide(1, self.size, out=np.zeros(self.layers), where=self.size > 0)
        variance = self.own * np.maximum(size.sum(axis=1) - (size**2) @ share, 0.0)
        found: Array = np.divide(beyond, np.sqrt(variance), out=np.zeros(len(size)), where=variance > 0)
        return found

    def screening_z_of(self, inside: Array) -> float:
        """`screening_z` of one segment. inside: positions of its entries."""
        size = np.bincount(self.stratum[inside], self.entries.size[inside], minlength=self.layers)
        return float(self.screening_z(self.residual[inside].sum(keepdims=True), size[None])[0])

    def conditioned_on(self, *segments: Array) -> SegmentTest:
        """The same within segments: what is in one and what is not are strata of their own."""
        stratum, layers = self.stratum, self.layers
        for inside in segments:
            split = stratum * 2
            split[inside] += 1
            used = np.flatnonzero(np.bincount(split, minlength=2 * layers))
            place = np.zeros(2 * layers, dtype=np.int64)
            place[used] = np.arange(len(used))
            stratum, layers = place[split], len(used)
        return SegmentTest(self.entries, stratum, layers)

    def test(self, inside: Array) -> SegmentResult:
        """The test of a segment. inside: positions of its entries."""
        user, x, e = self.entries.user[inside], self.entries.size[inside], self.residual[inside]
        s = self.stratum[inside] if self.layers > 1 else np.zeros(len(inside), dtype=np.int64)
        segment = np.bincount(s, x, minlength=self.layers)
        share = np.divide(segment, self.size, out=np.zeros(self.layers), where=self.size > 0)
        weight, beyond, size = float((segment * (1 - share)).sum()), float(e.sum()), float(segment.sum())
        many = self.entries.users
        entered = np.bincount(user, minlength=many)
        users, rest_users = int((entered > 0).sum()), int((self._entered > entered).sum())
        if weight <= 1e-9 * self.size.sum():
            return SegmentResult(difference=np.nan, low=np.nan, high=np.nan, error=np.nan, z=0.0, p=1.0, strength=0.0,
                          users=users, rest_users=rest_users)  # fmt: skip
        mine = np.bincount(user, x, minlength=many)
        reach = mine - self._sizes @ share
        left = 1 - 2 * share
        own = mine * left[0] if self.layers == 1 else np.bincount(user, x * left[s], minlength=many)
        leverage = (own + self._sizes @ share**2) / weight
        added = np.bincount(user, e, minlength=many) - self._residuals @ share
        usual = self.own * weight + self.shared * float((reach**2).sum())
        spread, df = _own_spread(added - beyond * leverage, leverage)
        found = beyond + float(self.rate @ segment)
        spread = max(spread, weight**2 * _least(self.entries.kind, found, size))
        tail, strength = _tail(self.entries.kind, found / size, (found - beyond) / size, size, usual)
        t = beyond / np.sqrt(spread) if spread > 0 else 0.0
        half = float(special.stdtrit(df, 0.975)) * np.sqrt(spread) / weight
        error = float(np.sqrt(max(usual, spread)) / weight)
        difference = beyond / weight
        return SegmentResult(difference=difference, low=difference - half, high=difference + half, error=error,
                             z=difference / error if error > 0 else 0.0, p=_both(tail, float(special.stdtr(df, -t))),
                             strength=strength, users=users, rest_users=rest_users)  # fmt: skip


def _own_spread(around: Array, leverage: Array) -> tuple[float, float]:
    """(variance of U by the users themselves, degrees of freedom). around: what each adds beyond its share of U."""
    with np.errstate(divide="ignore", invalid="ignore"):
        left_out = np.where(around == 0, 0.0, around / np.maximum(1 - leverage, 0.0)) ** 2
    square = float(left_out.sum())
    if not np.isfinite(square) or square <= 0:
        return (np.inf, 1.0) if not np.isfinite(square) else (0.0, 1.0)
    return square, max(2 * square**2 / float((left_out**2).sum()) - 1, 1.0)


def _least(kind: str, bad: float, size: float) -> float:
    """Smallest credible variance of the rate of a segment, which is moved towards 1/2 (Agresti and Coull 1998)."""
    if kind == "rate":
        p = (bad + 2) / (size + 4)
        return p * (1 - p) / size
    return (bad + 0.5) / size**2 if kind == "incidence" else 0.0


def _tail(kind: str, found: float, usual: float, size: float, variance: float) -> tuple[float, float]:
    """(p, strength) of a rate against the usual one of its strata, where users are as all of them show.

    variance: of U, the failures beyond the usual; as many independent requests as have it are taken.
    """
    beyond = (found - usual) * size
    if beyond <= 0 or variance <= 0:
        return 1.0, 0.0
    if kind == "rate" and 0 < usual < 1:
        n = usual * (1 - usual) * size**2 / variance
        k = n * min(found, 1.0)
        strength = 2 * n * float(special.rel_entr(found, usual) + special.rel_entr(max(1 - found, 0.0), 1 - usual))
        return float(special.betainc(k, n - k + 1, usual)), strength
    if kind == "incidence" and usual > 0:
        mean = (usual * size) ** 2 / variance
        count = mean * found / usual
        return float(special.gammainc(count, mean)), 2 * float(special.rel_entr(count, mean) - count + mean)
    z = beyond / np.sqrt(variance)
    return float(special.ndtr(-z)), float(z**2)
