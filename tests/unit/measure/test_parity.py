"""Every engine gives the numbers of DuckDB over the lake: the whole registry on the sample, to 1e-9."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import kpi
from kpi.measure.estimate import LOG_BASE
from kpi.schema import TABLES
from kpi.store import lake
from kpi.store.engines import Source
from sample_data.__main__ import receipt_of, stage
from sample_data.world import build
from tests.engines import ENGINES, filled, insert

pytestmark = pytest.mark.slow

BERLIN = kpi.Slice(last="all", tz="Europe/Berlin")
OWN = [
    kpi.share("retrieved_docs >= 3"), kpi.share("success"), kpi.share("confidence > 0.5"), kpi.share("language == es"),
    kpi.mean("confidence"), kpi.mean("total_nusd", unit="usd"), kpi.mean("m_margin", name="margin"),
    kpi.ratio("m_margin", "success", name="margin_per_success"), kpi.quantile("input_tokens", 0.9),
    kpi.share("m_margin < 0"),
]  # fmt: skip
QUANTILES = {m.name for m in (*kpi.METRICS.values(), *OWN) if m.kind == "quantile"}
QUESTIONS = {
    "every metric": (
        list(kpi.METRICS), BERLIN, [kpi.Grouping(), kpi.Grouping(by=("prompt_version",)), kpi.Grouping(every="month")]
    ),
    "days": (["requests", "correctness", "latency_p95"], BERLIN, [kpi.Grouping(by=("language",), every="day")]),
    "filtered, half-hour zone, hours": (
        ["requests", "task_success", "latency_p95"],
        kpi.Slice(last="3d", tz="Asia/Kolkata").where(language=["es", "(none)"]),
        [kpi.Grouping(every="hour"), kpi.Grouping(by=("intent",), every="hour", intervals=False)],
    ),
    "weeks": (["requests", "cost_per_query", "cost_p50"], BERLIN, [kpi.Grouping(by=("intent",), every="week")]),
    "own": (OWN, BERLIN, [kpi.Grouping(), kpi.Grouping(by=("intent",))]),
    "months": (["users", "error_rate"], kpi.Slice(last="all", tz="America/New_York"), [kpi.Grouping(every="month")]),
    "nothing": (["requests", "task_success", "latency_p95"], BERLIN.where(language="(none)"), [kpi.Grouping()]),
}  # fmt: skip


@pytest.fixture(scope="module")
def world() -> dict[str, pa.Table]:
    made = build(requests=4_000)
    margin = np.random.default_rng(1).normal(0.2, 1, 4_000).round(4)
    made["requests"] = made["requests"].append_column("m_margin", pa.array(margin, mask=margin > 2))
    return made


@pytest.fixture(scope="module")
def lake_source(world: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """The sample in the lake, read by DuckDB: what every other engine is compared with."""
    home, staged = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("staged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPI_HOME", str(home))
        stage(world, staged)
        lake.commit("sample", staged, receipt_of(world))
        yield kpi.open("sample")


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, world: dict[str, pa.Table], tmp_path_factory) -> Iterator[Source]:
    """The sample's requests in one engine after the other."""
    with filled(request.param, world["requests"], tmp_path_factory.mktemp("engine")) as opened:
        yield opened()


@pytest.fixture(scope="module")
def expected(lake_source: Source) -> Callable[[str], list[pd.DataFrame]]:
    """The answer of the lake to a question, asked once."""
    return functools.cache(lambda question: ask(lake_source, question))


def ask(source: Source, question: str) -> list[pd.DataFrame]:
    metrics, view, groupings = QUESTIONS[question]
    return kpi.tally(source, metrics, view, groupings=groupings)


@pytest.mark.parametrize("question", QUESTIONS)
def test_metrics_agree(question: str, engine: Source, expected: Callable[[str], list[pd.DataFrame]]) -> None:
    for right, found in zip(expected(question), ask(engine, question), strict=True):
        assert len(right) >= (len(QUESTIONS[question][0]) if question != "nothing" else 0)
        sketched = right["metric"].isin(QUANTILES)
        pd.testing.assert_frame_equal(found[~sketched], right[~sketched], rtol=1e-9, atol=0, check_dtype=False)
        pd.testing.assert_frame_equal(found[sketched], right[sketched], rtol=LOG_BASE - 1, atol=0, check_dtype=False)
        other = ~np.isclose(found["value"], right["value"], rtol=1e-9, equal_nan=True)
        assert other.sum() <= 0.01 * len(found), "a value on the border of two bins may fall into either; few do"


def test_profiles_agree(engine: Source, lake_source: Source) -> None:
    ours, theirs = kpi.profile(lake_source), kpi.profile(engine)
    assert (theirs.first, theirs.last, theirs.requests) == (ours.first, ours.last, ours.requests)
    assert theirs.dimensions == ours.dimensions
    assert theirs.filled == {k: v for k, v in ours.filled.items() if k != "day"}


def test_traces_agree(engine: Source, lake_source: Source) -> None:
    """The same requests in the same order; the user column is hidden where rows are read in place."""
    view = kpi.Slice(last="7d").where(language="es")
    for sort, text in (("recent", ""), ("cost", "REFUND"), ("latency", ""), ("failed", "a%b")):
        ours, theirs = (kpi.find_traces(s, view, sort=sort, text=text, limit=20) for s in (lake_source, engine))
        assert theirs["user_key"].isna().all()
        pd.testing.assert_frame_equal(
            theirs.drop(columns="user_key"), ours.drop(columns="user_key"), check_dtype=False, rtol=1e-12
        )
    one = ours["trace_id"].iloc[0] if len(ours) else kpi.find_traces(lake_source, view)["trace_id"].iloc[0]
    expected, found = kpi.trace(lake_source, one).request, kpi.trace(engine, one).request
    assert "user_key" not in found
    assert {k: v for k, v in found.items() if k != "day"} == {
        k: v for k, v in expected.items() if k not in ("user_key", "day")
    }


def test_drift_and_rolling_agree(engine: Source, lake_source: Source) -> None:
    view = kpi.Slice(last="14d", tz="Europe/Berlin")
    for column in ("intent", "total_us"):
        ours, theirs = (kpi.drift(s, column, view) for s in (lake_source, engine))
        assert theirs.sentence == ours.sentence
        pd.testing.assert_frame_equal(theirs.series, ours.series, rtol=1e-6, check_dtype=False)
    ours, theirs = (kpi.rolling(s, ["task_success", "latency_p95"], view) for s in (lake_source, engine))
    pd.testing.assert_frame_equal(theirs, ours, rtol=1e-9, check_dtype=False)


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_whole_traces_and_events_agree(kind: str, world: dict[str, pa.Table], lake_source: Source, tmp_path) -> None:
    """All canonical tables in place: spans, documents, tool calls, scores and incidents of a request, and events."""
    with filled(kind, world["requests"], tmp_path) as opened:
        source = opened()
        assert kpi.events(source).empty  # not there yet
        for name, rows in world.items():
            if name != "requests":
                insert(source._engine, name, rows)
        source = opened()
        view = kpi.Slice(last="all")
        bad = kpi.find_traces(lake_source, view, sort="failed", limit=3)["trace_id"]
        incident = world["incidents"]["trace_id"][0].as_py()
        for one in (*bad, incident):
            right, found = kpi.trace(lake_source, one), kpi.trace(source, one)
            assert found.why == right.why
            for part in ("spans", "documents", "tool_calls", "scores", "incidents"):
                ours, theirs = (getattr(t, part).reset_index(drop=True) for t in (right, found))
                same = [c for c in ours if c in theirs and c != "day"]
                assert len(same) >= len(TABLES[part].names) - 1
                pd.testing.assert_frame_equal(theirs[same], ours[same], check_dtype=False, rtol=1e-9)
        assert len(kpi.trace(source, bad.iloc[0]).spans)
        ours, theirs = (kpi.events(s, view) for s in (lake_source, source))
        assert len(ours)
        pd.testing.assert_frame_equal(theirs, ours, check_dtype=False)


def test_a_table_of_somebody_else_is_no_canonical_table(world: dict[str, pa.Table], tmp_path) -> None:
    """`events` and `scores` are common names: a table without the key columns, or with other types, is left alone."""
    with filled("sqlite", world["requests"].slice(0, 50), tmp_path) as opened:
        engine = opened()._engine
        insert(engine, "events", pa.table({"at": ["noon"], "name": ["party"]}))
        insert(engine, "scores", pa.table({"score_id": ["a"], "trace_id": ["b"], "value": ["ten points"]}))
        source = opened()
        assert kpi.events(source).empty
        assert kpi.trace(source, world["requests"]["trace_id"][0].as_py()).scores.empty
