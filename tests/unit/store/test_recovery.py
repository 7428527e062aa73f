"""Recovery takes back only what a record proves; whatever it does not understand is refused with nothing changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

import kpi
from kpi.errors import StoreError
from kpi.store import contents, delta, lake, manifest, record, recovery, trash
from tests.unit.store.lakes import flip, ids, load, requests, spans, three_versions, tree

pytestmark = pytest.mark.slow

NEWER = json.dumps({"protocol": {"minReaderVersion": 99, "minWriterVersion": 99}}) + "\n"
Damage = Callable[[Path], object]


@pytest.fixture(autouse=True)
def _state(home: Path) -> None:
    """Every test has its own state folder."""


def newest_commit(place: Path, table: str = "requests") -> Path:
    return sorted((place / table / "_delta_log").glob("*.json"))[-1]


def next_commit(place: Path, table: str = "requests") -> Path:
    last = newest_commit(place, table)
    return last.with_name(f"{int(last.stem) + 1:020}.json")


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def covered(path: Path) -> None:
    """A folder in place of a commit that a checkpoint covers: readers of the log do not notice."""
    DeltaTable(str(path.parent.parent)).create_checkpoint()
    path.unlink()
    path.mkdir()


def forget(place: Path) -> None:
    """The newest manifest and its witness are gone, as after a partial restore of a backup."""
    (place / "versions" / "00000003.json").unlink()
    (place / "newest.json").unlink()


NOT_UNDERSTOOD: dict[str, tuple[Damage, str]] = {
    "torn log": (lambda p: tear(newest_commit(p)), "store.table"),
    "emptied log": (lambda p: newest_commit(p).write_bytes(b""), "store.table"),
    "log with a hole": (lambda p: (p / "requests/_delta_log" / f"{0:020}.json").unlink(), "store.table"),
    "a folder for a commit": (lambda p: covered(newest_commit(p)), "store.table"),
    "newest commit lost": (lambda p: newest_commit(p).unlink(), "store.table"),
    "torn log of another table": (lambda p: tear(newest_commit(p, "spans")), "store.table"),
    "log folder lost": (lambda p: shutil.rmtree(p / "requests/_delta_log"), "store.table"),
    "newer protocol": (lambda p: next_commit(p).write_text(NEWER), "store.newer"),
    "commit of nobody": (lambda p: next_commit(p).write_text(""), "store.lost"),
    "versions lost": (lambda p: shutil.rmtree(p / "versions"), "store.lost"),
    "versions and witness lost": (lambda p: (forget(p), shutil.rmtree(p / "versions")), "store.lost"),
    "newest manifest lost": (lambda p: (p / "versions/00000003.json").unlink(), "store.lost"),
    "newest manifest and witness lost": (forget, "store.lost"),
    "a manifest between lost": (lambda p: (p / "versions/00000002.json").unlink(), "store.lost"),
    "lists of files lost": (lambda p: shutil.rmtree(p / "versions/files"), "store.damaged"),
    "a table lost": (lambda p: shutil.rmtree(p / "spans"), "store.table"),
    "foreign text": (lambda p: (p / "requests/notes.txt").write_text("mine"), "store.foreign"),
    "foreign Parquet": (lambda p: (p / "requests/day=2026-01-01/copy.parquet").write_text("mine"), "store.foreign"),
    "foreign file in the log": (lambda p: (p / "requests/_delta_log/mine.json").write_text("{}"), "store.foreign"),
    "a file for a table": (lambda p: (p / "events").write_text("mine"), "store.foreign"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_what_is_not_understood_is_refused_and_nothing_changes(tmp_path: Path, name: str) -> None:
    place = three_versions(tmp_path)
    damage, code = NOT_UNDERSTOOD[name]
    damage(place)
    before = tree(place)
    for _ in range(2):  # a second attempt is no more dangerous
        with pytest.raises(StoreError) as caught:
            load(tmp_path, requests=requests(90), spans=spans(90))
        assert caught.value.code == code
        assert "kpi doctor d" in caught.value.hint or "Upgrade" in caught.value.hint
        assert tree(place) == before
    for number in (1, 2, 3):
        told = [v for v in kpi.doctor("d").versions if v.number == number]
        if told and told[0].readable:
            assert len(ids(number)) == (40, 46, 68)[number - 1]
    assert tree(place) == before


@pytest.mark.parametrize("damage", [forget, lambda p: (p / "versions/00000003.json").unlink(),
                                    lambda p: shutil.rmtree(p / "versions")])  # fmt: skip
def test_a_lost_newest_version_is_not_passed_over_by_readers(tmp_path: Path, damage: Damage) -> None:
    damage(three_versions(tmp_path))
    for call in (lambda: kpi.open("d"), lambda: kpi.restore("d", 1), lambda: lake.sweep("d")):
        with pytest.raises(StoreError) as caught:
            call()
        assert caught.value.code == "store.lost"
    assert "d" in [d.name for d in kpi.datasets()]
    assert not kpi.doctor("d").healthy


def cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str = "d", **tables: list[dict]) -> None:
    """A load that ends when its tables are written and its manifest is not."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recovery, "undo", lambda *_: None)  # who is killed takes nothing back
        patch.setattr(delta, "describe", stop)
        with pytest.raises(KeyboardInterrupt):
            load(tmp_path, dataset=dataset, **tables)


def test_an_unfinished_load_is_taken_back_into_the_trash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = three_versions(tmp_path)
    before = tree(place)
    cut_off(tmp_path, monkeypatch, requests=requests(1, 80), spans=spans(3, 80), scores=[{"score_id": "1"}])
    unfinished = tree(place)
    assert record.exists(place)
    assert len(ids()) == 68
    seen: list[dict[str, str]] = []
    begin = record.begin

    def watch(path: Path, base: int) -> None:
        seen.append(tree(path))
        begin(path, base)

    monkeypatch.setattr(record, "begin", watch)
    load(tmp_path, requests=requests(95))
    (after,) = seen
    assert {k: v for k, v in after.items() if not k.startswith(".") and v != "other"} == {
        k: v for k, v in before.items() if v != "other"
    }, "the tables are as they were before the load that did not end"
    waiting = {v for k, v in after.items() if k.startswith(".trash")}
    assert {v for k, v in unfinished.items() if k not in before and ".transaction" not in k} <= waiting
    assert not (place / trash.NAME).exists(), "the trash is let go after a good load"
    assert not record.exists(place)
    assert len(ids()) == 69
    assert kpi.doctor("d").healthy


def test_a_first_load_that_was_cut_off_leaves_nothing_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(tmp_path, monkeypatch, requests=requests(1), spans=spans(1))
    assert kpi.datasets() == []
    assert load(tmp_path, requests=requests(2)).version == 1
    assert ids() == ["t002"]
    assert kpi.doctor("d").healthy


def test_commits_torn_by_the_load_itself_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = three_versions(tmp_path)
    cut_off(tmp_path, monkeypatch, requests=requests(70))
    tear(newest_commit(place))
    load(tmp_path, requests=requests(71))
    assert "t071" in ids()
    assert "t070" not in ids()


@pytest.mark.parametrize("name", ["log", "newer", "foreign", "record", "parquet", "lists", "hole"])
def test_nothing_is_taken_back_where_what_stays_is_not_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    place = three_versions(tmp_path)
    old = contents.read(place, manifest.read("d").tables["requests"].files)[0].path
    cut_off(tmp_path, monkeypatch, requests=requests(70))
    damage: dict[str, Callable[[], object]] = {
        "log": lambda: tear(place / "requests/_delta_log" / f"{0:020}.json"),
        "newer": lambda: next_commit(place).write_text(NEWER),
        "foreign": lambda: (place / "requests/mine.parquet").write_text("mine"),
        "record": lambda: flip(place / record.NAME),
        "parquet": lambda: flip(place / "requests" / old),
        "lists": lambda: shutil.rmtree(contents.lists(place)),
        "hole": lambda: next(p for p in (place / "versions").glob("*2.json")).unlink(),
    }
    damage[name]()
    before = tree(place)
    with pytest.raises(StoreError):
        load(tmp_path, requests=requests(71))
    assert tree(place) == before


def test_files_that_were_there_before_the_load_are_never_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = three_versions(tmp_path)
    ours = sorted((place / "spans").glob("*.parquet"))[0]
    kept = ours.with_name(ours.name.replace("part-00000", "part-00007"))
    shutil.copy(ours, kept)  # somebody put back a file of a lost version, say
    cut_off(tmp_path, monkeypatch, spans=spans(70))
    load(tmp_path, spans=spans(71))
    assert kept.exists()
    lake.sweep("d")
    assert kept.exists(), "no log proves it to be ours"


def test_a_load_that_ended_but_for_its_record_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = three_versions(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(record, "end", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            load(tmp_path, requests=requests(70))
    assert record.exists(place)
    assert "t070" in ids()
    assert load(tmp_path, requests=requests(71)).version == 5
    assert {"t070", "t071"} <= set(ids())
    assert not record.exists(place)


def test_a_restore_after_an_unfinished_load_takes_it_back_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_versions(tmp_path)
    cut_off(tmp_path, monkeypatch, requests=requests(70))
    assert kpi.restore("d", 1).number == 4
    assert len(ids()) == 40
    assert load(tmp_path, requests=requests(71)).version == 5
    assert len(ids()) == 41


def as_an_earlier_release(place: Path) -> None:
    """Without lists, checks and witness."""
    for path in (place / "versions").glob("*.json"):
        data = json.loads(path.read_text())
        for table in data["tables"].values():
            del table["files"]
        del data["check"]
        path.write_text(json.dumps(data))
    shutil.rmtree(place / "versions/files")
    (place / "newest.json").unlink()


def test_a_killed_load_of_an_earlier_release_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = three_versions(tmp_path)
    as_an_earlier_release(place)
    assert len(ids()) == 68
    cut_off(tmp_path, monkeypatch, requests=requests(70), spans=spans(70))
    (place / record.NAME).unlink()
    before = tree(place)
    assert len(ids()) == 68
    receipt = load(tmp_path, requests=requests(71))
    assert any("earlier release had not ended" in note for note in receipt.notes)
    assert before.items() <= tree(place).items(), "nothing of it is removed"
    assert len(ids()) == 69
    assert load(tmp_path, spans=spans(72)).version == 5
    assert "t070" not in ids()
    assert "s070" not in ids(table="spans")
    assert kpi.doctor("d").healthy


def test_sweep_moves_what_no_version_names_into_the_trash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = three_versions(tmp_path)
    as_an_earlier_release(place)
    named = set(place.rglob("part-*.parquet"))
    cut_off(tmp_path, monkeypatch, requests=requests(70))
    (place / record.NAME).unlink()
    left = {p.name for p in set(place.rglob("part-*.parquet")) - named}
    assert lake.sweep("d") == len(left) == 1
    assert {p.name for p in (place / trash.NAME).rglob("*.parquet")} == left
    assert {p for p in place.rglob("part-*.parquet") if trash.NAME not in p.parts} == named
    assert lake.sweep("d") == 0
    assert [len(ids(n)) for n in (1, 2, 3)] == [40, 46, 68]
    load(tmp_path, requests=requests(71))
    assert not (place / trash.NAME).exists()


def test_work_folders_of_the_dead_go_and_other_folders_stay(tmp_path: Path) -> None:
    place = three_versions(tmp_path)
    (place / ".work-abcd1234").mkdir()
    (place / ".work-notes").mkdir()
    (place / "mine").mkdir()
    os.symlink(tmp_path, place / ".work-abcd5678")
    load(tmp_path, requests=requests(70))
    assert not (place / ".work-abcd1234").exists()
    assert (place / ".work-notes").is_dir()
    assert (place / "mine").is_dir()
    assert (place / ".work-abcd5678").is_symlink()
