"""Fixtures shared by every test: where the reference data lies, and a private state folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
# A busy machine fails no example, and the same commit tries the same ones everywhere. To look further:
# pytest --hypothesis-profile=explore
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, max_examples=1_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests counted (`record_property("counts", text)`), whichever worker ran them."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, text in report.user_properties:
                if name == "counts":
                    terminalreporter.write_line(text)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the project; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared, the reference data beside the project")
    return SHARED


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private, empty KPI_HOME."""
    path = tmp_path / "home"
    monkeypatch.setenv("KPI_HOME", str(path))
    return path
