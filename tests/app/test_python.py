"""The Python that a page shows runs, and gives the numbers that the page shows."""

from __future__ import annotations

import json

import pytest

import kpi
from app import text

QUERY = {"last": "90d", "where": ["language:es", "plan:free"], "vs": "weekdays", "grain": "week"}


def run(at) -> dict:
    code = next(c.value for c in at.code if c.value.startswith("import kpi"))
    names: dict = {}
    exec(compile(code, "page", "exec"), names)
    return names


@pytest.mark.parametrize(
    "name", ["overview", "why", "trends", "versions", "traces", "cost", "segments", "drift", "data"]
)
def test_it_runs(app, name):
    names = run(app(name, **QUERY))
    assert names["source"].name == "sample"
    asked = {k: [v] if isinstance(v, str) else v for k, v in {**QUERY, "data": "sample"}.items()}
    view = kpi.Slice.from_query(asked)
    if name in ("why", "drift"):  # nothing lies before 90 days of a world of 90 days
        view = kpi.recent(kpi.open("sample"), view)
        assert view.last == "14d"
    assert names["view"] == view


def test_overview_numbers(app):
    at = app(**QUERY)
    shown = {m.label.replace("\\", ""): m.value.replace("\\", "") for m in at.metric}
    card = run(at)["card"]
    assert {c.label: kpi.wording.format_value(c.value, c.unit) for c in card.cards}.items() <= shown.items()


def test_cost_numbers(app):
    at = app("cost", **QUERY)
    shown = [m.value.replace("\\", "") for m in at.metric]
    frame = run(at)["numbers"]
    assert shown == [kpi.wording.format_value(v, u) for v, u in zip(frame["value"], frame["unit"], strict=True)]


def test_absolute_window(app):
    at = app("trends", from_="2026-10-01T00:00:00Z", to="2026-11-01T00:00:00Z")
    names = run(at)
    assert names["view"].start.month == 10
    value = names["whole"]["value"].iloc[0]
    assert at.metric[0].value.replace("\\", "") == kpi.wording.format_value(value, "share")


def test_a_notebook_reproduces_the_page(app):
    """Cell by cell, each with the value that its call names."""
    app()  # the state folder of the tests
    view = kpi.Slice(dataset="sample", last="90d")
    calls = ["card = kpi.scorecard(source, view)", "print(card.sentence)"]
    made = json.loads(text.notebook(view, calls))
    assert (made["nbformat"], [c["cell_type"] for c in made["cells"]]) == (4, ["code"] * 3)
    assert made["cells"][1]["source"] == "card = kpi.scorecard(source, view)\ncard"
    names: dict = {}
    for cell in made["cells"]:
        exec(cell["source"], names)
    assert names["card"].sentence == kpi.scorecard(kpi.open("sample"), view).sentence


@pytest.mark.parametrize("told", ["[x](http://evil)", "<img src=y>", "`code` @everyone", "a\nb ![p](https://q)"])
def test_what_is_pasted_into_a_chat_is_plain(told):
    assert not set("[]<>`@\n") & set(text.plain(told))
    assert "://" not in text.plain(told)
