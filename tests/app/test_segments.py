"""Segments: the gap in words, groups with their verdicts, intersections, what is hidden, and the way to a trace."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

import kpi
from app import cohorts
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
    assert len(app("segments", by="language", last="90d", with_="device").get("vega_lite_chart")) == 2
    assert len(app("segments", by="language", last="90d", with_="none").get("vega_lite_chart")) == 1


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
