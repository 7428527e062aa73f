"""Spans whose parts lie in the cells of a table as JSON or as Python's repr: what pandas writes of span objects."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timedelta
from pathlib import Path

import openpyxl
import pytest

import kpi
from tests.unit.ingest.formats.helpers import read_all, requests_of

TRACE = "0x5b8efff798038103d269b633813fc60c"
USAGE = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 40, "gen_ai.usage.output_tokens": 9}


def console_span(number: int, parent: int | None, **attributes: object) -> dict:
    """One span as the console exporter of OpenTelemetry's Python SDK writes it (`ReadableSpan.to_json`)."""
    return {
        "name": "chat", "context": {"trace_id": TRACE, "span_id": f"0x{number:016x}", "trace_state": "[]"},
        "kind": "SpanKind.INTERNAL", "parent_id": parent and f"0x{parent:016x}",
        "start_time": f"2026-10-01T10:00:0{number}.000000Z", "end_time": "2026-10-01T10:00:09.000000Z",
        "status": {"status_code": "UNSET"}, "attributes": attributes, "events": [], "links": [],
        "resource": {"attributes": {"service.name": "app"}, "schema_url": ""},
    }  # fmt: skip


def as_csv(rows: list[dict], spell: object) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(rows[0])
    writer.writerows([spell(v) if isinstance(v, dict | list) else v for v in row.values()] for row in rows)
    return out.getvalue()


@pytest.mark.parametrize("spell", [json.dumps, repr])
def test_ids_in_a_cell_of_the_context(tmp_path: Path, spell: object) -> None:
    path = tmp_path / "spans.csv"
    path.write_text(as_csv([console_span(1, None), console_span(2, 1, **USAGE)], spell))
    tables, receipt = read_all([path])
    (request,) = requests_of(tables).values()
    assert (receipt.spans, request["llm_calls"]) == (2, 1)
    assert (request["input_tokens"], request["output_tokens"], request["total_us"]) == (40, 9, 8_000_000)


def test_no_numbers_inside_json_text_are_null_and_counted(tmp_path: Path) -> None:
    """Text of JSON in JSON lines: Python writes NaN there, which strict decoders refuse with everything beside it."""
    told = USAGE | {"gen_ai.usage.input_tokens": float("nan")}
    rows = [console_span(1, None), console_span(2, 1, **told)]
    path = tmp_path / "spans.jsonl"
    path.write_text("".join(json.dumps(r | {"attributes": json.dumps(r["attributes"])}) + "\n" for r in rows))
    tables, receipt = read_all([path])
    (request,) = requests_of(tables).values()
    assert (request["input_tokens"], request["output_tokens"]) == (None, 9)
    assert "spans.jsonl: 1 numbers that are none (NaN, Infinity) are taken as missing." in receipt.notes


def test_an_object_in_a_column_of_an_attribute_stays_one_value(tmp_path: Path) -> None:
    """Langfuse's SDK keeps usage in one attribute, as JSON."""
    usage = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.usage_details": {"input": 12, "output": 3},
    }
    span = console_span(1, None)
    row = {k: v for k, v in span.items() if k != "attributes"} | {f"attributes.{k}": v for k, v in usage.items()}
    row |= row.pop("context")
    path = tmp_path / "spans.csv"
    path.write_text(as_csv([row], json.dumps))
    (request,) = requests_of(read_all([path])[0]).values()
    assert (request["input_tokens"], request["output_tokens"]) == (12, 3)


def rows(lengths: list[str]) -> str:
    head = "trace_id;span_id;parent_id;name;start_time;duration_ms\n"
    return head + "".join(f"t;s{i};;step;2026-10-01T10:00:00Z;{text}\n" for i, text in enumerate(lengths))


def test_a_decimal_comma_of_a_length_is_read_where_it_can_be_no_other(tmp_path: Path) -> None:
    """Excel saves CSV so in most of Europe; with three digits behind it a comma may part thousands."""
    path = tmp_path / "spans.csv"
    path.write_text(rows(["2495,4305", "0,125", "12,5", "1,250", "soon"]))
    tables, receipt = read_all([path])
    assert [s["duration_us"] for s in tables["spans"]] == [2_495_430, 125, 12_500, None, None]
    assert "Some lengths of spans are no numbers that can be read, and are unknown." in receipt.notes


@pytest.mark.parametrize("wrap", [
    lambda rows: {"took": 3, "hits": {"total": {"value": 2}, "hits": [{"_id": "1", "_source": r} for r in rows]}},
    lambda rows: {"data": {"traces": [{"spans": rows}], "page": 1}},
    lambda rows: {"data": {"spans": {"edges": [{"cursor": "c", "node": r} for r in rows], "pageInfo": {}}}},
])  # fmt: skip
def test_envelopes_inside_lists_of_an_envelope(tmp_path: Path, wrap: object) -> None:
    """Hits of Elasticsearch, an answer with traces that hold spans, edges of a GraphQL API such as Phoenix has."""
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(wrap([console_span(1, None), console_span(2, 1, **USAGE)])))
    tables, receipt = read_all([path])
    (request,) = requests_of(tables).values()
    assert (receipt.spans, receipt.dropped) == (2, 0)
    assert (request["input_tokens"], request["total_us"]) == (40, 8_000_000)


def test_what_has_a_length_of_no_known_unit_has_ended(tmp_path: Path) -> None:
    """A lone span says nothing of the unit: its length is unknown, that it went well is not."""
    path = tmp_path / "spans.csv"
    path.write_text(rows(["250000"]).replace("duration_ms", "duration"))
    tables, receipt = read_all([path])
    assert [(s["duration_us"], s["status"]) for s in tables["spans"]] == [(None, "ok")]
    assert any("name no unit" in note for note in receipt.notes)


HEADER = ["timestamp [UTC]", "id", "name", "success", "resultCode", "duration", "customDimensions", "operation_Id",
          "operation_ParentId"]  # fmt: skip
DEPENDENCIES = [  # Application Insights: a root of 9 s, a call of 1.501 s, a failed tool of 250 ms
    [datetime(2026, 10, 1, 10, 0, 0), "a" * 16, "answer", True, 0, 9000, "{}", TRACE[2:], TRACE[2:]],
    [datetime(2026, 10, 1, 10, 0, 1), "b" * 16, "chat", True, 0, 1501, json.dumps(USAGE), TRACE[2:], "a" * 16],
    [datetime(2026, 10, 1, 10, 0, 3), "c" * 16, "look up", False, 500, 250,
     json.dumps({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}), TRACE[2:], "a" * 16],
]  # fmt: skip
FACTS = ("llm_calls", "tool_calls", "tool_errors", "input_tokens", "output_tokens", "total_us", "started_at")


def workbook(path: Path, sheets: dict[str, list[list[object]]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, cells in sheets.items():
        sheet = book.create_sheet(name)
        for row in cells:
            sheet.append(row)
    book.save(path)
    return path


def as_words(row: list[object]) -> list[object]:
    return [str(cell) for cell in row]


def as_clock(row: list[object]) -> list[object]:
    at = HEADER.index("duration")
    return [*row[:at], timedelta(milliseconds=row[at]), *row[at + 1 :]]


@pytest.mark.parametrize("above", [[], [["Report"], ["Team A"]]])
@pytest.mark.parametrize("spell", [list, as_words, as_clock])
def test_a_sheet_of_spans_is_read_as_a_csv_of_them_is(tmp_path: Path, spell: object, above: list) -> None:
    plain = tmp_path / "twin.csv"
    plain.write_text(as_csv([dict(zip(HEADER, row, strict=True)) for row in DEPENDENCIES], str))
    sheet = workbook(tmp_path / "twin.xlsx", {"Data": [*above, HEADER, *map(spell, DEPENDENCIES)]})
    found = []
    for path in (plain, sheet):
        tables, receipt = read_all([path])
        (request,) = requests_of(tables).values()
        assert (receipt.dropped, sorted(s["duration_us"] for s in tables["spans"])) == (
            0,
            [250_000, 1_501_000, 9_000_000],
        )
        found.append({name: request[name] for name in FACTS})
    assert found[0] == found[1]
    assert [found[1][name] for name in FACTS[:6]] == [1, 1, 1, 40, 9, 9_000_000]


def test_the_sheet_of_spans_is_chosen_among_others(home: Path, tmp_path: Path) -> None:
    path = workbook(tmp_path / "book.xlsx", {"Notes": [["a", "b"], [1, 2]], "Spans": [HEADER, *DEPENDENCIES]})
    assert kpi.preview(path).sheets == ("Notes", "Spans")
    mapping = kpi.Mapping(sheet="Spans")
    assert kpi.preview(path, mapping).format == "spans"
    assert kpi.load(path, dataset="x", mapping=mapping).spans == 3


def test_texts_that_a_spreadsheet_cut_are_told(tmp_path: Path) -> None:
    row = [*DEPENDENCIES[1]]
    row[6] = json.dumps(USAGE | {"input.value": "x" * 40_000})[:32_767]
    _, receipt = read_all([workbook(tmp_path / "cut.xlsx", {"Data": [HEADER, row]})])
    assert any("cut the texts" in note for note in receipt.notes)
