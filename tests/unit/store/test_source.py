"""Sources: many threads on one source, frames of three libraries, columns that are not there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

import kpi
from kpi.errors import MetricError, StoreError
from kpi.measure.metrics import METRICS
from kpi.measure.slice import Slice
from kpi.measure.summary import summarise
from kpi.store.cache import build_cache
from kpi.store.engines import DuckSource, from_frame
from sample_data import world

pytestmark = pytest.mark.slow


def rows(n: int = 400) -> pa.Table:
    rng = np.random.default_rng(8)
    known = rng.random(n) > 0.2
    return pa.table(
        {
            "trace_id": [f"t{i}" for i in range(n)],
            "user_key": [f"u{i}" for i in rng.integers(0, 60, n)],
            "started_at": pa.array(np.datetime64("2026-03-01") + rng.integers(0, 9 * 86_400, n).astype("m8[s]")).cast(
                pa.timestamp("us", tz="UTC")
            ),
            "language": [["en", "es", None][i] for i in rng.integers(0, 3, n)],
            "success": pa.array([bool(v) if k else None for v, k in zip(rng.random(n) < 0.7, known, strict=True)]),
            "total_us": pa.array(np.exp(rng.normal(14, 1, n)).astype(np.int64), mask=~known),
            "total_nusd": np.exp(rng.normal(16, 1, n)).astype(np.int64),
        }
    )


def test_threads_share_a_source() -> None:
    """8 threads x 100 queries, each thread with questions of its own, and every answer is the right one."""
    table = rows()
    source = from_frame(table)
    t = source.table("requests")
    frame = table.to_pandas()
    expected = {m: int((frame["total_nusd"] % 97 == m).sum()) for m in range(97)}

    def ask(thread: int) -> int:
        wrong = 0
        for i in range(100):
            m = (13 * thread + i) % 97
            statement = sa.select(sa.func.count().label("n")).select_from(t).where(t.c.total_nusd % 97 == m)
            wrong += source.run(statement).to_pylist() != [{"n": expected[m]}]
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [0] * 8


def test_threads_summarise_alike() -> None:
    source = from_frame(rows())
    metrics = ["task_success", "cost_per_query", "latency_p95"]
    alone = {d: summarise(source, metrics, Slice(last=d), by=("language",)) for d in ("2d", "5d", "all")}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda d: (d, summarise(source, metrics, Slice(last=d), by=("language",))), [*alone] * 8))
    for last, frame in found:
        pd.testing.assert_frame_equal(frame, alone[last], check_exact=True)


def test_frames_of_three_libraries_are_one() -> None:
    table = rows()
    frames = [table, table.to_pandas(), pl.from_arrow(table)]
    answers = [
        summarise(from_frame(f), list(METRICS), Slice(last="all"), by=("language",), every="week") for f in frames
    ]
    assert len(answers[0]) > 100
    for other in answers[1:]:
        pd.testing.assert_frame_equal(other, answers[0], rtol=1e-12)


def test_pandas_integers_with_holes_and_naive_times() -> None:
    frame = pd.DataFrame(
        {"total_us": [1000.0, np.nan, 3000.0], "success": [1.0, 0.0, np.nan],
         "started_at": pd.to_datetime(["2026-03-01", "2026-03-02", "2026-03-03"])}
    )  # fmt: skip
    found = summarise(from_frame(frame), ["latency_worst", "task_success", "requests"]).set_index("metric")
    assert found["value"].to_dict() == {"latency_worst": 3.0, "task_success": 0.5, "requests": 3.0}
    assert found["n"].to_dict() == {"latency_worst": 2, "task_success": 2, "requests": 3}


def test_missing_columns_are_unknown() -> None:
    found = summarise(from_frame(pa.table({"success": [True, False]})), list(METRICS)).set_index("metric")
    assert found.loc[["requests", "task_success"], "value"].tolist() == [2, 0.5]
    others = found.drop(index=["requests", "task_success"])
    assert others["value"].isna().all()
    assert (others["n"] == 0).all()


def test_other_columns_become_cohorts() -> None:
    cohorts = {"team": ["a", "b", None], "vip": [True, True, False]}
    source = from_frame(pa.table({"success": [True, False, True], "score": [1.5, 2, 3], **cohorts}))
    assert set(source.columns_of("requests")) == {"success", "m_score", "x_team", "x_vip", "trace_id"}
    assert summarise(source, "requests", by=("team",))["team"].tolist() == ["a", "b", None]
    assert summarise(source, "requests", by=("vip",))["vip"].tolist() == ["false", "true"]


def test_fingerprints_follow_the_rows() -> None:
    table = rows()
    one, same = from_frame(table), from_frame(pa.table(table.to_pydict(), schema=table.schema))
    changed = from_frame(table.set_column(0, "trace_id", pa.array(["other", *table["trace_id"].to_pylist()[1:]])))
    assert one.fingerprint == same.fingerprint
    assert one.fingerprint != changed.fingerprint
    assert len(one.fingerprint) == 16


def test_a_part_of_a_table_is_not_the_whole() -> None:
    """A slice of an Arrow table shares its buffers with the whole; the fingerprints still differ."""
    table = rows()
    prints = {from_frame(t).fingerprint for t in (table, table.slice(0, 200), table.slice(200), table.slice(0, 100))}
    assert len(prints) == 4


def test_parquet_files_with_different_columns(tmp_path) -> None:
    table = rows()
    paths = [tmp_path / "it's one.parquet", tmp_path / "two.parquet"]
    pq.write_table(table.slice(0, 100).drop_columns(["language"]), paths[0])
    pq.write_table(table.slice(100), paths[1])
    source = DuckSource(name="files", fingerprint="0" * 16, files={"requests": paths})
    found = summarise(source, "requests", Slice(last="all"), by=("language",))
    assert found["value"].sum() == 400
    assert found.loc[found["language"].isna(), "value"].item() == 100 + table["language"].slice(100).null_count


def test_what_cannot_be_read_is_said() -> None:
    for frame, code in (
        (pa.table({"nothing": [1]}), "frame.no_columns"),
        (pa.table({"total_us": ["slow"]}), "frame.wrong_type"),
    ):
        with pytest.raises(MetricError) as caught:
            from_frame(frame)
        assert caught.value.code == code
        assert caught.value.hint
    source = from_frame(pa.table({"success": [True]}))
    with pytest.raises(MetricError, match="has no spans"):
        source.table("spans")
    with pytest.raises(StoreError) as caught:
        source.run(sa.select(sa.column("secret text")).select_from(source.table("requests")))
    assert "secret" not in str(caught.value)


def test_a_cache_changes_no_answer(tmp_path):
    table = world.build(requests=3_000)["requests"]
    path = tmp_path / "requests.parquet"
    pq.write_table(table, path)
    source = DuckSource(name="plain", fingerprint="f", files={"requests": [path]})
    cached = DuckSource(name="plain", fingerprint="f", files={"requests": [path]})
    cache = tmp_path / "cache.duckdb"
    assert build_cache(cache, [path])
    assert cached.adopt(cache)
    assert "cluster_id" in cached.columns_of("requests")
    for view in (kpi.Slice(), kpi.Slice(last="all", tz="Asia/Tokyo").where(language=["es", "de"])):
        for ask in (
            lambda s, v: kpi.summarise(s, list(kpi.METRICS), v, by=["language", "intent"]),
            lambda s, v: kpi.summarise(s, ["task_success", "latency_p95"], v, every="day"),
            lambda s, v: kpi.find_traces(s, v, sort="cost"),
        ):
            pd.testing.assert_frame_equal(ask(source, view), ask(cached, view))
    one = kpi.find_traces(source, kpi.Slice())["trace_id"][0]
    before, after = kpi.trace(source, one).request, kpi.trace(cached, one).request
    assert before == after


def test_a_damaged_cache_is_thrown_away(tmp_path):
    path = tmp_path / "requests.parquet"
    pq.write_table(world.build(requests=500)["requests"], path)
    source = DuckSource(name="plain", fingerprint="f", files={"requests": [path]})
    cache = tmp_path / "cache.duckdb"
    cache.write_bytes(b"not a database" * 1000)
    assert not source.adopt(cache)
    assert not cache.exists()
    assert kpi.summarise(source, ["requests"], kpi.Slice(last="all"))["value"].sum() == 500
