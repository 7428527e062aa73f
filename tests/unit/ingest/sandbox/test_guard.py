"""The guarded child: hostile files end in typed errors and the parent stays as it was."""

from __future__ import annotations

import runpy
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kpi.errors import IngestError, KpiError, MappingError
from kpi.ingest.sandbox.supervisor import Limits, preview, read
from kpi.mapping.mapping import ColumnMapping, Mapping

pytestmark = pytest.mark.slow

KEY = b"k" * 32
REFUSED = {
    "bomb_dict.parquet": "ingest.bomb",
    "bomb_nested.zip": "ingest.nested_archive",
    "bomb_lying_size.zip": "ingest.bad_archive",
    "zip_many_members.zip": "ingest.too_many_members",
    "deep_list.json": "ingest.bad_json",
    "many_tiny.json": "ingest.no_columns",
    "exe.json": "ingest.unknown_format",
    "empty.csv": "ingest.empty",
    "header_only.csv": "ingest.no_rows",
    "ragged.csv": "ingest.no_rows",
    "trunc.parquet": "ingest.bad_parquet",
}


@pytest.fixture(scope="module")
def hostile(shared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    before = sys.argv
    sys.argv = ["make_hostile.py", str(folder)]
    try:
        runpy.run_path(str(shared / "data/corpora/make_hostile.py"))
    finally:
        sys.argv = before
    return folder


def write(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def ids(directory: Path) -> list[str]:
    return sorted(
        i for p in (directory / "requests").glob("*.parquet") for i in pq.read_table(p)["trace_id"].to_pylist()
    )


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_hostile_files_are_refused(hostile, tmp_path, name):
    with pytest.raises(IngestError) as caught:
        read([hostile / name], directory=tmp_path / "s", key=KEY)
    assert caught.value.code == REFUSED[name]
    assert caught.value.hint


def test_gzip_bombs_stop_at_the_ratio(tmp_path):
    import gzip

    path = tmp_path / "b.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": 1, "latency_ms": 1}\n' * 4_000_000))
    with pytest.raises(IngestError, match="250-fold"):
        read([path], directory=tmp_path / "s", key=KEY)


def test_zip_slip_writes_nothing_outside_the_stage(hostile, tmp_path):
    inside = tmp_path / "a" / "b" / "c"
    receipt = read([hostile / "zip_slip.zip"], directory=inside, key=KEY).receipt
    assert receipt.rows_read == 7
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert written
    assert all(p.parent == inside / "requests" and p.suffix == ".parquet" for p in written)


def test_broken_parquet_never_kills_the_parent(shared, tmp_path):
    for index, path in enumerate(sorted((shared / "data/corpora/parquet_bad").rglob("*.parquet"))):
        with pytest.raises(KpiError):
            read([path], directory=tmp_path / str(index), key=KEY)


def test_repeated_ids_count_once_and_the_last_wins(tmp_path):
    first = write(tmp_path, "id,latency_ms\na,1\nb,2\na,3\n", "1.csv")
    second = write(tmp_path, "id,latency_ms\nb,4\nc,5\n", "2.csv")
    receipt = read([first, second], directory=tmp_path / "s", key=KEY).receipt
    assert (receipt.rows_read, receipt.requests, receipt.repeated) == (5, 3, 2)
    rows = [r for p in sorted((tmp_path / "s/requests").glob("*")) for r in pq.read_table(p).to_pylist()]
    assert {r["trace_id"]: r["total_us"] for r in rows} == {"a": 3000, "b": 4000, "c": 5000}


def test_a_folder_stands_for_its_files_and_formats_mix(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder, "id,latency_ms\na,1\n", "1.csv")
    write(folder, '{"id": "b", "latency_ms": 2}\n', "2.jsonl")
    write(folder, "nothing of interest", "notes.txt")
    seen: list[tuple[float, str]] = []
    receipt = read([folder], directory=tmp_path / "s", key=KEY, progress=lambda f, t: seen.append((f, t))).receipt
    assert ids(tmp_path / "s") == ["a", "b"]
    assert any("left out" in n for n in receipt.notes)
    assert seen[-1][0] == 1.0
    assert all(0 <= f <= 1 for f, _ in seen)


def test_limits_of_time_and_memory_are_typed(tmp_path):
    path = write(tmp_path, "id,latency_ms\na,1\n")
    with pytest.raises(IngestError) as caught:
        read([path], directory=tmp_path / "s", key=KEY, limits=Limits(wall_seconds=0))
    assert caught.value.code == "ingest.timeout"
    with pytest.raises(IngestError) as caught:
        read([path], directory=tmp_path / "s", key=KEY, limits=Limits(memory_bytes=64 * 1024 * 1024))
    assert caught.value.code in {"ingest.out_of_memory", "ingest.crashed", "ingest.unreadable"}


def test_a_callback_that_raises_ends_the_child(tmp_path):
    path = write(tmp_path, "id,latency_ms\na,1\n")

    def stop(fraction: float, text: str) -> None:
        raise RuntimeError("stopped by the person")

    with pytest.raises(RuntimeError, match="stopped"):
        read([path], directory=tmp_path / "s", key=KEY, progress=stop)


def test_it_works_from_a_thread(tmp_path):
    path = write(tmp_path, "id,latency_ms\na,1\n")
    found: list[int] = []
    thread = threading.Thread(
        target=lambda: found.append(read([path], directory=tmp_path / "s", key=KEY).receipt.requests)
    )
    thread.start()
    thread.join()
    assert found == [1]


def test_errors_cross_the_process_whole(tmp_path):
    path = write(tmp_path, "id,latency_ms\na,1\n")
    mapping = Mapping((ColumnMapping("nope", "total_us", "ms"),))
    with pytest.raises(MappingError, match="nope") as caught:
        read([path], directory=tmp_path / "s", key=KEY, mapping=mapping)
    assert caught.value.code == "mapping.no_column"
    with pytest.raises(IngestError) as missing:
        read([tmp_path / "absent.csv"], directory=tmp_path / "s", key=KEY)
    assert missing.value.code == "ingest.not_found"


def test_preview_shows_what_a_load_would_do(tmp_path):
    path = write(tmp_path, "id,latency,who,user_id\na,120,mail bob@example.com,u1\nb,90,x,u2\n")
    found = preview(path)
    by_name = {c.source: c for c in found.columns}
    assert (found.format, found.rows) == ("table", 2)
    assert (by_name["latency"].field, by_name["latency"].unit, by_name["latency"].how) == ("total_us", "ms", "guessed")
    assert by_name["latency"].samples == ("120", "90")
    assert "bob@example.com" not in str(found)
    assert "u1" not in by_name["user_id"].samples
    changed = found.mapping.replace("latency", field="total_us", unit="s")
    assert {c.source: c.unit for c in preview(path, changed).columns}["latency"] == "s"
