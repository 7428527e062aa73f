"""States, index, sentence and the planted stories: a red needs proof, a grey is never green, quiet months are quiet."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, strategies as st

import kpi
import kpi.clock
from kpi.govern.card import Card, judge
from kpi.govern.index import attainment, index
from kpi.govern.register import Entry, Register, load_register
from kpi.store.engines import DuckSource
from sample_data.stories import JAILBREAK_END, JAILBREAK_START, MIX_END, MIX_START, POLICY_DAY, QUIET_DAYS

FIRST = datetime(2026, 8, 25, tzinfo=UTC)  # first day of the planted world
UP = Entry(
    metric="task_success", label="Task success", unit="share", direction="up", definition="", target=0.80, watch=0.80,
    off=0.77, owner="Me", min_n=200,
)  # fmt: skip
DOWN = Entry(
    metric="latency_p95", label="Latency p95", unit="ms", direction="down", definition="", target=7000.0, watch=8000.0,
    off=12000.0, owner="Me", min_n=200,
)  # fmt: skip
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("entry", "value", "low", "high", "n", "state"),
    [
        (UP, 0.85, 0.83, 0.87, 1000, "on_target"),
        (UP, 0.80, 0.70, 0.90, 1000, "watch"),
        (UP, 0.785, 0.76, 0.81, 1000, "watch"),
        (UP, 0.75, 0.72, 0.78, 1000, "watch"),  # beyond off, but the interval reaches it
        (UP, 0.75, 0.73, 0.769, 1000, "off_target"),
        (UP, 0.75, 0.73, 0.77, 1000, "watch"),  # touching the limit is not beyond it
        (UP, 0.75, NAN, NAN, 1000, "watch"),  # no interval, no proof
        (UP, 0.75, 0.73, INF, 1000, "watch"),
        (UP, 0.10, 0.05, 0.20, 199, "no_data"),
        (UP, 0.99, 0.98, 1.00, 199, "no_data"),
        (UP, NAN, NAN, NAN, 1000, "no_data"),
        (UP, INF, INF, INF, 1000, "no_data"),
        (UP, -INF, -INF, -INF, 1000, "no_data"),
        (UP, 0.85, 0.83, 0.87, 0, "no_data"),
        (DOWN, 6500, 6000, 7000, 1000, "on_target"),
        (DOWN, 8000, 7000, 9000, 1000, "on_target"),
        (DOWN, 9000, 8500, 9500, 1000, "watch"),
        (DOWN, 13000, 11000, 15000, 1000, "watch"),
        (DOWN, 13000, 12500, NAN, 1000, "off_target"),  # the lower limit alone proves it
        (DOWN, 13000, NAN, 15000, 1000, "watch"),
        (DOWN, 13000, 12001, 15000, 1000, "off_target"),
        (DOWN, NAN, 1, 2, 1000, "no_data"),
    ],
)
def test_states(entry: Entry, value: float, low: float, high: float, n: int, state: str) -> None:
    found, reason = judge(entry, value, low, high, n)
    assert found == state
    assert reason.endswith(".")


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(numbers, numbers, numbers, st.integers(0, 10_000), st.sampled_from([UP, DOWN]))
def test_no_number_makes_a_green_of_nothing(value: float, low: float, high: float, n: int, entry: Entry) -> None:
    state, _ = judge(entry, value, low, high, n)
    side = 1 if entry.direction == "up" else -1
    if n < entry.min_n or not math.isfinite(value):
        assert state == "no_data"
    elif state == "on_target":
        assert side * (value - entry.watch) >= 0
    elif state == "off_target":
        assert side * ((high if side > 0 else low) - entry.off) < 0


@pytest.mark.parametrize("entry", [UP, DOWN])
def test_attainment_runs_from_off_to_target(entry: Entry) -> None:
    assert attainment(entry, entry.off) == 0
    assert attainment(entry, entry.target) == 1
    assert attainment(entry, (entry.off + entry.target) / 2) == pytest.approx(0.5)
    line = [attainment(entry, v) for v in np.linspace(entry.off, entry.target, 20)]
    assert line == sorted(line)
    assert attainment(entry, entry.target + 10 * (entry.target - entry.off)) == 1
    assert attainment(entry, entry.off - 10 * (entry.target - entry.off)) == 0
    flat = replace(entry, target=entry.off, watch=entry.off)
    assert attainment(flat, entry.off) == 1


def card(entry: Entry, value: float, low: float, high: float, n: int = 1000) -> Card:
    state, reason = judge(entry, value, low, high, n)
    return Card(
        entry=entry, value=value, low=low, high=high, n=n, state=state, reason=reason, change=None, spark=pd.DataFrame()
    )


values = st.floats(0, 1)


@given(values, values, values, st.floats(0.001, 0.2))
def test_index_is_bounded_and_grows_with_every_kpi(a: float, b: float, better: float, half: float) -> None:
    other = replace(UP, metric="resolution", weight=2.0)
    cards = [card(UP, a, a - half, a + half), card(other, b, b - half, b + half)]
    found = index(cards)
    assert 0 <= found.low <= found.value <= found.high <= 100
    higher = max(a, better)
    assert index([card(UP, higher, higher - half, higher + half), cards[1]]).value >= found.value - 1e-9
    assert found.n == found.total == 2


@given(values, values, values, st.floats(0.001, 0.2))
def test_index_never_rises_when_a_kpi_is_recorded_no_more(a: float, b: float, c: float, half: float) -> None:
    entries = [replace(UP, metric=m, weight=w) for m, w in (("task_success", 4.0), ("resolution", 2.0), ("x", 1.0))]
    cards = [card(e, v, v - half, v + half) for e, v in zip(entries, (a, b, c), strict=True)]
    whole = index(cards)
    for i, entry in enumerate(entries):
        left = index([*cards[:i], card(entry, NAN, NAN, NAN, n=0), *cards[i + 1 :]])
        assert left.low <= whole.low + 1e-9
        assert left.high >= whole.high - 1e-9
        assert not left.value > whole.value + 1e-9


def test_index_counts_what_is_grey_at_its_bounds() -> None:
    good, grey = card(replace(UP, weight=4.0), 0.9, 0.88, 0.92), card(DOWN, 20_000, 19_000, 21_000, n=5)
    found = index([good, grey])
    assert (found.value, found.low, found.high) == (80, 80, 100)
    assert (found.n, found.total, found.state) == (1, 2, "on_target")
    half = index([card(UP, 0.9, 0.88, 0.92), grey])  # half of the weight is unknown: no number
    assert math.isnan(half.value)
    assert (half.low, half.high, half.state) == (50, 100, "no_data")
    empty = index([grey])
    assert (empty.n, empty.state) == (0, "no_data")
    assert math.isnan(empty.value)


def rows(n: int = 3000, *, success: float = 0.9, days: int = 56, **more: object) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    start = pd.Timestamp("2026-09-01", tz="UTC")
    columns = {
        "trace_id": [f"t{i}" for i in range(n)], "user_key": [f"u{i % 700}" for i in range(n)],
        "started_at": [start + pd.Timedelta(seconds=i * days * 86_400 // n) for i in range(n)],
        "success": rng.random(n) < success, "resolved": rng.random(n) < success,
        "total_us": rng.lognormal(14.5, 0.4, n).astype("int64"), "total_nusd": rng.integers(4_000_000, 9_000_000, n),
        "incident_count": np.zeros(n, dtype="int64"), "worst_severity": pd.Series([None] * n, dtype=object),
        "escalated": rng.random(n) < 0.05, "language": rng.choice(["en", "es"], n),
        "intent": rng.choice(["a", "b", "c"], n),
    }  # fmt: skip
    return pd.DataFrame({**columns, **more})


def test_all_fine_reads_so() -> None:
    found = kpi.scorecard(kpi.from_frame(rows()))
    assert {c.state for c in found.cards} == {"on_target"}
    assert found.state == "on_target"
    assert found.index.value == pytest.approx(100)
    assert found.sentence == "No clear change in 8 KPIs over 1,500 requests."


def test_nothing_and_almost_nothing_read_so() -> None:
    frame = rows(10)
    found = kpi.scorecard(kpi.from_frame(frame), kpi.Slice(last="all", baseline="none"))
    assert found.sentence == "Not enough data to judge any KPI: 10 requests."
    assert {c.state for c in found.cards} == {"no_data"}
    none = kpi.scorecard(kpi.from_frame(rows(1000)), kpi.Slice().where(language="(none)"))
    assert none.sentence == "No requests match this slice."
    assert {c.state for c in none.cards} == {"no_data"}
    assert none.state == "no_data"


def test_off_target_names_kpi_value_owner_and_count() -> None:
    found = kpi.scorecard(kpi.from_frame(rows(success=0.5)))
    assert found.state == "off_target"
    assert found.sentence.startswith("Task success off target: ")
    assert "Owner: Product manager." in found.sentence
    assert "of 8 KPIs off target" in found.sentence
    assert " %" in found.sentence


def test_one_critical_incident_is_red_by_itself() -> None:
    frame = rows()
    frame.loc[len(frame) - 5, ["incident_count", "worst_severity"]] = [1, "critical"]
    cards = {c.metric: c for c in kpi.scorecard(kpi.from_frame(frame)).cards}
    assert cards["incident_rate"].value < cards["incident_rate"].target
    assert cards["incident_rate"].state == "off_target"
    assert "1 critical incident in the window" in cards["incident_rate"].reason
    frame.loc[len(frame) - 5, "worst_severity"] = "minor"
    assert {c.metric: c.state for c in kpi.scorecard(kpi.from_frame(frame)).cards}["incident_rate"] == "on_target"


def test_outcomes_that_stopped_arriving_are_grey() -> None:
    frame = rows()
    late = frame["started_at"] >= frame["started_at"].max() - pd.Timedelta(days=6)
    frame["success"] = frame["success"].astype(object).mask(late, None)
    cards = {c.metric: c for c in kpi.scorecard(kpi.from_frame(frame)).cards}
    assert cards["task_success"].state == "no_data"
    assert cards["task_success"].reason.startswith("No data since ")
    assert cards["latency_p95"].state == "on_target"


def test_columns_that_are_missing_are_named() -> None:
    cards = {c.metric: c for c in kpi.scorecard(kpi.from_frame(rows().drop(columns=["success", "total_nusd"]))).cards}
    assert "success" in cards["task_success"].reason
    assert cards["cost_per_query"].reason == "The data has no cost."
    assert {cards[m].state for m in ("task_success", "cost_per_query", "cost_per_resolved", "fairness_gap")} == {
        "no_data"
    }


def test_frame_and_json_agree_and_hold_no_nan() -> None:
    found = kpi.scorecard(kpi.from_frame(rows(10)))
    assert len(found.frame()) == 8
    for one in found.to_dict()["kpis"]:
        assert not any(isinstance(v, float) and not math.isfinite(v) for v in one.values())


def test_data_that_keep_coming_are_stale_by_the_clock(home: Path, tmp_path: Path, monkeypatch) -> None:
    """An export that was loaded once is judged as of its own end, as is a window with an end of its own."""
    frame = rows()
    half = len(frame) // 2
    for name, part in (("first", frame[:half]), ("second", frame[half:])):
        part.to_parquet(tmp_path / f"{name}.parquet")
    end = frame["started_at"].max()
    monkeypatch.setattr(kpi.clock, "now_us", lambda: int((end + pd.Timedelta(days=9)).timestamp() * 1e6))

    def state(view: kpi.Slice) -> tuple[str, str]:
        card = kpi.scorecard(kpi.open("d"), view).cards[0]
        return card.state, card.reason

    kpi.load(tmp_path / "first.parquet", dataset="d")
    assert state(kpi.Slice(last="7d"))[0] != "no_data"
    kpi.load(tmp_path / "second.parquet", dataset="d")
    found, reason = state(kpi.Slice(last="7d"))
    assert found == "no_data"
    assert reason == f"No data since {end:%-d %b %Y}, 9 days ago."
    assert state(kpi.Slice(start=end - pd.Timedelta(days=7), end=end))[0] != "no_data"


def test_a_total_is_a_fact_and_needs_no_interval() -> None:
    register = kpi.load_register()
    entry = replace(UP, metric="total_cost", label="Total cost", unit="usd", direction="down", min_n=30)
    frame = rows()
    spent = frame["total_nusd"].sum() / 2e9  # of the last of two windows of 28 days
    for limit, state in ((2 * spent, "on_target"), (spent / 2, "off_target")):
        one = replace(register, entries=(replace(entry, target=limit, watch=limit, off=limit),))
        card = kpi.scorecard(kpi.from_frame(frame), register=one).cards[0]
        assert (card.state, card.value) == (state, pytest.approx(spent, rel=0.05))
        assert card.change is not None
        assert abs(card.change.difference) < 0.1 * spent
        assert not card.change.clear


def test_judge_frame_marks_only_governed_metrics() -> None:
    frame = kpi.summarise(kpi.from_frame(rows()), ["task_success", "groundedness"], by=["language"])
    states = kpi.judge_frame(frame).set_index("metric")["state"]
    assert set(states["task_success"]) == {"on_target"}
    assert states["groundedness"].isna().all()


def days(first: int, last: int, **more: object) -> kpi.Slice:
    return kpi.Slice(start=FIRST + timedelta(days=first), end=FIRST + timedelta(days=last), **more)


def before(first: int, last: int) -> str:
    return f"{FIRST + timedelta(days=first):%Y-%m-%d}..{FIRST + timedelta(days=last):%Y-%m-%d}"


def test_quiet_month_is_quiet(sample: DuckSource) -> None:
    found = kpi.scorecard(sample, days(15, QUIET_DAYS, baseline=before(0, 15)))
    calm = {c.metric: c.state for c in found.cards if c.metric != "incident_rate"}
    assert "off_target" not in calm.values(), found.sentence
    assert not {c.metric for c in found.cards if c.metric in ("drift_score", "fairness_gap") and c.low > 0}


def test_jailbreak_wave_turns_incidents_red(sample: DuckSource) -> None:
    found = kpi.scorecard(sample, days(JAILBREAK_START, JAILBREAK_END, baseline=before(QUIET_DAYS, JAILBREAK_START)))
    wave = next(c for c in found.cards if c.metric == "incident_rate")
    assert wave.state == "off_target"
    assert "critical" in wave.reason
    assert wave.change is not None
    assert wave.change.clear
    assert not wave.change.better


def test_mix_shift_names_intent(sample: DuckSource) -> None:
    view = days(MIX_START, MIX_END, baseline=before(0, QUIET_DAYS))
    drifted = next(c for c in kpi.scorecard(sample, view).cards if c.metric == "drift_score")
    assert drifted.state in ("watch", "off_target")
    assert drifted.low > 0
    assert drifted.reason.startswith("Strongest in intent.")
    told = kpi.drift(sample, "intent", view)
    assert "most in technical" in told.sentence


def test_overblocking_shows_as_a_gap_of_german(world_tables: dict[str, pa.Table], sample: DuckSource) -> None:
    view = days(POLICY_DAY, 90)
    fair = next(c for c in kpi.scorecard(sample, view).cards if c.metric == "fairness_gap")
    assert "language: de" in fair.reason
    assert fair.state in ("watch", "off_target")
    table = kpi.summarise(sample, "refusal_rate", view, by=["language"]).set_index("language")
    assert table["value"].idxmax() == "de"
    german = world_tables["requests"].filter(pc.equal(world_tables["requests"]["language"], "de"))
    assert table.loc["de", "n"] < len(german)


REGISTER = """
[[kpi]]
metric = "task_success"
target = 0.8
watch = 0.8
off = 0.7
owner = "Me"
"""


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("", "register.empty", "no KPI"),
        ("[[kpi]", "register.unreadable", "cannot be read"),
        (REGISTER.replace("owner", "boss"), "register.field", "'owner'"),
        (REGISTER.replace("off = 0.7\n", ""), "register.field", "'off'"),
        (REGISTER.replace("task_success", "nothing"), "register.metric", "'nothing'"),
        (REGISTER.replace("task_success", "input_tokens"), "register.direction", "'input_tokens'"),
        (REGISTER.replace("0.7", "0.9"), "register.limits", "'task_success'"),
        (REGISTER.replace("task_success", "error_rate"), "register.limits", "'error_rate'"),
        (REGISTER + REGISTER, "register.twice", "'task_success'"),
        (REGISTER.replace("0.7", '"low"'), "register.field", "'off'"),
        (REGISTER.replace("0.7", "nan"), "register.field", "'off'"),
        (REGISTER + "min_n = 'many'\n", "register.field", "'min_n'"),
        (REGISTER + "max_age_days = true\n", "register.field", "'max_age_days'"),
        (REGISTER + "action = 'none'\n", "register.field", "'action'"),
        ("kpi = [1]", "register.field", "KPI 1"),
        ("[index]\nweights = { task_success = -1 }\n" + REGISTER, "register.field", "'weights'"),
    ],
)
def test_register_errors_name_entry_and_field(tmp_path, text: str, code: str, named: str) -> None:
    path = tmp_path / "register.toml"
    path.write_text(text)
    with pytest.raises(kpi.errors.RegisterError) as caught:
        load_register(path)
    assert caught.value.code == code
    assert named in caught.value.message
    assert caught.value.hint


def test_built_in_register_governs_eight_kpis_with_next_steps() -> None:
    found = load_register()
    assert isinstance(found, Register)
    assert [e.metric for e in found.entries] == [
        "task_success", "cost_per_resolved", "cost_per_query", "latency_p95", "incident_rate", "drift_score",
        "fairness_gap", "escalation_rate",
    ]  # fmt: skip
    for e in found.entries:
        assert e.owner
        assert len({e.action(s) for s in ("on_target", "watch", "off_target", "no_data")}) == 4
        assert e.min_n >= 100
    assert found["latency_p95"].off == 12_000


@pytest.mark.parametrize(
    ("entry", "value", "state", "words"),
    [
        (DOWN, 6500, "on_target", "On target"),
        (DOWN, 7000, "on_target", "On target"),
        (DOWN, 7500, "on_target", "Above target, within limit"),
        (DOWN, 8500, "watch", "Watch"),
        (replace(UP, target=0.90), 0.85, "on_target", "Below target, within limit"),
        (replace(UP, target=0.90), 0.90, "on_target", "On target"),
        (UP, 0.70, "off_target", "Off target"),
    ],
)
def test_what_misses_its_target_is_never_plainly_on_target(entry: Entry, value: float, state: str, words: str) -> None:
    found = card(entry, value, value, value)
    assert found.state == state
    assert kpi.wording.STATES[found.standing].word == words


def test_attention_goes_to_the_worst_first() -> None:
    frame = rows(success=0.5)
    found = kpi.scorecard(kpi.from_frame(frame))
    states = [c.state for c in found.by_harm]
    assert states == sorted(states, key=["off_target", "watch", "no_data", "on_target"].index)
    assert found.sentence.startswith(found.by_harm[0].label)
    assert found.verdict == "Not fine."
    assert found.by_harm[0].action in found.sentence
    assert "target 80.0 %" in found.sentence


def test_nothing_is_called_unchanged_that_was_compared_with_nothing() -> None:
    found = kpi.scorecard(kpi.from_frame(rows()), kpi.Slice(last="all", baseline="none"))
    assert "Nothing to compare with" in found.sentence
    assert "No clear change" not in found.sentence


def test_fairness_and_drift_have_a_course_and_a_change() -> None:
    """German success falls from 0.9 to 0.6 in the window; the mix moves from even to nine in ten English."""
    frame = rows(12_000, days=84)
    rng = np.random.default_rng(3)
    late = frame["started_at"] >= frame["started_at"].min() + pd.Timedelta(days=56)
    german = rng.random(len(frame)) < np.where(late, 0.1, 0.5)
    frame = frame.assign(language=np.where(german, "de", "en"),
                         success=rng.random(len(frame)) < np.where(german & late, 0.6, 0.9))  # fmt: skip
    cards = {c.metric: c for c in kpi.scorecard(kpi.from_frame(frame), kpi.Slice(last="28d")).cards}
    share = frame[frame["started_at"] >= frame["started_at"].max() - pd.Timedelta(days=27)]
    fair, drift = cards["fairness_gap"], cards["drift_score"]
    assert "language: de" in fair.reason
    assert fair.change is not None
    assert fair.change.clear
    assert not fair.change.better
    assert fair.change.difference == pytest.approx(0.3, abs=0.05)
    assert len(fair.spark) == len(drift.spark) == 28
    by_day = share.groupby([share["started_at"].dt.floor("D"), "language"])["success"].mean().unstack()
    wanted = (by_day["en"] - by_day["de"]).rename("wanted")
    course = fair.spark.set_index(pd.to_datetime(fair.spark["bucket"]).dt.tz_localize("UTC"))["value"]
    both = pd.concat([course, wanted], axis=1).dropna()
    assert len(both) > 20
    assert both["value"].to_numpy() == pytest.approx(both["wanted"].to_numpy())
    assert drift.change is not None
    assert drift.change.clear
    assert drift.change.difference > 0.1
    assert drift.spark["value"].median() > 0.15
    assert kpi.scorecard(kpi.from_frame(frame), kpi.Slice(last="28d", baseline="none")).cards[6].change is None
