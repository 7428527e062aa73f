"""What is not read is refused under its own name, with what to export instead; no mapping is offered that cannot help.

Payloads are as the tools' documentation shows them, cut to what they are recognised by.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kpi.errors import IngestError
from kpi.ingest.limits import Limits
from kpi.ingest.readers.detect import detect
from kpi.ingest.readers.open import open_inputs
from kpi.ingest.readers.refusals import KINDS
from tests.unit.ingest.formats.helpers import read_all

METRIC = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "gen_ai.client.token.usage"}]}]}]}
JSON: dict[str, tuple[Any, str]] = {
    "OTLP metrics": (METRIC, "OTLP"),
    "an answer of Prometheus": ({"status": "success", "data": {"resultType": "matrix", "result": []}}, "sums"),
    "a dashboard of Grafana": ({"panels": [], "templating": {}, "title": "LLM"}, "sums"),
    "a HAR file": ({"log": {"version": "1.2", "creator": {}, "entries": [{"time": 50}]}}, "traces"),
    "a notebook": ({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, "CSV"),
    "usage by day of OpenRouter": (
        {"data": [{"date": "2025-08-24", "model": "openai/gpt-4.1", "model_permaslug": "x", "provider_name": "OpenAI",
                   "usage": 0.015, "byok_usage_inference": 0.012, "requests": 5, "prompt_tokens": 50}]},
        "one row a generation",
    ),
    "usage of OpenAI": (
        {"object": "page", "has_more": False, "data": [{"object": "bucket", "start_time": 1730419200,
                                                        "end_time": 1730505600, "results": [{"input_tokens": 1}]}]},
        "calls",
    ),
    "usage of Anthropic": ({"data": [{"starting_at": "2025-08-01T00:00:00Z", "ending_at": "2025-08-02T00:00:00Z",
                                      "results": [{"uncached_input_tokens": 1500}]}]}, "calls"),
    "daily metrics of Langfuse": ({"data": [{"date": "2025-01-01", "countTraces": 3, "countObservations": 9}]},
                                  "observations"),
    "daily spend of LiteLLM": ([{"date": "2025-01-01", "spend": 0.1, "api_requests": 5, "prompt_tokens": 9}],
                               "LiteLLM_SpendLogs"),
    "a dataset of LangSmith": ([{"id": "e", "dataset_id": "d", "inputs": {"q": "?"}, "outputs": {"a": "!"}}], "runs"),
    "items of a dataset of Langfuse": ({"data": [{"id": "i", "datasetId": "d", "input": {}, "expectedOutput": {}}]},
                                       "observations"),
    "a description of an API": ({"openapi": "3.1.0", "info": {}, "paths": {}}, "traces"),
}  # fmt: skip
LINES = {
    "a dataset of LangSmith": '{"inputs": {"q": "a"}, "outputs": {"a": "b"}}\n{"inputs": {"q": "c"}, "outputs": {}}\n',
    "examples for training a model": '{"messages": [{"role": "user", "content": "a"}]}\n' * 2,
    "requests of a batch": '{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {}}\n' * 2,
}
TABLES = {
    "usage of OpenAI": "start_time,end_time,num_model_requests,model,input_tokens,output_tokens\n1,2,3,gpt-4o,4,5\n",
    "costs of OpenAI": "start_time,end_time,amount_value,amount_currency,line_item\n1,2,0.3,usd,x\n",
    "usage of Anthropic": "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_output_tokens\n2025,a,1,2\n",
    "usage by day of OpenRouter": "date,model,model_permaslug,provider_name,requests,usage\n2025-08-24,a,b,c,5,0.1\n",
    "a bill of a cloud provider": "lineItem/UsageAmount,lineItem/UnblendedCost\n1,2\n",
}
TEXTS: dict[str, bytes] = {
    "metrics as Prometheus": b'# HELP llm_tokens_total Tokens.\n# TYPE llm_tokens_total counter\nllm_tokens_total 5\n',
    "Prometheus": b'llm_requests_total{model="gpt-4o",code="200"} 1027\nllm_requests_total{model="b",code="500"} 3\n',
    "a page of HTML": b"<!DOCTYPE html>\n<html><head><title>Usage, costs</title></head></html>",
    "XML": b'<?xml version="1.0"?>\n<testsuite name="a,b"></testsuite>',
    "a PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
    "an image": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "a Python pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}",
    "a 7z archive": b"7z\xbc\xaf\x27\x1c\x00\x04",
    "Avro": b"Obj\x01\x02\x16avro.schema\x00\x00",
    "a tar archive": b"traces.json" + bytes(246) + b"ustar\x0000",
}  # fmt: skip


def refusal(path: Path) -> IngestError:
    with pytest.raises(IngestError) as caught:
        formats(path)
    return caught.value


def formats(path: Path) -> list[str]:
    return [detect(source) for source in open_inputs([path], limits=Limits())]


def refused(folder: Path, content: bytes, name: str = "export.json") -> IngestError:
    path = folder / name
    path.write_bytes(content)
    return refusal(path)


@pytest.mark.parametrize("kind", JSON)
def test_documents_that_hold_no_requests(tmp_path: Path, kind: str) -> None:
    payload, instead = JSON[kind]
    for content in (json.dumps(payload), json.dumps(payload, indent=1)):
        told = refused(tmp_path, content.encode())
        assert told.code == "ingest.unsupported_format"
        assert kind in told.message
        assert instead in told.hint
        assert "mapping for its columns" not in told.hint


@pytest.mark.parametrize("kind", LINES)
def test_lines_that_hold_no_requests(tmp_path: Path, kind: str) -> None:
    told = refused(tmp_path, LINES[kind].encode(), "export.jsonl")
    assert (told.code, kind in told.message) == ("ingest.unsupported_format", True)


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_sums(tmp_path: Path, kind: str) -> None:
    told = refused(tmp_path, TABLES[kind].encode(), "export.csv")
    assert (told.code, kind in told.message) == ("ingest.unsupported_format", True)
    assert "sums over many requests" in told.hint
    names, row = (line.split(",") for line in TABLES[kind].strip().splitlines())
    path = tmp_path / "export.parquet"
    pq.write_table(pa.table({n: [v] for n, v in zip(names, row, strict=True)}), path)
    assert kind in refusal(path).message


@pytest.mark.parametrize("kind", TEXTS)
def test_what_is_no_table_is_called_by_its_name(tmp_path: Path, kind: str) -> None:
    told = refused(tmp_path, TEXTS[kind], "traces.json")
    assert told.code == "ingest.unknown_format"
    assert kind in told.message
    assert told.hint


def test_office_documents(tmp_path: Path) -> None:
    path = tmp_path / "requests.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<?xml version='1.0'?><Types/>")
        archive.writestr("xl/workbook.xml", "<?xml version='1.0'?><workbook/>")
    told = refusal(path)
    assert ("Excel" in told.message, "CSV" in told.hint) == (True, True)


def test_tables_of_requests_are_no_kind_of_these(tmp_path: Path) -> None:
    """Names that requests have as well: nothing here may take a table away."""
    for header in (
        "date,model,requests,latency_ms", "id,inputs,outputs,latency_ms", "id,messages,latency_ms",
        "start_time,end_time,id",
        "spend,date,request_id", "usage,model,date,id", "entries,creator,latency", "panels,latency_ms,id",
    ):  # fmt: skip
        path = tmp_path / "table.csv"
        path.write_text(header + "\n" + ",".join("1" for _ in header.split(",")) + "\n")
        assert formats(path) == ["table"], header


def test_nothing_but_nested_objects_is_offered_no_mapping(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text(json.dumps([{"config": {"a": [1, 2]}, "state": {"b": {"c": 1}}}] * 3))
    with pytest.raises(IngestError) as caught:
        read_all([path])
    assert caught.value.code == "ingest.no_columns"
    assert "no mapping can help" in caught.value.hint


def test_kinds_are_data() -> None:
    """Each says what it is and what to do instead, and has keys to be known by."""
    for kind in KINDS:
        assert kind.keys, kind.title
        assert kind.instead.endswith("."), kind.title
        assert kind.title[:1].islower() or kind.title.startswith("OTLP"), kind.title
