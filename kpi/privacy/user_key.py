"""The key of the user pseudonyms: where it lies, which data set needs which, and what to do where it is not at hand.

The key never lies in a data set. It comes from `KPI_USER_KEY`, else from the folder `keys` of the state folder: there,
`user.key` is the key of new data sets, and keys from before a rotation lie beside it as `user-ID.key`, for data sets
that were not re-keyed. A manifest names the key of its users by `key_id`. A key that is gone is never replaced in
silence: the same person would become somebody else.
"""

import contextlib
import hmac
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from kpi.disk import durable
from kpi.errors import StoreError

KEY_BYTES = 32
PSEUDONYM_BYTES = 16  # 128 bit: 32 hex characters
KEY_VARIABLE = "KPI_USER_KEY"
KEY_HINT = f"Set {KEY_VARIABLE} to at least {KEY_BYTES} random characters, e.g. 64 hexadecimal digits, or remove it."
_FOLDER, _DEFAULT = "keys", "user.key"


@dataclass(frozen=True)
class UserKey:
    """A key at hand. since: when its file was written, in seconds since the epoch; None where nothing tells."""

    secret: bytes
    since: float | None = None

    @property
    def id(self) -> str:
        return key_id(self.secret)

    def __repr__(self) -> str:
        return f"UserKey({self.id!r})"


def key_id(key: bytes) -> str:
    """A public name of a key (8 hex characters), by which two stores can tell whether their users are comparable."""
    return hmac.digest(key, b"key id", "sha256")[:4].hex()


def load_key(home: Path) -> bytes:
    """The key of new data sets: `KPI_USER_KEY`, else `home/keys/user.key`, created at the first run.

    The file has mode 0600 and lies beside the datasets, never among them. Two processes that start at once get the same
    key. Raises StoreError: `store.key` where the key is short, unreadable or cannot be written, `store.key_lost` where
    the file is gone while data sets have users by a key that is not at hand.
    """
    given = from_environment()
    if given is not None:
        return given
    path = home / _FOLDER / _DEFAULT
    if not path.exists():
        kept = ring(home)
        if lost := {name: bound for name, bound in bindings(home).items() if bound is not None and bound not in kept}:
            raise _lost(lost)
        with _readable():
            _write_once(path, secrets.token_hex(KEY_BYTES))
    return _read(path)


def key_of(home: Path, dataset: str, bound: str | None) -> UserKey:
    """The key for rows of a data set, whose users have the key `bound` (an id; None: not known, or no users yet).

    Raises StoreError `store.other_key` or `store.key_lost`, with the two remedies, before anything is read or written.
    """
    given = from_environment()
    if given is not None:
        if bound is not None and key_id(given) != bound:
            raise other_key(dataset, bound, key_id(given))
        return UserKey(given)
    if bound is None:
        key = load_key(home)
        return UserKey(key, (home / _FOLDER / _DEFAULT).stat().st_mtime)
    kept = ring(home)
    if bound in kept:
        return UserKey(_read(kept[bound]), kept[bound].stat().st_mtime)
    default = home / _FOLDER / _DEFAULT
    if default.exists():
        raise other_key(dataset, bound, key_id(_read(default)))
    raise _lost({dataset: bound})


def from_environment() -> bytes | None:
    """The key that `KPI_USER_KEY` holds, or None. Raises StoreError `store.key`."""
    given = os.environ.get(KEY_VARIABLE)
    return _parse(given.strip(), "The key in the environment") if given is not None and given.strip() else None


def ring(home: Path) -> dict[str, Path]:
    """The key files of a state folder by the id of their key, the one of new data sets first."""
    folder = home / _FOLDER
    paths = [folder / _DEFAULT, *sorted(folder.glob("user-*.key"))]
    return {key_id(_read(p)): p for p in reversed(paths) if p.exists()}


def ring_key(home: Path, id: str) -> bytes | None:
    """The key of an id, where it is at hand."""
    given = from_environment()
    if given is not None and key_id(given) == id:
        return given
    path = ring(home).get(id)
    return _read(path) if path else None


def default_id(home: Path) -> str | None:
    """The id of the key that new data sets would get; None where the first load will make one."""
    given, path = from_environment(), home / _FOLDER / _DEFAULT
    return key_id(given) if given is not None else key_id(_read(path)) if path.exists() else None


def bindings(home: Path) -> dict[str, str | None]:
    """Each data set and the id of the key of its users, as its newest readable manifest says; None: it says nothing."""
    found: dict[str, str | None] = {}
    for place in sorted((home / "datasets").glob("[a-z0-9]*")):
        for path in sorted(place.glob("versions/*.json"), reverse=True):
            with contextlib.suppress(OSError, orjson.JSONDecodeError, AttributeError):
                told = orjson.loads(path.read_bytes()).get("user_key")
                found[place.name] = told if isinstance(told, str) else None
                break
    return found


def make_default(home: Path) -> UserKey:
    """A new key for new data sets. The one before stays, as `user-ID.key`, for those that have users by it."""
    path = home / _FOLDER / _DEFAULT
    with _readable():
        if path.exists():
            _keep(home, _read(path))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.write(path, f"{secrets.token_hex(KEY_BYTES)}\n".encode("ascii"))
    return UserKey(_read(path), path.stat().st_mtime)


def back_up(key: bytes, target: Path) -> None:
    """Write a key into a new file of mode 0600. Raises StoreError `store.key_backup`; never overwrites."""
    try:
        durable.write(target, f"{key.hex()}\n".encode("ascii"), once=True)
    except FileExistsError as error:
        raise StoreError.told("store.key_backup:exists", name=target.name[:80]) from error
    except OSError as error:
        raise StoreError.told("store.key_backup", kind=type(error).__name__) from error


def bring_back(home: Path, source: Path) -> UserKey:
    """Take a key from a backup: as the key of new data sets where there is none, else beside it for those that need it.

    Nothing is overwritten. Raises StoreError `store.key`.
    """
    with _readable("The backup"):
        key = _parse(source.read_text("ascii").strip(), "The key in the backup")
    with _readable():
        if key_id(key) not in ring(home) and not _write_once(home / _FOLDER / _DEFAULT, key.hex()):
            _keep(home, key)
    return UserKey(key)


def forget(home: Path, id: str) -> None:
    """Delete a key that no data set needs any more. Raises StoreError `store.no_key`, `store.key_needed`."""
    path = ring(home).get(id)
    if path is None:
        raise StoreError("store.no_key", f"There is no key {id[:20]!r} here", hint="`kpi key show` lists the keys.")
    needing = sorted(name for name, bound in bindings(home).items() if bound == id)
    if needing or path.name == _DEFAULT:
        told = f"the users of {', '.join(needing[:8])} have it" if needing else "new data sets get it"
        raise StoreError.told("store.key_needed", id=id, told=told)
    path.unlink()


def other_key(dataset: str, bound: str, at_hand: str) -> StoreError:
    """The refusal of a key that is not the one of a data set's users."""
    return StoreError.told("store.other_key", dataset=dataset, bound=bound, at_hand=at_hand)


def _lost(bound: Mapping[str, str]) -> StoreError:
    named = ", ".join(f"{name!r}" for name in list(bound)[:8])
    keys = ", ".join(sorted(set(bound.values()))[:8])
    dataset = next(iter(bound)) if len(bound) == 1 else "all"
    return StoreError.told("store.key_lost", named=named, keys=keys, dataset=dataset)


def _keep(home: Path, key: bytes) -> None:
    """Put a key beside the one of new data sets; one that is there already stays."""
    _write_once(home / _FOLDER / f"user-{key_id(key)}.key", key.hex())


def _read(path: Path) -> bytes:
    with _readable():
        if os.name == "posix" and path.stat().st_mode & 0o077:
            path.chmod(0o600)
        text = path.read_text("ascii").strip()
    return _parse(text, "The key file")


@contextlib.contextmanager
def _readable(what: str = "The key file of the user pseudonyms") -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError.told("store.key:file", what=what, kind=type(error).__name__) from error


def _parse(text: str, what: str) -> bytes:
    try:
        key = bytes.fromhex(text) if len(text) >= 2 * KEY_BYTES else text.encode()
    except ValueError:
        key = text.encode()
    if len(key) < KEY_BYTES or len(set(key)) < 8:
        raise StoreError("store.key", f"{what} is too short or too simple", hint=KEY_HINT)
    return key


def _write_once(path: Path, text: str) -> bool:
    """Written whole or not at all; the first writer wins: False where the file is there already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        durable.write(path, f"{text}\n".encode("ascii"), once=True)
    except FileExistsError:
        return False
    return True
