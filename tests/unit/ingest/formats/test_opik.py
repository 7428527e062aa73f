"""Opik's exports: one JSON document a trace, and the CSV that its writer leaves cut."""

from __future__ import annotations

import json

import pytest

from tests.unit.ingest.formats.helpers import read_all, requests_of

JSON = "data/exports/opik/trace_01a20999-91be-7ed9-b0ea-686c84aa017a.json"
CSV = "data/exports/opik/trace_01a20999-93a3-7c6e-974f-4859d21fe5c7.csv"


def test_the_json_export(shared) -> None:
    raw = json.loads((shared / JSON).read_text())
    tables, receipt = read_all([shared / JSON])
    assert receipt.spans == len(raw["spans"]) == 6
    assert len(tables["documents"]) == 3
    assert len(tables["tool_calls"]) == sum(s["type"] == "tool" for s in raw["spans"]) == 1
    assert receipt.dropped == 0
    (request,) = requests_of(tables).values()
    llm = [s["usage"] for s in raw["spans"] if s["type"] == "llm"]
    assert request["input_tokens"] == sum(u["prompt_tokens"] for u in llm) == 724
    assert request["cached_read_tokens"] == 512  # of the 724, not beside them
    assert request["output_tokens"] == sum(u["completion_tokens"] for u in llm)
    assert request["success"] is True
    assert request["language"] == "de"


def test_durations_are_milliseconds(shared) -> None:
    raw = json.loads((shared / JSON).read_text())
    tables, _ = read_all([shared / JSON])
    assert requests_of(tables)[raw["trace"]["id"]]["total_us"] == round(raw["spans"][0]["duration"] * 1000)


def test_a_csv_that_stopped_early_says_what_is_missing(shared) -> None:
    tables, receipt = read_all([shared / CSV])
    assert receipt.spans == 1
    assert any("lacks 3 spans" in note for note in receipt.notes)
    (request,) = requests_of(tables).values()
    assert request["error"] is True
    assert request["error_type"] == "RateLimitError"
    assert request["output_text"] is None


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_document_that_is_cut_off_loads_its_good_part(shared, tmp_path, share: float) -> None:
    whole = (shared / JSON).read_bytes()
    cut = tmp_path / "cut.json"
    cut.write_bytes(whole[: int(len(whole) * share)])
    raw = json.loads(whole)
    tables, receipt = read_all([cut])
    assert 0 < receipt.spans < len(raw["spans"])
    assert receipt.drop_reasons == {"the document is cut off or broken inside": 1}
    assert {s["span_id"] for s in tables["spans"]} <= {s["id"] for s in raw["spans"]} | {"trace"}


def test_the_providers_host_name_is_no_provider() -> None:
    from kpi.ingest.formats.opik import _provider

    assert [_provider(p) for p in ("127.0.0.1", "localhost", "localhost:8000", "openai")] == [
        None,
        None,
        None,
        "openai",
    ]
