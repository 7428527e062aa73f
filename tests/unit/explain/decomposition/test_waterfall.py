"""Cost and latency waterfalls: parts sum to the change, each part is what moved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

import kpi
from kpi.errors import MetricError, StoreError
from kpi.explain.decomposition.cost_waterfall import STEPS, waterfall
from kpi.pricing.price_table import PriceTable
from kpi.stats.factor_attribution import lmdi, shapley, share_out
from kpi.stats.interval import cluster_interval
from kpi.store.engines import DuckSource

pytestmark = pytest.mark.slow

factor = st.one_of(st.just(0.0), st.floats(1e-2, 1e2))


@settings(max_examples=100)
@given(pairs=st.lists(st.tuples(factor, factor), min_size=1, max_size=6), unit=st.floats(1e-3, 1e3))
def test_a_product_is_shared_out_exactly_in_any_order_and_unit(pairs: list[tuple[float, float]], unit: float) -> None:
    factors = [(f"f{i}", b, a) for i, (b, a) in enumerate(pairs)]
    change = math.prod(a for _, a in pairs) - math.prod(b for b, _ in pairs)
    size = math.prod(max(b, a, 1e-9) for b, a in pairs)
    effects = share_out(factors)
    assert sum(effects.values()) == pytest.approx(change, abs=1e-9 * size)
    back = share_out(factors[::-1])
    assert all(back[k] == pytest.approx(v, abs=1e-9 * size) for k, v in effects.items())
    scaled = share_out([("f0", pairs[0][0] * unit, pairs[0][1] * unit), *factors[1:]])
    assert all(scaled[k] == pytest.approx(v * unit, abs=1e-8 * size * unit) for k, v in effects.items())


def test_lmdi_is_close_to_shapley_for_small_changes_and_gives_all_to_the_one_that_moved() -> None:
    before, now = np.array([3.0, 2.0, 5.0]), np.array([3.03, 1.99, 5.02])
    assert lmdi(before, now) == pytest.approx(shapley(before, now), rel=1e-3)
    assert lmdi(before, before * [1, 2, 1]) == pytest.approx([0, 30, 0])
    assert shapley(np.array([4.0, 0.0]), np.array([6.0, 3.0])) == pytest.approx([3, 15])


def frame(days: range, n: int, *, models: dict[str, float], rng: np.random.Generator, **more: object) -> pd.DataFrame:
    size = len(days) * n
    model = rng.choice(list(models), size, p=list(models.values()))
    at = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.repeat(list(days), n), unit="D")
    sent = np.full(size, int(more.get("sent", 1000)))
    read = np.full(size, int(more.get("read", 0)))
    said = np.full(size, int(more.get("said", 200)))
    calls = np.full(size, int(more.get("calls", 2)))
    price = np.where(model == "new", 4, 1) * int(more.get("price", 1))
    inference = ((sent - read) * 2500 + read * 1250 + said * 10_000) * price  # as the price table has it for gpt-4o
    review = np.full(size, int(more.get("review", 500)))
    return pd.DataFrame({
        "user_key": rng.integers(0, 50, size).astype(str), "started_at": at, "model": model, "provider": "openai",
        "input_tokens": sent, "cached_read_tokens": read, "cache_write_tokens": 0, "output_tokens": said,
        "inference_nusd": inference, "tool_calls": calls, "tool_nusd": calls * 100, "retrieval_nusd": 300,
        "review_nusd": review, "total_nusd": inference + calls * 100 + 300 + review,
    })  # fmt: skip


def steps(before: pd.DataFrame, now: pd.DataFrame) -> tuple[dict[str, float], kpi.Waterfall]:
    source = kpi.from_frame(pd.concat([before, now]))
    found = kpi.cost_waterfall(source, kpi.Slice(last="7d"))
    total = now["total_nusd"].sum() - before["total_nusd"].sum()
    assert found.now - found.before == pytest.approx(total * 1e-9)
    assert found.steps["effect"].sum() == pytest.approx(total * 1e-9, abs=1e-9 * max(1, abs(total) * 1e-9))
    return dict(zip(found.steps["key"], found.steps["effect"] * 1e9, strict=True)), found


BEFORE, NOW = range(7), range(7, 14)
ONE = {"gpt-4o": 1.0}


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"sent": 1500}, "input"), ({"said": 300}, "output"), ({"price": 3}, "price"), ({"calls": 5}, "tools"),
        ({"review": 900}, "review"), ({"read": 400}, "cache"),
    ],
)  # fmt: skip
def test_one_cause_is_one_step(change: dict[str, int], step: str) -> None:
    rng = np.random.default_rng(0)
    before = frame(BEFORE, 20, models=ONE, rng=rng)
    now = frame(NOW, 20, models=ONE, rng=rng, **change)
    found, _ = steps(before, now)
    moved = now["total_nusd"].sum() - before["total_nusd"].sum()
    assert found == pytest.approx({step: moved}, rel=1e-9)


def test_volume_alone_and_a_model_that_enters() -> None:
    rng = np.random.default_rng(0)
    before = frame(BEFORE, 20, models=ONE, rng=rng)
    found, _ = steps(before, frame(NOW, 30, models=ONE, rng=rng))
    assert set(found) == {"volume"}
    found, _ = steps(before, frame(NOW, 20, models={"gpt-4o": 0.5, "new": 0.5}, rng=rng))
    assert set(found) == {"mix"}
    assert found["mix"] > 0


def test_requests_without_costs_tokens_or_parts_are_accounted_for() -> None:
    rng = np.random.default_rng(0)
    before, now = frame(BEFORE, 20, models=ONE, rng=rng), frame(NOW, 20, models=ONE, rng=rng)
    now.loc[now.index[:15], ["input_tokens", "output_tokens"]] = None  # inference without tokens
    now.loc[now.index[20:30], "total_nusd"] = None
    now.loc[now.index[40:50], ["review_nusd", "tool_calls"]] = None
    source = kpi.from_frame(pd.concat([before, now]))
    found = kpi.cost_waterfall(source, kpi.Slice(last="7d"))
    assert found.steps["effect"].sum() == pytest.approx(found.now - found.before, abs=1e-12)
    assert (found.requests_now, found.unknown_now, found.unknown_before) == (130, 10, 0)
    assert "other" in set(found.steps["key"])
    assert "10 requests without a known cost" in found.sentence


def test_sample_world_sums_exactly(sample: DuckSource) -> None:
    for slice in (kpi.Slice(last="28d"), kpi.Slice(baseline="prompt_version:p6").where(prompt_version="p7")):
        found = kpi.cost_waterfall(sample, slice)
        total = kpi.summarise(sample, "total_cost", slice)["value"].iloc[0]
        assert found.now == pytest.approx(total)
        assert found.steps["effect"].sum() == pytest.approx(found.now - found.before, abs=1e-9)


# --- intervals of the steps ------------------------------------------------------------------------------------------

RATES = {"big": (2500, 1250, 10_000), "small": (150, 75, 600)}
SIDES = (  # share of the big model, input and output tokens, cached share, tool calls: before and now
    {"big": 0.3, "sent": 1000, "said": 200, "cached": 0.2, "calls": 1.0},
    {"big": 0.45, "sent": 1200, "said": 220, "cached": 0.3, "calls": 1.4},
)
PRICES = PriceTable(prices=())


def _asked(rng: np.random.Generator, who: np.ndarray, people: dict[str, np.ndarray], side: int) -> pd.DataFrame:
    """Sums by user and model of one side, as the statement returns them: users keep their size, length and taste."""
    given = SIDES[side]
    n = rng.poisson(5 * people["size"][who])
    big = rng.binomial(n, stats.beta.ppf(people["taste"][who], 4 * given["big"], 4 - 4 * given["big"]))
    parts = []
    for model, k in (("big", big), ("small", n - big)):
        sent = rng.poisson(k * given["sent"] * people["length"][who])
        read, said = rng.binomial(sent, given["cached"]), rng.poisson(k * given["said"] * people["length"][who])
        calls, (plain, cached, written) = rng.poisson(k * given["calls"]), RATES[model]
        part = pd.DataFrame({
            "user": who, "model": model, "provider": "p", "tokens": 1, "rows": k, "n": k, "input_tokens": sent,
            "cached_read_tokens": read, "cache_write_tokens": 0, "output_tokens": said, "tool_calls": calls,
            "inference": (sent - read) * plain + read * cached + said * written, "tool": calls * 1_000_000,
            "retrieval": k * 300_000, "orchestration": 0, "review": rng.binomial(k, 0.05) * 20_000_000,
        })  # fmt: skip
        parts.append(part[part["n"] > 0])
    found = pd.concat(parts).assign(side=side)
    return found.assign(total=found[["inference", "tool", "retrieval", "review"]].sum(axis=1))


def _spent(rng: np.random.Generator, users: int, *, exactly: bool = False) -> pd.DataFrame:
    """Half of the users of before come back, and somewhat more new ones come; how many is by chance, or `exactly`."""
    left, stay, came = (int(v) if exactly else rng.poisson(v) for v in (0.5 * users, 0.5 * users, 0.7 * users))
    size = left + stay + came
    people = {
        "size": rng.gamma(2, 0.5, size),
        "length": np.exp(rng.normal(-0.08, 0.4, size)),
        "taste": rng.random(size),
    }
    sides = (np.arange(left + stay), np.arange(left, size))
    return pd.concat([_asked(rng, who, people, i) for i, who in enumerate(sides)], ignore_index=True)


def test_intervals_of_steps_cover_the_truth_when_users_repeat() -> None:
    truth = {
        k: p.value / 500 for k, p in waterfall(_spent(np.random.default_rng(1), 100_000, exactly=True), PRICES).items()
    }
    moved = [k for k in truth if abs(truth[k]) > 1e-3 * abs(truth["change"])]
    assert {"volume", "mix", "input", "output", "cache", "tools", "change"} <= set(moved)
    rng, runs, kept = np.random.default_rng(2), 300, dict.fromkeys(moved, 0)
    for _ in range(runs):
        found = waterfall(_spent(rng, 200), PRICES)
        assert sum(found[k].value for k in STEPS) == pytest.approx(found["change"].value, rel=1e-9)
        for k in moved:
            kept[k] += found[k].low <= truth[k] <= found[k].high
    assert all(0.92 <= v / runs <= 0.99 for v in kept.values()), kept


def test_intervals_are_those_of_a_bootstrap_over_users() -> None:
    """Poisson weights for users, the whole account anew each time: the spread that the derivatives give in one pass."""
    sums = _spent(np.random.default_rng(3), 400)
    found, rng, drawn = waterfall(sums, PRICES), np.random.default_rng(4), []
    counts = [c for c in sums if c not in ("user", "model", "provider", "tokens", "side")]
    for _ in range(200):
        weight = rng.poisson(1.0, sums["user"].max() + 1)[sums["user"]]
        again = sums.drop(columns="user").assign(**{c: sums[c] * weight for c in counts})
        drawn.append({k: p.value for k, p in waterfall(again[weight > 0], PRICES).items()})
    spread = pd.DataFrame(drawn).std()
    for k in ("volume", "mix", "input", "output", "cache", "tools", "change"):
        assert (found[k].high - found[k].low) / 2 / 1.97 == pytest.approx(spread[k], rel=0.2), k


def test_the_whole_change_has_the_interval_of_users_totals_and_steps_that_one_user_carries_have_none() -> None:
    sums = _spent(np.random.default_rng(5), 150)
    found = waterfall(sums, PRICES)
    own = sums.assign(t=np.where(sums["side"] == 1, 1, -1) * sums["total"]).groupby("user")["t"].sum().to_numpy(float)
    known = cluster_interval(found["change"].value, own)
    assert (found["change"].low, found["change"].high) == pytest.approx((known.low, known.high), rel=1e-9)
    alone = waterfall(sums.assign(user=0), PRICES)
    assert all(math.isnan(p.low) for p in alone.values())
    assert {k: p.value for k, p in alone.items()} == pytest.approx({k: p.value for k, p in found.items()})
    assert all(math.isnan(p.low) for p in waterfall(sums.drop(columns="user"), PRICES).values())


def test_steps_of_a_source_have_intervals_and_repeated_rows_of_the_same_users_prove_nothing_new() -> None:
    rng = np.random.default_rng(6)
    before = frame(BEFORE, 40, models={"gpt-4o": 0.7, "new": 0.3}, rng=rng)
    now = frame(NOW, 55, models={"gpt-4o": 0.5, "new": 0.5}, rng=rng, sent=1300, calls=3)
    rows = pd.concat([before, now])
    once, twice = (kpi.cost_waterfall(kpi.from_frame(pd.concat([rows] * k)), kpi.Slice(last="7d")) for k in (1, 2))
    assert once.low < once.now - once.before < once.high
    for one, two in zip(once.steps.itertuples(), twice.steps.itertuples(), strict=True):
        assert one.low < one.effect < one.high
        assert (two.effect, two.low, two.high) == pytest.approx((2 * one.effect, 2 * one.low, 2 * one.high), rel=1e-6)
    assert "to +$" in once.sentence
    assert once.to_dict()["low"] == once.low


def test_a_source_that_cannot_return_sums_by_user_gives_the_account_without_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(7)
    source = kpi.from_frame(pd.concat([frame(BEFORE, 20, models=ONE, rng=rng), frame(NOW, 30, models=ONE, rng=rng)]))
    whole = kpi.cost_waterfall(source, kpi.Slice(last="7d"))
    run = DuckSource.run

    def refuse(self: DuckSource, statement: Any) -> Any:
        if "user" in {c.name for c in statement.selected_columns}:
            raise StoreError("store.too_many_rows", "too many", hint="fewer")
        return run(self, statement)

    monkeypatch.setattr(DuckSource, "run", refuse)
    found = kpi.cost_waterfall(source, kpi.Slice(last="7d"))
    assert found.steps["effect"].to_list() == pytest.approx(whole.steps["effect"].to_list())
    assert found.steps["low"].isna().all()
    assert math.isnan(found.low)


def test_no_costs_at_all_says_what_to_do() -> None:
    rows = frame(range(14), 5, models=ONE, rng=np.random.default_rng(0))
    source = kpi.from_frame(rows.drop(columns=[c for c in rows if c.endswith("_nusd")]))
    with pytest.raises(MetricError, match="kpi prices"):
        kpi.cost_waterfall(source, kpi.Slice(last="7d"))


@pytest.mark.parametrize("q", [None, 0.95])
def test_stages_sum_to_the_change_of_the_mean_or_of_the_tail(sample: DuckSource, q: float | None) -> None:
    found = kpi.latency_stages(sample, kpi.Slice(last="28d"), q=q)
    assert found.parts["change"].sum() == pytest.approx(found.change.value, abs=1e-9)
    assert found.parts["now"].sum() == pytest.approx(found.now, abs=1e-9)
    assert found.change.value == pytest.approx(found.now - found.before, abs=1e-9)
    assert found.change.low < found.change.value < found.change.high


def test_the_tail_is_that_of_the_rows(sample: DuckSource, world_tables: dict) -> None:
    rows = world_tables["requests"].to_pandas()
    end = rows["started_at"].max().normalize() + pd.Timedelta(days=1)
    rows = rows[rows["started_at"] >= end - pd.Timedelta(days=28)]
    found = kpi.latency_stages(sample, kpi.Slice(last="28d"), q=0.95)
    exact = rows["total_us"].quantile(0.95) / 1e3
    assert found.quantile_now == pytest.approx(exact, rel=0.006)
    tail = rows[rows["total_us"] >= int(found.quantile_now * 1e3)]
    assert found.n_now == len(tail)
    assert found.now == pytest.approx(tail["total_us"].mean() / 1e3)
    model = found.parts.set_index("stage").loc["model", "now"]
    assert model == pytest.approx(tail["model_us"].sum() / len(tail) / 1e3)


def test_a_quantile_outside_is_refused(sample: DuckSource) -> None:
    with pytest.raises(MetricError, match=r"0\.95"):
        kpi.latency_stages(sample, q=95)
