"""The classes of what public calls return, for annotations and `isinstance`: they are made by those calls alone."""

from kpi.explain.comparison.compare import Comparison as Comparison, ComparisonWithin as ComparisonWithin
from kpi.explain.comparison.sample_ratio import SampleRatio as SampleRatio
from kpi.explain.decomposition.cost_waterfall import Waterfall as Waterfall
from kpi.explain.decomposition.latency_stages import Stages as Stages
from kpi.explain.decomposition.rate_mix import Decomposition as Decomposition
from kpi.explain.evaluation.agreement import Agreement as Agreement
from kpi.explain.evaluation.frontier import Frontier as Frontier
from kpi.explain.evaluation.reliability import Reliability as Reliability
from kpi.explain.failures.contrast import Contrast as Contrast
from kpi.explain.fairness.disparity import Disparity as Disparity
from kpi.explain.fairness.likely_cause import LikelyCause as LikelyCause
from kpi.explain.monitoring.changepoint import Watch as Watch
from kpi.explain.monitoring.drift import Drift as Drift, Drifts as Drifts
from kpi.explain.segments.weak_segments import Weak as Weak
from kpi.govern.card import Card as Card
from kpi.govern.findings import Finding as Finding
from kpi.govern.register import Entry as Entry, Register as Register
from kpi.govern.scorecard import Scorecard as Scorecard
from kpi.govern.story import Story as Story
from kpi.loading.user_keys import KeyState as KeyState
from kpi.mapping.mapping import Preview as Preview, PreviewColumn as PreviewColumn
from kpi.measure.priced import PriceState as PriceState
from kpi.measure.profile import Profile as Profile
from kpi.measure.slice import Resolved as Resolved, Window as Window
from kpi.measure.traces import Trace as Trace
from kpi.receipts import Receipt as Receipt
from kpi.result import Result as Result, Results as Results
from kpi.stats.interval import Interval as Interval
from kpi.store.connections import Connection as Connection
from kpi.store.doctor import Diagnosis as Diagnosis, TableHealth as TableHealth, VersionHealth as VersionHealth
from kpi.store.lake import DatasetInfo as DatasetInfo, VersionInfo as VersionInfo
from kpi.store.live import Placement as Placement
from kpi.store.repair import Repair as Repair

__all__ = sorted(name for name, value in globals().copy().items() if isinstance(value, type))
