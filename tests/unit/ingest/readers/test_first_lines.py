"""A bad line costs itself alone, the first one too, and one of another encoding."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from kpi.errors import IngestError
from kpi.ingest.context import Context
from kpi.ingest.files.line_sniffing import header_at, objects
from kpi.ingest.files.source import encoding
from kpi.ingest.formats import formats
from kpi.ingest.limits import Limits
from kpi.ingest.readers import otlp, table
from kpi.ingest.readers.detect import detect
from kpi.ingest.readers.open import open_inputs
from kpi.ingest.readers.vendor import Translation
from kpi.privacy.privacy import Privacy
from kpi.receipts import Receipt

GOOD = [b'{"id": "g%d", "latency_ms": %d}' % (i, i + 1) for i in range(4)]
ROWS = [b"id,latency_ms,model", *(b"g%d,%d,m" % (i, i + 1) for i in range(4))]
JUNK = {
    "number": b"123", "float": b"-3.5e7", "word": b"junk", "comment": b"# exported", "markup": b"<x>", "text": b'"a"',
    "null": b"null", "list": b"[1,2]", "open list": b"[", "open object": b"{", "empty object": b"{}",
    "cut object": b'{"id": "x", "late', "report": b"Report, of 2026", "numbers": b"1,2,3,4", "percent": b"%PDF-1.4",
    "bytes": b"\xff\xfe\xfd", "control": bytes(range(1, 9)), "nuls": bytes(12),
    "utf-16": '{"id": "q", "latency_ms": 4}'.encode("utf-16"), "utf-16-le": '{"id":"q"}'.encode("utf-16-le"),
    "utf-16-be": '{"id": "q", "latency_ms": 4}'.encode("utf-16-be"), "utf-32": "abc".encode("utf-32"),
}  # fmt: skip


def read(content: bytes, folder: Path, name: str = "x.dat") -> tuple[str, set[str], Receipt]:
    """(format, ids of requests, receipt)"""
    path = folder / name
    path.write_bytes(content)
    receipt = Receipt()
    context = Context(Privacy(b"k" * 32), receipt)
    (source,) = open_inputs([path], limits=Limits())
    found = detect(source)
    if found in ("table", "otlp"):
        tables = list({"table": table, "otlp": otlp}[found].read(source, context))
    else:
        translation = Translation(formats()[found], context)
        tables = [*translation.read(source), *translation.finish()]
    ids = {i for n, rows in tables if n in ("requests", "spans") for i in rows["trace_id"].to_pylist()}
    return found, ids, receipt


@pytest.mark.parametrize("place", [0, 1, 4])
@pytest.mark.parametrize("name", sorted(JUNK))
def test_json_lines(name: str, place: int, tmp_path: Path) -> None:
    lines = [*GOOD]
    lines.insert(place, JUNK[name])
    found, ids, receipt = read(b"\n".join(lines) + b"\n", tmp_path)
    assert found == "table"
    assert {"g0", "g1", "g2", "g3"} <= ids
    if name != "empty object":  # an object without keys is a row without values
        assert len(ids) == 4
        assert receipt.dropped == len(receipt.drops) == 1
        assert receipt.drops[0].row == place + 1
        assert receipt.rows_read == 5


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("name", sorted(set(JUNK) - {"empty object"}))
def test_one_good_line_beside_it_is_enough(name: str, rows: int, tmp_path: Path) -> None:
    _, ids, receipt = read(b"\n".join([JUNK[name], *GOOD[:rows]]), tmp_path)
    assert ids == {"g0", "g1"} if rows == 2 else ids == {"g0"}
    assert [d.row for d in receipt.drops] == [1]


@pytest.mark.parametrize("place", [0, 1, 5])
@pytest.mark.parametrize("name", sorted(set(JUNK) - {"report"}))
def test_delimited_text(name: str, place: int, tmp_path: Path) -> None:
    lines = [*ROWS]
    lines.insert(place, JUNK[name])
    found, ids, receipt = read(b"\n".join(lines) + b"\n", tmp_path)
    assert (found, ids) == ("table", {"g0", "g1", "g2", "g3"})
    assert receipt.dropped == 1
    assert receipt.drops[0].row == max(1, place)  # a line before the header has the number of its line


def test_lines_before_a_header_need_a_header(tmp_path: Path) -> None:
    assert header_at(["id,latency_ms", "model,error"]) == 0
    assert header_at(["Name,Vorname", "latency_ms,error"]) == 0  # as many cells: a row of values, however named
    assert header_at(["Report of 2026", "", "id;latency_ms;model"]) == 2
    assert header_at(["1,2", "id,latency_ms"]) == 1
    assert header_at(["just words", "hello, world", "and, more"]) is None
    assert header_at([]) is None
    for text in (b"just words\nhello, world\n", b"dear all,\nplease see, attached\n", b"12\n13\n"):
        with pytest.raises(IngestError) as caught:
            read(text, tmp_path)
        assert caught.value.code in ("ingest.unknown_format", "ingest.no_columns", "ingest.no_rows")


def test_documents_are_no_lines(tmp_path: Path) -> None:
    whole = [
        b'[\n{"id": "g0", "latency_ms": 1},\n{"id": "g1", "latency_ms": 2}\n]',
        b'{"data": [\n{"id": "g0", "latency_ms": 1}\n,{"id": "g1", "latency_ms": 2}\n]}',
        b'{\n "data":\n [{"id": "g0", "latency_ms": 1},\n {"id": "g1", "latency_ms": 2}]\n}',
        b'[{"id": "g0",\n"latency_ms": 1}, {\n"id": "g1", "latency_ms": 2\n}]',
    ]
    for content in whole:
        found, ids, receipt = read(content, tmp_path)
        assert (found, ids, receipt.dropped) == ("table", {"g0", "g1"}, 0)


def test_a_note_with_an_example_is_no_table(tmp_path: Path) -> None:
    text = b"# How to read this\n\nEach line is one request:\n\n" + GOOD[0] + b"\n\nAsk us for more.\nBye.\n"
    with pytest.raises(IngestError) as caught:
        read(text, tmp_path)
    assert caught.value.code == "ingest.unknown_format"


@pytest.mark.parametrize("junk", [b"123", b"[1", JUNK["utf-16"], b'{"cut": ', b'{"other": 1}'])
def test_formats_are_told_by_most_lines(junk: bytes, tmp_path: Path) -> None:
    run = (
        b'{"id": "%d", "trace_id": "t%d", "run_type": "llm", "dotted_order": "x", "name": "n", '
        b'"start_time": "2026-01-01T00:00:00"}'
    )
    lines = [junk, *(run % (i, i) for i in range(3))]
    found, _, receipt = read(b"\n".join(lines), tmp_path)
    assert found == "langsmith"
    assert [d.row for d in receipt.drops][:1] == [1]
    span = (
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "%032d", "spanId": "%016d", "name": "n", '
        b'"startTimeUnixNano": "1767225600000000000", "endTimeUnixNano": "1767225601000000000"}]}]}]}'
    )
    found, ids, receipt = read(b"\n".join([junk, *(span % (i, i) for i in range(1, 4))]), tmp_path)
    assert (found, len(ids), receipt.dropped) == ("otlp", 3, 1)
    metrics = b'{"resourceMetrics": []}\n' * 3
    with pytest.raises(IngestError, match="OTLP metrics"):
        read(junk + b"\n" + metrics, tmp_path)


def test_what_is_binary_stays_refused(tmp_path: Path) -> None:
    import io
    import tarfile

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("a.csv")
        member.size = len(b"\n".join(ROWS))
        tar.addfile(member, io.BytesIO(b"\n".join(ROWS)))
    for content in (
        packed.getvalue(), b"\x7fELF\x02\x01\x01" + bytes(200), b"MZ" + b"\n".join(ROWS),
        b"\x80\x04\x95cbuiltins\neval",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, bytes(64),
    ):  # fmt: skip
        with pytest.raises(IngestError) as caught:
            read(content, tmp_path)
        assert caught.value.code == "ingest.unknown_format"


@pytest.mark.parametrize("name", ["utf-16", "utf-16-le", "utf-16-be"])
def test_files_in_utf_16_are_read_as_before(name: str, tmp_path: Path) -> None:
    words = "日本語が長く続く文章" if name == "utf-16" else "plain"  # without a mark, the bytes of plain text tell
    text = "id,latency_ms,language\n" + "\n".join(f"g{i},{i + 1},{words}" for i in range(4))
    assert read(text.encode(name), tmp_path)[1] == {"g0", "g1", "g2", "g3"}
    text = "\n".join(f'{{"id": "g{i}", "latency_ms": {i + 1}, "language": "{words}"}}' for i in range(4))
    assert read(text.encode(name), tmp_path)[1] == {"g0", "g1", "g2", "g3"}
    assert encoding(text.encode("utf-16")[:4096]) == "utf-16-le"


def test_first_lines_that_are_larger_than_what_is_looked_at(tmp_path: Path) -> None:
    long = [b'{"id": "g%d", "latency_ms": %d, "text": "%s"}' % (i, i + 1, b"x" * 90_000) for i in range(4)]
    found, ids, receipt = read(b"\n".join([b"123", *long]), tmp_path)
    assert (found, len(ids), receipt.dropped) == ("table", 4, 1)
    found, ids, _ = read(gzip.compress(b"\n".join([b"junk", *long])), tmp_path)
    assert (found, len(ids)) == ("table", 4)
    path = tmp_path / "y"
    path.write_bytes(b"x" * 300_000 + b"\n" + b"\n".join(GOOD))
    (source,) = open_inputs([path], limits=Limits())
    assert len(objects(source, Limits(line_bytes=1_000))) == 4


@pytest.mark.slow
def test_every_case_of_a_public_suite_beside_good_lines(shared: Path, tmp_path: Path) -> None:
    """Each as the first and the second line, of JSON lines and (but first) of CSV."""
    cases = sorted((shared / "data/corpora/jsontestsuite/test_parsing").glob("*.json"))
    assert len(cases) > 300
    for case in cases:
        content = case.read_bytes()
        for place in (0, 1):
            lines = [*GOOD]
            lines.insert(place, content)
            found, ids, receipt = read(b"\n".join(lines), tmp_path)
            assert found == "table", (case.name, place)
            assert {"g0", "g1", "g2", "g3"} <= ids, (case.name, place)
            assert receipt.rows_read == receipt.dropped + len(ids), (case.name, place)
        lines = [ROWS[0], content, *ROWS[1:]]
        assert {"g0", "g1", "g2", "g3"} <= read(b"\n".join(lines), tmp_path)[1], case.name
