"""Metrics of a team's own are on every page on which the built-in ones are, with the same numbers."""

from __future__ import annotations

import pytest

import kpi
from kpi.store.manifest import folder
from tests.app.test_pages import texts
from tests.unit.measure.test_own_metrics import GAME, game


@pytest.fixture
def loaded(empty_app, tmp_path):
    """The product's table, loaded beside nothing else, with its register."""
    game(4_000).to_csv(tmp_path / "game.csv", index=False)
    kpi.load(tmp_path / "game.csv", dataset="game")
    (folder("game") / "register.toml").write_text(GAME, encoding="utf-8")
    return empty_app


def test_they_are_chosen_drawn_compared_and_told(loaded):
    here = {"data": "game", "last": "14d"}
    view = kpi.Slice(dataset="game", last="14d")
    value = kpi.summarise(kpi.open("game"), "retention_7d", view)["value"].iloc[0]
    shown = {m.label: m.value for m in loaded(**here).metric}
    assert shown["Retention 7d"].replace("\\", "") == kpi.wording.format_value(value, "share")
    trends = loaded("trends", **here, metric="retention_7d")
    assert trends.metric[0].value.replace("\\", "") == kpi.wording.format_value(value, "share")
    for name in ("trends", "segments", "versions", "why", "cost", "drift", "data", "traces"):
        at = loaded(name, **here, metric="retention_7d")
        assert not at.exception
        assert not at.error, texts(at)
    at = loaded("segments", **here, metric="revenue", by="language")
    assert "Revenue" in texts(at)


def test_a_changed_register_is_seen_at_once(loaded):
    assert "Off target" not in texts(loaded(data="game"))
    (folder("game") / "register.toml").write_text(
        GAME.replace("0.20", "0.90").replace("0.19", "0.80").replace("0.15", "0.70"), encoding="utf-8"
    )
    assert "Off target" in texts(loaded(data="game"))


def test_a_broken_register_is_an_error_and_no_traceback(loaded):
    (folder("game") / "register.toml").write_text('[[metric]]\nname = "a"\nkind = "rate"\n', encoding="utf-8")
    at = loaded(data="game")
    assert not at.exception
    assert any("Metric 1 of the register" in e.value for e in at.error)
