"""summarise() against plain pandas: every metric, on random frames with holes, random filters, groups and buckets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from kpi.errors import MetricError, SliceError
from kpi.measure.cells import Grouping
from kpi.measure.metrics import METRICS
from kpi.measure.slice import GRAINS, NONE_VALUE, Slice
from kpi.measure.summary import summarise, tally
from kpi.schema import ARROW, REQUESTS, SEVERITIES
from kpi.store.engines import DuckSource, from_frame
from sample_data import world
from tests import plain

pytestmark = pytest.mark.slow

BIN = 0.00502  # half a bin of the sketch, relative
DIMENSIONS = {
    "language": ["en", "es", "de"],
    "x_team": ["red", "(none)", 'o\'hara "$1" %(x)s :y'],
    "worst_severity": SEVERITIES,
}
MEASURES = [c.name for c in REQUESTS.columns if c.privacy == "measure"]
USERS = ("one", "few", "all", "some", "none", "sessions")


def make(seed: int, n: int, *, holes: float = 0.2, users: str = "some", times: bool = True) -> pd.DataFrame:
    """A random frame of requests with canonical columns; `holes` is the share of unknown values in each column."""
    rng = np.random.default_rng(seed)
    holed = lambda values: pd.Series(values, dtype=object).mask(pd.Series(rng.random(n) < holes), None)  # noqa: E731
    columns: dict[str, pd.Series] = {"trace_id": pd.Series([f"t{i}" for i in range(n)], dtype=object)}
    who = {"one": np.zeros(n, int), "few": rng.integers(0, 5, n), "all": np.arange(n)}.get(
        users, rng.integers(0, max(n // 3, 1), n)
    )
    if users in ("one", "few", "all"):
        columns["user_key"] = pd.Series([f"u{i}" for i in who], dtype=object)
    elif users == "some":
        columns["user_key"] = holed([f"u{i}" for i in who])
    if users in ("some", "sessions"):
        columns["session_id"] = holed([f"s{i}" for i in rng.integers(0, max(n // 2, 1), n)])
    for column in REQUESTS.columns:
        if column.privacy != "measure":
            continue
        if column.type == "bool":
            columns[column.name] = holed((rng.random(n) < 0.7).tolist())
        elif column.type == "int" and column.unit in ("us", "nusd"):
            amounts = np.exp(rng.normal(14, 2, n)).astype(np.int64) * (rng.random(n) > 0.05)
            columns[column.name] = holed(amounts.tolist())
        elif column.type == "int":
            columns[column.name] = holed(rng.integers(0, 4, n).tolist())
    for name, values in DIMENSIONS.items():
        columns[name] = holed(rng.choice(values, n).tolist())
    if times:
        start = pd.Timestamp("2026-03-26", tz="UTC")  # ten days over the clock change in Berlin
        columns["started_at"] = holed(
            [start + pd.Timedelta(microseconds=int(u)) for u in rng.integers(0, 10 * 86_400_000_000, n)]
        )
    return pd.DataFrame(columns)


def arrow(frame: pd.DataFrame) -> pa.Table:
    kinds = {c.name: ARROW[c.type] for c in REQUESTS.columns}
    return pa.table({c: pa.array(frame[c].tolist(), kinds.get(c, pa.string())) for c in frame})


def assert_values(frame: pd.DataFrame, expected: dict[tuple, dict[str, float]], *, by: tuple[str, ...] = ()) -> None:
    """The frame of summarise() holds exactly the expected keys, and their numbers."""
    frame = frame.astype(dict.fromkeys(by, object))
    labels = [frame[d].where(frame[d].notna(), None) for d in by]
    buckets = [] if frame["bucket"].isna().all() else [frame["bucket"]]
    found = dict(zip(zip(frame["metric"], *labels, *buckets, strict=True), frame.to_dict("records"), strict=True))
    assert len(found) == len(frame), "a key comes twice"
    assert found.keys() == expected.keys()
    for key, want in expected.items():
        got, metric = found[key], METRICS[key[0]]
        loose = metric.kind == "quantile"
        assert got["value"] == pytest.approx(want["value"], rel=BIN if loose else 1e-9, abs=1e-12, nan_ok=True), key
        for side in ("low", "high"):
            assert got[side] == pytest.approx(want[side], rel=1e-7, abs=1e-12, nan_ok=True), (key, side)
        assert (got["n"], got["clusters"], got["unit"]) == (want["n"], want["clusters"], metric.unit), key
        if metric.kind != "incidence" and metric.unit != "share":
            continue
        assert np.isnan(got["low"]) or got["low"] <= got["value"] + 1e-9, key
        assert np.isnan(got["high"]) or got["high"] >= got["value"] - 1e-9, key


@st.composite
def questions(draw: st.DrawFn) -> dict:
    times = draw(st.booleans() | st.just(True))
    filters = {}
    for dimension in draw(st.lists(st.sampled_from(["language", "x_team"]), unique=True, max_size=2)):
        choices = st.sampled_from([*DIMENSIONS[dimension], NONE_VALUE, "unheard of"])
        filters[dimension] = draw(st.lists(choices, min_size=1, max_size=3))
    return {
        "metrics": draw(st.lists(st.sampled_from(sorted(METRICS)), min_size=12, max_size=12, unique=True)),
        "frame": make(draw(st.integers(0, 2**32)), draw(st.sampled_from([0, 1, 2, 7, 25, 60])), times=times,
                      holes=draw(st.sampled_from([0.0, 0.2, 0.9, 1.0])), users=draw(st.sampled_from(USERS))),
        "drop": draw(st.sets(st.sampled_from(MEASURES), max_size=12)),
        "by": tuple(draw(st.lists(st.sampled_from([*DIMENSIONS, "resolved"]), unique=True, max_size=2))),
        "every": draw(st.none() | st.sampled_from(GRAINS)) if times else None,
        "filters": filters,
        "last": draw(st.sampled_from(["all", "all", "3d", "24h", "1w"])),
        "tz": draw(st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York"])),
    }  # fmt: skip


def sliced(frame: pd.DataFrame, slice: Slice) -> pd.DataFrame:
    """The rows of a slice, by pandas."""
    rows = frame
    for dimension, values in slice.filters:
        column = rows[dimension]
        keep = column.isin([v for v in values if v != NONE_VALUE]) & column.notna()
        rows = rows[keep | column.isna()] if NONE_VALUE in values else rows[keep]
    times = (
        pd.to_datetime(frame["started_at"], utc=True)
        if "started_at" in frame
        else pd.Series(dtype="datetime64[us, UTC]")
    )
    if times.notna().any():
        window = slice.resolve(times.min().to_pydatetime(), times.max().to_pydatetime()).window
        assert window is not None
        mine = times[rows.index]
        rows = rows[(mine >= window.start) & (mine < window.end)]
    return rows


@settings(
    max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(questions())
def test_every_metric_equals_plain_pandas(question: dict) -> None:
    frame = question["frame"].drop(columns=[c for c in question["drop"] if c not in question["by"]], errors="ignore")
    slice = Slice(
        last=question["last"], tz=question["tz"], filters=tuple((d, tuple(v)) for d, v in question["filters"].items())
    )
    by, every, metrics = question["by"], question["every"], question["metrics"]
    if any(v not in {*frame[d].dropna(), NONE_VALUE} for d, given in slice.filters for v in given):
        with pytest.raises(SliceError, match="No request has"):
            summarise(from_frame(arrow(frame)), metrics, slice, by=by, every=every)
        return
    answer = summarise(from_frame(arrow(frame)), metrics, slice, by=by, every=every)
    assert_values(answer, plain.summarise(sliced(frame, slice), metrics, by=by, every=every, tz=slice.tz), by=by)


def test_the_plain_oracle_knows_every_metric() -> None:
    rows = plain.complete(make(0, 5))
    assert all(set(plain.measure(m, rows)) == {"value", "low", "high", "n", "clusters"} for m in METRICS)


@pytest.mark.parametrize("users", USERS)
@pytest.mark.parametrize("holes", [0.0, 0.3, 1.0])
def test_users_and_holes(users: str, holes: float) -> None:
    frame = make(11, 90, users=users, holes=holes)
    source = from_frame(arrow(frame))
    slice = Slice(last="all")
    rows = sliced(frame, slice)
    assert_values(summarise(source, list(METRICS), slice), plain.summarise(rows, list(METRICS)))


def test_totals_and_unknown_values_stay_apart() -> None:
    """One statement with several groupings: the row of unknown language is not the total, nor the other way round."""
    frame = make(3, 120, holes=0.4)
    groupings = [
        Grouping(), Grouping(by=("language",)), Grouping(by=("language", "x_team")), Grouping(every="month"),
        Grouping(by=("x_team",), every="week"), Grouping(by=("x_team",), intervals=False),
    ]  # fmt: skip
    frames = tally(from_frame(arrow(frame)), list(METRICS), Slice(last="all"), groupings=groupings)
    rows = sliced(frame, Slice(last="all"))
    for grouping, found in zip(groupings, frames, strict=True):
        expected = plain.summarise(rows, list(METRICS), by=grouping.by, every=grouping.every)
        if not grouping.intervals:
            for key, want in expected.items():
                expected[key] = {**want, "low": np.nan, "high": np.nan, "clusters": 0}
        assert_values(found, expected, by=grouping.by)


def test_groupings_alone_or_together_are_the_same() -> None:
    source = from_frame(arrow(make(4, 150)))
    groupings = [Grouping(), Grouping(by=("language",)), Grouping(by=("language",), every="day")]
    together = tally(source, list(METRICS), Slice(last="all"), groupings=groupings)
    for grouping, found in zip(groupings, together, strict=True):
        alone = summarise(source, list(METRICS), Slice(last="all"), by=grouping.by, every=grouping.every)
        pd.testing.assert_frame_equal(found, alone, rtol=1e-9)


def test_an_empty_slice_has_no_numbers() -> None:
    source = from_frame(arrow(make(5, 50)))
    for by, every in (((), None), (("language",), None), ((), "day")):
        frame = summarise(source, list(METRICS), Slice(start="2001-01-01", end="2001-01-02"), by=by, every=every)
        series = ["start", "complete"] if every else []
        assert list(frame.columns) == [
            "metric",
            *by,
            "bucket",
            "value",
            "low",
            "high",
            "n",
            "clusters",
            "unit",
            "clustered_by",
            "effective_users",
            "heaviest",
            *series,
        ]
        assert len(frame) == 0


def test_without_times_every_row_counts() -> None:
    frame = make(6, 40, times=False)
    source = from_frame(arrow(frame))
    assert summarise(source, "requests", Slice(last="7d"))["value"].tolist() == [40]
    assert len(summarise(source, "requests", every="day")) == 0


def test_one_request() -> None:
    source = from_frame(pa.table({"success": [True], "total_us": [2_000_000]}))
    frame = summarise(source, ["task_success", "latency_p95"])  # fmt: skip
    assert frame["value"].tolist() == [1.0, pytest.approx(2000, rel=BIN)]
    assert frame["n"].tolist() == [1, 1]
    assert frame[["low", "high"]].isna().all(axis=None)


def test_money_and_time_are_exact_sums() -> None:
    """Sums of nano-dollars beyond 2^53 do not depend on the order of rows."""
    amounts = [2**53 + 1, 1, 1, 2**53 + 3]
    value = summarise(from_frame(pa.table({"total_nusd": amounts})), "cost_per_query")["value"][0]
    assert value == pytest.approx(sum(amounts) / 4 * 1e-9, rel=1e-15)


def test_a_custom_metric_of_the_registry_form() -> None:
    slow = replace(METRICS["slo_attainment"], name="fast")
    source = from_frame(pa.table({"total_us": [1, 9_000_000]}))
    assert summarise(source, [slow, "slo_attainment"])["value"].tolist() == [0.5, 0.5]


def test_what_is_unknown_is_named() -> None:
    source = from_frame(arrow(make(7, 10)))
    with pytest.raises(MetricError, match="task_sucess") as caught:
        summarise(source, "task_sucess")
    assert "task_success" in caught.value.hint
    for dimension in ("planet", "trace_id", "user_key", "input_text", "started_at", "attributes"):
        with pytest.raises(MetricError) as caught:
            summarise(source, "requests", by=(dimension,))
        assert caught.value.code == "dimension.unknown"
        with pytest.raises(MetricError):
            summarise(source, "requests", Slice().where(**{dimension: "x"}))
    with pytest.raises(SliceError):
        summarise(source, "requests", every="minute")


def test_groupings_that_share_axes_do_not_meet() -> None:
    source = DuckSource(name="world", fingerprint="w", tables={"requests": world.build(requests=2_000)["requests"]})
    view = Slice(last="all")
    names = ["task_success", "latency_p95", "requests", "users"]
    groupings = [
        Grouping(by=("language",), metrics=("task_success",)),
        Grouping(by=("language",), metrics=("latency_p95", "requests")),
        Grouping(by=("language", "intent"), intervals=False),
        Grouping(by=("intent", "language")),
        Grouping(by=("language",)),
    ]
    frames = tally(source, names, view, groupings=groupings)
    whole = summarise(source, names, view, by=["language"])
    for frame, wanted in zip(frames[:2], (["task_success"], ["latency_p95", "requests"]), strict=True):
        alone = whole[whole["metric"].isin(wanted)].reset_index(drop=True)
        pd.testing.assert_frame_equal(frame, alone)
    pd.testing.assert_frame_equal(frames[4], whole)
    pd.testing.assert_frame_equal(frames[3], summarise(source, names, view, by=["intent", "language"]))
    crossed = frames[2].sort_values(["metric", "intent", "language"], ignore_index=True)[frames[3].columns]
    straight = frames[3].sort_values(["metric", "intent", "language"], ignore_index=True)
    pd.testing.assert_frame_equal(crossed, straight)
