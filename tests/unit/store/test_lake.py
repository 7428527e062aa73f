"""The lake: exact counts, nothing twice, nothing half, versions that never change."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kpi import schema
from kpi.errors import StoreError
from kpi.receipts import Receipt
from kpi.store import delta, lake, manifest, merge

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
Rows = list[dict]


def put(directory: Path, *, parts: int = 1, **tables: Rows) -> Path:
    """Write rows as a stage, each table in `parts` files."""
    for name, rows in tables.items():
        (directory / name).mkdir(parents=True, exist_ok=True)
        extra = {key for row in rows for key in row if key.startswith("x_")}
        wanted = schema.TABLES[name].arrow_schema(extra)
        for i in range(parts):
            part = [{f.name: row.get(f.name) for f in wanted} for row in rows[i::parts]]
            pq.write_table(pa.Table.from_pylist(part, schema=wanted), directory / name / f"{i}.parquet")
    return directory


def request(i: int, **values: object) -> dict:
    at = START + dt.timedelta(hours=i)
    return {"trace_id": f"t{i:05}", "started_at": at, "day": at.date(), "model": "m", **values}


def trace(i: int) -> Rows:
    at = START + dt.timedelta(minutes=i)
    root = {"trace_id": f"s{i:04}", "span_id": "0", "name": "chat", "kind": "chain", "started_at": at}
    call = {**root, "span_id": "1", "parent_id": "0", "kind": "llm", "model": "m", "input_tokens": 10 + i}
    return [{**root, "duration_us": 2_000_000, "status": "ok"}, {**call, "duration_us": 900_000, "status": "ok"}]


def rows(dataset: str, table: str, version: int | None = None) -> Rows:
    """All stored rows, by key: what a reader of that version sees."""
    found = lake.read_version(dataset, version)
    if not found.files.get(table):
        return []
    shape = schema.TABLES[table]
    names = ", ".join(f'"{c}"' for c in (*shape.names, *found.extra[table]))
    order = ", ".join(shape.key)
    connection = duckdb.connect()
    connection.execute("SET TimeZone='UTC'")
    return connection.sql(
        f"SELECT {names} FROM {merge.scan(found.files[table], shape)} ORDER BY {order}"
    ).to_arrow_table().to_pylist()  # fmt: skip


def load(tmp_path: Path, dataset: str = "d", *, parts: int = 1, **tables: Rows) -> Receipt:
    place = tmp_path / f"stage-{time.monotonic_ns()}"
    return lake.commit(dataset, put(place, parts=parts, **tables), Receipt())


@pytest.fixture(autouse=True)
def _state(home: Path) -> None:
    """Every test has its own state folder."""


def test_counts_are_exact(tmp_path: Path) -> None:
    first = load(tmp_path, requests=[request(i) for i in range(100)] + [{"trace_id": "timeless"}])
    assert (first.version, first.loaded, first.repeated, first.requests) == (1, 101, 0, 101)
    again = load(tmp_path, requests=[request(i) for i in range(90, 110)])
    assert (again.version, again.loaded, again.repeated, again.requests) == (2, 10, 10, 20)
    corrected = load(tmp_path, requests=[request(5, success=True), request(6), request(6)])
    assert (corrected.version, corrected.loaded, corrected.repeated) == (3, 1, 2)
    stored = {row["trace_id"]: row for row in rows("d", "requests")}
    assert len(stored) == 111
    assert stored["t00005"]["success"] is True
    assert stored["timeless"]["day"] is None
    assert stored["t00030"]["day"] == dt.date(2026, 1, 2)


def test_the_receipt_tells_of_the_load_alone(tmp_path: Path) -> None:
    load(tmp_path, requests=[request(0, success=True, priced=False)])
    receipt = load(tmp_path, requests=[request(5, priced=False), request(9, priced=True)])
    assert receipt.first == int(START.timestamp() + 5 * 3600) * 1_000_000
    assert receipt.last == int(START.timestamp() + 9 * 3600) * 1_000_000
    assert receipt.unpriced == 1
    assert "success" in receipt.missing
    assert "model" not in receipt.missing
    assert lake.read_version("d").receipt == receipt


def test_a_load_that_changes_nothing_makes_no_version(tmp_path: Path) -> None:
    given = {"spans": trace(1) + trace(2), "requests": [request(1)]}
    load(tmp_path, **given)
    again = load(tmp_path, **given)
    assert (again.version, again.loaded, again.repeated) == (1, 0, 4)
    assert [v.number for v in lake.versions("d")] == [1]


def test_late_and_partial_spans_complete_their_trace(tmp_path: Path) -> None:
    root, call = trace(7)
    load(tmp_path, spans=[root])
    assert rows("d", "requests")[0]["input_tokens"] is None
    receipt = load(tmp_path, spans=[call, {"trace_id": "s0007", "span_id": "0", "input_text": "hello"}])
    assert (receipt.loaded, receipt.repeated, receipt.requests) == (2, 0, 1)
    (stored,) = rows("d", "requests")
    assert stored["input_tokens"] == 17
    assert stored["llm_calls"] == 1
    span = rows("d", "spans")[0]
    assert (span["input_text"], span["duration_us"], span["name"]) == ("hello", 2_000_000, "chat")


def test_partial_rows_in_one_load_are_merged_in_any_order(tmp_path: Path) -> None:
    text = {"trace_id": "s0001", "span_id": "1", "output_text": "bye"}
    for dataset, given in (("a", [*trace(1), text]), ("b", [text, *reversed(trace(1))])):
        load(tmp_path, dataset, spans=given)
    assert rows("a", "spans") == rows("b", "spans")
    assert rows("a", "requests") == rows("b", "requests")
    assert rows("a", "spans")[1]["output_text"] == "bye"


def test_facts_of_partial_spans_are_united_whoever_comes_first(tmp_path: Path) -> None:
    root = trace(1)[0]
    whole = {**root, "attributes": '{"b":1}', "context": '{"language":"en","x_a":"1"}', "output_text": "Hello!"}
    begun = {
        **root, "duration_us": None, "status": "running", "output_text": "Hel", "input_text": "Hi",
        "attributes": '{"a":2}', "context": '{"region":"eu"}',
    }  # fmt: skip
    told = {"trace_id": "s0001", "span_id": "0", "context": '{"plan":"pro"}', "error_type": None}
    for i, order in enumerate(itertools.permutations([whole, begun, told])):
        for span in order:
            load(tmp_path, f"apart{i}", spans=[span])
        load(tmp_path, f"at-once{i}", spans=list(order))
    (first,) = rows("apart0", "spans")
    assert (first["status"], first["output_text"], first["input_text"]) == ("ok", "Hello!", "Hi")
    assert first["attributes"] == '{"a":2,"b":1}'
    assert json.loads(first["context"]) == {"language": "en", "x_a": "1", "region": "eu", "plan": "pro"}
    for i in range(6):
        for name in (f"apart{i}", f"at-once{i}"):
            assert rows(name, "spans") == [first]
            assert rows(name, "requests") == rows("apart0", "requests")
    assert rows("apart0", "requests")[0]["region"] == "eu"


def test_later_values_win_where_versions_of_a_span_differ(tmp_path: Path) -> None:
    span = trace(1)[0]
    load(tmp_path, spans=[{**span, "context": '{"language":"en","plan":"pro"}'}])
    load(tmp_path, spans=[{**span, "name": "renamed", "context": '{"language":"es"}'}])
    (stored,) = rows("d", "spans")
    assert (stored["name"], stored["context"]) == ("renamed", '{"language":"es","plan":"pro"}')


def test_requests_that_come_with_all_of_their_spans_are_taken_as_they_are(tmp_path: Path) -> None:
    made = {"trace_id": "s0001", "started_at": START, "day": START.date(), "model": "assembled elsewhere"}
    load(tmp_path, spans=trace(1) + trace(2), requests=[made])
    stored = {r["trace_id"]: r for r in rows("d", "requests")}
    assert stored["s0001"]["model"] == "assembled elsewhere"
    assert stored["s0002"]["model"] == "m"
    load(tmp_path, spans=[{**trace(1)[1], "span_id": "2"}])
    assert {r["trace_id"]: r["llm_calls"] for r in rows("d", "requests")} == {"s0001": 2, "s0002": 1}
    load(tmp_path, "late", spans=trace(1)[:1])
    load(tmp_path, "late", spans=trace(1), requests=[made])
    assert [r["model"] for r in rows("late", "requests")] == ["m"], "a trace that was known is assembled"


def test_a_history_is_listed_from_one_reading_of_each_manifest(tmp_path: Path, monkeypatch) -> None:
    load(tmp_path, requests=[request(1)])
    first = manifest.read("d")
    drops = [{"row": i, "reason": "no time", "hint": "", "file": "f"} for i in range(1_000)]
    for number in range(2, 21):
        manifest.write(dataclasses.replace(first, number=number, receipt={**first.receipt, "drops": drops}))
    read: list[Path] = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or whole(path))
    monkeypatch.setattr(delta, "DeltaTable", None)  # a listing that opens a table fails
    for call, wanted in ((lambda: lake.versions("d"), range(1, 21)), (lake.datasets, [20])):
        read.clear()
        call()
        assert sorted(p.name for p in read if p.name != manifest.NEWEST) == [f"{n:08}.json" for n in wanted]
    assert [v.number for v in lake.versions("d")] == list(range(20, 0, -1))


def test_late_scores_change_the_request_of_their_trace(tmp_path: Path) -> None:
    load(tmp_path, spans=trace(1) + trace(2))
    before = {r["trace_id"]: r["success"] for r in rows("d", "requests")}
    score = {"score_id": "1", "trace_id": "s0001", "name": "success", "value": 0.0, "source": "human"}
    assert load(tmp_path, scores=[score]).loaded == 1
    after = {r["trace_id"]: r["success"] for r in rows("d", "requests")}
    assert after["s0001"] is False
    assert after["s0002"] == before["s0002"]


def test_scores_of_requests_without_spans_are_kept_and_said(tmp_path: Path) -> None:
    load(tmp_path, requests=[request(1)])
    score = {"score_id": "1", "trace_id": "t00001", "name": "success", "value": 0.0, "source": "human"}
    receipt = load(tmp_path, scores=[score])
    assert receipt.loaded == 1
    assert any("without spans" in note for note in receipt.notes)
    assert rows("d", "requests")[0]["success"] is None


def test_twice_shuffled_and_split_in_ten_are_the_same(tmp_path: Path) -> None:
    spans = [span for i in range(60) for span in trace(i)]
    documents = [{"trace_id": f"s{i:04}", "span_id": "1", "rank": r, "score": r / 7} for i in range(60) for r in (1, 2)]
    load(tmp_path, "once", spans=spans, documents=documents)
    dice = random.Random(3)
    for name in ("twice", "shuffled"):
        for _ in range(2):
            if name == "shuffled":
                dice.shuffle(spans), dice.shuffle(documents)
            load(tmp_path, name, parts=3, spans=spans, documents=documents)
    dice.shuffle(spans)
    for i in range(10):
        load(tmp_path, "ten", spans=spans[i::10], documents=documents[i::10])
    for table in ("requests", "spans", "documents"):
        expected = rows("once", table)
        assert expected
        for name in ("twice", "shuffled", "ten"):
            assert rows(name, table) == expected, (name, table)


def test_new_cohort_columns_are_null_in_older_rows_and_survive(tmp_path: Path) -> None:
    load(tmp_path, requests=[request(1)])
    load(tmp_path, requests=[request(2, x_team="blue")])
    load(tmp_path, requests=[request(1, success=True), request(2, success=True)])
    assert [(r["x_team"], r["success"]) for r in rows("d", "requests")] == [(None, True), ("blue", True)]
    assert lake.read_version("d", 1).extra["requests"] == ()
    assert lake.read_version("d").extra["requests"] == ("x_team",)


def test_versions_never_change_and_can_be_restored(tmp_path: Path) -> None:
    load(tmp_path, requests=[request(1)])
    first = lake.read_version("d")
    before = rows("d", "requests")
    load(tmp_path, requests=[request(1, success=True)], spans=trace(1))
    assert rows("d", "requests", 1) == before
    assert lake.read_version("d", 1) == first
    assert lake.read_version("d").fingerprint != first.fingerprint
    info = lake.restore("d", 1)
    assert (info.number, info.origin) == (3, 1)
    assert rows("d", "requests") == before
    assert rows("d", "spans") == []
    again = load(tmp_path, spans=trace(2))
    assert again.version == 4
    assert {r["trace_id"] for r in rows("d", "spans")} == {"s0002"}
    assert {r["trace_id"] for r in rows("d", "spans", 2)} == {"s0001"}, "an older version lost its spans"


def test_small_files_are_compacted_and_older_versions_keep_theirs(tmp_path: Path) -> None:
    for i in range(20):
        load(tmp_path, spans=trace(i))
    assert len(lake.read_version("d").files["spans"]) < 13
    assert len(rows("d", "spans")) == 40
    for number in (1, 2, 11, 12, 13, 19):
        assert len(rows("d", "spans", number)) == 2 * number
    assert lake.sweep("d") == 0


@pytest.mark.parametrize("name", ["../x", "", "a/b", "A", "x.y", "..", "a" * 65, "-a", "a\n", "con\0"])
def test_names_are_slugs_and_never_paths(name: str, home: Path, tmp_path: Path) -> None:
    for call in (lake.read_version, lake.versions, lake.delete, lambda n: lake.commit(n, tmp_path, Receipt())):
        with pytest.raises(StoreError) as caught:
            call(name)
        assert caught.value.code == "store.name"
    assert not (tmp_path / "x").exists()


def test_unknown_data_sets_and_versions_are_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no data set"):
        lake.read_version("d")
    load(tmp_path, requests=[request(1)])
    with pytest.raises(StoreError, match="no version 9"):
        lake.read_version("d", 9)
    lake.delete("d")
    assert lake.datasets() == []
    assert load(tmp_path, requests=[request(1)]).version == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b"\x00" * 50, None])
def test_a_damaged_manifest_names_the_remedy(tmp_path: Path, damage: bytes | None) -> None:
    load(tmp_path, requests=[request(1)])
    load(tmp_path, requests=[request(2)])
    path = manifest.folder("d") / "versions" / "00000002.json"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"version": 0', b'"version": 1') if damage is None else damage)
    if damage is None:
        path.write_bytes(content.replace(b'"rows"', b'"rowz"'))
    for call in (lambda: lake.read_version("d"), lambda: load(tmp_path, requests=[request(3)])):
        with pytest.raises(StoreError) as caught:
            call()
        assert caught.value.code == "store.damaged"
        assert "restore" in caught.value.hint.lower()
    assert len(rows("d", "requests", 1)) == 1
    assert [d.damaged for d in lake.datasets()] == [True]
    assert lake.restore("d", 1).number == 3
    assert load(tmp_path, requests=[request(3)]).version == 4
    assert [r["trace_id"] for r in rows("d", "requests")] == ["t00001", "t00003"]


def test_a_manifest_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    load(tmp_path, requests=[request(1)])
    path = manifest.folder("d") / "versions" / "00000001.json"
    path.write_bytes(path.read_bytes().replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(StoreError) as caught:
        lake.read_version("d")
    assert caught.value.code == "store.newer"


def test_readers_see_the_old_version_during_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(tmp_path, requests=[request(1)])
    seen: list[tuple[int, int]] = []
    publish = manifest.write

    def watch(new: manifest.Manifest) -> None:
        seen.append((lake.read_version("d").number, len(rows("d", "requests"))))
        publish(new)

    monkeypatch.setattr(manifest, "write", watch)
    load(tmp_path, requests=[request(1, success=True), request(2)])
    assert seen == [(1, 1)]
    assert len(rows("d", "requests")) == 2


@pytest.mark.parametrize("fail_at", range(4))
def test_an_error_on_the_way_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int) -> None:
    load(tmp_path, spans=trace(1))
    before = (rows("d", "spans"), rows("d", "requests"), lake.read_version("d"))
    given = {"spans": [{**trace(1)[0], "name": "other"}, *trace(2)], "scores": [{"score_id": "1", "trace_id": "s0001"}]}
    calls = iter(range(100))
    append, remove = delta.append, delta.remove

    def failing(real):
        def call(*args):
            if next(calls) == fail_at:
                raise StoreError("store.write", "disk full")
            return real(*args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(delta, "append", failing(append))
        patch.setattr(delta, "remove", failing(remove))
        with pytest.raises(StoreError, match="disk full"):
            load(tmp_path, **given)
    assert (rows("d", "spans"), rows("d", "requests"), lake.read_version("d")) == before
    load(tmp_path, **given)
    load(tmp_path, "clean", spans=trace(1))
    load(tmp_path, "clean", **given)
    for table in ("spans", "requests", "scores"):
        assert rows("d", table) == rows("clean", table)


_CHILD = """
import sys
from pathlib import Path
from kpi.receipts import Receipt
from kpi.store import lake
print("ready", flush=True)
sys.stdin.readline()
receipt = lake.commit(sys.argv[1], Path(sys.argv[2]), Receipt())
print(receipt.version, receipt.loaded, flush=True)
"""


def child(dataset: str, stage: Path) -> subprocess.Popen[str]:
    """A process that commits a stage once it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD, dataset, str(stage)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


_MOTHER = """
import os, sys
from pathlib import Path
from kpi.receipts import Receipt
from kpi.store import lake
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        lake.commit(sys.argv[1], Path(sys.argv[2]), Receipt())
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


class Mother:
    """A process that has imported everything and forks one that commits the stage, whenever it is told to."""

    def __init__(self, dataset: str, stage: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MOTHER, dataset, str(stage)], cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def commit(self, kill_after: float) -> None:
        """Start a commit, kill it with -9 after so many seconds, and wait until it is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        time.sleep(kill_after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._process.stdout.readline()

    def close(self) -> None:
        self._process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is a POSIX signal")
def test_kill_at_any_moment_leaves_the_version_before(tmp_path: Path) -> None:
    """25 kills at random moments, each on top of what the one before left. The moments follow the machine: earlier
    after a kill that came too late, later after one that came in time."""
    base = [span for i in range(200) for span in trace(i)]
    more = [{**span, "name": "changed"} for i in range(0, 200, 3) for span in trace(i)]
    more += [span for i in range(200, 400) for span in trace(i)]
    stage = put(tmp_path / "more", spans=more, requests=[request(i) for i in range(100)])
    for dataset in ("killed", "clean"):
        load(tmp_path, dataset, spans=base)
    before = {table: rows("killed", table) for table in ("spans", "requests")}
    begin = time.monotonic()
    lake.commit("clean", stage, Receipt())
    span = time.monotonic() - begin
    after = {table: rows("clean", table) for table in before}
    dice = random.Random(11)
    interrupted = 0
    mother = Mother("killed", stage)
    for _ in range(25):
        mother.commit(kill_after=dice.uniform(0, span))
        number = lake.read_version("killed").number
        expected = before if number == 1 else after
        interrupted += number == 1
        span *= 1.2 if number == 1 else 0.8
        assert {table: rows("killed", table) for table in before} == expected
        if number > 1:
            lake.restore("killed", 1)  # and on from the state before
            lake.delete("killed")
            load(tmp_path, "killed", spans=base)
    mother.close()
    assert interrupted >= 5, "the kills came too late to test anything"
    if lake.read_version("killed").number == 1:
        lake.commit("killed", stage, Receipt())
    assert {table: rows("killed", table) for table in before} == after
    left = [p for p in manifest.folder("killed").iterdir() if p.name.startswith(".")]
    assert left == []
    lake.sweep("killed")
    assert {table: rows("killed", table) for table in before} == after


@pytest.mark.slow
def test_two_writers_at_once_serialise(tmp_path: Path) -> None:
    stages = [put(tmp_path / f"w{k}", spans=[s for i in range(k, 40, 2) for s in trace(i)]) for k in range(2)]
    both = [child("d", stage) for stage in stages]
    for process in both:
        go(process)
    told = sorted(process.communicate(timeout=600)[0].split() for process in both)
    assert [t[0] for t in told] == ["1", "2"]
    assert len(rows("d", "spans")) == 80
    assert len(rows("d", "requests")) == 40


def test_a_busy_data_set_is_said(tmp_path: Path) -> None:
    with manifest.writer("d"), pytest.raises(StoreError) as caught, manifest.writer("d", seconds=0.05):
        pass
    assert caught.value.code == "store.busy"


def test_trace_look_up_is_pruned_by_sorting(tmp_path: Path) -> None:
    """Spans are stored sorted by trace, so that the statistics of a row group rule out nearly all others."""
    load(tmp_path, spans=[s for i in random.Random(1).sample(range(2_000), 2_000) for s in trace(i)])
    (path,) = lake.read_version("d").files["spans"]
    ids = pq.read_table(path, columns=["trace_id"])["trace_id"].to_pylist()
    assert ids == sorted(ids)
