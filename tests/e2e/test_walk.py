"""The whole walk: a file goes in, the index comes out, a link carries it on."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.driving import PATIENCE_MS, Served, go, idle, metrics

pytestmark = pytest.mark.e2e
PAGES = ("", "why", "trends", "versions", "segments", "drift", "cost", "traces", "data")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """900 requests of 60 users over 60 days, with one column that guessing cannot know."""
    path = tmp_path_factory.mktemp("upload") / "requests.csv"
    start = datetime(2026, 9, 1, tzinfo=UTC)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["request_id", "timestamp", "user_id", "model", "language", "success", "latency_ms", "cost_usd",
                      "question", "blorp"])  # fmt: skip
        for i in range(900):
            ok = i % 10 != 0 if i % 3 else i % 4 != 0
            out.writerow([f"r{i:04d}", (start + timedelta(minutes=96 * i)).isoformat(), f"u{i % 60}", "m1",
                          "es" if i % 3 == 0 else "en", str(ok).lower(), 400 + (i * 37) % 900,
                          f"{0.001 + (i % 17) / 10000:.4f}", f"question {i}", i * 7 % 1009])  # fmt: skip
    return path


def test_the_whole_walk(page: Page, browser: Browser, served: Served, table: Path):
    go(page, f"{served.url}/data")
    name = page.get_by_role("textbox", name="Into data set")
    name.fill("walk")
    name.press("Enter")
    idle(page)
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(str(table))
    page.get_by_text("Recognised as").wait_for(timeout=PATIENCE_MS)
    idle(page)
    expect(page.get_by_text("900 rows")).to_be_visible()
    page.get_by_role("button", name=re.compile("^(upload )?Load$")).click()
    page.get_by_text("Loaded into walk, version 1").wait_for(timeout=PATIENCE_MS)
    idle(page)
    expect(page.get_by_text("900 requests read from 1 file").first).to_be_visible()
    expect(page.get_by_text("blorp").first).to_be_attached()

    page.get_by_role("link", name=re.compile("Open the Overview")).click()
    page.get_by_role("heading", name=re.compile("Overview")).wait_for()
    idle(page)
    assert "data=walk" in page.url
    everything = metrics(page)
    assert everything["Task success"] != "–"

    side = page.get_by_test_id("stSidebar")
    side.get_by_text("90 days", exact=True).click()
    page.wait_for_url(re.compile("last=90d"))
    idle(page)
    side.get_by_text("Cohorts", exact=True).click()
    choice = side.get_by_role("combobox", name="Language")
    idle(page)
    choice.click()
    page.keyboard.type("es")
    page.get_by_role("option", name="es").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("where=language"))
    idle(page)
    page.keyboard.press("Escape")
    spanish = metrics(page)
    assert spanish["Task success"] != everything["Task success"]

    page.get_by_role("link", name=re.compile("Open task success")).click()
    page.get_by_role("heading", name=re.compile("Trends")).wait_for()
    idle(page)
    assert "metric=task_success" in page.url
    assert "where=language" in page.url
    assert metrics(page)["Task success, whole window"] == spanish["Task success"]

    side.get_by_role("link", name=re.compile("Traces")).click()
    page.get_by_role("heading", name=re.compile("Traces")).wait_for()
    idle(page)
    page.get_by_text("Failed first").click()
    page.wait_for_url(re.compile("sort=failed"))
    idle(page)
    page.get_by_role("button", name=re.compile("Next")).click()
    page.wait_for_url(re.compile("trace=r"))
    idle(page)
    expect(page.get_by_text("Counts as failed")).to_be_visible()
    shown = metrics(page)

    page.get_by_role("button", name=re.compile("Copy link")).click()
    idle(page)
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{served.url}/traces?")
    assert "at=1" in link
    fresh = browser.new_context(viewport={"width": 1400, "height": 1000})
    other = fresh.new_page()
    go(other, link)
    assert metrics(other) == shown
    go(other, link.replace("/traces?", "/?"))
    assert metrics(other) == spanish
    fresh.close()


def test_navigation_keeps_the_slice_and_back_returns(page: Page, served: Served):
    go(page, f"{served.url}/?data=sample&where=language:es&last=90d")
    before = metrics(page)
    page.get_by_test_id("stSidebar").get_by_role("link", name=re.compile("Cost")).click()
    page.get_by_role("heading", name=re.compile("Cost: ")).wait_for()
    idle(page)
    assert "last=90d" in page.url
    assert "es" in page.url
    assert metrics(page)["Cost per query"] == before["Cost per query"]
    page.get_by_role("button", name=re.compile("Language: es")).click()
    page.wait_for_url(lambda url: "where" not in url)
    idle(page)
    page.go_back()
    page.wait_for_url(re.compile("where="))
    idle(page)
    expect(page.get_by_role("button", name=re.compile("Language: es"))).to_be_visible()


def test_reset_and_custom_window(page: Page, served: Served):
    go(page, f"{served.url}/trends?data=sample&where=language:es&metric=latency_p95")
    side = page.get_by_test_id("stSidebar")
    side.get_by_text("Custom", exact=True).click()
    page.wait_for_url(re.compile("from="))
    idle(page)
    expect(side.get_by_text("From and to")).to_be_visible()
    side.get_by_role("button", name=re.compile("Reset")).click()
    page.wait_for_url(lambda url: "from=" not in url and "where" not in url)
    assert "metric=latency_p95" in page.url


@pytest.mark.parametrize("path", PAGES)
def test_phone_scrolls_only_down(phone: Page, served: Served, path: str):
    go(phone, f"{served.url}/{path}?data=sample")
    main = phone.get_by_test_id("stMain")
    assert main.evaluate("m => m.scrollWidth - m.clientWidth") <= 0
