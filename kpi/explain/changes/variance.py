"""What a metric does where nothing changes: how requests, users and days vary, and what weekdays have in common.

A window of four days is another mix of weekdays than the four weeks before it, and a slow Tuesday is slow for all:
neither is a change. The pattern of the weekdays is taken out where there is one; what days differ by beyond it and
beyond their requests is a variance of its own, which no number of requests makes smaller.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import special

from kpi.explain.aggregates.cube import Cube, Noise, Terms
from kpi.stats.types import Array

_WEEK = 7
_WEEKS = 3  # from which a pattern of weekdays is looked for
_PATTERN = 0.01  # p up to which there is one
_TAIL = 0.99  # share of the cells whose mean stays as it is
_DAYS = 7  # from which days are compared with each other


def steadied(cube: Cube, start: int) -> Cube:
    """The cells without the pattern of weekdays that the days before `start` show, and with the noise of each metric.

    Of means the largest values are cut down to where the others end: their tail decides a variance by a few requests.
    Numerators lose what their weekday adds in the whole; sums over whole weeks stay the same.
    """
    terms = {name: _without_weekdays(cube, _capped(t), start) for name, t in cube.terms.items()}
    found = replace(cube, terms=terms)
    return replace(found, noise={name: noise_of(found, name, start=start) for name in terms})


def noise_of(cube: Cube, metric: str, *, start: int | None = None) -> Noise:
    """How a metric varies, by moments. start: first of the days that are not compared with each other, if any are."""
    if metric in cube.noise:
        return cube.noise[metric]
    terms = cube.terms[metric]
    single, between = _by_user(terms, cube.user, cube.users)
    return Noise(single, between, _by_day(cube, terms, start, single, between) if start is not None else 0.0)


def _variance(terms: Terms, level: float) -> float:
    """Of one request at a level; 1 where the kind has no law."""
    return {"rate": level * (1 - level), "incidence": level}.get(terms.kind, 1.0)


def _by_user(terms: Terms, user: Array, users: int) -> tuple[float, float]:
    """(single, between) from the squares of users against those of cells or, of shares and counts, of requests."""
    y, x, total = terms.y, terms.x, terms.x.sum()
    if not total:
        return 1.0, 0.0
    level = y.sum() / total
    residual = y - level * x
    by_user, size = np.bincount(user, residual, minlength=users), np.bincount(user, x, minlength=users)
    repeated, squares = float((size**2).sum()), float((by_user**2).sum())
    if terms.kind in ("rate", "incidence"):
        varies = _variance(terms, level)
        if varies <= 0 or repeated <= total:
            return 1.0, 0.0
        between = min(max((squares / varies - total) / (repeated - total), 0.0), 1.0)
        return (1.0 - between if terms.kind == "rate" else 1.0), between
    in_cells, alone = float((residual**2).sum()), float((x**2).sum())
    between = max((squares - in_cells) / (repeated - alone), 0.0) if repeated > alone else 0.0
    return max((in_cells - between * alone) / total, 0.0), between


def _daily(cube: Cube, terms: Terms, start: int) -> tuple[Array, Array]:
    """(numerator, denominator) of the whole by day, of the days before `start`."""
    y, x = (np.bincount(cube.day, v, minlength=max(cube.days, start))[:start] for v in (terms.y, terms.x))
    return y, x


def _by_day(cube: Cube, terms: Terms, start: int, single: float, between: float) -> float:
    """Variance that neighbouring days differ by beyond what their requests and users explain (von Neumann 1941).

    Differences of neighbours see neither a trend nor a step that happened on the way.
    """
    y, x = _daily(cube, terms, start)
    there = np.flatnonzero(x > 0)
    if len(there) < _DAYS:
        return 0.0
    value, level = y[there] / x[there], y.sum() / x.sum()
    pairs = cube.user[cube.day < start] * start + cube.day[cube.day < start]
    of_user = np.bincount(pairs, terms.x[cube.day < start], minlength=cube.users * start)
    squares = (of_user.reshape(-1, start) ** 2).sum(axis=0)[there] / x[there] ** 2
    varies = _variance(terms, level)
    if varies <= 0:
        return 0.0
    explained = varies * (single / x[there] + between * squares)
    if not explained.all():  # it never varies
        return 0.0
    found = np.diff(value) ** 2 - explained[1:] - explained[:-1]
    weight = 1 / (explained[1:] + explained[:-1]) ** 2
    return max(float((found * weight).sum() / weight.sum() / 2 / varies), 0.0)


def _capped(terms: Terms) -> Terms:
    known = terms.x > 0
    if terms.kind != "ratio" or terms.n is None or not known.any() or not np.array_equal(terms.n, terms.x):
        return terms
    cap = np.quantile(terms.y[known] / terms.x[known], _TAIL)
    return replace(terms, y=np.minimum(terms.y, cap * terms.x))


def _without_weekdays(cube: Cube, terms: Terms, start: int) -> Terms:
    if start < _WEEK * _WEEKS:
        return terms
    y, x = _daily(cube, terms, start)
    there = x > 0
    weekday = np.arange(start) % _WEEK
    sums_y, sums_x = (np.bincount(weekday, v, minlength=_WEEK) for v in (y, x))
    if there.sum() < _WEEK * _WEEKS or (sums_x == 0).any():
        return terms
    of_weekday, level = sums_y / sums_x, y.sum() / x.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(there, y / x, 0.0)
    explained = float((sums_x * (of_weekday - level) ** 2).sum()) / (_WEEK - 1)
    left = float((x * (value - of_weekday[weekday]) ** 2).sum()) / (there.sum() - _WEEK)
    if left <= 0 or special.fdtrc(_WEEK - 1, there.sum() - _WEEK, explained / left) > _PATTERN:
        return terms
    return replace(terms, y=terms.y - terms.x * (of_weekday - level)[cube.day % _WEEK])
