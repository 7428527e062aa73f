"""JSON documents one after the other: however they are laid out each is read once, and a broken one costs itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

import kpi
from kpi.ingest.files.json_splitting import CUT, NO_JSON, split
from tests.unit.ingest.files.test_json_documents import JSON

Row = dict[str, Any]
DOCUMENTS = st.lists(st.dictionaries(st.text(), JSON, min_size=1, max_size=3), min_size=1, max_size=6)


def read(text: str) -> list[tuple[int, Any]]:
    """(line, value or reason) of everything in a text."""
    found = split(enumerate(text.encode().split(b"\n"), 1), depth=100, longest=10_000)
    return [(p.line, p.told.value if p.told else p.reason) for p in found]


@settings(deadline=None)
@given(
    DOCUMENTS, st.lists(st.sampled_from([None, 1, 4]), min_size=6, max_size=6), st.sampled_from(["\n", "\n\n", " \n"])
)
def test_documents_in_any_layout_are_all_there(documents: list[Row], indents: list[int | None], between: str) -> None:
    written = [json.dumps(d, indent=indent) for d, indent in zip(documents, indents, strict=False)]
    assert [value for _, value in read(between.join(written))] == documents
    lines = [1 + sum(w.count("\n") + between.count("\n") for w in written[:i]) for i in range(len(written))]
    assert [line for line, _ in read(between.join(written))] == lines


@settings(deadline=None)
@given(DOCUMENTS, st.sampled_from([None, 2]))
def test_documents_without_anything_between_them(documents: list[Row], indent: int | None) -> None:
    assert [v for _, v in read("".join(json.dumps(d, indent=indent) for d in documents))] == documents


A, B = {"a": [1, {"b": '}{ \\" ['}]}, {"c": "x\ny"}
PRETTY = json.dumps(A, indent=2)  # eight lines


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (PRETTY[:14] + "\n" + json.dumps(B, indent=2), [(1, CUT), (4, B)]),
        (PRETTY + "\n" + json.dumps(B, indent=2)[:-1], [(1, A), (9, CUT)]),
        (f"started {{\n{PRETTY}\n[info] more\n{json.dumps(B)}", [(1, NO_JSON), (2, A), (10, NO_JSON), (11, B)]),
        (f'{json.dumps(A)}\n{{"c": "x\n{json.dumps(B)}', [(1, A), (2, NO_JSON), (3, B)]),
        ('{"a": tru}\n{"b": NaN}', [(1, NO_JSON), (2, {"b": None})]),
        (f"{json.dumps(A)}{json.dumps(B)}#", [(1, A), (1, B), (1, NO_JSON)]),
    ],
)  # fmt: skip
def test_what_is_broken_costs_itself(text: str, found: list[tuple[int, Any]]) -> None:
    assert read(text) == found


ROWS = [{"id": f"r{i}", "success": i % 2 == 0, "latency_ms": i + 1} for i in range(30)]


@pytest.mark.parametrize("laid", ["pretty", "joined", "pretty and joined", "envelopes"])
def test_a_table_of_documents_in_any_layout(home: Path, tmp_path: Path, laid: str) -> None:
    indent = None if laid == "joined" else 2
    between = "\n" if laid in ("pretty", "envelopes") else ""
    told = [{"data": ROWS[i : i + 10], "meta": {"page": i}} for i in (0, 10, 20)] if laid == "envelopes" else ROWS
    path = tmp_path / "rows.json"
    path.write_text(between.join(json.dumps(row, indent=indent) for row in told))
    receipt = kpi.load(path, dataset="laid")
    assert (receipt.requests, receipt.dropped) == (30, 0)


def span(number: int) -> Row:
    told = {"traceId": f"{number + 1:032x}", "spanId": f"{number + 1:016x}", "name": "chat",
            "startTimeUnixNano": "1767225600000000000", "endTimeUnixNano": "1767225601000000000"}  # fmt: skip
    return {"resourceSpans": [{"scopeSpans": [{"spans": [told]}]}]}


@pytest.mark.parametrize(("indent", "between"), [(2, "\n"), (2, ""), (None, "")])
def test_messages_of_otlp_in_any_layout(home: Path, tmp_path: Path, indent: int | None, between: str) -> None:
    path = tmp_path / "traces.json"
    path.write_text(between.join(json.dumps(span(i), indent=indent) for i in range(3)))
    receipt = kpi.load(path, dataset="laid")
    assert (receipt.requests, receipt.spans, receipt.dropped) == (3, 3, 0)


def test_a_place_in_a_file_of_documents_is_a_line(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "traces.json"
    path.write_text(
        "\n".join([json.dumps(span(0), indent=2), '{\n  "resourceSpans": [', json.dumps(span(1), indent=2)])
    )
    receipt = kpi.load(path, dataset="place")
    line = json.dumps(span(0), indent=2).count("\n") + 2
    assert receipt.requests == 2
    assert [(d.row, d.reason) for d in receipt.drops] == [(line, CUT)]
