"""Phoenix's exports: every nesting of the same spans makes the same requests, and a second count agrees."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

import kpi
from kpi import schema
from kpi.ingest.formats._phoenix_attributes import attributes_of
from kpi.store.lake import read_version
from tests.unit.ingest.formats.helpers import Row, read_all, requests_of

EXPORTS = "data/exports/phoenix"
OTLP = "data/exports/openinference/openinference_otlp.json"
TRACE = "173ddf9197c155a261538576916a067b"
NOT_IN_PHOENIX = {"release", "environment"}  # attributes of the resource


@pytest.fixture(scope="module")
def exports(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Files by shape; all of the same 51 spans and 18 annotations."""
    root, written = shared / EXPORTS, tmp_path_factory.mktemp("phoenix")
    for name in ("spans_dataframe", "span_annotations_dataframe"):
        frame = pd.read_parquet(root / f"{name}.parquet")
        frame.to_csv(written / f"{name}.csv")
        frame.map(_of_client).to_csv(written / f"{name}_lists.csv")
    spans = _lines(root)
    for span in spans:
        span["attributes"] = {k: v for k, v in span["attributes"].items() if not k.startswith("annotations.")}
    (written / "rest_spans.json").write_text(json.dumps({"data": spans, "next_cursor": None}))
    annotations = root / "rest_span_annotations.json"
    return {
        "ui": [root / "ui_export_spans_with_annotations.jsonl"],
        "rest": [written / "rest_spans.json", annotations],
        "frame": [root / f"{n}.parquet" for n in ("spans_dataframe", "span_annotations_dataframe")],
        "csv": [written / f"{n}.csv" for n in ("spans_dataframe", "span_annotations_dataframe")],
        "csv of lists": [written / f"{n}_lists.csv" for n in ("spans_dataframe", "span_annotations_dataframe")],
        "otlpv1": [root / "rest_spans_otlpv1.json", annotations],
        "otlp": [shared / OTLP, annotations],
    }


def _lines(root: Path) -> list[Row]:
    return [json.loads(line) for line in (root / "ui_export_spans_with_annotations.jsonl").read_text().splitlines()]


def _of_client(value: Any) -> Any:
    """Cells as the client returns them, with lists where Parquet has arrays."""
    if isinstance(value, np.ndarray):
        return [_of_client(item) for item in value]
    return {k: _of_client(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


@pytest.fixture(scope="module")
def read(exports: dict[str, list[Path]]) -> dict[str, dict[str, list[Row]]]:
    return {shape: read_all(files)[0] for shape, files in exports.items()}


def rows_of(tables: dict[str, list[Row]], name: str, *without: str) -> list[str]:
    return sorted(repr({k: v for k, v in row.items() if k not in without}) for row in tables[name])


# --- counted a second time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["ui", "rest", "frame", "csv", "csv of lists", "otlpv1", "otlp"])
def test_counts_are_those_of_the_file(read, shared: Path, shape: str) -> None:
    raw = _lines(shared / EXPORTS)
    tables = read[shape]
    kinds = Counter(s["span_kind"].lower() for s in raw)
    assert Counter(s["kind"] for s in tables["spans"]) == kinds
    assert kinds == {"llm": 16, "reranker": 6, "retriever": 6, "embedding": 6, "guardrail": 6, "agent": 6, "tool": 5}
    assert sum(s["status"] == "error" for s in tables["spans"]) == sum(s["status_code"] == "ERROR" for s in raw) == 4
    documents = Counter(
        (s["context"]["span_id"], value)
        for s in raw for key, value in s["attributes"].items()
        if key.endswith(".document.id") and not key.startswith("reranker.input_documents")
    )  # fmt: skip
    assert Counter((d["span_id"], d["document_id"]) for d in tables["documents"]) == documents
    assert documents.total() == 36
    arguments = {
        s["context"]["span_id"]: {k.split(".")[-1]: v for k, v in s["attributes"].items() if "tool.parameters." in k}
        for s in raw if s["span_kind"] == "TOOL"
    }  # fmt: skip
    assert {t["span_id"]: json.loads(t["arguments"]) for t in tables["tool_calls"]} == arguments
    flagged = {s["context"]["span_id"] for s in raw if s["span_kind"] == "GUARDRAIL"
               and json.loads(s["attributes"]["output.value"])["flagged"]}  # fmt: skip
    assert len(tables["incidents"]) == len(flagged) == 1
    annotations = json.loads((shared / EXPORTS / "rest_span_annotations.json").read_text())["data"]
    expected = {(a["span_id"], a["name"], a["result"]["score"], a["result"]["label"]) for a in annotations}
    assert {(s["span_id"], s["name"], s["value"], s["label"]) for s in tables["scores"]} == expected
    assert len(tables["scores"]) == len(annotations) == 18


@pytest.mark.parametrize("shape", ["ui", "frame", "csv", "otlp"])
def test_requests_against_a_sum_by_hand(read, shared: Path, shape: str) -> None:
    raw = _lines(shared / EXPORTS)
    requests = requests_of(read[shape])
    assert len(requests) == 6
    for trace_id, request in requests.items():
        spans = [s for s in raw if s["context"]["trace_id"] == trace_id]
        (root,) = [s for s in spans if s["parent_id"] is None]
        calls = [s["attributes"] for s in spans if s["span_kind"] == "LLM"]
        for column, name in (
            ("input_tokens", "prompt"), ("output_tokens", "completion"),
            ("cached_read_tokens", "prompt_details.cache_read"),
        ):  # fmt: skip
            stated = [c[f"llm.token_count.{name}"] for c in calls if f"llm.token_count.{name}" in c]
            assert request[column] == (sum(stated) if stated else None), column
        assert request["error"] is (root["status_code"] == "ERROR")
        assert request["llm_calls"] == len(calls)
        assert request["input_text"] == root["attributes"]["input.value"]
        assert request["language"] == root["attributes"]["metadata.language"]
        assert request["session_id"] == root["attributes"]["session.id"]
        assert request["experiment_arm"] == str(root["attributes"]["metadata.ab_arm"])
        length = pd.Timestamp(root["end_time"]) - pd.Timestamp(root["start_time"])
        assert abs(request["total_us"] - length // pd.Timedelta(microseconds=1)) <= (2 if shape == "otlp" else 0)
        label = root["attributes"]["annotations.2.annotation.label"]
        assert request["success"] is (label == "thumbs_up")
        assert request["outcome_source"] == "human"
        assert request["priced"] is False  # no export of Phoenix holds its costs
        assert request["total_nusd"] is None


# --- the same in every shape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["rest", "frame", "csv", "csv of lists", "otlpv1"])
def test_every_shape_makes_the_same_requests(read, shape: str) -> None:
    assert requests_of(read[shape]) == requests_of(read["ui"])
    assert rows_of(read[shape], "spans") == rows_of(read["ui"], "spans")
    assert rows_of(read[shape], "incidents") == rows_of(read["ui"], "incidents")
    assert rows_of(read[shape], "scores", "at", "trace_id") == rows_of(read["ui"], "scores", "at", "trace_id")
    assert len({s["score_id"] for s in read["ui"]["scores"]}) == 18


def test_otlp_of_the_same_spans_differs_by_its_nanoseconds_and_its_resource_only(read) -> None:
    ours = requests_of(read["ui"])
    for trace_id, theirs in requests_of(read["otlp"]).items():
        for column in theirs.keys() - NOT_IN_PHOENIX:
            if column.endswith("_us") and theirs[column] is not None:
                assert abs(theirs[column] - ours[trace_id][column]) <= 4, column  # each of its spans is rounded
            elif column == "started_at":
                assert abs(theirs[column] - ours[trace_id][column]) <= pd.Timedelta(microseconds=1)
            else:
                assert theirs[column] == ours[trace_id][column], column


def test_lists_of_traces_and_sessions_complete_and_never_overwrite(read, exports, shared: Path) -> None:
    sparse = [shared / EXPORTS / "rest_traces.json", shared / EXPORTS / "rest_sessions.json"]
    fuller = requests_of(read["ui"])
    for files in ([*sparse, *exports["ui"]], [*exports["ui"], *sparse]):
        assert requests_of(read_all(files)[0]) == fuller


def test_a_list_of_traces_alone(shared: Path) -> None:
    raw = json.loads((shared / EXPORTS / "rest_traces.json").read_text())["data"]
    tables, receipt = read_all([shared / EXPORTS / "rest_traces.json"])
    kinds = Counter(s["span_kind"] for t in raw for s in t["spans"])
    assert receipt.spans == kinds.total() - kinds["GUARDRAIL"] == 51 - 6
    requests = requests_of(tables)
    for trace in raw:
        request = requests[trace["trace_id"]]
        assert request["input_tokens"] == (trace["token_count_prompt"] or None)  # 0: no span stated any
        assert request["output_tokens"] == (trace["token_count_completion"] or None)
        assert request["model"] is None
        assert request["incident_count"] is None  # one of them has an incident, which this export does not tell
    assert any("without attributes" in note for note in receipt.notes)


def test_a_list_of_sessions_alone(shared: Path) -> None:
    raw = json.loads((shared / EXPORTS / "rest_sessions.json").read_text())["data"]
    tables, receipt = read_all([shared / EXPORTS / "rest_sessions.json"])
    expected = {t["trace_id"]: s["session_id"] for s in raw for t in s["traces"]}
    assert {i: r["session_id"] for i, r in requests_of(tables).items()} == expected
    assert receipt.spans == 0
    lost = {c.source for c in receipt.columns if c.how == "unmapped"}
    assert lost == {f"session.token_count_{n}" for n in ("prompt", "completion", "total")}  # of several traces


def test_the_receipt_names_what_is_not_read(exports) -> None:
    receipt = read_all(exports["frame"])[1]
    lost = {c.source for c in receipt.columns if c.how == "unmapped"}
    assert lost >= {"attributes.llm.tools.*.tool.json_schema", "attributes.tag.tags", "annotation.metadata",
                    "attributes.retrieval.documents.*.document.metadata.lang"}  # fmt: skip
    assert not [name for name in lost if "token_count.prompt" in name and not name.endswith("audio")]
    assert receipt.dropped == 0


# --- what the naive reading gets wrong --------------------------------------------------------------------------------


def span(number: int = 1, **more: Any) -> Row:
    """One span in the shape of REST."""
    return {
        "name": "call", "context": {"trace_id": TRACE, "span_id": f"{number:016x}"}, "span_kind": "LLM",
        "parent_id": None, "start_time": "2026-11-23T17:44:24.329407+00:00", "events": [], "attributes": {},
        "end_time": "2026-11-23T17:44:25.329407+00:00", "status_code": "OK", "status_message": "", **more,
    }  # fmt: skip


def of(tmp_path: Path, *records: Row) -> tuple[dict[str, list[Row]], Any]:
    file = tmp_path / "export.json"
    file.write_text(json.dumps({"data": records}))
    return read_all([file])


def test_nanoseconds_rounded_as_floats_are_microseconds(read, shared: Path) -> None:
    raw = json.loads((shared / EXPORTS / "rest_spans_otlpv1.json").read_text())["data"]
    naive = {s["span_id"]: s["start_time_unix_nano"] // 1000 for s in raw}
    found = {s["span_id"]: s["started_at"] for s in read["otlpv1"]["spans"]}
    true = {s["span_id"]: s["started_at"] for s in read["ui"]["spans"]}
    assert found == true
    assert sum(pd.Timestamp(naive[i], unit="us", tz="UTC") != true[i] for i in true) > 10


def test_unions_with_every_member_present_as_null(shared: Path, read) -> None:
    raw = json.loads((shared / EXPORTS / "rest_spans_otlpv1.json").read_text())["data"]
    union = raw[0]["attributes"][0]["value"]
    assert len(union) == 7
    assert sum(v is not None for v in union.values()) == 1
    assert all(s["input_text"] for s in read["otlpv1"]["spans"] if s["kind"] == "llm")


def test_cells_that_numpy_printed(tmp_path: Path) -> None:
    """An old frame: a lower-case kind, and lists without commas in which texts have brackets and quotes."""
    cells = {
        "context.span_id": "a" * 16, "context.trace_id": TRACE, "name": "retrieve", "span_kind": None,
        "start_time": "2024-04-01 10:00:00+00:00", "end_time": "2024-04-01 10:00:01+00:00", "status_code": "OK",
        "attributes.openinference.span.kind": "retriever",
        "attributes.input.value": "[1] what (now)?",
        "attributes.retrieval.documents": np.array(
            [{"document.id": "d-1", "document.content": "it's (so) [old]", "document.score": 0.5},
             {"document.id": "d-2", "document.content": 'a "b"', "document.score": np.nan}], dtype=object),
        "attributes.embedding.embeddings": np.array(
            [{"embedding.vector": np.array([0.1, 0.2]), "embedding.text": "x"}], dtype=object),
        "attributes.metadata": {"language": "de", "none": None},
    }  # fmt: skip
    pd.DataFrame([cells]).to_csv(tmp_path / "old.csv")
    tables, receipt = read_all([tmp_path / "old.csv"])
    found = [(d["document_id"], d["content"], d["score"]) for d in tables["documents"]]
    assert found == [("d-1", "it's (so) [old]", 0.5), ("d-2", 'a "b"', None)]
    (only,) = tables["spans"]
    assert (only["kind"], only["input_text"]) == ("retriever", "[1] what (now)?")
    assert requests_of(tables)[TRACE]["language"] == "de"
    assert receipt.dropped == 0


def test_keys_that_parquet_added_are_not_there(shared: Path, read) -> None:
    """Every struct of a column has the members of all rows: messages without calls, events without exceptions."""
    frame = pd.read_parquet(shared / EXPORTS / "spans_dataframe.parquet")
    events = [e for cell in frame["events"] for e in cell if e["name"] == "First Token Stream Event"]
    assert all("exception.type" in e["attributes"] for e in events)
    streamed = [s for s in read["frame"]["spans"] if s["ttft_us"] is not None]
    assert len(streamed) == len(events) == 4
    assert {s["status"] for s in streamed} == {"ok"}


def test_the_span_id_stands_in_the_header_twice(exports) -> None:
    csv = exports["csv"][0]
    assert csv.read_text().splitlines()[0].split(",").count("context.span_id") == 2
    tables, receipt = read_all([csv])
    assert len({s["span_id"] for s in tables["spans"]}) == receipt.spans == 51


def test_unset_is_success_unless_an_exception_is_recorded(tmp_path: Path) -> None:
    thrown = [{"name": "exception", "timestamp": "2026-11-23T17:44:25+00:00",
               "attributes": {"exception.type": "TimeoutError", "exception.message": "late"}}]  # fmt: skip
    tables, _ = of(tmp_path, span(1, status_code="UNSET"), span(2, status_code="UNSET", events=thrown),
                   span(3, status_code="UNSET", end_time=None))  # fmt: skip
    found = {s["span_id"][-1]: (s["status"], s["error_type"], s["status_message"]) for s in tables["spans"]}
    assert found == {"1": ("ok", None, None), "2": ("error", "TimeoutError", "late"), "3": ("running", None, None)}


def test_prompt_versions_stamped_on_every_span(tmp_path: Path) -> None:
    stamp = {"llm.prompt_template.version": "router"}
    root = span(1, span_kind="AGENT", attributes=stamp)
    model = span(2, parent_id=f"{1:016x}", attributes={"llm.prompt_template.version": "v12"})
    assert requests_of(of(tmp_path, root, model)[0])[TRACE]["prompt_version"] == "v12"


def test_cached_tokens_are_part_of_the_prompt(tmp_path: Path) -> None:
    counts = {"llm.token_count.prompt": 412, "llm.token_count.prompt_details.cache_read": 256}
    request = requests_of(of(tmp_path, span(attributes=counts))[0])[TRACE]
    assert (request["input_tokens"], request["cached_read_tokens"]) == (412, 256)


def test_parents_that_are_none(tmp_path: Path) -> None:
    for parent in (None, "", "0" * 16, "None"):
        (only,) = of(tmp_path, span(parent_id=parent))[0]["spans"]
        assert only["parent_id"] is None


def test_costs_stated_as_attributes_are_read(tmp_path: Path) -> None:
    """As the reader of Phoenix's database passes them."""
    request = requests_of(of(tmp_path, span(attributes={"llm.cost.total": 0.0000426}))[0])[TRACE]
    assert (request["total_nusd"], request["priced"]) == (42_600, True)


# --- annotations -----------------------------------------------------------------------------------------------------


def annotation(**more: Any) -> Row:
    return {
        "name": "correctness", "annotator_kind": "HUMAN", "span_id": f"{1:016x}", "identifier": "", "metadata": {},
        "result": {"label": "correct", "score": 1.0, "explanation": None}, "created_at": "2026-11-23T17:45:04+00:00",
        "updated_at": "2026-11-23T17:45:04+00:00", "source": "API", "user_id": None, "id": "x", **more,
    }  # fmt: skip


def test_annotations_of_documents_judge_no_request(tmp_path: Path) -> None:
    wrong = {"label": "incorrect", "score": 0.0, "explanation": "off topic"}
    tables, _ = of(tmp_path, span(), annotation(), annotation(document_position=0, result=wrong),
                   annotation(document_position=1))  # fmt: skip
    assert [(s["name"], s["explanation"]) for s in tables["scores"]] == [
        ("correctness", None), ("document_correctness", "document 1: off topic"),
        ("document_correctness", "document 2"),
    ]  # fmt: skip
    assert len({s["score_id"] for s in tables["scores"]}) == 3
    assert requests_of(tables)[TRACE]["correct"] is True


def test_annotations_of_traces_and_sessions(tmp_path: Path) -> None:
    of_trace = {**annotation(trace_id=TRACE), "span_id": None}
    of_session = {**annotation(session_id="s-1"), "span_id": None}
    tables, receipt = of(tmp_path, span(), of_trace, of_session)
    assert [(s["trace_id"], s["span_id"]) for s in tables["scores"]] == [(TRACE, None)]
    assert requests_of(tables)[TRACE]["correct"] is True
    assert receipt.drop_reasons == {"an annotation of a session": 1}


@pytest.mark.slow
def test_a_corrected_annotation_replaces_the_first(tmp_path: Path, home: Path) -> None:
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    first.write_text(json.dumps({"data": [span(), annotation()]}))
    changed = {"label": "incorrect", "score": 0.0, "explanation": "checked again"}
    second.write_text(json.dumps({"data": [annotation(result=changed, updated_at="2026-11-24T09:00:00+00:00")]}))
    kpi.load(first)
    kpi.load(second)
    assert kpi.trace(kpi.open(), TRACE).request["correct"] is False


# --- damage, order, the store ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["ui", "rest", "csv"])
def test_what_is_cut_off_loads_its_good_part(exports, tmp_path: Path, shape: str) -> None:
    data, whole = exports[shape][0].read_bytes(), read_all(exports[shape][:1])[0]
    known = {s["span_id"]: s for s in whole["spans"]}
    draw = random.Random(3)
    for at in (draw.randrange(12_000, len(data) - 50) for _ in range(6)):
        cut = tmp_path / f"cut{exports[shape][0].suffix}"
        cut.write_bytes(data[:at])
        tables, receipt = read_all([cut])
        assert 0 < len(tables["spans"]) < len(known)
        complete = [s for s in tables["spans"] if known.get(s["span_id"]) == s]
        assert len(complete) >= len(tables["spans"]) - (shape == "csv")  # a row may end in any of its last cells
        assert receipt.dropped == 1 or shape == "csv"


def test_a_broken_line_and_wrong_types(tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    broken = [span(1), "{", span(2, context=None), span(3, attributes=[1], events={"a": 1}), [], span(4, start_time={})]
    file.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in broken))
    tables, receipt = read_all([file])
    assert {s["span_id"][-1] for s in tables["spans"]} == {"1", "3", "4"}
    assert receipt.dropped >= 2


def test_a_frame_of_exactly_the_clients_limit_may_be_cut(tmp_path: Path) -> None:
    row = {"context.trace_id": TRACE, "name": "x", "span_kind": "CHAIN", "start_time": "2026-11-23 17:44:24+00:00"}
    for count, said in ((999, False), (1000, True)):
        pd.DataFrame([{"context.span_id": f"{i:016x}", **row} for i in range(1, count + 1)]).to_csv(tmp_path / "f.csv")
        assert any("exactly 1,000 spans" in n for n in read_all([tmp_path / "f.csv"])[1].notes) is said


def test_one_page_of_an_answer_says_that_there_are_more(tmp_path: Path) -> None:
    for cursor, said in ((None, False), ("U3Bhbjox", True)):
        (tmp_path / "page.json").write_text(json.dumps({"data": [span()], "next_cursor": cursor}))
        tables, receipt = read_all([tmp_path / "page.json"])
        assert len(tables["spans"]) == 1
        assert any("load all pages" in note for note in receipt.notes) is said


def test_arguments_that_were_flattened_are_objects_again() -> None:
    given = {
        "tool.parameters.a.0.b": 1,
        "tool.parameters.a.1.b": 2,
        "tool.parameters.c": "x",
        "tool.parameters.d.e": True,
    }
    nested = {"a": [{"b": 1}, {"b": 2}], "c": "x", "d": {"e": True}}
    assert (
        attributes_of(given)["tool.parameters"]
        == attributes_of({"tool.parameters": nested})["tool.parameters"]
        == nested
    )


@pytest.mark.slow
def test_any_order_of_all_exports_makes_one_data_set(
    exports, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse = [shared / EXPORTS / "rest_traces.json", shared / EXPORTS / "rest_sessions.json"]
    files = [*exports["rest"], *exports["ui"], *sparse]
    seen = []
    for number, order in enumerate([files, files[::-1], [*files[3:], *files[:3]]]):
        monkeypatch.setenv("KPI_HOME", str(tmp_path / str(number)))
        receipts = [kpi.load(file) for file in order] if number == 2 else [kpi.load(order)]  # also file by file
        assert all(receipt.dropped == 0 for receipt in receipts)
        seen.append(_stored())
    assert {name: len(rows) for name, rows in seen[0].items()} == {
        "requests": 6, "spans": 51 + 6, "documents": 36, "tool_calls": 5, "scores": 18, "incidents": 1,
    }  # fmt: skip
    assert all(row["trace_id"] and row["at"] for row in seen[0]["scores"])
    assert seen[1] == seen[0]
    assert seen[2] == seen[0]


def _stored() -> dict[str, list[Row]]:
    """Rows of every table of the data set, in the order of their keys, without the pseudonyms of its own."""
    found = {}
    for name, files in read_version("default").files.items():
        if files:
            listed = duckdb.read_parquet([str(f) for f in files], union_by_name=True, hive_partitioning=True)
            rows = [dict(zip(listed.columns, row, strict=True)) for row in listed.fetchall()]
            rows = [{k: v for k, v in row.items() if k not in ("user_key", "context")} for row in rows]
            found[name] = sorted(rows, key=lambda r, name=name: [str(r[k]) for k in schema.TABLES[name].key])
    return found
