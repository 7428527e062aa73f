"""The classes of what public calls return, for annotations and `isinstance`: they are made by those calls alone."""

from kpi.explain.comparison.compare import Comparison
from kpi.explain.comparison.sample_ratio import SampleRatio
from kpi.explain.decomposition.cost_waterfall import Waterfall
from kpi.explain.decomposition.latency_stages import Stages
from kpi.explain.decomposition.rate_mix import Decomposition
from kpi.explain.evaluation.agreement import Agreement
from kpi.explain.evaluation.frontier import Frontier
from kpi.explain.failures.contrast import Contrast
from kpi.explain.fairness.disparity import Disparity
from kpi.explain.fairness.likely_cause import LikelyCause
from kpi.explain.monitoring.changepoint import Watch
from kpi.explain.monitoring.drift import Drift, Drifts
from kpi.explain.segments.weak_segments import Weak
from kpi.govern.card import Card
from kpi.govern.findings import Finding
from kpi.govern.register import Entry, Register
from kpi.govern.scorecard import Scorecard
from kpi.govern.story import Story
from kpi.loading.user_keys import KeyState
from kpi.mapping.mapping import Preview, PreviewColumn
from kpi.measure.priced import PriceState
from kpi.measure.profile import Profile
from kpi.measure.slice import Resolved, Window
from kpi.measure.traces import Trace
from kpi.receipts import Receipt
from kpi.result import Result, Results
from kpi.stats.interval import Interval
from kpi.store.connections import Connection
from kpi.store.doctor import Diagnosis, TableHealth, VersionHealth
from kpi.store.lake import DatasetInfo, VersionInfo
from kpi.store.live import Placement
from kpi.store.repair import Repair

__all__ = [
    "Agreement",
    "Card",
    "Comparison",
    "Connection",
    "Contrast",
    "DatasetInfo",
    "Decomposition",
    "Diagnosis",
    "Disparity",
    "Drift",
    "Drifts",
    "Entry",
    "Finding",
    "Frontier",
    "Interval",
    "KeyState",
    "LikelyCause",
    "Placement",
    "Preview",
    "PreviewColumn",
    "PriceState",
    "Profile",
    "Receipt",
    "Register",
    "Repair",
    "Resolved",
    "Result",
    "Results",
    "SampleRatio",
    "Scorecard",
    "Stages",
    "Story",
    "TableHealth",
    "Trace",
    "VersionHealth",
    "VersionInfo",
    "Watch",
    "Waterfall",
    "Weak",
    "Window",
]
