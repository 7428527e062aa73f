"""A change of total cost as a waterfall: volume, model mix, tokens, caching, price, tools, retrieval, review.

Cost is a sum of products. What a model costs for one kind of token is requests x its share of them x input tokens x
share of that kind x price; tools are requests x calls x cost of a call; the other parts requests x cost of a request.
Each product's change is shared out among its factors exactly and whatever their order (`kpi.stats.factor_attribution`).

The steps are an account of money that was spent. The intervals reflect sampling variability in which users sent
requests: others of the same kind would have asked more, or longer, or of another model. Users are clusters over both
sides at once and their number is itself by chance (Poisson), so the variance of a step is the sum over users of (what
the user adds to it, to first order)^2: the delta method on sums by user (Deng, Knoblich and Lu 2018, KDD, section 3), t
with as many degrees as users really carry the step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from kpi.errors import MetricError, StoreError
from kpi.explain.aggregates.grouped_sums import Labelled
from kpi.explain.aggregates.period_sums import BEFORE, NOW, both_sides
from kpi.measure.columns import Columns
from kpi.measure.slice import Slice
from kpi.measure.summary import resolve
from kpi.narrate.decompositions import cost_sentence
from kpi.narrate.names import WORDS
from kpi.narrate.wording import scope_of
from kpi.pricing import price_file
from kpi.pricing.price_table import PriceTable, Rates
from kpi.result import Result
from kpi.stats.factor_attribution import share_out
from kpi.stats.interval import Interval, cluster_interval
from kpi.stats.types import Array
from kpi.store.engines import Source
from kpi.store.expressions import DOUBLE, INT, Expression, known, only
from kpi.store.manifest import home

STEPS = WORDS["cost"]
_NUSD, _WHOLE = 1e-9, "change"
_TOKENS = ("input_tokens", "output_tokens", "cached_read_tokens", "cache_write_tokens")
_PARTS = ("inference", "retrieval", "orchestration", "tool", "review")
_SUMS = ("n", *_TOKENS, "tool_calls", *_PARTS, "total")
_CELL = ("n", "inference", *_TOKENS)  # sums of a cell that its products are made of, beside all requests
_STEP = 1e-30  # of the complex-step derivative, which has no cancellation


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Waterfall(Result):
    """A change of total cost, in USD. steps: key, label, effect, low, high; effects sum to now - before, to rounding.

    low, high: 95 %, users as clusters, of a step and of the change; NaN where fewer than two users carry it on a side,
    or where a database cannot return sums for so many. requests_*: requests whose cost is known; unknown_*: requests
    left out because it is not.
    """

    main = "steps"
    columns = ("label", "effect", "low", "high")
    before: float
    now: float
    low: float
    high: float
    steps: pd.DataFrame
    requests_before: int
    requests_now: int
    unknown_before: int
    unknown_now: int
    sentence: str
    unit: str = "usd"
    scope: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the keys of `kpi decompose total_cost --json`."""
        return {**super().to_dict(), "change": self.now - self.before}


def cost_waterfall(source: Source, slice: Slice | None = None) -> Waterfall:
    """Why the cost of the slice differs from that of its baseline (a window or a version). One statement.

    Price is what a model was really charged for a token; the relative weight of cached, written and generated tokens
    is taken from the price table, typical ones where the model is not in it.

    Args:
        source: Where the rows are.
        slice: With a baseline.

    Returns:
        A `Waterfall`: cost before and now in USD, and steps that add up to the change.

    Raises:
        MetricError: Where neither side knows a cost.
        SliceError: Where the slice has no baseline.

    Example:
        >>> found = kpi.cost_waterfall(source, kpi.Slice(last="28d"))
        >>> found.now > 0 and len(found.steps) > 0
        True
    """
    found = _sums(source, slice)
    if not found["n"].sum():
        raise MetricError("waterfall.empty", "No request has a known cost",
                          hint="Load traces with costs, or add prices with `kpi prices --init`.")  # fmt: skip
    before, now = (float(found.loc[found["side"] == s, "total"].sum()) * _NUSD for s in (BEFORE, NOW))
    dust = 1e-12 * max(abs(before), abs(now))  # rounding of steps that did not move
    account = waterfall(found, price_file.current(home()))
    parts = {k: Interval(**{f: v * _NUSD for f, v in vars(p).items()}) for k, p in account.items()}
    change = parts.pop(_WHOLE)
    steps = pd.DataFrame(
        [{"key": k, "label": label, "effect": parts[k].value, "low": parts[k].low, "high": parts[k].high}
         for k, label in STEPS.items() if abs(parts[k].value) > dust],
        columns=["key", "label", "effect", "low", "high"],
    )  # fmt: skip
    n, rows = (found.groupby("side")[c].sum().reindex([BEFORE, NOW], fill_value=0).astype(int) for c in ("n", "rows"))
    return Waterfall(before=before, now=now, low=change.low, high=change.high, steps=steps,
                     requests_before=int(n[BEFORE]), requests_now=int(n[NOW]),
                     unknown_before=int(rows[BEFORE] - n[BEFORE]), unknown_now=int(rows[NOW] - n[NOW]),
                     sentence=cost_sentence(before, now, steps, int((rows - n).sum())),
                     scope=scope_of(resolve(source, slice), int(n[NOW]), int(n[BEFORE]), compared=True))  # fmt: skip


def _sums(source: Source, slice: Slice | None) -> pd.DataFrame:
    """Sums by user, side, model, provider and whether the tokens are known, over requests whose total cost is known."""

    def keys(row: Columns) -> Labelled:
        told = known(row["input_tokens"], row["output_tokens"])
        return {"model": row["model"], "provider": row["provider"], "tokens": sa.case((told, 1), else_=0)}

    def sums(row: Columns) -> Labelled:
        def of(column: str) -> Expression:
            return sa.cast(sa.func.sum(only(known(row["total_nusd"]), sa.cast(row[column], INT))), DOUBLE)

        columns = {c: c for c in (*_TOKENS, "tool_calls")} | {p: f"{p}_nusd" for p in (*_PARTS, "total")}
        counts = {"rows": sa.func.count(), "n": sa.func.count(row["total_nusd"])}
        return {**counts, **{name: of(column) for name, column in columns.items()}}

    try:
        found = both_sides(source, slice, keys=keys, sums=sums, totals=True)
    except StoreError as error:
        if error.code != "store.too_many_rows":
            raise
        found = both_sides(source, slice, keys=keys, sums=sums, totals=True, by_user=False)  # without intervals
    return found.fillna(dict.fromkeys(_SUMS, 0.0))


# --- the account -----------------------------------------------------------------------------------------------------


def waterfall(sums: pd.DataFrame, prices: PriceTable) -> dict[str, Interval]:
    """Effect of each of STEPS on the total with its interval, and of all together ("change"), in the costs' unit.

    sums: one row for each side, model, provider, whether tokens are known and `user`, as `cost_waterfall` asks for
    them. Without users there are no intervals.
    """
    keys = ["model", "provider", "tokens"]
    cell = sums.groupby(keys, dropna=False, sort=True).ngroup().to_numpy()
    first = sums.assign(cell=cell).drop_duplicates("cell").sort_values("cell")
    side, size = sums["side"].to_numpy(dtype=int), len(first)
    place = side * size + cell
    cells = {c: np.bincount(place, sums[c].to_numpy(float), 2 * size).reshape(2, size) for c in _CELL}
    totals = {c: np.bincount(side, sums[c].to_numpy(float), 2) for c in _SUMS}
    account = _Account(first["tokens"].to_numpy() == 1, _relative_prices(first, prices))
    of_cells = account.inference({"all": np.repeat(totals["n"][:, None], size, axis=1), **cells})
    of_rest = account.rest(totals)
    values = {k: float(of_cells[k].sum() + of_rest[k]) for k in STEPS}
    values[_WHOLE] = float(totals["total"][NOW] - totals["total"][BEFORE])
    heads = sums[sums["n"] > 0].groupby("side")["user"].nunique() if "user" in sums else pd.Series(dtype=float)
    if (heads.reindex([BEFORE, NOW]).fillna(0) < 2).any():
        return {k: Interval(value=v, low=math.nan, high=math.nan) for k, v in values.items()}
    added = _added(account, cells, totals, sums, cell)
    added[_WHOLE] = np.sum([added[k] for k in STEPS], axis=0)
    return {k: cluster_interval(v, added[k]) for k, v in values.items()}


def _added(
    account: _Account, cells: Mapping[str, Array], totals: Mapping[str, Array], sums: pd.DataFrame, cell: Array
) -> dict[str, Array]:
    """What each user adds to each step: its derivative by every sum, times the user's share of that sum."""
    size = cells["n"].shape[1]
    given = {"all": np.repeat(totals["n"][:, None], size, axis=1), **cells}
    side, user = sums["side"].to_numpy(dtype=int), sums["user"].to_numpy(dtype=int)
    rows = {c: sums[c].to_numpy(float) for c in _SUMS}
    added = {k: np.zeros(len(sums)) for k in STEPS}
    for name in given:
        slopes = [account.inference(_stepped(given, name, i)) for i in (BEFORE, NOW)]
        for k in STEPS:
            slope = np.array([s[k].imag / _STEP for s in slopes])  # sides x cells
            of_row = slope.sum(axis=1)[side] if name == "all" else slope[side, cell]
            added[k] += of_row * rows["n" if name == "all" else name]
    for name in totals:
        slopes = [account.rest(_stepped(totals, name, i)) for i in (BEFORE, NOW)]
        for k in STEPS:
            added[k] += np.array([s[k].imag / _STEP for s in slopes])[side] * rows[name]
    return {k: np.bincount(user, v) for k, v in added.items()}


def _stepped(given: Mapping[str, Array], name: str, side: int) -> dict[str, Array]:
    """The sums with an imaginary step in one of them on one side."""
    moved = given[name].astype(complex)
    moved[side] += 1j * _STEP
    return {**given, name: moved}


@dataclass(frozen=True)
class _Account:
    """The products that the total is the sum of. tokens: whether a cell knows its tokens; weights: relative prices of
    the kinds of token, by cell."""

    tokens: Array
    weights: Mapping[str, Array]

    def inference(self, v: Mapping[str, Array]) -> dict[str, Array]:
        """Effects by cell on the cost of inference. v: "all" requests and the sums of _CELL, each sides x cells."""
        sent, said, read, written = (v[c] for c in _TOKENS)
        plain = sent - read - written
        beside = plain.real < 0  # cached tokens that stand beside the input, not inside
        sent, plain = np.where(beside, sent + read + written, sent), np.where(beside, sent, plain)
        kinds = {"plain": plain, "read": read, "written": written}
        weighed = sum(self.weights[k] * t for k, t in kinds.items()) + self.weights["said"] * said
        count, cost = v["n"], v["inference"]
        share = _over(count, v["all"], empty=0.0)
        counted = self.tokens & ((weighed.real > 0) | (cost.real == 0)).all(axis=0)  # else a cost without any token
        effects = {k: np.zeros(len(self.tokens), dtype=complex) for k in STEPS}

        def share_among(mine: Array, **factors: Array) -> None:
            if mine.any():
                for name, effect in share_out([(k, f[BEFORE][mine], f[NOW][mine]) for k, f in factors.items()]).items():
                    effects[name][mine] += effect

        price = _over(cost, weighed)
        common = {"volume": v["all"], "mix": share}
        share_among(~counted, **common, price=_over(cost, count))
        for kind, tokens in kinds.items():
            used = counted & (tokens.real != 0).any(axis=0)
            share_among(used, **common, input=_over(sent, count), cache=_over(tokens, sent),
                        price=self.weights[kind] * price)  # fmt: skip
        share_among(counted, **common, output=_over(said, count), price=self.weights["said"] * price)
        return effects if any(np.iscomplexobj(a) for a in v.values()) else {k: e.real for k, e in effects.items()}

    def rest(self, t: Mapping[str, Array]) -> dict[str, Any]:
        """Effects on everything but inference, which is no matter of models. t: sums of _SUMS by side."""
        effects: dict[str, Any] = dict.fromkeys(STEPS, np.zeros(()))
        n, calls, spent = t["n"], t["tool_calls"], t["tool"]
        products = [{"volume": n, k: _over(t[k], n)} for k in ("retrieval", "review", "orchestration")]
        products.append({"volume": n, "other": _over(t["total"] - sum(t[p] for p in _PARTS), n)})
        if ((calls.real > 0) | (spent.real == 0)).all():
            products.append({"volume": n, "tools": _over(calls, n), "tool_price": _over(spent, calls)})
        else:  # tools were paid for, but nobody counted calls
            products.append({"volume": n, "tool_price": _over(spent, n)})
        for factors in products:
            for name, effect in share_out([(k, f[BEFORE], f[NOW]) for k, f in factors.items()]).items():
                effects[name] = effects[name] + effect
        return effects


def _over(y: Array, x: Array, empty: float = math.nan) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x.real != 0, y / x, empty)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _relative_prices(cells: pd.DataFrame, prices: PriceTable) -> dict[str, Array]:
    """Prices of the kinds of token relative to a plain input token, by cell."""
    typical = _typical(prices)
    found = [_weights(prices, typical, _text(r.provider), _text(r.model)) for r in cells.itertuples()]
    return {k: np.array([w[k] for w in found]) for k in typical}


def _weights(prices: PriceTable, usual: dict[str, float], provider: str | None, model: str | None) -> dict[str, float]:
    rows = [p.rates for p in prices.find(provider, model) if p.rates.input]
    if not rows:
        return usual
    return {k: v if v is not None else usual[k] for k, v in _relative(rows[0]).items()}


def _typical(prices: PriceTable) -> dict[str, float]:
    """Medians of what the price table states."""
    rates = [p.rates for p in prices.prices if p.rates.input]
    stated = {"read": [(r.cached_read, r.input) for r in rates], "written": [(r.cache_write, r.input) for r in rates],
              "said": [(r.output, r.input) for r in rates]}  # fmt: skip
    known = {kind: [a / b for a, b in pairs if a is not None and b] for kind, pairs in stated.items()}
    return {"plain": 1.0} | {kind: float(np.median(v)) if v else 1.0 for kind, v in known.items()}


def _relative(rates: Rates) -> dict[str, float | None]:
    assert rates.input
    whole = rates.input

    def over(rate: float | None) -> float | None:
        return None if rate is None else rate / whole

    return {"plain": 1.0, "read": over(rates.cached_read if rates.cached_read is not None else rates.input),
            "written": over(rates.cache_write if rates.cache_write is not None else rates.input),
            "said": over(rates.output)}  # fmt: skip
