"""The planted stories: what changes in the world, when, where and by how much, and the calendar of rollouts.

The numbers here are the only cause of every planted change; `ground_truth.toml` is written from `STORIES`.
Days count from the first day of the world (0); the first 30 days are quiet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np

MIX_START, MIX_END = 31, 45
POLICY_DAY = 46
CORPUS_DAY = 57
PROMPT_DAY = 64
FANOUT_DAY = 70
RERANK_DAY = 74
JAILBREAK_START, JAILBREAK_END = 79, 84
QUIET_DAYS = 30

EN_GAIN = 1.4  # log-odds of success, English, prompt p7
ES_ESCALATION = 0.17  # extra probability of escalation, Spanish, prompt p7
BILLING_HIT = 0.50  # retrieval hit rate of billing after the corpus refresh (before: HIT_RATE)
FANOUT_SHARE = 0.35
RERANK_FACTOR = 9.0
DE_REFUSAL = 0.09  # extra probability of refusal in German after the policy change
MIX_SHARE = 0.36  # share of technical questions during the launch
JAILBREAK_SHARE = 0.30


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """A version reaching the rings on different days; `arm` limits it to one arm of the experiment."""

    column: str
    version: str
    canary: int
    early: int
    broad: int
    arm: str | None = None


NEVER = 10_000
ROLLOUTS = (
    Rollout(column="prompt_version", version="p3", canary=-1, early=-1, broad=-1),
    Rollout(column="prompt_version", version="p4", canary=6, early=7, broad=9, arm="treatment"),
    Rollout(column="prompt_version", version="p4", canary=10, early=11, broad=13),
    Rollout(column="prompt_version", version="p5", canary=17, early=18, broad=20, arm="treatment"),
    Rollout(column="prompt_version", version="p5", canary=22, early=23, broad=25),
    Rollout(column="prompt_version", version="p6", canary=48, early=49, broad=51, arm="treatment"),
    Rollout(column="prompt_version", version="p6", canary=52, early=53, broad=55),
    Rollout(column="prompt_version", version="p7", canary=PROMPT_DAY - 2, early=PROMPT_DAY - 1, broad=PROMPT_DAY,
            arm="treatment"),
    Rollout(column="prompt_version", version="p8", canary=85, early=87, broad=NEVER, arm="treatment"),
    Rollout(column="retrieval_version", version="v1", canary=-1, early=-1, broad=-1),
    Rollout(column="retrieval_version", version="v2", canary=CORPUS_DAY, early=CORPUS_DAY, broad=CORPUS_DAY),
    Rollout(column="policy_version", version="policy-4", canary=-1, early=-1, broad=-1),
    Rollout(column="policy_version", version="policy-5", canary=POLICY_DAY, early=POLICY_DAY, broad=POLICY_DAY),
    Rollout(column="release", version="2.4.0", canary=-1, early=-1, broad=-1),
    Rollout(column="release", version="2.5.0", canary=14, early=15, broad=16),
    Rollout(column="release", version="2.6.0", canary=40, early=41, broad=42),
    Rollout(column="release", version="2.7.0", canary=FANOUT_DAY, early=FANOUT_DAY, broad=FANOUT_DAY),
)  # fmt: skip


def versions(day: np.ndarray, ring: np.ndarray, arm: np.ndarray) -> dict[str, np.ndarray]:
    """Version columns of requests from their day, deployment ring and experiment arm; later rollouts win."""
    columns = {r.column: np.full(len(day), None, dtype=object) for r in ROLLOUTS}
    for rollout in ROLLOUTS:
        since = np.select([ring == "canary", ring == "early"], [rollout.canary, rollout.early], default=rollout.broad)
        reached = day >= since
        if rollout.arm is not None:
            reached &= arm == rollout.arm
        columns[rollout.column][reached] = rollout.version
    return columns


@dataclass(frozen=True, kw_only=True)
class Story:
    """One planted change. `size` is the change of the metric in its own unit (`ratio`: new over old).

    day_from, day_to: days of the world, to is exclusive; against: the days compared with.
    contrast: a filter of the comparison group where the comparison is between groups of the same days.
    """

    id: str
    kind: str
    metric: str
    where: Mapping[str, str]
    direction: str
    size: float
    unit: str
    day_from: int
    day_to: int
    against: tuple[int, int]
    sentence: str
    contrast: Mapping[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()

    def since(self, end: date, days: int) -> date:
        """First date of the story in a world of `days` days that ends at `end` (inclusive)."""
        return end - timedelta(days=days - 1 - self.day_from)


STORIES = (
    Story(
        id="prompt-p7-english", kind="prompt", metric="success", where={"prompt_version": "p7", "language": "en"},
        contrast={"prompt_version": "p6", "language": "en"}, direction="up", size=0.07, unit="share",
        day_from=PROMPT_DAY, day_to=90, against=(PROMPT_DAY, 90),
        sentence="Prompt p7 answers English questions better than p6.",
    ),
    Story(
        id="prompt-p7-spanish", kind="prompt", metric="escalated", where={"prompt_version": "p7", "language": "es"},
        contrast={"prompt_version": "p6", "language": "es"}, direction="up", size=0.15, unit="share",
        day_from=PROMPT_DAY, day_to=90, against=(PROMPT_DAY, 90),
        sentence="Prompt p7 escalates Spanish conversations far more often than p6.",
    ),
    Story(
        id="corpus-v2-billing", kind="retrieval", metric="retrieval_hit",
        where={"retrieval_version": "v2", "intent": "billing"}, direction="down", size=-0.38, unit="share",
        day_from=CORPUS_DAY, day_to=90, against=(QUIET_DAYS, CORPUS_DAY), also=("grounded", "success"),
        sentence="Corpus refresh v2 lost the billing articles: retrieval, groundedness and success of billing fall.",
    ),
    Story(
        id="tool-fan-out", kind="cost", metric="cost_p95",
        where={"release": "2.7.0", "intent": "returns", "channel": "web"},
        direction="up", size=2.0, unit="ratio", day_from=FANOUT_DAY, day_to=90, against=(QUIET_DAYS, FANOUT_DAY),
        sentence="Release 2.7.0 calls tools again and again for returns on the web: the tail cost doubles.",
    ),
    Story(
        id="reranker-ap", kind="latency", metric="rerank_us", where={"region": "ap"}, direction="up",
        size=RERANK_FACTOR, unit="ratio", day_from=RERANK_DAY, day_to=90, against=(QUIET_DAYS, RERANK_DAY),
        also=("latency_p95",), sentence="The reranker of region ap became slow and pulls the p95 latency up there.",
    ),
    Story(
        id="overblocking-de", kind="safety", metric="refused", where={"language": "de"}, direction="up",
        size=DE_REFUSAL, unit="share", day_from=POLICY_DAY, day_to=90, against=(0, POLICY_DAY),
        sentence="Policy 5 refuses harmless German questions; incidents in German do not change.",
    ),
    Story(
        id="intent-mix", kind="mix", metric="success", where={}, direction="down", size=-0.045, unit="share",
        day_from=MIX_START, day_to=MIX_END, against=(0, QUIET_DAYS),
        sentence="A product launch brings many technical questions: success falls although no intent got worse.",
    ),
    Story(
        id="jailbreak-wave", kind="safety", metric="jailbreak_incidents", where={"channel": "api"}, direction="up",
        size=JAILBREAK_SHARE, unit="incidents per request", day_from=JAILBREAK_START, day_to=JAILBREAK_END,
        against=(QUIET_DAYS, JAILBREAK_START),
        sentence="Five days of jailbreak attempts through the API, many of them major or critical.",
    ),
    Story(
        id="quiet-month", kind="quiet", metric="all", where={}, direction="none", size=0.0, unit="share",
        day_from=0, day_to=QUIET_DAYS, against=(0, QUIET_DAYS),
        sentence="In the first 30 days nothing happens: two prompt rollouts and a release change no metric.",
    ),
)  # fmt: skip

HAPPENINGS = (  # day, kind, name, version, description
    (9, "prompt", "prompt p4", "p4", "Prompt p4 rolled out"),
    (16, "release", "release 2.5.0", "2.5.0", "Application release 2.5.0"),
    (20, "prompt", "prompt p5", "p5", "Prompt p5 rolled out"),
    (MIX_START, "campaign", "launch of the home hub", "", "Product launch: more technical questions"),
    (42, "release", "release 2.6.0", "2.6.0", "Application release 2.6.0"),
    (POLICY_DAY, "policy", "safety policy 5", "policy-5", "Stricter content policy"),
    (51, "prompt", "prompt p6", "p6", "Prompt p6 rolled out"),
    (CORPUS_DAY, "corpus", "knowledge base v2", "v2", "Knowledge base rebuilt and re-indexed"),
    (PROMPT_DAY, "prompt", "prompt p7", "p7", "Prompt p7 for the treatment arm"),
    (FANOUT_DAY, "release", "release 2.7.0", "2.7.0", "Application release 2.7.0: new tool planner"),
    (RERANK_DAY, "infrastructure", "reranker moved (ap)", "", "Reranker of region ap moved to another cluster"),
    (85, "prompt", "prompt p8", "p8", "Prompt p8 for the canary ring"),
)
