"""Units of lengths and money: the same truth written in every unit gives the same numbers or an asked column.

What a table says is worked out from the truth it was made of; nothing here rests on what the product guesses.
"""

from __future__ import annotations

import csv
import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from kpi.ingest.context import Context
from kpi.ingest.limits import Limits
from kpi.ingest.readers import table
from kpi.ingest.readers.open import open_inputs
from kpi.mapping.column_names import known
from kpi.mapping.guess import guess
from kpi.mapping.mapping import ColumnMapping, Mapping
from kpi.mapping.profile import ColumnProfile
from kpi.privacy.privacy import Privacy
from kpi.receipts import Receipt

KEY = b"a key for tests, 32 bytes long.."
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
USD = {"usd": 1.0, "cents": 1e-2, "milli_usd": 1e-3, "micro_usd": 1e-6, "nano_usd": 1e-9}
ROWS = 40
# Median seconds of an answer, of its first token, input and output tokens, share of the input from a cache, discount.
WORLDS: dict[str, tuple[float, float, int, int, float, float]] = {
    "chat": (2.6, 0.5, 1_000, 200, 0.0, 1.0),
    "agent of two hours": (7_200.0, 3.0, 900_000, 60_000, 0.0, 1.0),
    "batch": (40.0, 0.8, 4_000, 800, 0.0, 0.5),
    "cached": (1.8, 0.4, 50_000, 300, 0.9, 1.0),
    "short": (0.4, 0.15, 60, 12, 0.0, 1.0),
}
MODELS = {"gpt-4o": (2.5e-6, 10e-6, 1.25e-6), "gpt-4.1-nano": (0.1e-6, 0.4e-6, 0.025e-6), "our-own": (2e-6, 8e-6, 1e-6)}


def rows_of(world: str, model: str) -> list[dict[str, Any]]:
    """The truth, in seconds and USD; rows differ by a factor of up to two either way."""
    took, first, given, returned, cached, discount = WORLDS[world]
    asked, said, read = MODELS[model]
    found = []
    for n in range(ROWS):
        factor = 2.0 ** ((n % 9 - 4) / 4)
        tokens, answer = round(given * factor), round(returned * factor)
        usd = discount * (tokens * (1 - cached) * asked + tokens * cached * read + answer * said)
        found.append({"seconds": took * factor, "first": first * factor, "in": tokens, "out": answer, "usd": usd})
    return found


def load(tmp_path: Path, names: list[str], rows: list[list[Any]], **given: Any) -> tuple[list[dict[str, Any]], Receipt]:
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    receipt = Receipt()
    return read_rows(path, receipt, **given), receipt


def read_rows(path: Path, receipt: Receipt, **given: Any) -> list[dict[str, Any]]:
    context = Context(privacy=Privacy(KEY), receipt=receipt, **given)
    sources = list(open_inputs([path], limits=Limits()))
    context.plan = table.plan(sources, context)
    read = [r for s in sources for name, t in table.read(s, context) if name == "requests" for r in t.to_pylist()]
    return sorted(read, key=lambda r: r["trace_id"])


def is_right(found: list[dict[str, Any]], receipt: Receipt, field: str, column: str, expected: list[float]) -> bool:
    """Whether a column gave the truth (True) or was asked about (False); anything else fails."""
    use = next(c for c in receipt.columns if c.source == column)
    if use.field is None:
        told = [n for n in receipt.notes if repr(column) in n and f'field = "{field}"' in n and "unit" in n]
        assert told, receipt.notes
        return False
    assert [r[field] for r in found] == pytest.approx(expected, rel=1e-3, abs=2)
    return True


@pytest.mark.parametrize(("world", "unit"), [*product(WORLDS, USD)])
def test_costs_of_every_unit(tmp_path: Path, world: str, unit: str) -> None:
    """With the price of the model known, every unit is found; without, it is found or asked about."""
    for model in MODELS:
        rows = rows_of(world, model)
        cells = [[f"r{n:02}", model, r["in"], r["out"], f"{r['usd'] / USD[unit]:.9f}"] for n, r in enumerate(rows)]
        found, receipt = load(tmp_path, ["id", "model", "input_tokens", "output_tokens", "cost"], cells)
        right = is_right(found, receipt, "total_nusd", "cost", [r["usd"] * 1e9 for r in rows])
        if model != "our-own" and world in ("chat", "short", "agent of two hours", "batch"):
            assert right, (model, receipt.notes)
        if unit == "usd":
            assert right, (model, receipt.notes)


@pytest.mark.parametrize(("world", "unit"), [*product(WORLDS, SECONDS)])
def test_lengths_of_every_unit_beside_start_and_end(tmp_path: Path, world: str, unit: str) -> None:
    rows = rows_of(world, "gpt-4o")
    start = 1_788_253_200.0
    cells = [[f"r{n:02}", start + n, start + n + r["seconds"], r["out"], f"{r['seconds'] / SECONDS[unit]:.6f}"]
             for n, r in enumerate(rows)]  # fmt: skip
    found, receipt = load(tmp_path, ["id", "started_at", "ended_at", "output_tokens", "latency"], cells)
    assert is_right(found, receipt, "total_us", "latency", [r["seconds"] * 1e6 for r in rows]), receipt.notes


@pytest.mark.parametrize(("world", "unit"), [*product(WORLDS, SECONDS)])
def test_lengths_of_every_unit_beside_tokens_alone(tmp_path: Path, world: str, unit: str) -> None:
    rows = rows_of(world, "gpt-4o")
    cells = [[f"r{n:02}", r["out"], f"{r['seconds'] / SECONDS[unit]:.9f}"] for n, r in enumerate(rows)]
    found, receipt = load(tmp_path, ["id", "output_tokens", "latency"], cells)
    if (world, unit) == ("batch", "min"):  # 0.6: as seconds a common answer, nothing tells; the receipt says "guessed"
        assert any("guessed s: the median is 0.5" in n for n in receipt.notes)
        return
    right = is_right(found, receipt, "total_us", "latency", [r["seconds"] * 1e6 for r in rows])
    if (world, unit) != ("agent of two hours", "min") and unit in ("ms", "s"):
        assert right, receipt.notes


@pytest.mark.parametrize(("world", "unit"), [*product(WORLDS, SECONDS)])
def test_first_tokens_of_every_unit_beside_the_whole(tmp_path: Path, world: str, unit: str) -> None:
    rows = rows_of(world, "gpt-4o")
    cells = [[f"r{n:02}", f"{r['seconds'] * 1e3:.3f}", f"{r['first'] / SECONDS[unit]:.9f}"] for n, r in enumerate(rows)]
    found, receipt = load(tmp_path, ["id", "latency_ms", "ttft"], cells)
    is_right(found, receipt, "ttft_us", "ttft", [r["first"] * 1e6 for r in rows])
    assert [r["total_us"] for r in found] == pytest.approx([r["seconds"] * 1e6 for r in rows], rel=1e-3)


SPELT: dict[str, tuple[str, str]] = {
    "Duration (ns)": ("total_us", "ns"), "latency_ns": ("total_us", "ns"), "durationNano": ("total_us", "ns"),
    "latency_\u00b5s": ("total_us", "us"), "latency_\u03bcs": ("total_us", "us"), "latency in usec": ("total_us", "us"),
    "elapsed_micros": ("total_us", "us"), "ttft(ms)": ("ttft_us", "ms"), "response time [ms]": ("total_us", "ms"),
    "latency_in_seconds": ("total_us", "s"), "duration_mins": ("total_us", "min"), "ttftMillis": ("ttft_us", "ms"),
    "cost_cents": ("total_nusd", "cents"), "cost_in_micros": ("total_nusd", "micro_usd"),
    "spend_usd_micro": ("total_nusd", "micro_usd"), "cost_usd_cents": ("total_nusd", "cents"),
    "Cost (USD)": ("total_nusd", "usd"), "costInUsd": ("total_nusd", "usd"),
    "spend_microdollars": ("total_nusd", "micro_usd"),
    "total_cost_nano_usd": ("total_nusd", "nano_usd"), "cost_\u00b5usd": ("total_nusd", "micro_usd"),
    "timestamp_millis": ("started_at", "ms"), "start_time_nanos": ("started_at", "ns"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELT)
def test_units_in_names(name: str) -> None:
    found = known(name)
    assert found is not None
    assert found[:2] == SPELT[name]


def test_a_name_that_tells_no_known_unit_is_no_measure() -> None:
    for name in ("cost_eur", "cost_millicents", "latency_days", "cost_per_million", "spend_points"):
        assert known(name) is None, name


@pytest.mark.parametrize("model", ["gpt-4o", "our-own"])
def test_a_name_that_the_numbers_contradict_is_not_believed_in_silence(tmp_path: Path, model: str) -> None:
    """`cost_usd` that holds micro-dollars, `latency_ms` that holds nanoseconds: the right numbers, or asked."""
    rows = rows_of("chat", model)
    cells = [[f"r{n:02}", model, r["in"], r["out"], r["usd"] * 1e6, r["seconds"] * 1e9] for n, r in enumerate(rows)]
    names = ["id", "model", "input_tokens", "output_tokens", "cost_usd", "latency_ms"]
    found, receipt = load(tmp_path, names, cells)
    assert is_right(found, receipt, "total_nusd", "cost_usd", [r["usd"] * 1e9 for r in rows])
    assert any("'cost_usd'" in n and "micro_usd" in n for n in receipt.notes)
    is_right(found, receipt, "total_us", "latency_ms", [r["seconds"] * 1e6 for r in rows])


def test_names_are_believed_where_the_numbers_can_be(tmp_path: Path) -> None:
    """An agent that writes little in two hours, a cheap model, a price that a cache has cut to a twentieth."""
    cells = [[f"r{n:02}", "gpt-4o", 100_000, 20, 7_200_000 + n, 0.0125 + n * 1e-6] for n in range(ROWS)]
    names = ["id", "model", "input_tokens", "output_tokens", "latency_ms", "cost_usd"]
    found, receipt = load(tmp_path, names, cells)
    assert [r["total_us"] for r in found] == [(7_200_000 + n) * 1000 for n in range(ROWS)]
    assert [r["total_nusd"] for r in found] == [12_500_000 + n * 1000 for n in range(ROWS)]
    assert any("'cost_usd'" in n and "discount" in n for n in receipt.notes)


def test_an_impossible_cost_without_a_price_is_asked_about() -> None:
    """$100 a call at 1,000 tokens: as cents or thousandths it could be, so nobody knows."""
    profile = ColumnProfile("cost", count=50, rows=50, usual=0.45, by_token=0.45 / 1200)
    (column,) = guess([profile]).columns
    assert (column.field, column.asks) == (None, True)
    assert 'unit = "cents" or "milli_usd"' in column.why
    dear = ColumnProfile("cost", count=50, rows=50, usual=4_500.0)
    assert guess([dear]).columns[0].asks
    assert guess([ColumnProfile("cost", count=50, rows=50, usual=0.45)]).columns[0].unit == "usd"


def test_other_costs_of_a_request_are_no_contradiction() -> None:
    """A total with a review in it is more than its tokens cost, and so is a cost of tools."""
    parts = [ColumnProfile("cost", count=50, rows=50, usual=2.0, by_price=400.0, by_token=1e-3),
             ColumnProfile("review_cost", count=50, rows=50, usual=1.9, by_price=390.0, by_token=1e-3)]  # fmt: skip
    found = guess(parts)
    assert (found["cost"].unit, found["review_cost"].unit) == ("usd", "usd")


def test_what_a_person_says_is_not_checked(tmp_path: Path) -> None:
    rows = rows_of("chat", "gpt-4o")
    cells = [[f"r{n:02}", "gpt-4o", r["in"], r["out"], r["usd"] * 1e3, r["seconds"] * 1e3] for n, r in enumerate(rows)]
    names = ["id", "model", "input_tokens", "output_tokens", "cost", "latency"]
    mapping = Mapping((ColumnMapping("cost", "total_nusd", "usd"), ColumnMapping("latency", "total_us", "s")))
    found, _ = load(tmp_path, names, cells, mapping=mapping)
    assert found[4]["total_nusd"] == pytest.approx(rows[4]["usd"] * 1e12)
    assert found[4]["total_us"] == pytest.approx(rows[4]["seconds"] * 1e9)


def test_a_unit_kept_from_an_earlier_load_is_checked_anew(tmp_path: Path) -> None:
    """The first table held seconds, the next holds nanoseconds beside start and end: what was guessed is not kept."""
    saved = Mapping((ColumnMapping("latency", "total_us", "s", how="guessed"),))
    rows = rows_of("chat", "gpt-4o")
    start = 1_788_253_200.0
    cells = [[f"r{n:02}", start + n, start + n + r["seconds"], r["seconds"] * 1e9] for n, r in enumerate(rows)]
    found, receipt = load(tmp_path, ["id", "started_at", "ended_at", "latency"], cells, saved=saved)
    assert is_right(found, receipt, "total_us", "latency", [r["seconds"] * 1e6 for r in rows])
    by_hand = Mapping((ColumnMapping("latency", "total_us", "ns", how="exact"),))
    again, _ = load(tmp_path, ["id", "started_at", "ended_at", "latency"], cells, saved=by_hand)
    assert [r["total_us"] for r in again] == [r["total_us"] for r in found]


def test_order_and_split_do_not_change_a_unit(tmp_path: Path) -> None:
    rows = rows_of("chat", "gpt-4o")
    cells = [[f"r{n:02}", "gpt-4o", r["in"], r["out"], r["usd"] * 1e2] for n, r in enumerate(rows)]
    names = ["id", "model", "input_tokens", "output_tokens", "cost"]
    first, _ = load(tmp_path, names, cells)
    second, _ = load(tmp_path, names, cells[::-1])
    assert [r["total_nusd"] for r in first] == [r["total_nusd"] for r in second]


@pytest.mark.parametrize("success", ["success", "is_success", "ok"])
def test_a_success_that_repeats_the_status_of_http_is_no_task_success(tmp_path: Path, success: str) -> None:
    """As the logs of gateways that nobody here knows: whether the call came back, not whether it helped."""
    codes = [200, 200, 500, 201, 429, 200]
    cells = [[f"r{n}", c, c < 400, 100 + n] for n, c in enumerate(codes)]
    found, receipt = load(tmp_path, ["id", "status_code", success, "latency_ms"], cells)
    assert [r["success"] for r in found] == [None] * 6
    assert [r["error"] for r in found] == [False, False, True, False, True, False]
    assert any(repr(success) in n and "no success of a task" in n for n in receipt.notes)
    lines = tmp_path / "rows.jsonl"  # where both are numbers
    lines.write_text("\n".join(json.dumps({"id": i, "status_code": c, success: int(c < 400)}) for i, c, _, _ in cells))
    assert [r["success"] for r in read_rows(lines, Receipt())] == [None] * 6
    given = Mapping((ColumnMapping(success, "success"),))
    by_hand, _ = load(tmp_path, ["id", "status_code", success, "latency_ms"], cells, mapping=given)
    assert [r["success"] for r in by_hand] == [c < 400 for c in codes]


def test_a_success_that_differs_from_the_status_is_one(tmp_path: Path) -> None:
    cells = [["r0", 200, True], ["r1", 200, False], ["r2", 500, False], ["r3", 200, None]]
    found, _ = load(tmp_path, ["id", "status_code", "success"], cells)
    assert [r["success"] for r in found] == [True, False, False, None]
    words = [["r0", "ok", True], ["r1", "error", False]]
    told, _ = load(tmp_path, ["id", "status", "success"], words)
    assert [r["success"] for r in told] == [True, False]


def test_amounts_in_another_currency_are_asked_about(tmp_path: Path) -> None:
    for currencies in (("EUR", "EUR"), ("USD", "EUR")):
        cells = [[f"r{n}", 0.5, currency, 900 + n] for n, currency in enumerate(currencies)]
        found, receipt = load(tmp_path, ["id", "cost", "currency", "latency_ms"], cells)
        assert [r["total_nusd"] for r in found] == [None, None]
        assert any("'cost'" in n and "EUR" in n and "unit" in n for n in receipt.notes)
    dollars, _ = load(tmp_path, ["id", "cost", "cost_currency", "latency_ms"], [["r0", 0.5, "usd", 900]])
    assert dollars[0]["total_nusd"] == 500_000_000


def test_a_name_is_believed_beside_the_times_of_something_longer(tmp_path: Path) -> None:
    """Start and end of a session of 20 to 50 minutes beside the latency of its answer: no other unit is near."""
    start = 1_788_253_200.0
    cells = [[f"r{n:02}", start + n, start + n + 1_200 + 45 * n, 2_600 - 20 * n] for n in range(ROWS)]
    for name in ("latency_ms", "latency"):
        found, _ = load(tmp_path, ["id", "started_at", "ended_at", name], cells)
        assert [r["total_us"] for r in found] == [1000 * (2_600 - 20 * n) for n in range(ROWS)], name
