"""From a red card to its cause to a trace: two clicks, and the same numbers from a copied link."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.driving import ROOT, Served, go, idle, metrics

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def broken(served: Served, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set in which prompt p2 makes success fall in Spanish from day 44 of 56 on, so far that the KPI is red."""
    rng, n = np.random.default_rng(7), 9_000
    day = rng.integers(0, 56, n)
    language, late = rng.choice(["en", "es", "de"], n, p=[0.4, 0.4, 0.2]), day >= 44
    prompt = np.where(late & (rng.random(n) < 0.7), "p2", "p1")
    falls = (prompt == "p2") & (language == "es")
    start = pd.Timestamp("2026-09-01", tz="UTC")
    path: Path = tmp_path_factory.mktemp("broken") / "rows.csv"
    pd.DataFrame({
        "request_id": [f"req{i:05d}" for i in range(n)],
        "timestamp": start + pd.to_timedelta(1440 * day + rng.integers(0, 1440, n), "m"),
        "user_id": [f"u{i}" for i in rng.integers(0, 700, n)], "language": language, "prompt_version": prompt,
        "success": rng.random(n) < np.where(falls, 0.15, 0.81), "latency_ms": rng.integers(500, 3000, n),
        "question": "where is my parcel?",
    }).to_csv(path, index=False)  # fmt: skip
    load = "import sys, kpi; kpi.load([sys.argv[1]], dataset='broken')"
    environment = {**os.environ, "KPI_HOME": str(served.home)}
    subprocess.run([sys.executable, "-c", load, str(path)], cwd=ROOT, env=environment, check=True)
    return "broken"


def test_red_card_to_cause_to_trace(page: Page, browser: Browser, served: Served, broken: str):
    go(page, f"{served.url}/?data={broken}&last=14d")
    card = page.get_by_test_id("stMetric").filter(has_text="Task success").first
    expect(card).to_be_visible()
    success = metrics(page)["Task success"]
    expect(page.get_by_text("Off target").first).to_be_visible()
    expect(page.get_by_text(re.compile("Task success fell for language es with prompt p2")).first).to_be_visible()

    page.get_by_role("link", name=re.compile("Why task success")).click()  # the first click
    page.get_by_role("heading", name=re.compile("Why: ")).wait_for()
    idle(page)
    assert metrics(page)["Task success"] == success
    path = page.get_by_role("heading", name=re.compile("Language es › Prompt version p2 › since"))
    expect(path).to_be_visible()
    here = page.url

    page.get_by_test_id("stMain").get_by_role("link", name=re.compile("Traces$")).first.click()  # the second
    page.get_by_role("heading", name=re.compile("Traces: ")).wait_for()
    idle(page)
    expect(page.get_by_text("Counts as failed")).to_be_visible()
    assert "language%3Aes" in page.url or "language:es" in page.url
    expect(page.get_by_role("button", name=re.compile("Prompt version: p2"))).to_be_visible()

    page.get_by_role("link", name=re.compile("Back to Why")).click()
    page.get_by_role("heading", name=re.compile("Why: ")).wait_for()
    idle(page)
    assert metrics(page)["Task success"] == success
    go(page, here)
    shown = metrics(page)
    page.get_by_role("button", name=re.compile("Copy link")).click()
    idle(page)
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{served.url}/why?")
    fresh = browser.new_context(viewport={"width": 1400, "height": 1000})
    other = fresh.new_page()
    go(other, link)
    assert metrics(other) == shown
    expect(other.get_by_role("heading", name=re.compile("Language es › Prompt version p2 › since"))).to_be_visible()
    fresh.close()
