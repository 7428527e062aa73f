"""`kpi drift | fairness | latency | cost | trends`: the numbers of the Python calls, words, exit codes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import kpi
from kpi import cli
from tests.unit.cli.conftest import Run, plain

pytestmark = pytest.mark.slow

VIEW = kpi.Slice()


@pytest.fixture
def ask(run: Run, sample_home: Path):
    def call(*words: str):
        code, out, _ = run(*words, "--dataset", "sample", "--json")
        return code, plain(out)

    return call


def test_drift_of_all_columns_and_of_one(ask, run: Run) -> None:
    code, found = ask("drift")
    direct = kpi.drift(kpi.open("sample"), slice=VIEW)
    assert code == cli.BREACHED
    wanted = {c["column"]: c for c in direct.to_dict()["columns"]}
    assert {c["column"] for c in found["columns"]} == set(wanted)
    for c in found["columns"]:
        assert (c["state"], c["n"]) == (wanted[c["column"]]["state"], wanted[c["column"]]["n"])
        assert (c["distance"], c["q"]) == pytest.approx((wanted[c["column"]]["distance"], wanted[c["column"]]["q"]))
    assert found["sentence"] == direct.sentence
    out = run("drift", "--dataset", "sample")[1]
    assert direct.sentence in out
    assert "no clear change" in out
    code, one = ask("drift", "language")
    alone = kpi.drift(kpi.open("sample"), "language", VIEW)
    assert one["sentence"] == alone.sentence
    assert [r["now"] for r in one["distribution"]] == pytest.approx(alone.distribution["now"].tolist())
    assert code == (cli.BREACHED if alone.distance.clear else cli.FINE)
    assert ask("drift", "langage")[1]["error"]["hint"].startswith("Did you mean language?")


def test_fairness_crosses_cohorts_and_says_why(ask, run: Run) -> None:
    words = ("fairness", "--by", "language,language*device", "--metrics", "refusal_rate,task_success")
    code, found = ask(*words)
    direct = kpi.disparity(kpi.open("sample"), VIEW, by=["language", ("language", "device")],
                           metrics=["refusal_rate", "task_success"])  # fmt: skip
    wanted = direct.gaps[direct.gaps["metric"].isin(["refusal_rate", "task_success"])]
    key = lambda g: (g["dimension"], g["metric"])  # noqa: E731
    assert {key(g): g["gap"] for g in found["gaps"]} == {key(g): g["gap"] for g in wanted.to_dict("records")}
    assert [g["q"] for g in found["gaps"]] == sorted(wanted["q"])
    clear = wanted[wanted["q"] <= 0.05]
    assert code == (cli.BREACHED if len(clear) else cli.FINE)
    assert len(clear), "the world has a planted gap, else this test sees nothing"
    out = run(*words, "--dataset", "sample")[1]
    assert found["sentence"] in out
    for gap in clear.itertuples():
        assert f"{gap.worst} and {gap.best} lie" in out


def test_cost_and_latency_are_those_of_summarise_with_states(ask) -> None:
    source = kpi.open("sample")
    for words in (("cost", "--by", "model"), ("latency",)):
        code, found = ask(*words)
        names = list(dict.fromkeys(r["metric"] for r in found["rows"]))
        wanted = kpi.judge_frame(kpi.summarise(source, names, VIEW, by=["model"] if "--by" in words else []))
        assert [r["state"] for r in found["rows"]] == wanted["state"].tolist()
        for row, truth in zip(found["rows"], wanted["value"], strict=True):
            assert row["value"] is None if math.isnan(truth) else row["value"] == pytest.approx(truth)
        assert (code == cli.BREACHED) == ("off_target" in set(wanted["state"]))
    assert {"latency_p50", "latency_p95", "slo_attainment"} <= set(names)
    assert [s["stage"] for s in found["stages"]] == kpi.latency_stages(source, VIEW).parts["stage"].tolist()
    share = next(r["value"] for r in ask("latency", "--slo", "2500")[1]["rows"] if r["metric"] == "slo_attainment")
    assert share == pytest.approx(kpi.summarise(source, kpi.slo_attainment(2500), VIEW)["value"][0])
    assert 0 < share < next(r["value"] for r in found["rows"] if r["metric"] == "slo_attainment")


def test_trends_are_summarise_by_day(ask) -> None:
    code, found = ask("trends", "task_success", "--by", "language")
    assert code == cli.FINE
    assert found == ask("summarise", "task_success", "--by", "language", "--every", "day")[1]
    assert len({r["bucket"] for r in found["rows"]}) == 28


def test_findings_are_those_of_the_overview(ask) -> None:
    _, found = ask("findings")
    told = kpi.story(kpi.open("sample"), VIEW)
    assert [f["sentence"] for f in found["findings"]] == [f.sentence for f in told.findings]
    assert [f.sentence for f in kpi.findings(kpi.open("sample"))] == [f.sentence for f in told.findings]
