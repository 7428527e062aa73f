"""Do the 95 % intervals hold where data is unfriendly? One table: measured shares beside what is asked of them.

python -m tests.bench.coverage [REPLICATIONS] [PART OF A NAME]

Every number comes from a public function, asked of one frame that holds many replications as values of a dimension.
± is one Monte Carlo standard error. "under": the interval lies wholly below the truth; "over": wholly above; "open": a
limit is unknown there, which counts as no miss. ok: the target is reached; near: missed by at most two of these errors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

import kpi
from tests.worlds.unfriendly import REP, WORLDS, World

REPS = 1000
SEED = 7_000
_ROWS = 2_000_000  # requests drawn at once
_SURE = 500  # replications from which a median width is known to two or three per cent
_OPEN = 0.05  # largest share of unknown limits of what is no quantile


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Coverage of some metrics of a world, and what is asked of it. high: the most that it may be; under: the most
    intervals that may lie below the truth; width: the most by which the median width may grow over that of FORMER.
    why: what no method can mend here.
    """

    world: str
    metrics: Sequence[str] = ("task_success",)
    users: Sequence[int] = (30, 60, 200, 1000)
    least: float = 0.93
    high: float = 1.0
    under: float = 1.0
    width: float = 0.0
    times: float = 1.0
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table. share: of the replications; least, most: what is asked of it; more: further figures."""

    what: str
    quantity: str
    size: str
    reps: int
    share: float
    least: float = 0.0
    most: float = 1.0
    more: str = ""
    missed: str = ""
    why: str = ""

    @property
    def error(self) -> float:
        p = min(max(self.share, 0.05), 0.95) if self.share in (0.0, 1.0) else self.share
        return float(np.sqrt(p * (1 - p) / max(self.reps, 1)))

    @property
    def verdict(self) -> str:
        if not self.target:
            return "(shown)"
        short = max(self.least - self.share, self.share - self.most)
        if short <= 1e-9:
            return f"SHORT ({self.missed})" if self.missed else "ok"
        return f"SHORT {100 * short:.1f}" if short > 2 * self.error or self.missed else f"near {100 * short:.1f}"

    @property
    def target(self) -> str:
        ends = [f">= {100 * self.least:g}"] if self.least > 0 else []
        return ", ".join([*ends, *([f"<= {100 * self.most:g}"] if self.most < 1 else [])])

    def line(self) -> str:
        told = f"{100 * self.share:6.1f} ± {100 * self.error:3.1f}"
        why = f"  [{self.why}]" if self.why else ""
        return (f"{self.what:28}{self.quantity:31}{self.size:>7}{self.reps:>7}{told:>14}  {self.more:46}"
                f"{self.target:16}{self.verdict}{why}")  # fmt: skip


HEAD = (f"{'world':28}{'quantity':31}{'users':>7}{'reps':>7}{'measured %':>14}  "
        f"{'under / over, open, median width':46}{'asked':16}verdict")  # fmt: skip

_COSTS = ("cost_per_query", "cost_per_resolved")
_TAIL = "the heaviest users are missing in most samples: no interval mends a tail that was not seen"
_FEW = "leverage, degrees of freedom and caution where few users decide"
ASKED = (
    # a friendly world: what is right today stays right, and as narrow
    Ask(world="friendly", metrics=("task_success", "resolution"), users=(200, 1000),
        least=0.935, high=0.968, width=1.05),
    Ask(world="friendly", metrics=("task_success", "resolution"), users=(30, 60), least=0.935, width=1.25, why=_FEW),
    Ask(world="friendly", metrics=("groundedness", "correctness")),
    Ask(world="friendly", metrics=_COSTS, users=(200, 1000), least=0.93, width=1.05),
    Ask(world="friendly", metrics=_COSTS, users=(30, 60), least=0.93, width=1.25, why=_FEW),
    Ask(world="friendly", metrics=("latency_p50", "latency_p95"), users=(60, 200, 1000), least=0.94, width=1.05),
    Ask(world="7 days", users=(200, 1000), least=0.94, high=0.965, width=1.03),
    # rare outcomes of few users
    Ask(world="2 % of users fail"),
    Ask(world="Pareto, 2 % fail"),
    Ask(world="5 % fail 1 in 5"),
    Ask(world="1 % bring incidents", metrics=("incident_rate",)),
    # skewed users
    Ask(world="Pareto", users=(30, 60), least=0.935, times=1.5),
    Ask(world="Pareto", users=(200, 1000), least=0.935, width=1.25, times=1.5),
    Ask(world="Pareto", metrics=("groundedness", "correctness")),
    Ask(world="Pareto 1.2", users=(30, 60, 200, 1000)),
    Ask(world="heavy users fail", metrics=("task_success", "groundedness"), least=0.0, why=_TAIL),
    Ask(world="heavy users fail, cap 500", users=(30, 60), least=0.90),
    Ask(world="heavy users fail, cap 500", users=(200, 1000), least=0.0, why=_TAIL),
    # dear requests
    Ask(world="Pareto", metrics=_COSTS, least=0.935, under=0.05),
    Ask(world="dear", metrics=_COSTS, least=0.935, under=0.05),
    Ask(world="very dear, Pareto", metrics=_COSTS, least=0.935, under=0.05),
    # latency
    Ask(world="Pareto", metrics=("latency_p50", "latency_p95", "latency_p99"), users=(30, 60, 1000), least=0.935),
    Ask(world="ticks of 100 ms", metrics=("latency_p50", "latency_p95"), users=(60, 200, 1000), least=0.95),
    Ask(world="ticks of 1 s", metrics=("latency_p50", "latency_p95"), users=(60, 200, 1000), least=0.95),
    # days
    Ask(world="7 days with shocks", users=(200, 1000), least=0.92),
    Ask(world="28 days with shocks", users=(200, 1000), least=0.93),
    # ids
    Ask(world="no user id", metrics=("task_success", "cost_per_query", "latency_p95"), users=(60, 200), least=0.0,
        why="without ids no interval can be right: it must be said"),
    Ask(world="id on half", metrics=("task_success", "cost_per_query", "latency_p95"), users=(60, 200), least=0.92),
    # our own
    Ask(world="weekday by user", metrics=("task_success", "cost_per_query"), users=(60, 200, 1000)),
    Ask(world="bots", metrics=("task_success", "cost_per_query", "latency_p50"), users=(60, 200, 1000), least=0.92,
        why="a few programs send most rows, each all right or all wrong"),
    Ask(world="a tenant leaves", metrics=("task_success", "cost_per_query"), users=(60, 200, 1000)),
    Ask(world="batch day", metrics=("task_success", "cost_per_query"), users=(60, 200, 1000)),
    Ask(world="batch day, shocks", users=(60, 200, 1000), least=0.0,
        why="one day has three fifths of all rows: its shock is seen once"),
    Ask(world="two time zones", metrics=("task_success", "cost_per_query"), users=(60, 200, 1000)),
    Ask(world="several ids", metrics=("task_success", "cost_per_query"), users=(60, 200, 1000), least=0.91,
        why="two ids of one person cannot be linked"),
    Ask(world="late labels", users=(60, 200, 1000)),
    Ask(world="a new judge", users=(60, 200, 1000)),
)  # fmt: skip
FORMER = {  # median widths before days and clumps counted, 1,000 replications of the same seeds
    ("friendly", "task_success"): {30: 0.14, 60: 0.09919, 200: 0.05614, 1000: 0.02563},
    ("friendly", "resolution"): {30: 0.1363, 60: 0.0996, 200: 0.05573, 1000: 0.02549},
    ("friendly", "cost_per_query"): {30: 0.006688, 60: 0.00476, 200: 0.002579, 1000: 0.001169},
    ("friendly", "cost_per_resolved"): {30: 0.008446, 60: 0.005983, 200: 0.00324, 1000: 0.00147},
    ("friendly", "latency_p50"): {60: 257.9, 200: 135.9, 1000: 58.19},
    ("friendly", "latency_p95"): {60: 1669, 200: 874.2, 1000: 377.2},
    ("Pareto", "task_success"): {30: 0.169, 60: 0.1241, 200: 0.08003, 1000: 0.05102},
    ("7 days", "task_success"): {200: 0.05614, 1000: 0.02563},
}  # fmt: skip


def batches(world: World, users: int, reps: int, seed: int = SEED) -> Iterator[tuple[int, object]]:
    """(replications, frame), as many at once as memory holds well."""
    at_once = max(1, int(_ROWS / (users * world.sizes.mean)))
    for i, first in enumerate(range(0, reps, at_once)):
        count = min(at_once, reps - first)
        yield count, world.frame(seed + i, users, reps=count)


def limits(world: World, metrics: Sequence[str], users: int, reps: int, *, seed: int = SEED) -> pd.DataFrame:
    """The frames of `kpi.summarise` by replication, one below the other."""
    parts = [kpi.summarise(kpi.from_frame(f), list(metrics), by=[REP]) for _, f in batches(world, users, reps, seed)]
    return pd.concat(parts, ignore_index=True)


def measured(ask: Ask, metric: str, users: int, found: pd.DataFrame, reps: int) -> Row:
    """The line of one metric of one size."""
    mine = found[found["metric"] == metric].head(reps)
    truth = WORLDS[ask.world].truth(metric)
    slack = 1e-9 * truth  # limits are rounded to nine digits
    under, over = mine["high"] < truth - slack, mine["low"] > truth + slack
    open_, width = mine[["low", "high"]].isna().any(axis=1).mean(), (mine["high"] - mine["low"]).median()
    told = [f"{100 * under.mean():4.1f} / {100 * over.mean():4.1f}, {100 * open_:4.1f}", f"{width:10.4g}"]
    missed = []
    former = FORMER.get((ask.world, metric), {}).get(users)
    if former:
        told.append(f"({width / former:.2f} x)")
        wide = ask.width and reps >= _SURE and width > ask.width * former
        missed += ["too wide"] if wide else []
    missed += ["under"] if under.mean() > ask.under + 2 * np.sqrt(ask.under / len(mine)) else []
    missed += ["open"] if "latency" not in metric and open_ > _OPEN else []
    return Row(what=ask.world, quantity=metric, size=f"{users:,}", reps=len(mine), share=float((~under & ~over).mean()),
               least=ask.least, most=ask.high, more=" ".join(told), missed=", ".join(missed), why=ask.why)  # fmt: skip


def numbers(reps: int, only: str = "") -> Iterator[Row]:
    """Coverage of single numbers; worlds and sizes are drawn once for all that is asked of them."""
    for name, world in WORLDS.items():
        asked = [a for a in ASKED if a.world == name and only in name]
        for users in sorted({u for a in asked for u in a.users}):
            mine = [a for a in asked if users in a.users]
            metrics = list(dict.fromkeys(m for a in mine for m in a.metrics))
            found = limits(world, metrics, users, round(reps * max(a.times for a in mine)))
            for a in mine:
                yield from (measured(a, m, users, found, round(reps * a.times)) for m in a.metrics)


def main(reps: int = REPS, only: str = "") -> None:
    """Print the table."""
    print(f"Intervals in unfriendly worlds, {reps:,} replications\n{HEAD}")
    for row in numbers(reps, only):
        print(row.line(), flush=True)
    print()


if __name__ == "__main__":
    main(*(kind(a) for kind, a in zip((int, str), sys.argv[1:], strict=False)))
