"""Whether two sides have the same shares of values, where users repeat and come back.

The distance is Jensen-Shannon (base 2, 0 = same, 1 = disjoint). Whether it is more than chance is read from Pearson's
X² of homogeneity. What counts is what each user, or group of users, adds to the difference of the shares, over both
sides together, with the p of both pooled:

    r_uv = (n1_uv - p_v n1_u) / N1 - (n0_uv - p_v n0_u) / N0,    X² = Σ_v (Σ_u r_uv)² / p_v

A heavy user pulls p, so r is divided by 1 less the user's part of all requests (as CR3 of Bell and McCaffrey 2002) for
K_uw = Σ_v r_uv r_wv / p_v. Without a change users are independent, so that X² has the mean Σ_u K_uu and the variance
2 Σ_(u≠w) K_uw²: a multiple of a chi-square law with Satterthwaite's degrees of freedom, which is the second-order
correction of Rao and Scott (1981, section 4). X² is held against what the same users carry, so a user who carries much
makes nothing clear alone, and a value seen once says nothing, however many such values there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from scipy import sparse, special

from kpi.result import Plain
from kpi.stats.types import Array

Table: TypeAlias = "Array | sparse.csr_array"  # requests by user or group of users (rows) and value (columns)
LEVEL = 0.025  # of unchanged columns that are called changed: the lower of two 95 % limits, and the noise, are at it
_CARRIERS = 20  # users who carry a value that is no rare one, on both sides together
_MOST_FREEDOM = 1e5  # beyond it the law hardly varies, and its noncentral one is slow to compute


@dataclass(frozen=True, kw_only=True)
class Distance(Plain):
    """Jensen-Shannon distance, the part of chance taken off, with 95 % limits; NaN where nothing can be told.

    noise: what 97.5 % of unchanged data stay under; a value beyond it has a lower limit above 0. n: requests now.
    """

    value: float
    low: float
    high: float
    noise: float
    n: float

    @property
    def clear(self) -> bool:
        return self.low > 0


@dataclass(frozen=True, kw_only=True)
class Chance:
    """What no change would show: the statistic, X² on its scale, is chi-square with `freedom` degrees of freedom.

    unit: the divergence for each unit of the statistic. n: requests now. looks: at the same data, this is one of them.
    """

    statistic: float
    freedom: float
    unit: float
    n: float
    looks: int = 1

    @property
    def p(self) -> float:
        return min(1.0, self.looks * float(special.chdtrc(self.freedom, self.statistic)))

    def distance(self, level: float = LEVEL) -> Distance:
        """The distance with limits that err at this level on either side."""
        level /= self.looks
        beyond = [self.statistic - self.freedom, *(self._noncentrality(t) for t in (1 - level, level)),
                  float(special.chdtri(self.freedom, level)) - self.freedom]  # fmt: skip
        value, low, high, noise = np.sqrt(np.clip(np.array(beyond) * self.unit, 0.0, 1.0)).tolist()
        return Distance(value=value, low=low, high=high, noise=noise, n=self.n)

    def _noncentrality(self, tail: float) -> float:
        """The noncentrality at which the statistic sits at this tail of its law; 0 when none does."""
        if float(special.chdtr(self.freedom, self.statistic)) <= tail:
            return 0.0
        return float(special.chndtrinc(self.statistic, self.freedom, tail))


def chance(now: Table, before: Table) -> Chance:
    """What no change would show between two tables of requests by user and value.

    The statistic is NaN where nothing can be told: one side is empty, or one user has all requests. Many rare values
    would hide a change of frequent ones, so they are looked at as one as well, which counts where it is clear.
    """
    whole, *folded = [_law(*pair) for pair in ((now, before), *_rare_as_one(now, before))]
    clearer = [law for law in folded if law.p < min(whole.p, LEVEL / 2)]
    return replace(clearer[0] if clearer else whole, looks=1 + len(folded))


def _rare_as_one(now: Table, before: Table) -> list[tuple[Table, Table]]:
    """The same tables with one column for all values that few users carry, where there are several."""
    both = now + before
    count, squares = both.sum(axis=0), (both**2).sum(axis=0)
    rare = count**2 <= _CARRIERS * squares
    if np.count_nonzero(rare & (count > 0)) < 2 or rare.all():
        return []
    _, place = np.unique(np.where(rare, -1, np.arange(len(rare))), return_inverse=True)
    fold = sparse.csr_array((np.ones(len(place)), (np.arange(len(place)), place)))
    return [(now @ fold, before @ fold)]


def _law(now: Table, before: Table) -> Chance:
    sizes = float(now.sum()), float(before.sum())
    total = sum(sizes)
    carried = (now + before).sum(axis=1) / max(total, 1)
    if not all(sizes) or carried.max() == 1:
        return Chance(statistic=math.nan, freedom=1.0, unit=math.nan, n=sizes[0])
    shares = [side.sum(axis=0) / n for side, n in zip((now, before), sizes, strict=True)]
    pooled = (shares[0] * sizes[0] + shares[1] * sizes[1]) / total
    root = np.sqrt(pooled)
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
    # r_uv / sqrt(p_v) is an entry less size_u sqrt(p_v): so the table stays sparse
    entry = sparse.diags_array(1 / (1 - carried)) @ (now / sizes[0] - before / sizes[1]) @ sparse.diags_array(inverse)
    size = entry @ root
    alone = (entry**2).sum(axis=1)
    own = alone - size**2
    mean = float(own.sum())
    if mean <= 1e-9 * alone.sum():  # all users have the same shares on both sides
        return Chance(statistic=0.0, freedom=1.0, unit=0.0, n=sizes[0])
    products = entry.T @ entry if entry.shape[1] <= entry.shape[0] else entry @ entry.T
    squares = (products**2).sum() - 2 * ((entry.T @ size) ** 2).sum() + (size @ size) ** 2
    freedom = mean**2 / max(float(squares - (own**2).sum()), mean**2 / _MOST_FREEDOM)
    statistic = float((((shares[0] - shares[1]) * inverse) ** 2).sum()) * freedom / mean
    unit = _divergence(*shares) / statistic if statistic else mean / freedom / (8 * math.log(2))
    return Chance(statistic=statistic, freedom=freedom, unit=unit, n=sizes[0])


def _divergence(p: Array, q: Array) -> float:
    """Jensen-Shannon divergence in bits."""
    middle = (p + q) / 2
    return max(0.0, float((special.rel_entr(p, middle) + special.rel_entr(q, middle)).sum()) / (2 * math.log(2)))
