"""Where an overall difference misleads: Simpson reversals, and groups that truly move in opposite directions.

A Simpson reversal: the whole moves one way, but with the same mix of groups on both sides it moves the other, because
one side had more of the groups that do badly on both (Simpson 1951, J R Stat Soc B 13:238). A qualitative interaction:
the groups themselves differ in direction, English up and Spanish down; by the test of Gail and Simon (1985, Biometrics
41:361), which a difference of size alone does not trip. Users may be in several groups, so their differences are not
independent, as that paper has them: where they share users the null distribution is drawn with their correlation, in
the spirit of Russek-Cohen and Simon (1993, Biometrics 49:467).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from kpi.explain.comparison.effects import Effect
from kpi.stats.types import Array

_DRAWS, _SEED = 20_000, 20
_FARTHEST = 37.0  # z whose p is the smallest that a float holds


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Gail and Simon's test that groups differ in direction. plus, minus: their Q+ and Q-; q: the smaller; p: of q.

    groups: that were tested. p is NaN with fewer than two groups.
    """

    plus: float
    minus: float
    q: float
    p: float
    groups: int


def gail_simon(z: Sequence[float] | Array, *, correlation: Array | None = None) -> Crossing:
    """Whether some groups truly gain while others truly lose. z: each difference in its standard errors.

    Q+ is the sum of the squares of the positive z, Q- that of the negative; both must be large. Without correlation
    p is theirs, exact for independent normal differences (1985, equation 4). correlation: of the differences, groups x
    groups; p is then the largest of the corners of the null, one group far to a side or none, by 20,000 seeded draws.
    """
    score = np.asarray(z, dtype=float)
    squares = score * score
    plus, minus = float(squares[score > 0].sum()), float(squares[score < 0].sum())
    q, groups = min(plus, minus), len(score)
    if groups < 2:
        p = math.nan
    elif q == 0:
        p = 1.0
    elif correlation is None or not np.abs(correlation - np.diag(np.diag(correlation))).any():
        p = crossing_p(q, groups)
    else:
        p = _drawn_p(q, np.asarray(correlation, dtype=float))
    return Crossing(plus=plus, minus=minus, q=q, p=p, groups=groups)


def crossing_p(q: float, groups: int) -> float:
    """p of min(Q+, Q-) = q: a mixture of chi-squares with binomial weights (Gail and Simon 1985, equation 4)."""
    degrees = np.arange(1, groups)
    log_weights = special.gammaln(groups) - special.gammaln(degrees + 1) - special.gammaln(groups - degrees)
    weights = np.exp(log_weights - (groups - 1) * math.log(2))
    return min(float((weights * special.chdtrc(degrees, q)).sum()), 1.0)  # the weights are rounded


@lru_cache(maxsize=4)
def _normals(groups: int) -> Array:
    return np.random.default_rng(_SEED).standard_normal((_DRAWS, groups))


def _drawn_p(q: float, correlation: Array) -> float:
    """The same under a correlation. With one group far on the positive side Q+ is large, and q is what the others give
    to Q-; with none, both must be reached by chance, which matters where groups move against each other."""
    values, vectors = np.linalg.eigh(correlation)
    drawn = _normals(len(correlation)) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    squares = drawn * drawn
    below = np.where(drawn < 0, squares, 0.0)
    minus = below.sum(axis=1)
    far = int((minus[:, None] - below >= q).sum(axis=0).max())
    none = int((np.minimum(minus, squares.sum(axis=1) - minus) >= q).sum())
    return (max(far, none) + 1) / (_DRAWS + 1)


def crossing_of(effects: Sequence[Effect]) -> Crossing:
    """The test on the effects of groups, users who are in several of them accounted for.

    z is the one of each effect's own p, so that few users and skewed limits count as they do in its interval.
    """
    p = np.array([e.p for e in effects])
    size = np.minimum(-special.ndtri(np.maximum(p / 2, 1e-300)), _FARTHEST)
    z = np.sign([e.difference for e in effects]) * size
    return gail_simon(z, correlation=_correlation(effects))


def _correlation(effects: Sequence[Effect]) -> Array | None:
    """Of the differences: that of what each user adds to their errors (Deng, Knoblich and Lu 2018)."""
    if len(effects) < 2:
        return None
    added = np.stack([e.b.residual - e.a.residual for e in effects])
    size = np.sqrt((added * added).sum(axis=1))
    added = added / np.where(size > 0, size, 1.0)[:, None]
    found = added @ added.T
    np.fill_diagonal(found, 1.0)
    return found
