"""How much more often failed requests have a feature than successful ones, for many features at once.

Shares are compared within strata (words within a language) and combined as by Mantel and Haenszel (1959). Rare features
are pulled towards "no difference" by an informative Dirichlet prior, the pooled share of the feature as so many
requests: the log-odds of Monroe, Colaresi and Quinn (2008, Political Analysis 16:372). The test is a score test whose
variance sums squared residuals by user, on as many degrees of freedom as users carry the difference, so that one
heavy user cannot make a feature significant; q is Benjamini and Hochberg's over all features together.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse, special

from kpi.stats.multiplicity import benjamini_hochberg
from kpi.stats.types import Array

PRIOR, LEAST = 10.0, 0.5  # requests that the pooled share counts as, and of these at least so many with the feature
_BLOCK = 256  # features held densely at a time
COLUMNS = ("failed_share", "success_share", "lift", "low", "high", "log_odds", "z", "p", "q")


def lifts(features: sparse.csr_array, failed: Array, user: Array, stratum: Array | None = None) -> pd.DataFrame:
    """One row a feature with COLUMNS; NaN where a side is empty.

    features: requests x features, 0 or 1, each somewhere 1. failed: bool per request. user, stratum: codes from 0.
    lift: smoothed ratio of the shares with its 95 % interval. q: over these features; callers that join
    several calls correct again over all.
    """
    of = np.zeros(len(failed), dtype=np.int64) if stratum is None else stratum
    sample = _Sample(failed, user, of)
    if not sample.weight:  # no stratum has both sides
        return pd.DataFrame(np.nan, index=range(features.shape[1]), columns=list(COLUMNS)).assign(q=1.0)
    columns, starts = features.tocsc(), range(0, features.shape[1], _BLOCK)
    parts = [sample.block(columns[:, start : start + _BLOCK].tocsr()) for start in starts]
    found = np.concatenate(parts, axis=1) if parts else np.zeros((8, 0))
    frame = pd.DataFrame(dict(zip(COLUMNS, found, strict=False)))
    return frame.assign(q=benjamini_hochberg(np.nan_to_num(frame["p"].to_numpy(), nan=1.0)))


class _Sample:
    """Weights and sums that every feature shares."""

    def __init__(self, failed: Array, user: Array, stratum: Array) -> None:
        strata, users, n = int(stratum.max()) + 1, int(user.max()) + 1, len(failed)
        size = np.array([np.bincount(stratum[failed == side], minlength=strata) for side in (True, False)], dtype=float)
        whole = size.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            other = np.where(whole > 0, size[::-1] / whole, 0.0)  # weight of a row: share of the other side
        self.total = size.sum(axis=1)
        self.weight = float((size[0] * other[0]).sum())  # of all rows of a side, the same for both
        rows = np.arange(n)
        self.strata, self.size, self.whole = strata, size, whole
        self.member = sparse.csr_array((np.ones(n), (stratum, rows)), shape=(strata, n))
        self.sides = []
        for i, side in enumerate((True, False)):
            mine = np.where(failed == side, other[i][stratum], 0.0)
            self.sides.append((
                sparse.csr_array((mine, (user, rows)), shape=(users, n)),
                sparse.csr_array((mine, (user, stratum)), shape=(users, strata)),
                sparse.csr_array(((failed == side).astype(float), (stratum, rows)), shape=(strata, n)),
            ))  # fmt: skip
        share = np.divide(size[0], whole, out=np.zeros(strata), where=whole > 0)
        score = failed - share[stratum]
        self.score = sparse.csr_array((score, (user, rows)), shape=(users, n))
        self.score_strata = sparse.csr_array((score, (user, stratum)), shape=(users, strata))

    def block(self, x: sparse.csr_array) -> Array:
        """Rows as in COLUMNS (without q) for a block of features."""
        pooled = _over((self.member @ x).toarray(), self.whole[:, None])
        everywhere = np.asarray(x.sum(axis=0)).ravel() / x.shape[0]
        prior = np.maximum(PRIOR * everywhere, LEAST)
        share, residual, seen = [], [], []
        for i, (weights, by_stratum, members) in enumerate(self.sides):
            within = _over((members @ x).toarray(), self.size[i][:, None])
            having = (weights @ x).toarray()
            share.append(having.sum(axis=0) / self.weight)
            seen.append(self.total[i] * share[i] + prior)
            residual.append((having - by_stratum @ within) / self.weight * self.total[i] / seen[i])
        smooth = [s / (t + prior / everywhere) for s, t in zip(seen, self.total, strict=True)]
        score = (self.score @ x).toarray() - self.score_strata @ pooled
        spread, users = _variance(score)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = score.sum(axis=0) / np.sqrt(spread)
        freedom = np.maximum(users - 1, 1)
        p = 2 * special.stdtr(freedom, -np.abs(z))
        # how requests that do not repeat would vary (Katz et al. 1978, on the smoothed counts)
        floor = sum(1 / count - count_share / count for count, count_share in zip(seen, smooth, strict=True))
        error = np.sqrt(np.maximum(_variance(residual[0] - residual[1])[0], floor)) * special.stdtrit(freedom, 0.975)
        lift = smooth[0] / smooth[1]
        log_odds = special.logit(smooth[0]) - special.logit(smooth[1])
        return np.array([*share, lift, lift * np.exp(-error), lift * np.exp(error), log_odds, z, p])


def _variance(residual: Array) -> tuple[Array, Array]:
    """(sum of squares, number of users that carry it) per feature."""
    squares = residual * residual
    square = squares.sum(axis=0)
    fourth = np.einsum("ij,ij->j", squares, squares)
    return square, np.divide(square**2, fourth, out=np.ones(len(square)), where=fourth > 0)


def _over(y: Array, x: Array) -> Array:
    return np.divide(y, x, out=np.zeros(np.broadcast_shapes(y.shape, x.shape)), where=x > 0)
