"""The AI index as a Python package: load traces, slice them, read numbers with intervals, states and reasons.

    import kpi
    source = kpi.open("sample")
    kpi.summarise(source, ["task_success", "latency_p95"], kpi.Slice(last="28d"), by=["language"])
    kpi.scorecard(source).frame()

Every number on a page of the app comes from a call named here.
"""

from kpi import errors
from kpi.errors import KpiError
from kpi.explain.comparison.compare import Comparison, compare, compare_within
from kpi.explain.comparison.sample_ratio import SampleRatio, sample_ratio
from kpi.explain.decomposition.cost_waterfall import Waterfall, cost_waterfall
from kpi.explain.decomposition.latency_stages import Stages, latency_stages
from kpi.explain.decomposition.rate_mix import Decomposition, decompose
from kpi.explain.evaluation.agreement import Agreement, agreement, kappa
from kpi.explain.evaluation.frontier import Frontier, frontier
from kpi.explain.failures.contrast import Contrast, contrast
from kpi.explain.fairness.disparity import Disparity, disparity
from kpi.explain.fairness.likely_cause import LikelyCause as Likely
from kpi.explain.fairness.likely_cause import likely
from kpi.explain.monitoring.changepoint import Watch, change_points, detect
from kpi.explain.monitoring.drift import Drift, drift, drift_columns
from kpi.explain.segments.weak_segments import Weak, weak_segments
from kpi.govern.findings import Finding, findings
from kpi.govern.register import Entry, Register, load_register, register_of
from kpi.govern.scorecard import Card, Scorecard, judge_frame, scorecard
from kpi.govern.story import Story, recent, rows_of, story
from kpi.ingest.sandbox.supervisor import preview
from kpi.loading.copy import copy
from kpi.loading.load import load, saved_allow
from kpi.loading.uploads import Uploads
from kpi.loading.user_keys import KeyState, adopt_key, backup_key, forget_key, key_state, restore_key, rotate_key
from kpi.mapping.mapping import Mapping, Preview, PreviewColumn, mapping_fields
from kpi.measure.metrics import METRICS, Metric, metric, slo_attainment
from kpi.measure.priced import PriceState, init_prices, model_prices, price_state, unpriced_models
from kpi.measure.profile import Profile, profile
from kpi.measure.reliability import pass_hat_k
from kpi.measure.rolling import rolling
from kpi.measure.slice import Resolved, Slice, Window
from kpi.measure.small_cells import hide_small
from kpi.measure.statistics import Grouping
from kpi.measure.summary import compare_windows, resolve, summarise, tally
from kpi.measure.traces import Trace, events, find_traces, trace
from kpi.narrate import wording
from kpi.narrate.prices import price_sentences
from kpi.receipts import Receipt
from kpi.stats.interval import Interval as Difference
from kpi.stats.interval import difference
from kpi.stats.sequential import running_rate
from kpi.store.connections import Connection, connections
from kpi.store.databases import SparkSource, SqlSource
from kpi.store.doctor import Diagnosis, TableHealth, VersionHealth, doctor
from kpi.store.engines import Source, from_frame
from kpi.store.lake import DatasetInfo, VersionInfo, datasets, reprice, restore, versions
from kpi.store.live import Placement, connect, open_connection
from kpi.store.opening import open_dataset, receipt, warm
from kpi.store.opening import open_dataset as open
from kpi.store.repair import Repair, repair

__all__ = [
    "METRICS",
    "Agreement",
    "Card",
    "Comparison",
    "Connection",
    "Contrast",
    "DatasetInfo",
    "Decomposition",
    "Diagnosis",
    "Difference",
    "Disparity",
    "Drift",
    "Entry",
    "Finding",
    "Frontier",
    "Grouping",
    "KeyState",
    "KpiError",
    "Likely",
    "Mapping",
    "Metric",
    "Placement",
    "Preview",
    "PreviewColumn",
    "PriceState",
    "Profile",
    "Receipt",
    "Register",
    "Repair",
    "Resolved",
    "SampleRatio",
    "Scorecard",
    "Slice",
    "Source",
    "SparkSource",
    "SqlSource",
    "Stages",
    "Story",
    "TableHealth",
    "Trace",
    "Uploads",
    "VersionHealth",
    "VersionInfo",
    "Watch",
    "Waterfall",
    "Weak",
    "Window",
    "adopt_key",
    "agreement",
    "backup_key",
    "change_points",
    "compare",
    "compare_windows",
    "compare_within",
    "connect",
    "connections",
    "contrast",
    "copy",
    "cost_waterfall",
    "datasets",
    "decompose",
    "detect",
    "difference",
    "disparity",
    "doctor",
    "drift",
    "drift_columns",
    "errors",
    "events",
    "find_traces",
    "findings",
    "forget_key",
    "from_frame",
    "frontier",
    "hide_small",
    "init_prices",
    "judge_frame",
    "kappa",
    "key_state",
    "latency_stages",
    "likely",
    "load",
    "load_register",
    "mapping_fields",
    "metric",
    "model_prices",
    "open",
    "open_connection",
    "open_dataset",
    "pass_hat_k",
    "preview",
    "price_sentences",
    "price_state",
    "profile",
    "receipt",
    "recent",
    "register_of",
    "repair",
    "reprice",
    "resolve",
    "restore",
    "restore_key",
    "rolling",
    "rotate_key",
    "rows_of",
    "running_rate",
    "sample_ratio",
    "saved_allow",
    "scorecard",
    "slo_attainment",
    "story",
    "summarise",
    "tally",
    "trace",
    "unpriced_models",
    "versions",
    "warm",
    "weak_segments",
    "wording",
]
