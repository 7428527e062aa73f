"""`kpi decompose | contrast | frontier`: keys that scripts rely on, the numbers of the Python calls, exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kpi
from kpi import cli
from tests.unit.cli.conftest import plain

pytestmark = pytest.mark.slow

DECOMPOSED = ["metric", "by", "unit", "before", "now", "differs", "sentence", "bounds", "scope", "n_before", "n_now",
              "change", "rate", "mix", "entering", "leaving", "parts"]  # fmt: skip
WATERFALL = ["before", "now", "low", "high", "requests_before", "requests_now", "unknown_before", "unknown_now",
             "sentence", "unit", "scope", "steps", "change"]  # fmt: skip
STAGES = ["q", "before", "now", "quantile_before", "quantile_now", "n_before", "n_now", "sentence", "unit", "scope",
          "change", "parts"]  # fmt: skip
CONTRAST = ["outcome", "failed", "succeeded", "sampled", "looked", "sentence", "scope", "unit", "lifts", "tree"]
FRONTIER = ["by", "quality", "cost", "target", "choice", "sentence", "scope", "options"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = cli.main([*arguments, "--dataset", "sample"])
    return code, capsys.readouterr().out


def found_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    return plain(run(capsys, *arguments, "--json")[1])


def test_decompose(sample_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = found_of(capsys, "decompose", "task_success", "--by", "language,intent")["decompositions"]
    assert [list(d) for d in found] == [DECOMPOSED] * 2
    direct = kpi.decompose(kpi.open("sample"), "task_success", kpi.Slice(last="28d"), by=["language", "intent"])
    assert [(d["by"], d["change"]["value"]) for d in found] == [(d.by, d.change.value) for d in direct]
    assert sum(p["effect"] for p in found[0]["parts"]) == pytest.approx(found[0]["change"]["value"], abs=1e-9)
    code, text = run(capsys, "decompose", "task_success", "--by", "language")
    assert code == 0
    assert "es" in text
    assert "by their mix" in text


def test_decompose_cost_and_latency(sample_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cost = found_of(capsys, "decompose", "total_cost")
    assert list(cost) == WATERFALL
    assert sum(s["effect"] for s in cost["steps"]) == pytest.approx(cost["change"], abs=1e-9)
    tail = found_of(capsys, "decompose", "latency_p95")
    assert list(tail) == STAGES
    assert sum(p["change"] for p in tail["parts"]) == pytest.approx(tail["change"]["value"], abs=1e-9)
    assert "Model mix" in run(capsys, "decompose", "total_cost")[1]
    assert "Rerank" in run(capsys, "decompose", "latency")[1]


def test_contrast(sample_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = found_of(capsys, "contrast", "--last", "90d", "--most", "5")
    assert list(found) == CONTRAST
    assert len(found["lifts"]) == 5
    assert found["tree"]["leaves"][0]["rule"]
    text = run(capsys, "contrast", "--last", "90d")[1]
    assert "second opinion" in text
    assert found["lifts"][0]["trait"] in text


def test_frontier_says_by_exit_code_whether_an_option_meets_the_target(
    sample_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = found_of(capsys, "frontier", "--by", "model", "--target", "0.6")
    assert list(found) == FRONTIER
    assert found["choice"] == found["options"][0]["option"]
    best = max(o["quality"] for o in found["options"])
    for target, code in ((0.6, 0), (best, 2), (0.99, 1)):
        assert run(capsys, "frontier", "--target", str(target))[0] == code


def test_every_json_key_is_documented() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text()
    for listed in (DECOMPOSED, WATERFALL, STAGES, CONTRAST, FRONTIER):
        assert ", ".join(f"`{k}`" for k in listed) in text


def test_problems_are_said(sample_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "decompose", "latency_worst")[0] == 3
    assert run(capsys, "contrast", "--outcome", "nothing")[0] == 3
    assert run(capsys, "frontier", "--by", "nothing")[0] == 3
