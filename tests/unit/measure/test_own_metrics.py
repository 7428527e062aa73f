"""Metrics of a team's own: what they are beside plain pandas, what they refuse, and that every call knows them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given, settings, strategies as st

import kpi
from kpi.errors import MetricError, RegisterError
from kpi.measure.own_metrics import declared
from kpi.measure.own_terms import Condition, parsed
from kpi.store.engines import DuckSource
from kpi.store.manifest import folder

ALL = kpi.Slice(last="all")
GAME = """
[[metric]]
name = "retention_7d"
kind = "rate"
of = "retained_7"
definition = "The player came back on day 7"

[[metric]]
name = "revenue"
kind = "mean"
of = "revenue"
unit = "usd"
direction = "up"

[[kpi]]
metric = "retention_7d"
target = 0.20
watch = 0.19
off = 0.15
owner = "Growth"

[[kpi]]
metric = "revenue"
target = 0.5
watch = 0.4
off = 0.1
owner = "Growth"
"""


def game(n: int = 8_000) -> pd.DataFrame:
    """A product's table: who came back, rounds, revenue, two arms; Spanish retention falls in the last ten days."""
    rng = np.random.default_rng(4)
    player = rng.integers(0, 900, n)
    at = pd.date_range("2026-09-01", periods=n, freq="10min")
    language = rng.choice(["en", "es", "de"], n)
    late = (language == "es") & (at > at[-1] - pd.Timedelta("10D"))
    return pd.DataFrame({
        "request_id": [f"r{i}" for i in range(n)], "user_id": [f"p{i}" for i in player],
        "time": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "arm": np.where(player % 2, "gate_40", "gate_30"),
        "language": language, "rounds_played": rng.poisson(3, n),
        "retained_7": np.where(rng.random(n) < np.where(late, 0.04, 0.25), "yes", "no"),
        "revenue": np.where(rng.random(n) < 0.2, rng.gamma(2, 2, n), 0).round(2),
        "profit": rng.normal(0.5, 2, n).round(3),
    })  # fmt: skip


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return game()


@pytest.fixture
def source(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> kpi.Source:
    """The table, loaded as a team would, with its register beside it."""
    monkeypatch.setenv("KPI_HOME", str(tmp_path / "home"))
    table.to_csv(tmp_path / "game.csv", index=False)
    kpi.load(tmp_path / "game.csv", dataset="game")
    (folder("game") / "register.toml").write_text(GAME, encoding="utf-8")
    return kpi.open("game")


def test_values_are_those_of_pandas(source: kpi.Source, table: pd.DataFrame) -> None:
    t = table
    wanted = {
        kpi.share("retained_7"): (t.retained_7 == "yes").mean(),
        kpi.share("rounds_played >= 4"): (t.rounds_played >= 4).mean(),
        kpi.share("revenue > 2.5"): (t.revenue > 2.5).mean(), kpi.share("profit < 0"): (t.profit < 0).mean(),
        kpi.share("language != es"): (t.language != "es").mean(), kpi.mean("revenue"): t.revenue.mean(),
        kpi.mean("profit"): t.profit.mean(), kpi.mean("rounds_played"): t.rounds_played.mean(),
        kpi.mean("retained_7"): (t.retained_7 == "yes").mean(),
        kpi.ratio("revenue", "rounds_played"): t.revenue.sum() / t.rounds_played.sum(),
        kpi.ratio("revenue", "revenue > 0"): t.revenue.sum() / (t.revenue > 0).sum(),
        kpi.ratio("retained_7", "rounds_played"): (t.retained_7 == "yes").sum() / t.rounds_played.sum(),
    }  # fmt: skip
    found = kpi.summarise(source, list(wanted), ALL)
    np.testing.assert_allclose(found["value"], list(wanted.values()), rtol=1e-9)
    assert (found["n"] == len(t)).all()
    assert (found["low"] < found["value"]).all()
    p90 = kpi.summarise(source, kpi.quantile("revenue", 0.9), ALL)["value"].iloc[0]
    assert p90 == pytest.approx(t.revenue.quantile(0.9), rel=0.006)


def test_the_interval_counts_players_not_rows(source: kpi.Source, table: pd.DataFrame) -> None:
    """The delta interval of a mean with players as clusters, made by plain pandas (CR1, t)."""
    found = kpi.summarise(source, kpi.mean("profit"), ALL).iloc[0]
    users = table.groupby("user_id")["profit"].agg(["sum", "count"])
    mean, n, g = table.profit.mean(), len(table), len(users)
    error = np.sqrt(((users["sum"] - mean * users["count"]) ** 2).sum() * g / (g - 1)) / n
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.02)
    assert found.clusters == g


def test_scores_of_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`judge:tone` is the judge's, `score:tone` anybody's; two scores of a request count as their mean."""
    ids = [f"t{i}" for i in range(60)]
    requests = pa.table({"trace_id": ids, "language": ["en", "es"] * 30})
    scores = pa.table({
        "score_id": [f"s{i}" for i in range(90)], "trace_id": ids + ids[:30], "name": ["tone"] * 90,
        "value": [float(i % 5 + 1) for i in range(60)] + [1.0] * 30, "source": ["judge"] * 60 + ["human"] * 30,
    })  # fmt: skip
    source = DuckSource(name="scored", fingerprint="1", tables={"requests": requests, "scores": scores})
    tone = pd.Series([float(i % 5 + 1) for i in range(60)])
    both = tone.where(tone.index >= 30, (tone + 1) / 2)
    found = kpi.summarise(
        source, [kpi.share("judge:tone >= 4"), kpi.mean("judge:tone"), kpi.mean("score:tone"), kpi.mean("tone")]
    ).set_index("metric")["value"]  # fmt: skip
    assert found.tolist() == pytest.approx([(tone >= 4).mean(), tone.mean(), both.mean(), both.mean()])
    with pytest.raises(MetricError, match="judge:tome"):
        kpi.summarise(source, kpi.mean("judge:tome"))


def test_they_appear_wherever_the_built_in_ones_do(source: kpi.Source) -> None:
    assert list(kpi.metrics_of(source))[-2:] == ["retention_7d", "revenue"]
    compared = kpi.compare(source, "gate_30", "gate_40", by="experiment_arm", slice=ALL).frame()
    assert {"retention_7d", "revenue"} <= set(compared["metric"])
    assert {"retention_7d", "revenue"} <= set(kpi.disparity(source, ALL, by=["language"]).gaps["metric"])
    assert kpi.decompose(source, "retention_7d", kpi.Slice(last="14d"), by="language")[0].by == "language"
    weak = kpi.weak_segments(source, kpi.Slice(last="7d"), metric="retention_7d").segments
    assert weak["where"].iloc[0] == {"language": "es"}
    assert kpi.detect(source, "revenue", ALL).metric == "revenue"
    told = kpi.findings(source, kpi.Slice(last="14d", baseline="previous"))
    assert ("retention_7d", {"language": "es"}) in [(f.metric, dict(f.where)) for f in told]
    assert "Retention 7d" in told[0].sentence
    assert "retained_7" not in kpi.story(source).dimensions, "what a metric is made of explains nothing"


def test_a_kpi_of_ones_own_has_a_state(source: kpi.Source, table: pd.DataFrame) -> None:
    cards = {c.metric: c for c in kpi.scorecard(source, ALL).cards}
    assert cards["retention_7d"].value == pytest.approx((table.retained_7 == "yes").mean())
    assert cards["retention_7d"].state == "on_target"
    assert cards["revenue"].value == pytest.approx(table.revenue.mean())
    (folder("game") / "register.toml").write_text(GAME.replace('"retained_7"', '"retained_8"'), encoding="utf-8")
    card = next(c for c in kpi.scorecard(kpi.open("game"), ALL).cards if c.metric == "retention_7d")
    assert (card.state, card.reason) == ("no_data", "The data has no retained_8.")


def test_metrics_alone_leave_the_kpis_as_they_are(source: kpi.Source) -> None:
    (folder("game") / "register.toml").write_text(GAME.split("[[kpi]]")[0], encoding="utf-8")
    found = kpi.register_of(kpi.open("game"))
    assert [e.metric for e in found.entries] == [e.metric for e in kpi.load_register().entries]
    assert list(found.metrics) == ["retention_7d", "revenue"]


def test_a_mean_that_may_be_negative_has_its_own_step(source: kpi.Source, table: pd.DataFrame) -> None:
    row = kpi.compare(source, "gate_30", "gate_40", by="experiment_arm", slice=ALL, metrics=[kpi.mean("profit")]).rows[
        0
    ]
    assert not row.relative
    assert row.matters == pytest.approx(table.profit.abs().mean() / 20, rel=0.1)
    assert row.effect.low < row.effect.b.value - row.effect.a.value < row.effect.high


REFUSED = {
    "no such column": (lambda: kpi.mean("revenu"), "revenue"),
    "numbers are true for nobody": (lambda: kpi.share("rounds_played"), "rounds_played >= 1"),
    "words are no number": (lambda: kpi.mean("language"), "=="),
    "words are not true or false": (lambda: kpi.share("language"), "=="),
    "words have no order": (lambda: kpi.share("language >= 3"), "=="),
    "a number beside a word": (lambda: kpi.share("revenue == much"), "number"),
    "negative values have no quantile": (lambda: kpi.quantile("profit", 0.5), "profit < 0"),
    "an unknown option": (lambda: kpi.mean("revenue", units="usd"), "unit"),
    "a quantile beyond one": (lambda: kpi.quantile("revenue", 95), "plain number"),
    "no condition": (lambda: kpi.share("revenue; drop table requests"), "judge:tone >= 4"),
    "no column": (lambda: kpi.ratio("revenue", 3), "judge:tone >= 4"),
    "no direction": (lambda: kpi.share("retained_7", direction="better"), '"up"'),
    "a name that is taken": (lambda: kpi.share("retained_7", name="task_success"), "another name"),
    "no name": (lambda: kpi.share("retained_7", name="a b"), "letters"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mistake_is_told_with_its_remedy(kind: str, source: kpi.Source) -> None:
    made, remedy = REFUSED[kind]
    with pytest.raises(MetricError) as caught:
        kpi.summarise(source, [made()], ALL)
    assert remedy in caught.value.hint


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('name = "a"\nkind = "rate"', "of"), ('name = "a"\nkind = "share"\nof = "x"', "kind"),
        ('name = "a"\nkind = "rate"\nof = "x"\nunits = "usd"', "units"),
        ('name = "a"\nkind = "ratio"\nof = "x"', "per"),
        ('name = "a"\nkind = "quantile"\nof = "x"', "q"), ('name = "a"\nkind = "quantile"\nof = "x"\nq = true', "q"),
        ('name = "latency_p95"\nkind = "rate"\nof = "x"', "latency_p95"),
        ('name = "a"\nkind = "mean"\nof = "x > 3"', "condition"), ('name = "a"\nkind = "rate"\nof = 5', "of"),
        ('name = "a"\nkind = "rate"\nof = "x"\nsmallest = -1', "smallest"),
    ],
)  # fmt: skip
def test_a_typing_mistake_in_the_register_names_the_field(text: str, field: str, tmp_path: Path) -> None:
    path = tmp_path / "register.toml"
    path.write_text(f"[[metric]]\n{text}\n", encoding="utf-8")
    with pytest.raises(RegisterError, match=field) as caught:
        kpi.load_register(path)
    assert caught.value.row == 1


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_none(text: str) -> None:
    found = parsed(text)
    assert found is None or isinstance(found, Condition)


FIELDS = ("name", "kind", "of", "per", "q", "unit", "direction", "smallest", "min_n", "label")
WORDS = ("rate", "mean", "ratio", "quantile", "sum", "count", "up", "x", "y > 2")


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.sampled_from(WORDS)),
    )
)
def test_any_table_is_a_metric_or_an_error_of_the_register(table: dict[str, object]) -> None:
    with contextlib.suppress(RegisterError):
        assert len(declared({"metric": [table]})) == 1


def test_numbers_that_cannot_be_summed_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPI_HOME", str(tmp_path / "home"))
    wide = [f"{i / 4}" for i in range(240)]
    rows = [f"r{i},true,{v}" for i, v in enumerate(["1.5", "2.5", "1e15", "inf", "nan", "", "3.5", *wide])]
    (tmp_path / "big.csv").write_text("id,success,weight\n" + "\n".join(rows), encoding="utf-8")
    receipt = kpi.load(tmp_path / "big.csv", dataset="big")
    assert any("'weight'" in note and "2 cells" in note for note in receipt.notes), receipt.notes
    found = kpi.summarise(kpi.open("big"), kpi.mean("weight")).iloc[0]
    assert (found.n, found.value) == (243, pytest.approx((1.5 + 2.5 + 3.5 + sum(map(float, wide))) / 243))


def test_a_measure_comes_back_over_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored, corrected and completed like every column; one that a first load lacked is unknown there."""
    monkeypatch.setenv("KPI_HOME", str(tmp_path / "home"))

    def load(text: str) -> None:
        (tmp_path / "t.csv").write_text(text, encoding="utf-8")
        kpi.load(tmp_path / "t.csv", dataset="d")

    load("id,success\na,true\nb,true\n")
    load("id,success,revenue\nb,true,2.25\nc,false,1.5\n")
    load("id,success,revenue\nc,false,3.5\n")
    found = kpi.summarise(kpi.open("d"), kpi.mean("revenue")).iloc[0]
    assert (found.n, found.value) == (2, pytest.approx((2.25 + 3.5) / 2))


def test_in_place_in_a_database(tmp_path: Path) -> None:
    """A column `m_…` of a canonical table in SQLite is a measure as well."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'd.sqlite'}")
    frame = pd.DataFrame({"trace_id": [f"t{i}" for i in range(50)], "m_revenue": [i / 4 for i in range(50)]})
    frame.to_sql("requests", engine, index=False)
    found = kpi.summarise(kpi.SqlSource(engine, name="mine"), [kpi.mean("revenue"), kpi.share("revenue >= 5")])
    assert found["value"].tolist() == pytest.approx([frame.m_revenue.mean(), (frame.m_revenue >= 5).mean()])


def test_per_user_and_session_a_unit_counts_once_in_each_group() -> None:
    """Against pandas: means of the sums of units, the share of units with a hit, and the t interval of a mean."""
    rng, n = np.random.default_rng(1), 3_000
    frame = pd.DataFrame({
        "user": [f"u{i}" for i in rng.integers(0, 200, n)], "lang": rng.choice(["de", "en"], n), "ok": True,
        "revenue": np.where(rng.random(n) < 0.3, rng.gamma(2, 3, n), np.nan).round(2),
    })  # fmt: skip
    frame["session"] = frame["user"] + "-" + (np.arange(n) // 300).astype(str)
    source = kpi.from_frame(frame)
    asked = [kpi.mean("revenue", per="user"), kpi.share("revenue >= 5", per="user"), kpi.mean("revenue", per="session")]
    found = kpi.summarise(source, asked, by="language").set_index(["metric", "language"])
    for language, rows in frame.dropna(subset="revenue").groupby("lang"):
        users, sessions = (rows.groupby(unit)["revenue"] for unit in ("user", "session"))
        mean = found.loc[("revenue_per_user", language)]
        assert (mean["value"], mean["n"]) == (pytest.approx(users.sum().mean()), users.ngroups)
        assert mean["high"] - mean["low"] == pytest.approx(2 * 1.973 * users.sum().sem(), rel=0.05)
        share = found.loc[("revenue_at_least_5_per_user", language)]
        assert (share["value"], share["n"]) == (pytest.approx((users.max() >= 5).mean()), users.ngroups)
        each = found.loc[("revenue_per_session", language)]
        assert (each["value"], each["n"]) == (pytest.approx(sessions.sum().mean()), sessions.ngroups)
        assert each["clusters"] == users.ngroups
    whole = kpi.summarise(source, asked[0])
    assert whole["value"].item() == pytest.approx(
        frame.dropna(subset="revenue").groupby("user")["revenue"].sum().mean()
    )


def test_what_units_do_not_add_up_to_is_refused() -> None:
    source = kpi.from_frame(pd.DataFrame({"user": ["a", "b"] * 30, "lang": ["de", "en"] * 30, "ok": [True, False] * 30,
                                          "revenue": np.arange(60) / 7}))  # fmt: skip
    metric = kpi.mean("revenue", per="user", direction="up")
    calls = [lambda: kpi.compare(source, "de", "en", metric, by="language"), lambda: kpi.rolling(source, metric),
             lambda: kpi.weak_segments(source, metric=metric), lambda: kpi.disparity(source, metrics=metric),
             lambda: kpi.summarise(source, kpi.mean("revenue", per="session")),
             lambda: kpi.mean("revenue", per="day")]  # fmt: skip
    for call in calls:
        with pytest.raises(MetricError) as caught:
            call()
        assert caught.value.hint


def test_no_word_of_the_table_but_a_field_reaches_a_built_in_metric() -> None:
    """A key that makes several metrics of one entry (each = "part") says nothing about how they count."""
    assert {m.per_unit for m in kpi.METRICS.values()} == {""}
