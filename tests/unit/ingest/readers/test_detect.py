"""Formats are told by content, never by name."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest
import zstandard

from kpi.errors import IngestError
from kpi.ingest.files.source import lines
from kpi.ingest.limits import Limits
from kpi.ingest.readers.detect import detect, json_keys
from kpi.ingest.readers.open import open_inputs


def formats(path: Path) -> list[str]:
    return [detect(source) for source in open_inputs([path], limits=Limits())]


def write(folder: Path, content: bytes | str, name: str = "file.dat") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"resourceSpans": []}\n{"resourceSpans": []}', "otlp"),
        ('{\n "resource_spans": [ {"scope_spans"', "otlp"),
        ('[{"resourceLogs": [{"resource": {"attributes": []}}]}]', "otlp"),
        ('{"batches": []}', "otlp"),
        (b"\x0a\x10\x00\x01binary\x00\x02", "otlp"),
        (b"\x00\x00\x00\x10\x0a\x0ebinary\x00\x02", "otlp"),
        ('{"id": 1, "latency_ms": 5}\n', "table"),
        ('[{"id": 1, "latency_ms": 5}]', "table"),
        ('{"data": [{"id": 1, "latency_ms": 5}]}', "table"),
        ("id,latency_ms\n1,2\n", "table"),
        ("\n\nid;latency_ms\n1;2\n", "table"),
        ("id\tlatency_ms\n1\t2\n", "table"),
        ("id,latency_ms\n1,2\n".encode("utf-16"), "table"),
        ('{"id": 1}'.encode("utf-8-sig"), "table"),
        ("request_id,spend,startTime\n1,2,3\n", "litellm"),
        ("name,context.span_id,context.trace_id\na,b,c\n", "phoenix"),
        ('{"data": [{"context": {}, "span_kind": "LLM", "attributes": {}}]}', "phoenix"),
        ('{"data": [{"id": "1", "type": "span", "attributes": {}}], "meta": {}}', "datadog"),
        ('{"run_type": "llm", "dotted_order": "x", "id": 1}', "langsmith"),
        ('{"info": {"trace_id": "tr-1"}, "data": {}}', "mlflow"),
        ('{"eval": {}, "samples": []}', "inspect_ai"),
        ('{"task_id": 0, "reward": 1.0, "info": {}, "traj": [], "trial": 0}', "tau_bench"),
        ('{"schema_version": "ATIF-v1.6", "agent": {}, "steps": []}', "atif"),
    ],
)
def test_supported_formats(tmp_path, content, expected):
    assert formats(write(tmp_path, content)) == [expected]


@pytest.mark.parametrize(
    "content",
    [
        b"MZ" + bytes(range(256)), b"\x80\x04\x95cbuiltins\neval\n.", b"\x7fELF\x02\x01\x01\x00",
        "<html><b>a,b</b></html>", "just words", b"\xff\xd8\xff\xe0\x00\x10JFIF",
    ],
)  # fmt: skip
def test_everything_else_is_refused(tmp_path, content):
    with pytest.raises(IngestError) as caught:
        formats(write(tmp_path, content, "traces.json"))
    assert caught.value.code == "ingest.unknown_format"


def test_keys_inside_strings_and_later_elements_do_not_count():
    keys = json_keys('[{"a": "{\\"resourceSpans\\": 1}", "b": {"c": [1, {"d": 2}]}}, {"e": 1}, {"cut')
    assert keys[("[]",)] == {"a", "b"}
    assert keys[("[]", "b")] == {"c"}
    assert json_keys('{"data": [{"x": 1}], "y": 2}')[()] == {"data", "y"}


def test_archives_are_opened_one_level_deep(tmp_path):
    row = b'{"id": 1, "latency_ms": 5}\n'
    assert formats(write(tmp_path, gzip.compress(row), "a.bin")) == ["table"]
    assert formats(write(tmp_path, zstandard.compress(row), "b.bin")) == ["table"]
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("../../evil.jsonl", row)
        archive.writestr("b.csv", "id,latency_ms\n1,2\n")
    opened = list(open_inputs([tmp_path / "c.zip"], limits=Limits()))
    assert [s.name for s in opened] == ["c.zip: evil.jsonl", "c.zip: b.csv"]
    assert [detect(s) for s in opened] == ["table", "table"]
    with pytest.raises(IngestError, match="archive inside"):
        formats(write(tmp_path, gzip.compress(gzip.compress(row)), "d.gz"))


def test_lines_over_the_cap_are_skipped_and_their_neighbours_kept(tmp_path):
    path = write(tmp_path, b'{"a":1}\n' + b"x" * 5000 + b'\n\n{"b":2}')
    [source] = open_inputs([path], limits=Limits())
    assert list(lines(source, limits=Limits(line_bytes=100))) == [(1, b'{"a":1}'), (2, None), (4, b'{"b":2}')]


def test_genuine_exports(shared):
    for folder in ("otlp", "openinference"):
        for path in sorted((shared / "data/exports" / folder).iterdir()):
            assert formats(path) == ["otlp"], path.name
    vendors = ("langsmith", "litellm", "opik", *(f"shapes/{n}" for n in ("bedrock", "helicone", "openai", "weave")))
    for folder in vendors:
        for path in sorted((shared / "data/exports" / folder).iterdir()):
            assert formats(path) == [folder.rpartition("/")[2]], path.name
