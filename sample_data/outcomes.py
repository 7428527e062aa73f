"""What happens to each request: refusals, failures, retrieval, success, escalation, and who gets to know about it.

Draws the full truth first and hides most of it afterwards, as production does: a judge sees 40 %, a reviewer 3 %,
a tenth of the users press a thumb. The planted effects come from `stories`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sample_data import stories

HIT_RATE = 0.88
USER_SD = 1.0  # standard deviation of the user effect on the log-odds of success: design effect about 3
INTENT_SHARE = {
    "order_status": 0.21, "billing": 0.17, "returns": 0.14, "technical": 0.11, "account": 0.12, "shipping": 0.11,
    "product": 0.09, "cancellation": 0.05,
}  # fmt: skip
INTENT_EFFECT = {
    "order_status": 0.50, "billing": 0.20, "returns": 0.05, "technical": -1.15, "account": 0.35, "shipping": 0.30,
    "product": 0.40, "cancellation": -0.25,
}  # fmt: skip
MODEL_EFFECT = {"gpt-5": 0.10, "claude-haiku-4-5": 0.0, "support-ft-3": -0.12}
LANGUAGE_EFFECT = {"en": 0.10, "es": 0.0, "de": 0.05, "fr": 0.0, "ja": -0.12}


@dataclass(frozen=True)
class Outcomes:
    """Boolean truth per request, and which of it is known. `retrieved`: the request has a retrieval step."""

    retrieved: np.ndarray
    attack: np.ndarray
    blocked: np.ndarray  # refused by the guardrail before any model call
    refused: np.ndarray
    failure: np.ndarray  # error type, or None
    retried: np.ndarray
    hit: np.ndarray
    grounded: np.ndarray
    success: np.ndarray
    correct: np.ndarray
    escalated: np.ndarray
    resolved: np.ndarray
    fallback: np.ndarray
    overridden: np.ndarray
    converted: np.ndarray
    resolved_known: np.ndarray
    judged: np.ndarray
    reviewed: np.ndarray
    rated: np.ndarray
    rating: np.ndarray


def intents(rng: np.random.Generator, session: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Intent of each request: one per session, changed by one request in eight; the launch shifts the mix."""
    names = list(INTENT_SHARE)
    usual = np.array(list(INTENT_SHARE.values()))
    launch = usual * (1 - stories.MIX_SHARE) / (1 - INTENT_SHARE["technical"])
    launch[names.index("technical")] = stories.MIX_SHARE

    def draw(u: np.ndarray, when: np.ndarray) -> np.ndarray:
        in_launch = (when >= stories.MIX_START) & (when < stories.MIX_END)
        usual_pick = np.searchsorted(np.cumsum(usual / usual.sum()), u)
        launch_pick = np.searchsorted(np.cumsum(launch / launch.sum()), u)
        return np.minimum(np.where(in_launch, launch_pick, usual_pick), len(names) - 1)

    by_session = rng.random(int(session.max()) + 1)
    pick = draw(by_session[session], day)
    changed = rng.random(len(session)) < 0.12
    pick[changed] = draw(rng.random(int(changed.sum())), day[changed])
    return np.array(names, dtype=object)[pick]


def _lookup(table: dict[str, float], keys: np.ndarray) -> np.ndarray:
    return np.array([table[k] for k in keys])


def draw_outcomes(rng: np.random.Generator, facts: dict[str, np.ndarray]) -> Outcomes:
    """Truth and knowledge for the requests in `facts` (cohort, version and user-effect columns, `day`)."""
    n = len(facts["day"])
    day, intent, language, channel = (facts[c] for c in ("day", "intent", "language", "channel"))

    def chance(p: np.ndarray | float) -> np.ndarray:
        return rng.random(n) < p

    wave = (channel == "api") & (day >= stories.JAILBREAK_START) & (day < stories.JAILBREAK_END)
    attack = chance(np.where(wave, stories.JAILBREAK_SHARE, 0.0008))
    strict = (language == "de") & (day >= stories.POLICY_DAY)
    blocked = chance(0.016 + stories.DE_REFUSAL * strict)
    refused = blocked | chance(0.020) | (attack & chance(0.45))
    failure = np.full(n, None, dtype=object)
    roll = rng.random(n)
    failure[(roll < 0.007) & ~refused] = "timeout"
    failure[(roll > 0.996) & ~refused] = "rate_limit"
    failure[(roll > 0.993) & (roll <= 0.996) & ~refused] = "server_error"
    failed = failure != None  # noqa: E711 - element-wise on an object array
    retried = chance(0.012) & ~blocked

    retrieved = chance(_lookup(dict.fromkeys(INTENT_SHARE, 0.90) | {"order_status": 0.62}, intent)) & ~blocked
    broken = (facts["retrieval_version"] == "v2") & (intent == "billing")
    hit = chance(np.where(broken, stories.BILLING_HIT, HIT_RATE)) & retrieved
    missed = retrieved & ~hit
    grounded = chance(np.where(missed, 0.52, 0.945))

    better = (facts["prompt_version"] == "p7") | (facts["prompt_version"] == "p8")
    odds = (
        2.80
        + _lookup(INTENT_EFFECT, intent)
        + _lookup(LANGUAGE_EFFECT, language)
        + _lookup(MODEL_EFFECT, facts["model"])
        + USER_SD * facts["quality"]
        - 1.35 * missed
        - 0.55 * ~grounded
        + stories.EN_GAIN * (better & (language == "en"))
    )
    success = chance(1 / (1 + np.exp(-odds))) & ~refused & ~failed
    correct = chance(np.where(success, 0.98, 0.20)) & ~refused & ~failed
    worse = (facts["prompt_version"] == "p7") & (language == "es")
    escalated = chance(np.where(success, 0.038, 0.46) + stories.ES_ESCALATION * worse)
    resolved = chance(np.where(success, 0.985, 0.03))
    fallback = chance(np.where(missed, 0.05, 0.008)) | (failed & chance(0.7))
    return Outcomes(
        retrieved=retrieved,
        attack=attack,
        blocked=blocked,
        refused=refused,
        failure=failure,
        retried=retried,
        hit=hit,
        grounded=grounded,
        success=success,
        correct=correct,
        escalated=escalated,
        resolved=resolved & ~escalated,
        fallback=fallback,
        overridden=chance(np.where(success, 0.06, 0.25)),
        converted=chance(np.where(success, 0.16, 0.05)),
        resolved_known=chance(0.92),
        judged=chance(0.40) & ~failed,
        reviewed=chance(np.where(escalated, 0.07, 0.026)) & ~failed,
        rated=chance(np.where(success, 0.11, 0.16)) & ~failed,
        rating=np.where(chance(np.where(success, 0.90, 0.15)), 1.0, 0.0),
    )
