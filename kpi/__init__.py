"""The AI index as a Python package: load traces, slice them, read numbers with intervals, states and reasons.

    import kpi
    source = kpi.open("sample")
    kpi.summarise(source, ["task_success", "latency_p95"], kpi.Slice(last="28d"), by=["language"])
    kpi.scorecard(source).frame()

Every number on a page of the app comes from a call named here. `GROUPS` lists the public names by what they are for;
the classes of their results are in `kpi.results`. A name loads when it is first asked for, so `import kpi` is quick.
"""

from __future__ import annotations

from collections.abc import Callable as _Callable, Mapping as _Mapping
from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names for editors and type checkers, who run nothing; a test holds both lists equal
    from kpi import charts as charts, errors as errors
    from kpi.errors import KpiError as KpiError
    from kpi.explain.comparison.compare import (
        Comparison as Comparison,
        ComparisonWithin as ComparisonWithin,
        compare as compare,
        compare_within as compare_within,
    )
    from kpi.explain.comparison.sample_ratio import SampleRatio as SampleRatio, sample_ratio as sample_ratio
    from kpi.explain.decomposition.cost_waterfall import Waterfall as Waterfall, cost_waterfall as cost_waterfall
    from kpi.explain.decomposition.latency_stages import Stages as Stages, latency_stages as latency_stages
    from kpi.explain.decomposition.rate_mix import Decomposition as Decomposition, decompose as decompose
    from kpi.explain.evaluation.agreement import Agreement as Agreement, agreement as agreement, kappa as kappa
    from kpi.explain.evaluation.frontier import Frontier as Frontier, frontier as frontier
    from kpi.explain.evaluation.reliability import Reliability as Reliability, pass_hat_k as pass_hat_k
    from kpi.explain.failures.contrast import Contrast as Contrast, contrast as contrast
    from kpi.explain.fairness.disparity import Disparity as Disparity, disparity as disparity
    from kpi.explain.fairness.likely_cause import LikelyCause, likely as likely
    from kpi.explain.monitoring.changepoint import (
        Watch as Watch,
        change_points as change_points,
        detect as detect,
        outliers as outliers,
    )
    from kpi.explain.monitoring.drift import (
        Drift as Drift,
        Drifts as Drifts,
        drift as drift,
        drift_columns as drift_columns,
    )
    from kpi.explain.segments.weak_segments import Weak as Weak, weak_segments as weak_segments
    from kpi.govern.card import Card as Card
    from kpi.govern.findings import Finding as Finding, findings as findings, recent as recent
    from kpi.govern.reading import read_first as read_first
    from kpi.govern.register import (
        Entry as Entry,
        Register as Register,
        load_register as load_register,
        register_of as register_of,
    )
    from kpi.govern.scorecard import Scorecard as Scorecard, judge_frame as judge_frame, scorecard as scorecard
    from kpi.govern.story import Story as Story, rows_of as rows_of, story as story
    from kpi.ingest.sandbox.supervisor import preview as preview
    from kpi.loading.copy import copy as copy
    from kpi.loading.frame import from_frame as from_frame
    from kpi.loading.load import load as load, saved_allow as saved_allow
    from kpi.loading.opened import open_source
    from kpi.loading.uploads import Uploads as Uploads
    from kpi.loading.user_keys import (
        KeyState as KeyState,
        adopt_key as adopt_key,
        backup_key as backup_key,
        forget_key as forget_key,
        key_state as key_state,
        restore_key as restore_key,
        rotate_key as rotate_key,
    )
    from kpi.mapping.mapping import (
        Mapping as Mapping,
        Preview as Preview,
        PreviewColumn as PreviewColumn,
        mapping_fields as mapping_fields,
    )
    from kpi.measure.cells import Grouping as Grouping
    from kpi.measure.metrics import (
        METRICS as METRICS,
        Metric as Metric,
        metric as metric,
        slo_attainment as slo_attainment,
    )
    from kpi.measure.own_metrics import (
        mean as mean,
        metrics_of as metrics_of,
        quantile as quantile,
        ratio as ratio,
        share as share,
    )
    from kpi.measure.priced import (
        PriceState as PriceState,
        init_prices as init_prices,
        model_prices as model_prices,
        price_state as price_state,
        unpriced_models as unpriced_models,
    )
    from kpi.measure.profile import Profile as Profile, profile as profile
    from kpi.measure.rolling import rolling as rolling
    from kpi.measure.slice import Resolved as Resolved, Slice as Slice, Window as Window
    from kpi.measure.small_cells import hide_small as hide_small
    from kpi.measure.summary import (
        compare_windows as compare_windows,
        resolve as resolve,
        summarise as summarise,
        tally as tally,
    )
    from kpi.measure.traces import (
        Trace as Trace,
        events as events,
        evidence as evidence,
        find_traces as find_traces,
        rows as rows,
        trace as trace,
    )
    from kpi.narrate import wording as wording
    from kpi.narrate.prices import price_sentences as price_sentences
    from kpi.receipts import Receipt as Receipt
    from kpi.result import Result as Result, Results as Results
    from kpi.stats.interval import Interval, difference as difference
    from kpi.stats.sequential import running_rate as running_rate
    from kpi.store.connections import Connection as Connection, connections as connections
    from kpi.store.databases import SqlSource as SqlSource
    from kpi.store.doctor import (
        Diagnosis as Diagnosis,
        TableHealth as TableHealth,
        VersionHealth as VersionHealth,
        doctor as doctor,
    )
    from kpi.store.engines import Source as Source
    from kpi.store.lake import (
        DatasetInfo as DatasetInfo,
        VersionInfo as VersionInfo,
        datasets as datasets,
        reprice as reprice,
        restore as restore,
        versions as versions,
    )
    from kpi.store.live import Placement as Placement, connect as connect, open_connection as open_connection
    from kpi.store.opening import open_dataset as open_dataset, receipt as receipt, warm as warm
    from kpi.store.repair import Repair as Repair, repair as repair
    from kpi.store.spark import SparkSource as SparkSource

    Difference = Interval
    Likely = LikelyCause
    open = open_source
    __version__: str

# Module in `kpi` and name there; after "=" the public name where it is another.
_LISTED = {
    "Load and open": (
        "loading.load:load ingest.sandbox.supervisor:preview mapping.mapping:Mapping loading.copy:copy "
        "loading.opened:open_source=open loading.frame:from_frame store.engines:Source store.live:connect "
        "store.connections:connections store.databases:SqlSource store.spark:SparkSource"
    ),
    "Data sets and versions": (
        "store.lake:datasets store.lake:versions store.opening:receipt store.lake:restore store.lake:reprice "
        "store.doctor:doctor store.repair:repair"
    ),
    "Measure": (
        "measure.slice:Slice measure.metrics:METRICS measure.metrics:metric measure.own_metrics:metrics_of "
        "measure.own_metrics:share measure.own_metrics:mean measure.own_metrics:ratio measure.own_metrics:quantile "
        "measure.summary:summarise measure.summary:compare_windows measure.rolling:rolling measure.profile:profile "
        "measure.summary:resolve measure.small_cells:hide_small measure.traces:trace govern.reading:read_first "
        "measure.traces:rows measure.traces:find_traces measure.traces:events explain.evaluation.reliability:pass_hat_k"
    ),
    "Compare and explain": (
        "explain.comparison.compare:compare explain.comparison.compare:compare_within "
        "explain.comparison.sample_ratio:sample_ratio stats.interval:difference "
        "explain.decomposition.rate_mix:decompose explain.decomposition.cost_waterfall:cost_waterfall "
        "explain.decomposition.latency_stages:latency_stages explain.failures.contrast:contrast "
        "explain.segments.weak_segments:weak_segments explain.evaluation.frontier:frontier "
        "explain.evaluation.agreement:agreement explain.evaluation.agreement:kappa"
    ),
    "Watch": (
        "explain.monitoring.drift:drift explain.monitoring.changepoint:change_points "
        "explain.monitoring.changepoint:detect explain.monitoring.changepoint:outliers stats.sequential:running_rate"
    ),
    "Fairness": "explain.fairness.disparity:disparity explain.fairness.likely_cause:likely",
    "Govern": ("govern.scorecard:scorecard govern.findings:findings govern.story:story govern.register:load_register"),
    "Users' keys": (
        "loading.user_keys:key_state loading.user_keys:backup_key loading.user_keys:restore_key "
        "loading.user_keys:rotate_key loading.user_keys:adopt_key loading.user_keys:forget_key"
    ),
    "Prices": (
        "measure.priced:price_state measure.priced:model_prices measure.priced:init_prices "
        "measure.priced:unpriced_models"
    ),
    "Errors": "errors:KpiError",
}
# Reached as `kpi.<name>` too, but of use only beside a listed name: results (`kpi.results`) and what the pages need.
_BESIDE = (
    "explain.evaluation.agreement:Agreement govern.card:Card explain.comparison.compare:Comparison "
    "explain.comparison.compare:ComparisonWithin explain.evaluation.reliability:Reliability "
    "store.connections:Connection explain.failures.contrast:Contrast store.lake:DatasetInfo "
    "explain.decomposition.rate_mix:Decomposition store.doctor:Diagnosis stats.interval:Interval=Difference "
    "explain.fairness.disparity:Disparity explain.monitoring.drift:Drift explain.monitoring.drift:Drifts "
    "govern.register:Entry "
    "govern.findings:Finding explain.evaluation.frontier:Frontier measure.cells:Grouping loading.user_keys:KeyState "
    "explain.fairness.likely_cause:LikelyCause=Likely measure.metrics:Metric store.live:Placement "
    "mapping.mapping:Preview mapping.mapping:PreviewColumn measure.priced:PriceState measure.profile:Profile "
    "receipts:Receipt result:Result result:Results govern.register:Register store.repair:Repair measure.slice:Resolved "
    "explain.comparison.sample_ratio:SampleRatio govern.scorecard:Scorecard "
    "explain.decomposition.latency_stages:Stages govern.story:Story store.doctor:TableHealth measure.traces:Trace "
    "loading.uploads:Uploads store.doctor:VersionHealth store.lake:VersionInfo explain.monitoring.changepoint:Watch "
    "explain.decomposition.cost_waterfall:Waterfall explain.segments.weak_segments:Weak measure.slice:Window "
    "explain.monitoring.drift:drift_columns charts:*=charts errors:*=errors govern.scorecard:judge_frame "
    "mapping.mapping:mapping_fields store.live:open_connection store.opening:open_dataset "
    "narrate.prices:price_sentences govern.findings:recent govern.register:register_of govern.story:rows_of "
    "loading.load:saved_allow measure.metrics:slo_attainment measure.summary:tally store.opening:warm "
    "narrate.wording:*=wording measure.traces:evidence"
)


def _homes(listed: str) -> dict[str, tuple[str, str]]:
    """Name -> (module, what it is called there), of entries "module:name" or "module:name=public name"."""
    found = {}
    for entry in listed.split():
        home, _, name = entry.partition(":")
        inside, _, public = name.partition("=")
        found[public or inside] = home, inside
    return found


GROUPS: _Mapping[str, tuple[str, ...]] = {group: tuple(_homes(names)) for group, names in _LISTED.items()}
_HOMES = _homes(" ".join([*_LISTED.values(), _BESIDE]))
# Without `open`: a star import would put it in the place of the builtin.
__all__ = sorted(name for names in GROUPS.values() for name in names if name != "open")


def _guarded(function: _Callable[..., object], name: str) -> object:
    """A public call that understands its arguments, or says what to write instead."""

    def adapt(given: object) -> object:
        return _import_module("kpi.loading.opened").source_of(given)

    def check(arguments: object) -> None:
        _import_module("kpi.measure.asked").check(name, arguments)

    looked_at = check if name in __all__ and name != "compare_windows" else None  # pages ask for all there may be
    guarded: object = _import_module("kpi.arguments").guarded(function, name, adapt, looked_at)
    return guarded


if not TYPE_CHECKING:  # else a type checker would take any name for one that exists

    def __getattr__(name: str) -> object:
        if name == "__version__":
            found: object = _version()
        elif name in _HOMES:
            home, inside = _HOMES[name]
            module = _import_module(f"kpi.{home}")
            found = module if inside == "*" else getattr(module, inside)
            if type(found) is type(_homes):
                found = _guarded(found, name)
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
