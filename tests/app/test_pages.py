"""Every page renders on the planted world and says its numbers; links are obeyed, and reported where they cannot be."""

from __future__ import annotations

import json

import pytest

import kpi
from tests.app.conftest import NAMES


def texts(at) -> str:
    """Everything that Markdown sinks of a page show."""
    return "\n".join(e.value for kind in (at.markdown, at.caption, at.error, at.warning) for e in kind)


@pytest.mark.parametrize("name", NAMES)
def test_page_renders(app, name):
    at = app(name)
    assert at.title[0].value.startswith(name.capitalize())
    assert not at.error
    assert "sample, version 1" in texts(at).replace("\\", "")


def test_overview_shows_the_scorecard(app):
    at = app()
    card = kpi.scorecard(kpi.open("sample"), kpi.Slice(dataset="sample"))
    shown = {m.label.replace("\\", ""): m.value.replace("\\", "") for m in at.metric}
    for c in card.cards:
        assert shown[c.label] == kpi.wording.format_value(c.value, c.unit)
    words = {kpi.wording.STATES[c.state].word for c in card.cards}
    assert all(any(word in m.value for m in at.markdown) for word in words)


def test_colour_only_on_clear_change(app):
    at = app(last="90d", vs="none")
    assert not any(m.delta for m in at.metric)


def test_slice_of_the_url_reaches_the_numbers(app):
    at = app("trends", data="sample", last="90d", where=["language:es"], metric="task_success")
    view = kpi.Slice(dataset="sample", last="90d").where(language="es")
    value = kpi.summarise(kpi.open("sample"), ["task_success"], view)["value"].iloc[0]
    assert at.metric[0].value.replace("\\", "") == kpi.wording.format_value(value, "share")
    assert at.button(key="chip_language_es").label.replace("\\", "") == "Language: es"


def test_widgets_show_the_slice_of_the_url(app):
    at = app(last="90d", vs="weekdays", grain="week", where=["language:es", "language:de"])
    assert at.session_state["bar_last"] == "90d"
    assert at.selectbox(key="bar_vs").value == "weekdays"
    assert at.multiselect(key="bar_where_language").value == ["de", "es"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"where": ["language:xx"]}, "language xx"),
        ({"where": ["colour:red"]}, "colour"),
        ({"vs": "colour:red"}, "compares with a colour"),
        ({"fp": "0123456789abcdef"}, "moved on"),
        ({"last": "banana"}, "Cannot read the window"),
        ({"at": "99"}, "version"),
        ({"data": "nowhere"}, "nowhere"),
        ({"v": "9"}, "another version"),
    ],
)
def test_what_a_link_asks_in_vain_is_said(app, query, said):
    assert said in texts(app(**query)).replace("\\", "")


def test_no_matching_request_offers_a_way_out(app):
    at = app(where=["language:xx"])
    assert "No requests match this slice" in texts(at)
    assert at.button(key="empty_clear")


def test_unknown_trace_is_an_error_with_a_remedy(app):
    at = app("traces", trace="no-such-trace")
    assert "There is no trace" in at.error[0].value
    assert "Check the id" in at.error[0].value


def test_one_trace_shows_outcome_and_texts(app):
    source = kpi.open("sample")
    found = kpi.find_traces(source, kpi.Slice(dataset="sample"), sort="cost", limit=1).iloc[0]
    at = app("traces", trace=found["trace_id"])
    one = kpi.trace(source, found["trace_id"])
    assert one.why in texts(at).replace("\\", "")
    assert found["input_text"] in [t.value for t in at.text]
    assert found["trace_id"] in [c.value for c in at.code]


def test_charts_are_small_and_described(app):
    for name in NAMES:
        for chart in app(name, last="90d").get("vega_lite_chart"):
            assert chart.proto.alt
            spec = json.loads(chart.proto.spec)
            assert spec["layer"] if "layer" in spec else spec["mark"]


def test_nothing_loaded_welcomes(empty_app):
    at = empty_app()
    assert "Nothing is loaded yet" in texts(at)
    assert any("Load" in text for text in [m.value for m in empty_app("data").markdown])


ONE_OF_EACH = {(m.group, m.kind, m.unit): m.name for m in kpi.METRICS.values()}


@pytest.mark.parametrize("metric", sorted(ONE_OF_EACH.values()))
def test_every_sort_of_metric_has_a_trend(app, metric):
    at = app("trends", metric=metric, last="all")
    assert not at.error
