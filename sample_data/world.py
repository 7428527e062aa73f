"""The planted world as canonical tables: `build()` puts people, outcomes, span trees and verdicts together.

Deterministic for a seed. The request rows follow from the spans, scores and incidents of their traces, as they do
for any loaded export; nothing here reads or writes files.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import orjson
import pyarrow as pa

from kpi.schema import ARROW, TABLES
from sample_data import outcomes as conduct, people as crowd, rows, stories, texts, traces, verdicts

END = date(2026, 11, 22)
EDITION = 1  # enters the seed: a new edition of the world is another draw for every seed
MODEL_SHARE = {
    "free": {"gpt-5": 0.16, "claude-haiku-4-5": 0.72, "support-ft-3": 0.12},
    "pro": {"gpt-5": 0.36, "claude-haiku-4-5": 0.52, "support-ft-3": 0.12},
    "enterprise": {"gpt-5": 0.62, "claude-haiku-4-5": 0.28, "support-ft-3": 0.10},
}
UNPRICED_SHARE = 0.05  # of the requests to the self-hosted model, whose cost is not always reported
FACTS = (  # canonical request columns that the root span carries as context
    "session_id", "user_key", "model", "provider", "prompt_version", "retrieval_version", "policy_version", "release",
    "environment", "experiment_arm", "deployment_ring", "language", "region", "device", "plan", "channel", "use_case",
    "intent", "tenant", "turns",
)  # fmt: skip


def build(*, seed: int = 7, requests: int = 60_000, days: int = 90, end: date | None = None) -> dict[str, pa.Table]:
    """Canonical tables of a support assistant with the planted stories.

    requests: exact number of request rows, at least 100. days: length of the world; the stories need 90.
    end: last day (UTC, inclusive), by default a fixed date. Returns one Arrow table for each canonical table name.
    """
    if requests < 100 or days < 1:
        raise ValueError("a world needs at least 100 requests and one day")
    rng = np.random.default_rng([seed, EDITION])
    last = end or END
    first_us = int(datetime.combine(last, datetime.min.time(), UTC).timestamp() * 1_000_000)
    first_us -= (days - 1) * crowd.DAY_US
    facts = _facts(rng, requests=requests, days=days, first_us=first_us)
    outcome = conduct.draw_outcomes(rng, facts)
    facts["question"], facts["answer"] = _texts(rng, facts, outcome)
    known = verdicts.observe(facts, outcome)
    facts["context"] = _context(facts, known)
    drawn = traces.draw_traces(rng, facts, outcome)
    trace_id = crowd.hex_ids(rng, requests, 16)
    finished = facts["at"] + rows.root_durations(drawn, requests)
    scores = verdicts.scores(rng, facts, outcome, trace_id=trace_id, root_id=drawn.root_id, at=finished)
    incidents = verdicts.incidents(rng, facts, outcome, trace_id=trace_id, at=finished)
    tables = rows.trace_tables(drawn, trace_id)
    tables["scores"] = rows.table("scores", scores)
    tables["incidents"] = rows.table("incidents", incidents)
    tables["requests"] = rows.request_table(facts, known, drawn, trace_id=trace_id, scores=scores, incidents=incidents)
    tables["events"] = _events(first_us, days)
    tables["golden_results"] = TABLES["golden_results"].arrow_schema().empty_table()
    return {name: tables[name] for name in TABLES}


def _facts(rng: np.random.Generator, *, requests: int, days: int, first_us: int) -> dict[str, np.ndarray]:
    """Who asks what, when, through which versions: columns of equal length, ordered by time."""
    people = crowd.draw_people(rng, max(requests // crowd.REQUESTS_PER_USER, 20))
    dates = [datetime.fromtimestamp(first_us / 1e6, UTC).date() + timedelta(days=d) for d in range(days)]
    weight = crowd.WEEKDAY_WEIGHT[[d.weekday() for d in dates]] * rng.normal(1.0, 0.02, days)
    visits = crowd.draw_visits(rng, people, requests=requests, day_weight=weight, first_us=first_us)
    user, day = visits.user, visits.day
    facts = {
        name: getattr(people, name)[user]
        for name in ("language", "region", "plan", "device", "channel", "tenant", "quality", "spending", "patience")
    }
    elsewhere = rng.random(requests) < 0.15
    facts["device"] = np.where(elsewhere, crowd.choose(rng, crowd.DEVICES, requests), facts["device"])
    facts |= stories.versions(day, people.ring[user], people.arm[user])
    facts |= {
        "user_key": people.key[user], "deployment_ring": people.ring[user], "experiment_arm": people.arm[user],
        "session_id": crowd.hex_ids(rng, int(visits.session.max()) + 1, 8)[visits.session],
        "turns": visits.turn + 1, "at": visits.at, "day": day, "intent": conduct.intents(rng, visits.session, day),
        "environment": np.full(requests, "production", dtype=object),
        "use_case": np.full(requests, "customer_support", dtype=object),
    }  # fmt: skip
    model = np.empty(requests, dtype=object)
    for plan, shares in MODEL_SHARE.items():
        mine = facts["plan"] == plan
        model[mine] = crowd.choose(rng, shares, int(mine.sum()))
    facts["model"] = model
    facts["provider"] = np.array([traces.PROVIDERS[m] for m in model], dtype=object)
    facts["unpriced"] = (model == "support-ft-3") & (rng.random(requests) < UNPRICED_SHARE)
    return facts


def _texts(
    rng: np.random.Generator, facts: dict[str, np.ndarray], outcome: conduct.Outcomes
) -> tuple[np.ndarray, np.ndarray]:
    n = len(facts["at"])
    variant = rng.choice(4, size=n, p=[0.40, 0.38, 0.12, 0.10])
    question = texts.phrase(texts.QUESTIONS, facts["language"], facts["intent"], variant)
    question[outcome.attack] = texts.JAILBREAK
    style = np.where(outcome.escalated, 2, rng.integers(0, 2, n))
    answer = texts.phrase(texts.ANSWERS, facts["language"], facts["intent"], style)
    refusal = np.array([texts.REFUSALS[code] for code in facts["language"]], dtype=object)
    return question, np.where(outcome.refused, refusal, answer)


def _context(facts: dict[str, np.ndarray], known: dict[str, np.ndarray]) -> np.ndarray:
    """JSON of what the application itself knows of a request; unknown facts are left out."""
    names = [*FACTS, *known]
    columns = [facts[n].tolist() for n in FACTS] + [values.tolist() for values in known.values()]
    return np.array(
        [
            orjson.dumps({k: v for k, v in zip(names, values, strict=True) if v is not None}).decode()
            for values in zip(*columns, strict=True)
        ],
        dtype=object,
    )


def _events(first_us: int, days: int) -> pa.Table:
    listed = [
        {
            "event_id": f"event-{day:03d}-{kind}", "at": first_us + day * crowd.DAY_US + 9 * 3_600_000_000,
            "kind": kind, "name": name, "version": version or None, "description": description,
        }
        for day, kind, name, version, description in stories.HAPPENINGS
        if day < days
    ]  # fmt: skip
    arrays = {c.name: pa.array([row[c.name] for row in listed]).cast(ARROW[c.type]) for c in TABLES["events"].columns}
    return pa.table(arrays, schema=TABLES["events"].arrow_schema())
