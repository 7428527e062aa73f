"""The fault harness in its short form: each kind of file and each fault once or more; `make chaos` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.run import Harness, State, report, states

STATES = 40


def chosen(every: list[State]) -> list[State]:
    """Some states of the long form that cover every kind of file, every fault and every damage to folders."""
    slow = {"mapping", "allowed keys", "prices"}  # each of these starts a process that reads a file
    found = [s for s in every if s.kind == "folder" and s.origin == "home"]
    kinds = list(dict.fromkeys((s.kind, s.origin) for s in every if s.kind != "folder"))
    rest = {key: [s for s in every if (s.kind, s.origin) == key] for key in kinds}
    faults = list(FAULTS)
    while len(found) < STATES:
        for i, key in enumerate(kinds):
            of = [s for s in rest[key] if s.fault == faults[(len(found) + 3 * i) % len(faults)]]
            if of and not (key[0] in slow and any(s.kind == key[0] for s in found)):
                found.append(of[0])
    return found


def test_no_damage_loses_a_file_ends_in_a_traceback_or_changes_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = Harness(tmp_path, monkeypatch)
    wanted = chosen(states(tmp_path, seeds=1))
    assert {s.kind for s in wanted} == {s.kind for s in states(tmp_path, seeds=1)}
    assert {s.fault for s in wanted} >= set(FAULTS)
    verdicts = [harness.judge(state) for state in wanted]
    with capsys.disabled():
        print("\n" + report(verdicts))
    assert not [problem for v in verdicts for problem in v.bad]
    assert sum(v.refused for v in verdicts) > len(wanted), "the damage is felt"
    sealed = [v for v in verdicts if v.state.kind in ("Parquet", "manifest", "list of files")]
    assert not any(v.healthy for v in sealed if v.state.origin == "home")


def test_the_harness_tells_a_loss_a_traceback_and_another_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it must find, done on purpose: a harness that finds nothing proves nothing."""
    harness = Harness(tmp_path, monkeypatch)
    state = next(s for s in states(tmp_path, seeds=1) if s.kind == "Parquet" and s.fault == "one bit")
    with monkeypatch.context() as patch:
        patch.setattr("kpi.store.contents.checksum", lambda path: 0)
        patch.setattr("kpi.store.contents.flaw", lambda *_, **__: None)
        patch.setattr(
            "kpi.restore", lambda *_: [p.unlink() for p in (tmp_path / "state").rglob("newest.json")] and 1 / 0
        )
        found = harness.judge(state)
    assert found.lost
    assert any("ZeroDivisionError" in problem for problem in found.tracebacks)
    with monkeypatch.context() as patch:
        patch.setattr("tests.chaos.run.numbers", lambda version: "other")
        assert harness.judge(state).differ
