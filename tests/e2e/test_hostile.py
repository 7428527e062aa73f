"""Texts that would make a browser call elsewhere, in every field, on every page: nothing leaves, nothing runs."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page

from tests.e2e.driving import ROOT, Served, go

pytestmark = pytest.mark.e2e
IMAGE = "![x](http://beacon.invalid/{}.png)"
PATHS = sorted(p.stem.replace("overview", "") for p in (ROOT / "app" / "views").glob("*.py"))
TAG = "<img src=http://beacon.invalid/{}.png onerror=alert(1)>"


@pytest.fixture(scope="module")
def hostile(served: Served, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set whose cohorts, versions, errors, ids and texts, and the name of a column, are all hostile."""
    path = tmp_path_factory.mktemp("hostile") / "hostile.csv"
    start = datetime(2026, 11, 1, tzinfo=UTC)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["request_id", "timestamp", "user_id", "model", "language", "success", "latency_ms", "prompt",
                      "response", "error_type", "segment ![x](http://beacon.invalid/column.png)"])  # fmt: skip
        for i in range(400):
            out.writerow([f"id{i}{IMAGE.format('id')}", (start + timedelta(hours=i)).isoformat(), f"u{i % 40}",
                          (IMAGE if i % 2 else TAG).format("model"), IMAGE.format(f"language{i % 3}"), i % 5 > 0,
                          300 + i, TAG.format("prompt"), IMAGE.format("response"),
                          IMAGE.format("error") if i % 9 == 0 else "", IMAGE.format(f"cohort{i % 2}")])  # fmt: skip
    load = "import sys, kpi; kpi.load([sys.argv[1]], dataset='hostile')"
    environment = {**os.environ, "KPI_HOME": str(served.home)}
    subprocess.run([sys.executable, "-c", load, str(path)], cwd=ROOT, env=environment, check=True)
    return "hostile"


@pytest.mark.parametrize("path", PATHS)
def test_nothing_leaves(page: Page, served: Served, hostile: str, path: str):
    """The fixture `page` fails the test on any request to another host."""
    asked: list[str] = []
    page.on("dialog", lambda d: (asked.append(d.message), d.dismiss()))
    query = {"data": hostile, "last": "all", "by": "language", "col": "language", "q": "prompt",
             "where": [f"language:{IMAGE.format('language1')}", f"nothing:{IMAGE.format('lost')}"],
             "trace": f"id1{IMAGE.format('id')}"}  # fmt: skip
    go(page, f"{served.url}/{path}?{urlencode(query, doseq=True)}")
    page.wait_for_timeout(500)
    assert not asked
    assert not page.locator("img[src*=beacon]").count()
    assert not page.locator("a[href^='http://beacon']").count()
