"""docs/nightly.md: its scripts run in a shell on good, worse, old and unreadable data, and end as the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "nightly.md").read_text(encoding="utf-8")
DAYS, A_DAY = 60, 20


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return found


def requests(*, fall: bool = False, age: int = 0) -> pd.DataFrame:
    """Sixty days up to yesterday: nine of ten succeed, with a fall one of two in the last ten days."""
    i = np.arange(DAYS * A_DAY)
    first = pd.Timestamp.now("UTC").normalize() - pd.Timedelta(days=DAYS + age)
    good = 37 * i % 100 < np.where(fall & (i >= (DAYS - 10) * A_DAY), 50, 90)
    return pd.DataFrame({"request_id": [f"r{n}" for n in i], "user_id": [f"u{n % 150}" for n in i],
                         "timestamp": first + pd.to_timedelta(i * 86_400 // A_DAY, unit="s"),
                         "success": good, "latency_ms": 900 + 61 * i % 200})  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path):
    """A script in a folder of its own, with `kpi` on the path: its exit code and what it printed."""

    def call(script: str, *arguments: str) -> tuple[int, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        (tmp_path / "script.sh").write_text(script, encoding="utf-8")
        done = subprocess.run(
            ["bash", *([] if script.startswith("#!") else ["-e"]), "script.sh", *arguments],
            cwd=tmp_path, env={**os.environ, "PATH": path, "KPI_HOME": str(tmp_path / "home")},
            capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return call


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [({}, 0, "findings: exit code 0"), ({"fall": True}, 1, "findings: exit code 1"),
     ({"age": 200}, 2, "days ago"), (None, 3, "load: exit code 3")],
)  # fmt: skip
def test_the_cron_script_ends_as_the_data_is(data, code: int, said: str, shell, tmp_path: Path) -> None:
    if data is None:
        (tmp_path / "export.csv").write_bytes(b"\x00\x01")
    else:
        requests(**data).to_csv(tmp_path / "export.csv", index=False)
    left, out = shell(block("bash"), "export.csv", "answers")
    assert (left, said in out) == (code, True), out
    answers = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "answers").glob("*.json")}
    assert set(answers) == {"load", "scorecard", "findings"}
    assert {a["schema"] for a in answers.values()} == {1}


def test_the_step_of_ci_passes_and_fails(shell, tmp_path: Path) -> None:
    step = textwrap.dedent(block("yaml").partition("run: |\n")[2])
    requests(age=400).to_csv(tmp_path / "export.csv", index=False)
    code, out = shell(step)
    assert code == 0, out
    requests(age=400).assign(success=False).to_csv(tmp_path / "export.csv", index=False)
    assert shell(step.replace("--dataset ci", "--dataset other"))[0] == 1


def test_the_python_of_the_page_runs(sample_home: Path) -> None:
    names: dict[str, object] = {}
    exec(compile(block("python"), "nightly.md", "exec"), names)
    assert "changed" in str(names["changed"])
