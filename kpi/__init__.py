"""The AI index as a Python package: load traces, slice them, read numbers with intervals, states and reasons.

    import kpi
    source = kpi.open("sample")
    kpi.summarise(source, ["task_success", "latency_p95"], kpi.Slice(last="28d"), by=["language"])
    kpi.scorecard(source).frame()

Every number on a page of the app comes from a call named here. `GROUPS` lists the public names by what they are for;
the classes of their results are in `kpi.results`. A name loads when it is first asked for, so `import kpi` is quick.
"""

from __future__ import annotations

from collections.abc import Mapping as _Mapping
from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names for editors and type checkers, who run nothing; a test holds both lists equal
    from kpi import errors as errors
    from kpi.errors import KpiError as KpiError
    from kpi.explain.comparison.compare import Comparison as Comparison
    from kpi.explain.comparison.compare import compare as compare
    from kpi.explain.comparison.compare import compare_within as compare_within
    from kpi.explain.comparison.sample_ratio import SampleRatio as SampleRatio
    from kpi.explain.comparison.sample_ratio import sample_ratio as sample_ratio
    from kpi.explain.decomposition.cost_waterfall import Waterfall as Waterfall
    from kpi.explain.decomposition.cost_waterfall import cost_waterfall as cost_waterfall
    from kpi.explain.decomposition.latency_stages import Stages as Stages
    from kpi.explain.decomposition.latency_stages import latency_stages as latency_stages
    from kpi.explain.decomposition.rate_mix import Decomposition as Decomposition
    from kpi.explain.decomposition.rate_mix import decompose as decompose
    from kpi.explain.evaluation.agreement import Agreement as Agreement
    from kpi.explain.evaluation.agreement import agreement as agreement
    from kpi.explain.evaluation.agreement import kappa as kappa
    from kpi.explain.evaluation.frontier import Frontier as Frontier
    from kpi.explain.evaluation.frontier import frontier as frontier
    from kpi.explain.failures.contrast import Contrast as Contrast
    from kpi.explain.failures.contrast import contrast as contrast
    from kpi.explain.fairness.disparity import Disparity as Disparity
    from kpi.explain.fairness.disparity import disparity as disparity
    from kpi.explain.fairness.likely_cause import LikelyCause
    from kpi.explain.fairness.likely_cause import likely as likely
    from kpi.explain.monitoring.changepoint import Watch as Watch
    from kpi.explain.monitoring.changepoint import change_points as change_points
    from kpi.explain.monitoring.changepoint import detect as detect
    from kpi.explain.monitoring.changepoint import outliers as outliers
    from kpi.explain.monitoring.drift import Drift as Drift
    from kpi.explain.monitoring.drift import drift as drift
    from kpi.explain.monitoring.drift import drift_columns as drift_columns
    from kpi.explain.segments.weak_segments import Weak as Weak
    from kpi.explain.segments.weak_segments import weak_segments as weak_segments
    from kpi.govern.card import Card as Card
    from kpi.govern.findings import Finding as Finding
    from kpi.govern.findings import findings as findings
    from kpi.govern.register import Entry as Entry
    from kpi.govern.register import Register as Register
    from kpi.govern.register import load_register as load_register
    from kpi.govern.register import register_of as register_of
    from kpi.govern.scorecard import Scorecard as Scorecard
    from kpi.govern.scorecard import judge_frame as judge_frame
    from kpi.govern.scorecard import scorecard as scorecard
    from kpi.govern.story import Story as Story
    from kpi.govern.story import recent as recent
    from kpi.govern.story import rows_of as rows_of
    from kpi.govern.story import story as story
    from kpi.ingest.sandbox.supervisor import preview as preview
    from kpi.loading.copy import copy as copy
    from kpi.loading.frame import from_frame as from_frame
    from kpi.loading.load import load as load
    from kpi.loading.load import saved_allow as saved_allow
    from kpi.loading.uploads import Uploads as Uploads
    from kpi.loading.user_keys import KeyState as KeyState
    from kpi.loading.user_keys import adopt_key as adopt_key
    from kpi.loading.user_keys import backup_key as backup_key
    from kpi.loading.user_keys import forget_key as forget_key
    from kpi.loading.user_keys import key_state as key_state
    from kpi.loading.user_keys import restore_key as restore_key
    from kpi.loading.user_keys import rotate_key as rotate_key
    from kpi.mapping.mapping import Mapping as Mapping
    from kpi.mapping.mapping import Preview as Preview
    from kpi.mapping.mapping import PreviewColumn as PreviewColumn
    from kpi.mapping.mapping import mapping_fields as mapping_fields
    from kpi.measure.cells import Grouping as Grouping
    from kpi.measure.metrics import METRICS as METRICS
    from kpi.measure.metrics import Metric as Metric
    from kpi.measure.metrics import metric as metric
    from kpi.measure.metrics import slo_attainment as slo_attainment
    from kpi.measure.own_metrics import mean as mean
    from kpi.measure.own_metrics import metrics_of as metrics_of
    from kpi.measure.own_metrics import quantile as quantile
    from kpi.measure.own_metrics import ratio as ratio
    from kpi.measure.own_metrics import share as share
    from kpi.measure.priced import PriceState as PriceState
    from kpi.measure.priced import init_prices as init_prices
    from kpi.measure.priced import model_prices as model_prices
    from kpi.measure.priced import price_state as price_state
    from kpi.measure.priced import unpriced_models as unpriced_models
    from kpi.measure.profile import Profile as Profile
    from kpi.measure.profile import profile as profile
    from kpi.measure.reliability import pass_hat_k as pass_hat_k
    from kpi.measure.rolling import rolling as rolling
    from kpi.measure.slice import Resolved as Resolved
    from kpi.measure.slice import Slice as Slice
    from kpi.measure.slice import Window as Window
    from kpi.measure.small_cells import hide_small as hide_small
    from kpi.measure.summary import compare_windows as compare_windows
    from kpi.measure.summary import resolve as resolve
    from kpi.measure.summary import summarise as summarise
    from kpi.measure.summary import tally as tally
    from kpi.measure.traces import Trace as Trace
    from kpi.measure.traces import events as events
    from kpi.measure.traces import find_traces as find_traces
    from kpi.measure.traces import trace as trace
    from kpi.narrate import wording as wording
    from kpi.narrate.prices import price_sentences as price_sentences
    from kpi.receipts import Receipt as Receipt
    from kpi.stats.interval import Interval
    from kpi.stats.interval import difference as difference
    from kpi.stats.sequential import running_rate as running_rate
    from kpi.store.connections import Connection as Connection
    from kpi.store.connections import connections as connections
    from kpi.store.databases import SqlSource as SqlSource
    from kpi.store.doctor import Diagnosis as Diagnosis
    from kpi.store.doctor import TableHealth as TableHealth
    from kpi.store.doctor import VersionHealth as VersionHealth
    from kpi.store.doctor import doctor as doctor
    from kpi.store.engines import Source as Source
    from kpi.store.lake import DatasetInfo as DatasetInfo
    from kpi.store.lake import VersionInfo as VersionInfo
    from kpi.store.lake import datasets as datasets
    from kpi.store.lake import reprice as reprice
    from kpi.store.lake import restore as restore
    from kpi.store.lake import versions as versions
    from kpi.store.live import Placement as Placement
    from kpi.store.live import connect as connect
    from kpi.store.live import open_connection as open_connection
    from kpi.store.opening import open_dataset as open_dataset
    from kpi.store.opening import receipt as receipt
    from kpi.store.opening import warm as warm
    from kpi.store.repair import Repair as Repair
    from kpi.store.repair import repair as repair
    from kpi.store.spark import SparkSource as SparkSource

    Difference = Interval
    Likely = LikelyCause
    open = open_dataset
    __version__: str

# Public name: its module in `kpi`, and after a colon what it is called there where that differs.
_LISTED = {
    "Load and open": {
        "load": "loading.load",
        "preview": "ingest.sandbox.supervisor",
        "Mapping": "mapping.mapping",
        "copy": "loading.copy",
        "open": "store.opening:open_dataset",
        "from_frame": "loading.frame",
        "Source": "store.engines",
        "connect": "store.live",
        "connections": "store.connections",
        "SqlSource": "store.databases",
        "SparkSource": "store.spark",
    },
    "Data sets and versions": {
        "datasets": "store.lake",
        "versions": "store.lake",
        "receipt": "store.opening",
        "restore": "store.lake",
        "reprice": "store.lake",
        "doctor": "store.doctor",
        "repair": "store.repair",
    },
    "Measure": {
        "Slice": "measure.slice",
        "METRICS": "measure.metrics",
        "metric": "measure.metrics",
        "metrics_of": "measure.own_metrics",
        "share": "measure.own_metrics",
        "mean": "measure.own_metrics",
        "ratio": "measure.own_metrics",
        "quantile": "measure.own_metrics",
        "summarise": "measure.summary",
        "compare_windows": "measure.summary",
        "rolling": "measure.rolling",
        "profile": "measure.profile",
        "resolve": "measure.summary",
        "hide_small": "measure.small_cells",
        "pass_hat_k": "measure.reliability",
        "trace": "measure.traces",
        "find_traces": "measure.traces",
        "events": "measure.traces",
    },
    "Compare and explain": {
        "compare": "explain.comparison.compare",
        "compare_within": "explain.comparison.compare",
        "sample_ratio": "explain.comparison.sample_ratio",
        "difference": "stats.interval",
        "decompose": "explain.decomposition.rate_mix",
        "cost_waterfall": "explain.decomposition.cost_waterfall",
        "latency_stages": "explain.decomposition.latency_stages",
        "contrast": "explain.failures.contrast",
        "weak_segments": "explain.segments.weak_segments",
        "frontier": "explain.evaluation.frontier",
        "agreement": "explain.evaluation.agreement",
        "kappa": "explain.evaluation.agreement",
    },
    "Watch": {
        "drift": "explain.monitoring.drift",
        "change_points": "explain.monitoring.changepoint",
        "detect": "explain.monitoring.changepoint",
        "outliers": "explain.monitoring.changepoint",
        "running_rate": "stats.sequential",
    },
    "Fairness": {
        "disparity": "explain.fairness.disparity",
        "likely": "explain.fairness.likely_cause",
    },
    "Govern": {
        "scorecard": "govern.scorecard",
        "findings": "govern.findings",
        "story": "govern.story",
        "load_register": "govern.register",
    },
    "Users' keys": {
        "key_state": "loading.user_keys",
        "backup_key": "loading.user_keys",
        "restore_key": "loading.user_keys",
        "rotate_key": "loading.user_keys",
        "adopt_key": "loading.user_keys",
        "forget_key": "loading.user_keys",
    },
    "Prices": {
        "price_state": "measure.priced",
        "model_prices": "measure.priced",
        "init_prices": "measure.priced",
        "unpriced_models": "measure.priced",
    },
    "Errors": {
        "KpiError": "errors",
    },
}
# Reached as `kpi.<name>` too, but of use only beside a listed name: results (`kpi.results`) and what the pages need.
_BESIDE = {
    "Agreement": "explain.evaluation.agreement",
    "Card": "govern.card",
    "Comparison": "explain.comparison.compare",
    "Connection": "store.connections",
    "Contrast": "explain.failures.contrast",
    "DatasetInfo": "store.lake",
    "Decomposition": "explain.decomposition.rate_mix",
    "Diagnosis": "store.doctor",
    "Difference": "stats.interval:Interval",
    "Disparity": "explain.fairness.disparity",
    "Drift": "explain.monitoring.drift",
    "Entry": "govern.register",
    "Finding": "govern.findings",
    "Frontier": "explain.evaluation.frontier",
    "Grouping": "measure.cells",
    "KeyState": "loading.user_keys",
    "Likely": "explain.fairness.likely_cause:LikelyCause",
    "Metric": "measure.metrics",
    "Placement": "store.live",
    "Preview": "mapping.mapping",
    "PreviewColumn": "mapping.mapping",
    "PriceState": "measure.priced",
    "Profile": "measure.profile",
    "Receipt": "receipts",
    "Register": "govern.register",
    "Repair": "store.repair",
    "Resolved": "measure.slice",
    "SampleRatio": "explain.comparison.sample_ratio",
    "Scorecard": "govern.scorecard",
    "Stages": "explain.decomposition.latency_stages",
    "Story": "govern.story",
    "TableHealth": "store.doctor",
    "Trace": "measure.traces",
    "Uploads": "loading.uploads",
    "VersionHealth": "store.doctor",
    "VersionInfo": "store.lake",
    "Watch": "explain.monitoring.changepoint",
    "Waterfall": "explain.decomposition.cost_waterfall",
    "Weak": "explain.segments.weak_segments",
    "Window": "measure.slice",
    "drift_columns": "explain.monitoring.drift",
    "errors": "errors:*",
    "judge_frame": "govern.scorecard",
    "mapping_fields": "mapping.mapping",
    "open_connection": "store.live",
    "open_dataset": "store.opening",
    "price_sentences": "narrate.prices",
    "recent": "govern.story",
    "register_of": "govern.register",
    "rows_of": "govern.story",
    "saved_allow": "loading.load",
    "slo_attainment": "measure.metrics",
    "tally": "measure.summary",
    "warm": "store.opening",
    "wording": "narrate.wording:*",
}

GROUPS: _Mapping[str, tuple[str, ...]] = {group: tuple(names) for group, names in _LISTED.items()}
_HOMES = {name: home for names in (*_LISTED.values(), _BESIDE) for name, home in names.items()}
# Without `open`: a star import would put it in the place of the builtin.
__all__ = sorted(name for names in GROUPS.values() for name in names if name != "open")

if not TYPE_CHECKING:  # else a type checker would take any name for one that exists

    def __getattr__(name: str) -> object:
        if name == "__version__":
            found: object = _version()
        elif name in _HOMES:
            home, _, attribute = _HOMES[name].partition(":")
            module = _import_module(f"kpi.{home}")
            found = module if attribute == "*" else getattr(module, attribute or name)
        else:
            raise AttributeError(f"module 'kpi' has no attribute {name!r}")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*__all__, "open", "GROUPS", "__version__", *(name for name in globals() if name.startswith("__"))})


def _version() -> str:
    """Of the installed distribution; a copy of the source that is not installed has none."""
    metadata = _import_module("importlib.metadata")
    try:
        return str(metadata.version("ai-index"))
    except metadata.PackageNotFoundError:
        return "0+unknown"
