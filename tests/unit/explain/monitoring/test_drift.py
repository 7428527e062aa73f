"""Drift of a source: as pandas counts, silent on unchanged data whose users repeat, awake on a real shift."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon

import kpi
from kpi.explain.monitoring.drift import input_drift
from kpi.store.engines import from_frame

pytestmark = pytest.mark.slow

MONTH = 28


def rows(seed: int, *, n: int = 8000, shift: bool = False) -> pd.DataFrame:
    """Two months; in the second, intents and token counts change when `shift`."""
    rng = np.random.default_rng(seed)
    second = np.arange(n) >= n // 2
    mix = np.array([0.5, 0.3, 0.2])
    moved = np.array([0.4, 0.3, 0.3]) if shift else mix
    intent = np.where(second, rng.choice(3, n, p=moved), rng.choice(3, n, p=mix))
    tokens = rng.lognormal(6, 0.6, n) * np.where(second & shift, 1.2, 1.0)
    start = pd.Timestamp("2026-08-01", tz="UTC")
    return pd.DataFrame(
        {
            "trace_id": [f"t{i}" for i in range(n)], "user_key": [f"u{v}" for v in rng.integers(0, n // 20, n)],
            "started_at": [start + pd.Timedelta(seconds=i * 2 * MONTH * 86_400 // n) for i in range(n)],
            "intent": np.array(["a", "b", "c"])[intent], "input_tokens": tokens.astype("int64"),
            "success": rng.random(n) < 0.8,
        }
    )  # fmt: skip


@pytest.mark.parametrize("column", ["intent", "input_tokens", "success"])
def test_columns_without_change_read_so(column: str) -> None:
    clear = [kpi.drift(from_frame(rows(seed)), column).distance.clear for seed in range(12)]
    assert sum(clear) <= 3  # P(more | 5 %) = 0.2 %


@pytest.mark.parametrize("column", ["intent", "input_tokens"])
def test_columns_that_changed_read_so(column: str) -> None:
    found = kpi.drift(from_frame(rows(1, shift=True)), column)
    assert found.distance.clear
    assert "has changed" in found.sentence
    assert found.distribution["now"].sum() == pytest.approx(1)
    assert found.distribution["baseline"].sum() == pytest.approx(1)
    assert len(found.series) == MONTH


def test_shares_and_distance_are_those_of_pandas() -> None:
    frame = rows(2, shift=True)
    second = frame["started_at"] >= frame["started_at"].iloc[len(frame) // 2]
    shares = frame.groupby(second)["intent"].value_counts(normalize=True).unstack(0)
    found = kpi.drift(from_frame(frame), "intent")
    shown = found.distribution.set_index("value").loc[shares.index]
    assert shown["now"].to_numpy() == pytest.approx(shares[True].to_numpy())
    assert shown["baseline"].to_numpy() == pytest.approx(shares[False].to_numpy())
    plain = jensenshannon(shares[True], shares[False], base=2)
    assert 0.97 * plain < found.distance.value < plain  # without the part of chance
    assert found.series["n"].sum() == found.distance.n == second.sum()


def test_unknown_column_and_no_baseline_are_typed_errors() -> None:
    source = from_frame(rows(0, n=400))
    for column, view, code in (
        ("nothing", None, "drift.column"),
        ("intent", kpi.Slice(baseline="none"), "drift.no_baseline"),
    ):
        with pytest.raises(kpi.errors.MetricError) as caught:
            kpi.drift(source, column, view)
        assert caught.value.code == code
        assert caught.value.hint


def test_what_only_one_side_has_is_listed_with_its_share() -> None:
    frame = rows(3)
    second = np.arange(len(frame)) >= len(frame) // 2
    tail = np.array([f"tenant{i % 40:02d}" for i in range(len(frame))])
    frame["use_case"] = np.where(second & (tail == "tenant07"), "newcomer", tail)
    frame.loc[second & (tail == "tenant08"), "use_case"] = "tenant09"
    found = kpi.drift(from_frame(frame), "use_case")
    assert found.appeared[["value", "n"]].to_numpy().tolist() == [["newcomer", 100]]
    assert found.appeared["share"].tolist() == [100 / 4000]
    assert found.vanished["value"].tolist() == ["tenant07", "tenant08"]
    assert found.turnover == "New: newcomer 2.50 %. Gone: tenant07 2.50 %, tenant08 2.50 %."
    assert len(found.distribution) == 12  # the picture folds, the distance does not
    assert found.distance.clear
    assert found.series["complete"].tolist() == [True] * MONTH


@pytest.mark.parametrize("column", ["input_tokens", "intent", "success"])
def test_a_column_that_goes_missing_is_told_in_words(column: str) -> None:
    frame = rows(4).astype({"input_tokens": "Int64", "success": "boolean"})
    rng, second = np.random.default_rng(5), np.arange(len(frame)) >= len(frame) // 2
    gone = rng.random(len(frame)) < np.where(second, 0.61, 0.02)
    frame[column] = frame[column].mask(gone, None)
    found = kpi.drift(from_frame(frame), column)
    share = [f"{100 * gone[part].mean():#.3g}" for part in (~second, second)]
    assert found.distance.clear
    assert f"unknown {share[0]} % → {share[1]} % of requests" in found.sentence
    unknown = found.distribution.set_index("value").loc["(none)"]
    assert unknown["now"] == pytest.approx(gone[second].mean())
    assert found.distribution["now"].sum() == pytest.approx(1)


def test_drift_asks_one_statement_or_two_for_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    source, asked = from_frame(rows(5)), []
    resolved = kpi.resolve(source, kpi.Slice())
    kpi.drift(source, "intent")
    run = source.run
    monkeypatch.setattr(source, "run", lambda statement: (asked.append(statement), run(statement))[1])
    for column, most in (("intent", 1), ("input_tokens", 2)):
        asked.clear()
        kpi.drift(source, column)
        assert len(asked) == most
    asked.clear()
    input_drift(source, resolved, ["intent", "success"])
    assert len(asked) == 1


MIXES = {
    "intent": [0.4, 0.25, 0.15, 0.12, 0.08], "language": [0.55, 0.2, 0.12, 0.08, 0.05], "region": [0.4, 0.3, 0.2, 0.1],
}  # fmt: skip


def two_months(
    rng: np.random.Generator, users: int, *, heavy: bool = False, same: bool = False, moved: str = ""
) -> pd.DataFrame:
    """Intents belong to requests, languages and regions to users, who come back (`same`) or not.

    heavy: 3 to 5,000 requests a user with a tail of 1.3, else 20 on average. moved: ten points go from the first value
    of this column to the second.
    """
    size = np.minimum(3 * (1 - rng.random(2 * users)) ** (-1 / 1.3), 5000) if heavy else rng.geometric(0.05, 2 * users)
    user = np.repeat(np.arange(2 * users), size.astype(int))
    second = rng.random(len(user)) < 0.5 if same else user >= users
    made = {}
    for column, mix in MIXES.items():
        own = rng.choice(len(mix), len(user) if column == "intent" else 2 * users, p=mix)
        goes = (own == 0) & (rng.random(len(own)) < 0.1 / mix[0])
        each, going = (own, goes) if column == "intent" else (own[user], goes[user])
        made[column] = np.where((column == moved) & second & going, 1, each)
    month = MONTH * 86_400
    moment = rng.integers(0, month, len(user)) + np.where(second, month, 0)
    moment[np.flatnonzero(~second)[0]], moment[np.flatnonzero(second)[0]] = 0, 2 * month - 1
    start = pd.Timestamp("2026-08-01", tz="UTC")
    named = {c: pd.Series(v).map("value{}".format) for c, v in made.items()}
    ids = {"trace_id": [f"t{i}" for i in range(len(user))], "user_key": [f"u{v}" for v in user]}
    return pd.DataFrame({**ids, "started_at": start + pd.to_timedelta(moment, unit="s"), **named})


def test_a_change_of_ten_points_is_seen_in_sixty_users_of_either_month() -> None:
    rng = np.random.default_rng(60)
    found = [kpi.drift(from_frame(two_months(rng, 60, moved="intent")), "intent") for _ in range(4)]
    assert all(f.distance.clear for f in found)


def test_a_change_of_what_users_own_is_seen_where_they_come_back() -> None:
    rng = np.random.default_rng(400)
    found = [kpi.drift(from_frame(two_months(rng, 200, same=True, moved="language")), "language") for _ in range(4)]
    assert all(f.distance.clear for f in found)


def test_heavy_users_of_one_month_alone_are_no_change_of_a_column_or_card() -> None:
    rng, card, clear, states = np.random.default_rng(13), "drift_score", [], []
    for _ in range(12):
        source = from_frame(two_months(rng, 60, heavy=True))
        clear.append(kpi.drift(source, "language").distance.clear)
        (shown,) = [c for c in kpi.scorecard(source).cards if c.metric == card]
        states.append(shown.state)
    assert sum(clear) <= 1
    assert sum(s in ("watch", "off_target") for s in states) <= 1


def test_inputs_of_a_card_share_one_error() -> None:
    source = from_frame(two_months(np.random.default_rng(5), 100, moved="intent"))
    view = kpi.Slice(last="28d")
    found = input_drift(source, kpi.resolve(source, view), ["intent", "language", "region"])
    alone = {c: kpi.drift(source, c, view).distance for c in found}
    assert found["intent"].clear
    assert found["intent"].low < alone["intent"].low
    assert all(found[c].noise > alone[c].noise for c in found)
    assert {c: found[c].value for c in found} == pytest.approx({c: alone[c].value for c in found})
