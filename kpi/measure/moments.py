"""Sums of squares of a ratio y / x over users and over days, and the variance that they tell. Pure numpy.

Users come back and days differ, so requests are not independent. The variance has two ways of clustering (Cameron,
Gelbach and Miller 2011, J Bus Econ Stat 29:238, section 2.3): V = V(user) + V(day) - V(user, day), at least V(user).
The last term, the luck of a user on a day, is summed over 16 groups of users by day: users of one group share nothing
but the day, so groups tell it as well as users do, with some hundred sums instead of one a user and day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kpi.stats.types import Array

HEAVY = 20.0  # effective users, below which a few heavy ones may hide how much users differ
FEW = 30.0  # carriers of the rarer outcome, below which what users have in common cannot be told from them alone
CAUTIOUS = 0.4  # correlation within a user that is taken where nobody carries it (simulated: tests/bench/coverage.py)
MOST = 2.0  # how far the days' part may be scaled up for what days share with the groups of users
GROUPS = 1  # hexadecimal digits of the hash that make the groups of users: 16


@dataclass(frozen=True, kw_only=True)
class DaySums:
    """days: with requests; yy, yx, xx: sums over days of products of day sums; cells_*: over groups of users by day."""

    days: Array
    yy: Array
    yx: Array
    xx: Array
    cells_yy: Array
    cells_yx: Array
    cells_xx: Array

    def factors(self) -> tuple[Array, Array]:
        """(of few days, CR1; of what days share with the groups of users by chance): how squares count."""
        with np.errstate(divide="ignore", invalid="ignore"):
            few = np.where(self.days >= 2, self.days / (self.days - 1), 0.0)
            share = np.where(self.xx > self.cells_xx, self.xx / (self.xx - self.cells_xx), 0.0)
        return few, np.minimum(share, MOST)


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Statistics of a ratio y / x for many groups; every field is an array of one length.

    n: rows where both are known; y, x: their sums; clusters: users among them; yy to xxx: sums over users of products
    of the user sums, cubes NaN where they were not asked for. named: x of the users that the products are over, where
    others are not known by name, else None; heaviest: the largest x of one user; shares: of a rate, the sum of y^2 / x
    over users; by_day: None where days are no
    clusters.
    """

    n: Array
    y: Array
    x: Array
    clusters: Array
    yy: Array
    yx: Array
    xx: Array
    yyy: Array
    yyx: Array
    yxx: Array
    xxx: Array
    named: Array | None = None
    heaviest: Array | None = None
    shares: Array | None = None
    by_day: DaySums | None = None

    @property
    def known(self) -> Array:
        """x of the users that the products are over."""
        return self.x if self.named is None else self.named

    @property
    def alone(self) -> Array:
        """Where every request has a user of its own."""
        found: Array = self.clusters == self.n
        return found

    @property
    def effective(self) -> Array:
        """Users who carry it, heavy ones counted as what they are: (sum of sizes)^2 / sum of squares (Kish 1965)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Array = np.where(self.alone | ~(self.xx > 0), self.clusters, self.known**2 / self.xx)
        return found


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Variance of sum(y) - R sum(x) at R = y/x. user: of users alone; day: what days add; freedom: degrees of freedom.

    second: sum of squared residuals of users, as they are.
    """

    second: Array
    user: Array
    day: Array
    freedom: Array

    @property
    def total(self) -> Array:
        found: Array = self.user + self.day
        return found


def spread(s: Sums) -> Spread:
    """The variance of a ratio, and the degrees of freedom of its t distribution (Satterthwaite 1946).

    Users with much weight count with 1 + 2 leverage, the first-order jackknife (CR3; MacKinnon, Nielsen and Webb 2023,
    J Econometrics 232:272); without cubes CR1. Where only some users are known by name, the interval is as wide as
    theirs alone would have it: the others may be the same people.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        r = s.y / s.x
        second = np.maximum(s.yy - 2 * r * s.yx + r**2 * s.xx, 0)
        weighted = np.maximum(s.yyx - 2 * r * s.yxx + r**2 * s.xxx, 0) / s.known
        plain = second * s.clusters / (s.clusters - 1)
        user = np.where(np.isfinite(weighted), second + 2 * weighted, plain) * (s.x / s.known) ** 2
        day, days = _of_days(s, r)
        users = np.where(s.clusters >= 2, np.maximum(s.effective - 1, 1), np.nan)
        freedom = (user + day) ** 2 / (user**2 / users + day**2 / np.maximum(days - 1, 1))
    return Spread(second=second, user=user, day=day, freedom=np.where(day > 0, freedom, users))


def _of_days(s: Sums, r: Array) -> tuple[Array, Array]:
    """(what days add to the variance, at least 0; the days that carry it)."""
    d = s.by_day
    if d is None:
        return np.zeros(len(r)), np.ones(len(r))
    few, share = d.factors()
    found = (d.yy - 2 * r * d.yx + r**2 * d.xx) * few - (d.cells_yy - 2 * r * d.cells_yx + r**2 * d.cells_xx)
    return np.nan_to_num(np.maximum(found * share, 0), posinf=0.0), np.where(d.xx > 0, s.x**2 / d.xx, 1.0)


def design_effect(s: Sums, *, cautious: bool = True) -> Array:
    """Variance of a rate over its binomial variance, at least 1; days and unnamed users counted in.

    cautious: while few users carry the rarer outcome, the correlation within a user is taken to be larger than it shows
    (Korn and Graubard 1998, Survey Methodology 24:193; Franco et al. 2019, J Surv Stat Methodol 7:334).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        p = s.y / s.x
        return _effect(s, p * (1 - p) * s.x, rare=p > 0.5, cautious=cautious, least=_correlation(s))


def _correlation(s: Sums) -> Array:
    """How alike the requests of a user are, users weighted by their size and not its square (analysis of variance;
    Fleiss 1981, section 13.2); 0 where no few users carry all: what all users show is then sharper."""
    if s.shares is None:
        return np.zeros(len(s.n))
    with np.errstate(divide="ignore", invalid="ignore"):
        y, n, groups = s.y * s.known / s.x, s.known, s.clusters
        among, inside = (s.shares - y**2 / n) / (groups - 1), (y - s.shares) / (n - groups)
        size = (n - s.xx / n) / (groups - 1)
        found = (among - inside) / (among + (size - 1) * inside)
    return np.where(np.isfinite(found) & (s.effective < HEAVY), np.clip(found, 0, 1), 0.0)


def dispersion(s: Sums) -> Array:
    """Variance of a count over its own mean, at least 1; as `design_effect`."""
    nothing = np.zeros(len(s.y))
    return _effect(s, s.y, rare=nothing > 0, cautious=True, least=nothing)


def _effect(s: Sums, expected: Array, *, rare: Array, cautious: bool, least: Array) -> Array:
    """rare: where the rows without the event are the rarer ones; least: correlation within a user, at least."""
    found = spread(s)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = s.x / s.known
        effect = found.user / expected / scale
        effect = np.where(np.isfinite(effect), np.maximum(effect, 1), 1.0)
        more = s.xx / s.known - 1  # requests of the same user that one has beside it, on average
        if cautious:
            correlation = (effect - 1) / more
            once, twice = np.where(rare, s.x - s.y, s.y) / scale, np.where(rare, s.xx - 2 * s.yx + s.yy, s.yy)
            carriers = np.where(twice > 0, once**2 / twice, 0.0)
            doubt = np.where(carriers < FEW, 2 / (2 + carriers), 0.0)
            raised = 1 + more * (doubt * np.fmax(CAUTIOUS, correlation) + (1 - doubt) * correlation)
            effect = np.where(more > 1e-9, np.fmax(np.fmax(effect, raised), 1 + more * least), effect)
        day = np.nan_to_num(found.day / expected, nan=0.0, posinf=0.0)
    return np.where(s.alone, 1.0, effect * scale) + day
