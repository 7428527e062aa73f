"""Worlds in which data is unfriendly, with the values that their laws truly have.

Few users carry most rows, or the failures; days differ; costs are dear and rare; latencies are rounded; ids and labels
are missing; bots, batches, tenants that leave. A world draws many replications into one frame, told apart by `release`:
each has users of its own and days of its own kind. The truth is the value of the law by requests (the expected sum over
the expected number of requests), in closed form or by quadrature; a test holds it against a large draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from scipy import optimize, special

Array = np.ndarray
END = date(2026, 11, 20)  # the last day of every world
REP = "release"  # the dimension whose values are the replications
_DAY = 86_400_000_000  # in microseconds
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(120)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


# --- how many requests a user sends ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """Requests of a user: `least` or more, with these chances."""

    least: int
    chance: Array

    @property
    def values(self) -> Array:
        return self.least + np.arange(len(self.chance))

    @property
    def mean(self) -> float:
        return float(self.values @ self.chance)

    def draw(self, rng: np.random.Generator, count: int) -> Array:
        upto = np.cumsum(self.chance)
        found: Array = self.least + np.searchsorted(upto / upto[-1], rng.random(count), side="right")
        return found


@cache
def geometric(mean: float = 20.0) -> Sizes:
    values = np.arange(1, int(mean * 40))
    chance = (1 / mean) * (1 - 1 / mean) ** (values - 1)
    return Sizes(1, chance / chance.sum())


@cache
def pareto(tail: float = 1.3, *, least: int = 3, cap: int = 5000) -> Sizes:
    """Whole numbers with P(size >= s) = (least / s) ** tail, all beyond the cap at the cap."""
    reached = (least / np.arange(least, cap + 1)) ** tail
    return Sizes(least, reached - np.r_[reached[1:], 0.0])


# --- the laws of columns ---------------------------------------------------------------------------------------------


def share(logit: float, sd: float) -> float:
    """Mean of the logistic function of a normal variable."""
    return float(special.expit(logit + sd * _NODES) @ _WEIGHTS)


@dataclass(frozen=True)
class Rate:
    """An outcome, with a user effect on the logit. base: its share among users of the least size without anything else.

    slope: logits for each unit of the logarithm of a user's size.
    """

    base: float
    sd: float = 1.0
    slope: float = 0.0

    @property
    def logit(self) -> float:
        return float(optimize.brentq(lambda a: share(a, self.sd) - self.base, -30, 30))


@dataclass(frozen=True)
class Few:
    """An outcome that `share` of the users have, in this `rate` of their requests. turned: it is False then."""

    share: float
    rate: float
    turned: bool = False


@dataclass(frozen=True)
class Cost:
    """Log-normal costs. sigma: of the logarithm, in all; user: of it between users; mean: in USD, before the zeros."""

    sigma: float
    zero: float = 0.0
    user: float = 0.6
    mean: float = 0.01


@dataclass(frozen=True)
class Latency:
    """Two humps of log-normal milliseconds, and a user effect. tick: what clocks round to, in milliseconds."""

    medians: tuple[float, float] = (700.0, 3000.0)
    sds: tuple[float, float] = (0.35, 0.45)
    slow: float = 0.35
    user: float = 0.3
    tick: float = 0.0

    def quantile(self, q: float) -> float:
        """In milliseconds."""

        def below(x: float) -> float:
            z = [(x - np.log(m)) / np.hypot(s, self.user) for m, s in zip(self.medians, self.sds, strict=True)]
            return float((1 - self.slow) * special.ndtr(z[0]) + self.slow * special.ndtr(z[1]) - q)

        found = float(np.exp(optimize.brentq(below, 0, 20)))
        return float(np.rint(found / self.tick) * self.tick) if self.tick else found


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass
class Rows:
    """Requests of all replications while they are drawn; arrays by user or by row. person: who a row belongs to."""

    rng: np.random.Generator
    users: int
    reps: int
    days: int
    size: Array
    person: Array
    day: Array
    time: Array  # microseconds within the day; may run over into the next
    key: Array  # the id that is recorded for a row
    known: Array  # whether an id is recorded
    alike: Array  # by user: whether all requests are the same one
    columns: dict[str, Any] = field(default_factory=dict)

    @property
    def rep(self) -> Array:
        found: Array = self.person // self.users
        return found

    def each(self, chance: float) -> Array:
        """By user: whether one of a kind."""
        return self.rng.random(self.users * self.reps) < chance

    def effect(self, sd: float) -> Array:
        """A normal effect of each user, by row."""
        found: Array = self.rng.normal(0, sd, self.users * self.reps)[self.person]
        return found

    def of_days(self, sd: float, day: Array | None = None, more: Array | int = 0, kinds: int = 1) -> Array:
        """A normal effect of each day in each replication (and kind), by row."""
        table = self.rng.normal(0, sd, (self.reps, self.days + 2, kinds))
        found: Array = table[self.rep, self.day if day is None else day, more]
        return found

    def noise(self, draw: Callable[[int], Array]) -> Array:
        """Chance of each request; all requests of a user who always sends the same have one."""
        found = draw(len(self.person))
        if self.alike.any():
            found = np.where(self.alike[self.person], draw(self.users * self.reps)[self.person], found)
        return found

    def keep(self, rows: Array) -> None:
        for name in ("person", "day", "time", "key", "known"):
            setattr(self, name, getattr(self, name)[rows])
        self.columns = {k: v[rows] for k, v in self.columns.items()}


Twist = Callable[[Rows], Array | float]  # changes the rows, and says what is added to every logit


@dataclass(frozen=True, kw_only=True)
class World:
    """A law. outcomes: boolean columns. parts: (weight, logit, sd) of the kinds of requests that `twist` makes.

    days: what a window has; shares: weights of the days, where they differ. ids: recorded for all rows, half of them or
    none. shock: sd of a day's effect on every logit. labels: shares of successes and of failures that are labelled.
    """

    name: str
    sizes: Sizes = field(default_factory=geometric)
    outcomes: Mapping[str, Rate | Few] = field(default_factory=lambda: {"success": Rate(0.82)})
    cost: Cost | None = None
    latency: Latency | None = None
    incidents: Few | None = None
    days: int = 28
    shares: tuple[float, ...] = ()
    ids: str = "all"
    shock: float = 0.0
    labels: tuple[float, float] | None = None
    twist: Twist | None = None
    parts: tuple[tuple[float, float, float], ...] = ((1.0, 0.0, 0.0),)

    def truth(self, metric: str) -> float:
        """The true value of a metric, in its unit."""
        if metric.startswith("latency_p"):
            assert self.latency is not None
            return self.latency.quantile(float(metric.removeprefix("latency_p")) / 100)
        if metric == "incident_rate":
            assert self.incidents is not None
            return 1000 * self.incidents.share * self.incidents.rate
        if metric == "cost_per_query":
            assert self.cost is not None
            return self.cost.mean * (1 - self.cost.zero)
        if metric == "cost_per_resolved":
            return self.truth("cost_per_query") / self._share(self.outcomes["resolved"])
        return self._share(self.outcomes[COLUMNS[metric]])

    def _share(self, law: Rate | Few) -> float:
        if isinstance(law, Few):
            return 1 - law.share * law.rate if law.turned else law.share * law.rate
        total = sum(w for w, _, _ in self.parts)
        return sum(w * self._part(law, shift, sd) for w, shift, sd in self.parts) / total

    def _part(self, law: Rate, shift: float, sd: float) -> float:
        spread = float(np.sqrt(law.sd**2 + self.shock**2 + sd**2))
        if not law.slope:
            return share(law.logit + shift, spread)
        sizes, weight = self.sizes.values, self.sizes.values * self.sizes.chance
        logits = law.logit + shift + law.slope * np.log(sizes / self.sizes.least)
        found = special.expit(logits[:, None] + spread * _NODES[None, :]) @ _WEIGHTS
        return float(found @ weight / weight.sum())

    def rows(self, seed: int, users: int, *, reps: int = 1, days: int | None = None) -> Rows:
        """The requests of `reps` replications of `users` users each."""
        rng = np.random.default_rng([seed, users, 20261130])
        days, total = days or self.days, users * reps
        size = self.sizes.draw(rng, total)
        person = np.repeat(np.arange(total), size)
        n = len(person)
        if self.shares:
            upto = np.cumsum(np.resize(self.shares, days))
            day = np.searchsorted(upto / upto[-1], rng.random(n), side="right")
        else:
            day = rng.integers(0, days, n)
        known = np.ones(n, dtype=bool) if self.ids == "all" else rng.random(n) < (0.5 if self.ids == "half" else 0.0)
        made = Rows(rng, users, reps, days, size, person, day, rng.integers(0, _DAY, n), person, known,
                    np.zeros(total, dtype=bool))  # fmt: skip
        added = self.twist(made) if self.twist else 0.0
        self._fill(made, added)
        return made

    def _fill(self, made: Rows, added: Array | float) -> None:
        rng, columns = made.rng, made.columns
        if self.shock:
            added = added + made.of_days(self.shock)
        for name, law in self.outcomes.items():
            columns[name] = self._outcome(made, law, added)
        if self.labels is not None:
            chance = np.where(columns["success"], *self.labels)
            columns["success"] = pa.array(columns["success"], mask=rng.random(len(chance)) >= chance)
        if self.cost is not None:
            within = float(np.sqrt(self.cost.sigma**2 - self.cost.user**2))
            middle = np.log(self.cost.mean * 1e9) - self.cost.sigma**2 / 2
            value = np.exp(made.noise(lambda k: rng.normal(middle, within, k)) + made.effect(self.cost.user))
            free = made.noise(lambda k: rng.random(k)) < self.cost.zero
            columns["total_nusd"] = np.where(free, 0, np.rint(value)).astype(np.int64)
        if self.latency is not None:
            columns["total_us"] = self._latency(made, self.latency)
        if self.incidents is not None:
            columns["incident_count"] = self._outcome(made, self.incidents, 0.0).astype(np.int64)
        if "late" in columns:  # labels that have not come yet
            columns["success"] = pa.array(columns["success"], mask=columns.pop("late"))

    def _outcome(self, made: Rows, law: Rate | Few, added: Array | float) -> Array:
        if isinstance(law, Few):
            hit = made.each(law.share)[made.person]
            hit[hit] = made.rng.random(int(hit.sum())) < law.rate
            return ~hit if law.turned else hit
        logit = law.logit + made.effect(law.sd) + added
        if law.slope:
            logit = logit + (law.slope * np.log(made.size / self.sizes.least))[made.person]
        found: Array = made.noise(lambda k: made.rng.random(k)) < special.expit(logit)
        return found

    def _latency(self, made: Rows, law: Latency) -> Array:
        slow = made.noise(lambda k: made.rng.random(k)) < law.slow
        middle, within = (np.where(slow, v[1], v[0]) for v in (np.log(law.medians), law.sds))
        value = np.exp(middle + within * made.noise(lambda k: made.rng.normal(0, 1, k)) + made.effect(law.user)) * 1e3
        step = law.tick * 1e3 if law.tick else 1.0
        found: Array = (np.rint(value / step) * step).astype(np.int64)
        return found

    def frame(self, seed: int, users: int, *, reps: int = 1, days: int | None = None) -> pa.Table:
        """The rows as `kpi.from_frame` takes them; the last day is END."""
        return table(self.rows(seed, users, reps=reps, days=days))


@contextmanager
def at_the_end() -> Iterator[None]:
    """The clock stands where these worlds end, ten minutes into the next day."""
    now = datetime.combine(END, datetime.min.time(), UTC) + timedelta(days=1, minutes=10)
    with patch("kpi.clock.now_us", lambda: int(now.timestamp() * 1e6)):
        yield


COLUMNS = {"task_success": "success", "groundedness": "grounded", "correctness": "correct", "resolution": "resolved",
           "escalation_rate": "escalated"}  # fmt: skip


def table(made: Rows, **more: Any) -> pa.Table:
    """The rows as a canonical table."""
    n = len(made.person)
    first = np.datetime64(END - timedelta(days=made.days - 1), "us")
    started = first + (made.day * _DAY + made.time).astype("timedelta64[us]")
    columns = {
        "trace_id": pa.array(np.arange(n)).cast(pa.string()),
        "started_at": pa.array(started).cast(pa.timestamp("us", tz="UTC")),
        REP: pa.array(made.rep).cast(pa.string()),
        **{k: v if isinstance(v, pa.Array) else pa.array(v) for k, v in {**made.columns, **more}.items()},
    }
    if made.known.any():
        columns["user_key"] = pa.array(made.key, mask=~made.known).cast(pa.string())
    return pa.table(columns)


# --- worlds of our own -----------------------------------------------------------------------------------------------


def _weekdays(made: Rows) -> Array:
    """Every user does better on some weekdays and worse on others, each on others."""
    table_ = made.rng.normal(0, 0.8, (made.users * made.reps, 7))
    found: Array = table_[made.person, made.day % 7]
    return found


def _bots(made: Rows) -> float:
    """One user in fifty is a program that sends the same request 500 to 2,000 times, and gets the same answer."""
    made.alike = made.each(0.02)
    made.size = np.where(made.alike, made.rng.integers(500, 2001, len(made.size)), made.size)
    made.person = np.repeat(np.arange(len(made.size)), made.size)
    n = len(made.person)
    made.key, made.known = made.person, np.ones(n, dtype=bool)
    made.day, made.time = made.rng.integers(0, made.days, n), made.rng.integers(0, _DAY, n)
    return 0.0


def _tenant_leaves(made: Rows) -> Array:
    """A tenant of 30 % of the users, whose requests go worse, leaves half-way."""
    leaving = made.each(0.3)[made.person]
    stays = ~leaving | (made.day < made.days // 2)
    made.keep(stays)
    made.columns["tenant"] = pa.array(np.where(leaving[stays], "leaving", "staying"))
    return np.where(leaving[stays], -1.0, 0.0)


def _zones(made: Rows) -> Array:
    """Users work by day in Tokyo or in Los Angeles, whose days differ, each by a shock of its own."""
    far = made.each(0.5)[made.person]
    local = made.rng.integers(9 * 3600, 18 * 3600, len(made.person)) * 1_000_000
    made.time = local + np.where(far, -9, 8) * 3_600_000_000
    made.columns["region"] = pa.array(np.where(far, "ap", "us"))
    return np.where(far, 0.25, -0.25) + made.of_days(0.3, more=far.astype(int), kinds=2)


def _several_ids(made: Rows) -> float:
    """Three people in ten have two ids, and use them by turns."""
    twice = made.each(0.3)[made.person]
    made.key = 2 * made.person + (twice & (made.rng.random(len(made.person)) < 0.5))
    return 0.0


def _late_labels(made: Rows) -> float:
    """A label comes four days after its request, on average, whatever it says."""
    age = made.days - made.day - made.time / _DAY
    made.columns["late"] = made.rng.exponential(4.0, len(age)) > age
    return 0.0


def _new_judge(made: Rows) -> Array:
    """From the middle on a stricter judge."""
    return np.where(made.day < made.days // 2, 0.0, -0.8)


_DEAR = Cost(1.75, zero=0.4)
_MANY = {"success": Rate(0.82), "grounded": Rate(0.995), "correct": Rate(0.02), "resolved": Rate(0.82)}
_LIKE = {"cost": Cost(0.9), "latency": Latency()}
_HEAVY = {"success": Rate(0.82, slope=-0.4), "grounded": Rate(0.995, slope=-0.4)}

REVIEWED = {
    w.name: w
    for w in (
        World(name="friendly", outcomes=_MANY, **_LIKE),
        World(name="Pareto", sizes=pareto(), outcomes=_MANY, cost=_DEAR, latency=Latency()),
        World(name="Pareto 1.2", sizes=pareto(1.2)),
        World(name="2 % of users fail", outcomes={"success": Few(0.02, 0.5, turned=True)}),
        World(name="Pareto, 2 % fail", sizes=pareto(), outcomes={"success": Few(0.02, 0.5, turned=True)}),
        World(name="5 % fail 1 in 5", outcomes={"success": Few(0.05, 0.2, turned=True)}),
        World(name="heavy users fail", sizes=pareto(), outcomes=_HEAVY),
        World(name="heavy users fail, cap 500", sizes=pareto(1.5, cap=500),
              outcomes={"success": Rate(0.82, slope=-0.3)}),
        World(name="dear", outcomes={"resolved": Rate(0.82)}, cost=_DEAR),
        World(name="very dear, Pareto", sizes=pareto(), outcomes={"resolved": Rate(0.05)}, cost=Cost(2.0)),
        World(name="ticks of 100 ms", outcomes={}, latency=Latency(medians=(655.0, 3000.0), tick=100)),
        World(name="ticks of 1 s", outcomes={}, latency=Latency(tick=1000)),
        World(name="7 days with shocks", shock=0.3, days=7),
        World(name="28 days with shocks", shock=0.3),
        World(name="7 days", days=7),
        World(name="no user id", ids="none", **_LIKE),
        World(name="id on half", ids="half", **_LIKE),
        World(name="1 % bring incidents", incidents=Few(0.01, 0.2)),
        World(name="lost labels", outcomes={"success": Rate(0.814)}, labels=(0.1, 0.5)),
    )
}  # fmt: skip
OWN = {
    w.name: w
    for w in (
        World(name="weekday by user", shares=(1, 1, 1, 1, 1, 0.4, 0.3), twist=_weekdays, parts=((1, 0, 0.8),), **_LIKE),
        World(name="bots", twist=_bots, **_LIKE),
        World(name="a tenant leaves", twist=_tenant_leaves, parts=((0.15, -1, 0), (0.7, 0, 0)), **_LIKE),
        World(name="batch day", shares=(*[0.4 / 27] * 11, 0.6, *[0.4 / 27] * 16), **_LIKE),
        World(name="batch day, shocks", shares=(*[0.4 / 27] * 11, 0.6, *[0.4 / 27] * 16), shock=0.3),
        World(name="two time zones", twist=_zones, parts=((0.5, -0.25, 0.3), (0.5, 0.25, 0.3)), **_LIKE),
        World(name="several ids", twist=_several_ids, **_LIKE),
        World(name="late labels", twist=_late_labels),
        World(name="a new judge", twist=_new_judge, parts=((0.5, 0, 0), (0.5, -0.8, 0))),
    )
}
WORLDS = {**REVIEWED, **OWN}
