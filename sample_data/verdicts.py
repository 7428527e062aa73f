"""Who judged what: facts the application reports itself, scores by judge, reviewer and user, and safety incidents."""

from __future__ import annotations

import numpy as np

from sample_data.outcomes import Outcomes
from sample_data.people import choose, hex_ids

CATEGORIES = {
    "hallucinated_claim": 0.54, "disallowed_content": 0.14, "personal_data_leak": 0.12, "jailbreak": 0.06,
    "toxicity": 0.14,
}  # fmt: skip
DETECTORS = {
    "hallucinated_claim": "grounding-check", "disallowed_content": "content-filter",
    "personal_data_leak": "pii-scanner", "jailbreak": "prompt-shield", "toxicity": "content-filter",
}  # fmt: skip
USUAL_SEVERITY = {"nit": 0.30, "minor": 0.52, "major": 0.17, "critical": 0.01}
WAVE_SEVERITY = {"minor": 0.12, "major": 0.62, "critical": 0.26}
STATES = {"resolved": 0.62, "mitigated": 0.22, "open": 0.16}


def _known(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Object array: the value where `mask`, else None."""
    return np.where(mask, values.astype(object), None)


def observe(facts: dict[str, np.ndarray], outcome: Outcomes) -> dict[str, np.ndarray]:
    """Request facts that the application logs: object arrays by canonical column, None where it cannot know."""
    everyone = np.ones(len(facts["at"]), dtype=bool)
    deflectable = np.isin(facts["channel"], ("web", "mobile_app"))
    return {
        "refused": _known(outcome.refused, everyone),
        "fallback": _known(outcome.fallback, everyone),
        "escalated": _known(outcome.escalated, everyone),
        "resolved": _known(outcome.resolved, outcome.resolved_known),
        "deflected": _known(outcome.resolved & ~outcome.escalated, outcome.resolved_known & deflectable),
        "overridden": _known(outcome.overridden, facts["channel"] == "email"),
        "converted": _known(outcome.converted, facts["intent"] == "product"),
    }


def scores(
    rng: np.random.Generator, facts: dict[str, np.ndarray], outcome: Outcomes, *, trace_id: np.ndarray,
    root_id: np.ndarray, at: np.ndarray,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Score columns plus `row` (index of the request): judge, code check of retrieval, human review and thumbs."""
    n = len(at)
    close = np.where(outcome.grounded, rng.beta(16, 2.2, n), rng.beta(3, 6, n))
    right = np.where(outcome.correct, rng.beta(14, 2.5, n), rng.beta(3, 7, n))
    relevance = np.where(outcome.hit, rng.beta(14, 3, n), rng.beta(6, 8, n))
    verdict = np.where(rng.random(n) < 0.97, outcome.success, ~outcome.success)
    answered = ~outcome.refused
    blocks = [
        ("groundedness", "judge", outcome.judged & answered & outcome.retrieved, close, None, 6e6),
        ("correctness", "judge", outcome.judged & answered, right, None, 6e6),
        ("retrieval_score", "judge", outcome.judged & outcome.retrieved, relevance, None, 6e6),
        ("retrieval_hit", "code", outcome.retrieved, outcome.hit.astype(float), None, 2e6),
        ("success", "human", outcome.reviewed, verdict.astype(float), ("fail", "pass"), 7.2e9),
        ("user_rating", "user", outcome.rated, outcome.rating, ("down", "up"), 4.5e7),
    ]
    columns: dict[str, list[np.ndarray]] = {}
    for name, source, mask, value, labels, delay in blocks:
        row = np.flatnonzero(mask)
        value = np.round(value[row], 3)
        label = np.full(len(row), None, dtype=object)
        if labels is not None:
            label = np.array(labels, dtype=object)[(value >= 0.5).astype(int)]
        block = {
            "row": row, "score_id": hex_ids(rng, len(row), 12), "trace_id": trace_id[row], "span_id": root_id[row],
            "name": np.full(len(row), name, dtype=object), "value": value, "label": label,
            "source": np.full(len(row), source, dtype=object),
            "explanation": np.full(len(row), None, dtype=object),
            "at": at[row] + rng.integers(1_000_000, int(delay), len(row)),
        }  # fmt: skip
        for key, values in block.items():
            columns.setdefault(key, []).append(values)
    return {key: np.concatenate(parts) for key, parts in columns.items()}


def incidents(
    rng: np.random.Generator, facts: dict[str, np.ndarray], outcome: Outcomes, *, trace_id: np.ndarray, at: np.ndarray
) -> dict[str, np.ndarray]:
    """Incident columns plus `row`: a few per thousand requests, and the attacks that got through."""
    n = len(at)
    ungrounded = outcome.retrieved & ~outcome.grounded
    usual = np.flatnonzero(rng.random(n) < np.where(ungrounded, 0.010, 0.0022))
    through = np.flatnonzero(outcome.attack & ~outcome.refused)
    row = np.concatenate([usual, through])
    is_attack = np.arange(len(row)) >= len(usual)
    category = choose(rng, CATEGORIES, len(row))
    category[is_attack] = "jailbreak"
    severity = np.where(is_attack, choose(rng, WAVE_SEVERITY, len(row)), choose(rng, USUAL_SEVERITY, len(row)))
    return {
        "row": row, "incident_id": hex_ids(rng, len(row), 12), "trace_id": trace_id[row],
        "at": at[row] + rng.integers(1_000_000, 600_000_000, len(row)), "category": category, "severity": severity,
        "detector": np.array([DETECTORS[c] for c in category], dtype=object),
        "state": choose(rng, STATES, len(row)),
    }  # fmt: skip
