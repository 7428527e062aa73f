"""Driving the app from outside: start it, start a Chromium, open a page, wait until it is still."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, Playwright, Response

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 180.0  # a page that never comes fails; on an idle machine nothing waits for it
PATIENCE_MS = 1_000 * PATIENCE_S
DENIED = Path(__file__).with_name("denied")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--force-color-profile=srgb", "--font-render-hinting=none", "--hide-scrollbars",
]  # fmt: skip


@dataclass(frozen=True)
class Served:
    """A running app. url: its address; home: its state folder; outbound: where its attempts to call out are written."""

    url: str
    home: Path
    outbound: Path


def launch(playwright: Playwright) -> Browser | None:
    """The Chromium of the system, else playwright's own; None where there is neither."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    own = Path(playwright.chromium.executable_path)
    if found is None and not own.exists():
        return None
    return playwright.chromium.launch(executable_path=found or str(own), headless=True, args=ARGUMENTS)


def serve(home: Path, log: Path, *, script: str = "app/main.py", outbound: Path | None = None):
    """Start the app on a state folder; returns the process and its address once it is healthy.

    outbound: deny it every socket but those of this machine, and write attempts there.
    """
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [
        sys.executable, "-m", "streamlit", "run", script, f"--server.port={port}", "--server.fileWatcherType=none",
    ]  # fmt: skip
    environment = {**os.environ, "KPI_HOME": str(home)}
    if outbound is not None:
        path = os.pathsep.join([str(DENIED), str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment |= {"PYTHONPATH": path, "KPI_TEST_OUTBOUND": str(outbound)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log.open("w"), stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if urllib.request.urlopen(f"{url}/_stcore/health", timeout=PATIENCE_S).read() == b"ok":
                return process, url
        except OSError:
            time.sleep(0.1)
    process.terminate()
    raise RuntimeError(f"the app did not start: {log.read_text()[-2000:]}")


def opened(browser: Browser, served: Served, *, width: int, height: int, scheme: Literal["light", "dark"] = "light"):
    """A page in a context of its own; fails where it asked a foreign host, broke the policy or met a bare answer."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, reduced_motion="reduce", timezone_id="UTC", locale="en-US",
        color_scheme=scheme, permissions=["clipboard-read", "clipboard-write"],
    )  # fmt: skip
    context.set_default_timeout(PATIENCE_MS)
    found = context.new_page()
    errors: list[str] = []
    bare: list[str] = []
    left: list[str] = []
    context.on("page", lambda p: p.on("pageerror", lambda e: errors.append(str(e))))
    found.on("pageerror", lambda e: errors.append(str(e)))
    found.on("console", lambda m: errors.append(m.text) if "Content Security Policy" in m.text else None)
    found.on("response", lambda r: bare.append(r.url) if r.url.startswith(served.url) and not headed(r) else None)
    local = (served.url, served.url.replace("http", "ws"), "data:", "blob:")
    context.on("request", lambda r: None if r.url.startswith(local) else left.append(r.url))
    yield found
    context.close()
    assert not errors, errors
    assert not left, left
    assert not bare, bare


def headed(response: Response) -> bool:
    """Whether an answer has the four headers that every answer must have."""
    return "frame-ancestors 'none'" in response.headers.get("content-security-policy", "") and (
        response.headers.get("x-content-type-options"), response.headers.get("referrer-policy")
    ) == ("nosniff", "no-referrer")  # fmt: skip


def idle(page: Page, timeout: float = PATIENCE_MS) -> None:
    """Wait until the app is connected, its script is done and no skeleton is left."""
    page.wait_for_timeout(250)  # some widgets wait a moment before they send
    app = '[data-testid="stApp"]'
    page.locator(f'{app}[data-test-connection-state="CONNECTED"]').wait_for(state="attached", timeout=timeout)
    page.locator(f'{app}[data-test-script-state="notRunning"]').wait_for(state="attached", timeout=timeout)
    page.wait_for_function("() => !document.querySelector('[data-testid=stSkeleton]')", timeout=timeout)


def go(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_role("heading", level=1).first.wait_for(timeout=PATIENCE_MS)
    idle(page)
    assert not page.get_by_test_id("stException").count(), page.get_by_test_id("stException").first.inner_text()


def metrics(page: Page) -> dict[str, str]:
    """Label -> value of every metric on the page."""
    found = page.get_by_test_id("stMetric").all()
    return {
        m.get_by_test_id("stMetricLabel").inner_text().strip(): m.get_by_test_id("stMetricValue").inner_text().strip()
        for m in found
    }
