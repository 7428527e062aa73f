"""Confidence sequences: intervals that hold at every look, however often one looks and whenever one stops.

A fixed-n 95 % interval that is looked at 30 times excludes the truth in some 28 % of unchanged tests (Armitage,
McPherson and Rowe 1969). A confidence sequence holds at all times together, for the price of a wider interval at each.
"""

from __future__ import annotations

import math

from kpi.errors import MetricError

ALPHA = 0.05


def mixture_rho(information: float, alpha: float = ALPHA) -> float:
    """The mixing precision with which a two-sided normal mixture is tightest at this information (intrinsic time).

    Howard, Ramdas, McAuliffe and Sekhon (2021, Annals of Statistics 49:1055), section 3.5.
    """
    peak = 2 * math.log(1 / alpha)
    return information / (peak + math.log1p(peak))


def normal_mixture_bound(information: float, rho: float, alpha: float = ALPHA) -> float:
    """Bound of |S| that a process with this intrinsic time crosses at any time with probability alpha at most.

    Robbins' (1970) two-sided normal mixture, Howard et al. (2021), equation 14.
    """
    total = information + rho
    return math.sqrt(total * (math.log(total / rho) - 2 * math.log(alpha)))


def always_valid_width(error: float, planned: float, alpha: float = ALPHA) -> float:
    """Half-width, in standard errors, of a confidence sequence for an asymptotically normal estimate.

    error: standard error of the estimate now; planned: the one at which the sequence should be tightest, fixed before
    the first look. The intrinsic time is 1 / error^2. Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024, Annals of
    Statistics 52:2613): asymptotic, so errors must be user-robust and users number some dozens at the first look.
    """
    information = error**-2
    return normal_mixture_bound(information, mixture_rho(planned**-2, alpha), alpha) / math.sqrt(information)


def always_valid_p(z: float, error: float, planned: float) -> float:
    """The smallest alpha at which the confidence sequence of `always_valid_width` excludes zero, at most 1."""
    information = error**-2
    rho = mixture_rho(planned**-2)
    return min(1.0, math.sqrt((information + rho) / rho) * math.exp(-(z**2) * information / (2 * (information + rho))))


def running_rate(successes: float, n: float, *, planned: float = 1000, alpha: float = ALPHA) -> tuple[float, float]:
    """Interval of a rate that holds at every n at once, for independent requests (beta-binomial mixture).

    The rates p at which B(k + a, n - k + b) / B(a, b) < p^k (1 - p)^(n - k) / alpha, a = r / (1 - p), b = r / p. Where
    users repeat, compare users instead.

    Args:
        successes: Requests that succeeded.
        n: Requests seen.
        planned: Requests at which it should be tightest, fixed beforehand.
        alpha: Chance of ever missing the rate.

    Returns:
        (low, high), shares in 0-1.

    Raises:
        MetricError: For impossible counts.

    Source:
        Howard et al. 2021, equation 17 and proposition 5.

    Example:
        >>> low, high = kpi.running_rate(80, 100)
        >>> 0.6 < low < 0.8 < high < 0.95
        True
    """
    if not 0 <= successes <= n or n <= 0 or planned <= 0:
        raise MetricError("sequence.counts", f"{successes:g} of {n:g} requests is no rate",
                          hint="Give 0 <= successes <= n, n > 0.")  # fmt: skip
    found = successes / n

    def inside(p: float) -> bool:
        return _log_mixture(p, successes, n, planned, alpha) < -math.log(alpha)

    edges = []
    for outer in (0.0, 1.0):
        good, bad = found, outer
        if found == outer:
            edges.append(outer)
            continue
        for _ in range(60):  # the mixture is quasi-convex in p, lowest near the observed rate
            middle = (good + bad) / 2
            good, bad = (middle, bad) if inside(middle) else (good, middle)
        edges.append(good)
    low, high = edges
    return low, high


def _log_mixture(p: float, k: float, n: float, planned: float, alpha: float) -> float:
    """Logarithm of the mixture likelihood ratio against the rate p."""
    if not 0 < p < 1:
        return math.inf
    spread = p * (1 - p)
    r = max(mixture_rho(spread * planned, alpha) - spread, 1e-3 * spread)
    a, b = r / (1 - p), r / p
    gained = _log_beta(k + a, n - k + b) - _log_beta(a, b)
    return gained - k * math.log(p) - (n - k) * math.log1p(-p)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
