"""One table of exit codes: each of its rows tried over every command that looks at a slice."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

import kpi
from kpi import cli, clock
from kpi.cli import exits
from tests.unit.cli.conftest import Run, plain
from tests.unit.cli.test_help import commands

pytestmark = pytest.mark.slow

DOC = Path(__file__).resolve().parents[3] / "docs" / "cli.md"
ASKED = {  # what else must be said, with a metric where the command takes one
    "scorecard": ["--metrics", "task_success"], "summarise": ["task_success"], "trends": ["task_success"],
    "findings": ["--metrics", "task_success"], "compare": ["--metrics", "task_success"],
    "decompose": ["task_success", "--by", "language"], "segments": ["task_success"],
    "fairness": ["--by", "language", "--metrics", "task_success"], "contrast": ["--most", "3"],
    "reliability": ["--by", "intent"], "frontier": ["--target", "0.5"],
}  # fmt: skip
NO_METRIC = ("traces", "drift")
SLICED = sorted(name for name, command in commands().items() if any(p.name == "fail_on" for p in command.params))


@pytest.fixture
def ask(run: Run):
    """`kpi COMMAND … --json`: (exit code, the object)."""

    def call(command: str, *more: str, dataset: str = "sample"):
        code, out, err = run(command, *ASKED.get(command, []), "--dataset", dataset, "--json", *more)
        assert out, err
        return code, json.loads(out)

    return call


@pytest.fixture
def bare(home: Path, tmp_path: Path) -> None:
    """A data set "bare" without times, outcomes, costs or latencies."""
    rows = pd.DataFrame({"request_id": [f"r{i}" for i in range(120)], "user_id": [f"u{i % 30}" for i in range(120)],
                         "language": ["de", "en"] * 60, "intent": ["a", "b", "c"] * 40,
                         "model": ["m1", "m1", "m2", "m2"] * 30})  # fmt: skip
    rows.to_csv(tmp_path / "bare.csv", index=False)
    kpi.load(tmp_path / "bare.csv", dataset="bare")


def reasons(found) -> set[str]:
    return {d["reason"] for d in found["doubts"]}


def test_every_command_that_looks_at_a_slice_is_tried() -> None:
    assert len(SLICED) >= 15
    assert {"drift", "fairness", "latency", "cost", "trends", "findings", "scorecard", "traces"} <= set(SLICED)


@pytest.mark.parametrize("command", SLICED)
def test_good_data_ends_as_the_command_says_and_states_its_window(command: str, ask, sample_home: Path) -> None:
    code, found = ask(command, "--last", "28d", "--vs", "previous")
    assert code in (cli.FINE, cli.BREACHED, cli.CANNOT_TELL)
    assert (found["schema"], found["doubts"]) == (1, [])
    looked = kpi.resolve(kpi.open("sample"), kpi.Slice(last="28d"))
    assert looked.window is not None
    assert looked.baseline is not None
    assert found["window"] == {
        "from": looked.window.start.isoformat(), "to": looked.window.end.isoformat(),
        "baseline_from": looked.baseline.start.isoformat(), "baseline_to": looked.baseline.end.isoformat(),
        "tz": "UTC",
    }  # fmt: skip
    assert ask(command, "--last", "28d", "--fail-on", "")[0] == cli.FINE


@pytest.mark.parametrize("command", SLICED)
def test_a_mistake_ends_with_three(command: str, ask, sample_home: Path) -> None:
    for mistake, code, said in (
        (["--where", "language=dee"], "slice.value", "Did you mean de?"),
        (["--where", "langage=de"], "dimension.unknown", "Did you mean language?"),
        (["--fail-on", "staled"], "cli.usage", ""), (["--bogus"], "cli.usage", ""),
    ):  # fmt: skip
        left, found = ask(command, *mistake)
        assert (left, found["error"]["code"]) == (cli.BAD, code), mistake
        assert said in found["error"]["hint"]


@pytest.mark.parametrize("command", SLICED)
def test_nothing_and_too_little_cannot_tell(command: str, ask, run: Run, sample_home: Path) -> None:
    for more, reason in ((["--where", "language=(none)"], "empty"), (["--least", "1000000"], "few")):
        code, found = ask(command, *more, "--fail-on", reason)
        assert (code, reasons(found)) == (cli.CANNOT_TELL, {reason})
        assert ask(command, *more, "--fail-on", "stale")[0] == cli.FINE
        _, _, said = run(command, *ASKED.get(command, []), "--dataset", "sample", *more)
        assert found["doubts"][0]["sentence"] in said


@pytest.mark.parametrize("command", SLICED)
def test_old_data_is_stale_by_the_clock(command: str, ask, sample_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = kpi.profile(kpi.open("sample")).last
    assert last is not None
    now = datetime(last.year + 1, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(clock, "now_us", lambda: int(now.timestamp() * 1e6))
    monkeypatch.setattr(exits, "STALE_DAYS", 3.0)
    code, found = ask(command, "--last", "28d", "--fail-on", "stale")
    assert (code, reasons(found)) == (cli.CANNOT_TELL, {"stale"})
    assert f"{(now - last).days} days ago" in found["doubts"][0]["sentence"]
    assert ask(command, "--last", "28d", "--stale-after", "100", "--fail-on", "stale")[0] == cli.FINE
    if command != "findings":  # which searches the last 14 days where nothing lies before a window
        assert "stale" not in reasons(ask(command, "--last", "all")[1])


@pytest.mark.parametrize("command", SLICED)
def test_what_the_data_lacks_is_said(command: str, ask, bare: None) -> None:
    code, found = ask(command, "--last", "28d", "--fail-on", "times", dataset="bare")
    assert code == cli.CANNOT_TELL
    assert "times" in reasons(found)
    code, found = ask(command, "--fail-on", "missing", dataset="bare")
    assert ("missing" in reasons(found)) == (command not in NO_METRIC)
    assert code == (cli.FINE if command in NO_METRIC else cli.CANNOT_TELL)


def test_a_breach_comes_first_and_can_be_left_out(ask, sample_home: Path) -> None:
    assert ask("drift", "--least", "1000000")[0] == cli.BREACHED
    assert ask("drift", "--least", "1000000", "--fail-on", "few,stale")[0] == cli.CANNOT_TELL
    assert ask("drift", "--fail-on", "few,stale")[0] == cli.FINE


def test_the_table_stands_in_the_docs() -> None:
    text = DOC.read_text(encoding="utf-8")
    for reason, (code, meaning) in exits.REASONS.items():
        assert f"| `{reason}` | {code} | {meaning} |" in text


def test_only_asked_kpis_are_judged(ask, sample_home: Path) -> None:
    _, found = ask("scorecard")
    assert [k["metric"] for k in found["kpis"]] == ["task_success"]
    direct = kpi.scorecard(kpi.open("sample"), metrics=["task_success"])
    assert direct.to_dict() == plain(json.dumps(found))


def test_in_python_no_answer_is_an_error() -> None:
    rows = pd.DataFrame({"success": [True, False] * 40, "language": ["de", "en"] * 40})
    source = kpi.from_frame(rows)
    with pytest.raises(kpi.KpiError, match="no times") as told:
        kpi.findings(source)
    assert told.value.code == "findings.times"
    for call in (kpi.findings, kpi.scorecard, kpi.disparity, kpi.compare, kpi.contrast, kpi.find_traces):
        with pytest.raises(kpi.KpiError, match=r"No request has language 'dee'. Did you mean de\?"):
            call(source, slice=kpi.Slice(last="all").where(language="dee"))
