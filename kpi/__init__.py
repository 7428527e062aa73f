"""The AI index as a Python package: load traces, slice them, read numbers with intervals, states and reasons.

    import kpi
    source = kpi.open("sample")
    kpi.summarise(source, ["task_success", "latency_p95"], kpi.Slice(last="28d"), by=["language"])
    kpi.scorecard(source).frame()

Every number on a page of the app comes from a call named here.
"""

from kpi import errors
from kpi.errors import KpiError
from kpi.explain.agreement import Agreement, agreement, kappa
from kpi.explain.assignment import SampleRatio, sample_ratio
from kpi.explain.changepoint import Watch, change_points, detect
from kpi.explain.compare import Comparison, Difference, compare, compare_within, difference
from kpi.explain.contrast import Contrast, contrast
from kpi.explain.decompose import Decomposition, decompose
from kpi.explain.disparity import hide_small
from kpi.explain.drift import Drift, drift, drift_columns
from kpi.explain.fairness import Disparity, disparity
from kpi.explain.frontier import Frontier, frontier
from kpi.explain.likely import Likely, likely
from kpi.explain.sequential import running_rate
from kpi.explain.stages import Stages, latency_stages
from kpi.explain.waterfall import Waterfall, cost_waterfall
from kpi.explain.weak import Weak, weak_segments
from kpi.govern.findings import Finding, findings
from kpi.govern.register import Entry, Register, load_register, register_of
from kpi.govern.scorecard import Card, Scorecard, judge_frame, scorecard
from kpi.govern.story import Story, recent, rows_of, story
from kpi.ingest.copy import copy
from kpi.ingest.guard import preview
from kpi.ingest.load import load
from kpi.ingest.mapping import Mapping, Preview, mapping_fields
from kpi.ingest.receipt import Receipt
from kpi.ingest.uploads import Uploads
from kpi.measure import wording
from kpi.measure.metrics import METRICS, Metric, metric, slo_attainment
from kpi.measure.priced import PriceState, init_prices, model_prices, price_sentences, price_state, unpriced_models
from kpi.measure.profile import Profile, profile
from kpi.measure.reliability import pass_hat_k
from kpi.measure.rolling import rolling
from kpi.measure.slice import Resolved, Slice, Window
from kpi.measure.statistics import Grouping
from kpi.measure.summary import compare_windows, resolve, summarise, tally
from kpi.measure.traces import Trace, events, find_traces, trace
from kpi.store.connections import Connection, connections
from kpi.store.databases import SparkSource, SqlSource
from kpi.store.engines import Source, from_frame
from kpi.store.lake import DatasetInfo, VersionInfo, datasets, reprice, restore, versions
from kpi.store.live import Placement, connect, open_connection
from kpi.store.opening import open_dataset, receipt, warm
from kpi.store.opening import open_dataset as open

__all__ = [
    "METRICS",
    "Agreement",
    "Card",
    "Comparison",
    "Connection",
    "Contrast",
    "DatasetInfo",
    "Decomposition",
    "Difference",
    "Disparity",
    "Drift",
    "Entry",
    "Finding",
    "Frontier",
    "Grouping",
    "KpiError",
    "Likely",
    "Mapping",
    "Metric",
    "Placement",
    "Preview",
    "PriceState",
    "Profile",
    "Receipt",
    "Register",
    "Resolved",
    "SampleRatio",
    "Scorecard",
    "Slice",
    "Source",
    "SparkSource",
    "SqlSource",
    "Stages",
    "Story",
    "Trace",
    "Uploads",
    "VersionInfo",
    "Watch",
    "Waterfall",
    "Weak",
    "Window",
    "agreement",
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
    "drift",
    "drift_columns",
    "errors",
    "events",
    "find_traces",
    "findings",
    "from_frame",
    "frontier",
    "hide_small",
    "init_prices",
    "judge_frame",
    "kappa",
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
    "reprice",
    "resolve",
    "restore",
    "rolling",
    "rows_of",
    "running_rate",
    "sample_ratio",
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
