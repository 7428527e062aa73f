"""The key of the users: bound to each data set, never replaced in silence, backed up, brought back, rotated."""

from __future__ import annotations

import csv
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import orjson
import pytest

import kpi
from kpi import schema
from kpi.cli import main
from kpi.errors import StoreError
from kpi.privacy import user_key
from kpi.store import lake, manifest, merge
from kpi.store.rekeying import renamed
from tests.unit import span_loading as spans
from tests.unit.cli.conftest import plain

pytestmark = pytest.mark.slow

OTHER = "0123456789abcdef" * 4
USERS = 20


@pytest.fixture(autouse=True)
def _state(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KPI_USER_KEY", raising=False)


def table(path: Path, first: int = 0, last: int = 200, *, ids: bool = True, users: bool = True) -> Path:
    """Requests of twenty people."""
    start = datetime(2026, 11, 1, tzinfo=UTC)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow([*(["request_id"] if ids else []), "timestamp", *(["user_id"] if users else []), "latency_ms"])
        for i in range(first, last):
            row = [(start + timedelta(minutes=i)).isoformat(), *([f"person-{i % USERS}"] if users else []), 100 + i]
            out.writerow([*([f"r{i}"] if ids else []), *row])
    return path


def traces(path: Path, count: int = 40) -> Path:
    rows = [
        spans.span(
            i, trace=f"{i:032x}", start=i * 1000, end=i * 1000 + 5, attributes={"user.id": f"person-{i % USERS}"}
        )
        for i in range(1, count + 1)
    ]
    path.write_bytes(spans.message(rows))
    return path


def stored(dataset: str, version: int | None = None) -> dict[str, str]:
    """Pseudonym by trace."""
    found = lake.read_version(dataset, version)
    query = f"SELECT trace_id, user_key FROM {merge.scan(found.files['requests'], schema.REQUESTS)}"
    return dict(duckdb.connect().execute(query).fetchall())


def users(dataset: str) -> int:
    return int(kpi.summarise(kpi.open(dataset), "users", kpi.Slice(last="all"))["value"].item())


def files(home: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(home)): p.read_bytes()
        for p in sorted(home.rglob("*"))
        if p.is_file() and p.suffix != ".lock" and "cache" not in p.parts
    }


def assert_refused(call, *codes: str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        call()
    assert caught.value.code in codes
    assert "rotate" in caught.value.hint
    assert "KPI_USER_KEY" in caught.value.hint
    return caught.value


def unbind(dataset: str, home: Path) -> None:
    """As an earlier release wrote it."""
    for path in (home / "datasets" / dataset / "versions").glob("*.json"):
        told = orjson.loads(path.read_bytes())
        del told["user_key"], told["rekeyed"]
        told.pop("check")  # an earlier release sealed nothing
        told["tables"] = {name: {k: v for k, v in one.items() if k != "files"} for name, one in told["tables"].items()}
        path.write_bytes(orjson.dumps(told))
    shutil.rmtree(home / "datasets" / dataset / "versions" / "files")


@pytest.mark.parametrize("make", [table, traces], ids=["table", "spans"])
def test_another_key_is_refused_before_anything_is_written(
    make, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = make(tmp_path / "export.csv")
    kpi.load(export, dataset="prod")
    assert manifest.read("prod").user_key == user_key.key_id(user_key.load_key(home))
    before = files(home)
    monkeypatch.setenv("KPI_USER_KEY", OTHER)
    error = assert_refused(lambda: kpi.load(export, dataset="prod"), "store.other_key")
    assert str(manifest.read("prod").user_key) in error.message
    assert files(home) == before
    assert users("prod") == USERS
    kpi.load(export, dataset="another")  # each data set has a key of its own
    monkeypatch.delenv("KPI_USER_KEY")
    assert kpi.load(export, dataset="prod").loaded == 0
    assert_refused(lambda: kpi.load(export, dataset="another"), "store.other_key")


def test_a_lost_key_is_not_replaced(tmp_path: Path, home: Path) -> None:
    export = table(tmp_path / "a.csv")
    kpi.load(export, dataset="prod")
    key = home / "keys" / "user.key"
    kept = tmp_path / "kept"
    shutil.move(key, kept)
    before = files(home)
    for dataset in ("prod", "new"):
        assert_refused(lambda name=dataset: kpi.load(export, dataset=name), "store.key_lost")
    assert (files(home), key.exists()) == (before, False)
    key.write_text(OTHER + "\n", "ascii")  # somebody made another one
    assert_refused(lambda: kpi.load(export, dataset="prod"), "store.other_key")
    key.unlink()
    shutil.move(kept, key)
    assert kpi.load(export, dataset="prod").loaded == 0


def test_data_without_users_needs_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kpi.load(table(tmp_path / "a.csv", users=False), dataset="prod")
    assert manifest.read("prod").user_key is None
    monkeypatch.setenv("KPI_USER_KEY", OTHER)
    assert kpi.load(table(tmp_path / "b.csv", 200, 300, users=False), dataset="prod").loaded == 100
    kpi.load(table(tmp_path / "c.csv", 300, 400), dataset="prod")
    assert manifest.read("prod").user_key == user_key.key_id(bytes.fromhex(OTHER))


# --- data sets of an earlier release ---------------------------------------------------------------------------------


def test_an_older_data_set_is_bound_by_users_who_come_back(tmp_path: Path, home: Path) -> None:
    kpi.load(table(tmp_path / "a.csv", 0, 100), dataset="prod")
    unbind("prod", home)
    os.utime(home / "keys" / "user.key")  # its age proves nothing
    (home / "keys" / "user.key").touch()
    receipt = kpi.load(table(tmp_path / "b.csv", 100, 200), dataset="prod")
    assert any("did not say which key" in note and "came back" in note for note in receipt.notes)
    assert manifest.read("prod").user_key == user_key.key_id(user_key.load_key(home))
    assert users("prod") == USERS
    again = kpi.load(table(tmp_path / "b.csv", 100, 200), dataset="prod")
    assert not any("did not say" in note for note in again.notes)


def test_an_older_data_set_is_bound_by_the_same_file(tmp_path: Path, home: Path) -> None:
    export = table(tmp_path / "a.csv")
    kpi.load(export, dataset="prod")
    unbind("prod", home)
    assert kpi.load(export, dataset="prod").loaded == 0
    assert manifest.read("prod").user_key is not None


def test_an_older_data_set_takes_no_key_that_nothing_proves(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = table(tmp_path / "a.csv")
    kpi.load(export, dataset="prod")
    unbind("prod", home)
    before = files(home)
    monkeypatch.setenv("KPI_USER_KEY", OTHER)
    more = table(tmp_path / "b.csv", 200, 300)
    for path in (export, more):
        error = assert_refused(lambda p=path: kpi.load(p, dataset="prod"), "store.key_unproven")
        assert "kpi key adopt" in error.hint
    assert files(home) == before
    assert main(["key", "adopt", "--dataset", "prod"]) == 0
    assert kpi.load(more, dataset="prod").loaded == 100


def test_the_age_of_a_key_file_is_no_proof_against_the_rows(tmp_path: Path, home: Path) -> None:
    export = table(tmp_path / "a.csv", 0, 200)
    kpi.load(export, dataset="prod")
    unbind("prod", home)
    key = home / "keys" / "user.key"
    key.write_text(OTHER + "\n", "ascii")
    os.utime(key, (1_000_000_000, 1_000_000_000))
    assert_refused(lambda: kpi.load(export, dataset="prod"), "store.key_unproven")


# --- looking after it ------------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:
    code = main(["key", *arguments, "--json"])
    return code, plain(capsys.readouterr().out)


def test_backup_and_restore(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backup = tmp_path / "backup.key"
    assert run(capsys, "backup", str(backup))[1]["error"]["code"] == "store.no_key"
    assert not (home / "keys").exists()
    export = table(tmp_path / "a.csv")
    kpi.load(export, dataset="prod")
    code, told = run(capsys, "backup", str(backup))
    assert (code, told) == (0, {"key": manifest.read("prod").user_key})
    assert backup.stat().st_mode & 0o777 == 0o600
    kept = backup.read_bytes()
    assert run(capsys, "backup", str(backup))[1]["error"]["code"] == "store.key_backup"
    assert run(capsys, "backup", str(tmp_path / "no" / "folder"))[1]["error"]["code"] == "store.key_backup"
    assert backup.read_bytes() == kept
    (home / "keys" / "user.key").unlink()
    code, told = run(capsys, "show")
    assert (code, told["current"], told["datasets"][0]["at_hand"]) == (1, None, False)
    assert run(capsys, "restore", str(backup)) == (0, {"key": manifest.read("prod").user_key})
    assert (home / "keys" / "user.key").stat().st_mode & 0o777 == 0o600
    assert kpi.load(export, dataset="prod").loaded == 0
    code, told = run(capsys, "show")
    assert (code, told["source"], told["datasets"][0]["at_hand"]) == (0, "file", True)
    backup.write_text("short", "ascii")
    assert run(capsys, "restore", str(backup))[1]["error"]["code"] == "store.key"


def test_a_key_is_brought_back_beside_another(tmp_path: Path, home: Path) -> None:
    export = table(tmp_path / "a.csv")
    kpi.load(export, dataset="prod")
    kpi.backup_key(tmp_path / "backup")
    key = home / "keys" / "user.key"
    key.write_text(OTHER + "\n", "ascii")
    kpi.restore_key(tmp_path / "backup")
    assert key.read_text("ascii").strip() == OTHER
    assert kpi.load(export, dataset="prod").loaded == 0
    kpi.load(export, dataset="new")
    assert manifest.read("new").user_key == user_key.key_id(bytes.fromhex(OTHER))


def test_no_command_prints_a_secret(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kpi.load(table(tmp_path / "a.csv"), dataset="prod")
    secrets = [(home / "keys" / "user.key").read_text("ascii").strip()]
    for arguments in (["show"], ["backup", str(tmp_path / "b")], ["rotate", "--dataset", "all"], ["show"],
                      ["restore", str(tmp_path / "b")]):  # fmt: skip
        for more in ([], ["--json"]):
            main(["key", *arguments, *more])
            secrets.append((home / "keys" / "user.key").read_text("ascii").strip())
    told = "".join(capsys.readouterr())
    assert len(set(secrets)) == 3
    assert not any(s in told for s in secrets)


# --- rotation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["table", "spans", "rows without ids"])
def test_rotation_breaks_the_link_and_doubles_nothing(kind: str, tmp_path: Path, home: Path) -> None:
    path = tmp_path / "export.csv"
    export = traces(path) if kind == "spans" else table(path, ids=kind == "table")
    rows = kpi.load(export, dataset="prod").requests
    old, first = stored("prod"), manifest.read("prod").user_key
    (receipt,) = kpi.rotate_key("prod")
    now = manifest.read("prod")
    key = user_key.load_key(home)
    assert (receipt.loaded, receipt.version, now.number) == (USERS, 2, 2)
    assert now.user_key == user_key.key_id(key) != first
    assert now.rekeyed[0][1] == first
    assert stored("prod") == {trace: renamed(key, user) for trace, user in old.items()}
    assert (users("prod"), stored("prod", 1)) == (USERS, old)
    assert any("cannot be linked" in note for note in receipt.notes)
    assert any("cannot be linked" in note for note in kpi.receipt("prod").notes)
    again = kpi.load(export, dataset="prod")
    assert any("cannot be linked" in note for note in again.notes)
    assert len(stored("prod")) == rows
    assert not set(stored("prod").values()) & {*old.values(), *(renamed(key, u) for u in old.values())}
    assert users("prod") == USERS
    assert kpi.load(export, dataset="prod").loaded == 0


def test_a_span_that_comes_late_keeps_its_user(tmp_path: Path) -> None:
    """A trace that is assembled anew after a rotation takes its user from the rows that were renamed too."""
    kpi.load(traces(tmp_path / "a.json"), dataset="prod")
    kpi.rotate_key("prod")
    before = stored("prod")
    late = tmp_path / "late.json"
    late.write_bytes(spans.message([spans.span(99, 1, trace=f"{1:032x}", start=1001, end=1003)]))
    assert kpi.load(late, dataset="prod").loaded == 1
    assert stored("prod") == before


def test_new_rows_of_a_known_person_are_somebody_else(tmp_path: Path) -> None:
    kpi.load(table(tmp_path / "a.csv", 0, 100), dataset="prod")
    kpi.rotate_key()
    kpi.load(table(tmp_path / "b.csv", 100, 200), dataset="prod")
    assert users("prod") == 2 * USERS
    now = datetime.now(UTC)
    over, after = kpi.Slice(last="all"), kpi.Slice(start=now + timedelta(days=1), baseline="none")
    told = [any("cannot be linked" in n for n in kpi.resolve(kpi.open("prod"), v).notes) for v in (over, after)]
    assert told == [True, False]


def test_data_sets_that_are_not_named_keep_their_key(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = table(tmp_path / "a.csv")
    for name in ("one", "two"):
        kpi.load(export, dataset=name)
    first = manifest.read("one").user_key
    code, told = run(capsys, "rotate", "--dataset", "one")
    assert (code, told["unneeded"], told["datasets"]) == (0, [], [{"dataset": "one", "version": 2, "users": USERS}])
    assert (manifest.read("one").user_key, manifest.read("two").user_key) == (told["key"], first)
    assert kpi.load(export, dataset="two").loaded == 0
    assert run(capsys, "forget", str(first))[1]["error"]["code"] == "store.key_needed"
    assert run(capsys, "forget", told["key"])[1]["error"]["code"] == "store.key_needed"
    code, later = run(capsys, "rotate", "--dataset", "two")  # on to the new key, not to a third one
    assert (later["key"], later["unneeded"]) == (told["key"], [first])
    assert run(capsys, "forget", str(first)) == (0, {"key": first})
    assert run(capsys, "forget", str(first))[1]["error"]["code"] == "store.no_key"
    assert list((home / "keys").iterdir()) == [home / "keys" / "user.key"]
    assert kpi.load(export, dataset="one").requests == 200


def test_rotation_with_the_key_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPI_USER_KEY", OTHER)
    export = table(tmp_path / "a.csv")
    kpi.load(export, dataset="prod")
    with pytest.raises(StoreError) as caught:
        kpi.rotate_key("prod")
    assert caught.value.code == "store.key_same"
    monkeypatch.setenv("KPI_USER_KEY", OTHER[::-1])
    kpi.rotate_key("prod")
    kpi.load(export, dataset="prod")
    assert users("prod") == USERS


def test_a_lost_key_can_be_replaced_on_purpose(tmp_path: Path, home: Path) -> None:
    export = table(tmp_path / "a.csv")
    kpi.load(export, dataset="prod")
    (home / "keys" / "user.key").unlink()
    kpi.rotate_key("prod")
    kpi.load(export, dataset="prod")
    assert (users("prod"), len(stored("prod"))) == (USERS, 200)


def test_rotating_what_is_not_there_makes_no_key(home: Path) -> None:
    with pytest.raises(StoreError) as caught:
        kpi.rotate_key("nothing")
    assert caught.value.code == "store.no_dataset"
    assert not (home / "keys").exists()


def test_a_version_of_before_a_rotation_that_is_restored_needs_its_key(tmp_path: Path) -> None:
    export = table(tmp_path / "a.csv")
    kpi.load(export, dataset="prod")
    first = manifest.read("prod").user_key
    kpi.rotate_key("prod")
    kpi.restore("prod", 1)
    assert manifest.read("prod").user_key == first
    assert kpi.load(export, dataset="prod").loaded == 0  # the key was kept
    kpi.rotate_key("prod")
    kpi.forget_key(str(first))
    kpi.restore("prod", 1)
    assert_refused(lambda: kpi.load(export, dataset="prod"), "store.other_key")
