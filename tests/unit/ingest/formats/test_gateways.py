"""Damaged exports of gateways, providers and Datadog and Weave: what is good loads, the rest is named."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kpi
from kpi.ingest.formats import recognise
from tests.unit.ingest.formats import (
    test_bedrock,
    test_datadog,
    test_gateway_tables,
    test_helicone,
    test_litellm,
    test_openai,
    test_weave,
)
from tests.unit.ingest.formats.helpers import read_all, requests_of

Record = dict[str, Any]
MAKE: dict[str, Callable[[int], Record]] = {
    "litellm": lambda n: {**test_litellm.CALL, "request_id": f"l{n}"},
    "helicone": lambda n: {**test_helicone.CALL, "request_id": f"h{n}"},
    "openai": lambda n: {**test_openai.COMPLETION, "id": f"o{n}"},
    "datadog": lambda n: test_datadog.span(span_id=str(n + 1), trace_id=f"{n + 1:032x}"),
    "weave": lambda n: test_weave.call(f"w{n}", None, "agent", n, trace_id=f"t{n}"),
    "bedrock": lambda n: test_bedrock.record(requestId=f"b{n}"),
    "portkey": lambda n: {**test_gateway_tables.PORTKEY, "id": f"p{n}", "trace_id": f"tp{n}"},
    "openrouter": lambda n: {**test_gateway_tables.OPENROUTER, "id": f"g{n}"},
    "cloudflare": lambda n: {**test_gateway_tables.CLOUDFLARE, "id": f"c{n}"},
    "kong": lambda n: {**test_gateway_tables.KONG, "request": {"id": f"k{n}", "uri": "/v1/chat/completions"}},
    "databricks": lambda n: {**test_gateway_tables.INFERENCE, "databricks_request_id": f"d{n}"},
}  # fmt: skip
RECORDS = 6


@pytest.fixture(params=MAKE)
def records(request: pytest.FixtureRequest) -> list[Record]:
    return [MAKE[request.param](n) for n in range(RECORDS)]


def test_each_is_recognised_by_its_keys() -> None:
    for name, make in MAKE.items():
        found = recognise(make(0))
        assert found is not None
        assert found.name == name
    assert recognise(["id", "type", "name", "value"]) is None


def test_a_load_of_all_vendors_at_once(tmp_path: Path, home: Path) -> None:
    for name, make in MAKE.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(make(n)) for n in range(RECORDS)))
    told = kpi.load([tmp_path / f"{name}.jsonl" for name in MAKE])
    assert told.dropped == 0
    assert told.spans == told.requests == RECORDS * len(MAKE)


def test_lines_with_one_that_is_broken(tmp_path: Path, records: list[Record]) -> None:
    lines = [json.dumps(r) for r in records]
    lines[2] = lines[2][: len(lines[2]) // 2]
    path = tmp_path / "export.jsonl"
    path.write_text("\n".join(lines))
    tables, receipt = read_all([path])
    assert len(requests_of(tables)) == RECORDS - 1
    assert receipt.drop_reasons == {"the line is not valid JSON": 1}


def test_a_document_that_is_cut_anywhere(tmp_path: Path, records: list[Record]) -> None:
    whole = json.dumps({"data": records})
    path = tmp_path / "export.json"
    draw = random.Random(7)
    ends = [whole.index(json.dumps(r)) + len(json.dumps(r)) for r in records]
    for at in sorted(draw.randrange(ends[0], len(whole) - 2) for _ in range(12)):
        path.write_text(whole[:at])
        tables, receipt = read_all([path])
        assert len(requests_of(tables)) == sum(end <= at for end in ends)
        assert receipt.drop_reasons == {"the document is cut off or broken inside": 1}
        assert any("is missing" in note for note in receipt.notes)


@pytest.mark.slow
def test_fields_of_wrong_types(tmp_path: Path, records: list[Record]) -> None:
    """A field of a wrong type costs at most its own record."""
    path = tmp_path / "export.jsonl"
    for wrong in ([], {}, "x", 7, True, None, [[None]], {"a": [1]}):
        for field in records[0]:
            broken = [records[0], {**records[1], field: wrong}, *records[2:]]
            path.write_text("\n".join(map(json.dumps, broken)))
            tables, receipt = read_all([path])
            read = len(requests_of(tables))
            assert read >= RECORDS - 1, (field, wrong)
            assert read + receipt.dropped >= RECORDS - 1


def test_any_order_of_files_gives_the_same_rows(tmp_path: Path, records: list[Record]) -> None:
    paths = [tmp_path / f"{n}.json" for n in range(RECORDS)]
    for path, record in zip(paths, records, strict=True):
        path.write_text(json.dumps([record]))
    expected = requests_of(read_all(paths)[0])
    assert len(expected) == RECORDS
    for seed in range(3):
        shuffled = random.Random(seed).sample(paths, RECORDS)
        assert requests_of(read_all(shuffled)[0]) == expected
