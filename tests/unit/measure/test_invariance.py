"""The invariance battery: what must hold for every metric, on DuckDB and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa

import kpi
from kpi.measure import metrics
from kpi.measure.cells import Grouping
from kpi.measure.own_metrics import declared
from kpi.measure.slice import Slice
from kpi.measure.summary import summarise, tally
from kpi.schema import ARROW, REQUESTS, SEVERITIES
from kpi.store.engines import Source, from_frame
from tests import postgres

pytestmark = pytest.mark.slow

Make = Callable[[pa.Table], Source]
ALL = Slice(last="all", tz="Europe/Berlin")
OWN = declared({"metric": [
    {"name": "compiles", "kind": "rate", "of": "compiles"}, {"name": "sold", "kind": "rate", "of": "revenue > 2.5"},
    {"name": "german", "kind": "rate", "of": "language == de"}, {"name": "revenue", "kind": "mean", "of": "revenue"},
    {"name": "profit", "kind": "mean", "of": "profit"}, {"name": "takings", "kind": "sum", "of": "revenue"},
    {"name": "profits", "kind": "count", "of": "profit > 0"}, {"name": "turns", "kind": "mean", "of": "turns"},
    {"name": "per_turn", "kind": "ratio", "of": "revenue", "per": "turns"},
    {"name": "revenue_p90", "kind": "quantile", "of": "revenue", "q": 0.9},
]})  # fmt: skip
METRICS = {**metrics.METRICS, **OWN}
COUNTS = [m.name for m in METRICS.values() if m.kind in ("count", "total")]
BY, EVERY = ("language", "team"), "day"


@pytest.fixture(scope="session")
def database() -> Iterator[sa.Engine]:
    with postgres.server() as engine:
        yield engine


@pytest.fixture(params=["duckdb", "postgresql"])
def make(request: pytest.FixtureRequest) -> Make:
    """Puts a table of requests into an engine."""
    if request.param == "duckdb":
        return from_frame
    engine = request.getfixturevalue("database")
    return lambda rows: postgres.fill(engine, "battery", rows)


def requests(n: int = 600) -> pa.Table:
    """Requests with every column that a metric can need, with holes, 40 users, ten days over a clock change."""
    rng = np.random.default_rng(12)
    user = rng.integers(0, 40, n)
    holed = lambda values: [None if h else v for v, h in zip(values, rng.random(n) < 0.15, strict=True)]  # noqa: E731
    start = pd.Timestamp("2026-03-26", tz="UTC")
    columns = {
        "trace_id": [f"t{i}" for i in range(n)], "user_key": [f"u{i}" for i in user],
        "session_id": holed([f"s{i}" for i in rng.integers(0, 200, n)]),
        "started_at": [start + pd.Timedelta(microseconds=int(u)) for u in rng.integers(0, 10 * 86_400_000_000, n)],
        "language": holed(rng.choice(["en", "es", "de"], n).tolist()),
        "x_team": holed(rng.choice(["a", "b"], n).tolist()),
        "worst_severity": rng.choice(SEVERITIES, n).tolist(),
        "cost_source": np.random.default_rng(9).choice(["reported", "computed", "mixed"], n).tolist(),
    }  # fmt: skip
    for c in REQUESTS.columns:
        if c.privacy == "measure" and c.type == "bool":
            columns[c.name] = holed((rng.random(n) < 0.6 + 0.2 * np.sin(user)).tolist())
        elif c.privacy == "measure" and c.type == "int":
            big = c.unit in ("us", "nusd")
            values = np.exp(rng.normal(14, 1, n) + np.sin(user)) if big else rng.integers(0, 4, n)
            columns[c.name] = holed(values.astype(np.int64).tolist())
    columns |= {
        "x_compiles": holed(np.random.default_rng(7).choice(["true", "false"], n).tolist()),
        "m_revenue": holed(np.random.default_rng(8).gamma(2, 2, n).round(2).tolist()),
        "m_profit": holed(np.random.default_rng(10).normal(0.5, 2, n).tolist()),
    }
    kinds = {c.name: ARROW[c.type] for c in REQUESTS.columns} | {c: pa.float64() for c in ("m_revenue", "m_profit")}
    return pa.table({k: pa.array(v, kinds.get(k, pa.string())) for k, v in columns.items()})


def assert_same(a: pd.DataFrame, b: pd.DataFrame, rtol: float = 1e-9) -> None:
    pd.testing.assert_frame_equal(a.reset_index(drop=True), b.reset_index(drop=True), rtol=rtol, check_dtype=False)


def ask(source: Source, slice: Slice = ALL) -> list[pd.DataFrame]:
    return tally(
        source,
        list(METRICS.values()),
        slice,
        groupings=[Grouping(), Grouping(by=BY), Grouping(by=("team",), every=EVERY)],
    )


def test_engines_agree(database: sa.Engine) -> None:
    rows = requests()
    for ours, theirs in zip(ask(from_frame(rows)), ask(postgres.fill(database, "agree", rows)), strict=True):
        assert len(ours) >= len(METRICS)
        assert_same(ours, theirs)


def test_order_of_rows_is_nothing(make: Make) -> None:
    rows = requests()
    before = ask(make(rows))
    shuffled = rows.take(np.random.default_rng(1).permutation(rows.num_rows))
    for a, b in zip(before, ask(make(shuffled)), strict=True):
        assert_same(a, b)


def test_every_row_twice_tells_nothing_new(make: Make) -> None:
    """Values of shares, means and quantiles stay, counts double, and cluster intervals are as wide as before (1 %)."""
    rows = requests()
    copy = rows.set_column(0, "trace_id", pa.array([f"again {t}" for t in rows["trace_id"].to_pylist()]))
    once, twice = (
        summarise(make(t), list(METRICS.values()), ALL).set_index("metric")
        for t in (rows, pa.concat_tables([rows, copy]))
    )
    factor = pd.Series(1.0, index=once.index)
    factor[COUNTS] = 2
    loose = [m.name for m in METRICS.values() if m.kind == "quantile"]  # the linear rule may step to the next bin
    exact = once.index.difference(loose)
    np.testing.assert_allclose(twice["value"][exact], (once["value"] * factor)[exact], rtol=1e-9)
    np.testing.assert_allclose(twice["value"][loose], once["value"][loose], rtol=0.03)
    assert (twice["n"] == 2 * once["n"]).all()
    assert (twice["clusters"] == once["clusters"]).all()
    clustered = [m.name for m in METRICS.values() if m.kind == "ratio"]
    width = (twice["high"] - twice["low"]) / (once["high"] - once["low"])
    np.testing.assert_allclose(width[clustered], 1, atol=0.01)
    repeating = [m.name for m in METRICS.values() if m.kind in ("rate", "incidence")]
    assert (width[repeating] > 0.70).all()  # never below what independent copies would claim, 1 / sqrt 2
    strong = [m for m in repeating if _effect(rows, m) > 1.0]
    assert strong, "no rate of this data has a design effect above 1"
    np.testing.assert_allclose(width[strong], 1, atol=0.01)


def _effect(rows: pa.Table, name: str) -> float:
    """Design effect of a rate by plain pandas; 1 where another kind of metric is meant."""
    from tests.plain import RATES, sums

    if name not in RATES:
        return 1.0
    frame = rows.select([RATES[name], "user_key"]).to_pandas().dropna()
    s = sums(frame[RATES[name]].astype(float).to_numpy(), np.ones(len(frame)), frame["user_key"].to_numpy())
    p = s.y / s.x
    residual = s.yy - 2 * p * s.yx + p**2 * s.xx
    return float((residual * s.clusters / (s.clusters - 1) / (p * (1 - p) * s.x))[0])


def test_parts_add_up(make: Make) -> None:
    """Counts, totals and the n of every metric are the sums of their parts; so is value x n of a mean."""
    source = make(requests())
    whole, parts, days = (
        summarise(source, list(METRICS.values()), ALL, by=by, every=every)
        for by, every in (((), None), (BY, None), ((), EVERY))
    )
    for split in (parts, days):
        n = split.groupby("metric")["n"].sum()
        assert n.to_dict() == whole.set_index("metric")["n"].to_dict()
        value = split.groupby("metric")["value"].sum()[COUNTS]
        np.testing.assert_allclose(value, whole.set_index("metric")["value"][COUNTS], rtol=1e-9)
        means = [m.name for m in METRICS.values() if m.kind == "rate"]
        total = (split["value"] * split["n"]).groupby(split["metric"]).sum()[means]
        expected = whole.assign(total=whole["value"] * whole["n"]).set_index("metric")["total"][means]
        np.testing.assert_allclose(total, expected, rtol=1e-9)


def test_filtered_is_grouped(make: Make) -> None:
    source = make(requests())
    grouped = summarise(source, list(METRICS.values()), ALL, by=("language",))
    for language in ("en", "es", "de", None):
        filtered = summarise(source, list(METRICS.values()), ALL.where(language=language or "(none)"))
        mine = grouped["language"].isna() if language is None else grouped["language"] == language
        assert_same(filtered, grouped[mine].drop(columns="language"))


def test_an_empty_slice_has_no_data(make: Make) -> None:
    source = make(requests())
    for frame in ask(source, kpi.Slice(start="2001-01-01", end="2001-01-02")):
        assert frame["value"].isna().all()
        assert (frame["n"] == 0).all()


def test_days_are_local_days(make: Make) -> None:
    """Buckets over the clock change of Berlin are the local days of pandas."""
    rows = requests()
    found = summarise(make(rows), "requests", ALL, every="day").set_index("bucket")["value"]
    local = rows["started_at"].to_pandas().dt.tz_convert("Europe/Berlin").dt.tz_localize(None).dt.normalize()
    expected = local.value_counts().sort_index()
    assert found.index.tolist() == expected.index.tolist()
    assert found.tolist() == expected.tolist()


def test_asked_twice_is_answered_alike(make: Make) -> None:
    source = make(requests())
    print_ = source.fingerprint
    for a, b in zip(ask(source), ask(source), strict=True):
        pd.testing.assert_frame_equal(a[["value", "low", "high", "n"]], b[["value", "low", "high", "n"]], rtol=1e-12)
    assert source.fingerprint == print_
    assert len(print_) == 16
