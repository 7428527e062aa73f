"""From everything that changed to the few changes that tell the story: which segment, since when, what follows.

Many segments move when one thing breaks: its parents, diluted; its children; its neighbours by overlap; and other
metrics downstream. The most telling one is kept, what it explains is folded into it, and the search goes on in what is
left. A change that the mix alone carries is told as such.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kpi.explain.cells import Cells, is_version
from kpi.explain.search import Found, Searched, search, tested

Array = np.ndarray
LEVEL = 0.05  # of the first change told; segments overlap: about 1 in 100 quiet worlds tells anything (simulated)
_NAMING = 4.0  # what another named value must add to z^2 before it is believed (two nats of likelihood)
_UNCHANGED = 2.5  # |z| up to which a control did not change
_OWN = 3.8  # |z| that must be left of a change, once another is taken out, for it to be one of its own
_LITTLE = 3.0  # |z| of what is left within the groups, up to which it is nothing: it was picked among many
_CARRIED = 0.6  # share of a change from which the mix may carry it, if nothing is left within the groups
_REST = 0.25  # share of a change that may be left within the groups where the mix carries it
_SAME_DAYS = 2  # a version that came within so many days of a change may be its cause
_AS_LIKELY = 4.0  # in z^2: two explanations of which the data prefer neither
_AS_MUCH = 0.5  # share of a part's change from which the rest of its whole changed about as much
_CONTROL = 0.1  # share of a segment from which what a version did not serve can be its control
_SAME = 0.5  # overlap of two segments from which they are told as one
_ROUNDS = 8
_CANDIDATES = 400  # the strongest segments, of which a large change in many requests brings thousands


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change worth telling.

    where: cohort values; version: (dimension, value) that came with it, if one did. day: first day of the change, from
    the start of the cells. change, low, high: after that day against all days before, in units of the term
    (logarithms where the metric is logged). z, q: of the search. rows, before: requests that count. also: other
    metrics that moved with it. mix: (dimension, value whose share moved most, change of its share) where the mix
    carries the change. total_z: the same statistic of the whole, for hidden regressions.
    """

    metric: str
    where: Mapping[str, str]
    version: tuple[str, str] | None
    day: int
    change: float
    low: float
    high: float
    z: float
    q: float
    rows: int
    before: int
    also: tuple[str, ...] = ()
    mix: tuple[str, str, float] | None = None
    total_z: float = 0.0
    mask: Array = field(repr=False, default_factory=lambda: np.zeros(0, dtype=bool))


def tell(cells: Cells, start: int, *, metrics: Sequence[str] | None = None, level: float = LEVEL) -> list[Change]:
    """The changes that tell the story, strongest first; at most eight.

    start: day with which "now" begins, see `search`.
    """
    searched = search(cells, start, metrics=metrics)
    return told(searched, start, level=level)


def told(searched: Searched, start: int, *, level: float = LEVEL) -> list[Change]:
    """`tell` on a search already made.

    The first change needs a weighted Bonferroni q up to `level`, the k-th up to k times that: Benjamini-Hochberg over
    the changes that are told, of which each stands for many segments.
    """
    cells = searched.cells
    left = searched.clear(level * _ROUNDS)[:_CANDIDATES]
    whole = _levels(cells, start)
    changes: list[Change] = []
    while len(changes) < _ROUNDS:
        reached = [f for f in left if f.q <= level * (len(changes) + 1)]
        if not reached:
            break
        first = max(reached, key=lambda f: (_strength(f, whole[f.metric]), _stable(f)))
        best = _widened(searched, _refined(searched, first, whole[first.metric]), start)
        change = _described(cells, best, start)
        folded = [f for f in left if f is first or _explained(cells, f, change, start)]
        if change.mix is not None:
            change = _headline(cells, change, folded, start)
        others = {f.metric: None for f in folded if f.metric != change.metric and _overlap(cells, f, change) >= _SAME}
        changes.append(replace(change, also=tuple(others), q=change.q / (len(changes) + 1)))
        left = [f for f in left if not any(f is g for g in folded)]
    return _joined(cells, changes)


def _refined(searched: Searched, best: Found, level: float) -> Found:
    """The finding, or the part of its segment that tells more: which part it is, is a choice and needs no test of its
    own."""
    position = searched.metrics.index(best.metric)
    parts = [best]
    for i in np.flatnonzero(searched.metric == position):
        layout = searched.layouts[searched.layout[i]]
        if layout.literals == best.literals + 1 and (layout.entered == best.entered or best.entered is None):
            part = searched.found(int(i))
            if set(best.where) <= set(part.where) and part.z * best.z > 0:
                parts.append(replace(part, q=best.q))
    return max(parts, key=lambda f: (_strength(f, level), _stable(f)))


def _widened(searched: Searched, best: Found, start: int) -> Found:
    """The finding, or the wider segment that it is a part of, where the rest of that changed about as much.

    Of a strong change the part in which chance added most would else be told for the whole.
    """
    cells, terms = searched.cells, searched.cells.terms[best.metric]
    inside = cells.mask(dict(best.where))
    for dropped in best.where:
        wider = tuple(p for p in best.where if p != dropped)
        rest = cells.mask(dict(wider)) & ~inside
        if best.entered is not None:
            rest = rest & ((cells.day < start) | cells.mask(dict([best.entered])))
        change, *_, z, _ = tested(cells, terms, now=rest & (cells.day >= best.split), before=rest & (cells.day < start))
        if np.isfinite(z) and abs(z) > _OWN and change / best.change > _AS_MUCH:
            position = searched.metrics.index(best.metric)
            for i in np.flatnonzero(searched.metric == position):
                layout = searched.layouts[searched.layout[i]]
                if layout.literals == best.literals - 1 and layout.entered == best.entered:
                    found = searched.found(int(i))
                    if set(found.where) == set(wider):
                        return _widened(searched, replace(found, q=min(best.q, found.q)), start)
    return best


def _levels(cells: Cells, start: int) -> dict[str, float]:
    """Value of each metric in the whole before the change."""
    before = cells.day < start
    return {m: float(t.y[before].sum() / max(t.x[before].sum(), 1)) for m, t in cells.terms.items()}


def _strength(found: Found, level: float) -> float:
    """z^2 as if all segments varied alike, less what naming values costs: comparable between nested segments.

    A share near 0 or 1 varies less, so that the plain z of a mild change in a wide segment would beat that of the whole
    change in the narrow one that it comes from.
    """
    varies = found.level * (1 - found.level) if 0 < found.level < 1 else found.level
    usual = level * (1 - level) if 0 < level < 1 else level
    adjusted = varies / usual if found.kind in ("rate", "incidence") and usual > 0 and varies > 0 else 1.0
    return float((found.z**2 - _NAMING * found.literals) * min(max(adjusted, 0.1), 40.0))


def _stable(found: Found) -> tuple[str, ...]:
    return (found.metric, *(f"{d}={v}" for d, v in found.where))


# --- one change ------------------------------------------------------------------------------------------------------


def _described(cells: Cells, found: Found, start: int) -> Change:
    """The change with its cause: mix or version, its day and its size."""
    mix = _mix(cells, found, start)
    if mix is not None:
        return _of_mix(cells, found, mix, start)
    where = {d: v for d, v in found.where if not is_version(d)}
    standing = {d: v for d, v in found.where if is_version(d)}  # served before as well: an arm, a ring, an old version
    inside = cells.mask(dict(found.where))
    day = onset(cells, found.metric, inside, version=found.entered)
    if found.entered is not None:
        return _sized(cells, found, where, *_kept(cells, found, inside, day))
    if not standing:
        return _sized(cells, found, where, *_version_of(cells, found.metric, inside, day))
    # An arm or a ring may only stand for the version that it was given, or for nothing.
    wide = cells.mask(where)
    version, since = _version_of(cells, found.metric, wide, onset(cells, found.metric, wide), least=found.z**2)
    others, x = wide & ~cells.mask(standing), cells.terms[found.metric].x
    compared = x[others & (cells.day >= since)].sum() >= _CONTROL * x[wide & (cells.day >= since)].sum()
    unchanged = compared and abs(_z_from(cells, found.metric, others, since)) < _UNCHANGED
    if version is None and unchanged and _z_from(cells, found.metric, wide, since) ** 2 < found.z**2 - _AS_LIKELY:
        where, (version, since) = {**where, **standing}, _version_of(cells, found.metric, inside, day)
        if version is not None:
            where = {d: v for d, v in where.items() if d not in standing}
    return _sized(cells, found, where, version, since)


def _z_from(cells: Cells, metric: str, inside: Array, day: int) -> float:
    """z of a segment's change on a day; 0 where there is none."""
    *_, z, _ = tested(cells, cells.terms[metric], now=inside & (cells.day >= day), before=inside & (cells.day < day))
    return z if np.isfinite(z) else 0.0


def _kept(cells: Cells, found: Found, inside: Array, day: int) -> tuple[tuple[str, str] | None, int]:
    """The version that entered, if its coming tells more than the day alone does; and the day of the change."""
    assert found.entered is not None
    terms = cells.terms[found.metric]
    came = _arrival(cells, {}, found.entered, inside)
    if came is not None and abs(came - day) <= _SAME_DAYS:
        return found.entered, came
    served, before = inside & cells.mask(dict([found.entered])), inside & (cells.day < day)
    plain = onset(cells, found.metric, inside)
    *_, z, _ = tested(cells, terms, now=served & (cells.day >= day), before=before & ~served)
    if not np.isfinite(z) or _z_from(cells, found.metric, inside, plain) ** 2 >= z**2 - _AS_LIKELY:
        return None, plain
    return found.entered, day


def _sized(cells: Cells, found: Found, where: Mapping[str, str], version: tuple[str, str] | None, day: int) -> Change:
    inside = cells.mask(where)
    now, before = inside & (cells.day >= day), inside & (cells.day < day)
    if version is not None:
        now = now & cells.mask(dict([version]))
    terms = cells.terms[found.metric]
    change, error = spread(cells, found.metric, now, before)
    _, _, total_z, _ = tested(cells, terms, now=cells.day >= day, before=cells.day < day)
    return Change(
        metric=found.metric, where=where, version=version, day=day, change=change, low=change - 1.96 * error,
        high=change + 1.96 * error, z=found.z, q=found.q, rows=int(terms.x[now].sum()),
        before=int(terms.x[before].sum()), total_z=total_z if total_z == total_z else 0.0, mask=inside,
    )  # fmt: skip


def spread(cells: Cells, metric: str, now: Array, before: Array) -> tuple[float, float]:
    """(change, its standard error) of y / x between two masks, users as clusters over both, each at its own value."""
    terms = cells.terms[metric]
    parts = []
    for mask, sign in ((now, 1.0), (before, -1.0)):
        x = np.bincount(cells.user[mask], terms.x[mask], minlength=cells.users)
        y = np.bincount(cells.user[mask], terms.y[mask], minlength=cells.users)
        if not x.sum():
            return np.nan, np.nan
        value = y.sum() / x.sum()
        parts.append((sign * value, sign * (y - value * x) / x.sum(), x > 0))
    residual = parts[0][1] + parts[1][1]
    users = int((parts[0][2] | parts[1][2]).sum())
    error = float(np.sqrt((residual**2).sum() * users / max(users - 1, 1)))
    return parts[0][0] + parts[1][0], error


def onset(cells: Cells, metric: str, inside: Array, *, version: tuple[str, str] | None = None) -> int:
    """The day from which the metric of a segment differs most from the days before: the single most likely change.

    Least squares with one step, days weighted by what they hold (Hinkley 1970). Of a version that entered, the days
    before are those of the segment without it.
    """
    terms = cells.terms[metric]
    kept = inside
    if version is not None:
        served = cells.mask(dict([version]))
        arrival = _arrival(cells, {}, version, inside)
        kept = inside & (served | (cells.day < (arrival if arrival is not None else 0)))
    y = np.bincount(cells.day[kept], terms.y[kept], minlength=cells.days)
    x = np.bincount(cells.day[kept], terms.x[kept], minlength=cells.days)
    after_y, after_x = np.cumsum(y[::-1])[::-1], np.cumsum(x[::-1])[::-1]
    before_y, before_x = y.sum() - after_y, x.sum() - after_x
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = (after_y / after_x - before_y / before_x) ** 2 / (1 / after_x + 1 / before_x)
    gain[0] = -np.inf
    return int(np.nanargmax(np.where(np.isfinite(gain), gain, -np.inf)))


# --- versions --------------------------------------------------------------------------------------------------------


_ARMS = frozenset({"experiment_arm", "deployment_ring"})  # who is given a version, not what serves


def _versions(cells: Cells) -> Iterator[tuple[str, str]]:
    for name, codes in cells.dims.items():
        if is_version(name) and name not in _ARMS:
            yield from ((name, value) for value in codes.values)


def _arrival(
    cells: Cells, where: Mapping[str, str], version: tuple[str, str], inside: Array | None = None
) -> int | None:
    """First day on which a version serves a visible share of a segment; None where it was there from the start."""
    mask = cells.mask(where) if inside is None else inside
    served = mask & cells.mask(dict([version]))
    rows = np.bincount(cells.day[mask], cells.rows[mask], minlength=cells.days)
    of_version = np.bincount(cells.day[served], cells.rows[served], minlength=cells.days)
    days = np.flatnonzero(of_version >= np.maximum(0.05 * rows, 1))
    return int(days[0]) if len(days) and days[0] > 0 else None


def _version_of(
    cells: Cells, metric: str, inside: Array, day: int, *, least: float = 0.0
) -> tuple[tuple[str, str] | None, int]:
    """The version that brought a change, and the day of its coming; None and the day of the change where none did.

    Where it serves a part of the requests, the others are its control: they must not have changed. Where it serves
    all, it must have come when the metric moved. least: z^2 that it must tell, beside that of the change by itself.
    """
    terms = cells.terms[metric]
    least = max(least, _z_from(cells, metric, inside, day) ** 2)
    candidates = []
    for version in _versions(cells):
        came = _arrival(cells, {}, version, inside)
        if came is None:
            continue
        before = inside & (cells.day < came)
        served = inside & cells.mask(dict([version]))
        rest = inside & (cells.day >= came) & ~served
        *_, z, _ = tested(cells, terms, now=served, before=before)
        *_, z_rest, _ = tested(cells, terms, now=rest, before=before)
        alone = terms.x[rest].sum() < 0.1 * max(terms.x[served].sum(), 1)
        as_likely = np.isfinite(z) and z**2 >= least - _AS_LIKELY
        controlled = np.isfinite(z_rest) and abs(z_rest) < _UNCHANGED and abs(z_rest) < abs(z) / 2
        if as_likely and (controlled or (alone and abs(came - day) <= _SAME_DAYS)):
            candidates.append((not alone, abs(z), version, came))
    if not candidates:
        return None, day
    _, _, version, came = max(candidates)
    return version, came


# --- mix -------------------------------------------------------------------------------------------------------------


def _mix(cells: Cells, found: Found, start: int) -> str | None:
    """The dimension whose mix carries the change of a segment: within its values nothing is left of it."""
    if found.entered is not None:
        return None
    inside = cells.mask(dict(found.where))
    now, before = inside & (cells.day >= found.split), inside & (cells.day < start)
    named = {d for d, _ in found.where}
    shares = []
    for name in cells.dims:
        if name in named or is_version(name):
            continue
        rate, error, mix = standardised(cells, found.metric, name, now, before)
        whole = rate + mix
        if not whole or not np.isfinite(whole):
            continue
        nothing_else = abs(rate) < _LITTLE * error and mix / whole >= _CARRIED
        if nothing_else or abs(rate) < _REST * abs(whole):
            shares.append((mix / whole, name))
    return max(shares)[1] if shares else None


def standardised(cells: Cells, metric: str, name: str, now: Array, before: Array) -> tuple[float, float, float]:
    """(rate effect, its standard error, mix effect) of a change over the values of a dimension.

    Kitagawa (1955) in its symmetric form, weights the shares of the denominator; the standard error takes the
    weights as given and the user as cluster over both windows.
    """
    terms, codes = cells.terms[metric], cells.dims[name]
    size = len(codes.values) + 1
    group = np.where(codes.codes < 0, size - 1, codes.codes)
    sums = []
    for mask in (now, before):
        x = np.bincount(group[mask], terms.x[mask], minlength=size)
        y = np.bincount(group[mask], terms.y[mask], minlength=size)
        sums.append((y, x))
    (y1, x1), (y0, x0) = sums
    if not x1.sum() or not x0.sum():
        return np.nan, np.nan, np.nan
    w1, w0 = x1 / x1.sum(), x0 / x0.sum()
    both = (x1 > 0) & (x0 > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r1 = np.where(x1 > 0, y1 / x1, y0 / x0)
        r0 = np.where(x0 > 0, y0 / x0, y1 / x1)
    r1, r0 = np.nan_to_num(r1), np.nan_to_num(r0)
    weight = np.where(both, (w1 + w0) / 2, 0.0)
    rate = float((weight * (r1 - r0)).sum())
    mix = float(((r1 + r0) / 2 * (w1 - w0)).sum())
    residual = np.zeros(cells.users)
    for mask, value, x, sign in ((now, r1, x1, 1.0), (before, r0, x0, -1.0)):
        each = (terms.y[mask] - value[group[mask]] * terms.x[mask]) * sign
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(x > 0, weight / x, 0.0)
        residual += np.bincount(cells.user[mask], each * scale[group[mask]], minlength=cells.users)
    return rate, float(np.sqrt((residual**2).sum())), mix


def _of_mix(cells: Cells, found: Found, name: str, start: int) -> Change:
    """A change that the mix carries, told of the widest slice it holds for."""
    whole = replace(found, where=(), entered=None)
    if found.where and _mix(cells, whole, start) == name:
        terms = cells.terms[found.metric]
        now, before = cells.day >= found.split, cells.day < start
        *_, z, _ = tested(cells, terms, now=now, before=before)
        if np.isfinite(z) and abs(z) > 3:
            found = replace(whole, z=z)
    inside = cells.mask(dict(found.where))
    codes = cells.dims[name]
    now, before = inside & (cells.day >= found.split), inside & (cells.day < start)
    size = len(codes.values) + 1
    share = [
        np.bincount(np.where(codes.codes < 0, size - 1, codes.codes)[m], cells.rows[m], minlength=size)[:-1]
        / max(cells.rows[m].sum(), 1)
        for m in (now, before)
    ]
    moved = share[0] - share[1]
    value = int(np.argmax(np.abs(moved)))
    day = _onset_of_share(cells, inside, name, codes.values[value])
    change = _sized(cells, found, dict(found.where), None, day)
    return replace(change, mix=(name, codes.values[value], float(moved[value])))


def _onset_of_share(cells: Cells, inside: Array, name: str, value: str) -> int:
    mine = inside & cells.mask({name: value})
    y = np.bincount(cells.day[mine], cells.rows[mine], minlength=cells.days)
    x = np.bincount(cells.day[inside], cells.rows[inside], minlength=cells.days)
    after_y, after_x = np.cumsum(y[::-1])[::-1], np.cumsum(x[::-1])[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = (after_y / after_x - (y.sum() - after_y) / (x.sum() - after_x)) ** 2
        gain = gain / (1 / after_x + 1 / (x.sum() - after_x))
    gain[0] = -np.inf
    return int(np.nanargmax(np.where(np.isfinite(gain), gain, -np.inf)))


def _headline(cells: Cells, change: Change, folded: Sequence[Found], start: int) -> Change:
    """A mix moves every metric that differs between its values: the one that stands first in the cells tells."""
    assert change.mix is not None
    order = list(cells.terms)
    rivals = [f for f in folded if dict(f.where) == dict(change.where) and f.entered is None]
    first = min(rivals, key=lambda f: order.index(f.metric), default=None)
    if first is None or order.index(first.metric) >= order.index(change.metric):
        return change
    return _of_mix(cells, first, change.mix[0], start)


# --- what a change explains ------------------------------------------------------------------------------------------


def _explained(cells: Cells, found: Found, change: Change, start: int) -> bool:
    """Whether nothing is left of a finding once the cells of a change are taken out, or its mix is held."""
    inside = cells.mask(dict(found.where))
    if found.entered is not None:
        inside = inside & ((cells.day < start) | cells.mask(dict([found.entered])))
    now, before = inside & (cells.day >= found.split), inside & (cells.day < start)
    if change.mix is not None:
        if found.where and change.mix[0] in dict(found.where):
            return False
        rate, error, _ = standardised(cells, found.metric, change.mix[0], now, before)
        return not np.isfinite(rate) or abs(rate) < _OWN * error
    if not change.where and change.version is None:
        if found.metric != change.metric:
            return not found.where
        return abs(found.change - change.change) < _OWN * found.error  # no other than what the whole did
    taken = change.mask
    if change.version is not None:
        taken = taken & cells.mask(dict([change.version]))
    rest_now, rest_before = now & ~taken, before & ~change.mask
    terms = cells.terms[found.metric]
    if terms.x[rest_now].sum() < 30 or terms.x[rest_before].sum() < 30:
        return True
    *_, z, _ = tested(cells, terms, now=rest_now, before=rest_before)
    return not np.isfinite(z) or abs(z) < _OWN


def _overlap(cells: Cells, found: Found, change: Change) -> float:
    """Requests in both segments over those in the larger one."""
    inside = cells.mask(dict(found.where))
    both = cells.rows[inside & change.mask].sum()
    return float(both / max(cells.rows[inside].sum(), cells.rows[change.mask].sum(), 1))


def _joined(cells: Cells, changes: Sequence[Change]) -> list[Change]:
    """Changes of several metrics in one segment at one time are one: the strongest tells, the others are named."""
    kept: list[Change] = []
    for change in sorted(changes, key=lambda c: -abs(c.z)):
        twin = next((k for k in kept if k.metric != change.metric and _together(cells, k, change)), None)
        if twin is None:
            kept.append(change)
        else:
            kept[kept.index(twin)] = replace(twin, also=(*twin.also, change.metric))
    return kept


def _together(cells: Cells, a: Change, b: Change) -> bool:
    if abs(a.day - b.day) > _SAME_DAYS or (a.mix is None) != (b.mix is None):
        return False
    if a.mix is not None and b.mix is not None:
        return a.mix[0] == b.mix[0]
    both = cells.rows[a.mask & b.mask].sum()
    return bool(both >= _SAME * max(cells.rows[a.mask].sum(), cells.rows[b.mask].sum()))
