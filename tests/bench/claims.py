"""Do claims hold where data is unfriendly? Comparisons where nothing differs, green where nothing is green, the index,
drift, and what is said where a number cannot be trusted: further lines of the table of `tests.bench.coverage`.

python -m tests.bench.claims [REPLICATIONS]
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

import kpi
from kpi.govern.scorecard import judge_frame
from tests.bench.coverage import HEAD, Row
from tests.worlds.unfriendly import (
    REP,
    WORLDS,
    Cost,
    Few,
    Latency,
    Rate,
    Rows,
    Sizes,
    World,
    at_the_end,
    geometric,
    pareto,
    table,
)  # fmt: skip

REPS = 300
SEED = 8_000
_COSTS = ("cost_per_query", "cost_per_resolved")
Array = np.ndarray


# --- comparisons: nothing differs ------------------------------------------------------------------------------------


def arms(world: World, users: int, reps: int, *, shared: bool, seed: int = SEED) -> pa.Table:
    """Two arms of which none is better, `users` a side: the same users on both, or others."""
    made = world.rows(seed, users if shared else 2 * users, reps=reps)
    second = made.rng.random(len(made.person)) < 0.5 if shared else made.person % 2 == 1
    return table(made, experiment_arm=pa.array(np.where(second, "b", "a")))


def false_alarms(found: pd.DataFrame) -> pd.Series:
    """Share with p < .05, by metric; a p that is unknown is none."""
    return (found["p"] < 0.05).groupby(found["metric"]).mean()


def comparisons(reps: int) -> Iterator[Row]:
    laws = {
        "Pareto": replace(WORLDS["Pareto"], outcomes={"success": Rate(0.82), "resolved": Rate(0.82)}, latency=None),
        "2 % of users fail": WORLDS["2 % of users fail"],
        "bots": replace(WORLDS["bots"], cost=None, latency=None),
        "id on half": replace(WORLDS["id on half"], cost=None, latency=None),
        "two time zones": replace(WORLDS["two time zones"], cost=None, latency=None),
    }
    for name, world in laws.items():
        metrics = ["task_success", *(_COSTS if world.cost else ())]
        for users in (30, 60, 200):
            for shared in (False, True):
                source = kpi.from_frame(arms(world, users, reps, shared=shared))
                found = kpi.compare_within(source, "a", "b", metrics, within=REP, by="experiment_arm").frame()
                yield from _alarms(f"A/A, {name}", found, users, "same users" if shared else "other users")


def _alarms(what: str, found: pd.DataFrame, users: int, who: str) -> Iterator[Row]:
    for metric, wrong in false_alarms(found).items():
        mine = found[found["metric"] == metric]
        width = (mine["high"] - mine["low"]).median()
        yield Row(what=what, quantity=f"{metric}, {who}", size=f"{users:,}", reps=len(mine),
                  share=float(wrong), most=0.06, more=f"median width {width:.4g}")  # fmt: skip


def windows(world: World, users: int, reps: int, *, seed: int = SEED) -> pd.DataFrame:
    """A window against the one before, the same users in both: `kpi.compare_within`, all replications at once."""
    source = kpi.from_frame(world.frame(seed, users, reps=reps, days=2 * world.days))
    with at_the_end():
        view = kpi.Slice(last=f"{world.days}d")
        return kpi.compare_within(source, metrics=["task_success"], slice=view, within=REP).frame()


def over_time(reps: int) -> Iterator[Row]:
    for shock in (0.0, 0.3):
        for days in (7, 28):
            for users in (200, 800):
                world = World(name="window", days=days, shock=shock)
                found = windows(world, users, reps)
                name = f"A/A, {days} days, {'day shocks' if shock else 'no shocks'}"
                yield from _alarms(name, found, users, "windows")


# --- states ----------------------------------------------------------------------------------------------------------


def states(world: World, metric: str, users: int, reps: int, *, seed: int = SEED) -> pd.Series:
    """The state of a KPI in each replication, as the scorecard judges it."""
    source = kpi.from_frame(world.frame(seed, users, reps=reps))
    return judge_frame(kpi.summarise(source, [metric], by=[REP]))["state"]


def at_off() -> Mapping[str, World]:
    """Each KPI truly at its off limit, beyond which nothing is green."""
    off = {e.metric: e.off for e in kpi.load_register().entries}
    slow = off["latency_p95"] / Latency().quantile(0.95)
    medians = (Latency().medians[0] * slow, Latency().medians[1] * slow)
    incidents = off["incident_rate"] / 1000
    return {
        "task_success": World(name="", sizes=pareto(), outcomes={"success": Rate(off["task_success"])}),
        "escalation_rate": World(name="", sizes=pareto(), outcomes={"escalated": Rate(off["escalation_rate"])}),
        "cost_per_query": World(name="", sizes=pareto(), outcomes={}, cost=Cost(1.75, mean=off["cost_per_query"])),
        "latency_p95": World(name="", sizes=pareto(), outcomes={}, latency=Latency(medians=medians)),
        "incident_rate": World(name="", outcomes={}, incidents=Few(0.02, incidents / 0.02)),
    }


def greens(reps: int) -> Iterator[Row]:
    sizes = (30, 60, 200, 1000)
    asked = [("off limit", metric, world, 0.025) for metric, world in at_off().items()]
    for truth, most in ((0.74, 0.025), (0.76, 0.025), (0.80, 1.0), (0.84, 1.0), (0.90, 1.0)):
        world = World(name="", sizes=pareto(), outcomes={"success": Rate(truth)})
        asked.append((f"{truth:.0%}", "task_success", world, most))
    for truth, metric, world, most in asked:
        for users in sizes:
            found = states(world, metric, users, reps)
            told = found.value_counts(normalize=True)
            more = ", ".join(f"{k} {100 * told.get(k, 0):.0f}" for k in ("watch", "off_target", "no_data"))
            yield Row(what=f"truth {truth}", quantity=f"green, {metric}", size=f"{users:,}", reps=len(found),
                      share=float((found == "on_target").mean()), most=most, more=more)  # fmt: skip


# --- the index -------------------------------------------------------------------------------------------------------

INDEXED = World(
    name="index", days=28,
    outcomes={"success": Rate(0.785), "resolved": Rate(0.785), "escalated": Rate(0.08)},
    cost=Cost(0.9, mean=0.006), latency=Latency(), incidents=Few(0.05, 0.02),
)  # fmt: skip
WORSE = replace(
    INDEXED, name="index, three KPIs between", cost=Cost(0.9, mean=0.0125),
    outcomes={"success": Rate(0.785), "resolved": Rate(0.785), "escalated": Rate(0.15)},
)  # fmt: skip
_OF_USER = {"device": ("desktop", "mobile"), "plan": ("free", "pro", "team")}  # the fairness gap rests on these alone
_OF_REQUEST = {"intent": ("billing", "returns", "shipping"), "channel": ("app", "web")}  # and drift on these


def cohorts(made: Rows) -> dict[str, pa.Array]:
    """Values of users and of requests that say nothing about anything."""
    rng, people = made.rng, made.users * made.reps
    of_user = {k: np.array(v)[rng.integers(0, len(v), people)][made.person] for k, v in _OF_USER.items()}
    of_row = {k: np.array(v)[rng.integers(0, len(v), len(made.person))] for k, v in _OF_REQUEST.items()}
    return {k: pa.array(v) for k, v in {**of_user, **of_row}.items()}


def kept(world: World) -> float:
    """The true index of a world: every promise at its true value; no drift, and no gap."""
    total = found = 0.0
    for e in kpi.load_register().entries:
        truth = 0.0 if e.metric in ("drift_score", "fairness_gap") else world.truth(e.metric)
        total += e.weight
        found += e.weight * float(np.clip((truth - e.off) / (e.target - e.off), 0, 1))
    return 100 * found / total


def scored(world: World, users: int, seed: int) -> kpi.Scorecard:
    """The scorecard of two windows of one replication."""
    made = world.rows(seed, users, days=2 * world.days)
    source = kpi.from_frame(table(made, **cohorts(made)).drop_columns([REP]))
    with at_the_end():
        return kpi.scorecard(source, kpi.Slice(last=f"{world.days}d"))


def index(most: int) -> Iterator[Row]:
    for world, reps in ((INDEXED, most), (WORSE, math.ceil(most / 3))):
        truth = kept(world)
        for users in (60, 200, 1000):
            scores = [scored(world, users, SEED + i) for i in range(reps)]
            found = [s.index for s in scores]
            value, low, high = (np.array([getattr(i, k) for i in found]) for k in ("value", "low", "high"))
            under, over = high < truth - 1e-6, low > truth + 1e-6
            more = (f"{100 * under.mean():4.1f} / {100 * over.mean():4.1f}, {100 * np.isnan(low).mean():4.1f}, "
                    f"{np.nanmedian(high - low):.3g}; mean {np.nanmean(value):.1f} of {truth:.1f}")  # fmt: skip
            yield Row(what=world.name, quantity="index", size=f"{users:,}", reps=reps,
                      share=float((~under & ~over).mean()), least=0.93, more=more)  # fmt: skip
            clear = [c.change.clear for s in scores for c in s.cards if c.change]
            yield Row(what=world.name, quantity="a card's change is clear", size=f"{users:,}", reps=len(clear),
                      share=float(np.mean(clear)), most=0.06)  # fmt: skip


LOST = {  # what is no longer recorded -> its columns
    "task_success": ["success"], "cost_per_resolved": ["resolved"], "cost_per_query": ["total_nusd"],
    "latency_p95": ["total_us"], "incident_rate": ["incident_count"], "escalation_rate": ["escalated"],
    "drift_score": list(_OF_REQUEST), "fairness_gap": list(_OF_USER),
}  # fmt: skip


def silenced(world: World, users: int, seed: int) -> dict[str, tuple[float, float]]:
    """What the index and its lower limit rise by when a KPI is no longer recorded; no number is no rise."""
    made = world.rows(seed, users, days=2 * world.days)
    whole = table(made, **cohorts(made)).drop_columns([REP])
    found = {}
    with at_the_end():
        view = kpi.Slice(last=f"{world.days}d")
        full = kpi.scorecard(kpi.from_frame(whole), view).index
        for kpi_name, columns in LOST.items():
            less = kpi.scorecard(kpi.from_frame(whole.drop_columns(columns)), view).index
            rises = (less.value - full.value, less.low - full.low)
            found[kpi_name] = (float(np.nan_to_num(rises[0])), float(np.nan_to_num(rises[1])))
    return found


def silence(reps: int) -> Iterator[Row]:
    world = replace(INDEXED, outcomes={**INDEXED.outcomes, "success": Rate(0.74), "resolved": Rate(0.74)})
    found = [silenced(world, 200, SEED + i) for i in range(reps)]
    for name in LOST:
        rises = np.array([f[name] for f in found])
        yield Row(what="index, success 74 %", quantity=f"rises without {name}", size="200", reps=reps,
                  share=float((rises[:, 1] > 1e-6).mean()), most=0.0,
                  more=f"lower limit {np.median(rises[:, 1]):+.1f}, value {np.median(rises[:, 0]):+.1f}")  # fmt: skip


# --- drift -----------------------------------------------------------------------------------------------------------

_KINDS = {"language": ("de", "en", "es", "fr"), "region": ("eu", "us")}  # of users


def two_windows(
    sizes: Sizes, users: int, seed: int, *, shared: bool, move: Mapping[str, float] | None = None
) -> kpi.Source:
    """Two windows of 28 days with `users` users in each, the same or others.

    move: column -> share of all that goes from its first value to its second in the later window.
    """
    made = World(name="drift", sizes=sizes, outcomes={}, days=56).rows(seed, users if shared else 2 * users)
    rng, now = made.rng, made.day >= 28
    if not shared:
        now = made.person >= users
        made.day = made.day % 28 + 28 * now
    columns = {}
    for name, values in {**_KINDS, **_OF_REQUEST}.items():
        first = 0.4  # share of the first value
        chance = np.array([first, *[(1 - first) / (len(values) - 1)] * (len(values) - 1)])
        later = (move or {}).get(name, 0.0) / first
        count = made.users if name in _KINDS else len(made.person)
        kind = rng.choice(len(values), count, p=chance)
        moved = np.where((kind == 0) & (rng.random(count) < later), 1, kind)
        kind, moved = (k[made.person] if name in _KINDS else k for k in (kind, moved))
        columns[name] = pa.array(np.array(values)[np.where(now, moved, kind)])
    return kpi.from_frame(table(made, **columns).drop_columns([REP]))


def drift(reps: int) -> Iterator[Row]:
    view = kpi.Slice(last="28d")
    register = kpi.load_register()
    alone = replace(register, entries=(register["drift_score"],))
    laws = {"geometric": geometric(), "Pareto": pareto(), "returning": geometric(40)}
    for name, sizes in laws.items():
        for users in (60, 400):
            cards: list[str] = []
            clear: list[bool] = []
            for i in range(reps):
                source = two_windows(sizes, users, SEED + i, shared=name == "returning")
                with at_the_end():
                    cards.append(kpi.scorecard(source, view, register=alone).cards[0].state)
                    clear.append(kpi.drift(source, "language", view).distance.clear)
            counts = pd.Series(cards).value_counts(normalize=True)
            more = ", ".join(f"{k} {100 * counts.get(k, 0):.1f}" for k in ("watch", "off_target", "no_data"))
            loud = float(pd.Series(cards).isin(["watch", "off_target"]).mean())
            yield Row(what=f"drift A/A, {name}", quantity="card Watch or worse", size=f"{users:,}", reps=reps,
                      share=loud, most=0.05, more=more)  # fmt: skip
            yield Row(what=f"drift A/A, {name}", quantity="language clear", size=f"{users:,}", reps=reps,
                      share=float(np.mean(clear)), most=0.035)  # fmt: skip
    for column, users, sizes, shared, least in (
        ("intent", 60, geometric(), False, 0.85),
        ("language", 400, geometric(40), True, 0.90),
        ("language", 400, geometric(), False, 0.0),
    ):
        found = []
        for i in range(reps):
            source = two_windows(sizes, users, SEED + i, shared=shared, move={column: 0.1})
            with at_the_end():
                found.append(kpi.drift(source, column, view).distance.clear)
        yield Row(what="drift, 10 pp move", quantity=f"{column} clear, {'same' if shared else 'other'} users",
                  size=f"{users:,}", reps=reps, share=float(np.mean(found)), least=least)  # fmt: skip


# --- what is said ----------------------------------------------------------------------------------------------------


def said(world: World, users: int, seed: int) -> dict[str, str]:
    """Everything that is told of the success of a world: the frame of a number, the card, and a comparison."""
    source = kpi.from_frame(arms(world, users, 1, shared=True, seed=seed).drop_columns([REP]))
    with at_the_end():
        number = kpi.summarise(source, ["task_success"])
        scores = kpi.scorecard(source, kpi.Slice(last=f"{world.days}d", baseline="none"))
        card = next(c for c in scores.cards if c.metric == "task_success")
        compared = kpi.compare(source, "a", "b", ["task_success"], by="experiment_arm", adjust=())
    row = compared.rows[0]
    return {
        "frame": number.to_json(date_format="iso"),
        "card": json.dumps(scores.to_dict()["kpis"][0]),
        "words": f"{card.reason} {card.known} {card.caution}",
        "comparison": f"{json.dumps(compared.to_dict(), default=str)} {row.sentence} {compared.sentence}",
    }


_FEW_DECIDE = ("mostly one", "effective", "few users", "few customers")
SAID = (  # world, users, words of which one must be found, in what, and what it is; the name of the field comes with it
    ("no user id", 60, ("request",), ("frame", "card", "comparison"), "clustered_by"),
    ("id on half", 60, ("mixed",), ("frame", "card", "comparison"), "clustered_by"),
    ("heavy users fail", 60, _FEW_DECIDE, ("words",), "few users decide"),
    ("bots", 200, _FEW_DECIDE, ("words",), "few users decide"),
    ("lost labels", 200, ("labelled", "labels", "known for"), ("words",), "share of labels"),
    ("lost labels", 200, ("between", "bound", "worst", "could be"), ("words",), "worst case of labels"),
)


def weighed(world: World, users: int, seed: int) -> float:
    """Effective users, by hand: the square of the sum of their requests over the sum of the squares."""
    size = np.bincount(world.rows(seed, users).person).astype(float)
    return float(size.sum() ** 2 / (size**2).sum())


def honesty(reps: int) -> Iterator[Row]:
    for name, users, words, places, what in SAID:
        few = words is _FEW_DECIDE
        seeds = [s for s in range(SEED, SEED + reps) if not few or weighed(WORLDS[name], users, s) < 20]
        told = [said(WORLDS[name], users, s) for s in seeds]
        for place in places:
            hits = [any(w in t[place].lower() for w in words) and (what in t[place] or "_" not in what) for t in told]
            yield Row(what=name, quantity=f"said, {place}: {what}", size=f"{users:,}", reps=len(hits),
                      share=float(np.mean(hits)) if hits else math.nan, least=1.0)  # fmt: skip


PARTS = {"comparisons": comparisons, "windows": over_time, "states": greens, "index": index, "silence": silence,
         "drift": drift, "said": honesty}  # fmt: skip
_FEW = {"silence": 10, "said": 20}  # at most so many: what is told hardly depends on the draw


def main(reps: int = REPS, only: str = "") -> None:
    """Print the lines."""
    print(f"Claims in unfriendly worlds, {reps:,} replications\n{HEAD}")
    for name, part in PARTS.items():
        if only in name:
            for row in part(min(reps, _FEW.get(name, reps))):
                print(row.line(), flush=True)
    print()


if __name__ == "__main__":
    main(*(kind(a) for kind, a in zip((int, str), sys.argv[1:], strict=False)))
