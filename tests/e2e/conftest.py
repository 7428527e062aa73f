"""A served app, one Chromium, one page a test. On CI a missing browser is a failure, elsewhere a skip."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.driving import PATIENCE_MS, ROOT, Served, launch, opened, serve

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The app on a small planted world; no test may make its server call out."""
    home = tmp_path_factory.mktemp("served")
    made = [sys.executable, "-m", "sample_data", "--requests", "3000", "--end", "2026-11-22"]
    subprocess.run(made, cwd=ROOT, env={**os.environ, "KPI_HOME": str(home)}, check=True, capture_output=True)
    logs = tmp_path_factory.mktemp("log")
    outbound = logs / "outbound"
    process, url = serve(home, logs / "server.log", outbound=outbound)
    yield Served(url, home, outbound)
    process.terminate()
    process.wait()
    assert not outbound.exists(), outbound.read_text()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = launch(playwright)
        if started is None:
            said = "No Chromium: install chromium, or run playwright install chromium."
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(said)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    """A page in a context of its own. No script may have failed, no request may have left the host, the policy may not
    have been violated, and every answer must have had its headers."""
    yield from opened(browser, served, width=1400, height=1000)


@pytest.fixture
def phone(browser: Browser, served: Served) -> Iterator[Page]:
    yield from opened(browser, served, width=390, height=844)
