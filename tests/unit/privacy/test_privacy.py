"""Pseudonyms, their key, the allow-list: private by default, and closed when in doubt."""

from __future__ import annotations

import hashlib
import hmac
import os
import pickle
import subprocess
import sys
from pathlib import Path

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from kpi.errors import IngestError, StoreError
from kpi.privacy.privacy import DEFAULT_ALLOW, Privacy, key_id, load_key
from kpi.privacy.redact import redact

ROOT = Path(__file__).resolve().parents[3]
KEY = bytes(range(32))


def test_pseudonym_is_hmac_sha_256_cut_to_128_bit() -> None:
    expected = hmac.new(KEY, b"user\0alice", hashlib.sha256).hexdigest()[:32]
    assert Privacy(KEY).user("alice") == expected
    assert Privacy(bytes(range(1, 33))).user("alice") != expected


@pytest.mark.parametrize("same", [[7, 7.0, "7", " 7 ", b"7"], ["é", "é "]])
def test_one_user_has_one_pseudonym_whatever_the_type(same: list) -> None:
    assert len({Privacy(KEY).user(value) for value in same}) == 1


@pytest.mark.parametrize("nobody", [None, "", "  ", float("nan"), float("inf")])
def test_nobody_stays_null(nobody: object) -> None:
    assert Privacy(KEY).user(nobody) is None


def test_strange_ids_have_pseudonyms_too() -> None:
    for strange in ("\ud800", "a\0b", "x" * 10**6, "../../etc", 2**80):
        assert len(Privacy(KEY).user(strange) or "") == 32


def test_without_the_key_a_dictionary_of_ids_finds_no_one() -> None:
    privacy = Privacy(KEY)
    stored = {privacy.user(f"user{i}") for i in range(2_000)}
    assert len(stored) == 2_000
    for i in range(2_000):
        text = f"user{i}".encode()
        tried = (hashlib.sha256(text), hashlib.md5(text), hashlib.sha1(text), hmac.new(b"", text, "sha256"))
        assert not stored & {h.hexdigest()[:32] for h in tried}


def test_columns_equal_single_values() -> None:
    privacy = Privacy(KEY)
    users = pa.chunked_array([["a", None], ["a", "b"]])
    assert privacy.users(users).to_pylist() == [privacy.user(u) for u in ("a", None, "a", "b")]
    assert privacy.users(pa.array([1, None, 2])).to_pylist() == [privacy.user("1"), None, privacy.user("2")]
    texts = pa.array(["mail a@b.co", None, "ok", "mail a@b.co"])
    for column in (texts, pa.chunked_array([texts]), texts.dictionary_encode(), texts.cast(pa.large_string())):
        assert privacy.texts(column).to_pylist() == ["mail [EMAIL]", None, "ok", "mail [EMAIL]"]
        assert privacy.texts(column).type == pa.string()
    assert privacy.texts(pa.nulls(3)).to_pylist() == [None] * 3
    assert privacy.texts(pa.chunked_array([], pa.string())).to_pylist() == []


def test_attributes_keep_what_is_allowed_and_count_the_rest() -> None:
    privacy = Privacy(KEY, {"plan", "app.*"})
    kept = privacy.attributes(
        {"plan": "pro", "Plan": "x", "app.team": "mail me: a@b.co", "other": 1, "app.n": 3, "app.f": float("nan"),
         "app.list": ["a@b.co", 1], "app.none": None, "secret": "x"}
    )  # fmt: skip
    assert kept == {
        "plan": "pro", "Plan": "x", "app.team": "mail me: [EMAIL]", "app.n": 3, "app.list": '["[EMAIL]",1]',
    }  # fmt: skip
    assert privacy.kept_out == {"other": 1, "secret": 1}


def test_an_empty_list_keeps_nothing() -> None:
    privacy = Privacy(KEY, ())
    assert privacy.attributes(dict.fromkeys(DEFAULT_ALLOW, "x") | {"": "y"}) == {}
    assert sum(privacy.kept_out.values()) == len(DEFAULT_ALLOW) + 1


@pytest.mark.parametrize("pattern", ["*", "**", "?", "*.*", "a*", "x*a*b*c*d*e", "_*"])
def test_a_pattern_that_is_too_broad_is_refused(pattern: str) -> None:
    with pytest.raises(IngestError):
        Privacy(KEY, {pattern})


@pytest.mark.parametrize(
    "key", ["app.email", "app.user_id", "app.user.name", "app.password", "app.api_key", "app.prompt"]
)
def test_a_glob_lets_no_identifier_through_but_its_name_does(key: str) -> None:
    assert Privacy(KEY, {"app.*"}).attributes({key: "v"}) == {}
    assert Privacy(KEY, {key}).attributes({key: "v"}) == {key: "v"}


def test_default_list_holds_cohorts_and_no_person() -> None:
    assert {"language", "app.plan", "metadata.region", "deployment.environment.name"} <= DEFAULT_ALLOW
    assert not [
        k for k in DEFAULT_ALLOW if any(w in k for w in ("email", "phone", "password", "user_id", "name.first"))
    ]


@pytest.mark.slow
def test_a_flood_of_key_names_is_bounded_and_names_are_masked() -> None:
    privacy = Privacy(KEY, ())
    privacy.attributes({f"k{i}": 1 for i in range(12_000)} | {"a@b.co": 1})
    assert len(privacy.kept_out) <= 10_001
    assert sum(privacy.kept_out.values()) == 12_001
    assert "a@b.co" not in privacy.kept_out


def test_it_travels_between_processes_and_shows_no_key() -> None:
    privacy = Privacy(KEY)
    privacy.attributes({"x": 1})
    other = pickle.loads(pickle.dumps(privacy))
    assert (other.user("a"), other.kept_out) == (privacy.user("a"), privacy.kept_out)
    assert KEY.hex() not in repr(privacy)
    assert key_id(KEY) in repr(privacy)
    assert key_id(KEY) not in KEY.hex()


def test_key_is_made_once_private_and_outside_the_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KPI_USER_KEY", raising=False)
    key = load_key(tmp_path)
    assert len(key) == 32
    assert load_key(tmp_path) == key
    (path,) = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert "datasets" not in path.parts
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o644)
        assert load_key(tmp_path) == key
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_environment_overrides_and_short_keys_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPI_USER_KEY", KEY.hex())
    assert load_key(tmp_path) == KEY
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("KPI_USER_KEY", "correct horse battery staple and more")
    assert len(load_key(tmp_path)) >= 32
    for bad in ("tiny-key", "a" * 64, "00" * 32, KEY.hex()[:40][:31]):
        monkeypatch.setenv("KPI_USER_KEY", bad)
        with pytest.raises(StoreError) as caught:
            load_key(tmp_path)
        assert bad not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 64, b"0" * 64])
def test_a_damaged_key_file_is_said_and_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """A new key would silently make every user a new one."""
    monkeypatch.delenv("KPI_USER_KEY", raising=False)
    load_key(tmp_path)
    (path,) = [p for p in tmp_path.rglob("*") if p.is_file()]
    path.write_bytes(content)
    with pytest.raises(StoreError):
        load_key(tmp_path)
    assert path.read_bytes() == content


def test_processes_that_start_at_once_get_the_same_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KPI_USER_KEY", raising=False)
    code = (
        "import sys; from pathlib import Path; from kpi.privacy.user_key import load_key; print(flush=True);"
        "sys.stdin.readline(); print(load_key(Path(sys.argv[1])).hex())"
    )
    for round_ in range(3):
        home = tmp_path / str(round_)
        started = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            for _ in range(4)
        ]  # fmt: skip
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        keys = {process.communicate(timeout=600)[0].strip() for process in started}
        assert len(keys) == 1
        assert len([p for p in home.rglob("*") if p.is_file()]) == 1


def test_attribute_values_stay_json_able() -> None:
    kept = Privacy(KEY, {"app.*"}).attributes(
        {"app.big": 2**70, "app.deep": {"a": [{"b": "x@y.org"}]}, "app.set": {1}, "app.phone_ref": 4915112345678}
    )
    assert b"x@y.org" not in orjson.dumps(kept)


_WORDS = st.sampled_from(
    ["dni", "ssn", "iban", "pass", "token", "key", "card", "req", "visa", "phone", "sepass", "pwd"]
)


@given(
    st.from_regex(r"\A(?:[0-9]{16}|0{8}[0-9a-fA-F]{8}|[a-z]{1,3}[-_]?[0-9]{1,9})\Z")
    | st.builds("{}{}{}".format, _WORDS, st.sampled_from(["", "-", "_"]), st.integers(0, 99_999))
)
@settings(deadline=None)
def test_ids_that_are_passed_unseen_hold_nothing_that_would_be_masked(value: str) -> None:
    assert redact(value) == value
    assert Privacy(KEY).identities(pa.array([value, None, "joe@example.org"])).to_pylist() == [
        value, None, Privacy(KEY).user("joe@example.org"),
    ]  # fmt: skip
