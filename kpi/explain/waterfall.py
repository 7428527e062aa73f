"""A change of total cost as a waterfall: volume, model mix, tokens, caching, price, tools, retrieval, review.

Cost is a sum of products. What a model costs for one kind of token is requests x its share of them x input tokens x
share of that kind x price; tools are requests x calls x cost of a call; the other parts requests x cost of a request.
Each product's change is shared out among its factors exactly and whatever their order: by LMDI-I (Ang 2004, Energy
Policy 32:1131), or, where a factor is zero on a side and has no logarithm, by Shapley's value. This is an account of
money that was spent, not an estimate, so it has no interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from kpi.errors import MetricError
from kpi.explain.baseline import BEFORE, NOW, both_sides
from kpi.ingest import price_file
from kpi.ingest.pricing import PriceTable, Rates
from kpi.measure.slice import Slice
from kpi.measure.statistics import Columns
from kpi.measure.wording import format_change, format_count, format_value
from kpi.store.engines import Source
from kpi.store.manifest import home

Array = np.ndarray
STEPS = {
    "volume": "Requests", "mix": "Model mix", "input": "Input tokens per request", "cache": "Cache share",
    "output": "Output tokens per request", "price": "Price of a token", "tools": "Tool calls per request",
    "tool_price": "Cost of a tool call", "retrieval": "Retrieval", "review": "Human review",
    "orchestration": "Orchestration", "other": "Not assigned to a part",
}  # fmt: skip
_NUSD = 1e-9
_INT = sa.BigInteger()
_TOKENS = ("input_tokens", "output_tokens", "cached_read_tokens", "cache_write_tokens")
_PARTS = ("inference", "retrieval", "orchestration", "tool", "review")


@dataclass(frozen=True, kw_only=True)
class Waterfall:
    """A change of total cost, in USD. steps: key, label, effect; the effects sum to now - before, to rounding.

    requests_*: requests whose cost is known; unknown_*: requests left out because it is not.
    """

    before: float
    now: float
    steps: pd.DataFrame
    requests_before: int
    requests_now: int
    unknown_before: int
    unknown_now: int
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Plain data, the keys of `kpi decompose total_cost --json`."""
        plain = {k: v for k, v in vars(self).items() if k != "steps"}
        return {**plain, "unit": "usd", "change": self.now - self.before, "steps": self.steps.to_dict("records")}


def cost_waterfall(source: Source, slice: Slice | None = None) -> Waterfall:
    """Why the cost of the slice differs from that of its baseline (a window or a version). One statement.

    Price is what a model was really charged for a token; the relative weight of cached, written and generated tokens
    is taken from the price table, typical ones where the model is not in it. Raises MetricError where neither side
    knows a cost, SliceError where the slice has no baseline.
    """
    found = _sums(source, slice)
    if not found["n"].sum():
        raise MetricError("waterfall.empty", "No request has a known cost",
                          hint="Load traces with costs, or add prices with `kpi prices --init`.")  # fmt: skip
    effects = waterfall(found, price_file.current(home()))
    before, now = (float(found.loc[found["side"] == s, "total"].sum()) * _NUSD for s in (BEFORE, NOW))
    dust = 1e-12 * max(abs(before), abs(now))  # rounding of steps that did not move
    moved = {k: v * _NUSD for k, v in effects.items() if abs(v * _NUSD) > dust}
    steps = pd.DataFrame(
        [{"key": k, "label": label, "effect": moved[k]} for k, label in STEPS.items() if k in moved],
        columns=["key", "label", "effect"],
    )
    n, rows = (found.groupby("side")[c].sum().reindex([BEFORE, NOW], fill_value=0).astype(int) for c in ("n", "rows"))
    return Waterfall(
        before=before, now=now, steps=steps, requests_before=int(n[BEFORE]), requests_now=int(n[NOW]),
        unknown_before=int(rows[BEFORE] - n[BEFORE]), unknown_now=int(rows[NOW] - n[NOW]),
        sentence=_sentence(before, now, steps, int((rows - n).sum())),
    )  # fmt: skip


def _sums(source: Source, slice: Slice | None) -> pd.DataFrame:
    """Sums by side, model, provider and whether the tokens are known, over requests whose total cost is known."""

    def keys(row: Columns) -> list[tuple[str, sa.ColumnElement]]:
        known = sa.and_(row["input_tokens"].is_not(None), row["output_tokens"].is_not(None))
        return [("model", row["model"]), ("provider", row["provider"]), ("tokens", sa.case((known, 1), else_=0))]

    def sums(row: Columns) -> list[tuple[str, sa.ColumnElement]]:
        known = row["total_nusd"].is_not(None)

        def of(column: str) -> sa.ColumnElement:
            value = sa.case((known, sa.cast(row[column], _INT)), else_=sa.cast(sa.null(), _INT))
            return sa.cast(sa.func.sum(value), sa.Double())

        columns = {c: c for c in (*_TOKENS, "tool_calls")} | {p: f"{p}_nusd" for p in (*_PARTS, "total")}
        counts = [("rows", sa.func.count()), ("n", sa.func.count(row["total_nusd"]))]
        return [*counts, *((name, of(column)) for name, column in columns.items())]

    return both_sides(source, slice, keys=keys, sums=sums, by_user=False).fillna(
        dict.fromkeys((*_TOKENS, "tool_calls", *_PARTS, "total"), 0.0)
    )


# --- the account -----------------------------------------------------------------------------------------------------


def waterfall(sums: pd.DataFrame, prices: PriceTable) -> dict[str, float]:
    """Effect of each of STEPS on the total, in the unit of the costs.

    sums: one row for each side, model, provider and whether tokens are known, as `cost_waterfall` asks for them.
    """
    effects = dict.fromkeys(STEPS, 0.0)
    sides = {s: sums[sums["side"] == s].drop(columns="side") for s in (BEFORE, NOW)}
    n = np.array([float(sides[s]["n"].sum()) for s in (BEFORE, NOW)])
    for factors in (*_inference(sides, n, prices), *_rest(sides, n)):
        for name, effect in share_out(factors).items():
            effects[name] += effect
    return effects


Factors = list[tuple[str, float, float]]  # name, before, now; NaN where a side cannot know it


def _inference(sides: Mapping[int, pd.DataFrame], n: Array, prices: PriceTable) -> list[Factors]:
    """The products that make up inference cost: by model and kind of token."""
    keys = ["model", "provider", "tokens"]
    both = sides[BEFORE].merge(sides[NOW], on=keys, how="outer", suffixes=("_0", "_1"))
    products: list[Factors] = []
    for row in both.fillna({c: 0.0 for c in both if c not in keys}).to_dict("records"):
        count, cost = (np.array([row[f"{c}_0"], row[f"{c}_1"]], dtype=float) for c in ("n", "inference"))
        share = _over(count, n, empty=0.0)
        if not row["tokens"]:
            products.append([_f("volume", n), _f("mix", share), _f("price", _over(cost, count))])
            continue
        sent, said, read, written = (np.array([row[f"{c}_0"], row[f"{c}_1"]], dtype=float) for c in _TOKENS)
        plain = sent - read - written
        beside = plain < 0  # cached tokens that stand beside the input, not inside
        sent, plain = np.where(beside, sent + read + written, sent), np.where(beside, sent, plain)
        weights = _weights(prices, _text(row["provider"]), _text(row["model"]))
        kinds = {"plain": plain, "read": read, "written": written}
        weighed = sum(weights[k] * v for k, v in kinds.items()) + weights["said"] * said
        if not (weighed[cost != 0] > 0).all():  # a cost without any token
            products.append([_f("volume", n), _f("mix", share), _f("price", _over(cost, count))])
            continue
        price = _over(cost, weighed)
        common = [_f("volume", n), _f("mix", share)]
        for kind, tokens in kinds.items():
            part = _over(tokens, sent)
            products.append(
                [*common, _f("input", _over(sent, count)), _f("cache", part), _f("price", weights[kind] * price)]
            )
        products.append([*common, _f("output", _over(said, count)), _f("price", weights["said"] * price)])
    return products


def _rest(sides: Mapping[int, pd.DataFrame], n: Array) -> list[Factors]:
    total = {c: np.array([float(sides[s][c].sum()) for s in (BEFORE, NOW)]) for c in (*_PARTS, "total", "tool_calls")}
    volume = _f("volume", n)
    other = total["total"] - sum(total[p] for p in _PARTS)
    products = [
        [volume, _f(name, _over(cost, n))]
        for name, cost in (*((p, total[p]) for p in ("retrieval", "review", "orchestration")), ("other", other))
    ]
    calls, spent = total["tool_calls"], total["tool"]
    if ((calls > 0) | (spent == 0)).all():
        return [*products, [volume, _f("tools", _over(calls, n)), _f("tool_price", _over(spent, calls))]]
    return [*products, [volume, _f("tool_price", _over(spent, n))]]  # tools were paid for, but nobody counted calls


def _f(name: str, values: Array) -> tuple[str, float, float]:
    return name, float(values[0]), float(values[1])


def _over(y: Array, x: Array, empty: float = math.nan) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x != 0, y / x, empty)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _weights(prices: PriceTable, provider: str | None, model: str | None) -> dict[str, float]:
    """Prices of the kinds of token relative to a plain input token."""
    rows = [p.rates for p in prices.find(provider, model) if p.rates.input]
    typical = _typical(prices)
    if not rows:
        return typical
    return {k: v if v is not None else typical[k] for k, v in _relative(rows[0]).items()}


def _typical(prices: PriceTable) -> dict[str, float]:
    """Medians of what the price table states."""
    rates = [p.rates for p in prices.prices if p.rates.input]
    stated = {"read": [(r.cached_read, r.input) for r in rates], "written": [(r.cache_write, r.input) for r in rates],
              "said": [(r.output, r.input) for r in rates]}  # fmt: skip
    known = {kind: [a / b for a, b in pairs if a is not None and b] for kind, pairs in stated.items()}
    return {"plain": 1.0} | {kind: float(np.median(v)) if v else 1.0 for kind, v in known.items()}


def _relative(rates: Rates) -> dict[str, float | None]:
    assert rates.input
    over = lambda rate: None if rate is None else rate / rates.input  # noqa: E731
    return {
        "plain": 1.0, "read": over(rates.cached_read if rates.cached_read is not None else rates.input),
        "written": over(rates.cache_write if rates.cache_write is not None else rates.input),
        "said": over(rates.output),
    }  # fmt: skip


# --- a product's change among its factors ----------------------------------------------------------------------------


def share_out(factors: Sequence[tuple[str, float, float]]) -> dict[str, float]:
    """The change of a product among its factors (name, before, now); the parts sum to it exactly, in any order.

    A factor that one side cannot know (the tokens of a model that was not used) counts as unchanged. LMDI-I where all
    factors are positive, else Shapley.
    """
    before = np.array([b if b == b else a if a == a else 0.0 for _, b, a in factors])
    now = np.array([a if a == a else b if b == b else 0.0 for _, b, a in factors])
    effects = lmdi(before, now) if (before > 0).all() and (now > 0).all() else shapley(before, now)
    return {name: float(effect) for (name, _, _), effect in zip(factors, effects, strict=True)}


def lmdi(before: Array, now: Array) -> Array:
    """Additive LMDI-I: L(v1, v0) ln(f1 / f0) for the factors f of v, L the logarithmic mean (Ang 2004).

    before, now: positive, factors first; further axes are products side by side. Returns effects of the same shape.
    """
    v0, v1 = np.prod(before, axis=0), np.prod(now, axis=0)
    ratio = np.log(now / before)
    whole = ratio.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(np.abs(whole) > 1e-9, v0 * np.expm1(whole) / whole, (v0 + v1) / 2)
    return mean * ratio


def shapley(before: Array, now: Array) -> Array:
    """Shapley's value of each factor in the change of their product: its mean step over all orders. 1-d arrays."""
    count = len(before)
    effects = np.zeros(count)
    for i in range(count):
        others = [k for k in range(count) if k != i]
        for size in range(count):
            weight = 1 / (count * math.comb(count - 1, size))
            for moved in combinations(others, size):
                rest = math.prod(now[k] if k in moved else before[k] for k in others)
                effects[i] += weight * rest * (now[i] - before[i])
    return effects


def _sentence(before: float, now: float, steps: pd.DataFrame, unknown: int) -> str:
    largest = steps.reindex(steps["effect"].abs().sort_values(ascending=False, kind="stable").index)[:3]
    told = ", ".join(f"{r.label.lower()} {format_change(r.effect, 'usd')}" for r in largest.itertuples())
    said = f"Cost went from {format_value(before, 'usd')} to {format_value(now, 'usd')}"
    left = f" {format_count(unknown, 'requests')} without a known cost are left out." if unknown else ""
    return f"{said}: {told}.{left}" if told else f"{said}: nothing changed.{left}"
