"""Splits and contrasts are the same on every engine: their statements hold nothing that only DuckDB understands."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pyarrow as pa
import pytest

import kpi
from kpi.store.engines import DuckSource, Source
from sample_data.world import build
from tests.engines import ENGINES, filled

pytestmark = pytest.mark.slow

SLICE = kpi.Slice(last="28d")
QUICK = [e for e in ENGINES if e != "spark"]  # Spark agrees too, but takes a minute and a half to say so


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return build(requests=4_000)["requests"]


@pytest.fixture(scope="module")
def here(rows: pa.Table) -> Source:
    return DuckSource(name="here", fingerprint="e" * 16, tables={"requests": rows})


@pytest.fixture(scope="module", params=QUICK)
def engine(
    request: pytest.FixtureRequest, rows: pa.Table, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Source]:
    with filled(request.param, rows, tmp_path_factory.mktemp("engine")) as opened:
        yield opened()


def test_splits_agree(engine: Source, here: Source) -> None:
    for metric in ("task_success", "cost_per_resolved"):
        one, two = (kpi.decompose(s, metric, SLICE, by=["language", "intent"]) for s in (engine, here))
        assert [d.by for d in one] == [d.by for d in two]
        for a, b in zip(one, two, strict=True):
            pd.testing.assert_frame_equal(a.parts, b.parts, rtol=1e-9, atol=1e-12)
    cost = [kpi.cost_waterfall(s, SLICE) for s in (engine, here)]
    pd.testing.assert_frame_equal(cost[0].steps, cost[1].steps, rtol=1e-9)
    for q in (None, 0.95):
        stages = [kpi.latency_stages(s, SLICE, q=q) for s in (engine, here)]
        pd.testing.assert_frame_equal(stages[0].parts, stages[1].parts, rtol=1e-9, atol=1e-9)


def test_conditions_agree(engine: Source, here: Source) -> None:
    for told in (
        "cost > 0.01 and tool_errors > 0", "not success and latency > 1.5 s", "language in (es, de) or error",
        "severity >= major or incidents > 0", "question contains e", "time >= 2026-11-10 and not (success is unknown)",
        "not (groundedness < 70 % and resolved)", "retrieval_ms >= 120 and prompt is known", "output_tokens != 2.5",
    ):  # fmt: skip
        one, two = (kpi.find_traces(s, SLICE, condition=told, sort="incident", limit=500) for s in (engine, here))
        assert one["trace_id"].tolist() == two["trace_id"].tolist(), told
        assert one.attrs == two.attrs, told


@pytest.mark.parametrize("unit", ["request", "session"])
def test_contrasts_agree(engine: Source, here: Source, unit: str) -> None:
    one, two = (kpi.contrast(s, SLICE, sample=400, unit=unit) for s in (engine, here))
    assert (one.failed, one.succeeded, one.sampled, one.looked) == (two.failed, two.succeeded, two.sampled, two.looked)
    pd.testing.assert_frame_equal(one.lifts, two.lifts, rtol=1e-9)
    assert one.tree is not None
    assert two.tree is not None
    pd.testing.assert_frame_equal(one.tree.leaves, two.tree.leaves)


def test_gaps_agree(engine: Source, here: Source) -> None:
    metrics = ["task_success", "cost_per_resolved", "latency_p50", "latency_p95"]
    by = ["language", ("language", "device")]
    one, two = (kpi.disparity(s, SLICE, by=by, metrics=metrics) for s in (engine, here))
    pd.testing.assert_frame_equal(one.groups, two.groups, rtol=1e-6, atol=1e-9)
    pd.testing.assert_frame_equal(one.gaps, two.gaps, rtol=1e-6, atol=1e-9)
