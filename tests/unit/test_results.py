"""What every result can do: show itself, be a frame, plain data and a chart, travel, compare, and bear little data."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

import kpi
from kpi import result, results

VIEW = kpi.Slice(last="28d")
Call = Callable[[kpi.Source], Any]
CALLS: dict[str, Call] = {
    "compare": lambda s: kpi.compare(s, slice=VIEW, metrics=["task_success", "cost_per_query", "latency_p95"]),
    "compared": lambda s: kpi.compare(s, slice=VIEW, metrics=[kpi.slo_attainment(2000)]).rows[0],
    "own metric": lambda s: kpi.compare(s, slice=VIEW, metrics=[kpi.mean("output_tokens"), "task_success_coverage"]),
    "sample_ratio": lambda s: kpi.sample_ratio(s, "de", "en", VIEW, by="language"),
    "cost_waterfall": lambda s: kpi.cost_waterfall(s, VIEW),
    "latency_stages": lambda s: kpi.latency_stages(s, VIEW, q=0.95),
    "decompose": lambda s: kpi.decompose(s, "task_success", VIEW, by=["language", "intent"]),
    "decomposition": lambda s: kpi.decompose(s, "task_success", VIEW, by="language")[0],
    "contrast": lambda s: kpi.contrast(s, VIEW, sample=2000),
    "weak_segments": lambda s: kpi.weak_segments(s, VIEW, dimensions=["language", "channel"]),
    "frontier": lambda s: kpi.frontier(s, VIEW),
    "kappa": lambda s: kpi.kappa(["a", "a", "b", None], ["a", "b", "b", "a"]),
    "drift": lambda s: kpi.drift(s, "intent", VIEW),
    "drifts": lambda s: kpi.drift(s, slice=VIEW),
    "detect": lambda s: kpi.detect(s, "task_success"),
    "disparity": lambda s: kpi.disparity(s, VIEW, by=["language"], metrics=["task_success"]),
    "scorecard": lambda s: kpi.scorecard(s, VIEW),
    "card": lambda s: kpi.scorecard(s, VIEW).cards[0],
    "findings": lambda s: kpi.findings(s, VIEW),
    "story": lambda s: kpi.story(s, VIEW),
    "trace": lambda s: kpi.trace(s, kpi.find_traces(s, limit=1)["trace_id"].iloc[0]),
    "compare_within": lambda s: kpi.compare_within(
        s, "de", "en", ["task_success"], VIEW, by="language", within="channel"
    ),
    "pass_hat_k": lambda s: kpi.pass_hat_k(s, VIEW, by="intent", k=2),
    "agreement": lambda s: kpi.agreement(s, "channel", "channel", VIEW, by=["language"]),
    "agreement of one": lambda s: kpi.agreement(s, "channel", "device", VIEW),
    "difference": lambda s: kpi.difference((0.8, 0.76, 0.84), (0.7, 0.65, 0.75)),
}
Found = dict[str, Any]


@pytest.fixture(scope="module")
def found(sample: kpi.Source) -> Found:
    made = {name: call(sample) for name, call in CALLS.items()}
    gaps = kpi.disparity(sample, VIEW, by=["language"], metrics=["task_success"])
    causes = [kpi.likely(gaps, r.dimension, r.group, metric=r.metric) for r in gaps.groups.itertuples()]
    return made | {"finding": made["findings"][0], "likely": next(c for c in causes if c)}


NAMES = [*CALLS, "finding", "likely"]


def parts(value: Any) -> Iterator[Any]:
    """A value and all that it holds, frames and arrays aside."""
    yield value
    inside: Any = ()
    if dataclasses.is_dataclass(value):
        inside = [getattr(value, f.name) for f in dataclasses.fields(value)]
    elif isinstance(value, dict):
        inside = value.values()
    elif isinstance(value, list | tuple):
        inside = value
    for one in inside:
        yield from parts(one)


def back(value: Any) -> Any:
    return value


def test_every_class_of_an_answer_is_tried(found: Found) -> None:
    tried = {type(part) for value in found.values() for part in parts(value)}
    named = {getattr(results, name) for name in results.__all__}
    assert {c for c in named if issubclass(c, result.Result)} - tried == {result.Result}
    asked = {"Comparison", "Decomposition", "Waterfall", "Stages", "Disparity", "Contrast", "Weak", "Drift", "Frontier",
             "Agreement", "ComparisonWithin", "Reliability",
             "Scorecard", "Watch", "SampleRatio", "Story", "Trace", "Finding"}  # fmt: skip
    assert {c.__name__ for c in tried if isinstance(c, type) and issubclass(c, result.Result)} >= asked


@pytest.mark.parametrize("name", NAMES)
def test_it_shows_itself_in_a_few_lines(name: str, found: Found) -> None:
    lines = repr(found[name]).splitlines()
    assert found[name].sentence
    assert len(lines) <= result.ROWS + 12
    assert [line for line in lines if len(line) > result.WIDTH] == []
    page = found[name]._repr_html_()
    assert "background" not in page
    assert "color" not in page
    assert page.count("<tr>") == page.count("</tr>") <= result.ROWS + 1


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_frame_and_plain_data(name: str, found: Found) -> None:
    frame = found[name].frame()
    assert isinstance(frame, pd.DataFrame)
    assert set(found[name].columns) <= set(frame.columns)
    told = found[name].to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told


@pytest.mark.parametrize("name", NAMES)
def test_its_numbers_are_those_of_python(name: str, found: Found) -> None:
    assert [p for p in parts(found[name]) if isinstance(p, np.generic)] == []


@pytest.mark.parametrize("name", NAMES)
def test_it_draws_itself_in_light_and_dark(name: str, found: Found) -> None:
    light, dark = (found[name].plot(**look).to_dict() for look in ({}, {"colours": kpi.charts.DARK}))
    assert {"height", "vconcat"} & set(light)
    assert light["layer"] if "layer" in light else light.get("vconcat") or light["mark"]
    assert "#e6eaf0" not in json.dumps(light, default=str)
    assert set(light) == set(dark)


@pytest.mark.parametrize("name", NAMES)
def test_the_frame_is_a_copy(name: str, found: Found) -> None:
    before = found[name].to_dict()
    frame = found[name].frame()
    frame[frame.columns[0]] = None
    assert found[name].to_dict() == before


@pytest.mark.parametrize("name", list(CALLS))
def test_equal_calls_are_equal(name: str, found: Found, sample: kpi.Source) -> None:
    assert CALLS[name](sample) == found[name]
    assert found[name] != found["kappa" if name != "kappa" else "drift"]


def test_a_result_with_another_number_is_another(found: Found) -> None:
    one = found["drift"]
    moved = one.distribution.assign(now=one.distribution["now"] * 2)
    assert dataclasses.replace(one, distribution=moved) != one
    assert dataclasses.replace(one, distribution=one.distribution.copy()) == one


def test_results_cross_to_another_process(found: Found) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        there = dict(zip(NAMES, pool.map(back, [found[name] for name in NAMES]), strict=True))
    assert [name for name in NAMES if there[name] != found[name]] == []


@pytest.mark.parametrize("name", list(kpi.METRICS))
def test_metrics_are_pickled_with_their_terms(name: str, sample: kpi.Source) -> None:
    metric = pickle.loads(pickle.dumps(kpi.metric(name)))
    assert isinstance(metric, kpi.Metric)
    assert (metric.y is None) == (kpi.METRICS[name].y is None)


def test_a_pickled_metric_counts_the_same(sample: kpi.Source) -> None:
    for metric in (kpi.metric("task_success"), kpi.metric("critical_incidents"), kpi.share("total_us >= 900")):
        there = pickle.loads(pickle.dumps(metric))
        pd.testing.assert_frame_equal(kpi.summarise(sample, [there]), kpi.summarise(sample, [metric]))


def test_eight_threads_get_the_same(found: Found, sample: kpi.Source) -> None:
    names = ["compare", "decompose", "disparity", "drift", "weak_segments", "scorecard", "findings", "frontier"]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: CALLS[n](sample), names)) == [found[n] for n in names]
        assert all(pool.map(lambda _: repr(found["scorecard"]) == repr(found["scorecard"]), range(8)))


ROW = {"success": [True], "language": ["de"], "model": ["m"], "total_us": [900_000], "total_nusd": [1_000],
       "user_key": ["u"], "started_at": [datetime(2026, 11, 1)]}  # fmt: skip


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("name", [n for n in CALLS if n not in ("kappa", "difference")])
def test_little_data_is_shown_or_refused(name: str, rows: int) -> None:
    source = kpi.from_frame(pd.DataFrame(ROW).head(rows))
    if not rows and name == "trace":
        assert kpi.find_traces(source, limit=1).empty
        return
    try:
        answer = CALLS[name](source)
    except kpi.KpiError as error:
        told = str(error)
        assert told
        return
    assert repr(answer)
    assert answer._repr_html_()
    assert json.dumps(answer.to_dict(), allow_nan=False)
    assert isinstance(answer.frame(), pd.DataFrame)
    assert answer.plot().to_dict()


def test_text_of_an_export_is_text() -> None:
    rows = pd.DataFrame({"value": ["<b>bold</b>\x1b[31m\u202e" + "x" * 200], "now": [1234.5678], "baseline": [np.nan]})
    one = kpi.kappa(["a"], ["a"])
    shown = dataclasses.make_dataclass(
        "Odd", ["sentence", "table"], bases=(result.Result,), frozen=True, eq=False, repr=False,
        namespace={"main": "table", "columns": ("value", "now", "baseline")},
    )(sentence="<i>\x1b", table=rows)  # fmt: skip
    assert "<b>" not in shown._repr_html_()
    assert "<i>" not in shown._repr_html_()
    assert not re.search("[\x1b\u202e]", repr(shown) + shown._repr_html_())
    assert repr(shown).splitlines()[-1].endswith("…  1,235  –")
    assert one.kappa != one.kappa  # both always said the same: unknown, and yet
    assert one == kpi.kappa(["a"], ["a"])


def test_a_list_of_findings_is_a_list(found: Found) -> None:
    told = found["findings"]
    assert isinstance(told, list)
    assert told == list(told)
    assert list(told.frame()["metric"]) == [f.metric for f in told]
    with pytest.raises(kpi.errors.SliceError, match="no times"):
        kpi.findings(kpi.from_frame(pd.DataFrame({"success": [True]})))


def test_units_share_no_axis(found: Found) -> None:
    frame = found["findings"].frame()
    assert frame["unit"].nunique() > 1
    assert len(found["findings"].plot().to_dict()["vconcat"]) == frame["unit"].nunique()


def test_sources_in_memory_and_stored_ones_travel(sample: kpi.Source, sample_home: Path) -> None:
    rows = pd.DataFrame({**{k: v * 40 for k, v in ROW.items()}, "verdict": ["good", "bad"] * 20})
    mine = kpi.from_frame(rows, outcomes=["verdict"])
    for source in (mine, sample):
        there = pickle.loads(pickle.dumps(source))
        assert (there.fingerprint, there.version, there.outcomes) == (
            source.fingerprint,
            source.version,
            source.outcomes,
        )
        assert repr(there) == repr(source)
        pd.testing.assert_frame_equal(there.columns, source.columns)
        asked = ["task_success", "cost_per_query", "latency_p95"]
        pd.testing.assert_frame_equal(
            kpi.summarise(there, asked, by="language"), kpi.summarise(source, asked, by="language")
        )
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pd.testing.assert_frame_equal(pool.submit(kpi.summarise, mine, "task_success").result(),
                                      kpi.summarise(mine, "task_success"))  # fmt: skip


def test_a_source_that_cannot_travel_says_so(
    sample: kpi.Source, sample_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = pickle.dumps(sample)
    other = sent.replace(sample.fingerprint.encode(), b"0" * 16)
    with pytest.raises(kpi.KpiError, match="other rows"):
        pickle.loads(other)
    monkeypatch.setenv("KPI_HOME", str(tmp_path))
    with pytest.raises(kpi.KpiError, match="no data set"):
        pickle.loads(sent)
    place = tmp_path / "rows.db"
    with sqlite3.connect(place) as made:
        made.execute("CREATE TABLE requests (trace_id TEXT, success BOOLEAN)")
    made.close()
    with pytest.raises(kpi.KpiError, match="read in place"):
        pickle.dumps(kpi.SqlSource(sa.create_engine(f"sqlite:///{place}"), name="lab"))


def test_a_source_shows_itself(sample: kpi.Source) -> None:
    rows = pd.DataFrame({"success": [True, False], "language": ["<b>", None], "refused": [None, None],
                         "started_at": pd.to_datetime(["2026-11-01", "2026-11-03"], utc=True)})  # fmt: skip
    source = kpi.from_frame(rows)
    head, columns = repr(source).splitlines()
    assert head == "frame: 2 requests, 2026-11-01 to 2026-11-03"
    assert "success" in columns
    assert "refused" not in columns
    assert "<p>frame" in source._repr_html_()
    assert repr(sample).startswith("sample, version 1: 12,000 requests, ")
    assert max(map(len, repr(sample).splitlines())) <= 100
