"""The people of the planted world: who they are, how often they come back, and when they write.

Users return, so requests of one user are alike: every user carries effects on success, cost and latency.
Nothing here knows about spans or stories.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DAY_US = 86_400_000_000
REQUESTS_PER_USER = 20

LANGUAGES = {"en": 0.40, "es": 0.21, "de": 0.17, "fr": 0.12, "ja": 0.10}
PLANS = {"free": 0.50, "pro": 0.36, "enterprise": 0.14}
DEVICES = {"mobile": 0.52, "desktop": 0.39, "tablet": 0.09}
CHANNELS = {"web": 0.42, "mobile_app": 0.30, "email": 0.18, "api": 0.10}
RINGS = {"canary": 0.06, "early": 0.16, "broad": 0.78}
ARMS = {"control": 0.5, "treatment": 0.5}
TENANTS = {"northwind": 0.55, "contoso": 0.30, "fabrikam": 0.15}
REGIONS = ("us", "eu", "latam", "ap")
REGION_OF = {  # rows: language, columns: REGIONS
    "en": (0.62, 0.16, 0.02, 0.20),
    "es": (0.18, 0.36, 0.44, 0.02),
    "de": (0.02, 0.95, 0.01, 0.02),
    "fr": (0.10, 0.84, 0.02, 0.04),
    "ja": (0.04, 0.01, 0.00, 0.95),
}
UTC_OFFSET = {"us": -6, "eu": 1, "latam": -4, "ap": 9}
WEEKDAY_WEIGHT = np.array([1.15, 1.12, 1.08, 1.05, 1.00, 0.72, 0.66])
HOUR_WEIGHT = np.array(
    [2, 1, 1, 1, 1, 2, 4, 7, 11, 14, 15, 14, 12, 13, 14, 13, 12, 11, 11, 12, 12, 10, 7, 4], dtype=float
)  # fmt: skip


@dataclass(frozen=True)
class People:
    """Users as arrays of equal length; effects are standard normal draws, scaled where they are used."""

    key: np.ndarray
    language: np.ndarray
    region: np.ndarray
    plan: np.ndarray
    device: np.ndarray
    channel: np.ndarray
    tenant: np.ndarray
    ring: np.ndarray
    arm: np.ndarray
    quality: np.ndarray
    spending: np.ndarray
    patience: np.ndarray

    def __len__(self) -> int:
        return len(self.key)


@dataclass(frozen=True)
class Visits:
    """Requests in order of time: whose they are, which session, which turn, when (us since epoch, UTC)."""

    user: np.ndarray
    session: np.ndarray
    turn: np.ndarray
    at: np.ndarray
    day: np.ndarray  # 0-based day of the world


def choose(rng: np.random.Generator, shares: dict[str, float], size: int) -> np.ndarray:
    """Object array of `size` draws from the keys of `shares`."""
    weights = np.array(list(shares.values()))
    return np.array(list(shares), dtype=object)[rng.choice(len(shares), size=size, p=weights / weights.sum())]


def hex_ids(rng: np.random.Generator, count: int, octets: int) -> np.ndarray:
    """`count` random lower-case hexadecimal ids of `octets` bytes, as an object array."""
    text = rng.bytes(count * octets).hex()
    width = 2 * octets
    return np.array([text[i : i + width] for i in range(0, len(text), width)], dtype=object)


def draw_people(rng: np.random.Generator, count: int) -> People:
    """`count` users with their cohorts, version assignment (ring, arm) and effects."""
    language = choose(rng, LANGUAGES, count)
    region = np.empty(count, dtype=object)
    for code, shares in REGION_OF.items():
        mine = language == code
        region[mine] = choose(rng, dict(zip(REGIONS, shares, strict=True)), int(mine.sum()))
    return People(
        key=hex_ids(rng, count, 16),
        language=language,
        region=region,
        plan=choose(rng, PLANS, count),
        device=choose(rng, DEVICES, count),
        channel=choose(rng, CHANNELS, count),
        tenant=choose(rng, TENANTS, count),
        ring=choose(rng, RINGS, count),
        arm=choose(rng, ARMS, count),
        quality=rng.standard_normal(count),
        spending=rng.standard_normal(count),
        patience=rng.standard_normal(count),
    )


def draw_visits(
    rng: np.random.Generator, people: People, *, requests: int, day_weight: np.ndarray, first_us: int
) -> Visits:
    """Exactly `requests` requests; counts per user are geometric with mean `REQUESTS_PER_USER`.

    day_weight: relative traffic of each day of the world. first_us: midnight of the first day.
    """
    owner = np.repeat(np.arange(len(people)), rng.geometric(1 / REQUESTS_PER_USER, len(people)))
    missing = requests - len(owner)
    extra = rng.choice(owner, max(missing, 0))
    owner = np.sort(np.concatenate([rng.choice(owner, min(requests, len(owner)), replace=False), extra]))
    new = rng.random(requests) < 0.45
    new[np.flatnonzero(np.diff(owner, prepend=-1))] = True
    session = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    turn = np.arange(requests) - first[session]

    days = rng.choice(len(day_weight), size=len(first), p=day_weight / day_weight.sum())
    hour_local = rng.choice(24, size=len(first), p=HOUR_WEIGHT / HOUR_WEIGHT.sum())
    offset = np.array([UTC_OFFSET[r] for r in people.region[owner[first]]])
    start = ((hour_local - offset) % 24) * 3_600_000_000 + rng.integers(0, 3_600_000_000, len(first))
    gap = np.where(new, 0, (20e6 + rng.exponential(75e6, requests)).astype(np.int64))
    run = np.cumsum(gap)
    within = run - run[first][session]
    # a chat that would run past the last instant of its day starts earlier instead, so that days stay whole
    longest = np.maximum.reduceat(within, first)
    start = np.minimum(start, DAY_US - 120_000_000 - longest)
    start = np.maximum(start, 0)
    at = first_us + days[session] * DAY_US + start[session] + within
    order = np.argsort(at, kind="stable")
    return Visits(owner[order], session[order], turn[order], at[order], days[session][order])
