"""Seconds in a real browser to the complete Overview: from opening a link, and from a slice change."""

from __future__ import annotations

import time
from statistics import median

from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.serving import serving
from tests.install_tools import find_browser

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
_APP = '[data-testid="stApp"]'
_COMPLETE = """() => {
  const app = document.querySelector('[data-testid="stApp"]');
  return app && app.dataset.testConnectionState === 'CONNECTED' && app.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-testid="stSkeleton"]')
    && document.querySelectorAll('[data-testid="stMetric"]').length >= 8;
}"""


def overview(dataset: str, *, rounds: int = 5) -> tuple[float, float]:
    """(seconds to open, seconds for a slice change): medians of fresh tabs on a warm server."""
    with serving() as server, sync_playwright() as p:
        browser = p.chromium.launch(executable_path=find_browser(), headless=True, args=FLAGS)
        _open(browser, server.base, dataset)  # the first page of a server imports, opens the data, builds its cache
        time.sleep(20)
        both = [_open(browser, server.base, dataset) for _ in range(rounds)]
        browser.close()
    return median(o for o, _ in both), median(c for _, c in both)


def _open(browser: Browser, base: str, dataset: str) -> tuple[float, float]:
    context = browser.new_context(viewport={"width": 1400, "height": 1200}, reduced_motion="reduce")
    page = context.new_page()
    start = time.perf_counter()
    page.goto(f"{base}/?data={dataset}&last=28d")
    _complete(page)
    opened = time.perf_counter() - start
    sentence = page.locator('[data-testid="stMain"] [data-testid="stCaptionContainer"]').first
    before = sentence.inner_text()
    start = time.perf_counter()
    page.get_by_test_id("stSidebar").get_by_text("7 days", exact=True).click()
    page.wait_for_function("([now]) => !document.body.innerText.includes(now)", arg=[before], timeout=120_000)
    _complete(page)
    changed = time.perf_counter() - start
    context.close()
    return opened, changed


def _complete(page: Page) -> None:
    page.wait_for_function(_COMPLETE, timeout=180_000)
