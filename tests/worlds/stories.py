"""The stories of the sample data in its last six weeks, and which of them the findings tell."""

from __future__ import annotations

from datetime import date, timedelta

import kpi
from kpi.govern.findings import Finding, findings
from sample_data.stories import STORIES
from sample_data.world import build

LAST = 90  # days of the sample
LOOKED = 42  # of which a search without a window sees so many
TOLD_BY = {  # metrics that tell a story, the step before its own among them
    "success": ("task_success", "correctness"), "escalated": ("escalation_rate",),
    "retrieval_hit": ("retrieval_hit_rate",), "cost_p95": ("cost_per_query", "cost_p95", "cost_p50"),
    "rerank_us": ("latency_p95", "latency_p50"), "jailbreak_incidents": ("incident_rate",),
}  # fmt: skip


def sample(end: date, seed: int = 7, requests: int = 60_000) -> kpi.Source:
    """The requests of the sample data with its last day."""
    return kpi.from_frame(build(seed=seed, requests=requests, end=end)["requests"])


def stories_told(source: kpi.Source, end: date) -> tuple[dict[str, bool], list[Finding]]:
    """(whether each story that begins in the six weeks is told with its place and day, findings that tell none)."""
    told = findings(source, most=20)
    named: dict[str, bool] = {}
    others = list(told)
    for story in STORIES:
        if story.day_from < LAST - LOOKED or story.metric not in TOLD_BY:
            continue
        place = {d: v for d, v in story.where.items() if not d.endswith("_version") and d != "release"}
        mine = [f for f in told if f.metric in TOLD_BY[story.metric] and dict(f.where).items() >= place.items()
                and abs(f.since - story.since(end, LAST)) <= timedelta(days=3)]  # fmt: skip
        named[story.id] = bool(mine)
        others = [f for f in others if f not in mine]
    return named, others
