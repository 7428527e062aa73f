"""Numbers in words: three significant digits, the unit attached, intervals that say which side is open."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from kpi.narrate import wording
from kpi.receipts import Receipt


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.8213, "share", "82.1 %"), (0.0123, "share", "1.23 %"), (1.0, "share", "100 %"), (0.0, "share", "0 %"),
        (0.00912, "usd", "$0.00912"), (12.345, "usd", "$12.35"), (1234.5, "usd", "$1,234"), (0.0, "usd", "$0"),
        (842.4, "ms", "842 ms"), (1840, "ms", "1.84 s"), (300_000, "ms", "5.00 min"), (9_000_000, "ms", "2.50 h"),
        (5.684, "per_1000", "5.68 per 1,000"), (42_310, "count", "42,310"), (2.5, "count", "2.50"),
        (912.3, "tokens", "912 tokens"),
        (None, "usd", "–"), (math.nan, "share", "–"), (math.inf, "ms", "–"), (-0.021, "share", "−2.10 %"),
    ],
)  # fmt: skip
def test_a_value_carries_its_unit(value, unit, text):
    assert wording.format_value(value, unit) == text


@pytest.mark.parametrize(
    ("low", "high", "unit", "text"),
    [
        (0.812, 0.83, "share", "81.2 to 83.0 %"), (900, 1100, "ms", "900 ms to 1.10 s"),
        (5200, math.nan, "ms", "at least 5.20 s"),
        (math.nan, 0.1, "share", "at most 10.0 %"), (None, None, "usd", ""), (0.01, 0.02, "usd", "$0.01 to $0.02"),
    ],
)  # fmt: skip
def test_an_interval_names_its_unit_once_and_its_open_side(low, high, unit, text):
    assert wording.format_interval(low, high, unit) == text


def test_changes_of_shares_are_percentage_points():
    assert wording.format_change(0.021, "share") == "+2.10 pp"
    assert wording.format_change(-0.0012, "usd") == "−$0.0012"
    assert wording.format_change_interval(0.012, 0.03, "share") == "+1.20 to +3.00 pp"
    assert wording.without_unit("4.53 to 7.03 per 1,000", "5.68 per 1,000") == "4.53 to 7.03"
    assert wording.without_unit("900 ms to 1.10 s", "950 ms") == "900 ms to 1.10 s"


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15), st.sampled_from(
    ["share", "usd", "ms", "per_1000", "count", "tokens", "distance"]))  # fmt: skip
def test_any_number_can_be_said_without_an_exponent(value, unit):
    text = wording.format_value(value, unit)
    assert "e+" not in text
    assert "e-" not in text
    assert text.startswith(wording.MINUS) == (value < 0)


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [("total_us", 1_840_000, "1.84 s"), ("total_nusd", 9_120_000, "$0.00912"), ("success", True, "yes"),
     ("turns", 3, "3"),
     ("input_tokens", 900, "900 tokens"), ("ttft_us", None, "–")],
)  # fmt: skip
def test_stored_values_are_said_in_human_units(column, value, text):
    assert wording.format_column(column, value) == text


def test_a_receipt_names_the_measures_that_nobody_reads():
    receipt = Receipt(dataset="prod", version=1, files=["a"], requests=10, loaded=10)
    receipt.miss("acme.cost", 2, 0.5)
    receipt.miss("acme.tokens", 1_200, 1251)
    (told,) = [s for s in wording.receipt_sentences(receipt) if "nobody reads" in s]
    assert told.startswith(
        "Measures that nobody reads: acme.tokens (1,200 times, such as 1,251), acme.cost (2 times, such as 0.5)."
    )
    for number in range(8):
        receipt.miss(f"acme.{number}", 1, 1)
    (told,) = [s for s in wording.receipt_sentences(receipt) if "nobody reads" in s]
    assert "(10 in all)" in told


def test_a_receipt_says_what_matters_first():
    receipt = Receipt(dataset="prod", version=3, files=["a.csv"], requests=10, loaded=8, repeated=2, unpriced=4)
    receipt.drop(7, "latency_s is negative", hint="Fix the row.")
    receipt.keep_out({"internal.note": 5})
    told = wording.receipt_sentences(receipt)
    assert told[0] == "10 requests read from 1 file; version 3 of 'prod'."
    assert any("no times" in s for s in told)
    assert any("1 row left out: latency_s is negative" in s for s in told)
    assert any("internal.note" in s for s in told)
    assert wording.receipt_sentences(Receipt(files=["a"], requests=10))[0].startswith("Nothing new")


def compared(*rows: tuple[str, str, str | None, float]) -> pd.DataFrame:
    """verdict, metric, language, difference."""
    frame = pd.DataFrame(rows, columns=["verdict", "metric", "language", "difference"])
    return frame.assign(label=frame["metric"].str.capitalize(), unit="share")


@pytest.mark.parametrize(
    ("overall", "cells", "said"),
    [
        ([], [], "p7 against p6: no clear difference."),
        ([("better", "success", None, 0.02)], [], "p7 against p6: better."),
        ([("better", "success", None, 0.02), ("worse", "cost", None, 0.1)], [], "p7 against p6: mixed."),
        (
            [("equivalent", "success", None, 0.001)],
            [("better", "success", "en", 0.066), ("worse", "success", "es", -0.139), ("worse", "errors", "de", 0.3)],
            "p7 against p6: mixed. Success: language es −13.9 pp, language en +6.60 pp.",
        ),
        (
            [("no clear change", "success", None, -0.01)],
            [("no clear change", "success", "en", 0.01), ("worse", "errors", None, 0.03)],
            "p7 against p6: worse. Errors: language (none) +3.00 pp.",
        ),
    ],
)
def test_a_comparison_begins_with_what_matters(overall, cells, said):
    found = wording.version_headline("p6", "p7", compared(*overall), compared(*cells), "language")
    assert found == said
