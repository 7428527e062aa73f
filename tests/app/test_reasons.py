"""Overview's findings, Why and Versions: the numbers of `kpi`, ways on that lead to traces, and few queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import kpi
from app import data
from tests.app.conftest import PAGES, _forget, _opener
from tests.app.test_pages import texts

MOST_QUERIES = 3  # the parts, the course, the money; a quantile is found before it is compared


def said(at: AppTest) -> str:
    return texts(at).replace("\\", "")


def links(at: AppTest) -> list[tuple[str, dict[str, list[str]]]]:
    """(page, query) of every link on a page."""
    found = [e.proto for e in at.get("page_link")]
    return [(p.page, parse_qs(p.query_string)) for p in found]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State folder with 12,000 requests over 42 days: success falls in Spanish with prompt p2 on day 32."""
    home, rng, n = tmp_path_factory.mktemp("broken"), np.random.default_rng(4), 12_000
    day = rng.integers(0, 42, n)
    language = rng.choice(["en", "es", "de"], n, p=[0.5, 0.3, 0.2])
    prompt = np.where((day >= 32) & (rng.random(n) < 0.6), "p2", "p1")
    falls = (prompt == "p2") & (language == "es")
    frame = pd.DataFrame({
        "request_id": [f"r{i}" for i in range(n)],
        "timestamp": pd.Timestamp("2026-10-01", tz="UTC") + pd.to_timedelta(1440 * day + rng.integers(0, 1440, n), "m"),
        "user_id": rng.integers(0, 900, n), "language": language, "prompt_version": prompt,
        "success": rng.random(n) < np.where(falls, 0.45, 0.85), "latency_ms": rng.lognormal(7, 0.4, n),
        "cost_usd": rng.lognormal(-5, 0.5, n), "question": "how?",
    })  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPI_HOME", str(home))
        frame.to_csv(home / "rows.csv", index=False)
        assert kpi.load(home / "rows.csv", dataset="broken").requests == n
        frame.drop(columns="cost_usd").to_csv(home / "free.csv", index=False)
        assert kpi.load(home / "free.csv", dataset="free").requests == n
        _turning().to_csv(home / "turning.csv", index=False)
        assert kpi.load(home / "turning.csv", dataset="turning").requests == 7000
        few = frame.head(40).drop(columns=["user_id", "language"])
        few.to_csv(home / "few.csv", index=False)
        assert kpi.load(home / "few.csv", dataset="few").requests == 40
    return home


def _turning() -> pd.DataFrame:
    """Prompt p2 is better in English, worse in Spanish; and better on each device, but mostly used on the harder."""
    sizes = {"en": ((500, 500), (500, 500)), "es": ((250, 250), (250, 250)), "de": ((1600, 400), (400, 1600))}
    gain = {"en": 0.08, "es": -0.14, "de": 0.08}
    rows = [
        (prompt, language, device, k < n * (rate + gain[language] * (prompt == "p2")))
        for language, both in sizes.items() for prompt, counts in zip(("p1", "p2"), both, strict=True)
        for device, n, rate in zip(("web", "phone"), counts, (0.9, 0.5), strict=True) for k in range(n)
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["prompt_version", "language", "device", "success"])
    rng = np.random.default_rng(1)
    at = pd.Timestamp("2026-10-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 13 * 1440, len(frame)), "m")
    return frame.assign(request_id=[f"r{i}" for i in range(len(frame))], timestamp=at, user_id=range(len(frame)))


@pytest.fixture
def page(broken: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    monkeypatch.setenv("KPI_HOME", str(broken))
    _forget()
    yield lambda name="overview", **query: _opener(name, **{"data": "broken", "last": "14d", **query})
    _forget()


def test_the_overview_names_the_cause_with_ways_on(page):
    at = page()
    shown = said(at)
    (found, *_) = kpi.story(kpi.open("broken"), kpi.Slice(dataset="broken", last="14d")).findings
    assert (found.metric, dict(found.where), found.version) == ("task_success", {"language": "es"}, "p2")
    assert found.sentence in shown
    assert found.action in shown
    ways = links(at)
    assert ("why", ["task_success"]) in [(p, q.get("metric")) for p, q in ways]
    (traces, *_) = [q for p, q in ways if p == "traces" and "trace" in q]
    assert set(traces["where"]) == {"language:es", "prompt_version:p2"}
    assert traces["from"] == [f"{found.since}T00:00:00Z"]
    source, view = kpi.open("broken"), kpi.Slice(dataset="broken", last="14d")
    rows = kpi.rows_of(found, view, kpi.resolve(source, view))
    assert kpi.summarise(source, "task_success", rows)["n"].iloc[0] == found.n


def test_why_shows_value_change_path_and_parts_that_sum(page):
    at = page("why", metric="task_success")
    view = kpi.Slice(dataset="broken", last="14d")
    value = kpi.summarise(kpi.open("broken"), "task_success", view)["value"].iloc[0]
    assert at.metric[0].value.replace("\\", "") == kpi.wording.format_value(value, "share")
    assert "Language es › Prompt version p2 › since" in said(at)
    split = kpi.decompose(kpi.open("broken"), "task_success", view, by=["language", "prompt_version"])
    assert {s.sentence for s in split} & {m.value.replace("\\", "") for m in at.markdown}
    assert any(p == "traces" and q.get("trace") == ["first"] for p, q in links(at))


def test_a_link_to_a_version_that_was_not_there_before_is_compared_with_the_segment(page):
    at = page("why", metric="task_success", where=["language:es", "prompt_version:p2"])
    assert not at.error
    assert "prompt_version was not there before" in said(at)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("why", {"metric": "task_success"}), ("why", {"metric": "task_success", "show": "traits"}),
        ("why", {"metric": "latency_p95"}), ("why", {"metric": "cost_per_query"}), ("why", {"metric": "cost_p95"}),
        ("versions", {}), ("versions", {"show": "frontier"}),
        ("segments", {}), ("segments", {"metric": "latency_p95"}), ("segments", {"metric": "cost_per_query"}),
    ],
)  # fmt: skip
def test_pages_answer_from_few_queries(page, monkeypatch, name, query):
    source = kpi.open("broken")
    kpi.profile(source)
    monkeypatch.setattr(data, "open_source", lambda *_: source)
    told = kpi.story(source, kpi.Slice(dataset="broken", last="14d"))
    monkeypatch.setattr(data, "story", lambda *_: told)
    run, asked = type(source).run, []
    monkeypatch.setattr(type(source), "run", lambda self, statement: (asked.append(statement), run(self, statement))[1])
    at = page(**query)
    asked.clear()
    st.cache_data.clear()  # the Overview has asked for some of it
    at.switch_page(PAGES[name]).run()
    assert not at.error
    assert len(at.get("vega_lite_chart")) >= (1 if name == "segments" or query.get("show") == "traits" else 2)
    assert 0 < len(asked) <= MOST_QUERIES + {"cost_p95": 1, "latency_p95": 2}.get(query.get("metric", ""), 0)


def test_why_sets_failed_against_successful_with_examples(page):
    at = page("why", metric="task_success", show="traits")
    found = kpi.contrast(kpi.open("broken"), kpi.Slice(dataset="broken", last="14d"), outcome="success")
    assert found.sentence in said(at)
    assert found.lifts["trait"].iloc[0] in said(at)
    opened = {q["trace"][0] for p, q in links(at) if p == "traces" and "q" in q}
    first = found.lifts[found.lifts["low"] > 1].iloc[0]
    assert {*first["failed_examples"], *first["success_examples"]} <= opened


def test_versions_say_the_verdict_and_where_it_is_another(page):
    at = page("versions", by="prompt_version", a="p1", b="p2")
    view = kpi.Slice(dataset="broken", last="14d")
    found = kpi.compare(kpi.open("broken"), "p1", "p2", slice=view, by="prompt_version")
    assert found.sentence in said(at)
    assert found["task_success"].verdict == "worse"
    assert "Worse] Task success" in said(at)


@pytest.mark.parametrize("within", ["language", "device"])
def test_versions_name_reversals_and_opposite_directions(page, within):
    at = page("versions", data="turning", last="all", by="prompt_version", a="p1", b="p2", within=within)
    view = kpi.Slice(dataset="turning", last="all")
    cells = kpi.compare_within(kpi.open("turning"), "p1", "p2", slice=view, by="prompt_version", within=within).frame()
    told = cells.set_index("metric").loc["task_success", "told"].iloc[0]
    assert told in said(at)
    name = "The mix decides" if within == "device" else "Opposite directions"
    assert told.startswith({"device": "Simpson reversal in Task success", "language": "Task success turns"}[within])
    assert any(f"{name}]" in m.value for m in at.markdown)


def test_a_running_test_shows_wider_intervals(page):
    at = page("versions", by="prompt_version", a="p1", b="p2", running="1")
    assert "hold however often you look" in said(at)
    assert "intervals hold at every look" in said(at)


def test_a_running_test_shows_whether_users_are_split_as_planned(page):
    source, view = kpi.open("broken"), kpi.Slice(dataset="broken", last="14d")
    ask = {"slice": view, "by": "prompt_version", "within": ["language"]}
    for query, plan in (({}, (1, 1)), ({"split": "37:63"}, (37, 63)), ({"split": "nonsense"}, (1, 1))):
        found = kpi.sample_ratio(source, "p1", "p2", expected=plan, **ask)
        at = page("versions", by="prompt_version", a="p1", b="p2", running="1", **query)
        assert found.sentence in said(at)
        assert ("Do not decide" in said(at)) == found.alarm
        (table,) = [d.value for d in at.dataframe if "Split" in d.value.columns]
        assert sorted(table["Users A: p1"]) == sorted(found.where["a"])
        assert list(table["Split"] == "off") == sorted(found.where["alarm"], reverse=True)
    assert found.alarm  # p2 has 6 of 10 requests of some days and none of the others
    assert "sample-ratio" not in said(page("versions", by="prompt_version", a="p1", b="p2")).lower()
    assert not page("versions", data="few", last="28d", running="1").error


def test_without_costs_the_frontier_says_what_is_missing(page):
    at = page("versions", data="free", show="frontier")
    assert not at.error
    assert "is known in this data" in said(at)
    assert "Task success" in said(at)


def test_the_same_value_twice_is_said(page):
    assert "A and B are the same" in said(page("versions", by="prompt_version", a="p1", b="p1"))


@pytest.mark.parametrize("name", ["overview", "why", "versions"])
def test_forty_requests_without_users(page, name):
    at = page(name, data="few", last="28d")
    assert not at.error or "Nothing is known" in at.error[0].value


def test_a_quiet_slice_gets_a_calm_line(page):
    at = page(where=["language:de"])
    assert "Nothing changed for certain in the last 14 days" in said(at)
