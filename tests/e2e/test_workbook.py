"""A workbook of several sheets on the page Data: the sheet is asked for, then its rows load."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import openpyxl
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.driving import PATIENCE_MS, Served, go, idle

pytestmark = pytest.mark.e2e


def test_the_sheet_is_chosen_on_the_page(page: Page, served: Served, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["note", "value"])
    book.active.append(["made by", "somebody"])
    data = book.create_sheet("Data")
    data.append(["id", "timestamp", "latency_ms", "success"])
    for i in range(40):
        data.append([f"r{i}", datetime(2026, 10, 1) + timedelta(hours=i), 300 + i, i % 4 > 0])
    book.save(tmp_path / "book.xlsx")

    go(page, f"{served.url}/data")
    name = page.get_by_role("textbox", name="Into data set")
    name.fill("book")
    name.press("Enter")
    idle(page)
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(str(tmp_path / "book.xlsx"))
    page.get_by_text("Choose the sheet with one row a request.").wait_for(timeout=PATIENCE_MS)
    idle(page)
    page.get_by_role("combobox", name=re.compile("Sheet")).click()
    page.get_by_role("option", name="Data").click()
    page.get_by_text("Recognised as").wait_for(timeout=PATIENCE_MS)
    idle(page)
    expect(page.get_by_text("40 rows")).to_be_visible()
    page.get_by_role("button", name=re.compile("^(upload )?Load$")).click()
    page.get_by_text("Loaded into book, version 1").wait_for(timeout=PATIENCE_MS)
