"""For everyone: no page has a violation that axe-core knows, light and dark; focus is seen; few charts need a runtime.

The first screen says what is wrong, for whom, and who acts.
"""

from __future__ import annotations

from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page

from tests.e2e.driving import Served, go, opened

pytestmark = pytest.mark.e2e
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
PAGES = ("", "why", "trends", "trends?by=intent", "versions", "segments", "drift", "cost", "traces?trace=first", "data")
# Every rule that axe has on by itself, and the one of WCAG 2.2 that it has off.
RUN = "() => axe.run(document, {rules: {'target-size': {enabled: true}}, resultTypes: ['violations']})"
THEIRS = {("presentation-role-conflict", "stFileUploaderDropzone")}  # of the framework: nothing of ours can change it


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_a_violation(browser: Browser, served: Served, path: str, scheme: str):
    for page in opened(browser, served, width=1280, height=900, scheme=scheme):
        go(page, f"{served.url}/{path}{'&' if '?' in path else '?'}data=sample")
        page.evaluate(AXE)
        found = [
            (violation["id"], node["html"][:200], node["failureSummary"][:200])
            for violation in page.evaluate(RUN)["violations"]
            for node in violation["nodes"]
            if not any(violation["id"] == rule and mark in node["html"] for rule, mark in THEIRS)
        ]
        assert not found, found


@pytest.mark.parametrize("path", PAGES)
def test_at_most_three_charts_of_the_chart_library(page: Page, served: Served, path: str):
    go(page, f"{served.url}/{path}{'&' if '?' in path else '?'}data=sample&last=90d")
    assert page.get_by_test_id("stVegaLiteChart").count() <= 3


def test_the_first_screen_says_it_all(page: Page, served: Served):
    """At 1280 by 900, before anything is scrolled: the sentence, every KPI, the first finding."""
    page.set_viewport_size({"width": 1280, "height": 900})
    go(page, f"{served.url}/?data=sample")
    for shown in (page.get_by_text("Next:").first, page.get_by_test_id("stMetric").last,
                  page.get_by_role("heading", name="What changed")):  # fmt: skip
        place = shown.bounding_box()
        assert place is not None
        assert place["y"] + place["height"] <= 900
    assert page.locator("img[alt*='over the window; target']").count() >= 6


def test_focus_is_seen(page: Page, served: Served):
    go(page, f"{served.url}/?data=sample")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    style = "(s => [s.outlineStyle, s.outlineWidth])(getComputedStyle(document.activeElement))"
    assert page.evaluate(style) == ["solid", "3px"]
