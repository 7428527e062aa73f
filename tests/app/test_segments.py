"""Segments: the gap in words, groups with their verdicts, intersections, what is hidden, and the way to a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import kpi
from app import cohorts, data, weak_segments
from tests.app.conftest import _forget, _opener
from tests.app.test_pages import texts


def shown(at) -> str:
    return texts(at).replace("\\", "")


def of_page(by: str, metric: str = "task_success", last: str = "28d") -> kpi.Disparity:
    source = kpi.open("sample")
    return kpi.disparity(source, kpi.Slice(dataset="sample", last=last), by=by, metrics=[metric])


@pytest.mark.parametrize("metric", ["task_success", "incident_rate", "cost_per_query", "tool_calls"])
def test_values_are_those_of_kpi(app, metric: str) -> None:
    at = app("segments", by="language", metric=metric, last="all")
    mine = of_page("language", metric, "all").groups
    table = next(d.value for d in at.dataframe if "Verdict" in d.value.columns)
    expected = {r.group: kpi.wording.format_value(r.value, r.unit) for r in mine[mine.metric == metric].itertuples()}
    assert dict(zip(table["Language"], table["Value"], strict=True)) == expected
    assert len(expected) >= 4


def test_the_gap_is_said_with_its_noise_and_the_mix_held(app) -> None:
    at = app("segments", by="language", metric="escalation_rate", last="90d")
    gap = of_page("language", "escalation_rate", "90d").gaps.iloc[0]
    said = shown(at)
    assert f"{gap['worst']} and {gap['best']} lie" in said
    assert "On the same intent" in said
    assert "Four-fifths rule of thumb" in said
    assert any(b in said for b in ("Clear gap", "No clear gap"))


def test_the_matrix_marks_what_is_clear_and_nothing_else(monkeypatch) -> None:
    gaps = pd.DataFrame(
        {
            "dimension": ["language", "device"], "metric": "task_success", "unit": "share", "gap": [0.12, 0.02],
            "q": [0.01, 0.4],
        }
    )  # fmt: skip
    drawn = []
    monkeypatch.setattr(cohorts.st, "dataframe", lambda styled, **_: drawn.append(styled.data))
    cohorts.matrix(gaps, ["task_success", "refusal_rate"])
    assert drawn[0]["Task success"].to_dict() == {"Language": "✕ 12.0 pp", "Device": "2.00 pp"}


def test_crossed_dimensions_draw_a_second_chart(app) -> None:
    """Beside what findings on top may draw, which is the same both times."""
    crossed = len(app("segments", by="language", last="90d", with_="device").get("vega_lite_chart"))
    assert crossed == 1 + len(app("segments", by="language", last="90d", with_="none").get("vega_lite_chart")) >= 2


def test_hidden_groups_are_named_with_the_reason(app) -> None:
    at = app("segments", by="language", with_="intent", last="28d")
    told = next(e for e in at.expander if "hidden" in e.label)
    assert "fewer than 11" in told.text[0].value
    pair = kpi.disparity(kpi.open("sample"), kpi.Slice(dataset="sample"), by=[("language", "intent")])
    assert pair.hidden["language × intent"]


def test_data_that_cannot_be_compared_says_so(app) -> None:
    at = app("segments", last="1h", by="plan")
    assert not at.error
    assert "large enough" in shown(at) or "No requests match" in shown(at)


def test_the_sentence_of_a_gap_within_noise_makes_no_claim() -> None:
    gap = of_gap(q=0.4, gap=0.02, low=0.0)
    assert cohorts.sentence(gap, None).endswith("by chance.")
    clear = cohorts.sentence(of_gap(q=0.01, gap=0.12, low=0.05, adjusted=0.03), "intent")
    assert "12.0 pp apart (5.00 to 20.0 pp)" in clear
    assert "On the same intent: 3.00 pp" in clear


def of_gap(*, q: float, gap: float, low: float, adjusted: float = float("nan")):
    return SimpleNamespace(
        worst="es", best="en", gap=gap, unit="share", low=low, high=0.2, q=q, noise=0.04, adjusted=adjusted,
        four_fifths=float("nan"),
    )  # fmt: skip


# --- who fails most --------------------------------------------------------------------------------------------------

HOSTILE = "![x](http://e.test/a)"


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State folder with 4,000 requests without times: a tenant of a bad name fails on mobile; costs are alike."""
    home, rng, n = tmp_path_factory.mktemp("weak"), np.random.default_rng(7), 4_000
    users = rng.integers(0, 400, n)
    tenant = np.where(users % 3 == 0, HOSTILE, np.where(users % 3 == 1, "acme", "umbrella"))
    device = rng.choice(["mobile", "desktop"], n)
    fails = (tenant == HOSTILE) & (device == "mobile")
    frame = pd.DataFrame({
        "request_id": [f"r{i}" for i in range(n)], "user_id": users, "tenant": tenant, "device": device,
        "success": rng.random(n) < np.where(fails, 0.5, 0.85), "cost_usd": rng.lognormal(-5, 0.3, n),
        "output_tokens": rng.integers(10, 500, n),
    })  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPI_HOME", str(home))
        frame.to_csv(home / "rows.csv", index=False)
        assert kpi.load(home / "rows.csv", dataset="weak").requests == n
    return home


@pytest.fixture
def page(weak: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    monkeypatch.setenv("KPI_HOME", str(weak))
    _forget()
    yield lambda **query: _opener("segments", **{"data": "weak", **query})
    _forget()


def test_who_fails_most_is_said_with_ways_on(page) -> None:
    at = page(by="tenant")
    (row,) = kpi.weak_segments(kpi.open("weak"), kpi.Slice(dataset="weak")).segments.itertuples()
    assert row.where == {"tenant": HOSTILE, "device": "mobile"}
    said = [m.value for m in at.markdown if m.value.startswith("**Device mobile")]
    assert [s.replace("\\", "").replace("*", "").replace("\u2060", "") for s in said] == [row.sentence]
    assert "![" not in said[0]  # a name of an export fetches nothing
    ways = [(e.proto.page, parse_qs(e.proto.query_string)) for e in at.get("page_link")]
    narrowed = ["device:mobile", f"tenant:{HOSTILE}"]
    opened = [(p, q["if"], q["sort"]) for p, q in ways if q.get("where") == narrowed]
    assert opened == [("traces", ["not success"], ["recent"])]  # exactly the requests that failed


def test_a_segment_is_carried_into_the_slice(page) -> None:
    at = page(by="tenant", metric="task_success")
    next(b for b in at.button if b.label == "Only these requests").click().run()
    assert not at.exception
    assert at.query_params["where"] == ["device:mobile", f"tenant:{HOSTILE}"]
    assert at.query_params["metric"] == "task_success"
    assert "by" not in at.query_params  # nothing is left to split there
    source, view = kpi.open("weak"), kpi.Slice(dataset="weak").where(tenant=HOSTILE, device="mobile")
    n = kpi.summarise(source, "task_success", view)["n"].iloc[0]
    assert f"{n:,} requests" in shown(at)
    assert "No segment is large enough" in shown(at) or "no segment is clearly worse" in shown(at)


def test_nobody_who_fails_most_reads_calmly_and_no_worse_side_not_at_all(page) -> None:
    calm = page(metric="cost_per_query")
    assert "Cost per query: no segment is clearly worse than the rest" in shown(calm)
    assert "Where cost per query is worst" in [h.value for h in calm.subheader]
    neither = page(metric="output_tokens")
    assert not {"Where output tokens is worst", "Who fails most"} & {h.value for h in neither.subheader}
    assert not any("weak_segments" in c.value for c in neither.code)


def test_it_costs_one_query(page, monkeypatch: pytest.MonkeyPatch) -> None:
    source = kpi.open("weak")
    kpi.profile(source)
    monkeypatch.setattr(data, "open_source", lambda *_: source)
    run, asked = type(source).run, []
    monkeypatch.setattr(type(source), "run", lambda self, statement: (asked.append(statement), run(self, statement))[1])
    counts = []
    for draw in (weak_segments.draw, lambda *_: None):
        monkeypatch.setattr(weak_segments, "draw", draw)
        st.cache_data.clear()
        asked.clear()
        page(by="tenant")
        counts.append(len(asked))
    assert counts[1] > 0
    assert counts[0] == counts[1] + 1
