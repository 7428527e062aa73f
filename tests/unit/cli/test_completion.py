"""What the shell offers, and data sets named by position or by option."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import kpi
from kpi import cli
from kpi.cli import completion
from tests.unit.cli.conftest import Run

ROOT = Path(__file__).resolve().parents[3]


def asked(dataset: str | None = "sample") -> Any:
    return SimpleNamespace(params={"dataset": dataset, "version": None})


def names(offers: list[tuple[str, str]]) -> list[str]:
    return [name for name, _ in offers]


def test_data_sets_and_named_databases(sample_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPI_SECRETS", str(sample_home / "absent.toml"))
    monkeypatch.setenv("KPI_CONNECTION_SHOP", "sqlite:///shop.db")
    assert "sample" in names(completion.datasets(""))
    assert names(completion.datasets("sam")) == ["sample"]
    assert names(completion.datasets("x")) == []
    assert names(completion.connections("")) == ["shop"]
    assert all(name.startswith("db:") for name in names(completion.datasets("db:")))


def test_metrics() -> None:
    assert names(completion.metrics("")) == list(kpi.METRICS)
    assert ("task_success", kpi.METRICS["task_success"].label) in completion.metrics("task_")
    assert names(completion.metric_list("requests,task_s")) == ["requests,task_success"]
    assert "requests,requests" not in names(completion.metric_list("requests,"))
    assert {"total_cost", "latency", "latency_p95", "task_success"} <= set(names(completion.decomposable("")))


def test_dimensions_and_their_values(sample_home: Path) -> None:
    found = names(completion.dimension(asked(), ""))
    assert {"language", "intent", "prompt_version"} <= set(found)
    assert not {"trace_id", "user_key", "input_text", "started_at"} & set(found)
    assert names(completion.dimension(asked(), "lang")) == ["language"]
    assert names(completion.dimension_list(asked(), "intent,lang")) == ["intent,language"]
    assert "language=" in names(completion.condition(asked(), "la"))
    values = names(completion.condition(asked(), "language="))
    assert "language=es" in values
    assert names(completion.condition(asked(), "language=e")) == [v for v in values if v.startswith("language=e")]


def test_trouble_and_untrusted_names_offer_nothing(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    assert completion.dimension(asked("absent"), "") == []
    bad = SimpleNamespace(
        dimensions={"ok": (("$(reboot)", 1), ("fine", 2)), "a b;c": (("x", 1),), "\x1b[1m": (("y", 1),)}
    )
    monkeypatch.setattr(completion, "_profile", lambda _: bad)
    assert names(completion.dimension(asked(), "")) == ["ok"]
    assert names(completion.condition(asked(), "ok=")) == ["ok=fine"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("kpi summarise task_su", {"task_success"}),
        ("kpi fin", {"findings"}),
        ("kpi key ro", {"rotate"}),
        ("kpi traces --sort c", {"cost"}),
        ("kpi scorecard --data", {"--dataset"}),
    ],
)
def test_the_shell_is_answered(words: str, offered: set[str], home: Path) -> None:
    """As the script that `kpi --show-completion bash` prints asks."""
    environment = os.environ | {
        "_KPI_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "kpi.cli"], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert set(done.stdout.split()) == offered, done.stderr


@pytest.mark.parametrize("command", ["prices", "versions", "doctor"])
def test_a_data_set_by_position_or_by_option(command: str, run: Run, sample_home: Path) -> None:
    code, out, _ = run(command, "sample", "--json")
    assert code == cli.FINE
    assert run(command, "--dataset", "sample", "--json")[:2] == (code, out)
    assert run(command, "sample", "--dataset", "sample", "--json")[:2] == (code, out)
    code, out, err = run(command, "sample", "--dataset", "other", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (cli.BAD, "cli.usage")
    assert "'sample' and 'other'" in err


def test_reprice_by_position_or_by_option(run: Run, home: Path) -> None:
    for words in (("reprice", "absent"), ("reprice", "--dataset", "absent")):
        assert json.loads(run(*words, "--json")[1])["error"]["code"] == "store.no_dataset"
