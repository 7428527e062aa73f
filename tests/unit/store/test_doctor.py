"""Damaged data: found before it is read, named by the doctor, and rebuilt beside what is damaged."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

import kpi
from kpi import cli
from kpi.errors import StoreError
from kpi.store import contents, lake, manifest, repair
from kpi.store.cache import build_cache, cache_path
from tests.unit.store.lakes import flip, ids, load, requests, spans, three_versions, tree

pytestmark = pytest.mark.slow

Damage = Callable[[Path], object]


@pytest.fixture(autouse=True)
def _state(home: Path) -> None:
    """Every test has its own state folder."""


def data_file(place: Path, table: str = "requests", version: int = 3) -> Path:
    """A data file that only this version and later ones name."""
    listed = [set(lake.read_version("d", n).files.get(table, [])) for n in (version - 1, version)]
    return sorted(listed[1] - listed[0])[0]


def put(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


SPOILT: dict[str, Damage] = {
    "one bit": flip,
    "many bits": lambda p: flip(p, *range(4, p.stat().st_size - 8, 97)),
    "footer": lambda p: flip(p, p.stat().st_size - 20),
    "cut short": lambda p: p.write_bytes(p.read_bytes()[:-40]),
    "emptied": lambda p: p.write_bytes(b""),
    "zeroed": lambda p: p.write_bytes(bytes(p.stat().st_size)),
    "other rows": lambda p: pq.write_table(pq.read_table(p, partitioning=None).slice(1), p),
    "lost": lambda p: p.unlink(),
    "a folder": lambda p: put(p, Path.mkdir),
    "a dangling link": lambda p: put(p, lambda q: q.symlink_to("nowhere")),
}


@pytest.mark.parametrize("table", ["requests", "spans"])
@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_files_are_refused_by_readers_loads_and_restores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, table: str
) -> None:
    place = three_versions(tmp_path)
    path = data_file(place, table)
    SPOILT[name](path)
    before = tree(place)
    for call in (
        lambda: ids(table=table),
        lambda: load(tmp_path, requests=requests(90), spans=spans(90)),
        lambda: kpi.restore("d", 3),
    ):
        with pytest.raises(StoreError) as caught:
            call()
        assert caught.value.code == "store.files"
        assert "kpi doctor d" in caught.value.hint
        assert str(place) not in str(caught.value)
        assert tree(place) == before
    if table == "requests":
        assert cli.main(["summarise", "task_success", "--dataset", "d"]) == 3
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert str(tmp_path) not in said.err + said.out
    found = kpi.doctor("d")
    assert (found.healthy, found.readable) == (False, 2)
    (health,) = [t for t in found.versions[0].tables if t.name == table]
    assert path.name in health.flaws[0]
    assert [v.readable for v in found.versions] == [False, True, True]
    assert kpi.restore("d", 2).number == 4
    assert (len(ids()), len(ids(table="spans"))) == (46, 6)


def test_damage_that_readers_would_not_notice_is_noticed(tmp_path: Path) -> None:
    """Another number in a valid file: exactly what no engine can tell."""
    place = three_versions(tmp_path)
    path = data_file(place)
    rows = pq.read_table(path, partitioning=None)
    told = rows.set_column(
        rows.column_names.index("success"), "success", pq.read_table(path, partitioning=None)["success"].is_null()
    )
    pq.write_table(told, path)
    with pytest.raises(StoreError, match="damaged"):
        kpi.open("d")
    assert len(ids(2)) == 46


def test_a_file_that_is_spoilt_while_a_source_is_open_is_said(tmp_path: Path) -> None:
    place = three_versions(tmp_path)
    source = kpi.open("d")
    for path in list((place / "requests").rglob("*.parquet")):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StoreError) as caught:
        kpi.summarise(source, ["task_success"], kpi.Slice(last=None))
    assert str(place) not in str(caught.value)


def test_tables_are_compared_when_they_are_first_asked_for(tmp_path: Path) -> None:
    place = three_versions(tmp_path)
    flip(data_file(place, "spans"))
    source = kpi.open("d")
    kpi.summarise(source, ["task_success"], kpi.Slice(last=None))
    with pytest.raises(StoreError) as caught:
        source.table("spans")
    assert caught.value.code == "store.files"


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one")
    os.utime(path, ns=(1, 1))
    monkeypatch.setattr(contents, "_SETTLED_NS", -1)
    first = contents.checksum(path)
    reads: list[object] = []
    monkeypatch.setattr(contents.zlib, "crc32", lambda *given: reads.append(given) or 7)
    assert contents.checksum(path) == first
    assert reads == []
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))  # its times and size are as before, but not the time of its entry
    assert contents.checksum(path) == 7


@pytest.mark.parametrize("spoil", [flip, lambda p: p.write_bytes(p.read_bytes()[:5000]), lambda p: put(p, Path.mkdir),
                                   lambda p: p.write_bytes(b"")])  # fmt: skip
def test_a_spoilt_cache_is_passed_over(tmp_path: Path, spoil: Damage) -> None:
    place = three_versions(tmp_path)
    found = lake.read_version("d")
    cache = cache_path(place, found.fingerprint)
    plain = ids()
    assert build_cache(cache, found.files["requests"])
    spoil(cache)
    assert ids() == plain


def test_a_cache_that_fails_under_a_query_gives_way_to_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = three_versions(tmp_path)
    found = lake.read_version("d")
    cache = cache_path(place, found.fingerprint)
    assert build_cache(cache, found.files["requests"])
    source = kpi.open("d")
    cursor = source._connection.cursor  # what DuckDB says of a block whose checksum does not match

    class Failing:
        def __init__(self) -> None:
            self._real = cursor()

        def sql(self, *given, **named):
            if source._cache is not None:
                raise duckdb.IOException("Corrupt database file")
            return self._real.sql(*given, **named)

        def close(self) -> None:
            self._real.close()

    class Connection:
        def __init__(self, real) -> None:
            self._real = real

        def cursor(self):
            return Failing()

        def __getattr__(self, name: str):
            return getattr(self._real, name)

    monkeypatch.setattr(source, "_connection", Connection(source._connection))
    rows = source.run(source.table("requests").select())
    assert sorted(rows["trace_id"].to_pylist()) == ids()
    assert not cache.exists()


# -- the doctor -----------------------------------------------------------------------------------------------------


def test_a_healthy_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = three_versions(tmp_path)
    before = tree(place)
    assert cli.main(["doctor", "d"]) == 0
    assert "every version can be read" in capsys.readouterr().out
    assert cli.main(["doctor", "d", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["schema", "dataset", "healthy", "readable", "problems", "notes", "versions"]
    assert (told["healthy"], told["readable"], told["problems"], told["notes"]) == (True, 3, [], [])
    assert list(told["versions"][0]) == ["number", "readable", "created_at", "requests", "problem", "tables"]
    assert list(told["versions"][0]["tables"][0]) == ["name", "rows", "files", "flaws", "unproven"]
    assert cli.main(["doctor", "d", "--repair", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] is None
    assert tree(place) == before
    assert cli.main(["doctor", "nothing"]) == 3
    assert cli.main(["doctor", "../d"]) == 3


def test_everything_that_is_wrong_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = three_versions(tmp_path)
    (place / "requests" / "notes.txt").write_text("mine")
    (place / "versions/00000002.json").write_bytes(b"{")
    flip(data_file_of_first(place))
    assert cli.main(["doctor", "d"]) == 1
    said = capsys.readouterr().out
    assert "requests/notes.txt is no file of the index" in said
    assert "manifest of version 2" in said
    assert "has changed since it was written" in said
    assert str(tmp_path) not in said
    assert cli.main(["doctor", "d", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["readable"], [v["readable"] for v in told["versions"]]) == (None, [False, False, False])


def data_file_of_first(place: Path) -> Path:
    return sorted(lake.read_version("d", 1).files["requests"])[0]


def test_versions_without_checksums_are_decoded(tmp_path: Path) -> None:
    place = three_versions(tmp_path)
    for path in (place / "versions").glob("*.json"):
        data = json.loads(path.read_text())
        for table in data["tables"].values():
            del table["files"]
        del data["check"]
        path.write_text(json.dumps(data))
    found = kpi.doctor("d")
    assert found.healthy
    assert sum(t.unproven for t in found.versions[0].tables) > 3
    path = data_file(place)
    path.write_bytes(path.read_bytes()[:-9])
    assert [v.readable for v in kpi.doctor("d").versions] == [False, True, True]
    for call in (lambda: ids(), lambda: kpi.restore("d", 3)):
        with pytest.raises(StoreError) as caught:
            call()
        assert caught.value.code == "store.files"


# -- repair ---------------------------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[Damage, int | None, int]] = {
    "a data file": (lambda p: flip(data_file(p)), 2, 46),
    "the log": (lambda p: shutil.rmtree(p / "requests/_delta_log"), 3, 68),
    "the newest manifest": (lambda p: (p / "versions/00000003.json").write_bytes(b""), 2, 46),
    "the newest manifest is lost": (lambda p: (p / "versions/00000003.json").unlink(), 2, 46),
    "all manifests": (lambda p: shutil.rmtree(p / "versions"), None, 68),
    "a foreign file": (lambda p: (p / "spans/mine.txt").write_text("mine"), 3, 68),
    "the record of a load": (lambda p: (p / ".transaction.json").write_text("{"), 3, 68),
}


@pytest.mark.parametrize("name", BROKEN)
def test_repair_rebuilds_beside_and_keeps_everything(tmp_path: Path, name: str) -> None:
    place = three_versions(tmp_path)
    (place / "mapping.json").write_text("{}")
    damage, source, count = BROKEN[name]
    damage(place)
    before = tree(place)
    done = kpi.repair("d")
    assert (done.source, done.version, done.requests) == (source, 4, count)
    assert tree(place.parent / done.kept) == before, "the old folder is kept as it was"
    assert str(tmp_path) not in done.sentence
    assert len(ids()) == count
    assert (place / "mapping.json").read_text() == "{}"
    assert kpi.doctor("d").healthy
    assert [v.number for v in kpi.versions("d")] == [4], "no link to an older version leads to other rows"
    assert load(tmp_path, requests=requests(95)).version == 5
    assert len(ids()) == count + 1
    assert [d.name for d in kpi.datasets()] == ["d"]
    assert not kpi.repair("d").kept


def test_repair_of_a_load_that_did_not_end_takes_the_rows_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = three_versions(tmp_path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kpi.store.delta.describe", stop)
        with pytest.raises(KeyboardInterrupt):
            load(tmp_path, requests=requests(70))
    shutil.rmtree(place / "versions")
    done = kpi.repair("d")
    assert (done.source, len(ids())) == (None, 68)


def test_beyond_repair_nothing_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = three_versions(tmp_path)
    flip(data_file_of_first(place))
    before = tree(place.parent)
    assert cli.main(["doctor", "d", "--repair"]) == 3
    assert "No version of 'd' can be read whole" in capsys.readouterr().err
    assert tree(place.parent) == before


@pytest.mark.parametrize("fail_at", range(3))
def test_a_repair_that_fails_leaves_the_data_set_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    place = three_versions(tmp_path)
    flip(data_file(place))
    before = tree(place)
    calls = iter(range(10))
    rename = os.rename

    def failing(*given) -> None:
        if next(calls) == fail_at - 1:
            raise OSError(28, "No space left on device")
        rename(*given)

    with monkeypatch.context() as patch:
        patch.setattr(repair.os, "rename", failing)
        if not fail_at:
            patch.setattr(repair.recovery, "whole", lambda *_: (_ for _ in ()).throw(StoreError("store.files", "bad")))
        with pytest.raises(StoreError):
            kpi.repair("d")
    assert tree(place) == before
    assert [p.name for p in place.parent.iterdir()] == ["d"]
    assert len(ids(2)) == 46


def test_a_repair_that_was_killed_between_is_said(tmp_path: Path) -> None:
    place = three_versions(tmp_path)
    place.rename(place.with_name("d.before-repair-20261130T000000Z"))
    with pytest.raises(StoreError) as caught:
        kpi.doctor("d")
    assert "d.before-repair-20261130T000000Z" in str(caught.value)


# -- manifests ------------------------------------------------------------------------------------------------------


def test_no_bit_of_a_manifest_can_change_unnoticed(tmp_path: Path) -> None:
    place = three_versions(tmp_path)
    path = place / "versions/00000003.json"
    content, told = path.read_bytes(), json.loads(path.read_bytes())
    for i in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[i] ^= 1 << i % 8
        path.write_bytes(bytes(flipped))
        with contextlib.suppress(ValueError):
            if json.loads(bytes(flipped)) == told:
                continue  # white space
        with pytest.raises(StoreError):
            manifest.read("d", 3)


def test_a_changed_mapping_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,timestamp,ms\nr1,2026-11-01T10:00:00Z,1200\nr2,2026-11-01T11:00:00Z,900\n")
    mapping = kpi.Mapping.from_dict({
        "columns": {"id": {"field": "trace_id"}, "timestamp": {"field": "started_at"},
                    "ms": {"field": "total_us", "unit": "ms"}},
    })  # fmt: skip
    kpi.load(path, dataset="m", mapping=mapping)
    kept = manifest.folder("m") / "mapping.json"
    kept.write_text(kept.read_text().replace('"ms"', '"s"', 2).replace('"source": "s"', '"source": "ms"'))
    assert '"unit": "s"' in kept.read_text()
    with pytest.raises(kpi.errors.MappingError) as caught:
        kpi.load(path, dataset="m")
    assert "--mapping" in caught.value.hint
    assert kpi.load(path, dataset="m", mapping=mapping).version == 1
    assert kpi.load(path, dataset="m").version == 1, "a mapping that is given replaces the one that was changed"


def test_an_open_source_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are verified when a table is first asked for, which may be after another state folder was chosen."""
    three_versions(tmp_path)
    source = kpi.open("d")
    monkeypatch.setenv("KPI_HOME", str(tmp_path / "elsewhere"))
    assert source.run(source.table("spans").select()).num_rows == 8
