"""The index: the weighted share of the promises that are shown to be kept, with its limits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from kpi.explain.comparison.effects import Value
from kpi.govern.card import Card
from kpi.govern.register import Entry
from kpi.result import Plain
from kpi.stats.types import Array

RANK = {"off_target": 0, "watch": 1, "no_data": 2, "on_target": 3}
MOST_UNKNOWN = 0.25  # of the weight: with more of it grey there is no number
_UNSEEN = "no_data"


@dataclass(frozen=True, kw_only=True)
class Index(Plain):
    """Weighted share of the promises kept, 0 to 100; NaN where more than a quarter of the weight is grey.

    low, high: 95 % limits; a grey KPI counts there as not kept and as kept. In the value it counts as it was in the
    baseline, else as not kept, so that the index never rises because something is recorded no more. n: KPIs with enough
    data, of `total`. same_mix, same_mix_before: now and in the baseline, both with the same mix of intent and language;
    NaN where that is not known.
    """

    value: float
    low: float
    high: float
    state: str
    n: int
    total: int
    same_mix: float = math.nan
    same_mix_before: float = math.nan


def attainment(entry: Entry, value: float) -> float:
    """How far a promise is kept: 1 at the target or better, 0 at the off limit or worse, linear between."""
    span = entry.target - entry.off
    if span == 0:
        side = 1 if entry.direction == "up" else -1
        return float(side * (value - entry.target) >= 0)
    return float(np.clip((value - entry.off) / span, 0, 1))


def index(
    cards: Sequence[Card], values: Mapping[str, Value] = MappingProxyType({}),
    before: Mapping[str, Value] = MappingProxyType({}), mixed: Sequence[Mapping[str, Value]] = (),
) -> Index:  # fmt: skip
    """The index of the cards. values, before: of their metrics in the window and its baseline; mixed: both adjusted to
    the same mix, baseline first.

    The errors of KPIs go together as their users and days do (Deng, Knoblich and Lu 2018, section 3); those without
    such influences, which are computed from others, stand alone.
    """
    weight = sum(c.entry.weight for c in cards)
    told = [c for c in cards if c.state != _UNSEEN]
    if not told or not weight:
        return Index(value=math.nan, low=math.nan, high=math.nan, state=_UNSEEN, n=0, total=len(cards))
    kept = {c.metric: _kept(c) for c in told}
    grey = [c for c in cards if c.state == _UNSEEN]
    unknown = sum(c.entry.weight for c in grey) / weight
    shown = sum(c.entry.weight / weight * kept[c.metric] for c in told)
    last = sum(c.entry.weight / weight * _last(c.entry, before.get(c.metric)) for c in grey)
    down, up = (_reach(told, values, kept, weight, side) for side in (0, 1))
    same = [math.nan, math.nan]
    if len(mixed) == 2:
        same = [100 * (last + sum(c.entry.weight / weight * _at(c, kept, m) for c in told)) for m in mixed]
    enough = unknown <= MOST_UNKNOWN
    return Index(value=100 * (shown + last) if enough else math.nan,
                 low=max(0.0, 100 * (shown - down)), high=min(100.0, 100 * (shown + unknown + up)),
                 state=min((c.state for c in told), key=RANK.__getitem__) if enough else _UNSEEN,
                 n=len(told), total=len(cards), same_mix_before=same[0], same_mix=same[1])  # fmt: skip


def _kept(card: Card) -> float:
    if card.state == "off_target" and card.metric == "incident_rate":
        return 0.0
    return attainment(card.entry, card.value if card.counted is None else card.counted)


def _last(entry: Entry, before: Value | None) -> float:
    """A grey KPI as it was when it was last seen."""
    seen = before is not None and before.n >= entry.min_n and math.isfinite(before.value)
    return attainment(entry, before.value) if seen and before is not None else 0.0


def _at(card: Card, kept: Mapping[str, float], values: Mapping[str, Value]) -> float:
    found = values.get(card.metric)
    if found is None or not math.isfinite(found.value):
        return kept[card.metric]
    return attainment(card.entry, found.value)


def _reach(
    cards: Sequence[Card], values: Mapping[str, Value], kept: Mapping[str, float], weight: float, side: int
) -> float:
    """How far the index may lie below (side 0) or above (1), the offsets of the KPIs added with their correlation."""
    offsets, influences, days, cells = [], [], [], []
    alone = 0.0
    for card in cards:
        limits = (card.low, card.high) if card.entry.direction == "up" else (card.high, card.low)  # worse, better
        ends = [attainment(card.entry, v) if math.isfinite(v) else float(i) for i, v in enumerate(limits)]
        share = card.entry.weight / weight
        offset = share * max(0.0, kept[card.metric] - min(ends) if side == 0 else max(ends) - kept[card.metric])
        value = values.get(card.metric)
        if value is None or not value.residual.any():
            alone += offset**2
            continue
        sign = 1.0 if card.entry.direction == "up" else -1.0
        offsets.append(offset)
        influences.append(sign * value.residual)
        days.append(sign * value.days)
        cells.append(sign * value.cells)
    if not offsets:
        return math.sqrt(alone)
    joint = _gram(influences) + _positive(_gram(days) - _gram(cells))
    size = np.sqrt(np.diag(joint))
    together = np.clip(joint / np.outer(size, size), -1, 1)
    return math.sqrt(alone + max(float(np.array(offsets) @ together @ np.array(offsets)), 0.0))


def _gram(rows: Sequence[Array]) -> Array:
    stacked = np.stack(rows)
    found: Array = stacked @ stacked.T
    return found


def _positive(matrix: Array) -> Array:
    """The part of a symmetric matrix that can be a covariance."""
    levels, vectors = np.linalg.eigh(matrix)
    found: Array = (vectors * np.maximum(levels, 0)) @ vectors.T
    return found
